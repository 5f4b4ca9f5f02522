/* Descriptors of others that become readable. */
#include "common/reactor/fdwatch.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tests/unit/reactor/harness.h"

struct seen {
    struct cw_fdwatch *w;
    uint32_t n;
    bool close;
};

static void
on_ready(void *user)
{
    struct seen *s = user;

    s->n++;
    if (s->close) {
        cw_fdwatch_close(s->w);
        s->w = NULL;
    }
}

static bool
was_seen(void *arg)
{
    return ((struct seen *)arg)->n > 0;
}

static void
write_one(int fd)
{
    const uint64_t one = 1;

    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* Once for each arm; at once if there is something already. */
static void
each_arm_is_told_once(void **state)
{
    struct harness h;
    struct seen s = { 0 };
    uint64_t n;
    int fd;

    harness_start(&h, state);
    fd = eventfd(0, EFD_NONBLOCK);
    s.w = cw_fdwatch_new(h.r, fd, on_ready, &s);
    cw_fdwatch_arm(s.w);
    assert_int_equal(cw_reactor_turn(h.r, 0), 0);
    assert_int_equal(s.n, 0);
    write_one(fd);
    harness_until(&h, was_seen, &s);
    for (int i = 0; i < 5; i++) /* not armed: nobody is called */
        assert_int_equal(cw_reactor_turn(h.r, 0), 0);
    assert_int_equal(s.n, 1);
    s.n = 0;
    cw_fdwatch_arm(s.w); /* it is readable still */
    harness_until(&h, was_seen, &s);
    assert_int_equal(read(cw_fdwatch_fd(s.w), &n, sizeof(n)), sizeof(n));
    cw_fdwatch_close(s.w);
    harness_stop(&h);
}

static void
the_end_of_the_other_side_is_told(void **state)
{
    struct harness h;
    struct seen s = { .close = true };
    int fds[2];

    harness_start(&h, state);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    s.w = cw_fdwatch_new(h.r, fds[0], on_ready, &s);
    cw_fdwatch_arm(s.w);
    close(fds[1]);
    harness_until(&h, was_seen, &s);
    assert_int_equal(s.n, 1);
    harness_stop(&h);
}

/* Closed while the kernel waits for it: no call, and the descriptor is closed before the end. */
static void
one_that_waits_may_be_closed(void **state)
{
    struct harness h;
    struct seen s = { 0 };
    int fd;

    harness_start(&h, state);
    fd = eventfd(0, EFD_NONBLOCK);
    s.w = cw_fdwatch_new(h.r, fd, on_ready, &s);
    cw_fdwatch_arm(s.w);
    assert_int_equal(cw_reactor_turn(h.r, 0), 0);
    cw_fdwatch_close(s.w);
    write_one(fd);
    harness_stop(&h);
    assert_int_equal(s.n, 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_BOTH(each_arm_is_told_once),
        HARNESS_BOTH(the_end_of_the_other_side_is_told),
        HARNESS_BOTH(one_that_waits_may_be_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
