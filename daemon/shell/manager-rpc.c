#include "daemon/shell/manager-rpc.h"

#include <stdlib.h>

static const struct cw_manager_route *const families[] = {
    cw_manager_routes_hosts,    cw_manager_routes_owner,  cw_manager_routes_volume,
    cw_manager_routes_policy,   cw_manager_routes_status, cw_manager_routes_ops,
    cw_manager_routes_metadata,
};

static const struct cw_manager_route *
route_find(CW_PB(Envelope__BodyCase) body)
{
    for (size_t f = 0; f < CW_LEN(families); f++)
        for (const struct cw_manager_route *r = families[f]; r->body != CW_PB_BODY(_NOT_SET); r++)
            if (r->body == body)
                return r;
    return NULL;
}

static void
req_free(struct cw_manager_req *r)
{
    cw_mgr_arena_free(r->arena);
    free(r);
}

static void
req_on_done(struct cw_mgr_call *call)
{
    struct cw_manager_req *r = cw_container_of(call, struct cw_manager_req, call);
    cw_envelope out = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    if (call->error.code != CW_MGR_OK) {
        cw_rpc_req_error(r->req, (CW_PB(ErrorCode))call->error.code, call->error.object,
                         call->error.hint, "%s", call->error.message);
    } else {
        if (r->route->answer != NULL && !call->dry_run)
            r->route->answer(r, &out);
        cw_rpc_req_reply(r->req, &out);
    }
    req_free(r);
}

static void
peer_request(struct cw_manager_peer *p, const cw_envelope *m, struct cw_rpc_req *take_req)
{
    const struct cw_manager_route *route = route_find(m->body_case);
    struct cw_manager_req *r;

    if (route == NULL) {
        cw_rpc_req_error(take_req, CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST, NULL, NULL,
                         "request %u is not known to this manager", (unsigned)m->body_case);
        return;
    }
    r = calloc(1, sizeof(*r));
    cw_assert(r != NULL);
    r->rpc = p->rpc;
    r->req = take_req;
    r->route = route;
    r->arena = cw_mgr_arena_new();
    r->call.kind = route->kind;
    r->call.dry_run = m->dry_run;
    r->call.done = req_on_done;
    if (route->ask(r, m)) {
        cw_manager_call(p->rpc->manager, p->session, &r->call);
        return;
    }
    cw_rpc_req_error(take_req, CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST, NULL, NULL,
                     "request %u is malformed: an identity of a wrong length, or a part missing",
                     (unsigned)m->body_case);
    req_free(r);
}

/* ---- peers ---- */

static struct cw_manager_peer *
peer_new(struct cw_manager_rpc *rpc, struct cw_rpc_conn *c)
{
    struct cw_manager_peer *p = calloc(1, sizeof(*p));

    cw_assert(p != NULL);
    p->rpc = rpc;
    p->conn = c;
    cw_list_init(&p->asks);
    p->session = cw_manager_session_up(rpc->manager, p);
    cw_assert(p->session != NULL);
    cw_list_push_back(&rpc->peers, &p->link);
    cw_rpc_conn_set_user(c, p);
    return p;
}

static void
peer_leave(struct cw_manager_peer *p)
{
    cw_manager_push_forget(p);
    cw_manager_session_down(p->rpc->manager, p->session);
    cw_rpc_conn_set_user(p->conn, NULL);
}

static void
peer_free(struct cw_manager_peer *p)
{
    cw_list_remove(&p->link);
    free(p);
}

void
cw_manager_rpc_init(struct cw_manager_rpc *rpc)
{
    cw_list_init(&rpc->peers);
}

void
cw_manager_rpc_message(struct cw_manager_rpc *rpc, struct cw_rpc_conn *c, const cw_envelope *m,
                       struct cw_rpc_req *take_req)
{
    struct cw_manager_peer *p = cw_rpc_conn_user(c);

    if (p == NULL)
        p = peer_new(rpc, c);
    if (take_req != NULL)
        peer_request(p, m, take_req);
    else
        cw_manager_rpc_oneway(p, m);
}

void
cw_manager_rpc_down(struct cw_rpc_conn *c)
{
    struct cw_manager_peer *p = cw_rpc_conn_user(c);

    if (p == NULL)
        return;
    peer_leave(p);
    peer_free(p);
}

void
cw_manager_rpc_close(struct cw_manager_rpc *rpc, const char *why)
{
    struct cw_manager_peer *p;

    CW_LIST_EACH (it, &rpc->peers)
        peer_leave(cw_list_entry(it, struct cw_manager_peer, link));
    cw_manager_free(rpc->manager);
    rpc->manager = NULL;
    while ((p = cw_list_first(&rpc->peers, struct cw_manager_peer, link)) != NULL) {
        cw_rpc_conn_close(p->conn, why);
        peer_free(p);
    }
}

/* ---- a server of the manager's own ---- */

static void
rpc_on_open(void *user, struct cw_rpc_conn *c)
{
    peer_new(user, c);
}

static void
rpc_on_message(void *user, struct cw_rpc_conn *c, const cw_envelope *m, struct cw_rpc_req *take_req)
{
    cw_manager_rpc_message(user, c, m, take_req);
}

static void
rpc_on_down(void *user, struct cw_rpc_conn *c, const char *why)
{
    cw_manager_rpc_down(c);
}

const struct cw_rpc_server_events cw_manager_server_events = {
    .on_open = rpc_on_open,
    .on_message = rpc_on_message,
    .on_down = rpc_on_down,
};
