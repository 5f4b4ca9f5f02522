#include <errno.h>

#include "common/base/bits.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(3) << 16)

static struct cw_store_shard *
small_world(struct storeworld *w, uint64_t seed, uint64_t map_cache)
{
    storeworld_init(w, seed, 512 * CW_MIB, map_cache);
    return storeworld_begin(w, SHARD_ID);
}

/* As an owner does: never more than the credit, stable follows. Returns blocks written. */
static uint64_t
fill_by_credit(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba, uint64_t max)
{
    uint64_t n = 0;

    while (n < max && cw_store_credit(sh) >= 64) {
        assert_int_equal(storeworld_write(w, sh, lba + n, 64), 0);
        n += 64;
        if (n % 1024 == 0) {
            storeworld_settle(w, sh);
        }
    }
    storeworld_settle(w, sh);
    return n;
}

/* A full store gives no credit and says so, survives a restart, takes TRIM, and gives credit again
 * for what was trimmed; overwriting within what is granted goes on for long. */
static void
row_44_a_full_store_can_be_emptied(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 31, 4 * CW_MIB);
    struct cw_store_stats st;
    uint64_t n = fill_by_credit(&w, sh, 0, 1 << 20), again;

    assert_true(n > 90000 && n < 131072);
    cw_store_stats(w.store, &st);
    assert_true(cw_store_credit(sh) < 64);
    assert_true(w.n_health > 0);
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    sh = storeworld_shard(&w, SHARD_ID);
    assert_true(cw_store_credit(sh) < 64);
    assert_true(storeworld_block_is(&w, sh, 100, 100 / 64 + 1));

    assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, 0, (uint32_t)n / 2), 0);
    storeworld_settle(&w, sh);
    assert_true(cw_store_credit(sh) > 0);
    again = fill_by_credit(&w, sh, 0, 1 << 20);
    assert_true(again > n / 3);
    cw_store_stats(w.store, &st);
    assert_false(st.failed);
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* Beyond every credit an append is refused before anything happened, TRIM is not. */
static void
appends_without_credit_end_in_enospc(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 32, 4 * CW_MIB);
    uint64_t lba = 0;
    int err;

    while ((err = storeworld_write(&w, sh, lba, 256)) == 0) {
        lba += 256;
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    assert_int_equal(err, -ENOSPC);
    assert_int_equal(cw_store_credit(sh), 0);
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, 0, (uint32_t)lba), 0);
    storeworld_wait_durable(&w, sh, cw_store_shard_info(sh)->last_seq);
    assert_int_equal(cw_store_shard_info(sh)->mapped_blocks, 0);
    assert_int_equal(storeworld_write(&w, sh, 0, 256), 0);
    storeworld_fini(&w);
}

/* Random overwrites of a store that is so full go on and on: cleaning keeps up, every block reads
 * as written last, accounting stays exact. */
static void
overwrite_at(uint32_t percent, uint64_t pause_ns)
{
    static uint32_t seq_of[120000];
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 33, 4 * CW_MIB);
    struct cw_store_stats st;
    struct cw_prng rnd;
    uint32_t n;

    cw_prng_init(&rnd, 33);
    cw_store_stats(w.store, &st);
    n = (uint32_t)(st.free_bytes / CW_BLOCK_SIZE * percent / 100 / 64 * 64);
    for (uint32_t lba = 0; lba < n; lba += 64) {
        assert_int_equal(storeworld_write(&w, sh, lba, 64), 0);
        for (uint32_t i = 0; i < 64; i++)
            seq_of[lba + i] = (uint32_t)cw_store_shard_info(sh)->last_seq;
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    for (uint32_t k = 0; k < 9000; k++) {
        uint32_t lba = (uint32_t)cw_prng_below(&rnd, n - 8);

        assert_int_equal(storeworld_write(&w, sh, lba, 8), 0);
        for (uint32_t i = 0; i < 8; i++)
            seq_of[lba + i] = (uint32_t)cw_store_shard_info(sh)->last_seq;
        if (k % 50 == 0)
            cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
        storeworld_run(&w, pause_ns);
    }
    storeworld_wait_durable(&w, sh, cw_store_shard_info(sh)->last_seq);
    cw_store_stats(w.store, &st);
    assert_true(st.bytes_cleaned > 0 && st.checkpoints > 2);
    cw_store_check(w.store);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 128 });
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    for (uint32_t lba = 0; lba < n; lba += 37)
        assert_true(storeworld_block_is(&w, sh, lba, seq_of[lba]));
    assert_int_equal(cw_store_shard_info(sh)->mapped_blocks, n);
    cw_store_check(w.store);
    storeworld_fini(&w);
}

static void
overwriting_at_90_percent_goes_on(void **state)
{
    overwrite_at(90, 0);
}

static void
row_44_an_hour_at_95_percent(void **state)
{
    overwrite_at(95, 400 * CW_NS_PER_MS);
}

/* Many chunks, few pages: the cache keeps its bound and nothing is lost on the way out and in. */
static void
a_map_larger_than_its_cache_works(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 34, CW_MIB);
    struct cw_store_stats st;
    uint64_t most = 0;

    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 1500; i++) {
            assert_int_equal(storeworld_write(&w, sh, (uint64_t)i * 700 % 1050000, 2), 0);
            cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
            if (i % 16 == 0)
                storeworld_run(&w, CW_NS_PER_MS);
            cw_store_stats(w.store, &st);
            most = cw_max_u64(most, st.map_cache_bytes);
        }
    }
    storeworld_wait_durable(&w, sh, 3000);
    assert_true(most <= CW_MIB + 64 * CW_BLOCK_SIZE);
    cw_store_stats(w.store, &st);
    assert_true(st.checkpoints > 1);
    for (uint32_t i = 0; i < 1500; i += 3)
        assert_true(storeworld_block_is(&w, sh, (uint64_t)i * 700 % 1050000 + 1, 1501 + i));
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    for (uint32_t i = 0; i < 1500; i += 3)
        assert_true(storeworld_block_is(&w, sh, (uint64_t)i * 700 % 1050000 + 1, 1501 + i));
    storeworld_fini(&w);
}

/* What a checkpoint keeps of pages that change while it writes them is in the budget too: clean
 * pages make room for it, also when nothing new is loaded. */
static void
pages_kept_for_a_checkpoint_are_in_the_budget(void **state)
{
    enum { N_CHUNKS = 4000, N_HOT = 2400 }; /* of the 4096 pages that the cache holds */
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 37, 16 * CW_MIB);
    struct cw_store_stats st;
    uint64_t most = 0, kept = 0;

    for (uint32_t i = 0; i < N_CHUNKS; i++) {
        assert_int_equal(storeworld_write(&w, sh, (uint64_t)i * CW_CHUNK_BLOCKS, 1), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    storeworld_settle(&w, sh);
    for (uint32_t i = 0; i < 8 * N_HOT; i++) {
        assert_int_equal(
            storeworld_write(&w, sh, (uint64_t)(i * 7919 % N_HOT) * CW_CHUNK_BLOCKS, 1), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
        if (i % 256 == 0)
            storeworld_run(&w, CW_NS_PER_MS / 10);
        cw_store_stats(w.store, &st);
        most = cw_max_u64(most, st.map_cache_bytes);
        kept = cw_max_u64(kept, st.map_cache_bytes / CW_BLOCK_SIZE - st.map_pages);
    }
    assert_true(kept > 32);
    assert_true(most <= 16 * CW_MIB + 64 * CW_BLOCK_SIZE);
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* Dropping a copy gives all its space back, in the background, also across a crash. */
static void
a_dropped_copy_gives_its_space_back(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 35, CW_MIB), *other;
    struct cw_store_stats before, st;
    struct storeworld_ticket t;

    other = storeworld_shard(&w, SHARD_ID + 1);
    assert_int_equal(storeworld_write(&w, other, 5, 1), 0);
    storeworld_wait_durable(&w, other, 1);
    cw_store_stats(w.store, &before);
    for (uint32_t i = 0; i < 600; i++) {
        assert_int_equal(storeworld_write(&w, sh, (uint64_t)i * 256, 16), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    storeworld_wait_durable(&w, sh, 600);
    cw_store_shard_drop(sh, storeworld_ticket(&t));
    assert_null(cw_store_shard_find(w.store, SHARD_ID));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&w), 0);
    assert_null(cw_store_shard_find(w.store, SHARD_ID));
    storeworld_run(&w, 10 * WORLD_S);
    cw_store_stats(w.store, &st);
    assert_int_equal(st.used_bytes, before.used_bytes);
    sh = storeworld_shard(&w, SHARD_ID);
    assert_true(storeworld_block_is(&w, sh, 256, 0));
    assert_int_equal(cw_store_shard_info(sh)->last_seq, 0);
    other = cw_store_shard_find(w.store, SHARD_ID + 1);
    assert_true(storeworld_block_is(&w, other, 5, 1));
    cw_store_check(w.store);
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_44_a_full_store_can_be_emptied),
        cmocka_unit_test(appends_without_credit_end_in_enospc),
        cmocka_unit_test(overwriting_at_90_percent_goes_on),
        cmocka_unit_test(row_44_an_hour_at_95_percent),
        cmocka_unit_test(a_map_larger_than_its_cache_works),
        cmocka_unit_test(pages_kept_for_a_checkpoint_are_in_the_budget),
        cmocka_unit_test(a_dropped_copy_gives_its_space_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
