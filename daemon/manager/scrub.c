/* manager/scrub.c - an operator wants disks to be read now: each daemon is asked, and the answer
 * names every disk. How far they are the beats tell. */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define SCRUB_MS 5000u

/* A request whose daemons are being asked; call->work. */
struct scrub {
    struct cw_list link; /* m->scrubs */
    uint64_t serial;     /* what the asks know it by */
    struct cw_mgr_call *call;
    struct cw_mgr_scrub_started *disks;
    struct cw_uuid *uuids;
    size_t n_disks, n_waiting;
};

static struct scrub *
scrub_find(const struct cw_manager *m, uint64_t serial)
{
    CW_LIST_EACH (it, &m->scrubs) {
        struct scrub *sc = cw_list_entry(it, struct scrub, link);

        if (sc->serial == serial)
            return sc;
    }
    return NULL;
}

static void
scrub_end(struct scrub *sc)
{
    struct cw_mgr_call *call = sc->call;

    call->reply.scrub_start =
        (struct cw_mgr_scrub_start_reply){ .disks = sc->disks, .n_disks = sc->n_disks };
    cw_list_remove(&sc->link);
    free(sc->uuids);
    free(sc);
    cw_mgr_done(call);
}

static void
scrub_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct scrub *sc = scrub_find(m, a->serial);

    if (sc == NULL)
        return;
    for (size_t i = 0; i < sc->n_disks; i++) {
        if (cw_uuid_equal(&sc->uuids[i], &a->ask.disk_uuid) && answer->code != CW_MGR_OK)
            sc->disks[i].failed = cw_mgr_arena_text(cw_mgr_reply_arena(sc->call), answer->message);
    }
    if (--sc->n_waiting == 0)
        scrub_end(sc);
}

/* ---- which disks ---- */

static bool
volume_lies_on(const struct cw_manager *m, const struct mgr_volume *v, const struct mgr_disk *d)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++) {
            if (cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[k]) == d)
                return true;
        }
    }
    return false;
}

struct target {
    const struct mgr_volume *volume;
    const struct mgr_disk *disk;
};

static bool
target_find(const struct cw_manager *m, struct cw_mgr_call *call, struct target *ret)
{
    const char *name = call->req.name;

    *ret = (struct target){ 0 };
    if (name[0] == '\0')
        return true;
    if (strchr(name, '/') != NULL)
        ret->disk = cw_mgr_disk_named(m, name);
    else
        ret->volume = cw_mgr_find_volume_named(&m->t, name);
    if (ret->disk != NULL || ret->volume != NULL)
        return true;
    cw_mgr_fail(call, CW_MGR_NOT_FOUND, name, "there is no %s %.120s",
                strchr(name, '/') != NULL ? "disk" : "volume", name);
    cw_mgr_error_hint(&call->error, "a disk is HOST/DISK; see: causeway scrub ls");
    return false;
}

static bool
target_has(const struct cw_manager *m, const struct target *t, const struct mgr_disk *d)
{
    if (t->disk != NULL)
        return t->disk == d;
    return t->volume == NULL || volume_lies_on(m, t->volume, d);
}

/* ---- asking ---- */

static void
scrub_add(struct cw_manager *m, struct scrub *sc, const struct mgr_disk *d)
{
    struct cw_mgr_arena *arena = cw_mgr_reply_arena(sc->call);
    char path[CW_OBJECT_SIZE];

    cw_mgr_disk_path(m, d, path);
    sc->uuids[sc->n_disks] = d->o.rec.disk.uuid;
    sc->disks[sc->n_disks++] = (struct cw_mgr_scrub_started){
        .disk = cw_mgr_arena_text(arena, path),
        .failed = cw_mgr_disk_serves(m, d) ? "" : "it does not serve now",
    };
}

/* Answers may come from inside: the count holds one of ours until all are asked. */
static void
scrub_ask(struct cw_manager *m, struct scrub *sc)
{
    sc->n_waiting = 1;
    for (size_t i = 0; i < sc->n_disks; i++) {
        const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &sc->uuids[i]);
        const struct mgr_host *h = cw_mgr_disk_host(m, d);
        struct mgr_ask *a;

        if (sc->disks[i].failed[0] != '\0' || h == NULL || h->session == NULL)
            continue;
        a = cw_mgr_ask_new(CW_MGR_ASK_SCRUB_RUN, SCRUB_MS);
        a->ask.disk_uuid = sc->uuids[i];
        a->serial = sc->serial;
        a->done = scrub_answered;
        sc->n_waiting++;
        cw_mgr_ask_send(h->session, a);
    }
    if (--sc->n_waiting == 0)
        scrub_end(sc);
}

void
cw_mgr_call_scrub_start(struct cw_manager *m, struct cw_mgr_call *call)
{
    size_t n = m->t.of[CW_REC_DISK].n + 1;
    struct scrub *sc;
    struct target t;

    if (!target_find(m, call, &t) || call->dry_run) {
        cw_mgr_done(call);
        return;
    }
    sc = calloc(1, sizeof(*sc));
    cw_assert(sc != NULL);
    sc->call = call;
    sc->serial = ++m->serial;
    sc->disks = cw_mgr_arena_get(cw_mgr_reply_arena(call), n, sizeof(*sc->disks));
    sc->uuids = calloc(n, sizeof(*sc->uuids));
    cw_assert(sc->uuids != NULL);
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        if (target_has(m, &t, d))
            scrub_add(m, sc, d);
    }
    cw_list_push_back(&m->scrubs, &sc->link);
    cw_mgr_event(m, "SCRUB_STARTED", call->req.name[0] != '\0' ? call->req.name : "every disk",
                 "asked for, disks: %zu", sc->n_disks);
    scrub_ask(m, sc);
}
