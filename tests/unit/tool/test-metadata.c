/* causeway-store metadata: saved, damaged, moved between LMDB and etcd. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "daemon/metadata/metafile.h"
#include "daemon/metadata/records.h"
#include "daemon/tool/place.h"
#include "daemon/tool/tool.h"
#include "tests/unit/metadata/etcd-node.h"
#include "tests/unit/metadata/etcd-proc.h"

struct box {
    char root[64], dir[80], from[96], file[96], other[96], copy[96];
};

static void
box_init(struct box *b)
{
    snprintf(b->root, sizeof(b->root), "/tmp/cw-meta-XXXXXX");
    assert_non_null(mkdtemp(b->root));
    snprintf(b->dir, sizeof(b->dir), "%s/lmdb", b->root);
    snprintf(b->from, sizeof(b->from), "lmdb:%s", b->dir);
    snprintf(b->file, sizeof(b->file), "%s/cluster.meta", b->root);
    snprintf(b->other, sizeof(b->other), "lmdb:%s/other", b->root);
    snprintf(b->copy, sizeof(b->copy), "%s/again.meta", b->root);
}

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static void
box_fini(struct box *b)
{
    nftw(b->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The tool with these arguments: its status is want, and what it printed holds says. */
static void
tool(int want, const char *says, const char *a, const char *from, const char *to, const char *more)
{
    char *argv[12] = { (char *)"causeway-store", (char *)"metadata", (char *)a };
    int argc = 3, got;
    size_t len;
    char *text;
    FILE *out = open_memstream(&text, &len);

    if (from != NULL) {
        argv[argc++] = (char *)"--from";
        argv[argc++] = (char *)from;
    }
    if (to != NULL) {
        argv[argc++] = (char *)"--to";
        argv[argc++] = (char *)to;
    }
    if (more != NULL)
        argv[argc++] = (char *)more;
    got = cw_tool_main(argc, argv, out, out);
    fclose(out);
    if (got != want || strstr(text, says) == NULL)
        fail_msg("status %d, without \"%s\": %s", got, says, text);
    free(text);
}

/* A cluster of n volumes into STORE, which is made. */
static void
fill(const char *store, const char *name, unsigned n)
{
    struct cw_tool t = { .out = stderr, .err = stderr };
    struct cw_place_opts opts = { .text = store, .write = true };
    struct cw_place *p;

    assert_true(cw_place_open(&t, &opts, &p));
    for (unsigned i = 0; i <= n; i++) {
        struct cw_rec rec = { .kind = i == 0 ? CW_REC_CLUSTER : CW_REC_VOLUME };
        uint8_t bytes[CW_REC_BYTES_MAX];
        char key[CW_KV_KEY_SIZE];
        struct cw_kv_compare compare = { key, 0 };
        struct cw_kv_op op = { .key = key, .value = bytes };

        if (i == 0) {
            rec.cluster.cluster_id = cw_uuid_from_random(n, 7);
            rec.cluster.next_volume_id = n + 1;
            snprintf(rec.cluster.name, sizeof(rec.cluster.name), "%s", name);
        } else {
            rec.volume.id = i;
            rec.volume.size_bytes = i * CW_MIB;
            rec.volume.hold = CW_HOLD_RELEASED;
            snprintf(rec.volume.name, sizeof(rec.volume.name), "v%u", i);
            snprintf(rec.volume.policy, sizeof(rec.volume.policy), "default");
        }
        cw_rec_key(&rec, key);
        op.len = cw_metadata_codec()->encode(&rec, bytes);
        assert_true(cw_place_commit(p, &compare, &op, 1));
    }
    cw_place_close(p);
    cw_tool_fini(&t);
}

static void
same_file(const char *a, const char *b)
{
    struct cw_metafile x = { 0 }, y = { 0 };

    assert_int_equal(cw_metafile_read(a, &x), 0);
    assert_int_equal(cw_metafile_read(b, &y), 0);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        assert_string_equal(x.at[i].key, y.at[i].key);
        assert_int_equal(x.at[i].len, y.at[i].len);
        assert_memory_equal(x.at[i].value, y.at[i].value, x.at[i].len);
    }
    cw_metafile_fini(&x);
    cw_metafile_fini(&y);
}

/* ---- cases ---- */

static void
metadata_goes_through_a_file(void **state)
{
    struct box b;

    box_init(&b);
    fill(b.from, "hy1", 250);
    tool(0, "cluster hy1", "export", b.from, b.file, NULL);
    tool(1, "is there already", "export", b.from, b.file, NULL);
    tool(0, "250 volumes, 251 records", "export", b.from, b.file, "--force");
    tool(0, "\"volumes\": 250", "import", b.file, b.other, "--json");
    tool(0, "251 records", "export", b.other, b.copy, NULL);
    same_file(b.file, b.copy);
    tool(1, "holds a cluster already; nothing was changed", "import", b.file, b.other, NULL);
    tool(0, "cluster hy1", "import", b.file, b.other, "--force");
    tool(0, "251 records", "export", b.other, b.copy, "--force");
    same_file(b.file, b.copy);
    box_fini(&b);
}

/* What the target held besides is gone. */
static void
force_replaces_all(void **state)
{
    struct box b;

    box_init(&b);
    fill(b.from, "small", 3);
    fill(b.other, "large", 120);
    tool(0, "4 records", "export", b.from, b.file, NULL);
    tool(1, "holds a cluster", "import", b.file, b.other, NULL);
    tool(0, "121 records", "export", b.other, b.copy, NULL);
    tool(0, "cluster small", "import", b.file, b.other, "--force");
    tool(0, "4 records", "export", b.other, b.copy, "--force");
    same_file(b.file, b.copy);
    box_fini(&b);
}

static void
a_damaged_file_is_refused(void **state)
{
    struct box b;
    uint8_t bytes[4096];
    ssize_t len;
    int fd;

    box_init(&b);
    fill(b.from, "hy1", 3);
    tool(0, "4 records", "export", b.from, b.file, NULL);
    fd = open(b.file, O_RDWR);
    len = read(fd, bytes, sizeof(bytes));
    assert_true(len > 100 && len < (ssize_t)sizeof(bytes));
    for (ssize_t i = 0; i <= len; i++) {
        struct cw_metafile m = { 0 };
        uint8_t bad = bytes[i < len ? i : 0] ^ 0x10;

        assert_int_equal(pwrite(fd, &bad, 1, i), 1); /* the last one makes it longer */
        assert_int_equal(cw_metafile_read(b.file, &m), -EBADMSG);
        cw_metafile_fini(&m);
        assert_int_equal(ftruncate(fd, len), 0);
        if (i < len)
            assert_int_equal(pwrite(fd, &bytes[i], 1, i), 1);
    }
    for (ssize_t i = len; i-- > 0;) {
        struct cw_metafile m = { 0 };

        assert_int_equal(ftruncate(fd, i), 0);
        assert_int_equal(cw_metafile_read(b.file, &m), -EBADMSG);
        cw_metafile_fini(&m);
    }
    close(fd);
    tool(1, "is damaged, cut short, or no export; nothing was changed", "import", b.file, b.other,
         NULL);
    assert_int_not_equal(access(b.other + 5, F_OK), 0);
    box_fini(&b);
}

static void
usage_is_told(void **state)
{
    struct box b;

    box_init(&b);
    tool(2, "export or import?", "move", b.from, b.file, NULL);
    tool(2, "needs --from and --to", "export", b.from, NULL, NULL);
    tool(2, "write it as lmdb:DIR or etcd:URL", "export", b.dir, b.file, NULL);
    tool(2, "a file goes between", "export", b.from, b.other, NULL);
    tool(1, "does not exist", "export", b.from, b.file, NULL);
    tool(1, "No such file", "import", b.file, b.other, NULL);
    tool(1, "is no URL", "export", "etcd:127.0.0.1", b.file, NULL);
    tool(1, "127.0.0.1:1: cannot connect", "export", "etcd:http://127.0.0.1:1", b.file, NULL);
    fill(b.from, "x", 1);
    tool(0, "cluster x", "export", b.from, b.file, NULL);
    tool(1, "cannot connect", "import", b.file, "etcd:http://127.0.0.1:1", NULL);
    box_fini(&b);
}

static void
metadata_moves_to_etcd_and_back(void **state)
{
    struct etcd_cluster c;
    char store[320];
    struct node n;
    struct loop l;
    struct box b;

    if (!etcd_is_installed()) {
        print_message("etcd is not installed: apt-get install etcd-server etcd-client\n");
        skip();
    }
    box_init(&b);
    etcd_cluster_init(&c, 1, NULL);
    snprintf(store, sizeof(store), "etcd:%s", c.urls);
    loop_init(&l);
    assert_int_equal(node_init(&n, &l, c.urls, "10.0.0.7:7000", NULL), 0);
    assert_true(loop_until(&l, node_reachable, &n));
    fill(b.from, "hy1", 1200);
    tool(0, "1201 records", "export", b.from, b.file, NULL);
    tool(0, "start every daemon with --metadata", "import", b.file, store, NULL);
    tool(1, "holds a cluster already", "import", b.file, store, NULL);
    tool(0, "cluster hy1", "import", b.file, store, "--force");
    cw_etcd_campaign(n.e, true); /* a daemon may lead at once */
    assert_true(loop_until(&l, node_leads, &n));
    tool(1, "the daemon at 10.0.0.7:7000 manages a cluster on it", "import", b.file, store,
         "--force");
    tool(0, "1201 records", "export", store, b.copy, NULL);
    same_file(b.file, b.copy);
    tool(0, "1200 volumes", "import", b.copy, b.other, NULL);
    tool(0, "1201 records", "export", b.other, b.copy, "--force");
    same_file(b.file, b.copy);
    node_fini(&n);
    cw_service_free(l.s);
    etcd_cluster_fini(&c);
    box_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_goes_through_a_file),    cmocka_unit_test(force_replaces_all),
        cmocka_unit_test(a_damaged_file_is_refused),       cmocka_unit_test(usage_is_told),
        cmocka_unit_test(metadata_moves_to_etcd_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
