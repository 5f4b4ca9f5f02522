/* store/cleaner.h - what the files of the cleaner share: cleaner.c (the victim and its survivors),
 * load.c (moving some of them). Of nobody else's interest.
 */
#pragma once

#include "daemon/store/store-internal.h"

/* small against a segment, whose last batch leaves a gap; 63 records of one block fill one header
 */
#define LOAD_BLOCKS 63u

#define LOAD_PIECES_MAX 255u /* blocks of packed places: a buffer of 1 MiB */

enum cleaner_state { CLEAN_IDLE, CLEAN_SCAN, CLEAN_CHECK, CLEAN_READ, CLEAN_WRITE };

struct survivor {
    uint64_t layer, lba, csum, loc; /* layer: of the record; its family may refer to the place */
};

struct cleaner {
    struct cw_store *s;
    enum cleaner_state state;
    bool packs, unpacked; /* for the packer; and something was left for lack of memory */
    uint32_t victim;
    uint32_t live; /* of the victim at first */
    struct scan scan;
    struct survivor *v; /* candidates of the victim, then checked one by one */
    uint32_t n, cap, at;
    uint32_t found;  /* of them alive */
    uint32_t n_warm; /* put aside at the beginning of v, for the second pass */
    uint8_t cls;     /* where this pass moves to */
    struct page_waiter w;
    bool waiting;
    struct survivor load[LOAD_BLOCKS];
    uint32_t n_load, n_pages;
    struct store_run runs[LOAD_BLOCKS];
    uint64_t bad[1 + LOAD_BLOCKS / 64];
    struct extent ext[LOAD_BLOCKS];
    uint32_t n_ext, n_pieces;
    uint64_t packed_bad[LOAD_PIECES_MAX / 64 + 1];
    bool reread; /* the load, as some of it was bad */
    struct store_fetch fetch;
    struct cw_buf *buf, *packed;
    struct comp_pack pack;
    uint32_t written; /* of load */
    uint32_t tickets_out;
    struct cw_store_ticket ticket;
};

/* cleaner.c */
void cleaner_step(struct cleaner *c);
void cleaner_idle(struct cleaner *c); /* gives the victim up */

/* load.c */
bool survivor_is_packed(const struct survivor *v);
bool survivor_wants_pack(const struct cleaner *c, const struct survivor *v); /* by its policy */
bool load_is_full(struct cleaner *c, const struct survivor *v);
void load_add(struct cleaner *c, const struct survivor *v);
void load_read(struct cleaner *c);  /* then verifies it, and on to CLEAN_WRITE */
void load_write(struct cleaner *c); /* what has room now; when all is durable, on to CLEAN_CHECK */
void load_drop(struct cleaner *c);
void load_on_written(struct cw_store_ticket *t, int res);
