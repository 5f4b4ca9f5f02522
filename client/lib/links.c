/* lib/links.c - data links for the owner: by unix socket on our own machine, else by TCP. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/lib/engine-internal.h"
#include "common/reactor/link.h"

#define CONNECT_MS 3000
#define LINK_CREDIT_OPS 1024
#define LINK_CREDIT_BYTES (32 * CW_MIB)

struct engine_link {
    struct cw_list link;
    struct cw_link *l;
};

struct engine_connect {
    struct cw_link_connect req;
    struct cw_list link;
    struct cw_engine *engine;
    struct cw_disk_location to;
    bool by_unix;
};

static struct engine_link *
link_find(struct cw_list *links, const struct cw_link *l)
{
    CW_LIST_EACH (it, links) {
        struct engine_link *el = cw_list_entry(it, struct engine_link, link);

        if (el->l == l)
            return el;
    }
    return NULL;
}

static struct cw_engine *
engine_of(struct cw_link *l)
{
    return cw_container_of(l->ev, struct cw_engine, link_events);
}

/* The owner's on_down, and the engine knows that the link is gone. */
static void
link_on_down(struct cw_link *l, int reason)
{
    struct cw_engine *e = engine_of(l);
    struct engine_link *el = link_find(&e->links, l);

    cw_list_remove(&el->link);
    free(el);
    e->owner_events->on_down(l, reason);
    if (e->stopping)
        engine_finish(e);
}

static void
ignore_frame(struct cw_link *l, const struct cw_frame *f)
{
}

static void
ignore_down(struct cw_link *l, int reason)
{
}

static const struct cw_link_events ignore = { .on_frame = ignore_frame, .on_down = ignore_down };

static void
link_up(struct cw_engine *e, const struct engine_connect *c, struct cw_link *l,
        const struct cw_wire_hello *reply)
{
    struct engine_link *el = malloc(sizeof(*el));

    if (el == NULL || e->stopping) {
        l->ev = &ignore;
        cw_link_close(l);
        free(el);
        cw_owner_on_connect_failed(e->owner, &c->to.disk_uuid, c->to.format_id, -ENOMEM);
        return;
    }
    l->local = c->by_unix;
    cw_owner_on_link_up(e->owner, &c->to.disk_uuid, c->to.format_id, l);
    cw_owner_link_credit(e->owner, l, reply->credit_ops, reply->credit_bytes);
    e->owner_events = l->ev;
    e->link_events =
        (struct cw_link_events){ .on_frame = l->ev->on_frame, .on_down = link_on_down };
    l->ev = &e->link_events;
    el->l = l;
    cw_list_push_back(&e->links, &el->link);
}

static int
why_of(int res)
{
    switch (res) {
    case CW_HELLO_E_NO_DISK:
        return -ENXIO;
    case CW_HELLO_E_FORMAT:
    case CW_HELLO_E_CLUSTER:
        return -ESTALE;
    case CW_HELLO_E_BUSY:
        return -EAGAIN;
    case CW_HELLO_E_VERSION:
        return -EPROTO;
    default:
        return res < 0 ? res : -EPROTO;
    }
}

static void connect_begin(struct engine_connect *c);

static void
connect_done(struct cw_link_connect *req, int res, struct cw_link *l,
             const struct cw_wire_hello *reply)
{
    struct engine_connect *c = cw_container_of(req, struct engine_connect, req);
    struct cw_engine *e = c->engine;

    if (res < 0 && c->by_unix && c->to.addr[0] != 0 && !e->stopping) {
        c->by_unix = false; /* another name space, or a stale path: TCP reaches the same disk */
        connect_begin(c);
        return;
    }
    cw_list_remove(&c->link);
    if (res == 0)
        link_up(e, c, l, reply);
    else
        cw_owner_on_connect_failed(e->owner, &c->to.disk_uuid, c->to.format_id, why_of(res));
    free(c);
    if (e->stopping)
        engine_finish(e);
}

static void
connect_begin(struct engine_connect *c)
{
    struct cw_engine *e = c->engine;
    char addr[sizeof(c->to.unix_path) + 8];

    if (c->by_unix)
        snprintf(addr, sizeof(addr), "unix:%s", c->to.unix_path);
    else
        snprintf(addr, sizeof(addr), "%s", c->to.addr);
    c->req =
        (struct cw_link_connect){ .addr = addr, .timeout_ms = CONNECT_MS, .done = connect_done };
    c->req.hello = (struct cw_wire_hello){ .kind = CW_HELLO_DATA,
                                           .credit_ops = LINK_CREDIT_OPS,
                                           .credit_bytes = LINK_CREDIT_BYTES,
                                           .format_id = c->to.format_id };
    memcpy(c->req.hello.cluster_id, e->cluster_id.b, sizeof(e->cluster_id.b));
    memcpy(c->req.hello.sender_id, e->client_id.b, sizeof(e->client_id.b));
    memcpy(c->req.hello.disk_uuid, c->to.disk_uuid.b, sizeof(c->to.disk_uuid.b));
    cw_link_connect(e->reactor, &c->req);
}

void
engine_connect(void *world, const struct cw_disk_location *to)
{
    struct cw_engine *e = world;
    struct engine_connect *c = malloc(sizeof(*c));

    cw_assert(c != NULL); /* a few hundred bytes per disk, once in a while */
    *c = (struct engine_connect){ .engine = e, .to = *to };
    c->by_unix = to->unix_path[0] != 0 && cw_uuid_equal(&to->at.boot_id, &e->boot_id) &&
                 !cw_uuid_is_nil(&e->boot_id);
    cw_list_push_back(&e->connects, &c->link);
    connect_begin(c);
}

void
engine_links_close(struct cw_engine *e)
{
    CW_LIST_EACH (it, &e->connects)
        cw_link_connect_cancel(&cw_list_entry(it, struct engine_connect, link)->req);
    CW_LIST_EACH (it, &e->links)
        cw_link_close(cw_list_entry(it, struct engine_link, link)->l);
    engine_finish(e);
}
