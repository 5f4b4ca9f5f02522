#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

static uint64_t
events_count(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_EVENT_LS, .req.event_ls = { .max = 1000 } };

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    return call.reply.events.n_events;
}

static enum cw_mgr_code
dry(struct world *w, struct cw_mgr_call call)
{
    call.dry_run = true;
    return world_call(w, NULL, &call);
}

static struct cw_mgr_call
create(const char *name, uint64_t size, const char *policy)
{
    return (struct cw_mgr_call){
        .kind = CW_MGR_VOLUME_CREATE,
        .req.volume_create = { .name = name, .size_bytes = size, .policy = policy },
    };
}

static struct cw_mgr_call
rm(const char *name, bool now)
{
    return (struct cw_mgr_call){ .kind = CW_MGR_VOLUME_RM,
                                 .req.volume_rm = { .name = name, .now = now } };
}

static struct cw_mgr_call
named(enum cw_mgr_call_kind kind, const char *name)
{
    return (struct cw_mgr_call){ .kind = kind, .req.name = name };
}

/* It says what the real one would say; and afterwards nothing is different. */
static void
says_what_it_would_do_and_does_nothing(void **state)
{
    static struct world w;
    uint64_t events;

    world_init(&w);
    world_three(&w);
    world_client(&w, 0);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    events = events_count(&w);

    assert_int_equal(dry(&w, create("w", CW_GIB, "")), CW_MGR_OK);
    assert_int_equal(dry(&w, create("w", CW_GIB, "")), CW_MGR_OK); /* there is none yet */
    assert_int_equal(dry(&w, create("v", CW_GIB, "")), CW_MGR_EXISTS);
    assert_int_equal(dry(&w, create("w", 1, "")), CW_MGR_BAD_REQUEST);
    assert_int_equal(dry(&w, create("w", CW_GIB, "none")), CW_MGR_NOT_FOUND);
    assert_string_equal(world_state(&w, "w"), "");

    assert_int_equal(dry(&w, rm("w", false)), CW_MGR_NOT_FOUND);
    assert_int_equal(dry(&w, rm("v", false)), CW_MGR_OK);
    assert_int_equal(dry(&w, rm("v", true)), CW_MGR_OK);
    assert_string_equal(world_state(&w, "v"), "released");
    assert_int_equal(events_count(&w), events);
    assert_int_equal(world_attach(&w, 0, "v", false), CW_MGR_OK);
    events = events_count(&w);
    assert_int_equal(dry(&w, rm("v", false)), CW_MGR_VOLUME_IN_USE);
    assert_string_equal(world_state(&w, "v"), "recovering"); /* nobody has reported yet */

    assert_int_equal(dry(&w, named(CW_MGR_POLICY_RM, "default")), CW_MGR_BAD_REQUEST);
    assert_int_equal(dry(&w, named(CW_MGR_HOST_RM, "dc1-1")), CW_MGR_BUSY);
    assert_int_equal(dry(&w, named(CW_MGR_SCRUB_START, "")), CW_MGR_OK);
    assert_int_equal(dry(&w, named(CW_MGR_SCRUB_START, "none")), CW_MGR_NOT_FOUND);
    for (int i = 0; i < 3; i++)
        assert_int_equal(w.d[i].n_scrubs, 0);
    assert_int_equal(dry(&w, named(CW_MGR_VOLUME_VERIFY, "v")), CW_MGR_OK);
    assert_int_equal(w.c[0].n_verify, 0);
    assert_int_equal(events_count(&w), events);

    /* What was only tried can still be done. */
    assert_int_equal(world_create(&w, "w", CW_GIB, ""), CW_MGR_OK);
    world_fini(&w);
}

static enum cw_mgr_code
dry_maintain(struct world *w, const char *host, const char *mode)
{
    return dry(w, (struct cw_mgr_call){ .kind = CW_MGR_HOST_MAINTAIN,
                                        .req.host_maintain = { .name = host, .mode = mode } });
}

static enum cw_mgr_code
dry_drain(struct world *w, const char *disk, bool cancel)
{
    return dry(w, (struct cw_mgr_call){ .kind = CW_MGR_DISK_DRAIN,
                                        .req.disk_drain = { .disk = disk, .cancel = cancel } });
}

static enum cw_mgr_code
dry_repair(struct world *w, enum cw_mgr_repair_what what, uint64_t bytes)
{
    return dry(
        w, (struct cw_mgr_call){ .kind = CW_MGR_REPAIR_SET, .req.repair_set = { what, bytes } });
}

static uint64_t
jobs_count(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_JOB_LS };

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    return call.reply.jobs.n_jobs;
}

static void
maintenance_and_repair_are_only_tried(void **state)
{
    static struct world w;
    struct cw_mgr_call now = { .kind = CW_MGR_REPAIR_NOW, .req.repair_now = { "", "" } };
    struct cw_mgr_call rm = { .kind = CW_MGR_DISK_RM, .req.disk_rm.disk = "dc1-1/store-0" };
    uint64_t events;

    world_init(&w);
    world_three(&w);
    world_client(&w, 0);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    events = events_count(&w);
    assert_int_equal(dry_maintain(&w, "dc1-1", "accessible"), CW_MGR_OK);
    assert_int_equal(dry_maintain(&w, "dc1-1", "full"), CW_MGR_OK);
    assert_int_equal(dry_maintain(&w, "dc1-1", "gone"), CW_MGR_BAD_REQUEST);
    assert_int_equal(dry_maintain(&w, "none", "full"), CW_MGR_NOT_FOUND);
    assert_int_equal(dry(&w, named(CW_MGR_HOST_RETURN, "dc1-1")), CW_MGR_BAD_REQUEST);
    assert_int_equal(dry_drain(&w, "dc1-1/store-0", false), CW_MGR_OK);
    assert_int_equal(dry_drain(&w, "dc1-1/store-0", true), CW_MGR_BAD_REQUEST);
    assert_int_equal(dry_drain(&w, "dc1-1/none", false), CW_MGR_NOT_FOUND);
    assert_int_equal(dry(&w, rm), CW_MGR_BUSY);
    assert_int_equal(dry(&w, now), CW_MGR_OK);
    now.req.repair_now.volume = "none";
    assert_int_equal(dry(&w, now), CW_MGR_NOT_FOUND);
    assert_int_equal(dry_repair(&w, CW_MGR_REPAIR_PAUSE, 0), CW_MGR_OK);
    assert_int_equal(dry_repair(&w, CW_MGR_REPAIR_LIMIT, CW_MIB), CW_MGR_OK);
    assert_int_equal(dry_repair(&w, CW_MGR_REPAIR_LIMIT, 1), CW_MGR_BAD_REQUEST);
    assert_int_equal(events_count(&w), events);
    assert_int_equal(jobs_count(&w), 0);
    world_fini(&w);
}

/* What has effects of its own is refused rather than done by mistake. */
static void
is_refused_where_there_is_none(void **state)
{
    static struct world w;
    struct cw_mgr_call attach = { .kind = CW_MGR_ATTACH, .req.attach.volume = "v" };

    world_init(&w);
    world_three(&w);
    world_client(&w, 0);
    assert_int_equal(world_create(&w, "v", CW_GIB, ""), CW_MGR_OK);
    attach.dry_run = true;
    assert_int_equal(world_call(&w, w.c[0].session, &attach), CW_MGR_BAD_REQUEST);
    assert_string_equal(world_state(&w, "v"), "released");
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_it_would_do_and_does_nothing),
        cmocka_unit_test(maintenance_and_repair_are_only_tried),
        cmocka_unit_test(is_refused_where_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
