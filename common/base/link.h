/* base/link.h - one data-plane connection as a decider sees it: frames in order, until it breaks.
 *
 * A link is born up (HELLO was exchanged below it) and dies once. The reactor implements it over
 * TCP or a unix socket, the simulator over its network. HELLO says who is at the other end.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/uuid.h"

struct cw_frame; /* codec/frame.h: a received frame, borrowed for the call */
struct cw_msg;   /* mem/msg.h: a frame to be sent, counted */
struct cw_link;

struct cw_link_ops {
    /* Takes one reference of msg. Frames leave in order at the end of the loop turn, or never if
     * the link breaks first; after the break sends are dropped silently. */
    void (*send)(struct cw_link *, struct cw_msg *take_msg);
    /* Asks for the end; on_down still comes, not from inside close. */
    void (*close)(struct cw_link *);
};

struct cw_link_events {
    /* The frame has a valid header and checksum array, its opaque payload is verified; blocks are
     * not verified yet. Borrowed for the call (see codec/frame.h for keeping the data). */
    void (*on_frame)(struct cw_link *, const struct cw_frame *);
    /* Exactly once and last: reason is a negative errno. Afterwards the link must not be used. */
    void (*on_down)(struct cw_link *, int reason);
};

struct cw_link {
    const struct cw_link_ops *ops;
    const struct cw_link_events *ev; /* set by whoever is handed the link, before it returns */
    void *user;                      /* that one's */
    struct cw_uuid peer_id;          /* from HELLO: client instance, or disk of the far replica */
    uint64_t peer_incarnation;       /* from HELLO: of the far daemon, 0 for clients */
    uint64_t features;               /* from HELLO: enum cw_hello_feature that both sides know */
    uint32_t tx_queued_bytes;        /* waiting in this end, the world keeps it current */
    bool local;                      /* same machine (unix socket) */
};

static inline void
cw_link_send(struct cw_link *l, struct cw_msg *take_msg)
{
    l->ops->send(l, take_msg);
}

static inline void
cw_link_close(struct cw_link *l)
{
    l->ops->close(l);
}
