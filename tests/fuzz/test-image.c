/* The image that the fuzzers spoil: that they reach what they are for; and stores that no store of
 * ours would write, with checksums that fit, each from an input that was found or thought of. */
#include <string.h>

#include "common/codec/hash.h"
#include "tests/fuzz/drive.h"
#include "tests/lib/cw-test.h"

#define BEST 3u /* the slot that is opened */

static int
image_setup(void **state)
{
    *state = image_new(IMAGE_CHECKPOINT);
    return 0;
}

static int
batches_setup(void **state)
{
    *state = image_new(IMAGE_BATCH);
    return 0;
}

static int
image_teardown(void **state)
{
    image_free(*state);
    return 0;
}

/* ---- changing fields ---- */

static void
put(struct image *im, void *at, const void *from, size_t len)
{
    image_edit(im, (uint64_t)((uint8_t *)at - im->now), from, len);
}

#define PUT(im, field, value) put(im, &(field), &(__typeof__(field)){ value }, sizeof(field))

static uint8_t *
part_of(struct image *im, uint32_t kind)
{
    const struct cw_root *r = image_root(im, BEST, 0);

    for (uint32_t i = 0; i < r->n_parts; i++) {
        if (r->parts[i].kind == kind)
            return image_part(im, &r->parts[i]);
    }
    fail();
    return NULL;
}

static struct cw_shard_bytes *
shard_of(struct image *im, uint32_t i)
{
    uint8_t *at = part_of(im, CW_PART_SHARDS);

    while (i-- > 0)
        at += ((const struct cw_shard_bytes *)(void *)at)->bytes;
    return (void *)at;
}

/* The tail entry that comes last, of the first shard that has one. */
static struct cw_tail_bytes *
tail_of(struct image *im)
{
    struct cw_shard_bytes *sh = shard_of(im, 0);

    while (sh->n_tail == 0)
        sh = (void *)((uint8_t *)sh + sh->bytes);
    return (struct cw_tail_bytes *)(void *)((uint8_t *)sh + sh->bytes) - 1;
}

/* Opens what was made of it; the image is as before then. */
static struct drive_result
run(struct image *im, enum image_kind kind)
{
    struct drive_result r;

    uint32_t counts = kind == IMAGE_SEGMENT || kind == IMAGE_BATCH ? DRIVE_CHECK : 0;

    image_repair(im, kind);
    drive_run(im, DRIVE_WORK | DRIVE_REOPEN | counts, &r);
    image_reset(im);
    return r;
}

/* ---- the image itself ---- */

/* The checksums that a repair computes are those that the store wrote. */
static void
a_repair_changes_nothing_of_a_real_image(void **state)
{
    struct image *im = *state;

    image_repair(im, IMAGE_BATCH);
    assert_int_equal(im->n_dirty, 0);
}

/* Every kind of record is replayed, and what the base holds is there. */
static void
the_base_holds_what_it_should(void **state)
{
    struct image *im = *state;
    struct drive_result r = run(im, IMAGE_CHECKPOINT);

    assert_int_equal(r.open_res, 0);
    assert_true(r.closed && r.replayed_records > 100 && r.shards >= 6 && r.tails > 4);
    assert_int_equal(r.damaged, 0);
}

static void
every_kind_of_record_is_walked_to(void **state)
{
    struct image *im = *state;
    uint64_t seen = 0, want = 0;
    static struct image_batch b[1024];

    for (uint32_t i = CW_REC_WRITE; i < CW_REC_TYPES; i++)
        want |= CW_BIT(i);
    want |= CW_BIT(CW_REC_WRITE + 32); /* packed */
    for (uint32_t seg = 0; seg < im->n_segs; seg++) {
        uint32_t n = image_batches(im, seg, b, CW_LEN(b));

        for (uint32_t i = 0; i < n; i++)
            (void)image_batch_is_new(&b[i], &seen);
    }
    want &= ~CW_BIT(CW_REC_BADBLK); /* needs a bad sector under the cleaner's hands */
    assert_int_equal(seen & want, want);
}

/* ---- checkpoints ---- */

/* A segment that the checkpoint itself lies in is not opened, even if its table calls it free. */
static void
what_is_referred_to_is_not_free(void **state)
{
    struct image *im = *state;
    struct cw_segtab_entry *e = (void *)part_of(im, CW_PART_SEGMENTS);

    for (uint32_t i = 0; i < im->n_segs; i++)
        PUT(im, e[i].state, CW_SEG_FREE);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
}

/* A segment whose class differs between table and header is counted once. */
static void
a_segment_changes_its_class(void **state)
{
    struct image *im = *state;
    struct cw_segtab_entry *e = (void *)part_of(im, CW_PART_SEGMENTS);

    for (uint32_t i = 0; i < im->n_segs; i++)
        PUT(im, e[i].cls, e[i].cls == CW_SEG_META ? CW_SEG_HOT : CW_SEG_META);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
}

/* Places of a tail entry that no batch can have. */
static void
a_tail_entry_points_nowhere(void **state)
{
    static const uint32_t offs[] = { 0, 512, 4097, 4 * 1024 * 1024 - 512, 4 * 1024 * 1024 };
    struct image *im = *state;

    for (size_t i = 0; i < CW_LEN(offs); i++) {
        PUT(im, tail_of(im)->off, offs[i]);
        assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
    }
}

/* Blocks of a tail entry that no record can have. */
static void
a_tail_entry_is_too_long(void **state)
{
    static const struct {
        uint64_t lba;
        uint32_t nblk;
    } bad[] = {
        { 0, 257 }, { 0, UINT32_MAX }, { CW_SHARD_BLOCKS, 1 }, { UINT64_MAX, 2 }, { 0, 0 },
    };
    struct image *im = *state;

    for (size_t i = 0; i < CW_LEN(bad); i++) {
        PUT(im, tail_of(im)->lba, bad[i].lba);
        PUT(im, tail_of(im)->nblk, bad[i].nblk);
        assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
    }
}

/* A tail entry that says other blocks than the record that it names: nobody gets what was not asked
 * for. */
static void
a_tail_entry_is_not_its_record(void **state)
{
    struct image *im = *state;

    PUT(im, tail_of(im)->nblk, tail_of(im)->nblk + 3);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
    PUT(im, tail_of(im)->lba, tail_of(im)->lba + 1);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
    PUT(im, tail_of(im)->rec, 7);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
}

/* The last seq of a tail far behind those before it. */
static void
a_tail_has_a_gap(void **state)
{
    struct image *im = *state;

    PUT(im, tail_of(im)->seq, tail_of(im)->seq + 1000);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
}

/* Numbers at the end of their range are not counted on from. */
static void
numbers_do_not_run_over(void **state)
{
    struct image *im = *state;

    PUT(im, image_root(im, BEST, 0)->next_layer, UINT64_MAX);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
    PUT(im, image_root(im, BEST, 0)->next_seg_seq, UINT64_MAX);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
    PUT(im, image_slot(im, BEST)->ckpt[0].replay_batch, UINT64_MAX);
    (void)run(im, IMAGE_SUPERBLOCK);
    PUT(im, image_slot(im, BEST)->ckpt[0].number, UINT64_MAX - 300);
    (void)run(im, IMAGE_SUPERBLOCK);
    PUT(im, image_slot(im, BEST)->sb_seq, UINT64_MAX);
    (void)run(im, IMAGE_SUPERBLOCK);
    PUT(im, image_slot(im, BEST)->sb_seq, STORE_SEQ_MAX);
    assert_int_equal(run(im, IMAGE_SUPERBLOCK).open_res, CW_STORE_E_UNREADABLE);
    PUT(im, image_root(im, BEST, 0)->next_seg_seq, STORE_SEQ_MAX);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, CW_STORE_E_UNREADABLE);
    PUT(im, image_slot(im, BEST)->sb_seq, UINT64_MAX);
    (void)run(im, IMAGE_SUPERBLOCK);
    PUT(im, image_slot(im, BEST)->ckpt[0].number, UINT64_MAX);
    PUT(im, image_root(im, BEST, 0)->number, UINT64_MAX);
    (void)run(im, IMAGE_CHECKPOINT);
}

/* A root whose parts are the same megabyte again and again is not read into gigabytes. */
static void
a_part_is_named_many_times(void **state)
{
    struct image *im = *state;
    struct cw_root *r = image_root(im, BEST, 0);
    uint32_t max =
        (uint32_t)((image_slot(im, BEST)->ckpt[0].len - sizeof(*r)) / sizeof(r->parts[0]));

    for (uint32_t kind = CW_PART_TABS; kind < CW_PART_KINDS; kind++) {
        for (uint32_t i = r->n_parts; i < max; i++) {
            PUT(im, r->parts[i].loc, cw_loc_make(2, 8, 8, CW_MAP_RAW));
            PUT(im, r->parts[i].bytes, CW_BATCH_PAYLOAD_MAX);
            PUT(im, r->parts[i].kind, kind);
        }
        PUT(im, r->n_parts, max);
        assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
    }
}

/* A dropped copy with a layer that is to be given out next. */
static void
a_dropped_copy_has_a_layer_to_come(void **state)
{
    struct image *im = *state;

    PUT(im, image_root(im, BEST, 0)->next_layer, 2);
    assert_int_equal(run(im, IMAGE_CHECKPOINT).open_res, 0);
}

/* No segment is free: the open fails, and with nothing of it under way. */
static void
nothing_is_free(void **state)
{
    struct image *im = *state;
    struct cw_segtab_entry *e = (void *)part_of(im, CW_PART_SEGMENTS);

    for (uint32_t i = 0; i < im->n_segs; i++) {
        if (e[i].state != CW_SEG_FREE)
            continue;
        PUT(im, e[i].state, CW_SEG_SEALED);
        PUT(im, e[i].cls, CW_SEG_HOT);
        PUT(im, e[i].live, 8);
    }
    (void)run(im, IMAGE_CHECKPOINT);
}

/* More is alive in a segment than it has room for. */
static void
a_segment_is_too_full(void **state)
{
    struct image *im = *state;
    struct cw_segtab_entry *e = (void *)part_of(im, CW_PART_SEGMENTS);

    for (uint32_t i = 0; i < im->n_segs; i++)
        PUT(im, e[i].live, im->seg_bytes / CW_SECTOR);
    (void)run(im, IMAGE_CHECKPOINT);
}

/* ---- segments and batches ---- */

/* A summary with a batch where none can begin. */
static void
a_summary_points_nowhere(void **state)
{
    static const uint32_t offs[] = { 0, 512, 4096 + 8 };
    struct image *im = *state;
    struct cw_sum_footer f;

    for (uint32_t seg = 0; seg < im->n_segs; seg++) {
        uint8_t *sum = image_summary(im, seg, &f);

        for (size_t i = 0; sum != NULL && i < CW_LEN(offs); i++) {
            struct cw_sum_entry *e = (void *)sum;

            PUT(im, e->off, offs[i]);
            assert_int_equal(run(im, IMAGE_SEGMENT).open_res, 0);
        }
    }
}

/* A header says that data lies there where pages of the map do, or the other way. */
static void
a_header_changes_its_class(void **state)
{
    struct image *im = *state;

    for (uint32_t seg = 0; seg < im->n_segs; seg++) {
        struct cw_seg_hdr *h = (void *)image_segment(im, seg);

        if (h->magic != CW_SEG_MAGIC)
            continue;
        PUT(im, h->cls, h->cls == CW_SEG_META ? CW_SEG_HOT : CW_SEG_META);
        assert_int_equal(run(im, IMAGE_SEGMENT).open_res, 0);
    }
}

/* Batch and segment numbers at the end of their range. */
static void
batch_numbers_do_not_run_over(void **state)
{
    static struct image_batch b[1024];
    struct image *im = *state;

    for (uint32_t seg = 0; seg < im->n_segs; seg++) {
        uint32_t n = image_batches(im, seg, b, CW_LEN(b));
        struct cw_batch_hdr *h = n == 0 ? NULL : (void *)b[n - 1].hdr;

        if (h == NULL || b[0].in_summary)
            continue;
        PUT(im, h->batch_seq, UINT64_MAX);
        (void)run(im, IMAGE_BATCH);
        PUT(im, h->durable_upto, UINT64_MAX);
        (void)run(im, IMAGE_BATCH);
        PUT(im, ((struct cw_seg_hdr *)(void *)image_segment(im, seg))->seg_seq, UINT64_MAX);
        for (uint32_t i = 0; i < n; i++)
            PUT(im, ((struct cw_batch_hdr *)(void *)b[i].hdr)->seg_seq, UINT64_MAX);
        (void)run(im, IMAGE_BATCH);
    }
}

/* The first record of these types in a batch; NULL: there is none. */
static struct cw_rec_desc *
record_of(const struct image_batch *b, uint64_t types)
{
    const struct cw_batch_hdr *h = (const void *)b->hdr;
    uint8_t *at = b->hdr + sizeof(*h);
    struct rec_view v;

    for (uint32_t i = 0; i < h->nrec; i++) {
        if (!record_parse(at, b->hdr + b->used, h->payload_bytes, &v))
            return NULL;
        if (types & CW_BIT(v.d.type))
            return (void *)at;
        at += v.next - at;
    }
    return NULL;
}

/* Runs with one field of one such record changed, for each batch that is walked to. */
static void
run_each(struct image *im, uint64_t types, void (*change)(struct image *, struct cw_rec_desc *))
{
    static struct image_batch b[1024];

    for (uint32_t seg = 0; seg < im->n_segs; seg++) {
        uint32_t n = image_batches(im, seg, b, CW_LEN(b));

        for (uint32_t i = 0; i < n && !b[0].in_summary; i++) {
            struct cw_rec_desc *d = record_of(&b[i], types);

            if (d == NULL)
                continue;
            change(im, d);
            assert_int_equal(run(im, IMAGE_BATCH).open_res, 0);
        }
    }
}

static void
seq_ahead(struct image *im, struct cw_rec_desc *d)
{
    PUT(im, d->seq, d->seq + (1u << 25));
}

static void
seq_none(struct image *im, struct cw_rec_desc *d)
{
    PUT(im, d->seq, 0);
}

/* One record far ahead of those behind it, or behind all that were before it. */
static void
a_seq_goes_back(void **state)
{
    run_each(*state, CW_BIT(CW_REC_WRITE) | CW_BIT(CW_REC_TRIM), seq_ahead);
    run_each(*state, CW_BIT(CW_REC_WRITE) | CW_BIT(CW_REC_TRIM), seq_none);
}

static void
layer_last(struct image *im, struct cw_rec_desc *d)
{
    PUT(im, d->layer, CW_LAYER_FAMILY);
}

static void
layer_other(struct image *im, struct cw_rec_desc *d)
{
    if (d->lba != 0) /* of a clone: the family of its parent */
        PUT(im, d->layer, d->layer + 1);
    else
        PUT(im, d->layer, UINT64_C(1) << 40); /* of none */
}

static void
snap_other(struct image *im, struct cw_rec_desc *d)
{
    PUT(im, d->lba, d->lba + 1);
}

/* Layers of a family that is not their copy's or their parent's. */
static void
a_layer_is_of_another_family(void **state)
{
    run_each(*state, CW_BIT(CW_REC_SHARDREC), layer_other);
    run_each(*state, CW_BIT(CW_REC_SNAP), snap_other);
}

/* No layer can come behind it. */
static void
a_copy_has_the_last_layer(void **state)
{
    run_each(*state, CW_BIT(CW_REC_SHARDREC), layer_last);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repair_changes_nothing_of_a_real_image),
        cmocka_unit_test(the_base_holds_what_it_should),
        cmocka_unit_test(what_is_referred_to_is_not_free),
        cmocka_unit_test(a_segment_changes_its_class),
        cmocka_unit_test(a_tail_entry_points_nowhere),
        cmocka_unit_test(a_tail_entry_is_too_long),
        cmocka_unit_test(a_tail_entry_is_not_its_record),
        cmocka_unit_test(a_tail_has_a_gap),
        cmocka_unit_test(numbers_do_not_run_over),
        cmocka_unit_test(a_part_is_named_many_times),
        cmocka_unit_test(a_dropped_copy_has_a_layer_to_come),
        cmocka_unit_test(nothing_is_free),
        cmocka_unit_test(a_segment_is_too_full),
        cmocka_unit_test(a_summary_points_nowhere),
        cmocka_unit_test(a_header_changes_its_class),
    };
    const struct CMUnitTest batches[] = {
        cmocka_unit_test(every_kind_of_record_is_walked_to),
        cmocka_unit_test(a_repair_changes_nothing_of_a_real_image),
        cmocka_unit_test(batch_numbers_do_not_run_over),
        cmocka_unit_test(a_seq_goes_back),
        cmocka_unit_test(a_copy_has_the_last_layer),
        cmocka_unit_test(a_layer_is_of_another_family),
    };
    int failed = cmocka_run_group_tests(tests, image_setup, image_teardown);

    return failed + cmocka_run_group_tests(batches, batches_setup, image_teardown);
}
