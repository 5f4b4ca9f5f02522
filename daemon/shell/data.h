/* shell/data.h - the data thread of a daemon: one reactor, on it every store with its replica, the
 * data links, and the owners of the volumes that this daemon takes care of.
 *
 *   start -> (recovering) -> on_ready -> serving -> close -> on_closed -> join
 *
 * Everything here is called on the control thread and answered there.
 */
#pragma once

#include "common/base/uuid.h"
#include "common/owner/owner.h"
#include "daemon/replica/replica.h"
#include "daemon/shell/bridge.h"
#include "daemon/shell/options.h"

struct cw_data;

#define CW_DATA_WHY_SIZE 400

/* A request of an owner on its way to the manager and back. Exactly one pointer is set; the request
 * is the control thread's until it is answered. */
struct cw_data_call {
    struct cw_change *change;
    struct cw_volume_get *get;
    struct cw_volume_give_up *release;
    void *storage; /* free()d after the owner saw the answer: what the answer points to */
    void *user;    /* the control thread's */
    struct cw_hop hop;
    struct cw_data *d;
};

struct cw_data_events {
    /* Once. why: NULL when all stores serve, else one line why the daemon cannot start. */
    void (*on_ready)(void *user, const char *why);
    /* Answer to cw_data_close: no link, no call to the control thread is left, and no I/O but of
     * disks that hang. */
    void (*on_closed)(void *user, int res);

    /* A caretaker asks the manager. Answered with cw_data_call_answered, later. */
    void (*on_call)(void *user, struct cw_data_call *);
    /* Borrowed for the call. */
    void (*on_report)(void *user, const struct cw_volume_report *, const struct cw_shard_report *);
    void (*on_verify)(void *user, uint64_t volume, const struct cw_verify *);
};

struct cw_data_opts {
    const struct cw_options *options; /* outlives the data thread */
    struct cw_service *service;
    struct cw_uuid boot_id, daemon_id;
    uint64_t incarnation;
    void (*log)(void *log_user, enum cw_log_level, const char *line); /* any thread */
    void *log_user;
    const struct cw_data_events *ev;
    void *user;
};

/* 0 or a negative errno with why. Starts the thread and begins to open the stores. */
int cw_data_start(const struct cw_data_opts *opts, struct cw_data **ret_d,
                  char why[static CW_DATA_WHY_SIZE]);

/* Releases what is taken care of, closes the stores cleanly. */
void cw_data_close(struct cw_data *d);

/* After on_closed: has some disk I/O that it does not give back? Its memory cannot be freed, so
 * that cw_data_join must not be called: the process ends as it is. */
bool cw_data_hangs(const struct cw_data *d);

/* After on_closed: ends the thread and frees. */
void cw_data_join(struct cw_data *d);

/* A data socket with the HELLO bytes that were read from it. Before on_ready it is closed. */
void cw_data_adopt(struct cw_data *d, int take_fd, const void *bytes, size_t len);

/* The cluster is known: links of others are refused, unclaimed stores are claimed. */
void cw_data_join_cluster(struct cw_data *d, struct cw_uuid cluster_id);

/* ---- looking ---- */

/* A copy with blocks that are known to be bad and not yet mended. */
struct cw_data_bad {
    uint32_t disk; /* index */
    uint64_t shard, blocks;
};
#define CW_DATA_BADS_MAX 1024u

struct cw_data_disk {
    struct cw_store_identity id;
    struct cw_store_stats stats;
    struct cw_store_recovery recovery; /* of this start */
    const char *path;                  /* lives as long as the data thread */
    char name[24];                     /* "store-0" */
    char why[128];
    uint64_t n_shards, write_p99_ns, bad_blocks;
    struct cw_store_memory memory;
    bool stuck;
};

/* What --memory gave, and what is taken. */
struct cw_data_memory {
    uint64_t limit_bytes, pool_bytes, pool_used_bytes, metadata_bytes;
};

struct cw_data_copy {
    uint32_t disk; /* index */
    struct cw_replica_copy c;
};

/* The caller's until done; the arrays are freed after done. */
struct cw_data_look {
    bool want_copies;
    void (*done)(struct cw_data_look *);
    void *user;

    struct cw_data_disk *disks;
    uint32_t n_disks;
    struct cw_data_copy *copies;
    size_t n_copies;
    struct cw_data_bad *bads;
    size_t n_bads;
    struct cw_data_memory memory;

    struct cw_hop hop;
    struct cw_data *d;
};
void cw_data_look(struct cw_data *d, struct cw_data_look *l);

/* ---- what the manager asks ---- */

enum cw_data_ask_kind {
    CW_DATA_OWNER_SEEN, /* volume, gen -> session, silent_ms */
    CW_DATA_DROP,       /* shards, disk_uuid (nil: any) */
    CW_DATA_HINT,       /* host, up, disks, volume (0: none) */
    CW_DATA_CARETAKE,   /* desc */
    CW_DATA_LET_GO,     /* volume */
    CW_DATA_VERIFY,     /* volume, job, cancel */
    CW_DATA_RESIZED,    /* volume, size_bytes, shards in recs, disks */
    CW_DATA_SCRUB,      /* disk_uuid */
    CW_DATA_EVICT,      /* volume, shard in shards, disk_uuid */
};

/* Zeroed and malloc'ed by the caller, who frees it in done. Arrays are the caller's and live as
 * long. */
struct cw_data_ask {
    enum cw_data_ask_kind kind;
    void (*done)(struct cw_data_ask *); /* once */
    void *user;

    uint64_t volume, job, size_bytes;
    uint32_t gen;
    bool up, cancel;
    char host[CW_OWNER_NAME_SIZE];
    struct cw_uuid disk_uuid;
    uint64_t *shards;
    size_t n_shards;
    struct cw_shard_rec *recs;
    uint32_t n_recs;
    struct cw_disk_location *disks;
    uint32_t n_disks;
    struct cw_volume_desc *desc;

    int res; /* 0, -ENOENT: not here, or what failed */
    bool session;
    uint64_t silent_ms;

    struct cw_hop hop;
    struct cw_list link; /* the data thread's */
    struct cw_data *d;
    size_t n_waiting;
};
void cw_data_ask(struct cw_data *d, struct cw_data_ask *a);

void cw_data_call_answered(struct cw_data *d, struct cw_data_call *c);
