/* service/server.h - listens on ADDR:PORT (or unix:PATH), greets, and sorts what comes.
 *
 * A peer has 10 s for its HELLO. Kind CONTROL becomes a cw_rpc_conn; kind DATA is handed away with
 * the bytes read so far; everything else is dropped with one line in the log.
 */
#pragma once

#include <stddef.h>

#include "common/service/rpc.h"
#include "common/service/service.h"

struct cw_rpc_server;

struct cw_rpc_server_events {
    /* HELLO was exchanged. */
    void (*on_open)(void *user, struct cw_rpc_conn *);
    /* req is NULL for a one-way message: m is borrowed for the call. Else an answer is owed, and
     * m lives until it is given. */
    void (*on_message)(void *user, struct cw_rpc_conn *, const cw_envelope *m,
                       struct cw_rpc_req *take_req);
    /* Last: calls on it are done, requests of it are orphans. */
    void (*on_down)(void *user, struct cw_rpc_conn *, const char *why);
    /* A data connection: a non-blocking fd whose HELLO was read and checked by form but not yet
     * answered. bytes is the whole HELLO frame as it came (header, checksum, payload). NULL: data
     * connections are refused here. */
    void (*on_data)(void *user, int take_fd, const struct cw_wire_hello *hello, const void *bytes,
                    size_t n_bytes);
};

struct cw_rpc_server_opts {
    const char *listen;        /* "127.0.0.1:0" picks a port; "unix:PATH" */
    struct cw_uuid cluster_id; /* nil: not yet known, every cluster is let in */
    struct cw_uuid self_id;    /* told to peers */
    uint64_t incarnation;
    uint32_t conns_max;                    /* 0: 1024 */
    uint32_t greet_ms;                     /* for the HELLO; 0: 10 s */
    const struct cw_rpc_server_events *ev; /* lives as long as the server */
    void *user;
};

/* 0, or -errno with one line in why: "port 4711 on 127.0.0.1 is in use". */
int cw_rpc_server_new(struct cw_service *s, const struct cw_rpc_server_opts *opts,
                      struct cw_rpc_server **ret, char why[static CW_RPC_WHY_SIZE]);

/* Ends every connection (on_down comes from inside) and closes the port. Not from inside its own
 * callbacks. NULL is fine. */
void cw_rpc_server_free(struct cw_rpc_server *srv);

/* The address with its real port, or "unix:PATH". */
const char *cw_rpc_server_addr(const struct cw_rpc_server *srv);

/* From now on peers of other clusters are refused. */
void cw_rpc_server_set_cluster(struct cw_rpc_server *srv, const struct cw_uuid *cluster_id);
