/* mem/buf.h - counted, 4 KiB-aligned I/O buffers charged to a budget.
 *
 * Whatever a peer, a guest or a user can make grow lies in one of these, so that the budget is the
 * one place where memory ends. An empty budget is back-pressure, not failure: the caller waits.
 * One pool belongs to one thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/list.h"

#define CW_BUF_SIZE_MAX (2 * CW_MIB)

struct cw_buf_pool;

struct cw_buf {
    uint8_t *data; /* 4096-aligned */
    uint32_t size; /* usable bytes, a multiple of 4096 */
    uint32_t refs;
    struct cw_buf_pool *pool;
    struct cw_list link; /* the holder's; the pool's while free */
};

/* limit_bytes bounds the sum of the sizes handed out and cached, which is what is resident. NULL if
 * out of memory. */
struct cw_buf_pool *cw_buf_pool_new(uint64_t limit_bytes);

/* How whole pages go back to the system while their addresses stay valid; their content may be
 * lost. Without it small buffers that were used once stay resident. */
void cw_buf_pool_set_give_back(struct cw_buf_pool *p, void (*give_back)(void *mem, size_t len));

/* All buffers must have come back. NULL is fine. */
void cw_buf_pool_free(struct cw_buf_pool *p);

/* Bytes handed out now, and charged; with those cached. */
uint64_t cw_buf_pool_used(const struct cw_buf_pool *p);
uint64_t cw_buf_pool_resident(const struct cw_buf_pool *p);
uint64_t cw_buf_pool_limit(const struct cw_buf_pool *p);

/* For memory that lies elsewhere and that a peer can make grow: it takes the place of buffers.
 * Never refused, so whoever charges bounds how much; beyond the limit nothing is handed out. */
void cw_buf_pool_charge(struct cw_buf_pool *p, uint64_t bytes);
void cw_buf_pool_uncharge(struct cw_buf_pool *p, uint64_t bytes);

/* At least len bytes (1..CW_BUF_SIZE_MAX), content undefined, one reference. NULL when the budget
 * does not allow it. Sizes are 4 KiB, 16 KiB, 64 KiB, 256 KiB, 1 MiB + 64 KiB or 2 MiB. */
struct cw_buf *cw_buf_get(struct cw_buf_pool *p, size_t len);

struct cw_buf *cw_buf_ref(struct cw_buf *b);

/* The last reference returns it to its pool. NULL is fine. */
void cw_buf_unref(struct cw_buf *b);
