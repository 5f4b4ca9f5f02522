/* replica/hold.c - records that came in order while the store had no batch buffer.
 *
 * Bounded by opts.hold_bytes over all copies; beyond it a record is dropped and asked for again
 * when there is room. Nothing held was acknowledged, so a session's end simply forgets it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/replica/internal.h"

struct cw_held {
    struct cw_list in_copy;
    struct cw_store_rec rec;
    struct cw_buf *buf; /* the data's; NULL: none */
    uint32_t bytes;
    uint64_t csums[];
};

static void
held_free(struct cw_copy *c, struct cw_held *h)
{
    cw_list_remove(&h->in_copy);
    c->r->hold_bytes -= h->bytes;
    c->held_blocks -= h->rec.data != NULL ? h->rec.nblk : 0;
    cw_buf_unref(h->buf);
    free(h);
    if (cw_list_empty(&c->held))
        cw_list_remove(&c->in_holding);
}

/* The data in a buffer of its own that may be kept; false: none to be had. */
static bool
held_keep_data(struct cw_copy *c, struct cw_held *h, const struct cw_store_rec *rec)
{
    uint32_t len = rec->nblk * CW_BLOCK_SIZE;

    if (rec->data == NULL)
        return true;
    memcpy(h->csums, rec->csums, rec->nblk * sizeof(h->csums[0]));
    h->rec.csums = h->csums;
    if (rec->buf != NULL) {
        h->buf = cw_buf_ref(rec->buf);
        return true;
    }
    h->buf = cw_buf_get(c->r->pool, len);
    if (h->buf == NULL)
        return false;
    memcpy(h->buf->data, rec->data, len);
    h->rec.data = h->buf->data;
    h->rec.buf = h->buf;
    return true;
}

bool
cw_hold_push(struct cw_copy *c, const struct cw_store_rec *rec)
{
    uint32_t n_csums = rec->data != NULL ? rec->nblk : 0;
    uint32_t bytes = n_csums * (CW_BLOCK_SIZE + 8) + (uint32_t)sizeof(struct cw_held);
    struct cw_held *h;

    if (c->r->hold_bytes + bytes > c->r->opts.hold_bytes)
        return false;
    h = calloc(1, sizeof(*h) + n_csums * sizeof(h->csums[0]));
    if (h == NULL)
        return false;
    h->rec = *rec;
    h->rec.apply = NULL;
    if (!held_keep_data(c, h, rec)) {
        free(h);
        return false;
    }
    h->bytes = bytes;
    c->r->hold_bytes += bytes;
    c->held_blocks += n_csums;
    c->r->stats.held++;
    if (cw_list_empty(&c->held))
        cw_list_push_back(&c->r->holding, &c->in_holding);
    cw_list_push_back(&c->held, &h->in_copy);
    return true;
}

void
cw_hold_drop(struct cw_copy *c)
{
    while (!cw_list_empty(&c->held)) {
        held_free(c, cw_list_first(&c->held, struct cw_held, in_copy));
        c->next_seq--;
    }
}

/* What was refused for want of room: asked for again, once there is some. */
static void
copy_ask_again(struct cw_copy *c)
{
    c->starved = false;
    if (c->session == NULL)
        return;
    c->session->told_seq = c->next_seq;
    cw_peer_nack_copy(c->session->peer, c, 0, CW_NACK_SEQ_GAP, c->next_seq);
}

/* False: the store has no room yet. */
static bool
copy_retry(struct cw_copy *c)
{
    while (!cw_list_empty(&c->held)) {
        struct cw_held *h = cw_list_first(&c->held, struct cw_held, in_copy);
        int res = cw_stream_append(c, &h->rec);

        if (res == -EAGAIN)
            return false;
        if (res != 0) {
            cw_hold_drop(c); /* nothing behind it can be taken either */
            cw_stream_refuse(c, res, c->next_seq);
            return true;
        }
        held_free(c, h);
    }
    return true;
}

/* Enough for any one record, so that it is not refused and asked for again and again. */
static bool
copy_has_room(const struct cw_copy *c)
{
    return cw_store_credit(c->sh) >= CW_IO_BLOCKS_MAX;
}

static void
replica_ask_again(struct cw_replica *r)
{
    struct cw_store_shard *sh = NULL;

    r->starving = false;
    while ((sh = cw_store_shard_next(r->store, sh)) != NULL) {
        struct cw_copy *c = cw_store_shard_info(sh)->user;

        if (c == NULL || !c->starved)
            continue;
        if (copy_has_room(c))
            copy_ask_again(c);
        else
            r->starving = true;
    }
}

void
cw_hold_retry(struct cw_replica *r)
{
    while (!cw_list_empty(&r->holding))
        if (!copy_retry(cw_list_first(&r->holding, struct cw_copy, in_holding)))
            return;
    if (r->starving)
        replica_ask_again(r);
}
