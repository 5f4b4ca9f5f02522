/* store/map.h - where each block lies: pages, the tables that lead to them, layers.
 * The store's own: its files include store-internal.h.
 */
#pragma once

#include "daemon/store/format.h"
#include "daemon/store/io.h"

/* ---- map pages (map.c) ---- */

struct page_waiter {
    struct cw_list link;
    void (*fn)(struct page_waiter *);
};

struct page {
    struct cw_map_page *data;
    struct cw_buf *data_buf, *frozen_buf; /* what data and frozen lie in */
    struct layer *l;
    uint32_t chunk;
    uint32_t pins;
    bool loading, dirty, in_ckpt, dropped;
    bool reread;                /* once, before the page is given up: all its chunk goes with it */
    struct cw_map_page *frozen; /* content at the freeze, when it changed since */
    struct cw_list link;        /* s->lru (clean), s->dirty, s->held (frozen) */
    struct cw_list ckpt_link;
    struct cw_list waiters;
    struct store_io io;
};

/* All of these: of the layer's own chunk, whatever its parents have.
 * The page if it is in RAM; else starts its load, queues w (may be NULL: prefetch) and returns
 * NULL. The chunk has a page. */
struct page *map_page_get(struct layer *l, uint32_t chunk, struct page_waiter *w);
struct page *map_page_resident(struct layer *l, uint32_t chunk);
bool map_has_page(struct layer *l, uint32_t chunk);
/* A page of only NONE entries; the chunk has none. */
struct page *map_page_make(struct layer *l, uint32_t chunk);
/* Before entries change. */
void map_page_dirty(struct cw_store *s, struct page *p);
void map_entry_set(struct page *p, uint32_t i, struct cw_map_entry e);
/* After entries changed: a page that maps nothing any more is given back. */
void map_page_settle(struct page *p);
void map_page_freeze(struct cw_store *s, struct page *p);
void map_page_unpin(struct page *p);
void map_page_unfreeze(struct cw_store *s, struct page *p);
/* What it owns is about to go, or to be owned by another, and the log does not tell. */
void map_page_unlogged(struct page *p);
/* Between checkpoints, page neither pinned nor loading: the chunk with all it has becomes that of
 * `to`, which has none of its own. */
void map_chunk_move(struct layer *from, struct layer *to, uint32_t chunk);
/* It was needed once only: the next to go. */
void map_page_cool(struct layer *l, uint32_t chunk);
uint64_t map_dirty_pages(const struct cw_store *s);
uint64_t map_cached_pages(const struct cw_store *s); /* with what a checkpoint keeps as it was */
/* Lets clean pages go until the budget has room for n_more, as far as there are any: not while
 * somebody looks at one that is not pinned. */
void map_evict(struct cw_store *s, uint32_t n_more);
bool map_is_crowded(const struct cw_store *s); /* by dirty pages: a checkpoint first */
void map_free_all(struct cw_store *s);
bool map_kind_is_data(enum cw_map_kind kind);   /* RAW, COMP */
bool map_kind_is_mapped(enum cw_map_kind kind); /* .. or BAD */

/* ---- chunk table (chunktable.c) ---- */

#define CHUNK_WRITING 1u /* RAM only: the running checkpoint writes this chunk's page */

struct tab {
    struct cw_chunk_entry e[CW_TAB_CHUNKS]; /* .ram: struct page * */
    struct cw_chunk_entry *frozen;
    struct layer *l;
    uint32_t index;
    bool dirty, in_ckpt;
    uint64_t loc, csum;
    struct cw_list link, ckpt_link; /* s->tabs_dirty, checkpoint */
};

/* The layer's own entry; with a parent it counts only if CW_CHUNK_OWN is set. */
struct cw_chunk_entry *chunk_find(const struct layer *l, uint32_t chunk);
bool chunk_is_own(const struct layer *l, uint32_t chunk);
/* What the layer shows: its own chunk, else the nearest parent's; NULL: nobody has it. The layer
 * that has it in *l. */
struct cw_chunk_entry *chunk_see(struct layer **l, uint32_t chunk);
/* Made if it was not there. */
struct cw_chunk_entry *chunk_get(struct layer *l, uint32_t chunk);
/* Before anything of the entry but ram, WRITING and page_loc changes. */
struct cw_chunk_entry *chunk_change(struct layer *l, uint32_t chunk);
void chunk_set_ver(struct layer *l, uint32_t chunk, uint32_t gen, uint64_t seq);
struct tab *tab_of(const struct layer *l, uint32_t chunk);
void tab_dirty(struct cw_store *s, struct tab *t);
void tab_encode(const struct cw_store *s, const struct tab *t, struct cw_tab_page *to);
bool tab_load(struct cw_store *s, struct layer *l, const struct cw_tab_page *from,
              const struct cw_tabdir_entry *dir);
void tab_free_all(struct layer *l);

static inline struct page *
chunk_page(const struct cw_chunk_entry *e)
{
    return e == NULL ? NULL : (struct page *)(uintptr_t)e->ram;
}

/* ---- layers (layer.c): what a shard shows now, and what it showed at a snapshot ----
 *
 *   snapshot 1 <-- snapshot 2 <-- head          <-- is the parent of
 *              \-- clone's head
 *
 * A layer shows its own chunks and, where it has none, its parent's. The first change of a chunk
 * makes it the layer's own: the page that was shown is copied, its entries marked SHARED. Each
 * place has one owner, the entry without that mark; live counts count owners. Owners are always
 * further up than those who share. A layer that is deleted gives its places to its only child, or
 * back.
 */

struct layer {
    struct cw_store *s;
    struct cw_store_shard *sh;
    struct layer *parent;
    uint64_t id, snap; /* snap 0: the head */
    uint32_t n_children, next_index;
    bool gone;              /* deleted, and durably so */
    uint32_t purge_at;      /* chunk */
    uint64_t mapped;        /* entries of its own pages that hold data and are not shared */
    uint64_t sectors;       /* live, of those */
    struct cw_list link;    /* s->layers */
    struct cw_list id_link; /* bucket of its family */
    struct tab *tabs[CW_SHARD_TABS];
};

struct layer *layer_make(struct cw_store_shard *sh, uint64_t id, struct layer *parent,
                         uint64_t snap);
void layer_free(struct layer *l);
struct layer *layer_find(const struct cw_store *s, uint64_t id);
struct layer *layer_of_snap(const struct cw_store_shard *sh, uint64_t snap); /* not gone */
bool layer_was_always_alone(const struct layer *l); /* so that no entry of it can be SHARED */
/* Of a dropped copy: nobody sees what it has, which counts until it has been given back. */
bool layer_is_given_back(const struct layer *l);
bool layers_are_given_back(const struct cw_store *s); /* is any? */
/* An id that the family never had nor will have again; 0: there are no more. */
uint64_t layer_new_id(struct layer *of);
/* Layers of one family: NULL begins, NULL ends. */
struct layer *layer_next(const struct cw_store *s, uint64_t family, const struct layer *after);
size_t layers_encode(const struct cw_store *s, uint8_t *to); /* to NULL: only counts */
bool layers_decode(struct cw_store *s, const uint8_t *from, size_t len);
/* A version 1 checkpoint has none: one head per shard. */
void layers_make_heads(struct cw_store *s);
/* .. and their counts are in the tables. */
void layers_count_tabs(struct cw_store *s);
void layer_reclaim_kick(struct cw_store *s); /* reclaim.c */
