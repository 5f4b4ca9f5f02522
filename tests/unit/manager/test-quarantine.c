/* Disks that go bad, blocks that are bad, and the scrub that an operator asks for. */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static void
begin(struct world *w, int n_daemons)
{
    world_init(w);
    world_three(w);
    if (n_daemons > 3)
        assert_int_equal(world_up(w, 3, "aws-2", "aws"), CW_MGR_OK);
    assert_int_equal(world_create(w, "v", CW_GIB, ""), CW_MGR_OK);
    world_client(w, 0);
}

static void
keep_error(struct world *w, const union cw_mgr_reply *r)
{
}

static enum cw_mgr_code
call_named(struct world *w, enum cw_mgr_call_kind kind, const char *name)
{
    struct cw_mgr_call call = { .kind = kind, .req.name = name };

    w->keep = keep_error;
    world_call(w, NULL, &call);
    w->keep = NULL;
    return w->error.code;
}

static void
look(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = 1 };

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
}

static int
member_of(const struct world *w, int daemon)
{
    for (uint32_t i = 0; i < w->shards[0].n_members; i++) {
        if (cw_uuid_equal(&w->shards[0].members[i].disk_uuid, &w->d[daemon].disk_uuid))
            return (int)i;
    }
    return -1;
}

/* Member i goes there by its owner's change, compared with what was seen last. */
static void
move(struct world *w, int i, enum cw_member_state state)
{
    assert_int_equal(world_change(w, 0, w->attach.gen, w->shards[0].cfg, i, state), CW_MGR_OK);
    assert_true(w->change.applied);
}

/* A storm that the store reports puts its disk aside, once and durably, until an operator's word;
 * what was answered does not count again, a new one does. */
static void
a_storm_is_answered_once(void **state)
{
    static struct world w;

    begin(&w, 3);
    world_run(&w, 2000);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    w.d[1].scrub.storms = 1;
    world_run(&w, 2000);
    assert_true(world_finding(&w, "DISK_QUARANTINED", "dc1/dc1-2/store-0"));
    assert_int_equal(world_create(&w, "u", CW_GIB, ""), CW_MGR_POLICY_UNSATISFIABLE);

    world_stop_manager(&w);
    world_start_manager(&w, false);
    world_three(&w);
    world_run(&w, 2000);
    assert_true(world_finding(&w, "DISK_QUARANTINED", "dc1/dc1-2/store-0"));
    assert_int_equal(world_create(&w, "u", CW_GIB, ""), CW_MGR_POLICY_UNSATISFIABLE);

    assert_int_equal(call_named(&w, CW_MGR_DISK_RETURN, "dc1-2/store-7"), CW_MGR_NOT_FOUND);
    assert_int_equal(call_named(&w, CW_MGR_DISK_RETURN, "dc1-1/store-0"), CW_MGR_BAD_REQUEST);
    assert_int_equal(call_named(&w, CW_MGR_DISK_RETURN, "dc1-2/store-0"), CW_MGR_OK);
    world_run(&w, 3000);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    assert_int_equal(world_create(&w, "u", CW_GIB, ""), CW_MGR_OK);
    w.d[1].scrub.storms = 0; /* its store went back to an older checkpoint: nothing new */
    world_run(&w, 3000);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    w.d[1].scrub.storms = 1;
    world_run(&w, 3000);
    assert_true(world_finding(&w, "DISK_QUARANTINED", NULL));
    world_fini(&w);
}

/* A disk that was put in the place of another has its name: what an operator says is meant for the
 * one that is there. The other is named by its UUID. */
static void
a_name_means_the_disk_in_use(void **state)
{
    static struct world w;
    struct cw_uuid old;
    char text[CW_UUID_TEXT_SIZE];

    begin(&w, 3);
    old = w.d[1].disk_uuid;
    w.d[1].scrub.storms = 1;
    world_run(&w, 2000);
    world_down(&w, 1);
    w.d[1].disk_uuid = cw_uuid_from_random(70, 70);
    assert_int_equal(world_register(&w, 1), CW_MGR_OK);
    world_run(&w, 2000);
    assert_true(world_finding(&w, "DISK_QUARANTINED", "dc1/dc1-2/store-0"));
    for (int i = 0; i < 2; i++) { /* whichever comes first in the records */
        assert_int_equal(call_named(&w, CW_MGR_DISK_RETURN, "dc1-2/store-0"), CW_MGR_OK);
        world_run(&w, 2000);
        assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
        assert_int_equal(call_named(&w, CW_MGR_DISK_RETURN, "dc1-2/store-0"), CW_MGR_BAD_REQUEST);
        w.d[1].scrub.storms++;
        world_run(&w, 2000);
        assert_true(world_finding(&w, "DISK_QUARANTINED", "dc1/dc1-2/store-0"));
    }
    assert_int_equal(call_named(&w, CW_MGR_DISK_RETURN, cw_uuid_format(&old, text)), CW_MGR_OK);
    assert_true(world_finding(&w, "DISK_QUARANTINED", "dc1/dc1-2/store-0"));
    world_fini(&w);
}

/* A manager that has just started does not know yet how many storms the store counts: the one that
 * is on record was answered by the return. */
static void
a_return_before_the_disk_is_heard_answers_its_storm(void **state)
{
    static struct world w;

    begin(&w, 3);
    w.d[1].scrub.storms = 1;
    world_run(&w, 2000);
    assert_true(world_finding(&w, "DISK_QUARANTINED", "dc1/dc1-2/store-0"));
    world_stop_manager(&w);
    world_start_manager(&w, false);
    assert_int_equal(call_named(&w, CW_MGR_DISK_RETURN, "dc1-2/store-0"), CW_MGR_OK);
    world_three(&w);
    world_run(&w, 3000);
    assert_false(world_finding(&w, "DISK_QUARANTINED", NULL));
    w.d[1].scrub.storms = 2;
    world_run(&w, 3000);
    assert_true(world_finding(&w, "DISK_QUARANTINED", "dc1/dc1-2/store-0"));
    world_fini(&w);
}

/* Metadata that went back: by the newest, the copy that a record calls OUT may be the one in sync.
 * None is replaced, moved or dropped, and no cfg is counted up to what copies know. */
static void
nothing_goes_on_by_metadata_that_went_back(void **state)
{
    static struct world w;
    struct cw_mgr_call grow = { .kind = CW_MGR_VOLUME_RESIZE,
                                .req.volume_resize = { .name = "v", .size_bytes = 2 * CW_GIB } };
    struct wdaemon *knows;
    uint32_t cfg;

    begin(&w, 4);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    look(&w);
    move(&w, 0, CW_MEMBER_OUT);
    knows = &w.d[world_daemon_of(&w, 1)];
    world_down(&w, world_daemon_of(&w, 1));
    knows->copies[0] = (struct cw_mgr_copy_state){ .shard = CW_SHARD_ID(1, 0),
                                                   .disk_uuid = knows->disk_uuid,
                                                   .format_id = knows->format_id,
                                                   .gen = 1,
                                                   .cfg = 9 };
    knows->n_copies = 1;
    assert_int_equal(world_register(&w, world_daemon_of(&w, 1)), CW_MGR_OK);
    look(&w);
    cfg = w.shards[0].cfg;
    w.d[world_daemon_of(&w, 0)].scrub.storms = 1;
    world_run(&w, 10000);
    look(&w);
    assert_true(world_finding(&w, "DISK_QUARANTINED", NULL));
    assert_true(world_finding(&w, "METADATA_BEHIND", "v"));
    assert_int_equal(w.shards[0].cfg, cfg);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(world_call(&w, NULL, &grow), CW_MGR_UNAVAILABLE);
    world_fini(&w);
}

/* A copy on such a disk is built elsewhere first; only then its owner is asked to let it go, and
 * then it is removed and forgotten. */
static void
copies_leave_a_quarantined_disk(void **state)
{
    static struct world w;
    int bad, fresh;

    begin(&w, 4);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    bad = world_daemon_of(&w, 0);
    w.d[bad].scrub.storms = 1;
    world_run(&w, 3000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 4);
    assert_int_equal(w.shards[0].members[3].state, CW_MEMBER_OUT);
    assert_int_equal(w.shards[0].members[member_of(&w, bad)].state, CW_MEMBER_INSYNC);
    fresh = world_daemon_of(&w, 3);
    assert_true(fresh != bad && fresh >= 0);
    assert_int_equal(w.c[0].n_rereads, 1);
    assert_string_equal(world_word(&w, "v"), "reduced-rebuilding");

    move(&w, 3, CW_MEMBER_IN_RESYNC);
    for (int i = 0; i < 20; i++) {
        world_report(&w, w.c[0].session, 1, 1);
        world_run(&w, 1000);
    }
    assert_int_equal(w.c[0].n_evict, 0); /* not before another is in its place */
    move(&w, 3, CW_MEMBER_INSYNC);
    world_report(&w, w.c[0].session, 1, 1);
    world_run(&w, 1000);
    assert_int_equal(w.c[0].n_evict, 1);
    assert_true(cw_uuid_equal(&w.c[0].evict, &w.d[bad].disk_uuid));
    world_run(&w, 6000); /* it did not: it is asked again */
    assert_int_equal(w.c[0].n_evict, 2);
    move(&w, member_of(&w, bad), CW_MEMBER_DEAD);
    world_report(&w, w.c[0].session, 1, 1);
    world_run(&w, 3000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(member_of(&w, bad), -1);
    assert_int_equal(w.d[bad].n_dropped, 1);
    assert_string_equal(world_word(&w, "v"), "full");
    world_run(&w, 20000);
    assert_int_equal(w.c[0].n_evict, 2);
    world_fini(&w);
}

/* Without a place for another the copy stays, and the volume says why. */
static void
without_a_place_it_stays(void **state)
{
    static struct world w;

    begin(&w, 3);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    w.d[0].scrub.storms = 1;
    for (int i = 0; i < 20; i++) {
        world_report(&w, w.c[0].session, 1, 1);
        world_run(&w, 1000);
    }
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(w.shards[0].members[member_of(&w, 0)].state, CW_MEMBER_INSYNC);
    assert_int_equal(w.c[0].n_evict, 0);
    assert_string_equal(world_word(&w, "v"), "reduced-stuck");
    assert_true(world_finding(&w, "VOLUME_REDUCED", "v"));
    world_fini(&w);
}

/* A copy there that is not in sync is replaced at once. */
static void
copies_out_of_sync_are_replaced(void **state)
{
    static struct world w;
    int bad;

    begin(&w, 4);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    bad = world_daemon_of(&w, 1);
    move(&w, 1, CW_MEMBER_OUT);
    w.d[bad].scrub.storms = 1;
    world_run(&w, 3000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(member_of(&w, bad), -1);
    assert_int_equal(w.shards[0].members[1].state, CW_MEMBER_OUT);
    world_fini(&w);
}

/* A disk that is returned when its copy was built elsewhere already: the one too many leaves. */
static void
a_returned_disk_leaves_none_too_many(void **state)
{
    static struct world w;
    int bad, fresh;

    begin(&w, 4);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    bad = world_daemon_of(&w, 0);
    w.d[bad].scrub.storms = 1;
    world_run(&w, 3000);
    look(&w);
    fresh = world_daemon_of(&w, 3);
    move(&w, 3, CW_MEMBER_IN_RESYNC);
    {
        char name[40];

        snprintf(name, sizeof(name), "%s/store-0", w.d[bad].name);
        assert_int_equal(call_named(&w, CW_MGR_DISK_RETURN, name), CW_MGR_OK);
    }
    look(&w);
    move(&w, 3, CW_MEMBER_INSYNC);
    world_report(&w, w.c[0].session, 1, 1);
    world_run(&w, 1000);
    assert_int_equal(w.c[0].n_evict, 1);
    assert_true(cw_uuid_equal(&w.c[0].evict, &w.d[fresh].disk_uuid));
    look(&w);
    move(&w, 3, CW_MEMBER_DEAD);
    world_run(&w, 2000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_true(member_of(&w, bad) >= 0 && member_of(&w, fresh) < 0);
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

/* A disk that is returned when its copy has left already, and is the only place for a new one: what
 * is left there is dropped first. One drop that came later would be that of the new copy. */
static void
a_returned_disk_is_emptied_first(void **state)
{
    static struct world w;
    char name[40];
    int bad;

    begin(&w, 3);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    bad = world_daemon_of(&w, 0);
    w.d[bad].scrub.storms = 1;
    world_run(&w, 3000);
    look(&w);
    move(&w, 0, CW_MEMBER_DEAD);
    world_run(&w, 3000);
    look(&w);
    assert_int_equal(member_of(&w, bad), 0);
    snprintf(name, sizeof(name), "%s/store-0", w.d[bad].name);
    assert_int_equal(call_named(&w, CW_MGR_DISK_RETURN, name), CW_MGR_OK);
    for (int i = 0; i < 100; i++) {
        cw_manager_check(w.m);
        world_report(&w, w.c[0].session, 1, 1);
        world_run(&w, 100);
    }
    look(&w);
    assert_int_equal(w.d[bad].n_dropped, 1);
    assert_true(member_of(&w, bad) >= 0);
    assert_int_equal(w.shards[0].members[member_of(&w, bad)].state, CW_MEMBER_OUT);
    world_fini(&w);
}

static uint32_t
caretakes(const struct world *w)
{
    return w->d[0].n_caretakes + w->d[1].n_caretakes + w->d[2].n_caretakes + w->d[3].n_caretakes;
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

/* Nobody has the volume: a caretaker comes for the move, and for the letting go. */
static void
a_caretaker_moves_copies(void **state)
{
    static struct world w;
    int bad;

    begin(&w, 4);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    bad = world_daemon_of(&w, 0);
    w.d[bad].scrub.storms = 1;
    for (int k = 0; k < 130; k++) { /* in-sync copies may be on their way up for two minutes */
        int i = carer(&w);

        if (i >= 0)
            world_report(&w, w.d[i].session, 1, w.d[i].care_gen);
        world_run(&w, 1000);
    }
    look(&w);
    assert_int_equal(w.shards[0].n_members, 4);
    assert_true(carer(&w) >= 0);
    assert_int_equal(caretakes(&w), 1);
    world_fini(&w);
}

static void
name_bad(struct world *w, int daemon, uint64_t blocks)
{
    w->d[daemon].bads[0] = (struct cw_mgr_copy_bad){ .shard = CW_SHARD_ID(1, 0),
                                                     .disk_uuid = w->d[daemon].disk_uuid,
                                                     .format_id = w->d[daemon].format_id,
                                                     .blocks = blocks };
    w->d[daemon].n_bads = blocks > 0;
    w->d[daemon].scrub.bad_blocks = blocks;
}

/* Bad blocks of a volume that nobody has: a caretaker comes to mend them and leaves when they are
 * mended. */
static void
bad_blocks_get_a_caretaker(void **state)
{
    static struct world w;
    int i;

    begin(&w, 3);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    world_run(&w, 130000);
    assert_int_equal(caretakes(&w), 0);
    name_bad(&w, 1, 3);
    world_run(&w, 3000);
    i = carer(&w);
    assert_true(i >= 0);
    world_report(&w, w.d[i].session, 1, w.d[i].care_gen);
    world_run(&w, 5000);
    assert_int_equal(carer(&w), i);
    name_bad(&w, 1, 0);
    for (int k = 0; k < 5; k++) {
        world_report(&w, w.d[i].session, 1, w.d[i].care_gen);
        world_run(&w, 1000);
    }
    assert_int_equal(carer(&w), -1);
    assert_string_equal(world_state(&w, "v"), "released");
    assert_int_equal(caretakes(&w), 1);
    assert_false(world_finding(&w, "BLOCKS_BAD", NULL));
    world_fini(&w);
}

/* What nobody can mend does not hold a caretaker for ever: one tries again after an hour, or when
 * there are more; the finding stays. */
static void
hopeless_blocks_do_not_hold_a_caretaker(void **state)
{
    static struct world w;
    int i;

    begin(&w, 3);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    world_run(&w, 130000);
    for (i = 0; i < 3; i++)
        name_bad(&w, i, 1);
    for (int k = 0; k < 90; k++) {
        i = carer(&w);
        if (i >= 0)
            world_report(&w, w.d[i].session, 1, w.d[i].care_gen);
        world_run(&w, 1000);
    }
    assert_int_equal(caretakes(&w), 1);
    assert_int_equal(carer(&w), -1);
    assert_true(world_finding(&w, "BLOCKS_BAD", "dc1/dc1-1/store-0"));
    world_run(&w, 600000);
    assert_int_equal(caretakes(&w), 1);
    name_bad(&w, 2, 2);
    world_run(&w, 4000);
    assert_int_equal(caretakes(&w), 2);
    world_fini(&w);
}

/* One copy has nothing to be mended from. */
static void
a_single_copy_needs_no_caretaker(void **state)
{
    static struct world w;

    world_init(&w);
    world_three(&w);
    world_client(&w, 0);
    assert_int_equal(
        world_put_policy(&w, (struct cw_mgr_policy){ .name = "one", .copies = 1 }, true, false),
        CW_MGR_OK);
    assert_int_equal(world_create(&w, "v", CW_GIB, "one"), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    name_bad(&w, world_daemon_of(&w, 0), 5);
    world_run(&w, 200000);
    assert_int_equal(caretakes(&w), 0);
    assert_true(world_finding(&w, "BLOCKS_BAD", NULL));
    world_fini(&w);
}

static void
keep_started(struct world *w, const union cw_mgr_reply *r)
{
    const struct cw_mgr_scrub_start_reply *s = &r->scrub_start;

    snprintf(w->text[8], sizeof(w->text[8]), "%zu", s->n_disks);
    for (size_t i = 0; i < s->n_disks && i < 4; i++)
        snprintf(w->text[9 + i], sizeof(w->text[9 + i]), "%s %s", s->disks[i].disk,
                 s->disks[i].failed);
}

static enum cw_mgr_code
scrub_start(struct world *w, const char *target)
{
    struct cw_mgr_call call = { .kind = CW_MGR_SCRUB_START, .req.name = target };

    w->keep = keep_started;
    world_call(w, NULL, &call);
    w->keep = NULL;
    return w->error.code;
}

/* Every disk, those of a volume, or one; a disk that cannot is named with why. */
static void
scrubs_begin_where_asked(void **state)
{
    static struct world w;
    uint32_t n = 0;

    begin(&w, 4);
    assert_int_equal(scrub_start(&w, ""), CW_MGR_OK);
    assert_string_equal(w.text[8], "4");
    for (int i = 0; i < 4; i++)
        assert_int_equal(w.d[i].n_scrubs, 1);
    assert_int_equal(scrub_start(&w, "v"), CW_MGR_OK);
    assert_string_equal(w.text[8], "3");
    for (int i = 0; i < 4; i++)
        n += w.d[i].n_scrubs;
    assert_int_equal(n, 7);
    n = w.d[2].n_scrubs;
    assert_int_equal(scrub_start(&w, "aws-1/store-0"), CW_MGR_OK);
    assert_string_equal(w.text[9], "aws/aws-1/store-0 ");
    assert_int_equal(w.d[2].n_scrubs, n + 1);
    assert_int_equal(scrub_start(&w, "nothing"), CW_MGR_NOT_FOUND);
    assert_int_equal(scrub_start(&w, "aws-1/store-9"), CW_MGR_NOT_FOUND);

    world_down(&w, 0);
    assert_int_equal(scrub_start(&w, "dc1-1/store-0"), CW_MGR_OK);
    assert_string_equal(w.text[9], "dc1/dc1-1/store-0 it does not serve now");
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_storm_is_answered_once),
        cmocka_unit_test(a_name_means_the_disk_in_use),
        cmocka_unit_test(a_return_before_the_disk_is_heard_answers_its_storm),
        cmocka_unit_test(nothing_goes_on_by_metadata_that_went_back),
        cmocka_unit_test(copies_leave_a_quarantined_disk),
        cmocka_unit_test(without_a_place_it_stays),
        cmocka_unit_test(copies_out_of_sync_are_replaced),
        cmocka_unit_test(a_returned_disk_leaves_none_too_many),
        cmocka_unit_test(a_returned_disk_is_emptied_first),
        cmocka_unit_test(a_caretaker_moves_copies),
        cmocka_unit_test(bad_blocks_get_a_caretaker),
        cmocka_unit_test(hopeless_blocks_do_not_hold_a_caretaker),
        cmocka_unit_test(a_single_copy_needs_no_caretaker),
        cmocka_unit_test(scrubs_begin_where_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
