/* shell/manager-rpc.h - control.proto on one side, the manager's calls on the other.
 *
 *   request  --route--> struct cw_mgr_call --done--> reply      manager-rpc.c and one file a family
 *   one-way  ---------> cw_manager_report ..                    manager-rpc-owner.c
 *   hint, ask <-------- struct cw_mgr_ops                       manager-rpc-push.c
 *
 * It decides nothing: every refusal but "cannot be read" is the manager's.
 */
#pragma once

#include "common/service/server.h"
#include "daemon/shell/manager-parts.h"

/* The role's whole state; in manager-main.c. */
struct cw_manager_rpc {
    struct cw_env *env;
    struct cw_rpc_server *server;
    struct cw_manager *manager;
    void (*on_started)(void *user, const char *why_not);
    void *user;
    struct cw_list peers;
};

/* One control connection; its user pointer, and that of its manager session. */
struct cw_manager_peer {
    struct cw_manager_rpc *rpc;
    struct cw_rpc_conn *conn;
    struct cw_mgr_session *session;
    struct cw_list link; /* the rpc's */
    struct cw_list asks; /* struct cw_mgr_ask.link, unanswered */
};

/* A request on its way through the manager. */
struct cw_manager_req {
    struct cw_mgr_call call;
    struct cw_manager_rpc *rpc;
    struct cw_rpc_req *req;
    struct cw_mgr_arena *arena; /* of what call.req and the reply point to */
    const struct cw_manager_route *route;
};

struct cw_manager_route {
    CW_PB(Envelope__BodyCase) body;
    enum cw_mgr_call_kind kind;
    /* Fills r->call.req from m, which lives until the call is done. False: malformed. */
    bool (*ask)(struct cw_manager_req *r, const cw_envelope *m);
    /* Fills the body of the reply; NULL: the reply is empty. */
    void (*answer)(struct cw_manager_req *r, cw_envelope *out);
};

/* One table a family, ended by body = NOT_SET. */
extern const struct cw_manager_route cw_manager_routes_hosts[];
extern const struct cw_manager_route cw_manager_routes_owner[];
extern const struct cw_manager_route cw_manager_routes_volume[];
extern const struct cw_manager_route cw_manager_routes_policy[];
extern const struct cw_manager_route cw_manager_routes_status[];
extern const struct cw_manager_route cw_manager_routes_ops[];
extern const struct cw_manager_route cw_manager_routes_metadata[];

CW_PB(MetadataPlace) **cw_manager_places(struct cw_mgr_arena *a,
                                         const struct cw_mgr_metadata_place *from, size_t n);

void cw_manager_remove_answer(struct cw_manager_req *r, cw_envelope *out); /* of host rm too */
void cw_manager_job_answer(struct cw_manager_req *r, cw_envelope *out);

/* The rest of *rpc is zero or the caller's to fill. */
void cw_manager_rpc_init(struct cw_manager_rpc *rpc);

/* For a manager that comes and goes beneath a server that stays: a connection becomes a peer with
 * its first message, and ceases to be one at close, which frees the manager, so that what was asked
 * is answered, and hangs up on all of them. */
void cw_manager_rpc_message(struct cw_manager_rpc *rpc, struct cw_rpc_conn *c, const cw_envelope *m,
                            struct cw_rpc_req *take_req);
void cw_manager_rpc_down(struct cw_rpc_conn *c);
void cw_manager_rpc_close(struct cw_manager_rpc *rpc, const char *why);

/* What the server calls; user is the struct cw_manager_rpc. */
extern const struct cw_rpc_server_events cw_manager_server_events;

/* What the manager calls; world is the struct cw_manager_rpc. */
extern const struct cw_mgr_ops cw_manager_push_ops;

/* A one-way message: VolumeReport, VerifyProgress. Others are ignored. */
void cw_manager_rpc_oneway(struct cw_manager_peer *p, const cw_envelope *m);

/* The peer goes down: nobody answers its asks any more. */
void cw_manager_push_forget(struct cw_manager_peer *p);
