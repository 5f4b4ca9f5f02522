#include "common/owner/limit.h"

#include "common/base/bits.h"
#include "common/base/env.h"
#include "common/base/prng.h"
#include "tests/lib/cw-test.h"

/* How many requests of that length go in so many seconds, asked for whenever they may. */
static uint64_t
run(struct cw_limit *l, uint64_t *now, uint64_t seconds, uint64_t len)
{
    uint64_t end = *now + seconds * CW_NS_PER_S, n = 0, at = 0;

    while (*now < end) {
        if (cw_limit_take(l, *now, len, &at)) {
            n++;
            continue;
        }
        assert_true(at > *now);
        *now = at;
    }
    return n;
}

/* Over random limits and lengths: what goes in ten seconds is ten seconds' worth and one bucket, to
 * a request; in the next ten it is ten seconds' worth. */
static void
lets_through_what_it_should(void **state)
{
    struct cw_prng p;

    cw_prng_init(&p, 31);
    for (int round = 0; round < 500; round++) {
        struct cw_limit l = { 0 };
        uint64_t now = 1 + cw_prng_below(&p, CW_NS_PER_S), len = 4096 * (1 + cw_prng_below(&p, 64));
        uint64_t iops = 1 + cw_prng_below(&p, 5000),
                 bytes = CW_MIB + cw_prng_below(&p, 200 * CW_MIB);
        uint64_t units = cw_div_up(len, CW_LIMIT_UNIT_BYTES), n;
        uint64_t each; /* seconds' worth, in thousandths of a request */

        cw_limit_set(&l, iops, bytes);
        each = cw_min_u64(iops * 1000 / units, bytes * 1000 / len);
        n = run(&l, &now, 10, len);
        assert_in_range(n, 11 * each / 1000 - 1, 11 * each / 1000 + 3);
        n = run(&l, &now, 10, len);
        assert_in_range(n * 1000 + 3000, 10 * each, 10 * each + 6000);
    }
}

/* A pause gives a second's worth and no more; no limit is none; the same limits again give nothing
 * anew. */
static void
a_pause_fills_one_bucket(void **state)
{
    struct cw_limit l = { 0 };
    uint64_t now = 5, at, n = 0;

    for (int i = 0; i < 100000; i++)
        assert_true(cw_limit_take(&l, now, CW_MIB, &at));
    cw_limit_set(&l, 100, 0);
    now = 1000 * CW_NS_PER_S;
    while (cw_limit_take(&l, now, 4096, &at))
        n++;
    assert_in_range(n, 100, 101);
    cw_limit_set(&l, 100, 0);
    assert_false(cw_limit_take(&l, now, 4096, &at));
    assert_int_equal(at, now + CW_NS_PER_S / 100);
    now += 3600 * CW_NS_PER_S;
    for (n = 0; cw_limit_take(&l, now, 4096, &at);)
        n++;
    assert_in_range(n, 100, 101);
    cw_limit_set(&l, 100, 0);
    now += CW_NS_PER_S; /* 1 MiB counts for 32 */
    for (n = 0; cw_limit_take(&l, now, CW_MIB, &at);)
        n++;
    assert_in_range(n, 3, 4);
}

/* What is larger than a bucket goes, and is paid for. */
static void
large_requests_go_too(void **state)
{
    struct cw_limit l = { 0 };
    uint64_t now = 10 * CW_NS_PER_S, at;

    cw_limit_set(&l, 0, 64 * 1024);
    assert_true(cw_limit_take(&l, now, CW_MIB, &at));
    assert_false(cw_limit_take(&l, now, 4096, &at));
    assert_int_equal(at, now + 15 * CW_NS_PER_S);
    assert_true(cw_limit_take(&l, at, 4096, &at));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_through_what_it_should),
        cmocka_unit_test(a_pause_fills_one_bucket),
        cmocka_unit_test(large_requests_go_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
