#include "tests/lib/cw-test.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/admin/local.h"
#include "client/admin/localwait.h"
#include "common/base/bits.h"
#include "tests/unit/admin/stream.h"

struct place {
    char dir[64]; /* of the cluster; does not exist at first */
    char top[48];
};

static int
place_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static int
place_setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    const char *tmp = getenv("TMPDIR");

    snprintf(p->top, sizeof(p->top), "%.24s/cw-local-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->top));
    snprintf(p->dir, sizeof(p->dir), "%s/c", p->top);
    *state = p;
    return 0;
}

/* Runs "local VERB.. --dir DIR". */
static void
local_run(struct run *r, const struct place *p, const char *words)
{
    char text[256];

    snprintf(text, sizeof(text), "local %s --dir %s", words, p->dir);
    run_init(r, text);
}

static bool
local_says(const struct place *p, const char *words, int status, const char *says)
{
    char text[256];

    snprintf(text, sizeof(text), "local %s --dir %s", words, p->dir);
    return run_says(text, status, says);
}

static int
place_teardown(void **state)
{
    struct place *p = *state;
    struct run r;

    local_run(&r, p, "kill all");
    run_fini(&r);
    nftw(p->top, place_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(p);
    return 0;
}

static struct cw_local_proc
proc_of(const struct place *p, const char *name)
{
    char why[CW_LOCAL_WHY_SIZE];
    struct cw_local_node *n;
    struct cw_local l;

    assert_int_equal(cw_local_load(&l, p->dir, why), 0);
    n = cw_local_find(&l, name);
    assert_non_null(n);
    return cw_local_proc_find(&l, n);
}

/* The address on the last line of `up`, which must be all that looks like one. */
static void
up(const struct place *p, const char *words, char *ret_address)
{
    struct run r;
    const char *text;
    char *end;

    local_run(&r, p, words);
    if (r.status != 0)
        fprintf(stderr, "%s", stream_text(&r.err));
    assert_int_equal(r.status, 0);
    text = stream_text(&r.out);
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    assert_non_null(end = strchr(text, '\n'));
    assert_int_equal(end[1], '\0');
    snprintf(ret_address, 32, "%.*s", (int)(end - text), text);
    run_fini(&r);
}

/* Hosts are SITE-1, SITE-2, ..; sites know their kind; numbers go on. */
static void
hosts_are_named(void **state)
{
    char why[CW_LOCAL_WHY_SIZE];
    struct cw_local l;

    cw_local_init(&l, "/x", false, 1, 0);
    assert_true(cw_local_add_hosts(&l, "onprem:2,aws:1,lab:1:cloud", why));
    assert_true(cw_local_add_hosts(&l, "onprem:1", why));
    assert_int_equal(l.n_nodes, 6);
    assert_string_equal(l.node[0].name, "manager");
    assert_string_equal(l.node[2].name, "onprem-2");
    assert_string_equal(l.node[3].name, "aws-1");
    assert_true(l.node[3].is_cloud);
    assert_true(l.node[4].is_cloud);
    assert_false(l.node[5].is_cloud);
    assert_string_equal(l.node[5].name, "onprem-3");
}

/* With etcd there are three members of it, and the address is that of all hosts. */
static void
etcd_has_three_members(void **state)
{
    struct place *p = *state;
    char why[CW_LOCAL_WHY_SIZE], address[CW_LOCAL_ADDRESS_SIZE], want[64];
    struct cw_local l, back;

    assert_int_equal(mkdir(p->dir, 0755), 0);
    cw_local_init(&l, p->dir, true, CW_GIB, 0);
    assert_true(cw_local_add_hosts(&l, "onprem:2", why));
    assert_int_equal(l.n_nodes, 5);
    assert_string_equal(l.node[0].name, "etcd-1");
    assert_string_equal(l.node[2].name, "etcd-3");
    assert_string_equal(l.node[3].name, "onprem-1");
    assert_true(cw_local_pick_ports(&l));
    assert_int_not_equal(l.node[0].port, l.node[0].peer_port);
    snprintf(want, sizeof(want), "127.0.0.1:%u,127.0.0.1:%u", l.node[3].port, l.node[4].port);
    assert_string_equal(cw_local_address(&l, address), want);
    l.bootstrapped = true;
    assert_int_equal(cw_local_save(&l), 0);
    assert_int_equal(cw_local_load(&back, p->dir, why), 0);
    assert_true(cw_local_is_etcd(&back) && back.bootstrapped);
    assert_int_equal(back.n_control, 3);
    assert_memory_equal(back.node, l.node, l.n_nodes * sizeof(l.node[0]));
}

/* Specifications that make no sense are refused, and so are too many hosts. */
static void
bad_hosts_are_refused(void **state)
{
    static const char *const bad[] = { "",       "dc1",    "dc1:",      "dc1:0",
                                       ":2",     "d c:1",  "dc1:1:hut", "dc1:1,,dc2:1",
                                       "dc1:-1", "dc1:65", "../x:1",    "a:40,b:40" };
    char why[CW_LOCAL_WHY_SIZE];
    struct cw_local l;

    for (size_t i = 0; i < CW_LEN(bad); i++) {
        cw_local_init(&l, "/x", false, 1, 0);
        assert_false(cw_local_add_hosts(&l, bad[i], why));
    }
}

/* Ports differ from each other and are kept. */
static void
ports_are_picked_once(void **state)
{
    char why[CW_LOCAL_WHY_SIZE];
    struct cw_local l;
    uint16_t first;

    cw_local_init(&l, "/x", false, 1, 0);
    cw_local_add_hosts(&l, "a:30", why);
    assert_true(cw_local_pick_ports(&l));
    for (uint32_t i = 0; i < l.n_nodes; i++) {
        for (uint32_t j = 0; j < i; j++)
            assert_int_not_equal(l.node[i].port, l.node[j].port);
    }
    first = l.node[0].port;
    assert_true(cw_local_pick_ports(&l));
    assert_int_equal(l.node[0].port, first);
}

/* cluster.json gives back what was saved; a broken one is an error that names it. */
static void
the_file_is_read_back(void **state)
{
    struct place *p = *state;
    char why[CW_LOCAL_WHY_SIZE], path[128];
    struct cw_local l, back;
    FILE *f;

    assert_int_equal(mkdir(p->dir, 0755), 0);
    assert_int_equal(cw_local_load(&back, p->dir, why), -ENOENT);
    cw_local_init(&l, p->dir, false, CW_GIB, CW_MIB);
    cw_local_add_hosts(&l, "onprem:2,aws:1", why);
    assert_true(cw_local_pick_ports(&l));
    l.node[2].prepared = true;
    assert_int_equal(cw_local_save(&l), 0);
    assert_int_equal(cw_local_load(&back, p->dir, why), 0);
    assert_int_equal(back.n_nodes, 4);
    assert_int_equal(back.store_bytes, CW_GIB);
    assert_int_equal(back.memory_bytes, CW_MIB);
    assert_memory_equal(back.node, l.node, l.n_nodes * sizeof(l.node[0]));
    snprintf(path, sizeof(path), "%s/cluster.json", p->dir);
    f = fopen(path, "w");
    fputs("{\"schema\": 1, \"hosts\": 7}", f);
    fclose(f);
    assert_int_equal(cw_local_load(&back, p->dir, why), -EINVAL);
    assert_non_null(strstr(why, "cluster.json"));
}

/* up starts everything detached and returns when it serves; down stops it and keeps the files; up
 * again has the same address. */
static void
up_and_down_and_up(void **state)
{
    struct place *p = *state;
    char first[32], second[32], path[128];
    struct stat st;

    up(p, "up --hosts onprem:2,aws:1 --store-size 512M", first);
    assert_int_equal(proc_of(p, "manager").state, CW_LOCAL_RUNNING);
    assert_int_equal(proc_of(p, "aws-1").state, CW_LOCAL_RUNNING);
    assert_int_equal(getsid(proc_of(p, "aws-1").pid), proc_of(p, "aws-1").pid);
    snprintf(path, sizeof(path), "%s/aws-1/store-0", p->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 512 * CW_MIB);
    assert_true(local_says(p, "ls", 0, "running"));
    assert_true(local_says(p, "down", 0, NULL));
    assert_int_equal(proc_of(p, "manager").state, CW_LOCAL_STOPPED);
    assert_int_equal(proc_of(p, "onprem-2").state, CW_LOCAL_STOPPED);
    assert_int_equal(stat(path, &st), 0);
    up(p, "up", second);
    assert_string_equal(first, second);
}

/* kill ends exactly the named process; start brings it back as another one, even when its pid file
 * is gone or names somebody else. */
static void
kill_and_start(void **state)
{
    struct place *p = *state;
    char address[32], path[128];
    struct cw_local_proc before, manager;
    FILE *f;

    up(p, "up --hosts a:2 --store-size 512M", address);
    before = proc_of(p, "a-1");
    manager = proc_of(p, "manager");
    assert_true(local_says(p, "kill a-1", 0, NULL));
    assert_false(cw_local_alive(&before));
    assert_int_equal(proc_of(p, "a-1").state, CW_LOCAL_STOPPED);
    assert_int_equal(proc_of(p, "a-2").state, CW_LOCAL_RUNNING);
    assert_true(cw_local_alive(&manager));
    snprintf(path, sizeof(path), "%s/a-1/pid", p->dir);
    f = fopen(path, "w");
    fprintf(f, "%d 1\n", (int)getpid());
    fclose(f);
    assert_int_equal(proc_of(p, "a-1").state, CW_LOCAL_STOPPED);
    assert_true(local_says(p, "kill a-1", 0, "did not run"));
    assert_true(local_says(p, "start a-1", 0, NULL));
    assert_int_equal(proc_of(p, "a-1").state, CW_LOCAL_RUNNING);
    before = proc_of(p, "a-2");
    snprintf(path, sizeof(path), "%s/a-2/pid", p->dir);
    assert_int_equal(unlink(path), 0);
    assert_true(local_says(p, "start a-2", 0, NULL));
    assert_int_equal(proc_of(p, "a-2").pid, before.pid);
    kill(before.pid, SIGKILL);
    assert_true(cw_local_wait_gone(&before, 10000));
    assert_true(local_says(p, "start all", 0, NULL));
    assert_int_equal(proc_of(p, "a-2").state, CW_LOCAL_RUNNING);
    assert_true(local_says(p, "kill all", 0, NULL));
    assert_int_equal(proc_of(p, "manager").state, CW_LOCAL_STOPPED);
    assert_true(local_says(p, "kill nobody", 1, "no process of that name"));
}

/* pause stops, resume continues; a stopped process cannot be paused; down ends a paused one. */
static void
pause_and_resume(void **state)
{
    struct place *p = *state;
    char address[32];

    up(p, "up --hosts a:1 --store-size 512M", address);
    assert_true(local_says(p, "pause a-1", 0, NULL));
    assert_int_equal(proc_of(p, "a-1").state, CW_LOCAL_PAUSED);
    assert_true(local_says(p, "ls --json", 0, "\"paused\""));
    assert_true(local_says(p, "resume a-1", 0, NULL));
    assert_int_equal(proc_of(p, "a-1").state, CW_LOCAL_RUNNING);
    assert_true(local_says(p, "pause all", 0, NULL));
    assert_true(local_says(p, "down", 0, NULL));
    assert_int_equal(proc_of(p, "a-1").state, CW_LOCAL_STOPPED);
    assert_true(local_says(p, "pause a-1", 1, "does not run"));
}

/* add brings more hosts into a cluster that runs. */
static void
hosts_are_added(void **state)
{
    struct place *p = *state;
    char address[32], words[96];

    up(p, "up --hosts a:1 --store-size 512M", address);
    assert_true(local_says(p, "add a:1 aws:1", 0, NULL));
    assert_int_equal(proc_of(p, "a-2").state, CW_LOCAL_RUNNING);
    assert_int_equal(proc_of(p, "aws-1").state, CW_LOCAL_RUNNING);
    snprintf(words, sizeof(words), "--cluster %s host ls", address);
    assert_true(run_says(words, 0, "aws-1"));
}

/* A host that does not come up: its log's end is shown, nothing of this run stays, and the next up
 * begins where this one ended. */
static void
a_failed_start_explains_itself(void **state)
{
    struct place *p = *state;
    char address[32];

    setenv("FAKE_FAIL", "a-2", 1);
    assert_true(local_says(p, "up --hosts a:2 --store-size 512M", 1, "a-2: told to fail"));
    assert_int_equal(proc_of(p, "a-1").state, CW_LOCAL_STOPPED);
    assert_int_equal(proc_of(p, "manager").state, CW_LOCAL_STOPPED);
    assert_true(local_says(p, "up --json", 1, "START_FAILED"));
    unsetenv("FAKE_FAIL");
    up(p, "up", address);
    assert_int_equal(proc_of(p, "a-2").state, CW_LOCAL_RUNNING);
}

/* The remote commands print the manager's answer, its refusals, and status' exit status. */
static void
the_manager_is_asked(void **state)
{
    struct place *p = *state;
    char address[32], words[128];

    up(p, "up --hosts a:1 --store-size 512M", address);
    snprintf(words, sizeof(words), "--cluster %s status", address);
    assert_true(run_says(words, 1, "cluster fake   WARN"));
    snprintf(words, sizeof(words), "--cluster %s --json volume create vm1 --size 1G", address);
    assert_true(run_says(words, 0, "\"size_bytes\": 1073741824"));
    snprintf(words, sizeof(words), "--cluster %s volume show vm2", address);
    assert_true(run_says(words, 1, "thing: no such thing; look elsewhere"));
    snprintf(words, sizeof(words), "--cluster %s host show b-1", address);
    assert_true(run_says(words, 1, "host b-1: no such host"));
}

/* Without a cluster in the directory there is nothing to stop, and nothing is made. */
static void
no_cluster_is_an_error(void **state)
{
    struct place *p = *state;
    struct stat st;

    assert_true(local_says(p, "down", 1, "no cluster in"));
    assert_true(local_says(p, "ls", 1, "no cluster in"));
    assert_int_not_equal(stat(p->dir, &st), 0);
}

int
main(void)
{
#define WITH_PLACE(fn) cmocka_unit_test_setup_teardown(fn, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_are_named),
        cmocka_unit_test(bad_hosts_are_refused),
        cmocka_unit_test(ports_are_picked_once),
        WITH_PLACE(etcd_has_three_members),
        WITH_PLACE(the_file_is_read_back),
        WITH_PLACE(up_and_down_and_up),
        WITH_PLACE(kill_and_start),
        WITH_PLACE(pause_and_resume),
        WITH_PLACE(hosts_are_added),
        WITH_PLACE(a_failed_start_explains_itself),
        WITH_PLACE(the_manager_is_asked),
        WITH_PLACE(no_cluster_is_an_error),
    };

    unsetenv("CAUSEWAY_CLUSTER");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
