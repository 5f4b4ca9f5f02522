/* sim/scenario.h - rows of the acceptance catalogue, each played out as it is written.
 *
 * A scenario takes the place of the random faults of a run; what is random yet (latencies, the
 * workload, the order of things) comes from the seed. All that is judged in any run is judged after
 * it too: the histories of all blocks, the copies, liveness.
 */
#pragma once

#include "tests/sim/sim.h"

struct sim_scenario {
    const char *name; /* row-NN-.. */
    const char *what; /* one line for --list */
    uint32_t n_members, min_insync;
    int32_t rate_ppm; /* of the clock of the first daemon; the second's is off the other way */
    void (*play)(struct sim *sim);
    bool spare; /* one more daemon, for a journal */
};

/* NULL: there is none of that name. */
const struct sim_scenario *sim_scenario_find(const char *name);
/* Ends with one whose name is NULL. */
extern const struct sim_scenario sim_scenarios[];

/* Instead of what the seed chose, before and after processes are made. */
void sim_scenario_prepare(struct sim *sim, const struct sim_scenario *sc);
void sim_scenario_set_clocks(struct sim *sim, const struct sim_scenario *sc);

/* rows-journal.c */
void sim_row_17_journal(struct sim *sim);
void sim_row_18_journal(struct sim *sim);

/* ---- for plays ---- */

/* Time passes. */
void sim_pass(struct sim *sim, uint64_t ms);
/* Until it is so, else the run fails. */
void sim_expect(struct sim *sim, bool (*cond)(struct sim *), uint64_t ms, const char *what);
/* It must be so now. */
void sim_demand(struct sim *sim, bool is, const char *what);
/* Both ways. Frames under way stall. */
void sim_part(struct sim *sim, struct sim_proc *a, struct sim_proc *b);
void sim_join(struct sim *sim, struct sim_proc *a, struct sim_proc *b);
/* The next client in turn attaches; the present one stays as it is. */
struct sim_client *sim_attach_next(struct sim *sim);
uint32_t sim_n_in_state(const struct sim *sim, enum cw_member_state state);
bool sim_owner_is_well(struct sim *sim);
bool sim_all_in_sync(struct sim *sim);
