/* sim/report.h - what a set of runs came to, for people and for programs. */
#pragma once

#include "tests/sim/sim.h"

#define REPORT_FAILURES_MAX 100u /* that are kept for --json */
#define REPORT_OPTIONS 128u

struct report_failure {
    const char *scenario, *which; /* "" or their names */
    uint64_t seed;
    char options[REPORT_OPTIONS]; /* without which it would be another run */
    char why[256];
};

struct report {
    bool json;
    uint64_t seeds, failed, ops, events, virtual_ns;
    uint64_t n_only_safety, ops_least; /* of the others */
    uint64_t marks[SIM_N_MARKS];
    double begun_s;
    struct report_failure failures[REPORT_FAILURES_MAX];
};

double report_now_s(void);
/* The options that say what the seed does not: each with a blank before it. */
void report_options(char to[REPORT_OPTIONS], const struct sim_opts *opts);
/* which: the name of a case, or "". A failure is told at once. */
void report_add(struct report *r, const struct sim_opts *opts, const char *which,
                const struct sim_result *result);
void report_print(const struct report *r);
