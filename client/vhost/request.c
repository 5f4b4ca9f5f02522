/* vhost/request.c - virtio-blk: a chain to requests on the volume, their results to a status.
 *
 *   chain: | header 16 | data or ranges ..|  readable      |.. data | status 1 |  writable
 */
#include <errno.h>
#include <stdlib.h>

#include "client/vhost/device.h"

/* ---- data of a chain ---- */

static bool
run_copy(const struct cw_guest *g, uint64_t addr, uint8_t *buf, uint64_t len, bool write)
{
    return write ? cw_guest_write(g, addr, buf, len) : cw_guest_read(g, addr, buf, len);
}

/* len bytes from `off` on of n segments' data. False: not all of it is the guest's. */
static bool
segs_copy(const struct cw_guest *g, const struct cw_vq_seg *seg, uint32_t n, uint64_t off,
          void *buf, uint64_t len, bool write)
{
    uint8_t *at = buf;

    for (uint32_t i = 0; i < n && len > 0; i++) {
        uint64_t part;

        if (off >= seg[i].len) {
            off -= seg[i].len;
            continue;
        }
        part = cw_min_u64(len, seg[i].len - off);
        if (seg[i].addr > UINT64_MAX - seg[i].len ||
            !run_copy(g, seg[i].addr + off, at, part, write))
            return false;
        at += part;
        len -= part;
        off = 0;
    }
    return len == 0;
}

static bool
out_copy(const struct vh_req *r, uint64_t off, void *to, uint64_t len)
{
    return segs_copy(&r->dev->guest, r->seg, r->n_out, off, to, len, false);
}

static bool
in_copy(const struct vh_req *r, uint64_t off, const void *from, uint64_t len)
{
    return segs_copy(&r->dev->guest, r->seg + r->n_out, r->n_in, off, (void *)(uintptr_t)from, len,
                     true);
}

/* ---- the end of a request ---- */

static void
req_free(struct vh_req *r)
{
    cw_list_remove(&r->todo);
    cw_list_remove(&r->link);
    r->dev->queue[r->queue].n_reqs--;
    r->dev->n_reqs--;
    r->dev->ops->wake(r->dev);
    free(r);
}

static uint8_t
status_of(int res)
{
    if (res == 0)
        return CW_BLK_S_OK;
    return res == -EOPNOTSUPP ? CW_BLK_S_UNSUPP : CW_BLK_S_IOERR;
}

static void
req_answer(struct vh_req *r)
{
    struct cw_vhost *d = r->dev;
    struct vh_queue *q = &d->queue[r->queue];
    uint8_t status = status_of(r->res);

    if (!d->dead && q->vq.started && q->epoch == r->epoch) {
        (void)in_copy(r, r->in_len - 1, &status, 1); /* where it is not the guest's, nobody looks */
        cw_vq_push(&q->vq, &r->token, (uint32_t)r->in_len);
        cw_vq_dirty(&q->vq, &r->dev->guest);
        q->signal = true;
    }
    req_free(r);
}

/* ---- pieces ---- */

static void
piece_free(struct vh_piece *p)
{
    p->req->dev->held_bytes -= p->len;
    cw_buf_unref(p->buf);
    free(p);
}

static void req_go_on(struct vh_req *r);

static void
on_done(struct cw_io *io, int res)
{
    struct vh_piece *p = cw_container_of(io, struct vh_piece, io);
    struct vh_req *r = p->req;
    const uint8_t *data = p->buf != NULL ? p->buf->data : NULL;

    if (io->op == CW_IO_READ && io->buf != NULL) { /* it is in the buffer that it came in */
        cw_buf_unref(p->buf);
        p->buf = io->buf;
        data = io->buf->data + io->buf_off;
    }
    if (res == 0 && io->op == CW_IO_READ && !r->dev->dead &&
        r->dev->queue[r->queue].epoch == r->epoch && !in_copy(r, p->at, data, p->len))
        res = -EFAULT;
    if (res != 0 && r->res == 0)
        r->res = res;
    r->dev->n_ios--;
    r->n_flying--;
    piece_free(p);
    req_go_on(r);
}

static struct vh_piece *
piece_new(struct vh_req *r, enum cw_io_op op, uint32_t len)
{
    struct vh_piece *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->req = r;
    p->io = (struct cw_io){ .op = op, .done = on_done };
    if (len > 0) {
        p->buf = cw_buf_get(r->dev->opts.pool, len);
        if (p->buf == NULL) {
            free(p);
            return NULL;
        }
    }
    p->len = len;
    r->dev->held_bytes += len;
    return p;
}

static void
piece_submit(struct vh_piece *p)
{
    p->req->n_flying++;
    p->req->dev->n_ios++;
    p->req->dev->ops->submit(p->req->dev, &p->io);
}

static bool
window_allows(const struct cw_vhost *d, uint32_t len)
{
    return d->held_bytes == 0 || d->held_bytes + len <= d->opts.window_bytes;
}

/* The next piece of data. False: there is no memory for it now. */
static bool
data_next(struct vh_req *r)
{
    uint32_t len = (uint32_t)cw_min_u64(r->len - r->cut, CW_VHOST_PIECE_MAX);
    bool write = r->type == CW_BLK_T_OUT;
    struct vh_piece *p = NULL;

    if (window_allows(r->dev, len))
        p = piece_new(r, write ? CW_IO_WRITE : CW_IO_READ, len);
    if (p == NULL)
        return false;
    p->at = r->cut;
    p->io.off = r->off + r->cut;
    p->io.len = len;
    r->cut += len;
    if (!write) {
        p->iov = (struct iovec){ .iov_base = p->buf->data, .iov_len = len };
        p->io.iov = &p->iov;
        p->io.n_iov = 1;
        p->io.flags = CW_IO_TAKE_BUF;
    } else if (!out_copy(r, sizeof(struct cw_blk_header) + p->at, p->buf->data, len) ||
               cw_guest_lost()) {
        piece_free(p);
        r->res = -EFAULT;
        r->cut = r->len;
        return true;
    } else {
        p->io.buf = p->buf; /* the reference goes with it */
        p->buf = NULL;
    }
    piece_submit(p);
    return true;
}

/* Zeroes by TRIM give the space back, where the guest allows it; unaligned edges need ZERO, which
 * keeps the rest of their blocks. */
static enum cw_io_op
range_op(const struct vh_req *r, const struct cw_blk_range *range)
{
    bool aligned = range->sector % 8 == 0 && range->n_sectors % 8 == 0;

    if (r->type == CW_BLK_T_DISCARD || (aligned && (range->flags & CW_BLK_UNMAP) != 0))
        return CW_IO_TRIM;
    return CW_IO_ZERO;
}

/* Without data: a flush, or one range. */
static bool
command_next(struct vh_req *r, enum cw_io_op op, uint64_t off, uint64_t len)
{
    struct vh_piece *p = piece_new(r, op, 0);

    if (p == NULL)
        return false;
    p->io.off = off;
    p->io.len = len;
    piece_submit(p);
    return true;
}

static bool
range_next(struct vh_req *r)
{
    const struct cw_blk_range *range = &r->ranges[r->cut];

    if (range->n_sectors > 0 && !command_next(r, range_op(r, range), range->sector * CW_BLK_SECTOR,
                                              (uint64_t)range->n_sectors * CW_BLK_SECTOR))
        return false;
    r->cut++;
    return true;
}

static bool
req_next(struct vh_req *r)
{
    if (r->type == CW_BLK_T_IN || r->type == CW_BLK_T_OUT)
        return data_next(r);
    if (r->type != CW_BLK_T_FLUSH)
        return range_next(r);
    r->cut = r->len;
    return command_next(r, CW_IO_FLUSH, 0, 0);
}

/* A driver that knows no FLUSH takes what is written for durable. */
static bool
req_wants_flush(const struct vh_req *r)
{
    bool writes = r->type == CW_BLK_T_OUT || r->type == CW_BLK_T_WRITE_ZEROES;

    return writes && r->res == 0 && !r->flushing &&
           (r->dev->features & CW_BIT(CW_BLK_F_FLUSH)) == 0;
}

/* Everything of it that was handed on has come back, and nothing is to be handed on? */
static void
req_go_on(struct vh_req *r)
{
    if (r->n_flying > 0 || r->cut < r->len)
        return;
    if (!r->dev->dead && req_wants_flush(r)) {
        r->flushing = true;
        if (command_next(r, CW_IO_FLUSH, 0, 0))
            return;
        r->res = -ENOMEM;
    }
    req_answer(r);
}

void
vh_todo(struct cw_vhost *d)
{
    struct vh_req *r;

    while ((r = cw_list_first(&d->todo, struct vh_req, todo)) != NULL) {
        r->n_flying++; /* it does not end while it is being cut */
        while (r->cut < r->len && req_next(r)) {
        }
        r->n_flying--;
        if (r->cut < r->len)
            return;
        cw_list_remove(&r->todo);
        req_go_on(r);
    }
}

bool
vh_may_take(const struct cw_vhost *d)
{
    return cw_list_empty(&d->todo);
}

void
vh_drop_unsubmitted(struct cw_vhost *d)
{
    CW_LIST_EACH_SAFE (it, &d->reqs) {
        struct vh_req *r = cw_list_entry(it, struct vh_req, link);

        cw_list_remove(&r->todo);
        r->cut = r->len;
        if (r->n_flying == 0)
            req_free(r);
    }
}

/* ---- a chain ---- */

static int
range_check(const struct cw_vhost *d, uint64_t sector, uint64_t len)
{
    uint64_t size = d->opts.size_bytes;

    if (sector > size / CW_BLK_SECTOR || len > size - sector * CW_BLK_SECTOR)
        return -EINVAL;
    return 0;
}

static int
data_check(struct vh_req *r, uint64_t sector, uint64_t len)
{
    if (len % CW_BLK_SECTOR != 0 || len > CW_VHOST_DATA_MAX)
        return -EINVAL;
    r->off = sector * CW_BLK_SECTOR;
    r->len = len;
    return range_check(r->dev, sector, len);
}

static int
ranges_check(struct vh_req *r, uint64_t out_len)
{
    uint32_t may = r->type == CW_BLK_T_WRITE_ZEROES ? CW_BLK_UNMAP : 0;
    uint64_t bytes = out_len - sizeof(struct cw_blk_header);

    if (bytes % sizeof(*r->ranges) != 0 || bytes / sizeof(*r->ranges) > CW_VHOST_RANGES_MAX)
        return -EINVAL;
    if (!out_copy(r, sizeof(struct cw_blk_header), r->ranges, bytes))
        return -EFAULT;
    r->len = bytes / sizeof(*r->ranges);
    for (uint64_t i = 0; i < r->len; i++) {
        const struct cw_blk_range *range = &r->ranges[i];
        int res = range_check(r->dev, range->sector, (uint64_t)range->n_sectors * CW_BLK_SECTOR);

        if ((range->flags & ~may) != 0)
            return -EOPNOTSUPP;
        if (res != 0)
            return res;
    }
    return 0;
}

static int
id_answer(struct vh_req *r)
{
    char id[CW_BLK_ID_SIZE] = { 0 };

    memcpy(id, r->dev->opts.id, cw_min_u64(strlen(r->dev->opts.id), sizeof(id)));
    return in_copy(r, 0, id, cw_min_u64(sizeof(id), r->in_len - 1)) ? 0 : -EFAULT;
}

static int
req_check(struct vh_req *r, uint64_t sector, uint64_t out_len)
{
    bool writes = r->type != CW_BLK_T_IN && r->type != CW_BLK_T_FLUSH && r->type != CW_BLK_T_GET_ID;

    if (writes && r->dev->opts.read_only)
        return -EROFS;
    switch (r->type) {
    case CW_BLK_T_IN:
        return data_check(r, sector, r->in_len - 1);
    case CW_BLK_T_OUT:
        return data_check(r, sector, out_len - sizeof(struct cw_blk_header));
    case CW_BLK_T_FLUSH:
        r->len = 1;
        return 0;
    case CW_BLK_T_DISCARD:
    case CW_BLK_T_WRITE_ZEROES:
        return ranges_check(r, out_len);
    case CW_BLK_T_GET_ID:
        return id_answer(r);
    default:
        return -EOPNOTSUPP;
    }
}

static struct vh_req *
req_new(struct cw_vhost *d, uint32_t queue, const struct cw_vq_chain *c)
{
    size_t segs = (c->n_out + c->n_in) * sizeof(struct cw_vq_seg);
    struct vh_req *r =
        calloc(1, sizeof(*r) + segs + CW_VHOST_RANGES_MAX * sizeof(struct cw_blk_range));

    if (r == NULL)
        return NULL;
    r->dev = d;
    r->queue = queue;
    r->epoch = d->queue[queue].epoch;
    r->token = c->token;
    r->n_out = c->n_out;
    r->n_in = c->n_in;
    r->in_len = c->in_len;
    memcpy(r->seg, c->seg, segs);
    r->ranges = (struct cw_blk_range *)(void *)(r->seg + c->n_out + c->n_in);
    cw_list_push_back(&d->reqs, &r->link);
    cw_list_init(&r->todo);
    d->queue[queue].n_reqs++;
    d->n_reqs++;
    return r;
}

void
vh_request_take(struct cw_vhost *d, uint32_t queue)
{
    const struct cw_vq_chain *c = &d->chain;
    struct cw_blk_header h = { 0 };
    struct vh_req *r = NULL;

    if (c->out_len < sizeof(h) || c->in_len < 1)
        d->queue[queue].vq.why = "a request without a header or room for its status";
    else if ((r = req_new(d, queue, c)) == NULL)
        d->queue[queue].vq.why = "out of memory";
    if (r == NULL) {
        vh_queue_broken(d, queue);
        return;
    }
    if (!out_copy(r, 0, &h, sizeof(h)))
        r->res = -EFAULT;
    r->type = h.type;
    if (r->res == 0)
        r->res = req_check(r, h.sector, c->out_len);
    if (r->res != 0)
        r->len = 0;
    cw_list_push_back(&d->todo, &r->todo);
    vh_todo(d);
}
