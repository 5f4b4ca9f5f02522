#include "daemon/shell/probe.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "common/base/addr.h"
#include "common/base/bits.h"

#define PINGS 4u
#define TIME_NS (5 * CW_NS_PER_S)

/* A session is not freed from inside its callbacks: the timer does it. */
static void
probe_end(struct cw_probe *p)
{
    struct cw_env *env = cw_service_env(p->all->service);

    cw_timer_set(env, &p->timer, cw_now_ns(env));
}

static void
probe_on_timer(struct cw_timer *t)
{
    struct cw_probe *p = cw_container_of(t, struct cw_probe, timer);

    cw_rpc_call_cancel(&p->call);
    cw_rpc_session_free(p->session);
    p->session = NULL;
    p->over = p->best_ns != 0;
}

static void probe_on_pong(struct cw_rpc_call *call, const cw_envelope *reply);

/* The service's clock stands still while it handles what came together. */
static uint64_t
probe_now_ns(struct cw_probe *p)
{
    cw_service_tick(p->all->service);
    return cw_now_ns(cw_service_env(p->all->service));
}

static void
probe_ping(struct cw_probe *p)
{
    cw_envelope ping = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    p->call.done = probe_on_pong;
    p->sent_ns = probe_now_ns(p);
    cw_rpc_session_call(p->session, &p->call, &ping, TIME_NS / CW_NS_PER_MS);
}

static void
probe_on_pong(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct cw_probe *p = cw_container_of(call, struct cw_probe, call);
    uint64_t ns = probe_now_ns(p) - p->sent_ns;

    if (reply->error != NULL) {
        probe_end(p);
        return;
    }
    if (p->best_ns == 0 || ns < p->best_ns)
        p->best_ns = cw_max_u64(ns, 1);
    if (++p->n_pings == PINGS)
        probe_end(p);
    else
        probe_ping(p);
}

static void
probe_on_connected(void *user, struct cw_rpc_session *ss)
{
    struct cw_probe *p = user;

    if (!cw_rpc_call_busy(&p->call))
        probe_ping(p);
}

static const struct cw_rpc_session_events probe_events = { .on_connected = probe_on_connected };

/* A name would have to be looked up, which blocks. */
static bool
is_number(const char *addr)
{
    struct cw_addr a;
    uint8_t bytes[16];

    return cw_addr_parse(addr, false, &a) &&
           (inet_pton(AF_INET, a.host, bytes) == 1 || inet_pton(AF_INET6, a.host, bytes) == 1);
}

static struct cw_probe *
probe_free_one(struct cw_probes *all, const char *host)
{
    struct cw_probe *found = NULL;

    for (uint32_t i = 0; i < CW_PROBES_MAX; i++) {
        if (all->of[i].session != NULL && strcmp(all->of[i].host, host) == 0)
            return NULL;
        if (all->of[i].session == NULL && !all->of[i].over)
            found = &all->of[i];
    }
    return found;
}

void
cw_probe_begin(struct cw_probes *all, const char *host, const char *addr)
{
    struct cw_probe *p = probe_free_one(all, host);
    struct cw_rpc_session_opts opts = {
        .addrs = addr, .cluster_id = all->cluster_id, .ev = &probe_events, .user = p
    };
    struct cw_env *env = cw_service_env(all->service);
    char why[CW_RPC_WHY_SIZE];

    if (p == NULL || strlen(host) >= sizeof(p->host) || !is_number(addr))
        return;
    *p = (struct cw_probe){ .all = all, .timer.fn = probe_on_timer };
    snprintf(p->host, sizeof(p->host), "%s", host);
    if (cw_rpc_session_new(all->service, &opts, &p->session, why) != 0)
        p->session = NULL;
    else
        cw_timer_set(env, &p->timer, cw_now_ns(env) + TIME_NS);
}

uint32_t
cw_probe_take(struct cw_probes *all, struct cw_probe_result ret[static CW_PROBES_MAX])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < CW_PROBES_MAX; i++) {
        if (!all->of[i].over)
            continue;
        all->of[i].over = false;
        ret[n++] = (struct cw_probe_result){ all->of[i].host, all->of[i].best_ns };
    }
    return n;
}

void
cw_probes_fini(struct cw_probes *all)
{
    for (uint32_t i = 0; i < CW_PROBES_MAX; i++) {
        struct cw_probe *p = &all->of[i];

        if (p->session == NULL)
            continue;
        cw_timer_cancel(cw_service_env(all->service), &p->timer);
        cw_rpc_call_cancel(&p->call);
        cw_rpc_session_free(p->session);
        p->session = NULL;
    }
}
