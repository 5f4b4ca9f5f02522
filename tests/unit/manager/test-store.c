#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

/* A store without a cluster is refused unless bootstrapping, and with one when bootstrapping. */
static void
bootstrap_happens_once(void **state)
{
    static struct world w;

    world_init(&w);
    world_stop_manager(&w);
    world_start_manager(&w, true);
    assert_non_null(strstr(w.why_not, "already holds a cluster"));
    world_stop_manager(&w);
    fakekv_fini(&w.kv);
    fakekv_init(&w.kv, &w.env);
    world_start_manager(&w, false);
    assert_non_null(strstr(w.why_not, "rebuild-metadata"));
    world_fini(&w);
}

static void
keep_managers(struct world *w, const union cw_mgr_reply *reply)
{
    for (size_t i = 0; i < reply->client_hello.n_managers && i < CW_LEN(w->text); i++)
        snprintf(w->text[i], sizeof(w->text[i]), "%s", reply->client_hello.managers[i]);
}

/* Where any host may lead, the first to do so makes the cluster, the others lead it; clients hear
 * of all, those that serve first. */
static void
any_host_may_lead(void **state)
{
    struct cw_mgr_call hello = { .kind = CW_MGR_CLIENT_HELLO,
                                 .req.client_hello = { .client_id = { { 9 } },
                                                       .name = "x",
                                                       .host = "",
                                                       .domain = { "", "", "", "" } } };
    static struct world w;

    world_init(&w);
    w.any_host = true;
    world_stop_manager(&w);
    world_start_manager(&w, true);
    assert_string_equal(w.why_not, "");
    world_three(&w);
    world_down(&w, 0);
    world_run(&w, 2 * CW_MGR_ABSENT_MS);
    w.keep = keep_managers;
    assert_int_equal(world_call(&w, NULL, &hello), CW_MGR_OK);
    assert_string_equal(w.text[0], "here");
    assert_string_equal(w.text[3], w.d[0].addr);
    assert_string_equal(w.text[4], "");
    world_stop_manager(&w);
    fakekv_fini(&w.kv);
    fakekv_init(&w.kv, &w.env);
    world_start_manager(&w, false);
    assert_non_null(strstr(w.why_not, "--bootstrap"));
    world_fini(&w);
}

/* A commit whose reply is lost is found to be in force: the caller is told to try again, and the
 * second try sees the truth. */
static void
lost_reply_is_found_in_force(void **state)
{
    static struct world w;

    world_init(&w);
    world_three(&w);
    w.kv.fault = FAKEKV_LOSE_REPLY;
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_UNAVAILABLE);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_EXISTS);
    world_client(&w, 0);
    w.kv.fault = FAKEKV_LOSE_REPLY;
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_UNAVAILABLE);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 2); /* 1 was granted, whoever heard of it */
    w.kv.fault = FAKEKV_LOSE_REPLY;
    assert_int_equal(world_change(&w, 0, 2, 1, 1, CW_MEMBER_OUT), CW_MGR_UNAVAILABLE);
    assert_int_equal(world_change(&w, 0, 2, 1, 1, CW_MEMBER_OUT), CW_MGR_OK);
    assert_true(w.change.applied);
    assert_int_equal(w.shards[0].cfg, 2);
    world_fini(&w);
}

/* What the store refuses for good is told as it says it. */
static void
a_refusal_of_the_store_is_told(void **state)
{
    static struct world w;

    world_init(&w);
    world_three(&w);
    w.kv.fault = FAKEKV_DOWN;
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_UNAVAILABLE);
    assert_string_equal(w.error.message, "the metadata store does not answer");
    w.kv.fault = FAKEKV_OK;
    w.kv.ops_max = 1;
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_UNAVAILABLE);
    assert_string_equal(w.error.message, "it is too large");
    world_fini(&w);
}

/* A commit that was lost is not in force: nothing was changed, and the next one is. */
static void
lost_request_is_found_missing(void **state)
{
    static struct world w;

    world_init(&w);
    world_three(&w);
    w.kv.fault = FAKEKV_LOSE_REQUEST;
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_UNAVAILABLE);
    assert_string_equal(world_word(&w, "v"), "");
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    world_fini(&w);
}

/* Another manager's change is met by the compare, read, and built upon. */
static void
conflict_is_read_and_tried_again(void **state)
{
    static struct world w;
    struct cw_rec rec;

    world_init(&w);
    world_three(&w);
    assert_true(fakekv_get(&w.kv, "/cluster", &rec));
    rec.cluster.next_volume_id = 40;
    fakekv_put(&w.kv, &rec);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_true(fakekv_get(&w.kv, "/vol/0000000000000028", &rec));
    assert_string_equal(rec.volume.name, "v");
    world_fini(&w);
}

/* With the store away, changes fail and say so, status still answers, and all is well after. */
static void
store_away_stops_changes_only(void **state)
{
    static struct world w;
    struct cw_mgr_call status = { .kind = CW_MGR_STATUS };

    world_init(&w);
    world_three(&w);
    w.kv.fault = FAKEKV_DOWN;
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_UNAVAILABLE);
    assert_int_equal(world_call(&w, NULL, &status), CW_MGR_OK);
    w.kv.fault = FAKEKV_OK;
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    world_fini(&w);
}

/* The manager may be stopped at any moment of a change; every call still ends, exactly once. */
static void
stop_at_any_moment(void **state)
{
    for (uint64_t us = 0; us < 6000; us += 500) {
        static struct world w;
        struct cw_mgr_call call;

        world_init(&w);
        world_three(&w);
        assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
        world_client(&w, 0);
        world_client(&w, 1);
        assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
        world_report(&w, w.c[0].session, 1, 1);
        call = (struct cw_mgr_call){ .kind = CW_MGR_STATUS };
        assert_int_equal(world_call(&w, w.c[1].session, &call), CW_MGR_OK);
        call.kind = CW_MGR_ATTACH;
        call.req.attach = (struct cw_mgr_attach){ .volume = "v" };
        w.done = false;
        cw_manager_call(w.m, w.c[1].session, &call);
        cw_simenv_run_for(&w.env, us * CW_NS_PER_US);
        world_stop_manager(&w);
        assert_true(w.done);
        world_fini(&w);
    }
}

static void
keep_events(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[0], sizeof(w->text[0]), "%s",
             r->events.n_events > 0 ? r->events.events[0].code : "");
    w->text[1][0] = (char)r->events.n_events;
}

/* Events are numbered without gaps, can be resumed from any number, waited for, and outlive the
 * manager. */
static void
events_are_numbered_and_kept(void **state)
{
    static struct world w;
    struct cw_mgr_call ls = { .kind = CW_MGR_EVENT_LS };

    world_init(&w);
    w.keep = keep_events;
    assert_int_equal(world_call(&w, NULL, &ls), CW_MGR_OK);
    assert_int_equal(w.text[1][0], 1);
    assert_string_equal(w.text[0], "CLUSTER_CREATED");
    w.keep = NULL;
    world_three(&w);
    world_stop_manager(&w);
    world_start_manager(&w, false);
    w.keep = keep_events;
    ls.req.event_ls = (struct cw_mgr_event_ls){ .after = 1, .max = 1 };
    assert_int_equal(world_call(&w, NULL, &ls), CW_MGR_OK);
    assert_string_equal(w.text[0], "HOST_JOINED");
    ls.req.event_ls = (struct cw_mgr_event_ls){ .max = 1, .newest = true };
    assert_int_equal(world_call(&w, NULL, &ls), CW_MGR_OK);
    assert_string_equal(w.text[0], "DISK_ADDED");
    assert_int_equal(w.text[1][0], 1);
    ls.req.event_ls = (struct cw_mgr_event_ls){ .after = 1000, .wait = true, .wait_ms = 3000 };
    assert_int_equal(world_call(&w, NULL, &ls), CW_MGR_OK);
    assert_int_equal(w.text[1][0], 0);
    world_fini(&w);
}

/* A record that lies under the key of another would be found by the one and changed by the other.
 */
static void
a_record_under_a_foreign_key_is_refused(void **state)
{
    static struct world w;
    struct cw_rec rec;

    world_init(&w);
    world_three(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    world_stop_manager(&w);
    assert_true(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    fakekv_put_at(&w.kv, "/vol/0000000000000002", &rec);
    world_start_manager(&w, false);
    assert_non_null(strstr(w.why_not, "/vol/0000000000000002 cannot be read"));
    world_fini(&w);
}

/* ---- changes of several volumes at once ---- */

#define N_AT_ONCE 8

struct at_once {
    struct cw_mgr_call call;
    struct cw_member want;
    struct cw_shard_rec rec; /* as its owner knows it */
    bool done, applied;
    enum cw_mgr_code code;
};

static void
at_once_done(struct cw_mgr_call *call)
{
    struct at_once *c = cw_container_of(call, struct at_once, call);

    c->done = true;
    c->code = call->error.code;
    c->applied = call->error.code == CW_MGR_OK && call->reply.change.applied;
}

/* That many volumes, each attached by client 0. */
static void
at_once_make(struct world *w, struct at_once *c)
{
    char name[8];

    world_init(w);
    world_three(w);
    world_client(w, 0);
    for (int i = 0; i < N_AT_ONCE; i++) {
        snprintf(name, sizeof(name), "v%d", i);
        assert_int_equal(world_create(w, name, CW_GIB, ""), CW_MGR_OK);
        assert_int_equal(world_attach(w, 0, name, false), CW_MGR_OK);
        c[i] = (struct at_once){ .rec = w->shards[0] };
    }
    world_run(w, 1000);
}

/* c's owner wants its first n members to be OUT. */
static void
at_once_ask(struct world *w, struct at_once *c, struct cw_member *want, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        want[i] = c->rec.members[i];
        want[i].state = CW_MEMBER_OUT;
        want[i].since_seq = 0;
    }
    c->done = false;
    c->call = (struct cw_mgr_call){ .kind = CW_MGR_CHANGE,
                                    .req.change = { .volume_id = CW_SHARD_VOLUME(c->rec.shard),
                                                    .gen = 1,
                                                    .shard = c->rec.shard,
                                                    .cfg = c->rec.cfg,
                                                    .want = want,
                                                    .n_want = n,
                                                    .why = "test" },
                                    .done = at_once_done };
    cw_manager_call(w->m, w->c[0].session, &c->call);
}

static void
at_once_ask_all(struct world *w, struct at_once *c)
{
    for (int i = 0; i < N_AT_ONCE; i++)
        at_once_ask(w, &c[i], &c[i].want, 1);
}

static void
at_once_wait(struct world *w, struct at_once *c)
{
    for (int i = 0; i < N_AT_ONCE; i++)
        assert_true(cw_simenv_run_until(&w->env, &c[i].done, 60 * CW_NS_PER_S));
    cw_manager_check(w->m);
}

/* What the store has of it. */
static uint32_t
at_once_cfg(const struct world *w, const struct at_once *c)
{
    struct cw_rec like = { .kind = CW_REC_SHARD, .shard.shard = c->rec.shard }, rec;
    char key[CW_KV_KEY_SIZE];

    assert_true(fakekv_get(&w->kv, cw_rec_key(&like, key), &rec));
    return rec.shard.cfg;
}

/* As many as wait share one transaction, and have its events in order; two changes of one volume do
 * not. */
static void
changes_of_volumes_share_a_transaction(void **state)
{
    static struct world w;
    struct at_once c[N_AT_ONCE], twice;
    uint64_t commits;

    at_once_make(&w, c);
    commits = w.kv.commits;
    at_once_ask_all(&w, c);
    at_once_wait(&w, c);
    assert_in_range(w.kv.commits - commits, 1, 2); /* a look at all may add its events */
    for (int i = 0; i < N_AT_ONCE; i++) {
        assert_true(c[i].applied);
        assert_int_equal(at_once_cfg(&w, &c[i]), c[i].rec.cfg + 1);
    }
    twice = c[0] = (struct at_once){ .rec = c[0].rec };
    twice.rec.cfg = c[0].rec.cfg = at_once_cfg(&w, &c[0]);
    at_once_ask(&w, &c[0], &c[0].want, 1);
    at_once_ask(&w, &twice, &twice.want, 1);
    at_once_wait(&w, c);
    assert_true(cw_simenv_run_until(&w.env, &twice.done, 60 * CW_NS_PER_S));
    assert_int_equal(at_once_cfg(&w, &c[0]), c[0].rec.cfg + 1);
    world_fini(&w);
}

/* What is refused, or knows an old record, is told so; the others take effect all the same. */
static void
a_change_that_is_refused_undoes_no_other(void **state)
{
    static struct world w;
    struct at_once c[N_AT_ONCE];
    struct cw_member all[CW_MEMBERS_MAX];

    at_once_make(&w, c);
    for (int i = 0; i < N_AT_ONCE; i++) {
        if (i == 2)
            c[i].rec.cfg += 5;
        at_once_ask(&w, &c[i], i == 4 ? all : &c[i].want, i == 4 ? 3 : 1);
    }
    at_once_wait(&w, c);
    for (int i = 0; i < N_AT_ONCE; i++) {
        assert_int_equal(c[i].code, i == 4 ? CW_MGR_LAST_COPY : CW_MGR_OK);
        assert_int_equal(c[i].applied, i != 4 && i != 2);
    }
    world_stop_manager(&w); /* the store has it so */
    world_start_manager(&w, false);
    assert_string_equal(w.why_not, "");
    for (int i = 0; i < N_AT_ONCE; i++)
        assert_int_equal(at_once_cfg(&w, &c[i]), i == 2 || i == 4 ? 1 : 2);
    world_fini(&w);
}

/* Another manager changed one of them: that one is told, the others are made, each alone. */
static void
a_conflict_is_of_one_volume_alone(void **state)
{
    static struct world w;
    struct at_once c[N_AT_ONCE];
    struct cw_rec rec = { .kind = CW_REC_SHARD };
    char key[CW_KV_KEY_SIZE];
    uint64_t commits;

    at_once_make(&w, c);
    rec.shard.shard = c[3].rec.shard;
    assert_true(fakekv_get(&w.kv, cw_rec_key(&rec, key), &rec));
    rec.shard.cfg += 7;
    fakekv_put(&w.kv, &rec);
    commits = w.kv.commits;
    at_once_ask_all(&w, c);
    at_once_wait(&w, c);
    for (int i = 0; i < N_AT_ONCE; i++) {
        assert_int_equal(c[i].code, CW_MGR_OK);
        assert_int_equal(c[i].applied, i != 3);
        assert_int_equal(at_once_cfg(&w, &c[i]), i == 3 ? 8 : 2);
    }
    assert_true(w.kv.commits - commits >= N_AT_ONCE);
    world_fini(&w);
}

/* A store that refuses so much at once is given less. */
static void
what_is_too_large_together_is_made_one_by_one(void **state)
{
    static struct world w;
    struct at_once c[N_AT_ONCE];

    at_once_make(&w, c);
    w.kv.ops_max = 4;
    at_once_ask_all(&w, c);
    at_once_wait(&w, c);
    for (int i = 0; i < N_AT_ONCE; i++)
        assert_true(c[i].applied);
    world_fini(&w);
}

/* A reply that is lost leaves all of them in doubt, and each is told so; what the store has is
 * known afterwards. */
static void
doubt_is_of_all_that_shared(void **state)
{
    static struct world w;
    struct at_once c[N_AT_ONCE];

    at_once_make(&w, c);
    w.kv.fault = FAKEKV_LOSE_REPLY;
    at_once_ask_all(&w, c);
    at_once_wait(&w, c);
    for (int i = 0; i < N_AT_ONCE; i++)
        assert_int_equal(c[i].code, CW_MGR_UNAVAILABLE);
    at_once_ask_all(&w, c); /* the same requests again */
    at_once_wait(&w, c);
    for (int i = 0; i < N_AT_ONCE; i++) {
        assert_true(c[i].applied);
        assert_int_equal(at_once_cfg(&w, &c[i]), 2);
    }
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bootstrap_happens_once),
        cmocka_unit_test(any_host_may_lead),
        cmocka_unit_test(lost_reply_is_found_in_force),
        cmocka_unit_test(lost_request_is_found_missing),
        cmocka_unit_test(a_refusal_of_the_store_is_told),
        cmocka_unit_test(conflict_is_read_and_tried_again),
        cmocka_unit_test(store_away_stops_changes_only),
        cmocka_unit_test(stop_at_any_moment),
        cmocka_unit_test(events_are_numbered_and_kept),
        cmocka_unit_test(a_record_under_a_foreign_key_is_refused),
        cmocka_unit_test(changes_of_volumes_share_a_transaction),
        cmocka_unit_test(a_change_that_is_refused_undoes_no_other),
        cmocka_unit_test(a_conflict_is_of_one_volume_alone),
        cmocka_unit_test(what_is_too_large_together_is_made_one_by_one),
        cmocka_unit_test(doubt_is_of_all_that_shared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
