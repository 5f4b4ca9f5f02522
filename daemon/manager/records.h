/* manager/records.h - what the manager keeps in the metadata store, as plain structs.
 *
 *   /cluster  /policy/<name>  /node/<name>  /disk/<uuid>  /vol/<id>  /shard/<id>
 *   /drop/<disk uuid>/<shard>  /event/<number>  /job/<id>   (numbers: 16 hexadecimal digits)
 *   /removed/<uuid>
 *
 * The manager handles only these structs; a cw_rec_codec turns one into the bytes of its key and
 * back (proto/metadata.proto, in daemon/metadata). Strings are NUL-terminated and never truncated
 * silently: the manager refuses what does not fit, the codec refuses to decode it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/addr.h"
#include "common/base/uuid.h"
#include "common/codec/shardrec.h"
#include "daemon/manager/kv.h"

#define CW_NAME_SIZE 64 /* names of volumes, policies, hosts, sites ..: 63 bytes and the NUL */
#define CW_SITES_SIZE 256
#define CW_UNIX_PATH_SIZE 108
#define CW_EVENT_CODE_SIZE 32
#define CW_OBJECT_SIZE 200
#define CW_EVENT_TEXT_SIZE 300

/* VolumeRecord.state */
enum cw_volume_hold {
    CW_HOLD_RELEASED = 1, /* nobody owns it and the last owner left it equal on all members */
    CW_HOLD_OWNED,        /* owner_id holds gen, or died holding it */
};

enum cw_site_kind { CW_SITE_ON_PREMISE, CW_SITE_CLOUD };

struct cw_cluster_rec {
    struct cw_uuid cluster_id;
    char name[CW_NAME_SIZE];
    uint64_t next_volume_id;
    uint64_t next_event;
    uint64_t epoch;
    uint64_t created_s;       /* all *_s: seconds since 1970, UTC */
    uint64_t repair_paused_s; /* since; 0: it is not */
    uint64_t repair_limit;    /* bytes per second of each owner; 0: none */
    uint64_t saved_s;         /* in a backup: when it was made; else 0 */
    uint64_t restored_s;      /* from a backup; 0: never */
    uint64_t restored_epoch;  /* of that backup */
};

struct cw_policy_rec {
    char name[CW_NAME_SIZE];
    uint32_t copies;
    char spread[8];            /* host, rack, site */
    char sites[CW_SITES_SIZE]; /* any, each:N a,b, only:S, prefer:S */
    uint32_t min_insync;       /* 0: the default for copies */
    int32_t degrade_s;         /* -1: off */
    char journal[8];           /* auto, off */
    char ack[12];              /* durable */
    char async[CW_NAME_SIZE];  /* none */
    char compression[12];      /* off, background, inline */
    uint64_t iops_limit;
    uint64_t bandwidth_limit; /* bytes per second */
    uint32_t repair_delay_s;
    char quorum_loss[8]; /* wait, error */
    char space_full[8];  /* wait, error */
};

/* The policy `default` of a new cluster. */
void cw_mgr_policy_default(struct cw_policy_rec *ret);

enum cw_maintain {
    CW_MAINTAIN_OFF,
    CW_MAINTAIN_ACCESSIBLE, /* every volume serves without it */
    CW_MAINTAIN_FULL,       /* no copy is left on it */
    CW_MAINTAIN_NONE,       /* it just goes */
};

struct cw_host_rec {
    char name[CW_NAME_SIZE];
    struct cw_uuid host_key;
    char region[CW_NAME_SIZE], site[CW_NAME_SIZE], rack[CW_NAME_SIZE];
    enum cw_site_kind site_kind;
    char advertise[CW_ADDR_TEXT_SIZE];
    char unix_path[CW_UNIX_PATH_SIZE];
    struct cw_uuid boot_id;
    uint64_t joined_s;
    enum cw_maintain maintain;
    uint64_t maintain_s;         /* since */
    bool maintain_ready;         /* it may go down: what the mode promises holds */
    char provider[CW_NAME_SIZE]; /* "" */
    uint64_t egress_micros;      /* price of a GB that leaves its site, in millionths; 0: unknown */
    bool is_volatile;            /* its stores die with the instance */
};

/* Why: too many bad blocks in a day; a link that flaps. */
enum cw_quarantine { CW_QUARANTINE_BLOCKS, CW_QUARANTINE_LINK };

struct cw_disk_rec {
    struct cw_uuid uuid;
    uint64_t format_id;
    char host[CW_NAME_SIZE]; /* where it was seen last */
    char name[CW_NAME_SIZE]; /* "store-0" */
    uint64_t size_bytes;
    bool failed;            /* by its own report or an operator's word */
    bool quarantined;       /* until an operator returns it */
    uint64_t storms;        /* of bad blocks, as its store counts them: answered already */
    uint64_t quarantined_s; /* since; 0: it is not */
    enum cw_quarantine quarantined_by;
    uint64_t draining_s; /* since; 0: it is not */
};

struct cw_volume_rec {
    uint64_t id;
    char name[CW_NAME_SIZE];
    uint64_t size_bytes;
    char policy[CW_NAME_SIZE];
    uint32_t gen; /* 0: never attached */
    enum cw_volume_hold hold;
    struct cw_uuid
        owner_id; /* client instance; of a caretaker: made from host key and incarnation */
    char owner_name[CW_NAME_SIZE], owner_host[CW_NAME_SIZE];
    uint64_t owner_since_s;
    bool caretaker; /* the owner is one */
    uint64_t created_s;
    uint64_t purge_at_s;   /* in the trash until about then, for people; 0: not in the trash */
    uint64_t purge_left_s; /* as managers count it; 0: of an earlier version */
    uint32_t min_insync;   /* in force: follows the policy's (minsync.c); 0: that one is */
};

struct cw_drop_rec {
    uint64_t shard;
    struct cw_uuid disk_uuid;
};

struct cw_event_rec {
    uint64_t number; /* from 1 */
    uint64_t at_s;
    char code[CW_EVENT_CODE_SIZE];
    char object[CW_OBJECT_SIZE];
    char text[CW_EVENT_TEXT_SIZE];
};

enum cw_job_kind { CW_JOB_VERIFY, CW_JOB_MAINTAIN, CW_JOB_DRAIN, CW_JOB_REPAIR };
enum cw_job_scope { CW_JOB_ALL, CW_JOB_HOST, CW_JOB_VOLUME, CW_JOB_DISK };
enum cw_job_end { CW_JOB_OPEN, CW_JOB_DONE, CW_JOB_FAILED, CW_JOB_CANCELLED };

struct cw_job_rec {
    uint64_t id; /* of the event that began it */
    enum cw_job_kind kind;
    enum cw_job_scope scope; /* what object names */
    char object[CW_OBJECT_SIZE];
    uint64_t volume_id;
    struct cw_uuid disk_uuid;
    enum cw_job_end state;
    uint64_t started_s, ended_s;
    uint64_t total_bytes; /* to be moved, as it was counted when it began */
    char why[CW_EVENT_TEXT_SIZE];
    struct { /* of a verify that is over */
        uint64_t done_bytes, copies, found, repaired, unrepairable, differing;
    } verify;
};

/* A disk that an operator removed: its store is not used again, whoever reports it, until it is
 * formatted anew or added again. */
struct cw_removed_rec {
    struct cw_uuid uuid;
    uint64_t format_id;
    char host[CW_NAME_SIZE]; /* where it was seen last */
    char name[CW_NAME_SIZE];
    uint64_t removed_s;
    bool told; /* the event that its store was reported again */
};

enum cw_rec_kind {
    CW_REC_CLUSTER,
    CW_REC_POLICY,
    CW_REC_HOST,
    CW_REC_DISK,
    CW_REC_VOLUME,
    CW_REC_SHARD,
    CW_REC_DROP,
    CW_REC_EVENT,
    CW_REC_JOB,
    CW_REC_REMOVED,
};

struct cw_rec {
    enum cw_rec_kind kind;
    union {
        struct cw_cluster_rec cluster;
        struct cw_policy_rec policy;
        struct cw_host_rec host;
        struct cw_disk_rec disk;
        struct cw_volume_rec volume;
        struct cw_shard_rec shard;
        struct cw_drop_rec drop;
        struct cw_event_rec event;
        struct cw_job_rec job;
        struct cw_removed_rec removed;
    };
};

#define CW_REC_BYTES_MAX 2048u

/* Pure; both sides of the kind known from the key. */
struct cw_rec_codec {
    /* Writes at most CW_REC_BYTES_MAX bytes, returns how many (above 0). */
    size_t (*encode)(const struct cw_rec *r, uint8_t *to);
    /* False if the bytes are not one whole, sane record of ret->kind (set by the caller). */
    bool (*decode)(const uint8_t *from, size_t len, struct cw_rec *ret);
};

/* The key under which r lies. Returns key. */
char *cw_rec_key(const struct cw_rec *r, char key[static CW_KV_KEY_SIZE]);

/* False: no record of ours lies under such a key. */
bool cw_rec_kind_of_key(const char *key, enum cw_rec_kind *ret);
