/* store/segment.h - segments: which is next, and what is found in one.
 * The store's own: its files include store-internal.h.
 */
#pragma once

#include "daemon/store/format.h"
#include "daemon/store/io.h"

/* ---- segments (segment.c) ---- */

struct seg {
    uint64_t seq;        /* 0: never opened */
    uint64_t last_batch; /* highest batch in it that may still be replayed */
    uint32_t live;       /* sectors the map (META: the newest checkpoint) refers to */
    uint32_t live_ckpt;  /* at the freeze of the running checkpoint */
    uint32_t dead_next;  /* META: sectors that leave with the next freeze */
    uint32_t tail_pins;
    uint32_t io_pins; /* reads that are under way, and the write of its summary */
    /* The last checkpoint that may need what is in it, though the log does not tell that this
     * ended: a tail let a record go, or a deleted layer gave its blocks back. */
    uint64_t unlogged_until;
    uint32_t next, prev; /* in the list of the index that it is in */
    uint16_t list;
    uint8_t state, cls, flags;
    bool zeroed;      /* pre-written in this life of the process */
    bool unscannable; /* its records could not be read: never a victim again */
    bool undiscarded; /* FREE: the disk has not been told */
    bool is_victim;   /* of a cleaner */
    bool headless;    /* its header is not durable, so nothing in it is */
    /* META: all that lives in it is dirty, and moves with so many checkpoints (0: none) */
    uint8_t moving;
    /* No victim as long as no further layer has ended than had by then. */
    bool postponed;
    uint32_t layers_ended;
};

struct open_seg {
    uint32_t no;
    uint32_t off;     /* next batch */
    bool open, fresh; /* fresh: its header goes with the next batch */
    uint64_t prev_seq;
    uint8_t *sum; /* entries of the summary so far */
    uint32_t sum_len, sum_cap, n_batches;
};

uint64_t seg_off(const struct cw_store *s, uint32_t no);
uint64_t loc_off(const struct cw_store *s, uint64_t loc);
/* A RAW place of n blocks. */
bool loc_valid(const struct cw_store *s, uint64_t loc, uint32_t n_blocks);
/* A RAW or COMP place of one block. */
bool loc_data_valid(const struct cw_store *s, uint64_t loc);
/* Makes room for a batch in the class' open segment; false: no free segment for it now. */
bool segment_room(struct cw_store *s, uint8_t cls, uint32_t batch_bytes, uint32_t used,
                  uint32_t keep_free);
/* After a recovery: goes on behind what is in it; its summary is empty yet. */
void segment_resume(struct cw_store *s, uint8_t cls, uint32_t no, uint32_t off);
void segment_add_summary(struct cw_store *s, uint8_t cls, uint32_t off, const uint8_t *hdr,
                         uint32_t used);
void segment_seal(struct cw_store *s, uint8_t cls, bool summary);
void segment_fill_hdr(struct cw_store *s, uint8_t cls, struct cw_seg_hdr *h, uint64_t batch_seq);
bool segment_hdr_valid(const struct cw_store *s, const struct cw_seg_hdr *h, uint32_t no);
/* n blocks more, or less, that are referred to there. */
void segment_live_add(struct cw_store *s, uint64_t loc, int32_t n);
void segment_live_sectors(struct cw_store *s, uint64_t loc, int32_t sectors);
/* The live count of a segment that holds nothing else. */
uint32_t segment_live_max(const struct cw_store *s);
/* META: one block leaves with the next freeze. */
void segment_dies_next(struct cw_store *s, uint64_t loc);
void segment_freeze(struct cw_store *s, struct seg *g); /* for a checkpoint */
/* What emptied by the log alone since the last call is free at once. */
void segment_free_ripe(struct cw_store *s);
/* A read of it ended: its count goes down. */
void segment_unpin(struct cw_store *s, uint32_t no);
void segment_free_unneeded(struct cw_store *s, uint64_t replay_batch);
void segment_soon_free(struct cw_store *s,
                       uint32_t no); /* what the loaded checkpoint does not need */
void segment_set_moving(struct cw_store *s, uint32_t no); /* META: with the next freeze */
bool segment_is_pinned(const struct seg *g);
uint32_t segment_count(const struct cw_store *s, uint8_t state);

void prewrite_kick(struct cw_store *s); /* prewrite.c */

/* discard.c */
void discard_note(struct cw_store *s, struct seg *g); /* its state changed */
bool discard_holds(const struct cw_store *s, uint32_t no);
void discard_kick(struct cw_store *s);

/* ---- which segment next (segindex.c) ---- */

#define SEG_NONE UINT32_MAX
#define SEG_BUCKETS 64u

enum seg_in {
    SEG_IN_NONE,
    SEG_IN_FREE,
    SEG_IN_SOON_FREE,
    SEG_IN_EMPTY,
    SEG_IN_MOVING,
    SEG_IN_LIVE
};

struct seg_list {
    uint32_t first, last; /* undefined with n 0 */
    uint32_t n;
};

struct segindex {
    bool built; /* from the end of a replay on */
    struct seg_list free, soon_free;
    struct seg_list empty; /* sealed, and the next checkpoint leaves nothing alive in them .. */
    uint32_t n_held;       /* .. but these are held by a tail */
    uint32_t n_emptied;    /* the last of them: not looked at yet by segment_free_ripe */
    struct seg_list moving;
    uint32_t n_meta; /* sealed META segments that hold something, moving ones too */
    struct seg_list by_live[CW_SEG_CLASSES][SEG_BUCKETS]; /* the other sealed ones */
};

void segindex_build(struct cw_store *s);
/* After its state, class or count of live data changed. */
void segindex_update(struct cw_store *s, uint32_t no);
uint16_t segindex_place(const struct cw_store *s, const struct seg *g); /* an enum seg_in */
/* How many sealed segments checkpoints would free. */
uint32_t segindex_empty(const struct cw_store *s);
/* Holds data that nobody wrote to for two checkpoints. */
bool segindex_is_cold(const struct cw_store *s, uint32_t no);
/* The segment to clean, of data; greedy: whatever gives most at once. False: none is worth it. */
bool segindex_victim(struct cw_store *s, bool greedy, uint32_t *ret);
/* The META segment with the least in it. */
bool segindex_meta_victim(struct cw_store *s, uint32_t *ret);
void segment_tail_pin(struct cw_store *s, uint32_t no);
void segment_tail_unpin(struct cw_store *s, uint32_t no);

/* ---- segment scan (scan.c) ---- */

struct scan_batch {
    struct cw_batch_hdr h;
    uint32_t seg, off, used;
    uint8_t *bytes; /* header and records, malloc */
};

struct scan {
    struct cw_store *s;
    uint32_t seg;
    uint64_t seg_seq;
    struct scan_batch *b;
    uint32_t n, cap;
    uint32_t lost;     /* places that could not be read .. */
    uint32_t lost_end; /* .. and behind them no batch was found */
    uint32_t holes;    /* batches that do not begin where the one before ended */
    bool from_summary;
    void (*done)(struct scan *);
    /* the scan's */
    struct store_io io;
    uint8_t *win;
    uint32_t win_off, win_len, at;
    uint32_t end;       /* of the last batch */
    uint32_t small_end; /* what lies below cannot be read in one piece */
    uint32_t need;      /* bytes of the header at `at`; 0: not known */
    bool patient;       /* as store_io, until one place stays unreadable */
};
void scan_start(struct cw_store *s, struct scan *sc, uint32_t seg);
void scan_fini(struct scan *sc);
struct rec_view;
typedef void scan_record_fn(void *user, const struct scan_batch *b, const struct rec_view *v);
void scan_each_record(const struct scan *sc, scan_record_fn *fn, void *user);

/* ---- segments without a valid header that may hold batches (suspect.c) ---- */

struct suspect {
    uint32_t no;
    bool unreadable;   /* the header; else it is merely not one */
    uint64_t from_seq; /* what may be there has a seg_seq from here on .. */
    uint64_t seq;      /* .. or this one; 0: none */
};

struct suspects {
    struct suspect *v;
    uint32_t n, at;
    void (*done)(struct suspects *);
    /* what was found */
    bool lost;        /* batches may be there that cannot be read */
    uint64_t covered; /* highest durable_upto */
    uint64_t last_batch, last_seg_seq;
    /* suspect.c's */
    struct cw_store *s;
    struct scan scan;
    struct store_io io;
    uint8_t *mem;
};
void suspects_add(struct suspects *x, struct suspect one);
void suspects_look(struct cw_store *s, struct suspects *x);
void suspects_fini(struct suspects *x);
