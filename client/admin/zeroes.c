#include "client/admin/zeroes.h"

#include <string.h>

#include "common/base/bits.h"
#include "proto/wire.h"

bool
cw_zeroes_only(const uint8_t *data, uint64_t len)
{
    /* Every byte equals the one before it, and the first is zero. */
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

static bool
zeroes_block(const uint8_t *data, uint64_t len, uint64_t at)
{
    return cw_zeroes_only(data + at, cw_min_u64(CW_BLOCK_SIZE, len - at));
}

bool
cw_zeroes_next_run(const uint8_t *data, uint64_t len, uint64_t *at, uint64_t *ret_len)
{
    uint64_t end;

    while (*at < len && zeroes_block(data, len, *at))
        *at += CW_BLOCK_SIZE;
    if (*at >= len)
        return false;
    for (end = *at; end < len && !zeroes_block(data, len, end);)
        end += CW_BLOCK_SIZE;
    *ret_len = cw_min_u64(end, len) - *at;
    return true;
}
