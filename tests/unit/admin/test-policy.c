#include "tests/lib/cw-test.h"

#include <string.h>

#include "client/admin/policy.h"
#include "common/base/bits.h"

/* Every key of the policy table is taken over. */
static void
keys_are_taken(void **state)
{
    char why[CW_POLICY_WHY_SIZE];
    cw_pb_policy p;

    cw_policy_init(&p, "p");
    assert_int_equal(p.copies, 0);
    assert_true(cw_policy_take(&p, "copies=3", why));
    assert_int_equal(cw_shape_min_insync(&p), 2);
    assert_true(cw_policy_take(&p, "copies=2", why));
    assert_int_equal(cw_shape_min_insync(&p), 1);
    assert_true(cw_policy_take(&p, "min-insync=2", why));
    assert_true(cw_policy_take(&p, "spread=site", why));
    assert_true(cw_policy_take(&p, "sites=each:1 dc1,aws", why));
    assert_true(cw_policy_take(&p, "degrade=off", why));
    assert_int_equal(p.degrade_s, -1);
    assert_true(cw_policy_take(&p, "degrade=5m", why));
    assert_true(cw_policy_take(&p, "repair-delay=1h", why));
    assert_true(cw_policy_take(&p, "quorum-loss=error", why));
    assert_true(cw_policy_take(&p, "space-full=error", why));
    assert_int_equal(p.copies, 2);
    assert_int_equal(p.min_insync, 2);
    assert_int_equal(p.degrade_s, 300);
    assert_int_equal(p.repair_delay_s, 3600);
    assert_string_equal(p.spread, "site");
    assert_string_equal(p.sites, "each:1 dc1,aws");
    assert_string_equal(p.quorum_loss, "error");
    assert_string_equal(p.space_full, "error");
}

/* Defaults may be said aloud, whatever becomes of the key later. */
static void
defaults_may_be_given(void **state)
{
    static const char *const fine[] = {
        "ack=durable",        "async=none",
        "compression=off",    "journal=auto",
        "iops-limit=0",       "bandwidth-limit=0",
        "checksum=on",        "sites=any",
        "sites=only:dc1",     "sites=prefer:dc1",
        "sites=each:2 a",     "copies=1",
        "sites=each:1 a,b",   "compression=background",
        "compression=inline",
    };
    char why[CW_POLICY_WHY_SIZE];
    cw_pb_policy p;

    for (size_t i = 0; i < CW_LEN(fine); i++) {
        cw_policy_init(&p, "p");
        assert_true(cw_policy_take(&p, fine[i], why));
    }
}

/* What is wrong or not in this version is refused, and says so. */
static void
nonsense_and_later_things_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        { "copies=0", "1 to 5" },
        { "copies=6", "1 to 5" },
        { "copies=", "1 to 5" },
        { "copies", "no key=value" },
        { "color=red", "'color' is no key" },
        { "spread=planet", "host rack site" },
        { "spread=", "host rack site" },
        { "spread=host rack", "host rack site" },
        { "sites=somewhere", "each:N" },
        { "sites=only:", "each:N" },
        { "degrade=soon", "or off" },
        { "repair-delay=99999999999999999999", "a time" },
        { "checksum=off", "always on" },
        { "async=", "SITE" },
        { "async=a,b", "SITE" },
        { "rpo=0", "a time" },
        { "compression=lz4", "off background inline" },
        { "compression=", "off background inline" },
        { "sites=each:2", "each:N" },
        { "sites=each:1,a,b", "each:N" },
        { "repair-delay=0", "from 1 s on" },
        { "iops-limit=fast", "a number" },
        { "bandwidth-limit=-1", "a number" },
    };
    char why[CW_POLICY_WHY_SIZE];
    cw_pb_policy p;

    for (size_t i = 0; i < CW_LEN(bad); i++) {
        cw_policy_init(&p, "p");
        assert_false(cw_policy_take(&p, bad[i].text, why));
        assert_non_null(strstr(why, bad[i].says));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_taken),
        cmocka_unit_test(defaults_may_be_given),
        cmocka_unit_test(nonsense_and_later_things_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
