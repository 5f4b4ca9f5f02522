/* admin/load.h - a load on an open volume, from the reactor thread, and what it measured.
 *
 *   cw_load_run --post--> submit depth * jobs requests --done--> measure, submit the next .. stop
 *
 * Completions come together at the end of a loop turn and each submits its successor, so that what
 * leaves in a turn leaves as one batch. Reads take the received buffer, writes are copied by the
 * owner while it hashes them: what a front-end does.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/admin/volio.h"
#include "common/base/histogram.h"

enum cw_load_kind { CW_LOAD_READ, CW_LOAD_WRITE, CW_LOAD_MIXED };

struct cw_load_opts {
    enum cw_load_kind kind;
    bool random;
    uint64_t bs_bytes; /* a multiple of 512, at most 32 MiB */
    uint64_t depth;    /* requests in flight per job */
    uint64_t jobs;     /* each with its own seed, or its own part of a sequential load */
    uint64_t seed;
    uint64_t read_percent; /* MIXED */
    uint64_t runtime_ns;   /* CW_NEVER: until size_bytes */
    uint64_t size_bytes;   /* of all requests together; CW_NEVER: until runtime_ns */
    const char *what;      /* for the progress line */
};

struct cw_load_side {
    uint64_t ops, bytes;
    struct cw_histogram latency; /* ns */
};

struct cw_load_result {
    struct cw_load_side read, write;
    uint64_t took_ns, cpu_ns; /* CPU of this process, all threads */
    int res;                  /* the first request that failed ends the load */
    uint64_t fail_off;
};

/* The volume holds at least one request per job. Waits; ends early on Ctrl-C. False: requests are
 * still under way after 10 s (res is then -ETIMEDOUT), and *ret is as it was then. */
bool cw_load_run(struct cw_volio *vio, const struct cw_load_opts *opts, struct cw_load_result *ret);

/* "read", "randrw" .. False: none of them. Pure. */
bool cw_load_parse_rw(const char *text, enum cw_load_kind *ret_kind, bool *ret_random);
