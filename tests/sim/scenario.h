/* sim/scenario.h - rows of the acceptance catalogue, each played out as it is written.
 *
 * A scenario takes the place of the random faults of a run; what is random yet (latencies, the
 * workload, the order of things) comes from the seed. All that is judged in any run is judged after
 * it too: the histories of all blocks, the copies, liveness.
 */
#pragma once

#include "common/base/mutation.h"
#include "tests/sim/sim.h"

struct sim_scenario {
    const char *name; /* row-NN-.. */
    const char *what; /* one line for --list */
    uint32_t n_members, min_insync;
    int32_t
        rate_ppm; /* of the clocks of half the daemons and owners; others are off the other way */
    void (*play)(struct sim *sim);
    bool manager;          /* a real one, not the register */
    uint32_t n_spares;     /* daemons beyond the members; with a real manager */
    bool spare;            /* one more daemon, for a journal */
    uint32_t n_shards;     /* 0: one */
    bool full;             /* small stores, and what fills them: full.c */
    enum cw_mutation rule; /* that it was written for; a hunt for it plays this more often */
};

/* NULL: there is none of that name. */
const struct sim_scenario *sim_scenario_find(const char *name);
/* Of a seed where scenarios are mixed in: every third one is, in turn, and every third one is
 * written for that rule, if there is one; manager: those with a real one. NULL: chaos. */
const struct sim_scenario *sim_scenario_mixed(uint64_t seed, enum cw_mutation rule, bool manager);
/* Ends with one whose name is NULL. */
extern const struct sim_scenario sim_scenarios[];

/* rows-manager.c */
void sim_row_14(struct sim *sim);
void sim_row_19(struct sim *sim);
void sim_row_22(struct sim *sim);
void sim_failover(struct sim *sim);
void sim_in_use(struct sim *sim);
void sim_stale_drop(struct sim *sim);
void sim_late_drop(struct sim *sim);
void sim_care_row(struct sim *sim);
void sim_row_13_managers(struct sim *sim);
void sim_row_15_named(struct sim *sim);

/* rows-asks.c */
void sim_stale_asks(struct sim *sim);

/* rows-clock.c */
void sim_row_06(struct sim *sim);

/* rows-metadata.c */
void sim_row_56(struct sim *sim);
void sim_row_56_at_once(struct sim *sim);

/* rows-operator.c */
void sim_operator_errs(struct sim *sim);

/* rows-recover.c */
void sim_row_36(struct sim *sim);

/* Instead of what the seed chose, before and after processes are made. */
void sim_scenario_prepare(struct sim *sim, const struct sim_scenario *sc);
void sim_scenario_set_clocks(struct sim *sim, const struct sim_scenario *sc);

/* rows-handover.c */
void sim_hand_to_and_fro(struct sim *sim);
void sim_hand_asked(struct sim *sim);
void sim_hand_let_go(struct sim *sim);
void sim_hand_drains(struct sim *sim);
void sim_hand_release(struct sim *sim);
void sim_hand_no_release(struct sim *sim);
void sim_hand_applied(struct sim *sim);
void sim_hand_no_reply(struct sim *sim);
void sim_hand_granted(struct sim *sim);
void sim_hand_no_grant(struct sim *sim);

/* rows-flap.c */
void sim_row_23(struct sim *sim);
void sim_row_23_slowly(struct sim *sim);
void sim_row_23_all(struct sim *sim);
void sim_row_23_given_up(struct sim *sim);

/* rows-journal.c */
void sim_row_17_journal(struct sim *sim);
void sim_row_18_journal(struct sim *sim);
void sim_journal_short(struct sim *sim);

/* full.c */
void sim_fill_play(struct sim *sim);

/* ---- for plays ---- */

/* Time passes. */
void sim_pass(struct sim *sim, uint64_t ms);
/* Until it is so, else the run fails. */
void sim_expect(struct sim *sim, bool (*cond)(struct sim *), uint64_t ms, const char *what);
/* The present owner ends so many more requests of each kind within the time, else the run fails. */
void sim_goes_on(struct sim *sim, uint32_t writes, uint32_t reads, uint64_t ms, const char *what);
/* It must be so now. */
void sim_demand(struct sim *sim, bool is, const char *what);
/* Both ways. Frames under way stall. */
void sim_part(struct sim *sim, struct sim_proc *a, struct sim_proc *b);
void sim_join(struct sim *sim, struct sim_proc *a, struct sim_proc *b);
/* Nothing is being written: all in-sync copies are equal, and right. */
void sim_same_everywhere(struct sim *sim);
/* The next client in turn attaches; the present one stays as it is. */
struct sim_client *sim_attach_next(struct sim *sim);
/* As sim_pass, in nanoseconds. */
void sim_pass_ns(struct sim *sim, uint64_t ns);
uint32_t sim_n_in_state(const struct sim *sim, enum cw_member_state state);
bool sim_owner_is_well(struct sim *sim);
bool sim_all_in_sync(struct sim *sim);

/* ---- requests of a play (guest.c) ---- */

/* Bytes of the volume that the workload leaves alone: 8 chunks from here on are the play's, and
 * offsets count from here. */
#define SIM_GUEST_OFF (8 * CW_MIB)

struct sim_guest_io {
    struct cw_io io;
    struct iovec iov;
    bool done;
    int res;
};

/* Of the present owner, who must not be killed before it is done. g and data hold until then. */
void sim_guest_start(struct sim *sim, struct sim_guest_io *g, enum cw_io_op op, uint64_t off,
                     void *data, uint64_t len);
/* Until it is done, well; else the run fails. */
void sim_guest_wait(struct sim *sim, struct sim_guest_io *g);
void sim_guest_do(struct sim *sim, enum cw_io_op op, uint64_t off, void *data, uint64_t len);
/* What a copy holds, read at its disk; off is that of a block. False: it cannot be read. */
bool sim_peek(struct sim *sim, struct sim_daemon *d, uint64_t off, uint8_t *to, uint32_t nblk);
/* Every in-sync copy that is up holds this; at most a chunk, and nothing writes there. */
void sim_guest_same_everywhere(struct sim *sim, uint64_t off, const uint8_t *want, uint32_t nblk);

/* ---- plays that stand elsewhere than in rows.c ---- */

void sim_lag_wait(struct sim *sim);
void sim_lag_history(struct sim *sim);
void sim_doubt_read(struct sim *sim);
void sim_doubt_lease(struct sim *sim);
void sim_lease_before_open(struct sim *sim);
void sim_one_unseen(struct sim *sim);
void sim_doubt_late(struct sim *sim);
void sim_doubt_refused(struct sim *sim);
void sim_release_lost(struct sim *sim);
void sim_row_28(struct sim *sim);
void sim_row_29(struct sim *sim);
void sim_row_32(struct sim *sim);
void sim_to_and_fro(struct sim *sim);
void sim_row_33(struct sim *sim);

/* rows-copies.c */
void sim_row_09(struct sim *sim);
void sim_row_12(struct sim *sim);
void sim_row_12_bad(struct sim *sim);

/* rows-rules.c */
void sim_old_clone(struct sim *sim);
void sim_lost_tail(struct sim *sim);
void sim_torn_alone(struct sim *sim);
void sim_repair_late(struct sim *sim);
void sim_repair_early(struct sim *sim);
void sim_void_stays(struct sim *sim);
void sim_promote_behind(struct sim *sim);
void sim_list_late(struct sim *sim);
