/* metadata/etcd-tls.h - TLS to etcd: whom to believe, who we are. */
#pragma once

#include <stdbool.h>

struct ssl_ctx_st;
struct ssl_st;
struct cw_etcd_endpoint;

#define CW_ETCD_TLS_WHY_SIZE 512

struct cw_etcd_tls_opts {
    const char *ca_file;              /* NULL: the system's */
    const char *cert_file, *key_file; /* of a client; both or none */
};

/* 0, or -errno with one line in why. SSL_CTX_free ends it. */
int cw_etcd_tls_new(const struct cw_etcd_tls_opts *opts, struct ssl_ctx_st **ret,
                    char why[CW_ETCD_TLS_WHY_SIZE]);

/* One session to ep, which must show a valid certificate of that host name or address. NULL: out of
 * memory. */
struct ssl_st *cw_etcd_tls_session(struct ssl_ctx_st *ctx, const struct cw_etcd_endpoint *ep);

/* Why the other side was not believed; NULL: that was not it. */
const char *cw_etcd_tls_verdict(struct ssl_st *ssl);
