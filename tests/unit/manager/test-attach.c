#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static void
begin(struct world *w)
{
    world_init(w);
    world_three(w);
    assert_int_equal(world_create(w, "v", CW_GIB, ""), CW_MGR_OK);
    world_client(w, 0);
    world_client(w, 1);
}

/* The first attach gets generation 1, clean, with three in-sync members and where they are; the
 * generation is in the store before the reply. */
static void
attach_grants_a_generation(void **state)
{
    static struct world w;
    struct cw_rec rec;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 1);
    assert_true(w.attach.released);
    assert_false(w.attach.cold_start);
    assert_int_equal(w.attach.n_shards, 1);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(w.attach.n_disks, 3);
    assert_true(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    assert_int_equal(rec.volume.gen, 1);
    assert_int_equal(rec.volume.hold, CW_HOLD_OWNED);
    world_fini(&w);
}

/* While a copy hears the owner, others are refused with who it is; force takes over. */
static void
volume_in_use_is_refused(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    w.d[1].seen = true;
    w.d[1].silent_ms = 300;
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_VOLUME_IN_USE);
    assert_non_null(strstr(w.error.message, "client-0"));
    assert_non_null(strstr(w.error.message, "desk"));
    assert_non_null(strstr(w.error.hint, "--force"));
    assert_int_equal(world_attach(&w, 1, "v", true), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 2);
    assert_false(w.attach.released);
    world_fini(&w);
}

/* An owner that no copy hears loses the volume at once; one silent for 4 s too. */
static void
silence_is_taken_over(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_run(&w, 4000);
    world_report(&w, w.c[0].session, 1, 1);
    w.d[0].seen = true;
    w.d[0].silent_ms = 4500;
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_OK);
    assert_int_equal(w.attach.gen, 2);
    assert_true(w.d[0].n_seen_asked == 1 && w.d[1].n_seen_asked == 1);
    world_fini(&w);
}

/* A daemon that does not answer is waited for 1 s, not longer. */
static void
a_mute_daemon_delays_by_a_second(void **state)
{
    static struct world w;
    uint64_t before;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_run(&w, 4000);
    world_report(&w, w.c[0].session, 1, 1);
    w.d[0].paused = true;
    before = w.env.now_ns;
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_OK);
    assert_in_range((w.env.now_ns - before) / CW_NS_PER_MS, 900, 1400);
    world_fini(&w);
}

static void
keep_copy_states(struct world *w, const union cw_mgr_reply *r)
{
    w->text[0][0] = 0;
    for (size_t i = 0; i < r->events.n_events; i++)
        w->text[0][0] += strcmp(r->events.events[i].code, "COPY_STATE") == 0;
}

/* The copies of a new volume are new until its first owner says otherwise, which nobody need hear
 * of; nothing makes them new again. */
static void
copies_are_new_once(void **state)
{
    static struct world w;
    struct cw_member want[CW_MEMBERS_MAX];
    struct cw_mgr_call call = { .kind = CW_MGR_CHANGE }, ls = { .kind = CW_MGR_EVENT_LS };
    uint32_t n;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    n = w.shards[0].n_members;
    for (uint32_t i = 0; i < n; i++) {
        want[i] = w.shards[0].members[i];
        assert_int_equal(want[i].since_seq, CW_SINCE_NEW);
        want[i].since_seq = 0;
    }
    call.req.change = (struct cw_mgr_change){ .volume_id = CW_SHARD_VOLUME(w.shards[0].shard),
                                              .gen = w.attach.gen,
                                              .shard = w.shards[0].shard,
                                              .cfg = w.shards[0].cfg,
                                              .want = want,
                                              .n_want = n,
                                              .why = "begins" };
    assert_int_equal(world_call(&w, w.c[0].session, &call), CW_MGR_OK);
    assert_true(w.change.applied);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(w.change.shard.members[i].since_seq, 0);
    w.keep = keep_copy_states;
    assert_int_equal(world_call(&w, NULL, &ls), CW_MGR_OK);
    assert_int_equal(w.text[0][0], 0);
    w.keep = NULL;
    want[0].since_seq = CW_SINCE_NEW;
    call.req.change.cfg++;
    call.req.change.n_want = 1;
    assert_int_equal(world_call(&w, w.c[0].session, &call), CW_MGR_BAD_REQUEST);
    world_fini(&w);
}

/* Where none answers, an owner that tells us that it serves is believed; not one that is gone. */
static void
a_partition_from_all_daemons_takes_nothing_away(void **state)
{
    static struct world w;

    for (int how = 0; how < 2; how++) {
        begin(&w);
        assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
        world_report(&w, w.c[0].session, 1, 1);
        for (int i = 0; i < 3; i++) {
            if (how == 0)
                w.d[i].paused = true;
            else
                world_down(&w, i);
        }
        assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_VOLUME_IN_USE);
        world_client_down(&w, 0);
        assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_OK);
        assert_int_equal(w.attach.gen, 2);
        world_fini(&w);
    }
}

static void
tell_suspended(struct world *w)
{
    struct cw_mgr_shard_report sr = { .shard = CW_SHARD_ID(1, 0), .suspended = true, .why = "" };
    struct cw_mgr_volume_report r = { .volume_id = 1, .gen = 1, .shards = &sr, .n_shards = 1 };

    cw_manager_report(w->m, w->c[0].session, &r);
}

/* All daemons lose power while an owner lives. It is suspended, has what they lost with their
 * memory, and finds them again within seconds: until then none of them can say that it is gone. */
static void
an_owner_outlives_its_copies(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_run(&w, 10000);
    for (int i = 0; i < 3; i++)
        world_down(&w, i);
    tell_suspended(&w);
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_VOLUME_IN_USE);
    for (int i = 0; i < 3; i++) {
        w.d[i].incarnation++;
        assert_int_equal(world_register(&w, i), CW_MGR_OK);
    }
    world_run(&w, 2000);
    tell_suspended(&w);
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_VOLUME_IN_USE);
    world_run(&w, 2000);
    tell_suspended(&w);
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_OK);
    world_fini(&w);
}

static bool attached;
static enum cw_mgr_code attached_code;

static void
attach_done(struct cw_mgr_call *call)
{
    attached = true;
    attached_code = call->error.code;
}

/* A manager that has just begun waits for the daemons with copies before it grants what somebody
 * owns: nobody that it could ask has registered yet. */
static void
a_new_manager_asks_the_copies_too(void **state)
{
    static struct world w;
    struct cw_mgr_call call = { .kind = CW_MGR_ATTACH,
                                .req.attach = { .volume = "v" },
                                .done = attach_done };

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    w.d[1].seen = true;
    w.d[1].silent_ms = 300;
    world_stop_manager(&w);
    world_start_manager(&w, false);
    world_client(&w, 1);
    attached = false;
    cw_manager_call(w.m, w.c[1].session, &call);
    world_run(&w, 1000);
    assert_int_equal(world_register(&w, 0), CW_MGR_OK);
    world_run(&w, 500);
    assert_int_equal(world_register(&w, 1), CW_MGR_OK);
    assert_int_equal(world_register(&w, 2), CW_MGR_OK);
    assert_false(attached);
    world_run(&w, 1500);
    assert_true(attached);
    assert_int_equal(attached_code, CW_MGR_VOLUME_IN_USE);
    world_fini(&w);
}

/* .. but for three seconds only, and not with force. */
static void
a_new_manager_does_not_wait_for_long(void **state)
{
    static struct world w;
    uint64_t before;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    for (int force = 0; force < 2; force++) {
        world_stop_manager(&w);
        world_start_manager(&w, false);
        world_client(&w, 1);
        before = w.env.now_ns;
        assert_int_equal(world_attach(&w, 1, "v", force), CW_MGR_OK);
        assert_in_range((w.env.now_ns - before) / CW_NS_PER_MS, force ? 0 : 2500,
                        force ? 10 : 3500);
        assert_int_equal(world_register(&w, 0), CW_MGR_OK);
    }
    world_fini(&w);
}

/* Of two clients that attach at the same instant one gets it and the other is told who. */
static void
two_at_once_get_one_owner(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_VOLUME_IN_USE);
    world_fini(&w);
}

/* Release is clean, repeatable, and of the owner's generation only. */
static void
release_is_clean_and_repeatable(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_release(&w, 1, 1, 1), CW_MGR_CONFLICT);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_OK);
    assert_true(w.attach.released);
    assert_int_equal(w.attach.gen, 2);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_CONFLICT);
    world_fini(&w);
}

/* A change compares gen and cfg; a mismatch shows the record, a repeat is recognised, a withdrawal
 * raises cfg and is not taken for a repeat. */
static void
change_is_a_compare_and_set(void **state)
{
    static struct world w;
    struct cw_mgr_call withdraw = { .kind = CW_MGR_CHANGE };

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 1, 2, CW_MEMBER_OUT), CW_MGR_OK);
    assert_true(w.change.applied);
    assert_int_equal(w.shards[0].cfg, 2);
    assert_int_equal(w.shards[0].members[2].state, CW_MEMBER_OUT);
    assert_int_equal(world_change(&w, 0, 1, 1, 2, CW_MEMBER_OUT), CW_MGR_OK);
    assert_true(w.change.applied); /* the same again */
    assert_int_equal(world_change(&w, 0, 1, 1, 1, CW_MEMBER_OUT), CW_MGR_OK);
    assert_false(w.change.applied); /* another one */
    assert_int_equal(w.shards[0].members[1].state, CW_MEMBER_INSYNC);

    withdraw.req.change = (struct cw_mgr_change){
        .volume_id = 1, .gen = 1, .shard = w.shards[0].shard, .cfg = 1, .why = ""
    };
    assert_int_equal(world_call(&w, w.c[0].session, &withdraw), CW_MGR_OK);
    assert_false(w.change.applied);
    withdraw.req.change.cfg = 2;
    assert_int_equal(world_call(&w, w.c[0].session, &withdraw), CW_MGR_OK);
    assert_true(w.change.applied);
    assert_int_equal(w.shards[0].cfg, 3);
    world_fini(&w);
}

/* The last in-sync copy is never removed, and OUT never becomes INSYNC without a resync. */
static void
last_copy_stays(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 1, 0, CW_MEMBER_OUT), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 2, 1, CW_MEMBER_OUT), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 3, 2, CW_MEMBER_OUT), CW_MGR_LAST_COPY);
    assert_int_equal(world_change(&w, 0, 1, 3, 2, CW_MEMBER_DEAD), CW_MGR_LAST_COPY);
    assert_int_equal(world_change(&w, 0, 1, 3, 1, CW_MEMBER_INSYNC), CW_MGR_BAD_REQUEST);
    assert_int_equal(world_change(&w, 0, 1, 3, 1, CW_MEMBER_IN_RESYNC), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 4, 1, CW_MEMBER_INSYNC), CW_MGR_OK);
    world_fini(&w);
}

/* Two disks in a minute may be set aside as slow, over all volumes; a disk counts once. */
static void
row_26_few_disks_are_set_aside_at_a_time(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 1, 0, CW_MEMBER_LAGGING), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 2, 0, CW_MEMBER_INSYNC), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 3, 0, CW_MEMBER_LAGGING), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 4, 0, CW_MEMBER_INSYNC), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 5, 1, CW_MEMBER_LAGGING), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 6, 1, CW_MEMBER_INSYNC), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 7, 2, CW_MEMBER_LAGGING), CW_MGR_LIMIT);
    assert_int_equal(w.shards[0].members[2].state, CW_MEMBER_INSYNC);
    world_run(&w, 61000);
    assert_int_equal(world_change(&w, 0, 1, 7, 2, CW_MEMBER_LAGGING), CW_MGR_OK);
    world_fini(&w);
}

/* An owner that was taken over can change nothing, and sees the generation that fences it. */
static void
old_owner_is_frozen(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 1, "v", true), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 1, 2, CW_MEMBER_OUT), CW_MGR_OK);
    assert_false(w.change.applied);
    assert_int_equal(w.change.volume_gen, 2);
    assert_int_equal(world_change(&w, 0, 2, 1, 2, CW_MEMBER_OUT), CW_MGR_CONFLICT);
    world_fini(&w);
}

/* A copy that knows a newer record than the store blocks the attach: the metadata went back. */
static void
metadata_that_went_back_blocks_the_attach(void **state)
{
    static struct world w;

    begin(&w);
    world_down(&w, 0);
    w.d[0].copies[0] = (struct cw_mgr_copy_state){ .shard = CW_SHARD_ID(1, 0),
                                                   .disk_uuid = w.d[0].disk_uuid,
                                                   .format_id = w.d[0].format_id,
                                                   .gen = 5,
                                                   .cfg = 9 };
    w.d[0].n_copies = 1;
    assert_int_equal(world_up(&w, 0, "dc1-1", "dc1"), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_UNAVAILABLE);
    assert_true(world_finding(&w, "METADATA_BEHIND", "v"));
    world_fini(&w);
}

/* After a cold start an attach says so while an in-sync copy has not come up; a mere restart of the
 * manager, with daemons that ran on, does not. */
static void
cold_start_is_told_from_a_manager_restart(void **state)
{
    static struct world w;

    begin(&w);
    world_stop_manager(&w);
    world_start_manager(&w, false);
    assert_int_equal(world_up(&w, 0, "dc1-1", "dc1"), CW_MGR_OK);
    world_client(&w, 0);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_true(w.attach.cold_start);

    world_stop_manager(&w);
    world_start_manager(&w, false);
    w.d[0].up_ms = 50000;
    assert_int_equal(world_up(&w, 0, "dc1-1", "dc1"), CW_MGR_OK);
    world_client(&w, 0);
    assert_int_equal(world_attach(&w, 0, "v", true), CW_MGR_OK);
    assert_false(w.attach.cold_start);
    world_fini(&w);
}

/* The generation survives a restart of the manager, and so does its owner's right to change. */
static void
owner_goes_on_after_a_manager_restart(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_stop_manager(&w);
    world_start_manager(&w, false);
    world_three(&w);
    world_client(&w, 0);
    assert_int_equal(world_change(&w, 0, 1, 1, 2, CW_MEMBER_OUT), CW_MGR_OK);
    assert_true(w.change.applied);
    world_report(&w, w.c[0].session, 1, 1);
    assert_string_equal(world_state(&w, "v"), "attached");
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attach_grants_a_generation),
        cmocka_unit_test(volume_in_use_is_refused),
        cmocka_unit_test(silence_is_taken_over),
        cmocka_unit_test(a_mute_daemon_delays_by_a_second),
        cmocka_unit_test(copies_are_new_once),
        cmocka_unit_test(a_partition_from_all_daemons_takes_nothing_away),
        cmocka_unit_test(an_owner_outlives_its_copies),
        cmocka_unit_test(a_new_manager_asks_the_copies_too),
        cmocka_unit_test(a_new_manager_does_not_wait_for_long),
        cmocka_unit_test(two_at_once_get_one_owner),
        cmocka_unit_test(release_is_clean_and_repeatable),
        cmocka_unit_test(change_is_a_compare_and_set),
        cmocka_unit_test(last_copy_stays),
        cmocka_unit_test(row_26_few_disks_are_set_aside_at_a_time),
        cmocka_unit_test(old_owner_is_frozen),
        cmocka_unit_test(metadata_that_went_back_blocks_the_attach),
        cmocka_unit_test(cold_start_is_told_from_a_manager_restart),
        cmocka_unit_test(owner_goes_on_after_a_manager_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
