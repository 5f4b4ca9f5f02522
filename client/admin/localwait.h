/* admin/localwait.h - waits until started processes serve.
 *
 * The manager serves when it answers, a member of etcd when its port accepts; a host when the
 * manager calls it up, has this start of it registered and not the one before (which it calls up
 * for some seconds after its end), and its port accepts. If the manager does not run, a host serves
 * when its port accepts.
 */
#pragma once

#include "client/admin/local.h"

#define CW_LOCAL_WAIT_WHY_SIZE 2048

struct cw_local_waited {
    struct cw_local_node *node;
    struct cw_local_proc proc;
    off_t log_at;                /* where the output of this start begins */
    bool spawned;                /* by this run */
    uint64_t incarnation_before; /* of the start before; 0: none was registered */
    bool serves;
};

struct cw_local_wait {
    uint64_t incarnation[CW_LOCAL_NODES_MAX]; /* by place in struct cw_local */
    bool bootstrapped;                        /* a manager has answered */
    uint32_t n;
    struct cw_local_waited at[CW_LOCAL_NODES_MAX];
};

/* n is one of l's. */
void cw_local_wait_add(struct cw_local_wait *w, const struct cw_local *l, struct cw_local_node *n,
                       const struct cw_local_proc *p, off_t log_at, bool spawned);

/* Notes which starts are registered already; before anything is spawned. */
void cw_local_wait_init(struct cw_local_wait *w, const struct cw_local *l);

/* False: one line in why (with the end of the log),
 * *ret_bad is whom it is about or NULL. */
bool cw_local_wait_serving(struct cw_cli *cli, const struct cw_local *l, struct cw_local_wait *w,
                           uint64_t timeout_s, const struct cw_local_waited **ret_bad,
                           char why[static CW_LOCAL_WAIT_WHY_SIZE]);
