/* vhost/world.h - a front end, a guest's memory (a real memfd) and a volume in memory around one
 * state machine. The ring is split; the driver is as plain as can be. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/vhost/device.h"

#define WORLD_MEM (48u << 20)
#define WORLD_GUEST UINT64_C(0x40000000)
#define WORLD_USER UINT64_C(0x7f0000000000)
#define WORLD_QUEUE 64u
#define WORLD_DISK (64u << 20)
#define WORLD_HEADS 0x10000u /* offsets in the memory: 32 bytes per head: header, status */
#define WORLD_DATA 0x100000u

struct world {
    struct cw_buf_pool *pool;
    struct cw_vhost *d;
    uint8_t *mem, *disk;
    int mem_fd, call_fd, kick_fd, inflight_fd;
    struct cw_vu_inflight inflight;
    struct cw_list ios; /* submitted, not done */
    uint32_t n_submitted, n_flushes, n_trims, n_zeroes, n_config_changes, n_starts, n_logs;
    int fail; /* the next ios end so */
    bool woken;
    uint8_t reply[1024]; /* the last */
    uint32_t n_reply;    /* 0: it was taken */
    uint16_t avail, used;
    uint64_t features;
};

struct world_opts {
    uint64_t memory;      /* 0: 64 MiB */
    uint64_t without;     /* features that the driver does not take */
    bool read_only, keep; /* keep: what is in flight */
};

struct world *world_new(struct world_opts o);
/* The back end dies and another begins; the guest goes on. */
void world_reconnect(struct world *w, struct world_opts o);
void world_free(struct world *w);

/* True: it was acknowledged. fd stays ours, -1: none. */
bool world_tell(struct world *w, uint32_t request, const void *payload, uint32_t len, int fd);
/* A request that is answered; the answer's payload. NULL: there is none (yet). */
const void *world_ask(struct world *w, uint32_t request, const void *payload, uint32_t len);

/* Turns until nothing more happens; completes no I/O. */
void world_turn(struct world *w);
/* Turns and completes all I/O. */
void world_run(struct world *w);

/* Makes a request of one data segment available at head (a multiple of 3); does not kick. */
void world_request(struct world *w, uint16_t head, uint32_t type, uint64_t sector,
                   uint32_t data_off, uint32_t len, bool device_writes);
void world_kick(struct world *w);
/* The next used head; -1: none. */
int world_reap(struct world *w);
/* Kicks, runs, and returns the status. */
int world_do(struct world *w, uint32_t type, uint64_t sector, uint32_t len, bool device_writes);
uint8_t world_status(struct world *w, uint16_t head);
