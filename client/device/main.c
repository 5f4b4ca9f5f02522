/* device/main.c - causeway-device: a volume of a cluster as a block device of this host. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/device/backend.h"
#include "client/device/holder.h"
#include "client/lib/serve.h"
#include "common/base/bits.h"
#include "common/base/name.h"
#include "common/base/size.h"
#include "common/obs/log.h"

static const char help[] =
    "usage: causeway-device --cluster ADDR:PORT[,ADDR:PORT..] --volume NAME [--read-only]\n"
    "                       [--block-size 512|4096] [--force] [--background]\n"
    "                       [--domain site=S,rack=R,host=H] [--memory SIZE]\n"
    "                       [--log-level error|warning|notice|info|debug]\n"
    "       causeway-device --detach --volume NAME\n"
    "\n"
    "Makes a volume a block device of this host and keeps it, in the foreground: prints the\n"
    "device's path once it is there; on SIGTERM the device goes and the volume is released. Also\n"
    "as the link /dev/causeway/NAME. Needs root, /dev/fuse and a loop device.\n"
    "\n"
    "The volume is attached by a process of its own, the back end. When that ends it is started\n"
    "again, and requests on the device wait meanwhile; SIGHUP replaces it, as after an update.\n"
    "\n"
    "  --cluster LIST    addresses of the manager, tried in turn; default: CAUSEWAY_CLUSTER\n"
    "  --volume NAME     the volume\n"
    "  --read-only       nothing can be written to the device\n"
    "  --block-size N    what the device calls a sector, 512 or 4096; default 512, as for\n"
    "                    virtual machines\n"
    "  --force           take the volume over at the start, also from an owner that is alive\n"
    "  --background      return once the device is there; it goes on by itself, its log is\n"
    "                    /run/causeway/device/NAME/log\n"
    "  --detach          end the device of this volume, and take away what a device whose\n"
    "                    processes were killed has left; refused while it is in use\n"
    "  --domain D        where this host is, so that reads prefer what is near; default: that of\n"
    "                    a daemon on this machine\n"
    "  --memory SIZE     budget for data in flight; default 256M, at least 32M\n"
    "  --help, --version\n"
    "\n"
    "example: causeway-device --cluster 127.0.0.1:7000 --volume vm1 --background\n"
    "         causeway-device --volume vm1 --detach\n";

struct options {
    struct cw_holder_opts holder;
    bool detach, back_end;
};

static int
usage_error(const char *what, const char *value)
{
    fprintf(stderr, "causeway-device: %s%s%s; see causeway-device --help\n", what,
            value != NULL ? " " : "", value != NULL ? value : "");
    return CW_SERVE_USAGE;
}

/* -1: go on; else the exit status. */
static int
options_check(const struct options *o)
{
    const struct cw_backend_opts *b = &o->holder.backend;

    if (b->volume == NULL)
        return usage_error("--volume NAME is needed", NULL);
    if (!cw_name_ok(b->volume))
        return usage_error("no volume can have the name", b->volume);
    if (!o->detach && (b->cluster == NULL || b->cluster[0] == 0))
        return usage_error("--cluster ADDR:PORT is needed (or CAUSEWAY_CLUSTER)", NULL);
    return -1;
}

/* -1: go on; else the exit status. */
static int
option_take(struct options *o, int c, const char *value)
{
    struct cw_backend_opts *b = &o->holder.backend;

    switch (c) {
    case 'c':
        b->cluster = value;
        return -1;
    case 'v':
        b->volume = value;
        return -1;
    case 'd':
        b->domain = value;
        return -1;
    case 'f':
        b->force = true;
        return -1;
    case 'r':
        b->read_only = true;
        return -1;
    case 'B':
        o->holder.background = true;
        return -1;
    case 'D':
        o->detach = true;
        return -1;
    case 'E':
        o->back_end = true;
        return -1;
    case 'b':
        if (strcmp(value, "512") != 0 && strcmp(value, "4096") != 0)
            return usage_error("--block-size is 512 or 4096, not", value);
        o->holder.block_bytes = (uint32_t)atoi(value);
        return -1;
    case 'm':
        if (!cw_size_parse(value, &b->memory_bytes) || b->memory_bytes < 32 * CW_MIB)
            return usage_error("--memory wants a size of at least 32M, not", value);
        return -1;
    default: /* 'L' */
        if (!cw_log_level_parse(value, &b->level))
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
        { "volume", required_argument, NULL, 'v' },
        { "read-only", no_argument, NULL, 'r' },
        { "block-size", required_argument, NULL, 'b' },
        { "force", no_argument, NULL, 'f' },
        { "background", no_argument, NULL, 'B' },
        { "detach", no_argument, NULL, 'D' },
        { "domain", required_argument, NULL, 'd' },
        { "memory", required_argument, NULL, 'm' },
        { "log-level", required_argument, NULL, 'L' },
        { "back-end", no_argument, NULL, 'E' }, /* how the holder starts one */
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    int c, res = -1;

    *o = (struct options){ .holder = { .backend = { .cluster = getenv("CAUSEWAY_CLUSTER"),
                                                    .level = CW_LOG_NOTICE },
                                       .block_bytes = 512 } };
    opterr = 0;
    while (res < 0 && (c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        switch (c) {
        case 'h':
            fputs(help, stdout);
            return CW_SERVE_CLEAN;
        case 'V':
            printf("causeway-device %s\n", CW_VERSION);
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

int
main(int argc, char **argv)
{
    struct options o;
    int res = options_parse(&o, argc, argv);

    if (res >= 0)
        return res;
    if (geteuid() != 0) {
        fprintf(stderr,
                "causeway-device: volume %s: only root makes block devices; run it with sudo, or "
                "serve the volume with causeway-nbd, which needs no root\n",
                o.holder.backend.volume);
        return CW_SERVE_FAILED;
    }
    if (o.back_end)
        return cw_backend_run(&o.holder.backend);
    if (o.detach)
        return cw_holder_detach(o.holder.backend.volume);
    return cw_holder_run(&o.holder);
}
