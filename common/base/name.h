/* base/name.h - what may be a name of a volume, policy, host, disk or site. */
#pragma once

#include <stdbool.h>

/* 1 to 63 of [A-Za-z0-9._-], a letter or digit first; whatever the locale. */
bool cw_name_ok(const char *name);
