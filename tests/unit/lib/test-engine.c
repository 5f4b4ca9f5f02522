/* The engine's control side against a manager that only talks. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/lib/engine.h"
#include "common/base/bits.h"
#include "common/service/server.h"

/* ---- a manager that knows two volumes and grants nothing ---- */

struct fake {
    pthread_t thread;
    struct cw_service *service;
    struct cw_rpc_server *server;
    char addr[128];
    char name[64], site[64];
    uint32_t n_hellos, n_attaches, n_takes;
    struct cw_rpc_call let_go;
    Causeway__Control__ErrorCode let_go_code; /* OK: not answered yet */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void
say_hello(struct fake *f, const Causeway__Control__ClientHello *m, struct cw_rpc_req *req)
{
    Causeway__Control__ClientHelloReply reply = CAUSEWAY__CONTROL__CLIENT_HELLO_REPLY__INIT;
    cw_envelope body = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    uint8_t id[16] = { 7 };

    f->n_hellos++;
    snprintf(f->name, sizeof(f->name), "%s", m->name);
    snprintf(f->site, sizeof(f->site), "%s", m->domain->site);
    reply.cluster_id = (ProtobufCBinaryData){ sizeof(id), id };
    body.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_CLIENT_HELLO_REPLY;
    body.client_hello_reply = &reply;
    cw_rpc_req_reply(req, &body);
}

static void
list(struct cw_rpc_req *req)
{
    Causeway__Control__VolumeInfo a = CAUSEWAY__CONTROL__VOLUME_INFO__INIT, b = a,
                                  *v[] = { &a, &b };
    Causeway__Control__VolumeLsReply reply = CAUSEWAY__CONTROL__VOLUME_LS_REPLY__INIT;
    cw_envelope body = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    char name_a[] = "vm1", name_b[] = "vm2";

    a.name = name_a;
    a.size_bytes = 4096;
    b.name = name_b;
    b.size_bytes = 8192;
    reply.n_volumes = 2;
    reply.volumes = v;
    body.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_LS_REPLY;
    body.volume_ls_reply = &reply;
    cw_rpc_req_reply(req, &body);
}

static void
let_go_done(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct fake *f = cw_container_of(call, struct fake, let_go);

    pthread_mutex_lock(&f->lock);
    f->let_go_code =
        reply->error != NULL ? reply->error->code : CAUSEWAY__CONTROL__ERROR_CODE__INTERNAL;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

/* Of a volume that this client never had. */
static void
ask_let_go(struct fake *f, struct cw_rpc_conn *c)
{
    Causeway__Control__LetGo m = CAUSEWAY__CONTROL__LET_GO__INIT;
    cw_envelope body = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    m.volume_id = 9;
    m.gen = 1;
    body.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_LET_GO;
    body.let_go = &m;
    f->let_go = (struct cw_rpc_call){ .done = let_go_done };
    cw_rpc_conn_call(c, &f->let_go, &body, 5000);
}

static void
on_message(void *user, struct cw_rpc_conn *c, const cw_envelope *m, struct cw_rpc_req *req)
{
    struct fake *f = user;

    switch ((int)m->body_case) {
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_CLIENT_HELLO:
        say_hello(f, m->client_hello, req);
        return;
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_LS:
        list(req);
        return;
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_ATTACH:
        f->n_attaches++;
        if (m->attach->intent == CAUSEWAY__CONTROL__ATTACH_INTENT__TAKE && f->n_takes++ == 0)
            ask_let_go(f, c);
        if (strcmp(m->attach->volume, "vm1") == 0)
            cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__VOLUME_IN_USE, "vm1",
                             "wait, or --force", "volume vm1: in use by qemu on h3");
        else
            cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND, m->attach->volume, NULL,
                             "volume %s: there is no such volume", m->attach->volume);
        return;
    default:
        if (req != NULL)
            cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST, NULL, NULL, "no");
    }
}

static void
on_open(void *user, struct cw_rpc_conn *c)
{
}

static void
on_down(void *user, struct cw_rpc_conn *c, const char *why)
{
}

static const struct cw_rpc_server_events events = { .on_open = on_open,
                                                    .on_message = on_message,
                                                    .on_down = on_down };

static void *
fake_main(void *arg)
{
    struct fake *f = arg;
    struct cw_rpc_server_opts opts = { .listen = "127.0.0.1:0", .ev = &events, .user = f };
    char why[CW_RPC_WHY_SIZE];
    int res;

    f->service = cw_service_new(NULL, &res);
    assert_int_equal(cw_rpc_server_new(f->service, &opts, &f->server, why), 0);
    pthread_mutex_lock(&f->lock);
    snprintf(f->addr, sizeof(f->addr), "%s", cw_rpc_server_addr(f->server));
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
    cw_service_run(f->service);
    cw_rpc_server_free(f->server);
    cw_service_free(f->service);
    return NULL;
}

static void
fake_start(struct fake *f)
{
    *f = (struct fake){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    pthread_create(&f->thread, NULL, fake_main, f);
    pthread_mutex_lock(&f->lock);
    while (f->addr[0] == 0)
        pthread_cond_wait(&f->changed, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static void
fake_stop(struct fake *f)
{
    cw_service_stop(f->service);
    pthread_join(f->thread, NULL);
}

/* ---- waiting for answers ---- */

struct answer {
    struct cw_engine *e;
    struct cw_engine_open open;
    struct cw_engine_list list;
    int res;
    size_t n;
    char text[CW_ENGINE_ERROR_SIZE];
    bool done, cancel;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void
answered(struct answer *a, int res, size_t n, const char *text)
{
    pthread_mutex_lock(&a->lock);
    a->res = res;
    a->n = n;
    snprintf(a->text, sizeof(a->text), "%s", text);
    a->done = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static int
answer_wait(struct answer *a)
{
    pthread_mutex_lock(&a->lock);
    while (!a->done)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
    return a->res;
}

static void
open_done(struct cw_engine_open *o, int res, struct cw_engine_volume *v, const char *error)
{
    answered(cw_container_of(o, struct answer, open), res, 0, error);
}

static void
list_done(struct cw_engine_list *l, int res, const struct cw_engine_volume_info *v, size_t n,
          const char *error)
{
    answered(cw_container_of(l, struct answer, list), res, n, error);
}

static int
begin(void *arg)
{
    struct answer *a = arg;

    if (a->open.done != NULL)
        cw_engine_open(a->e, &a->open);
    else
        cw_engine_list(a->e, &a->list);
    if (a->cancel)
        cw_engine_open_cancel(&a->open);
    return 0;
}

static struct answer
ask_open(struct cw_engine *e, const char *volume, uint64_t retry_ms, bool cancel)
{
    struct answer a = { .e = e,
                        .cancel = cancel,
                        .open = { .volume = volume, .retry_ms = retry_ms, .done = open_done },
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER };

    cw_engine_run(e, begin, &a);
    answer_wait(&a);
    return a;
}

static struct cw_engine *
engine_new(const char *addr, const char *domain)
{
    struct cw_engine_opts opts = {
        .cluster = addr, .name = "tester", .domain = domain, .log_level = CW_LOG_WARNING
    };
    struct cw_engine *e;
    char error[CW_ENGINE_ERROR_SIZE];

    assert_int_equal(cw_engine_new(&opts, error, &e), 0);
    return e;
}

/* ---- tests ---- */

/* The engine introduces itself, lists, and hands on why an attach was refused. */
static void
the_manager_is_asked(void **state)
{
    struct fake f;
    struct cw_engine *e;
    struct answer a;
    char error[CW_ENGINE_ERROR_SIZE];

    fake_start(&f);
    e = engine_new(f.addr, "site=dc1,rack=r2");
    assert_int_equal(cw_engine_wait_cluster(e, 5000, error), 0);
    assert_string_equal(f.name, "tester");
    assert_string_equal(f.site, "dc1");
    a = (struct answer){ .e = e,
                         .list.done = list_done,
                         .lock = PTHREAD_MUTEX_INITIALIZER,
                         .changed = PTHREAD_COND_INITIALIZER };
    cw_engine_run(e, begin, &a);
    assert_int_equal(answer_wait(&a), 0);
    assert_int_equal(a.n, 2);
    a = ask_open(e, "nosuch", 0, false);
    assert_int_equal(a.res, -ENOENT);
    assert_non_null(strstr(a.text, "nosuch"));
    a = ask_open(e, "vm1", 0, false);
    assert_int_equal(a.res, -EBUSY);
    assert_non_null(strstr(a.text, "VOLUME_IN_USE"));
    assert_non_null(strstr(a.text, "h3"));
    assert_non_null(strstr(a.text, "--force"));
    cw_engine_free(e);
    fake_stop(&f);
}

/* VOLUME_IN_USE is tried again while there is time, and a cancel ends it. */
static void
an_attach_is_tried_again(void **state)
{
    struct fake f;
    struct cw_engine *e;

    fake_start(&f);
    e = engine_new(f.addr, NULL);
    assert_int_equal(ask_open(e, "vm1", 1500, false).res, -EBUSY);
    assert_true(f.n_attaches >= 3);
    assert_int_equal(ask_open(e, "vm1", 60000, true).res, -ECANCELED);
    cw_engine_free(e);
    fake_stop(&f);
}

/* A volume may be taken from its owner; and what is not held cannot be let go. */
static void
hand_over_is_asked_for(void **state)
{
    struct fake f;
    struct cw_engine *e;
    struct answer a;

    fake_start(&f);
    e = engine_new(f.addr, NULL);
    assert_int_equal(ask_open(e, "vm1", 0, false).res, -EBUSY);
    assert_int_equal(f.n_takes, 0);
    a = (struct answer){ .e = e,
                         .open = { .volume = "vm1", .take = true, .done = open_done },
                         .lock = PTHREAD_MUTEX_INITIALIZER,
                         .changed = PTHREAD_COND_INITIALIZER };
    cw_engine_run(e, begin, &a);
    assert_int_equal(answer_wait(&a), -EBUSY);
    assert_int_equal(f.n_takes, 1);
    pthread_mutex_lock(&f.lock);
    while (f.let_go_code == CAUSEWAY__CONTROL__ERROR_CODE__OK)
        pthread_cond_wait(&f.changed, &f.lock);
    pthread_mutex_unlock(&f.lock);
    assert_int_equal(f.let_go_code, CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND);
    cw_engine_free(e);
    fake_stop(&f);
}

/* Without a cluster everything starts, answers in time and stops. */
static void
an_absent_cluster_is_told(void **state)
{
    struct cw_engine *e = engine_new("127.0.0.1:1,127.0.0.1:2", NULL);
    char error[CW_ENGINE_ERROR_SIZE];
    struct answer a = { .e = e,
                        .open = { .volume = "vm1", .timeout_ms = 200, .done = open_done },
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER };

    assert_int_equal(cw_engine_wait_cluster(e, 300, error), -ETIMEDOUT);
    assert_non_null(strstr(error, "127.0.0.1:2"));
    cw_engine_run(e, begin, &a);
    assert_int_equal(answer_wait(&a), -ETIMEDOUT);
    assert_non_null(strstr(a.text, "vm1"));
    cw_engine_free(e);
}

/* Nonsense is refused before a thread starts. */
static void
nonsense_is_refused(void **state)
{
    static const struct cw_engine_opts bad[] = {
        { .cluster = "nowhere" },
        { .cluster = "127.0.0.1:99999" },
        { .cluster = "127.0.0.1:1", .domain = "planet=earth" },
        { .cluster = "127.0.0.1:1", .domain = "site=" },
    };
    char error[CW_ENGINE_ERROR_SIZE];
    struct cw_engine *e;

    for (size_t i = 0; i < CW_LEN(bad); i++) {
        error[0] = 0;
        assert_int_equal(cw_engine_new(&bad[i], error, &e), -EINVAL);
        assert_true(error[0] != 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manager_is_asked),   cmocka_unit_test(an_attach_is_tried_again),
        cmocka_unit_test(hand_over_is_asked_for), cmocka_unit_test(an_absent_cluster_is_told),
        cmocka_unit_test(nonsense_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
