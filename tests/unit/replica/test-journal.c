/* A journal holds what was written since its JOIN, and makes a copy whole that has all before. */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "tests/unit/replica/rig.h"

#define GEN 5u
#define JOURNAL CW_JOIN_ID(CW_JOIN_JOURNAL, 77)
#define OVERLAY CW_JOIN_ID(CW_JOIN_OVERLAY, 78)

static uint32_t
health_of_open(struct rig_link *l, uint32_t gen, uint64_t *ret_seq)
{
    struct rig_frame *f;

    rig_open_session(l, gen);
    f = rig_expect(l, CW_FT_OPEN_OK);
    *ret_seq = f->hdr.seq;
    return ((const struct cw_wire_ack *)(void *)f->data)->health;
}

/* It begins at s0, answers no read, and after a crash it goes on where it was, as a journal. */
static void
goes_on_with_the_stream(void **state)
{
    struct rig r;
    struct rig_link *l;
    struct rig_frame *f;
    const struct cw_wire_seal_ok *ok;
    const struct cw_wire_hist *hist;
    struct cw_wire_hdr q = { .type = CW_FT_TAIL_QUERY, .shard = RIG_SHARD, .tag = 5, .seq = 101 };
    uint64_t seq;

    rig_init(&r);
    l = rig_owner(&r.disk[0], GEN);
    rig_join(l, GEN, JOURNAL, 100);
    assert_int_equal(rig_expect(l, CW_FT_JOIN_OK)->hdr.tag, 8);
    rig_join(l, GEN, JOURNAL, 100); /* as if the answer had been lost */
    rig_expect(l, CW_FT_JOIN_OK);
    rig_write(l, GEN, 100, 3, 'a');
    rig_write(l, GEN, 101, 4, 'b');
    rig_expect_acked(l, 101);
    rig_read(l, GEN, 3, 1, 9);
    f = rig_expect(l, CW_FT_READ_ERR);
    assert_int_equal(*(uint32_t *)(void *)f->data, CW_NACK_STATE);
    rig_crash(&r.disk[0], 0);
    l = rig_link(&r.disk[0]);
    assert_int_equal(health_of_open(l, GEN, &seq), CW_MEMBER_LOG);
    assert_int_equal(seq, 101);
    rig_write(l, GEN, 102, 4, 'c');
    rig_expect_acked(l, 102);
    l = rig_link(&r.disk[0]);
    rig_seal(l, GEN + 1, true);
    f = rig_expect(l, CW_FT_SEAL_OK);
    ok = (const struct cw_wire_seal_ok *)(void *)f->data;
    hist = (const struct cw_wire_hist *)(const void *)(ok + 1);
    assert_int_equal(ok->flags, CW_MEMBER_LOG);
    assert_int_equal(ok->last_gen, GEN);
    assert_int_equal(ok->last_seq, 102);
    assert_int_equal(ok->n_hist, 1);
    assert_int_equal(hist->gen, GEN);
    assert_int_equal(hist->start_seq, 99);
    assert_int_equal(ok->n_tail, 3);
    q.gen = GEN + 1;
    rig_send(l, q, NULL, NULL, 0);
    assert_int_equal(rig_expect(l, CW_FT_TAIL_DATA)->data[0], 'b');
    rig_fini(&r);
}

/* Only an empty copy becomes one: what an older stream left would be taken for newer than what the
 * other copy has. And one that is a journal does not begin again. */
static void
begins_on_an_empty_copy_only(void **state)
{
    struct rig r;
    struct rig_link *a, *b;

    rig_init(&r);
    a = rig_owner(&r.disk[0], GEN);
    rig_write(a, GEN, 1, 0, 'x');
    rig_expect_acked(a, 1);
    rig_join(a, GEN, JOURNAL, 100);
    assert_int_equal(rig_nack_code(rig_expect(a, CW_FT_NACK)), CW_NACK_STATE);
    b = rig_owner(&r.disk[1], GEN);
    rig_join(b, GEN, JOURNAL, 100);
    rig_expect(b, CW_FT_JOIN_OK);
    rig_join(b, GEN, CW_JOIN_ID(CW_JOIN_JOURNAL, 3), 100);
    assert_int_equal(rig_nack_code(rig_expect(b, CW_FT_NACK)), CW_NACK_STATE);
    rig_fini(&r);
}

/* A copy with gaps, or none of its own, is not completed by a journal. */
static void
gaps_are_not_filled(void **state)
{
    struct rig r;
    struct rig_link *a, *b;

    rig_init(&r);
    a = rig_owner(&r.disk[0], GEN);
    rig_join(a, GEN, OVERLAY, 5); /* empty */
    assert_int_equal(rig_nack_code(rig_expect(a, CW_FT_NACK)), CW_NACK_STATE);
    rig_write(a, GEN, 1, 0, 'x');
    rig_expect_acked(a, 1);
    rig_join(a, GEN, 7, 5); /* as any other: it may lack anything now */
    rig_expect(a, CW_FT_JOIN_OK);
    rig_join(a, GEN, OVERLAY, 5);
    assert_int_equal(rig_nack_code(rig_expect(a, CW_FT_NACK)), CW_NACK_STATE);
    b = rig_owner(&r.disk[1], GEN);
    rig_join(b, GEN, JOURNAL, 100);
    rig_expect(b, CW_FT_JOIN_OK);
    rig_join(b, GEN, OVERLAY, 100);
    assert_int_equal(rig_nack_code(rig_expect(b, CW_FT_NACK)), CW_NACK_STATE);
    rig_fini(&r);
}

/* A journal is a source for nobody else, and nobody else is one for such a copy. */
static void
kinds_of_sources_are_kept_apart(void **state)
{
    struct rig r;
    struct rig_link *j, *s, *t;
    uint64_t csums[CW_CHUNK_BLOCKS] = { 0 };
    struct cw_wire_hdr get = {
        .type = CW_FT_CHUNK_GET, .flags = CW_F_CSUMS, .shard = RIG_SHARD, .gen = GEN
    };

    rig_init(&r);
    j = rig_owner(&r.disk[0], GEN);
    rig_join(j, GEN, JOURNAL, 100);
    rig_expect(j, CW_FT_JOIN_OK);
    s = rig_owner(&r.disk[1], GEN);
    rig_write(s, GEN, 1, 0, 'x');
    rig_expect_acked(s, 1);
    get.lba_nblk = cw_lba_nblk(0, CW_CHUNK_BLOCKS);
    get.stable = 9;
    t = rig_link(&r.disk[0]);
    rig_send(t, get, csums, NULL, 0);
    assert_int_equal(rig_nack_code(rig_expect(t, CW_FT_NACK)), CW_NACK_STATE);
    get.stable = OVERLAY;
    t = rig_link(&r.disk[1]);
    rig_send(t, get, csums, NULL, 0);
    assert_int_equal(rig_nack_code(rig_expect(t, CW_FT_NACK)), CW_NACK_STATE);
    rig_fini(&r);
}

/* ---- a copy made whole ---- */

#define CHUNKS 6u
#define BLOCKS (CHUNKS * CW_CHUNK_BLOCKS)

struct stream {
    struct cw_prng prng;
    uint8_t model[BLOCKS];
};

struct one {
    bool zero;
    uint64_t lba;
    uint32_t nblk;
    uint8_t fill;
};

static struct one
next_record(struct stream *st)
{
    struct one o = { .zero = cw_prng_next(&st->prng) % 4 == 0, .nblk = 1 };

    o.lba = cw_prng_next(&st->prng) % BLOCKS;
    o.fill = (uint8_t)(1 + cw_prng_next(&st->prng) % 255);
    if (o.zero) {
        o.fill = 0;
        o.nblk = (uint32_t)cw_min_u64(1 + cw_prng_next(&st->prng) % 300, BLOCKS - o.lba);
    }
    memset(st->model + o.lba, o.fill, o.nblk);
    return o;
}

static void
give(struct rig_link *l, uint64_t seq, const struct one *o)
{
    struct cw_wire_hdr h = { .type = CW_FT_TRIM, .shard = RIG_SHARD, .gen = GEN, .seq = seq };

    if (!o->zero) {
        rig_write(l, GEN, seq, o->lba, o->fill);
        return;
    }
    h.lba_nblk = cw_lba_nblk(o->lba, o->nblk);
    rig_send(l, h, NULL, NULL, 0);
}

static void
expect_model(struct rig_link *l, const struct stream *st)
{
    for (uint32_t c = 0; c < CHUNKS; c++) {
        struct rig_frame *f;

        rig_read(l, GEN, (uint64_t)c * CW_CHUNK_BLOCKS, CW_CHUNK_BLOCKS, 99);
        f = rig_expect(l, CW_FT_READ_OK);
        for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
            uint8_t is = f->hdr.flags & CW_F_ZEROES ? 0 : f->data[i * CW_BLOCK_SIZE + 17];

            if (is != st->model[c * CW_CHUNK_BLOCKS + i])
                fail_msg("chunk %u block %u: %u, not %u", c, i, is,
                         st->model[c * CW_CHUNK_BLOCKS + i]);
        }
    }
}

/* X has the records up to 30, the journal those from 21 on; the writes go on. `broken`: X crashes
 * in the middle, with some chunks copied, and is joined again. */
static void
make_whole(uint64_t seed, bool broken)
{
    struct rig r;
    struct rig_link *j, *x, *pipe;
    struct stream *st = calloc(1, sizeof(*st));
    struct cw_replica_stats stats;
    struct one o;
    uint64_t seq = 1, at;

    cw_prng_init(&st->prng, seed);
    rig_init(&r);
    j = rig_owner(&r.disk[0], GEN);
    x = rig_owner(&r.disk[1], GEN);
    rig_join(j, GEN, JOURNAL, 21);
    rig_expect(j, CW_FT_JOIN_OK);
    for (; seq <= 60; seq++) {
        o = next_record(st);
        if (seq <= 30)
            give(x, seq, &o);
        if (seq >= 21)
            give(j, seq, &o);
    }
    rig_expect_acked(x, 30);
    rig_expect_acked(j, 60);
    rig_join(x, GEN, OVERLAY, seq);
    rig_expect(x, CW_FT_JOIN_OK);
    rig_sync_from(x, GEN, &r.disk[0], OVERLAY, 21);
    pipe = rig_answer_dial(&r.disk[1], &r.disk[0]);
    if (broken) {
        for (int i = 0; i < 1000; i++) {
            cw_replica_stats(r.disk[1].replica, &stats);
            if (stats.chunks_copied > 0)
                break;
            cw_simenv_run_for(&r.env, 20000);
        }
        o = next_record(st);
        give(j, seq++, &o); /* X does not get this one */
        rig_forget_pipe(pipe);
        rig_crash(&r.disk[1], 0);
        x = rig_link(&r.disk[1]);
        assert_int_equal(health_of_open(x, GEN, &at) & (CW_MEMBER_SYNCING | CW_MEMBER_OVERLAY),
                         CW_MEMBER_SYNCING | CW_MEMBER_OVERLAY);
        rig_join(x, GEN, OVERLAY + 1, seq);
        rig_expect(x, CW_FT_JOIN_OK);
        rig_sync_from(x, GEN, &r.disk[0], OVERLAY + 1, 21);
        rig_answer_dial(&r.disk[1], &r.disk[0]);
    }
    for (uint32_t i = 0; i < 40; i++) { /* to both, now one and now the other first */
        struct rig_link *first = i & 1 ? j : x, *second = i & 1 ? x : j;

        o = next_record(st);
        give(first, seq, &o);
        cw_simenv_run_for(&r.env, 50000);
        give(second, seq++, &o);
    }
    rig_expect(x, CW_FT_SYNC_DONE);
    rig_expect_acked(x, seq - 1);
    expect_model(x, st);
    cw_replica_check(r.disk[1].replica);
    cw_replica_check(r.disk[0].replica);
    rig_fini(&r);
    free(st);
}

static void
completes_a_copy_that_has_all_before(void **state)
{
    for (uint64_t seed = 1; seed <= 8; seed++)
        make_whole(seed, false);
}

static void
completes_it_after_a_crash_too(void **state)
{
    for (uint64_t seed = 11; seed <= 18; seed++)
        make_whole(seed, true);
}

/* A block that the journal holds but cannot read is BAD on the copy afterwards: it is not what it
 * was before. */
static void
damage_is_not_taken_for_unknown(void **state)
{
    struct rig r;
    struct rig_link *j, *x;
    struct rig_frame *f;
    const struct cw_wire_read_err *err;

    rig_init(&r);
    j = rig_owner(&r.disk[0], GEN);
    x = rig_owner(&r.disk[1], GEN);
    rig_write(x, GEN, 1, 5, 'o');
    rig_write(x, GEN, 2, 6, 'o');
    rig_expect_acked(x, 2);
    rig_join(j, GEN, JOURNAL, 3);
    rig_expect(j, CW_FT_JOIN_OK);
    rig_write(j, GEN, 3, 5, 'n');
    rig_expect_acked(j, 3);
    rig_rot(&r.disk[0], 'n');
    rig_join(x, GEN, OVERLAY, 4);
    rig_expect(x, CW_FT_JOIN_OK);
    rig_sync_from(x, GEN, &r.disk[0], OVERLAY, 3);
    rig_answer_dial(&r.disk[1], &r.disk[0]);
    rig_expect(x, CW_FT_SYNC_DONE);
    rig_read(x, GEN, 5, 1, 1);
    f = rig_expect(x, CW_FT_READ_ERR);
    err = (const struct cw_wire_read_err *)(void *)f->data;
    assert_int_equal(err->code, 0);
    assert_int_equal(err->bad[0], 1);
    rig_read(x, GEN, 6, 1, 2);
    assert_int_equal(rig_expect(x, CW_FT_READ_OK)->data[0], 'o');
    rig_fini(&r);
}

/* The journal left, and another one began where it was: what that one does not hold is not what the
 * copy has. Neither its list is taken, be it empty, nor its chunks. */
static void
another_journal_is_no_source(void **state)
{
    for (int listed = 0; listed < 2; listed++) {
        struct rig r;
        struct rig_link *j, *x;
        struct cw_replica_stats stats = { 0 };

        rig_init(&r);
        j = rig_owner(&r.disk[0], GEN);
        x = rig_owner(&r.disk[1], GEN);
        rig_write(x, GEN, 1, 5, 'o');
        rig_expect_acked(x, 1);
        rig_join(j, GEN, JOURNAL, 2);
        rig_expect(j, CW_FT_JOIN_OK);
        if (listed) {
            rig_write(j, GEN, 2, 5, 'n');
            rig_expect_acked(j, 2);
        }
        rig_join(x, GEN, OVERLAY, listed ? 3 : 2);
        rig_expect(x, CW_FT_JOIN_OK);
        rig_sync_from(x, GEN, &r.disk[0], OVERLAY, listed ? 2 : 1);
        rig_answer_dial(&r.disk[1], &r.disk[0]);
        for (int i = 0; listed && i < 100000 && stats.chunks_served == 0; i++) {
            cw_simenv_run_for(&r.env, 1000);
            cw_replica_stats(r.disk[0].replica, &stats);
        }
        assert_int_equal(stats.chunks_served, listed);
        if (listed)
            rig_sync_from(x, GEN, &r.disk[0], OVERLAY, 1);
        rig_run(&r, 20000);
        cw_replica_stats(r.disk[1].replica, &stats);
        assert_int_equal(stats.chunks_copied, 0);
        assert_int_equal(stats.protocol_errors, 0);
        rig_expect_none(x, CW_FT_SYNC_DONE);
        rig_sync_from(x, GEN, &r.disk[0], OVERLAY, 2);
        rig_expect(x, CW_FT_SYNC_DONE);
        rig_read(x, GEN, 5, 1, 2);
        assert_int_equal(rig_expect(x, CW_FT_READ_OK)->data[0], listed ? 'n' : 'o');
        rig_fini(&r);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_with_the_stream),
        cmocka_unit_test(begins_on_an_empty_copy_only),
        cmocka_unit_test(gaps_are_not_filled),
        cmocka_unit_test(kinds_of_sources_are_kept_apart),
        cmocka_unit_test(completes_a_copy_that_has_all_before),
        cmocka_unit_test(completes_it_after_a_crash_too),
        cmocka_unit_test(damage_is_not_taken_for_unknown),
        cmocka_unit_test(another_journal_is_no_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
