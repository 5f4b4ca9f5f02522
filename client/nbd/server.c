/* nbd/server.c - listening, turning, stopping. */
#include "client/nbd/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/nbd/server-internal.h"

#define WINDOW_MIN (2 * CW_MIB)
#define WINDOW_MAX (16 * CW_MIB)
#define HEADS_BYTES (256 * CW_MIB) /* trains in flight; the clients' limits stay far below */
#define GRACE_NS (3 * CW_NS_PER_S) /* for requests under way when the server stops */

const char *
nbd_server_resolve(struct cw_nbd_server *s, const char *name, const char **ret_text)
{
    *ret_text = "there is no such volume here";
    if (s->volume[0] != 0)
        return name[0] == 0 || strcmp(name, s->volume) == 0 ? s->volume : NULL;
    if (name[0] == 0)
        *ret_text = "name the export: every volume is one, see NBD_OPT_LIST";
    return name[0] != 0 && strlen(name) < CW_ENGINE_NAME_SIZE ? name : NULL;
}

void
nbd_server_share(struct cw_nbd_server *s)
{
    uint64_t half = cw_buf_pool_limit(s->shared.pool) / 2;
    uint64_t each = half / cw_max_u64(1, s->n_clients);

    s->shared.window_bytes = cw_max_u64(WINDOW_MIN, cw_min_u64(s->window_max, each));
}

/* ---- each turn ---- */

static void
server_turn(struct cw_hook *h)
{
    struct cw_nbd_server *s = cw_container_of(h, struct cw_nbd_server, hook);
    struct cw_list now;
    struct cw_list *node;

    cw_list_init(&now);
    cw_list_splice_back(&now, &s->dirty);
    cw_list_splice_back(&now, &s->stalled);
    while ((node = cw_list_pop_front(&now)) != NULL)
        nbd_client_visit(cw_list_entry(node, struct nbd_client, visit));
    cw_list_splice_back(&now, &s->dirty); /* visits may flush what was kicked meanwhile */
    while ((node = cw_list_pop_front(&now)) != NULL)
        nbd_client_visit(cw_list_entry(node, struct nbd_client, visit));
}

static void
fail_orphans(struct cw_defer *d)
{
    struct cw_nbd_server *s = cw_container_of(d, struct cw_nbd_server, orphan_work);
    struct cw_list *node;

    while ((node = cw_list_pop_front(&s->orphans)) != NULL) {
        struct cw_io *io = cw_list_entry(node, struct cw_io, link);

        if (io->op == CW_IO_WRITE)
            cw_buf_unref(io->buf);
        io->done(io, -ESHUTDOWN);
    }
}

static void
on_accept(void *user, int take_fd)
{
    nbd_client_new(user, take_fd);
}

/* ---- the beginning ---- */

static int
server_listen(struct cw_nbd_server *s, const struct cw_nbd_server_opts *opts, char *why)
{
    struct cw_listener_opts l = { .on_accept = on_accept, .user = s };
    char addr[512];
    int res = 0;

    if (opts->socket != NULL) {
        snprintf(addr, sizeof(addr), "unix:%s", opts->socket);
        l.addr = addr;
        res = cw_listener_open(s->reactor, &l, &s->unix_listener, why);
    }
    if (res == 0 && opts->listen != NULL) {
        l.addr = opts->listen;
        res = cw_listener_open(s->reactor, &l, &s->tcp_listener, why);
    }
    return res;
}

static struct cw_nbd_server *
server_alloc(const struct cw_nbd_server_opts *opts)
{
    struct cw_nbd_server *s = calloc(1, sizeof(*s));
    uint64_t memory;

    if (s == NULL)
        return NULL;
    s->engine = opts->engine;
    s->reactor = cw_engine_reactor(opts->engine);
    s->shared.pool = cw_engine_pool(opts->engine);
    s->shared.heads = cw_buf_pool_new(HEADS_BYTES);
    memory = cw_buf_pool_limit(s->shared.pool);
    s->shared.whole_max = (uint32_t)cw_max_u64(1, memory / 4 / CW_NBD_BLOCK_MAX);
    s->linger_ms = opts->linger_ms != 0 ? opts->linger_ms : 2000;
    s->retry_ms = opts->retry_ms != 0 ? opts->retry_ms : 10000;
    s->greet_ms = opts->greet_ms != 0 ? opts->greet_ms : 60000;
    s->conns_max =
        opts->conns_max != 0 ? opts->conns_max : (uint32_t)cw_max_u64(8, memory / (2 * WINDOW_MIN));
    s->export_conns_max = opts->export_conns_max;
    s->window_max = opts->window_bytes != 0 ? opts->window_bytes : WINDOW_MAX;
    s->clean = true;
    s->hook = (struct cw_hook){ .fn = server_turn, .order = CW_HOOK_LAST };
    s->orphan_work.fn = fail_orphans;
    cw_list_init(&s->clients);
    cw_list_init(&s->dirty);
    cw_list_init(&s->stalled);
    cw_list_init(&s->exports);
    cw_list_init(&s->forced);
    s->force = opts->force;
    cw_list_init(&s->orphans);
    nbd_server_share(s);
    return s;
}

static void
server_unlisten(struct cw_nbd_server *s)
{
    cw_listener_close(s->unix_listener);
    cw_listener_close(s->tcp_listener);
    s->unix_listener = s->tcp_listener = NULL;
}

int
cw_nbd_server_new(const struct cw_nbd_server_opts *opts, struct cw_nbd_server **ret_s,
                  char why[static CW_NBD_WHY_SIZE])
{
    struct cw_nbd_server *s = server_alloc(opts);
    int res;

    if (s == NULL || s->shared.heads == NULL) {
        snprintf(why, CW_NBD_WHY_SIZE, "out of memory");
        free(s);
        return -ENOMEM;
    }
    if (opts->volume != NULL)
        snprintf(s->volume, sizeof(s->volume), "%s", opts->volume);
    cw_reactor_hook_add(s->reactor, &s->hook);
    res = server_listen(s, opts, why);
    if (res != 0) {
        cw_nbd_server_free(s);
        return res;
    }
    *ret_s = s;
    return 0;
}

const char *
cw_nbd_server_addr(const struct cw_nbd_server *s)
{
    return cw_listener_addr(s->tcp_listener != NULL ? s->tcp_listener : s->unix_listener);
}

/* ---- the end ---- */

static void
tell_stopped(struct cw_defer *d)
{
    struct cw_nbd_server *s = cw_container_of(d, struct cw_nbd_server, stop_work);

    s->stopped(s->user, s->clean);
}

void
nbd_server_check_stopped(struct cw_nbd_server *s)
{
    if (!s->stopping || s->told || !cw_list_empty(&s->clients) || !cw_list_empty(&s->exports))
        return;
    s->told = true;
    cw_timer_cancel(cw_reactor_env(s->reactor), &s->grace);
    cw_reactor_defer(s->reactor, &s->stop_work);
}

static void
grace_over(struct cw_timer *t)
{
    struct cw_nbd_server *s = cw_container_of(t, struct cw_nbd_server, grace);

    CW_LIST_EACH (it, &s->clients)
        nbd_client_end(cw_list_entry(it, struct nbd_client, link));
    nbd_exports_abandon(s);
}

void
cw_nbd_server_stop(struct cw_nbd_server *s, void (*stopped)(void *user, bool clean), void *user)
{
    struct cw_env *env = cw_reactor_env(s->reactor);

    cw_assert(!s->stopping);
    s->stopping = true;
    s->stopped = stopped;
    s->user = user;
    s->stop_work.fn = tell_stopped;
    s->grace.fn = grace_over;
    server_unlisten(s);
    CW_LIST_EACH (it, &s->clients) {
        struct nbd_client *cl = cw_list_entry(it, struct nbd_client, link);

        cw_nbd_shutdown(cl->conn);
        nbd_client_dirty(cl);
    }
    nbd_exports_stop(s);
    cw_timer_set(env, &s->grace, cw_now_ns(env) + GRACE_NS);
    nbd_server_check_stopped(s);
}

void
cw_nbd_server_free(struct cw_nbd_server *s)
{
    struct cw_list *node;

    if (s == NULL)
        return;
    cw_assert(cw_list_empty(&s->clients) && cw_list_empty(&s->exports));
    server_unlisten(s);
    while ((node = cw_list_pop_front(&s->forced)) != NULL)
        free(cw_list_entry(node, struct nbd_forced, link));
    cw_reactor_hook_remove(s->reactor, &s->hook);
    cw_buf_pool_free(s->shared.heads);
    free(s);
}
