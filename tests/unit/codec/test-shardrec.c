#include <string.h>

#include "common/codec/shardrec.h"
#include "proto/wire.h"
#include "tests/lib/cw-test.h"

static struct cw_shard_rec
a_record(void)
{
    struct cw_shard_rec r = {
        .shard = CW_SHARD_ID(77, 3),
        .gen = 4,
        .cfg = 9,
        .lineage = 5,
        .n_blocks = 1000,
        .n_members = 3,
    };

    for (uint32_t i = 0; i < r.n_members; i++) {
        r.members[i].disk_uuid = cw_uuid_from_random(i, i + 1);
        r.members[i].format_id = 100 + i;
        r.members[i].state = (enum cw_member_state)(CW_MEMBER_INSYNC + i);
        r.members[i].since_seq = 10 * i;
    }
    return r;
}

static void
record_round_trips(void **state)
{
    struct cw_shard_rec r = a_record(), got;
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];
    size_t len = cw_shard_rec_encode(&r, bytes);

    assert_true(cw_shard_rec_decode(bytes, len, &got));
    assert_int_equal(CW_SHARD_VOLUME(got.shard), 77);
    assert_int_equal(CW_SHARD_INDEX(got.shard), 3);
    assert_int_equal(got.cfg, 9);
    assert_int_equal(got.n_members, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct cw_member *m = cw_shard_rec_find(&got, &r.members[i].disk_uuid, 100 + i);

        assert_non_null(m);
        assert_int_equal(m->state, r.members[i].state);
        assert_int_equal(m->since_seq, 10 * i);
        assert_null(cw_shard_rec_find(&got, &r.members[i].disk_uuid, 999));
    }
}

/* No prefix, no longer text and no impossible field is taken for a record. */
static void
record_bytes_are_not_trusted(void **state)
{
    struct cw_shard_rec r = a_record(), got;
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX + 1] = { 0 };
    size_t len = cw_shard_rec_encode(&r, bytes);

    for (size_t cut = 0; cut <= sizeof(bytes); cut++)
        assert_int_equal(cw_shard_rec_decode(bytes, cut, &got), cut == len);
    r.n_blocks = CW_SHARD_BLOCKS + 1;
    len = cw_shard_rec_encode(&r, bytes);
    assert_false(cw_shard_rec_decode(bytes, len, &got));
    r = a_record();
    r.members[1].state = (enum cw_member_state)77;
    len = cw_shard_rec_encode(&r, bytes);
    assert_false(cw_shard_rec_decode(bytes, len, &got));
}

/* The head as the version before the field wrote it, byte by byte: off; and what is written now
 * lies where that version had zeroes that it did not look at, so it reads the rest as before. */
static void
record_compression_agrees_with_the_version_before(void **state)
{
    static const uint8_t old[40] = {
        3, 0, 77, 0, 0, 0, 0, 0, 4,    0, 0, 0, 9, 0, 0, 0, /* shard, gen, cfg */
        5, 0, 0,  0, 0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0, /* lineage, n_blocks, n_members */
    };
    struct cw_shard_rec r = a_record(), got;
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];

    assert_true(cw_shard_rec_decode(old, sizeof(old), &got));
    assert_int_equal(got.compression, CW_COMPRESSION_OFF);
    r.n_members = 0;
    for (int c = CW_COMPRESSION_OFF; c <= CW_COMPRESSION_INLINE; c++) {
        r.compression = (enum cw_compression)c;
        assert_int_equal(cw_shard_rec_encode(&r, bytes), sizeof(old));
        assert_memory_equal(bytes, old, 32);
        assert_int_equal(bytes[32], c);
        assert_memory_equal(bytes + 33, old + 33, 7);
        assert_true(cw_shard_rec_decode(bytes, sizeof(old), &got));
        assert_int_equal(got.compression, c);
    }
    bytes[32] = CW_COMPRESSION_INLINE + 1;
    assert_false(cw_shard_rec_decode(bytes, sizeof(old), &got));
}

static void
compression_has_a_name(void **state)
{
    enum cw_compression got = CW_COMPRESSION_INLINE;

    for (int c = CW_COMPRESSION_OFF; c <= CW_COMPRESSION_INLINE; c++) {
        assert_true(cw_compression_parse(cw_compression_name((enum cw_compression)c), &got));
        assert_int_equal(got, c);
    }
    assert_false(cw_compression_parse("", &got));
    assert_false(cw_compression_parse("inlined", &got));
    assert_int_equal(got, CW_COMPRESSION_INLINE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_round_trips),
        cmocka_unit_test(record_bytes_are_not_trusted),
        cmocka_unit_test(record_compression_agrees_with_the_version_before),
        cmocka_unit_test(compression_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
