/* shell/format.h - writes empty, unclaimed stores: `causewayd --format`. */
#pragma once

#include "common/obs/log.h"
#include "daemon/shell/options.h"

/* Makes files that are missing if their size was given. The program's exit status; each store that
 * fails is one line in the log, and a file made for it is removed again. */
int cw_format_main(const struct cw_options *o, struct cw_log_sink *log);
