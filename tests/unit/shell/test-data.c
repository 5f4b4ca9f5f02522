#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/link.h"
#include "common/service/service.h"
#include "daemon/shell/data.h"
#include "daemon/shell/format.h"
#include "tests/lib/cw-test.h"

#define STORE_BYTES (512 * CW_MIB)

struct fix {
    char dir[64], path[96], sock[96], why[CW_DATA_WHY_SIZE];
    struct cw_log_sink log;
    struct cw_options o;
    struct cw_service *service;
    struct cw_data *data;
    bool ready, failed, closed;
    struct cw_data_look look;
    struct cw_data_disk disk; /* from the last look */
    uint32_t n_disks;
};

static void
on_ready(void *user, const char *why)
{
    struct fix *f = user;

    f->ready = why == NULL;
    f->failed = why != NULL;
    if (why != NULL)
        snprintf(f->why, sizeof(f->why), "%s", why);
    cw_service_stop(f->service);
}

static void
on_closed(void *user, int res)
{
    struct fix *f = user;

    assert_int_equal(res, 0);
    f->closed = true;
    cw_service_stop(f->service);
}

static const struct cw_data_events events = { .on_ready = on_ready, .on_closed = on_closed };

static void
fix_start(struct fix *f)
{
    struct cw_data_opts opts = { .options = &f->o,
                                 .service = f->service,
                                 .daemon_id = cw_uuid_from_random(1, 2),
                                 .incarnation = 1,
                                 .log = cw_log_sink_fn,
                                 .log_user = &f->log,
                                 .ev = &events,
                                 .user = f };

    f->ready = f->failed = f->closed = false;
    if (cw_data_start(&opts, &f->data, f->why) != 0)
        skip(); /* no io_uring here */
    cw_service_run(f->service);
}

static void
fix_stop(struct fix *f)
{
    cw_data_close(f->data);
    cw_service_run(f->service);
    assert_true(f->closed);
    cw_data_join(f->data);
}

static void
fix_init(struct fix *f)
{
    const char *tmp = getenv("TMPDIR");
    int err = 0;

    *f = (struct fix){ 0 };
    snprintf(f->dir, sizeof(f->dir), "%s/cw-data-XXXXXX",
             tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
    snprintf(f->sock, sizeof(f->sock), "%s/sock", f->dir);
    cw_log_sink_init(&f->log, "test", CW_LOG_ERROR);
    f->o = (struct cw_options){ .host = f->dir + 1, .unix_path = f->sock, .n_stores = 1 };
    f->o.memory_bytes = 128 * CW_MIB;
    f->o.stores[0] = (struct cw_store_opt){ .path = f->path, .bytes = STORE_BYTES };
    f->service = cw_service_new(NULL, &err);
    assert_non_null(f->service);
}

static void
fix_fini(struct fix *f)
{
    cw_service_free(f->service);
    unlink(f->path);
    assert_int_equal(rmdir(f->dir), 0);
}

static void
fix_format(struct fix *f)
{
    struct cw_options o = f->o;

    assert_int_equal(cw_format_main(&o, &f->log), 0);
}

static void
on_look(struct cw_data_look *l)
{
    struct fix *f = cw_container_of(l, struct fix, look);

    f->n_disks = l->n_disks;
    if (l->n_disks > 0)
        f->disk = l->disks[0];
    cw_service_stop(f->service);
}

static void
fix_look(struct fix *f)
{
    f->look = (struct cw_data_look){ .want_copies = true, .done = on_look };
    cw_data_look(f->data, &f->look);
    cw_service_run(f->service);
    assert_int_equal(f->n_disks, 1);
}

/* A formatted store serves, is claimed once, and still belongs to that cluster the next time. */
static void
store_is_claimed_for_good(void **state)
{
    struct cw_uuid cluster = cw_uuid_from_random(7, 7), other = cw_uuid_from_random(8, 8);
    struct fix f;
    uint64_t until;

    fix_init(&f);
    fix_format(&f);
    fix_start(&f);
    assert_true(f.ready);
    fix_look(&f);
    assert_string_equal(f.disk.name, "store-0");
    assert_true(cw_uuid_is_nil(&f.disk.id.cluster_id));
    assert_int_equal(f.disk.stats.bytes, STORE_BYTES);
    cw_data_join_cluster(f.data, cluster);
    until =
        cw_now_ns(cw_service_env(f.service)) + 20 * CW_NS_PER_S; /* a busy disk takes its time */
    while (cw_uuid_is_nil(&f.disk.id.cluster_id) && cw_now_ns(cw_service_env(f.service)) < until)
        fix_look(&f);
    assert_true(cw_uuid_equal(&f.disk.id.cluster_id, &cluster));
    fix_stop(&f);
    fix_start(&f);
    assert_true(f.ready);
    cw_data_join_cluster(f.data, other);
    fix_look(&f);
    assert_true(cw_uuid_equal(&f.disk.id.cluster_id, &cluster));
    fix_stop(&f);
    fix_fini(&f);
}

/* --format keeps its hands off a valid store unless forced, and leaves no half-made file. */
static void
format_is_careful(void **state)
{
    struct fix f;
    struct stat st;

    fix_init(&f);
    fix_format(&f);
    f.o.stores[0].bytes = 0;
    assert_int_equal(cw_format_main(&f.o, &f.log), 1);
    f.o.force = true;
    assert_int_equal(cw_format_main(&f.o, &f.log), 0);
    unlink(f.path);
    assert_int_equal(cw_format_main(&f.o, &f.log), 1);
    f.o.stores[0].bytes = 16 * CW_MIB;
    assert_int_equal(cw_format_main(&f.o, &f.log), 1);
    assert_int_equal(stat(f.path, &st), -1);
    fix_fini(&f);
}

/* Bytes that are no store, and no file at all: the daemon does not start, and says which and why.
 */
static void
what_is_no_store_is_refused(void **state)
{
    struct fix f;
    int fd;

    fix_init(&f);
    fd = open(f.path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, STORE_BYTES), 0);
    close(fd);
    fix_start(&f);
    assert_true(f.failed);
    assert_non_null(strstr(f.why, f.path));
    assert_non_null(strstr(f.why, "not a Causeway store"));
    fix_stop(&f);
    for (off_t bytes = 8192; bytes >= 0; bytes -= 4095) { /* too short even for a superblock */
        assert_int_equal(truncate(f.path, bytes), 0);
        fix_start(&f);
        assert_true(f.failed);
        assert_non_null(strstr(f.why, f.path));
        assert_non_null(strstr(f.why, "too small"));
        fix_stop(&f);
    }
    unlink(f.path);
    fix_start(&f);
    assert_true(f.failed);
    assert_non_null(strstr(f.why, f.path));
    assert_non_null(strstr(f.why, "--format"));
    fix_stop(&f);
    fix_fini(&f);
}

struct knock {
    struct cw_link_connect c;
    bool done, down;
    int res;
    struct cw_wire_hello reply;
    struct cw_link *l;
};

static void
knock_on_frame(struct cw_link *l, const struct cw_frame *f)
{
}

static void
knock_on_down(struct cw_link *l, int reason)
{
    ((struct knock *)l->user)->down = true;
}

static const struct cw_link_events knock_events = { .on_frame = knock_on_frame,
                                                    .on_down = knock_on_down };

static void
knock_done(struct cw_link_connect *c, int res, struct cw_link *l, const struct cw_wire_hello *reply)
{
    struct knock *k = cw_container_of(c, struct knock, c);

    k->done = true;
    k->res = res;
    k->l = l;
    if (reply != NULL)
        k->reply = *reply;
    if (l == NULL)
        return;
    l->ev = &knock_events;
    l->user = k;
}

static int
knock(struct cw_reactor *r, struct fix *f, struct knock *k, struct cw_uuid disk, uint64_t format_id,
      struct cw_uuid cluster)
{
    char addr[128];

    snprintf(addr, sizeof(addr), "unix:%s", f->sock);
    *k = (struct knock){ .c = { .addr = addr, .done = knock_done } };
    k->c.hello.kind = CW_HELLO_DATA;
    k->c.hello.format_id = format_id;
    memcpy(k->c.hello.disk_uuid, disk.b, sizeof(disk.b));
    memcpy(k->c.hello.cluster_id, cluster.b, sizeof(cluster.b));
    cw_link_connect(r, &k->c);
    while (!k->done)
        assert_int_equal(cw_reactor_turn(r, CW_NEVER), 0); /* its own timeout ends it */
    return k->res;
}

/* A data link reaches the disk it names; another disk, an older format or a foreign cluster is told
 * so in HELLO. */
static void
hello_finds_the_disk(void **state)
{
    struct cw_uuid cluster = cw_uuid_from_random(7, 7), other = cw_uuid_from_random(8, 8),
                   nil = { 0 };
    struct cw_reactor_opts ro = { .log_level = CW_LOG_ERROR };
    struct cw_reactor *r;
    struct knock k;
    struct fix f;

    fix_init(&f);
    fix_format(&f);
    fix_start(&f);
    assert_true(f.ready);
    cw_data_join_cluster(f.data, cluster);
    fix_look(&f);
    assert_int_equal(cw_reactor_new(&ro, &r), 0);
    assert_int_equal(knock(r, &f, &k, other, f.disk.id.format_id, nil), CW_HELLO_E_NO_DISK);
    assert_int_equal(knock(r, &f, &k, f.disk.id.disk_uuid, 99, nil), CW_HELLO_E_FORMAT);
    assert_int_equal(knock(r, &f, &k, f.disk.id.disk_uuid, f.disk.id.format_id, other),
                     CW_HELLO_E_CLUSTER);
    assert_int_equal(knock(r, &f, &k, f.disk.id.disk_uuid, f.disk.id.format_id, cluster), 0);
    assert_true(k.l->local);
    assert_int_equal(k.reply.format_id, f.disk.id.format_id);
    assert_memory_equal(k.reply.sender_id, f.disk.id.disk_uuid.b, 16);
    assert_true(k.reply.credit_ops > 0 && k.reply.credit_bytes >= 2 * CW_MIB);
    fix_stop(&f); /* ends the link from that side */
    while (!k.down)
        assert_int_equal(cw_reactor_turn(r, 10 * CW_NS_PER_S), 0);
    cw_reactor_free(r);
    fix_fini(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_is_claimed_for_good),
        cmocka_unit_test(format_is_careful),
        cmocka_unit_test(what_is_no_store_is_refused),
        cmocka_unit_test(hello_finds_the_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
