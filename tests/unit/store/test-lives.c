/* Many short lives: what an end without a warning leaves behind must not add up. */
#include <stdlib.h>

#include "common/base/prng.h"
#include "daemon/store/store-internal.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(3) << 16)

struct lives {
    struct storeworld w;
    struct cw_store_shard *sh;
    struct cw_prng rnd;
    uint64_t *seq_of;
    uint32_t n;
};

static void
lives_write(struct lives *l, uint32_t lba, uint32_t nblk)
{
    assert_int_equal(storeworld_write(&l->w, l->sh, lba, nblk), 0);
    for (uint32_t i = 0; i < nblk; i++)
        l->seq_of[lba + i] = cw_store_shard_info(l->sh)->last_seq;
}

/* So full that the cleaner has to work for each write. */
static void
lives_begin(struct lives *l, uint64_t seed, uint32_t percent)
{
    cw_prng_init(&l->rnd, seed);
    storeworld_init(&l->w, seed, 512 * CW_MIB, 4 * CW_MIB);
    l->sh = storeworld_begin(&l->w, SHARD_ID);
    l->n = (uint32_t)(space_capacity(l->w.store) * percent / 100);
    l->seq_of = calloc(l->n + 64, sizeof(*l->seq_of));
    assert_non_null(l->seq_of);
    for (uint32_t lba = 0; lba < l->n; lba += 64) {
        lives_write(l, lba, 64);
        cw_store_set_stable(l->sh, cw_store_shard_info(l->sh)->durable_seq);
    }
    for (uint32_t i = 0; i < l->n; i++) {
        lives_write(l, (uint32_t)cw_prng_below(&l->rnd, l->n), 1);
        cw_store_set_stable(l->sh, cw_store_shard_info(l->sh)->durable_seq);
    }
    storeworld_settle(&l->w, l->sh);
}

static void
lives_crash(struct lives *l, uint64_t seed)
{
    storeworld_crash(&l->w, (struct cw_ramdisk_crash){ .seed = seed, .keep = 128 });
}

static void
lives_open(struct lives *l)
{
    assert_int_equal(storeworld_open(&l->w), 0);
    l->sh = cw_store_shard_find(l->w.store, SHARD_ID);
    assert_non_null(l->sh);
}

/* It goes on at length, and all of it is there. */
static void
lives_end(struct lives *l)
{
    for (uint32_t i = 0; i < 3000; i++) {
        lives_write(l, (uint32_t)cw_prng_below(&l->rnd, l->n), 1);
        cw_store_set_stable(l->sh, cw_store_shard_info(l->sh)->durable_seq);
    }
    storeworld_settle(&l->w, l->sh);
    for (uint32_t lba = 0; lba < l->n; lba += 7)
        assert_true(storeworld_block_is(&l->w, l->sh, lba, l->seq_of[lba]));
    cw_store_check(l->w.store);
    storeworld_fini(&l->w);
    free(l->seq_of);
}

/* Each of them dies while the cleaner, and sometimes a checkpoint, is under way. */
static void
short_lives_at_90_percent(void **state)
{
    struct lives l;

    lives_begin(&l, 71, 90);
    for (uint32_t life = 0; life < 80; life++) {
        lives_crash(&l, life);
        lives_open(&l);
        for (uint32_t i = 0; i < 20; i++)
            lives_write(&l, (uint32_t)cw_prng_below(&l.rnd, l.n), 1);
        storeworld_settle(&l.w, l.sh);
        storeworld_run(&l.w, cw_prng_below(&l.rnd, 20) * CW_NS_PER_MS);
    }
    lives_end(&l);
}

/* One that is started again and again, and never gets as far as service. */
static void
a_crash_loop_uses_up_no_space(void **state)
{
    struct lives l;
    uint32_t free_segs;

    lives_begin(&l, 72, 90);
    lives_crash(&l, 1);
    lives_open(&l);
    free_segs = l.w.store->index.free.n;
    for (uint32_t life = 0; life < 200; life++) {
        lives_crash(&l, life);
        storeworld_open_begin(&l.w);
        storeworld_run(&l.w, cw_prng_below(&l.rnd, 40) * CW_NS_PER_MS / 4);
    }
    lives_crash(&l, 1);
    lives_open(&l);
    assert_true(l.w.store->index.free.n + 4 >= free_segs);
    lives_end(&l);
}

/* ---- going on with what was open ---- */

static void
lives_young(struct lives *l, uint64_t seed)
{
    storeworld_init(&l->w, seed, 512 * CW_MIB, 4 * CW_MIB);
    l->sh = storeworld_begin(&l->w, SHARD_ID);
    l->n = 1000;
    l->seq_of = calloc(l->n + 64, sizeof(*l->seq_of));
    assert_non_null(l->seq_of);
    lives_write(l, 0, 1);
    storeworld_settle(&l->w, l->sh);
}

/* Each life writes a block, and takes a checkpoint or not: all of them fill the same segments. */
static void
lives_share_their_segments(void **state)
{
    struct lives l;
    uint32_t free_segs;

    lives_young(&l, 73);
    lives_crash(&l, 1);
    lives_open(&l);
    free_segs = l.w.store->index.free.n;
    for (uint32_t life = 0; life < 60; life++) {
        lives_write(&l, life, 1);
        storeworld_settle(&l.w, l.sh);
        if (life % 3 == 0) {
            ckpt_want(l.w.store);
            storeworld_run(&l.w, 50 * CW_NS_PER_MS);
        }
        if (life % 7 == 0)
            assert_int_equal(storeworld_close(&l.w), 0);
        else
            lives_crash(&l, life);
        lives_open(&l);
    }
    assert_true(l.w.store->index.free.n + 1 >= free_segs);
    for (uint32_t lba = 0; lba < 60; lba++)
        assert_true(storeworld_block_is(&l.w, l.sh, lba, l.seq_of[lba]));
    lives_end(&l);
}

/* What it replaces is needed yet when a recovery begins to write. */
static void
lives_end_at_first_write(struct lives *l)
{
    uint64_t n = cw_ramdisk_count(l->w.disk, CW_RAMDISK_WRITES);

    storeworld_open_begin(&l->w);
    while (cw_ramdisk_count(l->w.disk, CW_RAMDISK_WRITES) == n)
        assert_true(cw_simenv_step(&l->w.sim));
    storeworld_crash(&l->w, (struct cw_ramdisk_crash){ .keep = 256 });
}

/* The last header of a class is rotten, and a checkpoint refers to what lies behind it. What is
 * written next must not lie there. */
static void
behind_a_rotten_header(uint8_t cls, uint64_t seed)
{
    struct lives l;
    struct cw_store *s;
    uint64_t at = 0, checkpoints;

    lives_young(&l, seed);
    s = l.w.store;
    checkpoints = s->stats.checkpoints;
    for (uint32_t lba = 1; lba < 9; lba++) {
        at = seg_off(s, s->open[CW_SEG_HOT].no) + s->open[CW_SEG_HOT].off;
        lives_write(&l, lba, 1);
        storeworld_wait_durable(&l.w, l.sh, cw_store_shard_info(l.sh)->last_seq);
    }
    cw_store_set_stable(l.sh, cw_store_shard_info(l.sh)->durable_seq);
    ckpt_want(s);
    while (s->stats.checkpoints == checkpoints)
        assert_true(cw_simenv_step(&l.w.sim));
    if (cls == CW_SEG_META) /* the root: a block of header before it */
        at = loc_off(s, s->sb.ckpt[0].loc) - CW_BLOCK_SIZE;
    lives_crash(&l, 1);
    cw_ramdisk_flip(l.w.disk, at + 40, 0x55);
    lives_end_at_first_write(&l);
    for (uint32_t life = 0; life < 4; life++) {
        lives_open(&l);
        assert_int_equal(l.w.store->stats.csum_errors, 0);
        for (uint32_t lba = 100; lba < 120; lba++)
            lives_write(&l, lba, 1);
        storeworld_settle(&l.w, l.sh);
        lives_crash(&l, life);
    }
    lives_open(&l);
    for (uint32_t lba = 0; lba < 9; lba++)
        assert_true(storeworld_block_is(&l.w, l.sh, lba, l.seq_of[lba]));
    lives_end(&l);
}

static void
what_a_rotten_header_hides_is_not_written_over(void **state)
{
    behind_a_rotten_header(CW_SEG_HOT, 74);
    behind_a_rotten_header(CW_SEG_META, 75);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_lives_at_90_percent),
        cmocka_unit_test(a_crash_loop_uses_up_no_space),
        cmocka_unit_test(lives_share_their_segments),
        cmocka_unit_test(what_a_rotten_header_hides_is_not_written_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
