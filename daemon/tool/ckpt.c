#include "daemon/tool/ckpt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "daemon/tool/words.h"

#define TABS_AT_ONCE 256u

struct load {
    struct cw_stand *st;
    enum cw_stand_side side;
    struct cw_report *rep;
    struct cw_ckpt *c;
};

static uint64_t
load_off(const struct load *l, uint64_t loc)
{
    return cw_inspect_seg_off(l->c->sb, cw_loc_seg(loc)) + cw_loc_off(loc);
}

static bool
load_bad(const struct load *l, uint64_t loc, const char *what, const char *why)
{
    struct cw_report_item item = { .kind = CW_REPORT_CHECKPOINT,
                                   .seg = loc == 0 ? CW_REPORT_NOWHERE : cw_loc_seg(loc),
                                   .off = cw_loc_off(loc) };

    l->c->whole = false;
    if (l->rep != NULL)
        cw_report_add(l->rep, item, "%s of checkpoint %" PRIu64 ": %s", what, l->c->at.number, why);
    return false;
}

/* ---- root and parts ---- */

static bool
load_root(const struct load *l)
{
    struct cw_ckpt *c = l->c;
    const char *why = cw_inspect_ckpt(c->sb, &c->at);

    if (why != NULL)
        return load_bad(l, 0, "root", why);
    c->root = cw_tool_alloc_aligned(c->at.len);
    if (cw_stand_read_one(l->st, l->side, load_off(l, c->at.loc), c->root, c->at.len) != 0)
        return load_bad(l, c->at.loc, "root", "it cannot be read");
    why = cw_inspect_root(c->sb, &c->at, (const uint8_t *)c->root);
    if (why != NULL)
        return load_bad(l, c->at.loc, "root", why);
    c->unit = cw_inspect_live_unit(c->root->version);
    c->counted = c->root->version != 0;
    return true;
}

static bool
load_part(const struct load *l, const struct cw_root_part *p, uint8_t *mem)
{
    struct cw_ckpt *c = l->c;
    const char *why = cw_inspect_part(c->sb, p);
    char what[64];

    snprintf(what, sizeof(what), "part %s", cw_words_part(p->kind));
    if (why != NULL)
        return load_bad(l, p->loc, what, why);
    if (cw_stand_read_one(l->st, l->side, load_off(l, p->loc), mem,
                          cw_align_up(p->bytes, CW_BLOCK_SIZE)) != 0)
        return load_bad(l, p->loc, what, "it cannot be read");
    if (cw_hash(mem, p->bytes) != p->csum)
        return load_bad(l, p->loc, what, "it does not match its checksum");
    c->content[p->kind] = realloc(c->content[p->kind], c->content_len[p->kind] + p->bytes);
    cw_assert(c->content[p->kind] != NULL);
    memcpy(c->content[p->kind] + c->content_len[p->kind], mem, p->bytes);
    c->content_len[p->kind] += p->bytes;
    return true;
}

static bool
load_parts(const struct load *l)
{
    uint8_t *mem = cw_tool_alloc_aligned(CW_BATCH_PAYLOAD_MAX);
    bool ok = true;

    for (uint32_t i = 0; i < l->c->root->n_parts; i++)
        ok &= load_part(l, &l->c->root->parts[i], mem);
    free(mem);
    return ok;
}

/* ---- what is in them ---- */

static bool
load_segments(const struct load *l)
{
    struct cw_ckpt *c = l->c;
    const char *why = cw_inspect_segtab(c->sb, c->root->version, c->content[CW_PART_SEGMENTS],
                                        c->content_len[CW_PART_SEGMENTS]);

    if (why != NULL)
        return load_bad(l, 0, "segment table", why);
    c->segs = (const void *)c->content[CW_PART_SEGMENTS];
    return true;
}

/* What the copies before it leave over. */
static const char *
shard_why(const struct cw_ckpt *c, const struct cw_inspect_shard *sh)
{
    if ((sh->h.layer & CW_LAYER_FAMILY) >= c->root->next_layer)
        return "the layer of one is still to be given";
    for (uint32_t i = 0; i < c->n_shards; i++) {
        const struct cw_inspect_shard *o = &c->shards[i];

        if (o->h.layer == sh->h.layer)
            return "two have one layer";
        if (o->rec.shard == sh->rec.shard && !((o->h.flags | sh->h.flags) & CW_SHARD_GONE))
            return "two are of one shard";
    }
    return NULL;
}

static bool
load_shards(const struct load *l)
{
    struct cw_ckpt *c = l->c;
    const uint8_t *from = c->content[CW_PART_SHARDS];
    size_t len = c->content_len[CW_PART_SHARDS];

    c->shards = cw_tool_alloc((len / sizeof(struct cw_shard_bytes) + 1) * sizeof(*c->shards));
    for (size_t at = 0; at < len; at += c->shards[c->n_shards++].h.bytes) {
        struct cw_inspect_shard *sh = &c->shards[c->n_shards];
        const char *why = cw_inspect_shard(c->sb, from + at, len - at, sh);

        if (why == NULL)
            why = shard_why(c, sh);
        if (why != NULL)
            return load_bad(l, 0, "list of copies", why);
    }
    return true;
}

static void
layers_of_version_1(struct cw_ckpt *c)
{
    c->layers = cw_tool_alloc((c->n_shards + 1) * sizeof(*c->layers));
    for (uint32_t i = 0; i < c->n_shards; i++)
        c->layers[c->n_layers++] = (struct cw_layer_bytes){
            .id = c->shards[i].h.layer,
            .shard = c->shards[i].h.layer,
            .flags = CW_LAYER_HEAD | (c->shards[i].h.flags & CW_SHARD_GONE ? CW_LAYER_GONE : 0u),
        };
}

/* Among the first n. */
static uint32_t
layer_index(const struct cw_ckpt *c, uint64_t id, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (c->layers[i].id == id)
            return i;
    }
    return UINT32_MAX;
}

/* A layer of that copy with all these flags. */
static bool
has_layer(const struct cw_ckpt *c, uint64_t shard_layer, uint32_t flags, uint32_t before)
{
    for (uint32_t i = 0; i < before; i++) {
        if (c->layers[i].shard == shard_layer && (c->layers[i].flags & flags) == flags)
            return true;
    }
    return false;
}

static const char *
layer_why(const struct cw_ckpt *c, uint32_t i)
{
    const struct cw_layer_bytes *l = &c->layers[i];
    const struct cw_inspect_shard *sh = cw_ckpt_shard_of(c, l);
    uint32_t parent = l->parent == 0 ? UINT32_MAX : layer_index(c, l->parent, i);

    return cw_inspect_layer(l, &(struct cw_inspect_family){
                                   .has_copy = sh != NULL,
                                   .copy_gone = sh != NULL && (sh->h.flags & CW_SHARD_GONE),
                                   .has_head = has_layer(c, l->shard, CW_LAYER_HEAD, i),
                                   .is_there = layer_index(c, l->id, i) != UINT32_MAX,
                                   .has_parent = parent != UINT32_MAX,
                                   .parent_snap = parent != UINT32_MAX ? c->layers[parent].snap : 0,
                               });
}

static bool
load_layers(const struct load *l)
{
    struct cw_ckpt *c = l->c;
    size_t len = c->content_len[CW_PART_LAYERS];

    if (!c->counted) {
        layers_of_version_1(c);
        return true;
    }
    if (len % sizeof(*c->layers) != 0)
        return load_bad(l, 0, "list of layers", "it is cut off");
    c->layers = cw_tool_alloc(len + 1);
    c->n_layers = (uint32_t)(len / sizeof(*c->layers));
    if (len > 0)
        memcpy(c->layers, c->content[CW_PART_LAYERS], len);
    for (uint32_t i = 0; i < c->n_layers; i++) {
        const char *why = layer_why(c, i);

        if (why != NULL)
            return load_bad(l, 0, "list of layers", why);
    }
    for (uint32_t i = 0; i < c->n_shards; i++) {
        uint32_t flags = c->shards[i].h.flags & CW_SHARD_GONE ? 0 : CW_LAYER_HEAD;

        if (!has_layer(c, c->shards[i].h.layer, flags, c->n_layers))
            return load_bad(l, 0, "list of layers", "a copy has no head");
    }
    return true;
}

/* ---- chunk tables ---- */

static void
load_tab(const struct load *l, struct cw_ckpt_tab *t, const uint8_t *page, int res)
{
    const struct cw_tab_page *p = (const void *)page;
    const char *why = res != 0 ? "it cannot be read" : cw_inspect_tab(l->c->sb, p, &t->dir);

    if (why == NULL)
        t->page = p;
    else
        load_bad(l, t->dir.loc, "chunk table", why);
}

static bool
load_tab_dir(const struct load *l)
{
    struct cw_ckpt *c = l->c;
    size_t len = c->content_len[CW_PART_TABS];

    if (len % sizeof(struct cw_tabdir_entry) != 0)
        return load_bad(l, 0, "directory of tables", "it is cut off");
    c->n_tabs = (uint32_t)(len / sizeof(struct cw_tabdir_entry));
    c->tabs = cw_tool_alloc((c->n_tabs + 1) * sizeof(*c->tabs));
    for (uint32_t i = 0; i < c->n_tabs; i++) {
        struct cw_ckpt_tab *t = &c->tabs[i];
        const char *why;

        memcpy(&t->dir, c->content[CW_PART_TABS] + i * sizeof(t->dir), sizeof(t->dir));
        t->layer = cw_ckpt_layer(c, t->dir.layer);
        why = cw_inspect_loc(c->sb, t->dir.loc, 1);
        if (t->layer == UINT32_MAX)
            why = "an entry is of no layer";
        if (why != NULL)
            return load_bad(l, 0, "directory of tables", why);
    }
    return true;
}

static void
load_tabs(const struct load *l)
{
    struct cw_ckpt *c = l->c;
    struct cw_stand_read r[TABS_AT_ONCE];

    c->tab_pages = cw_tool_alloc_aligned((size_t)c->n_tabs * CW_BLOCK_SIZE);
    for (uint32_t at = 0; at < c->n_tabs; at += TABS_AT_ONCE) {
        uint32_t n = (uint32_t)cw_min_u64(TABS_AT_ONCE, c->n_tabs - at);

        for (uint32_t i = 0; i < n; i++)
            r[i] = (struct cw_stand_read){
                .off = load_off(l, c->tabs[at + i].dir.loc),
                .len = CW_BLOCK_SIZE,
                .to = c->tab_pages + (size_t)(at + i) * CW_BLOCK_SIZE,
            };
        (void)cw_stand_read(l->st, l->side, r, n);
        for (uint32_t i = 0; i < n; i++)
            load_tab(l, &c->tabs[at + i], r[i].to, r[i].res);
    }
}

static void
load_scrub(struct cw_ckpt *c)
{
    c->has_scrub = c->content_len[CW_PART_SCRUB] == sizeof(c->scrub);
    if (c->has_scrub)
        memcpy(&c->scrub, c->content[CW_PART_SCRUB], sizeof(c->scrub));
}

bool
cw_ckpt_load(struct cw_stand *st, enum cw_stand_side side, uint32_t which, struct cw_report *rep,
             struct cw_ckpt *ret)
{
    struct load l = { .st = st, .side = side, .rep = rep, .c = ret };

    memset(ret, 0, sizeof(*ret));
    ret->sb = cw_stand_sb(st, side);
    ret->at = ret->sb->ckpt[which];
    ret->empty = ret->at.len == 0 && ret->at.number == 0;
    ret->whole = true;
    ret->unit = 1;
    if (ret->empty)
        return true;
    if (!load_root(&l) || !load_parts(&l) || !load_segments(&l) || !load_shards(&l) ||
        !load_layers(&l) || !load_tab_dir(&l))
        return false;
    load_tabs(&l);
    load_scrub(ret);
    return true;
}

void
cw_ckpt_free(struct cw_ckpt *c)
{
    for (size_t i = 0; i < CW_LEN(c->content); i++)
        free(c->content[i]);
    free(c->root);
    free(c->shards);
    free(c->layers);
    free(c->tabs);
    free(c->tab_pages);
    memset(c, 0, sizeof(*c));
}

const struct cw_inspect_shard *
cw_ckpt_shard_of(const struct cw_ckpt *c, const struct cw_layer_bytes *l)
{
    for (uint32_t i = 0; i < c->n_shards; i++) {
        if (c->shards[i].h.layer == l->shard)
            return &c->shards[i];
    }
    return NULL;
}

uint32_t
cw_ckpt_layer(const struct cw_ckpt *c, uint64_t id)
{
    return layer_index(c, id, c->n_layers);
}

uint64_t
cw_ckpt_shard_id(const struct cw_ckpt *c, uint32_t layer)
{
    return cw_ckpt_shard_of(c, &c->layers[layer])->rec.shard;
}
