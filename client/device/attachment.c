#include "client/device/attachment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/device/inuse.h"
#include "common/base/bits.h"

#define LINKS "/dev/causeway"
#define RELEASE_TRIES 600 /* of 50 ms: a device that nobody uses is flushed before it lets go */

/* ---- places ---- */

static const char *
attachment_root(void)
{
    const char *dir = getenv("CAUSEWAY_DEVICE_DIR");

    return dir != NULL && dir[0] == '/' ? dir : CW_ATTACHMENT_DIR;
}

const char *
cw_attachment_path(const char *volume, enum cw_attachment_file which, char ret[static PATH_MAX])
{
    static const char *const names[] = {
        [CW_ATTACHMENT_TOP] = "",         [CW_ATTACHMENT_LOCK] = "/lock",
        [CW_ATTACHMENT_STATE] = "/state", [CW_ATTACHMENT_DISK] = "/disk",
        [CW_ATTACHMENT_LOG] = "/log",
    };

    snprintf(ret, PATH_MAX, "%s/%.63s%s", attachment_root(), volume, names[which]);
    return ret;
}

static int
dirs_make(const char *path)
{
    char part[PATH_MAX];

    snprintf(part, sizeof(part), "%s", path);
    for (char *c = part + 1;; c++) {
        char was = *c;

        if (was != '/' && was != 0)
            continue;
        *c = 0;
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return -errno;
        if (was == 0)
            return 0;
        *c = was;
    }
}

/* ---- processes ---- */

void
cw_attachment_process_of(pid_t pid, struct cw_attachment_process *ret)
{
    char path[64], line[1024], *end;
    FILE *f;

    *ret = (struct cw_attachment_process){ .pid = pid };
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    f = fopen(path, "re");
    if (f == NULL) {
        ret->pid = 0;
        return;
    }
    if (fgets(line, sizeof(line), f) == NULL || (end = strrchr(line, ')')) == NULL ||
        end[1] != ' ' || end[2] == 'Z' ||
        sscanf(end + 2,
               "%*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
               "%*s %" SCNu64,
               &ret->start) != 1)
        ret->pid = 0;
    fclose(f);
}

bool
cw_attachment_process_lives(const struct cw_attachment_process *p)
{
    struct cw_attachment_process now;

    if (p->pid <= 0)
        return false;
    cw_attachment_process_of(p->pid, &now);
    return now.pid == p->pid && now.start == p->start;
}

/* ---- the state ---- */

static void
state_line(struct cw_attachment *a, const char *line)
{
    int pid;
    uint64_t start;

    if (sscanf(line, "volume=%63s", a->volume) == 1 ||
        sscanf(line, "cluster=%255s", a->cluster) == 1 ||
        sscanf(line, "device=%31s", a->device) == 1)
        return;
    if (sscanf(line, "holder=%d %" SCNu64, &pid, &start) == 2)
        a->holder = (struct cw_attachment_process){ .pid = pid, .start = start };
    else if (sscanf(line, "back-end=%d %" SCNu64, &pid, &start) == 2)
        a->back_end = (struct cw_attachment_process){ .pid = pid, .start = start };
    else if (strcmp(line, "read-only\n") == 0)
        a->read_only = true;
}

int
cw_attachment_read(const char *volume, struct cw_attachment *ret)
{
    char path[PATH_MAX], line[512];
    FILE *f = fopen(cw_attachment_path(volume, CW_ATTACHMENT_STATE, path), "re");

    if (f == NULL)
        return -errno;
    memset(ret, 0, sizeof(*ret));
    while (fgets(line, sizeof(line), f) != NULL)
        state_line(ret, line);
    fclose(f);
    return strcmp(ret->volume, volume) == 0 ? 0 : -EPROTO;
}

int
cw_attachment_write(const struct cw_attachment *a)
{
    char path[PATH_MAX], temp[PATH_MAX + 8];
    FILE *f;
    bool ok;

    cw_attachment_path(a->volume, CW_ATTACHMENT_STATE, path);
    snprintf(temp, sizeof(temp), "%s.new", path);
    f = fopen(temp, "we");
    if (f == NULL)
        return -errno;
    fprintf(f, "volume=%s\ncluster=%s\n", a->volume, a->cluster);
    if (a->device[0] != 0)
        fprintf(f, "device=%s\n", a->device);
    fprintf(f, "holder=%d %" PRIu64 "\nback-end=%d %" PRIu64 "\n%s", (int)a->holder.pid,
            a->holder.start, (int)a->back_end.pid, a->back_end.start,
            a->read_only ? "read-only\n" : "");
    ok = fflush(f) == 0;
    ok = fclose(f) == 0 && ok;
    return ok && rename(temp, path) == 0 ? 0 : -errno;
}

/* ---- the lock ---- */

int
cw_attachment_lock(const char *volume, int *ret_fd)
{
    char dir[PATH_MAX], path[PATH_MAX];
    struct stat mine, there;

    cw_attachment_path(volume, CW_ATTACHMENT_LOCK, path);
    for (;;) {
        int res = dirs_make(cw_attachment_path(volume, CW_ATTACHMENT_TOP, dir)), fd;

        if (res != 0)
            return res;
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 && errno == ENOENT)
            continue; /* the last one has just tidied up */
        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            res = errno == EWOULDBLOCK ? -EBUSY : -errno;
            close(fd);
            return res;
        }
        if (fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino) {
            *ret_fd = fd;
            return 0;
        }
        close(fd); /* the lock of a file that is not there any more */
    }
}

bool
cw_attachment_is_kept(const char *volume)
{
    char path[PATH_MAX];
    int fd = open(cw_attachment_path(volume, CW_ATTACHMENT_LOCK, path), O_RDWR | O_CLOEXEC);
    bool kept;

    if (fd < 0)
        return false;
    kept = flock(fd, LOCK_EX | LOCK_NB) != 0;
    close(fd);
    return kept;
}

/* ---- the mount ---- */

bool
cw_attachment_is_mounted(const char *volume)
{
    char path[PATH_MAX], line[2 * PATH_MAX], at[PATH_MAX];
    FILE *f = fopen("/proc/self/mountinfo", "re");
    bool found = false;

    cw_attachment_path(volume, CW_ATTACHMENT_DISK, path);
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
        found = sscanf(line, "%*s %*s %*s %*s %4095s", at) == 1 && strcmp(at, path) == 0;
    if (f != NULL)
        fclose(f);
    return found;
}

int
cw_attachment_mount(const char *volume, int fuse_fd, bool read_only,
                    char why[static CW_ATTACHMENT_WHY_SIZE])
{
    char path[PATH_MAX], options[128];
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME;
    int fd = open(cw_attachment_path(volume, CW_ATTACHMENT_DISK, path),
                  O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
    snprintf(options, sizeof(options), "fd=%d,rootmode=%o,user_id=0,group_id=0", fuse_fd,
             (unsigned)S_IFREG | (read_only ? 0400 : 0600));
    if (fd >= 0 && mount("causeway", path, "fuse.causeway", read_only ? flags | MS_RDONLY : flags,
                         options) == 0)
        return 0;
    snprintf(why, CW_ATTACHMENT_WHY_SIZE, "cannot mount FUSE at %.200s: %s", path, strerror(errno));
    return -EIO;
}

/* ---- the link ---- */

void
cw_attachment_link(const struct cw_attachment *a)
{
    char path[PATH_MAX];

    (void)dirs_make(LINKS);
    snprintf(path, sizeof(path), LINKS "/%.63s", a->volume);
    unlink(path);
    (void)!symlink(a->device, path);
}

static void
link_remove(const char *volume, const char *device)
{
    char path[PATH_MAX], to[PATH_MAX];
    ssize_t n;

    snprintf(path, sizeof(path), LINKS "/%.63s", volume);
    n = readlink(path, to, sizeof(to) - 1);
    if (n > 0 && (size_t)n == strlen(device) && strncmp(to, device, (size_t)n) == 0)
        unlink(path);
    rmdir(LINKS);
}

/* ---- taking away ---- */

static bool
device_released(const char *device, const char *disk)
{
    struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };

    for (int i = 0; i < RELEASE_TRIES; i++) {
        if (!cw_loop_is_over(device, disk))
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

static int
device_remove(const char *disk, char *why)
{
    char device[CW_LOOP_NAME_SIZE], who[CW_INUSE_SIZE];
    int res;

    if (!cw_loop_find(disk, device))
        return 0;
    if (cw_inuse_device(device, who)) {
        snprintf(why, CW_ATTACHMENT_WHY_SIZE, "%s is in use: %s", device, who);
        return -EBUSY;
    }
    res = cw_loop_detach(device, disk, why);
    if (res == 0 && !device_released(device, disk)) {
        snprintf(why, CW_ATTACHMENT_WHY_SIZE, "%s does not let go: who uses it is not known",
                 device);
        res = -EBUSY;
    }
    return res;
}

int
cw_attachment_remove(const char *volume, char why[static CW_ATTACHMENT_WHY_SIZE])
{
    char path[PATH_MAX], disk[PATH_MAX];
    struct cw_attachment a;
    int res = device_remove(cw_attachment_path(volume, CW_ATTACHMENT_DISK, disk), why);

    if (res != 0)
        return res;
    if (cw_attachment_read(volume, &a) == 0 && a.device[0] != 0)
        link_remove(volume, a.device);
    while (cw_attachment_is_mounted(volume)) {
        if (umount2(disk, MNT_DETACH) != 0) {
            snprintf(why, CW_ATTACHMENT_WHY_SIZE, "cannot unmount %.200s: %s", disk,
                     strerror(errno));
            return -EBUSY;
        }
    }
    unlink(disk);
    unlink(cw_attachment_path(volume, CW_ATTACHMENT_STATE, path));
    unlink(cw_attachment_path(volume, CW_ATTACHMENT_LOG, path));
    unlink(cw_attachment_path(volume, CW_ATTACHMENT_LOCK, path));
    rmdir(cw_attachment_path(volume, CW_ATTACHMENT_TOP, path));
    return 0;
}
