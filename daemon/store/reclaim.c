/* store/reclaim.c - gives back what deleted layers held, page by page in the background.
 *
 *   no child          its places are free
 *   one child         what the child shares becomes the child's, the rest is free; the child then
 *                     shows the parent's parent
 *   several children  waits: each of them may share any place
 *
 * Nothing of this is in the log: a restart finds the layer as the checkpoint saw it, marked gone,
 * and begins again; what is done already is not there any more.
 */
#include <string.h>

#include "daemon/store/store-internal.h"

#define PAGES_AT_ONCE 64u

enum step {
    STEP_DONE,
    STEP_WAIT,  /* a page comes */
    STEP_CKPT,  /* its end kicks */
    STEP_LATER, /* somebody holds a page for a moment */
};

static void
reclaim_on_page(struct page_waiter *w)
{
    struct cw_store *s = cw_container_of(w, struct cw_store, reclaim_wait);

    s->reclaim_waiting = false;
    store_kick(s);
}

/* False: waits for the page. Without a page it stays NULL in *ret. */
static bool
reclaim_page(struct layer *l, uint32_t chunk, struct page **ret)
{
    struct cw_store *s = l->s;

    *ret = NULL;
    if (!map_has_page(l, chunk))
        return true;
    s->reclaim_wait.fn = reclaim_on_page;
    *ret = map_page_get(l, chunk, &s->reclaim_wait);
    s->reclaim_waiting = *ret == NULL;
    return *ret != NULL;
}

static enum step
drop_chunk(struct layer *l, uint32_t chunk)
{
    struct page *p;

    if (!reclaim_page(l, chunk, &p))
        return STEP_WAIT;
    if (p == NULL)
        return STEP_DONE;
    map_page_dirty(l->s, p);
    map_page_unlogged(p);
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++)
        map_entry_set(p, i, (struct cw_map_entry){ 0 });
    map_page_settle(p);
    return STEP_DONE;
}

/* ---- merging into the only child ---- */

static bool
entry_is_shared_of(const struct cw_map_entry *child, const struct cw_map_entry *own)
{
    return (child->loc & CW_LOC_SHARED) && cw_loc_place(child->loc) == cw_loc_place(own->loc) &&
           child->xxh3 == own->xxh3;
}

/* Both have the chunk: places that the child shares become its own. */
static void
merge_pages(struct page *from, struct page *to)
{
    map_page_dirty(from->l->s, from);
    map_page_unlogged(from);
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        struct cw_map_entry e = from->data->e[i];
        bool owner = !(e.loc & CW_LOC_SHARED) && map_kind_is_mapped(cw_loc_kind(e.loc));

        map_entry_set(from, i, (struct cw_map_entry){ 0 });
        if (!owner || to == NULL || !entry_is_shared_of(&to->data->e[i], &e))
            continue;
        map_page_dirty(to->l->s, to);
        map_entry_set(to, i, e);
    }
}

static enum step
merge_chunk(struct layer *l, struct layer *child, uint32_t chunk)
{
    struct page *from, *to = NULL;

    if (ckpt_running(l->s)) /* it writes pages by layer and chunk */
        return STEP_CKPT;
    if (l->s->apply.active) /* in the middle of a record it remembers pages and layers */
        return STEP_LATER;
    if (chunk_find(l, chunk) == NULL || !chunk_is_own(l, chunk))
        return STEP_DONE;
    if (!reclaim_page(l, chunk, &from))
        return STEP_WAIT;
    if (from != NULL && from->pins > 0)
        return STEP_LATER;
    if (!chunk_is_own(child, chunk)) {
        map_chunk_move(l, child, chunk);
        return STEP_DONE;
    }
    if (from == NULL)
        return STEP_DONE;
    from->pins++;
    if (!reclaim_page(child, chunk, &to)) {
        map_page_unpin(from);
        return STEP_WAIT;
    }
    merge_pages(from, to);
    map_page_unpin(from);
    return STEP_DONE;
}

static struct layer *
only_child(const struct layer *of)
{
    for (struct layer *l = NULL; (l = layer_next(of->s, of->id, l)) != NULL;) {
        if (l->parent == of)
            return l;
    }
    cw_unreachable();
}

/* ---- the end of a layer ---- */

/* Tables are dropped only between checkpoints, which refer to them. */
static enum step
layer_end(struct layer *l, struct layer *child)
{
    struct cw_store *s = l->s;

    if (ckpt_running(s))
        return STEP_CKPT;
    if (s->apply.active)
        return STEP_LATER;
    for (uint32_t i = 0; i < CW_SHARD_TABS; i++) {
        for (uint32_t k = 0; l->tabs[i] != NULL && k < CW_TAB_CHUNKS; k++) {
            if (l->tabs[i]->e[k].ram != 0)
                return STEP_LATER; /* pinned by somebody yet */
        }
    }
    for (uint32_t i = 0; i < CW_SHARD_TABS; i++) {
        if (l->tabs[i] != NULL && l->tabs[i]->loc != 0)
            segment_dies_next(s, l->tabs[i]->loc);
    }
    if (child != NULL) {
        child->parent = l->parent;
        if (l->parent != NULL)
            l->parent->n_children++;
        l->n_children = 0;
    }
    if (l->sh->head == l)
        l->sh->head = NULL;
    layer_free(l);
    return STEP_DONE;
}

/* Some more chunks of a layer, or its end. */
static enum step
layer_reclaim(struct layer *l, uint32_t *budget)
{
    struct layer *child = l->n_children == 0 ? NULL : only_child(l);

    for (; l->purge_at < CW_SHARD_CHUNKS; l->purge_at++) {
        enum step step;

        if (tab_of(l, l->purge_at) == NULL) {
            l->purge_at += CW_TAB_CHUNKS - l->purge_at % CW_TAB_CHUNKS - 1;
            continue;
        }
        step = child == NULL ? drop_chunk(l, l->purge_at) : merge_chunk(l, child, l->purge_at);
        if (step != STEP_DONE)
            return step;
        if (--*budget == 0)
            return STEP_DONE;
    }
    return layer_end(l, child);
}

static bool
layer_is_due(const struct layer *l)
{
    if (!l->gone || l->n_children > 1)
        return false;
    return l->n_children == 0 || !only_child(l)->gone;
}

void
layer_reclaim_kick(struct cw_store *s)
{
    uint32_t budget = PAGES_AT_ONCE;

    if (s->n_gone == 0 || s->state != STORE_OPEN || s->stats.failed || s->reclaim_waiting)
        return;
    CW_LIST_EACH_SAFE (it, &s->layers) {
        struct layer *l = cw_list_entry(it, struct layer, link);

        if (!layer_is_due(l))
            continue;
        switch (layer_reclaim(l, &budget)) {
        case STEP_WAIT:
            return;
        case STEP_CKPT:
            continue;
        case STEP_LATER:
            store_kick_later(s);
            continue;
        case STEP_DONE: /* others may be due by it */
            store_kick(s);
            if (budget == 0)
                return;
        }
    }
}
