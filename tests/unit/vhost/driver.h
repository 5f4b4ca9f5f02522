/* vhost/driver.h - a guest's memory and driver for one ring, in both forms, for tests of the ring.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/vhost/ring.h"

#define DRIVER_MEM (256u * 1024)
#define DRIVER_BASE UINT64_C(0x100000) /* guest addresses; the front end's are USER more */
#define DRIVER_USER UINT64_C(0x7f0000000000)
#define DRIVER_DESC 0u
#define DRIVER_AVAIL 0x5000u
#define DRIVER_USED 0x6000u
#define DRIVER_DATA 0x10000u

struct driver {
    uint8_t *mem; /* DRIVER_MEM bytes, exactly, so that checkers see what is outside */
    struct cw_guest guest;
    struct cw_vq *vq;
    void *area; /* NULL: nothing is kept */
    uint16_t size, avail, used;
    bool packed, event_idx, avail_wrap, used_wrap;
    struct cw_vq_chain *chain; /* the last that was popped */
};

/* area: in-flight is kept. */
struct driver *driver_new(bool packed, uint16_t size, bool area);
void driver_free(struct driver *d);

/* The back end was killed and another begins; returns what start says. The base is where the used
 * ring stood, as QEMU says it. */
int driver_restart(struct driver *d);

struct cw_virtq_desc *driver_desc(struct driver *d, uint16_t i);
struct cw_packed_desc *driver_slot(struct driver *d, uint16_t i);
void driver_put_desc(struct driver *d, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
                     uint16_t next);
/* Split: makes a head available. */
void driver_offer(struct driver *d, uint16_t head);
/* A chain of one readable and one writable descriptor at i and i + 1 (packed: where the ring
 * stands, with buffer id i). */
void driver_add(struct driver *d, uint16_t i);
/* Takes a used entry: true, *ret_id and *ret_len. */
bool driver_reap(struct driver *d, uint16_t n_slots, uint32_t *ret_id, uint32_t *ret_len);

int driver_pop(struct driver *d);
