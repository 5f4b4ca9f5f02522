#include "client/admin/hist.h"

#include "common/base/bits.h"

#define SUB (1u << CW_HIST_SUB_BITS)

/* Values below SUB have a bucket each; above, the SUB values that share the leading bits do. */
static uint32_t
hist_index(uint64_t x)
{
    unsigned shift;

    if (x < SUB)
        return (uint32_t)x;
    shift = 63 - (unsigned)__builtin_clzll(x) - CW_HIST_SUB_BITS;
    return (shift + 1) * SUB + (uint32_t)((x >> shift) - SUB);
}

/* The largest value of that bucket. */
static uint64_t
hist_value(uint32_t index)
{
    unsigned shift;

    if (index < SUB)
        return index;
    shift = index / SUB - 1;
    return ((uint64_t)(SUB + index % SUB) << shift) + (CW_BIT(shift) - 1);
}

void
cw_hist_init(struct cw_hist *h)
{
    *h = (struct cw_hist){ .min = UINT64_MAX };
}

void
cw_hist_add(struct cw_hist *h, uint64_t ns)
{
    h->n++;
    h->sum += ns;
    h->min = cw_min_u64(h->min, ns);
    h->max = cw_max_u64(h->max, ns);
    h->bucket[hist_index(ns)]++;
}

uint64_t
cw_hist_at(const struct cw_hist *h, unsigned permille)
{
    uint64_t wanted = cw_div_up(h->n * permille, 1000), seen = 0;

    if (h->n == 0)
        return 0;
    for (uint32_t i = 0; i < CW_HIST_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= wanted)
            return cw_min_u64(hist_value(i), h->max);
    }
    return h->max;
}

uint64_t
cw_hist_avg(const struct cw_hist *h)
{
    return h->n > 0 ? h->sum / h->n : 0;
}
