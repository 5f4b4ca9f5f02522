/* rebuild-metadata: which record of a shard counts, and what is refused. */
#include <stdio.h>
#include <string.h>

#include "daemon/tool/rebuild.h"
#include "tests/lib/cw-test.h"

#define CLUSTER 77u

struct world {
    struct cw_rebuild r;
    struct cw_rebuild_store stores[4];
    struct cw_rebuild_copy copies[16];
};

static struct cw_uuid
disk(uint32_t i)
{
    return cw_uuid_from_random(i + 1, 5);
}

static void
world_init(struct world *w, uint32_t n_stores)
{
    static const char *const paths[] = { "/s0", "/s1", "/s2", "/s3" };

    memset(w, 0, sizeof(*w));
    for (uint32_t i = 0; i < n_stores; i++)
        w->stores[i] = (struct cw_rebuild_store){
            .path = paths[i],
            .id = { .disk_uuid = disk(i),
                    .format_id = i + 100,
                    .cluster_id = cw_uuid_from_random(CLUSTER, CLUSTER),
                    .bytes = UINT64_C(1) << 30 },
        };
    w->r.stores = w->stores;
    w->r.n_stores = n_stores;
    w->r.copies = w->copies;
    w->r.now_s = 1000;
    w->r.random[0] = w->r.random[1] = 3;
}

/* Members on disks 0, 1 and 2, in sync. */
static struct cw_shard_rec
rec_of(uint64_t volume, uint16_t index, uint32_t gen, uint32_t cfg)
{
    struct cw_shard_rec rec = {
        .shard = CW_SHARD_ID(volume, index),
        .gen = gen,
        .cfg = cfg,
        .lineage = 9,
        .n_blocks = 16384,
        .compression = CW_COMPRESSION_BACKGROUND,
        .n_members = 3,
    };

    for (uint32_t i = 0; i < 3; i++)
        rec.members[i] = (struct cw_member){ .disk_uuid = disk(i),
                                             .format_id = i + 100,
                                             .state = CW_MEMBER_INSYNC };
    return rec;
}

static struct cw_rebuild_copy *
copy_put(struct world *w, uint32_t store, struct cw_shard_rec rec)
{
    struct cw_rebuild_copy *c = &w->copies[w->r.n_copies++];

    *c = (struct cw_rebuild_copy){
        .store = store, .rec = rec, .promised_gen = rec.gen, .last_gen = rec.gen, .last_seq = 50
    };
    if (CW_SHARD_VOLUME(rec.shard) > w->r.highest_volume)
        w->r.highest_volume = CW_SHARD_VOLUME(rec.shard);
    return c;
}

static const struct cw_rec *
found(const struct world *w, enum cw_rec_kind kind, uint32_t skip)
{
    for (size_t i = 0; i < w->r.n_recs; i++) {
        if (w->r.recs[i].kind == kind && skip-- == 0)
            return &w->r.recs[i];
    }
    return NULL;
}

static void
texts_have(const struct cw_rebuild_texts *t, const char *part)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strstr(t->at[i], part) != NULL)
            return;
    }
    for (size_t i = 0; i < t->n; i++)
        print_error("%s\n", t->at[i]);
    fail_msg("nothing says: %s", part);
}

static void
refused_with(struct world *w, const char *why)
{
    assert_false(cw_rebuild_plan(&w->r));
    texts_have(&w->r.refused, why);
    cw_rebuild_fini(&w->r);
}

/* ---- cases ---- */

/* Copies whose owner could not tell them that they are not new any more are not, if one of them
 * holds something (I18). */
static void
copies_that_hold_something_are_not_new(void **state)
{
    for (int begun = 0; begun < 2; begun++) {
        struct cw_shard_rec rec = rec_of(1, 0, 1, 1);
        const struct cw_shard_rec *got;
        struct world w;

        world_init(&w, 3);
        for (uint32_t i = 0; i < 3; i++)
            rec.members[i].since_seq = CW_SINCE_NEW;
        for (uint32_t i = 0; i < 3; i++)
            copy_put(&w, i, rec)->last_seq = i == 1 && begun ? 1 : 0;
        assert_true(cw_rebuild_plan(&w.r));
        got = &found(&w, CW_REC_SHARD, 0)->shard;
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(got->members[i].since_seq, begun ? 0 : CW_SINCE_NEW);
        cw_rebuild_fini(&w.r);
    }
}

static void
the_highest_record_counts(void **state)
{
    struct cw_shard_rec old = rec_of(7, 0, 3, 4), now = rec_of(7, 0, 5, 6);
    const struct cw_rec *rec;
    struct world w;

    world_init(&w, 3);
    now.members[1].state = CW_MEMBER_OUT;
    copy_put(&w, 0, now)->promised_gen = 8;
    copy_put(&w, 1, old);
    copy_put(&w, 2, now);
    assert_true(cw_rebuild_plan(&w.r));
    assert_int_equal(w.r.notes.n, 0);
    rec = found(&w, CW_REC_SHARD, 0);
    assert_int_equal(rec->shard.cfg, 6);
    assert_int_equal(rec->shard.members[1].state, CW_MEMBER_OUT);
    rec = found(&w, CW_REC_VOLUME, 0);
    assert_string_equal(rec->volume.name, "recovered-7");
    assert_int_equal(rec->volume.gen, 8 + CW_REBUILD_JUMP);
    assert_int_equal(rec->volume.hold, CW_HOLD_OWNED);
    assert_int_equal(rec->volume.size_bytes, 64 << 20);
    assert_string_equal(rec->volume.policy, "default");
    assert_null(found(&w, CW_REC_VOLUME, 1));
    assert_non_null(found(&w, CW_REC_DISK, 2));
    /* without it no manager starts: it is written last */
    rec = &w.r.recs[w.r.n_recs - 1];
    assert_int_equal(rec->kind, CW_REC_CLUSTER);
    assert_int_equal(rec->cluster.next_volume_id, 7 + CW_REBUILD_JUMP);
    cw_rebuild_fini(&w.r);
}

static void
an_in_sync_copy_that_is_missing_refuses_the_shard(void **state)
{
    const struct cw_rec *rec;
    struct world w;

    for (int force = 0; force < 2; force++) {
        world_init(&w, 2);
        w.r.force = force;
        copy_put(&w, 0, rec_of(1, 0, 2, 3));
        copy_put(&w, 1, rec_of(1, 0, 2, 3));
        if (!force) {
            refused_with(&w, "in-sync copy on disk");
            continue;
        }
        assert_true(cw_rebuild_plan(&w.r));
        texts_have(&w.r.notes, "writes that only it holds are lost");
        rec = found(&w, CW_REC_SHARD, 0);
        assert_int_equal(rec->shard.cfg, 3 + CW_REBUILD_JUMP);
        assert_int_equal(rec->shard.members[0].state, CW_MEMBER_INSYNC);
        assert_int_equal(rec->shard.members[2].state, CW_MEMBER_OUT);
        cw_rebuild_fini(&w.r);
    }
    /* a store that is there but has no such copy is no better */
    world_init(&w, 3);
    copy_put(&w, 0, rec_of(1, 0, 2, 3));
    copy_put(&w, 1, rec_of(1, 0, 2, 3));
    refused_with(&w, "in-sync copy on disk");
    /* nor is a copy of another life of the disk, or of another lineage */
    for (int what = 0; what < 2; what++) {
        world_init(&w, 3);
        copy_put(&w, 0, rec_of(1, 0, 2, 3));
        copy_put(&w, 1, rec_of(1, 0, 2, 3));
        copy_put(&w, 2, rec_of(1, 0, 1, 1))->rec.lineage = what == 0 ? 9 : 10;
        w.stores[2].id.format_id += what == 0;
        refused_with(&w, "in-sync copy on disk");
    }
}

static void
members_that_are_not_in_sync_need_not_be_there(void **state)
{
    struct cw_shard_rec rec = rec_of(1, 0, 2, 3);
    struct world w;

    world_init(&w, 1);
    rec.members[1].state = CW_MEMBER_OUT;
    rec.members[2].state = CW_MEMBER_DEAD;
    copy_put(&w, 0, rec);
    assert_true(cw_rebuild_plan(&w.r));
    assert_int_equal(w.r.notes.n, 1);
    texts_have(&w.r.notes, "(OUT) was not found");
    assert_int_equal(found(&w, CW_REC_SHARD, 0)->shard.cfg, 3);
    assert_string_equal(found(&w, CW_REC_VOLUME, 0)->volume.policy, "recovered-2-background");
    cw_rebuild_fini(&w.r);
}

/* Only by force, only one that is whole, and of those the one that is furthest. */
static void
without_an_in_sync_copy_force_takes_the_best_other(void **state)
{
    struct cw_shard_rec rec = rec_of(1, 0, 2, 3);
    struct world w;

    rec.members[0].state = rec.members[1].state = CW_MEMBER_OUT;
    for (int whole = 0; whole < 2; whole++) {
        world_init(&w, 2);
        w.r.force = true;
        copy_put(&w, 0, rec)->syncing = true;
        w.copies[0].last_seq = 90;
        copy_put(&w, 1, rec)->damaged = !whole;
        if (!whole) {
            refused_with(&w, "no copy that was found is whole");
            continue;
        }
        assert_true(cw_rebuild_plan(&w.r));
        texts_have(&w.r.notes, "its copy in /s1, which was OUT, is taken for the shard");
        assert_int_equal(found(&w, CW_REC_SHARD, 0)->shard.members[0].state, CW_MEMBER_OUT);
        assert_int_equal(found(&w, CW_REC_SHARD, 0)->shard.members[1].state, CW_MEMBER_INSYNC);
        assert_int_equal(found(&w, CW_REC_SHARD, 0)->shard.members[2].state, CW_MEMBER_OUT);
        cw_rebuild_fini(&w.r);
    }
}

/* A volume that was grown has full shards in front of its last, whatever their copies were shown;
 * one whose last shard is full may have had more of them. */
static void
shards_before_the_last_are_full(void **state)
{
    struct cw_shard_rec last = rec_of(4, 1, 2, 3);
    struct world w;

    for (int full = 0; full < 2; full++) {
        uint64_t blocks = CW_SHARD_BLOCKS;

        world_init(&w, 3);
        last.n_blocks = full ? CW_SHARD_BLOCKS : 16384;
        for (uint32_t s = 0; s < 3; s++) {
            copy_put(&w, s, rec_of(4, 0, 2, 3));
            copy_put(&w, s, last);
        }
        assert_true(cw_rebuild_plan(&w.r));
        assert_int_equal(found(&w, CW_REC_SHARD, 0)->shard.n_blocks, CW_SHARD_BLOCKS);
        blocks += last.n_blocks;
        assert_int_equal(found(&w, CW_REC_VOLUME, 0)->volume.size_bytes, blocks * 4096);
        assert_int_equal(w.r.notes.n, 1 + full);
        texts_have(&w.r.notes, "volume 4 shard 0: its copies were shown 64M of it");
        if (full)
            texts_have(&w.r.notes, "volume 4: its last shard is full");
        cw_rebuild_fini(&w.r);
    }
}

static void
a_volume_with_a_hole_is_refused(void **state)
{
    const uint64_t out[] = { 4 };
    struct world w;

    for (int leave = 0; leave < 2; leave++) {
        world_init(&w, 3);
        w.r.leave_out = out;
        w.r.n_leave_out = (size_t)leave;
        for (uint32_t s = 0; s < 3; s++) {
            copy_put(&w, s, rec_of(4, 0, 2, 3));
            copy_put(&w, s, rec_of(4, 2, 2, 3));
            copy_put(&w, s, rec_of(5, 0, 2, 3));
        }
        if (!leave) {
            refused_with(&w, "volume 4: no copy of its shard 1 was found");
            continue;
        }
        assert_true(cw_rebuild_plan(&w.r));
        assert_int_equal(found(&w, CW_REC_VOLUME, 0)->volume.id, 5);
        assert_null(found(&w, CW_REC_VOLUME, 1));
        assert_null(found(&w, CW_REC_SHARD, 1));
        cw_rebuild_fini(&w.r);
    }
}

/* A volume that is not there cannot be left out: another number was meant. */
static void
what_is_left_out_must_be_there(void **state)
{
    const uint64_t out[] = { 5, 6 };
    struct world w;

    for (size_t n = 1; n <= 2; n++) {
        world_init(&w, 3);
        w.r.leave_out = out;
        w.r.n_leave_out = n;
        for (uint32_t s = 0; s < 3; s++) {
            copy_put(&w, s, rec_of(4, 0, 2, 3));
            copy_put(&w, s, rec_of(5, 0, 2, 3));
        }
        if (n == 2) {
            refused_with(&w, "--leave-out: no volume 6 was found");
            continue;
        }
        assert_true(cw_rebuild_plan(&w.r));
        assert_int_equal(found(&w, CW_REC_VOLUME, 0)->volume.id, 4);
        cw_rebuild_fini(&w.r);
    }
}

static void
records_that_contradict_each_other_are_refused(void **state)
{
    struct cw_shard_rec other = rec_of(1, 0, 2, 3);
    struct world w;

    world_init(&w, 3);
    other.members[0].state = CW_MEMBER_OUT;
    copy_put(&w, 0, rec_of(1, 0, 2, 3));
    copy_put(&w, 1, other);
    copy_put(&w, 2, rec_of(1, 0, 2, 3));
    refused_with(&w, "different records of gen 2 cfg 3");
}

static void
stores_of_other_clusters_and_twins_are_refused(void **state)
{
    struct world w;

    world_init(&w, 2);
    w.stores[1].id.cluster_id = cw_uuid_from_random(1, 1);
    refused_with(&w, "/s1: belongs to another cluster than /s0");
    world_init(&w, 2);
    w.stores[1].id.cluster_id = (struct cw_uuid){ 0 };
    refused_with(&w, "/s1: belongs to no cluster");
    world_init(&w, 2);
    w.stores[1].id.disk_uuid = w.stores[0].id.disk_uuid;
    refused_with(&w, "are the same disk");
}

static void
names_are_given_and_must_be_good(void **state)
{
    static const struct {
        struct cw_rebuild_name names[2];
        const char *why;
    } what[] = {
        { { { 1, "vm1" }, { 2, "vm2" } }, NULL },
        { { { 1, "vm1" }, { 2, "vm1" } }, "would be the name of two volumes" },
        { { { 1, "a b" }, { 2, "vm2" } }, "is no name" },
        { { { 1, "vm1" }, { 3, "vm3" } }, "no volume 3 was found" },
        { { { 1, "recovered-2" }, { 1, "recovered-2" } }, "would be the name of two volumes" },
    };

    for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
        struct world w;

        world_init(&w, 3);
        w.r.names = what[i].names;
        w.r.n_names = 2;
        for (uint32_t s = 0; s < 3; s++) {
            copy_put(&w, s, rec_of(2, 0, 2, 3));
            copy_put(&w, s, rec_of(1, 0, 2, 3));
        }
        if (what[i].why != NULL) {
            refused_with(&w, what[i].why);
            continue;
        }
        assert_true(cw_rebuild_plan(&w.r));
        assert_string_equal(found(&w, CW_REC_VOLUME, 0)->volume.name, "vm1");
        assert_string_equal(found(&w, CW_REC_VOLUME, 1)->volume.name, "vm2");
        cw_rebuild_fini(&w.r);
    }
}

static void
copies_that_are_no_members_are_told_of(void **state)
{
    struct world w;

    world_init(&w, 4);
    for (uint32_t s = 0; s < 3; s++)
        copy_put(&w, s, rec_of(1, 0, 2, 3));
    copy_put(&w, 3, rec_of(1, 0, 1, 1));
    w.copies[2].damaged = true;
    assert_true(cw_rebuild_plan(&w.r));
    assert_int_equal(w.r.notes.n, 2);
    texts_have(&w.r.notes, "the copy in /s3 is no member of it any more");
    texts_have(&w.r.notes, "the in-sync copy in /s2 is damaged");
    cw_rebuild_fini(&w.r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_that_hold_something_are_not_new),
        cmocka_unit_test(the_highest_record_counts),
        cmocka_unit_test(an_in_sync_copy_that_is_missing_refuses_the_shard),
        cmocka_unit_test(members_that_are_not_in_sync_need_not_be_there),
        cmocka_unit_test(without_an_in_sync_copy_force_takes_the_best_other),
        cmocka_unit_test(shards_before_the_last_are_full),
        cmocka_unit_test(a_volume_with_a_hole_is_refused),
        cmocka_unit_test(what_is_left_out_must_be_there),
        cmocka_unit_test(records_that_contradict_each_other_are_refused),
        cmocka_unit_test(stores_of_other_clusters_and_twins_are_refused),
        cmocka_unit_test(names_are_given_and_must_be_good),
        cmocka_unit_test(copies_that_are_no_members_are_told_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
