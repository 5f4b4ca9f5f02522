/* base/size.h - sizes as people write them: 4096, 64K, 64M, 2G, 1T (powers of 1024). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CW_SIZE_TEXT_SIZE 16

/* Digits, an optional K, M, G, T or P, an optional "iB" or "B" after it. False on anything else and
 * on overflow; *ret is then unchanged. */
bool cw_size_parse(const char *text, uint64_t *ret);

/* Is it such a size, but 2^64 bytes or more? */
bool cw_size_too_large(const char *text);

/* The shortest form with at most one decimal: "64M", "1.5G". Rounds; for people only. */
char *cw_size_format(uint64_t bytes, char text[static CW_SIZE_TEXT_SIZE]);
