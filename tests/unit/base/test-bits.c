#include "common/base/bits.h"
#include "common/base/list.h"
#include "tests/lib/cw-test.h"

/* Ranges overlap exactly when some element lies in both, also at the ends and when empty. */
static void
ranges_overlap_as_sets(void **state)
{
    for (uint64_t a = 0; a < 5; a++)
        for (uint64_t na = 0; na < 4; na++)
            for (uint64_t b = 0; b < 5; b++)
                for (uint64_t nb = 0; nb < 4; nb++) {
                    bool shared = false;

                    for (uint64_t x = a; x < a + na; x++)
                        shared |= x >= b && x < b + nb;
                    assert_int_equal(cw_ranges_overlap(a, na, b, nb), shared);
                }
}

static void
alignment_and_division(void **state)
{
    assert_int_equal(cw_align_up(0, 4096), 0);
    assert_int_equal(cw_align_up(1, 4096), 4096);
    assert_int_equal(cw_align_up(4096, 4096), 4096);
    assert_int_equal(cw_align_down(8191, 4096), 4096);
    assert_int_equal(cw_div_up(0, 3), 0);
    assert_int_equal(cw_div_up(UINT64_MAX, 2), UINT64_MAX / 2 + 1);
    assert_false(cw_is_pow2(0));
    assert_true(cw_is_pow2(CW_BIT(63)));
}

struct item {
    int n;
    struct cw_list link;
};

/* A list keeps order, survives removal of what it stands on, and splices whole. */
static void
list_keeps_order(void **state)
{
    struct cw_list head, other;
    struct item items[6];
    int seen = 0;

    cw_list_init(&head);
    cw_list_init(&other);
    for (int i = 0; i < 6; i++) {
        items[i].n = i;
        cw_list_push_back(i < 3 ? &head : &other, &items[i].link);
    }
    cw_list_splice_back(&head, &other);
    assert_true(cw_list_empty(&other));
    CW_LIST_EACH_SAFE (it, &head) {
        struct item *item = cw_list_entry(it, struct item, link);

        assert_int_equal(item->n, seen++);
        if (item->n % 2)
            cw_list_remove(it);
    }
    assert_int_equal(seen, 6);
    seen = 0;
    CW_LIST_EACH (it, &head)
        assert_int_equal(cw_list_entry(it, struct item, link)->n, 2 * seen++);
    assert_int_equal(seen, 3);
    assert_ptr_equal(cw_list_first(&head, struct item, link), &items[0]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_overlap_as_sets),
        cmocka_unit_test(alignment_and_division),
        cmocka_unit_test(list_keeps_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
