/* The etcd client against a fake that fails as it is told. */
#include "tests/unit/metadata/etcd-node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "tests/unit/metadata/fake-etcd.h"

#define LEADER "/causeway/mgr/leader"
#define ME "127.0.0.1:1"

struct rig {
    struct loop l;
    struct fake f;
    struct node n;
    char urls[256];
    /* What becomes of the requests for path from the at-th on, n of them. */
    const char *path;
    enum fake_fault fault;
    unsigned at, times;
};

static enum fake_fault
rig_on_fault(struct fake *f, const char *path, unsigned n)
{
    struct rig *r = f->user;

    if (r->path == NULL || strcmp(path, r->path) != 0 || n < r->at || n >= r->at + r->times)
        return FAKE_SERVE;
    return r->fault;
}

/* The next `times` requests for path. */
static void
rig_fault(struct rig *r, const char *path, enum fake_fault fault, unsigned times)
{
    r->path = path;
    r->fault = fault;
    r->at = fake_count(&r->f, path);
    r->times = times;
}

static void
rig_begin(struct rig *r)
{
    *r = (struct rig){ 0 };
    loop_init(&r->l);
    fake_init(&r->f, &r->l, NULL);
    r->f.fault = rig_on_fault;
    r->f.user = r;
}

/* It leads. */
static void
rig_lead(struct rig *r, const char *urls)
{
    assert_int_equal(node_init(&r->n, &r->l, urls, ME, NULL), 0);
    cw_etcd_campaign(r->n.e, true);
    assert_true(loop_until(&r->l, node_leads, &r->n));
}

static void
rig_init(struct rig *r)
{
    rig_begin(r);
    rig_lead(r, r->f.url);
}

static void
rig_fini(struct rig *r)
{
    node_fini(&r->n);
    fake_fini(&r->f);
    cw_service_free(r->l.s);
}

/* ---- transactions ---- */

/* What one transaction comes to if its request meets that. */
static void
txn_meets(struct rig *r, enum fake_fault fault, enum cw_kv_result want, bool applied)
{
    rig_fault(r, "/v3/kv/txn", fault, 1);
    assert_int_equal(commit_put(&r->n, "/a", "new"), want);
    assert_string_equal(dump_all(&r->n, "/a").text, applied ? "/a=new;" : "/a=old;");
    fake_put(&r->f, "/causeway/a", "old");
}

static void
a_lost_answer_is_unknown(void **state)
{
    struct rig r;

    rig_init(&r);
    fake_put(&r.f, "/causeway/a", "old");
    txn_meets(&r, FAKE_SERVE, CW_KV_APPLIED, true);
    txn_meets(&r, FAKE_LOSE, CW_KV_UNKNOWN, true);
    txn_meets(&r, FAKE_HALF, CW_KV_UNKNOWN, true);
    txn_meets(&r, FAKE_CLOSE, CW_KV_UNKNOWN, false);
    txn_meets(&r, FAKE_HANG, CW_KV_UNKNOWN, false);
    assert_true(r.n.leads);
    rig_fini(&r);
}

static void
only_a_refusal_is_sure(void **state)
{
    static const struct {
        int status;
        const char *say;
        enum cw_kv_result want;
    } cases[] = {
        { 200, "no JSON", CW_KV_UNKNOWN },
        { 200, "{\"succeeded\":true}", CW_KV_UNKNOWN },
        { 200, "[]", CW_KV_UNKNOWN },
        { 200, "{\"header\":{\"cluster_id\":\"7\"},\"succeeded\":true}", CW_KV_UNKNOWN },
        { 200, "{\"header\":{\"cluster_id\":\"8\",\"revision\":\"9\"},\"succeeded\":true}",
          CW_KV_UNKNOWN },
        { 500, "{\"error\":\"etcdserver: request timed out\",\"code\":14}", CW_KV_UNKNOWN },
        { 500, "{\"error\":\"etcdserver: mvcc: database space exceeded\",\"code\":8}",
          CW_KV_UNKNOWN },
        { 502, "<html>", CW_KV_UNKNOWN },
        { 404, "404 page not found", CW_KV_UNKNOWN },
        { 400, "{\"error\":{\"message\":\"x\"},\"code\":\"y\"}", CW_KV_UNKNOWN },
        { 400, "{\"error\":\"etcdserver: too many operations in txn request\",\"code\":3}",
          CW_KV_UNAVAILABLE },
        { 400, "{\"error\":\"etcdserver: permission denied\",\"code\":7}", CW_KV_UNAVAILABLE },
    };
    struct rig r;

    rig_init(&r);
    fake_put(&r.f, "/causeway/a", "old");
    for (size_t i = 0; i < CW_LEN(cases); i++) {
        r.f.say_status = cases[i].status;
        r.f.say = cases[i].say;
        txn_meets(&r, FAKE_SAY, cases[i].want, false);
    }
    assert_true(r.n.leads);
    rig_fini(&r);
}

static void
what_was_not_sent_was_not_done(void **state)
{
    struct rig r;

    rig_init(&r);
    fake_down(&r.f);
    assert_int_equal(commit_put(&r.n, "/a", "1"), CW_KV_UNAVAILABLE);
    assert_int_equal(dump_all(&r.n, "").result, CW_KV_UNAVAILABLE);
    fake_up(&r.f);
    assert_true(loop_until(&r.l, node_leads, &r.n));
    assert_int_equal(commit_put(&r.n, "/a", "2"), CW_KV_APPLIED);
    rig_fini(&r);
}

static void
a_dead_endpoint_is_left(void **state)
{
    struct fake dead;
    struct rig r;

    rig_begin(&r);
    fake_init(&dead, &r.l, NULL);
    fake_down(&dead);
    snprintf(r.urls, sizeof(r.urls), "%s,%s/,%s", dead.url, dead.url, r.f.url);
    rig_lead(&r, r.urls);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(commit_put(&r.n, "/a", "1"), CW_KV_APPLIED);
        assert_int_equal(dump_all(&r.n, "/a").result, CW_KV_APPLIED);
    }
    fake_fini(&dead);
    rig_fini(&r);
}

/* Names are looked up without holding up the loop. */
static void
an_endpoint_may_be_a_name(void **state)
{
    struct rig r;

    rig_begin(&r);
    snprintf(r.urls, sizeof(r.urls), "http://localhost:%u", r.f.port);
    rig_lead(&r, r.urls);
    fake_down(&r.f); /* both families are tried meanwhile, none answers */
    for (int i = 0; i < 3; i++)
        assert_int_equal(commit_put(&r.n, "/a", "1"), CW_KV_UNAVAILABLE);
    fake_up(&r.f);
    assert_true(loop_until(&r.l, node_leads, &r.n));
    assert_int_equal(commit_put(&r.n, "/a", "1"), CW_KV_APPLIED);
    node_fini(&r.n);
    snprintf(r.urls, sizeof(r.urls), "http://no-such-host.invalid:%u", r.f.port);
    assert_int_equal(node_init(&r.n, &r.l, r.urls, ME, NULL), 0);
    assert_int_equal(dump_all(&r.n, "").result, CW_KV_UNAVAILABLE);
    rig_fini(&r);
}

/* OpenSSL writes its farewell into connections that are closed; nobody dies of it. */
static void
a_broken_pipe_is_an_error_alone(void **state)
{
    struct rig r;
    int fd[2];

    rig_init(&r);
    assert_int_equal(pipe(fd), 0);
    close(fd[0]);
    assert_int_equal(write(fd[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    close(fd[1]);
    rig_fini(&r);
}

/* Which of the two it meets first is chance; of the other one nothing counts. */
static void
another_cluster_is_not_believed(void **state)
{
    struct fake other, *own;
    struct rig r;

    rig_begin(&r);
    fake_init(&other, &r.l, NULL);
    other.cluster_id = 8;
    snprintf(r.urls, sizeof(r.urls), "%s,%s", r.f.url, other.url);
    rig_lead(&r, r.urls);
    own = fake_has(&other, LEADER) ? &other : &r.f;
    for (int i = 0; i < 3; i++) {
        fake_down(own);
        assert_int_not_equal(commit_put(&r.n, "/b", "2"), CW_KV_APPLIED);
        assert_int_equal(dump_all(&r.n, "").result, CW_KV_UNAVAILABLE);
        fake_up(own);
        assert_true(loop_until(&r.l, node_leads, &r.n));
        assert_int_equal(commit_put(&r.n, "/a", "1"), CW_KV_APPLIED);
    }
    assert_true(fake_has(own, "/causeway/a"));
    assert_int_equal(other.n_keys == 0 || r.f.n_keys == 0, 1);
    fake_fini(&other);
    rig_fini(&r);
}

/* The watch tells nothing; so the transaction itself finds out. */
static void
a_deposed_leader_commits_nothing(void **state)
{
    struct rig r;

    rig_init(&r);
    r.f.deaf = true;
    fake_put(&r.f, LEADER, NULL);
    fake_put(&r.f, LEADER, "127.0.0.1:2");
    assert_int_equal(commit_put(&r.n, "/a", "1"), CW_KV_UNAVAILABLE);
    assert_false(r.n.leads);
    assert_int_equal(dump_all(&r.n, "").n, 0);
    rig_fini(&r);
}

/* Somebody changes something between the pieces of a large transaction. */
static enum fake_fault
on_fault_meddle(struct fake *f, const char *path, unsigned n)
{
    struct rig *r = f->user;

    if (strcmp(path, "/v3/kv/txn") == 0 && n == r->at)
        fake_put(f, "/causeway/mgr/txn", "");
    return FAKE_SERVE;
}

static void
a_large_transaction_is_one(void **state)
{
    static char keys[300][16];
    struct cw_kv_op ops[300];
    struct cw_kv_compare compares[300];
    struct rig r;
    unsigned before;

    rig_init(&r);
    for (size_t i = 0; i < CW_LEN(keys); i++) {
        snprintf(keys[i], sizeof(keys[i]), "/s/%03zu", i);
        ops[i] = op_put(keys[i], "x");
        compares[i] = (struct cw_kv_compare){ keys[i], 0 };
    }
    before = fake_count(&r.f, "/v3/kv/txn");
    r.f.fault = on_fault_meddle;
    for (r.at = before + 1; r.at < before + 4; r.at++) {
        unsigned next = fake_count(&r.f, "/v3/kv/txn") + (r.at - before), at = r.at;

        r.at = next;
        assert_int_equal(commit_all(&r.n, compares, 300, ops, 300, NULL), CW_KV_CONFLICT);
        assert_int_equal(dump_all(&r.n, "/s").n, 0);
        r.at = at;
    }
    r.f.fault = NULL;
    assert_int_equal(commit_all(&r.n, compares, 300, ops, 300, NULL), CW_KV_APPLIED);
    assert_int_equal(dump_all(&r.n, "/s").n, 300);
    assert_int_equal(commit_all(&r.n, compares, 300, ops, 300, NULL), CW_KV_CONFLICT);
    rig_fini(&r);
}

/* ---- reads ---- */

static enum fake_fault
on_fault_compact(struct fake *f, const char *path, unsigned n)
{
    struct rig *r = f->user;

    if (strcmp(path, "/v3/kv/range") == 0 && n == r->at) {
        fake_put(f, "/causeway/k/00", "new");
        f->compacted = f->revision;
    }
    return FAKE_SERVE;
}

static void
a_read_begins_again_after_a_compaction(void **state)
{
    struct rig r;
    struct dump d;
    char key[32];

    rig_init(&r);
    for (int i = 0; i < 30; i++) {
        snprintf(key, sizeof(key), "/causeway/k/%02d", i);
        fake_put(&r.f, key, "v");
    }
    fake_put(&r.f, "/causeway2/k/xx", "not ours");
    r.f.page = 4;
    assert_int_equal(dump_all(&r.n, "").n, 30);
    r.at = fake_count(&r.f, "/v3/kv/range") + 3;
    r.f.fault = on_fault_compact;
    d = dump_all(&r.n, "/k/");
    assert_int_equal(d.result, CW_KV_APPLIED);
    assert_int_equal(d.n, 30);
    assert_memory_equal(d.text, "/k/00=new;/k/01=v;", 18);
    rig_fini(&r);
}

static void
a_read_that_makes_no_sense_fails(void **state)
{
#define KV(key, mod) "{\"key\":\"" key "\",\"mod_revision\":\"" mod "\"}"
#define ANSWER(kvs) "{\"header\":{\"cluster_id\":\"7\",\"revision\":\"9\"},\"kvs\":[" kvs "]}"
    /* L2NhdXNld2F5L2E= is /causeway/a, L2NhdXNld2F5L2I= is /causeway/b */
    static const char *const bad[] = {
        ANSWER(KV("L2NhdXNld2F5L2I=", "3") "," KV("L2NhdXNld2F5L2E=", "3")),
        ANSWER(KV("L2NhdXNld2F5L2E=", "3") "," KV("L2NhdXNld2F5L2E=", "3")),
        ANSWER(KV("L2NhdXNld2F5L2E=", "0")),
        ANSWER(KV("L2NhdXNld2F5L2E=", "10")),
        ANSWER(KV("L2NhdXNld2F5L2E=", "-3")),
        ANSWER(KV("L290aGVy", "3")),
        ANSWER(KV("L2NhdXNld2F5L2E", "3")),
        ANSWER(KV("", "3")),
        ANSWER("1"),
        "{\"header\":{\"cluster_id\":\"7\",\"revision\":\"9\"},\"kvs\":{}}",
        "{\"header\":{\"cluster_id\":\"7\",\"revision\":\"9\"},\"more\":true}",
        "{\"header\":{\"cluster_id\":\"7\"}}",
    };
    struct rig r;

    rig_begin(&r);
    assert_int_equal(node_init(&r.n, &r.l, r.f.url, ME, NULL), 0);
    assert_true(loop_until(&r.l, node_reachable, &r.n));
    for (size_t i = 0; i < CW_LEN(bad); i++) {
        struct dump d;

        r.f.say_status = 200;
        r.f.say = bad[i];
        rig_fault(&r, "/v3/kv/range", FAKE_SAY, 2);
        d = dump_all(&r.n, "");
        if (d.result != CW_KV_UNAVAILABLE || d.n != 0)
            fail_msg("taken: %s", bad[i]);
    }
    r.path = NULL;
    assert_int_equal(dump_all(&r.n, "").result, CW_KV_APPLIED);
    rig_fini(&r);
}

/* ---- leadership ---- */

static bool
is_deposed(void *arg)
{
    const struct node *n = arg;

    return n->n_deposed > 0;
}

static void
a_leader_whose_lease_ends_is_deposed(void **state)
{
    struct rig r;
    uint64_t first;

    rig_init(&r);
    first = r.f.revision;
    r.f.leases_end = true;
    assert_true(loop_until(&r.l, is_deposed, &r.n));
    r.f.leases_end = false;
    assert_string_equal(r.n.deposed_why, "the lease is over");
    assert_true(loop_until(&r.l, node_leads, &r.n));
    assert_true(r.f.revision > first + 1); /* the old key went first */
    assert_string_equal(r.n.leader, ME);
    rig_fini(&r);
}

/* It counts by itself: nothing answers any more, and what was under way is answered first. */
static void
a_leader_that_hears_nothing_is_deposed(void **state)
{
    struct cw_kv_op op = op_put("/a", "1");
    struct commit c;
    uint64_t begun;
    struct rig r;

    rig_init(&r);
    begun = cw_now_ns(r.l.env);
    rig_fault(&r, "/v3/lease/keepalive", FAKE_HANG, 1000);
    assert_true(loop_until(&r.l, is_deposed, &r.n));
    assert_true(cw_now_ns(r.l.env) - begun < (CW_ETCD_LEASE_S * 1000 + 500) * CW_NS_PER_MS);
    r.path = NULL;
    assert_true(loop_until(&r.l, node_leads, &r.n));
    rig_fault(&r, "/v3/kv/txn", FAKE_HANG, 1);
    commit_begin(&c, &r.n, NULL, 0, &op, 1);
    loop_for_ms(&r.l, 100);
    r.n.n_deposed = 0;
    fake_put(&r.f, LEADER, NULL);
    assert_true(loop_until(&r.l, is_deposed, &r.n));
    assert_true(c.done);
    assert_int_equal(c.result, CW_KV_UNKNOWN);
    rig_fini(&r);
}

/* Whoever made a key without being told does not take it up. */
static void
a_lost_campaign_is_revoked(void **state)
{
    struct rig r;

    rig_begin(&r);
    rig_fault(&r, "/v3/kv/txn", FAKE_LOSE, 1);
    rig_lead(&r, r.f.url);
    assert_true(fake_count(&r.f, "/v3/lease/revoke") >= 1);
    assert_int_equal(fake_count(&r.f, "/v3/lease/grant"), 2);
    assert_int_equal(commit_put(&r.n, "/a", "1"), CW_KV_APPLIED);
    rig_fini(&r);
}

static bool
follows_two(void *arg)
{
    const struct node *n = arg;

    return strcmp(n->leader, "127.0.0.1:2") == 0;
}

static bool
follows_three(void *arg)
{
    const struct node *n = arg;

    return strcmp(n->leader, "127.0.0.1:3") == 0;
}

/* However the watch breaks, who leads is known again. */
static void
a_watch_that_breaks_is_made_again(void **state)
{
    static const char *const lines[] = {
        "{\"result\":{\"header\":{\"cluster_id\":\"7\"},\"canceled\":true}}",
        "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}",
        "{\"result\":{\"header\":{\"cluster_id\":\"7\"},\"events\":[{}]}}",
        "{\"result\":{\"header\":{\"cluster_id\":\"9\"},\"events\":[]}}",
        "nonsense",
    };
    struct rig r;

    rig_begin(&r);
    fake_put(&r.f, LEADER, "127.0.0.1:2");
    assert_int_equal(node_init(&r.n, &r.l, r.f.url, ME, NULL), 0);
    cw_etcd_campaign(r.n.e, true);
    assert_true(loop_until(&r.l, follows_two, &r.n));
    for (size_t i = 0; i <= CW_LEN(lines) + 1; i++) {
        unsigned watches = fake_count(&r.f, "/v3/watch");

        while (fake_count(&r.f, "/v3/watch") == 0)
            loop_for_ms(&r.l, 5);
        if (i < CW_LEN(lines))
            fake_watch_say(&r.f, lines[i]);
        else if (i == CW_LEN(lines))
            fake_watch_close(&r.f);
        else
            r.f.deaf = true; /* a gap that nobody tells of */
        fake_put(&r.f, LEADER, NULL);
        fake_put(&r.f, LEADER, "127.0.0.1:3");
        assert_true(loop_until(&r.l, follows_three, &r.n));
        r.f.deaf = false;
        fake_put(&r.f, LEADER, "127.0.0.1:2");
        assert_true(loop_until(&r.l, follows_two, &r.n));
        assert_true(fake_count(&r.f, "/v3/watch") > watches || watches == 0);
    }
    assert_false(r.n.leads);
    rig_fini(&r);
}

static void
etcd_set_back_is_noticed(void **state)
{
    struct rig r;

    rig_begin(&r);
    fake_put(&r.f, LEADER, "127.0.0.1:2");
    r.f.revision = 1000;
    fake_put(&r.f, LEADER, "127.0.0.1:2");
    assert_int_equal(node_init(&r.n, &r.l, r.f.url, ME, NULL), 0);
    assert_true(loop_until(&r.l, follows_two, &r.n));
    fake_down(&r.f);
    r.f.revision = 10;
    fake_put(&r.f, LEADER, "127.0.0.1:3");
    fake_up(&r.f);
    assert_true(loop_until(&r.l, follows_three, &r.n));
    rig_fini(&r);
}

/* ---- who may ---- */

static void
write_password(char path[static 32], const char *text)
{
    int fd;

    strcpy(path, "/tmp/cw-password-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static bool
is_unreachable(void *arg)
{
    const struct node *n = arg;

    return n->told && !n->reachable;
}

static void
a_token_that_ended_is_renewed(void **state)
{
    char path[32];
    struct cw_etcd_opts opts = { .user_name = "causeway", .password_file = path };
    struct rig r;

    write_password(path, "secret\n");
    rig_begin(&r);
    strcpy(r.f.token, "one");
    strcpy(r.f.password, "secret");
    assert_int_equal(node_init(&r.n, &r.l, r.f.url, ME, &opts), 0);
    cw_etcd_campaign(r.n.e, true);
    assert_true(loop_until(&r.l, node_leads, &r.n));
    for (int i = 0; i < 3; i++) {
        snprintf(r.f.token, sizeof(r.f.token), "next%d", i);
        assert_int_equal(commit_put(&r.n, "/a", "1"), CW_KV_APPLIED);
    }
    assert_string_equal(dump_all(&r.n, "/a").text, "/a=1;");
    strcpy(r.f.password, "another");
    strcpy(r.f.token, "last");
    assert_int_equal(commit_put(&r.n, "/a", "2"), CW_KV_UNAVAILABLE);
    assert_true(loop_until(&r.l, is_unreachable, &r.n));
    assert_non_null(strstr(r.n.unreachable_why, "invalid user ID or password"));
    unlink(path);
    rig_fini(&r);
}

static void
options_that_make_no_sense_are_refused(void **state)
{
    static const struct {
        const char *urls;
        struct cw_etcd_opts opts;
        const char *why;
    } cases[] = {
        { "127.0.0.1:2379", { 0 }, "is no URL" },
        { "http://127.0.0.1:2379,", { 0 }, "is no URL" },
        { "http://a/b", { 0 }, "is no URL" },
        { "http://a:0", { 0 }, "is no URL" },
        { "ftp://a:1", { 0 }, "is no URL" },
        { "http://u:p@a:1", { 0 }, "is no URL" },
        { "http://127.0.0.1:1", { .prefix = "x" }, "prefix" },
        { "http://127.0.0.1:1", { .prefix = "/x/" }, "prefix" },
        { "http://127.0.0.1:1", { .user_name = "a" }, "password file" },
        { "http://127.0.0.1:1",
          { .user_name = "a", .password_file = "/nonexistent" },
          "No such file" },
        { "http://127.0.0.1:1", { .ca_file = "/nonexistent" }, "no URL is https" },
        { "https://127.0.0.1:1", { .ca_file = "/nonexistent" }, "CA file /nonexistent" },
        { "https://127.0.0.1:1", { .cert_file = "/nonexistent" }, "needs its key" },
    };
    struct loop l;

    loop_init(&l);
    for (size_t i = 0; i < CW_LEN(cases); i++) {
        struct node n;

        assert_true(node_init(&n, &l, cases[i].urls, ME, &cases[i].opts) < 0);
        if (strstr(n.why, cases[i].why) == NULL)
            fail_msg("%s: %s", cases[i].urls, n.why);
    }
    cw_service_free(l.s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_answer_is_unknown),
        cmocka_unit_test(only_a_refusal_is_sure),
        cmocka_unit_test(what_was_not_sent_was_not_done),
        cmocka_unit_test(a_dead_endpoint_is_left),
        cmocka_unit_test(an_endpoint_may_be_a_name),
        cmocka_unit_test(a_broken_pipe_is_an_error_alone),
        cmocka_unit_test(another_cluster_is_not_believed),
        cmocka_unit_test(a_deposed_leader_commits_nothing),
        cmocka_unit_test(a_large_transaction_is_one),
        cmocka_unit_test(a_read_begins_again_after_a_compaction),
        cmocka_unit_test(a_read_that_makes_no_sense_fails),
        cmocka_unit_test(a_leader_whose_lease_ends_is_deposed),
        cmocka_unit_test(a_leader_that_hears_nothing_is_deposed),
        cmocka_unit_test(a_lost_campaign_is_revoked),
        cmocka_unit_test(a_watch_that_breaks_is_made_again),
        cmocka_unit_test(etcd_set_back_is_noticed),
        cmocka_unit_test(a_token_that_ended_is_renewed),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
