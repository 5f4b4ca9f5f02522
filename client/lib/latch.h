/* lib/latch.h - one thread tells another that something is over.
 *
 * Waits that end by themselves go by CLOCK_MONOTONIC: whoever sets the wall clock ends or prolongs
 * none of them. Lives in the memory of the one that waits, who may free it once it is open.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct cw_latch {
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    bool open;
};

void cw_latch_init(struct cw_latch *l);
void cw_latch_fini(struct cw_latch *l);
/* Once; from any thread. */
void cw_latch_open(struct cw_latch *l);
void cw_latch_wait(struct cw_latch *l);
/* False: it is not open by then. */
bool cw_latch_wait_ms(struct cw_latch *l, uint32_t ms);

/* For conditions of another's own, so that they go by the same clock. */
void cw_latch_cond_init(pthread_cond_t *c);
struct timespec cw_latch_until(uint64_t ms);
