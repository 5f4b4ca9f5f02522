#include "tests/lib/cw-test.h"

#include <string.h>

#include "client/admin/load.h"
#include "client/admin/progress.h"
#include "client/admin/text.h"
#include "client/admin/zeroes.h"
#include "common/base/bits.h"
#include "common/base/histogram.h"
#include "common/base/name.h"

/* Times have at most two units, the larger first. */
static void
seconds_are_short(void **state)
{
    char t[CW_TEXT_SIZE];

    assert_string_equal(cw_text_seconds(0, t), "0s");
    assert_string_equal(cw_text_seconds(59, t), "59s");
    assert_string_equal(cw_text_seconds(360, t), "6m");
    assert_string_equal(cw_text_seconds(41 * 60 + 12, t), "41m12s");
    assert_string_equal(cw_text_seconds(2 * 3600 + 10 * 60 + 5, t), "2h10m");
    assert_string_equal(cw_text_seconds(86400 * 3 + 3600 * 4, t), "3d4h");
}

/* Latencies, counts, rates and percentages keep about three digits. */
static void
numbers_are_short(void **state)
{
    char t[CW_TEXT_SIZE];

    assert_string_equal(cw_text_latency(0, t), "-");
    assert_string_equal(cw_text_latency(410 * 1000, t), "410 us");
    assert_string_equal(cw_text_latency(920 * 1000, t), "0.92 ms");
    assert_string_equal(cw_text_latency(1400 * 1000, t), "1.4 ms");
    assert_string_equal(cw_text_latency(34 * 1000 * 1000, t), "34 ms");
    assert_string_equal(cw_text_latency(2100ull * 1000 * 1000, t), "2.1 s");
    assert_string_equal(cw_text_count(950, t), "950");
    assert_string_equal(cw_text_count(22700, t), "22.7k");
    assert_string_equal(cw_text_count(999999, t), "1.0M");
    assert_string_equal(cw_text_count(UINT64_MAX, t), "18.4E");
    assert_string_equal(cw_text_percent(61, 100, t), "61%");
    assert_string_equal(cw_text_percent(999, 1000, t), "99%");
    assert_string_equal(cw_text_percent(UINT64_MAX, UINT64_MAX, t), "100%");
    assert_string_equal(cw_text_percent(0, 0, t), "-");
    assert_string_equal(cw_text_rate(310e6, t), "310 MB/s");
    assert_string_equal(cw_text_rate(4200, t), "4 kB/s");
}

/* A name has 1 to 63 letters, digits, dots, dashes, underscores, and begins with no sign. */
static void
names_are_checked(void **state)
{
    char long_name[65];

    memset(long_name, 'a', 64);
    long_name[64] = '\0';
    assert_true(cw_name_ok("vm1"));
    assert_true(cw_name_ok("1.a_b-C"));
    assert_true(cw_name_ok(long_name + 1));
    assert_false(cw_name_ok(long_name));
    assert_false(cw_name_ok(""));
    assert_false(cw_name_ok("-a"));
    assert_false(cw_name_ok("a/b"));
    assert_false(cw_name_ok("a b"));
    assert_false(cw_name_ok("\xc3\xa4"));
}

/* The age of an RFC 3339 time; nonsense and the future have none. */
static void
ages_are_counted(void **state)
{
    assert_int_equal(cw_text_age_seconds("2026-01-02T03:04:05Z", 1767323045 + 61), 61);
    assert_int_equal(cw_text_age_seconds("2026-01-02T03:04:05Z", 1767323045 - 61), 0);
    assert_int_equal(cw_text_age_seconds("yesterday", 1767323045), 0);
    assert_int_equal(cw_text_age_seconds("", 1767323045), 0);
}

/* A progress line says percent, rate and what is left; nothing is left at the end. */
static void
progress_says_what_is_left(void **state)
{
    char t[CW_PROGRESS_TEXT_SIZE];

    cw_progress_format("import", CW_GIB, 4 * CW_GIB, 2 * CW_NS_PER_S, t);
    assert_string_equal(t, "import: 25%  1G of 4G  537 MB/s  7s left");
    cw_progress_format("import", 4 * CW_GIB, 4 * CW_GIB, 8 * CW_NS_PER_S, t);
    assert_null(strstr(t, "left"));
    cw_progress_format("import", 0, 0, 0, t);
    assert_null(strstr(t, "left"));
}

/* What was not measured is left out. */
static void
links_read_well(void **state)
{
    char t[CW_TEXT_LINK_SIZE];

    assert_string_equal(cw_text_link(34 * CW_NS_PER_MS, 26500000, t), "rtt 34 ms  link 212 Mb/s");
    assert_string_equal(cw_text_link(CW_NS_PER_MS / 10 * 9, 0, t), "rtt 0.90 ms");
    assert_string_equal(cw_text_link(0, 2000000000, t), "link 16.0 Gb/s");
    assert_string_equal(cw_text_link(0, 0, t), "");
}

/* Percentiles of 1..100000 are within 1.6 % of the truth, and never above the largest. */
static void
percentiles_are_close(void **state)
{
    static struct cw_histogram h;

    cw_histogram_reset(&h);
    assert_int_equal(cw_histogram_percentile(&h, 990), 0);
    for (uint64_t i = 1; i <= 100000; i++)
        cw_histogram_add(&h, i);
    assert_in_range(cw_histogram_percentile(&h, 500), 50000, 50800);
    assert_in_range(cw_histogram_percentile(&h, 990), 99000, 100000);
    assert_in_range(cw_histogram_percentile(&h, 999), 99900, 100000);
    assert_int_equal(cw_histogram_percentile(&h, 1000), 100000);
    assert_int_equal(h.min_ns, 1);
    assert_int_equal(cw_histogram_mean(&h), 50000);
    cw_histogram_add(&h, UINT64_MAX);
    assert_int_equal(cw_histogram_percentile(&h, 1000), UINT64_MAX);
}

/* Runs of blocks that hold something are found whole, a short last block included. */
static void
zeroes_are_skipped(void **state)
{
    static uint8_t data[5 * 4096 + 100];
    uint64_t at = 0, len;

    assert_true(cw_zeroes_only(data, sizeof(data)));
    assert_false(cw_zeroes_next_run(data, sizeof(data), &at, &len));
    data[4096 + 4095] = 1;
    data[2 * 4096] = 1;
    data[5 * 4096 + 99] = 1;
    at = 0;
    assert_true(cw_zeroes_next_run(data, sizeof(data), &at, &len));
    assert_int_equal(at, 4096);
    assert_int_equal(len, 2 * 4096);
    at += len;
    assert_true(cw_zeroes_next_run(data, sizeof(data), &at, &len));
    assert_int_equal(at, 5 * 4096);
    assert_int_equal(len, 100);
    at += len;
    assert_false(cw_zeroes_next_run(data, sizeof(data), &at, &len));
}

/* fio's names of loads mean what they mean there. */
static void
loads_have_names(void **state)
{
    enum cw_load_kind kind;
    bool random;

    assert_true(cw_load_parse_rw("randrw", &kind, &random));
    assert_int_equal(kind, CW_LOAD_MIXED);
    assert_true(random);
    assert_true(cw_load_parse_rw("write", &kind, &random));
    assert_int_equal(kind, CW_LOAD_WRITE);
    assert_false(random);
    assert_false(cw_load_parse_rw("randtrim", &kind, &random));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seconds_are_short),          cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(names_are_checked),          cmocka_unit_test(ages_are_counted),
        cmocka_unit_test(progress_says_what_is_left), cmocka_unit_test(links_read_well),
        cmocka_unit_test(percentiles_are_close),      cmocka_unit_test(zeroes_are_skipped),
        cmocka_unit_test(loads_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
