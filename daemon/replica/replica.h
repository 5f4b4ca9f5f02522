/* replica/replica.h - what a copy decides on the data path: who may write it, in which order, and
 * how a copy that was away becomes equal again.
 *
 * One struct cw_replica per disk; it makes and owns the struct cw_store of that disk. All links to
 * the disk end here: an owner's (sessions of many shards), and a resync target's that pulls from
 * us.
 *
 *   NONE --SEAL+CREATE--> IDLE --OPEN(gen == promised)--> OPEN --link down, CLOSE, SEAL--> IDLE
 *   OPEN --JOIN--> SYNCING {listing, copying} --nothing BEHIND--> SYNC_DONE durable, OPEN
 *
 * The rules are I5..I9, I14, I16 and sections 1.5 to 1.10 of the replication design; the frames are
 * proto/wire.h's. Nothing that a peer sends is trusted: a frame that no correct peer sends ends its
 * link, a frame that comes at the wrong time is NACKed.
 *
 * A decider: one thread, no I/O but through the env, the disk, the links and the world given here.
 * Callbacks come from the loop, never from inside the call that asked. After each loop turn in
 * which anything was called, the world calls cw_replica_turn_end once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/disk.h"
#include "common/base/env.h"
#include "common/base/link.h"
#include "common/mem/buf.h"
#include "daemon/store/store.h"
#include "proto/wire.h"

struct cw_replica;

struct cw_replica_world_ops {
    /* Connect to the replica of from->disk_uuid at from->addr (or unix_path if boot_id is ours),
     * HELLO included. Answered once for each dial, never from inside: cw_replica_on_link_up or
     * cw_replica_on_connect_failed with that number. `from` is borrowed for the call. */
    void (*connect)(void *world, uint64_t dial, const struct cw_wire_sync_from *from);
};

struct cw_replica_opts {
    struct cw_env *env;
    struct cw_disk *disk;
    struct cw_buf_pool
        *pool; /* frames, batches, reads, chunks in flight: all memory a peer can use */
    const struct cw_replica_world_ops *world_ops;
    void *world;
    const char *name; /* of the store, as the next three */
    uint64_t map_cache_bytes;
    bool is_device, discard;
    uint64_t sync_bytes; /* of the pool: chunks under way in both resync roles; >= 4 MiB */
    uint64_t hold_bytes; /* frames kept while the store has no batch buffer; >= 4 MiB */
    uint32_t links_max;  /* 0: 1024 */

    /* What peers can make grow outside the pool. */
    uint64_t reads_bytes; /* of requests that are the store's; others wait; 0: 64 MiB */
    uint32_t copies_max;  /* a new one beyond it is refused as for want of space; 0: any number */
};

/* Memory only; all in opts is borrowed until cw_replica_free. NULL if out of memory. */
struct cw_replica *cw_replica_new(struct cw_replica_opts opts);

/* Recovers the store (cw_store_open) and then serves. done: as cw_store_open's. Links may only be
 * given to it after done(0). */
void cw_replica_open(struct cw_replica *r, cw_store_done_fn *done, void *user);

/* Ends every link and session, waits for what is under way, closes the store cleanly. done comes
 * once; afterwards only cw_replica_free. */
void cw_replica_close(struct cw_replica *r, cw_store_done_fn *done, void *user);

/* After close, a failed open, before open, or when the world is gone: then no completion, timer or
 * link event may come afterwards. Links still known are forgotten, not closed. NULL is fine. */
void cw_replica_free(struct cw_replica *r);

/* For identify, claim, identity, recovery and stats; opening and closing go through the replica. */
struct cw_store *cw_replica_store(struct cw_replica *r);

/* A link that a peer made to this disk, HELLO done. The replica sets ev and user; if it may not
 * take it (closing, too many) it closes it. */
void cw_replica_on_link(struct cw_replica *r, struct cw_link *link);

/* Answers to connect. */
void cw_replica_on_link_up(struct cw_replica *r, uint64_t dial, struct cw_link *link);
void cw_replica_on_connect_failed(struct cw_replica *r, uint64_t dial, int reason);

/* Sends what the turn has earned (one ACK frame per link), then cw_store_turn_end. */
void cw_replica_turn_end(struct cw_replica *r);

/* ---- for the daemon's talk with the manager ---- */

/* False: no copy of that volume on this disk. Else *ret_session tells whether a session of the
 * volume's newest promised generation here is open, *ret_gen that generation, *ret_silent_ms since
 * anything was heard on its link (the least over shards; UINT64_MAX without a session). */
bool cw_replica_owner_seen(const struct cw_replica *r, uint64_t volume, uint32_t *ret_gen,
                           bool *ret_session, uint64_t *ret_silent_ms);

/* A copy as this disk knows it: control.proto's CopyState. */
struct cw_replica_copy {
    uint64_t shard;
    uint32_t rec_gen, rec_cfg; /* of the newest shard record it was shown */
    uint32_t promised_gen;
    uint32_t last_gen; /* durable */
    uint64_t last_seq;
    uint64_t mapped_blocks;
    uint64_t bad_blocks; /* noted and not yet mended */
    bool damaged, syncing, session;
};

/* Copies in ascending order of shard: the first one with shard >= from. False: none. */
bool cw_replica_copy_next(struct cw_replica *r, uint64_t from, struct cw_replica_copy *ret);

/* The same of copies with bad_blocks only; quick when there is none. */
bool cw_replica_bad_next(struct cw_replica *r, uint64_t from, struct cw_replica_copy *ret);

/* Ends the copy's sessions, waits for what is under way, drops it. Embedded in what waits for it;
 * its address holds until done, which comes once. res: 0 durably gone, -ENOENT no such copy, -EBUSY
 * it is being dropped already, else the store's. */
struct cw_replica_drop {
    uint64_t shard;
    void (*done)(struct cw_replica_drop *, int res);
    struct cw_list link;           /* the replica's while under way */
    struct cw_store_ticket ticket; /* the replica's while under way */
    struct cw_replica *replica;    /* the replica's while under way */
    int res;                       /* the replica's while under way */
};
void cw_replica_drop(struct cw_replica *r, struct cw_replica_drop *drop);

/* A shard that is being resynced onto this disk; for `job ls`. */
struct cw_replica_sync {
    uint64_t shard;
    uint32_t phase; /* enum cw_sync_phase */
    uint64_t chunks_left, chunks_total, bytes_moved;
};
bool cw_replica_sync_next(struct cw_replica *r, uint64_t from, struct cw_replica_sync *ret);

struct cw_replica_stats {
    uint32_t health; /* enum cw_member_flag of the disk: STUCK, FAILED */
    uint32_t links, sessions, syncing;
    uint64_t records, duplicates, nacks, acks, reads, read_errors, held;
    uint64_t gets_waited; /* VER_LIST, CHUNK_GET that came before the records they asked for */
    uint64_t chunks_copied, chunks_served, bytes_pulled, bytes_served;
    uint64_t copy_hits, rechecks, source_changes; /* of resyncs onto this disk */
    uint64_t repaired_blocks, protocol_errors;
    uint64_t notes_sent, notes_dropped; /* dropped: no room; the next scrub finds it again */
    uint64_t hold_bytes, sync_bytes;    /* in use now */
    uint32_t copies, reads_now, reads_waiting;
};
void cw_replica_stats(const struct cw_replica *r, struct cw_replica_stats *ret);

/* Asserts what must hold between any two calls; with cw_store_check. Slow; for simulator and tests.
 */
void cw_replica_check(const struct cw_replica *r);
