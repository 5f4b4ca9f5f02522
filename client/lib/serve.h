/* lib/serve.h - the life of a program that serves volumes over an engine: it begins, waits for a
 * signal, and ends in order.
 *
 * The main thread runs cw_serve_run; ops run on the reactor thread. The memory is the caller's and
 * holds until that returns.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "client/lib/engine.h"
#include "client/lib/latch.h"
#include "common/obs/log.h"

/* Exit statuses. */
enum { CW_SERVE_CLEAN = 0, CW_SERVE_FAILED = 1, CW_SERVE_USAGE = 2 };

struct cw_serve;

struct cw_serve_ops {
    /* 0; or a negative errno and one line in s->why, and then nothing is left of it. */
    int (*begin)(struct cw_serve *s);
    /* Leads to one cw_serve_stopped. */
    void (*stop)(struct cw_serve *s);
    void (*free)(struct cw_serve *s);
};

struct cw_serve {
    const struct cw_serve_ops *ops;
    const char *program;
    const char *volume; /* the only one, that is named when it does not settle; NULL: several */
    bool ends_itself;   /* cw_serve_end may be called */
    char why[CW_ENGINE_ERROR_SIZE];

    struct cw_engine *engine;
    struct cw_log_sink log;
    pthread_t main;
    struct cw_latch stopped;
    bool clean;
};

/* Until SIGTERM or SIGINT, or cw_serve_end. opts lacks its name, level and log. Returns an exit
 * status: CLEAN if all was released, USAGE if opts make no sense. A volume that does not settle
 * ends the process with FAILED. */
int cw_serve_run(struct cw_serve *s, const struct cw_engine_opts *opts, enum cw_log_level level);

/* What a server calls when it has stopped: serve is the struct. Reactor thread. */
void cw_serve_stopped(void *serve, bool clean);

/* As a signal would, without a word about it; any thread. */
void cw_serve_end(struct cw_serve *s);
