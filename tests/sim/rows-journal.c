/* sim/rows-journal.c - rows 17 and 18 of the acceptance catalogue with a spare for a journal. */
#include "common/base/bits.h"
#include "tests/sim/scenario.h"

static bool
journal_began(struct sim *sim)
{
    const struct cw_shard_rec *r = &sim->reg.recs[0];

    return r->n_members > sim->n_members && r->members[sim->n_members].since_seq != 0;
}

static void
take_over(struct sim *sim)
{
    sim_client_kill(sim->present);
    sim_attach_next(sim);
    sim_pass(sim, 50); /* until it is granted */
    sim_expect(sim, sim_owner_is_well, 30000, "the next owner is active");
}

static void
lose_two(struct sim *sim)
{
    bool power = sim_chance(&sim->rnd_fault, 50);

    sim_pass(sim, 2000);
    sim_daemon_kill(&sim->daemons[1], power);
    sim_pass(sim, sim_between(&sim->rnd_fault, 0, 100));
    sim_daemon_kill(&sim->daemons[2], power);
    sim_expect(sim, journal_began, 15000, "a journal begins");
    sim_goes_on(sim, 10, 10, 10000, "writes go on");
}

/* Two of three die within 100 ms, and a spare takes a journal; it restarts, the owner changes. */
void
sim_row_17_journal(struct sim *sim)
{
    struct sim_daemon *spare = &sim->daemons[3];

    lose_two(sim);
    if (sim_chance(&sim->rnd_fault, 50)) {
        sim_daemon_kill(spare, true);
        sim_pass(sim, 1000);
        sim_daemon_start(spare);
        sim_goes_on(sim, 10, 10, 15000, "the journal goes on after its restart");
    }
    if (sim_chance(&sim->rnd_fault, 50)) {
        take_over(sim);
        sim_demand(sim, journal_began(sim), "a takeover keeps the journal");
        sim_goes_on(sim, 10, 10, 15000, "the next owner serves");
    }
    sim_daemon_start(&sim->daemons[1]);
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, sim_all_in_sync, 60000, "all are in sync, and the journal has left");
    sim_goes_on(sim, 10, 10, 15000, "writes go on without it");
}

static bool
member_0_left(struct sim *sim)
{
    return sim->reg.recs[0].members[0].state != CW_MEMBER_INSYNC;
}

/* Then the last full copy dies, with its owner or not, and an older one returns: with the journal
 * it is whole. It may die in the middle. */
void
sim_row_18_journal(struct sim *sim)
{
    struct sim_daemon *old = &sim->daemons[1 + cw_prng_below(&sim->rnd_fault, 2)];
    bool with_owner = sim_chance(&sim->rnd_fault, 50);

    lose_two(sim);
    sim_daemon_kill(&sim->daemons[0], sim_chance(&sim->rnd_fault, 50));
    sim_pass(sim, sim_between(&sim->rnd_fault, 0, 6000));
    sim_daemon_start(old);
    if (with_owner)
        take_over(sim);
    if (sim_chance(&sim->rnd_fault, 50)) {
        sim_pass(sim, sim_between(&sim->rnd_fault, 0, 5000));
        sim_daemon_kill(old, true);
        sim_pass(sim, 500);
        sim_daemon_start(old);
    }
    sim_expect(sim, member_0_left, 60000, "the older copy takes the place of the last one");
    sim_demand(sim, sim->result.marks[SIM_MARK_WHOLE] == 1, "the journal made it whole");
    sim_goes_on(sim, 10, 10, 15000, "it serves");
    for (uint32_t i = 0; i < sim->n_members; i++) {
        if (!sim->daemons[i].proc.up)
            sim_daemon_start(&sim->daemons[i]);
    }
    sim_expect(sim, sim_all_in_sync, 60000, "all are in sync, and the journal has left");
}

static bool
member_1_left(struct sim *sim)
{
    return sim->reg.recs[0].members[1].state != CW_MEMBER_INSYNC;
}

/* The copy that returns left long before the journal began: with it, it is not whole. */
void
sim_journal_short(struct sim *sim)
{
    sim_daemon_kill(&sim->daemons[1], sim_chance(&sim->rnd_fault, 50));
    sim_expect(sim, member_1_left, 15000, "it is ejected");
    sim_goes_on(sim, 20, 10, 20000, "the others go on");
    take_over(sim); /* this one has no record from before it */
    sim_goes_on(sim, 20, 10, 20000, "the next owner serves");
    sim_daemon_kill(&sim->daemons[2], sim_chance(&sim->rnd_fault, 50));
    sim_expect(sim, journal_began, 20000, "a journal begins");
    sim_goes_on(sim, 10, 10, 10000, "writes go on");
    sim_daemon_kill(&sim->daemons[0], true);
    sim_daemon_start(&sim->daemons[1]);
    sim_pass(sim, 15000);
    sim_demand(sim, !member_0_left(sim), "an older copy does not take the last one's place");
    sim_daemon_start(&sim->daemons[sim_chance(&sim->rnd_fault, 50) ? 0 : 2]);
    sim_goes_on(sim, 10, 10, 60000, "one that is whole serves");
    for (uint32_t i = 0; i < sim->n_members; i++) {
        if (!sim->daemons[i].proc.up)
            sim_daemon_start(&sim->daemons[i]);
    }
    sim_expect(sim, sim_all_in_sync, 90000, "all are in sync, and the journal has left");
}
