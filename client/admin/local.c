/* admin/local.c - local up, start, kill, pause, resume, add, down, ls. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/local.h"
#include "client/admin/localwait.h"
#include "client/admin/out.h"
#include "common/base/bits.h"

#define DEFAULT_HOSTS "onprem:2,aws:1"
#define DEFAULT_STORE_BYTES (4 * CW_GIB)
#define DEFAULT_TIMEOUT_S 120
#define LOCK_WAIT_S 150 /* longer than anybody waits for a host */
#define TERM_WAIT_MS 15000
#define KILL_WAIT_MS 10000
#define STATE_WAIT_MS 5000
#define FREE_WAIT_MS 5000

/* What every command of this family has. */
struct local_cmd {
    struct cw_cli *cli;
    struct cw_local l;
    char daemon[PATH_MAX], etcd[PATH_MAX];
    uint64_t timeout_s;
    int lock_fd;
};

static int
local_fail(struct local_cmd *c, const char *code, const char *object, const char *hint,
           const char *why)
{
    return cw_cli_fail(c->cli, (struct cw_fail){ .code = code, .object = object, .hint = hint },
                       "%s", why);
}

/* ---- directory and lock ---- */

static int
local_mkdirs(const char *dir)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s", dir);
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            return -errno;
        *at = '/';
    }
    return mkdir(path, 0755) != 0 && errno != EEXIST ? -errno : 0;
}

static void
local_unlock(struct local_cmd *c)
{
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    c->lock_fd = -1;
}

/* Two commands at once would start a host twice. Waits for the other one. */
static int
local_lock(struct local_cmd *c, const char *dir)
{
    struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
    char path[PATH_MAX + 8];

    snprintf(path, sizeof(path), "%s/lock", dir);
    c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (c->lock_fd < 0) {
        char why[PATH_MAX + 128];

        snprintf(why, sizeof(why), "%s: %s", path, strerror(errno));
        return local_fail(c, "IO", dir, "is --dir right?", why);
    }
    for (int i = 0; flock(c->lock_fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (i == 20)
            cw_cli_note(c->cli, "waiting for another `causeway local` in %s", dir);
        if (i == LOCK_WAIT_S * 20 || cw_cli_interrupted())
            return local_fail(c, "BUSY", dir, "try again when it has ended",
                              "another `causeway local` is at work in this directory");
        nanosleep(&pause, NULL);
    }
    return CW_ARGS_GO;
}

static int
local_no_dir(struct local_cmd *c, const struct cw_cmd *cmd)
{
    return cw_cli_usage(c->cli, cmd, "--dir is missing: the directory given to `local up`");
}

static int
local_find_daemon(struct local_cmd *c)
{
    if (cw_local_is_etcd(&c->l) && !cw_local_etcd(c->etcd))
        return local_fail(c, "NOT_FOUND", "etcd", "apt-get install etcd-server",
                          "etcd is not in PATH");
    if (cw_local_daemon(c->daemon))
        return CW_ARGS_GO;
    return local_fail(c, "NOT_FOUND", "causewayd", "install it or put its directory into PATH",
                      "causewayd is neither beside causeway nor in PATH");
}

/* Opens an existing cluster, locked. */
static int
local_open(struct local_cmd *c, const struct cw_cmd *cmd, const char *dir, bool lock)
{
    char path[PATH_MAX], why[CW_LOCAL_WHY_SIZE];
    struct stat st;
    int status, res;

    if (dir == NULL)
        return local_no_dir(c, cmd);
    if (!cw_local_dir(dir, path))
        return cw_cli_usage(c->cli, cmd, "--dir is too long");
    if (lock && stat(path, &st) == 0 && (status = local_lock(c, path)) != CW_ARGS_GO)
        return status;
    res = cw_local_load(&c->l, path, why);
    if (res == 0)
        return CW_ARGS_GO;
    if (res == -ENOENT)
        snprintf(why, sizeof(why), "no cluster in %.300s", path);
    return local_fail(c, res == -ENOENT ? "NOT_FOUND" : "IO", path,
                      "make one: causeway local up --dir DIR", why);
}

/* ---- printing ---- */

static const char *
local_state_name(enum cw_local_state s)
{
    switch (s) {
    case CW_LOCAL_STOPPED:
        return "stopped";
    case CW_LOCAL_RUNNING:
        return "running";
    case CW_LOCAL_PAUSED:
        return "paused";
    }
    cw_unreachable();
}

static const char *
local_kind_name(enum cw_local_kind k)
{
    switch (k) {
    case CW_LOCAL_HOST:
        return "host";
    case CW_LOCAL_MANAGER:
        return "manager";
    case CW_LOCAL_MEMBER:
        return "etcd";
    }
    cw_unreachable();
}

static const char *
local_site_kind(const struct cw_local_node *n)
{
    return n->is_cloud ? "cloud" : "on-premise";
}

static json_t *
local_node_json(const struct cw_local *l, const struct cw_local_node *n)
{
    struct cw_local_proc p = cw_local_proc_find(l, n);
    char store[CW_LOCAL_PATH_SIZE], log[CW_LOCAL_PATH_SIZE], address[32], http[32];
    bool is_host = n->kind == CW_LOCAL_HOST;

    snprintf(address, sizeof(address), "127.0.0.1:%u", n->port);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:s,s:s}", "name", n->name, "role",
                     local_kind_name(n->kind), "site", n->site, "site_kind",
                     is_host ? local_site_kind(n) : "", "address", address, "http",
                     cw_local_http(n, http), "state", local_state_name(p.state), "pid",
                     p.state != CW_LOCAL_STOPPED ? (int)p.pid : 0, "store",
                     is_host ? cw_local_path(l, n, "store-0", store) : "", "log",
                     cw_local_path(l, n, "log", log));
}

static int
local_print_json(struct local_cmd *c)
{
    json_t *processes = json_array();
    char address[CW_LOCAL_ADDRESS_SIZE];

    for (uint32_t i = 0; i < c->l.n_nodes; i++)
        json_array_append_new(processes, local_node_json(&c->l, &c->l.node[i]));
    return cw_out_json(c->cli,
                       json_pack("{s:s,s:s,s:o}", "cluster", cw_local_address(&c->l, address),
                                 "dir", c->l.dir, "processes", processes));
}

static int
local_print_table(struct local_cmd *c)
{
    static const char *const columns[] = { "NAME", "SITE",    "KIND", "STATE",
                                           ">PID", "ADDRESS", "HTTP" };
    struct cw_table *t = cw_table_new(c->cli, columns, CW_LEN(columns));

    for (uint32_t i = 0; i < c->l.n_nodes; i++) {
        const struct cw_local_node *n = &c->l.node[i];
        struct cw_local_proc p = cw_local_proc_find(&c->l, n);
        char pid[16] = "-", address[32], http[32];

        snprintf(address, sizeof(address), "127.0.0.1:%u", n->port);
        if (p.state != CW_LOCAL_STOPPED)
            snprintf(pid, sizeof(pid), "%d", (int)p.pid);
        cw_table_row(t, (const char *[]){ n->name, n->site,
                                          n->kind == CW_LOCAL_HOST ? local_site_kind(n)
                                                                   : local_kind_name(n->kind),
                                          local_state_name(p.state), pid, address,
                                          cw_local_http(n, http) });
    }
    return cw_table_print(t);
}

/* ---- starting ---- */

static int
local_start_fail(struct local_cmd *c, const char *name, const char *why)
{
    char log[CW_LOCAL_PATH_SIZE + 16] = "";
    struct cw_local_node *n = cw_local_find(&c->l, name);

    if (n != NULL)
        snprintf(log, sizeof(log), "log: %s/%s/log", c->l.dir, n->name);
    return local_fail(c, "START_FAILED", name, log, why);
}

/* Starts the node unless it runs; a paused one goes on. */
static int
local_start_node(struct local_cmd *c, struct cw_local_node *n, struct cw_local_wait *w)
{
    struct cw_local_proc p = cw_local_proc_find(&c->l, n);
    char why[CW_LOCAL_WHY_SIZE];
    bool was_prepared = n->prepared;
    off_t log_at = 0;

    if (p.state == CW_LOCAL_STOPPED) {
        if (cw_local_prepare(&c->l, n, c->daemon, why) != 0)
            return local_start_fail(c, n->name, why);
        if (n->prepared && !was_prepared && cw_local_save(&c->l) != 0)
            return local_start_fail(c, n->name, "cannot write cluster.json");
        cw_local_wait_free(&c->l, n, FREE_WAIT_MS);
        if (cw_local_spawn(&c->l, n, n->kind == CW_LOCAL_MEMBER ? c->etcd : c->daemon, &p, &log_at,
                           why) != 0)
            return local_start_fail(c, n->name, why);
        cw_local_wait_add(w, &c->l, n, &p, log_at, true);
        return CW_ARGS_GO;
    }
    if (p.state == CW_LOCAL_PAUSED)
        cw_local_signal(&p, SIGCONT);
    cw_local_wait_add(w, &c->l, n, &p, log_at, false);
    return CW_ARGS_GO;
}

/* After a failure nothing of this run is left behind running. */
static void
local_stop_spawned(const struct cw_local_wait *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (w->at[i].spawned)
            cw_local_signal(&w->at[i].proc, SIGKILL);
    }
    for (uint32_t i = 0; i < w->n; i++) {
        if (w->at[i].spawned)
            cw_local_wait_gone(&w->at[i].proc, KILL_WAIT_MS);
    }
}

static int
local_wait_serving(struct local_cmd *c, struct cw_local_wait *w)
{
    const struct cw_local_waited *bad = NULL;
    char why[CW_LOCAL_WAIT_WHY_SIZE];
    int status;

    if (cw_local_wait_serving(c->cli, &c->l, w, c->timeout_s, &bad, why)) {
        if (w->bootstrapped && !c->l.bootstrapped) {
            c->l.bootstrapped = true;
            if (cw_local_save(&c->l) != 0)
                return local_start_fail(c, c->l.node[0].name, "cannot write cluster.json");
        }
        return CW_ARGS_GO;
    }
    status = local_start_fail(c, bad != NULL ? bad->node->name : "", why);
    return status;
}

/* Starts the nodes that `chosen` marks, the manager first, and waits until they serve. */
static int
local_start(struct local_cmd *c, const bool *chosen)
{
    struct cw_local_wait w;
    int status = local_find_daemon(c);

    cw_cli_catch_signals();
    cw_local_wait_init(&w, &c->l);
    for (uint32_t i = 0; i < c->l.n_nodes && status == CW_ARGS_GO; i++) {
        if (chosen[i])
            status = local_start_node(c, &c->l.node[i], &w);
    }
    if (status == CW_ARGS_GO)
        status = local_wait_serving(c, &w);
    if (status != CW_ARGS_GO)
        local_stop_spawned(&w);
    return status;
}

/* ---- up, add ---- */

static int
local_save_new(struct local_cmd *c)
{
    int res;

    if (!cw_local_pick_ports(&c->l))
        return local_fail(c, "LIMIT", c->l.dir, NULL, "no free port between 20000 and 29999");
    res = cw_local_save(&c->l);
    if (res != 0) {
        char why[PATH_MAX + 128];

        snprintf(why, sizeof(why), "%s/cluster.json: %s", c->l.dir, strerror(-res));
        return local_fail(c, "IO", c->l.dir, NULL, why);
    }
    return CW_ARGS_GO;
}

struct local_up_opts {
    const char *dir, *hosts, *metadata;
    uint64_t store_bytes, memory_bytes;
};

/* Loads the cluster of the directory, or makes a new one there. */
static int
local_up_conf(struct local_cmd *c, const struct cw_cmd *cmd, const struct local_up_opts *o)
{
    char path[PATH_MAX], why[CW_LOCAL_WHY_SIZE];
    bool etcd = o->metadata != NULL && strcmp(o->metadata, "etcd") == 0;
    int status, res;

    if (!cw_local_dir(o->dir, path))
        return cw_cli_usage(c->cli, cmd, "--dir is too long");
    cw_local_init(&c->l, path, etcd, o->store_bytes, o->memory_bytes);
    if (!cw_local_add_hosts(&c->l, o->hosts != NULL ? o->hosts : DEFAULT_HOSTS, why))
        return cw_cli_usage(c->cli, cmd, "--hosts: %s", why);
    res = local_mkdirs(path);
    if (res != 0) {
        snprintf(why, sizeof(why), "%.300s: %s", path, strerror(-res));
        return local_fail(c, "IO", path, NULL, why);
    }
    if ((status = local_lock(c, path)) != CW_ARGS_GO)
        return status;
    res = cw_local_load(&c->l, path, why);
    if (res == 0) {
        if (o->hosts != NULL || (o->metadata != NULL && etcd != cw_local_is_etcd(&c->l)))
            cw_cli_note(c->cli, "%s has a cluster already: it is started as it is", path);
        return CW_ARGS_GO;
    }
    if (res != -ENOENT)
        return local_fail(c, "IO", path, NULL, why);
    cw_local_init(&c->l, path, etcd, o->store_bytes, o->memory_bytes);
    cw_local_add_hosts(&c->l, o->hosts != NULL ? o->hosts : DEFAULT_HOSTS, why);
    return local_save_new(c);
}

static int
local_up_check(struct local_cmd *c, const struct cw_cmd *cmd, const struct local_up_opts *o)
{
    if (o->dir == NULL)
        return local_no_dir(c, cmd);
    if (o->metadata != NULL && strcmp(o->metadata, "lmdb") != 0 && strcmp(o->metadata, "etcd") != 0)
        return cw_cli_usage(c->cli, cmd, "--metadata %s: lmdb or etcd", o->metadata);
    if (o->store_bytes < 512 * CW_MIB)
        return cw_cli_usage(c->cli, cmd, "--store-size: a store has at least 512M");
    return CW_ARGS_GO;
}

static int
local_up(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct local_cmd c = { .cli = cli, .lock_fd = -1, .timeout_s = DEFAULT_TIMEOUT_S };
    struct local_up_opts o = { .store_bytes = DEFAULT_STORE_BYTES };
    const struct cw_opt opts[] = {
        { "dir", 'd', CW_OPT_TEXT, &o.dir, "DIR", "everything is made below it" },
        { "hosts", 0, CW_OPT_TEXT, &o.hosts, "SITE:N[:KIND],..",
          "default: " DEFAULT_HOSTS "\naws, azure, gcp, ibm are cloud sites, others on-premise" },
        { "store-size", 0, CW_OPT_SIZE, &o.store_bytes, "SIZE", "of each host's store; 4G" },
        { "metadata", 0, CW_OPT_TEXT, &o.metadata, "KIND",
          "lmdb (default): one manager, a process of its own\n"
          "etcd: three members; any host may be the manager" },
        { "memory", 0, CW_OPT_SIZE, &o.memory_bytes, "SIZE", "budget of each daemon" },
        { "timeout", 0, CW_OPT_SECONDS, &c.timeout_s, "TIME", "how long to wait; 120" },
        { 0 },
    };
    struct cw_args a = { .opts = opts };
    bool all[CW_LOCAL_NODES_MAX];
    char address[CW_LOCAL_ADDRESS_SIZE];
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    memset(all, true, sizeof(all));
    if (status != CW_ARGS_GO || (status = local_up_check(&c, cmd, &o)) != CW_ARGS_GO)
        return status;
    if ((status = local_up_conf(&c, cmd, &o)) == CW_ARGS_GO)
        status = local_start(&c, all);
    local_unlock(&c);
    if (status != CW_ARGS_GO)
        return status;
    if (cli->json)
        return local_print_json(&c);
    cw_cli_note(cli, "%u hosts serve; next: export CAUSEWAY_CLUSTER=%s",
                c.l.n_nodes - c.l.n_control, cw_local_address(&c.l, address));
    fprintf(cli->out, "%s\n", cw_local_address(&c.l, address));
    fflush(cli->out);
    return CW_EXIT_OK;
}

static int
local_add_all(struct local_cmd *c, const struct cw_cmd *cmd, const struct cw_args *a)
{
    uint32_t n_before = c->l.n_nodes;
    bool chosen[CW_LOCAL_NODES_MAX] = { false };
    char why[CW_LOCAL_WHY_SIZE];
    int status;

    for (int i = 0; i < a->n; i++) {
        if (!cw_local_add_hosts(&c->l, a->operand[i], why))
            return cw_cli_usage(c->cli, cmd, "%s", why);
    }
    if ((status = local_save_new(c)) != CW_ARGS_GO)
        return status;
    for (uint32_t i = n_before; i < c->l.n_nodes; i++)
        chosen[i] = true;
    return local_start(c, chosen);
}

static int
local_add(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct local_cmd c = { .cli = cli, .lock_fd = -1, .timeout_s = DEFAULT_TIMEOUT_S };
    const char *dir = NULL;
    const struct cw_opt opts[] = {
        { "dir", 'd', CW_OPT_TEXT, &dir, "DIR", "that of `local up`" },
        { "timeout", 0, CW_OPT_SECONDS, &c.timeout_s, "TIME", "how long to wait; 120" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = -1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    if ((status = local_open(&c, cmd, dir, true)) == CW_ARGS_GO)
        status = local_add_all(&c, cmd, &a);
    local_unlock(&c);
    if (status != CW_ARGS_GO)
        return status;
    return cli->json ? local_print_json(&c) : CW_EXIT_OK;
}

/* ---- kill, start, pause, resume, down ---- */

/* Marks the nodes that the operands name; "all" is every one. */
static int
local_choose(struct local_cmd *c, const struct cw_cmd *cmd, const struct cw_args *a, bool *chosen)
{
    for (int i = 0; i < a->n; i++) {
        struct cw_local_node *n = cw_local_find(&c->l, a->operand[i]);

        if (strcmp(a->operand[i], "all") == 0) {
            memset(chosen, true, CW_LOCAL_NODES_MAX * sizeof(*chosen));
        } else if (n == NULL) {
            cw_cli_fail(c->cli,
                        (struct cw_fail){ .code = "NOT_FOUND",
                                          .object = a->operand[i],
                                          .hint = "see: causeway local ls --dir DIR" },
                        "%s: no process of that name in %s", a->operand[i], c->l.dir);
            return CW_EXIT_FAILED;
        } else {
            chosen[n - c->l.node] = true;
        }
    }
    return CW_ARGS_GO;
}

/* The kernel stops threads one by one: the command ends when all have. */
static bool
local_wait_state(struct local_cmd *c, uint32_t i, enum cw_local_state wanted)
{
    struct timespec pause = { .tv_nsec = 5 * 1000 * 1000 };

    for (int tries = 0; tries < STATE_WAIT_MS / 5; tries++) {
        if (cw_local_proc_find(&c->l, &c->l.node[i]).state == wanted)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

static bool
local_wait_signalled(struct local_cmd *c, uint32_t i, const struct cw_local_proc *p, int sig)
{
    if (sig == SIGKILL)
        return cw_local_wait_gone(p, KILL_WAIT_MS);
    return local_wait_state(c, i, sig == SIGSTOP ? CW_LOCAL_PAUSED : CW_LOCAL_RUNNING);
}

/* Signals every chosen process, then waits until all have heard it. */
static int
local_signal_all(struct local_cmd *c, const bool *chosen, int sig)
{
    struct cw_local_proc p[CW_LOCAL_NODES_MAX] = { 0 };
    int status = CW_ARGS_GO;

    for (uint32_t i = 0; i < c->l.n_nodes; i++) {
        if (!chosen[i])
            continue;
        p[i] = cw_local_proc_find(&c->l, &c->l.node[i]);
        if (p[i].state != CW_LOCAL_STOPPED)
            cw_local_signal(&p[i], sig);
        else if (sig == SIGKILL)
            cw_cli_note(c->cli, "%s did not run", c->l.node[i].name);
        else
            status = local_fail(c, "NOT_RUNNING", c->l.node[i].name,
                                "start it: causeway local start NAME --dir DIR",
                                "a process that should be paused or resumed does not run");
    }
    for (uint32_t i = 0; i < c->l.n_nodes; i++) {
        if (p[i].state != CW_LOCAL_STOPPED && !local_wait_signalled(c, i, &p[i], sig))
            status = local_fail(c, "TIMEOUT", c->l.node[i].name, NULL,
                                "a process does not follow a signal: it may wait for a disk");
    }
    return status;
}

static int
local_signal_cmd(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv, int sig)
{
    struct local_cmd c = { .cli = cli, .lock_fd = -1, .timeout_s = DEFAULT_TIMEOUT_S };
    bool chosen[CW_LOCAL_NODES_MAX] = { false };
    const char *dir = NULL;
    const struct cw_opt opts[] = {
        { "dir", 'd', CW_OPT_TEXT, &dir, "DIR", "that of `local up`" },
        { "timeout", 0, CW_OPT_SECONDS, &c.timeout_s, "TIME", "how long to wait; 120" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = -1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    if ((status = local_open(&c, cmd, dir, true)) == CW_ARGS_GO &&
        (status = local_choose(&c, cmd, &a, chosen)) == CW_ARGS_GO)
        status = sig != 0 ? local_signal_all(&c, chosen, sig) : local_start(&c, chosen);
    local_unlock(&c);
    if (status != CW_ARGS_GO)
        return status;
    return cli->json ? local_print_json(&c) : CW_EXIT_OK;
}

static int
local_kill(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    return local_signal_cmd(cli, cmd, argc, argv, SIGKILL);
}

static int
local_pause(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    return local_signal_cmd(cli, cmd, argc, argv, SIGSTOP);
}

static int
local_resume(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    return local_signal_cmd(cli, cmd, argc, argv, SIGCONT);
}

static int
local_start_cmd(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    return local_signal_cmd(cli, cmd, argc, argv, 0);
}

/* Asks nodes [from, to) to end, waits, and ends by force what does not. */
static void
local_down_range(struct local_cmd *c, uint32_t from, uint32_t to)
{
    struct cw_local_proc p[CW_LOCAL_NODES_MAX];

    for (uint32_t i = from; i < to; i++) {
        p[i] = cw_local_proc_find(&c->l, &c->l.node[i]);
        if (p[i].state != CW_LOCAL_STOPPED) {
            cw_local_signal(&p[i], SIGTERM);
            cw_local_signal(&p[i], SIGCONT); /* a paused one could not hear it */
        }
    }
    for (uint32_t i = from; i < to; i++) {
        if (cw_local_wait_gone(&p[i], TERM_WAIT_MS))
            continue;
        cw_cli_note(c->cli, "%s did not end within %d s and is killed", c->l.node[i].name,
                    TERM_WAIT_MS / 1000);
        cw_local_signal(&p[i], SIGKILL);
        cw_local_wait_gone(&p[i], KILL_WAIT_MS);
    }
}

static int
local_down(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct local_cmd c = { .cli = cli, .lock_fd = -1 };
    const char *dir = NULL;
    const struct cw_opt opts[] = {
        { "dir", 'd', CW_OPT_TEXT, &dir, "DIR", "that of `local up`" },
        { 0 },
    };
    struct cw_args a = { .opts = opts };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    status = local_open(&c, cmd, dir, true);
    if (status == CW_ARGS_GO) {
        /* while the manager can still take their farewell */
        local_down_range(&c, c.l.n_control, c.l.n_nodes);
        local_down_range(&c, 0, c.l.n_control);
    }
    local_unlock(&c);
    if (status != CW_ARGS_GO)
        return status;
    return cli->json ? local_print_json(&c) : CW_EXIT_OK;
}

static int
local_ls(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct local_cmd c = { .cli = cli, .lock_fd = -1 };
    const char *dir = NULL;
    const struct cw_opt opts[] = {
        { "dir", 'd', CW_OPT_TEXT, &dir, "DIR", "that of `local up`" },
        { 0 },
    };
    struct cw_args a = { .opts = opts };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO || (status = local_open(&c, cmd, dir, false)) != CW_ARGS_GO)
        return status;
    return cli->json ? local_print_json(&c) : local_print_table(&c);
}

const struct cw_cmd cw_cmds_local[] = {
    { "local up", "--dir DIR [--hosts SITE:N[:KIND],..]", "a whole cluster on this machine",
      "Starts one daemon per host, named SITE-1, SITE-2, .., and a manager (or three members of\n"
      "etcd, named etcd-1 to 3), all detached and on free ports of 127.0.0.1; returns when all "
      "serve. The last line of its output is the\n"
      "cluster's address. On a directory that has a cluster it starts that one again.\n\n"
      "  export CAUSEWAY_CLUSTER=$(causeway local up --dir /tmp/cw | tail -n 1)\n"
      "  causeway local up --dir /tmp/cw --hosts dc1:3,dc2:2:cloud --store-size 1G\n\n"
      "DIR/NAME/log is a process's log, DIR/NAME/store-0 a host's store.\n",
      local_up },
    { "local start", "NAME|all.. --dir DIR", "start processes and wait until they serve",
      "NAME is a host, `manager` or etcd-1 to 3. A paused process goes on. If one does not come "
      "up, the end\n"
      "of its log is shown and what this command started is stopped again.\n",
      local_start_cmd },
    { "local kill", "NAME|all.. --dir DIR", "SIGKILL, as a power cut of that host would",
      "`all` includes the manager and etcd; killing a host never touches them.\n", local_kill },
    { "local pause", "NAME|all.. --dir DIR", "SIGSTOP: it holds its connections but is silent",
      NULL, local_pause },
    { "local resume", "NAME|all.. --dir DIR", "SIGCONT", NULL, local_resume },
    { "local add", "SITE:N[:KIND].. --dir DIR", "more hosts for a cluster that runs",
      "Numbers go on where the site's hosts end.\n\n"
      "  causeway local add aws:2 --dir /tmp/cw\n",
      local_add },
    { "local down", "--dir DIR", "stop everything, keep the files",
      "Hosts first, then the manager or etcd. `local up --dir DIR` starts it again.\n",
      local_down },
    { "local ls", "--dir DIR", "the processes and their state", NULL, local_ls },
    { 0 },
};
