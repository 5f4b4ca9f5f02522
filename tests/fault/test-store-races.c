/* An I/O of a block is held on the disk while the cleaner moves that block, until the segment that
 * it lay in would long be used again (row 45 of the acceptance catalogue); and completions in any
 * order (row 43).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/store/cleaner.h"
#include "tests/lib/storelife.h"

#define SHARD_ID (UINT64_C(0x45) << 16)
#define BLOCKS 16u          /* that are watched: those of the record 1 */
#define BALLAST_CHUNKS 230u /* more than half of the store */
#define READS CW_RAMDISK_OP(CW_DISK_READ)
#define SYNCS CW_RAMDISK_OP(CW_DISK_WRITE_SYNC)

struct race {
    struct storeworld w;
    struct cw_store_shard *sh, *ballast;
    struct cw_prng rnd;
    uint64_t was;                   /* the first place of block 0; */
    uint8_t content[CW_BLOCK_SIZE]; /* and what the disk has there */
};

/* Where the first block lies; 0: nowhere. */
static uint64_t
race_loc(struct race *x)
{
    const struct page *p = map_page_resident(x->sh->head, 0);

    assert_true(p != NULL || !map_has_page(x->sh->head, 0));
    return p == NULL ? 0 : cw_loc_place(p->data->e[0].loc);
}

static uint64_t
race_off(const struct race *x)
{
    return loc_off(x->w.store, x->was);
}

static void
race_peek(const struct race *x, uint8_t *to)
{
    cw_ramdisk_peek(x->w.disk, cw_align_down(race_off(x), CW_BLOCK_SIZE), to, CW_BLOCK_SIZE);
}

static void
race_settle(struct race *x)
{
    storeworld_settle(&x->w, x->sh);
    storeworld_settle(&x->w, x->ballast);
}

static void
race_ballast(struct race *x, uint32_t chunk, uint32_t nblk)
{
    uint64_t lba = (uint64_t)chunk * CW_CHUNK_BLOCKS;

    assert_int_equal(storeworld_write(&x->w, x->ballast, lba, nblk), 0);
    cw_store_set_stable(x->ballast, cw_store_shard_info(x->ballast)->durable_seq);
}

static void
race_place(struct race *x)
{
    x->was = race_loc(x);
    race_peek(x, x->content);
}

static void
race_begin(struct race *x, uint64_t seed, enum cw_compression comp)
{
    memset(x, 0, sizeof(*x));
    cw_prng_init(&x->rnd, seed);
    storeworld_init(&x->w, seed, 512 * CW_MIB, 8 * CW_MIB);
    x->w.scrub_ns = STOREWORLD_NO_SCRUB;
    x->w.discard = true; /* what is free is zeroes at once */
    x->w.compression = comp;
    x->sh = storeworld_begin(&x->w, SHARD_ID);
    x->w.compression = CW_COMPRESSION_OFF;
    x->ballast = storeworld_shard(&x->w, SHARD_ID + 1);
    assert_int_equal(storeworld_write(&x->w, x->sh, 0, BLOCKS), 0);
}

static void
race_fill(struct race *x)
{
    for (uint32_t i = 0; i < BALLAST_CHUNKS; i++)
        race_ballast(x, i, CW_CHUNK_BLOCKS);
    race_settle(x);
    race_place(x);
}

/* The watched blocks lie in the oldest segment, between others that are overwritten soon. */
static void
race_init(struct race *x, uint64_t seed, enum cw_compression comp)
{
    race_begin(x, seed, comp);
    race_fill(x);
}

static void
race_fini(struct race *x)
{
    cw_store_check(x->w.store);
    storeworld_fini(&x->w);
}

static bool
race_moved(struct race *x)
{
    return race_loc(x) != x->was;
}

/* Its first place was written over. */
static bool
race_reused(struct race *x)
{
    uint8_t now[CW_BLOCK_SIZE];

    race_peek(x, now);
    return memcmp(now, x->content, sizeof(now)) != 0;
}

static bool
race_stuck(struct race *x)
{
    return cw_ramdisk_stuck(x->w.disk) > 0;
}

static void
race_step_until(struct race *x, bool (*is)(struct race *))
{
    for (uint32_t i = 0; !is(x); i++) {
        assert_true(i < 100000);
        cw_store_turn_end(x->w.store);
        assert_true(cw_simenv_step(&x->w.sim));
    }
}

static bool
race_is_durable(const struct race *x)
{
    const struct cw_store_shard_info *info = cw_store_shard_info(x->ballast);

    return info->durable_seq == info->last_seq;
}

/* Overwrites others, one record after the other, until it is so; at most `records`. */
static bool
race_churn(struct race *x, bool (*is)(struct race *), uint32_t records)
{
    for (uint32_t i = 0; i < records && !is(x); i++) {
        race_ballast(x, (uint32_t)cw_prng_below(&x->rnd, BALLAST_CHUNKS), 200);
        for (uint32_t k = 0; k < 10000 && !is(x) && !race_is_durable(x); k++) {
            cw_store_turn_end(x->w.store);
            assert_true(cw_simenv_step(&x->w.sim));
        }
        if (i % 64 == 63)
            ckpt_want(x->w.store); /* two of them free what was cleaned */
    }
    return is(x);
}

static void
check_blocks(struct race *x, uint64_t seq)
{
    for (uint32_t i = 0; i < BLOCKS; i++)
        assert_true(storeworld_block_is(&x->w, x->sh, i, seq));
}

/* What is there is found after a cut too. */
static void
check_after_cut(struct race *x, uint64_t seq)
{
    race_settle(x);
    check_blocks(x, seq);
    cw_store_check(x->w.store);
    storeworld_crash(&x->w, (struct cw_ramdisk_crash){ .seed = 1 });
    assert_int_equal(storeworld_open(&x->w), 0);
    x->sh = cw_store_shard_find(x->w.store, SHARD_ID);
    x->ballast = cw_store_shard_find(x->w.store, SHARD_ID + 1);
    check_blocks(x, seq);
}

/* ---- reads ---- */

struct held_read {
    struct cw_store_read r;
    bool done;
};

static void
held_on_read(struct cw_store_read *r)
{
    cw_container_of(r, struct held_read, r)->done = true;
}

static void
read_begin(struct race *x, struct held_read *h, struct cw_store_read r)
{
    *h = (struct held_read){ .r = r };
    h->r.done = held_on_read;
    cw_ramdisk_hold(x->w.disk, READS, race_off(x), 1);
    cw_store_read(&h->r);
    cw_ramdisk_hold(x->w.disk, 0, 0, 0);
    assert_true(cw_ramdisk_stuck(x->w.disk) > 0 && !h->done);
}

/* Moved, and everything else in the store written anew more than twice. */
static void
race_move_and_reuse(struct race *x)
{
    assert_true(race_churn(x, race_moved, 4000));
    race_churn(x, race_reused, 1000);
}

static void
read_end(struct race *x, struct held_read *h, uint32_t n, uint64_t seq)
{
    uint8_t want[CW_BLOCK_SIZE];

    cw_ramdisk_unstick(x->w.disk);
    storeworld_wait(&x->w, &h->done);
    assert_int_equal(h->r.res, 0);
    for (uint32_t i = 0; i < n; i++) {
        storeworld_fill(want, SHARD_ID, i, seq);
        assert_false(cw_bit_get(h->r.bad, i));
        assert_int_equal(h->r.csums[i], cw_hash_block(want));
        assert_memory_equal(h->r.buf->data + (size_t)i * CW_BLOCK_SIZE, want, CW_BLOCK_SIZE);
    }
    cw_buf_unref(h->r.buf);
    assert_int_equal(x->w.n_bad, 0);
}

/* A read whose blocks the cleaner moves gets the bytes that it was sent for, although the store
 * would have written over them; and when it has them, their place is given up. */
static void
row_45_a_read_is_held_while_its_blocks_move(void **state)
{
    static struct race x;
    struct storeworld_ticket t;
    struct held_read h;

    for (uint32_t comp = CW_COMPRESSION_OFF; comp <= CW_COMPRESSION_INLINE; comp++) {
        for (uint64_t snap = 0; snap < 2; snap++) {
            race_init(&x, 100 + comp, comp);
            if (snap == 1) {
                assert_int_equal(cw_store_snap_create(x.sh, 1, storeworld_ticket(&t)), 0);
                assert_int_equal(storeworld_ticket_wait(&x.w, &t), 0);
                /* the head has its own page of it from now on */
                assert_int_equal(storeworld_write(&x.w, x.sh, BLOCKS, 1), 0);
                race_settle(&x);
            }
            read_begin(&x, &h,
                       (struct cw_store_read){ .shard = x.sh, .nblk = BLOCKS, .snap = snap });
            race_move_and_reuse(&x);
            read_end(&x, &h, BLOCKS, 1);
            assert_true(race_churn(&x, race_reused, 4000));
            check_after_cut(&x, 1);
            race_fini(&x);
        }
    }
}

/* The same of a read that is overwritten meanwhile: it saw what was there when it began. */
static void
row_45_a_read_is_held_while_its_blocks_die(void **state)
{
    static struct race x;
    struct held_read h;

    race_init(&x, 110, CW_COMPRESSION_OFF);
    read_begin(&x, &h, (struct cw_store_read){ .shard = x.sh, .nblk = BLOCKS });
    assert_true(race_churn(&x, race_moved, 4000));
    assert_int_equal(storeworld_write(&x.w, x.sh, 0, BLOCKS), 0);
    race_settle(&x);
    race_churn(&x, race_reused, 1000);
    read_end(&x, &h, BLOCKS, 1);
    assert_true(race_churn(&x, race_reused, 4000));
    check_after_cut(&x, 2);
    race_fini(&x);
}

static void
tail_read_begin(struct race *x, struct held_read *h, uint64_t hold_off)
{
    assert_int_equal(storeworld_write(&x->w, x->sh, 0, BLOCKS), 0);
    storeworld_wait_durable(&x->w, x->sh, 2);
    race_place(x);
    *h = (struct held_read){
        .r = { .shard = x->sh, .flags = CW_STORE_READ_TAIL, .tail_seq = 2, .done = held_on_read }
    };
    cw_ramdisk_hold(x->w.disk, READS, race_off(x) - hold_off, 1);
    cw_store_read(&h->r);
    race_step_until(x, race_stuck);
    cw_ramdisk_hold(x->w.disk, 0, 0, 0);
    cw_store_set_stable(x->sh, 2); /* the tail needs it no more */
    race_move_and_reuse(x);
}

/* A record of the tail is read while the tail lets it go, so that its segment may be cleaned and
 * used again: held at the header of its batch, or at its blocks. */
static void
row_45_a_tail_read_is_held_while_its_record_goes(void **state)
{
    static struct race x;
    struct held_read h;

    for (uint32_t at = 0; at < 2; at++) {
        race_init(&x, 115, CW_COMPRESSION_OFF);
        tail_read_begin(&x, &h, at == 0 ? CW_BLOCK_SIZE : 0);
        read_end(&x, &h, BLOCKS, 2);
        assert_true(race_churn(&x, race_reused, 4000));
        check_after_cut(&x, 2);
        race_fini(&x);
    }
}

/* And first there, then here: between its two reads the segment is not given up. */
static void
row_45_a_tail_read_keeps_its_segment_between_its_reads(void **state)
{
    static struct race x;
    struct held_read h;

    race_init(&x, 116, CW_COMPRESSION_OFF);
    tail_read_begin(&x, &h, CW_BLOCK_SIZE);
    cw_ramdisk_hold(x.w.disk, READS, race_off(&x), 1);
    cw_ramdisk_unstick(x.w.disk);
    storeworld_run(&x.w, CW_NS_PER_MS);
    cw_ramdisk_hold(x.w.disk, 0, 0, 0);
    assert_true(race_stuck(&x) && !h.done);
    race_churn(&x, race_reused, 1000);
    read_end(&x, &h, BLOCKS, 2);
    assert_true(race_churn(&x, race_reused, 4000));
    check_after_cut(&x, 2);
    race_fini(&x);
}

static void
race_scrub_end(struct race *x)
{
    struct cw_store_stats st;

    do {
        storeworld_run(&x->w, WORLD_S);
        cw_store_stats(x->w.store, &st);
    } while (st.scrub.running && x->w.sim.now_ns < 3600 * WORLD_S);
    assert_false(st.scrub.running);
    assert_int_equal(st.scrub.last_found, 0);
    assert_int_equal(x->w.n_bad, 0);
    assert_int_equal(st.csum_errors, 0);
}

/* A pass that reads a block while the cleaner moves it finds nothing wrong. */
static void
row_45_a_scrub_is_held_while_its_blocks_move(void **state)
{
    static struct race x;

    race_init(&x, 120, CW_COMPRESSION_OFF);
    cw_ramdisk_hold(x.w.disk, READS, race_off(&x), 1);
    cw_store_scrub_start(x.w.store);
    for (uint32_t i = 0; i < 1000 && cw_ramdisk_stuck(x.w.disk) == 0; i++)
        storeworld_run(&x.w, 10 * CW_NS_PER_MS);
    cw_ramdisk_hold(x.w.disk, 0, 0, 0);
    assert_true(cw_ramdisk_stuck(x.w.disk) > 0);
    race_move_and_reuse(&x);
    cw_ramdisk_unstick(x.w.disk);
    race_settle(&x);
    race_scrub_end(&x);
    assert_true(race_churn(&x, race_reused, 4000));
    check_after_cut(&x, 1);
    race_fini(&x);
}

/* Writes as much as the store holds, in small records that fill a segment to its end, and
 * overwrites all of it soon: nothing is cleaned. */
static void
race_go_round(struct race *x)
{
    for (uint32_t lba = 0; lba < 512 * CW_MIB / CW_BLOCK_SIZE; lba += 8) {
        assert_int_equal(storeworld_write(&x->w, x->ballast, lba % 65536, 8), 0);
        race_settle(x);
        if (lba % 8192 == 0)
            ckpt_want(x->w.store);
    }
}

/* The summary of a segment is slow to be written, so slow that the segment empties and would be
 * used again meanwhile. Batches of one block make it a large one. */
static void
row_45_a_summary_is_held_while_its_segment_empties(void **state)
{
    static struct race x;
    const struct seg *g;
    uint64_t seq;
    uint32_t no;

    race_begin(&x, 125, CW_COMPRESSION_OFF);
    race_settle(&x);
    no = x.w.store->open[CW_SEG_HOT].no;
    g = &x.w.store->segs[no];
    seq = g->seq;
    cw_ramdisk_hold(x.w.disk, SYNCS, seg_off(x.w.store, no + 1) - CW_BLOCK_SIZE, 1);
    for (uint32_t i = 0; i < 2 * CW_CHUNK_BLOCKS && !race_stuck(&x); i++) {
        assert_int_equal(storeworld_write(&x.w, x.ballast, i, 1), 0);
        race_settle(&x);
    }
    assert_true(race_stuck(&x));
    cw_ramdisk_hold(x.w.disk, 0, 0, 0);
    assert_int_equal(storeworld_write(&x.w, x.sh, 0, BLOCKS), 0);
    race_go_round(&x);
    assert_int_equal(cw_ramdisk_stuck(x.w.disk), 1);
    cw_ramdisk_unstick(x.w.disk);
    race_settle(&x);
    cw_store_scrub_start(x.w.store);
    race_scrub_end(&x);
    race_go_round(&x);
    assert_int_not_equal(g->seq, seq);
    check_after_cut(&x, 2);
    race_fini(&x);
}

/* ---- writes ---- */

enum race_write { RACE_OVERWRITE, RACE_TRIM, RACE_REPAIR, RACE_WRITES };

static bool
race_no_ckpt(struct race *x)
{
    return !ckpt_running(x->w.store);
}

/* The cleaner has seen the blocks in the map, and waits for the disk to give them. */
static void
race_hold_cleaner(struct race *x)
{
    const struct open_seg *hot = &x->w.store->open[CW_SEG_HOT];

    cw_ramdisk_hold(x->w.disk, READS, race_off(x), 1);
    assert_true(race_churn(x, race_stuck, 8000));
    cw_ramdisk_hold(x->w.disk, 0, 0, 0);
    assert_true(x->w.store->cleaners->state == CLEAN_READ && !race_moved(x));
    assert_int_equal(x->w.store->cleaners->victim, cw_loc_seg(x->was));
    /* the gate may be shut until the cleaner has won something */
    assert_int_equal(
        storeworld_clear(&x->w, x->ballast, CW_FT_TRIM, 0, BALLAST_CHUNKS * CW_CHUNK_BLOCKS), 0);
    race_settle(x);
    /* the next write is not the end of a segment */
    while (hot->open && x->w.store->seg_bytes - hot->off < CW_MIB) {
        race_ballast(x, 0, 100);
        race_settle(x);
    }
    race_step_until(x, race_no_ckpt);
}

/* Submitted; what the blocks are of afterwards. */
static uint64_t
race_write(struct race *x, enum race_write what, struct storeworld_ticket *t)
{
    static uint8_t data[BLOCKS * CW_BLOCK_SIZE];
    static uint32_t n; /* told when it is durable */
    uint64_t csums[BLOCKS];

    memset(t, 0, sizeof(*t));
    switch (what) {
    case RACE_OVERWRITE:
        assert_int_equal(storeworld_write(&x->w, x->sh, 0, BLOCKS), 0);
        return 2;
    case RACE_TRIM:
        assert_int_equal(storeworld_clear(&x->w, x->sh, CW_FT_TRIM, 0, BLOCKS), 0);
        return 0;
    case RACE_REPAIR:
    case RACE_WRITES:
        break;
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        storeworld_fill(data + (size_t)i * CW_BLOCK_SIZE, SHARD_ID, i, 1);
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    }
    assert_int_equal(cw_store_block_repair(x->sh, 0, BLOCKS, csums, data, &n, storeworld_ticket(t)),
                     0);
    return 1;
}

static void
race_rot(struct race *x, enum race_write what)
{
    for (uint32_t i = 0; what == RACE_REPAIR && i < BLOCKS; i++)
        cw_ramdisk_flip(x->w.disk, race_off(x) + i * CW_BLOCK_SIZE + i, 0x20);
    race_peek(x, x->content);
}

/* Whatever came first, the blocks are what was written; their first place is used again, and they
 * still are. */
static void
race_judge(struct race *x, uint64_t seq)
{
    race_settle(x);
    assert_true(race_moved(x));
    check_blocks(x, seq);
    assert_true(race_churn(x, race_reused, 4000));
    check_after_cut(x, seq);
    race_fini(x);
}

/* The cleaner reads; meanwhile the blocks are written, and durable before its move is. */
static void
row_45_blocks_are_written_while_the_cleaner_reads_them(void **state)
{
    static struct race x;
    struct storeworld_ticket t;

    for (enum race_write what = 0; what < RACE_WRITES; what++) {
        uint64_t seq;

        race_init(&x, 130 + what, CW_COMPRESSION_OFF);
        race_rot(&x, what);
        race_hold_cleaner(&x);
        seq = race_write(&x, what, &t);
        if (t.t.done != NULL)
            assert_int_equal(storeworld_ticket_wait(&x.w, &t), 0);
        race_settle(&x);
        check_blocks(&x, seq);
        cw_ramdisk_unstick(x.w.disk);
        race_judge(&x, seq);
    }
}

/* The write is on its way, then the move is written behind it; and the move is on its way when the
 * blocks are written behind it. What is behind is on the disk before what it waits for. */
static void
row_45_blocks_are_written_beside_their_move(void **state)
{
    static struct race x;
    struct storeworld_ticket t;

    for (enum race_write what = 0; what < RACE_WRITES; what++) {
        for (uint32_t move_first = 0; move_first < 2; move_first++) {
            uint64_t seq = 0;

            race_init(&x, 140 + what * 2 + move_first, CW_COMPRESSION_OFF);
            race_rot(&x, what);
            race_hold_cleaner(&x);
            cw_ramdisk_plan(x.w.disk, CW_RAMDISK_STICK, SYNCS, 1, 1, 0);
            if (!move_first) {
                seq = race_write(&x, what, &t);
                cw_store_turn_end(x.w.store);
                assert_int_equal(cw_ramdisk_faults(x.w.disk), 1);
                assert_int_equal(cw_ramdisk_stuck(x.w.disk), 2);
                cw_ramdisk_unstick_ops(x.w.disk, READS);
            } else {
                cw_ramdisk_unstick(x.w.disk);
                race_step_until(&x, race_stuck);
                seq = race_write(&x, what, &t);
            }
            assert_int_equal(cw_ramdisk_stuck(x.w.disk), 1);
            storeworld_run(&x.w, 20 * CW_NS_PER_MS);
            assert_int_equal(cw_ramdisk_stuck(x.w.disk), 1);
            assert_false(race_moved(&x)); /* nothing is applied before what it is behind */
            cw_ramdisk_unstick(x.w.disk);
            if (t.t.done != NULL)
                assert_int_equal(storeworld_ticket_wait(&x.w, &t), 0);
            race_judge(&x, seq);
        }
    }
}

/* ---- completions in any order ---- */

#define AT_ONCE 4u /* batches in flight */

/* Which of 4! orders. */
static void
order_make(uint32_t n, uint32_t order[AT_ONCE])
{
    uint32_t left[AT_ONCE] = { 0, 1, 2, 3 };

    for (uint32_t i = 0; i < AT_ONCE; i++) {
        uint32_t k = n % (AT_ONCE - i);

        n /= AT_ONCE - i;
        order[i] = left[k];
        memmove(&left[k], &left[k + 1], (AT_ONCE - k - 1) * sizeof(left[0]));
    }
}

static struct cw_store_shard *
order_begin(struct storeworld *w, uint64_t seed)
{
    struct cw_store_shard *sh;

    storeworld_init(w, seed, 512 * CW_MIB, CW_MIB);
    sh = storeworld_begin(w, SHARD_ID);
    assert_int_equal(storeworld_write(w, sh, 0, 1), 0); /* the segment is open */
    storeworld_settle(w, sh);
    storeworld_run(w, 300 * CW_NS_PER_MS); /* and prewritten */
    cw_ramdisk_plan(w->disk, CW_RAMDISK_STICK, SYNCS, 1, AT_ONCE, 0);
    for (uint32_t i = 1; i <= AT_ONCE; i++) {
        assert_int_equal(storeworld_write(w, sh, i, 1), 0);
        cw_store_turn_end(w->store);
        assert_int_equal(cw_ramdisk_stuck(w->disk), i);
    }
    return sh;
}

/* Completes one of those that were submitted together. */
static void
order_complete(struct storeworld *w, uint32_t which, bool done[AT_ONCE])
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < which; i++)
        at += !done[i];
    cw_ramdisk_unstick_one(w->disk, at);
    done[which] = true;
    storeworld_run(w, CW_NS_PER_MS);
}

/* After a cut that keeps what was completed alone: the prefix without a hole, and what was behind
 * the hole does not come back when other records take its numbers. */
static void
order_check_cut(const struct storeworld *from, uint32_t prefix)
{
    struct storeworld w;
    struct cw_store_shard *sh;

    storeworld_init(&w, from->seed + 1000, from->bytes, from->map_cache);
    cw_ramdisk_free(w.disk);
    w.disk =
        cw_ramdisk_clone_crashed(from->disk, &w.sim.env, (struct cw_ramdisk_crash){ .seed = 1 });
    for (uint32_t again = 0; again < 2; again++) {
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        assert_int_equal(cw_store_shard_info(sh)->durable_seq, 1 + prefix + again);
        assert_false(cw_store_shard_info(sh)->damaged);
        for (uint32_t i = 1; i <= AT_ONCE; i++)
            assert_true(storeworld_block_is(&w, sh, i, i <= prefix ? 1 + i : 0));
        if (again == 0) {
            assert_int_equal(storeworld_write(&w, sh, 100, 1), 0);
            storeworld_wait_durable(&w, sh, 2 + prefix);
            storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 2 });
        }
    }
    assert_true(storeworld_block_is(&w, sh, 100, 2 + prefix));
    storeworld_fini(&w);
}

/* Four batches in flight complete in each of 24 orders: what is told durable is, after each, the
 * prefix without a hole, never more, and at once. */
static void
row_43_batches_complete_in_every_order(void **state)
{
    for (uint32_t n = 0; n < 24; n++) {
        struct storeworld w;
        struct cw_store_shard *sh = order_begin(&w, 200 + n);
        bool done[AT_ONCE] = { 0 };
        uint32_t order[AT_ONCE];

        order_make(n, order);
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            uint32_t prefix = 0;

            order_complete(&w, order[i], done);
            while (prefix < AT_ONCE && done[prefix])
                prefix++;
            assert_int_equal(cw_store_shard_info(sh)->durable_seq, 1 + prefix);
            for (uint32_t k = 1; k <= AT_ONCE; k++)
                assert_true(storeworld_block_is(&w, sh, k, k <= prefix ? 1 + k : 0));
            order_check_cut(&w, prefix);
        }
        cw_store_check(w.store);
        storeworld_fini(&w);
    }
}

/* How many completed before one that was submitted earlier. */
static uint32_t
disorder_count(const struct storeworld *w)
{
    uint32_t n, count = 0;
    uint64_t latest_ns = 0;
    const struct cw_ramdisk_io *io = cw_ramdisk_traced(w->disk, &n);

    for (uint32_t i = 0; i < n; i++) {
        count += io[i].done && io[i].done_ns < latest_ns;
        latest_ns = io[i].done ? cw_max_u64(latest_ns, io[i].done_ns) : latest_ns;
    }
    return count;
}

/* A mixed life on a disk that answers within anything from 1 us to 20 ms. */
static void
row_43_a_life_of_completions_in_random_order(void **state)
{
    static struct storelife l;

    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct storeworld w;

        storeworld_init(&w, 250 + seed, 512 * CW_MIB, CW_MIB);
        cw_ramdisk_free(w.disk);
        w.disk = cw_ramdisk_new((struct cw_ramdisk_opts){ .env = &w.sim.env,
                                                          .bytes = w.bytes,
                                                          .seed = seed,
                                                          .latency_min_ns = CW_NS_PER_US,
                                                          .latency_max_ns = 20 * CW_NS_PER_MS });
        storelife_init(&l, &w, seed);
        assert_int_equal(storeworld_format(&w, false), 0);
        assert_int_equal(storeworld_open(&w), 0);
        storelife_open(&l);
        cw_ramdisk_trace(w.disk, true);
        for (uint32_t i = 0; i < 300; i++) {
            assert_int_equal(storelife_some(&l, 6), 0);
            cw_store_turn_end(w.store);
            for (uint64_t k = cw_prng_below(&l.rnd, 5); k > 0; k--)
                cw_simenv_step(&w.sim);
            if (i % 40 == 39)
                ckpt_want(w.store);
            if (i % 30 != 29)
                continue;
            storelife_note(&l);
            storelife_check_cut(
                &l,
                &(struct storelife_cut){ .how = { .seed = i, .keep = i % 4 * 80, .torn = i % 2 },
                                         .again = i % 60 == 59 },
                0);
        }
        print_message("# %u I/Os overtook others\n", disorder_count(&w));
        assert_true(disorder_count(&w) > 30);
        cw_ramdisk_trace(w.disk, false);
        assert_true(storelife_settle(&l, 60 * WORLD_S));
        storelife_check(&l, &w, 0);
        storeworld_fini(&w);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_45_a_read_is_held_while_its_blocks_move),
        cmocka_unit_test(row_45_a_read_is_held_while_its_blocks_die),
        cmocka_unit_test(row_45_a_tail_read_is_held_while_its_record_goes),
        cmocka_unit_test(row_45_a_tail_read_keeps_its_segment_between_its_reads),
        cmocka_unit_test(row_45_a_scrub_is_held_while_its_blocks_move),
        cmocka_unit_test(row_45_a_summary_is_held_while_its_segment_empties),
        cmocka_unit_test(row_45_blocks_are_written_while_the_cleaner_reads_them),
        cmocka_unit_test(row_45_blocks_are_written_beside_their_move),
        cmocka_unit_test(row_43_batches_complete_in_every_order),
        cmocka_unit_test(row_43_a_life_of_completions_in_random_order),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
