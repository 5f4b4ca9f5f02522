/* tests/lib/storelife.h - what happened to the copies of a store in a storeworld, and what must be
 * left of it after a cut: of each copy a prefix that holds all that was acknowledged.
 *
 *   asked (appended, submitted)  >=  what is found after a restart  >=  acknowledged
 */
#pragma once

#include "tests/lib/storeworld.h"

#define LIFE_SHARDS 2u
#define LIFE_OPS 6000u  /* records of one copy */
#define LIFE_SPAN 2048u /* blocks of a copy that are ever touched */

struct storelife_op {
    uint8_t type;
    uint32_t lba, nblk;
};

/* A control step under way; forgotten with the store that it was asked of. */
struct storelife_step {
    struct cw_store_ticket t;
    struct storelife *life;
    uint32_t promised[LIFE_SHARDS], cfg[LIFE_SHARDS];
    bool busy;
};

struct storelife_copy {
    struct cw_store_shard *sh;            /* of the store as it is open now, or NULL */
    struct storelife_op op[LIFE_OPS + 1]; /* by seq */
    bool made;                            /* its creation was acknowledged */
    uint64_t n;                           /* records asked for */
    uint64_t acked;
    uint32_t promised, promised_acked, cfg, cfg_acked;
};

struct storelife {
    struct storeworld *w;
    struct cw_prng rnd;
    struct storelife_copy copy[LIFE_SHARDS];
    struct storelife_step step[8];
    uint32_t n_failed; /* control steps answered with an error */
};

/* What a check may let pass. */
enum storelife_lax {
    LIFE_BAD_OK = 1 << 0,    /* blocks may be bad, copies damaged: but nothing is wrong */
    LIFE_BEHIND_OK = 1 << 1, /* fewer than acknowledged: the disk lied */
    LIFE_TAIL_OK = 1 << 2,   /* records of the tail need not be readable */
};

void storelife_init(struct storelife *l, struct storeworld *w, uint64_t seed);

/* After each open: makes the copies in the first life, else takes up what is there (records that
 * were not found are forgotten). */
void storelife_open(struct storelife *l);

/* Before the store is opened again without storelife_open: what it had is not looked at any more.
 */
void storelife_leave(struct storelife *l);

/* One or some more records or control steps, by the generator. A negative error of an append is
 * returned; -EAGAIN never (waited for, at most 10 s of virtual time, then -ETIMEDOUT). */
int storelife_write(struct storelife *l, uint32_t copy, uint32_t lba, uint32_t nblk);
int storelife_clear(struct storelife *l, uint32_t copy, uint8_t type, uint32_t lba, uint32_t nblk);
void storelife_promise(struct storelife *l, uint32_t copy);
void storelife_set_cfg(struct storelife *l, uint32_t copy);
int storelife_some(struct storelife *l, uint32_t nblk_max);
void storelife_stable(struct storelife *l, uint32_t keep); /* everything but the last `keep` */

/* On a fresh disk: a little live data in each segment, until so few are free that the cleaner has
 * work. Ends open; stable is everything. */
void storelife_tighten(struct storelife *l);

/* Notes what is acknowledged by now. */
void storelife_note(struct storelife *l);

/* Everything asked for is acknowledged; false: not within for_ns. */
bool storelife_settle(struct storelife *l, uint64_t for_ns);

/* The store of `w` (another world than l's, or l's own after a restart) holds what it must. */
void storelife_check(const struct storelife *l, struct storeworld *w, uint32_t lax);

/* A read that is done (res 0) of l's own store saw the state that it says (at_seq). */
void storelife_check_read(const struct storelife *l, uint32_t copy, const struct cw_store_read *r,
                          uint32_t lax);

/* A cut now: what it leaves is opened in a world of its own and checked. Again: the recovered store
 * takes some more writes, is cut once more with nothing kept, and checked again. */
struct storelife_cut {
    struct cw_ramdisk_crash how;
    uint32_t piece; /* not 0: exact, `kept` has a bit for each piece (ramdisk.h) */
    const uint64_t *kept;
    bool again;
};
void storelife_check_cut(const struct storelife *l, const struct storelife_cut *cut, uint32_t lax);

uint64_t storelife_shard_id(uint32_t copy);
