/* Seeds that found something once, and some that nobody has seen. */
#include "tests/lib/cw-test.h"

#include <stdio.h>
#include <time.h>

#include "common/base/bits.h"
#include "tests/sim/cases.h"

static void
run_ack(uint64_t seed, enum sim_ack ack)
{
    struct sim_result r = sim_run((struct sim_opts){ .seed = seed, .ack = ack });

    if (r.failed)
        fail_msg("seed %llu: %s; again: causeway-sim %s--seed %llu --trace",
                 (unsigned long long)seed, r.why,
                 ack == SIM_ACK_REPLICATED ? "--ack replicated " : "", (unsigned long long)seed);
}

/* Of before there was ack=replicated. */
static void
run(uint64_t seed, enum sim_manager manager, uint32_t shards)
{
    static const char *const how[] = { "", "--manager register ", "--manager real " };
    struct sim_result r =
        sim_run((struct sim_opts){ .seed = seed, .manager = manager, .shards = shards });

    if (r.failed)
        fail_msg(
            "seed %llu: %s; again: causeway-sim --ack durable %s--shards %u --seed %llu --trace",
            (unsigned long long)seed, r.why, how[manager], shards, (unsigned long long)seed);
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
        run(seeds[i], SIM_REGISTER, 1);
}

/* The same with real managers. */
static void
sim_keeps_what_it_found_of_managers(void **state)
{
    static const uint64_t seeds[] = { 1, 2, 400275, 700097 };

    for (size_t i = 0; i < CW_LEN(seeds); i++)
        run(seeds[i], SIM_REAL_MANAGER, 1);
}

/* Volumes of several shards. */
static void
sim_keeps_what_it_found_of_shards(void **state)
{
    /* a copy that came back with more than was known gave back credit that others had used */
    static const uint64_t seeds[] = { 1, 9, 10 };

    for (size_t i = 0; i < CW_LEN(seeds); i++) {
        run(seeds[i], SIM_REGISTER, 2);
        run(seeds[i], SIM_REAL_MANAGER, 2);
    }
    run(1796070000063, SIM_BY_SEED, 2); /* a copy was away when the volume grew */
    run(1796070000121, SIM_BY_SEED, 2); /* a takeover began anew, and gave credit back twice */
    run(1, SIM_REGISTER, 3);
    run(1, SIM_REAL_MANAGER, 3);
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

/* With a spare daemon, that takes a journal when copies are too few. */
static void
sim_keeps_what_it_found_with_a_spare(void **state)
{
    static const uint64_t seeds[] = {
        1,
        2,
        3,
        1796051512222, /* a resync that was under way when the journal began */
        1796051883010, /* a takeover of the journal alone called stable what the others lacked */
    };

    for (size_t i = 0; i < CW_LEN(seeds); i++) {
        struct sim_result r = sim_run((struct sim_opts){
            .seed = seeds[i], .manager = SIM_REGISTER, .spare = true, .shards = 1 });

        if (r.failed)
            fail_msg("seed %llu: %s; again: causeway-sim --spare --shards 1 --manager register "
                     "--ack durable --seed %llu --trace",
                     (unsigned long long)seeds[i], r.why, (unsigned long long)seeds[i]);
    }
    /* a journal went and was placed there anew, and the owner heard of neither */
    run(1796090000077, SIM_BY_SEED, 0);
}

/* A minute of fresh seeds loses nothing and always comes to rest: of the processor, whoever else
 * wants it. */
static void
sim_finds_nothing_new(void **state)
{
    uint64_t seed = (uint64_t)time(NULL) * 1000;
    clock_t begun = clock();

    for (uint32_t i = 0; i < 1000 && clock() - begun < SIM_FRESH_S * CLOCKS_PER_SEC; i++)
        run_ack(seed + i, SIM_ACK_BY_SEED);
}

/* What is acknowledged in memory is lost only when every copy in sync loses its memory with it. */
static void
sim_keeps_what_it_found_of_receipts(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++)
        run_ack(seed, SIM_ACK_REPLICATED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sim_keeps_what_it_found),
        cmocka_unit_test(sim_keeps_what_it_found_of_managers),
        cmocka_unit_test(sim_keeps_what_it_found_with_a_spare),
        cmocka_unit_test(sim_keeps_what_it_found_of_shards),
        cmocka_unit_test(sim_keeps_what_it_found_of_receipts),
        cmocka_unit_test(sim_passes_every_case),
        cmocka_unit_test(sim_finds_nothing_new),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
