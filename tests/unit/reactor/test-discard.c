/* Discards of a block device: a loop device over a file, whose holes and statistics tell what it
 * was asked for. */
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "common/reactor/disk.h"
#include "tests/unit/reactor/harness.h"

#define DEV_BYTES (8 * CW_MIB)
#define LOOP_FIRST 700
#define DISCARD_MAX "queue/discard_max_bytes"
#define STAT_DISCARDS 12 /* the how manieth number of /sys/block/loopN/stat */

struct fix {
    struct harness h;
    char file[96], path[32];
    int ctl, no, fd;
    struct cw_disk *d;
    uint8_t *block;
};

/* One of its own, so that what is set for it goes with it; it lets go of the file with its last
 * user. */
static bool
loop_attach(struct fix *f, int file)
{
    struct loop_config c = { .fd = (uint32_t)file, .info.lo_flags = LO_FLAGS_AUTOCLEAR };

    f->fd = -1;
    f->no = -1;
    f->ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    for (int no = LOOP_FIRST; f->ctl >= 0 && f->no < 0 && no < LOOP_FIRST + 32; no++)
        f->no = ioctl(f->ctl, LOOP_CTL_ADD, no);
    if (f->no < 0)
        return false;
    snprintf(f->path, sizeof(f->path), "/dev/loop%d", f->no);
    f->fd = open(f->path, O_RDWR | O_CLOEXEC);
    return f->fd >= 0 && ioctl(f->fd, LOOP_CONFIGURE, &c) == 0;
}

static bool
loop_is_gone(void *arg)
{
    const struct fix *f = arg;

    return ioctl(f->ctl, LOOP_CTL_REMOVE, f->no) == 0;
}

static void
loop_detach(struct fix *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->no >= 0)
        harness_until(&f->h, loop_is_gone, f); /* the kernel lets go of it a moment later */
    if (f->ctl >= 0)
        close(f->ctl);
}

static void
loop_name(const struct fix *f, const char *name, char to[96])
{
    snprintf(to, 96, "/sys/block/loop%d/%s", f->no, name);
}

static uint64_t
loop_number(const struct fix *f, const char *name, int nth)
{
    unsigned long long n = 0;
    char path[96];
    FILE *file;

    loop_name(f, name, path);
    file = fopen(path, "r");
    assert_non_null(file);
    while (nth-- > 0)
        assert_int_equal(fscanf(file, "%llu", &n), 1);
    fclose(file);
    return n;
}

static bool
loop_set(const struct fix *f, const char *name, uint64_t n)
{
    char path[96];
    FILE *file;
    bool ok;

    loop_name(f, name, path);
    file = fopen(path, "w");
    if (file == NULL)
        return false;
    ok = fprintf(file, "%llu", (unsigned long long)n) > 0;
    return fclose(file) == 0 && ok;
}

static void
fix_drop(struct fix *f)
{
    loop_detach(f);
    unlink(f->file);
    harness_stop(&f->h);
    free(f->block);
}

static void
fix_start(struct fix *f, void **state)
{
    char why[CW_WHY_SIZE];
    bool fits;
    int file;

    *f = (struct fix){ 0 };
    harness_start(&f->h, state);
    f->block = aligned_alloc(4096, 4096);
    snprintf(f->file, sizeof(f->file), "%s/file", f->h.dir);
    assert_int_equal(cw_disk_create_file(f->file, DEV_BYTES, why), 0);
    file = open(f->file, O_RDWR | O_CLOEXEC);
    fits = loop_attach(f, file) && loop_number(f, DISCARD_MAX, 1) > 0;
    close(file);
    if (!fits) { /* not root, no loop devices, or a file system without holes */
        fix_drop(f);
        skip();
    }
    assert_int_equal(cw_disk_open(f->h.r, &(struct cw_disk_opts){ .path = f->path }, &f->d, why),
                     0);
    assert_true(cw_disk_is_device(f->d));
}

static void
fix_stop(struct fix *f)
{
    cw_disk_close(f->d);
    fix_drop(f);
}

struct io {
    struct cw_disk_io io;
    int res, n_done;
};

static void
io_done(struct cw_disk_io *d, int res)
{
    struct io *io = cw_container_of(d, struct io, io);

    io->res = res;
    io->n_done++;
}

static bool
io_is_done(void *arg)
{
    return ((struct io *)arg)->n_done > 0;
}

static int
io_run(struct fix *f, struct cw_disk_io what)
{
    struct io io = { .io = what };

    io.io.done = io_done;
    cw_disk_submit(f->d, &io.io);
    assert_int_equal(io.n_done, 0);
    harness_until(&f->h, io_is_done, &io);
    assert_int_equal(io.n_done, 1);
    assert_int_equal(cw_disk_busy(f->d), 0);
    return io.res;
}

static int
transfer(struct fix *f, enum cw_disk_op op, uint64_t off)
{
    struct iovec v = { f->block, 4096 };

    return io_run(f,
                  (struct cw_disk_io){ .op = op, .off = off, .len = 4096, .iov = &v, .n_iov = 1 });
}

static int
discard(struct fix *f, uint64_t off, uint64_t len)
{
    return io_run(f, (struct cw_disk_io){ .op = CW_DISK_DISCARD, .off = off, .len = len });
}

static uint64_t
allocated(const struct fix *f)
{
    struct stat st;

    assert_int_equal(stat(f->file, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static uint64_t
helpers(const struct fix *f)
{
    struct cw_reactor_stats st;

    cw_reactor_stats(f->h.r, &st);
    return st.helpers;
}

/* Has io_uring a discard of its own? */
static bool
kernel_is_new(void)
{
    struct utsname u;
    int major, minor;

    assert_int_equal(uname(&u), 0);
    assert_int_equal(sscanf(u.release, "%d.%d", &major, &minor), 2);
    return major > 6 || (major == 6 && minor >= 12);
}

/* The device is asked to discard, not to write zeroes, which many that discard cannot; what lies
 * beside the range stays. On a kernel without a discard in io_uring a thread waits for it. */
static void
a_device_discards(void **state)
{
    static const uint64_t at[] = { CW_MIB - 4096, CW_MIB, 3 * CW_MIB - 4096, 3 * CW_MIB };
    bool waits = *state != NULL || !kernel_is_new();
    struct fix f;
    uint64_t before;

    fix_start(&f, state);
    memset(f.block, 'x', 4096);
    for (size_t i = 0; i < CW_LEN(at); i++)
        assert_int_equal(transfer(&f, CW_DISK_WRITE_SYNC, at[i]), 0);
    assert_true(allocated(&f) >= DEV_BYTES);
    before = loop_number(&f, "stat", STAT_DISCARDS);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(discard(&f, (1 + i) * CW_MIB, CW_MIB), 0);
    assert_true(loop_number(&f, "stat", STAT_DISCARDS) >= before + 2);
    assert_true(allocated(&f) <= DEV_BYTES - 2 * CW_MIB + 64 * 1024);
    assert_int_equal(helpers(&f), waits ? 2 : 0);
    for (size_t i = 0; i < CW_LEN(at); i++) {
        memset(f.block, 'y', 4096);
        assert_int_equal(transfer(&f, CW_DISK_READ, at[i]), 0);
        assert_int_equal(f.block[77], i == 0 || i == 3 ? 'x' : 0);
    }
    fix_stop(&f);
}

/* Both ways refuse: the store learns that it need not ask again. */
static void
a_device_that_cannot_discard_says_so(void **state)
{
    struct fix f;

    fix_start(&f, state);
    if (!loop_set(&f, DISCARD_MAX, 0)) {
        fix_stop(&f);
        skip();
    }
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(discard(&f, CW_MIB, CW_MIB), -EOPNOTSUPP);
    assert_int_equal(helpers(&f), 2);
    assert_true(allocated(&f) >= DEV_BYTES);
    fix_stop(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HARNESS_BOTH(a_device_discards),
        HARNESS_BOTH(a_device_that_cannot_discard_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
