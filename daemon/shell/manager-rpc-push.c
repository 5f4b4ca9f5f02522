/* shell/manager-rpc-push.c - what the manager wants of daemons and owners. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/shell/manager-rpc.h"

/* An ask on its way; ask->priv. */
struct push {
    struct cw_rpc_call call;
    struct cw_manager_peer *peer;
    struct cw_mgr_ask *ask;
};

static void
push_hint(void *world, void *session_user, const struct cw_mgr_hint *h)
{
    struct cw_manager_peer *p = session_user;
    struct cw_mgr_arena *a = cw_mgr_arena_new();
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    CW_PB(Hint) *to = CW_PB_NEW(a, Hint, hint);

    to->host = cw_pb_text(h->host);
    to->up = h->up;
    to->n_disks = h->n_disks;
    to->disks = cw_pb_locations(a, h->disks, h->n_disks);
    to->volume_id = h->volume_id;
    m.body_case = CW_PB_BODY(HINT);
    m.hint = to;
    cw_rpc_conn_send(p->conn, &m);
    cw_mgr_arena_free(a);
}

/* ---- asks ---- */

static void
ask_caretake(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(CARETAKE);
    m->caretake = CW_PB_NEW(a, Caretake, caretake);
    m->caretake->volume_id = ask->volume_id;
    m->caretake->name = cw_pb_text(ask->name);
}

static void
ask_let_go(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(LET_GO);
    m->let_go = CW_PB_NEW(a, LetGo, let_go);
    m->let_go->volume_id = ask->volume_id;
    m->let_go->gen = ask->gen;
}

static void
ask_owner_seen(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(OWNER_SEEN);
    m->owner_seen = CW_PB_NEW(a, OwnerSeen, owner_seen);
    m->owner_seen->volume_id = ask->volume_id;
    m->owner_seen->gen = ask->gen;
}

static void
ask_drop_shards(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(DROP_SHARDS);
    m->drop_shards = CW_PB_NEW(a, DropShards, drop_shards);
    m->drop_shards->n_shards = ask->n_shards;
    m->drop_shards->shards = (uint64_t *)ask->shards;
    m->drop_shards->disk_uuid = cw_pb_uuid(&ask->disk_uuid);
}

static void
ask_verify_run(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(VERIFY_RUN);
    m->verify_run = CW_PB_NEW(a, VerifyRun, verify_run);
    m->verify_run->volume_id = ask->volume_id;
    m->verify_run->job = ask->job;
    m->verify_run->cancel = ask->cancel;
}

static void
ask_resized(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(RESIZED);
    m->resized = CW_PB_NEW(a, Resized, resized);
    m->resized->volume_id = ask->volume_id;
    m->resized->size_bytes = ask->size_bytes;
    m->resized->n_shards = ask->n_records;
    m->resized->shards = cw_pb_shards(a, ask->records, ask->n_records);
    m->resized->n_disks = ask->n_disks;
    m->resized->disks = cw_pb_locations(a, ask->disks, ask->n_disks);
}

static void
ask_scrub_run(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(SCRUB_RUN);
    m->scrub_run = CW_PB_NEW(a, ScrubRun, scrub_run);
    m->scrub_run->disk_uuid = cw_pb_uuid(&ask->disk_uuid);
}

static void
ask_evict(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(EVICT);
    m->evict = CW_PB_NEW(a, Evict, evict);
    m->evict->volume_id = ask->volume_id;
    m->evict->gen = ask->gen;
    m->evict->shard = ask->shards[0];
    m->evict->disk_uuid = cw_pb_uuid(&ask->disk_uuid);
}

static void
ask_read(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(OWNER_READ);
    m->owner_read = CW_PB_NEW(a, OwnerRead, owner_read);
    m->owner_read->volume_id = ask->volume_id;
    m->owner_read->gen = ask->gen;
    m->owner_read->offset = ask->offset;
    m->owner_read->length = (uint32_t)ask->total_bytes;
}

static void
ask_keep(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    m->body_case = CW_PB_BODY(METADATA_KEEP);
    m->metadata_keep = CW_PB_NEW(a, MetadataKeep, metadata_keep);
    m->metadata_keep->cluster_id = cw_pb_uuid(&ask->cluster_id);
    m->metadata_keep->serial = ask->serial;
    m->metadata_keep->offset = ask->offset;
    m->metadata_keep->total_bytes = ask->total_bytes;
    m->metadata_keep->data =
        (ProtobufCBinaryData){ .len = ask->n_data, .data = (uint8_t *)ask->data };
}

static void
ask_fill(struct cw_mgr_arena *a, const struct cw_mgr_ask *ask, cw_envelope *m)
{
    switch (ask->kind) {
    case CW_MGR_ASK_CARETAKE:
        ask_caretake(a, ask, m);
        return;
    case CW_MGR_ASK_LET_GO:
        ask_let_go(a, ask, m);
        return;
    case CW_MGR_ASK_OWNER_SEEN:
        ask_owner_seen(a, ask, m);
        return;
    case CW_MGR_ASK_DROP_SHARDS:
        ask_drop_shards(a, ask, m);
        return;
    case CW_MGR_ASK_VERIFY_RUN:
        ask_verify_run(a, ask, m);
        return;
    case CW_MGR_ASK_RESIZED:
        ask_resized(a, ask, m);
        return;
    case CW_MGR_ASK_SCRUB_RUN:
        ask_scrub_run(a, ask, m);
        return;
    case CW_MGR_ASK_EVICT:
        ask_evict(a, ask, m);
        return;
    case CW_MGR_ASK_READ:
        ask_read(a, ask, m);
        return;
    case CW_MGR_ASK_KEEP:
        ask_keep(a, ask, m);
        return;
    }
    cw_unreachable();
}

static void
push_free(struct push *push)
{
    cw_list_remove(&push->ask->link);
    push->ask->priv = NULL;
    free(push);
}

/* What it said beyond "done". False: not that. */
static bool
answer_in(const struct cw_mgr_ask *ask, const cw_envelope *reply, struct cw_mgr_answer *to)
{
    if (ask->kind == CW_MGR_ASK_OWNER_SEEN) {
        if (reply->body_case != CW_PB_BODY(OWNER_SEEN_REPLY))
            return false;
        to->seen = reply->owner_seen_reply->session;
        to->silent_ms = reply->owner_seen_reply->silent_ms;
    } else if (ask->kind == CW_MGR_ASK_READ) {
        if (reply->body_case != CW_PB_BODY(OWNER_READ_REPLY))
            return false;
        to->data = reply->owner_read_reply->data.data;
        to->n_data = reply->owner_read_reply->data.len;
    }
    return true;
}

static void
push_on_done(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct push *push = cw_container_of(call, struct push, call);
    struct cw_manager *manager = push->peer->rpc->manager;
    struct cw_mgr_ask *ask = push->ask;
    struct cw_mgr_answer answer = { .code = CW_MGR_OK, .message = "" };

    if (reply->error != NULL) {
        answer.code = reply->error->code == CAUSEWAY__CONTROL__ERROR_CODE__OK
                          ? CW_MGR_INTERNAL
                          : (enum cw_mgr_code)reply->error->code;
        answer.message = reply->error->message;
    } else if (!answer_in(ask, reply, &answer)) {
        answer.code = CW_MGR_BAD_REQUEST;
        answer.message = "it answered something else";
    }
    push_free(push);
    cw_manager_answered(manager, ask, &answer);
}

static void
push_ask(void *world, void *session_user, struct cw_mgr_ask *ask)
{
    struct cw_manager_peer *p = session_user;
    struct push *push = calloc(1, sizeof(*push));
    struct cw_mgr_arena *a = cw_mgr_arena_new();
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    cw_assert(push != NULL);
    push->call.done = push_on_done;
    push->peer = p;
    push->ask = ask;
    ask->priv = push;
    cw_list_push_back(&p->asks, &ask->link);
    ask_fill(a, ask, &m);
    cw_rpc_conn_call(p->conn, &push->call, &m, ask->timeout_ms > 0 ? ask->timeout_ms : 1);
    cw_mgr_arena_free(a);
}

void
cw_manager_push_forget(struct cw_manager_peer *p)
{
    struct cw_mgr_ask *ask;

    while ((ask = cw_list_first(&p->asks, struct cw_mgr_ask, link)) != NULL) {
        struct push *push = ask->priv;

        cw_rpc_call_cancel(&push->call);
        push_free(push);
    }
}

/* ---- the rest of its world ---- */

static void
push_hang_up(void *world, void *session_user)
{
    struct cw_manager_peer *p = session_user;

    cw_rpc_conn_close(p->conn, "the manager hangs up");
}

static uint64_t
push_wall_s(void *world)
{
    return (uint64_t)time(NULL);
}

static void
push_started(void *world, const char *why_not)
{
    struct cw_manager_rpc *rpc = world;

    rpc->on_started(rpc->user, why_not);
}

const struct cw_mgr_ops cw_manager_push_ops = {
    .hint = push_hint,
    .ask = push_ask,
    .hang_up = push_hang_up,
    .wall_s = push_wall_s,
    .started = push_started,
};
