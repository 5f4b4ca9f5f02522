#include "tests/unit/metadata/etcd-proc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/cw-test.h"

bool
etcd_is_installed(void)
{
    return access("/usr/bin/etcd", X_OK) == 0 && access("/usr/bin/etcdctl", X_OK) == 0;
}

static uint16_t
port_free(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void
member_exec(struct etcd_cluster *c, unsigned i)
{
    char name[16], dir[96], client[64], peer[64], log[96], ca[128], cert[128], key[128];
    const char *argv[40];
    int n = 0, fd;

    snprintf(name, sizeof(name), "m%u", i);
    snprintf(dir, sizeof(dir), "%s/%s", c->root, name);
    snprintf(log, sizeof(log), "%s/%s.log", c->root, name);
    snprintf(client, sizeof(client), "http%s://127.0.0.1:%u", c->certs != NULL ? "s" : "",
             c->at[i].client_port);
    snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", c->at[i].peer_port);
    argv[n++] = "etcd";
    argv[n++] = "--name";
    argv[n++] = name;
    argv[n++] = "--data-dir";
    argv[n++] = dir;
    argv[n++] = "--listen-client-urls";
    argv[n++] = client;
    argv[n++] = "--advertise-client-urls";
    argv[n++] = client;
    argv[n++] = "--listen-peer-urls";
    argv[n++] = peer;
    argv[n++] = "--initial-advertise-peer-urls";
    argv[n++] = peer;
    argv[n++] = "--initial-cluster";
    argv[n++] = c->peers;
    if (c->certs != NULL) {
        snprintf(ca, sizeof(ca), "%s/ca.pem", c->certs);
        snprintf(cert, sizeof(cert), "%s/server.pem", c->certs);
        snprintf(key, sizeof(key), "%s/server.key", c->certs);
        argv[n++] = "--cert-file";
        argv[n++] = cert;
        argv[n++] = "--key-file";
        argv[n++] = key;
        argv[n++] = "--trusted-ca-file";
        argv[n++] = ca;
        argv[n++] = "--client-cert-auth";
    }
    argv[n] = NULL;
    fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    execv("/usr/bin/etcd", (char **)argv);
    _exit(127);
}

void
etcd_member_start(struct etcd_cluster *c, unsigned i)
{
    assert_int_equal(c->at[i].pid, 0);
    fflush(NULL);
    c->at[i].pid = fork();
    assert_true(c->at[i].pid >= 0);
    if (c->at[i].pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        member_exec(c, i);
    }
}

void
etcd_member_kill(struct etcd_cluster *c, unsigned i)
{
    if (c->at[i].pid == 0)
        return;
    kill(c->at[i].pid, SIGKILL);
    assert_int_equal(waitpid(c->at[i].pid, NULL, 0), c->at[i].pid);
    c->at[i].pid = 0;
}

void
etcd_member_pause(struct etcd_cluster *c, unsigned i, bool yes)
{
    kill(c->at[i].pid, yes ? SIGSTOP : SIGCONT);
}

void
etcd_cluster_init(struct etcd_cluster *c, unsigned n, const char *certs)
{
    *c = (struct etcd_cluster){ .n = n, .certs = certs };
    snprintf(c->root, sizeof(c->root), "/tmp/cw-etcd-XXXXXX");
    assert_non_null(mkdtemp(c->root));
    for (unsigned i = 0; i < n; i++) {
        char *urls = c->urls + strlen(c->urls), *peers = c->peers + strlen(c->peers);

        c->at[i].client_port = port_free();
        c->at[i].peer_port = port_free();
        sprintf(urls, "%shttp%s://127.0.0.1:%u", i > 0 ? "," : "", certs != NULL ? "s" : "",
                c->at[i].client_port);
        sprintf(peers, "%sm%u=http://127.0.0.1:%u", i > 0 ? "," : "", i, c->at[i].peer_port);
    }
    for (unsigned i = 0; i < n; i++)
        etcd_member_start(c, i);
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

void
etcd_cluster_fini(struct etcd_cluster *c)
{
    for (unsigned i = 0; i < c->n; i++)
        etcd_member_kill(c, i);
    nftw(c->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int
etcd_ctl(struct etcd_cluster *c, const char *args)
{
    char command[1536];

    setenv("ETCDCTL_API", "3", 1);
    setenv("URLS", c->urls, 1);
    snprintf(command, sizeof(command), "{ etcdctl --endpoints $URLS %s; } >%s/ctl.log 2>&1", args,
             c->root);
    return system(command);
}
