#include "daemon/manager/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

struct place {
    const struct cw_place_rule *rule;
    const struct cw_place_disk *disks;
    size_t n_disks;
    uint64_t seed;
    uint32_t held[2 * CW_PLACE_COPIES_MAX + 8]; /* indices: have, then chosen */
    uint32_t n_held;
    const uint32_t *but;
    uint32_t n_but;
};

static bool
same_site(const struct cw_place_disk *a, const struct cw_place_disk *b)
{
    return a->site_no == b->site_no;
}

static bool
same_rack(const struct cw_place_disk *a, const struct cw_place_disk *b)
{
    return a->rack_no == b->rack_no;
}

static bool
same_host(const struct cw_place_disk *a, const struct cw_place_disk *b)
{
    return a->host_no == b->host_no;
}

static bool
same_domain(enum cw_place_spread spread, const struct cw_place_disk *a,
            const struct cw_place_disk *b)
{
    switch (spread) {
    case CW_PLACE_HOST:
        return same_host(a, b);
    case CW_PLACE_RACK: /* a host without a rack shares the nameless one of its site */
        return same_host(a, b) || same_rack(a, b);
    case CW_PLACE_SITE:
        return same_host(a, b) || same_site(a, b);
    }
    cw_unreachable();
}

static const char *
spread_name(enum cw_place_spread spread)
{
    switch (spread) {
    case CW_PLACE_HOST:
        return "host";
    case CW_PLACE_RACK:
        return "rack";
    case CW_PLACE_SITE:
        return "site";
    }
    cw_unreachable();
}

static bool
site_listed(const struct cw_place_rule *r, const char *site)
{
    for (uint32_t i = 0; i < r->n_sites; i++) {
        if (strcmp(r->site[i], site) == 0)
            return true;
    }
    return false;
}

static bool
domain_free(const struct place *p, const struct cw_place_disk *d)
{
    for (uint32_t i = 0; i < p->n_held; i++) {
        if (same_domain(p->rule->spread, d, &p->disks[p->held[i]]))
            return false;
    }
    return true;
}

static uint32_t
held_in_site(const struct place *p, const char *site)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n_held; i++)
        n += strcmp(p->disks[p->held[i]].site, site) == 0;
    return n;
}

/* May d take a copy now? quota_site: only in that site; NULL: anywhere the rule allows. */
static bool
disk_allowed(const struct place *p, const struct cw_place_disk *d, const char *quota_site)
{
    if (!d->usable || !domain_free(p, d))
        return false;
    for (uint32_t i = 0; i < p->n_but; i++) {
        if (&p->disks[p->but[i]] == d)
            return false;
    }
    if (quota_site != NULL)
        return strcmp(d->site, quota_site) == 0;
    return p->rule->sites != CW_PLACE_ONLY || site_listed(p->rule, d->site);
}

uint64_t
cw_place_tenths(const struct cw_place_disk *d)
{
    return d->size_bytes == 0 ? UINT64_MAX : d->load_bytes / d->tenth_bytes;
}

struct score {
    bool lasts; /* or there is a copy that does */
    bool preferred, new_site, new_rack;
    uint64_t load; /* tenths of its size, so that nearly equal disks are chosen by what follows */
    uint32_t far;  /* the farthest of the other copies: writes wait for it */
    uint64_t chance;
};

static struct score
disk_score(const struct place *p, const struct cw_place_disk *d)
{
    struct score s = {
        .lasts = !d->is_volatile,
        .preferred = p->rule->sites == CW_PLACE_PREFER && site_listed(p->rule, d->site),
        .new_site = true,
        .new_rack = true,
        .load = cw_place_tenths(d),
        .chance = cw_mix64(d->hash ^ p->seed),
    };

    for (uint32_t i = 0; i < p->n_held; i++) {
        s.new_site &= !same_site(d, &p->disks[p->held[i]]);
        s.new_rack &= !same_rack(d, &p->disks[p->held[i]]);
        s.lasts |= !p->disks[p->held[i]].is_volatile;
        if (d->far_of != NULL && d->far_of[p->disks[p->held[i]].site_no] > s.far)
            s.far = d->far_of[p->disks[p->held[i]].site_no];
    }
    return s;
}

static bool
score_better(const struct score *a, const struct score *b)
{
    if (a->lasts != b->lasts)
        return a->lasts;
    if (a->preferred != b->preferred)
        return a->preferred;
    if (a->new_site != b->new_site)
        return a->new_site;
    if (a->new_rack != b->new_rack)
        return a->new_rack;
    if (a->load != b->load)
        return a->load < b->load;
    if (a->far != b->far)
        return a->far < b->far;
    return a->chance > b->chance;
}

/* The best disk for one more copy; false if none is allowed. */
static bool
place_one(struct place *p, const char *quota_site)
{
    struct score best = { 0 };
    size_t found = p->n_disks;

    for (size_t i = 0; i < p->n_disks; i++) {
        struct score s;

        if (!disk_allowed(p, &p->disks[i], quota_site))
            continue;
        s = disk_score(p, &p->disks[i]);
        if (found == p->n_disks || score_better(&s, &best) ||
            (!score_better(&best, &s) &&
             memcmp(&p->disks[i].uuid, &p->disks[found].uuid, sizeof(struct cw_uuid)) < 0)) {
            best = s;
            found = i;
        }
    }
    if (found == p->n_disks)
        return false;
    p->held[p->n_held++] = (uint32_t)found;
    return true;
}

/* Fills quotas first, then the rest. Returns how many copies are held then. */
static uint32_t
place_all(struct place *p, const char **ret_short_site)
{
    const struct cw_place_rule *r = p->rule;

    *ret_short_site = NULL;
    for (uint32_t i = 0; r->sites == CW_PLACE_EACH && i < r->n_sites; i++) {
        while (held_in_site(p, r->site[i]) < r->each && *ret_short_site == NULL) {
            if (p->n_held >= r->copies || !place_one(p, r->site[i]))
                *ret_short_site = r->site[i];
        }
    }
    while (p->n_held < r->copies && place_one(p, NULL))
        ;
    return p->n_held;
}

static void
place_begin(struct place *p, const struct cw_place_rule *rule, const struct cw_place_disk *disks,
            size_t n_disks, uint64_t seed)
{
    cw_assert(n_disks == 0 || disks[0].host_no != 0); /* indexed */
    *p = (struct place){ .rule = rule, .disks = disks, .n_disks = n_disks, .seed = cw_mix64(seed) };
}

/* Would a looser spread, all else being equal, find room for every copy? */
static bool
works_with_spread(const struct place *tried, uint32_t n_have, enum cw_place_spread spread)
{
    struct cw_place_rule r = *tried->rule;
    struct place p;
    const char *short_site;

    if (spread >= r.spread)
        return false;
    r.spread = spread;
    place_begin(&p, &r, tried->disks, tried->n_disks, 0);
    memcpy(p.held, tried->held, n_have * sizeof(p.held[0]));
    p.n_held = n_have;
    return place_all(&p, &short_site) == r.copies && short_site == NULL;
}

static void
explain(const struct place *p, uint32_t n_have, const char *short_site, struct cw_place_answer *ret)
{
    const struct cw_place_rule *r = p->rule;
    const char *domain = spread_name(r->spread);
    const char *site = short_site;
    char where[CW_PLACE_NAME_SIZE + 16] = "", fewer[64] = "", spread[64] = "";
    uint32_t missing;

    if (site == NULL && r->sites == CW_PLACE_ONLY)
        site = r->site[0];
    if (site != NULL)
        snprintf(where, sizeof(where), " in site %s", site);
    if (short_site != NULL)
        snprintf(ret->why, sizeof(ret->why),
                 "%u of %u copies can be placed: site %s has no further %s that can take a copy "
                 "(each:%u asks for %u there)",
                 p->n_held, r->copies, short_site, domain, r->each, r->each);
    else
        snprintf(ret->why, sizeof(ret->why),
                 "%u copies on different %ss are asked for, but only %u %s%s%s can take one",
                 r->copies, domain, p->n_held, domain, p->n_held == 1 ? "" : "s", where);
    if (p->n_held > 0 && short_site == NULL)
        snprintf(fewer, sizeof(fewer), ", or a policy with copies=%u", p->n_held);
    for (int s = (int)r->spread - 1; s >= CW_PLACE_HOST && spread[0] == '\0'; s--) {
        if (works_with_spread(p, n_have, (enum cw_place_spread)s))
            snprintf(spread, sizeof(spread), ", or a policy with spread=%s",
                     spread_name((enum cw_place_spread)s));
    }
    missing = r->copies > p->n_held ? r->copies - p->n_held : 1; /* a site may lack its own */
    snprintf(ret->hint, sizeof(ret->hint), "add %u %s%s with a store%s%s%s", missing, domain,
             missing == 1 ? "" : "s", where, spread, fewer);
}

/* ---- the index ---- */

static int
by_site(const void *a, const void *b)
{
    const struct cw_place_disk *const *x = a, *const *y = b;

    return strcmp((*x)->site, (*y)->site);
}

static int
by_rack(const void *a, const void *b)
{
    const struct cw_place_disk *const *x = a, *const *y = b;
    int order = by_site(a, b);

    return order != 0 ? order : strcmp((*x)->rack, (*y)->rack);
}

static int
by_host(const void *a, const void *b)
{
    const struct cw_place_disk *const *x = a, *const *y = b;

    return strcmp((*x)->host, (*y)->host);
}

static void
index_by(struct cw_place_disk **order, size_t n, int (*compare)(const void *, const void *),
         size_t no_offset)
{
    uint32_t no = 0;

    qsort(order, n, sizeof(order[0]), compare);
    for (size_t i = 0; i < n; i++) {
        no += i == 0 || compare(&order[i - 1], &order[i]) != 0;
        *(uint32_t *)((char *)order[i] + no_offset) = no;
    }
}

void
cw_place_index(struct cw_place_disk *disks, size_t n_disks)
{
    struct cw_place_disk *few[8], **order = few;

    if (n_disks > CW_LEN(few))
        order = calloc(n_disks, sizeof(*order));
    cw_assert(order != NULL);
    for (size_t i = 0; i < n_disks; i++) {
        order[i] = &disks[i];
        disks[i].tenth_bytes = cw_max_u64(cw_div_up(disks[i].size_bytes, 10), 1);
        disks[i].hash = cw_uuid_hash(&disks[i].uuid);
    }
    index_by(order, n_disks, by_site, offsetof(struct cw_place_disk, site_no));
    index_by(order, n_disks, by_rack, offsetof(struct cw_place_disk, rack_no));
    index_by(order, n_disks, by_host, offsetof(struct cw_place_disk, host_no));
    if (order != few)
        free(order);
}

/* ---- calls ---- */

bool
cw_place_clash(const struct cw_place_rule *rule, const struct cw_place_disk *a,
               const struct cw_place_disk *b)
{
    return same_domain(rule->spread, a, b);
}

bool
cw_place_listed(const struct cw_place_rule *rule, const struct cw_place_disk *d)
{
    return site_listed(rule, d->site);
}

bool
cw_place_beside(const struct cw_place_rule *rule, const struct cw_place_disk *disks, size_t n_disks,
                const struct cw_place_beside *q, struct cw_place_answer *ret)
{
    const char *short_site;
    struct place p;
    bool ok;

    cw_assert(rule->copies >= 1 && rule->copies <= CW_PLACE_COPIES_MAX);
    cw_assert(q->n_have <= 8 && q->n_but <= 8);
    *ret = (struct cw_place_answer){ 0 };
    place_begin(&p, rule, disks, n_disks, q->seed);
    p.but = q->but;
    p.n_but = q->n_but;
    for (uint32_t i = 0; i < q->n_have; i++)
        p.held[p.n_held++] = q->have[i];
    ok = place_all(&p, &short_site) >= rule->copies && short_site == NULL;
    for (uint32_t i = q->n_have; i < p.n_held; i++)
        ret->at[ret->n++] = p.held[i];
    if (!ok && !q->quiet)
        explain(&p, q->n_have, short_site, ret);
    return ok;
}

bool
cw_place(const struct cw_place_rule *rule, const struct cw_place_disk *disks, size_t n_disks,
         const uint32_t *have, uint32_t n_have, uint64_t seed, struct cw_place_answer *ret)
{
    struct cw_place_beside q = { .have = have, .n_have = n_have, .seed = seed };

    return cw_place_beside(rule, disks, n_disks, &q, ret);
}

static bool
check_sites(const struct place *p, char why[static CW_PLACE_WHY_SIZE])
{
    const struct cw_place_rule *r = p->rule;

    for (uint32_t i = 0; r->sites == CW_PLACE_EACH && i < r->n_sites; i++) {
        uint32_t n = held_in_site(p, r->site[i]);

        if (n < r->each) {
            snprintf(why, CW_PLACE_WHY_SIZE, "%u of %u copies in site %s", n, r->each, r->site[i]);
            return false;
        }
    }
    for (uint32_t i = 0; r->sites == CW_PLACE_ONLY && i < p->n_held; i++) {
        const struct cw_place_disk *d = &p->disks[p->held[i]];

        if (!site_listed(r, d->site)) {
            snprintf(why, CW_PLACE_WHY_SIZE, "a copy lies on %s in site %s, outside %s", d->host,
                     d->site, r->site[0]);
            return false;
        }
    }
    return true;
}

bool
cw_place_check(const struct cw_place_rule *rule, const struct cw_place_disk *disks,
               const uint32_t *have, uint32_t n_have, char why[static CW_PLACE_WHY_SIZE])
{
    struct place p;

    cw_assert(n_have <= 8);
    why[0] = '\0';
    place_begin(&p, rule, disks, 0, 0);
    cw_assert(n_have == 0 || disks[have[0]].host_no != 0);
    for (uint32_t i = 0; i < n_have; i++) {
        const struct cw_place_disk *d = &disks[have[i]];

        if (!domain_free(&p, d)) {
            snprintf(why, CW_PLACE_WHY_SIZE, "two copies share a %s (%s in site %s)",
                     spread_name(rule->spread), d->host, d->site);
            return false;
        }
        p.held[p.n_held++] = have[i];
    }
    if (n_have != rule->copies) {
        snprintf(why, CW_PLACE_WHY_SIZE, "%u of %u copies", n_have, rule->copies);
        return false;
    }
    return check_sites(&p, why);
}
