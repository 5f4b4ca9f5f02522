/* Clean stops, and the starts after them: which headers of segments need not be read, and when they
 * have to be all the same. */
#include <stdlib.h>
#include <string.h>

#include "common/base/prng.h"
#include "daemon/store/inspect.h"
#include "daemon/store/store-internal.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(4) << 16)
#define BYTES (512 * CW_MIB)
#define N_SEGS 127u
#define FEW 16u

struct stops {
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_prng rnd;
    uint64_t *seq_of;
    uint32_t n;
};

static void
stops_write(struct stops *t, uint32_t lba, uint32_t nblk)
{
    assert_int_equal(storeworld_write(&t->w, t->sh, lba, nblk), 0);
    for (uint32_t i = 0; i < nblk; i++)
        t->seq_of[lba + i] = cw_store_shard_info(t->sh)->last_seq;
    cw_store_set_stable(t->sh, cw_store_shard_info(t->sh)->durable_seq);
}

static void
stops_write_some(struct stops *t, uint32_t n)
{
    while (n-- > 0)
        stops_write(t, (uint32_t)cw_prng_below(&t->rnd, t->n), 1);
    storeworld_settle(&t->w, t->sh);
}

static void
stops_open(struct stops *t)
{
    assert_int_equal(storeworld_open(&t->w), 0);
    t->sh = cw_store_shard_find(t->w.store, SHARD_ID);
    assert_non_null(t->sh);
}

static void
stops_crash(struct stops *t, uint32_t keep)
{
    storeworld_crash(&t->w, (struct cw_ramdisk_crash){ .seed = keep, .keep = keep });
}

/* So full that segments are emptied and used again. */
static void
stops_begin(struct stops *t, uint64_t seed, uint32_t percent)
{
    cw_prng_init(&t->rnd, seed);
    storeworld_init(&t->w, seed, BYTES, 4 * CW_MIB);
    t->sh = storeworld_begin(&t->w, SHARD_ID);
    assert_int_equal(t->w.store->n_segs, N_SEGS);
    t->n = (uint32_t)(space_capacity(t->w.store) * percent / 100);
    t->seq_of = calloc(t->n + 64, sizeof(*t->seq_of));
    assert_non_null(t->seq_of);
    for (uint32_t lba = 0; lba < t->n; lba += 64)
        stops_write(t, lba, 64);
    stops_write_some(t, t->n);
}

static void
stops_check(struct stops *t)
{
    for (uint32_t lba = 0; lba < t->n; lba += 31)
        assert_true(storeworld_block_is(&t->w, t->sh, lba, t->seq_of[lba]));
    assert_int_equal(cw_store_recovery(t->w.store)->damaged_copies, 0);
    cw_store_check(t->w.store);
}

static void
stops_end(struct stops *t)
{
    stops_write_some(t, 3000);
    stops_check(t);
    storeworld_fini(&t->w);
    free(t->seq_of);
}

/* ---- looking at the disk ---- */

static struct {
    const struct cw_disk_ops *ops;
    uint32_t n_headers; /* of segments, read */
    bool clean;         /* a superblock that says so was written .. */
    uint32_t n_after;   /* .. and so many writes came behind it */
} watch;

static void
watch_submit(struct cw_disk *d, struct cw_disk_io *io)
{
    const struct cw_sb *sb;

    if (io->op == CW_DISK_READ && io->len == 4096 && io->off >= CW_SEG_BASE)
        watch.n_headers += (io->off - CW_SEG_BASE) % CW_SEG_BYTES_MIN == 0;
    watch.n_after += watch.clean && io->op == CW_DISK_WRITE_SYNC;
    if (io->op == CW_DISK_WRITE_SYNC && (io->off < CW_SEG_BASE || io->off >= BYTES - 8192)) {
        sb = io->iov[0].iov_base;
        watch.clean = sb->flags & CW_SB_CLEAN;
    }
    watch.ops->submit(d, io);
}

static const struct cw_disk_ops watch_ops = { .submit = watch_submit };

static void
watch_begin(struct stops *t)
{
    struct cw_disk *d = cw_ramdisk_disk(t->w.disk);

    memset(&watch, 0, sizeof(watch));
    watch.ops = d->ops;
    d->ops = &watch_ops;
}

static uint32_t
best_slot(const struct cw_ramdisk *d, struct cw_sb *ret)
{
    uint32_t best = 0;

    memset(ret, 0, sizeof(*ret));
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        struct cw_sb sb;

        cw_ramdisk_peek(
            d, cw_inspect_sb_off(cw_ramdisk_disk((struct cw_ramdisk *)(uintptr_t)d)->bytes, i), &sb,
            sizeof(sb));
        if (sb_valid(&sb) && sb.sb_seq > ret->sb_seq) {
            *ret = sb;
            best = i;
        }
    }
    return best;
}

static bool
is_settled(const struct stops *t)
{
    struct cw_sb sb;

    best_slot(t->w.disk, &sb);
    return sb.flags & CW_SB_SETTLED;
}

/* ---- tests ---- */

/* After a clean stop a handful of headers tells all; after a crash each of them is looked at, and
 * so it is where a superblock is missing: a newer one may be lost. */
static void
a_clean_start_reads_few_headers(void **state)
{
    struct stops t;
    struct cw_sb sb;

    stops_begin(&t, 81, 70);
    for (uint32_t life = 0; life < 4; life++) {
        assert_int_equal(storeworld_close(&t.w), 0);
        stops_open(&t);
        stops_write_some(&t, 300);
    }
    watch_begin(&t);
    assert_int_equal(storeworld_close(&t.w), 0);
    stops_open(&t);
    assert_in_range(watch.n_headers, 1, FEW);
    stops_check(&t);

    stops_crash(&t, 128);
    watch.n_headers = 0;
    stops_open(&t);
    assert_true(watch.n_headers >= N_SEGS);

    assert_int_equal(storeworld_close(&t.w), 0);
    cw_ramdisk_flip(
        t.w.disk,
        cw_inspect_sb_off(cw_ramdisk_disk(t.w.disk)->bytes, (best_slot(t.w.disk, &sb) + 1) % 4),
        0x10);
    watch.n_headers = 0;
    stops_open(&t);
    assert_true(watch.n_headers >= N_SEGS);
    stops_end(&t);
}

/* The newest superblock of a life is lost, and the stop before it seems to be the last: what was
 * written since is found. */
static void
a_lost_superblock_hides_nothing(void **state)
{
    struct stops t;
    struct cw_sb sb;

    stops_begin(&t, 82, 8);
    for (uint32_t life = 0; life < 4; life++) {
        assert_int_equal(storeworld_close(&t.w), 0);
        stops_open(&t);
    }
    for (uint32_t n_lost = 1; n_lost <= 2; n_lost++) {
        assert_int_equal(storeworld_close(&t.w), 0);
        assert_true(is_settled(&t));
        stops_open(&t);
        for (uint32_t i = 0; i < 40; i++) /* several segments, few pages: no checkpoint */
            stops_write_some(&t, 32);
        assert_int_equal(t.w.store->stats.checkpoints, 1);
        assert_false(is_settled(&t));
        stops_crash(&t, 256);
        for (uint32_t i = 0; i < n_lost; i++)
            cw_ramdisk_flip(
                t.w.disk,
                cw_inspect_sb_off(cw_ramdisk_disk(t.w.disk)->bytes, best_slot(t.w.disk, &sb)) +
                    3000,
                0x40);
        assert_true((n_lost == 2) == is_settled(&t));
        stops_open(&t);
        stops_check(&t);
        for (uint32_t life = 0; life < 2; life++) { /* all slots are valid again */
            assert_int_equal(storeworld_close(&t.w), 0);
            stops_open(&t);
        }
    }
    stops_end(&t);
}

/* The same disk in a world of its own; unsettled: its superblock does not say SETTLED. */
static void
twin_open(struct stops *t, struct storeworld *twin, bool unsettled)
{
    struct cw_sb sb;
    uint32_t slot;

    storeworld_init(twin, 99, BYTES, 4 * CW_MIB);
    cw_ramdisk_free(twin->disk);
    twin->disk = cw_ramdisk_clone_crashed(t->w.disk, &twin->sim.env,
                                          (struct cw_ramdisk_crash){ .keep = 256 });
    slot = best_slot(twin->disk, &sb);
    if (unsettled) {
        sb.flags &= ~(uint32_t)CW_SB_SETTLED;
        sb.csum = cw_hash(&sb, offsetof(struct cw_sb, csum));
        cw_ramdisk_poke(twin->disk, cw_inspect_sb_off(cw_ramdisk_disk(twin->disk)->bytes, slot),
                        &sb, sizeof(sb));
    }
    assert_int_equal(storeworld_open(twin), 0);
}

static void
twins_are_equal(const struct cw_store *a, const struct cw_store *b)
{
    assert_int_equal(a->next_seg_seq, b->next_seg_seq);
    assert_int_equal(a->next_batch, b->next_batch);
    assert_int_equal(a->data_live, b->data_live);
    assert_int_equal(a->meta_live, b->meta_live);
    assert_int_equal(a->recovered.replayed_batches, b->recovered.replayed_batches);
    for (uint32_t i = 0; i < a->n_segs; i++) {
        const struct seg *x = &a->segs[i], *y = &b->segs[i];

        assert_int_equal(x->state, y->state);
        assert_int_equal(x->cls, y->cls);
        assert_int_equal(x->seq, y->seq);
        assert_int_equal(x->live, y->live);
        assert_int_equal(x->flags, y->flags);
    }
    for (uint32_t cls = CW_SEG_HOT; cls < CW_SEG_CLASSES; cls++) {
        assert_int_equal(a->open[cls].open, b->open[cls].open);
        assert_int_equal(a->open[cls].prev_seq, b->open[cls].prev_seq);
        if (a->open[cls].open) {
            assert_int_equal(a->open[cls].no, b->open[cls].no);
            assert_int_equal(a->open[cls].off, b->open[cls].off);
        }
    }
}

static void
twins_compare(struct stops *t)
{
    struct storeworld with, without;

    twin_open(t, &with, true);
    twin_open(t, &without, false);
    twins_are_equal(with.store, without.store);
    storeworld_fini(&with);
    storeworld_fini(&without);
}

/* The headers that are not read would have said nothing new: whatever the last stop left, the store
 * comes to the very same state with them and without. */
static void
headers_say_nothing_new_after_a_clean_stop(void **state)
{
    uint32_t n_settled = 0;
    struct stops t;

    stops_begin(&t, 83, 80);
    for (uint32_t life = 0; life < 40; life++) {
        stops_write_some(&t, (uint32_t)cw_prng_below(&t.rnd, life % 4 == 0 ? 8000 : 400));
        storeworld_run(&t.w, cw_prng_below(&t.rnd, 20) * CW_NS_PER_MS);
        if (life % 5 == 3) {
            stops_crash(&t, 128);
            stops_open(&t);
            continue;
        }
        if (life % 3 == 1)
            ckpt_want(t.w.store);
        assert_int_equal(storeworld_close(&t.w), 0);
        n_settled += is_settled(&t);
        twins_compare(&t);
        stops_open(&t);
    }
    assert_true(n_settled > 20);
    stops_end(&t);
}

/* A start after a clean stop is cut at any moment, again and again, and what it wrote does not get
 * into the way of later ones. */
static void
starts_after_a_clean_stop_are_cut(void **state)
{
    uint32_t n_settled = 0, n_unsettled = 0;
    struct stops t;

    stops_begin(&t, 84, 80);
    for (uint32_t life = 0; life < 60; life++) {
        assert_int_equal(storeworld_close(&t.w), 0);
        for (uint64_t cuts = cw_prng_below(&t.rnd, 4); cuts > 0; cuts--) {
            storeworld_open_begin(&t.w);
            storeworld_run(&t.w, cw_prng_below(&t.rnd, 12) * CW_NS_PER_MS / 2);
            stops_crash(&t, (uint32_t)cw_prng_below(&t.rnd, 257));
            n_settled += is_settled(&t);
            n_unsettled += !is_settled(&t);
            twins_compare(&t);
        }
        stops_open(&t);
        stops_write_some(&t, 200);
        if (life % 3 == 0) {
            stops_crash(&t, (uint32_t)cw_prng_below(&t.rnd, 257));
            stops_open(&t);
        }
        stops_check(&t);
    }
    assert_true(n_settled > 5 && n_unsettled > 5);
    stops_end(&t);
}

/* A place at the end of META's open segment cannot be read, so nothing is gone on with. */
static void
spoil_open_meta(struct stops *t)
{
    const struct cw_store *s = t->w.store;
    uint64_t off;

    assert_true(s->open[CW_SEG_META].open);
    off = seg_off(s, s->open[CW_SEG_META].no) + s->seg_bytes - 64 * CW_KIB;
    cw_ramdisk_latent(t->w.disk, off, 4096);
}

/* What a start writes before its own superblock is not hidden from the next by that of the stop:
 * looked at after each write, also of starts that open a segment first. */
static void
what_a_start_writes_is_not_hidden(void **state)
{
    struct stops t;

    stops_begin(&t, 86, 30);
    for (uint32_t life = 0; life < 6; life++) {
        uint64_t n;

        stops_write_some(&t, 50);
        if (life >= 4)
            spoil_open_meta(&t);
        assert_int_equal(storeworld_close(&t.w), 0);
        storeworld_open_begin(&t.w);
        n = cw_ramdisk_count(t.w.disk, CW_RAMDISK_WRITES);
        while (!t.w.done) {
            assert_true(cw_simenv_step(&t.w.sim));
            if (cw_ramdisk_count(t.w.disk, CW_RAMDISK_WRITES) == n)
                continue;
            n = cw_ramdisk_count(t.w.disk, CW_RAMDISK_WRITES);
            twins_compare(&t);
        }
        assert_int_equal(t.w.res, 0);
        t.sh = cw_store_shard_find(t.w.store, SHARD_ID);
    }
    stops_end(&t);
}

/* Only the last superblock of a stop says CLEAN, not one of a checkpoint that was under way when
 * the stop began: batches of the stop come behind it. */
static void
a_checkpoint_that_the_stop_meets_is_not_clean(void **state)
{
    struct stops t;

    stops_begin(&t, 85, 30);
    for (uint32_t life = 0; life < 10; life++) {
        stops_write_some(&t, 2000);
        ckpt_want(t.w.store);
        while (!ckpt_running(t.w.store))
            assert_true(cw_simenv_step(&t.w.sim));
        watch_begin(&t);
        for (uint32_t i = 0; i < 50; i++)
            stops_write(&t, (uint32_t)cw_prng_below(&t.rnd, t.n), 1);
        storeworld_close_begin(&t.w);
        while (!watch.clean)
            assert_true(cw_simenv_step(&t.w.sim));
        storeworld_wait(&t.w, &t.w.done);
        assert_int_equal(t.w.res, 0);
        assert_int_equal(watch.n_after, 0);
        assert_true(watch.clean);
        cw_ramdisk_disk(t.w.disk)->ops = watch.ops;
        cw_store_free(t.w.store);
        t.w.store = NULL;
        stops_open(&t);
    }
    stops_end(&t);
}

/* ---- buffers that others have ---- */

/* All of the pool, once nobody has anything under way. */
static void
hoard_take(struct stops *t, struct cw_list *hoard)
{
    struct cw_buf *b;

    if (t->w.store != NULL)
        storeworld_run(&t->w, WORLD_S);
    cw_list_init(hoard);
    while ((b = cw_buf_get(t->w.pool, 4096)) != NULL)
        cw_list_push_back(hoard, &b->link);
}

static void
hoard_give(struct cw_list *hoard)
{
    while (!cw_list_empty(hoard))
        cw_buf_unref(cw_list_entry(cw_list_pop_front(hoard), struct cw_buf, link));
}

/* For a second, and then it ends as ever. */
static void
hoard_wait(struct stops *t, struct cw_list *hoard)
{
    storeworld_run(&t->w, WORLD_S);
    assert_false(t->w.done);
    assert_int_equal(cw_ramdisk_under_way(t->w.disk), 0);
    hoard_give(hoard);
    storeworld_wait(&t->w, &t->w.done);
    assert_int_equal(t->w.res, 0);
    assert_false(cw_simenv_logged(&t->w.sim, "without a checkpoint"));
}

static void
hoard_closed(struct stops *t)
{
    assert_true(is_settled(t));
    cw_store_free(t->w.store);
    t->w.store = NULL;
}

/* The last checkpoint of a stop, one that the stop meets, and that of a start: each waits for the
 * buffer that it needs, and none takes this for a lack of segments. */
static void
a_checkpoint_waits_for_a_buffer(void **state)
{
    struct cw_list hoard;
    struct stops t;

    stops_begin(&t, 87, 30);
    hoard_take(&t, &hoard);
    storeworld_close_begin(&t.w);
    hoard_wait(&t, &hoard);
    hoard_closed(&t);
    stops_open(&t);
    assert_true(cw_store_recovery(t.w.store)->clean);

    stops_write_some(&t, 2000);
    hoard_take(&t, &hoard);
    ckpt_want(t.w.store);
    while (!ckpt_running(t.w.store))
        assert_true(cw_simenv_step(&t.w.sim));
    storeworld_close_begin(&t.w);
    hoard_wait(&t, &hoard);
    hoard_closed(&t);
    stops_open(&t);

    stops_write_some(&t, 2000);
    stops_crash(&t, 128);
    hoard_take(&t, &hoard);
    storeworld_open_begin(&t.w);
    hoard_wait(&t, &hoard);
    t.sh = cw_store_shard_find(t.w.store, SHARD_ID);
    stops_check(&t);
    stops_end(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_start_reads_few_headers),
        cmocka_unit_test(a_lost_superblock_hides_nothing),
        cmocka_unit_test(headers_say_nothing_new_after_a_clean_stop),
        cmocka_unit_test(starts_after_a_clean_stop_are_cut),
        cmocka_unit_test(what_a_start_writes_is_not_hidden),
        cmocka_unit_test(a_checkpoint_that_the_stop_meets_is_not_clean),
        cmocka_unit_test(a_checkpoint_waits_for_a_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
