/* replica/journal.c - a copy that holds what was written from some record on, and nothing else.
 *
 *   empty --JOIN(s0, a journal's id)--> durable, JOIN_OK --stream from s0 on--> .. --drop--> gone
 *
 * In the store it is a copy whose JOIN never ends: it is not read, is nobody's source but of a copy
 * that has all the rest (get.c), and its chunks are VOID. But it goes on with the stream after a
 * restart, and it is sealed and asked for its tail like one in sync. It begins empty: what an older
 * stream left here would be taken for newer than what the other copy has.
 */
#include <stdlib.h>

#include "daemon/replica/internal.h"

struct begin {
    struct cw_op op;
    struct cw_wire_hdr ok;
};

static void
begin_forget(struct cw_op *op)
{
    free(cw_container_of(op, struct begin, op));
}

static void
begin_done(struct cw_op *op, int res)
{
    struct begin *b = cw_container_of(op, struct begin, op);
    struct cw_copy *c = op->copy;

    if (res == 0 && c->session != NULL && c->session->gen == b->ok.gen)
        cw_peer_send(c->session->peer, cw_frame_plain(c->r->pool, b->ok));
    free(b);
}

static bool
is_empty(const struct cw_store_shard_info *info)
{
    return info->last_gen == 0 && info->last_seq == 0 && info->mapped_blocks == 0 &&
           !info->syncing && !info->damaged;
}

void
cw_journal_on_join(struct cw_session *s, const struct cw_frame *f)
{
    const struct cw_wire_hdr *h = f->hdr;
    struct cw_copy *c = s->copy;
    struct cw_wire_hdr ok = { .type = CW_FT_JOIN_OK,
                              .shard = c->shard,
                              .gen = h->gen,
                              .seq = h->seq,
                              .tag = h->tag,
                              .stable = h->stable };
    struct begin *b;

    if (c->info->journal && c->info->join_id == h->stable) { /* the owner missed our answer */
        cw_peer_send(s->peer, cw_frame_plain(c->r->pool, ok));
        return;
    }
    b = is_empty(c->info) && c->sync == NULL ? calloc(1, sizeof(*b)) : NULL;
    if (b == NULL) {
        cw_peer_nack_copy(s->peer, c, h->tag, CW_NACK_STATE, 0);
        return;
    }
    b->ok = ok;
    cw_hold_drop(c);
    s->told_seq = 0;
    cw_op_begin(c, &b->op, begin_done, begin_forget);
    cw_store_join(c->sh, h->gen, h->seq, h->stable, &b->op.ticket);
    c->next_seq = h->seq;
}
