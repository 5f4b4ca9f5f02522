/* sim/faults.c - what goes wrong, when, and when it is over.
 *
 * Each seed has its own set of classes and rates, and from them a list of events. Each event has a
 * seed of its own for all that it chooses, so that events may be dropped without a change of the
 * others (sim/shrink.c). All faults here end by themselves; sim_faults_heal ends those that are
 * left.
 */
#include <stdlib.h>

#include "common/base/bits.h"
#include "tests/sim/scenario.h"

const char *const sim_fault_names[SIM_N_FAULTS] = {
    "kill",    "power",    "pause",  "cut",  "partition", "manager",   "takeover",
    "release", "blackout", "slow",   "hang", "ambush",    "half-open", "clog",
    "rot",     "eio",      "vanish", "swap", "forget",    "wipe",
};

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

static struct sim_proc *
fault_proc(struct sim *sim)
{
    return sim->procs[cw_prng_below(&sim->rnd_fault, sim->n_procs)];
}

/* ---- daemons ---- */

/* One that closes its store yet is waited for. */
static void
end_of_death(struct sim_task *t)
{
    struct sim_proc *p = cw_container_of(t, struct fault_task, task)->a;
    struct sim_daemon *d = cw_container_of(p, struct sim_daemon, proc);

    if (d->stopping)
        fault_after(t->sim, 100 * CW_NS_PER_MS, end_of_death, p, NULL);
    else if (!p->up)
        sim_daemon_start(d);
}

void
sim_fault_lose(struct sim *sim, struct sim_proc *daemon, bool power)
{
    if (!daemon->up)
        return;
    sim_log(sim, "fault: %s %s", daemon->name, power ? "loses power" : "is killed");
    sim_daemon_kill(cw_container_of(daemon, struct sim_daemon, proc), power);
    fault_after(sim, fault_ns(sim), end_of_death, daemon, NULL);
}

static void
fault_kill(struct sim *sim)
{
    struct sim_daemon *d = fault_daemon(sim);

    if (!sim->stops || !d->proc.up || !sim_chance(&sim->rnd_stop, 40)) {
        sim_fault_lose(sim, &d->proc, false);
        return;
    }
    sim_daemon_stop(d);
    fault_after(sim, fault_ns(sim), end_of_death, &d->proc, NULL);
}

void
sim_fault_all_but(struct sim *sim, const struct sim_proc *daemon)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (&sim->daemons[i].proc != daemon && sim_chance(&sim->rnd_fault, 85))
            sim_fault_lose(sim, &sim->daemons[i].proc, sim_chance(&sim->rnd_fault, 50));
}

static void
fault_blackout(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        sim_fault_lose(sim, &sim->daemons[i].proc, true);
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

void
sim_fault_part(struct sim *sim, struct sim_proc *a, struct sim_proc *b)
{
    uint64_t ns = fault_ns(sim);

    if (a == b || b == NULL)
        return;
    block_for(sim, a, b, ns);
    if (sim_chance(&sim->rnd_fault, 60))
        block_for(sim, b, a, ns);
}

static void
fault_cut(struct sim *sim, bool half_open)
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

            sim_log(sim, "fault: %s %s - %s", half_open ? "half-open" : "cut", c->end[0].proc->name,
                    c->end[1].proc->name);
            if (half_open)
                sim_net_half_open(c);
            else
                sim_net_cut(c);
            return;
        }
}

static void
end_of_clog(struct sim_task *t)
{
    struct fault_task *f = cw_container_of(t, struct fault_task, task);

    t->sim->clog_bytes_per_s[f->a->index] = 0;
}

static void
fault_clog(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_fault;
    struct sim_proc *to = sim->procs[cw_prng_below(p, sim->n_procs)];
    uint64_t rate = sim_between(p, 10, 300) * CW_KIB, ns = fault_ns(sim);

    sim_log(sim, "fault: %s gets %llu bytes/s", to->name, (unsigned long long)rate);
    sim->clog_bytes_per_s[to->index] = rate;
    sim_unwell(sim, ns + 3 * CW_NS_PER_S); /* what is on the wire by then */
    fault_after(sim, ns, end_of_clog, to, NULL);
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
split_view(struct sim *sim, struct sim_client *old, struct sim_client *next,
           const struct sim_proc *only, uint64_t ns)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        struct sim_daemon *d = &sim->daemons[i];
        struct sim_client *cut = &d->proc == only ? next : old;

        block_for(sim, &cut->proc, &d->proc, ns + 3 * CW_NS_PER_S);
        block_for(sim, &d->proc, &cut->proc, ns + 3 * CW_NS_PER_S);
    }
}

static void
takeover(struct sim *sim, uint32_t dice, const struct sim_proc *only)
{
    struct cw_prng *p = &sim->rnd_fault;
    struct sim_client *old = sim->present;
    struct sim_client *next = fault_next_client(sim);
    uint64_t ns = fault_ns(sim);

    if (sim->media.fragile)
        dice = 0;
    if (old != NULL && dice == 5)
        split_view(sim, old, next, only, ns);
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

void
sim_fault_takeover(struct sim *sim)
{
    uint32_t dice = (uint32_t)cw_prng_below(&sim->rnd_fault, 6);

    takeover(sim, dice, &fault_daemon(sim)->proc);
}

void
sim_fault_split(struct sim *sim, const struct sim_proc *daemon)
{
    takeover(sim, 5, daemon);
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
        sim_fault_takeover(sim);
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
        fault_kill(sim);
        break;
    case SIM_FAULT_POWER:
        sim_fault_lose(sim, &fault_daemon(sim)->proc, true);
        break;
    case SIM_FAULT_PAUSE:
        pause_for(sim, &fault_daemon(sim)->proc, fault_ns(sim));
        break;
    case SIM_FAULT_CUT:
    case SIM_FAULT_HALF_OPEN:
        fault_cut(sim, fault == SIM_FAULT_HALF_OPEN);
        break;
    case SIM_FAULT_PARTITION:
        sim_fault_part(sim, fault_proc(sim), fault_proc(sim));
        break;
    case SIM_FAULT_MANAGER:
        fault_manager(sim);
        break;
    case SIM_FAULT_TAKEOVER:
        sim_fault_takeover(sim);
        break;
    case SIM_FAULT_RELEASE:
        fault_release(sim);
        break;
    case SIM_FAULT_BLACKOUT:
        if (sim->n_blackouts++ < 2)
            fault_blackout(sim);
        break;
    case SIM_FAULT_SLOW:
    case SIM_FAULT_HANG:
        sim_slow(sim, fault == SIM_FAULT_HANG);
        break;
    case SIM_FAULT_AMBUSH:
        sim_ambush(sim);
        break;
    case SIM_FAULT_CLOG:
        fault_clog(sim);
        break;
    case SIM_FAULT_ROT:
    case SIM_FAULT_EIO:
    case SIM_FAULT_VANISH:
    case SIM_FAULT_SWAP:
    case SIM_FAULT_FORGET:
    case SIM_FAULT_WIPE:
        /* links find a disk by its identity, not by the place it was told of last; full ones take
         * long to scrub */
        if ((sim->control == NULL || fault != SIM_FAULT_SWAP) && !sim->full.on)
            sim_media_do(sim, fault);
        break;
    case SIM_N_FAULTS:
        break;
    }
}

static enum sim_fault
fault_choose(struct sim *sim)
{
    uint32_t sum = 0, dice;

    for (uint32_t i = 0; i < SIM_FAULT_FIRST_NEW; i++)
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

/* While a disk forgets, whoever still knows must be there to notice. */
static bool
fault_is_mild(enum sim_fault fault)
{
    return fault == SIM_FAULT_TAKEOVER || fault == SIM_FAULT_RELEASE || fault == SIM_FAULT_MANAGER;
}

struct event_task {
    struct sim_task task;
    uint32_t index;
};

static void
event_fire(struct sim_task *t)
{
    struct sim *sim = t->sim;
    uint32_t index = cw_container_of(t, struct event_task, task)->index;
    const struct sim_event *ev = &sim->events[index];

    if (sim->calm || (sim->media.fragile && !fault_is_mild(ev->what)))
        return;
    sim->result.n_events = (uint32_t)cw_max_u64(sim->result.n_events, index + 1);
    cw_prng_init(&sim->rnd_fault, ev->seed);
    if (sim->opts.trace)
        sim_log(sim, "event %u: %s", index, sim_fault_names[ev->what]);
    fault_do(sim, ev->what);
}

static void
event_add(struct sim *sim, uint64_t after_ns, enum sim_fault what, uint64_t seed)
{
    struct event_task *t = calloc(1, sizeof(*t));
    uint32_t index = sim->n_events++;

    cw_assert(t != NULL);
    sim->events[index] = (struct sim_event){ .what = what, .seed = seed };
    if (sim->events[index].what == SIM_N_FAULTS || cw_bit_get(sim->opts.drop, index)) {
        free(t);
        return;
    }
    t->index = index;
    sim_after(sim, &t->task, after_ns, event_fire);
}

/* The owner and every copy at once: what was in memory alone is gone. */
static void
lose_memory(struct sim_task *t)
{
    struct sim *sim = t->sim;

    if (sim->calm || !sim_owner_is_well(sim) || sim->media.touched || sim->media.fragile)
        return;
    sim_client_kill(sim->present);
    fault_blackout(sim);
    sim_fault_takeover(sim);
}

void
sim_fault_memory(struct sim *sim)
{
    struct sim_task *t = calloc(1, sizeof(*t));

    cw_assert(t != NULL);
    sim_after(sim, t, cw_prng_below(&sim->rnd_ack, 3 * CW_NS_PER_MS), lose_memory);
}

void
sim_faults_start(struct sim *sim, uint64_t for_ns)
{
    uint64_t after_ns = 0, ns;
    enum sim_fault what;

    while (sim->n_events < SIM_EVENTS_MAX) {
        after_ns += cw_prng_below(&sim->rnd_fault, 2 * sim->fault_every_ns);
        if (after_ns >= for_ns)
            break;
        what = fault_choose(sim);
        event_add(sim, after_ns, what, cw_prng_next(&sim->rnd_fault));
    }
    after_ns = 0;
    while (sim->n_events < SIM_EVENTS_MAX) {
        what = sim_modes_next(sim, &ns);
        after_ns += ns;
        if (what == SIM_N_FAULTS || after_ns >= for_ns)
            break;
        event_add(sim, after_ns, what, cw_prng_next(&sim->rnd_mode));
    }
}

void
sim_faults_heal(struct sim *sim)
{
    sim->calm = true;
    cw_prng_init(&sim->rnd_fault, sim->opts.seed); /* what follows is the same with fewer events */
    sim->reg.away_until_ns = 0;
    sim->reg.lose_256ths = 0;
    sim->reg.deaf = NULL;
    sim->reg.lose_to = sim->reg.late_to = sim->reg.refuse_to = 0;
    sim_slow_heal(sim);
    sim_modes_heal(sim);
    sim_media_heal(sim);
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
