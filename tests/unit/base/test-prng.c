#include "common/base/prng.h"
#include "tests/lib/cw-test.h"

/* One seed gives one sequence, another seed another. */
static void
prng_is_reproducible(void **state)
{
    struct cw_prng a, b, c;
    int same = 0;

    cw_prng_init(&a, 1);
    cw_prng_init(&b, 1);
    cw_prng_init(&c, 2);
    for (int i = 0; i < 1000; i++) {
        uint64_t x = cw_prng_next(&a);

        assert_int_equal(x, cw_prng_next(&b));
        same += x == cw_prng_next(&c);
    }
    assert_int_equal(same, 0);
}

/* Every value below the bound comes up, none at or above it. */
static void
prng_below_covers_its_range(void **state)
{
    struct cw_prng p;
    int seen[7] = { 0 };

    cw_prng_init(&p, 3);
    for (int i = 0; i < 7000; i++)
        seen[cw_prng_below(&p, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 800, 1200);
    assert_int_equal(cw_prng_below(&p, 1), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prng_is_reproducible),
        cmocka_unit_test(prng_below_covers_its_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
