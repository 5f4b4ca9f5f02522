/* device/server.h - a back end: the volume, and the kernel's requests on /dev/fuse, on the engine's
 * reactor thread.
 *
 *   OPENING -attached: what a predecessor took is made again, then the kernel is read-> SERVING
 *      \- refused: failed                                  SERVING -stop-> CLOSING -> CLOSED
 *
 * What was fenced, or has another past than the device knows, serves errors: whoever has the device
 * mounted would write what it knows of an older content.
 */
#pragma once

#include <stdint.h>

#include "client/device/slots.h"
#include "client/lib/engine.h"

#define CW_DEVICE_WHY_SIZE 256

struct cw_device_server;

struct cw_device_server_opts {
    struct cw_engine *engine;
    const char *volume;
    int take_fuse_fd; /* of a mount, or one that will be mounted; does not block */
    int slots_fd;     /* borrowed for the call */
    bool read_only;
    bool force; /* take the volume over, also from an owner that is alive; the first time only */

    /* Reactor thread, not from inside a call. It serves; once. */
    void (*serving)(void *user, uint64_t size_bytes, uint32_t n_again);
    void (*resized)(void *user, uint64_t size_bytes);
    /* It serves errors from now on; why is one line. */
    void (*fenced)(void *user, const char *why);
    /* It never served; stop it all the same. */
    void (*failed)(void *user, const char *why);
    void *user;
};

/* Reactor thread. 0, or a negative errno and why. Strings are copied. */
int cw_device_server_new(const struct cw_device_server_opts *opts, struct cw_device_server **ret_s,
                         char why[static CW_DEVICE_WHY_SIZE]);

/* Reactor thread. Nothing more is taken from the kernel, what was taken is answered, the volume is
 * released. `stopped` is called once, on the reactor thread, not from inside; clean is false if the
 * release was not confirmed. */
void cw_device_server_stop(struct cw_device_server *s, void (*stopped)(void *user, bool clean),
                           void *user);

/* Reactor thread, from stopped on. NULL is fine. */
void cw_device_server_free(struct cw_device_server *s);
