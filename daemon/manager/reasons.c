/* manager/reasons.c - for every copy of a volume: why it is there, and why it is nowhere else.
 *
 * Told from what placement goes by (plan.h, placement.h), in the order in which it counts: a disk
 * that takes none, the rule, space, what is preferred, load, chance. The same state gives the same
 * text.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define SHARDS_TOLD 16u
#define OTHERS_TOLD 12u

struct why {
    const struct cw_manager *m;
    struct cw_mgr_arena *a;
    const struct cw_policy_rec *policy;
    struct cw_place_rule rule;
    struct cw_place_disk *disks;
    size_t n;
    const struct mgr_shard *s;
    struct mgr_plan plan;
};

static const struct cw_place_disk *
member_place(const struct why *w, uint32_t i)
{
    return cw_mgr_place_find(w->disks, w->n, &w->s->o.rec.shard.members[i].disk_uuid);
}

static bool
is_copy(const struct why *w, uint32_t i)
{
    return cw_mgr_member_counts(&w->s->o.rec.shard.members[i]) && member_place(w, i) != NULL;
}

/* Copies that stay in this site, but for one. */
static uint32_t
n_in_site(const struct why *w, const char *site, uint32_t but)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < w->s->o.rec.shard.n_members; i++)
        n += i != but && ((w->plan.keep | w->plan.hold) & CW_BIT(i)) && is_copy(w, i) &&
             strcmp(member_place(w, i)->site, site) == 0;
    return n;
}

static const char *
why_there(const struct why *w, uint32_t i)
{
    const struct cw_member *mb = &w->s->o.rec.shard.members[i];
    const struct cw_place_disk *d = member_place(w, i);
    const char *domain = w->policy->spread;

    if (mb->state == CW_MEMBER_JOURNAL)
        return "it keeps new writes while a copy is missing, and goes when enough are in sync";
    if (mb->async)
        return cw_mgr_arena_printf(w->a, "it follows in order and is not waited for (async=%s)",
                                   w->policy->async);
    if (d == NULL)
        return "its disk is not known any more: another takes its place";
    if (cw_mgr_member_leaves(w->m, mb))
        return w->plan.hold & CW_BIT(i)
                   ? cw_mgr_arena_printf(w->a, "its disk is to be emptied, but: %s", w->plan.why)
                   : "its disk is to be emptied: it leaves when another is in sync";
    if (!((w->plan.keep | w->plan.hold) & CW_BIT(i)))
        return "it leaves: the policy wants none there, or fewer, and others take its place";
    if (w->plan.hold & CW_BIT(i))
        return cw_mgr_arena_printf(w->a, "the policy wants none there, but: %s", w->plan.why);
    if (w->rule.sites == CW_PLACE_EACH && cw_place_listed(&w->rule, d))
        return cw_mgr_arena_printf(w->a, "one of %u that the policy wants in site %s", w->rule.each,
                                   d->site);
    if (w->rule.sites == CW_PLACE_ONLY)
        return cw_mgr_arena_printf(w->a, "the policy wants it in site %s; the one copy in this %s",
                                   d->site, domain);
    if (w->rule.sites == CW_PLACE_PREFER && cw_place_listed(&w->rule, d))
        return cw_mgr_arena_printf(w->a, "the policy prefers site %s; the one copy in this %s",
                                   d->site, domain);
    if (n_in_site(w, d->site, i) == 0)
        return cw_mgr_arena_printf(w->a, "the one copy in site %s", d->site);
    return cw_mgr_arena_printf(w->a, "the one copy in this %s", domain);
}

/* The rule alone: could it lie there, if the others stay? NULL: yes. */
static const char *
rule_refuses(const struct why *w, uint32_t i, const struct cw_place_disk *d)
{
    const struct cw_shard_rec *r = &w->s->o.rec.shard;

    if (w->rule.sites == CW_PLACE_ONLY && !cw_place_listed(&w->rule, d))
        return cw_mgr_arena_printf(w->a, "rule: sites=%s", w->policy->sites);
    for (uint32_t k = 0; k < r->n_members; k++) {
        if (k != i && (w->plan.keep & CW_BIT(k)) && is_copy(w, k) &&
            cw_place_clash(&w->rule, d, member_place(w, k)))
            return cw_mgr_arena_printf(w->a, "rule: spread=%s, a copy is on %s", w->policy->spread,
                                       member_place(w, k)->host);
    }
    for (uint32_t k = 0; w->rule.sites == CW_PLACE_EACH && k < w->rule.n_sites; k++) {
        const char *site = w->rule.site[k];

        if (n_in_site(w, site, i) + (strcmp(d->site, site) == 0) < w->rule.each)
            return cw_mgr_arena_printf(w->a, "rule: sites=%s, %s would have too few",
                                       w->policy->sites, site);
    }
    return NULL;
}

/* What it would have in common with the others that stay; more is worse. */
static uint32_t
n_shared(const struct why *w, uint32_t i, const struct cw_place_disk *d)
{
    uint32_t n = 0;

    for (uint32_t k = 0; k < w->s->o.rec.shard.n_members; k++) {
        if (k == i || !(w->plan.keep & CW_BIT(k)) || !is_copy(w, k))
            continue;
        n += (member_place(w, k)->site_no == d->site_no) * 8 +
             (member_place(w, k)->rack_no == d->rack_no);
    }
    return n;
}

static const char *
why_not(const struct why *w, uint32_t i, const struct cw_place_disk *d)
{
    const struct mgr_disk *md = cw_mgr_find_disk(&w->m->t, &d->uuid);
    const struct cw_place_disk *own = member_place(w, i);
    const char *rule;

    if (!cw_mgr_disk_serves(w->m, md) || md->o.rec.disk.failed)
        return "it does not serve";
    if (md->o.rec.disk.quarantined)
        return "it is quarantined";
    if ((rule = rule_refuses(w, i, d)) != NULL)
        return rule;
    if (!d->usable)
        return cw_mgr_arena_printf(w->a, "space: %u %% full", cw_mgr_disk_percent(md));
    if (own == NULL)
        return "it could take it";
    if (w->rule.sites == CW_PLACE_PREFER &&
        cw_place_listed(&w->rule, own) != cw_place_listed(&w->rule, d))
        return cw_place_listed(&w->rule, own)
                   ? cw_mgr_arena_printf(w->a, "rule: sites=%s", w->policy->sites)
                   : "it is preferred, which alone moves no copy";
    if (n_shared(w, i, d) != n_shared(w, i, own))
        return n_shared(w, i, d) > n_shared(w, i, own)
                   ? "rule: another copy is in its site or rack"
                   : "farther from the others, which alone moves no copy";
    if (cw_place_tenths(d) > cw_place_tenths(own))
        return cw_mgr_arena_printf(w->a, "load: %u %% full, where it lies %u %%",
                                   cw_mgr_disk_percent(md),
                                   cw_mgr_disk_percent(cw_mgr_find_disk(&w->m->t, &own->uuid)));
    return "as good; a copy stays where it is";
}

static bool
holds_member(const struct why *w, const struct cw_place_disk *d)
{
    const struct cw_shard_rec *r = &w->s->o.rec.shard;

    for (uint32_t i = 0; i < r->n_members; i++) {
        if (cw_uuid_equal(&r->members[i].disk_uuid, &d->uuid))
            return true;
    }
    return false;
}

static void
copy_fill(const struct why *w, uint32_t i, struct cw_mgr_reason *ret)
{
    const struct cw_member *mb = &w->s->o.rec.shard.members[i];
    struct cw_mgr_location at;

    cw_mgr_location_fill(w->m, &mb->disk_uuid, mb->format_id, &at);
    *ret = (struct cw_mgr_reason){
        .shard = w->s->o.rec.shard.shard,
        .copy = cw_mgr_arena_printf(w->a, "%s/%s/%s", at.domain.site, at.host, at.name),
        .state = mb->state,
        .why = why_there(w, i),
        .others = cw_mgr_arena_get(w->a, OTHERS_TOLD, sizeof(*ret->others)),
    };
    for (size_t k = 0; k < w->n && cw_mgr_member_counts(mb); k++) {
        const struct cw_place_disk *d = &w->disks[k];
        const struct mgr_disk *md = cw_mgr_find_disk(&w->m->t, &d->uuid);

        if (holds_member(w, d))
            continue;
        if (ret->n_others == OTHERS_TOLD) {
            ret->n_more++;
            continue;
        }
        ret->others[ret->n_others++] = cw_mgr_arena_printf(w->a, "%s/%s/%s: %s", d->site, d->host,
                                                           md->o.rec.disk.name, why_not(w, i, d));
    }
}

void
cw_mgr_call_volume_explain(struct cw_manager *m, struct cw_mgr_call *call)
{
    const char *name = call->req.name;
    const struct mgr_volume *v = cw_mgr_find_volume_named(&m->t, name);
    struct cw_mgr_reasons *r = &call->reply.reasons;
    struct why w = { .m = m, .a = cw_mgr_reply_arena(call) };
    struct cw_mgr_error err;

    if (v == NULL) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, name, "there is no volume %.63s", name);
        cw_mgr_done(call);
        return;
    }
    w.policy = cw_mgr_volume_policy(m, &v->o.rec.volume);
    w.disks = cw_mgr_place_disks(m, w.a, MGR_PLACE_LOST, &w.n);
    r->reasons = cw_mgr_arena_get(w.a, SHARDS_TOLD * CW_MEMBERS_MAX, sizeof(*r->reasons));
    if (!cw_mgr_policy_rule(w.policy, &w.rule, &err)) {
        cw_mgr_done(call);
        return;
    }
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        w.s = cw_mgr_shard_of(m, v, i);
        if (w.s == NULL || i >= SHARDS_TOLD) {
            r->n_more += w.s != NULL;
            continue;
        }
        cw_mgr_plan(m, w.s, &w.rule, w.disks, w.n, &w.plan);
        for (uint32_t k = 0; k < w.s->o.rec.shard.n_members; k++)
            copy_fill(&w, k, &r->reasons[r->n_reasons++]);
    }
    cw_mgr_done(call);
}
