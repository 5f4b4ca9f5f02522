/* tool/rebuild.h - a lost manager's records made again from what copies were shown (replication.md,
 * 1.10, last paragraph).
 *
 *   stores --each recovered in memory--> copies --plan--> records, notes, refusals --write--> LMDB
 *
 * The plan is pure. A shard is what the highest record of any of its copies says, if every copy
 * that this record calls in sync was found: one that was not may hold writes that the others lack.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/manager/records.h"
#include "daemon/store/store.h"

#define CW_REBUILD_TEXT_SIZE 320
/* Generations and numbers of volumes go on so far above what was seen: whatever was not seen, and
 * whatever an old owner still sends, lies below. */
#define CW_REBUILD_JUMP 1000u
#define CW_REBUILD_COPIES_MAX 5u /* that a policy may ask for */

struct cw_rebuild_store {
    const char *path;
    struct cw_store_identity id;
};

struct cw_rebuild_copy {
    uint32_t store; /* index */
    struct cw_shard_rec rec;
    uint32_t promised_gen, last_gen;
    uint64_t last_seq;
    bool syncing, damaged;
};

struct cw_rebuild_name {
    uint64_t volume;
    const char *name;
};

struct cw_rebuild_texts {
    char (*at)[CW_REBUILD_TEXT_SIZE];
    size_t n;
};

struct cw_rebuild {
    /* what was found and what was asked; borrowed */
    const struct cw_rebuild_store *stores;
    uint32_t n_stores;
    struct cw_rebuild_copy *copies; /* the plan sorts them */
    uint32_t n_copies;
    uint64_t highest_volume; /* also of copies that are being given back */
    bool force;
    const struct cw_rebuild_name *names;
    size_t n_names;
    const uint64_t *leave_out;
    size_t n_leave_out;
    const char *cluster_name; /* NULL: from the cluster's id */
    uint64_t now_s;
    uint64_t random[2]; /* of an owner that never was */

    /* the plan: in the order of writing; the cluster's record is the last */
    struct cw_rec *recs;
    size_t n_recs, cap_recs;
    struct cw_rebuild_texts refused, notes;
    bool policies[CW_REBUILD_COPIES_MAX + 1][CW_COMPRESSION_INLINE + 1]; /* are in recs */
};

/* False: refused says why, and nothing is to be written. */
bool cw_rebuild_plan(struct cw_rebuild *r);
void cw_rebuild_fini(struct cw_rebuild *r);
