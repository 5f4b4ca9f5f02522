/* lib/ask.c - calls of the reactor thread to the manager. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/lib/control-internal.h"

struct ask {
    struct cw_rpc_call rpc;
    struct cw_control *control;
    struct cw_ctl_call *call;
};

void
ctl_error_text(char error[static CW_ENGINE_ERROR_SIZE], const Causeway__Control__Error *e)
{
    const char *message = e->message != NULL && e->message[0] != 0 ? e->message : "failed";
    const char *hint = e->hint != NULL ? e->hint : "";

    snprintf(error, CW_ENGINE_ERROR_SIZE, "%s%s%s%s", cw_rpc_code_name(e->code), ": ", message, "");
    if (hint[0] != 0) {
        size_t n = strlen(error);

        snprintf(error + n, CW_ENGINE_ERROR_SIZE - n, "; %s", hint);
    }
}

static void
call_back(struct cw_engine_task *t)
{
    struct cw_ctl_call *call = cw_container_of(t, struct cw_ctl_call, task);

    call->done(call);
}

/* Sends the call home. */
static void
call_end(struct cw_control *c, struct cw_ctl_call *call)
{
    call->task.fn = call_back;
    cw_mailbox_post(c->to_reactor, &call->task);
}

static void
call_fail(struct cw_control *c, struct cw_ctl_call *call, int res, const char *text)
{
    call->res = res;
    call->call = CW_CALL_UNKNOWN;
    snprintf(call->error, sizeof(call->error), "%s", text);
    call_end(c, call);
}

/* ---- what the manager answered ---- */

static int
res_of_code(Causeway__Control__ErrorCode code)
{
    switch ((int)code) {
    case CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND:
        return -ENOENT;
    case CAUSEWAY__CONTROL__ERROR_CODE__VOLUME_IN_USE:
        return -EBUSY;
    case CAUSEWAY__CONTROL__ERROR_CODE__UNAVAILABLE:
    case CAUSEWAY__CONTROL__ERROR_CODE__TIMEOUT:
    case CAUSEWAY__CONTROL__ERROR_CODE__NOT_MANAGER:
    case CAUSEWAY__CONTROL__ERROR_CODE__BUSY:
        return -ETIMEDOUT;
    default:
        return -EIO;
    }
}

/* Is it certain that a change with this answer was not made by the request? */
static enum cw_call_res
call_of_code(Causeway__Control__ErrorCode code)
{
    switch ((int)code) {
    case CAUSEWAY__CONTROL__ERROR_CODE__NOT_FOUND:
    case CAUSEWAY__CONTROL__ERROR_CODE__CONFLICT:
    case CAUSEWAY__CONTROL__ERROR_CODE__LAST_COPY:
    case CAUSEWAY__CONTROL__ERROR_CODE__BAD_REQUEST:
    case CAUSEWAY__CONTROL__ERROR_CODE__VOLUME_IN_USE:
    case CAUSEWAY__CONTROL__ERROR_CODE__LIMIT:
        return CW_CALL_REFUSED;
    default:
        return CW_CALL_UNKNOWN;
    }
}

static void
take_info(struct cw_ctl_call *call, Causeway__Control__VolumeInfo *const *v, size_t n)
{
    size_t n_text = 0;
    char *text;

    for (size_t i = 0; i < n; i++)
        n_text += strlen(v[i]->name) + 1;
    call->list = calloc(1, n * sizeof(*call->list) + n_text + 1);
    if (call->list == NULL) {
        call->res = -EIO;
        snprintf(call->error, sizeof(call->error), "out of memory");
        return;
    }
    text = (char *)(call->list + n);
    for (size_t i = 0; i < n; i++) {
        if (v[i]->state != NULL && strcmp(v[i]->state, "trash") == 0)
            continue;
        call->list[call->n_list++] =
            (struct cw_engine_volume_info){ .name = text, .size_bytes = v[i]->size_bytes };
        text = stpcpy(text, v[i]->name) + 1;
    }
}

static void
take_volume(struct cw_control *c, struct cw_ctl_call *call, const Causeway__Control__AttachReply *m)
{
    call->vol = cw_plain_volume_new(m);
    call->self = c->self;
    call->cluster_id = c->cluster_id;
    cw_plain_uuid(&m->cluster_id, &call->cluster_id);
    if (call->vol == NULL) {
        call->res = -EIO;
        call->call = CW_CALL_UNKNOWN;
        snprintf(call->error, sizeof(call->error), "the manager sent a volume that makes no sense");
    }
}

static void
take_data(struct cw_ctl_call *call, const ProtobufCBinaryData *data)
{
    call->data = call->kind == CW_CTL_READ && data->len == call->len ? malloc(data->len) : NULL;
    if (call->data != NULL) {
        memcpy(call->data, data->data, data->len);
    } else if (call->kind != CW_CTL_READ || data->len != 0) {
        call->res = -EIO;
        snprintf(call->error, sizeof(call->error), "out of memory, or not what was asked for");
    }
}

static void
take_change(struct cw_ctl_call *call, const Causeway__Control__ChangeReply *m)
{
    struct cw_change *ch = call->change;

    call->call = m->applied ? CW_CALL_OK : CW_CALL_REFUSED;
    ch->volume_gen = m->volume_gen;
    ch->has_rec = m->shard != NULL && cw_plain_shard(m->shard, &ch->rec);
    if (m->applied && !ch->has_rec)
        call->call = CW_CALL_UNKNOWN;
    ch->disks = cw_plain_disks(m->disks, m->n_disks, &ch->n_disks);
}

static void
take_reply(struct cw_control *c, struct cw_ctl_call *call, const cw_envelope *m)
{
    switch ((int)m->body_case) {
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_LS_REPLY:
        take_info(call, m->volume_ls_reply->volumes, m->volume_ls_reply->n_volumes);
        break;
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_INFO: {
        Causeway__Control__VolumeInfo *one = m->volume_info;

        take_info(call, &one, 1);
        break;
    }
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_ATTACH_REPLY:
        take_volume(c, call, m->attach_reply);
        break;
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_OWNER_READ_REPLY:
        take_data(call, &m->owner_read_reply->data);
        return;
    case CAUSEWAY__CONTROL__ENVELOPE__BODY_CHANGE_REPLY:
        if (call->kind == CW_CTL_CHANGE)
            take_change(call, m->change_reply);
        break;
    default:
        break;
    }
    if ((((call->kind == CW_CTL_ATTACH || call->kind == CW_CTL_GET) && call->vol == NULL) ||
         call->kind == CW_CTL_READ) &&
        call->res == 0) {
        call->res = -EIO;
        call->call = CW_CALL_UNKNOWN;
        snprintf(call->error, sizeof(call->error), "the manager answered something else");
    }
}

static void
ask_done(struct cw_rpc_call *rpc, const cw_envelope *reply)
{
    struct ask *a = cw_container_of(rpc, struct ask, rpc);
    struct cw_ctl_call *call = a->call;

    call->res = 0;
    call->call = call->kind == CW_CTL_CHANGE ? CW_CALL_UNKNOWN : CW_CALL_OK;
    if (reply->error != NULL && reply->error->code != CAUSEWAY__CONTROL__ERROR_CODE__OK) {
        call->res = res_of_code(reply->error->code);
        call->call = call_of_code(reply->error->code);
        ctl_error_text(call->error, reply->error);
    } else {
        take_reply(a->control, call, reply);
    }
    call_end(a->control, call);
    free(a);
}

/* ---- what we ask ---- */

static void
ask_send(struct ask *a, const cw_envelope *body)
{
    cw_rpc_session_call(a->control->session, &a->rpc, body, a->call->timeout_ms);
}

static void
ask_list(struct ask *a, cw_envelope *body)
{
    Causeway__Control__VolumeLs ls = CAUSEWAY__CONTROL__VOLUME_LS__INIT;
    Causeway__Control__VolumeShow show = CAUSEWAY__CONTROL__VOLUME_SHOW__INIT;

    a->rpc.repeat = true;
    if (a->call->name[0] != 0) {
        show.name = a->call->name;
        body->body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_SHOW;
        body->volume_show = &show;
    } else {
        body->body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_VOLUME_LS;
        body->volume_ls = &ls;
    }
    ask_send(a, body);
}

static void
ask_attach(struct ask *a, cw_envelope *body)
{
    Causeway__Control__Attach m = CAUSEWAY__CONTROL__ATTACH__INIT;

    m.volume = a->call->name;
    m.force = a->call->force;
    m.intent = a->call->take      ? CAUSEWAY__CONTROL__ATTACH_INTENT__TAKE
               : a->call->standby ? CAUSEWAY__CONTROL__ATTACH_INTENT__STANDBY
                                  : CAUSEWAY__CONTROL__ATTACH_INTENT__OWN;
    body->body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_ATTACH;
    body->attach = &m;
    ask_send(a, body);
}

static void
ask_change(struct ask *a, cw_envelope *body)
{
    struct cw_change *ch = a->call->change;
    Causeway__Control__Change m = CAUSEWAY__CONTROL__CHANGE__INIT;
    Causeway__Control__Member want[CW_MEMBERS_MAX], *list[CW_MEMBERS_MAX];

    for (uint32_t i = 0; i < ch->n_want; i++) {
        causeway__control__member__init(&want[i]);
        want[i].disk_uuid.data = ch->want[i].disk_uuid.b;
        want[i].disk_uuid.len = sizeof(ch->want[i].disk_uuid.b);
        want[i].format_id = ch->want[i].format_id;
        want[i].state = (Causeway__Control__MemberState)ch->want[i].state;
        want[i].since_seq = ch->want[i].since_seq;
        list[i] = &want[i];
    }
    m.volume_id = ch->volume;
    m.gen = ch->gen;
    m.shard = ch->shard;
    m.cfg = ch->cfg;
    m.n_want = ch->n_want;
    m.want = list;
    m.why = ch->why;
    body->body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_CHANGE;
    body->change = &m;
    ask_send(a, body);
}

static void
ask_get(struct ask *a, cw_envelope *body)
{
    Causeway__Control__GetVolume m = CAUSEWAY__CONTROL__GET_VOLUME__INIT;

    a->rpc.repeat = true;
    m.volume_id = a->call->volume;
    body->body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_GET_VOLUME;
    body->get_volume = &m;
    ask_send(a, body);
}

static void
ask_release(struct ask *a, cw_envelope *body)
{
    Causeway__Control__Release m = CAUSEWAY__CONTROL__RELEASE__INIT;

    a->rpc.repeat = true; /* twice is once: it compares gen */
    m.volume_id = a->call->volume;
    m.gen = a->call->gen;
    body->body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_RELEASE;
    body->release = &m;
    ask_send(a, body);
}

static void
ask_read(struct ask *a, cw_envelope *body)
{
    Causeway__Control__OwnerRead m = CAUSEWAY__CONTROL__OWNER_READ__INIT;

    a->rpc.repeat = true;
    m.volume_id = a->call->volume;
    m.offset = a->call->off;
    m.length = a->call->len;
    body->body_case = CAUSEWAY__CONTROL__ENVELOPE__BODY_OWNER_READ;
    body->owner_read = &m;
    ask_send(a, body);
}

void
ctl_call_begin(struct cw_control *c, struct cw_ctl_call *call)
{
    cw_envelope body = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    struct ask *a = c->session != NULL ? calloc(1, sizeof(*a)) : NULL;

    if (a == NULL) {
        call_fail(c, call, -ETIMEDOUT, "this client is stopping, or out of memory");
        return;
    }
    a->rpc.done = ask_done;
    a->control = c;
    a->call = call;
    switch (call->kind) {
    case CW_CTL_LIST:
        ask_list(a, &body);
        return;
    case CW_CTL_ATTACH:
        ask_attach(a, &body);
        return;
    case CW_CTL_CHANGE:
        ask_change(a, &body);
        return;
    case CW_CTL_GET:
        ask_get(a, &body);
        return;
    case CW_CTL_RELEASE:
        ask_release(a, &body);
        return;
    case CW_CTL_READ:
        ask_read(a, &body);
        return;
    }
    cw_unreachable();
}

static void
call_arrived(struct cw_engine_task *t)
{
    struct cw_ctl_call *call = cw_container_of(t, struct cw_ctl_call, task);

    ctl_call_begin(call->control, call);
}

void
cw_control_call(struct cw_control *c, struct cw_ctl_call *call)
{
    call->control = c;
    if (c->closed) {
        call_fail(c, call, -ETIMEDOUT, "this client is stopping");
        return;
    }
    call->task.fn = call_arrived;
    cw_mailbox_post(&c->inbox, &call->task);
}
