/* owner/pace.h - how fast may resyncs copy, so that the requests of clients do not suffer?
 *
 *   the p99 of requests rises above its own normal --> 3/4 of what was copied
 *   it is as it normally is, or there are none      --> more and more, up to no bound
 *
 * Pure: a step a second. What is normal is learnt while nothing is copied; while something is, it
 * follows slowly, since the load changes too.
 */
#pragma once

#include <stdint.h>

struct cw_pace {
    uint64_t limit;     /* bytes per second, an operator's word; 0: none */
    uint64_t rate;      /* bytes per second; 0: no bound */
    uint64_t normal_ns; /* the p99 of requests; 0: not known yet */
};

struct cw_pace_second {
    uint32_t resyncs;     /* under way */
    uint64_t moved_bytes; /* by them */
    uint64_t p99_ns;      /* of requests that ended; 0: there were none */
};

void cw_pace_second(struct cw_pace *p, const struct cw_pace_second *s);

/* Bytes per second of all resyncs together; 0: as fast as it goes. */
uint64_t cw_pace_rate(const struct cw_pace *p);
