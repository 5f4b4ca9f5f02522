#include "client/device/inuse.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DEVICES_MAX 65 /* itself, its partitions */

struct device {
    dev_t of[DEVICES_MAX];
    char name[DEVICES_MAX][64]; /* in /sys/class/block */
    size_t n;
};

static bool
device_has(const struct device *d, dev_t dev)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->of[i] == dev && dev != 0)
            return true;
    }
    return false;
}

static void
device_add(struct device *d, const char *name)
{
    char path[PATH_MAX];
    unsigned ma, mi;
    FILE *f;

    snprintf(path, sizeof(path), "/sys/class/block/%.63s/dev", name);
    f = d->n < DEVICES_MAX ? fopen(path, "re") : NULL;
    if (f == NULL)
        return;
    if (fscanf(f, "%u:%u", &ma, &mi) == 2) {
        d->of[d->n] = makedev(ma, mi);
        snprintf(d->name[d->n++], sizeof(d->name[0]), "%.63s", name);
    }
    fclose(f);
}

static void
device_init(struct device *d, const char *device)
{
    const char *slash = strrchr(device, '/'), *name = slash != NULL ? slash + 1 : device;
    char path[PATH_MAX];
    struct dirent *e;
    DIR *dir;

    d->n = 0;
    device_add(d, name);
    snprintf(path, sizeof(path), "/sys/class/block/%.63s", name);
    dir = opendir(path);
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        if (strncmp(e->d_name, name, strlen(name)) == 0)
            device_add(d, e->d_name);
    }
    if (dir != NULL)
        closedir(dir);
}

static void __attribute__((format(printf, 2, 3)))
use_add(char ret[static CW_INUSE_SIZE], const char *fmt, ...)
{
    size_t n = strlen(ret);
    va_list ap;

    if (n > 0 && n < CW_INUSE_SIZE - 3)
        n += (size_t)snprintf(ret + n, CW_INUSE_SIZE - n, ", ");
    va_start(ap, fmt);
    vsnprintf(ret + n, CW_INUSE_SIZE - n, fmt, ap);
    va_end(ap);
}

/* What is known of a file here and now: whoever serves it may be the one that does not answer. */
static bool
file_look(const char *path, dev_t *ret_on, dev_t *ret_is)
{
    struct statx st;

    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) != 0)
        return false;
    *ret_on = makedev(st.stx_dev_major, st.stx_dev_minor);
    *ret_is = S_ISBLK(st.stx_mode) ? makedev(st.stx_rdev_major, st.stx_rdev_minor) : 0;
    return true;
}

/* ---- mounts ---- */

/* Spaces and the like are written as \ooo there. */
static void
path_unescape(char *path)
{
    char *to = path;

    for (const char *c = path; *c != 0; c++) {
        if (c[0] == '\\' && isdigit((unsigned char)c[1]) && isdigit((unsigned char)c[2]) &&
            isdigit((unsigned char)c[3])) {
            *to++ = (char)((c[1] - '0') * 64 + (c[2] - '0') * 8 + (c[3] - '0'));
            c += 3;
        } else {
            *to++ = *c;
        }
    }
    *to = 0;
}

/* Some file systems have a number of their own there, and the device as their source. */
static bool
mount_is_of(const struct device *d, const char *line, char at[static PATH_MAX])
{
    unsigned ma, mi;
    char source[PATH_MAX] = "";
    const char *rest = strstr(line, " - ");
    dev_t on, is;

    if (rest == NULL || sscanf(line, "%*s %*s %u:%u %*s %4095s", &ma, &mi, at) != 3)
        return false;
    path_unescape(at);
    if (device_has(d, makedev(ma, mi)))
        return true;
    return sscanf(rest, " - %*s %4095s", source) == 1 && source[0] == '/' &&
           file_look(source, &on, &is) && device_has(d, is);
}

static size_t
mounts_of(const struct device *d, size_t index, char at[static PATH_MAX])
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, here[PATH_MAX];
    size_t cap = 0, n = 0;

    while (f != NULL && getline(&line, &cap, f) > 0) {
        if (mount_is_of(d, line, here) && n++ == index)
            snprintf(at, PATH_MAX, "%s", here);
    }
    free(line);
    if (f != NULL)
        fclose(f);
    return n;
}

bool
cw_inuse_mounted_at(const char *device, size_t index, char ret[static PATH_MAX])
{
    struct device d;
    size_t n;

    device_init(&d, device);
    n = mounts_of(&d, SIZE_MAX, ret);
    return index < n && mounts_of(&d, n - 1 - index, ret) > 0;
}

/* ---- processes ---- */

static void
name_of(const char *pid, char ret[static 32])
{
    char path[64];
    FILE *f;

    snprintf(ret, 32, "a process");
    snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
    f = fopen(path, "re");
    if (f != NULL && fgets(ret, 32, f) != NULL)
        ret[strcspn(ret, "\n")] = 0;
    if (f != NULL)
        fclose(f);
}

typedef bool wanted_fn(const void *what, dev_t on, dev_t is);

static bool
link_wanted(const char *path, wanted_fn *wanted, const void *what)
{
    char to[16];
    dev_t on, is;

    return readlink(path, to, sizeof(to)) > 0 && to[0] == '/' && file_look(path, &on, &is) &&
           wanted(what, on, is);
}

static bool
process_uses(const char *pid, wanted_fn *wanted, const void *what)
{
    static const char *const places[] = { "cwd", "root", "exe" };
    char path[PATH_MAX];
    bool found = false;
    struct dirent *e;
    DIR *dir;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !found; i++) {
        snprintf(path, sizeof(path), "/proc/%.20s/%s", pid, places[i]);
        found = link_wanted(path, wanted, what);
    }
    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    dir = found ? NULL : opendir(path);
    while (dir != NULL && !found && (e = readdir(dir)) != NULL) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        snprintf(path, sizeof(path), "/proc/%.20s/fd/%.20s", pid, e->d_name);
        found = link_wanted(path, wanted, what);
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

static void
processes_add(char ret[static CW_INUSE_SIZE], wanted_fn *wanted, const void *what)
{
    DIR *dir = opendir("/proc");
    struct dirent *e;
    char name[32];

    while (dir != NULL && (e = readdir(dir)) != NULL) {
        if (!isdigit((unsigned char)e->d_name[0]) || atoi(e->d_name) == getpid() ||
            !process_uses(e->d_name, wanted, what))
            continue;
        name_of(e->d_name, name);
        use_add(ret, "open in %s (pid %s)", name, e->d_name);
    }
    if (dir != NULL)
        closedir(dir);
}

static bool
is_device(const void *what, dev_t on, dev_t is)
{
    return device_has(what, is);
}

static bool
is_on(const void *what, dev_t on, dev_t is)
{
    return on == *(const dev_t *)what;
}

bool
cw_inuse_mount(const char *path, char ret[static CW_INUSE_SIZE])
{
    dev_t on, is;

    ret[0] = 0;
    if (file_look(path, &on, &is))
        processes_add(ret, is_on, &on);
    return ret[0] != 0;
}

/* ---- a device ---- */

static void
holders_add(char ret[static CW_INUSE_SIZE], const struct device *d)
{
    for (size_t i = 0; i < d->n; i++) {
        char path[PATH_MAX];
        struct dirent *e;
        DIR *dir;

        snprintf(path, sizeof(path), "/sys/class/block/%.63s/holders", d->name[i]);
        dir = opendir(path);
        while (dir != NULL && (e = readdir(dir)) != NULL) {
            if (e->d_name[0] != '.')
                use_add(ret, "part of %s", e->d_name);
        }
        if (dir != NULL)
            closedir(dir);
    }
}

static void
swaps_add(char ret[static CW_INUSE_SIZE], const struct device *d)
{
    FILE *f = fopen("/proc/swaps", "re");
    char line[PATH_MAX + 64], path[PATH_MAX];
    dev_t on, is;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%4095s", path) == 1 && path[0] == '/' && file_look(path, &on, &is) &&
            device_has(d, is))
            use_add(ret, "swap on %s", path);
    }
    if (f != NULL)
        fclose(f);
}

bool
cw_inuse_device(const char *device, char ret[static CW_INUSE_SIZE])
{
    struct device d;
    char at[PATH_MAX];
    size_t n;

    ret[0] = 0;
    device_init(&d, device);
    n = mounts_of(&d, SIZE_MAX, at);
    for (size_t i = 0; i < n; i++) {
        mounts_of(&d, i, at);
        use_add(ret, "mounted on %.200s", at);
    }
    holders_add(ret, &d);
    swaps_add(ret, &d);
    processes_add(ret, is_device, &d);
    return ret[0] != 0;
}
