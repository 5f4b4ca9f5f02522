/* manager/quarantine.c - a disk on which too many blocks went bad is emptied, copy by copy; one
 * whose link flaps (flaps.c), too.
 *
 *   storm --> quarantined: no new copies --> for each copy there: a new member on another disk, in
 *     sync --> the owner lets the old one go (DEAD) --> it is removed
 *
 * Nothing is given up before something better is in sync: a copy on such a disk is as good as its
 * blocks verify. Without a place for another it stays where it is. INSYNC changes by the owner's
 * request alone (I3), so the owner is asked, and asks; never for the last one (I12).
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define EVICT_MS 5000u
#define EVICT_AGAIN_NS (5 * CW_NS_PER_S)

bool
cw_mgr_member_quarantined(const struct cw_manager *m, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);

    return d != NULL && d->o.rec.disk.quarantined;
}

/* ---- into quarantine, and out of it ---- */

const char *
cw_mgr_quarantine_why(const struct cw_disk_rec *r)
{
    if (!r->quarantined)
        return "";
    switch (r->quarantined_by) {
    case CW_QUARANTINE_BLOCKS:
        return "more than 10 bad blocks were found on it within 24 h";
    case CW_QUARANTINE_LINK:
        return "its link flaps: owners lost it 5 times within an hour";
    }
    cw_unreachable();
}

void
cw_mgr_quarantine_begin(struct mgr_txn *t, const struct mgr_disk *d, struct cw_rec *rec,
                        enum cw_quarantine by)
{
    char path[CW_OBJECT_SIZE];

    rec->disk.quarantined = true;
    rec->disk.quarantined_by = by;
    rec->disk.quarantined_s = cw_mgr_wall_s(t->m);
    cw_mgr_disk_path(t->m, d, path);
    cw_mgr_txn_event(t, "DISK_QUARANTINED", path, "%s; its copies move elsewhere",
                     cw_mgr_quarantine_why(&rec->disk));
}

struct note_op {
    struct mgr_op op;
    struct cw_uuid uuid;
};

static enum mgr_build
note_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct note_op *n = cw_container_of(op, struct note_op, op);
    struct mgr_disk *d = cw_mgr_find_disk(&op->m->t, &n->uuid);
    struct cw_rec rec;
    bool storm;

    if (d == NULL || d->now.scrub.storms == d->o.rec.disk.storms)
        return MGR_BUILD_NONE;
    rec = d->o.rec;
    storm = d->now.scrub.storms > rec.disk.storms; /* else the store went back to an older state */
    rec.disk.storms = d->now.scrub.storms;
    if (storm && !rec.disk.quarantined)
        cw_mgr_quarantine_begin(t, d, &rec, CW_QUARANTINE_BLOCKS);
    cw_mgr_txn_put(t, &rec);
    return MGR_BUILD_COMMIT;
}

static void
note_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct note_op *n = cw_container_of(op, struct note_op, op);
    struct mgr_disk *d = cw_mgr_find_disk(&op->m->t, &n->uuid);

    if (d != NULL)
        d->noting = false; /* if it is not in force, the next beat says it again */
    free(n);
}

void
cw_mgr_quarantine_note(struct cw_manager *m, struct mgr_disk *d)
{
    struct note_op *n;

    if (d->noting)
        return;
    n = calloc(1, sizeof(*n));
    cw_assert(n != NULL);
    n->uuid = d->o.rec.disk.uuid;
    n->op.build = note_build;
    n->op.end = note_end;
    d->noting = true;
    cw_mgr_op_queue(m, &n->op);
}

static enum mgr_build
return_build(struct mgr_call_op *c, struct mgr_txn *t)
{
    const char *name = c->call->req.name;
    struct mgr_disk *d = cw_mgr_disk_named(t->m, name);
    char path[CW_OBJECT_SIZE];
    struct cw_rec rec;

    if (d == NULL) {
        cw_mgr_fail(c->call, CW_MGR_NOT_FOUND, name, "there is no disk %.120s", name);
        cw_mgr_error_hint(&c->call->error, "a disk is HOST/DISK; see: causeway scrub ls");
        return cw_mgr_refused(c);
    }
    if (!d->o.rec.disk.quarantined)
        return cw_mgr_refuse(c, CW_MGR_BAD_REQUEST, name, "disk %.120s is not quarantined", name);
    rec = d->o.rec;
    rec.disk.quarantined = false;
    rec.disk.quarantined_s = 0;
    rec.disk.quarantined_by = CW_QUARANTINE_BLOCKS;
    rec.disk.storms = d->now.scrub.storms;
    cw_mgr_txn_put(t, &rec);
    cw_mgr_disk_path(t->m, d, path);
    cw_mgr_txn_event(t, "DISK_RETURNED", path, "by an operator's word: it takes copies again");
    return MGR_BUILD_COMMIT;
}

static void
return_ok(struct mgr_call_op *c)
{
}

void
cw_mgr_call_disk_return(struct cw_manager *m, struct cw_mgr_call *call)
{
    cw_mgr_call_op(m, call, return_build, return_ok);
}

/* ---- which members stay ---- */

/* A member that may be counted on: it is, or will be, a copy on a disk that is not given up. */
static bool
member_stays(const struct cw_manager *m, const struct cw_member *mb)
{
    return mb->state != CW_MEMBER_DEAD && mb->state != CW_MEMBER_JOURNAL &&
           !cw_mgr_member_quarantined(m, mb) &&
           cw_mgr_copy_state(m, mb, UINT32_MAX) != MGR_COPY_GONE;
}

static bool
member_holds(const struct cw_manager *m, const struct mgr_shard *s, uint32_t i)
{
    const struct cw_member *mb = &s->o.rec.shard.members[i];

    return mb->state == CW_MEMBER_INSYNC && !(s->bad & CW_BIT(i)) && member_stays(m, mb) &&
           cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, mb));
}

bool
cw_mgr_member_surplus(const struct cw_manager *m, const struct mgr_volume *v,
                      const struct cw_shard_rec *r, uint32_t member)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_members; i++)
        n += i != member && member_stays(m, &r->members[i]);
    return n >= cw_mgr_volume_policy(m, &v->o.rec.volume)->copies;
}

/* One on a quarantined disk whose place is taken; or, after the disk was returned, the one that was
 * added last. */
uint32_t
cw_mgr_evict_due(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t copies = cw_mgr_volume_policy(m, &v->o.rec.volume)->copies, holding = 0;

    for (uint32_t i = 0; i < r->n_members; i++)
        holding += member_holds(m, s, i);
    for (uint32_t i = 0; i < r->n_members && holding >= copies; i++) {
        if (r->members[i].state != CW_MEMBER_DEAD && r->members[i].state != CW_MEMBER_JOURNAL &&
            cw_mgr_member_quarantined(m, &r->members[i]))
            return i;
    }
    for (uint32_t i = r->n_members; i-- > copies && holding > copies;) {
        if (r->members[i].state != CW_MEMBER_JOURNAL) /* that one goes by itself */
            return i;
    }
    return CW_MEMBERS_MAX;
}

/* ---- changing records: never INSYNC ---- */

enum shard_step { STEP_NONE, STEP_ADD, STEP_REMOVE };

/* What is to be done with the members now. */
static enum shard_step
step_of(const struct cw_manager *m, const struct mgr_volume *v, const struct cw_shard_rec *r,
        uint32_t *ret_member, struct cw_member *ret_fresh)
{
    char why[CW_MGR_WHY_SIZE];

    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct cw_member *mb = &r->members[i];

        if ((mb->state == CW_MEMBER_DEAD || mb->state == CW_MEMBER_OUT) &&
            cw_mgr_member_surplus(m, v, r, i)) {
            *ret_member = i;
            return STEP_REMOVE;
        }
    }
    for (uint32_t i = 0; i < r->n_members && r->n_members < CW_MEMBERS_MAX; i++) {
        const struct cw_member *mb = &r->members[i];

        /* one that is OUT or DEAD is replaced in its place: repair.c */
        if (mb->state == CW_MEMBER_DEAD || mb->state == CW_MEMBER_OUT ||
            mb->state == CW_MEMBER_JOURNAL || !cw_mgr_member_quarantined(m, mb) ||
            cw_mgr_member_surplus(m, v, r, i) || !cw_mgr_repair_target(m, v, r, i, ret_fresh, why))
            continue;
        *ret_member = i;
        return STEP_ADD;
    }
    return STEP_NONE;
}

struct step_op {
    struct mgr_op op;
    uint64_t shard;
};

static const char *
disk_text(const struct cw_manager *m, const struct cw_member *mb, char path[static CW_OBJECT_SIZE])
{
    const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &mb->disk_uuid);

    path[0] = '\0';
    if (d != NULL)
        cw_mgr_disk_path(m, d, path);
    return path;
}

static enum mgr_build
step_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct step_op *so = cw_container_of(op, struct step_op, op);
    struct mgr_shard *s = cw_mgr_find_shard(&t->m->t, so->shard);
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, CW_SHARD_VOLUME(so->shard));
    char from[CW_OBJECT_SIZE], to[CW_OBJECT_SIZE];
    struct cw_member fresh;
    uint32_t i = 0;
    struct cw_rec rec;

    if (s == NULL || v == NULL || v->o.rec.volume.purge_at_s != 0 || cw_mgr_shard_ahead(t->m, s))
        return MGR_BUILD_NONE;
    rec = s->o.rec;
    switch (step_of(t->m, v, &rec.shard, &i, &fresh)) {
    case STEP_NONE:
        return MGR_BUILD_NONE;
    case STEP_ADD:
        cw_mgr_txn_event(t, "COPY_ADDED", v->o.rec.volume.name,
                         "shard %u: on %.90s, to leave %.90s", CW_SHARD_INDEX(so->shard),
                         disk_text(t->m, &fresh, to), disk_text(t->m, &rec.shard.members[i], from));
        rec.shard.members[rec.shard.n_members++] = fresh;
        break;
    case STEP_REMOVE:
        cw_mgr_txn_event(t, "COPY_REMOVED", v->o.rec.volume.name, "shard %u: from %.120s",
                         CW_SHARD_INDEX(so->shard), disk_text(t->m, &rec.shard.members[i], from));
        cw_mgr_txn_drop(t, &rec.shard.members[i], so->shard);
        cw_mgr_member_remove(&rec.shard, i);
        break;
    }
    rec.shard.cfg++;
    cw_mgr_txn_put(t, &rec);
    return MGR_BUILD_COMMIT;
}

static void
step_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct step_op *so = cw_container_of(op, struct step_op, op);
    struct mgr_volume *v = cw_mgr_find_volume(&op->m->t, CW_SHARD_VOLUME(so->shard));
    struct mgr_shard *s = cw_mgr_find_shard(&op->m->t, so->shard);

    if (s != NULL)
        s->repairing = false;
    if (v != NULL && code == CW_MGR_OK)
        cw_mgr_hint_volume(op->m, v);
    free(so);
}

static void
step_queue(struct cw_manager *m, struct mgr_shard *s)
{
    struct step_op *so = calloc(1, sizeof(*so));

    cw_assert(so != NULL);
    so->shard = s->o.rec.shard.shard;
    so->op.build = step_build;
    so->op.end = step_end;
    s->repairing = true;
    cw_mgr_op_queue(m, &so->op);
}

/* ---- asking the owner ---- */

static void
evict_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    if (answer->code != CW_MGR_OK)
        cw_log(m->env, CW_LOG_INFO,
               "shard %llx: its owner did not take a wish to let a copy go: %s",
               (unsigned long long)a->ask.shards[0], answer->message);
}

void
cw_mgr_evict_ask(struct cw_manager *m, const struct mgr_volume *v, struct mgr_shard *s,
                 uint32_t member)
{
    struct cw_mgr_session *owner = cw_mgr_owner_session(m, v);
    struct mgr_ask *a;
    uint64_t *shard;

    if (owner == NULL || !v->report.have || cw_now_ns(m->env) < s->evict_ns)
        return; /* a caretaker comes by itself: cw_mgr_care_need */
    s->evict_ns = cw_now_ns(m->env) + EVICT_AGAIN_NS;
    a = cw_mgr_ask_new(CW_MGR_ASK_EVICT, EVICT_MS);
    shard = cw_mgr_arena_get(a->arena, 1, sizeof(*shard));
    *shard = s->o.rec.shard.shard;
    a->ask.volume_id = v->o.rec.volume.id;
    a->ask.gen = v->o.rec.volume.gen;
    a->ask.shards = shard;
    a->ask.n_shards = 1;
    a->ask.disk_uuid = s->o.rec.shard.members[member].disk_uuid;
    a->done = evict_answered;
    cw_mgr_ask_send(owner, a);
}

/* ---- the look at every shard ---- */

void
cw_mgr_quarantine_tick(struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct cw_shard_rec *r = &s->o.rec.shard;
        const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(r->shard));
        struct cw_member fresh;
        uint32_t i = 0, evict;

        if (v == NULL || v->o.rec.volume.purge_at_s != 0 || s->repairing ||
            cw_mgr_shard_ahead(m, s))
            continue;
        if (step_of(m, v, r, &i, &fresh) != STEP_NONE) {
            step_queue(m, s);
            continue;
        }
        evict = cw_mgr_evict_due(m, v, s);
        if (evict < CW_MEMBERS_MAX)
            cw_mgr_evict_ask(m, v, s, evict);
    }
}
