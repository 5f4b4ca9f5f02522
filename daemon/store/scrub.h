/* store/scrub.h - what the files of the scrub share: scrub.c (the pass and when), scrub-own.c (the
 * store's own records), scrub-copies.c (the copies' pages and blocks). Of nobody else's interest.
 */
#pragma once

#include "daemon/store/store-internal.h"

#define SCRUB_REFS 16u

/* Where in the copies: the next chunk to be read. */
struct scrub_at {
    uint64_t shard, snap;
    uint32_t chunk;
};

/* A map page or table page on the media. */
struct scrub_ref {
    uint64_t layer, loc, csum;
    uint32_t index; /* chunk, or number of the table */
};

struct scrub_pass {
    uint64_t number, took_ns, bytes, found, repaired;
};

enum step {
    STEP_BUSY,  /* I/O is under way */
    STEP_NEXT,  /* nothing to be done here: the next step at once */
    STEP_LATER, /* no memory now, or somebody else is at it */
};

struct scrub {
    struct cw_store *s;
    uint64_t interval_ns;
    struct cw_timer timer;
    bool open;    /* the store serves */
    bool busy;    /* a step is under way */
    bool again;   /* begin a new pass when it is over */
    bool starved; /* it found no memory */
    bool hurry;
    enum cw_scrub_phase phase;
    struct scrub_at at;

    struct scrub_pass pass, last;
    uint64_t base_ns, since_ns; /* elapsed: base, and what went by since */
    uint64_t ended_ns;          /* of the last */

    struct idle_look look;
    uint64_t stepped_ns, stepped_ops;

    uint32_t slot; /* SB */
    uint64_t sb_seq;
    struct sb_wait sb;
    uint32_t n_sb; /* superblocks still to be written */

    uint32_t which; /* CKPT: of the superblock's two */
    uint64_t number;
    uint32_t root_seg;
    struct cw_root *root;
    uint32_t part;
    struct cw_buf *tabs; /* a part of the directory .. */
    uint32_t n_tabs, tab;
    uint64_t healed_by; /* checkpoints must have come so far */

    struct cw_buf *buf;
    struct store_io io;
    struct scrub_ref refs[SCRUB_REFS];
    uint32_t n_refs;
    uint32_t next_chunk; /* PAGES: the cursor when they are read */
    struct store_run runs[SCRUB_REFS];
    uint64_t bad[1];
    struct store_fetch fetch;

    struct cw_store_read read; /* BLOCKS */
    bool was_resident;
};

/* scrub.c */
void scrub_step_over(struct scrub *c); /* what was under way is done */
void scrub_pass_end(struct scrub *c);
void scrub_healed(struct scrub *c, const char *what); /* it was bad, and is written anew */
void scrub_want_ckpts(struct scrub *c, uint32_t n);   /* so many more, soon */
bool scrub_buffer(struct scrub *c, size_t len);       /* c->buf; false: others need memory more */
/* Reads c->refs; they are pinned until scrub_refs_pin(c, -1). */
enum step scrub_refs_fetch(struct scrub *c, void (*done)(struct store_fetch *));
void scrub_refs_pin(struct scrub *c, int32_t by);
bool scrub_ref_is_good(const struct scrub *c, uint32_t i);

/* scrub-own.c */
enum step scrub_step_sb(struct scrub *c);
enum step scrub_step_ckpt(struct scrub *c);
void scrub_ckpt_leave(struct scrub *c); /* forgets the checkpoint that it is at; on to the next */

/* scrub-copies.c */
enum step scrub_step_pages(struct scrub *c);
enum step scrub_step_blocks(struct scrub *c);
