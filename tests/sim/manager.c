/* sim/manager.c - m0 and m1: processes with the real manager, one of which leads.
 *
 *   stands by --elected: a new term--> reads the store, serves --deposed--> goes on and fails
 *                                                                 \--learns it--> stands by
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/metadata/records.h"
#include "tests/sim/control.h"

#define LOOK_NS (100 * CW_NS_PER_MS)
#define SIZE_BYTES (4096 * (uint64_t)CW_BLOCK_SIZE)

static struct sim_mgr *
mgr_of(struct sim_proc *p)
{
    return cw_container_of(p, struct sim_mgr, proc);
}

static void
mgr_turn_end(struct sim_proc *p)
{
    /* The manager has no end of turn: its own timers do everything. */
    (void)mgr_of(p);
}

/* ---- one of them ---- */

static void
mgr_on_look(struct cw_timer *t)
{
    struct sim_mgr *m = cw_container_of(t, struct sim_mgr, look);

    cw_timer_set(&m->proc.env, t, cw_now_ns(&m->proc.env) + LOOK_NS);
    sim_mgr_asks_look(m);
}

static void
mgr_serve(struct sim_mgr *m, bool bootstrap)
{
    struct sim *sim = m->proc.sim;
    struct cw_manager_opts opts = {
        .env = &m->proc.env,
        .kv = &m->kv,
        .codec = cw_metadata_codec(),
        .ops = &sim_mgr_ops,
        .world = m,
        .bootstrap = bootstrap,
        .cluster_name = "",
        .manager_name = m->proc.name,
    };

    m->term = ++sim->control->kv.term;
    m->serves = false;
    m->notice_ns = 0;
    sim->control->leader = m;
    sim_log(sim, "%s is elected, term %llu", m->proc.name, (unsigned long long)m->term);
    m->m = cw_manager_new(&opts);
    cw_assert(m->m != NULL);
    cw_timer_set(&m->proc.env, &m->look, cw_now_ns(&m->proc.env) + LOOK_NS);
    cw_manager_start(m->m);
    sim_proc_touch(&m->proc);
}

/* It stands by: a new life, for what was under way is nobody's any more. */
static void
mgr_stop(struct sim_mgr *m)
{
    struct sim *sim = m->proc.sim;

    if (m->m == NULL)
        return;
    m->dying = true;
    CW_LIST_EACH_SAFE (it, &sim->control->ctls) {
        struct sim_ctl *c = cw_list_entry(it, struct sim_ctl, node);

        if (c->mgr == m)
            sim_ctl_close(c, SIM_TO_MANAGER);
    }
    cw_manager_check(m->m);
    cw_manager_free(m->m);
    m->m = NULL;
    m->dying = m->serves = false;
    m->proc.life++;
    m->notice_ns = 0;
    cw_timer_cancel(&m->proc.env, &m->look);
    sim_mgr_calls_free(m);
    if (cw_timerheap_next(&m->proc.heap) != CW_NEVER)
        sim_fail(sim, "%s: a timer outlives its manager", m->proc.name);
}

void
sim_mgr_kill(struct sim_mgr *m)
{
    if (!m->proc.up)
        return;
    mgr_stop(m);
    cw_timerheap_cancel(&m->proc.sim->heap, &m->proc.turn);
    m->proc.up = false;
    m->proc.paused = false;
}

static void
mgr_start(struct sim_mgr *m)
{
    m->proc.up = true;
    m->proc.life++;
    m->proc.paused = false;
    m->well_ns = 0;
}

void
sim_mgr_wall_jump(struct sim_mgr *m)
{
    m->wall_off_s = (int64_t)cw_prng_below(&m->proc.sim->rnd_mgr, 2 * 3600 + 1) - 3600;
    sim_log(m->proc.sim, "%s: its wall clock is off by %lld s", m->proc.name,
            (long long)m->wall_off_s);
}

/* ---- elections ---- */

static bool
mgr_is_well(const struct sim_mgr *m)
{
    return m->proc.up && !m->proc.paused && !m->cut;
}

/* One that was deposed hears of it some time after it can hear anything. */
static void
mgr_look_deposed(struct sim_mgr *m)
{
    struct sim *sim = m->proc.sim;

    if (m->m == NULL || m->term == sim->control->kv.term || m->stubborn || !mgr_is_well(m))
        return;
    if (m->notice_ns == 0) {
        m->notice_ns = sim->now_ns + sim_between(&sim->rnd_mgr, 0, 3 * CW_NS_PER_S);
        return;
    }
    if (sim->now_ns < m->notice_ns)
        return;
    sim_log(sim, "%s learns that it was deposed", m->proc.name);
    mgr_stop(m);
}

static struct sim_mgr *
mgr_candidate(struct sim_control *k)
{
    for (uint32_t i = 0; i < SIM_MANAGERS; i++)
        if (mgr_is_well(&k->mgrs[i]) && k->mgrs[i].m == NULL)
            return &k->mgrs[i];
    return NULL;
}

static void
elect(struct sim *sim)
{
    struct sim_mgr *next = mgr_candidate(sim->control);

    if (next == NULL)
        return;
    sim_mgr_wall_jump(next); /* no two clocks are alike */
    sim_mark(sim, SIM_MARK_FAILOVER);
    sim->control->lease_ns = sim_between(&sim->rnd_mgr, 500, 4000) * CW_NS_PER_MS;
    mgr_serve(next, false);
}

static bool
reach(const struct sim *sim, const struct sim_proc *a, const struct sim_proc *b)
{
    return a->up && b->up && !a->paused && !b->paused && !sim_net_blocked(sim, a, b) &&
           !sim_net_blocked(sim, b, a);
}

/* It is in sync, has a session of the present owner, and can be asked about him. */
static bool
hears_owner(const struct sim *sim, const struct cw_member *m, const struct sim_daemon *d)
{
    const struct sim_client *c = sim->present;
    uint64_t silent_ms = 0;
    uint32_t gen = 0;
    bool session = false;

    return m->state == CW_MEMBER_INSYNC && d->serving && sim_host_is_the_leaders(d) &&
           reach(sim, &c->proc, &d->proc) && reach(sim, &sim->control->mgrs[0].proc, &d->proc) &&
           reach(sim, &sim->control->mgrs[1].proc, &d->proc) &&
           cw_replica_owner_seen(d->replica, SIM_VOLUME, &gen, &session, &silent_ms) && session &&
           gen == c->gen;
}

static void
look_shard_heard(struct sim *sim, const struct cw_shard_rec *rec, bool *hears)
{
    for (uint32_t i = 0; i < rec->n_members; i++) {
        const struct sim_daemon *d = sim_member_daemon(sim, &rec->members[i]);

        if (d != NULL)
            hears[d - sim->daemons] |= hears_owner(sim, &rec->members[i], d);
    }
}

void
sim_mgr_look_heard(struct sim *sim)
{
    struct sim_control *k = sim->control;
    const struct sim_client *c = sim->present;
    bool well = c != NULL && c->ready && !c->lost && !c->leaving && c->volume != NULL;
    bool hears[SIM_DAEMONS_MAX] = { 0 };

    for (uint32_t s = 0; well && s < sim->n_shards; s++)
        look_shard_heard(sim, &sim->reg.recs[s], hears);
    for (uint32_t i = 0; i < SIM_DAEMONS_MAX; i++) {
        if (!hears[i])
            k->heard_ns[i] = 0;
        else if (k->heard_ns[i] == 0 || k->heard != sim->present)
            k->heard_ns[i] = sim->now_ns;
    }
    k->heard = sim->present;
}

/* A connection that was closed counts as silence at once. */
void
sim_control_closed(struct sim *sim, const struct sim_proc *proc)
{
    for (uint32_t i = 0; sim->control != NULL && i < sim->n_daemons; i++) {
        if (&sim->daemons[i].proc == proc)
            sim->control->heard_ns[i] = 0;
    }
}

static void
control_look(struct sim_task *t)
{
    struct sim *sim = t->sim;
    struct sim_control *k = sim->control;
    struct sim_task *again = calloc(1, sizeof(*again));
    struct sim_mgr *l = k->leader;

    cw_assert(again != NULL);
    sim_after(sim, again, LOOK_NS, control_look);
    sim_ctl_look(sim);
    sim_mgr_look_heard(sim);
    for (uint32_t i = 0; i < SIM_MANAGERS; i++)
        mgr_look_deposed(&k->mgrs[i]);
    if (sim->now_ns < k->kv.away_until_ns)
        return; /* nobody is elected without a store */
    if (mgr_is_well(l) && l->m != NULL)
        l->well_ns = sim->now_ns;
    else if (sim->now_ns - l->well_ns >= k->lease_ns)
        elect(sim);
}

/* ---- faults ---- */

struct mgr_task {
    struct sim_task task;
    struct sim_mgr *m;
};

static void
mgr_after(struct sim_mgr *m, uint64_t ns, void (*fn)(struct sim_task *))
{
    struct mgr_task *t = calloc(1, sizeof(*t));

    cw_assert(t != NULL);
    t->m = m;
    sim_after(m->proc.sim, &t->task, ns, fn);
}

static void
mgr_well_again(struct sim_task *t)
{
    struct sim_mgr *m = cw_container_of(t, struct mgr_task, task)->m;

    m->proc.paused = false;
    m->cut = false;
    if (!m->proc.up)
        mgr_start(m);
}

static uint64_t
fault_ns(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_mgr;

    return sim_chance(p, 40) ? sim_between(p, 10, 1500) * CW_NS_PER_MS
                             : sim_between(p, 1500, 9000) * CW_NS_PER_MS;
}

static void
fault_mgr(struct sim *sim, struct sim_mgr *m, uint32_t dice)
{
    const char *what = "is killed";

    if (!m->proc.up || m->proc.paused || m->cut)
        return;
    if (dice == 0) {
        sim_mgr_kill(m);
    } else if (dice == 1) {
        m->proc.paused = true;
        what = "is paused";
    } else {
        m->cut = true;
        what = "does not reach the store";
    }
    sim_log(sim, "fault: %s %s", m->proc.name, what);
    mgr_after(m, fault_ns(sim), mgr_well_again);
}

void
sim_mgr_kill_leader(struct sim *sim)
{
    fault_mgr(sim, sim->control->leader, 0);
}

void
sim_mgr_depose(struct sim *sim)
{
    struct sim_mgr *old = sim->control->leader, *next = mgr_candidate(sim->control);

    if (next == NULL || next == old)
        return;
    sim_log(sim, "fault: %s loses its lease and does not know", old->proc.name);
    elect(sim);
}

static void
mgr_may_learn(struct sim_task *t)
{
    cw_container_of(t, struct mgr_task, task)->m->stubborn = false;
}

/* Some do not learn it for long, and peers go from one to the other. */
static void
fault_deposed(struct sim *sim)
{
    struct sim_mgr *old = sim->control->leader;

    sim_mgr_depose(sim);
    if (sim->control->leader == old || sim_chance(&sim->rnd_mgr, 50))
        return;
    old->stubborn = true;
    mgr_after(old, sim_between(&sim->rnd_mgr, 3, 20) * CW_NS_PER_S, mgr_may_learn);
    if (sim_chance(&sim->rnd_mgr, 50))
        sim_ctl_cut_all(sim);
}

void
sim_mgr_fault(struct sim *sim)
{
    struct cw_prng *p = &sim->rnd_mgr;
    struct sim_control *k = sim->control;
    uint32_t dice = (uint32_t)cw_prng_below(p, 11);

    if (dice < 3) {
        fault_mgr(sim, sim_chance(p, 80) ? k->leader : &k->mgrs[cw_prng_below(p, SIM_MANAGERS)],
                  dice);
    } else if (dice < 5) {
        fault_deposed(sim);
    } else if (dice < 6) {
        k->kv.away_until_ns = sim->now_ns + fault_ns(sim);
        sim_log(sim, "fault: the store is away");
    } else if (dice < 9) {
        k->kv.lose_256ths = (uint32_t)sim_between(p, 0, 140);
        sim_log(sim, "fault: the store loses %u/256 replies", k->kv.lose_256ths);
    } else if (dice < 10) {
        sim_mgr_wall_jump(k->leader);
    } else {
        sim_log(sim, "fault: control connections break");
        sim_ctl_cut_all(sim);
    }
}

void
sim_mgr_heal(struct sim *sim)
{
    struct sim_control *k = sim->control;

    k->kv.away_until_ns = 0;
    k->kv.lose_256ths = 0;
    for (uint32_t i = 0; i < SIM_MANAGERS; i++) {
        k->mgrs[i].cut = k->mgrs[i].proc.paused = k->mgrs[i].stubborn = false;
        if (!k->mgrs[i].proc.up)
            mgr_start(&k->mgrs[i]);
    }
}

/* ---- the beginning ---- */

static bool
leader_serves(struct sim *sim)
{
    return sim->control->leader->serves;
}

static bool
hosts_registered(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (!sim_host_is_registered(&sim->daemons[i]))
            return false;
    return true;
}

static void
must(struct sim *sim, enum cw_mgr_code code, const char *what)
{
    if (code != CW_MGR_OK)
        sim_fail(sim, "the beginning: %s: error %d", what, (int)code);
}

/* Several shards, or one that grows into a second in use (operator.c). */
static uint64_t
first_bytes(const struct sim *sim)
{
    uint64_t before = (uint64_t)(sim->n_shards_goal - 1) * CW_SHARD_BLOCKS * CW_BLOCK_SIZE;

    return sim->grows ? before - sim->grows_bytes : before + SIZE_BYTES;
}

static void
make_volume(struct sim *sim)
{
    struct sim_mgr *m = sim->control->leader;

    must(sim,
         sim_operate(sim, m, CW_MGR_POLICY_PUT,
                     &(union cw_mgr_request){
                         .policy_put = { .policy = { .name = "sim",
                                                     .copies = sim->n_members,
                                                     .spread = "host",
                                                     .sites = "any",
                                                     .min_insync = sim->min_insync,
                                                     .degrade_s = -1,
                                                     .journal = "",
                                                     .ack = sim->replicated ? "replicated" : "",
                                                     .async = "",
                                                     .compression = "",
                                                     .repair_delay_s = sim->control->repair_delay_s,
                                                     .quorum_loss = "",
                                                     .space_full = "",
                                                     .warning = "" },
                                         .create = true } }),
         "a policy");
    if (sim->result.failed)
        return;
    must(sim,
         sim_operate(sim, m, CW_MGR_VOLUME_CREATE,
                     &(union cw_mgr_request){ .volume_create = { .name = SIM_VOLUME_NAME,
                                                                 .size_bytes = first_bytes(sim),
                                                                 .policy = "sim" } }),
         "a volume");
}

void
sim_control_begin(struct sim *sim)
{
    struct sim_task *look = calloc(1, sizeof(*look));

    cw_assert(look != NULL);
    mgr_serve(&sim->control->mgrs[0], true);
    sim_after(sim, look, LOOK_NS, control_look);
    if (!sim_run_until(sim, leader_serves, 10 * CW_NS_PER_S) ||
        !sim_run_until(sim, hosts_registered, 20 * CW_NS_PER_S)) {
        sim_fail(sim, "the beginning: no manager, or not every host");
        return;
    }
    make_volume(sim);
    sim->control->settled = true;
}

void
sim_control_choose(struct sim *sim)
{
    static const uint32_t force[] = { 0, 75, 75, 100 }, delays[] = { 3600, 3600, 4, 12 };
    struct sim_control *k = calloc(1, sizeof(*k));
    struct cw_prng *p = &sim->rnd_mgr;

    cw_assert(k != NULL);
    sim->control = k;
    cw_list_init(&k->ctls);
    cw_list_init(&k->old_ctls);
    cw_list_init(&k->op_calls);
    sim_kv_init(sim);
    k->lease_ns = 2 * CW_NS_PER_S;
    k->leader = &k->mgrs[0];
    k->force_percent = force[cw_prng_below(p, CW_LEN(force))];
    k->repair_delay_s = delays[cw_prng_below(p, CW_LEN(delays))];
    k->operate_ns = sim_chance(p, 60) ? sim_between(p, 2, 12) * CW_NS_PER_S : 0;
    if (sim->opts.scenario == NULL)
        sim->n_daemons += sim_chance(p, 50);
    else
        k->repair_delay_s = 3600;
}

void
sim_control_init(struct sim *sim)
{
    struct sim_control *k = sim->control;

    for (uint32_t i = 0; i < SIM_MANAGERS; i++) {
        struct sim_mgr *m = &k->mgrs[i];
        char name[8];

        snprintf(name, sizeof(name), "m%u", i);
        sim_proc_init(sim, &m->proc, name);
        m->proc.env.log_level = CW_LOG_INFO;
        m->proc.turn_end = mgr_turn_end;
        m->look.fn = mgr_on_look;
        cw_list_init(&m->calls);
        sim_kv_seat(m);
        mgr_start(m);
    }
}

bool
sim_control_is_behind(const struct sim *sim)
{
    return sim->control != NULL && sim->control->kv.behind;
}

void
sim_control_check(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_MANAGERS; i++)
        if (sim->control->mgrs[i].serves)
            cw_manager_check(sim->control->mgrs[i].m);
}

void
sim_control_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_MANAGERS; i++) {
        sim_mgr_kill(&sim->control->mgrs[i]);
        sim_proc_fini(&sim->control->mgrs[i].proc);
    }
    sim_op_calls_free(sim);
    sim_ctl_free_all(sim);
    sim_kv_fini(sim);
    free(sim->control);
    sim->control = NULL;
}
