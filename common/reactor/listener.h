/* reactor/listener.h - a listening TCP or unix socket on a reactor. */
#pragma once

#include <stdint.h>

#include "common/reactor/disk.h" /* CW_WHY_SIZE */
#include "common/reactor/reactor.h"

struct cw_listener;

struct cw_listener_opts {
    const char *addr;   /* "ADDR:PORT" (port 0: any free one), or "unix:PATH" */
    uint32_t unix_mode; /* file mode of a unix socket; 0: 0600 */
    /* A connection; the callee owns take_fd (cw_link_adopt, cw_stream_new, close). */
    void (*on_accept)(void *user, int take_fd);
    void *user;
};

/* A unix socket appears at PATH by rename once it accepts; a dead one there is replaced, a live one
 * is -EADDRINUSE. `why` as in disk.h. */
int cw_listener_open(struct cw_reactor *r, const struct cw_listener_opts *opts,
                     struct cw_listener **ret_l, char why[static CW_WHY_SIZE]);

/* No on_accept afterwards. A unix socket's path is removed if it is still ours. NULL is fine. */
void cw_listener_close(struct cw_listener *l);

/* "127.0.0.1:4711" with the real port, or "unix:PATH". */
const char *cw_listener_addr(const struct cw_listener *l);
