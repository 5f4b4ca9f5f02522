/* store/suspect.c - segments that should have been opened since the checkpoint and whose header
 * cannot be read or is not one: is there something of this store's log in them?
 *
 * A first write that was torn leaves a segment without a valid header too, and then nothing in it
 * was acknowledged. So what follows the header decides: the batches there say by their durable_upto
 * what was durable, as everywhere in the log. Nothing is replayed from such a segment.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/store-internal.h"

static void suspects_next(struct suspects *x);

void
suspects_add(struct suspects *x, struct suspect one)
{
    x->v = realloc(x->v, (x->n + 1) * sizeof(*x->v));
    cw_assert(x->v != NULL);
    x->v[x->n++] = one;
}

void
suspects_fini(struct suspects *x)
{
    scan_fini(&x->scan);
    free(x->v);
    free(x->mem);
    memset(x, 0, sizeof(*x));
}

static void
suspect_on_scan(struct scan *sc)
{
    struct suspects *x = cw_container_of(sc, struct suspects, scan);

    for (uint32_t i = 0; i < sc->n; i++) {
        x->covered = cw_max_u64(x->covered, sc->b[i].h.durable_upto);
        x->last_batch = cw_max_u64(x->last_batch, sc->b[i].h.batch_seq);
    }
    x->last_seg_seq = cw_max_u64(x->last_seg_seq, sc->seg_seq);
    scan_fini(sc);
    x->at++;
    suspects_next(x);
}

static bool
suspect_is_ours(const struct suspects *x, const struct cw_batch_hdr *h)
{
    const struct suspect *one = &x->v[x->at];

    return h->magic == CW_BATCH_MAGIC && h->format_id == x->s->sb.format_id && h->batch_seq != 0 &&
           (h->seg_seq >= one->from_seq || h->seg_seq == one->seq);
}

/* The block behind the header, where the first batch begins. */
static void
suspect_on_read(struct store_io *io, int res)
{
    struct suspects *x = cw_container_of(io, struct suspects, io);
    const struct suspect *one = &x->v[x->at];
    struct cw_batch_hdr h;

    memcpy(&h, x->mem, sizeof(h));
    if (res != 0)
        recovery_missed(x->s, io->io.off, io->io.len);
    if (res != 0 || (one->unreadable && suspect_is_ours(x, &h)))
        x->lost = true; /* no torn write looks like this */
    if (res != 0 || !suspect_is_ours(x, &h)) {
        x->at++;
        suspects_next(x);
        return;
    }
    store_log(x->s, CW_LOG_WARNING, "segment %u has batches but no valid header", one->no);
    x->scan.done = suspect_on_scan;
    scan_start(x->s, &x->scan, one->no);
    x->scan.seg_seq = h.seg_seq;
}

static void
suspects_next(struct suspects *x)
{
    if (x->at == x->n) {
        x->done(x);
        return;
    }
    x->io.done = suspect_on_read;
    x->io.twice = true;
    store_io_start(x->s, &x->io, CW_DISK_READ, seg_off(x->s, x->v[x->at].no) + 4096, x->mem, 4096);
}

void
suspects_look(struct cw_store *s, struct suspects *x)
{
    x->s = s;
    if (x->mem == NULL)
        x->mem = store_alloc_aligned(4096);
    suspects_next(x);
}
