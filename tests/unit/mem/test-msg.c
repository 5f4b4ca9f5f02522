#include <string.h>

#include "common/base/bits.h"
#include "common/mem/msg.h"
#include "tests/lib/cw-test.h"

/* A msg holds its body until the last of its holders lets go. */
static void
msg_keeps_its_body(void **state)
{
    struct cw_buf_pool *p = cw_buf_pool_new(CW_MIB);
    struct cw_msg *m = cw_msg_new(p, 64);
    struct cw_buf *body = cw_buf_get(p, 4096);

    memset(m->head, 1, 64);
    m->head_len = 64;
    cw_msg_set_body(m, body, body->data, 4096);
    assert_int_equal(cw_msg_bytes(m), 64 + 4096);
    cw_msg_ref(m);
    cw_msg_unref(m);
    assert_int_equal(body->refs, 1);
    assert_true(cw_buf_pool_used(p) > 0);
    cw_msg_unref(m);
    assert_int_equal(cw_buf_pool_used(p), 0);
    cw_buf_pool_free(p);
}

/* Without budget there is no msg. */
static void
msg_needs_budget(void **state)
{
    struct cw_buf_pool *p = cw_buf_pool_new(4096);
    struct cw_msg *m = cw_msg_new(p, 64);

    assert_non_null(m);
    assert_null(cw_msg_new(p, 64));
    cw_msg_unref(m);
    cw_msg_unref(NULL);
    cw_buf_pool_free(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(msg_keeps_its_body),
        cmocka_unit_test(msg_needs_budget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
