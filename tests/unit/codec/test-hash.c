#include <string.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "common/codec/hash.h"
#include "tests/lib/cw-test.h"

static void
zero_block_is_known(void **state)
{
    static uint8_t block[CW_BLOCK_SIZE];

    assert_int_equal(cw_hash_block(block), CW_HASH_ZERO_BLOCK);
    assert_true(cw_block_is_zero(block));
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] = 1;
        assert_false(cw_block_is_zero(block));
        block[i] = 0;
    }
}

/* Hashing in two pieces gives the hash of the whole, wherever the cut is. */
static void
pieces_hash_as_the_whole(void **state)
{
    uint8_t bytes[600];
    struct cw_prng p;

    cw_prng_init(&p, 1);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)cw_prng_next(&p);
    for (size_t cut = 0; cut <= sizeof(bytes); cut++)
        assert_int_equal(cw_hash2(bytes, cut, bytes + cut, sizeof(bytes) - cut),
                         cw_hash(bytes, sizeof(bytes)));
}

/* Verification names the first block that differs. */
static void
verify_finds_the_block(void **state)
{
    static uint8_t blocks[8 * CW_BLOCK_SIZE], copy[CW_BLOCK_SIZE];
    uint64_t csums[8];

    for (size_t i = 0; i < 8; i++) {
        memset(blocks + i * CW_BLOCK_SIZE, (int)i, CW_BLOCK_SIZE);
        csums[i] = cw_hash_copy_block(copy, blocks + i * CW_BLOCK_SIZE);
        assert_memory_equal(copy, blocks + i * CW_BLOCK_SIZE, CW_BLOCK_SIZE);
    }
    assert_int_equal(cw_hash_verify(blocks, csums, 8), 8);
    blocks[5 * CW_BLOCK_SIZE + 77] ^= 4;
    assert_int_equal(cw_hash_verify(blocks, csums, 8), 5);
    assert_int_equal(cw_hash_verify(blocks, csums, 5), 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_block_is_known),
        cmocka_unit_test(pieces_hash_as_the_whole),
        cmocka_unit_test(verify_finds_the_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
