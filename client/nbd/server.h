/* nbd/server.h - causeway-nbd's sockets, connections and exports on the engine's reactor thread.
 *
 *   listener -> client (one connection: stream + state machine) -> export (one attached volume)
 *
 * An export comes into being at the first GO that names it and is released 2 s after its last
 * connection ended. No thread hand-off lies between a client's bytes and the volume's owner.
 */
#pragma once

#include <stdint.h>

#include "client/lib/engine.h"

#define CW_NBD_WHY_SIZE 256

struct cw_nbd_server;

struct cw_nbd_server_opts {
    struct cw_engine *engine;
    const char *volume; /* the only export, also under the empty name; NULL: every volume */
    const char *socket; /* path of a unix socket; NULL: none */
    const char *listen; /* "ADDR:PORT"; NULL: none */
    bool force;         /* the first attach of each export takes the volume over, later ones wait */
    uint32_t linger_ms; /* 0: 2000 */
    uint32_t retry_ms;  /* of VOLUME_IN_USE, 0: 10000 */
    uint32_t greet_ms;  /* how long a client may take to choose an export, 0: 60000 */
    uint32_t conns_max; /* 0: what the engine's memory allows */
    uint32_t export_conns_max; /* of one export, 0: no limit of its own */
    uint64_t window_bytes;     /* in flight per connection at most, 0: 16 MiB; less when there are
                                * many connections, for all of them share half the memory */
};

/* Reactor thread. 0, or a negative errno with one line in why. Strings are borrowed for the call.
 */
int cw_nbd_server_new(const struct cw_nbd_server_opts *opts, struct cw_nbd_server **ret_s,
                      char why[static CW_NBD_WHY_SIZE]);

/* Reactor thread. Ends everything: what was taken is answered, volumes are released. `stopped` is
 * called once, on the reactor thread, not from inside; clean is false if a release was not
 * confirmed. */
void cw_nbd_server_stop(struct cw_nbd_server *s, void (*stopped)(void *user, bool clean),
                        void *user);

/* Reactor thread, from stopped on. NULL is fine. */
void cw_nbd_server_free(struct cw_nbd_server *s);

/* Where it listens: "127.0.0.1:10809" with the real port, or "unix:PATH"; reactor thread. */
const char *cw_nbd_server_addr(const struct cw_nbd_server *s);
