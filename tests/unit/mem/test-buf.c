#include <string.h>

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

static struct {
    uint64_t bytes, calls;
} given_back;

static void
give_back(void *mem, size_t len)
{
    assert_int_equal((uintptr_t)mem % 4096, 0);
    memset(mem, 0xdb, len); /* lost is lost */
    given_back.bytes += len;
    given_back.calls++;
}

static bool
all_differ(struct cw_buf *const *b, size_t n, size_t len)
{
    for (size_t i = 0; i < n; i++)
        memset(b[i]->data, (int)i, len);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < len; k++) {
            if (b[i]->data[k] != (uint8_t)i)
                return false;
        }
    }
    return true;
}

/* When the load changes from one size to another, what was cached of the first is given back, so
 * that what is resident stays below the limit; and it comes back for use. */
static void
resident_is_below_the_limit(void **state)
{
    struct cw_buf_pool *p = cw_buf_pool_new(4 * CW_MIB);
    struct cw_buf *b[1024];
    static const size_t len[] = { 4096, CW_MIB, 16384, 2 * CW_MIB, 4096, 65536, 256 * CW_KIB };
    size_t n;

    memset(&given_back, 0, sizeof(given_back));
    cw_buf_pool_set_give_back(p, give_back);
    for (size_t i = 0; i < CW_LEN(len); i++) {
        for (n = 0; n < CW_LEN(b) && (b[n] = cw_buf_get(p, len[i])) != NULL; n++)
            assert_true(cw_buf_pool_resident(p) <= 4 * CW_MIB);
        assert_true(n * len[i] >= 3 * CW_MIB);
        assert_true(all_differ(b, n, len[i]));
        while (n > 0)
            cw_buf_unref(b[--n]);
        assert_int_equal(cw_buf_pool_used(p), 0);
        assert_true(cw_buf_pool_resident(p) <= 4 * CW_MIB);
    }
    assert_true(given_back.bytes > 8 * CW_MIB);
    cw_buf_pool_free(p);
}

/* What is charged takes the place of buffers, also beyond the limit, until it is taken off. */
static void
charges_take_the_place_of_buffers(void **state)
{
    struct cw_buf_pool *p = cw_buf_pool_new(CW_MIB);
    struct cw_buf *b = cw_buf_get(p, 256 * CW_KIB);

    memset(&given_back, 0, sizeof(given_back));
    cw_buf_pool_set_give_back(p, give_back);
    cw_buf_unref(cw_buf_get(p, 65536));
    cw_buf_pool_charge(p, 2 * CW_MIB);
    assert_int_equal(given_back.bytes, 65536);
    assert_null(cw_buf_get(p, 1));
    cw_buf_pool_uncharge(p, 2 * CW_MIB - 700 * CW_KIB);
    assert_null(cw_buf_get(p, 256 * CW_KIB));
    cw_buf_unref(b);
    assert_non_null(b = cw_buf_get(p, 256 * CW_KIB));
    cw_buf_unref(b);
    cw_buf_pool_uncharge(p, 700 * CW_KIB);
    assert_int_equal(cw_buf_pool_used(p), 0);
    cw_buf_pool_free(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_fit_and_are_aligned),
        cmocka_unit_test(budget_is_a_hard_end),
        cmocka_unit_test(resident_is_below_the_limit),
        cmocka_unit_test(charges_take_the_place_of_buffers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
