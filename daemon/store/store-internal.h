/* store/store-internal.h - what the files of the store share; nobody else includes it.
 *
 *   append -> open batch (per class) -> ready -> in flight -> durable -> applied, in batch order
 *
 * Replay runs the very code that applies live batches: map, versions, shard states and the live
 * count of data segments are functions of the log. A checkpoint is the exact state between two
 * batches: what changes while it is written is copied first.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/bits.h"
#include "common/base/list.h"
#include "common/codec/compress.h"
#include "daemon/store/format.h"
#include "daemon/store/store.h"

#define STORE_SEQ_MAX (UINT64_C(1) << 62)  /* of batches, segments ..: no store comes so far */
#define STORE_SEQ_ROOM (UINT64_C(1) << 48) /* before it; what is opened must be able to go on */
#define STORE_HOT_IN_FLIGHT 4u
#define STORE_BG_IN_FLIGHT 2u
#define STORE_CLEANERS_MAX 4u
#define STORE_HOT_BATCHES 10u /* open, ready and in flight together */
#define STORE_BATCH_IOV 64u
#define STORE_STUCK_NS (2 * CW_NS_PER_S)
#define STORE_WATCH_NS (250 * CW_NS_PER_MS)
#define STORE_NOTE_NS (100 * CW_NS_PER_MS)
#define STORE_CKPT_NS (600 * CW_NS_PER_S)
#define STORE_CKPT_BYTES (64 * CW_GIB)
#define STORE_CKPT_HDR_BYTES_MIN (64 * CW_MIB)
#define STORE_BUCKETS 1024u
#define STORE_ZERO_BYTES (64u * 1024u)

/* ---- I/O (io.c) ---- */

struct store_io {
    struct cw_disk_io io;
    struct cw_store *s;
    struct cw_list link; /* s->ios, oldest first */
    uint64_t submitted_ns;
    struct iovec iov1; /* for single pieces */
    bool unwatched;    /* however long it takes, the disk is not stuck */
    bool twice;        /* a read that fails is tried once more before done; then cleared */
    bool patient;      /* .. and twice again, after pauses: what passes must not become a loss */
    uint64_t again_ns; /* in s->paused: when */
    void (*done)(struct store_io *, int res);
};

/* One piece, through iov1. */
void store_io_start(struct cw_store *s, struct store_io *io, enum cw_disk_op op, uint64_t off,
                    void *data, uint64_t len);
/* io.iov, io.n_iov and io.len are set. */
void store_io_start_iov(struct cw_store *s, struct store_io *io, enum cw_disk_op op, uint64_t off);
void store_io_watch(struct cw_store *s);
void store_on_pause(struct cw_timer *t);

/* Does the disk have little to do for others? Asked again within two looks. */
#define IDLE_LOOK_NS (100 * CW_NS_PER_MS)
#define IDLE_OPS 16u /* between two looks */

struct idle_look {
    uint64_t ns, ops; /* at the last one */
};
uint64_t store_ops(const struct cw_store *s); /* reads and records so far */
bool store_is_idle(struct cw_store *s, struct idle_look *last);

/* Verified reads of runs of blocks into memory: at most 16 I/Os at once; a run that fails is read
 * block by block. */
struct store_run {
    uint64_t off;
    uint8_t *to;
    uint32_t n_blocks;
    uint32_t first; /* index of its first block in `bad` */
};

#define FETCH_SLOTS 16u

struct fetch_slot {
    struct store_io io;
    struct store_fetch *f;
    struct store_run run; /* what is left of it when it is read block by block */
    bool single;
};

struct store_fetch {
    struct cw_store *s;
    struct store_run *runs;
    uint32_t n_runs, next, under_way;
    uint64_t *bad; /* bitmap: a block that could not be read */
    bool patient;  /* as store_io, until one block stays unreadable */
    void (*done)(struct store_fetch *);
    struct fetch_slot slots[FETCH_SLOTS];
};
void store_fetch_start(struct cw_store *s, struct store_fetch *f);

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

/* ---- records (record.c) ---- */

struct rec_view {
    struct cw_rec_desc d;
    const uint64_t *csums;
    uint32_t n_csums;
    const uint8_t *body;
    uint32_t n_payload; /* blocks it has in the payload */
    uint32_t n_runs;    /* comp: how they lie; else 0 */
    const uint8_t *runs;
    uint32_t payload_sectors;
    const uint8_t *next;
};

/* Places of the blocks of a record that have payload, one after another. */
struct rec_places {
    const struct rec_view *v;
    uint32_t seg, off512; /* of the run */
    uint32_t run, idx;    /* next */
};
struct rec_places record_places(const struct rec_view *v, uint32_t seg, uint32_t payload_off);
uint64_t record_place_next(struct rec_places *p);
struct cw_rec_run record_run(const struct rec_view *v, uint32_t i);

/* False: not a record of this format. end - at is what is left of the header area. */
bool record_parse(const uint8_t *at, const uint8_t *end, uint32_t payload_bytes,
                  struct rec_view *ret);
/* Parses all nrec; false if any is not right. ret_used: header plus records. */
bool record_check_all(const struct cw_batch_hdr *h, const uint8_t *hdr, uint32_t avail,
                      uint32_t *ret_used);
/* A block whose checksum says zeroes and that has no payload for it? */
bool record_left_out(const struct rec_view *v, uint32_t i);
uint32_t record_chunk_count(uint64_t lba, uint32_t nblk);

/* ---- batches (batch.c) ---- */

enum batch_state { BATCH_IDLE, BATCH_OPEN, BATCH_READY, BATCH_IN_FLIGHT, BATCH_DURABLE };

struct batch {
    struct cw_list link; /* s->batches in batch order, s->ready, s->spare */
    enum batch_state state;
    uint8_t cls;
    bool urgent; /* gives space back or must not wait: may use the reserve */
    bool failed_once;
    bool written; /* once at least: its place in the chain is fixed */
    bool opens;   /* carries its segment's header */
    bool lost;    /* in flight into a segment whose header failed */
    uint32_t nrec, used, payload_bytes;
    uint32_t hdr_bytes;
    uint32_t n_iov; /* iov[0] is the header */
    uint32_t touches, blocks;
    uint32_t seg, off;
    uint64_t seq;
    uint8_t *mem; /* room for a segment header, then the header area */
    uint8_t *hdr;
    struct iovec iov[STORE_BATCH_IOV];
    struct cw_buf *bufs[STORE_BATCH_IOV];
    struct cw_buf *own; /* where payload is copied to, from own_at on */
    uint32_t own_at;
    struct cw_list tickets, repairs;
    struct store_io io;
};

/* A batch of that class with room for a record of hdr_len and up to n_blocks of payload in pieces;
 * NULL: no buffer now. */
struct batch *batch_room(struct cw_store *s, uint8_t cls, uint32_t hdr_len, uint32_t n_blocks,
                         uint32_t pieces);
/* Appends descriptor, csums and body; the payload must have been added before. */
struct rec_out {
    struct cw_rec_desc d;
    const uint64_t *csums;
    uint32_t n_csums;
    const void *body;
};
uint32_t batch_rec_len(const struct rec_out *r);
void batch_add(struct batch *b, const struct rec_out *r);
/* After batch_reserve for at least so many in all. */
void batch_payload(struct batch *b, const uint8_t *data, uint32_t n_blocks, struct cw_buf *ref);
/* The same for blocks that were put at batch_own_at: after batch_reserve. */
uint8_t *batch_own_at(struct batch *b);
void batch_payload_own(struct batch *b, uint32_t n_blocks);
bool batch_reserve(struct cw_store *s, struct batch *b, uint32_t n_blocks);
/* Submits what is ready, and the open batch too. */
void batch_submit_class(struct cw_store *s, uint8_t cls, bool open_too);
void batch_fail_all(struct cw_store *s);
uint64_t batch_chain(uint64_t seq, const uint8_t *hdr, uint32_t used);
/* Applies what is durable, in order. */
void batch_release(struct cw_store *s);
bool batch_idle(const struct cw_store *s);
void batch_free_all(struct cw_store *s);
void batch_ticket(struct cw_store *s, struct batch *b, struct cw_store_ticket *t);
/* A record without payload that always finds a place, in order; t may be NULL. */
void batch_control(struct cw_store *s, const struct rec_out *r, struct cw_store_ticket *t);
void batch_control_flush(struct cw_store *s);

/* ---- map pages (map.c) ---- */

struct page_waiter {
    struct cw_list link;
    void (*fn)(struct page_waiter *);
};

struct page {
    struct cw_map_page *data;
    struct cw_buf *data_buf, *frozen_buf; /* what data and frozen lie in */
    struct layer *l;
    uint32_t chunk;
    uint32_t pins;
    bool loading, dirty, in_ckpt, dropped;
    bool reread;                /* once, before the page is given up: all its chunk goes with it */
    struct cw_map_page *frozen; /* content at the freeze, when it changed since */
    struct cw_list link;        /* s->lru (clean), s->dirty, s->held (frozen) */
    struct cw_list ckpt_link;
    struct cw_list waiters;
    struct store_io io;
};

/* All of these: of the layer's own chunk, whatever its parents have.
 * The page if it is in RAM; else starts its load, queues w (may be NULL: prefetch) and returns
 * NULL. The chunk has a page. */
struct page *map_page_get(struct layer *l, uint32_t chunk, struct page_waiter *w);
struct page *map_page_resident(struct layer *l, uint32_t chunk);
bool map_has_page(struct layer *l, uint32_t chunk);
/* A page of only NONE entries; the chunk has none. */
struct page *map_page_make(struct layer *l, uint32_t chunk);
/* Before entries change. */
void map_page_dirty(struct cw_store *s, struct page *p);
void map_entry_set(struct page *p, uint32_t i, struct cw_map_entry e);
/* After entries changed: a page that maps nothing any more is given back. */
void map_page_settle(struct page *p);
void map_page_freeze(struct cw_store *s, struct page *p);
void map_page_unpin(struct page *p);
void map_page_unfreeze(struct cw_store *s, struct page *p);
/* What it owns is about to go, or to be owned by another, and the log does not tell. */
void map_page_unlogged(struct page *p);
/* Between checkpoints, page neither pinned nor loading: the chunk with all it has becomes that of
 * `to`, which has none of its own. */
void map_chunk_move(struct layer *from, struct layer *to, uint32_t chunk);
/* It was needed once only: the next to go. */
void map_page_cool(struct layer *l, uint32_t chunk);
uint64_t map_dirty_pages(const struct cw_store *s);
uint64_t map_cached_pages(const struct cw_store *s); /* with what a checkpoint keeps as it was */
/* Lets clean pages go until the budget has room for n_more, as far as there are any: not while
 * somebody looks at one that is not pinned. */
void map_evict(struct cw_store *s, uint32_t n_more);
bool map_is_crowded(const struct cw_store *s); /* by dirty pages: a checkpoint first */
void map_free_all(struct cw_store *s);
bool map_kind_is_data(enum cw_map_kind kind);   /* RAW, COMP */
bool map_kind_is_mapped(enum cw_map_kind kind); /* .. or BAD */

/* ---- chunk table (chunktable.c) ---- */

#define CHUNK_WRITING 1u /* RAM only: the running checkpoint writes this chunk's page */

struct tab {
    struct cw_chunk_entry e[CW_TAB_CHUNKS]; /* .ram: struct page * */
    struct cw_chunk_entry *frozen;
    struct layer *l;
    uint32_t index;
    bool dirty, in_ckpt;
    uint64_t loc, csum;
    struct cw_list link, ckpt_link; /* s->tabs_dirty, checkpoint */
};

/* The layer's own entry; with a parent it counts only if CW_CHUNK_OWN is set. */
struct cw_chunk_entry *chunk_find(const struct layer *l, uint32_t chunk);
bool chunk_is_own(const struct layer *l, uint32_t chunk);
/* What the layer shows: its own chunk, else the nearest parent's; NULL: nobody has it. The layer
 * that has it in *l. */
struct cw_chunk_entry *chunk_see(struct layer **l, uint32_t chunk);
/* Made if it was not there. */
struct cw_chunk_entry *chunk_get(struct layer *l, uint32_t chunk);
/* Before anything of the entry but ram, WRITING and page_loc changes. */
struct cw_chunk_entry *chunk_change(struct layer *l, uint32_t chunk);
void chunk_set_ver(struct layer *l, uint32_t chunk, uint32_t gen, uint64_t seq);
struct tab *tab_of(const struct layer *l, uint32_t chunk);
void tab_dirty(struct cw_store *s, struct tab *t);
void tab_encode(const struct cw_store *s, const struct tab *t, struct cw_tab_page *to);
bool tab_load(struct cw_store *s, struct layer *l, const struct cw_tab_page *from,
              const struct cw_tabdir_entry *dir);
void tab_free_all(struct layer *l);

static inline struct page *
chunk_page(const struct cw_chunk_entry *e)
{
    return e == NULL ? NULL : (struct page *)(uintptr_t)e->ram;
}

/* ---- layers (layer.c): what a shard shows now, and what it showed at a snapshot ----
 *
 *   snapshot 1 <-- snapshot 2 <-- head          <-- is the parent of
 *              \-- clone's head
 *
 * A layer shows its own chunks and, where it has none, its parent's. The first change of a chunk
 * makes it the layer's own: the page that was shown is copied, its entries marked SHARED. Each
 * place has one owner, the entry without that mark; live counts count owners. Owners are always
 * further up than those who share. A layer that is deleted gives its places to its only child, or
 * back.
 */

struct layer {
    struct cw_store *s;
    struct cw_store_shard *sh;
    struct layer *parent;
    uint64_t id, snap; /* snap 0: the head */
    uint32_t n_children, next_index;
    bool gone;              /* deleted, and durably so */
    uint32_t purge_at;      /* chunk */
    uint64_t mapped;        /* entries of its own pages that hold data and are not shared */
    uint64_t sectors;       /* live, of those */
    struct cw_list link;    /* s->layers */
    struct cw_list id_link; /* bucket of its family */
    struct tab *tabs[CW_SHARD_TABS];
};

struct layer *layer_make(struct cw_store_shard *sh, uint64_t id, struct layer *parent,
                         uint64_t snap);
void layer_free(struct layer *l);
struct layer *layer_find(const struct cw_store *s, uint64_t id);
struct layer *layer_of_snap(const struct cw_store_shard *sh, uint64_t snap); /* not gone */
bool layer_was_always_alone(const struct layer *l); /* so that no entry of it can be SHARED */
/* Of a dropped copy: nobody sees what it has, which counts until it has been given back. */
bool layer_is_given_back(const struct layer *l);
bool layers_are_given_back(const struct cw_store *s); /* is any? */
/* An id that the family never had nor will have again; 0: there are no more. */
uint64_t layer_new_id(struct layer *of);
/* Layers of one family: NULL begins, NULL ends. */
struct layer *layer_next(const struct cw_store *s, uint64_t family, const struct layer *after);
size_t layers_encode(const struct cw_store *s, uint8_t *to); /* to NULL: only counts */
bool layers_decode(struct cw_store *s, const uint8_t *from, size_t len);
/* A version 1 checkpoint has none: one head per shard. */
void layers_make_heads(struct cw_store *s);
/* .. and their counts are in the tables. */
void layers_count_tabs(struct cw_store *s);
void layer_reclaim_kick(struct cw_store *s); /* reclaim.c */

/* ---- shards (shard.c) ---- */

struct tail_entry {
    struct cw_store_tail_entry e;
    uint64_t batch_seq;
    uint32_t seg, off;
    uint16_t rec;
};

struct tail {
    struct tail_entry *ring;
    uint32_t cap, head, n;
};

struct cw_store_shard {
    struct cw_store_shard_info info;
    struct cw_store *s;
    uint64_t id, layer; /* layer: what its records name, the id of its first */
    struct layer *head;
    uint32_t n_layers;
    struct cw_list link; /* s->shards ascending, or s->zombies */
    struct cw_list id_link, layer_link;
    struct cw_list touched;
    struct cw_store_hist *hist;
    uint32_t hist_cap;
    struct tail tail;
    bool gone;         /* dropped by the caller */
    bool gone_applied; /* .. and durably so */
};

struct cw_store_shard *shard_by_layer(const struct cw_store *s, uint64_t layer);
struct cw_store_shard *shard_make(struct cw_store *s, const struct cw_shard_rec *rec,
                                  uint64_t layer);
void shard_make_gone(struct cw_store_shard *sh);
/* Durably: its layers are to be given back. */
void shard_gone_applied(struct cw_store_shard *sh);
void shard_free(struct cw_store_shard *sh);
void shard_hist_set(struct cw_store_shard *sh, const struct cw_wire_hist *h, uint32_t n);
void shard_hist_push(struct cw_store_shard *sh, uint32_t gen, uint64_t start_seq);
/* Encodes for the checkpoint; to NULL: only counts. */
size_t shard_encode(const struct cw_store_shard *sh, uint8_t *to);
bool shard_decode(struct cw_store *s, const uint8_t *from, size_t len, size_t *ret_used);

/* tail.c */
void tail_push(struct cw_store_shard *sh, struct tail_entry e);
void tail_trim(struct cw_store_shard *sh, uint64_t stable);
void tail_clear(struct cw_store_shard *sh);
const struct tail_entry *tail_find(const struct cw_store_shard *sh, uint64_t seq);
uint8_t tail_type(const struct rec_view *v); /* of a record of the stream: CW_FT_* */

/* ---- applying (apply.c) ---- */

/* Who owns the blocks of a GC_MOVE or a REPAIR. An owner's map page may have been lost: then the
 * first that shares a place becomes its owner, if all the others inherit from it; else the place is
 * kept, and a repair mends only what the head shows. */
struct move {
    bool known;
    struct layer *shown;            /* REPAIR: whose chunk the head shows */
    uint64_t was[CW_IO_BLOCKS_MAX]; /* their places; 0: not to be changed */
    uint64_t owned[CW_IO_BLOCKS_MAX / 64], kept[CW_IO_BLOCKS_MAX / 64];
    struct layer *heir[CW_IO_BLOCKS_MAX];
};

struct apply {
    struct page_waiter w;
    struct cw_store *s;
    struct batch *batch; /* NULL in replay */
    const uint8_t *hdr, *at, *end;
    struct cw_batch_hdr h;
    uint32_t seg, off;
    uint32_t rec;
    uint32_t chunk;      /* of a ZERO, TRIM or REPAIR: how many are done */
    uint32_t n_repaired; /* blocks that the head shows */
    struct layer *layer; /* of a GC_MOVE or REPAIR: the last that is done */
    struct move move;
    struct page *pinned[2];
    bool active, waiting;
    /* a record that is half applied */
    struct cw_store_shard *mid;
    uint64_t mid_lba;
    uint32_t mid_nblk;
    void (*resume)(struct cw_store *);
};
void apply_begin(struct cw_store *s, struct batch *b, const uint8_t *hdr, uint32_t used,
                 uint32_t seg, uint32_t off);
/* True: all applied. False: resume is called when it can go on. */
bool apply_run(struct cw_store *s);

struct sb_wait {
    struct cw_list link;
    struct cw_store *s;
    void (*change)(struct cw_store *, struct cw_sb *, void *arg);
    void *arg;
    void (*done)(struct cw_store *, void *arg, int res);
};

/* ---- checkpoint (checkpoint.c) ---- */

enum ckpt_state { CKPT_IDLE, CKPT_PAGES, CKPT_TABS, CKPT_PARTS, CKPT_ROOT, CKPT_SB };

struct ckpt_part {
    uint32_t kind, bytes;
    const uint8_t *data;
    uint64_t loc, csum;
};

/* Blocks of a checkpoint besides pages and tables: parts and root. */
struct ckpt_ext {
    uint64_t loc;
    uint32_t n;
};

struct ckpt {
    enum ckpt_state state;
    bool wanted;
    struct cw_list pages, tabs; /* frozen, not yet written */
    uint32_t out;               /* records of this step not yet durable */
    bool short_of_memory;       /* its next record found no buffer */
    uint64_t number;
    struct cw_root *root;
    uint32_t root_len;
    uint8_t *segtab, *shards, *layers, *tabdir;
    size_t segtab_len, shards_len, layers_len, tabdir_len;
    struct cw_scrub_bytes scrub;
    bool scrub_moved; /* since the freeze: its cursor is kept now and then */
    struct ckpt_part *parts;
    uint32_t n_parts, next_part;
    struct cw_sb_ckpt next;
    struct sb_wait sb;
    struct ckpt_ext *old, *now; /* dead when this one is durable; this one's */
    uint32_t n_old, n_now;
    uint64_t last_ns, last_bytes, last_hdr; /* time, log but META, batch headers at the freeze */
    uint64_t n_frozen, frozen_copies;
    void (*done)(struct cw_store *, int res); /* for open and close */
};
void ckpt_want(struct cw_store *s);
uint64_t ckpt_log_bytes(const struct cw_store *s); /* written so far, but for META */
/* Is there anything that the last one does not hold? */
bool ckpt_has_news(const struct cw_store *s);
/* Is there a reason of its own to take one now? */
void ckpt_consider(struct cw_store *s);
void ckpt_step(struct cw_store *s);
/* A META record of ours became durable. */
void ckpt_applied(struct cw_store *s, const struct rec_view *v, uint64_t loc);
bool ckpt_running(const struct cw_store *s);
/* For a buffer that others have, not for a segment: it comes without a sound. */
bool ckpt_waits_for_memory(const struct cw_store *s);
void ckpt_free(struct cw_store *s);

/* ---- superblock (superblock.c) ---- */

void sb_read(struct cw_store *s, void (*done)(struct cw_store *, int res));
/* Writes s->sb as the next slot. One at a time; later calls wait. */
void sb_write(struct cw_store *s, struct sb_wait *w);
bool sb_valid(const struct cw_sb *sb);

/* ---- space (space.c) ---- */

uint32_t space_reserve_meta(const struct cw_store *s);
uint32_t space_reserve_clean(const struct cw_store *s);
uint64_t space_capacity(const struct cw_store *s); /* blocks that may hold data */
uint64_t space_used(const struct cw_store *s);     /* live and on their way */
uint64_t space_meta(const struct cw_store *s);     /* blocks of map pages, tables, roots */
uint64_t space_taken(const struct cw_store *s);    /* that and map pages beyond their reserve */
bool space_may_write(const struct cw_store *s, uint32_t n_blocks, bool resync);
bool space_is_full(const struct cw_store *s);
bool space_takes_copy(const struct cw_store *s);
/* A new one leaves the others less credit: they are told. */
void space_copy_added(struct cw_store *s);
/* Free segments that a batch of this class must leave to others. */
uint32_t space_keep_free(const struct cw_store *s, uint8_t cls, bool urgent);
/* The same for data when no page is dirty. */
uint32_t space_keep_least(const struct cw_store *s);
void space_update(struct cw_store *s); /* health events and background work */

/* ---- pace (pace.c) ---- */

struct levels {
    uint64_t goal, gate, low; /* of the supply, blocks */
    uint32_t soon, hurry;     /* of free segments: time for a checkpoint; high time */
    uint32_t round;           /* segments */
};
struct levels pace_levels(const struct cw_store *s);
uint64_t pace_supply(const struct cw_store *s); /* blocks */
bool pace_wants_cleaning(const struct cw_store *s);
/* How many cleaners are to work at once: none down to goal, all of them from the gate on. */
uint32_t pace_cleaners(const struct cw_store *s);
bool pace_is_low(const struct cw_store *s);
/* The same, and does META hold more than what lives in it needs? */
bool pace_wants_moving(const struct cw_store *s);
/* Must the foreground wait for the cleaner? */
bool pace_holds(const struct cw_store *s);
/* Are free segments running out while others would be freed? */
bool pace_wants_checkpoint(const struct cw_store *s);

/* ---- cleaner (cleaner.c) ---- */

struct cleaner;
void cleaners_make(struct cw_store *s); /* as many as a store of its size has; before: none */
/* Batches of COLD, and of WARM, at once: each cleaner's load, and one that is filled. */
uint32_t cleaner_batches_max(const struct cw_store *s);
void cleaner_kick(struct cw_store *s);
bool cleaner_busy(const struct cw_store *s);
bool cleaner_packs(const struct cw_store *s);       /* busy, but not to win segments */
void cleaner_rest(struct cw_store *s);              /* victims that wait for nothing are let go */
void cleaner_pack(struct cw_store *s, uint32_t no); /* it is not busy; kick it then */
/* Of the victims' blocks: what moving so many of its live ones is worth. */
uint64_t cleaner_gain(const struct cw_store *s);
void cleaner_free(struct cw_store *s);

/* ---- META kept small (mover.c) ---- */

struct mover;
void mover_kick(struct cw_store *s);
bool mover_busy(const struct cw_store *s);
void mover_free(struct cw_store *s);

/* ---- packing what is cold (packer.c) ---- */

struct packer {
    struct cw_timer timer;
    struct idle_look look;
    uint32_t at;    /* segment to be looked at next */
    uint32_t loads; /* that the cleaner may move before the next look */
    bool more;
};
void packer_init(struct cw_store *s);
void packer_fini(struct cw_store *s);
void packer_look(struct cw_store *s);      /* some may have become cold */
void packer_look_anew(struct cw_store *s); /* a policy changed: marks are of no worth */
bool packer_may_load(struct cw_store *s);  /* else the cleaner is kicked later */

/* ---- compression (comp.c) ---- */

struct comp_pack {
    uint8_t *to; /* room for all blocks plain */
    uint32_t n_runs, n_blocks, sectors;
    struct cw_rec_run runs[CW_IO_BLOCKS_MAX];
};
/* n neighbours from lba on, behind what is there already. */
void comp_pack_blocks(struct cw_store *s, struct comp_pack *p, uint64_t lba, const uint8_t *data,
                      uint32_t n);
/* Blocks of payload, padded; 0: not worth it. */
uint32_t comp_pack_blocks_out(const struct comp_pack *p);
/* The same, padded and counted. */
uint32_t comp_pack_end(struct cw_store *s, struct comp_pack *p);

/* A place that is read as a whole into a buffer of blocks, rounded outward. */
#define EXTENT_BLOCKS_MAX 17u

struct extent {
    uint32_t first, n;        /* the reader's: which of its blocks lie in it */
    uint32_t piece, n_pieces; /* its blocks in the buffer .. */
    uint32_t skip;            /* .. and where in the first it begins */
};
struct extent extent_make(const struct cw_store *s, uint64_t loc, uint32_t first, uint32_t piece);
struct store_run extent_run(const struct cw_store *s, const struct extent *e, uint64_t loc,
                            uint8_t *buf);
/* The plain blocks of the place, cw_loc_n of them, in buf or in a scratch buffer that holds until
 * the next call. NULL: unread, or not what was packed. */
const uint8_t *extent_plain(struct cw_store *s, const struct extent *e, uint64_t loc,
                            const uint8_t *buf, const uint64_t *unread);
uint64_t comp_bytes(const struct cw_store *s); /* that it takes */
void comp_free(struct cw_store *s);

/* ---- reads (read.c) ---- */

void read_retry_waiting(struct cw_store *s);
void read_deliver(struct cw_store *s);
void read_fail_held(struct cw_store *s);
void read_free_all(struct cw_store *s);

/* ---- bad blocks (bad.c) ---- */

struct bads;
struct bads *bads_new(void);
/* Blocks that did not verify. locs: per block where it was read from just now, 0 where it was known
 * before; NULL: none was read. A place of the media counts once, however many blocks lay in it. */
void bad_found(struct cw_store_shard *sh, uint64_t snap, uint64_t lba, uint32_t nblk,
               const uint64_t bad[4], const uint64_t *locs);
/* .. in the layer's own page of a chunk: told of the layer, and of each head that shows it. */
void bad_layer(struct layer *l, uint64_t lba, uint32_t nblk, const uint64_t bad[4],
               const uint64_t *locs);
/* The latter alone, except `but`. */
void bad_heads(struct layer *owner, const struct layer *but, uint64_t lba, uint32_t nblk,
               const uint64_t bad[4]);
/* The map page of a chunk is lost. */
void bad_page(struct layer *l, uint32_t chunk);
/* One of the store's own records, which is written anew. */
void bad_meta(struct cw_store *s, const char *what);
/* These blocks are fine, as far as `not` does not name them. */
void bad_forget(struct cw_store_shard *sh, uint64_t snap, uint64_t lba, uint32_t nblk,
                const uint64_t not [4]);
void bads_deliver(struct cw_store *s);
void bads_stats(const struct cw_store *s, struct cw_store_scrub_stats *ret);
void bads_encode(const struct cw_store *s, struct cw_scrub_bytes *to);
void bads_decode(struct cw_store *s, const struct cw_scrub_bytes *from);

/* ---- scrub (scrub.c) ---- */

struct scrub;
struct scrub *scrub_new(struct cw_store *s, uint64_t interval_ns);
void scrub_free(struct cw_store *s);
void scrub_kick(struct cw_store *s);
/* A block was rewritten by a repair, a record of the store's own by itself. */
void scrub_repaired(struct cw_store *s, uint64_t n);
/* It reads this very copy: its memory must stay. */
bool scrub_holds(const struct cw_store *s, const struct cw_store_shard *sh);
void scrub_encode(const struct cw_store *s, struct cw_scrub_bytes *to);
/* bytes NULL, or not of this format: it begins anew. */
void scrub_decode(struct cw_store *s, const uint8_t *bytes, size_t len);
void scrub_stats(const struct cw_store *s, struct cw_store_scrub_stats *ret);

/* ---- recovery (recovery.c) ---- */

struct recovery;
void recovery_start(struct cw_store *s);
void recovery_free(struct cw_store *s);
/* The checkpoint that is being loaded refers to these blocks of META. */
void checkpoint_refers(struct cw_store *s, uint64_t loc, uint32_t n_blocks);

/* ---- the store (store.c) ---- */

enum store_state { STORE_NEW, STORE_OPENING, STORE_OPEN, STORE_CLOSING, STORE_DOWN };

struct control {
    struct cw_list link;
    struct cw_store_ticket *t;
    uint64_t layer;
    struct rec_out r;
    uint8_t body[];
};

struct cw_store {
    struct cw_env *env;
    struct cw_disk *disk;
    struct cw_buf_pool *pool;
    const struct cw_store_events *ev;
    void *user;
    const char *name; /* in log lines */
    enum store_state state;

    struct cw_sb sb;
    bool sb_known;
    bool sb_whole; /* all slots were valid */
    struct cw_store_identity identity;
    struct cw_list sb_waits;
    struct store_io sb_io;
    uint8_t *sb_mem; /* one slot */
    bool sb_busy;

    struct cw_list owned;
    struct cw_list ios;
    struct cw_list paused; /* struct store_io that failed and are tried again */
    uint32_t n_ios;
    struct cw_timer watch_timer, note_timer, kick_timer, pause_timer;

    struct seg *segs;
    uint32_t n_segs, seg_bytes;
    uint32_t n_state[CW_SEG_SOON_FREE + 1];
    struct open_seg open[CW_SEG_CLASSES];
    struct segindex index;
    uint64_t next_seg_seq, next_layer, next_batch;
    uint64_t chain_csum[CW_SEG_CLASSES];         /* submitted */
    uint64_t chain_csum_applied[CW_SEG_CLASSES]; /* applied */
    uint64_t durable_upto;                       /* every batch up to it is durable */
    uint64_t durable_data; /* the last of them that a replay needs: not of META */
    uint64_t applied_upto;
    uint64_t noted_upto;     /* highest durable_upto on disk */
    uint64_t last_append_ns; /* last release of a batch with something in it */
    struct store_io zero_io;
    struct iovec zero_iov[16];
    struct cw_buf *zero_buf;
    uint32_t zero_seg, zero_at;
    bool zero_busy;
    bool is_device;             /* no file system below */
    bool discard, discard_look; /* wanted and possible; there may be something to do */
    bool discard_busy;
    uint32_t discard_seg;
    struct store_io discard_io;

    struct batch *batch_open[CW_SEG_CLASSES];
    struct cw_list ready[CW_SEG_CLASSES];
    struct cw_list batches; /* in flight or durable, in batch order */
    struct cw_list spare;
    uint32_t in_flight[CW_SEG_CLASSES], n_batches[CW_SEG_CLASSES], n_urgent;
    struct cw_list control;
    bool pressed[CW_SEG_CLASSES]; /* a batch waits for a free segment */
    bool starved;                 /* an append got -EAGAIN */
    bool releasing;
    uint64_t pend_touches, pend_blocks;
    uint64_t logged[CW_SEG_CLASSES], batches_of[CW_SEG_CLASSES]; /* bytes, batches written */
    uint64_t unfilled;   /* bytes left at the end of sealed data segments: summaries and gaps */
    uint64_t logged_hdr; /* bytes of batch headers: what a replay has to hold */
    struct apply apply;
    struct cw_list touched;
    struct cw_list answered; /* tickets whose batch is applied or lost */

    uint64_t map_budget;
    struct cw_buf_pool *page_pool; /* map pages: side by side, which malloc does not do */
    uint64_t n_pages, n_dirty;
    struct cw_list lru, dirty, held, tabs_dirty;
    uint64_t data_live; /* sectors, of all HOT and COLD segments .. */
    uint64_t meta_live; /* .. and of META; known from the end of a replay on */

    struct cw_list shards, zombies, layers;
    uint32_t n_layers;
    uint32_t n_gone; /* layers whose space is still to come back */
    uint32_t layers_ended;
    struct cw_list by_id[STORE_BUCKETS], by_layer[STORE_BUCKETS];
    struct cw_list by_family[STORE_BUCKETS]; /* layers */
    uint32_t n_shards;
    struct page_waiter reclaim_wait;
    bool reclaim_waiting;

    struct cw_list reads; /* of struct read_ctx, all under way */
    struct cw_list reads_held, reads_done, reads_spare;
    uint32_t n_reads;

    struct cw_compressor *compressor; /* made at first use */
    uint8_t *comp_mem;
    struct comp_pack append_pack; /* of the record that is being appended */
    uint8_t append_body[CW_BATCH_HDR_MAX / 16];

    struct ckpt ckpt;
    struct cleaner *cleaners; /* n_cleaners; the first is the one that packs */
    uint32_t n_cleaners;
    struct mover *mover;
    struct packer packer;
    struct bads *bads;
    struct scrub *scrub;
    struct recovery *recovery;
    struct cw_store_recovery recovered;
    uint64_t cut_from; /* not 0: the first batch must carry the RESUME note */
    bool cut_damaged;

    struct cw_store_stats stats;
    bool was_full, was_stuck, health_due, loud_failed;
    cw_store_done_fn *done;
    void *done_user;
    int done_res;
    bool done_due;
};

/* Says which of the daemon's stores it speaks of. */
#define store_log(s, level, fmt, ...) \
    cw_log((s)->env, level, "%s: " fmt, (s)->name __VA_OPT__(, ) __VA_ARGS__)
void store_fail(struct cw_store *s, const char *why, int err);
void store_free_shards(struct cw_store *s); /* with their layers; pages were freed before */
/* The same, but a millisecond later: for what waits for memory that others hold. */
void store_kick_later(struct cw_store *s);
/* Runs from the loop soon: events, answers, background work. */
void store_kick(struct cw_store *s);
void store_answer(struct cw_store *s, struct cw_store_ticket *t, int res);
void store_answers_deliver(struct cw_store *s);
void store_finish(struct cw_store *s, int res);
void store_close_step(struct cw_store *s);
/* What a store that is freed in the middle of something must free with it: first member of its
 * struct; mem is freed too. */
struct store_own {
    struct cw_list link;
    void *mem;
};
void *store_own_new(struct cw_store *s, size_t size); /* zeroed; never NULL */
void store_own_free(struct store_own *o);
void *store_alloc(size_t size);         /* zeroed; never NULL */
void *store_alloc_aligned(size_t size); /* 4096; never NULL */
