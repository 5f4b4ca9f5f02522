/* store/checkpoint.h - checkpoints, the superblocks that make them count, the start from one.
 * The store's own: its files include store-internal.h.
 */
#pragma once

#include "daemon/store/log.h"

#define STORE_CKPT_NS (600 * CW_NS_PER_S)
#define STORE_CKPT_BYTES (64 * CW_GIB)
#define STORE_CKPT_HDR_BYTES_MIN (64 * CW_MIB)

/* ---- superblock (superblock.c) ---- */

struct sb_wait {
    struct cw_list link;
    struct cw_store *s;
    void (*change)(struct cw_store *, struct cw_sb *, void *arg);
    void *arg;
    void (*done)(struct cw_store *, void *arg, int res);
};
void sb_read(struct cw_store *s, void (*done)(struct cw_store *, int res));
/* Writes s->sb as the next slot. One at a time; later calls wait. */
void sb_write(struct cw_store *s, struct sb_wait *w);
bool sb_valid(const struct cw_sb *sb);

/* ---- checkpoint (checkpoint.c) ---- */

enum ckpt_state { CKPT_IDLE, CKPT_PAGES, CKPT_TABS, CKPT_PARTS, CKPT_ROOT, CKPT_SB };

struct ckpt_part {
    uint32_t kind, bytes;
    const uint8_t *data;
    uint64_t loc, csum;
};

/* Blocks of a checkpoint besides pages and tables: parts and root. */
struct ckpt_ext {
    uint64_t loc;
    uint32_t n;
};

struct ckpt {
    enum ckpt_state state;
    bool wanted;
    struct cw_list pages, tabs; /* frozen, not yet written */
    uint32_t out;               /* records of this step not yet durable */
    bool short_of_memory;       /* its next record found no buffer */
    uint64_t number;
    struct cw_root *root;
    uint32_t root_len;
    uint8_t *segtab, *shards, *layers, *tabdir;
    size_t segtab_len, shards_len, layers_len, tabdir_len;
    struct cw_scrub_bytes scrub;
    bool scrub_moved; /* since the freeze: its cursor is kept now and then */
    struct ckpt_part *parts;
    uint32_t n_parts, next_part;
    struct cw_sb_ckpt next;
    struct sb_wait sb;
    struct ckpt_ext *old, *now; /* dead when this one is durable; this one's */
    uint32_t n_old, n_now;
    uint64_t last_ns, last_bytes, last_hdr; /* time, log but META, batch headers at the freeze */
    uint64_t n_frozen, frozen_copies;
    void (*done)(struct cw_store *, int res); /* for open and close */
};
void ckpt_want(struct cw_store *s);
uint64_t ckpt_log_bytes(const struct cw_store *s); /* written so far, but for META */
/* Is there anything that the last one does not hold? */
bool ckpt_has_news(const struct cw_store *s);
/* Is there a reason of its own to take one now? */
void ckpt_consider(struct cw_store *s);
void ckpt_step(struct cw_store *s);
/* A META record of ours became durable. */
void ckpt_applied(struct cw_store *s, const struct rec_view *v, uint64_t loc);
bool ckpt_running(const struct cw_store *s);
/* For a buffer that others have, not for a segment: it comes without a sound. */
bool ckpt_waits_for_memory(const struct cw_store *s);
void ckpt_free(struct cw_store *s);

/* ---- recovery (recovery.c) ---- */

struct recovery;
void recovery_start(struct cw_store *s);
void recovery_free(struct cw_store *s);
/* A read of what is needed failed. Nothing unless a recovery is under way. (lapse.c) */
void recovery_missed(struct cw_store *s, uint64_t off, uint64_t len);
/* The checkpoint that is being loaded refers to these blocks of META. */
void checkpoint_refers(struct cw_store *s, uint64_t loc, uint32_t n_blocks);
