#include "common/reactor/helper.h"

#include <pthread.h>
#include <time.h>

#include "common/base/bits.h"
#include "common/reactor/internal.h"

int
cw_helper_start(struct cw_reactor *r, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t t;
    int err;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    err = pthread_create(&t, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    if (err == 0) {
        r->n_helpers++;
        r->stats.helpers++;
    }
    return -err;
}

void
cw_helper_post(struct cw_reactor *r, struct cw_inbox_item *item)
{
    const struct timespec nap = { .tv_nsec = (long)CW_NS_PER_MS };

    while (!cw_reactor_post(r, item))
        nanosleep(&nap, NULL);
}

void
cw_helper_done(struct cw_reactor *r)
{
    cw_assert(r->n_helpers > 0);
    r->n_helpers--;
}
