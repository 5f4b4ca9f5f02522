/* store/resume.c - segments that were open at the end of the last life are gone on with.
 *
 * Else each life would leave one half empty segment of each class behind: a store that is nearly
 * full and crashes in a loop would come to its end, for what would win them back needs segments
 * too.
 *
 * Where a batch may be written nothing may lie that is, or may still be, of worth. All that was
 * allocated before the checkpoint's freeze lies below the offset that the checkpoint tells. What
 * came since is replayed or cut off, or, of META, referred to by the checkpoint. And below the end
 * of the last whole batch, even one that was cut off, nothing is written either.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/recovery.h"

void
resume_note_scan(struct recovery *r, const struct scan *sc)
{
    const struct seg *g = &r->s->segs[sc->seg];
    struct last_seg *last = &r->last[g->cls];

    if (g->seq <= last->seq)
        return;
    *last = (struct last_seg){
        .no = sc->seg,
        .off = 4096,
        .seq = g->seq,
        .whole = !sc->from_summary && sc->lost == 0 && sc->holes == 0,
    };
    for (uint32_t i = 0; i < sc->n; i++) {
        const struct scan_batch *b = &sc->b[i];

        last->off =
            (uint32_t)cw_max_u64(last->off, (uint64_t)b->off + b->h.hdr_bytes + b->h.payload_bytes);
    }
}

/* Below what the checkpoint knows of; false: it does not say, or batches of data that it knows of
 * were not found. They would be missing in the summary, for which the cleaner takes them for dead.
 */
static bool
resume_above_checkpoint(const struct recovery *r, struct last_seg *last)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];
    uint32_t off, found = last->off;

    if (r->root == NULL)
        return true;
    last->off = (uint32_t)cw_max_u64(last->off, r->ref_end[last->no]);
    if (last->seq >= r->root->next_seg_seq)
        return true;
    off = cw_segtab_open_off(&e[last->no]);
    last->off = (uint32_t)cw_max_u64(last->off, off);
    return off != 0 && (r->s->segs[last->no].cls == CW_SEG_META || last->off == found);
}

static int
batch_off_order(const void *a, const void *b)
{
    const struct scan_batch *x = *(const struct scan_batch *const *)a;
    const struct scan_batch *y = *(const struct scan_batch *const *)b;

    return x->off < y->off ? -1 : x->off > y->off;
}

/* Its summary tells of every batch in it, as a walk would. */
static void
resume_one(struct recovery *r, uint8_t cls, const struct last_seg *last)
{
    const struct scan_batch **b = store_alloc((r->n + 1) * sizeof(struct scan_batch *));
    uint64_t sum = sizeof(struct cw_sum_footer);
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->n; i++) {
        if (r->b[i].seg != last->no)
            continue;
        b[n++] = &r->b[i];
        sum += sizeof(struct cw_sum_entry) + r->b[i].used;
    }
    if (last->off + cw_align_up(sum, 4096) <= r->s->seg_bytes) {
        if (n > 0)
            qsort(b, n, sizeof(struct scan_batch *), batch_off_order);
        segment_resume(r->s, cls, last->no, last->off);
        for (uint32_t i = 0; i < n; i++)
            segment_add_summary(r->s, cls, b[i]->off, b[i]->bytes, b[i]->used);
    }
    free(b);
}

void
resume_segments(struct recovery *r)
{
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++) {
        struct last_seg *last = &r->last[cls];

        if (last->seq != 0 && last->whole && resume_above_checkpoint(r, last))
            resume_one(r, cls, last);
    }
}
