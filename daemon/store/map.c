/* store/map.c - map pages in RAM: loaded on a miss, verified by their parent's checksum, evicted
 * when clean. A dirty page becomes clean only through a checkpoint, so the pages that a replay has
 * to hold are never more than the cache had.
 */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

bool
map_has_page(struct cw_store_shard *sh, uint32_t chunk)
{
    const struct cw_chunk_entry *e = chunk_find(sh, chunk);

    return e != NULL && (e->ram != 0 || e->page_loc != 0);
}

struct page *
map_page_resident(struct cw_store_shard *sh, uint32_t chunk)
{
    struct page *p = chunk_page(chunk_find(sh, chunk));

    return p == NULL || p->loading ? NULL : p;
}

uint64_t
map_dirty_pages(const struct cw_store *s)
{
    return s->n_dirty + s->ckpt.n_frozen + s->ckpt.frozen_copies;
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
    free(p->frozen);
    free(p->data);
    free(p);
    s->n_pages--;
}

static struct page *
page_new(struct cw_store_shard *sh, uint32_t chunk)
{
    struct cw_store *s = sh->s;
    struct page *p;

    map_evict(s);
    p = store_alloc(sizeof(*p));
    p->data = store_alloc_aligned(sizeof(*p->data));
    p->sh = sh;
    p->chunk = chunk;
    cw_list_init(&p->link);
    cw_list_init(&p->ckpt_link);
    cw_list_init(&p->waiters);
    chunk_get(sh, chunk)->ram = (uintptr_t)p;
    s->n_pages++;
    return p;
}

void
map_evict(struct cw_store *s)
{
    struct cw_list *it = s->lru.next;

    while (s->n_pages * sizeof(struct cw_map_page) >= s->map_budget && it != &s->lru) {
        struct page *p = cw_list_entry(it, struct page, link);

        it = it->next;
        if (p->pins > 0 || p->loading)
            continue;
        chunk_find(p->sh, p->chunk)->ram = 0;
        page_free(s, p);
    }
}

struct page *
map_page_make(struct cw_store_shard *sh, uint32_t chunk)
{
    struct page *p;

    cw_assert(!map_has_page(sh, chunk));
    p = page_new(sh, chunk);
    memset(p->data, 0, sizeof(*p->data));
    page_home(sh->s, p);
    return p;
}

void
map_page_dirty(struct cw_store *s, struct page *p)
{
    if (p->in_ckpt && p->frozen == NULL) {
        p->frozen = store_alloc_aligned(sizeof(*p->frozen));
        memcpy(p->frozen, p->data, sizeof(*p->frozen));
        s->ckpt.frozen_copies++;
    }
    chunk_change(p->sh, p->chunk);
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
        free(p->frozen);
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
    map_page_settle(p->sh, p);
}

/* ---- entries ---- */

static bool
kind_is_mapped(enum cw_map_kind kind)
{
    return kind == CW_MAP_RAW || kind == CW_MAP_COMP || kind == CW_MAP_BAD;
}

void
map_entry_set(struct cw_store_shard *sh, struct page *p, uint32_t i, struct cw_map_entry e)
{
    struct cw_map_entry *was = &p->data->e[i];
    struct cw_chunk_entry *c = chunk_find(sh, p->chunk);
    enum cw_map_kind from = cw_loc_kind(was->loc), to = cw_loc_kind(e.loc);
    int delta = (int)kind_is_mapped(to) - (int)kind_is_mapped(from);

    if (from == CW_MAP_RAW)
        segment_live_add(sh->s, was->loc, -1);
    if (to == CW_MAP_RAW)
        segment_live_add(sh->s, e.loc, 1);
    c->nmapped = (uint16_t)(c->nmapped + delta);
    sh->info.mapped_blocks += (uint64_t)(int64_t)delta;
    *was = e;
}

void
map_page_settle(struct cw_store_shard *sh, struct page *p)
{
    struct cw_store *s = sh->s;
    struct cw_chunk_entry *e = chunk_find(sh, p->chunk);

    if (e->nmapped > 0 || p->pins > 0)
        return;
    cw_assert(cw_list_empty(&p->waiters) && !p->loading);
    e = chunk_change(sh, p->chunk);
    if (e->page_loc != 0)
        s->segs[cw_loc_seg(e->page_loc)].dead_next++;
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

/* ---- loading ---- */

static bool
page_entries_ok(const struct cw_store *s, const struct cw_map_page *page, uint32_t nmapped)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
        enum cw_map_kind kind = cw_loc_kind(page->e[i].loc);

        if (kind == CW_MAP_COMP || kind >= CW_MAP_INHERIT ||
            (kind == CW_MAP_RAW && !loc_valid(s, page->e[i].loc, 1)))
            return false;
        n += kind_is_mapped(kind);
    }
    return n == nmapped;
}

/* The page is gone: every block of the chunk is unreadable until it is repaired or overwritten.
 * Counts of live blocks stay too high, which is safe. */
static void
page_lost(struct cw_store *s, struct page *p)
{
    struct cw_chunk_entry *e = chunk_change(p->sh, p->chunk);

    s->stats.csum_errors++;
    cw_log(s->env, CW_LOG_ERROR, "store: map page of shard %llx chunk %u is unreadable",
           (unsigned long long)p->sh->id, p->chunk);
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++)
        p->data->e[i] = (struct cw_map_entry){ .loc = cw_loc_make(0, 0, 0, CW_MAP_BAD) };
    p->sh->info.mapped_blocks += CW_CHUNK_BLOCKS - e->nmapped;
    e->nmapped = CW_CHUNK_BLOCKS;
    p->loading = false;
    map_page_dirty(s, p);
}

static void
page_on_read(struct store_io *io, int res)
{
    struct page *p = cw_container_of(io, struct page, io);
    struct cw_store *s = p->sh->s;
    const struct cw_chunk_entry *e = chunk_find(p->sh, p->chunk);
    struct cw_list woken;
    struct cw_list *node;

    s->segs[cw_loc_seg(e->page_loc)].read_pins--;
    if (res != 0 || cw_hash_block(p->data) != e->page_csum ||
        !page_entries_ok(s, p->data, e->nmapped))
        page_lost(s, p);
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
map_page_get(struct cw_store_shard *sh, uint32_t chunk, struct page_waiter *w)
{
    struct cw_store *s = sh->s;
    struct cw_chunk_entry *e = chunk_find(sh, chunk);
    struct page *p = chunk_page(e);

    if (p != NULL && !p->loading) {
        if (!p->dirty && !p->in_ckpt)
            page_home(s, p);
        return p;
    }
    if (p == NULL) {
        p = page_new(sh, chunk);
        p->loading = true;
        page_home(s, p);
        p->io.done = page_on_read;
        s->segs[cw_loc_seg(e->page_loc)].read_pins++;
        store_io_start(s, &p->io, CW_DISK_READ, loc_off(s, e->page_loc), p->data, sizeof(*p->data));
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
