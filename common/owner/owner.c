/* The context of one loop thread: what is shared by all its volumes, and the end of each turn.
 *
 * Completions are collected and run in cw_owner_turn_end, so that the caller's resubmissions of a
 * whole turn are sequenced before any train of frames leaves. */
#include "common/owner/room.h"

#include <stdlib.h>

#define PASSES_MAX 4 /* completions that complete at once again may not hold the loop */

static void owner_on_tick(struct cw_timer *t);

static void
tuning_default(struct cw_owner_tuning *t)
{
#define OR(field, value) t->field = t->field != 0 ? t->field : (value)
    OR(lease_ns, 2 * CW_NS_PER_S);
    OR(heartbeat_ns, 500 * CW_NS_PER_MS);
    OR(eject_ns, 3 * CW_NS_PER_S);
    OR(seal_ns, CW_NS_PER_S);
    OR(boot_ns, 120 * CW_NS_PER_S);
    OR(read_timeout_ns, CW_NS_PER_S);
    OR(reconnect_min_ns, 20 * CW_NS_PER_MS);
    OR(reconnect_max_ns, CW_NS_PER_S);
    OR(flap_min_ns, CW_NS_PER_S);
    OR(flap_max_ns, 600 * CW_NS_PER_S);
    OR(idle_close_ns, 60 * CW_NS_PER_S);
    OR(retain_bytes, 64 * CW_MIB);
    OR(resync_max, 4);
    OR(verify_depth, 4);
#undef OR
}

static void
reserve_fill(struct cw_owner *o)
{
    while (o->n_reserve < RESERVE_MAX) {
        struct cw_buf *b = cw_buf_get(o->pool, CW_BLOCK_SIZE);

        if (b == NULL)
            return;
        o->reserve[o->n_reserve++] = b;
    }
}

struct cw_owner *
cw_owner_new(const struct cw_owner_opts *opts)
{
    struct cw_owner *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return NULL;
    o->env = opts->env;
    o->pool = opts->pool;
    o->client_id = opts->client_id;
    o->self = opts->self;
    o->ops = opts->ops;
    o->world = opts->world;
    o->tun = opts->tuning;
    tuning_default(&o->tun);
    o->link_ops_max = opts->link_ops_max != 0 ? opts->link_ops_max : 1024;
    o->link_bytes_max = opts->link_bytes_max != 0 ? opts->link_bytes_max : 32 * CW_MIB;
    cw_list_init(&o->peers);
    cw_list_init(&o->volumes);
    for (size_t i = 0; i < CW_LEN(o->shards); i++)
        cw_list_init(&o->shards[i]);
    cw_list_init(&o->dirty);
    cw_list_init(&o->done);
    cw_list_init(&o->free_parts);
    cw_list_init(&o->free_rcalls);
    cw_list_init(&o->slabs);
    cw_list_init(&o->verifies_due);
    cw_list_init(&o->starved);
    o->tick.fn = owner_on_tick;
    o->join_count = cw_random(o->env) >> 1; /* so that two owners' joins differ */
    reserve_fill(o);
    return o;
}

static void
owner_free_slabs(struct cw_owner *o)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&o->slabs)) != NULL)
        free(node);
}

void
cw_owner_free(struct cw_owner *o)
{
    struct cw_list *node;

    if (o == NULL)
        return;
    cw_timer_cancel(o->env, &o->tick);
    while ((node = cw_list_pop_front(&o->volumes)) != NULL)
        cw_own_volume_destroy(cw_list_entry(node, struct cw_volume, node));
    while ((node = cw_list_pop_front(&o->peers)) != NULL)
        cw_own_peer_free(cw_list_entry(node, struct peer, node));
    while (o->n_reserve > 0)
        cw_buf_unref(o->reserve[--o->n_reserve]);
    owner_free_slabs(o);
    free(o->tags);
    free(o->tags_free);
    free(o);
}

/* ---- shards by id ---- */

void
cw_own_hash_shard(struct cw_owner *o, struct shard *s)
{
    cw_list_push_back(&o->shards[cw_mix64(s->rec.shard) & 255], &s->hash_node);
}

struct shard *
cw_own_find_shard(struct cw_owner *o, uint64_t id, uint32_t gen)
{
    CW_LIST_EACH (it, &o->shards[cw_mix64(id) & 255]) {
        struct shard *s = cw_list_entry(it, struct shard, hash_node);

        if (s->rec.shard == id && s->v->gen == gen)
            return s;
    }
    return NULL;
}

/* ---- frames ---- */

static struct cw_msg *
frame_try(struct cw_owner *o, struct cw_wire_hdr h, const void *payload, uint32_t len)
{
    return len > 0 ? cw_frame_opaque(o->pool, h, NULL, payload, len) : cw_frame_plain(o->pool, h);
}

struct cw_msg *
cw_own_frame(struct cw_owner *o, struct cw_wire_hdr h, const void *payload, uint32_t len)
{
    struct cw_msg *m = frame_try(o, h, payload, len);

    while (m == NULL && o->n_reserve > 0) {
        cw_buf_unref(o->reserve[--o->n_reserve]);
        m = frame_try(o, h, payload, len);
    }
    return m;
}

/* ---- turns ---- */

void
cw_own_mark_dirty(struct shard *s)
{
    if (s->dirty)
        return;
    s->dirty = true;
    cw_list_push_back(&s->v->o->dirty, &s->dirty_node);
}

static void
owner_run_starved(struct cw_owner *o)
{
    struct cw_list mine, *node;

    cw_list_init(&mine);
    cw_list_splice_back(&mine, &o->starved);
    while ((node = cw_list_pop_front(&mine)) != NULL)
        cw_own_part_start(cw_list_entry(node, struct part, node));
}

static void
owner_run_dirty(struct cw_owner *o)
{
    struct cw_list mine, *node;

    cw_list_init(&mine);
    cw_list_splice_back(&mine, &o->dirty);
    while ((node = cw_list_pop_front(&mine)) != NULL) {
        struct shard *s = cw_list_entry(node, struct shard, dirty_node);

        s->dirty = false;
        cw_own_shard_run(s);
    }
}

static void
owner_run_done(struct cw_owner *o)
{
    struct cw_list mine, *node;

    cw_list_init(&mine);
    cw_list_splice_back(&mine, &o->done);
    while ((node = cw_list_pop_front(&mine)) != NULL) {
        struct cw_io *io = cw_list_entry(node, struct cw_io, link);

        io->done(io, io->res);
    }
}

static void
owner_run_verifies(struct cw_owner *o)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&o->verifies_due)) != NULL) {
        struct cw_verify *j = cw_list_entry(node, struct cw_verify, link);

        j->on_progress(j);
    }
}

/* Events may free the volume they are about, or open another: start over after each. */
static void
owner_run_events(struct cw_owner *o)
{
    bool again = o->events_due;

    o->events_due = false;
    while (again) {
        again = false;
        CW_LIST_EACH (it, &o->volumes) {
            struct cw_volume *v = cw_list_entry(it, struct cw_volume, node);

            if (v->events != 0 && !v->doomed) {
                cw_own_volume_fire_events(v);
                again = true;
                break;
            }
        }
    }
}

/* One heartbeat for all the shards that were opened on a link in this turn. */
static void
owner_run_heartbeats(struct cw_owner *o)
{
    o->hb_wanted = false;
    CW_LIST_EACH (it, &o->peers) {
        struct peer *p = cw_list_entry(it, struct peer, node);

        if (p->hb_wanted)
            cw_own_peer_heartbeat(p);
    }
}

void
cw_owner_turn_end(struct cw_owner *o)
{
    if (!cw_list_empty(&o->starved))
        owner_run_starved(o);
    for (int pass = 0; pass < PASSES_MAX && cw_owner_pending(o); pass++) {
        owner_run_dirty(o);
        if (o->resync_due)
            cw_own_resyncs_begin(o);
        owner_run_done(o);
        owner_run_verifies(o);
        owner_run_events(o);
    }
    if (o->hb_wanted)
        owner_run_heartbeats(o);
    reserve_fill(o);
}

bool
cw_owner_pending(const struct cw_owner *o)
{
    return !cw_list_empty(&o->dirty) || !cw_list_empty(&o->done) ||
           !cw_list_empty(&o->verifies_due) || o->events_due || o->hb_wanted || o->resync_due;
}

/* ---- time ---- */

static void
owner_on_tick(struct cw_timer *t)
{
    struct cw_owner *o = cw_container_of(t, struct cw_owner, tick);
    uint64_t now = cw_own_now(o);

    CW_LIST_EACH_SAFE (it, &o->peers)
        cw_own_peer_tick(cw_list_entry(it, struct peer, node));
    cw_own_gray_tick(o);
    if (now >= o->pace_ns) {
        o->pace_ns = now + CW_NS_PER_S;
        cw_own_resync_second(o);
    }
    CW_LIST_EACH (it, &o->volumes) {
        struct cw_volume *v = cw_list_entry(it, struct cw_volume, node);

        if (!v->doomed)
            cw_own_volume_tick(v);
    }
    if (!cw_list_empty(&o->volumes) || !cw_list_empty(&o->peers))
        cw_timer_set(o->env, &o->tick, now + TICK_NS);
}

/* ---- hints ---- */

void
cw_owner_hint_host(struct cw_owner *o, const char *host, bool up)
{
    CW_LIST_EACH (it, &o->peers) {
        struct peer *p = cw_list_entry(it, struct peer, node);

        if (strcmp(p->loc.at.host, host) != 0)
            continue;
        p->hint_down = !up && p->state != PEER_UP;
        if (up) {
            p->backoff_ns = 0;
            cw_own_peer_want(p);
        }
    }
}

void
cw_owner_hint_locations(struct cw_owner *o, const struct cw_disk_location *disks, uint32_t n)
{
    cw_own_volume_locate(o, disks, n);
}

/* ---- checks ---- */

/* Records on their way to it or not durable there. */
static uint32_t
copy_unanswered(const struct copy *c)
{
    uint64_t first = cw_max_u64(c->durable + 1, c->s->ring.first);
    uint64_t end = cw_min_u64(c->send_seq, c->s->ring.next);

    return c->streaming && end > first ? (uint32_t)(end - first) : 0;
}

/* The link's credit is what its copies and calls use of it, whichever of them gives it back. */
static void
peer_check(const struct peer *p)
{
    uint64_t follow_bytes = 0;
    uint32_t n = 0;

    cw_assert((p->state == PEER_UP) == (p->link != NULL));
    cw_assert(p->state == PEER_UP || cw_list_empty(&p->calls));
    CW_LIST_EACH (it, &p->calls)
        n++;
    CW_LIST_EACH (it, &p->copies) {
        const struct copy *c = cw_list_entry(it, struct copy, peer_node);

        cw_assert(c->peer == p);
        n += p->state == PEER_UP ? copy_unanswered(c) : 0;
        follow_bytes += c->follow_bytes;
        cw_assert(!c->async || p->state != PEER_UP || c->follow_ops == copy_unanswered(c));
    }
    cw_assert(n == p->ops && follow_bytes == p->follow.bytes);
}

void
cw_owner_check(const struct cw_owner *o)
{
    CW_LIST_EACH (it, &o->peers)
        peer_check(cw_list_entry(it, struct peer, node));
    CW_LIST_EACH (it, &o->volumes) {
        const struct cw_volume *v = cw_list_entry(it, struct cw_volume, node);

        for (uint32_t i = 0; i < v->n_shards; i++)
            cw_own_shard_check(v->shards[i]);
    }
}
