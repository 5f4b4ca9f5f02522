/* metadata/etcd-lead.c - our lease and our key.
 *
 *   FOLLOWING --nobody holds the key--> GRANTING --lease--> CAMPAIGNING --key made--> LEADING
 *       ^  \--a lease of ours may live: revoke it first                                  |
 *       |                                                                  asked to go   |
 *       +--lease over, key gone or another's-- (LEADING) -------- RESIGNING <------------+
 *
 * The lease counts from before its request was sent, so that here it is over earlier than in etcd.
 * A key that we may have made without being told is never taken up: its lease is revoked, and
 * campaigned for anew, so that each leadership has a create_revision of its own.
 */
#include <inttypes.h>

#include "daemon/metadata/etcd-internal.h"

#define KEEPALIVE_NS (500 * CW_NS_PER_MS)
#define AGAIN_NS (200 * CW_NS_PER_MS)
#define JITTER_MS 100u
#define TTL_MAX 3600u

static void
lead_at(struct cw_etcd *e, uint64_t at_ns)
{
    if (!cw_timer_armed(&e->lead.timer) || e->lead.timer.at_ns > at_ns)
        cw_timer_set(e->env, &e->lead.timer, at_ns);
}

void
cw_etcd_lead_step(struct cw_etcd *e)
{
    lead_at(e, cw_now_ns(e->env));
}

/* What etcd grants counts from when it was asked, and from nothing later. */
static bool
lead_extend(struct cw_etcd *e, const struct etcd_end *end, uint64_t ttl_s)
{
    struct etcd_lead *l = &e->lead;

    if (ttl_s == 0 || ttl_s > TTL_MAX)
        return false;
    l->ttl_s = ttl_s;
    l->until_ns = end->sent_ns + ttl_s * CW_NS_PER_S;
    return l->until_ns > cw_now_ns(e->env);
}

/* ---- the end of a leadership ---- */

void
cw_etcd_lead_depose(struct cw_etcd *e, const char *why)
{
    struct etcd_lead *l = &e->lead;

    cw_assert(l->role == ETCD_LEADING || l->role == ETCD_RESIGNING);
    l->role = ETCD_FOLLOWING;
    l->create_revision = 0;
    l->resign = l->revoking = false;
    cw_timer_cancel(e->env, &l->deadline);
    cw_etcd_ask_drop(&l->ask);
    cw_etcd_kv_fail(e);
    cw_etcd_view_look(e, 0);
    cw_etcd_lead_step(e);
    e->opts.ev->deposed(e->opts.user, why);
    cw_etcd_view_tell(e);
}

static void
lead_on_deadline(struct cw_timer *t)
{
    struct cw_etcd *e = cw_container_of(t, struct cw_etcd, lead.deadline);

    cw_etcd_lead_depose(
        e, e->lead.role == ETCD_RESIGNING ? "resigned" : "etcd did not extend the lease in time");
}

void
cw_etcd_lead_viewed(struct cw_etcd *e)
{
    const struct etcd_view *v = &e->view;
    struct etcd_lead *l = &e->lead;

    if (l->role == ETCD_LEADING && v->create_revision != l->create_revision)
        cw_etcd_lead_depose(e, v->held ? "another one holds the leader key"
                                       : "the leader key is gone");
    if (!v->held) {
        /* Not all at once. */
        l->not_before_ns = cw_max_u64(
            l->not_before_ns, cw_now_ns(e->env) + cw_random(e->env) % JITTER_MS * CW_NS_PER_MS);
        cw_etcd_lead_step(e);
    }
}

/* ---- what is asked ---- */

static void
lead_revoke(struct cw_etcd *e)
{
    e->lead.revoking = true;
    cw_etcd_ask(&e->lead.ask, "/v3/lease/revoke",
                cw_etcd_pack("{s:o}", "ID", cw_etcd_json_number(e->lead.lease)), ETCD_LEAD_MS,
                true);
}

static void
lead_on_revoked(struct cw_etcd *e, const struct etcd_end *end)
{
    struct etcd_lead *l = &e->lead;
    bool gone = end->outcome == ETCD_ANSWERED ||
                (end->outcome == ETCD_REFUSED && end->code == CW_ETCD_CODE_NOT_FOUND);

    l->revoking = false;
    if (gone || cw_now_ns(e->env) >= l->until_ns + CW_NS_PER_S)
        l->lease = 0; /* or over by itself; a key that is there all the same is looked at */
    if (l->role == ETCD_RESIGNING) {
        cw_etcd_lead_depose(e, "resigned");
        return;
    }
    cw_etcd_view_look(e, 0);
    lead_at(e, cw_now_ns(e->env) + AGAIN_NS);
}

static void
lead_grant(struct cw_etcd *e)
{
    e->lead.role = ETCD_GRANTING;
    cw_etcd_ask(&e->lead.ask, "/v3/lease/grant",
                cw_etcd_pack("{s:o}", "TTL", cw_etcd_json_number(CW_ETCD_LEASE_S)), ETCD_LEAD_MS,
                true);
}

static void
lead_campaign(struct cw_etcd *e)
{
    json_t *compare = cw_etcd_pack("{s:o,s:s,s:s,s:s}", "key", cw_etcd_key(e, ETCD_LEADER_KEY),
                                   "target", "CREATE", "result", "EQUAL", "create_revision", "0");
    json_t *put = cw_etcd_pack("{s:o,s:o,s:o}", "key", cw_etcd_key(e, ETCD_LEADER_KEY), "value",
                               cw_etcd_json_bytes(e->value, strlen(e->value)), "lease",
                               cw_etcd_json_number(e->lead.lease));

    e->lead.role = ETCD_CAMPAIGNING;
    cw_etcd_ask(
        &e->lead.ask, "/v3/kv/txn",
        cw_etcd_pack("{s:[o],s:[{s:o}]}", "compare", compare, "success", "request_put", put),
        ETCD_LEAD_MS, false);
}

static void
lead_follow(struct cw_etcd *e, uint64_t again_ns)
{
    e->lead.role = ETCD_FOLLOWING;
    lead_at(e, cw_now_ns(e->env) + again_ns);
}

static void
lead_on_granted(struct cw_etcd *e, const struct etcd_end *end)
{
    struct etcd_lead *l = &e->lead;
    uint64_t id, ttl_s;

    if (end->outcome == ETCD_ANSWERED && cw_etcd_json_get(end->root, "ID", &id) && id != 0 &&
        cw_etcd_json_get(end->root, "TTL", &ttl_s)) {
        l->lease = id;
        if (lead_extend(e, end, ttl_s)) {
            lead_campaign(e);
            return;
        }
    }
    if (end->outcome == ETCD_REFUSED)
        cw_log(e->env, CW_LOG_ERROR, "%s: no lease: %s", e->name, end->why);
    lead_follow(e, end->outcome == ETCD_REFUSED ? CW_NS_PER_S : AGAIN_NS);
}

static void
lead_on_campaigned(struct cw_etcd *e, const struct etcd_end *end)
{
    struct etcd_lead *l = &e->lead;
    uint64_t revision = end->outcome == ETCD_ANSWERED ? cw_etcd_revision(end->root) : 0;

    if (end->outcome == ETCD_REFUSED)
        cw_log(e->env, CW_LOG_ERROR, "%s: cannot write the leader key: %s", e->name, end->why);
    if (revision == 0 || !json_is_true(json_object_get(end->root, "succeeded")) ||
        l->until_ns <= cw_now_ns(e->env) || !l->campaign) {
        cw_etcd_view_look(e, 0);
        lead_follow(e, end->outcome == ETCD_REFUSED ? CW_NS_PER_S : 0);
        return;
    }
    l->role = ETCD_LEADING;
    l->create_revision = revision;
    l->resign = false;
    cw_timer_set(e->env, &l->deadline, l->until_ns);
    lead_at(e, cw_now_ns(e->env) + KEEPALIVE_NS);
    e->opts.ev->elected(e->opts.user);
    cw_etcd_view_own(e, revision, l->lease);
}

static void
lead_on_kept(struct cw_etcd *e, const struct etcd_end *end)
{
    struct etcd_lead *l = &e->lead;
    uint64_t id, ttl_s;

    if (end->outcome != ETCD_ANSWERED || !cw_etcd_json_get(end->root, "ID", &id) ||
        id != l->lease || !cw_etcd_json_get(end->root, "TTL", &ttl_s)) {
        lead_at(e, cw_now_ns(e->env) + AGAIN_NS);
        return;
    }
    if (!lead_extend(e, end, ttl_s)) {
        cw_etcd_lead_depose(e, "the lease is over");
        return;
    }
    cw_timer_set(e->env, &l->deadline, l->until_ns);
    lead_at(e, end->sent_ns + KEEPALIVE_NS);
}

static void
lead_on_end(struct etcd_ask *a, const struct etcd_end *end)
{
    struct cw_etcd *e = a->e;

    if (e->lead.revoking) {
        lead_on_revoked(e, end);
        return;
    }
    switch (e->lead.role) {
    case ETCD_GRANTING:
        lead_on_granted(e, end);
        return;
    case ETCD_CAMPAIGNING:
        lead_on_campaigned(e, end);
        return;
    case ETCD_LEADING:
        lead_on_kept(e, end);
        return;
    case ETCD_FOLLOWING:
    case ETCD_RESIGNING:
        break;
    }
    cw_unreachable();
}

/* ---- steps ---- */

static void
lead_step_leading(struct cw_etcd *e)
{
    struct etcd_lead *l = &e->lead;

    if (l->resign || !l->campaign) {
        cw_etcd_ask_drop(&l->ask);
        l->role = ETCD_RESIGNING;
        cw_etcd_lead_step(e);
        return;
    }
    if (!l->ask.busy)
        cw_etcd_ask(&l->ask, "/v3/lease/keepalive",
                    cw_etcd_pack("{s:o}", "ID", cw_etcd_json_number(l->lease)), ETCD_LEAD_MS, true);
}

static void
lead_step_following(struct cw_etcd *e)
{
    struct etcd_lead *l = &e->lead;
    const struct etcd_view *v = &e->view;

    l->resign = false;
    if (l->lease != 0)
        lead_revoke(e);
    else if (l->campaign && v->known && !v->held && cw_now_ns(e->env) >= l->not_before_ns)
        lead_grant(e);
    else if (l->campaign && v->known && !v->held)
        lead_at(e, l->not_before_ns);
}

static void
lead_on_timer(struct cw_timer *t)
{
    struct cw_etcd *e = cw_container_of(t, struct cw_etcd, lead.timer);
    struct etcd_lead *l = &e->lead;

    switch (l->role) {
    case ETCD_LEADING:
        lead_step_leading(e);
        return;
    case ETCD_RESIGNING: /* a transaction under way may end first */
        if (!l->ask.busy && !cw_etcd_kv_committing(e))
            lead_revoke(e);
        return;
    case ETCD_FOLLOWING:
        if (!l->ask.busy)
            lead_step_following(e);
        return;
    case ETCD_GRANTING:
    case ETCD_CAMPAIGNING:
        return; /* the answer goes on */
    }
}

/* ---- the interface ---- */

void
cw_etcd_campaign(struct cw_etcd *e, bool yes)
{
    e->lead.campaign = yes;
    cw_etcd_lead_step(e);
}

void
cw_etcd_resign(struct cw_etcd *e, uint64_t away_ms)
{
    struct etcd_lead *l = &e->lead;

    l->resign = true;
    l->not_before_ns = cw_max_u64(l->not_before_ns, cw_now_ns(e->env) + away_ms * CW_NS_PER_MS);
    cw_etcd_lead_step(e);
}

void
cw_etcd_lead_init(struct cw_etcd *e)
{
    cw_etcd_ask_init(&e->lead.ask, e, lead_on_end);
    e->lead.timer.fn = lead_on_timer;
    e->lead.deadline.fn = lead_on_deadline;
}

void
cw_etcd_lead_fini(struct cw_etcd *e)
{
    cw_timer_cancel(e->env, &e->lead.timer);
    cw_timer_cancel(e->env, &e->lead.deadline);
    cw_etcd_ask_drop(&e->lead.ask);
}
