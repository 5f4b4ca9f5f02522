#include "daemon/shell/format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/base/size.h"
#include "common/reactor/disk.h"
#include "daemon/store/store.h"

#define WHY_SIZE 400

struct format {
    const struct cw_options *o;
    const struct cw_store_opt *store;
    struct cw_log_sink *log;
    struct cw_reactor *r;
    bool made_file, done;
    int res;
    char why[WHY_SIZE];
};

__attribute__((format(printf, 2, 3))) static bool
format_fail(struct format *f, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(f->why, sizeof(f->why), fmt, args);
    va_end(args);
    return false;
}

/* ---- the file ---- */

static bool
format_size_ok(struct format *f, uint64_t bytes)
{
    char text[CW_SIZE_TEXT_SIZE];

    return bytes >= CW_STORE_BYTES_MIN ||
           format_fail(f, "%s: %s is too small; a store has at least 512M", f->store->path,
                       cw_size_format(bytes, text));
}

static bool
format_make_file(struct format *f)
{
    uint64_t bytes = cw_align_down(f->store->bytes, 4096);
    char why[CW_WHY_SIZE];

    if (strncmp(f->store->path, "/dev/", 5) == 0) /* a file there would live in memory */
        return format_fail(f, "%s: no such device; see: lsblk", f->store->path);
    if (f->store->bytes == 0)
        return format_fail(f, "%s: no such file; give its size to make it: --store %s:SIZE",
                           f->store->path, f->store->path);
    if (!format_size_ok(f, bytes))
        return false;
    if (cw_disk_create_file(f->store->path, bytes, why) != 0)
        return format_fail(f, "%s", why);
    f->made_file = true;
    return true;
}

static bool
format_find_file(struct format *f)
{
    struct stat st;

    if (stat(f->store->path, &st) != 0)
        return errno == ENOENT ? format_make_file(f)
                               : format_fail(f, "%s: %s", f->store->path, strerror(errno));
    if (f->store->bytes != 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size != f->store->bytes)
        return format_fail(f, "%s: is there with %llu bytes; remove it or leave the size out",
                           f->store->path, (unsigned long long)st.st_size);
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

static bool
format_outcome(struct format *f)
{
    const char *path = f->store->path;

    switch (f->res) {
    case 0:
        return true;
    case CW_STORE_E_FORMATTED:
        return format_fail(f,
                           "%s: is a Causeway store already; --force overwrites it and all that "
                           "is in it",
                           path);
    case CW_STORE_E_TOO_SMALL:
        return format_fail(f, "%s: too small; a store has at least 512M", path);
    default:
        return format_fail(f, "%s: cannot format: %s", path,
                           f->res < 0 ? strerror(-f->res) : "unknown outcome");
    }
}

static bool
format_write(struct format *f, struct cw_disk *disk)
{
    struct cw_store_format_opts opts = { .force = f->o->force };
    uint64_t random[3];

    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return format_fail(f, "%s: no random numbers: %s", f->store->path, strerror(errno));
    opts.disk_uuid = cw_uuid_from_random(random[0], random[1]);
    opts.format_id = random[2] | 1;
    f->done = false;
    cw_store_format(cw_reactor_env(f->r), disk, cw_reactor_pool(f->r), opts, format_on_done, f);
    while (!f->done) {
        int err = cw_reactor_turn(f->r, CW_NEVER);

        if (err != 0)
            return format_fail(f, "%s: io_uring: %s", f->store->path, strerror(-err));
    }
    return format_outcome(f);
}

static bool
format_disk(struct format *f)
{
    struct cw_disk_opts opts = { .path = f->store->path };
    char text[CW_SIZE_TEXT_SIZE], why[CW_WHY_SIZE];
    struct cw_disk *disk;
    bool ok;

    if (cw_disk_open(f->r, &opts, &disk, why) != 0)
        return format_fail(f, "%s", why);
    ok = format_size_ok(f, disk->bytes) && format_write(f, disk);
    if (ok)
        cw_log_sink_printf(f->log, CW_LOG_NOTICE, "%s: formatted, %s, belongs to no cluster yet",
                           f->store->path, cw_size_format(disk->bytes, text));
    if (cw_disk_busy(disk) == 0)
        cw_disk_close(disk);
    return ok;
}

static bool
format_one(struct format *f)
{
    bool ok = format_find_file(f) && format_disk(f);

    if (!ok)
        cw_log_sink_write(f->log, CW_LOG_ERROR, f->why);
    if (!ok && f->made_file)
        (void)unlink(f->store->path);
    return ok;
}

int
cw_format_main(const struct cw_options *o, struct cw_log_sink *log)
{
    struct cw_reactor_opts ro = { .log_level = o->log_level,
                                  .log = cw_log_sink_fn,
                                  .log_user = log };
    struct cw_reactor *r;
    int err = cw_reactor_new(&ro, &r), status = 0;

    if (err != 0) {
        cw_log_sink_printf(log, CW_LOG_ERROR, "io_uring: %s", strerror(-err));
        return 1;
    }
    for (uint32_t i = 0; i < o->n_stores; i++) {
        struct format f = { .o = o, .store = &o->stores[i], .log = log, .r = r };

        if (!format_one(&f))
            status = 1;
    }
    cw_reactor_free(r);
    return status;
}
