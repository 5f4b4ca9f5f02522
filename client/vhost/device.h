/* vhost/device.h - the inside of the state machine, shared by its files. */
#pragma once

#include "client/vhost/guest.h"
#include "client/vhost/proto.h"
#include "client/vhost/ring.h"
#include "common/base/bits.h"
#include "common/base/list.h"

struct vh_queue {
    struct cw_vq vq;
    bool has_addr, has_kick, enabled;
    bool signal; /* something was pushed since the guest was told */
    bool look;   /* there may be chains to pop */
    int call_fd, err_fd;
    uint32_t n_reqs; /* under way */
    uint32_t epoch;  /* of its starts: what was popped before is not pushed any more */
};

/* What the front end keeps for us; see ring.h. */
struct vh_inflight {
    void *map; /* NULL: none */
    size_t map_len;
    uint8_t *at;
    uint64_t len;
    uint16_t n_queues, queue_size;
};

struct vh_req;

/* A part of a request, as the owner gets it. */
struct vh_piece {
    struct cw_io io;
    struct vh_req *req;
    struct cw_buf *buf; /* READ: where iov points; WRITE: until it is submitted */
    struct iovec iov;
    uint64_t at;  /* of its data in the request's */
    uint32_t len; /* of data; 0: TRIM, ZERO, FLUSH */
};

/* A chain that was popped and not pushed. */
struct vh_req {
    struct cw_list link; /* device->reqs */
    struct cw_list todo; /* device->todo */
    struct cw_vhost *dev;
    uint32_t queue, epoch;
    struct cw_vq_token token;
    uint32_t type;
    uint64_t off, len; /* IN, OUT: bytes of the volume; DISCARD, WRITE_ZEROES: len ranges */
    uint64_t cut;      /* of len: handed on, or given up */
    uint32_t n_flying; /* pieces at the owner */
    int res;           /* the first that failed */
    bool flushing;     /* the data is written, the flush is under way */
    struct cw_blk_range *ranges; /* behind seg */
    uint32_t n_out, n_in;        /* segments */
    uint64_t in_len;
    struct cw_vq_seg seg[];
};

/* What is waited for before the next message is taken. */
enum vh_drain { VH_NO_DRAIN, VH_DRAIN_RING, VH_DRAIN_RESET };

struct cw_vhost {
    struct cw_vhost_opts opts;
    const struct cw_vhost_ops *ops;
    void *user;
    struct cw_blk_config config;
    uint64_t features, protocol_features;
    struct cw_guest guest;
    struct vh_inflight inflight;
    uint32_t n_begun; /* those from here on never began */

    enum vh_drain drain;
    uint32_t drain_queue, drain_request, drain_flags;

    struct cw_list reqs, todo;
    uint64_t held_bytes; /* data of pieces under way */
    uint32_t n_ios, n_reqs;
    bool quiet, dead, broken;
    struct cw_vq_chain chain; /* of the request that is being taken */
    struct vh_queue queue[];  /* opts.n_queues */
};

/* proto.c */
void vh_log(struct cw_vhost *d, enum cw_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void vh_break(struct cw_vhost *d, const char *why);
/* Every ring that can begins: addresses, a kick, enabled. */
void vh_queues_start(struct cw_vhost *d);
void vh_queue_broken(struct cw_vhost *d, uint32_t queue);
/* A ring that runs is not in the guest's memory any more: hang up. */
void vh_ring_lost(struct cw_vhost *d, uint32_t queue);

/* memory.c */
int vh_memory_message(struct cw_vhost *d, struct cw_vhost_msg *m);
int vh_inflight_get(struct cw_vhost *d, struct cw_vhost_msg *m);
int vh_inflight_set(struct cw_vhost *d, struct cw_vhost_msg *m);
void vh_inflight_drop(struct cw_vhost *d);
/* The part for one ring; NULL: there is none. */
void *vh_inflight_area(const struct cw_vhost *d, uint32_t queue);
void vh_reply(struct cw_vhost *d, const struct cw_vu_header *to, const void *payload, uint32_t len,
              int fd);

/* config.c */
uint64_t vh_features(const struct cw_vhost *d);
void vh_config_init(struct cw_vhost *d);
void vh_config_size(struct cw_vhost *d, uint64_t size_bytes);
void vh_config_get(struct cw_vhost *d, const struct cw_vhost_msg *m);

/* request.c */
void vh_request_take(struct cw_vhost *d, uint32_t queue); /* d->chain */
/* Hands on what the limits allow. */
void vh_todo(struct cw_vhost *d);
void vh_drop_unsubmitted(struct cw_vhost *d);
bool vh_may_take(const struct cw_vhost *d);
