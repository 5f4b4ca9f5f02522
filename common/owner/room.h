/* owner/room.h - what the files of this room share; nobody outside includes it.
 *
 *   owner --< peer (disk's replica: link, heartbeats, calls by tag)
 *     |         \--< copy (member of a shard on that peer: session, durable seq, credit)
 *     \--< volume --< shard --< copy
 *                       |-- ring   records (stable, next_seq), resent after a disconnect
 *                       |-- spans  unacked ranges, for I13
 *                       \-- change the one compare-and-set under way, for I4
 *   io (the caller's) --< part (one record, or one read of at most 1 MiB)
 */
#pragma once

#include "common/base/histogram.h"
#include "common/base/mutation.h"
#include "common/codec/frame.h"
#include "common/owner/limit.h"
#include "common/owner/owner.h"
#include "common/owner/pace.h"

#define TICK_NS (50 * CW_NS_PER_MS)
#define RING_MIN 64u
#define WINDOW_MAX \
    (CW_TAIL_MAX - 64u) /* records above stable; GEN_START and repairs fit as well \
                         */
#define HB_MAX 16u      /* heartbeats unanswered that are remembered */
#define RESERVE_MAX 32u /* small buffers kept back for control frames */
#define SPAN_BUCKETS 64u
#define RESTARTS_MAX 8 /* then a copy that breaks the takeover again and again is left behind */
#define LEASE_MARGIN_NS (50 * CW_NS_PER_MS)
#define LEASE_RHO_DIV 100u /* clock rates differ by at most 1 % */

struct peer;
struct copy;
struct shard;
struct part;

/* ---- calls: a frame with a tag and its one answer ---- */

/* Embedded; answered once, with f == NULL when the link broke. */
struct call {
    uint32_t tag; /* 0: not under way */
    uint32_t bytes;
    struct peer *peer;
    struct cw_list node; /* peer->calls */
    uint64_t sent_ns;
    void (*answer)(struct call *, const struct cw_frame *f);
};

/* ---- peers ---- */

enum peer_state { PEER_DOWN, PEER_CONNECTING, PEER_UP };

#define FLAPS_FEW 3u /* so many in so short a time are too many */

/* How often its link was lost (flap.c). */
struct flaps {
    uint64_t n;                /* in all, as the manager is told */
    uint64_t at_ns[FLAPS_FEW]; /* the last ones, newest first; 0: none */
    uint32_t n_felt;           /* that somebody waited for: they make the back-off */
    uint64_t late_ns, away_ns; /* when a heartbeat's answer was overdue last, by half a period
                                * and by a whole one */
    bool judged;               /* the loss under way counts, or does not */
    bool shaky;                /* too many, and it was not steady for long enough since */
};

struct peer {
    struct cw_owner *o;
    struct cw_list node; /* o->peers */
    struct cw_disk_location loc;
    bool loc_known;
    bool hint_down; /* the manager's word, until a link proves otherwise */
    enum peer_state state;
    struct cw_link *link;
    struct cw_timer retry; /* reconnect */
    uint64_t backoff_ns;
    uint64_t down_since_ns; /* while not UP */
    uint64_t unused_since_ns;
    struct cw_list copies; /* struct copy.peer_node */
    struct cw_list calls;
    struct cw_list blocked; /* copies that wait for link credit */

    /* Lease: heartbeat n was sent at hb_sent[n % HB_MAX]. */
    uint32_t hb_next, hb_acked; /* numbers from 1; acked: highest answered */
    uint32_t hb_good;           /* highest answered in good health, sent at hb_acked_sent_ns */
    bool hb_wanted;             /* at turn end */
    uint64_t hb_sent[HB_MAX];
    uint64_t hb_acked_sent_ns;
    uint64_t hb_due_ns;
    uint64_t stuck_since_ns; /* CW_NEVER: not */
    uint32_t health;         /* enum cw_member_flag, of the disk */

    uint32_t ops, ops_max;
    uint64_t bytes, bytes_max;
    struct { /* of those, what is for copies that follow */
        uint32_t ops;
        uint64_t bytes, max; /* max: 0: there was no link yet */
        bool wanted;         /* more was held back since it was looked at */
    } follow;

    struct flaps flaps;

    struct cw_histogram acks;        /* of this window: from sequenced to durable */
    uint64_t rtt_ns;                 /* the least of heartbeats; 0: none yet */
    uint64_t ack_p50_ns, ack_p99_ns; /* of the last, without that; */
    bool ack_known;                  /* false: too few, and both are 0 */

    uint32_t distance; /* 0 host, 1 rack, 2 site, 3 beyond */
    uint64_t read_ewma_ns;
    uint64_t last_read_ns;
    uint32_t reads; /* under way */
};

/* ---- copies ---- */

enum session { SESSION_NONE, SESSION_SEALING, SESSION_SEALED, SESSION_OPENING, SESSION_OPEN };

enum sync_phase {
    SYNC_IDLE,
    SYNC_WANTED,  /* SYNCING in the record; waits for a slot and a session */
    SYNC_JOINING, /* JOIN sent */
    SYNC_COPYING, /* SYNC_FROM sent */
    SYNC_DONE,    /* like an in-sync copy but for the record */
};

/* What a copy said when it was sealed. */
struct seal_info {
    uint32_t last_gen, flags, credit_blocks;
    uint64_t last_seq, stable, incarnation;
    uint32_t n_hist, n_tail;
    struct cw_wire_hist *hist; /* one allocation with tail */
    struct cw_wire_tail *tail;
};

struct copy {
    struct shard *s;
    struct peer *peer;
    struct cw_list peer_node;
    struct cw_list blocked_node;
    struct cw_uuid disk_uuid;
    uint64_t format_id;

    enum cw_member_state state; /* in the record, as the next one */
    uint64_t since_seq;         /* JOURNAL: 0: it has not begun; SYNCING: what makes it whole began;
                                   INSYNC: CW_SINCE_NEW: nobody was active with it */
    bool async;                 /* it follows: LAGGING is the best it will be */
    uint32_t maybe;             /* bit per state that an unresolved change may give it (I4) */
    enum cw_member_state want;  /* asked for by the change under way .. */
    uint64_t want_since;
    bool gone; /* not in the record any more */

    enum session session;
    bool sealed;       /* promised our gen, durably */
    uint32_t n_blocks; /* of the shard, that a SEAL told it last */
    uint32_t open_hb;  /* first heartbeat that counts for this session (I10) */
    struct call call;  /* SEAL, OPEN, JOIN */
    struct seal_info info;
    uint64_t lost_ns;  /* since when there is no open session; CW_NEVER: there is one */
    uint64_t retry_ns; /* no new SEAL or OPEN before */
    uint64_t opened_ns;

    bool streaming;       /* records are kept for it and sent to it */
    bool held;            /* streaming, but nothing leaves yet (JOIN unanswered, equalising) */
    uint64_t durable;     /* highest durable seq it told us; monotonic while in sync */
    uint64_t received;    /* .. in its memory at least, on this link; 0, or at least that */
    bool receipts;        /* this session was asked to tell it */
    uint64_t send_seq;    /* next to be sent on this link */
    uint64_t space_limit; /* s->cum_blocks may go so far (I17) */
    uint32_t follow_ops;  /* under way, of peer->follow */
    uint64_t follow_bytes;
    uint64_t probe_seq, probe_ns; /* one of those, and when it was sent; 0: none */
    uint64_t stable_told;
    bool stalled; /* it had no space for send_seq: waits to be asked for it */
    uint32_t n_bad_csum, n_gaps, n_refused;
    uint32_t health;

    uint64_t evict_until_ns; /* to leave for good, if others are enough before that */
    bool faulty;             /* to be ejected at once; why */
    bool disk_failed;        /* .. that is why; a new link may lead to a disk that works */
    const char *why;

    bool begun;      /* JOURNAL: its JOIN was answered; s0 and join_id are its */
    bool tested;     /* OUT, SYNCING: it was sealed with the journal there .. */
    bool restorable; /* .. and has all that the journal has not */

    /* resync */
    enum sync_phase sync;
    bool joining; /* in ack and lease set from seq p on (1.10 step 5) */
    uint64_t p;
    uint64_t join_id, s0;
    struct copy *source;
    uint64_t source_ns; /* when it was told */
    uint64_t told_rate; /* with it, or since */
    uint64_t chunks_left, chunks_total, bytes_moved, progress_ns;
    uint32_t sync_why;
    uint32_t n_flaps;
    uint32_t slow_windows; /* a bit each, the last one lowest; one not yet seen is slow */
    uint64_t demote_after_ns;
    uint64_t add_after_ns;
    uint64_t insync_since_ns;
    uint64_t away_ns; /* since when it waits for a resync: it became OUT, or was OUT when we came */
};

/* ---- ring ---- */

struct rec {
    uint64_t seq, lba;
    uint64_t cum_blocks; /* of the shard, this one included */
    uint64_t begun_ns;
    uint32_t nblk, bytes, cost; /* cost: blocks of space that it takes */
    struct cw_msg *msg;
    struct part *part; /* NULL: told, or ours */
    struct cw_list span[2];
    uint8_t n_span;
};

/* Records first..next-1; slot of seq is seq & mask. */
struct ring {
    struct rec *recs;
    uint32_t mask; /* slots - 1; recs == NULL: 0 slots */
    uint64_t first, next;
};

/* ---- shards ---- */

enum shard_state {
    SHARD_SEALING,
    SHARD_LEASE_WAIT,
    SHARD_EJECTING,
    SHARD_EQUALISING,
    SHARD_GEN_START,
    SHARD_ACTIVE,
    SHARD_CLOSED, /* released, fenced or failed */
};

enum change_state { CHANGE_IDLE, CHANGE_SENT, CHANGE_DOUBT };

struct change {
    enum change_state state;
    uint32_t cfg; /* compared by every request since IDLE */
    bool withdraw;
    uint32_t n_tries;
    uint64_t retry_ns;
    struct cw_change call;
    bool call_busy;
};

#define EQUALISE_DEPTH 8u

/* One record on its way from its holder to those that lack it. */
struct eq_slot {
    struct call call;
    struct shard *s;
    uint64_t seq;
    struct copy *from;
    uint32_t tried; /* bit per copy index */
    bool busy;
    struct cw_msg *msg; /* REPAIR_APPEND, once it is here */
};

struct equalise {
    uint64_t to_seq; /* M */
    uint32_t to_gen;
    uint64_t next; /* not yet asked for */
    uint64_t sent; /* every record up to it was forwarded */
    bool told;     /* all copies know the highest stable seq that any knew */
    struct copy *src;
    struct eq_slot slots[EQUALISE_DEPTH];
};

struct shard {
    struct cw_volume *v;
    struct cw_list hash_node; /* o->shards */
    uint32_t index;
    struct cw_shard_rec rec;
    struct copy *copies[CW_MEMBERS_MAX * 2]; /* those of the record, then leaving ones */
    uint32_t n_copies;

    enum shard_state state;
    uint64_t seal_begun_ns;
    uint64_t first_seal_ns; /* of an in-sync copy; CW_NEVER */
    bool lease_waited;
    struct equalise *eq;
    uint32_t n_restarts; /* of the takeover */
    uint64_t equal_begun_ns;
    struct cw_wire_hist *hist; /* the owner's, with our GEN_START */
    uint32_t n_hist;

    struct ring ring; /* ring.next = next_seq */
    /* told: completed to the guest; acked: and durable on the ack set, readable. With ack=durable
     * they are the same. */
    uint64_t told, acked, stable;
    uint64_t cum_blocks;
    struct change change;

    struct cw_list spans[SPAN_BUCKETS], wide;
    uint32_t n_spans;
    struct cw_list queue;   /* parts that wait to be sequenced */
    struct cw_list locks;   /* parts that hold their range: RMW and verify */
    struct cw_list readers; /* parts: wait for acks, a copy, or the lease */
    struct cw_list reading; /* parts: asked */
    struct cw_list flushes; /* parts: wait for acked to reach their wait_seq */
    struct cw_list notes;   /* what copies said is bad on them */

    /* Records above keep_seq stay, for a journal that may begin or a copy that is to be tested. */
    uint64_t keep_seq, keep_until_ns;
    bool has_log;            /* a journal that has begun serves */
    uint64_t below_since_ns; /* below min_insync; CW_NEVER */
    uint64_t starved_since_ns;
    const char *why;      /* of a suspension */
    struct copy *syncing; /* holds a resync slot */
    bool dirty;           /* own_shard_run is due at turn end */
    struct cw_list dirty_node;
};

/* ---- parts ---- */

/* LOCK: done_fn(p, 0) says that the range is held and nothing in it is unacked; the part then lives
 * on. */
enum part_kind { PART_READ, PART_WRITE, PART_ZERO, PART_TRIM, PART_LOCK, PART_FLUSH };

struct copy_bad {
    struct copy *copy;
    uint64_t bad[4];
};

/* A read that some copy could not answer in full. */
struct salvage {
    uint64_t have[4];
    uint64_t csums[CW_IO_BLOCKS_MAX];
    struct cw_buf *buf;
    uint32_t n;
    struct copy_bad of[CW_MEMBERS_MAX];
};

/* A READ under way; outlives the part when another copy was faster. */
struct rcall {
    struct call call;
    struct part *part; /* NULL: nobody waits any more */
    struct copy *copy;
    struct peer *peer;
    uint64_t lba;
    uint32_t nblk;
    struct cw_list free_node;
};

struct part {
    struct cw_list node;
    struct cw_list lock_node; /* s->locks while it holds its range */
    struct cw_owner *o;
    struct cw_volume *v;
    struct shard *s;
    struct cw_io *io; /* NULL: internal, done_fn is called instead */
    void (*done_fn)(struct part *, int res);
    void *ctx;
    enum part_kind kind;
    uint64_t lba;
    uint32_t nblk;
    uint32_t head, len; /* bytes: of the first block before the request, and of the request */
    uint64_t io_off;    /* where in the io this part begins */
    uint64_t begun_ns;
    bool rmw; /* edges must be read first */
    bool locked;
    struct part *edge;      /* read under way for an rmw */
    struct cw_list waiters; /* parts that wait for our lock */

    struct cw_buf *buf; /* WRITE: the data; READ: an answer that is held */
    uint32_t buf_off;
    bool copied; /* buf holds the whole blocks to be written, ours alone */

    /* READ, FLUSH */
    uint64_t wait_seq; /* acked must reach it first */
    bool answered;     /* data is here, completion waits (I10, I13) */
    bool zeroes;
    struct rcall *rc;
    uint64_t asked_ns;
    uint32_t tried;     /* bit per copy index: asked since the last success or round */
    uint32_t n_damaged; /* answers that did not verify here */
    struct salvage *salvage;
    uint32_t n_bad_copies;   /* that a verify found this block bad on */
    struct cw_verify *count; /* whose repairs these are */
    bool noted;              /* for a copy's BAD_NOTE: nobody waits for the data */
    bool lost;               /* .. and no copy has it */
};

/* ---- notes of copies: blocks of theirs that do not verify ---- */

#define NOTES_MAX 256u    /* of a volume; a copy says again what found no room */
#define NOTE_FIXES_MAX 4u /* salvaging reads of a volume at once */
#define LOST_MAX 256u

struct note {
    struct cw_list node; /* s->notes */
    struct shard *s;
    struct copy *copy; /* NULL: it left while the read was out */
    uint64_t lba;
    uint32_t nblk;
    uint64_t bad[4]; /* still to be seen to */
    bool busy;       /* a read is out */
    bool single;     /* block by block: some of them cannot be had */
};

/* A block that no copy could give, as far as copies went on to say that theirs is bad. */
struct lost_block {
    uint64_t shard, lba;
    uint64_t seen_ns;
};

/* ---- volumes ---- */

struct resize_wait {
    bool pending;
    uint64_t size_bytes;
};

struct cw_volume {
    struct cw_owner *o;
    struct cw_list node; /* o->volumes */
    struct cw_volume_opts opts;
    uint64_t id, size_bytes;
    char name[CW_OWNER_NAME_SIZE];
    uint32_t gen;
    bool released_before, cold_start;
    uint32_t min_insync;
    int32_t degrade_s;
    bool quorum_loss_error, space_full_error;
    bool ack_replicated; /* writes are told once every copy of the ack set has received them */
    enum cw_volume_state state;
    struct shard **shards;
    uint32_t n_shards;
    uint64_t opened_ns;
    struct cw_limit limit;
    struct cw_list limited; /* requests that wait for it, in order */
    struct cw_timer limit_timer;
    uint32_t n_parts; /* alive, of requests and internal ones */
    uint32_t n_calls; /* at the manager */
    bool doomed;      /* freed by the caller; waits for n_calls */
    struct resize_wait resize;

    struct cw_volume_get get;
    bool get_busy, get_again;
    struct cw_volume_give_up give_up;
    bool give_up_busy;
    bool release_clean;
    uint64_t release_ns; /* RELEASING since */
    uint64_t keep_at_ns; /* RELEASING for a hand-over: abandoned then; 0: never */

    uint32_t events; /* bit per enum volume_event, fired at turn end */
    int fail_res;
    char fail_text[CW_OWNER_WHY_SIZE];
    uint64_t fired_size;

    struct cw_verify *verify;
    struct cw_list repairs; /* BLOCK_REPAIRs unanswered */
    uint32_t n_notes, n_note_fixes;
    struct lost_block lost[LOST_MAX];
    uint32_t n_lost;

    uint64_t reads, writes, read_bytes, write_bytes, repaired_blocks, error_blocks;
    struct cw_histogram read_now, write_now;
    uint64_t rotate_ns;
    uint64_t read_p99_ns, write_p99_ns;
    uint64_t busy_p99_ns; /* the worse of the two in the last second; 0: there were no requests */
};

enum volume_event {
    EV_READY = 1,
    EV_FAILED = 2,
    EV_FENCED = 4,
    EV_RELEASED = 8,
    EV_RESIZED = 16,
    EV_KEPT = 32,
};

struct cw_owner {
    struct cw_env *env;
    struct cw_buf_pool *pool;
    struct cw_uuid client_id;
    struct cw_locality self;
    const struct cw_owner_ops *ops;
    void *world;
    struct cw_owner_tuning tun;
    uint32_t link_ops_max;
    uint64_t link_bytes_max;

    struct cw_list peers, volumes;
    struct cw_list shards[256]; /* by id */
    struct cw_list dirty;       /* shards to be run at turn end */
    struct cw_list done;        /* cw_io that are complete */
    struct cw_list free_parts, free_rcalls;
    struct cw_list slabs;
    struct cw_list verifies_due; /* progress to be told */
    struct cw_list starved;      /* parts: no memory; tried again each turn and tick */
    bool events_due, hb_wanted;

    struct call **tags; /* slot of tag & 0xffff */
    uint32_t n_tags, tag_cycle;
    uint32_t *tags_free, n_tags_free;

    struct cw_buf *reserve[RESERVE_MAX];
    uint32_t n_reserve;

    uint64_t retained_bytes;
    uint32_t n_syncing;
    struct cw_pace pace;   /* of all resyncs together */
    uint64_t pace_ns;      /* its next second */
    uint64_t resync_moved; /* bytes since the last */
    bool resync_paused;
    bool resync_due;  /* some shard could begin one */
    bool slot_wanted; /* .. if there were a slot, and no copy that is to follow has it */
    uint64_t join_count;
    struct cw_timer tick;
    uint64_t second_ns; /* when the windows of peers end */
};

static inline uint64_t
cw_own_now(const struct cw_owner *o)
{
    return cw_now_ns(o->env);
}

static inline uint64_t
cw_own_next_seq(const struct shard *s)
{
    return s->ring.next;
}

/* ---- owner.c ---- */
struct shard *cw_own_find_shard(struct cw_owner *o, uint64_t id, uint32_t gen);
void cw_own_hash_shard(struct cw_owner *o, struct shard *s);
/* Control frames: may use the reserve. NULL only when that is used up too. */
struct cw_msg *cw_own_frame(struct cw_owner *o, struct cw_wire_hdr h, const void *payload,
                            uint32_t len);
void cw_own_mark_dirty(struct shard *s);

/* ---- peer.c ---- */
struct peer *cw_own_peer_get(struct cw_owner *o, const struct cw_uuid *disk_uuid,
                             uint64_t format_id);
void cw_own_peer_locate(struct peer *p, const struct cw_disk_location *loc);
void cw_own_peer_want(struct peer *p); /* connect unless it is under way */
void cw_own_peer_free(struct peer *p);
void cw_own_peer_tick(struct peer *p);
void cw_own_peer_heartbeat(struct peer *p);
bool cw_own_peer_send(struct peer *p, struct cw_wire_hdr h, const void *payload, uint32_t len);
/* Gives the frame a tag and waits for its answer. False: no memory or no link; answer never comes.
 */
bool cw_own_call(struct peer *p, struct call *c, struct cw_wire_hdr h, const void *payload,
                 uint32_t len);
/* The same with the frame made by the caller out of h (whose tag is then set). */
bool cw_own_call_tag(struct peer *p, struct call *c, uint32_t *ret_tag);
void cw_own_call_sent(struct call *c, uint32_t bytes);
void cw_own_call_forget(struct call *c); /* no answer any more; fine when idle */
/* What is unanswered on this link allows one more frame of so many bytes. */
bool cw_own_peer_room(const struct peer *p, uint32_t bytes);
void cw_own_peer_unblock(struct peer *p);
void cw_own_peer_break(struct peer *p, const char *why);
uint64_t cw_own_peer_silent_since(const struct peer *p); /* CW_NEVER: heartbeats are answered */

/* ---- copy.c ---- */
struct copy *cw_own_copy_new(struct shard *s, const struct cw_member *m);
void cw_own_copy_free(struct copy *c);
uint32_t cw_own_copy_index(const struct copy *c);
void cw_own_copy_session(struct copy *c); /* takes the next step towards an open session */
void cw_own_copy_on_link(struct copy *c);
void cw_own_copy_on_down(struct copy *c);
void cw_own_copy_close(struct copy *c); /* ends the session in an orderly way */
void cw_own_copy_fault(struct copy *c, const char *why);
void cw_own_copy_on_ack(struct copy *c, const struct cw_wire_ack *a);
void cw_own_copy_on_nack(struct copy *c, const struct cw_frame *f);
void cw_own_copy_pump(struct copy *c);
void cw_own_copy_set_durable(struct copy *c, uint64_t durable);
/* What its session is told of what is stable, and whether it is to tell what it received. */
struct cw_wire_stable cw_own_copy_stable(const struct copy *c, uint64_t stable, bool receipts);
/* Asks for receipts, or for no more of them, as the volume's policy wants it. */
void cw_own_copy_ask_receipts(struct copy *c);
bool cw_own_copy_lease(const struct copy *c, uint64_t now);
void cw_own_copy_drop_info(struct copy *c);
void cw_own_copy_send_rec(struct copy *c);               /* CFG: the record as it is */
uint64_t cw_own_copy_lacks_blocks(const struct copy *c); /* of those that were sequenced */
/* No stream any more: the link gets the credit of unanswered records back. */
void cw_own_copy_cut_stream(struct copy *c);
void cw_own_copy_reset_stream(struct copy *c); /* .. and nothing is left of it */

static inline bool
cw_own_is_overlay(const struct copy *c)
{
    return c->state == CW_MEMBER_IN_RESYNC && CW_JOIN_KIND(c->join_id) == CW_JOIN_OVERLAY;
}

/* In `maybe`, beside the states: a journal that the change under way lets begin. */
#define MAYBE_LOG (1u << 16)

/* A journal that has begun: it holds every acknowledged record from since_seq on. */
static inline bool
cw_own_is_log(const struct copy *c)
{
    return c->state == CW_MEMBER_JOURNAL && c->since_seq != 0;
}

/* The takeover owes it what it owes a copy in sync: acks and the lease depended on it. */
static inline bool
cw_own_counts(const struct copy *c)
{
    return c->state == CW_MEMBER_INSYNC || cw_own_is_log(c);
}

/* So many copies in sync go on alone: one at least, and all that the policy wants for writes. */
static inline bool
cw_own_are_enough(const struct shard *s, uint32_t n)
{
    return n >= cw_max_u64(s->v->min_insync, 1);
}

/* Nothing is wanted of it. */
static inline void
cw_own_want_as_is(struct copy *c)
{
    c->want = c->state;
    c->want_since = c->since_seq;
}

static inline bool
cw_own_in_ack(const struct copy *c)
{
    if (cw_mutated(CW_MUTATION_ACK_NEW))
        return c->want == CW_MEMBER_INSYNC || cw_own_is_log(c);
    return (c->maybe & (CW_BIT(CW_MEMBER_INSYNC) | MAYBE_LOG)) != 0 || c->joining ||
           (cw_own_is_log(c) && !cw_mutated(CW_MUTATION_LOG_NO_ACK));
}

static inline bool
cw_own_in_read(const struct copy *c)
{
    if (cw_mutated(CW_MUTATION_READ_UNION))
        return (c->maybe & CW_BIT(CW_MEMBER_INSYNC)) != 0;
    return c->state == CW_MEMBER_INSYNC && c->maybe == CW_BIT(CW_MEMBER_INSYNC);
}

/* ---- follow.c ---- */
void cw_own_follow_begin(struct peer *p); /* a new link */
bool cw_own_follow_room(struct copy *c, uint32_t bytes);
void cw_own_follow_sent(struct copy *c, uint32_t bytes); /* c->send_seq is */
void cw_own_follow_took(struct copy *c, uint32_t bytes);
void cw_own_follow_forget(struct copy *c); /* nothing is under way any more */
void cw_own_follow_durable(struct copy *c);

/* ---- ring.c ---- */
bool cw_own_ring_room(struct ring *r); /* grows; false: full or no memory */
struct rec *cw_own_ring_push(struct ring *r);
static inline struct rec *
cw_own_ring_at(const struct ring *r, uint64_t seq)
{
    cw_assert(seq >= r->first && seq < r->next);
    return &r->recs[seq & r->mask];
}
void cw_own_ring_trim(struct cw_owner *o, struct ring *r,
                      uint64_t to_seq); /* drops seq <= to_seq */
void cw_own_ring_reset(struct cw_owner *o, struct ring *r, uint64_t next_seq);
void cw_own_ring_fini(struct cw_owner *o, struct ring *r);

/* ---- spans.c ---- */
void cw_own_spans_init(struct shard *s);
void cw_own_spans_add(struct shard *s, struct rec *r);
void cw_own_spans_remove(struct shard *s, struct rec *r);
void cw_own_spans_moved(struct shard *s); /* records have new addresses */
/* The highest unacked seq that overlaps; 0: none. */
uint64_t cw_own_spans_max(const struct shard *s, uint64_t lba, uint32_t nblk);

/* ---- shard.c ---- */
struct shard *cw_own_shard_new(struct cw_volume *v, const struct cw_shard_rec *rec);
void cw_own_shard_free(struct shard *s);
void cw_own_shard_run(struct shard *s); /* whatever can be done now; from turn end */
void cw_own_shard_tick(struct shard *s);
void cw_own_shard_advance(struct shard *s); /* acks moved or the ack set changed */
void cw_own_shard_adopt(struct shard *s, const struct cw_shard_rec *rec);
bool cw_own_shard_lease(const struct shard *s);
bool cw_own_shard_may_ack(const struct shard *s);
uint32_t cw_own_shard_min_insync(const struct shard *s);
void cw_own_shard_close(struct shard *s, bool orderly);
void cw_own_shard_judge(struct shard *s);                        /* who is to be ejected */
const char *cw_own_copy_bad(const struct copy *c, uint64_t now); /* of no use, why; NULL */
void cw_own_shard_trim(struct shard *s);
void cw_own_shard_check(const struct shard *s);
void cw_own_shard_history(struct shard *s, const struct seal_info *src, uint32_t gen,
                          uint64_t start);

/* ---- takeover.c, equalise.c ---- */
void cw_own_takeover_begin(struct shard *s);
void cw_own_takeover_run(struct shard *s);
void cw_own_takeover_on_seal(struct copy *c);
bool cw_own_takeover_lies_in(const struct cw_wire_hist *hist, uint32_t n_hist, uint64_t end_seq,
                             uint32_t gen, uint64_t seq);
uint64_t cw_own_takeover_stable(const struct shard *s); /* that any in-sync copy was told */
void cw_own_equalise_begin(struct shard *s, struct copy *src, bool alone);
void cw_own_equalise_run(struct shard *s);
void cw_own_equalise_end(struct shard *s);
void cw_own_equalise_doomed(struct shard *s, uint64_t seq); /* takeover.c: no holder can read it */
void cw_own_takeover_equal(struct shard *s);                /* takeover.c: all are equal now */

/* ---- change.c ---- */
/* Wants: copies whose `want` differs from their state. No other change may be under way. */
void cw_own_change_begin(struct shard *s, const char *why);
void cw_own_change_withdraw(struct shard *s);
void cw_own_change_tick(struct shard *s);
void cw_own_change_saw(struct shard *s, const struct cw_shard_rec *rec, uint32_t volume_gen);
static inline bool
cw_own_change_idle(const struct shard *s)
{
    return s->change.state == CHANGE_IDLE;
}

/* ---- volume.c ---- */
void cw_own_volume_fence(struct cw_volume *v, const char *why);
void cw_own_volume_fail(struct cw_volume *v, int res, const char *text);
void cw_own_volume_run(struct cw_volume *v); /* from turn end: ready, released, resized */
void cw_own_volume_tick(struct cw_volume *v);
void cw_own_volume_get(struct cw_volume *v);
void cw_own_volume_fire(struct cw_volume *v, enum volume_event e);
bool cw_own_volume_fire_events(struct cw_volume *v); /* false: the volume is gone */
void cw_own_volume_locate(struct cw_owner *o, const struct cw_disk_location *disks, uint32_t n);
/* Requests that wait for the limit begin now, whatever it says; or end. */
void cw_own_limit_flush(struct cw_volume *v);
void cw_own_limit_fail(struct cw_volume *v, int res);
void cw_own_limit_fired(struct cw_timer *t);
void cw_own_volume_put(struct cw_volume *v); /* a call at the manager ended */
void cw_own_volume_destroy(struct cw_volume *v);

/* ---- part.c, write.c, read.c ---- */
struct part *cw_own_part_new(struct cw_volume *v);
void cw_own_part_free(struct part *p);
void cw_own_part_done(struct part *p, int res);
void cw_own_part_start(struct part *p);
struct rcall *cw_own_rcall_new(struct cw_owner *o);
void cw_own_rcall_free(struct cw_owner *o, struct rcall *rc);
void cw_own_io_done(struct cw_io *io, int res);
void cw_own_io_copy_out(struct part *p, const uint8_t *blocks); /* NULL: zeroes */
void cw_own_io_copy_in(const struct cw_io *io, uint64_t off, uint8_t *to, uint32_t len);

void cw_own_write_start(struct part *p);
void cw_own_write_kick(struct shard *s); /* sequence what can be sequenced */
bool cw_own_lock_take(struct part *p);   /* false: p waits for another's lock */
void cw_own_lock_drop(struct part *p);

void cw_own_flush_start(struct part *p);
void cw_own_flush_kick(struct shard *s); /* acked moved, or it cannot any more */

void cw_own_read_start(struct part *p);
void cw_own_read_kick(struct shard *s); /* waiting readers: issue, or complete */
void cw_own_read_tick(struct shard *s);
void cw_own_read_forget_copy(struct shard *s, struct copy *c);
struct copy *cw_own_read_choose(struct shard *s, uint32_t not_mask);
/* The blocks of [lba, lba + nblk) whose bit is set in bad; csums and data are of the whole range.
 */
void cw_own_repair_blocks(struct copy *to, uint64_t lba, const uint64_t *bad, uint32_t nblk,
                          const uint64_t *csums, const uint8_t *data, struct cw_verify *count);
void cw_own_repairs_forget(struct cw_volume *v);
void cw_own_salvage_note(struct part *p, struct copy *c, uint64_t lba, uint32_t nblk,
                         const uint64_t *bad);
void cw_own_salvage_run(struct part *p);
void cw_own_salvage_took(struct part *p, const struct rcall *rc, const struct cw_frame *f);
void cw_own_salvage_repair(struct part *p, const uint8_t *data, const uint64_t *csums);
void cw_own_salvage_free(struct part *p);
bool cw_own_read_ask(struct part *p, struct copy *c, uint64_t lba, uint32_t nblk);
void cw_own_read_wait(struct part *p);
void cw_own_read_hold(struct part *p, struct cw_buf *take_buf, const uint8_t *data);

/* ---- note.c ---- */
void cw_own_note_on_frame(struct copy *c, const struct cw_frame *f);
void cw_own_notes_run(struct shard *s);
void cw_own_notes_tick(struct cw_volume *v);
void cw_own_notes_forget_copy(struct shard *s, const struct copy *c);
void cw_own_notes_free(struct shard *s);

/* ---- resync.c ---- */
void cw_own_resync_run(struct shard *s);
void cw_own_resyncs_begin(struct cw_owner *o); /* as many as may, the most urgent first */
void cw_own_resync_told(struct cw_owner *o, const struct cw_volume_desc *d);
void cw_own_resync_second(struct cw_owner *o);
void cw_own_resync_stop(struct copy *c, const char *why);
void cw_own_resync_on_open(struct copy *c);
void cw_own_resync_on_state(struct copy *c, const struct cw_frame *f);
void cw_own_resync_on_done(struct copy *c, const struct cw_frame *f);
/* Joins the ack set from the next record on, and asks for INSYNC once all before is durable. */
void cw_own_promote(struct copy *x, const char *why);

/* ---- journal.c ---- */
void cw_own_journal_on_open(struct copy *c);
void cw_own_journal_on_answer(struct copy *c, const struct cw_frame *f);
void cw_own_journal_on_seal(struct copy *c); /* of one that has not begun, or to be made whole */
void cw_own_journal_run(struct shard *s);
void cw_own_journal_tick(struct shard *s);
/* The journal that can make copies whole now; NULL: none. */
struct copy *cw_own_journal_of(struct shard *s);
/* How far the stream to this copy may go: one that a journal makes whole stays behind it, so that
 * the next takeover finds its place in the journal. */
uint64_t cw_own_journal_limit(const struct copy *c);
/* c, as it was sealed, and a journal that began at since_seq and continues that history have
 * everything together. */
bool cw_own_journal_completes(const struct copy *c, uint64_t since_seq,
                              const struct cw_wire_hist *hist, uint32_t n_hist, uint64_t end_seq);

/* ---- gray.c ---- */
/* How long the oldest record that it has not made durable waits; 0: none does. */
uint64_t cw_own_copy_waits_ns(const struct copy *c, uint64_t now);
void cw_own_gray_tick(struct cw_owner *o);
void cw_own_gray_rtt(struct peer *p, uint64_t ns); /* of a heartbeat */
bool cw_own_gray_is_slow(const struct copy *c);
bool cw_own_may_set_aside(const struct copy *c, uint32_t n_others); /* others: well, in sync */
void cw_own_gray_suspect(struct copy *c);                           /* it is LAGGING from now on */
void cw_own_gray_refused(struct shard *s);
void cw_own_gray_run(struct shard *s); /* LAGGING copies that have caught up */

/* ---- flap.c ---- */
void cw_own_flap_init(struct flaps *f);
void cw_own_flap_tick(struct peer *p);
/* Enough others are in sync that it is not taken back before its link is steady. */
bool cw_own_flap_holds(const struct copy *c);

/* ---- verify.c ---- */
void cw_own_verify_tick(struct cw_volume *v);
void cw_own_verify_stop(struct cw_volume *v, const char *why);
void cw_own_verify_forget_copy(struct shard *s, const struct copy *c);
void cw_own_verify_repaired(struct cw_verify *j, uint32_t n, uint32_t of);
