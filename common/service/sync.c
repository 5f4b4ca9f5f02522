#include "common/service/sync.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/service/service.h"
#include "common/service/session.h"

/* Nobody answers pings while no call runs, so a connection older than that may be gone. */
#define IDLE_NS CW_NS_PER_S

struct cw_rpc_sync {
    struct cw_service *s;
    struct cw_rpc_session *session;
    char *addrs;
    uint64_t used_ns;
    struct cw_rpc_call call;
    cw_envelope *reply;

    struct cw_timer timer; /* of slow */
    uint32_t after_ms;
    uint64_t until_ns; /* the call under way ends */
    void (*slow)(void *user, uint64_t left_ms);
    void *slow_user;
};

/* What goes wrong on the way is in the error of the call; a tool prints that and nothing twice. */
static void
sync_no_log(void *user, enum cw_log_level level, const char *line)
{
}

static int
sync_open(struct cw_rpc_sync *c, char *why)
{
    static const struct cw_rpc_session_events events = { 0 };
    struct cw_rpc_session_opts opts = { .addrs = c->addrs, .ev = &events };

    return cw_rpc_session_new(c->s, &opts, &c->session, why);
}

int
cw_rpc_sync_new(const char *addrs, struct cw_rpc_sync **ret, char why[static CW_RPC_WHY_SIZE])
{
    struct cw_service_opts service_opts = { .log = sync_no_log };
    struct cw_rpc_sync *c = calloc(1, sizeof(*c));
    int err = 0;

    cw_assert(c != NULL);
    c->addrs = strdup(addrs);
    cw_assert(c->addrs != NULL);
    c->s = cw_service_new(&service_opts, &err);
    if (c->s == NULL)
        snprintf(why, CW_RPC_WHY_SIZE, "cannot start: %s", strerror(-err));
    else
        err = sync_open(c, why);
    if (err != 0) {
        cw_rpc_sync_free(c);
        return err;
    }
    *ret = c;
    return 0;
}

void
cw_rpc_sync_free(struct cw_rpc_sync *c)
{
    if (c == NULL)
        return;
    cw_rpc_session_free(c->session);
    cw_service_free(c->s);
    free(c->addrs);
    free(c);
}

static void
sync_on_done(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct cw_rpc_sync *c = cw_container_of(call, struct cw_rpc_sync, call);

    c->reply = cw_envelope_copy(reply);
    cw_assert(c->reply != NULL);
    cw_service_stop(c->s);
}

static void
sync_is_slow(struct cw_timer *t)
{
    struct cw_rpc_sync *c = cw_container_of(t, struct cw_rpc_sync, timer);
    uint64_t now = cw_now_ns(cw_service_env(c->s));

    c->slow(c->slow_user, c->until_ns > now ? (c->until_ns - now) / CW_NS_PER_MS : 0);
}

void
cw_rpc_sync_on_slow(struct cw_rpc_sync *c, uint32_t after_ms,
                    void (*slow)(void *user, uint64_t left_ms), void *user)
{
    c->after_ms = after_ms;
    c->slow = slow;
    c->slow_user = user;
    c->timer.fn = sync_is_slow;
}

cw_envelope *
cw_rpc_call_sync(struct cw_rpc_sync *c, const cw_envelope *body, uint64_t timeout_ms, bool repeat)
{
    struct cw_env *env = cw_service_env(c->s);
    char why[CW_RPC_WHY_SIZE];
    cw_envelope *reply;

    if (c->used_ns != 0 && cw_now_ns(env) - c->used_ns > IDLE_NS) {
        cw_rpc_session_free(c->session);
        cw_assert(sync_open(c, why) == 0); /* the same addresses as before */
    }
    c->call = (struct cw_rpc_call){ .done = sync_on_done, .repeat = repeat };
    c->until_ns = cw_now_ns(env) + timeout_ms * CW_NS_PER_MS;
    cw_rpc_session_call(c->session, &c->call, body, timeout_ms);
    if (c->slow != NULL)
        cw_timer_set(env, &c->timer, cw_now_ns(env) + c->after_ms * CW_NS_PER_MS);
    cw_service_run(c->s);
    cw_timer_cancel(env, &c->timer);
    c->used_ns = cw_now_ns(env);
    reply = c->reply;
    c->reply = NULL;
    return reply;
}
