/* owner/owner.h - the data path of a volume's owner: sequence, acks, lease, takeover, reads,
 * resync.
 *
 *     attach at the manager --> cw_volume_open --> takeover of every shard --> on_ready
 *     cw_io_submit --> sequence, one frame to every member --> acks pass it --> done
 *     cw_volume_release --> drain, CLOSE, release at the manager --> on_released
 *
 * A decider without I/O of its own: it sees a struct cw_env, links, a buffer pool and the world
 * below, so the simulator drives this very code. One thread; nothing here blocks. The rules:
 * replication.md.
 *
 * Every callback into the user of this room (io->done, volume events, verify progress) runs from
 * cw_owner_turn_end and from nowhere else, so it may submit, open, release or free at will. Calls
 * to the world may come from any entry point; the world answers later, never from inside them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/base/env.h"
#include "common/base/link.h"
#include "common/base/list.h"
#include "common/base/uuid.h"
#include "common/codec/shardrec.h"
#include "common/mem/buf.h"
#include "proto/wire.h"

#define CW_OWNER_NAME_SIZE 64
#define CW_OWNER_WHY_SIZE 128

struct cw_owner;  /* one per loop thread */
struct cw_volume; /* an attached volume */

/* ---- where things are ---- */

struct cw_locality {
    char site[CW_OWNER_NAME_SIZE], rack[CW_OWNER_NAME_SIZE],
        host[CW_OWNER_NAME_SIZE]; /* "": unknown */
    struct cw_uuid boot_id;       /* of the machine */
};

/* A disk, as the manager knows it; identity is disk_uuid with format_id, never the address. */
struct cw_disk_location {
    struct cw_uuid disk_uuid;
    uint64_t format_id;
    struct cw_locality at; /* boot_id equal to ours: unix_path is usable */
    char addr[80];         /* "host:port" */
    char unix_path[104];   /* "" if there is none */
    bool up;               /* the manager's view, a hint */
    bool crowded;          /* too full: no resync towards it begins */
};

/* ---- what the manager said about a volume: AttachReply in plain C ---- */

struct cw_volume_desc {
    uint64_t id;
    char name[CW_OWNER_NAME_SIZE];
    uint64_t size_bytes;                  /* a multiple of 4096 */
    uint32_t gen;                         /* granted to us by the attach */
    bool released;                        /* the last owner released cleanly: no lease wait (I11) */
    bool cold_start;                      /* wait T_boot for the in-sync copies */
    uint32_t min_insync;                  /* >= 1 */
    int32_t degrade_s;                    /* after so long below min_insync it becomes 1; -1 off */
    uint64_t iops_limit, bandwidth_limit; /* per second, the latter in bytes; 0: none (limit.h) */
    bool quorum_loss_error; /* what cannot be served fails with -EIO instead of waiting */
    bool space_full_error;  /* writes without space credit fail with -ENOSPC instead of waiting */
    bool ack_replicated;    /* writes complete in the memory of every in-sync copy; FLUSH waits for
                             * its media */
    uint64_t resync_limit;  /* bytes per second of all resyncs of this owner; 0: none */
    bool resync_paused;     /* none begins or goes on, of any volume; the newest word stands */
    const struct cw_shard_rec *shards; /* ascending index, no gaps; borrowed for the call */
    uint32_t n_shards;
    const struct cw_disk_location *disks; /* of every member; borrowed for the call */
    uint32_t n_disks;
};

/* ---- calls to the manager ---- */

enum cw_call_res {
    CW_CALL_OK = 0, /* Change: this very request was applied */
    CW_CALL_REFUSED =
        1, /* it was not applied by this request: conflict, last copy, no such volume */
    CW_CALL_UNKNOWN = 2, /* no answer: it may have happened, may still happen, or not */
};

/* A compare-and-set on one shard record. The owner's memory; its address holds until done. The
 * world fills in the answer and calls `done` exactly once, never from inside ops->change. It may
 * try again by itself only while it is certain that the request was never sent; else it answers
 * UNKNOWN within about 3 s. */
struct cw_change {
    uint64_t volume;
    uint32_t gen; /* compared with the volume's */
    uint32_t cfg; /* compared with the shard's */
    uint64_t shard;
    uint32_t n_want; /* 0: a withdrawal, raises cfg and changes nothing else */
    struct cw_member want[CW_MEMBERS_MAX]; /* only members that change, in their new state */
    char why[CW_OWNER_WHY_SIZE];

    /* answer */
    enum cw_call_res res;
    bool has_rec;        /* the reply carried the record as it is now: rec and volume_gen are set */
    uint32_t volume_gen; /* above gen: we are fenced */
    struct cw_shard_rec rec;
    const struct cw_disk_location *disks; /* borrowed during done; may be NULL */
    uint32_t n_disks;

    void (*done)(struct cw_change *);
    struct cw_list link; /* the world's while under way */
    uint64_t priv[4];    /* the world's while under way */
};

/* Reads the records again (GetVolume), changes nothing. */
struct cw_volume_get {
    uint64_t volume;

    /* answer */
    enum cw_call_res res;              /* REFUSED: there is no such volume */
    const struct cw_volume_desc *desc; /* OK: borrowed during done; gen is the volume's gen now */

    void (*done)(struct cw_volume_get *);
    struct cw_list link;
    uint64_t priv[4];
};

struct cw_volume_give_up {
    uint64_t volume;
    uint32_t gen;

    enum cw_call_res res; /* REFUSED: gen is not the volume's any more */

    void (*done)(struct cw_volume_give_up *);
    struct cw_list link;
    uint64_t priv[4];
};

/* ---- the world ---- */

struct cw_owner_ops {
    /* A data link to that disk's replica, HELLO done. Answered exactly once, later, by
     * cw_owner_on_link_up or cw_owner_on_connect_failed; within 10 s. `to` is borrowed for the
     * call. At most one request per disk is under way; the owner decides when to try again. */
    void (*connect)(void *world, const struct cw_disk_location *to);
    void (*change)(void *world, struct cw_change *);
    void (*get_volume)(void *world, struct cw_volume_get *);
    void (*release)(void *world, struct cw_volume_give_up *);
};

/* Zero fields take the default. */
struct cw_owner_tuning {
    uint64_t lease_ns;           /* L, 2 s */
    uint64_t heartbeat_ns;       /* 500 ms */
    uint64_t eject_ns;           /* T_eject, 3 s */
    uint64_t seal_ns;            /* T_seal, 1 s */
    uint64_t boot_ns;            /* T_boot, 120 s */
    uint64_t read_timeout_ns;    /* 1 s, then another copy is asked as well */
    uint64_t reconnect_min_ns;   /* 20 ms, doubles up to .. */
    uint64_t reconnect_max_ns;   /* .. 1 s */
    uint64_t flap_min_ns;        /* 1 s, doubles up to .. before a copy is added again .. */
    uint64_t flap_max_ns;        /* .. 600 s; forgotten after an hour in sync */
    uint64_t idle_close_ns;      /* 60 s without shards */
    uint64_t retain_bytes;       /* retransmit buffers of all shards together, 64 MiB */
    uint64_t resync_bytes_per_s; /* per resync; 0: as fast as it goes */
    uint32_t resync_max;         /* shards in resync at once, 4 */
    uint32_t verify_depth;       /* chunks in flight per verify, 4 */
};

struct cw_owner_opts {
    struct cw_env *env;
    struct cw_buf_pool *pool;
    struct cw_uuid client_id; /* this instance's; = sender_id of the HELLOs below */
    struct cw_locality self;
    const struct cw_owner_ops *ops;
    void *world;
    struct cw_owner_tuning tuning;
    uint32_t link_ops_max;   /* frames unanswered per link, 0: 1024 */
    uint64_t link_bytes_max; /* bytes unanswered per link, 0: 32 MiB */
};

/* NULL if out of memory. */
struct cw_owner *cw_owner_new(const struct cw_owner_opts *opts);

/* Closes links and frees. Volumes still open are freed as they are, without a release and without
 * callbacks (their requests are forgotten): what a crash does. Answers of the world may not come
 * any more afterwards; links' on_down may not either, so the world drops its links first or never
 * calls back. NULL is fine. */
void cw_owner_free(struct cw_owner *o);

/* Once per loop turn, after all completions and frames of the turn and before links flush: runs the
 * completions of the turn (which may submit anew), then everything that leaves once per turn. */
void cw_owner_turn_end(struct cw_owner *o);

/* True when something waits for the next cw_owner_turn_end: the loop must not sleep. */
bool cw_owner_pending(const struct cw_owner *o);

/* Answers to ops->connect. The owner sets l->ev and l->user before it returns. */
void cw_owner_on_link_up(struct cw_owner *o, const struct cw_uuid *disk_uuid, uint64_t format_id,
                         struct cw_link *l);
/* why: negative errno; -ENXIO, -ESTALE: the daemon answered that it does not serve this disk or
 * this format of it. */
void cw_owner_on_connect_failed(struct cw_owner *o, const struct cw_uuid *disk_uuid,
                                uint64_t format_id, int why);

/* Lower or raise what may be unanswered on a link (from the far end's HELLO credit_ops,
 * credit_bytes); call after on_link_up. */
void cw_owner_link_credit(struct cw_owner *o, struct cw_link *l, uint32_t ops, uint64_t bytes);

/* Hints of the manager. A host that is down need not be waited for; one that is up is tried at
 * once. */
void cw_owner_hint_host(struct cw_owner *o, const char *host, bool up);
void cw_owner_hint_locations(struct cw_owner *o, const struct cw_disk_location *disks, uint32_t n);

/* Asserts what must hold between any two calls. Slow; for the simulator and tests. */
void cw_owner_check(const struct cw_owner *o);

/* ---- volumes ---- */

enum cw_volume_state {
    CW_VOLUME_OPENING,   /* takeover under way */
    CW_VOLUME_READY,     /* serves, as far as its shards do */
    CW_VOLUME_RELEASING, /* back to READY only when a hand-over is abandoned */
    CW_VOLUME_RELEASED,
    CW_VOLUME_FENCED, /* somebody newer owns it: every request fails with -ESHUTDOWN */
    CW_VOLUME_FAILED, /* open gave up */
};

/* All from cw_owner_turn_end. */
struct cw_volume_events {
    void (*on_ready)(struct cw_volume *, void *user);
    /* Instead of on_ready. res: -ESHUTDOWN somebody newer owns it; -EHOSTUNREACH no in-sync copy of
     * some shard answered in time. text: one line. Free the volume (no release is needed). */
    void (*on_open_failed)(struct cw_volume *, void *user, int res, const char *text);
    /* After on_ready: the volume is lost to a newer owner. Requests complete with -ESHUTDOWN. */
    void (*on_fenced)(struct cw_volume *, void *user);
    /* Answer to cw_volume_release and cw_volume_hand_over. clean: the manager confirmed. */
    void (*on_released)(struct cw_volume *, void *user, bool clean);
    /* Answer to cw_volume_hand_over instead: it was abandoned, the volume serves again. */
    void (*on_kept)(struct cw_volume *, void *user);
    /* Answer to cw_volume_resize: in force. */
    void (*on_resized)(struct cw_volume *, void *user, uint64_t size_bytes);
};

struct cw_volume_opts {
    const struct cw_volume_events *ev; /* members may be NULL */
    void *user;
    uint64_t open_timeout_ns; /* then on_open_failed; 0: wait for as long as it takes */
    bool caretaker;           /* nobody's guest I/O: only takeover, resync, verify */
};

/* Begins the takeover of every shard (1.8). desc is copied. NULL if out of memory or nonsense.
 * Requests may be submitted at once; they wait until their shard is active. */
struct cw_volume *cw_volume_open(struct cw_owner *o, const struct cw_volume_desc *desc,
                                 const struct cw_volume_opts *opts);

/* Stops guest I/O, drains what was sequenced, settles changes in doubt, ends sessions, tells the
 * manager. Requests submitted later fail with -ESHUTDOWN. Answered by on_released, also when
 * fenced. */
void cw_volume_release(struct cw_volume *v);

/* The same for somebody who waits to take the volume. What cannot be drained within drain_ns is not
 * waited for: the volume is kept (on_kept). Once the manager was told there is no way back. A
 * release meanwhile makes it one. -EBUSY: it does not serve yet; -ESHUTDOWN: it is lost. */
int cw_volume_hand_over(struct cw_volume *v, uint64_t drain_ns);

/* Every request has completed (or is forgotten without its done). Calls under way at the manager
 * are waited for inside the owner; the volume's memory lives as long as they do. */
void cw_volume_free(struct cw_volume *v);

enum cw_volume_state cw_volume_state(const struct cw_volume *v);
uint64_t cw_volume_id(const struct cw_volume *v);
uint64_t cw_volume_size(const struct cw_volume *v);
uint32_t cw_volume_gen(const struct cw_volume *v);
void *cw_volume_user(const struct cw_volume *v);

/* True while some shard waits for a takeover, for min_insync, for space or for the manager;
 * *ret_why is one line, valid until the next turn. */
bool cw_volume_suspended(const struct cw_volume *v, const char **ret_why);

/* The records of the grown volume: existing shards with their new n_blocks, new shards (which are
 * taken over with our gen). Borrowed for the call. Answered by on_resized. -EINVAL: smaller, or not
 * ours. */
int cw_volume_resize(struct cw_volume *v, uint64_t size_bytes, const struct cw_shard_rec *shards,
                     uint32_t n_shards, const struct cw_disk_location *disks, uint32_t n_disks);

/* New limits of the policy, at once. */
void cw_volume_set_policy(struct cw_volume *v, uint32_t min_insync, int32_t degrade_s,
                          bool quorum_loss_error, bool space_full_error);
/* ack=replicated or durable, from the next acknowledgement on: what was told stays so. */
void cw_volume_set_ack(struct cw_volume *v, bool replicated);
bool cw_volume_acks_replicated(const struct cw_volume *v);

/* Requests that come faster wait before anything is done about them; 0: no limit. Flushes do not.
 */
void cw_volume_set_limits(struct cw_volume *v, uint64_t iops, uint64_t bytes_per_s);

/* The copy of that shard on that disk is to leave for good: it becomes DEAD by a change of ours if
 * min_insync others are in sync within ten seconds; else nothing comes of it, and the manager asks
 * again. -ENOENT: it is no member; -ESHUTDOWN. */
int cw_volume_evict(struct cw_volume *v, uint64_t shard, const struct cw_uuid *disk_uuid);

/* The manager changed a record of a volume that we own by our leave (an added OUT member, a removed
 * OUT or DEAD one): look at the records again. */
void cw_volume_reread(struct cw_volume *v);

/* ---- requests ---- */

enum cw_io_op { CW_IO_READ, CW_IO_WRITE, CW_IO_FLUSH, CW_IO_TRIM, CW_IO_ZERO };

enum cw_io_flag {
    /* READ: a read of one piece (4 KiB-aligned, within 1 MiB and one shard) may be answered by the
     * received buffer itself: if io->buf is not NULL in done, the data lies at buf->data + buf_off,
     * iov is untouched, and the reference is the caller's. */
    CW_IO_TAKE_BUF = 1 << 0,
};

/* The caller's; it, iov and the data hold until done. Any byte offset and length within the volume.
 * Requests up to 1 MiB within one 64 GiB shard are atomic; longer ones are split. */
struct cw_io {
    enum cw_io_op op;
    uint32_t flags;          /* enum cw_io_flag */
    uint64_t off, len;       /* bytes; FLUSH: ignored */
    const struct iovec *iov; /* READ, WRITE without buf: lengths sum up to len */
    uint32_t n_iov;

    /* WRITE, instead of iov: the data lies in a buffer of the owner's pool at buf_off (a multiple
     * of 4096), and neither the caller nor anybody else changes it from submit on. The reference
     * passes to the owner with submit. No copy is made if off and len are multiples of 4096. */
    struct cw_buf *buf;
    uint32_t buf_off;

    /* Exactly once, from cw_owner_turn_end. res: 0; -EIO no copy can give some block (READ), or the
     * volume cannot serve and its policy says error; -ENOSPC policy space-full=error; -ESHUTDOWN
     * fenced, releasing or failed (a WRITE may or may not have happened); -EINVAL out of range. */
    void (*done)(struct cw_io *io, int res);
    void *user;

    /* the owner's while under way */
    struct cw_list link;
    struct cw_volume *volume;
    uint64_t begun_ns;
    uint32_t n_parts;
    int32_t res;
};

/* A FLUSH completes once every write that completed before it is durable on every in-sync copy:
 * with ack=durable, at once. One of before the takeover is over waits for that: what the last owner
 * completed may be in memory only. */
void cw_io_submit(struct cw_volume *v, struct cw_io *io);

/* ---- report: VolumeReport in plain C ---- */

struct cw_member_report {
    struct cw_uuid disk_uuid;
    uint64_t format_id;
    enum cw_member_state state;
    uint64_t chunks_left, chunks_total, bytes_moved; /* of a resync */
    uint64_t lag;                                    /* records behind */
    uint64_t lag_bytes;                              /* .. of the blocks in them */
    uint64_t lag_ns; /* how long ago the oldest of them was sequenced */
    bool connected;
    uint64_t flaps; /* losses of the link to its disk while others answered, since we began */
    bool flapping;  /* .. too many lately: it is not waited for, or not taken back */
    struct cw_uuid source_uuid; /* of a resync: the disk that it comes from; nil: none */
};

struct cw_shard_report {
    uint64_t shard, seq; /* the last sequenced */
    uint32_t cfg;
    bool active; /* the takeover is over */
    bool suspended;
    char why[CW_OWNER_WHY_SIZE]; /* of a suspension, or of a stuck resync */
    uint32_t n_members;
    struct cw_member_report members[CW_MEMBERS_MAX];
};

struct cw_volume_report {
    uint64_t volume;
    uint32_t gen;
    enum cw_volume_state state;
    uint32_t n_shards;
    uint64_t reads, writes, read_bytes, write_bytes; /* since open */
    uint64_t read_p99_ns, write_p99_ns;              /* of the last whole second with requests */
    uint64_t repaired_blocks;
    uint64_t error_blocks; /* failed reads: no copy could give some block */
    uint64_t size_bytes;   /* in force */
    uint64_t lost_blocks;  /* now: copies say that theirs is bad, and no other has it */
};

void cw_volume_report(const struct cw_volume *v, struct cw_volume_report *ret);
/* index below n_shards. */
void cw_volume_report_shard(const struct cw_volume *v, uint32_t index, struct cw_shard_report *ret);

/* What checkers want to know of a shard at any instant; quick. */
struct cw_shard_view {
    uint64_t acked;   /* highest seq acknowledged and durable, or adopted and on every in-sync copy;
                       * 0: the takeover is not over */
    uint64_t told;    /* highest seq acknowledged; above acked with ack=replicated only */
    bool lease_wait;  /* a takeover waits for the last owner's lease to end (I11) */
    bool doubt;       /* a change may or may not have happened (I4) */
    uint32_t n_tails; /* different ends of the copies that a takeover is making equal */
    uint32_t n;       /* its copies; 0: it is not active */
    struct cw_shard_view_copy {
        struct cw_uuid disk_uuid;
        uint64_t format_id;
        bool ack, read; /* it is in the ack set and lease set, in the read set (I4) */
    } of[CW_MEMBERS_MAX];
};
/* index below the number of shards. */
void cw_volume_view_shard(const struct cw_volume *v, uint32_t index, struct cw_shard_view *ret);

/* ---- verify ---- */

/* Reads the media of every in-sync copy, compares, repairs from a verified copy. The caller's
 * memory; holds until on_progress says finished. */
struct cw_verify {
    uint64_t job;                            /* the caller's */
    void (*on_progress)(struct cw_verify *); /* about once a second, and last with finished */
    void *user;

    uint64_t done_bytes, total_bytes;       /* read and re-hashed, all copies together */
    uint64_t found, repaired, unrepairable; /* bad blocks, all copies */
    uint64_t differing; /* blocks that verify on every copy but are not the same */
    uint64_t copies;    /* fewest in-sync copies compared of any shard */
    bool finished;
    char failed[CW_OWNER_WHY_SIZE]; /* "" or why it ended early */

    struct cw_list link; /* the owner's */
    void *priv;
};

/* -EBUSY: one is running on this volume; -ENOMEM; -ESHUTDOWN. */
int cw_verify_start(struct cw_volume *v, struct cw_verify *j);
/* on_progress still comes, with finished and failed = "cancelled". */
void cw_verify_cancel(struct cw_verify *j);
