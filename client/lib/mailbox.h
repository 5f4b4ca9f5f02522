/* lib/mailbox.h - work for another thread: a lock-free stack that its receiver empties at once.
 *
 * Tasks are embedded in what they are about, so the queue is bounded by what exists. The poster who
 * finds it empty wakes the receiver; while the receiver has not looked yet nobody else does.
 */
#pragma once

#include <stdatomic.h>

#include "client/lib/engine.h"

struct cw_mailbox {
    _Atomic(struct cw_engine_task *) head;
    void (*wake)(void *arg); /* any thread; afterwards the receiver calls cw_mailbox_run */
    void *arg;
};

/* Any thread. */
static inline void
cw_mailbox_post(struct cw_mailbox *m, struct cw_engine_task *t)
{
    struct cw_engine_task *head = atomic_load_explicit(&m->head, memory_order_relaxed);

    do {
        t->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&m->head, &head, t, memory_order_release,
                                                    memory_order_relaxed));
    if (head == NULL)
        m->wake(m->arg);
}

/* Receiver: runs what is there, in the order of posting. */
static inline void
cw_mailbox_run(struct cw_mailbox *m)
{
    struct cw_engine_task *t = atomic_exchange_explicit(&m->head, NULL, memory_order_acquire);
    struct cw_engine_task *first = NULL;

    while (t != NULL) {
        struct cw_engine_task *next = t->next;

        t->next = first;
        first = t;
        t = next;
    }
    while (first != NULL) {
        t = first;
        first = t->next;
        t->fn(t);
    }
}
