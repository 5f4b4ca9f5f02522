/* store/purge.c - gives back the map of dropped shards, page by page in the background. */
#include <string.h>

#include "daemon/store/store-internal.h"

static void
purge_on_page(struct page_waiter *w)
{
    struct cw_store *s = cw_container_of(w, struct cw_store, purge_wait);

    s->purge_waiting = false;
    store_kick(s);
}

/* False: waits for the page. */
static bool
purge_chunk(struct cw_store *s, struct cw_store_shard *sh, uint32_t chunk)
{
    struct page *p;

    if (!map_has_page(sh, chunk))
        return true;
    s->purge_wait.fn = purge_on_page;
    p = map_page_get(sh, chunk, &s->purge_wait);
    if (p == NULL) {
        s->purge_waiting = true;
        return false;
    }
    map_page_dirty(s, p);
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++)
        map_entry_set(sh, p, i, (struct cw_map_entry){ 0 });
    map_page_settle(sh, p);
    return true;
}

/* Tables are dropped only between checkpoints, which refer to them. */
static bool
purge_end(struct cw_store *s, struct cw_store_shard *sh)
{
    if (ckpt_running(s))
        return false;
    for (uint32_t i = 0; i < CW_SHARD_TABS; i++) {
        for (uint32_t k = 0; sh->tabs[i] != NULL && k < CW_TAB_CHUNKS; k++) {
            if (sh->tabs[i]->e[k].ram != 0)
                return false; /* pinned by somebody yet */
        }
    }
    for (uint32_t i = 0; i < CW_SHARD_TABS; i++) {
        if (sh->tabs[i] != NULL && sh->tabs[i]->loc != 0)
            s->segs[cw_loc_seg(sh->tabs[i]->loc)].dead_next++;
    }
    shard_free(sh);
    return true;
}

void
shard_purge_kick(struct cw_store *s)
{
    uint32_t budget = 64;

    if (s->state != STORE_OPEN || s->stats.failed || s->purge_waiting)
        return;
    CW_LIST_EACH_SAFE (it, &s->zombies) {
        struct cw_store_shard *sh = cw_list_entry(it, struct cw_store_shard, link);

        if (!sh->gone_applied)
            continue;
        for (; sh->purge_at < CW_SHARD_CHUNKS; sh->purge_at++) {
            if (tab_of(sh, sh->purge_at) == NULL) {
                sh->purge_at += CW_TAB_CHUNKS - sh->purge_at % CW_TAB_CHUNKS - 1;
                continue;
            }
            if (!purge_chunk(s, sh, sh->purge_at))
                return;
            if (--budget == 0) {
                store_kick(s);
                return;
            }
        }
        purge_end(s, sh);
    }
}
