#include "tests/unit/service/harness.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "common/service/sync.h"

/* A server on a thread of its own that answers every request with an empty reply. */
struct host {
    struct cw_service *s;
    struct cw_rpc_server *server;
    pthread_t thread;
    unsigned n_open;
};

static void
host_on_open(void *user, struct cw_rpc_conn *c)
{
    ((struct host *)user)->n_open++;
}

static void
host_on_message(void *user, struct cw_rpc_conn *c, const cw_envelope *m, struct cw_rpc_req *req)
{
    cw_rpc_req_empty(req);
}

static void
host_on_down(void *user, struct cw_rpc_conn *c, const char *why)
{
}

static const struct cw_rpc_server_events host_events = { host_on_open, host_on_message,
                                                         host_on_down, NULL };

static void *
host_thread(void *arg)
{
    cw_service_run(((struct host *)arg)->s);
    return NULL;
}

static void
host_start(struct host *h)
{
    struct cw_rpc_server_opts opts = { .listen = "127.0.0.1:0", .ev = &host_events, .user = h };
    char why[CW_RPC_WHY_SIZE];
    int err;

    *h = (struct host){ .s = cw_service_new(NULL, &err) };
    assert_non_null(h->s);
    assert_int_equal(cw_rpc_server_new(h->s, &opts, &h->server, why), 0);
    assert_int_equal(pthread_create(&h->thread, NULL, host_thread, h), 0);
}

static void
host_stop(struct host *h)
{
    cw_service_stop(h->s);
    pthread_join(h->thread, NULL);
    cw_rpc_server_free(h->server);
    cw_service_free(h->s);
}

static cw_envelope *
ask_status(struct cw_rpc_sync *c, uint64_t timeout_ms)
{
    Causeway__Control__Status status = CAUSEWAY__CONTROL__STATUS__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_STATUS;
    m.status = &status;
    return cw_rpc_call_sync(c, &m, timeout_ms, true);
}

/* Several questions go over one connection, and a pause between them does no harm. */
static void
sync_asks_and_waits(void **state)
{
    char why[CW_RPC_WHY_SIZE];
    struct cw_rpc_sync *c;
    cw_envelope *reply;
    struct host h;

    host_start(&h);
    assert_int_equal(cw_rpc_sync_new(cw_rpc_server_addr(h.server), &c, why), 0);
    for (int i = 0; i < 3; i++) {
        reply = ask_status(c, 5000);
        assert_null(reply->error);
        cw_envelope_free(reply);
    }
    assert_int_equal(h.n_open, 1);
    usleep(1100 * 1000);
    reply = ask_status(c, 5000);
    assert_null(reply->error);
    cw_envelope_free(reply);
    cw_rpc_sync_free(c);
    host_stop(&h);
}

/* Nobody there: an error by the deadline that names whom it asked. */
static void
sync_says_who_does_not_answer(void **state)
{
    char why[CW_RPC_WHY_SIZE];
    struct cw_rpc_sync *c;
    cw_envelope *reply;

    assert_int_equal(cw_rpc_sync_new("127.0.0.1:1", &c, why), 0);
    reply = ask_status(c, 200);
    assert_int_equal(reply->error->code, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE);
    assert_non_null(strstr(reply->error->message, "127.0.0.1:1 (Connection refused)"));
    cw_envelope_free(reply);
    cw_rpc_sync_free(c);
    assert_int_not_equal(cw_rpc_sync_new("nonsense", &c, why), 0);
    assert_string_equal(why, "'nonsense' is not a list of addresses: want ADDR:PORT[,..]");
}

struct slow {
    int n;
    uint64_t left_ms;
};

static void
on_slow(void *user, uint64_t left_ms)
{
    struct slow *slow = user;

    slow->n++;
    slow->left_ms = left_ms;
}

/* A call that takes long says so once, with the time that is left; a quick one does not. */
static void
sync_says_that_it_waits(void **state)
{
    char why[CW_RPC_WHY_SIZE];
    struct slow slow = { 0 };
    struct cw_rpc_sync *c;
    struct host h;

    assert_int_equal(cw_rpc_sync_new("127.0.0.1:1", &c, why), 0);
    cw_rpc_sync_on_slow(c, 100, on_slow, &slow);
    cw_envelope_free(ask_status(c, 400));
    assert_int_equal(slow.n, 1);
    assert_true(slow.left_ms <= 300);
    cw_rpc_sync_free(c);

    host_start(&h);
    assert_int_equal(cw_rpc_sync_new(cw_rpc_server_addr(h.server), &c, why), 0);
    cw_rpc_sync_on_slow(c, 5000, on_slow, &slow);
    cw_envelope_free(ask_status(c, 10000));
    assert_int_equal(slow.n, 1);
    cw_rpc_sync_free(c);
    host_stop(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sync_asks_and_waits),
        cmocka_unit_test(sync_says_who_does_not_answer),
        cmocka_unit_test(sync_says_that_it_waits),
    };

    return cmocka_run_group_tests_name("sync", tests, NULL, NULL);
}
