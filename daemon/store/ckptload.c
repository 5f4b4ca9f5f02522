/* store/ckptload.c - a checkpoint into memory: root, parts, tables; map pages stay where they are.
 *
 * One that cannot be read, or is not what it should be, leaves nothing behind, and the one before
 * it is tried: its replay range is intact as long as a superblock names it.
 */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/recovery.h"

#define TABS_AT_ONCE 256u

/* Whatever the first checkpoint left in memory. */
static void
checkpoint_reset(struct recovery *r)
{
    struct cw_store *s = r->s;

    store_free_shards(s);
    s->data_live = 0;
    memset(s->segs, 0, s->n_segs * sizeof(*s->segs));
    free(r->ref_end);
    r->ref_end = store_alloc(s->n_segs * sizeof(*r->ref_end));
    memset(s->n_state, 0, sizeof(s->n_state));
    s->n_state[CW_SEG_FREE] = s->n_segs;
    for (size_t i = 0; i < CW_LEN(r->content); i++) {
        free(r->content[i]);
        r->content[i] = NULL;
        r->content_len[i] = 0;
    }
    free(r->root);
    r->root = NULL;
    free(s->ckpt.old);
    s->ckpt.old = NULL;
    s->ckpt.n_old = 0;
}

static void
checkpoint_none(struct recovery *r)
{
    recovery_fail(r, CW_STORE_E_UNREADABLE);
}

static void
checkpoint_bad(struct recovery *r, const char *what)
{
    struct cw_store *s = r->s;

    store_log(s, CW_LOG_ERROR, "checkpoint %llu is unreadable: %s",
              (unsigned long long)s->sb.ckpt[r->which].number, what);
    s->stats.csum_errors++;
    if (r->which == 1) {
        recovery_look_again(r, checkpoint_none);
        return;
    }
    r->which = 1;
    recovery_checkpoint(r);
}

static bool
content_segments(struct recovery *r)
{
    struct cw_store *s = r->s;
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];
    uint32_t unit = cw_inspect_live_unit(r->root->version);

    if (cw_inspect_segtab(&s->sb, r->root->version, r->content[CW_PART_SEGMENTS],
                          r->content_len[CW_PART_SEGMENTS]) != NULL)
        return false;
    for (uint32_t i = 0; i < s->n_segs; i++) {
        struct seg *g = &s->segs[i];

        s->n_state[g->state]--;
        g->state = e[i].state == CW_SEG_OPEN ? CW_SEG_SEALED : e[i].state;
        s->n_state[g->state]++;
        g->cls = e[i].cls;
        g->flags = (uint8_t)(e[i].flags & (CW_SEG_WRITTEN | CW_SEG_PACKED));
        g->seq = e[i].seg_seq;
        /* META is counted anew, from the references themselves */
        g->live = e[i].cls == CW_SEG_META ? 0 : e[i].live * unit;
        if (g->cls != CW_SEG_META)
            s->data_live += g->live;
    }
    return true;
}

static bool
content_shards(struct recovery *r)
{
    const uint8_t *from = r->content[CW_PART_SHARDS];
    size_t len = r->content_len[CW_PART_SHARDS], used;

    for (size_t at = 0; at < len; at += used) {
        if (!shard_decode(r->s, from + at, len - at, &used))
            return false;
    }
    CW_LIST_EACH (it, &r->s->shards) {
        struct cw_store_shard *sh = cw_list_entry(it, struct cw_store_shard, link);

        if ((sh->layer & CW_LAYER_FAMILY) >= r->root->next_layer)
            return false;
    }
    if (r->root->version != 0)
        return layers_decode(r->s, r->content[CW_PART_LAYERS], r->content_len[CW_PART_LAYERS]);
    layers_make_heads(r->s);
    return true;
}

void
checkpoint_refers(struct cw_store *s, uint64_t loc, uint32_t n_blocks)
{
    uint32_t *end = &s->recovery->ref_end[cw_loc_seg(loc)];

    *end = (uint32_t)cw_max_u64(*end, cw_loc_off(loc) + (uint64_t)n_blocks * CW_BLOCK_SIZE);
    segment_live_add(s, loc, (int32_t)n_blocks);
}

static void
root_ext(struct cw_store *s, uint64_t loc, uint32_t n)
{
    s->ckpt.old[s->ckpt.n_old++] = (struct ckpt_ext){ .loc = loc, .n = n };
    checkpoint_refers(s, loc, n);
}

static void
checkpoint_loaded(struct recovery *r)
{
    struct cw_store *s = r->s;
    const struct cw_sb_ckpt *c = &s->sb.ckpt[r->which];

    r->next = c->replay_batch;
    free(r->content[CW_PART_TABS]); /* it may be large, and is not needed any more */
    r->content[CW_PART_TABS] = NULL;
    r->content_len[CW_PART_TABS] = 0;
    if (r->root != NULL && r->root->version == 0)
        layers_count_tabs(s);
    scrub_decode(s, r->content[CW_PART_SCRUB], r->content_len[CW_PART_SCRUB]);
    if (r->root != NULL) {
        s->ckpt.old = store_alloc((r->root->n_parts + 1) * sizeof(*s->ckpt.old));
        for (uint32_t i = 0; i < r->root->n_parts; i++)
            root_ext(s, r->root->parts[i].loc,
                     (uint32_t)cw_div_up(r->root->parts[i].bytes, CW_BLOCK_SIZE));
        root_ext(s, c->loc, c->len / CW_BLOCK_SIZE);
        s->next_layer = r->root->next_layer;
        s->next_seg_seq = r->root->next_seg_seq;
        for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++) {
            s->chain_csum_applied[cls] = r->root->chain_csum[cls];
            s->open[cls].prev_seq = r->root->open_seg_seq[cls];
        }
    }
    recovery_headers(r);
}

static void checkpoint_next_tabs(struct recovery *r);

static void
tabs_on_fetched(struct store_fetch *f)
{
    struct recovery *r = cw_container_of(f, struct recovery, fetch);
    const struct cw_tabdir_entry *dir = (const void *)r->content[CW_PART_TABS];

    for (uint32_t i = 0; i < f->n_runs; i++, r->tab_at++) {
        const void *page = r->mem + (size_t)i * CW_BLOCK_SIZE;
        struct layer *l = layer_find(r->s, dir[r->tab_at].layer);

        if (cw_bit_get(r->bad, i))
            recovery_missed(r->s, r->runs[i].off, CW_BLOCK_SIZE);
        if (cw_bit_get(r->bad, i) || l == NULL || !tab_load(r->s, l, page, &dir[r->tab_at])) {
            checkpoint_bad(r, "table page");
            return;
        }
    }
    checkpoint_next_tabs(r);
}

/* Some at a time: all of them are as much again as the tables that are made of them. */
static void
checkpoint_next_tabs(struct recovery *r)
{
    const struct cw_tabdir_entry *dir = (const void *)r->content[CW_PART_TABS];
    uint32_t n = (uint32_t)(r->content_len[CW_PART_TABS] / sizeof(*dir)) - r->tab_at;

    if (n == 0) {
        checkpoint_loaded(r);
        return;
    }
    n = n < TABS_AT_ONCE ? n : TABS_AT_ONCE;
    recovery_fetch_memory(r, n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t loc = dir[r->tab_at + i].loc;

        if (!loc_valid(r->s, loc, 1)) {
            checkpoint_bad(r, "table directory");
            return;
        }
        r->runs[i] = (struct store_run){
            .off = loc_off(r->s, loc),
            .to = r->mem + (size_t)i * CW_BLOCK_SIZE,
            .n_blocks = 1,
            .first = i,
        };
    }
    recovery_fetch(r, n, tabs_on_fetched);
}

static void
checkpoint_tabs(struct recovery *r)
{
    if (r->content_len[CW_PART_TABS] % sizeof(struct cw_tabdir_entry) != 0 ||
        !content_segments(r) || !content_shards(r)) {
        checkpoint_bad(r, "content");
        return;
    }
    r->tab_at = 0;
    checkpoint_next_tabs(r);
}

static void checkpoint_next_part(struct recovery *r);

static void
part_on_read(struct store_io *io, int res)
{
    struct recovery *r = cw_container_of(io, struct recovery, io);
    const struct cw_root_part *p = &r->root->parts[r->part];
    uint8_t *grown;

    if (res != 0)
        recovery_missed(r->s, io->io.off, io->io.len);
    if (res != 0 || cw_hash(r->mem, p->bytes) != p->csum) {
        checkpoint_bad(r, "part");
        return;
    }
    grown = realloc(r->content[p->kind], r->content_len[p->kind] + p->bytes);
    cw_assert(grown != NULL);
    memcpy(grown + r->content_len[p->kind], r->mem, p->bytes);
    r->content[p->kind] = grown;
    r->content_len[p->kind] += p->bytes;
    r->part++;
    checkpoint_next_part(r);
}

static void
checkpoint_next_part(struct recovery *r)
{
    const struct cw_root_part *p = &r->root->parts[r->part];
    uint32_t n;

    if (r->part == r->root->n_parts) {
        checkpoint_tabs(r);
        return;
    }
    n = (uint32_t)cw_div_up(p->bytes, CW_BLOCK_SIZE);
    if (cw_inspect_part(&r->s->sb, p) != NULL) {
        checkpoint_bad(r, "part");
        return;
    }
    r->io.done = part_on_read;
    r->io.twice = true;
    store_io_start(r->s, &r->io, CW_DISK_READ, loc_off(r->s, p->loc), r->mem,
                   (uint64_t)n * CW_BLOCK_SIZE);
}

static void
root_on_read(struct store_io *io, int res)
{
    struct recovery *r = cw_container_of(io, struct recovery, io);
    const struct cw_sb_ckpt *c = &r->s->sb.ckpt[r->which];

    if (res != 0)
        recovery_missed(r->s, io->io.off, io->io.len);
    if (res != 0 || cw_inspect_root(&r->s->sb, c, r->mem) != NULL) {
        checkpoint_bad(r, "root");
        return;
    }
    r->root = store_alloc(c->len);
    memcpy(r->root, r->mem, c->len);
    r->part = 0;
    checkpoint_next_part(r);
}

void
recovery_checkpoint(struct recovery *r)
{
    const struct cw_sb_ckpt *c = &r->s->sb.ckpt[r->which];

    checkpoint_reset(r);
    if (c->len == 0 && c->number == 0) {
        checkpoint_loaded(r);
        return;
    }
    if (cw_inspect_ckpt(&r->s->sb, c) != NULL) {
        checkpoint_bad(r, "place");
        return;
    }
    free(r->mem);
    r->mem = store_alloc_aligned(CW_BATCH_PAYLOAD_MAX);
    r->io.done = root_on_read;
    r->io.twice = true;
    store_io_start(r->s, &r->io, CW_DISK_READ, loc_off(r->s, c->loc), r->mem, c->len);
}
