#include "daemon/metadata/etcd-http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/service/service.h"
#include "daemon/metadata/etcd-tls.h"

#define HEAD_MAX (64 * 1024)
#define WHY_SIZE 160

struct cw_etcd_http {
    struct cw_etcd_http_opts opts;
    struct cw_env *env;
    struct evhttp_connection *con;
    SSL *ssl;  /* a reference of our own; NULL without TLS */
    bool dead; /* con is to be made anew */
    bool busy;
    bool sent;
    bool ended; /* what was posted has come to its end; turn tells it */
    int status;
    char why[WHY_SIZE];
    struct evbuffer *body; /* of the answer, or of chunks not told yet */
    struct cw_timer turn;  /* tells what has come */
    struct cw_timer deadline;
    uint32_t timeout_ms;
};

static void
http_close(struct cw_etcd_http *h)
{
    if (h->con != NULL) {
        evhttp_connection_set_closecb(h->con, NULL, NULL);
        evhttp_connection_free(h->con);
    }
    if (h->ssl != NULL)
        SSL_free(h->ssl);
    h->con = NULL;
    h->ssl = NULL;
    h->dead = false;
}

static void
http_wake(struct cw_etcd_http *h)
{
    if (!cw_timer_armed(&h->turn))
        cw_timer_set(h->env, &h->turn, cw_now_ns(h->env));
}

/* At most once per request. */
static void
http_end(struct cw_etcd_http *h, int status, const char *why)
{
    const char *verdict = status == 0 && h->ssl != NULL ? cw_etcd_tls_verdict(h->ssl) : NULL;

    if (h->ended)
        return;
    h->ended = true;
    h->status = status;
    snprintf(h->why, sizeof(h->why), "%s%s", verdict != NULL ? "its certificate: " : "",
             verdict != NULL ? verdict : why);
    cw_timer_cancel(h->env, &h->deadline);
    http_wake(h);
}

/* ---- what libevent tells ---- */

static void
http_on_close(struct evhttp_connection *con, void *arg)
{
    struct cw_etcd_http *h = arg;

    cw_service_tick(h->opts.service);
    h->dead = true;
}

static void
http_on_output(struct evbuffer *buffer, const struct evbuffer_cb_info *info, void *arg)
{
    struct cw_etcd_http *h = arg;

    h->sent |= h->busy && info->n_added > 0;
}

static void
http_on_error(enum evhttp_request_error error, void *arg)
{
    struct cw_etcd_http *h = arg;
    const char *why = "the connection was closed";

    cw_service_tick(h->opts.service);
    if (error == EVREQ_HTTP_DATA_TOO_LONG)
        why = "the answer is too long";
    else if (error == EVREQ_HTTP_INVALID_HEADER)
        why = "the answer is not HTTP";
    h->dead = true;
    http_end(h, 0, why);
}

static void
http_on_reply(struct evhttp_request *req, void *arg)
{
    int err = EVUTIL_SOCKET_ERROR(); /* of a connect */
    struct cw_etcd_http *h = arg;
    int status = req != NULL ? evhttp_request_get_response_code(req) : 0;
    char why[WHY_SIZE];

    cw_service_tick(h->opts.service);
    if (status != 0) {
        if (h->opts.chunk == NULL)
            evbuffer_add_buffer(h->body, evhttp_request_get_input_buffer(req));
        http_end(h, status, "");
        return;
    }
    h->dead = true;
    /* libevent has shut the socket down before it calls, and thereby lost the error of a connect.
     */
    if (!h->sent && err != 0 && err != EAGAIN && err != EINPROGRESS && err != ENOTCONN)
        snprintf(why, sizeof(why), "%s", strerror(err));
    else
        snprintf(why, sizeof(why),
                 h->sent ? "the connection was lost" : "cannot connect: refused or unreachable");
    http_end(h, 0, why);
}

static void
http_on_chunk(struct evhttp_request *req, void *arg)
{
    struct cw_etcd_http *h = arg;

    cw_service_tick(h->opts.service);
    cw_timer_cancel(h->env, &h->deadline);
    evbuffer_add_buffer(h->body, evhttp_request_get_input_buffer(req));
    http_wake(h);
}

/* ---- our own turns ---- */

static void
http_tell_chunks(struct cw_etcd_http *h)
{
    size_t len = evbuffer_get_length(h->body);
    char *bytes;

    if (len == 0)
        return;
    bytes = malloc(len);
    cw_assert(bytes != NULL);
    evbuffer_remove(h->body, bytes, len);
    h->opts.chunk(h->opts.user, bytes, len);
    free(bytes);
}

static void
http_tell_end(struct cw_etcd_http *h)
{
    struct evbuffer *body = h->body;
    struct cw_etcd_http_answer a = {
        .status = h->status,
        .len = evbuffer_get_length(body),
        .sent = h->sent,
        .why = h->why,
    };
    char why[WHY_SIZE];

    memcpy(why, h->why, sizeof(why));
    a.why = why;
    a.body = (const char *)evbuffer_pullup(body, -1);
    if (a.body == NULL)
        a.len = 0;
    h->body = evbuffer_new();
    cw_assert(h->body != NULL);
    h->busy = h->ended = false;
    if (h->dead)
        http_close(h);
    h->opts.done(h->opts.user, &a); /* may free h */
    evbuffer_free(body);
}

static void
http_on_turn(struct cw_timer *t)
{
    struct cw_etcd_http *h = cw_container_of(t, struct cw_etcd_http, turn);

    if (h->opts.chunk != NULL && evbuffer_get_length(h->body) > 0) {
        if (h->ended)
            http_wake(h); /* the end comes in a turn of its own: chunk may free h */
        http_tell_chunks(h);
        return;
    }
    if (h->ended)
        http_tell_end(h);
}

static void
http_on_deadline(struct cw_timer *t)
{
    struct cw_etcd_http *h = cw_container_of(t, struct cw_etcd_http, deadline);
    char why[WHY_SIZE];

    snprintf(why, sizeof(why), "no answer within %u ms", h->timeout_ms);
    http_close(h);
    http_end(h, 0, why);
}

/* ---- posting ---- */

static struct bufferevent *
http_bufferevent(struct cw_etcd_http *h)
{
    struct event_base *base = cw_service_base(h->opts.service);
    struct bufferevent *bev;

    if (!h->opts.endpoint->tls)
        return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    h->ssl = cw_etcd_tls_session(h->opts.tls, h->opts.endpoint);
    if (h->ssl == NULL)
        return NULL;
    SSL_up_ref(h->ssl);
    bev = bufferevent_openssl_socket_new(base, -1, h->ssl, BUFFEREVENT_SSL_CONNECTING,
                                         BEV_OPT_CLOSE_ON_FREE);
    if (bev == NULL)
        SSL_free(h->ssl);
    return bev;
}

static bool
http_open(struct cw_etcd_http *h)
{
    const struct cw_etcd_endpoint *ep = h->opts.endpoint;
    const char *address = ep->addr.host;
    struct bufferevent *bev = http_bufferevent(h);

    if (!ep->numeric)
        address = ep->addresses[ep->address % ep->n_addresses];
    if (bev == NULL)
        return false;
    if (evbuffer_add_cb(bufferevent_get_output(bev), http_on_output, h) == NULL) {
        bufferevent_free(bev);
        return false;
    }
    h->con = evhttp_connection_base_bufferevent_new(cw_service_base(h->opts.service), NULL, bev,
                                                    address, ep->addr.port);
    if (h->con == NULL) {
        bufferevent_free(bev);
        return false;
    }
    evhttp_connection_set_closecb(h->con, http_on_close, h);
    evhttp_connection_set_max_headers_size(h->con, HEAD_MAX);
    evhttp_connection_set_max_body_size(h->con, (ev_ssize_t)h->opts.answer_max);
    /* The deadline is ours; this one, of libevent's 50 s, would end a quiet stream. */
    evhttp_connection_set_timeout(h->con, 24 * 3600);
    return true;
}

static bool
http_request(struct cw_etcd_http *h, const struct cw_etcd_http_request *r)
{
    struct evhttp_request *req = evhttp_request_new(http_on_reply, h);
    struct evkeyvalq *head;
    bool ok;

    if (req == NULL)
        return false;
    evhttp_request_set_error_cb(req, http_on_error);
    if (h->opts.chunk != NULL)
        evhttp_request_set_chunked_cb(req, http_on_chunk);
    head = evhttp_request_get_output_headers(req);
    ok = evhttp_add_header(head, "Host", h->opts.endpoint->text) == 0 &&
         evhttp_add_header(head, "Content-Type", "application/json") == 0 &&
         (r->token == NULL || evhttp_add_header(head, "Authorization", r->token) == 0) &&
         evbuffer_add(evhttp_request_get_output_buffer(req), r->body, r->len) == 0;
    if (!ok) {
        evhttp_request_free(req);
        return false;
    }
    return evhttp_make_request(h->con, req, EVHTTP_REQ_POST, r->path) == 0;
}

void
cw_etcd_http_post(struct cw_etcd_http *h, const struct cw_etcd_http_request *r)
{
    cw_assert(!h->busy);
    if (h->dead)
        http_close(h);
    evbuffer_drain(h->body, evbuffer_get_length(h->body));
    h->busy = true;
    h->sent = h->ended = false;
    h->timeout_ms = r->timeout_ms;
    cw_timer_set(h->env, &h->deadline, cw_now_ns(h->env) + r->timeout_ms * CW_NS_PER_MS);
    if (h->con == NULL && !h->opts.endpoint->numeric && h->opts.endpoint->n_addresses == 0) {
        http_end(h, 0, "its name cannot be looked up");
    } else if (h->con == NULL && !http_open(h)) {
        http_close(h);
        http_end(h, 0, "out of memory");
    } else if (!http_request(h, r)) {
        h->dead = true;
        http_end(h, 0, "it cannot be sent");
    }
}

bool
cw_etcd_http_sent(const struct cw_etcd_http *h)
{
    return h->sent;
}

struct cw_etcd_http *
cw_etcd_http_new(const struct cw_etcd_http_opts *opts)
{
    struct cw_etcd_http *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    h->opts = *opts;
    h->env = cw_service_env(opts->service);
    h->turn.fn = http_on_turn;
    h->deadline.fn = http_on_deadline;
    h->body = evbuffer_new();
    if (h->body == NULL) {
        free(h);
        return NULL;
    }
    return h;
}

void
cw_etcd_http_free(struct cw_etcd_http *h)
{
    if (h == NULL)
        return;
    cw_timer_cancel(h->env, &h->turn);
    cw_timer_cancel(h->env, &h->deadline);
    http_close(h);
    evbuffer_free(h->body);
    free(h);
}
