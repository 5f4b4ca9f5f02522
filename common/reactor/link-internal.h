/* reactor/link-internal.h - inside the room: the life of a data link.
 *
 *   RESOLVING -> CONNECTING -> HELLO -> UP -> DOWN -> freed
 *                    (adopted: HELLO)    \-> LINGER -> DOWN
 *
 * DOWN: nothing is read, sent or delivered any more; on_down comes from deferred work. LINGER: what
 * was queued before the end was asked for is still sent, for a second at most. The memory goes when
 * on_down was called and no SQE, helper thread or work item is left.
 */
#pragma once

#include "common/codec/frame.h"
#include "common/reactor/internal.h"
#include "common/reactor/link.h"
#include "common/reactor/sock.h"

enum link_state {
    LINK_RESOLVING,
    LINK_CONNECTING,
    LINK_HELLO,
    LINK_UP,
    LINK_LINGER,
    LINK_DOWN,
};

#define LINK_HEAD_MAX (sizeof(struct cw_wire_hdr) + CW_FRAME_CSUMS_MAX * sizeof(uint64_t))
#define LINK_IOV_MAX 64
#define LINK_SEND_MAX (256u * 1024)

/* A frame that did not lie whole and aligned in one receive buffer. */
struct link_partial {
    _Alignas(8) uint8_t head[LINK_HEAD_MAX];
    uint32_t head_have, head_need; /* head_need: 64 until the header is known */
    struct cw_buf *body;           /* NULL: not begun, or the pool was empty */
    uint32_t body_have, body_need;
};

/* Only while connecting. */
struct link_dial {
    struct cw_link_connect *c; /* NULL: it was told */
    struct link *l;
    struct cw_op op;
    struct cw_sock_addr addr;
    struct cw_inbox_item item; /* from the helper that resolves the name */
    int res;
    char text[CW_SOCK_NAME_SIZE];
};

struct link {
    struct cw_link pub;
    struct cw_reactor *r;
    struct cw_list node;
    enum link_state state;
    int fd; /* -1: none */
    int down_reason;
    bool told; /* the consumer has it: on_down is owed */
    bool rx_busy, tx_busy, dial_busy;
    bool paused, starved;
    struct cw_buf_pool *pool;
    struct cw_timer timer; /* connect and HELLO; lingering */
    struct cw_defer work;  /* on_down, resuming, freeing */
    struct cw_list starved_node;
    struct link_dial *dial;        /* client, until up or failed */
    struct cw_link_server *server; /* server, until up or failed */
    struct cw_wire_hello peer_hello;
    char peer[CW_SOCK_NAME_SIZE];

    struct cw_op rx_op;
    bool rx_direct; /* the receive under way goes into partial.body */
    uint64_t rx_bytes;
    struct link_partial partial;
    uint8_t *spill; /* received, not delivered: paused or starved meanwhile */
    uint32_t spill_at, spill_len;

    struct cw_op tx_op;
    struct cw_flush flush;
    struct cw_msg **txq; /* ring of cap_tx (a power of two) */
    uint32_t tx_head, n_tx, cap_tx;
    uint32_t tx_off; /* bytes of the first msg that are in the socket */
    struct msghdr tx_hdr;
    struct iovec tx_iov[LINK_IOV_MAX];
};

static inline struct link *
link_of(const struct cw_link *l)
{
    return cw_container_of((struct cw_link *)(uintptr_t)l, struct link, pub);
}

/* link.c */
struct link *cw_rlink_new(struct cw_reactor *r, struct cw_buf_pool *pool);
void cw_rlink_set_fd(struct link *l, int fd);
void cw_rlink_break(struct link *l, int reason);
void cw_rlink_linger(struct link *l, int reason);
void cw_rlink_check_gone(struct link *l);
/* Takes msg; first: ahead of what is queued (nothing was sent yet). */
void cw_rlink_queue(struct link *l, struct cw_msg *take_msg, bool first);

/* link-rx.c */
void cw_rlink_rx_init(struct link *l);
void cw_rlink_rx_fini(struct link *l);
void cw_rlink_rx_continue(struct link *l);
/* Bytes that were read elsewhere. False: out of memory. */
bool cw_rlink_rx_preload(struct link *l, const void *bytes, size_t len);

/* link-hello.c */
void cw_rlink_hello_frame(struct link *l, const struct cw_frame *f);
/* The link goes down before it was up: tells the connector. */
void cw_rlink_hello_failed(struct link *l, int res, const struct cw_wire_hello *reply);
