#include "common/reactor/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/bits.h"

/* Newer than liburing 2.3 or than its headers on some systems; the kernel refuses what it lacks. */
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

#define BASE_FLAGS (IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE)

/* Best first: 6.1, 5.19, 5.15. DEFER_TASKRUN runs completions only inside our own wait. */
static const unsigned setups[] = {
    BASE_FLAGS | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
        IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED,
    BASE_FLAGS | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_R_DISABLED,
    BASE_FLAGS | IORING_SETUP_R_DISABLED,
};

static int
ring_create(struct cw_ring *g, uint32_t sq_entries, bool plain)
{
    int err = -EINVAL;

    for (size_t i = plain ? CW_LEN(setups) - 1 : 0; i < CW_LEN(setups); i++) {
        struct io_uring_params p = { .flags = setups[i], .cq_entries = 4 * sq_entries };

        err = io_uring_queue_init_params(sq_entries, &g->uring, &p);
        if (err != -EINVAL)
            break;
    }
    if (err == 0 && !(g->uring.features & IORING_FEAT_EXT_ARG)) {
        io_uring_queue_exit(&g->uring);
        err = -ENOSYS; /* before 5.11 */
    }
    return err;
}

static size_t
ring_bufs_bytes(uint32_t n)
{
    return cw_align_up(n * sizeof(struct io_uring_buf), 4096);
}

static void *
ring_map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* False: the kernel (before 5.19) has no buffer rings. */
static bool
ring_bufs_register(struct cw_ring *g)
{
    struct io_uring_buf_reg reg = { .ring_entries = g->n_bufs, .bgid = CW_RECV_GROUP };

    g->bufs = ring_map(ring_bufs_bytes(g->n_bufs));
    if (g->bufs == NULL)
        return false;
    reg.ring_addr = (uint64_t)(uintptr_t)g->bufs;
    if (io_uring_register_buf_ring(&g->uring, &reg, 0) != 0) {
        munmap(g->bufs, ring_bufs_bytes(g->n_bufs));
        g->bufs = NULL;
        return false;
    }
    io_uring_buf_ring_init(g->bufs);
    return true;
}

static int
ring_bufs_init(struct cw_ring *g, bool plain)
{
    g->buf_ring = !plain && ring_bufs_register(g);
    if (!g->buf_ring)
        g->n_bufs = 1;
    g->buf_mem = ring_map((size_t)g->n_bufs * CW_RECV_BUF_SIZE);
    if (g->buf_mem == NULL)
        return -ENOMEM;
    for (uint32_t id = 0; g->buf_ring && id < g->n_bufs; id++)
        cw_ring_buf_return(g, id);
    return 0;
}

int
cw_ring_init(struct cw_ring *g, uint32_t sq_entries, uint32_t n_bufs, bool plain)
{
    int err;

    cw_assert(cw_is_pow2(n_bufs) && n_bufs <= 32768);
    *g = (struct cw_ring){ .n_bufs = n_bufs };
    err = ring_create(g, sq_entries, plain);
    if (err != 0)
        return err;
    err = ring_bufs_init(g, plain);
    if (err != 0)
        cw_ring_fini(g);
    return err;
}

void
cw_ring_fini(struct cw_ring *g)
{
    io_uring_queue_exit(&g->uring);
    if (g->bufs != NULL)
        munmap(g->bufs, ring_bufs_bytes(g->n_bufs));
    if (g->buf_mem != NULL)
        munmap(g->buf_mem, (size_t)g->n_bufs * CW_RECV_BUF_SIZE);
    free(g->stash);
}

static void
ring_on(struct cw_ring *g)
{
    long res;

    if (g->on)
        return;
    g->on = true;
    /* liburing 2.3 declares io_uring_enable_rings and does not export it. */
    res = syscall(__NR_io_uring_register, g->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    cw_assert(res == 0);
}

static void
ring_stash(struct cw_ring *g, const struct io_uring_cqe *cqe)
{
    if (g->n_stash == g->cap_stash) {
        g->cap_stash = g->cap_stash ? 2 * g->cap_stash : 256;
        g->stash = reallocarray(g->stash, g->cap_stash, sizeof(*g->stash));
        cw_assert(g->stash != NULL);
    }
    g->stash[g->n_stash++] = (struct cw_ring_stashed){ .op = io_uring_cqe_get_data(cqe),
                                                       .res = cqe->res,
                                                       .flags = cqe->flags };
}

/* Makes room in both rings without running anything: we may be inside a callback. */
static void
ring_make_room(struct cw_ring *g)
{
    struct io_uring_cqe *cqe;
    int res;

    ring_on(g);
    res = io_uring_submit(&g->uring);
    cw_assert(res >= 0 || res == -EBUSY || res == -EAGAIN || res == -EINTR || res == -ENOMEM);
    while (io_uring_peek_cqe(&g->uring, &cqe) == 0) {
        ring_stash(g, cqe);
        io_uring_cqe_seen(&g->uring, cqe);
    }
}

struct io_uring_sqe *
cw_ring_sqe(struct cw_ring *g, struct cw_op *op)
{
    struct io_uring_sqe *sqe;

    while ((sqe = io_uring_get_sqe(&g->uring)) == NULL)
        ring_make_room(g);
    memset(sqe, 0, sizeof(*sqe));
    io_uring_sqe_set_data(sqe, op);
    g->n_sqes++;
    g->n_under_way++;
    return sqe;
}

static void
ring_on_cancelled(struct cw_op *op, int res, uint32_t flags)
{
    free(op);
}

void
cw_ring_cancel(struct cw_ring *g, struct cw_op *target)
{
    struct cw_op *op = malloc(sizeof(*op));
    struct io_uring_sqe *sqe;

    cw_assert(op != NULL);
    op->fn = ring_on_cancelled;
    sqe = cw_ring_sqe(g, op);
    io_uring_prep_cancel(sqe, target, 0);
    io_uring_sqe_set_data(sqe, op);
}

static void
ring_finish(struct cw_ring *g, struct cw_op *op, int res, uint32_t flags)
{
    g->n_under_way--;
    g->n_cqes++;
    op->fn(op, res, flags);
}

void
cw_ring_reap(struct cw_ring *g)
{
    struct cw_ring_stashed *stash = g->stash;
    uint32_t n = g->n_stash, n_ready = io_uring_cq_ready(&g->uring);
    struct io_uring_cqe *cqe;

    g->stash = NULL;
    g->n_stash = g->cap_stash = 0;
    for (uint32_t i = 0; i < n; i++)
        ring_finish(g, stash[i].op, stash[i].res, stash[i].flags);
    free(stash);
    while (n_ready-- > 0 && io_uring_peek_cqe(&g->uring, &cqe) == 0) {
        struct cw_ring_stashed c = { io_uring_cqe_get_data(cqe), cqe->res, cqe->flags };

        io_uring_cqe_seen(&g->uring, cqe); /* first: fn may need the room */
        ring_finish(g, c.op, c.res, c.flags);
    }
}

int
cw_ring_wait(struct cw_ring *g, uint64_t wait_ns)
{
    struct __kernel_timespec ts;
    struct io_uring_cqe *cqe;
    int res;

    ring_on(g);
    if (g->n_stash > 0)
        wait_ns = 0;
    ts.tv_sec = (int64_t)(wait_ns / CW_NS_PER_S);
    ts.tv_nsec = (long long)(wait_ns % CW_NS_PER_S);
    res = io_uring_submit_and_wait_timeout(&g->uring, &cqe, 1, wait_ns == CW_NEVER ? NULL : &ts,
                                           NULL);
    if (res < 0 && res != -ETIME && res != -EINTR && res != -EAGAIN && res != -EBUSY &&
        res != -ENOMEM)
        return res;
    return 0;
}

uint8_t *
cw_ring_buf(struct cw_ring *g, uint32_t id)
{
    cw_assert(id < g->n_bufs);
    return g->buf_mem + (size_t)id * CW_RECV_BUF_SIZE;
}

void
cw_ring_buf_return(struct cw_ring *g, uint32_t id)
{
    io_uring_buf_ring_add(g->bufs, cw_ring_buf(g, id), CW_RECV_BUF_SIZE, (unsigned short)id,
                          io_uring_buf_ring_mask(g->n_bufs), 0);
    io_uring_buf_ring_advance(g->bufs, 1);
}
