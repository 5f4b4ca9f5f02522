/* sim/mutate.c - seeds until one fails. */
#include "tests/sim/mutate.h"

#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/sim/report.h"
#include "tests/sim/scenario.h"

#define MUTATION_NAME(id, name, what) [CW_MUTATION_##id] = name,
#define MUTATION_WHAT(id, name, what) [CW_MUTATION_##id] = what,
const char *const mutation_names[CW_N_MUTATIONS] = { CW_MUTATIONS(MUTATION_NAME) };
const char *const mutation_whats[CW_N_MUTATIONS] = { CW_MUTATIONS(MUTATION_WHAT) };

enum cw_mutation
mutation_find(const char *name)
{
    for (int m = 1; m < CW_N_MUTATIONS; m++)
        if (strcmp(name, mutation_names[m]) == 0)
            return (enum cw_mutation)m;
    return CW_N_MUTATIONS;
}

#ifdef CW_MUTATION
/* The register would not miss it. */
static bool
is_of_manager(enum cw_mutation m)
{
    static const enum cw_mutation of_manager[] = {
        CW_MUTATION_CAS_NO_GEN,     CW_MUTATION_CAS_NO_CFG,      CW_MUTATION_LAST_COPY,
        CW_MUTATION_MANAGER_EJECTS, CW_MUTATION_ALWAYS_RELEASED, CW_MUTATION_SAME_GEN,
        CW_MUTATION_CLAIM_BLIND,    CW_MUTATION_RELEASE_ANY,     CW_MUTATION_DOUBT_IS_DONE,
        CW_MUTATION_DROP_EARLY,     CW_MUTATION_PURGE_BY_CLOCK,
    };

    for (size_t i = 0; i < CW_LEN(of_manager); i++)
        if (of_manager[i] == m)
            return true;
    return false;
}

/* With ack=durable there is nothing to it. */
static bool
is_of_receipts(enum cw_mutation m)
{
    return m == CW_MUTATION_FLUSH_EARLY || m == CW_MUTATION_RECEIPT_EARLY ||
           m == CW_MUTATION_READ_TOLD;
}

/* A seed that fails with every rule in place says nothing about this one. */
static bool
fails_anyway(struct sim_opts opts)
{
    enum cw_mutation m = cw_mutation_now;
    bool failed;

    cw_mutation_now = CW_MUTATION_NONE;
    failed = sim_run_one_apart(opts).failed;
    cw_mutation_now = m;
    return failed;
}

static const char *
scenario_name(const struct mutation_hunt *h)
{
    return h->scenario == NULL ? "chaos" : h->scenario->name;
}

static bool
hunt_on(void *user, const struct sim_opts *opts, const struct sim_result *r)
{
    struct mutation_hunt *h = user;
    struct sim_opts like = *opts;

    h->n++;
    h->caught = r->failed && !fails_anyway(*opts);
    h->seed = opts->seed;
    h->scenario =
        opts->mix ? sim_scenario_mixed(opts->seed, opts->rule, opts->manager == SIM_REAL_MANAGER)
                  : opts->scenario;
    h->result = *r;
    like.scenario = h->scenario;
    report_options(h->options, &like);
    if (r->failed && !h->caught) {
        h->n_anyway++;
        fprintf(stderr, "seed %llu, %s, fails without it too: %s\n", (unsigned long long)h->seed,
                scenario_name(h), r->why);
    }
    return !h->caught;
}

struct mutation_hunt
mutation_hunt(enum cw_mutation m, const struct sim_scenario *sc, uint64_t from, uint64_t n)
{
    struct sim_opts opts = { .seed = from,
                             .manager = is_of_manager(m) ? SIM_REAL_MANAGER : SIM_BY_SEED,
                             .scenario = sc,
                             .mix = sc == NULL,
                             .rule = m,
                             .ack = is_of_receipts(m) ? SIM_ACK_REPLICATED : SIM_ACK_BY_SEED,
                             .quiet = true };
    struct mutation_hunt h = { 0 };
    double begun_s = report_now_s();

    cw_mutation_now = m;
    sim_run_apart(opts, n, hunt_on, &h);
    h.seconds = report_now_s() - begun_s;
    return h;
}

void
mutation_hunt_print(enum cw_mutation m, const struct mutation_hunt *h)
{
    if (h->caught)
        printf("caught   %-18s by %s, the %llu. seed, after %.0f s: %s\n         again: "
               "--seed %llu%s%s%s\n",
               mutation_names[m], sim_checker(&h->result).name, (unsigned long long)h->n,
               h->seconds, h->result.why, (unsigned long long)h->seed,
               h->scenario == NULL ? "" : " --scenario ",
               h->scenario == NULL ? "" : h->scenario->name, h->options);
    else
        printf("SURVIVED %-18s %llu seeds, the last %llu: %s\n", mutation_names[m],
               (unsigned long long)h->n, (unsigned long long)h->seed, mutation_whats[m]);
    if (h->n_anyway > 0)
        printf("         %llu of these seeds fail without it too\n",
               (unsigned long long)h->n_anyway);
    fflush(stdout);
}
#endif
