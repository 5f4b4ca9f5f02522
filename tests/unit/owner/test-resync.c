/* Resync from the owner's side: the order of its steps, above all of the promotion (1.10 step 5).
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/owner/fake.h"

/* A volume whose third copy was ejected and is reachable again. */
static struct world *
with_out_copy(void)
{
    struct world *w = malloc(sizeof(*w));

    world_init(w);
    w->rec.members[2].state = CW_MEMBER_OUT;
    w->disks[0].loc.at.host[1] = '9';
    w->disks[2].loc.at.host[1] = '0'; /* the nearest, once it may be read */
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    return w;
}

/* OUT and reachable: SYNCING by change, then SEAL, OPEN, JOIN, SYNC_FROM, and the stream from s0
 * on, none of which a write waits for. */
static void
copy_is_joined(void **state)
{
    struct world *w = with_out_copy();
    struct disk *x = &w->disks[2];
    struct req r;

    world_run(w, 200);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    assert_int_equal(x->n_joins, 1);
    assert_int_equal(x->n_sync_from, 1);
    x->hold_acks = true;
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    assert_true(r.done);
    assert_int_equal(x->n_writes, 1);
    world_closed(w);
}

/* A copy that the manager adds while we own the volume lies on a disk that we never heard of: its
 * place comes with the record, and it is joined. */
static void
added_copy_is_found_and_joined(void **state)
{
    struct world *w = malloc(sizeof(*w));

    world_init(w);
    w->rec.n_members = 2;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    w->rec.n_members = 3;
    w->rec.members[2].state = CW_MEMBER_OUT;
    w->rec.cfg++;
    cw_volume_reread(w->v);
    world_run(w, 300);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    assert_int_equal(w->disks[2].n_joins, 1);
    world_closed(w);
}

/* A disk that the manager calls crowded is not asked to join; once it is not any more, it is. */
static void
crowded_disk_is_not_joined(void **state)
{
    struct world *w = malloc(sizeof(*w));

    world_init(w);
    w->rec.members[2].state = CW_MEMBER_OUT;
    w->disks[2].loc.crowded = true;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    world_run(w, 5000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    assert_int_equal(w->disks[2].n_joins, 0);
    assert_int_equal(w->n_changes, 0);
    w->disks[2].loc.crowded = false;
    cw_owner_hint_locations(w->owner, &w->disks[2].loc, 1);
    world_run(w, 300);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    assert_int_equal(w->disks[2].n_joins, 1);
    world_closed(w);
}

/* A copy that is OUT and whose disk fails during the takeover is joined once the disk is back. */
static void
failed_disk_is_joined_when_it_is_back(void **state)
{
    struct world *w = malloc(sizeof(*w));

    world_init(w);
    w->rec.members[2].state = CW_MEMBER_OUT;
    w->disks[2].broken = true;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    world_run(w, 500);
    w->disks[2].broken = false;
    world_run(w, 20000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    assert_int_equal(w->disks[2].n_joins, 1);
    world_closed(w);
}

/* What compresses a copy comes with the record: SEAL shows it, and a change by the manager while
 * the volume is in use is read again and shown to every copy, writes going on. */
static void
compression_is_shown_to_every_copy(void **state)
{
    struct world *w = malloc(sizeof(*w));
    struct req r;

    world_init(w);
    w->rec.compression = CW_COMPRESSION_BACKGROUND;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    for (uint32_t i = 0; i < w->rec.n_members; i++)
        assert_int_equal(w->disks[i].shown.compression, CW_COMPRESSION_BACKGROUND);
    w->rec.compression = CW_COMPRESSION_INLINE;
    w->rec.cfg++;
    cw_volume_reread(w->v);
    req_write(w, &r, 0, 4096, 1);
    world_run(w, 300);
    assert_true(r.done && r.res == 0);
    for (uint32_t i = 0; i < w->rec.n_members; i++) {
        assert_int_equal(w->disks[i].shown.cfg, w->rec.cfg);
        assert_int_equal(w->disks[i].shown.compression, CW_COMPRESSION_INLINE);
    }
    world_closed(w);
}

/* After SYNC_DONE new writes wait for the copy too, but it becomes INSYNC only when everything
 * before p is durable on it and on every in-sync copy. */
static void
promotion_waits_for_p(void **state)
{
    struct world *w = with_out_copy();
    struct disk *x = &w->disks[2];
    struct req before, after;

    world_run(w, 200);
    w->disks[1].hold_acks = true;
    req_write(w, &before, 0, 4096, 1);
    world_turn(w);
    disk_sync_done(x);
    world_run(w, 200);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC); /* p-1 is not durable on disk 1 */
    x->hold_acks = true;
    req_write(w, &after, 4096, 4096, 2);
    world_turn(w);
    disk_release(&w->disks[1]);
    world_run(w, 200);
    assert_true(before.done);
    assert_false(after.done); /* at or above p: the joining copy counts */
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    disk_release(x);
    assert_true(after.done);
    world_closed(w);
}

/* The promotion of disk 2 is in force, and its owner was not told. */
static struct world *
with_doubtful_copy(void)
{
    struct world *w = with_out_copy();

    world_run(w, 200);
    disk_sync_done(&w->disks[2]);
    w->mode = MGR_LOSE_REPLY;
    world_run(w, 1000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    return w;
}

/* The promoted copy is read only after the change is known, and then counts for acks. */
static void
promoted_copy_serves(void **state)
{
    struct world *w = with_doubtful_copy();
    struct disk *x = &w->disks[2];
    struct req r;

    for (int i = 0; i < 8; i++) {
        req_read(w, &r, 0, 4096);
        world_turn(w);
        assert_true(r.done);
    }
    assert_int_equal(x->n_reads, 0); /* in doubt: reads use old and new */
    w->mode = MGR_OK;
    world_run(w, 3000);
    for (int i = 0; i < 8; i++) {
        req_read(w, &r, 0, 4096);
        world_turn(w);
    }
    assert_true(x->n_reads > 0);
    x->hold_acks = true;
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    assert_false(r.done);
    disk_release(x);
    assert_true(r.done);
    world_closed(w);
}

/* .. so what the others have lost is not given up before: it may be in sync, and have it. */
static void
promotion_in_doubt_may_have_what_is_lost(void **state)
{
    struct world *w = with_doubtful_copy();
    struct disk *x = &w->disks[2];
    struct req r;

    for (int i = 0; i < 2; i++) {
        w->disks[i].bad_reads = true;
        w->disks[i].bad_block = 0;
    }
    req_read(w, &r, 0, 4096);
    world_run(w, 500);
    assert_false(r.done);
    w->mode = MGR_OK;
    world_run(w, 3000);
    assert_true(r.done);
    assert_int_equal(r.res, 0);
    assert_true(x->n_reads > 0);
    world_closed(w);
}

/* A disconnect before SYNC_DONE begins the copy again with a new JOIN; a source that leaves is
 * replaced. */
static void
disconnect_joins_again(void **state)
{
    struct world *w = with_out_copy();
    struct disk *x = &w->disks[2];
    uint64_t join;

    world_run(w, 200);
    join = x->join_id;
    disk_cut(x);
    world_run(w, 500);
    assert_int_equal(x->n_joins, 2);
    assert_true(x->join_id != join);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    disk_cut(&w->disks[0]);
    disk_cut(&w->disks[1]);
    world_run(w, 500);
    assert_true(x->n_sync_from >= 3);
    disk_sync_done(x);
    world_run(w, 500);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* A copy that goes away during its resync goes OUT, and the back-off grows with each time. */
static void
flapping_backs_off(void **state)
{
    struct world *w = with_out_copy();
    struct disk *x = &w->disks[2];
    uint64_t waited[3];

    for (int i = 0; i < 3; i++) {
        world_run(w, 200);
        x->refuse_connect = true;
        disk_cut(x);
        for (int t = 0; t < 1000 && world_state(w, 2) != CW_MEMBER_OUT; t++)
            world_run(w, 50);
        assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
        x->refuse_connect = false;
        waited[i] = 0;
        while (world_state(w, 2) == CW_MEMBER_OUT && waited[i] < 20000) {
            world_run(w, 50);
            waited[i] += 50;
        }
        assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    }
    assert_true(waited[2] > waited[0]);
    world_closed(w);
}

/* A copy that is to leave for good goes DEAD as soon as enough others are in sync, and is not
 * brought back; when they are not, the wish lapses. */
static void
evicted_copy_leaves(void **state)
{
    struct world *w = malloc(sizeof(*w));
    struct cw_uuid nobody = { { 99 } };
    struct req r;

    world_init(w);
    w->min_insync = 3;
    world_open(w);
    assert_true(world_wait(w, &w->ready, 1000));
    assert_int_equal(cw_volume_evict(w->v, CW_SHARD_ID(VOLUME_ID, 0), &nobody), -ENOENT);
    assert_int_equal(cw_volume_evict(w->v, CW_SHARD_ID(VOLUME_ID, 0), &w->disks[1].loc.disk_uuid),
                     0);
    world_run(w, 5000);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC); /* writes would have to wait */
    world_run(w, 6000);
    cw_volume_set_policy(w->v, 2, -1, false, false);
    world_run(w, 1000);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC); /* that was too long ago */
    assert_int_equal(cw_volume_evict(w->v, CW_SHARD_ID(VOLUME_ID, 0), &w->disks[1].loc.disk_uuid),
                     0);
    world_run(w, 200);
    assert_int_equal(world_state(w, 1), CW_MEMBER_DEAD);
    req_write(w, &r, 0, 4096, 7);
    world_run(w, 30000);
    assert_true(r.done && r.res == 0);
    assert_int_equal(world_state(w, 1), CW_MEMBER_DEAD);
    assert_int_equal(w->disks[1].n_joins, 0);
    world_closed(w);
}

/* Paused: none begins, one under way ends and begins again when it goes on; the rate of all is told
 * to the copy, also while it is filled. */
static void
resync_is_paused_and_bounded(void **state)
{
    struct world *w = with_out_copy();
    struct disk *x = &w->disks[2];

    world_run(w, 200);
    assert_int_equal(x->n_sync_from, 1);
    assert_int_equal(x->sync_rate, 0);
    w->resync_limit = 8 * CW_MIB;
    cw_volume_reread(w->v);
    world_run(w, 3000);
    assert_int_equal(x->sync_rate, 8 * CW_MIB);
    w->resync_paused = true;
    cw_volume_reread(w->v);
    world_run(w, 200);
    disk_sync_done(x);
    world_run(w, 3000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_IN_RESYNC);
    assert_int_equal(x->n_joins, 1);
    w->resync_paused = false;
    cw_volume_reread(w->v);
    world_run(w, 3000);
    assert_int_equal(x->n_joins, 2);
    disk_sync_done(x);
    world_run(w, 500);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* An owner that may resync one shard at a time. Two volumes whose third copy is OUT and cannot be
 * reached, that of `later` (2: neither) only some time after the other; away[i]: the second of
 * volume i is OUT, too, and stays away. Which volume is joined first, once the disks are back; the
 * other one is when that is done. */
static struct world *
first_joined(const bool away[2], uint32_t later)
{
    struct world *w = malloc(sizeof(*w)), *also = malloc(sizeof(*also)), *both[2] = { w, also };
    struct world *ret;

    world_init(w);
    w->resync_max = 1;
    for (uint32_t i = 0; i < 2; i++) {
        if (i == 1)
            world_also(w, also);
        both[i]->min_insync = 1;
        both[i]->rec.members[1].state = away[i] ? CW_MEMBER_OUT : CW_MEMBER_INSYNC;
        both[i]->disks[1].refuse_connect = away[i];
        both[i]->rec.members[2].state = i == later ? CW_MEMBER_INSYNC : CW_MEMBER_OUT;
        both[i]->disks[2].refuse_connect = i != later;
        world_open(both[i]);
    }
    world_run(w, 2000);
    assert_true(w->ready && also->ready);
    if (later < 2) {
        both[later]->disks[2].refuse_connect = true;
        disk_cut(&both[later]->disks[2]);
        world_run(w, 6000);
        assert_int_equal(world_state(both[later], 2), CW_MEMBER_OUT);
    }
    w->disks[2].refuse_connect = also->disks[2].refuse_connect = false;
    w->disks[2].loc.up = also->disks[2].loc.up = true;
    cw_owner_hint_host(w->owner, "h2", true);
    world_run(w, 3000);
    assert_int_equal(w->disks[2].n_joins + also->disks[2].n_joins, 1);
    ret = w->disks[2].n_joins > 0 ? w : also;
    disk_sync_done(&ret->disks[2]);
    world_run(w, 3000);
    assert_int_equal(world_state(ret, 2), CW_MEMBER_INSYNC);
    assert_int_equal(w->disks[2].n_joins + also->disks[2].n_joins, 2);
    return ret;
}

static void
first_joined_is(const bool away[2], uint32_t later, bool is_also)
{
    struct world *got = first_joined(away, later), *w = got->first != NULL ? got->first : got;
    struct world *also = w->also;

    assert_int_equal(got == also, is_also);
    world_closed(w);
}

/* Slots are few: the shard with the fewest copies in sync goes first, whichever was opened first;
 * of equals the one whose copy has been away longest. */
static void
fewest_copies_go_first(void **state)
{
    first_joined_is((bool[]){ false, true }, 2, true);
    first_joined_is((bool[]){ true, false }, 2, false);
    first_joined_is((bool[]){ true, false }, 1, false);
}

static void
oldest_goes_first(void **state)
{
    first_joined_is((bool[]){ false, false }, 0, true);
    first_joined_is((bool[]){ false, false }, 1, false);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_is_joined),
        cmocka_unit_test(resync_is_paused_and_bounded),
        cmocka_unit_test(added_copy_is_found_and_joined),
        cmocka_unit_test(crowded_disk_is_not_joined),
        cmocka_unit_test(failed_disk_is_joined_when_it_is_back),
        cmocka_unit_test(compression_is_shown_to_every_copy),
        cmocka_unit_test(promotion_waits_for_p),
        cmocka_unit_test(promoted_copy_serves),
        cmocka_unit_test(promotion_in_doubt_may_have_what_is_lost),
        cmocka_unit_test(disconnect_joins_again),
        cmocka_unit_test(flapping_backs_off),
        cmocka_unit_test(evicted_copy_leaves),
        cmocka_unit_test(fewest_copies_go_first),
        cmocka_unit_test(oldest_goes_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
