/* store/format.c - mkfs: four superblock slots; segments are told apart by format_id alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

struct format {
    struct cw_env *env;
    struct cw_disk *disk;
    struct cw_store_format_opts opts;
    cw_store_done_fn *done;
    void *user;
    struct cw_disk_io io;
    struct iovec iov;
    uint8_t *mem;
    uint32_t at; /* of the places that are looked at; then slots still to be written */
    bool unseen; /* one could not be read */
    bool writing;
    struct cw_timer timer;
    int res;
};

static void
format_answer(struct cw_timer *t)
{
    struct format *f = cw_container_of(t, struct format, timer);
    cw_store_done_fn *done = f->done;
    void *user = f->user;
    int res = f->res;

    free(f->mem);
    free(f);
    done(user, res);
}

static void
format_finish(struct format *f, int res)
{
    f->res = res;
    cw_timer_set(f->env, &f->timer, cw_now_ns(f->env));
}

static void
format_fill(struct format *f)
{
    struct cw_sb *sb = (void *)f->mem;
    uint64_t bytes = cw_align_down(f->disk->bytes, 4096);
    uint32_t seg = CW_SEG_BYTES_MIN;

    memset(sb, 0, sizeof(*sb));
    if (f->at != 0)
        return; /* what an earlier mkfs left in the other slots must not win */
    while (seg < CW_SEG_BYTES_MAX && (uint64_t)seg * 2 <= bytes / 1024)
        seg *= 2;
    sb->magic = CW_SB_MAGIC;
    sb->version = CW_STORE_VERSION;
    memcpy(sb->disk_uuid, f->opts.disk_uuid.b, 16);
    sb->format_id = f->opts.format_id;
    sb->dev_bytes = bytes;
    sb->seg_bytes = seg;
    sb->seg_count = (uint32_t)cw_min_u64((bytes - CW_SEG_BASE - 2 * 4096) / seg, CW_SEG_COUNT_MAX);
    sb->blk = CW_BLOCK_SIZE;
    sb->lb_size = 4096;
    sb->flags = CW_SB_CLEAN;
    sb->ckpt[0].replay_batch = sb->ckpt[1].replay_batch = 1;
    sb->ckpt[0].replay_seg_seq = sb->ckpt[1].replay_seg_seq = 1;
    sb->csum = cw_hash(sb, offsetof(struct cw_sb, csum));
}

static void
format_submit(struct format *f, enum cw_disk_op op, uint64_t off)
{
    f->iov = (struct iovec){ .iov_base = f->mem, .iov_len = 4096 };
    f->io.op = op;
    f->io.iov = &f->iov;
    f->io.n_iov = 1;
    f->io.off = off;
    f->io.len = 4096;
    cw_disk_submit(f->disk, &f->io);
}

static uint64_t
format_sb_off(const struct format *f, uint32_t slot)
{
    return cw_inspect_sb_off(cw_align_down(f->disk->bytes, 4096), slot);
}

/* Last to first: slot 0, the valid one, comes last. */
static void
format_write(struct format *f)
{
    if (f->at == 0) {
        format_finish(f, 0);
        return;
    }
    f->at--;
    format_fill(f);
    format_submit(f, CW_DISK_WRITE_SYNC, format_sb_off(f, f->at));
}

static void
format_write_start(struct format *f)
{
    f->writing = true;
    f->at = CW_SB_SLOTS;
    format_write(f);
}

/* Superblocks, then places where segments would begin. */
static void
format_look(struct format *f)
{
    uint64_t off;

    if (f->at < CW_SB_SLOTS)
        format_submit(f, CW_DISK_READ, format_sb_off(f, f->at));
    else if (f->at < CW_SB_SLOTS + CW_INSPECT_TRACES &&
             cw_inspect_trace(f->disk->bytes, f->at - CW_SB_SLOTS, &off))
        format_submit(f, CW_DISK_READ, off);
    else if (f->unseen)
        format_finish(f, CW_STORE_E_UNSEEN);
    else if (f->opts.look)
        format_finish(f, 0);
    else
        format_write_start(f);
}

/* What was read at f->at: an enum cw_store_outcome, or 0. A damaged one may be the last sign of a
 * store that can be saved. */
static int
format_judge(const struct format *f)
{
    if (f->at < CW_SB_SLOTS)
        return ((const struct cw_sb *)(const void *)f->mem)->magic == CW_SB_MAGIC
                   ? CW_STORE_E_FORMATTED
                   : 0;
    return cw_inspect_is_trace((const void *)f->mem) ? CW_STORE_E_LOST : 0;
}

static void
format_on_read(struct format *f, int res)
{
    int found = res == 0 ? format_judge(f) : 0;

    f->unseen |= res != 0;
    f->at++;
    if (found != 0)
        format_finish(f, found);
    else
        format_look(f);
}

static void
format_on_done(struct cw_disk_io *io, int res)
{
    struct format *f = cw_container_of(io, struct format, io);

    if (!f->writing)
        format_on_read(f, res);
    else if (res != 0)
        format_finish(f, res);
    else
        format_write(f);
}

void
cw_store_format(struct cw_env *env, struct cw_disk *disk, struct cw_buf_pool *pool,
                struct cw_store_format_opts opts, cw_store_done_fn *done, void *user)
{
    struct format *f = store_alloc(sizeof(*f));

    cw_assert(opts.look ? !opts.force : opts.format_id != 0);
    f->env = env;
    f->disk = disk;
    f->opts = opts;
    f->done = done;
    f->user = user;
    f->timer.fn = format_answer;
    f->io.done = format_on_done;
    f->mem = store_alloc_aligned(4096);
    if (disk->bytes < CW_STORE_BYTES_MIN)
        format_finish(f, CW_STORE_E_TOO_SMALL);
    else if (opts.force)
        format_write_start(f);
    else
        format_look(f);
}
