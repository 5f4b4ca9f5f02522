/* A peer: the replica of one disk, reached over one link that all our volumes share.
 *
 * Heartbeats are numbered. The lease of a shard's copy runs from the sending of the last answered
 * heartbeat, if that one was sent after the shard's OPEN had been accepted on this link (I10). */
#include "common/owner/room.h"

#include <errno.h>
#include <stdlib.h>

static void peer_on_frame(struct cw_link *l, const struct cw_frame *f);
static void peer_on_down(struct cw_link *l, int reason);
static void peer_on_retry(struct cw_timer *t);

static const struct cw_link_events peer_events = { .on_frame = peer_on_frame,
                                                   .on_down = peer_on_down };

/* ---- life ---- */

static struct peer *
peer_find(struct cw_owner *o, const struct cw_uuid *disk_uuid, uint64_t format_id)
{
    CW_LIST_EACH (it, &o->peers) {
        struct peer *p = cw_list_entry(it, struct peer, node);

        if (p->loc.format_id == format_id && cw_uuid_equal(&p->loc.disk_uuid, disk_uuid))
            return p;
    }
    return NULL;
}

struct peer *
cw_own_peer_get(struct cw_owner *o, const struct cw_uuid *disk_uuid, uint64_t format_id)
{
    struct peer *p = peer_find(o, disk_uuid, format_id);

    if (p != NULL)
        return p;
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->o = o;
    p->loc.disk_uuid = *disk_uuid;
    p->loc.format_id = format_id;
    p->retry.fn = peer_on_retry;
    p->stuck_since_ns = CW_NEVER;
    p->down_since_ns = p->unused_since_ns = cw_own_now(o);
    p->ops_max = o->link_ops_max;
    p->bytes_max = o->link_bytes_max;
    p->distance = 3;
    cw_own_flap_init(&p->flaps);
    cw_list_init(&p->copies);
    cw_list_init(&p->calls);
    cw_list_init(&p->blocked);
    cw_list_push_back(&o->peers, &p->node);
    if (!cw_timer_armed(&o->tick))
        cw_timer_set(o->env, &o->tick, cw_own_now(o) + TICK_NS);
    return p;
}

void
cw_own_peer_free(struct peer *p)
{
    cw_timer_cancel(p->o->env, &p->retry);
    while (!cw_list_empty(&p->calls))
        cw_own_call_forget(cw_list_entry(p->calls.next, struct call, node));
    cw_list_remove(&p->node);
    free(p);
}

static bool
same_name(const char *a, const char *b)
{
    return a[0] != '\0' && strcmp(a, b) == 0;
}

static uint32_t
peer_distance(const struct cw_locality *a, const struct cw_locality *b)
{
    if (a->site[0] != '\0' && b->site[0] != '\0' && strcmp(a->site, b->site) != 0)
        return 3;
    if (same_name(a->host, b->host))
        return 0;
    if (same_name(a->rack, b->rack) && same_name(a->site, b->site))
        return 1;
    return same_name(a->site, b->site) ? 2 : 3;
}

void
cw_own_peer_locate(struct peer *p, const struct cw_disk_location *loc)
{
    bool moved = !p->loc_known || strcmp(p->loc.addr, loc->addr) != 0;

    p->loc = *loc;
    p->loc_known = true;
    p->distance = peer_distance(&p->o->self, &loc->at);
    if (!loc->up && p->state != PEER_UP)
        p->hint_down = true;
    else if (loc->up)
        p->hint_down = false;
    if (moved && p->state == PEER_DOWN) {
        p->backoff_ns = 0;
        cw_own_peer_want(p);
    }
}

void
cw_own_peer_want(struct peer *p)
{
    if (p->state != PEER_DOWN || !p->loc_known)
        return;
    cw_timer_cancel(p->o->env, &p->retry);
    p->state = PEER_CONNECTING;
    p->o->ops->connect(p->o->world, &p->loc);
}

static void
peer_on_retry(struct cw_timer *t)
{
    struct peer *p = cw_container_of(t, struct peer, retry);

    if (!cw_list_empty(&p->copies))
        cw_own_peer_want(p);
}

/* The back-off doubles, with a quarter of jitter so that owners do not come in step. */
static void
peer_retry_later(struct peer *p)
{
    const struct cw_owner_tuning *t = &p->o->tun;

    p->backoff_ns = p->backoff_ns == 0 ? t->reconnect_min_ns
                                       : cw_min_u64(2 * p->backoff_ns, t->reconnect_max_ns);
    cw_timer_set(p->o->env, &p->retry,
                 cw_own_now(p->o) + p->backoff_ns + cw_random(p->o->env) % (p->backoff_ns / 4 + 1));
}

void
cw_owner_on_connect_failed(struct cw_owner *o, const struct cw_uuid *disk_uuid, uint64_t format_id,
                           int why)
{
    struct peer *p = peer_find(o, disk_uuid, format_id);

    if (p == NULL || p->state != PEER_CONNECTING)
        return;
    p->state = PEER_DOWN;
    if (why == -ENXIO || why == -ESTALE)
        p->backoff_ns = o->tun.reconnect_max_ns;
    peer_retry_later(p);
}

void
cw_owner_on_link_up(struct cw_owner *o, const struct cw_uuid *disk_uuid, uint64_t format_id,
                    struct cw_link *l)
{
    struct peer *p = peer_find(o, disk_uuid, format_id);

    l->ev = &peer_events;
    l->user = p;
    if (p == NULL || p->state == PEER_UP) { /* forgotten meanwhile */
        l->user = NULL;
        cw_link_close(l);
        return;
    }
    p->state = PEER_UP;
    p->link = l;
    p->hint_down = false;
    p->backoff_ns = 0;
    p->hb_acked = p->hb_good = p->hb_next; /* none of this link yet */
    p->hb_acked_sent_ns = 0;
    p->stuck_since_ns = CW_NEVER;
    p->ops = 0;
    p->bytes = 0;
    cw_own_follow_begin(p);
    cw_own_peer_heartbeat(p);
    CW_LIST_EACH_SAFE (it, &p->copies)
        cw_own_copy_on_link(cw_list_entry(it, struct copy, peer_node));
}

void
cw_owner_link_credit(struct cw_owner *o, struct cw_link *l, uint32_t ops, uint64_t bytes)
{
    struct peer *p = l->user;

    if (p == NULL)
        return;
    p->ops_max = ops < o->link_ops_max && ops > 0 ? ops : o->link_ops_max;
    p->bytes_max = bytes < o->link_bytes_max && bytes > 0 ? bytes : o->link_bytes_max;
}

static void
peer_on_down(struct cw_link *l, int reason)
{
    struct peer *p = l->user;
    struct cw_list mine, *node;

    if (p == NULL)
        return;
    p->link = NULL;
    p->state = PEER_DOWN;
    p->down_since_ns = cw_own_now(p->o);
    cw_list_init(&p->blocked);
    CW_LIST_EACH (it, &p->copies) {
        struct copy *c = cw_list_entry(it, struct copy, peer_node);

        cw_list_init(&c->blocked_node);
        cw_own_copy_on_down(c);
    }
    /* answers may begin new calls, but not on this peer: it is down */
    cw_list_init(&mine);
    cw_list_splice_back(&mine, &p->calls);
    while ((node = cw_list_pop_front(&mine)) != NULL) {
        struct call *c = cw_list_entry(node, struct call, node);

        p->o->tags_free[p->o->n_tags_free++] = c->tag & 0xffff;
        p->o->tags[c->tag & 0xffff] = NULL;
        c->tag = 0;
        c->answer(c, NULL);
    }
    p->ops = 0;
    p->bytes = 0;
    cw_log(p->o->env, CW_LOG_INFO, "peer %s: link down (%d)", p->loc.addr, reason);
    if (!cw_list_empty(&p->copies))
        peer_retry_later(p);
}

void
cw_own_peer_break(struct peer *p, const char *why)
{
    if (p->link == NULL)
        return;
    cw_log(p->o->env, CW_LOG_WARNING, "peer %s: closing the link: %s", p->loc.addr, why);
    cw_link_close(p->link);
}

/* ---- sending ---- */

bool
cw_own_peer_send(struct peer *p, struct cw_wire_hdr h, const void *payload, uint32_t len)
{
    struct cw_msg *m;

    if (p->link == NULL)
        return false;
    m = cw_own_frame(p->o, h, payload, len);
    if (m == NULL) {
        cw_own_peer_break(p, "no memory for control frames");
        return false;
    }
    cw_link_send(p->link, m);
    return true;
}

static bool
tags_grow(struct cw_owner *o)
{
    uint32_t n = o->n_tags == 0 ? 256 : 2 * o->n_tags;
    struct call **tags;
    uint32_t *fr;

    if (n > 65536)
        return false;
    tags = realloc(o->tags, n * sizeof(struct call *));
    if (tags == NULL)
        return false;
    o->tags = tags;
    fr = realloc(o->tags_free, n * sizeof(uint32_t));
    if (fr == NULL)
        return false;
    o->tags_free = fr;
    for (uint32_t i = n; i-- > o->n_tags;) {
        tags[i] = NULL;
        if (i > 0) /* tag 0 means none */
            fr[o->n_tags_free++] = i;
    }
    o->n_tags = n;
    return true;
}

bool
cw_own_call_tag(struct peer *p, struct call *c, uint32_t *ret_tag)
{
    struct cw_owner *o = p->o;
    uint32_t slot;

    cw_assert(c->tag == 0);
    if (p->link == NULL || (o->n_tags_free == 0 && !tags_grow(o)))
        return false;
    slot = o->tags_free[--o->n_tags_free];
    o->tag_cycle = (o->tag_cycle + 1) & 0xffff;
    c->tag = o->tag_cycle << 16 | slot;
    c->peer = p;
    c->sent_ns = cw_own_now(o);
    c->bytes = 0;
    o->tags[slot] = c;
    cw_list_push_back(&p->calls, &c->node);
    p->ops++;
    *ret_tag = c->tag;
    return true;
}

void
cw_own_call_sent(struct call *c, uint32_t bytes)
{
    c->bytes = bytes;
    c->peer->bytes += bytes;
}

/* Takes the call out of the tables. */
static void
call_end(struct call *c)
{
    struct peer *p = c->peer;

    p->o->tags[c->tag & 0xffff] = NULL;
    p->o->tags_free[p->o->n_tags_free++] = c->tag & 0xffff;
    cw_list_remove(&c->node);
    c->tag = 0;
    p->ops -= p->ops > 0;
    p->bytes -= cw_min_u64(p->bytes, c->bytes);
}

void
cw_own_call_forget(struct call *c)
{
    if (c->tag != 0)
        call_end(c);
}

bool
cw_own_call(struct peer *p, struct call *c, struct cw_wire_hdr h, const void *payload, uint32_t len)
{
    if (!cw_own_call_tag(p, c, &h.tag))
        return false;
    if (!cw_own_peer_send(p, h, payload, len)) {
        cw_own_call_forget(c);
        return false;
    }
    return true;
}

bool
cw_own_peer_room(const struct peer *p, uint32_t bytes)
{
    return p->ops < p->ops_max && (p->bytes == 0 || p->bytes + bytes <= p->bytes_max);
}

void
cw_own_peer_unblock(struct peer *p)
{
    struct cw_list mine, *node;

    if (cw_list_empty(&p->blocked))
        return;
    cw_list_init(&mine);
    cw_list_splice_back(&mine, &p->blocked);
    while ((node = cw_list_pop_front(&mine)) != NULL)
        cw_own_copy_pump(cw_list_entry(node, struct copy, blocked_node));
}

/* ---- heartbeats ---- */

void
cw_own_peer_heartbeat(struct peer *p)
{
    uint64_t now = cw_own_now(p->o);

    if (p->link == NULL)
        return;
    p->hb_wanted = false;
    p->hb_due_ns = now + p->o->tun.heartbeat_ns;
    if (p->hb_next - p->hb_acked >= HB_MAX)
        return; /* silent for long: cw_own_peer_silent_since tells */
    p->hb_next++;
    p->hb_sent[p->hb_next % HB_MAX] = now;
    cw_own_peer_send(p, (struct cw_wire_hdr){ .type = CW_FT_HEARTBEAT, .tag = p->hb_next }, NULL,
                     0);
}

uint64_t
cw_own_peer_silent_since(const struct peer *p)
{
    return p->hb_acked == p->hb_next ? CW_NEVER : p->hb_sent[(p->hb_acked + 1) % HB_MAX];
}

static void
peer_on_hb_ack(struct peer *p, const struct cw_frame *f)
{
    uint32_t n = f->hdr->tag, behind = p->hb_next - n;
    struct cw_wire_hb_ack a = { 0 };

    if (behind >= HB_MAX || p->hb_next - p->hb_acked <= behind)
        return; /* not one of this link that is still open */
    if (f->data_len >= sizeof(a))
        memcpy(&a, f->data, sizeof(a));
    p->hb_acked = n;
    cw_own_gray_rtt(p, cw_own_now(p->o) - p->hb_sent[n % HB_MAX]);
    p->health = a.health;
    if (a.health & (CW_MEMBER_STUCK | CW_MEMBER_FAILED)) { /* no ack for its shards */
        if (p->stuck_since_ns == CW_NEVER)
            p->stuck_since_ns = cw_own_now(p->o);
        return;
    }
    p->stuck_since_ns = CW_NEVER;
    p->hb_good = n;
    p->hb_acked_sent_ns = p->hb_sent[n % HB_MAX];
    CW_LIST_EACH (it, &p->copies) {
        struct shard *s = cw_list_entry(it, struct copy, peer_node)->s;

        if (!cw_list_empty(&s->readers))
            cw_own_mark_dirty(s);
    }
}

static void
peer_send_stable(struct peer *p)
{
    struct cw_wire_stable list[256];
    uint32_t n = 0;

    CW_LIST_EACH (it, &p->copies) {
        struct copy *c = cw_list_entry(it, struct copy, peer_node);

        if (c->session != SESSION_OPEN || !c->streaming || c->held ||
            c->stable_told >= c->s->stable || c->s->state != SHARD_ACTIVE || n == CW_LEN(list))
            continue;
        list[n++] = cw_own_copy_stable(c, c->s->stable, c->receipts);
        c->stable_told = c->s->stable;
    }
    if (n > 0)
        cw_own_peer_send(p, (struct cw_wire_hdr){ .type = CW_FT_STABLE }, list,
                         n * sizeof(list[0]));
}

void
cw_own_peer_tick(struct peer *p)
{
    struct cw_owner *o = p->o;
    uint64_t now = cw_own_now(o);

    if (!cw_list_empty(&p->copies)) {
        p->unused_since_ns = now;
    } else if (now - p->unused_since_ns > o->tun.idle_close_ns) {
        if (p->link != NULL)
            cw_link_close(p->link);
        else if (p->state == PEER_DOWN)
            cw_own_peer_free(p);
        return;
    }
    cw_own_flap_tick(p);
    if (p->state != PEER_UP)
        return;
    if (now >= p->hb_due_ns)
        cw_own_peer_heartbeat(p);
    if (cw_own_peer_silent_since(p) < now &&
        now - cw_own_peer_silent_since(p) > 2 * o->tun.eject_ns)
        cw_own_peer_break(p, "heartbeats are not answered");
    else
        peer_send_stable(p);
    /* what is not read any more may have become fast again */
    if (now - p->last_read_ns > CW_NS_PER_S) {
        p->read_ewma_ns -= p->read_ewma_ns / 8;
        p->last_read_ns = now;
    }
}

/* ---- receiving ---- */

static struct copy *
peer_copy(struct peer *p, uint64_t shard, uint32_t gen)
{
    struct shard *s = cw_own_find_shard(p->o, shard, gen);

    for (uint32_t i = 0; s != NULL && i < s->n_copies; i++) {
        if (s->copies[i]->peer == p)
            return s->copies[i];
    }
    return NULL;
}

static void
peer_on_acks(struct peer *p, const struct cw_frame *f)
{
    uint32_t n = f->data_len / sizeof(struct cw_wire_ack);

    for (uint32_t i = 0; i < n; i++) {
        struct cw_wire_ack a;
        struct copy *c;

        memcpy(&a, f->data + i * sizeof(a), sizeof(a));
        c = peer_copy(p, a.shard, a.gen);
        if (c != NULL && c->session == SESSION_OPEN)
            cw_own_copy_on_ack(c, &a);
    }
}

static struct call *
peer_find_call(struct peer *p, uint32_t tag)
{
    struct cw_owner *o = p->o;
    struct call *c = (tag & 0xffff) < o->n_tags ? o->tags[tag & 0xffff] : NULL;

    return c != NULL && c->tag == tag && c->peer == p ? c : NULL;
}

static void
peer_on_answer(struct peer *p, const struct cw_frame *f)
{
    struct call *c = peer_find_call(p, f->hdr->tag);

    if (c == NULL)
        return; /* nobody waits any more */
    call_end(c);
    c->answer(c, f);
}

/* A shard that somebody newer has sealed: whichever generation of ours is older is over. */
static void
peer_on_newer(struct peer *p, uint64_t shard, uint32_t gen)
{
    CW_LIST_EACH (it, &p->copies) {
        struct copy *c = cw_list_entry(it, struct copy, peer_node);

        if (c->s->rec.shard == shard && c->s->v->gen < gen && !cw_mutated(CW_MUTATION_DEAF)) {
            cw_own_volume_fence(c->s->v, "a copy has promised a newer generation");
            return;
        }
    }
}

static void
peer_on_nack(struct peer *p, const struct cw_frame *f)
{
    struct cw_wire_nack n = { 0 };
    struct copy *c;

    if (f->data_len >= sizeof(n))
        memcpy(&n, f->data, sizeof(n));
    if (n.code == CW_NACK_STALE_GEN)
        peer_on_newer(p, f->hdr->shard, f->hdr->gen);
    if (f->hdr->tag != 0) {
        peer_on_answer(p, f);
        return;
    }
    CW_LIST_EACH_SAFE (it, &p->copies) {
        c = cw_list_entry(it, struct copy, peer_node);
        if (c->s->rec.shard == f->hdr->shard && c->session == SESSION_OPEN) {
            cw_own_copy_on_nack(c, f);
            return;
        }
    }
}

static void
peer_on_sync(struct peer *p, const struct cw_frame *f)
{
    struct copy *c = peer_copy(p, f->hdr->shard, f->hdr->gen);

    if (c == NULL || c->session != SESSION_OPEN || c->join_id != f->hdr->stable)
        return;
    if (f->hdr->type == CW_FT_SYNC_DONE)
        cw_own_resync_on_done(c, f);
    else
        cw_own_resync_on_state(c, f);
}

static void
peer_on_frame(struct cw_link *l, const struct cw_frame *f)
{
    struct peer *p = l->user;
    struct copy *c;

    if (p == NULL)
        return;
    switch (f->hdr->type) {
    case CW_FT_ACK:
        peer_on_acks(p, f);
        break;
    case CW_FT_HB_ACK:
        peer_on_hb_ack(p, f);
        break;
    case CW_FT_NACK:
        peer_on_nack(p, f);
        break;
    case CW_FT_SEALED:
        peer_on_newer(p, f->hdr->shard, f->hdr->gen);
        break;
    case CW_FT_SYNC_STATE:
    case CW_FT_SYNC_DONE:
        peer_on_sync(p, f);
        break;
    case CW_FT_BAD_NOTE:
        c = peer_copy(p, f->hdr->shard, f->hdr->gen);
        if (c != NULL)
            cw_own_note_on_frame(c, f);
        break;
    case CW_FT_SEAL_OK:
    case CW_FT_OPEN_OK:
    case CW_FT_READ_OK:
    case CW_FT_READ_ERR:
    case CW_FT_TAIL_DATA:
    case CW_FT_JOIN_OK:
    case CW_FT_BLOCK_REPAIR_OK:
        peer_on_answer(p, f);
        break;
    default: /* a newer peer's; features should have kept it away */
        cw_own_peer_break(p, "a frame that owners do not get");
        return;
    }
    cw_own_peer_unblock(p);
}
