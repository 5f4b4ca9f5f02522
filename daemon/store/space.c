/* store/space.c - how much may still come, and when space must be won back.
 *
 * Two ratios must never be mixed up: credit is given against *live* data, so that what was granted
 * always finds room after cleaning; a batch waits for *free segments*, which the cleaner and two
 * checkpoints make. The cleaner is woken by either running low.
 *
 *   capacity * 95 %  no credit      97 %  appends refused, TRIM and drop still taken
 *   capacity = all segments but the reserves: 1 % META, 2 % cleaning, 2 % resync. The last may use
 *   its own: a copy that is placed already must be able to come back.
 *
 * Credit is never asked back, so room is kept for all that all copies may hold of it at once. No
 * copy is added beyond a quarter of the capacity kept so.
 *
 * A map page is a block too. Dense data has one for 256, which the META reserve holds; data that is
 * strewn over many chunks has as many pages as blocks, and pays for them.
 */
#include "daemon/store/store-internal.h"

#define META_SEGS 4u   /* and what dirty pages need */
#define URGENT_SEGS 2u /* for TRIM, ZERO and control records, and what is ordered before them */

uint32_t
space_reserve_meta(const struct cw_store *s)
{
    return (uint32_t)cw_max_u64(s->n_segs / 100, 4);
}

/* On the smallest stores the open segments, of which each class has one, are what counts. */
uint32_t
space_reserve_clean(const struct cw_store *s)
{
    return (uint32_t)cw_max_u64(s->n_segs / 50, 9);
}

static uint64_t
seg_data_blocks(const struct cw_store *s)
{
    uint64_t blocks = s->seg_bytes / CW_BLOCK_SIZE;

    return blocks - 1 - blocks / 16; /* header, batch headers, summary */
}

static uint64_t
reserve_resync(const struct cw_store *s)
{
    return cw_max_u64(s->n_segs / 50, 2);
}

uint64_t
space_capacity(const struct cw_store *s)
{
    uint64_t reserve = space_reserve_meta(s) + space_reserve_clean(s) + reserve_resync(s);

    return (s->n_segs - reserve) * seg_data_blocks(s);
}

uint64_t
space_used(const struct cw_store *s)
{
    return cw_div_up(s->data_live, CW_BLOCK_SECTORS) + s->pend_blocks;
}

uint64_t
space_meta(const struct cw_store *s)
{
    return cw_div_up(s->meta_live, CW_BLOCK_SECTORS);
}

/* That and the map pages that the META reserve does not hold; a checkpoint has them twice. */
uint64_t
space_taken(const struct cw_store *s)
{
    uint64_t live = space_meta(s);
    uint64_t pages = live + cw_max_u64(live, map_dirty_pages(s) + s->pend_touches);
    uint64_t held = space_reserve_meta(s) * seg_data_blocks(s);

    return space_used(s) + (pages > held ? pages - held : 0);
}

/* What each of n copies may be granted and not have sent yet. The largest record always: an owner
 * whose next one finds no credit waits, and hears of nothing. */
static uint64_t
space_window(const struct cw_store *s, uint32_t n)
{
    uint64_t cap = space_capacity(s), each = cap / 50 / n;

    each = cw_max_u64(each, cw_min_u64(cap / 20 / n, 1024));
    return cw_min_u64(cw_max_u64(each, CW_IO_BLOCKS_MAX), 65536);
}

/* An empty store keeps as much for one. */
static uint32_t
space_copies(const struct cw_store *s)
{
    return s->n_shards == 0 ? 1 : s->n_shards;
}

/* No credit from here on: what was granted to n copies before still fits below 97 %. */
static uint64_t
space_credit_limit(const struct cw_store *s, uint32_t n)
{
    uint64_t cap = space_capacity(s), refuse = cap / 100 * 97, window = space_window(s, n) * n;

    if (window >= refuse)
        return 0;
    return cw_min_u64(cap / 100 * 95, refuse - window);
}

bool
space_takes_copy(const struct cw_store *s)
{
    uint32_t n = s->n_shards + 1;

    return space_window(s, n) * n <= space_capacity(s) / 4 &&
           space_taken(s) + CW_IO_BLOCKS_MAX <= space_credit_limit(s, n);
}

void
space_copy_added(struct cw_store *s)
{
    if (s->n_shards < 2 || space_window(s, s->n_shards) == space_window(s, s->n_shards - 1))
        return;
    s->health_due = true;
    store_kick(s);
}

bool
space_may_write(const struct cw_store *s, uint32_t n_blocks, bool resync)
{
    uint64_t cap = space_capacity(s), reserve = reserve_resync(s) * seg_data_blocks(s);

    /* what was granted may turn out to need many pages: that far it is let in */
    return space_used(s) + n_blocks <= cap / 100 * 97 + (resync ? reserve : 0) &&
           space_taken(s) + n_blocks <= cap + reserve;
}

/* Full is when the largest record finds no credit: an owner that waits for it hears of the end. */
bool
space_is_full(const struct cw_store *s)
{
    return space_taken(s) + CW_IO_BLOCKS_MAX > space_credit_limit(s, space_copies(s));
}

uint32_t
cw_store_credit(const struct cw_store_shard *sh)
{
    const struct cw_store *s = sh->s;
    uint64_t limit, used = space_taken(s);

    if (s->stats.failed || s->state != STORE_OPEN)
        return 0;
    limit = space_credit_limit(s, space_copies(s));
    if (used >= limit)
        return 0;
    return (uint32_t)cw_min_u64(space_window(s, space_copies(s)), limit - used);
}

static uint64_t
seg_blocks(const struct cw_store *s)
{
    return s->seg_bytes / CW_BLOCK_SIZE;
}

/* What the next checkpoint may write: dirty pages with their tables, segments, shards. */
static uint32_t
keep_meta(const struct cw_store *s)
{
    uint64_t pages = map_dirty_pages(s) + s->pend_touches;

    return META_SEGS + (uint32_t)((pages + pages / 4 + s->n_segs / 64) / seg_blocks(s));
}

static uint32_t
keep_clean(const struct cw_store *s)
{
    return (uint32_t)cw_max_u64(s->n_segs / 256, 4);
}

/* Nobody takes another's: META can always write a checkpoint, the cleaner can always move what
 * empties more segments than it fills, and what gives space back need not wait for that. */
uint32_t
space_keep_free(const struct cw_store *s, uint8_t cls, bool urgent)
{
    if (cls == CW_SEG_META)
        return 0;
    /* lives that end at once leave each their half full segments behind: where the cleaner has none
     * at all to begin with it borrows, or nothing would ever come back */
    if (cls != CW_SEG_HOT)
        return s->open[cls].open ? keep_meta(s) : keep_meta(s) / 2;
    return keep_meta(s) + keep_clean(s) + (urgent ? 0 : URGENT_SEGS);
}

uint32_t
space_keep_least(const struct cw_store *s)
{
    return META_SEGS + keep_clean(s) + URGENT_SEGS;
}

void
space_update(struct cw_store *s)
{
    bool full = space_is_full(s);

    s->stats.full = full;
    if (full != s->was_full) {
        s->was_full = full;
        s->health_due = true;
        store_log(s, CW_LOG_NOTICE, "%s", full ? "full, no credit" : "has space again");
        store_kick(s);
    } else if (s->starved || pace_wants_cleaning(s)) {
        store_kick(s); /* whether a checkpoint is due is asked after each batch anyway */
    }
}
