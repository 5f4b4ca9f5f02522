/* admin/dispatch.h - which command do these words mean? */
#pragma once

#include "client/admin/cli.h"

/* The families, each ended by NULL words; one file each. */
extern const struct cw_cmd cw_cmds_local[], cw_cmds_status[], cw_cmds_host[], cw_cmds_volume[],
    cw_cmds_copy[], cw_cmds_verify[], cw_cmds_policy[], cw_cmds_explain[], cw_cmds_events[],
    cw_cmds_jobs[], cw_cmds_bench[], cw_cmds_scrub[], cw_cmds_quarantine[], cw_cmds_disk[],
    cw_cmds_recover[], cw_cmds_maintain[], cw_cmds_remove[], cw_cmds_repair[], cw_cmds_whatif[],
    cw_cmds_doctor[], cw_cmds_metadata[], cw_cmds_migrate[], cw_cmds_device[];

/* A command of the design that this version does not have yet. */
struct cw_absent {
    const char *words;
    const char *instead; /* what to do today; NULL: nothing */
};

/* Finds the command whose words begin argv. *ret_n: how many words it has. NULL: none. */
const struct cw_cmd *cw_dispatch_find(int argc, char **argv, int *ret_n);
const struct cw_absent *cw_dispatch_find_absent(int argc, char **argv);

/* Runs argv[0..): words, then their arguments. */
int cw_dispatch(struct cw_cli *cli, int argc, char **argv);

/* What `causeway --help` prints. */
void cw_dispatch_help(struct cw_cli *cli);
