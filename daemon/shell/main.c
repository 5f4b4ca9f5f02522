/* causewayd: a host of the cluster, its manager, or the maker of stores. */
#include <stdio.h>
#include <string.h>

#include "common/obs/notify.h"
#include "daemon/shell/format.h"
#include "daemon/shell/host.h"
#include "daemon/shell/instance.h"
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

/* What is said beside `auto` wins. */
static bool
find_domain(struct cw_options *o, struct cw_log_sink *log)
{
    const char *addr = o->instance_metadata != NULL ? o->instance_metadata : CW_INSTANCE_ADDR;
    char why[CW_INSTANCE_WHY_SIZE], line[CW_INSTANCE_WHY_SIZE + 240];
    struct cw_instance at;

    if (!cw_instance_find(addr, CW_INSTANCE_MS, &at, why)) {
        snprintf(line, sizeof(line),
                 "--domain auto: %s; say where it is: --domain site=SITE[,rack=RACK]", why);
        cw_log_sink_write(log, CW_LOG_ERROR, line);
        return false;
    }
    if (o->site[0] == '\0' && o->region[0] == '\0')
        strcpy(o->region, at.region);
    if (o->site[0] == '\0')
        strcpy(o->site, at.site);
    if (o->provider[0] == '\0')
        strcpy(o->provider, at.provider);
    if (o->rack[0] == '\0')
        strcpy(o->rack, at.rack);
    snprintf(line, sizeof(line), "--domain auto: region=%s,site=%s,rack=%s, as %s says", o->region,
             o->site, o->rack, at.provider);
    cw_log_sink_write(log, CW_LOG_NOTICE, line);
    return true;
}

static int
run(struct cw_options *o)
{
    struct cw_log_sink log;
    int status;

    cw_log_sink_init(&log, "causewayd", o->log_level);
    if (o->action == CW_ACT_FORMAT)
        status = cw_format_main(o, &log);
    else if (o->role == CW_ROLE_MANAGER)
        status = manager_main(o, &log);
    else if (o->domain_auto && !find_domain(o, &log))
        status = 1;
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
