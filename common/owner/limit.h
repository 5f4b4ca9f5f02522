/* owner/limit.h - how many requests and bytes a volume may begin in a second.
 *
 * A pure bucket for each of the two, of one second's worth: after a pause so much may go at once. A
 * request counts for one, and for one more per further 32 KiB, so that large ones are no way round
 * an iops limit. A request that is larger than the bucket goes when the bucket is full and is paid
 * for afterwards.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CW_LIMIT_UNIT_BYTES (32u * 1024u)

struct cw_limit {
    uint64_t iops, bytes_per_s;           /* 0: none */
    uint64_t iops_paid_ns, bytes_paid_ns; /* until when what has gone is paid for */
};

/* Begins with full buckets; nothing happens if these are the limits already. */
void cw_limit_set(struct cw_limit *l, uint64_t iops, uint64_t bytes_per_s);

/* May a request of that length go now? Then it is charged. False: not before *ret_ns. */
bool cw_limit_take(struct cw_limit *l, uint64_t now_ns, uint64_t len, uint64_t *ret_ns);
