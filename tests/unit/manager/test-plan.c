#include "daemon/manager/plan.h"

#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "tests/lib/cw-test.h"

#define DISKS_MAX 9
#define WORTHS 3

struct tree {
    struct cw_place_disk disks[DISKS_MAX];
    size_t n;
    char site[DISKS_MAX][16], rack[DISKS_MAX][16], host[DISKS_MAX][32];
    struct cw_plan_have have[CW_PLAN_HAVE_MAX];
    uint32_t n_have;
    struct cw_place_rule rule;
};

static void
tree_add(struct tree *t, unsigned site, unsigned rack, unsigned host, bool usable)
{
    size_t i = t->n++;

    snprintf(t->site[i], sizeof(t->site[i]), "s%u", site);
    snprintf(t->rack[i], sizeof(t->rack[i]), "r%u", rack);
    snprintf(t->host[i], sizeof(t->host[i]), "h%u-%u-%u", site, rack, host);
    t->disks[i] = (struct cw_place_disk){ .uuid = cw_uuid_from_random(i + 1, site * 100 + host),
                                          .region = "",
                                          .site = t->site[i],
                                          .rack = t->rack[i],
                                          .host = t->host[i],
                                          .size_bytes = 100 * CW_GIB,
                                          .usable = usable };
    cw_place_index(t->disks, t->n);
}

static void
rule_random(struct cw_place_rule *r, struct cw_prng *p)
{
    *r = (struct cw_place_rule){ .copies = 1 + (uint32_t)cw_prng_below(p, 4),
                                 .spread = (enum cw_place_spread)cw_prng_below(p, 3),
                                 .sites = (enum cw_place_sites)cw_prng_below(p, 4) };
    r->n_sites = r->sites == CW_PLACE_ANY ? 0 : 1;
    strcpy(r->site[0], "s0");
    if (r->sites == CW_PLACE_EACH) {
        r->each = 1;
        if (r->copies >= 2 && cw_prng_below(p, 2) != 0) {
            strcpy(r->site[1], "s1");
            r->n_sites = 2;
            r->each = r->copies >= 4 ? 2 : 1;
        }
    }
}

static void
tree_random(struct tree *t, struct cw_prng *p)
{
    size_t n = 1 + cw_prng_below(p, DISKS_MAX);
    uint32_t taken = 0;

    memset(t, 0, sizeof(*t));
    for (size_t i = 0; i < n; i++) {
        tree_add(t, (unsigned)cw_prng_below(p, 3), (unsigned)cw_prng_below(p, 2),
                 (unsigned)cw_prng_below(p, 3), cw_prng_below(p, 6) != 0);
        t->disks[i].load_bytes = cw_prng_below(p, 120 * CW_GIB);
    }
    rule_random(&t->rule, p);
    for (uint32_t i = (uint32_t)cw_prng_below(p, 6); i > 0; i--) {
        uint32_t disk = (uint32_t)cw_prng_below(p, n);

        if (taken & CW_BIT(disk))
            continue;
        taken |= (uint32_t)CW_BIT(disk);
        t->have[t->n_have] = (struct cw_plan_have){ .disk = disk,
                                                    .worth = (uint32_t)cw_prng_below(p, WORTHS),
                                                    .age = t->n_have,
                                                    .leave = cw_prng_below(p, 6) == 0 };
        t->n_have++;
    }
}

/* Bit per disk: those with a copy that may stay, and those that may take one. */
static void
tree_masks(const struct tree *t, uint32_t *ret_stay, uint32_t *ret_take)
{
    *ret_stay = *ret_take = 0;
    for (uint32_t i = 0; i < t->n; i++)
        *ret_take |= (uint32_t)t->disks[i].usable << i;
    for (uint32_t i = 0; i < t->n_have; i++) {
        *ret_take &= (uint32_t)~CW_BIT(t->have[i].disk);
        if (!t->have[i].leave)
            *ret_stay |= (uint32_t)CW_BIT(t->have[i].disk);
    }
}

static bool
meets(const struct tree *t, uint32_t disks)
{
    char why[CW_PLACE_WHY_SIZE];
    uint32_t at[DISKS_MAX], n = 0;

    if (cw_popcount(disks) != t->rule.copies)
        return false;
    for (uint32_t i = 0; i < t->n; i++) {
        if (disks & CW_BIT(i))
            at[n++] = i;
    }
    return cw_place_check(&t->rule, t->disks, at, n, why);
}

/* The fewest copies that have to be added, by trying every set of disks; UINT32_MAX: none does. */
static uint32_t
fewest(const struct tree *t, uint32_t stay, uint32_t take)
{
    uint32_t best = UINT32_MAX;

    for (uint32_t set = 0; set < CW_BIT(t->n); set++) {
        uint32_t add = cw_popcount(set & take);

        if ((set & ~(stay | take)) == 0 && add < best && meets(t, set))
            best = add;
    }
    return best;
}

static uint32_t
disks_of(const struct tree *t, uint32_t have)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < t->n_have; i++) {
        if (have & CW_BIT(i))
            set |= (uint32_t)CW_BIT(t->have[i].disk);
    }
    return set;
}

/* Over random trees, rules and copies: the rule is met exactly when some set of disks meets it, by
 * as few new copies as any, on disks that may take one; else nothing is given up that is needed. */
static void
moves_no_more_than_it_must(void **state)
{
    struct cw_prng p;
    uint32_t n_met = 0;

    cw_prng_init(&p, 11);
    for (int round = 0; round < 6000; round++) {
        struct tree t;
        struct cw_plan plan;
        uint32_t stay, take, set, add = 0, want;
        bool ok;

        tree_random(&t, &p);
        tree_masks(&t, &stay, &take);
        want = fewest(&t, stay, take);
        ok = cw_plan_make(&t.rule, t.disks, t.n, t.have, t.n_have, (uint64_t)round, &plan);
        for (uint32_t i = 0; i < plan.n_add; i++)
            add |= (uint32_t)CW_BIT(plan.add[i]);
        set = disks_of(&t, plan.keep) | add;
        assert_int_equal(ok, want != UINT32_MAX);
        assert_int_equal(cw_popcount(add), plan.n_add);
        assert_int_equal(add & ~take, 0);
        assert_int_equal(disks_of(&t, plan.keep) & ~stay, 0);
        assert_int_equal(plan.keep & plan.hold, 0);
        if (ok) {
            n_met++;
            assert_true(meets(&t, set));
            assert_int_equal(plan.n_add, want);
            assert_int_equal(plan.hold, 0);
        } else {
            uint32_t total = cw_popcount(plan.keep | plan.hold) + plan.n_add;

            assert_true(plan.why[0] != '\0' && plan.hint[0] != '\0');
            assert_true(total <= t.rule.copies);
            assert_true(total == t.rule.copies || cw_popcount(plan.keep | plan.hold) == t.n_have);
        }
    }
    assert_in_range(n_met, 1000, 5000);
}

/* What is done once is done: the plan of a plan that was carried out moves nothing. */
static void
a_plan_carried_out_is_at_rest(void **state)
{
    struct cw_prng p;

    cw_prng_init(&p, 12);
    for (int round = 0; round < 3000; round++) {
        struct tree t;
        struct cw_plan plan, again;
        struct cw_plan_have have[CW_PLAN_HAVE_MAX];
        uint32_t n = 0;

        tree_random(&t, &p);
        if (!cw_plan_make(&t.rule, t.disks, t.n, t.have, t.n_have, 3, &plan))
            continue;
        for (uint32_t i = 0; i < t.n_have; i++) {
            if (plan.keep & CW_BIT(i))
                have[n++] = t.have[i];
        }
        for (uint32_t i = 0; i < plan.n_add; i++)
            have[n++] = (struct cw_plan_have){ .disk = plan.add[i] };
        for (uint32_t i = 0; i < n; i++)
            have[i].age = i;
        assert_true(cw_plan_make(&t.rule, t.disks, t.n, have, n, 4, &again));
        assert_int_equal(again.keep, CW_BIT(n) - 1);
        assert_int_equal(again.n_add, 0);
    }
}

/* Disks and copies in another order: the same plan. */
static void
order_of_input_does_not_matter(void **state)
{
    struct cw_prng p;

    cw_prng_init(&p, 13);
    for (int round = 0; round < 3000; round++) {
        struct tree t;
        struct cw_place_disk turned[DISKS_MAX];
        struct cw_plan_have have[CW_PLAN_HAVE_MAX];
        struct cw_plan a, b;

        tree_random(&t, &p);
        for (uint32_t i = 0; i < t.n; i++)
            turned[i] = t.disks[t.n - 1 - i];
        for (uint32_t i = 0; i < t.n_have; i++) {
            have[i] = t.have[t.n_have - 1 - i];
            have[i].disk = (uint32_t)t.n - 1 - have[i].disk;
        }
        assert_int_equal(cw_plan_make(&t.rule, t.disks, t.n, t.have, t.n_have, 5, &a),
                         cw_plan_make(&t.rule, turned, t.n, have, t.n_have, 5, &b));
        assert_int_equal(a.n_add, b.n_add);
        for (uint32_t i = 0; i < a.n_add; i++)
            assert_int_equal(a.add[i], t.n - 1 - b.add[i]);
        for (uint32_t i = 0; i < t.n_have; i++) {
            assert_int_equal(!(a.keep & CW_BIT(i)), !(b.keep & CW_BIT(t.n_have - 1 - i)));
            assert_int_equal(!(a.hold & CW_BIT(i)), !(b.hold & CW_BIT(t.n_have - 1 - i)));
        }
        assert_string_equal(a.hint, b.hint);
    }
}

static void
have_add(struct tree *t, uint32_t disk, uint32_t worth)
{
    t->have[t->n_have] = (struct cw_plan_have){ .disk = disk, .worth = worth, .age = t->n_have };
    t->n_have++;
}

/* Of copies too many stay those that are worth more, then those in more sites, then on emptier
 * disks, then the older ones. */
static void
the_right_copy_goes(void **state)
{
    struct tree t = { .rule = { .copies = 2, .spread = CW_PLACE_HOST } };
    struct cw_plan plan;

    tree_add(&t, 0, 0, 0, true);
    tree_add(&t, 0, 0, 1, true);
    tree_add(&t, 1, 0, 0, true);
    for (uint32_t i = 0; i < 3; i++)
        have_add(&t, i, 2);
    assert_true(cw_plan_make(&t.rule, t.disks, t.n, t.have, 3, 1, &plan));
    assert_int_equal(plan.keep, 5); /* both sites, and the older of one */
    t.disks[0].load_bytes = 70 * CW_GIB;
    assert_true(cw_plan_make(&t.rule, t.disks, t.n, t.have, 3, 1, &plan));
    assert_int_equal(plan.keep, 6);
    t.have[2].worth = 1;
    assert_true(cw_plan_make(&t.rule, t.disks, t.n, t.have, 3, 1, &plan));
    assert_int_equal(plan.keep, 3);
    t.have[2].worth = 2; /* one that does not die with its instance stays, however full */
    t.disks[1].is_volatile = t.disks[2].is_volatile = true;
    assert_true(cw_plan_make(&t.rule, t.disks, t.n, t.have, 3, 1, &plan));
    assert_int_equal(plan.keep, 5);
}

/* A whole volume goes to another site: as many as there is room for, the others stay meanwhile. */
static void
what_has_no_place_is_held(void **state)
{
    struct tree t = {
        .rule = { .copies = 3, .spread = CW_PLACE_HOST, .sites = CW_PLACE_ONLY, .n_sites = 1 }
    };
    struct cw_plan plan;

    strcpy(t.rule.site[0], "s1");
    for (uint32_t i = 0; i < 3; i++) {
        tree_add(&t, 0, 0, i, true);
        have_add(&t, i, 2);
    }
    tree_add(&t, 1, 0, 0, true);
    tree_add(&t, 1, 0, 1, true);
    assert_false(cw_plan_make(&t.rule, t.disks, t.n, t.have, 3, 1, &plan));
    assert_int_equal(plan.keep, 0);
    assert_int_equal(plan.n_add, 2);
    assert_int_equal(plan.hold, 1);
    assert_non_null(strstr(plan.why, "s1"));
    assert_non_null(strstr(plan.hint, "add 1 host with a store in site s1"));
    tree_add(&t, 1, 0, 2, true);
    assert_true(cw_plan_make(&t.rule, t.disks, t.n, t.have, 3, 1, &plan));
    assert_int_equal(plan.n_add, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_no_more_than_it_must),
        cmocka_unit_test(a_plan_carried_out_is_at_rest),
        cmocka_unit_test(order_of_input_does_not_matter),
        cmocka_unit_test(the_right_copy_goes),
        cmocka_unit_test(what_has_no_place_is_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
