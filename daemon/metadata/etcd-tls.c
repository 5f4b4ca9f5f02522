#include "daemon/metadata/etcd-tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "daemon/metadata/etcd-url.h"

static int
tls_fail(char *why, const char *what, const char *file)
{
    unsigned long code = ERR_get_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    /* OpenSSL keeps errors of the system as codes without a text of their own. */
    if (code != 0 && ERR_SYSTEM_ERROR(code))
        reason = strerror(ERR_GET_REASON(code));
    snprintf(why, CW_ETCD_TLS_WHY_SIZE, "etcd: %s %s: %s", what, file,
             reason != NULL ? reason : "cannot be used");
    ERR_clear_error();
    return -EINVAL;
}

static int
tls_load(SSL_CTX *ctx, const struct cw_etcd_tls_opts *opts, char *why)
{
    ERR_clear_error();
    if (opts->ca_file != NULL && SSL_CTX_load_verify_locations(ctx, opts->ca_file, NULL) != 1)
        return tls_fail(why, "CA file", opts->ca_file);
    if (opts->ca_file == NULL && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return tls_fail(why, "CA files", "of the system");
    if (opts->cert_file == NULL)
        return 0;
    if (SSL_CTX_use_certificate_chain_file(ctx, opts->cert_file) != 1)
        return tls_fail(why, "certificate", opts->cert_file);
    if (SSL_CTX_use_PrivateKey_file(ctx, opts->key_file, SSL_FILETYPE_PEM) != 1)
        return tls_fail(why, "key", opts->key_file);
    return SSL_CTX_check_private_key(ctx) == 1 ? 0 : tls_fail(why, "key", opts->key_file);
}

int
cw_etcd_tls_new(const struct cw_etcd_tls_opts *opts, struct ssl_ctx_st **ret,
                char why[CW_ETCD_TLS_WHY_SIZE])
{
    SSL_CTX *ctx;
    int err;

    if ((opts->cert_file == NULL) != (opts->key_file == NULL)) {
        snprintf(why, CW_ETCD_TLS_WHY_SIZE,
                 "etcd: a client certificate needs its key, and a key "
                 "its certificate");
        return -EINVAL;
    }
    ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL)
        return tls_fail(why, "TLS", "itself");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    err = tls_load(ctx, opts, why);
    if (err != 0) {
        SSL_CTX_free(ctx);
        return err;
    }
    *ret = ctx;
    return 0;
}

struct ssl_st *
cw_etcd_tls_session(struct ssl_ctx_st *ctx, const struct cw_etcd_endpoint *ep)
{
    SSL *ssl = SSL_new(ctx);
    X509_VERIFY_PARAM *param;
    bool ok;

    if (ssl == NULL)
        return NULL;
    param = SSL_get0_param(ssl);
    if (ep->numeric)
        ok = X509_VERIFY_PARAM_set1_ip_asc(param, ep->addr.host) == 1;
    else
        ok = X509_VERIFY_PARAM_set1_host(param, ep->addr.host, 0) == 1 &&
             SSL_set_tlsext_host_name(ssl, ep->addr.host) == 1;
    if (ok)
        return ssl;
    SSL_free(ssl);
    return NULL;
}

const char *
cw_etcd_tls_verdict(struct ssl_st *ssl)
{
    long code = SSL_get_verify_result(ssl);

    return code != X509_V_OK ? X509_verify_cert_error_string(code) : NULL;
}
