#include "common/base/bits.h"
#include "common/mem/buf.h"
#include "tests/lib/cw-test.h"

/* Every length gets an aligned buffer that holds it, and the charge is what was handed out. */
static void
buffers_fit_and_are_aligned(void **state)
{
    struct cw_buf_pool *p = cw_buf_pool_new(64 * CW_MIB);
    static const size_t lens[] = { 1,     4096,   4097,           16384,          65536,
                                   65537, CW_MIB, CW_MIB + 65536, CW_BUF_SIZE_MAX };

    for (size_t i = 0; i < CW_LEN(lens); i++) {
        struct cw_buf *b = cw_buf_get(p, lens[i]);

        assert_non_null(b);
        assert_true(b->size >= lens[i] && b->size % 4096 == 0);
        assert_int_equal((uintptr_t)b->data % 4096, 0);
        assert_int_equal(cw_buf_pool_used(p), b->size);
        cw_buf_unref(b);
        assert_int_equal(cw_buf_pool_used(p), 0);
    }
    cw_buf_pool_free(p);
}

/* The budget is a hard end: beyond it NULL, and a returned buffer makes room again, also when it
 * was of another size. */
static void
budget_is_a_hard_end(void **state)
{
    struct cw_buf_pool *p = cw_buf_pool_new(64 * CW_KIB);
    struct cw_buf *small[16];

    for (size_t i = 0; i < CW_LEN(small); i++)
        assert_non_null(small[i] = cw_buf_get(p, 4096));
    assert_null(cw_buf_get(p, 1));
    for (size_t i = 0; i < CW_LEN(small); i++)
        cw_buf_unref(small[i]);
    small[0] = cw_buf_get(p, 64 * CW_KIB);
    assert_non_null(small[0]);
    assert_null(cw_buf_get(p, 1));
    cw_buf_unref(cw_buf_ref(small[0]));
    assert_null(cw_buf_get(p, 1));
    cw_buf_unref(small[0]);
    assert_int_equal(cw_buf_pool_used(p), 0);
    cw_buf_pool_free(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_fit_and_are_aligned),
        cmocka_unit_test(budget_is_a_hard_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
