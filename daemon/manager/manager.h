/* manager/manager.h - who is there, who may write what, where copies lie, and is all of it safe?
 *
 *     sessions, calls, reports, answers --> manager --> replies (call->done), pushes (cw_mgr_ops)
 *                                              |
 *                                    one transaction at a time --> kv.h
 *
 * A decider: struct cw_env, a metadata store and the push interface below are its whole world, so
 * the simulator drives this very code. The shell turns control.proto into these structs and back;
 * every struct has the fields of the message of its name.
 *
 * What the records say is decided by a transaction and believed only when it was applied; memory
 * holds just what was applied. Everything else (who is connected, what owners report, jobs) is
 * learned again after a restart: daemons register again, owners report again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/env.h"
#include "common/base/list.h"
#include "daemon/manager/kv.h"
#include "daemon/manager/records.h"

struct cw_manager;
struct cw_mgr_session; /* one control connection of a daemon, a client or an operator */

#define CW_MGR_WHY_SIZE 300
#define CW_MGR_TIME_SIZE 24 /* RFC 3339 UTC, "" for none */
#define CW_MGR_BEAT_MS 1000u
#define CW_MGR_ABSENT_MS 4000u
#define CW_MGR_BOOT_MS 120000u

/* ---- errors: the numbers of control.proto's ErrorCode ---- */

enum cw_mgr_code {
    CW_MGR_OK = 0,
    CW_MGR_INTERNAL = 1,
    CW_MGR_BAD_REQUEST = 2,
    CW_MGR_NOT_MANAGER = 3,
    CW_MGR_NOT_FOUND = 4,
    CW_MGR_EXISTS = 5,
    CW_MGR_VOLUME_IN_USE = 6,
    CW_MGR_CONFLICT = 7,
    CW_MGR_UNAVAILABLE = 8,
    CW_MGR_POLICY_UNSATISFIABLE = 9,
    CW_MGR_NAME_TAKEN = 10,
    CW_MGR_FOREIGN_STORE = 11,
    CW_MGR_LAST_COPY = 12,
    CW_MGR_LIMIT = 13,
    CW_MGR_TIMEOUT = 14,
    CW_MGR_BUSY = 15,
};

struct cw_mgr_error {
    enum cw_mgr_code code;
    char message[CW_MGR_WHY_SIZE]; /* one line: the object, the cause */
    char object[CW_OBJECT_SIZE];
    char hint[CW_MGR_WHY_SIZE]; /* the next step, may be a command */
};

/* ---- shared parts ---- */

struct cw_mgr_domain { /* parts are never NULL; "" is unknown */
    const char *region, *site, *rack, *host;
};

/* SiteAttributes */
struct cw_mgr_site_attributes {
    const char *provider; /* "" */
    uint64_t egress_micros;
    bool is_volatile;
};

/* ScrubState */
struct cw_mgr_scrub_state {
    uint64_t pass;
    bool running, hurried;
    uint64_t done_bytes, total_bytes, elapsed_s, found, repaired;
    uint64_t last_pass, last_took_s, last_ago_s, last_bytes, last_found, last_repaired;
    uint32_t recent;
    uint64_t storms, bad_blocks;
};

struct cw_mgr_disk_state {
    struct cw_uuid uuid;
    uint64_t format_id;
    struct cw_uuid cluster_id; /* nil: unclaimed */
    const char *name;
    uint64_t size_bytes, used_bytes, free_bytes;
    bool full, stuck, failed;
    bool missing; /* in replies: its host is up without it */
    const char *why;
    uint64_t csum_errors, io_errors;
    struct cw_uuid host_key; /* of the host that claimed it; nil: none */
    uint64_t shards;
    uint64_t write_p99_ns;
    uint64_t cache_bytes, table_bytes, discarded_bytes;
    uint64_t logged_bytes, cleaned_bytes, packed_bytes, packed_to_bytes, layers;
    uint64_t start_ns, start_batches;
    struct cw_mgr_scrub_state scrub;
    bool quarantined;                                /* replies only, as the next */
    const char *quarantined_since, *quarantined_why; /* "" */
    bool draining;                                   /* replies only, as the next */
    const char *draining_since;                      /* "" */
    bool removed;                                    /* as the next: in a reply */
    const char *removed_since;
};

struct cw_mgr_memory { /* HostMemory */
    uint64_t limit_bytes, pool_bytes, pool_used_bytes, metadata_bytes, metadata_used_bytes,
        resident_bytes;
};

struct cw_mgr_kept { /* MetadataKept; all zero: none */
    uint64_t epoch, next_event, restored_s, saved_s;
};

struct cw_mgr_copy_state {
    uint64_t shard;
    struct cw_uuid disk_uuid;
    uint64_t format_id;
    uint32_t gen, cfg, last_gen;
    uint64_t last_seq;
    bool damaged, syncing;
    uint64_t mapped_blocks;
};

struct cw_mgr_copy_use {
    uint64_t shard;
    struct cw_uuid disk_uuid;
    uint64_t format_id;
    uint64_t mapped_blocks;
};

struct cw_mgr_copy_bad {
    uint64_t shard;
    struct cw_uuid disk_uuid;
    uint64_t format_id;
    uint64_t blocks; /* known to be bad and not yet mended */
};

struct cw_mgr_location {
    struct cw_uuid uuid;
    uint64_t format_id;
    const char *host, *name;
    struct cw_mgr_domain domain;
    const char *addr, *unix_path;
    struct cw_uuid boot_id;
    bool up, crowded;
};

struct cw_mgr_spec {
    uint64_t id;
    const char *name;
    uint64_t size_bytes;
    const char *policy;
};

/* ---- requests; what they point to is borrowed until done ---- */

struct cw_mgr_register {
    const char *name;
    struct cw_uuid host_key, cluster_id;
    struct cw_mgr_domain domain;
    enum cw_site_kind site_kind;
    struct cw_mgr_site_attributes attributes; /* provider NULL: "" */
    const char *advertise, *unix_path;
    struct cw_uuid boot_id;
    uint64_t incarnation;
    const char *version;
    const struct cw_mgr_disk_state *disks;
    size_t n_disks;
    const struct cw_mgr_copy_state *copies;
    size_t n_copies;
    uint64_t up_ms; /* since this daemon started; 0: unknown */
    struct cw_mgr_memory memory;
    struct cw_mgr_kept kept;
};

struct cw_mgr_round_trip {
    const char *host;
    uint64_t ns;
};

struct cw_mgr_beat {
    const struct cw_mgr_disk_state *disks;
    size_t n_disks;
    const struct cw_mgr_copy_use *uses; /* now and then; what was said last stands */
    size_t n_uses;
    const struct cw_mgr_copy_bad *bads; /* all that there are */
    size_t n_bads;
    struct cw_mgr_memory memory;
    const struct cw_mgr_round_trip *trips; /* measured since the last beat */
    size_t n_trips;
};

struct cw_mgr_client_hello {
    struct cw_uuid client_id;
    const char *name;
    struct cw_uuid boot_id;
    struct cw_mgr_domain domain;
    const char *host;
    uint64_t pid;
};

enum cw_mgr_intent { /* AttachIntent */
                     CW_MGR_INTENT_OWN,
                     CW_MGR_INTENT_STANDBY, /* to hear the records; the reply's gen is 0 */
                     CW_MGR_INTENT_TAKE,    /* the owner is asked to let go, if that is allowed */
};

struct cw_mgr_attach {
    const char *volume; /* or "" with volume_id */
    uint64_t volume_id;
    bool force, caretaker;
    enum cw_mgr_intent intent; /* not OWN: neither force nor caretaker */
};

struct cw_mgr_handover_allow {
    const char *volume;
    uint64_t seconds; /* ALLOW; 0: 600, at most 3600 */
};

#define CW_MGR_OWNER_READ_MAX (256u * 1024u)

struct cw_mgr_owner_read {
    uint64_t volume_id, offset;
    uint32_t length; /* at most CW_MGR_OWNER_READ_MAX */
};

struct cw_mgr_owner_data {
    const uint8_t *data;
    size_t n; /* as asked for, or 0: zeroes */
};

struct cw_mgr_release {
    uint64_t volume_id;
    uint32_t gen;
};

struct cw_mgr_change {
    uint64_t volume_id;
    uint32_t gen;
    uint64_t shard;
    uint32_t cfg;
    const struct cw_member *want;
    size_t n_want;
    const char *why;
};

struct cw_mgr_volume_create {
    const char *name;
    uint64_t size_bytes;
    const char *policy; /* "": default */
    bool force;
};

struct cw_mgr_volume_rm {
    const char *name;
    uint64_t delay_s; /* 0: 24 h */
    bool now;
};

struct cw_mgr_volume_restore {
    const char *name;
    uint64_t volume_id;   /* 0: the one of that name trashed last */
    const char *new_name; /* "": its own */
};

struct cw_mgr_volume_resize {
    const char *name;
    uint64_t size_bytes;
};

struct cw_mgr_volume_set {
    const char *name, *policy;
    bool force;
};

struct cw_mgr_volume_recover {
    const char *name;
    const char *copy; /* HOST/DISK; "": the only one that there is */
    bool accept_loss; /* else nothing changes */
};

struct cw_mgr_host_rm {
    const char *name;
    bool accept_loss; /* also of the last in-sync copy of something */
};

struct cw_mgr_disk_rm {
    const char *disk; /* HOST/DISK */
    bool accept_loss;
};

struct cw_mgr_host_maintain {
    const char *name, *mode; /* accessible, full, none; "": all three, plan only */
    bool plan, force;
};

struct cw_mgr_disk_drain {
    const char *disk; /* HOST/DISK */
    bool plan, cancel;
};

struct cw_mgr_repair_now {
    const char *host, *volume; /* at most one; "" both: everything */
};

enum cw_mgr_repair_what { CW_MGR_REPAIR_PAUSE, CW_MGR_REPAIR_RESUME, CW_MGR_REPAIR_LIMIT };

struct cw_mgr_repair_set {
    enum cw_mgr_repair_what what;
    uint64_t bytes_per_s; /* LIMIT, of each owner; 0: none */
};

struct cw_mgr_whatif {
    const char *const *fail; /* region, site, site/rack, host, host/disk */
    size_t n_fail;
};

#define CW_MGR_NO_LIMIT UINT64_MAX /* a policy put: takes the limit away */

struct cw_mgr_policy {
    const char *name;
    uint32_t copies; /* put: 0 is not given, as "" and the other zeroes of a new policy are */
    const char *spread, *sites;
    uint32_t min_insync;
    int32_t degrade_s;
    const char *journal, *ack, *async, *compression;
    uint64_t iops_limit, bandwidth_limit;
    uint32_t repair_delay_s;
    uint32_t rpo_s; /* put: of async, in whose text it is in replies */
    const char *quorum_loss, *space_full;
    uint64_t volumes;
    const char *warning;   /* reply to put: noted, but it cannot be met now; "" */
    uint64_t resync_limit; /* to owners: bytes per second of all their resyncs; 0: none */
    bool resync_paused;    /* .. none begins or goes on */
};

struct cw_mgr_policy_put {
    struct cw_mgr_policy policy;
    bool create;
    bool force; /* also if its volumes cannot have it now */
};

struct cw_mgr_policy_loss {
    const char *kind, *name; /* host, site; the worst */
    uint32_t copies_left;
    bool met; /* all copies could be made again */
    const char *why, *then;
    uint64_t storable_bytes;
};

struct cw_mgr_policy_check_reply {
    struct cw_mgr_policy policy;
    bool met;
    const char *why, *hint;
    uint32_t factor;
    uint64_t storable_bytes;
    uint32_t round_trips;
    const char *round_trips_text;
    uint64_t write_wait_ns;            /* for the farthest copy; 0: not known */
    const char *wait_from, *wait_site; /* an owner in the one waits for the other; "" */
    const char *warning;               /* "" */
    struct cw_mgr_policy_loss *losses;
    size_t n_losses;
};

/* Of one copy. */
struct cw_mgr_reason {
    uint64_t shard;
    const char *copy; /* SITE/HOST/DISK */
    enum cw_member_state state;
    const char *why;
    const char **others; /* SITE/HOST/DISK: why not */
    size_t n_others, n_more;
};

struct cw_mgr_reasons {
    struct cw_mgr_reason *reasons;
    size_t n_reasons, n_more; /* more: shards */
};

struct cw_mgr_metadata_read {
    uint64_t serial, offset;
};

struct cw_mgr_event_ls {
    uint64_t after;
    uint32_t max;     /* 0: 1000 */
    bool wait;        /* until there is one */
    bool newest;      /* of more than max the newest, not the oldest */
    uint64_t wait_ms; /* then an empty answer; 0: 20 s */
};

/* ---- replies; borrowed during done ---- */

struct cw_mgr_register_reply {
    struct cw_uuid cluster_id;
    const char *cluster_name;
    const struct cw_uuid *refused_disks;
    size_t n_refused_disks;
    const struct cw_uuid *removed_disks; /* not used: an operator removed them */
    size_t n_removed_disks;
    const char *const *managers;
    size_t n_managers;
    uint32_t beat_ms;
};

struct cw_mgr_probe { /* the way to that host is to be measured */
    const char *host, *addr;
};

struct cw_mgr_beat_reply {
    const struct cw_mgr_probe *probes;
    size_t n_probes;
};

struct cw_mgr_client_hello_reply {
    struct cw_uuid cluster_id;
    struct cw_mgr_domain domain;
    const char *const *managers;
    size_t n_managers;
};

struct cw_mgr_attach_reply {
    struct cw_mgr_spec spec;
    uint32_t gen;
    bool released;
    const struct cw_shard_rec *shards; /* ascending index, no gaps */
    size_t n_shards;
    const struct cw_mgr_location *disks; /* of every member */
    size_t n_disks;
    struct cw_mgr_policy policy; /* min_insync is the number in force, never 0 */
    struct cw_uuid cluster_id;
    bool cold_start;
};

struct cw_mgr_change_reply {
    bool applied;
    uint32_t volume_gen;
    struct cw_shard_rec shard; /* as it is now */
    const struct cw_mgr_location *disks;
    size_t n_disks;
};

struct cw_mgr_member_info {
    const char *host, *site, *disk;
    enum cw_member_state state;
    bool up, async;
    uint64_t chunks_left, chunks_total, bytes_moved, lag, lag_ns, lag_bytes;
    struct cw_uuid disk_uuid;
};

struct cw_mgr_shard_info {
    uint64_t shard;
    uint32_t cfg;
    bool suspended;
    const char *why;
    const char *compression; /* of its record: off, background, inline */
    const struct cw_mgr_member_info *members;
    size_t n_members;
};

struct cw_mgr_volume_info {
    uint64_t id;
    const char *name;
    uint64_t size_bytes;
    const char *policy;
    const char *protection, *protection_why;
    uint64_t eta_s;
    bool compliant;
    const char *compliant_why;
    const char *state, *owner, *owner_host, *owner_since;
    uint32_t gen;
    const struct cw_mgr_shard_info *shards;
    size_t n_shards;
    uint64_t reads, writes, read_p99_ns, write_p99_ns;
    const char *created, *purge_at;
    uint64_t used_bytes; /* sum over copies; 0: none, or unknown */
    const char *warning; /* create, resize: it succeeded, but the user should know; "" */
};

/* RecoverCopy */
struct cw_mgr_recover_copy {
    const char *host, *site, *disk;
    enum cw_member_state state;
    bool up, known; /* known: last_gen, last_seq, as its daemon registered it */
    uint32_t last_gen;
    uint64_t last_seq;
    const char *left; /* when it ceased to be in sync; "": unknown */
    const char *bar;  /* why it cannot be chosen; "": it can */
    bool chosen;
};

/* RecoverShard: one that has no in-sync copy in reach. */
struct cw_mgr_recover_shard {
    uint64_t shard;
    const char *loss, *note; /* in words */
    const struct cw_mgr_recover_copy *copies;
    size_t n_copies;
};

struct cw_mgr_recover_reply {
    const char *volume, *command; /* command: to run next */
    bool recovered;
    const struct cw_mgr_recover_shard *shards;
    size_t n_shards;
    uint32_t gen;
};

struct cw_mgr_volume_list {
    const struct cw_mgr_volume_info *volumes;
    size_t n_volumes;
};

struct cw_mgr_policy_list {
    const struct cw_mgr_policy *policies;
    size_t n_policies;
};

/* From one site to another, or within it. */
struct cw_mgr_site_link {
    const char *site;
    uint64_t rtt_ns;      /* 0: not measured */
    uint64_t bytes_per_s; /* that resyncs reached; 0: unknown */
};

struct cw_mgr_host_info {
    const char *name;
    struct cw_mgr_domain domain;
    enum cw_site_kind site_kind;
    struct cw_mgr_site_attributes attributes;
    const char *state, *addr, *since, *version;
    const struct cw_mgr_disk_state *disks;
    size_t n_disks;
    uint64_t copies;
    uint64_t incarnation; /* of the start that is registered now; 0: none is */
    struct cw_mgr_memory memory;
    bool up;              /* heard of, whatever its state */
    const char *maintain; /* the mode; "": none, and then nothing of the next counts */
    bool maintain_ready;  /* it may go down */
    const char *maintain_since, *maintain_why;
    uint64_t maintain_job;                /* that prepares it; 0: none */
    const struct cw_mgr_site_link *links; /* of its site */
    size_t n_links;
};

struct cw_mgr_host_list {
    const struct cw_mgr_host_info *hosts;
    size_t n_hosts;
};

struct cw_mgr_finding {
    const char *code, *severity, *object, *since, *cause, *effect, *next, *command;
};

struct cw_mgr_site_info {
    const char *name, *region; /* region: "" unknown */
    enum cw_site_kind kind;
    struct cw_mgr_site_attributes attributes;
    uint32_t hosts_up, hosts, hosts_maintained;
    uint64_t size_bytes, used_bytes;
    uint64_t size_without_worst_bytes; /* if its largest host failed */
    const struct cw_mgr_site_link *links;
    size_t n_links;
};

struct cw_mgr_word_count {
    const char *word;
    uint64_t n;
};

/* MetadataPlace */
struct cw_mgr_metadata_place {
    const char *host, *site, *why;
    bool current, up;
    uint64_t epoch, age_s;
};

struct cw_mgr_metadata_part {
    uint64_t serial, total_bytes;
    const uint8_t *data;
    size_t len;
    struct cw_mgr_kept of;
};

struct cw_mgr_metadata_show {
    const char *cluster;
    struct cw_uuid cluster_id;
    const char *metadata, *manager;
    uint64_t epoch, records, volumes, size_bytes;
    const char *restored; /* "" */
    uint64_t restored_epoch;
    bool backed_up;
    const struct cw_mgr_metadata_place *places;
    size_t n_places;
};

struct cw_mgr_status {
    const char *cluster;
    struct cw_uuid cluster_id;
    const char *health;
    const struct cw_mgr_finding *findings; /* errors first, then by code and object */
    size_t n_findings;
    const struct cw_mgr_word_count *protection; /* every word, worst last */
    size_t n_protection;
    const struct cw_mgr_site_info *sites;
    size_t n_sites;
    uint64_t volumes, volumes_serving, epoch;
    uint64_t reads_per_s, writes_per_s, read_p99_ns, write_p99_ns, repair_bytes_per_s;
    const char *manager, *metadata;
    uint64_t uptime_s;
    const struct cw_mgr_metadata_place *places; /* of backups of the metadata */
    size_t n_places;
};

/* VerifyProgress */
struct cw_mgr_verify {
    uint64_t job, volume_id;
    uint64_t done_bytes, total_bytes, found, repaired, unrepairable, copies, differing;
    bool finished;
    const char *failed; /* "" or why it ended early */
};

struct cw_mgr_job_info {
    uint64_t id;
    const char *kind, *object, *state, *why, *started, *ended;
    uint64_t done_bytes, total_bytes;
    struct cw_mgr_verify verify; /* job 0: it is no verify */
    uint64_t eta_s;              /* 0: unknown */
};

struct cw_mgr_job_list {
    const struct cw_mgr_job_info *jobs;
    size_t n_jobs;
};

/* PlanVolume */
struct cw_mgr_plan_volume {
    const char *name, *now, *then, *why;
    uint64_t move_bytes;
    const char *blocked; /* "" */
};

struct cw_mgr_plan {
    const char *mode;
    uint64_t copies, moves, move_bytes, seconds, reduced, unavailable;
    const char *refused; /* "" */
    const struct cw_mgr_plan_volume *volumes;
    size_t n_volumes;
};

struct cw_mgr_maintain_reply {
    const char *object;
    const struct cw_mgr_plan *plans;
    size_t n_plans;
    bool ready;
    uint64_t job; /* 0: none */
    const char *why;
};

struct cw_mgr_remove_reply {
    const char *object;
    uint64_t copies;
    const char *const *lost; /* volumes */
    size_t n_lost;
};

/* RepairInfo */
struct cw_mgr_repair_info {
    const char *volume;
    uint64_t shard;
    const char *state, *why, *at, *source, *target;
    uint64_t done_bytes, total_bytes, bytes_per_s;
    uint32_t insync;
};

struct cw_mgr_repair_list {
    const struct cw_mgr_repair_info *repairs;
    size_t n_repairs;
    const char *paused_since; /* "": it is not */
    uint64_t limit_bytes_per_s;
};

/* WhatifVolume */
struct cw_mgr_whatif_volume {
    const char *name, *now, *word, *why, *next, *for_good;
    bool restorable;
    const char *restore_why;
    uint64_t restore_bytes;
};

struct cw_mgr_whatif_reply {
    const char *const *disks;
    size_t n_disks;
    const struct cw_mgr_whatif_volume *volumes; /* the worst first */
    size_t n_volumes;
    uint64_t unaffected; /* of them */
};

/* ScrubStarted */
struct cw_mgr_scrub_started {
    const char *disk, *failed; /* "": begun */
};

struct cw_mgr_scrub_start_reply {
    const struct cw_mgr_scrub_started *disks;
    size_t n_disks;
};

struct cw_mgr_event_info {
    uint64_t number;
    const char *at, *code, *object, *text;
};

struct cw_mgr_event_list {
    const struct cw_mgr_event_info *events;
    size_t n_events;
};

/* ---- calls ---- */

enum cw_mgr_call_kind {                      /* request            reply */
                        CW_MGR_REGISTER,     /* register_host      register_reply */
                        CW_MGR_BEAT,         /* beat               - */
                        CW_MGR_CLIENT_HELLO, /* client_hello       client_hello */
                        CW_MGR_ATTACH,       /* attach             attach */
                        CW_MGR_RELEASE,      /* release            - */
                        CW_MGR_CHANGE, /* change             change (also when the compare failed)
                                        */
                        CW_MGR_GET_VOLUME,     /* id                 attach */
                        CW_MGR_VOLUME_CREATE,  /* volume_create      volume */
                        CW_MGR_VOLUME_LS,      /* trash              volumes */
                        CW_MGR_VOLUME_SHOW,    /* name               volume */
                        CW_MGR_VOLUME_RM,      /* volume_rm          - */
                        CW_MGR_VOLUME_RESTORE, /* volume_restore     - */
                        CW_MGR_VOLUME_RESIZE,  /* volume_resize      volume */
                        CW_MGR_VOLUME_SET,     /* volume_set         volume */
                        CW_MGR_VOLUME_RECOVER, /* volume_recover     recover */
                        CW_MGR_VOLUME_VERIFY,  /* name               job */
                        CW_MGR_POLICY_PUT,     /* policy_put         policy */
                        CW_MGR_POLICY_LS,      /* name               policies */
                        CW_MGR_POLICY_RM,      /* name               - */
                        CW_MGR_HOST_LS,        /* -                  hosts */
                        CW_MGR_HOST_RM,        /* host_rm            removed */
                        CW_MGR_STATUS,         /* -                  status */
                        CW_MGR_JOB_LS,         /* id                 jobs */
                        CW_MGR_JOB_CANCEL,     /* id                 - */
                        CW_MGR_EVENT_LS,       /* event_ls           events */
                        CW_MGR_SCRUB_START,    /* name (a target)    scrub_start */
                        CW_MGR_DISK_RETURN,    /* name (HOST/DISK)   - */
                        CW_MGR_HANDOVER_ALLOW, /* handover_allow     -; also of the next */
                        CW_MGR_HANDOVER_CANCEL,
                        CW_MGR_OWNER_READ,     /* owner_read         owner_data */
                        CW_MGR_POLICY_CHECK,   /* policy_put         policy_check */
                        CW_MGR_VOLUME_EXPLAIN, /* name               reasons */
                        CW_MGR_HOST_MAINTAIN,  /* host_maintain      maintain */
                        CW_MGR_HOST_RETURN,    /* name               - */
                        CW_MGR_DISK_DRAIN,     /* disk_drain         maintain */
                        CW_MGR_DISK_RM,        /* disk_rm            removed */
                        CW_MGR_DISK_ADD,       /* name (HOST/DISK)   - */
                        CW_MGR_REPAIR_LS,      /* -                  repairs */
                        CW_MGR_REPAIR_NOW,     /* repair_now         job */
                        CW_MGR_REPAIR_SET,     /* repair_set         - */
                        CW_MGR_WHATIF,         /* whatif             whatif */
                        CW_MGR_METADATA_READ,  /* metadata_read      metadata_part */
                        CW_MGR_METADATA_SHOW,  /* -                  metadata_show */
};

union cw_mgr_request {
    struct cw_mgr_register register_host;
    struct cw_mgr_beat beat;
    struct cw_mgr_client_hello client_hello;
    struct cw_mgr_attach attach;
    struct cw_mgr_handover_allow handover_allow;
    struct cw_mgr_owner_read owner_read;
    struct cw_mgr_release release;
    struct cw_mgr_change change;
    struct cw_mgr_volume_create volume_create;
    struct cw_mgr_volume_rm volume_rm;
    struct cw_mgr_volume_restore volume_restore;
    struct cw_mgr_volume_resize volume_resize;
    struct cw_mgr_volume_set volume_set;
    struct cw_mgr_volume_recover volume_recover;
    struct cw_mgr_policy_put policy_put;
    struct cw_mgr_event_ls event_ls;
    struct cw_mgr_host_rm host_rm;
    struct cw_mgr_disk_rm disk_rm;
    struct cw_mgr_host_maintain host_maintain;
    struct cw_mgr_disk_drain disk_drain;
    struct cw_mgr_repair_now repair_now;
    struct cw_mgr_repair_set repair_set;
    struct cw_mgr_whatif whatif;
    struct cw_mgr_metadata_read metadata_read;
    const char *name; /* of a volume, policy or host; POLICY_LS: "" is all */
    uint64_t id;      /* of a volume or job; JOB_LS: 0 is all */
    bool trash;
};

union cw_mgr_reply {
    struct cw_mgr_register_reply register_reply;
    struct cw_mgr_beat_reply beat;
    struct cw_mgr_client_hello_reply client_hello;
    struct cw_mgr_attach_reply attach;
    struct cw_mgr_owner_data owner_data;
    struct cw_mgr_change_reply change;
    struct cw_mgr_volume_info volume;
    struct cw_mgr_volume_list volumes;
    struct cw_mgr_recover_reply recover;
    struct cw_mgr_policy policy;
    struct cw_mgr_policy_list policies;
    struct cw_mgr_host_list hosts;
    struct cw_mgr_status status;
    struct cw_mgr_job_info job;
    struct cw_mgr_job_list jobs;
    struct cw_mgr_event_list events;
    struct cw_mgr_scrub_start_reply scrub_start;
    struct cw_mgr_policy_check_reply policy_check;
    struct cw_mgr_reasons reasons;
    struct cw_mgr_maintain_reply maintain;
    struct cw_mgr_remove_reply removed;
    struct cw_mgr_repair_list repairs;
    struct cw_mgr_whatif_reply whatif;
    struct cw_mgr_metadata_part metadata_part;
    struct cw_mgr_metadata_show metadata_show;
};

struct cw_mgr_arena; /* the manager's memory of one reply */

/* Embedded in what waits for it. kind, req and done are the caller's; strings in req are never
 * NULL. Everything in req is borrowed until done. */
struct cw_mgr_call {
    enum cw_mgr_call_kind kind;
    bool dry_run; /* an operator's: nothing changes; OK, with no reply, if it would be done now */
    union cw_mgr_request req;

    /* Exactly once, never from inside cw_manager_call; also after the session went down. error.code
     * OK: reply is set, and what it points to is borrowed for the call. */
    void (*done)(struct cw_mgr_call *);
    struct cw_mgr_error error;
    union cw_mgr_reply reply;

    /* the manager's while under way */
    struct cw_list link, open_link;
    struct cw_mgr_session *session; /* NULL once it is down */
    struct cw_mgr_arena *arena;
    void *work;
    uint64_t at_ns;
    uint32_t tries;
};

/* ---- reports of owners: VolumeReport ---- */

struct cw_mgr_member_report {
    struct cw_uuid disk_uuid, source_uuid; /* source: of a resync; nil: none, or unknown */
    uint64_t chunks_left, chunks_total, bytes_moved, lag, lag_ns, lag_bytes;
    bool connected, flapping;
    uint64_t flaps;
};

struct cw_mgr_shard_report {
    uint64_t shard, seq;
    bool suspended;
    const char *why;
    const struct cw_mgr_member_report *members;
    size_t n_members;
};

struct cw_mgr_volume_report {
    uint64_t volume_id;
    uint32_t gen;
    const struct cw_mgr_shard_report *shards;
    size_t n_shards;
    uint64_t reads, writes, read_bytes, write_bytes, read_p99_ns, write_p99_ns;
    uint64_t repaired_blocks, error_blocks, lost_blocks;
    uint64_t size_bytes; /* that it serves; 0: unknown */
};

/* ---- pushes: what the manager wants of a session ---- */

enum cw_mgr_ask_kind {
    CW_MGR_ASK_CARETAKE,    /* volume_id, name: attach it with caretaker=true; OK: will try */
    CW_MGR_ASK_LET_GO,      /* volume_id, gen; OK: Release was answered, or it is not held; of
                             * clients too: BUSY: it is kept */
    CW_MGR_ASK_OWNER_SEEN,  /* volume_id, gen; answer: seen */
    CW_MGR_ASK_DROP_SHARDS, /* shards, n_shards, disk_uuid; OK: durable (also of unknown ones) */
    CW_MGR_ASK_VERIFY_RUN,  /* volume_id, job, cancel; OK: begun (or ended) */
    CW_MGR_ASK_RESIZED,     /* volume_id, size_bytes, records, disks; OK: in force */
    CW_MGR_ASK_SCRUB_RUN,   /* disk_uuid; OK: begun */
    CW_MGR_ASK_EVICT, /* volume_id, gen, shards (one), disk_uuid; OK: it will ask for the change */
    CW_MGR_ASK_READ,  /* volume_id, gen, offset, total_bytes (to read); answer: data, n_data */
    CW_MGR_ASK_KEEP,  /* serial, offset, total_bytes, data, n_data: a part of a backup of the
                       * metadata; OK: taken, of the last part: durable */
};

struct cw_mgr_ask {
    enum cw_mgr_ask_kind kind;
    uint32_t timeout_ms; /* how long an answer is of use */
    uint64_t volume_id;
    const char *name;
    uint32_t gen;
    uint64_t job;
    bool cancel;
    struct cw_uuid disk_uuid;
    const uint64_t *shards;
    size_t n_shards;
    uint64_t size_bytes;
    const struct cw_shard_rec *records;
    size_t n_records;
    const struct cw_mgr_location *disks;
    size_t n_disks;
    struct cw_uuid cluster_id;
    uint64_t serial, offset, total_bytes;
    const uint8_t *data;
    size_t n_data;

    struct cw_list link; /* the shell's until it is answered */
    void *priv;          /* the shell's */
};

struct cw_mgr_hint {
    const char *host; /* "": only volume_id counts */
    bool up;
    const struct cw_mgr_location *disks;
    size_t n_disks;
    uint64_t volume_id; /* not 0: its records changed (never INSYNC): read them again */
};

struct cw_mgr_ops {
    /* One-way; borrowed for the call. */
    void (*hint)(void *world, void *session_user, const struct cw_mgr_hint *);

    /* The ask and all it points to live until cw_manager_answered, which is called exactly once and
     * not from inside; asks of a session that goes down are not answered any more. */
    void (*ask)(void *world, void *session_user, struct cw_mgr_ask *);

    /* Hangs up: a second daemon took the name, or a host was removed. session_down still comes, not
     * from inside. */
    void (*hang_up)(void *world, void *session_user);

    /* Seconds since 1970, for people and for the trash; never decides who may write. */
    uint64_t (*wall_s)(void *world);

    /* cw_manager_start is over. NULL: it serves. Else one line why it never will (no cluster in the
     * store and not bootstrapped, or the reverse, or unreadable records). */
    void (*started)(void *world, const char *why_not);
};

struct cw_manager_opts {
    struct cw_env *env;
    struct cw_kv *kv;
    const struct cw_rec_codec *codec;
    const struct cw_mgr_ops *ops;
    void *world;
    bool bootstrap;           /* make the cluster; an error if there is one .. */
    bool any_host;            /* .. unless every host may lead: then it is led */
    bool backup;              /* two hosts keep copies of the records: the store is one of a kind */
    const char *cluster_name; /* bootstrap; "": made from the cluster id */
    const char *manager_name; /* status.manager */
    /* Addresses for clients and hosts; strings and array outlive the manager. any_host: those of
     * the hosts, instead. */
    const char *const *managers;
    size_t n_managers;
};

/* NULL if out of memory. opts is copied, what it points to is borrowed until free. */
struct cw_manager *cw_manager_new(const struct cw_manager_opts *opts);

/* Reads the store; ops->started tells the end. Calls made before wait. */
void cw_manager_start(struct cw_manager *m);

/* Sessions must be down; calls still under way end from inside: with UNAVAILABLE, or where any host
 * may lead and nothing was begun, with NOT_MANAGER. No transaction may come back afterwards: free
 * the kv first, or have it forget them. NULL is fine. */
void cw_manager_free(struct cw_manager *m);

/* user is what pushes to this session are addressed by. NULL if out of memory. */
struct cw_mgr_session *cw_manager_session_up(struct cw_manager *m, void *user);

/* The handle is gone afterwards; no push to it follows. */
void cw_manager_session_down(struct cw_manager *m, struct cw_mgr_session *s);

/* Any traffic of the peer that is no call (a pong): it lives. */
void cw_manager_session_alive(struct cw_manager *m, struct cw_mgr_session *s);

void cw_manager_call(struct cw_manager *m, struct cw_mgr_session *s, struct cw_mgr_call *call);
void cw_manager_report(struct cw_manager *m, struct cw_mgr_session *s,
                       const struct cw_mgr_volume_report *r);
void cw_manager_verify_progress(struct cw_manager *m, struct cw_mgr_session *s,
                                const struct cw_mgr_verify *v);

struct cw_mgr_answer {
    enum cw_mgr_code code; /* OK, or why not: UNAVAILABLE, TIMEOUT, what the other side said */
    const char *message;   /* "" */
    bool seen;             /* OWNER_SEEN: an open session of that owner exists there */
    uint64_t silent_ms;    /* OWNER_SEEN with seen */
    const uint8_t *data;   /* READ; borrowed for the call */
    size_t n_data;         /* READ: what was asked for, or 0: zeroes */
};

void cw_manager_answered(struct cw_manager *m, struct cw_mgr_ask *ask,
                         const struct cw_mgr_answer *answer);

/* What is kept (or was saved) holds changes that what is there now never had: that one began from a
 * backup that was older, or the store went back. */
bool cw_mgr_kept_is_newer(const struct cw_mgr_kept *kept, uint64_t epoch, uint64_t restored_s,
                          uint64_t restored_epoch);

/* Asserts what must hold between any two calls. Slow; for the simulator and tests. */
void cw_manager_check(const struct cw_manager *m);
