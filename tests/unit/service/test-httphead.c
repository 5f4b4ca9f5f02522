#include "common/service/httphead.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"

static char text[4096];

static int
parse(const char *head, struct cw_http_head *h)
{
    size_t len = strlen(head);

    memcpy(text, head, len + 1);
    return cw_http_head_parse(text, len, h);
}

#define HOST "Host: x\r\n"

static void
takes_a_head_apart(void **state)
{
    struct cw_http_head h;
    struct cw_http_target t;

    assert_int_equal(parse("POST /v1/disks/h1/store%2D0?a=b+c&d&e=%26 HTTP/1.1\r\nhost: x\r\n"
                           "Content-Length:  12 \r\nConnection: Keep-Alive, CLOSE\r\n\r\n",
                           &h),
                     0);
    assert_string_equal(h.method, "POST");
    assert_int_equal(h.content_length, 12);
    assert_false(h.keep_alive);
    assert_string_equal(cw_http_head_find(&h, "HOST"), "x");
    assert_null(cw_http_head_find(&h, "Accept"));
    assert_true(cw_http_target_parse(h.target, &t));
    assert_int_equal(t.n_segments, 4);
    assert_string_equal(t.segments[3], "store-0");
    assert_string_equal(cw_http_target_param(&t, "a"), "b c");
    assert_string_equal(cw_http_target_param(&t, "d"), "");
    assert_string_equal(cw_http_target_param(&t, "e"), "&");
    assert_null(cw_http_target_param(&t, "f"));
    assert_int_equal(parse("GET / HTTP/1.0\r\n\r\n", &h), 0);
    assert_false(h.keep_alive);
    assert_int_equal(parse("GET / HTTP/1.1\r\n" HOST "\r\n", &h), 0);
    assert_true(h.keep_alive);
}

static void
refuses_what_is_none(void **state)
{
    static const struct {
        int status;
        const char *head;
    } bad[] = {
        { 400, "\r\n" },
        { 400, "GET\r\n\r\n" },
        { 400, "GET /\r\n\r\n" },
        { 400, "GET  / HTTP/1.1\r\n" HOST "\r\n" },
        { 400, "G(T / HTTP/1.1\r\n" HOST "\r\n" },
        { 505, "GET / HTTP/1.1 \r\n" HOST "\r\n" },
        { 400, "GET / FTP/1.1\r\n" HOST "\r\n" },
        { 400, "GET /\x01 HTTP/1.1\r\n" HOST "\r\n" },
        { 400, "GET / HTTP/1.1\r\nA : b\r\n" HOST "\r\n" },
        { 400, "GET / HTTP/1.1\r\n: b\r\n" HOST "\r\n" },
        { 400, "GET / HTTP/1.1\r\n" HOST " folded\r\n\r\n" },
        { 400, "GET / HTTP/1.1\r\nA: b\rc\r\n" HOST "\r\n" },
        { 400, "GET / HTTP/1.1\r\nA: \x01\r\n" HOST "\r\n" },
        { 400, "GET / HTTP/1.1\r\n\r\n" },
        { 400, "GET / HTTP/1.1\n" HOST "\n\n" },
        { 400, "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n" HOST "\r\n" },
        { 400, "GET / HTTP/1.1\r\nContent-Length: +1\r\n" HOST "\r\n" },
        { 400, "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n" HOST "\r\n" },
        { 417, "GET / HTTP/1.1\r\nExpect: it\r\n" HOST "\r\n" },
        { 501, "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" HOST "\r\n" },
        { 505, "GET / HTTP/2.0\r\n" HOST "\r\n" },
    };
    struct cw_http_head h;

    for (size_t i = 0; i < CW_LEN(bad); i++) {
        int got = parse(bad[i].head, &h);

        if (got != bad[i].status)
            fail_msg("%d, not %d: %s", got, bad[i].status, bad[i].head);
    }
}

/* Any prefix and any one byte changed: an answer, and no step out of the text. */
static void
survives_every_damage(void **state)
{
    static const char good[] = "PATCH /v1/volumes/a%20b?x=%41&y HTTP/1.1\r\nHost: a\r\n"
                               "Content-Length: 3\r\nAccept: */*\r\n\r\n";
    static const char bytes[] = { 0, 1, '\n', '\r', ' ', '%', '/', ':', '=', '&', 'z', (char)0xff };
    size_t len = sizeof(good) - 1;

    for (size_t at = 0; at < len; at++) {
        for (size_t k = 0; k <= sizeof(bytes); k++) {
            size_t n = k == sizeof(bytes) ? at : len;
            char *copy = malloc(n + 1); /* so that ASan sees the end */
            struct cw_http_head h;
            struct cw_http_target t;

            assert_non_null(copy);
            memcpy(copy, good, n);
            copy[n] = '\0';
            if (k < sizeof(bytes))
                copy[at] = bytes[k];
            if (cw_http_head_parse(copy, n, &h) == 0)
                (void)cw_http_target_parse(h.target, &t);
            free(copy);
        }
    }
}

static void
bounds_the_parts_of_a_target(void **state)
{
    struct cw_http_target t;
    char many[] = "/1/2/3/4/5/6/7/8/9", params[] = "/?1&2&3&4&5&6&7&8&9&a&b&c&d&e&f&g&h";
    char root[] = "/", twice[] = "/a//b/", broken[] = "/%4", control[] = "/a?b=%0a";

    assert_false(cw_http_target_parse(many, &t));
    assert_false(cw_http_target_parse(params, &t));
    assert_false(cw_http_target_parse(broken, &t));
    assert_false(cw_http_target_parse(control, &t));
    assert_true(cw_http_target_parse(root, &t));
    assert_int_equal(t.n_segments, 0);
    assert_true(cw_http_target_parse(twice, &t));
    assert_int_equal(t.n_segments, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_head_apart),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(survives_every_damage),
        cmocka_unit_test(bounds_the_parts_of_a_target),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
