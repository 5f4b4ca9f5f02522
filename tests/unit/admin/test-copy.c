#include "tests/lib/cw-test.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "tests/unit/admin/fake-engine.h"
#include "tests/unit/admin/stream.h"

#define IMAGE_BYTES (5 * CW_MIB + 1234)

/* A manager that answers, and a directory for files. */
struct place {
    char top[48], image[64], out[64], address[32];
};

static int
place_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void
place_up(struct place *p)
{
    char words[160];
    struct run r;

    snprintf(words, sizeof(words), "local up --dir %s/c --hosts a:1 --store-size 512M", p->top);
    run_init(&r, words);
    assert_int_equal(r.status, 0);
    snprintf(p->address, sizeof(p->address), "%.*s", (int)strcspn(stream_text(&r.out), "\n"),
             stream_text(&r.out));
    run_fini(&r);
    setenv("CAUSEWAY_CLUSTER", p->address, 1);
}

static int
place_setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    const char *tmp = getenv("TMPDIR");

    fake_engine_reset();
    snprintf(p->top, sizeof(p->top), "%.24s/cw-copy-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(p->top));
    snprintf(p->image, sizeof(p->image), "%s/image", p->top);
    snprintf(p->out, sizeof(p->out), "%s/out", p->top);
    *state = p;
    place_up(p);
    return 0;
}

static int
place_teardown(void **state)
{
    struct place *p = *state;
    char words[96];
    struct run r;

    snprintf(words, sizeof(words), "local kill all --dir %s/c", p->top);
    run_init(&r, words);
    run_fini(&r);
    unsetenv("CAUSEWAY_CLUSTER");
    nftw(p->top, place_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(p);
    return 0;
}

/* A sparse file: data at 0, one block in the middle, and the odd end. Returns its content. */
static uint8_t *
image_make(const struct place *p)
{
    uint8_t *content = calloc(1, IMAGE_BYTES);
    int fd = open(p->image, O_RDWR | O_CREAT, 0644);

    memset(content, 0xa5, 70000);
    memset(content + 3 * CW_MIB + 4096, 0x5a, 4096);
    content[IMAGE_BYTES - 1] = 7;
    assert_int_equal(ftruncate(fd, IMAGE_BYTES), 0);
    assert_int_equal(pwrite(fd, content, 70000, 0), 70000);
    assert_int_equal(pwrite(fd, content + 3 * CW_MIB + 4096, 4096, 3 * CW_MIB + 4096), 4096);
    assert_int_equal(pwrite(fd, content + IMAGE_BYTES - 1, 1, IMAGE_BYTES - 1), 1);
    close(fd);
    return content;
}

/* Does the command end with that status, and say so? */
__attribute__((format(printf, 3, 4))) static bool
says(int status, const char *text, const char *fmt, ...)
{
    char words[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(words, sizeof(words), fmt, ap);
    va_end(ap);
    return run_says(words, status, text);
}

/* An imported image is in the volume byte for byte, padded with zeroes; holes were not written. */
static void
an_image_goes_in(void **state)
{
    struct place *p = *state;
    uint8_t *content = image_make(p), zeroes[4096] = { 0 };

    assert_true(says(0, "imported", "volume import vm1 %s", p->image));
    assert_memory_equal(fake_engine_data(), content, IMAGE_BYTES);
    assert_memory_equal(fake_engine_data() + IMAGE_BYTES, zeroes, 4096);
    assert_int_equal(fake_engine_count().trims, 0);
    assert_true(fake_engine_count().write_bytes <= 72 * 1024 + 3 * 4096);
    assert_true(says(0, "vm1", "volume ls"));
    free(content);
}

/* An existing volume is refused, and with --overwrite loses what the image leaves out. */
static void
an_existing_volume_is_kept(void **state)
{
    struct place *p = *state;
    uint8_t *content = image_make(p);

    assert_true(says(0, NULL, "volume create vm1 --size 8M"));
    memset(fake_engine_data(), 0xff, FAKE_VOLUME_BYTES);
    assert_true(says(1, "--overwrite", "volume import vm1 %s", p->image));
    assert_int_equal(fake_engine_count().writes, 0);
    assert_true(says(0, "imported", "volume import vm1 %s --overwrite", p->image));
    assert_memory_equal(fake_engine_data(), content, IMAGE_BYTES);
    assert_int_equal(fake_engine_data()[FAKE_VOLUME_BYTES - 1], 0);
    free(content);
}

/* A failed import names where, and takes the volume that it made away again. */
static void
a_failed_import_leaves_nothing(void **state)
{
    struct place *p = *state;

    free(image_make(p));
    fake_engine_fail_at(3 * CW_MIB + 4096);
    assert_true(says(1, "no copy can serve", "volume import vm1 %s", p->image));
    assert_true(says(0, "\"volumes\": []", "--json volume ls"));
    assert_true(says(1, "No such file", "volume import vm1 %s/nothing", p->top));
    assert_true(says(1, "neither a file nor", "volume import vm1 %s", p->top));
    assert_true(says(1, "in use by qemu", "volume import busy %s", p->image));
}

/* An exported file equals the volume and is sparse where the volume is zero. */
static void
a_volume_comes_out(void **state)
{
    struct place *p = *state;
    uint8_t *back = malloc(FAKE_VOLUME_BYTES);
    struct stat st;
    int fd;

    memset(fake_engine_data() + CW_MIB, 0x33, 12345);
    fake_engine_data()[FAKE_VOLUME_BYTES - 1] = 9;
    fake_engine_gather();
    assert_true(says(0, "exported", "volume export vm1 %s", p->out));
    fd = open(p->out, O_RDONLY);
    assert_int_equal(read(fd, back, FAKE_VOLUME_BYTES), FAKE_VOLUME_BYTES);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, FAKE_VOLUME_BYTES);
    assert_true(st.st_blocks * 512 < 1024 * 1024);
    assert_memory_equal(back, fake_engine_data(), FAKE_VOLUME_BYTES);
    assert_true(fake_engine_count().in_flight_max > 1);
    close(fd);
    free(back);
}

/* A failed export leaves the old file alone and no half one beside it. */
static void
a_failed_export_leaves_nothing(void **state)
{
    struct place *p = *state;
    char text[8] = "", path[128];
    int fd = open(p->out, O_RDWR | O_CREAT, 0644);

    assert_int_equal(write(fd, "old", 3), 3);
    fake_engine_fail_at(6 * CW_MIB);
    assert_true(says(1, "reading at byte", "volume export vm1 %s", p->out));
    assert_int_equal(pread(fd, text, 7, 0), 3);
    assert_string_equal(text, "old");
    close(fd);
    snprintf(path, sizeof(path), "%s.%d.part", p->out, (int)getpid());
    assert_int_not_equal(access(path, F_OK), 0);
    assert_true(says(1, "no regular file", "volume export vm1 %s", p->top));
    assert_true(says(1, "No such file", "volume export vm1 %s/no/such", p->top));
}

/* A bench does as much as it was asked to, at its depth, and measures it; writing needs leave. */
static void
a_bench_measures(void **state)
{
    assert_true(says(0, "1024 requests", "bench vm1 --size 4M --iodepth 16"));
    assert_int_equal(fake_engine_count().reads, 1024);
    assert_int_equal(fake_engine_count().in_flight_max, 16);
    assert_int_equal(fake_engine_count().writes, 0);
    assert_true(says(0, "\"p999_ns\"",
                     "bench vm1 --json --rw randrw --bs 8K --size 1M --overwrite --numjobs 2"));
    assert_int_equal(fake_engine_count().write_bytes % 8192, 0);
    fake_engine_reset();
    assert_true(says(0, "IOPS", "bench vm1 --prefill --overwrite --rw read --runtime 1 --bs 64K"));
    assert_int_equal(fake_engine_count().write_bytes, FAKE_VOLUME_BYTES);
    fake_engine_fail_at(4096);
    assert_true(says(1, "at byte 4096", "bench vm1 --rw read --size 1M"));
    fake_engine_fail_at(UINT64_MAX);
    assert_true(says(1, "causeway: volume busy is in use by qemu", "bench busy"));
    assert_true(says(1, "\"VOLUME_IN_USE\"", "bench busy --json"));
}

/* --force takes a volume that somebody uses, for each command that attaches one. */
static void
force_takes_a_volume_over(void **state)
{
    struct place *p = *state;

    free(image_make(p));
    assert_true(says(0, "256 requests", "bench busy --size 1M --force"));
    assert_true(says(0, "exported", "volume export busy %s --force", p->out));
    assert_true(says(0, NULL, "volume create busy --size 8M"));
    assert_true(says(1, "in use by qemu", "volume import busy %s --overwrite", p->image));
    assert_true(says(0, "imported", "volume import busy %s --overwrite --force", p->image));
}

/* A stream is no place for an export; nothing is attached. */
static void
an_export_wants_a_file(void **state)
{
    assert_true(says(2, "to a file", "volume export vm1 -"));
    assert_int_equal(fake_engine_count().reads, 0);
    assert_int_not_equal(access("-", F_OK), 0);
}

int
main(void)
{
#define WITH_PLACE(fn) cmocka_unit_test_setup_teardown(fn, place_setup, place_teardown)
    const struct CMUnitTest tests[] = {
        WITH_PLACE(an_image_goes_in),
        WITH_PLACE(an_existing_volume_is_kept),
        WITH_PLACE(a_failed_import_leaves_nothing),
        WITH_PLACE(a_volume_comes_out),
        WITH_PLACE(a_failed_export_leaves_nothing),
        WITH_PLACE(a_bench_measures),
        WITH_PLACE(force_takes_a_volume_over),
        WITH_PLACE(an_export_wants_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
