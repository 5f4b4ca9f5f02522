/* service/conn.h - one control connection from its socket to its end; for the files of this room.
 *
 *   GREETING --HELLO read--> OPEN --fault, EOF, silence, close--> ENDING --loop turn--> on_down
 *
 * conn.c moves frames, call.c matches replies with calls and answers requests. The owner (server or
 * session) frees the connection from on_down or at any time outside its callbacks.
 */
#pragma once

#include "common/codec/frame.h"
#include "common/service/rpc.h"
#include "common/service/service.h"

struct event;

#define CW_CONN_HEAD_LEN 72u     /* header and the one checksum of an opaque payload */
#define CW_CONN_AHEAD_LEN 16384u /* many small frames in one recv */
#define CW_CONN_HELLO_LEN (CW_CONN_HEAD_LEN + sizeof(struct cw_wire_hello))

enum cw_conn_state { CW_CONN_GREETING, CW_CONN_OPEN, CW_CONN_ENDING };

struct cw_conn_events {
    /* The peer's HELLO, its form checked. frame: CW_CONN_HELLO_LEN bytes as they came. */
    void (*on_hello)(struct cw_rpc_conn *, const struct cw_wire_hello *, const uint8_t *frame);
    void (*on_message)(struct cw_rpc_conn *, const cw_envelope *, struct cw_rpc_req *take_req);
    /* Last. The calls that were under way are in `lost`; the owner ends each. Frees c. */
    void (*on_down)(struct cw_rpc_conn *, const char *why, bool fault, struct cw_list *lost);
    /* A reply to a call; true: the owner took the call over. May be NULL. */
    bool (*on_reply)(struct cw_rpc_conn *, struct cw_rpc_call *, const cw_envelope *);
};

struct cw_rpc_conn {
    struct cw_service *s;
    struct cw_env *env;
    const struct cw_conn_events *ev;
    void *owner;         /* server or session */
    void *user;          /* of the room's user */
    struct cw_list link; /* the owner's */
    enum cw_conn_state state;
    int fd;
    struct event *rd, *wr;
    char addr[128];
    struct cw_wire_hello peer;

    union {
        struct cw_wire_hdr hdr;
        struct {
            uint8_t skip[64];
            uint64_t csum;
        } sum;
        uint8_t bytes[CW_CONN_HELLO_LEN];
    } head;
    uint32_t got;                 /* bytes of head, then of the payload behind it */
    bool dry;                     /* the socket had no more */
    uint32_t ahead_at, ahead_end; /* what of `ahead` is read and not taken yet */
    struct cw_buf *body;          /* where the payload of a CONTROL frame gathers */
    struct cw_timer retry;        /* the budget was empty: read again */

    struct cw_list out; /* of struct conn_out */
    uint32_t out_bytes;

    struct cw_timer alive; /* GREETING: deadline; OPEN: the next look at heard_ns */
    uint64_t heard_ns;
    uint64_t look_ns; /* when `alive` is due */

    struct cw_list calls; /* sent, unanswered */
    struct cw_list reqs;  /* received, unanswered */
    uint32_t n_calls, n_reqs;

    struct cw_timer down;
    bool fault; /* the peer broke the protocol */
    char why[CW_RPC_WHY_SIZE];
    uint8_t ahead[CW_CONN_AHEAD_LEN];
};

/* Takes fd (connected, non-blocking) on success. The peer has greet_ms to send its HELLO. */
struct cw_rpc_conn *cw_conn_new(struct cw_service *s, int take_fd, const struct cw_conn_events *ev,
                                void *owner, uint64_t greet_ms);

/* No on_down: the owner knows. Calls still under way must have been ended. Closes fd. */
void cw_conn_free(struct cw_rpc_conn *c);

/* Ends it at once: on_down comes from inside, which frees it. */
void cw_conn_abort(struct cw_rpc_conn *c, const char *why);

/* Sends HELLO. */
void cw_conn_greet(struct cw_rpc_conn *c, const struct cw_wire_hello *hello);

/* HELLO was exchanged and accepted. */
void cw_conn_opened(struct cw_rpc_conn *c, const struct cw_wire_hello *peer);

/* GREETING only: gives up the descriptor (on_data) and frees c. */
int cw_conn_detach(struct cw_rpc_conn *c);

/* Hangs up because the peer broke the protocol. */
void cw_conn_fault(struct cw_rpc_conn *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Queues one frame. False if the connection is ending (also because of this frame). */
bool cw_conn_put(struct cw_rpc_conn *c, uint8_t type, const void *payload, uint32_t len);

/* call.c: a whole message arrived. */
void cw_conn_dispatch(struct cw_rpc_conn *c, cw_envelope *take_m);
void cw_conn_ping(struct cw_rpc_conn *c);
void cw_conn_orphan_reqs(struct cw_rpc_conn *c);

/* Packs body into the call (id and deadline set), arms its deadline. False: the call was too big
 * and fails from the next loop turn. */
bool cw_call_begin(struct cw_rpc_call *call, struct cw_service *s, const cw_envelope *body,
                   uint64_t timeout_ms);

/* Puts a begun call on the wire. False: it was not sent and is in no list. */
bool cw_call_send(struct cw_rpc_call *call, struct cw_rpc_conn *c);

/* Fails a call that is in no list from the next loop turn on. */
void cw_call_fail_soon(struct cw_rpc_call *call, Causeway__Control__ErrorCode code,
                       const char *why);

/* Leaves every list and ends with this error, from inside. */
void cw_call_fail(struct cw_rpc_call *call, Causeway__Control__ErrorCode code, const char *why);

/* session.c: the deadline of a call that was waiting to be sent; and it leaves. */
void cw_session_call_expired(struct cw_rpc_session *ss, struct cw_rpc_call *call);
void cw_session_call_left(struct cw_rpc_session *ss, struct cw_rpc_call *call);
