/* The four rules of replication.md 1.12: each, taken away, is missed within 500 seeds. The first
 * seed is one that was seen to miss it, or near it, so that this is quick as long as little
 * changes.
 */
#include "tests/lib/cw-test.h"

#include "common/base/mutation.h"
#include "tests/sim/sim.h"

static void
is_caught(enum cw_mutation m, uint64_t from)
{
    cw_mutation_now = m;
    for (uint64_t i = 0; i < 500; i++) {
        if (sim_run_one_apart(
                (struct sim_opts){
                    .seed = from + i, .manager = SIM_REGISTER, .shards = 1, .quiet = true })
                .failed)
            return;
    }
    fail_msg("500 seeds from %llu passed", (unsigned long long)from);
}

static void
chunk_get_without_min_seq_is_caught(void **state)
{
    is_caught(CW_MUTATION_NO_MIN_SEQ, 20026);
}

static void
promotion_before_all_is_durable_is_caught(void **state)
{
    is_caught(CW_MUTATION_PROMOTE_EARLY, 20160);
}

static void
acks_by_the_new_set_are_caught(void **state)
{
    is_caught(CW_MUTATION_ACK_NEW, 20035);
}

static void
takeover_without_the_wait_is_caught(void **state)
{
    is_caught(CW_MUTATION_NO_WAIT, 20050);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunk_get_without_min_seq_is_caught),
        cmocka_unit_test(promotion_before_all_is_durable_is_caught),
        cmocka_unit_test(acks_by_the_new_set_are_caught),
        cmocka_unit_test(takeover_without_the_wait_is_caught),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
