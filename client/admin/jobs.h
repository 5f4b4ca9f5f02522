/* admin/jobs.h - asks for jobs; for commands that start one and watch it. */
#pragma once

#include <stdint.h>

#include "client/admin/remote.h"
#include "common/shape/payload.h"

/* job_ls_reply of one job, or of all for 0; NULL: printed. */
cw_envelope *cw_jobs_ask(struct cw_remote *r, uint64_t id);
