/* On from a stale copy: who may be chosen, what becomes of the rest, and when it is refused. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static struct {
    bool recovered;
    char command[160], bar[CW_MEMBERS_MAX][100];
    uint32_t last_gen[CW_MEMBERS_MAX], gen;
    uint64_t last_seq[CW_MEMBERS_MAX];
    bool chosen[CW_MEMBERS_MAX];
    size_t n_shards, n_copies;
} got;

static void
keep_recover(struct world *w, const union cw_mgr_reply *reply)
{
    const struct cw_mgr_recover_reply *r = &reply->recover;

    memset(&got, 0, sizeof(got));
    got.recovered = r->recovered;
    got.gen = r->gen;
    got.n_shards = r->n_shards;
    snprintf(got.command, sizeof(got.command), "%s", r->command);
    if (r->n_shards == 0)
        return;
    got.n_copies = r->shards[0].n_copies;
    for (size_t i = 0; i < got.n_copies; i++) {
        const struct cw_mgr_recover_copy *c = &r->shards[0].copies[i];

        snprintf(got.bar[i], sizeof(got.bar[i]), "%s", c->bar);
        got.last_gen[i] = c->last_gen;
        got.last_seq[i] = c->last_seq;
        got.chosen[i] = c->chosen;
    }
}

static enum cw_mgr_code
recover(struct world *w, const char *copy, bool accept_loss)
{
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_RECOVER,
                                .req.volume_recover = { "v", copy, accept_loss } };
    enum cw_mgr_code code;

    w->keep = keep_recover;
    code = world_call(w, NULL, &call);
    w->keep = NULL;
    return code;
}

static void
look(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = 1 };

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
}

static void
move(struct world *w, int member, enum cw_member_state state)
{
    assert_int_equal(world_change(w, 0, w->attach.gen, w->shards[0].cfg, member, state), CW_MGR_OK);
    assert_true(w->change.applied);
    look(w);
}

/* As the daemon of that member registers it from now on. */
static struct cw_mgr_copy_state *
copy_of(struct world *w, int member)
{
    struct wdaemon *d = &w->d[world_daemon_of(w, member)];

    d->n_copies = 1;
    d->copies[0] = (struct cw_mgr_copy_state){ .shard = w->shards[0].shard,
                                               .disk_uuid = d->disk_uuid,
                                               .format_id = d->format_id,
                                               .gen = 1,
                                               .cfg = 1,
                                               .last_gen = 1,
                                               .last_seq = 100 + (uint64_t)member };
    return &d->copies[0];
}

static const char *
path_of(struct world *w, int member)
{
    static char path[40];

    snprintf(path, sizeof(path), "%s/store-0", w->d[world_daemon_of(w, member)].name);
    return path;
}

static void
leave(struct world *w, int member)
{
    world_down(w, world_daemon_of(w, member));
}

static void
come_back(struct world *w, int daemon)
{
    char name[16], site[16];

    snprintf(name, sizeof(name), "%s", w->d[daemon].name);
    snprintf(site, sizeof(site), "%s", w->d[daemon].site);
    assert_int_equal(world_up(w, daemon, name, site), CW_MGR_OK);
}

static void
come(struct world *w, int member)
{
    come_back(w, world_daemon_of(w, member));
}

/* Three copies; that of member 2 is out, and registered; the owner has gone. */
static void
begin(struct world *w)
{
    world_init(w);
    world_three(w);
    assert_int_equal(world_create(w, "v", CW_GIB, ""), CW_MGR_OK);
    world_client(w, 0);
    assert_int_equal(world_attach(w, 0, "v", false), CW_MGR_OK);
    world_report(w, w->c[0].session, 1, 1);
    look(w);
    leave(w, 2);
    move(w, 2, CW_MEMBER_OUT);
    copy_of(w, 2);
    come(w, 2);
    world_run(w, 1000);
}

static void
lose_the_rest(struct world *w)
{
    leave(w, 0);
    leave(w, 1);
    world_client_down(w, 0);
    world_run(w, 8000);
}

/* Nothing is lost while a copy in sync is up. */
static void
refused_while_one_is_in_sync(void **state)
{
    static struct world w;

    begin(&w);
    leave(&w, 0);
    world_client_down(&w, 0);
    world_run(&w, 8000);
    assert_int_equal(recover(&w, "", false), CW_MGR_BAD_REQUEST);
    assert_int_equal(recover(&w, path_of(&w, 2), true), CW_MGR_BAD_REQUEST);
    assert_non_null(strstr(w.error.message, "nothing is lost"));
    assert_string_equal(w.error.object, "v");
    assert_true(w.error.hint[0] != '\0');
    world_fini(&w);
}

/* Without the word for it everything is told, and nothing changes. */
static void
tells_what_could_be_done(void **state)
{
    static struct world w;
    struct cw_shard_rec was;

    begin(&w);
    lose_the_rest(&w);
    look(&w);
    was = w.shards[0];
    assert_int_equal(recover(&w, "", false), CW_MGR_OK);
    assert_false(got.recovered);
    assert_int_equal(got.n_shards, 1);
    assert_int_equal(got.n_copies, 3);
    assert_string_equal(got.bar[0], "its host is down");
    assert_string_equal(got.bar[2], "");
    assert_int_equal(got.last_gen[2], 1);
    assert_int_equal(got.last_seq[2], 102);
    assert_non_null(strstr(got.command, path_of(&w, 2)));
    look(&w);
    assert_memory_equal(&was, &w.shards[0], sizeof(was));
    world_fini(&w);
}

/* One copy in a new lineage, of a later generation; the others are no members any more, are dropped
 * when they return, and only then is a new copy made there. */
static void
goes_on_alone_in_a_new_lineage(void **state)
{
    static struct world w;
    struct cw_shard_rec was;
    int back;

    begin(&w);
    lose_the_rest(&w);
    look(&w);
    was = w.shards[0];
    back = world_daemon_of(&w, 0);
    assert_int_equal(recover(&w, "", true), CW_MGR_OK);
    assert_true(got.recovered);
    assert_true(got.chosen[2] && !got.chosen[0] && !got.chosen[1]);
    look(&w);
    assert_int_equal(w.attach.gen, 2);
    assert_int_equal(got.gen, 2);
    assert_int_equal(w.shards[0].n_members, 1);
    assert_true(cw_uuid_equal(&w.shards[0].members[0].disk_uuid, &was.members[2].disk_uuid));
    assert_int_equal(w.shards[0].members[0].state, CW_MEMBER_INSYNC);
    assert_true(w.shards[0].lineage != was.lineage && w.shards[0].lineage != 0);
    assert_int_equal(w.shards[0].gen, 2);
    assert_int_equal(w.shards[0].cfg, was.cfg + 1);
    assert_string_equal(world_state(&w, "v"), "released");
    come_back(&w, back);
    world_run(&w, 3000);
    assert_int_equal(w.d[back].n_dropped, 1);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 2);
    assert_int_equal(w.shards[0].members[1].state, CW_MEMBER_OUT);
    assert_true(cw_uuid_equal(&w.shards[0].members[1].disk_uuid, &w.d[back].disk_uuid));
    assert_true(w.shards[0].cfg > was.cfg + 1);
    cw_manager_check(w.m);
    world_fini(&w);
}

/* An owner of before can change nothing, and is told at once. */
static void
fences_the_owner_of_before(void **state)
{
    static struct world w;
    uint32_t n;

    begin(&w);
    leave(&w, 0);
    leave(&w, 1);
    world_run(&w, 8000);
    n = w.c[0].n_rereads;
    assert_int_equal(recover(&w, path_of(&w, 2), true), CW_MGR_OK);
    assert_true(got.recovered);
    assert_int_equal(w.c[0].n_rereads, n + 1);
    assert_int_equal(world_change(&w, 0, 1, w.shards[0].cfg, 1, CW_MEMBER_OUT), CW_MGR_OK);
    assert_false(w.change.applied);
    assert_int_equal(w.change.volume_gen, 2);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 1);
    world_fini(&w);
}

/* An owner that says it serves reaches what this manager does not. */
static void
refused_while_the_owner_serves(void **state)
{
    static struct world w;

    begin(&w);
    leave(&w, 0);
    leave(&w, 1);
    for (int i = 0; i < 8; i++) {
        world_report(&w, w.c[0].session, 1, 1);
        world_run(&w, 1000);
    }
    assert_int_equal(recover(&w, "", true), CW_MGR_VOLUME_IN_USE);
    assert_int_equal(recover(&w, "", false), CW_MGR_VOLUME_IN_USE);
    look(&w);
    assert_int_equal(w.attach.gen, 1);
    world_fini(&w);
}

/* What has holes, is damaged, is away or was never there cannot be chosen. */
static void
refuses_what_is_not_whole(void **state)
{
    static const char *const why[] = { "holes", "damaged", "down", "not named" };

    for (int how = 0; how < 4; how++) {
        static struct world w;
        struct cw_mgr_copy_state *c;

        begin(&w);
        leave(&w, 2);
        c = copy_of(&w, 2);
        c->syncing = how == 0;
        c->damaged = how == 1;
        if (how == 3)
            w.d[world_daemon_of(&w, 2)].n_copies = 0;
        if (how != 2)
            come(&w, 2);
        lose_the_rest(&w);
        assert_int_equal(recover(&w, path_of(&w, 2), true), CW_MGR_BAD_REQUEST);
        assert_non_null(strstr(w.error.message, why[how]));
        assert_int_equal(recover(&w, "", true), CW_MGR_OK);
        assert_false(got.recovered);
        assert_string_equal(got.command, "");
        look(&w);
        assert_int_equal(w.shards[0].n_members, 3);
        world_fini(&w);
    }
}

/* A resync that this manager saw begin and not end, of a copy that did not register since. */
static void
remembers_holes(void **state)
{
    static struct world w;

    begin(&w);
    move(&w, 2, CW_MEMBER_IN_RESYNC);
    move(&w, 2, CW_MEMBER_OUT);
    lose_the_rest(&w);
    assert_int_equal(recover(&w, path_of(&w, 2), true), CW_MGR_BAD_REQUEST);
    assert_non_null(strstr(w.error.message, "holes"));
    world_fini(&w);
}

/* With two to choose from it has to be said which. */
static void
asks_which(void **state)
{
    static struct world w;

    begin(&w);
    leave(&w, 1);
    move(&w, 1, CW_MEMBER_OUT);
    copy_of(&w, 1);
    come(&w, 1);
    leave(&w, 0);
    world_client_down(&w, 0);
    world_run(&w, 8000);
    assert_int_equal(recover(&w, "", true), CW_MGR_OK);
    assert_false(got.recovered);
    assert_non_null(strstr(got.command, "HOST/DISK"));
    assert_int_equal(recover(&w, "nowhere/store-0", true), CW_MGR_NOT_FOUND);
    assert_int_equal(recover(&w, path_of(&w, 0), true), CW_MGR_BAD_REQUEST);
    assert_int_equal(recover(&w, path_of(&w, 1), true), CW_MGR_OK);
    assert_true(got.recovered && got.chosen[1]);
    world_fini(&w);
}

/* A manager that has just begun sees nobody: that says nothing about who is lost. Then it knows
 * what registered with it. */
static void
a_new_manager_waits_for_hosts(void **state)
{
    static struct world w;
    int stale;

    begin(&w);
    assert_int_equal(world_release(&w, 0, 1, 1), CW_MGR_OK);
    lose_the_rest(&w);
    look(&w);
    stale = world_daemon_of(&w, 2);
    world_stop_manager(&w);
    world_start_manager(&w, false);
    come_back(&w, stale);
    assert_int_equal(recover(&w, path_of(&w, 2), true), CW_MGR_UNAVAILABLE);
    assert_int_equal(recover(&w, "", false), CW_MGR_UNAVAILABLE);
    world_run(&w, 4000);
    assert_int_equal(recover(&w, path_of(&w, 2), true), CW_MGR_OK);
    assert_true(got.recovered);
    assert_int_equal(got.last_seq[2], 102);
    world_fini(&w);
}

/* Two shards, with a stale copy of the first on the host that is left, and of the second if so. */
static void
begin_two(struct world *w, bool both)
{
    struct wdaemon *d;
    struct cw_member want;
    struct cw_mgr_call change = { .kind = CW_MGR_CHANGE };

    world_init(w);
    world_three(w);
    assert_int_equal(world_create(w, "v", 65 * CW_GIB, ""), CW_MGR_OK);
    world_client(w, 0);
    assert_int_equal(world_attach(w, 0, "v", false), CW_MGR_OK);
    world_report(w, w->c[0].session, 1, 1);
    look(w);
    d = &w->d[world_daemon_of(w, 2)];
    leave(w, 2);
    want = *cw_shard_rec_find(&w->shards[1], &d->disk_uuid, d->format_id);
    want.state = CW_MEMBER_OUT;
    want.since_seq = 0;
    change.req.change = (struct cw_mgr_change){ .volume_id = 1,
                                                .gen = 1,
                                                .shard = w->shards[1].shard,
                                                .cfg = w->shards[1].cfg,
                                                .want = &want,
                                                .n_want = 1,
                                                .why = "test" };
    if (both)
        assert_int_equal(world_call(w, w->c[0].session, &change), CW_MGR_OK);
    look(w);
    move(w, 2, CW_MEMBER_OUT);
    copy_of(w, 2);
    d->copies[1] = d->copies[0];
    d->copies[1].shard = w->shards[1].shard;
    d->n_copies = 2;
    come(w, 2);
    lose_the_rest(w);
}

/* All in one transaction, each in a lineage of its own; one that has a copy in sync stays as it is.
 */
static void
every_lost_shard_goes_on(void **state)
{
    for (int both = 0; both < 2; both++) {
        static struct world w;
        struct cw_shard_rec was;

        begin_two(&w, both);
        look(&w);
        was = w.shards[1];
        assert_int_equal(recover(&w, path_of(&w, 2), true), CW_MGR_OK);
        assert_true(got.recovered);
        assert_int_equal(got.n_shards, both ? 2 : 1);
        look(&w);
        assert_int_equal(w.shards[0].n_members, 1);
        assert_int_equal(w.shards[1].n_members, both ? 1 : 3);
        assert_int_equal(w.shards[1].members[0].state, CW_MEMBER_INSYNC);
        assert_true(both == (w.shards[1].lineage != was.lineage));
        assert_true(w.shards[0].lineage != w.shards[1].lineage);
        cw_manager_check(w.m);
        world_fini(&w);
    }
}

/* A shard that was made with fewer copies than its policy asks for gets more once there is a place.
 */
static void
too_few_members_become_enough(void **state)
{
    static struct world w;
    struct cw_mgr_call create = { .kind = CW_MGR_VOLUME_CREATE,
                                  .req.volume_create = { "v", CW_GIB, "", true } };

    world_init(&w);
    assert_int_equal(world_up(&w, 0, "h1", "dc1"), CW_MGR_OK);
    assert_int_equal(world_up(&w, 1, "h2", "dc1"), CW_MGR_OK);
    assert_int_equal(world_call(&w, NULL, &create), CW_MGR_OK);
    world_run(&w, 3000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 2);
    assert_string_equal(world_word(&w, "v"), "reduced-stuck");
    assert_int_equal(world_up(&w, 2, "h3", "dc1"), CW_MGR_OK);
    world_run(&w, 3000);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(w.shards[0].members[2].state, CW_MEMBER_INSYNC); /* nobody wrote it yet */
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_while_one_is_in_sync),
        cmocka_unit_test(tells_what_could_be_done),
        cmocka_unit_test(goes_on_alone_in_a_new_lineage),
        cmocka_unit_test(fences_the_owner_of_before),
        cmocka_unit_test(refused_while_the_owner_serves),
        cmocka_unit_test(refuses_what_is_not_whole),
        cmocka_unit_test(remembers_holes),
        cmocka_unit_test(asks_which),
        cmocka_unit_test(a_new_manager_waits_for_hosts),
        cmocka_unit_test(every_lost_shard_goes_on),
        cmocka_unit_test(too_few_members_become_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
