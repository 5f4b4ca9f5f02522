/* The life of a host daemon, from the control thread's side. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/base/addr.h"
#include "common/base/bits.h"
#include "common/obs/notify.h"
#include "daemon/shell/host.h"
#include "daemon/shell/memory.h"

#define OPEN_WAIT_NS (3 * CW_NS_PER_S)

__attribute__((format(printf, 2, 3))) static void
host_say_why(struct cw_host *h, const char *fmt, ...)
{
    char line[CW_DATA_WHY_SIZE + 64];
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    cw_log_sink_write(h->log, CW_LOG_ERROR, line);
}

/* ---- stopping ---- */

/* A disk that hangs may keep the data thread from ever answering to its start. Nothing is served
 * yet, so that nothing is owed to anybody. */
static void
host_on_open_timer(struct cw_timer *t)
{
    struct cw_host *h = cw_container_of(t, struct cw_host, open_timer);

    cw_log(h->env, CW_LOG_WARNING, "%s: stopped before its stores were open", h->o->host);
    _exit(h->status);
}

/* Once the data thread has answered to its start. */
static void
host_close_data(struct cw_host *h)
{
    if (!h->data_answered) {
        cw_timer_set(h->env, &h->open_timer, cw_now_ns(h->env) + OPEN_WAIT_NS);
    } else if (!h->closing) {
        cw_timer_cancel(h->env, &h->open_timer);
        h->closing = true;
        cw_data_close(h->data);
    }
}

void
cw_host_stop(struct cw_host *h, int status)
{
    if (h->state == CW_HOST_STOPPING)
        return;
    h->state = CW_HOST_STOPPING;
    h->status = status;
    cw_notify("STOPPING=1");
    cw_watchdog_stop(&h->watchdog);
    cw_host_http_health(h, "it stops");
    cw_host_register_fini(h);
    host_close_data(h);
}

/* Its own turn: the session may not be freed from inside its callbacks. */
static void
host_on_closed(void *user, int res)
{
    struct cw_host *h = user;

    if (res != 0)
        h->status = 1;
    if (h->lead != NULL)
        cw_lead_end(h->lead); /* until now it took the farewell of its own volumes */
    else
        cw_service_stop(h->service);
}

static void
host_on_lead_ended(void *user)
{
    struct cw_host *h = user;

    cw_service_stop(h->service);
}

static void
host_on_signal(void *user, int signo)
{
    struct cw_host *h = user;

    if (h->state == CW_HOST_STOPPING)
        return;
    cw_log(h->env, CW_LOG_NOTICE, "%s: stopping (%s)", h->o->host,
           signo == SIGTERM ? "SIGTERM" : "SIGINT");
    cw_host_stop(h, 0);
}

/* ---- the session with the manager ---- */

static void
session_on_connected(void *user, struct cw_rpc_session *ss)
{
    struct cw_host *h = user;

    cw_log(h->env, CW_LOG_DEBUG, "%s: connected to what may be the manager", h->o->host);
    if (h->state == CW_HOST_RUNNING)
        cw_host_register(h);
}

static void
session_on_disconnected(void *user, struct cw_rpc_session *ss, const char *why)
{
    struct cw_host *h = user;

    if (h->state == CW_HOST_RUNNING && h->registered)
        cw_log(h->env, CW_LOG_WARNING, "%s: lost the manager: %s; data flows on", h->o->host, why);
    cw_host_unregistered(h);
}

static void
session_on_message(void *user, struct cw_rpc_session *ss, const cw_envelope *m,
                   struct cw_rpc_req *take_req)
{
    cw_host_asked(user, m, take_req);
}

static const struct cw_rpc_session_events session_events = {
    .on_connected = session_on_connected,
    .on_disconnected = session_on_disconnected,
    .on_message = session_on_message,
};

/* Not before the stores are known to be ours: the key lies beside the first. */
static bool
host_find_key(struct cw_host *h)
{
    char why[CW_DATA_WHY_SIZE];

    if (cw_host_key_read(h->o, &h->host_key, why) == 0)
        return true;
    host_say_why(h, "%s", why);
    return false;
}

static bool
host_start_session(struct cw_host *h)
{
    struct cw_rpc_session_opts opts = {
        .addrs = h->o->join != NULL ? h->o->join : h->advertise,
        .self_id = h->daemon_id,
        .incarnation = h->incarnation,
        .ev = &session_events,
        .user = h,
    };
    char why[CW_RPC_WHY_SIZE];

    if (cw_rpc_session_new(h->service, &opts, &h->session, why) == 0)
        return true;
    host_say_why(h, "--join %s: %s", opts.addrs, why);
    return false;
}

static void
host_on_moved(void *user, const char *addr)
{
    struct cw_host *h = user;

    cw_rpc_session_move(h->session, addr);
}

static bool
host_start_lead(struct cw_host *h)
{
    char why[CW_LEAD_WHY_SIZE];

    if (h->o->metadata == NULL)
        return true;
    h->lead_opts = (struct cw_lead_opts){ .service = h->service,
                                          .options = h->o,
                                          .server = h->server,
                                          .advertise = h->advertise,
                                          .moved = host_on_moved,
                                          .ended = host_on_lead_ended,
                                          .user = h };
    if (cw_lead_new(&h->lead_opts, &h->lead, why) == 0)
        return true;
    host_say_why(h, "--metadata %s: %s", h->o->metadata, why);
    return false;
}

/* ---- the port ---- */

static void
server_on_open(void *user, struct cw_rpc_conn *c)
{
    /* Tools may ask for a sign of life; a ping is answered below. */
}

static void
server_on_message(void *user, struct cw_rpc_conn *c, const cw_envelope *m,
                  struct cw_rpc_req *take_req)
{
    struct cw_host *h = user;

    if (take_req != NULL && m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_METADATA_READ &&
        m->metadata_read->kept)
        cw_host_keep_read(h, m->metadata_read, take_req); /* nobody may lead: that is the point */
    else if (h->lead != NULL)
        cw_lead_message(h->lead, c, m, take_req);
    else if (take_req != NULL) /* with --join alone it never leads; before it serves not yet */
        cw_rpc_req_not_manager(take_req, h->o->metadata == NULL ? h->o->join : NULL, NULL);
}

static void
server_on_down(void *user, struct cw_rpc_conn *c, const char *why)
{
    struct cw_host *h = user;

    if (h->lead != NULL)
        cw_lead_down(h->lead, c);
}

static void
server_on_data(void *user, int take_fd, const struct cw_wire_hello *hello, const void *bytes,
               size_t n_bytes)
{
    struct cw_host *h = user;

    if (h->state != CW_HOST_RUNNING)
        close(take_fd);
    else
        cw_data_adopt(h->data, take_fd, bytes, n_bytes);
}

static const struct cw_rpc_server_events server_events = {
    .on_open = server_on_open,
    .on_message = server_on_message,
    .on_down = server_on_down,
    .on_data = server_on_data,
};

static bool
host_listen(struct cw_host *h)
{
    struct cw_rpc_server_opts opts = {
        .listen = h->o->listen,
        .self_id = h->daemon_id,
        .incarnation = h->incarnation,
        .ev = &server_events,
        .user = h,
    };
    char why[CW_RPC_WHY_SIZE];

    if (cw_rpc_server_new(h->service, &opts, &h->server, why) != 0) {
        host_say_why(h, "--listen %s: %s", h->o->listen, why);
        return false;
    }
    snprintf(h->advertise, sizeof(h->advertise), "%s",
             h->o->advertise != NULL ? h->o->advertise : cw_rpc_server_addr(h->server));
    return true;
}

static bool
host_listen_http(struct cw_host *h)
{
    char why[CW_RPC_WHY_SIZE];

    if (cw_host_http_start(h, why))
        return true;
    host_say_why(h, "--http %s: %s", h->o->http, why);
    return false;
}

/* ---- the data thread ---- */

static void
host_on_watchdog_look(struct cw_data_look *l)
{
    struct cw_host *h = cw_container_of(l, struct cw_host, watchdog_look);

    if (h->state == CW_HOST_RUNNING)
        cw_watchdog_alive(&h->watchdog);
}

static void
host_on_watchdog(void *user)
{
    struct cw_host *h = user;

    cw_data_look(h->data, &h->watchdog_look);
}

static void
host_on_ready(void *user, const char *why)
{
    struct cw_host *h = user;

    h->data_answered = true;
    if (why != NULL) {
        host_say_why(h, "%s", why);
        cw_host_stop(h, 1);
    }
    if (h->state == CW_HOST_STOPPING) {
        host_close_data(h);
        return;
    }
    h->state = CW_HOST_RUNNING;
    cw_log(h->env, CW_LOG_NOTICE, "%s: %u stores serve on %s%s%s", h->o->host, h->o->n_stores,
           cw_rpc_server_addr(h->server), h->o->unix_path != NULL ? " and " : "",
           h->o->unix_path != NULL ? h->o->unix_path : "");
    cw_notify("READY=1\nSTATUS=serving, looking for the manager");
    h->watchdog_look.done = host_on_watchdog_look;
    cw_watchdog_start(&h->watchdog, h->env, host_on_watchdog, h);
    cw_host_http_health(h, NULL);
    cw_host_keep_start(h);
    cw_host_register_init(h);
    if (!host_find_key(h) || !host_start_session(h) || !host_start_lead(h))
        cw_host_stop(h, 1);
}

static void
host_on_call(void *user, struct cw_data_call *c)
{
    cw_host_call(user, c);
}

static void
host_on_report(void *user, const struct cw_volume_report *v, const struct cw_shard_report *shards)
{
    cw_host_report(user, v, shards);
}

static void
host_on_verify(void *user, uint64_t volume, const struct cw_verify *v)
{
    cw_host_verify_progress(user, volume, v);
}

static const struct cw_data_events data_events = {
    .on_ready = host_on_ready,
    .on_closed = host_on_closed,
    .on_call = host_on_call,
    .on_report = host_on_report,
    .on_verify = host_on_verify,
};

static bool
host_start_data(struct cw_host *h)
{
    struct cw_data_opts opts = {
        .options = h->o,
        .service = h->service,
        .boot_id = h->boot_id,
        .daemon_id = h->daemon_id,
        .incarnation = h->incarnation,
        .log = cw_log_sink_fn,
        .log_user = h->log,
        .ev = &data_events,
        .user = h,
    };
    char why[CW_DATA_WHY_SIZE];

    if (cw_data_start(&opts, &h->data, why) == 0)
        return true;
    host_say_why(h, "%s: %s", h->o->host, why);
    return false;
}

/* ---- who we are ---- */

static void
boot_id_read(struct cw_uuid *ret)
{
    char text[CW_UUID_TEXT_SIZE] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return; /* nil: nobody will use our unix socket */
    if (read(fd, text, CW_UUID_TEXT_SIZE - 1) == CW_UUID_TEXT_SIZE - 1)
        (void)cw_uuid_parse(text, ret);
    close(fd);
}

static bool
host_identify(struct cw_host *h)
{
    uint64_t random[3];

    boot_id_read(&h->boot_id);
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        host_say_why(h, "%s: no random numbers: %s", h->o->host, strerror(errno));
        return false;
    }
    h->daemon_id = cw_uuid_from_random(random[0], random[1]);
    h->incarnation = random[2] | 1;
    h->started_ns = cw_now_ns(h->env);
    return true;
}

static bool
host_catch_signals(struct cw_host *h)
{
    int err = cw_service_on_signal(h->service, SIGTERM, host_on_signal, h);

    if (err == 0)
        err = cw_service_on_signal(h->service, SIGINT, host_on_signal, h);
    if (err != 0)
        host_say_why(h, "%s: signals: %s", h->o->host, strerror(-err));
    return err == 0;
}

int
cw_host_main(const struct cw_options *o, struct cw_log_sink *log)
{
    struct cw_host h = { .o = o, .log = log, .status = 1, .open_timer.fn = host_on_open_timer };
    struct cw_service_opts opts = { .log_level = o->log_level,
                                    .log = cw_log_sink_fn,
                                    .log_user = log };
    int err = 0;

    cw_memory_settle();
    opts.budget_bytes = cw_memory_divide(o->memory_bytes, o->n_stores).control_bytes;
    h.service = cw_service_new(&opts, &err);
    if (h.service == NULL) {
        host_say_why(&h, "%s: %s", o->host, strerror(-err));
        return 1;
    }
    h.env = cw_service_env(h.service);
    if (host_catch_signals(&h) && host_identify(&h) && host_listen(&h) && host_listen_http(&h) &&
        host_start_data(&h))
        cw_service_run(h.service);
    cw_host_http_stop(&h);
    cw_probes_fini(&h.probes);
    cw_host_keep_stop(&h);
    cw_rpc_session_free(h.session);
    h.session = NULL;
    cw_rpc_server_free(h.server);
    cw_lead_free(h.lead);
    if (h.data != NULL && cw_data_hangs(h.data))
        _exit(h.status);
    if (h.data != NULL)
        cw_data_join(h.data);
    cw_service_free(h.service);
    return h.status;
}
