/* vhost/split.c - split virtqueues: a table of descriptors, a ring of heads that are available, a
 * ring of those that were used. */
#include "client/vhost/ring-internal.h"

static struct cw_virtq_avail *
avail_of(const struct cw_vq *q)
{
    return (struct cw_virtq_avail *)(void *)q->avail;
}

static struct cw_virtq_used *
used_of(const struct cw_vq *q)
{
    return (struct cw_virtq_used *)(void *)q->used;
}

static struct cw_vu_split_region *
area_of(const struct cw_vq *q)
{
    return q->area;
}

static uint16_t
avail_idx(const struct cw_vq *q)
{
    return vq_load(&avail_of(q)->idx);
}

/* ---- beginning ---- */

static uint64_t
counter_of(const struct cw_vq *q, uint16_t i)
{
    return vq_load(&area_of(q)->desc[i].counter);
}

/* One is given back at a time: at most the last was told to the driver and is noted as in flight
 * still. */
static void
area_take_over(struct cw_vq *q, struct cw_vu_split_region *a)
{
    uint16_t last = vq_load(&a->last_batch_head);

    if (vq_load(&a->used_idx) != q->next_used && last < q->size)
        vq_store(&a->desc[last].inflight, 0);
    vq_store(&a->used_idx, q->next_used);
    for (uint16_t i = 0; i < q->size; i++) {
        if (vq_load(&a->desc[i].inflight) != 1)
            continue;
        q->again[q->n_again++] = i;
        q->counter = cw_max_u64(q->counter, counter_of(q, i) + 1);
        cw_bit_set(q->flying, i);
    }
    vq_sort_again(q, counter_of);
    q->n_flying = q->n_again;
    q->next_avail = (uint16_t)(q->next_used + q->n_again); /* they were taken in this order */
}

static void
area_begin(struct cw_vq *q, struct cw_vu_split_region *a)
{
    memset(a, 0, cw_vq_area_bytes(false, q->size));
    a->n_desc = q->size;
    a->used_idx = q->next_used;
    vq_store(&a->version, 1);
}

int
vq_split_start(struct cw_vq *q)
{
    struct cw_vu_split_region *a = area_of(q);

    q->next_avail = (uint16_t)q->base;
    q->next_used = vq_load(&used_of(q)->idx);
    q->counter = 0;
    vq_store(&used_of(q)->flags, 0);
    if (a == NULL)
        return 0;
    if (vq_load(&a->version) == 0)
        area_begin(q, a);
    else if (vq_load(&a->version) != 1 || vq_load(&a->n_desc) != q->size)
        return -EINVAL;
    else
        area_take_over(q, a);
    return 0;
}

/* ---- taking ---- */

static int table_read(struct cw_vq *q, const struct cw_guest *g, const void *table,
                      uint32_t n_table, uint32_t at, bool nested, struct cw_vq_chain *c);

static int
indirect_read(struct cw_vq *q, const struct cw_guest *g, const struct cw_virtq_desc *d,
              struct cw_vq_chain *c)
{
    struct cw_virtq_desc table[CW_VQ_SIZE_MAX];
    int n = vq_indirect_load(q, g, d->addr, d->len, table);

    return n < 0 ? n : table_read(q, g, table, (uint32_t)n, 0, true, c);
}

/* Follows a chain from `at`. */
static int
table_read(struct cw_vq *q, const struct cw_guest *g, const void *table, uint32_t n_table,
           uint32_t at, bool nested, struct cw_vq_chain *c)
{
    struct cw_virtq_desc d = { .flags = CW_VIRTQ_NEXT, .next = (uint16_t)at };
    int res = 0;

    for (uint32_t n = 0; res == 0 && (d.flags & CW_VIRTQ_NEXT) != 0; n++) {
        if (d.next >= n_table)
            return vq_break(q, "a descriptor's successor is outside of its table");
        if (n == n_table)
            return vq_break(q, "a chain of descriptors has no end");
        vq_desc_load((const struct cw_virtq_desc *)table + d.next, &d);
        if ((d.flags & CW_VIRTQ_INDIRECT) == 0)
            res = vq_seg_add(q, c, d.addr, d.len, (d.flags & CW_VIRTQ_WRITE) != 0);
        else if (nested || (d.flags & CW_VIRTQ_NEXT) != 0)
            return vq_break(q, "an indirect table inside of another, or before a successor");
        else
            res = indirect_read(q, g, &d, c);
    }
    return res;
}

static void
area_note(struct cw_vq *q, uint16_t head)
{
    struct cw_vu_split_region *a = area_of(q);

    if (a == NULL)
        return;
    vq_store(&a->desc[head].counter, q->counter++);
    vq_store(&a->desc[head].inflight, 1);
}

static int
chain_take(struct cw_vq *q, const struct cw_guest *g, uint16_t head, struct cw_vq_chain *ret)
{
    int res = table_read(q, g, q->desc, q->size, head, false, ret);

    ret->token = (struct cw_vq_token){ .id = head, .n_slots = 1 };
    return res == 0 ? 1 : res;
}

int
vq_split_pop(struct cw_vq *q, const struct cw_guest *g, struct cw_vq_chain *ret)
{
    uint16_t n, head;
    int res;

    if (q->at_again < q->n_again)
        return chain_take(q, g, q->again[q->at_again++], ret);
    n = (uint16_t)(avail_idx(q) - q->next_avail);
    if (n == 0)
        return 0;
    if (n > q->size)
        return vq_break(q, "the available index jumped");
    head = vq_load(&avail_of(q)->ring[q->next_avail & (q->size - 1u)]);
    if (head >= q->size)
        return vq_break(q, "an available head is outside of the table");
    if (cw_bit_get(q->flying, head))
        return vq_break(q, "a head was made available that is under way");
    res = chain_take(q, g, head, ret);
    if (res < 0)
        return res;
    area_note(q, head);
    cw_bit_set(q->flying, head);
    q->n_flying++;
    q->next_avail++;
    return 1;
}

/* ---- giving back ---- */

void
vq_split_push(struct cw_vq *q, const struct cw_vq_token *t, uint32_t written)
{
    struct cw_vu_split_region *a = area_of(q);
    struct cw_virtq_used_elem *e = &used_of(q)->ring[q->next_used & (q->size - 1u)];

    cw_assert(cw_bit_get(q->flying, t->id));
    if (a != NULL) {
        vq_store(&a->desc[t->id].next, vq_load(&a->last_batch_head));
        vq_store(&a->last_batch_head, t->id);
    }
    vq_store(&e->id, t->id);
    vq_store(&e->len, written);
    q->next_used++;
    vq_store(&used_of(q)->idx, q->next_used);
    if (a != NULL) {
        vq_store(&a->desc[t->id].inflight, 0);
        vq_store(&a->used_idx, q->next_used);
    }
    cw_bit_clear(q->flying, t->id);
    q->n_flying--;
}

/* ---- telling each other ---- */

bool
vq_split_signal_due(struct cw_vq *q)
{
    uint16_t now = q->next_used, old = q->told_used;
    bool told = q->told;

    if (told && old == now)
        return false;
    q->told_used = now;
    q->told = true;
    if (!q->event_idx)
        return (vq_load(&avail_of(q)->flags) & CW_VIRTQ_NO_INTERRUPT) == 0;
    return !told || vq_passed(vq_load(&avail_of(q)->ring[q->size]), now, old);
}

bool
vq_split_rearm(struct cw_vq *q)
{
    uint16_t *event = (uint16_t *)(void *)&used_of(q)->ring[q->size];

    if (q->at_again < q->n_again)
        return true;
    if (q->event_idx)
        vq_store(event, q->next_avail);
    vq_fence(); /* it is seen before we look for the last time */
    return avail_idx(q) != q->next_avail;
}
