/* admin/status.h - the parts of `status` that need no cluster. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "common/shape/shape.h"

/* now_s: Unix time, for ages. */
void cw_status_print(FILE *out, const cw_pb_status *s, int64_t now_s);

/* "ok" 0, "warning" 1, anything else 2. */
int cw_status_exit(const char *health);
