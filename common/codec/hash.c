#include "common/codec/hash.h"

#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* for a state on the stack; the functions stay the library's */
#include <xxhash.h>

uint64_t
cw_hash(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

uint64_t
cw_hash2(const void *a, size_t a_len, const void *b, size_t b_len)
{
    XXH3_state_t state;

    if (b_len == 0)
        return XXH3_64bits(a, a_len);
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, a, a_len);
    XXH3_64bits_update(&state, b, b_len);
    return XXH3_64bits_digest(&state);
}

uint64_t
cw_hash_block(const void *block)
{
    return XXH3_64bits(block, CW_BLOCK_SIZE);
}

bool
cw_block_is_zero(const void *block)
{
    const char *p = block;

    /* equal to itself shifted by one and beginning with zero */
    return p[0] == 0 && memcmp(p, p + 1, CW_BLOCK_SIZE - 1) == 0;
}

uint64_t
cw_hash_copy_block(void *to, const void *from)
{
    /* hash what was copied, not what was read: the guest may change `from` under us */
    memcpy(to, from, CW_BLOCK_SIZE);
    return XXH3_64bits(to, CW_BLOCK_SIZE);
}

size_t
cw_hash_verify(const void *blocks, const uint64_t *csums, size_t n)
{
    const char *p = blocks;

    for (size_t i = 0; i < n; i++) {
        if (XXH3_64bits(p + i * CW_BLOCK_SIZE, CW_BLOCK_SIZE) != csums[i])
            return i;
    }
    return n;
}
