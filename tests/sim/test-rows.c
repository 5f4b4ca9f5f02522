/* Every scenario, with a few different latencies and loads: rows of the acceptance catalogue, and
 * what the models found.
 */
#include "tests/lib/cw-test.h"

#include "common/base/bits.h"
#include "tests/sim/scenario.h"

static void
sim_plays(void **state)
{
    const struct sim_scenario *sc = *state;

    for (uint64_t seed = 1; seed <= SIM_ROW_SEEDS; seed++) {
        struct sim_result r = sim_run((struct sim_opts){ .seed = seed, .scenario = sc });

        if (r.failed)
            fail_msg("%s: %s; again: causeway-sim --scenario %s --seed %llu --trace", sc->what,
                     r.why, sc->name, (unsigned long long)seed);
    }
}

#define ROWS_MAX 96u

int
main(void)
{
    static struct CMUnitTest tests[ROWS_MAX];
    size_t n = 0;

    for (const struct sim_scenario *sc = sim_scenarios; sc->name != NULL; sc++) {
        assert_true(n < CW_LEN(tests));
        tests[n++] = (struct CMUnitTest){ .name = sc->name,
                                          .test_func = sim_plays,
                                          .initial_state = (void *)(uintptr_t)sc };
    }
    return _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
}
