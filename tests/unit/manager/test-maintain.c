/* Maintenance, drain, removal: what is promised, what is refused, what is kept over a restart. */
#include <stdio.h>
#include <string.h>

#include "common/base/bits.h"
#include "tests/lib/cw-test.h"
#include "tests/unit/manager/world.h"

enum { T_STATE = 5, T_MODE, T_WHY, T_PLAN, T_JOB, T_REMOVED };

static void
keep_maintain(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[T_WHY], sizeof(w->text[0]), "%d %s", r->maintain.ready, r->maintain.why);
    w->job = r->maintain.job;
}

static enum cw_mgr_code
maintain(struct world *w, const char *host, const char *mode, bool force)
{
    struct cw_mgr_call call = { .kind = CW_MGR_HOST_MAINTAIN,
                                .req.host_maintain = { host, mode, false, force } };

    w->keep = keep_maintain;
    world_call(w, NULL, &call);
    w->keep = NULL;
    return w->error.code;
}

static enum cw_mgr_code
drain(struct world *w, const char *disk, bool cancel)
{
    struct cw_mgr_call call = { .kind = CW_MGR_DISK_DRAIN,
                                .req.disk_drain = { disk, false, cancel } };

    w->keep = keep_maintain;
    world_call(w, NULL, &call);
    w->keep = NULL;
    return w->error.code;
}

static enum cw_mgr_code
named(struct world *w, enum cw_mgr_call_kind kind, const char *name)
{
    struct cw_mgr_call call = { .kind = kind, .req.name = name };

    return world_call(w, NULL, &call);
}

static void
keep_hosts(struct world *w, const union cw_mgr_reply *r)
{
    w->text[T_STATE][0] = '\0';
    for (size_t i = 0; i < r->hosts.n_hosts; i++) {
        if (strcmp(r->hosts.hosts[i].name, w->text[T_MODE]) == 0)
            snprintf(w->text[T_STATE], sizeof(w->text[0]), "%s %s %d", r->hosts.hosts[i].state,
                     r->hosts.hosts[i].maintain, r->hosts.hosts[i].maintain_ready);
    }
}

/* "STATE MODE READY"; "": there is no such host. */
static const char *
host(struct world *w, const char *name)
{
    struct cw_mgr_call call = { .kind = CW_MGR_HOST_LS };

    snprintf(w->text[T_MODE], sizeof(w->text[0]), "%s", name);
    w->keep = keep_hosts;
    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    w->keep = NULL;
    return w->text[T_STATE];
}

static void
keep_job(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[T_JOB], sizeof(w->text[0]), "%s %s %s", r->jobs.jobs[0].kind,
             r->jobs.jobs[0].object, r->jobs.jobs[0].state);
}

static const char *
job(struct world *w, uint64_t id)
{
    struct cw_mgr_call call = { .kind = CW_MGR_JOB_LS, .req.id = id };

    w->text[T_JOB][0] = '\0';
    w->keep = keep_job;
    world_call(w, NULL, &call);
    w->keep = NULL;
    return w->text[T_JOB];
}

static void
keep_removed(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[T_REMOVED], sizeof(w->text[0]), "%d %s", (int)r->removed.copies,
             r->removed.n_lost > 0 ? r->removed.lost[0] : "");
}

static enum cw_mgr_code
host_rm(struct world *w, const char *name, bool accept_loss)
{
    struct cw_mgr_call call = { .kind = CW_MGR_HOST_RM, .req.host_rm = { name, accept_loss } };

    w->keep = keep_removed;
    world_call(w, NULL, &call);
    w->keep = NULL;
    return w->error.code;
}

static void
look(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_GET_VOLUME, .req.id = 1 };

    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
}

static int
member_of(const struct world *w, int daemon)
{
    for (uint32_t i = 0; i < w->shards[0].n_members; i++) {
        if (cw_uuid_equal(&w->shards[0].members[i].disk_uuid, &w->d[daemon].disk_uuid))
            return (int)i;
    }
    return -1;
}

static void
move(struct world *w, int i, enum cw_member_state state)
{
    assert_int_equal(world_change(w, 0, w->attach.gen, w->shards[0].cfg, i, state), CW_MGR_OK);
    assert_true(w->change.applied);
}

/* The owner says every second that it lives. */
static void
run(struct world *w, uint32_t seconds)
{
    for (uint32_t i = 0; i < seconds; i++) {
        if (w->c[0].session != NULL)
            world_report(w, w->c[0].session, 1, w->attach.gen);
        world_run(w, 1000);
    }
}

static void
policy(struct world *w, const char *name, uint32_t copies, uint32_t min_insync)
{
    struct cw_mgr_policy p = {
        .name = name, .copies = copies, .min_insync = min_insync, .journal = "off"
    };

    assert_int_equal(world_put_policy(w, p, true, false), CW_MGR_OK);
}

/* Daemon i is back with its copy of v, if it has one. */
static void
come_back(struct world *w, int daemon)
{
    struct wdaemon *d = &w->d[daemon];

    d->n_copies = member_of(w, daemon) >= 0;
    d->copies[0] = (struct cw_mgr_copy_state){ .shard = CW_SHARD_ID(1, 0),
                                               .disk_uuid = d->disk_uuid,
                                               .format_id = d->format_id,
                                               .gen = w->attach.gen,
                                               .cfg = w->shards[0].cfg };
    assert_int_equal(world_register(w, daemon), CW_MGR_OK);
}

/* n daemons, volume v of that many copies, attached. */
static void
begin(struct world *w, int n_daemons, uint32_t copies, uint32_t min_insync)
{
    world_init(w);
    world_three(w);
    if (n_daemons > 3)
        assert_int_equal(world_up(w, 3, "aws-2", "aws"), CW_MGR_OK);
    policy(w, "p", copies, min_insync);
    assert_int_equal(world_create(w, "v", CW_GIB, "p"), CW_MGR_OK);
    world_client(w, 0);
    assert_int_equal(world_attach(w, 0, "v", false), CW_MGR_OK);
    run(w, 1);
}

/* A host that nothing depends on may go at once: its absence is no finding, nothing is rebuilt for
 * it, however long it is away and whoever the manager is; after its return all is as before. */
static void
a_host_in_maintenance_is_not_replaced(void **state)
{
    static struct world w;

    begin(&w, 4, 3, 2);
    look(&w);
    assert_int_equal(maintain(&w, "nowhere", "accessible", false), CW_MGR_NOT_FOUND);
    assert_int_equal(maintain(&w, w.d[world_daemon_of(&w, 0)].name, "soon", false),
                     CW_MGR_BAD_REQUEST);
    {
        int d = world_daemon_of(&w, 0);

        assert_int_equal(maintain(&w, w.d[d].name, "accessible", false), CW_MGR_OK);
        assert_string_equal(w.text[T_WHY], "1 ");
        assert_string_equal(host(&w, w.d[d].name), "maintenance accessible 1");
        move(&w, 0, CW_MEMBER_OUT);
        world_down(&w, d);
        run(&w, 3 * 3600 / 2);
        look(&w);
        assert_int_equal(member_of(&w, d), 0); /* repair-delay is 60 min */
        assert_string_equal(world_word(&w, "v"), "reduced-waiting");
        assert_false(world_finding(&w, "HOST_ABSENT", NULL));

        world_stop_manager(&w);
        world_start_manager(&w, false);
        for (int i = 0; i < 4; i++) {
            if (i != d)
                come_back(&w, i);
        }
        world_client(&w, 0);
        run(&w, 10);
        assert_string_equal(host(&w, w.d[d].name), "maintenance accessible 1");
        assert_false(world_finding(&w, "HOST_ABSENT", NULL));

        assert_int_equal(named(&w, CW_MGR_HOST_RETURN, w.d[d].name), CW_MGR_OK);
        assert_int_equal(named(&w, CW_MGR_HOST_RETURN, w.d[d].name), CW_MGR_BAD_REQUEST);
        run(&w, 10);
        assert_string_equal(host(&w, w.d[d].name), "absent  0");
        assert_true(world_finding(&w, "HOST_ABSENT", NULL));
        look(&w);
        assert_int_equal(member_of(&w, d), 0); /* the delay begins with the return */
        run(&w, 3700);
        look(&w);
        assert_int_equal(member_of(&w, d), -1);
    }
    world_fini(&w);
}

/* No new copy is placed on it while it is up. */
static void
a_host_in_maintenance_takes_no_copies(void **state)
{
    static struct world w;

    begin(&w, 3, 2, 1);
    assert_int_equal(maintain(&w, "dc1-2", "none", false), CW_MGR_OK);
    assert_int_equal(world_create(&w, "u", CW_GIB, ""), CW_MGR_POLICY_UNSATISFIABLE);
    assert_int_equal(named(&w, CW_MGR_HOST_RETURN, "dc1-2"), CW_MGR_OK);
    assert_int_equal(world_create(&w, "u", CW_GIB, ""), CW_MGR_OK);
    world_fini(&w);
}

/* A volume that cannot spare the copy gets one more elsewhere first; only then the host may go. The
 * one too many leaves after the return. */
static void
accessible_adds_a_copy_first(void **state)
{
    static struct world w;
    int d, fresh;

    begin(&w, 3, 2, 2);
    d = world_daemon_of(&w, 0);
    assert_int_equal(maintain(&w, w.d[d].name, "accessible", false), CW_MGR_OK);
    assert_int_equal(w.text[T_WHY][0], '0');
    run(&w, 3);
    assert_string_equal(host(&w, w.d[d].name), "up accessible 0");
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(w.shards[0].members[2].state, CW_MEMBER_OUT);
    fresh = world_daemon_of(&w, 2);
    move(&w, 2, CW_MEMBER_IN_RESYNC);
    run(&w, 10);
    assert_string_equal(host(&w, w.d[d].name), "up accessible 0");
    move(&w, 2, CW_MEMBER_INSYNC);
    run(&w, 3);
    assert_string_equal(host(&w, w.d[d].name), "maintenance accessible 1");
    assert_int_equal(w.c[0].n_evict, 0);
    {
        char text[80];

        snprintf(text, sizeof(text), "maintain %s done", w.d[d].name);
        assert_string_equal(job(&w, w.job), text);
    }
    assert_int_equal(named(&w, CW_MGR_HOST_RETURN, w.d[d].name), CW_MGR_OK);
    run(&w, 3);
    assert_int_equal(w.c[0].n_evict, 1);
    assert_true(cw_uuid_equal(&w.c[0].evict, &w.d[fresh].disk_uuid));
    world_fini(&w);
}

/* Without a place for it the host does not become ready, and the job says why; a new place ends the
 * wait, also after a restart of the manager. */
static void
a_job_that_waits_goes_on_after_a_restart(void **state)
{
    static struct world w;
    uint64_t id;

    begin(&w, 3, 3, 3);
    assert_int_equal(maintain(&w, "dc1-1", "accessible", false), CW_MGR_OK);
    id = w.job;
    run(&w, 5);
    assert_string_equal(job(&w, id), "maintain dc1-1 waiting");
    assert_string_equal(host(&w, "dc1-1"), "up accessible 0");
    world_stop_manager(&w);
    world_start_manager(&w, false);
    for (int i = 0; i < 3; i++)
        come_back(&w, i);
    world_client(&w, 0);
    run(&w, 5);
    assert_string_equal(job(&w, id), "maintain dc1-1 waiting");
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    run(&w, 5);
    assert_string_equal(job(&w, id), "maintain dc1-1 running");
    look(&w);
    assert_int_equal(w.shards[0].n_members, 4);
    move(&w, 3, CW_MEMBER_IN_RESYNC);
    move(&w, 3, CW_MEMBER_INSYNC);
    run(&w, 5);
    assert_string_equal(job(&w, id), "maintain dc1-1 done");
    assert_string_equal(host(&w, "dc1-1"), "maintenance accessible 1");
    world_fini(&w);
}

/* A copy that is absent elsewhere is not waited for when a host may not go before it is back. */
static void
accessible_hurries_absent_copies(void **state)
{
    static struct world w;
    int gone, d;

    begin(&w, 4, 3, 2);
    gone = world_daemon_of(&w, 0);
    d = world_daemon_of(&w, 1);
    move(&w, 0, CW_MEMBER_OUT);
    world_down(&w, gone);
    run(&w, 10);
    look(&w);
    assert_int_equal(member_of(&w, gone), 0);
    assert_int_equal(maintain(&w, w.d[d].name, "accessible", false), CW_MGR_OK);
    run(&w, 5);
    look(&w);
    assert_int_equal(member_of(&w, gone), -1);
    assert_int_equal(w.shards[0].members[0].state, CW_MEMBER_OUT);
    move(&w, 0, CW_MEMBER_IN_RESYNC);
    move(&w, 0, CW_MEMBER_INSYNC);
    run(&w, 3);
    assert_string_equal(host(&w, w.d[d].name), "maintenance accessible 1");
    world_fini(&w);
}

/* Two hosts whose absence together would take service away are not in maintenance together. */
static void
a_second_host_is_refused(void **state)
{
    static struct world w;

    begin(&w, 3, 3, 2);
    assert_int_equal(maintain(&w, "dc1-1", "accessible", false), CW_MGR_OK);
    assert_int_equal(maintain(&w, "aws-1", "accessible", false), CW_MGR_CONFLICT);
    assert_non_null(strstr(w.error.message, "dc1-1"));
    assert_non_null(strstr(w.error.message, "volume v"));
    assert_int_equal(maintain(&w, "aws-1", "none", false), CW_MGR_CONFLICT);
    assert_string_equal(host(&w, "aws-1"), "up  0");
    assert_int_equal(maintain(&w, "aws-1", "none", true), CW_MGR_OK);
    assert_string_equal(host(&w, "aws-1"), "maintenance none 1");
    assert_int_equal(named(&w, CW_MGR_HOST_RETURN, "aws-1"), CW_MGR_OK);
    assert_int_equal(named(&w, CW_MGR_HOST_RETURN, "dc1-1"), CW_MGR_OK);
    assert_int_equal(maintain(&w, "aws-1", "accessible", false), CW_MGR_OK);
    world_fini(&w);
}

/* Every copy leaves, and only then the host may go; then it can be removed. */
static void
full_empties_the_host(void **state)
{
    static struct world w;
    int d;

    begin(&w, 4, 3, 2);
    d = world_daemon_of(&w, 0);
    assert_int_equal(world_create(&w, "unborn", CW_GIB, "p"), CW_MGR_OK);
    assert_int_equal(maintain(&w, w.d[d].name, "full", false), CW_MGR_OK);
    run(&w, 3);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 4);
    move(&w, 3, CW_MEMBER_IN_RESYNC);
    move(&w, 3, CW_MEMBER_INSYNC);
    run(&w, 2);
    assert_int_equal(w.c[0].n_evict, 1);
    assert_true(cw_uuid_equal(&w.c[0].evict, &w.d[d].disk_uuid));
    assert_int_equal(host(&w, w.d[d].name)[0], 'u');
    move(&w, member_of(&w, d), CW_MEMBER_DEAD);
    run(&w, 4);
    look(&w);
    assert_int_equal(member_of(&w, d), -1);
    assert_string_equal(host(&w, w.d[d].name), "maintenance full 1");
    assert_string_equal(world_word(&w, "v"), "full");
    assert_int_equal(host_rm(&w, w.d[d].name, false), CW_MGR_BUSY); /* it is up */
    world_down(&w, d);
    assert_int_equal(host_rm(&w, w.d[d].name, false), CW_MGR_OK);
    assert_string_equal(w.text[T_REMOVED], "0 ");
    run(&w, 10);
    assert_string_equal(world_word(&w, "v"), "full");
    assert_string_equal(world_word(&w, "unborn"), "full");
    world_fini(&w);
}

/* A drain that is cancelled leaves the disk as it was; one that ends says so. */
static void
a_disk_is_drained(void **state)
{
    static struct world w;
    char name[40], text[80];
    uint64_t id;
    int d;

    begin(&w, 3, 2, 1);
    d = world_daemon_of(&w, 0);
    snprintf(name, sizeof(name), "%s/store-0", w.d[d].name);
    assert_int_equal(drain(&w, "dc1-9/store-0", false), CW_MGR_NOT_FOUND);
    assert_int_equal(drain(&w, name, true), CW_MGR_BAD_REQUEST);
    assert_int_equal(drain(&w, name, false), CW_MGR_OK);
    id = w.job;
    assert_true(id > 0);
    assert_int_equal(drain(&w, name, true), CW_MGR_OK);
    snprintf(text, sizeof(text), "drain %s/%s cancelled", w.d[d].site, name);
    assert_string_equal(job(&w, id), text);
    assert_int_equal(drain(&w, name, false), CW_MGR_OK);
    id = w.job;
    assert_string_equal(world_word(&w, "v"), "full");
    run(&w, 3);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_string_equal(world_word(&w, "v"), "full"); /* both copies are good until it is there */
    move(&w, 2, CW_MEMBER_IN_RESYNC);
    assert_string_equal(world_word(&w, "v"), "full");
    move(&w, 2, CW_MEMBER_INSYNC);
    run(&w, 2);
    move(&w, member_of(&w, d), CW_MEMBER_DEAD);
    run(&w, 4);
    snprintf(text, sizeof(text), "drain %s/%s done", w.d[d].site, name);
    assert_string_equal(job(&w, id), text);
    {
        struct cw_mgr_call rm = { .kind = CW_MGR_DISK_RM, .req.disk_rm = { name, false } };

        assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_OK);
        assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_NOT_FOUND);
    }
    world_fini(&w);
}

static void
keep_disk(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[T_STATE], sizeof(w->text[0]), "-");
    for (size_t i = 0; i < r->hosts.n_hosts; i++) {
        for (size_t k = 0; k < r->hosts.hosts[i].n_disks; k++) {
            const struct cw_mgr_disk_state *d = &r->hosts.hosts[i].disks[k];

            if (cw_uuid_equal(&d->uuid, &w->d[w->job].disk_uuid))
                snprintf(w->text[T_STATE], sizeof(w->text[0]), "%s/%s%s", r->hosts.hosts[i].name,
                         d->name, d->removed ? " removed" : "");
        }
    }
}

/* HOST/DISK of daemon d's first store, " removed" behind it; "-": not known. */
static const char *
disk_of(struct world *w, int d)
{
    struct cw_mgr_call call = { .kind = CW_MGR_HOST_LS };

    w->job = (uint64_t)d;
    w->keep = keep_disk;
    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    w->keep = NULL;
    return w->text[T_STATE];
}

static enum cw_mgr_code
disk_call(struct world *w, enum cw_mgr_call_kind kind, const char *name)
{
    struct cw_mgr_call call = { .kind = kind };

    if (kind == CW_MGR_DISK_RM)
        call.req.disk_rm.disk = name;
    else
        call.req.name = name;
    return world_call(w, NULL, &call);
}

/* Its daemon has the store open all along: it is not added again by that, nor by another start of
 * the daemon or the manager; until an operator takes it back, or it is formatted anew. */
static void
a_removed_disk_stays_removed(void **state)
{
    static struct world w;

    begin(&w, 3, 3, 2);
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    assert_string_equal(disk_of(&w, 3), "aws-2/store-0");
    assert_int_equal(disk_call(&w, CW_MGR_DISK_ADD, "aws-2/store-0"), CW_MGR_NOT_FOUND);
    assert_int_equal(disk_call(&w, CW_MGR_DISK_RM, "aws-2/store-0"), CW_MGR_OK);
    run(&w, 3);
    assert_int_equal(w.d[3].error.code, CW_MGR_NOT_FOUND); /* its beat: it is to register again */
    assert_int_equal(world_register(&w, 3), CW_MGR_OK);
    assert_string_equal(disk_of(&w, 3), "aws-2/store-0 removed");
    assert_int_equal(disk_call(&w, CW_MGR_DISK_RM, "aws-2/store-0"), CW_MGR_NOT_FOUND);

    world_stop_manager(&w);
    world_start_manager(&w, false);
    for (int i = 0; i < 4; i++)
        assert_int_equal(world_register(&w, i), CW_MGR_OK);
    assert_string_equal(disk_of(&w, 3), "aws-2/store-0 removed");
    w.d[3].incarnation++;
    world_down(&w, 3);
    assert_int_equal(world_register(&w, 3), CW_MGR_OK);
    assert_string_equal(disk_of(&w, 3), "aws-2/store-0 removed");

    assert_int_equal(disk_call(&w, CW_MGR_DISK_ADD, "aws-2/store-0"), CW_MGR_OK);
    assert_int_equal(disk_call(&w, CW_MGR_DISK_ADD, "aws-2/store-0"), CW_MGR_NOT_FOUND);
    run(&w, 3);
    assert_int_equal(w.d[3].error.code, CW_MGR_NOT_FOUND);
    assert_int_equal(world_register(&w, 3), CW_MGR_OK);
    assert_string_equal(disk_of(&w, 3), "aws-2/store-0");

    assert_int_equal(disk_call(&w, CW_MGR_DISK_RM, "aws-2/store-0"), CW_MGR_OK);
    assert_int_equal(world_register(&w, 3), CW_MGR_OK);
    w.d[3].format_id++;
    assert_int_equal(world_register(&w, 3), CW_MGR_OK);
    assert_string_equal(disk_of(&w, 3), "aws-2/store-0");
    world_fini(&w);
}

/* What is remembered of disks that are gone is bounded: the oldest is forgotten. */
static void
removed_disks_are_bounded(void **state)
{
    static struct world w;
    uint64_t first;

    begin(&w, 3, 3, 2);
    assert_int_equal(world_up(&w, 3, "aws-2", "aws"), CW_MGR_OK);
    first = w.d[3].format_id;
    for (uint64_t i = 0; i < 300; i++) {
        w.d[3].disk_uuid = cw_uuid_from_random(i + 1, first);
        w.wall_s++;
        assert_int_equal(world_register(&w, 3), CW_MGR_OK);
        for (int n = 0; n < 9 && strchr(disk_of(&w, 3), '/') == NULL; n++)
            run(&w, 1);
        assert_int_equal(disk_call(&w, CW_MGR_DISK_RM, disk_of(&w, 3)), CW_MGR_OK);
    }
    w.d[3].disk_uuid = cw_uuid_from_random(45 + 1, first);
    assert_int_equal(world_register(&w, 3), CW_MGR_OK);
    assert_non_null(strstr(disk_of(&w, 3), " removed"));
    w.d[3].disk_uuid = cw_uuid_from_random(42 + 1, first);
    assert_int_equal(world_register(&w, 3), CW_MGR_OK);
    assert_null(strstr(disk_of(&w, 3), " removed"));
    world_fini(&w);
}

/* A disk with copies that serves is not removed. */
static void
disk_rm_needs_an_empty_disk(void **state)
{
    static struct world w;
    struct cw_mgr_call rm = { .kind = CW_MGR_DISK_RM, .req.disk_rm = { "dc1-1/store-0", false } };

    begin(&w, 3, 3, 2);
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_BUSY);
    world_down(&w, 0);
    assert_int_equal(world_call(&w, NULL, &rm), CW_MGR_OK);
    run(&w, 10);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3); /* its owner has not said that it is out */
    world_fini(&w);
}

/* A host that is gone for good goes from the records at once, with what lies there; its copies are
 * made again elsewhere, and its name can be had by another. */
static void
a_lost_host_is_given_up(void **state)
{
    static struct world w;
    char name[16], site[16];
    int d;

    begin(&w, 4, 3, 2);
    d = world_daemon_of(&w, 0);
    memcpy(name, w.d[d].name, sizeof(name));
    memcpy(site, w.d[d].site, sizeof(site));
    world_down(&w, d);
    run(&w, 5);
    move(&w, 0, CW_MEMBER_OUT);
    assert_int_equal(host_rm(&w, w.d[d].name, false), CW_MGR_OK);
    assert_string_equal(w.text[T_REMOVED], "1 ");
    assert_string_equal(host(&w, w.d[d].name), "");
    assert_false(world_finding(&w, "HOST_ABSENT", NULL));
    run(&w, 3);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 3);
    assert_int_equal(member_of(&w, d), -1);
    assert_int_equal(w.shards[0].members[0].state, CW_MEMBER_OUT);
    w.d[d].host_key = cw_uuid_from_random(7, 7); /* a new machine of the old name */
    w.d[d].disk_uuid = cw_uuid_from_random(8, 8);
    w.d[d].format_id = 77;
    assert_int_equal(world_up(&w, d, name, site), CW_MGR_OK);
    assert_string_equal(host(&w, w.d[d].name), "up  0");
    world_fini(&w);
}

/* The last in-sync copy goes only by an explicit word, and it is said what is lost with it. */
static void
the_last_copy_needs_a_word(void **state)
{
    static struct world w;
    int d;

    begin(&w, 3, 1, 1);
    d = world_daemon_of(&w, 0);
    world_down(&w, d);
    run(&w, 5);
    assert_int_equal(host_rm(&w, w.d[d].name, false), CW_MGR_LAST_COPY);
    assert_non_null(strstr(w.error.message, "volume v"));
    assert_non_null(strstr(w.error.hint, "--accept-loss"));
    assert_int_equal(host_rm(&w, w.d[d].name, true), CW_MGR_OK);
    assert_string_equal(w.text[T_REMOVED], "1 v");
    run(&w, 3);
    assert_string_equal(world_word(&w, "v"), "lost");
    world_fini(&w);
}

/* What was to be dropped on it is forgotten with it. */
static void
drops_go_with_their_host(void **state)
{
    static struct world w;
    struct cw_rec got;
    struct cw_rec drop = { .kind = CW_REC_DROP, .drop.shard = CW_SHARD_ID(1, 0) };
    char key[CW_KV_KEY_SIZE];
    int d;

    begin(&w, 4, 3, 2);
    d = world_daemon_of(&w, 0);
    drop.drop.disk_uuid = w.d[d].disk_uuid;
    world_down(&w, d);
    run(&w, 5);
    move(&w, 0, CW_MEMBER_OUT);
    run(&w, 3700);
    look(&w);
    assert_int_equal(member_of(&w, d), -1);
    assert_true(fakekv_get(&w.kv, cw_rec_key(&drop, key), &got));
    assert_int_equal(host_rm(&w, w.d[d].name, false), CW_MGR_OK);
    run(&w, 3);
    assert_false(fakekv_get(&w.kv, cw_rec_key(&drop, key), &got));
    world_fini(&w);
}

static void
keep_plan(struct world *w, const union cw_mgr_reply *r)
{
    w->text[T_PLAN][0] = '\0';
    for (size_t i = 0; i < r->maintain.n_plans; i++) {
        const struct cw_mgr_plan *p = &r->maintain.plans[i];
        size_t len = strlen(w->text[T_PLAN]);

        snprintf(w->text[T_PLAN] + len, sizeof(w->text[0]) - len,
                 "%s:%d/%d moves %d reduced %d "
                 "unavailable %d%s; ",
                 p->mode, (int)p->copies, (int)p->n_volumes, (int)p->moves, (int)p->reduced,
                 (int)p->unavailable,
                 p->n_volumes > 0 && p->volumes[0].blocked[0] != '\0' ? " blocked" : "");
    }
}

static const char *
plan(struct world *w, const char *host, const char *mode)
{
    struct cw_mgr_call call = { .kind = CW_MGR_HOST_MAINTAIN,
                                .req.host_maintain = { host, mode, true, false } };

    w->keep = keep_plan;
    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    w->keep = NULL;
    return w->text[T_PLAN];
}

/* The plan says what each mode would do, and does nothing. */
static void
a_plan_changes_nothing(void **state)
{
    static struct world w;
    int d;

    begin(&w, 3, 2, 2);
    d = world_daemon_of(&w, 0);
    assert_string_equal(plan(&w, w.d[d].name, ""),
                        "accessible:1/1 moves 1 reduced 0 unavailable 0; "
                        "full:1/1 moves 1 reduced 0 unavailable 0; "
                        "none:1/1 moves 0 reduced 0 unavailable 1; ");
    assert_string_equal(host(&w, w.d[d].name), "up  0");
    run(&w, 5);
    look(&w);
    assert_int_equal(w.shards[0].n_members, 2);
    world_fini(&w);

    begin(&w, 3, 3, 2);
    assert_string_equal(plan(&w, "aws-1", ""), "accessible:1/1 moves 0 reduced 1 unavailable 0; "
                                               "full:1/1 moves 0 reduced 1 unavailable 0 blocked; "
                                               "none:1/1 moves 0 reduced 1 unavailable 0; ");
    world_fini(&w);
}

/* A verify that was asked for before the manager ended is there after it, and runs again. */
static void
a_verify_is_taken_up_again(void **state)
{
    static struct world w;
    struct cw_mgr_call call = { .kind = CW_MGR_VOLUME_VERIFY, .req.name = "v" };
    uint64_t id;

    begin(&w, 3, 3, 2);
    assert_int_equal(world_call(&w, NULL, &call), CW_MGR_OK);
    run(&w, 2);
    assert_int_equal(w.c[0].n_verify, 1);
    id = w.c[0].verify_job;
    world_stop_manager(&w);
    world_start_manager(&w, false);
    for (int i = 0; i < 3; i++)
        come_back(&w, i);
    world_client(&w, 0);
    run(&w, 3);
    assert_int_equal(w.c[0].n_verify, 2);
    assert_int_equal(w.c[0].verify_job, id);
    {
        struct cw_mgr_verify v = { .job = id,
                                   .volume_id = 1,
                                   .done_bytes = 4096,
                                   .found = 2,
                                   .finished = true,
                                   .failed = "" };

        cw_manager_verify_progress(w.m, w.c[0].session, &v);
    }
    run(&w, 1);
    assert_string_equal(job(&w, id), "verify v done");
    world_stop_manager(&w);
    world_start_manager(&w, false);
    assert_string_equal(job(&w, id), "verify v done");
    world_fini(&w);
}

static void
keep_repairs(struct world *w, const union cw_mgr_reply *r)
{
    snprintf(w->text[T_PLAN], sizeof(w->text[0]), "%d", (int)r->repairs.n_repairs);
    if (r->repairs.n_repairs > 0)
        snprintf(w->text[T_PLAN], sizeof(w->text[0]), "%d %s at=%d insync=%d %s",
                 (int)r->repairs.n_repairs, r->repairs.repairs[0].state,
                 r->repairs.repairs[0].at[0] != '\0', (int)r->repairs.repairs[0].insync,
                 r->repairs.repairs[0].target);
}

static const char *
repairs(struct world *w)
{
    struct cw_mgr_call call = { .kind = CW_MGR_REPAIR_LS };

    w->keep = keep_repairs;
    assert_int_equal(world_call(w, NULL, &call), CW_MGR_OK);
    w->keep = NULL;
    return w->text[T_PLAN];
}

static enum cw_mgr_code
repair_set(struct world *w, enum cw_mgr_repair_what what, uint64_t bytes)
{
    struct cw_mgr_call call = { .kind = CW_MGR_REPAIR_SET, .req.repair_set = { what, bytes } };

    return world_call(w, NULL, &call);
}

static void
keep_job_id(struct world *w, const union cw_mgr_reply *r)
{
    w->job = r->job.id;
}

static enum cw_mgr_code
repair_now(struct world *w, const char *host, const char *volume)
{
    struct cw_mgr_call call = { .kind = CW_MGR_REPAIR_NOW, .req.repair_now = { host, volume } };

    w->keep = keep_job_id;
    world_call(w, NULL, &call);
    w->keep = NULL;
    return w->error.code;
}

/* Waiting copies are listed with when; now begins them; the job ends when all are there. */
static void
repair_begins_when_asked(void **state)
{
    static struct world w;
    char text[80];
    uint64_t id;
    int d;

    begin(&w, 4, 3, 2);
    assert_string_equal(repairs(&w), "0");
    d = world_daemon_of(&w, 0);
    world_down(&w, d);
    move(&w, 0, CW_MEMBER_OUT);
    run(&w, 6);
    snprintf(text, sizeof(text), "1 waiting at=1 insync=2 %s/store-0", w.d[d].name);
    assert_string_equal(repairs(&w), text);
    assert_int_equal(repair_now(&w, "nowhere", ""), CW_MGR_NOT_FOUND);
    assert_int_equal(repair_now(&w, w.d[d].name, ""), CW_MGR_OK);
    id = w.job;
    assert_int_equal(repair_now(&w, w.d[d].name, ""), CW_MGR_OK);
    assert_int_equal(w.job, id); /* the same */
    run(&w, 3);
    look(&w);
    assert_int_equal(member_of(&w, d), -1);
    move(&w, 0, CW_MEMBER_IN_RESYNC);
    move(&w, 0, CW_MEMBER_INSYNC);
    run(&w, 3);
    snprintf(text, sizeof(text), "repair %s done", w.d[d].name);
    assert_string_equal(job(&w, id), text);
    assert_string_equal(repairs(&w), "0");
    world_fini(&w);
}

/* A job of copies that have no place does not stay open for ever. */
static void
a_repair_without_a_place_ends(void **state)
{
    static struct world w;
    int d;

    begin(&w, 3, 3, 2);
    d = world_daemon_of(&w, 0);
    world_down(&w, d);
    move(&w, 0, CW_MEMBER_OUT);
    run(&w, 6);
    assert_int_equal(repair_now(&w, "", "v"), CW_MGR_OK);
    run(&w, 5);
    assert_string_equal(job(&w, w.job), "repair v waiting");
    assert_true(world_finding(&w, "REPAIR_BLOCKED", "v"));
    assert_int_equal(strncmp(repairs(&w), "1 stuck", 7), 0);
    run(&w, 70);
    assert_string_equal(job(&w, w.job), "repair v failed");
    assert_false(world_finding(&w, "REPAIR_BLOCKED", NULL));
    world_fini(&w);
}

/* Paused, also over a restart: nothing is replaced, and the word says why. */
static void
repair_is_paused(void **state)
{
    static struct world w;
    int d;

    begin(&w, 4, 3, 2);
    d = world_daemon_of(&w, 0);
    assert_int_equal(repair_set(&w, CW_MGR_REPAIR_LIMIT, 7 * CW_MIB), CW_MGR_OK);
    assert_int_equal(repair_set(&w, CW_MGR_REPAIR_LIMIT, CW_MIB - 1), CW_MGR_BAD_REQUEST);
    assert_int_equal(repair_now(&w, w.d[d].name, "v"), CW_MGR_BAD_REQUEST);
    assert_int_equal(repair_set(&w, CW_MGR_REPAIR_PAUSE, 0), CW_MGR_OK);
    assert_int_equal(repair_now(&w, "", ""), CW_MGR_CONFLICT);
    world_down(&w, d);
    move(&w, 0, CW_MEMBER_OUT);
    run(&w, 4000);
    look(&w);
    assert_int_equal(member_of(&w, d), 0);
    assert_true(w.attach.policy.resync_paused);
    assert_int_equal(w.attach.policy.resync_limit, 7 * CW_MIB);
    assert_string_equal(world_word(&w, "v"), "reduced-stuck");
    world_stop_manager(&w);
    world_start_manager(&w, false);
    for (int i = 0; i < 4; i++) {
        if (i != d)
            come_back(&w, i);
    }
    world_client(&w, 0);
    run(&w, 4000);
    assert_string_equal(world_word(&w, "v"), "reduced-stuck");
    assert_true(world_finding(&w, "REPAIR_PAUSED", "repair"));
    assert_int_equal(repair_set(&w, CW_MGR_REPAIR_RESUME, 0), CW_MGR_OK);
    assert_false(world_finding(&w, "REPAIR_PAUSED", NULL));
    run(&w, 2);
    look(&w);
    assert_int_equal(member_of(&w, d), -1);
    world_fini(&w);
}

/* A resync that does not come on for a minute is a finding, until it does. */
static void
a_resync_that_stands_still_is_found(void **state)
{
    static struct world w;
    struct cw_mgr_member_report mr = { .chunks_total = 100, .chunks_left = 50 };
    struct cw_mgr_shard_report sr = {
        .shard = CW_SHARD_ID(1, 0), .why = "", .members = &mr, .n_members = 1
    };
    struct cw_mgr_volume_report r = { .volume_id = 1, .gen = 1, .shards = &sr, .n_shards = 1 };

    begin(&w, 3, 3, 2);
    move(&w, 0, CW_MEMBER_OUT);
    move(&w, 0, CW_MEMBER_IN_RESYNC);
    mr.disk_uuid = w.shards[0].members[0].disk_uuid;
    for (int i = 0; i < 130; i++) {
        mr.chunks_left -= i < 50 && i % 10 == 0;
        cw_manager_report(w.m, w.c[0].session, &r);
        world_run(&w, 1000);
        if (i == 90)
            assert_false(world_finding(&w, "REPAIR_STUCK", NULL));
    }
    assert_true(world_finding(&w, "REPAIR_STUCK", "v"));
    mr.chunks_left--;
    cw_manager_report(w.m, w.c[0].session, &r);
    world_run(&w, 1000);
    assert_false(world_finding(&w, "REPAIR_STUCK", NULL));
    world_fini(&w);
}

/* A maintenance that nobody ends is found in the end. */
static void
a_long_maintenance_is_found(void **state)
{
    static struct world w;

    begin(&w, 4, 3, 2);
    assert_int_equal(maintain(&w, "dc1-1", "none", false), CW_MGR_OK);
    run(&w, 3 * 3600);
    assert_false(world_finding(&w, "MAINTENANCE_LONG", NULL));
    run(&w, 3700);
    assert_true(world_finding(&w, "MAINTENANCE_LONG", "dc1/dc1-1"));
    assert_int_equal(named(&w, CW_MGR_HOST_RETURN, "dc1-1"), CW_MGR_OK);
    assert_false(world_finding(&w, "MAINTENANCE_LONG", NULL));
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_in_maintenance_is_not_replaced),
        cmocka_unit_test(a_host_in_maintenance_takes_no_copies),
        cmocka_unit_test(accessible_adds_a_copy_first),
        cmocka_unit_test(a_job_that_waits_goes_on_after_a_restart),
        cmocka_unit_test(accessible_hurries_absent_copies),
        cmocka_unit_test(a_second_host_is_refused),
        cmocka_unit_test(full_empties_the_host),
        cmocka_unit_test(a_disk_is_drained),
        cmocka_unit_test(a_removed_disk_stays_removed),
        cmocka_unit_test(removed_disks_are_bounded),
        cmocka_unit_test(disk_rm_needs_an_empty_disk),
        cmocka_unit_test(a_lost_host_is_given_up),
        cmocka_unit_test(the_last_copy_needs_a_word),
        cmocka_unit_test(drops_go_with_their_host),
        cmocka_unit_test(a_plan_changes_nothing),
        cmocka_unit_test(a_verify_is_taken_up_again),
        cmocka_unit_test(repair_begins_when_asked),
        cmocka_unit_test(a_repair_without_a_place_ends),
        cmocka_unit_test(repair_is_paused),
        cmocka_unit_test(a_resync_that_stands_still_is_found),
        cmocka_unit_test(a_long_maintenance_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
