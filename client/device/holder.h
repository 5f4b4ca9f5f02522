/* device/holder.h - the process that keeps a device, so that its back end may end and come again.
 *
 *   mounting --> back end opens the volume --> loop device --> UP --SIGTERM--> the loop device lets
 *       \-- adopted from a holder that was killed ----------/        go --> back end --> nothing
 * left
 *
 * It has the descriptor of the FUSE mount and the requests under way (slots.h), and neither threads
 * nor sockets to the cluster: there is little in it that can fail. A back end that ends is started
 * again, SIGHUP starts a new one in the place of a healthy one (after an update), and meanwhile the
 * kernel's requests wait. Whatever may wait for the back end is done by a process of its own, never
 * by this one.
 *
 * If it is killed itself the back end goes on, and the next holder of this volume takes the
 * descriptors over from it (pidfd_getfd), or from the service manager (FDSTORE). Only when both
 * processes die and no service manager keeps the descriptors is the mount gone: then the device
 * gives errors, and the next attach takes away what is left.
 */
#pragma once

#include "client/device/backend.h"

struct cw_holder_opts {
    struct cw_backend_opts backend;
    uint32_t block_bytes;
    bool background; /* return in the caller once it serves; the device goes on by itself */
};

/* Prints the device's path on stdout once it is there. Returns the exit status; not in the process
 * that goes on in the background. */
int cw_holder_run(const struct cw_holder_opts *opts);

/* Ends the device of this volume and takes away all that is left of it. Exit status; prints what is
 * wrong. */
int cw_holder_detach(const char *volume);
