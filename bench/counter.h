/* bench/counter.h - a disk that counts what a store asks of the disk under it, by purpose.
 *
 *   store -> counter -> the reactor's disk
 *
 * A batch is known by its header and its class by its first record. So these counts come from the
 * bytes that are written and not from the store's own numbers: the two can be compared.
 */
#pragma once

#include <stdint.h>

#include "common/base/disk.h"
#include "daemon/store/format.h"

struct bench_counts {
    uint64_t reads, read_bytes;
    uint64_t batches[CW_SEG_CLASSES], batch_bytes[CW_SEG_CLASSES];
    uint64_t other_bytes; /* superblocks, segment headers, summaries */
    uint64_t zero_bytes;  /* zeroes into segments that were never used */
    uint64_t flushes, discards;
};

struct bench_counter {
    struct cw_disk disk;   /* what the store is given */
    struct cw_disk *under; /* borrowed */
    struct bench_counts n;
};

void bench_counter_init(struct bench_counter *c, struct cw_disk *under);
