/* tool/check.h - the parts of `causeway-store check`, in its order. */
#pragma once

#include "daemon/tool/walk.h"

struct cw_check {
    struct cw_tool *t;
    struct cw_stand *st;
    struct cw_report *rep;

    struct cw_ckpt now; /* what a recovery leads to; of enum cw_stand_side `side` */
    enum cw_stand_side side;
    bool has_now;
    bool map_whole; /* no page of it was lost */
    uint32_t *refs; /* per segment: entries of the map of `now` that name a place in it */

    uint64_t n_copies, n_layers, n_pages, n_blocks; /* of `now`; blocks read through the map */
    uint64_t n_segments, n_batches, n_records;
};

/* Superblock slots of the disk. */
void cw_check_superblocks(struct cw_check *c);

/* One checkpoint with all its map pages, and every count in it against them. ret_refs: as
 * cw_check.refs, or NULL; *ret_whole: no page was lost. Returns how many map pages it has. */
uint64_t cw_check_map(struct cw_check *c, const struct cw_ckpt *k, enum cw_stand_side side,
                      uint32_t *ret_refs, bool *ret_whole);

/* Every segment that is in use, and every block that the map names. */
void cw_check_segments(struct cw_check *c);
