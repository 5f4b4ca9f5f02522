/* admin/localproc.c - the processes of a local cluster: start, find again, signal, wait. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/admin/local.h"
#include "client/admin/tool.h"
#include "common/base/bits.h"

#define CMDLINE_MAX 16384
#define ARGV_MAX 40
#define MARKER_SIZE (CW_LOCAL_PATH_SIZE + 16)
#define ETCD_URLS_SIZE (CW_LOCAL_ETCD * 48)
#define UNIX_PATH_MAX 103 /* sun_path and the NUL */

extern char **environ;

/* The argument that only this node's process has. */
static char *
proc_marker(const struct cw_local *l, const struct cw_local_node *n, char *ret)
{
    char path[CW_LOCAL_PATH_SIZE];

    switch (n->kind) {
    case CW_LOCAL_MANAGER:
        snprintf(ret, MARKER_SIZE, "lmdb:%s", cw_local_path(l, n, "meta", path));
        return ret;
    case CW_LOCAL_MEMBER:
        snprintf(ret, MARKER_SIZE, "--data-dir=%s", cw_local_path(l, n, "data", path));
        return ret;
    case CW_LOCAL_HOST:
        return cw_local_path(l, n, "store-0", ret);
    }
    cw_unreachable();
}

/* Reads a file of /proc whole; returns its length, 0 if it is not there. NUL-terminated. */
static size_t
proc_read(pid_t pid, const char *file, char *text, size_t size)
{
    char path[64];
    ssize_t n = 0;
    size_t len = 0;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
            len += (size_t)n;
        close(fd);
    }
    text[len] = '\0';
    return len;
}

/* State letter and start time; false if there is no such process or it is a zombie. */
static bool
proc_stat(pid_t pid, char *ret_state, uint64_t *ret_starttime)
{
    char text[1024], *at;

    if (proc_read(pid, "stat", text, sizeof(text)) == 0 || (at = strrchr(text, ')')) == NULL)
        return false;
    /* Field 3 is the state, field 22 the start time; the name before them may hold anything. */
    if (sscanf(at + 1,
               " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
               "%*d %" SCNu64,
               ret_state, ret_starttime) != 2)
        return false;
    return strchr("ZXx", *ret_state) == NULL;
}

/* Does the process have the marker as a whole argument, and is it not formatting a store? */
static bool
proc_has_marker(pid_t pid, const char *marker)
{
    char *text = malloc(CMDLINE_MAX);
    bool found = false, formats = false;
    size_t len;

    if (text == NULL)
        return false;
    len = proc_read(pid, "cmdline", text, CMDLINE_MAX);
    for (size_t at = 0; at < len; at += strlen(text + at) + 1) {
        found = found || strcmp(text + at, marker) == 0;
        formats = formats || strcmp(text + at, "--format") == 0;
    }
    free(text);
    return found && !formats;
}

static struct cw_local_proc
proc_look(pid_t pid, const char *marker)
{
    struct cw_local_proc p = { .pid = pid };
    char state;

    if (pid > 0 && proc_stat(pid, &state, &p.starttime) && proc_has_marker(pid, marker))
        p.state = state == 'T' || state == 't' ? CW_LOCAL_PAUSED : CW_LOCAL_RUNNING;
    return p;
}

static struct cw_local_proc
proc_search(const char *marker)
{
    DIR *d = opendir("/proc");
    struct cw_local_proc p = { 0 };
    struct dirent *e;

    while (d != NULL && p.state == CW_LOCAL_STOPPED && (e = readdir(d)) != NULL) {
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
            p = proc_look((pid_t)atoi(e->d_name), marker);
    }
    if (d != NULL)
        closedir(d);
    return p;
}

struct cw_local_proc
cw_local_proc_find(const struct cw_local *l, const struct cw_local_node *n)
{
    char marker[MARKER_SIZE], path[CW_LOCAL_PATH_SIZE];
    struct cw_local_proc p = { 0 };
    uint64_t starttime = 0;
    FILE *f;
    int pid = 0;

    proc_marker(l, n, marker);
    f = fopen(cw_local_path(l, n, "pid", path), "re");
    if (f != NULL) {
        if (fscanf(f, "%d %" SCNu64, &pid, &starttime) == 2)
            p = proc_look(pid, marker);
        fclose(f);
    }
    if (p.state != CW_LOCAL_STOPPED && p.starttime == starttime)
        return p;
    return proc_search(marker);
}

bool
cw_local_alive(const struct cw_local_proc *p)
{
    uint64_t starttime;
    char state;

    return proc_stat(p->pid, &state, &starttime) && starttime == p->starttime;
}

/* A pidfd of this very process, or -1 if it is gone. */
static int
proc_open(const struct cw_local_proc *p)
{
    int fd = p->state != CW_LOCAL_STOPPED ? pidfd_open(p->pid, 0) : -1;

    if (fd >= 0 && !cw_local_alive(p)) {
        close(fd);
        return -1;
    }
    return fd;
}

bool
cw_local_signal(const struct cw_local_proc *p, int sig)
{
    int fd = proc_open(p);
    bool sent = fd >= 0 && pidfd_send_signal(fd, sig, NULL, 0) == 0;

    if (fd >= 0)
        close(fd);
    return sent;
}

bool
cw_local_wait_gone(const struct cw_local_proc *p, int timeout_ms)
{
    int fd = proc_open(p), n;
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    if (fd < 0)
        return true;
    n = poll(&pfd, 1, timeout_ms);
    close(fd);
    return n == 1;
}

char *
cw_local_ending(const struct cw_local_proc *p, char ret[static 64])
{
    int status;

    ret[0] = '\0';
    if (waitpid(p->pid, &status, WNOHANG) != p->pid) /* not our child: some other run started it */
        return ret;
    if (WIFEXITED(status))
        snprintf(ret, 64, "exit status %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        snprintf(ret, 64, "killed by signal %d", WTERMSIG(status));
    return ret;
}

/* ---- the program ---- */

bool
cw_local_etcd(char ret[static PATH_MAX])
{
    return cw_tool_in_path("etcd", ret);
}

bool
cw_local_daemon(char ret[static PATH_MAX])
{
    return cw_tool_ours("causewayd", "../../daemon/shell/causewayd", ret);
}

/* ---- starting ---- */

struct proc_argv {
    char *at[ARGV_MAX];
    size_t n;
};

static void
argv_add(struct proc_argv *a, const char *text)
{
    cw_assert(a->n < ARGV_MAX - 1);
    a->at[a->n] = strdup(text);
    if (a->at[a->n++] == NULL)
        abort();
}

static void
argv_add2(struct proc_argv *a, const char *name, const char *value)
{
    argv_add(a, name);
    argv_add(a, value);
}

static void
argv_fini(struct proc_argv *a)
{
    while (a->n > 0)
        free(a->at[--a->n]);
}

static void
argv_manager(struct proc_argv *a, const struct cw_local *l, const struct cw_local_node *n)
{
    char marker[MARKER_SIZE];

    argv_add2(a, "--role", "manager");
    argv_add2(a, "--metadata", proc_marker(l, n, marker));
    if (!l->bootstrapped)
        argv_add(a, "--bootstrap");
}

/* "http://127.0.0.1:PORT,.." of all members; for peers: "NAME=http://..". */
static char *
etcd_urls(const struct cw_local *l, bool peers, char ret[static ETCD_URLS_SIZE])
{
    size_t used = 0;

    for (uint32_t i = 0; i < l->n_control; i++)
        used += (size_t)snprintf(ret + used, ETCD_URLS_SIZE - used, "%s%s%shttp://127.0.0.1:%u",
                                 i > 0 ? "," : "", peers ? l->node[i].name : "", peers ? "=" : "",
                                 peers ? l->node[i].peer_port : l->node[i].port);
    return ret;
}

static void
argv_member(struct proc_argv *a, const struct cw_local *l, const struct cw_local_node *n)
{
    char marker[MARKER_SIZE], urls[ETCD_URLS_SIZE], text[64];

    argv_add2(a, "--name", n->name);
    argv_add(a, proc_marker(l, n, marker));
    snprintf(text, sizeof(text), "http://127.0.0.1:%u", n->port);
    argv_add2(a, "--listen-client-urls", text);
    argv_add2(a, "--advertise-client-urls", text);
    snprintf(text, sizeof(text), "http://127.0.0.1:%u", n->peer_port);
    argv_add2(a, "--listen-peer-urls", text);
    argv_add2(a, "--initial-advertise-peer-urls", text);
    argv_add2(a, "--initial-cluster", etcd_urls(l, true, urls));
    argv_add2(a, "--initial-cluster-token", l->dir);
    argv_add2(a, "--auto-compaction-mode", "revision");
    argv_add2(a, "--auto-compaction-retention", "1000");
    argv_add2(a, "--logger", "zap");
    argv_add2(a, "--log-outputs", "stderr");
}

/* Where the manager is. */
static void
argv_metadata(struct proc_argv *a, const struct cw_local *l, const struct cw_local_node *n)
{
    char text[ETCD_URLS_SIZE + 8] = "etcd:", address[CW_LOCAL_ADDRESS_SIZE];

    if (!cw_local_is_etcd(l)) {
        argv_add2(a, "--join", cw_local_address(l, address));
        return;
    }
    etcd_urls(l, false, text + strlen(text));
    argv_add2(a, "--metadata", text);
    if (!l->bootstrapped)
        argv_add(a, "--bootstrap");
}

static void
argv_host(struct proc_argv *a, const struct cw_local *l, const struct cw_local_node *n)
{
    char text[MARKER_SIZE];

    argv_add2(a, "--host", n->name);
    snprintf(text, sizeof(text), "site=%s", n->site);
    argv_add2(a, "--domain", text);
    argv_add2(a, "--site-kind", n->is_cloud ? "cloud" : "on-premise");
    argv_add2(a, "--store", proc_marker(l, n, text));
    argv_metadata(a, l, n);
    if (strlen(cw_local_path(l, n, "sock", text)) <= UNIX_PATH_MAX)
        argv_add2(a, "--unix", text);
}

static void
argv_init(struct proc_argv *a, const struct cw_local *l, const struct cw_local_node *n,
          const char *program)
{
    char text[64];

    argv_add(a, program);
    if (n->kind == CW_LOCAL_MEMBER) {
        argv_member(a, l, n);
        return;
    }
    if (n->kind == CW_LOCAL_MANAGER)
        argv_manager(a, l, n);
    else
        argv_host(a, l, n);
    snprintf(text, sizeof(text), "127.0.0.1:%u", n->port);
    argv_add2(a, "--listen", text);
    if (n->http != 0)
        argv_add2(a, "--http", cw_local_http(n, text));
    if (l->memory_bytes > 0 && n->kind == CW_LOCAL_HOST) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)l->memory_bytes);
        argv_add2(a, "--memory", text);
    }
}

static bool
proc_store_is_free(const char *store)
{
    int fd = open(store, O_RDONLY | O_CLOEXEC);
    bool is_free = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0;

    if (fd >= 0)
        close(fd); /* and with it the lock */
    return is_free;
}

void
cw_local_wait_free(const struct cw_local *l, const struct cw_local_node *n, int timeout_ms)
{
    struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    char store[CW_LOCAL_PATH_SIZE];

    cw_local_path(l, n, "store-0", store);
    for (int waited_ms = 0; waited_ms < timeout_ms; waited_ms += 10) {
        if (proc_store_is_free(store) && cw_local_port_is_free(n->port))
            return;
        nanosleep(&pause, NULL);
    }
}

/* Runs argv detached: its own session, no inherited descriptors, default signals. 0 or -errno. */
static int
proc_spawn(char **argv, const char *dir, const char *log, bool detach, pid_t *ret_pid)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, all;
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF, res;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&fa, 1, 2);
    posix_spawn_file_actions_addclosefrom_np(&fa, 3);
    posix_spawn_file_actions_addchdir_np(&fa, dir);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, (short)(detach ? flags | POSIX_SPAWN_SETSID : flags));
    res = posix_spawn(ret_pid, argv[0], &fa, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&fa);
    return -res;
}

static off_t
proc_log_size(const char *log)
{
    struct stat st;

    return stat(log, &st) == 0 ? st.st_size : 0;
}

static int
proc_write_pid(const char *path, const struct cw_local_proc *p)
{
    FILE *f = fopen(path, "we");
    int res = 0;

    if (f == NULL)
        return -errno;
    fprintf(f, "%d %" PRIu64 "\n", (int)p->pid, p->starttime);
    if (fclose(f) != 0)
        res = -errno;
    return res;
}

int
cw_local_spawn(const struct cw_local *l, const struct cw_local_node *n, const char *program,
               struct cw_local_proc *ret, off_t *ret_log_at, char why[static CW_LOCAL_WHY_SIZE])
{
    char dir[CW_LOCAL_PATH_SIZE], log[CW_LOCAL_PATH_SIZE], pid[CW_LOCAL_PATH_SIZE];
    struct cw_local_proc p = { .state = CW_LOCAL_RUNNING };
    struct proc_argv a = { .n = 0 };
    char state;
    int res;

    cw_local_path(l, n, "", dir);
    cw_local_path(l, n, "log", log);
    *ret_log_at = proc_log_size(log);
    argv_init(&a, l, n, program);
    res = proc_spawn(a.at, dir, log, true, &p.pid);
    argv_fini(&a);
    if (res != 0) {
        snprintf(why, CW_LOCAL_WHY_SIZE, "%s: cannot start %.200s: %s", n->name, program,
                 strerror(-res));
        return res;
    }
    proc_stat(p.pid, &state, &p.starttime);
    *ret = p;
    res = proc_write_pid(cw_local_path(l, n, "pid", pid), &p);
    if (res != 0)
        snprintf(why, CW_LOCAL_WHY_SIZE, "%.300s: %s", pid, strerror(-res));
    return res;
}

/* ---- making what a node needs before its first start ---- */

static int
proc_format(const struct cw_local *l, const struct cw_local_node *n, const char *daemon, char *why)
{
    char store[CW_LOCAL_PATH_SIZE], dir[CW_LOCAL_PATH_SIZE], log[CW_LOCAL_PATH_SIZE];
    char text[CW_LOCAL_PATH_SIZE + 32], tail[256];
    struct proc_argv a = { .n = 0 };
    off_t log_at = proc_log_size(cw_local_path(l, n, "log", log));
    pid_t pid;
    int res, status = 0;

    unlink(cw_local_path(l, n, "store-0", store)); /* of a run that ended before it was formatted */
    snprintf(text, sizeof(text), "%s:%llu", store, (unsigned long long)l->store_bytes);
    argv_add(&a, daemon);
    argv_add(&a, "--format");
    argv_add2(&a, "--store", text);
    res = proc_spawn(a.at, cw_local_path(l, n, "", dir), log, false, &pid);
    argv_fini(&a);
    while (res == 0 && waitpid(pid, &status, 0) < 0)
        res = errno == EINTR ? 0 : -errno;
    if (res == 0 && status == 0)
        return 0;
    cw_local_log_tail(l, n, log_at, tail, sizeof(tail));
    snprintf(why, CW_LOCAL_WHY_SIZE, "%s: cannot format its store: %s", n->name,
             res != 0 ? strerror(-res) : tail);
    return res != 0 ? res : -EIO;
}

int
cw_local_prepare(const struct cw_local *l, struct cw_local_node *n, const char *daemon,
                 char why[static CW_LOCAL_WHY_SIZE])
{
    char path[CW_LOCAL_PATH_SIZE];
    int res;

    if ((mkdir(cw_local_path(l, n, "", path), 0755) != 0 && errno != EEXIST) ||
        (n->kind == CW_LOCAL_MANAGER && mkdir(cw_local_path(l, n, "meta", path), 0755) != 0 &&
         errno != EEXIST)) {
        res = -errno;
        snprintf(why, CW_LOCAL_WHY_SIZE, "%.300s: %s", path, strerror(-res));
        return res;
    }
    if (n->kind != CW_LOCAL_HOST || n->prepared)
        return 0;
    res = proc_format(l, n, daemon, why);
    n->prepared = res == 0;
    return res;
}

char *
cw_local_log_tail(const struct cw_local *l, const struct cw_local_node *n, off_t log_at, char *ret,
                  size_t size)
{
    char path[CW_LOCAL_PATH_SIZE], *newline;
    int fd = open(cw_local_path(l, n, "log", path), O_RDONLY | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    bool cut = end - log_at > (off_t)size - 1;
    ssize_t got = 0;

    if (cut)
        log_at = end - (off_t)size + 1;
    if (fd >= 0) {
        got = pread(fd, ret, size - 1, log_at);
        close(fd);
    }
    ret[got > 0 ? got : 0] = '\0';
    while (got > 0 && ret[got - 1] == '\n')
        ret[--got] = '\0';
    if (cut && (newline = strchr(ret, '\n')) != NULL)
        memmove(ret, newline + 1, strlen(newline + 1) + 1); /* begin with a whole line */
    return ret;
}
