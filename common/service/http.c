#include "common/service/http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/service/net.h"

#define CONNS_DEFAULT 128u
#define BODY_DEFAULT (64u * 1024u)
#define OUT_DEFAULT (64u * 1024u * 1024u)
#define REQUEST_MS 10000u
#define IDLE_MS 60000u
#define SEND_MS 30000u
#define LINGER_MS 1000u
#define ACCEPTS_PER_TURN 16
#define PAUSE_NS (100 * CW_NS_PER_MS)

enum http_state { HTTP_HEAD, HTTP_BODY, HTTP_ASKED, HTTP_STREAM, HTTP_SENDING, HTTP_CLOSING };

struct http_conn {
    struct cw_list link; /* the server's: longest in its state first */
    struct cw_http_server *srv;
    struct bufferevent *be;
    enum http_state state;
    struct cw_timer timer;   /* of the state */
    struct cw_http_req *req; /* BODY, ASKED, STREAM */
    bool begun;              /* HEAD: bytes of the next request have come */
    bool keep;               /* after this answer */
    char peer[CW_NET_ADDR_SIZE];
};

struct cw_http_server {
    struct cw_service *s;
    struct cw_env *env;
    struct cw_http_server_opts opts;
    char addr[CW_NET_ADDR_SIZE];
    int fd;
    struct event *event;
    struct cw_timer pause;
    struct cw_list conns;
    struct cw_http_counts counts;
};

struct cw_http_req {
    struct http_conn *conn; /* NULL: an orphan */
    char *text, *line, *body;
    size_t body_len;
    struct cw_http_head head;
    struct cw_http_target target;
    char peer[CW_NET_ADDR_SIZE];
    bool chunked, streams;
    void (*gone)(void *user);
    void *user;
};

static void conn_process(struct http_conn *c);

/* ---- connections ---- */

static void
conn_set(struct http_conn *c, enum http_state state, uint64_t ms)
{
    struct cw_env *env = c->srv->env;

    c->state = state;
    cw_list_remove(&c->link);
    cw_list_push_back(&c->srv->conns, &c->link);
    cw_timer_cancel(env, &c->timer);
    if (ms > 0)
        cw_timer_set(env, &c->timer, cw_now_ns(env) + ms * CW_NS_PER_MS);
}

static void
req_free(struct cw_http_req *r)
{
    free(r->text);
    free(r->line);
    free(r->body);
    free(r);
}

/* A request that is asked belongs to whoever answers it. */
static void
conn_free(struct http_conn *c)
{
    struct cw_http_req *r = c->req;
    bool streams = r != NULL && r->streams;

    cw_timer_cancel(c->srv->env, &c->timer);
    cw_list_remove(&c->link);
    c->srv->counts.open--;
    if (r != NULL && c->state == HTTP_BODY)
        req_free(r);
    else if (r != NULL)
        r->conn = NULL;
    if (streams)
        c->srv->counts.streams--;
    bufferevent_free(c->be);
    free(c);
    if (streams && r->gone != NULL)
        r->gone(r->user);
}

static void
conn_drop(struct http_conn *c)
{
    c->srv->counts.requests[0]++;
    conn_free(c);
}

/* A close with bytes unread would reset the connection under the answer. */
static void
conn_linger(struct http_conn *c)
{
    conn_set(c, HTTP_CLOSING, LINGER_MS);
    shutdown(bufferevent_getfd(c->be), SHUT_WR);
    evbuffer_drain(bufferevent_get_input(c->be), evbuffer_get_length(bufferevent_get_input(c->be)));
    bufferevent_enable(c->be, EV_READ);
}

static void
conn_on_timer(struct cw_timer *t)
{
    struct http_conn *c = cw_container_of(t, struct http_conn, timer);

    if (c->state == HTTP_HEAD && !c->begun)
        conn_free(c);
    else if (c->state == HTTP_CLOSING)
        conn_free(c);
    else
        conn_drop(c);
}

/* ---- out ---- */

static uint64_t
server_out_bytes(const struct cw_http_server *srv)
{
    uint64_t n = 0;

    CW_LIST_EACH (it, &srv->conns)
        n += evbuffer_get_length(
            bufferevent_get_output(cw_list_entry(it, struct http_conn, link)->be));
    return n;
}

static const char *
status_text(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Status";
    }
}

/* The head of an answer; then its body, but for HEAD. */
static void
conn_write_answer(struct http_conn *c, const struct cw_http_answer *a, bool with_body)
{
    struct evbuffer *out = bufferevent_get_output(c->be);

    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\n", a->status, status_text(a->status));
    if (a->type != NULL)
        evbuffer_add_printf(out, "Content-Type: %s\r\n", a->type);
    evbuffer_add_printf(out,
                        "Content-Length: %zu\r\nCache-Control: no-store\r\n"
                        "X-Content-Type-Options: nosniff\r\n%s%s\r\n",
                        a->len, a->extra != NULL ? a->extra : "",
                        c->keep ? "" : "Connection: close\r\n");
    if (with_body && a->len > 0)
        evbuffer_add(out, a->body, a->len);
    c->srv->counts.requests[a->status / 100 < 6 ? a->status / 100 : 0]++;
    conn_set(c, HTTP_SENDING, SEND_MS);
}

/* What came was no request: it is told so, and the connection ends. */
static void
conn_refuse(struct http_conn *c, int status, const char *why)
{
    struct cw_http_server *srv = c->srv;
    char *text = srv->opts.refuse != NULL ? srv->opts.refuse(srv->opts.user, status, why) : NULL;

    if (c->req != NULL)
        req_free(c->req);
    c->req = NULL;
    c->keep = false;
    conn_write_answer(c,
                      &(struct cw_http_answer){ .status = status,
                                                .type = text != NULL ? srv->opts.error_type : NULL,
                                                .body = text,
                                                .len = text != NULL ? strlen(text) : 0 },
                      true);
    free(text);
}

/* ---- in ---- */

static const char *
head_why(int status)
{
    switch (status) {
    case 417:
        return "only Expect: 100-continue is understood";
    case 431:
        return "too many or too long headers";
    case 501:
        return "a body is understood with a Content-Length only";
    case 505:
        return "this is HTTP/1.1";
    default:
        return "this is no HTTP/1.1 request";
    }
}

/* Ends the head that lies at the front of the buffer. */
static void
conn_take_head(struct http_conn *c, size_t len)
{
    struct cw_http_req *r = calloc(1, sizeof(*r));
    int refused;

    cw_assert(r != NULL);
    r->conn = c;
    r->text = malloc(len + 1);
    cw_assert(r->text != NULL);
    evbuffer_remove(bufferevent_get_input(c->be), r->text, len);
    r->text[len] = '\0';
    memcpy(r->peer, c->peer, sizeof(r->peer));
    c->req = r;
    refused = strlen(r->text) != len ? 400 : cw_http_head_parse(r->text, len, &r->head);
    if (refused == 0 && r->head.content_length > c->srv->opts.body_max) {
        conn_refuse(c, 413, "the body is too large");
        return;
    }
    if (refused == 0) {
        r->line = strdup(r->head.target);
        cw_assert(r->line != NULL);
        refused = cw_http_target_parse(r->head.target, &r->target) ? 0 : 400;
    }
    if (refused != 0) {
        conn_refuse(c, refused, head_why(refused));
        return;
    }
    c->keep = r->head.keep_alive;
    c->state = HTTP_BODY; /* the time of the request runs on */
    if (r->head.expects_continue && r->head.content_length > 0 &&
        evbuffer_get_length(bufferevent_get_input(c->be)) == 0)
        evbuffer_add_printf(bufferevent_get_output(c->be), "HTTP/1.1 100 Continue\r\n\r\n");
}

static void
conn_read_head(struct http_conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->be);
    struct evbuffer_ptr end;
    char first;

    /* Empty lines between requests are passed over, as everybody does. */
    while (!c->begun && evbuffer_copyout(in, &first, 1) == 1 && (first == '\r' || first == '\n'))
        evbuffer_drain(in, 1);
    if (evbuffer_get_length(in) == 0)
        return;
    if (!c->begun) {
        c->begun = true;
        conn_set(c, HTTP_HEAD, c->srv->opts.request_ms);
    }
    end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    if (end.pos >= 0 && (size_t)end.pos + 4 <= CW_HTTP_HEAD_MAX)
        conn_take_head(c, (size_t)end.pos + 4);
    else if (evbuffer_get_length(in) >= CW_HTTP_HEAD_MAX)
        conn_refuse(c, 431, head_why(431));
}

static void
conn_read_body(struct http_conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->be);
    struct cw_http_req *r = c->req;
    size_t len = (size_t)r->head.content_length;

    if (evbuffer_get_length(in) < len)
        return;
    r->body = calloc(1, len + 1);
    cw_assert(r->body != NULL);
    evbuffer_remove(in, r->body, len);
    r->body_len = len;
    conn_set(c, HTTP_ASKED, 0);
    c->srv->opts.on_request(c->srv->opts.user, r);
}

static void
conn_process(struct http_conn *c)
{
    if (c->state == HTTP_HEAD)
        conn_read_head(c);
    if (c->state == HTTP_BODY)
        conn_read_body(c);
}

static void
conn_on_read(struct bufferevent *be, void *user)
{
    struct http_conn *c = user;

    cw_service_tick(c->srv->s);
    if (c->state == HTTP_CLOSING || c->state == HTTP_STREAM)
        evbuffer_drain(bufferevent_get_input(be), evbuffer_get_length(bufferevent_get_input(be)));
    else
        conn_process(c);
}

/* All that was written is in the socket. */
static void
conn_on_written(struct bufferevent *be, void *user)
{
    struct http_conn *c = user;

    cw_service_tick(c->srv->s);
    if (c->state != HTTP_SENDING || evbuffer_get_length(bufferevent_get_output(be)) > 0)
        return;
    if (!c->keep) {
        conn_linger(c);
        return;
    }
    c->begun = false;
    conn_set(c, HTTP_HEAD, c->srv->opts.idle_ms);
    conn_process(c);
}

/* The end of what the peer sends. It may still wait for its answer. */
static void
conn_on_event(struct bufferevent *be, short what, void *user)
{
    struct http_conn *c = user;

    cw_service_tick(c->srv->s);
    if ((what & BEV_EVENT_EOF) && (c->state == HTTP_ASKED || c->state == HTTP_SENDING)) {
        c->keep = false;
        bufferevent_disable(be, EV_READ);
    } else if (c->state == HTTP_CLOSING || c->state == HTTP_STREAM ||
               (c->state == HTTP_HEAD && !c->begun)) {
        conn_free(c);
    } else {
        conn_drop(c);
    }
}

/* ---- accepting ---- */

/* A connection that waits for its next request gives way to a new one. */
static bool
server_make_room(struct cw_http_server *srv)
{
    if (srv->counts.open < srv->opts.conns_max)
        return true;
    CW_LIST_EACH (it, &srv->conns) {
        struct http_conn *c = cw_list_entry(it, struct http_conn, link);

        if (c->state == HTTP_CLOSING || (c->state == HTTP_HEAD && !c->begun)) {
            conn_free(c);
            return true;
        }
    }
    return false;
}

static void
server_turn_away(struct cw_http_server *srv, int take_fd)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
                               "Retry-After: 1\r\nConnection: close\r\n\r\n";

    srv->counts.refused++;
    (void)!send(take_fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(take_fd);
}

static void
server_adopt(struct cw_http_server *srv, int take_fd)
{
    struct http_conn *c;

    if (!server_make_room(srv)) {
        server_turn_away(srv, take_fd);
        return;
    }
    c = calloc(1, sizeof(*c));
    cw_assert(c != NULL);
    c->srv = srv;
    c->timer.fn = conn_on_timer;
    cw_list_init(&c->link);
    cw_net_tune(take_fd);
    cw_net_peer(take_fd, c->peer);
    c->be = bufferevent_socket_new(cw_service_base(srv->s), take_fd, BEV_OPT_CLOSE_ON_FREE);
    cw_assert(c->be != NULL);
    bufferevent_setcb(c->be, conn_on_read, conn_on_written, conn_on_event, c);
    bufferevent_setwatermark(c->be, EV_READ, 0, CW_HTTP_HEAD_MAX + srv->opts.body_max);
    srv->counts.open++;
    srv->counts.conns++;
    conn_set(c, HTTP_HEAD, srv->opts.idle_ms);
    bufferevent_enable(c->be, EV_READ | EV_WRITE);
}

static void
server_on_accept(evutil_socket_t fd, short what, void *user)
{
    struct cw_http_server *srv = user;

    cw_service_tick(srv->s);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int conn = accept4(srv->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (conn >= 0) {
            server_adopt(srv, conn);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            event_del(srv->event);
            cw_timer_set(srv->env, &srv->pause, cw_now_ns(srv->env) + PAUSE_NS);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void
server_on_pause(struct cw_timer *t)
{
    struct cw_http_server *srv = cw_container_of(t, struct cw_http_server, pause);

    event_add(srv->event, NULL);
}

int
cw_http_server_new(struct cw_service *s, const struct cw_http_server_opts *opts,
                   struct cw_http_server **ret, char why[static CW_RPC_WHY_SIZE])
{
    struct cw_http_server *srv = calloc(1, sizeof(*srv));
    int err;

    cw_assert(srv != NULL);
    srv->s = s;
    srv->env = cw_service_env(s);
    srv->opts = *opts;
    srv->opts.conns_max = opts->conns_max != 0 ? opts->conns_max : CONNS_DEFAULT;
    srv->opts.body_max = opts->body_max != 0 ? opts->body_max : BODY_DEFAULT;
    srv->opts.out_max = opts->out_max != 0 ? opts->out_max : OUT_DEFAULT;
    srv->opts.request_ms = opts->request_ms != 0 ? opts->request_ms : REQUEST_MS;
    srv->opts.idle_ms = opts->idle_ms != 0 ? opts->idle_ms : IDLE_MS;
    srv->pause.fn = server_on_pause;
    cw_list_init(&srv->conns);
    err = cw_net_listen(opts->listen, &srv->fd, srv->addr, why);
    if (err != 0) {
        free(srv);
        return err;
    }
    srv->event =
        event_new(cw_service_base(s), srv->fd, EV_READ | EV_PERSIST, server_on_accept, srv);
    cw_assert(srv->event != NULL);
    event_add(srv->event, NULL);
    *ret = srv;
    return 0;
}

void
cw_http_server_free(struct cw_http_server *srv)
{
    struct http_conn *c;

    if (srv == NULL)
        return;
    event_free(srv->event);
    cw_timer_cancel(srv->env, &srv->pause);
    close(srv->fd);
    while ((c = cw_list_first(&srv->conns, struct http_conn, link)) != NULL) {
        struct evbuffer *out = bufferevent_get_output(c->be);

        bufferevent_disable(c->be, EV_READ | EV_WRITE);
        if (evbuffer_get_length(out) > 0) {
            evbuffer_unfreeze(out, 1); /* the bufferevent alone may take from its front */
            (void)!evbuffer_write(out, bufferevent_getfd(c->be));
        }
        conn_free(c);
    }
    free(srv);
}

const char *
cw_http_server_addr(const struct cw_http_server *srv)
{
    return srv->addr;
}

struct cw_http_counts
cw_http_server_counts(const struct cw_http_server *srv)
{
    return srv->counts;
}

/* ---- a request ---- */

const struct cw_http_head *
cw_http_req_head(const struct cw_http_req *req)
{
    return &req->head;
}

const struct cw_http_target *
cw_http_req_target(const struct cw_http_req *req)
{
    return &req->target;
}

const char *
cw_http_req_line_target(const struct cw_http_req *req)
{
    return req->line;
}

const char *
cw_http_req_body(const struct cw_http_req *req, size_t *ret_len)
{
    *ret_len = req->body_len;
    return req->body;
}

const char *
cw_http_req_peer(const struct cw_http_req *req)
{
    return req->peer;
}

void
cw_http_req_answer(struct cw_http_req *take_req, const struct cw_http_answer *a)
{
    struct http_conn *c = take_req->conn;

    if (c != NULL) {
        c->req = NULL;
        if (server_out_bytes(c->srv) + a->len > c->srv->opts.out_max)
            conn_refuse(c, 503, "too much is waiting to be sent");
        else
            conn_write_answer(c, a, strcmp(take_req->head.method, "HEAD") != 0);
    }
    req_free(take_req);
}

/* ---- streams ---- */

bool
cw_http_req_stream(struct cw_http_req *req, const char *type, void (*gone)(void *user), void *user)
{
    struct http_conn *c = req->conn;

    if (c == NULL)
        return false;
    req->streams = true;
    req->chunked = !req->head.http10;
    req->gone = gone;
    req->user = user;
    c->keep = false;
    c->srv->counts.streams++;
    c->srv->counts.requests[2]++;
    conn_set(c, HTTP_STREAM, 0);
    evbuffer_add_printf(bufferevent_get_output(c->be),
                        "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nCache-Control: no-store\r\n"
                        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n%s\r\n",
                        type, req->chunked ? "Transfer-Encoding: chunked\r\n" : "");
    return true;
}

size_t
cw_http_req_unsent(const struct cw_http_req *req)
{
    return req->conn != NULL ? evbuffer_get_length(bufferevent_get_output(req->conn->be)) : 0;
}

void
cw_http_req_write(struct cw_http_req *req, const char *bytes, size_t len)
{
    struct http_conn *c = req->conn;
    struct evbuffer *out;

    if (c == NULL || len == 0 || c->state != HTTP_STREAM || cw_timer_armed(&c->timer))
        return;
    out = bufferevent_get_output(c->be);
    if (evbuffer_get_length(out) + len > CW_HTTP_STREAM_MAX) {
        cw_timer_set(c->srv->env, &c->timer, cw_now_ns(c->srv->env)); /* dropped, from its turn */
        return;
    }
    if (req->chunked)
        evbuffer_add_printf(out, "%zx\r\n", len);
    evbuffer_add(out, bytes, len);
    if (req->chunked)
        evbuffer_add(out, "\r\n", 2);
}

void
cw_http_req_end(struct cw_http_req *take_req)
{
    struct http_conn *c = take_req->conn;

    if (c != NULL) {
        c->req = NULL;
        c->srv->counts.streams -= take_req->streams;
        if (take_req->chunked)
            evbuffer_add(bufferevent_get_output(c->be), "0\r\n\r\n", 5);
        conn_set(c, HTTP_SENDING, SEND_MS);
        if (evbuffer_get_length(bufferevent_get_output(c->be)) == 0)
            conn_linger(c);
    }
    req_free(take_req);
}
