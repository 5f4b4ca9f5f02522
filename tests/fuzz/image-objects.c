/* Where in an image which decoder reads, and how the checksums there are made to fit. Whatever is
 * read here may be nonsense: places outside the image are left alone. */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/store/inspect.h"
#include "tests/fuzz/image.h"

#define BATCHES_MAX 4096u
#define TABS_MAX 256u

/* ---- places ---- */

uint8_t *
image_segment(struct image *im, uint32_t seg)
{
    return im->now + CW_SEG_BASE + (uint64_t)seg * im->seg_bytes;
}

static const struct cw_seg_hdr *
segment_hdr(struct image *im, uint32_t seg)
{
    return (const void *)image_segment(im, seg);
}

uint8_t *
image_at(struct image *im, uint64_t loc, uint64_t len)
{
    uint64_t off = cw_loc_off(loc);

    if (cw_loc_seg(loc) >= im->n_segs || off % 4096 != 0 || off + len > im->seg_bytes)
        return NULL;
    return image_segment(im, cw_loc_seg(loc)) + off;
}

uint8_t *
image_summary(struct image *im, uint32_t seg, struct cw_sum_footer *ret)
{
    uint8_t *end = image_segment(im, seg) + im->seg_bytes;

    memcpy(ret, end - sizeof(*ret), sizeof(*ret));
    if (ret->magic != CW_SUM_MAGIC || ret->bytes > im->seg_bytes - 8192 ||
        ret->seg_seq != segment_hdr(im, seg)->seg_seq) /* of the segment's former life */
        return NULL;
    return end - cw_align_up(ret->bytes + sizeof(*ret), 4096);
}

struct cw_sb *
image_slot(struct image *im, uint32_t slot)
{
    return (void *)(im->now + cw_inspect_sb_off(im->disk.bytes, slot));
}

struct cw_root *
image_root(struct image *im, uint32_t slot, uint32_t c)
{
    const struct cw_sb_ckpt *k = &image_slot(im, slot)->ckpt[c];
    struct cw_root *r;

    if (k->len < CW_BLOCK_SIZE || k->len % CW_BLOCK_SIZE != 0 || k->len > CW_BATCH_PAYLOAD_MAX)
        return NULL;
    r = (void *)image_at(im, k->loc, k->len);
    return r == NULL || r->magic != CW_ROOT_MAGIC ? NULL : r;
}

static uint32_t
root_n_parts(const struct cw_root *r, uint32_t len)
{
    return (uint32_t)cw_min_u64(r->n_parts, (len - sizeof(*r)) / sizeof(r->parts[0]));
}

uint8_t *
image_part(struct image *im, const struct cw_root_part *p)
{
    return p->bytes > CW_BATCH_PAYLOAD_MAX ? NULL : image_at(im, p->loc, p->bytes);
}

/* ---- batches ---- */

static uint32_t
batches_of_summary(struct image *im, uint32_t seg, struct image_batch *to, uint32_t max)
{
    struct cw_sum_footer f;
    uint8_t *sum = image_summary(im, seg, &f);
    uint32_t n = 0;

    for (uint32_t at = 0; sum != NULL && n < max;) {
        struct cw_sum_entry e;

        if (f.bytes - at < sizeof(e) + sizeof(struct cw_batch_hdr))
            break;
        memcpy(&e, sum + at, sizeof(e));
        at += (uint32_t)sizeof(e);
        if (e.used < sizeof(struct cw_batch_hdr) || e.used % 8 != 0 || e.used > f.bytes - at)
            break;
        to[n++] = (struct image_batch){ .hdr = sum + at, .used = e.used, .in_summary = true };
        at += e.used;
    }
    return n;
}

static uint32_t
batches_of_walk(struct image *im, uint32_t seg, struct image_batch *to, uint32_t max)
{
    uint8_t *from = image_segment(im, seg);
    uint32_t n = 0;

    for (uint32_t at = 4096; at < im->seg_bytes && n < max;) {
        struct cw_batch_hdr h;
        uint32_t used;

        memcpy(&h, from + at, sizeof(h));
        if (h.magic != CW_BATCH_MAGIC || h.hdr_bytes == 0 || h.hdr_bytes % 4096 != 0 ||
            h.hdr_bytes > CW_BATCH_HDR_MAX || h.payload_bytes % 4096 != 0 ||
            (uint64_t)at + h.hdr_bytes + h.payload_bytes > im->seg_bytes) {
            at += 4096;
            continue;
        }
        if (!record_check_all(&h, from + at, h.hdr_bytes, &used))
            used = h.hdr_bytes;
        to[n++] = (struct image_batch){ .hdr = from + at, .used = used, .hdr_bytes = h.hdr_bytes };
        at += h.hdr_bytes + h.payload_bytes;
    }
    return n;
}

uint32_t
image_batches(struct image *im, uint32_t seg, struct image_batch *to, uint32_t max)
{
    uint8_t cls = segment_hdr(im, seg)->cls;
    uint32_t n;

    if (segment_hdr(im, seg)->magic != CW_SEG_MAGIC || cls >= CW_SEG_CLASSES)
        return 0;
    n = batches_of_summary(im, seg, to, max);
    if (n == 0)
        n = batches_of_walk(im, seg, to, max);
    for (uint32_t i = 0; i < n; i++)
        to[i].cls = cls;
    return n;
}

/* ---- sealing ---- */

static void
summary_put(uint8_t *sum, uint32_t *len, const uint8_t *seg, const struct image_batch *b)
{
    struct cw_sum_entry e = { .off = (uint32_t)(b->hdr - seg), .used = b->used };

    memcpy(sum + *len, &e, sizeof(e));
    memcpy(sum + *len + sizeof(e), b->hdr, b->used);
    *len += (uint32_t)sizeof(e) + b->used;
}

void
image_seal(struct image *im, uint32_t seg)
{
    static struct image_batch b[BATCHES_MAX];
    static uint8_t sum[CW_MIB];
    uint32_t n = image_batches(im, seg, b, BATCHES_MAX), len = 0;
    const struct cw_seg_hdr *h = segment_hdr(im, seg);
    uint8_t *end = image_segment(im, seg) + im->seg_bytes;
    struct cw_sum_footer f;

    if (n == 0 || b[0].in_summary)
        return;
    for (uint32_t i = 0; i < n; i++) {
        cw_assert(len + sizeof(struct cw_sum_entry) + b[i].used <= sizeof(sum));
        summary_put(sum, &len, image_segment(im, seg), &b[i]);
    }
    f = (struct cw_sum_footer){
        .magic = CW_SUM_MAGIC,
        .format_id = h->format_id,
        .seg_seq = h->seg_seq,
        .seg_no = seg,
        .n_batches = n,
        .bytes = len,
    };
    f.csum = cw_hash2(sum, len, &f, offsetof(struct cw_sum_footer, csum));
    memcpy(end - sizeof(f), &f, sizeof(f));
    memcpy(image_summary(im, seg, &f), sum, len);
}

/* ---- repair ---- */

static int
batch_order(const void *a, const void *b)
{
    const struct cw_batch_hdr *x = (const void *)((const struct image_batch *)a)->hdr;
    const struct cw_batch_hdr *y = (const void *)((const struct image_batch *)b)->hdr;

    if (x->batch_seq != y->batch_seq)
        return x->batch_seq < y->batch_seq ? -1 : 1;
    return x->seg_seq > y->seg_seq ? -1 : x->seg_seq < y->seg_seq;
}

static void
put_csum(struct image *im, void *at, uint64_t csum)
{
    uint64_t was;

    memcpy(&was, at, sizeof(was));
    if (was == csum)
        return;
    image_touch(im, at, sizeof(csum));
    memcpy(at, &csum, sizeof(csum));
}

/* The newest slot's newest checkpoint: where a replay starts. */
static const struct cw_root *
repair_start(struct image *im, uint64_t *ret_from)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < CW_SB_SLOTS; i++) {
        if (image_slot(im, i)->magic == CW_SB_MAGIC &&
            image_slot(im, i)->sb_seq > image_slot(im, best)->sb_seq)
            best = i;
    }
    *ret_from = image_slot(im, best)->ckpt[0].replay_batch;
    return image_root(im, best, 0);
}

static void
repair_chain(struct image *im, struct image_batch *b, uint32_t n)
{
    uint64_t chain[CW_SEG_CLASSES] = { 0 }, from;
    const struct cw_root *root = repair_start(im, &from);

    if (root != NULL)
        memcpy(chain, root->chain_csum, sizeof(chain));
    qsort(b, n, sizeof(*b), batch_order);
    for (uint32_t i = 0; i < n; i++) {
        struct cw_batch_hdr *h = (void *)b[i].hdr;

        if (h->batch_seq < from)
            continue;
        put_csum(im, &h->prev_hdr_csum, chain[b[i].cls]);
        if (i + 1 == n ||
            ((const struct cw_batch_hdr *)(void *)b[i + 1].hdr)->batch_seq != h->batch_seq)
            chain[b[i].cls] = batch_chain(h->batch_seq, b[i].hdr, b[i].used);
    }
}

static void
repair_batches(struct image *im)
{
    static struct image_batch b[BATCHES_MAX];
    uint32_t n = 0;

    for (uint32_t i = 0; i < im->n_segs; i++)
        n += image_batches(im, i, b + n, BATCHES_MAX - n);
    repair_chain(im, b, n);
    for (uint32_t i = 0; i < n; i++) {
        struct cw_batch_hdr *h = (void *)b[i].hdr;

        if (!b[i].in_summary)
            put_csum(im, &h->hdr_csum,
                     cw_hash2(h, offsetof(struct cw_batch_hdr, hdr_csum), h + 1,
                              b[i].hdr_bytes - sizeof(*h)));
    }
}

static void
repair_segments(struct image *im)
{
    for (uint32_t i = 0; i < im->n_segs; i++) {
        struct cw_seg_hdr *h = (void *)image_segment(im, i);
        struct cw_sum_footer f;
        uint8_t *sum = image_summary(im, i, &f);

        if (h->magic == CW_SEG_MAGIC)
            put_csum(im, &h->csum, cw_hash(h, offsetof(struct cw_seg_hdr, csum)));
        if (sum != NULL)
            put_csum(im, image_segment(im, i) + im->seg_bytes - 8,
                     cw_hash2(sum, f.bytes, &f, offsetof(struct cw_sum_footer, csum)));
    }
}

static void
repair_tab(struct image *im, struct cw_tabdir_entry *dir)
{
    struct cw_tab_page *t = (void *)image_at(im, dir->loc, sizeof(*t));

    if (t == NULL)
        return;
    for (uint32_t i = 0; i < CW_TAB_CHUNKS; i++) {
        struct cw_chunk_entry *e = &t->e[i];
        const uint8_t *page = e->page_loc == 0 ? NULL : image_at(im, e->page_loc, 4096);

        if (page != NULL)
            put_csum(im, &e->page_csum, cw_hash_block(page));
    }
    put_csum(im, &dir->csum, cw_hash_block(t));
}

static void
repair_root(struct image *im, struct cw_root *r, uint32_t len)
{
    uint32_t n_tabs = 0, n_parts = (uint32_t)cw_min_u64(root_n_parts(r, len), 16);

    for (uint32_t i = 0; i < n_parts; i++) {
        struct cw_root_part *p = &r->parts[i];
        uint8_t *part = image_part(im, p);

        if (part == NULL)
            continue;
        for (uint32_t at = 0; p->kind == CW_PART_TABS && n_tabs < TABS_MAX &&
                              at + sizeof(struct cw_tabdir_entry) <= p->bytes;
             at += (uint32_t)sizeof(struct cw_tabdir_entry), n_tabs++)
            repair_tab(im, (void *)(part + at));
        put_csum(im, &p->csum, cw_hash(part, p->bytes));
    }
}

void
image_repair(struct image *im, enum image_kind kind)
{
    if (kind == IMAGE_BATCH || kind == IMAGE_SEGMENT) {
        repair_batches(im);
        repair_segments(im);
    }
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        struct cw_sb *sb = image_slot(im, i);

        for (uint32_t c = 0; c < 2; c++) {
            struct cw_root *r = image_root(im, i, c);

            if (r == NULL)
                continue;
            repair_root(im, r, sb->ckpt[c].len);
            put_csum(im, &sb->ckpt[c].csum, cw_hash(r, sb->ckpt[c].len));
        }
        if (sb->magic == CW_SB_MAGIC)
            put_csum(im, &sb->csum, cw_hash(sb, offsetof(struct cw_sb, csum)));
    }
}

/* ---- objects ---- */

bool
image_batch_is_new(const struct image_batch *b, uint64_t *seen)
{
    const uint8_t *at = b->hdr + sizeof(struct cw_batch_hdr);
    struct cw_batch_hdr h;
    struct rec_view v;
    bool any = false;

    memcpy(&h, b->hdr, sizeof(h));
    for (uint32_t i = 0; i < h.nrec; i++, at = v.next) {
        uint64_t bit;

        if (!record_parse(at, b->hdr + b->used, h.payload_bytes, &v))
            return any;
        bit = CW_BIT(v.d.type + 32 * v.d.comp);
        any = any || !(*seen & bit);
        *seen |= bit;
    }
    return any;
}

/* As if the write of the summary had been lost: its batches are found by a walk. */
static void
image_unseal(struct image *im, uint32_t seg)
{
    struct cw_sum_footer f;

    if (image_summary(im, seg, &f) != NULL)
        memset(image_segment(im, seg) + im->seg_bytes - sizeof(f), 0, sizeof(f));
}

/* A walk reads all of a segment and is slow, so only what a fuzzer of batches wants is walked: a
 * segment of the second life with records that none before it had. */
static void
objects_seal(struct image *im, enum image_kind kind)
{
    static struct image_batch b[BATCHES_MAX];
    uint64_t seen = 0, from;

    (void)repair_start(im, &from);
    for (uint32_t i = 0; i < im->n_segs; i++) {
        uint32_t n = image_batches(im, i, b, BATCHES_MAX);
        bool wanted = false;

        for (uint32_t k = 0; k < n; k++) {
            const struct cw_batch_hdr *h = (const void *)b[k].hdr;

            if (h->batch_seq >= from && b[k].cls != CW_SEG_META)
                wanted = image_batch_is_new(&b[k], &seen) || wanted;
        }
        if (kind == IMAGE_BATCH && wanted)
            image_unseal(im, i);
        else
            image_seal(im, i);
    }
}

static void
object_add(struct image *im, enum image_kind kind, const uint8_t *at, uint32_t len)
{
    uint32_t n = im->n_objects[kind], used = len;
    uint64_t off = (uint64_t)(at - im->now);

    for (uint32_t i = 0; i < n; i++) {
        if (im->object[kind][i].off == off)
            return;
    }
    cw_assert(n < IMAGE_OBJECTS_MAX);
    while (used > 8 && at[used - 1] == 0)
        used--;
    im->object[kind][n] = (struct image_object){ off, len, (uint32_t)cw_align_up(used, 8) };
    im->n_objects[kind]++;
}

static void
objects_of_segment(struct image *im, uint32_t seg, uint64_t *seen)
{
    static struct image_batch b[BATCHES_MAX];
    uint32_t n = image_batches(im, seg, b, BATCHES_MAX);
    struct cw_sum_footer f;
    uint8_t *sum = image_summary(im, seg, &f);

    if (segment_hdr(im, seg)->magic != CW_SEG_MAGIC)
        return;
    object_add(im, IMAGE_SEGMENT, image_segment(im, seg), 4088);
    if (sum != NULL)
        object_add(im, IMAGE_SEGMENT, sum,
                   (uint32_t)(image_segment(im, seg) + im->seg_bytes - sum - 8));
    for (uint32_t i = 0; i < n; i++) {
        if (!b[i].in_summary && image_batch_is_new(&b[i], seen))
            object_add(im, IMAGE_BATCH, b[i].hdr, b[i].hdr_bytes);
    }
}

static void
objects_of_tab(struct image *im, const struct cw_tabdir_entry *dir)
{
    const struct cw_tab_page *t = (const void *)image_at(im, dir->loc, sizeof(*t));

    object_add(im, IMAGE_CHECKPOINT, (const uint8_t *)t, sizeof(*t));
    for (uint32_t i = 0; i < CW_TAB_CHUNKS; i++) {
        if (t->e[i].page_loc != 0)
            object_add(im, IMAGE_MAPPAGE, image_at(im, t->e[i].page_loc, 4096), 4096);
    }
}

static void
objects_of_root(struct image *im, const struct cw_root *r, uint32_t len)
{
    object_add(im, IMAGE_CHECKPOINT, (const uint8_t *)r, len);
    for (uint32_t i = 0; i < root_n_parts(r, len); i++) {
        const struct cw_root_part *p = &r->parts[i];
        const uint8_t *part = image_part(im, p);

        object_add(im, IMAGE_CHECKPOINT, part, (uint32_t)cw_align_up(p->bytes, 4096));
        for (uint32_t at = 0; p->kind == CW_PART_TABS && at < p->bytes;
             at += (uint32_t)sizeof(struct cw_tabdir_entry))
            objects_of_tab(im, (const void *)(part + at));
    }
}

void
image_objects_find(struct image *im, enum image_kind kind)
{
    uint32_t best = 0;
    uint64_t seen = 0;

    objects_seal(im, kind);
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        object_add(im, IMAGE_SUPERBLOCK, (const uint8_t *)image_slot(im, i), 4088);
        if (image_slot(im, i)->sb_seq > image_slot(im, best)->sb_seq)
            best = i;
    }
    for (uint32_t i = 0; i < im->n_segs; i++)
        objects_of_segment(im, i, &seen);
    for (uint32_t c = 0; c < 2; c++)
        objects_of_root(im, image_root(im, best, c), image_slot(im, best)->ckpt[c].len);
}
