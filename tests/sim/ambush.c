/* sim/ambush.c - faults that wait for a moment of the protocol and strike right then.
 *
 * Most rules matter for a few milliseconds: while a change is in doubt, between two copies' seals,
 * while a chunk is on its way. Faults at random times hardly ever meet them. An ambush is an event
 * like others; it names a moment, and how often that has to come before it strikes.
 */
#include <stdlib.h>

#include "common/base/bits.h"
#include "tests/sim/sim.h"

#define NEAR_NS (4 * CW_NS_PER_MS)

static const uint8_t ambush_frames[] = {
    CW_FT_SEAL,      CW_FT_SEAL_OK,   CW_FT_SEALED,        CW_FT_OPEN,       CW_FT_OPEN_OK,
    CW_FT_GEN_START, CW_FT_NACK,      CW_FT_REPAIR_APPEND, CW_FT_JOIN,       CW_FT_JOIN_OK,
    CW_FT_SYNC_FROM, CW_FT_VER_LIST,  CW_FT_VER_DATA,      CW_FT_CHUNK_GET,  CW_FT_CHUNK_DATA,
    CW_FT_SYNC_DONE, CW_FT_TAIL_DATA, CW_FT_BLOCK_REPAIR,  CW_FT_TAIL_QUERY, CW_FT_CFG,
};

void
sim_ambush(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_fault;
    struct sim_ambush *a = &sim->ambushes[cw_prng_below(p, SIM_AMBUSHES)];

    *a = (struct sim_ambush){
        .armed = true,
        .moment = (enum sim_moment)cw_prng_below(p, SIM_N_MOMENTS),
        .nth = (uint32_t)sim_between(p, 1, sim_chance(p, 70) ? 1 : 4),
        .seed = cw_prng_next(p),
    };
    if (a->moment == SIM_MOMENT_FRAME)
        a->frame = ambush_frames[cw_prng_below(p, CW_LEN(ambush_frames))];
    else if (a->moment == SIM_MOMENT_CHANGE || a->moment == SIM_MOMENT_WANTED)
        a->to = (enum cw_member_state)sim_between(p, CW_MEMBER_INSYNC, CW_MEMBER_OUT);
}

struct strike_task {
    struct sim_task task;
    struct sim_proc *daemon, *other;
    uint64_t seed;
};

/* The daemon that it was about, the owner of the moment, or everybody but that daemon. */
static void
strike(struct sim_task *t)
{
    struct strike_task *s = cw_container_of(t, struct strike_task, task);
    struct sim *sim = t->sim;
    struct cw_prng *p = &sim->rnd_fault;

    if (sim->calm || sim->media.fragile)
        return;
    cw_prng_init(p, s->seed);
    sim_mark(sim, SIM_MARK_AMBUSH);
    switch (cw_prng_below(p, 8)) {
    case 0:
    case 1:
        sim_fault_all_but(sim, s->daemon);
        sim_fault_takeover(sim);
        break;
    case 2:
        sim_fault_lose(sim, s->daemon, sim_chance(p, 50));
        break;
    case 3:
        sim_fault_lose(sim, s->daemon, sim_chance(p, 50));
        sim_fault_takeover(sim);
        break;
    case 4:
        sim_fault_part(sim, s->daemon, s->other);
        break;
    case 5:
        sim_fault_part(sim, s->daemon, s->other);
        sim_fault_takeover(sim);
        break;
    case 6:
        sim_fault_split(sim, s->daemon);
        break;
    default:
        sim_fault_takeover(sim);
        break;
    }
}

static void
ambush_meets(struct sim *sim, struct sim_ambush *a, struct sim_proc *daemon, struct sim_proc *other)
{
    struct strike_task *s;

    if (--a->nth > 0)
        return;
    a->armed = false;
    s = calloc(1, sizeof(*s));
    cw_assert(s != NULL);
    s->daemon = daemon;
    s->other = other;
    s->seed = a->seed;
    sim_after(sim, &s->task, a->seed % 2 == 0 ? 0 : a->seed / 2 % NEAR_NS, strike);
}

void
sim_ambush_frame(struct sim *sim, struct sim_proc *from, struct sim_proc *to, uint8_t type)
{
    bool to_daemon = to->index < sim->n_daemons;

    for (uint32_t i = 0; i < SIM_AMBUSHES; i++) {
        struct sim_ambush *a = &sim->ambushes[i];

        if (a->armed && a->moment == SIM_MOMENT_FRAME && a->frame == type)
            ambush_meets(sim, a, to_daemon ? to : from, to_daemon ? from : to);
    }
}

void
sim_ambush_member(struct sim *sim, enum sim_moment moment, uint32_t daemon, enum cw_member_state to)
{
    for (uint32_t i = 0; i < SIM_AMBUSHES; i++) {
        struct sim_ambush *a = &sim->ambushes[i];

        if (a->armed && a->moment == moment && (moment == SIM_MOMENT_ATTACH || a->to == to))
            ambush_meets(sim, a, &sim->daemons[daemon].proc,
                         sim->present != NULL ? &sim->present->proc : NULL);
    }
}
