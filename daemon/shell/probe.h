/* shell/probe.h - how far are some other hosts? A few pings over a connection of their own.
 *
 *   IDLE --begin--> connect, ping after ping --enough, or the time is up--> OVER --take--> IDLE
 *
 * On the control thread. The least of a few is told: the rest is the wait of busy daemons. One that
 * does not answer in time tells nothing.
 */
#pragma once

#include "common/service/session.h"

#define CW_PROBES_MAX 4u

struct cw_probe {
    struct cw_probes *all;
    struct cw_rpc_session *session; /* NULL: it is free */
    struct cw_rpc_call call;
    struct cw_timer timer; /* its end */
    char host[64];
    uint64_t sent_ns, best_ns;
    uint32_t n_pings;
    bool over;
};

/* Zero-initialise, then set service. */
struct cw_probes {
    struct cw_service *service;
    struct cw_uuid cluster_id;
    struct cw_probe of[CW_PROBES_MAX];
};

/* Ignored while all are at work, or that host is measured already. */
void cw_probe_begin(struct cw_probes *p, const char *host, const char *addr);

/* At most CW_PROBES_MAX of what came out since the last time; returns how many. host is borrowed
 * until the next begin. */
struct cw_probe_result {
    const char *host;
    uint64_t ns;
};
uint32_t cw_probe_take(struct cw_probes *p, struct cw_probe_result ret[static CW_PROBES_MAX]);

/* Not from inside a callback of its own. */
void cw_probes_fini(struct cw_probes *p);
