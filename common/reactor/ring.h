/* reactor/ring.h - inside the room: the io_uring of a reactor, and requests under way on it.
 *
 * user_data of every SQE is a struct cw_op, embedded in whatever waits for the completion; it must
 * stay where it is until fn was called, so whoever has one under way cannot be freed.
 */
#pragma once

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"

struct cw_op {
    void (*fn)(struct cw_op *, int res, uint32_t cqe_flags);
};

/* A completion taken out of the ring before its turn, because the ring had no room. */
struct cw_ring_stashed {
    struct cw_op *op;
    int res;
    uint32_t flags;
};

struct cw_ring {
    struct io_uring uring;
    bool on;       /* the first turn enables it, which fixes the issuing thread */
    bool buf_ring; /* the kernel picks receive buffers for us */
    uint32_t n_under_way;
    uint64_t n_sqes, n_cqes;

    struct cw_ring_stashed *stash;
    uint32_t n_stash, cap_stash;

    /* receive buffers, all back in the ring at the end of every turn */
    struct io_uring_buf_ring *bufs;
    uint8_t *buf_mem;
    uint32_t n_bufs;
};

#define CW_RECV_BUF_SIZE (64u * 1024)
#define CW_RECV_GROUP 1

int cw_ring_init(struct cw_ring *g, uint32_t sq_entries, uint32_t n_bufs, bool plain);
void cw_ring_fini(struct cw_ring *g);

/* Never NULL; the caller prepares it at once. Everything but user_data is unset. */
struct io_uring_sqe *cw_ring_sqe(struct cw_ring *g, struct cw_op *op);

/* Asks that op ends early; its completion still comes. */
void cw_ring_cancel(struct cw_ring *g, struct cw_op *op);

/* Submits and waits up to wait_ns for one completion. */
int cw_ring_wait(struct cw_ring *g, uint64_t wait_ns);

/* Calls fn of all completions that are there; those that arrive meanwhile wait for the next turn.
 */
void cw_ring_reap(struct cw_ring *g);

/* The buffer that a completion's flags name; given back with cw_ring_buf_return. Without buf_ring
 * there is one scratch buffer, id 0. */
uint8_t *cw_ring_buf(struct cw_ring *g, uint32_t id);
void cw_ring_buf_return(struct cw_ring *g, uint32_t id);
