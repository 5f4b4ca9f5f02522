/* service/session.h - a lasting client of the manager.
 *
 *   WAITING -back-off over-> CONNECTING -HELLO_OK-> UP -broken, silent 5 s, redirected-> WAITING
 *
 * Tries its addresses in turn with back-off 50 ms .. 2 s and jitter; follows NOT_MANAGER. Calls
 * made while it is not UP wait until their deadline and then fail with UNAVAILABLE, naming the
 * addresses that were tried and why they failed. Calls that were sent when the connection broke
 * fail with UNAVAILABLE too, unless `repeat` is set.
 */
#pragma once

#include "common/service/rpc.h"
#include "common/service/service.h"

struct cw_rpc_session;

struct cw_rpc_session_events {
    /* UP: what is sent from inside goes out before the calls that were waiting (register here). */
    void (*on_connected)(void *user, struct cw_rpc_session *);
    void (*on_disconnected)(void *user, struct cw_rpc_session *, const char *why);
    /* From the manager. req is NULL for a one-way message: m is borrowed for the call. Else an
     * answer is owed, and m lives until it is given. */
    void (*on_message)(void *user, struct cw_rpc_session *, const cw_envelope *m,
                       struct cw_rpc_req *take_req);
};

struct cw_rpc_session_opts {
    const char *addrs;                      /* "ADDR:PORT[,ADDR:PORT..]", at most 16 */
    struct cw_uuid cluster_id;              /* nil: whichever answers */
    struct cw_uuid self_id;                 /* client instance, or nil */
    uint64_t incarnation;                   /* daemons: of this start */
    const struct cw_rpc_session_events *ev; /* members may be NULL; lives as long as the session */
    void *user;
};

/* 0 and it begins to connect on the next loop turn; -EINVAL with why if addrs is not a list of
 * addresses. */
int cw_rpc_session_new(struct cw_service *s, const struct cw_rpc_session_opts *opts,
                       struct cw_rpc_session **ret, char why[static CW_RPC_WHY_SIZE]);

/* Fails what is under way (done comes from inside), hangs up. Not from inside its own callbacks or
 * those of its calls. NULL is fine. */
void cw_rpc_session_free(struct cw_rpc_session *ss);

/* body is borrowed for the call. timeout_ms > 0 counts from now, connecting included. */
void cw_rpc_session_call(struct cw_rpc_session *ss, struct cw_rpc_call *call,
                         const cw_envelope *body, uint64_t timeout_ms);

/* One-way; dropped when not UP. */
void cw_rpc_session_send(struct cw_rpc_session *ss, const cw_envelope *body);

bool cw_rpc_session_up(const struct cw_rpc_session *ss);

/* NULL when not UP. */
struct cw_rpc_conn *cw_rpc_session_conn(struct cw_rpc_session *ss);

/* Learned from ClientHelloReply.managers or a register reply: replaces the list (kept if empty or
 * unreadable), but those of the options are still tried, last. A connection that stands is kept. */
void cw_rpc_session_set_addrs(struct cw_rpc_session *ss, const char *addrs);

/* The manager is there now, as somebody else knows: tried before all others, and a connection to
 * another is given up for it. No address: ignored. */
void cw_rpc_session_move(struct cw_rpc_session *ss, const char *addr);
void cw_rpc_session_set_cluster(struct cw_rpc_session *ss, const struct cw_uuid *cluster_id);

/* Addresses and what happened there last, one line; for messages. */
const char *cw_rpc_session_trouble(struct cw_rpc_session *ss, char text[static CW_RPC_WHY_SIZE]);
