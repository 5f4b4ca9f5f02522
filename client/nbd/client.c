/* nbd/client.c - one connection: the stream's bytes to the state machine and back.
 *
 *   LIVE -end of either side-> ENDING -stream closed-> GONE -requests done-> freed
 *
 * While a read into a piece's buffer is with the kernel the piece must live: the state machine
 * learns of the end only once the stream is closed.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/nbd/server-internal.h"

/* Shorter payloads are cheaper to copy than to ask the kernel for one by one. */
#define DIRECT_MIN (32u * 1024)

static struct cw_env *
env_of(const struct nbd_client *cl)
{
    return cw_reactor_env(cl->server->reactor);
}

static struct nbd_client *
client_of(const struct cw_nbd_conn *c)
{
    return cw_nbd_user(c);
}

void
nbd_client_dirty(struct nbd_client *cl)
{
    cw_list_remove(&cl->visit);
    cw_list_push_back(&cl->server->dirty, &cl->visit);
}

/* ---- the end ---- */

static void
client_free(struct nbd_client *cl)
{
    struct cw_nbd_server *s = cl->server;

    nbd_export_leave(cl);
    cw_nbd_conn_free(cl->conn);
    cw_list_remove(&cl->visit);
    cw_list_remove(&cl->link);
    s->n_clients--;
    nbd_server_share(s);
    free(cl);
    nbd_server_check_stopped(s);
}

static void
stream_closed(void *user)
{
    struct nbd_client *cl = user;

    cl->stream = NULL;
    cl->state = NBD_GONE;
    cw_nbd_dead(cl->conn);
    nbd_client_dirty(cl);
}

void
nbd_client_end(struct nbd_client *cl)
{
    if (cl->state != NBD_LIVE)
        return;
    cl->state = NBD_ENDING;
    cw_timer_cancel(env_of(cl), &cl->greet);
    cw_stream_close(cl->stream, stream_closed, cl);
}

static void
greet_over(struct cw_timer *t)
{
    struct nbd_client *cl = cw_container_of(t, struct nbd_client, greet);

    if (cw_nbd_negotiated(cl->conn))
        return;
    if (cw_nbd_busy(cl->conn)) { /* it is our turn to answer, not the client's */
        cw_timer_set(env_of(cl), t, cw_now_ns(env_of(cl)) + cl->server->greet_ms * CW_NS_PER_MS);
        return;
    }
    nbd_client_end(cl);
}

/* ---- bytes in ---- */

static void read_done(struct cw_stream_read *rd, int res);

/* Asks for more, if more may come. */
static void
client_read(struct nbd_client *cl)
{
    uint8_t *to;
    uint32_t len;

    if (cl->reading || cl->at_in < cl->n_in || cl->state != NBD_LIVE)
        return;
    cl->direct = cw_nbd_payload(cl->conn, &to, &len) && len >= DIRECT_MIN;
    if (cl->direct)
        cl->rd = (struct cw_stream_read){ .buf = to, .min = len, .max = len };
    else if (cw_nbd_ready(cl->conn))
        cl->rd = (struct cw_stream_read){ .buf = cl->in, .min = 1, .max = sizeof(cl->in) };
    else
        return;
    cl->rd.done = read_done;
    cl->reading = true;
    cw_stream_read(cl->stream, &cl->rd);
}

static void
client_feed(struct nbd_client *cl)
{
    if (cl->at_in < cl->n_in)
        cl->at_in += (uint32_t)cw_nbd_feed(cl->conn, cl->in + cl->at_in, cl->n_in - cl->at_in);
}

static void
read_done(struct cw_stream_read *rd, int res)
{
    struct nbd_client *cl = cw_container_of(rd, struct nbd_client, rd);

    cl->reading = false;
    if (cl->state != NBD_LIVE)
        return;
    if (res < (int)rd->min) { /* the client is gone, in mid-frame or not */
        nbd_client_end(cl);
        return;
    }
    if (cl->direct) {
        cw_nbd_payload_got(cl->conn, (uint32_t)res);
    } else {
        cl->n_in = (uint32_t)res;
        cl->at_in = 0;
        client_feed(cl);
    }
    client_read(cl);
    if (!cl->reading)
        nbd_client_dirty(cl);
}

/* Everything was said, and it is in the socket. */
static bool
client_is_over(struct nbd_client *cl)
{
    bool over = cw_nbd_over(cl->conn) || (cl->server->stopping && cw_nbd_n_reqs(cl->conn) == 0);

    return over && cw_stream_queued_bytes(cl->stream) == 0;
}

void
nbd_client_visit(struct nbd_client *cl)
{
    cw_list_remove(&cl->visit);
    if (cl->state == NBD_GONE && !cw_nbd_busy(cl->conn) && !cl->answer.queued) {
        client_free(cl);
        return;
    }
    if (cl->state != NBD_LIVE)
        return;
    client_feed(cl);
    cw_nbd_flush(cl->conn);
    client_read(cl);
    if (client_is_over(cl))
        nbd_client_end(cl);
    else if (!cl->reading) {
        cw_list_remove(&cl->visit); /* it may have kicked itself */
        cw_list_push_back(&cl->server->stalled, &cl->visit);
    }
}

/* ---- bytes out ---- */

static void
train_done(struct cw_stream_write *w, int res)
{
    struct cw_nbd_train *t = cw_container_of(w, struct cw_nbd_train, write);
    struct nbd_client *cl = t->user;

    cw_nbd_train_free(t);
    if (cl->state != NBD_LIVE)
        return;
    if (res < 0)
        nbd_client_end(cl);
    else
        nbd_client_dirty(cl); /* room for more */
}

static void
op_send(struct cw_nbd_conn *c, struct cw_nbd_train *take)
{
    struct nbd_client *cl = client_of(c);

    if (cl->state != NBD_LIVE) {
        cw_nbd_train_free(take);
        return;
    }
    take->user = cl;
    take->write =
        (struct cw_stream_write){ .iov = take->iov, .n_iov = take->n_iov, .done = train_done };
    cw_stream_write(cl->stream, &take->write);
}

static uint64_t
op_unsent(const struct cw_nbd_conn *c)
{
    const struct nbd_client *cl = client_of(c);

    return cl->stream != NULL ? cw_stream_queued_bytes(cl->stream) : 0;
}

static void
op_kick(struct cw_nbd_conn *c)
{
    nbd_client_dirty(client_of(c));
}

static void
op_log(struct cw_nbd_conn *c, enum cw_log_level level, const char *line)
{
    struct nbd_client *cl = client_of(c);

    cw_log(env_of(cl), level, "client %s: hung up: %s",
           cl->stream != NULL ? cw_stream_peer_name(cl->stream) : "?", line);
}

/* ---- list, info, attach ---- */

static void
list_all_done(struct nbd_client *cl, int res, const struct cw_engine_volume_info *v, size_t n,
              const char *error)
{
    const char **names = res == 0 ? calloc(n + 1, sizeof(*names)) : NULL;

    if (res == -ENOENT) { /* --volume names one that does not exist (yet) */
        cw_nbd_on_list(cl->conn, CW_NBD_RES_OK, NULL, 0, NULL);
        return;
    }
    if (names == NULL) {
        cw_nbd_on_list(cl->conn, CW_NBD_RES_REFUSED, NULL, 0, res != 0 ? error : "out of memory");
        return;
    }
    for (size_t i = 0; i < n; i++)
        names[i] = v[i].name;
    cw_nbd_on_list(cl->conn, CW_NBD_RES_OK, names, n, NULL);
    free(names);
}

static void
list_done(struct cw_engine_list *l, int res, const struct cw_engine_volume_info *v, size_t n,
          const char *error)
{
    struct nbd_client *cl = cw_container_of(l, struct nbd_client, list);

    if (cl->listing_all)
        list_all_done(cl, res, v, n, error);
    else if (res == 0)
        cw_nbd_on_export(cl->conn, CW_NBD_RES_OK, v[0].size_bytes, NULL);
    else
        cw_nbd_on_export(cl->conn, res == -ENOENT ? CW_NBD_RES_UNKNOWN : CW_NBD_RES_REFUSED, 0,
                         error);
}

static void
op_list(struct cw_nbd_conn *c)
{
    struct nbd_client *cl = client_of(c);

    cl->listing_all = true;
    cl->list = (struct cw_engine_list){ .done = list_done };
    if (cl->server->volume[0] != 0)
        cl->list.name = cl->server->volume;
    cw_engine_list(cl->server->engine, &cl->list);
}

static void
answer_now(struct cw_defer *d)
{
    struct nbd_client *cl = cw_container_of(d, struct nbd_client, answer);

    cw_nbd_on_export(cl->conn, cl->answer_res, cl->answer_size, cl->answer_text);
}

void
nbd_client_answer(struct nbd_client *cl, enum cw_nbd_res res, uint64_t size, const char *text)
{
    cl->answer_res = res;
    cl->answer_size = size;
    snprintf(cl->answer_text, sizeof(cl->answer_text), "%s", text != NULL ? text : "");
    cw_reactor_defer(cl->server->reactor, &cl->answer);
}

static void
op_info(struct cw_nbd_conn *c, const char *name)
{
    struct nbd_client *cl = client_of(c);
    const char *text, *real = nbd_server_resolve(cl->server, name, &text);

    if (real == NULL) {
        nbd_client_answer(cl, CW_NBD_RES_UNKNOWN, 0, text);
        return;
    }
    cl->listing_all = false;
    snprintf(cl->name, sizeof(cl->name), "%s", real);
    cl->list = (struct cw_engine_list){ .name = cl->name, .done = list_done };
    cw_engine_list(cl->server->engine, &cl->list);
}

static void
op_attach(struct cw_nbd_conn *c, const char *name)
{
    struct nbd_client *cl = client_of(c);
    const char *text, *real = nbd_server_resolve(cl->server, name, &text);

    if (real == NULL)
        nbd_client_answer(cl, CW_NBD_RES_UNKNOWN, 0, text);
    else if (cl->server->stopping)
        nbd_client_answer(cl, CW_NBD_RES_SHUTDOWN, 0, "the server is stopping");
    else
        nbd_export_attach(cl, real);
}

static void
op_submit(struct cw_nbd_conn *c, struct cw_io *io)
{
    nbd_export_submit(client_of(c), io);
}

static const struct cw_nbd_ops client_ops = {
    .list = op_list,
    .info = op_info,
    .attach = op_attach,
    .submit = op_submit,
    .send = op_send,
    .unsent = op_unsent,
    .kick = op_kick,
    .log = op_log,
};

/* ---- the beginning ---- */

static struct nbd_client *
client_alloc(struct cw_nbd_server *s)
{
    struct nbd_client *cl = malloc(sizeof(*cl));

    if (cl == NULL)
        return NULL;
    memset(cl, 0, offsetof(struct nbd_client, in));
    cl->server = s;
    cl->greet.fn = greet_over;
    cl->answer.fn = answer_now;
    cw_list_init(&cl->link);
    cw_list_init(&cl->visit);
    cw_list_init(&cl->export_link);
    cl->conn = cw_nbd_conn_new(&s->shared, &client_ops, cl);
    if (cl->conn == NULL) {
        free(cl);
        return NULL;
    }
    return cl;
}

void
nbd_client_new(struct cw_nbd_server *s, int take_fd)
{
    bool full = s->n_clients >= s->conns_max;
    struct nbd_client *cl = full || s->stopping ? NULL : client_alloc(s);
    int one = 1;

    if (cl == NULL) {
        if (full)
            cw_log(cw_reactor_env(s->reactor), CW_LOG_WARNING,
                   "a client was refused: %u connections are the limit (--connections, --memory)",
                   s->conns_max);
        else
            cw_log(cw_reactor_env(s->reactor), CW_LOG_WARNING, "a client was refused: %s",
                   s->stopping ? "the server is stopping" : "out of memory");
        close(take_fd);
        return;
    }
    setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails on unix sockets */
    setsockopt(take_fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    cw_list_push_back(&s->clients, &cl->link);
    s->n_clients++;
    nbd_server_share(s);
    cl->stream = cw_stream_new(s->reactor, take_fd);
    if (cl->stream == NULL) {
        stream_closed(cl);
        return;
    }
    cw_timer_set(env_of(cl), &cl->greet, cw_now_ns(env_of(cl)) + s->greet_ms * CW_NS_PER_MS);
    nbd_client_dirty(cl);
}
