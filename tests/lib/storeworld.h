/* tests/lib/storeworld.h - one store on a RAM disk in a virtual world, and a model of what it must
 * hold: per block the seq of the record that wrote it last.
 *
 * A block's content is a function of (shard, lba, seq), so a read tells exactly which write it saw.
 */
#pragma once

#include "common/codec/hash.h"
#include "daemon/store/store.h"
#include "tests/lib/cw-test.h"
#include "tests/lib/ramdisk.h"
#include "tests/lib/simenv.h"

#define WORLD_S (1000u * CW_NS_PER_MS)

/* scrub_ns: a pass reads as good as nothing while a test lasts. */
#define STOREWORLD_NO_SCRUB (10 * 365 * 86400 * WORLD_S)

struct storeworld {
    struct cw_simenv sim;
    struct cw_ramdisk *disk;
    struct cw_buf_pool *pool;
    struct cw_store *store;
    uint64_t seed, bytes, map_cache;
    enum cw_compression compression; /* of copies that storeworld_shard makes */
    bool is_device, discard;         /* of the next open */
    bool done;                       /* of the last open, close, ticket.. */
    int res;
    uint64_t n_durable, n_health;
    uint64_t scrub_ns;           /* of the next open; 0: a week */
    struct cw_store_bad bad[32]; /* told last, a ring */
    uint64_t n_bad;
};

void storeworld_init(struct storeworld *w, uint64_t seed, uint64_t bytes, uint64_t map_cache);

/* Store, disk and all are freed; every buffer must have come back. */
void storeworld_fini(struct storeworld *w);

int storeworld_format(struct storeworld *w, bool force);

/* A new struct cw_store on the disk; its result. */
int storeworld_open(struct storeworld *w);
int storeworld_close(struct storeworld *w); /* and frees it */

/* The same without the wait: w->done and w->res tell; then the store is the caller's to free. */
void storeworld_open_begin(struct storeworld *w);
void storeworld_close_begin(struct storeworld *w);

/* The store vanishes, the disk keeps what `how` says. */
void storeworld_crash(struct storeworld *w, struct cw_ramdisk_crash how);

struct cw_store_shard *storeworld_shard(struct storeworld *w, uint64_t id); /* found or created */
/* Formats and opens; the first copy. */
struct cw_store_shard *storeworld_begin(struct storeworld *w, uint64_t id);

/* Runs turns until *done or 60 s of virtual time; asserts that it came. */
void storeworld_wait(struct storeworld *w, const bool *done);
void storeworld_wait_durable(struct storeworld *w, struct cw_store_shard *sh, uint64_t seq);
/* All that was appended is durable, and stable as if every copy had it. */
void storeworld_settle(struct storeworld *w, struct cw_store_shard *sh);
void storeworld_run(struct storeworld *w, uint64_t ns);

/* A ticket whose done sets w->done, w->res; storeworld_ticket_wait returns res. */
struct storeworld_ticket {
    struct cw_store_ticket t;
    bool done;
    int res;
};
struct cw_store_ticket *storeworld_ticket(struct storeworld_ticket *t);
int storeworld_ticket_wait(struct storeworld *w, struct storeworld_ticket *t);

/* ---- content: unique per (shard, lba, seq), and about a quarter of it when packed ---- */

void storeworld_fill(uint8_t *block, uint64_t shard, uint64_t lba, uint64_t seq);

/* Appends with seq = last + 1 and gen 1; retries -EAGAIN through the loop; else the error. */
int storeworld_write(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba, uint32_t nblk);
int storeworld_clear(struct storeworld *w, struct cw_store_shard *sh, uint8_t type, uint64_t lba,
                     uint32_t nblk);
int storeworld_append(struct storeworld *w, struct cw_store_shard *sh,
                      const struct cw_store_rec *rec);

/* Reads and returns res; r.buf must be unref'ed by the caller. */
int storeworld_read(struct storeworld *w, struct cw_store_read *r);

/* The shard record that storeworld_shard makes. */
struct cw_shard_rec storeworld_rec(const struct storeworld *w, uint64_t id);

/* The block's content is that of `seq` (0: zeroes). */
bool storeworld_block_is(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba,
                         uint64_t seq);
bool storeworld_snap_block_is(struct storeworld *w, struct cw_store_shard *sh, uint64_t snap,
                              uint64_t lba, uint64_t seq);
