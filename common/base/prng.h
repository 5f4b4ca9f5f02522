/* base/prng.h - xoshiro256** (Blackman and Vigna, 2018), seeded through splitmix64.
 *
 * Reproducible from its seed; for placement, jitter and tests, never for secrets.
 */
#pragma once

#include <stdint.h>

struct cw_prng {
    uint64_t s[4];
};

void cw_prng_init(struct cw_prng *p, uint64_t seed);
uint64_t cw_prng_next(struct cw_prng *p);

/* Uniform in [0, bound); bound > 0. */
uint64_t cw_prng_below(struct cw_prng *p, uint64_t bound);
