/* Journal members: where the manager puts them, what their owner may make of them, and that they
 * count as no copy. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

/* A volume of three copies on four hosts, attached. */
static void
begin(struct world *w)
{
    world_init(w);
    world_three(w);
    assert_int_equal(world_up(w, 3, "aws-2", "aws"), CW_MGR_OK);
    assert_int_equal(world_create(w, "v", CW_GIB, ""), CW_MGR_OK);
    world_client(w, 0);
    assert_int_equal(world_attach(w, 0, "v", false), CW_MGR_OK);
    world_report(w, w->c[0].session, 1, 1);
}

static void
look(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = 1 };

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
}

/* The owner's change of these members, compared with `cfg`. */
static enum cw_mgr_code
change_at(struct world *w, uint32_t cfg, const struct cw_member *want, size_t n)
{
    struct cw_mgr_call call = { .kind = CW_MGR_CHANGE,
                                .req.change = { .volume_id = 1,
                                                .gen = w->attach.gen,
                                                .shard = w->shards[0].shard,
                                                .cfg = cfg,
                                                .want = want,
                                                .n_want = n,
                                                .why = "test" } };

    return world_call(w, w->c[0].session, &call);
}

static enum cw_mgr_code
change(struct world *w, int member, enum cw_member_state state, uint64_t since)
{
    struct cw_member want = w->shards[0].members[member];

    want.state = state;
    want.since_seq = since;
    return change_at(w, w->shards[0].cfg, &want, 1);
}

static void
move(struct world *w, int member, enum cw_member_state state, uint64_t since)
{
    assert_int_equal(change(w, member, state, since), CW_MGR_OK);
    assert_true(w->change.applied);
}

/* Members 1 and 2 are out, and the spare holds a journal since 7 as member 3. */
static void
begin_with_journal(struct world *w)
{
    begin(w);
    move(w, 1, CW_MEMBER_OUT, 0);
    move(w, 2, CW_MEMBER_OUT, 0);
    world_run(w, 1000);
    look(w);
    assert_int_equal(w->shards[0].n_members, 4);
    move(w, 3, CW_MEMBER_JOURNAL, 7);
}

static enum cw_mgr_code
put_journal(struct world *w, const char *word)
{
    return world_put_policy(w, (struct cw_mgr_policy){ .name = "default", .journal = word }, false,
                            false);
}

/* While two are in sync each write has two places; with one, the spare is asked, and its owner
 * told.
 */
static void
placed_where_one_copy_is_left(void **state)
{
    static struct world w;
    uint32_t n;

    begin(&w);
    move(&w, 1, CW_MEMBER_OUT, 0);
    world_run(&w, 3000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    n = w.c[0].n_rereads;
    move(&w, 2, CW_MEMBER_OUT, 0);
    world_run(&w, 1000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 4);
    assert_int_equal(w.shards[0].members[3].state, CW_MEMBER_JOURNAL);
    assert_int_equal(w.shards[0].members[3].since_seq, 0);
    assert_int_equal(w.c[0].n_rereads, n + 1);
    for (int i = 0; i < 3; i++)
        assert_true(world_daemon_of(&w, 3) != world_daemon_of(&w, i));
    world_run(&w, 5000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 4);
    world_fini(&w);
}

/* Not against the policy, not on a full disk, not without an owner, not where a member is already.
 */
static void
not_placed_otherwise(void **state)
{
    for (int how = 0; how < 4; how++) {
        static struct world w;
        int spare = 0;

        begin(&w);
        for (int i = 0; i < 3; i++)
            spare += world_daemon_of(&w, i);
        spare = 6 - spare;
        if (how == 0)
            assert_int_equal(put_journal(&w, "off"), CW_MGR_OK);
        if (how == 1)
            w.d[spare].percent = 92;
        if (how == 2)
            world_down(&w, spare);
        world_run(&w, 2000);
        move(&w, 1, CW_MEMBER_OUT, 0);
        move(&w, 2, CW_MEMBER_OUT, 0);
        if (how == 3)
            assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
        world_run(&w, 1500);
        look(&w);
        assert_int_equal(w.shards[0].n_members, 3);
        world_fini(&w);
    }
}

/* Its owner says once from which record on it holds what is written; asked again after a lost reply
 * it is the same. It becomes nothing else. */
static void
begins_once(void **state)
{
    static struct world w;
    struct cw_member want;
    uint32_t cfg;

    begin(&w);
    move(&w, 1, CW_MEMBER_OUT, 0);
    move(&w, 2, CW_MEMBER_OUT, 0);
    world_run(&w, 1000);
    look(&w);
    assert_int_equal(change(&w, 3, CW_MEMBER_JOURNAL, 0), CW_MGR_BAD_REQUEST);
    assert_int_equal(change(&w, 1, CW_MEMBER_JOURNAL, 7), CW_MGR_BAD_REQUEST);
    cfg = w.shards[0].cfg;
    move(&w, 3, CW_MEMBER_JOURNAL, 7);
    look(&w);
    assert_int_equal(w.shards[0].members[3].since_seq, 7);
    want = w.shards[0].members[3];
    assert_int_equal(change_at(&w, cfg, &want, 1), CW_MGR_OK);
    assert_true(w.change.applied);
    want.since_seq = 8;
    assert_int_equal(change_at(&w, cfg, &want, 1), CW_MGR_OK);
    assert_false(w.change.applied);
    assert_int_equal(change(&w, 3, CW_MEMBER_JOURNAL, 8), CW_MGR_BAD_REQUEST);
    assert_int_equal(change(&w, 3, CW_MEMBER_INSYNC, 0), CW_MGR_BAD_REQUEST);
    assert_int_equal(change(&w, 3, CW_MEMBER_OUT, 0), CW_MGR_BAD_REQUEST);
    assert_int_equal(change(&w, 3, CW_MEMBER_IN_RESYNC, 0), CW_MGR_BAD_REQUEST);
    world_fini(&w);
}

/* I12: it is not the last copy. */
static void
is_no_copy(void **state)
{
    static struct world w;

    begin_with_journal(&w);
    look(&w);
    assert_int_equal(change(&w, 0, CW_MEMBER_OUT, 0), CW_MGR_LAST_COPY);
    assert_string_equal(world_word(&w, "v"), "at-risk");
    move(&w, 1, CW_MEMBER_IN_RESYNC, 0);
    look(&w);
    move(&w, 1, CW_MEMBER_INSYNC, 0);
    look(&w);
    assert_string_equal(world_word(&w, "v"), "reduced-rebuilding");
    world_fini(&w);
}

/* When it goes, it leaves the record and its disk at once; the same request again is fine. */
static void
goes_for_good(void **state)
{
    static struct world w;
    struct cw_member want;
    char name[16], site[16];
    uint32_t cfg;
    int at;

    begin_with_journal(&w);
    look(&w);
    at = world_daemon_of(&w, 3);
    cfg = w.shards[0].cfg;
    want = w.shards[0].members[3];
    want.state = CW_MEMBER_DEAD;
    want.since_seq = 0;
    world_down(&w, at); /* so that no other takes its place */
    assert_int_equal(change_at(&w, cfg, &want, 1), CW_MGR_OK);
    assert_true(w.change.applied);
    assert_int_equal(change_at(&w, cfg, &want, 1), CW_MGR_OK);
    assert_true(w.change.applied);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    snprintf(name, sizeof(name), "%s", w.d[at].name);
    snprintf(site, sizeof(site), "%s", w.d[at].site);
    assert_int_equal(world_up(&w, at, name, site), CW_MGR_OK);
    world_run(&w, 3000);
    assert_int_equal(w.d[at].n_dropped, 1);
    world_fini(&w);
}

/* One that could not begin is not placed again at once. */
static void
not_again_at_once(void **state)
{
    static struct world w;

    begin(&w);
    w.c[0].tells_gen = w.attach.gen;
    move(&w, 1, CW_MEMBER_OUT, 0);
    move(&w, 2, CW_MEMBER_OUT, 0);
    world_run(&w, 1000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 4);
    move(&w, 3, CW_MEMBER_DEAD, 0);
    world_run(&w, 25000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    world_run(&w, 10000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 4);
    world_fini(&w);
}

/* A SYNCING member is bound to the journal that makes it whole, and takes the last one's place in
 * one change. */
static void
makes_a_copy_whole(void **state)
{
    static struct world w;
    struct cw_member want[2];

    begin_with_journal(&w);
    look(&w);
    assert_int_equal(change(&w, 1, CW_MEMBER_IN_RESYNC, 8), CW_MGR_BAD_REQUEST);
    assert_int_equal(change(&w, 1, CW_MEMBER_INSYNC, 7), CW_MGR_BAD_REQUEST);
    move(&w, 1, CW_MEMBER_IN_RESYNC, 7);
    look(&w);
    assert_int_equal(w.shards[0].members[1].since_seq, 7);
    want[0] = w.shards[0].members[0];
    want[0].state = CW_MEMBER_OUT;
    want[0].since_seq = 0;
    want[1] = w.shards[0].members[1];
    want[1].state = CW_MEMBER_INSYNC;
    want[1].since_seq = 0;
    assert_int_equal(change_at(&w, w.shards[0].cfg, want, 2), CW_MGR_OK);
    assert_true(w.change.applied);
    look(&w);
    assert_int_equal(w.shards[0].members[0].state, CW_MEMBER_OUT);
    assert_int_equal(w.shards[0].members[1].state, CW_MEMBER_INSYNC);
    assert_int_equal(w.shards[0].members[1].since_seq, 0);
    world_fini(&w);
}

/* Its owner is asked to let it go when the policy does not want it any more. */
static void
leaves_when_the_policy_says_so(void **state)
{
    static struct world w;

    begin_with_journal(&w);
    look(&w);
    world_run(&w, 3000);
    assert_int_equal(w.c[0].n_evict, 0);
    assert_int_equal(put_journal(&w, "off"), CW_MGR_OK);
    world_report(&w, w.c[0].session, 1, 1);
    world_run(&w, 1000);
    assert_int_equal(w.c[0].n_evict, 1);
    assert_true(cw_uuid_equal(&w.c[0].evict, &w.shards[0].members[3].disk_uuid));
    world_fini(&w);
}

/* A copy that will not come back is built where the journal is, if there is no other place. */
static void
leaves_for_a_copy(void **state)
{
    static struct world w;
    int lost, at;

    begin_with_journal(&w);
    look(&w);
    lost = world_daemon_of(&w, 1);
    at = world_daemon_of(&w, 3);
    w.d[lost].failed = true;
    world_report(&w, w.c[0].session, 1, 1);
    world_run(&w, 3000);
    look(&w);
    assert_true(w.c[0].n_evict > 0);
    assert_true(cw_uuid_equal(&w.c[0].evict, &w.d[at].disk_uuid));
    move(&w, 3, CW_MEMBER_DEAD, 0);
    world_run(&w, 5000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(w.shards[0].members[1].state, CW_MEMBER_OUT);
    assert_int_equal(world_daemon_of(&w, 1), at);
    world_fini(&w);
}

/* A volume that nobody has attached needs somebody for what a journal can make whole, and for a
 * journal that is not needed any more; not for one as such. */
static void
a_caretaker_sees_to_it(void **state)
{
    for (int how = 0; how < 2; how++) {
        static struct world w;
        int first;

        begin_with_journal(&w);
        look(&w);
        first = world_daemon_of(&w, 0);
        for (int i = 0; i < 4; i++)
            w.d[i].willing = true;
        if (how == 0) {
            world_down(&w, first);
        } else {
            world_down(&w, world_daemon_of(&w, 1));
            world_down(&w, world_daemon_of(&w, 2));
        }
        assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
        world_run(&w, 20000);
        if (how == 0)
            assert_true(w.d[world_daemon_of(&w, 3)].n_caretakes > 0);
        for (int i = 0; how == 1 && i < 4; i++)
            assert_int_equal(w.d[i].n_caretakes, 0);
        world_fini(&w);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(placed_where_one_copy_is_left),
        cmocka_unit_test(not_placed_otherwise),
        cmocka_unit_test(begins_once),
        cmocka_unit_test(is_no_copy),
        cmocka_unit_test(goes_for_good),
        cmocka_unit_test(not_again_at_once),
        cmocka_unit_test(makes_a_copy_whole),
        cmocka_unit_test(leaves_when_the_policy_says_so),
        cmocka_unit_test(leaves_for_a_copy),
        cmocka_unit_test(a_caretaker_sees_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
