/* manager/rebalance.c - disks fill alike: a few copies at a time move from full disks to emptier
 * ones of their site (level.h).
 *
 *   every few seconds, if nothing else is under way --> a copy of the fullest disk is marked
 *     --> moves.c does the rest --> both disks rest for a while
 *
 * Off while more than a third of the hosts are absent, and while any copy is not in sync. A mark is
 * this manager's: the next one finds a copy too many, if one was under way, and lets one go.
 */
#include <string.h>

#include "daemon/manager/internal.h"
#include "daemon/manager/level.h"

#define LOOK_NS (5 * CW_NS_PER_S)
#define REST_NS (60 * CW_NS_PER_S)
#define MOVES_MAX 4u
#define TRIES_MAX 8u

static void
shard_unmark(struct cw_manager *m, struct mgr_shard *s)
{
    const struct cw_uuid *ends[] = { &s->leave_disk, &s->move_to };

    for (size_t i = 0; i < CW_LEN(ends); i++) {
        struct mgr_disk *d = cw_mgr_find_disk(&m->t, ends[i]);

        if (d != NULL)
            d->rest_ns = cw_now_ns(m->env) + REST_NS;
    }
    s->leave_disk = s->move_to = (struct cw_uuid){ 0 };
}

/* Is a move under way in which nothing but the move is under way? */
static bool
mark_holds(const struct cw_manager *m, const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    bool there = false;

    for (uint32_t i = 0; i < r->n_members; i++) {
        const struct cw_member *mb = &r->members[i];
        bool old = cw_uuid_equal(&mb->disk_uuid, &s->leave_disk);

        there |= old;
        if (mb->async)
            continue;
        if (mb->state == CW_MEMBER_JOURNAL ||
            !cw_mgr_disk_serves(m, cw_mgr_find_copy_disk(&m->t, mb)) ||
            cw_mgr_member_leaves(m, mb) ||
            (mb->state != CW_MEMBER_INSYNC && !old && !cw_uuid_equal(&mb->disk_uuid, &s->move_to)))
            return false;
    }
    return there;
}

/* Moves under way. */
struct moves {
    struct cw_uuid disk[2 * MOVES_MAX]; /* both ends of each */
    uint32_t n;
    bool others; /* some copy but theirs is about to be made or brought in sync */
};

static void
moves_count(struct cw_manager *m, struct moves *ret)
{
    *ret = (struct moves){ 0 };
    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        const struct cw_shard_rec *r = &s->o.rec.shard;

        if (!cw_uuid_is_nil(&s->leave_disk)) {
            if (!mark_holds(m, s)) {
                shard_unmark(m, s);
                continue;
            }
            cw_assert(ret->n < MOVES_MAX);
            ret->disk[2 * ret->n] = s->leave_disk;
            ret->disk[2 * ret->n++ + 1] = s->move_to;
            continue;
        }
        for (uint32_t i = 0; i < r->n_members; i++)
            ret->others |= r->members[i].state != CW_MEMBER_INSYNC;
    }
}

/* ---- which one ---- */

static bool
disk_is_busy(const struct moves *mv, const struct cw_uuid *disk)
{
    for (uint32_t i = 0; i < 2 * mv->n; i++) {
        if (cw_uuid_equal(&mv->disk[i], disk))
            return true;
    }
    return false;
}

static void
level_fill(const struct cw_manager *m, const struct moves *mv, const struct cw_place_disk *disks,
           size_t n, struct cw_level_disk *ret)
{
    for (size_t i = 0; i < n; i++) {
        const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &disks[i].uuid);
        bool free_now = cw_now_ns(m->env) >= d->rest_ns && cw_mgr_disk_serves(m, d) &&
                        !disk_is_busy(mv, &disks[i].uuid);

        ret[i] = (struct cw_level_disk){ .site_no = disks[i].site_no,
                                         .used_bytes = d->now.used_bytes,
                                         .total_bytes = d->now.used_bytes + d->now.free_bytes,
                                         .gives = free_now,
                                         .takes = free_now && disks[i].usable };
    }
}

static bool
disk_volatile(const struct cw_manager *m, const struct cw_uuid *uuid)
{
    const struct mgr_host *h = cw_mgr_disk_host(m, cw_mgr_find_disk(&m->t, uuid));

    return h != NULL && h->o.rec.host.is_volatile;
}

static bool
shard_may_move(struct cw_manager *m, struct mgr_shard *s, const struct cw_uuid *from,
               const struct cw_uuid *to)
{
    const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(s->o.rec.shard.shard));
    struct cw_place_rule rule;
    struct cw_mgr_error err;
    struct mgr_plan p;

    if (disk_volatile(m, to) && !disk_volatile(m, from))
        return false; /* it may be the only one that lasts */
    if (v == NULL || v->o.rec.volume.purge_at_s != 0 || s->repairing ||
        !cw_mgr_policy_rule(cw_mgr_volume_policy(m, &v->o.rec.volume), &rule, &err))
        return false;
    cw_mgr_plan(m, s, &rule, NULL, 0, &p);
    if (!p.settled)
        return false;
    s->leave_disk = *from;
    s->move_to = *to;
    cw_mgr_plan(m, s, &rule, NULL, 0, &p);
    if (p.met && p.n_add == 1 && cw_uuid_equal(&p.add[0].disk_uuid, to))
        return true;
    s->leave_disk = s->move_to = (struct cw_uuid){ 0 };
    return false;
}

/* The largest copy on `from` whose move improves matters; it is marked then. */
static bool
move_begin(struct cw_manager *m, const struct cw_uuid *from, const struct cw_uuid *to,
           const struct cw_level_disk *a, const struct cw_level_disk *b)
{
    uint64_t below = UINT64_MAX;

    for (uint32_t tries = 0; tries < TRIES_MAX; tries++) {
        struct mgr_shard *best = NULL;
        uint64_t best_bytes = 0;

        MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
        {
            const struct cw_shard_rec *r = &s->o.rec.shard;

            for (uint32_t i = 0; i < r->n_members; i++) {
                uint64_t bytes = s->mapped_blocks[i] * 4096;

                if (!cw_uuid_equal(&r->members[i].disk_uuid, from) || bytes <= best_bytes ||
                    bytes >= below || !cw_level_improves(a, b, bytes))
                    continue;
                best = s;
                best_bytes = bytes;
            }
        }
        if (best == NULL)
            return false;
        if (shard_may_move(m, best, from, to))
            return true;
        below = best_bytes;
    }
    return false;
}

static void
moves_look(struct cw_manager *m, const struct moves *mv)
{
    uint32_t n_moves = mv->n;
    struct cw_mgr_arena *a = cw_mgr_arena_new();
    size_t n, from, to;
    struct cw_place_disk *disks = cw_mgr_place_disks(m, a, MGR_PLACE_NEW, &n);
    struct cw_level_disk *level = cw_mgr_arena_get(a, n + 1, sizeof(*level));

    level_fill(m, mv, disks, n, level);
    for (uint32_t tries = 0; n_moves < MOVES_MAX && tries < TRIES_MAX; tries++) {
        if (!cw_level_pick(level, n, &from, &to))
            break;
        if (move_begin(m, &disks[from].uuid, &disks[to].uuid, &level[from], &level[to])) {
            n_moves++;
            level[to].gives = level[from].takes = false;
        }
        level[from].gives = level[to].takes = false;
    }
    cw_mgr_arena_free(a);
}

void
cw_mgr_rebalance_tick(struct cw_manager *m)
{
    uint64_t now = cw_now_ns(m->env);
    struct moves mv;

    if (now < m->rebalance_ns)
        return;
    m->rebalance_ns = now + LOOK_NS;
    moves_count(m, &mv);
    if (!mv.others && mv.n < MOVES_MAX && !cw_mgr_many_absent(m))
        moves_look(m, &mv);
}
