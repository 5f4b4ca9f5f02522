/* Verify: what it counts, what it repairs, that a second run is clean. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/owner/fake.h"

static void
on_progress(struct cw_verify *j)
{
}

/* A bad block on one copy: found once, repaired once, and the next run finds nothing. */
static void
finds_and_repairs(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct cw_verify j = { .on_progress = on_progress };

    w->disks[1].bad_reads = true;
    w->disks[1].bad_block = 300;
    assert_int_equal(cw_verify_start(w->v, &j), 0);
    assert_true(world_wait(w, &j.finished, 5000));
    assert_string_equal(j.failed, "");
    assert_int_equal(j.found, 1);
    assert_int_equal(j.repaired, 1);
    assert_int_equal(j.unrepairable, 0);
    assert_int_equal(j.copies, 3);
    assert_int_equal(j.total_bytes, 3ull * N_BLOCKS * 4096);
    assert_int_equal(j.done_bytes, j.total_bytes);
    assert_int_equal(cw_verify_start(w->v, &j), 0);
    assert_true(world_wait(w, &j.finished, 5000));
    assert_int_equal(j.found, 0);
    world_closed(w);
}

/* Blocks that verify everywhere and are not the same are counted; nobody wins by itself. */
static void
row_48_differences_are_told_and_no_copy_wins(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct cw_verify j = { .on_progress = on_progress };

    memset(w->disks[2].blocks[5], 0x77, 4096);
    assert_int_equal(cw_verify_start(w->v, &j), 0);
    assert_true(world_wait(w, &j.finished, 5000));
    assert_int_equal(j.differing, 1);
    assert_int_equal(j.found, 0);
    assert_int_equal(w->disks[2].n_repairs, 0);
    world_closed(w);
}

/* Writes go on during a verify, and what they change meanwhile is never taken for a difference. */
static void
writes_go_on(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct cw_verify j = { .on_progress = on_progress };
    struct req *r = calloc(200, sizeof(*r));

    for (int i = 0; i < N_DISKS; i++)
        w->disks[i].hold_reads = true;
    assert_int_equal(cw_verify_start(w->v, &j), 0);
    world_turn(w);
    for (int i = 0; i < 200; i++)
        req_write(w, &r[i], (uint64_t)(i * 5) * 4096, 4096, (uint8_t)i);
    for (int i = 0; i < N_DISKS; i++)
        disk_release(&w->disks[i]);
    assert_true(world_wait(w, &j.finished, 5000));
    assert_int_equal(j.differing + j.found, 0);
    for (int i = 0; i < 200; i++)
        assert_true(r[i].done && r[i].res == 0);
    free(r);
    world_closed(w);
}

/* A block that no copy can give is unrepairable; a cancelled run says so. */
static void
unrepairable_and_cancel(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct cw_verify j = { .on_progress = on_progress };

    for (int i = 0; i < N_DISKS; i++) {
        w->disks[i].bad_reads = true;
        w->disks[i].bad_block = 9;
    }
    assert_int_equal(cw_verify_start(w->v, &j), 0);
    assert_true(world_wait(w, &j.finished, 5000));
    assert_int_equal(j.found, 3);
    assert_int_equal(j.repaired, 0);
    assert_int_equal(j.unrepairable, 3);
    assert_int_equal(cw_verify_start(w->v, &j), 0);
    cw_verify_cancel(&j);
    assert_true(world_wait(w, &j.finished, 5000));
    assert_string_equal(j.failed, "cancelled");
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_and_repairs),
        cmocka_unit_test(row_48_differences_are_told_and_no_copy_wins),
        cmocka_unit_test(writes_go_on),
        cmocka_unit_test(unrepairable_and_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
