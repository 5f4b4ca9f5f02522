/* sim/rows-handover.c - row 31: a volume is handed from owner to owner under load.
 *
 * Without faults the target goes on at once. With one, at each step of the protocol, the volume has
 * one owner in the end, and no write of the loser lands: the histories tell.
 */
#include <stdlib.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"
#include "tests/sim/scenario.h"

static struct sim_client *
other_client(struct sim *sim, const struct sim_client *than)
{
    struct sim_client *c;

    do
        c = &sim->clients[sim->next_client++ % sim->n_clients];
    while (c == than);
    return c;
}

static enum cw_mgr_code
allow(struct sim *sim)
{
    return sim_operate(
        sim, sim->control->leader, CW_MGR_HANDOVER_ALLOW,
        &(union cw_mgr_request){ .handover_allow = { .volume = SIM_VOLUME_NAME, .seconds = 60 } });
}

static enum cw_mgr_code
stand_by(struct sim *sim)
{
    return sim_operate(sim, sim->control->leader, CW_MGR_ATTACH,
                       &(union cw_mgr_request){ .attach = { .volume = SIM_VOLUME_NAME,
                                                            .intent = CW_MGR_INTENT_STANDBY } });
}

static void
take(struct sim *sim, struct sim_client *c)
{
    if (c->proc.up)
        sim_client_kill(c);
    sim_client_take(c);
}

/* ---- a resync under way ---- */

static bool
one_left(struct sim *sim)
{
    return sim_n_in_state(sim, CW_MEMBER_INSYNC) < sim->n_members;
}

static bool
one_is_copied(struct sim *sim)
{
    return sim_n_in_state(sim, CW_MEMBER_IN_RESYNC) > 0;
}

/* A copy was away for some writes, and is being brought back, slowly. */
static void
begin_resync(struct sim *sim)
{
    struct sim_daemon *d = &sim->daemons[2];

    sim_daemon_kill(d, false);
    sim_expect(sim, one_left, 15000, "a copy that is away is ejected");
    sim_goes_on(sim, 10, 10, 20000, "the others serve");
    sim_pass(sim, 2000);
    sim_daemon_start(d);
    sim_expect(sim, one_is_copied, 30000, "it is brought back");
    sim_pass(sim, sim_between(&sim->rnd_mgr, 0, 300));
}

/* ---- without faults ---- */

#define STALL_MS 400u /* with the simulator's audit of all copies */

void
sim_hand_to_and_fro(struct sim *sim)
{
    uint32_t waits = sim->result.marks[SIM_MARK_LEASE_WAIT];

    sim->resync_bytes_per_s = 150 * CW_KIB;
    sim_demand(sim, stand_by(sim) == CW_MGR_VOLUME_IN_USE, "nobody stands by unallowed");
    for (uint32_t i = 0; i < 10 && !sim->result.failed; i++) {
        struct sim_client *source = sim->present, *target = other_client(sim, source);
        uint32_t gen = sim->reg.gen, handed = sim->result.marks[SIM_MARK_HANDED];

        if (i % 4 == 2)
            begin_resync(sim);
        sim_goes_on(sim, 10, 10, 5000, "the owner serves");
        sim_demand(sim, allow(sim) == CW_MGR_OK, "it may be handed over");
        sim_demand(sim, stand_by(sim) == CW_MGR_OK, "the target stands by");
        sim_demand(sim, sim->present == source && sim->reg.gen == gen, "which takes nothing");
        take(sim, target);
        sim_pass(sim, STALL_MS);
        sim_demand(sim, sim->present == target && sim_owner_is_well(sim), "the target serves");
        sim_demand(sim, sim->reg.gen == gen + 1, "by one generation");
        sim_demand(sim, sim->result.marks[SIM_MARK_HANDED] == handed + 1, "after a release");
        sim_demand(sim, source->lost && source->n_pending == 0, "the source has let go");
        sim_goes_on(sim, 10, 10, 5000, "the target goes on");
    }
    sim_demand(sim, sim->result.marks[SIM_MARK_LEASE_WAIT] == waits, "no lease was waited for");
    sim_demand(sim, sim->result.marks[SIM_MARK_FENCED] == 0, "nobody had to be fenced");
    sim_expect(sim, sim_all_in_sync, 60000, "the resync ends at whoever owns the volume");
}

/* ---- with one, at a step ---- */

struct strike_task {
    struct sim_task task;
    struct sim_ctl *ctl; /* its message is lost */
    enum sim_way way;
};

static void
part_managers(struct sim *sim, struct sim_proc *p)
{
    for (uint32_t i = 0; i < SIM_MANAGERS; i++)
        sim_part(sim, p, &sim->control->mgrs[i].proc);
}

static void
part_from_all_but(struct sim *sim, struct sim_proc *p, const struct sim_proc *but)
{
    for (uint32_t i = 0; i < sim->n_procs; i++)
        if (sim->procs[i] != p && sim->procs[i] != but)
            sim_part(sim, p, sim->procs[i]);
}

static void
fault_now(struct sim *sim, const struct sim_strike *s)
{
    struct sim_daemon *one = &sim->daemons[cw_prng_below(&sim->rnd_mgr, 2)];

    sim_log(sim, "fault %d at step %d of a hand-over", (int)s->fault, (int)s->step);
    switch (s->fault) {
    case SIM_HAND_KILL_SOURCE:
        sim_client_kill(s->source);
        return;
    case SIM_HAND_PAUSE_SOURCE:
        s->source->proc.paused = true;
        return;
    case SIM_HAND_CUT_SOURCE:
        part_managers(sim, &s->source->proc);
        return;
    case SIM_HAND_STRAND_SOURCE:
        for (uint32_t i = 0; i < sim->n_daemons; i++)
            sim_part(sim, &s->source->proc, &sim->daemons[i].proc);
        return;
    case SIM_HAND_ONE_COPY:
        sim_part(sim, &s->source->proc, &one->proc);
        return;
    case SIM_HAND_SPLIT:
        part_from_all_but(sim, &s->source->proc, &one->proc);
        part_from_all_but(sim, &one->proc, &s->source->proc);
        return;
    case SIM_HAND_KILL_COPY:
        sim_daemon_kill(one, false);
        return;
    case SIM_HAND_FAILOVER:
        sim_mgr_kill_leader(sim);
        return;
    case SIM_HAND_DEPOSE:
        sim_mgr_depose(sim);
        return;
    case SIM_HAND_KILL_TARGET:
        sim_client_kill(s->target);
        return;
    case SIM_HAND_PAUSE_TARGET:
        s->target->proc.paused = true;
        return;
    case SIM_HAND_NO_FAULT:
    case SIM_HAND_N_FAULTS:
        return;
    }
}

static void
strike(struct sim_task *t)
{
    struct strike_task *s = cw_container_of(t, struct strike_task, task);

    if (s->ctl != NULL) {
        sim_log(t->sim, "fault: a connection breaks, and what was on the way is lost");
        sim_ctl_close(s->ctl, s->way);
    }
    fault_now(t->sim, &t->sim->control->strike);
    t->sim->control->strike.over = true;
}

static bool
step_comes(const struct sim_strike *s, const struct sim_ctl *c, const struct sim_msg *m,
           bool arrives)
{
    bool of_source = c->peer->proc == &s->source->proc,
         of_target = c->peer->proc == &s->target->proc;

    switch (s->step) {
    case SIM_HAND_ASKED:
        return of_target && m->kind == SIM_MSG_CALL && m->call == CW_MGR_ATTACH && !arrives;
    case SIM_HAND_LET_GO:
    case SIM_HAND_DRAINS:
        return of_source && m->kind == SIM_MSG_ASK && m->ask == CW_MGR_ASK_LET_GO &&
               arrives == (s->step == SIM_HAND_DRAINS);
    case SIM_HAND_RELEASE:
    case SIM_HAND_NO_RELEASE:
        return of_source && m->kind == SIM_MSG_CALL && m->call == CW_MGR_RELEASE && !arrives;
    case SIM_HAND_APPLIED:
    case SIM_HAND_NO_REPLY:
        return of_source && m->kind == SIM_MSG_REPLY && m->call == CW_MGR_RELEASE && !arrives;
    case SIM_HAND_GRANTED:
    case SIM_HAND_NO_GRANT:
        return of_target && m->kind == SIM_MSG_REPLY && m->call == CW_MGR_ATTACH &&
               m->code == CW_MGR_OK && !arrives;
    case SIM_HAND_N_STEPS:
        break;
    }
    return false;
}

/* Not from inside whoever sends; at once or somewhat later, where that is still the same step. */
static void
on_msg(struct sim_ctl *c, enum sim_way way, const struct sim_msg *m, bool arrives)
{
    struct sim *sim = c->sim;
    struct sim_strike *s = &sim->control->strike;
    struct strike_task *t;
    uint64_t after = 0;

    if (!s->armed || !step_comes(s, c, m, arrives))
        return;
    s->armed = false;
    t = calloc(1, sizeof(*t));
    cw_assert(t != NULL);
    if (s->step == SIM_HAND_NO_RELEASE || s->step == SIM_HAND_NO_REPLY ||
        s->step == SIM_HAND_NO_GRANT) {
        t->ctl = c;
        t->way = way;
    }
    if (s->step == SIM_HAND_DRAINS || s->step == SIM_HAND_ASKED)
        after = sim_between(&sim->rnd_mgr, 0, 3000000);
    sim_after(sim, &t->task, after, strike);
}

static void
heal(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_procs; i++)
        for (uint32_t k = 0; k < sim->n_procs; k++)
            sim->blocked[i][k] = false;
    for (uint32_t i = 0; i < sim->n_clients; i++)
        sim->clients[i].proc.paused = false;
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (!sim->daemons[i].proc.up)
            sim_daemon_start(&sim->daemons[i]);
    sim_log(sim, "all are well again");
}

static bool
struck(struct sim *sim)
{
    return sim->control->strike.over;
}

/* Those that believe they own the volume. */
static uint32_t
n_owners(const struct sim *sim)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < sim->n_clients; i++) {
        const struct sim_client *c = &sim->clients[i];

        n += c->proc.up && c->volume != NULL && cw_volume_state(c->volume) == CW_VOLUME_READY;
    }
    return n;
}

static bool
one_owns(struct sim *sim)
{
    return sim->present != NULL && sim_owner_is_well(sim) && !sim->present->leaving &&
           n_owners(sim) == 1;
}

/* Whoever needs the volume asks again, and allows it again: a manager may have forgotten. */
static void
until_target_owns(struct sim *sim, struct sim_client *target)
{
    for (uint32_t i = 0; i < 60 && !sim->result.failed; i++) {
        if (sim->present == target && one_owns(sim))
            return;
        allow(sim); /* refused while nobody owns it */
        if (sim->present != target && (!target->proc.up || target->lost))
            take(sim, target);
        sim_pass(sim, 1000);
    }
    sim_demand(sim, false, "the target owns the volume");
}

/* There may be no manager yet. */
static void
until_allowed(struct sim *sim)
{
    for (uint32_t i = 0; i < 200 && !sim->result.failed; i++) {
        if (allow(sim) == CW_MGR_OK)
            return;
        sim_pass(sim, 100);
    }
    sim_demand(sim, false, "it may be handed over");
}

static void
hand_over_with(struct sim *sim, enum sim_handover_step step, enum sim_handover_fault fault)
{
    struct sim_client *source = sim->present, *target = other_client(sim, source);

    if (sim_chance(&sim->rnd_mgr, 40))
        begin_resync(sim);
    until_allowed(sim);
    if (sim->result.failed)
        return;
    sim->control->strike = (struct sim_strike){
        .armed = true, .step = step, .fault = fault, .source = source, .target = target
    };
    take(sim, target);
    sim_expect(sim, struck, 10000, "the step comes");
    sim_pass(sim, sim_chance(&sim->rnd_mgr, 50) ? sim_between(&sim->rnd_mgr, 0, 1500)
                                                : sim_between(&sim->rnd_mgr, 1500, 20000));
    heal(sim);
    sim_pass(sim, sim_between(&sim->rnd_mgr, 0, 3000));
    until_target_owns(sim, target);
    sim_expect(sim, one_owns, 20000, "nobody else believes that he owns it");
    if (!sim->result.failed)
        sim_goes_on(sim, 10, 10, 20000, "the load goes on at the target");
    sim_expect(sim, sim_all_in_sync, 90000, "all are in sync");
}

#define FAULTS_PER_RUN 4u

/* Some of the faults at that step, in any order. */
static void
hand_over_at(struct sim *sim, enum sim_handover_step step)
{
    enum sim_handover_fault faults[SIM_HAND_N_FAULTS];

    sim->resync_bytes_per_s = 150 * CW_KIB;
    sim->control->on_msg = on_msg;
    for (uint32_t i = 0; i < SIM_HAND_N_FAULTS; i++) {
        uint32_t k = (uint32_t)cw_prng_below(&sim->rnd_mgr, i + 1);

        if (k != i)
            faults[i] = faults[k];
        faults[k] = (enum sim_handover_fault)i;
    }
    for (uint32_t i = 0; i < FAULTS_PER_RUN && !sim->result.failed; i++)
        hand_over_with(sim, step, faults[i]);
    sim->control->on_msg = NULL;
}

void
sim_hand_asked(struct sim *sim)
{
    hand_over_at(sim, SIM_HAND_ASKED);
}

void
sim_hand_let_go(struct sim *sim)
{
    hand_over_at(sim, SIM_HAND_LET_GO);
}

void
sim_hand_drains(struct sim *sim)
{
    hand_over_at(sim, SIM_HAND_DRAINS);
}

void
sim_hand_release(struct sim *sim)
{
    hand_over_at(sim, SIM_HAND_RELEASE);
}

void
sim_hand_no_release(struct sim *sim)
{
    hand_over_at(sim, SIM_HAND_NO_RELEASE);
}

void
sim_hand_applied(struct sim *sim)
{
    hand_over_at(sim, SIM_HAND_APPLIED);
}

void
sim_hand_no_reply(struct sim *sim)
{
    hand_over_at(sim, SIM_HAND_NO_REPLY);
}

void
sim_hand_granted(struct sim *sim)
{
    hand_over_at(sim, SIM_HAND_GRANTED);
}

void
sim_hand_no_grant(struct sim *sim)
{
    hand_over_at(sim, SIM_HAND_NO_GRANT);
}
