/* The steady state: acks, leases, isolation, resending, doubt. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/owner/fake.h"

/* A write is acked when, and only when, every in-sync copy has it durable (I1). */
static void
write_waits_for_every_copy(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->disks[2].hold_acks = true;
    req_write(w, &r, 0, 4096, 0x11);
    world_run(w, 100);
    assert_false(r.done);
    disk_release(&w->disks[2]);
    assert_true(r.done);
    assert_int_equal(r.res, 0);
    for (int i = 0; i < N_DISKS; i++)
        assert_int_equal(w->disks[i].fill[0], 0x11);
    world_closed(w);
}

/* A copy that comes back without what it had acknowledged, or damaged, or with nothing, or as
 * another disk, is not counted on for writes that others still owe: they are done once it is out
 * (I1, I15). */
static void
write_does_not_rest_on_what_a_copy_forgot(void **state)
{
    for (int how = 0; how < 4; how++) {
        struct world *w = world_opened(MIN_INSYNC);
        struct disk *x = &w->disks[1];
        struct req r;

        w->disks[2].hold_acks = true;
        req_write(w, &r, 0, 4096, 0x11);
        world_run(w, 100);
        w->mode = MGR_HOLD;
        if (how == 0)
            x->last = x->received = x->last - 1;
        x->damaged = how == 1;
        x->exists = how != 2;
        x->formatted = how == 3;
        x->promised = how == 0 ? x->promised : 0; /* it is asked what it is */
        disk_cut(x);
        world_run(w, 1000);
        disk_release(&w->disks[2]);
        world_run(w, 100);
        assert_false(r.done);
        w->mode = MGR_OK;
        world_answer_change(w);
        world_run(w, 1000);
        assert_true(r.done && r.res == 0);
        assert_int_not_equal(world_state(w, 1), CW_MEMBER_INSYNC);
        world_closed(w);
    }
}

/* What was written is read back, also when the request spans blocks and starts inside one. */
static void
reads_see_acked_writes(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r, s;

    req_write(w, &r, 8192, 8192, 0x21);
    world_turn(w);
    assert_true(r.done);
    req_read(w, &s, 8192 + 100, 6000);
    world_turn(w);
    assert_true(s.done);
    assert_int_equal(s.res, 0);
    for (int i = 0; i < 6000; i++)
        assert_int_equal(s.data[i], 0x21);
    assert_int_equal(s.data[6000], 0xee);
    world_closed(w);
}

/* A read that overlaps an unacked write completes only after that write is acked, both when the
 * write was there first and when it was sequenced while the read was out (I13). */
static void
reads_wait_for_overlapping_writes(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req wr, before, after;

    for (int i = 0; i < N_DISKS; i++)
        w->disks[i].hold_reads = true;
    req_read(w, &before, 0, 4096);
    world_turn(w);
    w->disks[1].hold_acks = true;
    req_write(w, &wr, 0, 4096, 0x31);
    world_turn(w);
    req_read(w, &after, 0, 4096);
    for (int i = 0; i < N_DISKS; i++) {
        if (i != 1)
            disk_release(&w->disks[i]);
    }
    w->disks[1].hold_reads = false;
    world_run(w, 200);
    assert_false(before.done);
    assert_false(after.done);
    disk_release(&w->disks[1]);
    world_run(w, 1200);
    assert_true(wr.done && before.done && after.done);
    assert_int_equal(after.data[0], 0x31);
    world_closed(w);
}

/* Without an answered heartbeat of every in-sync copy no read completes after L (I10); the first
 * one answered again lets it. */
static void
lease_expiry_delays_reads(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->disks[2].no_hb = true;
    world_run(w, 2500);
    req_read(w, &r, 0, 4096);
    world_run(w, 100);
    assert_false(r.done);
    w->disks[2].no_hb = false;
    world_run(w, 600);
    assert_true(r.done);
    assert_int_equal(r.res, 0);
    world_closed(w);
}

/* A sub-block write keeps the rest of the block, and two of them in one block both survive. */
static void
subblock_writes_merge(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req a, b, c, r;

    req_write(w, &a, 0, 4096, 0x41);
    req_write(w, &b, 100, 50, 0x42);
    req_write(w, &c, 150, 50, 0x43);
    world_run(w, 100);
    assert_true(a.done && b.done && c.done);
    assert_int_equal(b.res, 0);
    assert_int_equal(c.res, 0);
    assert_int_equal(w->disks[0].n_writes, 3);
    req_read(w, &r, 0, 4096);
    world_turn(w);
    for (int i = 0; i < 4096; i++)
        assert_int_equal(r.data[i], i >= 100 && i < 150 ? 0x42 : i >= 150 && i < 200 ? 0x43 : 0x41);
    world_closed(w);
}

/* A write of whole blocks that overlaps a read-modify-write under way is sequenced after it. */
static void
rmw_is_serialised(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req rmw, full, r;

    for (int i = 0; i < N_DISKS; i++)
        w->disks[i].hold_reads = true;
    req_write(w, &rmw, 4096 + 10, 20, 0x51);
    world_turn(w);
    req_write(w, &full, 4096, 4096, 0x52);
    world_turn(w);
    assert_int_equal(w->disks[0].n_writes, 0);
    assert_false(full.done);
    for (int i = 0; i < N_DISKS; i++)
        disk_release(&w->disks[i]);
    world_turn(w);
    assert_true(rmw.done && full.done);
    req_read(w, &r, 4096, 4096);
    world_turn(w);
    assert_int_equal(r.data[0], 0x52);
    assert_int_equal(r.data[4095], 0x52);
    world_closed(w);
}

/* After a short disconnect the same records go again with their old seqs, and no change is asked
 * for. */
static void
short_disconnect_is_bridged(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r[4];

    w->disks[1].hold_acks = true;
    for (int i = 0; i < 4; i++)
        req_write(w, &r[i], (uint64_t)i * 4096, 4096, (uint8_t)(0x61 + i));
    world_turn(w);
    disk_cut(&w->disks[1]); /* what was not durable is gone there */
    w->disks[1].hold_acks = false;
    world_run(w, 500);
    for (int i = 0; i < 4; i++) {
        assert_true(r[i].done);
        assert_int_equal(w->disks[1].fill[i], 0x61 + i);
    }
    assert_int_equal(w->n_changes, 0);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* A copy that stays away is ejected after T_eject; writes are acked only once the manager has done
 * it. */
static void
dead_copy_is_ejected(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->mode = MGR_HOLD;
    w->disks[1].refuse_connect = true;
    disk_cut(&w->disks[1]);
    req_write(w, &r, 0, 4096, 0x71);
    world_run(w, 2900);
    assert_int_equal(w->n_changes, 0);
    world_run(w, 400);
    assert_int_equal(w->n_changes, 1);
    assert_false(r.done);
    w->mode = MGR_OK;
    w->change_applied = false;
    w->rec.cfg++; /* the manager applies it */
    w->rec.members[1].state = CW_MEMBER_OUT;
    w->change_applied = true;
    world_run(w, 10);
    assert_true(r.done);
    assert_int_equal(r.res, 0);
    world_closed(w);
}

/* While an eject is in doubt the old set must ack (I4); a record with a higher cfg ends the doubt.
 */
static void
doubt_keeps_the_old_set(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->mode = MGR_LOSE_REPLY; /* applied, but the owner does not learn it */
    w->disks[1].refuse_connect = true;
    disk_cut(&w->disks[1]);
    req_write(w, &r, 0, 4096, 0x81);
    world_run(w, 6000);
    assert_int_equal(world_state(w, 1), CW_MEMBER_OUT);
    assert_false(r.done);
    w->mode = MGR_OK;
    world_run(w, 3000);
    assert_true(r.done);
    world_closed(w);
}

/* Manager away, copy away: the shard waits; the copy's return alone lets it go on, and a withdrawal
 * settles the record when the manager is back. */
static void
return_in_doubt_is_withdrawn(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;
    uint32_t cfg = w->rec.cfg;

    w->mode = MGR_DOWN;
    w->disks[1].refuse_connect = true;
    disk_cut(&w->disks[1]);
    req_write(w, &r, 0, 4096, 0x91);
    world_run(w, 5000);
    assert_false(r.done);
    w->disks[1].refuse_connect = false;
    world_run(w, 3000);
    assert_true(r.done);
    assert_int_equal(w->rec.cfg, cfg);
    w->mode = MGR_OK;
    world_run(w, 3000);
    assert_int_equal(w->rec.cfg, cfg + 1);
    assert_int_equal(world_state(w, 1), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* Below min_insync writes wait and do not fail; reads go on. The last copy is never removed. */
static void
below_min_insync_writes_wait(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r, s;

    for (int i = 1; i < N_DISKS; i++) {
        w->disks[i].refuse_connect = true;
        disk_cut(&w->disks[i]);
    }
    world_run(w, 5000);
    assert_int_equal(world_state(w, 1), CW_MEMBER_OUT);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    req_write(w, &r, 0, 4096, 0xa1);
    req_read(w, &s, 4096, 4096);
    world_run(w, 20000);
    assert_false(r.done);
    assert_true(s.done);
    disk_cut(&w->disks[0]);
    w->disks[0].refuse_connect = true;
    world_run(w, 10000);
    assert_int_equal(world_state(w, 0), CW_MEMBER_INSYNC);
    world_closed(w);
}

/* A newer owner: SEALED fails everything with -ESHUTDOWN, and later requests too. */
static void
sealed_owner_is_fenced(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r, s;
    struct cw_wire_hdr h = { .type = CW_FT_SEALED, .shard = CW_SHARD_ID(VOLUME_ID, 0), .gen = 2 };
    struct cw_msg *m;

    w->disks[0].hold_acks = true;
    req_write(w, &r, 0, 4096, 0xb1);
    world_turn(w);
    m = cw_frame_plain(w->pool, h);
    w->disks[0].out.at[(w->disks[0].out.first + w->disks[0].out.n++) % QUEUE_MAX] = m;
    world_turn(w);
    assert_true(w->fenced);
    assert_true(r.done);
    assert_int_equal(r.res, -ESHUTDOWN);
    req_write(w, &s, 0, 4096, 0xb2);
    world_turn(w);
    assert_int_equal(s.res, -ESHUTDOWN);
    world_closed(w);
}

/* No record is sent without space credit of every in-sync copy (I17); credit lets it go. */
static void
space_credit_holds_writes(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r[3];

    w->disks[1].credit = 1;
    req_write(w, &r[0], 0, 4096, 1); /* its ack tells the credit */
    world_turn(w);
    req_write(w, &r[1], 4096, 4096, 2);
    world_turn(w);
    w->disks[1].credit = 0;
    req_write(w, &r[2], 8192, 4096, 3);
    world_run(w, 100);
    assert_true(r[0].done && r[1].done);
    w->disks[1].credit = 0;
    req_write(w, &r[0], 0, 4096, 4);
    world_run(w, 3500);
    assert_false(r[0].done);
    w->disks[1].credit = 1000;
    disk_cut(&w->disks[1]); /* OPEN_OK carries the new credit */
    world_run(w, 500);
    assert_true(r[0].done && r[2].done);
    world_closed(w);
}

/* A TRIM goes on while writes wait for space, unless one of them is meant to come before it. */
static void
trim_overtakes_writes_without_space(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r[4];

    for (uint32_t i = 0; i < 3; i++)
        w->disks[i].credit = 0;
    req_write(w, &r[0], 0, 4096, 1); /* its ack tells that nothing is left */
    world_run(w, 100);
    assert_true(r[0].done);
    req_write(w, &r[1], 8192, 4096, 2);
    world_run(w, 100);
    req_op(w, &r[2], CW_IO_TRIM, 8192, 8192);
    req_op(w, &r[3], CW_IO_TRIM, 16384, 8192);
    world_run(w, 100);
    assert_false(r[1].done || r[2].done);
    assert_true(r[3].done);
    assert_int_equal(r[3].res, 0);
    for (uint32_t i = 0; i < 3; i++) {
        w->disks[i].credit = 1000;
        disk_cut(&w->disks[i]);
    }
    world_run(w, 1000);
    assert_true(r[1].done && r[2].done);
    assert_int_equal(r[2].res, 0);
    world_closed(w);
}

/* A bad block is read from another copy, the guest sees no error, and the bad copy is repaired
 * (I14). */
static void
bad_block_is_repaired(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r, s;

    req_write(w, &r, 0, 16384, 0xc1);
    world_turn(w);
    w->disks[0].bad_reads = true; /* the nearest copy */
    w->disks[0].bad_block = 2;
    req_read(w, &s, 0, 16384);
    world_turn(w);
    assert_true(s.done);
    assert_int_equal(s.res, 0);
    assert_int_equal(s.data[2 * 4096], 0xc1);
    assert_int_equal(w->disks[0].n_repairs, 1);
    world_closed(w);
}

/* Another copy leaves while a part of a read is out to be put together: what comes for that part is
 * not the answer to all of it. */
static void
salvage_survives_a_leaving_copy(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req writes[4], s;

    for (uint32_t i = 0; i < 4; i++)
        req_write(w, &writes[i], i * 4096, 4096, (uint8_t)(0xe0 + i));
    world_turn(w);
    w->disks[0].bad_reads = true; /* the nearest copy */
    w->disks[0].bad_block = 2;
    w->disks[2].refuse_connect = true;
    disk_cut(&w->disks[2]);
    world_run(w, 2800);
    w->disks[1].hold_reads = true;
    req_read(w, &s, 0, 16384);
    world_run(w, 400);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    assert_false(s.done);
    disk_release(&w->disks[1]);
    world_run(w, 400);
    assert_true(s.done);
    assert_int_equal(s.res, 0);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(s.data[i * 4096], 0xe0 + i);
    world_closed(w);
}

/* The last copy cannot be ejected; its disk failed, and works again when its daemon was started
 * anew. */
static void
last_copy_comes_back(void **state)
{
    struct world *w = world_opened(1);
    struct req r;

    for (int i = 1; i < N_DISKS; i++) {
        w->disks[i].refuse_connect = true;
        disk_cut(&w->disks[i]);
    }
    world_run(w, 6000);
    assert_int_equal(world_state(w, 2), CW_MEMBER_OUT);
    assert_int_equal(world_state(w, 1), CW_MEMBER_OUT);
    w->disks[0].broken = true;
    disk_cut(&w->disks[0]);
    world_run(w, 500);
    w->disks[0].broken = false;
    disk_cut(&w->disks[0]);
    req_write(w, &r, 0, 4096, 0x31);
    world_run(w, 5000);
    assert_true(r.done);
    assert_int_equal(r.res, 0);
    world_closed(w);
}

/* Only a block that no copy can give is an error; different bad blocks on each copy are not. */
static void
row_47_eio_only_when_no_copy_has_it(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r, s;

    req_write(w, &r, 0, 16384, 0xd1);
    world_turn(w);
    for (int i = 0; i < N_DISKS; i++) {
        w->disks[i].bad_reads = true;
        w->disks[i].bad_block = (uint64_t)i;
    }
    req_read(w, &s, 0, 16384);
    world_turn(w);
    assert_true(s.done);
    assert_int_equal(s.res, 0);
    assert_int_equal(s.data[4096], 0xd1);
    for (int i = 0; i < N_DISKS; i++) {
        w->disks[i].bad_reads = true;
        w->disks[i].bad_block = 3;
    }
    req_read(w, &s, 0, 16384);
    world_turn(w);
    assert_true(s.done);
    assert_int_equal(s.res, -EIO);
    world_closed(w);
}

/* A copy that does not answer a read within the timeout is passed over. */
static void
silent_copy_is_passed_over(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    w->disks[0].hold_reads = true;
    req_read(w, &r, 0, 4096);
    world_run(w, 1300);
    assert_true(r.done);
    assert_int_equal(r.res, 0);
    world_closed(w);
}

/* ZERO and TRIM are sequenced records; a FLUSH completes once earlier acked writes are durable: at
 * once. */
static void
zero_trim_flush(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req a, b, c, f, r;

    req_write(w, &a, 0, 32768, 0xe1);
    world_turn(w);
    req_op(w, &b, CW_IO_ZERO, 4096, 8192);
    req_op(w, &c, CW_IO_TRIM, 16384 + 512, 8192);
    req_op(w, &f, CW_IO_FLUSH, 0, 0);
    world_run(w, 50);
    assert_true(b.done && c.done && f.done);
    assert_int_equal(b.res | c.res | f.res, 0);
    req_read(w, &r, 0, 32768);
    world_turn(w);
    assert_int_equal(r.data[0], 0xe1);
    assert_int_equal(r.data[4096], 0);
    assert_int_equal(r.data[5 * 4096], 0);
    world_closed(w);
}

/* Many writes at once: all complete, in order of their sequence, through a small link credit. */
static void
many_writes_through_the_window(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req *r = calloc(3000, sizeof(*r));

    for (int i = 0; i < 3000; i++) {
        req_write(w, &r[i], (uint64_t)(i % N_BLOCKS) * 4096, 4096, (uint8_t)i);
        if (i % 64 == 63)
            world_turn(w);
    }
    world_run(w, 100);
    for (int i = 0; i < 3000; i++)
        assert_true(r[i].done && r[i].res == 0);
    for (int i = 0; i < N_DISKS; i++)
        assert_int_equal(w->disks[i].last, 3001); /* and GEN_START */
    free(r);
    world_closed(w);
}

/* An idle owner tells the copies the stable seq. */
static void
idle_owner_tells_stable(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r;

    req_write(w, &r, 0, 4096, 1);
    world_run(w, 300);
    for (int i = 0; i < N_DISKS; i++)
        assert_int_equal(w->disks[i].last_stable_seen, 2);
    world_closed(w);
}

/* Release drains, ends the sessions, tells the manager once, and never serves again (1.7). */
static void
release_drains_first(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r, s;

    w->disks[2].hold_acks = true;
    req_write(w, &r, 0, 4096, 1);
    world_turn(w);
    cw_volume_release(w->v);
    world_run(w, 200);
    assert_int_equal(w->n_releases, 0);
    req_read(w, &s, 0, 4096);
    disk_release(&w->disks[2]);
    world_run(w, 200);
    assert_true(r.done);
    assert_int_equal(s.res, -ESHUTDOWN);
    assert_true(w->released && w->release_clean);
    assert_int_equal(w->n_releases, 1);
    for (int i = 0; i < N_DISKS; i++)
        assert_int_equal(w->disks[i].n_closes, 1);
    cw_volume_free(w->v);
    world_closed(w);
}

/* A read that is put together from several copies may see a write that is not acknowledged yet.
 * That never goes to the copy that lacked the block: if the write came to nothing, the copy would
 * hold it all the same, at a version that says otherwise (I14). */
static void
row_46_a_repair_carries_no_unacked_write(void **state)
{
    struct world *w = world_opened(MIN_INSYNC);
    struct req r, wr;

    w->disks[0].bad_reads = true;
    w->disks[0].bad_block = 9;
    w->disks[1].hold_reads = w->disks[2].hold_reads = true;
    req_read(w, &r, 9 * 4096, 4096);
    world_turn(w); /* the first copy refuses the block, another is asked */
    w->disks[0].hold_acks = true;
    req_write(w, &wr, 9 * 4096, 4096, 0x51);
    world_turn(w);
    disk_release(&w->disks[1]);
    disk_release(&w->disks[2]);
    world_run(w, 100);
    assert_false(wr.done || r.done);
    assert_int_equal(w->disks[0].n_repairs, 0);
    disk_release(&w->disks[0]);
    world_run(w, 100);
    assert_true(wr.done && r.done);
    assert_int_equal(r.res, 0);
    assert_int_equal(r.data[0], 0x51);
    world_closed(w);
}

/* A copy that was away when the volume grew learns its new size before it gets records from there.
 */
static void
a_copy_that_missed_a_resize_is_told(void **state)
{
    struct world *w = world_opened(1);
    struct disk *x = &w->disks[2];
    struct cw_disk_location disks[N_DISKS];

    x->refuse_connect = true;
    disk_cut(x);
    world_turn(w);
    w->rec.n_blocks *= 2;
    w->rec.cfg++;
    for (uint32_t i = 0; i < N_DISKS; i++)
        disks[i] = w->disks[i].loc;
    assert_int_equal(
        cw_volume_resize(w->v, (uint64_t)w->rec.n_blocks * 4096, &w->rec, 1, disks, N_DISKS), 0);
    world_run(w, 20);
    assert_int_equal(w->disks[0].shown.n_blocks, w->rec.n_blocks);
    assert_int_not_equal(x->shown.n_blocks, w->rec.n_blocks);
    x->refuse_connect = false;
    world_run(w, 1500);
    assert_true(x->session);
    assert_int_equal(world_state(w, 2), CW_MEMBER_INSYNC);
    assert_int_equal(x->shown.n_blocks, w->rec.n_blocks);
    world_closed(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_that_missed_a_resize_is_told),
        cmocka_unit_test(write_waits_for_every_copy),
        cmocka_unit_test(write_does_not_rest_on_what_a_copy_forgot),
        cmocka_unit_test(reads_see_acked_writes),
        cmocka_unit_test(reads_wait_for_overlapping_writes),
        cmocka_unit_test(lease_expiry_delays_reads),
        cmocka_unit_test(subblock_writes_merge),
        cmocka_unit_test(rmw_is_serialised),
        cmocka_unit_test(row_46_a_repair_carries_no_unacked_write),
        cmocka_unit_test(short_disconnect_is_bridged),
        cmocka_unit_test(dead_copy_is_ejected),
        cmocka_unit_test(doubt_keeps_the_old_set),
        cmocka_unit_test(return_in_doubt_is_withdrawn),
        cmocka_unit_test(below_min_insync_writes_wait),
        cmocka_unit_test(sealed_owner_is_fenced),
        cmocka_unit_test(space_credit_holds_writes),
        cmocka_unit_test(trim_overtakes_writes_without_space),
        cmocka_unit_test(bad_block_is_repaired),
        cmocka_unit_test(salvage_survives_a_leaving_copy),
        cmocka_unit_test(last_copy_comes_back),
        cmocka_unit_test(row_47_eio_only_when_no_copy_has_it),
        cmocka_unit_test(silent_copy_is_passed_over),
        cmocka_unit_test(zero_trim_flush),
        cmocka_unit_test(many_writes_through_the_window),
        cmocka_unit_test(idle_owner_tells_stable),
        cmocka_unit_test(release_drains_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
