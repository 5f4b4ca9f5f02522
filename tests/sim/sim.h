/* sim/sim.h - a whole cluster in one thread and in virtual time, from one number.
 *
 *   seed --> topology, latencies, workload, faults --> run --> histories, oracles --> verdict
 *
 *   proc    a process: its clock, its timers; runs in turns; may crash, pause, start again
 *   daemon  a proc with a disk, the real store and the real replica
 *   client  a proc with the real owner, one volume and a workload
 *   conn    a connection: two ends, frames in order, until it breaks
 *   reg     the manager's register: generation, shard records, compare-and-set, lost replies
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
#include "common/base/prng.h"
#include "common/base/timerheap.h"
#include "common/mem/buf.h"
#include "common/owner/owner.h"
#include "daemon/replica/replica.h"
#include "tests/lib/ramdisk.h"

#define SIM_DAEMONS_MAX 5u
#define SIM_CLIENTS_MAX 3u
#define SIM_PROCS_MAX (SIM_DAEMONS_MAX + SIM_CLIENTS_MAX)
#define SIM_VOLUME 7u
#define SIM_BLOCKS 96u /* that the workload uses */
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
    SIM_N_FAULTS,
};

/* Rare things that a set of seeds should have met. */
enum sim_mark {
    SIM_MARK_ACTIVE,      /* a takeover ended */
    SIM_MARK_EJECT,       /* INSYNC -> OUT */
    SIM_MARK_PROMOTE,     /* SYNCING -> INSYNC */
    SIM_MARK_EQUALISE,    /* REPAIR_APPEND delivered */
    SIM_MARK_LOST_REPLY,  /* a change was applied, its answer was not given */
    SIM_MARK_LATE_CHANGE, /* a change was applied after its answer was given up */
    SIM_MARK_FENCED,      /* an owner learned that it is not the owner any more */
    SIM_MARK_CHUNK,       /* a chunk was copied by a resync */
    SIM_MARK_COPY_HIT,    /* the stream wrote into a chunk that was being copied */
    SIM_MARK_RECHECK,     /* CHUNK_GET asked again because a block had changed */
    SIM_MARK_SOURCE,      /* SYNC_FROM named another source for the same join */
    SIM_MARK_REPAIR,      /* BLOCK_REPAIR rewrote a block */
    SIM_MARK_READ_ERR,
    SIM_MARK_GAP,      /* NACK SEQ_GAP */
    SIM_MARK_UNKNOWN,  /* a write whose outcome its client never learned */
    SIM_MARK_RELEASED, /* clean */
    SIM_MARK_FLIP,     /* a block was damaged on the way */
    SIM_MARK_ROT,      /* a block rotted on its disk */
    SIM_MARK_ASIDE,    /* INSYNC -> LAGGING */
    SIM_MARK_BACK,     /* LAGGING -> INSYNC */
    SIM_MARK_NO_ASIDE, /* refused: enough disks are set aside */
    SIM_MARK_JOURNAL,  /* a journal began */
    SIM_MARK_WHOLE,    /* it made a copy whole, which is in sync */
    SIM_N_MARKS,
};
extern const char *const sim_mark_names[SIM_N_MARKS];

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

/* Answered by up or failed unless proc died meanwhile. The acceptor is told first. */
typedef void sim_up_fn(struct sim_proc *from, void *arg, struct cw_link *link);
typedef void sim_failed_fn(struct sim_proc *from, void *arg, int why);
struct sim_dial {
    struct sim_task task;
    struct sim_proc *from;
    uint32_t life;
    struct sim_daemon *to;
    struct cw_uuid peer_id;
    struct cw_buf_pool *pool;
    sim_up_fn *up;
    sim_failed_fn *failed;
    void *arg;
    uint64_t begun_ns;
};
void sim_net_dial(struct sim_dial *take_dial);
void sim_net_cut(struct sim_conn *c);
void sim_net_proc_died(struct sim_proc *p);
bool sim_net_blocked(const struct sim *sim, const struct sim_proc *from, const struct sim_proc *to);
void sim_net_free_all(struct sim *sim);

/* ---- daemons ---- */

struct sim_daemon {
    struct sim_proc proc;
    struct cw_uuid disk_uuid;
    uint64_t format_id;
    struct cw_ramdisk *disk;
    uint64_t disk_bytes;
    struct cw_buf_pool *pool;
    struct cw_replica *replica;
    uint64_t incarnation;
    bool serving;
};

void sim_daemon_init(struct sim *sim, struct sim_daemon *d, uint32_t index);
void sim_daemon_start(struct sim_daemon *d);
void sim_daemon_kill(struct sim_daemon *d, bool power);
void sim_daemon_fini(struct sim_daemon *d);

/* ---- the register ---- */

struct sim_reg {
    uint32_t gen;
    bool released;
    struct cw_shard_rec rec;
    uint64_t away_until_ns;
    uint32_t lose_256ths; /* of replies */
    uint32_t n_changes;
    struct cw_replica_drop drop; /* of what a journal left on the spare */
    uint32_t drop_life;          /* of the spare, when it was asked; 0: not under way */
    bool cold;                   /* who attaches is told that copies may be booting */
};

void sim_reg_init(struct sim *sim);
/* Atomic: gen + 1. */
void sim_reg_attach(struct sim *sim, bool *ret_released);
void sim_reg_desc(struct sim *sim, struct cw_volume_desc *to, struct cw_disk_location *disks);
void sim_reg_change(struct sim_client *c, struct cw_change *ch);
void sim_reg_get(struct sim_client *c, struct cw_volume_get *g);
void sim_reg_release(struct sim_client *c, struct cw_volume_give_up *g);

/* ---- journal members, where there is a spare daemon: the last one ---- */

void sim_journal_start(struct sim *sim);

/* ---- clients ---- */

struct sim_client {
    struct sim_proc proc;
    struct cw_buf_pool *pool;
    struct cw_owner *owner;
    struct cw_volume *volume;
    struct cw_uuid id;
    uint32_t epoch; /* of sim: which attach this was */
    uint32_t gen;
    bool ready, lost, leaving;
    uint32_t n_pending, n_writes;
    uint64_t n_reads_done, n_writes_done; /* well ended, since it attached */
    struct cw_list ops;
    struct cw_timer next; /* in its own heap */
    struct cw_verify verify;
    bool verifying, verified;
};

void sim_client_init(struct sim *sim, struct sim_client *c, uint32_t index);
void sim_client_attach(struct sim_client *c);
void sim_client_release(struct sim_client *c);
void sim_client_kill(struct sim_client *c);
void sim_client_fini(struct sim_client *c);

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
};

/* Index of the new entry in its block. */
uint32_t sim_history_begin(struct sim *sim, uint32_t block, enum sim_op_kind kind, uint64_t value,
                           uint32_t epoch);
void sim_history_end(struct sim *sim, uint32_t block, uint32_t index, uint64_t value);
/* The next owner is ACTIVE: what is unresolved of older epochs took effect by now or never will. */
void sim_history_active(struct sim *sim, uint32_t epoch);
/* Judges all blocks; a violation fails the run. */
void sim_history_judge(struct sim *sim);
void sim_history_free(struct sim_history *h);

void sim_block_fill(uint8_t *block, uint64_t value, uint32_t lba);
uint32_t sim_block_lba(uint32_t block);
/* False: bytes that nobody ever wrote there. */
bool sim_block_value(const uint8_t *block, uint32_t lba, uint64_t *ret);

/* ---- audit: every copy in sync, read at its disk ---- */

struct sim_audit_read {
    struct cw_store_read read;
    struct sim_audit *audit;
    uint32_t daemon, life, first;
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
    bool read[SIM_DAEMONS_MAX], bad[SIM_DAEMONS_MAX][SIM_BLOCKS];
    uint64_t value[SIM_DAEMONS_MAX][SIM_BLOCKS];
    struct sim_audit_read reads[SIM_DAEMONS_MAX * SIM_BLOCKS / SIM_AUDIT_RUN];
};
void sim_audit_start(struct sim *sim, uint32_t epoch, void (*done)(struct sim_audit *), void *arg);
void sim_audit_free_all(struct sim *sim);

/* ---- faults ---- */

void sim_faults_start(struct sim *sim);
void sim_faults_heal(struct sim *sim);
/* A member was just promoted: the moment to lose the others. */
void sim_faults_provoke(struct sim *sim, uint32_t member);

/* ---- slow disks ---- */

void sim_slow_start(struct sim *sim);
void sim_slow_heal(struct sim *sim);

/* ---- rot ---- */

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

struct sim_opts {
    uint64_t seed;
    const struct sim_scenario *scenario; /* NULL: chaos */
    bool spare;                          /* chaos with one more daemon, for a journal */
    bool trace;
    bool quiet;        /* a failure is expected: its log is not shown */
    uint64_t chaos_ns; /* 0: by the seed */
};

struct sim_result {
    bool failed;
    char why[256];
    uint64_t ops, events, virtual_ns;
    uint32_t marks[SIM_N_MARKS];
};

struct sim {
    struct sim_opts opts;
    struct sim_result result;
    uint64_t now_ns;
    struct cw_timerheap heap;
    struct cw_list tasks;
    struct cw_prng rnd_net, rnd_load, rnd_fault, rnd_reg, rnd_turn, rnd_slow;
    struct sim_proc *procs[SIM_PROCS_MAX];
    uint32_t n_procs;
    struct sim_daemon daemons[SIM_DAEMONS_MAX];
    uint32_t n_daemons, n_members;
    struct sim_client clients[SIM_CLIENTS_MAX];
    uint32_t n_clients;
    struct sim_client *present; /* whose turn it is to own the volume */
    struct sim_reg reg;
    struct sim_history history;
    struct cw_list conns, audits;
    bool blocked[SIM_PROCS_MAX][SIM_PROCS_MAX]; /* from, to */
    uint64_t latency_ns, jitter_ns;
    uint32_t fault_weights[SIM_N_FAULTS];
    uint64_t fault_every_ns;
    uint64_t slow_every_ns; /* 0: no slow disks */
    uint32_t n_blackouts;
    uint32_t epoch, active_epoch, next_client;
    uint32_t min_insync;
    uint32_t zero_percent;          /* of requests */
    uint32_t flip_65536ths;         /* data frames whose payload is damaged on the way */
    uint64_t lag_ns[SIM_PROCS_MAX]; /* towards this proc, on top */
    uint32_t provoke_percent;       /* faults right after a change of the register */
    bool apart;                     /* reads are of other blocks than writes */
    uint32_t depth;                 /* requests in flight */
    uint64_t think_ns;
    uint64_t goal_reads, goal_writes;     /* of a scenario */
    bool calm;                            /* healed: no more faults */
    bool load;                            /* the workload goes on */
    uint64_t scrub_pass[SIM_DAEMONS_MAX]; /* that are waited for */
    char *lines[SIM_LINES];
    uint64_t n_lines;
};

struct sim_result sim_run(struct sim_opts opts);
/* In a child process: whatever becomes of it, there is a result. */
struct sim_result sim_run_apart(struct sim_opts opts);

/* Ends the run as failed; only the first reason counts. */
void sim_fail(struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_log(struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_mark(struct sim *sim, enum sim_mark m);
/* Steps the world until cond holds, it fails, or the time is over. */
bool sim_run_until(struct sim *sim, bool (*cond)(struct sim *), uint64_t for_ns);
/* Uniform in [lo, hi]. */
uint64_t sim_between(struct cw_prng *p, uint64_t lo, uint64_t hi);
bool sim_chance(struct cw_prng *p, uint32_t percent);
