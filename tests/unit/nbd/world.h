/* nbd/world.h - a client's bytes and a volume in memory around one NBD connection. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/nbd/proto.h"

#define WORLD_DISK_SIZE (72u * 1024 * 1024)

struct world {
    struct cw_nbd_shared shared;
    struct cw_nbd_conn *c;
    uint8_t *disk;
    uint64_t size;
    struct cw_list ios; /* submitted, not done */
    uint32_t n_submitted, n_flushes, n_attached, n_kicks, n_logs;
    int fail;          /* the next ios end so */
    uint64_t fail_off; /* .. if they cover this byte; UINT64_MAX: any */
    bool wants_list, wants_info, wants_attach;
    bool keep_unsent; /* the client does not read */
    uint64_t unsent, unsent_max, held_max;
    uint8_t *out; /* what the client received */
    size_t n_out, cap_out, at_out;
    uint64_t seed;
};

struct world *world_new(void);
void world_free(struct world *w); /* checks that nothing leaked */
uint64_t world_random(struct world *w, uint64_t below);

/* Sends bytes in pieces of at most `max` bytes (0: random ones); completes I/O when stuck. Returns
 * what could not be taken. */
size_t world_send(struct world *w, const void *bytes, size_t len, size_t max);

/* Completes the ios under way, in random order, until none is left. */
void world_complete(struct world *w);

/* The next len bytes of the server's; fails the test if they are not there. */
const uint8_t *world_take(struct world *w, size_t len);
bool world_is_silent(struct world *w); /* everything was taken */

/* ---- what clients say ---- */

void world_option(struct world *w, uint32_t opt, const void *data, uint32_t len);
void world_handshake(struct world *w, uint32_t client_flags);
void world_go(struct world *w, uint32_t opt, const char *name);
/* Up to transmission; structured: with base:allocation. */
void world_negotiate(struct world *w, bool structured);
void world_request(struct world *w, uint16_t type, uint16_t flags, uint64_t cookie, uint64_t off,
                   uint32_t len, const void *payload);

struct option_reply {
    uint32_t opt, type, len;
    const uint8_t *data;
};
struct option_reply world_option_reply(struct world *w);

/* Error of the simple reply to cookie. */
uint32_t world_simple(struct world *w, uint64_t cookie);

struct read_result {
    uint32_t error;
    uint64_t error_off;
    uint32_t n_data, n_holes, n_errors;
    bool none_left_out; /* every byte came once */
};
/* Reassembles a structured answer into to[0..len). */
struct read_result world_structured(struct world *w, uint64_t cookie, uint64_t off, uint32_t len,
                                    uint8_t *to);
