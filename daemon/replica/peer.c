/* replica/peer.c - a link that somebody made to this disk: an owner's or a resync target's. Frames
 * come in here and go to who answers for them; nothing in them is believed before.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/base/bits.h"
#include "common/base/mutation.h"
#include "daemon/replica/internal.h"

struct cw_peer *
cw_peer_ref(struct cw_peer *p)
{
    p->refs++;
    return p;
}

void
cw_peer_unref(struct cw_peer *p)
{
    cw_assert(p->refs > 0);
    if (--p->refs > 0)
        return;
    cw_assert(p->link == NULL && cw_list_empty(&p->sessions) && cw_list_empty(&p->gets));
    cw_list_remove(&p->in_replica);
    free(p);
}

void
cw_peer_close(struct cw_peer *p, const char *why)
{
    char id[CW_UUID_TEXT_SIZE];

    if (p->link == NULL || p->closing)
        return;
    p->closing = true;
    cw_log(p->r->env, CW_LOG_INFO, "link of %s: ended: %s", cw_uuid_format(&p->link->peer_id, id),
           why);
    cw_link_close(p->link);
}

void
cw_peer_send(struct cw_peer *p, struct cw_msg *take_msg)
{
    if (take_msg == NULL)
        cw_peer_close(p, "no memory for an answer");
    else if (p->link == NULL || p->closing)
        cw_msg_unref(take_msg);
    else
        cw_link_send(p->link, take_msg);
}

void
cw_peer_offend(struct cw_peer *p, const struct cw_frame *f, const char *what)
{
    p->r->stats.protocol_errors++;
    cw_log(p->r->env, CW_LOG_WARNING, "shard %llx: %s frame refused: %s",
           (unsigned long long)f->hdr->shard, cw_frame_type_name(f->hdr->type), what);
    cw_peer_close(p, "protocol error");
}

static void
peer_nack(struct cw_peer *p, struct cw_wire_hdr h, enum cw_nack_code code, uint32_t health)
{
    struct cw_wire_nack n = { .code = code, .health = health };

    h.type = CW_FT_NACK;
    p->r->stats.nacks++;
    cw_peer_send(p, cw_frame_opaque(p->r->pool, h, NULL, &n, sizeof(n)));
}

void
cw_peer_nack(struct cw_peer *p, uint64_t shard, uint32_t tag, enum cw_nack_code code, uint32_t gen,
             uint64_t seq)
{
    struct cw_wire_hdr h = { .shard = shard, .tag = tag, .gen = gen, .seq = seq };

    peer_nack(p, h, code, p->r->health);
}

void
cw_peer_nack_copy(struct cw_peer *p, const struct cw_copy *c, uint32_t tag, enum cw_nack_code code,
                  uint64_t seq)
{
    struct cw_wire_hdr h = { .shard = c->shard, .tag = tag, .gen = c->fence_gen, .seq = seq };

    peer_nack(p, h, code, cw_copy_health(c));
}

int
cw_copy_gen_code(const struct cw_copy *c, uint32_t gen)
{
    if (c->drop != NULL)
        return CW_NACK_NO_SHARD;
    if (gen < c->fence_gen)
        return cw_mutated(CW_MUTATION_OLD_GEN) ? 0 : CW_NACK_STALE_GEN;
    if (gen > c->fence_gen || !cw_list_empty(&c->seals))
        return CW_NACK_NO_SESSION; /* a SEAL comes first, and its answer */
    return 0;
}

struct cw_session *
cw_peer_session(struct cw_peer *p, const struct cw_frame *f)
{
    const struct cw_wire_hdr *h = f->hdr;
    struct cw_copy *c = cw_copy_find(p->r, h->shard);
    int code;

    if (c == NULL) {
        cw_peer_nack(p, h->shard, h->tag, CW_NACK_NO_SHARD, 0, 0);
        return NULL;
    }
    code = cw_copy_gen_code(c, h->gen);
    if (code == 0 && (c->session == NULL || c->session->peer != p))
        code = CW_NACK_NO_SESSION;
    if (code == 0)
        return c->session;
    cw_peer_nack_copy(p, c, h->tag, (enum cw_nack_code)code, 0);
    return NULL;
}

typedef void peer_frame_fn(struct cw_peer *, const struct cw_frame *);

/* What an owner or a target may send; all else ends the link. */
static peer_frame_fn *const frame_fns[] = {
    [CW_FT_SEAL] = cw_seal_on_frame,
    [CW_FT_OPEN] = cw_session_on_open,
    [CW_FT_HEARTBEAT] = cw_session_on_heartbeat,
    [CW_FT_CLOSE] = cw_session_on_close,
    [CW_FT_STABLE] = cw_session_on_stable,
    [CW_FT_CFG] = cw_session_on_cfg,
    [CW_FT_WRITE] = cw_stream_on_frame,
    [CW_FT_ZERO] = cw_stream_on_frame,
    [CW_FT_TRIM] = cw_stream_on_frame,
    [CW_FT_GEN_START] = cw_stream_on_frame,
    [CW_FT_READ] = cw_read_on_read,
    [CW_FT_TAIL_QUERY] = cw_read_on_tail_query,
    [CW_FT_REPAIR_APPEND] = cw_stream_on_repair_append,
    [CW_FT_JOIN] = cw_sync_on_join,
    [CW_FT_SYNC_FROM] = cw_sync_on_sync_from,
    [CW_FT_VER_LIST] = cw_get_on_frame,
    [CW_FT_CHUNK_GET] = cw_get_on_frame,
    [CW_FT_BLOCK_REPAIR] = cw_read_on_block_repair,
};

static void
peer_on_frame(struct cw_link *l, const struct cw_frame *f)
{
    struct cw_peer *p = l->user;
    uint8_t type = f->hdr->type;

    if (p->closing)
        return;
    p->heard_ns = cw_now_ns(p->r->env);
    if (type >= CW_LEN(frame_fns) || frame_fns[type] == NULL)
        cw_peer_offend(p, f, "not one that a replica takes");
    else
        frame_fns[type](p, f);
}

static void
peer_on_down(struct cw_link *l, int reason)
{
    struct cw_peer *p = l->user;
    struct cw_replica *r = p->r;

    while (!cw_list_empty(&p->sessions))
        cw_session_end(cw_list_first(&p->sessions, struct cw_session, in_peer));
    cw_get_on_peer_down(p);
    cw_read_on_peer_down(p);
    p->link = NULL;
    cw_list_remove(&p->in_replica);
    cw_list_push_back(&r->gone_peers, &p->in_replica); /* while something of it is under way */
    cw_peer_unref(p);
    if (r->closing)
        cw_replica_wake(r, 0);
}

static const struct cw_link_events peer_events = {
    .on_frame = peer_on_frame,
    .on_down = peer_on_down,
};

static uint32_t
replica_n_links(const struct cw_replica *r)
{
    uint32_t n = 0;

    CW_LIST_EACH (it, &r->peers)
        n++;
    return n;
}

void
cw_replica_on_link(struct cw_replica *r, struct cw_link *link)
{
    struct cw_peer *p = calloc(1, sizeof(*p));

    if (p == NULL || !r->serves || replica_n_links(r) >= r->opts.links_max) {
        free(p);
        cw_link_refuse(link);
        return;
    }
    p->r = r;
    p->link = link;
    p->refs = 1;
    p->heard_ns = cw_now_ns(r->env);
    cw_list_init(&p->sessions);
    cw_list_init(&p->owing);
    cw_list_init(&p->gets);
    cw_list_push_back(&r->peers, &p->in_replica);
    link->ev = &peer_events;
    link->user = p;
}

void
cw_peer_free_all(struct cw_replica *r)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&r->peers)) != NULL)
        free(cw_list_entry(node, struct cw_peer, in_replica));
    while ((node = cw_list_pop_front(&r->gone_peers)) != NULL)
        free(cw_list_entry(node, struct cw_peer, in_replica));
}

/* ---- links that nobody wants any more ---- */

static void
refused_on_frame(struct cw_link *l, const struct cw_frame *f)
{
}

static void
refused_on_down(struct cw_link *l, int reason)
{
}

static const struct cw_link_events refused_events = {
    .on_frame = refused_on_frame,
    .on_down = refused_on_down,
};

void
cw_link_refuse(struct cw_link *link)
{
    link->ev = &refused_events;
    link->user = NULL;
    cw_link_close(link);
}
