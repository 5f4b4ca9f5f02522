/* replica/ack.c - what the owner is told about progress: one frame per link and loop turn, one
 * entry per shard that moved. An entry is cumulative, so entries may be merged but never invented.
 * What is durable is always a reason for one; what was received only if the session asked for it.
 */
#include <string.h>

#include "common/base/mutation.h"
#include "daemon/replica/internal.h"

void
cw_ack_owe(struct cw_session *s)
{
    if (cw_list_empty(&s->in_owing))
        cw_list_push_back(&s->peer->owing, &s->in_owing);
}

void
cw_ack_owe_all(struct cw_replica *r)
{
    CW_LIST_EACH (it, &r->peers) {
        struct cw_peer *p = cw_list_entry(it, struct cw_peer, in_replica);

        CW_LIST_EACH (s, &p->sessions)
            cw_ack_owe(cw_list_entry(s, struct cw_session, in_peer));
    }
}

/* What only waits for the disk: a SEAL makes it durable, the end of the session does not lose it.
 * Of held records that is not so. */
static uint32_t
ack_in_memory(const struct cw_copy *c)
{
    const struct cw_store_shard_info *i = c->info;

    return i->last_seq > i->durable_seq ? (uint32_t)(i->last_seq - i->durable_seq) : 0;
}

struct cw_wire_ack
cw_ack_of(const struct cw_copy *c, uint32_t gen)
{
    uint32_t credit = cw_store_credit(c->sh);

    return (struct cw_wire_ack){
        .shard = c->shard,
        .durable_seq = cw_mutated(CW_MUTATION_ACK_EARLY) ? c->info->last_seq : c->info->durable_seq,
        .gen = gen,
        .credit_blocks = credit > c->held_blocks ? credit - c->held_blocks : 0,
        .health = cw_copy_health(c),
        .in_memory = ack_in_memory(c),
    };
}

static uint32_t
ack_gather(struct cw_peer *p, struct cw_wire_ack *to)
{
    uint32_t n = 0;

    CW_LIST_EACH (it, &p->owing) {
        const struct cw_session *s = cw_list_entry(it, struct cw_session, in_owing);

        if (n == CW_ACKS_PER_FRAME)
            break;
        to[n++] = cw_ack_of(s->copy, s->gen);
    }
    return n;
}

/* False: no memory now. */
static bool
ack_send(struct cw_peer *p)
{
    struct cw_wire_hdr h = { .type = CW_FT_ACK };
    struct cw_replica *r = p->r;

    while (!cw_list_empty(&p->owing)) {
        uint32_t n = ack_gather(p, r->acks);
        struct cw_msg *m = cw_frame_opaque(r->pool, h, NULL, r->acks, n * sizeof(r->acks[0]));

        if (m == NULL)
            return false;
        for (uint32_t i = 0; i < n; i++)
            cw_list_pop_front(&p->owing);
        r->stats.acks++;
        cw_peer_send(p, m);
    }
    return true;
}

void
cw_ack_send_all(struct cw_replica *r)
{
    CW_LIST_EACH (it, &r->peers)
        if (!ack_send(cw_list_entry(it, struct cw_peer, in_replica)))
            r->again = true;
}
