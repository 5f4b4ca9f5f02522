/* lib/volume-internal.h - a volume of the engine, for volume.c and standby.c. */
#pragma once

#include "client/lib/engine-internal.h"

#define LET_GO_MAX 4u

struct standby;

enum volume_state {
    VOLUME_ATTACHING,
    VOLUME_PAUSING,
    VOLUME_OPENING,
    VOLUME_OPEN,
    VOLUME_STANDBY, /* until it is taken; meanwhile any of the first three */
    VOLUME_CLOSING
};

struct cw_engine_volume {
    struct cw_list link;
    struct cw_engine *engine;
    struct cw_volume *vol; /* from OPENING on */
    enum volume_state state;
    char name[CW_ENGINE_NAME_SIZE];
    const struct cw_engine_volume_events *ev;
    void *user;
    struct cw_engine_open *open;        /* until its done */
    char refusal[CW_ENGINE_ERROR_SIZE]; /* of the attach, while it is asked whether to stand by */
    bool cancelled;
    uint64_t begun_ns;
    struct cw_timer timer; /* PAUSING: the next try; CLOSING: enough waited */
    struct cw_engine_close *close;
    struct cw_verify verify;
    bool verifying;
    struct cw_ctl_event *resize; /* owed an answer, as the next */
    struct cw_ctl_event *let_go[LET_GO_MAX];
    uint32_t n_let_go;
    struct standby *standby; /* not NULL: it stands by, or is being taken */
    struct cw_list reads;    /* for who stands by elsewhere */
};

/* Takes it by v->open; its end is told to open->done. */
void volume_attach(struct cw_engine_volume *v);
void volume_closed(struct cw_engine_volume *v, int res);

/* ---- standby.c ---- */

/* NULL: no memory. */
struct standby *standby_new(struct cw_engine_volume *v, const struct cw_volume_desc *desc);
void standby_free(struct standby *b); /* NULL is fine */
uint64_t standby_size(const struct standby *b);
void standby_submit(struct standby *b, struct cw_io *io);
void standby_take(struct standby *b);
/* Ends it all: volume_closed comes, never from inside. */
void standby_close(struct standby *b);

/* What the manager asks of us as the owner, for who stands by elsewhere. */
void owner_read(struct cw_engine_volume *v, struct cw_ctl_event *take_ev);
void owner_reads_drop(struct cw_engine_volume *v);
