/* vhost/main.c - causeway-vhost: a volume of a cluster as the disk of a virtual machine. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/lib/serve.h"
#include "client/vhost/server.h"
#include "common/base/bits.h"
#include "common/base/name.h"
#include "common/base/size.h"

#define QUEUES_MAX 64

#define EXIT_FENCED 3

static const char help[] =
    "usage: causeway-vhost --cluster ADDR:PORT[,ADDR:PORT..] --socket PATH --volume NAME\n"
    "                      [--read-only] [--block-size 512|4096] [--queues N] [--force]\n"
    "                      [--domain site=S,rack=R,host=H] [--memory SIZE]\n"
    "                      [--log-level error|warning|notice|info|debug]\n"
    "\n"
    "Serves a volume as a virtio-blk disk to one virtual machine (vhost-user), in the foreground.\n"
    "It attaches the volume, then listens; it releases the volume on SIGTERM. When it is killed "
    "and\n"
    "started again, the machine goes on where it was if it reconnects.\n"
    "\n"
    "  --cluster LIST    addresses of the manager, tried in turn; default: CAUSEWAY_CLUSTER\n"
    "  --socket PATH     listen on a unix socket (appears once it serves); also --socket-path\n"
    "  --volume NAME     the volume\n"
    "  --read-only       the guest cannot write\n"
    "  --block-size N    what the guest takes for a sector, 512 or 4096; default 512\n"
    "  --queues N        the guest may use so many, up to 64, which is the default\n"
    "  --force           take the volume over at the start, also from an owner that is alive\n"
    "  --domain D        where this host is, so that reads prefer what is near; default: that of\n"
    "                    a daemon on this machine\n"
    "  --memory SIZE     budget for data in flight; default 256M, at least 32M\n"
    "  --print-capabilities\n"
    "                    as JSON, for tools that start back ends\n"
    "  --help, --version\n"
    "\n"
    "example: causeway-vhost --cluster 127.0.0.1:7000 --volume vm1 --socket /run/vm1.sock\n"
    "         qemu-system-x86_64 -m 1G -object memory-backend-memfd,id=mem,size=1G,share=on \\\n"
    "           -machine q35,memory-backend=mem -chardev "
    "socket,id=c,path=/run/vm1.sock,reconnect=1 \\\n"
    "           -device vhost-user-blk-pci,chardev=c,num-queues=2 ..\n";

static const char capabilities[] =
    "{\n  \"type\": \"block\",\n  \"features\": [ \"read-only\" ]\n}\n";

struct options {
    const char *cluster, *socket, *volume, *domain;
    bool force, read_only;
    uint32_t block_bytes, n_queues;
    uint64_t memory;
    enum cw_log_level level;
};

/* ---- options ---- */

static int
usage_error(const char *what, const char *value)
{
    fprintf(stderr, "causeway-vhost: %s%s%s; see causeway-vhost --help\n", what,
            value != NULL ? " " : "", value != NULL ? value : "");
    return CW_SERVE_USAGE;
}

static int
options_check(const struct options *o)
{
    if (o->cluster == NULL || o->cluster[0] == 0)
        return usage_error("--cluster ADDR:PORT is needed (or CAUSEWAY_CLUSTER)", NULL);
    if (o->socket == NULL)
        return usage_error("--socket PATH is needed", NULL);
    if (o->volume == NULL)
        return usage_error("--volume NAME is needed", NULL);
    if (!cw_name_ok(o->volume))
        return usage_error("no volume can have the name", o->volume);
    if (strlen(o->socket) > 106)
        return usage_error("the path of a socket has at most 106 bytes, not", o->socket);
    return -1;
}

/* False: not a number from min to max. */
static bool
number_parse(const char *text, uint32_t min, uint32_t max, uint32_t *ret)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    *ret = (uint32_t)n;
    return text[0] >= '0' && text[0] <= '9' && *end == 0 && n >= min && n <= max;
}

/* -1: go on; else the exit status. */
static int
option_take(struct options *o, int c, const char *value)
{
    switch (c) {
    case 'c':
        o->cluster = value;
        return -1;
    case 's':
        o->socket = value;
        return -1;
    case 'v':
        o->volume = value;
        return -1;
    case 'f':
        o->force = true;
        return -1;
    case 'r':
        o->read_only = true;
        return -1;
    case 'd':
        o->domain = value;
        return -1;
    case 'b':
        if (!number_parse(value, 512, 4096, &o->block_bytes) ||
            (o->block_bytes != 512 && o->block_bytes != 4096))
            return usage_error("--block-size is 512 or 4096, not", value);
        return -1;
    case 'q':
        if (!number_parse(value, 1, QUEUES_MAX, &o->n_queues))
            return usage_error("--queues wants 1 to 64, not", value);
        return -1;
    case 'm':
        if (!cw_size_parse(value, &o->memory) || o->memory < 32 * CW_MIB)
            return usage_error("--memory wants a size of at least 32M, not", value);
        return -1;
    default: /* 'L' */
        if (!cw_log_level_parse(value, &o->level))
            return usage_error("unknown log level", value);
        return -1;
    }
}

/* -1: go on; else the exit status. */
static int
options_parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        { "cluster", required_argument, NULL, 'c' },
        { "socket", required_argument, NULL, 's' },
        { "socket-path", required_argument, NULL, 's' },
        { "volume", required_argument, NULL, 'v' },
        { "read-only", no_argument, NULL, 'r' },
        { "block-size", required_argument, NULL, 'b' },
        { "queues", required_argument, NULL, 'q' },
        { "domain", required_argument, NULL, 'd' },
        { "memory", required_argument, NULL, 'm' },
        { "force", no_argument, NULL, 'f' },
        { "log-level", required_argument, NULL, 'L' },
        { "print-capabilities", no_argument, NULL, 'C' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int c, res = -1;

    *o = (struct options){ .cluster = getenv("CAUSEWAY_CLUSTER"),
                           .level = CW_LOG_NOTICE,
                           .block_bytes = 512,
                           .n_queues = QUEUES_MAX };
    opterr = 0;
    while (res < 0 && (c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        switch (c) {
        case 'C':
            fputs(capabilities, stdout);
            return CW_SERVE_CLEAN;
        case 'h':
            fputs(help, stdout);
            return CW_SERVE_CLEAN;
        case 'V':
            printf("causeway-vhost %s\n", CW_VERSION);
            return CW_SERVE_CLEAN;
        case ':':
            return usage_error("a value is missing after", argv[optind - 1]);
        case '?':
            return usage_error("unknown option", argv[optind - 1]);
        default:
            res = option_take(o, c, optarg);
        }
    }
    if (res < 0 && optind < argc)
        return usage_error("unexpected argument", argv[optind]);
    return res < 0 ? options_check(o) : res;
}

/* ---- running ---- */

struct program {
    struct cw_serve serve;
    const struct options *options;
    struct cw_vhost_server *server;
    uint32_t umask;      /* who may connect: of the socket's file */
    bool failed, fenced; /* the reactor thread's until it has ended */
};

static struct program *
program_of(struct cw_serve *s)
{
    return cw_container_of(s, struct program, serve);
}

static void
on_serving(void *user, const char *addr)
{
    struct program *p = user;

    cw_log_sink_printf(&p->serve.log, CW_LOG_NOTICE, "volume %s: serving on %s", p->options->volume,
                       addr);
}

static void
on_failed(void *user, bool fenced, const char *why)
{
    struct program *p = user;

    cw_log_sink_printf(&p->serve.log, CW_LOG_ERROR, "volume %s: not served: %s", p->options->volume,
                       why);
    p->failed = true;
    p->fenced = fenced;
    cw_serve_end(&p->serve);
}

static int
server_begin(struct cw_serve *s)
{
    struct program *p = program_of(s);
    struct cw_vhost_server_opts opts = {
        .engine = s->engine,
        .volume = p->options->volume,
        .socket = p->options->socket,
        .socket_mode = 0666 & ~p->umask,
        .force = p->options->force,
        .read_only = p->options->read_only,
        .block_bytes = p->options->block_bytes,
        .n_queues = p->options->n_queues,
        .serving = on_serving,
        .failed = on_failed,
        .user = p,
    };

    p->server = cw_vhost_server_new(&opts);
    if (p->server != NULL)
        return 0;
    snprintf(s->why, sizeof(s->why), "%s", strerror(ENOMEM));
    return -ENOMEM;
}

static void
server_stop(struct cw_serve *s)
{
    cw_vhost_server_stop(program_of(s)->server, cw_serve_stopped, s);
}

static void
server_free(struct cw_serve *s)
{
    cw_vhost_server_free(program_of(s)->server);
}

static const struct cw_serve_ops serve_ops = { server_begin, server_stop, server_free };

int
main(int argc, char **argv)
{
    struct options o;
    struct program p = { .serve = { .ops = &serve_ops, .program = "causeway-vhost" },
                         .options = &o };
    int res = options_parse(&o, argc, argv);

    if (res >= 0)
        return res;
    p.serve.volume = o.volume;
    p.serve.ends_itself = true;
    p.umask = umask(0077);
    umask(p.umask);
    res = cw_serve_run(&p.serve,
                       &(struct cw_engine_opts){
                           .cluster = o.cluster, .domain = o.domain, .memory_bytes = o.memory },
                       o.level);
    if (p.fenced)
        return EXIT_FENCED;
    return p.failed ? CW_SERVE_FAILED : res;
}
