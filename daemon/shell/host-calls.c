/* What the owners on the data thread ask and tell the manager. */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/shell/host-parts.h"
#include "daemon/shell/host.h"

#define CALL_MS 3000u

struct call {
    struct cw_rpc_call rpc;
    struct cw_host *h;
    struct cw_data_call *c;
};

/* An error of the manager is an answer: nothing was done. None is none: anything may have been. */
static enum cw_call_res
call_res(const cw_envelope *reply)
{
    if (reply->error == NULL)
        return CW_CALL_OK;
    switch ((int)reply->error->code) {
    case CAUSEWAY__CONTROL__ERROR_CODE__CONFLICT:
    case CAUSEWAY__CONTROL__ERROR_CODE__LAST_COPY:
    case CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND:
    case CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST:
    case CAUSEWAY__CONTROL__ERROR_CODE__LIMIT:
        return CW_CALL_REFUSED;
    default:
        return CW_CALL_UNKNOWN;
    }
}

static void
change_answer(struct cw_data_call *c, const cw_envelope *reply)
{
    const Causeway__Control__ChangeReply *m;
    struct cw_change *ch = c->change;

    ch->res = call_res(reply);
    ch->has_rec = false;
    ch->disks = NULL;
    ch->n_disks = 0;
    if (ch->res != CW_CALL_OK)
        return;
    if (reply->body_case != CAUSEWAY__CONTROL__ENVELOPE__BODY_CHANGE_REPLY) {
        ch->res = CW_CALL_UNKNOWN;
        return;
    }
    m = reply->change_reply;
    ch->res = m->applied ? CW_CALL_OK : CW_CALL_REFUSED;
    ch->volume_gen = m->volume_gen;
    ch->has_rec = m->shard != NULL && cw_host_shard_in(m->shard, &ch->rec);
    if (m->applied && !ch->has_rec)
        ch->res = CW_CALL_UNKNOWN;
    c->storage = cw_host_disks_in(m->disks, m->n_disks, &ch->n_disks);
    ch->disks = c->storage;
}

static void
get_answer(struct cw_data_call *c, const cw_envelope *reply)
{
    struct cw_volume_get *g = c->get;

    g->res = call_res(reply);
    g->desc = NULL;
    if (g->res != CW_CALL_OK)
        return;
    if (reply->body_case == CAUSEWAY__CONTROL__ENVELOPE__BODY_ATTACH_REPLY)
        c->storage = cw_host_volume_in(reply->attach_reply);
    g->desc = c->storage;
    if (g->desc == NULL)
        g->res = CW_CALL_UNKNOWN;
}

static void
call_done(struct cw_rpc_call *rpc, const cw_envelope *reply)
{
    struct call *k = cw_container_of(rpc, struct call, rpc);
    struct cw_data_call *c = k->c;

    if (c->change != NULL)
        change_answer(c, reply);
    else if (c->get != NULL)
        get_answer(c, reply);
    else
        c->release->res = call_res(reply);
    cw_data_call_answered(k->h->data, c);
    free(k);
}

/* ---- asking ---- */

static void
call_send(struct cw_host *h, struct cw_data_call *c, const cw_envelope *m, bool repeat)
{
    struct call *k = calloc(1, sizeof(*k));

    cw_assert(k != NULL);
    k->h = h;
    k->c = c;
    k->rpc.done = call_done;
    k->rpc.repeat = repeat;
    cw_rpc_session_call(h->session, &k->rpc, m, CALL_MS);
}

static void
change_send(struct cw_host *h, struct cw_data_call *c)
{
    const struct cw_change *ch = c->change;
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__Change body = CAUSEWAY__CONTROL__CHANGE__INIT;
    Causeway__Control__Member want[CW_MEMBERS_MAX], *list[CW_MEMBERS_MAX];

    for (uint32_t i = 0; i < ch->n_want; i++) {
        causeway__control__member__init(&want[i]);
        want[i].disk_uuid = cw_host_uuid(&ch->want[i].disk_uuid);
        want[i].format_id = ch->want[i].format_id;
        want[i].state = (Causeway__Control__MemberState)ch->want[i].state;
        want[i].since_seq = ch->want[i].since_seq;
        list[i] = &want[i];
    }
    body.volume_id = ch->volume;
    body.gen = ch->gen;
    body.shard = ch->shard;
    body.cfg = ch->cfg;
    body.n_want = ch->n_want;
    body.want = list;
    body.why = cw_host_text(ch->why);
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_CHANGE;
    m.change = &body;
    call_send(h, c, &m, false);
}

static void
get_send(struct cw_host *h, struct cw_data_call *c)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__GetVolume body = CAUSEWAY__CONTROL__GET_VOLUME__INIT;

    body.volume_id = c->get->volume;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_GET_VOLUME;
    m.get_volume = &body;
    call_send(h, c, &m, true);
}

static void
release_send(struct cw_host *h, struct cw_data_call *c)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__Release body = CAUSEWAY__CONTROL__RELEASE__INIT;

    body.volume_id = c->release->volume;
    body.gen = c->release->gen;
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_RELEASE;
    m.release = &body;
    call_send(h, c, &m, true);
}

void
cw_host_call(struct cw_host *h, struct cw_data_call *c)
{
    if (h->session == NULL) { /* the data thread closes; its owners wait for nothing any more */
        if (c->change != NULL)
            c->change->res = CW_CALL_UNKNOWN;
        else if (c->get != NULL)
            c->get->res = CW_CALL_UNKNOWN;
        else
            c->release->res = CW_CALL_UNKNOWN;
        cw_data_call_answered(h->data, c);
    } else if (c->change != NULL) {
        change_send(h, c);
    } else if (c->get != NULL) {
        get_send(h, c);
    } else {
        release_send(h, c);
    }
}

/* ---- telling ---- */

static void
shard_out(const struct cw_shard_report *from, Causeway__Control__ShardReport *to,
          Causeway__Control__MemberReport *members, Causeway__Control__MemberReport **list)
{
    causeway__control__shard_report__init(to);
    to->shard = from->shard;
    to->seq = from->seq;
    to->suspended = from->suspended;
    to->why = cw_host_text(from->why);
    to->n_members = from->n_members;
    to->members = list;
    for (uint32_t i = 0; i < from->n_members; i++) {
        const struct cw_member_report *mr = &from->members[i];

        causeway__control__member_report__init(&members[i]);
        members[i].disk_uuid = cw_host_uuid(&mr->disk_uuid);
        members[i].chunks_left = mr->chunks_left;
        members[i].chunks_total = mr->chunks_total;
        members[i].bytes_moved = mr->bytes_moved;
        members[i].lag = mr->lag;
        members[i].lag_ns = mr->lag_ns;
        members[i].lag_bytes = mr->lag_bytes;
        members[i].connected = mr->connected;
        members[i].flaps = mr->flaps;
        members[i].flapping = mr->flapping;
        members[i].source_uuid = cw_host_uuid(&mr->source_uuid);
        list[i] = &members[i];
    }
}

/* A shard's messages, so that one array holds them all. */
struct shard_out {
    Causeway__Control__ShardReport shard;
    Causeway__Control__MemberReport members[CW_MEMBERS_MAX], *list[CW_MEMBERS_MAX];
};

static void
report_fill(const struct cw_volume_report *v, Causeway__Control__VolumeReport *to)
{
    to->volume_id = v->volume;
    to->gen = v->gen;
    to->reads = v->reads;
    to->writes = v->writes;
    to->read_bytes = v->read_bytes;
    to->write_bytes = v->write_bytes;
    to->read_p99_ns = v->read_p99_ns;
    to->write_p99_ns = v->write_p99_ns;
    to->repaired_blocks = v->repaired_blocks;
    to->error_blocks = v->error_blocks;
    to->lost_blocks = v->lost_blocks;
    to->size_bytes = v->size_bytes;
}

void
cw_host_report(struct cw_host *h, const struct cw_volume_report *v,
               const struct cw_shard_report *shards)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__VolumeReport body = CAUSEWAY__CONTROL__VOLUME_REPORT__INIT;
    struct shard_out *out = calloc(v->n_shards + 1, sizeof(*out));
    Causeway__Control__ShardReport **list = calloc(v->n_shards + 1, sizeof(*list));

    if (h->session != NULL && out != NULL && list != NULL) {
        for (uint32_t i = 0; i < v->n_shards; i++) {
            shard_out(&shards[i], &out[i].shard, out[i].members, out[i].list);
            list[i] = &out[i].shard;
        }
        report_fill(v, &body);
        body.n_shards = v->n_shards;
        body.shards = list;
        m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_REPORT;
        m.volume_report = &body;
        cw_rpc_session_send(h->session, &m);
    }
    free(out);
    free(list);
}

void
cw_host_verify_progress(struct cw_host *h, uint64_t volume, const struct cw_verify *v)
{
    cw_envelope m = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__VerifyProgress body = CAUSEWAY__CONTROL__VERIFY_PROGRESS__INIT;

    if (h->session == NULL)
        return;
    body.job = v->job;
    body.volume_id = volume;
    body.done_bytes = v->done_bytes;
    body.total_bytes = v->total_bytes;
    body.found = v->found;
    body.repaired = v->repaired;
    body.unrepairable = v->unrepairable;
    body.copies = v->copies;
    body.differing = v->differing;
    body.finished = v->finished;
    body.failed = cw_host_text(v->failed);
    m.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VERIFY_PROGRESS;
    m.verify_progress = &body;
    cw_rpc_session_send(h->session, &m);
}
