/* lib/engine.h - a client process's two threads: what libcauseway, causeway-nbd and the admin
 * client's bench, import and export run on.
 *
 *   reactor thread   data links, volumes (common/owner), the user's own sockets and code
 *   control thread   one session with the manager: attach, changes, reports, hints
 *
 * The two meet only through bounded queues. Unless said otherwise a function is called on the
 * reactor thread, and every callback runs there; get there with cw_engine_post or cw_engine_run.
 * A request goes from its caller to the wire on the reactor thread, without a hand-off.
 *
 * The session with the manager reconnects for ever; volumes that are open never fail because the
 * manager is away.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/env.h"
#include "common/mem/buf.h"

struct cw_engine;
struct cw_engine_volume;
struct cw_io;      /* owner/owner.h: a request on a volume */
struct cw_reactor; /* reactor/reactor.h */

#define CW_ENGINE_ERROR_SIZE 256
#define CW_ENGINE_NAME_SIZE 64 /* of a volume, with the NUL */

struct cw_engine_opts {
    const char *cluster;   /* "ADDR:PORT[,ADDR:PORT..]", tried in turn */
    const char *name;      /* of this client, for status and VOLUME_IN_USE; NULL: the program's */
    const char *domain;    /* "site=..,rack=..,host=.."; NULL: that of a daemon on this machine */
    uint64_t memory_bytes; /* budget of all I/O buffers; 0: 256 MiB */
    enum cw_log_level log_level;
    void (*log)(void *user, enum cw_log_level level, const char *line); /* either thread; NULL:
                                                                         * stderr */
    void *log_user;
};

/* Any thread. Starts both threads and begins to look for the cluster; does not wait for it.
 * -EINVAL: opts make no sense; -ENOMEM, -EMFILE, .. as the machine says; error then holds one line.
 */
int cw_engine_new(const struct cw_engine_opts *opts, char error[static CW_ENGINE_ERROR_SIZE],
                  struct cw_engine **ret_e);

/* Any thread but the engine's own two. Every volume is closed, everything of the user's is off the
 * reactor. Ends both threads. NULL is fine. */
void cw_engine_free(struct cw_engine *e);

/* Any thread but the engine's own two. 0 once the manager answered, -ETIMEDOUT and a line in
 * error that says what was tried. */
int cw_engine_wait_cluster(struct cw_engine *e, uint64_t timeout_ms,
                           char error[static CW_ENGINE_ERROR_SIZE]);

/* ---- running code on the reactor thread ---- */

/* The caller's; its address holds until fn was called. */
struct cw_engine_task {
    void (*fn)(struct cw_engine_task *);
    struct cw_engine_task *next; /* the engine's */
};

/* Any thread. fn runs once on the reactor thread, never from inside post, in the order of posts by
 * one thread. Wakes the reactor only if it sleeps. */
void cw_engine_post(struct cw_engine *e, struct cw_engine_task *t);

/* Any thread but the engine's own two: fn(arg) on the reactor thread, returns its result. */
int cw_engine_run(struct cw_engine *e, int (*fn)(void *arg), void *arg);

struct cw_reactor *cw_engine_reactor(struct cw_engine *e);
struct cw_env *cw_engine_env(struct cw_engine *e);
struct cw_buf_pool *cw_engine_pool(struct cw_engine *e);

/* Any thread: is this the reactor thread? */
bool cw_engine_is_reactor(const struct cw_engine *e);

/* ---- what volumes exist ---- */

struct cw_engine_volume_info {
    const char *name;
    uint64_t size_bytes;
};

/* The caller's until done. */
struct cw_engine_list {
    const char *name;    /* only this volume; NULL: all */
    uint64_t timeout_ms; /* 0: 5 s */
    void *user;
    /* Exactly once, never from inside cw_engine_list. res 0: v[0..n), borrowed for the call.
     * -ENOENT: no volume `name`; -ETIMEDOUT: the cluster does not answer; else -EIO. error: one
     * line. */
    void (*done)(struct cw_engine_list *l, int res, const struct cw_engine_volume_info *v, size_t n,
                 const char *error);
    struct cw_engine_task task; /* the engine's */
};
void cw_engine_list(struct cw_engine *e, struct cw_engine_list *l);

/* ---- a volume ---- */

struct cw_engine_volume_events {
    void (*on_resize)(void *user, uint64_t size_bytes); /* NULL: not wanted */
    /* Somebody else took the volume over, or it was handed over: every request fails with
     * -ESHUTDOWN from now on. NULL: not wanted. Close it all the same. */
    void (*on_fenced)(void *user, const char *why);
};

/* The caller's until done. */
struct cw_engine_open {
    const char *volume;
    bool force;
    bool take;         /* from the client that owns it, if it was allowed to hand it over; not with
                        * force */
    bool standby;      /* if another client owns it and may hand it over: v stands by. Its reads
                        * are the owner's, slowly; any other request, or cw_engine_take, takes it */
    uint64_t retry_ms; /* how long VOLUME_IN_USE and an absent cluster are tried again; 0: once */
    uint64_t timeout_ms; /* of the whole, from the call until it serves; 0: 60 s, and 180 s once a
                          * cold start is known */
    const struct cw_engine_volume_events *ev; /* NULL: none; lives until closed */
    void *user;                               /* of ev and done */
    /* Exactly once, never from inside cw_engine_open. res 0: v serves. -ENOENT no such volume,
     * -EBUSY VOLUME_IN_USE, -EHOSTUNREACH no in-sync copy can be reached, -ETIMEDOUT the cluster
     * does not answer, -ECANCELED by cw_engine_open_cancel, else -EIO or -ENOMEM. error: one line
     * that names the object, the cause and the next step. */
    void (*done)(struct cw_engine_open *o, int res, struct cw_engine_volume *v, const char *error);
    void *priv;                 /* the engine's */
    struct cw_engine_task task; /* the engine's */
};
void cw_engine_open(struct cw_engine *e, struct cw_engine_open *o);

/* Asks for the end; done still comes, with -ECANCELED unless it was decided already. */
void cw_engine_open_cancel(struct cw_engine_open *o);

/* A volume that stands by asks its owner to let go, and serves once it is ours; requests wait for
 * that. If it cannot be had they fail, with on_fenced. Of any other volume: nothing. */
void cw_engine_take(struct cw_engine_volume *v);
bool cw_engine_volume_stands_by(const struct cw_engine_volume *v);

/* Current; grows and shrinks with resize. */
uint64_t cw_engine_volume_size(const struct cw_engine_volume *v);
uint32_t cw_engine_volume_gen(const struct cw_engine_volume *v);
/* By its policy now: a write completes in the memory of all copies, FLUSH waits for media. */
bool cw_engine_volume_acks_replicated(const struct cw_engine_volume *v);
const char *cw_engine_volume_name(const struct cw_engine_volume *v);

/* Hands the request to the owner: see cw_owner_submit for ranges, buffers and results. */
void cw_engine_submit(struct cw_engine_volume *v, struct cw_io *io);

/* Waits for the requests under way, releases the volume and frees v; no submit after the call. */
struct cw_engine_close {
    uint64_t timeout_ms; /* 0: 10 s; afterwards v is dropped without a confirmed release */
    void *user;
    /* Exactly once, never from inside cw_engine_close. 0: released; else the release was not
     * confirmed (-ETIMEDOUT, -ESHUTDOWN: fenced), the next attach may have to wait for the lease.
     */
    void (*done)(struct cw_engine_close *c, int res);
};
void cw_engine_close(struct cw_engine_volume *take_v, struct cw_engine_close *c);
