/* A guest's memory and what a front end does, against the vhost-user device: rings in both forms,
 * chains, requests, restarts. Nothing outside of the guest's memory is touched, and what was taken
 * is answered or left in flight.
 *
 *   form, size, then steps: 0 off16 len8 bytes: the guest writes; 1: kick; 2 res8: a request on the
 *   volume ends; 3: turn; 4 request8 len8 bytes: a message; 5: another back end takes over
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/vhost/device.h"

#define MEM (24u * 1024)
#define USER UINT64_C(0x7f0000000000)
#define AVAIL 0x1000u
#define USED 0x1800u
#define DISK (1u << 20)
#define AREA_MAX 8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

struct fuzz {
    struct cw_buf_pool *pool;
    struct cw_vhost *d;
    struct cw_list ios;
    uint8_t *mem, form;
    uint16_t size;
    uint8_t area[AREA_MAX];
};

static uint8_t
take(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static void
op_submit(struct cw_vhost *d, struct cw_io *io)
{
    struct fuzz *f = cw_vhost_user(d);

    cw_assert(io->op == CW_IO_FLUSH || (io->off <= DISK && io->len <= DISK - io->off));
    cw_list_push_back(&f->ios, &io->link);
}

static void
op_reply(struct cw_vhost *d, const void *bytes, uint32_t len, int fd)
{
    cw_assert(len >= sizeof(struct cw_vu_header));
}

static bool
op_watch(struct cw_vhost *d, uint32_t queue, int take_fd)
{
    return true;
}

static void
op_backend(struct cw_vhost *d, int take_fd)
{
}

static void
op_nothing(struct cw_vhost *d)
{
}

static void
op_log(struct cw_vhost *d, enum cw_log_level level, const char *line)
{
}

static const struct cw_vhost_ops ops = {
    .submit = op_submit,
    .reply = op_reply,
    .watch = op_watch,
    .backend = op_backend,
    .config_changed = op_nothing,
    .started = op_nothing,
    .wake = op_nothing,
    .log = op_log,
};

static void
io_end(struct fuzz *f, uint8_t how)
{
    static const int results[] = { 0, 0, 0, -EIO, -ESHUTDOWN };
    struct cw_io *io = cw_list_first(&f->ios, struct cw_io, link);

    if (io == NULL)
        return;
    cw_list_remove(&io->link);
    if (io->op == CW_IO_READ)
        memset(io->iov[0].iov_base, 0x5a, io->len);
    if (io->op == CW_IO_WRITE)
        cw_buf_unref(io->buf);
    io->done(io, results[how % CW_LEN(results)]);
}

static void
keep(struct fuzz *f)
{
    struct vh_inflight *i = &f->d->inflight;

    i->map_len = AREA_MAX;
    i->map = mmap(NULL, AREA_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cw_assert(i->map != MAP_FAILED);
    i->at = i->map;
    i->len = AREA_MAX;
    i->n_queues = 1;
    i->queue_size = f->size;
    memcpy(i->at, f->area, AREA_MAX);
}

static void
begin(struct fuzz *f)
{
    struct cw_vhost_opts o = { .pool = f->pool,
                               .window_bytes = 2u << 20,
                               .size_bytes = DISK,
                               .block_bytes = 512,
                               .n_queues = 1,
                               .id = "fuzz" };
    struct cw_guest_region r = { .guest_addr = 0, .user_addr = USER, .size = MEM, .host = f->mem };
    struct vh_queue *q;

    f->d = cw_vhost_new(&o, &ops, f);
    cw_assert(f->d != NULL && cw_guest_add(&f->d->guest, &r) == 0);
    if (f->form & 1)
        f->d->features |= CW_BIT(CW_VIRTIO_F_RING_PACKED);
    if (f->form & 2)
        f->d->features |= CW_BIT(CW_VIRTIO_F_EVENT_IDX);
    if (f->form & 4)
        f->d->features |= CW_BIT(CW_VIRTIO_F_INDIRECT_DESC);
    if (f->form & 8)
        f->d->features |= CW_BIT(CW_BLK_F_FLUSH);
    if (f->form & 16)
        keep(f);
    q = &f->d->queue[0];
    q->vq.size = f->size;
    q->vq.base = f->form & 1 ? 0x80008000 : 0;
    q->vq.desc_user = USER;
    q->vq.avail_user = USER + AVAIL;
    q->vq.used_user = USER + USED;
    q->has_addr = q->has_kick = q->enabled = true;
    vh_queues_start(f->d);
}

static void
end(struct fuzz *f)
{
    if (f->d->inflight.map != NULL)
        memcpy(f->area, f->d->inflight.at, AREA_MAX);
    cw_vhost_dead(f->d);
    while (!cw_list_empty(&f->ios))
        io_end(f, 0);
    cw_assert(!cw_vhost_busy(f->d));
    cw_vhost_free(f->d);
}

static void
guest_write(struct fuzz *f, struct input *in)
{
    uint32_t off = take(in) | (uint32_t)take(in) << 8, n = take(in);

    for (uint32_t i = 0; i < n && off + i < MEM; i++)
        f->mem[off + i] = take(in);
}

static void
message(struct fuzz *f, struct input *in)
{
    struct cw_vhost_msg m = { .head = { .request = take(in),
                                        .flags = CW_VU_VERSION | CW_VU_NEED_REPLY,
                                        .size = take(in) % 64u } };

    for (uint32_t i = 0; i < m.head.size; i++)
        m.payload[i] = take(in);
    /* the tables of memory are ours here, and the files behind them */
    if (m.head.request == CW_VU_GET_INFLIGHT_FD || !cw_vhost_ready(f->d))
        return;
    f->d->protocol_features |= CW_BIT(CW_VU_PF_REPLY_ACK);
    cw_vhost_message(f->d, &m);
}

static void
step(struct fuzz *f, struct input *in)
{
    switch (take(in) % 6) {
    case 0:
        guest_write(f, in);
        return;
    case 1:
        cw_vhost_kicked(f->d, 0);
        return;
    case 2:
        io_end(f, take(in));
        return;
    case 3:
        (void)cw_vhost_turn(f->d);
        return;
    case 4:
        message(f, in);
        return;
    default:
        end(f);
        begin(f);
        return;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, data + size };
    struct fuzz *f = calloc(1, sizeof(*f));

    cw_assert(f != NULL);
    f->form = take(&in);
    f->size = f->form & 1 ? 1 + take(&in) % 64 : (uint16_t)(1u << take(&in) % 7);
    f->pool = cw_buf_pool_new(4u << 20);
    f->mem = aligned_alloc(4096, MEM);
    cw_assert(f->pool != NULL && f->mem != NULL);
    memset(f->mem, 0, MEM);
    cw_list_init(&f->ios);
    begin(f);
    while (in.at < in.end)
        step(f, &in);
    end(f);
    cw_assert(cw_buf_pool_used(f->pool) == 0);
    cw_buf_pool_free(f->pool);
    free(f->mem);
    free(f);
    return 0;
}
