/* manager/caretaker.c - volumes that nobody has attached, and that need somebody.
 *
 *   NONE --needed--> ASKED --attach--> HELD --needed no more, a client wants it--> LEAVING --> NONE
 *                      \--refused, silent--> NONE, later again
 *
 * A caretaker attaches like everybody (attach.c), so a live owner that is only cut off from us
 * keeps its volume: its copies say that they hear it.
 */
#include <string.h>

#include "daemon/manager/internal.h"

#define ORPHAN_NS (5 * CW_NS_PER_S) /* the owner's connection to us may come back */
#define MUTE_NS (10 * CW_NS_PER_S)
#define RESTART_NS (10 * CW_NS_PER_S) /* owners find us again after our own restart */
#define ASKED_NS (15 * CW_NS_PER_S)
#define HELD_NS (2 * CW_NS_PER_S)
#define SILENT_NS (30 * CW_NS_PER_S)
#define BACKOFF_NS (2 * CW_NS_PER_S)
#define BACKOFF_MAX_NS (60 * CW_NS_PER_S)
#define HELD_PER_DAEMON_MAX 32u
#define MEND_NS (60 * CW_NS_PER_S)
#define MEND_AGAIN_NS (3600 * CW_NS_PER_S)

/* ---- what a volume needs ---- */

static bool
member_serves(const struct cw_manager *m, const struct cw_member *mb)
{
    return cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, mb));
}

/* A journal, and somebody whom it may make whole. */
static bool
shard_may_be_restored(const struct cw_manager *m, const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t j = cw_mgr_journal_of(r);

    if (j == CW_MEMBERS_MAX || r->members[j].since_seq == 0 || !member_serves(m, &r->members[j]))
        return false;
    for (uint32_t i = 0; i < r->n_members; i++) {
        if ((r->members[i].state == CW_MEMBER_OUT || r->members[i].state == CW_MEMBER_IN_RESYNC) &&
            member_serves(m, &r->members[i]))
            return true;
    }
    return false;
}

static bool
shard_has_source(const struct cw_manager *m, const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;

    for (uint32_t i = 0; i < r->n_members; i++) {
        if (r->members[i].state == CW_MEMBER_INSYNC && !(s->bad & CW_BIT(i)) &&
            member_serves(m, &r->members[i]))
            return true;
    }
    return shard_may_be_restored(m, s);
}

/* Is there something to do now: a copy to bring back, or one to be declared out? */
static bool
shard_needs_care(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t delay_s = cw_mgr_repair_delay_s(m, v), n_insync = 0;

    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct cw_member *mb = &r->members[i];
        enum mgr_copy copy;

        n_insync += mb->state == CW_MEMBER_INSYNC && !(s->bad & CW_BIT(i)) && member_serves(m, mb);
        if (mb->state == CW_MEMBER_DEAD || mb->state == CW_MEMBER_JOURNAL ||
            (mb->async && mb->state == CW_MEMBER_LAGGING))
            continue;
        if (mb->state != CW_MEMBER_INSYNC) {
            if (!cw_mgr_repair_paused(m) && member_serves(m, mb) &&
                !cw_mgr_disk_crowded(cw_mgr_find_copy_disk(&m->t, mb)))
                return true;
            continue;
        }
        copy = cw_mgr_copy_state(m, mb, delay_s);
        if (copy == MGR_COPY_GONE || copy == MGR_COPY_OVERDUE)
            return true;
        if ((s->bad & CW_BIT(i)) && member_serves(m, mb))
            return true;
    }
    if (cw_mgr_journal_of(r) < CW_MEMBERS_MAX && cw_mgr_journal_idle(m, v, n_insync))
        return true;
    return cw_mgr_evict_due(s) < CW_MEMBERS_MAX || cw_mgr_async_leaves(m, v, s);
}

/* ---- bad blocks ---- */

/* Of in-sync copies, with another in-sync copy to mend them from. */
static uint64_t
mendable_blocks(const struct cw_manager *m, const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint64_t blocks = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_members; i++) {
        if (r->members[i].state != CW_MEMBER_INSYNC || (s->bad & CW_BIT(i)) ||
            !member_serves(m, &r->members[i]))
            continue;
        n++;
        blocks += s->bad_blocks[i];
    }
    return n > 1 ? blocks : 0;
}

/* An owner that is there mends what it can at once. What stays for a minute nobody can mend now: no
 * caretaker holds the volume for that, but one tries again later. */
static void
mend_look(const struct cw_manager *m, struct mgr_volume *v)
{
    uint64_t now = cw_now_ns(m->env), blocks = 0;

    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        blocks += s != NULL ? mendable_blocks(m, s) : 0;
    }
    if (blocks > v->mend.blocks)
        v->mend.not_before_ns = 0; /* these are others */
    if (blocks != v->mend.blocks || v->o.rec.volume.hold != CW_HOLD_OWNED || !v->report.have)
        v->mend.since_ns = now;
    v->mend.blocks = blocks;
    if (blocks > 0 && now - v->mend.since_ns >= MEND_NS)
        v->mend.not_before_ns = now + MEND_AGAIN_NS;
}

static bool
owner_lost(const struct cw_manager *m, const struct mgr_volume *v)
{
    uint64_t now = cw_now_ns(m->env);

    if (v->o.rec.volume.hold != CW_HOLD_OWNED)
        return false;
    if (v->o.rec.volume.caretaker && v->care.state == MGR_CARE_NONE)
        return true; /* its daemon is there and does not hold it */
    return v->orphan_ns != 0 && now - v->orphan_ns >= ORPHAN_NS &&
           now - m->started_ns >= RESTART_NS;
}

static enum mgr_need
need_of_shards(const struct cw_manager *m, const struct mgr_volume *v)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        if (shard_needs_care(m, v, cw_mgr_shard_of(m, v, i)))
            return MGR_NEED_RESYNC;
    }
    return MGR_NEED_NOTHING;
}

/* Nothing can be done for a volume without one. */
static bool
has_every_source(const struct cw_manager *m, const struct mgr_volume *v)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        if (s == NULL || !shard_has_source(m, s))
            return false;
    }
    return true;
}

/* A copy in sync is away, and its owner may be with it on the other side of a cut: what it asks
 * waits there, and would fail if the volume were taken for nobody's sake. It is waited for as long
 * as an absent copy, whatever else keeps that from being replaced; a client that wants the volume
 * is not held up by this. */
static bool
owner_may_wait(const struct cw_manager *m, const struct mgr_volume *v)
{
    uint64_t delay_ns = cw_mgr_repair_delay_s(m, v) * CW_NS_PER_S;

    for (uint32_t i = 0; !v->o.rec.volume.caretaker && i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++) {
            const struct cw_member *mb = &s->o.rec.shard.members[k];
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);
            enum mgr_copy copy = cw_mgr_copy_state(m, mb, UINT32_MAX);

            if (mb->state == CW_MEMBER_INSYNC && d != NULL &&
                !cw_mgr_host_serves(m, cw_mgr_disk_host(m, d)) && copy != MGR_COPY_GONE &&
                cw_mgr_disk_away_ns(m, d) < delay_ns)
                return true;
        }
    }
    return false;
}

bool
cw_mgr_care_waits(const struct cw_manager *m, const struct mgr_volume *v)
{
    return v->o.rec.volume.purge_at_s == 0 && owner_lost(m, v) && owner_may_wait(m, v);
}

enum mgr_need
cw_mgr_care_need(const struct cw_manager *m, const struct mgr_volume *v)
{
    if (v->o.rec.volume.purge_at_s != 0 || !has_every_source(m, v))
        return MGR_NEED_NOTHING;
    if (owner_lost(m, v))
        return owner_may_wait(m, v) ? MGR_NEED_NOTHING : MGR_NEED_TAKEOVER;
    if (cw_mgr_jobs_want(m, v->o.rec.volume.id))
        return MGR_NEED_VERIFY;
    if (v->o.rec.volume.gen > 0 && need_of_shards(m, v) != MGR_NEED_NOTHING)
        return MGR_NEED_RESYNC;
    return v->mend.blocks > 0 && cw_now_ns(m->env) >= v->mend.not_before_ns ? MGR_NEED_MEND
                                                                            : MGR_NEED_NOTHING;
}

/* ---- asking ---- */

void
cw_mgr_care_failed(struct cw_manager *m, struct mgr_volume *v)
{
    uint64_t wait = BACKOFF_NS << (v->care.failures < 5 ? v->care.failures : 5);

    v->care.failures++;
    v->care.state = MGR_CARE_NONE;
    v->care.not_before_ns = cw_now_ns(m->env) + cw_min_u64(wait, BACKOFF_MAX_NS);
}

void
cw_mgr_care_cancel(struct cw_manager *m, struct mgr_volume *v)
{
    if (v->care.state == MGR_CARE_ASKED)
        v->care.state = MGR_CARE_NONE;
    v->care.not_before_ns = cw_now_ns(m->env) + BACKOFF_NS;
}

static void
care_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, a->ask.volume_id);

    if (v == NULL || answer->code == CW_MGR_OK || v->care.state != MGR_CARE_ASKED ||
        !cw_uuid_equal(&v->care.daemon, &a->daemon))
        return;
    cw_log(m->env, CW_LOG_WARNING, "volume %s: a caretaker was refused: %s", v->o.rec.volume.name,
           answer->message);
    cw_mgr_care_failed(m, v);
}

static void
care_ask(struct cw_manager *m, struct mgr_volume *v, struct cw_mgr_session *s)
{
    struct mgr_ask *a = cw_mgr_ask_new(CW_MGR_ASK_CARETAKE, ASKED_NS / CW_NS_PER_MS);

    a->ask.volume_id = v->o.rec.volume.id;
    a->ask.name = cw_mgr_arena_text(a->arena, v->o.rec.volume.name);
    a->daemon = s->id;
    a->done = care_answered;
    v->care.state = MGR_CARE_ASKED;
    v->care.daemon = s->id;
    v->care.until_ns = cw_now_ns(m->env) + ASKED_NS;
    cw_mgr_ask_send(s, a);
}

static uint32_t
volumes_cared_by(const struct cw_manager *m, const struct cw_mgr_session *s)
{
    uint32_t n = 0;

    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    n += v->care.state != MGR_CARE_NONE && cw_uuid_equal(&v->care.daemon, &s->id);
    return n;
}

static uint32_t
insync_on(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_host *h)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++) {
            const struct cw_member *mb = &s->o.rec.shard.members[k];
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);

            n += (mb->state == CW_MEMBER_INSYNC || mb->state == CW_MEMBER_JOURNAL) &&
                 !(s->bad & CW_BIT(k)) && cw_mgr_disk_serves(m, d) && cw_mgr_disk_host(m, d) == h;
        }
    }
    return n;
}

/* The daemon with most in-sync shards of it; among equals the one with least to do, then by name. A
 * second attempt goes to another one if there is another. */
static struct cw_mgr_session *
care_choose(const struct cw_manager *m, const struct mgr_volume *v)
{
    struct cw_mgr_session *best = NULL;
    uint32_t best_n = 0, best_busy = 0;

    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        uint32_t n, busy;

        if (!cw_mgr_host_serves(m, h) || (n = insync_on(m, v, h)) == 0)
            continue;
        busy = volumes_cared_by(m, h->session);
        if (busy >= HELD_PER_DAEMON_MAX)
            continue;
        if (v->care.failures > 0 && cw_uuid_equal(&v->care.daemon, &h->session->id))
            busy += HELD_PER_DAEMON_MAX;
        if (best == NULL || (busy < HELD_PER_DAEMON_MAX) > (best_busy < HELD_PER_DAEMON_MAX) ||
            ((busy < HELD_PER_DAEMON_MAX) == (best_busy < HELD_PER_DAEMON_MAX) &&
             (n > best_n || (n == best_n && busy < best_busy)))) {
            best = h->session;
            best_n = n;
            best_busy = busy;
        }
    }
    return best;
}

/* ---- letting go ---- */

static void
let_go_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, a->ask.volume_id);

    cw_mgr_claim_let_go(m, a, answer);
    if (v == NULL || v->care.state != MGR_CARE_LEAVING)
        return;
    v->care.state =
        answer->code != CW_MGR_OK && v->o.rec.volume.caretaker && v->o.rec.volume.gen == a->ask.gen
            ? MGR_CARE_HELD
            : MGR_CARE_NONE;
    v->care.not_before_ns = cw_now_ns(m->env) + HELD_NS;
}

struct mgr_ask *
cw_mgr_let_go(struct cw_manager *m, struct mgr_volume *v, struct cw_mgr_session *s)
{
    struct mgr_ask *a = cw_mgr_ask_new(CW_MGR_ASK_LET_GO, 5000);

    a->ask.volume_id = v->o.rec.volume.id;
    a->ask.gen = v->o.rec.volume.gen;
    a->done = let_go_answered;
    v->care.state = MGR_CARE_LEAVING;
    return a;
}

/* ---- the look at every volume ---- */

/* Owners report every second, also while they begin. One that is connected and does not has let the
 * volume go, and what it said of that was lost: its release, with a transaction in doubt. If it has
 * not, the copies say so. */
static bool
owner_silent(const struct cw_manager *m, const struct mgr_volume *v)
{
    uint64_t heard = v->report.have ? cw_max_u64(v->report.at_ns, v->granted_ns) : v->granted_ns;

    return !v->o.rec.volume.caretaker && cw_now_ns(m->env) - heard >= MUTE_NS;
}

static void
orphan_look(struct cw_manager *m, struct mgr_volume *v)
{
    if (v->o.rec.volume.hold != CW_HOLD_OWNED ||
        (cw_mgr_owner_session(m, v) != NULL && !owner_silent(m, v)))
        v->orphan_ns = 0;
    else if (v->orphan_ns == 0)
        v->orphan_ns = cw_max_u64(cw_now_ns(m->env), 1);
}

/* It has attached. Is it done, or has it stopped telling us anything? */
static void
care_look_held(struct cw_manager *m, struct mgr_volume *v)
{
    struct cw_mgr_session *s = cw_mgr_owner_session(m, v);
    uint64_t now = cw_now_ns(m->env);

    if (now < v->care.not_before_ns)
        return;
    if (v->o.rec.volume.hold != CW_HOLD_OWNED || !v->o.rec.volume.caretaker) {
        v->care.state = MGR_CARE_NONE;
        v->care.failures = 0;
        return;
    }
    if (s == NULL) {
        if (owner_lost(m, v))
            cw_mgr_care_failed(m, v);
        return;
    }
    if (!v->report.have) {
        if (v->care.until_ns == 0)
            v->care.until_ns = now + SILENT_NS;
        if (now >= v->care.until_ns && !cw_mgr_volume_cold(m, v))
            cw_mgr_ask_send(s, cw_mgr_let_go(m, v, s));
        return;
    }
    if (cw_mgr_care_need(m, v) != MGR_NEED_NOTHING || now - v->granted_ns < HELD_NS)
        return;
    if (now - v->report.at_ns >= SILENT_NS || !cw_mgr_volume_suspended(m, v))
        cw_mgr_ask_send(s, cw_mgr_let_go(m, v, s));
}

static void
care_look_none(struct cw_manager *m, struct mgr_volume *v)
{
    struct cw_mgr_session *s;

    if (cw_now_ns(m->env) < v->care.not_before_ns || cw_mgr_volume_cold(m, v))
        return;
    if (v->o.rec.volume.hold == CW_HOLD_OWNED && !owner_lost(m, v))
        return;
    if (v->o.rec.volume.hold == CW_HOLD_RELEASED && cw_mgr_handover_open(m, v))
        return; /* somebody is about to take it */
    if (cw_mgr_care_need(m, v) == MGR_NEED_NOTHING)
        return;
    s = care_choose(m, v);
    if (s != NULL)
        care_ask(m, v, s);
}

/* One more failure takes some part of it away. */
static bool
has_one_copy(const struct cw_manager *m, const struct mgr_volume *v)
{
    if (cw_mgr_volume_policy(m, &v->o.rec.volume)->copies == 1)
        return false;
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);
        uint32_t n = 0;

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++)
            n += s->o.rec.shard.members[k].state == CW_MEMBER_INSYNC && !(s->bad & CW_BIT(k)) &&
                 member_serves(m, &s->o.rec.shard.members[k]);
        if (n == 1)
            return true;
    }
    return false;
}

void
cw_mgr_care_tick(struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        orphan_look(m, v);
        mend_look(m, v);
        if (v->care.state == MGR_CARE_NONE && has_one_copy(m, v))
            care_look_none(m, v); /* a daemon takes care of so many only: these first */
    }
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        switch (v->care.state) {
        case MGR_CARE_NONE:
            care_look_none(m, v);
            break;
        case MGR_CARE_ASKED:
            if (cw_now_ns(m->env) >= v->care.until_ns)
                cw_mgr_care_failed(m, v);
            break;
        case MGR_CARE_HELD:
            care_look_held(m, v);
            break;
        case MGR_CARE_LEAVING:
            break; /* the answer, or the end of the connection, moves it on */
        }
    }
}
