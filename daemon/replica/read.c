/* replica/read.c - what is read from a copy for its owner, and what is mended in it.
 *
 * READ needs an open session of the promised generation, both when it comes and when its answer
 * leaves; a block that does not verify is named in READ_ERR, never sent. TAIL_QUERY reads a record
 * as it was written, for a takeover. BLOCK_REPAIR rewrites what is still damaged (I14).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "daemon/replica/internal.h"

/* What was asked for. */
struct ask {
    uint32_t gen, tag, flags, nblk;
    uint64_t lba, tail_seq;
};

#define WAITS_PER_READ 8u /* beyond it a read is refused: another copy may have time */

struct cw_read {
    struct cw_store_read read;
    struct cw_list in_replica;
    struct cw_copy *copy;
    struct cw_peer *peer; /* a reference */
    uint32_t gen, tag;
};

/* Its turn comes when a read ends: what is under way at the store is bounded in memory. */
struct read_wait {
    struct cw_list in_replica;
    struct cw_peer *peer; /* a reference */
    uint64_t shard;       /* the copy may go meanwhile */
    struct ask ask;
};

static void read_done(struct cw_store_read *read);

/* NULL: out of memory. Requests are kept for the next ones: the hot path does not allocate. */
static struct cw_read *
read_begin(struct cw_peer *p, struct cw_copy *c, const struct ask *a)
{
    struct cw_replica *r = p->r;
    struct cw_list *node = cw_list_pop_front(&r->free_reads);
    struct cw_read *rd;

    rd = node != NULL ? cw_list_entry(node, struct cw_read, in_replica) : malloc(sizeof(*rd));
    if (rd == NULL)
        return NULL;
    rd->copy = c;
    rd->peer = cw_peer_ref(p);
    rd->gen = a->gen;
    rd->tag = a->tag;
    rd->read.shard = c->sh;
    rd->read.lba = a->lba;
    rd->read.nblk = a->nblk;
    rd->read.flags = a->flags;
    rd->read.tail_seq = a->tail_seq;
    rd->read.snap = 0;
    rd->read.skip_csums = NULL;
    rd->read.buf = NULL;
    rd->read.done = read_done;
    cw_list_init(&rd->read.link);
    p->n_reads++;
    r->n_reads++;
    c->busy++;
    cw_list_push_back(&r->reads, &rd->in_replica);
    return rd;
}

static void waits_next(struct cw_replica *r);

static void
read_end(struct cw_read *rd)
{
    struct cw_copy *c = rd->copy;
    struct cw_replica *r = c->r;

    cw_buf_unref(rd->read.buf);
    rd->read.buf = NULL;
    cw_list_remove(&rd->in_replica);
    cw_list_push_front(&r->free_reads, &rd->in_replica);
    rd->peer->n_reads--;
    r->n_reads--;
    cw_peer_unref(rd->peer);
    c->busy--;
    cw_copy_idle(c);
    waits_next(r);
}

static void
read_refuse(struct cw_peer *p, struct cw_wire_hdr h, uint32_t code, const uint64_t *bad)
{
    struct cw_wire_read_err err = { .code = code };

    h.type = CW_FT_READ_ERR;
    h.flags = 0;
    h.seq = h.stable = 0;
    if (bad != NULL)
        memcpy(err.bad, bad, sizeof(err.bad));
    p->r->stats.read_errors++;
    cw_peer_send(p, cw_frame_opaque(p->r->pool, h, NULL, &err, sizeof(err)));
}

static uint32_t
read_code(int res)
{
    switch (res) {
    case -ENOENT:
        return CW_NACK_STATE;
    case -ENOMEM:
        return CW_NACK_NO_SPACE;
    default:
        return CW_NACK_IO;
    }
}

static bool
read_is_bad(const struct cw_store_read *read)
{
    return (read->bad[0] | read->bad[1] | read->bad[2] | read->bad[3]) != 0;
}

static void
read_send_data(struct cw_read *rd, struct cw_wire_hdr h)
{
    struct cw_buf *buf = rd->read.buf;
    struct cw_msg *m;

    m = cw_frame_data(rd->copy->r->pool, h, rd->read.csums, buf, buf->data);
    if (m != NULL)
        rd->read.buf = NULL; /* the message's now */
    cw_peer_send(rd->peer, m);
}

static void
read_answer(struct cw_read *rd, struct cw_wire_hdr h)
{
    bool tail = (rd->read.flags & CW_STORE_READ_TAIL) != 0;

    h.type = tail ? CW_FT_TAIL_DATA : CW_FT_READ_OK;
    if (tail) {
        h.seq = rd->read.tail_seq;
        h.stable = (uint64_t)rd->read.tail_type << 32 | rd->read.tail_gen;
    }
    if (rd->read.buf != NULL) {
        read_send_data(rd, h);
        return;
    }
    if (!tail)
        h.flags = CW_F_ZEROES;
    cw_peer_send(rd->peer, cw_frame_plain(rd->copy->r->pool, h));
}

/* The generation may have ended while the disk was read: then nothing of it counts any more. */
static uint32_t
read_late_code(const struct cw_read *rd)
{
    const struct cw_copy *c = rd->copy;
    int code = cw_copy_gen_code(c, rd->gen);

    if (code == 0 && !(rd->read.flags & CW_STORE_READ_TAIL) &&
        (c->session == NULL || c->session->peer != rd->peer))
        code = CW_NACK_NO_SESSION;
    return (uint32_t)code;
}

/* A tail record of zeroes that carries no data in the log still has to have some on the wire. */
static int
read_fill_zeroes(struct cw_read *rd)
{
    struct cw_store_read *read = &rd->read;

    if (!(read->flags & CW_STORE_READ_TAIL) || read->tail_type != CW_FT_WRITE || read->buf != NULL)
        return 0;
    read->buf = cw_buf_get(rd->copy->r->pool, read->nblk * CW_BLOCK_SIZE);
    if (read->buf == NULL)
        return -ENOMEM;
    memset(read->buf->data, 0, read->nblk * CW_BLOCK_SIZE);
    for (uint32_t i = 0; i < read->nblk; i++)
        read->csums[i] = CW_HASH_ZERO_BLOCK;
    return 0;
}

static void
read_done(struct cw_store_read *read)
{
    struct cw_read *rd = cw_container_of(read, struct cw_read, read);
    struct cw_wire_hdr h = { .shard = rd->copy->shard, .tag = rd->tag };
    uint32_t code = read_late_code(rd);
    int res = read->res;

    h.lba_nblk = cw_lba_nblk(read->lba, read->nblk);
    rd->copy->r->stats.reads++;
    if (code == 0 && res == 0 && !read_is_bad(read))
        res = read_fill_zeroes(rd);
    if (code != 0)
        read_refuse(rd->peer, h, code, NULL);
    else if (res != 0)
        read_refuse(rd->peer, h, read_code(res), NULL);
    else if (read_is_bad(read))
        read_refuse(rd->peer, h, 0, read->bad);
    else
        read_answer(rd, h);
    read_end(rd);
}

/* Codes of a READ or TAIL_QUERY that does not reach the store; 0: it may. */
static int
read_early_code(const struct cw_peer *p, const struct cw_copy *c, const struct ask *a)
{
    bool tail = (a->flags & CW_STORE_READ_TAIL) != 0;
    int code;

    if (c == NULL)
        return CW_NACK_NO_SHARD;
    code = cw_copy_gen_code(c, a->gen);
    if (code != 0)
        return code;
    if (!tail && (c->session == NULL || c->session->peer != p))
        return CW_NACK_NO_SESSION;
    if (c->info->damaged || (c->info->syncing && !(tail && c->info->journal)))
        return CW_NACK_STATE;
    if (p->n_reads >= CW_PEER_READS_MAX)
        return CW_NACK_NO_SPACE;
    return !tail && a->lba + a->nblk > c->n_blocks ? CW_NACK_STATE : 0;
}

static bool
read_wait(struct cw_peer *p, uint64_t shard, const struct ask *a)
{
    struct cw_replica *r = p->r;
    struct read_wait *w =
        r->n_read_waits < WAITS_PER_READ * r->n_reads_max ? malloc(sizeof(*w)) : NULL;

    if (w == NULL)
        return false;
    *w = (struct read_wait){ .peer = cw_peer_ref(p), .shard = shard, .ask = *a };
    cw_list_push_back(&r->read_waits, &w->in_replica);
    r->n_read_waits++;
    p->n_reads++;
    return true;
}

static void
wait_free(struct read_wait *w)
{
    cw_list_remove(&w->in_replica);
    w->peer->r->n_read_waits--;
    w->peer->n_reads--;
    cw_peer_unref(w->peer);
    free(w);
}

static void
read_try(struct cw_peer *p, uint64_t shard, const struct ask *a)
{
    struct cw_copy *c = cw_copy_find(p->r, shard);
    struct cw_wire_hdr h = { .shard = shard,
                             .tag = a->tag,
                             .lba_nblk = cw_lba_nblk(a->lba, a->nblk) };
    int code = read_early_code(p, c, a);
    struct cw_read *rd;

    if (code == 0 && p->r->n_reads >= p->r->n_reads_max) {
        if (!read_wait(p, shard, a))
            read_refuse(p, h, CW_NACK_NO_SPACE, NULL);
        return;
    }
    rd = code == 0 ? read_begin(p, c, a) : NULL;
    if (rd == NULL)
        read_refuse(p, h, code != 0 ? (uint32_t)code : CW_NACK_NO_SPACE, NULL);
    else
        cw_store_read(&rd->read);
}

/* What was true when it was asked may not be any more: it is judged again. */
static void
waits_next(struct cw_replica *r)
{
    while (!cw_list_empty(&r->read_waits) && r->n_reads < r->n_reads_max) {
        struct read_wait *w = cw_list_first(&r->read_waits, struct read_wait, in_replica);
        struct read_wait was = *w;

        cw_peer_ref(was.peer);
        wait_free(w);
        read_try(was.peer, was.shard, &was.ask);
        cw_peer_unref(was.peer);
    }
}

void
cw_read_on_peer_down(struct cw_peer *p)
{
    CW_LIST_EACH_SAFE (it, &p->r->read_waits) {
        struct read_wait *w = cw_list_entry(it, struct read_wait, in_replica);

        if (w->peer == p)
            wait_free(w);
    }
}

static void
read_on_request(struct cw_peer *p, const struct cw_frame *f, uint32_t flags)
{
    struct ask a = { .gen = f->hdr->gen,
                     .tag = f->hdr->tag,
                     .flags = flags,
                     .nblk = cw_hdr_nblk(f->hdr),
                     .lba = cw_hdr_lba(f->hdr),
                     .tail_seq = f->hdr->seq };

    read_try(p, f->hdr->shard, &a);
}

void
cw_read_on_read(struct cw_peer *p, const struct cw_frame *f)
{
    uint32_t nblk = cw_hdr_nblk(f->hdr);

    if (nblk == 0 || nblk > CW_IO_BLOCKS_MAX)
        cw_peer_offend(p, f, "length out of bounds");
    else
        read_on_request(p, f, f->hdr->flags & CW_F_MEDIA ? CW_STORE_READ_MEDIA : 0);
}

void
cw_read_on_tail_query(struct cw_peer *p, const struct cw_frame *f)
{
    read_on_request(p, f, CW_STORE_READ_TAIL);
}

void
cw_read_forget_all(struct cw_replica *r)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&r->read_waits)) != NULL)
        free(cw_list_entry(node, struct read_wait, in_replica));
    while ((node = cw_list_pop_front(&r->reads)) != NULL)
        free(cw_list_entry(node, struct cw_read, in_replica));
    while ((node = cw_list_pop_front(&r->free_reads)) != NULL)
        free(cw_list_entry(node, struct cw_read, in_replica));
}

/* ---- BLOCK_REPAIR ---- */

struct repair {
    struct cw_op op;
    struct cw_peer *peer; /* a reference */
    struct cw_buf *buf;   /* keeps the data, if it was kept */
    uint64_t lba;
    uint32_t tag, nblk, n;
};

static void
repair_free(struct repair *m)
{
    m->peer->n_repairs--;
    cw_buf_unref(m->buf);
    cw_peer_unref(m->peer);
    free(m);
}

static void
repair_forget(struct cw_op *op)
{
    struct repair *m = cw_container_of(op, struct repair, op);

    cw_buf_unref(m->buf);
    free(m);
}

static void
repair_done(struct cw_op *op, int res)
{
    struct repair *m = cw_container_of(op, struct repair, op);
    struct cw_copy *c = op->copy;
    struct cw_wire_hdr h = { .type = CW_FT_BLOCK_REPAIR_OK, .shard = c->shard, .tag = m->tag };

    h.lba_nblk = cw_lba_nblk(0, m->n);
    if (res != 0) {
        cw_peer_nack_copy(m->peer, c, m->tag, CW_NACK_IO, 0);
    } else {
        c->r->stats.repaired_blocks += m->n;
        if (m->n == m->nblk)
            cw_note_repaired(c, m->lba, m->nblk);
        cw_peer_send(m->peer, cw_frame_plain(c->r->pool, h));
    }
    repair_free(m);
}

static int
repair_start(struct repair *m, struct cw_copy *c, const struct cw_frame *f)
{
    int res;

    cw_op_begin(c, &m->op, repair_done, repair_forget);
    res = cw_store_block_repair(c->sh, cw_hdr_lba(f->hdr), cw_hdr_nblk(f->hdr), f->csums, f->data,
                                &m->n, &m->op.ticket);
    if (res != 0)
        cw_op_cancel(&m->op);
    return res;
}

void
cw_read_on_block_repair(struct cw_peer *p, const struct cw_frame *f)
{
    struct cw_session *s = cw_peer_session(p, f);
    uint32_t nblk = cw_hdr_nblk(f->hdr);
    struct repair *m;
    int res;

    if (s == NULL)
        return;
    if (!(f->hdr->flags & CW_F_DATA)) {
        cw_peer_offend(p, f, "no data");
        return;
    }
    if (s->copy->info->syncing || cw_hash_verify(f->data, f->csums, nblk) != nblk) {
        cw_peer_nack_copy(p, s->copy, f->hdr->tag,
                          s->copy->info->syncing ? CW_NACK_STATE : CW_NACK_BAD_CSUM, 0);
        return;
    }
    m = p->n_repairs < CW_PEER_REPAIRS_MAX ? calloc(1, sizeof(*m)) : NULL;
    if (m == NULL) {
        cw_peer_nack_copy(p, s->copy, f->hdr->tag, CW_NACK_NO_SPACE, 0);
        return;
    }
    p->n_repairs++;
    m->peer = cw_peer_ref(p);
    m->buf = f->buf != NULL ? cw_buf_ref(f->buf) : NULL;
    m->tag = f->hdr->tag;
    m->lba = cw_hdr_lba(f->hdr);
    m->nblk = nblk;
    res = repair_start(m, s->copy, f);
    if (res == 0)
        return;
    cw_peer_nack_copy(p, s->copy, f->hdr->tag, res == -EIO ? CW_NACK_IO : CW_NACK_NO_SPACE, 0);
    repair_free(m);
}
