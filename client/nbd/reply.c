/* nbd/reply.c - bytes for the client, gathered in trains. */
#include "client/nbd/conn.h"

#include <errno.h>
#include <stdio.h>

#include "common/codec/hash.h"

#define TRAIN_HEAD_MAX (CW_NBD_TRAIN_SIZE - (uint32_t)sizeof(struct cw_nbd_train))

/* Shorter runs of zeroes are cheaper to send than to describe. */
#define HOLE_MIN (32u * 1024)

static struct cw_nbd_train *
train_new(struct cw_buf_pool *heads)
{
    struct cw_buf *b = cw_buf_get(heads, CW_NBD_TRAIN_SIZE);
    struct cw_nbd_train *t;

    if (b == NULL)
        return NULL;
    t = (struct cw_nbd_train *)(void *)b->data;
    memset(t, 0, sizeof(*t));
    t->self = b;
    return t;
}

void
cw_nbd_train_free(struct cw_nbd_train *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n_bufs; i++)
        cw_buf_unref(t->bufs[i]);
    cw_buf_unref(t->self); /* frees t itself */
}

void
cw_nbd_flush(struct cw_nbd_conn *c)
{
    struct cw_nbd_train *t = c->train;

    c->train = NULL;
    if (t == NULL)
        return;
    if (c->broken)
        cw_nbd_train_free(t);
    else
        c->ops->send(c, t);
}

void
nbd_break(struct cw_nbd_conn *c, const char *why)
{
    if (c->broken)
        return;
    c->broken = true;
    c->ops->log(c, CW_LOG_NOTICE, why);
    c->ops->kick(c);
}

uint64_t
nbd_unsent(const struct cw_nbd_conn *c)
{
    return c->ops->unsent(c) + (c->train != NULL ? c->train->len : 0);
}

/* A train with room for head_len bytes in one piece and n_iov more entries; NULL when broken. */
static struct cw_nbd_train *
train_with_room(struct cw_nbd_conn *c, uint32_t head_len, uint32_t n_iov)
{
    struct cw_nbd_train *t = c->train;

    if (t != NULL && (t->n_head + head_len > TRAIN_HEAD_MAX ||
                      t->n_iov + n_iov > CW_NBD_TRAIN_IOV || t->n_bufs >= CW_LEN(t->bufs)))
        cw_nbd_flush(c);
    if (c->broken)
        return NULL;
    if (c->train == NULL) {
        c->train = train_new(c->shared->heads);
        if (c->train == NULL)
            nbd_break(c, "no memory for a reply");
        else
            c->ops->kick(c);
    }
    return c->train;
}

static void
train_add_head(struct cw_nbd_train *t, const void *bytes, uint32_t len)
{
    uint8_t *to = t->head + t->n_head;
    struct iovec *last = t->n_iov > 0 ? &t->iov[t->n_iov - 1] : NULL;

    memcpy(to, bytes, len);
    if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == to)
        last->iov_len += len;
    else
        t->iov[t->n_iov++] = (struct iovec){ .iov_base = to, .iov_len = len };
    t->n_head += len;
    t->len += len;
}

void
nbd_put(struct cw_nbd_conn *c, const void *bytes, uint32_t len)
{
    const uint8_t *from = bytes;

    while (len > 0) {
        uint32_t n = (uint32_t)cw_min_u64(len, TRAIN_HEAD_MAX / 2);
        struct cw_nbd_train *t = train_with_room(c, n, 1);

        if (t == NULL)
            return;
        train_add_head(t, from, n);
        from += n;
        len -= n;
    }
}

void
nbd_put_body(struct cw_nbd_conn *c, const void *head, uint32_t head_len, struct cw_buf *buf,
             const uint8_t *data, uint32_t len)
{
    struct cw_nbd_train *t = train_with_room(c, head_len, 2);

    if (t == NULL)
        return;
    if (head_len > 0)
        train_add_head(t, head, head_len);
    t->bufs[t->n_bufs++] = cw_buf_ref(buf);
    t->iov[t->n_iov++] = (struct iovec){ .iov_base = (void *)(uintptr_t)data, .iov_len = len };
    t->len += len;
}

/* ---- the shapes of replies ---- */

uint32_t
nbd_error_of(int res)
{
    switch (res) {
    case 0:
        return CW_NBD_OK;
    case -EPERM:
    case -EROFS:
    case -EACCES:
        return CW_NBD_EPERM;
    case -EINVAL:
        return CW_NBD_EINVAL;
    case -ENOMEM:
        return CW_NBD_ENOMEM;
    case -ENOSPC:
    case -EDQUOT:
    case -EFBIG:
        return CW_NBD_ENOSPC;
    case -EOVERFLOW:
        return CW_NBD_EOVERFLOW;
    case -EOPNOTSUPP:
        return CW_NBD_ENOTSUP;
    case -ESHUTDOWN:
        return CW_NBD_ESHUTDOWN;
    default:
        return CW_NBD_EIO;
    }
}

static const char *
error_text(uint32_t error)
{
    switch (error) {
    case CW_NBD_EPERM:
        return "not permitted";
    case CW_NBD_EIO:
        return "no copy could serve this range";
    case CW_NBD_EINVAL:
        return "the request is not valid";
    case CW_NBD_ENOSPC:
        return "no space left, or beyond the end of the volume";
    case CW_NBD_EOVERFLOW:
        return "too long for one reply";
    case CW_NBD_ESHUTDOWN:
        return "the volume was taken over, or the server is stopping";
    default:
        return "failed";
    }
}

static uint8_t *
simple_head(uint8_t *to, uint64_t cookie, uint32_t error)
{
    to = cw_be32_put(to, CW_NBD_SIMPLE_MAGIC);
    to = cw_be32_put(to, error);
    return cw_be64_put(to, cookie);
}

static uint8_t *
chunk_head(uint8_t *to, const struct nbd_req *r, uint16_t flags, uint16_t type, uint32_t len)
{
    to = cw_be32_put(to, CW_NBD_STRUCTURED_MAGIC);
    to = cw_be16_put(to, flags);
    to = cw_be16_put(to, type);
    to = cw_be64_put(to, r->cookie);
    return cw_be32_put(to, len);
}

/* off < 0: an error of the whole request. */
static void
put_error_chunk(struct cw_nbd_conn *c, const struct nbd_req *r, uint16_t flags, uint32_t error,
                bool with_off, uint64_t off)
{
    uint8_t bytes[CW_NBD_CHUNK_SIZE + 6 + 64 + 8];
    const char *text = error_text(error);
    uint16_t n = (uint16_t)strlen(text);
    uint8_t *p =
        chunk_head(bytes, r, flags, with_off ? CW_NBD_CHUNK_ERROR_OFFSET : CW_NBD_CHUNK_ERROR,
                   6u + n + (with_off ? 8 : 0));

    cw_assert(n <= 64);
    p = cw_be32_put(p, error);
    p = cw_be16_put(p, n);
    memcpy(p, text, n);
    p += n;
    if (with_off)
        p = cw_be64_put(p, off);
    nbd_put(c, bytes, (uint32_t)(p - bytes));
}

void
nbd_put_error_at(struct cw_nbd_conn *c, const struct nbd_req *r, uint16_t flags, uint32_t error,
                 uint64_t off)
{
    put_error_chunk(c, r, flags, error, true, off);
}

void
nbd_put_result(struct cw_nbd_conn *c, const struct nbd_req *r, uint32_t error)
{
    uint8_t bytes[CW_NBD_CHUNK_SIZE];
    uint8_t *end;

    if (c->structured && error != CW_NBD_OK) {
        put_error_chunk(c, r, CW_NBD_CHUNK_DONE, error, false, 0);
        return;
    }
    if (c->structured && r->type == CW_NBD_CMD_READ)
        end = chunk_head(bytes, r, CW_NBD_CHUNK_DONE, CW_NBD_CHUNK_NONE, 0);
    else
        end = simple_head(bytes, r->cookie, error);
    nbd_put(c, bytes, (uint32_t)(end - bytes));
}

static bool
bytes_are_zero(const uint8_t *p, uint32_t len)
{
    if (len == CW_BLOCK_SIZE)
        return cw_block_is_zero(p);
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* The first run of zero blocks in data[from, len) that is worth a hole; both are len if none. */
static void
find_hole(const uint8_t *data, uint32_t len, uint32_t from, uint32_t *ret_begin, uint32_t *ret_end)
{
    uint32_t begin = from, at = from;

    while (at < len) {
        uint32_t n = (uint32_t)cw_min_u64(CW_BLOCK_SIZE, len - at);

        if (!bytes_are_zero(data + at, n)) {
            if (at - begin >= HOLE_MIN)
                break;
            begin = at + n;
        }
        at += n;
    }
    if (at - begin < HOLE_MIN && !(begin == 0 && at == len))
        begin = at = len;
    *ret_begin = begin;
    *ret_end = at;
}

/* The most runs that a piece can be: short data, shortest hole, .. */
CW_STATIC_ASSERT(2 * (CW_NBD_PIECE_MAX / (HOLE_MIN + CW_BLOCK_SIZE) + 1) <=
                 NBD_STATUS_RUNS_MAX / 2);

static void
status_add(struct nbd_status *st, uint32_t len, uint32_t state)
{
    struct nbd_run *last = st->n > 0 ? &st->runs[st->n - 1] : NULL;

    if (len == 0)
        return;
    if (state == 0)
        st->data_bytes += len;
    if (last != NULL && last->state == state) {
        last->len += len;
        return;
    }
    cw_assert(st->n < NBD_STATUS_RUNS_MAX);
    st->runs[st->n++] = (struct nbd_run){ .len = len, .state = state };
}

void
nbd_status_note(struct nbd_status *st, const struct nbd_piece *p)
{
    uint32_t at = 0;

    while (at < p->len) {
        uint32_t begin, end;

        find_hole(p->data, p->len, at, &begin, &end);
        status_add(st, begin - at, 0);
        status_add(st, end - begin, CW_NBD_STATE_HOLE | CW_NBD_STATE_ZERO);
        at = end;
    }
}

void
nbd_put_status(struct cw_nbd_conn *c, const struct nbd_req *r, uint32_t n)
{
    uint8_t bytes[CW_NBD_CHUNK_SIZE + 4 + sizeof(r->status->runs)];
    uint8_t *p = chunk_head(bytes, r, CW_NBD_CHUNK_DONE, CW_NBD_CHUNK_BLOCK_STATUS, 4 + 8 * n);

    cw_assert(n > 0 && n <= r->status->n);
    p = cw_be32_put(p, CW_NBD_META_ID);
    for (uint32_t i = 0; i < n; i++)
        p = cw_be32_put(cw_be32_put(p, r->status->runs[i].len), r->status->runs[i].state);
    nbd_put(c, bytes, (uint32_t)(p - bytes));
}

static void
put_data(struct cw_nbd_conn *c, const struct nbd_req *r, const struct nbd_piece *p, uint32_t begin,
         uint32_t end, uint16_t flags)
{
    uint8_t head[CW_NBD_CHUNK_SIZE + 8];

    cw_be64_put(chunk_head(head, r, flags, CW_NBD_CHUNK_DATA, 8 + end - begin), p->io.off + begin);
    nbd_put_body(c, head, sizeof(head), p->buf, p->data + begin, end - begin);
}

static void
put_hole(struct cw_nbd_conn *c, const struct nbd_req *r, const struct nbd_piece *p, uint32_t begin,
         uint32_t end, uint16_t flags)
{
    uint8_t bytes[CW_NBD_CHUNK_SIZE + 12];
    uint8_t *at = chunk_head(bytes, r, flags, CW_NBD_CHUNK_HOLE, 12);

    cw_be32_put(cw_be64_put(at, p->io.off + begin), end - begin);
    nbd_put(c, bytes, sizeof(bytes));
}

void
nbd_put_content(struct cw_nbd_conn *c, const struct nbd_req *r, const struct nbd_piece *p,
                uint16_t flags)
{
    uint32_t at = 0;

    while (at < p->len) {
        uint32_t begin, end;

        find_hole(p->data, p->len, at, &begin, &end);
        if ((r->flags & CW_NBD_CMD_DF) != 0 && !(begin == 0 && end == p->len))
            begin = end = p->len;
        if (begin > at)
            put_data(c, r, p, at, begin, begin == p->len ? flags : 0);
        if (end > begin)
            put_hole(c, r, p, begin, end, end == p->len ? flags : 0);
        at = end;
    }
}

void
nbd_put_whole(struct cw_nbd_conn *c, struct nbd_req *r)
{
    uint8_t head[CW_NBD_CHUNK_SIZE + 8];
    uint8_t *end;

    if (c->structured)
        end = cw_be64_put(chunk_head(head, r, CW_NBD_CHUNK_DONE, CW_NBD_CHUNK_DATA, 8 + r->len),
                          r->off);
    else
        end = simple_head(head, r->cookie, CW_NBD_OK);
    nbd_put(c, head, (uint32_t)(end - head));
    CW_LIST_EACH (it, &r->pieces) {
        struct nbd_piece *p = cw_list_entry(it, struct nbd_piece, link);

        nbd_put_body(c, NULL, 0, p->buf, p->data, p->len);
    }
}
