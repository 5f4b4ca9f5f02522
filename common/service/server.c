#include "common/service/server.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/service/conn.h"
#include "common/service/net.h"

#define GREET_MS 10000
#define CONNS_DEFAULT 1024u
#define ACCEPTS_PER_TURN 16
#define PAUSE_NS (100 * CW_NS_PER_MS)

struct cw_rpc_server {
    struct cw_service *s;
    struct cw_env *env;
    struct cw_rpc_server_opts opts;
    char addr[CW_NET_ADDR_SIZE];
    int fd;
    struct event *event;
    struct cw_timer pause; /* out of descriptors: accept again later */
    struct cw_list conns;
    uint32_t n_conns;
};

static void
server_hello(struct cw_rpc_server *srv, struct cw_wire_hello *h, enum cw_hello_status status)
{
    *h = (struct cw_wire_hello){
        .kind = CW_HELLO_CONTROL,
        .status = status,
        .version_min = CW_WIRE_VERSION,
        .version_max = CW_WIRE_VERSION,
        .credit_ops = CW_RPC_REQUESTS_MAX,
        .credit_bytes = CW_RPC_SEND_MAX,
        .incarnation = srv->opts.incarnation,
    };
    memcpy(h->cluster_id, &srv->opts.cluster_id, sizeof(h->cluster_id));
    memcpy(h->sender_id, &srv->opts.self_id, sizeof(h->sender_id));
}

static enum cw_hello_status
server_judge(const struct cw_rpc_server *srv, const struct cw_wire_hello *h)
{
    struct cw_uuid theirs;

    memcpy(&theirs, h->cluster_id, sizeof(theirs));
    if (h->version_min > CW_WIRE_VERSION || h->version_max < CW_WIRE_VERSION)
        return CW_HELLO_E_VERSION;
    if (!cw_uuid_is_nil(&theirs) && !cw_uuid_is_nil(&srv->opts.cluster_id) &&
        !cw_uuid_equal(&theirs, &srv->opts.cluster_id))
        return CW_HELLO_E_CLUSTER;
    return CW_HELLO_OK;
}

static void
server_on_hello(struct cw_rpc_conn *c, const struct cw_wire_hello *h, const uint8_t *frame)
{
    struct cw_rpc_server *srv = c->owner;
    enum cw_hello_status status = server_judge(srv, h);
    struct cw_wire_hello answer;

    if (h->kind == CW_HELLO_DATA) {
        if (srv->opts.ev->on_data == NULL) {
            cw_conn_fault(c, "a data connection, but there are no disks here");
            return;
        }
        srv->n_conns--;
        srv->opts.ev->on_data(srv->opts.user, cw_conn_detach(c), h, frame, CW_CONN_HELLO_LEN);
        return;
    }
    server_hello(srv, &answer, status);
    cw_conn_greet(c, &answer);
    if (status == CW_HELLO_E_VERSION)
        cw_conn_fault(c, "protocol versions %u to %u, here %u", h->version_min, h->version_max,
                      CW_WIRE_VERSION);
    else if (status == CW_HELLO_E_CLUSTER)
        cw_conn_fault(c, "belongs to another cluster");
    if (c->state == CW_CONN_ENDING)
        return;
    cw_conn_opened(c, h);
    srv->opts.ev->on_open(srv->opts.user, c);
}

static void
server_on_message(struct cw_rpc_conn *c, const cw_envelope *m, struct cw_rpc_req *take_req)
{
    struct cw_rpc_server *srv = c->owner;

    srv->opts.ev->on_message(srv->opts.user, c, m, take_req);
}

static void
server_on_down(struct cw_rpc_conn *c, const char *why, bool fault, struct cw_list *lost)
{
    struct cw_rpc_server *srv = c->owner;
    struct cw_rpc_call *call;

    if (fault)
        cw_log(srv->env, CW_LOG_WARNING, "%s: dropped control connection from %s: %s", srv->addr,
               c->addr, why);
    while ((call = cw_list_first(lost, struct cw_rpc_call, link)) != NULL)
        cw_call_fail(call, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE, why);
    if (c->peer.kind != 0) /* was opened */
        srv->opts.ev->on_down(srv->opts.user, c, why);
    srv->n_conns--;
    cw_conn_free(c);
}

static const struct cw_conn_events server_conn_events = {
    .on_hello = server_on_hello,
    .on_message = server_on_message,
    .on_down = server_on_down,
};

static void
server_take(struct cw_rpc_server *srv, int fd)
{
    struct cw_rpc_conn *c;
    char addr[CW_NET_ADDR_SIZE];

    cw_net_peer(fd, addr);
    cw_net_tune(fd);
    if (srv->n_conns >= srv->opts.conns_max) {
        cw_log(srv->env, CW_LOG_WARNING, "%s: refused a connection from %s: %u are open", srv->addr,
               addr, srv->n_conns);
        close(fd);
        return;
    }
    c = cw_conn_new(srv->s, fd, &server_conn_events, srv, srv->opts.greet_ms);
    if (c == NULL) {
        close(fd);
        return;
    }
    snprintf(c->addr, sizeof(c->addr), "%s", addr);
    cw_list_push_back(&srv->conns, &c->link);
    srv->n_conns++;
}

static void
server_on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct cw_rpc_server *srv = arg;

    cw_service_tick(srv->s);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int peer = accept4(srv->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (peer >= 0) {
            server_take(srv, peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            cw_log(srv->env, CW_LOG_ERROR, "%s: cannot accept: %s", srv->addr, strerror(errno));
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
    event_add(cw_container_of(t, struct cw_rpc_server, pause)->event, NULL);
}

int
cw_rpc_server_new(struct cw_service *s, const struct cw_rpc_server_opts *opts,
                  struct cw_rpc_server **ret, char why[static CW_RPC_WHY_SIZE])
{
    struct cw_rpc_server *srv = calloc(1, sizeof(*srv));
    int err;

    cw_assert(srv != NULL);
    srv->s = s;
    srv->env = cw_service_env(s);
    srv->opts = *opts;
    if (srv->opts.conns_max == 0)
        srv->opts.conns_max = CONNS_DEFAULT;
    if (srv->opts.greet_ms == 0)
        srv->opts.greet_ms = GREET_MS;
    srv->pause.fn = server_on_pause;
    cw_list_init(&srv->conns);
    err = cw_net_listen(opts->listen, &srv->fd, srv->addr, why);
    if (err != 0) {
        free(srv);
        return err;
    }
    srv->event =
        event_new(cw_service_base(s), srv->fd, EV_READ | EV_PERSIST, server_on_acceptable, srv);
    cw_assert(srv->event != NULL && event_add(srv->event, NULL) == 0);
    *ret = srv;
    return 0;
}

void
cw_rpc_server_free(struct cw_rpc_server *srv)
{
    struct cw_rpc_conn *c;

    if (srv == NULL)
        return;
    while ((c = cw_list_first(&srv->conns, struct cw_rpc_conn, link)) != NULL)
        cw_conn_abort(c, "this end stops");
    cw_timer_cancel(srv->env, &srv->pause);
    event_free(srv->event);
    close(srv->fd);
    if (strncmp(srv->addr, "unix:", 5) == 0)
        unlink(srv->addr + 5);
    free(srv);
}

const char *
cw_rpc_server_addr(const struct cw_rpc_server *srv)
{
    return srv->addr;
}

void
cw_rpc_server_set_cluster(struct cw_rpc_server *srv, const struct cw_uuid *cluster_id)
{
    srv->opts.cluster_id = *cluster_id;
}
