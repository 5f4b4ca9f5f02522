#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

/* A silent host and a disconnected one are absent, as findings, within 5 s; both end on return. */
static void
absence_is_a_finding_within_5s(void **state)
{
    static struct world w;

    world_init(&w);
    world_three(&w);
    world_run(&w, 3000);
    assert_false(world_finding(&w, "HOST_ABSENT", NULL));
    world_down(&w, 2);
    w.d[0].paused = true;
    world_run(&w, 5000);
    assert_true(world_finding(&w, "HOST_ABSENT", "aws/aws-1"));
    assert_true(world_finding(&w, "HOST_ABSENT", "dc1/dc1-1"));
    assert_false(world_finding(&w, "HOST_ABSENT", "dc1/dc1-2"));
    w.d[0].paused = false;
    assert_int_equal(world_up(&w, 2, "aws-1", "aws"), CW_MGR_OK);
    world_run(&w, 2000);
    assert_false(world_finding(&w, "HOST_ABSENT", NULL));
    world_fini(&w);
}

/* A second live daemon cannot take a name; a restarted one, and a new one after the old is absent,
 * can. */
static void
names_belong_to_the_living(void **state)
{
    static struct world w;

    world_init(&w);
    world_three(&w);
    assert_int_equal(world_up(&w, 3, "dc1-1", "dc1"), CW_MGR_NAME_TAKEN);
    world_down(&w, 3);
    world_down(&w, 0);
    assert_int_equal(world_up(&w, 0, "dc1-1", "dc1"), CW_MGR_OK);
    world_down(&w, 0);
    world_run(&w, 5000);
    assert_int_equal(world_up(&w, 3, "dc1-1", "dc1"), CW_MGR_OK);
    world_fini(&w);
}

/* The same daemon on a new connection replaces the old connection, which is hung up. */
static void
reconnect_hangs_up_the_old(void **state)
{
    static struct world w;
    struct cw_mgr_session *old;

    world_init(&w);
    world_three(&w);
    old = w.d[1].session;
    assert_int_equal(world_register(&w, 1), CW_MGR_OK);
    assert_int_equal(w.hung_up, 1);
    cw_manager_session_down(w.m, old);
    world_run(&w, 5000);
    assert_false(world_finding(&w, "HOST_ABSENT", NULL));
    world_fini(&w);
}

/* A host of another cluster is refused by name; a beat without a registration is told so. */
static void
foreign_hosts_are_refused(void **state)
{
    static struct world w;
    struct cw_mgr_call call = {
        .kind = CW_MGR_REGISTER,
        .req.register_host = { .name = "x",
                               .host_key = { { 1 } },
                               .cluster_id = { { 2 } },
                               .domain = { "", "dc1", "", "" },
                               .advertise = "127.0.0.1:1",
                               .unix_path = "",
                               .version = "" },
    };
    struct cw_mgr_call beat = { .kind = CW_MGR_BEAT };

    world_init(&w);
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_FOREIGN_STORE);
    call.req.register_host.cluster_id = (struct cw_uuid){ 0 };
    call.req.register_host.advertise = "0.0.0.0:4";
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_BAD_REQUEST);
    assert_int_equal(world_call(&w, NULL, &beat), CW_MGR_NOT_FOUND);
    world_fini(&w);
}

static void
keep_refused(struct world *w, const union cw_mgr_reply *r)
{
    w->text[0][0] = (char)('0' + r->register_reply.n_refused_disks);
}

/* A disk claimed by another cluster is refused by name; a host that nobody knew is not recorded
 * for it. */
static void
foreign_disks_are_refused(void **state)
{
    static struct world w;
    struct cw_mgr_disk_state disks[2] = {
        { .uuid = { { 1 } }, .format_id = 1, .name = "store-0", .why = "" },
        { .uuid = { { 2 } },
          .format_id = 1,
          .name = "store-1",
          .why = "",
          .cluster_id = { { 9 } } },
    };
    struct cw_mgr_call call = {
        .kind = CW_MGR_REGISTER,
        .req.register_host = { .name = "x",
                               .host_key = { { 1 } },
                               .domain = { "", "dc1", "", "" },
                               .advertise = "127.0.0.1:1",
                               .unix_path = "",
                               .version = "",
                               .disks = disks,
                               .n_disks = 2 },
    };
    struct cw_mgr_call rm = { .kind = CW_MGR_HOST_RM, .req.host_rm = { "x", false } };

    world_init(&w);
    w.keep = keep_refused;
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    assert_int_equal(w.text[0][0], '1');
    w.keep = NULL;
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_NOT_FOUND);
    world_fini(&w);
}

/* A store that was plugged into another host is found there, with the same copies. */
static void
moved_disk_is_found_at_its_new_host(void **state)
{
    static struct world w;
    struct cw_uuid was;

    world_init(&w);
    world_three(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    world_down(&w, 2);
    world_run(&w, 5000);
    was = w.d[2].disk_uuid;
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    world_down(&w, 3);
    w.d[3].disk_uuid = was;
    w.d[3].format_id = w.d[2].format_id;
    w.d[2].disk_uuid = (struct cw_uuid){ 0 };
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    world_client(&w, 0);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    for (int i = 0, found = 0; i < 3; i++) {
        found += world_daemon_of(&w, i) == 3;
        assert_true(i < 2 || found == 1);
    }
    assert_string_equal(world_word(&w, "v"), "full");
    world_fini(&w);
}

/* What rebuild-metadata leaves: disks on a host that nobody is. As the hosts register their disks
 * move to them, and the stand-in goes with its last disk, by itself; one that has a key stays. */
static void
stand_in_goes_with_its_last_disk(void **state)
{
    struct cw_rec host = { .kind = CW_REC_HOST }, disk = { .kind = CW_REC_DISK }, got;
    static struct world w;

    world_init(&w);
    strcpy(host.host.name, "recovered");
    strcpy(host.host.site, "recovered");
    fakekv_put(&w.kv, &host);
    for (uint64_t i = 0; i < 2; i++) {
        disk.disk.uuid = cw_uuid_from_random(i + 1, 99); /* of daemon i */
        disk.disk.format_id = 5;
        strcpy(disk.disk.host, "recovered");
        snprintf(disk.disk.name, sizeof(disk.disk.name), "disk-%d", (int)i);
        fakekv_put(&w.kv, &disk);
    }
    world_stop_manager(&w);
    world_start_manager(&w, false);
    assert_int_equal(world_up(&w, 0, "dc1-1", "dc1"), CW_MGR_OK);
    assert_true(fakekv_get(&w.kv, "/node/recovered", &got));
    assert_int_equal(world_up(&w, 1, "dc1-2", "dc1"), CW_MGR_OK);
    assert_false(fakekv_get(&w.kv, "/node/recovered", &got));
    assert_true(fakekv_get(&w.kv, "/node/dc1-1", &got));
    world_run(&w, 6000);
    assert_false(world_finding(&w, "HOST_ABSENT", NULL));
    /* a host that was one stays when its disk goes elsewhere */
    world_down(&w, 0);
    world_down(&w, 1);
    world_run(&w, 5000);
    w.d[1].disk_uuid = w.d[0].disk_uuid;
    w.d[1].format_id = w.d[0].format_id;
    assert_int_equal(world_up(&w, 1, "dc1-2", "dc1"), CW_MGR_OK);
    assert_true(fakekv_get(&w.kv, "/node/dc1-1", &got));
    world_fini(&w);
}

/* Full and failed stores become findings with the whole path, and end with their cause. */
static void
disk_trouble_is_found(void **state)
{
    static struct world w;

    world_init(&w);
    world_three(&w);
    w.d[1].full = true;
    w.d[2].failed = true;
    world_run(&w, 2000);
    assert_true(world_finding(&w, "DISK_FULL", "dc1/dc1-2/store-0"));
    assert_true(world_finding(&w, "DISK_FAILED", "aws/aws-1/store-0"));
    w.d[1].full = false;
    world_run(&w, 2000);
    assert_false(world_finding(&w, "DISK_FULL", NULL));
    world_fini(&w);
}

/* A failed disk is left out of the next start, so that the one behind it comes first: each keeps
 * its name, lest the wrong one be pulled. A new disk takes the failed one's place and name. */
static void
disks_keep_their_names(void **state)
{
    static struct world w;

    world_init(&w);
    world_three(&w);
    world_down(&w, 1);
    w.d[1].second_uuid = cw_uuid_from_random(1, 55);
    w.d[1].failed = true;
    assert_int_equal(world_up(&w, 1, "dc1-2", "dc1"), CW_MGR_OK);
    world_run(&w, 2000);
    assert_true(world_finding(&w, "DISK_FAILED", "dc1/dc1-2/store-0"));

    world_down(&w, 1);
    w.d[1].no_first = w.d[1].full = true;
    w.d[1].failed = false;
    assert_int_equal(world_up(&w, 1, "dc1-2", "dc1"), CW_MGR_OK);
    world_run(&w, 2000);
    assert_true(world_finding(&w, "DISK_FAILED", "dc1/dc1-2/store-0"));
    assert_true(world_finding(&w, "DISK_FULL", "dc1/dc1-2/store-1"));

    world_down(&w, 1);
    w.d[1].no_first = false;
    w.d[1].disk_uuid = w.d[1].second_uuid;
    w.d[1].second_uuid = cw_uuid_from_random(2, 55);
    assert_int_equal(world_up(&w, 1, "dc1-2", "dc1"), CW_MGR_OK);
    world_run(&w, 2000);
    assert_false(world_finding(&w, "DISK_FAILED", NULL));
    assert_true(world_finding(&w, "DISK_FULL", "dc1/dc1-2/store-0"));
    assert_true(world_finding(&w, "DISK_FULL", "dc1/dc1-2/store-1"));
    world_fini(&w);
}

/* A host is removed only while it is down; what lies on it does not keep it. */
static void
host_rm_needs_a_host_that_is_down(void **state)
{
    static struct world w;
    struct cw_mgr_call rm = { .kind = CW_MGR_HOST_RM, .req.host_rm = { "aws-1", false } };

    world_init(&w);
    world_three(&w);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_BUSY);
    world_down(&w, 2);
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_OK);
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    world_down(&w, 3);
    rm.req.host_rm.name = "aws-2";
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_OK);
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_NOT_FOUND);
    world_fini(&w);
}

static void
keep_regions(struct world *w, const union cw_mgr_reply *r)
{
    for (size_t i = 0; i < r->hosts.n_hosts; i++)
        snprintf(w->text[i], sizeof(w->text[i]), "%s %s", r->hosts.hosts[i].name,
                 r->hosts.hosts[i].domain.region);
}

static enum cw_mgr_code
up_in(struct world *w, int i, const char *name, const char *site, const char *region)
{
    if (w->d[i].session != NULL)
        world_down(w, i);
    snprintf(w->d[i].region, sizeof(w->d[i].region), "%s", region);
    return world_up(w, i, name, site);
}

/* A host that contradicts the others of its site is refused, with who says otherwise and what to
 * do; one that names no region lies in that of its site; a site moves by way of none. */
static void
a_site_lies_in_one_region(void **state)
{
    static struct world w;
    struct cw_mgr_call ls = { .kind = CW_MGR_HOST_LS };

    world_init(&w);
    assert_int_equal(up_in(&w, 0, "dc1-1", "dc1", "eu"), CW_MGR_OK);
    assert_int_equal(up_in(&w, 1, "dc1-2", "dc1", ""), CW_MGR_OK);
    assert_int_equal(up_in(&w, 2, "dc1-3", "dc1", "us"), CW_MGR_BAD_REQUEST);
    assert_non_null(strstr(w.d[2].error.message, "host dc1-1 puts it into region eu"));
    assert_non_null(strstr(w.d[2].error.hint, "--domain region=eu,site=dc1"));
    assert_int_equal(up_in(&w, 2, "dc1-3", "dc1", "e u"), CW_MGR_BAD_REQUEST);
    assert_int_equal(up_in(&w, 2, "aws-1", "aws", "us"), CW_MGR_OK);
    w.keep = keep_regions;
    assert_int_equal(world_call(&w, NULL, &ls), CW_MGR_OK);
    w.keep = NULL;
    assert_string_equal(w.text[0], "aws-1 us");
    assert_string_equal(w.text[1], "dc1-1 eu");
    assert_string_equal(w.text[2], "dc1-2 eu");

    assert_int_equal(up_in(&w, 1, "dc1-2", "dc1", "us"), CW_MGR_BAD_REQUEST);
    assert_int_equal(up_in(&w, 0, "dc1-1", "dc1", ""), CW_MGR_OK);
    assert_int_equal(up_in(&w, 1, "dc1-2", "dc1", "us"), CW_MGR_OK);
    assert_int_equal(up_in(&w, 0, "dc1-1", "dc1", "us"), CW_MGR_OK);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absence_is_a_finding_within_5s),
        cmocka_unit_test(names_belong_to_the_living),
        cmocka_unit_test(reconnect_hangs_up_the_old),
        cmocka_unit_test(foreign_hosts_are_refused),
        cmocka_unit_test(foreign_disks_are_refused),
        cmocka_unit_test(moved_disk_is_found_at_its_new_host),
        cmocka_unit_test(stand_in_goes_with_its_last_disk),
        cmocka_unit_test(disk_trouble_is_found),
        cmocka_unit_test(disks_keep_their_names),
        cmocka_unit_test(host_rm_needs_a_host_that_is_down),
        cmocka_unit_test(a_site_lies_in_one_region),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
