/* manager/level.h - from which disk to which should a copy move, so that they fill alike?
 *
 * Pure. A move begins when two disks of one site differ by more than CW_LEVEL_GAP of what they may
 * hold, or one is above CW_LEVEL_HIGH and another at least CW_LEVEL_GAP_HIGH below it. It is worth
 * its while only if the disk that gives is not left emptier than the one that takes: so the sum of
 * the squares of their fill falls with every move, and nothing ever moves back and forth.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In thousandths. */
#define CW_LEVEL_GAP 300u
#define CW_LEVEL_HIGH 800u
#define CW_LEVEL_GAP_HIGH 100u

struct cw_level_disk {
    uint32_t site_no; /* from 1 on, without gaps */
    uint64_t used_bytes, total_bytes;
    bool gives, takes; /* it may, now */
};

/* The widest gap that asks for a move; false: there is none. Of equal ones the first. */
bool cw_level_pick(const struct cw_level_disk *disks, size_t n, size_t *ret_from, size_t *ret_to);

/* Would so many bytes, moved, do what is wanted? */
bool cw_level_improves(const struct cw_level_disk *from, const struct cw_level_disk *to,
                       uint64_t bytes);
