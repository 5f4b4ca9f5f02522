/* bench/load.h - one job on the store: so many operations under way until its time or bytes are up.
 *
 *   idle --turn end: credit, a batch takes it--> under way --durable, or read and compared--> idle
 *
 * Behaves as a replica does: appends at the end of a turn, then cw_store_turn_end; asks for credit;
 * moves stable along; waits for an event after -EAGAIN or -ENOSPC. An operation's time runs from
 * its first try to its completion, so waiting for the store is in it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/subject.h"
#include "common/base/histogram.h"

struct bench_job {
    bool write, random;
    bool skewed; /* random: four fifths of the operations go to one fifth of the volume */
    uint32_t nblk, depth;
    uint64_t time_ns, bytes; /* what comes first ends it; 0: never; bytes are user data */
};

struct bench_result {
    uint64_t ops, elapsed_ns, cpu_user_us, cpu_sys_us, turns;
    struct cw_histogram latency; /* ns */
    uint64_t refused_again, refused_space, waited_credit;
    struct cw_store_stats before, after;
    struct bench_counts disk;               /* during the job */
    uint64_t n_samples, free_sum, free_min; /* segments, every 10 ms */
    uint64_t pool_peak, dirty_peak;         /* bytes; map pages */
};

/* False after a line on stderr: an operation failed, data was wrong, or nothing moved for 60 s. */
bool bench_load_run(struct bench_subject *b, const struct bench_job *job, struct bench_result *ret);

void bench_load_on_durable(struct bench_load *l, struct cw_store_shard *sh);
