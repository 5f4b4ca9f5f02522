/* nbd/main.c - causeway-nbd: volumes of a cluster as NBD exports. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/serve.h"
#include "client/nbd/server.h"
#include "common/base/bits.h"
#include "common/base/name.h"
#include "common/base/size.h"

static const char help[] =
    "usage: causeway-nbd --cluster ADDR:PORT[,ADDR:PORT..] (--socket PATH | --listen ADDR:PORT)\n"
    "                    [--volume NAME] [--force] [--domain site=S,rack=R,host=H]\n"
    "                    [--memory SIZE] [--connections N] [--export-connections N]\n"
    "                    [--in-flight SIZE] [--log-level error|warning|notice|info|debug]\n"
    "\n"
    "Serves volumes over NBD, in the foreground. Every volume of the cluster is an export of its\n"
    "name; it is attached when a client first opens it and released 2 s after its last connection\n"
    "ended, and on SIGTERM.\n"
    "\n"
    "  --cluster LIST    addresses of the manager, tried in turn; default: CAUSEWAY_CLUSTER\n"
    "  --socket PATH     listen on a unix socket (appears once it accepts)\n"
    "  --listen ADDR     listen on TCP; port 0 picks one. NBD here has no encryption and no login\n"
    "  --volume NAME     serve this volume only, also as the default export\n"
    "  --force           take a volume over when it is first opened here, also from an owner\n"
    "                    that is alive; later opens of it wait for its owner as without --force\n"
    "  --domain D        where this host is, so that reads prefer what is near; default: that of\n"
    "                    a daemon on this machine\n"
    "  --memory SIZE     budget for data in flight; default 256M, at least 32M\n"
    "  --connections N   so many clients at a time; default: what --memory allows, one for each "
    "4M\n"
    "  --export-connections N  so many of them on one volume; default: no limit of its own\n"
    "  --in-flight SIZE  data of one connection in flight, 2M to 64M; default 16M, less when many\n"
    "                    are connected: together they take half of --memory\n"
    "  --help, --version\n"
    "\n"
    "example: causeway-nbd --cluster 127.0.0.1:7000 --socket /run/vm.sock\n"
    "         nbdinfo --list nbd+unix:///?socket=/run/vm.sock\n";

struct options {
    const char *cluster, *socket, *listen, *volume, *domain;
    bool force;
    uint64_t memory, window;
    uint32_t connections, export_connections;
    enum cw_log_level level;
};

/* ---- options ---- */

static int
usage_error(const char *what, const char *value)
{
    fprintf(stderr, "causeway-nbd: %s%s%s; see causeway-nbd --help\n", what,
            value != NULL ? " " : "", value != NULL ? value : "");
    return CW_SERVE_USAGE;
}

static bool
count_parse(const char *text, uint32_t *ret)
{
    size_t n = strlen(text);
    uint32_t x = 0;

    if (n == 0 || n > 5 || strspn(text, "0123456789") != n)
        return false;
    for (size_t i = 0; i < n; i++)
        x = 10 * x + (uint32_t)(text[i] - '0');
    if (x == 0 || x > UINT16_MAX)
        return false;
    *ret = x;
    return true;
}

static int
options_check(const struct options *o)
{
    if (o->cluster == NULL || o->cluster[0] == 0)
        return usage_error("--cluster ADDR:PORT is needed (or CAUSEWAY_CLUSTER)", NULL);
    if ((o->socket == NULL) == (o->listen == NULL))
        return usage_error("one of --socket and --listen is needed", NULL);
    if (o->volume != NULL && !cw_name_ok(o->volume))
        return usage_error("no volume can have the name", o->volume);
    return -1;
}

/* -1: go on; else the exit status. */
static int
options_parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        { "cluster", required_argument, NULL, 'c' },
        { "socket", required_argument, NULL, 's' },
        { "listen", required_argument, NULL, 'l' },
        { "volume", required_argument, NULL, 'v' },
        { "domain", required_argument, NULL, 'd' },
        { "memory", required_argument, NULL, 'm' },
        { "connections", required_argument, NULL, 'C' },
        { "export-connections", required_argument, NULL, 'E' },
        { "in-flight", required_argument, NULL, 'i' },
        { "force", no_argument, NULL, 'f' },
        { "log-level", required_argument, NULL, 'L' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int c;

    *o = (struct options){ .cluster = getenv("CAUSEWAY_CLUSTER"), .level = CW_LOG_NOTICE };
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->cluster = optarg;
            break;
        case 's':
            o->socket = optarg;
            break;
        case 'l':
            o->listen = optarg;
            break;
        case 'v':
            o->volume = optarg;
            break;
        case 'f':
            o->force = true;
            break;
        case 'd':
            o->domain = optarg;
            break;
        case 'm':
            if (!cw_size_parse(optarg, &o->memory) || o->memory < 32 * CW_MIB)
                return usage_error("--memory wants a size of at least 32M, not", optarg);
            break;
        case 'C':
            if (!count_parse(optarg, &o->connections))
                return usage_error("--connections wants a number from 1 to 65535, not", optarg);
            break;
        case 'E':
            if (!count_parse(optarg, &o->export_connections))
                return usage_error("--export-connections wants a number from 1 to 65535, not",
                                   optarg);
            break;
        case 'i':
            if (!cw_size_parse(optarg, &o->window) || o->window < 2 * CW_MIB ||
                o->window > 64 * CW_MIB)
                return usage_error("--in-flight wants a size from 2M to 64M, not", optarg);
            break;
        case 'L':
            if (!cw_log_level_parse(optarg, &o->level))
                return usage_error("unknown log level", optarg);
            break;
        case 'h':
            fputs(help, stdout);
            return CW_SERVE_CLEAN;
        case 'V':
            printf("causeway-nbd %s\n", CW_VERSION);
            return CW_SERVE_CLEAN;
        case ':':
            return usage_error("a value is missing after", argv[optind - 1]);
        default:
            return usage_error("unknown option", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return usage_error("unexpected argument", argv[optind]);
    return options_check(o);
}

/* ---- running ---- */

struct program {
    struct cw_serve serve;
    const struct options *options;
    struct cw_nbd_server *server;
};

static struct program *
program_of(struct cw_serve *s)
{
    return cw_container_of(s, struct program, serve);
}

static int
server_begin(struct cw_serve *s)
{
    struct program *p = program_of(s);
    struct cw_nbd_server_opts opts = {
        .engine = s->engine,
        .volume = p->options->volume,
        .socket = p->options->socket,
        .listen = p->options->listen,
        .force = p->options->force,
        .conns_max = p->options->connections,
        .export_conns_max = p->options->export_connections,
        .window_bytes = p->options->window,
    };
    int res = cw_nbd_server_new(&opts, &p->server, s->why);

    if (res == 0)
        cw_log_sink_printf(&s->log, CW_LOG_NOTICE, "serving on %s", cw_nbd_server_addr(p->server));
    return res;
}

static void
server_stop(struct cw_serve *s)
{
    cw_nbd_server_stop(program_of(s)->server, cw_serve_stopped, s);
}

static void
server_free(struct cw_serve *s)
{
    cw_nbd_server_free(program_of(s)->server);
}

static const struct cw_serve_ops serve_ops = { server_begin, server_stop, server_free };

int
main(int argc, char **argv)
{
    struct options o;
    struct program p = { .serve = { .ops = &serve_ops, .program = "causeway-nbd" }, .options = &o };
    int res = options_parse(&o, argc, argv);

    if (res >= 0)
        return res;
    return cw_serve_run(&p.serve,
                        &(struct cw_engine_opts){
                            .cluster = o.cluster, .domain = o.domain, .memory_bytes = o.memory },
                        o.level);
}
