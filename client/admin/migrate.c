/* admin/migrate.c - may a volume's owner be asked to hand it over to another client? */
#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "common/shape/payload.h"

static int
migrate_allow(struct cw_cli *cli, char *name, uint64_t seconds)
{
    Causeway__Control__HandoverAllow body = CAUSEWAY__CONTROL__HANDOVER_ALLOW__INIT;
    int status;

    body.volume = name;
    body.seconds = seconds;
    status = cw_remote_do(cli, CW_ASK(HANDOVER_ALLOW, handover_allow, &body));
    if (status == CW_EXIT_OK && cli->json)
        return cw_out_json(cli, cw_payload_done("allowed", name));
    if (status == CW_EXIT_OK)
        fprintf(cli->out,
                "volume %s may be handed over, once, within %llu s: serve it on the other host as "
                "well, and migrate the guest\n",
                name, (unsigned long long)seconds);
    return status;
}

static int
migrate_cancel(struct cw_cli *cli, char *name)
{
    Causeway__Control__HandoverCancel body = CAUSEWAY__CONTROL__HANDOVER_CANCEL__INIT;
    int status;

    body.volume = name;
    status = cw_remote_do(cli, CW_ASK(HANDOVER_CANCEL, handover_cancel, &body));
    if (status == CW_EXIT_OK && cli->json)
        return cw_out_json(cli, cw_payload_done("ended", name));
    if (status == CW_EXIT_OK)
        fprintf(cli->out, "volume %s stays with its owner\n", name);
    return status;
}

static int
volume_migrate(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    bool allow = false, cancel = false;
    uint64_t seconds = 600;
    const struct cw_opt opts[] = {
        { "allow", 0, CW_OPT_FLAG, &allow, NULL, "another client may take it over, once" },
        { "seconds", 0, CW_OPT_SECONDS, &seconds, "TIME",
          "for so long, at most an hour; default 600" },
        { "cancel", 0, CW_OPT_FLAG, &cancel, NULL, "it may not, after all" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    if (allow == cancel)
        return cw_cli_usage(cli, cmd, "volume migrate: --allow or --cancel?");
    if (seconds == 0)
        return cw_cli_usage(cli, cmd, "volume migrate: --seconds 0 allows nothing");
    return allow ? migrate_allow(cli, a.operand[0], seconds) : migrate_cancel(cli, a.operand[0]);
}

const struct cw_cmd cw_cmds_migrate[] = {
    { "volume migrate", "NAME --allow [--seconds TIME] | NAME --cancel",
      "let a live volume go over to a server on another host",
      "For the live migration of a virtual machine. While it is allowed, a second causeway-nbd or\n"
      "causeway-vhost may serve the volume beside the one that has it: it stands by, and reads\n"
      "what the first one reads. Its first write or flush (of causeway-vhost: the first ring that\n"
      "is started) asks the first one to finish what is under way and let go; from then on the\n"
      "second one has the volume, and the first one refuses every request. That ends the\n"
      "permission, as its time does. Without it a second server is refused: VOLUME_IN_USE.\n\n"
      "  causeway volume migrate vm1 --allow\n"
      "  causeway-nbd --cluster 10.0.0.1:7400 --unix /run/causeway/vm1.sock --volume vm1   # "
      "there\n",
      volume_migrate },
    { 0 },
};
