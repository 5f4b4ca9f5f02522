/* admin/text.h - numbers as people read them. Pure; each returns `text`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CW_TEXT_SIZE 32
#define CW_TEXT_LINK_SIZE 80

/* "41m12s", "6m", "2h10m", "3d4h", "12s". */
char *cw_text_seconds(uint64_t s, char text[static CW_TEXT_SIZE]);

/* "0.92 ms", "34 ms", "410 us", "2.1 s"; "-" for 0, which means that nothing was measured. */
char *cw_text_latency(uint64_t ns, char text[static CW_TEXT_SIZE]);

/* "950", "22.7k", "1.2M": decimal thousands, for rates. */
char *cw_text_count(uint64_t n, char text[static CW_TEXT_SIZE]);

/* "61%" of part in whole, rounded down so that 100% means all; "-" of nothing. */
char *cw_text_percent(uint64_t part, uint64_t whole, char text[static CW_TEXT_SIZE]);

/* "310 MB/s", decimal as disks and networks are sold. */
char *cw_text_rate(double bytes_per_s, char text[static CW_TEXT_SIZE]);

/* "212 Mb/s": bits, as links are sold. */
char *cw_text_bits(uint64_t bytes_per_s, char text[static CW_TEXT_SIZE]);

/* "rtt 34 ms  link 212 Mb/s"; what is 0 is left out. */
char *cw_text_link(uint64_t rtt_ns, uint64_t bytes_per_s, char text[static CW_TEXT_LINK_SIZE]);

/* "64M" of bytes, as common/base/size.h. */
char *cw_text_size(uint64_t bytes, char text[static CW_TEXT_SIZE]);

char *cw_text_u64(uint64_t n, char text[static CW_TEXT_SIZE]);

/* Seconds from an RFC 3339 UTC time ("2026-01-02T03:04:05Z") to now_s (Unix time); 0 if it is not
 * one or lies ahead. */
uint64_t cw_text_age_seconds(const char *rfc3339, int64_t now_s);
