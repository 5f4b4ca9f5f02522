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
    for (uint32_t life = 0; life < 80; life++) {
        lives_crash(&l, life);
        storeworld_open_begin(&l.w);
        storeworld_run(&l.w, cw_prng_below(&l.rnd, 40) * CW_NS_PER_MS / 4);
    }
    lives_crash(&l, 1);
    lives_open(&l);
    assert_true(l.w.store->index.free.n + 4 >= free_segs);
    lives_end(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_lives_at_90_percent),
        cmocka_unit_test(a_crash_loop_uses_up_no_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
