/* shell/dial.h - a data link to a disk somewhere: its unix socket if it is on this machine, else
 * (or when that fails) TCP. Data thread. */
#pragma once

#include "common/base/uuid.h"
#include "common/reactor/link.h"

/* Made by cw_dial_start, gone after done. */
struct cw_dial {
    struct cw_link_connect connect;
    struct cw_reactor *r;
    char addr[80];
    char unix_addr[112]; /* "unix:PATH", or empty */

    /* Once, later. res 0: l is up, the callee sets ev and user. Negative: -ENXIO, -ESTALE when that
     * daemon does not serve the disk, or this format of it. */
    void (*done)(struct cw_dial *, int res, struct cw_link *l, const struct cw_wire_hello *reply);
    void *user;
    uint64_t number;
    struct cw_uuid disk_uuid;
    uint64_t format_id;
    struct cw_list link; /* the user's */
};

struct cw_dial_to {
    const char *addr, *unix_path; /* unix_path: "" if it is not on this machine */
    struct cw_uuid disk_uuid, cluster_id, self_id;
    uint64_t format_id, incarnation;
    uint32_t credit_ops;
    uint64_t credit_bytes;
};

struct cw_dial *cw_dial_new(struct cw_reactor *r, const struct cw_dial_to *to);
void cw_dial_start(struct cw_dial *d);
