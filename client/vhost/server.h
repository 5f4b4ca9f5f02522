/* vhost/server.h - causeway-vhost's volume, socket and front end on the engine's reactor thread.
 *
 *   OPENING -attached: listens-> SERVING -stop-> STOPPING -released-> stopped
 *       \- refused: failed           \- taken over by another client: every request fails until the
 *                                       front end has gone; then failed
 *
 * The volume is attached before the socket appears and released at the end; front ends come and go
 * meanwhile, one at a time. No thread hand-off lies between a guest's kick and the volume's owner.
 */
#pragma once

#include <stdint.h>

#include "client/lib/engine.h"

#define CW_VHOST_WHY_SIZE 256

struct cw_vhost_server;

struct cw_vhost_server_opts {
    struct cw_engine *engine;
    const char *volume;
    const char *socket;   /* path of a unix socket */
    uint32_t socket_mode; /* of its file; 0: 0600 */
    bool force;           /* take the volume over, also from an owner that is alive */
    bool read_only;
    uint32_t block_bytes; /* 512 or 4096 */
    uint32_t n_queues;
    uint32_t retry_ms; /* of VOLUME_IN_USE, 0: 30000 */

    /* Reactor thread, not from inside a call. It listens; once. */
    void (*serving)(void *user, const char *addr);
    /* It does not serve any more, or never will: why is one line. fenced: somebody else has the
     * volume, so that a guest that went on later would write what it knows of an older disk. Stop
     * it all the same. */
    void (*failed)(void *user, bool fenced, const char *why);
    void *user;
};

/* Reactor thread. NULL: out of memory. Strings are copied. */
struct cw_vhost_server *cw_vhost_server_new(const struct cw_vhost_server_opts *opts);

/* Reactor thread. What was taken is answered, the volume is released. `stopped` is called once, on
 * the reactor thread, not from inside; clean is false if the release was not confirmed. */
void cw_vhost_server_stop(struct cw_vhost_server *s, void (*stopped)(void *user, bool clean),
                          void *user);

/* Reactor thread, from stopped on. NULL is fine. */
void cw_vhost_server_free(struct cw_vhost_server *s);
