#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "daemon/metadata/kv-lmdb.h"
#include "tests/lib/cw-test.h"
#include "tests/lib/simenv.h"

#define RUN_NS (10 * CW_NS_PER_S)

struct box {
    struct cw_simenv env;
    char root[64], dir[80];
    struct cw_lmdb *l;
    char why[CW_LMDB_WHY_SIZE];
};

static int
box_open(struct box *b, bool bootstrap)
{
    struct cw_lmdb_opts opts = {
        .env = &b->env.env,
        .dir = b->dir,
        .bootstrap = bootstrap,
        .size_bytes = CW_MIB,
    };

    b->why[0] = '\0';
    return cw_lmdb_open(&opts, &b->l, b->why);
}

static void
box_init(struct box *b)
{
    *b = (struct box){ 0 };
    cw_simenv_init(&b->env, 1);
    snprintf(b->root, sizeof(b->root), "/tmp/cw-lmdb-XXXXXX");
    assert_non_null(mkdtemp(b->root));
    snprintf(b->dir, sizeof(b->dir), "%s/meta", b->root);
    if (box_open(b, true) != 0)
        fail_msg("%s", b->why);
}

static void
box_reopen(struct box *b)
{
    cw_lmdb_close(b->l);
    b->l = NULL;
    if (box_open(b, false) != 0)
        fail_msg("%s", b->why);
}

static void
box_unlink(const struct box *b, const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", b->dir, name);
    unlink(path);
}

static void
box_fini(struct box *b)
{
    cw_lmdb_close(b->l);
    box_unlink(b, "data.mdb");
    box_unlink(b, "lock");
    rmdir(b->dir);
    rmdir(b->root);
    cw_simenv_fini(&b->env);
}

struct commit {
    struct cw_kv_txn txn;
    bool done;
    enum cw_kv_result result;
    uint64_t version;
};

static void
commit_done(struct cw_kv_txn *t, enum cw_kv_result result, uint64_t version)
{
    struct commit *c = cw_container_of(t, struct commit, txn);

    assert_false(c->done);
    c->done = true;
    c->result = result;
    c->version = version;
}

static enum cw_kv_result
box_commit(struct box *b, const struct cw_kv_compare *compares, size_t n_compares,
           const struct cw_kv_op *ops, size_t n_ops, uint64_t *ret_version)
{
    struct commit c = {
        .txn = {
            .compares = compares, .n_compares = n_compares, .ops = ops, .n_ops = n_ops,
            .done = commit_done,
        },
    };

    cw_kv_commit(cw_lmdb_kv(b->l), &c.txn);
    assert_false(c.done);
    assert_true(cw_simenv_run_until(&b->env, &c.done, RUN_NS));
    if (ret_version != NULL)
        *ret_version = c.version;
    return c.result;
}

static struct cw_kv_op
op_put(const char *key, const char *value)
{
    return (struct cw_kv_op){ key, (const uint8_t *)value, strlen(value) };
}

/* Everything under a prefix as "key=value;..", versions apart. */
struct dump {
    struct cw_kv_read read;
    bool done;
    enum cw_kv_result result;
    char text[4096];
    size_t len, n;
    uint64_t versions[64];
};

static void
dump_entry(struct cw_kv_read *r, const struct cw_kv_entry *e)
{
    struct dump *d = cw_container_of(r, struct dump, read);

    if (d->n < CW_LEN(d->versions))
        d->versions[d->n] = e->version;
    d->n++;
    if (d->len < sizeof(d->text) - 200)
        d->len += (size_t)snprintf(d->text + d->len, sizeof(d->text) - d->len, "%s=%.*s;", e->key,
                                   (int)cw_min_u64(e->len, 40), (const char *)e->value);
}

static void
dump_done(struct cw_kv_read *r, enum cw_kv_result result)
{
    struct dump *d = cw_container_of(r, struct dump, read);

    d->done = true;
    d->result = result;
}

static struct dump
box_dump(struct box *b, const char *prefix)
{
    struct dump d = { .read = { .prefix = prefix, .entry = dump_entry, .done = dump_done } };

    cw_kv_read(cw_lmdb_kv(b->l), &d.read);
    assert_false(d.done);
    assert_true(cw_simenv_run_until(&b->env, &d.done, RUN_NS));
    return d;
}

/* What was committed is there after closing and opening, in key order, and prefixes select. */
static void
lmdb_keeps_what_was_committed(void **state)
{
    struct cw_kv_op ops[] = { op_put("/b/2", "two"), op_put("/a", "one"), op_put("/b/1", "x") };
    struct cw_kv_op more[] = { op_put("/b/3", "three"), { .key = "/b/1" }, { .key = "/none" } };
    uint64_t v1, v2;
    struct dump d;
    struct box b;

    box_init(&b);
    assert_int_equal(box_dump(&b, "").n, 0);
    assert_int_equal(box_commit(&b, NULL, 0, ops, 3, &v1), CW_KV_APPLIED);
    assert_int_equal(box_commit(&b, NULL, 0, more, 3, &v2), CW_KV_APPLIED);
    assert_true(v1 > 0 && v2 > v1);
    box_reopen(&b);
    d = box_dump(&b, "");
    assert_int_equal(d.result, CW_KV_APPLIED);
    assert_string_equal(d.text, "/a=one;/b/2=two;/b/3=three;");
    assert_int_equal(d.versions[0], v1);
    assert_int_equal(d.versions[2], v2);
    assert_string_equal(box_dump(&b, "/b/").text, "/b/2=two;/b/3=three;");
    assert_string_equal(box_dump(&b, "/c").text, "");
    assert_int_equal(box_commit(&b, NULL, 0, ops, 1, &v1), CW_KV_APPLIED);
    assert_true(v1 > v2);
    box_fini(&b);
}

/* A compare that does not hold leaves every key as it was. */
static void
lmdb_conflict_changes_nothing(void **state)
{
    struct cw_kv_op first = op_put("/a", "1");
    struct cw_kv_op ops[] = { op_put("/a", "2"), op_put("/b", "2") };
    struct cw_kv_compare absent = { "/a", 0 }, present;
    struct cw_kv_compare pair[2];
    struct box b;
    uint64_t v;

    box_init(&b);
    assert_int_equal(box_commit(&b, &absent, 1, &first, 1, &v), CW_KV_APPLIED);
    assert_int_equal(box_commit(&b, &absent, 1, ops, 2, NULL), CW_KV_CONFLICT);
    present = (struct cw_kv_compare){ "/a", v + 1 };
    assert_int_equal(box_commit(&b, &present, 1, ops, 2, NULL), CW_KV_CONFLICT);
    pair[0] = (struct cw_kv_compare){ "/a", v };
    pair[1] = (struct cw_kv_compare){ "/c", 1 };
    assert_int_equal(box_commit(&b, pair, 2, ops, 2, NULL), CW_KV_CONFLICT);
    assert_string_equal(box_dump(&b, "").text, "/a=1;");
    pair[1].version = 0;
    assert_int_equal(box_commit(&b, pair, 2, ops, 2, &v), CW_KV_APPLIED);
    assert_string_equal(box_dump(&b, "").text, "/a=2;/b=2;");
    /* A transaction of compares alone tells whether they hold. */
    pair[0].version = v;
    assert_int_equal(box_commit(&b, pair, 1, NULL, 0, NULL), CW_KV_APPLIED);
    box_fini(&b);
}

/* More data than the map holds: it grows, and the same transaction succeeds. */
static void
lmdb_map_grows(void **state)
{
    static uint8_t value[2000];
    struct box b;

    memset(value, 'v', sizeof(value));
    box_init(&b);
    for (int t = 0; t < 20; t++) {
        struct cw_kv_op ops[200];
        char keys[200][32];

        for (size_t i = 0; i < CW_LEN(ops); i++) {
            snprintf(keys[i], sizeof(keys[i]), "/k/%05d", t * 200 + (int)i);
            ops[i] = (struct cw_kv_op){ keys[i], value, sizeof(value) };
        }
        assert_int_equal(box_commit(&b, NULL, 0, ops, CW_LEN(ops), NULL), CW_KV_APPLIED);
    }
    assert_true(cw_simenv_logged(&b.env, "map grown"));
    box_reopen(&b);
    assert_int_equal(box_dump(&b, "/k/").n, 4000);
    box_fini(&b);
}

static void
expect_refused(struct box *b, bool bootstrap, const char *said)
{
    struct cw_lmdb *was = b->l;

    assert_int_not_equal(box_open(b, bootstrap), 0);
    if (strstr(b->why, said) == NULL || strstr(b->why, b->dir) == NULL ||
        strchr(b->why, '\n') != NULL)
        fail_msg("'%s' does not say '%s'", b->why, said);
    b->l = was;
}

/* An absent or empty directory without --bootstrap is an error that says what to do. */
static void
lmdb_empty_directory_is_an_error(void **state)
{
    struct box b;

    box_init(&b);
    cw_lmdb_close(b.l);
    b.l = NULL;
    box_unlink(&b, "data.mdb");
    expect_refused(&b, false, "--bootstrap");
    expect_refused(&b, false, "rebuild-metadata");
    box_unlink(&b, "lock");
    assert_int_equal(rmdir(b.dir), 0);
    expect_refused(&b, false, "does not exist");
    expect_refused(&b, false, "--bootstrap");
    assert_int_equal(access(b.dir, F_OK), -1);
    box_fini(&b);
}

/* Two at once: the second is refused and the first goes on. */
static void
lmdb_second_opener_is_refused(void **state)
{
    struct cw_kv_op op = op_put("/a", "1");
    struct box b;

    box_init(&b);
    expect_refused(&b, false, "in use by another process");
    assert_int_equal(box_commit(&b, NULL, 0, &op, 1, NULL), CW_KV_APPLIED);
    box_fini(&b);
}

static void
damage(struct box *b, off_t off, size_t n, off_t cut)
{
    char path[128];
    uint8_t junk[4096];
    int fd;

    memset(junk, 0xa5, sizeof(junk));
    snprintf(path, sizeof(path), "%s/data.mdb", b->dir);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    if (n > 0)
        assert_int_equal(pwrite(fd, junk, n, off), n);
    if (cut >= 0)
        assert_int_equal(ftruncate(fd, cut), 0);
    close(fd);
}

/* A file that is no database any more is refused, not started afresh. */
static void
lmdb_damaged_head_is_refused(void **state)
{
    struct cw_kv_op op = op_put("/a", "1");
    struct box b;

    box_init(&b);
    assert_int_equal(box_commit(&b, NULL, 0, &op, 1, NULL), CW_KV_APPLIED);
    cw_lmdb_close(b.l);
    b.l = NULL;
    damage(&b, 0, 4096, -1);
    damage(&b, 4096, 4096, -1);
    expect_refused(&b, false, "damaged");
    expect_refused(&b, true, "damaged");
    damage(&b, 0, 0, 100);
    expect_refused(&b, false, "damaged");
    box_fini(&b);
}

/* Cut off behind its head, the database answers UNAVAILABLE and neither crashes nor looks empty. */
static void
lmdb_truncated_file_is_noticed(void **state)
{
    struct cw_kv_op op = op_put("/a", "1");
    struct box b;

    box_init(&b);
    assert_int_equal(box_commit(&b, NULL, 0, &op, 1, NULL), CW_KV_APPLIED);
    cw_lmdb_close(b.l);
    b.l = NULL;
    damage(&b, 0, 0, 8192);
    if (box_open(&b, false) == 0)
        assert_int_equal(box_dump(&b, "").result, CW_KV_UNAVAILABLE);
    else
        assert_non_null(strstr(b.why, "damaged"));
    box_fini(&b);
}

/* A value whose bytes changed on the disk fails its checksum. */
static void
lmdb_changed_value_is_noticed(void **state)
{
    static const char text[] = "a value that is easy to find in the file";
    struct cw_kv_op op = op_put("/a", text);
    struct cw_kv_compare cmp = { "/a", 1 };
    struct stat st;
    char path[128];
    struct box b;
    uint8_t *bytes;
    int fd, n = 0;

    box_init(&b);
    assert_int_equal(box_commit(&b, NULL, 0, &op, 1, &cmp.version), CW_KV_APPLIED);
    cw_lmdb_close(b.l);
    b.l = NULL;
    snprintf(path, sizeof(path), "%s/data.mdb", b.dir);
    fd = open(path, O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    bytes = malloc((size_t)st.st_size);
    assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
    for (off_t i = 0; i + (off_t)sizeof(text) < st.st_size; i++)
        if (memcmp(bytes + i, text, sizeof(text) - 1) == 0)
            n += (int)pwrite(fd, "A", 1, i);
    assert_true(n > 0);
    close(fd);
    free(bytes);
    assert_int_equal(box_open(&b, false), 0);
    assert_int_equal(box_dump(&b, "").result, CW_KV_UNAVAILABLE);
    assert_true(cw_simenv_logged(&b.env, "checksum"));
    assert_int_equal(box_commit(&b, &cmp, 1, &op, 1, NULL), CW_KV_UNAVAILABLE);
    box_fini(&b);
}

/* The child commits pairs of keys that count up and says after each which one is durable. */
static void
child_commits(struct box *b, int say)
{
    for (uint64_t i = 1;; i++) {
        char value[32];
        struct cw_kv_op ops[2];

        snprintf(value, sizeof(value), "%08llu", (unsigned long long)i);
        ops[0] = op_put("/left", value);
        ops[1] = op_put("/right", value);
        if (box_commit(b, NULL, 0, ops, 2, NULL) != CW_KV_APPLIED)
            _exit(2);
        if (write(say, &i, sizeof(i)) != (ssize_t)sizeof(i))
            _exit(3);
    }
}

/* Killed at any moment, the store opens with the last transaction reported or the one after it, and
 * never with half of one. */
static void
lmdb_kill_leaves_a_prefix(void **state)
{
    struct box b;

    box_init(&b);
    cw_lmdb_close(b.l);
    b.l = NULL;
    for (int round = 0; round < 15; round++) {
        uint64_t told = 0, next, left = 0, right = 0;
        int pipe_fd[2], status;
        struct dump d;
        pid_t pid;

        assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            if (box_open(&b, false) != 0)
                _exit(4);
            child_commits(&b, pipe_fd[1]);
        }
        close(pipe_fd[1]);
        for (int i = 0; i < 3 + round * 2; i++)
            assert_int_equal(read(pipe_fd[0], &told, sizeof(told)), sizeof(told));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(pipe_fd[0], &next, sizeof(next)) == (ssize_t)sizeof(next))
            told = next;
        close(pipe_fd[0]);
        assert_int_equal(box_open(&b, false), 0);
        d = box_dump(&b, "/");
        assert_int_equal(sscanf(d.text, "/left=%08lu;/right=%08lu;", &left, &right), 2);
        assert_int_equal(left, right);
        assert_true(left == told || left == told + 1);
        cw_lmdb_close(b.l);
        b.l = NULL;
    }
    box_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lmdb_keeps_what_was_committed),
        cmocka_unit_test(lmdb_conflict_changes_nothing),
        cmocka_unit_test(lmdb_map_grows),
        cmocka_unit_test(lmdb_empty_directory_is_an_error),
        cmocka_unit_test(lmdb_second_opener_is_refused),
        cmocka_unit_test(lmdb_damaged_head_is_refused),
        cmocka_unit_test(lmdb_truncated_file_is_noticed),
        cmocka_unit_test(lmdb_changed_value_is_noticed),
        cmocka_unit_test(lmdb_kill_leaves_a_prefix),
    };

    return cmocka_run_group_tests_name("lmdb", tests, NULL, NULL);
}
