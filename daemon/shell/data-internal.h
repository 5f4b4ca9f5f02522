/* shell/data-internal.h - what the files of the data thread share. Everything on that thread. */
#pragma once

#include <pthread.h>

#include "common/reactor/disk.h"
#include "common/reactor/link.h"
#include "common/reactor/listener.h"
#include "daemon/shell/data.h"
#include "daemon/shell/dial.h"
#include "daemon/shell/memory.h"

/* A store of this daemon. */
struct cw_slot {
    struct cw_data *d;
    const char *path;
    char name[24];
    char label[300]; /* "store-0: PATH", in log lines */
    struct cw_disk *disk;
    struct cw_replica *replica;
    bool identified, serving, closing, closed, claiming;
    uint64_t stuck_ns; /* while it is closed: since when its disk does not answer; 0: it does */
};

/* A volume without a client that this daemon owns for a while. */
struct cw_care {
    struct cw_list link;
    struct cw_data *d;
    struct cw_volume *v;
    uint64_t id;
    bool releasing, over;   /* over: the volume ended, only a verify may be left */
    struct cw_list waiting; /* struct cw_data_ask: LET_GO, RESIZED */
    struct cw_verify verify;
    bool verifying;
};

struct cw_data {
    struct cw_data_opts opts;
    struct cw_bridge bridge;
    struct cw_reactor *r;
    struct cw_env *env;
    struct cw_memory memory;
    pthread_t thread;
    struct cw_hook hook;
    struct cw_hop hop; /* starting, closing, joining: one after the other */
    struct cw_defer wake;

    struct cw_slot slots[CW_STORES_MAX];
    uint32_t n_slots, n_waiting;
    bool ready, closing, close_due; /* close_due: once the claims under way are over */
    bool hangs;                     /* a disk was given up with I/O under way */
    char why[CW_DATA_WHY_SIZE];
    int close_res;

    struct cw_uuid cluster_id;
    struct cw_link_server server;
    struct cw_listener *listener;
    struct cw_list dials; /* of replicas and of the owner */

    struct cw_owner *owner;
    struct cw_list cares;
    struct cw_timer report_timer, release_timer, hang_timer;
    uint64_t release_until_ns;
};

/* data.c */
uint64_t cw_data_link_bytes(const struct cw_data *d);
void cw_data_dial(struct cw_data *d, struct cw_dial *dial);

/* slots.c */
void cw_slots_open(struct cw_data *d);
void cw_slots_close(struct cw_data *d);
void cw_slots_on_hang_timer(struct cw_timer *t);
void cw_slots_free(struct cw_data *d);
void cw_slots_claim(struct cw_data *d);
void cw_slots_look(struct cw_data *d, struct cw_data_look *l);
void cw_slots_owner_seen(struct cw_data *d, struct cw_data_ask *a);
void cw_slots_drop(struct cw_data *d, struct cw_data_ask *a);
void cw_slots_scrub(struct cw_data *d, struct cw_data_ask *a);
struct cw_slot *cw_slot_find(struct cw_data *d, const struct cw_uuid *disk_uuid);

/* data.c: what slots tell */
void cw_data_opened(struct cw_data *d);
void cw_data_slots_closed(struct cw_data *d);
void cw_data_ask_done(struct cw_data_ask *a, int res);

/* care.c */
bool cw_cares_init(struct cw_data *d);
void cw_cares_fini(struct cw_data *d);
void cw_cares_turn_end(struct cw_data *d);
void cw_cares_ask(struct cw_data *d, struct cw_data_ask *a);
void cw_cares_release_all(struct cw_data *d);
bool cw_cares_empty(const struct cw_data *d);
