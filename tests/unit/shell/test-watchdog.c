#include "daemon/shell/watchdog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/lib/simenv.h"

/* A service manager that listens, and waits 10 s for a sign of life. */
static int
listen_as_manager(void)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    char name[64];

    snprintf(name, sizeof(name), "@causeway-watchdog-%d", (int)getpid());
    memcpy(un.sun_path, name, strlen(name));
    un.sun_path[0] = '\0';
    assert_int_equal(bind(fd, (struct sockaddr *)&un,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "10000000", 1);
    unsetenv("WATCHDOG_PID");
    return fd;
}

static uint32_t
heard(int fd)
{
    char text[64];
    uint32_t n = 0;
    ssize_t len;

    while ((len = recv(fd, text, sizeof(text) - 1, 0)) >= 0) {
        text[len] = '\0';
        n += strcmp(text, "WATCHDOG=1") == 0;
    }
    return n;
}

struct other {
    struct cw_watchdog w;
    bool hangs;
    uint32_t n_asked;
};

static void
ask(void *user)
{
    struct other *o = user;

    o->n_asked++;
    if (!o->hangs)
        cw_watchdog_alive(&o->w);
}

static void
a_loop_that_turns_is_told_of(void **state)
{
    int fd = listen_as_manager();
    struct cw_simenv e;
    struct cw_watchdog w;

    cw_simenv_init(&e, 1);
    cw_watchdog_start(&w, &e.env, NULL, NULL);
    for (int i = 0; i < 10; i++) {
        cw_simenv_run_for(&e, 10 * CW_NS_PER_S);
        assert_in_range(heard(fd), 1, 3);
    }
    cw_watchdog_stop(&w);
    cw_simenv_run_for(&e, 60 * CW_NS_PER_S);
    assert_int_equal(heard(fd), 0);
    cw_simenv_fini(&e);
    close(fd);
}

static void
another_loop_that_hangs_is_not_told_of(void **state)
{
    int fd = listen_as_manager();
    struct other o = { 0 };
    struct cw_simenv e;

    cw_simenv_init(&e, 1);
    cw_watchdog_start(&o.w, &e.env, ask, &o);
    cw_simenv_run_for(&e, 30 * CW_NS_PER_S);
    assert_in_range(heard(fd), 3, 9);
    o.hangs = true;
    o.n_asked = 0;
    cw_simenv_run_for(&e, 60 * CW_NS_PER_S);
    assert_int_equal(heard(fd), 0);
    assert_int_equal(o.n_asked, 1); /* and not asked again and again */
    o.hangs = false;
    cw_watchdog_alive(&o.w);
    cw_simenv_run_for(&e, 10 * CW_NS_PER_S);
    assert_in_range(heard(fd), 2, 4);
    cw_watchdog_stop(&o.w);
    cw_simenv_fini(&e);
    close(fd);
}

static void
no_watchdog_no_timer(void **state)
{
    struct cw_simenv e;
    struct cw_watchdog w;

    unsetenv("WATCHDOG_USEC");
    cw_simenv_init(&e, 1);
    cw_watchdog_start(&w, &e.env, NULL, NULL);
    assert_false(cw_simenv_step(&e));
    setenv("WATCHDOG_USEC", "10000000", 1);
    setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
    cw_watchdog_start(&w, &e.env, NULL, NULL);
    assert_false(cw_simenv_step(&e));
    unsetenv("WATCHDOG_PID");
    cw_simenv_fini(&e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_that_turns_is_told_of),
        cmocka_unit_test(another_loop_that_hangs_is_not_told_of),
        cmocka_unit_test(no_watchdog_no_timer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
