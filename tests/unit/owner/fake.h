/* unit/owner/fake.h - a cluster of scripted replicas and a scripted manager around one real owner.
 *
 * Virtual time (simenv); frames pass between turns. A replica keeps its log and blocks in memory
 * and can be told to hold its acks, to go silent, to lose its link, to refuse. */
#pragma once

#include "common/codec/frame.h"
#include "common/codec/hash.h"
#include "common/owner/owner.h"
#include "tests/lib/cw-test.h"
#include "tests/lib/simenv.h"

#define N_DISKS 3
#define N_BLOCKS 1024u
#define LOG_MAX 4096u
#define QUEUE_MAX 8192u
#define VOLUME_ID 7u

struct fake_rec {
    uint64_t seq, lba;
    uint32_t gen, nblk;
    uint8_t type;
    uint8_t fill[256]; /* first byte of each block */
};

struct fake_queue {
    struct cw_msg *at[QUEUE_MAX];
    uint32_t first, n;
};

struct world;

struct disk {
    struct world *w;
    struct cw_link link;
    bool up, connecting;
    bool refuse_connect; /* connects fail */
    bool silent;         /* takes frames, answers nothing: paused */
    bool hold_acks;      /* records are received, not durable */
    bool receipts;       /* the session asked to be told what is received */
    bool hold_reads;
    bool no_hb;     /* heartbeats are not answered */
    bool hold_open; /* OPEN is answered later */
    bool bad_reads; /* READ_ERR for block bad_block */
    bool tail_unreadable;
    bool broken;    /* the disk is: SEAL and OPEN are refused */
    bool formatted; /* answers SEAL as another disk */
    uint64_t bad_block;
    uint32_t mended[N_BLOCKS]; /* times that a BLOCK_REPAIR named the block */
    uint64_t credit;
    struct fake_queue in, out; /* to the replica, to the owner */
    struct cw_disk_location loc;

    /* the copy */
    bool exists, damaged, session;
    uint32_t promised;
    uint32_t last_gen, received_gen;
    uint64_t last, received; /* durable; in RAM */
    uint64_t stable;
    struct fake_rec log[LOG_MAX];
    uint32_t n_log;
    struct cw_wire_hist hist[16];
    uint32_t n_hist;
    uint8_t fill[N_BLOCKS]; /* first byte of each block */
    uint8_t blocks[N_BLOCKS][4096];
    uint64_t join_id;
    bool syncing;
    bool journal, overlay; /* by its JOIN */
    bool old;              /* knows no journals */
    struct cw_msg *held_reads[16];
    uint32_t n_held_reads;
    struct cw_msg *held_open;

    uint32_t n_seals, n_opens, n_writes, n_resent, n_reads, n_repairs, n_joins, n_sync_from,
        n_closes;
    uint64_t sync_rate;        /* in SYNC_FROM */
    uint64_t sync_since;       /* in it: the journal that is named as source */
    uint64_t last_stable_seen; /* in STABLE */
    uint64_t gen_start_stable; /* in GEN_START */
    struct cw_shard_rec shown; /* in the last SEAL or CFG */
};

enum manager_mode { MGR_OK, MGR_LOSE_REPLY, MGR_DOWN, MGR_HOLD };

struct world {
    struct cw_simenv sim;
    struct cw_buf_pool *pool;
    struct cw_owner *owner;
    uint64_t id;                /* the volume's */
    struct world *also, *first; /* a volume beside it, of the same owner and of its time */
    uint32_t resync_max;        /* 0: the owner's default */
    struct cw_volume *v;
    struct disk disks[N_DISKS];
    struct cw_shard_rec rec; /* the metadata store */
    uint32_t vol_gen;
    enum manager_mode mode;
    struct cw_change *change; /* waits for its answer */
    bool change_applied;
    struct cw_volume_get *get;
    struct cw_volume_give_up *give_up;
    uint32_t n_changes, n_releases; /* changes but for those of n_begins */
    uint32_t n_begins;              /* that nobody was active before is asked to be forgotten */
    bool ready, failed, fenced, released, release_clean, kept, resized;
    int fail_res;
    uint32_t min_insync;
    bool ack_replicated;
    bool was_released, quorum_loss_error, space_full_error;
    uint64_t resync_limit;
    bool resync_paused;
    bool hold_release;   /* a release is not answered */
    bool refuse_lagging; /* the manager has set enough disks aside */
};

void world_init(struct world *w);
void world_fini(struct world *w);
#define MIN_INSYNC 2u
/* A world of its own, whose volume is ready; and its end, from malloc. */
struct world *world_opened(uint32_t min_insync);
void world_closed(struct world *w);
void world_open(struct world *w);
/* Another volume with disks of its own beside w, which is open: to be opened by world_open; from
 * malloc, and ends with w. Time and turns are those of w. */
void world_also(struct world *w, struct world *also);
void world_turn(struct world *w);
void world_run(struct world *w, uint64_t ms);
/* Answers the change that waits, as its mode says now. */
void world_answer_change(struct world *w);
bool world_wait(struct world *w, const bool *flag, uint64_t ms);
void disk_cut(struct disk *d);     /* the link breaks */
void disk_release(struct disk *d); /* acks and reads that were held */
void disk_ack(struct disk *d);     /* acks of what it has by now; what comes is held */
void disk_append(struct disk *d, uint32_t gen, uint64_t seq, uint64_t lba, uint8_t fill);
void disk_gen_start(struct disk *d, uint32_t gen, uint64_t seq);
void disk_sync_done(struct disk *d);
void disk_note(struct disk *d, uint64_t lba, uint32_t nblk, const uint64_t bad[4]);
const struct cw_member *world_member(const struct world *w, uint32_t disk); /* NULL: none */
enum cw_member_state world_state(const struct world *w, uint32_t disk);

struct req {
    struct cw_io io;
    struct iovec iov;
    uint8_t data[8 * 4096];
    bool done;
    int res;
};
void req_write(struct world *w, struct req *r, uint64_t off, uint64_t len, uint8_t fill);
void req_read(struct world *w, struct req *r, uint64_t off, uint64_t len);
void req_op(struct world *w, struct req *r, enum cw_io_op op, uint64_t off, uint64_t len);
