/* Links that come and go: whose copies are set aside, for how long, and whose are not. */

#include "tests/unit/owner/fake.h"

enum loss { SILENT, BROKEN };

/* In steps, so that frames pass meanwhile. */
static void
pass(struct world *w, uint64_t ms)
{
    for (uint64_t t = 0; t < ms; t += 10)
        world_run(w, 10);
}

static struct world *
opened(uint32_t min_insync)
{
    struct world *w = world_opened(min_insync);

    pass(w, 1000);
    return w;
}

static void
lose(struct world *w, uint32_t mask, enum loss how)
{
    for (uint32_t i = 0; i < N_DISKS; i++) {
        struct disk *d = &w->disks[i];

        if (!(mask >> i & 1))
            continue;
        if (how == BROKEN) {
            d->refuse_connect = true;
            disk_cut(d);
        } else {
            d->silent = true;
        }
    }
}

static void
find(struct world *w)
{
    for (uint32_t i = 0; i < N_DISKS; i++)
        w->disks[i].refuse_connect = w->disks[i].silent = false;
}

/* A write meanwhile; how long it took, in ms. */
static uint64_t
write_through(struct world *w, uint64_t ms)
{
    uint64_t begun = w->sim.now_ns, took;
    struct req r;

    req_write(w, &r, 0, 4096, 1);
    assert_true(world_wait(w, &r.done, 10000));
    took = (w->sim.now_ns - begun) / CW_NS_PER_MS;
    pass(w, took < ms ? ms - took : 0);
    return took;
}

/* Down for 2 s and up for up_ms, n times over, with a write each time that it goes down; how many
 * of them had to wait. */
static uint32_t
flap(struct world *w, uint32_t mask, enum loss how, uint32_t n, uint64_t up_ms)
{
    uint32_t waits = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t end = w->sim.now_ns + (2000 + up_ms) * CW_NS_PER_MS;
        struct req r;

        lose(w, mask, how);
        req_write(w, &r, 0, 4096, 1);
        pass(w, 500);
        waits += !r.done;
        pass(w, 1500);
        find(w);
        assert_true(world_wait(w, &r.done, 2000));
        pass(w, (cw_max_u64(end, w->sim.now_ns) - w->sim.now_ns) / CW_NS_PER_MS);
        cw_owner_check(w->owner);
    }
    return waits;
}

static struct cw_member_report
told_of(struct world *w, uint32_t disk)
{
    struct cw_shard_report r;

    cw_volume_report_shard(w->v, 0, &r);
    for (uint32_t i = 0; i < r.n_members; i++) {
        if (cw_uuid_equal(&r.members[i].disk_uuid, &w->disks[disk].loc.disk_uuid))
            return r.members[i];
    }
    return (struct cw_member_report){ 0 };
}

static void
row_23(enum loss how)
{
    struct world *w = opened(2);
    uint64_t begun;

    assert_int_equal(flap(w, 4, how, 2, 1000), 2);
    assert_int_equal(w->n_changes, 0);
    assert_int_equal(flap(w, 4, how, 1, 1000), 1);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    assert_int_equal(flap(w, 4, how, 197, 1000), 0); /* ten minutes in all: nobody waits for it */
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    assert_int_equal(w->n_changes, 1);
    assert_true(told_of(w, 2).flapping);
    assert_int_equal(told_of(w, 2).flaps, 200);
    assert_int_equal(told_of(w, 0).flaps, 0);
    begun = w->sim.now_ns;
    while (world_state(w, 2) != CW_MEMBER_INSYNC)
        write_through(w, 100);
    assert_in_range(w->sim.now_ns - begun, 2 * CW_NS_PER_S, 5 * CW_NS_PER_S);
    assert_false(told_of(w, 2).flapping);
    assert_int_equal(w->disks[2].n_joins, 0);
    world_closed(w);
}

static void
row_23_a_copy_behind_a_link_that_breaks_is_set_aside(void **state)
{
    row_23(BROKEN);
}

static void
row_23_a_copy_behind_a_link_that_falls_silent_is_set_aside(void **state)
{
    row_23(SILENT);
}

/* A daemon is restarted, now and then. */
static void
two_losses_in_a_minute_change_nothing(void **state)
{
    struct world *w = opened(2);

    for (uint32_t i = 0; i < 5; i++) {
        flap(w, 4, BROKEN, 2, 1000);
        pass(w, 60000);
    }
    assert_int_equal(w->n_changes, 0);
    assert_int_equal(told_of(w, 2).flaps, 10);
    world_closed(w);
}

/* A connection that breaks and is there again costs nobody a second. */
static void
a_broken_connection_is_no_flap(void **state)
{
    struct world *w = opened(2);

    for (uint32_t i = 0; i < 20; i++) {
        disk_cut(&w->disks[2]);
        pass(w, 1000);
    }
    assert_int_equal(w->n_changes, 0);
    assert_int_equal(told_of(w, 2).flaps, 0);
    world_closed(w);
}

/* The owner's own link: no disk is to blame, whichever is back first. */
static void
all_flap_together_and_stay_in_sync(void **state)
{
    for (enum loss how = SILENT; how <= BROKEN; how++) {
        struct world *w = opened(2);

        flap(w, 7, how, 20, 1000);
        for (uint32_t i = 0; i < 20; i++) { /* one is away for a little longer than the others */
            lose(w, 7, how);
            pass(w, 900);
            w->disks[0].refuse_connect = w->disks[0].silent = false;
            w->disks[1].refuse_connect = w->disks[1].silent = false;
            pass(w, 600);
            find(w);
            pass(w, 1500);
        }
        assert_int_equal(w->n_changes, 0);
        for (uint32_t i = 0; i < N_DISKS; i++)
            assert_int_equal(told_of(w, i).flaps, 0);
        world_closed(w);
    }
}

/* Never below min-insync; but the manager is told. */
static void
a_copy_that_is_needed_stays(void **state)
{
    struct world *w = opened(3);

    assert_int_equal(flap(w, 4, BROKEN, 20, 1000), 20);
    assert_int_equal(w->n_changes, 0);
    assert_int_equal(told_of(w, 2).flaps, 20);
    world_closed(w);
}

/* Set aside, it is taken back while its link still flaps when too few others are in sync. */
static void
a_copy_that_becomes_needed_is_taken_back(void **state)
{
    struct world *w = opened(2);
    struct req r;

    flap(w, 4, BROKEN, 3, 1000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    for (uint32_t i = 0; i < 4; i++) { /* its back-off grows to 32 s */
        while (world_state(w, 2) != CW_MEMBER_INSYNC)
            pass(w, 100);
        flap(w, 4, BROKEN, 1, 0);
        assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    }
    lose(w, 2, BROKEN);
    req_write(w, &r, 0, 4096, 1);
    assert_true(world_wait(w, &r.done, 20000));
    assert_int_equal(world_state(w, 1), CW_MEMBER_OUT);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* From one flap more until it is taken back. */
static uint64_t
seconds_aside(struct world *w)
{
    uint64_t begun;

    assert_int_equal(flap(w, 4, BROKEN, 1, 0), 1);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    begun = w->sim.now_ns;
    while (world_state(w, 2) != CW_MEMBER_INSYNC)
        pass(w, 100);
    return (w->sim.now_ns - begun) / CW_NS_PER_S;
}

/* 4 s after the third, and twice that with each that follows. */
static void
each_flap_that_was_felt_doubles_the_back_off(void **state)
{
    struct world *w = opened(2);

    flap(w, 4, BROKEN, 2, 1000);
    for (uint64_t s = 4; s <= 16; s *= 2)
        assert_in_range(seconds_aside(w), s, s + 1);
    pass(w, 3600000);
    flap(w, 4, BROKEN, 2, 1000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    assert_in_range(seconds_aside(w), 4, 5); /* an hour without one: forgotten */
    world_closed(w);
}

/* A copy that goes OUT, since its link is away for longer, is not resynced before that is steady.
 */
static void
a_copy_is_not_resynced_over_a_shaky_link(void **state)
{
    struct world *w = opened(2);
    uint32_t changes;

    flap(w, 4, BROKEN, 2, 1000);
    lose(w, 4, BROKEN);
    write_through(w, 5000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    changes = w->n_changes;
    find(w);
    pass(w, 3000);
    assert_int_equal(w->n_changes, changes);
    pass(w, 4000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_23_a_copy_behind_a_link_that_breaks_is_set_aside),
        cmocka_unit_test(row_23_a_copy_behind_a_link_that_falls_silent_is_set_aside),
        cmocka_unit_test(two_losses_in_a_minute_change_nothing),
        cmocka_unit_test(a_broken_connection_is_no_flap),
        cmocka_unit_test(all_flap_together_and_stay_in_sync),
        cmocka_unit_test(a_copy_that_is_needed_stays),
        cmocka_unit_test(a_copy_that_becomes_needed_is_taken_back),
        cmocka_unit_test(each_flap_that_was_felt_doubles_the_back_off),
        cmocka_unit_test(a_copy_is_not_resynced_over_a_shaky_link),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
