/* admin/volio.h - one volume opened in this process, for bench, import and export.
 *
 * The engine's reactor thread does the volume's I/O; the command's own thread opens, waits and
 * closes. Waits end early on Ctrl-C.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/admin/cli.h"
#include "client/lib/engine.h"

struct cw_volio {
    struct cw_cli *cli;
    struct cw_engine *engine;
    struct cw_engine_volume *volume;
    uint64_t size_bytes;
    bool acks_replicated; /* ack=replicated when it was opened */
    const char *name;     /* borrowed */
};

/* Attaches; force takes the volume over from an owner that is alive. CW_ARGS_GO, or the exit
 * status, printed; vio then needs no close. */
int cw_volio_open(struct cw_volio *vio, struct cw_cli *cli, const char *name, bool force);

/* Releases and ends the engine's threads; all requests have completed, or are given up on. */
void cw_volio_close(struct cw_volio *vio);

/* "input/output error: no copy could give these blocks" .. of a request's res. */
const char *cw_volio_error(int res);
