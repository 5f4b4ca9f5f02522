/* admin/doctor.c - is this machine fit to be a host? Asked before it joins; no daemon is needed. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/io_uring.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/text.h"
#include "common/base/addr.h"
#include "common/base/bits.h"

#define FLUSHES 200u
#define FLUSH_FOR_NS (5 * CW_NS_PER_S)
#define FLUSH_SLOW_NS (20 * CW_NS_PER_MS)
#define ROUND_TRIPS 5u
#define CONNECT_MS 2000
#define FILES_MIN 4096u
#define PATHS_MAX 32

enum verdict { DOCTOR_OK, DOCTOR_SKIPPED, DOCTOR_WARNING, DOCTOR_ERROR };

struct doctor {
    struct cw_cli *cli;
    struct cw_table *table; /* NULL with --json */
    json_t *checks;
    enum verdict worst;
};

static const char *
verdict_word(enum verdict v)
{
    static const char *const words[] = { "ok", "skipped", "warning", "error" };

    return words[v];
}

__attribute__((format(printf, 5, 6))) static void
doctor_says(struct doctor *d, const char *name, enum verdict v, const char *hint, const char *fmt,
            ...)
{
    char what[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    if (v > d->worst)
        d->worst = v;
    hint = v == DOCTOR_OK || hint == NULL ? "" : hint;
    json_array_append_new(d->checks, json_pack("{s:s,s:s,s:s,s:s}", "name", name, "verdict",
                                               verdict_word(v), "what", what, "hint", hint));
    if (d->table != NULL)
        cw_table_row(d->table, (const char *[]){ name, verdict_word(v), what, hint });
}

static uint64_t
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * CW_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- the machine ---- */

static void
check_kernel(struct doctor *d)
{
    unsigned major = 0, minor = 0;
    struct utsname u;
    bool ok;

    if (uname(&u) != 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2) {
        doctor_says(d, "kernel", DOCTOR_WARNING, NULL, "its version is not known");
        return;
    }
    ok = major > 5 || (major == 5 && minor >= 15);
    doctor_says(d, "kernel", ok ? DOCTOR_OK : DOCTOR_ERROR, "Linux 5.15 or later is needed",
                "%s %s", u.sysname, u.release);
}

static void
check_uring(struct doctor *d)
{
    struct io_uring_params p = { 0 };
    long fd = syscall(SYS_io_uring_setup, 8, &p);

    if (fd < 0) {
        doctor_says(d, "io_uring", DOCTOR_ERROR,
                    "see the sysctl kernel.io_uring_disabled, and the container's seccomp profile",
                    "%s", strerror(errno));
        return;
    }
    close((int)fd);
    doctor_says(d, "io_uring", p.features & IORING_FEAT_NODROP ? DOCTOR_OK : DOCTOR_ERROR,
                "Linux 5.15 or later is needed", "works, features 0x%x", p.features);
}

static void
check_clock(struct doctor *d)
{
    struct timex t = { 0 };
    int state = ntp_adjtime(&t);
    bool ok = state >= 0 && state != TIME_ERROR && !(t.status & STA_UNSYNC);

    if (ok)
        doctor_says(d, "clock", DOCTOR_OK, NULL, "synchronised, within %ld ms", t.maxerror / 1000);
    else
        doctor_says(d, "clock", DOCTOR_WARNING, "run chrony or systemd-timesyncd",
                    "the kernel does not know it to be synchronised: times in events will be off");
}

static void
check_limits(struct doctor *d)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    doctor_says(d, "files", r.rlim_max >= FILES_MIN ? DOCTOR_OK : DOCTOR_WARNING,
                "raise LimitNOFILE", "up to %llu open", (unsigned long long)r.rlim_max);
}

/* ---- a disk ---- */

static int
compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* How long one durable step takes, again and again. False: errno. */
static bool
flush_measure(int fd, const void *block, uint64_t ns[static FLUSHES], uint32_t *ret_n)
{
    uint64_t end = now_ns() + FLUSH_FOR_NS;

    for (*ret_n = 0; *ret_n < FLUSHES && now_ns() < end && !cw_cli_interrupted(); ++*ret_n) {
        uint64_t begin = now_ns();

        /* The second 4 KiB and on: no two writes go to one place. */
        if (block != NULL && pwrite(fd, block, 4096, (off_t)*ret_n * 4096) != 4096)
            return false;
        if (block == NULL && fsync(fd) != 0)
            return false;
        ns[*ret_n] = now_ns() - begin;
    }
    return *ret_n > 0;
}

static void
flush_tell(struct doctor *d, const char *name, const char *how, uint64_t *ns, uint32_t n)
{
    char p50[CW_TEXT_SIZE], p99[CW_TEXT_SIZE];
    bool slow;

    qsort(ns, n, sizeof(*ns), compare_u64);
    slow = ns[n * 99 / 100] > FLUSH_SLOW_NS;
    doctor_says(d, name, slow ? DOCTOR_WARNING : DOCTOR_OK,
                "every write waits for this; disks with power-loss protection take under 1 ms",
                "%s: median %s, p99 %s of %u", how, cw_text_latency(ns[n / 2], p50),
                cw_text_latency(ns[n * 99 / 100], p99), n);
}

/* A file of our own beside the store, or in the directory that path is. -1: errno. */
static int
flush_temporary(const char *path, bool is_dir)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');

    if (is_dir)
        snprintf(dir, sizeof(dir), "%s", path);
    else
        snprintf(dir, sizeof(dir), "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1,
                 slash != NULL ? path : ".");
    return open(dir, O_TMPFILE | O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC, 0600);
}

/* What is there is not written to: a device is only told to flush. */
static void
check_store(struct doctor *d, const char *path)
{
    bool exists, is_device;
    uint64_t ns[FLUSHES];
    char name[160];
    void *block = NULL;
    struct stat st;
    uint32_t n;
    int fd;

    snprintf(name, sizeof(name), "store %.140s", path);
    exists = stat(path, &st) == 0;
    is_device = exists && S_ISBLK(st.st_mode);
    fd = is_device ? open(path, O_RDONLY | O_CLOEXEC)
                   : flush_temporary(path, exists && S_ISDIR(st.st_mode));
    if (fd < 0) {
        doctor_says(d, name, DOCTOR_ERROR, "a store is a block device, or a file on ext4 or xfs",
                    "%s", strerror(errno));
        return;
    }
    if (!is_device && posix_memalign(&block, 4096, 4096) != 0)
        abort();
    if (block != NULL)
        memset(block, 0x5a, 4096);
    if (flush_measure(fd, block, ns, &n))
        flush_tell(d, name, is_device ? "flush" : "4 KiB durable write", ns, n);
    else
        doctor_says(d, name, DOCTOR_ERROR, NULL, "%s", strerror(errno));
    free(block);
    close(fd);
}

/* ---- the network ---- */

/* One connection, there and back. 0, or an errno. */
static int
connect_once(const struct addrinfo *ai, uint64_t *ret_ns)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err = 0;
    uint64_t begin = now_ns();
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    socklen_t len = sizeof(err);

    if (fd < 0)
        return errno;
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
        err = errno;
        if (err == EINPROGRESS && poll(&p, 1, CONNECT_MS) == 1)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
        else if (err == EINPROGRESS)
            err = ETIMEDOUT;
    }
    *ret_ns = now_ns() - begin;
    close(fd);
    return err;
}

static void
check_address(struct doctor *d, const char *address)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    char name[160], port[8], rtt[CW_TEXT_SIZE];
    uint64_t ns[ROUND_TRIPS];
    struct cw_addr a;
    int err;

    snprintf(name, sizeof(name), "network %.140s", address);
    if (!cw_addr_parse(address, false, &a)) {
        doctor_says(d, name, DOCTOR_ERROR, NULL, "not ADDR:PORT");
        return;
    }
    snprintf(port, sizeof(port), "%u", a.port);
    if ((err = getaddrinfo(a.host, port, &hints, &list)) != 0) {
        doctor_says(d, name, DOCTOR_ERROR, NULL, "%s", gai_strerror(err));
        return;
    }
    for (uint32_t i = 0; i < ROUND_TRIPS && err == 0; i++)
        err = connect_once(list, &ns[i]);
    freeaddrinfo(list);
    if (err != 0) {
        doctor_says(d, name, DOCTOR_ERROR, "does a daemon listen there? is the port let through?",
                    "%s", strerror(err));
        return;
    }
    qsort(ns, ROUND_TRIPS, sizeof(*ns), compare_u64);
    doctor_says(d, name, DOCTOR_OK, NULL, "round trip %s",
                cw_text_latency(ns[ROUND_TRIPS / 2], rtt));
}

/* ---- the command ---- */

static int
doctor_end(struct doctor *d)
{
    enum verdict worst = d->worst == DOCTOR_SKIPPED ? DOCTOR_OK : d->worst;

    if (d->table != NULL) {
        cw_table_print(d->table);
        json_decref(d->checks);
    } else {
        cw_out_json(d->cli, json_pack("{s:{s:s,s:o}}", "doctor", "verdict", verdict_word(worst),
                                      "checks", d->checks));
    }
    return worst == DOCTOR_ERROR ? CW_EXIT_FAILED : CW_EXIT_OK;
}

static void
check_each(struct doctor *d, const char *list, void (*check)(struct doctor *, const char *))
{
    char *copy = list != NULL ? strdup(list) : NULL, *rest = copy, *part;

    while (rest != NULL && (part = strsep(&rest, ",")) != NULL)
        check(d, part);
    free(copy);
}

static int
doctor_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    static const char *const columns[] = { "CHECK", "VERDICT", "FOUND", "HINT" };
    struct doctor d = { .cli = cli };
    const char *stores = NULL;
    const struct cw_opt opts[] = {
        { "store", 's', CW_OPT_TEXT, &stores, "PATH[,PATH..]",
          "a disk, or where a file will be: how long does it take to be durable?" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_max = -1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    cw_cli_catch_signals();
    d.checks = json_array();
    if (!cli->json)
        d.table = cw_table_new(cli, columns, CW_LEN(columns));
    check_kernel(&d);
    check_uring(&d);
    check_clock(&d);
    check_limits(&d);
    check_each(&d, stores, check_store);
    check_each(&d, cli->cluster, check_address);
    for (int i = 0; i < a.n; i++)
        check_address(&d, a.operand[i]);
    return doctor_end(&d);
}

const struct cw_cmd cw_cmds_doctor[] = {
    { "doctor", "[--store PATH[,PATH..]] [ADDR:PORT ..]", "checks a host before it joins",
      "Kernel, io_uring, clock, limits; how long a durable write takes on each --store (a "
      "directory,\n"
      "or a file that need not exist: a temporary one beside it is written; a block device is "
      "only\n"
      "told to flush); the round trip to each address, and to those of the cluster. No daemon is "
      "needed, nothing is left "
      "behind.\n\n"
      "  causeway doctor --store /dev/nvme1n1,/var/lib/causeway 10.0.0.1:7000\n\n"
      "Exit status: 0 fit, perhaps with warnings; 1 an error was found.\n",
      doctor_run },
    { 0 },
};
