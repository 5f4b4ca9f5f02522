/* The key that proves to the manager that a daemon of some name is the one it knows: 16 random
 * bytes beside the first store (PATH.host-key), so that a host moves with its disks. A store that
 * is a block device has no place beside it: then /var/lib/causeway/NAME.host-key. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/shell/host.h"

#define STATE_DIR "/var/lib/causeway"

static int
key_fail(const char *path, int err, char why[static CW_DATA_WHY_SIZE])
{
    snprintf(why, CW_DATA_WHY_SIZE, "%.200s: the host's key: %s", path, strerror(err));
    return -err;
}

void
cw_host_path(const struct cw_options *o, const char *what, char path[static CW_HOST_PATH_SIZE])
{
    struct stat st;

    if (stat(o->stores[0].path, &st) == 0 && S_ISBLK(st.st_mode)) {
        (void)mkdir(STATE_DIR, 0700); /* if it cannot be, opening the file says so */
        snprintf(path, CW_HOST_PATH_SIZE, "%s/%s.%s", STATE_DIR, o->host, what);
    } else {
        snprintf(path, CW_HOST_PATH_SIZE, "%s.%s", o->stores[0].path, what);
    }
}

/* Written whole beside its place and renamed: a crash leaves a key or none. */
static int
key_make(const char *path, struct cw_uuid *key, char why[static CW_DATA_WHY_SIZE])
{
    char tmp[CW_HOST_PATH_SIZE + 8];
    int fd, err = 0;

    snprintf(tmp, sizeof(tmp), "%s.new", path);
    if (getrandom(key->b, sizeof(key->b), 0) != sizeof(key->b))
        return key_fail(path, EIO, why);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return key_fail(tmp, errno, why);
    if (write(fd, key->b, sizeof(key->b)) != sizeof(key->b) || fsync(fd) != 0)
        err = errno != 0 ? errno : EIO;
    close(fd);
    if (err == 0 && rename(tmp, path) != 0)
        err = errno;
    return err == 0 ? 0 : key_fail(path, err, why);
}

int
cw_host_key_read(const struct cw_options *o, struct cw_uuid *ret, char why[static CW_DATA_WHY_SIZE])
{
    char path[CW_HOST_PATH_SIZE];
    struct cw_uuid key;
    ssize_t n;
    int fd, err;

    cw_host_path(o, "host-key", path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return key_fail(path, errno, why);
    if (fd < 0) {
        err = key_make(path, &key, why);
        if (err == 0)
            *ret = key;
        return err;
    }
    n = read(fd, key.b, sizeof(key.b));
    close(fd);
    if (n != sizeof(key.b) || cw_uuid_is_nil(&key)) {
        snprintf(why, CW_DATA_WHY_SIZE,
                 "%.200s: not a host's key; remove it, and the manager's record of host %s with "
                 "`causeway host rm %s`",
                 path, o->host, o->host);
        return -EINVAL;
    }
    *ret = key;
    return 0;
}
