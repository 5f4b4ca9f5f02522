/* What of a link those may use that follow (docs/decisions/0013-async-copies.md).
 *
 * Nobody waits for them, so the way to them may be slow, and copies that count may be behind the
 * same link. All that is sent stands there in one queue, heartbeats and acks with it: so much is
 * under way as arrives in a fifth of a second, and never more than half of the link's credit.
 *
 *   FOLLOW_FIRST --made durable late--> half, down to FOLLOW_LEAST
 *                --in time, and more waited--> a quarter more; twice, if far from late
 */
#include "common/owner/room.h"

#define FOLLOW_FIRST (256 * CW_KIB)
#define FOLLOW_LEAST (64 * CW_KIB)
#define LATE_NS (200 * CW_NS_PER_MS) /* beside the way itself; heartbeats are every 500 ms */

/* A link that broke may have been full. */
void
cw_own_follow_begin(struct peer *p)
{
    cw_assert(p->follow.bytes == 0 && p->follow.ops == 0);
    p->follow.max = p->follow.max == 0 ? FOLLOW_FIRST : FOLLOW_LEAST;
    p->follow.wanted = false;
}

bool
cw_own_follow_room(struct copy *c, uint32_t bytes)
{
    struct peer *p = c->peer;
    bool room = p->follow.bytes == 0 ||
                (p->follow.bytes + bytes <= p->follow.max && p->follow.ops < p->ops_max / 2);

    p->follow.wanted |= !room;
    return room;
}

void
cw_own_follow_sent(struct copy *c, uint32_t bytes)
{
    c->peer->follow.bytes += bytes;
    c->peer->follow.ops++;
    c->follow_bytes += bytes;
    c->follow_ops++;
    if (c->probe_ns != 0)
        return;
    c->probe_ns = cw_own_now(c->s->v->o);
    c->probe_seq = c->send_seq;
}

/* It is durable, or not under way any more. */
void
cw_own_follow_took(struct copy *c, uint32_t bytes)
{
    uint64_t n = c->follow_ops == 1 ? c->follow_bytes : cw_min_u64(bytes, c->follow_bytes);

    if (c->follow_ops == 0)
        return; /* it did not follow when that was sent */
    c->follow_bytes -= n;
    c->peer->follow.bytes -= n;
    c->follow_ops--;
    c->peer->follow.ops--;
}

void
cw_own_follow_forget(struct copy *c)
{
    c->peer->follow.bytes -= c->follow_bytes;
    c->peer->follow.ops -= c->follow_ops;
    c->follow_bytes = c->follow_ops = 0;
    c->probe_ns = 0;
}

static void
follow_adapt(struct peer *p, uint64_t ns)
{
    uint64_t max = p->follow.max;

    ns = ns > p->rtt_ns ? ns - p->rtt_ns : 0;
    if (ns > LATE_NS)
        max /= 2;
    else if (p->follow.wanted)
        max += ns < LATE_NS / 4 ? max : max / 4;
    p->follow.max = cw_max_u64(cw_min_u64(max, p->bytes_max / 2), FOLLOW_LEAST);
    p->follow.wanted = false;
}

void
cw_own_follow_durable(struct copy *c)
{
    uint64_t now = cw_own_now(c->s->v->o);

    if (c->probe_ns == 0 || c->durable < c->probe_seq)
        return;
    follow_adapt(c->peer, now - c->probe_ns);
    c->probe_ns = 0;
}
