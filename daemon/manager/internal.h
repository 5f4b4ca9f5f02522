/* manager/internal.h - what the files of this room share. Private to it.
 *
 *   call --> queue --kick timer--> answered from memory (reads)
 *                              \-> op queue --its turn--> txn --> apply --> op ends --> reply
 *
 * An op decides when its turn comes, from memory that equals the store, so nothing it looked at can
 * change before its transaction does. Ops of different volumes share one (ops.c). A transaction in
 * doubt makes the manager read the store again before the next op.
 */
#pragma once

#include "common/base/bits.h"
#include "daemon/manager/metaimage.h"
#include "daemon/manager/placement.h"
#include "daemon/manager/state.h"

#define MGR_TICK_NS (250 * CW_NS_PER_MS)
#define MGR_SWEEP_NS (CW_NS_PER_S - MGR_TICK_NS / 2) /* every fourth tick */
#define MGR_SESSION_CALLS_MAX 4096u

/* ---- transactions ---- */

struct mgr_txn_item {
    struct mgr_txn_item *next;
    const char *key;
    uint64_t version; /* compared */
    uint32_t of;      /* the op that put it first */
    bool del;
    struct cw_rec rec; /* of a delete: only the kind counts */
};

/* What ops want to change; each builds in its turn. */
struct mgr_txn {
    struct cw_kv_txn kv;
    struct cw_manager *m;
    struct cw_mgr_arena *arena;
    struct mgr_txn_item *items;
    size_t n_items;
    uint32_t n_ops; /* whose part is built */
    bool clash;     /* the op at work touched what another one did */
    bool loud;      /* some op was not quiet */
    bool quiet;     /* raises no epoch: nothing that anybody must look at again */
    bool dry;       /* is only built */
};

enum mgr_build {
    MGR_BUILD_COMMIT, /* the txn says what to do; end follows */
    MGR_BUILD_NONE,   /* nothing is to be done: end follows with OK */
    MGR_BUILD_GONE,   /* the op was freed, answered or queued elsewhere: no end */
};

/* Embedded in what waits for its turn. */
struct mgr_op {
    struct cw_list link;
    struct cw_manager *m;
    uint32_t tries;
    bool dry_run; /* build alone: nothing is committed */
    bool alone;   /* it shared a transaction that failed: the next is its own */
    /* 0: its transaction is its own. A volume's id: it looks at records of that volume, and at what
     * no op with a scope changes; it changes records of that volume and adds events. */
    uint64_t scope;
    enum mgr_build (*build)(struct mgr_op *, struct mgr_txn *);
    /* OK: in force, memory shows it. UNAVAILABLE: not, or nobody knows; why is one line. */
    void (*end)(struct mgr_op *, enum cw_mgr_code, const char *why);
};

#define MGR_SCOPE_EVENTS UINT64_MAX /* it adds events and nothing else */

void cw_mgr_op_queue(struct cw_manager *m, struct mgr_op *op);

/* Puts or replaces; the record lies under its own key. */
void cw_mgr_txn_put(struct mgr_txn *t, const struct cw_rec *rec);
void cw_mgr_txn_del(struct mgr_txn *t, const struct mgr_obj *o);

/* One numbered event in the same transaction; returns its number. */
uint64_t cw_mgr_txn_event(struct mgr_txn *t, const char *code, const char *object, const char *fmt,
                          ...) __attribute__((format(printf, 4, 5)));

/* The cluster record as this transaction leaves it; the caller may change it. */
struct cw_cluster_rec *cw_mgr_txn_cluster(struct mgr_txn *t);

/* An event of its own. Dropped (but for the log) when the store does not answer. */
void cw_mgr_event(struct cw_manager *m, const char *code, const char *object, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- the op of a call ---- */

struct mgr_call_op {
    struct mgr_op op;
    struct cw_mgr_call *call;
    uint64_t id;          /* the volume, event or job that build chose; for end */
    struct cw_uuid owner; /* whom build took it from; for end */
};

typedef enum mgr_build mgr_build_fn(struct mgr_call_op *, struct mgr_txn *);
typedef void mgr_end_fn(struct mgr_call_op *);

/* Queues `call`: build in its turn (it may refuse by cw_mgr_fail), then `ok` when in force, which
 * fills the reply or takes the call over; then the call is done. */
void cw_mgr_call_op(struct cw_manager *m, struct cw_mgr_call *call, mgr_build_fn *build,
                    mgr_end_fn *ok);
/* The same of an op with that scope. */
void cw_mgr_call_op_of(struct cw_manager *m, struct cw_mgr_call *call, uint64_t scope,
                       mgr_build_fn *build, mgr_end_fn *ok);

/* From build, each returns MGR_BUILD_GONE: answers with the error that was set; sets it first;
 * frees the op without an answer. */
enum mgr_build cw_mgr_refused(struct mgr_call_op *c);
enum mgr_build cw_mgr_op_gone(struct mgr_call_op *c);
enum mgr_build cw_mgr_refuse(struct mgr_call_op *c, enum cw_mgr_code code, const char *object,
                             const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* ---- sessions ---- */

enum mgr_session_kind { MGR_SESSION_ANON, MGR_SESSION_DAEMON, MGR_SESSION_CLIENT };

struct cw_mgr_session {
    struct cw_list link; /* newest first */
    struct cw_manager *m;
    void *user;
    enum mgr_session_kind kind;
    struct cw_uuid id; /* as owner: client instance, or of a caretaking daemon */
    struct mgr_host *host;
    char name[CW_NAME_SIZE], machine[CW_NAME_SIZE];
    uint64_t heard_ns;
    uint32_t n_calls;
    struct cw_list asks;
    struct cw_metaimage reading; /* of METADATA_READ; backup.c */
    uint64_t reading_serial;
    struct cw_mgr_kept reading_of;
};

struct mgr_ask {
    struct cw_mgr_ask ask;
    struct cw_list link; /* the session's */
    struct cw_mgr_session *session;
    struct cw_mgr_arena *arena; /* what ask points to */
    uint64_t serial;            /* of an attach that waits; the drop's disk is in ask */
    struct cw_mgr_call *call;   /* that waits for the answer, or NULL */
    struct cw_uuid daemon;      /* CARETAKE: who was asked */
    void (*done)(struct cw_manager *, struct mgr_ask *, const struct cw_mgr_answer *);
};

/* A new ask of that kind, to be filled and sent. */
struct mgr_ask *cw_mgr_ask_new(enum cw_mgr_ask_kind kind, uint32_t timeout_ms);
void cw_mgr_ask_send(struct cw_mgr_session *s, struct mgr_ask *a);

/* Where the manager is, or may be when another leads: what a client can hold. */
#define MGR_MANAGERS_MAX 16u
const char *const *cw_mgr_managers(const struct cw_manager *m, struct cw_mgr_arena *a,
                                   size_t *ret_n);

/* The newest session of that owner; NULL if none. */
struct cw_mgr_session *cw_mgr_find_session(const struct cw_manager *m, const struct cw_uuid *id);

/* Tells every owner and caretaker that has a copy on this host. */
void cw_mgr_hint_host(struct cw_manager *m, const struct mgr_host *h, bool up);
/* Tells the owner of the volume that its records changed. */
void cw_mgr_hint_volume(struct cw_manager *m, const struct mgr_volume *v);
/* Tells somebody that it may not be the owner any more. */
void cw_mgr_hint_fenced(struct cw_manager *m, const struct cw_uuid *owner, uint64_t volume_id);
/* The same of every volume; s not NULL: only of those that s owns. For when it is not known what
 * owners were told: a manager may change records and die, or not hear that it did. */
void cw_mgr_hint_owners(struct cw_manager *m, const struct cw_mgr_session *s);

/* ---- the manager ---- */

enum mgr_phase { MGR_NEW, MGR_LOADING, MGR_SERVING, MGR_REFUSED };

struct mgr_loaded {
    struct mgr_loaded *next;
    char key[CW_KV_KEY_SIZE];
    uint64_t version;
    struct cw_rec rec;
};

/* Disks that owners may set aside (INSYNC -> LAGGING) in so long, over all volumes: when a
 * whole switch is slow, volumes keep their copies. */
#define MGR_SET_ASIDE_MAX 2u
#define MGR_SET_ASIDE_NS (60 * CW_NS_PER_S)
struct mgr_set_aside {
    struct cw_uuid disk;
    uint64_t at_ns; /* 0: never */
};

/* Between two sites, or within one; while this manager runs. */
#define MGR_WAYS_MAX 300u
#define MGR_WAY_SITES_MAX 24u /* so many sites have ways for every two of them */
struct mgr_way {
    char a[CW_NAME_SIZE], b[CW_NAME_SIZE]; /* a <= b */
    uint64_t rtt_ns;                       /* 0: not measured yet */
    uint8_t rank;                          /* of rtt_ns, for placement: struct cw_place_disk */
    uint64_t asked_ns;                     /* some daemon was asked to measure it; 0: none was */
    uint64_t link_bytes_per_s;             /* that resyncs reached; 0: none was long enough */
    uint64_t moved_ns, window_ns, window_bytes;
};

#define MGR_PLACES 2u

/* A host that is to keep a backup of the metadata; backup.c. */
struct mgr_keeper {
    char host[CW_NAME_SIZE]; /* "": none */
    uint64_t change;         /* that it has; 0: none of this manager's */
    uint64_t epoch, saved_s, saved_ns;
    bool sending;
    uint64_t offset;
};

struct mgr_backup {
    struct mgr_keeper place[MGR_PLACES];
    uint64_t change;           /* of the records, counted; from 1 */
    struct cw_metaimage image; /* that is sent now, and what it is of */
    uint64_t image_change, image_serial, image_saved_ns;
    struct cw_mgr_kept image_of;
    uint64_t not_before_ns; /* the next */
    uint64_t lacks_ns;      /* fewer hosts than there should keep one since; 0: they do */
    uint32_t n_reading;     /* sessions that read one */
};

struct cw_manager {
    struct cw_manager_opts opts;
    struct cw_env *env;
    enum mgr_phase phase;
    struct mgr_tables t;
    uint64_t started_ns;
    uint64_t cold_since_ns, cold_until_ns; /* in-sync copies may be booting until then */
    bool hosts_seen;                       /* a host has been up since the cold start began */

    struct cw_list sessions;
    struct cw_list calls;      /* by link: waiting for the kick */
    struct cw_list calls_open; /* by open_link: every one that is not answered */
    struct cw_list ops;
    struct cw_list running; /* whose transaction is under way */
    struct mgr_txn txn;
    bool committing, reading, doubt;
    struct cw_kv_read read;
    struct mgr_loaded *loaded, **loaded_end;
    char load_error[CW_MGR_WHY_SIZE];

    struct cw_list attaches; /* struct mgr_attach */
    struct cw_list waiting;  /* EVENT_LS calls that wait */
    struct cw_list scrubs;   /* SCRUB_START calls whose daemons are asked */
    struct cw_list jobs;     /* struct mgr_job, oldest first */
    struct cw_list findings; /* struct mgr_finding, in the order they began */
    uint64_t serial, looked_ns;
    bool news;                 /* a record, a host or a disk has changed since .. */
    uint64_t swept_ns;         /* .. all volumes were looked at last */
    uint64_t rebalance_ns;     /* the next look of rebalance.c */
    size_t moves_at;           /* the shard that moves.c looks at next */
    bool vouching, forgetting; /* an op of drops.c is queued */
    bool straying;             /* the same */
    uint64_t median_p99_ns;    /* of disks' writes, while one is slow */
    bool trash_noting;         /* an op of trash.c is queued */
    uint32_t n_following;      /* ops of compression.c that are queued */
    uint32_t n_minsync;        /* the same of minsync.c */
    struct mgr_set_aside set_aside[MGR_SET_ASIDE_MAX]; /* since the manager started */
    uint32_t n_maintain[CW_MAINTAIN_NONE + 1];         /* hosts by mode */
    uint64_t worked_ns;                                /* the last look of work.c */
    uint64_t moved_per_s; /* bytes a resync moved lately; 0: none did */
    struct mgr_way *ways; /* in the order in which they were first of interest */
    size_t n_ways, ways_turn;
    struct mgr_backup backup;
    bool stopping;

    struct cw_timer kick, tick, retry;
};

uint64_t cw_mgr_wall_s(const struct cw_manager *m);
const struct cw_cluster_rec *cw_mgr_cluster(const struct cw_manager *m);

/* Memory for call's reply. */
struct cw_mgr_arena *cw_mgr_reply_arena(struct cw_mgr_call *call);

/* Answers; the call is its owner's again. */
void cw_mgr_done(struct cw_mgr_call *call);
/* Sets the error that cw_mgr_done answers with. */
void cw_mgr_fail(struct cw_mgr_call *call, enum cw_mgr_code code, const char *object,
                 const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The manager stops before it began with a call: another may be asked the same. */
enum cw_mgr_code cw_mgr_not_begun(const struct cw_manager *m);

/* Runs what is queued on the next loop turn. */
void cw_mgr_kick(struct cw_manager *m);
/* Of a new one, or of a copy that is to have none of what the other has under way (suppose.c). */
void cw_mgr_lists_init(struct cw_manager *m);

/* After the store was read or a transaction applied. */
void cw_mgr_apply_put(struct cw_manager *m, const char *key, uint64_t version,
                      const struct cw_rec *rec);
void cw_mgr_apply_del(struct cw_manager *m, enum cw_rec_kind kind, const char *key);

/* load.c: reads everything; ends in cw_mgr_loaded. */
void cw_mgr_load(struct cw_manager *m);
void cw_mgr_loaded(struct cw_manager *m, const char *why_not);
void cw_mgr_load_forget(struct cw_manager *m);
void cw_mgr_retry_fired(struct cw_timer *t);
void cw_mgr_bootstrap(struct cw_manager *m);

/* ops.c */
void cw_mgr_ops_run(struct cw_manager *m);
void cw_mgr_ops_fail(struct cw_manager *m);

/* ---- calls, by file ---- */

typedef void mgr_call_fn(struct cw_manager *, struct cw_mgr_call *);

mgr_call_fn cw_mgr_call_register, cw_mgr_call_beat, cw_mgr_call_host_ls, cw_mgr_call_host_rm;
mgr_call_fn cw_mgr_call_client_hello;
mgr_call_fn cw_mgr_call_attach, cw_mgr_call_release, cw_mgr_call_get_volume, cw_mgr_call_change;
mgr_call_fn cw_mgr_call_volume_create, cw_mgr_call_volume_ls, cw_mgr_call_volume_show;
mgr_call_fn cw_mgr_call_volume_resize, cw_mgr_call_volume_set;
mgr_call_fn cw_mgr_call_volume_rm, cw_mgr_call_volume_restore;
mgr_call_fn cw_mgr_call_volume_recover;
mgr_call_fn cw_mgr_call_volume_verify, cw_mgr_call_job_ls, cw_mgr_call_job_cancel;
mgr_call_fn cw_mgr_call_policy_put, cw_mgr_call_policy_ls, cw_mgr_call_policy_rm;
mgr_call_fn cw_mgr_call_policy_check, cw_mgr_call_volume_explain;
mgr_call_fn cw_mgr_call_status, cw_mgr_call_event_ls;
mgr_call_fn cw_mgr_call_handover_allow, cw_mgr_call_handover_cancel, cw_mgr_call_owner_read;
mgr_call_fn cw_mgr_call_scrub_start, cw_mgr_call_disk_return;
mgr_call_fn cw_mgr_call_host_maintain, cw_mgr_call_host_return, cw_mgr_call_disk_drain;
mgr_call_fn cw_mgr_call_metadata_read, cw_mgr_call_metadata_show;
mgr_call_fn cw_mgr_call_disk_rm, cw_mgr_call_disk_add, cw_mgr_call_whatif;
mgr_call_fn cw_mgr_call_repair_ls, cw_mgr_call_repair_now, cw_mgr_call_repair_set;

/* ---- hosts.c, disks.c ---- */

/* Connected and heard from within CW_MGR_ABSENT_MS. */
bool cw_mgr_host_serves(const struct cw_manager *m, const struct mgr_host *h);
/* Of a site; "": none of its hosts names one. */
const char *cw_mgr_site_region(const struct cw_manager *m, const char *site);
void cw_mgr_hosts_tick(struct cw_manager *m);
void cw_mgr_host_gone(struct cw_manager *m, struct mgr_host *h);

/* Its host serves and it works. */
bool cw_mgr_disk_serves(const struct cw_manager *m, const struct mgr_disk *d);
/* NULL: d is, or the records lack its host. */
struct mgr_host *cw_mgr_disk_host(const struct cw_manager *m, const struct mgr_disk *d);
/* Its host is absent, or is up without it, for so long; 0: it is there, or no host's. */
uint64_t cw_mgr_disk_away_ns(const struct cw_manager *m, const struct mgr_disk *d);
void cw_mgr_disks_seen(struct cw_manager *m, struct mgr_host *h,
                       const struct cw_mgr_disk_state *disks, size_t n);
void cw_mgr_disks_registered(struct cw_manager *m, struct mgr_host *h,
                             const struct cw_mgr_disk_state *disks, size_t n);
void cw_mgr_copies_registered(struct cw_manager *m, const struct mgr_host *h,
                              const struct cw_mgr_copy_state *copies, size_t n);
void cw_mgr_copies_used(struct cw_manager *m, const struct mgr_host *h,
                        const struct cw_mgr_copy_use *uses, size_t n);
void cw_mgr_copies_bad(struct cw_manager *m, struct mgr_host *h, const struct cw_mgr_copy_bad *bads,
                       size_t n);
/* "HOST/DISK" or "SITE/HOST/DISK"; NULL: there is none. */
struct mgr_disk *cw_mgr_disk_named(const struct cw_manager *m, const char *name);
/* Some copy knows a newer record than the store has: the metadata went back. */
bool cw_mgr_shard_ahead(const struct cw_manager *m, const struct mgr_shard *s);
/* .. of one of its shards: nothing may be decided by that until the newest is back. */
bool cw_mgr_volume_behind(const struct cw_manager *m, const struct mgr_volume *v);
enum mgr_build cw_mgr_refuse_behind(struct mgr_call_op *c, const struct mgr_volume *v);
void cw_mgr_location_fill(const struct cw_manager *m, const struct cw_uuid *uuid,
                          uint64_t format_id, struct cw_mgr_location *ret);

/* The thresholds of a disk, in percent of what it may hold (docs/store.md, Space). The store has
 * the last two: from 95 on it gives no credit, from 97 on it refuses. */
#define MGR_NO_NEW_PERCENT 75u   /* no copies of new shards */
#define MGR_NEARFULL_PERCENT 80u /* a warning */
#define MGR_CROWDED_PERCENT 90u  /* no copy is rebuilt there */
uint32_t cw_mgr_disk_percent(const struct mgr_disk *d);
bool cw_mgr_disk_crowded(const struct mgr_disk *d);

/* "site/host/disk". */
void cw_mgr_disk_path(const struct cw_manager *m, const struct mgr_disk *d,
                      char path[static CW_OBJECT_SIZE]);

/* That of the disk of a copy, for people; "" if there is no such disk. */
const char *cw_mgr_copy_path(const struct cw_manager *m, const struct cw_member *mb,
                             char path[static CW_OBJECT_SIZE]);

/* Everything may have lost power: in-sync copies of hosts not seen since are waited for. */
void cw_mgr_cold_begin(struct cw_manager *m);
bool cw_mgr_volume_cold(const struct cw_manager *m, const struct mgr_volume *v);

/* How a copy stands, from what is known now. */
enum mgr_copy {
    MGR_COPY_OK,      /* its disk serves, or its host has not been silent for long */
    MGR_COPY_WAITING, /* its host is absent, or its disk stuck, for less than the repair delay */
    MGR_COPY_OVERDUE, /* .. for longer */
    MGR_COPY_GONE,    /* the disk failed, was replaced or formatted again */
};
enum mgr_copy cw_mgr_copy_state(const struct cw_manager *m, const struct cw_member *mb,
                                uint32_t repair_delay_s);
/* More than a third of the hosts are absent: it is the network, nothing is rebuilt. */
bool cw_mgr_many_absent(const struct cw_manager *m);

/* ---- ways.c ---- */

/* NULL: nothing is known of it. The same whichever site is named first. */
const struct mgr_way *cw_mgr_way(const struct cw_manager *m, const char *a, const char *b);
/* What h measured. */
void cw_mgr_ways_took(struct cw_manager *m, const struct mgr_host *h,
                      const struct cw_mgr_round_trip *trips, size_t n);
/* What h should measure. */
void cw_mgr_ways_ask(struct cw_manager *m, struct mgr_host *h, struct cw_mgr_arena *a,
                     struct cw_mgr_beat_reply *ret);
/* A resync moved so much since then. */
void cw_mgr_ways_moved(struct cw_manager *m, const struct cw_uuid *source,
                       const struct cw_uuid *target, uint64_t bytes, uint64_t since_ns);
const struct cw_mgr_site_link *cw_mgr_ways_of(const struct cw_manager *m, const char *site,
                                              struct cw_mgr_arena *a, size_t *ret_n);
/* Tells indexed disks how far their sites are from each other. */
void cw_mgr_ways_place(const struct cw_manager *m, struct cw_mgr_arena *a,
                       struct cw_place_disk *disks, size_t n);
void cw_mgr_ways_fini(struct cw_manager *m);

/* ---- policy.c, volume.c ---- */

bool cw_mgr_policy_rule(const struct cw_policy_rec *p, struct cw_place_rule *ret,
                        struct cw_mgr_error *err);
/* What q gives replaces what p has; false: it is not sane. */
bool cw_mgr_policy_take(struct cw_policy_rec *p, const struct cw_mgr_policy *q,
                        struct cw_mgr_error *err);
void cw_mgr_policy_fill(const struct cw_policy_rec *p, struct cw_mgr_arena *a,
                        struct cw_mgr_policy *ret);
/* Never NULL: that of the volume, else the default's. */
const struct cw_policy_rec *cw_mgr_volume_policy(const struct cw_manager *m,
                                                 const struct cw_volume_rec *v);
uint32_t cw_mgr_min_insync(const struct cw_policy_rec *p);

/* ---- minsync.c ---- */

/* That is in force for the volume's owner. */
uint32_t cw_mgr_volume_min_insync(const struct cw_manager *m, const struct mgr_volume *v);
void cw_mgr_minsync_tick(struct cw_manager *m);

/* The disks as placement sees them for copies of new shards, or for one in the place of a lost
 * copy; *ret_n of them, in the arena. Those that may take none are there too, not usable. */
enum mgr_place { MGR_PLACE_NEW, MGR_PLACE_LOST };
struct cw_place_disk *cw_mgr_place_disks(const struct cw_manager *m, struct cw_mgr_arena *a,
                                         enum mgr_place what, size_t *ret_n);
/* One of them; false: nobody knows where it is. Not indexed. */
bool cw_mgr_place_disk(const struct cw_manager *m, const struct mgr_disk *d, enum mgr_place what,
                       struct cw_place_disk *ret);
/* Among those of cw_mgr_place_disks; NULL: it is not there. */
struct cw_place_disk *cw_mgr_place_find(struct cw_place_disk *disks, size_t n,
                                        const struct cw_uuid *uuid);
/* Adds to the hint of a placement that failed that disks are too full, if some are. */
void cw_mgr_place_hint(const struct cw_manager *m, enum mgr_place what,
                       struct cw_place_answer *got);
/* Does the membership of every shard meet the policy? */
bool cw_mgr_volume_compliant(const struct cw_manager *m, const struct mgr_volume *v,
                             const struct cw_place_rule *rule, char why[static CW_MGR_WHY_SIZE]);
void cw_mgr_volume_fill(const struct cw_manager *m, struct mgr_volume *v, struct cw_mgr_arena *a,
                        struct cw_mgr_volume_info *ret);
struct mgr_shard *cw_mgr_shard_of(const struct cw_manager *m, const struct mgr_volume *v,
                                  uint32_t index);
uint32_t cw_mgr_volume_shards(const struct mgr_volume *v);

/* ---- attach.c, caretaker.c, repair.c, trash.c, drops.c ---- */

void cw_mgr_attach_fill(const struct cw_manager *m, const struct mgr_volume *v,
                        struct cw_mgr_arena *a, struct cw_mgr_attach_reply *ret);
/* Of every member of these shards, each once. */
const struct cw_mgr_location *cw_mgr_locations(const struct cw_manager *m,
                                               const struct cw_shard_rec *shards, size_t n_shards,
                                               struct cw_mgr_arena *a, size_t *ret_n);
/* Runs build in its turn with the volume free for the taking: nobody is heard to own it, or the
 * caller forces. */
void cw_mgr_claim(struct cw_manager *m, struct cw_mgr_call *call, uint64_t volume_id, bool force,
                  bool caretaker, mgr_build_fn *build, mgr_end_fn *ok);
/* The answer to a LET_GO that a claim may wait for. */
void cw_mgr_claim_let_go(struct cw_manager *m, const struct mgr_ask *a,
                         const struct cw_mgr_answer *answer);
void cw_mgr_claims_tick(struct cw_manager *m);
void cw_mgr_claims_fail(struct cw_manager *m);
void cw_mgr_claim_end(struct mgr_call_op *c); /* frees what the claim holds; before the reply */
/* This manager has just begun, and a host with an in-sync copy has not registered yet. */
bool cw_mgr_copies_to_come(const struct cw_manager *m, const struct mgr_volume *v);
/* The session that owns it now; NULL if none is connected. */
struct cw_mgr_session *cw_mgr_owner_session(const struct cw_manager *m, const struct mgr_volume *v);

/* ---- handover.c ---- */

bool cw_mgr_handover_open(const struct cw_manager *m, const struct mgr_volume *v);

enum mgr_need {
    MGR_NEED_NOTHING,
    MGR_NEED_TAKEOVER,
    MGR_NEED_RESYNC,
    MGR_NEED_VERIFY,
    MGR_NEED_MEND, /* copies say that blocks of theirs are bad */
};
/* Its owner is gone, and may be with a copy in sync that is away: nobody takes care of it yet. */
bool cw_mgr_care_waits(const struct cw_manager *m, const struct mgr_volume *v);
enum mgr_need cw_mgr_care_need(const struct cw_manager *m, const struct mgr_volume *v);
void cw_mgr_care_tick(struct cw_manager *m);
/* A client wants it: a daemon that was asked but has not attached is refused. */
void cw_mgr_care_cancel(struct cw_manager *m, struct mgr_volume *v);
void cw_mgr_care_failed(struct cw_manager *m, struct mgr_volume *v);
struct mgr_ask *cw_mgr_let_go(struct cw_manager *m, struct mgr_volume *v, struct cw_mgr_session *s);

void cw_mgr_repair_tick(struct cw_manager *m);
/* A member that will not come back and may be replaced. */
bool cw_mgr_repair_due(const struct cw_manager *m, const struct mgr_volume *v,
                       const struct cw_shard_rec *rec, uint32_t member);
void cw_mgr_member_remove(struct cw_shard_rec *rec, uint32_t member);
/* A disk that could take the place of this member now (CW_MEMBERS_MAX: of none, beside them);
 * false: why. */
bool cw_mgr_repair_target(const struct cw_manager *m, const struct mgr_volume *v,
                          const struct cw_shard_rec *rec, uint32_t member, struct cw_member *ret,
                          char why[static CW_MGR_WHY_SIZE]);
/* There would be one that could, if this member's own disk were not to be had. */
bool cw_mgr_repair_may_move(const struct cw_manager *m, const struct mgr_volume *v,
                            const struct cw_shard_rec *rec, uint32_t member);

/* ---- maintain.c: hosts that may go down, and what must hold before ---- */

const char *cw_mgr_maintain_name(enum cw_maintain mode);
/* Its absence is as it should be. */
bool cw_mgr_host_maintained(const struct mgr_host *h);
/* It takes no new copies: in maintenance, or about to be. */
bool cw_mgr_host_closed(const struct mgr_host *h);
/* This disk is to be emptied: it, or its host. */
bool cw_mgr_disk_leaves(const struct cw_manager *m, const struct mgr_disk *d);
/* What the copies leave: "a quarantined disk", "a disk that is drained", .. Static text. */
const char *cw_mgr_leaves_what(const struct cw_manager *m, const struct cw_member *mb);
/* The copies that this shard should have now: those of the policy, and one more for each that is
 * about to go down with its host and that it cannot serve without. */
uint32_t cw_mgr_copies_wanted(const struct cw_manager *m, const struct mgr_volume *v,
                              const struct cw_shard_rec *r);
/* The member in whose stead one more is wanted; CW_MEMBERS_MAX: none. */
uint32_t cw_mgr_member_to_go(const struct cw_manager *m, const struct cw_shard_rec *r);
/* Since when the absence of this host counts. */
uint64_t cw_mgr_absent_ns(const struct mgr_host *h);
/* In-sync copies of the shard that serve without this host; ret_there: it has one. */
uint32_t cw_mgr_insync_without(const struct cw_manager *m, const struct mgr_shard *s,
                               const struct mgr_host *h, bool *ret_there);

/* What a disk or a host still holds: of volumes that are not in the trash. d NULL: all of h's. */
struct mgr_left {
    uint32_t copies;
    uint64_t bytes; /* still to be copied elsewhere */
    uint64_t bytes_per_s;
    bool blocked;
    char why[CW_MGR_WHY_SIZE];
};
void cw_mgr_left_on(const struct cw_manager *m, const struct mgr_host *h, const struct mgr_disk *d,
                    struct mgr_left *ret);
/* What an accessible host waits for. */
void cw_mgr_left_accessible(const struct cw_manager *m, const struct mgr_host *h,
                            struct mgr_left *ret);
/* One of the two, or nothing, by mode. */
void cw_mgr_maintain_left(const struct cw_manager *m, const struct mgr_host *h,
                          enum cw_maintain mode, struct mgr_left *ret);
/* What another copy of the shard has to get yet. */
uint64_t cw_mgr_bytes_to_copy(const struct mgr_shard *s);
/* This maintenance and that of another host together take service away. */
bool cw_mgr_maintain_clash(const struct cw_manager *m, const struct mgr_host *h,
                           enum cw_maintain mode, char why[static CW_MGR_WHY_SIZE]);
void cw_mgr_txn_return(struct mgr_txn *t, const struct mgr_host *h);
/* rec is d's, to be put by the caller. */
void cw_mgr_txn_undrain(struct mgr_txn *t, const struct mgr_disk *d, struct cw_rec *rec);

/* ---- plan.c: what would be done, and what would be then ---- */

void cw_mgr_plan_host(const struct cw_manager *m, const struct mgr_host *h, enum cw_maintain mode,
                      struct cw_mgr_arena *a, struct cw_mgr_plan *ret);
void cw_mgr_plan_disk(const struct cw_manager *m, const struct mgr_disk *d, struct cw_mgr_arena *a,
                      struct cw_mgr_plan *ret);

/* ---- repairs.c: an operator's word about repair ---- */

bool cw_mgr_repair_paused(const struct cw_manager *m);
/* How long an absent copy of it is waited for: the policy's repair delay, or not at all when an
 * operator said so, or when a host may not go down before. */
uint32_t cw_mgr_repair_delay_s(const struct cw_manager *m, const struct mgr_volume *v);

/* ---- work.c: jobs that the records know ---- */

struct cw_job_rec *cw_mgr_txn_job(struct mgr_txn *t, enum cw_job_kind kind, const char *object,
                                  const char *code, const char *why);
/* Ends every open one of that kind and object. */
void cw_mgr_txn_job_end(struct mgr_txn *t, enum cw_job_kind kind, const char *object,
                        enum cw_job_end end, const char *why);
/* The open one; NULL: none. */
struct mgr_work *cw_mgr_work_open(const struct cw_manager *m, enum cw_job_kind kind,
                                  const char *object);
struct mgr_work *cw_mgr_work_find(const struct cw_manager *m, uint64_t id);
struct cw_job_rec *cw_mgr_txn_work_end(struct mgr_txn *t, const struct mgr_work *w,
                                       enum cw_job_end end, const char *why);
void cw_mgr_work_tick(struct cw_manager *m);
void cw_mgr_work_fill(const struct mgr_work *w, struct cw_mgr_arena *a,
                      struct cw_mgr_job_info *ret);
/* Takes the call over. */
void cw_mgr_work_cancel(struct cw_manager *m, struct cw_mgr_call *call);

/* ---- unborn.c: volumes that nobody ever had: their copies are empty, any disk is as good ---- */

void cw_mgr_unborn_tick(struct cw_manager *m);
bool cw_mgr_volume_unborn(const struct mgr_volume *v);

/* ---- suppose.c: the same deciders, on a copy of what is known ---- */

struct mgr_health;

struct mgr_if {
    struct cw_manager x; /* for const functions only: it has no sessions, calls, ops */
    const struct cw_manager *m;
    struct cw_mgr_arena *arena;
};

/* Of m as it is now; nothing done to it is felt by m, which must not change meanwhile. */
void cw_mgr_if_init(struct mgr_if *f, const struct cw_manager *m);
void cw_mgr_if_fini(struct mgr_if *f);
/* The same objects in f, to be changed. The volume comes with its shards and replaces the one that
 * was asked for before. */
struct mgr_host *cw_mgr_if_host(struct mgr_if *f, const struct mgr_host *h);
struct mgr_disk *cw_mgr_if_disk(struct mgr_if *f, const struct mgr_disk *d);
struct mgr_volume *cw_mgr_if_volume(struct mgr_if *f, const struct mgr_volume *v);
/* It falls silent. */
void cw_mgr_if_host_down(struct mgr_if *f, struct mgr_host *h);
/* A copy in the stead of that member (CW_MEMBERS_MAX: one more) is made and in sync, if there is a
 * place: ret_bytes were copied for it. False: why not. */
bool cw_mgr_if_place(struct mgr_if *f, struct mgr_volume *v, struct mgr_shard *s, uint32_t member,
                     bool keep, uint64_t *ret_bytes, char why[static CW_MGR_WHY_SIZE]);
/* The word of f's volume. */
void cw_mgr_if_judge(struct mgr_if *f, struct mgr_volume *v, struct mgr_health *ret);

/* ---- compression.c ---- */

enum cw_compression cw_mgr_policy_compression(const struct cw_policy_rec *p);
void cw_mgr_compression_tick(struct cw_manager *m);

/* ---- quarantine.c: disks with too many bad blocks are emptied, and those that are to leave ----
 */

/* This member lies on one. */
bool cw_mgr_member_quarantined(const struct cw_manager *m, const struct cw_member *mb);
/* "": it is not. Static text. */
const char *cw_mgr_quarantine_why(const struct cw_disk_rec *r);
/* For a transaction that puts rec, which is d's. */
void cw_mgr_quarantine_begin(struct mgr_txn *t, const struct mgr_disk *d, struct cw_rec *rec,
                             enum cw_quarantine by);
/* The store counts its storms, this manager answers each once. */
void cw_mgr_quarantine_note(struct cw_manager *m, struct mgr_disk *d);

/* ---- moves.c: copies go where the policy, their disk and the load want them ---- */

/* Its disk is to be emptied: it is quarantined. */
bool cw_mgr_member_leaves(const struct cw_manager *m, const struct cw_member *mb);
/* It is in sync, whole as far as is known, and takes reads and writes now. */
bool cw_mgr_member_holds(const struct cw_manager *m, const struct mgr_shard *s, uint32_t i);
/* Enough other members stay: this one is not to be replaced. */
bool cw_mgr_member_surplus(const struct cw_manager *m, const struct mgr_volume *v,
                           const struct cw_shard_rec *r, uint32_t member);

/* What becomes of the copies of a shard. */
struct mgr_plan {
    bool settled;        /* there are just the copies that the rule asks for; all stay */
    bool met;            /* the rule will hold; else why not, and what would help */
    uint32_t keep, hold; /* bit per member: stays; stays for want of a better place */
    uint32_t n_add;
    struct cw_member add[CW_PLACE_COPIES_MAX];
    char why[CW_PLACE_WHY_SIZE], hint[CW_PLACE_WHY_SIZE];
};
/* disks: all of them, of place_disks; NULL: they are looked up if it is not settled. */
void cw_mgr_plan(const struct cw_manager *m, const struct mgr_shard *s,
                 const struct cw_place_rule *rule, struct cw_place_disk *disks, size_t n_disks,
                 struct mgr_plan *ret);
/* The member that its owner should be asked to let go now; CW_MEMBERS_MAX: none. As of the last
 * look of the tick. */
uint32_t cw_mgr_evict_due(const struct mgr_shard *s);
/* Asks for it, if there is an owner and it was not asked just now. */
void cw_mgr_evict_ask(struct cw_manager *m, const struct mgr_volume *v, struct mgr_shard *s,
                      uint32_t member);
void cw_mgr_moves_tick(struct cw_manager *m);
/* Can the cluster give the volume copies by this rule now? False: why not. */
bool cw_mgr_moves_possible(const struct cw_manager *m, const struct mgr_volume *v,
                           const struct cw_place_rule *rule, const char *async,
                           struct cw_place_disk *disks, size_t n_disks, struct mgr_plan *ret);
/* What is being done for a volume that does not comply. */
void cw_mgr_moves_doing(const struct cw_manager *m, const struct mgr_volume *v,
                        const struct cw_place_rule *rule, char *text, size_t size);

/* ---- removed.c: disks that were removed stay so ---- */

/* NULL: that store was not removed, or formatted anew since. */
struct mgr_removed *cw_mgr_find_removed(const struct cw_manager *m, const struct cw_uuid *uuid,
                                        uint64_t format_id);
/* d is removed by this transaction. */
void cw_mgr_txn_removed(struct mgr_txn *t, const struct mgr_disk *d);
/* A host registers with a store; true: it was removed, and is not to be added. */
bool cw_mgr_txn_removed_seen(struct mgr_txn *t, const char *host,
                             const struct cw_mgr_disk_state *ds);
/* It registered with these. */
void cw_mgr_removed_registered(struct cw_manager *m, const struct mgr_host *h,
                               const struct cw_mgr_disk_state *disks, size_t n);
/* The record of x is new, or goes: its daemon is to register again. */
void cw_mgr_removed_applied(struct cw_manager *m, const struct mgr_removed *x);
/* Those that its daemon has open, at most as many as there are; returns how many. */
size_t cw_mgr_removed_fill(const struct cw_manager *m, const struct mgr_host *h,
                           struct cw_mgr_arena *a, struct cw_mgr_disk_state *to);

/* ---- rebalance.c ---- */

void cw_mgr_rebalance_tick(struct cw_manager *m);

/* ---- flaps.c: disks whose links come and go ---- */

/* An owner says that it lost this disk for a moment while others answered it. */
void cw_mgr_flaps_told(struct cw_manager *m, struct mgr_disk *d, const struct cw_uuid *owner);
/* A daemon that began anew is the reason for whatever was told before. */
void cw_mgr_flaps_forget(struct cw_manager *m, const struct mgr_host *h);

/* ---- journal.c: where copies are too few, new writes are kept on a spare disk too ---- */

#define MGR_JOURNAL_AGAIN_NS (30 * CW_NS_PER_S) /* after one that could not begin */

/* The member that is one; CW_MEMBERS_MAX: none. */
uint32_t cw_mgr_journal_of(const struct cw_shard_rec *r);
/* It is not needed: that many copies are in sync. */
bool cw_mgr_journal_idle(const struct cw_manager *m, const struct mgr_volume *v, uint32_t n_insync);
void cw_mgr_journal_tick(struct cw_manager *m);

/* ---- backup.c: copies of the records on two hosts ---- */

void cw_mgr_backup_tick(struct cw_manager *m);
/* The records changed. */
void cw_mgr_backup_note(struct cw_manager *m);
/* Before any call: notes in the records that they come from a backup, if they do. */
void cw_mgr_backup_restored(struct cw_manager *m);
void cw_mgr_backup_session_down(struct cw_manager *m, struct cw_mgr_session *s);
void cw_mgr_backup_fini(struct cw_manager *m);
const struct cw_mgr_metadata_place *cw_mgr_backup_places(const struct cw_manager *m,
                                                         struct cw_mgr_arena *a, size_t *ret_n);
/* Fewer hosts than there should be keep records of the last minutes: why; false: enough do. */
bool cw_mgr_backup_lacks(const struct cw_manager *m, char why[static CW_MGR_WHY_SIZE]);
/* This host keeps records that are newer than those in force. */
bool cw_mgr_backup_ahead(const struct cw_manager *m, const struct mgr_host *h);

/* Its owner on session s reports this size, which may be an older one. (volume.c) */
void cw_mgr_resize_again(struct cw_manager *m, struct cw_mgr_session *s, struct mgr_volume *v,
                         uint64_t size_bytes);

void cw_mgr_trash_tick(struct cw_manager *m);
/* The record of a volume is another than old, which is NULL if there was none. */
void cw_mgr_trash_applied(struct cw_manager *m, struct mgr_volume *v,
                          const struct cw_volume_rec *old);
void cw_mgr_drops_tick(struct cw_manager *m);
void cw_mgr_drops_again(struct cw_manager *m, const struct mgr_host *h);
void cw_mgr_txn_drop(struct mgr_txn *t, const struct cw_member *mb, uint64_t shard);
bool cw_mgr_drop_pending(const struct cw_manager *m, uint64_t shard, const struct cw_uuid *disk);
/* Its host says that it holds a copy of that shard there, which no record names. */
void cw_mgr_drops_told(struct cw_manager *m, struct mgr_disk *d, uint64_t shard);

/* ---- async.c ---- */

/* One of the copies that the policy's `copies` counts: no journal, and none that only follows. */
bool cw_mgr_member_counts(const struct cw_member *mb);
uint32_t cw_mgr_count_copies(const struct cw_shard_rec *r);
/* The one that follows; CW_MEMBERS_MAX: none. */
uint32_t cw_mgr_async_of(const struct cw_shard_rec *r);
/* A policy's async; site "": none. False: it makes no sense. */
bool cw_mgr_async_parse(const char *text, char site[static CW_NAME_SIZE], uint32_t *ret_rpo_s);
/* Does a policy with that async want one to follow where mb is? */
bool cw_mgr_async_wanted(const struct cw_manager *m, const struct cw_member *mb, const char *async);
uint64_t cw_mgr_async_rpo_ns(const struct cw_manager *m, const struct mgr_volume *v);
/* A place in that site beside those of r (NULL: of no shard). False: why not. */
bool cw_mgr_async_target(const struct cw_manager *m, const char *site, const struct cw_shard_rec *r,
                         struct cw_member *ret, char why[static CW_MGR_WHY_SIZE]);
/* Its owner, or a caretaker, is to let it go. */
bool cw_mgr_async_leaves(const struct cw_manager *m, const struct mgr_volume *v,
                         const struct mgr_shard *s);
void cw_mgr_async_tick(struct cw_manager *m);
/* Does one follow where the policy wants it? */
bool cw_mgr_async_met(const struct cw_manager *m, const struct mgr_volume *v,
                      char why[static CW_MGR_WHY_SIZE]);
/* It does not follow, or by more than the policy's rpo. */
bool cw_mgr_async_behind(const struct cw_manager *m, const struct mgr_volume *v,
                         const struct mgr_shard *s, char why[static CW_MGR_WHY_SIZE]);

/* ---- slow.c ---- */

/* At every look for findings. */
void cw_mgr_slow_look(struct cw_manager *m);
/* It was for a minute. */
bool cw_mgr_disk_slow(const struct cw_manager *m, const struct mgr_disk *d);

/* ---- health.c, findings.c, jobs.c, events.c ---- */

enum mgr_word {
    MGR_FULL,
    MGR_REDUCED_WAITING,
    MGR_REDUCED_REBUILDING,
    MGR_REDUCED_STUCK,
    MGR_AT_RISK,
    MGR_SUSPENDED,
    MGR_UNAVAILABLE,
    MGR_LOST,
    MGR_N_WORDS,
};

struct mgr_health {
    enum mgr_word word;
    char why[CW_MGR_WHY_SIZE];
    char next[CW_MGR_WHY_SIZE];
    uint64_t eta_s;
};

const char *cw_mgr_word_name(enum mgr_word w);
bool cw_mgr_report_fresh(const struct cw_manager *m, const struct mgr_volume *v);
/* Its owner says that some shard waits. */
bool cw_mgr_volume_suspended(const struct cw_manager *m, const struct mgr_volume *v);
void cw_mgr_volume_health(const struct cw_manager *m, const struct mgr_volume *v,
                          struct mgr_health *ret);

struct mgr_finding {
    struct cw_list link;
    bool seen; /* in the look under way */
    bool error;
    uint64_t since_s;
    char code[CW_EVENT_CODE_SIZE];
    char object[CW_OBJECT_SIZE];
    char cause[CW_MGR_WHY_SIZE], effect[CW_MGR_WHY_SIZE], next[CW_MGR_WHY_SIZE],
        command[CW_MGR_WHY_SIZE];
};

void cw_mgr_findings_look(struct cw_manager *m);
void cw_mgr_findings_tick(struct cw_manager *m);
void cw_mgr_findings_fini(struct cw_manager *m);

void cw_mgr_jobs_tick(struct cw_manager *m);
void cw_mgr_jobs_fini(struct cw_manager *m);
/* Those that were open when the last manager ended. */
void cw_mgr_jobs_resume(struct cw_manager *m);
/* A verify of this volume that is not over. */
bool cw_mgr_jobs_want(const struct cw_manager *m, uint64_t volume_id);
void cw_mgr_events_new(struct cw_manager *m);
void cw_mgr_events_tick(struct cw_manager *m);
void cw_mgr_events_fail(struct cw_manager *m);
