#include <errno.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(3) << 16)
#define SEG_BYTES (4 * CW_MIB)
#define N_SEGS 127u
#define REGION 8192u /* blocks that are overwritten again and again: 32 MiB */

/* Between the store and its disk: what may and may not be under way together. */
struct watch {
    struct storeworld *w;
    const struct cw_disk_ops *ops;
    struct cw_disk_io *discard;
    void (*discard_done)(struct cw_disk_io *, int);
    uint64_t n_discards, first_at_checkpoint;
    bool again[N_SEGS]; /* since the store was opened */
    bool unknown;       /* to the disk */
};

static struct watch watch;

static uint64_t
seg_of(uint64_t off)
{
    return (off - CW_MIB) / SEG_BYTES;
}

static void
watch_on_discarded(struct cw_disk_io *io, int res)
{
    watch.discard = NULL;
    io->done = watch.discard_done;
    io->done(io, watch.unknown ? -EOPNOTSUPP : res);
}

static void
watch_submit(struct cw_disk *d, struct cw_disk_io *io)
{
    struct cw_store_stats st;

    if (io->op == CW_DISK_DISCARD) {
        assert_null(watch.discard); /* one at a time */
        assert_int_equal(io->len, SEG_BYTES);
        assert_int_equal((io->off - CW_MIB) % SEG_BYTES, 0);
        cw_store_stats(watch.w->store, &st);
        if (watch.n_discards++ == 0)
            watch.first_at_checkpoint = st.checkpoints;
        watch.discard = io;
        watch.discard_done = io->done;
        io->done = watch_on_discarded;
    } else if (watch.discard != NULL && io->op != CW_DISK_FLUSH && io->off >= CW_MIB) {
        assert_int_not_equal(seg_of(io->off), seg_of(watch.discard->off));
    }
    watch.ops->submit(d, io);
}

static const struct cw_disk_ops watch_ops = { .submit = watch_submit };

static struct cw_store_shard *
watched_world(struct storeworld *w, uint64_t seed, bool discard)
{
    struct cw_disk *d;

    storeworld_init(w, seed, 512 * CW_MIB, 8 * CW_MIB);
    w->discard = discard;
    d = cw_ramdisk_disk(w->disk);
    watch = (struct watch){ .w = w, .ops = d->ops };
    d->ops = &watch_ops;
    return storeworld_begin(w, SHARD_ID);
}

static uint64_t
n_submitted(const struct storeworld *w, enum cw_disk_op op)
{
    return cw_ramdisk_count(w->disk, CW_RAMDISK_OP(op));
}

/* Overwrites the region once, in records of 64 blocks; returns the seq before it. */
static uint64_t
overwrite(struct storeworld *w, struct cw_store_shard *sh)
{
    uint64_t before = cw_store_shard_info(sh)->last_seq;

    for (uint64_t lba = 0; lba < REGION; lba += 64) {
        assert_int_equal(storeworld_write(w, sh, lba, 64), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    storeworld_settle(w, sh);
    return before;
}

static void
check_region(struct storeworld *w, struct cw_store_shard *sh, uint64_t before)
{
    for (uint64_t lba = 0; lba < REGION; lba += 61)
        assert_true(storeworld_block_is(w, sh, lba, before + 1 + lba / 64));
    cw_store_check(w->store);
}

/* What overwrites left behind is discarded in the background, a segment at a time and only after
 * two checkpoints; nothing that is in use is touched, and what was free when the store is opened
 * is not discarded again. */
static void
freed_segments_are_discarded(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = watched_world(&w, 51, true);
    struct cw_store_stats st;
    uint64_t before = 0, n;

    for (uint32_t i = 0; i < 9; i++)
        before = overwrite(&w, sh);
    storeworld_run(&w, WORLD_S);
    cw_store_stats(w.store, &st);
    assert_true(st.checkpoints >= 4);
    assert_true(watch.n_discards >= 20);
    assert_true(watch.first_at_checkpoint >= 2);
    assert_int_equal(st.bytes_discarded, watch.n_discards * SEG_BYTES);
    check_region(&w, sh, before);

    n = watch.n_discards;
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    storeworld_run(&w, 10 * WORLD_S);
    assert_in_range(watch.n_discards, n, n + 20); /* those that its own checkpoints freed */
    cw_store_stats(w.store, &st);
    assert_true(watch.n_discards - n < st.segments_free);
    check_region(&w, storeworld_shard(&w, SHARD_ID), before);
    storeworld_fini(&w);
}

static void
nothing_is_discarded_unasked(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = watched_world(&w, 52, false);
    struct cw_store_stats st;

    for (uint32_t i = 0; i < 9; i++)
        overwrite(&w, sh);
    cw_store_stats(w.store, &st);
    assert_true(st.checkpoints >= 3);
    assert_int_equal(watch.n_discards, 0);
    storeworld_fini(&w);
}

/* Zeroes written by the store ahead of its use of segments, for this many overwrites. */
static uint64_t
zeroes_written(uint64_t seed, bool is_device, bool discard)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    uint64_t n;

    sh = watched_world(&w, seed, discard);
    assert_int_equal(storeworld_close(&w), 0);
    w.is_device = is_device;
    assert_int_equal(storeworld_open(&w), 0);
    sh = storeworld_shard(&w, SHARD_ID);
    n = n_submitted(&w, CW_DISK_WRITE);
    for (uint32_t i = 0; i < 20; i++)
        overwrite(&w, sh);
    n = n_submitted(&w, CW_DISK_WRITE) - n;
    storeworld_fini(&w);
    return n;
}

/* A file's segment is zeroed again after a hole was made of it; on a device none ever is. */
static void
holes_are_zeroed_before_use(void **state)
{
    uint64_t plain = zeroes_written(53, false, false);
    uint64_t holes = zeroes_written(53, false, true);

    assert_in_range(plain, 1, N_SEGS * SEG_BYTES / CW_MIB);
    assert_true(holes > plain + 4 * SEG_BYTES / CW_MIB);
    assert_int_equal(zeroes_written(53, true, true), 0);
}

/* A power cut at any time, discards under way or not yet stable: the log has all that was
 * acknowledged. */
static void
crashes_between_discard_and_reuse(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = watched_world(&w, 54, true);
    struct cw_prng rnd;
    uint64_t before = 0, n = 0;

    cw_prng_init(&rnd, 54);
    for (uint32_t i = 0; i < 6; i++)
        before = overwrite(&w, sh);
    for (uint32_t round = 0; round < 6; round++) {
        before = overwrite(&w, sh);
        for (uint32_t i = 0; i < 1000 && (watch.discard == NULL || i < 5); i++) {
            assert_int_equal(storeworld_write(&w, sh, REGION + i % 64 * 64, 64), 0);
            cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
            storeworld_run(&w, cw_prng_below(&rnd, 100 * CW_NS_PER_US));
        }
        n += watch.discard != NULL;
        watch.discard = NULL;
        storeworld_crash(&w, (struct cw_ramdisk_crash){
                                 .seed = round, .keep = round * 64 % 257, .torn = round % 2 });
        assert_int_equal(storeworld_open(&w), 0);
        sh = storeworld_shard(&w, SHARD_ID);
        assert_int_equal(cw_store_recovery(w.store)->damaged_copies, 0);
        check_region(&w, sh, before);
    }
    assert_true(watch.n_discards > 15);
    assert_true(n > 0); /* some crash met one under way */
    storeworld_fini(&w);
}

/* A disk that takes for ever to discard is not stuck and holds up no append, not even on a store
 * that gets full; one that fails it is not asked again. Neither loses anything. */
static void
slow_and_failing_discards_do_no_harm(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = watched_world(&w, 55, true);
    struct cw_store_stats st;
    uint64_t before = 0, lba;

    cw_ramdisk_plan(w.disk, CW_RAMDISK_STICK, CW_RAMDISK_OP(CW_DISK_DISCARD), 1, 1, 0);
    for (uint32_t i = 0; i < 9; i++)
        before = overwrite(&w, sh);
    storeworld_run(&w, 5 * WORLD_S);
    assert_int_equal(watch.n_discards, 1);
    assert_non_null(watch.discard);
    cw_store_stats(w.store, &st);
    assert_false(st.stuck || st.failed);
    for (lba = REGION; cw_store_credit(sh) >= 64; lba += 64) {
        assert_int_equal(storeworld_write(&w, sh, lba, 64), 0);
        storeworld_settle(&w, sh);
    }
    assert_true(lba > 80000);
    check_region(&w, sh, before);
    cw_ramdisk_plan(w.disk, CW_RAMDISK_EIO, CW_RAMDISK_OP(CW_DISK_DISCARD), 1, 1, 0);
    cw_ramdisk_unstick(w.disk);
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, REGION, (uint32_t)(lba - REGION)), 0);
    for (uint32_t i = 0; i < 9; i++)
        before = overwrite(&w, sh);
    assert_int_equal(watch.n_discards, 2);
    check_region(&w, sh, before);
    cw_store_stats(w.store, &st);
    assert_false(st.stuck || st.failed);
    assert_int_equal(storeworld_close(&w), 0);
    storeworld_fini(&w);
}

/* A disk that has no discards is asked once, and that is no error of its. */
static void
what_cannot_discard_is_asked_once(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = watched_world(&w, 56, true);
    struct cw_store_stats st;
    uint64_t before = 0;

    watch.unknown = true;
    for (uint32_t i = 0; i < 9; i++)
        before = overwrite(&w, sh);
    storeworld_run(&w, WORLD_S);
    assert_int_equal(watch.n_discards, 1);
    cw_store_stats(w.store, &st);
    assert_int_equal(st.io_errors, 0);
    assert_int_equal(st.bytes_discarded, 0);
    assert_false(st.failed);
    check_region(&w, sh, before);
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freed_segments_are_discarded),
        cmocka_unit_test(nothing_is_discarded_unasked),
        cmocka_unit_test(holes_are_zeroed_before_use),
        cmocka_unit_test(crashes_between_discard_and_reuse),
        cmocka_unit_test(slow_and_failing_discards_do_no_harm),
        cmocka_unit_test(what_cannot_discard_is_asked_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
