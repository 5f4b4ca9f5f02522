/* store/store-internal.h - what the files of the store share; nobody else includes it.
 *
 *   append -> open batch (per class) -> ready -> in flight -> durable -> applied, in batch order
 *
 * Replay runs the very code that applies live batches: map, versions, shard states and the live
 * count of data segments are functions of the log. A checkpoint is the exact state between two
 * batches: what changes while it is written is copied first.
 */
#pragma once

#include "common/base/bits.h"
#include "daemon/store/block.h"
#include "daemon/store/checkpoint.h"
#include "daemon/store/io.h"
#include "daemon/store/log.h"
#include "daemon/store/map.h"
#include "daemon/store/segment.h"
#include "daemon/store/shard.h"
#include "daemon/store/space.h"
#include "daemon/store/store.h"

#define STORE_BUCKETS 1024u

/* ---- the store (store.c) ---- */

enum store_state { STORE_NEW, STORE_OPENING, STORE_OPEN, STORE_CLOSING, STORE_DOWN };

struct control {
    struct cw_list link;
    struct cw_store_ticket *t;
    uint64_t layer;
    struct rec_out r;
    uint8_t body[];
};

struct cw_store {
    struct cw_env *env;
    struct cw_disk *disk;
    struct cw_buf_pool *pool;
    const struct cw_store_events *ev;
    void *user;
    const char *name; /* in log lines */
    enum store_state state;

    struct cw_sb sb;
    bool sb_known;
    bool sb_whole; /* all slots were valid */
    struct cw_store_identity identity;
    struct cw_list sb_waits;
    struct store_io sb_io;
    uint8_t *sb_mem; /* one slot */
    bool sb_busy;

    struct cw_list owned;
    struct cw_list ios;
    struct cw_list paused; /* struct store_io that failed and are tried again */
    uint32_t n_ios;
    struct cw_timer watch_timer, note_timer, kick_timer, pause_timer;

    struct seg *segs;
    uint32_t n_segs, seg_bytes;
    uint32_t n_state[CW_SEG_SOON_FREE + 1];
    struct open_seg open[CW_SEG_CLASSES];
    struct segindex index;
    uint64_t next_seg_seq, next_layer, next_batch;
    uint64_t chain_csum[CW_SEG_CLASSES];         /* submitted */
    uint64_t chain_csum_applied[CW_SEG_CLASSES]; /* applied */
    uint64_t durable_upto;                       /* every batch up to it is durable */
    uint64_t durable_data; /* the last of them that a replay needs: not of META */
    uint64_t applied_upto;
    uint64_t noted_upto;     /* highest durable_upto on disk */
    uint64_t last_append_ns; /* last release of a batch with something in it */
    struct store_io zero_io;
    struct iovec zero_iov[16];
    struct cw_buf *zero_buf;
    uint32_t zero_seg, zero_at;
    bool zero_busy;
    bool is_device;             /* no file system below */
    bool discard, discard_look; /* wanted and possible; there may be something to do */
    bool discard_busy;
    uint32_t discard_seg;
    struct store_io discard_io;

    struct batch *batch_open[CW_SEG_CLASSES];
    struct cw_list ready[CW_SEG_CLASSES];
    struct cw_list batches; /* in flight or durable, in batch order */
    struct cw_list spare;
    uint32_t in_flight[CW_SEG_CLASSES], n_batches[CW_SEG_CLASSES], n_urgent;
    struct cw_list control;
    bool pressed[CW_SEG_CLASSES]; /* a batch waits for a free segment */
    bool starved;                 /* an append got -EAGAIN */
    bool releasing;
    uint64_t pend_touches, pend_blocks;
    uint64_t logged[CW_SEG_CLASSES], batches_of[CW_SEG_CLASSES]; /* bytes, batches written */
    uint64_t unfilled;   /* bytes left at the end of sealed data segments: summaries and gaps */
    uint64_t logged_hdr; /* bytes of batch headers: what a replay has to hold */
    struct apply apply;
    struct cw_list touched;
    struct cw_list answered; /* tickets whose batch is applied or lost */

    uint64_t map_budget;
    struct cw_buf_pool *page_pool; /* map pages: side by side, which malloc does not do */
    uint64_t n_pages, n_dirty;
    struct cw_list lru, dirty, held, tabs_dirty;
    uint64_t data_live; /* sectors, of all HOT and COLD segments .. */
    uint64_t meta_live; /* .. and of META; known from the end of a replay on */

    struct cw_list shards, zombies, layers;
    uint32_t n_layers;
    uint32_t n_gone; /* layers whose space is still to come back */
    uint32_t layers_ended;
    struct cw_list by_id[STORE_BUCKETS], by_layer[STORE_BUCKETS];
    struct cw_list by_family[STORE_BUCKETS]; /* layers */
    uint32_t n_shards;
    struct page_waiter reclaim_wait;
    bool reclaim_waiting;

    struct cw_list reads; /* of struct read_ctx, all under way */
    struct cw_list reads_held, reads_done, reads_spare;
    uint32_t n_reads;

    struct cw_compressor *compressor; /* made at first use */
    uint8_t *comp_mem;
    struct comp_pack append_pack; /* of the record that is being appended */
    uint8_t append_body[CW_BATCH_HDR_MAX / 16];

    struct ckpt ckpt;
    struct cleaner *cleaners; /* n_cleaners; the first is the one that packs */
    uint32_t n_cleaners;
    struct mover *mover;
    struct packer packer;
    struct bads *bads;
    struct scrub *scrub;
    struct recovery *recovery;
    struct cw_store_recovery recovered;
    uint64_t cut_from; /* not 0: the first batch must carry the RESUME note */
    bool cut_damaged;

    struct cw_store_stats stats;
    bool was_full, was_stuck, health_due, loud_failed;
    cw_store_done_fn *done;
    void *done_user;
    int done_res;
    bool done_due;
};

/* Says which of the daemon's stores it speaks of. */
#define store_log(s, level, fmt, ...) \
    cw_log((s)->env, level, "%s: " fmt, (s)->name __VA_OPT__(, ) __VA_ARGS__)
void store_fail(struct cw_store *s, const char *why, int err);
void store_free_shards(struct cw_store *s); /* with their layers; pages were freed before */
/* The same, but a millisecond later: for what waits for memory that others hold. */
void store_kick_later(struct cw_store *s);
/* Runs from the loop soon: events, answers, background work. */
void store_kick(struct cw_store *s);
void store_answer(struct cw_store *s, struct cw_store_ticket *t, int res);
void store_answers_deliver(struct cw_store *s);
void store_finish(struct cw_store *s, int res);
void store_close_step(struct cw_store *s);
/* What a store that is freed in the middle of something must free with it: first member of its
 * struct; mem is freed too. */
struct store_own {
    struct cw_list link;
    void *mem;
};
void *store_own_new(struct cw_store *s, size_t size); /* zeroed; never NULL */
void store_own_free(struct store_own *o);
void *store_alloc(size_t size);         /* zeroed; never NULL */
void *store_alloc_aligned(size_t size); /* 4096; never NULL */
