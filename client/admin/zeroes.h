/* admin/zeroes.h - which blocks of a piece hold anything? Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

bool cw_zeroes_only(const uint8_t *data, uint64_t len);

/* The next run of 4 KiB blocks that are not all zeroes, at or after *at. The last block may be
 * short. True: [*at, *at + *ret_len). */
bool cw_zeroes_next_run(const uint8_t *data, uint64_t len, uint64_t *at, uint64_t *ret_len);
