#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/service/conn.h"
#include "common/service/envelope.h"

struct cw_rpc_req {
    struct cw_list link; /* in conn->reqs */
    struct cw_rpc_conn *conn;
    cw_envelope *message;
    uint64_t id, deadline_ns;
};

/* ---- messages out ---- */

static bool
conn_put_envelope(struct cw_rpc_conn *c, const cw_envelope *m)
{
    size_t len = causeway__control__envelope__get_packed_size(m);
    uint8_t *bytes;
    bool ok;

    if (len > CW_RPC_MESSAGE_MAX || len == 0)
        return false;
    bytes = malloc(len);
    if (bytes == NULL)
        return false;
    causeway__control__envelope__pack(m, bytes);
    ok = cw_conn_put(c, CW_FT_CONTROL, bytes, (uint32_t)len);
    free(bytes);
    return ok;
}

void
cw_rpc_conn_send(struct cw_rpc_conn *c, const cw_envelope *body)
{
    cw_envelope m = *body;

    m.id = 0;
    m.reply = false;
    m.deadline_ms = 0;
    conn_put_envelope(c, &m);
}

void
cw_conn_ping(struct cw_rpc_conn *c)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    m.id = cw_service_next_id(c->s); /* no call has it: the answer only shows that it lives */
    conn_put_envelope(c, &m);
}

/* ---- calls ---- */

static void
call_leave(struct cw_rpc_call *call)
{
    if (call->conn != NULL) {
        call->conn->n_calls--;
        call->conn = NULL;
    }
    cw_list_remove(&call->link);
}

static void
call_finish(struct cw_rpc_call *call, struct cw_env *env, const cw_envelope *reply)
{
    call_leave(call);
    cw_timer_cancel(env, &call->timer);
    if (call->session != NULL)
        cw_session_call_left(call->session, call);
    call->session = NULL;
    free(call->packed);
    call->packed = NULL;
    if (call->done != NULL && reply != NULL)
        call->done(call, reply);
}

void
cw_call_fail(struct cw_rpc_call *call, Causeway__Control__ErrorCode code, const char *why)
{
    Causeway__Control__Error e;
    cw_envelope m;

    if (why != call->why)
        snprintf(call->why, sizeof(call->why), "%s", why);
    m = cw_envelope_error(&e, code, call->why);
    m.id = call->id;
    call_finish(call, cw_service_env(call->service), &m);
}

void
cw_rpc_call_cancel(struct cw_rpc_call *call)
{
    if (call->packed != NULL)
        call_finish(call, cw_service_env(call->service), NULL);
}

static void
call_on_timer(struct cw_timer *t)
{
    struct cw_rpc_call *call = cw_container_of(t, struct cw_rpc_call, timer);

    if (call->failure != 0)
        cw_call_fail(call, (Causeway__Control__ErrorCode)call->failure, call->why);
    else if (call->conn == NULL && call->session != NULL)
        cw_session_call_expired(call->session, call);
    else
        cw_call_fail(call, CAUSEWAY__CONTROL__ERROR_CODE__TIMEOUT, "no answer in time");
}

void
cw_call_fail_soon(struct cw_rpc_call *call, Causeway__Control__ErrorCode code, const char *why)
{
    struct cw_env *env = cw_service_env(call->service);

    call->failure = (int)code;
    snprintf(call->why, sizeof(call->why), "%s", why);
    cw_timer_set(env, &call->timer, cw_now_ns(env));
}

bool
cw_call_begin(struct cw_rpc_call *call, struct cw_service *s, const cw_envelope *body,
              uint64_t timeout_ms)
{
    struct cw_env *env = cw_service_env(s);
    cw_envelope m = *body;
    size_t len;

    cw_assert(call->packed == NULL && timeout_ms > 0);
    call->service = s;
    call->session = NULL;
    call->conn = NULL;
    call->failure = 0;
    call->sent = false;
    call->timer.fn = call_on_timer;
    cw_list_init(&call->link);
    call->deadline_ns = cw_now_ns(env) + timeout_ms * CW_NS_PER_MS;
    m.id = call->id = cw_service_next_id(s);
    m.reply = false;
    m.error = NULL;
    m.deadline_ms = timeout_ms;
    len = causeway__control__envelope__get_packed_size(&m);
    call->packed_len = (uint32_t)(len <= CW_RPC_MESSAGE_MAX ? len : 1);
    call->packed = malloc(call->packed_len);
    cw_assert(call->packed != NULL);
    if (len > CW_RPC_MESSAGE_MAX) {
        cw_call_fail_soon(call, CAUSEWAY__CONTROL__ERROR_CODE__LIMIT, "the request is over 1 MiB");
        return false;
    }
    causeway__control__envelope__pack(&m, call->packed);
    cw_timer_set(env, &call->timer, call->deadline_ns);
    return true;
}

bool
cw_call_send(struct cw_rpc_call *call, struct cw_rpc_conn *c)
{
    if (c->n_calls >= CW_RPC_REQUESTS_MAX)
        return false;
    if (!cw_conn_put(c, CW_FT_CONTROL, call->packed, call->packed_len))
        return false;
    call->sent = true;
    call->conn = c;
    c->n_calls++;
    cw_list_push_back(&c->calls, &call->link);
    return true;
}

void
cw_rpc_conn_call(struct cw_rpc_conn *c, struct cw_rpc_call *call, const cw_envelope *body,
                 uint64_t timeout_ms)
{
    if (!cw_call_begin(call, c->s, body, timeout_ms) || cw_call_send(call, c))
        return;
    if (c->n_calls >= CW_RPC_REQUESTS_MAX)
        cw_call_fail_soon(call, CAUSEWAY__CONTROL__ERROR_CODE__LIMIT, "too many calls");
    else
        cw_call_fail_soon(call, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE, "connection broken");
}

static struct cw_rpc_call *
conn_find_call(struct cw_rpc_conn *c, uint64_t id)
{
    CW_LIST_EACH (it, &c->calls) {
        struct cw_rpc_call *call = cw_list_entry(it, struct cw_rpc_call, link);

        if (call->id == id)
            return call;
    }
    return NULL;
}

static void
conn_take_reply(struct cw_rpc_conn *c, cw_envelope *m)
{
    struct cw_rpc_call *call = conn_find_call(c, m->id);

    if (call == NULL)
        return; /* a pong, or too late: its deadline has passed */
    call_leave(call);
    if (c->ev->on_reply != NULL && c->ev->on_reply(c, call, m))
        return;
    call_finish(call, c->env, m);
}

/* ---- requests ---- */

static void
req_end(struct cw_rpc_req *req)
{
    if (req->conn != NULL) {
        cw_list_remove(&req->link);
        req->conn->n_reqs--;
    }
    cw_envelope_free(req->message);
    free(req);
}

void
cw_conn_orphan_reqs(struct cw_rpc_conn *c)
{
    struct cw_rpc_req *req;

    while ((req = cw_list_first(&c->reqs, struct cw_rpc_req, link)) != NULL) {
        cw_list_remove(&req->link);
        req->conn = NULL;
    }
    c->n_reqs = 0;
}

static void
conn_put_error(struct cw_rpc_conn *c, uint64_t id, Causeway__Control__Error *e)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    m.id = id;
    m.reply = true;
    m.error = e;
    conn_put_envelope(c, &m);
}

void
cw_rpc_req_reply(struct cw_rpc_req *req, const cw_envelope *body)
{
    cw_envelope m = *body;

    m.id = req->id;
    m.reply = true;
    m.deadline_ms = 0;
    if (req->conn != NULL && req->conn->state == CW_CONN_OPEN &&
        !conn_put_envelope(req->conn, &m)) {
        Causeway__Control__Error e;

        cw_envelope_error(&e, CAUSEWAY__CONTROL__ERROR_CODE__LIMIT, "the reply is over 1 MiB");
        conn_put_error(req->conn, req->id, &e);
    }
    req_end(req);
}

void
cw_rpc_req_empty(struct cw_rpc_req *req)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    cw_rpc_req_reply(req, &m);
}

void
cw_rpc_req_error(struct cw_rpc_req *req, Causeway__Control__ErrorCode code, const char *object,
                 const char *hint, const char *fmt, ...)
{
    Causeway__Control__Error e;
    char message[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    cw_envelope_error(&e, code, message);
    if (object != NULL)
        e.object = (char *)object;
    if (hint != NULL)
        e.hint = (char *)hint;
    if (req->conn != NULL)
        conn_put_error(req->conn, req->id, &e);
    req_end(req);
}

void
cw_rpc_req_not_manager(struct cw_rpc_req *req, const char *redirect, const char *why)
{
    Causeway__Control__Error e;

    cw_envelope_error(&e, CAUSEWAY__CONTROL__ERROR_CODE__NOT_MANAGER,
                      why != NULL ? why : "is not the manager");
    if (redirect != NULL)
        e.redirect = (char *)redirect;
    if (req->conn != NULL)
        conn_put_error(req->conn, req->id, &e);
    req_end(req);
}

struct cw_rpc_conn *
cw_rpc_req_conn(const struct cw_rpc_req *req)
{
    return req->conn;
}

uint64_t
cw_rpc_req_deadline_ns(const struct cw_rpc_req *req)
{
    return req->deadline_ns;
}

static struct cw_rpc_req *
req_new(struct cw_rpc_conn *c, cw_envelope *take_m)
{
    struct cw_rpc_req *req = malloc(sizeof(*req));
    uint64_t ms = take_m->deadline_ms;

    cw_assert(req != NULL);
    *req = (struct cw_rpc_req){ .conn = c, .message = take_m, .id = take_m->id };
    req->deadline_ns = CW_NEVER;
    if (ms > 0 && ms < UINT32_MAX)
        req->deadline_ns = cw_now_ns(c->env) + ms * CW_NS_PER_MS;
    cw_list_push_back(&c->reqs, &req->link);
    c->n_reqs++;
    return req;
}

static void
conn_take_request(struct cw_rpc_conn *c, cw_envelope *take_m)
{
    struct cw_rpc_req *req;

    if (take_m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY__NOT_SET) {
        req = req_new(c, take_m);
        cw_rpc_req_empty(req);
        return;
    }
    req = req_new(c, take_m);
    if (c->n_reqs > CW_RPC_REQUESTS_MAX)
        cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__BUSY, NULL, NULL,
                         "more than %u requests at once", CW_RPC_REQUESTS_MAX);
    else
        c->ev->on_message(c, take_m, req);
}

void
cw_conn_dispatch(struct cw_rpc_conn *c, cw_envelope *take_m)
{
    if (take_m->reply) {
        conn_take_reply(c, take_m);
    } else if (take_m->id != 0) {
        conn_take_request(c, take_m);
        return;
    } else if (take_m->body_case != CAUSEWAY__CONTROL__ENVELOPE__BODY__NOT_SET) {
        c->ev->on_message(c, take_m, NULL);
    }
    cw_envelope_free(take_m);
}
