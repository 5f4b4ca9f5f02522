#include "daemon/shell/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LINK_BYTES (72 * CW_KIB) /* one receive that was not delivered, and the link */
#define COPY_BYTES (16 * CW_KIB) /* of a copy at rest, its first table included */
#define CONTROL_MIN (4 * CW_MIB) /* two of the largest messages */
#define LINKS_MIN 64u
#define LINKS_MAX 4096u

void
cw_memory_settle(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 128 * 1024); /* fixed: what large buffers leave goes back */
    mallopt(M_ARENA_MAX, 2);               /* there are two threads */
#endif
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* a page touched would become 2 MiB */
}

uint64_t
cw_memory_resident(void)
{
    unsigned long long all, resident;
    FILE *f = fopen("/proc/self/statm", "re");
    int n;

    if (f == NULL)
        return 0;
    n = fscanf(f, "%llu %llu", &all, &resident);
    fclose(f);
    return n == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t
cw_memory_least(uint32_t n_stores)
{
    return cw_max_u64(CW_MEMORY_MIN, n_stores * CW_MEMORY_STORE_MIN);
}

struct cw_memory
cw_memory_divide(uint64_t total_bytes, uint32_t n_stores)
{
    uint64_t n = cw_max_u64(n_stores, 1), total = total_bytes, links;

    if (total == 0)
        total = cw_max_u64(CW_MEMORY_DEFAULT, cw_memory_least(n_stores));
    links = total / 16 / LINK_BYTES;
    return (struct cw_memory){
        .total_bytes = total,
        .pool_bytes = total / 2,
        .retain_bytes = cw_min_u64(64 * CW_MIB, total / 16),
        .control_bytes = cw_min_u64(cw_max_u64(total / 32, CONTROL_MIN), 64 * CW_MIB),
        .metadata_bytes = total / 16,
        .links_max = (uint32_t)cw_min_u64(cw_max_u64(links, LINKS_MIN), LINKS_MAX),
        .map_cache_bytes = total / 4 / n,
        .sync_bytes = cw_max_u64(total / 16 / n, 4 * CW_MIB),
        .hold_bytes = cw_max_u64(total / 16 / n, 4 * CW_MIB),
        .reads_bytes = total / 16 / n,
        .copies_max = (uint32_t)cw_min_u64(total / 16 / COPY_BYTES / n, UINT32_MAX),
    };
}
