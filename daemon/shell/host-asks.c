/* What the manager asks of a host: translated, put to the data thread, answered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/shell/host-parts.h"
#include "daemon/shell/host.h"

#define ATTACH_MS 10000u

/* A question on its way. */
struct ask {
    struct cw_data_ask a;
    struct cw_rpc_req *req; /* NULL: no answer is owed */
    struct cw_host *h;
};

static void
ask_free(struct ask *k)
{
    free(k->a.shards);
    free(k->a.recs);
    free(k->a.disks);
    free(k->a.desc);
    free(k);
}

static Causeway__Control__ErrorCode
ask_code(int res)
{
    switch (res) {
    case -ENOENT:
        return CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND;
    case -EBUSY:
        return CAUSEWAY__CONTROL__ERROR_CODE__BUSY;
    case -EINVAL:
        return CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST;
    case -ESHUTDOWN:
        return CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE;
    default:
        return CAUSEWAY__CONTROL__ERROR_CODE__INTERNAL;
    }
}

static void
ask_reply_seen(struct ask *k)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__OwnerSeenReply r = CAUSEWAY__CONTROL__OWNER_SEEN_REPLY__INIT;

    r.session = k->a.session;
    r.silent_ms = k->a.session ? k->a.silent_ms : 0;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_OWNER_SEEN_REPLY;
    m.owner_seen_reply = &r;
    cw_rpc_req_reply(k->req, &m);
}

static void
ask_answer(struct ask *k)
{
    int res = k->a.res;

    if (k->a.kind == CW_DATA_LET_GO && res == -ENOENT)
        res = 0; /* not held is what was wanted */
    if (res != 0)
        cw_rpc_req_error(k->req, ask_code(res), k->h->o->host, NULL, "host %s: %s", k->h->o->host,
                         res < 0 ? strerror(-res) : "the store refused");
    else if (k->a.kind == CW_DATA_OWNER_SEEN)
        ask_reply_seen(k);
    else
        cw_rpc_req_empty(k->req);
}

static void
ask_done(struct cw_data_ask *a)
{
    struct ask *k = cw_container_of(a, struct ask, a);

    if (k->req != NULL)
        ask_answer(k);
    ask_free(k);
}

static struct ask *
ask_new(struct cw_host *h, enum cw_data_ask_kind kind, struct cw_rpc_req *take_req)
{
    struct ask *k = calloc(1, sizeof(*k));

    cw_assert(k != NULL);
    k->h = h;
    k->req = take_req;
    k->a.kind = kind;
    k->a.done = ask_done;
    return k;
}

static void
ask_bad(struct ask *k)
{
    if (k->req != NULL)
        cw_rpc_req_error(k->req, CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST, k->h->o->host, NULL,
                         "host %s: the request makes no sense", k->h->o->host);
    ask_free(k);
}

/* ---- translations ---- */

static void
ask_owner_seen(struct cw_host *h, const Causeway__Control__OwnerSeen *m, struct cw_rpc_req *req)
{
    struct ask *k = ask_new(h, CW_DATA_OWNER_SEEN, req);

    k->a.volume = m->volume_id;
    k->a.gen = m->gen;
    cw_data_ask(h->data, &k->a);
}

static void
ask_drop(struct cw_host *h, const Causeway__Control__DropShards *m, struct cw_rpc_req *req)
{
    struct ask *k = ask_new(h, CW_DATA_DROP, req);

    if (m->disk_uuid.len > 0 && !cw_host_uuid_in(&m->disk_uuid, &k->a.disk_uuid)) {
        ask_bad(k);
        return;
    }
    k->a.shards = calloc(m->n_shards + 1, sizeof(uint64_t));
    cw_assert(k->a.shards != NULL);
    if (m->n_shards > 0)
        memcpy(k->a.shards, m->shards, m->n_shards * sizeof(uint64_t));
    k->a.n_shards = m->n_shards;
    cw_data_ask(h->data, &k->a);
}

static void
ask_hint(struct cw_host *h, const Causeway__Control__Hint *m, struct cw_rpc_req *req)
{
    struct ask *k = ask_new(h, CW_DATA_HINT, req);

    snprintf(k->a.host, sizeof(k->a.host), "%s", m->host != NULL ? m->host : "");
    k->a.up = m->up;
    k->a.volume = m->volume_id;
    k->a.disks = cw_host_disks_in(m->disks, m->n_disks, &k->a.n_disks);
    cw_data_ask(h->data, &k->a);
}

static void
ask_let_go(struct cw_host *h, const Causeway__Control__LetGo *m, struct cw_rpc_req *req)
{
    struct ask *k = ask_new(h, CW_DATA_LET_GO, req);

    k->a.volume = m->volume_id;
    k->a.gen = m->gen;
    cw_data_ask(h->data, &k->a);
}

static void
ask_verify(struct cw_host *h, const Causeway__Control__VerifyRun *m, struct cw_rpc_req *req)
{
    struct ask *k = ask_new(h, CW_DATA_VERIFY, req);

    k->a.volume = m->volume_id;
    k->a.job = m->job;
    k->a.cancel = m->cancel;
    cw_data_ask(h->data, &k->a);
}

static void
ask_resized(struct cw_host *h, const Causeway__Control__Resized *m, struct cw_rpc_req *req)
{
    struct ask *k = ask_new(h, CW_DATA_RESIZED, req);

    k->a.volume = m->volume_id;
    k->a.size_bytes = m->size_bytes;
    k->a.recs = cw_host_shards_in(m->shards, m->n_shards);
    k->a.n_recs = (uint32_t)m->n_shards;
    k->a.disks = cw_host_disks_in(m->disks, m->n_disks, &k->a.n_disks);
    if (k->a.recs == NULL)
        ask_bad(k);
    else
        cw_data_ask(h->data, &k->a);
}

static void
ask_scrub(struct cw_host *h, const Causeway__Control__ScrubRun *m, struct cw_rpc_req *req)
{
    struct ask *k = ask_new(h, CW_DATA_SCRUB, req);

    if (cw_host_uuid_in(&m->disk_uuid, &k->a.disk_uuid))
        cw_data_ask(h->data, &k->a);
    else
        ask_bad(k);
}

static void
ask_evict(struct cw_host *h, const Causeway__Control__Evict *m, struct cw_rpc_req *req)
{
    struct ask *k = ask_new(h, CW_DATA_EVICT, req);

    k->a.volume = m->volume_id;
    k->a.gen = m->gen;
    k->a.shards = calloc(1, sizeof(uint64_t));
    cw_assert(k->a.shards != NULL);
    k->a.shards[0] = m->shard;
    k->a.n_shards = 1;
    if (cw_host_uuid_in(&m->disk_uuid, &k->a.disk_uuid))
        cw_data_ask(h->data, &k->a);
    else
        ask_bad(k);
}

/* ---- caretaking: the attach is ours to ask for ---- */

struct caretake {
    struct cw_rpc_call call;
    struct cw_host *h;
    uint64_t volume;
};

static void
caretake_on_attach(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct caretake *c = cw_container_of(call, struct caretake, call);
    struct cw_host *h = c->h;
    struct cw_volume_desc *desc = NULL;
    struct ask *k;

    if (reply->error != NULL)
        cw_log(h->env, CW_LOG_INFO, "volume %llu: not taken into care: %s",
               (unsigned long long)c->volume, reply->error->message);
    else if (reply->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_ATTACH_REPLY)
        desc = cw_host_volume_in(reply->attach_reply);
    free(c);
    if (desc == NULL)
        return;
    k = ask_new(h, CW_DATA_CARETAKE, NULL);
    k->a.desc = desc;
    cw_data_ask(h->data, &k->a);
}

static void
ask_caretake(struct cw_host *h, const Causeway__Control__Caretake *m, struct cw_rpc_req *req)
{
    cw_envelope e = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__Attach a = CAUSEWAY__CONTROL__ATTACH__INIT;
    struct caretake *c = calloc(1, sizeof(*c));

    cw_assert(c != NULL);
    c->h = h;
    c->volume = m->volume_id;
    c->call.done = caretake_on_attach;
    a.volume_id = m->volume_id;
    a.caretaker = true;
    e.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_ATTACH;
    e.attach = &a;
    if (req != NULL)
        cw_rpc_req_empty(req);
    cw_rpc_session_call(h->session, &c->call, &e, ATTACH_MS);
}

void
cw_host_asked(struct cw_host *h, const cw_envelope *m, struct cw_rpc_req *req)
{
    if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_HINT)
        ask_hint(h, m->hint, req);
    else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_OWNER_SEEN)
        ask_owner_seen(h, m->owner_seen, req);
    else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_CARETAKE)
        ask_caretake(h, m->caretake, req);
    else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_LET_GO)
        ask_let_go(h, m->let_go, req);
    else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_DROP_SHARDS)
        ask_drop(h, m->drop_shards, req);
    else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_VERIFY_RUN)
        ask_verify(h, m->verify_run, req);
    else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_RESIZED)
        ask_resized(h, m->resized, req);
    else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_SCRUB_RUN)
        ask_scrub(h, m->scrub_run, req);
    else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_EVICT)
        ask_evict(h, m->evict, req);
    else if (m->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_METADATA_KEEP && req != NULL)
        cw_host_keep_part(h, m->metadata_keep, req);
    else if (req != NULL)
        cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST, h->o->host, NULL,
                         "host %s does not know this request (version " CW_VERSION ")", h->o->host);
}
