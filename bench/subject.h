/* bench/subject.h - the store under measurement: a file, formatted and opened on a real reactor,
 * with one volume on it that is cut into shards as an owner would.
 *
 * The volume's blocks are numbered through; `want` remembers the checksum of the newest write of
 * each, so that a read is right only if it brings what was written last.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/counter.h"
#include "common/reactor/disk.h"
#include "common/reactor/reactor.h"
#include "daemon/store/store.h"

struct bench_opts {
    const char *path;
    uint64_t bytes;        /* of the file, which is made */
    uint64_t fill_bytes;   /* of the volume .. */
    uint32_t fill_pct;     /* .. or this share of the store's capacity; 0: fill_bytes */
    uint64_t memory_bytes; /* three quarters buffers, a quarter map cache, as in a daemon */
    uint64_t seed;
    uint32_t compressible_pct; /* of each block */
    enum cw_compression compression;
};

struct bench_subject {
    struct bench_opts opts;
    struct cw_reactor *r;
    struct cw_disk *raw;
    struct bench_counter counter;
    struct cw_store *store;
    struct cw_store_shard **shard;
    uint64_t *want;  /* 0: never written */
    uint64_t blocks; /* of the volume, whole chunks */
    uint64_t shard_blocks;
    uint32_t n_shards;
    uint64_t open_ns, n_jobs;
    bool poked; /* something happened that a refused append waits for */
    bool waking;
    struct bench_load *load; /* the one that runs */
};

/* False after a line on stderr. */
bool bench_subject_init(struct bench_subject *b, const struct bench_opts *opts);

/* Turns until the disk was idle for 200 ms, at most 2 s: so that what is measured next, by another
 * program, is not disturbed. */
bool bench_subject_settle(struct bench_subject *b);

/* After a time without turns: the clock catches up. */
bool bench_subject_wake(struct bench_subject *b);

/* Closes the store cleanly and removes the file; what was never opened is skipped. */
bool bench_subject_fini(struct bench_subject *b);

/* One turn of at most wait_ns; false after a line on stderr. */
bool bench_turn(struct bench_subject *b, uint64_t wait_ns);

__attribute__((format(printf, 1, 2))) bool bench_fail(const char *fmt, ...);
