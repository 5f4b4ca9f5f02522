/* What may be a name. */
#include "tests/lib/cw-test.h"

#include <string.h>

#include "common/base/name.h"

static void
names_are_told_from_others(void **state)
{
    static const char *const good[] = { "a", "7", "Vm-1.data_2", "a..", "0-" };
    static const char *const bad[] = { "",    ".a",  "-a",  "_a",       "a b",
                                       "a/b", "a\n", "a:b", "\xc3\xa4", "a\xc3\xa4" };
    char longest[65];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(cw_name_ok(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(cw_name_ok(bad[i]));
    memset(longest, 'x', sizeof(longest));
    longest[63] = 0;
    assert_true(cw_name_ok(longest));
    longest[63] = 'x';
    longest[64] = 0;
    assert_false(cw_name_ok(longest));
}

int
main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names_are_told_from_others) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
