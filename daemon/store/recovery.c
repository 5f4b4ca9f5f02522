/* store/recovery.c - open: the best superblock, its checkpoint, the log behind it.
 *
 *   SB -> ROOT -> PARTS -> TABS -> (previous checkpoint on any failure) -> HEADERS -> SCAN
 *      -> REPLAY -> checkpoint and incarnation -> open
 *
 * Batches are replayed in the order of their numbers up to the first that is missing. Whether that
 * is the torn end of the log or damage in its middle, the later batches say: durable_upto.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"

#define HEADERS_AT_ONCE 256u

struct cut {
    uint64_t from, to; /* batches [from, to) do not exist */
    bool damaged;
};

struct recovery {
    struct cw_store *s;
    uint64_t began_ns;
    uint32_t which; /* of the superblock's checkpoints */
    struct store_io io;
    uint8_t *mem;
    struct cw_root *root;
    uint8_t *content[CW_PART_KINDS]; /* per part kind */
    size_t content_len[CW_PART_KINDS];
    uint32_t part;
    struct store_fetch fetch;
    struct store_run *runs;
    uint64_t *bad;
    uint32_t header_at;
    bool *scan_it;
    struct scan scan;
    uint32_t scan_seg;
    struct scan_batch *b; /* all found, in batch order */
    uint32_t n, cap;
    struct cut *cuts;
    uint32_t n_cuts;
    uint64_t covered; /* highest durable_upto */
    uint64_t next;    /* batch to be replayed next */
    uint32_t at;      /* in b */
    bool payload_ok;
    uint64_t unreadable; /* a batch that is there but whose payload cannot be read; 0: none */
    bool lost, lost_end; /* places in segments due for replay could not be read; the last ones */
    struct suspects suspects;
    bool replaying;
};

static void recovery_checkpoint(struct recovery *r);
static void recovery_headers(struct recovery *r);
static void recovery_replay(struct cw_store *s);

void
recovery_free(struct cw_store *s)
{
    struct recovery *r = s->recovery;

    if (r == NULL)
        return;
    scan_fini(&r->scan);
    suspects_fini(&r->suspects);
    for (uint32_t i = 0; i < r->n; i++)
        free(r->b[i].bytes);
    for (size_t i = 0; i < CW_LEN(r->content); i++)
        free(r->content[i]);
    free(r->b);
    free(r->cuts);
    free(r->root);
    free(r->mem);
    free(r->runs);
    free(r->bad);
    free(r->scan_it);
    free(r);
    s->recovery = NULL;
}

static void
recovery_fail(struct recovery *r, int res)
{
    struct cw_store *s = r->s;

    s->state = STORE_DOWN;
    recovery_free(s);
    store_finish(s, res);
}

/* ---- a checkpoint ---- */

/* Whatever the first checkpoint left in memory. */
static void
checkpoint_reset(struct recovery *r)
{
    struct cw_store *s = r->s;

    store_free_shards(s);
    s->data_live = 0;
    memset(s->segs, 0, s->n_segs * sizeof(*s->segs));
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
checkpoint_bad(struct recovery *r, const char *what)
{
    struct cw_store *s = r->s;

    store_log(s, CW_LOG_ERROR, "checkpoint %llu is unreadable: %s",
              (unsigned long long)s->sb.ckpt[r->which].number, what);
    s->stats.csum_errors++;
    if (r->which == 1) {
        recovery_fail(r, CW_STORE_E_UNREADABLE);
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

static void
root_ext(struct cw_store *s, uint64_t loc, uint32_t n)
{
    s->ckpt.old[s->ckpt.n_old++] = (struct ckpt_ext){ .loc = loc, .n = n };
    segment_live_add(s, loc, (int32_t)n);
}

static void
checkpoint_loaded(struct recovery *r)
{
    struct cw_store *s = r->s;
    const struct cw_sb_ckpt *c = &s->sb.ckpt[r->which];

    r->next = c->replay_batch;
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

static void
tabs_on_fetched(struct store_fetch *f)
{
    struct recovery *r = cw_container_of(f, struct recovery, fetch);
    const struct cw_tabdir_entry *dir = (const void *)r->content[CW_PART_TABS];
    uint32_t n = (uint32_t)(r->content_len[CW_PART_TABS] / sizeof(*dir));
    bool ok = true;

    for (uint32_t i = 0; i < n && ok; i++) {
        const uint8_t *page = r->mem + (size_t)i * CW_BLOCK_SIZE;
        struct layer *l = layer_find(r->s, dir[i].layer);

        ok = !cw_bit_get(r->bad, i) && l != NULL &&
             tab_load(r->s, l, (const struct cw_tab_page *)(const void *)page, &dir[i]);
    }
    if (ok)
        checkpoint_loaded(r);
    else
        checkpoint_bad(r, "table page");
}

static void
recovery_fetch(struct recovery *r, uint32_t n, void (*done)(struct store_fetch *))
{
    r->fetch.runs = r->runs;
    r->fetch.n_runs = n;
    r->fetch.bad = r->bad;
    r->fetch.done = done;
    store_fetch_start(r->s, &r->fetch);
}

static void
recovery_fetch_memory(struct recovery *r, uint32_t n)
{
    free(r->mem);
    free(r->runs);
    free(r->bad);
    r->mem = store_alloc_aligned((size_t)n * CW_BLOCK_SIZE);
    r->runs = store_alloc(n * sizeof(*r->runs));
    r->bad = store_alloc((n / 64 + 1) * 8);
}

static void
checkpoint_tabs(struct recovery *r)
{
    const struct cw_tabdir_entry *dir = (const void *)r->content[CW_PART_TABS];
    uint32_t n = (uint32_t)(r->content_len[CW_PART_TABS] / sizeof(*dir));

    if (r->content_len[CW_PART_TABS] % sizeof(*dir) != 0 || !content_segments(r) ||
        !content_shards(r)) {
        checkpoint_bad(r, "content");
        return;
    }
    if (n == 0) {
        checkpoint_loaded(r);
        return;
    }
    recovery_fetch_memory(r, n);
    for (uint32_t i = 0; i < n; i++) {
        if (!loc_valid(r->s, dir[i].loc, 1)) {
            checkpoint_bad(r, "table directory");
            return;
        }
        r->runs[i] = (struct store_run){
            .off = loc_off(r->s, dir[i].loc),
            .to = r->mem + (size_t)i * CW_BLOCK_SIZE,
            .n_blocks = 1,
            .first = i,
        };
    }
    recovery_fetch(r, n, tabs_on_fetched);
}

static void checkpoint_next_part(struct recovery *r);

static void
part_on_read(struct store_io *io, int res)
{
    struct recovery *r = cw_container_of(io, struct recovery, io);
    const struct cw_root_part *p = &r->root->parts[r->part];
    uint8_t *grown;

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
    store_io_start(r->s, &r->io, CW_DISK_READ, loc_off(r->s, p->loc), r->mem,
                   (uint64_t)n * CW_BLOCK_SIZE);
}

static void
root_on_read(struct store_io *io, int res)
{
    struct recovery *r = cw_container_of(io, struct recovery, io);
    const struct cw_sb_ckpt *c = &r->s->sb.ckpt[r->which];

    if (res != 0 || cw_inspect_root(&r->s->sb, c, r->mem) != NULL) {
        checkpoint_bad(r, "root");
        return;
    }
    r->root = store_alloc(c->len);
    memcpy(r->root, r->mem, c->len);
    r->part = 0;
    checkpoint_next_part(r);
}

static void
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
    store_io_start(r->s, &r->io, CW_DISK_READ, loc_off(r->s, c->loc), r->mem, c->len);
}

/* ---- segments that may hold batches to be replayed ---- */

static void recovery_scan(struct recovery *r);

/* Opened after the freeze, or told by the checkpoint to hold batches behind it? */
static bool
header_is_due(const struct recovery *r, uint32_t no, const struct cw_seg_hdr *h)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];

    if (r->root == NULL || h->seg_seq >= r->root->next_seg_seq)
        return true;
    return (e[no].flags & CW_SEG_REPLAY) && e[no].seg_seq == h->seg_seq;
}

static void
header_take(struct recovery *r, uint32_t no, const struct cw_seg_hdr *h)
{
    struct cw_store *s = r->s;
    struct seg *g = &s->segs[no];

    s->next_seg_seq = cw_max_u64(s->next_seg_seq, h->seg_seq + 1);
    g->flags |= CW_SEG_WRITTEN;
    if (!header_is_due(r, no, h))
        return;
    if (g->seq != h->seg_seq) {
        /* opened after the freeze: what the checkpoint says of it is of its former life, but for
         * what the checkpoint itself wrote there, which was counted from the references */
        if (g->cls != CW_SEG_META)
            s->data_live -= g->live;
        if (h->cls != CW_SEG_META)
            g->live = 0;
        g->seq = h->seg_seq;
    }
    g->cls = h->cls;
    s->n_state[g->state]--;
    g->state = CW_SEG_SEALED;
    s->n_state[g->state]++;
    r->scan_it[no] = true;
    if (h->seg_seq > s->open[h->cls].prev_seq)
        s->open[h->cls].prev_seq = h->seg_seq;
}

/* May it have been opened since the freeze, or hold batches behind it? */
static void
header_suspect(struct recovery *r, uint32_t no, bool unreadable)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];
    struct suspect one = { .no = no, .unreadable = unreadable, .from_seq = 1 };

    if (r->root != NULL) {
        if (e[no].state != CW_SEG_FREE && !(e[no].flags & CW_SEG_REPLAY))
            return;
        one.from_seq = r->root->next_seg_seq;
        one.seq = e[no].flags & CW_SEG_REPLAY ? e[no].seg_seq : 0;
    }
    suspects_add(&r->suspects, one);
}

static void
headers_on_fetched(struct store_fetch *f)
{
    struct recovery *r = cw_container_of(f, struct recovery, fetch);

    for (uint32_t i = 0; i < f->n_runs; i++) {
        const uint8_t *at = r->mem + (size_t)i * CW_BLOCK_SIZE;
        const struct cw_seg_hdr *h = (const void *)at;
        uint32_t no = r->header_at + i;

        if (cw_bit_get(r->bad, i))
            header_suspect(r, no, true);
        else if (segment_hdr_valid(r->s, h, no))
            header_take(r, no, h);
        else if (!cw_block_is_zero(at))
            header_suspect(r, no, false);
    }
    r->header_at += f->n_runs;
    recovery_headers(r);
}

static void
suspects_done(struct suspects *x)
{
    struct recovery *r = cw_container_of(x, struct recovery, suspects);

    r->covered = cw_max_u64(r->covered, x->covered);
    r->s->next_seg_seq = cw_max_u64(r->s->next_seg_seq, x->last_seg_seq + 1);
    recovery_scan(r);
}

/* A segment that was free at the freeze, took pages of the checkpoint itself since and has lost its
 * header is not to be opened again: it holds what the checkpoint refers to. */
static void
headers_keep_referred(struct cw_store *s)
{
    for (uint32_t i = 0; i < s->n_segs; i++) {
        struct seg *g = &s->segs[i];

        if (g->state != CW_SEG_FREE || g->live == 0)
            continue;
        s->n_state[CW_SEG_FREE]--;
        s->n_state[CW_SEG_SEALED]++;
        g->state = CW_SEG_SEALED;
        g->cls = CW_SEG_META;
    }
}

/* What the checkpoint neither refers to nor replays only the one before it can need, and that is
 * forgotten with the checkpoint that ends this recovery. What a tail holds is not: no checkpoint
 * would free it, and they would be taken one after the other for it. */
static void
headers_done(struct recovery *r)
{
    const struct cw_segtab_entry *e = (const void *)r->content[CW_PART_SEGMENTS];
    struct cw_store *s = r->s;

    headers_keep_referred(s);
    for (uint32_t i = 0; e != NULL && i < s->n_segs; i++) {
        const struct seg *g = &s->segs[i];

        if (g->state == CW_SEG_SEALED && g->live == 0 && !segment_is_pinned(g) && !r->scan_it[i] &&
            !(e[i].flags & CW_SEG_REPLAY))
            segment_soon_free(s, i);
    }
    r->suspects.done = suspects_done;
    suspects_look(s, &r->suspects);
}

static void
recovery_headers(struct recovery *r)
{
    struct cw_store *s = r->s;
    uint32_t n = s->n_segs - r->header_at;

    if (r->header_at == 0)
        r->scan_it = store_alloc(s->n_segs * sizeof(*r->scan_it));
    if (n == 0) {
        headers_done(r);
        return;
    }
    n = n < HEADERS_AT_ONCE ? n : HEADERS_AT_ONCE;
    recovery_fetch_memory(r, n);
    for (uint32_t i = 0; i < n; i++)
        r->runs[i] = (struct store_run){
            .off = seg_off(s, r->header_at + i),
            .to = r->mem + (size_t)i * CW_BLOCK_SIZE,
            .n_blocks = 1,
            .first = i,
        };
    recovery_fetch(r, n, headers_on_fetched);
}

/* ---- batches ---- */

static void
scan_take(struct scan *sc)
{
    struct recovery *r = cw_container_of(sc, struct recovery, scan);
    struct seg *g = &r->s->segs[sc->seg];

    if (r->n + sc->n > r->cap) {
        r->cap = (r->n + sc->n) * 2;
        r->b = realloc(r->b, r->cap * sizeof(*r->b));
        cw_assert(r->b != NULL);
    }
    for (uint32_t i = 0; i < sc->n; i++) {
        g->last_batch = cw_max_u64(g->last_batch, sc->b[i].h.batch_seq);
        r->covered = cw_max_u64(r->covered, sc->b[i].h.durable_upto);
        r->b[r->n++] = sc->b[i];
    }
    sc->n = 0; /* their bytes are ours now */
    r->lost = r->lost || sc->lost > 0;
    r->lost_end = r->lost_end || sc->lost_end > 0;
    scan_fini(sc);
    r->scan_seg++;
    recovery_scan(r);
}

static int
batch_order(const void *a, const void *b)
{
    const struct scan_batch *x = a, *y = b;

    if (x->h.batch_seq != y->h.batch_seq)
        return x->h.batch_seq < y->h.batch_seq ? -1 : 1;
    /* the later copy of a batch that had to be written twice comes first */
    return x->h.seg_seq > y->h.seg_seq ? -1 : x->h.seg_seq < y->h.seg_seq;
}

/* RESUME notes of earlier recoveries: batches that were dropped then never come back. */
static void
recovery_find_cuts(struct recovery *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        const struct scan_batch *b = &r->b[i];
        struct rec_view v;

        if (b->h.nrec == 0 ||
            !record_parse(b->bytes + sizeof(b->h), b->bytes + b->used, b->h.payload_bytes, &v) ||
            v.d.type != CW_REC_NOTE || !(v.d.flags & CW_RF_RESUME))
            continue;
        r->cuts = realloc(r->cuts, (r->n_cuts + 1) * sizeof(*r->cuts));
        cw_assert(r->cuts != NULL);
        r->cuts[r->n_cuts++] = (struct cut){
            .from = v.d.seq,
            .to = b->h.batch_seq,
            .damaged = v.d.flags & CW_RF_DAMAGED,
        };
    }
}

static void
recovery_scan(struct recovery *r)
{
    while (r->scan_seg < r->s->n_segs && !r->scan_it[r->scan_seg])
        r->scan_seg++;
    if (r->scan_seg < r->s->n_segs) {
        memset(&r->scan, 0, sizeof(r->scan));
        r->scan.done = scan_take;
        scan_start(r->s, &r->scan, r->scan_seg);
        return;
    }
    if (r->n > 0)
        qsort(r->b, r->n, sizeof(*r->b), batch_order);
    recovery_find_cuts(r);
    memcpy(r->s->chain_csum, r->s->chain_csum_applied, sizeof(r->s->chain_csum));
    r->replaying = true;
    recovery_replay(r->s);
}

/* ---- replay ---- */

static bool
recovery_is_void(const struct recovery *r, uint64_t seq)
{
    for (uint32_t i = 0; i < r->n_cuts; i++) {
        if (seq >= r->cuts[i].from && seq < r->cuts[i].to)
            return true;
    }
    return false;
}

/* Where the log goes on after a cut that began here; 0 if none did. */
static uint64_t
recovery_resume(const struct recovery *r)
{
    uint64_t to = 0;

    for (uint32_t i = 0; i < r->n_cuts; i++) {
        if (r->next >= r->cuts[i].from && r->next < r->cuts[i].to)
            to = cw_max_u64(to, r->cuts[i].to);
    }
    return to;
}

/* The plain blocks that lie in one place, against their checksums. */
static bool
place_matches(struct cw_store *s, const struct rec_view *v, uint64_t loc, const uint8_t *payload,
              uint32_t *csum)
{
    uint32_t n = cw_loc_kind(loc) == CW_MAP_COMP ? cw_loc_n(loc) : 1;
    const uint64_t none[1] = { 0 };
    const uint8_t *plain = payload;

    if (cw_loc_kind(loc) == CW_MAP_COMP) {
        struct extent whole = { .n = n };

        plain = extent_plain(s, &whole, loc, payload, none);
        if (plain == NULL)
            return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        while (record_left_out(v, *csum))
            (*csum)++;
        if (cw_hash_block(plain + (size_t)i * CW_BLOCK_SIZE) != v->csums[(*csum)++])
            return false;
    }
    return true;
}

static bool
payload_matches(struct cw_store *s, const struct scan_batch *b, const uint8_t *payload)
{
    const uint8_t *at = b->bytes + sizeof(b->h), *end = b->bytes + b->used;
    struct rec_view v;

    for (uint32_t i = 0; i < b->h.nrec; i++) {
        struct rec_places places;
        uint32_t csum = 0;

        if (!record_parse(at, end, b->h.payload_bytes, &v))
            return false;
        places = record_places(&v, 0, 0);
        for (uint32_t k = 0; k < v.n_payload; k++) {
            uint64_t loc = record_place_next(&places);

            if (cw_loc_idx(loc) == 0 &&
                !place_matches(s, &v, loc, payload + cw_loc_off(loc), &csum))
                return false;
        }
        at = v.next;
    }
    return true;
}

static void
payload_on_read(struct store_io *io, int res)
{
    struct recovery *r = cw_container_of(io, struct recovery, io);
    const struct scan_batch *b = &r->b[r->at];

    if (res != 0)
        r->unreadable = b->h.batch_seq;
    /* the header too: a summary may tell of a batch that never got to its place */
    if (res == 0 && memcmp(r->mem, b->bytes, b->used) == 0 &&
        payload_matches(r->s, b, r->mem + b->h.hdr_bytes)) {
        r->payload_ok = true;
    } else {
        r->at++; /* a second copy of the batch may follow; else it is missing */
        r->s->recovered.dropped_batches++;
    }
    recovery_replay(r->s);
}

static void
payload_check(struct recovery *r)
{
    const struct scan_batch *b = &r->b[r->at];

    free(r->mem);
    r->mem = store_alloc_aligned((size_t)b->h.hdr_bytes + b->h.payload_bytes);
    r->io.done = payload_on_read;
    r->io.twice = true;
    store_io_start(r->s, &r->io, CW_DISK_READ, seg_off(r->s, b->seg) + b->off, r->mem,
                   (uint64_t)b->h.hdr_bytes + b->h.payload_bytes);
}

static void recovery_end(struct recovery *r);

static void
batch_replayed(struct recovery *r)
{
    struct cw_store *s = r->s;
    const struct scan_batch *b = &r->b[r->at];
    uint8_t cls = s->segs[b->seg].cls;

    s->chain_csum_applied[cls] = batch_chain(b->h.batch_seq, b->bytes, b->used);
    s->applied_upto = b->h.batch_seq;
    s->recovered.replayed_batches++;
    s->recovered.replayed_records += b->h.nrec;
    r->next = b->h.batch_seq + 1;
    r->payload_ok = false;
}

/* The next batch to be looked at, NULL at a gap that no cut explains. */
static const struct scan_batch *
replay_find(struct recovery *r)
{
    for (;;) {
        const struct scan_batch *b;
        uint64_t resume;

        while (r->at < r->n &&
               (r->b[r->at].h.batch_seq < r->next || recovery_is_void(r, r->b[r->at].h.batch_seq)))
            r->at++;
        b = r->at < r->n ? &r->b[r->at] : NULL;
        if (b != NULL && b->h.batch_seq == r->next) {
            if (b->h.prev_hdr_csum == r->s->chain_csum_applied[r->s->segs[b->seg].cls])
                return b;
            r->at++; /* not the successor of what was replayed */
            continue;
        }
        resume = recovery_resume(r);
        if (resume == 0)
            return NULL;
        r->next = resume;
    }
}

static void
recovery_replay(struct cw_store *s)
{
    struct recovery *r = s->recovery;

    for (;;) {
        const struct scan_batch *b;

        if (s->apply.active) {
            if (!apply_run(s))
                return;
            batch_replayed(r);
            r->at++;
            continue;
        }
        b = replay_find(r);
        if (b == NULL) {
            recovery_end(r);
            return;
        }
        if (!r->payload_ok && b->h.batch_seq > r->covered) {
            payload_check(r);
            return;
        }
        apply_begin(s, NULL, b->bytes, b->used, b->seg, b->off);
        s->apply.resume = recovery_replay;
    }
}

/* ---- the end ---- */

static void
recovery_on_checkpoint(struct cw_store *s, int res)
{
    struct recovery *r = s->recovery;

    if (res != 0) {
        recovery_fail(r, res);
        return;
    }
    s->recovered.took_ns = cw_now_ns(s->env) - r->began_ns;
    recovery_free(s);
    s->state = STORE_OPEN;
    s->was_full = s->stats.full = space_is_full(s);
    store_finish(s, 0);
}

/* Batches [next, ..) do not exist from now on. */
static void
recovery_cut(struct recovery *r, bool damaged)
{
    struct cw_store *s = r->s;
    struct rec_out note = {
        .d = { .type = CW_REC_NOTE, .flags = CW_RF_RESUME, .seq = r->next },
    };
    uint64_t last = cw_max_u64(cw_max_u64(r->covered, r->suspects.last_batch), r->next);
    struct batch *b;

    if (r->n > 0)
        last = cw_max_u64(last, r->b[r->n - 1].h.batch_seq);
    s->next_batch = last + 1;
    s->applied_upto = s->noted_upto = last;
    s->durable_upto = r->next - 1; /* whoever misses our first batch must not look for the others */
    if (damaged)
        note.d.flags |= CW_RF_DAMAGED;
    memcpy(s->chain_csum, s->chain_csum_applied, sizeof(s->chain_csum));
    b = batch_room(s, CW_SEG_META, batch_rec_len(&note), 0, 0);
    batch_add(b, &note);
}

static void
recovery_damage(struct recovery *r)
{
    struct cw_store *s = r->s;

    store_log(s, CW_LOG_ERROR,
              "batch %llu is missing but was durable (up to %llu), or cannot be read: "
              "all copies are damaged",
              (unsigned long long)r->next, (unsigned long long)r->covered);
    CW_LIST_EACH (it, &s->shards)
        cw_list_entry(it, struct cw_store_shard, link)->info.damaged = true;
}

/* May the batch at which the log ends here have been acknowledged, and what tells of it, or the
 * batch itself, be in a place that cannot be read? A torn write is read, and is not right. */
static bool
recovery_lost(const struct recovery *r, bool gap)
{
    if (r->which == 0 && (r->s->sb.flags & CW_SB_CLEAN))
        return false;
    return r->unreadable == r->next || r->suspects.lost || r->lost_end || (r->lost && gap);
}

/* Is there room to count on? Else what is written now could not be read any more. */
static bool
recovery_numbers_ok(const struct cw_store *s)
{
    uint64_t max = cw_max_u64(s->next_batch, s->next_seg_seq);

    max = cw_max_u64(max, s->sb.sb_seq);
    for (size_t i = 0; i < CW_LEN(s->sb.ckpt); i++)
        max = cw_max_u64(max, s->sb.ckpt[i].number);
    return max < STORE_SEQ_MAX - STORE_SEQ_ROOM;
}

static void
recovery_end(struct recovery *r)
{
    struct cw_store *s = r->s;
    uint64_t beyond = 0;
    bool damaged;

    for (uint32_t i = r->at; i < r->n; i++)
        beyond += r->b[i].h.batch_seq >= r->next && !recovery_is_void(r, r->b[i].h.batch_seq);
    s->recovered.dropped_batches += beyond;
    damaged = r->covered >= r->next || recovery_lost(r, beyond > 0);
    if (damaged)
        recovery_damage(r);
    CW_LIST_EACH (it, &s->shards) {
        struct cw_store_shard *sh = cw_list_entry(it, struct cw_store_shard, link);

        sh->info.last_gen = sh->info.durable_gen;
        sh->info.last_seq = sh->info.durable_seq;
        s->recovered.damaged_copies += sh->info.damaged;
    }
    s->recovered.clean = s->sb.flags & CW_SB_CLEAN;
    s->recovered.bad_blocks = s->stats.csum_errors;
    segindex_build(s);
    recovery_cut(r, damaged);
    if (!recovery_numbers_ok(s)) {
        store_log(s, CW_LOG_ERROR, "its numbers end here: it was not written by this program");
        recovery_fail(r, CW_STORE_E_UNREADABLE);
        return;
    }
    s->ckpt.wanted = true;
    s->ckpt.done = recovery_on_checkpoint;
    ckpt_step(s);
}

static void
recovery_on_sb(struct cw_store *s, int res)
{
    struct recovery *r = s->recovery;

    if (res != 0) {
        recovery_fail(r, res);
        return;
    }
    s->n_segs = s->sb.seg_count;
    s->seg_bytes = s->sb.seg_bytes;
    s->segs = store_alloc(s->n_segs * sizeof(*s->segs));
    recovery_checkpoint(r);
}

void
recovery_start(struct cw_store *s)
{
    struct recovery *r = store_alloc(sizeof(*r));

    r->s = s;
    r->began_ns = cw_now_ns(s->env);
    s->recovery = r;
    sb_read(s, recovery_on_sb);
}
