/* A copy that follows: it gets the stream in order, and nobody ever waits for it or reads it. */
#include <stdlib.h>

#include "common/base/bits.h"
#include "tests/unit/owner/fake.h"

/* A volume with two copies in sync, and a third that is to follow. */
static struct world *
with_follower(enum cw_member_state state)
{
    struct world *w = malloc(sizeof(*w));

    world_init(w);
    w->rec.members[2].state = state;
    w->rec.members[2].async = true;
    w->rec.members[2].since_seq = 0;
    w->disks[0].loc.at.host[1] = '9';
    w->disks[2].loc.at.host[1] = '0'; /* the nearest, if it might be read */
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    return w;
}

static struct world *
following(void)
{
    struct world *w = with_follower(CW_MEMBER_OUT);

    world_run(w, 200);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    disk_sync_done(&w->disks[2]);
    world_run(w, 200);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    return w;
}

static void
write_one(struct world *w, struct req *r, uint32_t i)
{
    req_write(w, r, (uint64_t)(i % 100) * 8 * 4096, 8 * 4096, (uint8_t)i);
    world_turn(w);
}

/* Synchronised, it stays as it is: fast and near the end, but no copy in sync. */
static void
it_never_is_in_sync(void **state)
{
    struct world *w = following();
    uint32_t changes = w->n_changes;
    struct req r;

    for (uint32_t i = 0; i < 100; i++) {
        write_one(w, &r, i);
        assert_true(r.done && r.res == 0);
        world_run(w, 500);
        req_read(w, &r, 0, 4096);
        world_turn(w);
        assert_true(r.done && r.res == 0);
    }
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    assert_int_equal(w->n_changes, changes);
    assert_int_equal(w->disks[2].n_reads, 0);
    assert_int_equal(w->disks[2].last, w->disks[0].last);
    world_closed(w);
}

/* Nobody waits for it, also while it is being synchronised, and it is no copy of the two that the
 * volume must have. */
static void
nobody_waits_for_it(void **state)
{
    struct world *w = with_follower(CW_MEMBER_OUT);
    struct req r;

    world_run(w, 200);
    w->disks[2].hold_acks = true;
    write_one(w, &r, 1);
    assert_true(r.done);
    disk_sync_done(&w->disks[2]);
    world_run(w, 200);
    write_one(w, &r, 2);
    assert_true(r.done);
    w->disks[1].silent = true;
    write_one(w, &r, 3);
    world_run(w, 5000);
    assert_int_not_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    assert_false(r.done); /* two in sync are wanted, and it is none */
    w->disks[1].silent = false;
    world_run(w, 5000);
    disk_sync_done(&w->disks[1]);
    world_run(w, 5000);
    assert_true(r.done);
    world_closed(w);
}

/* Under way is as much as the way takes at once: else heartbeats and other copies' records would
 * stand behind it. */
static void
it_does_not_fill_its_link(void **state)
{
    struct world *w = following();
    struct disk *far = &w->disks[2];
    uint64_t all;
    struct req r;

    far->hold_acks = true;
    for (uint32_t i = 0; i < 64; i++)
        write_one(w, &r, i);
    all = w->disks[0].last;
    assert_in_range(far->received, all - 64 + 7, all - 64 + 8); /* 256 KiB */
    world_run(w, 1000);
    disk_release(far);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    assert_int_equal(far->last, all); /* at once, one after the other: the way is wide again */

    far->hold_acks = true;
    for (uint32_t i = 0; i < 64; i++)
        write_one(w, &r, i);
    assert_true(far->received - all > 16);
    for (uint32_t i = 0; i < 100; i++)
        write_one(w, &r, i);
    all = w->disks[0].last;
    for (uint32_t i = 0; i < 200 && far->last < all; i++) { /* a narrow way */
        world_run(w, 1000);
        disk_ack(far);
    }
    assert_int_equal(far->last, all);
    for (uint32_t i = 0; i < 64; i++)
        write_one(w, &r, i);
    assert_in_range(far->received, all + 1, all + 2);
    disk_release(far);
    world_closed(w);
}

/* Its link may break for as long as what it lacks can be kept, and is no flapping one for that: it
 * goes on where it was. */
static void
it_may_be_away(void **state)
{
    struct world *w = following();
    struct disk *far = &w->disks[2];
    uint32_t joins = far->n_joins;
    struct cw_shard_report rep;
    struct req r;

    for (uint32_t i = 0; i < 8; i++) {
        far->refuse_connect = true;
        disk_cut(far);
        write_one(w, &r, i);
        assert_true(r.done);
        world_run(w, 12000);
        far->refuse_connect = false;
        world_run(w, 8000);
        assert_int_equal(far->last, w->disks[0].last);
    }
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    assert_int_equal(far->n_joins, joins);
    cw_volume_report_shard(w->v, 0, &rep);
    assert_int_equal(rep.members[2].flaps, 0);
    world_closed(w);
}

/* What is kept for it is bounded: it goes, and comes back by a resync. */
static void
it_may_not_hold_memory(void **state)
{
    struct world *w = following();
    uint64_t most = 0;
    struct req r;

    w->disks[2].hold_acks = true;
    for (uint32_t i = 0; i < 2000 && world_state(w, 2) == CW_MEMBER_LAGGING; i++) {
        write_one(w, &r, i);
        assert_true(r.done && r.res == 0);
        most = cw_max_u64(most, cw_buf_pool_used(w->pool));
    }
    world_run(w, 200);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    assert_in_range(most, CW_MIB, 64 * CW_MIB);
    assert_true(cw_buf_pool_used(w->pool) < 4 * CW_MIB);
    disk_release(&w->disks[2]);
    world_run(w, 15000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    disk_sync_done(&w->disks[2]);
    world_run(w, 500);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    world_closed(w);
}

/* One that is to be in sync is brought back first, though the other had begun. */
static void
it_yields_to_those_that_count(void **state)
{
    struct world *w = with_follower(CW_MEMBER_OUT);
    struct req r;

    w->min_insync = 1;
    world_run(w, 200);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    w->disks[1].silent = true;
    write_one(w, &r, 1);
    world_run(w, 5000);
    assert_int_not_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    w->disks[1].silent = false;
    world_run(w, 8000);
    assert_int_equal(world_state(w, 1), CW_MEMBER_IN_RESYNC);
    disk_sync_done(&w->disks[1]);
    world_run(w, 500);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    world_run(w, 3000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    assert_true(w->disks[2].n_joins >= 2);
    disk_sync_done(&w->disks[2]);
    world_run(w, 500);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    world_closed(w);
}

/* Called a copy like the others, it becomes one without a resync. */
static void
it_may_become_one_that_counts(void **state)
{
    struct world *w = following();
    uint32_t joins = w->disks[2].n_joins;

    w->rec.members[2].async = false;
    w->rec.cfg++;
    cw_volume_reread(w->v);
    world_run(w, 15000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    assert_int_equal(w->disks[2].n_joins, joins);
    world_closed(w);
}

/* Blocks that went bad there are mended from those that are in sync; nobody else reads them. */
static void
it_is_mended(void **state)
{
    static const uint64_t bad[4] = { 1 };
    struct world *w = following();
    struct req r;

    write_one(w, &r, 0);
    disk_note(&w->disks[2], 3, 1, bad);
    world_run(w, 500);
    assert_int_equal(w->disks[2].mended[3], 1);
    assert_int_equal(w->disks[2].n_reads, 0);
    world_closed(w);
}

/* A release gives it a moment to get the rest, and no more. */
static void
it_gets_the_rest_before_a_release(void **state)
{
    struct world *w = following();
    struct req r;

    w->disks[2].hold_acks = true;
    write_one(w, &r, 1);
    assert_true(r.done);
    cw_volume_release(w->v);
    world_run(w, 500);
    assert_false(w->released);
    disk_release(&w->disks[2]);
    world_run(w, 200);
    assert_true(w->released && w->release_clean);
    world_closed(w);

    w = following();
    w->disks[2].hold_acks = true;
    write_one(w, &r, 1);
    cw_volume_release(w->v);
    world_run(w, 3000);
    assert_true(w->released && w->release_clean);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT); /* it lacks something, and somebody knows */
    world_closed(w);
}

/* Nor one that was lost a moment ago, or that the manager will not hear of. */
static void
a_release_without_it(void **state)
{
    struct world *w = following();
    struct req r;

    w->disks[2].refuse_connect = true;
    disk_cut(&w->disks[2]);
    write_one(w, &r, 1);
    assert_true(r.done);
    cw_volume_release(w->v);
    world_run(w, 3000);
    assert_true(w->released && w->release_clean);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    world_closed(w);

    w = following();
    w->disks[2].hold_acks = true;
    write_one(w, &r, 1);
    w->mode = MGR_DOWN;
    cw_volume_release(w->v);
    world_run(w, 10000);
    assert_false(w->released);
    w->mode = MGR_OK;
    assert_true(world_wait(w, &w->released, 10000));
    world_closed(w);
}

/* An owner of gen 1 left three copies, of which the one that follows lacks the last records. */
static struct world *
left_behind(void)
{
    struct world *w = malloc(sizeof(*w));

    world_init(w);
    w->vol_gen = 2;
    w->rec.members[2].state = CW_MEMBER_LAGGING;
    w->rec.members[2].async = true;
    w->rec.members[2].since_seq = 0;
    for (int i = 0; i < N_DISKS; i++) {
        w->disks[i].promised = 1;
        disk_gen_start(&w->disks[i], 1, 1);
        for (uint32_t s = 2; s < (i == 2 ? 10 : 40); s++)
            disk_append(&w->disks[i], 1, s, s, (uint8_t)s);
    }
    return w;
}

static void
goes_on_without_it(struct world *w)
{
    struct req r;

    assert_true(world_wait(w, &w->ready, 3000));
    write_one(w, &r, 1);
    assert_true(r.done && r.res == 0);
    world_run(w, 15000);
    assert_int_not_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    write_one(w, &r, 2);
    assert_true(r.done && r.res == 0);
    world_closed(w);
}

/* What it lacks it gets at a takeover, if it takes that at once. */
static void
a_takeover_brings_it_along(void **state)
{
    struct world *w = left_behind();

    world_open(w);
    assert_true(w->ready);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    assert_int_equal(w->disks[2].last, w->disks[0].last);
    world_closed(w);
}

/* Else it is gone on without: its disk hangs, its session does not come, its link breaks. */
static void
a_takeover_does_not_wait_for_it(void **state)
{
    struct world *w = left_behind();

    w->disks[2].hold_acks = true;
    world_open(w);
    assert_false(w->ready);
    goes_on_without_it(w);

    w = left_behind();
    w->disks[2].hold_open = true;
    world_open(w);
    goes_on_without_it(w);

    w = left_behind();
    w->disks[2].hold_acks = true;
    world_open(w);
    assert_false(w->ready);
    w->disks[2].refuse_connect = true;
    disk_cut(&w->disks[2]);
    goes_on_without_it(w);

    w = left_behind();
    w->disks[2].silent = true;
    world_open(w);
    goes_on_without_it(w);
}

/* How much it lacks, and since when: also of what waits to be sent, and while its link is down. */
static void
it_is_told_how_far_behind(void **state)
{
    struct world *w = following();
    struct cw_shard_report rep;
    struct req r;

    cw_volume_report_shard(w->v, 0, &rep);
    assert_int_equal(rep.members[2].lag, 0);
    assert_int_equal(rep.members[2].lag_bytes, 0);
    assert_int_equal(rep.members[2].lag_ns, 0);
    w->disks[2].hold_acks = true;
    for (uint32_t i = 0; i < 3; i++)
        write_one(w, &r, i);
    world_run(w, 1000);
    w->disks[2].refuse_connect = true;
    disk_cut(&w->disks[2]);
    world_run(w, 1000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    cw_volume_report_shard(w->v, 0, &rep);
    assert_int_equal(rep.members[2].lag, 3);
    assert_int_equal(rep.members[2].lag_bytes, 3 * 8 * 4096);
    assert_in_range(rep.members[2].lag_ns, 1900 * CW_NS_PER_MS, 2200 * CW_NS_PER_MS);
    w->disks[2].refuse_connect = false;
    world_run(w, 500);
    cw_volume_report_shard(w->v, 0, &rep); /* a new session makes no record younger */
    assert_in_range(rep.members[2].lag_ns, 2400 * CW_NS_PER_MS, 2700 * CW_NS_PER_MS);
    world_closed(w);
}

/* It holds no slot that a copy which counts could use, of whichever volume of the owner. */
static void
it_yields_its_slot(void **state)
{
    struct world *w = malloc(sizeof(*w)), *also = malloc(sizeof(*also));

    world_init(w);
    w->resync_max = 1;
    w->rec.members[2].state = CW_MEMBER_OUT;
    w->rec.members[2].async = true;
    w->rec.members[2].since_seq = 0;
    world_open(w);
    world_also(w, also);
    also->min_insync = 1;
    also->rec.members[1].state = CW_MEMBER_OUT;
    also->disks[1].refuse_connect = true;
    world_open(also);
    world_run(w, 2000);
    assert_true(w->ready && also->ready);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    assert_int_equal(w->disks[2].n_joins, 1);
    also->disks[1].refuse_connect = false;
    also->disks[1].loc.up = true;
    cw_owner_hint_host(w->owner, "h1", true);
    world_run(w, 5000);
    assert_int_equal(also->disks[1].n_joins, 1);
    assert_int_equal(world_state(also, 1), CW_MEMBER_IN_RESYNC);
    disk_sync_done(&also->disks[1]);
    world_run(w, 3000);
    assert_int_equal(world_state(also, 1), CW_MEMBER_INSYNC);
    assert_true(w->disks[2].n_joins >= 2); /* and goes on then */
    disk_sync_done(&w->disks[2]);
    world_run(w, 3000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_LAGGING);
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_never_is_in_sync),
        cmocka_unit_test(nobody_waits_for_it),
        cmocka_unit_test(it_does_not_fill_its_link),
        cmocka_unit_test(it_may_be_away),
        cmocka_unit_test(it_may_not_hold_memory),
        cmocka_unit_test(it_yields_to_those_that_count),
        cmocka_unit_test(it_may_become_one_that_counts),
        cmocka_unit_test(it_is_mended),
        cmocka_unit_test(it_gets_the_rest_before_a_release),
        cmocka_unit_test(a_release_without_it),
        cmocka_unit_test(a_takeover_brings_it_along),
        cmocka_unit_test(a_takeover_does_not_wait_for_it),
        cmocka_unit_test(it_is_told_how_far_behind),
        cmocka_unit_test(it_yields_its_slot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
