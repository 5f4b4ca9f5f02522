#include "common/base/histogram.h"

#include <string.h>

#include "common/base/bits.h"

#define SUB_BITS 6u /* 64 buckets per power of two */
#define NS_MAX ((UINT64_C(1) << 42) - 1)

static uint32_t
bucket_of(uint64_t ns)
{
    unsigned msb, shift;

    if (ns < (1u << SUB_BITS))
        return (uint32_t)ns;
    ns = cw_min_u64(ns, NS_MAX);
    msb = 63u - (unsigned)__builtin_clzll(ns);
    shift = msb - SUB_BITS;
    return (shift << SUB_BITS) + (uint32_t)(ns >> shift);
}

/* The largest value that falls into bucket i. */
static uint64_t
bucket_top(uint32_t i)
{
    uint32_t shift;

    if (i < (2u << SUB_BITS))
        return i;
    shift = (i >> SUB_BITS) - 1;
    return ((uint64_t)(i - (shift << SUB_BITS) + 1) << shift) - 1;
}

void
cw_histogram_reset(struct cw_histogram *h)
{
    memset(h, 0, sizeof(*h));
}

void
cw_histogram_add(struct cw_histogram *h, uint64_t ns)
{
    uint32_t i = bucket_of(ns);

    cw_assert(i < CW_HISTOGRAM_BUCKETS);
    if (h->n == 0 || ns < h->min_ns)
        h->min_ns = ns;
    h->max_ns = cw_max_u64(h->max_ns, ns);
    h->sum_ns += ns;
    h->n++;
    h->count[i]++;
}

void
cw_histogram_merge(struct cw_histogram *to, const struct cw_histogram *from)
{
    if (from->n == 0)
        return;
    to->min_ns = to->n == 0 ? from->min_ns : cw_min_u64(to->min_ns, from->min_ns);
    to->max_ns = cw_max_u64(to->max_ns, from->max_ns);
    to->sum_ns += from->sum_ns;
    to->n += from->n;
    for (uint32_t i = 0; i < CW_HISTOGRAM_BUCKETS; i++)
        to->count[i] += from->count[i];
}

uint64_t
cw_histogram_percentile(const struct cw_histogram *h, unsigned per_mille)
{
    uint64_t rank, seen = 0;

    if (h->n == 0)
        return 0;
    cw_assert(per_mille <= 1000);
    rank = h->n / 1000 * per_mille + cw_div_up(h->n % 1000 * per_mille, 1000);
    rank = cw_max_u64(rank, 1);
    for (uint32_t i = 0; i < CW_HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen >= rank)
            return i == CW_HISTOGRAM_BUCKETS - 1 ? h->max_ns : cw_min_u64(bucket_top(i), h->max_ns);
    }
    return h->max_ns;
}

uint64_t
cw_histogram_mean(const struct cw_histogram *h)
{
    return h->n == 0 ? 0 : h->sum_ns / h->n;
}
