/* manager/placement.h - on which disks may and should the copies of a shard lie?
 *
 * A pure function of the tree (region / site / rack / host / disk), the rule and a seed: the same
 * inputs give the same disks, and the order of the input does not matter. Copies never share a
 * spread domain and never break the site rule. Among what is allowed it prefers, in this order: a
 * disk that lasts as long as no copy lies on one (others die with their instance), the preferred
 * site, a site without a copy, a rack without a copy, emptier disks, a site near to the other
 * copies, chance by seed.
 *
 * Domains nest and each site rule is a quota on whole sites, so choosing one copy after another,
 * quotas first, finds a set whenever there is one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/uuid.h"

#define CW_PLACE_COPIES_MAX 5
#define CW_PLACE_SITES_MAX 5
#define CW_PLACE_NAME_SIZE 64
#define CW_PLACE_WHY_SIZE 300
#define CW_PLACE_FAR_UNKNOWN 32u

enum cw_place_spread { CW_PLACE_HOST, CW_PLACE_RACK, CW_PLACE_SITE };
enum cw_place_sites { CW_PLACE_ANY, CW_PLACE_EACH, CW_PLACE_ONLY, CW_PLACE_PREFER };

struct cw_place_rule {
    uint32_t copies; /* 1..CW_PLACE_COPIES_MAX */
    enum cw_place_spread spread;
    enum cw_place_sites sites;
    uint32_t each; /* EACH: copies in every site listed; each * n_sites <= copies */
    uint32_t n_sites;
    char site[CW_PLACE_SITES_MAX][CW_PLACE_NAME_SIZE];
};

struct cw_place_disk {
    struct cw_uuid uuid;
    const char *region, *site, *rack, *host; /* racks are named within their site */
    uint64_t size_bytes;
    uint64_t load_bytes; /* what lies or is promised there; may exceed the size (thin) */
    bool usable;         /* may take a new copy now */
    bool is_volatile;    /* it dies with its instance */

    /* cw_place_index: equal where the names are; comparing them is the price of a placement */
    uint32_t site_no, rack_no, host_no;
    uint64_t tenth_bytes, hash;

    /* By site_no, of all sites: how far that is from here, in coarse ranks; CW_PLACE_FAR_UNKNOWN:
     * not known. NULL: of none it is. Borrowed; set after the index was made. */
    const uint8_t *far_of;
};

struct cw_place_answer {
    uint32_t n;                       /* disks chosen, new ones only */
    uint32_t at[CW_PLACE_COPIES_MAX]; /* indices into disks */
    char why[CW_PLACE_WHY_SIZE];      /* refused: the reason .. */
    char hint[CW_PLACE_WHY_SIZE];     /* .. and the smallest change that would satisfy it */
};

/* Once for an array of disks, before it is used below; again when names change. Loads and usable
 * may change at any time. */
void cw_place_index(struct cw_place_disk *disks, size_t n_disks);

/* Chooses rule->copies - n_have disks beside `have` (indices of disks that hold a copy, usable or
 * not). False: the rule cannot be met; then the answer still holds as many as can be had. */
bool cw_place(const struct cw_place_rule *rule, const struct cw_place_disk *disks, size_t n_disks,
              const uint32_t *have, uint32_t n_have, uint64_t seed, struct cw_place_answer *ret);

/* At most eight of each; indices of disks. */
struct cw_place_beside {
    const uint32_t *have, *but; /* but: on none of these */
    uint32_t n_have, n_but;
    uint64_t seed;
    bool quiet; /* why and hint are not asked for */
};

/* The same. */
bool cw_place_beside(const struct cw_place_rule *rule, const struct cw_place_disk *disks,
                     size_t n_disks, const struct cw_place_beside *q, struct cw_place_answer *ret);

/* Of two disks: do they share a domain that the rule wants two copies not to share? */
bool cw_place_clash(const struct cw_place_rule *rule, const struct cw_place_disk *a,
                    const struct cw_place_disk *b);
/* The rule names the site of this disk. */
bool cw_place_listed(const struct cw_place_rule *rule, const struct cw_place_disk *d);
/* How full, in tenths; more than ten where more is promised than there is. */
uint64_t cw_place_tenths(const struct cw_place_disk *d);

/* Do exactly these copies meet the rule? False: why. */
bool cw_place_check(const struct cw_place_rule *rule, const struct cw_place_disk *disks,
                    const uint32_t *have, uint32_t n_have, char why[static CW_PLACE_WHY_SIZE]);
