/* Backups of the records on hosts: which, when, and what a manager does that begins from one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/manager/metaimage.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static void
begin(struct world *w)
{
    world_init(w);
    world_stop_manager(w);
    w->backup = true;
    world_start_manager(w, false);
    world_three(w);
}

static void
policy(struct world *w, const char *name)
{
    assert_int_equal(world_put_policy(w, (struct cw_mgr_policy){ .name = name }, true, false),
                     CW_MGR_OK);
}

/* It is what the store holds, but for the time in /cluster. */
static void
same_as_store(const struct world *w, const struct wdaemon *d)
{
    const struct fakekv_row *row = w->kv.rows;
    struct cw_metaimage_walk at;

    assert_non_null(d->kept);
    assert_true(cw_metaimage_sound(d->kept, d->kept_len));
    cw_metaimage_walk(&at, d->kept, d->kept_len);
    for (; cw_metaimage_next(&at); row = row->next) {
        struct cw_rec a = { 0 }, b;

        assert_non_null(row);
        assert_string_equal(at.key, row->key);
        assert_int_equal(at.value_len, row->len);
        memcpy(&a, at.value, sizeof(a));
        memcpy(&b, row->value, sizeof(b));
        if (a.kind == CW_REC_CLUSTER) {
            assert_true(a.cluster.saved_s >= w->wall_s);
            a.cluster.saved_s = 0;
        }
        assert_memory_equal(&a, &b, sizeof(a));
    }
    assert_null(row);
    assert_false(at.bad);
}

static void
two_hosts_far_apart_keep_the_records(void **state)
{
    static struct world w;
    uint32_t n;

    begin(&w);
    world_run(&w, 6000);
    assert_true(w.d[0].n_kept > 0 || w.d[1].n_kept > 0);
    assert_true(w.d[2].n_kept > 0); /* the only one in its site */
    assert_true(w.d[0].n_kept == 0 || w.d[1].n_kept == 0 ||
                w.d[0].n_kept + w.d[1].n_kept <= 2); /* before the others came */
    same_as_store(&w, &w.d[2]);
    /* nothing changes: nothing is sent */
    n = w.d[2].n_kept;
    world_run(&w, 20000);
    assert_int_equal(w.d[2].n_kept, n);
    /* after a pause a change is sent at once, many are sent together */
    policy(&w, "p");
    world_run(&w, 400);
    assert_int_equal(w.d[2].n_kept, n + 1);
    same_as_store(&w, &w.d[2]);
    for (int i = 0; i < 20; i++) {
        char name[16];

        snprintf(name, sizeof(name), "q%d", i);
        policy(&w, name);
        world_run(&w, 100);
    }
    world_run(&w, 2500);
    assert_in_range(w.d[2].n_kept, n + 2, n + 4);
    same_as_store(&w, &w.d[2]);
    world_fini(&w);
}

static void
a_large_image_goes_in_parts(void **state)
{
    static struct world w;
    uint32_t n;

    begin(&w);
    for (int i = 0; i < 600; i++) {
        struct cw_rec r = { .kind = CW_REC_EVENT,
                            .event = { .number = 1000 + (uint64_t)i, .at_s = 1, .text = "x" } };

        fakekv_put(&w.kv, &r);
    }
    world_stop_manager(&w); /* reads them when it begins */
    world_start_manager(&w, false);
    for (int i = 0; i < 3; i++)
        assert_int_equal(world_register(&w, i), CW_MGR_OK);
    world_run(&w, 5000);
    n = w.d[2].n_parts;
    policy(&w, "p");
    world_run(&w, 20000);
    assert_true(w.d[2].kept_len > CW_METAIMAGE_PART);
    assert_int_equal(w.d[2].n_parts - n, cw_div_up(w.d[2].kept_len, CW_METAIMAGE_PART));
    same_as_store(&w, &w.d[2]);
    world_fini(&w);
}

static void
hosts_that_cannot_give_their_place_to_others(void **state)
{
    static struct world w;
    uint32_t n;

    begin(&w);
    world_run(&w, 6000);
    n = w.d[2].n_kept;
    w.d[2].keeps_none = true;
    policy(&w, "p");
    world_run(&w, 6000);
    assert_int_equal(w.d[2].n_kept, n);
    same_as_store(&w, &w.d[0]);
    same_as_store(&w, &w.d[1]);
    assert_false(world_finding(&w, "METADATA_NOT_SAVED", NULL));
    /* too few, for some minutes */
    world_down(&w, 1);
    world_run(&w, 100 * 1000);
    policy(&w, "q");
    world_run(&w, 50 * 1000);
    assert_false(world_finding(&w, "METADATA_NOT_SAVED", NULL));
    world_run(&w, 200 * 1000);
    assert_true(world_finding(&w, "METADATA_NOT_SAVED", "metadata"));
    w.d[2].keeps_none = false;
    world_run(&w, 20 * 1000);
    assert_false(world_finding(&w, "METADATA_NOT_SAVED", NULL));
    same_as_store(&w, &w.d[2]);
    world_fini(&w);
}

/* Another is chosen for one that was removed, and nothing is wrong while it gets its first. */
static void
a_host_that_is_new_to_it_is_given_time(void **state)
{
    static struct world w;
    struct cw_mgr_call rm = { .kind = CW_MGR_HOST_RM, .req.host_rm = { "dc1-1", true } };

    begin(&w);
    world_run(&w, 200 * 1000);
    w.d[1].keeps_none = w.d[2].keeps_none = true; /* not at once */
    world_down(&w, 0);
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_OK);
    for (int i = 0; i < 20; i++) {
        world_run(&w, 1000);
        assert_false(world_finding(&w, "METADATA_NOT_SAVED", NULL));
    }
    world_run(&w, 20 * 1000);
    assert_true(world_finding(&w, "METADATA_NOT_SAVED", NULL));
    world_fini(&w);
}

/* The store is what that daemon kept. */
static void
restore(struct world *w, const struct wdaemon *d)
{
    struct cw_metaimage_walk at;

    fakekv_fini(&w->kv);
    fakekv_init(&w->kv, &w->env);
    cw_metaimage_walk(&at, d->kept, d->kept_len);
    while (cw_metaimage_next(&at)) {
        struct cw_rec r;

        memcpy(&r, at.value, sizeof(r));
        fakekv_put(&w->kv, &r);
    }
    world_start_manager(w, false);
}

static void
a_restored_manager_says_so_and_gives_no_id_again(void **state)
{
    static struct world w;
    struct cw_rec before, after;

    begin(&w);
    world_run(&w, 6000);
    assert_true(fakekv_get(&w.kv, "/cluster", &before));
    w.wall_s += 500;
    world_stop_manager(&w);
    restore(&w, &w.d[2]);
    world_run(&w, 1000);
    assert_true(fakekv_get(&w.kv, "/cluster", &after));
    assert_int_equal(after.cluster.saved_s, 0);
    assert_true(after.cluster.restored_s >= w.wall_s);
    assert_int_equal(after.cluster.restored_epoch, before.cluster.epoch);
    assert_true(after.cluster.epoch > before.cluster.epoch);
    assert_true(after.cluster.next_volume_id >= before.cluster.next_volume_id + 1000);
    /* once */
    world_stop_manager(&w);
    world_start_manager(&w, false);
    world_run(&w, 1000);
    assert_true(fakekv_get(&w.kv, "/cluster", &before));
    assert_int_equal(after.cluster.next_volume_id, before.cluster.next_volume_id);
    world_fini(&w);
}

static void
what_is_newer_is_never_replaced(void **state)
{
    static struct world w;
    uint64_t epoch;
    struct cw_rec r;
    uint32_t n;

    begin(&w);
    world_run(&w, 6000);
    assert_true(fakekv_get(&w.kv, "/cluster", &r));
    epoch = r.cluster.epoch;
    world_stop_manager(&w);
    restore(&w, &w.d[2]);
    n = w.d[2].n_kept;
    w.d[0].says_kept = (struct cw_mgr_kept){ .epoch = epoch, .saved_s = 1 };
    w.d[2].says_kept = (struct cw_mgr_kept){ .epoch = epoch + 1, .saved_s = 1 };
    for (int i = 0; i < 3; i++)
        assert_int_equal(world_register(&w, i), CW_MGR_OK);
    world_run(&w, 1000);
    assert_true(world_finding(&w, "METADATA_WENT_BACK", "aws/aws-1"));
    assert_false(world_finding(&w, "METADATA_WENT_BACK", "dc1/dc1-1"));
    for (int i = 0; i < 10; i++) { /* also when the epoch has long passed */
        char name[16];

        snprintf(name, sizeof(name), "p%d", i);
        policy(&w, name);
    }
    world_run(&w, 6000);
    assert_true(world_finding(&w, "METADATA_WENT_BACK", "aws/aws-1"));
    assert_int_equal(w.d[2].n_kept, n);
    same_as_store(&w, &w.d[0]);
    same_as_store(&w, &w.d[1]);
    world_fini(&w);
}

/* ---- reading ---- */

static struct {
    struct cw_mgr_metadata_part part;
    uint8_t bytes[1 << 20];
    size_t len;
} got;

static void
keep_part(struct world *w, const union cw_mgr_reply *r)
{
    got.part = r->metadata_part;
    assert_true(got.len + got.part.len <= sizeof(got.bytes));
    memcpy(got.bytes + got.len, got.part.data, got.part.len);
    got.len += got.part.len;
}

static enum cw_mgr_code
read_from(struct world *w, uint64_t serial, uint64_t offset)
{
    struct cw_mgr_call call = { .kind = CW_MGR_METADATA_READ,
                                .req.metadata_read = { serial, offset } };
    enum cw_mgr_code code;

    w->keep = keep_part;
    code = world_call(w, NULL, &call);
    w->keep = NULL;
    return code;
}

/* One state, however much changes between the parts. */
static void
the_records_are_read_as_they_were(void **state)
{
    static struct world w;

    begin(&w);
    world_create(&w, "v", CW_GIB, "");
    got.len = 0;
    assert_int_equal(read_from(&w, 0, 0), CW_MGR_OK);
    assert_int_equal(got.len, got.part.total_bytes); /* small: in one part */
    assert_true(cw_metaimage_sound(got.bytes, got.len));
    assert_int_equal(read_from(&w, got.part.serial, got.len), CW_MGR_CONFLICT);
    assert_int_equal(read_from(&w, got.part.serial + 1, 5), CW_MGR_CONFLICT);
    policy(&w, "p");
    got.len = 5; /* the rest of what was begun */
    assert_int_equal(read_from(&w, got.part.serial, 5), CW_MGR_OK);
    assert_true(cw_metaimage_sound(got.bytes, got.len));
    world_fini(&w);
}

/* Whatever the bytes say, a walk ends and stays inside. */
static void
bad_bytes_are_walked_safely(void **state)
{
    struct cw_metaimage im = { 0 };
    struct cw_metaimage_walk w;

    cw_metaimage_add(&im, "/a", "12345", 5);
    cw_metaimage_add(&im, "/b", "", 0);
    cw_metaimage_end(&im);
    cw_metaimage_walk(&w, im.bytes, im.len);
    assert_true(cw_metaimage_next(&w));
    assert_string_equal(w.key, "/a");
    assert_true(cw_metaimage_next(&w));
    assert_false(cw_metaimage_next(&w));
    assert_false(w.bad);
    for (size_t len = 0; len <= im.len; len++) {
        for (size_t i = 0; i < len * 8; i++) {
            uint8_t *copy = malloc(len);

            assert_non_null(copy);
            memcpy(copy, im.bytes, len);
            copy[i / 8] ^= (uint8_t)(1u << (i % 8));
            assert_false(cw_metaimage_sound(copy, len));
            cw_metaimage_walk(&w, copy, len);
            while (cw_metaimage_next(&w))
                assert_true(w.value >= copy && w.value + w.value_len <= copy + len);
            free(copy);
        }
    }
    cw_metaimage_fini(&im);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_hosts_far_apart_keep_the_records),
        cmocka_unit_test(a_large_image_goes_in_parts),
        cmocka_unit_test(a_host_that_is_new_to_it_is_given_time),
        cmocka_unit_test(hosts_that_cannot_give_their_place_to_others),
        cmocka_unit_test(a_restored_manager_says_so_and_gives_no_id_again),
        cmocka_unit_test(what_is_newer_is_never_replaced),
        cmocka_unit_test(the_records_are_read_as_they_were),
        cmocka_unit_test(bad_bytes_are_walked_safely),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
