#include <malloc.h>

#include "common/base/bits.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(6) << 16)

static struct cw_store_shard *
world(struct storeworld *w, uint64_t seed)
{
    storeworld_init(w, seed, 512 * CW_MIB, 64 * CW_MIB);
    return storeworld_begin(w, SHARD_ID);
}

static uint64_t
checkpoints(struct storeworld *w)
{
    struct cw_store_stats st;

    cw_store_stats(w->store, &st);
    return st.checkpoints;
}

/* The same few blocks again and again, without haste: little is dirty, nothing waits for space or
 * memory, but the log grows. */
static void
overwrite(struct storeworld *w, struct cw_store_shard *sh, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += 64 * CW_BLOCK_SIZE) {
        assert_int_equal(storeworld_write(w, sh, at / CW_BLOCK_SIZE % 1024, 64), 0);
        storeworld_settle(w, sh);
    }
}

/* An eighth of the store in the log is enough for one, however little of the map is dirty: what a
 * restart has to replay is bounded. */
static void
a_long_log_makes_a_checkpoint(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 61);

    assert_int_equal(checkpoints(&w), 1);
    overwrite(&w, sh, 80 * CW_MIB);
    storeworld_run(&w, WORLD_S);
    assert_int_equal(checkpoints(&w), 2);
    overwrite(&w, sh, 80 * CW_MIB);
    storeworld_run(&w, WORLD_S);
    assert_int_equal(checkpoints(&w), 3);
    storeworld_fini(&w);
}

/* So are ten minutes, also on a store that is idle since; and one is enough until something
 * happens. */
static void
ten_minutes_make_a_checkpoint(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 62);

    overwrite(&w, sh, CW_MIB);
    storeworld_run(&w, 590 * WORLD_S);
    assert_int_equal(checkpoints(&w), 1);
    storeworld_run(&w, 20 * WORLD_S);
    assert_int_equal(checkpoints(&w), 2);
    storeworld_run(&w, 7200 * WORLD_S);
    assert_int_equal(checkpoints(&w), 2);
    overwrite(&w, sh, CW_MIB);
    storeworld_run(&w, 610 * WORLD_S);
    assert_true(checkpoints(&w) > 2);
    storeworld_fini(&w);
}

/* Segments are written with zeroes ahead of the log for as long as it meets new ones. */
static void
new_segments_are_prewritten(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 63);
    struct cw_store_stats st;

    overwrite(&w, sh, 100 * CW_MIB);
    storeworld_run(&w, WORLD_S);
    cw_store_stats(w.store, &st);
    /* every one that was taken, but for those of the very first moments, and two ahead; in writes
     * of 1 MiB */
    assert_in_range(cw_ramdisk_count(w.disk, CW_RAMDISK_OP(CW_DISK_WRITE)),
                    4 * (st.segments - st.segments_free - 2),
                    4 * (st.segments - st.segments_free + 2));
    storeworld_fini(&w);
}

static struct {
    const struct cw_disk_ops *ops;
    uint64_t first, n_blocks; /* bytes in use when it began; single blocks read since */
    uint64_t beyond;          /* most bytes in use but for `first` and a block for each of those */
} heap;

/* 0 where the allocator does not tell. */
static uint64_t
heap_bytes(void)
{
#ifdef __GLIBC__
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
#else
    return 0;
#endif
}

static void
heap_submit(struct cw_disk *d, struct cw_disk_io *io)
{
    uint64_t now = heap_bytes(), due;

    heap.n_blocks += io->op == CW_DISK_READ && io->len == CW_BLOCK_SIZE;
    due = heap.first + heap.n_blocks * (CW_BLOCK_SIZE + 128);
    heap.beyond = cw_max_u64(heap.beyond, now > due ? now - due : 0);
    heap.ops->submit(d, io);
}

static const struct cw_disk_ops heap_ops = { .submit = heap_submit };

#define N_TABLED 4u /* copies of 64 GiB with 781 tables each: 12.5 MiB in all */

/* The pages that tables are read from are not held all at once beside what is made of them. */
static void
tables_are_loaded_some_at_a_time(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 64);
    struct cw_store_memory m;

    for (uint32_t i = 0; i < N_TABLED; i++) {
        sh = storeworld_shard(&w, SHARD_ID + i);
        for (uint64_t lba = 0; lba < CW_SHARD_BLOCKS; lba += CW_MIB / 2)
            assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, lba, CW_MIB / 2), 0);
        storeworld_settle(&w, sh);
    }
    cw_store_memory(w.store, &m);
    assert_true(m.table_bytes >= N_TABLED * 781 * CW_BLOCK_SIZE);
    assert_int_equal(storeworld_close(&w), 0);
    heap.ops = cw_ramdisk_disk(w.disk)->ops;
    heap.first = heap_bytes();
    cw_ramdisk_disk(w.disk)->ops = &heap_ops;
    assert_int_equal(storeworld_open(&w), 0);
    assert_true(heap.n_blocks >= N_TABLED * 781);
    assert_true(heap.beyond <= 6 * CW_MIB);
    for (uint32_t i = 0; i < N_TABLED; i++) {
        sh = storeworld_shard(&w, SHARD_ID + i);
        assert_true(cw_store_shard_info(sh)->durable_seq == 32);
    }
    cw_store_check(w.store);
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_log_makes_a_checkpoint),
        cmocka_unit_test(ten_minutes_make_a_checkpoint),
        cmocka_unit_test(new_segments_are_prewritten),
        cmocka_unit_test(tables_are_loaded_some_at_a_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
