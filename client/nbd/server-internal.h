/* nbd/server-internal.h - the inside of the server, for its files. */
#pragma once

#include "client/nbd/proto.h"
#include "client/nbd/server.h"
#include "common/reactor/listener.h"
#include "common/reactor/reactor.h"

#define NBD_STAGE_SIZE (64u * 1024)

struct nbd_export;

/* An export that was taken over by force once: who is fenced later does not take it back. */
struct nbd_forced {
    struct cw_list link;
    char name[CW_ENGINE_NAME_SIZE];
};

struct cw_nbd_server {
    struct cw_engine *engine;
    struct cw_reactor *reactor;
    struct cw_listener *unix_listener, *tcp_listener;
    char volume[CW_ENGINE_NAME_SIZE]; /* "": every one */
    uint32_t linger_ms, retry_ms, greet_ms, conns_max;
    uint32_t export_conns_max; /* 0: none */
    uint64_t window_max;
    struct cw_nbd_shared shared;
    struct cw_hook hook;

    struct cw_list clients;
    uint32_t n_clients;
    struct cw_list dirty;   /* clients to look at when the turn ends */
    struct cw_list stalled; /* clients that take no bytes: looked at every turn */
    struct cw_list exports;
    struct cw_list forced;  /* struct nbd_forced */
    bool force;             /* exports that are not among them */
    struct cw_list orphans; /* ios of exports that are gone, to be failed */
    struct cw_defer orphan_work, stop_work;

    bool stopping, clean, told;
    struct cw_timer grace;
    void (*stopped)(void *user, bool clean);
    void *user;
};

enum nbd_client_state { NBD_LIVE, NBD_ENDING, NBD_GONE };

struct nbd_client {
    struct cw_list link;  /* server->clients */
    struct cw_list visit; /* server->dirty or stalled */
    struct cw_nbd_server *server;
    struct cw_nbd_conn *conn;
    struct cw_stream *stream;
    enum nbd_client_state state;
    struct cw_timer greet;

    struct cw_stream_read rd;
    bool reading, direct;
    uint32_t n_in, at_in;

    struct cw_engine_list list; /* LIST or INFO under way */
    bool listing_all;
    char name[CW_ENGINE_NAME_SIZE];

    struct nbd_export *export;
    struct cw_list export_link; /* export->users or waiters */
    struct cw_defer answer;     /* of an attach that is decided already */
    enum cw_nbd_res answer_res;
    uint64_t answer_size;
    char answer_text[CW_NBD_TEXT_MAX + 1];

    uint8_t in[NBD_STAGE_SIZE];
};

/* client.c */
void nbd_client_new(struct cw_nbd_server *s, int take_fd);
void nbd_client_visit(struct nbd_client *cl); /* at the turn's end */
void nbd_client_dirty(struct nbd_client *cl);
void nbd_client_end(struct nbd_client *cl);
/* The attach is answered, from a later call. */
void nbd_client_answer(struct nbd_client *cl, enum cw_nbd_res res, uint64_t size, const char *text);

/* export.c */
void nbd_export_attach(struct nbd_client *cl, const char *name);
void nbd_export_leave(struct nbd_client *cl);
void nbd_export_submit(struct nbd_client *cl, struct cw_io *io);
void nbd_exports_stop(struct cw_nbd_server *s);
/* Closes what is still in use. */
void nbd_exports_abandon(struct cw_nbd_server *s);

/* server.c */
void nbd_server_check_stopped(struct cw_nbd_server *s);
void nbd_server_share(struct cw_nbd_server *s); /* windows, when the number of clients changed */
/* The volume that a client means; NULL: there is none here, *ret_text says why. */
const char *nbd_server_resolve(struct cw_nbd_server *s, const char *name, const char **ret_text);
