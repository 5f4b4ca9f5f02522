/* tool/foreign.h - what others keep at a path: file systems, partition tables, members of RAIDs and
 * volume groups, encrypted volumes, swap. */
#pragma once

#define CW_FOREIGN_SIZE 128

/* what: "a file system (ext4)"; "" if nothing known is there. 0, or a negative errno: it cannot be
 * looked at. Reads a few places; blocks. What a store leaves unwritten may still bear the signature
 * of what was there before it. */
int cw_foreign_find(const char *path, char what[static CW_FOREIGN_SIZE]);
