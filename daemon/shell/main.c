/* causewayd: a host of the cluster, its manager, or the maker of stores. */
#include <stdio.h>

#include "daemon/shell/format.h"
#include "daemon/shell/host.h"
#include "daemon/shell/manager-main.h"
#include "daemon/shell/options.h"

static void
manager_on_ready(void *user, const char *addr)
{
    cw_notify("READY=1\nSTATUS=the manager serves");
}

static int
manager_main(const struct cw_options *o, struct cw_log_sink *log)
{
    return cw_manager_main(&(struct cw_manager_main_opts){
        .listen = o->listen,
        .advertise = o->advertise,
        .metadata = o->metadata,
        .http = o->http,
        .bootstrap = o->bootstrap,
        .cluster_name = o->cluster_name,
        .log = log,
        .ready = manager_on_ready,
    });
}

static int
run(const struct cw_options *o)
{
    struct cw_log_sink log;
    int status;

    cw_log_sink_init(&log, "causewayd", o->log_level);
    if (o->action == CW_ACT_FORMAT)
        status = cw_format_main(o, &log);
    else if (o->role == CW_ROLE_MANAGER)
        status = manager_main(o, &log);
    else
        status = cw_host_main(o, &log);
    cw_log_sink_fini(&log);
    return status;
}

int
main(int argc, char **argv)
{
    char why[CW_OPT_WHY_SIZE];
    struct cw_options o;
    int status = 0;

    if (!cw_options_read(&o, argc, argv, why)) {
        fprintf(stderr, "causewayd: %s\nSee `causewayd --help`.\n", why);
        status = 2;
    } else if (o.action == CW_ACT_HELP) {
        fputs(cw_options_usage, stdout);
    } else if (o.action == CW_ACT_VERSION) {
        puts("causewayd " CW_VERSION);
    } else {
        status = run(&o);
    }
    cw_options_fini(&o);
    return status;
}
