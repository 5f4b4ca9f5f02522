/* sim/rows-recover.c - row 36: on from a stale copy when the last in-sync one is lost, and it was
 * not: the copies of the old lineage return. */
#include <stdio.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"
#include "tests/sim/scenario.h"

static bool
one_is_out(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_shards; i++)
        if (sim_reg_n_in_sync(sim, i) + 1 != sim->n_members)
            return false;
    return true;
}

static bool
first_owner_is_fenced(struct sim *sim)
{
    return sim->clients[0].lost;
}

static bool
it_registered(struct sim *sim)
{
    return sim_host_is_registered(sim->spoken_of);
}

static bool
three_in_sync(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_shards; i++)
        if (sim->reg.recs[i].n_members != sim->n_members)
            return false;
    return sim_all_in_sync(sim);
}

static bool
both_dropped(struct sim *sim)
{
    return sim->result.marks[SIM_MARK_DROPPED] >= 2 * sim->n_shards;
}

static bool
new_owner_is_well(struct sim *sim)
{
    return sim->present != NULL && sim_owner_is_well(sim);
}

static enum cw_mgr_code
recover(struct sim *sim, const struct sim_daemon *d, bool accept_loss)
{
    union cw_mgr_request req = { .volume_recover = { .name = SIM_VOLUME_NAME,
                                                     .accept_loss = accept_loss } };
    char copy[24];

    snprintf(copy, sizeof(copy), "%s/store-0", d->proc.name);
    req.volume_recover.copy = copy;
    return sim_operate(sim, sim->control->leader, CW_MGR_VOLUME_RECOVER, &req);
}

/* Two in sync, with what the third lacks; then they are gone, and their owner, or it waits. */
static void
lose(struct sim *sim, struct sim_daemon *stale, bool with_owner)
{
    bool power = sim_chance(&sim->rnd_fault, 50);

    sim_goes_on(sim, 20, 20, 20000, "some data is there");
    sim_daemon_kill(stale, power);
    sim_expect(sim, one_is_out, 15000, "it is ejected");
    sim_goes_on(sim, 20, 20, 20000, "the others have what it lacks");
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (&sim->daemons[i] != stale)
            sim_daemon_kill(&sim->daemons[i], power);
    sim_pass(sim, sim_between(&sim->rnd_fault, 0, 3000));
    if (with_owner)
        sim_client_kill(sim->present);
    sim_pass(sim, sim_between(&sim->rnd_fault, 0, 20000));
}

static void
go_on_from(struct sim *sim, struct sim_daemon *stale)
{
    uint64_t lineage = sim->reg.recs[0].lineage;
    uint32_t gen = sim->reg.gen;
    enum cw_mgr_code code;

    code = recover(sim, stale, true); /* in use: its owner has not yet told that it is suspended */
    sim_demand(sim, code == CW_MGR_BAD_REQUEST || code == CW_MGR_VOLUME_IN_USE,
               "not while it is down");
    sim_daemon_start(stale);
    sim->spoken_of = stale;
    sim_expect(sim, it_registered, 10000, "the stale copy registers");
    sim_pass(sim, 5000);
    sim_demand(sim, recover(sim, stale, false) == CW_MGR_OK, "it is told what could be done");
    sim_demand(sim, sim->reg.gen == gen && sim->reg.recs[0].lineage == lineage, "and nothing is");
    sim->control->may_recover = true;
    sim_demand(sim, recover(sim, stale, true) == CW_MGR_OK, "an operator goes on from it");
    sim_demand(sim, sim->reg.gen == gen + 1 && sim->reg.recs[0].lineage != lineage,
               "it is in force");
    sim_demand(sim, recover(sim, stale, true) == CW_MGR_BAD_REQUEST, "once");
    sim->control->may_recover = false;
}

static void
return_all(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        if (sim->daemons[i].proc.up)
            continue;
        sim_daemon_start(&sim->daemons[i]);
        sim_pass(sim, sim_between(&sim->rnd_fault, 0, 4000));
    }
}

/* They come back before anybody attached, or under load; managers fail over. */
void
sim_row_36(struct sim *sim)
{
    struct sim_daemon *stale = &sim->daemons[cw_prng_below(&sim->rnd_fault, sim->n_daemons)];
    bool early = sim_chance(&sim->rnd_fault, 30), again = sim_chance(&sim->rnd_fault, 50);
    bool with_owner = sim_chance(&sim->rnd_fault, 60);
    uint32_t promoted;

    lose(sim, stale, with_owner);
    go_on_from(sim, stale);
    if (!with_owner)
        sim_expect(sim, first_owner_is_fenced, 5000, "an owner that waits is fenced");
    promoted = sim->result.marks[SIM_MARK_PROMOTE];
    if (early)
        return_all(sim);
    if (again) {
        sim_daemon_kill(stale, true);
        sim_pass(sim, 500);
        sim_daemon_start(stale);
    }
    sim_attach_next(sim);
    sim_expect(sim, new_owner_is_well, 30000, "the next owner is active");
    sim_goes_on(sim, 20, 20, 20000, "it serves from the one copy");
    return_all(sim);
    if (sim_chance(&sim->rnd_mgr, 50))
        sim_mgr_fault(sim);
    sim_expect(sim, both_dropped, 60000, "the copies of the old lineage are dropped");
    sim_expect(sim, three_in_sync, 90000, "others are made in their place");
    sim_demand(sim, sim->result.marks[SIM_MARK_PROMOTE] >= promoted + 2 * sim->n_shards,
               "by resyncs from scratch");
    sim_goes_on(sim, 20, 20, 20000, "all serve");
    sim->result.marks[SIM_MARK_DROPPED] = 0;
}
