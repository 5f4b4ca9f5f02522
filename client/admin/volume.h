/* admin/volume.h - what the commands on one volume share. */
#pragma once

#include <stdint.h>

#include "client/admin/cli.h"
#include "client/admin/remote.h"
#include "common/shape/payload.h"

/* CW_ARGS_GO, or the exit status of bad usage, printed. */
int cw_volume_check_name(struct cw_cli *cli, const struct cw_cmd *cmd, const char *name);
int cw_volume_check_size(struct cw_cli *cli, const struct cw_cmd *cmd, uint64_t size_bytes);

/* volume_info, or NULL: printed, *ret_status is the exit status. */
cw_envelope *cw_volume_ask(struct cw_cli *cli, const char *name, int *ret_status);

/* A table of all copies. */
void cw_volume_print_shards(struct cw_cli *cli, const cw_pb_volume *v);
