/* What-if: the word that it foretells is the word that comes. */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

#define N_HOSTS 5
#define N_VOLUMES 6

static const char *const hosts[N_HOSTS] = { "dc1-1", "dc1-2", "dc1-3", "aws-1", "aws-2" };
static const char *const sites[N_HOSTS] = { "dc1", "dc1", "dc1", "aws", "aws" };
static const char *const names[N_VOLUMES] = { "one", "two", "three", "strict", "idle", "unborn" };

static void
policy(struct world *w, const char *name, uint32_t copies, uint32_t min_insync)
{
    struct cw_mgr_policy p = {
        .name = name, .copies = copies, .min_insync = min_insync, .journal = "off"
    };

    assert_int_equal(world_put_policy(w, p, true, false), CW_MGR_OK);
}

static void
begin(struct world *w)
{
    world_init(w);
    for (int i = 0; i < N_HOSTS; i++)
        assert_int_equal(world_up(w, i, hosts[i], sites[i]), CW_MGR_OK);
    policy(w, "p1", 1, 1);
    policy(w, "p2", 2, 1);
    policy(w, "p33", 3, 3);
    assert_int_equal(world_create(w, "one", CW_GIB, "p1"), CW_MGR_OK);
    assert_int_equal(world_create(w, "two", CW_GIB, "p2"), CW_MGR_OK);
    assert_int_equal(world_create(w, "three", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_create(w, "strict", CW_GIB, "p33"), CW_MGR_OK);
    assert_int_equal(world_create(w, "idle", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_create(w, "unborn", CW_GIB, ""), CW_MGR_OK);
    world_client(w, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(world_attach(w, 0, names[i], false), CW_MGR_OK);
    assert_int_equal(world_release(w, 0, 5, 1), CW_MGR_OK);
}

/* An owner: it waits while fewer of its copies than min-insync asks for can be reached. */
static void
report(struct world *w, uint64_t id)
{
    static const uint32_t need[] = { 1, 1, 2, 3 };
    struct cw_mgr_shard_report sr = { .shard = CW_SHARD_ID(id, 0), .why = "" };
    struct cw_mgr_volume_report r = { .volume_id = id, .gen = 1, .shards = &sr, .n_shards = 1 };
    struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = id };
    uint32_t n = 0;

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    for (uint32_t i = 0; i < w->shards[0].n_members; i++) {
        int d = world_daemon_of(w, (int)i);

        n += d >= 0 && w->d[d].session != NULL && w->shards[0].members[i].state == CW_MEMBER_INSYNC;
    }
    sr.suspended = n < need[id - 1];
    cw_manager_report(w->m, w->c[0].session, &r);
}

static void
run(struct world *w, uint32_t seconds)
{
    for (uint32_t i = 0; i < seconds; i++) {
        for (uint64_t id = 1; id <= 4; id++)
            report(w, id);
        world_run(w, 1000);
    }
}

/* It is back, with the copies that it has by the records. */
static void
come_back(struct world *w, int daemon)
{
    struct wdaemon *d = &w->d[daemon];

    d->n_copies = 0;
    for (uint64_t id = 1; id <= N_VOLUMES; id++) {
        struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = id };

        assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
        for (uint32_t i = 0; i < w->shards[0].n_members; i++) {
            if (world_daemon_of(w, (int)i) == daemon)
                d->copies[d->n_copies++] = (struct cw_mgr_copy_state){ .shard = w->shards[0].shard,
                                                                       .disk_uuid = d->disk_uuid,
                                                                       .format_id = d->format_id,
                                                                       .gen = w->attach.gen,
                                                                       .cfg = w->shards[0].cfg };
        }
    }
    assert_int_equal(world_register(w, daemon), CW_MGR_OK);
}

struct told {
    char name[16], word[24], for_good[24];
    bool restorable;
};

static struct told told[8];
static size_t n_told, n_disks;

static void
keep_told(struct world *w, const union cw_mgr_reply *r)
{
    n_told = r->whatif.n_volumes;
    n_disks = r->whatif.n_disks;
    for (size_t i = 0; i < n_told && i < CW_LEN(told); i++) {
        const struct cw_mgr_whatif_volume *v = &r->whatif.volumes[i];

        snprintf(told[i].name, sizeof(told[i].name), "%s", v->name);
        snprintf(told[i].word, sizeof(told[i].word), "%s", v->word);
        snprintf(told[i].for_good, sizeof(told[i].for_good), "%s", v->for_good);
        told[i].restorable = v->restorable;
    }
}

static enum cw_mgr_code
whatif(struct world *w, const char *a, const char *b)
{
    const char *fail[] = { a, b };
    struct cw_mgr_call call = { .kind = CW_MGR_WHATIF, .req.whatif = { fail, b != NULL ? 2 : 1 } };

    w->keep = keep_told;
    world_call(w, NULL, &call);
    w->keep = NULL;
    return w->error.code;
}

static const struct told *
told_of(const char *name)
{
    for (size_t i = 0; i < n_told; i++) {
        if (strcmp(told[i].name, name) == 0)
            return &told[i];
    }
    fail_msg("nothing is told of %s", name);
    return &told[0];
}

static void
kill_and_compare(struct world *w, int a, int b)
{
    struct told before[8];

    run(w, 1);
    assert_int_equal(whatif(w, hosts[a], a != b ? hosts[b] : NULL), CW_MGR_OK);
    assert_int_equal(n_told, N_VOLUMES);
    memcpy(before, told, sizeof(before));
    for (size_t i = 0; i < N_VOLUMES; i++)
        assert_string_equal(world_word(w, names[i]), "full"); /* asking did nothing */
    world_down(w, a);
    if (a != b)
        world_down(w, b);
    run(w, 5);
    memcpy(told, before, sizeof(before));
    for (size_t i = 0; i < N_VOLUMES; i++) {
        const char *word = world_word(w, names[i]);

        if (strcmp(word, told_of(names[i])->word) != 0)
            fail_msg("%s and %s fail: %s is %s, %s was told", hosts[a], hosts[b], names[i], word,
                     told_of(names[i])->word);
    }
    come_back(w, a);
    if (a != b)
        come_back(w, b);
    run(w, 2);
}

/* Every host, and every two: what was told is what is, for owners that wait, volumes that nobody
 * has, and one that nobody ever had. */
static void
what_is_told_comes_true(void **state)
{
    static struct world w;

    begin(&w);
    for (int a = 0; a < N_HOSTS; a++) {
        for (int b = a; b < N_HOSTS; b++)
            kill_and_compare(&w, a, b);
    }
    world_fini(&w);
}

/* Sites, racks, hosts and disks can be named, alone or with the site in front; others are refused.
 */
static void
domains_are_named(void **state)
{
    static struct world w;

    begin(&w);
    run(&w, 1);
    assert_int_equal(whatif(&w, "dc1", NULL), CW_MGR_OK);
    assert_int_equal(n_disks, 3);
    assert_int_equal(whatif(&w, "dc1", "aws-1"), CW_MGR_OK);
    assert_int_equal(n_disks, 4);
    assert_int_equal(whatif(&w, "aws/aws-1", NULL), CW_MGR_OK);
    assert_int_equal(n_disks, 1);
    assert_int_equal(whatif(&w, "aws-1/store-0", "aws-1"), CW_MGR_OK);
    assert_int_equal(n_disks, 1);
    assert_int_equal(whatif(&w, "aws/aws-1/store-0", NULL), CW_MGR_OK);
    assert_int_equal(n_disks, 1);
    assert_int_equal(whatif(&w, "aws/dc1-1", NULL), CW_MGR_NOT_FOUND);
    assert_int_equal(whatif(&w, "moon", NULL), CW_MGR_NOT_FOUND);
    world_fini(&w);
}

/* A region is all its sites, also their hosts that name none; where a site has the name of a region
 * the site is meant. */
static void
a_region_fails_whole(void **state)
{
    static struct world w;

    begin(&w);
    run(&w, 1);
    assert_int_equal(whatif(&w, "eu", NULL), CW_MGR_NOT_FOUND);
    world_down(&w, 0);
    snprintf(w.d[0].region, sizeof(w.d[0].region), "eu");
    assert_int_equal(world_up(&w, 0, hosts[0], sites[0]), CW_MGR_OK);
    world_down(&w, 3);
    snprintf(w.d[3].region, sizeof(w.d[3].region), "dc1");
    assert_int_equal(world_up(&w, 3, hosts[3], sites[3]), CW_MGR_OK);
    assert_int_equal(world_up(&w, 5, "dc2-1", "dc2"), CW_MGR_OK);
    world_down(&w, 5);
    snprintf(w.d[5].region, sizeof(w.d[5].region), "eu");
    assert_int_equal(world_up(&w, 5, "dc2-1", "dc2"), CW_MGR_OK);
    run(&w, 1);
    assert_int_equal(whatif(&w, "eu", NULL), CW_MGR_OK);
    assert_int_equal(n_disks, 4);
    assert_true(strcmp(told_of("three")->word, "full") != 0);
    assert_int_equal(whatif(&w, "dc1", NULL), CW_MGR_OK);
    assert_int_equal(n_disks, 3);
    world_fini(&w);
}

/* Silence is not loss: hosts may come back. For good it is, and what is left says whether repair
 * could make it full. */
static void
loss_and_restoration_are_told(void **state)
{
    static struct world w;
    struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = 1 };
    const char *host;

    begin(&w);
    run(&w, 1);
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    host = w.d[world_daemon_of(&w, 0)].name;
    assert_int_equal(whatif(&w, host, NULL), CW_MGR_OK);
    assert_string_equal(told_of("one")->word, "unavailable");
    assert_string_equal(told_of("one")->for_good, "lost");
    assert_false(told_of("one")->restorable);
    assert_true(told_of("three")->restorable);
    assert_int_equal(whatif(&w, "dc1", NULL), CW_MGR_OK);
    assert_false(told_of("three")->restorable); /* two hosts are left for three copies */
    {
        char disk[40];

        snprintf(disk, sizeof(disk), "%s/store-0", host);
        assert_int_equal(whatif(&w, disk, NULL), CW_MGR_OK); /* a disk that fails is lost */
        assert_string_equal(told_of("one")->word, "lost");
    }
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_comes_true),
        cmocka_unit_test(domains_are_named),
        cmocka_unit_test(a_region_fails_whole),
        cmocka_unit_test(loss_and_restoration_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
