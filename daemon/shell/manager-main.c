#include "daemon/shell/manager-main.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/base/addr.h"
#include "daemon/http/http.h"
#include "daemon/metadata/kv-lmdb.h"
#include "daemon/metadata/records.h"
#include "daemon/shell/manager-rpc.h"
#include "daemon/shell/watchdog.h"

#define EXIT_OK 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

struct manager_role {
    const struct cw_manager_main_opts *opts;
    struct cw_log_sink *log, own_log;
    const char *dir; /* of lmdb */
    struct cw_service *s;
    struct cw_rpc_server *server;
    struct cw_lmdb *lmdb;
    struct cw_manager *manager;
    struct cw_manager_rpc rpc;
    struct cw_mgr_session *self; /* asks for the cluster id once */
    struct cw_mgr_call status;
    const char *managers[1];
    struct cw_http *http;
    struct cw_watchdog watchdog;
    int exit_status;
};

static int
role_fail(struct manager_role *r, int status, const char *why)
{
    cw_log_sink_printf(r->log, CW_LOG_ERROR, "%s", why);
    r->exit_status = status;
    return status;
}

static void
role_die(struct manager_role *r, const char *why)
{
    role_fail(r, EXIT_FAILED, why);
    cw_service_stop(r->s);
}

/* ---- what may happen while it runs ---- */

static void
role_on_signal(void *user, int signo)
{
    struct manager_role *r = user;

    cw_log_sink_printf(r->log, CW_LOG_NOTICE, "manager: stops (%s)", strsignal(signo));
    cw_service_stop(r->s);
}

static void
role_on_broken(void *user, const char *why)
{
    role_die(user, why);
}

/* From now on strangers are turned away at HELLO already. */
static void
role_on_status(struct cw_mgr_call *call)
{
    struct manager_role *r = cw_container_of(call, struct manager_role, status);

    if (call->error.code != CW_MGR_OK || r->server == NULL)
        return;
    cw_rpc_server_set_cluster(r->server, &call->reply.status.cluster_id);
    cw_log_sink_printf(r->log, CW_LOG_NOTICE, "manager: cluster %s serves on %s",
                       call->reply.status.cluster, r->managers[0]);
    if (r->http != NULL)
        cw_http_set_health(r->http, NULL);
    cw_watchdog_start(&r->watchdog, cw_service_env(r->s), NULL, NULL);
    if (r->opts->ready != NULL)
        r->opts->ready(r->opts->user, cw_rpc_server_addr(r->server));
}

static void
role_on_started(void *user, const char *why_not)
{
    struct manager_role *r = user;

    if (why_not != NULL) {
        role_die(r, why_not);
        return;
    }
    r->status = (struct cw_mgr_call){ .kind = CW_MGR_STATUS, .done = role_on_status };
    cw_manager_call(r->manager, r->self, &r->status);
}

/* ---- start and stop ---- */

static int
role_check(struct manager_role *r)
{
    const struct cw_manager_main_opts *o = r->opts;
    struct cw_addr a;
    char why[512];

    if (o->metadata == NULL || strncmp(o->metadata, "lmdb:", 5) != 0 || o->metadata[5] == '\0') {
        snprintf(why, sizeof(why), "--metadata '%.200s': want lmdb:DIR",
                 o->metadata != NULL ? o->metadata : "");
        return role_fail(r, EXIT_USAGE, why);
    }
    r->dir = o->metadata + 5;
    if (o->listen == NULL || !cw_addr_parse(o->listen, true, &a)) {
        snprintf(why, sizeof(why), "--listen '%.200s': want ADDR:PORT",
                 o->listen != NULL ? o->listen : "");
        return role_fail(r, EXIT_USAGE, why);
    }
    if (o->advertise != NULL && !cw_addr_parse(o->advertise, false, &a)) {
        snprintf(why, sizeof(why), "--advertise '%.200s': want ADDR:PORT", o->advertise);
        return role_fail(r, EXIT_USAGE, why);
    }
    if (strcmp(a.host, "0.0.0.0") == 0 || strcmp(a.host, "::") == 0)
        return role_fail(r, EXIT_USAGE, "others cannot be told 0.0.0.0: say --advertise ADDR:PORT");
    return EXIT_OK;
}

static int
role_open_service(struct manager_role *r)
{
    struct cw_service_opts opts = {
        .log_level = r->log->level,
        .log = cw_log_sink_fn,
        .log_user = r->log,
    };
    char why[128];
    int err = 0;

    r->s = cw_service_new(&opts, &err);
    if (r->s != NULL)
        err = cw_service_on_signal(r->s, SIGTERM, role_on_signal, r);
    if (err == 0)
        err = cw_service_on_signal(r->s, SIGINT, role_on_signal, r);
    if (err == 0)
        return EXIT_OK;
    snprintf(why, sizeof(why), "cannot start: %s", strerror(-err));
    return role_fail(r, EXIT_FAILED, why);
}

static int
role_open_server(struct manager_role *r)
{
    struct cw_rpc_server_opts opts = {
        .listen = r->opts->listen,
        .ev = &cw_manager_server_events,
        .user = &r->rpc,
    };
    char why[CW_RPC_WHY_SIZE], line[CW_RPC_WHY_SIZE + 16];

    if (cw_rpc_server_new(r->s, &opts, &r->server, why) == 0) {
        r->managers[0] =
            r->opts->advertise != NULL ? r->opts->advertise : cw_rpc_server_addr(r->server);
        return EXIT_OK;
    }
    snprintf(line, sizeof(line), "--listen: %s", why);
    return role_fail(r, EXIT_FAILED, line);
}

/* One more client of the manager, of its own port. */
static int
role_open_http(struct manager_role *r)
{
    struct cw_http_opts opts = {
        .listen = r->opts->http,
        .managers = cw_rpc_server_addr(r->server),
        .name = "manager",
    };
    char why[CW_RPC_WHY_SIZE], line[CW_RPC_WHY_SIZE + 16];

    if (r->opts->http == NULL)
        return EXIT_OK;
    if (cw_http_new(r->s, &opts, &r->http, why) != 0) {
        snprintf(line, sizeof(line), "--http: %s", why);
        return role_fail(r, EXIT_FAILED, line);
    }
    cw_log_sink_printf(r->log, CW_LOG_NOTICE, "manager: HTTP on %s", cw_http_addr(r->http));
    return EXIT_OK;
}

static int
role_open_metadata(struct manager_role *r)
{
    struct cw_lmdb_opts opts = {
        .env = cw_service_env(r->s),
        .dir = r->dir,
        .bootstrap = r->opts->bootstrap,
        .broken = role_on_broken,
        .user = r,
    };
    char why[CW_LMDB_WHY_SIZE];

    if (cw_lmdb_open(&opts, &r->lmdb, why) != 0)
        return role_fail(r, EXIT_FAILED, why);
    return EXIT_OK;
}

static int
role_open_manager(struct manager_role *r)
{
    struct cw_manager_opts opts = {
        .env = cw_service_env(r->s),
        .kv = cw_lmdb_kv(r->lmdb),
        .codec = cw_metadata_codec(),
        .ops = &cw_manager_push_ops,
        .world = &r->rpc,
        .bootstrap = r->opts->bootstrap,
        .backup = true,
        .cluster_name = r->opts->cluster_name != NULL ? r->opts->cluster_name : "",
        .manager_name = r->managers[0],
        .managers = r->managers,
        .n_managers = 1,
    };

    r->manager = cw_manager_new(&opts);
    if (r->manager == NULL)
        return role_fail(r, EXIT_FAILED, "out of memory");
    r->rpc = (struct cw_manager_rpc){
        .env = cw_service_env(r->s),
        .server = r->server,
        .manager = r->manager,
        .on_started = role_on_started,
        .user = r,
    };
    cw_manager_rpc_init(&r->rpc);
    r->self = cw_manager_session_up(r->manager, NULL);
    if (r->self == NULL)
        return role_fail(r, EXIT_FAILED, "out of memory");
    cw_manager_start(r->manager);
    return EXIT_OK;
}

static int
role_open(struct manager_role *r)
{
    static int (*const steps[])(struct manager_role *) = {
        role_check,     role_open_service,  role_open_server,
        role_open_http, role_open_metadata, role_open_manager,
    };

    for (size_t i = 0; i < CW_LEN(steps); i++)
        if (steps[i](r) != EXIT_OK)
            return r->exit_status;
    return EXIT_OK;
}

/* Peers first, then the store, so that no transaction comes back to a manager that is gone. */
static void
role_close(struct manager_role *r)
{
    struct cw_rpc_server *server = r->server;

    cw_watchdog_stop(&r->watchdog);
    cw_http_free(r->http);
    r->server = NULL;
    cw_rpc_server_free(server);
    if (r->self != NULL)
        cw_manager_session_down(r->manager, r->self);
    cw_lmdb_close(r->lmdb);
    cw_manager_free(r->manager);
    cw_service_free(r->s);
    cw_log_sink_fini(&r->own_log);
}

int
cw_manager_main(const struct cw_manager_main_opts *opts)
{
    struct manager_role r = { .opts = opts, .log = opts->log };

    cw_log_sink_init(&r.own_log, "causewayd", CW_LOG_NOTICE);
    if (r.log == NULL)
        r.log = &r.own_log;
    if (role_open(&r) == EXIT_OK)
        cw_service_run(r.s);
    role_close(&r);
    return r.exit_status;
}
