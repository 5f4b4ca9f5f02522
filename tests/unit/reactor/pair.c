#include "tests/unit/reactor/pair.h"

#include <sys/socket.h>

#include "common/base/prng.h"
#include "common/reactor/sock.h"

static uint64_t
sum_add(uint64_t sum, const void *data, size_t len)
{
    return cw_mix64(sum ^ cw_hash(data, len)) + 1;
}

static void
end_on_frame(struct cw_link *l, const struct cw_frame *f)
{
    struct end *e = l->user;

    e->n_frames++;
    e->last = *f->hdr;
    e->n_bytes += f->data_len;
    e->n_misaligned +=
        (uintptr_t)f->hdr % 8 != 0 || (uintptr_t)f->csums % 8 != 0 || (uintptr_t)f->data % 8 != 0;
    if (f->hdr->flags & CW_F_DATA)
        e->n_bad += cw_hash_verify(f->data, f->csums, f->n_csums) != f->n_csums;
    if (f->buf != NULL) {
        e->n_own++;
        e->n_misaligned += (uintptr_t)f->data % 4096 != 0;
        if (e->keep && e->n_kept < END_KEPT_MAX)
            e->kept[e->n_kept++] = cw_buf_ref(f->buf);
    }
    e->sum = sum_add(e->sum, f->data, f->data_len);
    if (e->pause_after != 0 && e->n_frames % e->pause_after == 0)
        cw_link_pause(l, true);
}

static void
end_on_down(struct cw_link *l, int reason)
{
    struct end *e = l->user;

    e->down_reason = reason;
    e->n_down++;
    e->l = NULL;
}

const struct cw_link_events end_events = { .on_frame = end_on_frame, .on_down = end_on_down };

static void
many_on_frame(struct cw_link *l, const struct cw_frame *f)
{
}

static void
many_on_down(struct cw_link *l, int reason)
{
    struct pair *p = l->user;

    p->n_down++;
}

static const struct cw_link_events many_events = { .on_frame = many_on_frame,
                                                   .on_down = many_on_down };

static enum cw_hello_status
server_on_hello(struct cw_link_server *s, const struct cw_wire_hello *req,
                struct cw_wire_hello *reply, struct cw_link *l)
{
    struct pair *p = cw_container_of(s, struct pair, server);

    p->seen = *req;
    reply->incarnation = 77;
    reply->credit_ops = 5;
    memset(reply->sender_id, 9, sizeof(reply->sender_id));
    if (p->answer != CW_HELLO_OK)
        return p->answer;
    l->ev = p->many ? &many_events : &end_events;
    l->user = p->many ? (void *)p : (void *)&p->at_server;
    p->at_server.l = p->many ? NULL : l;
    p->n_up++;
    return CW_HELLO_OK;
}

static void
pair_on_accept(void *user, int take_fd)
{
    struct pair *p = user;

    cw_link_adopt(p->h.r, &p->server, take_fd, NULL, 0);
}

void
pair_start(struct pair *p, void **state, bool tcp)
{
    char why[CW_WHY_SIZE], addr[128];
    struct cw_listener_opts opts = { .addr = addr, .on_accept = pair_on_accept, .user = p };

    *p = (struct pair){ .server.on_hello = server_on_hello };
    harness_start(&p->h, state);
    if (tcp)
        snprintf(addr, sizeof(addr), "127.0.0.1:0");
    else
        snprintf(addr, sizeof(addr), "unix:%s/sock", p->h.dir);
    assert_int_equal(cw_listener_open(p->h.r, &opts, &p->listener, why), 0);
}

void
pair_stop(struct pair *p)
{
    cw_listener_close(p->listener);
    harness_stop(&p->h);
}

struct dial {
    struct cw_link_connect c;
    struct end *e;
    struct cw_wire_hello *reply;
    bool done;
    int res;
};

static void
dial_done(struct cw_link_connect *c, int res, struct cw_link *l, const struct cw_wire_hello *reply)
{
    struct dial *d = cw_container_of(c, struct dial, c);

    assert_false(d->done);
    d->done = true;
    d->res = res;
    if (reply != NULL && d->reply != NULL)
        *d->reply = *reply;
    if (res != 0)
        return;
    l->ev = &end_events;
    l->user = d->e;
    d->e->l = l;
}

static bool
dial_is_done(void *arg)
{
    return ((struct dial *)arg)->done;
}

int
pair_connect_to(struct pair *p, struct end *client, const char *addr, uint32_t timeout_ms,
                struct cw_wire_hello *ret_reply)
{
    struct dial d = { .c = { .addr = addr,
                             .timeout_ms = timeout_ms,
                             .hello = { .kind = CW_HELLO_DATA, .format_id = 42 },
                             .done = dial_done },
                      .e = client,
                      .reply = ret_reply };

    cw_link_connect(p->h.r, &d.c);
    assert_false(d.done);
    harness_until(&p->h, dial_is_done, &d);
    return d.res;
}

int
pair_connect(struct pair *p, struct end *client)
{
    return pair_connect_to(p, client, cw_listener_addr(p->listener), 0, NULL);
}

int
pair_raw(struct pair *p)
{
    struct cw_sock_addr a;
    int fd;

    assert_int_equal(cw_sock_addr_parse(cw_listener_addr(p->listener), false, &a), 0);
    fd = cw_sock_open(&a);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a.ss, a.len), 0);
    return fd;
}

struct cw_msg *
pair_write(struct cw_buf_pool *pool, uint32_t nblk, uint64_t seq, uint64_t *sum)
{
    struct cw_wire_hdr h = { .type = CW_FT_WRITE, .seq = seq, .lba_nblk = cw_lba_nblk(0, nblk) };
    struct cw_buf *b = cw_buf_get(pool, nblk * 4096);
    uint64_t csums[CW_IO_BLOCKS_MAX];
    struct cw_prng prng;
    struct cw_msg *m;

    assert_non_null(b);
    cw_prng_init(&prng, seq);
    for (uint32_t i = 0; i < nblk; i++) {
        for (uint32_t k = 0; k < 512; k += 64)
            ((uint64_t *)(void *)(b->data + i * 4096))[k] = cw_prng_next(&prng);
        csums[i] = cw_hash_block(b->data + i * 4096);
    }
    h.flags = CW_F_CSUMS | CW_F_DATA;
    m = cw_frame_data(pool, h, csums, b, b->data);
    assert_non_null(m);
    *sum = sum_add(*sum, b->data, nblk * 4096);
    return m;
}

struct cw_msg *
pair_opaque(struct cw_buf_pool *pool, uint32_t len, uint64_t seq, uint64_t *sum)
{
    struct cw_wire_hdr h = { .type = CW_FT_SEAL_OK, .seq = seq };
    uint8_t *data = malloc(len + 1);
    struct cw_msg *m;

    assert_non_null(data);
    memset(data, (int)seq, len);
    m = cw_frame_opaque(pool, h, NULL, data, len);
    assert_non_null(m);
    *sum = sum_add(*sum, data, len);
    free(data);
    return m;
}
