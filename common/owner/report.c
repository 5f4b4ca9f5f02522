/* Numbers for people: what the manager shows of a volume in use. */
#include "common/owner/room.h"

#include <stdio.h>

/* Eight steps per power of two: at most 12 % off. */
static uint32_t
histo_bucket(uint64_t ns)
{
    uint32_t top;

    if (ns < 8)
        return (uint32_t)ns;
    top = 63 - (uint32_t)__builtin_clzll(ns);
    top = (top - 2) * 8 + (uint32_t)(ns >> (top - 3) & 7);
    return top < HISTO_BUCKETS ? top : HISTO_BUCKETS - 1;
}

static uint64_t
histo_value(uint32_t bucket)
{
    return bucket < 8 ? bucket : (uint64_t)(8 + bucket % 8) << (bucket / 8 - 1);
}

void
cw_own_histo_add(struct histo *h, uint64_t ns)
{
    h->at[histo_bucket(ns)]++;
    h->n++;
}

uint64_t
cw_own_histo_p99(const struct histo *h)
{
    uint32_t left = h->n / 100 + 1; /* from above */

    for (uint32_t b = HISTO_BUCKETS; b-- > 0;) {
        if (h->at[b] >= left)
            return histo_value(b);
        left -= h->at[b];
    }
    return 0;
}

void
cw_volume_report(const struct cw_volume *v, struct cw_volume_report *ret)
{
    *ret = (struct cw_volume_report){
        .volume = v->id,
        .gen = v->gen,
        .state = v->state,
        .n_shards = v->n_shards,
        .reads = v->reads,
        .writes = v->writes,
        .read_bytes = v->read_bytes,
        .write_bytes = v->write_bytes,
        .read_p99_ns = v->read_p99_ns,
        .write_p99_ns = v->write_p99_ns,
        .repaired_blocks = v->repaired_blocks,
        .error_blocks = v->error_blocks,
    };
}

static struct cw_member_report
member_report(const struct copy *c)
{
    uint64_t last = c->s->ring.next - 1;

    return (struct cw_member_report){
        .disk_uuid = c->disk_uuid,
        .format_id = c->format_id,
        .state = c->state,
        .chunks_left = c->state == CW_MEMBER_IN_RESYNC ? c->chunks_left : 0,
        .chunks_total = c->state == CW_MEMBER_IN_RESYNC ? c->chunks_total : 0,
        .bytes_moved = c->state == CW_MEMBER_IN_RESYNC ? c->bytes_moved : 0,
        .lag = c->streaming && last > c->durable ? last - c->durable : 0,
        .connected = c->peer->state == PEER_UP,
    };
}

void
cw_volume_report_shard(const struct cw_volume *v, uint32_t index, struct cw_shard_report *ret)
{
    const struct shard *s;

    cw_assert(index < v->n_shards);
    s = v->shards[index];
    *ret = (struct cw_shard_report){
        .shard = s->rec.shard,
        .seq = s->ring.next - 1,
        .cfg = s->rec.cfg,
        .active = s->state == SHARD_ACTIVE,
        .suspended = s->why != NULL,
    };
    if (s->why != NULL)
        snprintf(ret->why, sizeof(ret->why), "%s", s->why);
    for (uint32_t i = 0; i < s->n_copies && i < CW_MEMBERS_MAX; i++)
        ret->members[ret->n_members++] = member_report(s->copies[i]);
}
