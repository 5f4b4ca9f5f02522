#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/link-internal.h"

#define LINGER_NS CW_NS_PER_S
/* A consumer that queues more than this to a peer that does not read has lost control. */
#define TX_QUEUED_MAX (1u << 30)

/* ---- the end ---- */

static void
link_drop_tx(struct link *l)
{
    for (uint32_t i = 0; i < l->n_tx; i++)
        cw_msg_unref(l->txq[(l->tx_head + i) & (l->cap_tx - 1)]);
    l->n_tx = 0;
    l->pub.tx_queued_bytes = 0;
}

static void
link_free(struct link *l)
{
    cw_list_remove(&l->node);
    cw_list_remove(&l->starved_node);
    cw_timer_cancel(&l->r->env, &l->timer);
    cw_flush_cancel(&l->flush);
    cw_reactor_defer_cancel(l->r, &l->work);
    link_drop_tx(l);
    cw_rlink_rx_fini(l);
    if (l->fd >= 0)
        close(l->fd);
    l->r->stats.links--;
    free(l->dial);
    free(l->txq);
    free(l);
}

void
cw_rlink_check_gone(struct link *l)
{
    if (l->state == LINK_DOWN && !l->rx_busy && !l->tx_busy && !l->dial_busy && !l->work.queued)
        link_free(l);
}

void
cw_rlink_break(struct link *l, int reason)
{
    if (l->state == LINK_DOWN)
        return;
    if (l->state != LINK_LINGER)
        l->down_reason = reason;
    if (l->state == LINK_CONNECTING && l->dial_busy)
        cw_ring_cancel(&l->r->ring, &l->dial->op);
    l->state = LINK_DOWN;
    cw_timer_cancel(&l->r->env, &l->timer);
    if (l->fd >= 0)
        (void)shutdown(l->fd, SHUT_RDWR); /* ends receive and send under way */
    cw_reactor_defer(l->r, &l->work);
}

void
cw_rlink_linger(struct link *l, int reason)
{
    if (l->n_tx == 0) {
        cw_rlink_break(l, reason);
        return;
    }
    l->state = LINK_LINGER;
    l->down_reason = reason;
    cw_timer_set(&l->r->env, &l->timer, l->r->now_ns + LINGER_NS);
    cw_reactor_defer(l->r, &l->work);
}

static void
link_tell_down(struct link *l)
{
    if (l->told) {
        l->told = false;
        l->pub.ev->on_down(&l->pub, l->down_reason);
    } else {
        cw_rlink_hello_failed(l, l->down_reason, NULL);
    }
    if (l->server != NULL) {
        l->server->n_pending--;
        l->server = NULL;
    }
}

static void
link_on_work(struct cw_defer *w)
{
    struct link *l = cw_container_of(w, struct link, work);

    if (l->state == LINK_LINGER || l->state == LINK_DOWN)
        link_tell_down(l);
    else
        cw_rlink_rx_continue(l);
    cw_rlink_check_gone(l);
}

static void
link_on_timer(struct cw_timer *t)
{
    cw_rlink_break(cw_container_of(t, struct link, timer), -ETIMEDOUT);
}

static void
link_close(struct cw_link *pub)
{
    struct link *l = link_of(pub);

    if (l->state == LINK_UP)
        cw_rlink_linger(l, -ECANCELED);
}

/* ---- sending ---- */

static void
tx_grow(struct link *l)
{
    uint32_t cap = l->cap_tx ? 2 * l->cap_tx : 16;
    struct cw_msg **q = malloc(cap * sizeof(struct cw_msg *));

    cw_assert(q != NULL);
    for (uint32_t i = 0; i < l->n_tx; i++)
        q[i] = l->txq[(l->tx_head + i) & (l->cap_tx - 1)];
    free(l->txq);
    l->txq = q;
    l->tx_head = 0;
    l->cap_tx = cap;
}

void
cw_rlink_queue(struct link *l, struct cw_msg *take_msg, bool first)
{
    if (l->n_tx == l->cap_tx)
        tx_grow(l);
    if (first) {
        cw_assert(!l->tx_busy && l->tx_off == 0);
        l->tx_head = (l->tx_head - 1) & (l->cap_tx - 1);
        l->txq[l->tx_head] = take_msg;
    } else {
        l->txq[(l->tx_head + l->n_tx) & (l->cap_tx - 1)] = take_msg;
    }
    l->n_tx++;
    l->pub.tx_queued_bytes += cw_msg_bytes(take_msg);
    cw_flush_queue(l->r, &l->flush);
}

static void
link_send(struct cw_link *pub, struct cw_msg *take_msg)
{
    struct link *l = link_of(pub);

    if (l->state != LINK_UP) {
        cw_msg_unref(take_msg);
        return;
    }
    cw_rlink_queue(l, take_msg, false);
    if (l->pub.tx_queued_bytes > TX_QUEUED_MAX) {
        cw_log(&l->r->env, CW_LOG_ERROR, "%s: closed: the peer does not read", l->peer);
        cw_rlink_break(l, -ENOBUFS);
    }
}

static const struct cw_link_ops link_ops = { .send = link_send, .close = link_close };

/* Adds what is left of a piece; off counts down over the pieces of the msg that are sent. */
static uint32_t
tx_add(struct link *l, const uint8_t *p, uint32_t len, uint32_t *off)
{
    uint32_t skip = (uint32_t)cw_min_u64(*off, len);

    *off -= skip;
    if (skip == len)
        return 0;
    l->tx_iov[l->tx_hdr.msg_iovlen++] = (struct iovec){ (void *)(uintptr_t)(p + skip), len - skip };
    return len - skip;
}

/* One train: whole frames up to 256 KiB together, or a single larger one. */
static void
tx_fill(struct link *l)
{
    uint32_t off = l->tx_off, bytes = 0;

    l->tx_hdr = (struct msghdr){ .msg_iov = l->tx_iov };
    for (uint32_t i = 0; i < l->n_tx && l->tx_hdr.msg_iovlen + 2 <= LINK_IOV_MAX; i++) {
        const struct cw_msg *m = l->txq[(l->tx_head + i) & (l->cap_tx - 1)];

        if (bytes > 0 && bytes + cw_msg_bytes(m) > LINK_SEND_MAX)
            break;
        bytes += tx_add(l, m->head, m->head_len, &off);
        bytes += tx_add(l, m->body, m->body_len, &off);
    }
}

static void
link_flush(struct cw_flush *f)
{
    struct link *l = cw_container_of(f, struct link, flush);
    struct io_uring_sqe *sqe;

    if (l->tx_busy || l->n_tx == 0 || l->state < LINK_HELLO || l->state == LINK_DOWN)
        return;
    tx_fill(l);
    sqe = cw_ring_sqe(&l->r->ring, &l->tx_op);
    io_uring_prep_sendmsg(sqe, l->fd, &l->tx_hdr, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data(sqe, &l->tx_op);
    l->tx_busy = true;
    l->r->stats.sends++;
}

static void
tx_advance(struct link *l, uint32_t sent)
{
    l->r->stats.bytes_out += sent;
    l->pub.tx_queued_bytes -= sent;
    sent += l->tx_off;
    while (l->n_tx > 0) {
        struct cw_msg *m = l->txq[l->tx_head];

        if (sent < cw_msg_bytes(m))
            break;
        sent -= cw_msg_bytes(m);
        cw_msg_unref(m);
        l->tx_head = (l->tx_head + 1) & (l->cap_tx - 1);
        l->n_tx--;
    }
    l->tx_off = sent;
}

static void
link_on_sent(struct cw_op *op, int res, uint32_t flags)
{
    struct link *l = cw_container_of(op, struct link, tx_op);

    l->tx_busy = false;
    if (l->state != LINK_DOWN && res >= 0)
        tx_advance(l, (uint32_t)res);
    else if (l->state != LINK_DOWN && res != -EAGAIN && res != -EINTR)
        cw_rlink_break(l, res);
    if (l->state == LINK_LINGER && l->n_tx == 0)
        cw_rlink_break(l, l->down_reason);
    else if (l->state != LINK_DOWN && l->n_tx > 0)
        cw_flush_queue(l->r, &l->flush);
    cw_rlink_check_gone(l);
}

/* ---- birth ---- */

struct link *
cw_rlink_new(struct cw_reactor *r, struct cw_buf_pool *pool)
{
    struct link *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    l->pub.ops = &link_ops;
    l->r = r;
    l->fd = -1;
    l->state = LINK_HELLO;
    l->pool = pool != NULL ? pool : r->pool;
    l->timer.fn = link_on_timer;
    l->work.fn = link_on_work;
    l->flush.fn = link_flush;
    l->tx_op.fn = link_on_sent;
    cw_list_init(&l->starved_node);
    cw_list_push_back(&r->links, &l->node);
    cw_rlink_rx_init(l);
    r->stats.links++;
    return l;
}

void
cw_rlink_set_fd(struct link *l, int fd)
{
    l->fd = fd;
    cw_sock_tune(fd);
    cw_sock_peer_name(fd, l->peer, &l->pub.local);
}

void
cw_link_pause(struct cw_link *pub, bool paused)
{
    struct link *l = link_of(pub);

    if (l->paused == paused)
        return;
    l->paused = paused;
    if (!paused && l->state == LINK_UP)
        cw_reactor_defer(l->r, &l->work);
}

const char *
cw_link_peer_name(const struct cw_link *pub)
{
    return link_of(pub)->peer;
}

const struct cw_wire_hello *
cw_link_peer_hello(const struct cw_link *pub)
{
    return &link_of(pub)->peer_hello;
}

void
cw_links_drop_all(struct cw_reactor *r)
{
    CW_LIST_EACH_SAFE (it, &r->links) {
        struct link *l = cw_list_entry(it, struct link, node);

        l->told = false;
        if (l->dial != NULL)
            l->dial->c = NULL;
        cw_rlink_break(l, -ECANCELED);
    }
}
