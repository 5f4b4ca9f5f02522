#include "common/base/bits.h"
#include "common/base/size.h"
#include "tests/lib/cw-test.h"

static void
sizes_as_people_write_them(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        { "0", 0 },
        { "4096", 4096 },
        { "64K", 64 * CW_KIB },
        { "64k", 64 * CW_KIB },
        { "1MiB", CW_MIB },
        { "2GB", 2 * CW_GIB },
        { "1T", CW_TIB },
        { "512B", 512 },
        { "15E", 15 * CW_TIB * CW_MIB },
    };
    static const char *const bad[] = {
        "", "K", "-1", "1.5G", "4Q", "16E", "99999999999999999999", "1 G", "1GG"
    };
    uint64_t bytes = 7;

    for (size_t i = 0; i < CW_LEN(bad); i++) {
        assert_false(cw_size_parse(bad[i], &bytes));
        assert_int_equal(bytes, 7);
    }
    for (size_t i = 0; i < CW_LEN(good); i++) {
        assert_true(cw_size_parse(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
}

/* A size that no volume can have is told from what is no size at all. */
static void
sizes_beyond_all_bounds(void **state)
{
    assert_true(cw_size_too_large("99999999T"));
    assert_true(cw_size_too_large("16E"));
    assert_true(cw_size_too_large("99999999999999999999"));
    assert_false(cw_size_too_large("15E"));
    assert_false(cw_size_too_large("99999999TT"));
    assert_false(cw_size_too_large(""));
}

static void
sizes_as_people_read_them(void **state)
{
    char text[CW_SIZE_TEXT_SIZE];

    assert_string_equal(cw_size_format(0, text), "0");
    assert_string_equal(cw_size_format(1023, text), "1023");
    assert_string_equal(cw_size_format(64 * CW_MIB, text), "64M");
    assert_string_equal(cw_size_format(3 * CW_GIB / 2, text), "1.5G");
    assert_string_equal(cw_size_format(UINT64_MAX, text), "15.9E");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_as_people_write_them),
        cmocka_unit_test(sizes_beyond_all_bounds),
        cmocka_unit_test(sizes_as_people_read_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
