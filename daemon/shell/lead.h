/* shell/lead.h - a daemon that may lead: the manager inside it, for as long as etcd says so.
 *
 *   FOLLOWING --elected--> LOADING --records read--> LEADING
 *       ^----- deposed, records that it cannot lead ----/
 *
 * On the control thread, on the daemon's own port: whoever asks while another leads is told where
 * that is. The manager begins from the records each time; nothing of an earlier one is left.
 */
#pragma once

#include "common/obs/log.h"
#include "common/service/server.h"
#include "daemon/shell/options.h"

#define CW_LEAD_WHY_SIZE 512

struct cw_lead;

struct cw_lead_opts {
    struct cw_service *service;
    const struct cw_options *options; /* metadata, bootstrap and what goes with them */
    struct cw_rpc_server *server;
    const char *advertise;

    /* Another, or this daemon, leads now; its address. */
    void (*moved)(void *user, const char *addr);
    /* cw_lead_end is over. */
    void (*ended)(void *user);
    void *user;
};

/* 0, or -errno with one line in why. It looks for etcd on later loop turns. opts and what it points
 * to outlive it. */
int cw_lead_new(const struct cw_lead_opts *opts, struct cw_lead **ret,
                char why[static CW_LEAD_WHY_SIZE]);

/* For the server's events: answered by the manager, or with where it is. */
void cw_lead_message(struct cw_lead *l, struct cw_rpc_conn *c, const cw_envelope *m,
                     struct cw_rpc_req *take_req);
void cw_lead_down(struct cw_lead *l, struct cw_rpc_conn *c);

/* Lets another lead, which takes a moment: `ended` follows, within two seconds whatever happens. */
void cw_lead_end(struct cw_lead *l);

/* Connections of the server must be gone. NULL is fine. */
void cw_lead_free(struct cw_lead *l);
