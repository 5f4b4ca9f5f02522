/* device/slots.h - the requests that a back end has taken from the kernel and not answered, in
 * memory that outlives it.
 *
 *   kernel --read()--> slot --answered--> unique = 0
 *
 * /dev/fuse gives a request away once. A back end that is killed would take it along, and whoever
 * waits for it would wait for ever. So requests are read into slots of a memfd, and a slot that
 * holds a request is in use by that alone: the kernel writes header and data inside one read(),
 * which SIGKILL does not cut short, and there is no instant at which a request is out of the kernel
 * and not in its slot. The next back end makes again what it finds, in the order of `unique`.
 *
 * That holds only while the kernel finds every page of a slot there: it gives a copy up if it would
 * have to fault one in for a process that is being killed. So all of it is mapped, touched and
 * locked before the first read.
 *
 * One thread of one process at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CW_SLOTS_N 128u
#define CW_SLOTS_WHY_SIZE 256

struct cw_slots_head;

struct cw_slots {
    struct cw_slots_head *head;
    size_t map_len;
};

/* What a back end tells the next one. */
struct cw_slots_past {
    uint32_t gen;        /* of the volume when it was last attached here; 0: never */
    uint32_t tries;      /* attaches begun since then */
    uint64_t size_bytes; /* of the device */
    bool fenced; /* the volume's content may have changed under the device: nothing is served */
};

/* *ret_fd: a memfd, all slots free. */
int cw_slots_create(int *ret_fd);

/* Maps fd, which stays the caller's. Negative errno; -EPROTO: it is not ours, or of another
 * version. why: one line. */
int cw_slots_map(int fd, struct cw_slots *ret, char why[static CW_SLOTS_WHY_SIZE]);
void cw_slots_unmap(struct cw_slots *s);

/* CW_FUSE_REQUEST_MAX bytes, page-aligned. index below CW_SLOTS_N. */
void *cw_slots_at(const struct cw_slots *s, uint32_t index);
/* Of the request in it; 0: it is free. */
uint64_t cw_slots_unique(const struct cw_slots *s, uint32_t index);
void cw_slots_clear(const struct cw_slots *s, uint32_t index);

/* Slots in use, oldest request first. Returns how many. */
uint32_t cw_slots_left(const struct cw_slots *s, uint32_t ret[static CW_SLOTS_N]);

void cw_slots_past(const struct cw_slots *s, struct cw_slots_past *ret);
void cw_slots_set_past(const struct cw_slots *s, const struct cw_slots_past *past);

/* May a device go on with the volume's gen, after what was before? Every attach has a gen of its
 * own; one that none of our tries can have had was somebody else's. */
bool cw_slots_gen_fits(const struct cw_slots_past *past, uint32_t gen);
