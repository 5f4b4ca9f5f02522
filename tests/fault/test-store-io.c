/* I/O that fails, rots, lands elsewhere or never ends. */
#include <errno.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/store/store-internal.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(9) << 16)
#define SPAN 600u

static void
world_start(struct storeworld *w, uint64_t seed, struct cw_store_shard **ret_sh)
{
    storeworld_init(w, seed, 512 * CW_MIB, CW_MIB);
    *ret_sh = storeworld_begin(w, SHARD_ID);
}

/* Where the batch that holds a block's data lies: found by looking for its content. */
static uint64_t
find_block(struct storeworld *w, uint64_t lba, uint64_t seq)
{
    uint8_t want[CW_BLOCK_SIZE], have[CW_BLOCK_SIZE];

    storeworld_fill(want, SHARD_ID, lba, seq);
    for (uint64_t off = CW_MIB; off < 64 * CW_MIB; off += CW_BLOCK_SIZE) {
        cw_ramdisk_peek(w->disk, off, have, sizeof(have));
        if (memcmp(want, have, sizeof(have)) == 0)
            return off;
    }
    fail();
    return 0;
}

/* Some writes, the N-th write I/O fails once: whatever was reported durable is there after a
 * restart, for every N; the first failed append alone does not take the disk out of service. */
static void
one_failed_write_loses_nothing(void **state)
{
    for (uint64_t n = 1; n <= 24; n++) {
        struct storeworld w;
        struct cw_store_shard *sh;
        struct cw_store_stats st;
        uint64_t durable;

        world_start(&w, 100 + n, &sh);
        cw_ramdisk_plan(w.disk, CW_RAMDISK_EIO, CW_RAMDISK_OP(CW_DISK_WRITE_SYNC), n, 1, 0);
        for (uint32_t i = 0; i < SPAN; i++) {
            assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
            if (i % 20 == 19)
                storeworld_run(&w, CW_NS_PER_MS);
        }
        storeworld_wait_durable(&w, sh, SPAN);
        cw_store_stats(w.store, &st);
        assert_false(st.failed);
        assert_int_equal(cw_ramdisk_faults(w.disk), 1);
        cw_store_check(w.store);
        durable = cw_store_shard_info(sh)->durable_seq;
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = n, .keep = 128 });
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_int_equal(cw_store_shard_info(sh)->durable_seq, durable);
        for (uint32_t i = 0; i < SPAN; i += 7)
            assert_true(storeworld_block_is(&w, sh, i, i + 1));
        storeworld_fini(&w);
    }
}

/* The batch that opens a segment fails while others of that segment are already on disk: those are
 * written again too, for nothing is found in a segment without a header. */
static void
a_segment_without_header_holds_nothing(void **state)
{
    for (uint64_t n = 0; n < 10; n++) {
        struct storeworld w;
        struct cw_store_shard *sh;

        world_start(&w, 200 + n, &sh);
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        cw_ramdisk_plan(w.disk, CW_RAMDISK_EIO, CW_RAMDISK_OP(CW_DISK_WRITE_SYNC), 1, 1, 0);
        for (uint32_t i = 0; i < 4; i++) {
            assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
            cw_store_turn_end(w.store);
        }
        storeworld_wait_durable(&w, sh, 4);
        assert_int_equal(cw_ramdisk_faults(w.disk), 1);
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = n, .keep = 0 });
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_int_equal(cw_store_shard_info(sh)->durable_seq, 4);
        for (uint32_t i = 0; i < 4; i++)
            assert_true(storeworld_block_is(&w, sh, i, i + 1));
        storeworld_fini(&w);
    }
}

/* Two writes are held, the second of which opens a segment. */
static void
hold_an_opener(struct storeworld *w, struct cw_store_shard *sh, uint64_t *seq)
{
    const struct open_seg *hot = &w->store->open[CW_SEG_HOT];

    for (uint32_t i = 0; i < 4096; i++) {
        uint32_t no;

        cw_ramdisk_hold(w->disk, CW_RAMDISK_OP(CW_DISK_WRITE_SYNC), CW_MIB, w->bytes - CW_MIB);
        assert_int_equal(storeworld_write(w, sh, *seq % SPAN, 1), 0);
        cw_store_turn_end(w->store);
        no = hot->no;
        assert_int_equal(storeworld_write(w, sh, (*seq + 1) % SPAN, 1), 0);
        cw_store_turn_end(w->store);
        *seq += 2;
        if (hot->no != no && cw_ramdisk_stuck(w->disk) == 3) {
            cw_ramdisk_unstick_one(w->disk, 1); /* the summary of the one before */
            return;
        }
        cw_ramdisk_hold(w->disk, 0, 0, 0);
        cw_ramdisk_unstick(w->disk);
        storeworld_wait_durable(w, sh, *seq);
        cw_store_set_stable(sh, *seq);
    }
    fail();
}

/* A batch that failed is written again behind the one that opens the next segment, and is there
 * first. Then that one fails: what the first holds is not durable before it has a segment that will
 * be found. */
static void
a_batch_behind_a_failed_opener_is_found(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    uint64_t seq = 0, durable;

    world_start(&w, 230, &sh);
    hold_an_opener(&w, sh, &seq);
    cw_ramdisk_fail_one(w.disk, 0);
    storeworld_run(&w, CW_NS_PER_MS);
    assert_int_equal(cw_ramdisk_stuck(w.disk), 2);
    cw_ramdisk_unstick_one(w.disk, 1);
    storeworld_run(&w, CW_NS_PER_MS);
    durable = cw_store_shard_info(sh)->durable_seq;
    cw_ramdisk_fail_one(w.disk, 0);
    storeworld_run(&w, CW_NS_PER_MS);
    cw_ramdisk_hold(w.disk, 0, 0, 0);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    assert_false(cw_store_shard_info(sh)->damaged);
    assert_true(cw_store_shard_info(sh)->durable_seq >= durable);
    for (uint64_t i = durable - SPAN + 1; i <= durable; i++)
        assert_true(storeworld_block_is(&w, sh, (i - 1) % SPAN, i));
    storeworld_fini(&w);
}

/* Appends that fail twice end the service: no more durable, -EIO for all that waits, and what was
 * durable before is there after a restart. */
static void
a_second_failure_ends_the_service(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_store_stats st;
    struct storeworld_ticket t;
    struct cw_store_read r;

    world_start(&w, 21, &sh);
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
    storeworld_wait_durable(&w, sh, 50);
    cw_ramdisk_plan(w.disk, CW_RAMDISK_EIO, CW_RAMDISK_WRITES, 1, 1000, 0);
    assert_int_equal(storeworld_write(&w, sh, 50, 1), 0);
    cw_store_promise(sh, 5, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), -EIO);
    cw_store_stats(w.store, &st);
    assert_true(st.failed && st.why != NULL);
    assert_true(w.n_health > 0);
    assert_int_equal(cw_store_shard_info(sh)->durable_seq, 50);
    assert_int_equal(storeworld_write(&w, sh, 51, 1), -EIO);
    assert_int_equal(cw_store_credit(sh), 0);
    r = (struct cw_store_read){ .shard = sh, .lba = 0, .nblk = 1 };
    assert_int_equal(storeworld_read(&w, &r), -EIO);
    cw_ramdisk_plan(w.disk, CW_RAMDISK_EIO, 0, 0, 0, 0);
    storeworld_run(&w, WORLD_S);
    assert_int_equal(storeworld_close(&w), -EIO);
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    for (uint32_t i = 0; i < 50; i++)
        assert_true(storeworld_block_is(&w, sh, i, i + 1));
    storeworld_fini(&w);
}

/* Fails every N-th read of a recovery once: it either succeeds whole or says why not; the next
 * attempt finds everything. */
static void
one_failed_read_in_recovery_loses_nothing(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;

    world_start(&w, 22, &sh);
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
        if (i % 10 == 9)
            storeworld_run(&w, CW_NS_PER_MS);
    }
    storeworld_wait_durable(&w, sh, 200);
    storeworld_run(&w, WORLD_S); /* the note covers the last batch */
    for (uint64_t n = 1; n < 150; n += 3) {
        struct storeworld v;
        int res;

        storeworld_init(&v, 1000 + n, w.bytes, CW_MIB);
        cw_ramdisk_free(v.disk);
        v.disk = cw_ramdisk_clone_crashed(w.disk, &v.sim.env,
                                          (struct cw_ramdisk_crash){ .seed = n, .keep = 0 });
        cw_ramdisk_plan(v.disk, CW_RAMDISK_EIO, CW_RAMDISK_OP(CW_DISK_READ), n, 1, 0);
        res = storeworld_open(&v);
        if (res == 0) {
            sh = cw_store_shard_find(v.store, SHARD_ID);
            assert_non_null(sh);
            assert_true(cw_store_shard_info(sh)->durable_seq == 200 ||
                        cw_store_shard_info(sh)->damaged);
        }
        storeworld_fini(&v);
    }
    storeworld_fini(&w);
}

/* A rotten batch header in the middle of the log is damage, never a torn end: the copy opens at the
 * prefix before it, says so also after another restart, until SYNC_DONE. */
static void
row_39_rot_in_mid_log_is_damage_not_truncation(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    uint64_t off;

    world_start(&w, 23, &sh);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
        storeworld_wait_durable(&w, sh, i + 1);
    }
    off = find_block(&w, 60, 61);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    cw_ramdisk_flip(w.disk, off - CW_BLOCK_SIZE + 70, 1); /* in its header */
    for (uint32_t again = 0; again < 2; again++) {
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_true(cw_store_shard_info(sh)->damaged);
        assert_int_equal(cw_store_shard_info(sh)->durable_seq, 60);
        assert_int_equal(cw_store_recovery(w.store)->damaged_copies, 1);
        if (again == 0)
            storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    }
    cw_store_sync_done(sh, NULL, 0, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_false(cw_store_shard_info(sh)->damaged);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(&w), 0);
    assert_false(cw_store_shard_info(cw_store_shard_find(w.store, SHARD_ID))->damaged);
    storeworld_fini(&w);
}

/* ---- row 42: writes that were acknowledged and are not there ---- */

/* A lost one with others behind it is damage of every copy of the disk, which open at the prefix
 * before it; also after the next restart. */
static void
row_42_a_lost_write_in_mid_log_is_damage(void **state)
{
    for (uint64_t k = 1; k <= 12; k++) {
        struct storeworld w;
        struct cw_store_shard *sh, *other;

        world_start(&w, 230 + k, &sh);
        other = storeworld_shard(&w, SHARD_ID + 1);
        for (uint32_t i = 1; i <= 14; i++) {
            if (i == k)
                cw_ramdisk_plan(w.disk, CW_RAMDISK_LOSE, CW_RAMDISK_OP(CW_DISK_WRITE_SYNC), 1, 1,
                                0);
            assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
            storeworld_wait_durable(&w, sh, i);
        }
        assert_int_equal(storeworld_write(&w, other, 0, 1), 0);
        storeworld_wait_durable(&w, other, 1);
        for (uint32_t again = 0; again < 2; again++) {
            storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = k });
            assert_int_equal(storeworld_open(&w), 0);
            sh = cw_store_shard_find(w.store, SHARD_ID);
            other = cw_store_shard_find(w.store, SHARD_ID + 1);
            assert_true(cw_store_shard_info(sh)->damaged && cw_store_shard_info(other)->damaged);
            assert_int_equal(cw_store_shard_info(sh)->durable_seq, k - 1);
            assert_int_equal(cw_store_shard_info(other)->durable_seq, 0);
            for (uint32_t i = 1; i <= 14; i++)
                assert_true(storeworld_block_is(&w, sh, i, i < k ? i : 0));
        }
        storeworld_fini(&w);
    }
}

/* The last one cannot be missed by this disk: that its peers know better is what an owner is for
 * (row 42 of test-takeover). Once idle it is covered by a note. */
static void
row_42_only_the_last_write_may_be_lost_unseen(void **state)
{
    for (uint32_t idle = 0; idle < 2; idle++) {
        struct storeworld w;
        struct cw_store_shard *sh;

        world_start(&w, 250 + idle, &sh);
        for (uint32_t i = 1; i <= 14; i++) {
            if (i == 14)
                cw_ramdisk_plan(w.disk, CW_RAMDISK_LOSE, CW_RAMDISK_OP(CW_DISK_WRITE_SYNC), 1, 1,
                                0);
            assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
            storeworld_wait_durable(&w, sh, i);
        }
        storeworld_run(&w, idle * 300 * CW_NS_PER_MS);
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1 });
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_int_equal(cw_store_shard_info(sh)->durable_seq, 13);
        assert_int_equal(cw_store_shard_info(sh)->damaged, idle == 1);
        storeworld_fini(&w);
    }
}

#define HONEST 5u
#define LIED 14u

/* Where the log's batches lie, by the record of one block in each. */
static void
batches_find(const struct storeworld *w, uint64_t off[LIED + 1])
{
    uint32_t n, k = HONEST;
    const struct cw_ramdisk_io *io = cw_ramdisk_traced(w->disk, &n);

    for (uint32_t i = 0; i < n; i++) {
        if (io[i].op != CW_DISK_WRITE_SYNC)
            continue;
        assert_int_equal(io[i].len, 2 * CW_BLOCK_SIZE);
        assert_true(++k <= LIED);
        off[k] = io[i].off;
    }
    assert_int_equal(k, LIED);
}

/* A disk that says durable and keeps, at the power cut, any of it: a hole in front of anything that
 * is there is damage, a block that is not is bad, and without a hole the log just ends. */
static void
row_42_a_disk_that_lies(void **state)
{
    static const uint8_t nothing[CW_BLOCK_SIZE];
    uint32_t n_damaged = 0, n_whole = 0, n_bad = 0;

    for (uint64_t seed = 1; seed <= 120; seed++) {
        struct storeworld w;
        struct cw_store_shard *sh;
        uint64_t off[LIED + 1], last = HONEST, hole = 0, end;
        bool there[LIED + 1] = { 0 };
        uint8_t sector[CW_BLOCK_SIZE];

        world_start(&w, 300 + seed, &sh);
        for (uint32_t i = 1; i <= LIED; i++) {
            if (i == HONEST + 1) {
                cw_ramdisk_lie(w.disk, true);
                cw_ramdisk_trace(w.disk, true);
            }
            assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
            storeworld_wait_durable(&w, sh, i);
        }
        batches_find(&w, off);
        storeworld_crash(&w,
                         (struct cw_ramdisk_crash){ .seed = seed, .keep = seed % 2 ? 120 : 240 });
        cw_ramdisk_lie(w.disk, false);
        for (uint32_t i = HONEST + 1; i <= LIED; i++) {
            cw_ramdisk_peek(w.disk, off[i], sector, sizeof(sector));
            if (memcmp(sector, nothing, sizeof(sector)) != 0)
                last = i;
            else if (hole == 0)
                hole = i;
            cw_ramdisk_peek(w.disk, off[i] + CW_BLOCK_SIZE, sector, sizeof(sector));
            there[i] = memcmp(sector, nothing, sizeof(sector)) != 0;
        }
        end = hole != 0 && hole < last ? hole - 1 : last == HONEST || there[last] ? last : last - 1;
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_int_equal(cw_store_shard_info(sh)->damaged, hole != 0 && hole < last);
        assert_int_equal(cw_store_shard_info(sh)->durable_seq, end);
        n_damaged += cw_store_shard_info(sh)->damaged;
        n_whole += !cw_store_shard_info(sh)->damaged;
        for (uint32_t i = 1; i <= LIED; i++) {
            struct cw_store_read r = { .shard = sh, .lba = i, .nblk = 1 };
            bool gone = i > HONEST && i <= end && !there[i];

            assert_int_equal(storeworld_read(&w, &r), 0);
            assert_int_equal(r.bad[0], gone);
            cw_buf_unref(r.buf);
            n_bad += gone;
            assert_true(gone || storeworld_block_is(&w, sh, i, i <= end ? i : 0));
        }
        storeworld_fini(&w);
    }
    assert_true(n_damaged > 10 && n_whole > 10 && n_bad > 10);
}

/* The last batch, once idle, is covered too: rot in it is found. */
static void
rot_in_the_last_batch_is_found_after_idling(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    uint64_t off;

    world_start(&w, 24, &sh);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
    storeworld_wait_durable(&w, sh, 10);
    storeworld_run(&w, 300 * CW_NS_PER_MS);
    off = find_block(&w, 0, 1);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    cw_ramdisk_flip(w.disk, off - CW_BLOCK_SIZE + 70, 1);
    assert_int_equal(storeworld_open(&w), 0);
    assert_true(cw_store_shard_info(cw_store_shard_find(w.store, SHARD_ID))->damaged);
    storeworld_fini(&w);
}

/* The header of the segment that holds all of the log since the start is rotten, or cannot be read:
 * what is behind it says that there was more. */
static void
rot_in_a_segment_header_is_damage(void **state)
{
    for (uint32_t kind = 0; kind < 2; kind++) {
        struct storeworld w;
        struct cw_store_shard *sh;
        uint64_t off;

        world_start(&w, 30, &sh);
        for (uint32_t i = 0; i < 10; i++) {
            assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
            storeworld_wait_durable(&w, sh, i + 1);
        }
        storeworld_run(&w, 300 * CW_NS_PER_MS);
        off = (find_block(&w, 0, 1) - CW_MIB) / (4 * CW_MIB) * 4 * CW_MIB + CW_MIB;
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1 });
        if (kind == 0)
            cw_ramdisk_flip(w.disk, off + 40, 2);
        else
            cw_ramdisk_latent(w.disk, off, CW_BLOCK_SIZE);
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_true(sh == NULL || cw_store_shard_info(sh)->damaged);
        assert_true(cw_simenv_logged(&w.sim, "damaged"));
        /* and a segment that was taken anew is no reason to say it again */
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1 });
        assert_int_equal(storeworld_open(&w), 0);
        storeworld_fini(&w);
    }
}

/* A rotten or unreadable block is reported as bad, its neighbours are read, a repair with the right
 * checksum mends it and one with another does nothing. */
static void
bad_blocks_are_named_and_repaired(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    uint8_t data[2 * CW_BLOCK_SIZE];
    uint64_t csums[2];
    uint32_t n = 99;
    struct cw_store_read r;

    world_start(&w, 25, &sh);
    assert_int_equal(storeworld_write(&w, sh, 0, 16), 0);
    storeworld_wait_durable(&w, sh, 1);
    cw_ramdisk_flip(w.disk, find_block(&w, 3, 1) + 5, 0x80);
    cw_ramdisk_latent(w.disk, find_block(&w, 7, 1), CW_BLOCK_SIZE);
    r = (struct cw_store_read){ .shard = sh, .lba = 0, .nblk = 16 };
    assert_int_equal(storeworld_read(&w, &r), 0);
    assert_int_equal(r.bad[0], CW_BIT(3) | CW_BIT(7));
    cw_buf_unref(r.buf);

    storeworld_fill(data, SHARD_ID, 3, 1);
    storeworld_fill(data + CW_BLOCK_SIZE, SHARD_ID, 4, 77);
    csums[0] = cw_hash_block(data);
    csums[1] = cw_hash_block(data + CW_BLOCK_SIZE);
    assert_int_equal(cw_store_block_repair(sh, 3, 2, csums, data, &n, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(n, 1);
    assert_true(storeworld_block_is(&w, sh, 3, 1));
    assert_true(storeworld_block_is(&w, sh, 4, 1));
    storeworld_fini(&w);
}

/* A repair meets blocks that were overwritten meanwhile, or are being: what is newer stays. */
static void
row_46_a_repair_does_nothing_to_what_was_overwritten(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    struct storeworld_ticket t;
    uint8_t data[2 * CW_BLOCK_SIZE];
    uint64_t csums[2];
    uint32_t n = 99;

    world_start(&w, 31, &sh);
    assert_int_equal(storeworld_write(&w, sh, 0, 8), 0);
    storeworld_wait_durable(&w, sh, 1);
    cw_ramdisk_flip(w.disk, find_block(&w, 3, 1) + 5, 0x80);
    cw_ramdisk_flip(w.disk, find_block(&w, 4, 1) + 5, 0x80);
    assert_int_equal(storeworld_write(&w, sh, 3, 1), 0);
    storeworld_wait_durable(&w, sh, 2);
    for (uint32_t i = 0; i < 2; i++) {
        storeworld_fill(data + (size_t)i * CW_BLOCK_SIZE, SHARD_ID, 3 + i, 1);
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    }
    assert_int_equal(storeworld_write(&w, sh, 4, 1), 0);
    assert_int_equal(cw_store_block_repair(sh, 3, 2, csums, data, &n, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(n, 0);
    storeworld_wait_durable(&w, sh, 3);
    assert_true(storeworld_block_is(&w, sh, 3, 2));
    assert_true(storeworld_block_is(&w, sh, 4, 3));
    storeworld_fini(&w);
}

/* A write that was lost or landed on another place is found by the reader, on both ends. */
static void
row_40_lost_and_misdirected_writes_are_found(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        struct storeworld w;
        struct cw_store_shard *sh;
        struct cw_store_read r;

        world_start(&w, 26 + (uint64_t)kind, &sh);
        for (uint32_t i = 0; i < 20; i++) {
            assert_int_equal(storeworld_write(&w, sh, i * 8, 8), 0);
            storeworld_wait_durable(&w, sh, i + 1);
        }
        cw_ramdisk_plan(w.disk, kind == 0 ? CW_RAMDISK_LOSE : CW_RAMDISK_MISDIRECT,
                        CW_RAMDISK_OP(CW_DISK_WRITE_SYNC), 1, 1, -(int64_t)(90 * CW_BLOCK_SIZE));
        assert_int_equal(storeworld_write(&w, sh, 200, 8), 0);
        storeworld_wait_durable(&w, sh, 21);
        r = (struct cw_store_read){ .shard = sh, .lba = 200, .nblk = 8 };
        assert_int_equal(storeworld_read(&w, &r), 0);
        assert_int_equal(r.bad[0], 0xff);
        cw_buf_unref(r.buf);
        if (kind == 1) {
            r = (struct cw_store_read){ .shard = sh, .lba = 0, .nblk = 160 };
            assert_int_equal(storeworld_read(&w, &r), 0);
            assert_true((r.bad[0] | r.bad[1] | r.bad[2]) != 0);
            cw_buf_unref(r.buf);
        }
        storeworld_fini(&w);
    }
}

/* An I/O older than 2 s is told, and also that it came back. */
static void
a_stuck_io_is_told(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_store_stats st;

    world_start(&w, 28, &sh);
    storeworld_run(&w, WORLD_S);
    cw_ramdisk_plan(w.disk, CW_RAMDISK_STICK, CW_RAMDISK_WRITES, 1, 1, 0);
    assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
    storeworld_run(&w, WORLD_S);
    cw_store_stats(w.store, &st);
    assert_false(st.stuck);
    storeworld_run(&w, 2 * WORLD_S);
    cw_store_stats(w.store, &st);
    assert_true(st.stuck && w.n_health > 0);
    cw_ramdisk_unstick(w.disk);
    storeworld_wait_durable(&w, sh, 1);
    cw_store_stats(w.store, &st);
    assert_false(st.stuck);
    storeworld_fini(&w);
}

/* The newest checkpoint cannot be read: the one before it and its log give the same state. */
static void
the_previous_checkpoint_is_enough(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    uint8_t sb[4096], best[4096] = { 0 };
    uint64_t seq, best_seq = 0, loc;

    world_start(&w, 29, &sh);
    for (uint32_t i = 0; i < 300; i++)
        assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
    storeworld_wait_durable(&w, sh, 300);
    assert_int_equal(storeworld_close(&w), 0);
    for (uint32_t slot = 0; slot < 4; slot++) {
        cw_ramdisk_peek(w.disk, slot < 2 ? slot * 4096 : w.bytes - (4 - slot) * 4096, sb, 4096);
        memcpy(&seq, sb + 64, 8);
        if (seq > best_seq) {
            best_seq = seq;
            memcpy(best, sb, 4096);
        }
    }
    memcpy(&loc, best + 104, 8);
    cw_ramdisk_flip(w.disk, CW_MIB + (loc >> 40) * 4 * CW_MIB + (loc >> 24 & 0xffff) * 512 + 100,
                    4);
    assert_int_equal(storeworld_open(&w), 0);
    assert_true(cw_simenv_logged(&w.sim, "is unreadable"));
    sh = cw_store_shard_find(w.store, SHARD_ID);
    assert_false(cw_store_shard_info(sh)->damaged);
    for (uint32_t i = 0; i < 300; i++)
        assert_true(storeworld_block_is(&w, sh, i, i + 1));
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_failed_write_loses_nothing),
        cmocka_unit_test(a_segment_without_header_holds_nothing),
        cmocka_unit_test(a_batch_behind_a_failed_opener_is_found),
        cmocka_unit_test(a_second_failure_ends_the_service),
        cmocka_unit_test(one_failed_read_in_recovery_loses_nothing),
        cmocka_unit_test(row_39_rot_in_mid_log_is_damage_not_truncation),
        cmocka_unit_test(row_42_a_lost_write_in_mid_log_is_damage),
        cmocka_unit_test(row_42_only_the_last_write_may_be_lost_unseen),
        cmocka_unit_test(row_42_a_disk_that_lies),
        cmocka_unit_test(rot_in_the_last_batch_is_found_after_idling),
        cmocka_unit_test(rot_in_a_segment_header_is_damage),
        cmocka_unit_test(bad_blocks_are_named_and_repaired),
        cmocka_unit_test(row_46_a_repair_does_nothing_to_what_was_overwritten),
        cmocka_unit_test(row_40_lost_and_misdirected_writes_are_found),
        cmocka_unit_test(a_stuck_io_is_told),
        cmocka_unit_test(the_previous_checkpoint_is_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
