#include <stdio.h>
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
put(struct world *w, const char *name, const char *compression, bool create)
{
    return world_put_policy(w, (struct cw_mgr_policy){ .name = name, .compression = compression },
                            create, false);
}

static enum cw_mgr_code
give(struct world *w, const char *volume, const char *policy)
{
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_SET,
                                .req.volume_set = { volume, policy, false } };

    return world_call(w, NULL, &call);
}

/* Of volume 1, as it stands in the metadata store. */
static struct cw_shard_rec
shard(const struct world *w, uint16_t index)
{
    struct cw_rec like = { .kind = CW_REC_SHARD, .shard.shard = CW_SHARD_ID(1, index) }, rec;
    char key[CW_KV_KEY_SIZE];

    assert_true(fakekv_get(&w->kv, cw_rec_key(&like, key), &rec));
    return rec.shard;
}

#define ASSERT_SHARD(w, index, want, at_cfg) \
    do { \
        assert_int_equal(shard(w, index).compression, want); \
        assert_int_equal(shard(w, index).cfg, at_cfg); \
    } while (0)

/* From its first record on a shard says what its policy says: background unless told otherwise, and
 * nothing is changed afterwards. */
static void
new_shards_say_what_the_policy_says(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "v", 65 * CW_GIB, ""), CW_MGR_OK);
    world_run(&w, 2000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_BACKGROUND, 1);
    ASSERT_SHARD(&w, 1, CW_COMPRESSION_BACKGROUND, 1);
    world_fini(&w);
}

/* A policy in use is changed: each of its volumes' shards gets the new choice by one raised cfg,
 * the owner is told to read it, and members and generation stay as they were. */
static void
volumes_in_use_follow_their_policy(void **state)
{
    static struct world w;
    struct cw_shard_rec before;

    begin(&w);
    assert_int_equal(world_create(&w, "v", 130 * CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    before = shard(&w, 1);
    assert_int_equal(put(&w, "default", "inline", false), CW_MGR_OK);
    w.c[0].n_rereads = 0;
    world_run(&w, 1000);
    for (uint16_t i = 0; i < 3; i++)
        ASSERT_SHARD(&w, i, CW_COMPRESSION_INLINE, 2);
    assert_int_equal(w.c[0].n_rereads, 1);
    assert_int_equal(shard(&w, 1).gen, before.gen);
    assert_memory_equal(shard(&w, 1).members, before.members, sizeof(before.members));
    world_run(&w, 3000);
    ASSERT_SHARD(&w, 2, CW_COMPRESSION_INLINE, 2);
    world_fini(&w);
}

/* An owner whose change compares the cfg from before loses, sees the record that won, and its next
 * change keeps what that says (I4). */
static void
owner_that_loses_the_compare_sees_the_record(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    assert_int_equal(put(&w, "default", "off", false), CW_MGR_OK);
    world_run(&w, 1000);
    assert_int_equal(world_change(&w, 0, 1, 1, 2, CW_MEMBER_OUT), CW_MGR_OK);
    assert_false(w.change.applied);
    assert_int_equal(w.change.shard.cfg, 2);
    assert_int_equal(w.change.shard.compression, CW_COMPRESSION_OFF);
    assert_int_equal(world_change(&w, 0, 1, 2, 2, CW_MEMBER_OUT), CW_MGR_OK);
    assert_true(w.change.applied);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_OFF, 3);
    world_fini(&w);
}

/* A volume that is given another policy follows that one, also when copies are away. */
static void
another_policy_brings_its_compression(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(put(&w, "dense", "inline", true), CW_MGR_OK);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(give(&w, "v", "dense"), CW_MGR_OK);
    world_run(&w, 1000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_INLINE, 2);
    world_down(&w, 2);
    world_run(&w, 5000);
    assert_int_equal(put(&w, "dense", "off", false), CW_MGR_OK);
    world_run(&w, 1000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_OFF, 3);
    world_fini(&w);
}

/* In the trash a volume stays as it is; once restored it follows. */
static void
trash_follows_when_restored(void **state)
{
    static struct world w;
    struct cw_mgr_call rm = { .kind = CW_MGR_VOLUME_RM, .req.volume_rm = { "v", 0, false } };
    struct cw_mgr_call restore = { .kind = CW_MGR_VOLUME_RESTORE,
                                   .req.volume_restore = { "v", 0, "" } };

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_OK);
    assert_int_equal(put(&w, "default", "inline", false), CW_MGR_OK);
    world_run(&w, 2000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_BACKGROUND, 1);
    assert_int_equal(world_call(&w, NULL, &restore), CW_MGR_OK);
    world_run(&w, 1000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_INLINE, 2);
    world_fini(&w);
}

/* A metadata store that does not answer, or loses an answer, only delays it; and a manager that
 * died between the policy and the records goes on with it. */
static void
following_survives_doubt_and_restart(void **state)
{
    static struct world w;
    struct cw_rec rec;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_true(fakekv_get(&w.kv, "/policy/default", &rec));
    snprintf(rec.policy.compression, sizeof(rec.policy.compression), "inline");
    world_stop_manager(&w);
    fakekv_put(&w.kv, &rec);
    world_start_manager(&w, false);
    w.kv.fault = FAKEKV_LOSE_REPLY;
    world_run(&w, 5000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_INLINE, 2);
    assert_int_equal(put(&w, "default", "off", false), CW_MGR_OK);
    w.kv.fault = FAKEKV_DOWN;
    world_run(&w, 5000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_INLINE, 2);
    w.kv.fault = FAKEKV_OK;
    world_run(&w, 5000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_OFF, 3);
    world_fini(&w);
}

/* A cluster of the version before: its policies say off, its records nothing. Nothing changes. */
static void
policies_from_before_stay_off(void **state)
{
    static struct world w;
    struct cw_rec rec;

    world_init(&w);
    assert_true(fakekv_get(&w.kv, "/policy/default", &rec));
    snprintf(rec.policy.compression, sizeof(rec.policy.compression), "off");
    world_stop_manager(&w);
    fakekv_put(&w.kv, &rec);
    world_start_manager(&w, false);
    world_three(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    world_run(&w, 3000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_OFF, 1);
    world_fini(&w);
}

/* The keys that say nothing of places may be changed whatever the copies look like just now. */
static void
a_gone_copy_does_not_refuse_it(void **state)
{
    static struct world w;

    begin(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    w.d[2].failed = true;
    world_run(&w, 3000);
    assert_int_equal(put(&w, "default", "off", false), CW_MGR_OK);
    world_run(&w, 1000);
    ASSERT_SHARD(&w, 0, CW_COMPRESSION_OFF, 2);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_shards_say_what_the_policy_says),
        cmocka_unit_test(volumes_in_use_follow_their_policy),
        cmocka_unit_test(owner_that_loses_the_compare_sees_the_record),
        cmocka_unit_test(another_policy_brings_its_compression),
        cmocka_unit_test(trash_follows_when_restored),
        cmocka_unit_test(following_survives_doubt_and_restart),
        cmocka_unit_test(policies_from_before_stay_off),
        cmocka_unit_test(a_gone_copy_does_not_refuse_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
