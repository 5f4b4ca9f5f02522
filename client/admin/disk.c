/* admin/disk.c - stores, wherever they are: how they are, and why. */
#include <string.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "common/base/bits.h"
#include "common/shape/payload.h"

static cw_envelope *
disk_ask(struct cw_cli *cli, int *ret_status)
{
    Causeway__Control__HostLs body = CAUSEWAY__CONTROL__HOST_LS__INIT;

    return cw_remote_ask(cli, CW_ASK(HOST_LS, host_ls, &body), CW_WANT(HOST_LS_REPLY),
                         CW_REMOTE_LS_MS, ret_status);
}

/* Of what it may hold: that is what the thresholds are about. */
static char *
disk_used(const cw_pb_disk *d, char text[static CW_TEXT_SIZE])
{
    return cw_text_percent(d->used_bytes, d->used_bytes + d->free_bytes, text);
}

static const char *
disk_why(const cw_pb_disk *d)
{
    if (d->removed)
        return "not used; causeway disk add takes it back";
    return d->why[0] != '\0' ? d->why : d->quarantined_why;
}

static void
disk_row(struct cw_table *t, const cw_pb_host *h, const cw_pb_disk *d)
{
    char size[CW_TEXT_SIZE], used[CW_TEXT_SIZE], shards[CW_TEXT_SIZE], p99[CW_TEXT_SIZE];

    cw_table_row(t, (const char *[]){ h->domain != NULL ? h->domain->site : "", h->name, d->name,
                                      cw_shape_disk_state(h, d), cw_text_size(d->size_bytes, size),
                                      disk_used(d, used), cw_text_u64(d->shards, shards),
                                      cw_text_latency(d->write_p99_ns, p99), disk_why(d) });
}

static int
disk_print_table(struct cw_cli *cli, const cw_pb_hosts *ls)
{
    static const char *const columns[] = { "SITE",  "HOST",    "DISK",       "STATE", ">SIZE",
                                           ">USED", ">SHARDS", ">WRITE-P99", "WHY" };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));

    for (size_t i = 0; i < ls->n_hosts; i++) {
        for (size_t k = 0; k < ls->hosts[i]->n_disks; k++)
            disk_row(t, ls->hosts[i], ls->hosts[i]->disks[k]);
    }
    return cw_table_print(t);
}

static int
disk_ls(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { 0 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    reply = disk_ask(cli, &status);
    if (reply == NULL)
        return status;
    status = cli->json ? cw_out_json(cli, cw_payload_disks(reply->host_ls_reply))
                       : disk_print_table(cli, reply->host_ls_reply);
    cw_envelope_free(reply);
    return status;
}

static int
disk_print_one(struct cw_cli *cli, const cw_pb_host *h, const cw_pb_disk *d)
{
    char a[CW_TEXT_SIZE], b[CW_TEXT_SIZE], c[CW_TEXT_SIZE];

    if (cli->json)
        return cw_out_json(cli, cw_payload_disk(h, d));
    fprintf(cli->out, "disk      %s/%s, %s%s%s\n", h->name, d->name, cw_shape_disk_state(h, d),
            disk_why(d)[0] != '\0' ? ": " : "", disk_why(d));
    fprintf(cli->out, "space     %s, %s of what it may hold is used, %s free\n",
            cw_text_size(d->size_bytes, a), disk_used(d, b), cw_text_size(d->free_bytes, c));
    fprintf(cli->out, "copies    %llu\nerrors    %llu checksums, %llu I/O\n",
            (unsigned long long)d->shards, (unsigned long long)d->csum_errors,
            (unsigned long long)d->io_errors);
    fprintf(cli->out, "writes    p99 %s; since the start %s, of it %s moved by cleaning\n",
            cw_text_latency(d->write_p99_ns, a), cw_text_size(d->logged_bytes, b),
            cw_text_size(d->cleaned_bytes, c));
    fprintf(cli->out, "packed    %s into %s since the start\n", cw_text_size(d->packed_bytes, a),
            cw_text_size(d->packed_to_bytes, b));
    fprintf(cli->out, "layers    %llu\nstart     took %s, %llu batches replayed\n",
            (unsigned long long)d->layers, cw_text_latency(d->start_ns, a),
            (unsigned long long)d->start_batches);
    fprintf(cli->out, "memory    map cache %s, tables %s\ndiscarded %s\n",
            cw_text_size(d->cache_bytes, a), cw_text_size(d->table_bytes, b),
            cw_text_size(d->discarded_bytes, c));
    return CW_EXIT_OK;
}

static int
disk_print_found(struct cw_cli *cli, const cw_pb_hosts *ls, const char *path)
{
    const cw_pb_host *h;
    const cw_pb_disk *d = cw_shape_find_disk(ls, path, &h);

    if (d != NULL)
        return disk_print_one(cli, h, d);
    return cw_cli_fail(
        cli,
        (struct cw_fail){ .code = "NOT_FOUND", .object = path, .hint = "see: causeway disk ls" },
        "disk %s: no such disk", path);
}

static int
disk_show(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    reply = disk_ask(cli, &status);
    if (reply == NULL)
        return status;
    status = disk_print_found(cli, reply->host_ls_reply, a.operand[0]);
    cw_envelope_free(reply);
    return status;
}

const struct cw_cmd cw_cmds_disk[] = {
    { "disk ls", "", "stores by host: state, space, copies, and why",
      "state is ok, full (no more is taken), stuck (it does not answer), failed, quarantined (see\n"
      "disk return), draining (disk drain), absent (with its host), maintenance (its host is down\n"
      "for that), missing (its host is up without it) or removed (disk rm; its daemon still has\n"
      "its store, which is not used: disk add). USED is of what it may hold: from 75 % on "
      "it takes no new copies, from 90 % on none is rebuilt there,\n"
      "from 95 % on writes wait.\n",
      disk_ls },
    { "disk show", "HOST/DISK", "one store: space, errors, memory",
      "  causeway disk show h1/store-0\n", disk_show },
    { 0 },
};
