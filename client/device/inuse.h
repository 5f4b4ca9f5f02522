/* device/inuse.h - who uses a block device of this host, or what is mounted of it? */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define CW_INUSE_SIZE 320

/* The first who do, as a line: "mounted on /srv", "open in mkfs.ext4 (pid 12)". Partitions of it
 * count. Other mount namespaces than ours are seen as far as a process of theirs is there. */
bool cw_inuse_device(const char *device, char ret[static CW_INUSE_SIZE]);

/* Processes with files or their directory on the file system that is mounted at path. */
bool cw_inuse_mount(const char *path, char ret[static CW_INUSE_SIZE]);

/* Where the device (or a partition of it) is mounted here, the last first: unmounting in this order
 * works. False: no more than index. */
bool cw_inuse_mounted_at(const char *device, size_t index, char ret[static PATH_MAX]);
