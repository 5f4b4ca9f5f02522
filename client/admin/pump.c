#include "client/admin/pump.h"

#include <stdlib.h>

#include "client/lib/latch.h"
#include "common/base/bits.h"

#define WAIT_MS 100

void
cw_pump_init(struct cw_pump *p, struct cw_volio *vio)
{
    *p = (struct cw_pump){ .vio = vio };
    pthread_mutex_init(&p->mutex, NULL);
    cw_latch_cond_init(&p->cond);
    p->slots = calloc(CW_PUMP_SLOTS, sizeof(*p->slots));
    p->data = aligned_alloc(CW_BLOCK_SIZE, CW_PUMP_SLOTS * CW_PUMP_BYTES);
    if (p->slots == NULL || p->data == NULL)
        abort();
    for (uint32_t i = 0; i < CW_PUMP_SLOTS; i++) {
        p->slots[i].pump = p;
        p->slots[i].data = p->data + i * CW_PUMP_BYTES;
        cw_pump_put(p, &p->slots[i]);
    }
}

void
cw_pump_fini(struct cw_pump *p)
{
    pthread_cond_destroy(&p->cond);
    pthread_mutex_destroy(&p->mutex);
    free(p->slots);
    free(p->data);
}

void
cw_pump_put(struct cw_pump *p, struct cw_pump_slot *s)
{
    pthread_mutex_lock(&p->mutex);
    s->next = p->free;
    p->free = s;
    p->n_free++;
    pthread_cond_signal(&p->cond);
    pthread_mutex_unlock(&p->mutex);
}

/* Waits until n slots are free. Returns with the mutex held. */
static bool
pump_wait(struct cw_pump *p, uint32_t n, uint64_t timeout_ms)
{
    struct timespec until = cw_latch_until(timeout_ms);
    int res = 0;

    pthread_mutex_lock(&p->mutex);
    while (p->n_free < n && res == 0)
        res = pthread_cond_timedwait(&p->cond, &p->mutex, &until);
    return p->n_free >= n;
}

struct cw_pump_slot *
cw_pump_get(struct cw_pump *p)
{
    struct cw_pump_slot *s = NULL;

    if (pump_wait(p, 1, WAIT_MS)) {
        s = p->free;
        p->free = s->next;
        p->n_free--;
    }
    pthread_mutex_unlock(&p->mutex);
    return s;
}

bool
cw_pump_drain(struct cw_pump *p, uint64_t timeout_ms)
{
    bool all = pump_wait(p, CW_PUMP_SLOTS, timeout_ms);

    pthread_mutex_unlock(&p->mutex);
    return all;
}

static void
pump_on_done(struct cw_io *io, int res)
{
    struct cw_pump_slot *s = io->user;

    if (res != 0 && s->res == 0)
        s->res = res;
    if (--s->n_left == 0)
        cw_pump_put(s->pump, s);
}

static void
pump_do_submit(struct cw_engine_task *t)
{
    struct cw_pump_slot *s = cw_container_of(t, struct cw_pump_slot, task);
    uint32_t n = s->n_ios; /* once the last is submitted the slot is not ours to read */

    s->n_left = n;
    for (uint32_t i = 0; i < n; i++)
        cw_engine_submit(s->pump->vio->volume, &s->io[i]);
}

void
cw_pump_add(struct cw_pump_slot *s, enum cw_io_op op, uint64_t off, uint64_t len)
{
    uint32_t i = s->n_ios++;

    cw_assert(i < CW_PUMP_RUNS);
    s->iov[i] = (struct iovec){ .iov_base = s->data + (off - s->off), .iov_len = len };
    s->io[i] = (struct cw_io){ .op = op, .off = off, .len = len, .done = pump_on_done, .user = s };
    if (op == CW_IO_READ || op == CW_IO_WRITE) {
        s->io[i].iov = &s->iov[i];
        s->io[i].n_iov = 1;
    }
}

void
cw_pump_submit(struct cw_pump_slot *s)
{
    cw_assert(s->n_ios > 0);
    s->used = true;
    s->res = 0;
    s->task.fn = pump_do_submit;
    cw_engine_post(s->pump->vio->engine, &s->task);
}
