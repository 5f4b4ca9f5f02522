/* shell/watchdog.h - tells the service manager that the loops still turn (WATCHDOG_USEC).
 *
 * The control loop sends it from a timer of its own; on a host each one first goes to the data
 * thread and back, so that one thread that hangs is enough to be found out.
 */
#pragma once

#include <stdbool.h>

#include "common/base/env.h"

struct cw_watchdog {
    struct cw_env *env;
    struct cw_timer timer;
    uint64_t every_ns;
    /* Asks the other loop, whose answer is told by cw_watchdog_alive; NULL: there is none. */
    void (*ask)(void *user);
    void *user;
    bool asked;
};

/* Does nothing if no watchdog is asked for. */
void cw_watchdog_start(struct cw_watchdog *w, struct cw_env *env, void (*ask)(void *user),
                       void *user);
void cw_watchdog_alive(struct cw_watchdog *w);
void cw_watchdog_stop(struct cw_watchdog *w);
