/* The etcd client against real members, which are killed, restarted and paused. */
#include "tests/unit/metadata/etcd-node.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/unit/metadata/etcd-proc.h"

struct rig {
    struct etcd_cluster c;
    struct loop l;
    struct node a, b;
};

static bool
reachable_and_known(void *arg)
{
    struct rig *r = arg;

    return node_reachable(&r->a) && node_reachable(&r->b);
}

/* a leads, b would like to. */
static void
rig_init(struct rig *r, unsigned n_members)
{
    *r = (struct rig){ 0 };
    etcd_cluster_init(&r->c, n_members, NULL);
    loop_init(&r->l);
    assert_int_equal(node_init(&r->a, &r->l, r->c.urls, "127.0.0.1:1", NULL), 0);
    assert_int_equal(node_init(&r->b, &r->l, r->c.urls, "127.0.0.1:2", NULL), 0);
    if (!loop_until(&r->l, reachable_and_known, r))
        fail_msg("etcd does not serve: %s", r->a.unreachable_why);
    cw_etcd_campaign(r->a.e, true);
    assert_true(loop_until(&r->l, node_leads, &r->a));
    cw_etcd_campaign(r->b.e, true);
}

static void
rig_fini(struct rig *r)
{
    node_fini(&r->a);
    node_fini(&r->b);
    cw_service_free(r->l.s);
    etcd_cluster_fini(&r->c);
}

/* ---- one member ---- */

static void
etcd_keeps_what_was_committed(void **state)
{
    struct cw_kv_op ops[] = { op_put("/b/2", "two"), op_put("/a", "one"), op_put("/b/1", "x") };
    struct cw_kv_op more[] = { op_put("/b/3", "three"), { .key = "/b/1" }, { .key = "/none" } };
    struct cw_kv_compare absent = { "/a", 0 }, present;
    uint64_t v1, v2;
    struct rig r;
    struct dump d;

    rig_init(&r, 1);
    assert_int_equal(dump_all(&r.a, "").n, 0);
    assert_int_equal(commit_all(&r.a, NULL, 0, ops, 3, &v1), CW_KV_APPLIED);
    assert_int_equal(commit_all(&r.a, NULL, 0, more, 3, &v2), CW_KV_APPLIED);
    assert_true(v1 > 0 && v2 > v1);
    d = dump_all(&r.b, ""); /* who does not lead reads too */
    assert_int_equal(d.result, CW_KV_APPLIED);
    assert_string_equal(d.text, "/a=one;/b/2=two;/b/3=three;");
    assert_int_equal(d.versions[0], v1);
    assert_int_equal(d.versions[2], v2);
    assert_string_equal(dump_all(&r.a, "/b/").text, "/b/2=two;/b/3=three;");
    assert_string_equal(dump_all(&r.a, "/c").text, "");
    assert_int_equal(commit_all(&r.a, &absent, 1, more, 1, NULL), CW_KV_CONFLICT);
    present = (struct cw_kv_compare){ "/b/2", v1 };
    assert_int_equal(commit_all(&r.a, &present, 1, more, 1, NULL), CW_KV_APPLIED);
    present.version = v2;
    assert_int_equal(commit_all(&r.a, &present, 1, more, 1, NULL), CW_KV_CONFLICT);
    assert_int_equal(commit_put(&r.b, "/a", "no"), CW_KV_UNAVAILABLE);
    assert_string_equal(dump_all(&r.b, "/a").text, "/a=one;");
    rig_fini(&r);
}

/* More than etcd takes in one list, and more than one page. */
static void
etcd_takes_large_transactions(void **state)
{
    static char keys[4032][24];
    static uint8_t value[200];
    struct cw_kv_op *ops = calloc(CW_LEN(keys), sizeof(*ops));
    struct cw_kv_compare *compares = calloc(CW_LEN(keys), sizeof(*compares));
    static const size_t sizes[] = { 127, 128, 700, 4032 };
    uint64_t version;
    struct rig r;

    rig_init(&r, 1);
    for (size_t i = 0; i < CW_LEN(keys); i++) {
        snprintf(keys[i], sizeof(keys[i]), "/s/%05zu", i);
        ops[i] = (struct cw_kv_op){ keys[i], value, sizeof(value) };
        compares[i].key = keys[i];
    }
    for (size_t k = 0; k < CW_LEN(sizes); k++) {
        size_t n = sizes[k];

        assert_int_equal(commit_all(&r.a, compares, n, ops, n, &version), CW_KV_APPLIED);
        assert_int_equal(dump_all(&r.a, "/s/").n, n);
        compares[n - 1].version = version - 1;
        for (size_t i = 0; i + 1 < n; i++)
            compares[i].version = version;
        assert_int_equal(commit_all(&r.a, compares, n, ops, n, NULL), CW_KV_CONFLICT);
        compares[n - 1].version = version;
        for (size_t i = 0; i < n; i++) {
            ops[i].value = NULL;
            compares[i].version = version;
        }
        assert_int_equal(commit_all(&r.a, compares, n, ops, n, NULL), CW_KV_APPLIED);
        assert_int_equal(dump_all(&r.a, "/s/").n, 0);
        for (size_t i = 0; i < n; i++) {
            ops[i].value = value;
            compares[i].version = 0;
        }
    }
    ops[0].key = "/t";
    assert_int_equal(commit_all(&r.a, NULL, 0, ops, 4032, NULL), CW_KV_APPLIED);
    free(ops);
    free(compares);
    rig_fini(&r);
}

static bool
a_leads_again(void *arg)
{
    struct rig *r = arg;

    return r->a.leads && !r->b.leads && strcmp(r->b.leader, "127.0.0.1:1") == 0;
}

static bool
b_leads(void *arg)
{
    struct rig *r = arg;

    return r->b.leads && !r->a.leads && strcmp(r->a.leader, "127.0.0.1:2") == 0 &&
           strcmp(r->b.leader, "127.0.0.1:2") == 0;
}

static bool
b_was_deposed(void *arg)
{
    const struct rig *r = arg;

    return r->b.n_deposed == 2;
}

static void
another_leads_when_the_leader_goes(void **state)
{
    struct rig r;

    rig_init(&r, 1);
    assert_int_equal(commit_put(&r.a, "/a", "1"), CW_KV_APPLIED);
    cw_etcd_resign(r.a.e, 60 * 1000);
    assert_true(loop_until(&r.l, b_leads, &r));
    assert_string_equal(r.a.deposed_why, "resigned");
    assert_int_equal(commit_put(&r.a, "/a", "2"), CW_KV_UNAVAILABLE);
    assert_int_equal(commit_put(&r.b, "/a", "3"), CW_KV_APPLIED);
    cw_etcd_campaign(r.b.e, false);
    cw_etcd_resign(r.a.e, 0); /* a stays away as it said */
    loop_for_ms(&r.l, 500);
    assert_false(r.a.leads || r.b.leads);
    assert_string_equal(r.a.leader, "");
    node_fini(&r.a);
    assert_int_equal(node_init(&r.a, &r.l, r.c.urls, "127.0.0.1:1", NULL), 0);
    cw_etcd_campaign(r.a.e, true);
    assert_true(loop_until(&r.l, a_leads_again, &r));
    cw_etcd_campaign(r.b.e, true);
    node_fini(&r.a); /* as if it had died: its lease must end first */
    assert_int_equal(node_init(&r.a, &r.l, r.c.urls, "127.0.0.1:1", NULL), 0);
    assert_true(loop_until(&r.l, b_leads, &r));
    assert_int_equal(etcd_ctl(&r.c, "del /causeway/mgr/leader"), 0);
    assert_true(loop_until(&r.l, b_was_deposed, &r));
    assert_string_equal(r.b.deposed_why, "the leader key is gone");
    rig_fini(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(etcd_keeps_what_was_committed),
        cmocka_unit_test(etcd_takes_large_transactions),
        cmocka_unit_test(another_leads_when_the_leader_goes),
    };

    if (!etcd_is_installed()) {
        printf("1..1\nok 1 - etcd members # SKIP etcd is not installed: apt-get install "
               "etcd-server etcd-client\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
