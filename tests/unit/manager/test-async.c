/* The copy that follows in a site of its own: where it goes, what it may become, what it counts. */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

#define AWS 3 /* the first daemon there */

/* Three hosts in dc1, n_aws in aws; volume v has two copies in dc1 and one that follows in aws. */
static void
begin(struct world *w, int n_aws)
{
    static const char *const dc1[] = { "dc1-1", "dc1-2", "dc1-3" }, *const aws[] = { "aws-1",
                                                                                     "aws-2" };

    world_init(w);
    for (int i = 0; i < 3; i++)
        assert_int_equal(world_up(w, i, dc1[i], "dc1"), CW_MGR_OK);
    for (int i = 0; i < n_aws; i++)
        assert_int_equal(world_up(w, AWS + i, aws[i], "aws"), CW_MGR_OK);
    assert_int_equal(
        world_put_policy(
            w,
            (struct cw_mgr_policy){ .name = "p", .copies = 2, .sites = "only:dc1", .async = "aws" },
            true, false),
        CW_MGR_OK);
    world_client(w, 0);
    assert_int_equal(world_create(w, "v", CW_GIB, "p"), CW_MGR_OK);
    assert_int_equal(world_attach(w, 0, "v", false), CW_MGR_OK);
    w->c[0].tells_gen = 1;
}

static void
look(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = 1 };

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
}

/* The member that follows; -1: none. */
static int
follower(struct world *w)
{
    look(w);
    for (uint32_t i = 0; i < w->shards[0].n_members; i++) {
        if (w->shards[0].members[i].async)
            return (int)i;
    }
    return -1;
}

static enum cw_mgr_code
move(struct world *w, enum cw_member_state state)
{
    int i = follower(w);

    assert_true(i >= 0);
    return world_change(w, 0, 1, w->shards[0].cfg, i, state);
}

static void
follows(struct world *w)
{
    world_run(w, 2000);
    assert_int_equal(move(w, CW_MEMBER_IN_RESYNC), CW_MGR_OK);
    assert_int_equal(move(w, CW_MEMBER_LAGGING), CW_MGR_OK);
    world_run(w, 2000);
}

/* Beside the copies, not one of them: nothing is reduced by its want, and it never is in sync. */
static void
it_is_added_and_counts_for_nothing(void **state)
{
    static struct world w;

    begin(&w, 1);
    assert_string_equal(world_word(&w, "v"), "full");
    world_run(&w, 2000);
    assert_int_equal(follower(&w), 2);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(w.shards[0].members[2].state, CW_MEMBER_OUT);
    assert_int_equal(world_daemon_of(&w, 2), AWS);
    assert_string_equal(world_word(&w, "v"), "full");
    assert_true(world_finding(&w, "ASYNC_BEHIND", "v"));
    assert_int_equal(move(&w, CW_MEMBER_LAGGING), CW_MGR_BAD_REQUEST);
    assert_int_equal(move(&w, CW_MEMBER_IN_RESYNC), CW_MGR_OK);
    assert_int_equal(move(&w, CW_MEMBER_INSYNC), CW_MGR_BAD_REQUEST);
    assert_string_equal(world_word(&w, "v"), "full");
    assert_int_equal(move(&w, CW_MEMBER_LAGGING), CW_MGR_OK);
    assert_int_equal(move(&w, CW_MEMBER_INSYNC), CW_MGR_BAD_REQUEST);
    world_run(&w, 2000);
    assert_false(world_finding(&w, "ASYNC_BEHIND", NULL));
    assert_false(world_finding(&w, "VOLUME_NONCOMPLIANT", NULL));
    world_run(&w, 60 * 1000);
    assert_int_equal(follower(&w), 2);
    assert_int_equal(w.shards[0].n_members, 3);
    world_down(&w, AWS);
    world_run(&w, 10 * 1000);
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

/* Where it lies there is no place for one of the others, and where they lie none for it. */
static void
it_shares_no_host(void **state)
{
    static struct world w;
    struct cw_mgr_policy any = { .name = "p", .copies = 3, .sites = "any" };

    begin(&w, 1);
    follows(&w);
    any.async = "dc1";
    any.copies = 2;
    assert_int_equal(world_put_policy(&w, any, false, false), CW_MGR_OK);
    for (int i = 0; i < 4 && w.c[0].n_evict == 0; i++)
        world_run(&w, 5000);
    assert_int_equal(w.c[0].n_evict, 1);
    assert_true(cw_uuid_equal(&w.c[0].evict, &w.d[AWS].disk_uuid));
    assert_int_equal(move(&w, CW_MEMBER_DEAD), CW_MGR_OK);
    world_run(&w, 3000);
    assert_int_equal(w.d[AWS].n_dropped, 1);
    assert_int_equal(follower(&w), 2);
    for (int i = 0; i < 2; i++)
        assert_int_not_equal(world_daemon_of(&w, i), world_daemon_of(&w, 2));
    assert_true(world_daemon_of(&w, 2) < AWS);
    world_fini(&w);
}

/* A policy that wants none any more has it let go and dropped. */
static void
it_goes_with_the_policy(void **state)
{
    static struct world w;

    begin(&w, 1);
    follows(&w);
    assert_int_equal(
        world_put_policy(&w, (struct cw_mgr_policy){ .name = "p", .async = "none" }, false, false),
        CW_MGR_OK);
    for (int i = 0; i < 4 && w.c[0].n_evict == 0; i++)
        world_run(&w, 5000);
    assert_int_equal(w.c[0].n_evict, 1);
    assert_int_equal(move(&w, CW_MEMBER_DEAD), CW_MGR_OK);
    world_run(&w, 3000);
    assert_int_equal(follower(&w), -1);
    assert_int_equal(w.shards[0].n_members, 2);
    assert_int_equal(w.d[AWS].n_dropped, 1);
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

/* It goes elsewhere in its site when its host is away for as long as a copy is waited for, and
 * stays where it is if there is no other. */
static void
it_moves_within_its_site(void **state)
{
    static struct world w;

    begin(&w, 1);
    follows(&w);
    world_down(&w, AWS);
    assert_int_equal(move(&w, CW_MEMBER_OUT), CW_MGR_OK);
    world_run(&w, 3700 * 1000);
    assert_int_equal(world_daemon_of(&w, follower(&w)), AWS);
    assert_true(world_finding(&w, "ASYNC_BEHIND", "v"));
    assert_int_equal(world_up(&w, AWS + 1, "aws-2", "aws"), CW_MGR_OK);
    world_run(&w, 10 * 1000);
    assert_int_equal(world_daemon_of(&w, follower(&w)), AWS + 1);
    world_fini(&w);
}

/* What it is behind by its owner's word. */
static void
it_may_be_behind_by_so_much(void **state)
{
    static struct world w;
    struct cw_mgr_member_report mr = { .connected = true, .lag = 9 };
    struct cw_mgr_shard_report sr = {
        .shard = CW_SHARD_ID(1, 0), .why = "", .members = &mr, .n_members = 1
    };
    struct cw_mgr_volume_report r = { .volume_id = 1, .gen = 1, .shards = &sr, .n_shards = 1 };

    begin(&w, 1);
    follows(&w);
    w.c[0].tells_gen = 0;
    mr.disk_uuid = w.d[AWS].disk_uuid;
    mr.lag_ns = 50 * CW_NS_PER_S;
    cw_manager_report(w.m, w.c[0].session, &r);
    world_run(&w, 1500);
    assert_false(world_finding(&w, "ASYNC_BEHIND", NULL));
    mr.lag_ns = 70 * CW_NS_PER_S;
    cw_manager_report(w.m, w.c[0].session, &r);
    world_run(&w, 1500);
    assert_true(world_finding(&w, "ASYNC_BEHIND", "v"));
    assert_int_equal(
        world_put_policy(&w, (struct cw_mgr_policy){ .name = "p", .rpo_s = 100 }, false, false),
        CW_MGR_OK);
    cw_manager_report(w.m, w.c[0].session, &r);
    world_run(&w, 1500);
    assert_false(world_finding(&w, "ASYNC_BEHIND", NULL));
    world_fini(&w);
}

static void
keep_nothing(struct world *w, const union cw_mgr_reply *r)
{
}

/* With all others gone the volume is not served by it, unless an operator says that they are lost:
 * then it is a copy like any. */
static void
it_is_all_that_is_left(void **state)
{
    static struct world w;
    struct cw_mgr_call recover = {
        .kind = CW_MGR_VOLUME_RECOVER,
        .req.volume_recover = { .name = "v", .copy = "aws-1/store-0", .accept_loss = true }
    };

    begin(&w, 1);
    follows(&w);
    w.c[0].tells_gen = 0;
    world_client_down(&w, 0);
    for (int i = 0; i < 3; i++)
        world_down(&w, i);
    w.d[AWS].copies[0] = (struct cw_mgr_copy_state){ .shard = CW_SHARD_ID(1, 0),
                                                     .disk_uuid = w.d[AWS].disk_uuid,
                                                     .format_id = w.d[AWS].format_id,
                                                     .gen = 1,
                                                     .last_gen = 1,
                                                     .last_seq = 77 };
    w.d[AWS].n_copies = 1;
    world_down(&w, AWS);
    assert_int_equal(world_register(&w, AWS), CW_MGR_OK);
    world_run(&w, 8000);
    assert_string_equal(world_word(&w, "v"), "unavailable");
    w.keep = keep_nothing;
    assert_int_equal(world_call(&w, NULL, &recover), CW_MGR_OK);
    w.keep = NULL;
    look(&w);
    assert_int_equal(w.shards[0].n_members, 1);
    assert_int_equal(w.shards[0].members[0].state, CW_MEMBER_INSYNC);
    assert_false(w.shards[0].members[0].async);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_added_and_counts_for_nothing),
        cmocka_unit_test(it_shares_no_host),
        cmocka_unit_test(it_goes_with_the_policy),
        cmocka_unit_test(it_moves_within_its_site),
        cmocka_unit_test(it_may_be_behind_by_so_much),
        cmocka_unit_test(it_is_all_that_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
