/* manager/change.c - owners change their records: one compare-and-set on a shard, and the release.
 *
 * A compare that fails is no error: the reply shows the record as it is, which is what the owner
 * needs to end its doubt (I4).
 */
#include <stdio.h>
#include <string.h>

#include "common/base/mutation.h"
#include "daemon/manager/internal.h"

static bool
owns(const struct mgr_volume *v, const struct cw_mgr_session *s)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;

    return s != NULL && r->hold == CW_HOLD_OWNED && !cw_uuid_is_nil(&s->id) &&
           cw_uuid_equal(&r->owner_id, &s->id);
}

/* Who follows is never in sync; it follows once it has been synchronised. */
static bool
move_allowed(const struct cw_member *mb, enum cw_member_state to)
{
    static const uint32_t moves[] = {
        [CW_MEMBER_INSYNC] = CW_BIT(CW_MEMBER_LAGGING) | CW_BIT(CW_MEMBER_OUT),
        [CW_MEMBER_LAGGING] = CW_BIT(CW_MEMBER_INSYNC) | CW_BIT(CW_MEMBER_OUT),
        [CW_MEMBER_IN_RESYNC] = CW_BIT(CW_MEMBER_INSYNC) | CW_BIT(CW_MEMBER_OUT),
        [CW_MEMBER_OUT] = CW_BIT(CW_MEMBER_IN_RESYNC),
        [CW_MEMBER_JOURNAL] = 0, /* begins, or goes: journal_apply */
        [CW_MEMBER_DEAD] = 0,
    };
    enum cw_member_state from = mb->state;

    if (mb->async && to == CW_MEMBER_INSYNC)
        return false;
    if (mb->async && from == CW_MEMBER_IN_RESYNC && to == CW_MEMBER_LAGGING)
        return true;
    if (to == from || (to == CW_MEMBER_DEAD && from != CW_MEMBER_DEAD))
        return true;
    return from >= CW_MEMBER_INSYNC && from <= CW_MEMBER_DEAD && to >= CW_MEMBER_INSYNC &&
           to < CW_MEMBER_DEAD && (moves[from] & CW_BIT(to)) != 0;
}

static struct cw_member *
member_of(struct cw_shard_rec *r, const struct cw_member *like)
{
    const struct cw_member *m = cw_shard_rec_find(r, &like->disk_uuid, like->format_id);

    return m != NULL ? &r->members[m - r->members] : NULL;
}

static uint32_t
count_insync(const struct cw_shard_rec *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_members; i++)
        n += r->members[i].state == CW_MEMBER_INSYNC;
    return n;
}

/* Everything wanted stands in the record, put there by this owner's change of this very cfg: the
 * same request again, whose reply was lost. A withdrawal wants nothing and is never taken for one.
 */
static bool
change_is_repeat(const struct cw_mgr_change *q, const struct mgr_volume *v,
                 const struct cw_shard_rec *now)
{
    if (q->n_want == 0 || v->o.rec.volume.gen != q->gen || now->gen != q->gen ||
        now->cfg != q->cfg + 1)
        return false;
    for (size_t i = 0; i < q->n_want; i++) {
        const struct cw_member *m =
            cw_shard_rec_find(now, &q->want[i].disk_uuid, q->want[i].format_id);

        if (m == NULL && q->want[i].state == CW_MEMBER_DEAD)
            continue; /* a journal, which is removed at once */
        if (m == NULL || m->state != q->want[i].state || m->since_seq != q->want[i].since_seq)
            return false;
    }
    return true;
}

/* A disk counts once in that time, however many copies on it are slow. */
static bool
may_set_aside(struct cw_manager *m, const struct cw_uuid *disk)
{
    uint64_t now = cw_now_ns(m->env);
    struct mgr_set_aside *free_one = NULL;

    for (uint32_t i = 0; i < MGR_SET_ASIDE_MAX; i++) {
        struct mgr_set_aside *a = &m->set_aside[i];
        bool over = a->at_ns == 0 || now - a->at_ns >= MGR_SET_ASIDE_NS;

        if (!over && cw_uuid_equal(&a->disk, disk))
            return true;
        if (over)
            free_one = a;
    }
    if (free_one == NULL)
        return false;
    *free_one = (struct mgr_set_aside){ .disk = *disk, .at_ns = now };
    return true;
}

/* A journal begins once, at the record that its owner says, or goes for good: nobody brings it
 * back, so it leaves the record and its disk in the same transaction. */
static bool
journal_apply(struct mgr_txn *t, const struct cw_member *want, struct cw_shard_rec *r,
              struct cw_member *mb)
{
    if (want->state == CW_MEMBER_DEAD) {
        if (mb->since_seq == 0) /* its owner could not let it begin: the next may fare the same */
            cw_mgr_find_shard(&t->m->t, r->shard)->journal_ns =
                cw_now_ns(t->m->env) + MGR_JOURNAL_AGAIN_NS;
        cw_mgr_txn_drop(t, mb, r->shard);
        cw_mgr_member_remove(r, (uint32_t)(mb - r->members));
        return true;
    }
    if (want->state != CW_MEMBER_JOURNAL || want->since_seq == 0 ||
        (mb->since_seq != 0 && mb->since_seq != want->since_seq))
        return false;
    mb->since_seq = want->since_seq;
    return true;
}

/* What SYNCING members that a journal makes whole are bound to. */
static bool
since_allowed(const struct cw_shard_rec *r, const struct cw_member *want)
{
    if (want->since_seq == 0)
        return true;
    for (uint32_t i = 0; i < r->n_members; i++) {
        if (r->members[i].state == CW_MEMBER_JOURNAL && r->members[i].since_seq == want->since_seq)
            return want->state == CW_MEMBER_IN_RESYNC;
    }
    return false;
}

static bool
change_apply(struct mgr_txn *t, const struct cw_mgr_change *q, struct cw_shard_rec *r,
             const char *volume, struct cw_mgr_error *err)
{
    for (size_t i = 0; i < q->n_want; i++) {
        struct cw_member *mb = member_of(r, &q->want[i]);

        if (mb != NULL && mb->state == CW_MEMBER_JOURNAL && journal_apply(t, &q->want[i], r, mb))
            continue;
        if (mb == NULL || mb->state == CW_MEMBER_JOURNAL || !move_allowed(mb, q->want[i].state) ||
            !since_allowed(r, &q->want[i])) {
            cw_mgr_error_set(err, CW_MGR_BAD_REQUEST, volume, "shard %u: no member may go %s -> %s",
                             CW_SHARD_INDEX(q->shard),
                             mb != NULL ? cw_member_state_name(mb->state) : "NONE",
                             cw_member_state_name(q->want[i].state));
            return false;
        }
        if (mb->state == CW_MEMBER_INSYNC && q->want[i].state == CW_MEMBER_LAGGING &&
            !may_set_aside(t->m, &mb->disk_uuid)) {
            cw_mgr_error_set(err, CW_MGR_LIMIT, volume,
                             "shard %u: %u disks were set aside in the last minute",
                             CW_SHARD_INDEX(q->shard), MGR_SET_ASIDE_MAX);
            return false;
        }
        mb->state = q->want[i].state;
        mb->since_seq = q->want[i].since_seq;
    }
    if (count_insync(r) > 0 || cw_mutated(CW_MUTATION_LAST_COPY))
        return true;
    cw_mgr_error_set(err, CW_MGR_LAST_COPY, volume,
                     "shard %u: the change would leave no in-sync copy", CW_SHARD_INDEX(q->shard));
    return false;
}

static void
change_describe(const struct cw_manager *m, const struct cw_mgr_change *q, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    for (size_t i = 0; i < q->n_want && len < size; i++) {
        const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, &q->want[i]);

        len += (size_t)snprintf(
            text + len, size - len, " %s/%s=%s", d != NULL ? d->o.rec.disk.host : "?",
            d != NULL ? d->o.rec.disk.name : "?", cw_member_state_name(q->want[i].state));
    }
}

/* That copies are not new any more is no news for people. */
static bool
change_is_news(const struct cw_mgr_change *q, const struct cw_shard_rec *was)
{
    for (size_t i = 0; i < q->n_want; i++) {
        const struct cw_member *m =
            cw_shard_rec_find(was, &q->want[i].disk_uuid, q->want[i].format_id);

        if (m == NULL || m->state != q->want[i].state || m->since_seq != CW_SINCE_NEW)
            return true;
    }
    return false;
}

static void
change_put(struct mgr_txn *t, const struct cw_mgr_change *q, struct cw_rec *rec,
           const struct cw_shard_rec *was, const char *volume)
{
    char what[200];

    rec->shard.gen = q->gen;
    rec->shard.cfg++;
    cw_mgr_txn_put(t, rec);
    if (!change_is_news(q, was))
        return;
    change_describe(t->m, q, what, sizeof(what));
    cw_mgr_txn_event(t, "COPY_STATE", volume, "shard %u:%s: %.60s", CW_SHARD_INDEX(q->shard), what,
                     q->why);
}

static enum mgr_build
change_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_change *q = &c->call->req.change;
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, q->volume_id);
    struct mgr_shard *s = cw_mgr_find_shard(&t->m->t, q->shard);
    struct cw_rec rec;

    c->call->reply.change.applied = false;
    if (v == NULL || s == NULL || CW_SHARD_VOLUME(q->shard) != q->volume_id)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, "", "there is no shard %llx",
                             (unsigned long long)q->shard);
    if (v->o.rec.volume.gen == q->gen && v->o.rec.volume.hold == CW_HOLD_OWNED &&
        !owns(v, c->call->session))
        return cw_mgr_refuse(c, CW_MGR_CONFLICT, v->o.rec.volume.name,
                             "this connection does not own volume %s", v->o.rec.volume.name);
    if ((v->o.rec.volume.gen != q->gen && !cw_mutated(CW_MUTATION_CAS_NO_GEN)) ||
        (s->o.rec.shard.cfg != q->cfg && !cw_mutated(CW_MUTATION_CAS_NO_CFG)) ||
        v->o.rec.volume.hold != CW_HOLD_OWNED) {
        c->call->reply.change.applied = change_is_repeat(q, v, &s->o.rec.shard);
        return MGR_BUILD_NONE;
    }
    rec = s->o.rec;
    if (rec.shard.cfg == UINT32_MAX)
        return cw_mgr_refuse(c, CW_MGR_LIMIT, v->o.rec.volume.name, "no cfg is left");
    if (!change_apply(t, q, &rec.shard, v->o.rec.volume.name, &c->call->error))
        return cw_mgr_refused(c);
    change_put(t, q, &rec, &s->o.rec.shard, v->o.rec.volume.name);
    c->call->reply.change.applied = true;
    return MGR_BUILD_COMMIT;
}

static void
change_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    const struct cw_mgr_change *q = &c->call->req.change;
    struct cw_mgr_change_reply *r = &c->call->reply.change;
    const struct mgr_volume *v = cw_mgr_find_volume(&m->t, q->volume_id);
    const struct mgr_shard *s = cw_mgr_find_shard(&m->t, q->shard);

    if (v == NULL || s == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, "", "the volume is gone again");
        return;
    }
    r->volume_gen = v->o.rec.volume.gen;
    r->shard = s->o.rec.shard;
    r->disks = cw_mgr_locations(m, &s->o.rec.shard, 1, cw_mgr_reply_arena(c->call), &r->n_disks);
}

void
cw_mgr_call_change(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op_of(m, call, call->req.change.volume_id, change_build, change_ok);
}

/* ---- release ---- */

static enum mgr_build
release_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_release *q = &c->call->req.release;
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, q->volume_id);
    struct cw_rec rec;

    if (v == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, "", "there is no volume %llu",
                             (unsigned long long)q->volume_id);
    rec = v->o.rec;
    if (rec.volume.gen == q->gen && rec.volume.hold == CW_HOLD_RELEASED)
        return MGR_BUILD_NONE; /* the same request again */
    if ((rec.volume.gen != q->gen || !owns(v, c->call->session)) &&
        !cw_mutated(CW_MUTATION_RELEASE_ANY))
        return cw_mgr_refuse(c, CW_MGR_CONFLICT, rec.volume.name,
                             "volume %s: gen %u is not this connection's (it is at %u)",
                             rec.volume.name, q->gen, rec.volume.gen);
    rec.volume.hold = CW_HOLD_RELEASED;
    rec.volume.owner_id = (struct cw_uuid){ 0 };
    rec.volume.owner_name[0] = rec.volume.owner_host[0] = '\0';
    rec.volume.owner_since_s = 0;
    rec.volume.caretaker = false;
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, "VOLUME_RELEASED", rec.volume.name, "gen %u", q->gen);
    return MGR_BUILD_COMMIT;
}

/* Its owner left every member equal or out: what was registered before says nothing any more. */
static void
release_ok(struct mgr_call_op *c)
{
    struct cw_manager *m = c->op.m;
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, c->call->req.release.volume_id);

    for (uint32_t i = 0; v != NULL && i < cw_mgr_volume_shards(v); i++) {
        struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        s->bad = 0;
        s->suspended = false;
    }
}

void
cw_mgr_call_release(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op_of(m, call, call->req.release.volume_id, release_build, release_ok);
}
