/* Virtqueues in memory: what drivers do, what they never do, and back ends that are killed. */
#include <errno.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/vhost/driver.h"

#define DATA (DRIVER_BASE + DRIVER_DATA)

/* ---- chains ---- */

/* Chains come out as they went in, and go back in any order; indices wrap many times. */
static void
chains_go_round(void **state)
{
    for (int packed = 0; packed < 2; packed++) {
        struct driver *d = driver_new(packed, 16, false);

        for (uint32_t turn = 0; turn < 70000; turn++) {
            struct cw_vq_token t[3];
            uint32_t id, len;

            for (uint16_t i = 0; i < 3; i++)
                driver_add(d, i * 2);
            for (uint16_t i = 0; i < 3; i++) {
                assert_int_equal(driver_pop(d), 1);
                assert_int_equal(d->chain->token.id, i * 2);
                assert_int_equal(d->chain->n_out, 1);
                assert_int_equal(d->chain->n_in, 1);
                assert_true(d->chain->seg[1].addr == DATA + i * 128u + 64);
                t[i] = d->chain->token;
            }
            assert_int_equal(driver_pop(d), 0);
            for (uint32_t i = 0; i < 3; i++) {
                uint32_t which = (i + turn) % 3;

                cw_vq_push(d->vq, &t[which], 7 + i);
                assert_true(driver_reap(d, 2, &id, &len));
                assert_int_equal(id, which * 2);
                assert_int_equal(len, 7 + i);
            }
            assert_false(driver_reap(d, 2, &id, &len));
            assert_int_equal(d->vq->n_flying, 0);
        }
        driver_free(d);
    }
}

/* An indirect table may stand alone, or (split) at the end of a chain. */
static void
indirect_tables_are_followed(void **state)
{
    struct driver *d = driver_new(false, 8, false);
    struct cw_virtq_desc table[2] = {
        { .addr = DATA, .len = 16, .flags = CW_VIRTQ_NEXT, .next = 1 },
        { .addr = DATA + 64, .len = 1, .flags = CW_VIRTQ_WRITE }
    };
    struct cw_packed_desc flat[2] = { { .addr = DATA, .len = 16 },
                                      { .addr = DATA + 64, .len = 1, .flags = CW_VIRTQ_WRITE } };

    memcpy(d->mem + DRIVER_DATA + 4096, table, sizeof(table));
    driver_put_desc(d, 3, DATA + 128, 8, CW_VIRTQ_NEXT, 4);
    driver_put_desc(d, 4, DATA + 4096, sizeof(table), CW_VIRTQ_INDIRECT, 0);
    driver_offer(d, 3);
    assert_int_equal(driver_pop(d), 1);
    assert_int_equal(d->chain->n_out, 2);
    assert_int_equal(d->chain->n_in, 1);
    assert_int_equal(d->chain->out_len, 24);
    driver_free(d);

    d = driver_new(true, 8, false);
    memcpy(d->mem + DRIVER_DATA + 4096, flat, sizeof(flat));
    *driver_slot(d, 0) = (struct cw_packed_desc){ .addr = DATA + 4096,
                                                  .len = sizeof(flat),
                                                  .flags = CW_VIRTQ_INDIRECT | CW_PACKED_AVAIL };
    assert_int_equal(driver_pop(d), 1);
    assert_int_equal(d->chain->n_out, 1);
    assert_int_equal(d->chain->n_in, 1);
    assert_int_equal(d->chain->token.n_slots, 1);
    driver_free(d);
}

/* ---- nonsense ---- */

static void
offer_outside(struct driver *d)
{
    driver_offer(d, 8);
}

static void
jump(struct driver *d)
{
    ((struct cw_virtq_avail *)(void *)(d->mem + DRIVER_AVAIL))->idx = 9;
}

static void
twice(struct driver *d)
{
    driver_add(d, 0);
    assert_int_equal(driver_pop(d), 1);
    driver_offer(d, 0);
}

static void
next_outside(struct driver *d)
{
    driver_put_desc(d, 0, DATA, 16, CW_VIRTQ_NEXT, 8);
    driver_offer(d, 0);
}

static void
loop(struct driver *d)
{
    driver_put_desc(d, 0, DATA, 16, CW_VIRTQ_NEXT, 1);
    driver_put_desc(d, 1, DATA, 16, CW_VIRTQ_NEXT, 0);
    driver_offer(d, 0);
}

static void
self(struct driver *d)
{
    driver_put_desc(d, 5, DATA, 16, CW_VIRTQ_NEXT, 5);
    driver_offer(d, 5);
}

static void
wrong_way(struct driver *d)
{
    driver_put_desc(d, 0, DATA, 16, CW_VIRTQ_WRITE | CW_VIRTQ_NEXT, 1);
    driver_put_desc(d, 1, DATA, 16, 0, 0);
    driver_offer(d, 0);
}

static void
empty(struct driver *d)
{
    driver_put_desc(d, 0, DATA, 0, 0, 0);
    driver_offer(d, 0);
}

static void
huge(struct driver *d)
{
    driver_put_desc(d, 0, DATA, UINT32_MAX, CW_VIRTQ_NEXT, 1);
    driver_put_desc(d, 1, DATA, 1, 0, 0);
    driver_offer(d, 0);
}

static void
table_of(struct driver *d, uint64_t addr, uint32_t len, uint16_t flags)
{
    driver_put_desc(d, 0, addr, len, flags | CW_VIRTQ_INDIRECT, 1);
    driver_offer(d, 0);
}

static void
table_odd(struct driver *d)
{
    table_of(d, DATA, 17, 0);
}

static void
table_empty(struct driver *d)
{
    table_of(d, DATA, 0, 0);
}

static void
table_long(struct driver *d)
{
    table_of(d, DATA, (CW_VQ_SIZE_MAX + 1) * 16, 0);
}

static void
table_outside(struct driver *d)
{
    table_of(d, DRIVER_BASE + DRIVER_MEM - 16, 32, 0);
}

static void
table_nowhere(struct driver *d)
{
    table_of(d, UINT64_MAX - 8, 32, 0);
}

static void
table_before_more(struct driver *d)
{
    table_of(d, DATA, 32, CW_VIRTQ_NEXT);
}

static void
table_in_table(struct driver *d)
{
    struct cw_virtq_desc t = { .addr = DATA, .len = 16, .flags = CW_VIRTQ_INDIRECT };

    memcpy(d->mem + DRIVER_DATA, &t, sizeof(t));
    table_of(d, DATA, 16, 0);
}

static void
table_loop(struct driver *d)
{
    struct cw_virtq_desc t = { .addr = DATA, .len = 16, .flags = CW_VIRTQ_NEXT, .next = 0 };

    memcpy(d->mem + DRIVER_DATA, &t, sizeof(t));
    table_of(d, DATA, 16, 0);
}

static void
table_next_outside(struct driver *d)
{
    struct cw_virtq_desc t = { .addr = DATA, .len = 16, .flags = CW_VIRTQ_NEXT, .next = 1 };

    memcpy(d->mem + DRIVER_DATA, &t, sizeof(t));
    table_of(d, DATA, 16, 0);
}

static void
table_not_negotiated(struct driver *d)
{
    d->vq->indirect = false;
    table_of(d, DATA, 16, 0);
}

static void
packed_endless(struct driver *d)
{
    for (uint16_t i = 0; i < 8; i++)
        *driver_slot(d, i) = (struct cw_packed_desc){ .addr = DATA,
                                                      .len = 1,
                                                      .flags = CW_VIRTQ_NEXT | CW_PACKED_AVAIL };
}

static void
packed_table_in_chain(struct driver *d)
{
    packed_endless(d);
    driver_slot(d, 1)->flags = CW_VIRTQ_INDIRECT | CW_PACKED_AVAIL;
}

static void
packed_too_many(struct driver *d)
{
    for (uint16_t i = 0; i < 4; i++) {
        driver_add(d, i);
        assert_int_equal(driver_pop(d), 1);
    }
    driver_add(d, 7); /* over the first, which is under way */
}

/* Each makes the ring unusable, says why, and touches nothing outside. */
static void
nonsense_breaks_the_ring(void **state)
{
    static void (*const split[])(struct driver *) = {
        offer_outside,
        jump,
        twice,
        next_outside,
        loop,
        self,
        wrong_way,
        empty,
        huge,
        table_odd,
        table_empty,
        table_long,
        table_outside,
        table_nowhere,
        table_before_more,
        table_in_table,
        table_loop,
        table_next_outside,
        table_not_negotiated,
    };
    static void (*const packed[])(struct driver *) = { packed_endless, packed_table_in_chain,
                                                       packed_too_many };

    for (size_t i = 0; i < CW_LEN(split) + CW_LEN(packed); i++) {
        bool is_packed = i >= CW_LEN(split);
        struct driver *d = driver_new(is_packed, 8, i % 2 == 0);

        (is_packed ? packed[i - CW_LEN(split)] : split[i])(d);
        assert_int_equal(driver_pop(d), -EPROTO);
        assert_non_null(d->vq->why);
        assert_int_equal(driver_pop(d), -EPROTO);
        assert_false(cw_vq_rearm(d->vq));
        driver_free(d);
    }
}

static void
rings_lie_in_memory_and_are_aligned(void **state)
{
    struct driver *d = driver_new(false, 8, false);

    d->vq->started = false;
    d->vq->used_user = DRIVER_BASE + DRIVER_USER + DRIVER_MEM - 16;
    assert_int_equal(cw_vq_start(d->vq, &d->guest, NULL), -EFAULT);
    d->vq->used_user = DRIVER_BASE + DRIVER_USER + DRIVER_USED + 2;
    assert_int_equal(cw_vq_start(d->vq, &d->guest, NULL), -EINVAL);
    d->vq->used_user = UINT64_MAX - 1;
    assert_int_equal(cw_vq_start(d->vq, &d->guest, NULL), -EFAULT);
    driver_free(d);
}

/* ---- telling ---- */

static void
one_request(struct driver *d)
{
    driver_add(d, 0);
    assert_int_equal(driver_pop(d), 1);
    cw_vq_push(d->vq, &d->chain->token, 1);
}

static void
take_back(struct driver *d)
{
    uint32_t id, len;

    while (driver_reap(d, 2, &id, &len)) {
    }
}

static void
drivers_are_told_when_they_want_it(void **state)
{
    for (int packed = 0; packed < 2; packed++) {
        struct driver *d = driver_new(packed, 8, false);
        uint16_t *flags = (uint16_t *)(void *)(d->mem + DRIVER_AVAIL + (packed ? 2 : 0));

        one_request(d);
        assert_true(cw_vq_signal_due(d->vq));
        take_back(d);
        *flags = 1; /* none, please: the same number in both forms */
        one_request(d);
        assert_false(cw_vq_signal_due(d->vq));
        driver_free(d);
    }
}

/* Only when the entry that the driver named has been passed; also over the end of a packed ring. */
static void
events_are_passed(void **state)
{
    for (int packed = 0; packed < 2; packed++) {
        struct driver *d = driver_new(packed, 8, false);
        uint16_t *event = (uint16_t *)(void *)(d->mem + DRIVER_AVAIL + (packed ? 0 : 4 + 2 * 8));

        d->vq->event_idx = true;
        ((uint16_t *)(void *)(d->mem + DRIVER_AVAIL))[1] = packed ? CW_PACKED_EVENT_DESC : 0;
        one_request(d);
        assert_true(cw_vq_signal_due(d->vq)); /* the first time we cannot know */
        take_back(d);
        for (uint32_t n = 1; n < 40; n += 2) {
            uint32_t at = 2 * (n + 1) % 8, lap = 2 * (n + 1) / 8;

            *event = packed ? (uint16_t)(at | (lap % 2 == 0) << 15) : (uint16_t)(n + 1);
            one_request(d); /* before the one that is named */
            take_back(d);
            assert_false(cw_vq_signal_due(d->vq));
            one_request(d);
            take_back(d);
            assert_true(cw_vq_signal_due(d->vq));
        }
        driver_free(d);
    }
}

static void
a_driver_that_added_meanwhile_is_seen(void **state)
{
    struct driver *d = driver_new(false, 8, false);

    d->vq->event_idx = true;
    assert_false(cw_vq_rearm(d->vq));
    driver_add(d, 0);
    assert_true(cw_vq_rearm(d->vq));
    assert_int_equal(driver_pop(d), 1);
    assert_false(cw_vq_rearm(d->vq));
    assert_int_equal(*(uint16_t *)(void *)(d->mem + DRIVER_USED + 4 + 8 * 8), 1);
    driver_free(d);
}

/* ---- in flight ---- */

/* What was taken and not given back comes again, in the old order, then what is new. */
static void
a_killed_back_end_goes_on(void **state)
{
    for (int packed = 0; packed < 2; packed++) {
        struct driver *d = driver_new(packed, 16, true);

        for (uint32_t lap = 0; lap < 50; lap++) {
            struct cw_vq_token t[6];
            uint32_t id, len, seen = 0;

            for (uint16_t i = 0; i < 6; i++)
                driver_add(d, i * 2);
            for (uint16_t i = 0; i < 5; i++) {
                assert_int_equal(driver_pop(d), 1);
                t[i] = d->chain->token;
            }
            cw_vq_push(d->vq, &t[3], 1);
            cw_vq_push(d->vq, &t[0], 1);
            assert_true(driver_reap(d, 2, &id, &len));
            assert_int_equal(id, 6);
            assert_true(driver_reap(d, 2, &id, &len));
            assert_int_equal(driver_restart(d), 0);
            assert_int_equal(d->vq->n_again, 3);
            for (uint16_t i = 0; i < 4; i++) {
                static const uint16_t want[] = { 2, 4, 8, 10 };

                assert_int_equal(driver_pop(d), 1);
                assert_int_equal(d->chain->token.id, want[i]);
                assert_int_equal(d->chain->n_out, 1);
                assert_int_equal(d->chain->n_in, 1);
                assert_true(d->chain->seg[0].addr == DATA + want[i] * 64u);
                t[i] = d->chain->token;
            }
            assert_int_equal(driver_pop(d), 0);
            for (uint16_t i = 0; i < 4; i++)
                cw_vq_push(d->vq, &t[3 - i], 1);
            while (driver_reap(d, 2, &id, &len))
                seen++;
            assert_int_equal(seen, 4);
            assert_int_equal(driver_restart(d), 0); /* killed with nothing in flight */
            assert_int_equal(d->vq->n_again, 0);
        }
        driver_free(d);
    }
}

/* Killed between telling the driver and noting that: it is not made again. */
static void
what_was_told_is_not_made_again(void **state)
{
    struct driver *d = driver_new(false, 8, true);
    struct cw_vu_split_region *s = d->area;
    struct cw_vu_packed_region *p;
    uint32_t id, len;

    one_request(d);
    s->desc[0].inflight = 1; /* as before the last two stores of push */
    s->used_idx = 0;
    assert_int_equal(driver_restart(d), 0);
    assert_int_equal(d->vq->n_again, 0);
    assert_int_equal(driver_pop(d), 0);
    driver_free(d);

    for (int told = 0; told < 2; told++) {
        uint16_t flags;

        d = driver_new(true, 8, true);
        p = d->area;
        driver_add(d, 0);
        assert_int_equal(driver_pop(d), 1);
        flags = driver_slot(d, 0)->flags;
        cw_vq_push(d->vq, &d->chain->token, 1);
        p->desc[d->chain->token.entry].inflight = 1;
        p->state = 0x8000 | (d->chain->token.entry + 1u) << 16;
        if (!told)
            driver_slot(d, 0)->flags = flags;
        assert_int_equal(driver_restart(d), 0);
        assert_int_equal(d->vq->n_again, !told);
        if (!told) {
            assert_int_equal(driver_pop(d), 1);
            cw_vq_push(d->vq, &d->chain->token, 1);
        }
        assert_true(driver_reap(d, 2, &id, &len));
        driver_add(d, 2);
        assert_int_equal(driver_pop(d), 1);
        assert_int_equal(d->chain->token.id, 2);
        driver_free(d);
    }
}

/* After an orderly stop the ring's own base counts: the driver may have begun anew. */
static void
an_orderly_stop_voids_the_area(void **state)
{
    for (int packed = 0; packed < 2; packed++) {
        struct driver *d = driver_new(packed, 8, true);

        one_request(d);
        assert_int_equal(cw_vq_stop(d->vq), packed ? 0x80028002u : 1u);
        memset(d->mem, 0, DRIVER_MEM);
        d->avail = d->used = 0;
        d->avail_wrap = d->used_wrap = true;
        assert_int_equal(driver_restart(d), 0);
        one_request(d);
        take_back(d);
        assert_int_equal(d->used, packed ? 2 : 1);
        driver_free(d);
    }
}

/* It lies in memory of others: whatever is in it, nothing outside is touched. */
static void
an_area_may_hold_anything(void **state)
{
    uint64_t seed = 1;

    for (uint32_t n = 0; n < 20000; n++) {
        struct driver *d = driver_new(n % 2, 8, true);
        uint8_t *area = d->area;
        uint64_t len = cw_vq_area_bytes(n % 2, 8);

        for (uint16_t i = 0; i < 3; i++) {
            driver_add(d, i * 2);
            assert_int_equal(driver_pop(d), 1);
        }
        for (uint32_t i = 0; i < 1 + n % 7; i++) {
            seed = cw_mix64(seed + 1);
            area[seed % len] = (uint8_t)(seed >> 32);
        }
        if (driver_restart(d) == 0) {
            while (driver_pop(d) == 1)
                cw_vq_push(d->vq, &d->chain->token, 1);
        }
        driver_free(d);
    }
}

/* ---- guest memory ---- */

static void
regions_do_not_overlap_or_wrap(void **state)
{
    struct cw_guest g = { 0 };
    uint8_t mem[64];
    struct cw_guest_region r = {
        .guest_addr = 4096, .user_addr = 1 << 20, .size = 64, .host = mem
    };

    assert_int_equal(cw_guest_add(&g, &r), 0);
    assert_int_equal(cw_guest_add(&g, &r), -EINVAL);
    r.guest_addr = 4096 + 63;
    r.user_addr = 2 << 20;
    assert_int_equal(cw_guest_add(&g, &r), -EINVAL);
    r.guest_addr = UINT64_MAX - 62;
    assert_int_equal(cw_guest_add(&g, &r), -EINVAL);
    r.guest_addr = 8192;
    r.size = 0;
    assert_int_equal(cw_guest_add(&g, &r), -EINVAL);
    r.size = UINT64_MAX;
    assert_int_equal(cw_guest_add(&g, &r), -EINVAL);
    assert_null(cw_guest_user(&g, (1 << 20) + 60, 5));
    assert_null(cw_guest_user(&g, (1 << 20) + 64, 0));
    assert_null(cw_guest_user(&g, 1 << 20, UINT64_MAX));
    assert_ptr_equal(cw_guest_user(&g, (1 << 20) + 60, 4), mem + 60);
}

/* A copy may go over the seam of two regions, not over a gap. */
static void
copies_cross_regions(void **state)
{
    struct cw_guest g = { 0 };
    uint8_t a[16], b[16], buf[20];
    struct cw_guest_region r = { .guest_addr = 0, .user_addr = 1 << 20, .size = 16, .host = a };

    memset(a, 1, sizeof(a));
    memset(b, 2, sizeof(b));
    assert_int_equal(cw_guest_add(&g, &r), 0);
    r = (struct cw_guest_region){ .guest_addr = 16, .user_addr = 2 << 20, .size = 16, .host = b };
    assert_int_equal(cw_guest_add(&g, &r), 0);
    assert_true(cw_guest_read(&g, 6, buf, 20));
    assert_int_equal(buf[9], 1);
    assert_int_equal(buf[10], 2);
    assert_false(cw_guest_read(&g, 20, buf, 20));
    assert_false(cw_guest_read(&g, UINT64_MAX, buf, 2));
    assert_false(cw_guest_write(&g, 32, buf, 1));
    memset(buf, 3, sizeof(buf));
    assert_true(cw_guest_write(&g, 6, buf, 20));
    assert_int_equal(b[9], 3);
    assert_int_equal(b[10], 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_go_round),
        cmocka_unit_test(indirect_tables_are_followed),
        cmocka_unit_test(nonsense_breaks_the_ring),
        cmocka_unit_test(rings_lie_in_memory_and_are_aligned),
        cmocka_unit_test(drivers_are_told_when_they_want_it),
        cmocka_unit_test(events_are_passed),
        cmocka_unit_test(a_driver_that_added_meanwhile_is_seen),
        cmocka_unit_test(a_killed_back_end_goes_on),
        cmocka_unit_test(what_was_told_is_not_made_again),
        cmocka_unit_test(an_orderly_stop_voids_the_area),
        cmocka_unit_test(an_area_may_hold_anything),
        cmocka_unit_test(regions_do_not_overlap_or_wrap),
        cmocka_unit_test(copies_cross_regions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
