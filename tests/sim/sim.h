/* sim/sim.h - a whole cluster in one thread and in virtual time, from one number.
 *
 *   seed --> topology, latencies, workload, faults --> run --> histories, oracles --> verdict
 *
 *   proc    a process: its clock, its timers; runs in turns; may crash, pause, start again
 *   daemon  a proc with a disk, the real store and the real replica
 *   client  a proc with the real owner, one volume and a workload
 *   shard   the volume has one, or in some seeds two or three: the workload is around their borders
 *   conn    a connection: two ends, frames in order, until it breaks
 *   reg     the manager as a register: generation, shard record, compare-and-set, lost replies
 *   control in its place, real managers over a model of the metadata store: control.h
 *   history every request on every block, judged as a register at the end
 *
 * One event is handled at a time; what a proc did is completed by its turn end a little later, so
 * that several events may share a turn as they do in a real loop. Everything random comes from
 * streams derived from the seed, one per part, so that a change in one does not shift the others.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/env.h"
#include "common/base/link.h"
#include "common/base/list.h"
#include "common/base/mutation.h"
#include "common/base/prng.h"
#include "common/base/timerheap.h"
#include "common/mem/buf.h"
#include "common/owner/owner.h"
#include "daemon/replica/replica.h"
#include "tests/lib/ramdisk.h"

#define SIM_DAEMONS_MAX 5u
#define SIM_CLIENTS_MAX 3u
#define SIM_PROCS_MAX (SIM_DAEMONS_MAX + SIM_CLIENTS_MAX + 2u)
#define SIM_VOLUME 1u
#define SIM_SHARDS_MAX 3u
#define SIM_BLOCKS 96u /* that the workload uses */
#define SIM_GROUP 16u  /* of them around a border of two chunks */
#define SIM_GROUPS (SIM_BLOCKS / SIM_GROUP)
#define SIM_LINES 400u /* of log kept for a failure */

enum sim_fault {
    SIM_FAULT_KILL,      /* a daemon's process; the machine's cache survives */
    SIM_FAULT_POWER,     /* a daemon's machine: unsynced sectors are lost in any subset */
    SIM_FAULT_PAUSE,     /* a daemon */
    SIM_FAULT_CUT,       /* one connection */
    SIM_FAULT_PARTITION, /* two procs do not hear each other, or one does not hear the other */
    SIM_FAULT_MANAGER,   /* replies lost, or away for a while */
    SIM_FAULT_TAKEOVER,  /* another client attaches; the present one is killed, paused, cut off or
                            well */
    SIM_FAULT_RELEASE,   /* the present client releases, another attaches */
    SIM_FAULT_BLACKOUT,  /* all daemons lose power at once */
    SIM_FAULT_SLOW,      /* a disk */
    SIM_FAULT_HANG,      /* a disk answers nothing for a while */
    SIM_FAULT_AMBUSH,    /* something, at a moment of the protocol */
    /* These have a list of events of their own (sim/modes.c), so that the others' stays as it is.
     */
    SIM_FAULT_HALF_OPEN, /* one end of a connection is gone, and the other does not learn of it */
    SIM_FAULT_CLOG,      /* next to nothing gets through to a proc */
    SIM_FAULT_ROT,       /* blocks rot or cannot be read (this one and those below: sim/media.c) */
    SIM_FAULT_EIO,       /* a few I/Os of a disk fail */
    SIM_FAULT_VANISH,    /* a disk is unplugged, and comes back */
    SIM_FAULT_SWAP,      /* two disks in each other's place for a while */
    SIM_FAULT_FORGET,    /* a disk goes back in time */
    SIM_FAULT_WIPE,      /* a disk is blank; only where anything may break */
    SIM_N_FAULTS,
};
#define SIM_FAULT_FIRST_NEW SIM_FAULT_HALF_OPEN

extern const char *const sim_fault_names[SIM_N_FAULTS];

/* One thing that goes wrong, with its own randomness. */
#define SIM_EVENTS_MAX 256u
struct sim_event {
    enum sim_fault what;
    uint64_t seed;
};

/* Rare things that a set of seeds should have met: SIM_MARK_ACTIVE.. */
#define SIM_MARKS(M) \
    M(ACTIVE, "active", "a takeover ended") \
    M(EJECT, "eject", "a member went from INSYNC to OUT") \
    M(PROMOTE, "promote", "a member went from SYNCING to INSYNC") \
    M(EQUALISE, "equalise", "a takeover gave a copy records that it lacked") \
    M(LOST_REPLY, "lost-reply", "a change was applied, its answer was not given") \
    M(LATE_CHANGE, "late-change", "a change was applied after its answer was given up") \
    M(FENCED, "fenced", "an owner learned that it is not the owner any more") \
    M(CHUNK, "chunk", "a chunk was copied by a resync") \
    M(COPY_HIT, "copy-hit", "the stream wrote into a chunk that was being copied") \
    M(RECHECK, "recheck", "a chunk was asked for again because a block had changed") \
    M(SOURCE, "source", "a resync got another source for the same join") \
    M(REPAIR, "repair", "a block was repaired") \
    M(READ_ERR, "read-err", "a copy could not give a block") \
    M(GAP, "gap", "a copy refused a record because one was missing") \
    M(UNKNOWN, "unknown", "a write whose outcome its client never learned") \
    M(RELEASED, "released", "an owner released, clean") \
    M(FLIP, "flip", "a block was damaged on the way") \
    M(FRAME_FLIP, "frame-flip", "a frame was damaged on the way, and refused") \
    M(ROT, "rot", "a block rotted on its disk") \
    M(ASIDE, "aside", "a member went from INSYNC to LAGGING") \
    M(BACK, "back", "a member went from LAGGING to INSYNC") \
    M(AMBUSH, "ambush", "a fault struck at the moment of the protocol that it had waited for") \
    M(GET_WAIT, "get-wait", "a source waited for records before it gave a chunk or its versions") \
    M(NO_ASIDE, "no-aside", "refused, as enough disks are set aside") \
    M(TAILS, "tails", "a takeover made copies with three different ends equal") \
    M(LEASE_WAIT, "lease-wait", "a takeover waited for a lease to end (I11)") \
    M(DOUBT, "doubt", "an owner did not know whether its change was applied (I4)") \
    M(DAMAGED, "damaged", "a copy opened at a prefix before its end (I16)") \
    M(FORGOT, "forgot", "a copy came back without what it had acknowledged (I15)") \
    M(EIO, "eio", "a read that no copy could answer") \
    M(RAW, "raw", "a frame was lost, doubled or overtaken inside a connection") \
    M(FAILOVER, "manager-failover", "another manager was elected") \
    M(DEPOSED, "deposed-refused", "a transaction of one that does not lead was refused") \
    M(KV_UNKNOWN, "kv-unknown", "the store did not say what became of a transaction") \
    M(KV_LATE, "kv-late", "and it took effect after that was told") \
    M(IN_USE, "in-use", "an attach without force was refused") \
    M(CARETAKE, "caretake", "a daemon was asked to take care of the volume") \
    M(CARED, "cared", "and it did") \
    M(EVICT, "evict", "an owner was asked to let a copy go") \
    M(REPLACED, "replaced", "a node returned with another disk") \
    M(RESIZED, "resized", "an owner took a new size") \
    M(DROPPED, "dropped", "a copy that is no member any more was dropped") \
    M(JOURNAL, "journal", "a journal began") \
    M(WHOLE, "whole", "it made a copy whole, which is in sync") \
    M(LET_GO, "let-go", "an owner was asked to hand the volume over") \
    M(KEPT, "kept", "and kept it") \
    M(HANDED, "handed", "somebody took a volume that its owner had handed over") \
    M(FULL, "full", "a store gave no credit") \
    M(CLEANED, "cleaned", "a cleaner moved what was live out of its way") \
    M(STARVED, "starved", "an owner waited for space for more than a second") \
    M(FED, "fed", "and went on") \
    M(CLOCK_EDGE, "clock-edge", "clocks at the very edge of the bound (I10, I11)") \
    M(SHARDS, "shards", "a volume of several shards") \
    M(ASTRIDE, "astride", "a request in two shards") \
    M(SHARD_ADDED, "shard-added", "a volume got a shard more in use") \
    M(TWO_OWNERS, "two-owners", "an owner was asked for something after the next was ACTIVE") \
    M(UNEVEN, "uneven", "one shard had all its copies in sync, another had not") \
    M(RECEIVED, "received", "a write was acknowledged that was not durable yet (ack=replicated)") \
    M(FLUSHED, "flushed", "a flush waited, and ended") \
    M(FOLLOWS, "follows", "a copy that is never waited for was synchronised, and follows") \
    M(STOPPED, "stopped", "a daemon was stopped, and closed its store") \
    M(UNFLUSHED, "unflushed", "copies crashed with what was acknowledged and not flushed")

#define SIM_MARK_ENUM(id, name, what) SIM_MARK_##id,
enum sim_mark { SIM_MARKS(SIM_MARK_ENUM) SIM_N_MARKS };
extern const char *const sim_mark_names[SIM_N_MARKS], *const sim_mark_whats[SIM_N_MARKS];

struct sim;

/* ---- processes ---- */

struct sim_proc {
    struct cw_env env;
    struct sim *sim;
    struct cw_timerheap heap;
    struct cw_prng prng;
    char name[8];
    uint32_t index; /* in sim->procs */
    uint32_t life;  /* raised by each start: answers for an earlier one are dropped */
    bool up, paused;
    int32_t rate_ppm;     /* of its clock */
    struct cw_timer turn; /* in the world's heap; armed: a turn is under way */
    void (*turn_end)(struct sim_proc *);
};

void sim_proc_init(struct sim *sim, struct sim_proc *p, const char *name);
void sim_proc_fini(struct sim_proc *p);
/* Something was delivered to p: its turn ends soon. */
void sim_proc_touch(struct sim_proc *p);

/* ---- world time ---- */

/* A thing to do at a time, on the world's clock; freed after it ran. */
struct sim_task {
    struct cw_timer timer;
    struct cw_list node;
    struct sim *sim;
    void (*fn)(struct sim_task *);
};
/* task is the first member of what was allocated with calloc. */
void sim_after(struct sim *sim, struct sim_task *task, uint64_t after_ns,
               void (*fn)(struct sim_task *));

/* ---- connections ---- */

struct sim_conn;
struct sim_end {
    struct cw_link link;
    struct sim_conn *conn;
    struct sim_proc *proc;
    uint32_t life;         /* of proc when it was made */
    bool open;             /* handed to somebody, on_down not yet called */
    bool ready;            /* frames may be delivered */
    bool falling;          /* on_down is on its way */
    struct cw_list frames; /* towards this end */
    uint64_t stalled_ns;   /* nothing is delivered before */
    uint64_t last_ns;      /* when the last of them is due */
    struct cw_timer timer; /* the first frame, in the world's heap */
    struct cw_timer down;
    struct cw_buf_pool *pool;
};

struct sim_conn {
    struct sim *sim;
    struct cw_list node;
    struct sim_end end[2];
    bool broken;
};

struct sim_daemon;
struct sim_client;

/* A disk that is, or was, at a daemon. */
#define SIM_DISKS_MAX 12u
struct sim_disk {
    struct cw_uuid uuid;
    uint64_t format_id;
    struct sim_daemon *d;
};

/* Answered by up or failed unless proc died meanwhile. The acceptor is told first. */
typedef void sim_up_fn(struct sim_proc *from, void *arg, struct cw_link *link);
typedef void sim_failed_fn(struct sim_proc *from, void *arg, int why);
struct sim_dial {
    struct sim_task task;
    struct sim_proc *from;
    uint32_t life;
    struct sim_daemon *to;
    const struct sim_disk *disk; /* that is asked for there */
    struct cw_uuid peer_id;
    struct cw_buf_pool *pool;
    sim_up_fn *up;
    sim_failed_fn *failed;
    void *arg;
    uint64_t begun_ns;
};
/* from, disk, peer_id, pool, up, failed and arg are the caller's to say. */
void sim_net_dial(struct sim_dial how);
void sim_net_cut(struct sim_conn *c);
/* from gives its connections to `to` up and may make new ones; what is under way on them arrives
 * after so long, and only then does `to` learn that they are gone. */
void sim_net_abandon(struct sim *sim, struct sim_proc *from, struct sim_proc *to, uint64_t for_ns);
/* One end is gone, the other believes for seconds that all is well. */
void sim_net_half_open(struct sim_conn *c);
void sim_net_proc_died(struct sim_proc *p);
/* Everything to that proc takes so much longer. */
void sim_set_lag(struct sim *sim, uint32_t to, uint64_t ns);
bool sim_net_blocked(const struct sim *sim, const struct sim_proc *from, const struct sim_proc *to);
void sim_net_free_all(struct sim *sim);

/* ---- daemons ---- */

struct sim_host;
struct sim_daemon {
    struct sim_proc proc;
    struct sim_host *host; /* its talk with the manager; NULL: it has none */
    struct cw_uuid disk_uuid;
    uint64_t format_id;
    struct cw_ramdisk *disk;
    uint64_t disk_bytes;
    struct cw_buf_pool *pool;
    struct cw_replica *replica;
    uint64_t incarnation;
    bool serving;
    bool stopping;           /* its store is being closed */
    bool open_failed, wrong; /* its disk does not open; is another's */
    bool refused;            /* by the manager */
    struct cw_uuid foreign;  /* the cluster that its disk says it belongs to; nil: ours */
    uint64_t storms;         /* of bad blocks, that it tells of; 0: as its store says */
};

void sim_daemon_init(struct sim *sim, struct sim_daemon *d, uint32_t index);
void sim_daemon_start(struct sim_daemon *d);
void sim_daemon_kill(struct sim_daemon *d, bool power);
/* By its operator: the store is closed cleanly, and the process ends some time later. One that
 * could not do that now is killed. */
void sim_daemon_stop(struct sim_daemon *d);
void sim_daemon_fini(struct sim_daemon *d);
/* While it is down. */
void sim_daemon_set_disk(struct sim_daemon *d, struct cw_ramdisk *take_disk);
/* Another disk takes the place of the one it had; it is down. */
enum sim_replace {
    SIM_REPLACE_EMPTY,   /* a new one */
    SIM_REPLACE_FORMAT,  /* the same, formatted again */
    SIM_REPLACE_FOREIGN, /* of another cluster */
    SIM_REPLACE_CLONE,   /* the same, as it was before it had a copy */
};
void sim_daemon_replace(struct sim_daemon *d, enum sim_replace how);
/* Never NULL: whoever asks was told of it. */
const struct sim_disk *sim_disk_find(const struct sim *sim, const struct cw_uuid *uuid,
                                     uint64_t format_id);
/* Whose disk it is; NULL: no daemon has that one any more. */
struct sim_daemon *sim_member_daemon(const struct sim *sim, const struct cw_member *m);

void sim_host_init(struct sim_daemon *d);
void sim_host_start(struct sim_daemon *d);
/* It hangs up for good. False: it holds a volume. */
bool sim_host_may_stop(struct sim_daemon *d);
void sim_host_stop(struct sim_daemon *d, bool power);
void sim_host_fini(struct sim_daemon *d);
void sim_host_turn_end(struct sim_daemon *d);
void sim_host_check(const struct sim_daemon *d);
bool sim_host_is_registered(const struct sim_daemon *d);
/* .. with the manager that was elected last; a deposed one may hold it for a while. */
bool sim_host_is_the_leaders(const struct sim_daemon *d);

/* ---- the register ---- */

struct sim_reg {
    uint32_t gen;
    bool released;
    struct cw_shard_rec recs[SIM_SHARDS_MAX]; /* sim->n_shards of them */
    uint64_t away_until_ns;
    uint32_t lose_256ths;          /* of replies */
    const struct sim_client *deaf; /* no reply reaches it; NULL: nobody */
    /* Bits of states; of changes to them .. */
    uint32_t lose_to; /* .. the replies are lost, once they are applied */
    uint32_t late_to; /* .. the next is applied so long after it was given up: */
    uint64_t late_ns;
    uint32_t refuse_to; /* .. none is applied */
    uint32_t n_changes;
    uint64_t asked_ns;           /* when an owner asked for a change last, also of real managers */
    struct cw_replica_drop drop; /* of what a journal left on the spare */
    uint32_t drop_life;          /* of the spare, when it was asked; 0: not under way */
    bool cold;                   /* who attaches is told that copies may be booting */
};

void sim_reg_init(struct sim *sim);
/* Logs and marks what becomes of a member. */
void sim_reg_note(struct sim *sim, const struct cw_member *m, enum cw_member_state to);
/* Atomic: gen + 1. */
void sim_reg_attach(struct sim *sim, bool *ret_released);
void sim_reg_desc(struct sim *sim, struct cw_volume_desc *to, struct cw_disk_location *disks);
/* Its copies in sync. */
uint32_t sim_reg_n_in_sync(const struct sim *sim, uint32_t shard);
/* What the register says of that disk's copy; DEAD: it has none. */
enum cw_member_state sim_reg_state(const struct sim *sim, uint32_t shard,
                                   const struct sim_daemon *d);
/* Its copies of that shard, on its disk; NULL: none. */
struct cw_store_shard *sim_copy_of(const struct sim *sim, const struct sim_daemon *d,
                                   uint32_t shard);
void sim_reg_change(struct sim_client *c, struct cw_change *ch);
void sim_reg_get(struct sim_client *c, struct cw_volume_get *g);
void sim_reg_release(struct sim_client *c, struct cw_volume_give_up *g);

/* ---- journal members, where there is a spare daemon: the last one ---- */

void sim_journal_start(struct sim *sim);

/* ---- clients ---- */

struct sim_lib;
enum sim_let_go { SIM_LET_GO_CLEAN, SIM_LET_GO_UNCLEAN, SIM_LET_GO_KEPT };
struct sim_client {
    struct sim_proc proc;
    struct sim_lib *lib; /* its talk with the manager; NULL: with the register */
    struct cw_buf_pool *pool;
    struct cw_owner *owner;
    struct cw_volume *volume;
    struct cw_uuid id;
    uint32_t epoch; /* of sim: which attach this was */
    uint32_t gen;
    uint32_t size_blocks, n_shards; /* of the volume, as it knows it */
    bool ready, lost, leaving;
    uint32_t n_pending, n_writes;
    uint32_t writing[SIM_BLOCKS];         /* requests under way that change it */
    uint64_t n_reads_done, n_writes_done; /* well ended, since it attached */
    struct cw_list ops, flushes;
    struct cw_timer next; /* in its own heap */
    struct cw_verify verify;
    bool verifying, verified;
};

void sim_client_init(struct sim *sim, struct sim_client *c, uint32_t index);
void sim_client_attach(struct sim_client *c);
/* From the present owner, if it may be asked. */
void sim_client_take(struct sim_client *c);
/* The volume was granted. */
void sim_client_open(struct sim_client *c, const struct cw_volume_desc *desc, uint32_t epoch);
void sim_client_release(struct sim_client *c);
void sim_client_kill(struct sim_client *c);
void sim_client_fini(struct sim_client *c);

void sim_lib_init(struct sim_client *c);
void sim_lib_start(struct sim_client *c);
void sim_lib_stop(struct sim_client *c);
void sim_lib_fini(struct sim_client *c);
void sim_lib_attach(struct sim_client *c);
void sim_lib_take(struct sim_client *c);
/* The owner that was to hand over answers. */
void sim_lib_let_go(struct sim_client *c, enum sim_let_go how);
bool sim_lib_is_attaching(const struct sim_client *c);
bool sim_lib_forces(const struct sim_client *c);
void sim_lib_change(struct sim_client *c, struct cw_change *ch);
void sim_lib_get(struct sim_client *c, struct cw_volume_get *g);
void sim_lib_release(struct sim_client *c, struct cw_volume_give_up *g);
void sim_lib_resized(struct sim_client *c);

/* ---- real managers (control.h) ---- */

/* What the seed chooses for them, before processes are made; then their own. */
void sim_control_choose(struct sim *sim);
void sim_control_init(struct sim *sim);
/* Elects the first, waits for the daemons, makes the volume. */
void sim_control_begin(struct sim *sim);
void sim_control_check(struct sim *sim);
/* One of this process' connections was closed: its owner is silent at once. */
void sim_control_closed(struct sim *sim, const struct sim_proc *proc);
void sim_control_fini(struct sim *sim);
/* The metadata store went back: generations may be granted twice. */
bool sim_control_is_behind(const struct sim *sim);
void sim_mgr_fault(struct sim *sim);
void sim_mgr_heal(struct sim *sim);
/* An operator, and disks that are replaced: operator.c. */
void sim_operator_start(struct sim *sim);
/* All is healed: a disk in quarantine is returned. */
void sim_operator_calm(struct sim *sim);
/* The volume gets a shard more, in use. */
void sim_grow_after(struct sim *sim, uint64_t ns);

/* ---- history ---- */

enum sim_op_kind { SIM_READ, SIM_WRITE, SIM_ZERO };

/* One request as one block saw it. */
struct sim_hop {
    uint64_t begin_ns, end_ns; /* end: CW_NEVER while unknown */
    uint64_t value;            /* 0: zeroes */
    uint32_t epoch;
    enum sim_op_kind kind;
    bool acked;
};

struct sim_history {
    struct sim_hop *at[SIM_BLOCKS];
    uint32_t n[SIM_BLOCKS], cap[SIM_BLOCKS];
    uint64_t next_value;
    uint64_t *flushed_ns; /* by epoch: what ended before is not lost any more */
    uint32_t n_flushed;
};

/* Index of the new entry in its block. */
uint32_t sim_history_begin(struct sim *sim, uint32_t block, enum sim_op_kind kind, uint64_t value,
                           uint32_t epoch);
void sim_history_end(struct sim *sim, uint32_t block, uint32_t index, uint64_t value);
/* The next owner is ACTIVE: what is unresolved of older epochs took effect by now or never will. */
void sim_history_active(struct sim *sim, uint32_t epoch);
/* A flush of that epoch's owner, begun then, is done. */
void sim_history_flushed(struct sim *sim, uint32_t epoch, uint64_t begin_ns);
/* What that epoch's owner acknowledged on that shard, and nobody flushed, may be lost. */
void sim_history_unflushed(struct sim *sim, uint32_t shard, uint32_t epoch);
/* From now on each block holds some value written before, or zeroes, whichever a read shows first:
 * acknowledged writes may be lost. Nobody is answered any more whom a client asked before. */
void sim_history_forgive(struct sim *sim);
/* Judges all blocks; a violation fails the run. */
void sim_history_judge(struct sim *sim);
void sim_history_free(struct sim_history *h);
/* Blocks [first, first + n) of one shard as seen at one instant: is each write of several blocks
 * wholly there or wholly not (1.5)? skip: NULL, or which of them were not read. */
void sim_atoms_judge(struct sim *sim, uint32_t first, uint32_t n, const uint64_t *values,
                     const bool *skip, const char *where);

void sim_block_fill(uint8_t *block, uint64_t value, uint32_t lba);
/* In the volume. */
uint32_t sim_block_lba(const struct sim *sim, uint32_t block);
/* Which shard an lba or a block of the workload is in. */
uint32_t sim_lba_shard(uint32_t lba);
uint32_t sim_block_shard(const struct sim *sim, uint32_t block);
/* How many blocks from first on, up to n, are in one shard. */
uint32_t sim_blocks_in_shard(const struct sim *sim, uint32_t first, uint32_t n);
/* False: bytes that nobody ever wrote there. */
bool sim_block_value(const uint8_t *block, uint32_t lba, uint64_t *ret);

/* ---- invariants: after every event ---- */

void sim_watch_init(struct sim *sim);
void sim_watch_fini(struct sim *sim);
void sim_watch_event(struct sim *sim);
/* A record was refused there for want of space. */
/* An owner's SEAL lets that daemon make the copy if it has none. */
void sim_watch_creates(struct sim *sim, const struct sim_proc *daemon, const struct cw_wire_hdr *h);
void sim_watch_no_space(struct sim *sim, const struct sim_proc *daemon, uint64_t shard);
/* A newer generation than that goes on there, without what is told to owners of that one now. */
bool sim_watch_is_past(const struct sim *sim, uint32_t shard, uint32_t gen);
/* That shard is ACTIVE, or was, for a newer owner than of that epoch. */
bool sim_watch_newer_active(const struct sim *sim, uint32_t shard, uint32_t epoch);
/* A daemon's owner of that generation is ACTIVE. */
void sim_watch_active(struct sim *sim, uint32_t epoch);
/* What the chunks of one more copy hold, by version; now and then. */
void sim_watch_versions(struct sim *sim);
/* There are daemons beyond the members: copies that are none any more are dropped. */
bool sim_drops_copies(const struct sim *sim);
/* This daemon's disk went back in time, on purpose: all its copies. */
void sim_watch_forget(struct sim *sim, uint32_t daemon);
/* The highest seq acknowledged by anybody; durable on that copy, as last seen. */
uint64_t sim_watch_acked(const struct sim *sim, uint32_t shard);
/* What this daemon holds of the shard is all that counts as acknowledged. */
void sim_watch_recover(struct sim *sim, uint32_t shard, uint32_t daemon);
uint64_t sim_watch_durable(const struct sim *sim, uint32_t shard, uint32_t daemon);
/* Its copy, when it was seen last. */
bool sim_watch_damaged(const struct sim *sim, uint32_t shard, uint32_t daemon);

/* ---- audit: every copy in sync, read at its disk ---- */

struct sim_audit_read {
    struct cw_store_read read;
    struct sim_audit *audit;
    uint32_t daemon, life, first, n;
    bool done;
};

/* Reads the blocks on each in-sync copy that is up and compares; calls done once, then frees. */
#define SIM_AUDIT_RUN 16u
struct sim_audit {
    struct sim *sim;
    struct cw_list node;
    void (*done)(struct sim_audit *);
    void *arg;
    uint32_t epoch, n;
    uint64_t begin_ns;
    bool read[SIM_SHARDS_MAX][SIM_DAEMONS_MAX], bad[SIM_DAEMONS_MAX][SIM_BLOCKS];
    uint64_t value[SIM_DAEMONS_MAX][SIM_BLOCKS];
    struct sim_audit_read reads[SIM_DAEMONS_MAX * (SIM_BLOCKS / SIM_AUDIT_RUN + SIM_SHARDS_MAX)];
};
void sim_audit_start(struct sim *sim, uint32_t epoch, void (*done)(struct sim_audit *), void *arg);
void sim_audit_free_all(struct sim *sim);

/* ---- faults ---- */

/* Makes the list of events of this long; each comes at its time. */
void sim_faults_start(struct sim *sim, uint64_t for_ns);
void sim_faults_heal(struct sim *sim);

/* Parts of faults. */
void sim_fault_lose(struct sim *sim, struct sim_proc *daemon, bool power);
void sim_fault_all_but(struct sim *sim, const struct sim_proc *daemon);
void sim_fault_part(struct sim *sim, struct sim_proc *a, struct sim_proc *b); /* b may be NULL */
void sim_fault_takeover(struct sim *sim);
void sim_fault_memory(struct sim *sim); /* all of it, soon */
/* The present owner reaches this copy alone, and the next one all others. */
void sim_fault_split(struct sim *sim, const struct sim_proc *daemon);

/* ---- ambushes ---- */

enum sim_moment {
    SIM_MOMENT_FRAME,  /* a frame of that type arrives */
    SIM_MOMENT_WANTED, /* an owner asks for a member to be in that state */
    SIM_MOMENT_CHANGE, /* a member is in that state now */
    SIM_MOMENT_ATTACH, /* somebody is granted the volume */
    SIM_N_MOMENTS,
};
struct sim_ambush {
    bool armed;
    enum sim_moment moment;
    uint8_t frame;
    enum cw_member_state to;
    uint32_t nth;
    uint64_t seed;
};
#define SIM_AMBUSHES 4u
void sim_ambush(struct sim *sim);
void sim_ambush_frame(struct sim *sim, struct sim_proc *from, struct sim_proc *to, uint8_t type);
void sim_ambush_member(struct sim *sim, enum sim_moment moment, uint32_t daemon,
                       enum cw_member_state to);

/* ---- modes: what a whole run is like (sim/modes.c) ---- */

void sim_choose_modes(struct sim *sim);
/* In some seeds all clocks are at the edge of the bound; after processes are made. */
void sim_choose_clocks(struct sim *sim);
/* One more event of the new classes; SIM_N_FAULTS: none is wanted. *ret_after_ns: since the last.
 */
enum sim_fault sim_modes_next(struct sim *sim, uint64_t *ret_after_ns);
void sim_modes_heal(struct sim *sim);

/* ---- several shards (sim/shards.c) ---- */

/* After all else that the seed chooses, before processes are made. */
void sim_shards_choose(struct sim *sim);

/* ---- disks that damage, lose or forget (sim/media.c) ---- */

struct sim_media {
    uint32_t victim; /* whose disk has the bad luck */
    bool unlimited;  /* every disk has; only safety is judged */
    bool touched;    /* it happened */
    bool alone;      /* since then the victim was the only one in sync for a while */
    bool fragile;    /* it forgets, or forgot: all else must be well */
    uint32_t forgot; /* bit per shard: .. and nobody has noticed yet */
    uint64_t forgot_ns;
    uint32_t lost;          /* unlimited: bit per daemon whose copy went with its log once */
    struct cw_ramdisk *old; /* a clone of its disk */
    uint64_t old_incarnation;
    bool swapped;
    uint32_t swapped_with;
};

void sim_media_init(struct sim *sim);
void sim_media_fini(struct sim *sim);
void sim_media_start(struct sim *sim);
void sim_media_do(struct sim *sim, enum sim_fault fault);
void sim_media_event(struct sim *sim);
void sim_media_heal(struct sim *sim);
/* A daemon that is down gets another disk. */
void sim_media_replaced(struct sim_daemon *d);
/* A block may be unreadable on all copies in sync. */
bool sim_media_may_lose(const struct sim *sim);
/* It is no wonder that this one's disk does not open. */
bool sim_media_excuses(const struct sim *sim, const struct sim_daemon *d);
/* A disk has lost records of the only copy in sync: what is left is an operator's to accept. */
bool sim_media_is_lost(const struct sim *sim);
/* This copy has less than it had, and may be INSYNC in the register yet. */
bool sim_media_forgot(const struct sim *sim, uint32_t shard, uint32_t daemon);
/* There is no copy on its disk any more. */
void sim_media_lost_copy(struct sim *sim, uint32_t shard, const struct sim_daemon *d);

/* ---- stores that fill up (sim/full.c) ---- */

#define SIM_FULL_CHUNKS 24u /* from SIM_GUEST_OFF on: the volume is larger then */
struct sim_full {
    bool on;
    uint32_t n_disks; /* of the first members: that are nearly full */
    struct cw_list ios;
    uint32_t epoch, n_out; /* whose writes are counted */
    bool emptying;
    uint32_t n_emptied;
    struct cw_replica_drop drops[SIM_DAEMONS_MAX];
};
void sim_full_choose(struct sim *sim);
void sim_full_fill(struct sim_daemon *d); /* that was formatted */
void sim_full_start(struct sim *sim);
/* The other volume is deleted: no copy is kept out for ever because its disk is full. */
void sim_full_make_room(struct sim *sim);
/* What the guest filled it with is trimmed. */
bool sim_full_is_over(struct sim *sim);
void sim_full_fini(struct sim *sim);

/* ---- slow disks ---- */

void sim_slow(struct sim *sim, bool hangs);
void sim_slow_heal(struct sim *sim);

/* ---- rot ---- */

/* A block of the workload rots on that disk, or (latent) its sectors cannot be read. */
void sim_rot_block(struct sim *sim, struct sim_daemon *d, uint32_t block, bool latent);
void sim_rot_free_all(struct sim *sim);
/* All is calm and in sync: blocks rot on disks that nobody reads, each on one copy only. */
void sim_rot(struct sim *sim);
/* Begins a scrub on every disk. */
void sim_rot_scrub(struct sim *sim);
/* Every scrub is over, and what it found is mended. */
bool sim_rot_is_mended(struct sim *sim);
/* The last one found nothing; else the run fails. */
void sim_rot_must_be_gone(struct sim *sim);

/* ---- the whole ---- */

struct sim_scenario;

enum sim_ack { SIM_ACK_DURABLE, SIM_ACK_REPLICATED, SIM_ACK_BY_SEED };

enum sim_manager { SIM_BY_SEED, SIM_REGISTER, SIM_REAL_MANAGER };

struct sim_opts {
    uint64_t seed;
    enum sim_manager manager;
    const struct sim_scenario *scenario; /* NULL: chaos */
    bool mix;                            /* scenarios among them: sim_scenario_mixed */
    enum cw_mutation rule;               /* that the scenarios are to be for; NONE: any */
    bool spare;                          /* chaos with one more daemon, for a journal */
    uint32_t shards;                     /* 0: by the seed */
    enum sim_ack ack;                    /* of chaos; cases and fixed seeds are of before it */
    bool trace;
    bool quiet;        /* a failure is expected: its log is not shown */
    uint64_t chaos_ns; /* 0: by the seed */
    uint32_t plain;    /* enum sim_plain */
    uint64_t drop[SIM_EVENTS_MAX / 64];
};

/* What a shrunk case does without. */
enum sim_plain {
    SIM_PLAIN_JITTER = 1, /* latencies are constant, links equally long */
    SIM_PLAIN_FLIP = 2,   /* nothing is damaged on the way */
    SIM_PLAIN_DEPTH = 4,  /* few requests at a time */
    SIM_PLAIN_ZERO = 8,   /* no trims and zeroes */
    SIM_PLAIN_NET = 16,   /* all the bandwidth one could want, nothing raw */
    SIM_PLAIN_LAST = SIM_PLAIN_NET,
};

struct sim_result {
    bool failed;
    bool only_safety; /* disks were damaged for good: its guest may have waited for ever */
    char why[256];
    uint64_t ops, events, virtual_ns;
    uint64_t chaos_ns; /* what the seed chose */
    uint32_t n_events; /* that came before the end */
    uint32_t marks[SIM_N_MARKS];
};

struct sim {
    struct sim_opts opts;
    struct sim_result result;
    uint64_t now_ns;
    struct cw_timerheap heap;
    struct cw_list tasks;
    struct sim_watch *watch;
    uint32_t touched; /* bit per proc: since the last event */
    struct cw_prng rnd_net, rnd_load, rnd_fault, rnd_reg, rnd_turn, rnd_slow, rnd_mode, rnd_mgr,
        rnd_full, rnd_shard, rnd_ack, rnd_stop;
    struct sim_proc *procs[SIM_PROCS_MAX];
    uint32_t n_procs;
    struct sim_daemon daemons[SIM_DAEMONS_MAX];
    uint32_t n_daemons, n_members; /* members: of each shard */
    uint32_t n_shards;             /* that there are .. */
    uint32_t n_shards_goal;        /* .. and will be: one more if it grows in use */
    bool grows;
    uint64_t grows_bytes;         /* that are missing of the first */
    uint32_t shard_step;          /* step: daemons between the first members of two shards */
    uint32_t borders[SIM_GROUPS]; /* chunks of the volume; each group of blocks is around one */
    bool spare;                   /* the last daemon is for journals */
    struct sim_disk disks[SIM_DISKS_MAX];
    uint32_t n_disks;
    struct sim_client clients[SIM_CLIENTS_MAX];
    uint32_t n_clients;
    struct sim_client *present; /* whose turn it is to own the volume */
    struct sim_reg reg;
    struct sim_control *control; /* NULL: the register is the manager; else its mirror */
    struct sim_history history;
    struct cw_list conns, audits;
    bool blocked[SIM_PROCS_MAX][SIM_PROCS_MAX]; /* from, to */
    uint64_t latency_ns, jitter_ns, tail_ns;    /* tail: of one frame in 200 */
    uint32_t fault_weights[SIM_N_FAULTS];
    uint64_t fault_every_ns, mode_every_ns;
    struct sim_media media;
    struct sim_full full;
    struct cw_list rots;
    uint64_t unwell_until_ns; /* a link or a disk may be slow to answer until then */
    struct sim_event events[SIM_EVENTS_MAX];
    uint32_t n_events;
    uint32_t n_blackouts, n_memory_lost;
    uint32_t epoch, active_epoch, next_client;
    uint32_t min_insync;
    bool replicated;        /* ack=replicated, for some of the time at least */
    bool stops;             /* some daemons are stopped, where others would be killed */
    uint32_t zero_percent;  /* of requests */
    uint32_t flip_65536ths; /* data frames whose payload is damaged on the way */
    uint64_t lag_ns[SIM_PROCS_MAX][SIM_PROCS_MAX];                        /* from, to: on top */
    uint64_t bytes_per_s[SIM_PROCS_MAX], clog_bytes_per_s[SIM_PROCS_MAX]; /* to it; 0: no limit */
    uint64_t wire_ns[SIM_PROCS_MAX]; /* until then bytes towards it are on the wire */
    uint32_t raw_65536ths;           /* frames lost, doubled, overtaken inside a connection */
    struct sim_ambush ambushes[SIM_AMBUSHES];
    bool apart;     /* reads are of other blocks than writes */
    uint32_t depth; /* requests in flight */
    uint64_t think_ns;
    uint64_t resync_bytes_per_s;       /* 0: as fast as it goes */
    uint64_t flap_min_ns, flap_max_ns; /* of owners that attach from now on; 0: the default */
    uint64_t goal_reads, goal_writes;  /* of a scenario */
    void (*on_frame)(struct sim_end *to, const struct cw_wire_hdr *); /* of a scenario */
    uint32_t n_seen, n_wanted;                                        /* its counts */
    struct sim_daemon *spoken_of;                                     /* of a scenario */
    bool calm;                                                        /* healed: no more faults */
    bool load;                                                        /* the workload goes on */
    uint64_t scrub_pass[SIM_DAEMONS_MAX];                             /* that are waited for */
    char *lines[SIM_LINES];
    uint64_t n_lines;
};

struct sim_result sim_run(struct sim_opts opts);

/* In a child process: whatever becomes of it, there is a result. */
struct sim_result sim_run_one_apart(struct sim_opts opts);

/* n seeds from opts.seed on, a few in each child. Told in order, until it returns false. */
typedef bool sim_each_fn(void *user, const struct sim_opts *opts, const struct sim_result *r);
void sim_run_apart(struct sim_opts opts, uint64_t n, sim_each_fn *each, void *user);

/* Which of the checkers complained: the word before the colon in why. */
#define SIM_CHECKER_SIZE 24u
struct sim_checker {
    char name[SIM_CHECKER_SIZE];
};
struct sim_checker sim_checker(const struct sim_result *r);

/* Ends the run as failed; only the first reason counts. It begins with the name of the checker and
 * a colon: history, audit, liveness, scenario, requests, accounting, recovery, protocol.. */
void sim_fail(struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_log(struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_mark(struct sim *sim, enum sim_mark m);
void sim_unwell(struct sim *sim, uint64_t for_ns);
/* Steps the world until cond holds, it fails, or the time is over. */
bool sim_run_until(struct sim *sim, bool (*cond)(struct sim *), uint64_t for_ns);
/* Uniform in [lo, hi]. */
uint64_t sim_between(struct cw_prng *p, uint64_t lo, uint64_t hi);
bool sim_chance(struct cw_prng *p, uint32_t percent);
struct cw_uuid sim_uuid(struct cw_prng *p);
