/* manager/repair.c - a new place for a copy that will not come back.
 *
 * Only a member that is OUT or DEAD is replaced, by an OUT member on another disk: INSYNC changes
 * by the owner's request alone (I3). A shard that has fewer members than its policy has copies gets
 * one more, OUT too. The owner, or a caretaker, then brings it in sync (1.10). A
 * disk that failed or was formatted again is replaced at once, an absent one after the policy's
 * repair-delay, none while more than a third of the hosts are absent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mutation.h"
#include "daemon/manager/internal.h"

/* Indices of the disks of the other members; what lies nowhere takes no domain. */
static uint32_t
others(const struct cw_place_disk *disks, size_t n, const struct cw_shard_rec *rec, uint32_t member,
       uint32_t *ret)
{
    uint32_t n_have = 0;

    for (uint32_t k = 0; k < rec->n_members; k++) {
        for (size_t i = 0; k != member && !rec->members[k].async && i < n; i++) {
            if (cw_uuid_equal(&disks[i].uuid, &rec->members[k].disk_uuid))
                ret[n_have++] = (uint32_t)i;
        }
    }
    return n_have;
}

static bool
follows_there(const struct cw_shard_rec *rec, const struct cw_uuid *disk)
{
    uint32_t i = cw_mgr_async_of(rec);

    return i < CW_MEMBERS_MAX && cw_uuid_equal(&rec->members[i].disk_uuid, disk);
}

/* but: a disk that is not to be it, either; NULL: none. */
static bool
target_but(const struct cw_manager *m, const struct mgr_volume *v, const struct cw_shard_rec *rec,
           uint32_t member, const struct cw_uuid *but, struct cw_member *ret,
           char why[static CW_MGR_WHY_SIZE])
{
    struct cw_mgr_arena *a = cw_mgr_arena_new();
    struct cw_place_rule rule;
    struct cw_place_answer got = { 0 };
    struct cw_mgr_error err;
    uint32_t have[CW_MEMBERS_MAX], n_have;
    size_t n;
    struct cw_place_disk *disks = cw_mgr_place_disks(m, a, MGR_PLACE_LOST, &n);
    bool ok = cw_mgr_policy_rule(cw_mgr_volume_policy(m, &v->o.rec.volume), &rule, &err);

    for (size_t i = 0; i < n; i++)
        disks[i].usable &= !cw_mgr_drop_pending(m, rec->shard, &disks[i].uuid) &&
                           !follows_there(rec, &disks[i].uuid) &&
                           (but == NULL || !cw_uuid_equal(but, &disks[i].uuid));
    n_have = others(disks, n, rec, member, have);
    rule.copies = n_have + 1; /* this one; the others are other repairs */
    if (ok && rule.copies <= CW_PLACE_COPIES_MAX)
        cw_place(&rule, disks, n, have, n_have, rec->shard, &got);
    if (got.n == 1) {
        const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &disks[got.at[0]].uuid);

        *ret = (struct cw_member){ .disk_uuid = d->o.rec.disk.uuid,
                                   .format_id = d->o.rec.disk.format_id,
                                   .state = CW_MEMBER_OUT };
    } else {
        cw_mgr_place_hint(m, MGR_PLACE_LOST, &got);
        cw_mgr_text_clip(why, CW_MGR_WHY_SIZE, got.hint);
    }
    cw_mgr_arena_free(a);
    return got.n == 1;
}

bool
cw_mgr_repair_target(const struct cw_manager *m, const struct mgr_volume *v,
                     const struct cw_shard_rec *rec, uint32_t member, struct cw_member *ret,
                     char why[static CW_MGR_WHY_SIZE])
{
    return target_but(m, v, rec, member, NULL, ret, why);
}

bool
cw_mgr_repair_may_move(const struct cw_manager *m, const struct mgr_volume *v,
                       const struct cw_shard_rec *rec, uint32_t member)
{
    struct cw_member fresh;
    char why[CW_MGR_WHY_SIZE];

    return target_but(m, v, rec, member, &rec->members[member].disk_uuid, &fresh, why);
}

struct repair_op {
    struct mgr_op op;
    uint64_t shard;
    bool add; /* one more; else in the place of old */
    struct cw_uuid old_disk;
    uint64_t old_format;
};

static bool
member_replaceable(const struct cw_manager *m, const struct mgr_volume *v,
                   const struct cw_member *mb)
{
    enum mgr_copy copy;

    if (mb->state != CW_MEMBER_OUT && mb->state != CW_MEMBER_DEAD &&
        !cw_mutated(CW_MUTATION_MANAGER_EJECTS))
        return false;
    copy = cw_mgr_copy_state(m, mb, cw_mgr_repair_delay_s(m, v));
    return copy == MGR_COPY_GONE || copy == MGR_COPY_OVERDUE;
}

bool
cw_mgr_repair_due(const struct cw_manager *m, const struct mgr_volume *v,
                  const struct cw_shard_rec *rec, uint32_t member)
{
    return !rec->members[member].async && member_replaceable(m, v, &rec->members[member]) &&
           !cw_mgr_member_surplus(m, v, rec, member);
}

void
cw_mgr_member_remove(struct cw_shard_rec *rec, uint32_t member)
{
    memmove(&rec->members[member], &rec->members[member + 1],
            (rec->n_members - member - 1) * sizeof(rec->members[0]));
    rec->n_members--;
}

/* It was made while there was no place for more, or went on from one copy; or it is to serve while
 * a host is in maintenance. */
static bool
member_missing(const struct cw_manager *m, const struct mgr_volume *v, const struct cw_shard_rec *r)
{
    uint32_t n = cw_mgr_count_copies(r);

    return n < cw_mgr_copies_wanted(m, v, r) && r->n_members < CW_MEMBERS_MAX;
}

/* One more, beside those that stay. */
static bool
add_target(const struct cw_manager *m, const struct mgr_volume *v, const struct cw_shard_rec *r,
           struct cw_member *ret)
{
    char why[CW_MGR_WHY_SIZE];

    return cw_mgr_repair_target(m, v, r, CW_MEMBERS_MAX, ret, why) ||
           (cw_mgr_member_to_go(m, r) < CW_MEMBERS_MAX &&
            cw_mgr_repair_target(m, v, r, cw_mgr_member_to_go(m, r), ret, why));
}

static enum mgr_build
add_build(struct mgr_txn *t, const struct mgr_volume *v, const struct mgr_shard *s)
{
    struct cw_rec rec = s->o.rec;
    struct cw_member fresh;
    const struct mgr_disk *d;

    if (!member_missing(t->m, v, &rec.shard) || !add_target(t->m, v, &rec.shard, &fresh))
        return MGR_BUILD_NONE;
    rec.shard.members[rec.shard.n_members++] = fresh;
    rec.shard.cfg++;
    cw_mgr_txn_put(t, &rec);
    d = cw_mgr_find_copy_disk(&t->m->t, &fresh);
    cw_mgr_txn_event(t, "COPY_ADDED", v->o.rec.volume.name, "shard %u: one more, on %s/%s",
                     CW_SHARD_INDEX(rec.shard.shard), d->o.rec.disk.host, d->o.rec.disk.name);
    return MGR_BUILD_COMMIT;
}

static enum mgr_build
leave_build(struct mgr_txn *t, const struct mgr_volume *v, struct cw_rec *rec, uint32_t member)
{
    char path[CW_OBJECT_SIZE];

    cw_mgr_copy_path(t->m, &rec->shard.members[member], path);
    cw_mgr_member_remove(&rec->shard, member);
    rec->shard.cfg++;
    cw_mgr_txn_put(t, rec);
    cw_mgr_txn_event(t, "COPY_REMOVED", v->o.rec.volume.name,
                     "shard %u: what is left on %s, before a new copy is made there",
                     CW_SHARD_INDEX(rec->shard.shard), path);
    return MGR_BUILD_COMMIT;
}

static enum mgr_build
repair_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct repair_op *r = cw_container_of(op, struct repair_op, op);
    struct mgr_shard *s = cw_mgr_find_shard(&t->m->t, r->shard);
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, CW_SHARD_VOLUME(r->shard));
    const struct cw_member *old;
    struct cw_member fresh;
    const struct mgr_disk *d;
    char why[CW_MGR_WHY_SIZE];
    struct cw_rec rec;

    if (s == NULL || v == NULL || v->o.rec.volume.purge_at_s != 0 || cw_mgr_volume_unborn(v) ||
        cw_mgr_shard_ahead(t->m, s))
        return MGR_BUILD_NONE;
    if (r->add)
        return add_build(t, v, s);
    rec = s->o.rec;
    old = cw_shard_rec_find(&rec.shard, &r->old_disk, r->old_format);
    if (old == NULL || !member_replaceable(t->m, v, old) ||
        cw_mgr_member_surplus(t->m, v, &rec.shard, (uint32_t)(old - rec.shard.members)) ||
        !cw_mgr_repair_target(t->m, v, &rec.shard, (uint32_t)(old - rec.shard.members), &fresh,
                              why))
        return MGR_BUILD_NONE;
    cw_mgr_txn_drop(t, old, r->shard);
    if (cw_uuid_equal(&old->disk_uuid,
                      &fresh.disk_uuid)) /* what is there goes first; then one is missing */
        return leave_build(t, v, &rec, (uint32_t)(old - rec.shard.members));
    rec.shard.members[old - rec.shard.members] = fresh;
    rec.shard.cfg++;
    cw_mgr_txn_put(t, &rec);
    d = cw_mgr_find_copy_disk(&t->m->t, &fresh);
    cw_mgr_txn_event(t, "COPY_REPLACED", v->o.rec.volume.name, "shard %u: a new copy on %s/%s",
                     CW_SHARD_INDEX(r->shard), d->o.rec.disk.host, d->o.rec.disk.name);
    return MGR_BUILD_COMMIT;
}

static void
repair_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct repair_op *r = cw_container_of(op, struct repair_op, op);
    struct mgr_volume *v = cw_mgr_find_volume(&op->m->t, CW_SHARD_VOLUME(r->shard));
    struct mgr_shard *s = cw_mgr_find_shard(&op->m->t, r->shard);

    if (s != NULL)
        s->repairing = false;
    if (v != NULL && code == CW_MGR_OK)
        cw_mgr_hint_volume(op->m, v);
    free(r);
}

static void
repair_queue(struct cw_manager *m, struct mgr_shard *s, const struct cw_member *mb)
{
    struct repair_op *r = calloc(1, sizeof(*r));

    cw_assert(r != NULL);
    r->shard = s->o.rec.shard.shard;
    r->add = mb == NULL;
    if (mb != NULL) {
        r->old_disk = mb->disk_uuid;
        r->old_format = mb->format_id;
    }
    r->op.scope = CW_SHARD_VOLUME(r->shard);
    r->op.build = repair_build;
    r->op.end = repair_end;
    s->repairing = true;
    cw_mgr_op_queue(m, &r->op);
}

static void
repair_look(struct cw_manager *m, const struct mgr_volume *v, struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    struct cw_member fresh;
    char why[CW_MGR_WHY_SIZE];

    for (uint32_t i = 0; !s->repairing && i < r->n_members; i++) {
        if (cw_mgr_repair_due(m, v, r, i) && cw_mgr_repair_target(m, v, r, i, &fresh, why))
            repair_queue(m, s, &r->members[i]);
    }
    if (!s->repairing && member_missing(m, v, r) && add_target(m, v, r, &fresh))
        repair_queue(m, s, NULL);
}

void
cw_mgr_repair_tick(struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct mgr_volume *v =
            cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(s->o.rec.shard.shard));

        if (v != NULL && v->o.rec.volume.purge_at_s == 0 && !cw_mgr_volume_unborn(v) &&
            !cw_mgr_shard_ahead(m, s))
            repair_look(m, v, s); /* an unborn one has no owner who would sync: unborn.c */
    }
}
