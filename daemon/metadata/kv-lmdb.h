/* metadata/kv-lmdb.h - the manager's records in LMDB, on one machine.
 *
 *   DIR/lock      held (flock) by the one process that may open DIR
 *   DIR/data.mdb  database "kv": key -> version, checksum, value; database "meta": format, version
 *
 * A commit is durable when it reports APPLIED: LMDB writes new pages, syncs, then writes one of two
 * meta pages synchronously, so a crash leaves the last committed state or the one before it, never
 * a mixture. LMDB itself has no checksums: each value carries one over its key, version and bytes.
 *
 * Transactions run on the loop's thread and block it for the time of a disk flush.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/env.h"
#include "daemon/manager/kv.h"

#define CW_LMDB_WHY_SIZE 512

struct cw_lmdb;

struct cw_lmdb_opts {
    struct cw_env *env;
    const char *dir;
    bool bootstrap;      /* make what is missing; else an empty or absent DIR is an error */
    uint64_t size_bytes; /* of the map at first, grows by doubling; 0: 64 MiB */

    /* The disk failed in a commit: nothing more will be answered but UNAVAILABLE, and whether the
     * last transaction took effect is known only after opening again. Once; may be NULL. */
    void (*broken)(void *user, const char *why);
    void *user;
};

/* 0, or -errno with one line in why that says what to do. */
int cw_lmdb_open(const struct cw_lmdb_opts *opts, struct cw_lmdb **ret,
                 char why[static CW_LMDB_WHY_SIZE]);

/* Requests under way are forgotten. NULL is fine. */
void cw_lmdb_close(struct cw_lmdb *l);

/* Lives as long as l. Its name is "lmdb DIR". */
struct cw_kv *cw_lmdb_kv(struct cw_lmdb *l);
