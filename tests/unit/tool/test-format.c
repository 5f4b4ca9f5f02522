/* causeway-store format: what the size in PATH:SIZE may mean. */
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
    assert_int_equal(format(&p, STORE_BYTES - 1, "--force", "is there with 536870912 bytes"), 1);
    place_remove(&p);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_odd_size_is_rounded_down_each_time),
        cmocka_unit_test(a_block_device_takes_no_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
