/* The retransmit buffer of a shard: its records above what every streaming copy has durable. */
#include <stdlib.h>

#include "common/owner/room.h"

static bool
ring_grow(struct ring *r)
{
    uint32_t slots = r->recs == NULL ? RING_MIN : 2 * (r->mask + 1);
    struct rec *recs;

    if (slots > CW_TAIL_MAX)
        return false;
    recs = calloc(slots, sizeof(*recs));
    if (recs == NULL)
        return false;
    for (uint64_t seq = r->first; seq < r->next; seq++)
        recs[seq & (slots - 1)] = *cw_own_ring_at(r, seq);
    free(r->recs);
    r->recs = recs;
    r->mask = slots - 1;
    cw_own_spans_moved(cw_container_of(r, struct shard, ring));
    return true;
}

bool
cw_own_ring_room(struct ring *r)
{
    return (r->recs != NULL && r->next - r->first <= r->mask) || ring_grow(r);
}

struct rec *
cw_own_ring_push(struct ring *r)
{
    struct rec *rec;

    cw_assert(r->recs != NULL && r->next - r->first <= r->mask);
    rec = &r->recs[r->next & r->mask];
    *rec = (struct rec){ .seq = r->next };
    r->next++;
    return rec;
}

void
cw_own_ring_trim(struct cw_owner *o, struct ring *r, uint64_t to_seq)
{
    while (r->first <= to_seq && r->first < r->next) {
        struct rec *rec = cw_own_ring_at(r, r->first);

        cw_assert(rec->part == NULL && rec->n_span == 0);
        o->retained_bytes -= rec->bytes;
        cw_msg_unref(rec->msg);
        rec->msg = NULL;
        r->first++;
    }
}

void
cw_own_ring_reset(struct cw_owner *o, struct ring *r, uint64_t next_seq)
{
    cw_own_ring_trim(o, r, UINT64_MAX);
    r->first = r->next = next_seq;
}

void
cw_own_ring_fini(struct cw_owner *o, struct ring *r)
{
    cw_own_ring_trim(o, r, UINT64_MAX);
    free(r->recs);
    r->recs = NULL;
    r->mask = 0;
}
