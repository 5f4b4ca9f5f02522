/* A copy becomes equal to another one beside the stream (1.10), and takeover's record by record
 * way. */
#include <errno.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/unit/replica/rig.h"

#define GEN 5u

static void
expect_block(struct rig_link *l, uint64_t lba, uint8_t fill)
{
    struct rig_frame *f;
    static uint8_t zero[CW_BLOCK_SIZE];

    rig_read(l, GEN, lba, 1, 99);
    f = rig_expect(l, CW_FT_READ_OK);
    assert_int_equal(f->hdr.flags & CW_F_ZEROES ? zero[0] : f->data[7], fill);
}

/* S has chunks 0..3, X an older chunk 1 and a chunk 9 that S does not have; writes go on meanwhile.
 */
static void
resync_makes_copies_equal(void **state)
{
    struct rig r;
    struct rig_link *s, *x;
    struct rig_frame *f;
    struct cw_replica_stats st;
    uint64_t seq = 1, xseq = 1;

    rig_init(&r);
    s = rig_owner(&r.disk[0], GEN);
    x = rig_owner(&r.disk[1], GEN);
    for (uint64_t c = 0; c < 4; c++)
        for (uint64_t b = 0; b < 3; b++)
            rig_write(s, GEN, seq++, c * 256 + b, (uint8_t)(10 * c + b + 1));
    rig_write(x, GEN, xseq++, 256, 200);
    rig_write(x, GEN, xseq++, 9 * 256, 201);
    rig_expect_acked(s, seq - 1);
    rig_expect_acked(x, xseq - 1);
    rig_join(x, GEN, 77, seq);
    f = rig_expect(x, CW_FT_JOIN_OK);
    assert_int_equal(f->hdr.tag, 8);
    rig_read(x, GEN, 0, 1, 1);
    f = rig_expect(x, CW_FT_READ_ERR);
    assert_int_equal(*(uint32_t *)(void *)f->data, CW_NACK_STATE);
    rig_sync_from(x, GEN, &r.disk[0], 77, 0);
    rig_answer_dial(&r.disk[1], &r.disk[0]);
    for (uint32_t i = 0; i < 40; i++) { /* to both, now one and now the other first */
        struct rig_link *first = i & 1 ? s : x, *second = i & 1 ? x : s;

        rig_write(first, GEN, seq, (i % 5) * 256 + i % 4, (uint8_t)(100 + i));
        cw_simenv_run_for(&r.env, 70000);
        rig_write(second, GEN, seq++, (i % 5) * 256 + i % 4, (uint8_t)(100 + i));
    }
    f = rig_expect(x, CW_FT_SYNC_DONE);
    assert_int_equal(f->hdr.stable, 77);
    rig_expect_acked(x, seq - 1);
    rig_expect_acked(s, seq - 1);
    for (uint64_t c = 0; c < 10; c++)
        for (uint64_t b = 0; b < 5; b++) {
            struct rig_frame *a, *e;

            rig_read(s, GEN, c * 256 + b, 1, 1);
            rig_read(x, GEN, c * 256 + b, 1, 1);
            a = rig_expect(s, CW_FT_READ_OK);
            e = rig_expect(x, CW_FT_READ_OK);
            assert_int_equal(a->hdr.flags, e->hdr.flags);
            if (!(a->hdr.flags & CW_F_ZEROES))
                assert_memory_equal(a->data, e->data, CW_BLOCK_SIZE);
        }
    cw_replica_stats(r.disk[1].replica, &st);
    assert_true(st.chunks_copied >= 5);
    assert_int_equal(st.syncing, 0);
    cw_replica_check(r.disk[1].replica);
    rig_fini(&r);
}

/* Equal versions move nothing. */
static void
resync_of_equal_copies_moves_nothing(void **state)
{
    struct rig r;
    struct rig_link *s, *x;
    struct cw_replica_stats st;

    rig_init(&r);
    s = rig_owner(&r.disk[0], GEN);
    x = rig_owner(&r.disk[1], GEN);
    for (uint64_t seq = 1; seq <= 6; seq++) {
        rig_write(s, GEN, seq, seq * 256, 'e');
        rig_write(x, GEN, seq, seq * 256, 'e');
    }
    rig_expect_acked(s, 6);
    rig_expect_acked(x, 6);
    rig_join(x, GEN, 77, 7);
    rig_expect(x, CW_FT_JOIN_OK);
    rig_sync_from(x, GEN, &r.disk[0], 77, 0);
    rig_answer_dial(&r.disk[1], &r.disk[0]);
    rig_expect(x, CW_FT_SYNC_DONE);
    cw_replica_stats(r.disk[1].replica, &st);
    assert_int_equal(st.chunks_copied, 0);
    expect_block(x, 512, 'e');
    rig_fini(&r);
}

/* What is found bad on a copy in resync is told when that is over: nobody reads it before. */
static void
bad_blocks_are_told_after_a_resync(void **state)
{
    struct rig r;
    struct rig_link *s, *x;

    rig_init(&r);
    s = rig_owner(&r.disk[0], GEN);
    x = rig_owner(&r.disk[1], GEN);
    rig_write(s, GEN, 1, 300, 'e');
    rig_write(x, GEN, 1, 300, 'e');
    rig_expect_acked(s, 1);
    rig_expect_acked(x, 1);
    rig_join(x, GEN, 77, 2);
    rig_expect(x, CW_FT_JOIN_OK);
    rig_rot(&r.disk[1], 'e');
    cw_store_scrub_start(cw_replica_store(r.disk[1].replica));
    rig_run(&r, 2000);
    rig_expect_none(x, CW_FT_BAD_NOTE);
    rig_sync_from(x, GEN, &r.disk[0], 77, 0);
    rig_answer_dial(&r.disk[1], &r.disk[0]);
    rig_expect(x, CW_FT_SYNC_DONE);
    rig_expect(x, CW_FT_BAD_NOTE);
    rig_fini(&r);
}

/* "syncing" survives a crash: the copy serves nothing and takes no stream before a new JOIN. */
static void
syncing_survives_a_crash(void **state)
{
    struct rig r;
    struct rig_link *s, *x;
    struct rig_frame *f;
    struct cw_replica_copy copy;

    rig_init(&r);
    s = rig_owner(&r.disk[0], GEN);
    x = rig_owner(&r.disk[1], GEN);
    rig_write(s, GEN, 1, 0, 's');
    rig_expect_acked(s, 1);
    rig_join(x, GEN, 77, 2);
    rig_expect(x, CW_FT_JOIN_OK);
    rig_crash(&r.disk[1], 256);
    assert_true(cw_replica_copy_next(r.disk[1].replica, 0, &copy));
    assert_true(copy.syncing);
    x = rig_link(&r.disk[1]);
    rig_open_session(x, GEN);
    f = rig_expect(x, CW_FT_OPEN_OK);
    assert_true(((const struct cw_wire_ack *)(void *)f->data)->health & CW_MEMBER_SYNCING);
    rig_write(x, GEN, 2, 0, 'n');
    assert_int_equal(rig_nack_code(rig_expect(x, CW_FT_NACK)), CW_NACK_STATE);
    rig_join(x, GEN, 78, 2);
    rig_expect(x, CW_FT_JOIN_OK);
    rig_write(x, GEN, 2, 0, 'n');
    rig_expect_acked(x, 2);
    rig_write(s, GEN, 2, 0, 'n');
    rig_sync_from(x, GEN, &r.disk[0], 78, 0);
    rig_answer_dial(&r.disk[1], &r.disk[0]);
    rig_expect(x, CW_FT_SYNC_DONE);
    expect_block(x, 0, 'n');
    rig_fini(&r);
}

/* The source waits for the position asked for, and answers nobody of another generation. */
static void
source_waits_and_keeps_generations_apart(void **state)
{
    struct rig r;
    struct rig_link *s, *t, *n;
    struct rig_frame *f;
    uint64_t csums[CW_CHUNK_BLOCKS] = { 0 };
    struct cw_wire_hdr get = { .type = CW_FT_CHUNK_GET, .flags = CW_F_CSUMS, .shard = RIG_SHARD };
    const struct cw_wire_chunk_data *cd;

    rig_init(&r);
    s = rig_owner(&r.disk[0], GEN);
    rig_write(s, GEN, 1, 0, '1');
    rig_expect_acked(s, 1);
    for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++)
        csums[i] = CW_HASH_ZERO_BLOCK;
    t = rig_link(&r.disk[0]);
    get.gen = GEN - 1;
    get.lba_nblk = cw_lba_nblk(0, CW_CHUNK_BLOCKS);
    get.tag = 31;
    rig_send(t, get, csums, NULL, 0);
    assert_int_equal(rig_nack_code(rig_expect(t, CW_FT_NACK)), CW_NACK_GONE);
    get.gen = GEN;
    get.seq = 2;
    get.stable = 4242;
    rig_send(t, get, csums, NULL, 0);
    rig_expect_none(t, CW_FT_CHUNK_DATA);
    rig_write(s, GEN, 2, 1, '2');
    f = rig_expect(t, CW_FT_CHUNK_DATA);
    cd = (const struct cw_wire_chunk_data *)(void *)f->data;
    assert_int_equal(f->hdr.seq, 2);
    assert_int_equal(f->hdr.stable, 4242);
    assert_int_equal(cd->n_sent, 2);
    assert_int_equal(cd->sent[0], 3);
    assert_int_equal(cd->ver_seq, 2);
    assert_int_equal(f->data[sizeof(*cd)], '1');
    get.seq = 3;
    rig_send(t, get, csums, NULL, 0);
    n = rig_link(&r.disk[0]);
    rig_seal(n, GEN + 1, true);
    assert_int_equal(rig_nack_code(rig_expect(t, CW_FT_NACK)), CW_NACK_GONE);
    rig_fini(&r);
}

static void
zero(struct rig_link *l, uint64_t seq, uint64_t lba)
{
    struct cw_wire_hdr h = { .type = CW_FT_ZERO, .shard = RIG_SHARD, .gen = GEN };

    h.seq = seq;
    h.lba_nblk = cw_lba_nblk(lba, 1);
    rig_send(l, h, NULL, NULL, 0);
}

static bool
has_not_asked(void *link)
{
    const struct rig_link *l = link;

    for (uint32_t i = 0; i < l->n; i++)
        if (l->frames[i].hdr.type == CW_FT_CHUNK_GET)
            return false;
    return true;
}

/* A block that was equal when the chunk was asked for, changed here and changed back at the source
 * before it answered: it is asked for again, for the change back will be skipped here. */
static void
resync_looks_again_at_blocks_not_sent(void **state)
{
    struct rig r;
    struct rig_link *s, *x, *pipe;
    struct cw_replica_stats st;

    rig_init(&r);
    s = rig_owner(&r.disk[0], GEN);
    x = rig_owner(&r.disk[1], GEN);
    rig_write(s, GEN, 1, 0, 'a');
    rig_expect_acked(s, 1);
    rig_join(x, GEN, 77, 2);
    rig_expect(x, CW_FT_JOIN_OK);
    rig_sync_from(x, GEN, &r.disk[0], 77, 0);
    pipe = rig_answer_dial(&r.disk[1], &r.disk[0]);
    assert_true(cw_simenv_run_while(&r.env, has_not_asked, pipe, CW_NS_PER_S));
    r.hold_pipe = true;
    rig_write(x, GEN, 2, 5, 'w');
    rig_expect_acked(x, 2);
    rig_write(s, GEN, 2, 5, 'w');
    zero(s, 3, 5);
    rig_expect_acked(s, 3);
    r.hold_pipe = false;
    rig_run(&r, 100);
    rig_expect_none(x,
                    CW_FT_SYNC_DONE); /* the stream up to the source's position is still to come */
    zero(x, 3, 5);
    rig_expect(x, CW_FT_SYNC_DONE);
    cw_replica_stats(r.disk[1].replica, &st);
    assert_int_equal(st.rechecks, 1);
    expect_block(x, 0, 'a');
    expect_block(x, 5, 0);
    rig_fini(&r);
}

/* A record of one copy's tail goes onto another as the original that it was. */
static void
tail_goes_from_copy_to_copy(void **state)
{
    struct rig r;
    struct rig_link *a, *b;
    struct rig_frame *f;
    const struct cw_wire_seal_ok *ok;
    struct cw_wire_hdr q = {
        .type = CW_FT_TAIL_QUERY, .shard = RIG_SHARD, .gen = GEN + 1, .seq = 2
    };

    rig_init(&r);
    a = rig_owner(&r.disk[0], GEN);
    rig_write(a, GEN, 1, 5, 'o');
    rig_write(a, GEN, 2, 6, 't');
    rig_write(a, GEN, 3, 6, 'u');
    rig_expect_acked(a, 3);
    b = rig_owner(&r.disk[1], GEN);
    rig_write(b, GEN, 1, 5, 'o');
    rig_expect_acked(b, 1);
    a = rig_owner(&r.disk[0], GEN + 1);
    b = rig_owner(&r.disk[1], GEN + 1);
    q.tag = 5;
    rig_send(a, q, NULL, NULL, 0);
    f = rig_expect(a, CW_FT_TAIL_DATA);
    assert_int_equal(f->hdr.seq, 2);
    assert_int_equal(f->hdr.stable, (uint64_t)CW_FT_WRITE << 32 | GEN);
    assert_int_equal(f->data[0], 't'); /* not what the map says now */
    f->hdr.type = CW_FT_REPAIR_APPEND;
    f->hdr.gen = GEN + 1;
    f->hdr.shard = RIG_SHARD;
    rig_send(b, f->hdr, f->csums, f->data, f->len);
    rig_expect_acked(b, 2);
    b = rig_link(&r.disk[1]);
    rig_seal(b, GEN + 2, true);
    ok = (const struct cw_wire_seal_ok *)(void *)rig_expect(b, CW_FT_SEAL_OK)->data;
    assert_int_equal(ok->last_gen, GEN);
    assert_int_equal(ok->last_seq, 2);
    rig_fini(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resync_makes_copies_equal),
        cmocka_unit_test(resync_of_equal_copies_moves_nothing),
        cmocka_unit_test(bad_blocks_are_told_after_a_resync),
        cmocka_unit_test(syncing_survives_a_crash),
        cmocka_unit_test(source_waits_and_keeps_generations_apart),
        cmocka_unit_test(resync_looks_again_at_blocks_not_sent),
        cmocka_unit_test(tail_goes_from_copy_to_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
