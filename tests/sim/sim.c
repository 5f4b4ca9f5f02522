/* sim/sim.c - one run: from the seed to the verdict. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/scenario.h"

#define SIM_OPS_MIN 2000u
#define HEAL_NS (90 * CW_NS_PER_S)
#define WAIT_NS (8 * CW_NS_PER_S) /* for what need not come */

static void
sim_choose_topology(struct sim *sim)
{
    static const uint32_t members[] = { 2, 3, 3, 3, 3, 4 };
    struct cw_prng *p = &sim->rnd_load;

    sim->n_members = members[cw_prng_below(p, CW_LEN(members))];
    sim->n_daemons = sim->n_members;
    sim->n_clients = SIM_CLIENTS_MAX;
    sim->min_insync = sim->n_members > 2 && sim_chance(p, 50) ? 2 : 1;
    sim->latency_ns = sim_between(p, 20000, 300000);
    sim->jitter_ns = sim_chance(p, 70) ? 100000 : 10 * CW_NS_PER_MS;
    sim->tail_ns = 30 * CW_NS_PER_MS;
    sim->depth = (uint32_t)sim_between(p, 1, 24);
    sim->zero_percent = sim_chance(p, 70) ? 4 : (uint32_t)sim_between(p, 4, 45);
    sim->think_ns = sim_between(p, 2, 14) * CW_NS_PER_MS;
    sim->flap_min_ns = 200 * CW_NS_PER_MS; /* else most of a run is waiting */
    sim->flap_max_ns = 2 * CW_NS_PER_S;
    sim->resync_bytes_per_s = sim_chance(p, 30) ? sim_between(p, 100, 2000) * CW_KIB : 0;
}

/* Swarm: each seed has a random subset of the faults at random rates. */
static void
sim_choose_faults(struct sim *sim)
{
    static const uint32_t usual[SIM_N_FAULTS] = {
        [SIM_FAULT_KILL] = 10,     [SIM_FAULT_POWER] = 10,     [SIM_FAULT_PAUSE] = 6,
        [SIM_FAULT_CUT] = 10,      [SIM_FAULT_PARTITION] = 10, [SIM_FAULT_MANAGER] = 6,
        [SIM_FAULT_TAKEOVER] = 12, [SIM_FAULT_RELEASE] = 3,    [SIM_FAULT_BLACKOUT] = 1,
        [SIM_FAULT_SLOW] = 4,      [SIM_FAULT_HANG] = 2,       [SIM_FAULT_AMBUSH] = 30,
    };
    struct cw_prng *p = &sim->rnd_fault;

    for (uint32_t i = 0; i < SIM_FAULT_FIRST_NEW; i++)
        sim->fault_weights[i] = sim_chance(p, 65) ? usual[i] * (uint32_t)sim_between(p, 1, 4) : 0;
    sim->flip_65536ths = sim_chance(p, 20) ? (uint32_t)sim_between(p, 1, 300) : 0;
    for (uint32_t to = 0; to < SIM_PROCS_MAX; to++)
        sim_set_lag(sim, to, sim_chance(p, 25) ? cw_prng_below(p, 20 * CW_NS_PER_MS) : 0);
    if (sim_chance(p, 25)) /* one way is longer than a detour */
        sim->lag_ns[sim_between(p, SIM_DAEMONS_MAX, SIM_PROCS_MAX - 1)]
                   [cw_prng_below(p, SIM_DAEMONS_MAX)] = cw_prng_below(p, 60 * CW_NS_PER_MS);
    sim->fault_every_ns = sim_between(p, 300, 3000) * CW_NS_PER_MS;
}

static void
sim_make_plain(struct sim *sim)
{
    uint32_t plain = sim->opts.plain;

    if (plain & SIM_PLAIN_JITTER) {
        sim->jitter_ns = sim->tail_ns = 0;
        memset(sim->lag_ns, 0, sizeof(sim->lag_ns));
    }
    if (plain & SIM_PLAIN_FLIP)
        sim->flip_65536ths = 0;
    if (plain & SIM_PLAIN_NET) {
        memset(sim->bytes_per_s, 0, sizeof(sim->bytes_per_s));
        sim->raw_65536ths = 0;
    }
    if (plain & SIM_PLAIN_DEPTH)
        sim->depth = cw_min_u64(sim->depth, 3);
    if (plain & SIM_PLAIN_ZERO)
        sim->zero_percent = 0;
}

/* Some seeds have real managers, the others the register, which is quicker and more of an
 * adversary.
 */
static bool
sim_has_manager(struct sim *sim)
{
    bool drawn = sim_chance(&sim->rnd_mgr, 35);

    if (sim->opts.scenario != NULL)
        return sim->opts.scenario->manager;
    return sim->opts.manager == SIM_BY_SEED ? drawn : sim->opts.manager == SIM_REAL_MANAGER;
}

static void
sim_init_control(struct sim *sim)
{
    sim_control_init(sim);
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        sim_host_init(&sim->daemons[i]);
    for (uint32_t i = 0; i < sim->n_clients; i++)
        sim_lib_init(&sim->clients[i]);
}

static void
sim_add_spare(struct sim *sim)
{
    sim->spare = true;
    sim->n_daemons++;
}

static void
sim_choose_ack(struct sim *sim)
{
    bool drawn = sim_chance(&sim->rnd_ack, 30);

    sim->replicated =
        sim->opts.scenario == NULL &&
        (sim->opts.ack == SIM_ACK_BY_SEED ? drawn : sim->opts.ack == SIM_ACK_REPLICATED);
}

static void
sim_init(struct sim *sim, struct sim_opts opts)
{
    struct cw_prng root;

    memset(sim, 0, sizeof(*sim));
    sim->opts = opts;
    sim->now_ns = CW_NS_PER_S;
    cw_prng_init(&root, opts.seed);
    cw_prng_init(&sim->rnd_net, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_load, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_fault, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_reg, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_turn, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_slow, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_mode, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_mgr, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_full, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_shard, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_ack, cw_prng_next(&root));
    cw_prng_init(&sim->rnd_stop, cw_prng_next(&root));
    sim->stops = sim_chance(&sim->rnd_stop, 30) && opts.scenario == NULL;
    cw_timerheap_init(&sim->heap);
    cw_list_init(&sim->tasks);
    cw_list_init(&sim->conns);
    cw_list_init(&sim->audits);
    cw_list_init(&sim->rots);
    sim_watch_init(sim);
    sim_choose_topology(sim);
    sim_choose_faults(sim);
    if (opts.scenario == NULL)
        sim_choose_modes(sim);
    sim_make_plain(sim);
    if (opts.scenario != NULL)
        sim_scenario_prepare(sim, opts.scenario);
    if (sim_has_manager(sim))
        sim_control_choose(sim);
    else if (opts.spare || (opts.scenario == NULL && sim_chance(&sim->rnd_mode, 15)))
        sim_add_spare(sim);
    sim_full_choose(sim);
    sim_shards_choose(sim);
    sim_choose_ack(sim);
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        sim_daemon_init(sim, &sim->daemons[i], i);
    for (uint32_t i = 0; i < sim->n_clients; i++)
        sim_client_init(sim, &sim->clients[i], i);
    if (opts.scenario != NULL)
        sim_scenario_set_clocks(sim, opts.scenario);
    sim_choose_clocks(sim);
    sim_reg_init(sim);
    if (sim->control != NULL)
        sim_init_control(sim);
}

static void
sim_fini(struct sim *sim)
{
    struct cw_list *node;

    sim_net_free_all(sim);
    for (uint32_t i = 0; i < sim->n_clients; i++)
        sim_client_fini(&sim->clients[i]);
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        sim_daemon_fini(&sim->daemons[i]);
    sim_net_free_all(sim);
    if (sim->control != NULL)
        sim_control_fini(sim);
    sim_audit_free_all(sim);
    while ((node = cw_list_pop_front(&sim->tasks)) != NULL)
        free(cw_list_entry(node, struct sim_task, node));
    sim_history_free(&sim->history);
    sim_watch_fini(sim);
    sim_rot_free_all(sim);
    sim_full_fini(sim);
    sim_media_fini(sim);
    for (uint32_t i = 0; i < SIM_LINES; i++)
        free(sim->lines[i]);
    cw_timerheap_fini(&sim->heap);
}

/* ---- conditions ---- */

static bool
never(struct sim *sim)
{
    return false;
}

static bool
daemons_serve(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (!sim->daemons[i].serving)
            return false;
    return true;
}

bool
sim_owner_is_well(struct sim *sim)
{
    return sim->present != NULL && sim->present->ready && !sim->present->lost;
}

/* In sync, but for the one that only follows: and that does. */
static bool
members_are_well(const struct cw_shard_rec *rec)
{
    for (uint32_t i = 0; i < rec->n_members; i++)
        if (rec->members[i].state != (rec->members[i].async ? CW_MEMBER_LAGGING : CW_MEMBER_INSYNC))
            return false;
    return true;
}

bool
sim_all_in_sync(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_shards; i++)
        if (!members_are_well(&sim->reg.recs[i]))
            return false;
    return sim_owner_is_well(sim) && daemons_serve(sim);
}

/* Enough to be worth judging. */
static bool
did_enough(struct sim *sim)
{
    return sim->result.ops >= SIM_OPS_MIN;
}

static bool
nothing_fragile(struct sim *sim)
{
    return !sim->media.fragile;
}

static bool
nothing_pending(struct sim *sim)
{
    return sim->present != NULL && sim->present->n_pending == 0 && sim_all_in_sync(sim);
}

bool
sim_drops_copies(const struct sim *sim)
{
    return sim->control != NULL || sim->spare;
}

/* NULL: it is at rest, as the next. */
static const char *
member_unrest(const struct sim *sim, uint32_t shard, uint32_t member)
{
    const struct sim_daemon *d = sim_member_daemon(sim, &sim->reg.recs[shard].members[member]);
    struct cw_store_shard *sh;

    if (d == NULL)
        return "its disk is nobody's";
    if (!d->serving)
        return "its daemon does not serve";
    sh = sim_copy_of(sim, d, shard);
    if (sh == NULL)
        return "its daemon does not have it";
    return cw_store_credit(sh) == 0 ? "no credit" : NULL;
}

/* Its members have it, and room for more. */
static bool
shard_at_rest(struct sim *sim, uint32_t shard)
{
    const struct cw_shard_rec *rec = &sim->reg.recs[shard];

    for (uint32_t i = 0; i < rec->n_members; i++)
        if (member_unrest(sim, shard, i) != NULL)
            return false;
    return true;
}

static const char *
daemon_unrest(const struct sim_daemon *d)
{
    struct cw_replica_stats r;
    struct cw_store_stats s;

    if (!d->serving)
        return "does not serve";
    cw_replica_stats(d->replica, &r);
    cw_store_stats(cw_replica_store(d->replica), &s);
    if (r.copies == 0 && sim_drops_copies(d->proc.sim))
        return NULL; /* a spare one */
    if (s.full || s.stuck || s.failed)
        return s.full ? "full" : s.stuck ? "stuck" : "failed";
    if (r.hold_bytes > 0 || r.sync_bytes > 0)
        return r.hold_bytes > 0 ? "holds frames" : "holds chunks";
    if (r.syncing > 0)
        return "a copy synchronises";
    return r.reads_waiting > 0 ? "reads wait" : NULL;
}

/* Nothing is held back, under way or out of service inside the daemons. */
static bool
all_at_rest(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_shards; i++)
        if (!shard_at_rest(sim, i))
            return false;
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (daemon_unrest(&sim->daemons[i]) != NULL)
            return false;
    return true;
}

/* What was acknowledged in memory is durable everywhere. */
static bool
nothing_unflushed(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_shards; i++) {
        struct cw_shard_view v;

        if (sim->present == NULL || sim->present->volume == NULL || i >= sim->present->n_shards)
            return false;
        cw_volume_view_shard(sim->present->volume, i, &v);
        if (v.told != v.acked)
            return false;
    }
    return true;
}

/* Else copies need not be equal. */
static bool
is_quiet(const struct sim *sim)
{
    return sim->present != NULL && sim->present->n_writes == 0 && !sim->media.forgot;
}

/* With managers an attach is on its way for a while, and must not come after the last one. */
static bool
attaches_end(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->n_clients; i++)
        if (sim_lib_is_attaching(&sim->clients[i]))
            return false;
    return true;
}

/* An attach of a client that is dead by now may have come after all: then another one is due. */
static bool
owner_comes(struct sim *sim)
{
    struct sim_client *c = &sim->clients[0];

    if (sim_owner_is_well(sim))
        return true;
    if (sim->control == NULL || !attaches_end(sim) || (sim->present != NULL && !sim->present->lost))
        return false;
    sim_client_kill(c);
    sim_client_attach(c);
    return false;
}

/* ---- the end ---- */

static const char *
rest_text(const char *unrest)
{
    return unrest != NULL ? unrest : "at rest";
}

static void
sim_why_not(struct sim *sim)
{
    const char *why = "";

    for (uint32_t i = 0; i < sim->n_daemons; i++)
        sim_log(sim, "%s: %s%s", sim->daemons[i].proc.name, sim->daemons[i].proc.up ? "" : "down, ",
                rest_text(daemon_unrest(&sim->daemons[i])));
    for (uint32_t k = 0; k < sim->n_shards; k++)
        for (uint32_t i = 0; i < sim->reg.recs[k].n_members; i++)
            sim_log(sim, "shard %u, member %u: %s, %s", k, i,
                    cw_member_state_name(sim->reg.recs[k].members[i].state),
                    rest_text(member_unrest(sim, k, i)));
    if (sim->present == NULL || sim->present->volume == NULL)
        return;
    cw_volume_suspended(sim->present->volume, &why);
    sim_log(sim, "%s: ready %d lost %d pending %u, state %d, %s", sim->present->proc.name,
            sim->present->ready, sim->present->lost, sim->present->n_pending,
            cw_volume_state(sim->present->volume), why);
}

static bool
sim_only_safety(const struct sim *sim)
{
    const struct sim_media *m = &sim->media;

    return m->touched && (m->unlimited || (m->forgot && m->alone) || sim_media_is_lost(sim));
}

static void
sim_must(struct sim *sim, bool (*cond)(struct sim *), const char *what)
{
    bool only_safety = sim_only_safety(sim);
    /* what is nearly full moves slowly, one copy after the other */
    uint64_t heal_ns = sim->full.on ? 4 * HEAL_NS : HEAL_NS;

    if (sim->result.failed || sim_run_until(sim, cond, only_safety ? WAIT_NS : heal_ns) ||
        sim->result.failed || only_safety)
        return;
    sim_why_not(sim);
    sim_fail(sim, "liveness: %s does not come within %u s of healing", what,
             (unsigned)(heal_ns / CW_NS_PER_S));
}

static void
last_audited(struct sim_audit *a)
{
    *(bool *)a->arg = true;
}

static uint32_t
cfg_sum(const struct sim *sim)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < sim->n_shards; i++)
        sum += sim->reg.recs[i].cfg;
    return sum;
}

/* Blocks that rotted on one copy are found by its scrub and mended from another, without anybody
 * reading them. */
static void
sim_settle_rot(struct sim *sim)
{
    bool wanted = sim_chance(&sim->rnd_fault, 50) || sim->media.touched;
    uint32_t changes = cfg_sum(sim);

    if (sim->result.failed || !wanted || sim->full.on || sim_media_may_lose(sim))
        return;
    /* what rotted shortly before the healing is mended first: rot may not meet rot on the other
     * copy */
    sim_rot_scrub(sim);
    sim_must(sim, sim_rot_is_mended, "the repair of what rotted before the healing");
    sim_rot(sim);
    sim_rot_scrub(sim);
    sim_must(sim, sim_rot_is_mended, "the repair of what rotted");
    sim_rot_scrub(sim);
    sim_must(sim, sim_rot_is_mended, "the end of a scrub");
    if (cfg_sum(sim) != changes) { /* one that rotted while it was out may have come in between */
        sim_rot_scrub(sim);
        sim_must(sim, sim_rot_is_mended, "the end of the next scrub");
    }
    sim_rot_must_be_gone(sim);
}

/* Everybody well; one owner; everything in sync; then the copies are read and the history judged.
 */
static void
sim_settle(struct sim *sim)
{
    bool audited = false;

    sim->calm = true;
    sim->result.only_safety = sim_only_safety(sim);
    if (sim->media.fragile && !sim->result.failed)
        sim_run_until(sim, nothing_fragile, HEAL_NS);
    sim_faults_heal(sim);
    sim_run_until(sim, never, 50 * CW_NS_PER_MS);
    if (sim->control != NULL) {
        sim_operator_calm(sim);
        sim_run_until(sim, attaches_end, 40 * CW_NS_PER_S);
        sim_run_until(sim, never, 3 * CW_NS_PER_S);
    }
    for (uint32_t i = 0; i < sim->n_clients; i++)
        if (&sim->clients[i] != sim->present || sim->clients[i].lost || sim->clients[i].leaving)
            sim_client_kill(&sim->clients[i]);
    if (sim->present == NULL && !sim->result.failed)
        sim_client_attach(&sim->clients[0]);
    sim_must(sim, owner_comes, "an active owner");
    sim_must(sim, sim_full_is_over, "the trim of what filled the disks");
    if (!sim->result.failed)
        sim_full_make_room(sim);
    sim_must(sim, sim_all_in_sync, "every copy in sync");
    if (sim->opts.scenario == NULL && sim->opts.chaos_ns == 0)
        sim_must(sim, did_enough, "enough requests");
    sim->load = false;
    sim_must(sim, nothing_pending, "the end of every request");
    if (sim->replicated)
        sim_must(sim, nothing_unflushed, "the media of what was acknowledged in memory");
    sim_settle_rot(sim);
    if (!sim_only_safety(sim))
        sim_must(sim, all_at_rest, "rest in every store and replica");
    for (uint32_t i = 0; i < 100 && !sim->result.failed && is_quiet(sim) && !audited; i++) {
        if (i == 0)
            sim_audit_start(sim, sim->epoch, last_audited, &audited);
        sim_run_until(sim, never, 20 * CW_NS_PER_MS);
    }
    if (!sim->result.failed)
        sim_history_judge(sim);
}

static void
sim_dump(const struct sim *sim)
{
    uint64_t from = sim->n_lines > SIM_LINES ? sim->n_lines - SIM_LINES : 0;

    if (sim->opts.trace || sim->opts.quiet)
        return;
    for (uint64_t i = from; i < sim->n_lines; i++)
        fprintf(stderr, "%s\n", sim->lines[i % SIM_LINES]);
}

static void
sim_play(struct sim *sim)
{
    sim_run_until(sim, never, 500 * CW_NS_PER_MS); /* some data is there */
    if (!sim->result.failed)
        sim->opts.scenario->play(sim);
}

struct sim_result
sim_run(struct sim_opts opts)
{
    struct sim *sim = malloc(sizeof(*sim));
    struct sim_result result;
    uint64_t chaos;

    cw_assert(sim != NULL);
    if (opts.mix)
        opts.scenario = sim_scenario_mixed(opts.seed, opts.rule, opts.manager == SIM_REAL_MANAGER);
    sim_init(sim, opts);
    sim->load = true;
    sim->result.chaos_ns = sim_between(&sim->rnd_fault, 10, 40) * CW_NS_PER_S;
    chaos = opts.chaos_ns != 0 ? opts.chaos_ns : sim->result.chaos_ns;
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        sim_daemon_start(&sim->daemons[i]);
    sim_run_until(sim, daemons_serve, 10 * CW_NS_PER_S);
    if (sim->control != NULL)
        sim_control_begin(sim);
    sim_client_attach(&sim->clients[sim->next_client++]);
    sim_run_until(sim, sim_owner_is_well, 10 * CW_NS_PER_S);
    if (sim->spare)
        sim_journal_start(sim);
    if (opts.scenario != NULL) {
        sim_play(sim);
    } else {
        sim_media_start(sim);
        if (sim->full.on)
            sim_full_start(sim);
        sim_faults_start(sim, sim->result.chaos_ns);
        if (sim->control != NULL)
            sim_operator_start(sim);
        if (sim->grows)
            sim_grow_after(sim, sim_between(&sim->rnd_shard, 1, 8) * CW_NS_PER_S);
        sim_run_until(sim, never, chaos);
    }
    if (!sim->result.failed)
        sim_settle(sim);
    sim->result.virtual_ns = sim->now_ns;
    if (sim->result.failed)
        sim_dump(sim);
    sim_fini(sim);
    result = sim->result;
    free(sim);
    return result;
}
