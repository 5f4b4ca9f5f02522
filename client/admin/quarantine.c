/* admin/quarantine.c - a disk out of quarantine; status and scrub ls say which are in it. */
#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "common/shape/payload.h"

static int
disk_return(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__DiskReturn body = CAUSEWAY__CONTROL__DISK_RETURN__INIT;
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    body.disk = a.operand[0];
    status = cw_remote_do(cli, CW_ASK(DISK_RETURN, disk_return, &body));
    if (status == CW_EXIT_OK && cli->json)
        return cw_out_json(cli, cw_payload_done("returned", body.disk));
    if (status == CW_EXIT_OK)
        fprintf(cli->out, "disk %s takes copies again\n", body.disk);
    return status;
}

const struct cw_cmd cw_cmds_quarantine[] = {
    { "disk return", "HOST/DISK", "take a disk out of quarantine",
      "A disk on which more than 10 bad blocks were found within 24 hours, or whose link owners\n"
      "lost 5 times within an hour, is quarantined: no new copy is placed there, and those that\n"
      "are there move elsewhere, as far as there is a place. This ends it; eleven more within a\n"
      "day, or five within an hour, begin it again. Copies that left do not come back.\n",
      disk_return },
    { 0 },
};
