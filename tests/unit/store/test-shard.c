#include <errno.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(5) << 16)

static struct cw_store_shard *
world(struct storeworld *w, uint64_t seed)
{
    storeworld_init(w, seed, 512 * CW_MIB, CW_MIB);
    return storeworld_begin(w, SHARD_ID);
}

static struct cw_store_shard *
crash(struct storeworld *w)
{
    storeworld_crash(w, (struct cw_ramdisk_crash){ .seed = 3, .keep = 0 });
    assert_int_equal(storeworld_open(w), 0);
    return cw_store_shard_find(w->store, SHARD_ID);
}

/* Promise, record, history, stream position and versions are what they were after a crash. */
static void
state_survives_a_crash(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 41);
    struct cw_store_shard_info *info = cw_store_shard_info(sh);
    struct cw_shard_rec rec = info->rec;
    struct cw_store_rec start = { .type = CW_FT_GEN_START, .gen = 7, .seq = 1 };
    struct storeworld_ticket t, u;
    struct cw_wire_ver v[4];
    uint32_t next;

    assert_int_equal(info->promised_gen, 1);
    cw_store_promise(sh, 7, storeworld_ticket(&t));
    assert_int_equal(storeworld_append(&w, sh, &start), 0);
    rec.cfg = 12;
    cw_store_set_rec(sh, &rec, storeworld_ticket(&u));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &u), 0);
    assert_int_equal(storeworld_write(&w, sh, 255, 2), 0);
    storeworld_wait_durable(&w, sh, 2);

    info = cw_store_shard_info(crash(&w));
    sh = cw_store_shard_find(w.store, SHARD_ID);
    assert_int_equal(info->promised_gen, 7);
    assert_int_equal(info->rec.cfg, 12);
    assert_int_equal(info->n_hist, 1);
    assert_int_equal(info->hist[0].gen, 7);
    assert_int_equal(info->hist[0].start_seq, 1);
    assert_int_equal(info->last_seq, 2);
    assert_int_equal(info->last_gen, 1);
    assert_int_equal(info->mapped_blocks, 2);
    assert_int_equal(cw_store_versions(sh, 0, 1000, v, 4, &next), 2);
    assert_int_equal(next, 1000);
    assert_int_equal(v[0].chunk, 0);
    assert_int_equal(v[1].chunk, 1);
    assert_int_equal(v[1].seq, 2);
    assert_true(cw_store_identity(w.store)->incarnation == 2);
    storeworld_fini(&w);
}

/* The tail above stable is listed, and each record of it is read as it was written, also when it
 * was overwritten since and after a crash; stable trims it. */
static void
the_tail_is_kept_for_takeovers(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 42);
    struct cw_store_tail_entry e[16];
    struct cw_store_read r;
    uint8_t want[CW_BLOCK_SIZE];

    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(storeworld_write(&w, sh, 100, 3), 0);
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, 50, 5000), 0);
    storeworld_wait_durable(&w, sh, 9);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(cw_store_tail_list(sh, e, 16), 9);
        assert_int_equal(e[2].seq, 3);
        assert_int_equal(e[2].nblk, 3);
        assert_int_equal(e[8].type, CW_FT_TRIM);
        r = (struct cw_store_read){ .shard = sh, .flags = CW_STORE_READ_TAIL, .tail_seq = 3 };
        assert_int_equal(storeworld_read(&w, &r), 0);
        assert_int_equal(r.lba, 100);
        assert_int_equal(r.nblk, 3);
        assert_int_equal(r.tail_type, CW_FT_WRITE);
        storeworld_fill(want, SHARD_ID, 102, 3);
        assert_int_equal(r.csums[2], cw_hash_block(want));
        assert_memory_equal(r.buf->data + 2 * CW_BLOCK_SIZE, want, CW_BLOCK_SIZE);
        cw_buf_unref(r.buf);
        r = (struct cw_store_read){ .shard = sh, .flags = CW_STORE_READ_TAIL, .tail_seq = 9 };
        assert_int_equal(storeworld_read(&w, &r), 0);
        assert_true(r.zeroes);
        assert_int_equal(r.nblk, 5000);
        sh = crash(&w);
    }
    cw_store_set_stable(sh, 7);
    assert_int_equal(cw_store_tail_list(sh, e, 16), 2);
    r = (struct cw_store_read){ .shard = sh, .flags = CW_STORE_READ_TAIL, .tail_seq = 3 };
    assert_int_equal(storeworld_read(&w, &r), -ENOENT);
    storeworld_fini(&w);
}

/* JOIN sets the position, empties the tail, and lasts until SYNC_DONE, which brings the history. */
static void
join_and_sync_done_are_durable(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 43);
    struct cw_store_hist hist[2] = { { 1, 3 }, { 500, 9 } };
    struct cw_store_tail_entry e[4];
    struct storeworld_ticket t;
    struct cw_store_rec rec = { .type = CW_FT_ZERO, .gen = 9, .seq = 1000, .lba = 3, .nblk = 1 };

    assert_int_equal(storeworld_write(&w, sh, 0, 4), 0);
    cw_store_join(sh, 9, 1000, 77, storeworld_ticket(&t));
    assert_int_equal(storeworld_append(&w, sh, &rec), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    storeworld_wait_durable(&w, sh, 1000);
    sh = crash(&w);
    assert_true(cw_store_shard_info(sh)->syncing);
    assert_int_equal(cw_store_shard_info(sh)->join_id, 77);
    assert_int_equal(cw_store_shard_info(sh)->last_seq, 1000);
    assert_int_equal(cw_store_tail_list(sh, e, 4), 1);
    assert_true(storeworld_block_is(&w, sh, 2, 1));
    assert_true(storeworld_block_is(&w, sh, 3, 0));
    cw_store_sync_done(sh, hist, 2, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    sh = crash(&w);
    assert_false(cw_store_shard_info(sh)->syncing);
    assert_int_equal(cw_store_shard_info(sh)->n_hist, 2);
    assert_int_equal(cw_store_shard_info(sh)->hist[1].start_seq, 500);
    storeworld_fini(&w);
}

/* A copy that was joined as a journal knows the blocks that records named, as data or as zeroes,
 * and no other; its chunks are VOID, so that they equal no others (I9). All of that survives a
 * crash and a stop, and a scrub finds nothing bad in it. */
static void
a_journal_knows_what_was_written(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 46);
    struct cw_store_read r;
    struct storeworld_ticket t;
    struct cw_wire_ver v[8];
    struct cw_store_rec start = { .type = CW_FT_GEN_START, .gen = 1, .seq = 999 };
    static const uint32_t touched[5] = { 0, 1, 2, 3, 5 };
    struct cw_store_scrub_stats before;
    struct cw_store_stats st;
    uint32_t next;

    cw_store_join(sh, 1, 999, CW_JOIN_ID(CW_JOIN_JOURNAL, 5), storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(storeworld_append(&w, sh, &start), 0);                      /* 999 */
    assert_int_equal(storeworld_write(&w, sh, 254, 4), 0);                       /* 1000 */
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, 256, 1), 0);           /* 1001 */
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_ZERO, 3 * 256 - 1, 257), 0); /* 1002 */
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, 5 * 256, 256), 0);     /* 1003 */
    assert_int_equal(storeworld_write(&w, sh, 5 * 256 + 9, 1), 0);               /* 1004 */
    storeworld_wait_durable(&w, sh, 1004);
    cw_store_stats(w.store, &st);
    before = st.scrub;
    for (int again = 0; again < 3; again++) {
        assert_true(cw_store_shard_info(sh)->journal);
        assert_int_equal(cw_store_shard_info(sh)->last_seq, 1004);
        assert_int_equal(cw_store_shard_info(sh)->n_hist, 1);
        assert_int_equal(cw_store_shard_info(sh)->hist[0].start_seq, 998);
        assert_int_equal(cw_store_versions(sh, 0, 10, v, 8, &next), 5);
        for (uint32_t i = 0; i < 5; i++) {
            assert_int_equal(v[i].chunk, touched[i]);
            assert_true(v[i].seq == CW_VER_VOID);
        }
        r = (struct cw_store_read){ .shard = sh, .lba = 256, .nblk = 256 };
        assert_int_equal(storeworld_read(&w, &r), 0);
        assert_int_equal(r.bad[0] | r.bad[1], 0);
        assert_false(cw_bit_get(r.unknown, 0)); /* trimmed: zeroes */
        assert_true(r.csums[0] == CW_HASH_ZERO_BLOCK);
        assert_false(cw_bit_get(r.unknown, 1));
        for (uint32_t i = 2; i < 256; i++)
            assert_true(cw_bit_get(r.unknown, i));
        cw_buf_unref(r.buf);
        assert_true(storeworld_block_is(&w, sh, 257, 1000));
        r = (struct cw_store_read){ .shard = sh, .lba = 2 * 256, .nblk = 256 };
        assert_int_equal(storeworld_read(&w, &r), 0);
        for (uint32_t i = 0; i < 256; i++)
            assert_int_equal(cw_bit_get(r.unknown, i), i < 255);
        cw_buf_unref(r.buf);
        for (uint64_t c = 3; c <= 5; c += 2) {
            r = (struct cw_store_read){ .shard = sh, .lba = c * 256, .nblk = 256 };
            assert_int_equal(storeworld_read(&w, &r), 0);
            assert_int_equal(r.unknown[0] | r.unknown[1] | r.unknown[2] | r.unknown[3], 0);
            assert_int_equal(r.zeroes, c == 3);
            cw_buf_unref(r.buf);
        }
        cw_store_check(w.store);
        if (again == 0) {
            sh = crash(&w);
        } else if (again == 1) {
            assert_int_equal(storeworld_close(&w), 0);
            assert_int_equal(storeworld_open(&w), 0);
            sh = cw_store_shard_find(w.store, SHARD_ID);
        }
    }
    cw_store_scrub_start(w.store);
    for (int i = 0; i < 600; i++) {
        cw_store_stats(w.store, &st);
        if (st.scrub.last_pass > before.last_pass)
            break;
        storeworld_run(&w, CW_NS_PER_S);
    }
    assert_true(st.scrub.last_pass > before.last_pass);
    assert_int_equal(st.scrub.last_found, 0);
    assert_int_equal(w.n_bad, 0);
    storeworld_fini(&w);
}

/* Apply modes: DROP moves only the seq, KEEP leaves the version, a mixed record does each where it
 * was told to. */
static void
modes_decide_per_chunk(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 44);
    static uint8_t data[4 * CW_BLOCK_SIZE];
    uint64_t csums[4];
    uint8_t mixed[2] = { CW_STORE_DROP, CW_STORE_APPLY_KEEP };
    uint8_t drop[2] = { CW_STORE_DROP, CW_STORE_DROP };
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .gen = 1,
        .seq = 2,
        .lba = 254,
        .nblk = 4,
        .csums = csums,
        .data = data,
        .apply = mixed,
    };
    struct cw_wire_ver v[4];
    uint32_t next;

    for (uint32_t i = 0; i < 4; i++) {
        storeworld_fill(data + i * CW_BLOCK_SIZE, SHARD_ID, 254 + i, 2);
        csums[i] = cw_hash_block(data + i * CW_BLOCK_SIZE);
    }
    assert_int_equal(storeworld_write(&w, sh, 254, 4), 0);
    assert_int_equal(storeworld_append(&w, sh, &rec), 0);
    rec.seq = 3;
    rec.apply = drop;
    assert_int_equal(storeworld_append(&w, sh, &rec), 0);
    storeworld_wait_durable(&w, sh, 3);
    for (int again = 0; again < 2; again++) {
        assert_true(storeworld_block_is(&w, sh, 255, 1));
        assert_true(storeworld_block_is(&w, sh, 256, 2));
        assert_int_equal(cw_store_versions(sh, 0, 10, v, 4, &next), 2);
        assert_int_equal(v[0].seq, 1);
        assert_int_equal(v[1].seq, 1);
        assert_int_equal(cw_store_shard_info(sh)->durable_seq, 3);
        sh = crash(&w);
    }
    storeworld_fini(&w);
}

/* VOID, then one atomic record with content, zeroes, BAD blocks and the version. */
static void
chunk_copies_end_in_one_record(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 45);
    static uint8_t data[3 * CW_BLOCK_SIZE];
    uint64_t csums[3];
    struct cw_store_chunk_set c = {
        .chunk = 2,
        .ver_gen = 4,
        .ver_seq = 900,
        .set = { 7 },
        .bad = { 0, 1 },
        .csums = csums,
        .data = data,
    };
    struct storeworld_ticket t;
    struct cw_store_read r;
    struct cw_wire_ver v[2];
    uint32_t next;

    assert_int_equal(storeworld_write(&w, sh, 512, 8), 0);
    cw_store_chunk_void(sh, 2, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(cw_store_versions(sh, 0, 10, v, 2, &next), 1);
    assert_true(v[0].seq == CW_VER_VOID);
    storeworld_fill(data, SHARD_ID, 512, 55);
    storeworld_fill(data + 2 * CW_BLOCK_SIZE, SHARD_ID, 514, 55);
    for (uint32_t i = 0; i < 3; i++)
        csums[i] = cw_hash_block(data + i * CW_BLOCK_SIZE);
    assert_int_equal(cw_store_chunk_current(sh, &c, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    for (int again = 0; again < 2; again++) {
        assert_true(storeworld_block_is(&w, sh, 512, 55));
        assert_true(storeworld_block_is(&w, sh, 513, 0));
        assert_true(storeworld_block_is(&w, sh, 514, 55));
        assert_true(storeworld_block_is(&w, sh, 515, 1));
        r = (struct cw_store_read){ .shard = sh, .lba = 512, .nblk = 256 };
        assert_int_equal(storeworld_read(&w, &r), 0);
        assert_int_equal(r.bad[1], 1);
        assert_int_equal(r.ver_seq, 900);
        assert_int_equal(r.ver_gen, 4);
        cw_buf_unref(r.buf);
        sh = crash(&w);
    }
    /* an overwrite cures a BAD block */
    assert_int_equal(storeworld_write(&w, sh, 576, 1), 0);
    storeworld_wait_durable(&w, sh, 2);
    assert_true(storeworld_block_is(&w, sh, 576, 2));
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* Blocks of zeroes take no space, and a reader that has a block already does not get it. */
static void
zero_blocks_and_known_blocks_are_not_moved(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 46);
    static uint8_t data[4 * CW_BLOCK_SIZE];
    uint64_t csums[4], skip[4];
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .gen = 1,
        .seq = 1,
        .nblk = 4,
        .csums = csums,
        .data = data,
    };
    struct cw_store_read r = { .shard = sh, .nblk = 4 };

    storeworld_fill(data + CW_BLOCK_SIZE, SHARD_ID, 1, 1);
    storeworld_fill(data + 3 * CW_BLOCK_SIZE, SHARD_ID, 3, 1);
    for (uint32_t i = 0; i < 4; i++)
        skip[i] = csums[i] = cw_hash_block(data + i * CW_BLOCK_SIZE);
    assert_int_equal(storeworld_read(&w, &r), 0);
    assert_true(r.zeroes && r.buf == NULL);
    assert_true(r.csums[3] == CW_HASH_ZERO_BLOCK);
    assert_int_equal(storeworld_append(&w, sh, &rec), 0);
    storeworld_wait_durable(&w, sh, 1);
    assert_int_equal(cw_store_shard_info(sh)->mapped_blocks, 2);
    assert_int_equal(storeworld_read(&w, &r), 0);
    assert_false(r.zeroes);
    assert_memory_equal(r.buf->data, data, sizeof(data));
    cw_buf_unref(r.buf);
    skip[3] ^= 1;
    r.skip_csums = skip;
    assert_int_equal(storeworld_read(&w, &r), 0);
    assert_int_equal(r.skipped[0], 7);
    assert_memory_equal(r.buf->data + 3 * CW_BLOCK_SIZE, data + 3 * CW_BLOCK_SIZE, CW_BLOCK_SIZE);
    cw_buf_unref(r.buf);
    storeworld_fini(&w);
}

#define RUN 4u /* blocks; so many are referred to, not copied */

/* Two buffers of which the second lies right behind the first; the others are given back. */
static void
neighbours(struct storeworld *w, struct cw_buf *ret[static 2])
{
    struct cw_buf *all[64] = { NULL };
    size_t n = 0;

    ret[0] = ret[1] = NULL;
    while (n < CW_LEN(all) && ret[1] == NULL) {
        all[n] = cw_buf_get(w->pool, RUN * CW_BLOCK_SIZE);
        assert_non_null(all[n]);
        for (size_t i = 0; i < n && ret[1] == NULL; i++) {
            size_t first = all[i]->data < all[n]->data ? i : n, last = first == i ? n : i;

            if (all[first]->data + RUN * CW_BLOCK_SIZE != all[last]->data)
                continue;
            ret[0] = cw_buf_ref(all[first]);
            ret[1] = cw_buf_ref(all[last]);
        }
        n++;
    }
    for (size_t i = 0; i < n; i++)
        cw_buf_unref(all[i]);
    assert_non_null(ret[1]);
}

/* What lies side by side in memory may be two buffers all the same: neither is anybody else's
 * before the batch is written. */
static void
buffers_side_by_side_are_both_kept(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = world(&w, 47);
    struct cw_buf *buf[2], *other[64];

    neighbours(&w, buf);
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t csums[RUN];
        struct cw_store_rec rec = { .type = CW_FT_WRITE,
                                    .gen = 1,
                                    .seq = i + 1,
                                    .lba = 700 * (uint64_t)i,
                                    .nblk = RUN,
                                    .csums = csums,
                                    .data = buf[i]->data,
                                    .buf = buf[i] };

        for (uint32_t k = 0; k < RUN; k++) {
            uint8_t *block = buf[i]->data + (size_t)k * CW_BLOCK_SIZE;

            storeworld_fill(block, SHARD_ID, rec.lba + k, rec.seq);
            csums[k] = cw_hash_block(block);
        }
        assert_int_equal(storeworld_append(&w, sh, &rec), 0);
    }
    cw_buf_unref(buf[0]);
    cw_buf_unref(buf[1]);
    for (size_t i = 0; i < CW_LEN(other); i++) {
        other[i] = cw_buf_get(w.pool, RUN * CW_BLOCK_SIZE);
        assert_non_null(other[i]);
        memset(other[i]->data, 0xee, RUN * CW_BLOCK_SIZE);
    }
    storeworld_wait_durable(&w, sh, 2);
    for (size_t i = 0; i < CW_LEN(other); i++)
        cw_buf_unref(other[i]);
    for (uint32_t k = 0; k < RUN; k++) {
        assert_true(storeworld_block_is(&w, sh, k, 1));
        assert_true(storeworld_block_is(&w, sh, 700 + k, 2));
    }
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_survives_a_crash),
        cmocka_unit_test(the_tail_is_kept_for_takeovers),
        cmocka_unit_test(join_and_sync_done_are_durable),
        cmocka_unit_test(a_journal_knows_what_was_written),
        cmocka_unit_test(modes_decide_per_chunk),
        cmocka_unit_test(chunk_copies_end_in_one_record),
        cmocka_unit_test(zero_blocks_and_known_blocks_are_not_moved),
        cmocka_unit_test(buffers_side_by_side_are_both_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
