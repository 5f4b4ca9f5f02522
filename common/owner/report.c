/* Numbers for people: what the manager shows of a volume in use. */
#include "common/owner/room.h"

#include <stdio.h>

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
        .lost_blocks = v->n_lost,
        .size_bytes = v->size_bytes,
    };
}

static struct cw_uuid
source_uuid(const struct copy *c)
{
    bool copying = c->state == CW_MEMBER_IN_RESYNC && c->source != NULL;

    return copying ? c->source->disk_uuid : (struct cw_uuid){ { 0 } };
}

/* A guest was told of it then, whatever has become of the link since. */
static uint64_t
oldest_lacking_ns(const struct copy *c)
{
    const struct ring *r = &c->s->ring;
    uint64_t seq = cw_max_u64(c->durable + 1, r->first);

    return seq < r->next ? cw_own_now(c->s->v->o) - cw_own_ring_at(r, seq)->begun_ns : 0;
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
        .lag_bytes = c->streaming ? cw_own_copy_lacks_blocks(c) * 4096 : 0,
        .lag_ns = c->streaming ? oldest_lacking_ns(c) : 0,
        .connected = c->peer->state == PEER_UP,
        .flaps = c->peer->flaps.n,
        .flapping = c->peer->flaps.shaky,
        .source_uuid = source_uuid(c),
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

static uint32_t
n_tails(const struct shard *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];
        bool known = !c->streaming;

        for (uint32_t k = 0; k < i && !known; k++)
            known = s->copies[k]->streaming && s->copies[k]->info.last_seq == c->info.last_seq;
        n += !known;
    }
    return n;
}

void
cw_volume_view_shard(const struct cw_volume *v, uint32_t index, struct cw_shard_view *ret)
{
    const struct shard *s = v->shards[index];

    *ret = (struct cw_shard_view){
        .acked = s->state == SHARD_ACTIVE ? cw_min_u64(s->acked, s->stable) : 0,
        .told = s->state != SHARD_ACTIVE ? 0
                : s->told > s->acked     ? s->told
                                         : cw_min_u64(s->acked, s->stable),
        .lease_wait = s->state == SHARD_LEASE_WAIT,
        .doubt = s->change.state == CHANGE_DOUBT,
        .n_tails = s->state == SHARD_EQUALISING ? n_tails(s) : 0,
    };
    for (uint32_t i = 0; s->state == SHARD_ACTIVE && i < s->n_copies; i++) {
        const struct copy *c = s->copies[i];

        if (ret->n < CW_MEMBERS_MAX)
            ret->of[ret->n++] = (struct cw_shard_view_copy){ .disk_uuid = c->disk_uuid,
                                                             .format_id = c->format_id,
                                                             .ack = cw_own_in_ack(c),
                                                             .read = cw_own_in_read(c) };
    }
}
