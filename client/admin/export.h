/* admin/export.h - the command `volume export`. */
#pragma once

#include "client/admin/cli.h"

int cw_export_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv);
