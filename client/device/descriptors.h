/* device/descriptors.h - the two descriptors that a device lives by, and who may have them. */
#pragma once

#include <stdbool.h>

#include "client/device/attachment.h"

/* From the service manager, which kept them for us (LISTEN_FDS). */
bool cw_descriptors_given(int *ret_fuse_fd, int *ret_slots_fd);

/* Gives them to the service manager, if there is one. */
void cw_descriptors_store(int fuse_fd, int slots_fd);

/* From a back end that lives; needs the right to trace it. */
bool cw_descriptors_take(const struct cw_attachment_process *back_end, int *ret_fuse_fd,
                         int *ret_slots_fd);

/* SIGKILL, and waits until it is gone. */
void cw_descriptors_kill(const struct cw_attachment_process *p);

/* SIGTERM, and waits so long. False: it is still there. */
bool cw_descriptors_end(const struct cw_attachment_process *p, int timeout_ms);
