/* How fast resyncs may copy, second by second. */
#include "common/base/bits.h"
#include "common/owner/pace.h"
#include "tests/lib/cw-test.h"

#define MS (1000u * 1000u)

static void
second(struct cw_pace *p, uint32_t resyncs, uint64_t moved, uint64_t p99_ns)
{
    cw_pace_second(p, &(struct cw_pace_second){ resyncs, moved, p99_ns });
}

static void
learnt(struct cw_pace *p)
{
    *p = (struct cw_pace){ 0 };
    for (int i = 0; i < 30; i++)
        second(p, 0, 0, 4 * MS);
}

/* Without requests, or while they are as they normally are, nothing bounds it. */
static void
idle_is_unbounded(void **state)
{
    struct cw_pace p;

    learnt(&p);
    assert_int_equal(p.normal_ns, 4 * MS);
    assert_int_equal(cw_pace_rate(&p), 0);
    second(&p, 2, 300 * CW_MIB, 0);
    assert_int_equal(cw_pace_rate(&p), 0);
    second(&p, 2, 300 * CW_MIB, 5 * MS);
    assert_int_equal(cw_pace_rate(&p), 0);
}

/* Requests that take longer than they normally do slow it down, to a floor; it recovers when they
 * are well again, at once when they end. */
static void
slow_requests_slow_it_down(void **state)
{
    struct cw_pace p;
    uint64_t low;

    learnt(&p);
    second(&p, 1, 200 * CW_MIB, 30 * MS);
    assert_int_equal(cw_pace_rate(&p), 150 * CW_MIB);
    second(&p, 1, 150 * CW_MIB, 30 * MS);
    assert_true(cw_pace_rate(&p) < 120 * CW_MIB);
    for (int i = 0; i < 30; i++)
        second(&p, 1, cw_pace_rate(&p), 30 * MS);
    assert_int_equal(cw_pace_rate(&p), 4 * CW_MIB);
    low = cw_pace_rate(&p);
    second(&p, 1, low, 5 * MS);
    assert_true(cw_pace_rate(&p) > low && cw_pace_rate(&p) < 2 * low);
    for (int i = 0; i < 10; i++)
        second(&p, 1, cw_pace_rate(&p), 0);
    assert_int_equal(cw_pace_rate(&p), 0);
}

/* What is slow only because of the resync is not taken for normal; what is slow without it is. */
static void
normal_is_what_is_without_it(void **state)
{
    struct cw_pace p;

    learnt(&p);
    for (int i = 0; i < 60; i++)
        second(&p, 1, 50 * CW_MIB, 30 * MS);
    assert_true(p.normal_ns < 6 * MS);
    for (int i = 0; i < 60; i++)
        second(&p, 0, 0, 30 * MS);
    assert_true(p.normal_ns > 28 * MS);
    second(&p, 1, 50 * CW_MIB, 32 * MS);
    assert_int_equal(cw_pace_rate(&p), 0);
}

/* An operator's word bounds it in any case. */
static void
the_limit_stands(void **state)
{
    struct cw_pace p;

    learnt(&p);
    p.limit = 20 * CW_MIB;
    assert_int_equal(cw_pace_rate(&p), 20 * CW_MIB);
    second(&p, 1, 20 * CW_MIB, 40 * MS);
    assert_int_equal(cw_pace_rate(&p), 15 * CW_MIB);
    second(&p, 0, 0, 4 * MS);
    assert_int_equal(cw_pace_rate(&p), 20 * CW_MIB);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_is_unbounded),
        cmocka_unit_test(slow_requests_slow_it_down),
        cmocka_unit_test(normal_is_what_is_without_it),
        cmocka_unit_test(the_limit_stands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
