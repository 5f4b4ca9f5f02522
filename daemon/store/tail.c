/* store/tail.c - the records above stable that a takeover may ask for: an index in RAM.
 *
 * An entry pins the segment that its batch lies in: such a segment is neither cleaned nor reused.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/store-internal.h"

static struct tail_entry *
tail_at(const struct tail *t, uint32_t i)
{
    return &t->ring[(t->head + i) & (t->cap - 1)];
}

static void
tail_grow(struct tail *t)
{
    uint32_t cap = t->cap == 0 ? 64 : t->cap * 2;
    struct tail_entry *ring = store_alloc(cap * sizeof(*ring));

    for (uint32_t i = 0; i < t->n; i++)
        ring[i] = *tail_at(t, i);
    free(t->ring);
    t->ring = ring;
    t->cap = cap;
    t->head = 0;
}

static void
tail_pop(struct cw_store_shard *sh)
{
    struct tail *t = &sh->tail;

    segment_tail_unpin(sh->s, tail_at(t, 0)->seg);
    t->head = (t->head + 1) & (t->cap - 1);
    t->n--;
}

void
tail_push(struct cw_store_shard *sh, struct tail_entry e)
{
    struct tail *t = &sh->tail;

    if (t->n > 0 && e.e.seq <= tail_at(t, t->n - 1)->e.seq)
        tail_clear(sh); /* a damaged log goes back */
    if (e.e.seq <= sh->info.stable)
        return;
    /* at run time there are never more; a replay meets those that were stable long ago */
    if (t->n == CW_TAIL_MAX)
        tail_trim(sh, tail_at(t, 0)->e.seq);
    if (t->n == t->cap)
        tail_grow(t);
    *tail_at(t, t->n++) = e;
    segment_tail_pin(sh->s, e.seg);
}

void
tail_trim(struct cw_store_shard *sh, uint64_t stable)
{
    struct tail *t = &sh->tail;

    if (stable > sh->info.stable)
        sh->info.stable = stable;
    while (t->n > 0 && tail_at(t, 0)->e.seq <= stable)
        tail_pop(sh);
}

void
tail_clear(struct cw_store_shard *sh)
{
    while (sh->tail.n > 0)
        tail_pop(sh);
}

/* Seqs ascend, but where the log of a damaged copy was cut some are missing. */
const struct tail_entry *
tail_find(const struct cw_store_shard *sh, uint64_t seq)
{
    const struct tail *t = &sh->tail;
    uint32_t from = 0, to = t->n;

    while (from < to) {
        uint32_t mid = from + (to - from) / 2;

        if (tail_at(t, mid)->e.seq < seq)
            from = mid + 1;
        else
            to = mid;
    }
    return from < t->n && tail_at(t, from)->e.seq == seq ? tail_at(t, from) : NULL;
}

uint8_t
tail_type(const struct rec_view *v)
{
    return v->d.type == CW_REC_WRITE  ? CW_FT_WRITE
           : v->d.type == CW_REC_ZERO ? CW_FT_ZERO
           : v->d.type == CW_REC_TRIM ? CW_FT_TRIM
                                      : CW_FT_GEN_START;
}

uint32_t
cw_store_tail_list(struct cw_store_shard *sh, struct cw_store_tail_entry *to, uint32_t max)
{
    uint32_t n = sh->tail.n < max ? sh->tail.n : max;

    for (uint32_t i = 0; i < n; i++)
        to[i] = tail_at(&sh->tail, i)->e;
    return n;
}
