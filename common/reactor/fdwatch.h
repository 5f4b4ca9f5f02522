/* reactor/fdwatch.h - waits until a descriptor is readable, for protocols that pass descriptors.
 *
 * Bytes that come with descriptors are received by their user, who asks again when it has taken
 * what was there. An eventfd or a socket; it should not block.
 */
#pragma once

#include "common/reactor/reactor.h"

struct cw_fdwatch;

/* Takes over fd. ready: once for each arm, never from inside it. NULL: out of memory (fd is
 * closed). */
struct cw_fdwatch *cw_fdwatch_new(struct cw_reactor *r, int take_fd, void (*ready)(void *user),
                                  void *user);

/* Calls ready when there is something to read, at once if there is already, or when the other end
 * is gone. One at a time. */
void cw_fdwatch_arm(struct cw_fdwatch *w);

/* No ready afterwards. The descriptor is closed once the kernel has let go of it. NULL is fine. */
void cw_fdwatch_close(struct cw_fdwatch *w);

int cw_fdwatch_fd(const struct cw_fdwatch *w);
