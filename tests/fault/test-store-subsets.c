/* Every subset of what a power cut may keep or lose (row 38 of the acceptance catalogue): after
 * each write that a run submits, all subsets of the pieces at risk while they are few, else a
 * sample, in whole sectors and torn at 512 bytes. What recovers is a prefix that holds all that was
 * acknowledged, and goes on.
 *
 *   CW_TEST_LONG=1   more pieces are taken exhaustively, longer runs (minutes)
 *   an argument      only the cases that match it
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/storelife.h"

#define PIECES_MAX 8192u

struct subsets {
    struct storelife life;
    struct storeworld w;
    struct cw_prng rnd;
    uint32_t exact_max; /* pieces of which all subsets are tried */
    uint32_t samples;   /* else, of each size of piece */
    uint64_t writes;    /* seen so far */
    uint64_t n_cuts, n_exact_sets, n_sampled_sets, n_opened;
    uint32_t most;
};

static bool
is_long(void)
{
    return getenv("CW_TEST_LONG") != NULL;
}

static void
try_one(struct subsets *x, uint32_t piece, const uint64_t *kept)
{
    struct storelife_cut cut = {
        .piece = piece,
        .kept = kept,
        .again = x->n_opened % 16 == 0,
    };

    x->n_opened++;
    storelife_check_cut(&x->life, &cut, 0);
}

static void
try_all(struct subsets *x, uint32_t piece, uint32_t n)
{
    x->n_exact_sets++;
    for (uint64_t kept = 0; kept < UINT64_C(1) << n; kept++)
        try_one(x, piece, &kept);
}

/* All but one, one alone, each prefix, and random ones. */
static void
try_some(struct subsets *x, uint32_t piece, uint32_t n)
{
    uint64_t kept[PIECES_MAX / 64];

    x->n_sampled_sets++;
    for (uint32_t i = 0; i < x->samples; i++) {
        uint32_t at = (uint32_t)cw_prng_below(&x->rnd, n);

        for (uint32_t k = 0; k < n / 64 + 1; k++)
            kept[k] = i % 4 == 0   ? UINT64_MAX
                      : i % 4 == 1 ? cw_prng_next(&x->rnd) | cw_prng_next(&x->rnd)
                      : i % 4 == 2 ? cw_prng_next(&x->rnd)
                                   : 0;
        if (i % 4 == 0)
            kept[at / 64] &= ~CW_BIT(at % 64);
        for (uint32_t k = 0; i % 4 == 3 && k < at; k++)
            cw_bit_set(kept, k);
        try_one(x, piece, kept);
    }
}

static void
try_cut(struct subsets *x)
{
    static const uint32_t sizes[] = { 4096, 512 };

    x->n_cuts++;
    storelife_note(&x->life);
    for (size_t i = 0; i < CW_LEN(sizes); i++) {
        uint32_t n = cw_ramdisk_pieces(x->w.disk, sizes[i]);

        if (n > x->most)
            x->most = n;
        assert_true(n < PIECES_MAX);
        if (n <= x->exact_max)
            try_all(x, sizes[i], n);
        else
            try_some(x, sizes[i], n);
    }
}

/* A cut is tried whenever writes were submitted. */
static void
look(struct subsets *x)
{
    uint64_t writes = cw_ramdisk_count(x->w.disk, CW_RAMDISK_WRITES);

    if (writes != x->writes)
        try_cut(x);
    x->writes = writes;
}

static void
submit(struct subsets *x)
{
    cw_store_turn_end(x->w.store);
    look(x);
}

static void
steps(struct subsets *x, uint64_t n)
{
    for (; n > 0; n--) {
        cw_simenv_step(&x->w.sim);
        look(x);
    }
}

static void
subsets_new(struct subsets *x, uint64_t seed)
{
    memset(x, 0, sizeof(*x));
    cw_prng_init(&x->rnd, seed);
    x->exact_max = is_long() ? 8 : 5;
    x->samples = is_long() ? 24 : 2;
    storeworld_init(&x->w, seed, 512 * CW_MIB, CW_MIB);
    storelife_init(&x->life, &x->w, seed);
}

static void
subsets_begin(struct subsets *x)
{
    storeworld_run(&x->w, 300 * CW_NS_PER_MS); /* the prewritten segments */
    x->writes = cw_ramdisk_count(x->w.disk, CW_RAMDISK_WRITES);
}

static void
subsets_end(struct subsets *x)
{
    print_message("# %llu cuts, at most %u pieces at risk; %llu sets whole, %llu sampled, "
                  "%llu stores opened\n",
                  (unsigned long long)x->n_cuts, x->most, (unsigned long long)x->n_exact_sets,
                  (unsigned long long)x->n_sampled_sets, (unsigned long long)x->n_opened);
    storeworld_fini(&x->w);
}

static void
mixed_run(struct subsets *x, uint32_t rounds, uint32_t nblk_max)
{
    for (uint32_t i = 0; i < rounds; i++) {
        for (uint64_t n = 1 + cw_prng_below(&x->rnd, 3); n > 0; n--) {
            assert_int_equal(storelife_some(&x->life, nblk_max), 0);
            if (cw_prng_below(&x->rnd, 2) == 0)
                assert_int_equal(storelife_some(&x->life, nblk_max), 0);
            submit(x);
        }
        steps(x, cw_prng_below(&x->rnd, 4));
        if (i % 9 == 8)
            storelife_stable(&x->life, 5);
    }
}

static void
run_fresh(uint64_t seed, uint32_t rounds, uint32_t nblk_max)
{
    static struct subsets x;

    subsets_new(&x, seed);
    assert_int_equal(storeworld_format(&x.w, false), 0);
    assert_int_equal(storeworld_open(&x.w), 0);
    storelife_open(&x.life);
    subsets_begin(&x);
    mixed_run(&x, rounds, nblk_max);
    subsets_end(&x);
}

/* One block in a batch, up to four batches in flight: nearly every set is tried as a whole. */
static void
row_38_every_subset_of_single_blocks(void **state)
{
    for (uint64_t seed = 1; seed <= (is_long() ? 5 : 1); seed++)
        run_fresh(seed, 25, 1);
}

/* Batches of many records and of large ones. */
static void
row_38_subsets_of_large_batches(void **state)
{
    for (uint64_t seed = 1; seed <= (is_long() ? 5 : 1); seed++)
        run_fresh(100 + seed, 25, 60);
}

/* A segment is sealed while its last batches are under way: of all that any one piece is missing,
 * for each of them. What its summary tells of a batch that is not there is not believed. */
static void
row_38_any_piece_of_a_sealed_segment(void **state)
{
    static struct subsets x;
    struct cw_store_stats st;
    uint64_t n_free;

    subsets_new(&x, 250);
    assert_int_equal(storeworld_format(&x.w, false), 0);
    assert_int_equal(storeworld_open(&x.w), 0);
    storelife_open(&x.life);
    storeworld_run(&x.w, 300 * CW_NS_PER_MS);
    for (uint32_t sealed = 0; sealed < (is_long() ? 8 : 2);) {
        uint32_t n;

        cw_store_stats(x.w.store, &st);
        n_free = st.segments_free;
        for (uint32_t i = 0; i < 3; i++) {
            assert_int_equal(storelife_some(&x.life, 60), 0);
            cw_store_turn_end(x.w.store);
        }
        cw_store_stats(x.w.store, &st);
        n = cw_ramdisk_pieces(x.w.disk, CW_BLOCK_SIZE);
        storelife_note(&x.life);
        for (uint32_t i = 0; st.segments_free < n_free && i < n; i++) {
            uint64_t kept[PIECES_MAX / 64];

            memset(kept, 0xff, sizeof(kept));
            kept[i / 64] &= ~CW_BIT(i % 64);
            try_one(&x, CW_BLOCK_SIZE, kept);
        }
        sealed += st.segments_free < n_free;
        storeworld_run(&x.w, cw_prng_below(&x.rnd, 2) * CW_NS_PER_MS / 8);
    }
    subsets_end(&x);
}

/* Everything up to the end of an open or close. */
static void
watched(struct subsets *x)
{
    for (uint32_t i = 0; i < 100000 && !x->w.done; i++)
        steps(x, 1);
    assert_true(x->w.done);
    assert_int_equal(x->w.res, 0);
}

/* Checkpoints under traffic, the superblocks, a clean stop and the start after it. */
static void
row_38_subsets_of_checkpoints(void **state)
{
    static struct subsets x;

    subsets_new(&x, 200);
    assert_int_equal(storeworld_format(&x.w, false), 0);
    for (uint32_t i = 0; i < (is_long() ? 12 : 2); i++) {
        struct cw_store_stats st;

        storelife_leave(&x.life);
        storeworld_open_begin(&x.w);
        watched(&x);
        storelife_open(&x.life);
        subsets_begin(&x);
        mixed_run(&x, 3, 3);
        storeworld_run(&x.w, 601 * WORLD_S); /* what is due every 10 minutes */
        mixed_run(&x, 12, 3);
        cw_store_stats(x.w.store, &st);
        assert_true(st.checkpoints >= 2);
        storeworld_close_begin(&x.w);
        watched(&x);
        cw_store_free(x.w.store);
        x.w.store = NULL;
    }
    subsets_end(&x);
}

/* A store with hardly a free segment: cleaning and checkpoints go on all the time. */
static void
row_38_subsets_while_cleaning(void **state)
{
    static struct subsets x;
    struct cw_store_stats st;

    subsets_new(&x, 300);
    x.samples = is_long() ? 24 : 1;
    storelife_tighten(&x.life);
    x.writes = cw_ramdisk_count(x.w.disk, CW_RAMDISK_WRITES);
    for (uint32_t i = 0; i < (is_long() ? 60 : 12); i++) {
        mixed_run(&x, 1, 3);
        steps(&x, 40);
        storelife_stable(&x.life, 0);
    }
    cw_store_stats(x.w.store, &st);
    assert_true(st.bytes_cleaned > 0);
    subsets_end(&x);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_38_every_subset_of_single_blocks),
        cmocka_unit_test(row_38_subsets_of_large_batches),
        cmocka_unit_test(row_38_any_piece_of_a_sealed_segment),
        cmocka_unit_test(row_38_subsets_of_checkpoints),
        cmocka_unit_test(row_38_subsets_while_cleaning),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
