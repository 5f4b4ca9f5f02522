#include "common/base/prng.h"

#include "common/base/bits.h"

static uint64_t
rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

void
cw_prng_init(struct cw_prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        p->s[i] = cw_mix64(seed);
    }
}

uint64_t
cw_prng_next(struct cw_prng *p)
{
    uint64_t *s = p->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t
cw_prng_below(struct cw_prng *p, uint64_t bound)
{
    cw_assert(bound > 0);
    /* Lemire's multiply-shift; the bias is below bound / 2^64. */
    return (uint64_t)(((unsigned __int128)cw_prng_next(p) * bound) >> 64);
}
