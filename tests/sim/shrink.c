/* sim/shrink.c - first less time, then fewer events, then less variety. */
#include "tests/sim/shrink.h"

#include <string.h>

#include "common/base/bits.h"

#define RUNS_MAX 300u
#define HORIZON_STEP_MIN (250 * CW_NS_PER_MS)

struct search {
    struct sim_shrunk *best;
    char checker[SIM_CHECKER_SIZE];
};

static bool
still_fails(struct search *s, struct sim_opts opts)
{
    struct sim_result r;

    if (s->best->n_runs >= RUNS_MAX)
        return false;
    s->best->n_runs++;
    r = sim_run_one_apart(opts);
    if (!r.failed || strcmp(sim_checker(&r).name, s->checker) != 0)
        return false;
    s->best->opts = opts;
    s->best->result = r;
    return true;
}

static void
search_horizon(struct search *s)
{
    uint64_t step = s->best->result.chaos_ns / 2;

    for (; step >= HORIZON_STEP_MIN; step /= 2) {
        struct sim_opts opts = s->best->opts;

        if (opts.chaos_ns <= step)
            continue;
        opts.chaos_ns -= step;
        still_fails(s, opts);
    }
}

/* Blocks of `size` of those that are left. */
static bool
search_events(struct search *s, uint32_t size)
{
    bool any = false;

    for (uint32_t at = 0; at < s->best->n_before;) {
        struct sim_opts opts = s->best->opts;
        uint32_t n = 0;

        for (; at < s->best->n_before && n < size; at++) {
            n += !cw_bit_get(opts.drop, at);
            cw_bit_set(opts.drop, at);
        }
        any = (n > 0 && still_fails(s, opts)) || any;
    }
    return any;
}

static void
search_plain(struct search *s)
{
    for (uint32_t bit = 1; bit <= SIM_PLAIN_LAST; bit *= 2) {
        struct sim_opts opts = s->best->opts;

        opts.plain |= bit;
        still_fails(s, opts);
    }
}

static uint32_t
n_left(const struct sim_opts *opts)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < SIM_EVENTS_MAX; i++)
        n += !cw_bit_get(opts->drop, i);
    return n;
}

bool
sim_shrink(struct sim_opts opts, struct sim_shrunk *ret)
{
    struct search s = { .best = ret };
    struct sim_opts shorter;

    opts.quiet = true;
    opts.trace = false;
    *ret = (struct sim_shrunk){ .opts = opts, .result = sim_run_one_apart(opts) };
    if (!ret->result.failed)
        return false;
    strcpy(s.checker, sim_checker(&ret->result).name);
    ret->n_before = ret->n_events = n_left(&opts);
    if (opts.scenario != NULL)
        return true;
    /* of a run that ended by an assertion nothing is known */
    ret->n_before = ret->result.n_events > 0 ? ret->result.n_events : SIM_EVENTS_MAX;
    shorter = opts;
    if (shorter.chaos_ns == 0)
        shorter.chaos_ns = ret->result.chaos_ns > 0 ? ret->result.chaos_ns : 40 * CW_NS_PER_S;
    for (uint32_t i = ret->n_before; i < SIM_EVENTS_MAX; i++)
        cw_bit_set(shorter.drop, i);
    if (!still_fails(&s, shorter))
        return true;
    search_horizon(&s);
    for (uint32_t size = ret->n_before / 2; size > 1; size /= 2)
        search_events(&s, size);
    search_plain(&s);
    while (search_events(&s, 1))
        continue;
    search_horizon(&s);
    ret->n_events = n_left(&ret->opts);
    return true;
}

void
sim_shrunk_print(FILE *to, const struct sim_shrunk *s)
{
    static const char *const managers[] = { "", ", .manager = SIM_REGISTER",
                                            ", .manager = SIM_REAL_MANAGER" };
    static const char *const acks[] = { "", ", .ack = SIM_ACK_REPLICATED",
                                        ", .ack = SIM_ACK_BY_SEED" };
    const char *comma = "";

    fprintf(to, "    { \"name-it\", %llu, %llu, %u, \"", (unsigned long long)s->opts.seed,
            (unsigned long long)(s->opts.chaos_ns / CW_NS_PER_MS), s->opts.plain);
    for (uint32_t i = 0; i < SIM_EVENTS_MAX; i++)
        if (!cw_bit_get(s->opts.drop, i)) {
            fprintf(to, "%s%u", comma, i);
            comma = ",";
        }
    fprintf(to, "\", %u%s%s%s },\n", s->opts.shards, managers[s->opts.manager], acks[s->opts.ack],
            s->opts.spare ? ", .spare = true" : "");
}
