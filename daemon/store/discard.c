/* store/discard.c - what became free is told to the disk, so that it can use the room
 * (docs/store.md, Space).
 *
 * Nobody waits for it: one segment at a time, the one last in line for reuse first, none that is
 * about to be opened and none at all while free segments are few. A segment under way is not opened
 * meanwhile. It was free already, so both checkpoints can do without it and a crash at any moment
 * finds it as after any reuse. Only what becomes free from now on is discarded: what was free when
 * the store was opened has been, or was never written.
 */
#include <errno.h>
#include <string.h>

#include "daemon/store/store-internal.h"

#define LOOKS 4096u
#define KEEP_AHEAD 2u /* as many as prewrite.c has ready */

/* The free one that will be opened last; false: none is to be discarded now. Those that are passed
 * over on the way were discarded themselves; what lies behind very many of them is left alone. */
static bool
discard_pick(const struct cw_store *s, uint32_t *ret_no)
{
    const struct seg_list *l = &s->index.free;
    uint32_t no = l->last;

    for (uint32_t n = 0; n < LOOKS && n + KEEP_AHEAD < l->n; n++, no = s->segs[no].prev) {
        if (s->segs[no].undiscarded) {
            *ret_no = no;
            return true;
        }
    }
    return false;
}

static void
discard_on_done(struct store_io *io, int res)
{
    struct cw_store *s = io->s;
    struct seg *g = &s->segs[s->discard_seg];

    s->discard_busy = false;
    if (res == 0) {
        g->zeroed = false;
        g->flags &= (uint8_t)~CW_SEG_WRITTEN;
        s->stats.bytes_discarded += s->seg_bytes;
    } else {
        s->discard = false; /* it can do without: content is safe either way */
        if (res == -EOPNOTSUPP)
            store_log(s, CW_LOG_INFO, "the disk does not discard: free segments stay allocated");
        else
            store_log(s, CW_LOG_WARNING,
                      "a discard failed, there are no more until the next start: %s",
                      strerror(-res));
    }
    store_kick(s);
}

void
discard_note(struct cw_store *s, struct seg *g)
{
    g->undiscarded = s->discard && g->state == CW_SEG_FREE;
    s->discard_look |= g->undiscarded;
}

bool
discard_holds(const struct cw_store *s, uint32_t no)
{
    return s->discard_busy && s->discard_seg == no;
}

void
discard_kick(struct cw_store *s)
{
    uint32_t no;

    if (!s->discard_look || !s->discard || s->discard_busy || s->state != STORE_OPEN ||
        pace_is_low(s))
        return;
    s->discard_look = discard_pick(s, &no);
    if (!s->discard_look)
        return;
    s->segs[no].undiscarded = false;
    s->discard_busy = true;
    s->discard_seg = no;
    s->discard_io.unwatched =
        true; /* it may take its time: that says nothing of reads and writes */
    s->discard_io.done = discard_on_done;
    s->discard_io.io.n_iov = 0;
    s->discard_io.io.len = s->seg_bytes;
    store_io_start_iov(s, &s->discard_io, CW_DISK_DISCARD, seg_off(s, no));
}
