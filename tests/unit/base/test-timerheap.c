#include "common/base/bits.h"
#include "common/base/prng.h"
#include "common/base/timerheap.h"
#include "tests/lib/cw-test.h"

/* Under random setting, moving and cancelling, timers come out in order, each once, never early. */
static void
heap_fires_in_order(void **state)
{
    static struct cw_timer timers[200];
    struct cw_timerheap h;
    struct cw_prng p;
    uint64_t last = 0;
    size_t armed = 0, popped = 0;
    struct cw_timer *t;

    cw_timerheap_init(&h);
    cw_prng_init(&p, 5);
    for (int i = 0; i < 5000; i++) {
        t = &timers[cw_prng_below(&p, CW_LEN(timers))];
        if (cw_prng_below(&p, 3) == 0)
            cw_timerheap_cancel(&h, t);
        else
            cw_timerheap_set(&h, t, cw_prng_below(&p, 1000));
    }
    for (size_t i = 0; i < CW_LEN(timers); i++)
        armed += cw_timer_armed(&timers[i]);
    for (uint64_t now = 0; now < 1000; now += 10) {
        while ((t = cw_timerheap_pop(&h, now)) != NULL) {
            assert_true(t->at_ns <= now && t->at_ns >= last);
            assert_false(cw_timer_armed(t));
            last = t->at_ns;
            popped++;
        }
        assert_true(cw_timerheap_next(&h) > now);
    }
    while (cw_timerheap_pop(&h, 1000) != NULL)
        popped++;
    assert_int_equal(popped, armed);
    assert_true(cw_timerheap_next(&h) == CW_NEVER);
    cw_timerheap_fini(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_fires_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
