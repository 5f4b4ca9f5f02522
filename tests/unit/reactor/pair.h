/* Two ends of data links on one reactor: a server that takes every HELLO, and connectors. */
#pragma once

#include "common/codec/frame.h"
#include "common/codec/hash.h"
#include "common/reactor/link.h"
#include "common/reactor/listener.h"
#include "tests/unit/reactor/harness.h"

#define END_KEPT_MAX 64

/* One end of a link and what happened to it. */
struct end {
    struct cw_link *l; /* NULL before it is up and after it is down */
    struct cw_wire_hdr last;
    uint64_t n_frames, n_bytes, sum; /* sum: of hashes of everything that arrived, order matters */
    uint64_t n_misaligned, n_own, n_bad;
    struct cw_buf *kept[END_KEPT_MAX]; /* if keep: bodies of its own */
    uint32_t n_kept;
    bool keep;
    uint64_t pause_after; /* frames; 0: never */
    int down_reason, n_down;
};

struct pair {
    struct harness h;
    struct cw_link_server server;
    struct cw_listener *listener;
    enum cw_hello_status answer;
    struct cw_wire_hello seen;
    struct end at_server; /* the newest link's */
    bool many;            /* links without an end each: only counted */
    uint32_t n_up, n_down;
};

void pair_start(struct pair *p, void **state, bool tcp);
void pair_stop(struct pair *p);

/* Connects and turns until done came; returns its res. */
int pair_connect(struct pair *p, struct end *client);
int pair_connect_to(struct pair *p, struct end *client, const char *addr, uint32_t timeout_ms,
                    struct cw_wire_hello *ret_reply);

/* A plain blocking socket, connected to the listener. */
int pair_raw(struct pair *p);

/* A WRITE of nblk blocks filled from the seed; *sum advances as the receiver's will. */
struct cw_msg *pair_write(struct cw_buf_pool *pool, uint32_t nblk, uint64_t seq, uint64_t *sum);
struct cw_msg *pair_opaque(struct cw_buf_pool *pool, uint32_t len, uint64_t seq, uint64_t *sum);

/* Links of `many` mode are told apart by nobody. */
extern const struct cw_link_events end_events;
