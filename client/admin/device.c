/* admin/device.c - volume attach, detach, mount, unmount: volumes as devices of this host.
 *
 * causeway-device makes and keeps a device; file systems are made and mounted by the system's own
 * programs, with what they say.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/tool.h"
#include "client/admin/volume.h"
#include "client/device/attachment.h"
#include "client/device/inuse.h"

#define BLKID_NOTHING 2

/* ---- what other programs say ---- */

/* "causeway-device: volume v: CODE: text" is ours to say once more, in our own way. */
static int
device_fail(struct cw_cli *cli, const char *volume, const struct cw_tool_result *r)
{
    const char *line = strrchr(r->err, '\n'), *text;
    char prefix[128], code[64] = "";
    struct cw_fail why;
    size_t n;

    line = line != NULL ? line + 1 : r->err;
    snprintf(prefix, sizeof(prefix), "causeway-device: volume %s: ", volume);
    text = strncmp(line, prefix, strlen(prefix)) == 0 ? line + strlen(prefix) : line;
    n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
    if (n > 2 && n < sizeof(code) && text[n] == ':') {
        memcpy(code, text, n);
        code[n] = '\0';
        text += n + 1 + strspn(text + n + 1, " ");
    }
    why = (struct cw_fail){ .code = code[0] != '\0' ? code : NULL, .object = volume };
    if (strncmp(text, "volume ", 7) == 0) /* it names it by itself */
        return cw_cli_fail(cli, why, "%s", text);
    return cw_cli_fail(cli, why, "volume %s: %s", volume,
                       text[0] != '\0' ? text : "causeway-device failed without a word");
}

static int
tool_fail(struct cw_cli *cli, const char *volume, const char *doing, const char *object,
          const struct cw_tool_result *r, const char *hint)
{
    const char *text = r->err[0] != '\0' ? r->err : r->out;

    return cw_cli_fail(cli, (struct cw_fail){ .object = volume, .hint = hint },
                       "volume %s: cannot %s %s: %.400s", volume, doing, object,
                       text[0] != '\0' ? text : "it failed without a word");
}

static int
root_check(struct cw_cli *cli, const char *volume)
{
    if (geteuid() == 0)
        return CW_ARGS_GO;
    return cw_cli_fail(cli,
                       (struct cw_fail){ .code = "NOT_ALLOWED",
                                         .object = volume,
                                         .hint = "run it with sudo, or serve the volume with "
                                                 "causeway-nbd, which needs no root" },
                       "volume %s: only root has block devices", volume);
}

static int
ours_find(struct cw_cli *cli, const char *volume, char ret[static PATH_MAX])
{
    if (cw_tool_ours("causeway-device", "../device/causeway-device", ret))
        return CW_ARGS_GO;
    return cw_cli_fail(cli, (struct cw_fail){ .object = volume },
                       "volume %s: causeway-device is neither beside this program nor in PATH",
                       volume);
}

static int
theirs_find(struct cw_cli *cli, const char *volume, const char *name, const char *package,
            char ret[static PATH_MAX])
{
    char hint[128];

    if (cw_tool_find(name, ret))
        return CW_ARGS_GO;
    snprintf(hint, sizeof(hint), "install the package %s", package);
    return cw_cli_fail(cli, (struct cw_fail){ .object = volume, .hint = hint },
                       "volume %s: there is no program %s", volume, name);
}

/* ---- attach, detach ---- */

struct attach {
    const char *volume;
    bool read_only, force;
    const char *block_bytes; /* NULL: as causeway-device says */
    const char *domain;
};

static int
device_attach(struct cw_cli *cli, const struct attach *a, char ret[static CW_LOOP_NAME_SIZE])
{
    char program[PATH_MAX];
    struct cw_tool_result r;
    const char *argv[16] = { program,   "--background", "--volume",
                             a->volume, "--cluster",    cli->cluster };
    int n = 6, status;

    if (cli->cluster == NULL)
        return cw_cli_no_cluster(cli);
    if ((status = root_check(cli, a->volume)) != CW_ARGS_GO ||
        (status = ours_find(cli, a->volume, program)) != CW_ARGS_GO)
        return status;
    if (a->read_only)
        argv[n++] = "--read-only";
    if (a->force)
        argv[n++] = "--force";
    if (a->block_bytes != NULL) {
        argv[n++] = "--block-size";
        argv[n++] = a->block_bytes;
    }
    if (a->domain != NULL) {
        argv[n++] = "--domain";
        argv[n++] = a->domain;
    }
    cw_tool_run(argv, &r);
    if (r.status != 0)
        return device_fail(cli, a->volume, &r);
    snprintf(ret, CW_LOOP_NAME_SIZE, "%.31s", r.out);
    return CW_ARGS_GO;
}

static int
device_detach(struct cw_cli *cli, const char *volume)
{
    char program[PATH_MAX];
    struct cw_tool_result r;
    const char *argv[] = { program, "--detach", "--volume", volume, NULL };
    int status;

    if ((status = root_check(cli, volume)) != CW_ARGS_GO ||
        (status = ours_find(cli, volume, program)) != CW_ARGS_GO)
        return status;
    cw_tool_run(argv, &r);
    return r.status == 0 ? CW_ARGS_GO : device_fail(cli, volume, &r);
}

static int
block_size_check(struct cw_cli *cli, const struct cw_cmd *cmd, const char *text)
{
    if (text == NULL || strcmp(text, "512") == 0 || strcmp(text, "4096") == 0)
        return CW_ARGS_GO;
    return cw_cli_usage(cli, cmd, "--block-size is 512 or 4096, not %s", text);
}

static int
attach_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct attach at = { 0 };
    bool device = false;
    const struct cw_opt opts[] = {
        { "device", 0, CW_OPT_FLAG, &device, NULL,
          "as a block device of this host; its path is printed" },
        { "read-only", 0, CW_OPT_FLAG, &at.read_only, NULL, "nothing can be written to it" },
        { "block-size", 0, CW_OPT_TEXT, &at.block_bytes, "N",
          "what it calls a sector, 512 (default, as for virtual machines) or 4096" },
        { "force", 0, CW_OPT_FLAG, &at.force, NULL,
          "take the volume over, also from an owner that is alive" },
        { "domain", 0, CW_OPT_TEXT, &at.domain, "D",
          "where this host is; default: that of a daemon on it" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    char path[CW_LOOP_NAME_SIZE];

    if (status != CW_ARGS_GO)
        return status;
    if (!device)
        return cw_cli_usage(cli, cmd,
                            "--device is missing; other ways in are programs of their own: "
                            "causeway-nbd, causeway-vhost");
    at.volume = a.operand[0];
    if ((status = cw_volume_check_name(cli, cmd, at.volume)) != CW_ARGS_GO ||
        (status = block_size_check(cli, cmd, at.block_bytes)) != CW_ARGS_GO ||
        (status = device_attach(cli, &at, path)) != CW_ARGS_GO)
        return status;
    if (cli->json)
        return cw_out_json(cli, json_pack("{s:{s:s,s:s,s:b}}", "attachment", "volume", at.volume,
                                          "device", path, "read_only", (int)at.read_only));
    fprintf(cli->out, "%s\n", path);
    return CW_EXIT_OK;
}

/* What ended, for programs and people. */
static int
ended_print(struct cw_cli *cli, const char *what, const char *volume)
{
    if (cli->json)
        return cw_out_json(cli, json_pack("{s:s}", what, volume));
    fprintf(cli->out, "volume %s %s\n", volume, what);
    return CW_EXIT_OK;
}

static int
detach_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO ||
        (status = cw_volume_check_name(cli, cmd, a.operand[0])) != CW_ARGS_GO ||
        (status = device_detach(cli, a.operand[0])) != CW_ARGS_GO)
        return status;
    return ended_print(cli, "detached", a.operand[0]);
}

/* ---- mount ---- */

struct mount_cmd {
    struct attach attach;
    const char *dir, *mkfs, *options;
    char device[CW_LOOP_NAME_SIZE];
    bool attached; /* by us */
};

/* Only what is blank gets a file system. */
static int
blank_check(struct cw_cli *cli, const struct mount_cmd *m)
{
    char program[PATH_MAX], hint[160];
    struct cw_tool_result r;
    const char *argv[] = { program, "-p", "-o", "export", m->device, NULL };
    const char *type;
    int status = theirs_find(cli, m->attach.volume, "blkid", "util-linux", program);

    if (status != CW_ARGS_GO)
        return status;
    cw_tool_run(argv, &r);
    if (r.status == BLKID_NOTHING)
        return CW_ARGS_GO;
    type = strstr(r.out, "TYPE=");
    snprintf(hint, sizeof(hint),
             "to mount what is there leave out --mkfs; to lose it: causeway volume attach %s "
             "--device, then wipefs -a",
             m->attach.volume);
    return cw_cli_fail(cli, (struct cw_fail){ .object = m->attach.volume, .hint = hint },
                       "volume %s: it is not blank (%.*s), and no file system is made over it",
                       m->attach.volume, type != NULL ? (int)strcspn(type, "\n") : 7,
                       type != NULL ? type : "unknown");
}

static int
mkfs(struct cw_cli *cli, const struct mount_cmd *m)
{
    bool xfs = strcmp(m->mkfs, "xfs") == 0;
    char program[PATH_MAX];
    struct cw_tool_result r;
    /* In the volume's blocks of 4 KiB, whatever the device calls a sector. */
    const char *ext4_argv[] = { program, "-q", "-b", "4096", m->device, NULL };
    const char *xfs_argv[] = { program, "-q", "-s", "size=4096", m->device, NULL };
    int status = blank_check(cli, m);

    if (status != CW_ARGS_GO ||
        (status = theirs_find(cli, m->attach.volume, xfs ? "mkfs.xfs" : "mkfs.ext4",
                              xfs ? "xfsprogs" : "e2fsprogs", program)) != CW_ARGS_GO)
        return status;
    cw_tool_run(xfs ? xfs_argv : ext4_argv, &r);
    return r.status == 0
               ? CW_ARGS_GO
               : tool_fail(cli, m->attach.volume, "make a file system on", m->device, &r, NULL);
}

static int
mount_it(struct cw_cli *cli, const struct mount_cmd *m)
{
    char program[PATH_MAX];
    struct cw_tool_result r;
    const char *argv[8] = { program };
    char options[256];
    int n = 1, status = theirs_find(cli, m->attach.volume, "mount", "mount", program);

    if (status != CW_ARGS_GO)
        return status;
    if (m->options != NULL || m->attach.read_only) {
        snprintf(options, sizeof(options), "%s%s%s", m->attach.read_only ? "ro" : "",
                 m->attach.read_only && m->options != NULL ? "," : "",
                 m->options != NULL ? m->options : "");
        argv[n++] = "-o";
        argv[n++] = options;
    }
    argv[n++] = m->device;
    argv[n] = m->dir;
    cw_tool_run(argv, &r);
    if (r.status == 0)
        return CW_ARGS_GO;
    return tool_fail(cli, m->attach.volume, "mount it on", m->dir, &r,
                     m->mkfs == NULL ? "a volume that is blank gets a file system with --mkfs"
                                     : NULL);
}

/* A device that is there and not in use is mounted as it is. */
static int
mount_device(struct cw_cli *cli, struct mount_cmd *m)
{
    struct cw_attachment there;
    char who[CW_INUSE_SIZE];
    int status;

    if (cw_attachment_is_kept(m->attach.volume) &&
        cw_attachment_read(m->attach.volume, &there) == 0 && there.device[0] != '\0') {
        if (cw_inuse_device(there.device, who))
            return cw_cli_fail(
                cli, (struct cw_fail){ .code = "VOLUME_IN_USE", .object = m->attach.volume },
                "volume %s: it is attached to this host as %s, which is in use: %s",
                m->attach.volume, there.device, who);
        snprintf(m->device, sizeof(m->device), "%s", there.device);
        return CW_ARGS_GO;
    }
    status = device_attach(cli, &m->attach, m->device);
    m->attached = status == CW_ARGS_GO;
    return status;
}

static int
dir_check(struct cw_cli *cli, const char *volume, const char *dir)
{
    struct stat st;

    if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
        return CW_ARGS_GO;
    return cw_cli_fail(cli, (struct cw_fail){ .object = volume, .hint = "make it first: mkdir -p" },
                       "volume %s: %s is no directory", volume, dir);
}

static int
mount_do(struct cw_cli *cli, struct mount_cmd *m)
{
    int status = mount_device(cli, m);

    if (status == CW_ARGS_GO && m->mkfs != NULL)
        status = mkfs(cli, m);
    if (status == CW_ARGS_GO)
        status = mount_it(cli, m);
    if (status != CW_ARGS_GO && m->attached)
        (void)device_detach(cli, m->attach.volume);
    return status;
}

static int
mount_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct mount_cmd m = { 0 };
    const struct cw_opt opts[] = {
        { "mkfs", 0, CW_OPT_TEXT, &m.mkfs, "TYPE",
          "make a file system first, ext4 or xfs; refused if the volume is not blank" },
        { "options", 'o', CW_OPT_TEXT, &m.options, "LIST", "options of mount(8)" },
        { "read-only", 0, CW_OPT_FLAG, &m.attach.read_only, NULL,
          "nothing can be written to the volume" },
        { "block-size", 0, CW_OPT_TEXT, &m.attach.block_bytes, "N",
          "what its device calls a sector, 512 (default) or 4096" },
        { "force", 0, CW_OPT_FLAG, &m.attach.force, NULL,
          "take the volume over, also from an owner that is alive" },
        { "domain", 0, CW_OPT_TEXT, &m.attach.domain, "D",
          "where this host is; default: that of a daemon on it" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 2, .n_max = 2 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    if (m.mkfs != NULL && strcmp(m.mkfs, "ext4") != 0 && strcmp(m.mkfs, "xfs") != 0)
        return cw_cli_usage(cli, cmd, "--mkfs is ext4 or xfs, not %s", m.mkfs);
    if (m.mkfs != NULL && m.attach.read_only)
        return cw_cli_usage(cli, cmd, "--mkfs writes, and --read-only forbids it");
    m.attach.volume = a.operand[0];
    m.dir = a.operand[1];
    if ((status = cw_volume_check_name(cli, cmd, m.attach.volume)) != CW_ARGS_GO ||
        (status = block_size_check(cli, cmd, m.attach.block_bytes)) != CW_ARGS_GO ||
        (status = root_check(cli, m.attach.volume)) != CW_ARGS_GO ||
        (status = dir_check(cli, m.attach.volume, m.dir)) != CW_ARGS_GO ||
        (status = mount_do(cli, &m)) != CW_ARGS_GO)
        return status;
    if (cli->json)
        return cw_out_json(cli, json_pack("{s:{s:s,s:s,s:s}}", "mount", "volume", m.attach.volume,
                                          "device", m.device, "directory", m.dir));
    fprintf(cli->out, "volume %s mounted on %s, as %s\n", m.attach.volume, m.dir, m.device);
    return CW_EXIT_OK;
}

/* ---- unmount ---- */

static int
unmount_one(struct cw_cli *cli, const char *volume, const char *at)
{
    char program[PATH_MAX], who[CW_INUSE_SIZE], hint[CW_INUSE_SIZE + 32];
    struct cw_tool_result r;
    const char *argv[] = { program, at, NULL };
    int status = theirs_find(cli, volume, "umount", "mount", program);

    if (status != CW_ARGS_GO)
        return status;
    cw_tool_run(argv, &r);
    if (r.status == 0)
        return CW_ARGS_GO;
    if (cw_inuse_mount(at, who))
        snprintf(hint, sizeof(hint), "it is in use: %s", who);
    return tool_fail(cli, volume, "unmount it from", at, &r, who[0] != '\0' ? hint : NULL);
}

static int
unmount_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv), n = 0;
    const char *volume;
    struct cw_attachment there;
    char at[PATH_MAX];

    if (status != CW_ARGS_GO)
        return status;
    volume = a.operand[0];
    if ((status = cw_volume_check_name(cli, cmd, volume)) != CW_ARGS_GO ||
        (status = root_check(cli, volume)) != CW_ARGS_GO)
        return status;
    if (cw_attachment_read(volume, &there) != 0)
        return cw_cli_fail(cli, (struct cw_fail){ .code = "NOT_FOUND", .object = volume },
                           "volume %s: it is not attached to this host as a device", volume);
    for (; cw_inuse_mounted_at(there.device, 0, at); n++) {
        status = unmount_one(cli, volume, at);
        if (status != CW_ARGS_GO)
            return status;
    }
    if (n == 0)
        cw_cli_note(cli, "volume %s: %s was not mounted", volume, there.device);
    status = device_detach(cli, volume);
    return status == CW_ARGS_GO ? ended_print(cli, "unmounted", volume) : status;
}

const struct cw_cmd cw_cmds_device[] = {
    { "volume attach", "NAME --device", "make it a block device of this host, and print its path",
      "The device stays until `causeway volume detach`, also as the link /dev/causeway/NAME. It\n"
      "goes on when the process behind it is killed: another takes over, requests wait\n"
      "meanwhile. Discards give space back (fstrim), a flush waits for the media, and the device\n"
      "grows with the volume. Needs root, FUSE and a loop device.\n\n"
      "Other ways in are programs of their own: causeway-nbd, causeway-vhost.\n\n"
      "example: causeway volume attach vm1 --device\n",
      attach_run },
    { "volume detach", "NAME", "end its device on this host",
      "Refused while the device is in use, with by whom. Takes away what a device whose\n"
      "processes were killed has left behind, too.\n",
      detach_run },
    { "volume mount", "NAME DIR", "attach it to this host as a device, and mount that",
      "A volume that is attached to this host already and not in use is mounted as it is.\n\n"
      "example: causeway volume mount vm1 /srv/vm1 --mkfs xfs\n"
      "         causeway volume unmount vm1\n",
      mount_run },
    { "volume unmount", "NAME", "unmount it wherever it is mounted on this host, and detach it",
      "Refused while files of it are in use, with by whom.\n", unmount_run },
    { 0 },
};
