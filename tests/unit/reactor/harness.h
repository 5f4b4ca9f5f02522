/* What the reactor's tests share: a reactor, turns until something holds, a directory that goes. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/reactor.h"
#include "tests/lib/cw-test.h"

#define HARNESS_DEADLINE_NS (20 * CW_NS_PER_S)

struct harness {
    struct cw_reactor *r;
    char dir[64];
    char log[4096]; /* all lines, as far as they fit */
    size_t n_log;
};

static inline void
harness_log(void *user, enum cw_log_level level, const char *line)
{
    struct harness *h = user;
    size_t n = strlen(line);

    if (h->n_log + n + 2 > sizeof(h->log))
        return;
    memcpy(h->log + h->n_log, line, n);
    h->n_log += n;
    h->log[h->n_log++] = '\n';
    h->log[h->n_log] = '\0';
}

/* *state: "plain" or NULL. Skips where the kernel forbids io_uring. */
static inline void
harness_start(struct harness *h, void **state)
{
    struct cw_reactor_opts opts = {
        .log_level = CW_LOG_DEBUG,
        .log = harness_log,
        .log_user = h,
        .sq_entries = 64,
        .plain = state != NULL && *state != NULL,
    };
    const char *tmp = getenv("TMPDIR");
    int err;

    *h = (struct harness){ 0 };
    err = cw_reactor_new(&opts, &h->r);
    if (err == -ENOSYS || err == -EPERM)
        skip();
    assert_int_equal(err, 0);
    snprintf(h->dir, sizeof(h->dir), "%s/cw-reactor-XXXXXX",
             tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(h->dir));
}

static inline void
harness_stop(struct harness *h)
{
    cw_reactor_free(h->r);
    assert_int_equal(rmdir(h->dir), 0);
}

/* Turns until cond(arg), for 20 s at most. */
static inline void
harness_until(struct harness *h, bool (*cond)(void *), void *arg)
{
    uint64_t end = cw_reactor_clock_ns() + HARNESS_DEADLINE_NS;

    while (!cond(arg)) {
        assert_true(cw_reactor_clock_ns() < end);
        assert_int_equal(cw_reactor_turn(h->r, 10 * CW_NS_PER_MS), 0);
    }
}

/* Every test of the list, on this kernel's best and as on an old one. */
static inline int
harness_setup_plain(void **state)
{
    *state = (void *)(uintptr_t) "plain";
    return 0;
}
#define HARNESS_BOTH(fn) \
    cmocka_unit_test(fn), \
    { \
#fn "_on_an_old_kernel", fn, harness_setup_plain, NULL, NULL \
    }
