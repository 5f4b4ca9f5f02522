/* http/http.h - the HTTP of one daemon, on its control thread. */
#pragma once

#include "common/base/list.h"
#include "common/service/rpc.h"
#include "common/service/service.h"

struct cw_http;

/* Somebody waits for what this daemon knows of itself. */
struct cw_http_look {
    struct cw_list link; /* for whoever answers it */
    /* self: borrowed; NULL: it cannot be told now. */
    void (*done)(struct cw_http_look *, const Causeway__Control__HostInfo *self);
};

struct cw_http_opts {
    const char *listen;   /* ADDR:PORT; port 0 picks one */
    const char *managers; /* ADDR:PORT[,..] */
    const char *name;     /* of this host; "manager" */
    uint64_t out_max;     /* bytes of answers that wait to be sent; 0: the default */
    /* Answers later, and never if its link was removed first. NULL: nothing to tell. */
    void (*look)(void *user, struct cw_http_look *);
    void *user;
};

/* 0, or -errno with one line in why. opts' texts outlive it. Until told otherwise it is not well.
 */
int cw_http_new(struct cw_service *s, const struct cw_http_opts *opts, struct cw_http **ret,
                char why[static CW_RPC_WHY_SIZE]);

/* Ends streams cleanly, fails what is under way. NULL is fine. Not from inside its callbacks. */
void cw_http_free(struct cw_http *h);

/* The address with its real port. */
const char *cw_http_addr(const struct cw_http *h);

/* What /healthz says; NULL: it serves. Copied. */
void cw_http_set_health(struct cw_http *h, const char *why_not);

/* Where the manager may be. */
void cw_http_set_managers(struct cw_http *h, const char *addrs);
