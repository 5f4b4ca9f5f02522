/* What a peer can make grow has an end, and whoever keeps below it notices nothing. */
#include <errno.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/unit/replica/rig.h"

#define READS_MAX 16u
#define WAITS_MAX (8 * READS_MAX)

/* Disk 0 anew, with bounds. */
static void
bounded(struct rig *r, uint32_t copies_max)
{
    rig_init(r);
    r->reads_bytes = CW_MIB / 4; /* the least: 16 at once */
    r->copies_max = copies_max;
    rig_crash(&r->disk[0], 256);
}

static struct cw_replica_stats
stats(struct rig *r)
{
    struct cw_replica_stats st;

    cw_replica_stats(r->disk[0].replica, &st);
    cw_replica_check(r->disk[0].replica);
    return st;
}

static uint32_t
n_frames(const struct rig_link *l, uint8_t type)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < l->n; i++)
        n += l->frames[i].hdr.type == type;
    return n;
}

/* Reads beyond what may be the store's at once wait and are all answered; beyond that they are
 * refused, for another copy may have time. */
static void
reads_wait_their_turn(void **state)
{
    struct rig r;
    struct rig_link *a;
    struct cw_replica_stats st;

    bounded(&r, 0);
    a = rig_owner(&r.disk[0], 5);
    rig_write(a, 5, 1, 0, 'q');
    rig_expect_acked(a, 1);
    for (uint32_t i = 0; i < READS_MAX + WAITS_MAX + 6; i++)
        rig_read(a, 5, 0, 1, 100 + i);
    st = stats(&r);
    assert_int_equal(st.reads_now, READS_MAX);
    assert_int_equal(st.reads_waiting, WAITS_MAX);
    assert_int_equal(n_frames(a, CW_FT_READ_ERR), 6);
    rig_run(&r, 1000);
    st = stats(&r);
    assert_int_equal(st.reads_now + st.reads_waiting, 0);
    assert_int_equal(n_frames(a, CW_FT_READ_OK), READS_MAX + WAITS_MAX);
    assert_int_equal(n_frames(a, CW_FT_READ_ERR), 6);
    rig_read(a, 5, 0, 1, 1);
    rig_run(&r, 100);
    assert_int_equal(n_frames(a, CW_FT_READ_OK), READS_MAX + WAITS_MAX + 1);
    rig_fini(&r);
}

/* Reads that wait are forgotten with their link, and judged anew when their turn comes. */
static void
waiting_reads_may_be_out_of_date(void **state)
{
    struct rig r;
    struct rig_link *a, *b;

    bounded(&r, 0);
    a = rig_owner(&r.disk[0], 5);
    rig_write(a, 5, 1, 0, 'q');
    rig_expect_acked(a, 1);
    for (uint32_t i = 0; i < READS_MAX + 20; i++)
        rig_read(a, 5, 0, 1, 100 + i);
    rig_down(a);
    assert_int_equal(stats(&r).reads_waiting, 0);
    rig_run(&r, 200);
    assert_int_equal(stats(&r).reads_now, 0);
    a = rig_owner(&r.disk[0], 6);
    for (uint32_t i = 0; i < READS_MAX + 20; i++)
        rig_read(a, 6, 0, 1, 100 + i);
    b = rig_link(&r.disk[0]);
    rig_seal(b, 7, false); /* from here on nothing of gen 6 counts */
    rig_run(&r, 200);
    assert_int_equal(stats(&r).reads_now + stats(&r).reads_waiting, 0);
    assert_int_equal(n_frames(a, CW_FT_READ_OK) + n_frames(a, CW_FT_READ_ERR), READS_MAX + 20);
    assert_true(n_frames(a, CW_FT_READ_ERR) >= 20);
    rig_fini(&r);
}

static void
seal_shard(struct rig_link *l, uint16_t index)
{
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];
    struct cw_shard_rec rec = rig_rec(l->rig, 1, 1);
    struct cw_wire_hdr h = { .type = CW_FT_SEAL, .flags = CW_F_CREATE, .gen = 1, .tag = 1 };

    h.shard = rec.shard = CW_SHARD_ID(3, index);
    rig_send(l, h, NULL, bytes, (uint32_t)cw_shard_rec_encode(&rec, bytes));
}

static void
drop_done(struct cw_replica_drop *d, int res)
{
    assert_int_equal(res, 0);
}

/* A disk makes so many copies and not more; one that goes makes room for another. */
static void
copies_have_an_end(void **state)
{
    struct rig r;
    struct rig_link *a;
    struct cw_replica_drop drop = { .shard = CW_SHARD_ID(3, 1), .done = drop_done };

    bounded(&r, 3);
    a = rig_link(&r.disk[0]);
    for (uint16_t i = 0; i < 5; i++) {
        seal_shard(a, i);
        rig_run(&r, 100);
        assert_int_equal(n_frames(a, CW_FT_SEAL_OK), i < 3 ? i + 1 : 3);
    }
    assert_int_equal(rig_nack_code(rig_expect(a, CW_FT_NACK)), CW_NACK_NO_SPACE);
    assert_int_equal(stats(&r).copies, 3);
    cw_replica_drop(r.disk[0].replica, &drop);
    rig_run(&r, 100);
    assert_int_equal(stats(&r).copies, 2);
    seal_shard(a, 4);
    rig_run(&r, 100);
    assert_int_equal(n_frames(a, CW_FT_SEAL_OK), 4);
    rig_fini(&r);
}

/* However many records of a shard come while one is written, one more is: the newest. */
static void
records_are_not_queued(void **state)
{
    struct rig r;
    struct rig_link *a;
    struct cw_shard_rec rec;
    struct cw_store_stats before, after;
    struct cw_wire_hdr h = { .type = CW_FT_CFG, .shard = RIG_SHARD, .gen = 5 };
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];
    struct cw_store *store;

    bounded(&r, 0);
    a = rig_owner(&r.disk[0], 5);
    store = cw_replica_store(r.disk[0].replica);
    rig_run(&r, 500);
    cw_store_stats(store, &before);
    for (uint32_t cfg = 10; cfg < 510; cfg++) {
        rec = rig_rec(&r, 5, cfg);
        h.cfg = cfg;
        rig_send(a, h, NULL, bytes, (uint32_t)cw_shard_rec_encode(&rec, bytes));
    }
    rig_run(&r, 500);
    cw_store_stats(store, &after);
    assert_int_equal(cw_store_shard_info(cw_store_shard_find(store, RIG_SHARD))->rec.cfg, 509);
    assert_in_range(after.records - before.records, 2, 4); /* two, and the note of an idle store */
    rig_fini(&r);
}

/* While a disk is stuck seals of a copy wait for each other, but not without end; the highest
 * generation that was taken is the one that is promised in the end. */
static void
seals_of_a_stuck_disk_have_an_end(void **state)
{
    struct rig r;
    struct rig_link *a;

    bounded(&r, 0);
    a = rig_owner(&r.disk[0], 5);
    cw_ramdisk_plan(r.disk[0].ram, CW_RAMDISK_STICK, CW_RAMDISK_ANY_OP, 1, 1000, 0);
    for (uint32_t gen = 6; gen < 106; gen++)
        rig_seal(a, gen, false);
    assert_int_equal(n_frames(a, CW_FT_NACK), 100 - 16);
    rig_run(&r, 3000);
    cw_ramdisk_plan(r.disk[0].ram, CW_RAMDISK_STICK, CW_RAMDISK_ANY_OP, 0, 0, 0);
    cw_ramdisk_unstick(r.disk[0].ram);
    rig_run(&r, 1000);
    assert_int_equal(n_frames(a, CW_FT_SEAL_OK), 1 + 1); /* 6 to 20 are stale by then */
    rig_seal(a, 106, false);
    rig_run(&r, 200);
    assert_int_equal(n_frames(a, CW_FT_SEAL_OK), 3);
    rig_fini(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_wait_their_turn),
        cmocka_unit_test(waiting_reads_may_be_out_of_date),
        cmocka_unit_test(copies_have_an_end),
        cmocka_unit_test(records_are_not_queued),
        cmocka_unit_test(seals_of_a_stuck_disk_have_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
