/* manager/slow.c - disks that are much slower than the others of the cluster, for minutes.
 *
 * Owners set the copies on such a disk aside within seconds, by what they measure themselves
 * (docs/replication.md); this is what an operator is told of it. What is slow everywhere is no
 * disk's fault.
 */
#include <stdlib.h>

#include "daemon/manager/internal.h"

#define SLOW_NS (20 * CW_NS_PER_MS) /* a 99th percentile of writes, as owners judge */
#define SLOW_TIMES 8u               /* .. and that of the median disk */
#define SLOW_OVER_NS (60 * CW_NS_PER_S)

static int
cmp_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static bool
disk_writes(const struct cw_manager *m, const struct mgr_disk *d)
{
    return d->reported && d->now.write_p99_ns > 0 && cw_mgr_disk_serves(m, d);
}

/* Of the disks that write now; 0: fewer than three do. */
static uint64_t
median_p99_ns(const struct cw_manager *m)
{
    uint64_t *all = malloc((m->t.of[CW_REC_DISK].n + 1) * sizeof(*all)), ns;
    size_t n = 0;

    cw_assert(all != NULL);
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        if (disk_writes(m, d))
            all[n++] = d->now.write_p99_ns;
    }
    qsort(all, n, sizeof(*all), cmp_u64);
    ns = n < 3 ? 0 : all[(n - 1) / 2];
    free(all);
    return ns;
}

void
cw_mgr_slow_look(struct cw_manager *m)
{
    uint64_t now = cw_now_ns(m->env);
    bool any = false;

    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    any |= d->slow_ns != 0 || (disk_writes(m, d) && d->now.write_p99_ns > SLOW_NS);
    if (!any)
        return;
    m->median_p99_ns = median_p99_ns(m);
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        bool slow = disk_writes(m, d) && m->median_p99_ns != 0 && d->now.write_p99_ns > SLOW_NS &&
                    d->now.write_p99_ns > SLOW_TIMES * m->median_p99_ns;

        if (slow && d->slow_ns == 0)
            d->slow_ns = now;
        if (slow)
            d->slow_seen_ns = now;
        else if (d->slow_ns != 0 && now - d->slow_seen_ns >= SLOW_OVER_NS)
            d->slow_ns = 0;
    }
}

bool
cw_mgr_disk_slow(const struct cw_manager *m, const struct mgr_disk *d)
{
    return d->slow_ns != 0 && cw_now_ns(m->env) - d->slow_ns >= SLOW_OVER_NS;
}
