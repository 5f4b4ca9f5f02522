/* device/backend.h - the process that owns the volume, and what it tells the process that keeps its
 * descriptors (holder.h).
 *
 * It is started with these three open and may be killed at any instant.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/engine.h"

enum { CW_BACKEND_FUSE_FD = 3, CW_BACKEND_SLOTS_FD = 4, CW_BACKEND_TELL_FD = 5 };

enum cw_backend_word {
    CW_BACKEND_SERVING, /* size_bytes; n: requests of a predecessor that are made again */
    CW_BACKEND_RESIZED, /* size_bytes */
    CW_BACKEND_FENCED,  /* text */
    CW_BACKEND_FAILED,  /* text */
};

/* One message of a SOCK_SEQPACKET socket. */
struct cw_backend_message {
    uint32_t word, n;
    uint64_t size_bytes;
    char text[256]; /* ended by NUL */
};

struct cw_backend_opts {
    const char *volume, *cluster, *domain;
    uint64_t memory_bytes;
    bool read_only, force;
    enum cw_log_level level;
};

/* Returns the exit status. */
int cw_backend_run(const struct cw_backend_opts *o);
