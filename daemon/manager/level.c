#include "daemon/manager/level.h"

static uint64_t
fill(uint64_t used_bytes, uint64_t total_bytes)
{
    return total_bytes < 1000 ? 1000 : used_bytes / (total_bytes / 1000);
}

static uint64_t
disk_fill(const struct cw_level_disk *d)
{
    return fill(d->used_bytes, d->total_bytes);
}

/* How much the one is fuller, if that asks for a move; else 0. */
static uint64_t
gap(const struct cw_level_disk *from, const struct cw_level_disk *to)
{
    uint64_t a = disk_fill(from), b = disk_fill(to);

    if (!from->gives || !to->takes || from->site_no != to->site_no || a <= b)
        return 0;
    if (a - b > CW_LEVEL_GAP || (a > CW_LEVEL_HIGH && a - b >= CW_LEVEL_GAP_HIGH))
        return a - b;
    return 0;
}

/* The fullest that gives and the emptiest that takes; n: there is none. */
static void
site_ends(const struct cw_level_disk *disks, size_t n, uint32_t site_no, size_t *ret_from,
          size_t *ret_to)
{
    *ret_from = *ret_to = n;
    for (size_t i = 0; i < n; i++) {
        const struct cw_level_disk *d = &disks[i];

        if (d->site_no != site_no)
            continue;
        if (d->gives && (*ret_from == n || disk_fill(d) > disk_fill(&disks[*ret_from])))
            *ret_from = i;
        if (d->takes && (*ret_to == n || disk_fill(d) < disk_fill(&disks[*ret_to])))
            *ret_to = i;
    }
}

bool
cw_level_pick(const struct cw_level_disk *disks, size_t n, size_t *ret_from, size_t *ret_to)
{
    uint64_t widest = 0;
    uint32_t sites = 0;

    for (size_t i = 0; i < n; i++)
        sites = disks[i].site_no > sites ? disks[i].site_no : sites;
    for (uint32_t site = 1; site <= sites; site++) {
        size_t from, to;
        uint64_t g;

        site_ends(disks, n, site, &from, &to);
        g = from < n && to < n ? gap(&disks[from], &disks[to]) : 0;
        if (g <= widest)
            continue;
        widest = g;
        *ret_from = from;
        *ret_to = to;
    }
    return widest > 0;
}

bool
cw_level_improves(const struct cw_level_disk *from, const struct cw_level_disk *to, uint64_t bytes)
{
    return bytes > 0 && bytes <= from->used_bytes &&
           fill(from->used_bytes - bytes, from->total_bytes) >=
               fill(to->used_bytes + bytes, to->total_bytes);
}
