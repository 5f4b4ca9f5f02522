/* tests/soak/model.h - what the store must hold, in memory that outlives the process that drives
 * it.
 *
 *   issue -> journal --durable--> applied to the arrays of the copy, in the order of its log
 *
 * The parent maps it before it forks; a child that is killed between any two instructions leaves it
 * usable: an operation is in the journal before the store hears of it, and leaves it only when the
 * arrays have it. What of the journal a crash kept is decided by the next child (model_resolve): a
 * prefix of the order of issue, with all that was acknowledged.
 *
 * A block's content is a function of its place and of the number of the operation that wrote it, so
 * that a read tells exactly which write it saw; a snapshot is a copy of the array of these numbers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/prng.h"
#include "daemon/store/store.h"

#define SLOTS 5u      /* copies; the last one only ever is a clone of another's snapshot */
#define SNAPS 3u      /* snapshots of a copy at once */
#define OPS_MAX 1024u /* in the journal */
#define RECENT 8192u  /* of a copy's last records, for reads of its tail */

enum op_kind {
    OP_NONE,
    OP_WRITE,
    OP_ZERO,
    OP_TRIM,
    OP_GEN,
    OP_CREATE,
    OP_CLONE,
    OP_DROP,
    OP_SNAP,
    OP_UNSNAP,
    OP_KINDS
};

struct op {
    uint64_t number;          /* in order of issue, from 1; the content of what it writes */
    uint64_t begun_ns;        /* when it was first tried .. */
    uint64_t taken_ns;        /* .. and when the store took it */
    uint64_t seq;             /* WRITE .. GEN */
    uint64_t name;            /* SNAP, UNSNAP, CLONE: of the snapshot */
    uint32_t at, n;           /* blocks of the copy, as the model counts them */
    uint8_t kind, slot, from; /* from: CLONE, the slot */
    bool applied;
};

struct recent {
    uint64_t seq, number;
    uint32_t at, n;
    uint8_t kind;
};

struct slot {
    bool exists;
    uint64_t incarnation; /* number of its CREATE or CLONE: the lineage of the shard record */
    uint64_t acked_seq;   /* reported durable */
    uint64_t snap[SNAPS]; /* names; 0: none here */
    struct recent recent[RECENT];
};

struct model {
    uint32_t blocks; /* of each slot */
    uint64_t next_number, next_name;
    uint64_t head, tail; /* of the journal: [tail, head) */
    struct op op[OPS_MAX];
    struct slot slot[SLOTS];
    /* [slot][0: the head, then its snapshots][blocks]: number of the writer, 0: zeroes */
    uint32_t ids[];
};

struct model *model_new(uint32_t blocks); /* shared with children; never freed */

uint32_t *model_ids(struct model *m, uint32_t slot, uint32_t layer); /* 0: the head */

/* ---- places and content ---- */

/* Where the store has block `at` of a slot: some slots lie scattered over many chunks. */
uint64_t model_lba(uint32_t slot, uint32_t at);
/* How many blocks from `at` on lie next to each other in the store, at most n. */
uint32_t model_run(uint32_t slot, uint32_t at, uint32_t n);
void content_fill(uint8_t *block, uint64_t lba, uint32_t id);
uint64_t content_csum(uint64_t lba, uint32_t id);

/* ---- the journal ---- */

uint32_t model_in_flight(const struct model *m);
struct op *model_op(struct model *m, uint64_t i); /* i in [tail, head) */

/* Before the store hears of it; NULL: the journal is full. number, kind and begun_ns are set. */
struct op *model_issue(struct model *m, const struct op *op);
/* The last one was not taken by the store after all. */
void model_take_back(struct model *m);

/* The copy's records up to seq are durable, and so is what was issued for it before them. Calls
 * `done` for each that was not known to be. */
typedef void model_done_fn(void *user, const struct op *op);
void model_durable(struct model *m, uint32_t slot, uint64_t seq, model_done_fn *done, void *user);
/* The same for one without a seq, and all of its copy before it. */
void model_step_durable(struct model *m, uint64_t number, model_done_fn *done, void *user);

/* ---- after a crash ---- */

struct resolved {
    uint32_t kept, lost;
};

/* Applies what the store kept of the journal and forgets the rest. NULL, or what is wrong, in
 * memory that holds until the next call. May be interrupted and begun again. */
const char *model_resolve(struct model *m, struct cw_store *s, struct resolved *ret);

uint64_t slot_shard(uint32_t slot);
