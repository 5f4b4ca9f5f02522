/* store/map.c - map pages in RAM: loaded on a miss, verified by their parent's checksum, evicted
 * when clean. A dirty page becomes clean only through a checkpoint, so the pages that a replay has
 * to hold are never more than the cache had.
 */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

bool
map_has_page(struct layer *l, uint32_t chunk)
{
    const struct cw_chunk_entry *e = chunk_find(l, chunk);

    return e != NULL && (e->ram != 0 || e->page_loc != 0);
}

struct page *
map_page_resident(struct layer *l, uint32_t chunk)
{
    struct page *p = chunk_page(chunk_find(l, chunk));

    return p == NULL || p->loading ? NULL : p;
}

uint64_t
map_dirty_pages(const struct cw_store *s)
{
    return s->n_dirty + s->ckpt.n_frozen + s->ckpt.frozen_copies;
}

bool
map_is_crowded(const struct cw_store *s)
{
    return map_dirty_pages(s) * sizeof(struct cw_map_page) > s->map_budget / 2;
}

/* Only pages in s->lru may be evicted. */
static void
page_home(struct cw_store *s, struct page *p)
{
    cw_list_remove(&p->link);
    cw_list_push_back(p->dirty ? &s->dirty : p->in_ckpt ? &s->held : &s->lru, &p->link);
}

/* ---- life of a page ---- */

static void
page_free(struct cw_store *s, struct page *p)
{
    cw_list_remove(&p->link);
    cw_list_remove(&p->ckpt_link);
    cw_buf_unref(p->frozen_buf);
    cw_buf_unref(p->data_buf);
    free(p);
    s->n_pages--;
}

static struct cw_map_page *
page_mem(struct cw_store *s, struct cw_buf **ret_buf)
{
    *ret_buf = cw_buf_get(s->page_pool, sizeof(struct cw_map_page));
    cw_assert(*ret_buf != NULL); /* without a limit: out of memory */
    return (struct cw_map_page *)(void *)(*ret_buf)->data;
}

uint64_t
map_cached_pages(const struct cw_store *s)
{
    return s->n_pages + s->ckpt.frozen_copies;
}

void
map_evict(struct cw_store *s, uint32_t n_more)
{
    struct cw_list *it = s->lru.next;

    while ((map_cached_pages(s) + n_more) * sizeof(struct cw_map_page) > s->map_budget &&
           it != &s->lru) {
        struct page *p = cw_list_entry(it, struct page, link);

        it = it->next;
        if (p->pins > 0 || p->loading)
            continue;
        chunk_find(p->l, p->chunk)->ram = 0;
        page_free(s, p);
    }
}

static struct page *
page_new(struct layer *l, uint32_t chunk)
{
    struct cw_store *s = l->s;
    struct page *p;

    map_evict(s, 1);
    p = store_alloc(sizeof(*p));
    p->data = page_mem(s, &p->data_buf);
    p->l = l;
    p->chunk = chunk;
    cw_list_init(&p->link);
    cw_list_init(&p->ckpt_link);
    cw_list_init(&p->waiters);
    chunk_get(l, chunk)->ram = (uintptr_t)p;
    s->n_pages++;
    return p;
}

void
map_page_cool(struct layer *l, uint32_t chunk)
{
    struct page *p = map_page_resident(l, chunk);

    if (p == NULL || p->dirty || p->in_ckpt)
        return;
    cw_list_remove(&p->link);
    cw_list_push_front(&l->s->lru, &p->link);
}

struct page *
map_page_make(struct layer *l, uint32_t chunk)
{
    struct page *p;

    cw_assert(!map_has_page(l, chunk));
    p = page_new(l, chunk);
    memset(p->data, 0, sizeof(*p->data));
    page_home(l->s, p);
    return p;
}

void
map_page_dirty(struct cw_store *s, struct page *p)
{
    if (p->in_ckpt && p->frozen == NULL) {
        p->frozen = page_mem(s, &p->frozen_buf);
        memcpy(p->frozen, p->data, sizeof(*p->frozen));
        s->ckpt.frozen_copies++;
    }
    chunk_change(p->l, p->chunk);
    if (p->dirty)
        return;
    p->dirty = true;
    s->n_dirty++;
    page_home(s, p);
}

/* The checkpoint will write the page as it is now. */
void
map_page_freeze(struct cw_store *s, struct page *p)
{
    cw_assert(p->dirty && !p->in_ckpt);
    p->dirty = false;
    p->in_ckpt = true;
    s->n_dirty--;
    s->ckpt.n_frozen++;
    page_home(s, p);
    cw_list_push_back(&s->ckpt.pages, &p->ckpt_link);
}

/* Its frozen content was taken over by the checkpoint. */
void
map_page_unfreeze(struct cw_store *s, struct page *p)
{
    cw_list_remove(&p->ckpt_link);
    p->in_ckpt = false;
    s->ckpt.n_frozen--;
    if (p->frozen != NULL) {
        cw_buf_unref(p->frozen_buf);
        p->frozen_buf = NULL;
        p->frozen = NULL;
        s->ckpt.frozen_copies--;
    }
    if (p->dropped)
        page_free(s, p);
    else
        page_home(s, p);
}

void
map_page_unpin(struct page *p)
{
    cw_assert(p->pins > 0);
    p->pins--;
    map_page_settle(p);
}

/* ---- entries ---- */

bool
map_kind_is_data(enum cw_map_kind kind)
{
    return kind == CW_MAP_RAW || kind == CW_MAP_COMP;
}

bool
map_kind_is_mapped(enum cw_map_kind kind)
{
    return map_kind_is_data(kind) || kind == CW_MAP_BAD;
}

/* After a page was lost the count may only be too high; it is never more than a copy has. */
static void
layer_count_mapped(struct layer *l, int64_t n)
{
    uint64_t was = l->mapped;

    if (n < 0)
        l->mapped -= cw_min_u64(was, (uint64_t)-n);
    else
        l->mapped = cw_min_u64(was + (uint64_t)n, CW_SHARD_BLOCKS);
    l->sh->info.mapped_blocks += l->mapped - was;
}

/* An entry of the layer comes or goes: what it owns is counted. */
static void
entry_count(struct layer *l, uint64_t loc, int sign)
{
    enum cw_map_kind kind = cw_loc_kind(loc);
    int32_t n = (int32_t)cw_loc_sectors(loc) * sign;

    if ((loc & CW_LOC_SHARED) || !map_kind_is_mapped(kind))
        return;
    layer_count_mapped(l, sign);
    if (kind == CW_MAP_BAD)
        return;
    segment_live_sectors(l->s, loc, n);
    if (n < 0 && l->sectors < (uint64_t)-n)
        n = -(int32_t)l->sectors;
    l->sectors += (uint64_t)(int64_t)n;
}

void
map_entry_set(struct page *p, uint32_t i, struct cw_map_entry e)
{
    struct cw_map_entry *was = &p->data->e[i];
    struct cw_chunk_entry *c = chunk_find(p->l, p->chunk);
    bool from = map_kind_is_mapped(cw_loc_kind(was->loc)),
         to = map_kind_is_mapped(cw_loc_kind(e.loc));

    entry_count(p->l, was->loc, -1);
    entry_count(p->l, e.loc, 1);
    c->nmapped = (uint16_t)(c->nmapped + to - from);
    *was = e;
}

void
map_page_unlogged(struct page *p)
{
    struct cw_store *s = p->l->s;

    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        uint64_t loc = p->data->e[i].loc;

        if (!(loc & CW_LOC_SHARED) && map_kind_is_data(cw_loc_kind(loc)))
            s->segs[cw_loc_seg(loc)].unlogged_until = s->ckpt.number;
    }
}

void
map_page_settle(struct page *p)
{
    struct cw_store *s = p->l->s;
    struct cw_chunk_entry *e = chunk_find(p->l, p->chunk);

    if (e->nmapped > 0 || p->pins > 0)
        return;
    cw_assert(cw_list_empty(&p->waiters) && !p->loading);
    e = chunk_change(p->l, p->chunk);
    if (e->page_loc != 0)
        segment_dies_next(s, e->page_loc);
    e->page_loc = e->page_csum = 0;
    e->flags &= (uint8_t)~CHUNK_WRITING;
    e->ram = 0;
    if (p->dirty)
        s->n_dirty--;
    p->dirty = false;
    cw_list_remove(&p->link);
    if (p->in_ckpt)
        p->dropped = true; /* its frozen content is still to be written */
    else
        page_free(s, p);
}

void
map_chunk_move(struct layer *from, struct layer *to, uint32_t chunk)
{
    struct cw_chunk_entry *a = chunk_change(from, chunk), *b = chunk_change(to, chunk);
    struct page *p = chunk_page(a);
    uint64_t mapped = 0, sectors = 0;

    cw_assert(p != NULL || a->page_loc == 0);
    if (p != NULL)
        map_page_unlogged(p);
    for (uint32_t i = 0; p != NULL && i < CW_CHUNK_BLOCKS; i++) {
        uint64_t loc = p->data->e[i].loc;

        if ((loc & CW_LOC_SHARED) || !map_kind_is_mapped(cw_loc_kind(loc)))
            continue;
        mapped++;
        if (cw_loc_kind(loc) != CW_MAP_BAD)
            sectors += cw_loc_sectors(loc);
    }
    *b = *a;
    *a = (struct cw_chunk_entry){ 0 };
    b->state = CW_CHUNK_OWN;
    mapped = cw_min_u64(mapped, from->mapped);
    sectors = cw_min_u64(sectors, from->sectors);
    from->mapped -= mapped;
    from->sectors -= sectors;
    from->sh->info.mapped_blocks -= mapped;
    to->mapped += mapped;
    to->sectors += sectors;
    to->sh->info.mapped_blocks += mapped;
    if (p == NULL)
        return;
    cw_assert(!p->in_ckpt && !p->loading && p->pins == 0);
    p->l = to;
    map_page_dirty(to->s, p); /* on disk it says whose it is */
}

/* ---- loading ---- */

static bool
page_entries_ok(const struct cw_store *s, const struct cw_map_page *page, uint32_t nmapped)
{
    uint32_t n;

    return cw_inspect_map_page(&s->sb, page, &n) == NULL && n == nmapped;
}

/* The page is gone: every block of the chunk is unreadable until it is repaired or overwritten.
 * Counts of live blocks stay too high, which is safe; that of the layer as well, unless all that
 * the page had can only have been its own. */
static void
page_lost(struct cw_store *s, struct page *p)
{
    struct cw_chunk_entry *e = chunk_change(p->l, p->chunk);

    s->stats.csum_errors++;
    store_log(s, CW_LOG_ERROR, "map page of shard %llx chunk %u is unreadable",
              (unsigned long long)p->l->sh->id, p->chunk);
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++)
        p->data->e[i] = (struct cw_map_entry){ .loc = cw_loc_make(0, 0, 0, CW_MAP_BAD) };
    layer_count_mapped(p->l, CW_CHUNK_BLOCKS - (layer_was_always_alone(p->l) ? e->nmapped : 0));
    e->nmapped = CW_CHUNK_BLOCKS;
    p->loading = false;
    map_page_dirty(s, p);
    bad_page(p->l, p->chunk);
}

static void page_on_read(struct store_io *io, int res);

static void
page_read(struct cw_store *s, struct page *p, uint64_t loc)
{
    p->io.done = page_on_read;
    p->io.twice = p->io.patient = true;
    store_io_start(s, &p->io, CW_DISK_READ, loc_off(s, loc), p->data, sizeof(*p->data));
}

static void
page_on_read(struct store_io *io, int res)
{
    struct page *p = cw_container_of(io, struct page, io);
    struct cw_store *s = p->l->s;
    const struct cw_chunk_entry *e = chunk_find(p->l, p->chunk);
    struct cw_list woken;
    struct cw_list *node;

    if (res != 0 || cw_hash_block(p->data) != e->page_csum ||
        !page_entries_ok(s, p->data, e->nmapped)) {
        if (!p->reread) {
            p->reread = true;
            page_read(s, p, e->page_loc);
            return;
        }
        page_lost(s, p);
    }
    segment_unpin(s, cw_loc_seg(e->page_loc));
    p->loading = false;
    p->pins++; /* until everybody who waited has looked */
    cw_list_init(&woken);
    cw_list_splice_back(&woken, &p->waiters);
    while ((node = cw_list_pop_front(&woken)) != NULL) {
        struct page_waiter *w = cw_list_entry(node, struct page_waiter, link);

        w->fn(w);
    }
    map_page_unpin(p);
}

struct page *
map_page_get(struct layer *l, uint32_t chunk, struct page_waiter *w)
{
    struct cw_store *s = l->s;
    struct cw_chunk_entry *e = chunk_find(l, chunk);
    struct page *p = chunk_page(e);

    if (p != NULL && !p->loading) {
        if (!p->dirty && !p->in_ckpt)
            page_home(s, p);
        return p;
    }
    if (p == NULL) {
        p = page_new(l, chunk);
        p->loading = true;
        page_home(s, p);
        s->segs[cw_loc_seg(e->page_loc)].io_pins++;
        page_read(s, p, e->page_loc);
    }
    if (w != NULL)
        cw_list_push_back(&p->waiters, &w->link);
    return NULL;
}

void
map_free_all(struct cw_store *s)
{
    struct cw_list *lists[] = { &s->lru, &s->dirty, &s->held };

    for (size_t i = 0; i < CW_LEN(lists); i++) {
        while (!cw_list_empty(lists[i]))
            page_free(s, cw_list_first(lists[i], struct page, link));
    }
}
