/* lib/latch.c - one thread tells another that something is over. */
#include "client/lib/latch.h"

void
cw_latch_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

struct timespec
cw_latch_until(uint64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

void
cw_latch_init(struct cw_latch *l)
{
    pthread_mutex_init(&l->mutex, NULL);
    cw_latch_cond_init(&l->opened);
    l->open = false;
}

void
cw_latch_fini(struct cw_latch *l)
{
    pthread_cond_destroy(&l->opened);
    pthread_mutex_destroy(&l->mutex);
}

void
cw_latch_open(struct cw_latch *l)
{
    pthread_mutex_lock(&l->mutex);
    l->open = true;
    pthread_cond_signal(&l->opened);
    pthread_mutex_unlock(&l->mutex);
}

void
cw_latch_wait(struct cw_latch *l)
{
    pthread_mutex_lock(&l->mutex);
    while (!l->open)
        pthread_cond_wait(&l->opened, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
}

bool
cw_latch_wait_ms(struct cw_latch *l, uint32_t ms)
{
    struct timespec until = cw_latch_until(ms);
    bool open;

    pthread_mutex_lock(&l->mutex);
    while (!l->open && pthread_cond_timedwait(&l->opened, &l->mutex, &until) == 0)
        ;
    open = l->open;
    pthread_mutex_unlock(&l->mutex);
    return open;
}
