/* store/prewrite.c - zeroes into the next two segments, once in the life of the file, and again
 * after a discard.
 *
 * A write into blocks that a file system only allocated, or none at all, costs it a journal commit
 * (docs/store.md, Space); a device has no such thing.
 * Nobody waits for this: one write of 1 MiB at a time, and a segment taken before it is done is
 * merely slower.
 */
#include <string.h>

#include "daemon/store/store-internal.h"

#define ZERO_BYTES (64u * 1024u)

static void prewrite_on_done(struct store_io *io, int res);

static bool
prewrite_pick(struct cw_store *s, uint32_t *ret_no)
{
    uint32_t no = s->index.free.first;

    for (uint32_t n = s->index.free.n < 2 ? s->index.free.n : 2; n > 0; n--) {
        const struct seg *g = &s->segs[no];

        if (!(g->flags & CW_SEG_WRITTEN) && !g->zeroed && !discard_holds(s, no)) {
            *ret_no = no;
            return true;
        }
        no = g->next;
    }
    return false;
}

static void
prewrite_next(struct cw_store *s)
{
    uint32_t n = 0;
    uint64_t len = cw_min_u64(CW_MIB, s->seg_bytes - s->zero_at);

    for (uint64_t at = 0; at < len; at += ZERO_BYTES)
        s->zero_iov[n++] = (struct iovec){ .iov_base = s->zero_buf->data, .iov_len = ZERO_BYTES };
    s->zero_io.io.iov = s->zero_iov;
    s->zero_io.io.n_iov = n;
    s->zero_io.io.len = len;
    s->zero_io.done = prewrite_on_done;
    store_io_start_iov(s, &s->zero_io, CW_DISK_WRITE, seg_off(s, s->zero_seg) + s->zero_at);
    s->zero_at += (uint32_t)len;
}

static void
prewrite_stop(struct cw_store *s)
{
    s->zero_busy = false;
    cw_buf_unref(s->zero_buf);
    s->zero_buf = NULL;
}

static void
prewrite_on_done(struct store_io *io, int res)
{
    struct cw_store *s = io->s;

    if (res == 0 && s->state == STORE_OPEN && s->zero_at < s->seg_bytes && !s->stats.failed) {
        prewrite_next(s);
        return;
    }
    /* also after an error: it will be met again by whoever appends there */
    s->segs[s->zero_seg].zeroed = true;
    prewrite_stop(s);
    store_kick(s);
}

void
prewrite_kick(struct cw_store *s)
{
    uint32_t no;

    if (s->is_device || s->zero_busy || s->state != STORE_OPEN || !prewrite_pick(s, &no))
        return;
    s->zero_buf = cw_buf_get(s->pool, ZERO_BYTES);
    if (s->zero_buf == NULL)
        return;
    memset(s->zero_buf->data, 0, ZERO_BYTES);
    s->zero_busy = true;
    s->zero_seg = no;
    s->zero_at = 0;
    prewrite_next(s);
}
