/* sim/cases.c - what the simulator found once: shrunk, named, and run for ever after.
 *
 * `causeway-sim --shrink` prints such a line. The events of a schedule have numbers, see --trace;
 * those that a case does without are not among them.
 */
#include "tests/sim/cases.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

const struct sim_case sim_cases[] = {
    { "journal-alone", 1796054696046, 16328, 30, "0,1,2,3", 1 },
    { "forgot-unacknowledged", 1796076170095, 36562, 18, "0,1,3,5,7,8,9,13,14,15,16,23,28,30", 1 },
    { "forgot-gen-start", 10000595, 18125, 18,
      "0,2,5,6,8,9,14,17,20,21,25,26,27,28,42,43,44,45,109,111", 0 },
    { "another-journal", 83006585, 34687, 2, "1,2,3,4,6,7,8,11,12,13,15,17,18,19,20,23,24,26,27", 0,
      .manager = SIM_REAL_MANAGER, .ack = SIM_ACK_BY_SEED },
    { 0 },
};

const struct sim_case *
sim_case_find(const char *name)
{
    for (const struct sim_case *c = sim_cases; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

struct sim_opts
sim_case_opts(const struct sim_case *c)
{
    struct sim_opts opts = {
        .seed = c->seed,
        .chaos_ns = (uint64_t)c->until_ms * CW_NS_PER_MS,
        .plain = c->plain,
        .shards = c->shards,
        .manager = c->manager,
        .ack = c->ack,
        .spare = c->spare,
    };
    const char *at = c->events;
    char *end;

    memset(opts.drop, 0xff, sizeof(opts.drop));
    for (; *at != 0; at = *end == ',' ? end + 1 : end) {
        unsigned long i = strtoul(at, &end, 10);

        cw_assert(end != at && i < SIM_EVENTS_MAX);
        cw_bit_clear(opts.drop, (uint32_t)i);
    }
    return opts;
}
