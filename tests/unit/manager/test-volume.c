#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static void
begin(struct world *w)
{
    world_init(w);
    world_three(w);
    world_client(w, 0);
}

static enum cw_mgr_code
rm(struct world *w, const char *name, bool now, uint64_t delay_s)
{
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_RM, .req.volume_rm = { name, delay_s, now } };

    return world_call(w, NULL, &call);
}

static enum cw_mgr_code
resize(struct world *w, const char *name, uint64_t size)
{
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_RESIZE, .req.volume_resize = { name, size } };

    return world_call(w, NULL, &call);
}

static enum cw_mgr_code
put(struct world *w, struct cw_mgr_policy p, bool create)
{
    return world_put_policy(w, p, create, false);
}

static void
keep_warning(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[0], sizeof(w->text[0]), "%s", r->volume.warning);
}

/* Names, sizes and policies are checked; a thin volume above the stores warns and succeeds. */
static void
create_checks_what_it_is_given(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "-v", CW_GIB, ""), CW_MGR_BAD_REQUEST);
    assert_int_equal(world_create(&w, "", CW_GIB, ""), CW_MGR_BAD_REQUEST);
    assert_int_equal(world_create(&w, "a/b", CW_GIB, ""), CW_MGR_BAD_REQUEST);
    assert_int_equal(world_create(&w, "v", 0, ""), CW_MGR_BAD_REQUEST);
    assert_int_equal(world_create(&w, "v", 5000, ""), CW_MGR_BAD_REQUEST);
    assert_int_equal(world_create(&w, "v", UINT64_C(1) << 60, ""), CW_MGR_LIMIT);
    assert_int_equal(world_create(&w, "v", CW_GIB, "none"), CW_MGR_NOT_FOUND);
    assert_non_null(strstr(w.error.hint, "policy ls"));
    w.keep = keep_warning;
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_string_equal(w.text[0], "");
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_EXISTS);
    assert_int_equal(world_create(&w, "big", CW_TIB, ""), CW_MGR_OK);
    assert_non_null(strstr(w.text[0], "thin"));
    world_fini(&w);
}

/* A policy that the hosts cannot meet is refused with the reason and what would help. */
static void
unsatisfiable_policy_is_refused(void **state)
{
    static struct world w;

    world_init(&w);
    assert_int_equal(world_up(&w, 0, "a", "dc1"), CW_MGR_OK);
    assert_int_equal(world_up(&w, 1, "b", "dc1"), CW_MGR_OK);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_POLICY_UNSATISFIABLE);
    assert_non_null(strstr(w.error.message, "only 2 hosts"));
    assert_non_null(strstr(w.error.hint, "copies=2"));
    world_fini(&w);
}

/* A grown volume has its new shards placed and its last one longer; shrinking is refused; an owner
 * is told before the reply. */
static void
resize_grows_only(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(resize(&w, "v", CW_MIB), CW_MGR_BAD_REQUEST);
    assert_non_null(strstr(w.error.hint, "copy"));
    assert_int_equal(resize(&w, "v", 130 * CW_GIB), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(w.attach.n_shards, 3);
    assert_int_equal(w.shards[0].n_blocks, 1 << 24);
    assert_int_equal(w.shards[0].cfg, 2);
    assert_int_equal(w.shards[2].n_blocks, 2 * CW_GIB / 4096);
    assert_int_equal(resize(&w, "v", 131 * CW_GIB), CW_MGR_OK);
    assert_int_equal(w.c[0].n_resized, 1);
    world_fini(&w);
}

static void
report_size(struct world *w, uint64_t size)
{
    struct cw_mgr_volume_report r = { .volume_id = 1, .gen = 1, .size_bytes = size };

    cw_manager_report(w->m, w->c[0].session, &r);
    world_run(w, 100);
}

/* An owner that was away when it was to be told is told once it reports the size from before. */
static void
an_owner_that_missed_a_resize_is_told_again(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(resize(&w, "v", 65 * CW_GIB), CW_MGR_OK);
    assert_int_equal(w.c[0].n_resized, 1);
    report_size(&w, CW_GIB); /* it may be under way */
    assert_int_equal(w.c[0].n_resized, 1);
    for (int i = 0; i < 11; i++) {
        world_run(&w, 1000);
        report_size(&w, i % 2 ? 65 * CW_GIB : 0);
    }
    assert_int_equal(w.c[0].n_resized, 1);
    report_size(&w, CW_GIB);
    assert_int_equal(w.c[0].n_resized, 2);
    report_size(&w, CW_GIB);
    assert_int_equal(w.c[0].n_resized, 2);
    world_fini(&w);
}

/* A removed volume waits in the trash, its name is free, it can come back, and after the delay its
 * copies are dropped by every host that held one. */
static void
trash_keeps_then_purges(void **state)
{
    static struct world w;
    struct cw_mgr_call restore = { .kind = CW_MGR_VOLUME_RESTORE,
                                   .req.volume_restore = { "v", 0, "" } };
    struct cw_rec rec;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(rm(&w, "v", false, 0), CW_MGR_OK);
    assert_string_equal(world_word(&w, "v"), "");
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_NOT_FOUND);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_call(&w, NULL, &restore), CW_MGR_EXISTS);
    assert_int_equal(rm(&w, "v", true, 0), CW_MGR_OK);
    assert_int_equal(world_call(&w, NULL, &restore), CW_MGR_OK);
    assert_int_equal(rm(&w, "v", false, 100), CW_MGR_OK);
    world_run(&w, 90 * 1000);
    assert_true(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    world_run(&w, 15 * 1000);
    assert_false(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    assert_int_equal(w.d[0].n_dropped, 2);
    assert_int_equal(w.d[2].n_dropped, 2);
    world_fini(&w);
}

/* What the trash keeps for how long is counted, not read off a clock that somebody may set: an hour
 * ahead and back, while a manager leads or before the next one does, and nothing goes early or
 * late.
 */
static void
trash_counts_time_itself(void **state)
{
    static struct world w;
    struct cw_rec rec;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_create(&w, "u", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(rm(&w, "v", false, 1000), CW_MGR_OK);
    w.wall_s += 3600;
    assert_int_equal(rm(&w, "u", false, 1000), CW_MGR_OK);
    w.wall_s -= 7200;
    world_run(&w, 500 * 1000);
    w.wall_s += 7200;
    world_run(&w, 490 * 1000);
    assert_true(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    assert_true(fakekv_get(&w.kv, "/vol/0000000000000002", &rec));
    w.wall_s -= 7200;
    world_run(&w, 20 * 1000);
    assert_false(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    assert_false(fakekv_get(&w.kv, "/vol/0000000000000002", &rec));
    world_fini(&w);
}

/* Another manager's clock is an hour ahead; it goes on counting where the one before it left off,
 * or up to five minutes earlier. */
static void
trash_outlives_its_manager(void **state)
{
    static struct world w;
    struct cw_rec rec;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(rm(&w, "v", false, 1800), CW_MGR_OK);
    for (int i = 0; i < 2; i++) {
        world_run(&w, 650 * 1000);
        assert_true(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
        world_stop_manager(&w);
        w.wall_s += 3600;
        world_start_manager(&w, false);
    }
    world_run(&w, 495 * 1000);
    assert_true(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    world_run(&w, 120 * 1000);
    assert_false(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    world_fini(&w);
}

/* A record of an earlier version says only when, not how long yet. */
static void
trash_of_an_earlier_version_keeps_a_day(void **state)
{
    static struct world w;
    struct cw_rec rec;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(rm(&w, "v", false, 100), CW_MGR_OK);
    world_stop_manager(&w);
    assert_true(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    rec.volume.purge_left_s = 0;
    fakekv_put(&w.kv, &rec);
    world_start_manager(&w, false);
    world_run(&w, 86300ull * 1000);
    assert_true(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    world_run(&w, 200 * 1000);
    assert_false(fakekv_get(&w.kv, "/vol/0000000000000001", &rec));
    world_fini(&w);
}

/* A host that is away when a volume goes drops its copy when it is back, also across a restart of
 * the manager. */
static void
drops_wait_for_their_host(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    world_down(&w, 2);
    assert_int_equal(rm(&w, "v", true, 0), CW_MGR_OK);
    world_run(&w, 3000);
    assert_int_equal(w.d[2].n_dropped, 0);
    assert_int_equal(w.d[0].n_dropped, 1);
    world_stop_manager(&w);
    world_start_manager(&w, false);
    world_three(&w);
    world_run(&w, 3000);
    assert_int_equal(w.d[2].n_dropped, 1);
    assert_int_equal(w.d[0].n_dropped, 1);
    world_fini(&w);
}

/* Another manager had the copy dropped, and may have put a new one on that disk since: one that was
 * deposed and does not know it finds out before it asks for a drop. */
static void
a_deposed_manager_drops_nothing(void **state)
{
    static struct world w;
    struct cw_rec cluster, drop = { .kind = CW_REC_DROP };

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    world_down(&w, 2);
    assert_int_equal(rm(&w, "v", true, 0), CW_MGR_OK);
    world_run(&w, 6000);
    drop.drop = (struct cw_drop_rec){ .shard = CW_SHARD_ID(1, 0), .disk_uuid = w.d[2].disk_uuid };
    assert_true(fakekv_get(&w.kv, "/cluster", &cluster));
    fakekv_put(&w.kv, &cluster); /* whoever leads writes it with every change */
    fakekv_del(&w.kv, &drop);
    assert_int_equal(world_register(&w, 2), CW_MGR_OK);
    world_run(&w, 3000);
    assert_int_equal(w.d[2].n_dropped, 0);
    world_fini(&w);
}

static void
holds(struct wdaemon *d)
{
    d->uses[0] = (struct cw_mgr_copy_use){ .disk_uuid = d->disk_uuid,
                                           .format_id = d->format_id,
                                           .shard = CW_SHARD_ID(1, 0) };
    d->n_uses = 1;
}

/* A fenced owner made a copy anew where one had been dropped: it goes, but not while what the
 * record calls in sync has not been seen to be there, nor while a copy knows a newer record. */
static void
a_copy_that_no_record_names_is_dropped(void **state)
{
    static struct world w;
    const int none = 3; /* joins when all have a place */

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(world_up(&w, none, "aws-2", "aws"), CW_MGR_OK);
    holds(&w.d[none]);
    for (int i = 0; i < none - 1; i++)
        holds(&w.d[i]);
    world_run(&w, 40 * 1000);
    assert_int_equal(w.d[none].n_dropped, 0);
    holds(&w.d[none - 1]);
    world_run(&w, 12 * 1000);
    assert_int_equal(w.d[none].n_dropped, 1);
    assert_int_equal(w.d[0].n_dropped + w.d[1].n_dropped + w.d[2].n_dropped, 0);

    world_down(&w, none);
    w.d[none].copies[0] = (struct cw_mgr_copy_state){ .disk_uuid = w.d[none].disk_uuid,
                                                      .format_id = w.d[none].format_id,
                                                      .shard = CW_SHARD_ID(1, 0),
                                                      .cfg = 40 };
    w.d[none].n_copies = 1;
    assert_int_equal(world_register(&w, none), CW_MGR_OK);
    world_run(&w, 100 * 1000);
    assert_int_equal(w.d[none].n_dropped, 1);
    world_fini(&w);
}

/* A volume in use is not removed; one whose owner fell silent is, and that owner is fenced. */
static void
rm_needs_the_volume_unattached(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    world_run(&w, 4000);
    world_report(&w, w.c[0].session, 1, 1);
    w.d[0].seen = true;
    assert_int_equal(rm(&w, "v", false, 0), CW_MGR_VOLUME_IN_USE);
    assert_string_equal(w.error.hint, "detach it first: stop client-0 on desk");
    w.d[0].seen = false;
    assert_int_equal(rm(&w, "v", false, 0), CW_MGR_OK);
    assert_int_equal(world_change(&w, 0, 1, 1, 0, CW_MEMBER_OUT), CW_MGR_OK);
    assert_false(w.change.applied);
    assert_int_equal(w.change.volume_gen, 2);
    world_fini(&w);
}

/* Every key of a policy is checked, and what a later version brings is refused by name. */
static void
policy_keys_are_checked(void **state)
{
    static struct world w;
    static const struct {
        struct cw_mgr_policy p;
        const char *says;
    } bad[] = {
        { { .name = "p", .copies = 6 }, "copies" },
        { { .name = "p", .spread = "planet" }, "spread" },
        { { .name = "p", .sites = "each:2" }, "sites" },
        { { .name = "p", .sites = "each:2 a,b" }, "sites" },
        { { .name = "p", .sites = "only:a,b" }, "sites" },
        { { .name = "p", .sites = "only:a", .spread = "site" }, "spread=site" },
        { { .name = "p", .min_insync = 4 }, "min-insync" },
        { { .name = "p", .journal = "always" }, "journal" },
        { { .name = "p", .ack = "some" }, "ack" },
        { { .name = "p", .async = "aws rpo" }, "async" },
        { { .name = "p", .async = "aws rpo=0" }, "async" },
        { { .name = "p", .async = "aws rpo=99999999" }, "async" },
        { { .name = "p", .rpo_s = 5 }, "async=SITE" },
        { { .name = "p", .compression = "lz4" }, "compression" },
        { { .name = "p", .bandwidth_limit = 5 }, "bandwidth-limit" },
        { { .name = "p", .quorum_loss = "panic" }, "quorum-loss" },
        { { .name = "p", .space_full = "no" }, "space-full" },
        { { .name = "p", .degrade_s = -7 }, "degrade" },
        { { .name = "/p" }, "name" },
    };

    begin(&w);
    for (size_t i = 0; i < CW_LEN(bad); i++) {
        assert_int_equal(put(&w, bad[i].p, true), CW_MGR_BAD_REQUEST);
        assert_non_null(strstr(w.error.message, bad[i].says));
    }
    assert_int_equal(
        put(&w, (struct cw_mgr_policy){ .name = "two", .copies = 2, .sites = "each:1 dc1,aws" },
            true),
        CW_MGR_OK);
    assert_int_equal(put(&w, (struct cw_mgr_policy){ .name = "two" }, true), CW_MGR_EXISTS);
    assert_int_equal(put(&w, (struct cw_mgr_policy){ .name = "no" }, false), CW_MGR_NOT_FOUND);
    world_fini(&w);
}

static void
keep_policy_warning(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[0], sizeof(w->text[0]), "%s", r->policy.warning);
}

/* A policy that the hosts of now cannot meet is noted, with the reason and what would help. */
static void
unsatisfiable_policies_warn(void **state)
{
    static struct world w;

    begin(&w);
    w.keep = keep_policy_warning;
    assert_int_equal(put(&w, (struct cw_mgr_policy){ .name = "p", .copies = 5 }, true), CW_MGR_OK);
    assert_non_null(strstr(w.text[0], "only"));
    assert_non_null(strstr(w.text[0], "copies="));
    assert_int_equal(put(&w, (struct cw_mgr_policy){ .name = "p", .copies = 2 }, false), CW_MGR_OK);
    assert_string_equal(w.text[0], "");
    w.keep = NULL;
    world_fini(&w);
}

static void
keep_used(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[0], sizeof(w->text[0]), "%llu", (unsigned long long)r->volume.used_bytes);
}

static unsigned long long
used(struct world *w)
{
    struct cw_mgr_call show = { .kind = CW_MGR_VOLUME_SHOW, .req.name = "v" };

    w->keep = keep_used;
    assert_int_equal(world_call(w, NULL, &show), CW_MGR_OK);
    w->keep = NULL;
    return strtoull(w->text[0], NULL, 10);
}

/* What the copies hold is summed over them; a host that says nothing new, or is away, keeps what it
 * said last, and nobody speaks for a disk of another host. */
static void
use_is_summed_over_copies(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(used(&w), 0);
    for (int i = 0; i < 3; i++) {
        struct cw_mgr_copy_use use = { CW_SHARD_ID(1, 0), w.d[i].disk_now[0].uuid,
                                       w.d[i].disk_now[0].format_id, 10 + (uint64_t)i };
        struct cw_mgr_call beat = { .kind = CW_MGR_BEAT,
                                    .req.beat = { .uses = &use, .n_uses = 1 } };

        assert_int_equal(world_call(&w, w.d[(i + 1) % 3].session, &beat), CW_MGR_OK);
        assert_int_equal(world_call(&w, w.d[i].session, &beat), CW_MGR_OK);
    }
    assert_int_equal(used(&w), 33 * 4096);
    world_run(&w, 3000);
    assert_int_equal(used(&w), 33 * 4096);
    world_fini(&w);
}

/* A policy that a volume uses stays; keys that move nothing count at once. */
static void
set_policy_counts_at_once(void **state)
{
    static struct world w;
    struct cw_mgr_call set = { .kind = CW_MGR_VOLUME_SET,
                               .req.volume_set = { "v", "same", false } };
    struct cw_mgr_call del = { .kind = CW_MGR_POLICY_RM, .req.name = "same" };

    begin(&w);
    assert_int_equal(put(&w, (struct cw_mgr_policy){ .name = "same", .min_insync = 1 }, true),
                     CW_MGR_OK);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_call(&w, NULL, &set), CW_MGR_OK);
    assert_int_equal(world_call(&w, NULL, &del), CW_MGR_BUSY);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(w.attach.policy.min_insync, 1);
    del.req.name = "default";
    assert_int_equal(world_call(&w, NULL, &del), CW_MGR_BAD_REQUEST);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_checks_what_it_is_given),
        cmocka_unit_test(unsatisfiable_policy_is_refused),
        cmocka_unit_test(resize_grows_only),
        cmocka_unit_test(an_owner_that_missed_a_resize_is_told_again),
        cmocka_unit_test(trash_keeps_then_purges),
        cmocka_unit_test(trash_counts_time_itself),
        cmocka_unit_test(trash_outlives_its_manager),
        cmocka_unit_test(trash_of_an_earlier_version_keeps_a_day),
        cmocka_unit_test(drops_wait_for_their_host),
        cmocka_unit_test(a_deposed_manager_drops_nothing),
        cmocka_unit_test(a_copy_that_no_record_names_is_dropped),
        cmocka_unit_test(rm_needs_the_volume_unattached),
        cmocka_unit_test(policy_keys_are_checked),
        cmocka_unit_test(unsatisfiable_policies_warn),
        cmocka_unit_test(use_is_summed_over_copies),
        cmocka_unit_test(set_policy_counts_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
