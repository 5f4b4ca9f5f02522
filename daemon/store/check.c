/* store/check.c - what must hold between any two calls; slow, for the simulator and tests. */
#include <stdlib.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

/* Live sectors per segment, from the owners of places. */
static void
recount_page(const struct page *p, uint32_t *live, uint64_t *mapped, uint64_t *sectors)
{
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        uint64_t loc = p->data->e[i].loc;

        if ((loc & CW_LOC_SHARED) || !map_kind_is_mapped(cw_loc_kind(loc)))
            continue;
        (*mapped)++;
        if (cw_loc_kind(loc) == CW_MAP_BAD)
            continue;
        live[cw_loc_seg(loc)] += cw_loc_sectors(loc);
        *sectors += cw_loc_sectors(loc);
    }
}

/* Nothing was lost, in this life or before it: a lost map page leaves counts too high for good. */
static bool
is_sound(const struct cw_store *s)
{
    struct cw_store_scrub_stats st = { 0 };

    bads_stats(s, &st);
    return s->stats.csum_errors == 0 && st.recent == 0 && st.storms == 0;
}

/* False: a page is not in RAM. */
static bool
recount_layer(const struct cw_store *s, struct layer *l, uint32_t *live)
{
    uint64_t mapped = 0, sectors = 0;
    bool all = true;

    for (uint32_t i = 0; i < CW_SHARD_TABS; i++) {
        struct tab *t = l->tabs[i];

        for (uint32_t k = 0; t != NULL && k < CW_TAB_CHUNKS; k++) {
            const struct page *p = chunk_page(&t->e[k]);

            cw_assert(p == NULL || (p->l == l && p->chunk == i * CW_TAB_CHUNKS + k));
            if (p != NULL && !p->loading)
                recount_page(p, live, &mapped, &sectors);
            else if (t->e[k].nmapped > 0)
                all = false;
        }
    }
    /* a store of version 1 did not know which of its entries are BAD */
    cw_assert(mapped <= l->mapped && sectors <= l->sectors);
    if (all && is_sound(s))
        cw_assert(mapped == l->mapped);
    return all;
}

/* Layers and shards know each other. */
static void
check_layers(const struct cw_store *s)
{
    uint32_t n_gone = 0;

    CW_LIST_EACH (it, &s->layers) {
        const struct layer *l = cw_list_entry(it, struct layer, link);
        uint32_t n = 0;

        for (struct layer *c = NULL; (c = layer_next(s, l->id, c)) != NULL;)
            n += c->parent == l;
        cw_assert(n == l->n_children && (l->snap != 0 || n == 0));
        cw_assert((l->snap == 0) == (l->sh->head == l));
        cw_assert(!l->sh->gone_applied || l->gone);
        n_gone += l->gone;
    }
    cw_assert(n_gone == s->n_gone);
    CW_LIST_EACH (it, &s->shards) {
        struct cw_store_shard *sh = cw_list_entry(it, struct cw_store_shard, link);
        uint64_t mapped = 0;

        cw_assert(sh->head != NULL && !sh->head->gone);
        for (struct layer *l = NULL; (l = layer_next(s, sh->layer, l)) != NULL;)
            mapped += l->sh == sh ? l->mapped : 0;
        cw_assert(mapped == sh->info.mapped_blocks);
    }
}

static void
check_live(const struct cw_store *s)
{
    uint32_t *live = store_alloc(s->n_segs * sizeof(*live));
    uint64_t data_live = 0, meta_live = 0;
    bool all = true;

    CW_LIST_EACH (it, &s->layers)
        all &= recount_layer(s, cw_list_entry(it, struct layer, link), live);
    for (uint32_t i = 0; i < s->n_segs; i++) {
        const struct seg *g = &s->segs[i];

        if (g->cls == CW_SEG_META) {
            cw_assert(live[i] == 0);
            meta_live += g->live;
            continue;
        }
        cw_assert(live[i] <= g->live); /* too high at most */
        if (all && is_sound(s))
            cw_assert(live[i] == g->live);
        cw_assert(g->live == 0 || g->state == CW_SEG_OPEN || g->state == CW_SEG_SEALED);
        data_live += g->live;
    }
    cw_assert(data_live == s->data_live && meta_live == s->meta_live);
    free(live);
}

static void
check_states(const struct cw_store *s)
{
    uint32_t n[CW_SEG_SOON_FREE + 1] = { 0 };

    for (uint32_t i = 0; i < s->n_segs; i++)
        n[s->segs[i].state]++;
    for (size_t i = 0; i < CW_LEN(n); i++)
        cw_assert(n[i] == s->n_state[i]);
}

/* Each segment is in the list it belongs to. */
static void
check_index(const struct cw_store *s)
{
    const struct segindex *x = &s->index;
    uint32_t held = 0, meta = 0, in_lists = x->free.n + x->soon_free.n + x->empty.n + x->moving.n;

    for (uint32_t i = 0; i < s->n_segs; i++) {
        const struct seg *g = &s->segs[i];

        cw_assert(g->list == segindex_place(s, g));
        held += g->list == SEG_IN_EMPTY && g->tail_pins > 0;
        meta += g->list >= SEG_IN_MOVING && g->cls == CW_SEG_META;
    }
    for (uint32_t cls = 0; cls < CW_SEG_CLASSES; cls++) {
        for (uint32_t b = 0; b < SEG_BUCKETS; b++)
            in_lists += x->by_live[cls][b].n;
    }
    cw_assert(held == x->n_held && meta == x->n_meta);
    cw_assert(x->free.n == s->n_state[CW_SEG_FREE]);
    cw_assert(x->soon_free.n == s->n_state[CW_SEG_SOON_FREE]);
    cw_assert(in_lists + s->n_state[CW_SEG_OPEN] == s->n_segs);
}

static void
check_batches(const struct cw_store *s)
{
    uint64_t seq = s->applied_upto;
    uint64_t touches = 0, blocks = 0;

    CW_LIST_EACH (it, &s->batches) {
        const struct batch *b = cw_list_entry(it, struct batch, link);

        cw_assert(b->seq == seq + 1);
        seq = b->seq;
        touches += b->touches;
        blocks += b->blocks;
    }
    cw_assert(seq + 1 == s->next_batch || s->stats.failed);
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++) {
        CW_LIST_EACH (it, &s->ready[cls]) {
            touches += cw_list_entry(it, struct batch, link)->touches;
            blocks += cw_list_entry(it, struct batch, link)->blocks;
        }
        if (s->batch_open[cls] != NULL) {
            touches += s->batch_open[cls]->touches;
            blocks += s->batch_open[cls]->blocks;
        }
    }
    cw_assert(touches == s->pend_touches && blocks == s->pend_blocks);
}

static void
check_pages(const struct cw_store *s)
{
    uint64_t dirty = 0, n = 0;

    CW_LIST_EACH (it, &s->dirty) {
        cw_assert(cw_list_entry(it, struct page, link)->dirty);
        dirty++;
        n++;
    }
    CW_LIST_EACH (it, &s->lru)
        n++;
    CW_LIST_EACH (it, &s->held)
        n++;
    cw_assert(dirty == s->n_dirty && n <= s->n_pages);
}

void
cw_store_check(const struct cw_store *s)
{
    if (s->state != STORE_OPEN || s->stats.failed)
        return;
    check_states(s);
    check_index(s);
    check_batches(s);
    check_pages(s);
    check_layers(s);
    /* a record that waits for a page in its middle is not an instant between two */
    if (!s->apply.active)
        check_live(s);
}

bool
cw_store_chunk_view(const struct cw_store_shard *sh, uint32_t chunk, uint32_t *ret_gen,
                    uint64_t *ret_seq, uint64_t *csums)
{
    struct layer *l = sh->head;
    const struct cw_chunk_entry *e = chunk_see(&l, chunk);
    const struct page *p = chunk_page(e);

    if (sh->s->apply.active || e == NULL || (e->nmapped > 0 && (p == NULL || p->loading)))
        return false;
    *ret_gen = e->gen;
    *ret_seq = e->seq;
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        struct cw_map_entry at = { 0 };

        if (p != NULL && !p->loading)
            at = p->data->e[i];
        if (cw_loc_kind(at.loc) == CW_MAP_BAD)
            return false;
        csums[i] = map_kind_is_mapped(cw_loc_kind(at.loc)) ? at.xxh3 : CW_HASH_ZERO_BLOCK;
    }
    return true;
}
