/* device/attachment.h - a volume's device on this host, as files say it:
 *
 *   /run/causeway/device/NAME/lock    held by the process that keeps the device (holder.h)
 *                             state   what it is; written by rename
 *                             disk    where the FUSE mount is: one file
 *                             log
 *   /dev/causeway/NAME -> /dev/loopN
 *
 * What is left of one that ended without tidying up is found and taken away by the next.
 * CAUSEWAY_DEVICE_DIR is another place for the first part. One thread.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/device/loop.h"

#define CW_ATTACHMENT_WHY_SIZE 512
#define CW_ATTACHMENT_DIR "/run/causeway/device"

/* A process that is told from a later one with its number. */
struct cw_attachment_process {
    pid_t pid; /* 0: none */
    uint64_t start;
};

struct cw_attachment {
    char volume[64], cluster[256];
    char device[CW_LOOP_NAME_SIZE]; /* "": none yet */
    struct cw_attachment_process holder, back_end;
    bool read_only;
};

enum cw_attachment_file {
    CW_ATTACHMENT_TOP,
    CW_ATTACHMENT_LOCK,
    CW_ATTACHMENT_STATE,
    CW_ATTACHMENT_DISK,
    CW_ATTACHMENT_LOG,
};

const char *cw_attachment_path(const char *volume, enum cw_attachment_file which,
                               char ret[static PATH_MAX]);

/* -ENOENT: none is known; -EPROTO: its file makes no sense. */
int cw_attachment_read(const char *volume, struct cw_attachment *ret);
int cw_attachment_write(const struct cw_attachment *a);

/* Makes the directory. *ret_fd: keeps the lock until it is closed. -EBUSY: another process has it.
 */
int cw_attachment_lock(const char *volume, int *ret_fd);
/* Does a process keep the device? */
bool cw_attachment_is_kept(const char *volume);

void cw_attachment_process_of(pid_t pid, struct cw_attachment_process *ret);
bool cw_attachment_process_lives(const struct cw_attachment_process *p);

/* Is the FUSE mount there? */
bool cw_attachment_is_mounted(const char *volume);
/* fuse_fd: of /dev/fuse, not used yet. */
int cw_attachment_mount(const char *volume, int fuse_fd, bool read_only,
                        char why[static CW_ATTACHMENT_WHY_SIZE]);

/* /dev/causeway/NAME; best effort. */
void cw_attachment_link(const struct cw_attachment *a);

/* Takes away what is there: loop device, mount, files. The lock is held. -EBUSY: the device is in
 * use, why says by whom, and nothing was taken away. May wait for who serves the file, if anybody
 * does. */
int cw_attachment_remove(const char *volume, char why[static CW_ATTACHMENT_WHY_SIZE]);
