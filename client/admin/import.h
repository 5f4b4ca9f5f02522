/* admin/import.h - the command `volume import`. */
#pragma once

#include "client/admin/cli.h"

int cw_import_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv);
