/* nbd/proto.h - one NBD connection as a state machine: bytes in, requests out; results in, bytes
 * out. No sockets, no time: the server (or a test) is its world.
 *
 *   GREETING -client flags-> OPTIONS -GO, EXPORT_NAME-> TRANSMISSION -DISC, error-> CLOSING -> DEAD
 *
 * Bytes are fed as they come; small ones are copied out of the feeder's memory, the payload of a
 * write may be received straight into the buffer that the volume's owner will hash and send
 * (cw_nbd_payload). Replies are gathered in trains, one write for many of them, and read data
 * leaves from the buffer it arrived in.
 *
 * What a client can make grow is bounded: requests by CW_NBD_REQS_MAX, data by `window` bytes
 * (buffers of requests under way and unsent replies together). At the limit the connection takes no
 * more bytes, and TCP stops the client. A client that never reads its replies stops itself.
 *
 * One thread. Ops are called from any entry point; the world answers later, never from inside them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/nbd/spec.h"
#include "common/base/list.h"
#include "common/mem/buf.h"
#include "common/owner/owner.h"
#include "common/reactor/stream.h"

#define CW_NBD_BLOCK_MIN 512u
#define CW_NBD_BLOCK_PREFERRED 4096u
#define CW_NBD_BLOCK_MAX (32u * 1024 * 1024)
#define CW_NBD_SKIP_MAX (2 * CW_NBD_BLOCK_MAX)    /* longer payloads are garbage: hang up */
#define CW_NBD_PIECE_MAX (1024u * 1024)           /* a request is handed on in pieces of this */
#define CW_NBD_STATUS_MAX (32u * 1024 * 1024)     /* a BLOCK_STATUS looks no further .. */
#define CW_NBD_STATUS_DATA_MAX (4u * 1024 * 1024) /* .. and ends after so much that is no hole */
#define CW_NBD_META_ID 1u                         /* of base:allocation, the only context */
#define CW_NBD_REQS_MAX 512u                      /* unanswered, per connection */
#define CW_NBD_OPT_DATA_MAX 8192u                 /* longer options are skipped .. */
#define CW_NBD_OPT_SKIP_MAX (1024u * 1024)        /* .. up to this */
#define CW_NBD_TEXT_MAX 255u                      /* of messages for people */
#define CW_NBD_TRAIN_IOV 64u
#define CW_NBD_TRAIN_SIZE 4096u

struct cw_nbd_conn;

/* Bytes that leave together, in order: small heads kept here, bodies in counted buffers. */
struct cw_nbd_train {
    struct cw_stream_write write; /* the world's */
    void *user;                   /* the world's */
    struct cw_buf *self;          /* what it lies in */
    uint64_t len;
    uint32_t n_iov, n_bufs, n_head;
    struct iovec iov[CW_NBD_TRAIN_IOV];
    struct cw_buf *bufs[CW_NBD_TRAIN_IOV / 2];
    uint8_t head[];
};
void cw_nbd_train_free(struct cw_nbd_train *t);

/* What all connections of a server share. */
struct cw_nbd_shared {
    struct cw_buf_pool *pool;    /* data: the owner's */
    struct cw_buf_pool *heads;   /* of trains; large enough for every connection's limits */
    uint64_t window_bytes;       /* per connection, at least CW_NBD_PIECE_MAX; may change */
    uint32_t n_whole, whole_max; /* reads above the window that must be answered in one piece */
};

struct cw_nbd_ops {
    /* Answered by cw_nbd_on_list. */
    void (*list)(struct cw_nbd_conn *);
    /* Answered by cw_nbd_on_export. attach: the connection uses the export from a successful answer
     * until it is freed. name: no NUL inside. */
    void (*info)(struct cw_nbd_conn *, const char *name);
    void (*attach)(struct cw_nbd_conn *, const char *name);
    /* After attach. io->done comes back later. */
    void (*submit)(struct cw_nbd_conn *, struct cw_io *io);
    /* In order; ends with cw_nbd_train_free. */
    void (*send)(struct cw_nbd_conn *, struct cw_nbd_train *take);
    uint64_t (*unsent)(const struct cw_nbd_conn *); /* bytes of trains that are not in the socket */
    /* Something changed: cw_nbd_flush is due before the loop sleeps, bytes may be taken again, or
     * the connection may be over. Called often, cheap. */
    void (*kick)(struct cw_nbd_conn *);
    void (*log)(struct cw_nbd_conn *, enum cw_log_level, const char *line);
};

/* shared and ops outlive it. NULL if out of memory. The greeting is queued at once. */
struct cw_nbd_conn *cw_nbd_conn_new(struct cw_nbd_shared *shared, const struct cw_nbd_ops *ops,
                                    void *user);

/* Requests under way have completed (cw_nbd_busy is false). */
void cw_nbd_conn_free(struct cw_nbd_conn *c);
void *cw_nbd_user(const struct cw_nbd_conn *c);

/* Takes bytes from the front; returns how many. Less than len: the connection is at a limit, is
 * waiting for the world, or is over; offer the rest again after a kick or when memory came free. */
size_t cw_nbd_feed(struct cw_nbd_conn *c, const uint8_t *data, size_t len);

/* True: the next *ret_len (> 0) bytes of the client belong at *ret_to; say so with
 * cw_nbd_payload_got. False: feed. */
bool cw_nbd_payload(struct cw_nbd_conn *c, uint8_t **ret_to, uint32_t *ret_len);
void cw_nbd_payload_got(struct cw_nbd_conn *c, uint32_t len);

/* Would cw_nbd_feed take a byte now? Also goes on with what waited for memory. */
bool cw_nbd_ready(struct cw_nbd_conn *c);

/* Hands the open train to ops->send. */
void cw_nbd_flush(struct cw_nbd_conn *c);

/* The socket is gone: requests that were not handed to the owner are dropped, replies too. */
void cw_nbd_dead(struct cw_nbd_conn *c);

/* The server is going: what was taken is answered, what comes fails with ESHUTDOWN. */
void cw_nbd_shutdown(struct cw_nbd_conn *c);

/* Everything that was owed has been given to ops->send; close once it is sent. */
bool cw_nbd_over(const struct cw_nbd_conn *c);

/* Requests, or a call to list, info or attach, are under way. */
bool cw_nbd_busy(const struct cw_nbd_conn *c);

bool cw_nbd_negotiated(const struct cw_nbd_conn *c); /* in transmission, or past it */
uint32_t cw_nbd_n_reqs(const struct cw_nbd_conn *c);

/* ---- answers ---- */

enum cw_nbd_res {
    CW_NBD_RES_OK,
    CW_NBD_RES_UNKNOWN,  /* no such export */
    CW_NBD_RES_REFUSED,  /* in use, cluster does not answer: text says it */
    CW_NBD_RES_SHUTDOWN, /* the server is going */
};
void cw_nbd_on_list(struct cw_nbd_conn *c, enum cw_nbd_res res, const char *const *names, size_t n,
                    const char *text);
/* text: for people, when not OK. */
void cw_nbd_on_export(struct cw_nbd_conn *c, enum cw_nbd_res res, uint64_t size_bytes,
                      const char *text);

/* The export's size changed. */
void cw_nbd_set_size(struct cw_nbd_conn *c, uint64_t size_bytes);
