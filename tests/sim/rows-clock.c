/* sim/rows-clock.c - row 6: wall clocks jump by an hour, to and fro.
 *
 * The managers are all that ever sees one: owners, replicas and stores have only the clock of their
 * env, and a daemon tells nobody what time it takes it to be. Leases, ejects, caretakers and
 * elections come as they always do, and the trash keeps what it keeps for as long as it was told.
 */
#include "common/base/bits.h"
#include "tests/sim/control.h"
#include "tests/sim/scenario.h"

#define OTHER "/vol/0000000000000002"
#define KEPT_S 60u

static void
jump(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_MANAGERS; i++)
        if (sim_chance(&sim->rnd_mgr, 70))
            sim_mgr_wall_jump(&sim->control->mgrs[i]);
}

static void
jump_for(struct sim *sim, uint32_t s)
{
    for (uint32_t i = 0; i < 2 * s && !sim->result.failed; i++) {
        if (sim_chance(&sim->rnd_mgr, 40))
            jump(sim);
        sim_pass(sim, 500);
    }
}

static void
throw_away_another(struct sim *sim)
{
    struct sim_mgr *m = sim->control->leader;
    enum cw_mgr_code code = sim_operate(
        sim, m, CW_MGR_VOLUME_CREATE,
        &(union cw_mgr_request){
            .volume_create = { .name = "other", .size_bytes = CW_MIB, .policy = "sim" } });

    sim_demand(sim, code == CW_MGR_OK, "another volume is made");
    code =
        sim_operate(sim, m, CW_MGR_VOLUME_RM,
                    &(union cw_mgr_request){ .volume_rm = { .name = "other", .delay_s = KEPT_S } });
    sim_demand(sim, code == CW_MGR_OK, "and thrown away");
}

static bool
other_is_gone(struct sim *sim)
{
    return !sim_kv_has(sim, OTHER);
}

/* Nothing else happens: nothing does because of it. */
static void
only_clocks(struct sim *sim)
{
    uint32_t changes = sim->reg.n_changes, gen = sim->reg.gen;

    throw_away_another(sim);
    jump_for(sim, KEPT_S - 10);
    sim_demand(sim, !other_is_gone(sim), "the trash keeps it for as long as it was told");
    sim_demand(sim, sim->reg.n_changes == changes && sim->reg.gen == gen, "nothing changes");
    sim_goes_on(sim, 20, 20, 5000, "the owner serves");
    sim_expect(sim, other_is_gone, 15000, "and no longer");
}

static bool
member_2_left(struct sim *sim)
{
    return sim_n_in_state(sim, CW_MEMBER_INSYNC) < sim->n_members;
}

static bool
is_cared_for(struct sim *sim)
{
    return sim->result.marks[SIM_MARK_CARED] > 0;
}

/* What waits for a time waits for as long as it does otherwise. */
void
sim_row_06(struct sim *sim)
{
    only_clocks(sim);
    sim_daemon_kill(&sim->daemons[2], false);
    jump_for(sim, 2);
    sim_demand(sim, !member_2_left(sim), "a copy is not ejected early");
    sim_expect(sim, member_2_left, 10000, "but it is");
    if (sim_chance(&sim->rnd_mgr, 50))
        sim_mgr_depose(sim);
    else
        sim_mgr_kill_leader(sim);
    jump_for(sim, 5);
    sim_goes_on(sim, 10, 10, 5000, "the others serve");
    sim_client_kill(sim->present);
    jump_for(sim, 2);
    sim_demand(sim, !is_cared_for(sim), "no daemon takes a volume at once");
    sim_expect(sim, is_cared_for, 40000, "one takes care of it in time");
    jump(sim);
    sim_daemon_start(&sim->daemons[2]);
    jump_for(sim, 5);
    sim->control->force_percent = 0;
    sim_attach_next(sim);
    sim_expect(sim, sim_owner_is_well, 20000, "a client need not force its way in");
    jump(sim);
    sim_goes_on(sim, 10, 10, 20000, "it serves");
    sim_expect(sim, sim_all_in_sync, 30000, "all are in sync");
}
