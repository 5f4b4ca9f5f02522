/* reactor/link.h - struct cw_link over TCP or a unix socket.
 *
 *   connect --HELLO--> <--HELLO(status)-- up ..frames.. down
 *
 * HELLO is exchanged here, below the deciders. A frame reaches its consumer only after header,
 * checksum array and opaque payload were verified; an invalid one ends the link (-EPROTO) with a
 * log line that names the peer. Small frames are parsed where they were received; CW_F_DATA
 * payloads above 64 KiB are received straight into a buffer of their own (frame.buf).
 *
 * Receives are single-shot with a buffer chosen by the kernel at arrival: an idle link holds no
 * memory, and a link that is paused or finds the pool empty simply does not ask again; TCP then
 * stops its peer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/link.h"
#include "common/mem/buf.h"
#include "common/reactor/reactor.h"
#include "proto/wire.h"

#define CW_HELLO_FRAME_BYTES (64 + 8 + sizeof(struct cw_wire_hello))

/* ---- connecting ---- */

/* Embedded in what connects; its address holds until done. */
struct cw_link_connect {
    const char *addr;           /* "HOST:PORT", or "unix:PATH"; borrowed for the call */
    struct cw_wire_hello hello; /* ours; kind, versions and status are set here */
    uint32_t timeout_ms;        /* for connecting and HELLO together; 0: 3000 */
    struct cw_buf_pool *pool;   /* for received frames; NULL: the reactor's */

    /* Exactly once, never from inside connect. res 0: the link is up, the callee has set ev and
     * user of it when it returns (or has closed it). res > 0: enum cw_hello_status, the other end
     * refused with *reply. res < 0: errno; then reply is NULL. */
    void (*done)(struct cw_link_connect *, int res, struct cw_link *l,
                 const struct cw_wire_hello *reply);
    void *priv; /* the reactor's while under way */
};

void cw_link_connect(struct cw_reactor *r, struct cw_link_connect *c);

/* done still comes, with -ECANCELED; not from inside cancel. */
void cw_link_connect_cancel(struct cw_link_connect *c);

/* ---- accepting ---- */

/* Embedded in whoever decides about HELLOs; must outlive the links still in HELLO. */
struct cw_link_server {
    /* req is a DATA or CONTROL hello with a version of ours. CW_HELLO_OK: the link is up, the
     * callee has set ev and user of it; frames it sends follow the reply. Anything else: the reply
     * is sent and the link vanishes. reply comes zeroed: the callee fills credits, ids, format,
     * incarnation. */
    enum cw_hello_status (*on_hello)(struct cw_link_server *, const struct cw_wire_hello *req,
                                     struct cw_wire_hello *reply, struct cw_link *l);
    struct cw_buf_pool *pool;  /* for received frames; NULL: the reactor's */
    uint32_t hello_timeout_ms; /* 0: 3000 */
    uint32_t n_pending;        /* links in HELLO; 0 when it may be freed */
};

/* Takes over a connected socket. bytes: what was already read from it (the HELLO frame, possibly
 * more), at most 64 KiB, copied; NULL with len 0 if nothing was. Failure closes the socket. */
void cw_link_adopt(struct cw_reactor *r, struct cw_link_server *s, int take_fd, const void *bytes,
                   size_t len);

/* ---- up ---- */

/* Frames stop being delivered from the next one on, until false. Nests not. Only for links of this
 * room. A link that is paused notices its peer's end only after it was resumed. */
void cw_link_pause(struct cw_link *l, bool paused);

/* "127.0.0.1:41234" or "unix:PATH"; lives as long as the link. */
const char *cw_link_peer_name(const struct cw_link *l);

/* From HELLO: what the other end lets us have unanswered. */
const struct cw_wire_hello *cw_link_peer_hello(const struct cw_link *l);

/* Every link, connect and adopted socket of the reactor ends without another callback, for whoever
 * frees their consumers next. Until the end of the turn the links may still be closed. */
void cw_links_drop_all(struct cw_reactor *r);
