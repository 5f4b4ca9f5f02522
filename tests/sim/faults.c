/* sim/faults.c - what goes wrong, when, and when it is over.
 *
 * Each seed has its own set of classes and rates. All faults here end by themselves;
 * sim_faults_heal ends those that are left.
 */
#include <stdlib.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

/* What ends a fault. */
struct fault_task {
    struct sim_task task;
    struct sim_proc *a, *b;
};

static struct fault_task *
fault_after(struct sim *sim, uint64_t after_ns, void (*fn)(struct sim_task *), struct sim_proc *a,
            struct sim_proc *b)
{
    struct fault_task *f = calloc(1, sizeof(*f));

    cw_assert(f != NULL);
    f->a = a;
    f->b = b;
    sim_after(sim, &f->task, after_ns, fn);
    return f;
}

/* Mostly short, now and then longer than every timeout that matters. */
static uint64_t
fault_ns(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_fault;

    switch (cw_prng_below(p, 4)) {
    case 0:
        return sim_between(p, 10 * CW_NS_PER_MS, 300 * CW_NS_PER_MS);
    case 1:
        return sim_between(p, 300 * CW_NS_PER_MS, 3 * CW_NS_PER_S);
    default:
        return sim_between(p, 2 * CW_NS_PER_S, 8 * CW_NS_PER_S);
    }
}

static struct sim_daemon *
fault_daemon(struct sim *sim)
{
    return &sim->daemons[cw_prng_below(&sim->rnd_fault, sim->n_daemons)];
}

/* ---- daemons ---- */

static void
end_of_death(struct sim_task *t)
{
    struct sim_proc *p = cw_container_of(t, struct fault_task, task)->a;

    if (!p->up)
        sim_daemon_start(cw_container_of(p, struct sim_daemon, proc));
}

static void
fault_kill(struct sim *sim, bool power)
{
    struct sim_daemon *d = fault_daemon(sim);

    if (!d->proc.up)
        return;
    sim_log(sim, "fault: %s %s", d->proc.name, power ? "loses power" : "is killed");
    sim_daemon_kill(d, power);
    fault_after(sim, fault_ns(sim), end_of_death, &d->proc, NULL);
}

static void
fault_blackout(struct sim *sim)
{
    sim_log(sim, "fault: blackout");
    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        struct sim_daemon *d = &sim->daemons[i];

        if (!d->proc.up)
            continue;
        sim_daemon_kill(d, true);
        fault_after(sim, fault_ns(sim), end_of_death, &d->proc, NULL);
    }
}

static void
end_of_pause(struct sim_task *t)
{
    struct fault_task *f = cw_container_of(t, struct fault_task, task);

    f->a->paused = false;
}

static void
pause_for(struct sim *sim, struct sim_proc *p, uint64_t ns)
{
    if (!p->up || p->paused)
        return;
    sim_log(sim, "fault: %s is paused for %.3f s", p->name, (double)ns / 1e9);
    p->paused = true;
    fault_after(sim, ns, end_of_pause, p, NULL);
}

/* ---- the network ---- */

static void
end_of_partition(struct sim_task *t)
{
    struct fault_task *f = cw_container_of(t, struct fault_task, task);

    t->sim->blocked[f->a->index][f->b->index] = false;
}

static void
block_for(struct sim *sim, struct sim_proc *a, struct sim_proc *b, uint64_t ns)
{
    if (sim->blocked[a->index][b->index])
        return;
    sim_log(sim, "fault: %s does not reach %s for %.3f s", a->name, b->name, (double)ns / 1e9);
    sim->blocked[a->index][b->index] = true;
    fault_after(sim, ns, end_of_partition, a, b);
}

static void
fault_partition(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_fault;
    struct sim_proc *a = sim->procs[cw_prng_below(p, sim->n_procs)];
    struct sim_proc *b = sim->procs[cw_prng_below(p, sim->n_procs)];
    uint64_t ns = fault_ns(sim);

    if (a == b)
        return;
    block_for(sim, a, b, ns);
    if (sim_chance(p, 60))
        block_for(sim, b, a, ns);
}

static void
fault_cut(struct sim *sim)
{
    uint32_t n = 0, nth;

    CW_LIST_EACH (it, &sim->conns)
        n++;
    if (n == 0)
        return;
    nth = (uint32_t)cw_prng_below(&sim->rnd_fault, n);
    CW_LIST_EACH (it, &sim->conns)
        if (nth-- == 0) {
            struct sim_conn *c = cw_list_entry(it, struct sim_conn, node);

            sim_log(sim, "fault: cut %s - %s", c->end[0].proc->name, c->end[1].proc->name);
            sim_net_cut(c);
            return;
        }
}

/* ---- owners ---- */

static struct sim_client *
fault_next_client(struct sim *sim)
{
    struct sim_client *c;

    do
        c = &sim->clients[sim->next_client++ % sim->n_clients];
    while (c == sim->present && sim->n_clients > 1);
    if (c->proc.up)
        sim_client_kill(c);
    return c;
}

static void
end_of_reign(struct sim_task *t)
{
    struct fault_task *f = cw_container_of(t, struct fault_task, task);
    struct sim_client *c = cw_container_of(f->a, struct sim_client, proc);

    if (!c->proc.up && (!t->sim->calm || t->sim->present == NULL))
        sim_client_attach(c);
}

/* The old owner sees one copy only, the new one all but that: the case for leases (I10, I11). */
static void
split_view(struct sim *sim, struct sim_client *old, struct sim_client *next, uint64_t ns)
{
    struct sim_daemon *only = fault_daemon(sim);

    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        struct sim_daemon *d = &sim->daemons[i];
        struct sim_client *cut = d == only ? next : old;

        block_for(sim, &cut->proc, &d->proc, ns + 3 * CW_NS_PER_S);
        block_for(sim, &d->proc, &cut->proc, ns + 3 * CW_NS_PER_S);
    }
}

static void
fault_takeover(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_fault;
    struct sim_client *old = sim->present;
    struct sim_client *next = fault_next_client(sim);
    uint64_t ns = fault_ns(sim);
    uint32_t dice = (uint32_t)cw_prng_below(p, 6);

    if (old != NULL && dice == 5)
        split_view(sim, old, next, ns);
    if (old != NULL && dice == 0) {
        sim_log(sim, "fault: %s is killed", old->proc.name);
        sim_client_kill(old);
    } else if (old != NULL && dice == 1) {
        pause_for(sim, &old->proc, ns);
    } else if (old != NULL && dice <= 3) {
        for (uint32_t i = 0; i < sim->n_daemons; i++) {
            struct sim_proc *d = &sim->daemons[i].proc;

            if (sim_chance(p, 80))
                block_for(sim, &old->proc, d, ns);
            if (sim_chance(p, 80))
                block_for(sim, d, &old->proc, ns);
        }
    }
    fault_after(sim, sim_between(p, 0, 500 * CW_NS_PER_MS), end_of_reign, &next->proc, NULL);
}

static void
provoked(struct sim_task *t)
{
    struct fault_task *f = cw_container_of(t, struct fault_task, task);
    struct sim *sim = t->sim;

    if (sim->calm)
        return;
    sim_log(sim, "fault: all but %s are lost", f->a->name);
    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        struct sim_daemon *d = &sim->daemons[i];

        if (&d->proc == f->a || !d->proc.up || !sim_chance(&sim->rnd_fault, 85))
            continue;
        sim_daemon_kill(d, sim_chance(&sim->rnd_fault, 50));
        fault_after(sim, sim_between(&sim->rnd_fault, 4, 8) * CW_NS_PER_S, end_of_death, &d->proc,
                    NULL);
    }
    fault_takeover(sim);
}

void
sim_faults_provoke(struct sim *sim, uint32_t member)
{
    if (!sim->calm && sim_chance(&sim->rnd_fault, sim->provoke_percent))
        fault_after(sim, cw_prng_below(&sim->rnd_fault, 5 * CW_NS_PER_MS), provoked,
                    &sim->daemons[member].proc, NULL);
}

static void
released_poll(struct sim_task *t)
{
    struct fault_task *f = cw_container_of(t, struct fault_task, task);
    struct sim_client *old = cw_container_of(f->a, struct sim_client, proc);
    struct sim *sim = t->sim;

    if (old->proc.up && old->leaving && !old->lost && !sim->calm)
        fault_after(sim, 20 * CW_NS_PER_MS, released_poll, f->a, NULL);
    else if (old == sim->present)
        fault_takeover(sim);
}

static void
fault_release(struct sim *sim)
{
    struct sim_client *c = sim->present;

    if (c == NULL || !c->ready || c->lost || c->leaving || c->proc.paused)
        return;
    sim_log(sim, "%s releases", c->proc.name);
    sim_client_release(c);
    fault_after(sim, 20 * CW_NS_PER_MS, released_poll, &c->proc, NULL);
}

static void
fault_manager(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_fault;

    if (sim->control != NULL) {
        sim_mgr_fault(sim);
    } else if (sim_chance(p, 50)) {
        sim->reg.away_until_ns = sim->now_ns + fault_ns(sim);
        sim_log(sim, "fault: the manager is away");
    } else {
        sim->reg.lose_256ths = (uint32_t)sim_between(p, 0, 200);
        sim_log(sim, "fault: the manager loses %u/256 replies", sim->reg.lose_256ths);
    }
}

/* ---- the schedule ---- */

static void
fault_do(struct sim *sim, enum sim_fault fault)
{
    switch (fault) {
    case SIM_FAULT_KILL:
        fault_kill(sim, false);
        break;
    case SIM_FAULT_POWER:
        fault_kill(sim, true);
        break;
    case SIM_FAULT_PAUSE:
        pause_for(sim, &fault_daemon(sim)->proc, fault_ns(sim));
        break;
    case SIM_FAULT_CUT:
        fault_cut(sim);
        break;
    case SIM_FAULT_PARTITION:
        fault_partition(sim);
        break;
    case SIM_FAULT_MANAGER:
        fault_manager(sim);
        break;
    case SIM_FAULT_TAKEOVER:
        fault_takeover(sim);
        break;
    case SIM_FAULT_RELEASE:
        fault_release(sim);
        break;
    case SIM_FAULT_BLACKOUT:
        if (sim->n_blackouts++ < 2)
            fault_blackout(sim);
        break;
    case SIM_N_FAULTS:
        break;
    }
}

static enum sim_fault
fault_choose(struct sim *sim)
{
    uint32_t sum = 0, dice;

    for (uint32_t i = 0; i < SIM_N_FAULTS; i++)
        sum += sim->fault_weights[i];
    if (sum == 0)
        return SIM_N_FAULTS;
    dice = (uint32_t)cw_prng_below(&sim->rnd_fault, sum);
    for (uint32_t i = 0;; i++) {
        if (dice < sim->fault_weights[i])
            return (enum sim_fault)i;
        dice -= sim->fault_weights[i];
    }
}

static void
fault_next(struct sim_task *t)
{
    if (t->sim->calm)
        return;
    fault_do(t->sim, fault_choose(t->sim));
    sim_faults_start(t->sim);
}

void
sim_faults_start(struct sim *sim)
{
    struct sim_task *t = calloc(1, sizeof(*t));

    cw_assert(t != NULL);
    sim_after(sim, t, cw_prng_below(&sim->rnd_fault, 2 * sim->fault_every_ns), fault_next);
}

void
sim_faults_heal(struct sim *sim)
{
    sim->calm = true;
    sim->reg.away_until_ns = 0;
    sim->reg.lose_256ths = 0;
    sim_slow_heal(sim);
    if (sim->control != NULL)
        sim_mgr_heal(sim);
    sim_log(sim, "all is healed");
    for (uint32_t a = 0; a < sim->n_procs; a++)
        for (uint32_t b = 0; b < sim->n_procs; b++)
            sim->blocked[a][b] = false;
    for (uint32_t i = 0; i < sim->n_procs; i++)
        sim->procs[i]->paused = false;
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (!sim->daemons[i].proc.up)
            sim_daemon_start(&sim->daemons[i]);
}
