/* reactor/internal.h - inside the room: what the loop and its objects know of each other. */
#pragma once

#include "common/base/prng.h"
#include "common/base/timerheap.h"
#include "common/reactor/reactor.h"
#include "common/reactor/ring.h"

/* Links and streams that have something to send; sent at the end of the turn. */
struct cw_flush {
    void (*fn)(struct cw_flush *);
    struct cw_list link;
    bool queued;
};

struct cw_reactor {
    struct cw_env env;
    struct cw_reactor_opts opts;
    struct cw_ring ring;
    struct cw_inbox *inbox;
    struct cw_op wake_op;
    struct cw_inbox_item stop_item;
    bool stop; /* atomic accesses only */
    struct cw_timerheap timers;
    struct cw_prng prng;
    struct cw_buf_pool *pool;
    uint64_t now_ns;

    struct cw_list hooks; /* struct cw_hook, by order */
    struct cw_list works; /* struct cw_defer */
    struct cw_list flushes;
    struct cw_list links;   /* every struct link that is not freed */
    struct cw_list starved; /* links that wait for a buffer of their pool */
    struct cw_timer starved_timer;

    uint32_t n_helpers; /* threads that resolve names or discard, and will still post */
    struct cw_reactor_stats stats;
};

void cw_flush_queue(struct cw_reactor *r, struct cw_flush *f);
void cw_flush_cancel(struct cw_flush *f);

/* Tries again for every link in `starved`; called once per turn. */
void cw_links_feed_starved(struct cw_reactor *r);
