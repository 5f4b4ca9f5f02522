/* manager/state.h - the manager's memory. Private to this room.
 *
 * Every record of the store is an object here, in a table per kind sorted by key; beside the record
 * stands what is known only while this manager runs. Objects change by cw_mgr_apply and by nothing
 * else, after a transaction was applied or the store was read. What outlives one call refers to an
 * object by its id, never by its address (session->host and host->session excepted: both ends are
 * cleared together).
 */
#pragma once

#include "daemon/manager/arena.h"
#include "daemon/manager/manager.h"
#include "daemon/manager/text.h"

#define MGR_SHARD_BYTES (UINT64_C(64) << 30)
#define MGR_SHARDS_MAX 65536u
#define MGR_EVENTS_KEPT 2000u
#define MGR_N_KINDS (CW_REC_REMOVED + 1)
#define MGR_WHY_SIZE 160

struct mgr_obj {
    char key[CW_KV_KEY_SIZE];
    uint64_t version;
    struct cw_rec rec;
};

struct mgr_table {
    struct mgr_obj **at; /* ascending by key */
    size_t n, cap;
};

struct mgr_host {
    struct mgr_obj o;
    struct cw_mgr_session *session; /* NULL: not connected */
    uint64_t incarnation;
    uint64_t ok_ns;   /* heard at, or disconnected at, or begun to be waited for at */
    uint64_t since_s; /* of the state it is in */
    uint64_t up_ns;   /* its process started at, as it says */
    bool absent;      /* silent or disconnected for CW_MGR_ABSENT_MS */
    bool seen;        /* registered since the last cold start began */
    bool vouched;  /* a transaction was applied since it registered: we lead, and memory is new */
    bool vouching; /* one is under way that was built since */
    char version[CW_NAME_SIZE];
    bool bads;                   /* it named bad blocks in its last beat */
    bool anew;                   /* it is to register again: it is told at its next beat */
    struct cw_mgr_memory memory; /* as it said last */
    uint64_t probe_ns;           /* it may be asked to measure ways from then on */
    uint64_t returned_ns;        /* from maintenance; its absence counts from then on; 0: never */
    struct cw_mgr_kept kept;     /* the backup of the metadata that it said it keeps, or took */
    uint64_t keep_after_ns;      /* it failed to keep one: not asked before, why it failed */
    char keep_why[MGR_WHY_SIZE];
};

#define MGR_FLAPS_MANY 5u

/* A moment in which an owner did not reach a disk, as it says; while this manager runs. */
struct mgr_flap {
    uint64_t at_ns; /* told at; 0: none */
    struct cw_uuid owner;
    bool shared; /* another said so too */
};

struct mgr_disk {
    struct mgr_obj o;
    bool reported;                /* by the host it is on, since that registered last */
    bool missing;                 /* its host registered without it */
    bool replaced;                /* .. and has another disk of that name */
    uint64_t missing_ns;          /* since */
    struct cw_mgr_disk_state now; /* name and why are not used: rec.name, why below */
    char why[MGR_WHY_SIZE];
    uint64_t csum_at_ns; /* when csum_errors rose last; 0: never */
    uint64_t bad_at_ns;  /* since when some block there is bad and not mended; 0: none is */
    bool noting;         /* an op about its storms, or its flaps, is queued */
    struct mgr_flap flaps[MGR_FLAPS_MANY]; /* newest first */
    uint64_t rest_ns;                      /* rebalance.c leaves it alone until then */
    uint64_t flaps_told_ns;                /* the operator was told of them; 0: never */
    uint64_t slow_ns, slow_seen_ns; /* slow.c: much slower than the others since; last so at */
    uint64_t stray, stray_ns;       /* drops.c: a shard of no business there; told first at */
};

struct mgr_member_now {
    uint64_t chunks_left, chunks_total, bytes_moved, lag, lag_ns, lag_bytes;
    bool connected, flapping;
    struct cw_uuid disk; /* that flaps is about; nil: of none */
    uint64_t flaps;
    uint64_t moved_ns; /* when its resync came on last; 0: none is under way */
};

/* Of a member's copy, as its daemon said; while this manager runs, records tell the rest. */
struct mgr_copy_known {
    bool held; /* its disk holds such a copy */
    bool damaged;
    bool holes; /* a resync began and did not end */
    bool named; /* it registered: last_gen, last_seq */
    uint32_t last_gen;
    uint64_t last_seq;
    uint64_t left_s; /* when it ceased to be in sync; 0: unknown */
};

struct mgr_shard {
    struct mgr_obj o;
    uint32_t seen_gen, seen_cfg;            /* the newest that a copy of it registered with */
    bool repairing;                         /* an op is queued */
    uint32_t bad;                           /* bit per member: registered damaged, or not at all */
    uint64_t mapped_blocks[CW_MEMBERS_MAX]; /* as the members' daemons said last */
    uint64_t bad_blocks[CW_MEMBERS_MAX];    /* the same: bad and not yet mended */
    uint64_t evict_ns;                      /* an EVICT was asked for then; 0: never .. */
    struct cw_uuid evict_disk;              /* .. of this disk */
    struct cw_uuid due_disk;                /* moves.c wants it let go; nil: none .. */
    uint32_t due_cfg;                       /* .. of the record of this cfg */
    struct cw_uuid leave_disk, move_to;     /* rebalance.c moves a copy; nil: none */
    uint64_t journal_ns;                    /* no new journal before */
    bool suspended;
    char why[MGR_WHY_SIZE];
    struct mgr_member_now now[CW_MEMBERS_MAX];
    struct mgr_copy_known known[CW_MEMBERS_MAX];
};

/* What the owner of rec.gen said last. */
struct mgr_report {
    bool have;
    uint64_t at_ns;
    uint64_t reads, writes, read_p99_ns, write_p99_ns, error_blocks, repaired_blocks, lost_blocks;
    uint64_t reads_per_s, writes_per_s;
    uint64_t chunks_left, bytes_moved, repair_bytes_per_s;
};

enum mgr_care_state {
    MGR_CARE_NONE,
    MGR_CARE_ASKED,   /* a daemon is to attach; it has until care_until_ns */
    MGR_CARE_HELD,    /* rec.caretaker */
    MGR_CARE_LEAVING, /* LET_GO is under way */
};

struct mgr_care {
    enum mgr_care_state state;
    struct cw_uuid daemon;  /* session id of the daemon asked */
    uint64_t until_ns;      /* ASKED, HELD without a report: then the daemon has failed */
    uint64_t not_before_ns; /* the next step */
    uint32_t failures;
};

/* Bad blocks of in-sync copies: is somebody mending them, and does it help? */
struct mgr_mend {
    uint64_t blocks;        /* at the last look */
    uint64_t since_ns;      /* when they were last seen to become fewer, or others */
    uint64_t not_before_ns; /* nobody is asked to attach for them before */
};

/* The owner of generation gen may be asked to hand the volume over. */
struct mgr_handover {
    uint32_t gen;
    uint64_t until_ns; /* 0: it may not */
};

struct mgr_volume {
    struct mgr_obj o;
    uint64_t resize_after_ns; /* its owner is not told of its size again before */
    uint64_t granted_ns;      /* of rec.gen; 0: before this manager started */
    uint64_t orphan_ns; /* the owner is missing or says nothing since; 0: it does, or no owner */
    struct mgr_report report;
    struct mgr_care care;
    struct mgr_mend mend;
    struct mgr_handover handover;
    uint32_t n_owner_reads; /* passed on, not answered */
    uint64_t lost_blocks;   /* as an owner said last, also when it has gone */
    uint64_t word_since_s;
    uint64_t trash_ns; /* purge_left_s of its record counts from here on */
    bool purging;      /* an op is queued */
    bool following;    /* an op of compression.c is queued */
    bool minsyncing;   /* .. of minsync.c */
    bool hurry;        /* its absent copies are not waited for: work.c */
    const char *word;  /* the protection word at the last look; static text */
};

struct mgr_policy {
    struct mgr_obj o;
};

struct mgr_drop {
    struct mgr_obj o;
    uint64_t asked_ns; /* 0: not under way */
};

struct mgr_event {
    struct mgr_obj o;
};

/* A job that the records know: what is known of one that is open while this manager runs. */
struct mgr_work {
    struct mgr_obj o;
    bool ending;         /* an op of work.c is queued */
    bool blocked;        /* it waits: why */
    uint64_t left_bytes; /* at the last look */
    uint32_t left;       /* copies, or volumes, that it waits for */
    uint64_t eta_s;      /* 0: unknown */
    uint64_t moved_ns;   /* when left_bytes changed last */
    char why[CW_MGR_WHY_SIZE];
};

/* A disk that was removed. */
struct mgr_removed {
    struct mgr_obj o;
    bool reported; /* by the host it is on, when that registered last: its daemon has it open */
};

struct mgr_cluster {
    struct mgr_obj o;
};

struct mgr_tables {
    struct mgr_table of[MGR_N_KINDS];
};

void cw_mgr_tables_fini(struct mgr_tables *t);

struct mgr_obj *cw_mgr_find_key(const struct mgr_tables *t, enum cw_rec_kind kind, const char *key);

/* NULL: there is none. */
struct mgr_host *cw_mgr_find_host(const struct mgr_tables *t, const char *name);
struct mgr_disk *cw_mgr_find_disk(const struct mgr_tables *t, const struct cw_uuid *uuid);
struct mgr_policy *cw_mgr_find_policy(const struct mgr_tables *t, const char *name);
struct mgr_volume *cw_mgr_find_volume(const struct mgr_tables *t, uint64_t id);
struct mgr_shard *cw_mgr_find_shard(const struct mgr_tables *t, uint64_t shard);

/* Not in the trash. */
struct mgr_volume *cw_mgr_find_volume_named(const struct mgr_tables *t, const char *name);
/* In the trash, the one created last. */
struct mgr_volume *cw_mgr_find_trashed(const struct mgr_tables *t, const char *name);

/* The member's disk, if it has the very identity of the member; else NULL. */
struct mgr_disk *cw_mgr_find_copy_disk(const struct mgr_tables *t, const struct cw_member *m);

uint32_t cw_mgr_shard_count(uint64_t size_bytes);
uint32_t cw_mgr_shard_blocks(uint64_t size_bytes, uint32_t index);

/* Insert or update; the runtime part of a new object is zero. Returns it. */
struct mgr_obj *cw_mgr_table_put(struct mgr_tables *t, const char *key, uint64_t version,
                                 const struct cw_rec *rec);
void cw_mgr_table_del(struct mgr_tables *t, enum cw_rec_kind kind, const char *key);

/* it: any pointer to the object's struct; the body must not insert or remove. */
#define MGR_EACH(tables, rec_kind, type, it) \
    for (size_t it##_i = 0, it##_go = 1; it##_go && it##_i < (tables)->of[rec_kind].n; it##_i++) \
        for (type *it = (type *)(tables)->of[rec_kind].at[(it##_go = 0, it##_i)]; it##_go == 0; \
             it##_go = 1)
