#include "daemon/metadata/kv-etcd.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/metadata/etcd-internal.h"
#include "daemon/metadata/etcd-tls.h"

#define SILENT_NS (2 * CW_NS_PER_S)
#define LOOKUP_NS (2 * CW_NS_PER_S)

/* ---- for all parts ---- */

json_t *
cw_etcd_pack(const char *fmt, ...)
{
    va_list args;
    json_t *o;

    va_start(args, fmt);
    o = json_vpack_ex(NULL, 0, fmt, args);
    va_end(args);
    cw_assert(o != NULL);
    return o;
}

json_t *
cw_etcd_key(const struct cw_etcd *e, const char *key)
{
    char full[ETCD_KEY_SIZE];
    int len = snprintf(full, sizeof(full), "%s%s", e->prefix, key);

    cw_assert(len > 0 && (size_t)len < sizeof(full));
    return cw_etcd_json_bytes(full, (size_t)len);
}

uint64_t
cw_etcd_revision(const json_t *root)
{
    uint64_t revision;

    return cw_etcd_json_get(cw_etcd_json_object(root, "header"), "revision", &revision) ? revision
                                                                                        : 0;
}

/* ---- endpoints ---- */

static void
etcd_on_looked_up(void *user)
{
    struct cw_etcd *e = user;

    cw_etcd_lookup_free(e->lookup);
    e->lookup = NULL;
}

/* Names move. */
static void
etcd_look_up(struct cw_etcd *e, size_t endpoint)
{
    struct cw_etcd_endpoint *ep = &e->endpoints[endpoint];
    uint64_t now = cw_now_ns(e->env);

    if (ep->numeric)
        return;
    ep->address++;
    if (e->lookup != NULL || (e->looked_up == endpoint && now - e->lookup_ns < LOOKUP_NS))
        return;
    e->looked_up = endpoint;
    e->lookup_ns = now;
    e->lookup = cw_etcd_lookup_new(e->opts.service, ep, etcd_on_looked_up, e);
}

void
cw_etcd_leave(struct cw_etcd *e, size_t endpoint)
{
    e->known[endpoint] = false;
    if (e->current == endpoint)
        e->current = (endpoint + 1) % e->n_endpoints;
    etcd_look_up(e, endpoint);
    cw_etcd_view_left(e, endpoint);
}

static void
etcd_tell(struct cw_etcd *e, bool reachable, const char *why)
{
    if (e->told_reachable && e->reachable == reachable)
        return;
    e->told_reachable = true;
    e->reachable = reachable;
    if (e->opts.ev->reachable != NULL)
        e->opts.ev->reachable(e->opts.user, reachable, why);
}

void
cw_etcd_answers(struct cw_etcd *e)
{
    e->answered_ns = cw_now_ns(e->env);
    etcd_tell(e, true, "");
}

void
cw_etcd_silent(struct cw_etcd *e, const char *why)
{
    if (e->answered_ns == 0 || cw_now_ns(e->env) - e->answered_ns > SILENT_NS)
        etcd_tell(e, false, why);
}

/* ---- making it ---- */

static int
etcd_password(struct cw_etcd *e, const char *path, char *why)
{
    FILE *f = fopen(path, "re");
    size_t n;

    if (f == NULL) {
        int err = errno;

        snprintf(why, CW_ETCD_WHY_SIZE, "etcd: password file %s: %s", path, strerror(err));
        return -err;
    }
    n = fread(e->password, 1, sizeof(e->password), f);
    fclose(f);
    while (n > 0 && n < sizeof(e->password) && isspace((unsigned char)e->password[n - 1]))
        n--;
    if (n == 0 || n == sizeof(e->password)) {
        snprintf(why, CW_ETCD_WHY_SIZE, "etcd: password file %s: it holds 1 to %zu bytes", path,
                 sizeof(e->password) - 1);
        return -EINVAL;
    }
    e->password[n] = '\0';
    return 0;
}

static bool
prefix_ok(const char *prefix)
{
    size_t len = strlen(prefix);

    for (size_t i = 0; i < len; i++) {
        if (!isgraph((unsigned char)prefix[i]))
            return false;
    }
    return len > 1 && len < ETCD_PREFIX_SIZE && prefix[0] == '/' && prefix[len - 1] != '/';
}

static int
etcd_take_texts(struct cw_etcd *e, char *why)
{
    const struct cw_etcd_opts *o = &e->opts;
    const char *prefix = o->prefix != NULL ? o->prefix : "/causeway";

    snprintf(e->name, sizeof(e->name), "etcd %.300s", o->urls);
    if (!prefix_ok(prefix)) {
        snprintf(why, CW_ETCD_WHY_SIZE, "etcd: the prefix '%.80s' is none like /causeway", prefix);
        return -EINVAL;
    }
    strcpy(e->prefix, prefix);
    if (strlen(o->value) >= sizeof(e->value)) {
        snprintf(why, CW_ETCD_WHY_SIZE, "etcd: '%.80s' is too long for the leader key", o->value);
        return -EINVAL;
    }
    strcpy(e->value, o->value);
    if ((o->user_name == NULL) != (o->password_file == NULL) ||
        (o->user_name != NULL &&
         (o->user_name[0] == '\0' || strlen(o->user_name) >= sizeof(e->user_name)))) {
        snprintf(why, CW_ETCD_WHY_SIZE,
                 "etcd: a user name needs a password file, and the other "
                 "way round");
        return -EINVAL;
    }
    if (o->user_name == NULL)
        return 0;
    strcpy(e->user_name, o->user_name);
    return etcd_password(e, o->password_file, why);
}

/* A file that is named and not used would be a wish that is not granted. */
static int
etcd_take_tls(struct cw_etcd *e, char *why)
{
    struct cw_etcd_tls_opts tls = {
        .ca_file = e->opts.ca_file,
        .cert_file = e->opts.cert_file,
        .key_file = e->opts.key_file,
    };
    bool wanted = false,
         files = tls.ca_file != NULL || tls.cert_file != NULL || tls.key_file != NULL;

    for (size_t i = 0; i < e->n_endpoints; i++)
        wanted |= e->endpoints[i].tls;
    if (files && !wanted) {
        snprintf(why, CW_ETCD_WHY_SIZE, "etcd: certificates are given, but no URL is https://");
        return -EINVAL;
    }
    return wanted ? cw_etcd_tls_new(&tls, &e->tls, why) : 0;
}

/* libevent and OpenSSL write into sockets that the other side has closed. */
static void
block_sigpipe(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    cw_assert(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
}

int
cw_etcd_new(const struct cw_etcd_opts *opts, struct cw_etcd **ret,
            char why[static CW_ETCD_WHY_SIZE])
{
    struct cw_etcd *e = calloc(1, sizeof(*e));
    int err;

    cw_assert(e != NULL);
    block_sigpipe();
    e->opts = *opts;
    e->env = cw_service_env(opts->service);
    cw_etcd_view_init(e);
    cw_etcd_lead_init(e);
    cw_etcd_kv_init(e);
    e->n_endpoints = cw_etcd_urls_parse(opts->urls, e->endpoints, why, CW_ETCD_WHY_SIZE);
    err = e->n_endpoints > 0 ? etcd_take_texts(e, why) : -EINVAL;
    if (err == 0)
        err = etcd_take_tls(e, why);
    if (err != 0) {
        cw_etcd_free(e);
        return err;
    }
    for (size_t i = 0; i < e->n_endpoints; i++) {
        if (!e->endpoints[i].numeric)
            cw_etcd_lookup_now(&e->endpoints[i]);
    }
    e->kv.name = e->name;
    e->current = cw_random(e->env) % e->n_endpoints;
    cw_etcd_view_look(e, 0);
    *ret = e;
    return 0;
}

void
cw_etcd_free(struct cw_etcd *e)
{
    if (e == NULL)
        return;
    cw_etcd_forget(e);
    cw_etcd_lead_fini(e);
    cw_etcd_view_fini(e);
    cw_etcd_lookup_free(e->lookup);
    if (e->tls != NULL)
        SSL_CTX_free(e->tls);
    explicit_bzero(e->password, sizeof(e->password));
    explicit_bzero(e->token, sizeof(e->token));
    free(e);
}

struct cw_kv *
cw_etcd_kv(struct cw_etcd *e)
{
    return &e->kv;
}
