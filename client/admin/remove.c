/* admin/remove.c - hosts that come and hosts and disks that are gone for good. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "common/base/name.h"
#include "common/shape/payload.h"

static int
remove_print(struct cw_cli *cli, const cw_pb_removed *r, const char *what)
{
    if (cli->json)
        return cw_out_json(cli, cw_payload_removed(r));
    fprintf(cli->out, "%s %s is forgotten", what, r->object);
    if (r->copies > 0)
        fprintf(cli->out, "; %llu cop%s there %s given up and will be made again elsewhere",
                (unsigned long long)r->copies, r->copies == 1 ? "y" : "ies",
                r->copies == 1 ? "is" : "are");
    fputc('\n', cli->out);
    for (size_t i = 0; i < r->n_lost; i++)
        fprintf(cli->out, "volume %s has lost its last in-sync copy\n", r->lost[i]);
    return CW_EXIT_OK;
}

static int
remove_do(struct cw_cli *cli, const cw_envelope *ask, const char *what)
{
    int status;
    cw_envelope *reply = cw_remote_ask(cli, ask, CW_WANT(REMOVE_REPLY), CW_REMOTE_DO_MS, &status);

    if (reply != NULL)
        status = remove_print(cli, reply->remove_reply, what);
    cw_envelope_free(reply);
    return status;
}

static int
remove_args(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv, bool *accept_loss,
            char **ret_object)
{
    const struct cw_opt opts[] = {
        { "accept-loss", 0, CW_OPT_FLAG, accept_loss, NULL,
          "also if the last in-sync copy of a volume is there:\nits data is given up" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status == CW_ARGS_GO)
        *ret_object = a.operand[0];
    return status;
}

static int
host_rm(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__HostRm body = CAUSEWAY__CONTROL__HOST_RM__INIT;
    bool accept_loss = false;
    int status = remove_args(cli, cmd, argc, argv, &accept_loss, &body.name);

    body.accept_loss = accept_loss;
    return status != CW_ARGS_GO ? status : remove_do(cli, CW_ASK(HOST_RM, host_rm, &body), "host");
}

static int
disk_rm(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__DiskRm body = CAUSEWAY__CONTROL__DISK_RM__INIT;
    bool accept_loss = false;
    int status = remove_args(cli, cmd, argc, argv, &accept_loss, &body.disk);

    body.accept_loss = accept_loss;
    return status != CW_ARGS_GO ? status : remove_do(cli, CW_ASK(DISK_RM, disk_rm, &body), "disk");
}

/* ---- host add ---- */

struct add {
    const char *name, *region, *site, *rack, *listen, *store;
    uint64_t wait_s;
};

static const cw_pb_host *
host_of(const cw_envelope *reply, const char *name)
{
    for (size_t i = 0; i < reply->host_ls_reply->n_hosts; i++) {
        if (strcmp(reply->host_ls_reply->hosts[i]->name, name) == 0)
            return reply->host_ls_reply->hosts[i];
    }
    return NULL;
}

/* What to run on the new host. */
static char *
add_command(const struct cw_cli *cli, const struct add *x)
{
    char *text;

    if (asprintf(&text,
                 "causewayd --host %s --domain %s%s%ssite=%s%s%s --listen %s --store %s --join %s",
                 x->name, x->region != NULL ? "region=" : "", x->region != NULL ? x->region : "",
                 x->region != NULL ? "," : "", x->site != NULL ? x->site : "SITE",
                 x->rack != NULL ? ",rack=" : "", x->rack != NULL ? x->rack : "", x->listen,
                 x->store, cli->cluster) < 0)
        abort();
    return text;
}

static int
add_print_joined(struct cw_cli *cli, const cw_pb_host *h)
{
    if (cli->json)
        return cw_out_json(cli, cw_payload_host_joined(h));
    fprintf(cli->out, "host %s has joined: site %s, %s since %s, at %s, %zu disk%s\n", h->name,
            h->domain != NULL ? h->domain->site : "?", h->state, h->since, h->addr, h->n_disks,
            h->n_disks == 1 ? "" : "s");
    return CW_EXIT_OK;
}

static int
add_print_command(struct cw_cli *cli, const struct add *x)
{
    char *command = add_command(cli, x);

    if (cli->json)
        cw_out_json(cli, cw_payload_host_to_join(x->name, command));
    else
        fprintf(cli->out,
                "host %s has not joined. On it, make a store and start its daemon, which adds "
                "itself:\n  causewayd --format --store %s\n  %s\n",
                x->name, x->store, command);
    free(command);
    return CW_EXIT_OK;
}

/* Until it has joined, or the time is up. */
static int
add_run(struct cw_cli *cli, struct cw_remote *r, const struct add *x)
{
    Causeway__Control__HostLs body = CAUSEWAY__CONTROL__HOST_LS__INIT;
    bool told = false;

    for (uint64_t tries = 0;; tries++) {
        cw_envelope *reply = cw_remote_call(r, CW_ASK(HOST_LS, host_ls, &body),
                                            CW_WANT(HOST_LS_REPLY), CW_REMOTE_LS_MS);
        const cw_pb_host *h = reply != NULL ? host_of(reply, x->name) : NULL;
        int status = reply == NULL ? CW_EXIT_FAILED : CW_ARGS_GO;

        if (h != NULL)
            status = add_print_joined(cli, h);
        else if (status == CW_ARGS_GO && x->wait_s == 0)
            status = add_print_command(cli, x);
        else if (status == CW_ARGS_GO && !told && !cli->json)
            add_print_command(cli, x);
        told = true;
        cw_envelope_free(reply);
        if (status == CW_ARGS_GO && (tries >= x->wait_s * 5 || cw_cli_interrupted()))
            status = cw_cli_fail(cli, (struct cw_fail){ .code = "TIMEOUT", .object = x->name },
                                 "host %s has not joined", x->name);
        if (status != CW_ARGS_GO)
            return status;
        nanosleep(&(struct timespec){ .tv_nsec = 200 * 1000 * 1000 }, NULL);
    }
}

static int
host_add(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct add x = { .listen = "ADDR:7001", .store = "/dev/DISK" };
    const struct cw_opt opts[] = {
        { "site", 0, CW_OPT_TEXT, &x.site, "SITE", "the site that it is in" },
        { "rack", 0, CW_OPT_TEXT, &x.rack, "RACK", "the rack" },
        { "region", 0, CW_OPT_TEXT, &x.region, "REGION", "the region of that site" },
        { "listen", 0, CW_OPT_TEXT, &x.listen, "ADDR:PORT", "where its daemon is to listen" },
        { "store", 0, CW_OPT_TEXT, &x.store, "PATH[:SIZE]", "its first store" },
        { "wait", 0, CW_OPT_SECONDS, &x.wait_s, "TIME", "until it has joined, at most so long" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    struct cw_remote *r;

    if (status != CW_ARGS_GO)
        return status;
    x.name = a.operand[0];
    if (!cw_name_ok(x.name))
        return cw_cli_usage(cli, cmd, "'%s' is no name of a host", x.name);
    if ((r = cw_remote_new(cli, &status)) == NULL)
        return status;
    cw_cli_catch_signals();
    status = add_run(cli, r, &x);
    cw_remote_free(r);
    return status;
}

static int
disk_add(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__DiskAdd body = CAUSEWAY__CONTROL__DISK_ADD__INIT;
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    body.disk = a.operand[0];
    status = cw_remote_do(cli, CW_ASK(DISK_ADD, disk_add, &body));
    if (status == CW_EXIT_OK && cli->json)
        return cw_out_json(cli, cw_payload_done("added", body.disk));
    if (status == CW_EXIT_OK)
        fprintf(cli->out, "disk %s is used again as soon as its daemon has its store open\n",
                body.disk);
    return status;
}

const struct cw_cmd cw_cmds_remove[] = {
    { "host add", "NAME [--site SITE] [--store PATH]",
      "how to start a host of that name, and has it joined?",
      "A host adds itself when its daemon starts with --join. This prints the command to run on "
      "it\n"
      "for this cluster; with --wait it stays until the host has joined, and then tells what is\n"
      "known of it.\n\n"
      "  causeway host add h4 --site dc1 --store /dev/nvme0n1 --wait 5m\n",
      host_add },
    { "host rm", "NAME [--accept-loss]", "forget a host that is gone for good",
      "Refused while it is up. Copies there are given up and made again elsewhere, as far as "
      "there\n"
      "is a place. To empty a host first: host maintain --mode full. If the last in-sync copy of "
      "a\n"
      "volume is there, --accept-loss is needed, and that data is lost. The name can be used "
      "again.\n",
      host_rm },
    { "disk rm", "HOST/DISK [--accept-loss]", "forget a disk that is empty or gone for good",
      "A disk that works is to be drained first (disk drain). Of one that does not work, copies "
      "are\n"
      "given up as with host rm. It stays removed, also when a daemon has its store: disk ls "
      "calls\n"
      "it removed as long as one does. Take it out of the daemon's configuration, or format it\n"
      "anew (causewayd --format): then it is another disk. disk add takes it back as it is.\n",
      disk_rm },
    { "disk add", "HOST/DISK", "take back a disk that was removed",
      "Its store is used again, with what is on it. A new store needs no command: its daemon adds\n"
      "it when it starts with it (--store).\n",
      disk_add },
    { 0 },
};
