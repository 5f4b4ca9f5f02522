/* sim/rows-asks.c - the manager trusts no owner: what comes late, twice, or from somebody who does
 * not own the volume changes nothing, whatever the one who sends it believes.
 */
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"
#include "tests/sim/scenario.h"

struct asked {
    bool done, applied;
    enum cw_mgr_code code;
};

static void
asked_done(struct sim_peer *p, const struct sim_msg *reply, void *arg)
{
    struct asked *a = arg;

    a->done = true;
    a->code = reply != NULL ? reply->code : CW_MGR_TIMEOUT;
    a->applied = reply != NULL && reply->applied;
}

/* Again and again until a manager says what it thinks of it. */
static struct asked
ask(struct sim_client *c, const struct sim_msg *like)
{
    struct sim *sim = c->proc.sim;
    struct asked a = { .code = CW_MGR_TIMEOUT };

    for (uint32_t i = 0; i < 20 && !sim->result.failed; i++) {
        struct sim_msg *m = sim_msg_new(SIM_MSG_CALL);

        *m = *like;
        cw_list_init(&m->node);
        a.done = false;
        sim_peer_call(sim_lib_peer(c), m, 1000, false, asked_done, &a);
        while (!a.done && !sim->result.failed)
            sim_pass(sim, 10);
        if (a.code != CW_MGR_TIMEOUT && a.code != CW_MGR_UNAVAILABLE)
            break;
    }
    return a;
}

static struct sim_msg
change_msg(const struct sim *sim, uint32_t gen, uint32_t cfg)
{
    return (struct sim_msg){ .kind = SIM_MSG_CALL,
                             .call = CW_MGR_CHANGE,
                             .volume = SIM_VOLUME,
                             .shard = sim->reg.recs[0].shard,
                             .gen = gen,
                             .cfg = cfg,
                             .why = "asked by nobody" };
}

static void
want(struct sim_msg *m, const struct cw_member *mb, enum cw_member_state state)
{
    m->want[m->n_want] = *mb;
    m->want[m->n_want++].state = state;
}

static void
refused(struct sim_client *c, const struct sim_msg *m, enum cw_mgr_code code, const char *what)
{
    struct asked a = ask(c, m);

    sim_demand(c->proc.sim, a.code == code && !a.applied, what);
}

/* A copy that is out is in sync again; none is; two change places; a change of the past. */
static void
ask_changes(struct sim *sim, struct sim_client *owner)
{
    const struct cw_shard_rec *r = &sim->reg.recs[0];
    struct sim_msg none = change_msg(sim, sim->reg.gen, r->cfg);
    struct sim_msg late = change_msg(sim, sim->reg.gen, r->cfg - 1), old = late, wish = none;

    for (uint32_t i = 0; i < r->n_members; i++)
        if (r->members[i].state == CW_MEMBER_INSYNC)
            want(&none, &r->members[i], CW_MEMBER_OUT);
    want(&late, &r->members[0], CW_MEMBER_OUT);
    want(&old, &r->members[0], CW_MEMBER_OUT);
    want(&wish, &r->members[2], CW_MEMBER_INSYNC);
    old.gen--;
    old.cfg++;
    refused(owner, &none, CW_MGR_LAST_COPY, "a copy stays in sync");
    refused(owner, &wish, CW_MGR_BAD_REQUEST, "no copy is in sync without a resync");
    refused(owner, &late, CW_MGR_OK, "a change of an older record is none");
    refused(owner, &old, CW_MGR_OK, "a change of an older owner is none");
}

static void
ask_release(struct sim *sim, struct sim_client *c, uint32_t gen, const char *what)
{
    struct sim_msg m = {
        .kind = SIM_MSG_CALL, .call = CW_MGR_RELEASE, .volume = SIM_VOLUME, .gen = gen
    };

    refused(c, &m, CW_MGR_CONFLICT, what);
}

static bool
one_left(struct sim *sim)
{
    return sim_n_in_state(sim, CW_MEMBER_INSYNC) < sim->n_members;
}

/* While a copy is out. A former owner is there too, and asks as if it owned the volume. */
void
sim_stale_asks(struct sim *sim)
{
    struct sim_client *old = sim->present, *owner;
    uint32_t cfg, gen = sim->reg.gen;
    struct sim_msg m;

    sim->control->force_percent = 100;
    owner = sim_attach_next(sim);
    for (uint32_t i = 0; i < 200 && sim->present != owner && !sim->result.failed; i++)
        sim_pass(sim, 100);
    sim_expect(sim, sim_owner_is_well, 20000, "another client takes the volume");
    sim_demand(sim, sim->present == owner && sim->reg.gen > gen, "by a later generation");
    sim_daemon_kill(&sim->daemons[2], false);
    sim_expect(sim, one_left, 15000, "a copy is ejected");
    sim_goes_on(sim, 10, 10, 20000, "the others serve");
    if (sim->result.failed)
        return;
    cfg = sim->reg.recs[0].cfg;
    gen = sim->reg.gen;
    ask_changes(sim, owner);
    m = change_msg(sim, gen, cfg);
    want(&m, &sim->reg.recs[0].members[0], CW_MEMBER_OUT);
    refused(old, &m, CW_MGR_CONFLICT, "a change of who does not own the volume is none");
    ask_release(sim, old, gen - 1, "a release of an older owner is none");
    ask_release(sim, old, gen, "nor one of who does not own the volume");
    sim_demand(sim, sim->reg.recs[0].cfg == cfg && sim->reg.gen == gen && !sim->reg.released,
               "nothing changes");
    sim_goes_on(sim, 10, 10, 5000, "the owner goes on");
    sim_daemon_start(&sim->daemons[2]);
    sim_expect(sim, sim_all_in_sync, 30000, "all are in sync");
}
