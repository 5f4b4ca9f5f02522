#include "client/device/fuse.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/assert.h"
#include "common/base/bits.h"

/* Since 7.36; an older kernel passes over it, as over every flag that it does not know. */
#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

#define MINOR 31 /* what is spoken; Linux 5.4 */
#define BLOCK 4096u

CW_STATIC_ASSERT(sizeof(struct fuse_init_out) <= CW_FUSE_ANSWER_MAX);
CW_STATIC_ASSERT(sizeof(struct fuse_attr_out) <= CW_FUSE_ANSWER_MAX);
CW_STATIC_ASSERT(sizeof(struct fuse_statfs_out) <= CW_FUSE_ANSWER_MAX);

struct request {
    const struct cw_fuse_disk *disk;
    const uint8_t *body;
    size_t len; /* of the body */
    struct cw_fuse_todo *ret;
};

static void
answer(struct request *r, const void *bytes, size_t len)
{
    cw_assert(len <= CW_FUSE_ANSWER_MAX);
    r->ret->kind = CW_FUSE_ANSWER;
    memcpy(r->ret->answer, bytes, len);
    r->ret->answer_len = (uint32_t)len;
}

static void
refuse(struct request *r, int error)
{
    r->ret->kind = CW_FUSE_ANSWER;
    r->ret->error = error;
    r->ret->answer_len = 0;
}

static void
go(struct request *r, enum cw_io_op op, uint64_t off, uint64_t len)
{
    if (r->disk->failed) {
        refuse(r, -EIO);
        return;
    }
    r->ret->kind = CW_FUSE_IO;
    r->ret->op = op;
    r->ret->off = off;
    r->ret->len = len;
}

/* ---- what the file is ---- */

static void
do_init(struct request *r)
{
    struct fuse_init_in in = { 0 };
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = MINOR,
        .max_readahead = CW_FUSE_DATA_MAX,
        .flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES,
        .max_background = (uint16_t)r->disk->depth,
        .congestion_threshold = (uint16_t)r->disk->depth,
        .max_write = CW_FUSE_DATA_MAX,
        .time_gran = 1,
        .max_pages = CW_FUSE_DATA_MAX / BLOCK,
    };

    memcpy(&in, r->body, cw_min_u64(sizeof(in), r->len));
    if (in.major < FUSE_KERNEL_VERSION || (in.major == FUSE_KERNEL_VERSION && in.minor < MINOR)) {
        refuse(r, -EPROTO);
        return;
    }
    out.flags &= in.flags | FUSE_BIG_WRITES;
    answer(r, &out, sizeof(out));
}

/* Nothing of it is kept by the kernel, so that a new size is seen as soon as it is asked for. */
static void
do_getattr(struct request *r)
{
    struct fuse_attr_out out = {
        .attr = { .ino = FUSE_ROOT_ID,
                  .size = r->disk->size_bytes,
                  .blocks = r->disk->size_bytes / 512,
                  .mode = S_IFREG | (r->disk->read_only ? 0400 : 0600),
                  .nlink = 1,
                  .blksize = BLOCK },
    };

    answer(r, &out, sizeof(out));
}

static void
do_setattr(struct request *r)
{
    struct fuse_setattr_in in = { 0 };

    memcpy(&in, r->body, cw_min_u64(sizeof(in), r->len));
    if ((in.valid & FATTR_SIZE) != 0 && in.size != r->disk->size_bytes)
        refuse(r, -EPERM); /* a volume is resized by its cluster */
    else
        do_getattr(r);
}

/* bsize is what the loop driver takes for the grain of a discard. */
static void
do_statfs(struct request *r)
{
    struct fuse_statfs_out out = {
        .st = { .blocks = r->disk->size_bytes / BLOCK,
                .files = 1,
                .bsize = BLOCK,
                .namelen = 255,
                .frsize = BLOCK },
    };

    answer(r, &out, sizeof(out));
}

/* Past the page cache: what lies on the device is cached above it already. */
static void
do_open(struct request *r)
{
    struct fuse_open_out out = { .open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES };

    answer(r, &out, sizeof(out));
}

/* ---- data ---- */

/* False: it was refused. */
static bool
range_check(struct request *r, uint64_t off, uint64_t len)
{
    if (off <= r->disk->size_bytes && len <= r->disk->size_bytes - off)
        return true;
    refuse(r, -EIO); /* the device had this before it became smaller */
    return false;
}

static bool
may_write(struct request *r)
{
    if (!r->disk->read_only)
        return true;
    refuse(r, -EROFS);
    return false;
}

static void
do_read(struct request *r)
{
    struct fuse_read_in in;
    uint64_t len;

    if (r->len < sizeof(in)) {
        refuse(r, -EINVAL);
        return;
    }
    memcpy(&in, r->body, sizeof(in));
    if (in.size > CW_FUSE_DATA_MAX) {
        refuse(r, -EINVAL);
        return;
    }
    if (in.offset >= r->disk->size_bytes) {
        answer(r, "", 0); /* the end of the file */
        return;
    }
    len = cw_min_u64(in.size, r->disk->size_bytes - in.offset);
    if (len == 0)
        answer(r, "", 0);
    else
        go(r, CW_IO_READ, in.offset, len);
}

static void
do_write(struct request *r)
{
    struct fuse_write_in in;
    struct fuse_write_out out = { 0 };

    if (r->len < sizeof(in)) {
        refuse(r, -EINVAL);
        return;
    }
    memcpy(&in, r->body, sizeof(in));
    if (in.size > CW_FUSE_DATA_MAX || in.size != r->len - sizeof(in)) {
        refuse(r, -EINVAL);
        return;
    }
    if (!may_write(r) || !range_check(r, in.offset, in.size))
        return;
    out.size = in.size;
    answer(r, &out, sizeof(out));
    if (in.size == 0)
        return;
    r->ret->data = r->body + sizeof(in);
    go(r, CW_IO_WRITE, in.offset, in.size);
}

/* A hole reads as zeroes: TRIM gives whole blocks back and reads so; the edges of what is not
 * aligned need ZERO, which keeps the rest of their blocks. */
static void
do_fallocate(struct request *r)
{
    struct fuse_fallocate_in in;
    bool aligned;

    if (r->len < sizeof(in)) {
        refuse(r, -EINVAL);
        return;
    }
    memcpy(&in, r->body, sizeof(in));
    if (!may_write(r))
        return;
    if (in.mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) &&
        (in.mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE) {
        refuse(r, -EOPNOTSUPP);
        return;
    }
    if (!range_check(r, in.offset, in.length))
        return;
    aligned = in.offset % BLOCK == 0 && in.length % BLOCK == 0;
    if (in.length == 0)
        answer(r, "", 0);
    else
        go(r, aligned && (in.mode & FALLOC_FL_PUNCH_HOLE) != 0 ? CW_IO_TRIM : CW_IO_ZERO, in.offset,
           in.length);
}

/* ---- which one is it? ---- */

static void
request_decode(struct request *r, uint32_t opcode)
{
    switch (opcode) {
    case FUSE_INIT:
        do_init(r);
        return;
    case FUSE_GETATTR:
        do_getattr(r);
        return;
    case FUSE_SETATTR:
        do_setattr(r);
        return;
    case FUSE_STATFS:
        do_statfs(r);
        return;
    case FUSE_OPEN:
        do_open(r);
        return;
    case FUSE_READ:
        do_read(r);
        return;
    case FUSE_WRITE:
        do_write(r);
        return;
    case FUSE_FALLOCATE:
        do_fallocate(r);
        return;
    case FUSE_FSYNC:
        go(r, CW_IO_FLUSH, 0, 0);
        return;
    case FUSE_RELEASE:
    case FUSE_DESTROY:
        answer(r, "", 0);
        return;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: /* what it would end ends by itself */
        r->ret->kind = CW_FUSE_DROP;
        return;
    default:
        refuse(r, -ENOSYS); /* the kernel does not ask for it again */
        return;
    }
}

void
cw_fuse_decode(const struct cw_fuse_disk *disk, const void *bytes, size_t len,
               struct cw_fuse_todo *ret)
{
    struct fuse_in_header h;
    struct request r = { .disk = disk, .ret = ret };

    memset(ret, 0, sizeof(*ret));
    ret->kind = CW_FUSE_DROP;
    if (len < sizeof(h))
        return;
    memcpy(&h, bytes, sizeof(h));
    ret->unique = h.unique;
    r.body = (const uint8_t *)bytes + sizeof(h);
    if (h.len < sizeof(h) || h.len > len) {
        refuse(&r, -EINVAL);
        return;
    }
    r.len = h.len - sizeof(h);
    request_decode(&r, h.opcode);
}
