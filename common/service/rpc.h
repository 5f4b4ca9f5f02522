/* service/rpc.h - control connections: requests, replies and one-way messages of control.proto.
 *
 * A connection begins with HELLO both ways (struct cw_wire_hello, kind CONTROL) and then carries
 * one Envelope per CONTROL frame. It is symmetric: either side asks. An empty request (no body) is
 * a ping and is answered here; a side that has heard nothing for 2 s pings, after 5 s it hangs up.
 *
 *   rpc.h     what both ends share: connections, requests, calls
 *   server.h  listens; sorts data connections from control connections
 *   session.h one lasting client: several addresses, reconnecting, redirected
 *   sync.h    for command-line tools: ask and wait
 *
 * Everything belongs to the thread of its cw_service. Memory: a message has at most
 * CW_RPC_MESSAGE_MAX bytes on the wire and CW_RPC_UNPACKED_MAX unpacked, a connection has at most
 * CW_RPC_REQUESTS_MAX requests unanswered each way and CW_RPC_SEND_MAX bytes waiting to be sent (a
 * peer that reads too slowly is dropped), and all of them together have the service's budget.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/env.h"
#include "common/base/list.h"
#include "common/base/uuid.h"
#include "proto/control.pb-c.h"
#include "proto/wire.h"

#define CW_RPC_MESSAGE_MAX (1024u * 1024u)
#define CW_RPC_UNPACKED_MAX (32u * 1024u * 1024u)
#define CW_RPC_REQUESTS_MAX 1024u
#define CW_RPC_SEND_MAX (8u * 1024u * 1024u)
#define CW_RPC_WHY_SIZE 256 /* one line for people */

typedef Causeway__Control__Envelope cw_envelope;

struct cw_service;

/* An established connection, between its on_open (or on_connected) and its on_down. */
struct cw_rpc_conn;

/* A request that the other side sent and this one owes an answer; its message lives as long. */
struct cw_rpc_req;

/* ---- asking ---- */

/* A request under way, embedded in what asks. Its address holds until done. Zero-initialise. */
struct cw_rpc_call {
    /* Exactly once, never from inside the call that started it. reply is borrowed and never NULL:
     * reply->error says what failed, also here (TIMEOUT: no answer by the deadline, the other side
     * may still do it; UNAVAILABLE: nobody reached, or the connection broke first - then `sent`
     * tells whether it may have been done; LIMIT: too many calls). */
    void (*done)(struct cw_rpc_call *, const cw_envelope *reply);
    bool
        repeat; /* session.h: harmless when done twice, so send it again if the connection breaks */
    bool sent;  /* out: it left at least once */

    /* The room's while under way. */
    struct cw_list link;
    struct cw_timer timer;
    struct cw_service *service;
    struct cw_rpc_conn *conn;
    struct cw_rpc_session *session;
    uint64_t id, deadline_ns;
    uint8_t *packed;
    uint32_t packed_len;
    int failure;
    char why[CW_RPC_WHY_SIZE];
};

/* Sends `body` (its id, reply and deadline are set here; borrowed for the call). timeout_ms > 0. */
void cw_rpc_conn_call(struct cw_rpc_conn *c, struct cw_rpc_call *call, const cw_envelope *body,
                      uint64_t timeout_ms);

/* Afterwards done is not called; the other side may still do what was asked. Idle: does nothing. */
void cw_rpc_call_cancel(struct cw_rpc_call *call);

static inline bool
cw_rpc_call_busy(const struct cw_rpc_call *call)
{
    return call->packed != NULL;
}

/* A message that wants no answer. Dropped when the connection is on its way down. */
void cw_rpc_conn_send(struct cw_rpc_conn *c, const cw_envelope *body);

/* ---- answering ---- */

/* Each ends the request; the connection may be gone by then, which drops the answer silently. */
void cw_rpc_req_reply(struct cw_rpc_req *take_req, const cw_envelope *body);
void cw_rpc_req_empty(struct cw_rpc_req *take_req);

/* object and hint may be NULL; message is one line. */
void cw_rpc_req_error(struct cw_rpc_req *take_req, Causeway__Control__ErrorCode code,
                      const char *object, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* why: one line that goes on from this end's address; NULL: "is not the manager". */
void cw_rpc_req_not_manager(struct cw_rpc_req *take_req, const char *redirect, const char *why);

/* NULL once the connection is gone. */
struct cw_rpc_conn *cw_rpc_req_conn(const struct cw_rpc_req *req);

/* When the asker stops waiting (this machine's clock); CW_NEVER if it did not say. */
uint64_t cw_rpc_req_deadline_ns(const struct cw_rpc_req *req);

/* ---- the connection ---- */

/* Hangs up; on_down still comes, not from inside close. why is for the log. */
void cw_rpc_conn_close(struct cw_rpc_conn *c, const char *why);

const struct cw_wire_hello *cw_rpc_conn_peer(const struct cw_rpc_conn *c);
const char *cw_rpc_conn_peer_addr(const struct cw_rpc_conn *c); /* "127.0.0.1:4711", "unix" */
void cw_rpc_conn_set_user(struct cw_rpc_conn *c, void *user);
void *cw_rpc_conn_user(const struct cw_rpc_conn *c);

/* ---- envelopes ---- */

/* "NOT_FOUND" .. */
const char *cw_rpc_code_name(Causeway__Control__ErrorCode code);

/* A whole copy, to be freed with cw_envelope_free; NULL if out of memory. */
cw_envelope *cw_envelope_copy(const cw_envelope *m);
void cw_envelope_free(cw_envelope *m); /* NULL is fine */
