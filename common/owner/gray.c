/* Members that are slow but alive (gray), replication.md 1.9.
 *
 *   INSYNC --slow in 5 of 6 windows, or a record older than T_eject--> LAGGING
 *   LAGGING --its back-off over, caught up, not slow--> joining from p = next_seq on --CAS-->
 * INSYNC
 *
 * How far away a copy is makes it no slower: the least round trip of its heartbeats is no part of
 * what it takes. A LAGGING copy gets the stream, but nobody waits for it or reads it: one slow disk
 * costs the volume neither latency nor a resync. Slow is what is slow beside the others: when all
 * are, none is demoted. How many disks may be set aside at a time is the manager's to say.
 */
#include "common/owner/room.h"

#include "common/base/bits.h"

#define SLOW_NS (20 * CW_NS_PER_MS)
#define SLOW_TIMES 8u
#define SAMPLES_MIN 3u /* of a window, else it says nothing */
#define WINDOWS 6u
#define WINDOWS_SLOW 5u
#define WINDOWS_FINE 2u   /* the last ones, before it is waited for again */
#define BATCH_RECORDS 64u /* so near to the end of the stream it may join */
#define RTT_GROWS 4096u   /* by that part in each window: doubled in 47 minutes */
#define REFUSED_NS (10 * CW_NS_PER_S)

/* ---- windows ---- */

void
cw_own_gray_rtt(struct peer *p, uint64_t ns)
{
    p->rtt_ns = p->rtt_ns == 0 ? ns : cw_min_u64(p->rtt_ns, ns);
}

/* What its disk and its host made of it. */
static uint64_t
without_way(const struct peer *p, uint64_t ns)
{
    return ns > p->rtt_ns ? ns - p->rtt_ns : 0;
}

static void
peer_window(struct peer *p)
{
    p->rtt_ns += p->rtt_ns / RTT_GROWS; /* a way that has become longer for good is got used to */
    p->ack_known = p->acks.n >= SAMPLES_MIN;
    p->ack_p50_ns = p->ack_known ? without_way(p, cw_histogram_percentile(&p->acks, 500)) : 0;
    p->ack_p99_ns = p->ack_known ? without_way(p, cw_histogram_percentile(&p->acks, 990)) : 0;
    if (p->acks.n > 0)
        cw_histogram_reset(&p->acks);
}

uint64_t
cw_own_copy_waits_ns(const struct copy *c, uint64_t now)
{
    const struct ring *r = &c->s->ring;
    uint64_t seq = c->durable + 1;

    if (!c->streaming || c->held || c->session != SESSION_OPEN || seq < r->first ||
        (seq >= c->send_seq && !c->stalled) || seq >= r->next)
        return 0;
    return now - cw_max_u64(cw_own_ring_at(r, seq)->begun_ns, c->opened_ns);
}

static bool
is_well(const struct copy *c)
{
    return c->state == CW_MEMBER_INSYNC && c->session == SESSION_OPEN && !c->faulty;
}

/* Slow in the window that just ended, beside the slowest of the others. */
static bool
copy_is_slow(const struct copy *c, uint64_t now)
{
    uint64_t waits_ns = without_way(c->peer, cw_own_copy_waits_ns(c, now));
    uint64_t mine = cw_max_u64(c->peer->ack_p99_ns, waits_ns), others = 0;
    bool known = false;

    for (uint32_t i = 0; i < c->s->n_copies; i++) {
        const struct copy *x = c->s->copies[i];

        if (x == c || !is_well(x))
            continue;
        others = cw_max_u64(others, x->peer->ack_p50_ns);
        known |= x->peer->ack_known;
    }
    return known && mine > cw_max_u64(SLOW_NS, SLOW_TIMES * others);
}

static void
shard_window(struct shard *s, uint64_t now)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        struct copy *c = s->copies[i];

        c->slow_windows = c->slow_windows << 1 | copy_is_slow(c, now);
    }
}

void
cw_own_gray_tick(struct cw_owner *o)
{
    uint64_t now = cw_own_now(o);

    if (now < o->second_ns)
        return;
    o->second_ns = now + CW_NS_PER_S;
    CW_LIST_EACH (it, &o->peers)
        peer_window(cw_list_entry(it, struct peer, node));
    CW_LIST_EACH (it, &o->volumes) {
        struct cw_volume *v = cw_list_entry(it, struct cw_volume, node);

        for (uint32_t i = 0; i < v->n_shards; i++)
            shard_window(v->shards[i], now);
    }
}

/* ---- demotion ---- */

bool
cw_own_gray_is_slow(const struct copy *c)
{
    return c->session == SESSION_OPEN &&
           cw_popcount(c->slow_windows & (CW_BIT(WINDOWS) - 1)) >= WINDOWS_SLOW;
}

bool
cw_own_may_set_aside(const struct copy *c, uint32_t n_others)
{
    return c->state == CW_MEMBER_INSYNC && cw_own_are_enough(c->s, n_others) &&
           cw_own_now(c->s->v->o) >= c->demote_after_ns;
}

/* It has to show first that it is fast. */
void
cw_own_gray_suspect(struct copy *c)
{
    c->slow_windows |= (uint32_t)CW_BIT(WINDOWS_FINE) - 1;
}

/* The manager has set aside as many disks as it may. */
void
cw_own_gray_refused(struct shard *s)
{
    for (uint32_t i = 0; i < s->n_copies; i++) {
        if (s->copies[i]->want == CW_MEMBER_LAGGING)
            s->copies[i]->demote_after_ns = cw_own_now(s->v->o) + REFUSED_NS;
    }
}

/* ---- promotion ---- */

static bool
copy_is_fine(const struct copy *c)
{
    return c->session == SESSION_OPEN && c->streaming && !c->held && !c->stalled && !c->faulty &&
           c->peer->stuck_since_ns == CW_NEVER && !cw_own_flap_holds(c) &&
           (c->slow_windows & (CW_BIT(WINDOWS_FINE) - 1)) == 0;
}

/* Whoever joins is waited for, without a change that says so: it may be given up without one. */
static void
copy_rejoin(struct copy *c)
{
    const struct cw_owner_tuning *t = &c->s->v->o->tun;
    uint64_t now = cw_own_now(c->s->v->o);

    if (c->joining && (!copy_is_fine(c) || cw_own_copy_waits_ns(c, now) > t->eject_ns)) {
        c->joining = false;
        c->add_after_ns = now + t->flap_min_ns;
        return;
    }
    if (c->joining || (copy_is_fine(c) && now >= c->add_after_ns &&
                       c->durable + BATCH_RECORDS >= c->s->ring.next))
        cw_own_promote(c, "caught up");
}

void
cw_own_gray_run(struct shard *s)
{
    if (s->v->state == CW_VOLUME_RELEASING)
        return;
    for (uint32_t i = 0; i < s->n_copies; i++) {
        if (s->copies[i]->state == CW_MEMBER_LAGGING && !s->copies[i]->async &&
            s->copies[i]->maybe == CW_BIT(CW_MEMBER_LAGGING))
            copy_rejoin(s->copies[i]);
    }
}
