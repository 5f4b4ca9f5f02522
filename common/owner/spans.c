/* Which ranges of a shard are written and not yet acked? Reads that overlap one wait (I13).
 *
 * Acks are cumulative, so a reader needs only the highest overlapping seq. A record of at most one
 * chunk's length touches at most two chunks and hangs in their buckets; longer ones (ZERO, TRIM)
 * are few and lie in one list. */
#include "common/owner/room.h"

static uint32_t
bucket_of(uint64_t chunk)
{
    return (uint32_t)(cw_mix64(chunk) & (SPAN_BUCKETS - 1));
}

void
cw_own_spans_init(struct shard *s)
{
    for (size_t i = 0; i < SPAN_BUCKETS; i++)
        cw_list_init(&s->spans[i]);
    cw_list_init(&s->wide);
}

void
cw_own_spans_add(struct shard *s, struct rec *r)
{
    uint64_t first = r->lba / CW_CHUNK_BLOCKS, last = (r->lba + r->nblk - 1) / CW_CHUNK_BLOCKS;

    cw_assert(r->nblk > 0 && r->n_span == 0);
    s->n_spans++;
    if (last - first > 1) {
        cw_list_push_back(&s->wide, &r->span[0]);
        r->n_span = 1;
        return;
    }
    cw_list_push_back(&s->spans[bucket_of(first)], &r->span[0]);
    r->n_span = 1;
    if (last != first && bucket_of(last) != bucket_of(first)) {
        cw_list_push_back(&s->spans[bucket_of(last)], &r->span[1]);
        r->n_span = 2;
    }
}

void
cw_own_spans_remove(struct shard *s, struct rec *r)
{
    if (r->n_span == 0)
        return;
    for (uint8_t i = 0; i < r->n_span; i++)
        cw_list_remove(&r->span[i]);
    r->n_span = 0;
    s->n_spans--;
}

void
cw_own_spans_moved(struct shard *s)
{
    cw_own_spans_init(s);
    s->n_spans = 0;
    for (uint64_t seq = s->ring.first; seq < s->ring.next; seq++) {
        struct rec *r = cw_own_ring_at(&s->ring, seq);

        if (r->n_span > 0) {
            r->n_span = 0;
            cw_own_spans_add(s, r);
        }
    }
}

/* The node is span[0] or span[1] of its record; seq tells them apart from the ring's slots. */
static uint64_t
list_max(const struct cw_list *head, const struct ring *ring, uint64_t lba, uint32_t nblk)
{
    uint64_t max = 0;

    CW_LIST_EACH (it, head) {
        size_t at = (size_t)((const char *)it - (const char *)ring->recs) / sizeof(struct rec);
        const struct rec *r = &ring->recs[at];

        if (r->seq > max && cw_ranges_overlap(r->lba, r->nblk, lba, nblk))
            max = r->seq;
    }
    return max;
}

uint64_t
cw_own_spans_max(const struct shard *s, uint64_t lba, uint32_t nblk)
{
    uint64_t first = lba / CW_CHUNK_BLOCKS, last = (lba + nblk - 1) / CW_CHUNK_BLOCKS, max;

    if (s->n_spans == 0)
        return 0;
    max = list_max(&s->wide, &s->ring, lba, nblk);
    if (last - first >= SPAN_BUCKETS) {
        for (size_t i = 0; i < SPAN_BUCKETS; i++)
            max = cw_max_u64(max, list_max(&s->spans[i], &s->ring, lba, nblk));
        return max;
    }
    for (uint64_t c = first; c <= last; c++)
        max = cw_max_u64(max, list_max(&s->spans[bucket_of(c)], &s->ring, lba, nblk));
    return max;
}
