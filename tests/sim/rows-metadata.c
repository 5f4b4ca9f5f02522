/* sim/rows-metadata.c - row 56: an older copy of the metadata store is put back.
 *
 * Since it was made another owner came, or members changed. Copies know better: nobody is granted a
 * generation that was granted, no record goes on from an old one, no copy is dropped by it. With
 * the newest copy all goes on, and nothing that was acknowledged is lost.
 */
#include "common/base/bits.h"
#include "tests/sim/control.h"
#include "tests/sim/scenario.h"

static bool
one_is_not_in_sync(struct sim *sim)
{
    return sim_reg_n_in_sync(sim, 0) < sim->n_members;
}

static bool
registered(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (sim->daemons[i].proc.up && !sim_host_is_the_leaders(&sim->daemons[i]))
            return false;
    return true;
}

static void
stop_managers(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_MANAGERS; i++)
        sim_mgr_kill(&sim->control->mgrs[i]);
    sim_pass(sim, 3000); /* what was under way is over */
}

static struct sim_daemon *
member(struct sim *sim, uint32_t i)
{
    return sim_member_daemon(sim, &sim->reg.recs[0].members[i]);
}

static void
leave_out(struct sim *sim, struct sim_daemon *d)
{
    sim_daemon_kill(d, sim_chance(&sim->rnd_mgr, 50));
    sim_expect(sim, one_is_not_in_sync, 20000, "a copy is ejected");
    sim_goes_on(sim, 20, 20, 20000, "the others have what it lacks");
}

/* The next owner; what it is granted is not in the copy of the metadata. */
static void
change_owner(struct sim *sim)
{
    sim_client_kill(sim->present);
    sim_attach_next(sim);
    sim_expect(sim, sim_owner_is_well, 40000, "the next owner is active");
    sim_goes_on(sim, 20, 20, 20000, "it serves");
}

/* another: another owner came since. True: nobody has it attached any more. */
static bool
go_back(struct sim *sim, bool another)
{
    struct cw_prng *p = &sim->rnd_mgr;
    bool out = sim_chance(p, 50), away = sim_chance(p, 50),
         next = another || !away || sim_chance(p, 50);
    bool dies = sim_chance(p, 60);
    struct sim_daemon *a = member(sim, 0), *c = member(sim, 2);

    if (out)
        leave_out(sim, c);
    sim_kv_save(sim);
    if (out) {
        sim_daemon_start(c);
        sim_expect(sim, sim_all_in_sync, 60000, "it is in sync again");
    }
    if (away)
        leave_out(sim, a);
    if (next)
        change_owner(sim);
    stop_managers(sim);
    if (dies && !sim->result.failed)
        sim_client_kill(sim->present);
    if (away && sim_chance(p, 50))
        sim_daemon_start(a);
    sim_kv_swap(sim);
    return dies;
}

static void
restart_daemons(struct sim *sim)
{
    bool power = sim_chance(&sim->rnd_mgr, 50);

    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        if (!sim->daemons[i].proc.up)
            continue;
        sim_daemon_kill(&sim->daemons[i], power);
        sim_daemon_start(&sim->daemons[i]);
    }
}

/* The newest copy of the metadata is found after all. */
static void
go_on(struct sim *sim, bool dead)
{
    for (uint32_t i = 0; i < sim->n_clients; i++)
        if (&sim->clients[i] != sim->present)
            sim_client_kill(&sim->clients[i]);
    stop_managers(sim);
    sim_kv_swap(sim);
    sim_mgr_heal(sim);
    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        sim->daemons[i].storms = 0;
        if (!sim->daemons[i].proc.up)
            sim_daemon_start(&sim->daemons[i]);
    }
    if (dead)
        sim_attach_next(sim);
    sim_expect(sim, sim_all_in_sync, 90000, "all serve with the newest");
    sim_goes_on(sim, 20, 20, 20000, "and go on");
}

static void
try_to_attach(struct sim *sim)
{
    struct sim_client *c = &sim->clients[sim->next_client++ % sim->n_clients];

    if (c == sim->present)
        c = &sim->clients[sim->next_client++ % sim->n_clients];
    if (c->proc.up)
        sim_client_kill(c);
    sim_client_attach(c);
}

static bool
serves_another(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_clients; i++)
        if (&sim->clients[i] != sim->present && sim->clients[i].proc.up && sim->clients[i].ready)
            return true;
    return false;
}

/* All daemons are back before anybody asks; some disk is to be emptied, the volume to grow. */
void
sim_row_56(struct sim *sim)
{
    struct sim_daemon *c = member(sim, 2);
    uint32_t dropped;
    bool dead;

    sim_goes_on(sim, 20, 20, 20000, "some data is there");
    dead = go_back(sim, false);
    dropped = sim->result.marks[SIM_MARK_DROPPED];
    if (sim_chance(&sim->rnd_mgr, 50))
        restart_daemons(sim);
    sim_mgr_heal(sim);
    sim_expect(sim, registered, 30000, "the daemons register");
    if (sim_chance(&sim->rnd_mgr, 50))
        c->storms = 1;
    if (sim_chance(&sim->rnd_mgr, 50))
        sim_operate(sim, sim->control->leader, CW_MGR_VOLUME_RESIZE,
                    &(union cw_mgr_request){
                        .volume_resize = { .name = SIM_VOLUME_NAME, .size_bytes = 64 * CW_MIB } });
    try_to_attach(sim);
    sim_pass(sim, 20000);
    sim_demand(sim, !serves_another(sim), "nobody serves by old metadata");
    sim_demand(sim, sim->result.marks[SIM_MARK_DROPPED] == dropped, "no copy is dropped by it");
    go_on(sim, dead);
}

/* Somebody attaches as soon as a manager leads, whatever it knows by then; daemons restarted or
 * not. The copies have promised that generation to another; one that was away promises it to this
 * one, and then refuses its true owner until the next generation. */
void
sim_row_56_at_once(struct sim *sim)
{
    sim_goes_on(sim, 20, 20, 20000, "some data is there");
    go_back(sim, true);
    sim_mgr_heal(sim);
    try_to_attach(sim);
    sim_pass(sim, 20000);
    sim_demand(sim, !serves_another(sim), "nobody serves by old metadata");
    if (sim->present != NULL)
        sim_client_kill(sim->present);
    go_on(sim, true);
}
