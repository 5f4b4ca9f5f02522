/* The etcd client against real members, which are killed, restarted and paused. */
#include "tests/unit/metadata/etcd-node.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "tests/unit/metadata/etcd-certs.h"
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
    static char keys[20000][24];
    static uint8_t value[100];
    struct cw_kv_op *ops = calloc(CW_LEN(keys), sizeof(*ops));
    struct cw_kv_compare *compares = calloc(CW_LEN(keys), sizeof(*compares));
    static const size_t sizes[] = { 127, 128, 700, 5000 };
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

        if (commit_all(&r.a, compares, n, ops, n, &version) != CW_KV_APPLIED)
            fail_msg("%zu: %s", n, r.l.last_warning);
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
    assert_int_equal(commit_all(&r.a, NULL, 0, ops, 5000, NULL), CW_KV_APPLIED);
    assert_null(cw_etcd_kv(r.a.e)->refused);
    assert_int_equal(commit_all(&r.a, NULL, 0, ops, 14000, NULL), CW_KV_UNAVAILABLE);
    assert_non_null(strstr(cw_etcd_kv(r.a.e)->refused, "too large; see its --max-txn-ops"));
    assert_int_equal(commit_all(&r.a, NULL, 0, ops, CW_LEN(keys), NULL), CW_KV_UNAVAILABLE);
    assert_non_null(strstr(cw_etcd_kv(r.a.e)->refused, "and --max-request-bytes"));
    assert_int_equal(dump_all(&r.a, "/s/").n, 4999);
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

/* ---- three members, and what befalls them ---- */

/* Counts under /n, one transaction after another, by whoever leads. Each leaves a key of its own.
 */
struct counter {
    struct rig *r;
    uint64_t value; /* as far as is known */
    unsigned n_sure, n_doubts;
    bool doubt; /* one more may have been counted */
    uint64_t slowest_ns;
    void (*strike)(struct etcd_cluster *, unsigned i); /* once, in the middle of a transaction */
    unsigned victim;
};

static bool
somebody_leads(void *arg)
{
    const struct rig *r = arg;

    assert_false(r->a.leads && r->b.leads);
    return r->a.leads || r->b.leads;
}

/* False: etcd or the leader went away meanwhile. */
static bool
counter_read(struct counter *c, struct node *n, uint64_t *ret_version)
{
    struct dump d = dump_all(n, "/n");
    uint64_t value;

    if (d.result != CW_KV_APPLIED)
        return false;
    value = d.n == 0 ? 0 : strtoull(d.text + 3, NULL, 10);
    if (value != c->value && !(c->doubt && value == c->value + 1))
        fail_msg("%" PRIu64 " was counted, not %" PRIu64 "%s", value, c->value,
                 c->doubt ? " or one more" : "");
    if (value != c->value)
        c->doubt = false;
    c->value = value;
    *ret_version = d.n == 0 ? 0 : d.versions[0];
    return true;
}

static bool
counter_try(struct counter *c, struct node *n)
{
    char number[24], key[40];
    struct cw_kv_compare compares[2] = { { "/n", 0 }, { key, 0 } };
    struct cw_kv_op ops[2];
    struct commit commit;
    enum cw_kv_result res;

    if (!n->leads || !counter_read(c, n, &compares[0].version))
        return false;
    snprintf(number, sizeof(number), "%" PRIu64, c->value + 1);
    snprintf(key, sizeof(key), "/t/%08" PRIu64, c->value + 1);
    ops[0] = op_put("/n", number);
    ops[1] = op_put(key, number);
    commit_begin(&commit, n, compares, 2, ops, 2);
    if (c->strike != NULL) {
        loop_for_ms(n->l, 1);
        c->strike(&c->r->c, c->victim);
        c->strike = NULL;
    }
    assert_true(loop_until(n->l, loop_is_set, &commit.done));
    res = commit.result;
    if (res == CW_KV_CONFLICT)
        assert_true(c->doubt); /* the one in doubt came late */
    if (res == CW_KV_APPLIED) {
        c->value++;
        c->n_sure++;
        c->doubt = false; /* this one excludes it, or was made after it */
    }
    c->doubt |= res == CW_KV_UNKNOWN;
    c->n_doubts += res == CW_KV_UNKNOWN;
    return res == CW_KV_APPLIED;
}

/* n that are sure, each within 10 s. */
static void
counter_go(struct counter *c, unsigned n)
{
    struct loop *l = &c->r->l;

    for (unsigned want = c->n_sure + n; c->n_sure < want;) {
        uint64_t begun = cw_now_ns(l->env);

        while (true) {
            assert_true(loop_until(l, somebody_leads, c->r));
            if (counter_try(c, c->r->a.leads ? &c->r->a : &c->r->b))
                break;
            if (cw_now_ns(l->env) - begun > 10 * CW_NS_PER_S)
                fail_msg("nothing could be counted for 10 s");
            loop_for_ms(l, 20);
        }
        c->slowest_ns = cw_max_u64(c->slowest_ns, cw_now_ns(l->env) - begun);
    }
}

static void
counter_check(struct counter *c)
{
    uint64_t version;

    assert_true(counter_read(c, &c->r->a, &version));
    assert_int_equal(dump_all(&c->r->a, "/t/").n, c->value);
    assert_true(c->value >= c->n_sure && c->value <= c->n_sure + c->n_doubts);
    print_message("%" PRIu64 " counted, %u in doubt, the slowest took %" PRIu64 " ms\n", c->value,
                  c->n_doubts, c->slowest_ns / CW_NS_PER_MS);
}

static void
members_killed_in_turn(void **state)
{
    struct rig r;
    struct counter c = { .r = &r };

    rig_init(&r, 3);
    counter_go(&c, 20);
    for (unsigned i = 0; i < 9; i++) {
        c.strike = etcd_member_kill;
        c.victim = i % 3;
        counter_go(&c, 30);
        etcd_member_start(&r.c, i % 3);
        counter_go(&c, 10);
        /* The next one dies only when this one serves, or there would be no quorum. */
        for (int k = 0; etcd_ctl(&r.c, "endpoint health") != 0; k++)
            assert_true(k < 100);
    }
    counter_check(&c);
    rig_fini(&r);
}

static void
member_stop(struct etcd_cluster *c, unsigned i)
{
    etcd_member_pause(c, i, true);
}

static void
members_paused_in_turn(void **state)
{
    struct rig r;
    struct counter c = { .r = &r };

    rig_init(&r, 3);
    for (unsigned i = 0; i < 9; i++) {
        c.strike = member_stop;
        c.victim = i % 3;
        counter_go(&c, 40);
        etcd_member_pause(&r.c, i % 3, false);
        counter_go(&c, 40);
    }
    counter_check(&c);
    rig_fini(&r);
}

static bool
nobody_leads(void *arg)
{
    const struct rig *r = arg;

    return !r->a.leads && !r->b.leads && !r->a.reachable;
}

static void
all_members_restarted(void **state)
{
    struct rig r;
    struct counter c = { .r = &r };

    rig_init(&r, 3);
    counter_go(&c, 30);
    for (unsigned i = 0; i < 3; i++)
        etcd_member_kill(&r.c, i);
    assert_true(loop_until(&r.l, nobody_leads, &r));
    assert_int_equal(dump_all(&r.a, "").result, CW_KV_UNAVAILABLE);
    assert_int_equal(commit_put(&r.a, "/x", "1"), CW_KV_UNAVAILABLE);
    for (unsigned i = 0; i < 3; i++)
        etcd_member_start(&r.c, i);
    counter_go(&c, 30);
    assert_int_equal(dump_all(&r.a, "/x").n, 0);
    counter_check(&c);
    rig_fini(&r);
}

/* ---- a leader that sleeps, and does not know it ---- */

static void
child_run(const char *urls, int say)
{
    struct loop l;
    struct node n;
    char number[24];

    loop_init(&l);
    assert_int_equal(node_init(&n, &l, urls, "127.0.0.1:9", NULL), 0);
    cw_etcd_campaign(n.e, true);
    for (unsigned i = 0;; i++) {
        enum cw_kv_result res;
        bool led = n.leads;

        snprintf(number, sizeof(number), "%u", i);
        res = commit_put(&n, "/child", number);
        if (led && write(say, res == CW_KV_APPLIED ? "+" : "-", 1) != 1)
            _exit(1);
        if (!led)
            loop_for_ms(&l, 5);
    }
}

static char
child_heard(int fd, char want)
{
    char c = 0;

    while (c != want && read(fd, &c, 1) == 1)
        ;
    return c;
}

static bool
b_alone_leads(void *arg)
{
    const struct rig *r = arg;

    return r->b.leads;
}

/* The first thing it does when it wakes is a transaction: it changes nothing any more. */
static void
a_leader_that_slept_commits_nothing(void **state)
{
    struct rig r = { 0 };
    struct dump d;
    int fd[2];
    pid_t pid;

    etcd_cluster_init(&r.c, 1, NULL);
    assert_int_equal(pipe(fd), 0);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        child_run(r.c.urls, fd[1]);
    }
    close(fd[1]);
    assert_int_equal(child_heard(fd[0], '+'), '+');
    loop_init(&r.l);
    assert_int_equal(node_init(&r.b, &r.l, r.c.urls, "127.0.0.1:2", NULL), 0);
    cw_etcd_campaign(r.b.e, true);
    kill(pid, SIGSTOP);
    assert_true(loop_until(&r.l, b_alone_leads, &r));
    assert_int_equal(commit_put(&r.b, "/b", "1"), CW_KV_APPLIED);
    kill(pid, SIGCONT);
    assert_int_equal(child_heard(fd[0], '-'), '-');
    loop_for_ms(&r.l, 300);
    assert_true(r.b.leads);
    d = dump_all(&r.b, "");
    assert_int_equal(d.n, 2); /* /b, /child */
    assert_true(d.versions[1] < d.versions[0]);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fd[0]);
    node_fini(&r.b);
    cw_service_free(r.l.s);
    etcd_cluster_fini(&r.c);
}

/* ---- TLS, users ---- */

static bool
a_is_told(void *arg)
{
    const struct rig *r = arg;

    return r->a.told;
}

static void
etcd_asks_for_certificate_and_password(void **state)
{
    struct etcd_certs certs;
    struct rig r = { 0 };
    struct cw_etcd_opts opts;
    char path[] = "/tmp/cw-password-XXXXXX", ctl[400];
    int fd = mkstemp(path);

    if (!openssl_is_installed())
        skip();
    assert_int_equal(write(fd, "s3cret\n", 7), 7);
    close(fd);
    etcd_certs_init(&certs);
    etcd_cluster_init(&r.c, 1, certs.dir);
    loop_init(&r.l);
    opts = (struct cw_etcd_opts){ .ca_file = certs.ca,
                                  .cert_file = certs.client,
                                  .key_file = certs.client_key };
    assert_int_equal(node_init(&r.b, &r.l, r.c.urls, "127.0.0.1:2", &opts), 0);
    if (!loop_until(&r.l, node_reachable, &r.b))
        fail_msg("%s", r.b.unreachable_why);
    snprintf(ctl, sizeof(ctl), "--cacert %s --cert %s --key %s", certs.ca, certs.client,
             certs.client_key);
    setenv("CTL", ctl, 1);
    assert_int_equal(etcd_ctl(&r.c, "$CTL user add root:root && etcdctl --endpoints $URLS $CTL "
                                    "user add causeway:s3cret && etcdctl --endpoints $URLS $CTL "
                                    "role add causeway && etcdctl --endpoints $URLS $CTL role "
                                    "grant-permission --prefix=true causeway readwrite /causeway/ "
                                    "&& etcdctl --endpoints $URLS $CTL user grant-role causeway "
                                    "causeway && etcdctl --endpoints $URLS $CTL auth enable"),
                     0);
    assert_int_equal(dump_all(&r.b, "").result, CW_KV_UNAVAILABLE);
    opts.user_name = "causeway";
    opts.password_file = path;
    assert_int_equal(node_init(&r.a, &r.l, r.c.urls, "127.0.0.1:1", &opts), 0);
    cw_etcd_campaign(r.a.e, true);
    if (!loop_until(&r.l, node_leads, &r.a))
        fail_msg("%s, %s", r.a.unreachable_why, r.l.last_warning);
    assert_int_equal(commit_put(&r.a, "/a", "1"), CW_KV_APPLIED);
    assert_string_equal(dump_all(&r.a, "").text, "/a=1;");
    etcd_member_kill(&r.c, 0); /* tokens are forgotten */
    etcd_member_start(&r.c, 0);
    assert_true(loop_until(&r.l, a_is_told, &r));
    while (commit_put(&r.a, "/a", "2") != CW_KV_APPLIED)
        loop_for_ms(&r.l, 50);
    node_fini(&r.a);
    opts.user_name = NULL;
    opts.password_file = NULL;
    assert_int_equal(node_init(&r.a, &r.l, r.c.urls, "127.0.0.1:1", &opts), 0);
    assert_int_equal(dump_all(&r.a, "").result, CW_KV_UNAVAILABLE);
    rig_fini(&r);
    etcd_certs_fini(&certs);
    unlink(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(etcd_keeps_what_was_committed),
        cmocka_unit_test(etcd_takes_large_transactions),
        cmocka_unit_test(another_leads_when_the_leader_goes),
        cmocka_unit_test(members_killed_in_turn),
        cmocka_unit_test(members_paused_in_turn),
        cmocka_unit_test(all_members_restarted),
        cmocka_unit_test(a_leader_that_slept_commits_nothing),
        cmocka_unit_test(etcd_asks_for_certificate_and_password),
    };

    if (!etcd_is_installed()) {
        printf("1..1\nok 1 - etcd members # SKIP etcd is not installed: apt-get install "
               "etcd-server etcd-client\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
