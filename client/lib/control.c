/* lib/control.c - the control thread: its loop, its session, who we are. */
#include "client/lib/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/lib/control-internal.h"
#include "client/lib/latch.h"
#include "common/base/addr.h"

#define HELLO_MS 5000

/* ---- who we are ---- */

static bool
domain_part(struct cw_control *c, const char *key, size_t n_key, const char *value, size_t n)
{
    struct {
        const char *key;
        char *to;
    } parts[] = {
        { "region", c->region },
        { "site", c->domain.site },
        { "rack", c->domain.rack },
        { "host", c->domain.host },
    };

    for (size_t i = 0; i < CW_LEN(parts); i++) {
        if (strlen(parts[i].key) == n_key && memcmp(parts[i].key, key, n_key) == 0 && n > 0 &&
            n < CW_OWNER_NAME_SIZE) {
            memcpy(parts[i].to, value, n);
            parts[i].to[n] = 0;
            return true;
        }
    }
    return false;
}

/* "site=dc1,rack=r2,host=h3" */
static bool
domain_parse(struct cw_control *c, const char *text)
{
    while (text != NULL && *text != 0) {
        size_t n = strcspn(text, ","), n_key = strcspn(text, "=");

        if (n_key >= n || !domain_part(c, text, n_key, text + n_key + 1, n - n_key - 1))
            return false;
        text += n + (text[n] == ',');
    }
    return true;
}

static void
hello_greeted(struct cw_control *c)
{
    pthread_mutex_lock(&c->lock);
    c->greeted = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void
learn_managers(struct cw_control *c, const Causeway__Control__ClientHelloReply *m)
{
    char addrs[CTL_ADDRS_SIZE];

    if (cw_addr_join(m->managers, m->n_managers, addrs, sizeof(addrs)))
        cw_rpc_session_set_addrs(c->session, addrs);
}

static void
hello_done(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct cw_control *c = cw_container_of(call, struct cw_control, hello);
    char text[CW_ENGINE_ERROR_SIZE];

    if (c->session == NULL)
        return;
    if (reply->error != NULL ||
        reply->body_case != CAUSEWAY__CONTROL__ENVELOPE__BODY_CLIENT_HELLO_REPLY) {
        if (reply->error != NULL)
            ctl_error_text(text, reply->error);
        cw_log(cw_service_env(c->service), CW_LOG_WARNING, "cluster %s: hello: %s", c->cluster,
               reply->error != NULL ? text : "the manager answered something else");
        if (cw_rpc_session_conn(c->session) != NULL) /* the next connection begins anew */
            cw_rpc_conn_close(cw_rpc_session_conn(c->session), "hello failed");
        return;
    }
    if (cw_plain_uuid(&reply->client_hello_reply->cluster_id, &c->cluster_id))
        cw_rpc_session_set_cluster(c->session, &c->cluster_id);
    c->self = c->domain;
    if (c->domain.site[0] == 0 && c->domain.rack[0] == 0 && c->domain.host[0] == 0)
        cw_plain_domain(reply->client_hello_reply->domain, &c->self);
    learn_managers(c, reply->client_hello_reply);
    hello_greeted(c);
}

static void
on_connected(void *user, struct cw_rpc_session *ss)
{
    struct cw_control *c = user;
    Causeway__Control__ClientHello m = CAUSEWAY__CONTROL__CLIENT_HELLO__INIT;
    Causeway__Control__Domain domain = CAUSEWAY__CONTROL__DOMAIN__INIT;
    cw_envelope body = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    char host[CW_OWNER_NAME_SIZE] = "";

    gethostname(host, sizeof(host) - 1);
    domain.region = c->region;
    domain.site = c->domain.site;
    domain.rack = c->domain.rack;
    domain.host = c->domain.host;
    m.client_id = (ProtobufCBinaryData){ sizeof(c->client_id.b), c->client_id.b };
    m.boot_id = (ProtobufCBinaryData){ sizeof(c->domain.boot_id.b), c->domain.boot_id.b };
    m.name = c->name;
    m.domain = &domain;
    m.host = host;
    m.pid = (uint64_t)getpid();
    body.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_CLIENT_HELLO;
    body.client_hello = &m;
    cw_rpc_call_cancel(&c->hello);
    c->hello = (struct cw_rpc_call){ .done = hello_done };
    cw_rpc_session_call(ss, &c->hello, &body, HELLO_MS);
}

static void
on_message(void *user, struct cw_rpc_session *ss, const cw_envelope *m, struct cw_rpc_req *take_req)
{
    ctl_on_message(user, m, take_req);
}

static const struct cw_rpc_session_events session_events = {
    .on_connected = on_connected,
    .on_message = on_message,
};

/* ---- the thread ---- */

static void
control_drain(struct cw_work *w)
{
    cw_mailbox_run(&cw_container_of(w, struct cw_control, drain)->inbox);
}

static void
control_wake(void *arg)
{
    struct cw_control *c = arg;

    cw_service_post(c->service, &c->drain);
}

static int
control_open(struct cw_control *c)
{
    struct cw_rpc_session_opts opts = {
        .addrs = c->cluster, .self_id = c->client_id, .ev = &session_events, .user = c
    };
    int res = 0;

    c->service = cw_service_new(&c->service_opts, &res);
    if (c->service == NULL) {
        snprintf(c->trouble, sizeof(c->trouble), "cannot start an event loop: %s", strerror(-res));
        return res;
    }
    res = cw_rpc_session_new(c->service, &opts, &c->session, c->trouble);
    if (res != 0) {
        cw_service_free(c->service);
        c->service = NULL;
    }
    return res;
}

static void
control_started(struct cw_control *c, int res)
{
    pthread_mutex_lock(&c->lock);
    c->start_res = res;
    c->state = res == 0 ? CTL_RUNNING : CTL_FAILED;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void *
control_main(void *arg)
{
    struct cw_control *c = arg;
    struct cw_rpc_session *ss;
    int res = control_open(c);

    control_started(c, res);
    if (res != 0)
        return NULL;
    cw_service_run(c->service);
    pthread_mutex_lock(&c->lock);
    while (!c->leaving) /* whoever stopped us may still be inside the call */
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
    cw_mailbox_run(&c->inbox);
    ss = c->session;
    c->session = NULL; /* what its end brings about must not ask it again */
    cw_rpc_session_free(ss);
    cw_mailbox_run(&c->inbox);
    cw_service_free(c->service);
    return NULL;
}

static int
control_start(struct cw_control *c, char error[static CW_ENGINE_ERROR_SIZE])
{
    sigset_t all, before;
    int res;

    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    res = -pthread_create(&c->thread, NULL, control_main, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (res != 0) {
        snprintf(error, CW_ENGINE_ERROR_SIZE, "cannot start a thread: %s", strerror(-res));
        return res;
    }
    pthread_mutex_lock(&c->lock);
    while (c->state == CTL_STARTING)
        pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
    if (c->state == CTL_RUNNING)
        return 0;
    pthread_join(c->thread, NULL);
    snprintf(error, CW_ENGINE_ERROR_SIZE, "%s", c->trouble);
    return c->start_res;
}

int
cw_control_new(const struct cw_control_opts *opts, char error[static CW_ENGINE_ERROR_SIZE],
               struct cw_control **ret_c)
{
    struct cw_control *c = calloc(1, sizeof(*c));
    int res;

    if (c == NULL)
        return -ENOMEM;
    snprintf(c->cluster, sizeof(c->cluster), "%s", opts->engine->cluster);
    snprintf(c->name, sizeof(c->name), "%s",
             opts->engine->name != NULL ? opts->engine->name : program_invocation_short_name);
    c->client_id = opts->client_id;
    c->domain.boot_id = opts->boot_id;
    c->to_reactor = opts->to_reactor;
    c->on_event = opts->on_event;
    c->user = opts->user;
    c->service_opts = (struct cw_service_opts){ .log_level = opts->engine->log_level,
                                                .log = opts->engine->log,
                                                .log_user = opts->engine->log_user };
    c->inbox = (struct cw_mailbox){ .wake = control_wake, .arg = c };
    c->drain.fn = control_drain;
    pthread_mutex_init(&c->lock, NULL);
    cw_latch_cond_init(&c->changed);
    if (!domain_parse(c, opts->engine->domain)) {
        snprintf(error, CW_ENGINE_ERROR_SIZE, "domain '%s' is not site=..,rack=..,host=..",
                 opts->engine->domain);
        res = -EINVAL;
    } else {
        c->self = c->domain;
        res = control_start(c, error);
    }
    if (res != 0) {
        cw_control_free(c);
        return res;
    }
    *ret_c = c;
    return 0;
}

void
cw_control_close(struct cw_control *c)
{
    c->closed = true;
}

void
cw_control_stop(struct cw_control *c)
{
    cw_service_stop(c->service);
    pthread_mutex_lock(&c->lock);
    c->leaving = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
}

void
cw_control_free(struct cw_control *c)
{
    if (c == NULL)
        return;
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* ---- waiting for the cluster ---- */

struct trouble_ask {
    struct cw_engine_task task;
    struct cw_control *control;
};

static void
trouble_arrived(struct cw_engine_task *t)
{
    struct trouble_ask *a = cw_container_of(t, struct trouble_ask, task);
    struct cw_control *c = a->control;
    char text[CW_RPC_WHY_SIZE];

    pthread_mutex_lock(&c->lock);
    snprintf(c->trouble, sizeof(c->trouble), "%s",
             c->session != NULL ? cw_rpc_session_trouble(c->session, text) : "stopping");
    c->state = CTL_RUNNING;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    free(a);
}

int
cw_control_wait(struct cw_control *c, uint64_t timeout_ms, char error[static CW_ENGINE_ERROR_SIZE])
{
    struct timespec until = cw_latch_until(timeout_ms);
    struct trouble_ask *a;
    bool greeted;
    int res = 0;

    pthread_mutex_lock(&c->lock);
    while (!c->greeted && res == 0)
        res = pthread_cond_timedwait(&c->changed, &c->lock, &until);
    greeted = c->greeted;
    a = greeted ? NULL : calloc(1, sizeof(*a));
    if (a != NULL) {
        a->task.fn = trouble_arrived;
        a->control = c;
        c->state = CTL_STARTING; /* until the control thread has said what is wrong */
        cw_mailbox_post(&c->inbox, &a->task);
        while (c->state == CTL_STARTING)
            pthread_cond_wait(&c->changed, &c->lock);
        snprintf(error, CW_ENGINE_ERROR_SIZE, "cluster %.60s does not answer: %.160s", c->cluster,
                 c->trouble);
    }
    pthread_mutex_unlock(&c->lock);
    return greeted ? 0 : -ETIMEDOUT;
}
