/* admin/hist.h - latencies in bounded memory: 64 buckets per power of two, so below 1.6 % off. */
#pragma once

#include <stdint.h>

#define CW_HIST_SUB_BITS 6
#define CW_HIST_BUCKETS ((64 - CW_HIST_SUB_BITS + 1) << CW_HIST_SUB_BITS)

struct cw_hist {
    uint64_t n, sum, min, max;
    uint32_t bucket[CW_HIST_BUCKETS];
};

void cw_hist_init(struct cw_hist *h);
void cw_hist_add(struct cw_hist *h, uint64_t ns);

/* The value that `permille` / 1000 of all values do not exceed; 0 of none. */
uint64_t cw_hist_at(const struct cw_hist *h, unsigned permille);
uint64_t cw_hist_avg(const struct cw_hist *h);
