/* tests/lib/faultfs.c - a FUSE file server with one file, which fails on demand.
 *
 *   faultfs FILE DIR    DIR/store is FILE, read and written as it stands there. Until a signal:
 *
 *   SIGUSR1     every read, write and sync fails with EIO
 *   SIGUSR2     every one hangs
 *   SIGRTMIN    every 61st block of 4 KiB is bad: a read that touches one fails, a write does not
 *   SIGRTMIN+1  two of three fail with EAGAIN (the kernel itself tries once more), and reads give
 *               half of what is asked for
 *   SIGRTMIN+2  every one takes 200 ms longer
 *   SIGRTMIN+3  the power is cut: of the blocks of 4 KiB that were written without O_DSYNC since
 * the last sync, and of those whose write is not answered yet, every other one is what it was; then
 * as with SIGKILL SIGHUP      all is well again; those that hung go on SIGTERM     unmounts, when
 * nothing hangs SIGKILL     is a disk that is pulled: its users get ENOTCONN, also those that hung
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define SLOW_US 200000
#define BAD_EVERY 61 /* odd: batches of one block put their headers on every second */

enum mode { FINE, FAILS, HANGS, ROTS, IS_BUSY, IS_SLOW, LIES, IS_CUT };

static struct {
    int fd;
    atomic_int mode;
    atomic_uint met;
} disk;

/* What is on the media where the file holds more. */
static struct {
    pthread_mutex_t lock; /* of writes and syncs */
    uint8_t **blocks;     /* NULL: the same */
    size_t n_blocks;
} media = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void
on_signal(int sig)
{
    atomic_store(&disk.mode, sig == SIGUSR1        ? FAILS
                             : sig == SIGUSR2      ? HANGS
                             : sig == SIGHUP       ? FINE
                             : sig == SIGRTMIN     ? ROTS
                             : sig == SIGRTMIN + 1 ? IS_BUSY
                             : sig == SIGRTMIN + 2 ? IS_SLOW
                             : sig == SIGRTMIN + 4 ? LIES
                                                   : IS_CUT);
}

/* What becomes of an I/O that comes now. */
static int
disk_meets(void)
{
    while (atomic_load(&disk.mode) == HANGS)
        usleep(10000);
    if (atomic_load(&disk.mode) == IS_SLOW)
        usleep(SLOW_US);
    if (atomic_load(&disk.mode) == IS_BUSY && atomic_fetch_add(&disk.met, 1) % 3 != 2)
        return -EAGAIN;
    return atomic_load(&disk.mode) == FAILS ? -EIO : 0;
}

/* How much of a read is done at once. */
static size_t
disk_gives(size_t len)
{
    return atomic_load(&disk.mode) == IS_BUSY && len > BLOCK ? len / 2 / BLOCK * BLOCK : len;
}

static bool
disk_is_bad(off_t off, size_t len)
{
    off_t first = off / BLOCK, last = (off + (off_t)len - 1) / BLOCK;

    return atomic_load(&disk.mode) == ROTS && last - last % BAD_EVERY >= first;
}

static int
on_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    memset(st, 0, sizeof(*st));
    if (strcmp(path, "/") == 0) {
        st->st_mode = S_IFDIR | 0755;
        st->st_nlink = 2;
        return 0;
    }
    return strcmp(path, "/store") != 0 ? -ENOENT : fstat(disk.fd, st) < 0 ? -errno : 0;
}

static int
on_open(const char *path, struct fuse_file_info *fi)
{
    if (strcmp(path, "/store") != 0)
        return -ENOENT;
    fi->direct_io = 1;
    return 0;
}

static int
on_read(const char *path, char *to, size_t len, off_t off, struct fuse_file_info *fi)
{
    int err = disk_meets();
    ssize_t n = 0;

    if (err == 0)
        err = disk_is_bad(off, len) ? -EIO : 0;
    if (err == 0)
        n = pread(disk.fd, to, disk_gives(len), off);

    return err != 0 ? err : n < 0 ? -errno : (int)n;
}

/* ---- writes, and what a power cut takes of them ---- */

static bool
media_keep(off_t off, size_t len)
{
    for (size_t k = (size_t)off / BLOCK; k * BLOCK < (size_t)off + len && k < media.n_blocks; k++) {
        if (media.blocks[k] != NULL)
            continue;
        media.blocks[k] = malloc(BLOCK);
        if (media.blocks[k] == NULL ||
            pread(disk.fd, media.blocks[k], BLOCK, (off_t)(k * BLOCK)) != BLOCK)
            return false;
    }
    return true;
}

/* This is on the media from now on. */
static void
media_update(const char *from, off_t off, size_t len)
{
    for (size_t done = 0, n; done < len; done += n) {
        size_t at = (size_t)off + done, k = at / BLOCK;

        n = BLOCK - at % BLOCK < len - done ? BLOCK - at % BLOCK : len - done;
        if (k < media.n_blocks && media.blocks[k] != NULL)
            memcpy(media.blocks[k] + at % BLOCK, from + done, n);
    }
}

static void
media_sync(void)
{
    for (size_t k = 0; k < media.n_blocks; k++) {
        free(media.blocks[k]);
        media.blocks[k] = NULL;
    }
}

/* What comes in the last moments is never answered. */
static void *
power_run(void *arg)
{
    unsigned chance = (unsigned)time(NULL) ^ (unsigned)getpid();
    size_t n_lost = 0, n_unsafe = 0;

    while (atomic_load(&disk.mode) != IS_CUT)
        usleep(5000);
    usleep(100000);
    pthread_mutex_lock(&media.lock);
    for (size_t k = 0; k < media.n_blocks; k++) {
        if (media.blocks[k] == NULL)
            continue;
        n_unsafe++;
        if (rand_r(&chance) % 2 == 0 && ++n_lost > 0 &&
            pwrite(disk.fd, media.blocks[k], BLOCK, (off_t)(k * BLOCK)) != BLOCK)
            abort();
    }
    fprintf(stderr, "power cut: %zu of %zu blocks lost\n", n_lost, n_unsafe);
    _exit(0);
}

static void
hang_if_cut(void)
{
    while (atomic_load(&disk.mode) == IS_CUT)
        pause();
}

static ssize_t
disk_write(const char *from, size_t len, off_t off, bool sync)
{
    bool safe;
    ssize_t n;

    pthread_mutex_lock(&media.lock);
    safe = sync && atomic_load(&disk.mode) < LIES;
    n = !safe && !media_keep(off, len) ? -1 : pwrite(disk.fd, from, len, off);
    if (n > 0 && safe)
        media_update(from, off, (size_t)n);
    pthread_mutex_unlock(&media.lock);
    hang_if_cut();
    return n;
}

static int
on_write(const char *path, const char *from, size_t len, off_t off, struct fuse_file_info *fi)
{
    int err = disk_meets();
    ssize_t n = err != 0 ? 0 : disk_write(from, len, off, (fi->flags & O_DSYNC) != 0);

    return err != 0 ? err : n < 0 ? -EIO : (int)n;
}

static int
on_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
    int err = disk_meets();

    hang_if_cut();
    if (err != 0)
        return err;
    pthread_mutex_lock(&media.lock);
    if (fdatasync(disk.fd) < 0)
        err = -errno;
    else if (atomic_load(&disk.mode) < LIES)
        media_sync();
    pthread_mutex_unlock(&media.lock);
    hang_if_cut();
    return err;
}

static int
on_fallocate(const char *path, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
    return fallocate(disk.fd, mode, off, len) < 0 ? -errno : 0;
}

static const struct fuse_operations ops = {
    .getattr = on_getattr,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .fallocate = on_fallocate,
};

static bool
power_on(void)
{
    struct stat st;
    pthread_t t;

    if (fstat(disk.fd, &st) < 0)
        return false;
    media.n_blocks = (size_t)st.st_size / BLOCK;
    media.blocks = calloc(media.n_blocks + 1, sizeof(*media.blocks));
    return media.blocks != NULL && pthread_create(&t, NULL, power_run, NULL) == 0;
}

int
main(int argc, char **argv)
{
    /* A thread for each I/O that hangs, so that those behind it are taken and hang as well. */
    char foreground[] = "-f", opt[] = "-o", threads[] = "max_threads=256";
    char *args[] = { argv[0], argv[argc - 1], foreground, opt, threads, NULL };
    int signals[] = { SIGUSR1,      SIGUSR2,      SIGRTMIN,     SIGRTMIN + 1,
                      SIGRTMIN + 2, SIGRTMIN + 3, SIGRTMIN + 4, SIGHUP };
    struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    if (argc != 3 || (disk.fd = open(argv[1], O_RDWR | O_CLOEXEC)) < 0) {
        fprintf(stderr, "usage: faultfs FILE DIR: %s\n",
                argc != 3 ? "two operands" : "cannot open");
        return 2;
    }
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        sigaction(signals[i], &sa, NULL);
    if (!power_on())
        return 1;
    return fuse_main(5, args, &ops, NULL);
}
