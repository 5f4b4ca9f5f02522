/* Seeds that found something once, and some that nobody has seen. */
#include "tests/lib/cw-test.h"

#include <stdio.h>
#include <time.h>

#include "common/base/bits.h"
#include "tests/sim/cases.h"
#include "tests/sim/scenario.h"

static void
run(uint64_t seed, enum sim_manager manager)
{
    static const char *const how[] = { "", "--manager register ", "--manager real " };
    struct sim_result r = sim_run((struct sim_opts){ .seed = seed, .manager = manager });

    if (r.failed)
        fail_msg("seed %llu: %s; again: causeway-sim %s--seed %llu --trace",
                 (unsigned long long)seed, r.why, how[manager], (unsigned long long)seed);
}

/* A row of the acceptance catalogue, with a few different latencies and loads. */
static void
sim_plays(void **state)
{
    const struct sim_scenario *sc = *state;

    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct sim_result r = sim_run((struct sim_opts){ .seed = seed, .scenario = sc });

        if (r.failed)
            fail_msg("%s: %s; again: causeway-sim --scenario %s --seed %llu --trace", sc->what,
                     r.why, sc->name, (unsigned long long)seed);
    }
}

/* Every seed that ever failed passes for ever after. */
static void
sim_keeps_what_it_found(void **state)
{
    static const uint64_t seeds[] = {
        1,     2,     3,     160,   185,   /* plain ones, and the first two that failed */
        30098, 30300, 30346,               /* a block damaged on the way was an EIO */
        20103, 20084, 20035, 40019, 20433, /* see what each mutation of 1.12 breaks */
    };

    for (size_t i = 0; i < CW_LEN(seeds); i++)
        run(seeds[i], SIM_REGISTER);
}

/* The same with real managers. */
static void
sim_keeps_what_it_found_of_managers(void **state)
{
    static const uint64_t seeds[] = { 1, 2, 400275, 700097 };

    for (size_t i = 0; i < CW_LEN(seeds); i++)
        run(seeds[i], SIM_REAL_MANAGER);
}

static void
sim_passes_every_case(void **state)
{
    for (const struct sim_case *c = sim_cases; c->name != NULL; c++) {
        struct sim_result r = sim_run(sim_case_opts(c));

        if (r.failed)
            fail_msg("%s: %s; again: causeway-sim --case %s --trace", c->name, r.why, c->name);
    }
}

/* A few seconds of fresh seeds lose nothing and always come to rest. */
static void
sim_finds_nothing_new(void **state)
{
    uint64_t begun = (uint64_t)time(NULL), seed = begun * 1000;

    for (uint32_t i = 0; i < 1000 && (uint64_t)time(NULL) - begun < 10; i++)
        run(seed + i, SIM_BY_SEED);
}

/* The same with a spare daemon, that takes a journal when copies are too few. */
static void
sim_finds_nothing_with_a_spare(void **state)
{
    static const uint64_t kept[] = {
        1,
        2,
        3,
        1796051512222, /* a resync that was under way when the journal began */
        1796051883010, /* a takeover of the journal alone called stable what the others lacked */
    };
    uint64_t begun = (uint64_t)time(NULL), seed = begun * 1000;

    for (uint32_t i = 0; i < 1000 && (uint64_t)time(NULL) - begun < 10; i++) {
        uint64_t n = i < CW_LEN(kept) ? kept[i] : seed + i;
        struct sim_result r = sim_run((struct sim_opts){ .seed = n, .spare = true });

        if (r.failed)
            fail_msg("seed %llu: %s; again: causeway-sim --spare --seed %llu --trace",
                     (unsigned long long)n, r.why, (unsigned long long)n);
    }
}

#define ROWS_MAX 80u

int
main(void)
{
    static struct CMUnitTest tests[ROWS_MAX + 3] = {
        cmocka_unit_test(sim_keeps_what_it_found),
        cmocka_unit_test(sim_passes_every_case),
        cmocka_unit_test(sim_keeps_what_it_found_of_managers),
        cmocka_unit_test(sim_finds_nothing_new),
        cmocka_unit_test(sim_finds_nothing_with_a_spare),
    };
    size_t n = 3;

    for (const struct sim_scenario *sc = sim_scenarios; sc->name != NULL; sc++) {
        assert_true(n < CW_LEN(tests));
        tests[n++] = (struct CMUnitTest){ .name = sc->name,
                                          .test_func = sim_plays,
                                          .initial_state = (void *)(uintptr_t)sc };
    }
    return _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
}
