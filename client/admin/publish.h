/* admin/publish.h - files that are there as a whole, under their name, after a crash too. */
#pragma once

/* Makes what was renamed to path durable. 0 or an errno; EINVAL: its file system cannot. */
int cw_sync_parent(const char *path);
