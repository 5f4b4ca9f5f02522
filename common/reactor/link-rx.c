/* Bytes to frames. A frame that lies whole and 8-aligned in a receive buffer is delivered from
 * there. Any other is gathered: header and checksum array in the link, payload in a buffer of its
 * own, into which the kernel receives directly once that is worth it. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/reactor/link-internal.h"

#define DIRECT_MIN (16u * 1024)      /* below it a shared buffer also takes what follows */
#define OWN_BUF_MIN (64u * 1024 + 1) /* payloads that the consumer may keep */
#define RETRY_STARVED_NS CW_NS_PER_MS

static bool
rx_may_deliver(const struct link *l)
{
    return !l->paused && (l->state == LINK_UP || l->state == LINK_HELLO);
}

static void
rx_refuse(struct link *l, const struct cw_wire_hdr *h, int error)
{
    cw_log(&l->r->env, CW_LOG_WARNING, "link %s: closed: %s (type %u, %u bytes)", l->peer,
           cw_frame_error_text(error), h->type, h->payload_len);
    cw_rlink_break(l, -EPROTO);
}

static void
rx_deliver(struct link *l, const struct cw_wire_hdr *h, const uint64_t *csums, const uint8_t *data,
           struct cw_buf *buf)
{
    struct cw_frame f = {
        .hdr = h,
        .csums = csums,
        .n_csums = cw_hdr_n_csums(h),
        .data_len = h->payload_len,
        .data = data,
        .buf = buf,
    };
    int error = cw_frame_check_opaque(h, csums, data);

    if (error == 0 && l->state == LINK_UP &&
        (h->type == CW_FT_HELLO ||
         (h->type == CW_FT_CONTROL && l->peer_hello.kind == CW_HELLO_DATA)))
        error = CW_FRAME_E_TYPE;
    if (error != 0) {
        rx_refuse(l, h, error);
        return;
    }
    l->r->stats.frames_in++;
    if (l->state == LINK_HELLO)
        cw_rlink_hello_frame(l, &f);
    else
        l->pub.ev->on_frame(&l->pub, &f);
}

/* ---- in place ---- */

/* Bytes used; 0: not whole here. */
static uint32_t
rx_in_place(struct link *l, const uint8_t *p, uint32_t n)
{
    const struct cw_wire_hdr *h = (const struct cw_wire_hdr *)(const void *)p;
    const uint64_t *csums = (const uint64_t *)(const void *)(p + sizeof(*h));
    uint64_t head, all;
    int error;

    if (n < sizeof(*h))
        return 0;
    error = cw_frame_check_hdr(h);
    head = error == 0 ? sizeof(*h) + cw_hdr_n_csums(h) * sizeof(uint64_t) : 0;
    all = head + h->payload_len;
    if (error == 0 && (n < all || h->payload_len >= OWN_BUF_MIN))
        return 0;
    if (error == 0)
        error = cw_frame_check_csums(h, csums);
    if (error != 0) {
        rx_refuse(l, h, error);
        return n;
    }
    rx_deliver(l, h, csums, p + head, NULL);
    return (uint32_t)all;
}

/* ---- gathering ---- */

static const struct cw_wire_hdr *
partial_hdr(const struct link_partial *pt)
{
    return (const struct cw_wire_hdr *)(const void *)pt->head;
}

static void
partial_reset(struct link_partial *pt)
{
    struct cw_buf *body = pt->body;

    pt->head_have = 0;
    pt->head_need = sizeof(struct cw_wire_hdr);
    pt->body = NULL;
    pt->body_have = pt->body_need = 0;
    cw_buf_unref(body);
}

static void
partial_finish(struct link *l)
{
    struct link_partial *pt = &l->partial;
    const struct cw_wire_hdr *h = partial_hdr(pt);
    bool own = (h->flags & CW_F_DATA) && h->payload_len >= OWN_BUF_MIN;

    rx_deliver(l, h, (const uint64_t *)(const void *)(pt->head + sizeof(*h)),
               pt->body != NULL ? pt->body->data : pt->head + pt->head_need, own ? pt->body : NULL);
    partial_reset(pt);
}

/* The header, then the header with its array, is complete. */
static void
partial_on_head(struct link *l)
{
    struct link_partial *pt = &l->partial;
    const struct cw_wire_hdr *h = partial_hdr(pt);
    const uint64_t *csums = (const uint64_t *)(const void *)(pt->head + sizeof(*h));
    int error = 0;

    if (pt->head_need == sizeof(*h)) {
        error = cw_frame_check_hdr(h);
        if (error == 0)
            pt->head_need += cw_hdr_n_csums(h) * (uint32_t)sizeof(uint64_t);
    }
    if (error == 0 && pt->head_have == pt->head_need) {
        error = cw_frame_check_csums(h, csums);
        pt->body_need = h->payload_len;
    }
    if (error != 0)
        rx_refuse(l, h, error);
    else if (pt->head_have == pt->head_need && pt->body_need == 0)
        partial_finish(l);
}

static uint32_t
partial_take_head(struct link *l, const uint8_t *p, uint32_t n)
{
    struct link_partial *pt = &l->partial;
    uint32_t take = (uint32_t)cw_min_u64(n, pt->head_need - pt->head_have);

    memcpy(pt->head + pt->head_have, p, take);
    pt->head_have += take;
    if (pt->head_have == pt->head_need)
        partial_on_head(l);
    return take;
}

static bool
partial_get_body(struct link *l)
{
    struct link_partial *pt = &l->partial;

    if (pt->body == NULL)
        pt->body = cw_buf_get(l->pool, pt->body_need);
    return pt->body != NULL;
}

static void
rx_starve(struct link *l)
{
    if (!l->starved) {
        l->starved = true;
        l->r->stats.recv_starved++;
        cw_list_push_back(&l->r->starved, &l->starved_node);
    }
    cw_timer_set(&l->r->env, &l->r->starved_timer, l->r->now_ns + RETRY_STARVED_NS);
}

/* Bytes used; 0: there is no buffer for the payload now. */
static uint32_t
partial_take(struct link *l, const uint8_t *p, uint32_t n)
{
    struct link_partial *pt = &l->partial;
    uint32_t take;

    if (pt->body_need == 0)
        return partial_take_head(l, p, n);
    if (!partial_get_body(l)) {
        rx_starve(l);
        return 0;
    }
    take = (uint32_t)cw_min_u64(n, pt->body_need - pt->body_have);
    memcpy(pt->body->data + pt->body_have, p, take);
    pt->body_have += take;
    if (pt->body_have == pt->body_need)
        partial_finish(l);
    return take;
}

/* ---- feeding ---- */

/* Delivers what it can; returns the bytes used. Less than n only if paused, starved or down. */
static uint32_t
rx_feed(struct link *l, const uint8_t *p, uint32_t n)
{
    uint32_t at = 0;

    while (at < n && rx_may_deliver(l)) {
        uint32_t used = 0;

        if (l->partial.head_have == 0 && (uintptr_t)(p + at) % 8 == 0)
            used = rx_in_place(l, p + at, n - at);
        if (used == 0)
            used = partial_take(l, p + at, n - at);
        if (used == 0)
            break;
        at += used;
    }
    return at;
}

/* Kept outside the pool and the shared buffers: at most one receive of 64 KiB per link, and a link
 * that waits must not hold what others receive into. It is charged to the pool all the same, and
 * beyond its limit, for it happens when that is empty: so many links may be. */
bool
cw_rlink_rx_preload(struct link *l, const void *bytes, size_t len)
{
    if (len == 0)
        return true;
    cw_assert(l->spill == NULL && len <= CW_RECV_BUF_SIZE);
    l->spill = malloc(len);
    if (l->spill == NULL)
        return false;
    cw_buf_pool_charge(l->pool, len);
    memcpy(l->spill, bytes, len);
    l->spill_at = 0;
    l->spill_len = (uint32_t)len;
    return true;
}

static void
rx_feed_new(struct link *l, const uint8_t *p, uint32_t n)
{
    uint32_t used;

    l->r->stats.bytes_in += n;
    l->rx_bytes += n;
    used = rx_feed(l, p, n);
    if (used < n && l->state <= LINK_UP && !cw_rlink_rx_preload(l, p + used, n - used))
        cw_rlink_break(l, -ENOMEM);
}

static void
spill_free(struct link *l)
{
    if (l->spill != NULL)
        cw_buf_pool_uncharge(l->pool, l->spill_len);
    free(l->spill);
    l->spill = NULL;
}

static bool
rx_feed_spill(struct link *l)
{
    if (l->spill == NULL)
        return true;
    l->spill_at += rx_feed(l, l->spill + l->spill_at, l->spill_len - l->spill_at);
    if (l->spill_at < l->spill_len && l->state != LINK_DOWN)
        return false;
    spill_free(l);
    return true;
}

/* ---- receiving ---- */

static bool
rx_wants_direct(struct link *l)
{
    const struct link_partial *pt = &l->partial;

    return pt->body_need > 0 && pt->body_need - pt->body_have >= DIRECT_MIN && partial_get_body(l);
}

static void
rx_prep(struct link *l, struct io_uring_sqe *sqe)
{
    struct link_partial *pt = &l->partial;

    l->rx_direct = rx_wants_direct(l);
    if (l->rx_direct) {
        io_uring_prep_recv(sqe, l->fd, pt->body->data + pt->body_have,
                           pt->body_need - pt->body_have, MSG_WAITALL);
    } else if (l->r->ring.buf_ring) {
        /* A full buffer then ends at a multiple of 8 of the stream, as all frames do: what follows
         * can be parsed in place again after a receive that ended anywhere. */
        io_uring_prep_recv(sqe, l->fd, NULL, CW_RECV_BUF_SIZE - l->rx_bytes % 8, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = CW_RECV_GROUP;
    } else {
        io_uring_prep_poll_add(sqe, l->fd, POLLIN);
    }
}

static void
rx_arm(struct link *l)
{
    struct io_uring_sqe *sqe;

    if (l->rx_busy || l->spill != NULL || !rx_may_deliver(l))
        return;
    sqe = cw_ring_sqe(&l->r->ring, &l->rx_op);
    rx_prep(l, sqe);
    io_uring_sqe_set_data(sqe, &l->rx_op);
    l->rx_busy = true;
}

static void
rx_on_direct(struct link *l, uint32_t n)
{
    struct link_partial *pt = &l->partial;

    l->r->stats.bytes_in += n;
    l->rx_bytes += n;
    pt->body_have += n;
    if (pt->body_have == pt->body_need && rx_may_deliver(l))
        partial_finish(l);
}

/* Without buffer rings: the socket is readable, receive into the one scratch buffer. */
static int
rx_on_readable(struct link *l, int res)
{
    uint8_t *scratch = cw_ring_buf(&l->r->ring, 0);
    ssize_t n;

    if (res < 0)
        return res;
    n = recv(l->fd, scratch, CW_RECV_BUF_SIZE - l->rx_bytes % 8, MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    rx_feed_new(l, scratch, (uint32_t)n);
    return (int)n;
}

static int
rx_take(struct link *l, int res, uint32_t flags)
{
    if (l->rx_direct) {
        if (res > 0)
            rx_on_direct(l, (uint32_t)res);
    } else if (!l->r->ring.buf_ring) {
        res = l->state == LINK_DOWN ? res : rx_on_readable(l, res);
    } else if (flags & IORING_CQE_F_BUFFER) {
        uint32_t id = flags >> IORING_CQE_BUFFER_SHIFT;

        if (res > 0 && l->state != LINK_DOWN)
            rx_feed_new(l, cw_ring_buf(&l->r->ring, id), (uint32_t)res);
        cw_ring_buf_return(&l->r->ring, id);
    }
    return res;
}

static void
rx_on_received(struct cw_op *op, int res, uint32_t flags)
{
    struct link *l = cw_container_of(op, struct link, rx_op);

    l->rx_busy = false;
    res = rx_take(l, res, flags);
    if (res == 0)
        cw_rlink_break(l, -ECONNRESET);
    else if (res == -ENOBUFS)
        rx_starve(l); /* until the end of the turn at most */
    else if (res < 0 && res != -EAGAIN && res != -EINTR)
        cw_rlink_break(l, res);
    else
        rx_arm(l);
    cw_rlink_check_gone(l);
}

void
cw_rlink_rx_continue(struct link *l)
{
    struct link_partial *pt = &l->partial;

    /* Direct receives end while paused. */
    if (pt->body_need > 0 && pt->body_have == pt->body_need && rx_may_deliver(l))
        partial_finish(l);
    if (rx_feed_spill(l))
        rx_arm(l);
}

void
cw_links_feed_starved(struct cw_reactor *r)
{
    struct cw_list now, *node;

    cw_list_init(&now);
    cw_list_splice_back(&now, &r->starved);
    while ((node = cw_list_pop_front(&now)) != NULL) {
        struct link *l = cw_list_entry(node, struct link, starved_node);

        l->starved = false;
        cw_rlink_rx_continue(l);
        cw_rlink_check_gone(l);
    }
}

void
cw_rlink_rx_init(struct link *l)
{
    l->rx_op.fn = rx_on_received;
    partial_reset(&l->partial);
}

void
cw_rlink_rx_fini(struct link *l)
{
    partial_reset(&l->partial);
    spill_free(l);
}
