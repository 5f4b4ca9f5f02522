/* base/bits.h - small arithmetic that every room needs. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/assert.h"

/* Disk and wire formats are little endian; so is every machine that we run on. */
CW_STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

#define CW_LEN(array) (sizeof(array) / sizeof((array)[0]))
#define CW_BIT(n) (UINT64_C(1) << (n))

#define cw_container_of(ptr, type, member) \
    ((type *)(void *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

#define CW_KIB UINT64_C(1024)
#define CW_MIB (CW_KIB * 1024)
#define CW_GIB (CW_MIB * 1024)
#define CW_TIB (CW_GIB * 1024)

#define CW_NS_PER_US UINT64_C(1000)
#define CW_NS_PER_MS UINT64_C(1000000)
#define CW_NS_PER_S UINT64_C(1000000000)

/* A time that never comes. */
#define CW_NEVER UINT64_MAX

static inline uint64_t
cw_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t
cw_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline bool
cw_is_pow2(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* to is a power of two; x + to must not overflow. */
static inline uint64_t
cw_align_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) & ~(to - 1);
}

static inline uint64_t
cw_align_down(uint64_t x, uint64_t to)
{
    return x & ~(to - 1);
}

static inline uint64_t
cw_div_up(uint64_t x, uint64_t by)
{
    return x / by + (x % by != 0);
}

/* Do [a, a+na) and [b, b+nb) share an element? Empty ranges share none. */
static inline bool
cw_ranges_overlap(uint64_t a, uint64_t na, uint64_t b, uint64_t nb)
{
    return na != 0 && nb != 0 && a < b + nb && b < a + na;
}

static inline unsigned
cw_popcount(uint64_t x)
{
    return (unsigned)__builtin_popcountll(x);
}

/* Bitmaps of 64-bit words. */
static inline bool
cw_bit_get(const uint64_t *map, size_t i)
{
    return map[i / 64] >> (i % 64) & 1;
}

static inline void
cw_bit_set(uint64_t *map, size_t i)
{
    map[i / 64] |= CW_BIT(i % 64);
}

static inline void
cw_bit_clear(uint64_t *map, size_t i)
{
    map[i / 64] &= ~CW_BIT(i % 64);
}

/* Final mix of splitmix64 (Steele, Lea, Flood 2014): a cheap hash of an integer key. */
static inline uint64_t
cw_mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}
