/* replica/internal.h - the structs that the files of this room share.
 *
 *   replica --peers--> peer (a link made to us) --sessions--> session <--> copy (a shard's data
 * here) copy --sync--> sync (we are the target) --slots--> chunk under way;  --source--> link to S
 *   copy --gets--> requests of targets that wait for our applied seq (we are the source)
 *
 * Whatever waits for the store is a struct op or a read in one of the replica's lists, holds its
 * copy busy and its peer by reference; so a link, a session or a resync may end at any time.
 */
#pragma once

#include "common/base/list.h"
#include "common/codec/frame.h"
#include "daemon/replica/replica.h"

#define CW_PEER_READS_MAX 1024u /* a link's credit of operations is never above it */
#define CW_PEER_GETS_MAX 64u
#define CW_PEER_REPAIRS_MAX 64u
#define CW_COPY_SEALS_MAX 16u       /* of one copy, waiting for each other */
#define CW_READ_BYTES (24 * CW_KIB) /* a read here and in the store, its data aside */
#define CW_SYNC_SLOTS_MAX 8u        /* chunks under way per shard */
#define CW_SYNC_HOT_MAX 64u
#define CW_SLOT_BYTES (CW_MIB + 64 * CW_KIB)
#define CW_LIST_CHUNKS 4096u /* per VER_LIST */
#define CW_ACKS_PER_FRAME 2048u

struct cw_peer {
    struct cw_replica *r;
    struct cw_link *link; /* NULL: down */
    struct cw_list in_replica;
    struct cw_list sessions;
    struct cw_list owing; /* sessions that owe an ACK */
    struct cw_list gets;  /* cw_get.in_peer */
    uint32_t refs, n_reads, n_gets, n_repairs;
    uint64_t heard_ns;
    bool closing; /* asked for its end: frames are ignored */
};

struct cw_session {
    struct cw_peer *peer;
    struct cw_copy *copy;
    struct cw_list in_peer, in_owing;
    uint32_t gen;
    bool receipts;     /* it is told what was received, too */
    uint64_t told_seq; /* expected seq of the last NACK: the frames behind it need no other */
};

/* Blocks of one chunk that do not verify, until they do. */
struct cw_note {
    struct cw_list in_copy;
    uint32_t chunk;
    uint32_t n_told; /* times since it changed or a session began */
    uint64_t bits[4];
    uint64_t due_ns; /* to be told then, after another look at them */
};

/* Another look at the blocks of a note; one at a time. */
struct cw_note_look {
    bool busy;
    struct cw_copy *copy;
    uint32_t chunk;
    struct cw_store_read read;
};

struct cw_copy {
    struct cw_replica *r;
    struct cw_list forgotten; /* in cw_replica_free only */
    struct cw_store_shard *sh;
    struct cw_store_shard_info *info;
    uint64_t shard;
    struct cw_session *session; /* NULL: none is open */
    uint32_t fence_gen;         /* highest gen ever sealed or promised; >= info->promised_gen */
    struct cw_uuid fence_id;    /* who sealed with it; nil: that was before a restart */
    uint32_t busy;              /* reads and ops under way */
    uint32_t n_blocks;          /* of the shard, by the newest record seen */
    uint64_t next_seq;          /* expected; behind what was appended and what is held */
    struct cw_list seals;       /* cw_seal, the first is under way */
    uint32_t n_seals;
    bool cfg_busy, cfg_again; /* a record is on its way to the disk; cfg_next follows it */
    struct cw_shard_rec cfg_next;
    struct cw_list held; /* cw_held, oldest first */
    uint32_t held_blocks;
    struct cw_list in_holding; /* replica's list of copies with held records */
    bool starved;              /* a record was refused for want of room: ask for it again */
    struct cw_list gets;       /* cw_get.in_queue, waiting for min_seq */
    struct cw_sync *sync;      /* a live JOIN; NULL: none */
    struct cw_list notes;      /* ascending chunk */
    uint64_t done_join; /* SYNC_DONE durable for this join, the owner may not know; 0: none */
    struct cw_replica_drop *drop; /* not NULL: going away, serves nothing */
};

/* A durable step under way. Embedded first in what it is for; fn frees that. */
struct cw_op {
    struct cw_store_ticket ticket;
    struct cw_list in_replica;
    struct cw_copy *copy;
    void (*fn)(struct cw_op *, int res);
    void (*forget)(struct cw_op *); /* the world is gone: free without any other effect */
};

struct cw_replica {
    struct cw_replica_opts opts;
    struct cw_env *env;
    struct cw_buf_pool *pool;
    struct cw_store *store;
    struct cw_list peers;
    struct cw_list gone_peers; /* without a link, whose requests are still under way */
    struct cw_list ops;        /* cw_op under way */
    struct cw_list reads;      /* cw_read under way */
    struct cw_list free_reads;
    struct cw_list read_waits; /* read_wait, oldest first */
    uint32_t n_reads, n_reads_max, n_read_waits;
    uint32_t n_copies;
    struct cw_list holding; /* copies with held records, in the order in which they began */
    struct cw_list sources;
    struct cw_list syncs;   /* live ones, the next to be given a chunk first */
    struct cw_list serving; /* cw_get ready to be read */
    struct cw_list doomed;  /* cw_replica_drop under way */
    struct cw_list drained; /* drops to be answered from the loop */
    uint32_t n_slots, n_slots_max;
    uint32_t n_serving, n_serving_max;
    uint32_t next_tag;
    uint64_t next_dial;
    uint64_t hold_bytes;
    uint32_t health;
    bool serves, closing;
    bool room;             /* the store may have room again: held records and full slots try */
    bool starving;         /* some copy is starved */
    bool again;            /* an ACK could not be built: try at the next turn */
    struct cw_timer timer; /* of `again`, of drops to be answered, of close */
    uint32_t n_notes;      /* of all copies */
    struct cw_note_look look;
    struct cw_timer note_timer;
    cw_store_done_fn *close_done;
    void *close_user;
    cw_store_done_fn *open_done;
    void *open_user;
    struct cw_replica_stats stats;
    uint8_t apply[CW_SHARD_CHUNKS]; /* of the record being appended */
    struct cw_wire_ack acks[CW_ACKS_PER_FRAME];
};

/* ---- replica.c ---- */

struct cw_copy *cw_copy_find(struct cw_replica *r, uint64_t shard);
struct cw_copy *cw_copy_new(struct cw_replica *r);
void cw_copy_bind(struct cw_copy *c, struct cw_store_shard *sh); /* once, right after new */
void cw_copy_free(struct cw_copy *c);
uint32_t cw_copy_health(const struct cw_copy *c); /* enum cw_member_flag */
void cw_replica_refresh_health(struct cw_replica *r);

/* Counts the copy busy and links the op; op_end undoes it and looks whether somebody waits for
 * that. */
void cw_op_begin(struct cw_copy *c, struct cw_op *op, void (*fn)(struct cw_op *, int),
                 void (*forget)(struct cw_op *));
/* The two halves of it, for a ticket that is needed before its copy exists. */
void cw_op_init(struct cw_op *op, void (*fn)(struct cw_op *, int), void (*forget)(struct cw_op *));
void cw_op_track(struct cw_copy *c, struct cw_op *op);
/* For an op whose store call came to nothing. */
void cw_op_cancel(struct cw_op *op);
void cw_copy_idle(struct cw_copy *c); /* busy fell, or the durable seq moved */
void cw_replica_wake(struct cw_replica *r, uint64_t after_ns);

/* ---- peer.c ---- */

struct cw_peer *cw_peer_ref(struct cw_peer *p);
void cw_peer_unref(struct cw_peer *p);
/* Takes the message; NULL (no memory for it) ends the link, for an answer may not be left out. */
void cw_peer_send(struct cw_peer *p, struct cw_msg *take_msg);
void cw_peer_close(struct cw_peer *p, const char *why);
/* The peer sent what no correct peer sends: ends its link. */
void cw_peer_offend(struct cw_peer *p, const struct cw_frame *f, const char *what);
void cw_peer_nack(struct cw_peer *p, uint64_t shard, uint32_t tag, enum cw_nack_code code,
                  uint32_t gen, uint64_t seq);
/* NACK of a frame about a copy that exists. */
void cw_peer_nack_copy(struct cw_peer *p, const struct cw_copy *c, uint32_t tag,
                       enum cw_nack_code code, uint64_t seq);
/* The code by which a frame of that generation is refused here: 0 if it may pass. */
int cw_copy_gen_code(const struct cw_copy *c, uint32_t gen);
/* The open session of that frame on that link; NULL: it was NACKed. */
struct cw_session *cw_peer_session(struct cw_peer *p, const struct cw_frame *f);
void cw_peer_free_all(struct cw_replica *r);
/* Ends a link that nobody here wants. */
void cw_link_refuse(struct cw_link *link);

/* ---- session.c ---- */

void cw_session_on_open(struct cw_peer *p, const struct cw_frame *f);
void cw_session_on_close(struct cw_peer *p, const struct cw_frame *f);
void cw_session_on_cfg(struct cw_peer *p, const struct cw_frame *f);
void cw_session_on_stable(struct cw_peer *p, const struct cw_frame *f);
void cw_session_on_heartbeat(struct cw_peer *p, const struct cw_frame *f);
/* Held records go, the session goes; a live resync stays. */
void cw_session_end(struct cw_session *s);
/* Ends the copy's session because of a SEAL with this gen that came over `by`. */
void cw_session_fence(struct cw_copy *c, uint32_t gen, struct cw_peer *by);
/* A record payload that fits shard and generation, decoded; false: the peer was ended. */
bool cw_session_rec(struct cw_peer *p, const struct cw_frame *f, struct cw_shard_rec *ret);
bool cw_rec_is_newer(const struct cw_shard_rec *a, const struct cw_shard_rec *b);

/* ---- seal.c ---- */

void cw_seal_on_frame(struct cw_peer *p, const struct cw_frame *f);
void cw_seal_forget_all(struct cw_copy *c);

/* ---- stream.c, hold.c ---- */

void cw_stream_on_frame(struct cw_peer *p, const struct cw_frame *f);
void cw_stream_on_repair_append(struct cw_peer *p, const struct cw_frame *f);
/* As cw_store_append, with what the resync makes of it. */
int cw_stream_append(struct cw_copy *c, struct cw_store_rec *rec);
/* NACKs what could not be taken: append's answer, or -ENOMEM from holding. */
void cw_stream_refuse(struct cw_copy *c, int res, uint64_t seq);

bool cw_hold_push(struct cw_copy *c, const struct cw_store_rec *rec);
void cw_hold_drop(struct cw_copy *c);
void cw_hold_retry(struct cw_replica *r);

/* ---- ack.c ---- */

void cw_ack_owe(struct cw_session *s);
void cw_ack_owe_all(struct cw_replica *r);
void cw_ack_send_all(struct cw_replica *r);
struct cw_wire_ack cw_ack_of(const struct cw_copy *c, uint32_t gen);

/* ---- read.c ---- */

void cw_read_on_read(struct cw_peer *p, const struct cw_frame *f);
void cw_read_on_tail_query(struct cw_peer *p, const struct cw_frame *f);
void cw_read_on_block_repair(struct cw_peer *p, const struct cw_frame *f);
void cw_read_on_peer_down(struct cw_peer *p);
void cw_read_forget_all(struct cw_replica *r);

/* ---- note.c ---- */

void cw_note_init(struct cw_replica *r);
void cw_note_on_bad(void *user, const struct cw_store_bad *bad);
/* A session is open: it is told all that is known. */
void cw_note_on_open(struct cw_copy *c);
/* These blocks are fine again. */
void cw_note_repaired(struct cw_copy *c, uint64_t lba, uint32_t nblk);
void cw_note_drop_all(struct cw_copy *c);
uint64_t cw_note_blocks(const struct cw_copy *c);
void cw_note_check(const struct cw_replica *r);

/* ---- sync_source.c ---- */

void cw_get_on_frame(struct cw_peer *p, const struct cw_frame *f); /* VER_LIST, CHUNK_GET */
void cw_get_on_durable(struct cw_copy *c);
void cw_get_refuse_all(struct cw_copy *c, enum cw_nack_code code); /* those that wait */
void cw_get_on_peer_down(struct cw_peer *p);
void cw_get_forget_all(struct cw_replica *r);

/* ---- sync.c, sync_list.c, sync_slot.c, source.c ---- */

enum cw_slot_state {
    CW_SLOT_VOIDING,  /* VOID is on its way to the disk; COPYING from here on */
    CW_SLOT_READING,  /* our own checksums are being read */
    CW_SLOT_READY,    /* may ask, at retry_ns */
    CW_SLOT_ASKED,    /* CHUNK_GET is out */
    CW_SLOT_FULL,     /* has the answer, the store has no room yet */
    CW_SLOT_SETTING,  /* CHUNK_CURRENT is on its way to the disk */
    CW_SLOT_SKIPPING, /* CURRENT; the stream up to q is still to come and to be skipped */
};

struct cw_slot {
    struct cw_sync *sync;
    struct cw_list in_sync;
    enum cw_slot_state state;
    uint32_t chunk, tag;
    uint64_t retry_ns;             /* READY: not before; ASKED: given up then */
    uint64_t hi_seq;               /* highest seq applied here since COPYING began, 0: none */
    uint64_t pos;                  /* our stream position when we asked */
    uint64_t seq[CW_CHUNK_BLOCKS]; /* block -> seq applied since COPYING began, 0: none */
    uint64_t now[CW_CHUNK_BLOCKS]; /* checksum of the block here, everything appended included */

    /* FULL and later: the source's answer */
    uint64_t q; /* its position */
    uint64_t theirs[CW_CHUNK_BLOCKS];
    uint64_t sent[4], bad[4]; /* blocks that are still wanted; data of `sent` in order in buf */
    uint64_t ours[4];         /* blocks that the source, a journal, does not hold */
    uint64_t ver_seq;
    uint32_t ver_gen;
    struct cw_buf *buf;
    uint64_t set_csums[CW_CHUNK_BLOCKS];

    bool under_way; /* op or read is the store's */
    struct cw_op op;
    struct cw_store_read read;
};

enum cw_sync_step { CW_SYNC_JOINING, CW_SYNC_LIST, CW_SYNC_COPY, CW_SYNC_FINISHING };

/* A live JOIN on the target. Freed when dead and nothing of it is the store's any more. */
struct cw_sync {
    struct cw_replica *r;
    struct cw_copy *copy; /* its sync is this one, unless dead */
    struct cw_list in_replica, in_source;
    struct cw_source *source; /* NULL: none named yet */
    enum cw_sync_step step;
    bool dead;
    uint32_t refs; /* its own until dead, and each op or read under way */
    uint32_t gen, join_tag;
    uint64_t s0, join_id, rate_bytes;
    uint64_t since_seq; /* of the journal that is the source; 0: a copy is */
    struct cw_op op;    /* JOIN, SYNC_DONE */

    uint32_t list_next, list_tag; /* first chunk not compared; the VER_LIST that is out, 0: none */
    uint64_t list_retry_ns;

    uint64_t behind[CW_SHARD_CHUNKS / 64];
    uint32_t n_behind, cursor; /* all below cursor that are BEHIND are hot ones */
    uint64_t chunks_total, bytes_moved;
    uint32_t hot[CW_SYNC_HOT_MAX], n_hot;
    struct cw_list slots;
    uint32_t n_slots;
    uint64_t ask_ns;                /* rate limit: no CHUNK_GET before */
    uint64_t state_ns;              /* next SYNC_STATE */
    uint64_t answers, answers_told; /* progress since the last SYNC_STATE? */
    uint32_t why;                   /* enum cw_nack_code of the last refusal, 0: none */
    struct cw_timer timer;
};

/* What the source, a journal, does not hold is here already. */
static inline bool
cw_sync_is_overlay(const struct cw_sync *s)
{
    return CW_JOIN_KIND(s->join_id) == CW_JOIN_OVERLAY;
}

struct cw_source {
    struct cw_replica *r;
    struct cw_list in_replica;
    struct cw_list syncs;
    struct cw_wire_sync_from at;
    struct cw_link *link; /* NULL: not up */
    uint64_t dial;        /* not 0: connect is under way */
    uint64_t redial_ns;   /* earliest next attempt */
    uint32_t n_failed;    /* in a row */
};

void cw_sync_on_join(struct cw_peer *p, const struct cw_frame *f);
void cw_journal_on_join(struct cw_session *s, const struct cw_frame *f); /* journal.c */
void cw_sync_on_sync_from(struct cw_peer *p, const struct cw_frame *f);
/* After OPEN_OK: what the owner may have missed. */
void cw_sync_on_open(struct cw_copy *c);
void cw_sync_stop(struct cw_copy *c);
void cw_sync_unref(struct cw_sync *s);
void cw_sync_pump(struct cw_sync *s);
void cw_sync_pump_all(struct cw_replica *r);
void cw_sync_on_answer(struct cw_source *src, const struct cw_frame *f);
void cw_sync_on_source_down(struct cw_sync *s);
void cw_sync_refused(struct cw_sync *s, uint32_t code);
void cw_sync_forget(struct cw_sync *s);
uint32_t cw_sync_phase(const struct cw_sync *s);
uint64_t cw_sync_chunks_left(const struct cw_sync *s);
void cw_sync_check(const struct cw_sync *s);

void cw_sync_list_pump(struct cw_sync *s);
void cw_sync_list_on_data(struct cw_sync *s, const struct cw_frame *f);

/* What becomes of a record in each chunk it touches; true: r->apply is filled. Called before the
 * append; _appended after it succeeded. */
bool cw_slot_apply(struct cw_sync *s, const struct cw_store_rec *rec);
void cw_slot_appended(struct cw_sync *s, const struct cw_store_rec *rec);
bool cw_slot_begin(struct cw_sync *s); /* takes a BEHIND chunk; false: none, or no room */
void cw_slot_pump(struct cw_slot *sl);
void cw_slot_on_data(struct cw_slot *sl, const struct cw_frame *f);
void cw_slot_ask_again(struct cw_slot *sl, uint64_t after_ns);
void cw_slot_pos_moved(struct cw_sync *s);
void cw_slot_free(struct cw_slot *sl);

void cw_source_set(struct cw_sync *s, const struct cw_wire_sync_from *at);
void cw_source_leave(struct cw_sync *s);
void cw_source_pump(struct cw_source *src); /* connects if it is time */
bool cw_source_send(struct cw_source *src,
                    struct cw_msg *take_msg); /* false: not up, or no memory */
void cw_source_forget_links(struct cw_replica *r);

/* A fresh tag, not 0. */
static inline uint32_t
cw_replica_tag(struct cw_replica *r)
{
    if (++r->next_tag == 0)
        ++r->next_tag;
    return r->next_tag;
}
