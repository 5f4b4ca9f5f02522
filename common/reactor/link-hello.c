/* Who is there: connecting, adopting, and the HELLO exchange that makes a link out of a socket. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/helper.h"
#include "common/reactor/link-internal.h"

#define TIMEOUT_MS 3000

static void
link_set_timeout(struct link *l, uint32_t ms)
{
    cw_timer_set(&l->r->env, &l->timer,
                 cw_reactor_clock_ns() + (ms != 0 ? ms : TIMEOUT_MS) * CW_NS_PER_MS);
}

static bool
hello_send(struct link *l, struct cw_wire_hello hello)
{
    struct cw_wire_hdr h = { .type = CW_FT_HELLO };
    struct cw_msg *m;

    hello.version_min = hello.version_max = CW_WIRE_VERSION;
    hello.features = CW_WIRE_FEATURES;
    m = cw_frame_opaque(l->r->pool, h, NULL, &hello, sizeof(hello));
    if (m != NULL)
        cw_rlink_queue(l, m, true);
    return m != NULL;
}

static void
link_set_up(struct link *l, const struct cw_wire_hello *peer)
{
    cw_timer_cancel(&l->r->env, &l->timer);
    l->peer_hello = *peer;
    memcpy(l->pub.peer_id.b, peer->sender_id, sizeof(l->pub.peer_id.b));
    l->pub.peer_incarnation = peer->incarnation;
    l->pub.features = peer->features & CW_WIRE_FEATURES;
}

/* The consumer got the link and may have closed it at once. */
static void
link_hand_over_done(struct link *l)
{
    cw_assert(l->pub.ev != NULL || l->state != LINK_UP);
    l->told = l->pub.ev != NULL;
}

/* ---- client ---- */

void
cw_rlink_hello_failed(struct link *l, int res, const struct cw_wire_hello *reply)
{
    struct cw_link_connect *c = l->dial != NULL ? l->dial->c : NULL;

    if (c == NULL)
        return;
    l->dial->c = NULL;
    c->priv = NULL;
    c->done(c, res, NULL, reply);
}

static void
hello_on_reply(struct link *l, const struct cw_wire_hello *reply)
{
    struct cw_link_connect *c = l->dial->c;

    if (c == NULL) /* a second HELLO behind a refusal */
        return;
    if (reply->status != CW_HELLO_OK) {
        cw_rlink_hello_failed(l, (int)cw_min_u64(reply->status, INT32_MAX), reply);
        cw_rlink_break(l, -ECONNREFUSED);
        return;
    }
    link_set_up(l, reply);
    l->state = LINK_UP;
    l->dial->c = NULL;
    c->priv = NULL;
    c->done(c, 0, &l->pub, reply);
    link_hand_over_done(l);
}

static void
dial_on_connected(struct cw_op *op, int res, uint32_t flags)
{
    struct link_dial *d = cw_container_of(op, struct link_dial, op);
    struct link *l = d->l;

    l->dial_busy = false;
    if (l->state == LINK_CONNECTING) {
        l->state = LINK_HELLO;
        if (res == 0)
            cw_sock_tune(l->fd);
        if (res != 0)
            cw_rlink_break(l, res);
        else if (!hello_send(l, d->c->hello))
            cw_rlink_break(l, -ENOBUFS);
        else
            cw_rlink_rx_continue(l);
    }
    cw_rlink_check_gone(l);
}

static void
dial_start(struct link *l)
{
    struct link_dial *d = l->dial;
    struct io_uring_sqe *sqe;
    int fd = cw_sock_open(&d->addr);

    if (fd < 0) {
        cw_rlink_break(l, fd);
        return;
    }
    l->fd = fd;
    l->pub.local = d->addr.ss.ss_family == AF_UNIX;
    cw_sock_addr_name(&d->addr, l->peer);
    l->state = LINK_CONNECTING;
    l->dial_busy = true;
    d->op.fn = dial_on_connected;
    sqe = cw_ring_sqe(&l->r->ring, &d->op);
    io_uring_prep_connect(sqe, fd, (struct sockaddr *)&d->addr.ss, d->addr.len);
    io_uring_sqe_set_data(sqe, &d->op);
}

static void
dial_on_resolved(struct cw_inbox_item *item)
{
    struct link_dial *d = cw_container_of(item, struct link_dial, item);
    struct link *l = d->l;

    cw_helper_done(l->r);
    l->dial_busy = false;
    if (l->state == LINK_RESOLVING && d->res == 0)
        dial_start(l);
    else if (l->state == LINK_RESOLVING)
        cw_rlink_break(l, d->res);
    cw_rlink_check_gone(l);
}

/* A thread of its own: the resolver of libc blocks. */
static void *
dial_resolve(void *arg)
{
    struct link_dial *d = arg;
    struct cw_reactor *r = d->l->r;

    d->res = cw_sock_addr_resolve(d->text, &d->addr);
    cw_helper_post(r, &d->item);
    return NULL;
}

static int
dial_resolve_start(struct link *l)
{
    int err;

    l->dial->item.fn = dial_on_resolved;
    l->dial_busy = true;
    err = cw_helper_start(l->r, dial_resolve, l->dial);
    if (err != 0)
        l->dial_busy = false;
    return err;
}

static void
dial_begin(struct link *l, const char *text)
{
    int err = cw_sock_addr_parse(text, false, &l->dial->addr);

    if (err == 0) {
        dial_start(l);
        return;
    }
    l->state = LINK_RESOLVING;
    if (err == -EAGAIN && strlen(text) >= sizeof(l->dial->text))
        err = -EINVAL;
    if (err == -EAGAIN) {
        memcpy(l->dial->text, text, strlen(text) + 1);
        err = dial_resolve_start(l);
    }
    if (err != 0)
        cw_rlink_break(l, err);
}

void
cw_link_connect(struct cw_reactor *r, struct cw_link_connect *c)
{
    struct link *l = cw_rlink_new(r, c->pool);

    cw_assert(l != NULL);
    l->dial = calloc(1, sizeof(*l->dial));
    cw_assert(l->dial != NULL);
    l->dial->c = c;
    l->dial->l = l;
    c->priv = l;
    link_set_timeout(l, c->timeout_ms);
    dial_begin(l, c->addr);
}

void
cw_link_connect_cancel(struct cw_link_connect *c)
{
    struct link *l = c->priv;

    if (l != NULL)
        cw_rlink_break(l, -ECANCELED);
}

/* ---- server ---- */

static enum cw_hello_status
hello_decide(struct link *l, const struct cw_wire_hello *req, struct cw_wire_hello *reply)
{
    if (req->version_min > CW_WIRE_VERSION || req->version_max < CW_WIRE_VERSION)
        return CW_HELLO_E_VERSION;
    link_set_up(l, req);
    l->state = LINK_UP; /* the callee may send, pause or close at once */
    return l->server->on_hello(l->server, req, reply, &l->pub);
}

static void
hello_refuse(struct link *l, enum cw_hello_status status)
{
    cw_log(&l->r->env, CW_LOG_INFO, "link %s: refused in HELLO (%u)", l->peer, status);
    l->pub.ev = NULL;
    cw_rlink_linger(l, -ECONNREFUSED);
}

static void
hello_on_request(struct link *l, const struct cw_wire_hello *req)
{
    struct cw_wire_hello reply = { 0 };
    enum cw_hello_status status = hello_decide(l, req, &reply);
    bool sent;

    reply.kind = req->kind;
    reply.status = status;
    sent = l->state != LINK_DOWN && hello_send(l, reply);
    if (status != CW_HELLO_OK) {
        hello_refuse(l, status);
        return;
    }
    l->server->n_pending--;
    l->server = NULL;
    link_hand_over_done(l);
    if (!sent)
        cw_rlink_break(l, -ENOBUFS);
}

void
cw_rlink_hello_frame(struct link *l, const struct cw_frame *f)
{
    struct cw_wire_hello hello;

    if (f->hdr->type != CW_FT_HELLO || f->data_len != sizeof(hello)) {
        cw_log(&l->r->env, CW_LOG_WARNING, "link %s: closed: %s instead of HELLO", l->peer,
               cw_frame_type_name(f->hdr->type));
        cw_rlink_break(l, -EPROTO);
        return;
    }
    memcpy(&hello, f->data, sizeof(hello));
    if (hello.kind != CW_HELLO_DATA && hello.kind != CW_HELLO_CONTROL)
        cw_rlink_break(l, -EPROTO);
    else if (l->server != NULL)
        hello_on_request(l, &hello);
    else
        hello_on_reply(l, &hello);
}

void
cw_link_adopt(struct cw_reactor *r, struct cw_link_server *s, int take_fd, const void *bytes,
              size_t len)
{
    struct link *l = cw_rlink_new(r, s->pool);

    if (l == NULL) {
        close(take_fd);
        return;
    }
    l->server = s;
    s->n_pending++;
    cw_rlink_set_fd(l, take_fd);
    link_set_timeout(l, s->hello_timeout_ms);
    if (!cw_rlink_rx_preload(l, bytes, len))
        cw_rlink_break(l, -ENOMEM);
    else
        cw_reactor_defer(r, &l->work);
}
