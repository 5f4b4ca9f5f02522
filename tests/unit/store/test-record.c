#include <string.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "common/codec/hash.h"
#include "daemon/store/store-internal.h"
#include "tests/lib/cw-test.h"

/* A whole record is parsed to its parts, and every shorter piece of it is refused. */
static void
records_are_parsed_whole_or_not_at_all(void **state)
{
    uint64_t area[64] = { 0 };
    uint8_t *p = (uint8_t *)area;
    struct cw_rec_desc d = {
        .type = CW_REC_WRITE,
        .flags = CW_RF_MODES,
        .nblk = 3,
        .lba = 255,
        .clen = 2,
        .payload_off = 8,
    };
    uint64_t csums[3] = { 1, CW_HASH_ZERO_BLOCK, 3 };
    uint32_t len = sizeof(d) + sizeof(csums) + 8;
    struct rec_view v;

    memcpy(p, &d, sizeof(d));
    memcpy(p + sizeof(d), csums, sizeof(csums));
    assert_true(record_parse(p, p + len, 3 * 4096, &v));
    assert_int_equal(v.n_csums, 3);
    assert_int_equal(v.n_payload, 2);
    assert_ptr_equal(v.next, p + len);
    assert_false(record_parse(p, p + len, 2 * 4096, &v)); /* its payload would end behind */
    for (uint32_t i = 0; i < len; i++)
        assert_false(record_parse(p, p + i, 3 * 4096, &v));
}

/* Random bytes, and good records with random bytes in them, never lead out of the area. */
static void
noise_is_refused_or_stays_in_bounds(void **state)
{
    struct cw_prng rnd;
    uint64_t area[40];
    uint8_t *p = (uint8_t *)area;

    cw_prng_init(&rnd, 5);
    for (uint32_t i = 0; i < 200000; i++) {
        struct rec_view v;

        for (size_t k = 0; k < CW_LEN(area); k++)
            area[k] = cw_prng_below(&rnd, 3) == 0 ? cw_prng_next(&rnd) : 0;
        p[0] = (uint8_t)cw_prng_below(&rnd, CW_REC_TYPES + 1);
        p[1] = 0;
        area[0] &= 0x1f00ffffffULL | (uint64_t)0xff << 32;
        area[2] &= 0xff000000ffULL;
        if (!record_parse(p, p + sizeof(area), 64 * 4096, &v))
            continue;
        assert_true(v.next <= p + sizeof(area));
        assert_true(v.body + v.d.clen <= v.next);
        assert_true(v.n_payload <= v.n_csums);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_parsed_whole_or_not_at_all),
        cmocka_unit_test(noise_is_refused_or_stays_in_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
