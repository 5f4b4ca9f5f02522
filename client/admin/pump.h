/* admin/pump.h - a deep queue between a file and a volume.
 *
 *   the command's thread: cw_pump_get --> fill --> cw_pump_submit
 *   the reactor thread:   submits the slot's requests; the last completion gives the slot back
 *
 * Slots come back in any order.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "client/admin/volio.h"
#include "common/owner/owner.h"

#define CW_PUMP_SLOTS 16
#define CW_PUMP_BYTES CW_MIB
#define CW_PUMP_RUNS (CW_PUMP_BYTES / CW_BLOCK_SIZE / 2)

struct cw_pump;

struct cw_pump_slot {
    struct cw_pump *pump;
    struct cw_engine_task task;
    uint8_t *data;     /* CW_PUMP_BYTES, 4096-aligned */
    uint64_t off, len; /* of the piece that data holds */
    bool used;         /* it comes back with a result */
    int res;           /* of a slot that came back: the first that failed, or 0 */
    uint32_t n_ios, n_left;
    struct cw_io io[CW_PUMP_RUNS];
    struct iovec iov[CW_PUMP_RUNS];
    struct cw_pump_slot *next; /* in the list of free ones */
};

struct cw_pump {
    struct cw_volio *vio;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    struct cw_pump_slot *free; /* under mutex, with n_free */
    uint32_t n_free;
    struct cw_pump_slot *slots;
    uint8_t *data;
};

/* Aborts if out of memory. */
void cw_pump_init(struct cw_pump *p, struct cw_volio *vio);

/* All slots have come back. */
void cw_pump_fini(struct cw_pump *p);

/* A free slot, or NULL after 100 ms without one, so that the caller can look around. */
struct cw_pump_slot *cw_pump_get(struct cw_pump *p);

/* Gives an unused slot back. */
void cw_pump_put(struct cw_pump *p, struct cw_pump_slot *s);

/* Adds a request on [off, off + len) of the volume, whose data lies in s->data at off - s->off. */
void cw_pump_add(struct cw_pump_slot *s, enum cw_io_op op, uint64_t off, uint64_t len);

/* Submits what was added, at least one. */
void cw_pump_submit(struct cw_pump_slot *s);

/* Waits for all slots, at most timeout_ms. */
bool cw_pump_drain(struct cw_pump *p, uint64_t timeout_ms);
