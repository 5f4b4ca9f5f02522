/* store/segindex.c - which segment next: to open, to free, to clean; found without a look at all.
 *
 *   FREE, SOON_FREE: a queue each        SEALED: `empty`, `moving`, or by class and how full,
 * oldest entry first
 *
 * A store of 32 TiB has a million segments, so nothing here may walk them: a segment moves from
 * list to list as its count of live data changes, and a choice looks at the first few of each list.
 * Those that came into a list first lost nothing since then: a good sign of age, made exact by its
 * seq.
 *
 * The victim is the one with the most benefit for its cost, (1 - u) * age / (1 + u): space won, and
 * how long it stays won, per what is read and written. Each class has its own lists, so that a hot
 * log that is half dead hides no cold segment whose few dead blocks are the cheaper buy.
 */
#include <string.h>

#include "daemon/store/store-internal.h"

#define LOOKS 4u /* candidates of one list */

static struct seg_list *
index_list(struct cw_store *s, uint16_t list)
{
    struct segindex *x = &s->index;

    switch (list) {
    case SEG_IN_FREE:
        return &x->free;
    case SEG_IN_SOON_FREE:
        return &x->soon_free;
    case SEG_IN_EMPTY:
        return &x->empty;
    case SEG_IN_MOVING:
        return &x->moving;
    default:
        return &x->by_live[(list - SEG_IN_LIVE) / SEG_BUCKETS][(list - SEG_IN_LIVE) % SEG_BUCKETS];
    }
}

static void
list_add(struct cw_store *s, struct seg_list *l, uint32_t no)
{
    struct seg *g = &s->segs[no];

    g->next = SEG_NONE;
    g->prev = l->n == 0 ? SEG_NONE : l->last;
    if (l->n == 0)
        l->first = no;
    else
        s->segs[l->last].next = no;
    l->last = no;
    l->n++;
}

static void
list_remove(struct cw_store *s, struct seg_list *l, uint32_t no)
{
    struct seg *g = &s->segs[no];

    if (g->prev == SEG_NONE)
        l->first = g->next;
    else
        s->segs[g->prev].next = g->next;
    if (g->next == SEG_NONE)
        l->last = g->prev;
    else
        s->segs[g->next].prev = g->prev;
    l->n--;
}

/* What the next checkpoint leaves alive in it. */
static uint32_t
seg_live(const struct seg *g)
{
    return g->live > g->dead_next ? g->live - g->dead_next : 0;
}

uint16_t
segindex_place(const struct cw_store *s, const struct seg *g)
{
    uint32_t max = segment_live_max(s), live = seg_live(g);

    switch ((enum cw_seg_state)g->state) {
    case CW_SEG_FREE:
        return SEG_IN_FREE;
    case CW_SEG_SOON_FREE:
        return SEG_IN_SOON_FREE;
    case CW_SEG_SEALED:
        if (live == 0)
            return SEG_IN_EMPTY;
        if (g->moving > 0)
            return SEG_IN_MOVING;
        live = live < max ? live : max - 1;
        return (uint16_t)(SEG_IN_LIVE + g->cls * SEG_BUCKETS + (uint64_t)live * SEG_BUCKETS / max);
    case CW_SEG_OPEN:
        break;
    }
    return SEG_IN_NONE;
}

static uint32_t
list_is_meta(uint16_t list)
{
    return list == SEG_IN_MOVING ||
           (list >= SEG_IN_LIVE && (list - SEG_IN_LIVE) / SEG_BUCKETS == CW_SEG_META);
}

void
segindex_update(struct cw_store *s, uint32_t no)
{
    struct seg *g = &s->segs[no];
    uint16_t to;

    if (!s->index.built)
        return;
    to = segindex_place(s, g);
    if (to == g->list)
        return;
    if (g->list == SEG_IN_EMPTY)
        s->index.n_held -= g->tail_pins > 0;
    if (g->list != SEG_IN_NONE)
        list_remove(s, index_list(s, g->list), no);
    s->index.n_meta += list_is_meta(to) - list_is_meta(g->list);
    g->list = to;
    if (to != SEG_IN_NONE)
        list_add(s, index_list(s, to), no);
    if (to == SEG_IN_EMPTY) {
        s->index.n_held += g->tail_pins > 0;
        s->index.n_emptied++;
    }
}

void
segindex_build(struct cw_store *s)
{
    memset(&s->index, 0, sizeof(s->index));
    s->index.built = true;
    s->meta_live = s->data_live = 0; /* a segment may have changed its class */
    for (uint32_t i = 0; i < s->n_segs; i++) {
        *(s->segs[i].cls == CW_SEG_META ? &s->meta_live : &s->data_live) += s->segs[i].live;
        s->segs[i].list = SEG_IN_NONE;
        segindex_update(s, i);
    }
}

void
segment_tail_pin(struct cw_store *s, uint32_t no)
{
    if (s->segs[no].tail_pins++ == 0)
        s->index.n_held += s->segs[no].list == SEG_IN_EMPTY;
}

void
segment_tail_unpin(struct cw_store *s, uint32_t no)
{
    cw_assert(s->segs[no].tail_pins > 0);
    s->segs[no].unlogged_until = s->ckpt.number;
    if (--s->segs[no].tail_pins == 0)
        s->index.n_held -= s->segs[no].list == SEG_IN_EMPTY;
}

uint32_t
segindex_empty(const struct cw_store *s)
{
    return s->index.empty.n - s->index.n_held + s->index.moving.n;
}

/* ---- the victim ---- */

static bool
victim_allowed(const struct cw_store *s, const struct seg *g)
{
    if (g->postponed && g->layers_ended == s->layers_ended)
        return false;
    return g->tail_pins == 0 && !g->unscannable && !g->is_victim &&
           g->last_batch <= s->applied_upto;
}

/* Written to since the older checkpoint: much of it may die by itself yet. */
static bool
victim_is_young(const struct cw_store *s, const struct seg *g)
{
    return g->last_batch >= s->sb.ckpt[1].replay_batch;
}

bool
segindex_is_cold(const struct cw_store *s, uint32_t no)
{
    const struct seg *g = &s->segs[no];

    return g->state == CW_SEG_SEALED && g->cls != CW_SEG_META && g->live > 0 &&
           victim_allowed(s, g) && !victim_is_young(s, g);
}

static uint64_t
victim_score(const struct cw_store *s, const struct seg *g, bool greedy)
{
    uint64_t max = segment_live_max(s), live = cw_min_u64(seg_live(g), max);

    if (greedy)
        return max - live + 1;
    return (max - live) * (s->next_seg_seq - g->seq) / (max + live) + 1;
}

static void
victim_look(struct cw_store *s, struct seg_list *l, bool greedy, uint64_t *best, uint32_t *ret)
{
    uint32_t no = l->first, taken = 0;

    for (uint32_t i = 0, n = l->n; i < n && i < 4 * LOOKS && taken < LOOKS; i++) {
        struct seg *g = &s->segs[no];
        uint32_t next = g->next;
        uint64_t score;

        if (!victim_allowed(s, g)) {
            /* to the end, so that it hides nobody */
            list_remove(s, l, no);
            list_add(s, l, no);
        } else if (greedy || !victim_is_young(s, g)) {
            taken++;
            score = victim_score(s, g, greedy);
            if (score > *best) {
                *best = score;
                *ret = no;
            }
        }
        no = next;
    }
}

bool
segindex_victim(struct cw_store *s, bool greedy, uint32_t *ret)
{
    uint64_t best = 0;

    /* nearly full ones cost more than they give */
    for (uint32_t b = 0; b < SEG_BUCKETS - 1; b++) {
        for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++) {
            if (cls != CW_SEG_META)
                victim_look(s, &s->index.by_live[cls][b], greedy, &best, ret);
        }
        if (greedy && best > 0)
            break;
    }
    return best > 0;
}

bool
segindex_meta_victim(struct cw_store *s, uint32_t *ret)
{
    uint64_t best = 0;

    for (uint32_t b = 0; b < SEG_BUCKETS && best == 0; b++)
        victim_look(s, &s->index.by_live[CW_SEG_META][b], true, &best, ret);
    return best > 0;
}
