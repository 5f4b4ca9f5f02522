#include "tests/unit/vhost/world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/cw-test.h"

#define DESC 0u
#define AVAIL 0x1000u
#define USED 0x2000u

static struct world *
world_of(struct cw_vhost *d)
{
    return cw_vhost_user(d);
}

/* ---- ops ---- */

static void
op_submit(struct cw_vhost *d, struct cw_io *io)
{
    struct world *w = world_of(d);

    w->n_submitted++;
    w->n_flushes += io->op == CW_IO_FLUSH;
    w->n_trims += io->op == CW_IO_TRIM;
    w->n_zeroes += io->op == CW_IO_ZERO;
    cw_list_push_back(&w->ios, &io->link);
}

static void
op_reply(struct cw_vhost *d, const void *bytes, uint32_t len, int fd)
{
    struct world *w = world_of(d);

    assert_int_equal(w->n_reply, 0);
    assert_true(len <= sizeof(w->reply));
    memcpy(w->reply, bytes, len);
    w->n_reply = len;
    if (fd >= 0) {
        if (w->inflight_fd >= 0)
            close(w->inflight_fd);
        w->inflight_fd = dup(fd);
    }
}

static bool
op_watch(struct cw_vhost *d, uint32_t queue, int take_fd)
{
    struct world *w = world_of(d);

    assert_int_equal(queue, 0);
    if (w->kick_fd >= 0)
        close(w->kick_fd);
    w->kick_fd = take_fd;
    return true;
}

static void
op_backend(struct cw_vhost *d, int take_fd)
{
    if (take_fd >= 0)
        close(take_fd);
}

static void
op_config_changed(struct cw_vhost *d)
{
    world_of(d)->n_config_changes++;
}

static void
op_started(struct cw_vhost *d)
{
    world_of(d)->n_starts++;
}

static void
op_wake(struct cw_vhost *d)
{
    world_of(d)->woken = true;
}

static void
op_log(struct cw_vhost *d, enum cw_log_level level, const char *line)
{
    world_of(d)->n_logs++;
}

static const struct cw_vhost_ops ops = {
    .submit = op_submit,
    .reply = op_reply,
    .watch = op_watch,
    .backend = op_backend,
    .config_changed = op_config_changed,
    .started = op_started,
    .wake = op_wake,
    .log = op_log,
};

/* ---- messages ---- */

static void
send_message(struct world *w, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
             int fd)
{
    struct cw_vhost_msg m = { .head = { request, CW_VU_VERSION | flags, len } };

    memcpy(m.payload, payload, len);
    if (fd >= 0)
        m.fds[m.n_fds++] = dup(fd);
    w->n_reply = 0;
    cw_vhost_message(w->d, &m);
}

const void *
world_ask(struct world *w, uint32_t request, const void *payload, uint32_t len)
{
    send_message(w, request, 0, payload, len, -1);
    return w->n_reply > 0 ? w->reply + sizeof(struct cw_vu_header) : NULL;
}

bool
world_tell(struct world *w, uint32_t request, const void *payload, uint32_t len, int fd)
{
    uint64_t res;

    send_message(w, request, CW_VU_NEED_REPLY, payload, len, fd);
    assert_int_equal(w->n_reply, sizeof(struct cw_vu_header) + sizeof(res));
    memcpy(&res, w->reply + sizeof(struct cw_vu_header), sizeof(res));
    return res == 0;
}

static void
must(struct world *w, uint32_t request, const void *payload, uint32_t len, int fd)
{
    assert_true(world_tell(w, request, payload, len, fd));
}

static void
negotiate(struct world *w, uint64_t without)
{
    uint64_t offered, protocol;

    memcpy(&offered, world_ask(w, CW_VU_GET_FEATURES, "", 0), 8);
    w->features = offered & ~without & ~CW_BIT(CW_VU_F_LOG_ALL) & ~CW_BIT(CW_VIRTIO_F_RING_PACKED) &
                  ~CW_BIT(CW_VIRTIO_F_EVENT_IDX);
    memcpy(&protocol, world_ask(w, CW_VU_GET_PROTOCOL_FEATURES, "", 0), 8);
    send_message(w, CW_VU_SET_PROTOCOL_FEATURES, 0, &protocol, 8, -1);
    must(w, CW_VU_SET_FEATURES, &w->features, 8, -1);
}

static void
keep_inflight(struct world *w)
{
    if (w->inflight_fd < 0) {
        struct cw_vu_inflight f = { .n_queues = 1, .queue_size = WORLD_QUEUE };

        memcpy(&w->inflight, world_ask(w, CW_VU_GET_INFLIGHT_FD, &f, sizeof(f)), sizeof(f));
    }
    must(w, CW_VU_SET_INFLIGHT_FD, &w->inflight, sizeof(w->inflight), w->inflight_fd);
}

static void
begin(struct world *w, struct world_opts o)
{
    struct cw_vhost_opts opts = {
        .pool = w->pool,
        .window_bytes = cw_buf_pool_limit(w->pool) / 2,
        .size_bytes = WORLD_DISK,
        .block_bytes = 512,
        .n_queues = 1,
        .read_only = o.read_only,
        .id = "vm1",
    };
    struct cw_vu_table t = { .n_regions = 1,
                             .region[0] = { WORLD_GUEST, WORLD_MEM, WORLD_USER, 0 } };
    struct cw_vu_addr a = { .desc = WORLD_USER + DESC,
                            .avail = WORLD_USER + AVAIL,
                            .used = WORLD_USER + USED };
    struct cw_vu_state num = { 0, WORLD_QUEUE }, base = { 0, w->used }, on = { 0, 1 };
    uint64_t index = 0;
    int kick = eventfd(0, EFD_NONBLOCK);

    w->d = cw_vhost_new(&opts, &ops, w);
    negotiate(w, o.without);
    if (o.keep)
        keep_inflight(w);
    must(w, CW_VU_SET_MEM_TABLE, &t, sizeof(t), w->mem_fd);
    must(w, CW_VU_SET_VRING_NUM, &num, sizeof(num), -1);
    must(w, CW_VU_SET_VRING_BASE, &base, sizeof(base), -1);
    must(w, CW_VU_SET_VRING_ADDR, &a, sizeof(a), -1);
    must(w, CW_VU_SET_VRING_KICK, &index, 8, kick);
    must(w, CW_VU_SET_VRING_CALL, &index, 8, w->call_fd);
    must(w, CW_VU_SET_VRING_ENABLE, &on, sizeof(on), -1);
    close(kick);
}

/* ---- I/O ---- */

static void
io_do(struct world *w, struct cw_io *io)
{
    int res = w->fail;

    cw_list_remove(&io->link);
    assert_true(io->op == CW_IO_FLUSH || io->off + io->len <= WORLD_DISK);
    if (res == 0 && io->op == CW_IO_READ)
        memcpy(io->iov[0].iov_base, w->disk + io->off, io->len);
    if (res == 0 && io->op == CW_IO_WRITE)
        memcpy(w->disk + io->off, io->buf->data + io->buf_off, io->len);
    if (res == 0 && (io->op == CW_IO_TRIM || io->op == CW_IO_ZERO))
        memset(w->disk + io->off, 0, io->len);
    if (io->op == CW_IO_WRITE)
        cw_buf_unref(io->buf);
    io->done(io, res);
}

void
world_turn(struct world *w)
{
    do {
        w->woken = false;
        (void)cw_vhost_turn(w->d);
    } while (w->woken);
}

void
world_run(struct world *w)
{
    world_turn(w);
    while (!cw_list_empty(&w->ios)) {
        io_do(w, cw_list_first(&w->ios, struct cw_io, link));
        world_turn(w);
    }
}

/* ---- the driver ---- */

static void
put(struct world *w, uint16_t i, uint32_t off, uint32_t len, uint16_t flags)
{
    struct cw_virtq_desc *d = (struct cw_virtq_desc *)(void *)(w->mem + DESC) + i;

    *d = (struct cw_virtq_desc){
        .addr = WORLD_GUEST + off, .len = len, .flags = flags, .next = (uint16_t)(i + 1)
    };
}

void
world_request(struct world *w, uint16_t head, uint32_t type, uint64_t sector, uint32_t data_off,
              uint32_t len, bool device_writes)
{
    struct cw_virtq_avail *avail = (struct cw_virtq_avail *)(void *)(w->mem + AVAIL);
    struct cw_blk_header h = { .type = type, .sector = sector };
    uint16_t last = head + 1;

    memcpy(w->mem + WORLD_HEADS + head * 32, &h, sizeof(h));
    w->mem[WORLD_HEADS + head * 32 + 16] = 0xee;
    put(w, head, WORLD_HEADS + head * 32, sizeof(h), CW_VIRTQ_NEXT);
    if (len > 0)
        put(w, last++, data_off, len, CW_VIRTQ_NEXT | (device_writes ? CW_VIRTQ_WRITE : 0));
    put(w, last, WORLD_HEADS + head * 32 + 16, 1, CW_VIRTQ_WRITE);
    avail->ring[w->avail % WORLD_QUEUE] = head;
    avail->idx = ++w->avail;
}

void
world_kick(struct world *w)
{
    cw_vhost_kicked(w->d, 0);
}

int
world_reap(struct world *w)
{
    struct cw_virtq_used *used = (struct cw_virtq_used *)(void *)(w->mem + USED);

    if (used->idx == w->used)
        return -1;
    return (int)used->ring[w->used++ % WORLD_QUEUE].id;
}

uint8_t
world_status(struct world *w, uint16_t head)
{
    return w->mem[WORLD_HEADS + head * 32 + 16];
}

int
world_do(struct world *w, uint32_t type, uint64_t sector, uint32_t len, bool device_writes)
{
    world_request(w, 0, type, sector, WORLD_DATA, len, device_writes);
    world_kick(w);
    world_run(w);
    assert_int_equal(world_reap(w), 0);
    return world_status(w, 0);
}

/* ---- life ---- */

struct world *
world_new(struct world_opts o)
{
    struct world *w = calloc(1, sizeof(*w));

    w->pool = cw_buf_pool_new(o.memory != 0 ? o.memory : 64u << 20);
    w->disk = calloc(1, WORLD_DISK);
    w->mem_fd = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(ftruncate(w->mem_fd, WORLD_MEM), 0);
    w->mem = mmap(NULL, WORLD_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, w->mem_fd, 0);
    w->call_fd = eventfd(0, EFD_NONBLOCK);
    w->kick_fd = w->inflight_fd = -1;
    cw_list_init(&w->ios);
    begin(w, o);
    return w;
}

static void
end(struct world *w)
{
    cw_vhost_dead(w->d);
    while (!cw_list_empty(&w->ios))
        io_do(w, cw_list_first(&w->ios, struct cw_io, link));
    assert_false(cw_vhost_busy(w->d));
    cw_vhost_free(w->d);
}

void
world_reconnect(struct world *w, struct world_opts o)
{
    end(w);
    begin(w, o);
}

void
world_free(struct world *w)
{
    end(w);
    assert_int_equal(cw_buf_pool_used(w->pool), 0);
    cw_buf_pool_free(w->pool);
    munmap(w->mem, WORLD_MEM);
    close(w->mem_fd);
    close(w->call_fd);
    if (w->inflight_fd >= 0)
        close(w->inflight_fd);
    free(w->disk);
    free(w);
}
