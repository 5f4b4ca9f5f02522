/* store/checkpoint.c - the state between two batches, written while the world goes on.
 *
 *   IDLE --freeze--> PAGES --all durable--> TABS --> PARTS --> ROOT --> SB --> IDLE
 *
 * The freeze marks what is dirty; whoever changes a marked page or table first keeps a copy of it.
 * Everything goes into META batches, which replay ignores; only the superblock makes it count.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"

#define ROOT_INDEX UINT64_MAX /* lba of the root's record; parts have theirs */
#define PART_BYTES (CW_BATCH_PAYLOAD_MAX / 2)

bool
ckpt_running(const struct cw_store *s)
{
    return s->ckpt.state != CKPT_IDLE;
}

void
ckpt_want(struct cw_store *s)
{
    if (s->ckpt.wanted || ckpt_running(s))
        return;
    s->ckpt.wanted = true;
    store_kick(s);
}

uint64_t
ckpt_log_bytes(const struct cw_store *s)
{
    uint64_t n = 0;

    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++)
        n += cls == CW_SEG_META ? 0 : s->logged[cls];
    return n;
}

bool
ckpt_has_news(const struct cw_store *s)
{
    return ckpt_log_bytes(s) > s->ckpt.last_bytes || map_dirty_pages(s) > 0 || s->ckpt.scrub_moved;
}

/* What a recovery would have to read and hold at once is bounded, by bytes of log, by the records
 * in it (of which small writes make many), and by pages. */
void
ckpt_consider(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;
    uint64_t bytes = ckpt_log_bytes(s) - c->last_bytes, hdr = s->logged_hdr - c->last_hdr;
    uint64_t max = cw_min_u64(STORE_CKPT_BYTES, (uint64_t)s->n_segs * s->seg_bytes / 8);

    if (ckpt_running(s) || c->wanted)
        return;
    if (bytes >= max || hdr >= cw_max_u64(STORE_CKPT_HDR_BYTES_MIN, s->map_budget / 4) ||
        map_is_crowded(s) ||
        (ckpt_has_news(s) && cw_now_ns(s->env) - c->last_ns >= STORE_CKPT_NS) ||
        pace_wants_checkpoint(s))
        c->wanted = true;
}

/* ---- freeze ---- */

/* What it waits for is this very checkpoint: whoever reads it may take the segment at once. */
static uint8_t
frozen_state(const struct seg *g)
{
    if (g->state != CW_SEG_SOON_FREE)
        return g->state;
    return g->live == 0 && !segment_is_pinned(g) ? CW_SEG_FREE : CW_SEG_SEALED;
}

/* Where its next batch would begin, for a segment table. */
static uint32_t
frozen_off(const struct cw_store *s, const struct seg *g)
{
    uint32_t off = g->state == CW_SEG_OPEN ? s->open[g->cls].off / 4096 : 0;

    return off <= CW_SEG_OFF_MAX ? off << CW_SEG_OFF_SHIFT : 0;
}

static void
freeze_segments(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;
    struct cw_segtab_entry *to;

    c->segtab_len = s->n_segs * sizeof(*to);
    c->segtab = store_alloc(c->segtab_len);
    to = (void *)c->segtab;
    c->next.replay_seg_seq = s->next_seg_seq;
    for (uint32_t i = 0; i < s->n_segs; i++) {
        struct seg *g = &s->segs[i];
        bool replay = g->state == CW_SEG_OPEN ||
                      (g->state == CW_SEG_SEALED && g->last_batch >= c->next.replay_batch);

        segment_freeze(s, g);
        to[i] = (struct cw_segtab_entry){
            .state = frozen_state(g),
            .cls = g->cls,
            .flags = (uint16_t)(g->flags | (replay ? CW_SEG_REPLAY : 0) | frozen_off(s, g)),
            .live = g->live,
            .seg_seq = g->seq,
        };
        if (replay)
            c->next.replay_seg_seq = cw_min_u64(c->next.replay_seg_seq, g->seq);
    }
}

static void
freeze_shards(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;
    struct cw_list *lists[] = { &s->shards, &s->zombies };
    size_t at = 0;

    c->shards_len = 0;
    for (size_t i = 0; i < 2; i++) {
        CW_LIST_EACH (it, lists[i])
            c->shards_len += shard_encode(cw_list_entry(it, struct cw_store_shard, link), NULL);
    }
    c->shards = store_alloc(c->shards_len + 1);
    for (size_t i = 0; i < 2; i++) {
        CW_LIST_EACH (it, lists[i])
            at += shard_encode(cw_list_entry(it, struct cw_store_shard, link), c->shards + at);
    }
}

static void
freeze_layers(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;

    c->layers_len = layers_encode(s, NULL);
    c->layers = store_alloc(c->layers_len + 1);
    layers_encode(s, c->layers);
}

static void
freeze_map(struct cw_store *s)
{
    struct cw_list *node;

    while (!cw_list_empty(&s->dirty))
        map_page_freeze(s, cw_list_first(&s->dirty, struct page, link));
    while ((node = cw_list_pop_front(&s->tabs_dirty)) != NULL) {
        struct tab *t = cw_list_entry(node, struct tab, link);

        t->dirty = false;
        t->in_ckpt = true;
        cw_list_push_back(&s->ckpt.tabs, &t->ckpt_link);
    }
}

static void
ckpt_freeze(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;

    c->wanted = false;
    c->number = s->sb.ckpt[0].number + 1;
    memset(&c->next, 0, sizeof(c->next));
    c->next.number = c->number;
    c->next.replay_batch = s->applied_upto + 1;
    freeze_segments(s);
    freeze_shards(s);
    freeze_layers(s);
    freeze_map(s);
    scrub_encode(s, &c->scrub);
    c->scrub_moved = false;
    c->root = store_alloc_aligned(CW_BLOCK_SIZE); /* without its parts */
    memset(c->root, 0, CW_BLOCK_SIZE);
    c->root->magic = CW_ROOT_MAGIC;
    c->root->format_id = s->sb.format_id;
    c->root->number = c->number;
    c->root->replay_batch = c->next.replay_batch;
    c->root->replay_seg_seq = c->next.replay_seg_seq;
    c->root->next_seg_seq = s->next_seg_seq;
    c->root->next_layer = s->next_layer;
    c->root->version = CW_STORE_VERSION;
    memcpy(c->root->chain_csum, s->chain_csum_applied, sizeof(c->root->chain_csum));
    for (uint8_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++)
        c->root->open_seg_seq[cls] =
            s->open[cls].open ? s->segs[s->open[cls].no].seq : s->open[cls].prev_seq;
    c->last_ns = cw_now_ns(s->env);
    c->last_bytes = ckpt_log_bytes(s);
    c->last_hdr = s->logged_hdr;
    c->state = CKPT_PAGES;
}

/* ---- writing ---- */

/* One record of n blocks whose checksums are computed here; false: no batch buffer now. */
static bool
ckpt_put(struct cw_store *s, struct cw_rec_desc d, const uint8_t *data, uint32_t n)
{
    uint64_t csums[CW_BATCH_PAYLOAD_MAX / CW_BLOCK_SIZE];
    struct rec_out r = { .d = d, .csums = csums, .n_csums = n };
    struct batch *b;

    r.d.nblk = n;
    r.d.seq = s->ckpt.number;
    b = batch_room(s, CW_SEG_META, batch_rec_len(&r), n, 2);
    s->ckpt.short_of_memory = b != NULL && !batch_reserve(s, b, n);
    if (b == NULL || s->ckpt.short_of_memory) {
        store_kick_later(s);
        return false;
    }
    for (uint32_t i = 0; i < n; i++)
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    r.d.payload_off = b->payload_bytes / 512;
    batch_payload(b, data, n, NULL);
    batch_add(b, &r);
    s->ckpt.out++;
    return true;
}

static bool
ckpt_write_pages(struct cw_store *s)
{
    while (!cw_list_empty(&s->ckpt.pages)) {
        struct page *p = cw_list_first(&s->ckpt.pages, struct page, ckpt_link);
        const struct cw_map_page *from = p->frozen != NULL ? p->frozen : p->data;
        struct cw_rec_desc d = { .type = CW_REC_MAPPAGE, .layer = p->l->id, .lba = p->chunk };

        if (!ckpt_put(s, d, (const uint8_t *)from, 1))
            return false;
        if (!p->dropped) {
            /* held until its new place is known: it could not be loaded again before */
            chunk_find(p->l, p->chunk)->flags |= CHUNK_WRITING;
            p->pins++;
        }
        map_page_unfreeze(s, p);
    }
    return true;
}

static bool
ckpt_write_tabs(struct cw_store *s)
{
    struct cw_tab_page page;

    while (!cw_list_empty(&s->ckpt.tabs)) {
        struct tab *t = cw_list_first(&s->ckpt.tabs, struct tab, ckpt_link);
        struct cw_rec_desc d = { .type = CW_REC_TABPAGE, .layer = t->l->id, .lba = t->index };

        tab_encode(s, t, &page);
        if (!ckpt_put(s, d, (const uint8_t *)&page, 1))
            return false;
        cw_list_remove(&t->ckpt_link);
        t->in_ckpt = false;
        free(t->frozen);
        t->frozen = NULL;
    }
    return true;
}

static void
parts_add(struct ckpt *c, uint32_t kind, const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at += PART_BYTES) {
        uint32_t bytes = (uint32_t)cw_min_u64(PART_BYTES, len - at);

        c->parts = realloc(c->parts, (c->n_parts + 1) * sizeof(*c->parts));
        cw_assert(c->parts != NULL && c->n_parts < CW_ROOT_PARTS_MAX);
        c->parts[c->n_parts++] = (struct ckpt_part){
            .kind = kind,
            .bytes = bytes,
            .data = data + at,
            .csum = cw_hash(data + at, bytes),
        };
    }
}

static void
tabdir_fill(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;
    struct cw_tabdir_entry *to = NULL;
    size_t n = 0;

    for (int pass = 0; pass < 2; pass++) {
        CW_LIST_EACH (it, &s->layers) {
            const struct layer *l = cw_list_entry(it, struct layer, link);

            for (uint32_t i = 0; i < CW_SHARD_TABS; i++) {
                const struct tab *t = l->tabs[i];

                if (t == NULL || t->loc == 0)
                    continue;
                if (to == NULL)
                    n++;
                else
                    *to++ = (struct cw_tabdir_entry){
                        .layer = l->id,
                        .index = i,
                        .loc = t->loc,
                        .csum = t->csum,
                    };
            }
        }
        if (pass == 0) {
            c->tabdir_len = n * sizeof(*to);
            c->tabdir = store_alloc(c->tabdir_len + 1);
            to = (void *)c->tabdir;
        }
    }
}

static void
parts_prepare(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;

    tabdir_fill(s);
    parts_add(c, CW_PART_SEGMENTS, c->segtab, c->segtab_len);
    parts_add(c, CW_PART_TABS, c->tabdir, c->tabdir_len);
    parts_add(c, CW_PART_SHARDS, c->shards, c->shards_len);
    parts_add(c, CW_PART_LAYERS, c->layers, c->layers_len);
    parts_add(c, CW_PART_SCRUB, (const uint8_t *)&c->scrub, sizeof(c->scrub));
    c->now = store_alloc((c->n_parts + 1) * sizeof(*c->now));
    c->n_now = 0;
}

static bool
ckpt_write_parts(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;

    for (; c->next_part < c->n_parts; c->next_part++) {
        const struct ckpt_part *p = &c->parts[c->next_part];
        uint32_t n = (uint32_t)cw_div_up(p->bytes, CW_BLOCK_SIZE);
        struct cw_rec_desc d = { .type = CW_REC_ROOT, .lba = c->next_part };
        uint8_t *padded = store_alloc((size_t)n * CW_BLOCK_SIZE);
        bool ok;

        memcpy(padded, p->data, p->bytes);
        ok = ckpt_put(s, d, padded, n);
        free(padded);
        if (!ok)
            return false;
    }
    return true;
}

/* Makes room for the parts, which are most often few: a root may take 1 MiB, and fresh memory of
 * that size costs more than all the rest of a small checkpoint. */
static void
root_add_parts(struct ckpt *c)
{
    struct cw_root *root;

    c->root_len =
        (uint32_t)cw_align_up(sizeof(*root) + c->n_parts * sizeof(root->parts[0]), CW_BLOCK_SIZE);
    root = store_alloc_aligned(c->root_len);
    memset(root, 0, c->root_len);
    memcpy(root, c->root, sizeof(*root));
    for (uint32_t i = 0; i < c->n_parts; i++)
        root->parts[i] = (struct cw_root_part){
            .loc = c->parts[i].loc,
            .csum = c->parts[i].csum,
            .bytes = c->parts[i].bytes,
            .kind = c->parts[i].kind,
        };
    root->n_parts = c->n_parts;
    free(c->root);
    c->root = root;
}

static bool
ckpt_write_root(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;
    struct cw_rec_desc d = { .type = CW_REC_ROOT, .lba = ROOT_INDEX };

    if (c->next.len != 0)
        return true;
    root_add_parts(c);
    if (!ckpt_put(s, d, (const uint8_t *)c->root, c->root_len / CW_BLOCK_SIZE))
        return false;
    c->next.len = c->root_len;
    c->next.csum = cw_hash(c->root, c->root_len);
    return true;
}

/* ---- durable ---- */

static void
applied_page(struct cw_store *s, const struct rec_view *v, uint64_t loc)
{
    struct layer *l = layer_find(s, v->d.layer);
    uint32_t chunk = (uint32_t)v->d.lba;
    struct tab *t = tab_of(l, chunk);
    struct cw_chunk_entry *e = &t->e[chunk % CW_TAB_CHUNKS];

    segment_live_add(s, loc, 1);
    if (t->frozen != NULL) {
        t->frozen[chunk % CW_TAB_CHUNKS].page_loc = loc;
        t->frozen[chunk % CW_TAB_CHUNKS].page_csum = v->csums[0];
    }
    if (!(e->flags & CHUNK_WRITING)) {
        segment_dies_next(s, loc); /* given back since; this checkpoint refers to it */
        return;
    }
    e->flags &= (uint8_t)~CHUNK_WRITING;
    if (e->page_loc != 0)
        segment_live_add(s, e->page_loc, -1);
    e->page_loc = loc;
    e->page_csum = v->csums[0];
    map_page_unpin(chunk_page(e));
}

static void
applied_tab(struct cw_store *s, const struct rec_view *v, uint64_t loc)
{
    struct tab *t = layer_find(s, v->d.layer)->tabs[v->d.lba];

    segment_live_add(s, loc, 1);
    if (t->loc != 0)
        segment_live_add(s, t->loc, -1);
    t->loc = loc;
    t->csum = v->csums[0];
}

static void
applied_root(struct cw_store *s, const struct rec_view *v, uint64_t loc)
{
    struct ckpt *c = &s->ckpt;

    segment_live_add(s, loc, (int32_t)v->d.nblk);
    c->now[c->n_now++] = (struct ckpt_ext){ .loc = loc, .n = v->d.nblk };
    if (v->d.lba == ROOT_INDEX)
        c->next.loc = loc;
    else
        c->parts[v->d.lba].loc = loc;
}

void
ckpt_applied(struct cw_store *s, const struct rec_view *v, uint64_t loc)
{
    cw_assert(s->ckpt.state != CKPT_IDLE && v->d.seq == s->ckpt.number && s->ckpt.out > 0);
    s->ckpt.out--;
    if (v->d.type == CW_REC_MAPPAGE)
        applied_page(s, v, loc);
    else if (v->d.type == CW_REC_TABPAGE)
        applied_tab(s, v, loc);
    else
        applied_root(s, v, loc);
}

/* ---- the superblock ---- */

static void
ckpt_drop_memory(struct ckpt *c)
{
    free(c->root);
    free(c->segtab);
    free(c->shards);
    free(c->layers);
    free(c->tabdir);
    free(c->parts);
    c->root = NULL;
    c->segtab = c->shards = c->layers = c->tabdir = NULL;
    c->parts = NULL;
    c->n_parts = c->next_part = 0;
}

static void
ckpt_change_sb(struct cw_store *s, struct cw_sb *sb, void *arg)
{
    sb->version = CW_STORE_VERSION;
    sb->ckpt[1] = sb->ckpt[0];
    sb->ckpt[0] = s->ckpt.next;
    sb->flags = 0;
    if (s->state == STORE_CLOSING && s->ckpt.done != NULL) { /* not one that the stop met */
        sb->flags = CW_SB_CLEAN;
        /* a write that failed may have left a header, a start that could not read may have missed
         * one, or a newer superblock */
        if (s->stats.io_errors == 0 && s->stats.csum_errors == 0)
            sb->flags |= CW_SB_SETTLED;
    }
    CW_LIST_EACH (it, &s->shards)
        sb->flags |=
            cw_list_entry(it, struct cw_store_shard, link)->info.damaged ? CW_SB_DAMAGED : 0;
    if (s->state == STORE_OPENING)
        sb->incarnation++;
}

static void
ckpt_on_sb(struct cw_store *s, void *arg, int res)
{
    struct ckpt *c = &s->ckpt;
    void (*done)(struct cw_store *, int) = c->done;

    c->state = CKPT_IDLE;
    ckpt_drop_memory(c);
    if (res == 0) {
        s->stats.checkpoints++;
        s->identity.incarnation = s->sb.incarnation;
        for (uint32_t i = 0; i < c->n_old; i++)
            segment_live_add(s, c->old[i].loc, -(int32_t)c->old[i].n);
        free(c->old);
        c->old = c->now;
        c->n_old = c->n_now;
        c->now = NULL;
        c->n_now = 0;
        segment_free_unneeded(s, s->sb.ckpt[0].replay_batch);
        packer_look(s);
    }
    c->done = NULL;
    if (done != NULL)
        done(s, res);
    store_kick(s);
}

static void
ckpt_write_sb(struct cw_store *s)
{
    s->ckpt.state = CKPT_SB;
    s->ckpt.sb.change = ckpt_change_sb;
    s->ckpt.sb.done = ckpt_on_sb;
    sb_write(s, &s->ckpt.sb);
}

/* ---- steps ---- */

/* Writes what this step has left; true once all of it is durable. */
static bool
ckpt_step_done(struct cw_store *s, bool (*step)(struct cw_store *))
{
    bool all = step(s);

    batch_submit_class(s, CW_SEG_META, true);
    return all && s->ckpt.out == 0;
}

void
ckpt_step(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;

    if (s->stats.failed || s->apply.active)
        return;
    map_evict(s, 0); /* what is kept as it was takes room too */
    switch (c->state) {
    case CKPT_IDLE:
        if (!c->wanted || (s->state != STORE_OPEN && c->done == NULL))
            return;
        ckpt_freeze(s);
        __attribute__((fallthrough));
    case CKPT_PAGES:
        if (!ckpt_step_done(s, ckpt_write_pages))
            return;
        c->state = CKPT_TABS;
        __attribute__((fallthrough));
    case CKPT_TABS:
        if (!ckpt_step_done(s, ckpt_write_tabs))
            return;
        parts_prepare(s);
        c->state = CKPT_PARTS;
        __attribute__((fallthrough));
    case CKPT_PARTS:
        if (!ckpt_step_done(s, ckpt_write_parts))
            return;
        c->state = CKPT_ROOT;
        __attribute__((fallthrough));
    case CKPT_ROOT:
        if (!ckpt_step_done(s, ckpt_write_root))
            return;
        ckpt_write_sb(s);
        return;
    case CKPT_SB:
        return;
    }
}

bool
ckpt_waits_for_memory(const struct cw_store *s)
{
    return s->ckpt.short_of_memory && cw_list_empty(&s->ready[CW_SEG_META]);
}

void
ckpt_free(struct cw_store *s)
{
    struct ckpt *c = &s->ckpt;

    while (!cw_list_empty(&c->pages))
        map_page_unfreeze(s, cw_list_first(&c->pages, struct page, ckpt_link));
    ckpt_drop_memory(c);
    free(c->old);
    free(c->now);
}
