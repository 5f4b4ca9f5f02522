/* store/memory.c - what the store takes in memory.
 *
 * The map cache has a budget, buffers are the pool's. Chunk tables and what is kept of each copy
 * cannot be evicted: they grow with the data (docs/store.md, Memory) and with what owners
 * leave above stable, so they are counted for whoever gave the memory.
 */
#include "daemon/store/store-internal.h"

static uint64_t
shard_bytes(const struct cw_store_shard *sh)
{
    return sizeof(*sh) + sh->hist_cap * sizeof(*sh->hist) + sh->tail.cap * sizeof(*sh->tail.ring);
}

static uint64_t
layer_table_bytes(const struct layer *l)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < CW_SHARD_TABS; i++)
        n += l->tabs[i] != NULL;
    return sizeof(*l) + n * sizeof(struct tab);
}

void
cw_store_memory(const struct cw_store *s, struct cw_store_memory *ret)
{
    const struct cw_list *lists[] = { &s->shards, &s->zombies };

    *ret = (struct cw_store_memory){
        .cache_bytes =
            map_cached_pages(s) * sizeof(struct cw_map_page) + s->n_pages * sizeof(struct page),
        .table_bytes = s->n_segs * sizeof(*s->segs) + comp_bytes(s),
    };
    for (size_t i = 0; i < CW_LEN(lists); i++) {
        CW_LIST_EACH (it, lists[i])
            ret->copy_bytes += shard_bytes(cw_list_entry(it, struct cw_store_shard, link));
    }
    CW_LIST_EACH (it, &s->layers)
        ret->table_bytes += layer_table_bytes(cw_list_entry(it, struct layer, link));
}
