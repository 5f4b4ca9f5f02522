/* sim/mutate.h - rules taken away one at a time (common/base/mutation.h): of each, some seed must
 * fail. */
#pragma once

#include "common/base/mutation.h"
#include "tests/sim/report.h"

extern const char *const mutation_names[CW_N_MUTATIONS];
extern const char *const mutation_whats[CW_N_MUTATIONS];

/* CW_N_MUTATIONS: there is none of that name. */
enum cw_mutation mutation_find(const char *name);

struct mutation_hunt {
    bool caught;
    uint64_t n, seed;  /* seeds tried, and the last one */
    uint64_t n_anyway; /* that failed with every rule in place, too; each is told on stderr */
    double seconds;
    char options[REPORT_OPTIONS];        /* with the seed and the scenario: that run again */
    struct sim_result result;            /* of it */
    const struct sim_scenario *scenario; /* that it played; NULL: chaos */
};

/* Runs at most n seeds until one fails, of that scenario or, if it is NULL, of chaos with all
 * scenarios in between; of the manager's rules with real managers in each. Only where mutations are
 * compiled in. */
struct mutation_hunt mutation_hunt(enum cw_mutation m, const struct sim_scenario *sc, uint64_t from,
                                   uint64_t n);
void mutation_hunt_print(enum cw_mutation m, const struct mutation_hunt *h);
