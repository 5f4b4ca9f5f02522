#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "daemon/shell/options.h"
#include "tests/lib/cw-test.h"

#define ARGS_MAX 40

struct read {
    struct cw_options o;
    char why[CW_OPT_WHY_SIZE];
    bool ok;
};

/* Splits at spaces; no argument of these tests holds one. */
static void
read_line(struct read *r, const char *line)
{
    char *text = strdup(line), *rest = text, *part, *argv[ARGS_MAX];
    int argc = 0;

    argv[argc++] = (char *)(uintptr_t) "causewayd";
    while ((part = strsep(&rest, " ")) != NULL)
        argv[argc++] = part;
    r->why[0] = '\0';
    r->ok = cw_options_read(&r->o, argc, argv, r->why);
    free(text);
}

#define HOST \
    "--host h1 --domain site=dc1,rack=r2 --listen 127.0.0.1:0 --store /a --join 127.0.0.1:9"

/* Every key of a host lands where it belongs. */
static void
host_is_understood(void **state)
{
    struct read r;

    read_line(&r, HOST " --store=/b:c:2G --site-kind cloud --memory 256M --unix /s "
                       "--advertise 10.0.0.1:70 --log-level debug");
    assert_true(r.ok);
    assert_int_equal(r.o.role, CW_ROLE_HOST);
    assert_int_equal(r.o.action, CW_ACT_RUN);
    assert_string_equal(r.o.host, "h1");
    assert_string_equal(r.o.site, "dc1");
    assert_string_equal(r.o.rack, "r2");
    assert_string_equal(r.o.region, "");
    assert_int_equal(r.o.n_stores, 2);
    assert_string_equal(r.o.stores[0].path, "/a");
    assert_int_equal(r.o.stores[0].bytes, 0);
    assert_string_equal(r.o.stores[1].path, "/b:c");
    assert_int_equal(r.o.stores[1].bytes, 2 * CW_GIB);
    assert_true(r.o.is_cloud);
    assert_int_equal(r.o.memory_bytes, 256 * CW_MIB);
    assert_string_equal(r.o.unix_path, "/s");
    assert_string_equal(r.o.advertise, "10.0.0.1:70");
    assert_int_equal(r.o.log_level, CW_LOG_DEBUG);
    assert_int_equal(r.o.store_discard, CW_STORE_DISCARD_DEVICES);
    cw_options_fini(&r.o);
}

/* --store-discard alone means yes; devices can be left alone too. */
static void
discard_has_three_ways(void **state)
{
    static const struct {
        const char *line;
        enum cw_store_discard want;
    } cases[] = {
        { HOST, CW_STORE_DISCARD_DEVICES },
        { HOST " --store-discard", CW_STORE_DISCARD_YES },
        { "--store-discard " HOST, CW_STORE_DISCARD_YES },
        { HOST " --store-discard=yes", CW_STORE_DISCARD_YES },
        { HOST " --store-discard=no", CW_STORE_DISCARD_NO },
    };

    for (size_t i = 0; i < CW_LEN(cases); i++) {
        struct read r;

        read_line(&r, cases[i].line);
        assert_true(r.ok);
        assert_int_equal(r.o.store_discard, cases[i].want);
        cw_options_fini(&r.o);
    }
}

/* What makes no sense is refused with a line that names it. */
static void
nonsense_is_named(void **state)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        { "--nonsense", "--nonsense" },
        { "nonsense", "nonsense" },
        { "--host", "--host" },
        { "--host x", "--store" },
        { "--host a/b --store /a", "a/b" },
        { HOST " --host h2", "--host is given twice" },
        { HOST " --site-kind moon", "moon" },
        { HOST " --memory 12x", "12x" },
        { HOST " --memory 1M", "64M" },
        { HOST " --store /b --store /c --memory 64M", "32M for each store" },
        { HOST " --store-discard=often", "often" },
        { HOST " --store-discard --store-discard=no", "given twice" },
        { HOST " --store-discard --store-discard", "--store-discard" },
        { HOST " --http 127.0.0.1", "not ADDR:PORT" },
        { HOST " --metadata lmdb:/d", "--role manager" },
        { HOST " --metadata etcd:", "etcd:URL" },
        { HOST " --metadata-user x", "only with --metadata etcd" },
        { HOST " --metadata etcd:http://x --metadata-user x", "go together" },
        { HOST " --metadata etcd:http://x --metadata-cert x", "go together" },
        { HOST " --metadata etcd:http://x --metadata-prefix x", "/NAME" },
        { HOST " --bootstrap", "--metadata etcd:URL" },
        { HOST " --log-level loud", "loud" },
        { HOST " --force", "--force" },
        { HOST " --role ghost", "ghost" },
        { HOST " --config /does/not/exist", "/does/not/exist" },
        { "--host h --domain rack=r --listen 1.2.3.4:1 --store /a --join a:1", "site" },
        { "--host h --domain site=a,moon=b --listen 1.2.3.4:1 --store /a --join a:1", "moon" },
        { "--host h --domain car --listen 1.2.3.4:1 --store /a --join a:1", "not auto" },
        { "--host h --domain auto,moon=b --listen 1.2.3.4:1 --store /a --join a:1", "moon" },
        { HOST " --site-attributes volatile", "not key=value" },
        { HOST " --site-attributes volatile=maybe", "yes or no" },
        { HOST " --site-attributes price=1.2.3", "not an amount" },
        { HOST " --site-attributes price=1.", "not an amount" },
        { HOST " --site-attributes price=", "not an amount" },
        { HOST " --site-attributes price=-1", "not an amount" },
        { HOST " --site-attributes provider=a/b", "a/b" },
        { HOST " --site-attributes moon=full", "moon" },
        { HOST " --instance-metadata 1.2.3.4:5", "only with --domain auto" },
        { "--host h --domain site=a --listen 0.0.0.0:1 --store /a --join a:1", "--advertise" },
        { "--host h --domain site=a --listen nowhere --store /a --join a:1", "nowhere" },
        { "--host h --domain site=a --listen 1.2.3.4:1 --store /a --join a", "--join a" },
        { "--host h --domain site=a --listen 1.2.3.4:1 --store /a", "--join" },
        { "--format", "--store" },
        { "--role manager --listen 127.0.0.1:0", "--metadata" },
        { "--role manager --metadata etcd:x --listen 127.0.0.1:0", "the hosts may lead" },
        { "--role manager --metadata lmdb: --listen 127.0.0.1:0", "lmdb" },
        { "--role manager --metadata lmdb:/d --listen 127.0.0.1:0 --store /a", "--store" },
    };

    for (size_t i = 0; i < CW_LEN(cases); i++) {
        struct read r;

        read_line(&r, cases[i].line);
        if (r.ok || strstr(r.why, cases[i].says) == NULL)
            print_error("\"%s\" gave \"%s\"\n", cases[i].line, r.why);
        assert_false(r.ok);
        assert_non_null(strstr(r.why, cases[i].says));
        cw_options_fini(&r.o);
    }
}

/* On an instance of a cloud the rest is found out at the start. */
static void
domain_may_be_found_out(void **state)
{
    struct read r;

    read_line(&r, "--host h --domain auto,rack=r2 --listen 1.2.3.4:1 --store /a --join a:1 "
                  "--instance-metadata 127.0.0.1:80");
    assert_true(r.ok && r.o.domain_auto && r.o.is_cloud);
    assert_string_equal(r.o.site, "");
    assert_string_equal(r.o.rack, "r2");
    assert_string_equal(r.o.instance_metadata, "127.0.0.1:80");
    cw_options_fini(&r.o);
    read_line(&r, "--host h --domain auto --site-kind on-premise --listen 1.2.3.4:1 --store /a "
                  "--join a:1");
    assert_true(r.ok && r.o.domain_auto && !r.o.is_cloud);
    cw_options_fini(&r.o);
}

static void
sites_have_attributes(void **state)
{
    static const struct {
        const char *text;
        uint64_t micros;
    } prices[] = { { "0.09", 90000 }, { "2", 2000000 }, { "0.000001", 1 }, { "12.5", 12500000 } };
    char line[256];
    struct read r;

    for (size_t i = 0; i < CW_LEN(prices); i++) {
        snprintf(line, sizeof(line), HOST " --site-attributes provider=aws,price=%s,volatile=yes",
                 prices[i].text);
        read_line(&r, line);
        assert_true(r.ok && r.o.is_volatile);
        assert_string_equal(r.o.provider, "aws");
        assert_int_equal(r.o.egress_micros, prices[i].micros);
        cw_options_fini(&r.o);
    }
}

/* With etcd a host hears from there who leads. */
static void
etcd_needs_no_join(void **state)
{
    struct read r;

    read_line(&r, "--host h --domain site=a --listen 1.2.3.4:1 --store /a --bootstrap "
                  "--metadata etcd:http://a:2379,https://b:2379 --metadata-prefix /prod "
                  "--metadata-user u --metadata-password-file /p --metadata-ca /c");
    assert_true(r.ok);
    assert_true(r.o.bootstrap);
    assert_null(r.o.join);
    assert_string_equal(r.o.metadata, "etcd:http://a:2379,https://b:2379");
    assert_string_equal(r.o.metadata_prefix, "/prod");
    cw_options_fini(&r.o);
}

/* Formatting, the manager, help and version need nothing of a host. */
static void
other_actions_need_less(void **state)
{
    struct read r;

    read_line(&r, "--format --store /a:1G --force");
    assert_true(r.ok);
    assert_int_equal(r.o.action, CW_ACT_FORMAT);
    assert_true(r.o.force);
    assert_int_equal(r.o.stores[0].bytes, CW_GIB);
    cw_options_fini(&r.o);
    read_line(&r, "--role manager --metadata lmdb:/d --listen 127.0.0.1:0 --bootstrap");
    assert_true(r.ok);
    assert_int_equal(r.o.role, CW_ROLE_MANAGER);
    assert_true(r.o.bootstrap);
    cw_options_fini(&r.o);
    read_line(&r, "--help");
    assert_true(r.ok && r.o.action == CW_ACT_HELP);
    cw_options_fini(&r.o);
    read_line(&r, "--version");
    assert_true(r.ok && r.o.action == CW_ACT_VERSION);
    cw_options_fini(&r.o);
}

/* A file gives what the command line leaves open; a bad line is named by its number. */
static void
file_fills_the_gaps(void **state)
{
    char path[] = "/tmp/cw-options-XXXXXX", line[128];
    int fd = mkstemp(path);
    struct read r;

    assert_true(fd >= 0);
    dprintf(fd, "# a host\nhost = h7\n\ndomain=site=dc1\nlisten = 127.0.0.1:0\n"
                "store = /a\nstore = /b:1G\njoin = 127.0.0.1:9\n");
    snprintf(line, sizeof(line), "--config %s --host h8", path);
    read_line(&r, line);
    assert_string_equal(r.why, "");
    assert_true(r.ok);
    assert_string_equal(r.o.host, "h8");
    assert_string_equal(r.o.site, "dc1");
    assert_int_equal(r.o.n_stores, 2);
    cw_options_fini(&r.o);
    dprintf(fd, "moon = full\n");
    read_line(&r, line);
    assert_false(r.ok);
    assert_non_null(strstr(r.why, ":9: unknown key moon"));
    cw_options_fini(&r.o);
    close(fd);
    unlink(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_is_understood),      cmocka_unit_test(discard_has_three_ways),
        cmocka_unit_test(domain_may_be_found_out), cmocka_unit_test(sites_have_attributes),
        cmocka_unit_test(nonsense_is_named),       cmocka_unit_test(etcd_needs_no_join),
        cmocka_unit_test(other_actions_need_less), cmocka_unit_test(file_fills_the_gaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
