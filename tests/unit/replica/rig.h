/* A disk's replica over the real store on a disk in memory, with links whose far end is the test.
 */
#pragma once

#include "common/codec/frame.h"
#include "common/codec/hash.h"
#include "daemon/replica/replica.h"
#include "tests/lib/cw-test.h"
#include "tests/lib/ramdisk.h"
#include "tests/lib/simenv.h"

#define RIG_SHARD CW_SHARD_ID(3, 0)
#define RIG_FRAMES 256

struct rig;

/* A frame as it was sent. */
struct rig_frame {
    struct cw_wire_hdr hdr;
    uint64_t csums[CW_FRAME_CSUMS_MAX];
    uint32_t len;
    uint8_t *data;
    bool seen;
};

struct rig_link {
    struct cw_link link;
    struct rig *rig;
    struct rig_link *far; /* not NULL: a pipe between two replicas; frames go there */
    bool closed, down;
    struct rig_frame frames[RIG_FRAMES];
    uint32_t n;
};

struct rig_disk {
    struct rig *rig;
    struct cw_ramdisk *ram;
    struct cw_buf_pool *pool;
    struct cw_replica *replica;
    struct cw_uuid uuid;
    uint64_t format_id;
    bool done;
    int res;
};

struct rig {
    struct cw_simenv env;
    struct rig_disk disk[2];
    uint64_t dials[16];
    uint32_t n_dials;
    struct rig_link *links[64];
    uint32_t n_links;
    bool hold_pipe; /* frames between replicas wait until it is false */
    bool old_peers; /* new links are of peers that know no features */
    struct cw_timer pump;
    uint64_t reads_bytes; /* of the next rig_open, as the next one */
    uint32_t copies_max;
};

void rig_init(struct rig *r);
void rig_fini(struct rig *r);
void rig_open(struct rig_disk *d);
/* keep: of 256, of what is not stable. */
void rig_crash(struct rig_disk *d, uint32_t keep);
void rig_close(struct rig_disk *d);
/* Flips a bit in every block of the disk that holds only this byte. */
void rig_rot(struct rig_disk *d, uint8_t fill);

struct rig_link *rig_link(struct rig_disk *d);
void rig_down(struct rig_link *l);
/* A pipe both of whose ends are gone. */
void rig_forget_pipe(struct rig_link *l);
/* Answers the oldest connect of disk `from` with a pipe to disk `to`. */
struct rig_link *rig_answer_dial(struct rig_disk *from, struct rig_disk *to);

struct cw_shard_rec rig_rec(const struct rig *r, uint32_t gen, uint32_t cfg);

void rig_send(struct rig_link *l, struct cw_wire_hdr h, const uint64_t *csums, const void *payload,
              uint32_t len);
void rig_seal(struct rig_link *l, uint32_t gen, bool create);
void rig_open_session(struct rig_link *l, uint32_t gen);
/* One block of the byte `fill`. */
void rig_write(struct rig_link *l, uint32_t gen, uint64_t seq, uint64_t lba, uint8_t fill);
void rig_join(struct rig_link *l, uint32_t gen, uint64_t join_id, uint64_t s0); /* tag 8 */
void rig_sync_from(struct rig_link *l, uint32_t gen, const struct rig_disk *source,
                   uint64_t join_id, uint64_t since_seq);
void rig_read(struct rig_link *l, uint32_t gen, uint64_t lba, uint32_t nblk, uint32_t tag);

/* Runs until a frame of that type, not yet seen, is there; fails after 10 s of virtual time. */
struct rig_frame *rig_expect(struct rig_link *l, uint8_t type);
/* Runs until the session's durable seq is at least that. */
void rig_expect_acked(struct rig_link *l, uint64_t seq);
uint32_t rig_nack_code(const struct rig_frame *f);
/* None of that type was sent and not seen, after 200 ms. */
void rig_expect_none(struct rig_link *l, uint8_t type);
void rig_run(struct rig *r, uint64_t ms);
/* SEAL+CREATE and OPEN. */
struct rig_link *rig_owner(struct rig_disk *d, uint32_t gen);
