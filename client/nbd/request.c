/* nbd/request.c - the transmission phase: requests to pieces, pieces to replies.
 *
 * BLOCK_STATUS is asked with reads: the copies keep nothing for a block of zeroes, however it came
 * to be one, and answer for a hole without data; and a read is right while writes go on. Data costs
 * its transfer, so an answer ends soon after some was found. Pieces go one after the other.
 */
#include "client/nbd/conn.h"

#include <errno.h>
#include <stdlib.h>

static void req_finish(struct nbd_req *r);

/* ---- pieces ---- */

static void
piece_free(struct nbd_piece *p)
{
    p->req->conn->held_bytes -= p->len;
    cw_list_remove(&p->link);
    cw_buf_unref(p->buf);
    free(p);
}

/* So many bytes of data may be held besides what is held already. With nothing held one piece is
 * always allowed, or a small window would stop everything. */
static bool
window_allows(const struct cw_nbd_conn *c, uint32_t len)
{
    uint64_t have = c->held_bytes + nbd_unsent(c);

    return have == 0 || have + len <= c->shared->window_bytes;
}

/* Up to 1 MiB a request stays whole, that is, atomic; longer ones are cut at chunk borders. */
static uint32_t
piece_len(const struct nbd_req *r)
{
    uint64_t at = r->off + r->cut;

    if (r->len <= CW_NBD_PIECE_MAX)
        return r->len;
    return (uint32_t)cw_min_u64(r->len - r->cut, CW_NBD_PIECE_MAX - at % CW_NBD_PIECE_MAX);
}

static struct nbd_piece *
piece_new(struct nbd_req *r, enum cw_io_op op, uint64_t off, uint64_t len)
{
    struct nbd_piece *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    cw_list_init(&p->link);
    p->req = r;
    p->io.op = op;
    p->io.off = off;
    p->io.len = len;
    return p;
}

/* A piece of r with a buffer; NULL: no memory now. */
static struct nbd_piece *
piece_new_data(struct nbd_req *r, enum cw_io_op op)
{
    uint32_t len = piece_len(r);
    struct cw_buf *buf = cw_buf_get(r->conn->shared->pool, len);
    struct nbd_piece *p = buf != NULL ? piece_new(r, op, r->off + r->cut, len) : NULL;

    if (p == NULL) {
        cw_buf_unref(buf);
        return NULL;
    }
    p->buf = buf;
    p->len = len;
    r->conn->held_bytes += len;
    return p;
}

static void
piece_submit(struct nbd_piece *p, void (*done)(struct cw_io *, int))
{
    struct cw_nbd_conn *c = p->req->conn;

    p->io.done = done;
    p->req->n_flying++;
    c->n_ios++;
    c->ops->submit(c, &p->io);
}

/* ---- requests ---- */

static void
req_free(struct nbd_req *r)
{
    while (!cw_list_empty(&r->pieces))
        piece_free(cw_list_first(&r->pieces, struct nbd_piece, link));
    cw_list_remove(&r->todo);
    cw_list_remove(&r->link);
    r->conn->n_reqs--;
    if (r->whole_token)
        r->conn->shared->n_whole--;
    free(r->status);
    free(r);
}

static bool
req_is_done(const struct nbd_req *r)
{
    return r->n_flying == 0 && r->cut == r->len;
}

void
nbd_drop_unsubmitted(struct cw_nbd_conn *c)
{
    if (c->filling != NULL)
        piece_free(c->filling);
    c->filling = NULL;
    c->writing = NULL;
    CW_LIST_EACH_SAFE (it, &c->reqs) {
        struct nbd_req *r = cw_list_entry(it, struct nbd_req, link);

        cw_list_remove(&r->todo);
        r->cut = r->len;
        if (r->n_flying == 0)
            req_free(r);
    }
}

/* Notes a piece's end. True: the connection is dead and this was all; r may be gone. */
static bool
piece_landed(struct nbd_piece *p, int res)
{
    struct nbd_req *r = p->req;
    struct cw_nbd_conn *c = r->conn;

    c->n_ios--;
    r->n_flying--;
    if (res != 0 && r->error == CW_NBD_OK)
        r->error = nbd_error_of(res);
    c->ops->kick(c);
    if (c->phase != NBD_DEAD)
        return false;
    piece_free(p);
    if (r->n_flying == 0)
        req_free(r);
    return true;
}

/* ---- reads ---- */

static void
keep_in_order(struct nbd_req *r, struct nbd_piece *p)
{
    struct cw_list *at = &r->pieces;

    while (at->prev != &r->pieces &&
           cw_list_entry(at->prev, struct nbd_piece, link)->io.off > p->io.off)
        at = at->prev;
    cw_list_insert_before(at, &p->link);
}

static void
whole_landed(struct nbd_req *r, struct nbd_piece *p)
{
    keep_in_order(r, p);
    if (!req_is_done(r))
        return;
    if (r->error != CW_NBD_OK)
        nbd_put_result(r->conn, r, r->error);
    else
        nbd_put_whole(r->conn, r);
    req_free(r);
}

static void
part_landed(struct nbd_req *r, struct nbd_piece *p, int res)
{
    bool last = req_is_done(r);
    uint16_t flags = last ? CW_NBD_CHUNK_DONE : 0;

    if (res != 0)
        nbd_put_error_at(r->conn, r, flags, nbd_error_of(res), p->io.off);
    else
        nbd_put_content(r->conn, r, p, flags);
    piece_free(p);
    if (last)
        req_free(r);
}

static bool
status_goes_on(const struct nbd_req *r)
{
    const struct nbd_status *st = r->status;

    return r->cut < r->len && st->data_bytes < CW_NBD_STATUS_DATA_MAX &&
           st->n <= ((r->flags & CW_NBD_CMD_REQ_ONE) != 0 ? 1 : NBD_STATUS_RUNS_MAX / 2);
}

static void
status_landed(struct nbd_req *r, struct nbd_piece *p, int res)
{
    struct cw_nbd_conn *c = r->conn;
    struct nbd_status *st = r->status;

    if (res == 0)
        nbd_status_note(st, p);
    piece_free(p);
    if (res == 0 && status_goes_on(r)) {
        cw_list_push_back(&c->todo, &r->todo);
        nbd_todo(c);
        return;
    }
    if (st->n == 0)
        nbd_put_result(c, r, r->error);
    else
        nbd_put_status(c, r, (r->flags & CW_NBD_CMD_REQ_ONE) != 0 ? 1 : st->n);
    req_free(r);
}

static void
on_read(struct cw_io *io, int res)
{
    struct nbd_piece *p = cw_container_of(io, struct nbd_piece, io);
    struct nbd_req *r = p->req;

    p->data = p->buf->data;
    if (io->buf != NULL) {
        cw_buf_unref(p->buf);
        p->buf = io->buf;
        p->data = io->buf->data + io->buf_off;
    }
    if (piece_landed(p, res))
        return;
    if (r->status != NULL)
        status_landed(r, p, res);
    else if (r->whole)
        whole_landed(r, p);
    else
        part_landed(r, p, res);
}

/* May the next piece of this read be handed on? */
static bool
read_may_go(struct nbd_req *r)
{
    struct cw_nbd_shared *s = r->conn->shared;

    if (!r->whole || r->len <= s->window_bytes / 2 || r->whole_token)
        return r->whole_token || window_allows(r->conn, piece_len(r));
    if (r->conn->held_bytes > 0 || nbd_unsent(r->conn) > 0 || s->n_whole >= s->whole_max)
        return false;
    s->n_whole++;
    r->whole_token = true;
    return true;
}

static bool
read_next(struct nbd_req *r)
{
    struct nbd_piece *p = read_may_go(r) ? piece_new_data(r, CW_IO_READ) : NULL;

    if (p == NULL)
        return false;
    r->cut += p->len;
    p->iov = (struct iovec){ .iov_base = p->buf->data, .iov_len = p->len };
    p->io.iov = &p->iov;
    p->io.n_iov = 1;
    if (p->io.off % CW_BLOCK_SIZE == 0 && p->len % CW_BLOCK_SIZE == 0)
        p->io.flags = CW_IO_TAKE_BUF;
    piece_submit(p, on_read);
    return true;
}

void
nbd_todo(struct cw_nbd_conn *c)
{
    while (!cw_list_empty(&c->todo)) {
        struct nbd_req *r = cw_list_first(&c->todo, struct nbd_req, todo);

        while (r->cut < r->len) {
            if (!read_next(r))
                return;
            if (r->status != NULL)
                break; /* the next when this one has landed */
        }
        cw_list_remove(&r->todo);
    }
}

/* ---- writes and the rest ---- */

static void
on_written(struct cw_io *io, int res)
{
    struct nbd_piece *p = cw_container_of(io, struct nbd_piece, io);
    struct nbd_req *r = p->req;

    if (piece_landed(p, res))
        return;
    piece_free(p);
    if (req_is_done(r))
        req_finish(r);
}

/* A piece without data: TRIM, ZERO, FLUSH. */
static void
req_command(struct nbd_req *r, enum cw_io_op op)
{
    struct nbd_piece *p = piece_new(r, op, r->off, r->len);

    r->cut = r->len;
    if (p == NULL) {
        r->error = CW_NBD_ENOMEM;
        req_finish(r);
        return;
    }
    if (op == CW_IO_FLUSH)
        p->io.off = p->io.len = 0;
    piece_submit(p, on_written);
}

static void
req_finish(struct nbd_req *r)
{
    if ((r->flags & CW_NBD_CMD_FUA) != 0 && r->type != CW_NBD_CMD_FLUSH && !r->flushing &&
        r->error == CW_NBD_OK) {
        r->flushing = true;
        req_command(r, CW_IO_FLUSH);
        return;
    }
    nbd_put_result(r->conn, r, r->error);
    req_free(r);
}

void
nbd_write_next(struct cw_nbd_conn *c)
{
    if (window_allows(c, piece_len(c->writing)))
        c->filling = piece_new_data(c->writing, CW_IO_WRITE);
    c->filled = 0;
}

void
nbd_write_filled(struct cw_nbd_conn *c, uint32_t len)
{
    struct nbd_piece *p = c->filling;
    struct nbd_req *r = c->writing;

    c->filled += len;
    cw_assert(c->filled <= p->len);
    if (c->filled < p->len)
        return;
    c->filling = NULL;
    r->cut += p->len;
    p->io.buf = p->buf; /* the reference goes with it */
    p->buf = NULL;
    if (r->cut == r->len) {
        c->writing = NULL;
        nbd_expect(c, NBD_REQUEST, CW_NBD_REQUEST_SIZE);
    }
    piece_submit(p, on_written);
}

/* ---- a request's header ---- */

bool
nbd_may_take(const struct cw_nbd_conn *c)
{
    return c->n_reqs < CW_NBD_REQS_MAX && cw_list_empty(&c->todo) &&
           nbd_unsent(c) < c->shared->window_bytes;
}

static uint16_t
flags_of(const struct cw_nbd_conn *c, uint16_t type)
{
    switch (type) {
    case CW_NBD_CMD_READ:
        return CW_NBD_CMD_FUA | (c->structured ? CW_NBD_CMD_DF : 0);
    case CW_NBD_CMD_WRITE_ZEROES:
        return CW_NBD_CMD_FUA | CW_NBD_CMD_NO_HOLE | CW_NBD_CMD_FAST_ZERO;
    case CW_NBD_CMD_BLOCK_STATUS:
        return CW_NBD_CMD_FUA | CW_NBD_CMD_REQ_ONE;
    default:
        return CW_NBD_CMD_FUA;
    }
}

static uint32_t
request_check(const struct cw_nbd_conn *c, const struct nbd_req *r)
{
    bool writes = r->type == CW_NBD_CMD_WRITE || r->type == CW_NBD_CMD_WRITE_ZEROES;

    if (c->shutting_down)
        return CW_NBD_ESHUTDOWN;
    if ((r->flags & ~flags_of(c, r->type)) != 0)
        return CW_NBD_EINVAL;
    if (r->type == CW_NBD_CMD_BLOCK_STATUS && (!c->allocation || r->len == 0))
        return CW_NBD_EINVAL;
    if (r->type == CW_NBD_CMD_FLUSH)
        return r->off == 0 && r->len == 0 ? CW_NBD_OK : CW_NBD_EINVAL;
    if (r->off > c->size || r->len > c->size - r->off)
        return writes ? CW_NBD_ENOSPC : CW_NBD_EINVAL;
    if (r->type == CW_NBD_CMD_READ && r->len > CW_NBD_BLOCK_MAX)
        return (r->flags & CW_NBD_CMD_DF) != 0 ? CW_NBD_EOVERFLOW : CW_NBD_EINVAL;
    if (r->type == CW_NBD_CMD_WRITE && r->len > CW_NBD_BLOCK_MAX)
        return CW_NBD_EINVAL;
    return CW_NBD_OK;
}

/* Answers at once; a refused write's payload is still to come. */
static void
request_refuse(struct cw_nbd_conn *c, const struct nbd_req *r, uint32_t error)
{
    nbd_put_result(c, r, error);
    if (r->type != CW_NBD_CMD_WRITE || r->len == 0)
        return;
    c->phase = NBD_SKIP;
    c->skip = r->len;
}

/* Zeroes by TRIM give the space back, which the client allows unless it says NO_HOLE; unaligned
 * edges need ZERO, which keeps the rest of their blocks. */
static enum cw_io_op
zero_op(const struct nbd_req *r)
{
    bool aligned = r->off % CW_BLOCK_SIZE == 0 && r->len % CW_BLOCK_SIZE == 0;

    return aligned && (r->flags & CW_NBD_CMD_NO_HOLE) == 0 ? CW_IO_TRIM : CW_IO_ZERO;
}

static void
status_begin(struct cw_nbd_conn *c, struct nbd_req *r)
{
    r->status = calloc(1, sizeof(*r->status));
    if (r->status == NULL) {
        nbd_put_result(c, r, CW_NBD_ENOMEM);
        req_free(r);
        return;
    }
    r->len = (uint32_t)cw_min_u64(r->len, CW_NBD_STATUS_MAX);
    cw_list_push_back(&c->todo, &r->todo);
    nbd_todo(c);
}

static void
request_begin(struct cw_nbd_conn *c, struct nbd_req *r)
{
    switch (r->type) {
    case CW_NBD_CMD_READ:
        r->whole = !c->structured || ((r->flags & CW_NBD_CMD_DF) != 0 && r->len > CW_NBD_PIECE_MAX);
        cw_list_push_back(&c->todo, &r->todo);
        nbd_todo(c);
        return;
    case CW_NBD_CMD_WRITE:
        c->phase = NBD_PAYLOAD;
        c->writing = r;
        nbd_write_next(c);
        return;
    case CW_NBD_CMD_FLUSH:
        req_command(r, CW_IO_FLUSH);
        return;
    case CW_NBD_CMD_TRIM:
        req_command(r, CW_IO_TRIM);
        return;
    case CW_NBD_CMD_WRITE_ZEROES:
        req_command(r, zero_op(r));
        return;
    case CW_NBD_CMD_BLOCK_STATUS:
        status_begin(c, r);
        return;
    default: /* CACHE: a hint, and nothing is cached here */
        r->cut = r->len;
        req_finish(r);
        return;
    }
}

static struct nbd_req *
req_new(struct cw_nbd_conn *c, const struct nbd_req *parsed)
{
    struct nbd_req *r = malloc(sizeof(*r));

    if (r == NULL)
        return NULL;
    *r = *parsed;
    r->conn = c;
    cw_list_init(&r->pieces);
    cw_list_init(&r->todo);
    cw_list_push_back(&c->reqs, &r->link);
    c->n_reqs++;
    return r;
}

static bool
type_is_known(uint16_t type)
{
    return type <= CW_NBD_CMD_BLOCK_STATUS;
}

static void
request_take(struct cw_nbd_conn *c, const struct nbd_req *parsed)
{
    uint32_t error = type_is_known(parsed->type) ? request_check(c, parsed) : CW_NBD_EINVAL;
    struct nbd_req *r;

    if (error == CW_NBD_OK && parsed->len == 0 && parsed->type != CW_NBD_CMD_FLUSH) {
        nbd_put_result(c, parsed, CW_NBD_OK);
        return;
    }
    r = error == CW_NBD_OK ? req_new(c, parsed) : NULL;
    if (r == NULL)
        request_refuse(c, parsed, error != CW_NBD_OK ? error : CW_NBD_ENOMEM);
    else
        request_begin(c, r);
}

void
nbd_request(struct cw_nbd_conn *c)
{
    struct nbd_req r = {
        .flags = cw_be16_get(c->in + 4),
        .type = cw_be16_get(c->in + 6),
        .cookie = cw_be64_get(c->in + 8),
        .off = cw_be64_get(c->in + 16),
        .len = cw_be32_get(c->in + 24),
    };

    nbd_expect(c, NBD_REQUEST, CW_NBD_REQUEST_SIZE);
    if (cw_be32_get(c->in) != CW_NBD_REQUEST_MAGIC) {
        nbd_break(c, "garbage instead of a request");
    } else if (r.type == CW_NBD_CMD_WRITE && r.len > CW_NBD_SKIP_MAX) {
        nbd_break(c, "a write of more than 64 MiB");
    } else if (r.type == CW_NBD_CMD_DISC) {
        c->phase = NBD_CLOSING;
        c->ops->kick(c);
    } else {
        request_take(c, &r);
    }
}
