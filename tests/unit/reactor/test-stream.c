#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/reactor/listener.h"
#include "common/reactor/sock.h"
#include "common/reactor/stream.h"
#include "tests/unit/reactor/harness.h"

#define BULK (4u * 1024 * 1024)

struct side {
    struct cw_stream *s;
    struct cw_stream_read rd;
    int read_res, n_read, n_written, write_res;
    bool closed;
};

struct fix {
    struct harness h;
    struct cw_listener *l;
    struct side a; /* accepted */
    int fd;        /* the other end, a plain blocking socket */
};

static void
fix_on_accept(void *user, int take_fd)
{
    struct fix *f = user;

    f->a.s = cw_stream_new(f->h.r, take_fd);
}

static bool
accepted(void *arg)
{
    return ((struct fix *)arg)->a.s != NULL;
}

static int
raw_connect(struct cw_listener *l)
{
    struct cw_sock_addr a;
    int fd;

    assert_int_equal(cw_sock_addr_parse(cw_listener_addr(l), false, &a), 0);
    fd = cw_sock_open(&a);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a.ss, a.len), 0);
    return fd;
}

static void
fix_start(struct fix *f, void **state, bool tcp)
{
    char why[CW_WHY_SIZE], addr[128];
    struct cw_listener_opts opts = { .addr = addr, .on_accept = fix_on_accept, .user = f };

    *f = (struct fix){ 0 };
    harness_start(&f->h, state);
    snprintf(addr, sizeof(addr), tcp ? "127.0.0.1:0" : "unix:%s/s", f->h.dir);
    assert_int_equal(cw_listener_open(f->h.r, &opts, &f->l, why), 0);
    f->fd = raw_connect(f->l);
    harness_until(&f->h, accepted, f);
}

static void
side_closed(void *user)
{
    ((struct side *)user)->closed = true;
}

static bool
is_closed(void *arg)
{
    return ((struct side *)arg)->closed;
}

static void
fix_stop(struct fix *f)
{
    if (f->a.s != NULL)
        cw_stream_close(f->a.s, side_closed, &f->a);
    f->a.s = NULL;
    harness_until(&f->h, is_closed, &f->a);
    cw_listener_close(f->l);
    close(f->fd);
    harness_stop(&f->h);
}

static void
read_done(struct cw_stream_read *rd, int res)
{
    struct side *d = cw_container_of(rd, struct side, rd);

    d->read_res = res;
    d->n_read++;
}

static bool
has_read(void *arg)
{
    return ((struct side *)arg)->n_read > 0;
}

static int
read_some(struct fix *f, uint8_t *buf, uint32_t min, uint32_t max)
{
    f->a.n_read = 0;
    f->a.rd = (struct cw_stream_read){ .buf = buf, .min = min, .max = max, .done = read_done };
    cw_stream_read(f->a.s, &f->a.rd);
    assert_int_equal(f->a.n_read, 0);
    harness_until(&f->h, has_read, &f->a);
    return f->a.read_res;
}

/* A read completes when its minimum is there, takes no more than its maximum, and reports the end
 * of the connection as fewer bytes. */
static void
reads_keep_their_bounds(void **state)
{
    uint8_t buf[64];
    struct fix f;

    fix_start(&f, state, false);
    assert_int_equal(send(f.fd, "abcdef", 6, 0), 6);
    assert_int_equal(read_some(&f, buf, 1, 4), 4);
    assert_memory_equal(buf, "abcd", 4);
    f.a.n_read = 0;
    f.a.rd = (struct cw_stream_read){ .buf = buf, .min = 5, .max = 64, .done = read_done };
    cw_stream_read(f.a.s, &f.a.rd);
    for (int i = 0; i < 5; i++)
        assert_int_equal(cw_reactor_turn(f.h.r, CW_NS_PER_MS), 0);
    assert_int_equal(f.a.n_read, 0);
    assert_int_equal(send(f.fd, "ghi", 3, 0), 3);
    harness_until(&f.h, has_read, &f.a);
    assert_int_equal(f.a.read_res, 5);
    assert_memory_equal(buf, "efghi", 5);
    assert_int_equal(send(f.fd, "j", 1, 0), 1);
    assert_int_equal(shutdown(f.fd, SHUT_WR), 0);
    assert_int_equal(read_some(&f, buf, 2, 64), 1);
    assert_int_equal(read_some(&f, buf, 1, 64), 0);
    fix_stop(&f);
}

/* A write that finds its side again. */
struct write {
    struct cw_stream_write w;
    struct side *side;
};

static void
write_done(struct cw_stream_write *sw, int res)
{
    struct side *d = cw_container_of(sw, struct write, w)->side;

    d->write_res = res;
    d->n_written++;
}

static void
write_start(struct side *d, struct write *w, struct iovec *iov, uint32_t n)
{
    *w = (struct write){ .w = { .iov = iov, .n_iov = n, .done = write_done }, .side = d };
    cw_stream_write(d->s, &w->w);
}

/* Small and large writes leave in order, however slowly the other end reads. */
static void
writes_leave_in_order(void **state)
{
    uint8_t *bulk = malloc(BULK), *got = malloc(BULK + 6);
    struct iovec small[] = { { (void *)(uintptr_t) "ab", 2 }, { (void *)(uintptr_t) "c", 1 } };
    struct iovec large[] = { { bulk, 1000 }, { bulk + 1000, BULK - 1000 } };
    struct write w[3];
    size_t have = 0;
    struct fix f;

    for (uint32_t i = 0; i < BULK; i++)
        bulk[i] = (uint8_t)(i * 7 >> 3);
    fix_start(&f, state, true);
    write_start(&f.a, &w[0], small, 2);
    write_start(&f.a, &w[1], large, 2);
    write_start(&f.a, &w[2], small, 2);
    assert_int_equal(f.a.n_written, 0);
    assert_int_equal(cw_stream_queued_bytes(f.a.s), BULK + 6);
    while (have < BULK + 6) {
        ssize_t n = recv(f.fd, got + have, BULK + 6 - have, MSG_DONTWAIT);

        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        have += n > 0 ? (size_t)n : 0;
        assert_int_equal(cw_reactor_turn(f.h.r, CW_NS_PER_MS), 0);
    }
    assert_int_equal(f.a.n_written, 3);
    assert_int_equal(f.a.write_res, 0);
    assert_int_equal(cw_stream_queued_bytes(f.a.s), 0);
    assert_memory_equal(got, "abc", 3);
    assert_memory_equal(got + 3, bulk, BULK);
    assert_memory_equal(got + 3 + BULK, "abc", 3);
    fix_stop(&f);
    free(bulk);
    free(got);
}

/* Close completes what is under way, once each, from a later turn, and then says that the stream is
 * gone; a write stuck on a full socket is no exception. */
static void
close_completes_everything(void **state)
{
    static uint8_t bulk[BULK];
    struct iovec iov = { bulk, BULK };
    uint8_t byte;
    struct write w[4];
    struct fix f;

    fix_start(&f, state, false);
    for (int i = 0; i < 4; i++)
        write_start(&f.a, &w[i], &iov, 1);
    f.a.rd = (struct cw_stream_read){ .buf = &byte, .min = 1, .max = 1, .done = read_done };
    cw_stream_read(f.a.s, &f.a.rd);
    for (int i = 0; i < 10; i++)
        assert_int_equal(cw_reactor_turn(f.h.r, CW_NS_PER_MS), 0);
    assert_int_equal(f.a.n_written, 0);
    cw_stream_close(f.a.s, side_closed, &f.a);
    f.a.s = NULL;
    assert_int_equal(f.a.n_read, 0);
    assert_int_equal(f.a.n_written, 0);
    harness_until(&f.h, is_closed, &f.a);
    assert_int_equal(f.a.n_read, 1);
    assert_int_equal(f.a.read_res, -ECANCELED);
    assert_int_equal(f.a.n_written, 4);
    fix_stop(&f);
}

/* A peer that is gone fails writes with an error, not with a signal. */
static void
gone_peer_fails_writes(void **state)
{
    static uint8_t bulk[BULK];
    struct iovec iov = { bulk, BULK };
    struct write w;
    struct fix f;

    fix_start(&f, state, false);
    close(f.fd);
    f.fd = -1;
    write_start(&f.a, &w, &iov, 1);
    for (int i = 0; i < 1000 && f.a.n_written == 0; i++)
        assert_int_equal(cw_reactor_turn(f.h.r, CW_NS_PER_MS), 0);
    assert_int_equal(f.a.n_written, 1);
    assert_true(f.a.write_res == -EPIPE || f.a.write_res == -ECONNRESET);
    fix_stop(&f);
}

static void
leave_dead_socket(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(strlen(path) < sizeof(un.sun_path));
    memcpy(un.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    close(fd);
}

/* A unix socket that is in use is not taken over; a dead one is; a file is nobody's to replace; the
 * path goes with its listener. */
static void
unix_path_belongs_to_one(void **state)
{
    struct cw_listener_opts opts = { .on_accept = fix_on_accept };
    char why[CW_WHY_SIZE], addr[128];
    struct cw_listener *l, *second;
    struct stat st;
    struct harness h;

    harness_start(&h, state);
    snprintf(addr, sizeof(addr), "unix:%s/s", h.dir);
    opts.addr = addr;
    assert_int_equal(cw_listener_open(h.r, &opts, &l, why), 0);
    assert_int_equal(stat(addr + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(cw_listener_open(h.r, &opts, &second, why), -EADDRINUSE);
    assert_non_null(strstr(why, addr));
    cw_listener_close(l);
    assert_int_equal(stat(addr + 5, &st), -1);
    leave_dead_socket(addr + 5);
    assert_int_equal(cw_listener_open(h.r, &opts, &l, why), 0);
    cw_listener_close(l);
    close(open(addr + 5, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    assert_int_equal(cw_listener_open(h.r, &opts, &second, why), -EEXIST);
    assert_int_equal(stat(addr + 5, &st), 0);
    assert_int_equal(unlink(addr + 5), 0);
    assert_int_equal(cw_listener_open(h.r, &opts, &l, why), 0);
    cw_listener_close(l);
    opts.addr = "nonsense";
    assert_int_equal(cw_listener_open(h.r, &opts, &l, why), -EINVAL);
    harness_stop(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_BOTH(reads_keep_their_bounds),    HARNESS_BOTH(writes_leave_in_order),
        HARNESS_BOTH(close_completes_everything), HARNESS_BOTH(gone_peer_fails_writes),
        HARNESS_BOTH(unix_path_belongs_to_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
