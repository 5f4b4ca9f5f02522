/* tool/dump-map.c - checkpoints, copies, layers, tables, map pages, blocks. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/codec/frame.h"
#include "common/codec/hash.h"
#include "daemon/tool/dump.h"

/* ---- checkpoint ---- */

static json_t *
segments_json(const struct cw_ckpt *k)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < k->sb->seg_count; i++) {
        const struct cw_segtab_entry *e = &k->segs[i];
        json_t *o;

        if (e->state == CW_SEG_FREE && e->seg_seq == 0)
            continue;
        o = json_object();
        cw_dump_num(o, "segment", i);
        cw_dump_text(o, "state", cw_words_seg_state(e->state));
        cw_dump_text(o, "class", cw_words_class(e->cls));
        cw_dump_flags(o, CW_WORDS_SEG, e->flags & (CW_BIT(CW_SEG_OFF_SHIFT) - 1));
        if (e->state == CW_SEG_OPEN)
            cw_dump_num(o, "next_batch_at", cw_segtab_open_off(e));
        cw_dump_num(o, "live_sectors", (uint64_t)e->live * k->unit);
        cw_dump_num(o, "seg_seq", e->seg_seq);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *
layer_json(const struct cw_layer_bytes *l)
{
    json_t *o = json_object();

    cw_dump_hex(o, "id", l->id);
    cw_dump_hex(o, "parent", l->parent);
    cw_dump_hex(o, "shard_layer", l->shard);
    cw_dump_num(o, "snapshot", l->snap);
    cw_dump_flags(o, CW_WORDS_LAYER, l->flags);
    cw_dump_num(o, "next_index", l->next_index);
    cw_dump_num(o, "mapped", l->mapped);
    cw_dump_num(o, "sectors", l->sectors);
    return o;
}

static json_t *
tabs_json(const struct cw_ckpt *k, uint64_t layer)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < k->n_tabs; i++) {
        json_t *o;

        if (layer != 0 && k->tabs[i].dir.layer != layer)
            continue;
        o = json_object();
        cw_dump_hex(o, "layer", k->tabs[i].dir.layer);
        cw_dump_num(o, "index", k->tabs[i].dir.index);
        cw_dump_loc(o, "place", k->tabs[i].dir.loc);
        cw_dump_hex(o, "csum", k->tabs[i].dir.csum);
        cw_dump_wrong(o, k->tabs[i].page == NULL ? "it is damaged" : NULL);
        json_array_append_new(list, o);
    }
    return list;
}

/* Of a damaged one, as many parts as there can be. */
static void
root_json(json_t *o, const struct cw_root *r, uint32_t len)
{
    json_t *parts = json_array(), *chains = json_array();
    uint64_t n = cw_min_u64(r->n_parts, (len - sizeof(*r)) / sizeof(r->parts[0]));

    cw_dump_num(o, "number", r->number);
    cw_dump_num(o, "version", r->version);
    cw_dump_num(o, "replay_batch", r->replay_batch);
    cw_dump_num(o, "replay_seg_seq", r->replay_seg_seq);
    cw_dump_num(o, "next_seg_seq", r->next_seg_seq);
    cw_dump_num(o, "next_layer", r->next_layer);
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++) {
        json_t *c = json_object();

        cw_dump_text(c, "class", cw_words_class(cls));
        cw_dump_hex(c, "chain_csum", r->chain_csum[cls]);
        cw_dump_num(c, "open_seg_seq", r->open_seg_seq[cls]);
        json_array_append_new(chains, c);
    }
    json_object_set_new(o, "log", chains);
    for (uint64_t i = 0; i < n; i++) {
        json_t *p = json_object();

        cw_dump_text(p, "kind", cw_words_part(r->parts[i].kind));
        cw_dump_loc(p, "place", r->parts[i].loc);
        cw_dump_num(p, "bytes", r->parts[i].bytes);
        cw_dump_hex(p, "csum", r->parts[i].csum);
        json_array_append_new(parts, p);
    }
    json_object_set_new(o, "part", parts);
}

static json_t *
layers_json(const struct cw_ckpt *k)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < k->n_layers; i++)
        json_array_append_new(list, layer_json(&k->layers[i]));
    return list;
}

static json_t *
copies_json(const struct cw_ckpt *k)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < k->n_shards; i++)
        json_array_append_new(list, cw_dump_shardrec(&k->shards[i].rec));
    return list;
}

int
cw_dump_checkpoint(struct cw_dump *d)
{
    const struct cw_sb *sb = d->st->slots.best;
    uint64_t number = d->argc == 1 ? d->arg[0] : sb->ckpt[0].number;
    char wrong[600];
    bool whole;

    snprintf(wrong, sizeof(wrong), "it is damaged; %s", cw_dump_see(d, "check", "%s", ""));
    if (number != sb->ckpt[0].number && number != sb->ckpt[1].number)
        return cw_dump_missing(d, NULL, "it has checkpoints %" PRIu64 " and %" PRIu64,
                               sb->ckpt[0].number, sb->ckpt[1].number);
    whole = cw_ckpt_load(d->st, CW_STAND_DISK, number == sb->ckpt[0].number ? 0 : 1, NULL, &d->k) &&
            d->k.whole;
    cw_dump_wrong(d->o, whole ? NULL : wrong);
    if (d->k.empty)
        cw_dump_text(d->o, "checkpoint", "that of an empty store");
    if (d->k.root == NULL)
        return CW_TOOL_OK;
    root_json(d->o, d->k.root, d->k.at.len);
    if (d->k.segs != NULL && whole)
        json_object_set_new(d->o, "segment", segments_json(&d->k));
    json_object_set_new(d->o, "copy", copies_json(&d->k));
    json_object_set_new(d->o, "layer", layers_json(&d->k));
    if (d->k.n_tabs > 0 && whole)
        json_object_set_new(d->o, "table", tabs_json(&d->k, 0));
    d->bytes = cw_tool_alloc(d->k.at.len);
    d->n_bytes = d->k.at.len;
    memcpy(d->bytes, d->k.root, d->k.at.len);
    return CW_TOOL_OK;
}

/* ---- copies and layers ---- */

static int
shard_take(struct cw_dump *d, const struct cw_inspect_shard **ret)
{
    int status = cw_dump_state(d);

    if (status != CW_TOOL_OK)
        return status;
    for (uint32_t i = 0; i < d->k.n_shards; i++) {
        *ret = &d->k.shards[i];
        if ((*ret)->rec.shard == d->arg[0] && !((*ret)->h.flags & CW_SHARD_GONE))
            return CW_TOOL_OK;
    }
    return cw_dump_missing(d, cw_dump_see(d, "info", "%s", ""), "it has no copy of shard %s",
                           d->argv[0]);
}

static void
shard_history(json_t *o, const struct cw_inspect_shard *sh)
{
    json_t *hist = json_array(), *tail = json_array();

    for (uint32_t i = 0; i < sh->h.n_hist; i++) {
        struct cw_wire_hist h;
        json_t *one = json_object();

        memcpy(&h, sh->hist + i * sizeof(h), sizeof(h));
        cw_dump_num(one, "gen", h.gen);
        cw_dump_num(one, "start_seq", h.start_seq);
        json_array_append_new(hist, one);
    }
    for (uint32_t i = 0; i < sh->h.n_tail; i++) {
        struct cw_tail_bytes b;
        json_t *one = json_object();

        memcpy(&b, sh->tail + i * sizeof(b), sizeof(b));
        cw_dump_num(one, "gen", b.gen);
        cw_dump_num(one, "seq", b.seq);
        cw_dump_num(one, "lba", b.lba);
        cw_dump_num(one, "nblk", b.nblk);
        cw_dump_named(one, "type", b.type, cw_frame_type_name(b.type));
        cw_dump_num(one, "batch_seq", b.batch_seq);
        cw_dump_num(one, "segment", b.seg);
        cw_dump_num(one, "off", b.off);
        cw_dump_num(one, "record", b.rec);
        json_array_append_new(tail, one);
    }
    json_object_set_new(o, "history", hist);
    json_object_set_new(o, "tail", tail);
}

int
cw_dump_shard(struct cw_dump *d)
{
    const struct cw_inspect_shard *sh;
    json_t *layers;
    int status = shard_take(d, &sh);

    if (status != CW_TOOL_OK)
        return status;
    json_object_set_new(d->o, "record", cw_dump_shardrec(&sh->rec));
    cw_dump_num(d->o, "last_gen", sh->h.last_gen);
    cw_dump_num(d->o, "last_seq", sh->h.last_seq);
    cw_dump_num(d->o, "promised_gen", sh->h.promised_gen);
    cw_dump_num(d->o, "stable", sh->h.stable);
    cw_dump_num(d->o, "join_id", sh->h.join_id);
    cw_dump_flags(d->o, CW_WORDS_COPY, sh->h.flags);
    layers = json_array();
    json_object_set_new(d->o, "layer", layers);
    for (uint32_t i = 0; i < d->k.n_layers; i++) {
        if (d->k.layers[i].shard == sh->h.layer)
            json_array_append_new(layers, layer_json(&d->k.layers[i]));
    }
    shard_history(d->o, sh);
    return CW_TOOL_OK;
}

/* argv[0] */
static int
layer_take(struct cw_dump *d, uint32_t *ret)
{
    int status = cw_dump_state(d);

    if (status != CW_TOOL_OK)
        return status;
    *ret = cw_ckpt_layer(&d->k, d->arg[0]);
    return *ret != UINT32_MAX ? CW_TOOL_OK
                              : cw_dump_missing(d, cw_dump_see(d, "dump", "checkpoint"),
                                                "it has no layer %s", d->argv[0]);
}

int
cw_dump_layer(struct cw_dump *d)
{
    uint32_t i;
    int status = layer_take(d, &i);

    if (status != CW_TOOL_OK)
        return status;
    json_object_set_new(d->o, "record",
                        cw_dump_shardrec(&cw_ckpt_shard_of(&d->k, &d->k.layers[i])->rec));
    json_object_set_new(d->o, "layer", layer_json(&d->k.layers[i]));
    json_object_set_new(d->o, "table", tabs_json(&d->k, d->k.layers[i].id));
    return CW_TOOL_OK;
}

/* ---- tables ---- */

static json_t *
chunk_json(const struct cw_chunk_entry *e, uint32_t chunk)
{
    json_t *o = json_object();

    cw_dump_num(o, "chunk", chunk);
    cw_dump_num(o, "gen", e->gen);
    if (e->seq == CW_VER_VOID)
        cw_dump_text(o, "seq", "VOID");
    else
        cw_dump_num(o, "seq", e->seq);
    cw_dump_num(o, "mapped", e->nmapped);
    cw_dump_named(o, "state", e->state, cw_words_chunk(e->state));
    if (e->page_loc != 0) {
        cw_dump_loc(o, "page", e->page_loc);
        cw_dump_hex(o, "csum", e->page_csum);
    }
    return o;
}

static const struct cw_ckpt_tab *
tab_find(const struct cw_ckpt *k, uint32_t layer, uint64_t index)
{
    for (uint32_t i = 0; i < k->n_tabs; i++) {
        if (k->tabs[i].layer == layer && k->tabs[i].dir.index == index)
            return &k->tabs[i];
    }
    return NULL;
}

int
cw_dump_table(struct cw_dump *d)
{
    const struct cw_ckpt_tab *t;
    json_t *list;
    uint32_t layer;
    int status = layer_take(d, &layer);

    if (status != CW_TOOL_OK)
        return status;
    t = tab_find(&d->k, layer, d->arg[1]);
    if (t == NULL)
        return cw_dump_missing(d, cw_dump_see(d, "dump", "layer %s", d->argv[0]),
                               "layer %s has no table %s", d->argv[0], d->argv[1]);
    cw_dump_loc(d->o, "place", t->dir.loc);
    cw_dump_hex(d->o, "csum", t->dir.csum);
    cw_dump_wrong(d->o, t->page == NULL ? "it is damaged" : NULL);
    list = json_array();
    json_object_set_new(d->o, "chunk", list);
    for (uint32_t i = 0; t->page != NULL && i < CW_TAB_CHUNKS; i++) {
        const struct cw_chunk_entry *e = &t->page->e[i];

        if (e->page_loc != 0 || e->seq != 0 || e->gen != 0 || e->state != 0)
            json_array_append_new(list, chunk_json(e, t->dir.index * CW_TAB_CHUNKS + i));
    }
    if (t->page != NULL) {
        d->bytes = cw_tool_alloc(d->n_bytes = sizeof(*t->page));
        memcpy(d->bytes, t->page, d->n_bytes);
    }
    return CW_TOOL_OK;
}

/* ---- pages and blocks ---- */

struct seen {
    uint32_t layer; /* whose chunk it is */
    const struct cw_chunk_entry *e;
    uint64_t lost; /* e NULL: the place of the table that has it, which is damaged */
};

/* What a layer shows: its own chunk, else the nearest parent's. */
static bool
chunk_seen(const struct cw_ckpt *k, uint32_t layer, uint32_t chunk, struct seen *ret)
{
    while (layer != UINT32_MAX) {
        const struct cw_ckpt_tab *t = tab_find(k, layer, chunk / CW_TAB_CHUNKS);
        const struct cw_layer_bytes *l = &k->layers[layer];

        if (t != NULL && t->page == NULL) {
            *ret = (struct seen){ .layer = layer, .lost = t->dir.loc };
            return true;
        }
        if (t != NULL) {
            ret->e = &t->page->e[chunk % CW_TAB_CHUNKS];
            ret->layer = layer;
            if (l->parent == 0 || ret->e->state == CW_CHUNK_OWN)
                return true;
        }
        layer = l->parent == 0 ? UINT32_MAX : cw_ckpt_layer(k, l->parent);
    }
    return false;
}

static uint32_t
layer_of_snap(const struct cw_ckpt *k, const struct cw_inspect_shard *sh, uint64_t snap)
{
    for (uint32_t i = 0; i < k->n_layers; i++) {
        if (k->layers[i].shard == sh->h.layer && k->layers[i].snap == snap &&
            !(k->layers[i].flags & CW_LAYER_GONE))
            return i;
    }
    return UINT32_MAX;
}

/* The block or chunk of argv cannot be had as it was written. The first cause is the one to be
 * told.
 */
static void
damage(struct cw_dump *d, const char *what, uint64_t loc, const char *why)
{
    char place[CW_WORDS_LOC_SIZE];

    cw_dump_wrong(d->o, why);
    if (why == NULL || d->damaged[0] != '\0')
        return;
    snprintf(d->damaged, sizeof(d->damaged), "%s %s of shard %s%s%s: %s (%s)", what, d->argv[1],
             d->argv[0], d->argc == 3 ? " in snapshot " : "", d->argc == 3 ? d->argv[2] : "", why,
             cw_words_loc(loc, place));
}

/* Its number must be below that of the shard's blocks, as its record has them. */
static int
lba_check(struct cw_dump *d, const struct cw_inspect_shard *sh, uint32_t unit)
{
    uint64_t n = cw_div_up(sh->rec.n_blocks, unit);

    if (d->arg[1] < n)
        return CW_TOOL_OK;
    return cw_dump_missing(d, NULL,
                           "%s is no number of a %s in shard %s: it has %" PRIu64 ", 0 to %" PRIu64,
                           d->argv[1], unit == 1 ? "block" : "chunk", d->argv[0], n, n - 1);
}

/* The map page at that entry; NULL: it cannot be read. */
static struct cw_map_page *
page_read(struct cw_dump *d, const char *what, const struct cw_chunk_entry *e)
{
    struct cw_map_page *page = cw_tool_alloc_aligned(sizeof(*page));

    if (cw_stand_read_one(d->st, d->side,
                          cw_inspect_seg_off(d->k.sb, cw_loc_seg(e->page_loc)) +
                              cw_loc_off(e->page_loc),
                          page, sizeof(*page)) != 0) {
        damage(d, what, e->page_loc, "its map page cannot be read");
        free(page);
        return NULL;
    }
    if (cw_hash_block(page) != e->page_csum)
        damage(d, what, e->page_loc, "its map page does not match its checksum");
    return page;
}

/* The page of the chunk (argv) that unit blocks of argv[1] lead to; *ret_page NULL: there is none,
 * all of it is zeroes, unless it is damaged. */
static int
page_take(struct cw_dump *d, uint32_t unit, uint64_t *ret_at, struct cw_map_page **ret_page)
{
    const struct cw_inspect_shard *sh;
    uint64_t snap = d->argc == 3 ? d->arg[2] : 0;
    struct seen seen = { 0 };
    uint32_t layer;
    int status;

    *ret_page = NULL;
    *ret_at = d->arg[1];
    status = shard_take(d, &sh);
    if (status == CW_TOOL_OK)
        status = lba_check(d, sh, unit);
    if (status != CW_TOOL_OK)
        return status;
    layer = layer_of_snap(&d->k, sh, snap);
    if (layer == UINT32_MAX)
        return cw_dump_missing(d, cw_dump_see(d, "dump", "shard %s", d->argv[0]),
                               "the copy has no snapshot %" PRIu64, snap);
    if (!chunk_seen(&d->k, layer, (uint32_t)(*ret_at * unit / CW_CHUNK_BLOCKS), &seen))
        return CW_TOOL_OK;
    cw_dump_hex(d->o, "layer", d->k.layers[seen.layer].id);
    if (seen.e == NULL) {
        damage(d, unit == 1 ? "block" : "chunk", seen.lost, "its table is damaged");
        return CW_TOOL_OK;
    }
    json_object_set_new(d->o, "entry",
                        chunk_json(seen.e, (uint32_t)(*ret_at * unit / CW_CHUNK_BLOCKS)));
    if (seen.e->page_loc != 0)
        *ret_page = page_read(d, unit == 1 ? "block" : "chunk", seen.e);
    return CW_TOOL_OK;
}

int
cw_dump_page(struct cw_dump *d)
{
    struct cw_map_page *page;
    json_t *list;
    uint64_t chunk;
    int status = page_take(d, CW_CHUNK_BLOCKS, &chunk, &page);

    if (status != CW_TOOL_OK)
        return status;
    list = json_array();
    json_object_set_new(d->o, "block", list);
    for (uint32_t i = 0; page != NULL && i < CW_CHUNK_BLOCKS; i++) {
        json_t *o;

        if (cw_loc_kind(page->e[i].loc) == CW_MAP_NONE)
            continue;
        o = json_object();
        cw_dump_num(o, "lba", chunk * CW_CHUNK_BLOCKS + i);
        cw_dump_loc(o, "place", page->e[i].loc);
        cw_dump_num(o, "heat", page->e[i].loc & CW_LOC_HEAT);
        cw_dump_hex(o, "csum", page->e[i].xxh3);
        json_array_append_new(list, o);
    }
    d->bytes = (uint8_t *)page;
    d->n_bytes = page == NULL ? 0 : sizeof(*page);
    return CW_TOOL_OK;
}

/* The plain bytes of the entry's block become d->bytes; what is wrong with them. */
static const char *
block_read(struct cw_dump *d, const struct cw_map_entry *e)
{
    uint64_t off = cw_inspect_seg_off(d->k.sb, cw_loc_seg(e->loc)) + cw_loc_off(e->loc);
    uint64_t skip = off % 4096, len = (uint64_t)cw_loc_len512(e->loc) * CW_SECTOR;
    uint8_t *mem, *scratch;
    const uint8_t *plain;
    const char *why = cw_inspect_data_loc(d->k.sb, e->loc);
    struct cw_compressor *c;

    if (why != NULL)
        return why;
    mem = cw_tool_alloc_aligned(skip + len + CW_INSPECT_RUN_BYTES);
    scratch = cw_tool_alloc(CW_INSPECT_RUN_BYTES);
    c = cw_compressor_new();
    if (cw_stand_read_one(d->st, d->side, off - skip, mem, cw_align_up(skip + len, 4096)) != 0)
        why = "it cannot be read";
    plain = why == NULL ? cw_inspect_plain(c, e->loc, mem + skip, scratch) : NULL;
    if (plain == NULL) {
        why = why != NULL ? why : "it is not what was packed there";
    } else {
        if (cw_loc_kind(e->loc) == CW_MAP_COMP)
            plain += (size_t)cw_loc_idx(e->loc) * CW_BLOCK_SIZE;
        d->bytes = cw_tool_alloc(d->n_bytes = CW_BLOCK_SIZE);
        memcpy(d->bytes, plain, CW_BLOCK_SIZE);
        if (cw_hash_block(plain) != e->xxh3)
            why = "it does not match its checksum in the map";
    }
    cw_compressor_free(c);
    free(scratch);
    free(mem);
    return why;
}

int
cw_dump_block(struct cw_dump *d)
{
    struct cw_map_page *page;
    struct cw_map_entry e;
    uint64_t lba;
    int status = page_take(d, 1, &lba, &page);

    if (status != CW_TOOL_OK || (page == NULL && d->damaged[0] != '\0'))
        return status;
    e = page == NULL ? (struct cw_map_entry){ 0 } : page->e[lba % CW_CHUNK_BLOCKS];
    free(page);
    cw_dump_num(d->o, "lba", lba);
    cw_dump_loc(d->o, "place", e.loc);
    cw_dump_hex(d->o, "csum", e.xxh3);
    switch (cw_loc_kind(e.loc)) {
    case CW_MAP_RAW:
    case CW_MAP_COMP:
        damage(d, "block", e.loc, block_read(d, &e));
        break;
    case CW_MAP_BAD:
        damage(d, "block", e.loc, "it is marked as bad");
        break;
    case CW_MAP_NONE:
    case CW_MAP_ZERO:
    case CW_MAP_KINDS:
    default:
        d->bytes = cw_tool_alloc(d->n_bytes = CW_BLOCK_SIZE);
        break;
    }
    return CW_TOOL_OK;
}

/* ---- scrub ---- */

int
cw_dump_scrub(struct cw_dump *d)
{
    const struct cw_scrub_bytes *b = &d->k.scrub;
    int status = cw_dump_state(d);

    if (status != CW_TOOL_OK)
        return status;
    if (!d->k.has_scrub)
        return cw_dump_missing(d, NULL, "its checkpoint does not say how far a scrub is");
    cw_dump_num(d->o, "pass", b->pass);
    cw_dump_named(d->o, "phase", b->phase, cw_words_phase(b->phase));
    cw_dump_hex(d->o, "shard", b->shard);
    cw_dump_num(d->o, "snapshot", b->snap);
    cw_dump_num(d->o, "chunk", b->chunk);
    cw_dump_flags(d->o, CW_WORDS_SCRUB, b->flags);
    cw_dump_num(d->o, "done_bytes", b->done_bytes);
    cw_dump_num(d->o, "found", b->found);
    cw_dump_num(d->o, "repaired", b->repaired);
    cw_dump_num(d->o, "last_pass", b->last_pass);
    cw_dump_num(d->o, "last_bytes", b->last_bytes);
    cw_dump_num(d->o, "last_found", b->last_found);
    cw_dump_num(d->o, "last_repaired", b->last_repaired);
    cw_dump_num(d->o, "recent", b->n_recent);
    cw_dump_num(d->o, "storms", b->storms);
    return CW_TOOL_OK;
}
