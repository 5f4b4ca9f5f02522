/* admin/metadata.c - what the manager remembers: how it is kept, and all of it in one file.
 *
 * The file is that of `causeway-store metadata export`, and checked by its import; here the bytes
 * only pass, from the manager or from a daemon that keeps a backup for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/publish.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "common/base/addr.h"
#include "common/base/bits.h"
#include "common/shape/payload.h"

typedef Causeway__Control__MetadataPart part;

#define FILE_MAX_BYTES (4 * CW_GIB)

/* ---- show ---- */

static void
show_place(FILE *out, const char *left, const Causeway__Control__MetadataPlace *p)
{
    char age[CW_TEXT_SIZE];

    fprintf(out, "%-10s %s/%s  ", left, p->site, p->host);
    if (p->epoch == 0)
        fputs("none yet", out);
    else
        fprintf(out, "epoch %llu, made %s ago", (unsigned long long)p->epoch,
                cw_text_seconds(p->age_s, age));
    fprintf(out, "%s%s\n", p->current ? ", as it is now" : "; ", p->why);
}

static void
show_print(struct cw_cli *cli, const cw_pb_metadata *m)
{
    char size[CW_TEXT_SIZE];

    fprintf(cli->out, "cluster    %s\nmetadata   %s, at the manager %s\n", m->cluster, m->metadata,
            m->manager);
    fprintf(cli->out, "holds      epoch %llu, %llu volumes, %llu records, %s\n",
            (unsigned long long)m->epoch, (unsigned long long)m->volumes,
            (unsigned long long)m->records, cw_text_size(m->size_bytes, size));
    if (m->restored[0] != '\0')
        fprintf(cli->out, "restored   at %s, from a backup of epoch %llu\n", m->restored,
                (unsigned long long)m->restored_epoch);
    for (size_t i = 0; i < m->n_backups; i++)
        show_place(cli->out, i == 0 ? "backups" : "", m->backups[i]);
    if (m->n_backups == 0)
        fprintf(cli->out, "backups    %s\n",
                m->backed_up ? "none: no host can keep one" : "none: etcd keeps its own copies");
}

static int
metadata_show(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__MetadataShow body = CAUSEWAY__CONTROL__METADATA_SHOW__INIT;
    struct cw_args a = { 0 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    reply = cw_remote_ask(cli, CW_ASK(METADATA_SHOW, metadata_show, &body),
                          CW_WANT(METADATA_SHOW_REPLY), CW_REMOTE_LS_MS, &status);
    if (reply == NULL)
        return status;
    if (cli->json)
        status = cw_out_json(cli, cw_payload_metadata(reply->metadata_show_reply));
    else
        show_print(cli, reply->metadata_show_reply);
    cw_envelope_free(reply);
    return status;
}

/* ---- a file, part by part ---- */

struct save {
    struct cw_cli *cli;
    const char *file, *from;
    bool kept, force;
    char part[PATH_MAX];
    int fd;
    uint64_t serial, offset, total;
    Causeway__Control__MetadataKept of;
};

static int
save_fail(struct save *s, int err)
{
    return cw_cli_fail(
        s->cli,
        (struct cw_fail){ .code = err == EEXIST ? "EXISTS" : "CANNOT_WRITE",
                          .object = s->file,
                          .hint = err == EEXIST ? "name another file, or replace it with --force"
                                                : NULL },
        "%s: %s", s->file, err == EEXIST ? "is there already" : strerror(err));
}

static int
save_open(struct save *s)
{
    int n = snprintf(s->part, sizeof(s->part), "%s.part", s->file);

    if (n < 0 || (size_t)n >= sizeof(s->part))
        return save_fail(s, ENAMETOOLONG);
    if (!s->force && access(s->file, F_OK) == 0)
        return save_fail(s, EEXIST);
    s->fd = open(s->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return s->fd >= 0 ? CW_ARGS_GO : save_fail(s, errno);
}

static int
save_write(struct save *s, const part *p)
{
    size_t at = 0;

    while (at < p->data.len) {
        ssize_t n = write(s->fd, p->data.data + at, p->data.len - at);

        if (n < 0 && errno != EINTR)
            return save_fail(s, errno);
        at += n > 0 ? (size_t)n : 0;
    }
    return CW_ARGS_GO;
}

/* One part more. What does not fit to the parts before is somebody's error, never written on. */
static int
save_part(struct save *s, struct cw_remote *r)
{
    Causeway__Control__MetadataRead body = CAUSEWAY__CONTROL__METADATA_READ__INIT;
    cw_envelope *reply;
    const part *p;
    int status;

    body.kept = s->kept;
    body.serial = s->serial;
    body.offset = s->offset;
    reply = cw_remote_call(r, CW_ASK(METADATA_READ, metadata_read, &body), CW_WANT(METADATA_PART),
                           CW_REMOTE_DO_MS);
    if (reply == NULL)
        return CW_EXIT_FAILED;
    p = reply->metadata_part;
    if (s->offset == 0) {
        s->serial = p->serial;
        s->total = p->total_bytes;
        if (p->of != NULL)
            s->of = *p->of;
    }
    if (p->data.len == 0 || p->serial != s->serial || p->total_bytes != s->total ||
        s->total > FILE_MAX_BYTES || p->data.len > s->total - s->offset)
        status = cw_cli_fail(s->cli, (struct cw_fail){ .code = "INTERNAL", .object = s->from },
                             "%s: the parts of its answer do not fit together", s->from);
    else
        status = save_write(s, p);
    s->offset += p->data.len;
    cw_envelope_free(reply);
    return status;
}

static int
save_publish(struct save *s)
{
    int err;

    if (fsync(s->fd) != 0 || rename(s->part, s->file) != 0)
        return save_fail(s, errno);
    err = cw_sync_parent(s->file);
    return err == 0 ? CW_ARGS_GO : save_fail(s, err);
}

static int
save_print(struct save *s)
{
    char size[CW_TEXT_SIZE];

    if (s->cli->json)
        return cw_out_json(s->cli, cw_payload_metadata_saved(s->file, s->from, &s->of, s->total));
    fprintf(s->cli->out, "%s: the metadata of epoch %llu, %s, from %s\n", s->file,
            (unsigned long long)s->of.epoch, cw_text_size(s->total, size), s->from);
    return CW_EXIT_OK;
}

/* s->cli->cluster is who is asked. */
static int
save_run(struct save *s)
{
    int status = CW_ARGS_GO;
    struct cw_remote *r = cw_remote_new(s->cli, &status);

    if (r == NULL)
        return status;
    s->from = s->cli->cluster;
    status = save_open(s);
    if (status == CW_ARGS_GO) {
        do {
            status = save_part(s, r);
        } while (status == CW_ARGS_GO && s->offset < s->total);
        if (status == CW_ARGS_GO)
            status = save_publish(s);
        close(s->fd);
        if (status != CW_ARGS_GO)
            unlink(s->part);
    }
    cw_remote_free(r);
    return status == CW_ARGS_GO ? save_print(s) : status;
}

static int
metadata_export(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct save s = { .cli = cli };
    const struct cw_opt opts[] = {
        { "force", 0, CW_OPT_FLAG, &s.force, NULL, "replace FILE" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    s.file = a.operand[0];
    return save_run(&s);
}

/* ---- fetch ---- */

/* NULL: it keeps none, or does not answer. */
static cw_envelope *
fetch_look(const char *addr)
{
    Causeway__Control__MetadataRead body = CAUSEWAY__CONTROL__METADATA_READ__INIT;
    cw_envelope *reply;

    body.kept = true;
    reply = cw_remote_try(addr, CW_ASK(METADATA_READ, metadata_read, &body), CW_REMOTE_LS_MS);
    if (reply != NULL && reply->body_case == CW_WANT(METADATA_PART) &&
        reply->metadata_part->of != NULL)
        return reply;
    cw_envelope_free(reply);
    return NULL;
}

static bool
fetch_newer(const Causeway__Control__MetadataKept *a, const Causeway__Control__MetadataKept *b)
{
    if (a->restored_s != b->restored_s)
        return a->restored_s > b->restored_s;
    return a->epoch != b->epoch ? a->epoch > b->epoch : a->next_event > b->next_event;
}

/* Of all that answer the one that keeps the newest, in addr; 0: none does. */
static size_t
fetch_choose(struct cw_cli *cli, const char *from, char addr[static CW_ADDR_TEXT_SIZE])
{
    Causeway__Control__MetadataKept best = CAUSEWAY__CONTROL__METADATA_KEPT__INIT;
    size_t n = 0;

    while (*from != '\0') {
        size_t len = strcspn(from, ",");
        char one[CW_ADDR_TEXT_SIZE] = "";
        cw_envelope *reply;

        if (len < sizeof(one))
            memcpy(one, from, len);
        from += len + (from[len] == ',');
        reply = fetch_look(one);
        if (reply == NULL) {
            cw_cli_note(cli, "%s keeps no backup, or does not answer", one);
            continue;
        }
        if (n++ == 0 || fetch_newer(reply->metadata_part->of, &best)) {
            best = *reply->metadata_part->of;
            memcpy(addr, one, sizeof(one));
        }
        cw_envelope_free(reply);
    }
    return n;
}

static int
metadata_fetch(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct save s = { .cli = cli, .kept = true };
    const char *from = NULL;
    const struct cw_opt opts[] = {
        { "from", 0, CW_OPT_TEXT, &from, "ADDR:PORT[,..]", "the daemons to ask, not the manager" },
        { "force", 0, CW_OPT_FLAG, &s.force, NULL, "replace FILE" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    char addr[CW_ADDR_TEXT_SIZE];

    if (status != CW_ARGS_GO)
        return status;
    if (from == NULL || from[0] == '\0')
        return cw_cli_usage(cli, cmd, "--from: which daemons? (their --listen)");
    if (fetch_choose(cli, from, addr) == 0)
        return cw_cli_fail(cli,
                           (struct cw_fail){ .code = "NOT_FOUND",
                                             .object = from,
                                             .hint =
                                                 "ask the other daemons; else see causeway-store "
                                                 "rebuild-metadata" },
                           "%s: no daemon there keeps a backup of the metadata", from);
    cli->cluster = addr;
    s.file = a.operand[0];
    return save_run(&s);
}

/* ---- import ---- */

static int
metadata_import(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    char hint[PATH_MAX + 256];

    if (status != CW_ARGS_GO)
        return status;
    snprintf(hint, sizeof(hint),
             "stop the manager (with etcd: every daemon), then run where the store is: "
             "causeway-store metadata import --from %s --to lmdb:DIR or etcd:URL[,URL..]",
             a.operand[0]);
    return cw_cli_fail(cli,
                       (struct cw_fail){ .code = "NOT_HERE", .object = a.operand[0], .hint = hint },
                       "a running manager cannot be given other metadata");
}

const struct cw_cmd cw_cmds_metadata[] = {
    { "metadata show", "", "what the manager remembers, and where backups of it are",
      "With LMDB the records are in one directory, and the manager sends a backup of them to two\n"
      "hosts, as far apart as there are any, some seconds after each change. With etcd its "
      "members\n"
      "are the copies.\n\n"
      "If the directory is lost:\n"
      "  causeway metadata fetch cluster.meta --from HOST1:PORT,HOST2:PORT,..\n"
      "  causeway-store metadata import --from cluster.meta --to lmdb:DIR\n"
      "and start the manager on it, where it was.\n",
      metadata_show },
    { "metadata export", "FILE [--force]", "all that the manager remembers, into a file",
      "Reads one state of the records from the running manager. The file checks itself; it is put\n"
      "back by causeway-store metadata import. To move a cluster to another store, stop the "
      "manager\n"
      "first and use causeway-store metadata export: what a manager changes after an export is "
      "not\n"
      "in it.\n\n"
      "  causeway metadata export cluster.meta\n",
      metadata_export },
    { "metadata fetch", "FILE --from ADDR:PORT[,..] [--force]",
      "the backup of the metadata that daemons keep, into a file",
      "For when the manager and its directory are gone. Name the --listen address of every "
      "daemon:\n"
      "the newest backup of those that answer is taken. A daemon keeps it beside its first store\n"
      "(PATH.metadata; for a block device in /var/lib/causeway), from where it can be copied "
      "too.\n\n"
      "  causeway metadata fetch cluster.meta --from 10.0.0.1:7000,10.0.0.2:7000\n"
      "  causeway-store metadata import --from cluster.meta --to lmdb:/var/lib/causeway\n",
      metadata_fetch },
    { "metadata import", "FILE", "how such a file becomes a cluster's metadata again",
      "Done with causeway-store, where the store is, while no manager has it: this says how.\n\n"
      "  causeway-store metadata import --from FILE --to lmdb:DIR\n"
      "  causeway-store metadata import --from FILE --to etcd:URL[,URL..]\n",
      metadata_import },
    { 0 },
};
