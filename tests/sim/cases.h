/* sim/cases.h - regression cases: a seed and the part of its schedule that matters. */
#pragma once

#include "tests/sim/sim.h"

struct sim_case {
    const char *name;
    uint64_t seed;
    uint32_t until_ms, plain; /* as in struct sim_opts */
    const char *events;       /* the numbers of those that come: "3,17" */
    uint32_t shards;
    enum sim_manager manager;
    enum sim_ack ack;
    bool spare;
};

/* Ends with one whose name is NULL. */
extern const struct sim_case sim_cases[];
const struct sim_case *sim_case_find(const char *name);
struct sim_opts sim_case_opts(const struct sim_case *c);
