/* tool/check-segments.c - each segment in use, read as a whole: what lies in it, and whether every
 * entry of the map finds there what it says.
 *
 *   segments, as many at once as memory holds the references of
 *     -> walk the map, keep what refers to them, sort -> read each, inspect it, follow them
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "daemon/tool/check.h"
#include "daemon/tool/words.h"

#define REFS_AT_ONCE (8u * 1024u * 1024u)
#define PIECE_BYTES CW_MIB

struct ref {
    uint64_t loc, xxh3;
    uint32_t lba, layer;
};

/* Blocks of one record that are damaged and that nothing refers to: told of together. */
struct dead {
    uint64_t batch_seq;
    uint32_t rec, off, n; /* n 0: none */
    const char *type, *why;
};

struct pass {
    struct cw_check *c;
    uint32_t first, end; /* segments [first, end) */
    struct ref *refs;
    uint64_t n, cap;

    /* places of pages, tables, parts and roots, as block numbers of the disk: sorted */
    uint64_t *meta;
    uint64_t n_meta, meta_cap;

    /* the segment at hand */
    uint32_t no;
    uint8_t *bytes;
    uint64_t *unreadable, *live, *by_map; /* bit per 4 KiB */
    struct cw_compressor *comp;
    uint8_t *scratch;
    struct dead dead;
};

/* ---- what refers to blocks of the store's own ---- */

static void
meta_add(struct pass *p, uint64_t loc, uint64_t bytes)
{
    uint64_t at = (cw_inspect_seg_off(p->c->now.sb, cw_loc_seg(loc)) + cw_loc_off(loc)) / 4096;

    for (uint64_t i = 0; i < cw_div_up(bytes, 4096); i++) {
        if (p->n_meta == p->meta_cap) {
            p->meta_cap = p->meta_cap == 0 ? 4096 : p->meta_cap * 2;
            p->meta = realloc(p->meta, p->meta_cap * sizeof(*p->meta));
            cw_assert(p->meta != NULL);
        }
        p->meta[p->n_meta++] = at + i;
    }
}

static void
meta_checkpoint(struct pass *p, const struct cw_ckpt *k)
{
    for (uint32_t i = 0; k->root != NULL && i < k->root->n_parts; i++)
        meta_add(p, k->root->parts[i].loc, k->root->parts[i].bytes);
    if (k->root != NULL)
        meta_add(p, k->at.loc, k->at.len);
    for (uint32_t i = 0; i < k->n_tabs; i++) {
        meta_add(p, k->tabs[i].dir.loc, 4096);
        for (uint32_t n = 0; k->tabs[i].page != NULL && n < CW_TAB_CHUNKS; n++) {
            if (k->tabs[i].page->e[n].page_loc != 0)
                meta_add(p, k->tabs[i].page->e[n].page_loc, 4096);
        }
    }
}

static int
u64_order(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void
meta_collect(struct pass *p)
{
    struct cw_ckpt older;

    meta_checkpoint(p, &p->c->now);
    if (cw_ckpt_load(p->c->st, p->c->side, 1, NULL, &older) && !older.empty)
        meta_checkpoint(p, &older);
    cw_ckpt_free(&older);
    if (p->n_meta > 0)
        qsort(p->meta, p->n_meta, sizeof(*p->meta), u64_order);
}

/* ---- what refers to data ---- */

static void
pass_page(void *user, const struct cw_walk_page *w)
{
    struct pass *p = user;

    for (uint32_t i = 0; w->page != NULL && i < CW_CHUNK_BLOCKS; i++) {
        const struct cw_map_entry *e = &w->page->e[i];
        enum cw_map_kind kind = cw_loc_kind(e->loc);
        uint32_t seg = cw_loc_seg(e->loc);

        if ((kind != CW_MAP_RAW && kind != CW_MAP_COMP) || seg < p->first || seg >= p->end)
            continue;
        cw_assert(p->n < p->cap); /* they were counted */
        p->refs[p->n++] = (struct ref){
            .loc = e->loc, .xxh3 = e->xxh3, .lba = w->chunk * CW_CHUNK_BLOCKS + i, .layer = w->layer
        };
    }
}

static int
ref_order(const void *a, const void *b)
{
    const struct ref *x = a, *y = b;
    uint64_t px = cw_loc_place(x->loc), py = cw_loc_place(y->loc);

    if (px != py)
        return px < py ? -1 : 1;
    /* the owner first */
    return (int)((x->loc & CW_LOC_SHARED) != 0) - (int)((y->loc & CW_LOC_SHARED) != 0);
}

static void
pass_collect(struct pass *p)
{
    struct cw_walk w = {
        .st = p->c->st, .side = p->c->side, .c = &p->c->now, .page = pass_page, .user = p
    };

    p->n = 0;
    for (uint32_t i = p->first; i < p->end; i++)
        p->n += p->c->refs[i];
    p->cap = p->n;
    p->n = 0;
    free(p->refs);
    p->refs = cw_tool_alloc((p->cap + 1) * sizeof(*p->refs));
    if (p->cap > 0)
        cw_walk(&w);
    if (p->n > 0)
        qsort(p->refs, p->n, sizeof(*p->refs), ref_order);
}

/* ---- following them ---- */

static struct cw_report_item
ref_item(const struct pass *p, const struct ref *r, enum cw_report_kind kind)
{
    return (struct cw_report_item){ .kind = kind,
                                    .seg = cw_loc_seg(r->loc),
                                    .off = cw_loc_off(r->loc),
                                    .shard = cw_ckpt_shard_id(&p->c->now, r->layer) };
}

static void
ref_found(const struct pass *p, const struct ref *r, enum cw_report_kind kind, const char *why)
{
    const struct cw_layer_bytes *l = &p->c->now.layers[r->layer];
    char snap[40] = "";

    if (l->snap != 0)
        snprintf(snap, sizeof(snap), " of snapshot %" PRIu64, l->snap);
    cw_report_add(p->c->rep, ref_item(p, r, kind), "chunk %u block %u%s: %s",
                  r->lba / CW_CHUNK_BLOCKS, r->lba % CW_CHUNK_BLOCKS, snap, why);
}

static bool
any_bit(const uint64_t *bits, uint32_t off, uint32_t len)
{
    for (uint32_t i = off / 4096; i < cw_div_up((uint64_t)off + len, 4096); i++) {
        if (cw_bit_get(bits, i))
            return true;
    }
    return false;
}

/* The block that refs[i] names, plain; NULL with *ret_why. Blocks of one place follow each other:
 * it is unpacked once. */
static const uint8_t *
ref_plain(struct pass *p, const struct ref *r, const struct ref *before, const uint8_t *plain,
          const char **ret_why)
{
    uint32_t off = cw_loc_off(r->loc), len = cw_loc_len512(r->loc) * CW_SECTOR;

    if (cw_loc_kind(r->loc) == CW_MAP_RAW)
        len = CW_BLOCK_SIZE;
    *ret_why = "it cannot be read";
    if (any_bit(p->unreadable, off, len))
        return NULL;
    *ret_why = "it is not what was packed there";
    if (before != NULL && cw_loc_kind(r->loc) == CW_MAP_COMP &&
        cw_loc_extent(before->loc) == cw_loc_extent(r->loc) &&
        cw_loc_n(before->loc) == cw_loc_n(r->loc))
        return plain;
    return cw_inspect_plain(p->comp, r->loc, p->bytes + off, p->scratch);
}

/* One owner per place, whose family all others are of; places do not overlap. */
static void
ref_owner(struct pass *p, const struct ref *r, const struct ref *before, const struct ref *owner)
{
    bool shared = r->loc & CW_LOC_SHARED;
    bool same = before != NULL && cw_loc_place(before->loc) == cw_loc_place(r->loc);
    const struct cw_layer_bytes *layers = p->c->now.layers;

    if (same && !shared)
        ref_found(p, r, CW_REPORT_OWNER, "its place has two owners");
    if (!same && shared && p->c->map_whole) /* else a page that was lost may own it */
        ref_found(p, r, CW_REPORT_OWNER, "its place is shared and has no owner");
    if (shared && owner != NULL &&
        ((layers[owner->layer].id ^ layers[r->layer].id) & CW_LAYER_FAMILY) != 0)
        ref_found(p, r, CW_REPORT_OWNER, "its place is owned by a layer of another family");
    if (!same && before != NULL && cw_loc_extent(before->loc) != cw_loc_extent(r->loc) &&
        cw_loc_off(before->loc) + cw_loc_len512(before->loc) * CW_SECTOR > cw_loc_off(r->loc))
        ref_found(p, r, CW_REPORT_OWNER, "its place overlaps another one");
}

static void
refs_follow(struct pass *p, const struct ref *r, uint64_t n)
{
    const struct ref *before = NULL, *owner = NULL;
    const uint8_t *plain = NULL;

    for (uint64_t i = 0; i < n; before = &r[i], i++) {
        const char *why;
        const uint8_t *block;

        if (before == NULL || cw_loc_place(before->loc) != cw_loc_place(r[i].loc))
            owner = r[i].loc & CW_LOC_SHARED ? NULL : &r[i];
        ref_owner(p, &r[i], before, owner);
        plain = ref_plain(p, &r[i], before, plain, &why);
        if (plain == NULL) {
            ref_found(p, &r[i], CW_REPORT_BLOCK, why);
            continue;
        }
        block = plain + (cw_loc_kind(r[i].loc) == CW_MAP_COMP
                             ? (size_t)cw_loc_idx(r[i].loc) * CW_BLOCK_SIZE
                             : 0);
        if (cw_hash_block(block) != r[i].xxh3)
            ref_found(p, &r[i], CW_REPORT_BLOCK, "it does not match its checksum in the map");
    }
    p->c->n_blocks += n;
}

/* ---- a segment ---- */

static void
segment_read(struct pass *p)
{
    const struct cw_sb *sb = p->c->now.sb;
    uint32_t n = (uint32_t)(sb->seg_bytes / PIECE_BYTES);
    struct cw_stand_read r[CW_SEG_BYTES_MAX / PIECE_BYTES];
    uint64_t off = cw_inspect_seg_off(sb, p->no);

    memset(p->unreadable, 0, sb->seg_bytes / 4096 / 8);
    for (uint32_t i = 0; i < n; i++)
        r[i] = (struct cw_stand_read){ .off = off + i * PIECE_BYTES,
                                       .len = PIECE_BYTES,
                                       .to = p->bytes + i * PIECE_BYTES };
    if (cw_stand_read(p->c->st, p->c->side, r, n) == 0)
        return;
    for (uint32_t i = 0; i < sb->seg_bytes / 4096; i++) {
        uint8_t *to = p->bytes + (size_t)i * 4096;

        if (r[i / (PIECE_BYTES / 4096)].res == 0 ||
            cw_stand_read_one(p->c->st, p->c->side, off + i * UINT64_C(4096), to, 4096) == 0)
            continue;
        cw_bit_set(p->unreadable, i);
        memset(to, 0, 4096);
    }
}

static void
bits_mark(uint64_t *bits, uint32_t off, uint32_t len)
{
    for (uint32_t i = off / 4096; i < cw_div_up((uint64_t)off + len, 4096); i++)
        cw_bit_set(bits, i);
}

/* Does the record of a tail lie where it says? ret: its batch. */
static bool
tail_is_there(const struct pass *p, const struct cw_tail_bytes *t, struct cw_batch_hdr *ret)
{
    const struct cw_sb *sb = p->c->now.sb;
    const uint8_t *hdr = p->bytes + t->off, *at = hdr + sizeof(*ret);
    struct cw_inspect_rec r = { 0 };
    uint32_t used;

    if (cw_inspect_batch(sb, hdr, sb->seg_bytes - t->off, t->off, &used) != NULL)
        return false;
    memcpy(ret, hdr, sizeof(*ret));
    if (ret->batch_seq != t->batch_seq || t->rec >= ret->nrec)
        return false;
    for (uint32_t i = 0; i <= t->rec; i++) {
        if (cw_inspect_rec(at, hdr + ret->hdr_bytes, ret->payload_bytes, &r) != NULL)
            return false;
        at += r.bytes;
    }
    return r.d.seq == t->seq && r.d.gen == t->gen && r.d.lba == t->lba && r.d.nblk == t->nblk;
}

/* Records that a takeover may ask for: of them the whole batch. */
static void
tail_mark(struct pass *p, const struct cw_inspect_shard *sh)
{
    for (uint32_t i = 0; i < sh->h.n_tail; i++) {
        struct cw_report_item item = { .kind = CW_REPORT_TAIL, .shard = sh->rec.shard };
        struct cw_tail_bytes t;
        struct cw_batch_hdr h;

        memcpy(&t, sh->tail + i * sizeof(t), sizeof(t));
        if (t.seg != p->no)
            continue;
        item.seg = t.seg;
        item.off = t.off;
        if (tail_is_there(p, &t, &h))
            bits_mark(p->live, t.off, h.hdr_bytes + h.payload_bytes);
        else
            cw_report_add(p->c->rep, item,
                          "record %u.%" PRIu64 " is not in batch %" PRIu64 " there", t.gen, t.seq,
                          t.batch_seq);
    }
}

static void
segment_mark(struct pass *p, const struct ref *r, uint64_t n)
{
    const struct cw_sb *sb = p->c->now.sb;
    uint64_t first = cw_inspect_seg_off(sb, p->no) / 4096, end = first + sb->seg_bytes / 4096;
    uint64_t lo = 0, hi = p->n_meta;

    memset(p->live, 0, sb->seg_bytes / 4096 / 8);
    memset(p->by_map, 0, sb->seg_bytes / 4096 / 8);
    for (uint64_t i = 0; i < n; i++)
        bits_mark(p->by_map, cw_loc_off(r[i].loc), cw_loc_len512(r[i].loc) * CW_SECTOR);
    for (uint32_t i = 0; i < sb->seg_bytes / 4096 / 64; i++)
        p->live[i] = p->by_map[i];
    while (lo < hi) {
        uint64_t mid = (lo + hi) / 2;

        if (p->meta[mid] < first)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < p->n_meta && p->meta[lo] < end; lo++)
        cw_bit_set(p->live, (uint32_t)(p->meta[lo] - first));
    for (uint32_t i = 0; i < p->c->now.n_shards; i++)
        tail_mark(p, &p->c->now.shards[i]);
}

static bool
segment_is_live(void *user, uint32_t off, uint32_t len)
{
    const struct pass *p = user;

    return any_bit(p->live, off, len);
}

static void
dead_tell(struct pass *p)
{
    const struct dead *d = &p->dead;

    if (d->n > 0)
        cw_report_add(p->c->rep,
                      (struct cw_report_item){
                          .kind = CW_REPORT_SEGMENT, .note = true, .seg = p->no, .off = d->off },
                      "batch %" PRIu64 " record %u (%s), %u places that nothing refers to: %s",
                      d->batch_seq, d->rec, d->type, d->n, d->why);
    p->dead.n = 0;
}

static void
dead_found(struct pass *p, const struct cw_inspect_found *f)
{
    if (p->dead.n > 0 && (p->dead.batch_seq != f->batch_seq || p->dead.rec != f->rec))
        dead_tell(p);
    if (p->dead.n++ == 0)
        p->dead = (struct dead){ .batch_seq = f->batch_seq,
                                 .rec = f->rec,
                                 .off = f->off,
                                 .n = 1,
                                 .type = cw_inspect_rec_name(f->d->type),
                                 .why = f->what };
}

/* Every page, table and part was read by who refers to it. */
static bool
is_of_a_checkpoint(const struct cw_inspect_found *f)
{
    return f->level == CW_INSPECT_FOUND && cw_rec_is_meta(f->d->type);
}

static void
payload_found(struct pass *p, const struct cw_inspect_found *f)
{
    if (any_bit(p->by_map, f->off, f->len) || is_of_a_checkpoint(f))
        return; /* told by whoever refers to it */
    if (f->level == CW_INSPECT_NOTE) {
        dead_found(p, f);
        return;
    }
    cw_report_add(p->c->rep,
                  (struct cw_report_item){ .kind = CW_REPORT_TAIL, .seg = p->no, .off = f->off },
                  "batch %" PRIu64 " record %u (%s) block %" PRIu64 ": %s", f->batch_seq, f->rec,
                  cw_inspect_rec_name(f->d->type), f->lba, f->what);
}

static void
segment_found(void *user, const struct cw_inspect_found *f)
{
    struct pass *p = user;
    struct cw_report_item item = {
        .kind = CW_REPORT_SEGMENT, .note = f->level == CW_INSPECT_NOTE, .seg = p->no, .off = f->off
    };

    if (f->d != NULL) {
        payload_found(p, f);
        return;
    }
    if (f->batch_seq != 0)
        cw_report_add(p->c->rep, item, "batch %" PRIu64 ": %s", f->batch_seq, f->what);
    else if (f->off == 0)
        cw_report_add(p->c->rep, item, "its header: %s", f->what);
    else
        cw_report_add(p->c->rep, item, "%u bytes: %s", f->len, f->what);
}

static void
segment_check(struct pass *p, const struct ref *r, uint64_t n)
{
    struct cw_inspect_seg g = {
        .sb = p->c->now.sb,
        .no = p->no,
        .seg_seq = p->c->now.segs[p->no].seg_seq,
        .bytes = p->bytes,
        .unreadable = p->unreadable,
        .c = p->comp,
        .is_live = segment_is_live,
        .found = segment_found,
        .user = p,
    };

    segment_read(p);
    segment_mark(p, r, n);
    cw_inspect_segment(&g);
    dead_tell(p);
    refs_follow(p, r, n);
    p->c->n_segments++;
    p->c->n_batches += g.n_batches;
    p->c->n_records += g.n_records;
}

/* ---- all of them ---- */

static void
pass_segments(struct pass *p)
{
    const struct cw_ckpt *k = &p->c->now;
    uint64_t at = 0;

    for (p->no = p->first; p->no < p->end; p->no++) {
        uint64_t n = p->c->refs[p->no];

        cw_tool_progress(p->c->t, "segments", p->no + 1, k->sb->seg_count);
        if (n > 0 || k->segs[p->no].state != CW_SEG_FREE)
            segment_check(p, p->refs + at, n);
        at += n;
    }
}

void
cw_check_segments(struct cw_check *c)
{
    const struct cw_sb *sb = c->now.sb;
    size_t bits = sb->seg_bytes / 4096 / 8;
    struct pass p = {
        .c = c,
        .bytes = cw_tool_alloc_aligned(sb->seg_bytes),
        .unreadable = cw_tool_alloc(bits),
        .live = cw_tool_alloc(bits),
        .by_map = cw_tool_alloc(bits),
        .comp = cw_compressor_new(),
        .scratch = cw_tool_alloc(CW_INSPECT_RUN_BYTES),
    };

    cw_assert(p.comp != NULL);
    meta_collect(&p);
    for (p.first = 0; p.first < sb->seg_count; p.first = p.end) {
        uint64_t n = c->refs[p.first];

        for (p.end = p.first + 1; p.end < sb->seg_count && n < REFS_AT_ONCE; p.end++)
            n += c->refs[p.end];
        pass_collect(&p);
        pass_segments(&p);
    }
    free(p.refs);
    free(p.meta);
    free(p.bytes);
    free(p.unreadable);
    free(p.live);
    free(p.by_map);
    cw_compressor_free(p.comp);
    free(p.scratch);
}
