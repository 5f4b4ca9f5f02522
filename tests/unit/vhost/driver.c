#include "tests/unit/vhost/driver.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

struct cw_virtq_desc *
driver_desc(struct driver *d, uint16_t i)
{
    return (struct cw_virtq_desc *)(void *)(d->mem + DRIVER_DESC) + i;
}

struct cw_packed_desc *
driver_slot(struct driver *d, uint16_t i)
{
    return (struct cw_packed_desc *)(void *)(d->mem + DRIVER_DESC) + i;
}

static struct cw_virtq_avail *
avail_of(struct driver *d)
{
    return (struct cw_virtq_avail *)(void *)(d->mem + DRIVER_AVAIL);
}

static struct cw_virtq_used *
used_of(struct driver *d)
{
    return (struct cw_virtq_used *)(void *)(d->mem + DRIVER_USED);
}

int
driver_restart(struct driver *d)
{
    uint32_t used = d->used, wrap = d->used_wrap;

    memset(d->vq, 0, sizeof(*d->vq));
    d->vq->size = d->size;
    d->vq->packed = d->packed;
    d->vq->indirect = true;
    d->vq->event_idx = d->event_idx;
    d->vq->desc_user = DRIVER_BASE + DRIVER_USER + DRIVER_DESC;
    d->vq->avail_user = DRIVER_BASE + DRIVER_USER + DRIVER_AVAIL;
    d->vq->used_user = DRIVER_BASE + DRIVER_USER + DRIVER_USED;
    d->vq->base = d->packed ? used | wrap << 15 | used << 16 | wrap << 31 : used_of(d)->idx;
    return cw_vq_start(d->vq, &d->guest, d->area);
}

struct driver *
driver_new(bool packed, uint16_t size, bool area)
{
    struct driver *d = calloc(1, sizeof(*d));
    struct cw_guest_region r = { .guest_addr = DRIVER_BASE,
                                 .user_addr = DRIVER_BASE + DRIVER_USER,
                                 .size = DRIVER_MEM };

    d->mem = aligned_alloc(4096, DRIVER_MEM);
    memset(d->mem, 0, DRIVER_MEM);
    r.host = d->mem;
    cw_assert(cw_guest_add(&d->guest, &r) == 0);
    d->vq = calloc(1, sizeof(*d->vq));
    d->chain = calloc(1, sizeof(*d->chain));
    d->packed = packed;
    d->size = size;
    d->avail_wrap = d->used_wrap = true;
    if (area)
        d->area = calloc(1, cw_vq_area_bytes(packed, size));
    cw_assert(driver_restart(d) == 0);
    return d;
}

void
driver_free(struct driver *d)
{
    free(d->mem);
    free(d->vq);
    free(d->chain);
    free(d->area);
    free(d);
}

void
driver_put_desc(struct driver *d, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
                uint16_t next)
{
    *driver_desc(d, i) =
        (struct cw_virtq_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

void
driver_offer(struct driver *d, uint16_t head)
{
    avail_of(d)->ring[d->avail % d->size] = head;
    avail_of(d)->idx = ++d->avail;
}

static void
add_packed(struct driver *d, uint16_t id, uint64_t addr, uint16_t flags)
{
    flags |= d->avail_wrap ? CW_PACKED_AVAIL : CW_PACKED_USED;
    *driver_slot(d, d->avail) =
        (struct cw_packed_desc){ .addr = addr, .len = 64, .id = id, .flags = flags };
    if (++d->avail == d->size) {
        d->avail = 0;
        d->avail_wrap = !d->avail_wrap;
    }
}

void
driver_add(struct driver *d, uint16_t i)
{
    uint64_t addr = DRIVER_BASE + DRIVER_DATA + i * 64u;

    if (d->packed) {
        add_packed(d, i, addr, CW_VIRTQ_NEXT);
        add_packed(d, i, addr + 64, CW_VIRTQ_WRITE);
        return;
    }
    driver_put_desc(d, i, addr, 64, CW_VIRTQ_NEXT, i + 1);
    driver_put_desc(d, i + 1, addr + 64, 64, CW_VIRTQ_WRITE, 0);
    driver_offer(d, i);
}

static bool
reap_packed(struct driver *d, uint16_t n_slots, uint32_t *ret_id, uint32_t *ret_len)
{
    const struct cw_packed_desc *s = driver_slot(d, d->used);

    if (((s->flags & CW_PACKED_AVAIL) != 0) != d->used_wrap ||
        ((s->flags & CW_PACKED_USED) != 0) != d->used_wrap)
        return false;
    *ret_id = s->id;
    *ret_len = s->len;
    d->used += n_slots;
    if (d->used >= d->size) {
        d->used -= d->size;
        d->used_wrap = !d->used_wrap;
    }
    return true;
}

bool
driver_reap(struct driver *d, uint16_t n_slots, uint32_t *ret_id, uint32_t *ret_len)
{
    const struct cw_virtq_used_elem *e = &used_of(d)->ring[d->used % d->size];

    if (d->packed)
        return reap_packed(d, n_slots, ret_id, ret_len);
    if (used_of(d)->idx == d->used)
        return false;
    *ret_id = e->id;
    *ret_len = e->len;
    d->used++;
    return true;
}

int
driver_pop(struct driver *d)
{
    return cw_vq_pop(d->vq, &d->guest, d->chain);
}
