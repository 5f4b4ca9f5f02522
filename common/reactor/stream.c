#include "common/reactor/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/internal.h"
#include "common/reactor/sock.h"

#define IOV_MAX_SEND 64
#define SEND_MAX (1024u * 1024)

struct cw_stream {
    struct cw_reactor *r;
    int fd;
    int broken; /* 0, or what later requests complete with */
    bool closing, rx_busy, tx_busy;
    struct cw_defer work; /* completions that must not come from inside a call; freeing */
    char peer[CW_SOCK_NAME_SIZE];
    void (*closed)(void *user);
    void *closed_user;

    struct cw_op rx_op;
    struct cw_stream_read *read;

    struct cw_op tx_op;
    struct cw_flush flush;
    struct cw_list writes; /* not wholly in the socket */
    uint64_t queued;
    struct msghdr hdr;
    struct iovec iov[IOV_MAX_SEND];
};

/* ---- the end ---- */

static void
stream_fail_all(struct cw_stream *s)
{
    struct cw_list now, *node;
    struct cw_stream_read *rd = s->read;

    if (rd != NULL && !s->rx_busy) {
        s->read = NULL;
        rd->done(rd, s->broken);
    }
    if (s->tx_busy) /* the kernel still reads from their memory */
        return;
    cw_list_init(&now);
    cw_list_splice_back(&now, &s->writes);
    s->queued = 0;
    while ((node = cw_list_pop_front(&now)) != NULL) {
        struct cw_stream_write *w = cw_list_entry(node, struct cw_stream_write, link);

        w->done(w, s->broken);
    }
}

static void
stream_free(struct cw_stream *s)
{
    void (*closed)(void *) = s->closed;
    void *user = s->closed_user;

    cw_flush_cancel(&s->flush);
    close(s->fd);
    s->r->stats.streams--;
    free(s);
    if (closed != NULL)
        closed(user);
}

static void
stream_on_work(struct cw_defer *w)
{
    struct cw_stream *s = cw_container_of(w, struct cw_stream, work);

    if (s->broken != 0)
        stream_fail_all(s);
    if (s->closing && !s->rx_busy && !s->tx_busy && s->read == NULL && cw_list_empty(&s->writes) &&
        !s->work.queued)
        stream_free(s);
}

static void
stream_break(struct cw_stream *s, int res)
{
    if (s->broken == 0)
        s->broken = res;
    cw_reactor_defer(s->r, &s->work);
}

void
cw_stream_close(struct cw_stream *s, void (*closed)(void *user), void *user)
{
    cw_assert(!s->closing);
    s->closing = true;
    s->closed = closed;
    s->closed_user = user;
    (void)shutdown(s->fd, SHUT_RDWR);
    stream_break(s, -ECANCELED);
}

/* ---- reading ---- */

static void
read_arm(struct cw_stream *s)
{
    struct cw_stream_read *rd = s->read;
    struct io_uring_sqe *sqe = cw_ring_sqe(&s->r->ring, &s->rx_op);

    io_uring_prep_recv(sqe, s->fd, rd->buf + rd->got, rd->max - rd->got, 0);
    io_uring_sqe_set_data(sqe, &s->rx_op);
    s->rx_busy = true;
}

static void
read_finish(struct cw_stream *s, int res)
{
    struct cw_stream_read *rd = s->read;

    s->read = NULL;
    rd->done(rd, res);
}

static void
stream_on_received(struct cw_op *op, int res, uint32_t flags)
{
    struct cw_stream *s = cw_container_of(op, struct cw_stream, rx_op);
    struct cw_stream_read *rd = s->read;

    s->rx_busy = false;
    if (s->broken != 0) {
        cw_reactor_defer(s->r, &s->work);
        return;
    }
    if (res > 0)
        rd->got += (uint32_t)res;
    if (res < 0 && res != -EAGAIN && res != -EINTR)
        read_finish(s, res);
    else if (res == 0 || rd->got >= rd->min)
        read_finish(s, (int)rd->got);
    else
        read_arm(s);
}

void
cw_stream_read(struct cw_stream *s, struct cw_stream_read *rd)
{
    cw_assert(s->read == NULL && rd->min >= 1 && rd->min <= rd->max && rd->max <= INT32_MAX);
    rd->got = 0;
    s->read = rd;
    if (s->broken != 0)
        cw_reactor_defer(s->r, &s->work);
    else
        read_arm(s);
}

/* ---- writing ---- */

static void
write_add(struct cw_stream *s, const struct cw_stream_write *w, uint64_t *bytes)
{
    uint64_t skip = w->sent;

    for (uint32_t i = 0; i < w->n_iov && s->hdr.msg_iovlen < IOV_MAX_SEND; i++) {
        uint64_t len = w->iov[i].iov_len;

        if (skip < len) {
            s->iov[s->hdr.msg_iovlen++] =
                (struct iovec){ (uint8_t *)w->iov[i].iov_base + skip, len - skip };
            *bytes += len - skip;
        }
        skip -= cw_min_u64(skip, len);
    }
}

static void
stream_flush(struct cw_flush *f)
{
    struct cw_stream *s = cw_container_of(f, struct cw_stream, flush);
    struct io_uring_sqe *sqe;
    uint64_t bytes = 0;

    if (s->tx_busy || s->broken != 0 || cw_list_empty(&s->writes))
        return;
    s->hdr = (struct msghdr){ .msg_iov = s->iov };
    CW_LIST_EACH (it, &s->writes) {
        if (s->hdr.msg_iovlen == IOV_MAX_SEND || bytes >= SEND_MAX)
            break;
        write_add(s, cw_list_entry(it, struct cw_stream_write, link), &bytes);
    }
    sqe = cw_ring_sqe(&s->r->ring, &s->tx_op);
    io_uring_prep_sendmsg(sqe, s->fd, &s->hdr, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data(sqe, &s->tx_op);
    s->tx_busy = true;
}

static void
writes_advance(struct cw_stream *s, uint64_t sent)
{
    struct cw_stream_write *w;

    s->queued -= sent;
    while ((w = cw_list_first(&s->writes, struct cw_stream_write, link)) != NULL) {
        uint64_t part = cw_min_u64(sent, w->len - w->sent);

        w->sent += part;
        sent -= part;
        if (w->sent < w->len)
            break;
        cw_list_remove(&w->link);
        w->done(w, 0);
    }
}

static void
stream_on_sent(struct cw_op *op, int res, uint32_t flags)
{
    struct cw_stream *s = cw_container_of(op, struct cw_stream, tx_op);

    s->tx_busy = false;
    if (res >= 0)
        writes_advance(s, (uint64_t)res);
    else if (res != -EAGAIN && res != -EINTR)
        stream_break(s, res);
    if (s->broken != 0)
        cw_reactor_defer(s->r, &s->work);
    else if (!cw_list_empty(&s->writes))
        cw_flush_queue(s->r, &s->flush);
}

void
cw_stream_write(struct cw_stream *s, struct cw_stream_write *w)
{
    cw_assert(w->n_iov >= 1 && w->n_iov <= IOV_MAX_SEND);
    w->sent = w->len = 0;
    for (uint32_t i = 0; i < w->n_iov; i++)
        w->len += w->iov[i].iov_len;
    cw_assert(w->len > 0);
    s->queued += w->len;
    cw_list_push_back(&s->writes, &w->link);
    if (s->broken != 0)
        cw_reactor_defer(s->r, &s->work);
    else
        cw_flush_queue(s->r, &s->flush);
}

uint64_t
cw_stream_queued_bytes(const struct cw_stream *s)
{
    return s->queued;
}

/* ---- birth ---- */

struct cw_stream *
cw_stream_new(struct cw_reactor *r, int take_fd)
{
    struct cw_stream *s = calloc(1, sizeof(*s));
    bool local;

    if (s == NULL) {
        close(take_fd);
        return NULL;
    }
    s->r = r;
    s->fd = take_fd;
    s->rx_op.fn = stream_on_received;
    s->tx_op.fn = stream_on_sent;
    s->flush.fn = stream_flush;
    s->work.fn = stream_on_work;
    cw_list_init(&s->writes);
    cw_sock_tune(take_fd);
    cw_sock_peer_name(take_fd, s->peer, &local);
    r->stats.streams++;
    return s;
}

const char *
cw_stream_peer_name(const struct cw_stream *s)
{
    return s->peer;
}
