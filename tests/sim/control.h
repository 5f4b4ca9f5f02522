/* sim/control.h - the control plane of a run that has real managers.
 *
 *   kv       the metadata store: linearizable, one leader's transactions, faults of its own
 *   mgr      m0 and m1: processes with the real manager over kv while they lead, or think so
 *   ctl      a control connection: messages in order until it breaks, deeply copied
 *   peer     its other end: tries the managers in turn, repeats or gives up calls
 *   host     the peer of a daemon: registers, beats, answers what it is asked (host.c)
 *   lib      the peer of a client: attaches, changes, releases, reports (lib.c)
 *
 * The register of the other runs (sim->reg) is the mirror of what the store holds, so that audits
 * and plays look at one truth. What the store is told is judged as it takes effect (kvjudge.c).
 */
#pragma once

#include "daemon/manager/manager.h"
#include "tests/sim/sim.h"

#define SIM_MANAGERS 2u
#define SIM_ASKED 64u /* changes that owners asked for last */
#define SIM_VOLUME_NAME "v"

/* ---- the metadata store ---- */

struct sim_kv_row;

struct sim_kv {
    struct sim_kv_row *rows; /* ascending by key */
    uint64_t version;
    uint64_t term;          /* of the leader; compared by every transaction */
    uint64_t away_until_ns; /* without a quorum */
    uint32_t lose_256ths;   /* of transactions end in UNKNOWN */
    struct cw_list reqs;
    struct sim_kv_row *saved; /* a copy for whoever wants it back */
    uint32_t saved_gen, saved_cfg;
    bool behind; /* that older copy is the store now: sim->reg is what it had been */
};

struct sim_mgr;

void sim_kv_init(struct sim *sim);
void sim_kv_fini(struct sim *sim);
bool sim_kv_has(const struct sim *sim, const char *key);
/* While no manager is up: the store is kept as it is; what was kept takes its place, and it the
 * place of what was kept. */
void sim_kv_save(struct sim *sim);
void sim_kv_swap(struct sim *sim);
/* The store's client of a manager that was elected with this term. */
void sim_kv_seat(struct sim_mgr *m);

/* ---- managers ---- */

struct sim_mgr {
    struct sim_proc proc;
    struct cw_kv kv;
    uint64_t term;        /* it was elected with */
    bool cut;             /* does not reach the store */
    bool stubborn;        /* never learns that it was deposed */
    struct cw_manager *m; /* NULL: stands by */
    bool serves, dying;
    int64_t wall_off_s; /* its wall clock is wrong by that; nothing may depend on it */
    uint64_t well_ns;   /* it could renew its lease then */
    uint64_t notice_ns; /* it learns then that it was deposed; 0: it was not, or is unwell */
    struct cw_list calls;
    struct cw_timer look; /* asks that nobody answered */
};

void sim_mgr_kill(struct sim_mgr *m);
/* Its wall clock is set, by somebody who errs by an hour at most. */
void sim_mgr_wall_jump(struct sim_mgr *m);

/* ---- connections ---- */

enum sim_msg_kind {
    SIM_MSG_CALL,
    SIM_MSG_REPLY,
    SIM_MSG_ASK,
    SIM_MSG_ANSWER,
    SIM_MSG_HINT,
    SIM_MSG_REPORT,
    SIM_MSG_END, /* the other side hung up */
};

#define SIM_MSG_COPIES 4u
#define SIM_MSG_TEXT 64u

/* One message of any kind, flat: it may be copied. */
struct sim_msg {
    struct cw_list node;
    enum sim_msg_kind kind;
    uint64_t due_ns;
    uint64_t serial; /* of the call or ask */

    /* CALL */
    enum cw_mgr_call_kind call;
    char name[SIM_MSG_TEXT], addr[SIM_MSG_TEXT], why[CW_OWNER_WHY_SIZE];
    struct cw_uuid id, boot_id, cluster_id;
    uint64_t incarnation, up_ms;
    struct cw_mgr_disk_state disk;
    struct cw_mgr_copy_state copies[SIM_MSG_COPIES];
    struct cw_mgr_copy_bad bads[SIM_MSG_COPIES];
    uint32_t n_copies, n_bads, n_uses;
    bool force, caretaker;
    enum cw_mgr_intent intent;
    uint32_t cfg, n_want;
    struct cw_member want[CW_MEMBERS_MAX];

    /* REPLY, ANSWER */
    enum cw_mgr_code code;
    char text[CW_MGR_WHY_SIZE];
    bool released, cold, applied, seen;
    uint32_t min_insync, n_refused;
    int32_t degrade_s;
    bool ack_replicated;
    uint64_t silent_ms;

    /* ASK, and what several have */
    enum cw_mgr_ask_kind ask;
    uint64_t volume, shard, job, size_bytes;
    uint32_t gen;
    bool cancel, up;
    struct cw_uuid disk_uuid;
    uint64_t shards[SIM_MSG_COPIES];
    uint32_t n_shards;
    struct cw_shard_rec recs[SIM_SHARDS_MAX]; /* of a change: one */
    uint32_t n_recs;
    struct cw_disk_location disks[SIM_DAEMONS_MAX + 1];
    uint32_t n_disks;

    /* REPORT */
    struct cw_volume_report report;
    struct cw_shard_report shard_reports[SIM_SHARDS_MAX];
    uint32_t n_shard_reports;
};

enum sim_way { SIM_TO_MANAGER, SIM_TO_PEER };

struct sim_peer;

struct sim_ctl {
    struct cw_list node;
    struct sim *sim;
    struct sim_mgr *mgr;
    struct sim_peer *peer;
    struct cw_mgr_session *session; /* NULL: over at the manager's end */
    bool peer_open;
    struct cw_list msgs[2];
    uint64_t last_ns[2];
    struct cw_timer timer[2];
    struct cw_list asks;
    uint64_t stalled_ns; /* nothing gets through since; 0 */
};

struct sim_msg *sim_msg_new(enum sim_msg_kind kind);
void sim_ctl_send(struct sim_ctl *c, enum sim_way way, struct sim_msg *take_msg);
/* That end hangs up, or dies. */
void sim_ctl_close(struct sim_ctl *c, enum sim_way end_of);
/* Connections that are stalled for long break. */
void sim_ctl_look(struct sim *sim);
void sim_ctl_cut_all(struct sim *sim);
void sim_ctl_free_all(struct sim *sim);

/* The manager's end (manager-calls.c). */
void sim_mgr_deliver(struct sim_ctl *c, struct sim_msg *take_msg);
void sim_mgr_end(struct sim_ctl *c);
extern const struct cw_mgr_ops sim_mgr_ops;
void sim_mgr_asks_look(struct sim_mgr *m);
void sim_mgr_calls_free(struct sim_mgr *m);

/* ---- peers ---- */

struct sim_peer_call {
    struct cw_list node;
    struct sim_msg *msg; /* a copy is sent */
    uint64_t until_ns;   /* on its own clock */
    bool sent, repeat;
    /* reply NULL: none came, and none will. */
    void (*done)(struct sim_peer *, const struct sim_msg *reply, void *arg);
    void *arg;
};

struct sim_peer_ops {
    void (*up)(struct sim_peer *); /* connected: speaks first */
    void (*down)(struct sim_peer *);
    void (*push)(struct sim_peer *, const struct sim_msg *); /* an ask or a hint */
    void (*tick)(struct sim_peer *);
    void (*desc)(struct sim_peer *, const struct cw_volume_desc *); /* read again; may be NULL */
};

struct sim_peer {
    struct sim_proc *proc;
    const struct sim_peer_ops *ops;
    struct sim_ctl *ctl; /* NULL: not connected */
    bool dialling;
    uint32_t next_mgr;
    uint64_t serial;
    struct cw_list calls;
    struct cw_timer tick;
};

void sim_peer_init(struct sim_peer *p, struct sim_proc *proc, const struct sim_peer_ops *ops);
void sim_peer_start(struct sim_peer *p);
/* Its process dies. */
void sim_peer_stop(struct sim_peer *p);
void sim_peer_call(struct sim_peer *p, struct sim_msg *take_msg, uint64_t timeout_ms, bool repeat,
                   void (*done)(struct sim_peer *, const struct sim_msg *, void *), void *arg);
/* Dropped when not connected. */
void sim_peer_send(struct sim_peer *p, struct sim_msg *take_msg);
void sim_peer_answer(struct sim_peer *p, const struct sim_msg *ask, enum cw_mgr_code code);
struct sim_peer *sim_lib_peer(struct sim_client *c);
/* The calls of an owner in that process. */
void sim_owner_change(struct sim_peer *p, struct cw_change *ch);
void sim_owner_get(struct sim_peer *p, struct cw_volume_get *g);
void sim_owner_release(struct sim_peer *p, struct cw_volume_give_up *g);
/* Tells of all its shards. */
struct sim_msg *sim_owner_report(const struct cw_volume *v, uint32_t n_shards);
/* What an attach was granted; points into m. */
void sim_desc_in(const struct sim_msg *m, struct cw_volume_desc *to);
/* The peer's end of a connection. */
void sim_peer_deliver(struct sim_ctl *c, struct sim_msg *take_msg);
void sim_peer_end(struct sim_ctl *c);

/* ---- caretakers: an owner in a daemon (care.c) ---- */

struct sim_care;
struct sim_care *sim_host_care(const struct sim_daemon *d);
struct sim_care *sim_care_new(struct sim_daemon *d, struct sim_peer *peer);
/* With the daemon's process. */
void sim_care_start(struct sim_care *c);
void sim_care_stop(struct sim_care *c);
bool sim_care_is_idle(const struct sim_care *c);
/* CARETAKE, LET_GO, EVICT, RESIZED, or a hint. */
void sim_care_push(struct sim_care *c, const struct sim_msg *m);
void sim_care_tick(struct sim_care *c);
void sim_care_turn_end(struct sim_care *c);
void sim_care_check(const struct sim_care *c);

/* It hangs up and tries that manager next. */
void sim_host_turn_to(struct sim_daemon *d, const struct sim_mgr *m);
/* Which copies hear the owner now? */
void sim_mgr_look_heard(struct sim *sim);
/* The leader loses its lease and does not know. */
void sim_mgr_depose(struct sim *sim);
/* For a while. */
void sim_mgr_kill_leader(struct sim *sim);
/* A call of an operator to that manager, which is waited for: not from inside a step. */
enum cw_mgr_code sim_operate(struct sim *sim, struct sim_mgr *m, enum cw_mgr_call_kind kind,
                             const union cw_mgr_request *req);
/* .. whose answer is looked at, if it is a good one. */
typedef void sim_look_fn(struct sim *sim, const union cw_mgr_reply *reply);
enum cw_mgr_code sim_operate_look(struct sim *sim, struct sim_mgr *m, enum cw_mgr_call_kind kind,
                                  const union cw_mgr_request *req, sim_look_fn *look);
void sim_op_calls_free(struct sim *sim);

/* ---- what is judged ---- */

struct sim_asked {
    uint64_t shard;
    uint32_t gen, cfg, n_want;
    struct cw_member want[CW_MEMBERS_MAX];
};

struct sim_grant {
    uint32_t gen;
    bool released; /* by the owner before */
};

/* A transaction was applied: old NULL: the record is new; now NULL: it is gone. */
void sim_kv_judge(struct sim *sim, const struct cw_rec *old, const struct cw_rec *now);
void sim_kv_asked(struct sim *sim, const struct cw_change *ch);
void sim_kv_given_up(struct sim *sim, uint32_t gen);
/* What an owner, or who becomes one, is told: no more than the store holds. */
void sim_kv_told_grant(struct sim *sim, const struct sim_proc *whom, const struct sim_msg *m);
void sim_kv_told_record(struct sim *sim, const struct sim_proc *whom, const struct sim_msg *m);

/* ---- a fault at a step of a hand-over (rows-handover.c) ---- */

enum sim_handover_step {
    SIM_HAND_ASKED,      /* the target asks for the volume */
    SIM_HAND_LET_GO,     /* the manager asks the owner, which does not know yet */
    SIM_HAND_DRAINS,     /* the owner knows */
    SIM_HAND_RELEASE,    /* it has drained, its Release is on the way */
    SIM_HAND_NO_RELEASE, /* .. and is lost */
    SIM_HAND_APPLIED,    /* the Release is applied, the reply on the way */
    SIM_HAND_NO_REPLY,   /* .. and is lost */
    SIM_HAND_GRANTED,    /* the target's reply is on the way */
    SIM_HAND_NO_GRANT,   /* .. and is lost */
    SIM_HAND_N_STEPS,
};

enum sim_handover_fault {
    SIM_HAND_NO_FAULT,
    SIM_HAND_KILL_SOURCE,
    SIM_HAND_PAUSE_SOURCE,
    SIM_HAND_CUT_SOURCE,    /* from the managers */
    SIM_HAND_STRAND_SOURCE, /* from the copies */
    SIM_HAND_ONE_COPY,      /* .. from one of them */
    SIM_HAND_SPLIT,         /* it reaches one copy alone, which reaches nobody else */
    SIM_HAND_KILL_COPY,
    SIM_HAND_FAILOVER,
    SIM_HAND_DEPOSE,
    SIM_HAND_KILL_TARGET,
    SIM_HAND_PAUSE_TARGET,
    SIM_HAND_N_FAULTS,
};

struct sim_strike {
    bool armed, over;
    enum sim_handover_step step;
    enum sim_handover_fault fault;
    struct sim_client *source, *target;
};

/* ---- the whole ---- */

struct sim_control {
    struct sim_kv kv;
    struct sim_mgr mgrs[SIM_MANAGERS];
    struct sim_mgr *leader; /* elected last */
    uint64_t lease_ns;      /* until another is elected */
    bool settled;           /* the volume is there: faults may come */
    struct cw_list ctls, old_ctls;
    struct sim_asked asked[SIM_ASKED];
    uint32_t n_asked;
    uint32_t given_up; /* generation of the last release that was asked for by its owner */
    struct sim_grant grants[SIM_ASKED];
    /* A daemon's copy hears the present owner, and managers the daemon, since; 0: no. */
    uint64_t heard_ns[SIM_DAEMONS_MAX];
    struct sim_client *heard; /* the owner that is spoken of */
    uint32_t force_percent;   /* of attaches */
    uint32_t repair_delay_s;
    uint64_t operate_ns; /* between an operator's deeds; 0: there is none */
    struct cw_list op_calls;
    struct sim_strike strike;
    /* of a scenario: a message is sent, or (arrives) is about to be delivered */
    void (*on_msg)(struct sim_ctl *, enum sim_way, const struct sim_msg *, bool arrives);
    struct cw_uuid cluster_id;
    bool may_recover; /* an operator said that what is in sync is lost for good */
};
