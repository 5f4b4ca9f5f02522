/* store/chunktable.c - per layer, pages of 84 chunk entries: version and where the map page lies.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

struct tab *
tab_of(const struct layer *l, uint32_t chunk)
{
    cw_assert(chunk < CW_SHARD_CHUNKS);
    return l->tabs[chunk / CW_TAB_CHUNKS];
}

struct cw_chunk_entry *
chunk_find(const struct layer *l, uint32_t chunk)
{
    struct tab *t = tab_of(l, chunk);

    return t == NULL ? NULL : &t->e[chunk % CW_TAB_CHUNKS];
}

bool
chunk_is_own(const struct layer *l, uint32_t chunk)
{
    const struct cw_chunk_entry *e = chunk_find(l, chunk);

    return l->parent == NULL || (e != NULL && (e->state & CW_CHUNK_OWN));
}

struct cw_chunk_entry *
chunk_see(struct layer **l, uint32_t chunk)
{
    while (!chunk_is_own(*l, chunk))
        *l = (*l)->parent;
    return chunk_find(*l, chunk);
}

static struct tab *
tab_make(struct layer *l, uint32_t index)
{
    struct tab *t = store_alloc(sizeof(*t));

    t->l = l;
    t->index = index;
    cw_list_init(&t->link);
    cw_list_init(&t->ckpt_link);
    l->tabs[index] = t;
    return t;
}

struct cw_chunk_entry *
chunk_get(struct layer *l, uint32_t chunk)
{
    struct tab *t = tab_of(l, chunk);

    if (t == NULL)
        t = tab_make(l, chunk / CW_TAB_CHUNKS);
    return &t->e[chunk % CW_TAB_CHUNKS];
}

void
tab_dirty(struct cw_store *s, struct tab *t)
{
    if (t->in_ckpt && t->frozen == NULL) {
        t->frozen = store_alloc(sizeof(t->e));
        memcpy(t->frozen, t->e, sizeof(t->e));
    }
    if (!t->dirty) {
        t->dirty = true;
        cw_list_push_back(&s->tabs_dirty, &t->link);
    }
}

struct cw_chunk_entry *
chunk_change(struct layer *l, uint32_t chunk)
{
    struct cw_chunk_entry *e = chunk_get(l, chunk);

    tab_dirty(l->s, tab_of(l, chunk));
    return e;
}

void
chunk_set_ver(struct layer *l, uint32_t chunk, uint32_t gen, uint64_t seq)
{
    struct cw_chunk_entry *e = chunk_change(l, chunk);

    cw_assert(chunk_is_own(l, chunk));
    e->gen = gen;
    e->seq = seq;
}

void
tab_encode(const struct cw_store *s, const struct tab *t, struct cw_tab_page *to)
{
    memset(to, 0, sizeof(*to));
    to->magic = CW_TAB_MAGIC;
    to->format_id = s->sb.format_id;
    to->layer = t->l->id;
    to->index = t->index;
    memcpy(to->e, t->frozen != NULL ? t->frozen : t->e, sizeof(to->e));
    for (uint32_t i = 0; i < CW_TAB_CHUNKS; i++) {
        to->e[i].flags = 0;
        to->e[i].ram = 0;
        /* a page that was pinned when its last block went holds nothing */
        if (to->e[i].nmapped == 0)
            to->e[i].page_loc = to->e[i].page_csum = 0;
        to->e[i].layer_key = to->e[i].page_loc != 0 ? t->l->id : 0;
    }
}

bool
tab_load(struct cw_store *s, struct layer *l, const struct cw_tab_page *from,
         const struct cw_tabdir_entry *dir)
{
    struct tab *t;

    if (cw_inspect_tab(&s->sb, from, dir) != NULL || from->layer != l->id ||
        l->tabs[dir->index] != NULL)
        return false;
    t = tab_make(l, dir->index);
    memcpy(t->e, from->e, sizeof(t->e));
    t->loc = dir->loc;
    t->csum = dir->csum;
    for (uint32_t i = 0; i < CW_TAB_CHUNKS; i++) {
        t->e[i].flags = 0;
        t->e[i].ram = 0;
        if (t->e[i].page_loc != 0)
            checkpoint_refers(s, t->e[i].page_loc, 1);
    }
    checkpoint_refers(s, t->loc, 1);
    return true;
}

void
tab_free_all(struct layer *l)
{
    for (uint32_t i = 0; i < CW_SHARD_TABS; i++) {
        struct tab *t = l->tabs[i];

        if (t == NULL)
            continue;
        cw_list_remove(&t->link);
        cw_list_remove(&t->ckpt_link);
        free(t->frozen);
        free(t);
        l->tabs[i] = NULL;
    }
}
