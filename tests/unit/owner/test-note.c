/* What copies say is bad on them: mended from the others, before anybody reads it. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/owner/fake.h"

static struct cw_volume_report
report(const struct world *w)
{
    struct cw_volume_report r;

    cw_volume_report(w->v, &r);
    return r;
}

/* Just the blocks named are read from another copy and written back, all of them. */
static void
named_blocks_are_mended(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    const uint64_t bad[4] = { 1 << 3 | 1 << 4, 0, 0, 1 };

    disk_note(&w->disks[1], 256, 256, bad);
    world_run(w, 200);
    assert_int_equal(w->disks[1].n_repairs, 2); /* runs */
    assert_int_equal(w->disks[1].mended[259], 1);
    assert_int_equal(w->disks[1].mended[260], 1);
    assert_int_equal(w->disks[1].mended[448], 1);
    assert_int_equal(w->disks[1].n_reads, 0);
    assert_int_equal(w->disks[0].n_reads + w->disks[2].n_reads, 2);
    assert_int_equal(w->disks[0].n_repairs + w->disks[2].n_repairs, 0);
    assert_int_equal(report(w).repaired_blocks, 3);
    assert_int_equal(report(w).error_blocks + report(w).lost_blocks, 0);
    world_closed(w);
}

/* A source that is bad there itself mends nobody (I14): the next copy is asked, and both are mended
 * from it. */
static void
row_52_a_bad_source_mends_nobody(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    const uint64_t bad[4] = { 1 << 3 };

    w->disks[0].bad_reads = true;
    w->disks[0].bad_block = 3;
    memset(w->disks[2].blocks[3], 0x42, 4096);
    disk_note(&w->disks[1], 0, 256, bad);
    world_run(w, 200);
    assert_int_equal(w->disks[2].n_reads, 1);
    assert_int_equal(w->disks[2].n_repairs, 0);
    assert_int_equal(w->disks[1].mended[3], 1);
    assert_int_equal(w->disks[1].blocks[3][7], 0x42);
    assert_int_equal(report(w).lost_blocks, 0);
    world_closed(w);
}

/* Many at once, and more than are kept: all that were taken are mended, one by one. */
static void
many_are_mended_in_turn(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    const uint64_t one[4] = { 1 };
    uint32_t n = 0;

    for (uint32_t lba = 0; lba < N_BLOCKS; lba++)
        disk_note(&w->disks[2], lba, 1, one);
    world_run(w, 5000);
    for (uint32_t lba = 0; lba < N_BLOCKS; lba++)
        n += w->disks[2].mended[lba] == 1;
    assert_in_range(n, 200, N_BLOCKS);
    for (uint32_t lba = 0; lba < N_BLOCKS; lba++)
        assert_true(w->disks[2].mended[lba] <= 1);
    world_closed(w);
}

/* What no other copy has is lost, and only that; it is no failed read of anybody. It is forgotten
 * once a copy mends it, or nobody speaks of it any more. */
static void
row_47_what_nobody_has_is_lost(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    const uint64_t bad[4] = { 7 << 4 };

    w->disks[0].bad_reads = w->disks[2].bad_reads = true;
    w->disks[0].bad_block = w->disks[2].bad_block = 5;
    disk_note(&w->disks[1], 0, 256, bad);
    world_run(w, 200);
    assert_int_equal(w->disks[1].mended[4], 1);
    assert_int_equal(w->disks[1].mended[5], 0);
    assert_int_equal(w->disks[1].mended[6], 1);
    assert_int_equal(report(w).lost_blocks, 1);
    assert_int_equal(report(w).error_blocks, 0);
    world_run(w, 600000);
    assert_int_equal(report(w).lost_blocks, 1);
    disk_note(&w->disks[1], 0, 256, bad);
    world_run(w, 1200000);
    assert_int_equal(report(w).lost_blocks, 1);
    world_run(w, 1200000);
    assert_int_equal(report(w).lost_blocks, 0);

    disk_note(&w->disks[1], 0, 256, bad);
    world_run(w, 200);
    assert_int_equal(report(w).lost_blocks, 1);
    w->disks[2].bad_reads = false;
    disk_note(&w->disks[1], 0, 256, bad);
    world_run(w, 200);
    assert_int_equal(report(w).lost_blocks, 0);
    assert_int_equal(w->disks[1].mended[5], 1);
    world_closed(w);
}

/* A copy that is not in sync is not written into, whatever it says. */
static void
only_copies_in_sync_are_mended(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    const uint64_t bad[4] = { 2 };

    w->disks[2].refuse_connect = true;
    disk_cut(&w->disks[2]);
    world_run(w, 8000);
    assert_true(world_state(w, 2) != CW_MEMBER_INSYNC);
    w->disks[2].refuse_connect = false;
    world_run(w, 5000); /* it comes back and is synchronised */
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    disk_note(&w->disks[2], 0, 256, bad);
    world_run(w, 200);
    assert_int_equal(w->disks[2].n_repairs, 0);
    disk_sync_done(&w->disks[2]);
    world_run(w, 2000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    disk_note(&w->disks[2], 0, 256, bad);
    world_run(w, 200);
    assert_int_equal(w->disks[2].n_repairs, 1);
    world_closed(w);
}

/* What a copy says when its session opens, while the takeover is still under way, is not lost. */
static void
told_during_the_takeover(void **state)
{
    struct world *w = malloc(sizeof(*w));
    const uint64_t bad[4] = { 2 };

    world_init(w);
    w->disks[2].hold_acks = true; /* of GEN_START */
    world_open(w);
    world_run(w, 100);
    assert_true(w->disks[1].session && !w->ready);
    disk_note(&w->disks[1], 0, 256, bad);
    world_run(w, 100);
    assert_int_equal(w->disks[1].n_repairs, 0);
    disk_release(&w->disks[2]);
    assert_true(world_wait(w, &w->ready, 1000));
    world_run(w, 200);
    assert_int_equal(w->disks[1].n_repairs, 1);
    world_closed(w);
}

/* A copy may leave, and the volume may be released, while its blocks are being read. */
static void
it_may_end_at_any_time(void **state)
{
    for (int kind = 0; kind < 3; kind++) {
        struct world *w = world_opened(MIN_INSYNC);
        const uint64_t bad[4] = { 2 };

        w->disks[0].hold_reads = w->disks[2].hold_reads = true;
        disk_note(&w->disks[1], 0, 256, bad);
        world_run(w, 50);
        assert_int_equal(w->disks[0].n_held_reads + w->disks[2].n_held_reads, 1);
        if (kind == 0) {
            disk_cut(&w->disks[1]);
            w->disks[1].refuse_connect = true;
            world_run(w, 8000);
            assert_true(world_state(w, 1) != CW_MEMBER_INSYNC);
        } else if (kind == 1) {
            cw_volume_release(w->v);
            world_run(w, 100);
        }
        disk_release(&w->disks[0]);
        disk_release(&w->disks[2]);
        world_run(w, 3000);
        if (kind == 1)
            assert_true(w->released && w->release_clean);
        if (kind == 2)
            assert_int_equal(w->disks[1].n_repairs, 1);
        world_closed(w);
    }
}

/* Nothing that a peer may send does harm. */
static void
nonsense_is_ignored(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    const uint64_t all[4] = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX }, none[4] = { 0 };
    struct req r;

    disk_note(&w->disks[1], 0, 0, all);
    disk_note(&w->disks[1], 0, 257, all);
    disk_note(&w->disks[1], N_BLOCKS, 1, all);
    disk_note(&w->disks[1], (UINT64_C(1) << 44) - 1, 256, all);
    disk_note(&w->disks[1], 5, 9, none);
    world_run(w, 200);
    assert_int_equal(w->disks[1].n_repairs, 0);
    disk_note(&w->disks[1], N_BLOCKS - 1, 256, all); /* only what exists */
    world_run(w, 200);
    assert_int_equal(w->disks[1].n_repairs, 1);
    assert_int_equal(w->disks[1].mended[N_BLOCKS - 1], 1);
    req_write(w, &r, 0, 4096, 1);
    world_run(w, 200);
    assert_true(r.done && r.res == 0);
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_blocks_are_mended),
        cmocka_unit_test(row_52_a_bad_source_mends_nobody),
        cmocka_unit_test(many_are_mended_in_turn),
        cmocka_unit_test(row_47_what_nobody_has_is_lost),
        cmocka_unit_test(only_copies_in_sync_are_mended),
        cmocka_unit_test(told_during_the_takeover),
        cmocka_unit_test(it_may_end_at_any_time),
        cmocka_unit_test(nonsense_is_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
