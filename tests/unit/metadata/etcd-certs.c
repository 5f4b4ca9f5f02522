#include "tests/unit/metadata/etcd-certs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"

static const char *const names[] = { "ca", "server", "client", "elsewhere", "stranger" };

bool
openssl_is_installed(void)
{
    return access("/usr/bin/openssl", X_OK) == 0;
}

static void
run(const char *dir, const char *command)
{
    char text[1024];

    snprintf(text, sizeof(text), "cd %s && { %s; } >log 2>&1", dir, command);
    if (system(text) != 0)
        fail_msg("%s", text);
}

static void
make_ca(const char *dir, const char *name)
{
    char text[512];

    snprintf(text, sizeof(text),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
             "-subj /CN=%s -keyout %s.key -out %s.pem",
             name, name, name);
    run(dir, text);
}

static void
make_cert(const char *dir, const char *name, const char *address)
{
    char text[768];

    snprintf(text, sizeof(text),
             "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /O=%s "
             "-keyout %s.key -out %s.csr && "
             "printf 'subjectAltName=IP:%s\\nextendedKeyUsage=serverAuth,clientAuth\\n' >%s.ext && "
             "openssl x509 -req -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
             "-extfile %s.ext -out %s.pem",
             name, name, name, address, name, name, name, name);
    run(dir, text);
}

static void
path_of(const struct etcd_certs *c, char to[static 96], const char *name, const char *end)
{
    snprintf(to, 96, "%s/%s.%s", c->dir, name, end);
}

void
etcd_certs_init(struct etcd_certs *c)
{
    snprintf(c->dir, sizeof(c->dir), "/tmp/cw-certs-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    make_ca(c->dir, "ca");
    make_ca(c->dir, "stranger");
    make_cert(c->dir, "server", "127.0.0.1");
    make_cert(c->dir, "client", "127.0.0.9");
    make_cert(c->dir, "elsewhere", "127.0.0.2");
    path_of(c, c->ca, "ca", "pem");
    path_of(c, c->server, "server", "pem");
    path_of(c, c->server_key, "server", "key");
    path_of(c, c->client, "client", "pem");
    path_of(c, c->client_key, "client", "key");
    path_of(c, c->elsewhere, "elsewhere", "pem");
    path_of(c, c->elsewhere_key, "elsewhere", "key");
    path_of(c, c->stranger, "stranger", "pem");
}

void
etcd_certs_fini(struct etcd_certs *c)
{
    static const char *const ends[] = { "pem", "key", "csr", "ext", "srl" };
    char path[96];

    for (size_t i = 0; i < CW_LEN(names); i++) {
        for (size_t k = 0; k < CW_LEN(ends); k++) {
            path_of(c, path, names[i], ends[k]);
            unlink(path);
        }
    }
    snprintf(path, sizeof(path), "%s/log", c->dir);
    unlink(path);
    rmdir(c->dir);
}
