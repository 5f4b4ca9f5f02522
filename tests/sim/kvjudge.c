/* sim/kvjudge.c - what the store is told, judged as it takes effect, and mirrored in sim->reg.
 *
 * gen and cfg never go back; INSYNC is never empty (I12); INSYNC of a volume that has an owner
 * changes by a change which that owner asked for, and by nothing else (I3). A takeover's first
 * changes are its owner's too. Another owner is another generation, and nobody but its owner gives
 * a volume up. A new lineage is an operator's, who accepts what is lost by it.
 */
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/control.h"

void
sim_kv_asked(struct sim *sim, const struct cw_change *ch)
{
    struct sim_control *k = sim->control;
    struct sim_asked *a = &k->asked[k->n_asked++ % SIM_ASKED];

    a->shard = ch->shard;
    a->gen = ch->gen;
    a->cfg = ch->cfg;
    a->n_want = ch->n_want;
    memcpy(a->want, ch->want, sizeof(a->want));
}

void
sim_kv_given_up(struct sim *sim, uint32_t gen)
{
    if (gen > sim->control->given_up)
        sim->control->given_up = gen;
}

void
sim_kv_told_grant(struct sim *sim, const struct sim_proc *whom, const struct sim_msg *m)
{
    const struct sim_grant *g = &sim->control->grants[m->gen % SIM_ASKED];

    if (m->gen > sim->reg.gen)
        sim_fail(sim, "store: %s is told of gen %u, but gen %u is the last", whom->name, m->gen,
                 sim->reg.gen);
    else if (m->released && g->gen == m->gen && !g->released)
        sim_fail(sim, "store: %s is told of a release before gen %u that was none (I11)",
                 whom->name, m->gen);
}

void
sim_kv_told_record(struct sim *sim, const struct sim_proc *whom, const struct sim_msg *m)
{
    uint32_t last = sim->reg.recs[CW_SHARD_INDEX(m->recs[0].shard)].cfg;

    if (m->recs[0].cfg > last)
        sim_fail(sim, "store: %s is told of cfg %u, but cfg %u is the last (I4)", whom->name,
                 m->recs[0].cfg, last);
}

static uint32_t
count_insync(const struct cw_shard_rec *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_members; i++)
        n += r->members[i].state == CW_MEMBER_INSYNC;
    return n;
}

static enum cw_member_state
state_in(const struct cw_shard_rec *r, const struct cw_member *like)
{
    const struct cw_member *m = cw_shard_rec_find(r, &like->disk_uuid, like->format_id);

    return m != NULL ? m->state : CW_MEMBER_DEAD;
}

static bool
same_insync(const struct cw_shard_rec *a, const struct cw_shard_rec *b)
{
    for (uint32_t i = 0; i < a->n_members; i++)
        if (a->members[i].state == CW_MEMBER_INSYNC &&
            state_in(b, &a->members[i]) != CW_MEMBER_INSYNC)
            return false;
    return count_insync(a) == count_insync(b);
}

static enum cw_member_state
state_asked(const struct sim_asked *a, const struct cw_member *m)
{
    for (uint32_t k = 0; k < a->n_want; k++)
        if (cw_uuid_equal(&a->want[k].disk_uuid, &m->disk_uuid))
            return a->want[k].state;
    return m->state;
}

/* Nothing but what it wants. A journal that is not wanted any more leaves the record. */
static bool
is_what_was_asked(const struct sim_asked *a, const struct cw_shard_rec *old,
                  const struct cw_shard_rec *now)
{
    uint32_t n = 0;

    if (a->shard != now->shard || a->gen != now->gen || a->cfg != old->cfg)
        return false;
    for (uint32_t i = 0; i < old->n_members; i++) {
        const struct cw_member *m = &old->members[i];
        enum cw_member_state want = state_asked(a, m);
        bool goes = m->state == CW_MEMBER_JOURNAL && want == CW_MEMBER_DEAD;

        if (state_in(now, m) != want)
            return false;
        n += !goes;
    }
    return now->n_members == n;
}

static bool
was_asked(const struct sim_control *k, const struct cw_shard_rec *old,
          const struct cw_shard_rec *now)
{
    for (uint32_t i = 0; i < SIM_ASKED && i < k->n_asked; i++)
        if (is_what_was_asked(&k->asked[i], old, now))
            return true;
    return false;
}

/* One copy goes on alone, that was not in sync, while none that was is up. What was acknowledged
 * and is not on it is lost: histories and watch begin anew with what it holds. */
static void
judge_recovery(struct sim *sim, const struct cw_shard_rec *old, const struct cw_shard_rec *now)
{
    const struct sim_daemon *d = sim_member_daemon(sim, &now->members[0]);

    if (!sim->control->may_recover)
        sim_fail(sim, "store: a new lineage that nobody asked for");
    if (now->n_members != 1 || count_insync(now) != 1 || d == NULL ||
        state_in(old, &now->members[0]) == CW_MEMBER_INSYNC)
        sim_fail(sim, "store: a new lineage of %u members", now->n_members);
    /* the volume's record follows, or went before, in the same transaction */
    if ((now->gen != sim->reg.gen && now->gen != sim->reg.gen + 1) || now->gen <= old->gen ||
        now->cfg != old->cfg + 1)
        sim_fail(sim, "store: a new lineage at gen %u cfg %u after gen %u cfg %u", now->gen,
                 now->cfg, old->gen, old->cfg);
    for (uint32_t i = 0; i < old->n_members; i++) {
        const struct sim_daemon *o = sim_member_daemon(sim, &old->members[i]);

        if (old->members[i].state == CW_MEMBER_INSYNC && o != NULL && o->proc.up && o->serving)
            sim_fail(sim, "store: a new lineage while %s is in sync and up (I12)", o->proc.name);
    }
    if (sim->result.failed)
        return;
    sim_history_forgive(sim);
    sim_watch_recover(sim, CW_SHARD_INDEX(now->shard), (uint32_t)(d - sim->daemons));
}

static void
judge_change(struct sim *sim, const struct cw_shard_rec *old, const struct cw_shard_rec *now)
{
    if (now->lineage != old->lineage) {
        judge_recovery(sim, old, now);
        return;
    }
    if (now->cfg != old->cfg + 1 || now->gen < old->gen || now->gen > sim->reg.gen)
        sim_fail(sim, "store: a record goes from gen %u cfg %u to gen %u cfg %u at volume gen %u",
                 old->gen, old->cfg, now->gen, now->cfg, sim->reg.gen);
    if (same_insync(old, now))
        return;
    if (sim->reg.released)
        sim_fail(sim, "store: INSYNC of a volume changes that nobody owns (I3)");
    if (now->gen != sim->reg.gen || !was_asked(sim->control, old, now))
        sim_fail(sim, "store: INSYNC changes at cfg %u, and its owner did not ask for it (I3)",
                 old->cfg);
}

/* ---- the mirror ---- */

static uint32_t
daemon_place(const struct sim *sim, const struct cw_member *m)
{
    const struct sim_daemon *d = sim_member_daemon(sim, m);

    return d != NULL ? (uint32_t)(d - sim->daemons) : SIM_DAEMONS_MAX;
}

/* Members in the order of the daemons, as the register has them. */
static void
mirror_shard(struct sim *sim, const struct cw_shard_rec *now)
{
    uint32_t index = CW_SHARD_INDEX(now->shard);
    struct cw_shard_rec *to = &sim->reg.recs[index];

    cw_assert(index < SIM_SHARDS_MAX);
    sim->n_shards = (uint32_t)cw_max_u64(sim->n_shards, index + 1);
    *to = *now;
    for (uint32_t i = 1; i < to->n_members; i++) {
        struct cw_member m = to->members[i];
        uint32_t k = i;

        for (; k > 0 && daemon_place(sim, &to->members[k - 1]) > daemon_place(sim, &m); k--)
            to->members[k] = to->members[k - 1];
        to->members[k] = m;
    }
}

static void
note_members(struct sim *sim, const struct cw_shard_rec *old, const struct cw_shard_rec *now)
{
    sim->reg.n_changes++;
    sim_log(sim, "store: gen %u, shard %u cfg %u", now->gen, CW_SHARD_INDEX(now->shard), now->cfg);
    for (uint32_t i = 0; i < now->n_members; i++) {
        const struct cw_member *m = &now->members[i];
        struct cw_member was = *m;
        uint32_t place = daemon_place(sim, m);

        was.state = state_in(old, m);
        if (was.state == m->state)
            continue;
        if (m->async && m->state == CW_MEMBER_INSYNC)
            sim_fail(sim, "store: a copy that follows is in sync (I3)");
        if (m->async && m->state == CW_MEMBER_LAGGING)
            sim_mark(sim, SIM_MARK_FOLLOWS);
        sim_reg_note(sim, &was, m->state);
        if (place < sim->n_daemons)
            sim_ambush_member(sim, SIM_MOMENT_CHANGE, place, m->state);
    }
}

static void
judge_shard(struct sim *sim, const struct cw_shard_rec *old, const struct cw_shard_rec *now)
{
    if (count_insync(now) == 0)
        sim_fail(sim, "store: a record without an in-sync copy (I12)");
    if (old != NULL) {
        judge_change(sim, old, now);
        note_members(sim, old, now);
    }
    mirror_shard(sim, now);
}

/* An owner that its copies hear keeps its volume, unless somebody uses force (1.8, step 0). */
#define HEARD_NS (6 * CW_NS_PER_S)
static void
judge_grant(struct sim *sim, const struct cw_volume_rec *old, const struct cw_volume_rec *now)
{
    const struct sim_control *k = sim->control;
    bool forced = false, heard = false;

    sim_mgr_look_heard(sim);
    for (uint32_t i = 0; i < SIM_DAEMONS_MAX; i++)
        heard |= k->heard_ns[i] != 0 && sim->now_ns - k->heard_ns[i] >= HEARD_NS;
    for (uint32_t i = 0; i < sim->n_clients; i++)
        if (cw_uuid_equal(&sim->clients[i].id, &now->owner_id))
            forced = sim_lib_forces(&sim->clients[i]);
    if (old->hold == CW_HOLD_OWNED && !forced && heard && k->heard == sim->present &&
        !sim->present->leaving && !cw_uuid_equal(&sim->present->id, &now->owner_id))
        sim_fail(sim, "store: gen %u is granted without force, and %s is well", now->gen,
                 sim->present->proc.name);
}

/* No other owner, and none that did not give it up. */
static void
judge_same_gen(struct sim *sim, const struct cw_volume_rec *old, const struct cw_volume_rec *now)
{
    if (old->hold == CW_HOLD_RELEASED && now->hold == CW_HOLD_OWNED)
        sim_fail(sim, "store: gen %u is owned again after its release", now->gen);
    if (old->hold == CW_HOLD_OWNED && now->hold == CW_HOLD_OWNED &&
        !cw_uuid_equal(&old->owner_id, &now->owner_id))
        sim_fail(sim, "store: gen %u gets another owner", now->gen);
    if (old->hold == CW_HOLD_OWNED && now->hold == CW_HOLD_RELEASED &&
        sim->control->given_up != now->gen)
        sim_fail(sim, "store: gen %u is released, and its owner did not ask for it (I11)",
                 now->gen);
}

static void
judge_volume(struct sim *sim, const struct cw_volume_rec *old, const struct cw_volume_rec *now)
{
    if (old != NULL && (now->gen < old->gen || now->gen > old->gen + 1))
        sim_fail(sim, "store: gen %u follows gen %u", now->gen, old->gen);
    if (old != NULL && now->gen == old->gen)
        judge_same_gen(sim, old, now);
    sim->reg.gen = now->gen;
    sim->reg.released = now->hold == CW_HOLD_RELEASED;
    if (old == NULL || now->gen == old->gen)
        return;
    judge_grant(sim, old, now);
    sim->control->grants[now->gen % SIM_ASKED] =
        (struct sim_grant){ .gen = now->gen, .released = old->hold == CW_HOLD_RELEASED };
    sim->epoch = now->gen;
    sim_log(sim, "store: gen %u is %s's%s", now->gen, now->owner_name,
            old->hold == CW_HOLD_RELEASED ? ", released before" : "");
    sim->present = NULL;
    for (uint32_t i = 0; i < sim->n_clients; i++)
        if (sim->clients[i].proc.up && cw_uuid_equal(&sim->clients[i].id, &now->owner_id))
            sim->present = &sim->clients[i];
}

static bool
is_of_volume(const struct cw_rec *r)
{
    return (r->kind == CW_REC_SHARD ? CW_SHARD_VOLUME(r->shard.shard) : r->volume.id) == SIM_VOLUME;
}

/* A daemon that the leader hears of tells a newer generation or record than the store has. */
static bool
behind_is_known(const struct sim *sim)
{
    const struct sim_kv *kv = &sim->control->kv;

    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        const struct sim_daemon *d = &sim->daemons[i];
        struct cw_replica_copy c;

        for (uint64_t from = 0;
             d->serving && sim_host_is_the_leaders(d) && cw_replica_copy_next(d->replica, from, &c);
             from = c.shard + 1)
            if (c.promised_gen > kv->saved_gen || c.rec_gen > kv->saved_gen ||
                c.rec_cfg > kv->saved_cfg)
                return true;
    }
    return false;
}

/* The store went back. Nothing may be decided by it that copies are known to know better. */
static void
judge_behind(struct sim *sim, const struct cw_rec *old, const struct cw_rec *now)
{
    if (old == NULL || now == NULL || !behind_is_known(sim))
        return;
    if (now->kind == CW_REC_SHARD)
        sim_fail(sim, "store: it went back, and a record goes on from cfg %u", old->shard.cfg);
    else if (now->volume.gen != old->volume.gen)
        sim_fail(sim, "store: it went back, and gen %u is granted again", now->volume.gen);
}

void
sim_kv_judge(struct sim *sim, const struct cw_rec *old, const struct cw_rec *now)
{
    enum cw_rec_kind kind = now != NULL ? now->kind : old->kind;

    if (kind == CW_REC_CLUSTER && now != NULL)
        sim->control->cluster_id = now->cluster.cluster_id;
    if ((kind != CW_REC_SHARD && kind != CW_REC_VOLUME) || !is_of_volume(now != NULL ? now : old))
        return;
    if (sim->control->kv.behind)
        judge_behind(sim, old, now);
    else if (now == NULL)
        sim_fail(sim, "store: a record of the volume is gone");
    else if (kind == CW_REC_SHARD)
        judge_shard(sim, old != NULL ? &old->shard : NULL, &now->shard);
    else
        judge_volume(sim, old != NULL ? &old->volume : NULL, &now->volume);
}
