#include <string.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "common/codec/frame.h"
#include "common/codec/hash.h"
#include "tests/lib/cw-test.h"

static const struct cw_wire_hdr *
hdr_of(const struct cw_msg *m)
{
    return (const struct cw_wire_hdr *)(const void *)m->head;
}

static const uint64_t *
csums_of(const struct cw_msg *m)
{
    return (const uint64_t *)(const void *)(m->head + sizeof(struct cw_wire_hdr));
}

static int
check_all(const struct cw_msg *m)
{
    const struct cw_wire_hdr *h = hdr_of(m);
    int rc = cw_frame_check_hdr(h);

    if (rc == 0)
        rc = cw_frame_check_csums(h, csums_of(m));
    if (rc == 0)
        rc = cw_frame_check_opaque(h, csums_of(m), csums_of(m) + cw_hdr_n_csums(h));
    return rc;
}

/* A data frame carries its blocks by reference and the checksums it was given. */
static void
data_frame_round_trips(void **state)
{
    struct cw_buf_pool *p = cw_buf_pool_new(8 * CW_MIB);
    struct cw_buf *body = cw_buf_get(p, 2 * CW_BLOCK_SIZE);
    uint64_t csums[2];
    struct cw_wire_hdr h = { .type = CW_FT_WRITE, .shard = 5, .gen = 2, .seq = 9 };
    struct cw_msg *m;

    memset(body->data, 7, 2 * CW_BLOCK_SIZE);
    csums[0] = csums[1] = cw_hash_block(body->data);
    h.lba_nblk = cw_lba_nblk(CW_SHARD_BLOCKS - 2, 2);
    m = cw_frame_data(p, h, csums, body, body->data);
    assert_int_equal(check_all(m), 0);
    assert_int_equal(cw_hdr_lba(hdr_of(m)), CW_SHARD_BLOCKS - 2);
    assert_int_equal(cw_hdr_nblk(hdr_of(m)), 2);
    assert_int_equal(hdr_of(m)->payload_len, 2 * CW_BLOCK_SIZE);
    assert_ptr_equal(m->body, body->data);
    assert_int_equal(cw_hash_verify(m->body, csums_of(m), 2), 2);
    cw_msg_unref(m);
    assert_int_equal(cw_buf_pool_used(p), 0);
    cw_buf_pool_free(p);
}

/* Any one flipped bit of header, array or opaque payload is noticed. */
static void
every_flipped_bit_is_noticed(void **state)
{
    struct cw_buf_pool *p = cw_buf_pool_new(8 * CW_MIB);
    struct cw_wire_nack nack = { .code = CW_NACK_SEQ_GAP };
    struct cw_wire_hdr h = { .type = CW_FT_NACK, .shard = 1, .tag = 3 };
    struct cw_msg *m = cw_frame_opaque(p, h, NULL, &nack, sizeof(nack));

    assert_int_equal(m->head_len, 64 + 8 + sizeof(nack));
    assert_int_equal(check_all(m), 0);
    for (size_t bit = 0; bit < m->head_len * 8u; bit++) {
        m->head[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(check_all(m), 0);
        m->head[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    cw_msg_unref(m);
    cw_buf_pool_free(p);
}

/* Lengths over their limit are refused from the header alone. */
static void
lengths_are_bounded(void **state)
{
    struct cw_wire_hdr h = { .magic = CW_WIRE_MAGIC, .version = CW_WIRE_VERSION };

    h.type = CW_FT_CONTROL;
    h.payload_len = 1024 * 1024;
    assert_int_equal(cw_frame_check_hdr(&h), 0);
    h.payload_len++;
    assert_int_equal(cw_frame_check_hdr(&h), CW_FRAME_E_LENGTH);

    h.type = CW_FT_WRITE;
    h.flags = CW_F_CSUMS | CW_F_DATA;
    h.lba_nblk = cw_lba_nblk(0, CW_IO_BLOCKS_MAX + 1);
    h.payload_len = (CW_IO_BLOCKS_MAX + 1) * CW_BLOCK_SIZE;
    assert_int_equal(cw_frame_check_hdr(&h), CW_FRAME_E_LENGTH);
    h.lba_nblk = cw_lba_nblk(0, 2);
    h.payload_len = 2 * CW_BLOCK_SIZE - 1;
    assert_int_equal(cw_frame_check_hdr(&h), CW_FRAME_E_LENGTH);
    h.payload_len = 2 * CW_BLOCK_SIZE;
    assert_int_equal(cw_frame_check_hdr(&h), 0);
    h.lba_nblk = cw_lba_nblk(CW_SHARD_BLOCKS - 1, 2);
    assert_int_equal(cw_frame_check_hdr(&h), CW_FRAME_E_LENGTH);
    h.flags = CW_F_DATA;
    assert_int_equal(cw_frame_check_hdr(&h), CW_FRAME_E_TYPE);
    h.type = 255;
    assert_int_equal(cw_frame_check_hdr(&h), CW_FRAME_E_TYPE);
}

/* Random headers never get past the limits that a receiver allocates by. */
static void
random_headers_stay_in_bounds(void **state)
{
    struct cw_prng p;
    size_t passed = 0;

    cw_prng_init(&p, 11);
    for (int i = 0; i < 200000; i++) {
        struct cw_wire_hdr h;
        uint64_t words[8];

        for (size_t w = 0; w < 8; w++)
            words[w] = cw_prng_next(&p);
        memcpy(&h, words, sizeof(h));
        h.magic = CW_WIRE_MAGIC;
        h.version = CW_WIRE_VERSION;
        h.type = (uint8_t)cw_prng_below(&p, 80);
        h.flags = (uint16_t)cw_prng_below(&p, 8);
        h.payload_len = (uint32_t)cw_prng_below(&p, 4) * CW_BLOCK_SIZE;
        h.lba_nblk = cw_lba_nblk(cw_prng_below(&p, 100), (uint32_t)cw_prng_below(&p, 4));
        if (cw_frame_check_hdr(&h) != 0)
            continue;
        passed++;
        assert_true(cw_hdr_n_csums(&h) <= CW_FRAME_CSUMS_MAX);
        assert_true(h.payload_len <= CW_FRAME_OPAQUE_MAX);
    }
    assert_true(passed > 1000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_frame_round_trips),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(random_headers_stay_in_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
