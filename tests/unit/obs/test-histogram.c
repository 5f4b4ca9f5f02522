#include <stdlib.h>

#include "common/base/bits.h"
#include "common/base/histogram.h"
#include "common/base/prng.h"
#include "tests/lib/cw-test.h"

static int
compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Every percentile lies between the exact one and 3.2 % above it. */
static void
histogram_percentiles_are_close(void **state)
{
    enum { N = 20000 };
    static struct cw_histogram h;
    static uint64_t all[N];
    struct cw_prng p;

    cw_prng_init(&p, 3);
    cw_histogram_reset(&h);
    for (size_t i = 0; i < N; i++) {
        all[i] = cw_prng_next(&p) >> (22 + cw_prng_below(&p, 40));
        cw_histogram_add(&h, all[i]);
    }
    qsort(all, N, sizeof(all[0]), compare_u64);
    for (unsigned pm = 1; pm <= 1000; pm++) {
        uint64_t exact = all[cw_div_up((uint64_t)N * pm, 1000) - 1];
        uint64_t got = cw_histogram_percentile(&h, pm);

        assert_true(got >= exact);
        assert_true(got <= exact + exact / 31);
    }
    assert_int_equal(h.max_ns, all[N - 1]);
    assert_int_equal(h.min_ns, all[0]);
    assert_int_equal(cw_histogram_percentile(&h, 1000), h.max_ns);
}

/* Merging two is the same as having added everything to one. */
static void
histogram_merge_is_addition(void **state)
{
    static struct cw_histogram a, b, both;
    struct cw_prng p;

    cw_prng_init(&p, 4);
    cw_histogram_reset(&a);
    cw_histogram_reset(&b);
    cw_histogram_reset(&both);
    cw_histogram_merge(&a, &b);
    assert_int_equal(a.n, 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t ns = cw_prng_below(&p, 1000000);

        cw_histogram_add(i % 3 ? &a : &b, ns);
        cw_histogram_add(&both, ns);
    }
    cw_histogram_merge(&a, &b);
    assert_memory_equal(&a, &both, sizeof(a));
}

/* The ends: nothing, zero, the longest time and what is longer. */
static void
histogram_ends(void **state)
{
    static struct cw_histogram h;

    cw_histogram_reset(&h);
    assert_int_equal(cw_histogram_percentile(&h, 990), 0);
    assert_int_equal(cw_histogram_mean(&h), 0);
    cw_histogram_add(&h, 0);
    assert_int_equal(cw_histogram_percentile(&h, 990), 0);
    cw_histogram_add(&h, UINT64_C(1) << 50);
    assert_int_equal(h.count[CW_HISTOGRAM_BUCKETS - 1], 1);
    assert_true(cw_histogram_percentile(&h, 1000) >= (UINT64_C(1) << 42) - 1);
    for (uint64_t ns = 0; ns < 5000; ns++) {
        cw_histogram_reset(&h);
        cw_histogram_add(&h, ns);
        assert_int_equal(cw_histogram_percentile(&h, 500), ns);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histogram_percentiles_are_close),
        cmocka_unit_test(histogram_merge_is_addition),
        cmocka_unit_test(histogram_ends),
    };

    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
