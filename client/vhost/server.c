/* vhost/server.c - the volume, the socket, the end. */
#include "client/vhost/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/vhost/server-internal.h"

#define GRACE_NS (3 * CW_NS_PER_S) /* for requests under way when the server stops */
#define CLOSE_STOPPING_MS 5000

/* ---- each turn ---- */

static void
server_turn(struct cw_hook *h)
{
    struct cw_vhost_server *s = cw_container_of(h, struct cw_vhost_server, hook);

    CW_LIST_EACH_SAFE (it, &s->sessions)
        vhost_session_visit(cw_list_entry(it, struct vhost_session, link));
}

/* ---- front ends ---- */

static void
on_accept(void *user, int take_fd)
{
    struct cw_vhost_server *s = user;

    if (s->current != NULL && vhost_session_is_gone(s->current))
        vhost_session_end(s->current);
    if (s->current == NULL) {
        vhost_session_new(s, take_fd);
        return;
    }
    cw_log(cw_reactor_env(s->reactor), CW_LOG_WARNING,
           "volume %s: a second front end was refused, pid %d has it", s->volume, s->current->pid);
    close(take_fd);
}

/* ---- the volume ---- */

static void
on_resize(void *user, uint64_t size_bytes)
{
    struct cw_vhost_server *s = user;

    cw_log(cw_reactor_env(s->reactor), CW_LOG_NOTICE, "volume %s: now has %llu bytes", s->volume,
           (unsigned long long)size_bytes);
    if (s->current != NULL)
        cw_vhost_set_size(s->current->dev, size_bytes);
}

/* Its guest gets errors from now on: it must not go on as if the disk were what it remembers. */
static void
on_fenced(void *user, const char *why)
{
    struct cw_vhost_server *s = user;

    if (s->state != VHOST_SERVING)
        return;
    snprintf(s->fenced, sizeof(s->fenced), "%s", why);
    cw_log(cw_reactor_env(s->reactor), CW_LOG_ERROR, "volume %s: every request fails: %s",
           s->volume, why);
    cw_listener_close(s->listener);
    s->listener = NULL;
    vhost_server_check(s);
}

static const struct cw_engine_volume_events volume_events = {
    .on_resize = on_resize,
    .on_fenced = on_fenced,
};

static int
server_listen(struct cw_vhost_server *s, char *why)
{
    char addr[sizeof(s->socket) + 8];
    struct cw_listener_opts l = {
        .addr = addr, .unix_mode = s->opts.socket_mode, .on_accept = on_accept, .user = s
    };

    snprintf(addr, sizeof(addr), "unix:%s", s->socket);
    return cw_listener_open(s->reactor, &l, &s->listener, why);
}

static void
open_done(struct cw_engine_open *o, int res, struct cw_engine_volume *v, const char *error)
{
    struct cw_vhost_server *s = cw_container_of(o, struct cw_vhost_server, open);
    char why[CW_VHOST_WHY_SIZE];

    if (res != 0) {
        s->state = VHOST_CLOSED;
        if (!s->stopping)
            s->opts.failed(s->opts.user, false, error);
        vhost_server_check(s);
        return;
    }
    s->state = VHOST_SERVING;
    s->vol = v;
    if (s->stopping)
        vhost_server_check(s);
    else if (server_listen(s, why) != 0)
        s->opts.failed(s->opts.user, false, why);
    else
        s->opts.serving(s->opts.user, cw_listener_addr(s->listener));
}

/* ---- the end ---- */

static void
close_done(struct cw_engine_close *c, int res)
{
    struct cw_vhost_server *s = cw_container_of(c, struct cw_vhost_server, close);

    if (res != 0 && res != -ESHUTDOWN) /* who was fenced has nothing to release */
        s->clean = false;
    s->state = VHOST_CLOSED;
    vhost_server_check(s);
}

static void
volume_close(struct cw_vhost_server *s)
{
    s->state = VHOST_CLOSING;
    s->close = (struct cw_engine_close){ .done = close_done, .timeout_ms = CLOSE_STOPPING_MS };
    cw_engine_close(s->vol, &s->close);
    s->vol = NULL;
}

static void
tell_stopped(struct cw_defer *d)
{
    struct cw_vhost_server *s = cw_container_of(d, struct cw_vhost_server, stop_work);

    s->stopped(s->user, s->clean);
}

/* What the end waits for, one after the other: the front end, the volume, requests that hang. */
void
vhost_server_check(struct cw_vhost_server *s)
{
    if (s->current != NULL || s->told)
        return;
    if (!s->stopping) {
        if (s->fenced[0] != 0)
            s->opts.failed(s->opts.user, true, s->fenced);
        s->fenced[0] = 0; /* it is said once */
        return;
    }
    if (s->state == VHOST_SERVING)
        volume_close(s);
    if (s->state != VHOST_CLOSED || !cw_list_empty(&s->sessions))
        return;
    s->told = true;
    cw_timer_cancel(cw_reactor_env(s->reactor), &s->grace);
    cw_reactor_defer(s->reactor, &s->stop_work);
}

static void
grace_over(struct cw_timer *t)
{
    struct cw_vhost_server *s = cw_container_of(t, struct cw_vhost_server, grace);

    if (s->current != NULL)
        vhost_session_end(s->current);
    vhost_server_check(s);
}

void
cw_vhost_server_stop(struct cw_vhost_server *s, void (*stopped)(void *user, bool clean), void *user)
{
    struct cw_env *env = cw_reactor_env(s->reactor);

    cw_assert(!s->stopping);
    s->stopping = true;
    s->stopped = stopped;
    s->user = user;
    s->stop_work.fn = tell_stopped;
    s->grace.fn = grace_over;
    cw_listener_close(s->listener);
    s->listener = NULL;
    if (s->state == VHOST_OPENING)
        cw_engine_open_cancel(&s->open);
    if (s->current != NULL)
        cw_vhost_quiesce(s->current->dev);
    cw_timer_set(env, &s->grace, cw_now_ns(env) + GRACE_NS);
    vhost_server_check(s);
}

void
cw_vhost_server_free(struct cw_vhost_server *s)
{
    if (s == NULL)
        return;
    cw_assert(cw_list_empty(&s->sessions) && s->state == VHOST_CLOSED);
    cw_reactor_hook_remove(s->reactor, &s->hook);
    free(s);
}

/* ---- the beginning ---- */

struct cw_vhost_server *
cw_vhost_server_new(const struct cw_vhost_server_opts *opts)
{
    struct cw_vhost_server *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->opts = *opts;
    s->reactor = cw_engine_reactor(opts->engine);
    snprintf(s->volume, sizeof(s->volume), "%s", opts->volume);
    snprintf(s->socket, sizeof(s->socket), "%s", opts->socket);
    s->clean = true;
    cw_list_init(&s->sessions);
    s->hook = (struct cw_hook){ .fn = server_turn, .order = CW_HOOK_LAST };
    cw_reactor_hook_add(s->reactor, &s->hook);
    s->open = (struct cw_engine_open){
        .volume = s->volume,
        .force = opts->force,
        .standby = true,
        .retry_ms = opts->retry_ms != 0 ? opts->retry_ms : 30000,
        .ev = &volume_events,
        .user = s,
        .done = open_done,
    };
    cw_engine_open(opts->engine, &s->open);
    return s;
}
