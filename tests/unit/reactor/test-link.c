#include <sys/socket.h>

#include "common/base/prng.h"
#include "tests/unit/reactor/pair.h"

struct wait {
    struct end *e;
    uint64_t n_frames;
};

static bool
frames_arrived(void *arg)
{
    struct wait *w = arg;

    return w->e->n_frames >= w->n_frames || w->e->n_down > 0;
}

static bool
is_down(void *arg)
{
    return ((struct end *)arg)->n_down > 0;
}

static void
end_pair(struct pair *p, struct end *client)
{
    if (client->l != NULL)
        cw_link_close(client->l);
    harness_until(&p->h, is_down, client);
    harness_until(&p->h, is_down, &p->at_server);
    assert_int_equal(client->n_down, 1);
    assert_int_equal(p->at_server.n_down, 1);
    pair_stop(p);
}

/* HELLO tells each end who the other is; the callee may refuse, and the connector learns why. */
static void
hello_introduces(void **state)
{
    struct end client = { 0 }, refused = { 0 };
    struct cw_wire_hello reply;
    struct pair p;

    pair_start(&p, state, false);
    p.answer = CW_HELLO_E_NO_DISK;
    assert_int_equal(pair_connect_to(&p, &refused, cw_listener_addr(p.listener), 0, &reply),
                     CW_HELLO_E_NO_DISK);
    assert_int_equal(reply.incarnation, 77);
    p.answer = CW_HELLO_OK;
    assert_int_equal(pair_connect(&p, &client), 0);
    assert_int_equal(p.seen.format_id, 42);
    assert_int_equal(p.seen.kind, CW_HELLO_DATA);
    assert_int_equal(client.l->peer_id.b[0], 9);
    assert_int_equal(client.l->peer_incarnation, 77);
    assert_true(client.l->features == CW_WIRE_FEATURES);
    assert_true(p.at_server.l->features == CW_WIRE_FEATURES);
    assert_int_equal(cw_link_peer_hello(client.l)->credit_ops, 5);
    assert_true(client.l->local);
    assert_true(p.at_server.l->local);
    assert_int_equal(p.server.n_pending, 0);
    end_pair(&p, &client);
    assert_int_equal(client.down_reason, -ECANCELED);
    assert_int_equal(p.at_server.down_reason, -ECONNRESET);
}

static void
frames_round_trip(void **state, bool tcp)
{
    static const uint32_t nblk[] = { 1, 2, 7, 15, 16, 17, 64, 255, 256, 1, 1, 3 };
    static const uint32_t opaque[] = { 0, 1, 72, 4095, 65536, 70000, 1 << 20 };
    struct cw_buf_pool *pool;
    struct end client = { 0 };
    uint64_t sum = 0, n = 0;
    struct cw_prng prng;
    struct pair p;

    pair_start(&p, state, tcp);
    pool = cw_reactor_pool(p.h.r);
    cw_prng_init(&prng, 1);
    assert_int_equal(pair_connect(&p, &client), 0);
    for (int round = 0; round < 60; round++) {
        for (uint32_t i = 0; i < 1 + cw_prng_below(&prng, 40); i++) {
            uint64_t pick = cw_prng_below(&prng, 10);

            if (pick < 8)
                cw_link_send(client.l,
                             pair_write(pool,
                                        nblk[cw_prng_below(&prng, pick < 6 ? 4 : CW_LEN(nblk))], n,
                                        &sum));
            else
                cw_link_send(
                    client.l,
                    pair_opaque(pool, opaque[cw_prng_below(&prng, CW_LEN(opaque))], n, &sum));
            n++;
        }
        if (round % 3 == 0)
            harness_until(&p.h, frames_arrived, &(struct wait){ &p.at_server, n });
    }
    harness_until(&p.h, frames_arrived, &(struct wait){ &p.at_server, n });
    assert_int_equal(p.at_server.n_frames, n);
    assert_true(p.at_server.sum == sum);
    assert_int_equal(p.at_server.n_misaligned, 0);
    assert_int_equal(p.at_server.n_bad, 0);
    assert_true(p.at_server.n_own > 0);
    assert_int_equal(client.l->tx_queued_bytes, 0);
    assert_int_equal(cw_buf_pool_used(pool), 0);
    end_pair(&p, &client);
}

/* Frames of every size, mixed, arrive whole, in order, verified and aligned: over TCP .. */
static void
frames_round_trip_tcp(void **state)
{
    frames_round_trip(state, true);
}

/* .. and over a unix socket. */
static void
frames_round_trip_unix(void **state)
{
    frames_round_trip(state, false);
}

static size_t
hello_bytes(uint8_t *to)
{
    struct cw_buf_pool *pool = cw_buf_pool_new(CW_MIB);
    struct cw_wire_hello hello = { .kind = CW_HELLO_DATA, .version_min = 1, .version_max = 1 };
    struct cw_wire_hdr h = { .type = CW_FT_HELLO };
    struct cw_msg *m = cw_frame_opaque(pool, h, NULL, &hello, sizeof(hello));
    size_t n = m->head_len;

    memcpy(to, m->head, n);
    cw_msg_unref(m);
    cw_buf_pool_free(pool);
    assert_int_equal(n, CW_HELLO_FRAME_BYTES);
    return n;
}

static bool
server_up(void *arg)
{
    return ((struct pair *)arg)->n_up > 0;
}

/* A peer that sends one byte at a time is understood all the same. */
static void
byte_by_byte(void **state)
{
    uint8_t bytes[CW_HELLO_FRAME_BYTES + 2 * (64 + 8 + 4096)];
    struct cw_buf_pool *pool;
    uint64_t sum = 0;
    struct pair p;
    size_t n;
    int fd;

    pair_start(&p, state, false);
    pool = cw_reactor_pool(p.h.r);
    n = hello_bytes(bytes);
    for (int i = 0; i < 2; i++) {
        struct cw_msg *m = pair_write(pool, 1, (uint64_t)i, &sum);

        memcpy(bytes + n, m->head, m->head_len);
        memcpy(bytes + n + m->head_len, m->body, m->body_len);
        n += m->head_len + m->body_len;
        cw_msg_unref(m);
    }
    assert_int_equal(n, sizeof(bytes));
    fd = pair_raw(&p);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(send(fd, bytes + i, 1, 0), 1);
        assert_int_equal(cw_reactor_turn(p.h.r, 0), 0);
    }
    harness_until(&p.h, frames_arrived, &(struct wait){ &p.at_server, 2 });
    assert_true(p.at_server.sum == sum);
    assert_int_equal(p.at_server.n_misaligned, 0);
    close(fd);
    harness_until(&p.h, is_down, &p.at_server);
    pair_stop(&p);
}

/* A socket that somebody else accepted, with HELLO and half a frame read already, becomes a link.
 */
static void
adopted_with_bytes(void **state)
{
    uint8_t bytes[CW_HELLO_FRAME_BYTES + 64 + 8 + 4096];
    uint64_t sum = 0;
    struct cw_msg *m;
    struct pair p;
    size_t n;
    int fd[2];

    pair_start(&p, state, false);
    n = hello_bytes(bytes);
    m = pair_write(cw_reactor_pool(p.h.r), 1, 3, &sum);
    memcpy(bytes + n, m->head, m->head_len);
    memcpy(bytes + n + m->head_len, m->body, m->body_len);
    cw_msg_unref(m);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    cw_link_adopt(p.h.r, &p.server, fd[0], bytes, n + 100);
    assert_int_equal(p.server.n_pending, 1);
    harness_until(&p.h, server_up, &p);
    assert_int_equal(send(fd[1], bytes + n + 100, sizeof(bytes) - n - 100, 0),
                     sizeof(bytes) - n - 100);
    harness_until(&p.h, frames_arrived, &(struct wait){ &p.at_server, 1 });
    assert_true(p.at_server.sum == sum);
    close(fd[1]);
    harness_until(&p.h, is_down, &p.at_server);
    pair_stop(&p);
}

/* Sends HELLO and then these bytes; the link must go down for that reason. */
static void
hostile(void **state, const uint8_t *bytes, size_t len, bool then_close, int reason,
        const char *log)
{
    uint8_t hello[CW_HELLO_FRAME_BYTES];
    struct pair p;
    size_t n = hello_bytes(hello);
    int fd;

    pair_start(&p, state, true);
    fd = pair_raw(&p);
    assert_int_equal(send(fd, hello, n, 0), n);
    harness_until(&p.h, server_up, &p);
    assert_int_equal(send(fd, bytes, len, 0), len);
    if (then_close)
        close(fd);
    harness_until(&p.h, is_down, &p.at_server);
    assert_int_equal(p.at_server.down_reason, reason);
    assert_int_equal(p.at_server.n_frames, 0);
    if (log != NULL) {
        assert_non_null(strstr(p.h.log, log));
        assert_non_null(strstr(p.h.log, "127.0.0.1:"));
    }
    if (!then_close)
        close(fd);
    pair_stop(&p);
}

/* Garbage, a header with wild lengths, a frame with one flipped bit, and types that have no
 * business on a data link: each ends the link and is logged with the peer's address. */
static void
invalid_frames_end_the_link(void **state)
{
    struct cw_buf_pool *pool = cw_buf_pool_new(8 * CW_MIB);
    uint8_t bytes[64 + 8 + 4096];
    struct cw_wire_hdr h;
    struct cw_msg *m;
    uint64_t sum = 0;

    memset(bytes, 0xa5, sizeof(bytes));
    hostile(state, bytes, 200, false, -EPROTO, "not a Causeway frame");

    m = pair_write(pool, 1, 1, &sum);
    memcpy(bytes, m->head, m->head_len);
    memcpy(bytes + m->head_len, m->body, m->body_len);
    cw_msg_unref(m);
    memcpy(&h, bytes, sizeof(h));
    h.payload_len = UINT32_MAX;
    hostile(state, (uint8_t *)&h, sizeof(h), false, -EPROTO, "length out of bounds");
    memcpy(&h, bytes, sizeof(h));
    h.lba_nblk = cw_lba_nblk(0, CW_WIRE_NBLK_MAX);
    hostile(state, (uint8_t *)&h, sizeof(h), false, -EPROTO, "length out of bounds");

    bytes[64] ^= 1; /* the checksum array */
    hostile(state, bytes, sizeof(bytes), false, -EPROTO, "checksum mismatch");
    bytes[64] ^= 1;

    m = cw_frame_opaque(pool, (struct cw_wire_hdr){ .type = CW_FT_CONTROL }, NULL, "hi", 2);
    hostile(state, m->head, m->head_len, false, -EPROTO, "unknown frame type");
    cw_msg_unref(m);

    m = pair_opaque(pool, 100, 1, &sum);
    memcpy(bytes, m->head, m->head_len);
    bytes[m->head_len - 1] ^= 1;
    hostile(state, bytes, m->head_len, false, -EPROTO, "checksum mismatch");
    cw_msg_unref(m);
    assert_int_equal(cw_buf_pool_used(pool), 0);
    cw_buf_pool_free(pool);
}

/* A peer that vanishes in the middle of a frame, small or large, takes nothing with it. */
static void
peer_vanishes_mid_frame(void **state)
{
    struct cw_buf_pool *pool = cw_buf_pool_new(8 * CW_MIB);
    struct cw_msg *m;
    uint64_t sum = 0;
    uint8_t *bytes;

    m = pair_write(pool, 256, 1, &sum);
    bytes = malloc(cw_msg_bytes(m));
    assert_non_null(bytes);
    memcpy(bytes, m->head, m->head_len);
    memcpy(bytes + m->head_len, m->body, m->body_len);
    hostile(state, bytes, 10, true, -ECONNRESET, NULL);
    hostile(state, bytes, m->head_len + 5, true, -ECONNRESET, NULL);
    hostile(state, bytes, m->head_len + 300000, true, -ECONNRESET, NULL);
    free(bytes);
    cw_msg_unref(m);
    cw_buf_pool_free(pool);
}

/* A consumer that pauses gets nothing more, the sender's queue shows it, and after resuming every
 * frame arrives in order. */
static void
paused_link_holds_its_peer(void **state)
{
    struct end client = { 0 };
    struct cw_buf_pool *pool;
    uint64_t sum = 0;
    struct pair p;

    pair_start(&p, state, true);
    pool = cw_reactor_pool(p.h.r);
    p.at_server.pause_after = 3;
    assert_int_equal(pair_connect(&p, &client), 0);
    for (uint64_t i = 0; i < 60; i++)
        cw_link_send(client.l, pair_write(pool, i % 5 == 0 ? 256 : 3, i, &sum));
    harness_until(&p.h, frames_arrived, &(struct wait){ &p.at_server, 3 });
    for (int i = 0; i < 50; i++)
        assert_int_equal(cw_reactor_turn(p.h.r, CW_NS_PER_MS), 0);
    assert_int_equal(p.at_server.n_frames, 3);
    assert_true(client.l->tx_queued_bytes > 4 * CW_MIB);
    for (uint64_t n = 6; n <= 60; n += 3) {
        cw_link_pause(p.at_server.l, false);
        assert_int_equal(p.at_server.n_frames, n - 3); /* not from inside the call */
        harness_until(&p.h, frames_arrived, &(struct wait){ &p.at_server, n });
        assert_int_equal(p.at_server.n_frames, n);
    }
    assert_true(p.at_server.sum == sum);
    cw_link_pause(p.at_server.l, false);
    end_pair(&p, &client);
}

/* A receiver whose budget is used up waits; once buffers come back it goes on, and nothing was
 * lost.
 */
static void
empty_pool_is_back_pressure(void **state)
{
    struct cw_buf_pool *mine = cw_buf_pool_new(5 * CW_MIB);
    struct cw_reactor_stats stats;
    struct end client = { 0 };
    uint64_t sum = 0;
    struct pair p;

    pair_start(&p, state, false);
    p.server.pool = mine;
    p.at_server.keep = true;
    assert_int_equal(pair_connect(&p, &client), 0);
    for (uint64_t i = 0; i < 12; i++)
        cw_link_send(client.l, pair_write(cw_reactor_pool(p.h.r), 256, i, &sum));
    harness_until(&p.h, frames_arrived, &(struct wait){ &p.at_server, 4 });
    for (int i = 0; i < 50; i++)
        assert_int_equal(cw_reactor_turn(p.h.r, CW_NS_PER_MS), 0);
    assert_int_equal(p.at_server.n_frames, 4);
    assert_true(cw_buf_pool_used(mine) > 4 * (CW_MIB + 64 * CW_KIB)); /* and what was spilt */
    cw_reactor_stats(p.h.r, &stats);
    assert_true(stats.recv_starved > 0);
    while (p.at_server.n_frames < 12) {
        uint64_t before = p.at_server.n_frames;

        while (p.at_server.n_kept > 0)
            cw_buf_unref(p.at_server.kept[--p.at_server.n_kept]);
        harness_until(&p.h, frames_arrived, &(struct wait){ &p.at_server, before + 1 });
        assert_int_equal(p.at_server.n_down, 0);
    }
    while (p.at_server.n_kept > 0)
        cw_buf_unref(p.at_server.kept[--p.at_server.n_kept]);
    assert_true(p.at_server.sum == sum);
    assert_int_equal(p.at_server.n_misaligned, 0);
    end_pair(&p, &client);
    assert_int_equal(cw_buf_pool_used(mine), 0);
    cw_buf_pool_free(mine);
}

/* Frames queued before close still leave; those sent after it are dropped. */
static void
close_flushes_what_was_queued(void **state)
{
    struct end client = { 0 };
    struct cw_buf_pool *pool;
    uint64_t sum = 0, dropped = 0;
    struct pair p;

    pair_start(&p, state, true);
    pool = cw_reactor_pool(p.h.r);
    assert_int_equal(pair_connect(&p, &client), 0);
    cw_link_send(client.l, pair_write(pool, 2, 1, &sum));
    cw_link_send(client.l, pair_opaque(pool, 40, 2, &sum));
    cw_link_close(client.l);
    cw_link_send(client.l, pair_opaque(pool, 40, 3, &dropped));
    harness_until(&p.h, is_down, &p.at_server);
    assert_int_equal(p.at_server.n_frames, 2);
    assert_true(p.at_server.sum == sum);
    assert_int_equal(cw_buf_pool_used(pool), 0);
    end_pair(&p, &client);
}

/* Nobody there, nobody answering, no such name, no address at all: each fails in its time. */
static void
connect_fails_in_time(void **state)
{
    uint64_t begin = cw_reactor_clock_ns();
    struct end client = { 0 };
    struct pair p;
    char addr[128];

    pair_start(&p, state, false);
    snprintf(addr, sizeof(addr), "unix:%s/none", p.h.dir);
    assert_int_equal(pair_connect_to(&p, &client, addr, 0, NULL), -ENOENT);
    assert_int_equal(pair_connect_to(&p, &client, "127.0.0.1:1", 0, NULL), -ECONNREFUSED);
    assert_int_equal(pair_connect_to(&p, &client, "no-address", 0, NULL), -EINVAL);
    assert_true(cw_reactor_clock_ns() - begin < 5 * CW_NS_PER_S);
    pair_stop(&p);
}

static void
mute_on_accept(void *user, int take_fd)
{
    *(int *)user = take_fd;
}

/* A listener that accepts and says nothing costs the connector its timeout, not more. */
static void
mute_peer_times_out(void **state)
{
    char why[CW_WHY_SIZE];
    struct end client = { 0 };
    struct cw_listener *mute;
    int fd = -1;
    struct cw_listener_opts opts = { .addr = "127.0.0.1:0",
                                     .on_accept = mute_on_accept,
                                     .user = &fd };
    uint64_t begin;
    struct pair p;

    pair_start(&p, state, false);
    assert_int_equal(cw_listener_open(p.h.r, &opts, &mute, why), 0);
    begin = cw_reactor_clock_ns();
    assert_int_equal(pair_connect_to(&p, &client, cw_listener_addr(mute), 100, NULL), -ETIMEDOUT);
    assert_true(cw_reactor_clock_ns() - begin >= 100 * CW_NS_PER_MS);
    close(fd);
    cw_listener_close(mute);
    pair_stop(&p);
}

/* A connection that never says HELLO is dropped after its time and leaves nothing. */
static void
silent_client_is_dropped(void **state)
{
    char byte;
    struct pair p;
    int fd;

    pair_start(&p, state, true);
    p.server.hello_timeout_ms = 50;
    fd = pair_raw(&p);
    for (int i = 0; i < 100 && recv(fd, &byte, 1, MSG_DONTWAIT) < 0; i++)
        assert_int_equal(cw_reactor_turn(p.h.r, 10 * CW_NS_PER_MS), 0);
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    assert_int_equal(p.server.n_pending, 0);
    assert_int_equal(p.n_up, 0);
    close(fd);
    pair_stop(&p);
}

#define N_MANY 2000
#define N_AT_ONCE 50

static bool
many_gone(void *arg)
{
    struct pair *p = arg;
    struct cw_reactor_stats stats;

    cw_reactor_stats(p->h.r, &stats);
    return stats.links == 0;
}

/* Thousands of links come and go, some closed by this end, some by the other, some with frames
 * under way; each side hears of each end exactly once and all memory comes back. */
static void
many_links_come_and_go(void **state)
{
    struct end *ends = calloc(N_AT_ONCE, sizeof(*ends));
    uint64_t sum = 0;
    struct pair p;

    pair_start(&p, state, true);
    p.many = true;
    for (int round = 0; round < N_MANY / N_AT_ONCE; round++) {
        memset(ends, 0, N_AT_ONCE * sizeof(*ends));
        for (int i = 0; i < N_AT_ONCE; i++) {
            assert_int_equal(pair_connect(&p, &ends[i]), 0);
            if (i % 3 == 0)
                cw_link_send(ends[i].l,
                             pair_write(cw_reactor_pool(p.h.r), 1 + (uint32_t)i, 1, &sum));
        }
        for (int i = 0; i < N_AT_ONCE; i++)
            cw_link_close(ends[i].l);
        harness_until(&p.h, many_gone, &p);
        for (int i = 0; i < N_AT_ONCE; i++)
            assert_int_equal(ends[i].n_down, 1);
    }
    assert_int_equal(p.n_up, N_MANY);
    assert_int_equal(p.n_down, N_MANY);
    free(ends);
    pair_stop(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_BOTH(hello_introduces),
        HARNESS_BOTH(frames_round_trip_tcp),
        HARNESS_BOTH(frames_round_trip_unix),
        HARNESS_BOTH(byte_by_byte),
        HARNESS_BOTH(adopted_with_bytes),
        HARNESS_BOTH(invalid_frames_end_the_link),
        HARNESS_BOTH(peer_vanishes_mid_frame),
        HARNESS_BOTH(paused_link_holds_its_peer),
        HARNESS_BOTH(empty_pool_is_back_pressure),
        HARNESS_BOTH(close_flushes_what_was_queued),
        HARNESS_BOTH(connect_fails_in_time),
        HARNESS_BOTH(mute_peer_times_out),
        HARNESS_BOTH(silent_client_is_dropped),
        HARNESS_BOTH(many_links_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
