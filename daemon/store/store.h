/* store/store.h - the chunk store: one disk, log-structured, checksummed, recoverable.
 *
 *   append --> open batch --turn end--> O_DSYNC write --durable, applied--> on_durable(shard)
 *   map: (shard, chunk) -> page of 256 entries -> location and checksum of each block
 *
 * A decider without I/O of its own: it sees a struct cw_disk and a struct cw_env, so the simulator
 * drives this very code. One thread. Callbacks come from the loop (a disk completion, a timer),
 * never from inside the call that asked. What it promises and how: docs/store.md; what each rule is
 * for: docs/replication.md (I1..I17); the bytes: docs/format.md.
 *
 * The store keeps the order it is given and keeps versions honest on disk; it does not know
 * sessions, owners or who may write. That is the replica's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/disk.h"
#include "common/base/env.h"
#include "common/base/uuid.h"
#include "common/codec/shardrec.h"
#include "common/mem/buf.h"
#include "proto/wire.h"

struct cw_store;
struct cw_store_shard; /* a copy of a shard on this disk; lives until it is dropped or store_free */

/* ---- a durable step that answers once ---- */

/* Embedded in what waits for it; its address holds until done. res: 0 durable and applied;
 * -EIO, -ENOSPC.. the step did not happen or is unknown and the store is out of service (health).
 */
struct cw_store_ticket {
    void (*done)(struct cw_store_ticket *, int res);
    struct cw_list link; /* the store's while under way */
    uint64_t batch;      /* the store's */
};

/* ---- format, open, close ---- */

struct cw_store_format_opts {
    struct cw_uuid disk_uuid;
    uint64_t format_id; /* random, not 0 */
    bool force;         /* overwrite whatever is there, without a look at it */
    bool look;          /* only look: 0 means that nothing would be overwritten; not with force */
};

enum cw_store_outcome {
    CW_STORE_E_NOT_FORMATTED = 1, /* open: nothing there is ours */
    CW_STORE_E_FORMATTED,   /* format: a superblock, valid or not, is there and force is not set */
    CW_STORE_E_TOO_SMALL,   /* format: under 512 MiB */
    CW_STORE_E_TRUNCATED,   /* open: the device is smaller than the superblock says */
    CW_STORE_E_VERSION,     /* open: a format or feature this program does not know */
    CW_STORE_E_UNREADABLE,  /* open: superblocks fine, both checkpoints unreadable */
    CW_STORE_E_SUPERBLOCKS, /* open: a store, but no slot of it holds (on a disk that grew:
                             * neither of those in front, which tell where the others are) */
    CW_STORE_E_LOST,        /* format without force, open: no superblock, but segments of a store */
    CW_STORE_E_UNSEEN, /* format without force: a place that would show a store is unreadable */
};

/* What stands in the best superblock. */
struct cw_store_identity {
    struct cw_uuid disk_uuid;
    uint64_t format_id;
    struct cw_uuid cluster_id; /* nil: unclaimed */
    uint64_t incarnation;      /* raised by each open that gets as far as service */
    uint64_t bytes;            /* of the disk at its format; it may have grown since */
    uint32_t segment_bytes, segment_count;
};

/* `done` gets 0, a cw_store_outcome, or a negative errno. The disk, env and pool are borrowed. */
typedef void cw_store_done_fn(void *user, int res);
void cw_store_format(struct cw_env *env, struct cw_disk *disk, struct cw_buf_pool *pool,
                     struct cw_store_format_opts opts, cw_store_done_fn *done, void *user);

/* Borrowed for the call. */
struct cw_store_bad {
    struct cw_store_shard *shard;
    uint64_t snap; /* 0: the head, as the owner sees it */
    uint64_t lba;
    uint32_t nblk;   /* 1..256 */
    uint64_t bad[4]; /* bit per block */
};

struct cw_store_events {
    /* The copy's durable seq (also its applied seq: reads see it) moved. Once per shard and batch,
     * in log order. */
    void (*on_durable)(void *user, struct cw_store_shard *);
    /* Credit or health of the disk changed: full, freed, stuck, damaged copy, failed, too many bad
     * blocks. */
    void (*on_health)(void *user);
    /* Blocks that a read, the cleaner, the loss of a map page or a scrub found unreadable. Told
     * again whenever they are met again; not every one is told at once (the next scrub meets it).
     * May be NULL. */
    void (*on_bad)(void *user, const struct cw_store_bad *);
};

struct cw_store_opts {
    struct cw_env *env;
    struct cw_disk *disk;
    struct cw_buf_pool *pool; /* batches, reads, cleaning */
    const char *name;         /* in log lines; outlives the store; NULL: "store" */
    uint64_t map_cache_bytes; /* budget of resident map pages */
    bool is_device;           /* no file: segments need no zeroes before their first use */
    bool discard;             /* tell the disk of segments that became free */
    uint64_t scrub_ns;        /* a pass over all that is live takes so long; 0: a week */
    const struct cw_store_events *ev;
    void *user;
};

/* What recovery found; for the log and for `status`. */
struct cw_store_recovery {
    bool clean; /* the last stop was clean */
    uint64_t replayed_batches, replayed_records, took_ns;
    uint64_t dropped_batches; /* torn tail, never acknowledged */
    uint64_t damaged_copies;  /* opened at an earlier prefix (I16) */
    uint64_t bad_blocks;      /* found unreadable during recovery */
};

/* Memory only; open does the I/O. NULL if out of memory. */
struct cw_store *cw_store_new(struct cw_store_opts opts);

/* Recovers. done gets 0, a cw_store_outcome or a negative errno; not 0 leaves the store usable for
 * nothing but cw_store_free. Writes nothing before it knows that the store is its own. */
void cw_store_open(struct cw_store *s, cw_store_done_fn *done, void *user);

/* Reads the identity only and writes nothing; before or instead of open. */
void cw_store_identify(struct cw_store *s, cw_store_done_fn *done, void *user);

/* Writes the cluster id of an unclaimed store, durably. */
void cw_store_claim(struct cw_store *s, struct cw_uuid cluster_id, cw_store_done_fn *done,
                    void *user);

/* Takes no more work, finishes what is under way, writes a checkpoint and a clean superblock. What
 * waits for a free segment by then is dropped, unacknowledged, and the close is one without a
 * checkpoint: as after a crash, the next open reads the log. A buffer that others have is waited
 * for. */
void cw_store_close(struct cw_store *s, cw_store_done_fn *done, void *user);

/* Frees memory; no I/O may be under way (after close, failed open, or when the world is gone and no
 * completion will ever come: the simulator's crash). NULL is fine. */
void cw_store_free(struct cw_store *s);

const struct cw_store_identity *cw_store_identity(const struct cw_store *s);
const struct cw_store_recovery *cw_store_recovery(const struct cw_store *s);

/* Submits the open batch and starts due background work. The shell calls it once per loop turn,
 * after all completions and frames of the turn. */
void cw_store_turn_end(struct cw_store *s);

/* ---- copies ---- */

struct cw_store_hist {
    uint64_t start_seq; /* of GEN_START(gen) */
    uint32_t gen;
};

/* What the store knows of a copy; fields are current, the pointer holds as long as the shard. */
struct cw_store_shard_info {
    struct cw_shard_rec rec; /* the newest record shown and durable */
    uint32_t promised_gen;   /* durable */
    uint32_t last_gen;       /* of the last record appended (maybe not durable yet) .. */
    uint64_t last_seq;
    uint32_t durable_gen; /* .. and of the last one durable and applied */
    uint64_t durable_seq;
    uint64_t stable;  /* highest ever set; after a restart maybe an older one */
    bool syncing;     /* durable: JOIN without SYNC_DONE */
    uint64_t join_id; /* of that JOIN */
    bool journal;     /* syncing by a JOIN of that kind: see cw_store_join */
    bool damaged;     /* I16: opened at a prefix before the end; until SYNC_DONE */
    uint32_t n_hist;  /* oldest first, at most CW_HIST_MAX */
    const struct cw_store_hist *hist;
    uint64_t mapped_blocks; /* blocks this copy holds, with its snapshots */
    void *user;             /* the replica's */
};

struct cw_store_shard *cw_store_shard_find(struct cw_store *s, uint64_t shard);

/* In ascending order of id; NULL begins, NULL ends. */
struct cw_store_shard *cw_store_shard_next(struct cw_store *s, const struct cw_store_shard *after);

struct cw_store_shard_info *cw_store_shard_info(struct cw_store_shard *sh);

/* A new, empty copy: last (0, 0), promised rec->gen. Usable at once; durable when the ticket says.
 * NULL: the shard exists, or no space or memory for it (-ENOSPC in *ret_err). */
struct cw_store_shard *cw_store_shard_create(struct cw_store *s, const struct cw_shard_rec *rec,
                                             struct cw_store_ticket *t, int *ret_err);

/* ---- snapshots and clones: layers of a copy ----
 *
 * A snapshot is what the copy holds at a place in the log order; it costs nothing until something
 * is overwritten. A clone is a copy that starts as a snapshot of another one on this disk. Space of
 * what is deleted comes back in the background. The map is resolved at the first write to a chunk,
 * so reads never walk from block to block through generations. */

#define CW_STORE_LAYERS_MAX 256u /* snapshots and heads that came from each other */

/* All records appended before are in it, none that is appended after. 0: the ticket tells the rest.
 * snap: the caller's name for it in this copy, not 0; asked for once until the ticket tells.
 * -EEXIST; -EMLINK: too many; -EIO: out of service. */
int cw_store_snap_create(struct cw_store_shard *sh, uint64_t snap, struct cw_store_ticket *t);

/* No read of it may be under way. 0, -ENOENT (as long as its creation is not durable, too), -EIO.
 */
int cw_store_snap_delete(struct cw_store_shard *sh, uint64_t snap, struct cw_store_ticket *t);

struct cw_store_snap_info {
    uint64_t snap;       /* 0: the head */
    uint64_t own_blocks; /* blocks that nothing older holds for it .. */
    uint64_t own_bytes;  /* .. and what they take on the disk */
};

/* Oldest first, the head last; returns how many there are and writes at most max. */
uint32_t cw_store_snap_list(struct cw_store_shard *sh, struct cw_store_snap_info *to, uint32_t max);

/* As cw_store_shard_create; -ENOENT, -EMLINK as above. */
struct cw_store_shard *cw_store_shard_clone(struct cw_store *s, const struct cw_shard_rec *rec,
                                            struct cw_store_shard *from, uint64_t snap,
                                            struct cw_store_ticket *t, int *ret_err);

/* Forgets the copy and gives its space back. sh is invalid at once; no read, ticket or append of it
 * may be under way (their done must have come). */
void cw_store_shard_drop(struct cw_store_shard *sh, struct cw_store_ticket *t);

void cw_store_set_rec(struct cw_store_shard *sh, const struct cw_shard_rec *rec,
                      struct cw_store_ticket *t);

/* gen above promised_gen. Everything appended before is durable when this is (log order). */
void cw_store_promise(struct cw_store_shard *sh, uint32_t gen, struct cw_store_ticket *t);

/* Durably: last = (gen, s0 - 1), "syncing", join_id. Chunk content and versions stay; the tail
 * index is emptied; history becomes empty.
 *
 * By a join id of kind CW_JOIN_JOURNAL an empty copy becomes a journal until it is dropped: each
 * chunk that a record touches is VOID from then on, and its blocks that no record named are
 * unknown. Its history begins with (gen, s0 - 1). */
void cw_store_join(struct cw_store_shard *sh, uint32_t gen, uint64_t s0, uint64_t join_id,
                   struct cw_store_ticket *t);

/* Ends syncing and damaged. hist: the owner's history, replaces the copy's. */
void cw_store_sync_done(struct cw_store_shard *sh, const struct cw_store_hist *hist,
                        uint32_t n_hist, struct cw_store_ticket *t);

/* Records at or below it need not be kept for a takeover. Never lowers; cheap; not durable by
 * itself. */
void cw_store_set_stable(struct cw_store_shard *sh, uint64_t stable);

/* Blocks that may still be sent for this copy beyond those already appended (docs/store.md, Space;
 * I17). */
uint32_t cw_store_credit(const struct cw_store_shard *sh);

/* ---- the stream ---- */

enum cw_store_apply {
    CW_STORE_APPLY = 0,  /* map changes, chunk version = (gen, seq) */
    CW_STORE_APPLY_KEEP, /* map changes, version stays (COPYING) */
    CW_STORE_DROP,       /* nothing changes (BEHIND); only the seq advances */
};

struct cw_store_rec {
    uint8_t type;          /* CW_FT_WRITE, CW_FT_ZERO, CW_FT_TRIM, CW_FT_GEN_START */
    uint32_t gen;          /* original generation */
    uint64_t seq;          /* = last_seq + 1 */
    uint64_t lba;          /* blocks, shard-relative */
    uint32_t nblk;         /* WRITE: 1..256; ZERO, TRIM: 1..CW_WIRE_NBLK_MAX; GEN_START: 0 */
    const uint64_t *csums; /* WRITE: nblk, verified by the caller */
    const uint8_t *data;   /* WRITE: nblk blocks */
    struct cw_buf *buf;    /* not NULL: data lies in it 4 KiB-aligned and never changes again; the
                            * store may keep a reference instead of copying */
    const uint8_t *apply;  /* NULL: CW_STORE_APPLY; else an enum cw_store_apply per chunk that the
                            * range touches, in order */
};

/* 0: in the open batch; on_durable tells the rest. -ENOSPC: the reserve would be touched, nothing
 * happened. -EAGAIN: no batch buffer now, nothing happened; try again after the next on_durable or
 * on_health. -EIO: out of service. */
int cw_store_append(struct cw_store_shard *sh, const struct cw_store_rec *rec);

/* ---- the tail above stable, for takeovers ---- */

struct cw_store_tail_entry {
    uint64_t seq, lba, csum0;
    uint32_t gen, nblk;
    uint8_t type;
};

/* Entries with seq in (stable, durable_seq], ascending; returns how many were written (<= max). */
uint32_t cw_store_tail_list(struct cw_store_shard *sh, struct cw_store_tail_entry *to,
                            uint32_t max);

/* ---- reads ---- */

enum cw_store_read_flag {
    CW_STORE_READ_MEDIA = 1 << 0, /* past every cache of data */
    CW_STORE_READ_TAIL =
        1 << 1, /* the record `tail_seq` of the tail as it was written, whatever the
                 * map says now; lba and nblk are filled in. -ENOENT: not there */
    CW_STORE_READ_CSUMS = 1 << 2, /* the map only: csums, at_seq, version, and in `bad` the blocks
                                   * marked BAD; no data is read, buf is NULL */
};

/* One read of 1..256 blocks of one copy. Embedded; its address holds until done. The answer is the
 * map at one instant (at_seq): overlapping appends change either all of it or nothing, and blocks
 * are pinned against cleaning. Data is verified against the map's checksums. */
struct cw_store_read {
    struct cw_store_shard *shard;
    uint64_t lba;
    uint32_t nblk;
    uint32_t flags; /* enum cw_store_read_flag */
    uint64_t tail_seq;
    uint64_t snap; /* 0: what the copy holds now; else that snapshot (-ENOENT: there is none) */
    const uint64_t *skip_csums; /* NULL, or nblk: blocks whose map checksum is equal are not read */

    /* answer */
    int res;            /* 0 even with bad blocks; -ENOMEM, -EIO (out of service), -ENOENT */
    bool zeroes;        /* every block is zeroes: buf is NULL */
    struct cw_buf *buf; /* block i at data + i * 4096; the caller's reference, unref when done */
    uint64_t
        csums[CW_IO_BLOCKS_MAX]; /* map checksums; CW_HASH_ZERO_BLOCK for what reads as zeroes */
    uint64_t bad[4];     /* bit per block: unreadable, mismatch, or marked BAD; no data there */
    uint64_t unknown[4]; /* bit per block, of a journal: it does not hold it; not bad */
    uint64_t skipped[4]; /* bit per block: equal to skip_csums */
    uint64_t at_seq;     /* the copy's applied seq at that instant */
    uint64_t ver_seq;    /* version of lba's chunk then; CW_VER_VOID, or 0 = never written */
    uint32_t ver_gen;
    uint8_t tail_type; /* READ_TAIL */
    uint32_t tail_gen;

    void (*done)(struct cw_store_read *);
    struct cw_list link; /* the store's while under way */
    void *priv;          /* the store's while under way */
};

void cw_store_read(struct cw_store_read *r);

/* ---- resync ---- */

/* Versions of the chunks in [first, first + n) that were ever written: at most max entries;
 * *ret_next is the first chunk not looked at. From RAM; durable and applied state. */
uint32_t cw_store_versions(struct cw_store_shard *sh, uint32_t first, uint32_t n,
                           struct cw_wire_ver *to, uint32_t max, uint32_t *ret_next);

/* Durably sets the chunk's version to VOID (I9). */
void cw_store_chunk_void(struct cw_store_shard *sh, uint32_t chunk, struct cw_store_ticket *t);

/* The end of a chunk's copy, as one atomic record: blocks in `set` get the given content (csums,
 * data in order of set bits; a block with CW_HASH_ZERO_BLOCK still takes its place in data), blocks
 * in `bad` become BAD, the version becomes (ver_gen, ver_seq). Order against cw_store_append is the
 * order of the calls. Returns as cw_store_append; the ticket is used only if 0. */
struct cw_store_chunk_set {
    uint32_t chunk;
    uint32_t ver_gen;
    uint64_t ver_seq; /* 0 with ver_gen 0: becomes "never written" again */
    uint64_t set[4], bad[4];
    const uint64_t *csums; /* one per bit of set, in order */
    const uint8_t *data;
    struct cw_buf *buf; /* as in struct cw_store_rec */
};
int cw_store_chunk_current(struct cw_store_shard *sh, const struct cw_store_chunk_set *c,
                           struct cw_store_ticket *t);

/* Writes blocks to a new place if (and only where) the map's checksum is still csums[i], or the
 * block is BAD-by-damage with that checksum remembered; versions stay (I14). Snapshots, and clones,
 * that show the very place which the head shows are mended with it. *ret_n, blocks of the head, is
 * set when the ticket is done. Returns as cw_store_append. */
int cw_store_block_repair(struct cw_store_shard *sh, uint64_t lba, uint32_t nblk,
                          const uint64_t *csums, const uint8_t *data, uint32_t *ret_n,
                          struct cw_store_ticket *t);

/* ---- scrub ---- */

/* All that is live is read again, from the media: superblocks, checkpoints, tables and map pages
 * first, then every block. Paced over opts.scrub_ns, and only while the disk has little else to do.
 * What the store has in memory it writes anew by itself; bad blocks are told by on_bad. Where the
 * pass is lies in the checkpoints, so a restart goes on from there.
 *
 * This begins a pass now, at full speed; it steps aside for the users of the disk all the same. */
void cw_store_scrub_start(struct cw_store *s);

struct cw_store_scrub_stats {
    uint64_t pass; /* number of the newest one, from 1; 0: none began yet */
    bool running;  /* else it ended, and the next one begins scrub_ns after it began */
    bool hurried;  /* asked for: at full speed */
    uint64_t done_bytes, total_bytes; /* of data; total is what is live now */
    uint64_t elapsed_ns;              /* since it began; time out of service does not count */
    uint64_t found;    /* bad blocks that the pass met, those of the store's own records included */
    uint64_t repaired; /* rewritten since it began */

    uint64_t last_pass; /* that went to its end; 0: none did */
    uint64_t last_took_ns, last_ago_ns, last_bytes, last_found, last_repaired;

    uint32_t recent; /* places of the media found bad within 24 h */
    uint64_t storms; /* how often they were more than ten; each begins the count anew */
};

/* ---- health and numbers ---- */

struct cw_store_stats {
    uint64_t bytes, used_bytes, free_bytes; /* used: live data; free: what new data may take */
    uint64_t segments, segments_free;
    uint64_t batches, records, blocks_written, bytes_logged, bytes_cleaned, reads, read_blocks;
    uint64_t csum_errors, io_errors, checkpoints;
    uint64_t map_pages, map_pages_dirty, map_cache_bytes;
    uint64_t bytes_discarded;
    uint32_t layers, layers_gone;   /* gone: their space is still to come back */
    uint64_t packed_in, packed_out; /* bytes of blocks that were compressed, and what they became */
    bool full;                      /* no credit is given */
    bool stuck;                     /* an I/O is older than 2 s */
    bool failed;                    /* out of service; why says */
    const char *why;
    struct cw_store_scrub_stats scrub;
};
void cw_store_stats(const struct cw_store *s, struct cw_store_stats *ret);

struct cw_store_memory {
    uint64_t cache_bytes; /* map pages, and copies of them that a checkpoint writes; bounded by
                           * map_cache_bytes but for what a replay has to hold */
    uint64_t table_bytes; /* segment and chunk tables, packing: grow with what is mapped */
    uint64_t copy_bytes;  /* what is kept of each copy, its tail included */
};
/* Looks at every table of every layer: now and then. */
void cw_store_memory(const struct cw_store *s, struct cw_store_memory *ret);

/* What the map says of a chunk now, without a read; for the simulator and tests. csums: of its 256
 * blocks, CW_HASH_ZERO_BLOCK for what reads as zeroes. False: not known at once, or some block of
 * it is BAD. */
bool cw_store_chunk_view(const struct cw_store_shard *sh, uint32_t chunk, uint32_t *ret_gen,
                         uint64_t *ret_seq, uint64_t *csums);

/* Asserts what must hold between any two calls (accounting = recount, lists, budgets). Slow; for
 * the simulator and tests. */
void cw_store_check(const struct cw_store *s);
