#include <stdio.h>
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

/* Client 0 has had the volume for a while. */
static void
begin_owned(struct world *w)
{
    begin(w);
    world_run(w, 11000);
    assert_int_equal(world_attach(w, 0, "v", false), CW_MGR_OK);
    world_report(w, w->c[0].session, 1, 1);
}

static int
carer(const struct world *w)
{
    for (int i = 0; i < WORLD_DAEMONS; i++) {
        if (w->d[i].care_volume != 0)
            return i;
    }
    return -1;
}

static uint32_t
caretakes(const struct world *w)
{
    return w->d[0].n_caretakes + w->d[1].n_caretakes + w->d[2].n_caretakes;
}

/* A volume whose owner died gets a caretaker that settles it and releases it cleanly. */
static void
dead_owner_is_followed_by_a_caretaker(void **state)
{
    static struct world w;
    int i;

    begin_owned(&w);
    world_client_down(&w, 0);
    world_run(&w, 3000);
    assert_int_equal(caretakes(&w), 0);
    world_run(&w, 4000);
    i = carer(&w);
    assert_in_range(i, 0, 2);
    assert_string_equal(world_state(&w, "v"), "caretaken");
    world_report(&w, w.d[i].session, 1, w.d[i].care_gen);
    world_run(&w, 3000);
    assert_string_equal(world_state(&w, "v"), "released");
    assert_int_equal(caretakes(&w), 1);
    world_fini(&w);
}

static void
keep_why(struct world *w, const union cw_mgr_reply *r)
{
    for (size_t i = 0; i < r->status.n_findings; i++)
        if (strcmp(r->status.findings[i].object, "v") == 0)
            snprintf(w->text[2], sizeof(w->text[2]), "%s", r->status.findings[i].next);
}

/* An owner that may be with a copy that is away is waited for, and who asks is told so; but no
 * longer than an absent copy is, though its host is in maintenance. */
static void
owner_beside_a_copy_in_maintenance_is_not_waited_for_for_ever(void **state)
{
    static struct world w;
    struct cw_mgr_call maintain = { .kind = CW_MGR_HOST_MAINTAIN,
                                    .req.host_maintain = {
                                        .name = "aws-1", .mode = "none", .force = true } };
    struct cw_mgr_call status = { .kind = CW_MGR_STATUS };

    begin_owned(&w);
    assert_int_equal(world_call(&w, NULL, &maintain), CW_MGR_OK);
    world_down(&w, 2);
    world_client_down(&w, 0);
    world_run(&w, 3400 * 1000);
    assert_int_equal(caretakes(&w), 0);
    w.keep = keep_why;
    assert_int_equal(world_call(&w, NULL, &status), CW_MGR_OK);
    assert_non_null(strstr(w.text[2], "the last owner"));
    w.keep = NULL;
    world_run(&w, 300 * 1000);
    assert_in_range(caretakes(&w), 1, 10);
    world_fini(&w);
}

/* The release of an owner was lost with a transaction that was in doubt: its client is connected,
 * reports nothing of the volume, and no copy hears it. An owner that has nothing to do reports. */
static void
owner_that_let_go_unheard_is_followed(void **state)
{
    static struct world w;

    begin_owned(&w);
    w.c[0].tells_gen = 1;
    world_run(&w, 60000);
    assert_int_equal(caretakes(&w), 0);
    w.c[0].tells_gen = 0;
    w.d[0].seen = w.d[1].seen = w.d[2].seen = true;
    world_run(&w, 60000);
    assert_int_equal(carer(&w), -1); /* it lives, for all that copies say */
    w.d[0].seen = w.d[1].seen = w.d[2].seen = false;
    world_run(&w, 70000);
    assert_in_range(caretakes(&w), 1, 5);
    assert_string_not_equal(world_state(&w, "v"), "attached");
    world_fini(&w);
}

/* An owner that is only cut off from the manager keeps its volume: its copies hear it. */
static void
heard_owner_keeps_its_volume(void **state)
{
    static struct world w;

    begin_owned(&w);
    w.d[0].seen = w.d[1].seen = w.d[2].seen = true;
    world_client_down(&w, 0);
    world_run(&w, 60000);
    assert_int_equal(carer(&w), -1);
    assert_in_range(caretakes(&w), 1, 8);
    world_client(&w, 0);
    assert_int_equal(world_change(&w, 0, 1, 1, 0, CW_MEMBER_OUT), CW_MGR_OK);
    assert_true(w.change.applied);
    world_fini(&w);
}

/* An owner that fell silent together with an in-sync copy may wait with it on the other side of a
 * cut: nobody is asked to take its volume until that copy is back, or given up. */
static void
owner_cut_off_with_a_copy_keeps_its_volume(void **state)
{
    static struct world w;

    begin_owned(&w);
    world_down(&w, 2);
    world_client_down(&w, 0);
    world_run(&w, 60000);
    assert_int_equal(caretakes(&w), 0);
    assert_int_equal(world_register(&w, 2), CW_MGR_OK);
    world_run(&w, 4000);
    assert_in_range(carer(&w), 0, 2);
    world_fini(&w);
}

/* Once its host has been away for longer than the repair delay, it is not waited for any more. */
static void
a_copy_that_is_given_up_holds_up_nobody(void **state)
{
    static struct world w;

    begin_owned(&w);
    world_down(&w, 2);
    world_client_down(&w, 0);
    world_run(&w, 70 * 60 * 1000);
    assert_true(caretakes(&w) > 0);
    world_fini(&w);
}

/* A copy that is out while nobody has the volume is brought back by a caretaker; a client that
 * attaches meanwhile gets the volume from it, cleanly. */
static void
client_takes_over_from_the_caretaker(void **state)
{
    static struct world w;
    int i;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 1, 2, CW_MEMBER_OUT), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    world_run(&w, 4000);
    i = carer(&w);
    assert_in_range(i, 0, 2);
    assert_true(i != world_daemon_of(&w, 2)); /* it holds an in-sync copy */
    assert_int_equal(world_attach(&w, 1, "v", false), CW_MGR_OK);
    assert_true(w.attach.released);
    assert_int_equal(w.attach.gen, 3);
    assert_int_equal(w.d[i].n_let_go, 1);
    world_run(&w, 10000);
    assert_int_equal(caretakes(&w), 1);
    world_fini(&w);
}

/* A daemon that will not is asked again later and later, and another one is tried. */
static void
unwilling_daemons_are_backed_off(void **state)
{
    static struct world w;

    begin(&w);
    w.d[0].willing = w.d[1].willing = w.d[2].willing = false;
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 1, 2, CW_MEMBER_OUT), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    world_run(&w, 300000);
    assert_in_range(caretakes(&w), 4, 12);
    assert_true(w.d[0].n_caretakes + w.d[1].n_caretakes > 0);
    assert_string_equal(world_state(&w, "v"), "released");
    world_fini(&w);
}

/* No daemon may attach as caretaker unasked. */
static void
unasked_caretaker_is_refused(void **state)
{
    static struct world w;
    struct cw_mgr_call call = { .kind = CW_MGR_ATTACH,
                                .req.attach = { .volume = "v", .caretaker = true } };

    begin(&w);
    assert_int_equal(world_call(&w, w.d[0].session, &call), CW_MGR_CONFLICT);
    world_fini(&w);
}

/* A verify of an unattached volume runs at a caretaker; its progress and end show in the job. */
static void
keep_job(struct world *w, const union cw_mgr_reply *r)
{
    memcpy(w->text[5], r->job.state, strlen(r->job.state) + 1);
    w->wall_s += 0;
    w->attach.spec.id = r->job.id;
}

static void
keep_jobs(struct world *w, const union cw_mgr_reply *r)
{
    memcpy(w->text[5], r->jobs.jobs[0].state, strlen(r->jobs.jobs[0].state) + 1);
}

static void
verify_runs_at_a_caretaker(void **state)
{
    static struct world w;
    struct cw_mgr_call verify = { .kind = CW_MGR_VOLUME_VERIFY, .req.name = "v" };
    struct cw_mgr_call ls = { .kind = CW_MGR_JOB_LS };
    struct cw_mgr_verify p = { .volume_id = 1, .found = 1, .repaired = 1, .failed = "" };
    int i;

    begin(&w);
    assert_int_equal(world_call(&w, NULL, &verify), CW_MGR_BAD_REQUEST); /* never written */
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    w.keep = keep_job;
    assert_int_equal(world_call(&w, NULL, &verify), CW_MGR_OK);
    assert_string_equal(w.text[5], "waiting");
    p.job = w.attach.spec.id;
    w.keep = NULL;
    assert_int_equal(world_call(&w, NULL, &verify), CW_MGR_BUSY);
    world_run(&w, 1000);
    i = carer(&w);
    assert_in_range(i, 0, 2);
    world_report(&w, w.d[i].session, 1, w.d[i].care_gen);
    world_run(&w, 1000);
    assert_int_equal(w.d[i].n_verify, 1);
    p.finished = true;
    cw_manager_verify_progress(w.m, w.d[i].session, &p);
    w.keep = keep_jobs;
    assert_int_equal(world_call(&w, NULL, &ls), CW_MGR_OK);
    assert_string_equal(w.text[5], "done");
    w.keep = NULL;
    world_report(&w, w.d[i].session, 1, w.d[i].care_gen);
    world_run(&w, 3000);
    assert_string_equal(world_state(&w, "v"), "released");
    world_fini(&w);
}

/* A verify of an attached volume is asked of its owner, and again of the next owner. */
static void
verify_follows_the_owner(void **state)
{
    static struct world w;
    struct cw_mgr_call verify = { .kind = CW_MGR_VOLUME_VERIFY, .req.name = "v" };

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    assert_int_equal(world_call(&w, NULL, &verify), CW_MGR_OK);
    world_run(&w, 1000);
    assert_int_equal(w.c[0].n_verify, 1);
    assert_int_equal(world_attach(&w, 1, "v", true), CW_MGR_OK);
    world_report(&w, w.c[1].session, 1, 2);
    world_run(&w, 4000);
    assert_int_equal(w.c[1].n_verify, 1);
    world_fini(&w);
}

/* A verify that ends early because its owner lets go of the volume goes on at a caretaker. */
static void
verify_outlives_a_release(void **state)
{
    static struct world w;
    struct cw_mgr_call verify = { .kind = CW_MGR_VOLUME_VERIFY, .req.name = "v" };
    struct cw_mgr_verify p = { .volume_id = 1, .finished = true, .failed = "cancelled" };
    int i;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    assert_int_equal(world_call(&w, NULL, &verify), CW_MGR_OK);
    world_run(&w, 1000);
    assert_int_equal(w.c[0].n_verify, 1);
    p.job = w.c[0].verify_job;
    cw_manager_verify_progress(w.m, w.c[0].session, &p);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    world_run(&w, 1000);
    i = carer(&w);
    assert_in_range(i, 0, 2);
    world_report(&w, w.d[i].session, 1, w.d[i].care_gen);
    world_run(&w, 3000);
    assert_int_equal(w.d[i].n_verify, 1);
    world_fini(&w);
}

/* An in-sync copy that its disk does not know any more calls for a caretaker (I15). */
static void
empty_disk_under_the_same_identity_is_looked_after(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    world_run(&w, 5000);
    assert_int_equal(caretakes(&w), 0);
    world_down(&w, 2);
    assert_int_equal(world_up(&w, 2, "aws-1", "aws"), CW_MGR_OK);
    assert_string_equal(world_word(&w, "v"), "reduced-rebuilding");
    world_run(&w, 2000);
    assert_int_equal(caretakes(&w), 1);
    assert_int_equal(w.d[2].n_caretakes, 0);
    world_fini(&w);
}

/* A disk that came back formatted anew takes no part as it was: once its copy is out, an empty one
 * on the new disk takes its place and the owner is told to look. */
static void
formatted_disk_is_a_new_copy(void **state)
{
    static struct world w;
    int member = 0;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    while (world_daemon_of(&w, member) != 2)
        member++;
    world_down(&w, 2);
    assert_int_equal(world_change(&w, 0, 1, 1, member, CW_MEMBER_OUT), CW_MGR_OK);
    w.d[2].disk_uuid = cw_uuid_from_random(500, 500);
    w.d[2].format_id = 4711;
    w.d[2].host_key = cw_uuid_from_random(600, 600);
    world_run(&w, 5000);
    assert_int_equal(world_up(&w, 2, "aws-1", "aws"), CW_MGR_OK);
    world_run(&w, 2000);
    assert_int_equal(w.c[0].n_rereads, 1);
    assert_int_equal(world_change(&w, 0, 1, 99, 0, CW_MEMBER_OUT), CW_MGR_OK); /* only to look */
    assert_false(w.change.applied);
    assert_int_equal(world_daemon_of(&w, member), 2);
    assert_int_equal(w.shards[0].members[member].state, CW_MEMBER_OUT);
    assert_int_equal(w.shards[0].members[member].format_id, 4711);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_owner_is_followed_by_a_caretaker),
        cmocka_unit_test(owner_beside_a_copy_in_maintenance_is_not_waited_for_for_ever),
        cmocka_unit_test(owner_that_let_go_unheard_is_followed),
        cmocka_unit_test(heard_owner_keeps_its_volume),
        cmocka_unit_test(owner_cut_off_with_a_copy_keeps_its_volume),
        cmocka_unit_test(a_copy_that_is_given_up_holds_up_nobody),
        cmocka_unit_test(client_takes_over_from_the_caretaker),
        cmocka_unit_test(unwilling_daemons_are_backed_off),
        cmocka_unit_test(unasked_caretaker_is_refused),
        cmocka_unit_test(verify_runs_at_a_caretaker),
        cmocka_unit_test(verify_follows_the_owner),
        cmocka_unit_test(verify_outlives_a_release),
        cmocka_unit_test(empty_disk_under_the_same_identity_is_looked_after),
        cmocka_unit_test(formatted_disk_is_a_new_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
