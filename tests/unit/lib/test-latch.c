/* A latch is open for good, and whoever does not get it in time is told so. */
#include "tests/lib/cw-test.h"

#include "client/lib/latch.h"

static void *
opener(void *arg)
{
    cw_latch_open(arg);
    return NULL;
}

static void
waits_until_it_is_open(void **state)
{
    struct cw_latch l;
    pthread_t t;

    cw_latch_init(&l);
    assert_false(cw_latch_wait_ms(&l, 0));
    assert_false(cw_latch_wait_ms(&l, 20));
    assert_int_equal(pthread_create(&t, NULL, opener, &l), 0);
    assert_true(cw_latch_wait_ms(&l, 60000));
    cw_latch_wait(&l);
    assert_true(cw_latch_wait_ms(&l, 0));
    assert_int_equal(pthread_join(t, NULL), 0);
    cw_latch_fini(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(waits_until_it_is_open) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
