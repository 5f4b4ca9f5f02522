/* Runs of blocks become smaller and come back; bytes that are no such frame are refused. */
#include <string.h>

#include "common/base/bits.h"
#include "common/codec/compress.h"
#include "tests/lib/cw-test.h"

#define LEN 65536u

static void
fill(uint8_t *to, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(i % 251 * (i / 1024));
}

static void
what_is_packed_comes_back(void **state)
{
    static uint8_t plain[LEN], packed[LEN], again[LEN];
    struct cw_compressor *c = cw_compressor_new();
    size_t n;

    assert_non_null(c);
    fill(plain, LEN);
    for (size_t len = 4096; len <= LEN; len += 4096) {
        n = cw_compress(c, packed, len - len / 8, plain, len);
        assert_true(n > 0 && n <= len - len / 8);
        memset(packed + n, 0xa5, LEN - n); /* what follows is not looked at */
        memset(again, 0, LEN);
        assert_true(cw_decompress(c, again, len, packed, LEN));
        assert_memory_equal(plain, again, len);
    }
    cw_compressor_free(c);
}

static void
what_does_not_fit_is_refused(void **state)
{
    static uint8_t plain[LEN], packed[LEN];
    struct cw_compressor *c = cw_compressor_new();
    uint64_t x = 1;

    for (size_t i = 0; i < LEN; i += 8) {
        x = cw_mix64(x + i);
        memcpy(plain + i, &x, 8);
    }
    assert_int_equal(cw_compress(c, packed, LEN - LEN / 8, plain, LEN), 0);
    cw_compressor_free(c);
}

/* Every flipped bit, every cut and the wrong length: refused, or at least nothing outside is
 * touched (the checksums of the blocks tell the rest). */
static void
other_bytes_do_no_harm(void **state)
{
    static uint8_t plain[4096], packed[4096], bad[4096], again[4096 + 64];
    struct cw_compressor *c = cw_compressor_new();
    size_t n;

    fill(plain, sizeof(plain));
    memset(again + 4096, 0x5a, 64);
    n = cw_compress(c, packed, sizeof(packed), plain, sizeof(plain));
    assert_true(n > 0);
    assert_false(cw_decompress(c, again, 2048, packed, n));
    for (size_t cut = 0; cut < n; cut++)
        assert_false(cw_decompress(c, again, 4096, packed, cut));
    for (size_t bit = 0; bit < n * 8; bit++) {
        memcpy(bad, packed, n);
        bad[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        cw_decompress(c, again, 4096, bad, n);
        for (size_t i = 0; i < 64; i++)
            assert_int_equal(again[4096 + i], 0x5a);
    }
    assert_true(cw_decompress(c, again, 4096, packed, n));
    assert_memory_equal(again, plain, 4096);
    cw_compressor_free(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(other_bytes_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
