/* lib/tell.c - what owner and manager tell each other: reports, hints, verify, resize. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/lib/control-internal.h"

/* ---- reports ---- */

/* Everything of one report in one allocation. */
struct report_text {
    Causeway__Control__MemberReport member[CW_MEMBERS_MAX], *members[CW_MEMBERS_MAX];
    Causeway__Control__ShardReport shard;
};

static void
fill_member(Causeway__Control__MemberReport *to, struct cw_member_report *from)
{
    causeway__control__member_report__init(to);
    to->disk_uuid.data = from->disk_uuid.b;
    to->disk_uuid.len = sizeof(from->disk_uuid.b);
    to->chunks_left = from->chunks_left;
    to->chunks_total = from->chunks_total;
    to->bytes_moved = from->bytes_moved;
    to->lag = from->lag;
    to->lag_ns = from->lag_ns;
    to->lag_bytes = from->lag_bytes;
    to->connected = from->connected;
    to->flaps = from->flaps;
    to->flapping = from->flapping;
    to->source_uuid.data = from->source_uuid.b;
    to->source_uuid.len = cw_uuid_is_nil(&from->source_uuid) ? 0 : sizeof(from->source_uuid.b);
}

static void
fill_shard(struct report_text *to, struct cw_shard_report *from)
{
    causeway__control__shard_report__init(&to->shard);
    to->shard.shard = from->shard;
    to->shard.seq = from->seq;
    to->shard.suspended = from->suspended;
    to->shard.why = from->why;
    to->shard.n_members = from->n_members;
    to->shard.members = to->members;
    for (uint32_t i = 0; i < from->n_members; i++) {
        fill_member(&to->member[i], &from->members[i]);
        to->members[i] = &to->member[i];
    }
}

static void
report_send(struct cw_control *c, struct cw_ctl_report *r)
{
    uint32_t n = r->volume.n_shards;
    struct report_text *text = calloc(n + 1, sizeof(*text));
    Causeway__Control__ShardReport **shards = calloc(n + 1, sizeof(*shards));
    Causeway__Control__VolumeReport m = CAUSEWAY__CONTROL__VOLUME_REPORT__INIT;
    cw_envelope body = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    m.volume_id = r->volume.volume;
    m.gen = r->volume.gen;
    m.reads = r->volume.reads;
    m.writes = r->volume.writes;
    m.read_bytes = r->volume.read_bytes;
    m.write_bytes = r->volume.write_bytes;
    m.read_p99_ns = r->volume.read_p99_ns;
    m.write_p99_ns = r->volume.write_p99_ns;
    m.repaired_blocks = r->volume.repaired_blocks;
    m.error_blocks = r->volume.error_blocks;
    m.lost_blocks = r->volume.lost_blocks;
    m.size_bytes = r->volume.size_bytes;
    if (text != NULL && shards != NULL) {
        m.n_shards = n;
        m.shards = shards;
        for (uint32_t i = 0; i < n; i++) {
            fill_shard(&text[i], &r->shard[i]);
            shards[i] = &text[i].shard;
        }
        body.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_REPORT;
        body.volume_report = &m;
        cw_rpc_session_send(c->session, &body);
    }
    free(shards);
    free(text);
}

static void
report_arrived(struct cw_engine_task *t)
{
    struct cw_ctl_report *r = cw_container_of(t, struct cw_ctl_report, task);

    if (r->control->session != NULL)
        report_send(r->control, r);
    free(r);
}

void
cw_control_report(struct cw_control *c, struct cw_ctl_report *take_malloced)
{
    if (c->closed) {
        free(take_malloced);
        return;
    }
    take_malloced->control = c;
    take_malloced->task.fn = report_arrived;
    cw_mailbox_post(&c->inbox, &take_malloced->task);
}

/* ---- progress of a verify ---- */

struct progress {
    struct cw_engine_task task;
    struct cw_control *control;
    uint64_t volume;
    struct cw_verify verify; /* a copy: only its numbers and text */
};

static void
progress_arrived(struct cw_engine_task *t)
{
    struct progress *p = cw_container_of(t, struct progress, task);
    Causeway__Control__VerifyProgress m = CAUSEWAY__CONTROL__VERIFY_PROGRESS__INIT;
    cw_envelope body = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    m.job = p->verify.job;
    m.volume_id = p->volume;
    m.done_bytes = p->verify.done_bytes;
    m.total_bytes = p->verify.total_bytes;
    m.found = p->verify.found;
    m.repaired = p->verify.repaired;
    m.unrepairable = p->verify.unrepairable;
    m.copies = p->verify.copies;
    m.differing = p->verify.differing;
    m.finished = p->verify.finished;
    m.failed = p->verify.failed;
    body.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VERIFY_PROGRESS;
    body.verify_progress = &m;
    if (p->control->session != NULL)
        cw_rpc_session_send(p->control->session, &body);
    free(p);
}

void
cw_control_verify_progress(struct cw_control *c, uint64_t volume, const struct cw_verify *j)
{
    struct progress *p = c->closed ? NULL : malloc(sizeof(*p));

    if (p == NULL)
        return;
    *p = (struct progress){
        .task.fn = progress_arrived, .control = c, .volume = volume, .verify = *j
    };
    cw_mailbox_post(&c->inbox, &p->task);
}

/* ---- from the manager ---- */

static void
event_free(struct cw_ctl_event *ev)
{
    free(ev->shards);
    free(ev->disks);
    free(ev->data);
    free(ev);
}

static void
event_send_data(struct cw_rpc_req *req, const struct cw_ctl_event *ev)
{
    Causeway__Control__OwnerReadReply m = CAUSEWAY__CONTROL__OWNER_READ_REPLY__INIT;
    cw_envelope body = CAUSEWAY__CONTROL__ENVELOPE__INIT;

    m.data = (ProtobufCBinaryData){ .len = ev->data != NULL ? ev->len : 0, .data = ev->data };
    body.body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_OWNER_READ_REPLY;
    body.owner_read_reply = &m;
    cw_rpc_req_reply(req, &body);
}

static void
event_answered(struct cw_engine_task *t)
{
    struct cw_ctl_event *ev = cw_container_of(t, struct cw_ctl_event, task);
    struct cw_rpc_req *req = ev->req;

    if (req == NULL)
        ;
    else if (ev->res == 0 && ev->kind == CW_CTL_ON_READ)
        event_send_data(req, ev);
    else if (ev->res == 0)
        cw_rpc_req_empty(req);
    else if (ev->res == -ENOENT)
        cw_rpc_req_error(req, CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND, NULL, NULL,
                         "this client does not own that volume");
    else
        cw_rpc_req_error(req,
                         ev->res == -EBUSY ? CAUSEWAY__CONTROL__ERROR_CODE__BUSY
                                           : CAUSEWAY__CONTROL__ERROR_CODE__INTERNAL,
                         NULL, NULL, "%s", strerror(-ev->res));
    event_free(ev);
}

void
cw_control_answer(struct cw_control *c, struct cw_ctl_event *take_ev, int res)
{
    take_ev->res = res;
    take_ev->task.fn = event_answered;
    if (c->closed) /* the session ends: its requests end with it */
        event_free(take_ev);
    else
        cw_mailbox_post(&c->inbox, &take_ev->task);
}

static void
event_arrived(struct cw_engine_task *t)
{
    struct cw_ctl_event *ev = cw_container_of(t, struct cw_ctl_event, task);

    ev->control->on_event(ev->control->user, ev);
}

static void
event_hint(struct cw_ctl_event *ev, const Causeway__Control__Hint *m)
{
    ev->kind = CW_CTL_ON_HINT;
    ev->volume = m->volume_id;
    snprintf(ev->host, sizeof(ev->host), "%s", m->host);
    ev->up = m->up;
    ev->disks = cw_plain_disks(m->disks, m->n_disks, &ev->n_disks);
}

static bool
event_resized(struct cw_ctl_event *ev, const Causeway__Control__Resized *m)
{
    ev->kind = CW_CTL_ON_RESIZED;
    ev->volume = m->volume_id;
    ev->size_bytes = m->size_bytes;
    ev->disks = cw_plain_disks(m->disks, m->n_disks, &ev->n_disks);
    ev->shards = m->n_shards > 0 ? calloc(m->n_shards, sizeof(*ev->shards)) : NULL;
    if (ev->shards == NULL)
        return false;
    ev->n_shards = (uint32_t)m->n_shards;
    for (size_t i = 0; i < m->n_shards; i++) {
        if (!cw_plain_shard(m->shards[i], &ev->shards[i]))
            return false;
    }
    return true;
}

/* False: not for us, or nonsense. */
static bool
event_fill(struct cw_ctl_event *ev, const cw_envelope *m)
{
    switch ((int)m->body_case) {
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_HINT:
        event_hint(ev, m->hint);
        return true;
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_VERIFY_RUN:
        ev->kind = CW_CTL_ON_VERIFY;
        ev->volume = m->verify_run->volume_id;
        ev->job = m->verify_run->job;
        ev->cancel = m->verify_run->cancel;
        return true;
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_RESIZED:
        return event_resized(ev, m->resized);
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_EVICT:
        ev->kind = CW_CTL_ON_EVICT;
        ev->volume = m->evict->volume_id;
        ev->shard = m->evict->shard;
        return cw_plain_uuid(&m->evict->disk_uuid, &ev->disk_uuid);
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_LET_GO:
        ev->kind = CW_CTL_ON_LET_GO;
        ev->volume = m->let_go->volume_id;
        ev->gen = m->let_go->gen;
        return true;
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_OWNER_READ:
        ev->kind = CW_CTL_ON_READ;
        ev->volume = m->owner_read->volume_id;
        ev->gen = m->owner_read->gen;
        ev->off = m->owner_read->offset;
        ev->len = m->owner_read->length;
        return ev->len > 0 && ev->len <= CW_CTL_READ_MAX;
    default:
        return false;
    }
}

void
ctl_on_message(struct cw_control *c, const cw_envelope *m, struct cw_rpc_req *take_req)
{
    struct cw_ctl_event *ev = calloc(1, sizeof(*ev));

    if (ev == NULL || !event_fill(ev, m)) {
        if (ev != NULL)
            event_free(ev);
        if (take_req != NULL)
            cw_rpc_req_error(take_req, CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST, NULL, NULL,
                             "a client does not do that");
        return;
    }
    ev->control = c;
    ev->req = take_req;
    ev->task.fn = event_arrived;
    cw_mailbox_post(c->to_reactor, &ev->task);
}
