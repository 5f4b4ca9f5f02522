/* vhost/proto.c - the front end's messages, and the life of rings. */
#include "client/vhost/proto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/vhost/device.h"

#define LINE_MAX_BYTES 256

/* How a message ended, beside 0 and a negative errno. */
enum { REPLIED = 1, WAITING = 2 };

/* ---- telling ---- */

void
vh_log(struct cw_vhost *d, enum cw_log_level level, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    d->ops->log(d, level, line);
}

void
vh_break(struct cw_vhost *d, const char *why)
{
    if (d->broken)
        return;
    d->broken = true;
    vh_log(d, CW_LOG_WARNING, "hung up: %s", why);
    d->ops->wake(d);
}

void
vh_reply(struct cw_vhost *d, const struct cw_vu_header *to, const void *payload, uint32_t len,
         int fd)
{
    uint8_t out[sizeof(struct cw_vu_header) + CW_VHOST_PAYLOAD_MAX];
    struct cw_vu_header head = { .request = to->request,
                                 .flags = CW_VU_VERSION | CW_VU_REPLY,
                                 .size = len };

    cw_assert(len <= CW_VHOST_PAYLOAD_MAX);
    memcpy(out, &head, sizeof(head));
    if (len > 0)
        memcpy(out + sizeof(head), payload, len);
    d->ops->reply(d, out, (uint32_t)sizeof(head) + len, fd);
}

static int
reply_u64(struct cw_vhost *d, const struct cw_vu_header *to, uint64_t value)
{
    vh_reply(d, to, &value, sizeof(value), -1);
    return REPLIED;
}

static void
signal_fd(int fd)
{
    const uint64_t one = 1;

    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0) {
        /* full: it is readable already */
    }
}

/* ---- rings ---- */

void
vh_queue_broken(struct cw_vhost *d, uint32_t queue)
{
    vh_log(d, CW_LOG_WARNING, "queue %u is not served any more: %s", queue, d->queue[queue].vq.why);
    signal_fd(d->queue[queue].err_fd);
}

void
vh_ring_lost(struct cw_vhost *d, uint32_t queue)
{
    d->queue[queue].vq.started = false;
    vh_break(d, "the memory of a ring went away while it was in use");
}

static bool
queue_can_start(const struct cw_vhost *d, const struct vh_queue *q)
{
    return !q->vq.started && q->vq.size != 0 && q->has_addr && q->has_kick && q->enabled &&
           d->guest.n > 0;
}

static void
queue_start(struct cw_vhost *d, uint32_t i)
{
    struct vh_queue *q = &d->queue[i];
    int res;

    q->vq.packed = (d->features & CW_BIT(CW_VIRTIO_F_RING_PACKED)) != 0;
    q->vq.event_idx = (d->features & CW_BIT(CW_VIRTIO_F_EVENT_IDX)) != 0;
    q->vq.indirect = (d->features & CW_BIT(CW_VIRTIO_F_INDIRECT_DESC)) != 0;
    res = q->vq.packed || cw_is_pow2(q->vq.size)
              ? cw_vq_start(&q->vq, &d->guest, vh_inflight_area(d, i))
              : -EINVAL;
    if (res != 0) {
        vh_log(d, CW_LOG_WARNING, "queue %u of %u cannot begin: %s", i, q->vq.size,
               res == -EFAULT ? "it is not in the guest's memory" : "its layout makes no sense");
        return;
    }
    cw_vq_dirty(&q->vq, &d->guest);
    q->epoch++;
    d->ops->started(d);
    d->n_begun = (uint32_t)cw_max_u64(d->n_begun, i + 1);
    if (q->vq.n_again > 0)
        vh_log(d, CW_LOG_NOTICE, "queue %u: %u requests were in flight and are made again", i,
               q->vq.n_again);
    q->look = q->signal = true; /* what was pushed by a process before us may not have been told */
    d->ops->wake(d);
}

void
vh_queues_start(struct cw_vhost *d)
{
    for (uint32_t i = 0; i < d->opts.n_queues && !d->broken; i++) {
        if (queue_can_start(d, &d->queue[i]))
            queue_start(d, i);
    }
}

/* What was in flight before us is made again even while the ring is drained: only then is nothing
 * of it left. */
static bool
queue_may_pop(const struct cw_vhost *d, const struct vh_queue *q)
{
    if (d->quiet || d->dead || d->broken || !q->vq.started || q->vq.why != NULL)
        return false;
    return d->drain == VH_NO_DRAIN ? q->enabled : q->vq.at_again < q->vq.n_again;
}

/* False: there is more already. */
static bool
queue_rearm(const struct cw_vhost *d, struct vh_queue *q)
{
    bool more = cw_vq_rearm(&q->vq);

    cw_vq_dirty(&q->vq, &d->guest);
    return !more;
}

/* While it may not pop, look stays. */
static void
queue_run(struct cw_vhost *d, uint32_t i)
{
    struct vh_queue *q = &d->queue[i];

    while (queue_may_pop(d, q) && vh_may_take(d)) {
        int res = cw_vq_pop(&q->vq, &d->guest, &d->chain);

        if (res < 0)
            vh_queue_broken(d, i);
        else if (res > 0)
            vh_request_take(d, i);
        else if (queue_rearm(d, q)) {
            q->look = false;
            return;
        }
    }
}

void
cw_vhost_kicked(struct cw_vhost *d, uint32_t queue)
{
    d->queue[queue].look = true;
    queue_run(d, queue);
    d->ops->wake(d);
}

/* ---- draining ---- */

static bool
queue_is_drained(const struct cw_vhost *d, const struct vh_queue *q)
{
    return q->n_reqs == 0 && !queue_may_pop(d, q);
}

static void
queue_stop(struct cw_vhost *d, uint32_t i)
{
    struct vh_queue *q = &d->queue[i];

    if (q->vq.started)
        cw_vq_stop(&q->vq);
    if (q->has_kick)
        d->ops->watch(d, i, -1);
    q->has_kick = q->look = q->signal = false;
}

static void
ack(struct cw_vhost *d, const struct cw_vu_header *head, int res)
{
    bool wanted = (head->flags & CW_VU_NEED_REPLY) != 0 &&
                  (d->protocol_features & CW_BIT(CW_VU_PF_REPLY_ACK)) != 0;

    if (wanted)
        reply_u64(d, head, res != 0);
    else if (res != 0)
        vh_break(d, "a request could not be done");
}

static void
queue_forget(struct cw_vhost *d, uint32_t i)
{
    struct vh_queue *q = &d->queue[i];

    queue_stop(d, i);
    q->vq.size = 0;
    q->vq.base = 0;
    q->has_addr = q->enabled = false;
}

static void
drain_done(struct cw_vhost *d)
{
    struct cw_vu_header head = { .request = d->drain_request, .flags = d->drain_flags };
    struct cw_vu_state s = { .index = d->drain_queue };
    enum vh_drain what = d->drain;

    d->drain = VH_NO_DRAIN;
    d->ops->wake(d); /* other rings had to wait */
    if (what == VH_DRAIN_RING) {
        queue_stop(d, d->drain_queue);
        s.num = d->queue[d->drain_queue].vq.base;
        vh_reply(d, &head, &s, sizeof(s), -1);
        return;
    }
    for (uint32_t i = 0; i < d->opts.n_queues; i++)
        queue_forget(d, i);
    d->features = 0;
    ack(d, &head, 0);
}

static void
drain_check(struct cw_vhost *d)
{
    for (uint32_t i = 0; i < d->opts.n_queues; i++) {
        if (d->drain == VH_DRAIN_RING && i != d->drain_queue)
            continue;
        if (!queue_is_drained(d, &d->queue[i]))
            return;
    }
    drain_done(d);
}

static int
drain_begin(struct cw_vhost *d, const struct cw_vhost_msg *m, enum vh_drain what, uint32_t queue)
{
    d->drain = what;
    d->drain_queue = queue;
    d->drain_request = m->head.request;
    d->drain_flags = m->head.flags;
    d->ops->wake(d);
    return WAITING;
}

/* ---- messages about rings ---- */

static int
ring_fd(struct cw_vhost *d, struct cw_vhost_msg *m)
{
    uint64_t value;
    struct vh_queue *q;
    int fd = -1;

    memcpy(&value, m->payload, sizeof(value));
    if ((value & CW_VU_INDEX_MASK) >= d->opts.n_queues ||
        m->n_fds != ((value & CW_VU_NO_FD) != 0 ? 0 : 1))
        return -EINVAL;
    q = &d->queue[value & CW_VU_INDEX_MASK];
    if (m->n_fds == 1) {
        fd = m->fds[--m->n_fds];
        (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); /* it must not hold us up */
    }
    if (m->head.request == CW_VU_SET_VRING_KICK) {
        q->has_kick = fd >= 0 && d->ops->watch(d, (uint32_t)(value & CW_VU_INDEX_MASK), fd);
        return q->has_kick ? 0 : -EOPNOTSUPP; /* polling would cost a core */
    }
    if (m->head.request == CW_VU_SET_VRING_CALL) {
        if (q->call_fd >= 0)
            close(q->call_fd);
        q->call_fd = fd;
        q->signal = q->vq.started;
        q->vq.told = false; /* the old one may not have been heard */
        d->ops->wake(d);
        return 0;
    }
    if (q->err_fd >= 0)
        close(q->err_fd);
    q->err_fd = fd;
    return 0;
}

static int
ring_addr(struct cw_vhost *d, const struct cw_vhost_msg *m)
{
    struct cw_vu_addr a;
    struct vh_queue *q;

    memcpy(&a, m->payload, sizeof(a));
    if (a.index >= d->opts.n_queues || (a.flags & ~CW_VU_ADDR_LOG) != 0)
        return -EINVAL; /* CW_VU_ADDR_LOG: where it is we know, and log all if any */
    q = &d->queue[a.index];
    q->vq.desc_user = a.desc;
    q->vq.avail_user = a.avail;
    q->vq.used_user = a.used;
    q->has_addr = true;
    if (q->vq.started && cw_vq_resolve(&q->vq, &d->guest) != 0) {
        vh_ring_lost(d, a.index);
        return -EFAULT;
    }
    return 0;
}

static int
ring_state(struct cw_vhost *d, const struct cw_vhost_msg *m)
{
    struct cw_vu_state s;
    struct vh_queue *q;

    memcpy(&s, m->payload, sizeof(s));
    if (s.index >= d->opts.n_queues)
        return -EINVAL;
    q = &d->queue[s.index];
    switch (m->head.request) {
    case CW_VU_GET_VRING_BASE:
        return drain_begin(d, m, VH_DRAIN_RING, s.index);
    case CW_VU_SET_VRING_ENABLE:
        q->enabled = s.num == 1;
        q->look = q->enabled;
        d->ops->wake(d);
        return s.num <= 1 ? 0 : -EINVAL;
    case CW_VU_SET_VRING_NUM:
        if (q->vq.started || s.num < 1 || s.num > CW_VQ_SIZE_MAX)
            return -EINVAL;
        q->vq.size = (uint16_t)s.num;
        return 0;
    default: /* SET_VRING_BASE */
        if (q->vq.started)
            return -EINVAL;
        q->vq.base = s.num;
        return 0;
    }
}

/* ---- messages about features ---- */

static uint64_t
protocol_features(void)
{
    return CW_BIT(CW_VU_PF_MQ) | CW_BIT(CW_VU_PF_LOG_SHMFD) | CW_BIT(CW_VU_PF_REPLY_ACK) |
           CW_BIT(CW_VU_PF_BACKEND_REQ) | CW_BIT(CW_VU_PF_CONFIG) |
           CW_BIT(CW_VU_PF_INFLIGHT_SHMFD) | CW_BIT(CW_VU_PF_RESET_DEVICE) |
           CW_BIT(CW_VU_PF_CONFIGURE_MEM_SLOTS);
}

static bool
some_started(const struct cw_vhost *d)
{
    for (uint32_t i = 0; i < d->opts.n_queues; i++) {
        if (d->queue[i].vq.started)
            return true;
    }
    return false;
}

static int
features_set(struct cw_vhost *d, uint64_t value)
{
    const uint64_t log = CW_BIT(CW_VU_F_LOG_ALL); /* begins and ends while rings run */

    if ((value & ~vh_features(d)) != 0 || (((value ^ d->features) & ~log) != 0 && some_started(d)))
        return -EINVAL;
    d->features = value;
    d->guest.log.on = (value & log) != 0;
    if ((value & CW_BIT(CW_VU_F_PROTOCOL_FEATURES)) == 0) {
        for (uint32_t i = 0; i < d->opts.n_queues; i++)
            d->queue[i].enabled = true;
    }
    return 0;
}

static int
value_message(struct cw_vhost *d, const struct cw_vhost_msg *m)
{
    uint64_t value;

    memcpy(&value, m->payload, sizeof(value));
    if (m->head.request == CW_VU_SET_FEATURES)
        return features_set(d, value);
    if ((value & ~protocol_features()) != 0)
        return -EINVAL;
    d->protocol_features = value;
    return 0;
}

/* What cannot be noted must not be written: hang up, and nothing is. */
static int
log_set(struct cw_vhost *d, const struct cw_vhost_msg *m)
{
    struct cw_vu_log log;
    int res;

    memcpy(&log, m->payload, sizeof(log));
    res = m->n_fds == 1 ? cw_guest_log(&d->guest, m->fds[0], log.mmap_offset, log.mmap_size)
                        : -EINVAL;
    if (res == 0)
        return reply_u64(d, &m->head, 0);
    vh_break(d, "the log of written pages cannot be mapped");
    return res;
}

static int
backend_set(struct cw_vhost *d, struct cw_vhost_msg *m)
{
    if (m->n_fds != 1)
        return -EINVAL;
    d->ops->backend(d, m->fds[--m->n_fds]);
    return 0;
}

/* ---- all messages ---- */

/* What payload each has at least; what is not here is not understood. */
static const struct {
    uint8_t known, min;
} sizes[] = {
    [CW_VU_GET_FEATURES] = { 1, 0 },
    [CW_VU_SET_FEATURES] = { 1, 8 },
    [CW_VU_SET_OWNER] = { 1, 0 },
    [CW_VU_RESET_OWNER] = { 1, 0 },
    [CW_VU_SET_MEM_TABLE] = { 1, 8 },
    [CW_VU_SET_LOG_BASE] = { 1, 16 },
    [CW_VU_SET_LOG_FD] = { 1, 0 },
    [CW_VU_SET_VRING_NUM] = { 1, 8 },
    [CW_VU_SET_VRING_ADDR] = { 1, 40 },
    [CW_VU_SET_VRING_BASE] = { 1, 8 },
    [CW_VU_GET_VRING_BASE] = { 1, 8 },
    [CW_VU_SET_VRING_KICK] = { 1, 8 },
    [CW_VU_SET_VRING_CALL] = { 1, 8 },
    [CW_VU_SET_VRING_ERR] = { 1, 8 },
    [CW_VU_GET_PROTOCOL_FEATURES] = { 1, 0 },
    [CW_VU_SET_PROTOCOL_FEATURES] = { 1, 8 },
    [CW_VU_GET_QUEUE_NUM] = { 1, 0 },
    [CW_VU_SET_VRING_ENABLE] = { 1, 8 },
    [CW_VU_SET_BACKEND_REQ_FD] = { 1, 0 },
    [CW_VU_GET_CONFIG] = { 1, 12 },
    [CW_VU_SET_CONFIG] = { 1, 12 },
    [CW_VU_GET_INFLIGHT_FD] = { 1, CW_VU_INFLIGHT_MIN },
    [CW_VU_SET_INFLIGHT_FD] = { 1, CW_VU_INFLIGHT_MIN },
    [CW_VU_RESET_DEVICE] = { 1, 0 },
    [CW_VU_GET_MAX_MEM_SLOTS] = { 1, 0 },
    [CW_VU_ADD_MEM_REG] = { 1, 40 },
    [CW_VU_REM_MEM_REG] = { 1, 40 },
};

static int
message_do(struct cw_vhost *d, struct cw_vhost_msg *m)
{
    switch (m->head.request) {
    case CW_VU_GET_FEATURES:
        return reply_u64(d, &m->head, vh_features(d));
    case CW_VU_GET_PROTOCOL_FEATURES:
        return reply_u64(d, &m->head, protocol_features());
    case CW_VU_GET_QUEUE_NUM:
        return reply_u64(d, &m->head, d->opts.n_queues);
    case CW_VU_GET_MAX_MEM_SLOTS:
        return reply_u64(d, &m->head, CW_GUEST_REGIONS_MAX);
    case CW_VU_SET_FEATURES:
    case CW_VU_SET_PROTOCOL_FEATURES:
        return value_message(d, m);
    case CW_VU_SET_MEM_TABLE:
    case CW_VU_ADD_MEM_REG:
    case CW_VU_REM_MEM_REG:
        return vh_memory_message(d, m);
    case CW_VU_SET_VRING_NUM:
    case CW_VU_SET_VRING_BASE:
    case CW_VU_GET_VRING_BASE:
    case CW_VU_SET_VRING_ENABLE:
        return ring_state(d, m);
    case CW_VU_SET_VRING_ADDR:
        return ring_addr(d, m);
    case CW_VU_SET_VRING_KICK:
    case CW_VU_SET_VRING_CALL:
    case CW_VU_SET_VRING_ERR:
        return ring_fd(d, m);
    case CW_VU_SET_LOG_BASE:
        return log_set(d, m);
    case CW_VU_SET_BACKEND_REQ_FD:
        return backend_set(d, m);
    case CW_VU_GET_CONFIG:
        vh_config_get(d, m);
        return REPLIED;
    case CW_VU_SET_CONFIG:
        return -EPERM; /* nothing in there is the guest's to change */
    case CW_VU_GET_INFLIGHT_FD: {
        int res = vh_inflight_get(d, m);

        return res == 0 ? REPLIED : res;
    }
    case CW_VU_SET_INFLIGHT_FD:
        return vh_inflight_set(d, m);
    case CW_VU_RESET_DEVICE:
        return drain_begin(d, m, VH_DRAIN_RESET, 0);
    default: /* SET_OWNER, RESET_OWNER: nothing is to be done; SET_LOG_FD: the log is looked at
              * without being told */
        return 0;
    }
}

void
cw_vhost_msg_drop(struct cw_vhost_msg *m)
{
    while (m->n_fds > 0)
        close(m->fds[--m->n_fds]);
}

void
cw_vhost_message(struct cw_vhost *d, struct cw_vhost_msg *m)
{
    uint32_t r = m->head.request;
    int res;

    cw_assert(cw_vhost_ready(d) && m->head.size <= CW_VHOST_PAYLOAD_MAX);
    if ((m->head.flags & CW_VU_VERSION_MASK) != CW_VU_VERSION) {
        vh_break(d, "a message of another version");
    } else {
        res = r < CW_LEN(sizes) && sizes[r].known && m->head.size >= sizes[r].min ? message_do(d, m)
                                                                                  : -EOPNOTSUPP;
        if (res < 0)
            vh_log(d, CW_LOG_WARNING, "request %u was refused: %s", r, strerror(-res));
        if (res <= 0)
            ack(d, &m->head, res);
        if (!d->broken)
            vh_queues_start(d);
    }
    cw_vhost_msg_drop(m);
}

bool
cw_vhost_ready(const struct cw_vhost *d)
{
    return !d->broken && !d->dead && d->drain == VH_NO_DRAIN;
}

/* ---- turns ---- */

static void
queue_tell(struct cw_vhost *d, struct vh_queue *q)
{
    if (!q->signal || !q->vq.started)
        return;
    q->signal = false;
    if (cw_vq_signal_due(&q->vq))
        signal_fd(q->call_fd);
}

bool
cw_vhost_turn(struct cw_vhost *d)
{
    bool waits;

    if (d->dead || d->broken)
        return false;
    vh_todo(d);
    waits = !cw_list_empty(&d->todo);
    for (uint32_t i = 0; i < d->n_begun; i++) {
        struct vh_queue *q = &d->queue[i];

        if (q->look)
            queue_run(d, i);
        queue_tell(d, q);
        waits = waits || (q->look && queue_may_pop(d, q));
    }
    if (d->drain != VH_NO_DRAIN)
        drain_check(d);
    if (cw_guest_lost())
        vh_break(d, "a file of shared memory became shorter under us");
    return waits;
}

/* ---- life ---- */

struct cw_vhost *
cw_vhost_new(const struct cw_vhost_opts *opts, const struct cw_vhost_ops *ops, void *user)
{
    struct cw_vhost *d = calloc(1, sizeof(*d) + opts->n_queues * sizeof(d->queue[0]));

    if (d == NULL)
        return NULL;
    cw_assert(opts->n_queues >= 1 && opts->n_queues <= CW_VHOST_QUEUES_MAX);
    d->opts = *opts;
    d->ops = ops;
    d->user = user;
    cw_list_init(&d->reqs);
    cw_list_init(&d->todo);
    for (uint32_t i = 0; i < d->opts.n_queues; i++)
        d->queue[i].call_fd = d->queue[i].err_fd = -1;
    vh_config_init(d);
    return d;
}

void
cw_vhost_free(struct cw_vhost *d)
{
    cw_assert(d->dead && !cw_vhost_busy(d));
    free(d);
}

void *
cw_vhost_user(const struct cw_vhost *d)
{
    return d->user;
}

void
cw_vhost_set_size(struct cw_vhost *d, uint64_t size_bytes)
{
    vh_config_size(d, size_bytes);
    if ((d->protocol_features & CW_BIT(CW_VU_PF_CONFIG)) != 0)
        d->ops->config_changed(d);
}

void
cw_vhost_quiesce(struct cw_vhost *d)
{
    d->quiet = true;
    d->ops->wake(d);
}

void
cw_vhost_dead(struct cw_vhost *d)
{
    if (d->dead)
        return;
    d->dead = true;
    vh_drop_unsubmitted(d);
    for (uint32_t i = 0; i < d->opts.n_queues; i++) {
        struct vh_queue *q = &d->queue[i];

        q->vq.started = false;
        if (q->has_kick)
            d->ops->watch(d, i, -1);
        q->has_kick = false;
        if (q->call_fd >= 0)
            close(q->call_fd);
        if (q->err_fd >= 0)
            close(q->err_fd);
        q->call_fd = q->err_fd = -1;
    }
    d->ops->backend(d, -1);
    cw_guest_clear(&d->guest);
    cw_guest_log_drop(&d->guest);
    vh_inflight_drop(d);
}

bool
cw_vhost_busy(const struct cw_vhost *d)
{
    return d->n_ios > 0 || d->n_reqs > 0;
}

bool
cw_vhost_broken(const struct cw_vhost *d)
{
    return d->broken;
}
