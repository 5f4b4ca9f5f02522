/* admin/export.c - volume export: a volume into a sparse raw file.
 *
 * The file is written under a name of its own beside FILE and takes FILE's name only when it is
 * whole and on the media; an export that ends early leaves nothing.
 */
#include "client/admin/export.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/admin/args.h"
#include "client/admin/out.h"
#include "client/admin/progress.h"
#include "client/admin/publish.h"
#include "client/admin/pump.h"
#include "client/admin/text.h"
#include "client/admin/zeroes.h"
#include "common/base/bits.h"

#define DRAIN_MS 10000

struct volume_export {
    struct cw_cli *cli;
    const char *name, *file;
    bool force;
    char final[PATH_MAX]; /* where FILE leads */
    char part[PATH_MAX];
    int fd;
    uint64_t next_off; /* to be read */
    uint64_t done_bytes, data_bytes;
    struct cw_volio vio;
    struct cw_pump pump;
    struct cw_progress progress;
    int res;           /* the first read that failed */
    uint64_t fail_off; /* where */
    int file_error;
};

static int
export_fail_file(struct volume_export *ex, int error)
{
    return cw_cli_fail(ex->cli, (struct cw_fail){ .code = "IO", .object = ex->file }, "%s: %s",
                       ex->file, strerror(error));
}

/* ---- the file ---- */

/* Follows a link, so that what it leads to is replaced and not the link. */
static int
export_resolve(struct volume_export *ex)
{
    struct stat st;

    if (stat(ex->file, &st) == 0) {
        if (!S_ISREG(st.st_mode))
            return cw_cli_fail(ex->cli, (struct cw_fail){ .code = "BAD_FILE", .object = ex->file },
                               "%s: exists and is no regular file", ex->file);
        if (realpath(ex->file, ex->final) == NULL)
            return export_fail_file(ex, errno);
    } else if (snprintf(ex->final, sizeof(ex->final), "%s", ex->file) >= PATH_MAX) {
        return export_fail_file(ex, ENAMETOOLONG);
    }
    if (snprintf(ex->part, sizeof(ex->part), "%s.%d.part", ex->final, (int)getpid()) >= PATH_MAX)
        return export_fail_file(ex, ENAMETOOLONG);
    return CW_ARGS_GO;
}

static int
export_open_file(struct volume_export *ex)
{
    ex->fd = open(ex->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (ex->fd < 0)
        return export_fail_file(ex, errno);
    return CW_ARGS_GO;
}

static int
export_publish(struct volume_export *ex)
{
    int error = 0;

    if (fsync(ex->fd) != 0 || rename(ex->part, ex->final) != 0)
        error = errno;
    else if ((error = cw_sync_parent(ex->final)) == EINVAL)
        error = 0; /* some file systems cannot */
    return error != 0 ? export_fail_file(ex, error) : CW_ARGS_GO;
}

static int
export_write_all(int fd, const uint8_t *data, uint64_t len, uint64_t off)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        data += n;
        len -= (uint64_t)n;
        off += (uint64_t)n;
    }
    return 0;
}

/* ---- from the volume ---- */

/* Writes what the slot has read; zeroes stay holes. */
static void
export_take(struct volume_export *ex, struct cw_pump_slot *s)
{
    uint64_t at = 0, len;

    s->used = false;
    if (s->res != 0 && ex->res == 0) {
        ex->res = s->res;
        ex->fail_off = s->off;
    }
    if (s->res != 0)
        return;
    for (; ex->file_error == 0 && cw_zeroes_next_run(s->data, s->len, &at, &len); at += len) {
        ex->file_error = export_write_all(ex->fd, s->data + at, len, s->off + at);
        ex->data_bytes += len;
    }
    ex->done_bytes += s->len;
}

static bool
export_should_stop(const struct volume_export *ex)
{
    return ex->res != 0 || ex->file_error != 0 || cw_cli_interrupted();
}

static void
export_read_next(struct volume_export *ex, struct cw_pump_slot *s)
{
    s->off = ex->next_off;
    s->len = cw_min_u64(CW_PUMP_BYTES, ex->vio.size_bytes - s->off);
    s->n_ios = 0;
    ex->next_off += s->len;
    cw_pump_add(s, CW_IO_READ, s->off, s->len);
    cw_pump_submit(s);
}

static void
export_step_progress(struct volume_export *ex)
{
    cw_progress_step(&ex->progress, ex->done_bytes, ex->vio.size_bytes, cw_progress_now_ns());
}

/* Takes the slots that came back until all have; false if they do not within DRAIN_MS. */
static bool
export_drain(struct volume_export *ex)
{
    uint64_t until = cw_progress_now_ns() + DRAIN_MS * CW_NS_PER_MS;

    while (!cw_pump_drain(&ex->pump, 100)) {
        if (export_should_stop(ex) && cw_progress_now_ns() > until)
            return false;
        export_step_progress(ex);
    }
    for (uint32_t i = 0; i < CW_PUMP_SLOTS; i++) {
        if (ex->pump.slots[i].used)
            export_take(ex, &ex->pump.slots[i]);
    }
    return true;
}

static int
export_ending(struct volume_export *ex, bool drained)
{
    struct cw_fail why = { .code = "IO", .object = ex->name };

    if (ex->file_error != 0)
        return export_fail_file(ex, ex->file_error);
    if (ex->res != 0)
        return cw_cli_fail(ex->cli, why, "volume %s: reading at byte %llu: %s", ex->name,
                           (unsigned long long)ex->fail_off, cw_volio_error(ex->res));
    if (!drained || cw_cli_interrupted()) {
        why.code = "INTERRUPTED";
        return cw_cli_fail(ex->cli, why, "export of %s was interrupted", ex->name);
    }
    return CW_ARGS_GO;
}

static int
export_pump(struct volume_export *ex)
{
    bool drained;

    if (ftruncate(ex->fd, (off_t)ex->vio.size_bytes) != 0)
        return export_fail_file(ex, errno);
    cw_pump_init(&ex->pump, &ex->vio);
    cw_progress_init(&ex->progress, ex->cli, "export", cw_progress_now_ns());
    while (ex->next_off < ex->vio.size_bytes && !export_should_stop(ex)) {
        struct cw_pump_slot *s = cw_pump_get(&ex->pump);

        export_step_progress(ex);
        if (s == NULL)
            continue;
        if (s->used)
            export_take(ex, s);
        if (export_should_stop(ex))
            cw_pump_put(&ex->pump, s);
        else
            export_read_next(ex, s);
    }
    drained = export_drain(ex);
    cw_progress_fini(&ex->progress);
    if (drained)
        cw_pump_fini(&ex->pump); /* else its slots are still the owner's: the program ends soon */
    return export_ending(ex, drained);
}

static int
export_print(struct volume_export *ex, uint64_t took_ns)
{
    char size[CW_TEXT_SIZE], data[CW_TEXT_SIZE], rate[CW_TEXT_SIZE];
    double seconds = (double)took_ns / 1e9;

    if (ex->cli->json)
        return cw_out_json(ex->cli, json_pack("{s:{s:s,s:s,s:I,s:I,s:f}}", "export", "volume",
                                              ex->name, "file", ex->file, "size_bytes",
                                              (json_int_t)ex->vio.size_bytes, "data_bytes",
                                              (json_int_t)ex->data_bytes, "took_seconds", seconds));
    fprintf(ex->cli->out, "volume %s: %s exported to %s, %s of data, %.1f s, %s\n", ex->name,
            cw_text_size(ex->vio.size_bytes, size), ex->file, cw_text_size(ex->data_bytes, data),
            seconds, cw_text_rate((double)ex->vio.size_bytes / seconds, rate));
    return CW_EXIT_OK;
}

static int
export_go(struct volume_export *ex)
{
    uint64_t begun = cw_progress_now_ns();
    int status = export_resolve(ex);

    if (status == CW_ARGS_GO)
        status = cw_volio_open(&ex->vio, ex->cli, ex->name, ex->force);
    if (status != CW_ARGS_GO)
        return status;
    status = export_open_file(ex);
    if (status == CW_ARGS_GO)
        status = export_pump(ex);
    cw_volio_close(&ex->vio);
    if (status == CW_ARGS_GO)
        status = export_publish(ex);
    if (status != CW_ARGS_GO && ex->fd >= 0)
        unlink(ex->part);
    return status == CW_ARGS_GO ? export_print(ex, cw_progress_now_ns() - begun) : status;
}

int
cw_export_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct volume_export ex = { .cli = cli, .fd = -1 };
    const struct cw_opt opts[] = {
        { "force", 0, CW_OPT_FLAG, &ex.force, NULL,
          "take the volume over now, also from an owner that is alive" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 2, .n_max = 2 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    if (cli->cluster == NULL)
        return cw_cli_no_cluster(cli);
    ex.name = a.operand[0];
    ex.file = a.operand[1];
    if (strcmp(ex.file, "-") == 0)
        return cw_cli_usage(cli, cmd,
                            "FILE is -, but a volume is exported to a file, not to a stream");
    cw_cli_catch_signals();
    status = export_go(&ex);
    if (ex.fd >= 0)
        close(ex.fd);
    return status;
}
