/* service/harness.h - one loop, run until something is true or 10 s have passed. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/service/server.h"
#include "common/service/service.h"
#include "common/service/session.h"

struct loop {
    struct cw_service *s;
    struct cw_env *env;
    struct cw_timer poll;
    bool (*until)(void *);
    void *arg;
    uint64_t deadline_ns;
    bool reached;
    unsigned n_warnings; /* lines of the log at warning or worse */
    char last_warning[512];
};

static inline void
loop_log(void *user, enum cw_log_level level, const char *line)
{
    struct loop *l = user;

    if (level > CW_LOG_WARNING)
        return;
    l->n_warnings++;
    snprintf(l->last_warning, sizeof(l->last_warning), "%s", line);
}

static inline void
loop_poll(struct cw_timer *t)
{
    struct loop *l = cw_container_of(t, struct loop, poll);
    uint64_t now = cw_now_ns(l->env);

    l->reached = l->until != NULL && l->until(l->arg);
    if (l->reached || now >= l->deadline_ns)
        cw_service_stop(l->s);
    else
        cw_timer_set(l->env, t, now + CW_NS_PER_MS);
}

static inline void
loop_init(struct loop *l)
{
    struct cw_service_opts opts = { .log_level = CW_LOG_DEBUG, .log = loop_log, .log_user = l };
    int err = 0;

    *l = (struct loop){ .poll.fn = loop_poll };
    l->s = cw_service_new(&opts, &err);
    assert_non_null(l->s);
    l->env = cw_service_env(l->s);
}

/* False if it did not become true within 10 s. */
static inline bool
loop_until(struct loop *l, bool (*until)(void *), void *arg)
{
    l->until = until;
    l->arg = arg;
    l->reached = false;
    l->deadline_ns = cw_now_ns(l->env) + 10 * CW_NS_PER_S;
    cw_timer_set(l->env, &l->poll, 0);
    cw_service_run(l->s);
    return l->reached;
}

static inline bool
loop_is_set(void *arg)
{
    return *(const bool *)arg;
}

/* Lets time pass. */
static inline void
loop_for_ms(struct loop *l, uint64_t ms)
{
    l->until = NULL;
    l->deadline_ns = cw_now_ns(l->env) + ms * CW_NS_PER_MS;
    cw_timer_set(l->env, &l->poll, 0);
    cw_service_run(l->s);
}
