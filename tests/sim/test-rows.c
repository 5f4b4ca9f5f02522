/* Every scenario, with a few different latencies and loads: rows of the acceptance catalogue, and
 * what the models found.
 */
#include "tests/lib/cw-test.h"

#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/scenario.h"

static uint64_t marks[SIM_N_MARKS]; /* of all that has been played */

static void
sim_plays(void **state)
{
    const struct sim_scenario *sc = *state;

    for (uint64_t seed = 1; seed <= SIM_ROW_SEEDS; seed++) {
        struct sim_result r = sim_run((struct sim_opts){ .seed = seed, .scenario = sc });

        if (r.failed)
            fail_msg("%s: %s; again: causeway-sim --scenario %s --seed %llu --trace", sc->what,
                     r.why, sc->name, (unsigned long long)seed);
        for (uint32_t i = 0; i < SIM_N_MARKS; i++)
            marks[i] += r.marks[i];
    }
}

/* What plays are for happens in them: a branch that nothing reaches any more is not tested. The
 * others are for chaos, or too rare for so few seeds. */
static void
sim_rare_branches_are_reached(void **state)
{
    static const char *const demanded[] = {
        "active",          "eject",  "promote",  "equalise",   "fenced",   "chunk",
        "copy-hit",        "repair", "read-err", "unknown",    "released", "rot",
        "aside",           "back",   "get-wait", "lease-wait", "doubt",    "manager-failover",
        "deposed-refused", "in-use", "caretake", "cared",      "evict",    "dropped",
        "journal",         "whole",  "let-go",   "handed",     "full",     "cleaned",
        "starved",         "fed",    "stopped",  "tails",      "damaged",
    };

    if (SIM_ROW_SEEDS < 2)
        return;
    for (uint32_t k = 0; k < CW_LEN(demanded); k++) {
        uint32_t i = 0;

        while (i < SIM_N_MARKS && strcmp(sim_mark_names[i], demanded[k]) != 0)
            i++;
        assert_true(i < SIM_N_MARKS);
        if (marks[i] == 0)
            fail_msg("no scenario reaches %s: %s", demanded[k], sim_mark_whats[i]);
    }
}

#define ROWS_MAX 96u

int
main(void)
{
    static struct CMUnitTest tests[ROWS_MAX];
    size_t n = 0;

    for (const struct sim_scenario *sc = sim_scenarios; sc->name != NULL; sc++) {
        assert_true(n + 1 < CW_LEN(tests));
        tests[n++] = (struct CMUnitTest){ .name = sc->name,
                                          .test_func = sim_plays,
                                          .initial_state = (void *)(uintptr_t)sc };
    }
    tests[n++] = (struct CMUnitTest){ .name = "sim_rare_branches_are_reached",
                                      .test_func = sim_rare_branches_are_reached };
    return _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
}
