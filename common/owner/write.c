/* Writes: one sequence per shard, one frame shared by all members, sent as soon as it is sequenced.
 *
 *   start --(sub-block: lock, read the edges)--> queue --credit, window, memory--> sequenced
 * --told--> done
 *
 * A part is sequenced exactly once; what is resent is the same frame with the same seq. */
#include "common/codec/hash.h"
#include "common/owner/room.h"

#include <errno.h>

#define RECORDS_ALWAYS 8u /* of one shard, whatever others retain */

/* ---- locks: ranges that are being read to be written ---- */

static struct part *
lock_holder(const struct part *p)
{
    CW_LIST_EACH (it, &p->s->locks) {
        struct part *l = cw_list_entry(it, struct part, lock_node);

        if (l != p && cw_ranges_overlap(l->lba, l->nblk, p->lba, p->nblk))
            return l;
    }
    return NULL;
}

/* True: nobody else holds any of it. False: p is among the waiters and will be started again. */
static bool
lock_pass(struct part *p)
{
    struct part *l = lock_holder(p);

    if (l == NULL)
        return true;
    cw_list_remove(&p->node);
    cw_list_push_back(&l->waiters, &p->node);
    return false;
}

bool
cw_own_lock_take(struct part *p)
{
    if (p->locked)
        return true;
    if (!lock_pass(p))
        return false;
    p->locked = true;
    cw_list_push_back(&p->s->locks, &p->lock_node);
    return true;
}

void
cw_own_lock_drop(struct part *p)
{
    struct cw_list mine, *node;

    cw_assert(p->locked);
    p->locked = false;
    cw_list_remove(&p->lock_node);
    cw_list_init(&mine);
    cw_list_splice_back(&mine, &p->waiters);
    while ((node = cw_list_pop_front(&mine)) != NULL)
        cw_own_part_start(cw_list_entry(node, struct part, node));
}

/* ---- read-modify-write ---- */

/* Lays the request's bytes over the blocks that were read. */
static void
write_overlay(struct part *p, uint8_t *blocks)
{
    if (p->kind != PART_WRITE)
        memset(blocks + p->head, 0, p->len);
    else if (p->buf != NULL)
        memcpy(blocks + p->head, p->buf->data + p->buf_off, p->len);
    else
        cw_own_io_copy_in(p->io, p->io_off, blocks + p->head, p->len);
}

static void
write_on_edges(struct part *edge, int res)
{
    struct part *p = edge->ctx;
    struct cw_buf *b;

    p->edge = NULL;
    if (res != 0) {
        cw_own_part_free(edge);
        cw_own_part_done(p, res);
        return;
    }
    b = edge->buf; /* cw_own_read_hold made it ours alone, at offset 0 */
    edge->buf = NULL;
    cw_own_part_free(edge);
    write_overlay(p, b->data);
    cw_buf_unref(p->buf);
    p->buf = b;
    p->buf_off = 0;
    p->copied = true;
    p->kind = PART_WRITE;
    p->rmw = false;
    cw_own_part_start(p);
}

static void
write_read_edges(struct part *p)
{
    struct part *edge = cw_own_part_new(p->v);

    if (edge == NULL) {
        cw_own_part_done(p, -ENOMEM);
        return;
    }
    edge->s = p->s;
    edge->kind = PART_READ;
    edge->lba = p->lba;
    edge->nblk = p->nblk;
    edge->done_fn = write_on_edges;
    edge->ctx = p;
    p->edge = edge;
    cw_own_part_start(edge);
}

/* ---- sequencing ---- */

enum go { GO, GO_SUSPENDED, GO_WINDOW, GO_SPACE, GO_MEMORY };

static uint32_t
part_cost(const struct part *p)
{
    return p->kind == PART_WRITE ? p->nblk : 0;
}

static bool
space_for(const struct shard *s, uint32_t cost)
{
    if (cost == 0)
        return true;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if (cw_own_in_ack(c) && s->cum_blocks + cost > c->space_limit &&
            !cw_mutated(CW_MUTATION_NO_CREDIT))
            return false;
    }
    return true;
}

static enum go
write_may_go(struct shard *s, const struct part *p)
{
    struct cw_owner *o = s->v->o;
    uint64_t kept = s->ring.next - s->ring.first;

    if (s->state != SHARD_ACTIVE || !cw_own_shard_may_ack(s))
        return GO_SUSPENDED;
    if (s->ring.next - s->stable > WINDOW_MAX)
        return GO_WINDOW;
    if (o->retained_bytes >= o->tun.retain_bytes && kept >= RECORDS_ALWAYS)
        return GO_WINDOW;
    if (!space_for(s, part_cost(p)))
        return GO_SPACE;
    return cw_own_ring_room(&s->ring) ? GO : GO_WINDOW;
}

/* The caller's piece of a block, if it lies in one piece of memory. */
static const uint8_t *
io_block(const struct cw_io *io, uint64_t off)
{
    for (uint32_t i = 0; i < io->n_iov; i++) {
        if (off < io->iov[i].iov_len)
            return io->iov[i].iov_len - off >= CW_BLOCK_SIZE
                       ? (const uint8_t *)io->iov[i].iov_base + off
                       : NULL;
        off -= io->iov[i].iov_len;
    }
    return NULL;
}

/* The data in a buffer of ours, hashed: copied once while hashing, or as it was handed in. */
static bool
write_data(struct part *p, uint64_t *csums)
{
    uint8_t *to;

    if (p->buf != NULL) {
        for (uint32_t i = 0; i < p->nblk; i++)
            csums[i] = cw_hash_block(p->buf->data + p->buf_off + i * CW_BLOCK_SIZE);
        return true;
    }
    p->buf = cw_buf_get(p->o->pool, (size_t)p->nblk * CW_BLOCK_SIZE);
    if (p->buf == NULL)
        return false;
    p->buf_off = 0;
    to = p->buf->data;
    for (uint32_t i = 0; i < p->nblk; i++, to += CW_BLOCK_SIZE) {
        uint64_t off = p->io_off + (uint64_t)i * CW_BLOCK_SIZE;
        const uint8_t *from = io_block(p->io, off);

        if (from != NULL) {
            csums[i] = cw_hash_copy_block(to, from);
        } else {
            cw_own_io_copy_in(p->io, off, to, CW_BLOCK_SIZE);
            csums[i] = cw_hash_block(to);
        }
    }
    return true;
}

static struct cw_msg *
write_frame(struct part *p, struct cw_wire_hdr h)
{
    uint64_t csums[CW_IO_BLOCKS_MAX];
    struct cw_msg *m;

    if (p->kind != PART_WRITE)
        return cw_frame_plain(p->o->pool, h);
    if (!write_data(p, csums))
        return NULL;
    m = cw_frame_data(p->o->pool, h, csums, p->buf, p->buf->data + p->buf_off);
    if (m != NULL)
        p->buf = NULL; /* the frame's now */
    return m;
}

static uint8_t
frame_type(enum part_kind kind)
{
    switch (kind) {
    case PART_WRITE:
        return CW_FT_WRITE;
    case PART_ZERO:
        return CW_FT_ZERO;
    case PART_TRIM:
        return CW_FT_TRIM;
    case PART_READ:
    case PART_LOCK:
    case PART_FLUSH:
        break;
    }
    cw_unreachable();
}

static enum go
write_sequence(struct part *p)
{
    struct shard *s = p->s;
    enum go go = write_may_go(s, p);
    struct cw_msg *m;
    struct rec *r;

    if (go != GO)
        return go;
    m = write_frame(p, (struct cw_wire_hdr){ .type = frame_type(p->kind),
                                             .shard = s->rec.shard,
                                             .gen = s->v->gen,
                                             .cfg = s->rec.cfg,
                                             .seq = s->ring.next,
                                             .lba_nblk = cw_lba_nblk(p->lba, p->nblk),
                                             .stable = s->stable });
    if (m == NULL)
        return GO_MEMORY;
    r = cw_own_ring_push(&s->ring);
    r->lba = p->lba;
    r->nblk = p->nblk;
    r->cost = part_cost(p);
    r->msg = m;
    r->bytes = cw_msg_bytes(m);
    r->begun_ns = cw_own_now(p->o);
    r->part = p;
    r->cum_blocks = s->cum_blocks += r->cost;
    p->o->retained_bytes += r->bytes;
    cw_own_spans_add(s, r);
    for (uint32_t i = 0; i < s->n_copies; i++)
        cw_own_copy_pump(s->copies[i]);
    if (p->locked) /* from here on the span holds readers back, and order is seq */
        cw_own_lock_drop(p);
    return GO;
}

void
cw_own_write_start(struct part *p)
{
    struct shard *s = p->s;

    if (p->rmw) {
        if (cw_own_lock_take(p))
            write_read_edges(p);
        return;
    }
    if (!cw_list_empty(&s->queue)) {
        cw_list_push_back(&s->queue, &p->node);
        if (part_cost(p) == 0 && s->starved_since_ns != CW_NEVER)
            cw_own_mark_dirty(s);
        return;
    }
    if (!p->locked && !lock_pass(p))
        return;
    if (write_sequence(p) != GO) {
        cw_list_push_back(&s->queue, &p->node);
        cw_own_mark_dirty(s);
    }
}

/* Policies that would rather fail than wait. */
static int
write_verdict(const struct shard *s, enum go go)
{
    if (go == GO_SUSPENDED && s->v->quorum_loss_error && s->v->state == CW_VOLUME_READY)
        return -EIO;
    if (go == GO_SPACE && s->v->space_full_error && s->acked + 1 == s->ring.next)
        return -ENOSPC;
    return 0;
}

static bool
queued_behind_overlap(const struct part *p)
{
    CW_LIST_EACH (it, &p->s->queue) {
        const struct part *q = cw_list_entry(it, struct part, node);

        if (q == p)
            return false;
        if (cw_ranges_overlap(q->lba, q->nblk, p->lba, p->nblk))
            return true;
    }
    return false;
}

/* What needs no space overtakes those that wait for it: a TRIM may be what makes room. */
static void
write_pass_starved(struct shard *s)
{
    CW_LIST_EACH_SAFE (it, &s->queue) {
        struct part *p = cw_list_entry(it, struct part, node);

        if (part_cost(p) > 0 || queued_behind_overlap(p))
            continue;
        if (write_may_go(s, p) != GO)
            return;
        if (!lock_pass(p))
            continue;
        cw_list_remove(&p->node);
        if (write_sequence(p) != GO) {
            cw_list_push_front(&s->queue, &p->node);
            return;
        }
    }
}

void
cw_own_write_kick(struct shard *s)
{
    while (!cw_list_empty(&s->queue)) {
        struct part *p = cw_list_entry(s->queue.next, struct part, node);
        enum go go;
        int res;

        cw_list_remove(&p->node);
        if (!p->locked && !lock_pass(p))
            continue;
        go = write_sequence(p);
        if (go == GO) {
            s->starved_since_ns = CW_NEVER;
            continue;
        }
        if (go == GO_SPACE && s->starved_since_ns == CW_NEVER)
            s->starved_since_ns = cw_own_now(s->v->o);
        res = write_verdict(s, go);
        if (res == 0) {
            cw_list_push_front(&s->queue, &p->node);
            if (go == GO_SPACE)
                write_pass_starved(s);
            return;
        }
        cw_own_part_done(p, res);
    }
}

/* ---- flush ---- */

static bool
flush_is_over(const struct part *p)
{
    return p->s->state == SHARD_ACTIVE &&
           (p->s->acked >= p->wait_seq || cw_mutated(CW_MUTATION_FLUSH_EARLY));
}

/* What was told before is to be durable; what only waits to be told is not of it. */
void
cw_own_flush_start(struct part *p)
{
    struct shard *s = p->s;

    p->wait_seq = s->state == SHARD_ACTIVE ? s->told : 0;
    cw_list_push_back(&s->flushes, &p->node);
    if (flush_is_over(p) || s->state == SHARD_CLOSED)
        cw_own_part_done(p, s->state == SHARD_CLOSED ? -ESHUTDOWN : 0);
}

void
cw_own_flush_kick(struct shard *s)
{
    bool fail = s->v->quorum_loss_error && s->v->state == CW_VOLUME_READY &&
                (s->state != SHARD_ACTIVE || !cw_own_shard_may_ack(s));
    struct cw_list mine, *node;

    cw_list_init(&mine);
    cw_list_splice_back(&mine, &s->flushes);
    while ((node = cw_list_pop_front(&mine)) != NULL) {
        struct part *p = cw_list_entry(node, struct part, node);

        if (flush_is_over(p))
            cw_own_part_done(p, 0);
        else if (fail)
            cw_own_part_done(p, -EIO);
        else
            cw_list_push_back(&s->flushes, &p->node);
    }
}
