#include "daemon/manager/plan.h"

#include <string.h>

#include "common/base/bits.h"

/* What a set of copies that stay is good for; earlier fields count first, higher is better. */
struct merit {
    uint32_t total;  /* copies in the end */
    uint32_t quota;  /* of them, asked for by name of their site */
    uint32_t n_keep; /* the rest is added */
    uint32_t worth, lasts, preferred, sites, racks;
    uint32_t load; /* lower is better, as the next */
    uint32_t ages; /* bit per age: the youngest counts first */
};

struct plan {
    const struct cw_place_rule *rule;
    const struct cw_place_disk *disks;
    size_t n_disks;
    const struct cw_plan_have *have;
    uint32_t n_have;
    uint64_t seed;
    uint32_t at[CW_PLAN_HAVE_MAX]; /* the disk of each */
};

static const struct cw_place_disk *
disk_of(const struct plan *p, uint32_t i)
{
    return &p->disks[p->have[i].disk];
}

/* ---- how good a set is ---- */

static bool
merit_better(const struct merit *a, const struct merit *b)
{
    if (a->total != b->total)
        return a->total > b->total;
    if (a->quota != b->quota)
        return a->quota > b->quota;
    if (a->n_keep != b->n_keep)
        return a->n_keep > b->n_keep;
    if (a->worth != b->worth)
        return a->worth > b->worth;
    if (a->lasts != b->lasts)
        return a->lasts > b->lasts;
    if (a->preferred != b->preferred)
        return a->preferred > b->preferred;
    if (a->sites != b->sites)
        return a->sites > b->sites;
    if (a->racks != b->racks)
        return a->racks > b->racks;
    if (a->load != b->load)
        return a->load < b->load;
    return a->ages < b->ages;
}

static uint32_t
quota_met(const struct plan *p, const uint32_t *at, uint32_t n)
{
    const struct cw_place_rule *r = p->rule;
    uint32_t met = 0;

    for (uint32_t i = 0; r->sites == CW_PLACE_EACH && i < r->n_sites; i++) {
        uint32_t there = 0;

        for (uint32_t k = 0; k < n; k++)
            there += strcmp(p->disks[at[k]].site, r->site[i]) == 0;
        met += there < r->each ? there : r->each;
    }
    return met;
}

/* Distinct sites and racks of a set. */
static void
count_domains(const struct plan *p, uint32_t set, struct merit *m)
{
    for (uint32_t i = 0; i < p->n_have; i++) {
        bool site = true, rack = true;

        if (!(set & CW_BIT(i)))
            continue;
        for (uint32_t k = 0; k < i; k++) {
            if (!(set & CW_BIT(k)))
                continue;
            site &= disk_of(p, i)->site_no != disk_of(p, k)->site_no;
            rack &= disk_of(p, i)->rack_no != disk_of(p, k)->rack_no;
        }
        m->sites += site;
        m->racks += rack;
    }
}

static struct merit
merit_of(const struct plan *p, uint32_t set)
{
    struct merit m = { .n_keep = cw_popcount(set) };

    for (uint32_t i = 0; i < p->n_have; i++) {
        if (!(set & CW_BIT(i)))
            continue;
        m.worth += p->have[i].worth;
        m.lasts |= !disk_of(p, i)->is_volatile;
        m.preferred += p->rule->sites == CW_PLACE_PREFER && cw_place_listed(p->rule, disk_of(p, i));
        m.load += (uint32_t)cw_min_u64(cw_place_tenths(disk_of(p, i)), 1000);
        m.ages |= (uint32_t)CW_BIT(p->have[i].age);
    }
    count_domains(p, set, &m);
    return m;
}

/* ---- sets ---- */

/* May these stay together? */
static bool
set_allowed(const struct plan *p, uint32_t set)
{
    for (uint32_t i = 0; i < p->n_have; i++) {
        if (!(set & CW_BIT(i)))
            continue;
        if (p->have[i].leave ||
            (p->rule->sites == CW_PLACE_ONLY && !cw_place_listed(p->rule, disk_of(p, i))))
            return false;
        for (uint32_t k = 0; k < i; k++) {
            if ((set & CW_BIT(k)) && cw_place_clash(p->rule, disk_of(p, i), disk_of(p, k)))
                return false;
        }
    }
    return true;
}

/* What would be added to them; true: then the rule holds. */
static bool
set_place(const struct plan *p, uint32_t set, bool quiet, struct cw_place_answer *ret,
          struct merit *m)
{
    uint32_t held[CW_PLAN_HAVE_MAX + CW_PLACE_COPIES_MAX], n = 0;
    struct cw_place_beside q = {
        .have = held, .but = p->at, .n_but = p->n_have, .seed = p->seed, .quiet = quiet
    };
    bool ok;

    for (uint32_t i = 0; i < p->n_have; i++) {
        if (set & CW_BIT(i))
            held[n++] = p->at[i];
    }
    q.n_have = n;
    ok = cw_place_beside(p->rule, p->disks, p->n_disks, &q, ret);
    memcpy(&held[n], ret->at, ret->n * sizeof(held[0]));
    m->total = n + ret->n;
    m->quota = quota_met(p, held, n + ret->n);
    return ok;
}

/* The best set of n that stay; what is worse than *best, or not to be placed, is no news. True: one
 * that meets the rule. */
static bool
sets_of(const struct plan *p, uint32_t n, uint32_t *best_set, struct merit *best)
{
    bool ok = false;

    for (uint32_t set = 0; set < CW_BIT(p->n_have); set++) {
        struct cw_place_answer got;
        struct merit m;
        bool meets;

        if (cw_popcount(set) != n || !set_allowed(p, set))
            continue;
        m = merit_of(p, set);
        m.total = best->total;
        m.quota = best->quota;
        if (ok && !merit_better(&m, best))
            continue; /* as good at most: both meet the rule */
        meets = set_place(p, set, true, &got, &m);
        if (meets != ok ? meets : merit_better(&m, best)) {
            *best = m;
            *best_set = set;
        }
        ok |= meets;
    }
    return ok;
}

/* ---- on hold ---- */

static bool
clashes(const struct plan *p, const struct cw_plan *plan, uint32_t i)
{
    for (uint32_t k = 0; k < p->n_have; k++) {
        if (((plan->keep | plan->hold) & CW_BIT(k)) &&
            cw_place_clash(p->rule, disk_of(p, i), disk_of(p, k)))
            return true;
    }
    for (uint32_t k = 0; k < plan->n_add; k++) {
        if (cw_place_clash(p->rule, disk_of(p, i), &p->disks[plan->add[k]]))
            return true;
    }
    return false;
}

/* One more that should go but cannot yet: rather one that adds a domain, that is not told to leave,
 * that is worth more, that is older. */
static uint32_t
hold_choose(const struct plan *p, const struct cw_plan *plan)
{
    uint32_t best = p->n_have, best_rank = 0;

    for (uint32_t i = 0; i < p->n_have; i++) {
        const struct cw_plan_have *h = &p->have[i];
        uint32_t rank = (uint32_t)!clashes(p, plan, i) << 17 | (uint32_t)!h->leave << 16 |
                        h->worth << 4 | (CW_PLAN_HAVE_MAX - h->age);

        if ((plan->keep | plan->hold) & CW_BIT(i))
            continue;
        if (best == p->n_have || rank > best_rank) {
            best = i;
            best_rank = rank;
        }
    }
    return best;
}

static void
plan_begin(struct plan *p, const struct cw_plan_have *have)
{
    for (uint32_t i = 0; i < p->n_have; i++) {
        cw_assert(have[i].disk < p->n_disks && have[i].worth < 256 &&
                  have[i].age < CW_PLAN_HAVE_MAX);
        p->at[i] = have[i].disk;
    }
}

bool
cw_plan_make(const struct cw_place_rule *rule, const struct cw_place_disk *disks, size_t n_disks,
             const struct cw_plan_have *have, uint32_t n_have, uint64_t seed, struct cw_plan *ret)
{
    struct plan p = { rule, disks, n_disks, have, n_have, seed, { 0 } };
    struct cw_place_answer got;
    struct merit best = { 0 }, m;
    uint32_t n = n_have < rule->copies ? n_have : rule->copies;
    bool ok = false;

    cw_assert(n_have <= CW_PLAN_HAVE_MAX);
    *ret = (struct cw_plan){ 0 };
    plan_begin(&p, have);
    for (;; n--) {
        ok = sets_of(&p, n, &ret->keep, &best);
        if (ok || n == 0)
            break;
    }
    set_place(&p, ret->keep, ok, &got, &m);
    ret->n_add = got.n;
    memcpy(ret->add, got.at, sizeof(ret->add));
    memcpy(ret->why, got.why, sizeof(ret->why));
    memcpy(ret->hint, got.hint, sizeof(ret->hint));
    while (cw_popcount(ret->keep | ret->hold) + ret->n_add < rule->copies) {
        uint32_t i = hold_choose(&p, ret);

        if (i == n_have)
            break;
        ret->hold |= (uint32_t)CW_BIT(i);
    }
    return ok;
}
