/* vhost/ring.h - one virtqueue: chains of descriptors out of the guest's memory, and back.
 *
 *   STOPPED -start-> pop chain .. push chain .. -stop (nothing under way)-> STOPPED
 *                       \- nonsense: broken, `why` says what; nothing is popped any more
 *
 * The ring lies in memory that the guest changes at will. Every index and descriptor is read once,
 * into memory of ours, and checked there: a chain does not visit more descriptors than its table
 * has, what is readable comes before what is writable, and what is under way is not made available
 * again. Addresses of data are only looked up when it is copied (guest.h).
 *
 * In flight (optional): memory that the front end keeps for us. What was popped and not pushed is
 * noted there, so that the next process pops it again, in the old order, before anything new.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/vhost/guest.h"
#include "client/vhost/spec.h"

#define CW_VQ_SIZE_MAX 1024u

struct cw_vq_seg {
    uint64_t addr; /* the guest's */
    uint32_t len;  /* not 0 */
};

/* What push wants to know of a chain again. */
struct cw_vq_token {
    uint16_t id;      /* split: the head's index; packed: the buffer's id */
    uint16_t n_slots; /* packed: descriptors in the ring */
    uint16_t entry;   /* packed: its head in the area of what is in flight */
};

struct cw_vq_chain {
    struct cw_vq_token token;
    uint32_t n_out, n_in;     /* segments that we read, then those that we write */
    uint64_t out_len, in_len; /* bytes; together below 4 GiB */
    struct cw_vq_seg seg[CW_VQ_SIZE_MAX];
};

/* Zero-initialised it is stopped; size and addresses are set before start. */
struct cw_vq {
    /* what the front end said */
    uint16_t size; /* 1..CW_VQ_SIZE_MAX; of a split ring a power of two */
    uint32_t base;
    uint64_t desc_user, avail_user, used_user;
    bool packed, event_idx, indirect;

    bool started;
    const char *why;              /* not NULL: broken */
    uint8_t *desc, *avail, *used; /* packed: the ring, the driver's events, ours */
    uint16_t next_avail, next_used, told_used;
    bool avail_wrap, used_wrap; /* packed */
    bool told;                  /* told_used is where the driver was last told */

    uint32_t n_flying;                    /* popped and not pushed; packed: their descriptors */
    uint64_t flying[CW_VQ_SIZE_MAX / 64]; /* split: bit per head; packed: bit per area entry */

    void *area; /* struct cw_vu_split_region or cw_vu_packed_region; NULL: none */
    uint64_t counter;
    uint32_t n_again, at_again; /* popped by a process before us */
    uint16_t again[CW_VQ_SIZE_MAX];
};

/* Of an area for one ring of so many descriptors; a multiple of 64. */
uint64_t cw_vq_area_bytes(bool packed, uint16_t size);

/* area: NULL, or at least cw_vq_area_bytes for the ring's size, aligned to 8. -EFAULT: the ring is
 * not in the guest's memory; -EINVAL: its addresses are not aligned, or the area holds nonsense. */
int cw_vq_start(struct cw_vq *q, const struct cw_guest *g, void *area);

/* The table of regions has changed: -EFAULT: the ring is not there any more, it must not be used.
 */
int cw_vq_resolve(struct cw_vq *q, const struct cw_guest *g);

/* Nothing that was popped is under way. ret: for GET_VRING_BASE. If nothing waits to be popped
 * again either, the area is void from now on. */
uint32_t cw_vq_stop(struct cw_vq *q);

/* 1: *ret; 0: there is none; -EPROTO: broken. */
int cw_vq_pop(struct cw_vq *q, const struct cw_guest *g, struct cw_vq_chain *ret);

/* What lies in the guest's memory and is changed by us, for its dirty log: after start, push and
 * rearm. */
void cw_vq_dirty(const struct cw_vq *q, const struct cw_guest *g);

/* Gives a chain back of which `written` bytes were written. */
void cw_vq_push(struct cw_vq *q, const struct cw_vq_token *t, uint32_t written);

/* Does the driver want to be told of what was pushed since this was last asked? */
bool cw_vq_signal_due(struct cw_vq *q);

/* Asks the driver to kick when it adds more; true: it has added more already. */
bool cw_vq_rearm(struct cw_vq *q);
