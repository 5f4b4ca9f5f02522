/* bench/placement.c - placement-bench: how well and how fast copies are placed at scale.
 *
 * Simulates hosts and volumes with the manager's own pure functions: every volume is placed, a host
 * is lost and its copies are placed anew, a host is added and disks are levelled. Reports balance,
 * bytes moved against the least possible, and CPU time.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "daemon/manager/level.h"
#include "daemon/manager/plan.h"

#define COPIES 3
#define SITES 4
#define RACKS 10 /* in each site */
#define HOST_BYTES (UINT64_C(8) * 1024 * CW_GIB)

struct volume {
    uint64_t bytes;
    uint32_t at[COPIES];
};

struct world {
    struct cw_place_rule rule;
    struct cw_place_disk *disks;
    char (*names)[3][16]; /* site, rack, host */
    size_t n_disks, n_volumes;
    struct volume *volumes;
    bool json;
};

static double
cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
disk_add(struct world *w)
{
    size_t i = w->n_disks++;

    snprintf(w->names[i][0], 16, "site-%zu", i % SITES);
    snprintf(w->names[i][1], 16, "rack-%zu", i / SITES % RACKS);
    snprintf(w->names[i][2], 16, "host-%zu", i);
    w->disks[i] = (struct cw_place_disk){ .uuid = cw_uuid_from_random(cw_mix64(i + 1), i),
                                          .region = "",
                                          .site = w->names[i][0],
                                          .rack = w->names[i][1],
                                          .host = w->names[i][2],
                                          .size_bytes = HOST_BYTES,
                                          .usable = true };
}

static void
world_make(struct world *w, size_t n_hosts, size_t n_volumes)
{
    struct cw_prng p;
    uint64_t room = n_hosts * (HOST_BYTES / 2) / COPIES / n_volumes; /* half full in the end */

    w->rule = (struct cw_place_rule){ .copies = COPIES, .spread = CW_PLACE_HOST };
    w->disks = calloc(n_hosts + 1, sizeof(*w->disks));
    w->names = calloc(n_hosts + 1, sizeof(*w->names));
    w->volumes = calloc(n_volumes, sizeof(*w->volumes));
    cw_assert(w->disks != NULL && w->names != NULL && w->volumes != NULL);
    w->n_volumes = n_volumes;
    for (size_t i = 0; i < n_hosts; i++)
        disk_add(w);
    cw_place_index(w->disks, w->n_disks);
    cw_prng_init(&p, 1);
    for (size_t i = 0; i < n_volumes; i++)
        w->volumes[i].bytes = room / 2 + cw_prng_below(&p, room);
}

static void
say(const struct world *w, const char *what, const char *unit, double value)
{
    if (w->json)
        printf("  \"%s_%s\": %.4f,\n", what, unit, value);
    else
        printf("%-36s %12.3f %s\n", what, value, unit);
}

static void
say_balance(const struct world *w, const char *what)
{
    char name[64];
    uint64_t sum = 0, max = 0;
    size_t n = 0;

    for (size_t i = 0; i < w->n_disks; i++) {
        if (!w->disks[i].usable)
            continue;
        n++;
        sum += w->disks[i].load_bytes;
        max = cw_max_u64(max, w->disks[i].load_bytes);
    }
    snprintf(name, sizeof(name), "%s_max_over_mean", what);
    say(w, name, "ratio", (double)max * (double)n / (double)sum);
}

static void
run_place(struct world *w)
{
    double begun = cpu_s();

    for (size_t v = 0; v < w->n_volumes; v++) {
        struct cw_place_answer got;

        cw_assert(cw_place(&w->rule, w->disks, w->n_disks, NULL, 0, v, &got));
        for (uint32_t i = 0; i < COPIES; i++) {
            w->volumes[v].at[i] = got.at[i];
            w->disks[got.at[i]].load_bytes += w->volumes[v].bytes;
        }
    }
    say(w, "place_10000_cpu", "s", (cpu_s() - begun) * 10000 / (double)w->n_volumes);
    say_balance(w, "placed");
}

/* The plan of a volume that lost what lay on disk `lost`. */
static uint64_t
replan(struct world *w, struct volume *v, size_t seed, uint32_t lost)
{
    struct cw_plan_have have[COPIES];
    struct cw_plan plan;
    uint64_t moved = 0;
    uint32_t n = 0, k = 0;

    for (uint32_t i = 0; i < COPIES; i++) {
        if (v->at[i] != lost)
            have[n++] = (struct cw_plan_have){ .disk = v->at[i], .worth = 6, .age = i };
    }
    cw_assert(cw_plan_make(&w->rule, w->disks, w->n_disks, have, n, seed, &plan));
    for (uint32_t i = 0; i < n; i++) {
        if (plan.keep & CW_BIT(i))
            v->at[k++] = have[i].disk;
    }
    for (uint32_t i = 0; i < plan.n_add; i++) {
        v->at[k++] = plan.add[i];
        w->disks[plan.add[i]].load_bytes += v->bytes;
        moved += v->bytes;
    }
    cw_assert(k == COPIES);
    return moved;
}

static void
run_lose(struct world *w)
{
    uint32_t lost = (uint32_t)w->n_disks / 2;
    uint64_t least = w->disks[lost].load_bytes, moved = 0;
    double begun = cpu_s();
    size_t n = 0;

    w->disks[lost].usable = false;
    for (size_t v = 0; v < w->n_volumes; v++) {
        for (uint32_t i = 0; i < COPIES; i++) {
            if (w->volumes[v].at[i] != lost)
                continue;
            moved += replan(w, &w->volumes[v], v, lost);
            n++;
            break;
        }
    }
    w->disks[lost].load_bytes = 0;
    say(w, "lost_host_moved_over_least", "ratio", (double)moved / (double)least);
    say(w, "lost_host_10000_plans_cpu", "s", n == 0 ? 0 : (cpu_s() - begun) * 10000 / (double)n);
    say_balance(w, "after_loss");
}

/* The largest copy on `from` that may go to `to`; as rebalance.c chooses. */
static bool
level_one(struct world *w, const struct cw_level_disk *level, size_t from, size_t to,
          uint64_t *moved)
{
    struct volume *best = NULL;
    uint32_t best_i = 0;

    for (size_t v = 0; v < w->n_volumes; v++) {
        struct volume *x = &w->volumes[v];
        uint32_t at = COPIES;

        if (best != NULL && x->bytes <= best->bytes)
            continue;
        for (uint32_t i = 0; i < COPIES; i++) {
            if (x->at[i] == from)
                at = i;
            else if (cw_place_clash(&w->rule, &w->disks[x->at[i]], &w->disks[to]))
                break;
            if (i == COPIES - 1 && at < COPIES &&
                cw_level_improves(&level[from], &level[to], x->bytes)) {
                best = x;
                best_i = at;
            }
        }
    }
    if (best == NULL)
        return false;
    best->at[best_i] = (uint32_t)to;
    w->disks[from].load_bytes -= best->bytes;
    w->disks[to].load_bytes += best->bytes;
    *moved += best->bytes;
    return true;
}

static void
run_add(struct world *w)
{
    struct cw_level_disk *level = calloc(w->n_disks + 1, sizeof(*level));
    double begun = cpu_s();
    uint64_t moved = 0, sum = 0;
    size_t from, to, n_moves = 0;

    cw_assert(level != NULL);
    disk_add(w);
    cw_place_index(w->disks, w->n_disks);
    for (size_t i = 0; i < w->n_disks; i++) {
        level[i] = (struct cw_level_disk){ .site_no = w->disks[i].site_no,
                                           .total_bytes = HOST_BYTES,
                                           .gives = w->disks[i].usable,
                                           .takes = w->disks[i].usable };
        sum += w->disks[i].load_bytes;
    }
    for (;;) {
        for (size_t i = 0; i < w->n_disks; i++)
            level[i].used_bytes = w->disks[i].load_bytes;
        if (!cw_level_pick(level, w->n_disks, &from, &to))
            break;
        if (level_one(w, level, from, to, &moved))
            n_moves++;
        else
            level[from].gives = false;
    }
    /* what brings the new disk within the gap of the others: less leaves the rule broken */
    say(w, "added_host_moved_over_mean_fill", "ratio",
        (double)moved * (double)w->n_disks / (double)sum);
    say(w, "added_host_moves", "count", (double)n_moves);
    say(w, "added_host_cpu", "s", cpu_s() - begun);
    say_balance(w, "after_add");
    free(level);
}

int
main(int argc, char **argv)
{
    static const struct option longs[] = { { "hosts", required_argument, NULL, 'h' },
                                           { "volumes", required_argument, NULL, 'v' },
                                           { "json", no_argument, NULL, 'j' },
                                           { NULL, 0, NULL, 0 } };
    struct world w = { 0 };
    size_t n_hosts = 1000, n_volumes = 100000;
    int opt;

    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (opt == 'h')
            n_hosts = strtoul(optarg, NULL, 10);
        else if (opt == 'v')
            n_volumes = strtoul(optarg, NULL, 10);
        else if (opt == 'j')
            w.json = true;
        else
            return 2;
    }
    if (n_hosts < 8 || n_hosts > 100000 || n_volumes < 1 || n_volumes > 10000000) {
        fputs("placement-bench: 8 to 100000 hosts, 1 to 10000000 volumes\n", stderr);
        return 2;
    }
    world_make(&w, n_hosts, n_volumes);
    if (w.json)
        puts("{");
    run_place(&w);
    run_lose(&w);
    run_add(&w);
    if (w.json)
        printf("  \"hosts\": %zu,\n  \"volumes\": %zu\n}\n", n_hosts, n_volumes);
    free(w.disks);
    free(w.names);
    free(w.volumes);
    return 0;
}
