/* Members that are slow but alive: set aside without a resync, and taken back (1.9). */

#include "tests/unit/owner/fake.h"

/* A write, for which the disks of the mask take so long. */
static void
slow_write(struct world *w, uint32_t mask, uint64_t ms)
{
    struct req r;

    for (uint32_t i = 0; i < N_DISKS; i++)
        w->disks[i].hold_acks = (mask >> i & 1) != 0;
    req_write(w, &r, 0, 4096, 1);
    world_run(w, ms);
    for (uint32_t i = 0; i < N_DISKS; i++) {
        if (w->disks[i].hold_acks)
            disk_release(&w->disks[i]);
    }
    assert_true(world_wait(w, &r.done, 100));
    assert_int_equal(r.res, 0);
    cw_owner_check(w->owner);
}

/* Slow until it is so, or for so many writes of 200 ms. */
static bool
slow_until(struct world *w, uint32_t mask, uint32_t disk, enum cw_member_state state, uint32_t n)
{
    for (uint32_t i = 0; i < n && world_state(w, disk) != state; i++)
        slow_write(w, mask, 200);
    return world_state(w, disk) == state;
}

static void
row_24_a_slow_copy_is_set_aside_and_comes_back(void **state)
{
    struct world *w = world_opened(2);
    struct disk *x = &w->disks[2];
    struct req r;
    uint64_t begun = w->sim.now_ns;

    assert_true(slow_until(w, 4, 2, CW_MEMBER_LAGGING, 60));
    assert_true(w->sim.now_ns - begun <= 7 * CW_NS_PER_S);
    x->hold_acks = true;
    x->hold_reads = true;
    for (uint32_t i = 0; i < 20; i++) { /* neither waited for nor read, but it gets the stream */
        req_write(w, &r, 4096 * i, 4096, 2);
        world_turn(w);
        assert_true(r.done);
        req_read(w, &r, 4096 * i, 4096);
        world_turn(w);
        assert_true(r.done);
    }
    assert_int_equal(x->received, w->disks[0].last);
    disk_release(x);
    x->hold_acks = x->hold_reads = false;
    for (uint32_t i = 0; i < 100 && world_state(w, 2) != CW_MEMBER_INSYNC; i++)
        slow_write(w, 0, 100);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    assert_int_equal(x->last, w->disks[0].last);
    assert_int_equal(x->n_joins, 0);
    world_closed(w);
}

/* A whole switch is slow: nobody is slow beside the others. */
static void
row_26_all_slow_together_stay_in_sync(void **state)
{
    struct world *w = world_opened(2);

    for (uint32_t i = 0; i < 60; i++)
        slow_write(w, 7, 200);
    assert_int_equal(w->n_changes, 0);
    world_closed(w);
}

/* Never below min-insync. */
static void
a_slow_copy_stays_where_it_is_needed(void **state)
{
    struct world *w = world_opened(3);

    assert_false(slow_until(w, 4, 2, CW_MEMBER_LAGGING, 60));
    assert_int_equal(w->n_changes, 0);
    world_closed(w);
}

/* The manager sets aside so many disks in a minute: one more is asked for again later, and now and
 * then only. */
static void
row_26_a_refused_demotion_is_asked_for_again(void **state)
{
    struct world *w = world_opened(2);

    w->refuse_lagging = true;
    assert_false(slow_until(w, 4, 2, CW_MEMBER_LAGGING, 100));
    assert_in_range(w->n_changes, 2, 8); /* a request and its withdrawal, each time */
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    w->refuse_lagging = false;
    assert_true(slow_until(w, 4, 2, CW_MEMBER_LAGGING, 100));
    world_closed(w);
}

/* One that makes nothing durable for T_eject while it answers heartbeats. */
static void
a_copy_that_hangs_is_set_aside_not_ejected(void **state)
{
    struct world *w = world_opened(2);
    struct disk *x = &w->disks[2];
    struct req r;

    x->hold_acks = true;
    req_write(w, &r, 0, 4096, 1);
    assert_true(world_wait(w, &r.done, 4000));
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    disk_release(x);
    x->hold_acks = false;
    world_run(w, 5000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    assert_int_equal(x->n_joins, 0);
    world_closed(w);
}

/* While the manager is away and cannot set it aside, the only other copy forgets: whoever is all
 * that is left is not set aside by what was asked for before. */
static void
the_last_good_copy_is_not_set_aside_late(void **state)
{
    struct world *w = world_opened(1);
    struct disk *good = &w->disks[2], *forgets = &w->disks[0];
    struct req r;

    w->disks[1].refuse_connect = true;
    disk_cut(&w->disks[1]);
    req_write(w, &r, 0, 4096, 1);
    assert_true(world_wait(w, &r.done, 6000));
    assert_int_equal(world_state(w, 1), CW_MEMBER_OUT);
    good->hold_acks = true;
    w->mode = MGR_DOWN;
    req_write(w, &r, 0, 4096, 2);
    world_run(w, 4000);
    assert_false(r.done);
    disk_release(good);
    good->hold_acks = false;
    forgets->last = forgets->received = 1;
    forgets->n_log = 1;
    disk_cut(forgets);
    world_run(w, 1000);
    w->mode = MGR_OK;
    for (int i = 0; i < 40; i++) {
        world_run(w, 100);
        assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    }
    assert_int_not_equal(world_state(w, 0), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* Paused, or behind a partition: not slow, and no matter for the manager's count of slow disks. */
static void
a_copy_that_is_silent_is_ejected_at_once(void **state)
{
    struct world *w = world_opened(2);
    struct req r;

    w->disks[2].silent = true;
    req_write(w, &r, 0, 4096, 1);
    assert_true(world_wait(w, &r.done, 4000));
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    assert_int_equal(w->n_changes, 1);
    world_closed(w);
}

/* What nobody waits for may not keep records for ever: it goes OUT and is resynced. */
static void
a_copy_that_falls_behind_is_ejected(void **state)
{
    struct world *w = world_opened(2);
    struct req r;

    assert_true(slow_until(w, 4, 2, CW_MEMBER_LAGGING, 60));
    w->disks[2].hold_acks = true;
    for (uint32_t i = 0; i < LOG_MAX - 200 && world_state(w, 2) == CW_MEMBER_LAGGING; i++) {
        req_write(w, &r, 0, sizeof(r.data), 1);
        assert_true(world_wait(w, &r.done, 100));
    }
    world_run(w, 100);
    assert_int_not_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    assert_int_not_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* What it had not answered uses none of the link's credit any more: there is room for its resync,
 * and for what else goes to that disk. */
static void
a_copy_that_fell_behind_leaves_the_link_usable(void **state)
{
    struct world *w = world_opened(2);
    struct disk *x = &w->disks[2];
    struct req r;
    uint32_t n;

    assert_true(slow_until(w, 4, 2, CW_MEMBER_LAGGING, 60));
    cw_owner_link_credit(w->owner, &x->link, 64, 0);
    x->hold_acks = true;
    for (uint32_t i = 0; i < LOG_MAX - 200 && world_state(w, 2) == CW_MEMBER_LAGGING; i++) {
        req_write(w, &r, 0, sizeof(r.data), 1);
        assert_true(world_wait(w, &r.done, 100));
    }
    world_run(w, 100);
    disk_release(x);
    for (uint32_t i = 0; i < 600 && x->n_sync_from == 0; i++)
        world_run(w, 100);
    assert_true(x->n_sync_from > 0);
    n = x->n_writes;
    req_write(w, &r, 0, 4096, 1);
    world_run(w, 100);
    assert_true(r.done);
    assert_true(x->n_writes > n);
    world_closed(w);
}

/* From p on it is waited for; INSYNC only once p-1 is durable on it. */
static void
a_copy_is_taken_back_only_when_it_has_all(void **state)
{
    struct world *w = world_opened(2);
    struct disk *x = &w->disks[2];
    struct req r[4];
    uint32_t changes;

    assert_true(slow_until(w, 4, 2, CW_MEMBER_LAGGING, 60));
    changes = w->n_changes;
    world_run(w, 1000);
    x->hold_acks = true;
    for (uint32_t i = 0; i < 2; i++)
        req_write(w, &r[i], 0, 4096, 1);
    world_run(w, 10);
    assert_true(r[0].done && r[1].done);
    /* it joins with two records outstanding: from then on writes wait for it */
    for (uint32_t ms = 0; ms < 4000; ms += 100) {
        req_write(w, &r[2], 4096, 4096, 2);
        world_run(w, 100);
        if (!r[2].done)
            break;
    }
    if (!r[2].done) {
        assert_int_equal(w->n_changes, changes);
        assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    }
    disk_release(x);
    x->hold_acks = false;
    world_run(w, 5000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_24_a_slow_copy_is_set_aside_and_comes_back),
        cmocka_unit_test(row_26_all_slow_together_stay_in_sync),
        cmocka_unit_test(a_slow_copy_stays_where_it_is_needed),
        cmocka_unit_test(row_26_a_refused_demotion_is_asked_for_again),
        cmocka_unit_test(a_copy_that_hangs_is_set_aside_not_ejected),
        cmocka_unit_test(the_last_good_copy_is_not_set_aside_late),
        cmocka_unit_test(a_copy_that_is_silent_is_ejected_at_once),
        cmocka_unit_test(a_copy_that_falls_behind_is_ejected),
        cmocka_unit_test(a_copy_that_fell_behind_leaves_the_link_usable),
        cmocka_unit_test(a_copy_is_taken_back_only_when_it_has_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
