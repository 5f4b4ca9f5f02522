/* vhost/server-internal.h - the inside of the server, for its files. */
#pragma once

#include "client/vhost/proto.h"
#include "client/vhost/server.h"
#include "common/reactor/fdwatch.h"
#include "common/reactor/listener.h"
#include "common/reactor/reactor.h"

enum vhost_state { VHOST_OPENING, VHOST_SERVING, VHOST_CLOSING, VHOST_CLOSED };

struct cw_vhost_server {
    struct cw_vhost_server_opts opts;
    struct cw_reactor *reactor;
    char volume[CW_ENGINE_NAME_SIZE], socket[256];
    enum vhost_state state;
    struct cw_listener *listener;
    struct cw_engine_volume *vol; /* SERVING */
    struct cw_engine_open open;
    struct cw_engine_close close;

    struct vhost_session *current;
    struct cw_list sessions; /* the current one, and those that wait for their requests */
    struct cw_hook hook;

    char fenced[CW_VHOST_WHY_SIZE]; /* why; "": it is not */
    bool stopping, clean, told;
    struct cw_timer grace;
    struct cw_defer stop_work;
    void (*stopped)(void *user, bool clean);
    void *user;
};

struct vhost_kick {
    struct vhost_session *session;
    uint32_t queue;
    struct cw_fdwatch *watch; /* NULL: none */
};

/* One connection of a front end. */
struct vhost_session {
    struct cw_list link; /* server->sessions */
    struct cw_vhost_server *server;
    struct cw_vhost *dev;
    struct cw_fdwatch *watch; /* of its socket; NULL: it is gone */
    bool reading;             /* the watch is armed */
    bool dirty, stalled;      /* to be looked at when the turn ends; .. at the end of every turn */
    int backend_fd;
    int pid; /* of the front end, for the log */
    struct vhost_kick kick[CW_VHOST_QUEUES_MAX];
    struct cw_vhost_msg msg; /* arriving: so many bytes of head and payload are there */
    uint32_t got;
};

/* session.c */
void vhost_session_new(struct cw_vhost_server *s, int take_fd);
/* The connection is over; the session goes once nothing is under way. */
void vhost_session_end(struct vhost_session *ss);
/* Has its other end hung up, even if that was not read yet? */
bool vhost_session_is_gone(const struct vhost_session *ss);
/* At the end of a turn; may free it. */
void vhost_session_visit(struct vhost_session *ss);

/* server.c */
void vhost_server_check(struct cw_vhost_server *s); /* a session ended, or went */
