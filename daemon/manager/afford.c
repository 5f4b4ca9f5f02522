/* manager/afford.c - what would a policy cost here, and what would be left of it after a loss?
 *
 * Asked with an example: a new shard is placed by the rule among the disks as they are, then among
 * what is left without the worst host, and the worst site. How much could be stored counts the free
 * space of usable disks, each domain at most once per copy.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/manager/internal.h"

struct afford {
    const struct cw_manager *m;
    struct cw_mgr_arena *a;
    const struct cw_policy_rec *policy;
    struct cw_place_rule rule;
    struct cw_place_disk *disks;
    size_t n;
    struct cw_place_answer got; /* with all disks */
};

/* ---- space ---- */

static uint32_t
domain_no(const struct afford *f, const struct cw_place_disk *d)
{
    switch (f->rule.spread) {
    case CW_PLACE_HOST:
        return d->host_no;
    case CW_PLACE_RACK:
        return d->rack_no;
    case CW_PLACE_SITE:
        return d->site_no;
    }
    cw_unreachable();
}

/* What the copies of so many bytes find room for, in one site or ("") in all that the rule allows;
 * free is by domain. */
static uint64_t
room_for(const struct afford *f, const uint64_t *free_bytes, const char *const *site,
         size_t n_domains, const char *in, uint64_t bytes)
{
    uint64_t room = 0;

    for (size_t i = 1; i <= n_domains; i++) {
        if (in[0] == '\0' || (site[i] != NULL && strcmp(site[i], in) == 0))
            room += cw_min_u64(free_bytes[i], bytes);
    }
    return room;
}

static bool
fits(const struct afford *f, const uint64_t *free_bytes, const char *const *site, size_t n_domains,
     uint64_t bytes)
{
    const struct cw_place_rule *r = &f->rule;

    for (uint32_t i = 0; r->sites == CW_PLACE_EACH && i < r->n_sites; i++) {
        if (room_for(f, free_bytes, site, n_domains, r->site[i], bytes) < r->each * bytes)
            return false;
    }
    return room_for(f, free_bytes, site, n_domains, "", bytes) >= r->copies * bytes;
}

static uint64_t
storable(const struct afford *f)
{
    uint64_t *free_bytes = cw_mgr_arena_get(f->a, f->n + 2, sizeof(*free_bytes)), lo = 0, hi = 0;
    const char **site = cw_mgr_arena_get(f->a, f->n + 2, sizeof(*site));

    for (size_t i = 0; i < f->n; i++) {
        const struct cw_place_disk *d = &f->disks[i];

        if (!d->usable || d->load_bytes >= d->size_bytes ||
            (f->rule.sites == CW_PLACE_ONLY && !cw_place_listed(&f->rule, d)))
            continue;
        site[domain_no(f, d)] = d->site;
        free_bytes[domain_no(f, d)] += d->size_bytes - d->load_bytes;
        hi += d->size_bytes - d->load_bytes;
    }
    while (lo + CW_MIB < hi) {
        uint64_t mid = lo + (hi - lo) / 2;

        if (fits(f, free_bytes, (const char *const *)site, f->n, mid))
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* ---- losses ---- */

enum loss_kind { LOSS_HOST, LOSS_SITE };

static uint32_t
loss_no(enum loss_kind kind, const struct cw_place_disk *d)
{
    return kind == LOSS_HOST ? d->host_no : d->site_no;
}

static uint32_t
copies_in(const struct afford *f, enum loss_kind kind, uint32_t no)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < f->got.n; i++)
        n += loss_no(kind, &f->disks[f->got.at[i]]) == no;
    return n;
}

static const char *
loss_then(const struct afford *f, uint32_t left)
{
    const struct cw_policy_rec *p = f->policy;

    if (left == 0)
        return "the volume does not serve until it returns";
    if (left >= cw_mgr_min_insync(p))
        return "reads and writes go on";
    if (p->degrade_s < 0)
        return "reads go on, writes wait until enough copies are in sync";
    return cw_mgr_arena_printf(f->a, "reads go on, writes wait %d s (degrade), then go on",
                               p->degrade_s);
}

/* Is this one worse than what ret tells of? */
static bool
loss_try(struct afford *f, enum loss_kind kind, const struct cw_place_disk *of, bool first,
         struct cw_mgr_policy_loss *ret)
{
    bool *was = cw_mgr_arena_get(f->a, f->n + 1, sizeof(*was));
    uint32_t no = loss_no(kind, of);
    struct cw_mgr_policy_loss l = { .kind = kind == LOSS_HOST ? "host" : "site",
                                    .name = kind == LOSS_HOST ? of->host : of->site,
                                    .copies_left = f->got.n - copies_in(f, kind, no) };
    struct cw_place_answer got;
    bool worse;

    for (size_t i = 0; i < f->n; i++) {
        was[i] = f->disks[i].usable;
        f->disks[i].usable &= loss_no(kind, &f->disks[i]) != no;
    }
    l.met = cw_place(&f->rule, f->disks, f->n, NULL, 0, 0, &got);
    l.storable_bytes = storable(f);
    for (size_t i = 0; i < f->n; i++)
        f->disks[i].usable = was[i];
    worse = first || l.copies_left < ret->copies_left ||
            (l.copies_left == ret->copies_left &&
             (l.met < ret->met || (l.met == ret->met && (l.storable_bytes < ret->storable_bytes ||
                                                         (l.storable_bytes == ret->storable_bytes &&
                                                          strcmp(l.name, ret->name) < 0)))));
    if (!worse)
        return false;
    l.then = loss_then(f, l.copies_left);
    l.why = l.met ? "" : cw_mgr_arena_text(f->a, got.why);
    *ret = l;
    return true;
}

static void
loss_worst(struct afford *f, enum loss_kind kind, struct cw_mgr_policy_check_reply *ret)
{
    struct cw_mgr_policy_loss *worst = &ret->losses[ret->n_losses];
    bool *seen = cw_mgr_arena_get(f->a, f->n + 2, sizeof(*seen)), first = true;

    for (size_t i = 0; i < f->n; i++) {
        uint32_t no = loss_no(kind, &f->disks[i]);

        if (seen[no])
            continue;
        seen[no] = true;
        loss_try(f, kind, &f->disks[i], first, worst);
        first = false;
    }
    ret->n_losses += !first;
}

/* ---- the call ---- */

/* "dc1, aws", each once. */
static const char *
sites_text(const struct afford *f)
{
    const char *text = "";

    for (uint32_t i = 0; i < f->got.n; i++) {
        const struct cw_place_disk *d = &f->disks[f->got.at[i]];
        bool again = false;

        for (uint32_t k = 0; k < i; k++)
            again |= f->disks[f->got.at[k]].site_no == d->site_no;
        if (!again)
            text = cw_mgr_arena_printf(f->a, "%s%s%s", text, text[0] != '\0' ? ", " : "", d->site);
    }
    return text;
}

/* An owner waits for the farthest copy. 0: the way to one of them is not known. */
static uint64_t
wait_of(const struct afford *f, const char *from, const char **ret_site)
{
    uint64_t worst = 0;

    *ret_site = from;
    for (uint32_t i = 0; i < f->got.n; i++) {
        const char *site = f->disks[f->got.at[i]].site;
        const struct mgr_way *w = cw_mgr_way(f->m, from, site);

        if (strcmp(site, from) == 0 && (w == NULL || w->rtt_ns == 0))
            continue; /* within a site it is the least of it */
        if (w == NULL || w->rtt_ns == 0) {
            *ret_site = site;
            return 0;
        }
        if (w->rtt_ns > worst) {
            worst = w->rtt_ns;
            *ret_site = site;
        }
    }
    return worst;
}

/* Owners are rather where they wait least. */
static void
wait_fill(const struct afford *f, struct cw_mgr_policy_check_reply *ret)
{
    ret->wait_from = ret->wait_site = "";
    for (uint32_t i = 0; i < f->got.n; i++) {
        const char *from = f->disks[f->got.at[i]].site, *site;
        uint64_t ns = wait_of(f, from, &site);

        if (ns == 0 || (ret->write_wait_ns != 0 && ns >= ret->write_wait_ns))
            continue;
        ret->write_wait_ns = ns;
        ret->wait_from = from;
        ret->wait_site = site;
    }
}

/* "34 ms", "0.3 ms" */
static const char *
ms_text(const struct afford *f, uint64_t ns)
{
    uint64_t tenths = (ns + CW_NS_PER_MS / 20) / (CW_NS_PER_MS / 10);

    if (tenths >= 100)
        return cw_mgr_arena_printf(f->a, "%llu ms", (unsigned long long)((tenths + 5) / 10));
    if (tenths == 0)
        return "less than 0.1 ms";
    return cw_mgr_arena_printf(f->a, "%llu.%llu ms", (unsigned long long)(tenths / 10),
                               (unsigned long long)(tenths % 10));
}

static const char *
trips_text(const struct afford *f, const struct cw_mgr_policy_check_reply *r)
{
    const char *sites = sites_text(f), *wait = "";
    bool far = strchr(sites, ',') != NULL;

    if (f->got.n == 0)
        return "one per write";
    if (r->write_wait_ns != 0 && far)
        wait = cw_mgr_arena_printf(f->a, ": each write waits for %s: %s (its owner is in %s)",
                                   r->wait_site, ms_text(f, r->write_wait_ns), r->wait_from);
    else if (r->write_wait_ns != 0)
        wait = cw_mgr_arena_printf(f->a, ": %s", ms_text(f, r->write_wait_ns));
    else if (far)
        wait = ": the farthest decides (how far they are is not measured yet)";
    return far ? cw_mgr_arena_printf(f->a, "one per write, to copies in %s at once%s", sites, wait)
               : cw_mgr_arena_printf(f->a, "one per write, within site %s%s", sites, wait);
}

static const char *
volatile_warning(const struct afford *f)
{
    const char *sites = sites_text(f);

    for (uint32_t i = 0; i < f->got.n; i++) {
        if (!f->disks[f->got.at[i]].is_volatile)
            return "";
    }
    return f->got.n == 0 ? ""
                         : cw_mgr_arena_printf(f->a,
                                               "every copy would lie on volatile stores (%s), "
                                               "which die with their instances: let a copy lie "
                                               "elsewhere",
                                               sites);
}

static void
afford(struct afford *f, struct cw_mgr_policy_check_reply *ret)
{
    cw_mgr_policy_fill(f->policy, f->a, &ret->policy);
    f->disks = cw_mgr_place_disks(f->m, f->a, MGR_PLACE_NEW, &f->n);
    ret->met = cw_place(&f->rule, f->disks, f->n, NULL, 0, 0, &f->got);
    if (!ret->met)
        cw_mgr_place_hint(f->m, MGR_PLACE_NEW, &f->got);
    ret->why = cw_mgr_arena_text(f->a, f->got.why);
    ret->hint = cw_mgr_arena_text(f->a, f->got.hint);
    ret->factor = f->policy->copies + (strcmp(f->policy->async, "none") != 0);
    ret->storable_bytes = storable(f);
    ret->round_trips = 1;
    ret->warning = volatile_warning(f);
    wait_fill(f, ret);
    ret->round_trips_text = trips_text(f, ret);
    ret->losses = cw_mgr_arena_get(f->a, 2, sizeof(*ret->losses));
    if (!ret->met)
        return; /* there is no example to take anything from */
    loss_worst(f, LOSS_HOST, ret);
    loss_worst(f, LOSS_SITE, ret);
}

void
cw_mgr_call_policy_check(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_policy *q = &call->req.policy_put.policy;
    struct afford f = { .m = m, .a = cw_mgr_reply_arena(call) };
    const struct mgr_policy *old = cw_mgr_find_policy(&m->t, q->name);
    struct cw_policy_rec p;

    if (q->name[0] != '\0' && old == NULL) {
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, q->name, "there is no policy %.63s", q->name);
        cw_mgr_error_hint(&call->error, "see: causeway policy ls; or give KEY=VALUE alone");
        cw_mgr_done(call);
        return;
    }
    if (old != NULL)
        p = old->o.rec.policy;
    else
        cw_mgr_policy_default(&p);
    f.policy = &p;
    if (cw_mgr_policy_take(&p, q, &call->error) && cw_mgr_policy_rule(&p, &f.rule, &call->error))
        afford(&f, &call->reply.policy_check);
    cw_mgr_done(call);
}
