#include "tests/unit/service/harness.h"

#include <string.h>
#include <unistd.h>

/* A server that answers by name: "slow" never, "fail" with NOT_FOUND, "other" with a redirect,
 * "hangup" by closing, anything else with the name and a size. */
struct host {
    struct cw_rpc_server *server;
    struct cw_rpc_conn *conn; /* the newest */
    struct cw_rpc_req *kept[2];
    unsigned n_kept;
    const char *redirect;
    char first_name[32]; /* of the first request */
    unsigned n_open, n_down, n_requests, n_oneway;
};

static void
host_on_open(void *user, struct cw_rpc_conn *c)
{
    struct host *h = user;

    h->n_open++;
    h->conn = c;
}

static void
host_answer(struct host *h, const char *name, struct cw_rpc_req *req)
{
    Causeway__Control__VolumeInfo info = CAUSEWAY__CONTROL__VOLUME_INFO__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    info.name = (char *)name;
    info.size_bytes = strlen(name);
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_INFO;
    m.volume_info = &info;
    cw_rpc_req_reply(req, &m);
}

static void
host_on_message(void *user, struct cw_rpc_conn *c, const cw_envelope *m, struct cw_rpc_req *req)
{
    struct host *h = user;
    const char *name;

    if (req == NULL) {
        h->n_oneway++;
        return;
    }
    h->n_requests++;
    if (h->n_requests == 1)
        snprintf(h->first_name, sizeof(h->first_name), "%s", m->volume_show->name);
    assert_int_equal(m->body_case, CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_SHOW);
    name = m->volume_show->name;
    if (strcmp(name, "slow") == 0)
        h->kept[h->n_kept++ % CW_LEN(h->kept)] = req;
    else if (strcmp(name, "fail") == 0)
        cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND, name, "try another",
                         "volume %s: there is none", name);
    else if (h->redirect != NULL)
        cw_rpc_req_not_manager(req, h->redirect, NULL);
    else if (strcmp(name, "hangup") == 0 && h->n_requests == 1) {
        cw_rpc_conn_close(c, "told to");
        cw_rpc_req_empty(req);
    } else
        host_answer(h, name, req);
}

static void
host_on_down(void *user, struct cw_rpc_conn *c, const char *why)
{
    struct host *h = user;

    h->n_down++;
    if (h->conn == c)
        h->conn = NULL;
}

static const struct cw_rpc_server_events host_events = {
    .on_open = host_on_open,
    .on_message = host_on_message,
    .on_down = host_on_down,
};

static void
host_listen(struct loop *l, struct host *h, const char *addr)
{
    struct cw_rpc_server_opts opts = { .listen = addr, .ev = &host_events, .user = h };
    char why[CW_RPC_WHY_SIZE];

    *h = (struct host){ 0 };
    if (cw_rpc_server_new(l->s, &opts, &h->server, why) != 0)
        fail_msg("%s", why);
}

struct guest {
    struct cw_rpc_session *session;
    unsigned n_up, n_down, n_messages;
    bool ask_on_up; /* a call from on_connected */
    struct cw_rpc_call first;
};

static void
guest_call(struct cw_rpc_session *ss, struct cw_rpc_call *call, const char *name, uint64_t ms)
{
    Causeway__Control__VolumeShow show = CAUSEWAY__CONTROL__VOLUME_SHOW__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    show.name = (char *)name;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_SHOW;
    m.volume_show = &show;
    cw_rpc_session_call(ss, call, &m, ms);
}

static void
guest_on_connected(void *user, struct cw_rpc_session *ss)
{
    struct guest *g = user;

    g->n_up++;
    if (g->ask_on_up)
        guest_call(ss, &g->first, "first", 5000);
}

static void
guest_on_disconnected(void *user, struct cw_rpc_session *ss, const char *why)
{
    ((struct guest *)user)->n_down++;
}

static void
guest_on_message(void *user, struct cw_rpc_session *ss, const cw_envelope *m,
                 struct cw_rpc_req *req)
{
    ((struct guest *)user)->n_messages++;
    if (req != NULL)
        cw_rpc_req_empty(req);
}

static const struct cw_rpc_session_events guest_events = {
    .on_connected = guest_on_connected,
    .on_disconnected = guest_on_disconnected,
    .on_message = guest_on_message,
};

static void
guest_connect(struct loop *l, struct guest *g, const char *addrs)
{
    struct cw_rpc_session_opts opts = { .addrs = addrs, .ev = &guest_events, .user = g };
    char why[CW_RPC_WHY_SIZE];

    if (cw_rpc_session_new(l->s, &opts, &g->session, why) != 0)
        fail_msg("%s", why);
}

/* One call and what became of it. */
struct ask {
    struct cw_rpc_call call;
    bool done;
    Causeway__Control__ErrorCode code;
    char message[512], object[64], name[64];
};

static void
ask_done(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct ask *a = cw_container_of(call, struct ask, call);

    assert_false(a->done);
    a->done = true;
    a->code = CAUSEWAY__CONTROL__ERROR_CODE__OK;
    if (reply->error != NULL) {
        a->code = reply->error->code;
        snprintf(a->message, sizeof(a->message), "%s", reply->error->message);
        snprintf(a->object, sizeof(a->object), "%s", reply->error->object);
    } else if (reply->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_INFO) {
        snprintf(a->name, sizeof(a->name), "%s", reply->volume_info->name);
    }
}

static struct ask
ask_new(void)
{
    return (struct ask){ .call.done = ask_done };
}

/* A request comes back with what the other side said, values and errors alike. */
static void
rpc_round_trip(void **state)
{
    struct ask a = ask_new(), b = ask_new();
    struct guest g = { 0 };
    struct host h;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &h, "127.0.0.1:0");
    guest_connect(&l, &g, cw_rpc_server_addr(h.server));
    guest_call(g.session, &a.call, "vm1", 5000);
    guest_call(g.session, &b.call, "fail", 5000);
    assert_false(a.done);
    assert_true(loop_until(&l, loop_is_set, &b.done));
    assert_true(a.done);
    assert_int_equal(a.code, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_string_equal(a.name, "vm1");
    assert_int_equal(b.code, CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND);
    assert_string_equal(b.message, "volume fail: there is none");
    assert_string_equal(b.object, "fail");
    assert_int_equal(g.n_up, 1);
    cw_rpc_session_free(g.session);
    cw_rpc_server_free(h.server);
    assert_int_equal(h.n_down, 1);
    cw_service_free(l.s);
}

static bool
host_has_conn(void *arg)
{
    return ((struct host *)arg)->conn != NULL;
}

static bool
guest_got_two(void *arg)
{
    return ((struct guest *)arg)->n_messages == 2;
}

/* The server asks its client and sends one-way messages on the same connection. */
static void
rpc_is_symmetric(void **state)
{
    Causeway__Control__LetGo let_go = CAUSEWAY__CONTROL__LET_GO__INIT;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    struct ask a = ask_new();
    struct guest g = { 0 };
    struct host h;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &h, "127.0.0.1:0");
    guest_connect(&l, &g, cw_rpc_server_addr(h.server));
    assert_true(loop_until(&l, host_has_conn, &h));
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_LET_GO;
    m.let_go = &let_go;
    cw_rpc_conn_send(h.conn, &m);
    cw_rpc_conn_call(h.conn, &a.call, &m, 5000);
    assert_true(loop_until(&l, guest_got_two, &g));
    assert_true(loop_until(&l, loop_is_set, &a.done));
    assert_int_equal(a.code, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    cw_rpc_session_free(g.session);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* A call that nobody answers ends at its deadline with TIMEOUT; the late answer is dropped. */
static void
rpc_deadline_ends_a_call(void **state)
{
    struct ask a = ask_new(), b = ask_new();
    struct guest g = { 0 };
    struct host h;
    struct loop l;
    uint64_t start;

    loop_init(&l);
    host_listen(&l, &h, "127.0.0.1:0");
    guest_connect(&l, &g, cw_rpc_server_addr(h.server));
    start = cw_now_ns(l.env);
    guest_call(g.session, &a.call, "slow", 100);
    assert_true(loop_until(&l, loop_is_set, &a.done));
    assert_int_equal(a.code, CAUSEWAY__CONTROL__ERROR_CODE__TIMEOUT);
    assert_true(cw_now_ns(l.env) - start >= 100 * CW_NS_PER_MS);
    assert_true(cw_rpc_req_deadline_ns(h.kept[0]) >= start + 100 * CW_NS_PER_MS);
    cw_rpc_req_empty(h.kept[0]);
    guest_call(g.session, &b.call, "vm1", 5000);
    assert_true(loop_until(&l, loop_is_set, &b.done));
    assert_string_equal(b.name, "vm1");
    cw_rpc_session_free(g.session);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* With nobody listening a call waits until its deadline and names the addresses tried. */
static void
rpc_unreachable_names_addresses(void **state)
{
    struct ask a = ask_new();
    struct guest g = { 0 };
    struct loop l;

    loop_init(&l);
    guest_connect(&l, &g, "127.0.0.1:1,127.0.0.2:1");
    guest_call(g.session, &a.call, "vm1", 300);
    assert_true(loop_until(&l, loop_is_set, &a.done));
    assert_int_equal(a.code, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE);
    assert_non_null(strstr(a.message, "127.0.0.1:1 ("));
    assert_non_null(strstr(a.message, "127.0.0.2:1 ("));
    assert_non_null(strstr(a.message, "Connection refused"));
    assert_false(a.call.sent);
    cw_rpc_session_free(g.session);
    cw_service_free(l.s);
}

static bool
loop_has_warned(void *arg)
{
    return ((struct loop *)arg)->n_warnings > 0;
}

/* A manager that stays away is one warning in the log, not silence and not one for every try. */
static void
rpc_long_outage_is_told_once(void **state)
{
    struct guest g = { 0 };
    struct loop l;

    loop_init(&l);
    guest_connect(&l, &g, "127.0.0.1:1");
    assert_true(loop_until(&l, loop_has_warned, &l));
    loop_for_ms(&l, 3000);
    assert_int_equal(l.n_warnings, 1);
    cw_rpc_session_free(g.session);
    cw_service_free(l.s);
}

static bool
guest_up_twice(void *arg)
{
    return ((struct guest *)arg)->n_up == 2;
}

static bool
guest_up_once(void *arg)
{
    return ((struct guest *)arg)->n_up >= 1;
}

static bool
guest_down_once(void *arg)
{
    return ((struct guest *)arg)->n_down == 1;
}

/* After the server came back the session is up again, its registration goes out before the calls
 * that were waiting, and those are answered. */
static void
rpc_reconnects_and_registers_first(void **state)
{
    struct ask a = ask_new();
    struct guest g = { 0 };
    char addr[80];
    struct host h;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &h, "127.0.0.1:0");
    snprintf(addr, sizeof(addr), "%s", cw_rpc_server_addr(h.server));
    guest_connect(&l, &g, addr);
    assert_true(loop_until(&l, guest_up_once, &g));
    cw_rpc_server_free(h.server);
    assert_true(loop_until(&l, guest_down_once, &g));
    guest_call(g.session, &a.call, "vm1", 5000);
    g.ask_on_up = true;
    loop_for_ms(&l, 100);
    assert_false(a.done);
    host_listen(&l, &h, addr);
    assert_true(loop_until(&l, guest_up_twice, &g));
    assert_true(loop_until(&l, loop_is_set, &a.done));
    assert_string_equal(h.first_name, "first");
    assert_int_equal(h.n_requests, 2);
    assert_string_equal(a.name, "vm1");
    cw_rpc_session_free(g.session);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* A call that was sent when the connection broke fails, one marked harmless is sent again. */
static void
rpc_broken_connection_fails_or_repeats(void **state)
{
    struct ask a = ask_new(), b = ask_new();
    struct guest g = { 0 };
    struct host h;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &h, "127.0.0.1:0");
    guest_connect(&l, &g, cw_rpc_server_addr(h.server));
    guest_call(g.session, &a.call, "hangup", 5000);
    b.call.repeat = true;
    guest_call(g.session, &b.call, "vm2", 5000);
    assert_true(loop_until(&l, loop_is_set, &b.done));
    assert_true(a.done);
    assert_int_equal(a.code, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE);
    assert_true(a.call.sent);
    assert_int_equal(b.code, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_string_equal(b.name, "vm2");
    assert_int_equal(h.n_open, 2);
    cw_rpc_session_free(g.session);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* NOT_MANAGER leads to the one that is, though its address was never configured. */
static void
rpc_follows_a_redirect(void **state)
{
    struct ask a = ask_new();
    struct guest g = { 0 };
    struct host other, manager;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &other, "127.0.0.1:0");
    host_listen(&l, &manager, "127.0.0.2:0");
    other.redirect = cw_rpc_server_addr(manager.server);
    guest_connect(&l, &g, cw_rpc_server_addr(other.server));
    guest_call(g.session, &a.call, "vm1", 5000);
    assert_true(loop_until(&l, loop_is_set, &a.done));
    assert_int_equal(a.code, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_string_equal(a.name, "vm1");
    assert_int_equal(manager.n_requests, 1);
    cw_rpc_session_free(g.session);
    cw_rpc_server_free(other.server);
    cw_rpc_server_free(manager.server);
    cw_service_free(l.s);
}

/* Told where the manager is now, a session leaves whom it is connected to, even one that is silent,
 * and its waiting call is answered there. The same address again changes nothing. */
static void
rpc_moves_when_told(void **state)
{
    struct ask a = ask_new(), b = ask_new();
    struct guest g = { 0 };
    struct host old, now;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &old, "127.0.0.1:0");
    host_listen(&l, &now, "127.0.0.2:0");
    guest_connect(&l, &g, cw_rpc_server_addr(old.server));
    guest_call(g.session, &a.call, "slow", 5000);
    a.call.repeat = true;
    assert_true(loop_until(&l, loop_is_set, &old.n_kept));
    cw_rpc_session_move(g.session, cw_rpc_server_addr(old.server));
    cw_rpc_session_move(g.session, "nonsense");
    cw_rpc_session_move(g.session, cw_rpc_server_addr(now.server));
    assert_true(loop_until(&l, loop_is_set, &now.n_kept));
    assert_int_equal(g.n_up, 2);
    guest_call(g.session, &b.call, "vm1", 5000);
    assert_true(loop_until(&l, loop_is_set, &b.done));
    assert_int_equal(b.code, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    assert_int_equal(now.n_requests, 2);
    cw_rpc_session_free(g.session);
    cw_rpc_req_empty(old.kept[0]);
    cw_rpc_req_empty(now.kept[0]);
    cw_rpc_server_free(old.server);
    cw_rpc_server_free(now.server);
    cw_service_free(l.s);
}

/* Two that send each other's address do not make a busy loop: the call ends at its deadline. */
static void
rpc_redirect_circle_is_bounded(void **state)
{
    struct ask a = ask_new();
    struct guest g = { 0 };
    struct host one, two;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &one, "127.0.0.1:0");
    host_listen(&l, &two, "127.0.0.1:0");
    one.redirect = cw_rpc_server_addr(two.server);
    two.redirect = cw_rpc_server_addr(one.server);
    guest_connect(&l, &g, cw_rpc_server_addr(one.server));
    guest_call(g.session, &a.call, "vm1", 500);
    assert_true(loop_until(&l, loop_is_set, &a.done));
    assert_int_equal(a.code, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE);
    assert_true(one.n_requests + two.n_requests < 30);
    cw_rpc_session_free(g.session);
    cw_rpc_server_free(one.server);
    cw_rpc_server_free(two.server);
    cw_service_free(l.s);
}

/* A cancelled call never reports, a call freed with its session reports from inside. */
static void
rpc_cancel_and_free_end_calls(void **state)
{
    struct ask a = ask_new(), b = ask_new(), c = ask_new();
    struct guest g = { 0 };
    struct host h;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &h, "127.0.0.1:0");
    guest_connect(&l, &g, cw_rpc_server_addr(h.server));
    guest_call(g.session, &a.call, "slow", 60000);
    guest_call(g.session, &b.call, "slow", 60000);
    assert_true(loop_until(&l, host_has_conn, &h));
    guest_call(g.session, &c.call, "vm1", 5000);
    assert_true(loop_until(&l, loop_is_set, &c.done));
    cw_rpc_call_cancel(&a.call);
    cw_rpc_call_cancel(&a.call);
    cw_rpc_session_free(g.session);
    assert_false(a.done);
    assert_true(b.done);
    assert_int_equal(b.code, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE);
    cw_rpc_server_free(h.server);
    cw_rpc_req_empty(h.kept[0]); /* orphans by now */
    cw_rpc_req_empty(h.kept[1]);
    cw_service_free(l.s);
}

/* A port that is taken and an address that is none are told apart in one line. */
static void
rpc_listen_errors_are_clear(void **state)
{
    struct cw_rpc_server_opts opts = { .ev = &host_events };
    struct cw_rpc_server *other;
    char why[CW_RPC_WHY_SIZE], want[CW_RPC_WHY_SIZE];
    struct host h;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &h, "127.0.0.1:0");
    opts.listen = cw_rpc_server_addr(h.server);
    assert_int_not_equal(cw_rpc_server_new(l.s, &opts, &other, why), 0);
    snprintf(want, sizeof(want), "port %s on 127.0.0.1 is in use", strchr(opts.listen, ':') + 1);
    assert_string_equal(why, want);
    opts.listen = "127.0.0.1";
    assert_int_not_equal(cw_rpc_server_new(l.s, &opts, &other, why), 0);
    assert_string_equal(why, "'127.0.0.1' is not an address: want ADDR:PORT");
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* Clients of another cluster are turned away, those that do not know theirs yet are let in. */
static void
rpc_other_cluster_is_refused(void **state)
{
    struct cw_uuid ours = cw_uuid_from_random(1, 2), theirs = cw_uuid_from_random(3, 4);
    struct ask a = ask_new(), b = ask_new();
    struct guest g = { 0 }, k = { 0 };
    struct host h;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &h, "127.0.0.1:0");
    cw_rpc_server_set_cluster(h.server, &ours);
    guest_connect(&l, &g, cw_rpc_server_addr(h.server));
    cw_rpc_session_set_cluster(g.session, &theirs);
    guest_connect(&l, &k, cw_rpc_server_addr(h.server));
    guest_call(g.session, &a.call, "vm1", 300);
    guest_call(k.session, &b.call, "vm1", 5000);
    assert_true(loop_until(&l, loop_is_set, &a.done));
    assert_true(loop_until(&l, loop_is_set, &b.done));
    assert_int_equal(a.code, CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE);
    assert_non_null(strstr(a.message, "another cluster"));
    assert_int_equal(b.code, CAUSEWAY__CONTROL__ERROR_CODE__OK);
    cw_rpc_session_free(g.session);
    cw_rpc_session_free(k.session);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

/* More than a thousand calls at once: those above the limit end with LIMIT, the others are served.
 */
static void
rpc_calls_are_limited(void **state)
{
    enum { N = CW_RPC_REQUESTS_MAX + 10 };
    static struct ask a[N];
    struct guest g = { 0 };
    unsigned n_limit = 0;
    struct host h;
    struct loop l;

    loop_init(&l);
    host_listen(&l, &h, "127.0.0.1:0");
    guest_connect(&l, &g, cw_rpc_server_addr(h.server));
    for (unsigned i = 0; i < N; i++) {
        a[i] = ask_new();
        guest_call(g.session, &a[i].call, "vm1", 9000);
    }
    for (unsigned i = 0; i < N; i++)
        assert_true(loop_until(&l, loop_is_set, &a[i].done));
    for (unsigned i = 0; i < N; i++)
        n_limit += a[i].code == CAUSEWAY__CONTROL__ERROR_CODE__LIMIT;
    assert_int_equal(n_limit, 10);
    assert_int_equal(h.n_requests, CW_RPC_REQUESTS_MAX);
    cw_rpc_session_free(g.session);
    cw_rpc_server_free(h.server);
    cw_service_free(l.s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rpc_round_trip),
        cmocka_unit_test(rpc_is_symmetric),
        cmocka_unit_test(rpc_deadline_ends_a_call),
        cmocka_unit_test(rpc_unreachable_names_addresses),
        cmocka_unit_test(rpc_long_outage_is_told_once),
        cmocka_unit_test(rpc_reconnects_and_registers_first),
        cmocka_unit_test(rpc_broken_connection_fails_or_repeats),
        cmocka_unit_test(rpc_follows_a_redirect),
        cmocka_unit_test(rpc_moves_when_told),
        cmocka_unit_test(rpc_redirect_circle_is_bounded),
        cmocka_unit_test(rpc_cancel_and_free_end_calls),
        cmocka_unit_test(rpc_listen_errors_are_clear),
        cmocka_unit_test(rpc_other_cluster_is_refused),
        cmocka_unit_test(rpc_calls_are_limited),
    };

    return cmocka_run_group_tests_name("rpc", tests, NULL, NULL);
}
