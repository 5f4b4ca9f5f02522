/* Who may write a copy, and in which order. */
#include <errno.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/unit/replica/rig.h"

/* A copy made by SEAL says that it is new, answers again to the same owner, and refuses older ones.
 */
static void
seal_makes_a_copy_and_fences(void **state)
{
    struct rig r;
    struct rig_link *a, *b;
    struct rig_frame *f;
    const struct cw_wire_seal_ok *ok;

    rig_init(&r);
    a = rig_link(&r.disk[0]);
    rig_seal(a, 5, false);
    assert_int_equal(rig_nack_code(rig_expect(a, CW_FT_NACK)), CW_NACK_NO_SHARD);
    rig_seal(a, 5, true);
    f = rig_expect(a, CW_FT_SEAL_OK);
    ok = (const struct cw_wire_seal_ok *)(void *)f->data;
    assert_int_equal(f->hdr.gen, 5);
    assert_true(ok->flags & CW_MEMBER_NEW);
    assert_int_equal(ok->last_seq, 0);
    assert_memory_equal(ok->disk_uuid, r.disk[0].uuid.b, 16);
    rig_seal(a, 5, true);
    ok = (const struct cw_wire_seal_ok *)(void *)rig_expect(a, CW_FT_SEAL_OK)->data;
    assert_false(ok->flags & CW_MEMBER_NEW);
    b = rig_link(&r.disk[0]);
    rig_seal(b, 4, true);
    f = rig_expect(b, CW_FT_NACK);
    assert_int_equal(rig_nack_code(f), CW_NACK_STALE_GEN);
    assert_int_equal(f->hdr.gen, 5);
    rig_open_session(b, 4);
    assert_int_equal(rig_nack_code(rig_expect(b, CW_FT_NACK)), CW_NACK_STALE_GEN);
    rig_open_session(b, 6);
    assert_int_equal(rig_nack_code(rig_expect(b, CW_FT_NACK)), CW_NACK_NO_SESSION);
    cw_replica_check(r.disk[0].replica);
    rig_fini(&r);
}

/* The stream is dense: a gap is refused once with the seq expected, a duplicate is acknowledged
 * again. */
static void
stream_is_dense(void **state)
{
    struct rig r;
    struct rig_link *a;
    struct rig_frame *f;

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    rig_write(a, 5, 1, 10, 'a');
    rig_write(a, 5, 3, 11, 'c');
    rig_write(a, 5, 4, 11, 'd');
    f = rig_expect(a, CW_FT_NACK);
    assert_int_equal(rig_nack_code(f), CW_NACK_SEQ_GAP);
    assert_int_equal(f->hdr.seq, 2);
    rig_expect_none(a, CW_FT_NACK);
    rig_expect_acked(a, 1);
    rig_write(a, 5, 2, 11, 'b');
    rig_expect_acked(a, 2);
    rig_write(a, 5, 1, 10, 'x');
    rig_expect_acked(a, 2);
    rig_read(a, 5, 10, 2, 77);
    f = rig_expect(a, CW_FT_READ_OK);
    assert_int_equal(f->hdr.tag, 77);
    assert_int_equal(f->data[0], 'a');
    assert_int_equal(f->data[CW_BLOCK_SIZE], 'b');
    rig_fini(&r);
}

/* A block that is not what its checksum says is never appended. */
static void
stream_verifies_blocks(void **state)
{
    struct rig r;
    struct rig_link *a;
    struct rig_frame *f;
    static uint8_t block[CW_BLOCK_SIZE];
    uint64_t wrong = 123;
    struct cw_wire_hdr h = { .type = CW_FT_WRITE,
                             .flags = CW_F_CSUMS | CW_F_DATA,
                             .shard = RIG_SHARD };

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    h.gen = 5;
    h.seq = 1;
    h.lba_nblk = cw_lba_nblk(0, 1);
    rig_send(a, h, &wrong, block, sizeof(block));
    f = rig_expect(a, CW_FT_NACK);
    assert_int_equal(rig_nack_code(f), CW_NACK_BAD_CSUM);
    assert_int_equal(f->hdr.seq, 1);
    rig_write(a, 5, 1, 0, 'a');
    rig_expect_acked(a, 1);
    rig_fini(&r);
}

/* A newer owner's SEAL ends the older session on its own link, and what was taken before is in
 * `last`. */
static void
seal_drains_and_ends_sessions(void **state)
{
    struct rig r;
    struct rig_link *a, *b;
    struct rig_frame *f;
    const struct cw_wire_seal_ok *ok;
    const struct cw_wire_tail *tail;

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    b = rig_link(&r.disk[0]);
    for (uint64_t seq = 1; seq <= 7; seq++)
        rig_write(a, 5, seq, seq, (uint8_t)seq);
    rig_seal(b, 6, true);
    rig_write(a, 5, 8, 8, 8);
    f = rig_expect(a, CW_FT_SEALED);
    assert_int_equal(f->hdr.gen, 6);
    assert_int_equal(rig_nack_code(rig_expect(a, CW_FT_NACK)), CW_NACK_STALE_GEN);
    f = rig_expect(b, CW_FT_SEAL_OK);
    ok = (const struct cw_wire_seal_ok *)(void *)f->data;
    assert_int_equal(ok->last_gen, 5);
    assert_int_equal(ok->last_seq, 7);
    assert_int_equal(ok->n_tail, 7);
    tail = (const struct cw_wire_tail *)(void *)(f->data + sizeof(*ok) +
                                                 ok->n_hist * sizeof(struct cw_wire_hist));
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(tail[i].seq, i + 1);
    rig_expect_none(a, CW_FT_HB_ACK);
    rig_fini(&r);
}

/* What was promised and what was acknowledged survive a power cut. */
static void
promise_and_acks_survive(void **state)
{
    struct rig r;
    struct rig_link *a;
    struct rig_frame *f;
    const struct cw_wire_ack *ack;

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    rig_write(a, 5, 1, 3, 'q');
    rig_expect_acked(a, 1);
    rig_crash(&r.disk[0], 0);
    a = rig_link(&r.disk[0]);
    rig_seal(a, 4, true);
    assert_int_equal(rig_nack_code(rig_expect(a, CW_FT_NACK)), CW_NACK_STALE_GEN);
    rig_open_session(a, 5);
    f = rig_expect(a, CW_FT_OPEN_OK);
    ack = (const struct cw_wire_ack *)(void *)f->data;
    assert_int_equal(f->hdr.seq, 1);
    assert_int_equal(ack->durable_seq, 1);
    assert_true(ack->credit_blocks > 0);
    rig_read(a, 5, 3, 1, 1);
    assert_int_equal(rig_expect(a, CW_FT_READ_OK)->data[100], 'q');
    rig_fini(&r);
}

/* What a shard record says of compression reaches the store with SEAL and CFG and survives a power
 * cut; an older record that comes late changes nothing. */
static void
record_reaches_the_store(void **state)
{
    struct rig r;
    struct rig_link *a;
    struct cw_shard_rec rec;
    const struct cw_store_shard_info *info;
    struct cw_wire_hdr h = { .type = CW_FT_CFG, .shard = RIG_SHARD, .gen = 5, .cfg = 9 };
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    rec = rig_rec(&r, 5, 9);
    for (uint32_t cfg = 9; cfg >= 8; cfg--) {
        rec.cfg = cfg;
        rec.compression = cfg == 9 ? CW_COMPRESSION_INLINE : CW_COMPRESSION_BACKGROUND;
        rig_send(a, h, NULL, bytes, (uint32_t)cw_shard_rec_encode(&rec, bytes));
        rig_run(&r, 200);
        info = cw_store_shard_info(
            cw_store_shard_find(cw_replica_store(r.disk[0].replica), RIG_SHARD));
        assert_int_equal(info->rec.cfg, 9);
        assert_int_equal(info->rec.compression, CW_COMPRESSION_INLINE);
    }
    rig_crash(&r.disk[0], 0);
    info = cw_store_shard_info(cw_store_shard_find(cw_replica_store(r.disk[0].replica), RIG_SHARD));
    assert_int_equal(info->rec.compression, CW_COMPRESSION_INLINE);
    rig_fini(&r);
}

/* An owner that comes back on a new link takes its session along, and the old link ends. */
static void
reopen_ends_the_old_link(void **state)
{
    struct rig r;
    struct rig_link *a, *b;
    uint32_t gen;
    uint64_t silent;
    bool session;

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    b = rig_link(&r.disk[0]);
    rig_open_session(b, 5);
    rig_expect(b, CW_FT_OPEN_OK);
    assert_true(a->closed);
    rig_down(a);
    rig_write(b, 5, 1, 0, 'b');
    rig_expect_acked(b, 1);
    rig_run(&r, 1500);
    assert_true(cw_replica_owner_seen(r.disk[0].replica, 3, &gen, &session, &silent));
    assert_int_equal(gen, 5);
    assert_true(session);
    assert_in_range(silent, 1000, 2000);
    rig_down(b);
    assert_true(cw_replica_owner_seen(r.disk[0].replica, 3, &gen, &session, &silent));
    assert_false(session);
    assert_false(cw_replica_owner_seen(r.disk[0].replica, 4, &gen, &session, &silent));
    rig_fini(&r);
}

static void
write_mib(struct rig_link *l, uint64_t seq)
{
    static uint8_t data[CW_MIB] __attribute__((aligned(4096)));
    static uint64_t csums[CW_IO_BLOCKS_MAX];
    struct cw_wire_hdr h = { .type = CW_FT_WRITE, .flags = CW_F_CSUMS | CW_F_DATA, .gen = 5 };

    memset(data, (int)seq, sizeof(data));
    for (uint32_t i = 0; i < CW_IO_BLOCKS_MAX; i++)
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    h.shard = RIG_SHARD;
    h.seq = seq;
    h.lba_nblk = cw_lba_nblk(seq % 8 * 256, 256);
    rig_send(l, h, csums, data, sizeof(data));
}

/* While the disk does not answer, records are held within a bound and the rest is asked for again.
 */
static void
stream_holds_and_asks_again(void **state)
{
    struct rig r;
    struct rig_link *a;
    struct rig_frame *f;
    struct cw_replica_stats st;
    uint64_t seq = 1;

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    cw_ramdisk_plan(r.disk[0].ram, CW_RAMDISK_STICK, CW_RAMDISK_WRITES, 1, 1000, 0);
    for (; seq <= 24; seq++) {
        write_mib(a, seq);
        cw_simenv_run_for(&r.env, 100000);
    }
    cw_replica_stats(r.disk[0].replica, &st);
    assert_true(st.held > 0);
    assert_true(st.hold_bytes <= 4 * CW_MIB);
    assert_true(st.records + st.held < 24);
    cw_replica_check(r.disk[0].replica);
    cw_ramdisk_plan(r.disk[0].ram, CW_RAMDISK_STICK, CW_RAMDISK_WRITES, 0, 0, 0);
    cw_ramdisk_unstick(r.disk[0].ram);
    f = rig_expect(a, CW_FT_NACK);
    assert_int_equal(rig_nack_code(f), CW_NACK_SEQ_GAP);
    assert_int_equal(f->hdr.seq, st.records + st.held + 1);
    for (seq = f->hdr.seq; seq <= 24; seq++) {
        write_mib(a, seq);
        rig_expect_acked(a, seq);
    }
    cw_replica_stats(r.disk[0].replica, &st);
    assert_int_equal(st.records, 24);
    assert_int_equal(st.hold_bytes, 0);
    rig_fini(&r);
}

/* Frames that no correct peer sends end the link and change nothing. */
static void
nonsense_ends_the_link(void **state)
{
    static const struct cw_wire_hdr nonsense[] = {
        { .type = CW_FT_ACK },
        { .type = CW_FT_SEAL_OK },
        { .type = CW_FT_SEAL, .shard = RIG_SHARD, .gen = 9 },
        { .type = CW_FT_WRITE, .shard = RIG_SHARD, .gen = 5, .seq = 1 },
        { .type = CW_FT_ZERO, .shard = RIG_SHARD, .gen = 5, .seq = 1 },
        { .type = CW_FT_GEN_START, .shard = RIG_SHARD, .gen = 5 },
        { .type = CW_FT_READ, .shard = RIG_SHARD, .gen = 5 },
        { .type = CW_FT_REPAIR_APPEND, .shard = RIG_SHARD, .gen = 5, .seq = 1 },
        { .type = CW_FT_JOIN, .shard = RIG_SHARD, .gen = 5 },
        { .type = CW_FT_SYNC_FROM, .shard = RIG_SHARD, .gen = 5 },
        { .type = CW_FT_VER_LIST, .shard = RIG_SHARD, .gen = 5 },
        { .type = CW_FT_CHUNK_GET, .shard = RIG_SHARD, .gen = 5 },
        { .type = CW_FT_BLOCK_REPAIR, .shard = RIG_SHARD, .gen = 5 },
    };
    struct rig r;
    struct cw_replica_stats st;

    rig_init(&r);
    for (size_t i = 0; i < CW_LEN(nonsense); i++) {
        struct rig_link *a = rig_owner(&r.disk[0], 5);

        rig_send(a, nonsense[i], NULL, NULL, 0);
        if (!a->closed)
            fail_msg("%s was let pass", cw_frame_type_name(nonsense[i].type));
        rig_down(a);
    }
    cw_replica_stats(r.disk[0].replica, &st);
    assert_int_equal(st.protocol_errors, CW_LEN(nonsense));
    assert_int_equal(st.records, 0);
    assert_int_equal(st.links, 0);
    rig_fini(&r);
}

/* Metadata that went back grants a generation twice: whoever comes second has the same number and
 * is not the same. The first goes on. */
static void
one_generation_has_one_owner(void **state)
{
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];
    struct cw_wire_hdr h = { .type = CW_FT_SEAL, .shard = RIG_SHARD, .gen = 5, .tag = 7 };
    struct cw_shard_rec rec;
    struct rig_link *a, *b;
    struct rig r;

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    b = rig_link(&r.disk[0]);
    rec = rig_rec(&r, 1, 5);
    rig_send(b, h, NULL, bytes, (uint32_t)cw_shard_rec_encode(&rec, bytes));
    assert_int_equal(rig_nack_code(rig_expect(b, CW_FT_NACK)), CW_NACK_STALE_GEN);
    rig_write(a, 5, 1, 1, 1);
    rig_expect_acked(a, 1);
    rig_down(a);
    rig_owner(&r.disk[0], 5); /* it again */
    rig_send(b, h, NULL, bytes, (uint32_t)cw_shard_rec_encode(&rec, bytes));
    assert_int_equal(rig_nack_code(rig_expect(b, CW_FT_NACK)), CW_NACK_STALE_GEN);
    rig_fini(&r);
}

struct drop_test {
    struct cw_replica_drop drop;
    bool done;
    int res;
};

static void
drop_done(struct cw_replica_drop *d, int res)
{
    struct drop_test *t = cw_container_of(d, struct drop_test, drop);

    t->done = true;
    t->res = res;
}

/* A dropped copy is gone from the disk, its owner is told, and another may be made in its place. */
static void
drop_waits_and_forgets(void **state)
{
    struct rig r;
    struct rig_link *a;
    struct drop_test t = { .drop = { .shard = RIG_SHARD, .done = drop_done } };
    struct drop_test again = { .drop = { .shard = RIG_SHARD, .done = drop_done } };
    struct cw_replica_copy copy;

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    assert_true(cw_replica_copy_next(r.disk[0].replica, 0, &copy));
    assert_int_equal(copy.promised_gen, 5);
    rig_write(a, 5, 1, 0, 'b');
    rig_read(a, 5, 0, 1, 9);
    cw_replica_drop(r.disk[0].replica, &t.drop);
    cw_replica_drop(r.disk[0].replica, &again.drop);
    assert_false(t.done);
    assert_true(cw_simenv_run_until(&r.env, &t.done, CW_NS_PER_S));
    assert_int_equal(t.res, 0);
    assert_true(cw_simenv_run_until(&r.env, &again.done, CW_NS_PER_S));
    assert_int_equal(again.res, -EBUSY);
    assert_int_equal(rig_nack_code(rig_expect(a, CW_FT_NACK)), CW_NACK_NO_SHARD);
    assert_false(cw_replica_copy_next(r.disk[0].replica, 0, &copy));
    rig_crash(&r.disk[0], 0);
    assert_false(cw_replica_copy_next(r.disk[0].replica, 0, &copy));
    a = rig_owner(&r.disk[0], 2);
    rig_read(a, 2, 0, 1, 9);
    assert_true(rig_expect(a, CW_FT_READ_OK)->hdr.flags & CW_F_ZEROES);
    rig_fini(&r);
}

/* close ends the links, finishes what is under way, and leaves a clean store with everything in it.
 */
static void
close_is_clean(void **state)
{
    struct rig r;
    struct rig_link *a;

    rig_init(&r);
    a = rig_owner(&r.disk[0], 5);
    rig_write(a, 5, 1, 0, 'b');
    rig_read(a, 5, 0, 1, 9);
    rig_close(&r.disk[0]);
    assert_true(a->down);
    rig_open(&r.disk[0]);
    assert_true(cw_store_recovery(cw_replica_store(r.disk[0].replica))->clean);
    a = rig_link(&r.disk[0]);
    rig_open_session(a, 5);
    assert_int_equal(rig_expect(a, CW_FT_OPEN_OK)->hdr.seq, 1);
    rig_fini(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seal_makes_a_copy_and_fences),
        cmocka_unit_test(stream_is_dense),
        cmocka_unit_test(stream_verifies_blocks),
        cmocka_unit_test(seal_drains_and_ends_sessions),
        cmocka_unit_test(promise_and_acks_survive),
        cmocka_unit_test(record_reaches_the_store),
        cmocka_unit_test(reopen_ends_the_old_link),
        cmocka_unit_test(stream_holds_and_asks_again),
        cmocka_unit_test(nonsense_ends_the_link),
        cmocka_unit_test(one_generation_has_one_owner),
        cmocka_unit_test(drop_waits_and_forgets),
        cmocka_unit_test(close_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
