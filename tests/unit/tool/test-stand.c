/* causeway-store: what does not open, and why; and what it prints when it cannot print. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "daemon/store/inspect.h"
#include "tests/unit/tool/image.h"

#define SHARD_ID (UINT64_C(5) << 16)
#define SMALL (512 * CW_MIB)
#define GROWN (600 * CW_MIB)

/* Its newest superblock is in slot `newest`; slots are written in turn, so all are filled. */
static void
image_start(struct image *im, uint32_t newest)
{
    struct storeworld w;
    struct cw_sb sb, last = { 0 };

    storeworld_init(&w, 7, SMALL, CW_MIB);
    (void)storeworld_begin(&w, SHARD_ID);
    for (uint32_t i = 0; i < 8 && (last.sb_seq < 4 || last.sb_seq % 4 != newest); i++) {
        if (w.store == NULL)
            assert_int_equal(storeworld_open(&w), 0);
        if (i > 0 || newest % 2 == 0)
            assert_int_equal(storeworld_close(&w), 0);
        else
            storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 1 });
        for (uint32_t k = 0; k < CW_SB_SLOTS; k++) {
            cw_ramdisk_peek(w.disk, cw_inspect_sb_off(SMALL, k), &sb, sizeof(sb));
            if (sb.magic == CW_SB_MAGIC && sb.sb_seq > last.sb_seq)
                last = sb;
        }
    }
    assert_int_equal(last.sb_seq % 4, newest);
    image_make(im, &w);
    storeworld_fini(&w);
}

/* Its exit status; what it said must hold `says`, and must not be `never`. */
static void
tool_says(int want, const char *says, const char *never, const char *const args[4])
{
    char *out;
    int got = image_tool(&out, args[0], args[1], args[2], args[3]);

    if (got != want || strstr(out, says) == NULL || (never != NULL && strstr(out, never) != NULL))
        print_error("%s: wanted %d and \"%s\", got %d:\n%s", args[0], want, says, got, out);
    assert_int_equal(got, want);
    assert_non_null(strstr(out, says));
    if (never != NULL)
        assert_null(strstr(out, never));
    free(out);
}

/* Whatever looks at a store says so, and none advises to give it up. */
static void
is_refused(const struct image *im, const char *code, const char *says)
{
    const char *const ways[][4] = {
        { "info", im->path },
        { "check", im->path },
        { "dump", im->path, "segment", "0" },
        { "rebuild-metadata", im->path, "--out=/nowhere-but-here" },
    };
    const char *const json[4] = { "info", im->path, "--json" };

    for (size_t i = 0; i < CW_LEN(ways); i++) {
        tool_says(CW_TOOL_FOUND, says, "format PATH", ways[i]);
        tool_says(CW_TOOL_FOUND, im->path, "format a new", ways[i]);
    }
    tool_says(CW_TOOL_FOUND, code, NULL, json);
}

static void
slots_change(const struct image *im, void (*change)(struct cw_sb *))
{
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        off_t off = (off_t)cw_inspect_sb_off(SMALL, i);
        struct cw_sb sb;

        assert_int_equal(pread(im->fd, &sb, sizeof(sb), off), sizeof(sb));
        change(&sb);
        sb.csum = cw_hash(&sb, offsetof(struct cw_sb, csum));
        assert_int_equal(pwrite(im->fd, &sb, sizeof(sb), off), sizeof(sb));
    }
}

static void
change_version(struct cw_sb *sb)
{
    sb->version = CW_STORE_VERSION + 1;
}

static void
change_feature(struct cw_sb *sb)
{
    sb->version = CW_STORE_VERSION;
    sb->feature_incompat = 4;
}

static void
change_blk(struct cw_sb *sb)
{
    sb->feature_incompat = 0;
    sb->blk = 512;
}

static void
a_store_that_does_not_open_is_not_given_up(void **state)
{
    static const off_t cuts[] = { 4096, 8192, 20480, 64 * CW_MIB, SMALL - 4096 };
    const char *slots[4] = { "dump", NULL, "superblock" };
    struct image im;

    image_start(&im, 3);
    slots[1] = im.path;
    for (size_t i = CW_LEN(cuts); i-- > 0;) {
        assert_int_equal(ftruncate(im.fd, cuts[i]), 0);
        is_refused(&im, "STORE_CUT", "the store has 536870912 bytes");
        is_refused(&im, "STORE_CUT", "restore its size");
        tool_says(CW_TOOL_OK, "it is of a larger disk", NULL, slots);
    }
    image_remove(&im);
    image_start(&im, 3);
    slots_change(&im, change_version);
    is_refused(&im, "STORE_NEWER", "a store of format version 3; this program knows 1 to 2");
    slots_change(&im, change_feature);
    is_refused(&im, "STORE_NEWER", "features (0x4)");
    slots_change(&im, change_blk);
    is_refused(&im, "STORE_UNKNOWN", "its block size is not 4096");
    image_remove(&im);
}

/* The newest superblock is found, and the size said. */
static void
a_store_on_a_disk_that_grew_is_shown(void **state)
{
    for (uint32_t newest = 0; newest < 4; newest++) {
        char *before, *after;
        struct image im;

        image_start(&im, newest);
        assert_int_equal(image_tool(&before, "dump", im.path, "superblock", NULL), CW_TOOL_OK);
        assert_int_equal(ftruncate(im.fd, GROWN), 0);
        assert_int_equal(image_tool(&after, "dump", im.path, "superblock", NULL), CW_TOOL_OK);
        assert_string_equal(before, after);
        free(before);
        free(after);
        tool_says(CW_TOOL_OK, "600M: it has grown", NULL, (const char *[4]){ "info", im.path });
        tool_says(CW_TOOL_OK, "\"disk_bytes\": 629145600", NULL,
                  (const char *[4]){ "info", im.path, "--json" });
        tool_says(CW_TOOL_OK, "no faults", NULL, (const char *[4]){ "check", im.path });
        tool_says(CW_TOOL_FOUND, "is a Causeway store already", NULL,
                  (const char *[4]){ "format", im.path });
        image_flip(&im, 100);
        image_flip(&im, 4096 + 100);
        is_refused(&im, "SUPERBLOCKS_BAD", "(a damaged one says: 536870912 bytes)");
        tool_says(CW_TOOL_FOUND, "is a Causeway store already", NULL,
                  (const char *[4]){ "format", im.path });
        assert_int_equal(ftruncate(im.fd, SMALL), 0);
        tool_says(CW_TOOL_OK, "would replay", "has grown", (const char *[4]){ "info", im.path });
        image_flip(&im, SMALL - 4000);
        image_flip(&im, SMALL - 8000);
        is_refused(&im, "SUPERBLOCKS_BAD", "none of its superblocks holds");
        image_remove(&im);
    }
}

/* It can be typed as it stands there. */
static void
a_next_step_names_the_store(void **state)
{
    char says[200];
    struct image im;

    image_start(&im, 0);
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++)
        image_flip(&im, cw_inspect_sb_off(SMALL, i) + 100);
    snprintf(says, sizeof(says), "see: causeway-store dump %s superblock\n", im.path);
    is_refused(&im, "SUPERBLOCKS_BAD", says);
    assert_int_equal(ftruncate(im.fd, 0), 0);
    assert_int_equal(ftruncate(im.fd, SMALL), 0);
    snprintf(says, sizeof(says), "to make one: causeway-store format %s\n", im.path);
    is_refused(&im, "NOT_A_STORE", says);
    assert_int_equal(ftruncate(im.fd, 4096), 0);
    is_refused(&im, "NOT_A_STORE", "restore its size; a new one has at least 512M\n");
    image_remove(&im);
}

/* As on a disk that was cut and then overwritten at both ends, or begun to be used by others. */
static void
a_store_without_superblocks_is_not_given_up(void **state)
{
    uint8_t none[8192] = { 0 };
    struct image im;

    image_start(&im, 3);
    assert_int_equal(pwrite(im.fd, none, sizeof(none), 0), sizeof(none));
    tool_says(CW_TOOL_OK, "would replay", NULL, (const char *[4]){ "info", im.path });
    assert_int_equal(ftruncate(im.fd, GROWN), 0);
    is_refused(&im, "SUPERBLOCKS_LOST", "one begins at byte 1048576");
    is_refused(&im, "SUPERBLOCKS_LOST", "give it its former size again");
    assert_int_equal(ftruncate(im.fd, SMALL - 8192), 0);
    is_refused(&im, "SUPERBLOCKS_LOST", "do not format it");
    assert_int_equal(ftruncate(im.fd, SMALL), 0);
    is_refused(&im, "SUPERBLOCKS_LOST", "its segments are there");
    tool_says(CW_TOOL_FOUND, "whose superblocks are lost", NULL,
              (const char *[4]){ "format", im.path });
    tool_says(CW_TOOL_OK, "an empty store", NULL,
              (const char *[4]){ "format", im.path, "--force" });
    tool_says(CW_TOOL_OK, "no faults", NULL, (const char *[4]){ "check", im.path });
    image_remove(&im);
}

static void
what_cannot_be_opened_has_a_next_step(void **state)
{
    char file[160];
    struct image im;

    image_start(&im, 0);
    snprintf(file, sizeof(file), "%s/below", im.path);
    tool_says(CW_TOOL_FOUND, "; is it the right path?", NULL,
              (const char *[4]){ "info", "/nowhere/store" });
    tool_says(CW_TOOL_FOUND, "; is it the right path?", NULL, (const char *[4]){ "info", file });
    tool_says(CW_TOOL_FOUND, "a block device; name that of a store", NULL,
              (const char *[4]){ "info", im.dir });
    if (geteuid() != 0) {
        assert_int_equal(fchmod(im.fd, 0), 0);
        tool_says(CW_TOOL_FOUND, "; run it as root", NULL, (const char *[4]){ "info", im.path });
        tool_says(CW_TOOL_FOUND, "; run it as a user", NULL,
                  (const char *[4]){ "format", im.path });
    }
    image_remove(&im);
}

/* Before the stores are looked at. */
static void
where_nothing_can_be_written_is_said(void **state)
{
    const char *args[4] = { "rebuild-metadata", "/nowhere/store" };
    char out[200];
    struct image im;

    image_start(&im, 0);
    args[2] = out;
    snprintf(out, sizeof(out), "--out=%s", im.path);
    tool_says(CW_TOOL_FOUND, "Not a directory; name a directory", "not empty", args);
    snprintf(out, sizeof(out), "--out=%s/below", im.path);
    tool_says(CW_TOOL_FOUND, "Not a directory; name a directory", "not empty", args);
    snprintf(out, sizeof(out), "--out=%s/missing/below", im.dir);
    tool_says(CW_TOOL_FOUND, "No such file or directory; name a directory", "not empty", args);
    snprintf(out, sizeof(out), "--out=%s", im.dir);
    tool_says(CW_TOOL_FOUND, "not empty", NULL, args);
    snprintf(out, sizeof(out), "--out=%s/new//", im.dir);
    tool_says(CW_TOOL_FOUND, "/nowhere/store: No such file", NULL, args);
    tool_says(
        CW_TOOL_USAGE, "a name is 1 to 63", NULL,
        (const char *[4]){ "rebuild-metadata", "/nowhere/store", "--out=/x", "--name=1=a b" });
    tool_says(CW_TOOL_USAGE, "it needs --out DIR", NULL,
              (const char *[4]){ "rebuild-metadata", "/nowhere/store", "--out=" });
    if (geteuid() != 0) {
        assert_int_equal(chmod(im.dir, 0500), 0);
        snprintf(out, sizeof(out), "--out=%s/new", im.dir);
        tool_says(CW_TOOL_FOUND, "Permission denied; run it as root", "not empty", args);
        assert_int_equal(chmod(im.dir, 0700), 0);
    }
    image_remove(&im);
}

/* The exit status of a run whose output goes to a device that is full. */
static int
tool_full(char **ret_err, const char *a, const char *b, const char *c, const char *d)
{
    const char *const args[] = { "causeway-store", a, b, c, d };
    char *argv[6] = { 0 }, *given[5] = { 0 };
    FILE *out = fopen("/dev/full", "we"), *err;
    int argc = 0, status;
    size_t size;

    assert_non_null(out);
    err = open_memstream(ret_err, &size);
    for (; argc < 5 && args[argc] != NULL; argc++)
        argv[argc] = given[argc] = strdup(args[argc]);
    status = cw_tool_main(argc, argv, out, err);
    for (int i = 0; i < argc; i++)
        free(given[i]);
    fclose(err);
    (void)fclose(out);
    return status;
}

static void
output_that_is_lost_is_a_failure(void **state)
{
    static const char *const ways[][3] = {
        { "info" },
        { "info", "--json" },
        { "check" },
        { "check", "--json" },
        { "dump", "superblock" },
        { "dump", "superblock", "--raw" },
        { "dump", "segment", "0" },
        { "--help" },
        { "--version" },
    };
    struct image im;

    if (access("/dev/full", W_OK) != 0)
        skip();
    image_start(&im, 0);
    for (size_t i = 0; i < CW_LEN(ways); i++) {
        char *err;
        int status = tool_full(&err, ways[i][0], ways[i][0][0] == '-' ? NULL : im.path, ways[i][1],
                               ways[i][2]);

        if (status != CW_TOOL_FOUND || strstr(err, "the output could not be written") == NULL)
            print_error("%s: %d %s\n", ways[i][0], status, err);
        assert_int_equal(status, CW_TOOL_FOUND);
        assert_non_null(strstr(err, "the output could not be written"));
        free(err);
    }
    image_remove(&im);
}

/* JSON is UTF-8, and a path is any bytes. */
static void
a_path_that_json_cannot_hold_is_said(void **state)
{
    char path[160];
    struct image im;

    image_start(&im, 0);
    snprintf(path, sizeof(path), "%s/st\xffre", im.dir);
    tool_says(CW_TOOL_FOUND, "No such file or directory; is it", NULL,
              (const char *[4]){ "info", path, "--json" });
    assert_int_equal(rename(im.path, path), 0);
    tool_says(CW_TOOL_FOUND, "leave out --json", NULL, (const char *[4]){ "info", path, "--json" });
    tool_says(CW_TOOL_OK, "would replay", NULL, (const char *[4]){ "info", path });
    assert_int_equal(rename(path, im.path), 0);
    image_remove(&im);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_that_does_not_open_is_not_given_up),
        cmocka_unit_test(a_store_on_a_disk_that_grew_is_shown),
        cmocka_unit_test(a_next_step_names_the_store),
        cmocka_unit_test(a_store_without_superblocks_is_not_given_up),
        cmocka_unit_test(what_cannot_be_opened_has_a_next_step),
        cmocka_unit_test(where_nothing_can_be_written_is_said),
        cmocka_unit_test(output_that_is_lost_is_a_failure),
        cmocka_unit_test(a_path_that_json_cannot_hold_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
