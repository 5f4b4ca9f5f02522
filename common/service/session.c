#include "common/service/session.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/addr.h"
#include "common/service/conn.h"
#include "common/service/net.h"

#define ADDRS_MAX 16
#define CONNECT_NS (2 * CW_NS_PER_S)
#define GREET_MS 2000
#define SOON_MS 1000 /* instead of both, where another address may answer */
#define BACKOFF_MIN_NS (50 * CW_NS_PER_MS)
#define BACKOFF_MAX_NS (2 * CW_NS_PER_S)
#define LASTING_NS (2 * CW_NS_PER_S) /* a connection that stood so long ends the back-off */
#define REDIRECTS_MAX 3

enum session_state { SESSION_WAITING, SESSION_CONNECTING, SESSION_GREETING, SESSION_UP };

struct session_addr {
    char text[CW_NET_ADDR_SIZE];
    char trouble[96]; /* what happened there last, "" nothing */
};

struct cw_rpc_session {
    struct cw_service *s;
    struct cw_env *env;
    struct cw_rpc_session_opts opts;
    enum session_state state;
    bool closing;

    struct session_addr addrs[ADDRS_MAX];
    uint32_t n_addrs, next;               /* next to be tried */
    struct session_addr named[ADDRS_MAX]; /* in the options: never forgotten */
    uint32_t n_named;
    uint32_t tried; /* since the last pause */
    int current;    /* the one under way or up; -1: not in the list */
    char target[CW_NET_ADDR_SIZE];
    char redirect[CW_NET_ADDR_SIZE]; /* "" or tried before all others */
    uint32_t n_redirects;            /* in a row */
    uint64_t backoff_ns, up_ns;
    bool told; /* the log knows that nobody answers */

    struct cw_timer timer; /* WAITING: the pause; CONNECTING: its end */
    int fd;                /* CONNECTING */
    struct event *event;
    struct cw_rpc_conn *conn; /* GREETING, UP */

    struct cw_list waiting; /* calls to be sent when UP */
    uint32_t n_calls;       /* waiting and sent */
};

static void session_connect(struct cw_rpc_session *ss);

/* ---- addresses ---- */

static bool
session_parse(const char *text, struct session_addr *to, uint32_t *ret_n)
{
    uint32_t n = 0;

    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        struct cw_addr a;

        if (n == ADDRS_MAX || len == 0 || len >= sizeof(to[n].text))
            return false;
        to[n] = (struct session_addr){ 0 };
        memcpy(to[n].text, at, len);
        if (strncmp(to[n].text, "unix:", 5) != 0 && !cw_addr_parse(to[n].text, false, &a))
            return false;
        n++;
        at += len;
        if (*at == '\0')
            break;
    }
    *ret_n = n;
    return true;
}

static void
session_note(struct cw_rpc_session *ss, const char *why)
{
    cw_log(ss->env, CW_LOG_DEBUG, "manager at %s: %s", ss->target, why);
    if (ss->current >= 0)
        snprintf(ss->addrs[ss->current].trouble, sizeof(ss->addrs[0].trouble), "%.95s", why);
}

const char *
cw_rpc_session_trouble(struct cw_rpc_session *ss, char text[static CW_RPC_WHY_SIZE])
{
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < ss->n_addrs && used < CW_RPC_WHY_SIZE; i++) {
        const char *what = ss->addrs[i].trouble;

        if (what[0] == '\0')
            what = "no answer";
        used += (size_t)snprintf(text + used, CW_RPC_WHY_SIZE - used, "%s%s (%s)",
                                 i > 0 ? ", " : "", ss->addrs[i].text, what);
    }
    return text;
}

static bool
session_has(const struct session_addr *list, uint32_t n, const char *text)
{
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(list[i].text, text) == 0)
            return true;
    }
    return false;
}

/* A manager may say where it is and then be gone for good: the metadata moves, and whoever was
 * named besides knows where to. */
void
cw_rpc_session_set_addrs(struct cw_rpc_session *ss, const char *addrs)
{
    struct session_addr list[ADDRS_MAX];
    uint32_t n;

    if (!session_parse(addrs, list, &n))
        return;
    for (uint32_t i = 0; i < ss->n_named && n < ADDRS_MAX; i++) {
        if (!session_has(list, n, ss->named[i].text))
            list[n++] = ss->named[i];
    }
    memcpy(ss->addrs, list, sizeof(list[0]) * n);
    ss->n_addrs = n;
    ss->next = 0;
    ss->current = -1;
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(list[i].text, ss->target) == 0)
            ss->next = i, ss->current = (int)i;
}

void
cw_rpc_session_set_cluster(struct cw_rpc_session *ss, const struct cw_uuid *cluster_id)
{
    ss->opts.cluster_id = *cluster_id;
}

/* ---- calls ---- */

void
cw_session_call_left(struct cw_rpc_session *ss, struct cw_rpc_call *call)
{
    cw_assert(ss->n_calls > 0);
    ss->n_calls--;
}

void
cw_session_call_expired(struct cw_rpc_session *ss, struct cw_rpc_call *call)
{
    char trouble[CW_RPC_WHY_SIZE], why[CW_RPC_WHY_SIZE];

    snprintf(why, sizeof(why), "the manager cannot be reached: %.200s",
             cw_rpc_session_trouble(ss, trouble));
    cw_call_fail(call, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE, why);
}

void
cw_rpc_session_call(struct cw_rpc_session *ss, struct cw_rpc_call *call, const cw_envelope *body,
                    uint64_t timeout_ms)
{
    if (!cw_call_begin(call, ss->s, body, timeout_ms))
        return;
    if (ss->closing) {
        cw_call_fail_soon(call, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE, "this end stops");
        return;
    }
    if (ss->n_calls >= CW_RPC_REQUESTS_MAX) {
        cw_call_fail_soon(call, CAUSEWAY__CONTROL__ERROR_CODE__LIMIT, "too many calls");
        return;
    }
    call->session = ss;
    ss->n_calls++;
    if (ss->state != SESSION_UP || !cw_call_send(call, ss->conn))
        cw_list_push_back(&ss->waiting, &call->link);
}

void
cw_rpc_session_send(struct cw_rpc_session *ss, const cw_envelope *body)
{
    if (ss->state == SESSION_UP)
        cw_rpc_conn_send(ss->conn, body);
}

static void
session_flush(struct cw_rpc_session *ss)
{
    struct cw_rpc_call *call;

    while ((call = cw_list_first(&ss->waiting, struct cw_rpc_call, link)) != NULL) {
        cw_list_remove(&call->link);
        if (!cw_call_send(call, ss->conn)) {
            cw_list_push_front(&ss->waiting, &call->link);
            return;
        }
    }
}

/* Sent calls of a broken connection: again, or never. */
static void
session_sort_lost(struct cw_rpc_session *ss, struct cw_list *lost, const char *why)
{
    struct cw_list again;
    struct cw_rpc_call *call;
    char text[CW_RPC_WHY_SIZE];

    snprintf(text, sizeof(text), "the connection to the manager broke: %.180s", why);
    cw_list_init(&again);
    CW_LIST_EACH_SAFE (it, lost) {
        call = cw_list_entry(it, struct cw_rpc_call, link);
        if (call->repeat && call->session != NULL && !ss->closing) {
            cw_list_remove(&call->link);
            cw_list_push_back(&again, &call->link);
        }
    }
    cw_list_splice_back(&again, &ss->waiting);
    cw_list_splice_back(&ss->waiting, &again);
    while ((call = cw_list_first(lost, struct cw_rpc_call, link)) != NULL)
        cw_call_fail(call, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE, text);
}

/* ---- connecting ---- */

/* Once in every outage, when the pauses have become long: shorter ones are everyday. */
static void
session_tell(struct cw_rpc_session *ss)
{
    char text[CW_RPC_WHY_SIZE];

    if (ss->told || ss->backoff_ns < BACKOFF_MAX_NS)
        return;
    ss->told = true;
    cw_log(ss->env, CW_LOG_WARNING, "no manager answers: %s; is one running there? trying on",
           cw_rpc_session_trouble(ss, text));
}

static void
session_pause(struct cw_rpc_session *ss)
{
    uint64_t pause = 0;

    ss->state = SESSION_WAITING;
    if (ss->closing)
        return;
    if (ss->redirect[0] == '\0' && ss->tried >= ss->n_addrs) {
        ss->tried = 0;
        pause = ss->backoff_ns * 3 / 4 + cw_random(ss->env) % (ss->backoff_ns / 2);
        ss->backoff_ns = cw_min_u64(ss->backoff_ns * 2, BACKOFF_MAX_NS);
        session_tell(ss);
    }
    cw_timer_set(ss->env, &ss->timer, cw_now_ns(ss->env) + pause);
}

static void
session_connect_over(struct cw_rpc_session *ss)
{
    if (ss->event != NULL)
        event_free(ss->event);
    ss->event = NULL;
    cw_timer_cancel(ss->env, &ss->timer);
}

static void
session_greet(struct cw_rpc_session *ss)
{
    struct cw_wire_hello h = {
        .kind = CW_HELLO_CONTROL,
        .version_min = CW_WIRE_VERSION,
        .version_max = CW_WIRE_VERSION,
        .credit_ops = CW_RPC_REQUESTS_MAX,
        .credit_bytes = CW_RPC_SEND_MAX,
        .incarnation = ss->opts.incarnation,
    };

    memcpy(h.cluster_id, &ss->opts.cluster_id, sizeof(h.cluster_id));
    memcpy(h.sender_id, &ss->opts.self_id, sizeof(h.sender_id));
    cw_conn_greet(ss->conn, &h);
}

static void session_adopt(struct cw_rpc_session *ss, int fd);

static void
session_on_connected(evutil_socket_t fd, short what, void *arg)
{
    struct cw_rpc_session *ss = arg;
    int err;

    cw_service_tick(ss->s);
    session_connect_over(ss);
    err = cw_net_connect_result(ss->fd);
    if (err == 0) {
        session_adopt(ss, ss->fd);
        return;
    }
    close(ss->fd);
    session_note(ss, strerror(-err));
    session_pause(ss);
}

static void
session_on_timer(struct cw_timer *t)
{
    struct cw_rpc_session *ss = cw_container_of(t, struct cw_rpc_session, timer);

    if (ss->state == SESSION_CONNECTING) {
        session_connect_over(ss);
        close(ss->fd);
        session_note(ss, "no answer to connect");
        session_pause(ss);
        return;
    }
    cw_assert(ss->state == SESSION_WAITING);
    session_connect(ss);
}

void
cw_rpc_session_move(struct cw_rpc_session *ss, const char *addr)
{
    struct cw_addr a;

    if (ss->closing || !cw_addr_parse(addr, false, &a) || strlen(addr) >= sizeof(ss->redirect) ||
        (ss->state != SESSION_WAITING && strcmp(addr, ss->target) == 0))
        return;
    strcpy(ss->redirect, addr);
    ss->n_redirects = 0;
    ss->backoff_ns = BACKOFF_MIN_NS;
    switch (ss->state) {
    case SESSION_CONNECTING:
        session_connect_over(ss);
        close(ss->fd);
        session_pause(ss);
        return;
    case SESSION_WAITING:
        cw_timer_set(ss->env, &ss->timer, cw_now_ns(ss->env));
        return;
    case SESSION_GREETING:
    case SESSION_UP:
        cw_rpc_conn_close(ss->conn, "is not the manager any more");
        return;
    }
    cw_unreachable();
}

/* Picks whom to try. */
static void
session_aim(struct cw_rpc_session *ss)
{
    if (ss->redirect[0] != '\0') {
        snprintf(ss->target, sizeof(ss->target), "%s", ss->redirect);
        ss->redirect[0] = '\0';
        ss->current = -1;
        for (uint32_t i = 0; i < ss->n_addrs; i++)
            if (strcmp(ss->addrs[i].text, ss->target) == 0)
                ss->current = (int)i;
        return;
    }
    ss->current = (int)ss->next;
    ss->next = (ss->next + 1) % ss->n_addrs;
    ss->tried++;
    snprintf(ss->target, sizeof(ss->target), "%s", ss->addrs[ss->current].text);
}

static void
session_connect(struct cw_rpc_session *ss)
{
    char why[CW_RPC_WHY_SIZE];

    session_aim(ss);
    if (cw_net_connect(ss->target, &ss->fd, why) != 0) {
        session_note(ss, why);
        session_pause(ss);
        return;
    }
    ss->state = SESSION_CONNECTING;
    ss->event = event_new(cw_service_base(ss->s), ss->fd, EV_WRITE, session_on_connected, ss);
    cw_assert(ss->event != NULL && event_add(ss->event, NULL) == 0);
    cw_timer_set(ss->env, &ss->timer,
                 cw_now_ns(ss->env) + (ss->n_addrs > 1 ? SOON_MS * CW_NS_PER_MS : CONNECT_NS));
}

/* ---- the connection ---- */

static void
session_on_hello(struct cw_rpc_conn *c, const struct cw_wire_hello *h, const uint8_t *frame)
{
    struct cw_rpc_session *ss = c->owner;
    struct cw_uuid cluster;

    memcpy(&cluster, h->cluster_id, sizeof(cluster));
    if (h->status == CW_HELLO_E_VERSION) {
        cw_rpc_conn_close(c, "speaks no protocol version that this program speaks");
    } else if (h->status == CW_HELLO_E_CLUSTER ||
               (!cw_uuid_is_nil(&cluster) && !cw_uuid_is_nil(&ss->opts.cluster_id) &&
                !cw_uuid_equal(&cluster, &ss->opts.cluster_id))) {
        cw_rpc_conn_close(c, "is of another cluster");
    } else if (h->status == CW_HELLO_E_BUSY) {
        cw_rpc_conn_close(c, "has no connection left");
    } else if (h->status != CW_HELLO_OK || h->kind != CW_HELLO_CONTROL) {
        cw_rpc_conn_close(c, "refused HELLO");
    } else {
        cw_conn_opened(c, h);
        ss->state = SESSION_UP;
        ss->told = false;
        ss->tried = 0;
        ss->up_ns = cw_now_ns(ss->env);
        if (ss->current >= 0)
            ss->next = (uint32_t)ss->current;
        session_note(ss, "connected");
        if (ss->opts.ev->on_connected != NULL)
            ss->opts.ev->on_connected(ss->opts.user, ss);
        session_flush(ss);
    }
}

static void
session_on_message(struct cw_rpc_conn *c, const cw_envelope *m, struct cw_rpc_req *take_req)
{
    struct cw_rpc_session *ss = c->owner;

    if (ss->opts.ev->on_message != NULL)
        ss->opts.ev->on_message(ss->opts.user, ss, m, take_req);
    else if (take_req != NULL)
        cw_rpc_req_error(take_req, CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST, NULL, NULL,
                         "this program answers no requests");
}

static bool
session_on_reply(struct cw_rpc_conn *c, struct cw_rpc_call *call, const cw_envelope *m)
{
    struct cw_rpc_session *ss = c->owner;
    struct cw_addr a;

    if (call->session == NULL)
        return false;
    if (m->error == NULL || m->error->code != CAUSEWAY__CONTROL__ERROR_CODE__NOT_MANAGER) {
        ss->n_redirects = 0;
        return false;
    }
    cw_list_push_front(&ss->waiting, &call->link); /* it did nothing: ask who is the manager */
    if (ss->state != SESSION_UP || c->state != CW_CONN_OPEN)
        return true;
    if (++ss->n_redirects <= REDIRECTS_MAX && cw_addr_parse(m->error->redirect, false, &a))
        snprintf(ss->redirect, sizeof(ss->redirect), "%s", m->error->redirect);
    else
        ss->next = (ss->next + 1) % ss->n_addrs;
    cw_rpc_conn_close(c, m->error->message[0] != '\0' ? m->error->message : "is not the manager");
    return true;
}

static void
session_on_down(struct cw_rpc_conn *c, const char *why, bool fault, struct cw_list *lost)
{
    struct cw_rpc_session *ss = c->owner;
    bool was_up = ss->state == SESSION_UP;
    char reason[CW_RPC_WHY_SIZE];

    snprintf(reason, sizeof(reason), "%s", why);
    cw_conn_free(c);
    ss->conn = NULL;
    ss->state = SESSION_WAITING;
    session_note(ss, reason);
    if (fault)
        cw_log(ss->env, CW_LOG_WARNING, "manager at %s: %s", ss->target, reason);
    if (was_up && cw_now_ns(ss->env) - ss->up_ns >= LASTING_NS)
        ss->backoff_ns = BACKOFF_MIN_NS;
    else if (was_up)
        ss->tried = ss->n_addrs; /* so that a manager that hangs up at once is not asked at once */
    if (was_up && ss->opts.ev->on_disconnected != NULL)
        ss->opts.ev->on_disconnected(ss->opts.user, ss, reason);
    session_sort_lost(ss, lost, reason);
    session_pause(ss);
}

static const struct cw_conn_events session_conn_events = {
    .on_hello = session_on_hello,
    .on_message = session_on_message,
    .on_down = session_on_down,
    .on_reply = session_on_reply,
};

static void
session_adopt(struct cw_rpc_session *ss, int fd)
{
    ss->conn =
        cw_conn_new(ss->s, fd, &session_conn_events, ss, ss->n_addrs > 1 ? SOON_MS : GREET_MS);
    if (ss->conn == NULL) {
        close(fd);
        session_note(ss, "out of memory");
        session_pause(ss);
        return;
    }
    ss->state = SESSION_GREETING;
    snprintf(ss->conn->addr, sizeof(ss->conn->addr), "%s", ss->target);
    session_greet(ss);
}

/* ---- life ---- */

int
cw_rpc_session_new(struct cw_service *s, const struct cw_rpc_session_opts *opts,
                   struct cw_rpc_session **ret, char why[static CW_RPC_WHY_SIZE])
{
    struct cw_rpc_session *ss = calloc(1, sizeof(*ss));

    cw_assert(ss != NULL);
    if (!session_parse(opts->addrs, ss->addrs, &ss->n_addrs)) {
        snprintf(why, CW_RPC_WHY_SIZE, "'%.120s' is not a list of addresses: want ADDR:PORT[,..]",
                 opts->addrs);
        free(ss);
        return -EINVAL;
    }
    memcpy(ss->named, ss->addrs, sizeof(ss->named));
    ss->n_named = ss->n_addrs;
    ss->s = s;
    ss->env = cw_service_env(s);
    ss->opts = *opts;
    ss->current = -1;
    ss->backoff_ns = BACKOFF_MIN_NS;
    ss->timer.fn = session_on_timer;
    cw_list_init(&ss->waiting);
    cw_timer_set(ss->env, &ss->timer, cw_now_ns(ss->env));
    *ret = ss;
    return 0;
}

void
cw_rpc_session_free(struct cw_rpc_session *ss)
{
    struct cw_rpc_call *call;

    if (ss == NULL)
        return;
    ss->closing = true;
    if (ss->state == SESSION_CONNECTING) {
        session_connect_over(ss);
        close(ss->fd);
    }
    if (ss->conn != NULL)
        cw_conn_abort(ss->conn, "this end stops");
    cw_timer_cancel(ss->env, &ss->timer);
    while ((call = cw_list_first(&ss->waiting, struct cw_rpc_call, link)) != NULL)
        cw_call_fail(call, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE, "this end stops");
    free(ss);
}

bool
cw_rpc_session_up(const struct cw_rpc_session *ss)
{
    return ss->state == SESSION_UP && ss->conn->state == CW_CONN_OPEN;
}

struct cw_rpc_conn *
cw_rpc_session_conn(struct cw_rpc_session *ss)
{
    return cw_rpc_session_up(ss) ? ss->conn : NULL;
}
