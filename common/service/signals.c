#include "common/service/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/service/service.h"

void
cw_signals_init(struct cw_signals *ss)
{
    ss->n = 0;
}

void
cw_signals_fini(struct cw_signals *ss)
{
    for (uint32_t i = 0; i < ss->n; i++) {
        cw_watch_free(ss->at[i].watch);
        close(ss->at[i].fd);
    }
    ss->n = 0;
}

static void
signal_on_readable(void *user)
{
    struct cw_signal *sig = user;
    struct signalfd_siginfo info;

    if (read(sig->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        sig->fn(sig->user, sig->signo);
}

int
cw_signals_add(struct cw_signals *ss, struct cw_service *s, int signo,
               void (*fn)(void *user, int signo), void *user)
{
    struct cw_signal *sig = &ss->at[ss->n];
    sigset_t set;
    int err;

    if (ss->n == CW_SIGNALS_MAX)
        return -ENOSPC;
    sigemptyset(&set);
    if (sigaddset(&set, signo) != 0)
        return -errno;
    err = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (err != 0)
        return -err;
    *sig = (struct cw_signal){ .signo = signo, .fn = fn, .user = user };
    sig->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (sig->fd < 0)
        return -errno;
    sig->watch = cw_watch_new(s, sig->fd, CW_WATCH_READABLE, signal_on_readable, sig);
    if (sig->watch == NULL) {
        close(sig->fd);
        return -ENOMEM;
    }
    ss->n++;
    return 0;
}
