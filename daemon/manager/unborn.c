/* manager/unborn.c - volumes that nobody ever attached.
 *
 * Their generation is 0, so no copy of them was ever written, and no owner will ask for anything:
 * a new, empty copy is as good as any. Their records are changed at once, the state INSYNC with
 * them, which is an owner's to change from the first attach on (I3). The transaction is compared
 * with the records as an attach is, so one of the two comes first. What lies in a wrong place, or
 * is too much, is moves.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

bool
cw_mgr_volume_unborn(const struct mgr_volume *v)
{
    return v->o.rec.volume.gen == 0 && v->o.rec.volume.hold == CW_HOLD_RELEASED &&
           v->o.rec.volume.purge_at_s == 0;
}

enum unborn_step { UNBORN_NONE, UNBORN_REPLACE, UNBORN_ADD, UNBORN_DROP };

static bool
member_unwanted(const struct cw_manager *m, const struct mgr_volume *v, const struct cw_member *mb)
{
    enum mgr_copy copy = cw_mgr_copy_state(m, mb, cw_mgr_repair_delay_s(m, v));

    return copy == MGR_COPY_GONE || copy == MGR_COPY_OVERDUE;
}

static enum unborn_step
step_of(const struct cw_manager *m, const struct mgr_volume *v, const struct cw_shard_rec *r,
        uint32_t *ret_member, struct cw_member *ret_fresh)
{
    uint32_t wanted = cw_mgr_copies_wanted(m, v, r), go = cw_mgr_member_to_go(m, r);
    char why[CW_MGR_WHY_SIZE];

    for (uint32_t i = 0; i < r->n_members; i++) {
        *ret_member = i;
        if (!r->members[i].async && member_unwanted(m, v, &r->members[i]) &&
            cw_mgr_repair_target(m, v, r, i, ret_fresh, why))
            return UNBORN_REPLACE;
    }
    *ret_member = r->n_members;
    if (cw_mgr_count_copies(r) < wanted && r->n_members < CW_MEMBERS_MAX &&
        (cw_mgr_repair_target(m, v, r, CW_MEMBERS_MAX, ret_fresh, why) ||
         cw_mgr_repair_target(m, v, r, go, ret_fresh, why)))
        return UNBORN_ADD;
    for (uint32_t i = 0; i < r->n_members && r->n_members > 1; i++) {
        *ret_member = i; /* there is no place for another: what is left is what it has */
        if (cw_mgr_find_copy_disk(&m->t, &r->members[i]) == NULL)
            return UNBORN_DROP;
    }
    return UNBORN_NONE;
}

struct unborn_op {
    struct mgr_op op;
    uint64_t shard;
};

static enum mgr_build
unborn_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct unborn_op *u = cw_container_of(op, struct unborn_op, op);
    struct mgr_shard *s = cw_mgr_find_shard(&t->m->t, u->shard);
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, CW_SHARD_VOLUME(u->shard));
    char path[CW_OBJECT_SIZE];
    struct cw_member fresh;
    struct cw_rec rec;
    uint32_t i = 0;

    if (s == NULL || v == NULL || !cw_mgr_volume_unborn(v) || cw_mgr_shard_ahead(t->m, s))
        return MGR_BUILD_NONE;
    rec = s->o.rec;
    switch (step_of(t->m, v, &rec.shard, &i, &fresh)) {
    case UNBORN_NONE:
        return MGR_BUILD_NONE;
    case UNBORN_ADD:
    case UNBORN_REPLACE:
        fresh.state = CW_MEMBER_INSYNC;
        fresh.since_seq = CW_SINCE_NEW;
        rec.shard.members[i] = fresh;
        rec.shard.n_members += i == rec.shard.n_members;
        break;
    case UNBORN_DROP:
        cw_mgr_member_remove(&rec.shard, i);
        break;
    }
    rec.shard.cfg++;
    cw_mgr_txn_put(t, &rec);
    if (rec.shard.n_members < s->o.rec.shard.n_members) {
        cw_mgr_txn_event(t, "COPY_REMOVED", v->o.rec.volume.name,
                         "shard %u: its disk was removed, and there is no place for another",
                         CW_SHARD_INDEX(u->shard));
        return MGR_BUILD_COMMIT;
    }
    cw_mgr_txn_event(t, "COPY_REPLACED", v->o.rec.volume.name,
                     "shard %u, which nobody has written yet: a copy on %.120s",
                     CW_SHARD_INDEX(u->shard), cw_mgr_copy_path(t->m, &fresh, path));
    return MGR_BUILD_COMMIT;
}

static void
unborn_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct unborn_op *u = cw_container_of(op, struct unborn_op, op);
    struct mgr_shard *s = cw_mgr_find_shard(&op->m->t, u->shard);

    if (s != NULL)
        s->repairing = false;
    free(u);
}

void
cw_mgr_unborn_tick(struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct mgr_volume *v =
            cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(s->o.rec.shard.shard));
        struct unborn_op *u;
        struct cw_member fresh;
        uint32_t i;

        if (v == NULL || !cw_mgr_volume_unborn(v) || s->repairing || cw_mgr_shard_ahead(m, s) ||
            step_of(m, v, &s->o.rec.shard, &i, &fresh) == UNBORN_NONE)
            continue;
        u = calloc(1, sizeof(*u));
        cw_assert(u != NULL);
        u->shard = s->o.rec.shard.shard;
        u->op.scope = CW_SHARD_VOLUME(u->shard);
        u->op.build = unborn_build;
        u->op.end = unborn_end;
        s->repairing = true;
        cw_mgr_op_queue(m, &u->op);
    }
}
