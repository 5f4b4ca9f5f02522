#include "common/service/conn.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/mem/buf.h"
#include "common/service/envelope.h"

#define PING_AFTER_NS (2 * CW_NS_PER_S)
#define SILENT_NS (5 * CW_NS_PER_S)
#define RETRY_NS (50 * CW_NS_PER_MS)
#define ALIVE_NS CW_NS_PER_S
#define ALIVE_GRID_NS (250 * CW_NS_PER_MS) /* looks of many connections share a wake-up */
#define IOV_MAX_PUT 64
#define FRAMES_PER_TURN 64 /* then the other connections have their turn */

struct conn_out {
    struct cw_list link;
    struct cw_msg *msg;
    uint32_t off;
};

static void conn_flush(struct cw_rpc_conn *c);

/* ---- the end ---- */

static void
conn_end(struct cw_rpc_conn *c, bool fault, const char *why)
{
    if (c->state == CW_CONN_ENDING)
        return;
    c->state = CW_CONN_ENDING;
    c->fault = fault;
    if (why != c->why)
        snprintf(c->why, sizeof(c->why), "%s", why);
    event_del(c->rd);
    cw_timer_cancel(c->env, &c->alive);
    cw_timer_cancel(c->env, &c->retry);
    cw_timer_set(c->env, &c->down, cw_now_ns(c->env));
    conn_flush(c); /* the last words */
}

void
cw_rpc_conn_close(struct cw_rpc_conn *c, const char *why)
{
    conn_end(c, false, why);
}

void
cw_conn_fault(struct cw_rpc_conn *c, const char *fmt, ...)
{
    va_list args;

    if (c->state == CW_CONN_ENDING)
        return;
    va_start(args, fmt);
    vsnprintf(c->why, sizeof(c->why), fmt, args);
    va_end(args);
    conn_end(c, true, c->why);
}

static void
conn_down(struct cw_rpc_conn *c)
{
    struct cw_list lost;

    cw_list_init(&lost);
    cw_list_splice_back(&lost, &c->calls);
    c->n_calls = 0;
    CW_LIST_EACH (it, &lost)
        cw_list_entry(it, struct cw_rpc_call, link)->conn = NULL;
    cw_conn_orphan_reqs(c);
    c->ev->on_down(c, c->why, c->fault, &lost);
}

static void
conn_on_down_timer(struct cw_timer *t)
{
    conn_down(cw_container_of(t, struct cw_rpc_conn, down));
}

void
cw_conn_abort(struct cw_rpc_conn *c, const char *why)
{
    conn_end(c, false, why);
    conn_down(c);
}

static void
conn_drop_out(struct cw_rpc_conn *c)
{
    struct conn_out *o;

    while ((o = cw_list_first(&c->out, struct conn_out, link)) != NULL) {
        cw_list_remove(&o->link);
        cw_msg_unref(o->msg);
        free(o);
    }
    c->out_bytes = 0;
}

void
cw_conn_free(struct cw_rpc_conn *c)
{
    cw_assert(cw_list_empty(&c->calls));
    cw_conn_orphan_reqs(c);
    cw_timer_cancel(c->env, &c->alive);
    cw_timer_cancel(c->env, &c->retry);
    cw_timer_cancel(c->env, &c->down);
    if (c->rd != NULL)
        event_free(c->rd);
    if (c->wr != NULL)
        event_free(c->wr);
    if (c->fd >= 0 && c->state == CW_CONN_OPEN)
        conn_flush(c); /* the last words */
    conn_drop_out(c);
    cw_buf_unref(c->body);
    cw_list_remove(&c->link);
    if (c->fd >= 0)
        close(c->fd);
    free(c);
}

int
cw_conn_detach(struct cw_rpc_conn *c)
{
    int fd = c->fd;

    cw_assert(c->state == CW_CONN_GREETING);
    event_del(c->rd);
    c->fd = -1;
    cw_conn_free(c);
    return fd;
}

/* ---- sending ---- */

/* What waits, as far as one call takes it. */
static ssize_t
conn_send(struct cw_rpc_conn *c)
{
    struct iovec iov[IOV_MAX_PUT];
    struct msghdr mh = { .msg_iov = iov };

    CW_LIST_EACH (it, &c->out) {
        const struct conn_out *o = cw_list_entry(it, struct conn_out, link);

        if (mh.msg_iovlen == IOV_MAX_PUT)
            break;
        iov[mh.msg_iovlen++] = (struct iovec){ .iov_base = o->msg->head + o->off,
                                               .iov_len = o->msg->head_len - o->off };
    }
    return sendmsg(c->fd, &mh, MSG_NOSIGNAL);
}

static void
conn_sent(struct cw_rpc_conn *c, uint32_t n)
{
    c->out_bytes -= n;
    while (n > 0) {
        struct conn_out *o = cw_list_first(&c->out, struct conn_out, link);
        uint32_t part = (uint32_t)cw_min_u64(n, o->msg->head_len - o->off);

        n -= part;
        o->off += part;
        if (o->off < o->msg->head_len)
            return;
        cw_list_remove(&o->link);
        cw_msg_unref(o->msg);
        free(o);
    }
}

static void
conn_flush(struct cw_rpc_conn *c)
{
    while (!cw_list_empty(&c->out)) {
        ssize_t n = conn_send(c);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            event_add(c->wr, NULL);
            return;
        }
        if (n < 0) {
            conn_drop_out(c);
            conn_end(c, false, strerror(errno));
            return;
        }
        conn_sent(c, (uint32_t)n);
    }
}

static void
conn_on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct cw_rpc_conn *c = arg;

    cw_service_tick(c->s);
    conn_flush(c);
}

bool
cw_conn_put(struct cw_rpc_conn *c, uint8_t type, const void *payload, uint32_t len)
{
    struct cw_wire_hdr h = { .type = type };
    struct conn_out *o;

    if (c->state == CW_CONN_ENDING)
        return false;
    if (c->out_bytes + len > CW_RPC_SEND_MAX) {
        cw_conn_fault(c, "does not read what it is sent (%u bytes wait)", c->out_bytes);
        return false;
    }
    o = malloc(sizeof(*o));
    if (o != NULL)
        *o = (struct conn_out){
            .msg = cw_frame_opaque(cw_service_pool(c->s), h, NULL, payload, len),
        };
    if (o == NULL || o->msg == NULL) {
        free(o);
        conn_end(c, false, "out of memory for control messages");
        return false;
    }
    cw_assert(o->msg->body_len == 0);
    c->out_bytes += o->msg->head_len;
    cw_list_push_back(&c->out, &o->link);
    if (c->state == CW_CONN_GREETING)
        conn_flush(c);
    else if (o->link.prev == &c->out) /* with what else this turn of the loop sends */
        event_active(c->wr, EV_WRITE, 0);
    return c->state != CW_CONN_ENDING;
}

void
cw_conn_greet(struct cw_rpc_conn *c, const struct cw_wire_hello *hello)
{
    cw_conn_put(c, CW_FT_HELLO, hello, sizeof(*hello));
}

/* ---- liveness ---- */

/* Before PING_AFTER_NS of silence there is nothing to do. */
static void
conn_look_next(struct cw_rpc_conn *c)
{
    uint64_t at = cw_max_u64(cw_now_ns(c->env) + ALIVE_NS, c->heard_ns + PING_AFTER_NS);

    c->look_ns = cw_div_up(at, ALIVE_GRID_NS) * ALIVE_GRID_NS;
    cw_timer_set(c->env, &c->alive, c->look_ns);
}

static void
conn_on_alive(struct cw_timer *t)
{
    struct cw_rpc_conn *c = cw_container_of(t, struct cw_rpc_conn, alive);
    uint64_t now = cw_now_ns(c->env);

    if (c->state == CW_CONN_GREETING) {
        cw_conn_fault(c, "no HELLO in time");
        return;
    }
    /* Who slept (stopped, suspended) has not listened: it may not blame the other. */
    if (now - c->look_ns > ALIVE_NS)
        c->heard_ns = cw_max_u64(c->heard_ns, now - PING_AFTER_NS);
    if (now - c->heard_ns >= SILENT_NS) {
        conn_end(c, false, "silent for 5 s");
        return;
    }
    conn_look_next(c);
    if (now - c->heard_ns >= PING_AFTER_NS)
        cw_conn_ping(c);
}

void
cw_conn_opened(struct cw_rpc_conn *c, const struct cw_wire_hello *peer)
{
    uint64_t now = cw_now_ns(c->env);

    cw_assert(c->state == CW_CONN_GREETING);
    c->state = CW_CONN_OPEN;
    c->peer = *peer;
    c->heard_ns = now;
    conn_look_next(c);
}

/* ---- receiving ---- */

static bool
conn_check_head(struct cw_rpc_conn *c)
{
    const struct cw_wire_hdr *h = &c->head.hdr;
    uint8_t want = c->state == CW_CONN_GREETING ? CW_FT_HELLO : CW_FT_CONTROL;
    int err = cw_frame_check_hdr(h);

    if (err != 0)
        cw_conn_fault(c, "%s", cw_frame_error_text(err));
    else if (h->type != want)
        cw_conn_fault(c, "frame %s instead of %s", cw_frame_type_name(h->type),
                      cw_frame_type_name(want));
    else if (want == CW_FT_HELLO && h->payload_len != sizeof(struct cw_wire_hello))
        cw_conn_fault(c, "HELLO of %u bytes", h->payload_len);
    else if (h->payload_len == 0 || h->payload_len > CW_RPC_MESSAGE_MAX)
        cw_conn_fault(c, "message of %u bytes", h->payload_len);
    return c->state != CW_CONN_ENDING;
}

/* Where the next bytes go; 0 when the budget for the body is empty. */
static size_t
conn_room(struct cw_rpc_conn *c, uint8_t **ret_at)
{
    uint32_t head_len = c->state == CW_CONN_GREETING ? CW_CONN_HELLO_LEN : CW_CONN_HEAD_LEN;

    if (c->got < sizeof(struct cw_wire_hdr))
        head_len = sizeof(struct cw_wire_hdr); /* what follows is believed only after a check */
    if (c->got < head_len) {
        *ret_at = c->head.bytes + c->got;
        return head_len - c->got;
    }
    if (c->body == NULL)
        c->body = cw_buf_get(cw_service_pool(c->s), c->head.hdr.payload_len);
    if (c->body == NULL)
        return 0;
    *ret_at = c->body->data + (c->got - CW_CONN_HEAD_LEN);
    return c->head.hdr.payload_len - (c->got - CW_CONN_HEAD_LEN);
}

static bool
conn_check_payload(struct cw_rpc_conn *c, const void *payload)
{
    int err = cw_frame_check_csums(&c->head.hdr, &c->head.sum.csum);

    if (err == 0)
        err = cw_frame_check_opaque(&c->head.hdr, &c->head.sum.csum, payload);
    if (err != 0)
        cw_conn_fault(c, "%s", cw_frame_error_text(err));
    return err == 0;
}

static void
conn_take_message(struct cw_rpc_conn *c)
{
    struct cw_buf *body = c->body;
    cw_envelope *m = NULL;

    c->body = NULL;
    c->got = 0;
    if (conn_check_payload(c, body->data)) {
        m = cw_envelope_unpack(body->data, c->head.hdr.payload_len);
        if (m == NULL)
            cw_conn_fault(c, "message cannot be read");
    }
    cw_buf_unref(body);
    if (m != NULL)
        cw_conn_dispatch(c, m);
}

/* Returns false when c may not be touched any more. */
static bool
conn_take_hello(struct cw_rpc_conn *c)
{
    uint8_t frame[CW_CONN_HELLO_LEN];
    struct cw_wire_hello hello;

    memcpy(frame, c->head.bytes, sizeof(frame));
    memcpy(&hello, frame + CW_CONN_HEAD_LEN, sizeof(hello));
    c->got = 0;
    if (!conn_check_payload(c, &hello))
        return true;
    if (hello.kind == CW_HELLO_DATA) {
        c->ev->on_hello(c, &hello, frame);
        return false;
    }
    if (hello.kind == CW_HELLO_CONTROL)
        c->ev->on_hello(c, &hello, frame);
    else
        cw_conn_fault(c, "HELLO of unknown kind %u", hello.kind);
    return true;
}

/* Bytes arrived: takes what is whole. False when c is gone. */
static bool
conn_advance(struct cw_rpc_conn *c)
{
    if (c->got == sizeof(struct cw_wire_hdr) && !conn_check_head(c))
        return true;
    if (c->got < CW_CONN_HEAD_LEN)
        return true;
    if (c->got == CW_CONN_HEAD_LEN && cw_frame_check_csums(&c->head.hdr, &c->head.sum.csum) != 0) {
        cw_conn_fault(c, "%s", cw_frame_error_text(CW_FRAME_E_CSUM));
        return true;
    }
    if (c->got < CW_CONN_HEAD_LEN + c->head.hdr.payload_len)
        return true;
    if (c->state == CW_CONN_GREETING)
        return conn_take_hello(c);
    conn_take_message(c);
    return true;
}

/* From what was read ahead, or from the socket: there past it, if it is an open connection's and
 * little is wanted. As recv. */
static ssize_t
conn_recv(struct cw_rpc_conn *c, uint8_t *to, size_t len)
{
    ssize_t n;

    if (c->ahead_at == c->ahead_end) {
        if (c->state != CW_CONN_OPEN || len >= sizeof(c->ahead))
            return recv(c->fd, to, len, 0);
        n = recv(c->fd, c->ahead, sizeof(c->ahead), 0);
        if (n <= 0)
            return n;
        c->ahead_at = 0;
        c->ahead_end = (uint32_t)n;
        c->dry = (size_t)n < sizeof(c->ahead);
    }
    n = (ssize_t)cw_min_u64(len, c->ahead_end - c->ahead_at);
    memcpy(to, c->ahead + c->ahead_at, (size_t)n);
    c->ahead_at += (uint32_t)n;
    return n;
}

/* What was read ahead is taken in this turn: the loop does not call again for it. */
static void
conn_read(struct cw_rpc_conn *c)
{
    for (int i = 0;
         (i < FRAMES_PER_TURN || c->ahead_at < c->ahead_end) && c->state != CW_CONN_ENDING; i++) {
        uint8_t *at;
        size_t room = conn_room(c, &at);
        ssize_t n;

        if (c->dry && c->ahead_at == c->ahead_end) {
            c->dry = false; /* the loop calls again for what comes */
            return;
        }
        if (room == 0) {
            event_del(c->rd);
            cw_timer_set(c->env, &c->retry, cw_now_ns(c->env) + RETRY_NS);
            return;
        }
        n = conn_recv(c, at, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            if (n == 0 && c->got > 0)
                cw_conn_fault(c, "closed in mid-frame");
            else
                conn_end(c, false, n == 0 ? "closed by the peer" : strerror(errno));
            return;
        }
        c->got += (uint32_t)n;
        c->heard_ns = cw_now_ns(c->env);
        if (!conn_advance(c))
            return;
    }
}

static void
conn_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct cw_rpc_conn *c = arg;

    cw_service_tick(c->s);
    conn_read(c);
}

static void
conn_on_retry(struct cw_timer *t)
{
    struct cw_rpc_conn *c = cw_container_of(t, struct cw_rpc_conn, retry);

    event_add(c->rd, NULL);
    conn_read(c);
}

struct cw_rpc_conn *
cw_conn_new(struct cw_service *s, int take_fd, const struct cw_conn_events *ev, void *owner,
            uint64_t greet_ms)
{
    struct cw_rpc_conn *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->s = s;
    c->env = cw_service_env(s);
    c->ev = ev;
    c->owner = owner;
    c->fd = -1;
    c->alive.fn = conn_on_alive;
    c->retry.fn = conn_on_retry;
    c->down.fn = conn_on_down_timer;
    cw_list_init(&c->link);
    cw_list_init(&c->out);
    cw_list_init(&c->calls);
    cw_list_init(&c->reqs);
    c->rd = event_new(cw_service_base(s), take_fd, EV_READ | EV_PERSIST, conn_on_readable, c);
    c->wr = event_new(cw_service_base(s), take_fd, EV_WRITE, conn_on_writable, c);
    if (c->rd == NULL || c->wr == NULL || event_add(c->rd, NULL) != 0) {
        cw_conn_free(c);
        return NULL;
    }
    c->fd = take_fd;
    cw_timer_set(c->env, &c->alive, cw_now_ns(c->env) + greet_ms * CW_NS_PER_MS);
    return c;
}

const struct cw_wire_hello *
cw_rpc_conn_peer(const struct cw_rpc_conn *c)
{
    return &c->peer;
}

const char *
cw_rpc_conn_peer_addr(const struct cw_rpc_conn *c)
{
    return c->addr;
}

void
cw_rpc_conn_set_user(struct cw_rpc_conn *c, void *user)
{
    c->user = user;
}

void *
cw_rpc_conn_user(const struct cw_rpc_conn *c)
{
    return c->user;
}
