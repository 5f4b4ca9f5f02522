/* vhost/ring.c - what both forms of a virtqueue have in common. */
#include "client/vhost/ring-internal.h"

/* ---- chains ---- */

int
vq_seg_add(struct cw_vq *q, struct cw_vq_chain *c, uint64_t addr, uint32_t len, bool write)
{
    uint32_t n = c->n_out + c->n_in;

    if (len == 0)
        return vq_break(q, "a descriptor is empty");
    if (n == CW_VQ_SIZE_MAX)
        return vq_break(q, "a chain is too long");
    if (!write && c->n_in > 0)
        return vq_break(q, "a readable descriptor comes after a writable one");
    if (c->out_len + c->in_len + len > UINT32_MAX)
        return vq_break(q, "a chain has 4 GiB or more");
    c->seg[n] = (struct cw_vq_seg){ .addr = addr, .len = len };
    *(write ? &c->n_in : &c->n_out) += 1;
    *(write ? &c->in_len : &c->out_len) += len;
    return 0;
}

int
vq_indirect_load(struct cw_vq *q, const struct cw_guest *g, uint64_t addr, uint32_t len, void *to)
{
    if (!q->indirect)
        return vq_break(q, "an indirect table was not negotiated");
    if (len == 0 || len % sizeof(struct cw_virtq_desc) != 0 ||
        len / sizeof(struct cw_virtq_desc) > CW_VQ_SIZE_MAX)
        return vq_break(q, "an indirect table has a size that it cannot have");
    if (!cw_guest_read(g, addr, to, len))
        return vq_break(q, "an indirect table is not in the guest's memory");
    return (int)(len / sizeof(struct cw_virtq_desc));
}

/* ---- the area of what is in flight ---- */

uint64_t
cw_vq_area_bytes(bool packed, uint16_t size)
{
    uint64_t split = sizeof(struct cw_vu_split_region) + size * sizeof(struct cw_vu_split_desc);

    if (packed)
        split = sizeof(struct cw_vu_packed_region) + size * sizeof(struct cw_vu_packed_desc);
    return cw_align_up(split, 64);
}

/* Few are in flight, and mostly in order: an insertion sort. */
void
vq_sort_again(struct cw_vq *q, uint64_t (*counter)(const struct cw_vq *q, uint16_t i))
{
    for (uint32_t n = 1; n < q->n_again; n++) {
        uint16_t one = q->again[n];
        uint32_t at = n;

        for (; at > 0 && counter(q, q->again[at - 1]) > counter(q, one); at--)
            q->again[at] = q->again[at - 1];
        q->again[at] = one;
    }
}

/* ---- life ---- */

static uint8_t *
part_find(const struct cw_guest *g, uint64_t user_addr, uint64_t len, uint64_t align, int *res)
{
    uint8_t *p = cw_guest_user(g, user_addr, len);

    if (p == NULL)
        *res = -EFAULT;
    else if ((uintptr_t)p % align != 0)
        *res = -EINVAL;
    return p;
}

static uint64_t
used_bytes(const struct cw_vq *q)
{
    if (q->packed)
        return sizeof(struct cw_packed_event);
    return sizeof(struct cw_virtq_used) + sizeof(uint16_t) +
           q->size * sizeof(struct cw_virtq_used_elem);
}

int
cw_vq_resolve(struct cw_vq *q, const struct cw_guest *g)
{
    uint64_t avail_len = sizeof(struct cw_virtq_avail) + (q->size + 1u) * sizeof(uint16_t);
    uint64_t used_len = used_bytes(q);
    int res = 0;

    if (q->packed)
        avail_len = used_len;
    q->desc = part_find(g, q->desc_user, q->size * sizeof(struct cw_virtq_desc), 16, &res);
    q->avail = part_find(g, q->avail_user, avail_len, q->packed ? 4 : 2, &res);
    q->used = part_find(g, q->used_user, used_len, 4, &res);
    return res;
}

int
cw_vq_start(struct cw_vq *q, const struct cw_guest *g, void *area)
{
    int res;

    cw_assert(!q->started && q->size >= 1 && q->size <= CW_VQ_SIZE_MAX);
    res = cw_vq_resolve(q, g);
    if (res != 0)
        return res;
    q->area = area;
    q->why = NULL;
    q->told = false;
    q->n_flying = q->n_again = q->at_again = 0;
    memset(q->flying, 0, sizeof(q->flying));
    res = q->packed ? vq_packed_start(q) : vq_split_start(q);
    q->started = res == 0;
    return res;
}

uint32_t
cw_vq_stop(struct cw_vq *q)
{
    if (q->started && q->area != NULL && q->n_flying == 0) /* version: at the same place in both */
        vq_store(&((struct cw_vu_split_region *)q->area)->version, 0);
    q->started = false;
    q->base = q->next_avail;
    if (q->packed)
        q->base |= (uint32_t)q->avail_wrap << 15 | (uint32_t)q->next_used << 16 |
                   (uint32_t)q->used_wrap << 31;
    return q->base;
}

/* ---- chains in and out ---- */

int
cw_vq_pop(struct cw_vq *q, const struct cw_guest *g, struct cw_vq_chain *ret)
{
    if (q->why != NULL)
        return -EPROTO;
    ret->token = (struct cw_vq_token){ 0 };
    ret->n_out = ret->n_in = 0;
    ret->out_len = ret->in_len = 0;
    return q->packed ? vq_packed_pop(q, g, ret) : vq_split_pop(q, g, ret);
}

void
cw_vq_push(struct cw_vq *q, const struct cw_vq_token *t, uint32_t written)
{
    cw_assert(q->started);
    if (q->packed)
        vq_packed_push(q, t, written);
    else
        vq_split_push(q, t, written);
}

bool
cw_vq_signal_due(struct cw_vq *q)
{
    vq_fence(); /* what was pushed is seen before we look whether it is awaited */
    return q->packed ? vq_packed_signal_due(q) : vq_split_signal_due(q);
}

bool
cw_vq_rearm(struct cw_vq *q)
{
    if (q->why != NULL)
        return false;
    return q->packed ? vq_packed_more(q) : vq_split_rearm(q);
}

void
cw_vq_dirty(const struct cw_vq *q, const struct cw_guest *g)
{
    if (!g->log.on)
        return;
    cw_guest_dirty(g, q->used_user, used_bytes(q));
    if (q->packed)
        cw_guest_dirty(g, q->desc_user, q->size * sizeof(struct cw_packed_desc));
}
