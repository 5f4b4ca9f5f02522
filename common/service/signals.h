/* service/signals.h - signals as readable descriptors; part of cw_service.
 *
 * signalfd and not a handler: handlers are process-wide state, and two loops in one process may
 * both exist.
 */
#pragma once

#include <stdint.h>

#define CW_SIGNALS_MAX 8

struct cw_service;
struct cw_watch;

struct cw_signal {
    int fd, signo;
    struct cw_watch *watch;
    void (*fn)(void *user, int signo);
    void *user;
};

struct cw_signals {
    struct cw_signal at[CW_SIGNALS_MAX];
    uint32_t n;
};

void cw_signals_init(struct cw_signals *ss);
void cw_signals_fini(struct cw_signals *ss);

/* As cw_service_on_signal. */
int cw_signals_add(struct cw_signals *ss, struct cw_service *s, int signo,
                   void (*fn)(void *user, int signo), void *user);
