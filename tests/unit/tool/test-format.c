/* causeway-store format: what the size in PATH:SIZE may mean. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "daemon/tool/format.h"
#include "tests/unit/tool/image.h"

#define STORE_BYTES (512 * CW_MIB)

struct place {
    char dir[96], path[128];
};

static void
place_make(struct place *p)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(p->dir, sizeof(p->dir), "%s/causeway-format-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/store", p->dir);
}

static void
place_remove(struct place *p)
{
    unlink(p->path);
    rmdir(p->dir);
}

/* format PATH:BYTES; its exit status, and what it said must hold `says`. */
static int
format(const struct place *p, uint64_t bytes, const char *force, const char *says)
{
    char arg[160], *out;
    int status;

    snprintf(arg, sizeof(arg), "%s:%llu", p->path, (unsigned long long)bytes);
    status = image_tool(&out, "format", arg, force, NULL);
    if (strstr(out, says) == NULL)
        fail_msg("status %d, without \"%s\": %s", status, says, out);
    free(out);
    return status;
}

/* What format makes of an odd size, it takes for a file of that size afterwards. */
static void
an_odd_size_is_rounded_down_each_time(void **state)
{
    struct place p;
    struct stat st;

    place_make(&p);
    assert_int_equal(format(&p, STORE_BYTES + 4095, NULL, "an empty store of 512M"), 0);
    assert_int_equal(stat(p.path, &st), 0);
    assert_int_equal(st.st_size, STORE_BYTES);
    assert_int_equal(format(&p, STORE_BYTES + 4095, NULL, "is a Causeway store already"), 1);
    assert_int_equal(format(&p, STORE_BYTES + 4095, "--force", "an empty store of 512M"), 0);
    assert_int_equal(format(&p, STORE_BYTES, "--force", "an empty store of 512M"), 0);
    assert_int_equal(format(&p, STORE_BYTES + 4096, "--force", "is there with 536870912 bytes"), 1);
    assert_int_equal(
        format(&p, 2 * STORE_BYTES, "--force", "(512M), not 1G; a format does not change "), 1);
    assert_int_equal(format(&p, 2 * STORE_BYTES, "--force", "leave the size out, or remove"), 1);
    assert_int_equal(format(&p, STORE_BYTES - 1, "--force", "is there with 536870912 bytes"), 1);
    place_remove(&p);
}

/* As image_tool; what it says must hold both. */
static void
tool_says(int want, const char *word, const char *path, const char *says, const char *too)
{
    char *out;
    int got = image_tool(&out, word, path, NULL, NULL);

    if (got != want || strstr(out, says) == NULL || strstr(out, too) == NULL)
        fail_msg("%s: status %d, without \"%s\" or \"%s\": %s", word, got, says, too, out);
    free(out);
}

static void
what_is_no_size_is_said(void **state)
{
    static const char *const sizes[] = { "10Q", "foo", "-1", "1.5G", "99999999999P" };
    struct place p;
    char arg[200], says[400];

    place_make(&p);
    for (size_t i = 0; i < CW_LEN(sizes); i++) {
        snprintf(arg, sizeof(arg), "%s:%s", p.path, sizes[i]);
        snprintf(says, sizeof(says), "%s: no such file, and \"%s\" is no size", arg, sizes[i]);
        tool_says(1, "format", arg, says, "sizes are such as 512M, 100G, 2T");
    }
    tool_says(1, "format", arg, "larger than any file", p.path);
    snprintf(says, sizeof(says), "give its size to make it: %s:SIZE", p.path);
    tool_says(1, "format", p.path, says, "no such file");
    place_remove(&p);
}

static void
a_missing_directory_is_named(void **state)
{
    struct place p;
    char arg[200], says[400];

    place_make(&p);
    snprintf(arg, sizeof(arg), "%s/no/x:512M", p.dir);
    snprintf(says, sizeof(says), "its directory %s/no is not there; make it first", p.dir);
    tool_says(1, "format", arg, says, p.dir);
    arg[strlen(arg) - strlen(":512M")] = '\0';
    tool_says(1, "format", arg, says, p.dir);
    place_remove(&p);
}

static void
a_fresh_store_has_no_checkpoint_yet(void **state)
{
    struct place p;

    place_make(&p);
    assert_int_equal(format(&p, STORE_BYTES, NULL, "an empty store of 512M"), 0);
    tool_says(0, "info", p.path, "checkpoint   none yet\na start ", p.path);
    tool_says(0, "check", p.path, "a stop of its daemon would leave it (in memory): 1 ", p.path);
    place_remove(&p);
}

static void
a_command_takes_one_store(void **state)
{
    static const char *const words[] = { "format", "info", "check" };

    for (size_t i = 0; i < CW_LEN(words); i++) {
        char *out;

        assert_int_equal(image_tool(&out, words[i], "/nowhere/a", "/nowhere/b", NULL), 2);
        assert_non_null(strstr(out, "one store at a time: /nowhere/b is too many"));
        free(out);
        assert_int_equal(image_tool(&out, words[i], NULL, NULL, NULL), 2);
        assert_non_null(strstr(out, "which store?"));
        free(out);
    }
}

/* The node names a device that no driver ever has: whatever opens it fails. */
static void
a_block_device_takes_no_size(void **state)
{
    struct cw_format_opts opts = { .bytes = STORE_BYTES, .force = true };
    char why[CW_FORMAT_WHY_SIZE];
    struct place p;
    uint64_t bytes;

    place_make(&p);
    if (mknod(p.path, S_IFBLK | 0600, makedev(0, 0)) != 0) { /* for root alone */
        place_remove(&p);
        skip();
    }
    assert_int_equal(format(&p, STORE_BYTES, NULL, "leave the size out"), 2);
    assert_int_equal(format(&p, STORE_BYTES, "--force", "see: causeway-store format --help"), 2);
    assert_int_equal(format(&p, STORE_BYTES, "--json", "BAD_USAGE"), 2);
    assert_int_equal(image_tool(NULL, "format", p.path, NULL, NULL), 1);
    /* causewayd --format asks here; it is refused before anything is opened */
    opts.path = p.path;
    assert_false(cw_format_store(NULL, &opts, &bytes, why));
    assert_non_null(strstr(why, p.path));
    assert_non_null(strstr(why, "leave the size out"));
    place_remove(&p);
}

/* Made by hand: the little that tells each of them. */
static const struct foreign {
    const char *what;
    struct {
        uint32_t at, len;
        const char *bytes;
    } parts[3];
} foreigners[] = {
    { "what others use (swap)", { { 1024, 8, "\1\0\0\0\144\0\0\0" }, { 4086, 10, "SWAPSPACE2" } } },
    { "an encrypted volume (crypto_LUKS)", { { 0, 8, "LUKS\xba\xbe\0\1" } } },
    { "a file system (squashfs)", { { 0, 4, "hsqs" }, { 28, 2, "\4\0" } } },
    { "a file system (btrfs)", { { 65536 + 64, 8, "_BHRfS_M" } } }, /* its checksum is wrong */
    { "a partition table (dos)",
      { { 446, 16, "\0\0\2\0\x83\0\3\0\0\10\0\0\0\20\0\0" }, { 510, 2, "\x55\xaa" } } },
};

static void
foreign_write(const struct place *p, const struct foreign *f)
{
    int fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, STORE_BYTES), 0);
    for (size_t i = 0; i < CW_LEN(f->parts); i++)
        assert_int_equal(pwrite(fd, f->parts[i].bytes, f->parts[i].len, (off_t)f->parts[i].at),
                         f->parts[i].len);
    close(fd);
}

static void
what_others_keep_is_not_overwritten(void **state)
{
    for (size_t i = 0; i < CW_LEN(foreigners); i++) {
        struct place p;

        place_make(&p);
        foreign_write(&p, &foreigners[i]);
        tool_says(1, "format", p.path, foreigners[i].what, "--force overwrites it");
        tool_says(1, "info", p.path, "no Causeway store", foreigners[i].what);
        tool_says(1, "check", p.path, "is it the right path?", foreigners[i].what);
        assert_int_equal(format(&p, STORE_BYTES, "--force", "an empty store of 512M"), 0);
        tool_says(0, "info", p.path, "would replay", "512M");
        place_remove(&p);
    }
}

/* Either may be what is left of the other. */
static void
a_store_that_others_overwrote_is_told_with_them(void **state)
{
    struct place p;

    place_make(&p);
    assert_int_equal(format(&p, STORE_BYTES, NULL, "an empty store of 512M"), 0);
    foreign_write(&p, &foreigners[CW_LEN(foreigners) - 1]);
    tool_says(1, "format", p.path, "is a Causeway store already, and holds",
              foreigners[CW_LEN(foreigners) - 1].what);
    tool_says(1, "info", p.path, "none of its superblocks holds",
              foreigners[CW_LEN(foreigners) - 1].what);
    place_remove(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_odd_size_is_rounded_down_each_time),
        cmocka_unit_test(what_is_no_size_is_said),
        cmocka_unit_test(a_missing_directory_is_named),
        cmocka_unit_test(a_fresh_store_has_no_checkpoint_yet),
        cmocka_unit_test(a_command_takes_one_store),
        cmocka_unit_test(a_block_device_takes_no_size),
        cmocka_unit_test(what_others_keep_is_not_overwritten),
        cmocka_unit_test(a_store_that_others_overwrote_is_told_with_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
