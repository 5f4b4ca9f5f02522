/* A write that reports success and lies elsewhere, on purpose and not by chance (row 40 of the
 * acceptance catalogue): on a live map page, on live blocks, a map page on another. Both the place
 * that it should have reached and the one that it hit are found, by reads and by the scrub, nothing
 * else is bad, and all of it is repaired.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/store/store-internal.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(0x40) << 16)
#define CHUNKS 60u
#define PER 4u /* blocks at the start of each chunk */
#define SYNCS CW_RAMDISK_OP(CW_DISK_WRITE_SYNC)

struct misplaced {
    struct storeworld w;
    struct cw_store_shard *sh;
    uint64_t seq[CHUNKS];      /* that wrote the chunk's blocks last */
    uint64_t page_off[CHUNKS]; /* places before the fault */
    uint64_t block_off[CHUNKS][PER];
    bool bad[CHUNKS][PER]; /* must be found so */
};

static void
look_up(struct misplaced *x, uint32_t chunk)
{
    const struct cw_chunk_entry *e = chunk_find(x->sh->head, chunk);
    struct cw_map_page page;

    assert_true(e != NULL && e->page_loc != 0);
    x->page_off[chunk] = loc_off(x->w.store, e->page_loc);
    cw_ramdisk_peek(x->w.disk, x->page_off[chunk], &page, sizeof(page));
    for (uint32_t i = 0; i < PER; i++)
        x->block_off[chunk][i] = loc_off(x->w.store, page.e[i].loc);
}

/* All on the media, nothing in memory, and the open segment has room. */
static void
misplaced_init(struct misplaced *x, uint64_t seed)
{
    memset(x, 0, sizeof(*x));
    storeworld_init(&x->w, seed, 512 * CW_MIB, CW_MIB);
    x->w.scrub_ns = STOREWORLD_NO_SCRUB;
    x->sh = storeworld_begin(&x->w, SHARD_ID);
    for (uint32_t i = 0; i < CHUNKS; i++) {
        assert_int_equal(storeworld_write(&x->w, x->sh, i * CW_CHUNK_BLOCKS, PER), 0);
        storeworld_settle(&x->w, x->sh);
        x->seq[i] = i + 1;
    }
    assert_int_equal(storeworld_close(&x->w), 0);
    assert_int_equal(storeworld_open(&x->w), 0);
    x->sh = cw_store_shard_find(x->w.store, SHARD_ID);
    for (uint32_t i = 0; i < CHUNKS; i++)
        look_up(x, i);
}

/* ---- the fault ---- */

static uint64_t
next_off(const struct misplaced *x, uint8_t cls)
{
    const struct open_seg *o = &x->w.store->open[cls];

    assert_true(o->open && x->w.store->seg_bytes - o->off > CW_MIB);
    return seg_off(x->w.store, o->no) + o->off;
}

/* The next write of `cls` lies from `to` on. */
static void
misdirect(struct misplaced *x, uint8_t cls, uint64_t to)
{
    cw_ramdisk_trace(x->w.disk, true);
    cw_ramdisk_plan(x->w.disk, CW_RAMDISK_MISDIRECT, SYNCS, 1, 1,
                    (int64_t)to - (int64_t)next_off(x, cls));
}

/* What was there of the old places is no more. */
static void
misdirected(struct misplaced *x, uint64_t from, uint64_t to)
{
    uint32_t n, len = 0;
    const struct cw_ramdisk_io *io = cw_ramdisk_traced(x->w.disk, &n);

    assert_int_equal(cw_ramdisk_faults(x->w.disk), 1);
    for (uint32_t i = 0; i < n; i++) {
        if (io[i].op == CW_DISK_WRITE_SYNC && io[i].off == from)
            len = (uint32_t)io[i].len;
    }
    assert_true(len > 0);
    cw_ramdisk_trace(x->w.disk, false);
    for (uint32_t c = 0; c < CHUNKS; c++) {
        bool lost = x->page_off[c] >= to && x->page_off[c] < to + len;

        for (uint32_t i = 0; i < PER; i++)
            x->bad[c][i] |= lost || (x->block_off[c][i] >= to && x->block_off[c][i] < to + len);
    }
}

static uint32_t
misplaced_count(const struct misplaced *x)
{
    uint32_t n = 0;

    for (uint32_t c = 0; c < CHUNKS; c++) {
        for (uint32_t i = 0; i < PER; i++)
            n += x->bad[c][i];
    }
    return n;
}

/* ---- looking ---- */

/* What must be bad is, and nothing else; what is not bad is right. */
static void
check_reads(struct misplaced *x)
{
    uint8_t want[CW_BLOCK_SIZE];

    for (uint32_t c = 0; c < CHUNKS; c++) {
        struct cw_store_read r = { .shard = x->sh, .lba = c * CW_CHUNK_BLOCKS, .nblk = PER };

        assert_int_equal(storeworld_read(&x->w, &r), 0);
        for (uint32_t i = 0; i < PER; i++) {
            assert_int_equal(cw_bit_get(r.bad, i), x->bad[c][i]);
            if (x->bad[c][i])
                continue;
            storeworld_fill(want, SHARD_ID, r.lba + i, x->seq[c]);
            assert_memory_equal(r.buf->data + (size_t)i * CW_BLOCK_SIZE, want, CW_BLOCK_SIZE);
        }
        cw_buf_unref(r.buf);
    }
}

static bool
was_told(const struct misplaced *x, uint64_t lba)
{
    for (uint64_t i = 0; i < x->w.n_bad && i < CW_LEN(x->w.bad); i++) {
        const struct cw_store_bad *b = &x->w.bad[i];

        if (lba >= b->lba && lba < b->lba + b->nblk && cw_bit_get(b->bad, lba - b->lba))
            return true;
    }
    return false;
}

static void
check_told(const struct misplaced *x)
{
    assert_true(x->w.n_bad <= CW_LEN(x->w.bad));
    for (uint32_t c = 0; c < CHUNKS; c++) {
        for (uint32_t i = 0; i < PER; i++)
            assert_int_equal(was_told(x, c * CW_CHUNK_BLOCKS + i), x->bad[c][i]);
    }
}

static bool
scrub_runs(void *arg)
{
    struct cw_store_stats st;

    cw_store_stats(((struct storeworld *)arg)->store, &st);
    return st.scrub.running;
}

/* Every place on the media that is wrong. */
static uint64_t
scrub_pass(struct misplaced *x)
{
    struct cw_store_stats st;

    cw_store_scrub_start(x->w.store);
    assert_true(cw_simenv_run_while(&x->w.sim, scrub_runs, &x->w, 600 * WORLD_S));
    storeworld_run(&x->w, 10 * WORLD_S); /* what it tells, and the checkpoints that it asks for */
    cw_store_stats(x->w.store, &st);
    return st.scrub.last_found;
}

/* As the owner does it: what each chunk must have is known from another copy. */
static void
repair_all(struct misplaced *x)
{
    uint8_t data[CW_BLOCK_SIZE];
    struct storeworld_ticket t;

    for (uint32_t c = 0; c < CHUNKS; c++) {
        for (uint32_t i = 0; i < PER; i++) {
            uint64_t lba = c * CW_CHUNK_BLOCKS + i, csum;
            uint32_t n;

            if (!x->bad[c][i])
                continue;
            storeworld_fill(data, SHARD_ID, lba, x->seq[c]);
            csum = cw_hash_block(data);
            assert_int_equal(
                cw_store_block_repair(x->sh, lba, 1, &csum, data, &n, storeworld_ticket(&t)), 0);
            assert_int_equal(storeworld_ticket_wait(&x->w, &t), 0);
            assert_int_equal(n, 1);
            x->bad[c][i] = false;
        }
    }
}

/* A chunk whose page was lost has blocks beyond those written: zeroes, as the other copy has them.
 */
static void
repair_zeroes(struct misplaced *x, uint32_t chunk)
{
    static const uint8_t zeroes[CW_BLOCK_SIZE];
    uint64_t csum = CW_HASH_ZERO_BLOCK;
    struct storeworld_ticket t;
    uint32_t n;

    for (uint32_t i = PER; i < CW_CHUNK_BLOCKS; i++) {
        assert_int_equal(cw_store_block_repair(x->sh, chunk * CW_CHUNK_BLOCKS + i, 1, &csum, zeroes,
                                               &n, storeworld_ticket(&t)),
                         0);
        assert_int_equal(storeworld_ticket_wait(&x->w, &t), 0);
        assert_int_equal(n, 1);
    }
}

/* What was lost with a map page stays counted until its segment is cleaned. */
static void
misplaced_fini(struct misplaced *x, bool lost_pages)
{
    check_reads(x);
    ckpt_want(x->w.store); /* until then a page that was lost lies there yet */
    storeworld_run(&x->w, WORLD_S);
    assert_int_equal(scrub_pass(x), 0);
    if (!lost_pages)
        cw_store_check(x->w.store);
    assert_int_equal(storeworld_close(&x->w), 0);
    assert_int_equal(storeworld_open(&x->w), 0);
    x->sh = cw_store_shard_find(x->w.store, SHARD_ID);
    assert_false(cw_store_shard_info(x->sh)->damaged);
    check_reads(x);
    if (!lost_pages)
        cw_store_check(x->w.store);
    storeworld_fini(&x->w);
}

/* ---- cases ---- */

/* Blocks of chunk 50 that should be where the log is lie on `to`, their header first. */
static void
write_elsewhere(struct misplaced *x, uint64_t to)
{
    uint64_t from = next_off(x, CW_SEG_HOT);

    misdirect(x, CW_SEG_HOT, to);
    assert_int_equal(storeworld_write(&x->w, x->sh, 50 * CW_CHUNK_BLOCKS, PER), 0);
    x->seq[50] = cw_store_shard_info(x->sh)->last_seq;
    storeworld_settle(&x->w, x->sh);
    for (uint32_t i = 0; i < PER; i++)
        x->block_off[50][i] = 0; /* where they were they are no more */
    misdirected(x, from, to);
    for (uint32_t i = 0; i < PER; i++)
        x->bad[50][i] = true;
}

/* Found by whoever reads, or by the scrub alone. */
static void
find(struct misplaced *x, bool by_scrub)
{
    if (by_scrub)
        assert_true(scrub_pass(x) > 0);
    else
        check_reads(x);
    storeworld_run(&x->w, WORLD_S);
    check_told(x);
    check_reads(x);
}

static void
row_40_blocks_land_on_other_blocks(void **state)
{
    static struct misplaced x;

    for (uint32_t by_scrub = 0; by_scrub < 2; by_scrub++) {
        misplaced_init(&x, 40 + by_scrub);
        /* their header on the last of 7, they themselves where 8 and its header were */
        write_elsewhere(&x, x.block_off[7][3]);
        assert_int_equal(misplaced_count(&x), PER + 1 + 3);
        find(&x, by_scrub);
        repair_all(&x);
        misplaced_fini(&x, false);
    }
}

static void
row_40_blocks_land_on_map_pages(void **state)
{
    static struct misplaced x;

    for (uint32_t by_scrub = 0; by_scrub < 2; by_scrub++) {
        uint32_t n_lost = 0;

        misplaced_init(&x, 42 + by_scrub);
        write_elsewhere(&x, x.page_off[20]);
        find(&x, by_scrub);
        for (uint32_t c = 0; c < CHUNKS; c++) {
            if (c == 50 || !x.bad[c][0])
                continue;
            n_lost++;
            repair_zeroes(&x, c);
        }
        assert_true(n_lost > 0 && x.bad[20][0]);
        repair_all(&x);
        misplaced_fini(&x, true);
    }
}

/* A checkpoint's map pages land on those of the one before it: pages as good as any, of other
 * chunks. Where they should be is what was there earlier. */
static void
row_40_map_pages_land_on_other_map_pages(void **state)
{
    static struct misplaced x;

    for (uint32_t by_scrub = 0; by_scrub < 2; by_scrub++) {
        uint64_t from, to;

        misplaced_init(&x, 44 + by_scrub);
        for (uint32_t c = 30; c < 34; c++) {
            assert_int_equal(storeworld_write(&x.w, x.sh, c * CW_CHUNK_BLOCKS, PER), 0);
            x.seq[c] = cw_store_shard_info(x.sh)->last_seq;
        }
        storeworld_settle(&x.w, x.sh);
        from = next_off(&x, CW_SEG_META);
        to = x.page_off[10];
        /* the header of the batch one before, so that page lies on page */
        misdirect(&x, CW_SEG_META, to - CW_BLOCK_SIZE);
        ckpt_want(x.w.store);
        storeworld_run(&x.w, WORLD_S);
        for (uint32_t c = 30; c < 34; c++)
            x.page_off[c] = 0;
        misdirected(&x, from, to - CW_BLOCK_SIZE);
        assert_true(x.bad[10][0]);
        /* what was written is in memory; a restart has only the media */
        assert_int_equal(storeworld_close(&x.w), 0);
        assert_int_equal(storeworld_open(&x.w), 0);
        x.sh = cw_store_shard_find(x.w.store, SHARD_ID);
        for (uint32_t c = 30; c < 34; c++)
            memset(x.bad[c], true, PER);
        find(&x, by_scrub);
        for (uint32_t c = 0; c < CHUNKS; c++) {
            if (x.bad[c][0])
                repair_zeroes(&x, c);
        }
        repair_all(&x);
        misplaced_fini(&x, true);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_40_blocks_land_on_other_blocks),
        cmocka_unit_test(row_40_blocks_land_on_map_pages),
        cmocka_unit_test(row_40_map_pages_land_on_other_map_pages),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
