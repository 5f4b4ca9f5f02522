/* Which batches of a segment are found when a part of it cannot be read. */
#include "daemon/store/store-internal.h"
#include "tests/lib/storeworld.h"

#define SHARD_ID (UINT64_C(3) << 16)

/* One block of the last record's payload, behind a batch whose header is n records long. */
static void
unreadable_behind(uint32_t n)
{
    struct storeworld w;
    struct cw_store_shard *sh;
    const struct page *p;
    uint64_t off, last;

    storeworld_init(&w, 90, 512 * CW_MIB, CW_MIB);
    sh = storeworld_begin(&w, SHARD_ID);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
    storeworld_wait_durable(&w, sh, n);
    assert_int_equal(storeworld_write(&w, sh, 1000, 1), 0);
    storeworld_wait_durable(&w, sh, n + 1);
    storeworld_run(&w, WORLD_S); /* a note covers it */
    last = cw_store_shard_info(sh)->last_seq;
    p = map_page_resident(sh->head, 1000 / CW_CHUNK_BLOCKS);
    assert_non_null(p);
    off = loc_off(w.store, p->data->e[1000 % CW_CHUNK_BLOCKS].loc);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1 });
    cw_ramdisk_latent(w.disk, off, CW_BLOCK_SIZE);
    assert_int_equal(storeworld_open(&w), 0);
    sh = cw_store_shard_find(w.store, SHARD_ID);
    assert_non_null(sh);
    assert_int_equal(cw_store_shard_info(sh)->durable_seq, last);
    assert_false(cw_store_shard_info(sh)->damaged);
    for (uint32_t i = 0; i < n; i++)
        assert_true(storeworld_block_is(&w, sh, i, i + 1));
    storeworld_fini(&w);
}

/* Whatever the length of the headers: those that can be read are found, and what they tell of what
 * cannot be is one block. */
static void
row_39_an_unreadable_block_hides_no_batch(void **state)
{
    unreadable_behind(30);
    unreadable_behind(100);
    unreadable_behind(700);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_39_an_unreadable_block_hides_no_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
