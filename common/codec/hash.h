/* codec/hash.h - the one checksum of the system: XXH3-64 (xxHash), from guest copy to media.
 *
 * A block's checksum is computed once at the owner; the same number lies in the frame, in the log
 * record and in the map, and is verified at every hop. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

uint64_t cw_hash(const void *data, size_t len);

/* Two pieces as if they were one. */
uint64_t cw_hash2(const void *a, size_t a_len, const void *b, size_t b_len);

/* cw_hash of one 4 KiB block. */
uint64_t cw_hash_block(const void *block);

/* cw_hash_block of a block of zeroes. */
#define CW_HASH_ZERO_BLOCK UINT64_C(0x93d76fe148c689ba)

/* In the place of the checksum of a block that a journal does not hold. */
#define CW_HASH_UNKNOWN UINT64_C(0x6e776f6e6b6e7521)

bool cw_block_is_zero(const void *block);

/* Copies a block while hashing it (one pass over the cache lines). */
uint64_t cw_hash_copy_block(void *to, const void *from);

/* The index of the first of n blocks that does not match its checksum, n if all do. */
size_t cw_hash_verify(const void *blocks, const uint64_t *csums, size_t n);
