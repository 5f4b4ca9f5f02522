/* Runs of blocks that pack into next to nothing. */
#include <string.h>

#include "tests/lib/storeworld.h"

#define SHARD_ID CW_SHARD_ID(7, 0)
#define RUN 16u

static void
settle(struct storeworld *w, struct cw_store_shard *sh)
{
    storeworld_wait_durable(w, sh, cw_store_shard_info(sh)->last_seq);
    cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
}

/* Each block of one letter: the run takes a sector. */
static void
write_run(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba)
{
    static uint8_t data[RUN * CW_BLOCK_SIZE] __attribute__((aligned(4096)));
    uint64_t csums[RUN];
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .gen = 1,
        .seq = cw_store_shard_info(sh)->last_seq + 1,
        .lba = lba,
        .nblk = RUN,
        .csums = csums,
        .data = data,
    };

    for (uint32_t i = 0; i < RUN; i++) {
        memset(data + (size_t)i * CW_BLOCK_SIZE, 'a' + (int)i, CW_BLOCK_SIZE);
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    }
    assert_int_equal(storeworld_append(w, sh, &rec), 0);
    settle(w, sh);
}

static void
check_block(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba, uint32_t i)
{
    struct cw_store_read r = { .shard = sh, .lba = lba, .nblk = 1, .flags = CW_STORE_READ_MEDIA };
    uint8_t want[CW_BLOCK_SIZE];

    memset(want, 'a' + (int)i, sizeof(want));
    assert_int_equal(storeworld_read(w, &r), 0);
    assert_false(cw_bit_get(r.bad, 0));
    assert_memory_equal(r.buf->data, want, sizeof(want));
    cw_buf_unref(r.buf);
}

/* Whichever block of a run is the last that is needed keeps the run's place from being used again.
 */
static void
one_block_keeps_its_run(void **state)
{
    struct cw_store_shard *sh, *other;
    struct storeworld w;

    for (uint32_t i = 0; i < RUN; i += 5) {
        storeworld_init(&w, 91, 512 * CW_MIB, 4 * CW_MIB);
        w.compression = CW_COMPRESSION_INLINE;
        assert_int_equal(storeworld_format(&w, false), 0);
        assert_int_equal(storeworld_open(&w), 0);
        sh = storeworld_shard(&w, SHARD_ID);
        w.compression = CW_COMPRESSION_OFF;
        other = storeworld_shard(&w, SHARD_ID + 1);
        write_run(&w, sh, 0);
        for (uint32_t k = 0; k < RUN; k++) {
            if (k != i)
                assert_int_equal(storeworld_clear(&w, sh, CW_FT_TRIM, k, 1), 0);
        }
        settle(&w, sh);
        for (uint32_t k = 0; k < 1000; k++) { /* more than once round the disk */
            assert_int_equal(storeworld_write(&w, other, 0, 200), 0);
            settle(&w, other);
        }
        check_block(&w, sh, i, i);
        cw_store_check(w.store);
        storeworld_fini(&w);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_block_keeps_its_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
