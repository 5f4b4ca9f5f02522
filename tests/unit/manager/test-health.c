#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/manager/text.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static void
begin(struct world *w)
{
    world_init(w);
    world_three(w);
    assert_int_equal(world_create(w, "v", CW_GIB, ""), CW_MGR_OK);
    world_client(w, 0);
}

/* The word follows the copies that can be reached: full, reduced, at risk, unavailable, and back.
 */
static void
word_follows_reachable_copies(void **state)
{
    static struct world w;

    begin(&w);
    assert_string_equal(world_word(&w, "v"), "full");
    world_down(&w, 2);
    world_run(&w, 5000);
    assert_string_equal(world_word(&w, "v"), "reduced-waiting");
    assert_true(world_finding(&w, "VOLUME_REDUCED", "v"));
    world_down(&w, 1);
    world_run(&w, 5000);
    assert_string_equal(world_word(&w, "v"), "at-risk");
    world_down(&w, 0);
    world_run(&w, 5000);
    assert_string_equal(world_word(&w, "v"), "unavailable");
    assert_true(world_finding(&w, "VOLUME_UNAVAILABLE", "v"));
    world_three(&w);
    world_run(&w, 1000);
    assert_string_equal(world_word(&w, "v"), "full");
    assert_false(world_finding(&w, "VOLUME_UNAVAILABLE", NULL));
    world_fini(&w);
}

/* A copy in resync is reduced-rebuilding, with the time left from the owner's reports. */
static void
resync_has_an_eta(void **state)
{
    static struct world w;
    struct cw_mgr_member_report mr = { .chunks_total = 1024 };
    struct cw_mgr_shard_report sr = {
        .shard = CW_SHARD_ID(1, 0), .why = "", .members = &mr, .n_members = 1
    };
    struct cw_mgr_volume_report r = { .volume_id = 1, .gen = 1, .shards = &sr, .n_shards = 1 };

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 1, 0, CW_MEMBER_OUT), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 2, 0, CW_MEMBER_IN_RESYNC), CW_MGR_OK);
    mr.disk_uuid = w.shards[0].members[0].disk_uuid;
    for (uint64_t s = 0; s < 10; s++) {
        mr.chunks_left = 1000 - s * 100;
        mr.bytes_moved = s * 100 * CW_MIB;
        cw_manager_report(w.m, w.c[0].session, &r);
        world_run(&w, 1000);
    }
    assert_string_equal(world_word(&w, "v"), "reduced-rebuilding");
    world_fini(&w);
}

/* A copy that registered damaged is sound once its owner resynced it, though its host says nothing
 * more. */
static void
damaged_copy_counts_once_resynced(void **state)
{
    static struct world w;
    struct wdaemon *d;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    d = &w.d[world_daemon_of(&w, 0)];
    d->copies[0] = (struct cw_mgr_copy_state){ .shard = CW_SHARD_ID(1, 0),
                                               .disk_uuid = d->disk_uuid,
                                               .format_id = d->format_id,
                                               .gen = 1,
                                               .cfg = 1,
                                               .damaged = true };
    d->n_copies = 1;
    assert_int_equal(world_register(&w, world_daemon_of(&w, 0)), CW_MGR_OK);
    assert_string_equal(world_word(&w, "v"), "reduced-rebuilding");
    assert_int_equal(world_change(&w, 0, 1, 1, 0, CW_MEMBER_OUT), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 2, 0, CW_MEMBER_IN_RESYNC), CW_MGR_OK);
    assert_string_equal(world_word(&w, "v"), "reduced-rebuilding");
    assert_int_equal(world_change(&w, 0, 1, 3, 0, CW_MEMBER_INSYNC), CW_MGR_OK);
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

/* What the owner says of a suspension is the word, and a report of a fenced owner is not heard. */
static void
suspension_comes_from_the_owner(void **state)
{
    static struct world w;
    struct cw_mgr_shard_report sr = { .shard = CW_SHARD_ID(1, 0),
                                      .suspended = true,
                                      .why = "space" };
    struct cw_mgr_volume_report r = { .volume_id = 1, .gen = 1, .shards = &sr, .n_shards = 1 };

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    cw_manager_report(w.m, w.c[0].session, &r);
    assert_string_equal(world_word(&w, "v"), "suspended");
    assert_true(world_finding(&w, "VOLUME_SUSPENDED", "v"));
    sr.suspended = false;
    cw_manager_report(w.m, w.c[0].session, &r);
    assert_string_equal(world_word(&w, "v"), "full");
    r.gen = 0;
    sr.suspended = true;
    cw_manager_report(w.m, w.c[0].session, &r);
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

/* A disk that is far slower than the others for a minute is told of; not one that was so for a
 * moment, nor all of them. */
static void
a_slow_disk_is_told_of(void **state)
{
    static struct world w;

    begin(&w);
    for (int i = 0; i < 3; i++)
        w.d[i].write_p99_ns = CW_NS_PER_MS;
    w.d[1].write_p99_ns = 41 * CW_NS_PER_MS;
    world_run(&w, 40 * 1000);
    assert_false(world_finding(&w, "DISK_SLOW", NULL));
    world_run(&w, 30 * 1000);
    assert_true(world_finding(&w, "DISK_SLOW", "dc1/dc1-2/store-0"));
    w.d[1].write_p99_ns = 3 * CW_NS_PER_MS;
    world_run(&w, 70 * 1000);
    assert_false(world_finding(&w, "DISK_SLOW", NULL));
    for (int i = 0; i < 3; i++)
        w.d[i].write_p99_ns = 90 * CW_NS_PER_MS;
    world_run(&w, 200 * 1000);
    assert_false(world_finding(&w, "DISK_SLOW", NULL));
    world_fini(&w);
}

/* An absent host's copy waits for the repair delay and is then replaced where there is a place. */
static void
absent_copy_is_replaced_after_the_delay(void **state)
{
    static struct world w;
    int member = 0;

    begin(&w);
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    w.c[0].tells_gen = 1;
    while (world_daemon_of(&w, member) == 0 || world_daemon_of(&w, member) == 1)
        member++;
    world_down(&w, world_daemon_of(&w, member));
    assert_int_equal(world_change(&w, 0, 1, 1, member, CW_MEMBER_OUT), CW_MGR_OK);
    world_run(&w, 3500 * 1000);
    assert_int_equal(w.c[0].n_rereads, 0);
    assert_string_equal(world_word(&w, "v"), "reduced-waiting");
    world_run(&w, 200 * 1000);
    assert_int_equal(w.c[0].n_rereads, 1);
    assert_string_equal(world_word(&w, "v"), "reduced-rebuilding");
    world_fini(&w);
}

/* A new place that was found in a transaction whose answer was lost: the owner is told all the
 * same, else nobody would ever fill it. */
static void
replacement_in_doubt_is_told_to_the_owner(void **state)
{
    static struct world w;
    int member = 0;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    while (world_daemon_of(&w, member) != 2)
        member++;
    assert_int_equal(world_change(&w, 0, 1, 1, member, CW_MEMBER_OUT), CW_MGR_OK);
    w.d[2].failed = true;
    world_run(&w, 5000);
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    assert_int_equal(w.c[0].n_rereads, 0);
    w.kv.fault = FAKEKV_LOSE_REPLY;
    world_run(&w, 5000);
    assert_int_equal(w.kv.fault, FAKEKV_OK);
    assert_int_equal(world_change(&w, 0, 1, 99, 0, CW_MEMBER_OUT), CW_MGR_OK); /* only to look */
    assert_int_equal(world_daemon_of(&w, member), 3);
    assert_true(w.c[0].n_rereads > 0);
    world_fini(&w);
}

/* The manager that changed the records may have died before it told the owner, which connects to
 * the next one. */
static void
owner_that_connects_again_is_told_to_look(void **state)
{
    static struct world w;

    begin(&w);
    world_client(&w, 1);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_stop_manager(&w);
    world_start_manager(&w, false);
    world_three(&w);
    world_client(&w, 0);
    world_client(&w, 1);
    world_run(&w, 100);
    assert_int_equal(w.c[0].n_rereads, 1);
    assert_int_equal(w.c[1].n_rereads, 0); /* it owns nothing */
    world_fini(&w);
}

/* Owners are told when a host with a copy of theirs goes and comes. */
static void
owners_get_hints(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_down(&w, 2);
    world_run(&w, 5000);
    assert_int_equal(w.c[0].n_hints_down, 1);
    assert_int_equal(world_up(&w, 2, "aws-1", "aws"), CW_MGR_OK);
    assert_int_equal(w.c[0].n_hints_up, 1);
    world_fini(&w);
}

static void
keep_status(struct world *w, const union cw_mgr_reply *r)
{
    const struct cw_mgr_status *s = &r->status;

    snprintf(w->text[0], sizeof(w->text[0]), "%s %u %u/%u %s", s->health, (unsigned)s->n_sites,
             (unsigned)s->volumes_serving, (unsigned)s->volumes, s->metadata);
    for (size_t i = 0; i < s->n_findings; i++) {
        assert_int_equal(strlen(s->findings[i].since), 20);
        assert_true(s->findings[i].cause[0] != '\0');
        assert_true(s->findings[i].effect[0] != '\0');
    }
}

/* Status counts sites and serving volumes, and its health is that of its worst finding. */
static void
status_sums_up(void **state)
{
    static struct world w;
    struct cw_mgr_call call = { .kind = CW_MGR_STATUS };

    begin(&w);
    w.keep = keep_status;
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    assert_string_equal(w.text[0], "ok 2 1/1 memory");
    world_down(&w, 2);
    world_run(&w, 5000);
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    assert_string_equal(w.text[0], "warning 2 1/1 memory");
    world_down(&w, 1);
    world_down(&w, 0);
    world_run(&w, 5000);
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    assert_string_equal(w.text[0], "error 2 0/1 memory");
    world_stop_manager(&w); /* the next one has heard nobody yet */
    world_start_manager(&w, false);
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    assert_string_equal(w.text[0], "warning 2 1/1 memory");
    world_three(&w);
    world_run(&w, 1000);
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    assert_string_equal(w.text[0], "ok 2 1/1 memory");
    world_fini(&w);
}

/* Times are RFC 3339 in UTC, across leap years. */
static void
times_are_rfc3339(void **state)
{
    char t[CW_MGR_TIME_SIZE];

    assert_string_equal(cw_mgr_time_format(1, t), "1970-01-01T00:00:01Z");
    assert_string_equal(cw_mgr_time_format(951782400, t), "2000-02-29T00:00:00Z");
    assert_string_equal(cw_mgr_time_format(1700000000, t), "2023-11-14T22:13:20Z");
    assert_string_equal(cw_mgr_time_format(4107542400, t), "2100-03-01T00:00:00Z");
    assert_string_equal(cw_mgr_time_format(0, t), "");
    assert_string_equal(cw_mgr_span_format(2472, t), "41m12s");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(word_follows_reachable_copies),
        cmocka_unit_test(resync_has_an_eta),
        cmocka_unit_test(damaged_copy_counts_once_resynced),
        cmocka_unit_test(suspension_comes_from_the_owner),
        cmocka_unit_test(a_slow_disk_is_told_of),
        cmocka_unit_test(absent_copy_is_replaced_after_the_delay),
        cmocka_unit_test(replacement_in_doubt_is_told_to_the_owner),
        cmocka_unit_test(owner_that_connects_again_is_told_to_look),
        cmocka_unit_test(owners_get_hints),
        cmocka_unit_test(status_sums_up),
        cmocka_unit_test(times_are_rfc3339),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
