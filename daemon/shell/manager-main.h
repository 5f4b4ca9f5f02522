/* shell/manager-main.h - the manager role of causewayd: control thread, manager decider, LMDB.
 *
 *   causewayd --role manager --metadata lmdb:DIR --listen ADDR:PORT [--bootstrap ..]
 *
 * The port is taken before the metadata is touched, so a second start by mistake changes nothing.
 */
#pragma once

#include <stdbool.h>

#include "common/obs/log.h"

struct cw_manager_main_opts {
    const char *listen;    /* ADDR:PORT, port 0 picks one */
    const char *advertise; /* what others are told; NULL: the listen address with its real port */
    const char *metadata;  /* "lmdb:DIR" */
    const char *http;      /* ADDR:PORT of its HTTP; NULL: none */
    bool bootstrap;        /* first start: make the cluster */
    const char *cluster_name; /* bootstrap; NULL or "": made from the cluster id */
    struct cw_log_sink *log;  /* borrowed; NULL: stderr, notices and worse */

    /* It serves on addr (with the real port). May be NULL. On the calling thread. */
    void (*ready)(void *user, const char *addr);
    void *user;
};

/* Runs until SIGTERM or SIGINT, which are blocked in the calling thread from here on; call it
 * before other threads start. Returns the exit status: 0 stopped as asked, 1 failed, 2 bad usage;
 * each failure is one line in the log. */
int cw_manager_main(const struct cw_manager_main_opts *opts);
