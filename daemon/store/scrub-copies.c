/* store/scrub-copies.c - the scrub of what the copies have, layer by layer: map pages, and blocks
 * chunk by chunk, which are read as anybody reads them, but from the media.
 */
#include <errno.h>
#include <stdio.h>

#include "common/codec/hash.h"
#include "daemon/store/scrub.h"

/* ---- walking the copies ---- */

/* Of a copy's layers that are not deleted, the one whose snapshot has the lowest name from `snap`
 * on; the head, 0, comes first. */
static struct layer *
walk_snap(const struct cw_store_shard *sh, uint64_t snap)
{
    struct layer *best = NULL;

    for (struct layer *l = NULL; (l = layer_next(sh->s, sh->layer, l)) != NULL;) {
        if (l->sh == sh && !l->gone && l->snap >= snap && (best == NULL || l->snap < best->snap))
            best = l;
    }
    return best;
}

/* The layer at the cursor or behind it; the cursor moves there. NULL: none is left. */
static struct layer *
walk_layer(struct scrub *c)
{
    struct cw_store_shard *sh = NULL;

    while ((sh = cw_store_shard_next(c->s, sh)) != NULL) {
        struct layer *l;

        if (sh->id < c->at.shard)
            continue;
        if (sh->id > c->at.shard)
            c->at = (struct scrub_at){ .shard = sh->id };
        l = walk_snap(sh, c->at.snap);
        if (l != NULL && l->snap == c->at.snap && c->at.chunk >= CW_SHARD_CHUNKS)
            l = walk_snap(sh, c->at.snap + 1);
        if (l == NULL)
            continue;
        if (l->snap != c->at.snap) {
            c->at.snap = l->snap;
            c->at.chunk = 0;
        }
        return l;
    }
    return NULL;
}

/* Is the chunk read as part of this layer? Its own is, and what it shows of one that was deleted.
 */
static bool
walk_is_due(struct layer *l, uint32_t chunk)
{
    struct layer *owner = l;
    const struct cw_chunk_entry *e = chunk_see(&owner, chunk);

    return e != NULL && (owner == l || owner->gone) && map_has_page(owner, chunk);
}

/* The first such chunk from `chunk` on. */
static uint32_t
walk_chunk(struct layer *l, uint32_t chunk)
{
    while (chunk < CW_SHARD_CHUNKS && !walk_is_due(l, chunk)) {
        bool skip = tab_of(l, chunk) == NULL && (l->parent == NULL || !l->parent->gone);

        chunk += skip ? CW_TAB_CHUNKS - chunk % CW_TAB_CHUNKS : 1;
    }
    return (uint32_t)cw_min_u64(chunk, CW_SHARD_CHUNKS);
}

/* ---- PAGES ---- */

static void
page_bad(struct scrub *c, const struct scrub_ref *r)
{
    struct layer *l = layer_find(c->s, r->layer);
    const struct cw_chunk_entry *e = l != NULL ? chunk_find(l, r->index) : NULL;
    struct page *p;
    char what[64];

    if (e == NULL || e->page_loc != r->loc || l->gone)
        return; /* it lies elsewhere by now */
    p = map_page_resident(l, r->index);
    if (p == NULL) {
        map_page_get(l, r->index, NULL); /* finds it lost, or that a second look helps */
        return;
    }
    map_page_dirty(c->s, p);
    snprintf(what, sizeof(what), "map page of shard %llx chunk %u", (unsigned long long)l->sh->id,
             r->index);
    scrub_healed(c, what);
    scrub_want_ckpts(c, 1);
}

static void
pages_on_fetched(struct store_fetch *f)
{
    struct scrub *c = cw_container_of(f, struct scrub, fetch);

    scrub_refs_pin(c, -1);
    for (uint32_t i = 0; i < c->n_refs && c->s->state == STORE_OPEN; i++) {
        if (!scrub_ref_is_good(c, i))
            page_bad(c, &c->refs[i]);
    }
    c->at.chunk = c->next_chunk;
    scrub_step_over(c);
}

/* Pages on the media of the chunks from `chunk` on; returns the first not looked at. */
static uint32_t
pages_gather(struct scrub *c, struct layer *l, uint32_t chunk)
{
    c->n_refs = 0;
    while (chunk < CW_SHARD_CHUNKS && c->n_refs < SCRUB_REFS) {
        const struct cw_chunk_entry *e = chunk_find(l, chunk);

        if (e == NULL) {
            chunk += CW_TAB_CHUNKS - chunk % CW_TAB_CHUNKS;
            continue;
        }
        if (e->page_loc != 0)
            c->refs[c->n_refs++] = (struct scrub_ref){
                .layer = l->id, .index = chunk, .loc = e->page_loc, .csum = e->page_csum
            };
        chunk++;
    }
    return (uint32_t)cw_min_u64(chunk, CW_SHARD_CHUNKS);
}

enum step
scrub_step_pages(struct scrub *c)
{
    struct layer *l = walk_layer(c);

    if (l == NULL) {
        c->phase = CW_SCRUB_BLOCKS;
        c->at = (struct scrub_at){ 0 };
        return STEP_NEXT;
    }
    c->next_chunk = pages_gather(c, l, c->at.chunk);
    if (c->n_refs > 0)
        return scrub_refs_fetch(c, pages_on_fetched);
    c->at.chunk = c->next_chunk;
    return STEP_NEXT;
}

/* ---- BLOCKS ---- */

static uint32_t
read_count(const struct cw_store_read *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < r->nblk; i++)
        n += r->csums[i] != CW_HASH_ZERO_BLOCK;
    return n;
}

static void
blocks_cool(const struct cw_store_read *r)
{
    struct layer *l = layer_of_snap(r->shard, r->snap);
    uint32_t chunk = (uint32_t)(r->lba / CW_CHUNK_BLOCKS);

    if (l == NULL)
        return;
    chunk_see(&l, chunk);
    map_page_cool(l, chunk);
}

/* The read told whoever it was of; a chunk that several layers share is read once only. */
static void
blocks_tell_heads(const struct cw_store_read *r)
{
    struct layer *l = layer_of_snap(r->shard, r->snap), *owner = l;

    if (l == NULL)
        return;
    chunk_see(&owner, (uint32_t)(r->lba / CW_CHUNK_BLOCKS));
    bad_heads(owner, l, r->lba, r->nblk, r->bad);
}

static void
blocks_on_read(struct cw_store_read *r)
{
    struct scrub *c = cw_container_of(r, struct scrub, read);
    uint32_t n_bad = 0;

    if (r->res == 0) {
        c->pass.bytes += (uint64_t)read_count(r) * CW_BLOCK_SIZE;
        for (uint32_t i = 0; i < CW_LEN(r->bad); i++)
            n_bad += cw_popcount(r->bad[i]);
        c->pass.found += n_bad;
        if (n_bad > 0 && !r->shard->gone)
            blocks_tell_heads(r);
    }
    c->starved = r->res == -ENOMEM;
    if (!c->starved)
        c->at.chunk++;
    cw_buf_unref(r->buf);
    r->buf = NULL;
    if (!c->was_resident && !r->shard->gone)
        blocks_cool(r);
    scrub_step_over(c);
}

enum step
scrub_step_blocks(struct scrub *c)
{
    struct layer *l = walk_layer(c), *owner = l;

    if (l == NULL) {
        scrub_pass_end(c);
        return STEP_NEXT;
    }
    c->at.chunk = walk_chunk(l, c->at.chunk);
    if (c->at.chunk == CW_SHARD_CHUNKS)
        return STEP_NEXT;
    if (!scrub_buffer(c, CW_CHUNK_BLOCKS * CW_BLOCK_SIZE))
        return STEP_LATER;
    cw_buf_unref(c->buf); /* the read takes it */
    c->buf = NULL;
    chunk_see(&owner, c->at.chunk);
    c->was_resident = map_page_resident(owner, c->at.chunk) != NULL;
    c->read = (struct cw_store_read){ .shard = l->sh,
                                      .snap = l->snap,
                                      .lba = (uint64_t)c->at.chunk * CW_CHUNK_BLOCKS,
                                      .nblk = CW_CHUNK_BLOCKS,
                                      .flags = CW_STORE_READ_MEDIA,
                                      .done = blocks_on_read };
    cw_store_read(&c->read);
    return STEP_BUSY;
}
