/* sim/slow.c - disks that are slow, or answer nothing for a while: alive, and no use to anybody. */
#include <stdlib.h>

#include "tests/sim/sim.h"

struct slow_task {
    struct sim_task task;
    struct sim_daemon *d;
};

static void
slow_after(struct sim *sim, struct sim_daemon *d, uint64_t after_ns, void (*fn)(struct sim_task *))
{
    struct slow_task *t = calloc(1, sizeof(*t));

    cw_assert(t != NULL);
    t->d = d;
    sim_after(sim, &t->task, after_ns, fn);
}

static void
disk_well(struct sim_daemon *d)
{
    cw_ramdisk_slow(d->disk, 0);
    cw_ramdisk_hold(d->disk, 0, 0, 0);
    cw_ramdisk_unstick(d->disk);
}

static void
slow_end(struct sim_task *t)
{
    disk_well(cw_container_of(t, struct slow_task, task)->d);
}

void
sim_slow(struct sim *sim, bool hangs)
{
    struct cw_prng *p = &sim->rnd_fault;
    struct sim_daemon *d = &sim->daemons[cw_prng_below(p, sim->n_daemons)];
    uint64_t extra_ns = sim_between(p, 30, 500) * CW_NS_PER_MS;
    uint64_t for_ns = sim_between(p, 2, 20) * CW_NS_PER_S;

    sim_log(sim, "fault: the disk of %s %s for %.3f s", d->proc.name, hangs ? "hangs" : "is slow",
            (double)for_ns / 1e9);
    sim_unwell(sim, for_ns);
    if (hangs)
        cw_ramdisk_hold(d->disk, CW_RAMDISK_ANY_OP, 0, d->disk_bytes);
    else
        cw_ramdisk_slow(d->disk, extra_ns);
    slow_after(sim, d, for_ns, slow_end);
}

void
sim_slow_heal(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        disk_well(&sim->daemons[i]);
}
