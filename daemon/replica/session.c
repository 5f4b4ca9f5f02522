/* replica/session.c - who may write a copy now: OPEN, CLOSE, and what travels beside the stream.
 *
 * A copy has at most one session, of its promised generation, on one link (I5). A second OPEN of
 * the same generation is the same owner on a new link: the old link is then ended as a whole,
 * because its heartbeats would go on to vouch for a session that is not there any more (I10).
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/replica/internal.h"

void
cw_session_end(struct cw_session *s)
{
    struct cw_copy *c = s->copy;

    cw_hold_drop(c);
    c->starved = false;
    c->session = NULL;
    cw_list_remove(&s->in_peer);
    cw_list_remove(&s->in_owing);
    free(s);
}

void
cw_session_fence(struct cw_copy *c, uint32_t gen, struct cw_peer *by)
{
    struct cw_session *s = c->session;
    struct cw_wire_hdr h = { .type = CW_FT_SEALED, .shard = c->shard, .gen = gen };
    struct cw_peer *p;

    if (s == NULL)
        return;
    p = s->peer;
    if (gen > s->gen)
        cw_peer_send(p, cw_frame_plain(c->r->pool, h));
    else if (p != by)
        cw_peer_close(p, "its owner is on another link");
    cw_session_end(s);
}

static struct cw_session *
session_begin(struct cw_peer *p, struct cw_copy *c, uint32_t gen)
{
    struct cw_session *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->peer = p;
    s->copy = c;
    s->gen = gen;
    cw_list_init(&s->in_owing);
    cw_list_push_back(&p->sessions, &s->in_peer);
    c->session = s;
    cw_assert(cw_list_empty(&c->held) && c->next_seq == c->info->last_seq + 1);
    return s;
}

void
cw_session_on_open(struct cw_peer *p, const struct cw_frame *f)
{
    const struct cw_wire_hdr *h = f->hdr;
    struct cw_copy *c = cw_copy_find(p->r, h->shard);
    struct cw_wire_hdr reply = { .type = CW_FT_OPEN_OK, .shard = h->shard, .tag = h->tag };
    struct cw_wire_ack ack;
    int code;

    if (c == NULL) {
        cw_peer_nack(p, h->shard, h->tag, CW_NACK_NO_SHARD, 0, 0);
        return;
    }
    code = cw_copy_gen_code(c, h->gen);
    if (code == 0 && p->r->health & CW_MEMBER_FAILED)
        code = CW_NACK_IO;
    if (code != 0) {
        cw_peer_nack_copy(p, c, h->tag, (enum cw_nack_code)code, 0);
        return;
    }
    cw_session_fence(c, h->gen, p);
    if (session_begin(p, c, h->gen) == NULL) {
        cw_peer_close(p, "no memory for a session");
        return;
    }
    ack = cw_ack_of(c, h->gen);
    reply.gen = h->gen;
    reply.seq = ack.durable_seq;
    cw_peer_send(p, cw_frame_opaque(p->r->pool, reply, NULL, &ack, sizeof(ack)));
    cw_sync_on_open(c);
    cw_note_on_open(c);
}

void
cw_session_on_close(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_copy *c = cw_copy_find(p->r, f->hdr->shard);

    if (c != NULL && c->session != NULL && c->session->peer == p && c->session->gen == f->hdr->gen)
        cw_session_end(c->session);
}

void
cw_session_on_heartbeat(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_wire_hdr h = { .type = CW_FT_HB_ACK, .tag = f->hdr->tag };
    struct cw_wire_hb_ack ack = { 0 };

    cw_replica_refresh_health(p->r);
    ack.health = p->r->health;
    cw_peer_send(p, cw_frame_opaque(p->r->pool, h, NULL, &ack, sizeof(ack)));
}

static void
session_receipts(struct cw_session *s, bool on)
{
    if (on && !s->receipts)
        cw_ack_owe(s); /* of what is here already */
    s->receipts = on;
}

void
cw_session_on_stable(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_wire_stable st;

    if (f->data_len % sizeof(st) != 0) {
        cw_peer_offend(p, f, "not a whole number of entries");
        return;
    }
    for (uint32_t off = 0; off < f->data_len; off += sizeof(st)) {
        struct cw_copy *c;

        memcpy(&st, f->data + off, sizeof(st));
        c = cw_copy_find(p->r, st.shard);
        if (c == NULL || c->session == NULL || c->session->peer != p || c->session->gen != st.gen)
            continue;
        cw_store_set_stable(c->sh, cw_min_u64(st.stable, c->info->last_seq));
        session_receipts(c->session, (st.flags & CW_STABLE_RECEIPTS) != 0);
    }
}

/* ---- shard records ---- */

bool
cw_rec_is_newer(const struct cw_shard_rec *a, const struct cw_shard_rec *b)
{
    return a->cfg != b->cfg ? a->cfg > b->cfg : a->gen > b->gen;
}

bool
cw_session_rec(struct cw_peer *p, const struct cw_frame *f, struct cw_shard_rec *ret)
{
    if (!cw_shard_rec_decode(f->data, f->data_len, ret) || ret->shard != f->hdr->shard ||
        ret->gen > f->hdr->gen || ret->n_blocks > CW_SHARD_BLOCKS) {
        cw_peer_offend(p, f, "its shard record is not one, or of another shard or generation");
        return false;
    }
    return true;
}

struct cfg_op {
    struct cw_op op;
};

static void
cfg_forget(struct cw_op *op)
{
    free(cw_container_of(op, struct cfg_op, op));
}

static void cfg_done(struct cw_op *op, int res);

static bool
cfg_put(struct cw_copy *c, const struct cw_shard_rec *rec)
{
    struct cfg_op *cfg = calloc(1, sizeof(*cfg));

    if (cfg == NULL)
        return false;
    c->cfg_busy = true;
    cw_op_begin(c, &cfg->op, cfg_done, cfg_forget);
    cw_store_set_rec(c->sh, rec, &cfg->op.ticket);
    return true;
}

/* Only the newest of those that came meanwhile counts. A failure shows in the disk's health. */
static void
cfg_done(struct cw_op *op, int res)
{
    struct cw_copy *c = op->copy;

    cfg_forget(op);
    c->cfg_busy = false;
    if (!c->cfg_again)
        return;
    c->cfg_again = false;
    if (res == 0 && c->drop == NULL && cw_rec_is_newer(&c->cfg_next, &c->info->rec))
        cfg_put(c, &c->cfg_next);
}

void
cw_session_on_cfg(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_session *s = cw_peer_session(p, f);
    struct cw_shard_rec rec;
    struct cw_copy *c;

    if (s == NULL || !cw_session_rec(p, f, &rec))
        return;
    c = s->copy;
    if (rec.lineage != c->info->rec.lineage) {
        cw_peer_nack_copy(p, c, f->hdr->tag, CW_NACK_STATE, 0);
        return;
    }
    if (!cw_rec_is_newer(&rec, &c->info->rec))
        return;
    c->n_blocks = rec.n_blocks;
    if (!c->cfg_busy) {
        if (!cfg_put(c, &rec))
            cw_peer_close(p, "no memory for a shard record");
    } else if (!c->cfg_again || cw_rec_is_newer(&rec, &c->cfg_next)) {
        c->cfg_next = rec;
        c->cfg_again = true;
    }
}
