/* store/pace.c - how fast to clean, and when the foreground waits for it.
 *
 *   supply = blocks free, or free after two checkpoints, and what the victim has given so far
 *
 *       goal ------ above: nothing is cleaned
 *             |     below: a load at a time, until the supply is back. So u / (1 - u) blocks are
 *             |     moved for each one that is written, whatever u is, and an idle store is idle
 *       gate ------ below: what is written next waits until as much was won. The foreground slows
 *             |     down to the cleaner's speed in steps of single loads, not of segments
 *       low  ------ below: the victim is whatever gives most at once
 *       keep        the reserves (space.c)
 *
 * What died young, and META, is free only after two checkpoints. These come in pairs, when the
 * free ones have sunk to `soon`: the second is cheap, for little changed since the first. `round`
 * is how much a pair frees: more of it makes fewer map pages, but is space that dead blocks could
 * have had.
 */
#include "daemon/store/store-internal.h"

#define ROUND_BYTES_MAX STORE_CKPT_BYTES

static uint64_t
pace_seg_blocks(const struct cw_store *s)
{
    return s->seg_bytes / CW_BLOCK_SIZE;
}

/* Segments that neither live data, packed well, nor reserves need: for dead blocks and rounds. */
static uint32_t
pace_spare(const struct cw_store *s, uint32_t keep)
{
    uint64_t used = space_used(s) + space_used(s) / 32 + space_meta(s);
    uint64_t segs = used / pace_seg_blocks(s) + 1 + keep;

    return segs < s->n_segs ? s->n_segs - (uint32_t)segs : 0;
}

struct levels
pace_levels(const struct cw_store *s)
{
    uint64_t blocks = pace_seg_blocks(s);
    uint32_t keep = space_keep_least(s), spare = pace_spare(s, keep);
    uint32_t round = (uint32_t)cw_min_u64(s->n_segs / 80, ROUND_BYTES_MAX / s->seg_bytes);
    uint32_t margin = s->n_segs / 256 + 2;
    struct levels v;

    round = (uint32_t)cw_max_u64(cw_min_u64(round, spare / 5), 1);
    margin = (uint32_t)cw_max_u64(cw_min_u64(margin, spare / 8), 1);
    v.round = round;
    v.soon = space_keep_free(s, CW_SEG_HOT, false) + margin;
    v.hurry = v.soon - margin + margin / 2;
    v.gate = (keep + margin + round + 2) * blocks; /* open segments are half full */
    v.goal = v.gate + cw_max_u64(round / 4, 1) * blocks;
    v.low = v.gate - round * blocks * 3 / 4;
    return v;
}

/* Segments for two generations of pages. */
static uint64_t
pace_meta_budget(const struct cw_store *s)
{
    return 2 * space_meta(s) / pace_seg_blocks(s) + 2;
}

/* Blocks that META may take yet. */
static uint64_t
pace_meta_due(const struct cw_store *s)
{
    uint64_t budget = pace_meta_budget(s);

    return budget > s->index.n_meta ? (budget - s->index.n_meta) * pace_seg_blocks(s) : 0;
}

uint64_t
pace_supply(const struct cw_store *s)
{
    uint64_t blocks = pace_seg_blocks(s), n, due = pace_meta_due(s);

    n = (s->index.free.n + s->index.soon_free.n + segindex_empty(s)) * blocks;
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++)
        n += s->open[cls].open ? (s->seg_bytes - s->open[cls].off) / CW_BLOCK_SIZE : 0;
    /* no free segment yet: who waits for one is not helped by halves */
    if (!s->pressed[CW_SEG_HOT])
        n += cleaner_gain(s);
    return n > due ? n - due : 0;
}

bool
pace_wants_cleaning(const struct cw_store *s)
{
    return pace_supply(s) < pace_levels(s).goal;
}

uint32_t
pace_cleaners(const struct cw_store *s)
{
    struct levels v = pace_levels(s);
    uint64_t supply = pace_supply(s), deficit = v.goal - cw_min_u64(supply, v.goal);

    return (uint32_t)cw_min_u64(cw_div_up(deficit * s->n_cleaners, v.goal - v.gate), s->n_cleaners);
}

bool
pace_wants_moving(const struct cw_store *s)
{
    return pace_wants_cleaning(s) && s->index.n_meta - s->index.moving.n > pace_meta_budget(s);
}

bool
pace_is_low(const struct cw_store *s)
{
    return pace_supply(s) < pace_levels(s).low;
}

/* Only while the cleaner wins something: who waits for nothing waits for ever. */
bool
pace_holds(const struct cw_store *s)
{
    return s->state == STORE_OPEN && cleaner_busy(s) && !cleaner_packs(s) &&
           pace_supply(s) < pace_levels(s).gate;
}

bool
pace_wants_checkpoint(const struct cw_store *s)
{
    struct levels v = pace_levels(s);
    uint32_t empty = segindex_empty(s);
    bool pressed = s->index.free.n <= v.hurry;

    if (s->index.free.n > v.soon)
        return false;
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++)
        pressed |= s->pressed[cls];
    /* what dirty pages may need is kept back for them: written, they keep nothing from anybody */
    if (s->pressed[CW_SEG_HOT] && map_dirty_pages(s) >= pace_seg_blocks(s))
        return true;
    return s->index.soon_free.n > 0 || empty + 1 > v.round || (pressed && empty > 0);
}
