/* Handing a volume over (docs/replication.md, Hand-over): a release that may be abandoned. */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/owner/fake.h"

#define DRAIN_NS (5 * CW_NS_PER_S)

static void
expect_kept(struct world *w)
{
    assert_true(w->kept);
    assert_false(w->released);
    assert_int_equal(w->n_releases, 0);
    assert_int_equal(cw_volume_state(w->v), CW_VOLUME_READY);
}

static void
serves(struct world *w)
{
    struct req r;

    req_write(w, &r, 8 * 4096, 4096, 7);
    world_run(w, 200);
    assert_true(r.done);
    assert_int_equal(r.res, 0);
}

/* What was sequenced is drained, what comes later is refused, the manager is told once. */
static void
hand_over_drains_first(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r, s;

    w->disks[2].hold_acks = true;
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    assert_int_equal(cw_volume_hand_over(w->v, DRAIN_NS), 0);
    assert_int_equal(cw_volume_hand_over(w->v, DRAIN_NS), 0); /* asked again */
    world_run(w, 200);
    assert_int_equal(w->n_releases, 0);
    req_write(w, &s, 0, 4096, 2);
    disk_release(&w->disks[2]);
    world_run(w, 200);
    assert_true(r.done && s.done);
    assert_int_equal(r.res, 0);
    assert_int_equal(s.res, -ESHUTDOWN);
    assert_true(w->released && w->release_clean);
    assert_int_equal(w->n_releases, 1);
    assert_int_equal(cw_volume_hand_over(w->v, DRAIN_NS), -ESHUTDOWN);
    w->released = false;
    cw_volume_release(w->v); /* whoever closes it is answered too */
    world_turn(w);
    assert_true(w->released && w->release_clean);
    assert_int_equal(w->n_releases, 1);
    world_closed(w);
}

/* A copy that dies meanwhile is ejected as ever, and then nothing is waited for. */
static void
dead_copy_is_ejected_on_the_way(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->disks[2].silent = true;
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    assert_int_equal(cw_volume_hand_over(w->v, DRAIN_NS), 0);
    assert_true(world_wait(w, &w->released, 4500));
    assert_true(w->release_clean && !w->kept);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    assert_true(r.done);
    assert_int_equal(r.res, 0);
    world_closed(w);
}

/* Too few copies are left to acknowledge anything: the volume stays where it is, and goes on there
 * when they are back. */
static void
what_cannot_be_drained_is_kept(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    for (int i = 1; i < N_DISKS; i++) {
        w->disks[i].refuse_connect = true;
        disk_cut(&w->disks[i]);
    }
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    assert_int_equal(cw_volume_hand_over(w->v, DRAIN_NS), 0);
    assert_false(world_wait(w, &w->kept, 4900));
    assert_true(world_wait(w, &w->kept, 300));
    expect_kept(w);
    assert_false(r.done);
    for (int i = 1; i < N_DISKS; i++)
        w->disks[i].refuse_connect = false;
    cw_volume_set_policy(w->v, 1, -1, false, false);
    world_run(w, 2000);
    assert_true(r.done);
    assert_int_equal(r.res, 0);
    serves(w);
    world_closed(w);
}

/* A change in doubt must be over before the volume may go: without a manager it is kept. */
static void
doubt_without_a_manager_is_kept(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->mode = MGR_LOSE_REPLY;
    w->disks[2].silent = true;
    req_write(w, &r, 0, 4096, 1);
    world_run(w, 3700);
    assert_true(w->n_changes > 0);
    w->mode = MGR_DOWN;
    assert_int_equal(cw_volume_hand_over(w->v, DRAIN_NS), 0);
    assert_true(world_wait(w, &w->kept, 5200));
    expect_kept(w);
    w->mode = MGR_OK;
    w->disks[2].silent = false;
    world_run(w, 3000);
    assert_true(r.done);
    serves(w);
    world_closed(w);
}

/* .. and with one it is withdrawn, and the volume goes. */
static void
doubt_is_withdrawn(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->mode = MGR_DOWN;
    w->disks[2].silent = true;
    req_write(w, &r, 0, 4096, 1);
    world_run(w, 3700);
    assert_true(w->n_changes > 0 && !r.done);
    w->mode = MGR_OK;
    w->disks[2].silent = false;
    assert_int_equal(cw_volume_hand_over(w->v, DRAIN_NS), 0);
    assert_true(world_wait(w, &w->released, 4500));
    assert_true(w->release_clean && r.done);
    world_closed(w);
}

/* A resync does not delay it: its copy stays SYNCING in the record, for the next owner. */
static void
resync_is_left_to_the_next(void **state)
{
    struct world *w = malloc(sizeof(*w));

    assert_non_null(w);
    world_init(w);
    w->min_insync = MIN_INSYNC;
    w->rec.members[2].state = CW_MEMBER_OUT;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    world_run(w, 200);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    w->disks[2].hold_acks = true;
    serves(w);
    assert_int_equal(cw_volume_hand_over(w->v, DRAIN_NS), 0);
    assert_true(world_wait(w, &w->released, 100));
    assert_true(w->release_clean);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    world_closed(w);
}

/* A copy that had begun to join the ack set is not waited for, and joins anew if the volume is
 * kept. */
static void
joining_goes_on_when_kept(void **state)
{
    struct world *w = malloc(sizeof(*w));
    struct req r;

    assert_non_null(w);
    world_init(w);
    w->min_insync = MIN_INSYNC;
    w->rec.members[2].state = CW_MEMBER_OUT;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    world_run(w, 200);
    w->disks[1].hold_acks = true; /* an in-sync copy lacks what is before p */
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    disk_sync_done(&w->disks[2]);
    world_run(w, 50);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    assert_int_equal(cw_volume_hand_over(w->v, CW_NS_PER_S), 0);
    assert_true(world_wait(w, &w->kept, 1300));
    expect_kept(w);
    disk_release(&w->disks[1]);
    world_run(w, 500);
    assert_true(r.done);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    serves(w);
    world_closed(w);
}

/* Once the manager was told, the volume may be another's: however long the answer takes, there is
 * no way back. */
static void
told_is_told(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->hold_release = true;
    assert_int_equal(cw_volume_hand_over(w->v, CW_NS_PER_S), 0);
    world_run(w, 5000);
    assert_int_equal(w->n_releases, 1);
    assert_false(w->kept || w->released);
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    assert_int_equal(r.res, -ESHUTDOWN);
    w->mode = MGR_LOSE_REPLY;
    w->hold_release = false;
    world_run(w, 100);
    assert_true(w->released && !w->release_clean);
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    assert_int_equal(r.res, -ESHUTDOWN);
    world_closed(w);
}

/* Whoever closes the volume while it is handed over does not want it back. */
static void
closing_makes_it_final(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->disks[2].hold_acks = true;
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    assert_int_equal(cw_volume_hand_over(w->v, CW_NS_PER_S), 0);
    world_run(w, 300);
    cw_volume_release(w->v);
    world_run(w, 1500);
    assert_false(w->kept);
    disk_release(&w->disks[2]);
    world_run(w, 200);
    assert_true(w->released && w->release_clean);
    world_closed(w);
}

/* A takeover under way is not broken off for it. */
static void
opening_is_not_handed_over(void **state)
{
    struct world *w = malloc(sizeof(*w));

    assert_non_null(w);
    world_init(w);
    for (int i = 0; i < N_DISKS; i++)
        w->disks[i].refuse_connect = true;
    world_open(w);
    assert_int_equal(cw_volume_hand_over(w->v, DRAIN_NS), -EBUSY);
    for (int i = 0; i < N_DISKS; i++)
        w->disks[i].refuse_connect = false;
    assert_true(world_wait(w, &w->ready, 1000));
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hand_over_drains_first),
        cmocka_unit_test(dead_copy_is_ejected_on_the_way),
        cmocka_unit_test(what_cannot_be_drained_is_kept),
        cmocka_unit_test(doubt_without_a_manager_is_kept),
        cmocka_unit_test(doubt_is_withdrawn),
        cmocka_unit_test(resync_is_left_to_the_next),
        cmocka_unit_test(joining_goes_on_when_kept),
        cmocka_unit_test(told_is_told),
        cmocka_unit_test(closing_makes_it_final),
        cmocka_unit_test(opening_is_not_handed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
