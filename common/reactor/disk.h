/* reactor/disk.h - struct cw_disk over a file or a block device, with O_DIRECT.
 *
 * A disk belongs to one reactor. While it is open no other process can open it: files are locked
 * (flock), block devices opened exclusively as well. `why` is one line that names the path, the
 * cause and, where there is one, the next step; it is written on failure only.
 *
 * DISCARD makes a hole in a file. A device is told to discard through io_uring (Linux 6.12), else
 * by a thread that waits for it. The kernel keeps a process that dies until that thread is back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/disk.h"
#include "common/reactor/reactor.h"

#define CW_WHY_SIZE 256

struct cw_disk_opts {
    const char *path;
    bool read_only; /* writes fail; several that only read may have it open together */
};

/* Negative errno: -ENOENT, -EBUSY (another process has it, for 2 s by now), -EINVAL (no O_DIRECT
 * there).. Blocks that long; call it at start-up. */
int cw_disk_open(struct cw_reactor *r, const struct cw_disk_opts *opts, struct cw_disk **ret_d,
                 char why[static CW_WHY_SIZE]);

/* No I/O may be under way. NULL is fine. */
void cw_disk_close(struct cw_disk *d);

/* A block device, not a file? */
bool cw_disk_is_device(const struct cw_disk *d);

/* I/Os under way. */
uint32_t cw_disk_busy(const struct cw_disk *d);

/* When the oldest I/O under way was submitted; CW_NEVER if there is none. */
uint64_t cw_disk_oldest_ns(const struct cw_disk *d);

/* Of the WRITE_SYNCs since the last call, submission to completion; 0 if there were none. */
uint64_t cw_disk_write_p99_ns(struct cw_disk *d);

/* Makes a regular file of `bytes` (a multiple of 4096) with its space allocated. -EEXIST if there
 * is something at path. Blocks; needs no reactor. */
int cw_disk_create_file(const char *path, uint64_t bytes, char why[static CW_WHY_SIZE]);
