#include "common/base/uuid.h"
#include "tests/lib/cw-test.h"

static void
uuid_round_trips(void **state)
{
    struct cw_uuid u = cw_uuid_from_random(0x0123456789abcdef, 0xfedcba9876543210), v;
    char text[CW_UUID_TEXT_SIZE];

    cw_uuid_format(&u, text);
    assert_int_equal(text[14], '4'); /* the version */
    assert_true(cw_uuid_parse(text, &v));
    assert_true(cw_uuid_equal(&u, &v));
    assert_int_equal(cw_uuid_hash(&u), cw_uuid_hash(&v));
    assert_false(cw_uuid_is_nil(&u));
}

static void
uuid_refuses_nonsense(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "01234567-89ab-4def-8edc-ba987654321",
        "01234567-89ab-4def-8edc-ba98765432100",
        "0123456789ab-4def-8edc-ba9876543210--",
        "g1234567-89ab-4def-8edc-ba9876543210",
    };
    struct cw_uuid u = cw_uuid_from_random(1, 2), before = u;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(cw_uuid_parse(bad[i], &u));
    assert_true(cw_uuid_equal(&u, &before));
    assert_true(cw_uuid_parse("00000000-0000-0000-0000-000000000000", &u));
    assert_true(cw_uuid_is_nil(&u));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uuid_round_trips),
        cmocka_unit_test(uuid_refuses_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
