/* store/layer.c - layers in memory and in a checkpoint; what they mean: store-internal.h. */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

static struct cw_list *
family_bucket(const struct cw_store *s, uint64_t id)
{
    const struct cw_list *l = &s->by_family[cw_mix64(id & CW_LAYER_FAMILY) % STORE_BUCKETS];

    return (struct cw_list *)(uintptr_t)l;
}

struct layer *
layer_next(const struct cw_store *s, uint64_t family, const struct layer *after)
{
    const struct cw_list *head = family_bucket(s, family);

    for (const struct cw_list *it = after == NULL ? head->next : after->id_link.next; it != head;
         it = it->next) {
        struct layer *l = cw_list_entry(it, struct layer, id_link);

        if ((l->id & CW_LAYER_FAMILY) == (family & CW_LAYER_FAMILY))
            return l;
    }
    return NULL;
}

struct layer *
layer_find(const struct cw_store *s, uint64_t id)
{
    for (struct layer *l = NULL; (l = layer_next(s, id, l)) != NULL;) {
        if (l->id == id)
            return l;
    }
    return NULL;
}

struct layer *
layer_of_snap(const struct cw_store_shard *sh, uint64_t snap)
{
    for (struct layer *l = NULL; (l = layer_next(sh->s, sh->layer, l)) != NULL;) {
        if (l->sh == sh && l->snap == snap && !l->gone)
            return l;
    }
    return NULL;
}

static uint32_t
family_next_index(const struct layer *of)
{
    uint32_t next = 0;

    for (struct layer *l = NULL; (l = layer_next(of->s, of->id, l)) != NULL;)
        next = (uint32_t)cw_max_u64(next, l->next_index);
    return next;
}

bool
layer_was_always_alone(const struct layer *l)
{
    return family_next_index(l) == 1;
}

bool
layer_is_given_back(const struct layer *l)
{
    return l->sh->gone_applied && l->n_children == 0;
}

bool
layers_are_given_back(const struct cw_store *s)
{
    if (cw_list_empty(&s->zombies))
        return false;
    CW_LIST_EACH (it, &s->layers) {
        if (layer_is_given_back(cw_list_entry(it, struct layer, link)))
            return true;
    }
    return false;
}

uint64_t
layer_new_id(struct layer *of)
{
    uint64_t index = family_next_index(of);

    if (index > CW_LAYER_INDEX_MAX)
        return 0;
    of->next_index = (uint32_t)index + 1;
    return index << 40 | (of->id & CW_LAYER_FAMILY);
}

struct layer *
layer_make(struct cw_store_shard *sh, uint64_t id, struct layer *parent, uint64_t snap)
{
    struct layer *l = store_alloc(sizeof(*l));

    l->s = sh->s;
    l->sh = sh;
    l->id = id;
    l->snap = snap;
    l->parent = parent;
    l->next_index = (uint32_t)(id >> 40) + 1;
    if (parent != NULL)
        parent->n_children++;
    cw_list_push_back(&l->s->layers, &l->link);
    cw_list_push_back(family_bucket(l->s, id), &l->id_link);
    sh->n_layers++;
    l->s->n_layers++;
    return l;
}

/* The last layer of a shard that was dropped takes it along. */
void
layer_free(struct layer *l)
{
    struct cw_store_shard *sh = l->sh;
    uint32_t next = family_next_index(l);
    struct layer *other;

    cw_list_remove(&l->id_link);
    other = layer_next(l->s, l->id, NULL);
    if (other != NULL) /* an index is never given twice */
        other->next_index = next;
    if (l->parent != NULL)
        l->parent->n_children--;
    l->s->n_layers--;
    l->s->n_gone -= l->gone;
    l->s->layers_ended++;
    sh->info.mapped_blocks -= cw_min_u64(l->mapped, sh->info.mapped_blocks);
    tab_free_all(l);
    cw_list_remove(&l->link);
    free(l);
    if (--sh->n_layers == 0)
        sh->head = NULL;
    if (sh->n_layers == 0 && sh->gone_applied)
        shard_free(sh);
}

/* ---- in a checkpoint ---- */

size_t
layers_encode(const struct cw_store *s, uint8_t *to)
{
    size_t n = 0;

    CW_LIST_EACH (it, &s->layers) {
        const struct layer *l = cw_list_entry(it, struct layer, link);
        struct cw_layer_bytes b = {
            .id = l->id,
            .parent = l->parent == NULL ? 0 : l->parent->id,
            .shard = l->sh->layer,
            .snap = l->snap,
            .flags = (l->snap == 0 ? CW_LAYER_HEAD : 0u) | (l->gone ? CW_LAYER_GONE : 0u),
            .next_index = l->next_index,
            .mapped = l->mapped,
            .sectors = l->sectors,
        };

        if (to != NULL)
            memcpy(to + n, &b, sizeof(b));
        n += sizeof(b);
    }
    return n;
}

static bool
layer_decode(struct cw_store *s, const struct cw_layer_bytes *b)
{
    struct cw_store_shard *sh = shard_by_layer(s, b->shard);
    struct layer *parent = b->parent == 0 ? NULL : layer_find(s, b->parent);
    const struct cw_inspect_family family = {
        .has_copy = sh != NULL,
        .copy_gone = sh != NULL && sh->gone_applied,
        .has_head = sh != NULL && sh->head != NULL,
        .is_there = layer_find(s, b->id) != NULL,
        .has_parent = parent != NULL,
        .parent_snap = parent != NULL ? parent->snap : 0,
    };
    bool gone = b->flags & CW_LAYER_GONE;
    struct layer *l;

    if (cw_inspect_layer(b, &family) != NULL)
        return false;
    l = layer_make(sh, b->id, parent, b->snap);
    l->next_index = (uint32_t)cw_max_u64(l->next_index, b->next_index);
    l->mapped = b->mapped;
    l->sectors = b->sectors;
    l->gone = gone;
    s->n_gone += gone;
    sh->info.mapped_blocks += l->mapped;
    if (b->flags & CW_LAYER_HEAD)
        sh->head = l;
    return true;
}

bool
layers_decode(struct cw_store *s, const uint8_t *from, size_t len)
{
    struct cw_layer_bytes b;

    if (len % sizeof(b) != 0)
        return false;
    for (size_t at = 0; at < len; at += sizeof(b)) {
        memcpy(&b, from + at, sizeof(b));
        if (!layer_decode(s, &b))
            return false;
    }
    CW_LIST_EACH (it, &s->shards) {
        if (cw_list_entry(it, struct cw_store_shard, link)->head == NULL)
            return false;
    }
    CW_LIST_EACH (it, &s->zombies) { /* one without layers would stay for ever */
        if (cw_list_entry(it, struct cw_store_shard, link)->n_layers == 0)
            return false;
    }
    return true;
}

void
layers_make_heads(struct cw_store *s)
{
    struct cw_list *lists[] = { &s->shards, &s->zombies };

    for (size_t i = 0; i < CW_LEN(lists); i++) {
        CW_LIST_EACH (it, lists[i]) {
            struct cw_store_shard *sh = cw_list_entry(it, struct cw_store_shard, link);

            sh->head = layer_make(sh, sh->layer, NULL, 0);
            sh->head->gone = sh->gone_applied;
            s->n_gone += sh->gone_applied;
        }
    }
}

void
layers_count_tabs(struct cw_store *s)
{
    CW_LIST_EACH (it, &s->layers) {
        struct layer *l = cw_list_entry(it, struct layer, link);

        for (uint32_t i = 0; i < CW_SHARD_TABS; i++) {
            for (uint32_t k = 0; l->tabs[i] != NULL && k < CW_TAB_CHUNKS; k++)
                l->mapped += l->tabs[i]->e[k].nmapped;
        }
        l->sectors = l->mapped * CW_BLOCK_SECTORS;
        l->sh->info.mapped_blocks += l->mapped;
    }
}
