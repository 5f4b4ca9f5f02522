#include "daemon/tool/format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/reactor/disk.h"
#include "daemon/store/format.h"
#include "daemon/store/store.h"
#include "daemon/tool/foreign.h"

struct format {
    const struct cw_format_opts *o;
    struct cw_reactor *r;
    bool made_file, done;
    int res;
    char *why; /* CW_FORMAT_WHY_SIZE */
};

__attribute__((format(printf, 2, 3))) static bool
format_fail(struct format *f, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(f->why, CW_FORMAT_WHY_SIZE, fmt, args);
    va_end(args);
    return false;
}

void
cw_format_split(const char *text, size_t *ret_path_len, uint64_t *ret_bytes)
{
    const char *colon = strrchr(text, ':');

    *ret_bytes = 0;
    if (colon != NULL && cw_size_parse(colon + 1, ret_bytes))
        *ret_path_len = (size_t)(colon - text);
    else
        *ret_path_len = strlen(text);
}

bool
cw_format_asked(const struct cw_format_opts *opts, char why[static CW_FORMAT_WHY_SIZE])
{
    struct format f = { .o = opts, .why = why };
    struct stat st;

    return opts->bytes == 0 || stat(opts->path, &st) != 0 || !S_ISBLK(st.st_mode) ||
           format_fail(&f, "%s: a block device is a store as a whole; leave the size out",
                       opts->path);
}

/* ---- the file ---- */

static uint64_t
format_rounded(uint64_t bytes)
{
    return cw_align_down(bytes, 4096);
}

static bool
format_size_ok(struct format *f, uint64_t bytes)
{
    char text[CW_SIZE_TEXT_SIZE];

    return bytes >= CW_STORE_BYTES_MIN ||
           format_fail(f, "%s: %s is too small; a store has at least 512M", f->o->path,
                       cw_size_format(bytes, text));
}

/* PATH:WORD that is no file and has no size, or the path of a file that is not there? */
static bool
format_no_size(struct format *f)
{
    const char *path = f->o->path, *colon = strrchr(path, ':');

    if (colon == NULL || colon == path || strchr(colon, '/') != NULL)
        return format_fail(f,
                           "%s: no such file; give its size to make it: %s:SIZE, such as %s:100G",
                           path, path, path);
    return format_fail(f,
                       "%s: no such file, and \"%s\" is no size%s; sizes are such as 512M, 100G, "
                       "2T",
                       path, colon + 1,
                       cw_size_too_large(colon + 1) ? ": it is larger than any file" : "");
}

/* Where the file would be made. */
static bool
format_find_dir(struct format *f)
{
    const char *path = f->o->path, *slash = strrchr(path, '/');
    size_t len = slash != NULL && slash != path ? (size_t)(slash - path) : 1;
    char *dir = slash != NULL ? strndup(path, len) : strdup(".");
    struct stat st;
    bool ok;

    cw_assert(dir != NULL);
    ok = stat(dir, &st) == 0 ||
         format_fail(f, "%s: its directory %s %s; make it first, or is it the right path?", path,
                     dir, errno == ENOENT ? "is not there" : "cannot be looked at");
    free(dir);
    return ok;
}

static bool
format_make_file(struct format *f)
{
    uint64_t bytes = format_rounded(f->o->bytes);
    char why[CW_WHY_SIZE];

    if (strncmp(f->o->path, "/dev/", 5) == 0) /* a file there would live in memory */
        return format_fail(f, "%s: no such device; see: lsblk", f->o->path);
    if (!format_find_dir(f))
        return false;
    if (f->o->bytes == 0)
        return format_no_size(f);
    if (!format_size_ok(f, bytes))
        return false;
    if (cw_disk_create_file(f->o->path, bytes, why) != 0)
        return format_fail(f, "%s; is there room, and may this user write there?", why);
    f->made_file = true;
    return true;
}

static bool
format_find_file(struct format *f)
{
    char is[CW_SIZE_TEXT_SIZE], asked[CW_SIZE_TEXT_SIZE];
    struct stat st;

    if (stat(f->o->path, &st) != 0)
        return errno == ENOENT
                   ? format_make_file(f)
                   : format_fail(f, "%s: %s; is it the right path?", f->o->path, strerror(errno));
    if (f->o->bytes != 0 && S_ISREG(st.st_mode) &&
        format_rounded((uint64_t)st.st_size) != format_rounded(f->o->bytes))
        return format_fail(
            f,
            "%s: is there with %llu bytes (%s), not %s; a format does not change the "
            "size of a file, even with --force: leave the size out, or remove the "
            "file",
            f->o->path, (unsigned long long)st.st_size, cw_size_format((uint64_t)st.st_size, is),
            cw_size_format(f->o->bytes, asked));
    return true;
}

/* ---- the store ---- */

static void
format_on_done(void *user, int res)
{
    struct format *f = user;

    f->done = true;
    f->res = res;
}

/* What stands in the way of an outcome; what: of others, or "". */
static bool
format_refuse(struct format *f, const char *what)
{
    const char *path = f->o->path, *also = what[0] != '\0' ? ", and holds " : "";

    switch (f->res) {
    case CW_STORE_E_FORMATTED:
        return format_fail(
            f,
            "%s: is a Causeway store already%s%s; --force overwrites it and all that "
            "is in it",
            path, also, what);
    case CW_STORE_E_LOST:
        return format_fail(f,
                           "%s: holds segments of a Causeway store whose superblocks are lost%s%s; "
                           "if its data may be needed, do not format it, see: causeway-store info "
                           "%s; --force overwrites it and all that is in it",
                           path, also, what, path);
    case CW_STORE_E_UNSEEN:
        return format_fail(f,
                           "%s: cannot be read where a store would show, so it may be one%s%s; see "
                           "the log of the kernel (dmesg); --force overwrites it all the same",
                           path, also, what);
    case CW_STORE_E_TOO_SMALL:
        return format_fail(f, "%s: too small; a store has at least 512M", path);
    default:
        return format_fail(f, "%s: cannot format: %s", path,
                           f->res < 0 ? strerror(-f->res) : "unknown outcome");
    }
}

static bool
format_run(struct format *f, struct cw_disk *disk, struct cw_store_format_opts opts)
{
    f->done = false;
    cw_store_format(cw_reactor_env(f->r), disk, cw_reactor_pool(f->r), opts, format_on_done, f);
    while (!f->done) {
        int err = cw_reactor_turn(f->r, CW_NEVER);

        if (err != 0)
            return format_fail(f, "%s: io_uring: %s", f->o->path, strerror(-err));
    }
    return true;
}

/* Is nothing there, of ours or of others, that would be overwritten? */
static bool
format_look(struct format *f, struct cw_disk *disk)
{
    char what[CW_FOREIGN_SIZE];
    int err;

    if (!format_run(f, disk, (struct cw_store_format_opts){ .look = true }))
        return false;
    err = cw_foreign_find(f->o->path, what);
    if (f->res != 0)
        return format_refuse(f, what);
    if (err != 0)
        return format_fail(f,
                           "%s: cannot be looked at for what others keep there: %s; --force "
                           "overwrites it all the same",
                           f->o->path, strerror(-err));
    return what[0] == '\0' ||
           format_fail(f, "%s: holds %s; --force overwrites it and all that is in it", f->o->path,
                       what);
}

static bool
format_write(struct format *f, struct cw_disk *disk)
{
    struct cw_store_format_opts opts = { .force = f->o->force };
    uint64_t random[3];

    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return format_fail(f, "%s: no random numbers: %s", f->o->path, strerror(errno));
    opts.disk_uuid = cw_uuid_from_random(random[0], random[1]);
    opts.format_id = random[2] | 1;
    return format_run(f, disk, opts) && (f->res == 0 || format_refuse(f, ""));
}

static bool
format_disk(struct format *f, uint64_t *ret_bytes)
{
    struct cw_disk_opts opts = { .path = f->o->path };
    char why[CW_WHY_SIZE];
    struct cw_disk *disk;
    int err = cw_disk_open(f->r, &opts, &disk, why);
    bool ok;

    if (err != 0)
        return format_fail(f, "%s%s", why,
                           err == -EACCES || err == -EPERM || err == -EROFS
                               ? "; run it as a user that may write there"
                               : "");
    *ret_bytes = disk->bytes;
    ok = format_size_ok(f, disk->bytes) && (f->o->force || format_look(f, disk)) &&
         format_write(f, disk);
    if (cw_disk_busy(disk) == 0)
        cw_disk_close(disk);
    return ok;
}

bool
cw_format_store(struct cw_reactor *r, const struct cw_format_opts *opts, uint64_t *ret_bytes,
                char why[static CW_FORMAT_WHY_SIZE])
{
    struct format f = { .o = opts, .r = r, .why = why };
    bool ok = cw_format_asked(opts, why) && format_find_file(&f) && format_disk(&f, ret_bytes);

    if (!ok && f.made_file)
        (void)unlink(opts->path);
    return ok;
}
