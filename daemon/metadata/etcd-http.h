/* metadata/etcd-http.h - one HTTP connection to one endpoint, one request at a time on it.
 *
 *   IDLE --post--> BUSY --whole answer, failure, deadline--> IDLE, and done is called
 *
 * A connection that failed or was closed by the other side is made anew by the next post. done and
 * chunk are called from a timer of the loop, never from inside libevent's HTTP code nor from inside
 * post, so that they may free the connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/metadata/etcd-url.h"

struct cw_etcd_http;
struct cw_service;
struct ssl_ctx_st;

struct cw_etcd_http_answer {
    int status;       /* of HTTP; 0: there is no whole answer */
    const char *body; /* borrowed for the call; no final NUL; empty of a stream */
    size_t len;
    bool sent;       /* bytes of the request may have reached the other side */
    const char *why; /* of status 0 */
};

struct cw_etcd_http_opts {
    struct cw_service *service;
    struct ssl_ctx_st *tls;                  /* NULL: no endpoint wants it */
    const struct cw_etcd_endpoint *endpoint; /* borrowed until freed */
    size_t answer_max;                       /* bytes, of a stream all together */
    void (*done)(void *user, const struct cw_etcd_http_answer *);
    void (*chunk)(void *user, const char *bytes, size_t len); /* NULL: not a stream */
    void *user;
};

/* NULL: out of memory. Connects when something is posted. */
struct cw_etcd_http *cw_etcd_http_new(const struct cw_etcd_http_opts *opts);

/* What is under way is forgotten: done is not called. NULL is fine. */
void cw_etcd_http_free(struct cw_etcd_http *h);

struct cw_etcd_http_request {
    const char *path;
    const char *token; /* NULL: none */
    const char *body;  /* borrowed for the call */
    size_t len;
    uint32_t timeout_ms; /* until the answer is whole; of a stream: until its head is there */
};

/* It is IDLE. */
void cw_etcd_http_post(struct cw_etcd_http *h, const struct cw_etcd_http_request *r);

/* Bytes of the request under way may have reached the other side. */
bool cw_etcd_http_sent(const struct cw_etcd_http *h);
