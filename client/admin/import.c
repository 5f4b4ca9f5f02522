/* admin/import.c - volume import: a raw image into a volume, zeroes and holes skipped. */
#include "client/admin/import.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/admin/args.h"
#include "client/admin/out.h"
#include "client/admin/progress.h"
#include "client/admin/pump.h"
#include "client/admin/text.h"
#include "client/admin/volume.h"
#include "client/admin/zeroes.h"
#include "common/base/bits.h"

#define DRAIN_MS 10000
#define TRIM_BYTES CW_GIB

struct import {
    struct cw_cli *cli;
    const struct cw_cmd *cmd;
    const char *name, *file, *policy;
    bool overwrite, force, created;
    uint64_t size_bytes; /* wanted size of the volume; 0: the file's, rounded up */
    int fd;
    uint64_t file_bytes;
    uint64_t data_bytes; /* written */
    struct cw_volio vio;
    struct cw_pump pump;
    struct cw_progress progress;
    int res;           /* the first request that failed */
    uint64_t fail_off; /* where */
};

static int
import_fail_file(struct import *im, int error)
{
    return cw_cli_fail(im->cli, (struct cw_fail){ .code = "IO", .object = im->file }, "%s: %s",
                       im->file, strerror(error));
}

/* ---- the file ---- */

/* What else images come in: a guest would find the container where its disk should be. */
static int
import_check_format(struct import *im)
{
    static const struct {
        const char *magic, *name;
    } formats[] = {
        { "QFI\xfb", "qcow2" }, { "KDMV", "vmdk" },    { "# Disk DescriptorFile", "vmdk" },
        { "vhdxfile", "vhdx" }, { "conectix", "vpc" }, { "<<< ", "vdi" },
    };
    char head[32] = "";

    if (pread(im->fd, head, sizeof(head) - 1, 0) < 0)
        return import_fail_file(im, errno);
    for (size_t i = 0; i < CW_LEN(formats); i++) {
        char hint[200];

        if (strncmp(head, formats[i].magic, strlen(formats[i].magic)) != 0)
            continue;
        snprintf(hint, sizeof(hint), "convert it first: qemu-img convert -O raw %.120s FILE.raw",
                 im->file);
        return cw_cli_fail(im->cli,
                           (struct cw_fail){ .code = "BAD_FILE", .object = im->file, .hint = hint },
                           "%s: is a %s image, not a raw one", im->file, formats[i].name);
    }
    return CW_ARGS_GO;
}

static int
import_open_file(struct import *im)
{
    struct stat st;

    im->fd = open(im->file, O_RDONLY | O_CLOEXEC);
    if (im->fd < 0 || fstat(im->fd, &st) != 0)
        return import_fail_file(im, errno);
    if (S_ISREG(st.st_mode))
        im->file_bytes = (uint64_t)st.st_size;
    else if (!S_ISBLK(st.st_mode) || ioctl(im->fd, BLKGETSIZE64, &im->file_bytes) != 0)
        return cw_cli_fail(im->cli, (struct cw_fail){ .code = "BAD_FILE", .object = im->file },
                           "%s: neither a file nor a block device", im->file);
    if (im->file_bytes == 0)
        return cw_cli_fail(im->cli, (struct cw_fail){ .code = "BAD_FILE", .object = im->file },
                           "%s: is empty", im->file);
    if (im->size_bytes == 0)
        im->size_bytes = cw_align_up(im->file_bytes, CW_BLOCK_SIZE);
    if (im->size_bytes < im->file_bytes)
        return cw_cli_usage(im->cli, im->cmd, "--size %llu is less than the file's %llu bytes",
                            (unsigned long long)im->size_bytes, (unsigned long long)im->file_bytes);
    return import_check_format(im);
}

/* The next stretch of the file that may hold data. False: none from `from` on. */
static bool
import_next_extent(const struct import *im, uint64_t from, uint64_t *ret_begin, uint64_t *ret_end)
{
    off_t begin = lseek(im->fd, (off_t)from, SEEK_DATA), end;

    if (begin < 0 && errno == ENXIO)
        return false;
    if (begin < 0) { /* no such thing on this file system or device: all of it may be data */
        *ret_begin = from;
        *ret_end = im->file_bytes;
        return from < im->file_bytes;
    }
    end = lseek(im->fd, begin, SEEK_HOLE);
    *ret_begin = cw_align_down((uint64_t)begin, CW_BLOCK_SIZE);
    *ret_end = end > begin ? cw_min_u64((uint64_t)end, im->file_bytes) : im->file_bytes;
    return *ret_begin < im->file_bytes;
}

/* Reads a piece and pads it with zeroes to whole blocks. 0 or an errno. */
static int
import_read(const struct import *im, struct cw_pump_slot *s)
{
    uint64_t got = 0, whole = cw_align_up(s->len, CW_BLOCK_SIZE);

    while (got < s->len) {
        ssize_t n = pread(im->fd, s->data + got, s->len - got, (off_t)(s->off + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return EIO; /* the file shrank under us */
        got += (uint64_t)n;
    }
    memset(s->data + got, 0, whole - got);
    s->len = whole;
    return 0;
}

/* ---- into the volume ---- */

/* A free slot whose last result was looked at; NULL: stop. */
static struct cw_pump_slot *
import_get(struct import *im, uint64_t done_bytes)
{
    struct cw_pump_slot *s = NULL;

    while (s == NULL && !cw_cli_interrupted() && im->res == 0) {
        s = cw_pump_get(&im->pump);
        cw_progress_step(&im->progress, done_bytes, im->file_bytes, cw_progress_now_ns());
    }
    if (s != NULL && s->used && s->res != 0) {
        im->res = s->res;
        im->fail_off = s->off;
    }
    if (s != NULL && im->res != 0) {
        s->used = false;
        cw_pump_put(&im->pump, s);
        s = NULL;
    }
    if (s != NULL)
        s->n_ios = 0;
    return s;
}

/* Writes the runs of the slot that hold anything. */
static void
import_submit(struct import *im, struct cw_pump_slot *s)
{
    uint64_t at = 0, len;

    for (; cw_zeroes_next_run(s->data, s->len, &at, &len); at += len) {
        cw_pump_add(s, CW_IO_WRITE, s->off + at, len);
        im->data_bytes += len;
    }
    if (s->n_ios > 0) {
        cw_pump_submit(s);
    } else {
        s->used = false;
        cw_pump_put(&im->pump, s);
    }
}

/* [begin, end) in pieces that end at multiples of their size. False: stop. */
static bool
import_extent(struct import *im, uint64_t begin, uint64_t end, int *ret_error)
{
    while (begin < end) {
        struct cw_pump_slot *s = import_get(im, begin);

        if (s == NULL)
            return false;
        s->off = begin;
        s->len = cw_min_u64(end, cw_align_down(begin, CW_PUMP_BYTES) + CW_PUMP_BYTES) - begin;
        begin += s->len;
        *ret_error = import_read(im, s);
        if (*ret_error != 0) {
            s->used = false;
            cw_pump_put(&im->pump, s);
            return false;
        }
        import_submit(im, s);
    }
    return true;
}

/* What the image does not say must read as zeroes. */
static bool
import_clear(struct import *im)
{
    for (uint64_t off = 0; off < im->vio.size_bytes; off += TRIM_BYTES) {
        struct cw_pump_slot *s = import_get(im, 0);

        if (s == NULL)
            return false;
        s->off = off;
        cw_pump_add(s, CW_IO_TRIM, off, cw_min_u64(TRIM_BYTES, im->vio.size_bytes - off));
        cw_pump_submit(s);
    }
    return cw_pump_drain(&im->pump, 60 * 1000);
}

/* The results of the last slots. */
static void
import_collect(struct import *im)
{
    for (uint32_t i = 0; i < CW_PUMP_SLOTS; i++) {
        const struct cw_pump_slot *s = &im->pump.slots[i];

        if (s->used && s->res != 0 && im->res == 0) {
            im->res = s->res;
            im->fail_off = s->off;
        }
    }
}

/* The last requests end, however long that takes, unless somebody asks for the end. */
static bool
import_drain(struct import *im)
{
    uint64_t begun = 0;

    while (!cw_pump_drain(&im->pump, 100)) {
        cw_progress_step(&im->progress, im->file_bytes, im->file_bytes, cw_progress_now_ns());
        if (!cw_cli_interrupted() && im->res == 0)
            continue;
        begun = begun == 0 ? cw_progress_now_ns() : begun;
        if (cw_progress_now_ns() - begun > DRAIN_MS * CW_NS_PER_MS)
            return false;
    }
    import_collect(im);
    return true;
}

/* What is reported as imported survives a power cut, whatever the policy acknowledges. */
static bool
import_flush(struct import *im)
{
    struct cw_pump_slot *s;

    if (cw_cli_interrupted() || im->res != 0 || (s = import_get(im, im->file_bytes)) == NULL)
        return true;
    cw_pump_add(s, CW_IO_FLUSH, s->off, 0);
    cw_pump_submit(s);
    return import_drain(im);
}

static int
import_ending(struct import *im, int file_error, bool drained)
{
    struct cw_fail why = { .code = "IO", .object = im->name };

    if (file_error != 0)
        return import_fail_file(im, file_error);
    if (im->res != 0)
        return cw_cli_fail(im->cli, why, "volume %s: writing at byte %llu: %s", im->name,
                           (unsigned long long)im->fail_off, cw_volio_error(im->res));
    if (!drained || cw_cli_interrupted()) {
        why.code = "INTERRUPTED";
        return cw_cli_fail(im->cli, why, "import of %s was interrupted", im->name);
    }
    return CW_ARGS_GO;
}

static int
import_pump(struct import *im)
{
    uint64_t at = 0, begin, end;
    int file_error = 0;
    bool drained;

    cw_pump_init(&im->pump, &im->vio);
    cw_progress_init(&im->progress, im->cli, "import", cw_progress_now_ns());
    if (im->created || import_clear(im)) {
        while (import_next_extent(im, at, &begin, &end) &&
               import_extent(im, begin, end, &file_error))
            at = end;
    }
    drained = import_drain(im) && import_flush(im);
    cw_progress_fini(&im->progress);
    if (drained)
        cw_pump_fini(&im->pump); /* else its slots are still the owner's: the program ends soon */
    return import_ending(im, file_error, drained);
}

/* ---- the volume ---- */

/* An existing volume is written only with --overwrite. */
static int
import_find(struct import *im, struct cw_remote *r, bool *ret_exists)
{
    Causeway__Control__VolumeLs body = CAUSEWAY__CONTROL__VOLUME_LS__INIT;
    cw_envelope *reply = cw_remote_call(r, CW_ASK(VOLUME_LS, volume_ls, &body),
                                        CW_WANT(VOLUME_LS_REPLY), CW_REMOTE_LS_MS);
    const cw_pb_volume *v = NULL;
    int status = CW_ARGS_GO;

    if (reply == NULL)
        return CW_EXIT_FAILED;
    for (size_t i = 0; i < reply->volume_ls_reply->n_volumes; i++) {
        if (strcmp(reply->volume_ls_reply->volumes[i]->name, im->name) == 0)
            v = reply->volume_ls_reply->volumes[i];
    }
    *ret_exists = v != NULL;
    if (v != NULL && !im->overwrite)
        status = cw_cli_fail(im->cli,
                             (struct cw_fail){ .code = "EXISTS",
                                               .object = im->name,
                                               .hint = "give --overwrite to write over it" },
                             "volume %s exists", im->name);
    else if (v != NULL && v->size_bytes < im->size_bytes)
        status = cw_cli_fail(im->cli,
                             (struct cw_fail){ .code = "TOO_SMALL",
                                               .object = im->name,
                                               .hint = "see: causeway volume resize --help" },
                             "volume %s has %llu bytes, the image needs %llu", im->name,
                             (unsigned long long)v->size_bytes, (unsigned long long)im->size_bytes);
    cw_envelope_free(reply);
    return status;
}

static int
import_create(struct import *im, struct cw_remote *r)
{
    Causeway__Control__VolumeCreate body = CAUSEWAY__CONTROL__VOLUME_CREATE__INIT;
    cw_envelope *reply;

    body.name = (char *)im->name;
    body.size_bytes = im->size_bytes;
    body.policy = (char *)im->policy;
    reply = cw_remote_call(r, CW_ASK(VOLUME_CREATE, volume_create, &body), CW_WANT(VOLUME_INFO),
                           CW_REMOTE_DO_MS);
    im->created = reply != NULL;
    cw_envelope_free(reply);
    return im->created ? CW_ARGS_GO : CW_EXIT_FAILED;
}

/* A volume that holds half an image is no volume that anybody asked for. */
static void
import_uncreate(struct import *im)
{
    Causeway__Control__VolumeRm body = CAUSEWAY__CONTROL__VOLUME_RM__INIT;

    body.name = (char *)im->name;
    body.now = true;
    cw_remote_do(im->cli, CW_ASK(VOLUME_RM, volume_rm, &body));
}

static int
import_prepare(struct import *im)
{
    bool exists = false;
    int status;
    struct cw_remote *r = cw_remote_new(im->cli, &status);

    if (r == NULL)
        return status;
    status = import_find(im, r, &exists);
    if (status == CW_ARGS_GO && !exists)
        status = import_create(im, r);
    cw_remote_free(r);
    return status;
}

static int
import_print(struct import *im, uint64_t took_ns)
{
    char size[CW_TEXT_SIZE], data[CW_TEXT_SIZE], rate[CW_TEXT_SIZE];
    double seconds = (double)took_ns / 1e9;

    if (im->cli->json)
        return cw_out_json(im->cli,
                           json_pack("{s:{s:s,s:s,s:I,s:I,s:I,s:f}}", "import", "volume", im->name,
                                     "file", im->file, "size_bytes", (json_int_t)im->size_bytes,
                                     "file_bytes", (json_int_t)im->file_bytes, "data_bytes",
                                     (json_int_t)im->data_bytes, "took_seconds", seconds));
    fprintf(im->cli->out, "volume %s: %s imported from %s, %s of data, %.1f s, %s\n", im->name,
            cw_text_size(im->size_bytes, size), im->file, cw_text_size(im->data_bytes, data),
            seconds, cw_text_rate((double)im->file_bytes / seconds, rate));
    return CW_EXIT_OK;
}

static int
import_go(struct import *im)
{
    uint64_t begun = cw_progress_now_ns();
    int status = import_open_file(im);

    if (status == CW_ARGS_GO)
        status = import_prepare(im);
    if (status != CW_ARGS_GO)
        return status;
    cw_cli_catch_signals();
    status = cw_volio_open(&im->vio, im->cli, im->name, im->force);
    if (status == CW_ARGS_GO) {
        status = import_pump(im);
        cw_volio_close(&im->vio);
    }
    if (status != CW_ARGS_GO && im->created)
        import_uncreate(im);
    return status == CW_ARGS_GO ? import_print(im, cw_progress_now_ns() - begun) : status;
}

int
cw_import_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct import im = { .cli = cli, .cmd = cmd, .policy = "", .fd = -1 };
    const struct cw_opt opts[] = {
        { "policy", 'p', CW_OPT_TEXT, &im.policy, "NAME", "of the new volume" },
        { "size", 's', CW_OPT_SIZE, &im.size_bytes, "SIZE",
          "of the new volume, if larger than the file" },
        { "overwrite", 0, CW_OPT_FLAG, &im.overwrite, NULL, "into a volume that exists" },
        { "force", 0, CW_OPT_FLAG, &im.force, NULL,
          "take the volume over now, also from an owner that is alive" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 2, .n_max = 2 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO ||
        (status = cw_volume_check_name(cli, cmd, a.operand[0])) != CW_ARGS_GO)
        return status;
    if (im.size_bytes != 0 &&
        (status = cw_volume_check_size(cli, cmd, im.size_bytes)) != CW_ARGS_GO)
        return status;
    im.name = a.operand[0];
    im.file = a.operand[1];
    status = import_go(&im);
    if (im.fd >= 0)
        close(im.fd);
    return status;
}
