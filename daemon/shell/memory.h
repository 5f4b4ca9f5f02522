/* shell/memory.h - how --memory is divided.
 *
 *   1/2   the pool: frames, batches, reads, chunks in flight, of all stores and links
 *   1/4   map caches
 *   1/16  copies and chunk tables: counted, and warned of when they take more, for they grow with
 *         the data
 *   1/16  reads that are the stores', their data aside
 *   1/16  what starved links hold
 *   1/32  control messages, at least 4 MiB
 *
 * The rest, and what the program takes idle (about 16 MiB with its rings), is nobody's to grow.
 */
#pragma once

#include <stdint.h>

#include "common/base/bits.h"

#define CW_MEMORY_DEFAULT CW_GIB
#define CW_MEMORY_MIN (64 * CW_MIB)
#define CW_MEMORY_STORE_MIN (32 * CW_MIB)

struct cw_memory {
    uint64_t total_bytes;
    uint64_t pool_bytes;
    uint64_t retain_bytes; /* of the pool: records of volumes in care that may be sent again */
    uint64_t control_bytes;
    uint64_t metadata_bytes; /* copies and tables, all stores together */
    uint32_t links_max;

    /* of each store */
    uint64_t map_cache_bytes;
    uint64_t sync_bytes, hold_bytes; /* of the pool */
    uint64_t reads_bytes;
    uint32_t copies_max;
};

/* Of the process, once, before there are threads: what is freed is not kept. */
void cw_memory_settle(void);

/* Of this process; 0: not known. */
uint64_t cw_memory_resident(void);

/* The least that so many stores can do with. */
uint64_t cw_memory_least(uint32_t n_stores);

/* total_bytes 0: the default, or the least if that is more; n_stores 0 counts as 1. */
struct cw_memory cw_memory_divide(uint64_t total_bytes, uint32_t n_stores);
