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
    w.kv.kv.refused = "it is too large";
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
    ls.req.event_ls = (struct cw_mgr_event_ls){ .after = 1000, .wait = true, .wait_ms = 3000 };
    assert_int_equal(world_call(&w, NULL, &ls), CW_MGR_OK);
    assert_int_equal(w.text[1][0], 0);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
