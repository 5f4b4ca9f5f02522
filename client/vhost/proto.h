/* vhost/proto.h - one front end as a state machine: messages and kicks in, requests on a volume
 * out; results in, chains given back and replies out. No sockets, no time: the server (or a test)
 * is its world.
 *
 *   front end's messages --> features, memory, rings --> ring.c --chains--> request.c --> volume
 *
 * What a guest writes is copied once, into the buffer that the volume's owner will hash and send; a
 * guest that changes its memory meanwhile changes nothing. What it reads is copied into its memory
 * when it has arrived, and only if that memory is still there.
 *
 * What a guest can make grow is bounded: requests by the sizes of its rings, data by window_bytes.
 * At the limit nothing more is popped.
 *
 * One thread. Ops are called from any entry point; the world answers later, never from inside them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/vhost/spec.h"
#include "common/base/env.h"
#include "common/mem/buf.h"
#include "common/owner/owner.h"

#define CW_VHOST_QUEUES_MAX 64u
#define CW_VHOST_FDS_MAX 8u
#define CW_VHOST_PAYLOAD_MAX 512u
#define CW_VHOST_PIECE_MAX (1024u * 1024)     /* a request is handed on in pieces of this */
#define CW_VHOST_DATA_MAX (32u * 1024 * 1024) /* longer requests fail */
#define CW_VHOST_SEGS_MAX 126u                /* as told to drivers: fits into rings of 128 */
#define CW_VHOST_SEG_BYTES_MAX (256u * 1024)  /* .. so that none asks for more than DATA_MAX */
#define CW_VHOST_RANGES_MAX 32u               /* of one DISCARD or WRITE_ZEROES */

struct cw_vhost;

struct cw_vhost_msg {
    struct cw_vu_header head;
    uint32_t n_fds;
    int fds[CW_VHOST_FDS_MAX];
    _Alignas(8) uint8_t payload[CW_VHOST_PAYLOAD_MAX];
};

/* Fixed while it lives; what it points at outlives it. */
struct cw_vhost_opts {
    struct cw_buf_pool *pool;
    uint64_t window_bytes; /* data of requests under way, at least CW_VHOST_PIECE_MAX */
    uint64_t size_bytes;   /* of the volume */
    uint32_t block_bytes;  /* 512 or 4096: what the guest takes for a sector */
    uint32_t n_queues;     /* 1..CW_VHOST_QUEUES_MAX */
    bool read_only;
    const char *id; /* up to CW_BLK_ID_SIZE bytes of it are what GET_ID answers */
};

struct cw_vhost_ops {
    /* io->done comes back later. */
    void (*submit)(struct cw_vhost *, struct cw_io *io);
    /* A reply; fd stays ours, -1: none. */
    void (*reply)(struct cw_vhost *, const void *bytes, uint32_t len, int fd);
    /* The descriptor by which the driver tells that it added chains: from now on cw_vhost_kicked
     * when it is readable (and was read). -1: no longer; false: out of memory. Closing is the
     * world's. */
    bool (*watch)(struct cw_vhost *, uint32_t queue, int take_fd);
    /* The volume's size changed: to be told on the front end's second socket, which is the
     * world's from here on. -1: there is none (any more). */
    void (*backend)(struct cw_vhost *, int take_fd);
    void (*config_changed)(struct cw_vhost *);
    /* A ring begins: the machine is about to use its disk. */
    void (*started)(struct cw_vhost *);
    /* cw_vhost_turn is due before the loop sleeps. Called often, cheap. */
    void (*wake)(struct cw_vhost *);
    void (*log)(struct cw_vhost *, enum cw_log_level, const char *line);
};

/* NULL if out of memory. */
struct cw_vhost *cw_vhost_new(const struct cw_vhost_opts *opts, const struct cw_vhost_ops *ops,
                              void *user);
/* cw_vhost_dead was called and nothing is busy. */
void cw_vhost_free(struct cw_vhost *d);
void *cw_vhost_user(const struct cw_vhost *d);

/* May a message be given now? False while a ring is drained, and once it is broken. */
bool cw_vhost_ready(const struct cw_vhost *d);
/* Takes the descriptors of the message, whatever it says. */
void cw_vhost_message(struct cw_vhost *d, struct cw_vhost_msg *take);

void cw_vhost_kicked(struct cw_vhost *d, uint32_t queue);

/* At the end of each turn in which something happened: tells the guest, goes on with what waited
 * for memory. True: something still waits for memory, try again next turn. */
bool cw_vhost_turn(struct cw_vhost *d);

void cw_vhost_set_size(struct cw_vhost *d, uint64_t size_bytes);

/* Nothing is popped any more; what is under way is answered. */
void cw_vhost_quiesce(struct cw_vhost *d);

/* The front end is gone: its memory is not touched any more. What was not handed on is dropped, it
 * stays noted as in flight. */
void cw_vhost_dead(struct cw_vhost *d);

/* Requests are under way. */
bool cw_vhost_busy(const struct cw_vhost *d);

/* The front end broke the protocol: hang up. */
bool cw_vhost_broken(const struct cw_vhost *d);

/* Closes what a message carries. */
void cw_vhost_msg_drop(struct cw_vhost_msg *m);
