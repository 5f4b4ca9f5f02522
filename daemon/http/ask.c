/* http/ask.c - one request from its head to its answer. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/http/internal.h"

#define JSON_TYPE "application/json"
#define KEY_MAX_BYTES 128u

void
cw_http_ask_free(struct http_ask *a)
{
    cw_list_remove(&a->link);
    cw_list_remove(&a->look.link);
    if (a->text != NULL)
        fclose(a->text);
    free(a->text_at);
    json_decref(a->body);
    cw_envelope_free(a->kept);
    cw_envelope_free(a->kept_too);
    free(a);
}

/* ---- answering ---- */

static void
ask_send(struct http_ask *take_a, const struct cw_http_answer *answer)
{
    if (take_a->key != NULL)
        cw_http_key_answered(take_a->h, take_a->key, answer->status, answer->body, answer->len);
    cw_http_req_answer(take_a->req, answer);
    cw_http_ask_free(take_a);
}

static void
ask_send_json(struct http_ask *take_a, int status, json_t *take_payload, const char *extra)
{
    char *text = cw_payload_dump(take_payload, JSON_COMPACT);

    ask_send(take_a, &(struct cw_http_answer){ .status = status,
                                               .type = JSON_TYPE,
                                               .extra = extra,
                                               .body = text,
                                               .len = strlen(text) });
    free(text);
}

void
cw_http_answer(struct http_ask *take_a, int status, json_t *take_payload)
{
    ask_send_json(take_a, status, take_payload, status == 503 ? "Retry-After: 1\r\n" : NULL);
}

void
cw_http_answer_text(struct http_ask *take_a, int status, const char *type, const char *text,
                    size_t len)
{
    ask_send(take_a,
             &(struct cw_http_answer){ .status = status, .type = type, .body = text, .len = len });
}

void
cw_http_fail(struct http_ask *take_a, int status, const char *code, const char *object,
             const char *hint, const char *fmt, ...)
{
    char message[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    cw_http_answer(take_a, status, cw_payload_error(code, message, object, hint));
}

static int
error_status(Causeway__Control__ErrorCode code)
{
    switch ((int)code) {
    case CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST:
        return 400;
    case CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND:
        return 404;
    case CAUSEWAY__CONTROL__ERROR_CODE__EXISTS:
    case CAUSEWAY__CONTROL__ERROR_CODE__VOLUME_IN_USE:
    case CAUSEWAY__CONTROL__ERROR_CODE__CONFLICT:
    case CAUSEWAY__CONTROL__ERROR_CODE__POLICY_UNSATISFIABLE:
    case CAUSEWAY__CONTROL__ERROR_CODE__NAME_TAKEN:
    case CAUSEWAY__CONTROL__ERROR_CODE__FOREIGN_STORE:
    case CAUSEWAY__CONTROL__ERROR_CODE__LAST_COPY:
    case CAUSEWAY__CONTROL__ERROR_CODE__BUSY:
        return 409;
    case CAUSEWAY__CONTROL__ERROR_CODE__LIMIT:
        return 422;
    case CAUSEWAY__CONTROL__ERROR_CODE__NOT_MANAGER:
    case CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE:
        return 503;
    case CAUSEWAY__CONTROL__ERROR_CODE__TIMEOUT:
        return 504;
    default:
        return 500;
    }
}

void
cw_http_fail_error(struct http_ask *take_a, const Causeway__Control__Error *e)
{
    cw_http_answer(
        take_a, error_status(e->code),
        cw_payload_error(cw_rpc_code_name(e->code),
                         e->message != NULL && e->message[0] != '\0' ? e->message : "refused",
                         e->object, e->hint));
}

/* ---- the manager ---- */

static void
ask_on_reply(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct http_ask *a = cw_container_of(call, struct http_ask, call);
    const struct http_route *r = a->route;
    json_t *payload;

    if (reply->error != NULL) {
        cw_http_fail_error(a, reply->error);
    } else if (a->dry_run) {
        cw_http_answer(a, 200, json_pack("{s:b}", "dry_run", 1));
    } else if (reply->body_case != r->want) {
        cw_http_fail(a, 500, "INTERNAL", a->object, NULL,
                     "the manager answered something else than was asked; do the versions differ?");
    } else if ((payload = r->shape(a, reply)) == NULL) {
        cw_http_fail(a, 404, "NOT_FOUND", a->object, NULL, "%s: there is no such thing", a->object);
    } else {
        cw_http_answer(a, r->status != 0 ? r->status : 200, payload);
    }
}

void
cw_http_call(struct http_ask *a, http_body_case body, ProtobufCMessage *m, uint64_t timeout_ms,
             void (*done)(struct cw_rpc_call *, const cw_envelope *))
{
    cw_envelope e = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    e.body_case = body;
    e.status = (Causeway__Control__Status *)m; /* every member of the oneof is one pointer */
    e.dry_run = a->dry_run;
    a->call = (struct cw_rpc_call){ .done = done, .repeat = !a->mutates };
    cw_rpc_session_call(a->h->session, &a->call, &e, timeout_ms);
}

void
cw_http_ask(struct http_ask *a)
{
    char why[CW_RPC_WHY_SIZE];
    ProtobufCMessage *m = cw_http_message(a, why);
    uint64_t timeout_ms = a->mutates ? HTTP_DO_MS : HTTP_READ_MS;

    if (m == NULL) {
        cw_http_fail(a, 400, "BAD_REQUEST", a->object, "see docs/api/openapi.json", "%s", why);
        return;
    }
    if (cw_http_flag(a, "wait", false))
        timeout_ms = HTTP_WAIT_MS;
    cw_http_call(a, a->route->ask, m, timeout_ms, ask_on_reply);
    cw_http_message_free(m);
}

/* ---- judging what came ---- */

/* A page of somebody else's, shown by a browser that can reach us, may not change anything. */
static bool
origin_ok(const struct http_ask *a)
{
    const struct cw_http_head *head = cw_http_req_head(a->req);
    const char *origin = cw_http_head_find(head, "Origin");
    const char *host = cw_http_head_find(head, "Host"), *name;

    if (origin == NULL)
        return true;
    name = strstr(origin, "://");
    return name != NULL && host != NULL && strcmp(name + 3, host) == 0;
}

static bool
body_is_json(const struct http_ask *a)
{
    const char *type = cw_http_head_find(cw_http_req_head(a->req), "Content-Type");
    size_t len = type != NULL ? strcspn(type, " ;") : 0;

    return len == strlen(JSON_TYPE) && strncasecmp(type, JSON_TYPE, len) == 0;
}

/* False: answered. */
static bool
body_read(struct http_ask *a)
{
    json_error_t e;
    size_t len;
    const char *body = cw_http_req_body(a->req, &len);

    if (len == 0)
        return true;
    if (!a->mutates || strcmp(a->route->method, "DELETE") == 0) {
        cw_http_fail(a, 400, "BAD_REQUEST", a->object, NULL, "%s has no body", a->route->method);
        return false;
    }
    if (!body_is_json(a)) {
        cw_http_fail(a, 415, "BAD_REQUEST", a->object, "send Content-Type: " JSON_TYPE,
                     "the body is not said to be JSON");
        return false;
    }
    a->body = json_loadb(body, len, JSON_REJECT_DUPLICATES, &e);
    if (json_is_object(a->body))
        return true;
    cw_http_fail(a, 400, "BAD_REQUEST", a->object, NULL, "the body is no JSON object: %s",
                 a->body == NULL ? e.text : "something else");
    return false;
}

/* "true", "1", "" */
static bool
dry_run_read(struct http_ask *a)
{
    const char *p = cw_http_target_param(cw_http_req_target(a->req), "dry-run");

    if (p != NULL && p[0] != '\0' && strcmp(p, "true") != 0 && strcmp(p, "1") != 0 &&
        strcmp(p, "false") != 0 && strcmp(p, "0") != 0) {
        cw_http_fail(a, 400, "BAD_REQUEST", a->object, NULL, "dry-run is true or false");
        return false;
    }
    a->dry_run = cw_http_flag(a, "dry-run", false);
    return true;
}

static bool
key_ok(const char *key)
{
    size_t n = strlen(key);

    if (n == 0 || n > KEY_MAX_BYTES)
        return false;
    for (; *key != '\0'; key++) {
        if (*key <= ' ' || *key > '~')
            return false;
    }
    return true;
}

static void
key_same(struct http_ask *a, const struct http_key *k)
{
    cw_http_req_answer(a->req, &(struct cw_http_answer){ .status = k->status,
                                                         .type = JSON_TYPE,
                                                         .extra = "Idempotency-Replayed: true\r\n",
                                                         .body = k->text,
                                                         .len = k->len });
    cw_http_ask_free(a);
}

/* False: answered, or failed. */
static bool
key_read(struct http_ask *a)
{
    const char *key = cw_http_head_find(cw_http_req_head(a->req), "Idempotency-Key"), *body;
    struct http_key *k = NULL;
    char line[CW_HTTP_HEAD_MAX + 16];
    size_t len;

    if (key == NULL || !a->mutates || a->dry_run)
        return true;
    if (!key_ok(key)) {
        cw_http_fail(a, 400, "BAD_REQUEST", a->object, NULL,
                     "an Idempotency-Key is 1 to %u printable characters without spaces",
                     KEY_MAX_BYTES);
        return false;
    }
    body = cw_http_req_body(a->req, &len);
    snprintf(line, sizeof(line), "%s %s", a->route->method, cw_http_req_line_target(a->req));
    switch (cw_http_key_take(a->h, key, line, body, len, &k)) {
    case HTTP_KEY_NEW:
        a->key = k;
        return true;
    case HTTP_KEY_SAME:
        key_same(a, k);
        return false;
    case HTTP_KEY_BUSY:
        cw_http_fail(a, 409, "BUSY", a->object, "try again",
                     "the first request with this Idempotency-Key is under way");
        return false;
    case HTTP_KEY_OTHER:
        cw_http_fail(a, 422, "CONFLICT", a->object, "use another key",
                     "this Idempotency-Key came with another request before");
        return false;
    case HTTP_KEY_FULL:
        cw_http_fail(a, 503, "LIMIT", a->object, "try again",
                     "too many requests with an Idempotency-Key are under way");
        return false;
    }
    cw_unreachable();
}

static void
ask_begin(struct http_ask *a)
{
    char why[CW_RPC_WHY_SIZE];

    a->mutates = strcmp(a->route->method, "GET") != 0;
    if (a->mutates && !origin_ok(a)) {
        cw_http_fail(a, 403, "FORBIDDEN", a->object, NULL,
                     "a page of another origin may not change anything");
        return;
    }
    if (!body_read(a) || !dry_run_read(a) || !key_read(a))
        return;
    if (a->route->run == NULL)
        cw_http_ask(a);
    else if (cw_http_params_ok(a, why))
        a->route->run(a);
    else
        cw_http_fail(a, 400, "BAD_REQUEST", a->object, "see docs/api/openapi.json", "%s", why);
}

static void
ask_refuse_route(struct cw_http *h, struct cw_http_req *take_req, const char *allow)
{
    const char *method = cw_http_req_head(take_req)->method;
    char extra[128] = "", message[256], *text;
    bool known = allow[0] != '\0';

    if (known)
        snprintf(extra, sizeof(extra), "Allow: %s\r\n", allow);
    snprintf(message, sizeof(message), known ? "%.20s cannot be done here" : "%.200s: no such path",
             known ? method : cw_http_req_line_target(take_req));
    text = cw_payload_dump(cw_payload_error(known ? "BAD_REQUEST" : "NOT_FOUND", message, "",
                                            "see docs/api/openapi.json"),
                           JSON_COMPACT);
    cw_http_req_answer(take_req, &(struct cw_http_answer){ .status = known ? 405 : 404,
                                                           .type = JSON_TYPE,
                                                           .extra = extra,
                                                           .body = text,
                                                           .len = strlen(text) });
    free(text);
}

void
cw_http_begin(struct cw_http *h, struct cw_http_req *take_req)
{
    char object[HTTP_OBJECT_SIZE], allow[64];
    const struct http_route *route =
        cw_http_route_find(cw_http_req_head(take_req)->method, cw_http_req_target(take_req), object,
                           allow, sizeof(allow));
    struct http_ask *a;

    if (route == NULL) {
        ask_refuse_route(h, take_req, allow);
        return;
    }
    a = calloc(1, sizeof(*a));
    cw_assert(a != NULL);
    a->h = h;
    a->req = take_req;
    a->route = route;
    cw_list_init(&a->look.link);
    memcpy(a->object, object, sizeof(object));
    cw_list_push_back(&h->asks, &a->link);
    ask_begin(a);
}
