#include "daemon/manager/placement.h"

#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "tests/lib/cw-test.h"

#define DISKS_MAX 16

struct tree {
    struct cw_place_disk disks[DISKS_MAX];
    size_t n;
    char site[DISKS_MAX][16], rack[DISKS_MAX][16], host[DISKS_MAX][32];
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
                                          .load_bytes = 0,
                                          .usable = usable };
    cw_place_index(t->disks, t->n);
}

static void
tree_random(struct tree *t, struct cw_prng *p)
{
    size_t n = 1 + cw_prng_below(p, DISKS_MAX);

    memset(t, 0, sizeof(*t));
    for (size_t i = 0; i < n; i++) {
        tree_add(t, (unsigned)cw_prng_below(p, 3), (unsigned)cw_prng_below(p, 3),
                 (unsigned)cw_prng_below(p, 3), cw_prng_below(p, 8) != 0);
        t->disks[i].load_bytes = cw_prng_below(p, 120 * CW_GIB);
    }
}

static struct cw_place_rule
rule_random(struct cw_prng *p)
{
    struct cw_place_rule r = { .copies = 1 + (uint32_t)cw_prng_below(p, 5),
                               .spread = (enum cw_place_spread)cw_prng_below(p, 3),
                               .sites = (enum cw_place_sites)cw_prng_below(p, 4) };

    r.n_sites = r.sites == CW_PLACE_ANY ? 0 : 1;
    strcpy(r.site[0], "s0");
    if (r.sites == CW_PLACE_EACH) {
        r.each = 1;
        if (r.copies >= 2 && cw_prng_below(p, 2) != 0) {
            strcpy(r.site[1], "s1");
            r.n_sites = 2;
        }
    }
    return r;
}

/* Is there any set of `copies` usable disks that meets the rule? By trying all of them. */
static bool
exists(const struct cw_place_rule *r, const struct tree *t, uint32_t *chosen, uint32_t n,
       uint32_t from)
{
    char why[CW_PLACE_WHY_SIZE];

    if (n == r->copies)
        return cw_place_check(r, t->disks, chosen, n, why);
    for (uint32_t i = from; i < t->n; i++) {
        chosen[n] = i;
        if (t->disks[i].usable && exists(r, t, chosen, n + 1, i + 1))
            return true;
    }
    return false;
}

/* Over random trees and rules: what is placed meets the rule and uses only usable disks, and it is
 * refused exactly when no set of disks would do; a refusal says why and what would help. */
static void
places_whenever_possible(void **state)
{
    struct cw_prng p;

    cw_prng_init(&p, 1);
    for (int round = 0; round < 1500; round++) {
        struct tree t;
        struct cw_place_rule r = rule_random(&p);
        struct cw_place_answer got;
        uint32_t chosen[CW_PLACE_COPIES_MAX];
        char why[CW_PLACE_WHY_SIZE];
        bool ok;

        tree_random(&t, &p);
        ok = cw_place(&r, t.disks, t.n, NULL, 0, (uint64_t)round, &got);
        assert_int_equal(ok, exists(&r, &t, chosen, 0, 0));
        if (ok) {
            assert_int_equal(got.n, r.copies);
            assert_true(cw_place_check(&r, t.disks, got.at, got.n, why));
            for (uint32_t i = 0; i < got.n; i++)
                assert_true(t.disks[got.at[i]].usable);
        } else {
            assert_true(got.why[0] != '\0' && got.hint[0] != '\0');
            assert_null(strstr(got.hint, "add 0 "));
        }
    }
}

/* The same disks in another order give the same choice: nothing depends on the order of input. */
static void
order_of_input_does_not_matter(void **state)
{
    struct cw_prng p;

    cw_prng_init(&p, 2);
    for (int round = 0; round < 300; round++) {
        struct tree t;
        struct cw_place_disk turned[DISKS_MAX];
        struct cw_place_rule r = rule_random(&p);
        struct cw_place_answer a, b;

        tree_random(&t, &p);
        for (size_t i = 0; i < t.n; i++)
            turned[i] = t.disks[t.n - 1 - i];
        cw_place(&r, t.disks, t.n, NULL, 0, 5, &a);
        cw_place(&r, turned, t.n, NULL, 0, 5, &b);
        assert_int_equal(a.n, b.n);
        for (uint32_t i = 0; i < a.n; i++)
            assert_true(cw_uuid_equal(&t.disks[a.at[i]].uuid, &turned[b.at[i]].uuid));
    }
}

/* A copy that is replaced goes where the copies that stay allow it, and nowhere else. */
static void
replacement_respects_the_others(void **state)
{
    struct cw_prng p;

    cw_prng_init(&p, 3);
    for (int round = 0; round < 500; round++) {
        struct tree t;
        struct cw_place_rule r = { .copies = 3, .spread = CW_PLACE_HOST };
        struct cw_place_answer all, one;
        uint32_t have[3];
        char why[CW_PLACE_WHY_SIZE];

        tree_random(&t, &p);
        if (!cw_place(&r, t.disks, t.n, NULL, 0, 9, &all))
            continue;
        t.disks[all.at[0]].usable = false;
        if (!cw_place(&r, t.disks, t.n, &all.at[1], 2, 9, &one))
            continue;
        assert_int_equal(one.n, 1);
        have[0] = one.at[0];
        have[1] = all.at[1];
        have[2] = all.at[2];
        assert_true(cw_place_check(&r, t.disks, have, 3, why));
    }
}

/* Three copies on hosts in two sites use both sites, though spread=host would not ask for it. */
static void
prefers_different_sites(void **state)
{
    struct tree t = { 0 };
    struct cw_place_rule r = { .copies = 2, .spread = CW_PLACE_HOST };
    struct cw_place_answer got;

    for (unsigned i = 0; i < 4; i++)
        tree_add(&t, 0, 0, i, true);
    tree_add(&t, 1, 0, 0, true);
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_true(cw_place(&r, t.disks, t.n, NULL, 0, seed, &got));
        assert_string_not_equal(t.disks[got.at[0]].site, t.disks[got.at[1]].site);
    }
}

/* The fuller of two otherwise equal disks is not chosen; equal ones share the work. */
static void
prefers_emptier_disks(void **state)
{
    struct tree t = { 0 };
    struct cw_place_rule r = { .copies = 1 };
    struct cw_place_answer got;
    int first = 0;

    tree_add(&t, 0, 0, 0, true);
    tree_add(&t, 0, 0, 1, true);
    for (uint64_t seed = 0; seed < 200; seed++) {
        assert_true(cw_place(&r, t.disks, t.n, NULL, 0, seed, &got));
        first += got.at[0] == 0;
    }
    assert_in_range(first, 60, 140);
    t.disks[0].load_bytes = 80 * CW_GIB;
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_true(cw_place(&r, t.disks, t.n, NULL, 0, seed, &got));
        assert_int_equal(got.at[0], 1);
    }
}

/* Of sites that are as good otherwise the nearer one is taken; but a fuller one is not, nor one
 * that has a copy already, however near it is. */
static void
prefers_near_sites(void **state)
{
    static const uint8_t far_of[3][4] = { { 0, 0, 7, 2 },
                                          { 0, 7, 0, CW_PLACE_FAR_UNKNOWN },
                                          { 0, 2, CW_PLACE_FAR_UNKNOWN, 0 } };
    struct tree t = { 0 };
    struct cw_place_rule r = { .copies = 2, .spread = CW_PLACE_HOST };
    const uint32_t have[] = { 0 };
    struct cw_place_answer got;

    for (unsigned i = 0; i < 3; i++) {
        tree_add(&t, i, 0, 0, true);
        tree_add(&t, i, 0, 1, true);
    }
    for (size_t i = 0; i < t.n; i++)
        t.disks[i].far_of = far_of[t.disks[i].site_no - 1];
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_true(cw_place(&r, t.disks, t.n, have, 1, seed, &got));
        assert_string_equal(t.disks[got.at[0]].site, "s2");
    }
    t.disks[4].load_bytes = t.disks[5].load_bytes = 30 * CW_GIB;
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_true(cw_place(&r, t.disks, t.n, have, 1, seed, &got));
        assert_string_equal(t.disks[got.at[0]].site, "s1");
    }
}

/* One copy at least lies on a disk that lasts, if the rule lets it: before what is preferred, and
 * also when it is the last to be placed. */
static void
one_copy_lasts(void **state)
{
    struct tree t = { 0 };
    struct cw_place_rule r = {
        .copies = 2, .sites = CW_PLACE_PREFER, .n_sites = 1, .site = { "s0" }
    };
    const uint32_t have[] = { 0 };
    struct cw_place_answer got;

    for (unsigned i = 0; i < 3; i++)
        tree_add(&t, 0, 0, i, true);
    tree_add(&t, 1, 0, 0, true);
    for (size_t i = 0; i < 3; i++)
        t.disks[i].is_volatile = true;
    t.disks[3].load_bytes = 90 * CW_GIB;
    for (uint64_t seed = 0; seed < 50; seed++) {
        assert_true(cw_place(&r, t.disks, t.n, NULL, 0, seed, &got));
        assert_int_equal(got.at[0], 3);
        assert_true(got.at[1] < 3);
        assert_true(cw_place(&r, t.disks, t.n, have, 1, seed, &got));
        assert_int_equal(got.at[0], 3);
    }
    r.sites = CW_PLACE_ONLY;
    assert_true(cw_place(&r, t.disks, t.n, NULL, 0, 1, &got));
    assert_true(got.at[0] < 3 && got.at[1] < 3);
}

/* A refusal names the smallest changes that would satisfy the rule. */
static void
refusal_says_what_would_help(void **state)
{
    struct tree t = { 0 };
    struct cw_place_rule r = { .copies = 3, .spread = CW_PLACE_RACK };
    struct cw_place_answer got;

    tree_add(&t, 0, 0, 0, true);
    tree_add(&t, 0, 0, 1, true);
    tree_add(&t, 0, 1, 0, true);
    assert_false(cw_place(&r, t.disks, t.n, NULL, 0, 1, &got));
    assert_non_null(strstr(got.why, "only 2 racks"));
    assert_non_null(strstr(got.hint, "add 1 rack"));
    assert_non_null(strstr(got.hint, "spread=host"));
    assert_non_null(strstr(got.hint, "copies=2"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_whenever_possible),
        cmocka_unit_test(order_of_input_does_not_matter),
        cmocka_unit_test(replacement_respects_the_others),
        cmocka_unit_test(prefers_different_sites),
        cmocka_unit_test(prefers_emptier_disks),
        cmocka_unit_test(prefers_near_sites),
        cmocka_unit_test(one_copy_lasts),
        cmocka_unit_test(refusal_says_what_would_help),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
