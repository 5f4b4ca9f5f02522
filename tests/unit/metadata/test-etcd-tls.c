/* TLS to etcd: whom the client believes, and who it is. */
#include "tests/unit/metadata/etcd-node.h"

#include <openssl/ssl.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/unit/metadata/etcd-certs.h"
#include "tests/unit/metadata/fake-etcd.h"

static struct etcd_certs certs;

static int
certs_make(void **state)
{
    etcd_certs_init(&certs);
    return 0;
}

static int
certs_remove(void **state)
{
    etcd_certs_fini(&certs);
    return 0;
}

static SSL_CTX *
server_context(const char *cert, const char *key, bool wants_client)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    assert_int_equal(SSL_CTX_use_certificate_chain_file(ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM), 1);
    if (wants_client) {
        assert_int_equal(SSL_CTX_load_verify_locations(ctx, certs.ca, NULL), 1);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    return ctx;
}

static bool
told(void *arg)
{
    const struct node *n = arg;

    return n->told;
}

/* want NULL: it leads; else why etcd does not answer. */
static void
meets(const char *cert, const char *key, bool wants_client, struct cw_etcd_opts opts,
      const char *want)
{
    SSL_CTX *ctx = server_context(cert, key, wants_client);
    struct loop l;
    struct fake f;
    struct node n;

    loop_init(&l);
    fake_init(&f, &l, ctx);
    assert_int_equal(node_init(&n, &l, f.url, "127.0.0.1:1", &opts), 0);
    cw_etcd_campaign(n.e, true);
    assert_true(loop_until(&l, told, &n));
    assert_int_equal(n.reachable, want == NULL);
    if (want != NULL && strstr(n.unreachable_why, want) == NULL)
        fail_msg("%s", n.unreachable_why);
    if (want != NULL) {
        assert_int_equal(fake_count(&f, "/v3/kv/range"), 0); /* it heard nothing */
    } else {
        assert_true(loop_until(&l, node_leads, &n));
        for (int i = 0; i < 10; i++)
            assert_int_equal(commit_put(&n, "/a", "1"), CW_KV_APPLIED);
        for (int i = 0; i < 5; i++) { /* what is written into it then is no end of the process */
            fake_reset(&f);
            loop_for_ms(&l, 20);
            while (commit_put(&n, "/a", "1") != CW_KV_APPLIED)
                ;
        }
        fake_down(&f);
        loop_for_ms(&l, 50);
        assert_int_equal(commit_put(&n, "/a", "2"), CW_KV_UNAVAILABLE);
        fake_up(&f);
        assert_true(loop_until(&l, node_leads, &n));
        assert_int_equal(commit_put(&n, "/a", "3"), CW_KV_APPLIED);
        assert_string_equal(dump_all(&n, "/a").text, "/a=3;");
    }
    node_fini(&n);
    fake_fini(&f);
    SSL_CTX_free(ctx);
    cw_service_free(l.s);
}

static void
only_a_certificate_of_that_host_is_believed(void **state)
{
    struct cw_etcd_opts ours = { .ca_file = certs.ca }, other = { .ca_file = certs.stranger };

    meets(certs.server, certs.server_key, false, ours, NULL);
    meets(certs.server, certs.server_key, false, other, "unable to get local issuer");
    meets(certs.elsewhere, certs.elsewhere_key, false, ours, "IP address mismatch");
    meets(certs.server, certs.server_key, false, (struct cw_etcd_opts){ 0 },
          "unable to get local issuer"); /* the system does not know that CA */
}

static void
a_client_shows_its_certificate(void **state)
{
    struct cw_etcd_opts with = { .ca_file = certs.ca,
                                 .cert_file = certs.client,
                                 .key_file = certs.client_key };

    meets(certs.server, certs.server_key, true, with, NULL);
}

static void
files_that_do_not_fit_are_refused(void **state)
{
    struct cw_etcd_opts opts = { .cert_file = certs.client, .key_file = certs.server_key };
    struct loop l;
    struct node n;

    loop_init(&l);
    assert_true(node_init(&n, &l, "https://127.0.0.1:1", "x", &opts) < 0);
    assert_non_null(strstr(n.why, "key"));
    opts = (struct cw_etcd_opts){ .ca_file = certs.server_key };
    assert_true(node_init(&n, &l, "https://127.0.0.1:1", "x", &opts) < 0);
    assert_non_null(strstr(n.why, certs.server_key));
    cw_service_free(l.s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_certificate_of_that_host_is_believed),
        cmocka_unit_test(a_client_shows_its_certificate),
        cmocka_unit_test(files_that_do_not_fit_are_refused),
    };

    if (!openssl_is_installed()) {
        printf("1..1\nok 1 - TLS # SKIP openssl is not installed: apt-get install openssl\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, certs_make, certs_remove);
}
