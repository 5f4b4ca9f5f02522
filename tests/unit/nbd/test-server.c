/* The NBD server on real sockets over volumes in memory: the life of exports, and clients that
 * misbehave. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/nbd/server.h"
#include "client/nbd/spec.h"
#include "common/base/bits.h"
#include "tests/unit/nbd/memory-engine.h"

#define DEADLINE_S 20
#define LINGER_MS 100

struct rig {
    struct cw_engine *e;
    struct cw_nbd_server *server;
    struct cw_nbd_server_opts opts;
    char dir[64], path[108], why[CW_NBD_WHY_SIZE];
    sem_t stopped;
    bool clean;
};

static void
silent(void *user, enum cw_log_level level, const char *line)
{
}

static int
rig_begin(void *arg)
{
    struct rig *r = arg;

    return cw_nbd_server_new(&r->opts, &r->server, r->why);
}

static struct rig *
rig_new_opts(struct cw_nbd_server_opts opts)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct cw_engine_opts engine = { .memory_bytes = 64 << 20, .log = silent };
    char error[CW_ENGINE_ERROR_SIZE];

    sem_init(&r->stopped, 0, 0);
    snprintf(r->dir, sizeof(r->dir), "/tmp/nbd-server-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->path, sizeof(r->path), "%s/sock", r->dir);
    assert_int_equal(cw_engine_new(&engine, error, &r->e), 0);
    r->opts = opts;
    r->opts.engine = r->e;
    r->opts.socket = r->path;
    r->opts.linger_ms = LINGER_MS;
    assert_int_equal(cw_engine_run(r->e, rig_begin, r), 0);
    return r;
}

static struct rig *
rig_new(uint32_t conns_max, const char *volume)
{
    return rig_new_opts((struct cw_nbd_server_opts){ .conns_max = conns_max, .volume = volume });
}

static struct rig *
rig_new_forced(void)
{
    return rig_new_opts((struct cw_nbd_server_opts){ .force = true });
}

static void
on_stopped(void *user, bool clean)
{
    struct rig *r = user;

    r->clean = clean;
    sem_post(&r->stopped);
}

static int
rig_stop(void *arg)
{
    struct rig *r = arg;

    cw_nbd_server_stop(r->server, on_stopped, r);
    return 0;
}

static int
rig_drop(void *arg)
{
    struct rig *r = arg;

    cw_nbd_server_free(r->server);
    return 0;
}

static void
rig_wait_stopped(struct rig *r)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    assert_int_equal(sem_timedwait(&r->stopped, &until), 0);
}

static void
rig_end(struct rig *r)
{
    cw_engine_run(r->e, rig_drop, r);
    cw_engine_free(r->e);
    assert_int_equal(rmdir(r->dir), 0); /* the socket is gone */
    sem_destroy(&r->stopped);
    free(r);
}

static void
rig_free(struct rig *r)
{
    cw_engine_run(r->e, rig_stop, r);
    rig_wait_stopped(r);
    rig_end(r);
}

/* Waits until the statistic at `what` is `want`. */
static bool
comes_true(struct rig *r, size_t what, uint32_t want)
{
    for (int i = 0; i < DEADLINE_S * 100; i++) {
        struct memory_engine_stats s;

        memory_engine_stats(r->e, &s);
        if (*(uint32_t *)(void *)((char *)&s + what) == want)
            return true;
        poll(NULL, 0, 10);
    }
    return false;
}
#define STAT(field) offsetof(struct memory_engine_stats, field)

/* ---- a client that waits ---- */

static int
dial(const struct rig *r)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct timeval tv = { .tv_sec = DEADLINE_S };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(un.sun_path, r->path, sizeof(r->path));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    return fd;
}

/* Rings of earlier tests end on this thread and interrupt what waits. */
static void
say(int fd, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;

    while (len > 0) {
        ssize_t n = send(fd, from, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            fail_msg("the server took %zd bytes (errno %d)", n, errno);
        from += n;
        len -= (size_t)n;
    }
}

static void
hear(int fd, void *bytes, size_t len)
{
    uint8_t *to = bytes;

    while (len > 0) {
        ssize_t n = recv(fd, to, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            fail_msg("the server sent %zd bytes (errno %d)", n, errno);
        to += n;
        len -= (size_t)n;
    }
}

static bool
is_hung_up(int fd)
{
    char byte;

    for (;;) {
        ssize_t n = recv(fd, &byte, 1, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 || errno == ECONNRESET;
    }
}

/* The type of the final reply; its text in text. */
static uint32_t
go(int fd, const char *name, char text[256])
{
    uint8_t bytes[4 + 16 + 4 + 64 + 2], head[CW_NBD_REP_SIZE], data[1024];
    uint32_t n = (uint32_t)strlen(name);
    uint8_t *p;

    hear(fd, data, CW_NBD_GREETING_SIZE);
    p = cw_be32_put(bytes, 3);
    p = cw_be32_put(cw_be32_put(cw_be64_put(p, CW_NBD_OPT_MAGIC), CW_NBD_OPT_GO), 6 + n);
    p = cw_be32_put(p, n);
    memcpy(p, name, n);
    p = cw_be16_put(p + n, 0);
    say(fd, bytes, (size_t)(p - bytes));
    for (;;) {
        uint32_t type, len;

        hear(fd, head, sizeof(head));
        type = cw_be32_get(head + 12);
        len = cw_be32_get(head + 16);
        assert_true(len < sizeof(data));
        if (len > 0)
            hear(fd, data, len);
        if (type == CW_NBD_REP_INFO)
            continue;
        memcpy(text, data, cw_min_u64(len, 255));
        text[cw_min_u64(len, 255)] = 0;
        return type;
    }
}

static int
session(const struct rig *r, const char *name)
{
    char text[256];
    int fd = dial(r);

    assert_int_equal(go(fd, name, text), CW_NBD_REP_ACK);
    return fd;
}

static void
request(int fd, uint16_t type, uint64_t off, uint32_t len)
{
    uint8_t head[CW_NBD_REQUEST_SIZE];
    uint8_t *p = cw_be16_put(cw_be16_put(cw_be32_put(head, CW_NBD_REQUEST_MAGIC), 0), type);

    cw_be32_put(cw_be64_put(cw_be64_put(p, off), off), len);
    say(fd, head, sizeof(head));
}

static uint32_t
reply(int fd)
{
    uint8_t head[CW_NBD_SIMPLE_SIZE];

    hear(fd, head, sizeof(head));
    assert_int_equal(cw_be32_get(head), CW_NBD_SIMPLE_MAGIC);
    return cw_be32_get(head + 4);
}

static void
write_and_read(int fd, uint64_t off, uint8_t fill)
{
    static uint8_t block[65536], back[65536];

    memset(block, fill, sizeof(block));
    request(fd, CW_NBD_CMD_WRITE, off, sizeof(block));
    say(fd, block, sizeof(block));
    assert_int_equal(reply(fd), 0);
    request(fd, CW_NBD_CMD_READ, off, sizeof(back));
    assert_int_equal(reply(fd), 0);
    hear(fd, back, sizeof(back));
    assert_memory_equal(block, back, sizeof(back));
}

/* ---- tests ---- */

/* Connections share one attach; the volume is released a while after the last one ended, and a new
 * one within that time finds it still attached. */
static void
an_export_lives_as_long_as_its_connections(void **state)
{
    struct rig *r = rig_new(0, NULL);
    int a = session(r, "mem"), b = session(r, "mem");

    write_and_read(a, 0, 1);
    write_and_read(b, 65536, 2);
    close(a);
    write_and_read(b, 0, 3);
    close(b);
    a = session(r, "mem");
    assert_true(comes_true(r, STAT(n_opens), 1));
    close(a);
    assert_true(comes_true(r, STAT(n_closes), 1));
    a = session(r, "mem");
    write_and_read(a, 0, 4);
    assert_true(comes_true(r, STAT(n_opens), 2));
    close(a);
    rig_free(r);
}

/* What cannot be attached is told, and the connection may choose another export. */
static void
refusals_reach_the_client(void **state)
{
    struct rig *r = rig_new(0, NULL);
    char text[256];
    int fd = dial(r);

    assert_int_equal(go(fd, "busy", text), CW_NBD_REP_ERR_POLICY);
    assert_non_null(strstr(text, "VOLUME_IN_USE"));
    close(fd);
    fd = dial(r);
    assert_int_equal(go(fd, "nosuch", text), CW_NBD_REP_ERR_UNKNOWN);
    close(fd);
    fd = dial(r);
    assert_int_equal(go(fd, "", text), CW_NBD_REP_ERR_UNKNOWN);
    close(fd);
    rig_free(r);
}

/* With --volume the empty name means that volume and others do not exist. */
static void
one_volume_may_be_all_there_is(void **state)
{
    struct rig *r = rig_new(0, "mem");
    char text[256];
    int fd = session(r, "");

    write_and_read(fd, 0, 9);
    close(fd);
    fd = dial(r);
    assert_int_equal(go(fd, "big", text), CW_NBD_REP_ERR_UNKNOWN);
    close(fd);
    rig_free(r);
}

/* Strangers, half frames, and clients that never say anything are dropped; others are served. */
static void
bad_clients_hurt_only_themselves(void **state)
{
    /* long enough for the good ones on a machine that has much to do */
    struct rig *r = rig_new_opts((struct cw_nbd_server_opts){ .greet_ms = 3000 });
    int good = session(r, "mem");
    uint8_t half[CW_NBD_REQUEST_SIZE + 100] = { 0x25, 0x60, 0x95, 0x13, 0, 0, 0, 1 };
    int fd, mute = dial(r);

    fd = dial(r);
    say(fd, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_true(is_hung_up(fd));
    close(fd);
    fd = session(r, "mem");
    say(fd, "this is no request of NBD at all", 32);
    assert_true(is_hung_up(fd));
    close(fd);
    fd = session(r, "mem");
    cw_be32_put(half + 24, 1 << 20);
    say(fd, half, sizeof(half));
    close(fd);
    fd = session(r, "mem");
    request(fd, CW_NBD_CMD_WRITE, 0, 0xfffff000);
    assert_true(is_hung_up(fd));
    close(fd);
    write_and_read(good, 0, 5);
    assert_true(is_hung_up(mute));
    close(mute);
    close(good);
    rig_free(r);
}

/* Clients that ask for much and never read do not keep another one waiting. */
static void
who_does_not_read_stalls_nobody(void **state)
{
    struct rig *r = rig_new(0, NULL);
    int deaf[6], good;

    for (size_t i = 0; i < CW_LEN(deaf); i++) {
        deaf[i] = session(r, "big");
        for (uint64_t k = 0; k < 8; k++)
            request(deaf[i], CW_NBD_CMD_READ, k << 25, 32 << 20);
    }
    good = session(r, "mem");
    for (uint8_t i = 0; i < 50; i++)
        write_and_read(good, (uint64_t)i << 16, i);
    for (size_t i = 0; i < CW_LEN(deaf); i++)
        close(deaf[i]);
    write_and_read(good, 0, 7);
    close(good);
    assert_true(comes_true(r, STAT(n_closes), 2));
    rig_free(r);
}

/* What the owner has of a dead connection is awaited: the volume is not released before. */
static void
a_dead_connections_requests_are_awaited(void **state)
{
    struct rig *r = rig_new(0, NULL);
    static uint8_t block[4096] = { 1 };
    int fd = session(r, "slow");

    request(fd, CW_NBD_CMD_WRITE, 0, sizeof(block));
    say(fd, block, sizeof(block));
    assert_true(comes_true(r, STAT(n_waiting), 1));
    close(fd);
    poll(NULL, 0, 4 * LINGER_MS);
    assert_true(comes_true(r, STAT(n_closes), 0));
    memory_engine_let_go(r->e);
    assert_true(comes_true(r, STAT(n_closes), 1));
    rig_free(r);
}

/* Stopping answers what was taken, refuses what comes, releases and ends clean. */
static void
stop_answers_what_was_taken(void **state)
{
    struct rig *r = rig_new(0, NULL);
    static uint8_t block[4096] = { 1 };
    int fd = session(r, "slow"), idle = session(r, "mem");

    request(fd, CW_NBD_CMD_WRITE, 0, sizeof(block));
    say(fd, block, sizeof(block));
    assert_true(comes_true(r, STAT(n_waiting), 1));
    cw_engine_run(r->e, rig_stop, r);
    assert_true(is_hung_up(idle));
    memory_engine_let_go(r->e);
    assert_int_equal(reply(fd), 0);
    assert_true(is_hung_up(fd));
    rig_wait_stopped(r);
    assert_true(r->clean);
    assert_true(comes_true(r, STAT(n_open_now), 0));
    close(fd);
    close(idle);
    rig_end(r);
}

/* Once another client took the volume over, every request fails; a new connection attaches anew. */
static void
a_fenced_volume_fails_requests(void **state)
{
    struct rig *r = rig_new(0, NULL);
    int fd = session(r, "mem"), other;

    write_and_read(fd, 0, 1);
    memory_engine_fence(r->e);
    request(fd, CW_NBD_CMD_READ, 0, 4096);
    assert_int_equal(reply(fd), CW_NBD_ESHUTDOWN);
    request(fd, CW_NBD_CMD_FLUSH, 0, 0);
    assert_int_equal(reply(fd), CW_NBD_ESHUTDOWN);
    other = session(r, "mem");
    write_and_read(other, 0, 2);
    assert_true(comes_true(r, STAT(n_opens), 2));
    close(fd);
    close(other);
    rig_free(r);
}

/* A server that may force takes a volume over when it is first opened, and never takes it back. */
static void
force_is_for_the_first_attach(void **state)
{
    struct rig *r = rig_new_forced();
    char text[256];
    int fd = session(r, "busy"), other = dial(r);

    memory_engine_fence(r->e);
    assert_true(comes_true(r, STAT(n_closes), 1));
    assert_int_equal(go(other, "busy", text), CW_NBD_REP_ERR_POLICY);
    close(other);
    other = session(r, "mem");
    assert_true(comes_true(r, STAT(n_forced), 2));
    close(fd);
    close(other);
    rig_free(r);
}

/* One connection too many is refused, and there is room again when one ends. */
static void
connections_are_limited(void **state)
{
    struct rig *r = rig_new(2, NULL);
    int a = session(r, "mem"), b = session(r, "mem"), c = dial(r);
    char byte;

    assert_true(is_hung_up(c));
    close(c);
    close(b);
    for (int i = 0; i < DEADLINE_S * 100; i++) { /* the server sees the end a moment later */
        c = dial(r);
        if (recv(c, &byte, 1, MSG_PEEK) == 1)
            break;
        close(c);
        poll(NULL, 0, 10);
    }
    assert_int_equal(recv(c, &byte, 1, MSG_PEEK), 1);
    close(a);
    close(c);
    rig_free(r);
}

/* One export may have its own limit; who comes too much is told so, and others are not touched. */
static void
connections_of_an_export_are_limited(void **state)
{
    struct rig *r = rig_new_opts((struct cw_nbd_server_opts){ .export_conns_max = 2 });
    int a = session(r, "mem"), b = session(r, "mem"), c = dial(r);
    char text[256];

    assert_int_equal(go(c, "mem", text), CW_NBD_REP_ERR_POLICY);
    assert_non_null(strstr(text, "mem: 2 connections"));
    close(c);
    c = session(r, "big");
    write_and_read(c, 0, 3);
    write_and_read(a, 0, 4);
    close(b);
    for (int i = 0; i < DEADLINE_S * 100; i++) { /* the server sees the end a moment later */
        b = dial(r);
        if (go(b, "mem", text) == CW_NBD_REP_ACK)
            break;
        close(b);
        poll(NULL, 0, 10);
    }
    write_and_read(b, 0, 5);
    close(a);
    close(b);
    close(c);
    rig_free(r);
}

/* A socket in use is refused with a line that names it; a stale one is replaced. */
static void
a_live_socket_is_not_replaced(void **state)
{
    struct rig *r = rig_new(0, NULL), second = { 0 };
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int stale;

    second.opts = r->opts;
    assert_int_equal(cw_engine_run(r->e, rig_begin, &second), -EADDRINUSE);
    assert_non_null(strstr(second.why, r->path));
    close(session(r, "mem"));

    stale = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/old", r->dir);
    assert_int_equal(bind(stale, (struct sockaddr *)&un, sizeof(un)), 0);
    close(stale);
    second.opts.socket = un.sun_path;
    assert_int_equal(cw_engine_run(r->e, rig_begin, &second), 0);
    sem_init(&second.stopped, 0, 0);
    cw_engine_run(r->e, rig_stop, &second);
    rig_wait_stopped(&second);
    cw_engine_run(r->e, rig_drop, &second);
    rig_free(r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_export_lives_as_long_as_its_connections),
        cmocka_unit_test(refusals_reach_the_client),
        cmocka_unit_test(one_volume_may_be_all_there_is),
        cmocka_unit_test(bad_clients_hurt_only_themselves),
        cmocka_unit_test(who_does_not_read_stalls_nobody),
        cmocka_unit_test(a_dead_connections_requests_are_awaited),
        cmocka_unit_test(stop_answers_what_was_taken),
        cmocka_unit_test(a_fenced_volume_fails_requests),
        cmocka_unit_test(force_is_for_the_first_attach),
        cmocka_unit_test(connections_are_limited),
        cmocka_unit_test(connections_of_an_export_are_limited),
        cmocka_unit_test(a_live_socket_is_not_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
