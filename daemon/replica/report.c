/* replica/report.c - what a disk's replica tells about itself, and what must hold in it. */
#include <errno.h>

#include "common/base/bits.h"
#include "daemon/replica/internal.h"

static struct cw_copy *
copy_at(struct cw_store_shard *sh)
{
    return cw_store_shard_info(sh)->user;
}

bool
cw_replica_owner_seen(const struct cw_replica *r, uint64_t volume, uint32_t *ret_gen,
                      bool *ret_session, uint64_t *ret_silent_ms)
{
    uint64_t now = cw_now_ns(r->env), silent = UINT64_MAX;
    struct cw_store_shard *sh = NULL;
    uint32_t gen = 0;
    bool found = false;

    while (r->serves && (sh = cw_store_shard_next(r->store, sh)) != NULL) {
        const struct cw_copy *c = copy_at(sh);

        if (c == NULL || CW_SHARD_VOLUME(c->shard) != volume)
            continue;
        found = true;
        if (c->fence_gen > gen) {
            gen = c->fence_gen;
            silent = UINT64_MAX; /* sessions of older generations do not count */
        }
        if (c->session != NULL && c->session->gen == gen)
            silent = cw_min_u64(silent, (now - c->session->peer->heard_ns) / CW_NS_PER_MS);
    }
    if (!found)
        return false;
    *ret_gen = gen;
    *ret_session = silent != UINT64_MAX;
    *ret_silent_ms = silent;
    return true;
}

bool
cw_replica_copy_next(struct cw_replica *r, uint64_t from, struct cw_replica_copy *ret)
{
    struct cw_store_shard *sh = NULL;

    while (r->serves && (sh = cw_store_shard_next(r->store, sh)) != NULL) {
        const struct cw_copy *c = copy_at(sh);

        if (c == NULL || c->shard < from)
            continue;
        *ret = (struct cw_replica_copy){
            .shard = c->shard,
            .rec_gen = c->info->rec.gen,
            .rec_cfg = c->info->rec.cfg,
            .promised_gen = c->info->promised_gen,
            .last_gen = c->info->durable_gen,
            .last_seq = c->info->durable_seq,
            .mapped_blocks = c->info->mapped_blocks,
            .bad_blocks = cw_note_blocks(c),
            .damaged = c->info->damaged,
            .syncing = c->info->syncing,
            .session = c->session != NULL,
        };
        return true;
    }
    return false;
}

bool
cw_replica_bad_next(struct cw_replica *r, uint64_t from, struct cw_replica_copy *ret)
{
    while (r->n_notes > 0 && cw_replica_copy_next(r, from, ret)) {
        if (ret->bad_blocks > 0)
            return true;
        from = ret->shard + 1;
    }
    return false;
}

bool
cw_replica_sync_next(struct cw_replica *r, uint64_t from, struct cw_replica_sync *ret)
{
    const struct cw_sync *best = NULL;

    CW_LIST_EACH (it, &r->syncs) {
        const struct cw_sync *s = cw_list_entry(it, struct cw_sync, in_replica);

        if (s->copy->shard >= from && (best == NULL || s->copy->shard < best->copy->shard))
            best = s;
    }
    if (best == NULL)
        return false;
    *ret = (struct cw_replica_sync){
        .shard = best->copy->shard,
        .phase = cw_sync_phase(best),
        .chunks_left = cw_sync_chunks_left(best),
        .chunks_total = best->chunks_total,
        .bytes_moved = best->bytes_moved,
    };
    return true;
}

void
cw_replica_stats(const struct cw_replica *r, struct cw_replica_stats *ret)
{
    *ret = r->stats;
    ret->health = r->health;
    ret->links = ret->sessions = ret->syncing = 0;
    CW_LIST_EACH (it, &r->peers) {
        struct cw_peer *p = cw_list_entry(it, struct cw_peer, in_replica);

        ret->links++;
        CW_LIST_EACH (s, &p->sessions)
            ret->sessions++;
    }
    CW_LIST_EACH (it, &r->syncs)
        ret->syncing++;
    ret->copies = r->n_copies;
    ret->reads_now = r->n_reads;
    ret->reads_waiting = r->n_read_waits;
    ret->hold_bytes = r->hold_bytes;
    ret->sync_bytes = (uint64_t)(r->n_slots + r->n_serving) * CW_SLOT_BYTES;
}

static void
copy_check(const struct cw_copy *c)
{
    const struct cw_store_shard_info *info = c->info;
    uint32_t n_held = 0;

    cw_assert(c->fence_gen >= info->promised_gen);
    /* a JOIN that goes back begins in memory; where the disk failed under it, it stays there */
    cw_assert(info->syncing || c->busy > 0 || info->durable_seq <= info->last_seq ||
              (c->r->health & CW_MEMBER_FAILED));
    CW_LIST_EACH (it, &c->held)
        n_held++;
    cw_assert(c->next_seq == info->last_seq + 1 + n_held);
    cw_assert((n_held == 0) == cw_list_empty(&c->in_holding));
    if (c->session != NULL) {
        /* I5: only the promised generation has a session */
        cw_assert(c->session->gen == c->fence_gen && info->promised_gen == c->fence_gen);
        cw_assert(c->session->copy == c && cw_list_empty(&c->seals) && c->drop == NULL);
        cw_assert(c->session->peer->link != NULL);
    } else {
        cw_assert(n_held == 0);
    }
    if (c->sync != NULL) {
        cw_assert(!c->sync->dead && c->sync->copy == c && c->sync->gen == c->fence_gen);
        cw_sync_check(c->sync);
    }
}

static void
peer_check(const struct cw_peer *p)
{
    cw_assert(p->link != NULL && p->refs > 0);
    CW_LIST_EACH (it, &p->sessions) {
        const struct cw_session *s = cw_list_entry(it, struct cw_session, in_peer);

        cw_assert(s->peer == p && s->copy->session == s);
    }
}

void
cw_replica_check(const struct cw_replica *r)
{
    struct cw_store_shard *sh = NULL;
    uint32_t n_slots = 0, n_reads = 0, n_waits = 0;

    while (r->serves && (sh = cw_store_shard_next(r->store, sh)) != NULL)
        if (copy_at(sh) != NULL)
            copy_check(copy_at(sh));
    CW_LIST_EACH (it, &r->peers)
        peer_check(cw_list_entry(it, struct cw_peer, in_replica));
    CW_LIST_EACH (it, &r->syncs)
        n_slots += cw_list_entry(it, struct cw_sync, in_replica)->n_slots;
    cw_note_check(r);
    cw_assert(n_slots <= r->n_slots && r->n_slots <= r->n_slots_max);
    cw_assert(r->n_serving <= r->n_serving_max);
    CW_LIST_EACH (it, &r->reads)
        n_reads++;
    CW_LIST_EACH (it, &r->read_waits)
        n_waits++;
    cw_assert(n_reads == r->n_reads && r->n_reads <= r->n_reads_max);
    cw_assert(n_waits == r->n_read_waits && (n_waits == 0 || r->n_reads == r->n_reads_max));
    cw_store_check(r->store);
}
