/* Blocks that were left alone are packed in the background, on a store that never has to clean. */
#include <string.h>

#include "common/base/prng.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID CW_SHARD_ID(7, 0)
#define N_BLOCKS 12000u

static struct cw_store_stats
stats(const struct storeworld *w)
{
    struct cw_store_stats st;

    cw_store_stats(w->store, &st);
    return st;
}

static void
fill(struct storeworld *w, struct cw_store_shard *sh)
{
    for (uint32_t lba = 0; lba < N_BLOCKS; lba += 60) {
        assert_int_equal(storeworld_write(w, sh, lba, 60), 0);
        storeworld_settle(w, sh);
    }
}

static struct cw_store_shard *
world_start(struct storeworld *w, uint64_t seed, enum cw_compression comp)
{
    storeworld_init(w, seed, 512 * CW_MIB, 4 * CW_MIB);
    w->compression = comp;
    w->scrub_ns = STOREWORLD_NO_SCRUB;
    return storeworld_begin(w, SHARD_ID);
}

static void
check_blocks(struct storeworld *w, struct cw_store_shard *sh, uint64_t step)
{
    for (uint64_t lba = 0; lba < N_BLOCKS; lba += step)
        assert_true(storeworld_block_is(w, sh, lba, lba / 60 + 1));
    cw_store_check(w->store);
}

/* After two checkpoints that an idle store takes by itself nearly everything is packed; it reads
 * the same, also after a crash, and there is rest then. */
static void
cold_blocks_are_packed(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world_start(&w, 81, CW_COMPRESSION_BACKGROUND);
    struct cw_store_stats st;
    uint64_t before, ios;

    fill(&w, sh);
    before = stats(&w).used_bytes;
    assert_int_equal(stats(&w).packed_in, 0);
    for (uint32_t i = 0; i < 3; i++) { /* little enough for no checkpoint but the timely ones */
        assert_int_equal(storeworld_write(&w, sh, N_BLOCKS + i, 1), 0);
        storeworld_settle(&w, sh);
        storeworld_run(&w, 700 * WORLD_S);
    }
    st = stats(&w);
    assert_true(st.packed_in > N_BLOCKS * 8ull / 10 * CW_BLOCK_SIZE);
    assert_true(st.used_bytes < before / 2);
    check_blocks(&w, sh, 7);
    storeworld_run(&w, 3600 * WORLD_S);
    ios = cw_ramdisk_count(w.disk, CW_RAMDISK_ANY_OP);
    st = stats(&w);
    storeworld_run(&w, 36000 * WORLD_S);
    assert_int_equal(cw_ramdisk_count(w.disk, CW_RAMDISK_ANY_OP), ios);
    assert_int_equal(stats(&w).packed_in, st.packed_in);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1 });
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    check_blocks(&w, sh, 11);
    storeworld_run(&w, 3600 * WORLD_S); /* what was looked through is not looked through again */
    assert_true(stats(&w).packed_in < 2000 * CW_BLOCK_SIZE);
    storeworld_fini(&w);
}

/* While others use the disk nothing is packed. */
static void
packing_gives_way(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world_start(&w, 82, CW_COMPRESSION_BACKGROUND);

    fill(&w, sh);
    for (uint32_t i = 0; i < 8000; i++) {
        assert_int_equal(storeworld_write(&w, sh, N_BLOCKS + i % 8 * 8, 8), 0);
        storeworld_settle(&w, sh);
        if (i % 20 == 0)
            storeworld_run(&w, 90 * CW_NS_PER_MS);
    }
    assert_true(stats(&w).checkpoints >= 2);
    assert_int_equal(stats(&w).packed_in, 0);
    storeworld_fini(&w);
}

/* Without the policy nothing is packed; when it comes, what has long been there is packed too. */
static void
a_policy_that_comes_later_counts(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world_start(&w, 83, CW_COMPRESSION_OFF);
    struct storeworld_ticket t;
    struct cw_shard_rec rec;

    fill(&w, sh);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(storeworld_write(&w, sh, N_BLOCKS + i, 1), 0);
        storeworld_settle(&w, sh);
        storeworld_run(&w, 700 * WORLD_S);
    }
    assert_int_equal(stats(&w).packed_in, 0);
    rec = cw_store_shard_info(sh)->rec;
    rec.compression = CW_COMPRESSION_BACKGROUND;
    cw_store_set_rec(sh, &rec, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    storeworld_run(&w, 60 * WORLD_S);
    assert_true(stats(&w).packed_in > N_BLOCKS * 8ull / 10 * CW_BLOCK_SIZE);
    check_blocks(&w, sh, 7);
    storeworld_fini(&w);
}

/* The cleaner keeps the victim that it was at when there was space again: it is let go. */
static void
a_cleaner_that_rests_is_not_in_the_way(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    struct cw_shard_rec rec;
    struct cw_prng rnd;
    uint64_t turns;

    cw_prng_init(&rnd, 1);
    sh = world_start(&w, 85, CW_COMPRESSION_OFF);
    for (uint64_t lba = 0; lba < 90000; lba += 60) {
        assert_int_equal(storeworld_write(&w, sh, lba, 60), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    for (uint32_t i = 0; i < 6000; i++) {
        assert_int_equal(storeworld_write(&w, sh, cw_prng_below(&rnd, 90000 - 8), 8), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    storeworld_settle(&w, sh);
    assert_true(stats(&w).bytes_cleaned > 0);
    rec = cw_store_shard_info(sh)->rec;
    rec.compression = CW_COMPRESSION_BACKGROUND;
    cw_store_set_rec(sh, &rec, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(storeworld_write(&w, sh, 95000 + i, 1), 0);
        storeworld_settle(&w, sh);
        storeworld_run(&w, 700 * WORLD_S);
    }
    storeworld_run(&w, 3 * 3600 * WORLD_S);
    assert_true(stats(&w).packed_in > 250 * CW_MIB);
    turns = w.sim.turns;
    storeworld_run(&w, 3600 * WORLD_S);
    assert_true(w.sim.turns - turns < 100);
    cw_store_check(w.store);
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cold_blocks_are_packed),
        cmocka_unit_test(packing_gives_way),
        cmocka_unit_test(a_policy_that_comes_later_counts),
        cmocka_unit_test(a_cleaner_that_rests_is_not_in_the_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
