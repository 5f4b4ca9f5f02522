/* reactor/reactor.h - the data-plane loop: one io_uring per thread, shared with nobody.
 *
 *   turn:  submit and wait -> all completions -> due timers -> inbox, deferred work
 *          -> turn-end hooks, in order -> one sendmsg per link and stream -> submit and wait ..
 *
 * The loop sleeps in the kernel when it has nothing to do; it never polls. Completions of a turn
 * are all run before anything is flushed, so that what they produce leaves in one train.
 *
 * Threads: cw_reactor_new and everything before the first turn may happen on one other thread;
 * from the first turn on every call in this room is made on the thread that runs the turns, except
 * cw_reactor_post, cw_reactor_stop and cw_inbox_post, which any thread may call.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/env.h"
#include "common/base/list.h"
#include "common/mem/buf.h"
#include "common/reactor/inbox.h"

struct cw_reactor;

struct cw_reactor_opts {
    enum cw_log_level log_level; /* lines above it are dropped */
    /* Called on the reactor's thread; NULL drops all lines. */
    void (*log)(void *log_user, enum cw_log_level, const char *line);
    void *log_user;
    uint64_t memory_bytes; /* budget of cw_reactor_pool; 0: 256 MiB */
    uint32_t sq_entries;   /* 0: 1024 */
    uint32_t recv_buffers; /* of 64 KiB, shared by all links; a power of two, 0: 64 */
    uint32_t inbox_items;  /* 0: 4096 */
    bool plain;            /* as on an old kernel: no optional feature is used (for tests) */
};

/* 0, or a negative errno: -ENOSYS and -EPERM mean that the kernel or the container forbids
 * io_uring.
 */
int cw_reactor_new(const struct cw_reactor_opts *opts, struct cw_reactor **ret_r);

/* Links, streams, listeners and disks must have been closed; waits until the kernel has let go of
 * them. On the thread that ran the turns, or any if none ran. NULL is fine. */
void cw_reactor_free(struct cw_reactor *r);

/* Turns until cw_reactor_stop; 0, or a negative errno if the ring broke. */
int cw_reactor_run(struct cw_reactor *r);

/* One turn; sleeps at most wait_ns (0: does not sleep, CW_NEVER: until something happens). */
int cw_reactor_turn(struct cw_reactor *r, uint64_t wait_ns);

/* cw_reactor_run returns after the turn under way. Any thread. */
void cw_reactor_stop(struct cw_reactor *r);

/* Lives as long as the reactor. now_ns is CLOCK_BOOTTIME, read once per turn. */
struct cw_env *cw_reactor_env(struct cw_reactor *r);

/* Reads the clock now; for measuring latency inside a turn. */
uint64_t cw_reactor_clock_ns(void);

/* The reactor's buffers; for its thread only. */
struct cw_buf_pool *cw_reactor_pool(struct cw_reactor *r);

/* ---- work ---- */

/* Any thread. False: the inbox is full, item was not taken (the caller waits or refuses). item->fn
 * runs once on the reactor's thread; then the item is its poster's again. */
bool cw_reactor_post(struct cw_reactor *r, struct cw_inbox_item *item);

/* Work of the reactor's own thread that must not run inside the present call. Embedded; zeroed it
 * is idle. */
struct cw_defer {
    void (*fn)(struct cw_defer *);
    struct cw_list link;
    bool queued;
};

/* fn runs once, before the turn ends if the turn is not at its hooks yet, else in the next one,
 * which then does not sleep. A second call while queued does nothing. */
void cw_reactor_defer(struct cw_reactor *r, struct cw_defer *w);
void cw_reactor_defer_cancel(struct cw_reactor *r, struct cw_defer *w);

/* ---- turn end ---- */

/* Lower orders run first; equal ones in the order of adding. */
enum {
    CW_HOOK_DECIDER = 10, /* owners and replicas: build frames, fill batches */
    CW_HOOK_STORE = 20,   /* submit the open batch */
    CW_HOOK_LAST = 90,
};

/* Embedded in what it calls. fn may send on links, submit I/O, add timers. */
struct cw_hook {
    void (*fn)(struct cw_hook *);
    int order;
    struct cw_list link;
};

void cw_reactor_hook_add(struct cw_reactor *r, struct cw_hook *h);
void cw_reactor_hook_remove(struct cw_reactor *r, struct cw_hook *h);

/* ---- numbers ---- */

struct cw_reactor_stats {
    uint64_t turns, completions, sqes;
    uint64_t links, streams;      /* alive now, including those that are going down */
    uint64_t frames_in, bytes_in; /* links only */
    uint64_t sends, bytes_out;
    uint64_t recv_starved; /* receives that had to wait for a buffer */
    uint64_t helpers;      /* threads that were started for one call that blocks */
};
void cw_reactor_stats(const struct cw_reactor *r, struct cw_reactor_stats *ret);
