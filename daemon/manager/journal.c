/* manager/journal.c - a log-only member on a spare disk while fewer than two copies are in sync.
 *
 *   too few in sync, journal=auto, a disk that the policy's spread allows beside all members -->
 *     JOURNAL(0) is added --the owner's change--> JOURNAL(since) --the owner's change--> gone
 *
 * The manager only finds the place; whether it begins, and from which record on, is the owner's to
 * say (I3). It adds nothing where two copies are in sync: each write has two places then. A copy
 * that is to be built anew needs the place more: the journal then leaves it.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

uint32_t
cw_mgr_journal_of(const struct cw_shard_rec *r)
{
    for (uint32_t i = 0; i < r->n_members; i++) {
        if (r->members[i].state == CW_MEMBER_JOURNAL)
            return i;
    }
    return CW_MEMBERS_MAX;
}

static bool
policy_wants(const struct cw_policy_rec *p)
{
    return p->copies > 1 && strcmp(p->journal, "auto") == 0;
}

bool
cw_mgr_journal_idle(const struct cw_manager *m, const struct mgr_volume *v, uint32_t n_insync)
{
    const struct cw_policy_rec *p = cw_mgr_volume_policy(m, &v->o.rec.volume);

    return n_insync >= cw_max_u64(2, cw_mgr_volume_min_insync(m, v)) || n_insync >= p->copies;
}

/* Some copy is to be built on another disk, and there is one now. */
static bool
repair_has_place(const struct cw_manager *m, const struct mgr_volume *v,
                 const struct cw_shard_rec *r)
{
    struct cw_member fresh;
    char why[CW_MGR_WHY_SIZE];

    for (uint32_t i = 0; i < r->n_members; i++) {
        if (cw_mgr_repair_due(m, v, r, i) && cw_mgr_repair_target(m, v, r, i, &fresh, why))
            return true;
    }
    return false;
}

/* Where one should be added now. An owner has to be there: nobody writes otherwise. */
static bool
place(const struct cw_manager *m, const struct mgr_volume *v, const struct cw_shard_rec *r,
      struct cw_member *ret)
{
    char why[CW_MGR_WHY_SIZE];
    uint32_t n_insync = 0, n_serve = 0;

    for (uint32_t i = 0; i < r->n_members; i++) {
        bool in = r->members[i].state == CW_MEMBER_INSYNC;

        n_insync += in;
        n_serve += in && cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, &r->members[i]));
    }
    if (!policy_wants(cw_mgr_volume_policy(m, &v->o.rec.volume)) ||
        v->o.rec.volume.hold != CW_HOLD_OWNED || v->o.rec.volume.caretaker ||
        cw_mgr_owner_session(m, v) == NULL || cw_mgr_journal_of(r) < CW_MEMBERS_MAX ||
        r->n_members == CW_MEMBERS_MAX || n_serve == 0 || cw_mgr_journal_idle(m, v, n_insync) ||
        repair_has_place(m, v, r) || !cw_mgr_repair_target(m, v, r, CW_MEMBERS_MAX, ret, why))
        return false;
    ret->state = CW_MEMBER_JOURNAL;
    return true;
}

struct place_op {
    struct mgr_op op;
    uint64_t shard;
};

static enum mgr_build
place_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct place_op *po = cw_container_of(op, struct place_op, op);
    struct mgr_shard *s = cw_mgr_find_shard(&t->m->t, po->shard);
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, CW_SHARD_VOLUME(po->shard));
    struct cw_member fresh;
    char path[CW_OBJECT_SIZE];
    struct cw_rec rec;

    if (s == NULL || v == NULL || v->o.rec.volume.purge_at_s != 0 || cw_mgr_shard_ahead(t->m, s) ||
        !place(t->m, v, &s->o.rec.shard, &fresh))
        return MGR_BUILD_NONE;
    rec = s->o.rec;
    rec.shard.members[rec.shard.n_members++] = fresh;
    rec.shard.cfg++;
    cw_mgr_txn_put(t, &rec);
    cw_mgr_disk_path(t->m, cw_mgr_find_copy_disk(&t->m->t, &fresh), path);
    cw_mgr_txn_event(t, "JOURNAL_ADDED", v->o.rec.volume.name,
                     "shard %u: on %.120s, until enough copies are in sync",
                     CW_SHARD_INDEX(po->shard), path);
    return MGR_BUILD_COMMIT;
}

static void
place_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct place_op *po = cw_container_of(op, struct place_op, op);
    struct mgr_volume *v = cw_mgr_find_volume(&op->m->t, CW_SHARD_VOLUME(po->shard));
    struct mgr_shard *s = cw_mgr_find_shard(&op->m->t, po->shard);

    if (s != NULL)
        s->repairing = false;
    if (v != NULL && code == CW_MGR_OK)
        cw_mgr_hint_volume(op->m, v);
    free(po);
}

static void
place_queue(struct cw_manager *m, struct mgr_shard *s)
{
    struct place_op *po = calloc(1, sizeof(*po));

    cw_assert(po != NULL);
    po->shard = s->o.rec.shard.shard;
    po->op.scope = CW_SHARD_VOLUME(po->shard);
    po->op.build = place_build;
    po->op.end = place_end;
    s->repairing = true;
    cw_mgr_op_queue(m, &po->op);
}

/* The policy does not want it any more, its disk is given up, or a copy could be built in its place
 * and nowhere else. */
static bool
is_to_leave(const struct cw_manager *m, const struct mgr_volume *v, const struct cw_shard_rec *r,
            uint32_t journal)
{
    struct cw_shard_rec without = *r;

    if (!policy_wants(cw_mgr_volume_policy(m, &v->o.rec.volume)) ||
        cw_mgr_member_leaves(m, &r->members[journal]))
        return true;
    if (repair_has_place(m, v, r))
        return false;
    cw_mgr_member_remove(&without, journal);
    return repair_has_place(m, v, &without);
}

void
cw_mgr_journal_tick(struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct cw_shard_rec *r = &s->o.rec.shard;
        const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(r->shard));
        uint32_t journal = cw_mgr_journal_of(r);
        struct cw_member fresh;

        if (v == NULL || v->o.rec.volume.purge_at_s != 0 || s->repairing ||
            cw_mgr_shard_ahead(m, s))
            continue;
        if (journal == CW_MEMBERS_MAX && cw_now_ns(m->env) >= s->journal_ns &&
            place(m, v, r, &fresh))
            place_queue(m, s);
        else if (journal < CW_MEMBERS_MAX && is_to_leave(m, v, r, journal))
            cw_mgr_evict_ask(m, v, s, journal);
    }
}
