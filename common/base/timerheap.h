/* base/timerheap.h - a binary heap of struct cw_timer, earliest first.
 *
 * The world's side of env.h: reactor, service loop and simulator each hold one. Equal times fire in
 * no promised order. Grows by doubling; not thread safe.
 */
#pragma once

#include <stdint.h>

#include "common/base/env.h"

struct cw_timerheap {
    struct cw_timer **at;
    uint32_t n, cap;
};

void cw_timerheap_init(struct cw_timerheap *h);
void cw_timerheap_fini(struct cw_timerheap *h);
void cw_timerheap_set(struct cw_timerheap *h, struct cw_timer *t, uint64_t at_ns);
void cw_timerheap_cancel(struct cw_timerheap *h, struct cw_timer *t);

/* When the earliest fires; CW_NEVER if none is armed. */
uint64_t cw_timerheap_next(const struct cw_timerheap *h);

/* Takes out and returns a timer due at now_ns, NULL if none. The caller then calls its fn. */
struct cw_timer *cw_timerheap_pop(struct cw_timerheap *h, uint64_t now_ns);
