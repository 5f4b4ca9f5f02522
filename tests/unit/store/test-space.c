#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- an hour of fill, overwrite, trim, restart ---- */

#define BRIM_BLOCKS 122880u /* more than there is room for */
#define BRIM_RUN 64u
#define BRIM_ROUNDS 12u

struct brim {
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_prng rnd;
    uint32_t seq_of[BRIM_BLOCKS];
    uint32_t n_waited; /* writes for which there was no credit until something was trimmed */
};

static uint32_t
brim_lba(struct brim *x, uint32_t n)
{
    return (uint32_t)cw_prng_below(&x->rnd, (BRIM_BLOCKS - n) / n) * n;
}

static void
brim_trim(struct brim *x, uint32_t lba, uint32_t n)
{
    assert_int_equal(storeworld_clear(&x->w, x->sh, CW_FT_TRIM, lba, n), 0);
    memset(x->seq_of + lba, 0, n * sizeof(x->seq_of[0]));
    storeworld_settle(&x->w, x->sh);
}

/* As an owner does: without credit the guest waits. False: in vain. */
static bool
brim_write(struct brim *x, uint32_t lba, uint32_t n)
{
    for (uint32_t i = 0; i < 20 && cw_store_credit(x->sh) < n; i++)
        storeworld_run(&x->w, 100 * CW_NS_PER_MS);
    if (cw_store_credit(x->sh) < n)
        return false;
    assert_int_equal(storeworld_write(&x->w, x->sh, lba, n), 0);
    for (uint32_t i = 0; i < n; i++)
        x->seq_of[lba + i] = (uint32_t)cw_store_shard_info(x->sh)->last_seq;
    return true;
}

/* What is empty, in any order, until there is no credit. */
static void
brim_fill(struct brim *x)
{
    uint32_t first = brim_lba(x, BRIM_RUN), n = 0;
    struct cw_store_stats st;

    for (uint32_t k = 0; k < BRIM_BLOCKS; k += BRIM_RUN) {
        uint32_t lba = (first + k) % BRIM_BLOCKS;

        if (x->seq_of[lba] != 0)
            continue;
        if (!brim_write(x, lba, BRIM_RUN))
            break;
        if (++n % 16 == 0)
            storeworld_settle(&x->w, x->sh);
    }
    storeworld_settle(&x->w, x->sh);
    cw_store_stats(x->w.store, &st);
    assert_true(st.full && st.used_bytes >= (st.used_bytes + st.free_bytes) / 100 * 93);
}

/* Five minutes of overwrites; when there is no credit, a little is trimmed and that comes next. */
static void
brim_overwrite(struct brim *x)
{
    uint64_t until_ns = x->w.sim.now_ns + 300 * WORLD_S;

    for (uint32_t i = 0; x->w.sim.now_ns < until_ns; i++) {
        if (!brim_write(x, brim_lba(x, 8), 8)) {
            x->n_waited++;
            brim_trim(x, brim_lba(x, 512), 512);
        }
        if (i % 16 == 15)
            storeworld_settle(&x->w, x->sh);
        storeworld_run(&x->w, 400 * CW_NS_PER_MS);
    }
    storeworld_settle(&x->w, x->sh);
}

static void
brim_check(struct brim *x, uint32_t step)
{
    struct cw_store_stats st;

    cw_store_stats(x->w.store, &st);
    assert_false(st.failed);
    assert_int_equal(st.csum_errors, 0);
    for (uint32_t lba = (uint32_t)cw_prng_below(&x->rnd, step); lba < BRIM_BLOCKS; lba += step)
        assert_true(storeworld_block_is(&x->w, x->sh, lba, x->seq_of[lba]));
    cw_store_check(x->w.store);
}

static void
brim_restart(struct brim *x, bool crash)
{
    if (crash)
        storeworld_crash(&x->w, (struct cw_ramdisk_crash){ .seed = x->w.sim.now_ns, .keep = 128 });
    else
        assert_int_equal(storeworld_close(&x->w), 0);
    assert_int_equal(storeworld_open(&x->w), 0);
    x->sh = cw_store_shard_find(x->w.store, SHARD_ID);
}

/* An hour, as full as it gets: filled until there is no credit, restarted so, overwritten, a
 * quarter trimmed, restarted, filled again. The cleaner keeps up, and nothing is lost. */
static void
row_44_an_hour_of_fill_trim_and_restart(void **state)
{
    struct brim *x = calloc(1, sizeof(*x));
    struct cw_store_stats st;

    x->sh = small_world(&x->w, 36, 4 * CW_MIB);
    cw_prng_init(&x->rnd, 36);
    for (uint32_t round = 0; round < BRIM_ROUNDS; round++) {
        brim_fill(x);
        brim_restart(x, round % 2 == 0);
        brim_check(x, 1009);
        cw_store_stats(x->w.store, &st);
        assert_true(st.full);
        brim_trim(x, brim_lba(x, 1024), 1024);
        brim_overwrite(x);
        cw_store_stats(x->w.store, &st);
        assert_true(st.bytes_cleaned > 0 && st.checkpoints > 0);
        for (uint32_t i = 0; i < BRIM_BLOCKS / 4096; i++)
            brim_trim(x, brim_lba(x, 1024), 1024);
        brim_restart(x, round % 3 == 0);
        brim_check(x, 1009);
        assert_true(cw_store_credit(x->sh) > 0);
    }
    assert_true(x->w.sim.now_ns >= 3600 * WORLD_S && x->n_waited > 0);
    brim_check(x, 37);
    storeworld_fini(&x->w);
    free(x);
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

/* ---- many copies on a small store ---- */

#define MANY 102u
#define MANY_RUN 64u

struct many {
    struct storeworld w;
    struct cw_store_shard *sh[MANY];
    uint32_t blocks[MANY]; /* written, from 0 on */
};

static void
many_find(struct many *x)
{
    for (uint32_t i = 0; i < MANY; i++)
        x->sh[i] = storeworld_shard(&x->w, SHARD_ID + i);
}

static void
many_write(struct many *x, uint32_t i)
{
    assert_int_equal(storeworld_write(&x->w, x->sh[i], x->blocks[i], MANY_RUN), 0);
    x->blocks[i] += MANY_RUN;
}

static void
many_settle(struct many *x)
{
    for (uint32_t i = 0; i < MANY; i++)
        storeworld_settle(&x->w, x->sh[i]);
}

static bool
many_have_credit(const struct many *x)
{
    for (uint32_t i = 0; i < MANY; i++) {
        if (cw_store_credit(x->sh[i]) < CW_IO_BLOCKS_MAX)
            return false;
    }
    return true;
}

static void
many_credit(const struct many *x, uint32_t *credit)
{
    for (uint32_t i = 0; i < MANY; i++)
        credit[i] = cw_store_credit(x->sh[i]);
}

/* What all were granted at one moment: each uses all of it, and asks nobody. */
static void
many_use_credit(struct many *x, uint32_t *credit)
{
    for (uint32_t i = 0; i < MANY; i++) {
        for (; credit[i] >= MANY_RUN; credit[i] -= MANY_RUN)
            many_write(x, i);
    }
    many_settle(x);
}

static void
many_check(struct many *x)
{
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(cw_store_shard_info(x->sh[i])->mapped_blocks, x->blocks[i]);
        for (uint32_t lba = i % 7; lba < x->blocks[i]; lba += 61)
            assert_true(storeworld_block_is(&x->w, x->sh[i], lba, lba / MANY_RUN + 1));
    }
    cw_store_check(x->w.store);
}

/* Each copy may have its largest record under way, and that is kept for it: they fill the rest of
 * the store, and at the end use at once what all were granted. */
static void
many_copies_share_a_small_store(void **state)
{
    struct many *x = calloc(1, sizeof(*x));
    struct cw_store_stats st;
    uint32_t credit[MANY], n = 0;

    small_world(&x->w, 38, 4 * CW_MIB);
    many_find(x);
    cw_store_stats(x->w.store, &st);
    assert_false(st.full);
    assert_true(many_have_credit(x));
    for (; many_have_credit(x); n++) {
        if (n % 64 == 0)
            many_settle(x);
        many_credit(x, credit);
        many_write(x, n % MANY);
    }
    credit[(n - 1) % MANY] -= MANY_RUN;
    cw_store_stats(x->w.store, &st);
    assert_true(st.used_bytes > (st.used_bytes + st.free_bytes) / 10 * 7);
    many_settle(x);
    many_use_credit(x, credit);
    cw_store_stats(x->w.store, &st);
    assert_true(st.full && !st.failed);
    storeworld_crash(&x->w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&x->w), 0);
    many_find(x);
    many_check(x);

    for (uint32_t i = 0; i < MANY; i++) { /* and it can be emptied */
        assert_int_equal(storeworld_clear(&x->w, x->sh[i], CW_FT_TRIM, 0, 1 << 16), 0);
        x->blocks[i] = 0;
    }
    many_settle(x);
    cw_store_stats(x->w.store, &st);
    assert_false(st.full);
    assert_true(many_have_credit(x));
    many_check(x);
    assert_int_equal(storeworld_close(&x->w), 0);
    storeworld_fini(&x->w);
    free(x);
}

/* What is kept for many is no more than a quarter: one copy more is refused, and whoever holds
 * credit hears of each one that makes it less. */
static void
no_more_copies_than_there_is_credit_for(void **state)
{
    struct cw_store_stats st;
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    struct cw_shard_rec rec;
    struct storeworld w;
    uint32_t n = 1;
    int err = 0;

    sh = small_world(&w, 39, 4 * CW_MIB);
    for (; n < 10000; n++) {
        uint64_t told = w.n_health;
        uint32_t credit = cw_store_credit(sh);

        rec = storeworld_rec(&w, SHARD_ID + n);
        if (cw_store_shard_create(w.store, &rec, storeworld_ticket(&t), &err) == NULL)
            break;
        assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
        assert_true(cw_store_credit(sh) >= CW_IO_BLOCKS_MAX);
        assert_true(cw_store_credit(sh) == credit || w.n_health > told);
    }
    assert_int_equal(err, -ENOSPC);
    cw_store_stats(w.store, &st);
    assert_false(st.full);
    assert_in_range(n, st.free_bytes / CW_MIB / 5, st.free_bytes / CW_MIB / 4 + 1);
    cw_store_shard_drop(cw_store_shard_find(w.store, SHARD_ID + 1), storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_non_null(storeworld_shard(&w, SHARD_ID + n));
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
        cmocka_unit_test(row_44_an_hour_of_fill_trim_and_restart),
        cmocka_unit_test(a_map_larger_than_its_cache_works),
        cmocka_unit_test(pages_kept_for_a_checkpoint_are_in_the_budget),
        cmocka_unit_test(a_dropped_copy_gives_its_space_back),
        cmocka_unit_test(many_copies_share_a_small_store),
        cmocka_unit_test(no_more_copies_than_there_is_credit_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
