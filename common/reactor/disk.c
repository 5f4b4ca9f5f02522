#include "common/reactor/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/base/histogram.h"
#include "common/reactor/blkdiscard.h"
#include "common/reactor/internal.h"

#define ALIGN 4096u
#define IN_USE_PAUSE_NS (20 * 1000000)
#define IN_USE_TRIES 100

/* Linux 6.12; the kernel refuses what it lacks. */
#ifndef BLOCK_URING_CMD_DISCARD
#define BLOCK_URING_CMD_DISCARD _IO(0x12, 0)
#endif

struct disk {
    struct cw_disk pub;
    struct cw_reactor *r;
    int fd;
    bool is_device;
    bool discards_block; /* io_uring has none for this device */
    uint32_t n_busy;
    struct cw_list busy; /* struct cw_disk_io, oldest first */
    struct cw_histogram writes;
};

/* Lies in cw_disk_io.priv while the request is under way. */
struct disk_state {
    struct cw_op op;
    struct disk *d;
    uint64_t moved; /* bytes done so far; then the transfer goes on iovec by iovec */
    uint64_t since_ns;
};
CW_STATIC_ASSERT(sizeof(struct disk_state) <= sizeof(((struct cw_disk_io *)0)->priv));

static struct disk_state *
io_state(struct cw_disk_io *io)
{
    return (struct disk_state *)(void *)io->priv;
}

static struct disk *
disk_of(const struct cw_disk *d)
{
    return cw_container_of((struct cw_disk *)(uintptr_t)d, struct disk, pub);
}

/* ---- submitting ---- */

/* What is left of the iovec that holds byte `moved` of the request. */
static struct iovec
io_rest(const struct cw_disk_io *io, uint64_t moved)
{
    uint32_t i = 0;

    while (moved >= io->iov[i].iov_len)
        moved -= io->iov[i++].iov_len;
    return (struct iovec){ (uint8_t *)io->iov[i].iov_base + moved, io->iov[i].iov_len - moved };
}

static void
io_prep_one(struct io_uring_sqe *sqe, int fd, const struct cw_disk_io *io, uint64_t moved)
{
    struct iovec v = io_rest(io, moved);

    if (io->op == CW_DISK_READ)
        io_uring_prep_read(sqe, fd, v.iov_base, (unsigned)v.iov_len, io->off + moved);
    else
        io_uring_prep_write(sqe, fd, v.iov_base, (unsigned)v.iov_len, io->off + moved);
}

static void
io_prep_transfer(struct io_uring_sqe *sqe, int fd, const struct cw_disk_io *io, uint64_t moved)
{
    if (io->n_iov == 1 || moved > 0)
        io_prep_one(sqe, fd, io, moved);
    else if (io->op == CW_DISK_READ)
        io_uring_prep_readv(sqe, fd, io->iov, io->n_iov, io->off);
    else
        io_uring_prep_writev(sqe, fd, io->iov, io->n_iov, io->off);
    if (io->op == CW_DISK_WRITE_SYNC)
        sqe->rw_flags = RWF_DSYNC;
}

/* A hole in a device would be zeroes written to it, for which many that discard have no command. */
static void
io_prep_discard(struct io_uring_sqe *sqe, const struct disk *d, const struct cw_disk_io *io)
{
    if (!d->is_device) {
        io_uring_prep_fallocate(sqe, d->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                (off_t)io->off, (off_t)io->len);
        return;
    }
    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, d->fd, NULL, 0, 0);
    sqe->cmd_op = BLOCK_URING_CMD_DISCARD;
    sqe->addr = io->off;
    sqe->addr3 = io->len;
}

static void
io_start(struct cw_disk_io *io, bool again)
{
    struct disk_state *st = io_state(io);
    struct io_uring_sqe *sqe;

    if (io->op == CW_DISK_DISCARD && st->d->discards_block) {
        cw_blkdiscard_start(st->d->r, st->d->fd, io->off, io->len, &st->op);
        return;
    }
    sqe = cw_ring_sqe(&st->d->r->ring, &st->op);
    switch (io->op) {
    case CW_DISK_READ:
    case CW_DISK_WRITE:
    case CW_DISK_WRITE_SYNC:
        io_prep_transfer(sqe, st->d->fd, io, st->moved);
        break;
    case CW_DISK_FLUSH:
        io_uring_prep_fsync(sqe, st->d->fd, IORING_FSYNC_DATASYNC);
        break;
    case CW_DISK_DISCARD:
        io_prep_discard(sqe, st->d, io);
        break;
    }
    if (again) /* it would have blocked: a kernel thread may wait for it */
        sqe->flags |= IOSQE_ASYNC;
    io_uring_sqe_set_data(sqe, &st->op);
}

static void
io_finish(struct cw_disk_io *io, int res)
{
    struct disk *d = io_state(io)->d;

    if (io->op == CW_DISK_WRITE_SYNC && res == 0)
        cw_histogram_add(&d->writes, cw_now_ns(&d->r->env) - io_state(io)->since_ns);
    cw_list_remove(&io->link);
    d->n_busy--;
    io->done(io, res);
}

/* ---- completing ---- */

static bool
io_is_transfer(const struct cw_disk_io *io)
{
    return io->op == CW_DISK_READ || io->op == CW_DISK_WRITE || io->op == CW_DISK_WRITE_SYNC;
}

/* What a kernel or a device says to a request that it does not know. */
static bool
res_is_unknown(int res)
{
    return res == -EOPNOTSUPP || res == -EINVAL || res == -ENOTTY;
}

static void
disk_on_done(struct cw_op *op, int res, uint32_t flags)
{
    struct disk_state *st = cw_container_of(op, struct disk_state, op);
    struct cw_disk_io *io = cw_container_of((uint64_t(*)[4])(void *)st, struct cw_disk_io, priv);

    /* not of a flush: what the first one lost, the second does not miss */
    if ((res == -EAGAIN || res == -EINTR) && io->op != CW_DISK_FLUSH) {
        io_start(io, true);
        return;
    }
    if (io->op == CW_DISK_DISCARD && res_is_unknown(res)) {
        if (st->d->is_device && !st->d->discards_block) {
            st->d->discards_block = true;
            io_start(io, false);
            return;
        }
        res = -EOPNOTSUPP;
    }
    if (res < 0 || !io_is_transfer(io)) {
        io_finish(io, res);
        return;
    }
    st->moved += (uint64_t)res;
    if (st->moved == io->len)
        io_finish(io, 0);
    else if (res == 0) /* the end of a file that somebody cut */
        io_finish(io, -EIO);
    else
        io_start(io, false);
}

static void
io_check(const struct disk *d, const struct cw_disk_io *io)
{
    uint64_t sum = 0;

    if (io->op == CW_DISK_FLUSH)
        return;
    cw_assert(io->off % ALIGN == 0 && io->len % ALIGN == 0 && io->len > 0);
    cw_assert(io->off <= d->pub.bytes && io->len <= d->pub.bytes - io->off);
    if (!io_is_transfer(io))
        return;
    cw_assert(io->n_iov >= 1 && io->n_iov <= 64);
    for (uint32_t i = 0; i < io->n_iov; i++) {
        cw_assert((uintptr_t)io->iov[i].iov_base % ALIGN == 0);
        cw_assert(io->iov[i].iov_len % ALIGN == 0 && io->iov[i].iov_len > 0);
        sum += io->iov[i].iov_len;
    }
    cw_assert(sum == io->len);
}

static void
disk_submit(struct cw_disk *pub, struct cw_disk_io *io)
{
    struct disk *d = disk_of(pub);

    io_check(d, io);
    *io_state(io) = (struct disk_state){ .op.fn = disk_on_done,
                                         .d = d,
                                         .since_ns = cw_now_ns(cw_reactor_env(d->r)) };
    d->n_busy++;
    cw_list_push_back(&d->busy, &io->link);
    io_start(io, false);
}

static const struct cw_disk_ops disk_ops = { .submit = disk_submit };

bool
cw_disk_is_device(const struct cw_disk *d)
{
    return disk_of(d)->is_device;
}

uint32_t
cw_disk_busy(const struct cw_disk *d)
{
    return disk_of(d)->n_busy;
}

uint64_t
cw_disk_oldest_ns(const struct cw_disk *d)
{
    struct cw_disk_io *io = cw_list_first(&disk_of(d)->busy, struct cw_disk_io, link);

    return io != NULL ? io_state(io)->since_ns : CW_NEVER;
}

uint64_t
cw_disk_write_p99_ns(struct cw_disk *pub)
{
    struct disk *d = disk_of(pub);
    uint64_t p99 = cw_histogram_percentile(&d->writes, 990);

    cw_histogram_reset(&d->writes);
    return p99;
}

/* ---- opening ---- */

/* `err` is a positive errno. */
__attribute__((format(printf, 3, 4))) static int
disk_fail(int err, char why[static CW_WHY_SIZE], const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, CW_WHY_SIZE, fmt, args);
    va_end(args);
    return -err;
}

static int
disk_size(int fd, uint64_t *ret_bytes, bool *ret_is_block)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return -errno;
    *ret_is_block = S_ISBLK(st.st_mode);
    if (S_ISREG(st.st_mode))
        *ret_bytes = (uint64_t)st.st_size;
    else if (!S_ISBLK(st.st_mode))
        return -EINVAL;
    else if (ioctl(fd, BLKGETSIZE64, ret_bytes) != 0)
        return -errno;
    *ret_bytes = cw_align_down(*ret_bytes, ALIGN);
    return 0;
}

/* One of us at a time: flock is kept by the open file, also for block devices; O_EXCL on a device
 * keeps mounts and other exclusive users away too. */
static int
disk_open_fd(const struct cw_disk_opts *opts, int *ret_fd, char why[static CW_WHY_SIZE])
{
    const char *path = opts->path;
    struct stat st;
    int flags = O_DIRECT | O_CLOEXEC | O_NOCTTY | (opts->read_only ? O_RDONLY : O_RDWR), fd;

    if (stat(path, &st) != 0)
        return disk_fail(errno, why, "%s: %s", path, strerror(errno));
    if (S_ISBLK(st.st_mode))
        flags |= O_EXCL;
    else if (!S_ISREG(st.st_mode))
        return disk_fail(EINVAL, why, "%s: neither a file nor a block device; name that of a store",
                         path);
    fd = open(path, flags);
    if (fd < 0 && errno == EINVAL)
        return disk_fail(EINVAL, why,
                         "%s: this file system has no direct I/O; put the store on ext4, xfs or a "
                         "partition",
                         path);
    if (fd < 0)
        return disk_fail(errno, why, "%s: %s", path,
                         errno == EBUSY ? "in use: mounted, or its daemon runs" : strerror(errno));
    if (flock(fd, (opts->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
        int err = errno == EWOULDBLOCK ? EBUSY : errno;

        close(fd);
        return disk_fail(err, why, "%s: %s", path,
                         err == EBUSY ? "another process has this store open; stop it first"
                                      : strerror(err));
    }
    *ret_fd = fd;
    return 0;
}

/* io_uring lets go of a killed process's files a moment after its end was seen, so what looks in
 * use is tried for two seconds: a daemon that is started again at once gets its store back. */
static int
disk_insist(const struct cw_disk_opts *opts, int *ret_fd, char why[static CW_WHY_SIZE])
{
    const struct timespec pause = { .tv_nsec = IN_USE_PAUSE_NS };
    int err = disk_open_fd(opts, ret_fd, why);

    for (int i = 0; err == -EBUSY && i < IN_USE_TRIES; i++) {
        (void)nanosleep(&pause, NULL);
        err = disk_open_fd(opts, ret_fd, why);
    }
    return err;
}

int
cw_disk_open(struct cw_reactor *r, const struct cw_disk_opts *opts, struct cw_disk **ret_d,
             char why[static CW_WHY_SIZE])
{
    struct disk *d;
    uint64_t bytes = 0;
    bool is_block;
    int fd = -1, err;

    err = disk_insist(opts, &fd, why);
    if (err != 0)
        return err;
    err = disk_size(fd, &bytes, &is_block);
    d = err == 0 ? calloc(1, sizeof(*d)) : NULL;
    if (d == NULL) {
        close(fd);
        return disk_fail(err != 0 ? -err : ENOMEM, why, "%s: %s", opts->path,
                         strerror(err != 0 ? -err : ENOMEM));
    }
    d->pub = (struct cw_disk){ .ops = &disk_ops, .bytes = bytes };
    d->r = r;
    d->fd = fd;
    d->is_device = is_block;
    d->discards_block = is_block && r->opts.plain;
    cw_list_init(&d->busy);
    *ret_d = &d->pub;
    return 0;
}

void
cw_disk_close(struct cw_disk *pub)
{
    struct disk *d;

    if (pub == NULL)
        return;
    d = disk_of(pub);
    cw_assert(d->n_busy == 0);
    close(d->fd);
    free(d);
}

static int
disk_allocate(int fd, const char *path, uint64_t bytes, char why[static CW_WHY_SIZE])
{
    int err = posix_fallocate(fd, 0, (off_t)bytes);

    if (err == 0 && fsync(fd) != 0)
        err = errno;
    if (err == 0)
        return 0;
    unlink(path);
    return disk_fail(err, why, "%s: cannot allocate %llu bytes: %s", path,
                     (unsigned long long)bytes, strerror(err));
}

int
cw_disk_create_file(const char *path, uint64_t bytes, char why[static CW_WHY_SIZE])
{
    int fd = -1, err;

    cw_assert(bytes > 0 && bytes % ALIGN == 0);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return disk_fail(errno, why, "%s: %s", path, strerror(errno));
    err = disk_allocate(fd, path, bytes, why);
    close(fd);
    return err;
}
