/* manager/moves.c - copies move, while their volume is in use, to where they should be.
 *
 *   plan: who stays, who is to come --> a new member, OUT --> the owner brings it in sync
 *     --> all that stay hold the data --> the owner is asked to let one go (EVICT) --> DEAD
 *     --> it is removed
 *
 * A copy should leave its place when its disk is to be emptied, when the policy does not want it
 * there, when there are more than the policy has, or for a better load (rebalance.c). plan.c says
 * which stay, by fewest moves. Nothing is given up before all that stay is in sync; without a place
 * for another it stays where it is. INSYNC changes by the owner's request alone (I3), so the owner
 * is asked, and asks; never for the last one (I12), never below min-insync. What is OUT and lost is
 * replaced in its place (repair.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"
#include "daemon/manager/plan.h"

#define EVICT_MS 5000u
#define EVICT_AGAIN_NS (5 * CW_NS_PER_S)
#define EVICT_OTHER_NS (12 * CW_NS_PER_S) /* owners remember a wish for ten */
#define LOOKS_MAX 8192u                   /* shards in one tick .. */
#define PLANS_MAX 64u                     /* .. and of them, such that are not settled */

/* ---- which members stay ---- */

bool
cw_mgr_member_leaves(const struct cw_manager *m, const struct cw_member *mb)
{
    return cw_mgr_member_quarantined(m, mb);
}

/* A member that may be counted on: it is, or will be, a copy on a disk that is not given up. */
static bool
member_stays(const struct cw_manager *m, const struct cw_member *mb)
{
    return mb->state != CW_MEMBER_DEAD && cw_mgr_member_counts(mb) &&
           !cw_mgr_member_leaves(m, mb) && cw_mgr_copy_state(m, mb, UINT32_MAX) != MGR_COPY_GONE;
}

bool
cw_mgr_member_surplus(const struct cw_manager *m, const struct mgr_volume *v,
                      const struct cw_shard_rec *r, uint32_t member)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_members; i++)
        n += i != member && member_stays(m, &r->members[i]);
    return n >= cw_mgr_copies_wanted(m, v, r);
}

bool
cw_mgr_member_holds(const struct cw_manager *m, const struct mgr_shard *s, uint32_t i)
{
    const struct cw_member *mb = &s->o.rec.shard.members[i];

    return mb->state == CW_MEMBER_INSYNC && !(s->bad & CW_BIT(i)) &&
           cw_mgr_copy_state(m, mb, UINT32_MAX) != MGR_COPY_GONE &&
           cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, mb));
}

/* What lies there, against what lies elsewhere. */
static uint32_t
member_worth(const struct cw_manager *m, const struct cw_member *mb)
{
    bool serves = cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, mb));

    switch (mb->state) {
    case CW_MEMBER_INSYNC:
        return serves ? 6 : 3;
    case CW_MEMBER_LAGGING:
        return serves ? 5 : 2;
    case CW_MEMBER_IN_RESYNC:
        return serves ? 4 : 1;
    case CW_MEMBER_OUT:
        return serves ? 2 : 0;
    case CW_MEMBER_JOURNAL:
    case CW_MEMBER_DEAD:
        return 0;
    }
    cw_unreachable();
}

/* ---- the plan ---- */

struct look {
    const struct cw_manager *m;
    const struct mgr_shard *s;
    const struct cw_place_rule *rule;
    const char *async;               /* of the policy */
    uint32_t member[CW_MEMBERS_MAX]; /* of each have */
    struct cw_plan_have have[CW_MEMBERS_MAX];
    uint32_t n;
    bool all; /* every member but a journal is in have, and none is to leave */
};

static bool
member_is_moved(const struct look *l, const struct cw_member *mb)
{
    return cw_mgr_member_leaves(l->m, mb) ||
           (!cw_uuid_is_nil(&l->s->leave_disk) && cw_uuid_equal(&l->s->leave_disk, &mb->disk_uuid));
}

/* Members that may be counted on. */
static void
look_begin(struct look *l)
{
    const struct cw_shard_rec *r = &l->s->o.rec.shard;

    l->all = true;
    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct cw_member *mb = &r->members[i];
        const struct mgr_disk *d = cw_mgr_find_copy_disk(&l->m->t, mb);
        bool leave = member_is_moved(l, mb);

        if (mb->state == CW_MEMBER_JOURNAL ||
            (mb->async && cw_mgr_async_wanted(l->m, mb, l->async)))
            continue; /* one that is to follow no longer may be a copy like the others */
        if (d == NULL || cw_mgr_disk_host(l->m, d) == NULL ||
            cw_mgr_copy_state(l->m, mb, UINT32_MAX) == MGR_COPY_GONE) {
            l->all = false;
            continue;
        }
        l->all &= !leave;
        l->member[l->n] = i;
        l->have[l->n] =
            (struct cw_plan_have){ .worth = member_worth(l->m, mb), .age = i, .leave = leave };
        l->n++;
    }
}

static const struct cw_member *
have_member(const struct look *l, uint32_t i)
{
    return &l->s->o.rec.shard.members[l->member[i]];
}

/* Most shards are as they should be, which is to be found out without looking at every disk. */
static bool
look_settled(const struct look *l)
{
    struct cw_place_disk disks[CW_MEMBERS_MAX];
    uint32_t have[CW_MEMBERS_MAX];
    char why[CW_PLACE_WHY_SIZE];

    if (!l->all || l->n != l->rule->copies)
        return false;
    for (uint32_t i = 0; i < l->n; i++) {
        cw_mgr_place_disk(l->m, cw_mgr_find_copy_disk(&l->m->t, have_member(l, i)), MGR_PLACE_LOST,
                          &disks[i]);
        have[i] = i;
    }
    cw_place_index(disks, l->n);
    return cw_place_check(l->rule, disks, have, l->n, why);
}

/* Disks that are still to forget this shard, and those of members that do not count, take none; in
 * a move for a better load only the one that it goes to does. They are called unusable, and given
 * back by the same with true. */
static void
look_bar(const struct look *l, struct cw_place_disk *disks, size_t n, bool *barred, bool back)
{
    const struct cw_shard_rec *r = &l->s->o.rec.shard;

    MGR_EACH(&l->m->t, CW_REC_DROP, struct mgr_drop, drop)
    {
        struct cw_place_disk *d = drop->o.rec.drop.shard == r->shard
                                      ? cw_mgr_place_find(disks, n, &drop->o.rec.drop.disk_uuid)
                                      : NULL;

        if (d != NULL && (back ? barred[d - disks] : d->usable)) {
            barred[d - disks] = !back;
            d->usable = back;
        }
    }
    for (size_t i = 0; !cw_uuid_is_nil(&l->s->move_to) && i < n; i++) {
        if (!cw_uuid_equal(&disks[i].uuid, &l->s->move_to) &&
            (back ? barred[i] : disks[i].usable)) {
            barred[i] = !back;
            disks[i].usable = back;
        }
    }
    for (uint32_t i = 0; i < r->n_members; i++) {
        struct cw_place_disk *d = cw_mgr_place_find(disks, n, &r->members[i].disk_uuid);

        if (d != NULL && (back ? barred[d - disks] : d->usable)) {
            barred[d - disks] = !back;
            d->usable = back;
        }
    }
}

static void
plan_fill(const struct look *l, const struct cw_plan *p, const struct cw_place_disk *disks,
          struct mgr_plan *ret)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (p->keep & CW_BIT(i))
            ret->keep |= (uint32_t)CW_BIT(l->member[i]);
        if (p->hold & CW_BIT(i))
            ret->hold |= (uint32_t)CW_BIT(l->member[i]);
    }
    ret->n_add = p->n_add;
    for (uint32_t i = 0; i < p->n_add; i++) {
        const struct mgr_disk *d = cw_mgr_find_disk(&l->m->t, &disks[p->add[i]].uuid);

        ret->add[i] = (struct cw_member){ .disk_uuid = d->o.rec.disk.uuid,
                                          .format_id = d->o.rec.disk.format_id,
                                          .state = CW_MEMBER_OUT };
    }
    memcpy(ret->why, p->why, sizeof(ret->why));
    memcpy(ret->hint, p->hint, sizeof(ret->hint));
}

static void
plan_make(struct look *l, struct cw_mgr_arena *a, struct cw_place_disk *disks, size_t n,
          struct mgr_plan *ret)
{
    bool *barred = cw_mgr_arena_get(a, n + 1, sizeof(*barred));
    struct cw_plan p;

    for (uint32_t i = 0; i < l->n; i++) {
        struct cw_place_disk *d = cw_mgr_place_find(disks, n, &have_member(l, i)->disk_uuid);

        cw_assert(d != NULL);
        l->have[i].disk = (uint32_t)(d - disks);
    }
    look_bar(l, disks, n, barred, false);
    ret->met = cw_plan_make(l->rule, disks, n, l->have, l->n, l->s->o.rec.shard.shard, &p);
    look_bar(l, disks, n, barred, true);
    plan_fill(l, &p, disks, ret);
}

static void
plan_as(const struct cw_manager *m, const struct mgr_shard *s, const struct cw_place_rule *rule,
        const char *async, struct cw_place_disk *disks, size_t n_disks, struct mgr_plan *ret)
{
    struct look l = { .m = m, .s = s, .rule = rule, .async = async };
    struct cw_mgr_arena *a;

    *ret = (struct mgr_plan){ 0 };
    look_begin(&l);
    if (look_settled(&l)) {
        ret->settled = ret->met = true;
        for (uint32_t i = 0; i < l.n; i++)
            ret->keep |= (uint32_t)CW_BIT(l.member[i]);
        return;
    }
    a = cw_mgr_arena_new();
    if (disks == NULL)
        disks = cw_mgr_place_disks(m, a, MGR_PLACE_LOST, &n_disks);
    plan_make(&l, a, disks, n_disks, ret);
    cw_mgr_arena_free(a);
}

void
cw_mgr_plan(const struct cw_manager *m, const struct mgr_shard *s, const struct cw_place_rule *rule,
            struct cw_place_disk *disks, size_t n_disks, struct mgr_plan *ret)
{
    const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(s->o.rec.shard.shard));

    plan_as(m, s, rule, v != NULL ? cw_mgr_volume_policy(m, &v->o.rec.volume)->async : "none",
            disks, n_disks, ret);
}

bool
cw_mgr_moves_possible(const struct cw_manager *m, const struct mgr_volume *v,
                      const struct cw_place_rule *rule, const char *async,
                      struct cw_place_disk *disks, size_t n_disks, struct mgr_plan *ret)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        if (s == NULL)
            continue;
        plan_as(m, s, rule, async, disks, n_disks, ret);
        if (!ret->met)
            return false;
    }
    return true;
}

/* ---- steps ---- */

static bool
stays(const struct mgr_plan *p, uint32_t i)
{
    return ((p->keep | p->hold) & CW_BIT(i)) != 0;
}

/* Of two that are to go: rather the one whose disk is given up, that is worth less, that is
 * younger. */
static bool
goes_first(const struct cw_manager *m, const struct cw_member *a, const struct cw_member *b)
{
    bool a_leaves = cw_mgr_member_leaves(m, a), b_leaves = cw_mgr_member_leaves(m, b);
    uint32_t a_worth = member_worth(m, a), b_worth = member_worth(m, b);

    if (a_leaves != b_leaves)
        return a_leaves;
    return a_worth <= b_worth;
}

/* The one of those that do not stay that goes first; what is out or lost is not asked for. */
static uint32_t
evict_choose(const struct cw_manager *m, const struct mgr_shard *s, const struct mgr_plan *p)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t best = CW_MEMBERS_MAX;

    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct cw_member *mb = &r->members[i];

        if (stays(p, i) || !cw_mgr_member_counts(mb) || mb->state == CW_MEMBER_DEAD ||
            mb->state == CW_MEMBER_OUT || cw_mgr_copy_state(m, mb, UINT32_MAX) == MGR_COPY_GONE)
            continue;
        if (best == CW_MEMBERS_MAX || goes_first(m, mb, &r->members[best]))
            best = i;
    }
    return best;
}

/* Which one could be let go now: all that stay hold the data, and are enough. Where a record has no
 * room for all that are to come, one that is replaced already makes room. */
static uint32_t
evict_due(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s,
          const struct mgr_plan *p)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t copies = cw_mgr_volume_policy(m, &v->o.rec.volume)->copies;
    uint32_t n_stay = 0, n_stay_hold = 0, n_hold = 0, go = evict_choose(m, s, p);

    if (go == CW_MEMBERS_MAX)
        return go;
    for (uint32_t i = 0; i < r->n_members; i++) {
        bool holds = cw_mgr_member_holds(m, s, i);

        n_stay += stays(p, i);
        n_stay_hold += stays(p, i) && holds;
        n_hold += i != go && holds;
    }
    if (p->n_add == 0 && n_stay >= copies && n_stay_hold == n_stay)
        return go;
    if (p->n_add > 0 && r->n_members == CW_MEMBERS_MAX && n_hold >= copies)
        return go;
    return CW_MEMBERS_MAX;
}

enum shard_step { STEP_NONE, STEP_ADD, STEP_REMOVE, STEP_COUNT /* one that followed */ };

/* Members that repair.c will replace in their place. */
static uint32_t
count_repairs(const struct cw_manager *m, const struct mgr_volume *v, const struct cw_shard_rec *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n_members; i++)
        n += cw_mgr_member_counts(&r->members[i]) &&
             cw_mgr_copy_state(m, &r->members[i], UINT32_MAX) == MGR_COPY_GONE &&
             !cw_mgr_member_surplus(m, v, r, i);
    return n;
}

/* What is to be done with the members now. */
static enum shard_step
step_of(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s,
        const struct mgr_plan *p, uint32_t *ret_member)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t copies = cw_mgr_volume_policy(m, &v->o.rec.volume)->copies;

    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct cw_member *mb = &r->members[i];

        if (mb->async && mb->state != CW_MEMBER_DEAD && stays(p, i)) {
            *ret_member = i;
            return STEP_COUNT;
        }
        if (!mb->async && (mb->state == CW_MEMBER_DEAD || mb->state == CW_MEMBER_OUT) &&
            !stays(p, i) && cw_popcount(p->keep | p->hold) >= copies) {
            *ret_member = i;
            return STEP_REMOVE;
        }
    }
    if (cw_mgr_volume_unborn(v) && (*ret_member = evict_due(m, v, s, p)) < CW_MEMBERS_MAX)
        return STEP_REMOVE;
    if (p->n_add > count_repairs(m, v, r) && r->n_members < CW_MEMBERS_MAX)
        return STEP_ADD;
    return STEP_NONE;
}

struct step_op {
    struct mgr_op op;
    uint64_t shard;
};

static void
step_add(struct mgr_txn *t, const struct mgr_volume *v, const struct mgr_shard *s,
         const struct mgr_plan *p, struct cw_shard_rec *r)
{
    uint32_t from = evict_choose(t->m, s, p), index = CW_SHARD_INDEX(r->shard);
    char a[CW_OBJECT_SIZE], b[CW_OBJECT_SIZE];
    struct cw_member *fresh = &r->members[r->n_members++];

    *fresh = p->add[0];
    if (cw_mgr_volume_unborn(v)) {
        fresh->state = CW_MEMBER_INSYNC;
        fresh->since_seq = CW_SINCE_NEW;
    }
    if (from < CW_MEMBERS_MAX)
        cw_mgr_txn_event(t, "COPY_ADDED", v->o.rec.volume.name,
                         "shard %u: on %.90s, to leave %.90s", index,
                         cw_mgr_copy_path(t->m, fresh, a),
                         cw_mgr_copy_path(t->m, &s->o.rec.shard.members[from], b));
    else
        cw_mgr_txn_event(t, "COPY_ADDED", v->o.rec.volume.name, "shard %u: one more, on %.90s",
                         index, cw_mgr_copy_path(t->m, fresh, a));
}

/* Nothing is moved by metadata that went back; nor while a host may go down at any time: what its
 * volumes need beside it they have from repair.c. */
static bool
shard_rule(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s,
           struct cw_place_rule *ret)
{
    struct cw_mgr_error err;

    return !cw_mgr_shard_ahead(m, s) && cw_mgr_member_to_go(m, &s->o.rec.shard) == CW_MEMBERS_MAX &&
           cw_mgr_policy_rule(cw_mgr_volume_policy(m, &v->o.rec.volume), ret, &err);
}

static enum mgr_build
step_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct step_op *so = cw_container_of(op, struct step_op, op);
    struct mgr_shard *s = cw_mgr_find_shard(&t->m->t, so->shard);
    struct mgr_volume *v = cw_mgr_find_volume(&t->m->t, CW_SHARD_VOLUME(so->shard));
    struct cw_place_rule rule;
    char from[CW_OBJECT_SIZE];
    struct mgr_plan p;
    uint32_t i = 0;
    struct cw_rec rec;

    if (s == NULL || v == NULL || v->o.rec.volume.purge_at_s != 0 || !shard_rule(t->m, v, s, &rule))
        return MGR_BUILD_NONE;
    cw_mgr_plan(t->m, s, &rule, NULL, 0, &p);
    rec = s->o.rec;
    switch (step_of(t->m, v, s, &p, &i)) {
    case STEP_NONE:
        return MGR_BUILD_NONE;
    case STEP_ADD:
        step_add(t, v, s, &p, &rec.shard);
        break;
    case STEP_COUNT:
        cw_mgr_txn_event(t, "COPY_ADDED", v->o.rec.volume.name,
                         "shard %u: the one that followed, on %.100s", CW_SHARD_INDEX(so->shard),
                         cw_mgr_copy_path(t->m, &rec.shard.members[i], from));
        rec.shard.members[i].async = false;
        break;
    case STEP_REMOVE:
        cw_mgr_txn_event(t, "COPY_REMOVED", v->o.rec.volume.name, "shard %u: from %.120s",
                         CW_SHARD_INDEX(so->shard),
                         cw_mgr_copy_path(t->m, &rec.shard.members[i], from));
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
    so->op.scope = CW_SHARD_VOLUME(so->shard);
    so->op.build = step_build;
    so->op.end = step_end;
    s->repairing = true;
    cw_mgr_op_queue(m, &so->op);
}

/* ---- asking the owner ---- */

uint32_t
cw_mgr_evict_due(const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;

    for (uint32_t i = 0; s->due_cfg == r->cfg && i < r->n_members; i++) {
        if (cw_uuid_equal(&r->members[i].disk_uuid, &s->due_disk))
            return i;
    }
    return CW_MEMBERS_MAX;
}

static void
evict_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    if (answer->code != CW_MGR_OK)
        cw_log(m->env, CW_LOG_INFO,
               "shard %llx: its owner did not take a wish to let a copy go: %s",
               (unsigned long long)a->ask.shards[0], answer->message);
}

/* An owner that was asked for two would let both go. Whom the manager before this one asked for is
 * not known. */
static bool
evict_may_ask(const struct cw_manager *m, const struct mgr_shard *s, const struct cw_uuid *disk)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint64_t now = cw_now_ns(m->env);

    if (!m->opts.bootstrap && now - m->started_ns < EVICT_OTHER_NS)
        return false;
    if (s->evict_ns == 0 || now - s->evict_ns >= EVICT_OTHER_NS)
        return true;
    if (cw_uuid_equal(&s->evict_disk, disk))
        return now - s->evict_ns >= EVICT_AGAIN_NS;
    for (uint32_t i = 0; i < r->n_members; i++) {
        if (cw_uuid_equal(&r->members[i].disk_uuid, &s->evict_disk) &&
            r->members[i].state != CW_MEMBER_DEAD)
            return false;
    }
    return true;
}

void
cw_mgr_evict_ask(struct cw_manager *m, const struct mgr_volume *v, struct mgr_shard *s,
                 uint32_t member)
{
    const struct cw_uuid *disk = &s->o.rec.shard.members[member].disk_uuid;
    struct cw_mgr_session *owner = cw_mgr_owner_session(m, v);
    struct mgr_ask *a;
    uint64_t *shard;

    if (owner == NULL || !v->report.have || !evict_may_ask(m, s, disk))
        return; /* a caretaker comes by itself: cw_mgr_care_need */
    s->evict_ns = cw_max_u64(cw_now_ns(m->env), 1);
    s->evict_disk = *disk;
    a = cw_mgr_ask_new(CW_MGR_ASK_EVICT, EVICT_MS);
    shard = cw_mgr_arena_get(a->arena, 1, sizeof(*shard));
    *shard = s->o.rec.shard.shard;
    a->ask.volume_id = v->o.rec.volume.id;
    a->ask.gen = v->o.rec.volume.gen;
    a->ask.shards = shard;
    a->ask.n_shards = 1;
    a->ask.disk_uuid = *disk;
    a->done = evict_answered;
    cw_mgr_ask_send(owner, a);
}

/* ---- what is told of it ---- */

static const struct cw_member *
member_coming(const struct cw_manager *m, const struct mgr_shard *s)
{
    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        const struct cw_member *mb = &s->o.rec.shard.members[i];

        if ((mb->state == CW_MEMBER_OUT || mb->state == CW_MEMBER_IN_RESYNC) &&
            cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, mb)))
            return mb;
    }
    return NULL;
}

static void
shard_doing(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s,
            const struct mgr_plan *p, char *text, size_t size)
{
    const struct cw_member *mb = member_coming(m, s);
    uint32_t evict = cw_mgr_evict_due(s);
    char path[CW_OBJECT_SIZE];

    if (mb != NULL && cw_mgr_owner_session(m, v) == NULL)
        snprintf(text, size, "%.120s waits for somebody to attach it",
                 cw_mgr_copy_path(m, mb, path));
    else if (mb != NULL)
        snprintf(text, size, "%.120s is synchronised, %llu of %llu MiB left",
                 cw_mgr_copy_path(m, mb, path),
                 (unsigned long long)s->now[mb - s->o.rec.shard.members].chunks_left,
                 (unsigned long long)s->now[mb - s->o.rec.shard.members].chunks_total);
    else if (evict < CW_MEMBERS_MAX)
        snprintf(text, size, "the copy on %.120s is let go",
                 cw_mgr_copy_path(m, &s->o.rec.shard.members[evict], path));
    else if (p->n_add > 0)
        snprintf(text, size, "a copy on %.120s is next", cw_mgr_copy_path(m, &p->add[0], path));
    else if (p->met)
        snprintf(text, size, "copies too many leave when all others are in sync");
    else
        snprintf(text, size, "it waits for a place: %s", p->hint);
}

void
cw_mgr_moves_doing(const struct cw_manager *m, const struct mgr_volume *v,
                   const struct cw_place_rule *rule, char *text, size_t size)
{
    text[0] = '\0';
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);
        struct mgr_plan p;

        if (s == NULL)
            continue;
        cw_mgr_plan(m, s, rule, NULL, 0, &p);
        if (p.settled)
            continue;
        shard_doing(m, v, s, &p, text, size);
        return;
    }
}

/* ---- the look at shards ---- */

struct round {
    struct cw_manager *m;
    struct cw_mgr_arena *arena; /* of disks; NULL: not needed so far */
    struct cw_place_disk *disks;
    size_t n_disks;
    uint32_t n_plans;
};

static void
shard_due(struct mgr_shard *s, uint32_t member)
{
    s->due_disk =
        member < CW_MEMBERS_MAX ? s->o.rec.shard.members[member].disk_uuid : (struct cw_uuid){ 0 };
    s->due_cfg = s->o.rec.shard.cfg;
}

static void
shard_look(struct round *rd, const struct mgr_volume *v, struct mgr_shard *s)
{
    struct cw_place_rule rule;
    uint32_t i = 0, evict;
    struct mgr_plan p;

    if (!shard_rule(rd->m, v, s, &rule)) {
        shard_due(s, CW_MEMBERS_MAX);
        return;
    }
    if (rd->arena == NULL) {
        rd->arena = cw_mgr_arena_new();
        rd->disks = cw_mgr_place_disks(rd->m, rd->arena, MGR_PLACE_LOST, &rd->n_disks);
    }
    cw_mgr_plan(rd->m, s, &rule, rd->disks, rd->n_disks, &p);
    shard_due(s, CW_MEMBERS_MAX);
    if (p.settled)
        return;
    rd->n_plans++;
    if (step_of(rd->m, v, s, &p, &i) != STEP_NONE) {
        step_queue(rd->m, s);
        return;
    }
    evict = evict_due(rd->m, v, s, &p);
    shard_due(s, evict);
    if (evict < CW_MEMBERS_MAX)
        cw_mgr_evict_ask(rd->m, v, s, evict);
}

void
cw_mgr_moves_tick(struct cw_manager *m)
{
    const struct mgr_table *t = &m->t.of[CW_REC_SHARD];
    struct round rd = { .m = m };

    for (size_t n = 0; n < t->n && n < LOOKS_MAX && rd.n_plans < PLANS_MAX; n++) {
        struct mgr_shard *s;
        const struct mgr_volume *v;

        m->moves_at = m->moves_at + 1 < t->n ? m->moves_at + 1 : 0;
        s = (struct mgr_shard *)t->at[m->moves_at];
        v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(s->o.rec.shard.shard));
        if (v != NULL && v->o.rec.volume.purge_at_s == 0 && !s->repairing)
            shard_look(&rd, v, s);
    }
    cw_mgr_arena_free(rd.arena);
}
