#include "daemon/shell/memory.h"
#include "tests/lib/cw-test.h"

/* Whatever is given, and for however many stores, the parts that may grow are not more than it. */
static void
parts_are_not_more_than_the_whole(void **state)
{
    static const uint64_t totals[] = { 0,      64 * CW_MIB, 65 * CW_MIB, 256 * CW_MIB,
                                       CW_GIB, 4 * CW_GIB,  64 * CW_GIB, 1024 * CW_GIB };

    for (size_t i = 0; i < CW_LEN(totals); i++) {
        for (uint32_t n = 1; n <= 32; n++) {
            struct cw_memory m;
            uint64_t links;

            if (totals[i] != 0 && totals[i] < cw_memory_least(n))
                continue;
            m = cw_memory_divide(totals[i], n);
            links = m.links_max * UINT64_C(65536);
            assert_true(m.total_bytes == totals[i] || totals[i] == 0);
            assert_true(m.pool_bytes + m.control_bytes + m.metadata_bytes + links +
                            n * (m.map_cache_bytes + m.reads_bytes) <=
                        m.total_bytes);
            assert_true(m.retain_bytes <= m.pool_bytes / 4);
            assert_true(m.sync_bytes <= m.pool_bytes / 2 && m.hold_bytes <= m.pool_bytes / 2);
            assert_true(m.copies_max >= 64 && m.links_max >= 64);
            assert_true(m.reads_bytes >= 16 * 24 * CW_KIB);
            assert_true(m.map_cache_bytes >= 4 * CW_MIB);
        }
    }
}

/* Not given, it is enough for the stores there are. */
static void
default_is_enough(void **state)
{
    assert_int_equal(cw_memory_divide(0, 0).total_bytes, CW_GIB);
    assert_int_equal(cw_memory_divide(0, 1).total_bytes, CW_GIB);
    assert_true(cw_memory_divide(0, 32).total_bytes >= cw_memory_least(32));
    assert_int_equal(cw_memory_least(1), 64 * CW_MIB);
    assert_int_equal(cw_memory_least(4), 128 * CW_MIB);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_not_more_than_the_whole),
        cmocka_unit_test(default_is_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
