/* tests/soak/parent.h - who forks the children, kills them, and judges how they ended. */
#pragma once

#include <sys/types.h>

#include "tests/soak/soak.h"

struct parent {
    struct soak *k;
    struct cw_prng rnd;
    struct report report;
    uint64_t end_ns;
    pid_t probe;
};

pid_t child_fork(struct parent *p, int (*run)(struct soak *));
/* Why one that ended by itself did; in memory that holds until the next call. */
const char *child_ended(struct parent *p, int status);
/* The file as a whole, as `causeway-store check` reads it: every checksum, and every count against
 * the map, whatever the caches held. NULL, or what it found. */
const char *file_check(struct parent *p);
/* One life of the store; the last one verifies all data and is stopped in order. NULL, or how it
 * failed, in memory that holds until the next call. */
const char *life_run(struct parent *p, bool last);
