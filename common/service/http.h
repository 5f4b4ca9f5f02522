/* service/http.h - a small HTTP/1.1 server: requests are handed up whole and answered later.
 *
 *   HEAD --head and body are here--> ASKED --answer--> SENDING --sent--> HEAD, or CLOSING
 *                                      \---stream---> STREAM --end--> SENDING
 *
 * One request at a time per connection. Not libevent's evhttp: that one bounds neither connections
 * nor the time that a whole request may take. Limits: CW_HTTP_HEAD_MAX bytes of head, body_max of
 * body, conns_max connections (a new one takes the place of one that idles, else it is told 503),
 * 10 s for a request once begun, 60 s between requests, 30 s for an answer to be taken, out_max
 * bytes waiting to be sent over all connections; a stream that is read too slowly is dropped.
 *
 * Everything belongs to the thread of its cw_service.
 */
#pragma once

#include <stddef.h>

#include "common/service/httphead.h"
#include "common/service/rpc.h"
#include "common/service/service.h"

#define CW_HTTP_HEAD_MAX 8192u
#define CW_HTTP_STREAM_MAX (512u * 1024u) /* unsent bytes of one stream */

struct cw_http_server;

/* A request that an answer is owed to; all that it points to lives as long. */
struct cw_http_req;

struct cw_http_server_opts {
    const char *listen;     /* "127.0.0.1:0" picks a port */
    uint32_t conns_max;     /* 0: 128 */
    uint32_t body_max;      /* 0: 64 KiB */
    uint64_t out_max;       /* 0: 64 MiB */
    uint32_t request_ms;    /* for head and body; 0: 10 s */
    uint32_t idle_ms;       /* 0: 60 s */
    const char *error_type; /* content type of what `refuse` writes */
    /* May be answered from inside. */
    void (*on_request)(void *user, struct cw_http_req *take_req);
    /* The body of an answer to what was no request: malloc'ed text; NULL: none. */
    char *(*refuse)(void *user, int status, const char *why);
    void *user;
};

/* 0, or -errno with one line in why. */
int cw_http_server_new(struct cw_service *s, const struct cw_http_server_opts *opts,
                       struct cw_http_server **ret, char why[static CW_RPC_WHY_SIZE]);

/* What was written and fits into the sockets is sent; every connection ends, and requests that are
 * not answered yet become orphans: they are still answered, to nobody. NULL is fine. */
void cw_http_server_free(struct cw_http_server *srv);

const char *cw_http_server_addr(const struct cw_http_server *srv);

struct cw_http_counts {
    uint64_t requests[6];    /* answered, by the first digit of the status; [0]: dropped */
    uint64_t conns, refused; /* since it listens: taken, told 503 */
    uint32_t open, streams;  /* now */
};
struct cw_http_counts cw_http_server_counts(const struct cw_http_server *srv);

/* ---- a request ---- */

const struct cw_http_head *cw_http_req_head(const struct cw_http_req *req);
const struct cw_http_target *cw_http_req_target(const struct cw_http_req *req);
const char *cw_http_req_line_target(const struct cw_http_req *req); /* as it came */
const char *cw_http_req_body(const struct cw_http_req *req, size_t *ret_len);
const char *cw_http_req_peer(const struct cw_http_req *req);

struct cw_http_answer {
    int status;
    const char *type;  /* NULL: no body */
    const char *extra; /* header lines, each with its CR LF; NULL: none */
    const char *body;
    size_t len;
};

/* Ends the request. */
void cw_http_req_answer(struct cw_http_req *take_req, const struct cw_http_answer *a);

/* ---- an answer that goes on ---- */

/* 200 and the head. gone: the reader left, or reads too slowly; called at most once, never from
 * inside a write, and the request is still to be ended. False: the reader has left already. */
bool cw_http_req_stream(struct cw_http_req *req, const char *type, void (*gone)(void *user),
                        void *user);
void cw_http_req_write(struct cw_http_req *req, const char *bytes, size_t len);
size_t cw_http_req_unsent(const struct cw_http_req *req); /* bytes */
void cw_http_req_end(struct cw_http_req *take_req);
