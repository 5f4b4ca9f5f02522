/* base/uuid.h - 128-bit identities of clusters, disks and clients.
 *
 * Random (RFC 4122 version 4) when made here; compared as bytes; all zero means "none".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CW_UUID_TEXT_SIZE 37 /* with the final NUL */

struct cw_uuid {
    uint8_t b[16];
};

/* Makes a version 4 uuid of 128 random bits. */
struct cw_uuid cw_uuid_from_random(uint64_t hi, uint64_t lo);

bool cw_uuid_equal(const struct cw_uuid *a, const struct cw_uuid *b);
bool cw_uuid_is_nil(const struct cw_uuid *u);
uint64_t cw_uuid_hash(const struct cw_uuid *u);

/* 8-4-4-4-12 lower-case hexadecimal. Returns text. */
char *cw_uuid_format(const struct cw_uuid *u, char text[static CW_UUID_TEXT_SIZE]);

/* Accepts what cw_uuid_format writes, in either case. False leaves *ret unchanged. */
bool cw_uuid_parse(const char *text, struct cw_uuid *ret);
