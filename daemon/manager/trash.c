/* manager/trash.c - removing volumes, at once or after a while, and bringing them back.
 *
 *   rm --> trash (24 h, or delay) --restore--> volume
 *            \--time, rm --now--> purged: its copies become drops (drops.c)
 *
 * No wall clock says when: one that is set ahead would purge too early, and nothing brings a volume
 * back. The manager that leads counts what is left, and puts it into the record now and then, for
 * whoever leads next; what was counted since is counted again.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/mutation.h"
#include "common/base/name.h"
#include "daemon/manager/internal.h"

#define DELAY_S 86400u
#define NOTE_S 300u
#define NOTES_MAX 64u

/* ---- purge ---- */

static void
txn_purge(struct mgr_txn *t, const struct mgr_volume *v)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(t->m, v, i);

        if (s == NULL)
            continue;
        for (uint32_t k = 0; k < s->o.rec.shard.n_members; k++)
            cw_mgr_txn_drop(t, &s->o.rec.shard.members[k], s->o.rec.shard.shard);
        cw_mgr_txn_del(t, &s->o);
    }
    cw_mgr_txn_del(t, &v->o);
    cw_mgr_txn_event(t, "VOLUME_PURGED", v->o.rec.volume.name, "its copies are dropped");
}

/* ---- how long yet ---- */

static uint64_t
trash_counted_s(const struct cw_manager *m, const struct mgr_volume *v)
{
    return (cw_now_ns(m->env) - v->trash_ns) / CW_NS_PER_S;
}

static uint64_t
trash_left_s(const struct cw_manager *m, const struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;
    uint64_t now_s = cw_mgr_wall_s(m), left_s = r->purge_left_s, counted_s = trash_counted_s(m, v);

    if (cw_mutated(CW_MUTATION_PURGE_BY_CLOCK))
        return r->purge_at_s > now_s ? r->purge_at_s - now_s : 0;
    if (left_s == 0) /* of an earlier version: no less than it kept anything */
        left_s = cw_max_u64(DELAY_S, r->purge_at_s > now_s ? r->purge_at_s - now_s : 0);
    return left_s > counted_s ? left_s - counted_s : 0;
}

void
cw_mgr_trash_applied(struct cw_manager *m, struct mgr_volume *v, const struct cw_volume_rec *old)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;

    if (old == NULL || old->purge_at_s != r->purge_at_s || old->purge_left_s != r->purge_left_s)
        v->trash_ns = cw_now_ns(m->env);
}

static bool
note_due(const struct cw_manager *m, const struct mgr_volume *v)
{
    return v->o.rec.volume.purge_at_s != 0 && trash_counted_s(m, v) >= NOTE_S &&
           trash_left_s(m, v) > 0;
}

static enum mgr_build
note_build(struct mgr_op *op, struct mgr_txn *t)
{
    uint32_t n = 0;

    MGR_EACH(&op->m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        struct cw_rec rec = v->o.rec;

        if (!note_due(op->m, v) || n++ >= NOTES_MAX)
            continue;
        rec.volume.purge_left_s = trash_left_s(op->m, v);
        cw_mgr_txn_put(t, &rec);
    }
    t->quiet = true;
    return n > 0 ? MGR_BUILD_COMMIT : MGR_BUILD_NONE;
}

static void
note_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    op->m->trash_noting = false; /* not in force: the next tick tries again */
    free(op);
}

static void
note_queue(struct cw_manager *m)
{
    struct mgr_op *op;

    if (m->trash_noting)
        return;
    op = calloc(1, sizeof(*op));
    cw_assert(op != NULL);
    op->build = note_build;
    op->end = note_end;
    m->trash_noting = true;
    cw_mgr_op_queue(m, op);
}

struct purge_op {
    struct mgr_op op;
    uint64_t id;
};

static enum mgr_build
purge_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct purge_op *p = cw_container_of(op, struct purge_op, op);
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, p->id);

    if (v == NULL || v->o.rec.volume.purge_at_s == 0 || trash_left_s(t->m, v) > 0 ||
        cw_mgr_volume_behind(t->m, v))
        return MGR_BUILD_NONE;
    txn_purge(t, v);
    return MGR_BUILD_COMMIT;
}

static void
purge_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct mgr_volume *v;
    struct purge_op *p = cw_container_of(op, struct purge_op, op);

    v = cw_mgr_find_volume(&op->m->t, p->id);
    if (v != NULL)
        v->purging = false; /* not in force: the next tick tries again */
    free(p);
}

void
cw_mgr_trash_tick(struct cw_manager *m)
{
    bool note = false;

    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        struct purge_op *p;

        note |= note_due(m, v);
        if (v->o.rec.volume.purge_at_s == 0 || trash_left_s(m, v) > 0 || v->purging ||
            cw_mgr_volume_behind(m, v))
            continue;
        p = calloc(1, sizeof(*p));
        cw_assert(p != NULL);
        p->id = v->o.rec.volume.id;
        p->op.build = purge_build;
        p->op.end = purge_end;
        v->purging = true;
        cw_mgr_op_queue(m, &p->op);
    }
    if (note)
        note_queue(m);
}

/* ---- rm ---- */

static enum mgr_build
rm_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_volume_rm *q = &c->call->req.volume_rm;
    struct mgr_volume *v = cw_mgr_find_volume_named(&t->m->t, q->name);
    struct cw_rec rec;
    char at[CW_MGR_TIME_SIZE];

    if (v == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, q->name, "there is no volume %.63s", q->name);
    if (q->now) {
        txn_purge(t, v);
        return MGR_BUILD_COMMIT;
    }
    rec = v->o.rec;
    if (rec.volume.hold == CW_HOLD_OWNED) {
        /* A silent owner that comes back is fenced; the tail that it left is settled after restore.
         */
        rec.volume.gen++;
        rec.volume.owner_id = (struct cw_uuid){ 0 };
        rec.volume.caretaker = false;
    }
    rec.volume.purge_left_s = q->delay_s != 0 ? q->delay_s : DELAY_S;
    rec.volume.purge_at_s = cw_mgr_wall_s(t->m) + rec.volume.purge_left_s;
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, "VOLUME_TRASHED", q->name, "until %s",
                     cw_mgr_time_format(rec.volume.purge_at_s, at));
    return MGR_BUILD_COMMIT;
}

static enum mgr_build
rm_trashed_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const char *name = c->call->req.volume_rm.name;
    struct mgr_volume *v = cw_mgr_find_trashed(&t->m->t, name);

    if (v == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, name, "there is no volume %.63s", name);
    txn_purge(t, v);
    return MGR_BUILD_COMMIT;
}

static void
done_ok(struct mgr_call_op *c)
{
}

/* Whether a silent owner still lives is asked of the copies, and that is not only looking. */
static enum mgr_build
rm_dry_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const char *name = c->call->req.volume_rm.name;
    struct mgr_volume *v = cw_mgr_find_volume_named(&t->m->t, name);

    if (v == NULL)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, name, "there is no volume %.63s", name);
    if (v->o.rec.volume.hold == CW_HOLD_OWNED && !v->o.rec.volume.caretaker &&
        cw_mgr_owner_session(t->m, v) != NULL)
        return cw_mgr_refuse(c, CW_MGR_VOLUME_IN_USE, name, "volume %s is attached", name);
    return MGR_BUILD_NONE;
}

void
cw_mgr_call_volume_rm(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_volume_rm *q = &call->req.volume_rm;
    struct mgr_volume *v = cw_mgr_find_volume_named(&m->t, q->name);

    if (v != NULL && call->dry_run) {
        cw_mgr_call_op(m, call, rm_dry_build, done_ok);
    } else if (v != NULL) {
        cw_mgr_care_cancel(m, v);
        cw_mgr_claim(m, call, v->o.rec.volume.id, false, false, rm_build, done_ok);
    } else if (q->now) {
        cw_mgr_call_op(m, call, rm_trashed_build, done_ok);
    } else {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, q->name, "there is no volume %.63s", q->name);
        cw_mgr_done(call);
    }
}

/* ---- restore ---- */

static enum mgr_build
restore_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const struct cw_mgr_volume_restore *q = &c->call->req.volume_restore;
    struct mgr_volume *v = q->volume_id != 0 ? cw_mgr_find_volume(&t->m->t, q->volume_id)
                                             : cw_mgr_find_trashed(&t->m->t, q->name);
    const char *name;
    struct cw_rec rec;

    if (v == NULL || v->o.rec.volume.purge_at_s == 0)
        return cw_mgr_refuse(c, CW_MGR_NOT_FOUND, q->name, "no volume %.63s is in the trash",
                             q->name);
    name = q->new_name[0] != '\0' ? q->new_name : v->o.rec.volume.name;
    if (!cw_name_ok(name))
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, "", "\"%.63s\" cannot be a volume's name",
                             name);
    if (cw_mgr_find_volume_named(&t->m->t, name) != NULL) {
        cw_mgr_fail(c->call, CW_MGR_EXISTS, name, "volume %s exists", name);
        cw_mgr_error_hint(&c->call->error, "restore it under another name: --as NAME");
        return cw_mgr_refused(c);
    }
    rec = v->o.rec;
    rec.volume.purge_at_s = rec.volume.purge_left_s = 0;
    cw_mgr_text_set(rec.volume.name, sizeof(rec.volume.name), name);
    cw_mgr_txn_put(t, &rec);
    cw_mgr_txn_event(t, "VOLUME_RESTORED", name, "volume %llu", (unsigned long long)rec.volume.id);
    return MGR_BUILD_COMMIT;
}

void
cw_mgr_call_volume_restore(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, restore_build, done_ok);
}
