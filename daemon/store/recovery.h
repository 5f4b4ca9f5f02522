/* store/recovery.h - what the files of a recovery share: recovery.c (the order of things),
 * ckptload.c (a checkpoint), replay.c (the log behind it). Of nobody else's interest.
 */
#pragma once

#include "daemon/store/store-internal.h"

struct cut {
    uint64_t from,
        to; /* batches [from, to) do not exist; in order of from, to of all before it too */
};

/* The newest segment of a class. */
struct last_seg {
    uint32_t no, off; /* off: behind all batches found in it */
    uint64_t seq;     /* 0: none */
    bool whole;       /* not sealed, all of it was read */
};

#define RECOVERY_HEADERS_MAX 256u /* at once */
#define RECOVERY_MISSED_MAX 16u

struct recovery {
    struct cw_store *s;
    uint64_t began_ns;
    uint32_t which; /* of the superblock's checkpoints */
    struct store_io io;
    uint8_t *mem; /* of the read under way */
    struct store_fetch fetch;
    struct store_run *runs;
    uint64_t *bad;

    /* the checkpoint */
    struct cw_root *root;
    uint8_t *content[CW_PART_KINDS]; /* per part kind */
    size_t content_len[CW_PART_KINDS];
    uint32_t part;
    uint32_t tab_at; /* table to be read next */

    /* segments and the batches in them */
    bool settled;                             /* the superblock says so, and may be believed */
    uint32_t header_at;                       /* segment to be looked at next */
    uint32_t header_no[RECOVERY_HEADERS_MAX]; /* those being read */
    bool *scan_it;                            /* by segment */
    struct scan scan;
    uint32_t scan_seg;
    bool foreign;         /* of the batch that is looked at */
    struct scan_batch *b; /* all found, in batch order */
    uint32_t n, cap;
    struct suspects suspects;
    struct last_seg last[CW_SEG_CLASSES];
    uint32_t *ref_end;   /* by segment: end of what the checkpoint refers to in META */
    bool lost, lost_end; /* places in segments due for replay could not be read; the last ones */

    /* replay */
    struct cut *cuts;
    uint32_t n_cuts;
    uint64_t covered; /* highest durable_upto */
    uint64_t next;    /* batch to be replayed next */
    uint32_t at;      /* in b */
    bool payload_ok;
    uint64_t unreadable; /* a batch that is there but whose payload cannot be read; 0: none */

    struct sb_wait unsettle;

    /* reads that failed, see lapse.c */
    struct {
        uint64_t off, len;
    } missed[RECOVERY_MISSED_MAX];
    uint32_t n_missed, look_at;
    void (*after_look)(struct recovery *r);
};

/* recovery.c */
void recovery_fail(struct recovery *r, int res);
/* Room for n blocks in r->mem, and as many runs and marks of what could not be read. */
void recovery_fetch_memory(struct recovery *r, uint32_t n);
void recovery_fetch(struct recovery *r, uint32_t n, void (*done)(struct store_fetch *));
void recovery_headers(struct recovery *r); /* a checkpoint is loaded */
void recovery_end(struct recovery *r);     /* all is replayed that can be */

/* ckptload.c: loads checkpoint r->which, the other one if that fails; else the recovery fails. */
void recovery_checkpoint(struct recovery *r);

/* resume.c */
void resume_note_scan(struct recovery *r, const struct scan *sc); /* batches of a segment */
void resume_segments(struct recovery *r); /* all is replayed; nothing was damaged */

/* lapse.c */
/* Reads again what was missed: then(r) if it is bad for good or nothing was; if the disk was or is
 * away the recovery fails with -EIO. */
void recovery_look_again(struct recovery *r, void (*then)(struct recovery *r));

/* replay.c */
void recovery_find_cuts(struct recovery *r);
bool recovery_is_void(const struct recovery *r, uint64_t seq); /* in some cut */
void recovery_replay(struct cw_store *s);
