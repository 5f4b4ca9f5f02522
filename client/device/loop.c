#include "client/device/loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bits.h"

#define TRIES 100 /* others may take what was free */

static int
loop_fail(char *why, int res, const char *what, const char *object)
{
    snprintf(why, CW_LOOP_WHY_SIZE, "%s %.120s: %s", what, object, strerror(-res));
    return res;
}

/* ---- attach ---- */

static int
free_device(char ret[static CW_LOOP_NAME_SIZE], char *why)
{
    int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int n;

    if (fd < 0)
        return loop_fail(why, -errno, "cannot open",
                         "/dev/loop-control (is the loop module loaded?)");
    n = ioctl(fd, LOOP_CTL_GET_FREE);
    close(fd);
    if (n < 0)
        return loop_fail(why, -errno, "no loop device is free", "(/dev/loop-control)");
    snprintf(ret, CW_LOOP_NAME_SIZE, "/dev/loop%d", n);
    return 0;
}

static int
device_configure(const char *device, int file, const struct cw_loop_opts *opts)
{
    struct loop_config c = {
        .fd = (uint32_t)file,
        .block_size = opts->block_bytes,
        .info = { .lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_PARTSCAN |
                              (opts->read_only ? LO_FLAGS_READ_ONLY : 0) },
    };
    int fd = open(device, (opts->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    int res;

    if (fd < 0)
        return -errno;
    snprintf((char *)c.info.lo_file_name, sizeof(c.info.lo_file_name), "%s", opts->file);
    res = ioctl(fd, LOOP_CONFIGURE, &c) == 0 ? 0 : -errno;
    close(fd);
    return res;
}

int
cw_loop_attach(const struct cw_loop_opts *opts, char ret[static CW_LOOP_NAME_SIZE],
               char why[static CW_LOOP_WHY_SIZE])
{
    int file = open(opts->file, (opts->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    int res = -EBUSY;

    if (file < 0)
        return loop_fail(why, -errno, "cannot open", opts->file);
    for (int i = 0; i < TRIES && res == -EBUSY; i++) {
        res = free_device(ret, why);
        if (res != 0)
            break;
        res = device_configure(ret, file, opts);
        if (res != 0)
            loop_fail(why, res, "cannot set up", ret);
    }
    close(file);
    return res;
}

/* ---- what is there ---- */

/* Its file, as the kernel says it. */
static bool
backing_read(const char *name, char ret[static PATH_MAX])
{
    char path[128];
    FILE *f;
    bool ok;

    snprintf(path, sizeof(path), "/sys/block/%.32s/loop/backing_file", name);
    f = fopen(path, "re");
    if (f == NULL)
        return false;
    ok = fgets(ret, PATH_MAX, f) != NULL;
    fclose(f);
    if (ok)
        ret[strcspn(ret, "\n")] = 0;
    return ok;
}

bool
cw_loop_is_over(const char *device, const char *file)
{
    const char *slash = strrchr(device, '/');
    char backing[PATH_MAX];

    return slash != NULL && backing_read(slash + 1, backing) && strcmp(backing, file) == 0;
}

bool
cw_loop_find(const char *file, char ret[static CW_LOOP_NAME_SIZE])
{
    DIR *d = opendir("/sys/block");
    struct dirent *e;
    bool found = false;

    while (d != NULL && !found && (e = readdir(d)) != NULL) {
        if (strncmp(e->d_name, "loop", 4) != 0 || strlen(e->d_name) > 20)
            continue;
        snprintf(ret, CW_LOOP_NAME_SIZE, "/dev/%.20s", e->d_name);
        found = cw_loop_is_over(ret, file);
    }
    if (d != NULL)
        closedir(d);
    return found;
}

/* ---- resize ---- */

/* The kernel drops a size that was asked for while a write was under way, so it is asked again. */
int
cw_loop_resize(const char *device, const char *file, uint64_t size_bytes,
               char why[static CW_LOOP_WHY_SIZE])
{
    struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
    int fd = open(device, O_RDONLY | O_CLOEXEC);
    struct stat st;
    uint64_t now = 0;
    int res = 0;

    if (fd < 0)
        return loop_fail(why, -errno, "cannot open", device);
    for (int i = 0; i < TRIES && res == 0; i++) {
        if (stat(file, &st) != 0 || ioctl(fd, LOOP_SET_CAPACITY) != 0 ||
            ioctl(fd, BLKGETSIZE64, &now) != 0)
            res = loop_fail(why, -errno, "cannot resize", device);
        if (now == size_bytes || (uint64_t)st.st_size != size_bytes)
            break; /* done, or changed again since */
        nanosleep(&pause, NULL);
    }
    close(fd);
    return res;
}

/* ---- detach ---- */

int
cw_loop_detach(const char *device, const char *file, char why[static CW_LOOP_WHY_SIZE])
{
    int fd = open(device, O_RDONLY | O_CLOEXEC);
    int res = 0;

    if (fd < 0)
        return errno == ENXIO || errno == ENOENT ? 0
                                                 : loop_fail(why, -errno, "cannot open", device);
    if (cw_loop_is_over(device, file) && ioctl(fd, LOOP_CLR_FD) != 0 && errno != ENXIO)
        res = loop_fail(why, -errno, "cannot detach", device);
    close(fd);
    return res;
}
