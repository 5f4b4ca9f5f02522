/* Answers of metadata services: whole, in pieces, broken, and random bytes. */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "daemon/shell/instance.h"
#include "tests/lib/cw-test.h"

static struct cw_instance_answer a;

static enum cw_instance_read
read_text(const char *text, bool eof)
{
    return cw_instance_read(text, strlen(text), eof, &a);
}

/* With a length or up to the end; white space around what is told does not count. */
static void
answers_are_read(void **state)
{
    assert_int_equal(read_text("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde", false),
                     CW_INSTANCE_WHOLE);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "abcde");
    assert_false(a.google);
    assert_int_equal(read_text("HTTP/1.0 404 No\r\nmetadata-flavor: Google\r\n\r\n  x \n", true),
                     CW_INSTANCE_WHOLE);
    assert_int_equal(a.status, 404);
    assert_string_equal(a.body, "x");
    assert_true(a.google);
    assert_int_equal(read_text("HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", false),
                     CW_INSTANCE_WHOLE);
    assert_string_equal(a.body, "");
    assert_int_equal(read_text("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcde", false),
                     CW_INSTANCE_WHOLE);
    assert_string_equal(a.body, "ab");
}

/* Cut anywhere it waits for more, and at its end it is garbage. */
static void
a_part_is_not_the_whole(void **state)
{
    const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde";

    for (size_t n = 0; n < strlen(text); n++) {
        assert_int_equal(cw_instance_read(text, n, false, &a), CW_INSTANCE_MORE);
        assert_int_equal(cw_instance_read(text, n, true, &a), CW_INSTANCE_GARBAGE);
    }
}

static void
nonsense_is_garbage(void **state)
{
    static const char *const texts[] = {
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.\r\n\r\n",
        "HTTP/1.1 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    };
    char full[CW_INSTANCE_ANSWER_MAX];

    for (size_t i = 0; i < CW_LEN(texts); i++)
        assert_int_equal(read_text(texts[i], true), CW_INSTANCE_GARBAGE);
    assert_int_equal(cw_instance_read("HTTP/1.1 200 OK\r\n\r\na\0b", 22, true, &a),
                     CW_INSTANCE_GARBAGE);
    memset(full, 'a', sizeof(full));
    assert_int_equal(cw_instance_read(full, sizeof(full), false, &a), CW_INSTANCE_GARBAGE);
    memcpy(full, "HTTP/1.1 200 OK\r\n\r\n", 19);
    assert_int_equal(cw_instance_read(full, sizeof(full), false, &a), CW_INSTANCE_GARBAGE);
}

/* Whatever comes, it ends, and within its bounds. */
static void
any_bytes_will_do(void **state)
{
    static const char *const parts[] = { "HTTP/1.1 200",     "\r\n", "\r\n\r\n", "Content-Length: ",
                                         "Metadata-Flavor:", "5",    " ",        "a" };
    struct cw_prng p;

    cw_prng_init(&p, 7);
    for (int round = 0; round < 20000; round++) {
        char text[256];
        size_t n = 0;

        while (n < 200 && cw_prng_below(&p, 20) != 0) {
            const char *part = parts[cw_prng_below(&p, CW_LEN(parts))];

            memcpy(text + n, part, strlen(part));
            n += strlen(part);
            if (cw_prng_below(&p, 8) == 0)
                text[n++] = (char)cw_prng_below(&p, 256);
        }
        if (cw_instance_read(text, n, cw_prng_below(&p, 2) != 0, &a) == CW_INSTANCE_WHOLE)
            assert_true(strlen(a.body) <= n);
    }
}

static void
an_address_is_in_numbers(void **state)
{
    char why[CW_INSTANCE_WHY_SIZE];
    struct cw_instance at;

    assert_false(cw_instance_find("metadata.google.internal:80", 100, &at, why));
    assert_non_null(strstr(why, "in numbers"));
    assert_false(cw_instance_find("127.0.0.1", 100, &at, why));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_read),         cmocka_unit_test(a_part_is_not_the_whole),
        cmocka_unit_test(nonsense_is_garbage),      cmocka_unit_test(any_bytes_will_do),
        cmocka_unit_test(an_address_is_in_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
