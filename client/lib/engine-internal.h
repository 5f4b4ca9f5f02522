/* lib/engine-internal.h - the reactor thread's side of the engine, for its files. */
#pragma once

#include <pthread.h>

#include "client/lib/control.h"
#include "client/lib/engine.h"
#include "client/lib/mailbox.h"
#include "common/owner/owner.h"
#include "common/reactor/reactor.h"

struct cw_engine {
    struct cw_reactor *reactor;
    struct cw_control *control;
    struct cw_owner *owner; /* from the first attach on: only then we know where we are */
    pthread_t thread;
    struct cw_uuid client_id, boot_id, cluster_id;

    struct cw_mailbox inbox;
    struct cw_inbox_item drain;
    struct cw_hook hook;     /* the owner's turn end */
    struct cw_defer awake;   /* keeps the loop from sleeping while the owner has work */
    struct cw_timer tick;    /* every second */
    struct cw_list volumes;  /* struct cw_engine_volume */
    struct cw_list links;    /* struct engine_link: up */
    struct cw_list connects; /* struct engine_connect: under way */
    struct cw_list late_changes, late_gets, late_releases; /* no memory to ask: answered by tick */
    const struct cw_link_events *owner_events;             /* what the owner wants of its links */
    struct cw_link_events link_events;                     /* the same, but we hear of the end */
    bool stopping;

    void (*log)(void *user, enum cw_log_level level, const char *line);
    void *log_user;

    /* how the reactor thread begins and ends; under lock */
    struct cw_reactor_opts reactor_opts;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool started, leaving; /* leaving: nobody posts any more */
    int start_res;
};

/* links.c: operations of the owner's world. */
void engine_connect(void *world, const struct cw_disk_location *to);
/* Closes what is up or under way. */
void engine_links_close(struct cw_engine *e);

/* engine.c: nothing is left after engine_links_close. */
void engine_finish(struct cw_engine *e);
/* NULL: out of memory. */
struct cw_owner *engine_owner(struct cw_engine *e, const struct cw_ctl_call *attached);
struct cw_ctl_call *engine_ask_new(struct cw_engine *e, enum cw_ctl_kind kind,
                                   void (*done)(struct cw_ctl_call *), void *user);

/* volume.c */
void engine_volumes_report(struct cw_engine *e);
void engine_on_event(struct cw_engine *e, struct cw_ctl_event *take_ev);
void engine_policy(struct cw_engine *e, const struct cw_volume_desc *desc);
