/* tool/stand.h - a store on the stand: locked, read-only, and recovered as its daemon would do it.
 *
 *   disk (read-only) <-- overlay (writes in memory) <-- the store's own recovery and close
 *
 * What was recovered is closed cleanly into the overlay, so there is one exact checkpoint of it
 * that can be decoded like any other.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/store/format.h"
#include "daemon/store/store.h"
#include "daemon/tool/overlay.h"
#include "daemon/tool/tool.h"

/* What stands in the four slots. */
struct cw_stand_slots {
    struct cw_sb slot[CW_SB_SLOTS];
    uint64_t off[CW_SB_SLOTS];    /* where it was read */
    int res[CW_SB_SLOTS];         /* of its read; -ENOENT: the disk ends before it */
    const char *why[CW_SB_SLOTS]; /* what is wrong with it; NULL: nothing */
    const struct cw_sb *best;     /* the store, whether it opens or not; NULL: there is none */
    int outcome;                  /* 0: it opens; else an enum cw_store_outcome or -EIO */
};

struct cw_stand {
    struct cw_tool *t;
    const char *path;
    struct cw_disk *disk;
    struct cw_overlay *overlay;
    struct cw_store *store;       /* recovered and closed; NULL: not yet */
    struct cw_stand_slots slots;  /* of the disk */
    struct cw_stand_slots closed; /* of the overlay, once it was recovered and closed */
    uint64_t trace_off;           /* slots.outcome CW_STORE_E_LOST: of a segment that is there */
    bool was_open, done;
    int res;
};

/* Opens, locks and reads the superblocks. 0, or the exit status when it was said why not: a store
 * that does not open by its superblocks is refused if `whole`. *ret is to be closed if 0. */
int cw_stand_open(struct cw_tool *t, const char *path, bool whole, struct cw_stand **ret);
void cw_stand_close(struct cw_stand *st); /* NULL is fine */

/* Recovers it in memory and closes it there; st->closed and st->store (of a closed store: what it
 * recovered, and its copies) are there if 0. Else an enum cw_store_outcome or a negative errno. */
int cw_stand_recover(struct cw_stand *st);
/* Of an outcome: what is wrong, and the next step; NULL: there is none. */
const char *cw_stand_outcome(int res);
const char *cw_stand_advice(int res);

enum cw_stand_side { CW_STAND_DISK, CW_STAND_CLOSED };
const struct cw_sb *cw_stand_sb(const struct cw_stand *st, enum cw_stand_side side);

struct cw_stand_read {
    uint64_t off, len; /* multiples of 4096 */
    void *to;          /* 4096-aligned */
    int res;           /* answer */
};

/* All of them, some at once; returns how many failed. */
uint32_t cw_stand_read(struct cw_stand *st, enum cw_stand_side side, struct cw_stand_read *r,
                       uint32_t n);
/* One; 0 or a negative errno. */
int cw_stand_read_one(struct cw_stand *st, enum cw_stand_side side, uint64_t off, void *to,
                      uint64_t len);

void *cw_tool_alloc(size_t bytes);         /* zeroed; never NULL */
void *cw_tool_alloc_aligned(size_t bytes); /* 4096; zeroed; never NULL */
