#include <string.h>

#include "common/base/addr.h"
#include "tests/lib/cw-test.h"

/* What is parsed is formatted back to the same text. */
static void
addr_round_trips(void **state)
{
    static const char *const texts[] = { "127.0.0.1:1", "[::1]:65535", "a.example:4711" };
    char text[CW_ADDR_TEXT_SIZE];
    struct cw_addr a;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_true(cw_addr_parse(texts[i], false, &a));
        assert_string_equal(cw_addr_format(&a, text), texts[i]);
    }
}

/* Nonsense is refused and leaves the output alone; port 0 only where any port will do. */
static void
addr_refuses_nonsense(void **state)
{
    static const char *const texts[] = { "",
                                         ":1",
                                         "host",
                                         "host:",
                                         "host:x",
                                         "h:1x",
                                         "h:0",
                                         "h:65536",
                                         "::1:7",
                                         "[]:5",
                                         "h:-1",
                                         "h: 1",
                                         "h:99999999999999999999999" };
    struct cw_addr a = { .port = 7 };
    char long_host[200];

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(cw_addr_parse(texts[i], false, &a));
        assert_int_equal(a.port, 7);
    }
    memset(long_host, 'a', sizeof(long_host));
    strcpy(long_host + 100, ":1");
    assert_false(cw_addr_parse(long_host, false, &a));
    assert_true(cw_addr_parse("h:0", true, &a));
    assert_int_equal(a.port, 0);
}

/* A list is whole or none. */
static void
addresses_are_joined(void **state)
{
    char *list[] = { (char *)"127.0.0.1:1", (char *)"[::1]:2" }, to[20];

    assert_true(cw_addr_join(list, 2, to, sizeof(to)));
    assert_string_equal(to, "127.0.0.1:1,[::1]:2");
    assert_false(cw_addr_join(list, 2, to, sizeof(to) - 1));
    assert_false(cw_addr_join(list, 0, to, sizeof(to)));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addr_round_trips),
        cmocka_unit_test(addr_refuses_nonsense),
        cmocka_unit_test(addresses_are_joined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
