/* store/io.h - the disk as the store sees it: I/O under a watchdog, reads of scattered runs.
 * The store's own: its files include store-internal.h.
 */
#pragma once

#include "common/base/list.h"
#include "daemon/store/store.h"

#define STORE_STUCK_NS (2 * CW_NS_PER_S)
#define STORE_WATCH_NS (250 * CW_NS_PER_MS)

struct store_io {
    struct cw_disk_io io;
    struct cw_store *s;
    struct cw_list link; /* s->ios, oldest first */
    uint64_t submitted_ns;
    struct iovec iov1; /* for single pieces */
    bool unwatched;    /* however long it takes, the disk is not stuck */
    bool twice;        /* a read that fails is tried once more before done; then cleared */
    bool patient;      /* .. and twice again, after pauses: what passes must not become a loss */
    uint64_t again_ns; /* in s->paused: when */
    void (*done)(struct store_io *, int res);
};

/* One piece, through iov1. */
void store_io_start(struct cw_store *s, struct store_io *io, enum cw_disk_op op, uint64_t off,
                    void *data, uint64_t len);
/* io.iov, io.n_iov and io.len are set. */
void store_io_start_iov(struct cw_store *s, struct store_io *io, enum cw_disk_op op, uint64_t off);
void store_io_watch(struct cw_store *s);
void store_on_pause(struct cw_timer *t);

/* Does the disk have little to do for others? Asked again within two looks. */
#define IDLE_LOOK_NS (100 * CW_NS_PER_MS)
#define IDLE_OPS 16u /* between two looks */

struct idle_look {
    uint64_t ns, ops; /* at the last one */
};
uint64_t store_ops(const struct cw_store *s); /* reads and records so far */
bool store_is_idle(struct cw_store *s, struct idle_look *last);

/* Verified reads of runs of blocks into memory: at most 16 I/Os at once; a run that fails is read
 * block by block. */
struct store_run {
    uint64_t off;
    uint8_t *to;
    uint32_t n_blocks;
    uint32_t first; /* index of its first block in `bad` */
};

#define FETCH_SLOTS 16u

struct fetch_slot {
    struct store_io io;
    struct store_fetch *f;
    struct store_run run; /* what is left of it when it is read block by block */
    bool single;
};

struct store_fetch {
    struct cw_store *s;
    struct store_run *runs;
    uint32_t n_runs, next, under_way;
    uint64_t *bad; /* bitmap: a block that could not be read */
    bool patient;  /* as store_io, until one block stays unreadable */
    void (*done)(struct store_fetch *);
    struct fetch_slot slots[FETCH_SLOTS];
};
void store_fetch_start(struct cw_store *s, struct store_fetch *f);
