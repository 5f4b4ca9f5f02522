/* metadata/etcd-proc.h - real etcd members on 127.0.0.1, for a test: started, killed, paused. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define ETCD_MEMBERS_MAX 3

struct etcd_cluster {
    char root[64], urls[256], peers[256];
    unsigned n;
    const char *certs; /* a directory with ca.pem, server.pem, server.key: TLS, clients too */
    struct {
        pid_t pid;
        uint16_t client_port, peer_port;
    } at[ETCD_MEMBERS_MAX];
};

bool etcd_is_installed(void);

/* n members, all started; whoever asks waits until they serve. certs may be NULL. */
void etcd_cluster_init(struct etcd_cluster *c, unsigned n, const char *certs);
void etcd_cluster_fini(struct etcd_cluster *c); /* nothing stays, no file either */

void etcd_member_start(struct etcd_cluster *c, unsigned i);
void etcd_member_kill(struct etcd_cluster *c, unsigned i);
void etcd_member_pause(struct etcd_cluster *c, unsigned i, bool yes);

/* Runs etcdctl with the arguments in one text, more commands after && may name $URLS; its exit
 * status. */
int etcd_ctl(struct etcd_cluster *c, const char *args);
