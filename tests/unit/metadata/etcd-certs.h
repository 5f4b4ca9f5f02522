/* metadata/etcd-certs.h - a CA, a server's and a client's certificate, made with openssl. */
#pragma once

#include <stdbool.h>

struct etcd_certs {
    char dir[64];
    /* ca.pem; server.pem of 127.0.0.1; client.pem; elsewhere.pem of another address; stranger.pem,
     * the CA of nobody here; a .key beside each. Only CAs have a common name: etcd's gateway takes
     * no client's that has one */
    char ca[96], server[96], server_key[96], client[96], client_key[96];
    char elsewhere[96], elsewhere_key[96], stranger[96];
};

bool openssl_is_installed(void);

void etcd_certs_init(struct etcd_certs *c);
void etcd_certs_fini(struct etcd_certs *c);
