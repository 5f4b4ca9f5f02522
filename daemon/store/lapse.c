/* store/lapse.c - reads that failed while a store was opened: are those places bad, or was the disk
 * away?
 *
 * A bad place is passed over: an older superblock or checkpoint counts, a segment ends early. If it
 * was only the disk that came and went, that would be a step back behind what is there, and what is
 * written from then on would go over it. So before a recovery writes, it reads again: places that
 * are still unreadable on a disk that does answer are bad; else the store does not open, and the
 * next try finds all of it.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/store/inspect.h"
#include "daemon/store/recovery.h"

void
recovery_missed(struct cw_store *s, uint64_t off, uint64_t len)
{
    struct recovery *r = s->recovery;
    uint32_t n;

    if (r == NULL)
        return;
    n = r->n_missed++;
    if (n >= RECOVERY_MISSED_MAX) /* the first ones, and those that were last */
        n = RECOVERY_MISSED_MAX / 2 + n % (RECOVERY_MISSED_MAX / 2);
    r->missed[n].off = off;
    r->missed[n].len = len;
}

static void look_next(struct recovery *r);

static void
look_over(struct recovery *r, bool lapsed)
{
    struct cw_store *s = r->s;

    free(r->mem);
    r->mem = NULL;
    if (lapsed) {
        store_log(s, CW_LOG_ERROR,
                  "%u reads failed while it was opened, and not for good: the disk was away",
                  r->n_missed);
        recovery_fail(r, -EIO);
        return;
    }
    r->n_missed = 0;
    r->after_look(r);
}

static void
look_on_superblock(struct store_io *io, int res)
{
    struct recovery *r = cw_container_of(io, struct recovery, io);

    if (res == 0)
        r->look_at = CW_SB_SLOTS;
    else if (++r->look_at == CW_SB_SLOTS) {
        look_over(r, true);
        return;
    }
    look_next(r);
}

static void
look_on_missed(struct store_io *io, int res)
{
    struct recovery *r = cw_container_of(io, struct recovery, io);

    if (res == 0)
        look_over(r, true);
    else if (++r->look_at == CW_SB_SLOTS + cw_min_u64(r->n_missed, RECOVERY_MISSED_MAX))
        look_over(r, false);
    else
        look_next(r);
}

/* Superblocks, until one is read: the disk is there again. Then the places. */
static void
look_next(struct recovery *r)
{
    struct cw_store *s = r->s;
    bool is_sb = r->look_at < CW_SB_SLOTS;
    uint64_t off, len = CW_BLOCK_SIZE;

    if (is_sb) {
        off = cw_inspect_sb_off(s->sb.dev_bytes, r->look_at);
    } else {
        off = r->missed[r->look_at - CW_SB_SLOTS].off;
        len = r->missed[r->look_at - CW_SB_SLOTS].len;
    }
    free(r->mem);
    r->mem = store_alloc_aligned(len);
    r->io.done = is_sb ? look_on_superblock : look_on_missed;
    r->io.twice = true;
    store_io_start(s, &r->io, CW_DISK_READ, off, r->mem, len);
}

void
recovery_look_again(struct recovery *r, void (*then)(struct recovery *r))
{
    if (r->n_missed == 0) {
        then(r);
        return;
    }
    r->look_at = 0;
    r->after_look = then;
    look_next(r);
}
