/* sim/shrink.h - the least of a failing run that still fails. */
#pragma once

#include <stdio.h>

#include "tests/sim/sim.h"

struct sim_shrunk {
    struct sim_opts opts;     /* that fail in the same way */
    struct sim_result result; /* of them */
    uint32_t n_before, n_events, n_runs;
};

/* Runs it again and again with a shorter time, fewer events, less variety, as long as the same
 * checker complains. False: it does not fail at all. At most about 300 runs. */
bool sim_shrink(struct sim_opts opts, struct sim_shrunk *ret);

/* The line for cases.c. */
void sim_shrunk_print(FILE *to, const struct sim_shrunk *s);
