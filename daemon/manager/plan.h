/* manager/plan.h - which copies of a shard stay, and where do others go, so that its rule holds?
 *
 * A pure function of the tree, the rule and the copies that there are. It finds a set that meets
 * the rule whenever there is one, and of these one that adds the fewest copies: what need not move
 * does not. Among equals stay: what is worth more, what is preferred, what lies in more sites and
 * racks, what lies on emptier disks, what is older. The order of the input does not matter.
 *
 * Where no set meets the rule: as many copies as can be had without breaking it, and beside them as
 * many of the others, on hold, as make up the number.
 */
#pragma once

#include "daemon/manager/placement.h"

#define CW_PLAN_HAVE_MAX 8

struct cw_plan_have {
    uint32_t disk;  /* index; each once */
    uint32_t worth; /* below 256 */
    uint32_t age;   /* below CW_PLAN_HAVE_MAX, each once; 0 is the oldest */
    bool leave;     /* it should not stay there, whatever the rule says */
};

struct cw_plan {
    uint32_t keep; /* bit per have: it stays */
    uint32_t hold; /* .. it stays for want of a better place; disjoint */
    uint32_t n_add;
    uint32_t add[CW_PLACE_COPIES_MAX]; /* indices of usable disks that hold none of have */
    char why[CW_PLACE_WHY_SIZE];       /* not met: the reason .. */
    char hint[CW_PLACE_WHY_SIZE];      /* .. and the smallest change that would satisfy it */
};

/* True: keep and add together meet the rule; then hold is empty. Disks are indexed. */
bool cw_plan_make(const struct cw_place_rule *rule, const struct cw_place_disk *disks,
                  size_t n_disks, const struct cw_plan_have *have, uint32_t n_have, uint64_t seed,
                  struct cw_plan *ret);
