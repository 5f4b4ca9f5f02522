/* Which segment is cleaned, how fast, what it costs, and whose the reserves are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/overwrite.h"

#define SHARD_ID (UINT64_C(3) << 16)

/* ---- the victim ---- */

#define FAKE_SEGS 150u
#define FAKE_MAX (CW_SEG_BYTES_MIN / CW_SECTOR)

static void
fake_store(struct cw_store *s, struct seg *segs, struct cw_prng *rnd)
{
    memset(s, 0, sizeof(*s));
    memset(segs, 0, FAKE_SEGS * sizeof(*segs));
    s->seg_bytes = CW_SEG_BYTES_MIN;
    s->segs = segs;
    s->n_segs = FAKE_SEGS;
    s->next_seg_seq = 1000;
    s->applied_upto = 900;
    s->sb.ckpt[1].replay_batch = 700;
    for (uint32_t i = 0; i < FAKE_SEGS; i++) {
        struct seg *g = &segs[i];
        uint32_t dice = (uint32_t)cw_prng_below(rnd, 10);

        g->state = dice == 0 ? CW_SEG_FREE : CW_SEG_SEALED;
        g->cls = (uint8_t)(CW_SEG_HOT + cw_prng_below(rnd, CW_SEG_CLASSES - CW_SEG_HOT));
        g->live = dice == 0 ? 0 : (uint32_t)cw_prng_below(rnd, FAKE_MAX);
        g->seq = 1 + cw_prng_below(rnd, 999);
        g->last_batch = cw_prng_below(rnd, 1000);
        g->tail_pins = dice == 1;
        g->unscannable = dice == 2;
    }
    segindex_build(s);
}

static uint64_t
fake_score(const struct cw_store *s, const struct seg *g, bool greedy)
{
    uint64_t age = s->next_seg_seq - g->seq;

    if (g->state != CW_SEG_SEALED || g->cls == CW_SEG_META || g->tail_pins > 0 || g->unscannable ||
        g->live == 0 || g->live >= FAKE_MAX - FAKE_MAX / SEG_BUCKETS ||
        g->last_batch > s->applied_upto || (!greedy && g->last_batch >= s->sb.ckpt[1].replay_batch))
        return 0;
    return greedy ? FAKE_MAX - g->live : (FAKE_MAX - g->live) * age / (FAKE_MAX + g->live) + 1;
}

/* Of everything that may be taken the victim has the best (1 - u) * age / (1 + u), or greedily the
 * least live data; what is held, young, unread or nearly full is left alone. */
static void
the_victim_is_the_best_buy(void **state)
{
    static struct cw_store s;
    static struct seg segs[FAKE_SEGS];
    struct cw_prng rnd;

    cw_prng_init(&rnd, 1);
    for (uint32_t round = 0; round < 300; round++) {
        bool greedy = round % 2;
        uint64_t best = 0;
        uint32_t no = SEG_NONE;

        fake_store(&s, segs, &rnd);
        for (uint32_t i = 0; i < FAKE_SEGS; i++)
            best = cw_max_u64(best, fake_score(&s, &segs[i], greedy));
        assert_true(segindex_victim(&s, greedy, &no));
        assert_int_equal(fake_score(&s, &segs[no], greedy), best);
        assert_true(segindex_meta_victim(&s, &no));
        assert_int_equal(segs[no].cls, CW_SEG_META);
    }
}

/* Nothing is chosen if nothing may be, and what may not be taken hides nobody for ever. */
static void
held_segments_hide_nobody(void **state)
{
    static struct cw_store s;
    static struct seg segs[FAKE_SEGS];
    struct cw_prng rnd;
    uint32_t no = SEG_NONE, tries = 0;

    cw_prng_init(&rnd, 2);
    fake_store(&s, segs, &rnd);
    for (uint32_t i = 0; i < FAKE_SEGS; i++) {
        segs[i].state = CW_SEG_SEALED;
        segs[i].cls = CW_SEG_HOT;
        segs[i].live = FAKE_MAX / 2;
        segs[i].last_batch = 1;
        segs[i].tail_pins = 1;
    }
    segindex_build(&s);
    assert_false(segindex_victim(&s, false, &no));
    segment_tail_unpin(&s, 77);
    while (!segindex_victim(&s, false, &no))
        assert_true(++tries < FAKE_SEGS);
    assert_int_equal(no, 77);
}

/* ---- the victim that cannot be read as a whole ---- */

enum { KEPT = 40, BALLAST = 300, BLOCKS = 100 };

/* All that the other copy has is overwritten so often that everything is cleaned. */
static void
overwrite_others(struct storeworld *w, struct cw_store_shard *other, uint32_t n)
{
    struct cw_prng rnd;

    cw_prng_init(&rnd, 5);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t lba = cw_prng_below(&rnd, BALLAST) * 256 + cw_prng_below(&rnd, 256 - BLOCKS);

        assert_int_equal(storeworld_write(w, other, lba, BLOCKS), 0);
        cw_store_set_stable(other, cw_store_shard_info(other)->durable_seq);
    }
    storeworld_settle(w, other);
}

static void
hide_header(const struct storeworld *w, uint64_t loc)
{
    cw_ramdisk_flip(w->disk, loc_off(w->store, loc) - CW_BLOCK_SIZE + 8, 1);
}

static void
check_kept(struct storeworld *w, struct cw_store_shard *sh)
{
    assert_true(w->store->stats.bytes_cleaned > 0);
    for (uint32_t i = 0; i < KEPT; i++)
        assert_true(storeworld_block_is(w, sh, i, i + 1));
    cw_store_check(w->store);
}

static struct cw_store_shard *
begin_kept(struct storeworld *w, uint64_t seed, struct cw_store_shard **ret_other)
{
    struct cw_store_shard *sh;

    storeworld_init(w, seed, 512 * CW_MIB, 4 * CW_MIB);
    w->scrub_ns = STOREWORLD_NO_SCRUB;
    sh = storeworld_begin(w, SHARD_ID);
    *ret_other = storeworld_shard(w, SHARD_ID + (UINT64_C(1) << 16));
    return sh;
}

/* Strewn among what will be overwritten. */
static void
write_kept(struct storeworld *w, struct cw_store_shard *sh, struct cw_store_shard *other,
           uint32_t i, uint32_t n_between)
{
    assert_int_equal(storeworld_write(w, sh, i, 1), 0);
    storeworld_settle(w, sh);
    for (uint32_t k = 0; k < n_between; k++) {
        assert_int_equal(storeworld_write(w, other, (i * n_between + k) % BALLAST * 256, BLOCKS),
                         0);
        storeworld_settle(w, other);
    }
}

/* A summary that is gone, and the header of a batch: the cleaner does not see the block behind it,
 * which the map still shows. */
static void
a_header_that_rotted_hides_no_block(void **state)
{
    struct cw_store_shard *sh, *other;
    struct storeworld w;
    uint32_t n_hidden = 0;

    sh = begin_kept(&w, 93, &other);
    for (uint32_t i = 0; i < KEPT; i++)
        write_kept(&w, sh, other, i, 8);
    for (uint32_t i = 0; i < KEPT; i++) {
        uint64_t loc = map_page_resident(sh->head, 0)->data->e[i].loc;

        if (w.store->segs[cw_loc_seg(loc)].state != CW_SEG_SEALED)
            continue;
        n_hidden++;
        hide_header(&w, loc);
        cw_ramdisk_flip(w.disk, seg_off(w.store, cw_loc_seg(loc) + 1) - 8, n_hidden);
    }
    assert_true(n_hidden > KEPT / 2);
    overwrite_others(&w, other, 8000);
    check_kept(&w, sh);
    storeworld_fini(&w);
}

/* The same in segments that were open at a restart, in the middle of what was found there or at the
 * end of it: their summaries are made from what is found. */
static void
a_header_that_rotted_in_an_open_segment_hides_no_block(void **state)
{
    struct cw_store_shard *sh, *other;
    struct storeworld w;

    sh = begin_kept(&w, 98, &other);
    for (uint32_t i = 0; i < KEPT; i++) {
        uint64_t loc;

        write_kept(&w, sh, other, i, i % 2 * 2);
        if (i % 8 >= 2) /* each of them costs a segment */
            continue;
        loc = map_page_resident(sh->head, 0)->data->e[i].loc;
        hide_header(&w, loc);
        assert_int_equal(storeworld_close(&w), 0);
        assert_int_equal(storeworld_open(&w), 0);
        sh = cw_store_shard_find(w.store, SHARD_ID);
        other = cw_store_shard_find(w.store, SHARD_ID + (UINT64_C(1) << 16));
        for (uint32_t k = 0; k < 12; k++) {
            assert_int_equal(storeworld_write(&w, other, (i * 12 + k) % BALLAST * 256, BLOCKS), 0);
            storeworld_settle(&w, other);
        }
        assert_true(storeworld_block_is(&w, sh, i, i + 1));
    }
    overwrite_others(&w, other, 8000);
    check_kept(&w, sh);
    storeworld_fini(&w);
}

/* Reads that fail for a moment, as while a path to the disk is changed, lose neither the page that
 * somebody waits for nor the blocks that the cleaner is about to move. */
static void
a_fault_that_passes_loses_nothing(void **state)
{
    struct cw_store_shard *sh;
    struct cw_store_stats st;
    struct storeworld w;
    struct cw_prng rnd;
    uint64_t faults = 0;

    cw_prng_init(&rnd, 7);
    storeworld_init(&w, 97, 512 * CW_MIB, 4 * CW_MIB);
    w.scrub_ns = STOREWORLD_NO_SCRUB;
    sh = storeworld_begin(&w, SHARD_ID);
    for (uint32_t i = 0; i < BALLAST; i++)
        assert_int_equal(storeworld_write(&w, sh, i * 256, 256), 0);
    storeworld_settle(&w, sh);
    assert_int_equal(storeworld_close(&w), 0);
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    cw_ramdisk_plan(w.disk, CW_RAMDISK_EIO, CW_RAMDISK_OP(CW_DISK_READ), 1, 3, 0);
    assert_true(storeworld_block_is(&w, sh, 7, 1));
    assert_int_equal(cw_ramdisk_faults(w.disk), 3);
    for (uint32_t i = 0; i < 3000; i++) {
        uint64_t lba = cw_prng_below(&rnd, BALLAST) * 256 + cw_prng_below(&rnd, 256 - BLOCKS);

        if (cleaner_busy(w.store) && i % 8 == 0)
            cw_ramdisk_plan(w.disk, CW_RAMDISK_EIO, CW_RAMDISK_OP(CW_DISK_READ), 1, 4, 0);
        assert_int_equal(storeworld_write(&w, sh, lba, BLOCKS), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    storeworld_settle(&w, sh);
    faults = cw_ramdisk_faults(w.disk);
    cw_store_stats(w.store, &st);
    assert_true(st.bytes_cleaned > 0 && faults > 20);
    assert_true(st.io_errors > 0);
    assert_int_equal(st.csum_errors, 0);
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* ---- the reserves ---- */

static struct cw_store_shard *
small_world(struct storeworld *w, uint64_t seed)
{
    storeworld_init(w, seed, 512 * CW_MIB, 4 * CW_MIB);
    return storeworld_begin(w, SHARD_ID);
}

/* One record of blocks, or a TRIM of one; false: no room for it now. */
static bool
put(struct storeworld *w, struct cw_store_shard *sh, uint8_t type, uint64_t lba, uint32_t nblk)
{
    static uint8_t data[CW_IO_BLOCKS_MAX * CW_BLOCK_SIZE];
    uint64_t csums[CW_IO_BLOCKS_MAX];
    struct cw_store_rec rec = {
        .type = type,
        .gen = 1,
        .seq = cw_store_shard_info(sh)->last_seq + 1,
        .lba = lba,
        .nblk = nblk,
        .csums = csums,
        .data = data,
    };

    for (uint32_t i = 0; type == CW_FT_WRITE && i < nblk; i++) {
        storeworld_fill(data + (size_t)i * CW_BLOCK_SIZE, SHARD_ID, lba + i, rec.seq);
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    }
    return cw_store_append(sh, &rec) == 0;
}

/* Runs, and looks whether data takes a segment that it must leave to others. */
static void
run_watched(struct storeworld *w, uint64_t ns)
{
    struct cw_store *s = w->store;
    uint64_t until_ns = w->sim.now_ns + ns;

    cw_store_turn_end(s);
    while (cw_timerheap_next(&w->sim.heap) <= until_ns) {
        uint64_t opened = s->segs[s->open[CW_SEG_HOT].no].seq;

        assert_true(cw_simenv_step(&w->sim));
        if (s->segs[s->open[CW_SEG_HOT].no].seq != opened)
            assert_true(s->index.free.n >= space_keep_free(s, CW_SEG_HOT, s->n_urgent > 0));
    }
    storeworld_run(w, until_ns - w->sim.now_ns);
}

/* Overwrites, of which none ever becomes stable, until no more get through. */
static void
write_until_stuck(struct storeworld *w, struct cw_store_shard *sh, bool with_trims,
                  uint32_t batches)
{
    for (uint32_t i = 0, idle = 0; idle < 50; i++) {
        uint64_t durable = cw_store_shard_info(sh)->durable_seq;

        if (w->store->n_batches[CW_SEG_HOT] < batches) {
            put(w, sh, CW_FT_WRITE, i % 64 * 256, 256);
            if (with_trims)
                put(w, sh, CW_FT_TRIM, 100000, 1);
        }
        run_watched(w, 5 * CW_NS_PER_MS);
        idle = cw_store_shard_info(sh)->durable_seq == durable ? idle + 1 : 0;
    }
    assert_true(w->store->pressed[CW_SEG_HOT]);
}

/* Whoever asks for segments when nothing can be cleaned stops where another's reserve begins: data,
 * then TRIM and control records, then the cleaner. A checkpoint can be written yet, and when the
 * tail lets go everything flows again. */
static void
nobody_takes_the_reserve_of_another(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 51);
    struct cw_store *s = w.store;
    struct storeworld_ticket t;
    struct cw_store_stats st;
    uint64_t checkpoints;

    write_until_stuck(&w, sh, false, 4);
    assert_true(s->index.free.n <= space_keep_free(s, CW_SEG_HOT, false));

    cw_store_promise(sh, 9, storeworld_ticket(&t));
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    write_until_stuck(&w, sh, true, 9);
    assert_true(s->n_urgent > 0 && s->index.free.n <= space_keep_free(s, CW_SEG_HOT, true));
    assert_true(space_keep_free(s, CW_SEG_HOT, true) < space_keep_free(s, CW_SEG_HOT, false));

    while (segment_room(s, CW_SEG_COLD, 2 * CW_BLOCK_SIZE, 256,
                        space_keep_free(s, CW_SEG_COLD, false)))
        s->open[CW_SEG_COLD].off = s->seg_bytes;
    assert_int_equal(s->index.free.n, space_keep_free(s, CW_SEG_COLD, false));
    assert_true(space_keep_free(s, CW_SEG_COLD, false) + 4 <= space_keep_free(s, CW_SEG_HOT, true));

    checkpoints = s->stats.checkpoints;
    ckpt_want(s);
    storeworld_run(&w, WORLD_S);
    assert_true(s->stats.checkpoints > checkpoints);

    cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    storeworld_wait_durable(&w, sh, cw_store_shard_info(sh)->last_seq);
    for (uint32_t i = 0; i < 600; i++) {
        assert_int_equal(storeworld_write(&w, sh, i % 64 * 256, 256), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    cw_store_stats(s, &st);
    assert_false(st.failed);
    cw_store_check(s);
    storeworld_fini(&w);
}

/* What waits for a segment at the end would wait for ever. It was not acknowledged: the store
 * closes without it, and the next start finds all that was. */
static void
a_store_short_of_segments_closes(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 96);
    uint64_t durable;

    write_until_stuck(&w, sh, true, 9);
    durable = cw_store_shard_info(sh)->durable_seq;
    assert_true(cw_store_shard_info(sh)->last_seq > durable);
    assert_int_equal(storeworld_close(&w), 0);
    assert_true(cw_simenv_logged(&w.sim, "closed without a checkpoint"));
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    assert_int_equal(cw_store_shard_info(sh)->durable_seq, durable);
    assert_false(cw_store_shard_info(sh)->damaged);
    cw_store_set_stable(sh, durable);
    for (uint32_t i = 0; i < 600; i++) {
        assert_int_equal(storeworld_write(&w, sh, i % 64 * 256, 256), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    storeworld_settle(&w, sh);
    cw_store_check(w.store);
    assert_int_equal(storeworld_close(&w), 0);
    storeworld_fini(&w);
}

/* One block in each of very many chunks needs a map page for each: credit ends while checkpoints
 * still find room, overwriting goes on, and a TRIM gives all of it back. */
static void
strewn_blocks_pay_for_their_pages(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 52);
    struct cw_store_stats st, empty;
    uint64_t n = 0;
    uint32_t credit;

    cw_store_stats(w.store, &empty);
    while (n < CW_SHARD_CHUNKS && cw_store_credit(sh) > 0) {
        assert_int_equal(storeworld_write(&w, sh, n++ * CW_CHUNK_BLOCKS, 1), 0);
        if (n % 32 == 0) {
            storeworld_wait_durable(&w, sh, n);
            cw_store_set_stable(sh, n);
        }
    }
    storeworld_wait_durable(&w, sh, n);
    assert_true(n < CW_SHARD_CHUNKS && n > 20000);
    assert_true(w.store->meta_live > n * CW_BLOCK_SECTORS);
    for (uint64_t i = 0; i < 2000; i++) {
        assert_int_equal(storeworld_write(&w, sh, i * 17 % n * CW_CHUNK_BLOCKS, 1), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    for (uint64_t lba = 0; lba < n * CW_CHUNK_BLOCKS; lba += CW_WIRE_NBLK_MAX) {
        assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, lba, CW_WIRE_NBLK_MAX), 0);
        storeworld_settle(&w, sh);
    }
    credit = cw_store_credit(sh);
    assert_true(credit > 1000);
    cw_store_stats(w.store, &st);
    assert_true(!st.failed && st.used_bytes == empty.used_bytes);
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* Many map pages, of which each checkpoint writes some: old segments of META keep a few each, and
 * once held a fifth of the store, until nothing was left to clean into. */
static void
meta_does_not_pile_up(void **state)
{
    enum { PER_CHUNK = 20 };
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_prng rnd;
    uint64_t n_chunks, most = 0, live = 0;

    cw_prng_init(&rnd, 5);
    storeworld_init(&w, 54, 512 * CW_MIB, 32 * CW_MIB);
    sh = storeworld_begin(&w, SHARD_ID);
    n_chunks = space_capacity(w.store) * 85 / 100 / PER_CHUNK;
    for (uint32_t i = 0; i < n_chunks; i++) {
        assert_int_equal(storeworld_write(&w, sh, i * CW_CHUNK_BLOCKS, PER_CHUNK), 0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    for (uint32_t i = 0; i < 60000; i++) {
        uint64_t chunk = cw_prng_below(&rnd, cw_prng_below(&rnd, 8) == 0 ? n_chunks : n_chunks / 4);

        assert_int_equal(
            storeworld_write(&w, sh, chunk * CW_CHUNK_BLOCKS + cw_prng_below(&rnd, PER_CHUNK), 1),
            0);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
        most = cw_max_u64(most, w.store->index.n_meta - w.store->index.moving.n);
        live = cw_max_u64(live, cw_div_up(w.store->meta_live, segment_live_max(w.store)));
    }
    assert_true(live >= 4 && most <= 2 * live + 4);
    storeworld_settle(&w, sh);
    cw_store_check(w.store);
    storeworld_fini(&w);
}

/* A stream ends at 97 %; copies of chunks go on into the reserve that is theirs. */
static void
resync_has_a_reserve_of_its_own(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 53);
    static uint8_t data[CW_IO_BLOCKS_MAX * CW_BLOCK_SIZE];
    uint64_t csums[CW_IO_BLOCKS_MAX], lba = 0;
    struct cw_store_chunk_set c = { .ver_gen = 1, .csums = csums, .data = data };
    struct storeworld_ticket t;
    uint32_t copies = 0;
    int err;

    while ((err = storeworld_write(&w, sh, lba, 256)) == 0) {
        lba += 256;
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
    }
    assert_int_equal(err, -ENOSPC);
    memset(c.set, 0xff, sizeof(c.set));
    c.chunk = (uint32_t)(lba / CW_CHUNK_BLOCKS);
    for (;; c.chunk++) {
        for (uint32_t i = 0; i < CW_CHUNK_BLOCKS; i++) {
            storeworld_fill(data + (size_t)i * CW_BLOCK_SIZE, SHARD_ID, i, c.chunk + 1);
            csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
        }
        c.ver_seq = c.chunk;
        err = cw_store_chunk_current(sh, &c, storeworld_ticket(&t));
        if (err == -EAGAIN) {
            storeworld_run(&w, CW_NS_PER_MS);
            c.chunk--;
            continue;
        }
        if (err != 0)
            break;
        assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
        copies++;
    }
    assert_int_equal(err, -ENOSPC);
    assert_true(copies >= 5);
    assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, 0, (uint32_t)lba), 0);
    storeworld_wait_durable(&w, sh, cw_store_shard_info(sh)->last_seq);
    assert_int_equal(storeworld_write(&w, sh, 0, 256), 0);
    storeworld_fini(&w);
}

/* ---- pace and cost ---- */

static void
store_changes_hands(struct overwrite *o)
{
    storeworld_crash(&o->w, (struct cw_ramdisk_crash){ .seed = 3, .keep = 128 });
    assert_int_equal(storeworld_open(&o->w), 0);
    o->sh = storeworld_shard(
        &o->w, cw_store_shard_next(o->w.store, NULL) == NULL
                   ? 0
                   : cw_store_shard_info(cw_store_shard_next(o->w.store, NULL))->rec.shard);
}

static struct overwrite_report
overwritten(struct overwrite *o, uint32_t hot_percent)
{
    struct overwrite_report r;

    overwrite_init(o, (struct overwrite_opts){
                          .seed = 5,
                          .bytes = 512 * CW_MIB,
                          .live_percent = 70,
                          .hot_percent = hot_percent,
                          .hot_writes_percent = 100 - hot_percent,
                          .depth = 32,
                          .bytes_per_s = 1000000000,
                      });
    overwrite_fill(o);
    overwrite_begin(o);
    overwrite_run(o, o->n);
    overwrite_begin(o);
    overwrite_run(o, o->n / 2);
    r = overwrite_report(o);
    print_message(
        "# WA %.2f = log %.2f + clean %.2f + map %.2f, formula %.2f; gap %.1f ms, windows "
        "%.2f..%.2f of the mean, spread %.2f\n",
        r.wa, r.wa_log, r.wa_clean, r.wa_map, r.f, r.gap_ms, r.window_min, r.window_max,
        r.window_spread);
    return r;
}

/* Counts are right, and every block is there, also after the restart. */
static void
end_whole(struct overwrite *o)
{
    cw_store_check(o->w.store);
    store_changes_hands(o);
    overwrite_verify(o, 53);
    overwrite_fini(o);
    free(o);
}

/* Steady overwriting of a store as full as it should get costs what the formulas say, and flows: no
 * time without acks worth the name, no window without them; after a crash every block is there. */
static void
uniform_overwrites_cost_what_the_formula_says(void **state)
{
    struct overwrite *o = calloc(1, sizeof(*o));
    struct overwrite_report r = overwritten(o, 0);

    assert_true(r.wa < 1.15 * r.f && r.wa < 6);
    assert_true(r.gap_ms < 30 && r.window_min > 0 && r.window_spread < 1);
    end_whole(o);
}

/* 80 % of the writes to 20 % of the data cost less, for hot and cold are told apart. */
static void
skewed_overwrites_cost_less(void **state)
{
    struct overwrite *o = calloc(1, sizeof(*o));
    struct overwrite_report r = overwritten(o, 20);

    assert_true(r.wa < 1.35 * r.f && r.wa < 4.5);
    assert_true(r.gap_ms < 30 && r.window_min > 0 && r.window_spread < 1);
    assert_true(o->w.store->logged[CW_SEG_WARM] > 0);
    end_whole(o);
}

/* Without writes nothing is cleaned, and after the checkpoints that time asks for, of which the
 * second has what was won back before the first, there is no I/O. */
static void
a_store_at_rest_rests(void **state)
{
    struct overwrite *o = calloc(1, sizeof(*o));
    uint64_t ios, cleaned;

    overwrite_init(o, (struct overwrite_opts){
                          .seed = 6, .bytes = 512 * CW_MIB, .live_percent = 65, .depth = 32 });
    overwrite_fill(o);
    overwrite_run(o, o->n / 2);
    cleaned = o->w.store->stats.bytes_cleaned;
    assert_true(cleaned > 0);
    storeworld_run(&o->w, 2 * WORLD_S);
    /* what the last writes took is won back, and that is all */
    assert_true(o->w.store->stats.bytes_cleaned - cleaned < 64 * CW_MIB);
    storeworld_run(&o->w, 2000 * WORLD_S);
    ios = cw_ramdisk_count(o->w.disk, CW_RAMDISK_ANY_OP);
    storeworld_run(&o->w, 3600 * WORLD_S);
    assert_int_equal(cw_ramdisk_count(o->w.disk, CW_RAMDISK_ANY_OP), ios);
    overwrite_fini(o);
    free(o);
}

/* A victim that is emptied by others while it waits is let go. */
static void
a_victim_emptied_meanwhile_is_let_go(void **state)
{
    struct overwrite *o = calloc(1, sizeof(*o));
    struct cw_store *s;

    overwrite_init(o, (struct overwrite_opts){
                          .seed = 7, .bytes = 512 * CW_MIB, .live_percent = 65, .depth = 32 });
    overwrite_fill(o);
    s = o->w.store;
    overwrite_run(o, o->n / 3);
    for (uint32_t i = 0; !cleaner_busy(s) && i < 1000; i++)
        overwrite_run(o, 64);
    assert_true(cleaner_busy(s));
    assert_int_equal(storeworld_clear(&o->w, o->sh, CW_FT_TRIM, 0, o->n), 0);
    storeworld_wait_durable(&o->w, o->sh, cw_store_shard_info(o->sh)->last_seq);
    memset(o->seq_of, 0, o->n * sizeof(*o->seq_of));
    overwrite_run(o, o->n / 2);
    assert_false(cleaner_busy(s));
    overwrite_verify(o, 53);
    cw_store_check(s);
    overwrite_fini(o);
    free(o);
}

/* However many small records there are: a recovery never has more of them to read than the bound.
 */
static void
records_since_a_checkpoint_are_bounded(void **state)
{
    struct storeworld w;
    struct cw_store_shard *sh = small_world(&w, 54);
    uint64_t before = w.store->stats.checkpoints;

    assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
    storeworld_run(&w, WORLD_S);
    assert_int_equal(w.store->stats.checkpoints, before);
    w.store->ckpt.last_hdr -= STORE_CKPT_HDR_BYTES_MIN;
    assert_int_equal(storeworld_write(&w, sh, 0, 1), 0);
    storeworld_run(&w, WORLD_S);
    assert_int_equal(w.store->stats.checkpoints, before + 1);
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_victim_is_the_best_buy),
        cmocka_unit_test(held_segments_hide_nobody),
        cmocka_unit_test(a_header_that_rotted_hides_no_block),
        cmocka_unit_test(a_header_that_rotted_in_an_open_segment_hides_no_block),
        cmocka_unit_test(a_fault_that_passes_loses_nothing),
        cmocka_unit_test(nobody_takes_the_reserve_of_another),
        cmocka_unit_test(strewn_blocks_pay_for_their_pages),
        cmocka_unit_test(meta_does_not_pile_up),
        cmocka_unit_test(a_store_short_of_segments_closes),
        cmocka_unit_test(resync_has_a_reserve_of_its_own),
        cmocka_unit_test(uniform_overwrites_cost_what_the_formula_says),
        cmocka_unit_test(skewed_overwrites_cost_less),
        cmocka_unit_test(a_store_at_rest_rests),
        cmocka_unit_test(a_victim_emptied_meanwhile_is_let_go),
        cmocka_unit_test(records_since_a_checkpoint_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
