/* http/internal.h - what the files of this room share.
 *
 *   request --routes.c--> route --fields.c--> message --ask.c--> manager --shape--> answer
 *                           \---- run: /healthz, /metrics, a stream of events
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "common/base/bits.h"
#include "common/service/http.h"
#include "common/service/session.h"
#include "common/shape/payload.h"
#include "daemon/http/http.h"

#define HTTP_READ_MS 1900u /* as the admin client */
#define HTTP_DO_MS 20000u
#define HTTP_WAIT_MS 10000u
#define HTTP_OBJECT_SIZE 256

#define HTTP_BODY(CASE) CAUSEWAY__CONTROL__ENVELOPE__BODY_##CASE
typedef Causeway__Control__Envelope__BodyCase http_body_case;

struct http_ask;

struct http_route {
    const char *method;
    const char *path;   /* "/v1/volumes/{name}/resize"; {..} is any one segment */
    const char *object; /* the message's field that gets what stood there ("h1/store-0"); NULL */
    http_body_case ask; /* 0: only `run` */
    const char *fields; /* what query (GET, DELETE) or JSON (else) may say: "name size_bytes",
                           "json_name=field" where they differ; NULL: nothing */
    const char *in;     /* the fields are of this part of the message; NULL: its own */
    const char *set;    /* a bool of the message that is true, or an enum: set_to; NULL */
    int set_to;
    http_body_case want; /* of the reply; 0: an empty one */
    int status;
    /* NULL: what was asked for is not in the reply. */
    json_t *(*shape)(const struct http_ask *, const cw_envelope *reply);
    void (*run)(struct http_ask *take_ask); /* does all of it instead */
};
extern const struct http_route cw_http_routes[]; /* ended by a NULL method */

/* A key of requests that may come twice, and what the first one was told. */
struct http_key {
    struct cw_list link; /* oldest first */
    char *key, *line;    /* "POST /v1/volumes" */
    uint64_t body_hash, at_ns;
    bool busy;
    int status; /* 0 while busy */
    char *text;
    size_t len;
};

/* Counters of volumes begin anew with each owner; what is told of them must not. */
struct http_total {
    uint64_t volume, seen[2], total[2]; /* reads, writes */
    bool listed;
};

struct cw_http {
    struct cw_service *service;
    struct cw_env *env;
    struct cw_http_opts opts;
    struct cw_http_server *server;
    struct cw_rpc_session *session;
    char why_not[200]; /* "": it serves */
    bool closing;
    struct cw_list asks, streams, keys;
    size_t n_keys, key_bytes;
    struct http_total *totals;
    size_t n_totals;
    uint64_t started_ns;
};

/* One request on its way. */
struct http_ask {
    struct cw_list link;
    struct cw_http *h;
    struct cw_http_req *req;
    const struct http_route *route;
    struct cw_rpc_call call;
    char object[HTTP_OBJECT_SIZE];
    json_t *body; /* of POST and PATCH; NULL: none */
    bool mutates, dry_run;
    struct http_key *key;
    cw_envelope *kept, *kept_too; /* of earlier questions */
    struct cw_http_look look;     /* metrics */
    FILE *text;
    char *text_at;
    size_t text_len;
    int step;
};

/* ---- ask.c ---- */

/* A request came. */
void cw_http_begin(struct cw_http *h, struct cw_http_req *take_req);

/* Each ends the ask. */
void cw_http_answer(struct http_ask *take_a, int status, json_t *take_payload);
void cw_http_answer_text(struct http_ask *take_a, int status, const char *type, const char *text,
                         size_t len);
void cw_http_fail(struct http_ask *take_a, int status, const char *code, const char *object,
                  const char *hint, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void cw_http_fail_error(struct http_ask *take_a, const Causeway__Control__Error *e);

/* Asks the manager what the route says. */
void cw_http_ask(struct http_ask *a);

/* Asks it anything; done gets the ask by cw_container_of. */
void cw_http_call(struct http_ask *a, http_body_case body, ProtobufCMessage *m, uint64_t timeout_ms,
                  void (*done)(struct cw_rpc_call *, const cw_envelope *));

/* Frees it, its request being somebody else's. */
void cw_http_ask_free(struct http_ask *a);

/* For `shape`: what the request said; `other` if it did not. */
bool cw_http_flag(const struct http_ask *a, const char *name, bool other);
uint64_t cw_http_number(const struct http_ask *a, const char *name, uint64_t other);
const char *cw_http_text(const struct http_ask *a, const char *name, const char *other);

/* ---- fields.c ---- */

/* The message that the route asks, its strings borrowed from the ask; free it with
 * cw_http_message_free. NULL: why says what was wrong. */
ProtobufCMessage *cw_http_message(const struct http_ask *a, char why[static CW_RPC_WHY_SIZE]);
void cw_http_message_free(ProtobufCMessage *m);
/* Whether the query says only what the route knows; for `run`. */
bool cw_http_params_ok(const struct http_ask *a, char why[static CW_RPC_WHY_SIZE]);

/* ---- routes.c ---- */

/* NULL: none; then allow is the methods that there are ("" for no such path). */
const struct http_route *cw_http_route_find(const char *method, const struct cw_http_target *t,
                                            char object[static HTTP_OBJECT_SIZE], char *allow,
                                            size_t allow_size);

/* ---- keys.c ---- */

enum http_key_state { HTTP_KEY_NEW, HTTP_KEY_SAME, HTTP_KEY_BUSY, HTTP_KEY_OTHER, HTTP_KEY_FULL };

/* NEW: *ret is noted and its answer is owed; SAME: *ret has it. */
enum http_key_state cw_http_key_take(struct cw_http *h, const char *key, const char *line,
                                     const char *body, size_t len, struct http_key **ret);
/* What nobody knows the outcome of (500 and above) is forgotten: it may be tried again. */
void cw_http_key_answered(struct cw_http *h, struct http_key *k, int status, const char *text,
                          size_t len);
void cw_http_keys_fini(struct cw_http *h);

/* ---- events.c, metrics.c ---- */

void cw_http_run_events(struct http_ask *take_a);
void cw_http_streams_end(struct cw_http *h);
void cw_http_run_metrics(struct http_ask *take_a);
void cw_http_run_health(struct http_ask *take_a);

/* metrics-local.c: this daemon; metrics-cluster.c: what the manager knows. */
void cw_http_metrics_self(struct http_ask *a, const Causeway__Control__HostInfo *self);
void cw_http_metrics_program(struct http_ask *a);
void cw_http_metrics_status(struct http_ask *a, const cw_pb_status *s);
void cw_http_metrics_volumes(struct http_ask *a, const cw_pb_volumes *ls);
void cw_http_metrics_hosts(struct http_ask *a, const cw_pb_hosts *ls);

/* "# HELP .. # TYPE .." */
void cw_http_metric(FILE *f, const char *name, const char *type, const char *help);
/* name{k="v",..} value; labels: pairs of name and value, ended by NULL. */
void cw_http_sample(FILE *f, const char *name, const char *const *labels, double value);
void cw_http_sample_u64(FILE *f, const char *name, const char *const *labels, uint64_t value);
