/* vhost/ring-internal.h - what the two forms of a virtqueue share. */
#pragma once

#include <errno.h>
#include <string.h>

#include "client/vhost/ring.h"
#include "common/base/bits.h"

/* The guest's memory changes while we look: each value is read and written once, as one. */
#define vq_load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define vq_store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define vq_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* 16 bytes of a descriptor, once. */
static inline void
vq_desc_load(const void *from, void *to)
{
    const uint64_t *in = from;
    uint64_t both[2] = { vq_load(&in[0]), vq_load(&in[1]) };

    memcpy(to, both, sizeof(both));
}

static inline int
vq_break(struct cw_vq *q, const char *why)
{
    q->why = why;
    return -EPROTO;
}

/* Was `event` passed between old and now, all modulo 2^16? (virtio 1.2, 2.7.10) */
static inline bool
vq_passed(uint16_t event, uint16_t now, uint16_t old)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* ring.c */
int vq_seg_add(struct cw_vq *q, struct cw_vq_chain *c, uint64_t addr, uint32_t len, bool write);
/* Copies a table of so many bytes; how many descriptors, or -EPROTO. */
int vq_indirect_load(struct cw_vq *q, const struct cw_guest *g, uint64_t addr, uint32_t len,
                     void *to);
void vq_sort_again(struct cw_vq *q, uint64_t (*counter)(const struct cw_vq *q, uint16_t i));

/* split.c, packed.c */
int vq_split_start(struct cw_vq *q);
int vq_split_pop(struct cw_vq *q, const struct cw_guest *g, struct cw_vq_chain *ret);
void vq_split_push(struct cw_vq *q, const struct cw_vq_token *t, uint32_t written);
bool vq_split_signal_due(struct cw_vq *q);
bool vq_split_rearm(struct cw_vq *q);

int vq_packed_start(struct cw_vq *q);
int vq_packed_pop(struct cw_vq *q, const struct cw_guest *g, struct cw_vq_chain *ret);
void vq_packed_push(struct cw_vq *q, const struct cw_vq_token *t, uint32_t written);
bool vq_packed_signal_due(struct cw_vq *q);
bool vq_packed_more(struct cw_vq *q);
