/* A request cut into parts: each lies in one shard and is one record or one read.
 *
 * Parts and READ calls come from slabs that are never given back: their number is bounded by the
 * requests that the callers have under way. */
#include "common/owner/room.h"

#include <errno.h>
#include <stdlib.h>

#define SLAB_PARTS 64

struct slab_head {
    struct cw_list node;
};

static bool
parts_grow(struct cw_owner *o)
{
    struct {
        struct slab_head head;
        struct part parts[SLAB_PARTS];
    } *slab = calloc(1, sizeof(*slab));

    if (slab == NULL)
        return false;
    cw_list_push_back(&o->slabs, &slab->head.node);
    for (size_t i = 0; i < SLAB_PARTS; i++)
        cw_list_push_back(&o->free_parts, &slab->parts[i].node);
    return true;
}

struct part *
cw_own_part_new(struct cw_volume *v)
{
    struct cw_owner *o = v->o;
    struct part *p;

    if (cw_list_empty(&o->free_parts) && !parts_grow(o))
        return NULL;
    p = cw_list_entry(o->free_parts.prev, struct part, node); /* the warm one */
    cw_list_remove(&p->node);
    *p = (struct part){ .o = o, .v = v, .begun_ns = cw_own_now(o) };
    cw_list_init(&p->node);
    cw_list_init(&p->lock_node);
    cw_list_init(&p->waiters);
    v->n_parts++;
    return p;
}

void
cw_own_part_free(struct part *p)
{
    struct cw_owner *o = p->o;

    cw_assert(!p->locked && cw_list_empty(&p->waiters));
    cw_list_remove(&p->node);
    if (p->rc != NULL)
        p->rc->part = NULL;
    cw_buf_unref(p->buf);
    cw_own_salvage_free(p);
    p->v->n_parts--;
    cw_list_push_back(&o->free_parts, &p->node);
}

struct rcall *
cw_own_rcall_new(struct cw_owner *o)
{
    struct {
        struct slab_head head;
        struct rcall rcs[SLAB_PARTS];
    } * slab;
    struct rcall *rc;

    if (cw_list_empty(&o->free_rcalls)) {
        slab = calloc(1, sizeof(*slab));
        if (slab == NULL)
            return NULL;
        cw_list_push_back(&o->slabs, &slab->head.node);
        for (size_t i = 0; i < SLAB_PARTS; i++)
            cw_list_push_back(&o->free_rcalls, &slab->rcs[i].free_node);
    }
    rc = cw_list_entry(o->free_rcalls.prev, struct rcall, free_node);
    cw_list_remove(&rc->free_node);
    return rc;
}

void
cw_own_rcall_free(struct cw_owner *o, struct rcall *rc)
{
    rc->part = NULL;
    cw_list_push_back(&o->free_rcalls, &rc->free_node);
}

/* ---- ends ---- */

static void
io_count(const struct cw_io *io)
{
    struct cw_volume *v = io->volume;
    uint64_t took = cw_own_now(v->o) - io->begun_ns;

    if (io->op == CW_IO_READ) {
        v->reads++;
        v->read_bytes += io->len;
        cw_histogram_add(&v->read_now, took);
    } else if (io->op != CW_IO_FLUSH) {
        v->writes++;
        v->write_bytes += io->op == CW_IO_WRITE ? io->len : 0;
        cw_histogram_add(&v->write_now, took);
    }
}

void
cw_own_io_done(struct cw_io *io, int res)
{
    io->res = io->res != 0 ? io->res : res;
    if (--io->n_parts > 0)
        return;
    if (io->res == 0)
        io_count(io);
    cw_list_push_back(&io->volume->o->done, &io->link);
}

/* The part's end. Its lock passes on, its memory is free again. */
void
cw_own_part_done(struct part *p, int res)
{
    struct cw_io *io = p->io;
    struct cw_volume *v = p->v;
    struct shard *s = p->s;

    cw_list_remove(&p->node);
    if (p->locked)
        cw_own_lock_drop(p);
    if (p->done_fn != NULL) {
        p->done_fn(p, res); /* frees it */
    } else {
        cw_own_part_free(p);
        cw_own_io_done(io, res);
    }
    if (v->state == CW_VOLUME_RELEASING && s != NULL)
        cw_own_mark_dirty(s);
}

/* ---- bytes between the caller and blocks ---- */

/* Calls for each piece of the caller's memory that holds [off, off + len) of the request. */
static void
io_copy(const struct cw_io *io, uint64_t off, uint8_t *blocks, const uint8_t *from, uint32_t len)
{
    for (uint32_t i = 0; i < io->n_iov && len > 0; i++) {
        const struct iovec *v = &io->iov[i];
        uint32_t n;

        if (off >= v->iov_len) {
            off -= v->iov_len;
            continue;
        }
        n = (uint32_t)cw_min_u64(len, v->iov_len - off);
        if (blocks != NULL) {
            memcpy(blocks, (const uint8_t *)v->iov_base + off, n);
            blocks += n;
        } else if (from != NULL) {
            memcpy((uint8_t *)v->iov_base + off, from, n);
            from += n;
        } else {
            memset((uint8_t *)v->iov_base + off, 0, n);
        }
        len -= n;
        off = 0;
    }
}

void
cw_own_io_copy_in(const struct cw_io *io, uint64_t off, uint8_t *to, uint32_t len)
{
    io_copy(io, off, to, NULL, len);
}

void
cw_own_io_copy_out(struct part *p, const uint8_t *blocks)
{
    io_copy(p->io, p->io_off, NULL, blocks != NULL ? blocks + p->head : NULL, p->len);
}

/* ---- cutting ---- */

static void
lock_start(struct part *p)
{
    if (!cw_own_lock_take(p))
        return;
    p->wait_seq = cw_own_spans_max(p->s, p->lba, p->nblk);
    if (p->wait_seq > p->s->acked)
        cw_own_read_wait(p);
    else
        p->done_fn(p, 0);
}

void
cw_own_part_start(struct part *p)
{
    if (p->s->state == SHARD_CLOSED)
        cw_own_part_done(p, -ESHUTDOWN);
    else if (p->kind == PART_READ)
        cw_own_read_start(p);
    else if (p->kind == PART_LOCK)
        lock_start(p);
    else if (p->kind == PART_FLUSH)
        cw_own_flush_start(p);
    else
        cw_own_write_start(p);
}

static enum part_kind
kind_of(enum cw_io_op op)
{
    switch (op) {
    case CW_IO_READ:
        return PART_READ;
    case CW_IO_WRITE:
        return PART_WRITE;
    case CW_IO_TRIM:
        return PART_TRIM;
    case CW_IO_ZERO:
        return PART_ZERO;
    case CW_IO_FLUSH:
        return PART_FLUSH;
    }
    cw_unreachable();
}

/* How many bytes from off on make one part. */
static uint64_t
part_len(const struct cw_io *io, uint64_t off, uint64_t left)
{
    uint64_t shard_left = CW_SHARD_BLOCKS * CW_BLOCK_SIZE - off % (CW_SHARD_BLOCKS * CW_BLOCK_SIZE);
    uint64_t head = off % CW_BLOCK_SIZE, max;

    left = cw_min_u64(left, shard_left);
    if (io->op == CW_IO_READ || io->op == CW_IO_WRITE)
        return cw_min_u64(left, CW_IO_BLOCKS_MAX * CW_BLOCK_SIZE - head);
    /* ZERO and TRIM: unaligned edges are parts of their own, written as zeroes */
    if (head != 0)
        return cw_min_u64(left, CW_BLOCK_SIZE - head);
    max = (uint64_t)CW_WIRE_NBLK_MAX * CW_BLOCK_SIZE;
    return left < CW_BLOCK_SIZE ? left : cw_min_u64(cw_align_down(left, CW_BLOCK_SIZE), max);
}

static bool
io_cut(struct cw_volume *v, struct cw_io *io)
{
    uint64_t end = io->off + io->len;

    for (uint64_t off = io->off, n; off < end; off += n) {
        struct part *p = cw_own_part_new(v);
        uint64_t block = off / CW_BLOCK_SIZE;

        if (p == NULL)
            return false;
        n = part_len(io, off, end - off);
        p->io = io;
        p->kind = kind_of(io->op);
        p->s = v->shards[block / CW_SHARD_BLOCKS];
        p->lba = block % CW_SHARD_BLOCKS;
        p->head = (uint32_t)(off % CW_BLOCK_SIZE);
        p->nblk = (uint32_t)cw_div_up(p->head + n, CW_BLOCK_SIZE);
        p->len = (uint32_t)cw_min_u64(n, UINT32_MAX);
        p->io_off = off - io->off;
        p->rmw = p->kind != PART_READ && (p->head != 0 || n % CW_BLOCK_SIZE != 0);
        if (io->op == CW_IO_WRITE && io->buf != NULL) {
            p->buf = cw_buf_ref(io->buf);
            p->buf_off = io->buf_off + (uint32_t)p->io_off;
        }
        io->n_parts++;
        cw_own_part_start(p);
    }
    return true;
}

/* A shard that is added to a volume in use holds nothing that was told. */
static bool
flush_concerns(const struct shard *s)
{
    return s->state == SHARD_ACTIVE ? s->acked < s->told : s->v->state == CW_VOLUME_OPENING;
}

static bool
io_cut_flush(struct cw_volume *v, struct cw_io *io)
{
    for (uint32_t i = 0; i < v->n_shards; i++) {
        struct part *p;

        if (!flush_concerns(v->shards[i]))
            continue;
        p = cw_own_part_new(v);
        if (p == NULL)
            return false;
        p->io = io;
        p->kind = PART_FLUSH;
        p->s = v->shards[i];
        io->n_parts++;
        cw_own_flush_start(p);
    }
    return true;
}

static int
io_check(const struct cw_volume *v, const struct cw_io *io)
{
    if (v->state != CW_VOLUME_OPENING && v->state != CW_VOLUME_READY)
        return -ESHUTDOWN;
    if (io->op != CW_IO_FLUSH && (io->off > v->size_bytes || io->len > v->size_bytes - io->off))
        return -EINVAL;
    return 0;
}

static void
io_start(struct cw_volume *v, struct cw_io *io, int res)
{
    struct cw_buf *given = io->op == CW_IO_WRITE ? io->buf : NULL;

    if (io->op == CW_IO_READ)
        io->buf = NULL;
    if (res == 0 && !(io->op == CW_IO_FLUSH ? io_cut_flush(v, io) : io_cut(v, io)))
        res = -ENOMEM;
    if (given != NULL) {
        io->buf = NULL;
        cw_buf_unref(given);
    }
    cw_own_io_done(io, res);
}

/* ---- limits ---- */

static bool
limit_take(struct cw_volume *v, const struct cw_io *io, uint64_t *ret_ns)
{
    bool data = io->op == CW_IO_READ || io->op == CW_IO_WRITE;

    return cw_limit_take(&v->limit, cw_own_now(v->o), data ? io->len : 0, ret_ns);
}

void
cw_own_limit_fired(struct cw_timer *t)
{
    struct cw_volume *v = cw_container_of(t, struct cw_volume, limit_timer);
    uint64_t at;

    while (!cw_list_empty(&v->limited)) {
        struct cw_io *io = cw_list_entry(v->limited.next, struct cw_io, link);

        if (!limit_take(v, io, &at)) {
            cw_timer_set(v->o->env, &v->limit_timer, at);
            return;
        }
        cw_list_remove(&io->link);
        io_start(v, io, 0);
    }
}

void
cw_own_limit_flush(struct cw_volume *v)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&v->limited)) != NULL)
        io_start(v, cw_list_entry(node, struct cw_io, link), 0);
}

void
cw_own_limit_fail(struct cw_volume *v, int res)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&v->limited)) != NULL)
        io_start(v, cw_list_entry(node, struct cw_io, link), res);
}

void
cw_volume_set_limits(struct cw_volume *v, uint64_t iops, uint64_t bytes_per_s)
{
    cw_limit_set(&v->limit, iops, bytes_per_s);
    if (!cw_list_empty(&v->limited))
        cw_timer_set(v->o->env, &v->limit_timer, cw_own_now(v->o));
}

void
cw_io_submit(struct cw_volume *v, struct cw_io *io)
{
    int res = io_check(v, io);
    uint64_t at;

    io->volume = v;
    io->begun_ns = cw_own_now(v->o);
    io->n_parts = 1; /* given back by io_start */
    io->res = 0;
    if (res == 0 && io->op != CW_IO_FLUSH && (v->limit.iops | v->limit.bytes_per_s) != 0) {
        if (!cw_list_empty(&v->limited)) {
            cw_list_push_back(&v->limited, &io->link);
            return;
        }
        if (!limit_take(v, io, &at)) {
            cw_list_push_back(&v->limited, &io->link);
            cw_timer_set(v->o->env, &v->limit_timer, at);
            return;
        }
    }
    io_start(v, io, res);
}
