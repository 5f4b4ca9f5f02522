#include "daemon/manager/level.h"

#include <string.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "tests/lib/cw-test.h"

#define DISKS_MAX 12
#define COPIES_MAX 60

struct shelf {
    struct cw_level_disk disks[DISKS_MAX];
    size_t n;
    uint32_t at[COPIES_MAX];
    uint64_t bytes[COPIES_MAX];
};

static void
shelf_random(struct shelf *s, struct cw_prng *p)
{
    memset(s, 0, sizeof(*s));
    s->n = 2 + cw_prng_below(p, DISKS_MAX - 1);
    for (size_t i = 0; i < s->n; i++)
        s->disks[i] = (struct cw_level_disk){ .site_no = 1 + (uint32_t)cw_prng_below(p, 2),
                                              .total_bytes = (50 + cw_prng_below(p, 200)) * CW_GIB,
                                              .gives = true,
                                              .takes = true };
    for (size_t i = 0; i < COPIES_MAX; i++) {
        struct cw_level_disk *d = &s->disks[cw_prng_below(p, 2) * cw_prng_below(p, s->n)];
        uint64_t bytes = cw_prng_below(p, 20 * CW_GIB);

        s->at[i] = (uint32_t)(d - s->disks);
        if (d->used_bytes + bytes > d->total_bytes)
            continue;
        s->bytes[i] = bytes;
        d->used_bytes += bytes;
    }
}

static uint64_t
squares(const struct shelf *s)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < s->n; i++) {
        uint64_t fill = s->disks[i].used_bytes / (s->disks[i].total_bytes / 100000);

        sum += fill * s->disks[i].used_bytes / CW_MIB;
    }
    return sum;
}

/* As rebalance.c does: the largest that improves; a disk without one gives nothing. */
static bool
move_one(struct shelf *s, uint32_t *ret_copy, size_t *ret_from)
{
    struct cw_level_disk now[DISKS_MAX];
    size_t from, to;

    memcpy(now, s->disks, sizeof(now));
    while (cw_level_pick(now, s->n, &from, &to)) {
        uint32_t best = COPIES_MAX;

        for (uint32_t i = 0; i < COPIES_MAX; i++) {
            if (s->at[i] == from && (best == COPIES_MAX || s->bytes[i] > s->bytes[best]) &&
                cw_level_improves(&now[from], &now[to], s->bytes[i]))
                best = i;
        }
        now[from].gives = false;
        if (best == COPIES_MAX)
            continue;
        s->disks[from].used_bytes -= s->bytes[best];
        s->disks[to].used_bytes += s->bytes[best];
        s->at[best] = (uint32_t)to;
        *ret_copy = best;
        *ret_from = from;
        return true;
    }
    return false;
}

/* Over random disks and copies: every move makes the load more even, so it ends, soon; no move is
 * taken back by the next ones of the same copy between the same disks. */
static void
levelling_ends_and_never_oscillates(void **state)
{
    struct cw_prng p;
    uint32_t moved = 0;

    cw_prng_init(&p, 21);
    for (int round = 0; round < 3000; round++) {
        struct shelf s;
        uint32_t copy, n = 0;
        size_t from;
        uint64_t before;
        bool left[COPIES_MAX][DISKS_MAX] = { { false } };

        shelf_random(&s, &p);
        before = squares(&s);
        while (move_one(&s, &copy, &from)) {
            uint64_t after = squares(&s);

            assert_true(after <= before);
            assert_false(left[copy][s.at[copy]] && left[copy][from]);
            left[copy][from] = true;
            before = after;
            assert_true(++n <= 4 * COPIES_MAX);
        }
        moved += n;
    }
    assert_true(moved > 3000);
}

/* What differs by less stays, another site does not count, and a nearly full disk is relieved by
 * smaller differences. */
static void
begins_only_when_it_should(void **state)
{
    struct cw_level_disk d[2] = {
        { .site_no = 1, .used_bytes = 50 * CW_GIB, .total_bytes = 100 * CW_GIB, true, true },
        { .site_no = 1, .used_bytes = 25 * CW_GIB, .total_bytes = 100 * CW_GIB, true, true },
    };
    size_t from, to;

    assert_false(cw_level_pick(d, 2, &from, &to));
    d[0].used_bytes = 56 * CW_GIB;
    assert_true(cw_level_pick(d, 2, &from, &to));
    assert_int_equal(from, 0);
    assert_int_equal(to, 1);
    assert_true(cw_level_improves(&d[0], &d[1], 15 * CW_GIB));
    assert_false(cw_level_improves(&d[0], &d[1], 16 * CW_GIB));
    assert_false(cw_level_improves(&d[0], &d[1], 0));
    d[1].site_no = 2;
    assert_false(cw_level_pick(d, 2, &from, &to));
    d[1].site_no = 1;
    d[1].takes = false;
    assert_false(cw_level_pick(d, 2, &from, &to));
    d[1].takes = true;
    d[0].used_bytes = 82 * CW_GIB;
    d[1].used_bytes = 70 * CW_GIB;
    assert_true(cw_level_pick(d, 2, &from, &to));
    d[1].used_bytes = 75 * CW_GIB;
    assert_false(cw_level_pick(d, 2, &from, &to));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levelling_ends_and_never_oscillates),
        cmocka_unit_test(begins_only_when_it_should),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
