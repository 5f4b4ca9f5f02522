/* lib/control.h - the control thread of a client: one lasting session with the manager.
 *
 * Everything crosses as a task: calls go to the control thread and come back answered, events of
 * the manager go to the reactor thread and, if they want one, their answers come back. Unless said
 * otherwise functions are called on the reactor thread.
 */
#pragma once

#include "client/lib/mailbox.h"
#include "common/owner/owner.h"

struct cw_control;
struct cw_plain_volume;

/* ---- asking the manager ---- */

enum cw_ctl_kind {
    CW_CTL_LIST,
    CW_CTL_ATTACH,
    CW_CTL_CHANGE,
    CW_CTL_GET,
    CW_CTL_RELEASE,
    CW_CTL_READ, /* what the volume's owner reads */
};

#define CW_CTL_READ_MAX (256u * 1024u) /* bytes of one READ */

/* The caller's until done. Zero-initialise. */
struct cw_ctl_call {
    struct cw_engine_task task;
    enum cw_ctl_kind kind;
    uint64_t timeout_ms;
    void (*done)(struct cw_ctl_call *); /* exactly once, on the reactor thread */
    void *user;

    /* LIST: "" for all. ATTACH. */
    char name[CW_ENGINE_NAME_SIZE];
    bool force, take; /* take: from its owner, if that was allowed */
    bool standby;     /* only the records, if its owner is allowed to hand it over */
    /* READ */
    uint64_t off;
    uint32_t len;
    /* GET, RELEASE, READ: volume */
    uint64_t volume;
    uint32_t gen;
    /* CHANGE: request and answer */
    struct cw_change *change;

    /* answer */
    int res;               /* 0 or -ENOENT, -EBUSY, -ETIMEDOUT, -EIO */
    enum cw_call_res call; /* CHANGE, GET, RELEASE */
    char error[CW_ENGINE_ERROR_SIZE];
    struct cw_plain_volume *vol;        /* ATTACH, GET: free() it */
    struct cw_locality self;            /* ATTACH: where we are */
    struct cw_uuid cluster_id;          /* ATTACH */
    struct cw_engine_volume_info *list; /* LIST: one allocation, free() it */
    size_t n_list;
    uint8_t *data; /* READ: len bytes, free() it; NULL: zeroes */

    struct cw_control *control; /* the control thread's */
    void *priv;
};
void cw_control_call(struct cw_control *c, struct cw_ctl_call *call);

/* ---- telling the manager ---- */

struct cw_ctl_report {
    struct cw_engine_task task;
    struct cw_control *control;
    struct cw_volume_report volume;
    struct cw_shard_report shard[]; /* volume.n_shards */
};
void cw_control_report(struct cw_control *c, struct cw_ctl_report *take_malloced);
void cw_control_verify_progress(struct cw_control *c, uint64_t volume, const struct cw_verify *j);

/* ---- told and asked by the manager ---- */

enum cw_ctl_event_kind {
    CW_CTL_ON_HINT,
    CW_CTL_ON_VERIFY,
    CW_CTL_ON_RESIZED,
    CW_CTL_ON_EVICT,
    CW_CTL_ON_LET_GO,
    CW_CTL_ON_READ,
};

struct cw_ctl_event {
    struct cw_engine_task task;
    struct cw_control *control;
    enum cw_ctl_event_kind kind;
    uint64_t volume; /* HINT: 0 if none */
    char host[CW_OWNER_NAME_SIZE];
    bool up;
    uint64_t job;
    bool cancel;
    uint64_t size_bytes;
    uint64_t shard;           /* EVICT */
    struct cw_uuid disk_uuid; /* EVICT */
    uint32_t gen;             /* LET_GO, READ */
    uint64_t off;             /* READ, as len */
    uint32_t len;
    struct cw_shard_rec *shards;
    uint32_t n_shards;
    struct cw_disk_location *disks;
    uint32_t n_disks;

    int res;       /* the answer: 0, -ENOENT, -EBUSY, else failed */
    uint8_t *data; /* READ: len bytes, the event's; NULL: zeroes */
    void *req;
};
/* Ends the event; every one is answered, HINT too. */
void cw_control_answer(struct cw_control *c, struct cw_ctl_event *take_ev, int res);

/* ---- the thread ---- */

struct cw_control_opts {
    const struct cw_engine_opts *engine; /* borrowed for the call */
    struct cw_uuid client_id, boot_id;
    struct cw_mailbox *to_reactor;
    void (*on_event)(void *user, struct cw_ctl_event *take_ev); /* reactor thread */
    void *user;
};

/* Any thread. Starts the thread. */
int cw_control_new(const struct cw_control_opts *opts, char error[static CW_ENGINE_ERROR_SIZE],
                   struct cw_control **ret_c);

/* Reactor thread: what is asked from now on is answered with a failure, what is told is dropped. */
void cw_control_close(struct cw_control *c);

/* After close, any thread but the two. What is under way is answered with a failure, the thread
 * ends. */
void cw_control_stop(struct cw_control *c);

/* After stop, when the reactor thread has ended. */
void cw_control_free(struct cw_control *c);

/* Any thread but the two: see cw_engine_wait_cluster. */
int cw_control_wait(struct cw_control *c, uint64_t timeout_ms,
                    char error[static CW_ENGINE_ERROR_SIZE]);
