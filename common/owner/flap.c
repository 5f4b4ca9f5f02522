/* Links that come and go: each time, writes wait for the copies behind them.
 *
 *   steady --the third flap within a minute--> shaky --not away for the back-off--> steady
 *
 * A flap: nothing is heard for two heartbeats while others answer. Copies behind a shaky link are
 * set aside, as slow ones are (gray.c), and not taken back as long as enough others are in sync.
 * The back-off is flap_min_ns, doubled with each flap that somebody waited for, up to flap_max_ns;
 * an hour without a flap, and they are forgotten. A loss that others share is our own link's and
 * counts for nobody; nor does one of a disk whose copies only follow, perhaps over a long way.
 */
#include "common/owner/room.h"

#define FEW_NS (60 * CW_NS_PER_S)
#define FORGET_NS (3600 * CW_NS_PER_S)

void
cw_own_flap_init(struct flaps *f)
{
    *f = (struct flaps){ .judged = true }; /* away until it is reached: no loss of ours */
}

/* Since when nothing is heard of it; now: it owes nothing. */
static uint64_t
silent_since(const struct peer *p, uint64_t now)
{
    if (p->state != PEER_UP || p->hb_acked_sent_ns == 0)
        return p->down_since_ns; /* a new link has to show that it is one */
    return cw_min_u64(cw_own_peer_silent_since(p), now);
}

/* x answered what was sent to it after p was lost, and was itself not even late since. */
static bool
was_well(const struct copy *x, const struct peer *p, uint64_t since)
{
    return x->session == SESSION_OPEN && !x->faulty && x->peer->flaps.late_ns < since &&
           x->peer->hb_acked_sent_ns > since + p->rtt_ns;
}

/* So many as the volume needs, or all that there are. */
static bool
others_were_well(const struct copy *c, uint64_t since)
{
    uint32_t n = 0, n_well = 0;

    for (uint32_t i = 0; i < c->s->n_copies && c->s->state == SHARD_ACTIVE; i++) {
        const struct copy *x = c->s->copies[i];

        if (x == c || x->state != CW_MEMBER_INSYNC)
            continue;
        n++;
        n_well += was_well(x, c->peer, since);
    }
    return n_well > 0 && n_well >= cw_min_u64(n, c->s->v->min_insync);
}

static void
flap_count(struct peer *p, bool felt, uint64_t now)
{
    struct flaps *f = &p->flaps;

    if (now - f->at_ns[0] >= FORGET_NS)
        f->n_felt = 0;
    for (uint32_t i = FLAPS_FEW - 1; i > 0; i--)
        f->at_ns[i] = f->at_ns[i - 1];
    f->at_ns[0] = now;
    f->n++;
    f->n_felt += felt;
    if (f->at_ns[FLAPS_FEW - 1] != 0 && now - f->at_ns[FLAPS_FEW - 1] < FEW_NS && !f->shaky) {
        f->shaky = true;
        cw_log(p->o->env, CW_LOG_WARNING, "peer %s: its link flaps", p->loc.addr);
    }
}

static void
flap_judge(struct peer *p, uint64_t since, uint64_t now)
{
    bool counts = false, felt = false;

    CW_LIST_EACH (it, &p->copies) {
        const struct copy *c = cw_list_entry(it, struct copy, peer_node);

        counts |= !c->async && others_were_well(c, since);
        felt |= cw_own_in_ack(c);
    }
    if (counts)
        flap_count(p, felt, now);
}

static uint64_t
back_off_ns(const struct peer *p)
{
    const struct cw_owner_tuning *t = &p->o->tun;
    uint32_t n = p->flaps.n_felt > 0 ? p->flaps.n_felt - 1 : 0;

    return cw_min_u64(t->flap_min_ns << (n < 20 ? n : 20), t->flap_max_ns);
}

static void
flap_heard(struct peer *p, uint64_t now)
{
    struct flaps *f = &p->flaps;

    f->judged = false;
    if (now - f->away_ns >= back_off_ns(p) || cw_mutated(CW_MUTATION_FLAP_FORGIVEN))
        f->shaky = false;
}

void
cw_own_flap_tick(struct peer *p)
{
    struct flaps *f = &p->flaps;
    uint64_t now = cw_own_now(p->o), since = silent_since(p, now), period = p->o->tun.heartbeat_ns;
    bool up = p->state == PEER_UP;

    if (!up || now - since >= period / 2 + p->rtt_ns)
        f->late_ns = now;
    if (up && now - since < period) {
        flap_heard(p, now);
        return;
    }
    f->away_ns = now;
    if (f->judged || now - since < 2 * period)
        return;
    f->judged = true;
    flap_judge(p, since, now);
}

bool
cw_own_flap_holds(const struct copy *c)
{
    uint32_t n = 0;

    if (!c->peer->flaps.shaky)
        return false;
    for (uint32_t i = 0; i < c->s->n_copies; i++)
        n += c->s->copies[i] != c && c->s->copies[i]->state == CW_MEMBER_INSYNC;
    return cw_own_are_enough(c->s, n);
}
