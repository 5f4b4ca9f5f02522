/* reactor/stream.h - raw bytes over a connected socket, for protocols of others (NBD).
 *
 * One read at a time into the caller's memory; any number of writes, sent in order, one sendmsg per
 * loop turn. Requests are embedded in their owner and complete exactly once, never from inside the
 * call that submitted them.
 */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include "common/base/list.h"
#include "common/reactor/reactor.h"

struct cw_stream;

/* Takes over a connected socket. NULL: out of memory (the socket is closed). */
struct cw_stream *cw_stream_new(struct cw_reactor *r, int take_fd);

/* Ends the connection now: requests under way complete with -ECANCELED (from a later turn), what
 * was not sent yet is dropped. Then, once all have completed, `closed` is called and the stream is
 * gone; closed may be NULL. */
void cw_stream_close(struct cw_stream *s, void (*closed)(void *user), void *user);

/* "127.0.0.1:41234", "unix:PATH", or "unix:pid=N" of the peer; lives as long as the stream. */
const char *cw_stream_peer_name(const struct cw_stream *s);

struct cw_stream_read {
    uint8_t *buf;
    uint32_t min, max; /* completes when min <= bytes <= max are there; 1 <= min <= max */

    /* res: bytes; less than min (0 included) when the peer ended the connection; negative errno. */
    void (*done)(struct cw_stream_read *, int res);
    uint32_t got; /* the stream's while under way */
};

/* One at a time. */
void cw_stream_read(struct cw_stream *s, struct cw_stream_read *rd);

struct cw_stream_write {
    const struct iovec *iov; /* array and memory are borrowed until done */
    uint32_t n_iov;          /* 1..64 */

    void (*done)(struct cw_stream_write *, int res); /* 0: all is in the socket; negative errno */
    struct cw_list link;                             /* the stream's while under way */
    uint64_t len, sent;                              /* the stream's while under way */
};

void cw_stream_write(struct cw_stream *s, struct cw_stream_write *w);

/* Bytes of writes that are not in the socket yet. */
uint64_t cw_stream_queued_bytes(const struct cw_stream *s);
