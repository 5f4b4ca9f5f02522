/* lib/control-internal.h - the inside of the control thread, for its files. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "client/lib/control.h"
#include "client/lib/plain.h"
#include "common/service/service.h"
#include "common/service/session.h"

#define CTL_ADDRS_SIZE 1024u

struct cw_control {
    /* fixed after cw_control_new */
    char cluster[CTL_ADDRS_SIZE], name[CW_OWNER_NAME_SIZE], log_name[CW_OWNER_NAME_SIZE];
    struct cw_locality domain; /* the user's, parts may be empty */
    char region[CW_OWNER_NAME_SIZE];
    struct cw_uuid client_id;
    struct cw_mailbox *to_reactor;
    void (*on_event)(void *user, struct cw_ctl_event *take_ev);
    void *user;
    struct cw_service_opts service_opts;
    pthread_t thread;

    /* the reactor thread's */
    bool closed; /* the session ends: answer calls with a failure at once */

    /* the control thread's */
    struct cw_service *service;
    struct cw_rpc_session *session;
    struct cw_mailbox inbox;
    struct cw_work drain;
    struct cw_rpc_call hello;
    struct cw_locality self;
    struct cw_uuid cluster_id;

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum { CTL_STARTING, CTL_RUNNING, CTL_FAILED } state;
    bool greeted; /* the manager answered once */
    bool leaving; /* nobody posts or stops any more */
    int start_res;
    char trouble[CW_RPC_WHY_SIZE];
};

/* One line of what the manager, or the way to it, said. */
void ctl_error_text(char error[static CW_ENGINE_ERROR_SIZE], const Causeway__Control__Error *e);

/* ask.c: on the control thread. */
void ctl_call_begin(struct cw_control *c, struct cw_ctl_call *call);

/* tell.c: on the control thread. */
void ctl_on_message(struct cw_control *c, const cw_envelope *m, struct cw_rpc_req *take_req);
