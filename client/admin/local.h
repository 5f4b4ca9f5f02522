/* admin/local.h - a whole cluster on this machine, everything it makes under one directory.
 *
 *   DIR/cluster.json       what the cluster consists of: written before anything is started
 *   DIR/lock               held while processes are started or stopped
 *   DIR/NAME/pid           "PID STARTTIME" of the process; believed only if /proc agrees
 *   DIR/NAME/log           stdout and stderr of all its starts
 *   DIR/NAME/store-0       a host's store
 *   DIR/NAME/sock          a host's unix socket for clients on this machine
 *   DIR/manager/meta/      the manager's records (LMDB), or
 *   DIR/etcd-N/data        those of a member of etcd; then every host may be the manager
 *
 * A process is recognised by one argument that holds DIR and its name, so that it is found again
 * even if its pid file is lost and is never mistaken for somebody else's process with its pid.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/admin/cli.h"

#define CW_LOCAL_ETCD 3u
#define CW_LOCAL_HOSTS_MAX 64
#define CW_LOCAL_NODES_MAX (CW_LOCAL_ETCD + CW_LOCAL_HOSTS_MAX)
#define CW_LOCAL_ADDRESS_SIZE 400 /* 16 of "127.0.0.1:PORT" */
#define CW_LOCAL_NAME_SIZE 64
#define CW_LOCAL_PATH_SIZE (PATH_MAX + CW_LOCAL_NAME_SIZE + 32)
#define CW_LOCAL_WHY_SIZE 512

enum cw_local_kind { CW_LOCAL_HOST, CW_LOCAL_MANAGER, CW_LOCAL_MEMBER /* of etcd */ };

struct cw_local_node {
    char name[CW_LOCAL_NAME_SIZE];
    char site[CW_LOCAL_NAME_SIZE]; /* "" but for hosts */
    enum cw_local_kind kind;
    bool is_cloud;
    bool prepared;            /* host: its store is formatted */
    uint16_t port, peer_port; /* on 127.0.0.1; peer: of a member of etcd */
    uint16_t http;            /* likewise; 0: none, of etcd, or in clusters of earlier versions */
};

struct cw_local {
    char dir[PATH_MAX]; /* absolute */
    uint64_t store_bytes;
    uint64_t memory_bytes; /* of each daemon; 0: its default */
    bool bootstrapped;     /* the metadata hold the cluster */
    uint32_t n_control;    /* the first nodes: the manager, or the members of etcd */
    uint32_t n_nodes;
    struct cw_local_node node[CW_LOCAL_NODES_MAX];
};

/* ---- conf: cluster.json ---- */

/* Adds hosts as "SITE:N[:KIND][,..]" says, without ports. False: why. */
bool cw_local_add_hosts(struct cw_local *l, const char *spec, char why[static CW_LOCAL_WHY_SIZE]);

/* A new cluster without hosts. dir as cw_local_dir gave it. */
void cw_local_init(struct cw_local *l, const char *dir, bool etcd, uint64_t store_bytes,
                   uint64_t memory_bytes);
bool cw_local_is_etcd(const struct cw_local *l);

/* The absolute path of dir, which need not exist. False: too long. */
bool cw_local_dir(const char *dir, char ret[static PATH_MAX]);

/* 0, -ENOENT (no cluster there) or another -errno with why. */
int cw_local_load(struct cw_local *l, const char *dir, char why[static CW_LOCAL_WHY_SIZE]);

/* Durable and atomic. 0 or -errno. */
int cw_local_save(const struct cw_local *l);

/* "127.0.0.1:PORT", "" without one. */
char *cw_local_http(const struct cw_local_node *n, char ret[static 32]);

/* Free ports for all new nodes. False if none are free. */
bool cw_local_pick_ports(struct cw_local *l);

/* Could a daemon listen there? */
bool cw_local_port_is_free(uint16_t port);

/* NULL if there is none of that name. */
struct cw_local_node *cw_local_find(struct cw_local *l, const char *name);

/* DIR/NAME/file; file "" is the directory itself. Returns ret. */
char *cw_local_path(const struct cw_local *l, const struct cw_local_node *n, const char *file,
                    char ret[static CW_LOCAL_PATH_SIZE]);

/* Of the manager, or of the hosts that may be it (the first sixteen). */
char *cw_local_address(const struct cw_local *l, char ret[static CW_LOCAL_ADDRESS_SIZE]);

/* ---- processes ---- */

enum cw_local_state { CW_LOCAL_STOPPED, CW_LOCAL_RUNNING, CW_LOCAL_PAUSED };

struct cw_local_proc {
    enum cw_local_state state;
    pid_t pid;          /* unless STOPPED */
    uint64_t starttime; /* of /proc/PID/stat: with pid it names a process for good */
};

/* Looks at the pid file, and if that is wrong at all processes. */
struct cw_local_proc cw_local_proc_find(const struct cw_local *l, const struct cw_local_node *n);

/* causewayd beside this program, in the build tree, or in PATH. False: none. */
bool cw_local_daemon(char ret[static PATH_MAX]);
/* etcd in PATH. False: none. */
bool cw_local_etcd(char ret[static PATH_MAX]);

/* Makes the host's store or the directory of the others. 0, or -errno with why. */
int cw_local_prepare(const struct cw_local *l, struct cw_local_node *n, const char *daemon,
                     char why[static CW_LOCAL_WHY_SIZE]);

/* Waits until the store's lock and the port of a process that ended are free: the kernel gives back
 * what an io_uring held only some time after the process is gone. At most timeout_ms; then the
 * daemon itself says who is in the way. */
void cw_local_wait_free(const struct cw_local *l, const struct cw_local_node *n, int timeout_ms);

/* Starts the node detached, as program (causewayd, etcd), and writes its pid file. *ret_log_at:
 * where its output begins. 0, or -errno with why. */
int cw_local_spawn(const struct cw_local *l, const struct cw_local_node *n, const char *program,
                   struct cw_local_proc *ret, off_t *ret_log_at,
                   char why[static CW_LOCAL_WHY_SIZE]);

/* False if the process is gone. */
bool cw_local_signal(const struct cw_local_proc *p, int sig);

/* True once it is gone, false after timeout_ms. */
bool cw_local_wait_gone(const struct cw_local_proc *p, int timeout_ms);

/* Is this very process alive? */
bool cw_local_alive(const struct cw_local_proc *p);

/* "exit status 1", "killed by signal 11"; "" if unknown. p is gone. */
char *cw_local_ending(const struct cw_local_proc *p, char ret[static 64]);

/* The last lines of the log from log_at on, at most size - 1 bytes. Returns ret. */
char *cw_local_log_tail(const struct cw_local *l, const struct cw_local_node *n, off_t log_at,
                        char *ret, size_t size);
