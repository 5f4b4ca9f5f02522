/* Disks whose links come and go, as owners tell: which are given up, and which are not. */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

/* Each owner's count for the disk of each member of its volume, as it goes on telling. */
static uint64_t flaps[2][CW_MEMBERS_MAX];

/* n hosts, and client i has volume i + 1. */
static void
begin(struct world *w, int n_hosts, int n_clients)
{
    memset(flaps, 0, sizeof(flaps));
    world_init(w);
    world_three(w);
    for (int i = 3; i < n_hosts; i++) {
        char name[16];

        snprintf(name, sizeof(name), "aws-%d", i - 1);
        assert_int_equal(world_up(w, i, name, "aws"), CW_MGR_OK);
    }
    for (int i = 0; i < n_clients; i++) {
        char name[2] = { (char)('u' + i), 0 };

        assert_int_equal(world_create(w, name, CW_GIB, ""), CW_MGR_OK);
        world_client(w, i);
        assert_int_equal(world_attach(w, i, name, false), CW_MGR_OK);
    }
}

/* Owner i tells what it counts, by the record that was looked at last. */
static void
tell(struct world *w, int i)
{
    struct cw_mgr_member_report members[CW_MEMBERS_MAX] = { 0 };
    struct cw_mgr_shard_report sr = { .shard = CW_SHARD_ID((uint64_t)i + 1, 0),
                                      .why = "",
                                      .members = members,
                                      .n_members = w->shards[0].n_members };
    struct cw_mgr_volume_report r = {
        .volume_id = (uint64_t)i + 1, .gen = 1, .shards = &sr, .n_shards = 1
    };

    for (uint32_t k = 0; k < w->shards[0].n_members; k++) {
        members[k].disk_uuid = w->shards[0].members[k].disk_uuid;
        members[k].flaps = flaps[i][k];
        members[k].flapping = flaps[i][k] >= 3;
    }
    cw_manager_report(w->m, w->c[i].session, &r);
}

static void
look(struct world *w, uint64_t volume)
{
    struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = volume };

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
}

/* In n seconds each owner of the mask tells once a second of all that it counts; the disk of that
 * member flaps for those of `by`, every third second. */
static void
run(struct world *w, uint32_t n, uint32_t owners, uint32_t by, uint32_t member)
{
    for (uint32_t s = 0; s < n; s++) {
        for (int i = 0; i < 2; i++) {
            if ((owners >> i & 1) == 0)
                continue;
            look(w, (uint64_t)i + 1);
            for (uint32_t k = 0; s % 3 == 1 && (by >> i & 1) != 0 && k < w->shards[0].n_members;
                 k++)
                flaps[i][k] += k == member;
            tell(w, i);
        }
        world_run(w, 1000);
    }
}

static const char *
disk_of(struct world *w, uint32_t member)
{
    static char path[40];
    int i;

    look(w, 1);
    i = world_daemon_of(w, (int)member);
    snprintf(path, sizeof(path), "%s/%s/store-0", w->d[i].site, w->d[i].name);
    return path;
}

static uint32_t n_events;
static const char *wanted;
static char event_text[CW_MGR_WHY_SIZE];

static void
count_events(struct world *w, const union cw_mgr_reply *r)
{
    n_events = 0;
    for (size_t i = 0; i < r->events.n_events; i++) {
        if (strcmp(r->events.events[i].code, wanted) != 0)
            continue;
        n_events++;
        snprintf(event_text, sizeof(event_text), "%s", r->events.events[i].text);
    }
}

/* How many of that code; the last one's text is in event_text. */
static uint32_t
events(struct world *w, const char *code)
{
    struct cw_mgr_call call = { .kind = CW_MGR_EVENT_LS, .req.event_ls = { .max = 1000 } };

    wanted = code;
    w->keep = count_events;
    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    w->keep = NULL;
    return n_events;
}

static void
row_23_the_fifth_flap_in_an_hour_puts_it_in_quarantine(void **state)
{
    static struct world w;
    char name[40];
    struct cw_mgr_call back = { .kind = CW_MGR_DISK_RETURN, .req.name = name };

    begin(&w, 4, 1);
    run(&w, 12, 1, 1, 0);
    assert_int_equal(flaps[0][0], 4);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    run(&w, 4, 1, 1, 0);
    assert_true(world_finding(&w, "DISK_QUARANTINED", disk_of(&w, 0)));
    assert_true(events(&w, "DISK_QUARANTINED") > 0);
    assert_non_null(strstr(event_text, "its link flaps"));
    assert_int_equal(w.shards[0].n_members, 4); /* a copy is added elsewhere */

    snprintf(name, sizeof(name), "%s/store-0", w.d[world_daemon_of(&w, 0)].name);
    world_stop_manager(&w);
    world_start_manager(&w, false);
    world_three(&w);
    world_run(&w, 2000);
    assert_true(world_finding(&w, "DISK_QUARANTINED", NULL));
    assert_int_equal(world_call(&w, NULL, &back), CW_MGR_OK);
    world_run(&w, 2000);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    world_fini(&w);
}

static void
flaps_of_long_ago_do_not_count(void **state)
{
    static struct world w;

    begin(&w, 4, 1);
    for (uint32_t i = 0; i < 6; i++) {
        run(&w, 3, 1, 1, 0);
        run(&w, 1000, 1, 0, 0);
    }
    assert_int_equal(flaps[0][0], 6);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    world_fini(&w);
}

/* Whoever restarts a daemon now and then breaks its links. */
static void
restarts_are_no_flaps(void **state)
{
    static struct world w;

    begin(&w, 4, 1);
    look(&w, 1);
    for (uint32_t i = 0; i < 10; i++) {
        int d = world_daemon_of(&w, 0);

        run(&w, 3, 1, 1, 0);
        world_down(&w, d);
        w.d[d].incarnation++;
        assert_int_equal(world_register(&w, d), CW_MGR_OK);
    }
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    assert_int_equal(events(&w, "DISK_FLAPS"), 0);
    world_fini(&w);
}

/* The way of one owner is bad, the other's is not. */
static void
one_of_two_owners_is_not_believed(void **state)
{
    static struct world w;

    begin(&w, 4, 2);
    run(&w, 60, 3, 1, 0);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    assert_int_equal(events(&w, "DISK_FLAPS"), 1);
    assert_non_null(strstr(event_text, "only one of the owners"));
    world_fini(&w);
}

/* What both tell is one flap, and believed. */
static void
two_owners_are_believed(void **state)
{
    static struct world w;

    begin(&w, 4, 2);
    run(&w, 12, 3, 3, 0);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    run(&w, 6, 3, 3, 0);
    assert_true(world_finding(&w, "DISK_QUARANTINED", NULL));
    world_fini(&w);
}

/* Three disks for three copies: it is told, once, and every disk stays. */
static void
without_a_place_elsewhere_it_stays(void **state)
{
    static struct world w;

    begin(&w, 3, 1);
    run(&w, 60, 1, 1, 0);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    assert_int_equal(events(&w, "DISK_FLAPS"), 1);
    assert_non_null(strstr(event_text, "no place elsewhere"));
    assert_int_equal(world_create(&w, "other", CW_GIB, ""), CW_MGR_OK);
    world_fini(&w);
}

static void
one_disk_an_hour(void **state)
{
    static struct world w;

    begin(&w, 6, 1);
    run(&w, 20, 1, 1, 0);
    assert_true(world_finding(&w, "DISK_QUARANTINED", disk_of(&w, 0)));
    run(&w, 60, 1, 1, 1);
    assert_false(world_finding(&w, "DISK_QUARANTINED", disk_of(&w, 1)));
    assert_int_equal(events(&w, "DISK_FLAPS"), 1);
    w.wall_s += 3600;
    run(&w, 20, 1, 1, 1);
    assert_true(world_finding(&w, "DISK_QUARANTINED", disk_of(&w, 1)));
    world_fini(&w);
}

/* A copy that is not waited for since its link flaps is not called slow. */
static char protection_why[CW_MGR_WHY_SIZE];

static void
keep_why(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(protection_why, sizeof(protection_why), "%s", r->volume.protection_why);
}

static void
the_volume_says_why(void **state)
{
    static struct world w;
    struct cw_mgr_call show = { .kind = CW_MGR_VOLUME_SHOW, .req.name = "u" };

    begin(&w, 3, 1);
    run(&w, 12, 1, 1, 0);
    look(&w, 1);
    assert_int_equal(world_change(&w, 0, 1, w.shards[0].cfg, 0, CW_MEMBER_LAGGING), CW_MGR_OK);
    w.keep = keep_why;
    assert_int_equal(world_call(&w, NULL, &show), CW_MGR_OK);
    w.keep = NULL;
    assert_non_null(strstr(protection_why, "a link that flaps"));
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_23_the_fifth_flap_in_an_hour_puts_it_in_quarantine),
        cmocka_unit_test(flaps_of_long_ago_do_not_count),
        cmocka_unit_test(restarts_are_no_flaps),
        cmocka_unit_test(one_of_two_owners_is_not_believed),
        cmocka_unit_test(two_owners_are_believed),
        cmocka_unit_test(without_a_place_elsewhere_it_stays),
        cmocka_unit_test(one_disk_an_hour),
        cmocka_unit_test(the_volume_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
