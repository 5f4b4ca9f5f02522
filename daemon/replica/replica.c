/* replica/replica.c - one disk's copies: begin, end, and what the daemon asks about them. */
#include "daemon/replica/replica.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/bits.h"
#include "daemon/replica/internal.h"

static void on_durable(void *user, struct cw_store_shard *sh);
static void on_health(void *user);

static const struct cw_store_events store_events = {
    .on_durable = on_durable,
    .on_health = on_health,
    .on_bad = cw_note_on_bad,
};

/* ---- copies ---- */

struct cw_copy *
cw_copy_find(struct cw_replica *r, uint64_t shard)
{
    struct cw_store_shard *sh = cw_store_shard_find(r->store, shard);

    return sh != NULL ? cw_store_shard_info(sh)->user : NULL;
}

struct cw_copy *
cw_copy_new(struct cw_replica *r)
{
    struct cw_copy *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->r = r;
    cw_list_init(&c->seals);
    cw_list_init(&c->held);
    cw_list_init(&c->in_holding);
    cw_list_init(&c->gets);
    cw_list_init(&c->notes);
    return c;
}

void
cw_copy_bind(struct cw_copy *c, struct cw_store_shard *sh)
{
    c->sh = sh;
    c->info = cw_store_shard_info(sh);
    c->shard = c->info->rec.shard;
    c->fence_gen = c->info->promised_gen;
    c->n_blocks = c->info->rec.n_blocks;
    c->next_seq = c->info->last_seq + 1;
    if (!c->info->syncing)
        c->done_join = c->info->join_id;
    c->info->user = c;
    c->r->n_copies++;
}

void
cw_copy_free(struct cw_copy *c)
{
    cw_assert(c->session == NULL && c->sync == NULL && c->busy == 0);
    cw_assert(cw_list_empty(&c->held) && cw_list_empty(&c->seals) && cw_list_empty(&c->gets));
    cw_note_drop_all(c);
    c->r->n_copies--;
    free(c);
}

uint32_t
cw_copy_health(const struct cw_copy *c)
{
    uint32_t health = c->r->health;

    if (c->info->damaged)
        health |= CW_MEMBER_DAMAGED;
    if (c->info->journal)
        return health | CW_MEMBER_LOG;
    if (c->info->syncing && c->sync == NULL) {
        health |= CW_MEMBER_SYNCING;
        if (CW_JOIN_KIND(c->info->join_id) == CW_JOIN_OVERLAY)
            health |= CW_MEMBER_OVERLAY;
    }
    return health;
}

void
cw_replica_refresh_health(struct cw_replica *r)
{
    struct cw_store_stats st;

    cw_store_stats(r->store, &st);
    r->health = (st.stuck ? CW_MEMBER_STUCK : 0) | (st.failed ? CW_MEMBER_FAILED : 0);
}

/* ---- what is the store's for a while ---- */

void
cw_replica_wake(struct cw_replica *r, uint64_t after_ns)
{
    uint64_t at = cw_now_ns(r->env) + after_ns;

    if (!cw_timer_armed(&r->timer) || r->timer.at_ns > at)
        cw_timer_set(r->env, &r->timer, at);
}

static void
op_take_back(struct cw_op *op)
{
    cw_assert(op->copy->busy > 0);
    op->copy->busy--;
    cw_list_remove(&op->in_replica);
}

static void
op_done(struct cw_store_ticket *t, int res)
{
    struct cw_op *op = cw_container_of(t, struct cw_op, ticket);
    struct cw_copy *c = op->copy;

    op_take_back(op);
    op->fn(op, res); /* frees the op */
    cw_copy_idle(c);
}

void
cw_op_init(struct cw_op *op, void (*fn)(struct cw_op *, int), void (*forget)(struct cw_op *))
{
    *op = (struct cw_op){ .ticket.done = op_done, .fn = fn, .forget = forget };
    cw_list_init(&op->ticket.link);
    cw_list_init(&op->in_replica);
}

void
cw_op_track(struct cw_copy *c, struct cw_op *op)
{
    op->copy = c;
    c->busy++;
    cw_list_push_back(&c->r->ops, &op->in_replica);
}

void
cw_op_begin(struct cw_copy *c, struct cw_op *op, void (*fn)(struct cw_op *, int),
            void (*forget)(struct cw_op *))
{
    cw_op_init(op, fn, forget);
    cw_op_track(c, op);
}

void
cw_op_cancel(struct cw_op *op)
{
    op_take_back(op);
}

/* ---- drop ---- */

static void
drop_answer(struct cw_replica_drop *d, int res)
{
    d->res = res;
    cw_list_remove(&d->link);
    cw_list_push_back(&d->replica->drained, &d->link);
    cw_replica_wake(d->replica, 0);
}

static void
drop_done(struct cw_store_ticket *t, int res)
{
    struct cw_replica_drop *d = cw_container_of(t, struct cw_replica_drop, ticket);

    drop_answer(d, res);
}

static bool
copy_is_quiet(const struct cw_copy *c)
{
    if (c->busy > 0)
        return false;
    return c->info->durable_seq == c->info->last_seq || (c->r->health & CW_MEMBER_FAILED);
}

void
cw_copy_idle(struct cw_copy *c)
{
    struct cw_replica_drop *d = c->drop;
    struct cw_replica *r = c->r;
    struct cw_store_shard *sh = c->sh;

    if (r->closing)
        cw_replica_wake(r, 0);
    if (d == NULL || !copy_is_quiet(c))
        return;
    c->drop = NULL;
    if (r->health & CW_MEMBER_FAILED) {
        drop_answer(d, -EIO);
        return;
    }
    c->info->user = NULL;
    cw_copy_free(c);
    d->ticket = (struct cw_store_ticket){ .done = drop_done };
    cw_list_init(&d->ticket.link);
    cw_store_shard_drop(sh, &d->ticket);
}

/* The owner has to know that nothing is left here, but only on this shard's account. */
static void
copy_retire(struct cw_copy *c)
{
    if (c->session != NULL) {
        cw_peer_nack(c->session->peer, c->shard, 0, CW_NACK_NO_SHARD, c->fence_gen, 0);
        cw_session_end(c->session);
    }
    cw_get_refuse_all(c, CW_NACK_NO_SHARD);
    if (c->sync != NULL)
        cw_sync_stop(c);
}

void
cw_replica_drop(struct cw_replica *r, struct cw_replica_drop *d)
{
    struct cw_copy *c = r->serves ? cw_copy_find(r, d->shard) : NULL;

    d->replica = r;
    cw_list_init(&d->link);
    if (c == NULL || c->drop != NULL) {
        drop_answer(d, c == NULL ? -ENOENT : -EBUSY);
        return;
    }
    cw_list_push_back(&r->doomed, &d->link);
    c->drop = d;
    copy_retire(c);
    cw_copy_idle(c);
}

/* ---- events of the store ---- */

static void
on_durable(void *user, struct cw_store_shard *sh)
{
    struct cw_replica *r = user;
    struct cw_copy *c = cw_store_shard_info(sh)->user;

    r->room = true;
    if (c == NULL)
        return;
    if (c->session != NULL)
        cw_ack_owe(c->session);
    cw_get_on_durable(c);
    cw_copy_idle(c);
}

static void
on_health(void *user)
{
    struct cw_replica *r = user;

    cw_replica_refresh_health(r);
    r->room = true;
    cw_ack_owe_all(r);
    if (r->closing || !cw_list_empty(&r->doomed))
        cw_replica_wake(r, 0);
}

/* ---- begin and end ---- */

static void
close_finished(void *user, int res)
{
    struct cw_replica *r = user;
    cw_store_done_fn *done = r->close_done;

    r->close_done = NULL;
    done(r->close_user, res);
}

static void
close_step(struct cw_replica *r)
{
    if (!r->closing || r->serves || !cw_list_empty(&r->peers) || !cw_list_empty(&r->ops) ||
        !cw_list_empty(&r->reads) || !cw_list_empty(&r->doomed) || !cw_list_empty(&r->drained) ||
        r->look.busy)
        return;
    r->closing = false;
    cw_store_close(r->store, close_finished, r);
}

static void
drops_look_again(struct cw_replica *r)
{
    for (struct cw_list *it = r->doomed.next, *next; it != &r->doomed; it = next) {
        struct cw_replica_drop *d = cw_list_entry(it, struct cw_replica_drop, link);
        struct cw_copy *c = cw_copy_find(r, d->shard);

        next = it->next;
        if (c != NULL && c->drop == d)
            cw_copy_idle(c);
    }
}

static void
on_timer(struct cw_timer *t)
{
    struct cw_replica *r = cw_container_of(t, struct cw_replica, timer);
    struct cw_list *node;

    drops_look_again(r);
    while ((node = cw_list_pop_front(&r->drained)) != NULL) {
        struct cw_replica_drop *d = cw_list_entry(node, struct cw_replica_drop, link);

        d->done(d, d->res);
    }
    close_step(r);
}

static void
replica_init_lists(struct cw_replica *r)
{
    cw_list_init(&r->peers);
    cw_list_init(&r->gone_peers);
    cw_list_init(&r->ops);
    cw_list_init(&r->reads);
    cw_list_init(&r->free_reads);
    cw_list_init(&r->read_waits);
    cw_list_init(&r->holding);
    cw_list_init(&r->sources);
    cw_list_init(&r->syncs);
    cw_list_init(&r->serving);
    cw_list_init(&r->doomed);
    cw_list_init(&r->drained);
}

struct cw_replica *
cw_replica_new(struct cw_replica_opts opts)
{
    struct cw_replica *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->opts = opts;
    r->env = opts.env;
    r->pool = opts.pool;
    replica_init_lists(r);
    if (r->opts.links_max == 0)
        r->opts.links_max = 1024;
    r->n_slots_max = (uint32_t)cw_max_u64(opts.sync_bytes / 2 / CW_SLOT_BYTES, 1);
    r->n_serving_max = r->n_slots_max;
    if (opts.reads_bytes == 0)
        opts.reads_bytes = 64 * CW_MIB;
    r->n_reads_max = (uint32_t)cw_max_u64(opts.reads_bytes / CW_READ_BYTES, 16);
    if (opts.copies_max == 0)
        r->opts.copies_max = UINT32_MAX;
    r->timer.fn = on_timer;
    cw_note_init(r);
    r->store = cw_store_new((struct cw_store_opts){
        .env = opts.env,
        .disk = opts.disk,
        .pool = opts.pool,
        .name = opts.name,
        .map_cache_bytes = opts.map_cache_bytes,
        .is_device = opts.is_device,
        .discard = opts.discard,
        .ev = &store_events,
        .user = r,
    });
    if (r->store == NULL) {
        free(r);
        return NULL;
    }
    return r;
}

static int
replica_take_copies(struct cw_replica *r)
{
    struct cw_store_shard *sh = NULL;

    while ((sh = cw_store_shard_next(r->store, sh)) != NULL) {
        struct cw_copy *c = cw_copy_new(r);

        if (c == NULL)
            return -ENOMEM;
        cw_copy_bind(c, sh);
    }
    return 0;
}

static void
opened(void *user, int res)
{
    struct cw_replica *r = user;

    if (res == 0)
        res = replica_take_copies(r);
    if (res == 0) {
        r->serves = true;
        cw_replica_refresh_health(r);
    }
    r->open_done(r->open_user, res);
}

void
cw_replica_open(struct cw_replica *r, cw_store_done_fn *done, void *user)
{
    r->open_done = done;
    r->open_user = user;
    cw_store_open(r->store, opened, r);
}

static void
replica_end_sessions(struct cw_replica *r)
{
    struct cw_store_shard *sh = NULL;

    CW_LIST_EACH (it, &r->peers)
        cw_peer_close(cw_list_entry(it, struct cw_peer, in_replica), "the disk is being closed");
    while ((sh = cw_store_shard_next(r->store, sh)) != NULL) {
        struct cw_copy *c = cw_store_shard_info(sh)->user;

        if (c == NULL)
            continue;
        if (c->session != NULL)
            cw_session_end(c->session);
        if (c->sync != NULL)
            cw_sync_stop(c);
    }
}

void
cw_replica_close(struct cw_replica *r, cw_store_done_fn *done, void *user)
{
    cw_assert(!r->closing && r->close_done == NULL);
    r->close_done = done;
    r->close_user = user;
    r->closing = true;
    if (r->serves)
        replica_end_sessions(r);
    r->serves = false;
    cw_replica_wake(r, 0);
}

static void
replica_gather_copies(struct cw_replica *r, struct cw_list *to)
{
    struct cw_store_shard *sh = NULL;

    while ((sh = cw_store_shard_next(r->store, sh)) != NULL) {
        struct cw_copy *c = cw_store_shard_info(sh)->user;

        if (c != NULL)
            cw_list_push_back(to, &c->forgotten);
        cw_store_shard_info(sh)->user = NULL;
    }
}

static void
replica_forget_copies(struct cw_list *copies)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(copies)) != NULL) {
        struct cw_copy *c = cw_list_entry(node, struct cw_copy, forgotten);

        if (c->session != NULL)
            cw_session_end(c->session);
        cw_seal_forget_all(c);
        if (c->sync != NULL)
            cw_sync_forget(c->sync);
        c->busy = 0;
        cw_copy_free(c);
    }
}

/* The store goes first: it still knows the tickets and reads that are forgotten after it. */
void
cw_replica_free(struct cw_replica *r)
{
    struct cw_list *node, copies;

    if (r == NULL)
        return;
    cw_list_init(&copies);
    replica_gather_copies(r, &copies);
    cw_store_free(r->store);
    cw_source_forget_links(r);
    cw_get_forget_all(r);
    while ((node = cw_list_pop_front(&r->ops)) != NULL) {
        struct cw_op *op = cw_list_entry(node, struct cw_op, in_replica);

        op->forget(op);
    }
    replica_forget_copies(&copies);
    cw_read_forget_all(r);
    cw_peer_free_all(r);
    cw_timer_cancel(r->env, &r->timer);
    cw_timer_cancel(r->env, &r->note_timer);
    free(r);
}

struct cw_store *
cw_replica_store(struct cw_replica *r)
{
    return r->store;
}

void
cw_replica_turn_end(struct cw_replica *r)
{
    if (r->room && r->serves) {
        r->room = false;
        cw_hold_retry(r);
        cw_sync_pump_all(r);
    }
    r->again = false;
    cw_ack_send_all(r);
    if (r->again)
        cw_replica_wake(r, CW_NS_PER_MS);
    cw_store_turn_end(r->store);
}
