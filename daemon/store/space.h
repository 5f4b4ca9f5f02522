/* store/space.h - credit, reserves, and how space is won back.
 * The store's own: its files include store-internal.h.
 */
#pragma once

#include "daemon/store/io.h"

#define STORE_CLEANERS_MAX 4u

/* ---- space (space.c) ---- */

uint32_t space_reserve_meta(const struct cw_store *s);
uint32_t space_reserve_clean(const struct cw_store *s);
uint64_t space_capacity(const struct cw_store *s); /* blocks that may hold data */
uint64_t space_used(const struct cw_store *s);     /* live and on their way */
uint64_t space_meta(const struct cw_store *s);     /* blocks of map pages, tables, roots */
uint64_t space_taken(const struct cw_store *s);    /* that and map pages beyond their reserve */
bool space_may_write(const struct cw_store *s, uint32_t n_blocks, bool resync);
bool space_is_full(const struct cw_store *s);
bool space_takes_copy(const struct cw_store *s);
/* A new one leaves the others less credit: they are told. */
void space_copy_added(struct cw_store *s);
/* Free segments that a batch of this class must leave to others. */
uint32_t space_keep_free(const struct cw_store *s, uint8_t cls, bool urgent);
/* The same for data when no page is dirty. */
uint32_t space_keep_least(const struct cw_store *s);
void space_update(struct cw_store *s); /* health events and background work */

/* ---- pace (pace.c) ---- */

struct levels {
    uint64_t goal, gate, low; /* of the supply, blocks */
    uint32_t soon, hurry;     /* of free segments: time for a checkpoint; high time */
    uint32_t round;           /* segments */
};
struct levels pace_levels(const struct cw_store *s);
uint64_t pace_supply(const struct cw_store *s); /* blocks */
bool pace_wants_cleaning(const struct cw_store *s);
/* How many cleaners are to work at once: none down to goal, all of them from the gate on. */
uint32_t pace_cleaners(const struct cw_store *s);
bool pace_is_low(const struct cw_store *s);
/* The same, and does META hold more than what lives in it needs? */
bool pace_wants_moving(const struct cw_store *s);
/* Must the foreground wait for the cleaner? */
bool pace_holds(const struct cw_store *s);
/* Are free segments running out while others would be freed? */
bool pace_wants_checkpoint(const struct cw_store *s);

/* ---- cleaner (cleaner.c) ---- */

struct cleaner;
void cleaners_make(struct cw_store *s); /* as many as a store of its size has; before: none */
/* Batches of COLD, and of WARM, at once: each cleaner's load, and one that is filled. */
uint32_t cleaner_batches_max(const struct cw_store *s);
void cleaner_kick(struct cw_store *s);
bool cleaner_busy(const struct cw_store *s);
bool cleaner_packs(const struct cw_store *s);       /* busy, but not to win segments */
void cleaner_rest(struct cw_store *s);              /* victims that wait for nothing are let go */
void cleaner_pack(struct cw_store *s, uint32_t no); /* it is not busy; kick it then */
/* Of the victims' blocks: what moving so many of its live ones is worth. */
uint64_t cleaner_gain(const struct cw_store *s);
void cleaner_free(struct cw_store *s);

/* ---- META kept small (mover.c) ---- */

struct mover;
void mover_kick(struct cw_store *s);
bool mover_busy(const struct cw_store *s);
void mover_free(struct cw_store *s);

/* ---- packing what is cold (packer.c) ---- */

struct packer {
    struct cw_timer timer;
    struct idle_look look;
    uint32_t at;    /* segment to be looked at next */
    uint32_t loads; /* that the cleaner may move before the next look */
    bool more;
};
void packer_init(struct cw_store *s);
void packer_fini(struct cw_store *s);
void packer_look(struct cw_store *s);      /* some may have become cold */
void packer_look_anew(struct cw_store *s); /* a policy changed: marks are of no worth */
bool packer_may_load(struct cw_store *s);  /* else the cleaner is kicked later */
