#include "common/base/timerheap.h"

#include <stdlib.h>

#include "common/base/bits.h"

static void
heap_put(struct cw_timerheap *h, uint32_t i, struct cw_timer *t)
{
    h->at[i] = t;
    t->slot = i + 1;
}

static void
heap_sift_up(struct cw_timerheap *h, uint32_t i, struct cw_timer *t)
{
    while (i > 0 && h->at[(i - 1) / 2]->at_ns > t->at_ns) {
        heap_put(h, i, h->at[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(h, i, t);
}

static void
heap_sift_down(struct cw_timerheap *h, uint32_t i, struct cw_timer *t)
{
    for (;;) {
        uint32_t child = 2 * i + 1;

        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->at[child + 1]->at_ns < h->at[child]->at_ns)
            child++;
        if (h->at[child]->at_ns >= t->at_ns)
            break;
        heap_put(h, i, h->at[child]);
        i = child;
    }
    heap_put(h, i, t);
}

void
cw_timerheap_init(struct cw_timerheap *h)
{
    *h = (struct cw_timerheap){ 0 };
}

void
cw_timerheap_fini(struct cw_timerheap *h)
{
    free(h->at);
    *h = (struct cw_timerheap){ 0 };
}

void
cw_timerheap_set(struct cw_timerheap *h, struct cw_timer *t, uint64_t at_ns)
{
    cw_timerheap_cancel(h, t);
    if (h->n == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 16;
        h->at = reallocarray(h->at, h->cap, sizeof(struct cw_timer *));
        cw_assert(h->at != NULL);
    }
    t->at_ns = at_ns;
    heap_sift_up(h, h->n++, t);
}

void
cw_timerheap_cancel(struct cw_timerheap *h, struct cw_timer *t)
{
    struct cw_timer *last;
    uint32_t i;

    if (t->slot == 0)
        return;
    i = t->slot - 1;
    cw_assert(i < h->n && h->at[i] == t);
    t->slot = 0;
    last = h->at[--h->n];
    if (last == t)
        return;
    if (i > 0 && h->at[(i - 1) / 2]->at_ns > last->at_ns)
        heap_sift_up(h, i, last);
    else
        heap_sift_down(h, i, last);
}

uint64_t
cw_timerheap_next(const struct cw_timerheap *h)
{
    return h->n == 0 ? CW_NEVER : h->at[0]->at_ns;
}

struct cw_timer *
cw_timerheap_pop(struct cw_timerheap *h, uint64_t now_ns)
{
    struct cw_timer *t;

    if (h->n == 0 || h->at[0]->at_ns > now_ns)
        return NULL;
    t = h->at[0];
    cw_timerheap_cancel(h, t);
    return t;
}
