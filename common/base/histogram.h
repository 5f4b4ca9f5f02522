/* base/histogram.h - how long things took: log-linear buckets in fixed memory. Pure; any thread.
 *
 * 64 buckets per power of two: a percentile is at most 1.6 % above the true value. Holds
 * 0 ns .. 2^42 ns (73 minutes); longer ones share the last bucket, whose value is max_ns.
 */
#pragma once

#include <stdint.h>

#define CW_HISTOGRAM_BUCKETS (36 * 64 + 64)

/* Zero-initialise, or cw_histogram_reset. 19 KiB. */
struct cw_histogram {
    uint64_t n, sum_ns, max_ns, min_ns; /* min_ns is meaningful while n > 0 */
    uint64_t count[CW_HISTOGRAM_BUCKETS];
};

void cw_histogram_reset(struct cw_histogram *h);
void cw_histogram_add(struct cw_histogram *h, uint64_t ns);
void cw_histogram_merge(struct cw_histogram *to, const struct cw_histogram *from);

/* per_mille 0..1000: 500 is the median, 990 is p99. The upper end of the bucket that holds it,
 * never above max_ns; 0 when empty. */
uint64_t cw_histogram_percentile(const struct cw_histogram *h, unsigned per_mille);

/* 0 when empty. */
uint64_t cw_histogram_mean(const struct cw_histogram *h);
