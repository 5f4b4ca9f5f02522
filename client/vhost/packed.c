/* vhost/packed.c - packed virtqueues: one ring, in which the device overwrites what was available
 * by what is used.
 *
 * The area of what is in flight holds a copy of every descriptor that was taken, because the ring
 * does not for long. Entries are allocated here; the area only says which are in use: from a head
 * with `inflight`, along `next`. When a chain is given back the area's state first says which one
 * and where; a process that finds that looks whether the driver was told.
 */
#include "client/vhost/ring-internal.h"

static struct cw_packed_desc *
slot_of(const struct cw_vq *q, uint16_t at)
{
    return (struct cw_packed_desc *)(void *)q->desc + at;
}

static struct cw_vu_packed_region *
area_of(const struct cw_vq *q)
{
    return q->area;
}

static uint16_t
used_flags(bool wrap, uint32_t written)
{
    return (uint16_t)((wrap ? CW_PACKED_AVAIL | CW_PACKED_USED : 0) |
                      (written > 0 ? CW_VIRTQ_WRITE : 0));
}

static bool
is_available(uint16_t flags, bool wrap)
{
    return ((flags & CW_PACKED_AVAIL) != 0) == wrap && ((flags & CW_PACKED_USED) != 0) != wrap;
}

/* at += n in a ring that flips its counter where it ends. */
static void
advance(const struct cw_vq *q, uint16_t *at, bool *wrap, uint32_t n)
{
    uint32_t to = *at + n;

    if (to >= q->size) {
        to -= q->size;
        *wrap = !*wrap;
    }
    *at = (uint16_t)to;
}

/* ---- the area ---- */

static uint64_t
state_of(const struct cw_vq *q, uint32_t giving_back)
{
    return q->next_used | (uint64_t)q->used_wrap << 15 | (uint64_t)giving_back << 16;
}

static uint64_t
counter_of(const struct cw_vq *q, uint16_t i)
{
    return vq_load(&area_of(q)->desc[i].counter);
}

static void
area_begin(struct cw_vq *q, struct cw_vu_packed_region *a)
{
    memset(a, 0, cw_vq_area_bytes(true, q->size));
    a->n_desc = q->size;
    a->state = state_of(q, 0);
    vq_store(&a->version, 1);
}

/* Marks a noted chain's entries as in use. False: the area holds nonsense. */
static bool
entries_claim(struct cw_vq *q, const struct cw_vu_packed_region *a, uint16_t head)
{
    uint16_t n = vq_load(&a->desc[head].num), at = head;

    if (n == 0 || n > q->size - q->n_flying)
        return false;
    for (uint16_t i = 0; i < n; i++) {
        if (at >= q->size || cw_bit_get(q->flying, at))
            return false;
        cw_bit_set(q->flying, at);
        at = vq_load(&a->desc[at].next);
    }
    q->n_flying += n;
    return true;
}

/* The process before us may have ended while it gave one back. */
static void
settle(struct cw_vq *q, struct cw_vu_packed_region *a, uint16_t head)
{
    uint16_t n = vq_load(&a->desc[head].num);

    if (is_available(vq_load(&slot_of(q, q->next_used)->flags), q->used_wrap))
        return;
    vq_store(&a->desc[head].inflight, 0);
    advance(q, &q->next_used, &q->used_wrap, cw_min_u64(n, q->size));
}

static int
area_take_over(struct cw_vq *q, struct cw_vu_packed_region *a)
{
    uint64_t state = vq_load(&a->state);
    uint16_t giving_back = (uint16_t)(state >> 16);

    q->next_used = state & 0x7fff;
    q->used_wrap = state >> 15 & 1;
    if (q->next_used >= q->size || giving_back > q->size)
        return -EINVAL;
    if (giving_back != 0)
        settle(q, a, (uint16_t)(giving_back - 1));
    vq_store(&a->state, state_of(q, 0));
    for (uint16_t i = 0; i < q->size; i++) {
        if (vq_load(&a->desc[i].inflight) != 1)
            continue;
        if (!entries_claim(q, a, i))
            return -EINVAL;
        q->again[q->n_again++] = i;
        q->counter = cw_max_u64(q->counter, counter_of(q, i) + 1);
    }
    vq_sort_again(q, counter_of);
    q->next_avail = q->next_used;
    q->avail_wrap = q->used_wrap;
    advance(q, &q->next_avail, &q->avail_wrap, q->n_flying);
    return 0;
}

int
vq_packed_start(struct cw_vq *q)
{
    struct cw_vu_packed_region *a = area_of(q);
    struct cw_packed_event *ours = (struct cw_packed_event *)(void *)q->used;

    q->next_avail = q->base & 0x7fff;
    q->avail_wrap = q->base >> 15 & 1;
    q->next_used = q->base >> 16 & 0x7fff;
    q->used_wrap = q->base >> 31 & 1;
    q->counter = 0;
    if (q->next_avail >= q->size || q->next_used >= q->size)
        return -EINVAL;
    vq_store(&ours->flags, CW_PACKED_EVENT_ENABLE);
    if (a == NULL)
        return 0;
    if (vq_load(&a->version) == 0) {
        area_begin(q, a);
        return 0;
    }
    if (vq_load(&a->version) != 1 || vq_load(&a->n_desc) != q->size)
        return -EINVAL;
    return area_take_over(q, a);
}

/* An entry that is free; there is one, since n_flying was looked at. */
static uint16_t
entry_take(struct cw_vq *q)
{
    for (uint16_t i = 0; i < q->size; i++) {
        if (cw_bit_get(q->flying, i))
            continue;
        cw_bit_set(q->flying, i);
        return i;
    }
    cw_unreachable();
}

/* Notes what was taken, then that it was. */
static uint16_t
area_note(struct cw_vq *q, const struct cw_packed_desc *d, uint16_t n)
{
    struct cw_vu_packed_region *a = area_of(q);
    uint16_t head = entry_take(q), at = head;

    for (uint16_t i = 0; i < n; i++) {
        struct cw_vu_packed_desc *e = &a->desc[at];

        e->addr = d[i].addr;
        e->len = d[i].len;
        e->flags = d[i].flags;
        e->next = i + 1 < n ? entry_take(q) : 0;
        at = e->next;
    }
    a->desc[head].num = n;
    a->desc[head].id = d[n - 1].id;
    a->desc[head].counter = q->counter++;
    vq_store(&a->desc[head].inflight, 1);
    return head;
}

static void
area_forget(struct cw_vq *q, uint16_t head, uint16_t n)
{
    struct cw_vu_packed_region *a = area_of(q);

    vq_store(&a->desc[head].inflight, 0);
    for (uint16_t i = 0, at = head; i < n && at < q->size; i++) {
        cw_bit_clear(q->flying, at);
        at = vq_load(&a->desc[at].next);
    }
}

/* ---- taking ---- */

static int
indirect_read(struct cw_vq *q, const struct cw_guest *g, const struct cw_packed_desc *d,
              struct cw_vq_chain *c)
{
    struct cw_packed_desc table[CW_VQ_SIZE_MAX];
    int n = vq_indirect_load(q, g, d->addr, d->len, table);
    int res = n < 0 ? n : 0;

    for (int i = 0; res == 0 && i < n; i++)
        res = vq_seg_add(q, c, table[i].addr, table[i].len, (table[i].flags & CW_VIRTQ_WRITE) != 0);
    return res;
}

/* d[0..n): the descriptors of one chain, in memory of ours. */
static int
chain_read(struct cw_vq *q, const struct cw_guest *g, const struct cw_packed_desc *d, uint16_t n,
           struct cw_vq_chain *c)
{
    int res = 0;

    for (uint16_t i = 0; res == 0 && i < n; i++) {
        if ((d[i].flags & CW_VIRTQ_INDIRECT) == 0)
            res = vq_seg_add(q, c, d[i].addr, d[i].len, (d[i].flags & CW_VIRTQ_WRITE) != 0);
        else if (n > 1)
            return vq_break(q, "an indirect table in a chain");
        else
            res = indirect_read(q, g, &d[i], c);
    }
    return res;
}

static int
again_pop(struct cw_vq *q, const struct cw_guest *g, struct cw_vq_chain *ret)
{
    struct cw_vu_packed_region *a = area_of(q);
    uint16_t head = q->again[q->at_again++], at = head;
    uint16_t n = vq_load(&a->desc[head].num);
    struct cw_packed_desc d[CW_VQ_SIZE_MAX];
    int res;

    if (n == 0 || n > q->size)
        return vq_break(q, "the area of what is in flight has changed under us");
    for (uint16_t i = 0; i < n; i++, at = vq_load(&a->desc[at].next)) {
        if (at >= q->size)
            return vq_break(q, "the area of what is in flight has changed under us");
        d[i] = (struct cw_packed_desc){ .addr = vq_load(&a->desc[at].addr),
                                        .len = vq_load(&a->desc[at].len),
                                        .flags = vq_load(&a->desc[at].flags) };
    }
    res = chain_read(q, g, d, n, ret);
    ret->token =
        (struct cw_vq_token){ .id = vq_load(&a->desc[head].id), .n_slots = n, .entry = head };
    return res == 0 ? 1 : res;
}

/* Copies the chain that begins at next_avail; how many descriptors, or -EPROTO. */
static int
slots_read(struct cw_vq *q, struct cw_packed_desc *d)
{
    uint16_t at = q->next_avail;
    bool wrap = q->avail_wrap;
    uint32_t n = 0;

    do {
        if (n == q->size - q->n_flying)
            return vq_break(q, "more descriptors are available than the ring has");
        vq_desc_load(slot_of(q, at), &d[n]);
        advance(q, &at, &wrap, 1);
    } while ((d[n++].flags & CW_VIRTQ_NEXT) != 0);
    return (int)n;
}

int
vq_packed_pop(struct cw_vq *q, const struct cw_guest *g, struct cw_vq_chain *ret)
{
    struct cw_packed_desc d[CW_VQ_SIZE_MAX];
    int n, res;

    if (q->at_again < q->n_again)
        return again_pop(q, g, ret);
    if (!is_available(vq_load(&slot_of(q, q->next_avail)->flags), q->avail_wrap))
        return 0;
    n = slots_read(q, d);
    if (n < 0)
        return n;
    res = chain_read(q, g, d, (uint16_t)n, ret);
    if (res < 0)
        return res;
    ret->token = (struct cw_vq_token){ .id = d[n - 1].id, .n_slots = (uint16_t)n };
    if (q->area != NULL)
        ret->token.entry = area_note(q, d, (uint16_t)n);
    q->n_flying += (uint32_t)n;
    advance(q, &q->next_avail, &q->avail_wrap, (uint32_t)n);
    return 1;
}

/* ---- giving back ---- */

void
vq_packed_push(struct cw_vq *q, const struct cw_vq_token *t, uint32_t written)
{
    struct cw_vu_packed_region *a = area_of(q);
    struct cw_packed_desc *d = slot_of(q, q->next_used);

    cw_assert(q->n_flying >= t->n_slots);
    if (a != NULL)
        vq_store(&a->state, state_of(q, t->entry + 1u));
    vq_store(&d->id, t->id);
    vq_store(&d->len, written);
    vq_store(&d->flags, used_flags(q->used_wrap, written));
    advance(q, &q->next_used, &q->used_wrap, t->n_slots);
    if (a != NULL) {
        area_forget(q, t->entry, t->n_slots);
        vq_store(&a->state, state_of(q, 0));
    }
    q->n_flying -= t->n_slots;
}

/* ---- telling each other ---- */

/* Where the driver wants to be told, as if this lap had begun at 0 (virtio 1.2, 2.8.10). */
static bool
event_passed(const struct cw_vq *q, uint16_t off_wrap, uint16_t old)
{
    uint16_t event = off_wrap & 0x7fff, now = q->next_used;

    if ((off_wrap >> 15 & 1) != q->used_wrap)
        event = (uint16_t)(event - q->size);
    if (now <= old)
        old = (uint16_t)(old - q->size);
    return vq_passed(event, now, old);
}

bool
vq_packed_signal_due(struct cw_vq *q)
{
    const struct cw_packed_event *theirs = (struct cw_packed_event *)(void *)q->avail;
    uint16_t old = q->told_used, flags = vq_load(&theirs->flags) & 3u;
    bool told = q->told;

    q->told_used = q->next_used;
    q->told = true;
    if (flags == CW_PACKED_EVENT_DISABLE)
        return false;
    if (flags != CW_PACKED_EVENT_DESC || !q->event_idx || !told)
        return true;
    return event_passed(q, vq_load(&theirs->off_wrap), old);
}

bool
vq_packed_more(struct cw_vq *q)
{
    if (q->at_again < q->n_again)
        return true;
    vq_fence();
    return is_available(vq_load(&slot_of(q, q->next_avail)->flags), q->avail_wrap);
}
