/* admin/host.c - the fault-domain tree: hosts and their disks. */
#include <string.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "common/base/bits.h"
#include "common/shape/payload.h"

static cw_envelope *
host_ask(struct cw_cli *cli, int *ret_status)
{
    Causeway__Control__HostLs body = CAUSEWAY__CONTROL__HOST_LS__INIT;

    return cw_remote_ask(cli, CW_ASK(HOST_LS, host_ls, &body), CW_WANT(HOST_LS_REPLY),
                         CW_REMOTE_LS_MS, ret_status);
}

static bool
any_region(const Causeway__Control__HostLsReply *ls)
{
    for (size_t i = 0; i < ls->n_hosts; i++) {
        if (ls->hosts[i]->domain != NULL && ls->hosts[i]->domain->region[0] != '\0')
            return true;
    }
    return false;
}

static int
host_print_table(struct cw_cli *cli, const Causeway__Control__HostLsReply *ls)
{
    static const char *const columns[] = { "SITE",    "HOST",    "KIND",  "STATE",
                                           ">DISKS",  ">COPIES", ">SIZE", ">USED",
                                           "ADDRESS", "SINCE",   "REGION" };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns) - (any_region(ls) ? 0 : 1));

    for (size_t i = 0; i < ls->n_hosts; i++) {
        const cw_pb_host *h = ls->hosts[i];
        char disks[CW_TEXT_SIZE], copies[CW_TEXT_SIZE], text[CW_TEXT_SIZE], pct[CW_TEXT_SIZE];
        uint64_t size, used;

        cw_shape_host_space(h, &size, &used);
        cw_table_row(t, (const char *[]){ h->domain != NULL ? h->domain->site : "", h->name,
                                          cw_shape_site_kind(h->site_kind), h->state,
                                          cw_text_u64(h->n_disks, disks),
                                          cw_text_u64(h->copies, copies), cw_text_size(size, text),
                                          cw_text_percent(used, size, pct), h->addr, h->since,
                                          h->domain != NULL ? h->domain->region : "" });
    }
    return cw_table_print(t);
}

static int
host_ls(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { 0 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    reply = host_ask(cli, &status);
    if (reply == NULL)
        return status;
    status = cli->json ? cw_out_json(cli, cw_payload_hosts(reply->host_ls_reply))
                       : host_print_table(cli, reply->host_ls_reply);
    cw_envelope_free(reply);
    return status;
}

static void
host_print_memory(struct cw_cli *cli, const Causeway__Control__HostMemory *m)
{
    char resident[CW_TEXT_SIZE], limit[CW_TEXT_SIZE], used[CW_TEXT_SIZE], pool[CW_TEXT_SIZE];
    char tables[CW_TEXT_SIZE];

    if (m == NULL || m->limit_bytes == 0)
        return;
    fprintf(cli->out, "memory    %s resident, --memory %s; buffers %s of %s, tables %s\n",
            cw_text_size(m->resident_bytes, resident), cw_text_size(m->limit_bytes, limit),
            cw_text_size(m->pool_used_bytes, used), cw_text_size(m->pool_bytes, pool),
            cw_text_size(m->metadata_used_bytes, tables));
}

static void
host_print_maintenance(struct cw_cli *cli, const Causeway__Control__Maintenance *m)
{
    if (m != NULL)
        fprintf(cli->out, "maintain  mode %s since %s: %s%s\n", m->mode, m->since,
                m->ready ? "it may go down" : "not ready: ", m->ready ? "" : m->why);
}

/* "network   within dc1: rtt 0.3 ms; to aws: rtt 34 ms  link 212 Mb/s" */
static void
host_print_links(struct cw_cli *cli, const cw_pb_host *h)
{
    const char *site = h->domain != NULL ? h->domain->site : "";
    char text[CW_TEXT_LINK_SIZE];

    for (size_t i = 0; i < h->n_links; i++) {
        const Causeway__Control__SiteLink *l = h->links[i];

        fprintf(cli->out, "%s%s %s: %s", i == 0 ? "network   " : "; ",
                strcmp(l->site, site) == 0 ? "within" : "to", l->site,
                cw_text_link(l->rtt_ns, l->bytes_per_s, text));
    }
    if (h->n_links > 0)
        fputc('\n', cli->out);
}

static void
host_print_disks(struct cw_cli *cli, const cw_pb_host *h)
{
    static const char *const columns[] = { "DISK",       "STATE",     ">SIZE",   ">USED", ">SHARDS",
                                           ">WRITE-P99", ">CSUM-ERR", ">IO-ERR", "WHY" };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));

    for (size_t i = 0; i < h->n_disks; i++) {
        const cw_pb_disk *d = h->disks[i];
        char size[CW_TEXT_SIZE], pct[CW_TEXT_SIZE], shards[CW_TEXT_SIZE], p99[CW_TEXT_SIZE];
        char csum[CW_TEXT_SIZE], io[CW_TEXT_SIZE];

        cw_table_row(t, (const char *[]){
                            d->name, cw_shape_disk_state(h, d), cw_text_size(d->size_bytes, size),
                            cw_text_percent(d->used_bytes, d->size_bytes, pct),
                            cw_text_u64(d->shards, shards), cw_text_latency(d->write_p99_ns, p99),
                            cw_text_u64(d->csum_errors, csum), cw_text_u64(d->io_errors, io),
                            d->why });
    }
    cw_table_print(t);
}

static void
host_print_attributes(struct cw_cli *cli, const Causeway__Control__SiteAttributes *a)
{
    const char *between = "";
    char price[CW_SHAPE_PRICE_SIZE];

    if (a == NULL || (a->provider[0] == '\0' && a->egress_micros == 0 && !a->is_volatile))
        return;
    fputs("site      ", cli->out);
    if (a->provider[0] != '\0')
        fprintf(cli->out, "provider %s", a->provider), between = ", ";
    if (a->egress_micros != 0)
        fprintf(cli->out, "%s%s per GB that leaves it", between,
                cw_shape_price(a->egress_micros, price)),
            between = ", ";
    if (a->is_volatile)
        fprintf(cli->out, "%svolatile: its stores die with their instances", between);
    fputc('\n', cli->out);
}

static int
host_print_one(struct cw_cli *cli, const cw_pb_host *h)
{
    if (cli->json)
        return cw_out_json(cli, cw_payload_host(h));
    fprintf(cli->out, "host      %s, %s since %s\n", h->name, h->state, h->since);
    if (h->domain != NULL)
        fprintf(cli->out, "domain    %s%s%ssite %s (%s)%s%s\n",
                h->domain->region[0] != '\0' ? "region " : "", h->domain->region,
                h->domain->region[0] != '\0' ? ", " : "", h->domain->site,
                cw_shape_site_kind(h->site_kind), h->domain->rack[0] != '\0' ? ", rack " : "",
                h->domain->rack);
    host_print_attributes(cli, h->site_attributes);
    fprintf(cli->out, "address   %s\nversion   %s\ncopies    %llu\n", h->addr, h->version,
            (unsigned long long)h->copies);
    host_print_maintenance(cli, h->maintenance);
    host_print_memory(cli, h->memory);
    host_print_links(cli, h);
    host_print_disks(cli, h);
    return CW_EXIT_OK;
}

static int
host_show(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    const cw_pb_host *found;
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    reply = host_ask(cli, &status);
    if (reply == NULL)
        return status;
    found = cw_shape_find_host(reply->host_ls_reply, a.operand[0]);
    if (found != NULL)
        status = host_print_one(cli, found);
    else
        status = cw_cli_fail(cli,
                             (struct cw_fail){ .code = "NOT_FOUND",
                                               .object = a.operand[0],
                                               .hint = "see: causeway host ls" },
                             "host %s: no such host", a.operand[0]);
    cw_envelope_free(reply);
    return status;
}

const struct cw_cmd cw_cmds_host[] = {
    { "host ls", "", "hosts by site: state, space, copies",
      "state is up, absent (it does not answer), failed or maintenance. A host adds itself when\n"
      "causewayd starts on it with --join.\n",
      host_ls },
    { "host show", "NAME", "one host and its disks",
      "WRITE-P99 is of the last second; CSUM-ERR counts blocks that failed their checksum.\n",
      host_show },
    { 0 },
};
