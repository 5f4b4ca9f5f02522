/* nbd/export.c - a volume while somebody uses it.
 *
 *   OPENING -attached-> OPEN -last user gone, 2 s-> CLOSING -> freed, or OPENING for who waits
 *      \- refused: everybody who waits is told       \- taken over by another client: CLOSING
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/nbd/server-internal.h"

#define CLOSE_STOPPING_MS 5000

enum export_state { EXPORT_OPENING, EXPORT_OPEN, EXPORT_CLOSING };

struct nbd_export {
    struct cw_list link;
    struct cw_nbd_server *server;
    char name[CW_ENGINE_NAME_SIZE];
    enum export_state state;
    struct cw_engine_volume *vol; /* OPEN */
    struct cw_list users, waiters;
    struct cw_timer linger;
    struct cw_engine_open open;
    struct cw_engine_close close;
};

static void export_open(struct nbd_export *x);

static void
export_free(struct nbd_export *x)
{
    struct cw_nbd_server *s = x->server;

    cw_assert(cw_list_empty(&x->users) && cw_list_empty(&x->waiters));
    cw_timer_cancel(cw_reactor_env(s->reactor), &x->linger);
    cw_list_remove(&x->link);
    free(x);
    nbd_server_check_stopped(s);
}

/* ---- closing ---- */

static void
export_refuse(struct nbd_export *x, enum cw_nbd_res res, const char *text)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&x->waiters)) != NULL) {
        struct nbd_client *cl = cw_list_entry(node, struct nbd_client, export_link);

        cl->export = NULL;
        nbd_client_answer(cl, res, 0, text);
    }
}

static void
close_done(struct cw_engine_close *c, int res)
{
    struct nbd_export *x = cw_container_of(c, struct nbd_export, close);

    if (res != 0 && res != -ESHUTDOWN) /* who was fenced has nothing to release */
        x->server->clean = false;
    if (x->server->stopping)
        export_refuse(x, CW_NBD_RES_SHUTDOWN, "the server is stopping");
    if (cw_list_empty(&x->waiters))
        export_free(x);
    else
        export_open(x);
}

static void
export_close(struct nbd_export *x)
{
    cw_assert(x->state == EXPORT_OPEN);
    cw_timer_cancel(cw_reactor_env(x->server->reactor), &x->linger);
    x->state = EXPORT_CLOSING;
    x->close = (struct cw_engine_close){ .done = close_done };
    if (x->server->stopping)
        x->close.timeout_ms = CLOSE_STOPPING_MS;
    cw_engine_close(x->vol, &x->close);
    x->vol = NULL;
}

/* Its users keep their connections, whose every request fails from now on. */
static void
export_orphan_users(struct nbd_export *x)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&x->users)) != NULL) {
        struct nbd_client *cl = cw_list_entry(node, struct nbd_client, export_link);

        cl->export = NULL;
        cw_nbd_shutdown(cl->conn);
    }
}

static void
linger_over(struct cw_timer *t)
{
    export_close(cw_container_of(t, struct nbd_export, linger));
}

static void
export_idle(struct nbd_export *x)
{
    struct cw_env *env = cw_reactor_env(x->server->reactor);
    uint64_t wait = x->server->stopping ? 0 : x->server->linger_ms * CW_NS_PER_MS;

    cw_timer_set(env, &x->linger, cw_now_ns(env) + wait);
}

/* ---- opening ---- */

static void
on_resize(void *user, uint64_t size_bytes)
{
    struct nbd_export *x = user;

    CW_LIST_EACH (it, &x->users)
        cw_nbd_set_size(cw_list_entry(it, struct nbd_client, export_link)->conn, size_bytes);
}

static void
on_fenced(void *user, const char *why)
{
    struct nbd_export *x = user;

    if (x->state != EXPORT_OPEN)
        return;
    export_orphan_users(x);
    export_close(x);
}

static const struct cw_engine_volume_events volume_events = {
    .on_resize = on_resize,
    .on_fenced = on_fenced,
};

/* ---- by force ---- */

static bool
export_may_force(const struct nbd_export *x)
{
    const struct cw_nbd_server *s = x->server;

    CW_LIST_EACH (it, &s->forced) {
        if (strcmp(cw_list_entry(it, struct nbd_forced, link)->name, x->name) == 0)
            return false;
    }
    return s->force;
}

/* Two servers that take a volume over from each other for ever would serve nobody. */
static void
export_force_spent(struct nbd_export *x)
{
    struct nbd_forced *f = calloc(1, sizeof(*f));

    if (f == NULL) {
        x->server->force = false; /* what cannot be remembered is not done again */
        return;
    }
    snprintf(f->name, sizeof(f->name), "%s", x->name);
    cw_list_push_back(&x->server->forced, &f->link);
}

static void
export_join(struct nbd_export *x, struct nbd_client *cl)
{
    cl->export = x;
    cw_list_push_back(&x->users, &cl->export_link);
    nbd_client_answer(cl, CW_NBD_RES_OK, cw_engine_volume_size(x->vol), NULL);
}

static void
open_done(struct cw_engine_open *o, int res, struct cw_engine_volume *v, const char *error)
{
    struct nbd_export *x = cw_container_of(o, struct nbd_export, open);
    struct cw_list *node;

    if (o->force && res != -ENOENT && res != -ETIMEDOUT)
        export_force_spent(x);
    if (res != 0) {
        if (res != -ENOENT)
            cw_log(cw_reactor_env(x->server->reactor), CW_LOG_WARNING, "%s", error);
        export_refuse(x, res == -ENOENT ? CW_NBD_RES_UNKNOWN : CW_NBD_RES_REFUSED, error);
        export_free(x);
        return;
    }
    x->state = EXPORT_OPEN;
    x->vol = v;
    while ((node = cw_list_pop_front(&x->waiters)) != NULL)
        export_join(x, cw_list_entry(node, struct nbd_client, export_link));
    if (cw_list_empty(&x->users))
        export_idle(x);
}

static void
export_open(struct nbd_export *x)
{
    x->state = EXPORT_OPENING;
    x->open = (struct cw_engine_open){
        .volume = x->name,
        .force = export_may_force(x),
        .standby = true,
        .retry_ms = x->server->retry_ms,
        .ev = &volume_events,
        .user = x,
        .done = open_done,
    };
    cw_engine_open(x->server->engine, &x->open);
}

static struct nbd_export *
export_find(struct cw_nbd_server *s, const char *name)
{
    CW_LIST_EACH (it, &s->exports) {
        struct nbd_export *x = cw_list_entry(it, struct nbd_export, link);

        if (strcmp(x->name, name) == 0)
            return x;
    }
    return NULL;
}

static struct nbd_export *
export_new(struct cw_nbd_server *s, const char *name)
{
    struct nbd_export *x = calloc(1, sizeof(*x));

    if (x == NULL)
        return NULL;
    x->server = s;
    x->linger.fn = linger_over;
    snprintf(x->name, sizeof(x->name), "%s", name);
    cw_list_init(&x->users);
    cw_list_init(&x->waiters);
    cw_list_push_back(&s->exports, &x->link);
    export_open(x);
    return x;
}

static bool
export_is_full(const struct nbd_export *x)
{
    uint32_t n = 0;

    CW_LIST_EACH (it, &x->users)
        n++;
    CW_LIST_EACH (it, &x->waiters)
        n++;
    return x->server->export_conns_max != 0 && n >= x->server->export_conns_max;
}

static void
export_turn_away(struct nbd_export *x, struct nbd_client *cl)
{
    char text[CW_NBD_TEXT_MAX + 1];

    snprintf(text, sizeof(text), "%s: %u connections to one export are the limit", x->name,
             x->server->export_conns_max);
    cw_log(cw_reactor_env(x->server->reactor), CW_LOG_WARNING,
           "a client was refused: %s (--export-connections)", text);
    nbd_client_answer(cl, CW_NBD_RES_REFUSED, 0, text);
}

void
nbd_export_attach(struct nbd_client *cl, const char *name)
{
    struct nbd_export *x = export_find(cl->server, name);

    if (x != NULL && export_is_full(x)) {
        export_turn_away(x, cl);
        return;
    }
    if (x == NULL)
        x = export_new(cl->server, name);
    if (x == NULL) {
        nbd_client_answer(cl, CW_NBD_RES_REFUSED, 0, "out of memory");
    } else if (x->state == EXPORT_OPEN) {
        cw_timer_cancel(cw_reactor_env(cl->server->reactor), &x->linger);
        export_join(x, cl);
    } else {
        cl->export = x;
        cw_list_push_back(&x->waiters, &cl->export_link);
    }
}

/* ---- in use ---- */

void
nbd_export_leave(struct nbd_client *cl)
{
    struct nbd_export *x = cl->export;

    cl->export = NULL;
    cw_list_remove(&cl->export_link);
    if (x != NULL && x->state == EXPORT_OPEN && cw_list_empty(&x->users))
        export_idle(x);
}

void
nbd_export_submit(struct nbd_client *cl, struct cw_io *io)
{
    struct cw_nbd_server *s = cl->server;

    if (cl->export != NULL && cl->export->vol != NULL) {
        cw_engine_submit(cl->export->vol, io);
        return;
    }
    cw_list_push_back(&s->orphans, &io->link);
    cw_reactor_defer(s->reactor, &s->orphan_work);
}

void
nbd_exports_stop(struct cw_nbd_server *s)
{
    CW_LIST_EACH_SAFE (it, &s->exports) {
        struct nbd_export *x = cw_list_entry(it, struct nbd_export, link);

        if (x->state == EXPORT_OPENING)
            cw_engine_open_cancel(&x->open);
        else if (x->state == EXPORT_OPEN && cw_list_empty(&x->users))
            export_idle(x);
    }
}

void
nbd_exports_abandon(struct cw_nbd_server *s)
{
    CW_LIST_EACH (it, &s->exports) {
        struct nbd_export *x = cw_list_entry(it, struct nbd_export, link);

        if (x->state == EXPORT_OPEN) {
            export_orphan_users(x);
            export_close(x);
        }
    }
}
