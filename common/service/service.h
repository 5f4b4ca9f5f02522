/* service/service.h - one libevent loop per thread: the world of everything that is not the hot
 * path.
 *
 * It is a struct cw_env (CLOCK_BOOTTIME, timers, getrandom, log) for the deciders that live on its
 * thread, and gives their shells signals, foreign file descriptors and work from other threads.
 *
 * Threads: new, run and free on one thread. cw_service_post, cw_service_stop and nothing else may
 * be called from any thread. All callbacks come on the loop's thread, from inside cw_service_run.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/env.h"
#include "common/base/list.h"

struct cw_buf_pool;
struct cw_service;
struct cw_watch;
struct event_base;

struct cw_service_opts {
    enum cw_log_level log_level;
    /* One line without newline; may be called from the loop's thread only. NULL: stderr. */
    void (*log)(void *log_user, enum cw_log_level, const char *line);
    void *log_user;
    uint64_t budget_bytes; /* messages in and out, all connections together; 0: 64 MiB */
};

/* NULL and *ret_error (a negative errno) if the kernel refuses a descriptor. opts may be NULL. */
struct cw_service *cw_service_new(const struct cw_service_opts *opts, int *ret_error);

/* Servers, sessions and watches on it must be gone; armed timers are forgotten. NULL is fine. */
void cw_service_free(struct cw_service *s);

/* For deciders; lives as long as the service. Its time stands still within one callback. */
struct cw_env *cw_service_env(struct cw_service *s);

/* Runs callbacks until cw_service_stop; may be called again afterwards. */
void cw_service_run(struct cw_service *s);

/* Any thread, any callback, also before run (which then returns at once). */
void cw_service_stop(struct cw_service *s);

/* Work from another thread, embedded in what it is about. It is queued at most once at a time, so
 * the queue is bounded by what exists. Zero-initialise, then set fn. */
struct cw_work {
    void (*fn)(struct cw_work *);
    struct cw_list link; /* the service's while queued */
    bool queued;         /* the service's */
};

/* Any thread. fn runs once on the loop's thread; it may post the same work again. False if it was
 * queued already: one call of fn then stands for both. Work still queued when the service is freed
 * never runs. */
bool cw_service_post(struct cw_service *s, struct cw_work *w);

/* Calls fn on the loop's thread whenever signo arrives. Blocks the signal in the calling thread, so
 * call it before other threads are started (they inherit the mask). At most 8. 0 or -errno. */
int cw_service_on_signal(struct cw_service *s, int signo, void (*fn)(void *user, int signo),
                         void *user);

enum cw_watch_kind {
    CW_WATCH_READABLE, /* fn must read until EAGAIN or be called again */
    CW_WATCH_EVENTFD,  /* the counter is read and cleared before fn */
};

/* Calls fn when fd is readable; fd stays the caller's. NULL if out of memory. */
struct cw_watch *cw_watch_new(struct cw_service *s, int fd, enum cw_watch_kind kind,
                              void (*fn)(void *user), void *user);

/* Also from inside its own fn. Before the fd is closed. NULL is fine. */
void cw_watch_free(struct cw_watch *w);

/* For the files of this room, and for who speaks HTTP with libevent's own code on this loop. */
struct event_base *cw_service_base(struct cw_service *s);
struct cw_buf_pool *cw_service_pool(struct cw_service *s);

/* Reads the clock again; every libevent callback begins with it. */
void cw_service_tick(struct cw_service *s);

/* Never the same twice: request ids, unique over all connections of the loop. */
uint64_t cw_service_next_id(struct cw_service *s);
