#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/http/internal.h"
#include "tests/lib/cw-test.h"
#include "tests/lib/simenv.h"

static struct cw_simenv env;

static void
begin(struct cw_http *h)
{
    cw_simenv_init(&env, 1);
    *h = (struct cw_http){ .env = &env.env };
    cw_list_init(&h->keys);
}

static void
end(struct cw_http *h)
{
    cw_http_keys_fini(h);
    assert_int_equal(h->n_keys, 0);
    assert_int_equal(h->key_bytes, 0);
    cw_simenv_fini(&env);
}

static enum http_key_state
take(struct cw_http *h, const char *key, const char *line, const char *body, struct http_key **k)
{
    return cw_http_key_take(h, key, line, body, strlen(body), k);
}

static void
one_request_one_answer(void **state)
{
    struct cw_http h;
    struct http_key *k, *again;

    begin(&h);
    assert_int_equal(take(&h, "a", "POST /v1/volumes", "{1}", &k), HTTP_KEY_NEW);
    assert_int_equal(take(&h, "a", "POST /v1/volumes", "{1}", &again), HTTP_KEY_BUSY);
    assert_int_equal(take(&h, "b", "POST /v1/volumes", "{1}", &again), HTTP_KEY_NEW);
    cw_http_key_answered(&h, k, 201, "made", 4);
    assert_int_equal(take(&h, "a", "POST /v1/volumes", "{1}", &again), HTTP_KEY_SAME);
    assert_ptr_equal(k, again);
    assert_int_equal(again->status, 201);
    assert_string_equal(again->text, "made");
    assert_int_equal(take(&h, "a", "POST /v1/volumes", "{2}", &again), HTTP_KEY_OTHER);
    assert_int_equal(take(&h, "a", "POST /v1/policies", "{1}", &again), HTTP_KEY_OTHER);
    end(&h);
}

/* Nobody knows what came of it: it may be tried again. */
static void
a_failure_is_not_kept(void **state)
{
    struct cw_http h;
    struct http_key *k;

    begin(&h);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(take(&h, "a", "POST /", "", &k), HTTP_KEY_NEW);
        cw_http_key_answered(&h, k, 503, "away", 4);
    }
    end(&h);
}

/* However many come: what is kept is bounded, the youngest stay, and those under way always. */
static void
memory_is_bounded(void **state)
{
    static char large[1 << 20];
    struct cw_http h;
    struct http_key *k, *busy;
    char key[16];

    begin(&h);
    assert_int_equal(take(&h, "busy", "POST /", "", &busy), HTTP_KEY_NEW);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        assert_int_equal(take(&h, key, "POST /", "", &k), HTTP_KEY_NEW);
        cw_http_key_answered(&h, k, 200, large, i % 2 == 0 ? sizeof(large) : 10);
        assert_true(h.n_keys <= 512 && h.key_bytes <= 9 * sizeof(large));
    }
    assert_int_equal(take(&h, "1999", "POST /", "", &k), HTTP_KEY_SAME);
    assert_int_equal(take(&h, "0", "POST /", "", &k), HTTP_KEY_NEW);
    assert_int_equal(take(&h, "busy", "POST /", "", &k), HTTP_KEY_BUSY);
    end(&h);
}

static void
all_busy_is_full(void **state)
{
    struct cw_http h;
    struct http_key *k;
    char key[16];

    begin(&h);
    for (int i = 0; i < 512; i++) {
        snprintf(key, sizeof(key), "%d", i);
        assert_int_equal(take(&h, key, "POST /", "", &k), HTTP_KEY_NEW);
    }
    assert_int_equal(take(&h, "one more", "POST /", "", &k), HTTP_KEY_FULL);
    end(&h);
}

static void
an_hour_is_enough(void **state)
{
    struct cw_http h;
    struct http_key *k;

    begin(&h);
    assert_int_equal(take(&h, "a", "POST /", "", &k), HTTP_KEY_NEW);
    cw_http_key_answered(&h, k, 200, "x", 1);
    cw_simenv_run_for(&env, 3599 * CW_NS_PER_S);
    assert_int_equal(take(&h, "a", "POST /", "", &k), HTTP_KEY_SAME);
    cw_simenv_run_for(&env, 2 * CW_NS_PER_S);
    assert_int_equal(take(&h, "b", "POST /", "", &k), HTTP_KEY_NEW); /* sweeps */
    assert_int_equal(take(&h, "a", "POST /", "", &k), HTTP_KEY_NEW);
    end(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_request_one_answer), cmocka_unit_test(a_failure_is_not_kept),
        cmocka_unit_test(memory_is_bounded),      cmocka_unit_test(all_busy_is_full),
        cmocka_unit_test(an_hour_is_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
