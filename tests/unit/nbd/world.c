#include "tests/unit/nbd/world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

static struct world *
world_of(const struct cw_nbd_conn *c)
{
    return cw_nbd_user(c);
}

uint64_t
world_random(struct world *w, uint64_t below)
{
    w->seed += UINT64_C(0x9e3779b97f4a7c15);
    return cw_mix64(w->seed) % below;
}

static void
op_list(struct cw_nbd_conn *c)
{
    world_of(c)->wants_list = true;
}

static void
op_info(struct cw_nbd_conn *c, const char *name)
{
    world_of(c)->wants_info = true;
}

static void
op_attach(struct cw_nbd_conn *c, const char *name)
{
    world_of(c)->wants_attach = true;
}

static void
op_submit(struct cw_nbd_conn *c, struct cw_io *io)
{
    struct world *w = world_of(c);

    w->n_submitted++;
    w->n_flushes += io->op == CW_IO_FLUSH;
    assert_true(io->op == CW_IO_FLUSH || io->len > 0);
    assert_true(io->off + io->len <= w->size);
    cw_list_push_back(&w->ios, &io->link);
}

static void
op_send(struct cw_nbd_conn *c, struct cw_nbd_train *t)
{
    struct world *w = world_of(c);
    uint64_t len = 0;

    if (w->n_out + t->len > w->cap_out) {
        w->cap_out = 2 * (w->n_out + t->len);
        w->out = realloc(w->out, w->cap_out);
    }
    assert_true(t->n_iov > 0 && t->n_iov <= CW_NBD_TRAIN_IOV);
    for (uint32_t i = 0; i < t->n_iov; i++) {
        memcpy(w->out + w->n_out, t->iov[i].iov_base, t->iov[i].iov_len);
        w->n_out += t->iov[i].iov_len;
        len += t->iov[i].iov_len;
    }
    assert_int_equal(len, t->len);
    if (w->keep_unsent)
        w->unsent += t->len;
    w->unsent_max = cw_max_u64(w->unsent_max, w->unsent);
    cw_nbd_train_free(t);
}

static uint64_t
op_unsent(const struct cw_nbd_conn *c)
{
    return world_of(c)->unsent;
}

static void
op_kick(struct cw_nbd_conn *c)
{
    world_of(c)->n_kicks++;
}

static void
op_log(struct cw_nbd_conn *c, enum cw_log_level level, const char *line)
{
    world_of(c)->n_logs++;
}

static const struct cw_nbd_ops ops = {
    .list = op_list,
    .info = op_info,
    .attach = op_attach,
    .submit = op_submit,
    .send = op_send,
    .unsent = op_unsent,
    .kick = op_kick,
    .log = op_log,
};

struct world *
world_new(void)
{
    struct world *w = calloc(1, sizeof(*w));

    w->size = WORLD_DISK_SIZE;
    /* Untouched pages cost nothing, whatever the allocator is told to fill memory with. */
    w->disk =
        mmap(NULL, WORLD_DISK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(w->disk != MAP_FAILED);
    w->fail_off = UINT64_MAX;
    cw_list_init(&w->ios);
    w->shared.pool = cw_buf_pool_new(128 * CW_MIB);
    w->shared.heads = cw_buf_pool_new(64 * CW_MIB);
    w->shared.window_bytes = 4 * CW_MIB;
    w->shared.whole_max = 1;
    w->c = cw_nbd_conn_new(&w->shared, &ops, w);
    assert_non_null(w->c);
    return w;
}

void
world_free(struct world *w)
{
    cw_nbd_dead(w->c);
    world_complete(w);
    if (w->wants_attach || w->wants_info)
        cw_nbd_on_export(w->c, CW_NBD_RES_SHUTDOWN, 0, "");
    if (w->wants_list)
        cw_nbd_on_list(w->c, CW_NBD_RES_SHUTDOWN, NULL, 0, "");
    assert_false(cw_nbd_busy(w->c));
    cw_nbd_conn_free(w->c);
    assert_int_equal(cw_buf_pool_used(w->shared.pool), 0);
    assert_int_equal(cw_buf_pool_used(w->shared.heads), 0);
    assert_int_equal(w->shared.n_whole, 0);
    cw_buf_pool_free(w->shared.pool);
    cw_buf_pool_free(w->shared.heads);
    munmap(w->disk, WORLD_DISK_SIZE);
    free(w->out);
    free(w);
}

/* ---- the volume ---- */

static int
io_result(struct world *w, const struct cw_io *io)
{
    bool covers =
        w->fail_off == UINT64_MAX || (io->off <= w->fail_off && w->fail_off < io->off + io->len);

    return covers ? w->fail : 0;
}

static void
io_read(struct world *w, struct cw_io *io)
{
    uint8_t *to = io->iov[0].iov_base;

    assert_int_equal(io->n_iov, 1);
    assert_int_equal(io->iov[0].iov_len, io->len);
    if ((io->flags & CW_IO_TAKE_BUF) != 0 && world_random(w, 2) == 0) {
        io->buf_off = 4096 * (uint32_t)world_random(w, 2);
        io->buf = cw_buf_get(w->shared.pool, io->len + io->buf_off);
        assert_non_null(io->buf);
        to = io->buf->data + io->buf_off;
    }
    memcpy(to, w->disk + io->off, io->len);
}

static void
io_do(struct world *w, struct cw_io *io)
{
    int res = io_result(w, io);

    if (res == 0 && io->op == CW_IO_READ)
        io_read(w, io);
    if (res == 0 && io->op == CW_IO_WRITE)
        memcpy(w->disk + io->off, io->buf->data + io->buf_off, io->len);
    if (res == 0 && (io->op == CW_IO_TRIM || io->op == CW_IO_ZERO))
        memset(w->disk + io->off, 0, io->len);
    if (io->op == CW_IO_WRITE)
        cw_buf_unref(io->buf);
    cw_list_remove(&io->link);
    io->done(io, res);
}

void
world_complete(struct world *w)
{
    do {
        while (!cw_list_empty(&w->ios)) {
            struct cw_io *first = cw_list_first(&w->ios, struct cw_io, link);
            struct cw_io *last = cw_list_entry(w->ios.prev, struct cw_io, link);

            io_do(w, world_random(w, 2) == 0 ? first : last);
        }
        cw_nbd_flush(w->c);
        cw_nbd_ready(w->c); /* what left makes room for more */
    } while (!cw_list_empty(&w->ios));
}

/* ---- the client ---- */

static size_t
send_some(struct world *w, const uint8_t *bytes, size_t len)
{
    uint8_t *to;
    uint32_t room;

    if (cw_nbd_payload(w->c, &to, &room) && world_random(w, 2) == 0) {
        uint32_t n = (uint32_t)cw_min_u64(room, len);

        memcpy(to, bytes, n);
        cw_nbd_payload_got(w->c, n);
        return n;
    }
    return cw_nbd_feed(w->c, bytes, len);
}

size_t
world_send(struct world *w, const void *bytes, size_t len, size_t max)
{
    const uint8_t *from = bytes;

    while (len > 0) {
        size_t n = cw_min_u64(len, max != 0 ? max : 1 + world_random(w, 1 << world_random(w, 21)));
        size_t taken = send_some(w, from, n);

        w->held_max = cw_max_u64(w->held_max, cw_buf_pool_used(w->shared.pool));
        from += taken;
        len -= taken;
        if (taken == 0 && cw_list_empty(&w->ios))
            break;
        if (taken == 0)
            world_complete(w);
    }
    cw_nbd_flush(w->c);
    return len;
}

const uint8_t *
world_take(struct world *w, size_t len)
{
    const uint8_t *at;

    cw_nbd_flush(w->c);
    at = w->out + w->at_out;
    assert_true(w->at_out + len <= w->n_out);
    w->at_out += len;
    return at;
}

bool
world_is_silent(struct world *w)
{
    cw_nbd_flush(w->c);
    return w->at_out == w->n_out;
}

void
world_option(struct world *w, uint32_t opt, const void *data, uint32_t len)
{
    uint8_t head[CW_NBD_OPT_SIZE];

    cw_be32_put(cw_be32_put(cw_be64_put(head, CW_NBD_OPT_MAGIC), opt), len);
    assert_int_equal(world_send(w, head, sizeof(head), 0), 0);
    if (len > 0)
        assert_int_equal(world_send(w, data, len, 0), 0);
}

void
world_handshake(struct world *w, uint32_t client_flags)
{
    uint8_t flags[4];
    const uint8_t *g = world_take(w, CW_NBD_GREETING_SIZE);

    assert_int_equal(cw_be64_get(g), CW_NBD_MAGIC);
    assert_int_equal(cw_be64_get(g + 8), CW_NBD_OPT_MAGIC);
    assert_int_equal(cw_be16_get(g + 16), 3);
    cw_be32_put(flags, client_flags);
    assert_int_equal(world_send(w, flags, 4, 0), 0);
}

void
world_go(struct world *w, uint32_t opt, const char *name)
{
    uint8_t data[4 + 256 + 2];
    uint32_t n = (uint32_t)strlen(name);

    memcpy(cw_be32_put(data, n), name, n);
    cw_be16_put(data + 4 + n, 0);
    world_option(w, opt, data, 4 + n + 2);
}

struct option_reply
world_option_reply(struct world *w)
{
    const uint8_t *h = world_take(w, CW_NBD_REP_SIZE);
    struct option_reply r = {
        .opt = cw_be32_get(h + 8),
        .type = cw_be32_get(h + 12),
        .len = cw_be32_get(h + 16),
    };

    assert_int_equal(cw_be64_get(h), CW_NBD_REP_MAGIC);
    r.data = world_take(w, r.len);
    return r;
}

static void
choose_allocation(struct world *w)
{
    static const uint8_t data[] = "\0\0\0\3vm1\0\0\0\1\0\0\0\xf" CW_NBD_META_ALLOCATION;

    world_option(w, CW_NBD_OPT_SET_META_CONTEXT, data, sizeof(data) - 1);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_META_CONTEXT);
    assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ACK);
}

void
world_negotiate(struct world *w, bool structured)
{
    world_handshake(w, 3);
    if (structured) {
        world_option(w, CW_NBD_OPT_STRUCTURED_REPLY, NULL, 0);
        assert_int_equal(world_option_reply(w).type, CW_NBD_REP_ACK);
        choose_allocation(w);
    }
    world_go(w, CW_NBD_OPT_GO, "vm1");
    assert_true(w->wants_attach);
    w->wants_attach = false;
    cw_nbd_on_export(w->c, CW_NBD_RES_OK, w->size, NULL);
    while (world_option_reply(w).type != CW_NBD_REP_ACK)
        ;
}

void
world_request(struct world *w, uint16_t type, uint16_t flags, uint64_t cookie, uint64_t off,
              uint32_t len, const void *payload)
{
    uint8_t head[CW_NBD_REQUEST_SIZE];
    uint8_t *p = cw_be32_put(head, CW_NBD_REQUEST_MAGIC);

    p = cw_be16_put(p, flags);
    p = cw_be16_put(p, type);
    p = cw_be64_put(p, cookie);
    p = cw_be64_put(p, off);
    cw_be32_put(p, len);
    assert_int_equal(world_send(w, head, sizeof(head), 0), 0);
    if (payload != NULL)
        assert_int_equal(world_send(w, payload, len, 0), 0);
}

uint32_t
world_simple(struct world *w, uint64_t cookie)
{
    const uint8_t *h = world_take(w, CW_NBD_SIMPLE_SIZE);

    assert_int_equal(cw_be32_get(h), CW_NBD_SIMPLE_MAGIC);
    assert_int_equal(cw_be64_get(h + 8), cookie);
    return cw_be32_get(h + 4);
}

static void
chunk_error(struct read_result *r, uint16_t type, const uint8_t *p, uint32_t n)
{
    uint32_t n_text = cw_be16_get(p + 4);

    r->error = cw_be32_get(p);
    r->n_errors++;
    assert_int_equal(n, 6 + n_text + (type == CW_NBD_CHUNK_ERROR_OFFSET ? 8 : 0));
    if (type == CW_NBD_CHUNK_ERROR_OFFSET)
        r->error_off = cw_be64_get(p + 6 + n_text);
}

struct read_result
world_structured(struct world *w, uint64_t cookie, uint64_t off, uint32_t len, uint8_t *to)
{
    struct read_result r = { 0 };
    uint64_t covered = 0;

    for (bool done = false; !done;) {
        const uint8_t *h = world_take(w, CW_NBD_CHUNK_SIZE);
        uint16_t type = cw_be16_get(h + 6);
        uint32_t n = cw_be32_get(h + 16);
        const uint8_t *p;

        assert_int_equal(cw_be32_get(h), CW_NBD_STRUCTURED_MAGIC);
        assert_int_equal(cw_be64_get(h + 8), cookie);
        done = (cw_be16_get(h + 4) & CW_NBD_CHUNK_DONE) != 0;
        p = world_take(w, n);
        if (type == CW_NBD_CHUNK_DATA) {
            uint64_t at = cw_be64_get(p);

            assert_true(n > 8 && at >= off && at + n - 8 <= off + len);
            memcpy(to + (at - off), p + 8, n - 8);
            covered += n - 8;
            r.n_data++;
        } else if (type == CW_NBD_CHUNK_HOLE) {
            uint64_t at = cw_be64_get(p);
            uint32_t hole = cw_be32_get(p + 8);

            assert_true(n == 12 && hole > 0 && at >= off && at + hole <= off + len);
            memset(to + (at - off), 0, hole);
            covered += hole;
            r.n_holes++;
        } else if (type != CW_NBD_CHUNK_NONE) {
            chunk_error(&r, type, p, n);
        }
    }
    r.none_left_out = covered == len;
    return r;
}
