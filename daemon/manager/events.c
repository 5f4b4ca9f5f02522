/* manager/events.c - the numbered history: written with what it tells of, read from any number on.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define LS_MAX 1000u
#define WAIT_MS 20000u

struct event_op {
    struct mgr_op op;
    char code[CW_EVENT_CODE_SIZE];
    char object[CW_OBJECT_SIZE];
    char text[CW_EVENT_TEXT_SIZE];
};

static enum mgr_build
event_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct event_op *e = cw_container_of(op, struct event_op, op);

    t->quiet = true;
    cw_mgr_txn_event(t, e->code, e->object, "%s", e->text);
    return MGR_BUILD_COMMIT;
}

static void
event_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct event_op *e = cw_container_of(op, struct event_op, op);

    if (code != CW_MGR_OK)
        cw_log(op->m->env, CW_LOG_WARNING, "%s: %s: %s (not recorded: %s)", e->object, e->code,
               e->text, why);
    free(e);
}

void
cw_mgr_event(struct cw_manager *m, const char *code, const char *object, const char *fmt, ...)
{
    struct event_op *e = calloc(1, sizeof(*e));
    va_list args;

    cw_assert(e != NULL);
    cw_mgr_text_clip(e->code, sizeof(e->code), code);
    cw_mgr_text_clip(e->object, sizeof(e->object), object);
    va_start(args, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, args);
    va_end(args);
    e->op.scope = MGR_SCOPE_EVENTS;
    e->op.build = event_build;
    e->op.end = event_end;
    cw_mgr_op_queue(m, &e->op);
}

/* ---- ls ---- */

static void
events_fill(const struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_event_ls *q = &call->req.event_ls;
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);
    struct cw_mgr_event_list *r = &call->reply.events;
    size_t max = q->max != 0 && q->max < LS_MAX ? q->max : LS_MAX;
    struct cw_mgr_event_info *to = cw_mgr_arena_get(a, max, sizeof(*to));

    size_t n = 0, skip;

    MGR_EACH(&m->t, CW_REC_EVENT, struct mgr_event, e)
    n += e->o.rec.event.number > q->after;
    skip = q->newest && n > max ? n - max : 0;
    r->events = to;
    r->n_events = 0;
    MGR_EACH(&m->t, CW_REC_EVENT, struct mgr_event, e)
    {
        const struct cw_event_rec *rec = &e->o.rec.event;
        char at[CW_MGR_TIME_SIZE];

        if (rec->number <= q->after || skip > 0) {
            skip -= rec->number > q->after;
            continue;
        }
        if (r->n_events == max)
            break;
        to[r->n_events++] = (struct cw_mgr_event_info){
            .number = rec->number,
            .at = cw_mgr_arena_text(a, cw_mgr_time_format(rec->at_s, at)),
            .code = cw_mgr_arena_text(a, rec->code),
            .object = cw_mgr_arena_text(a, rec->object),
            .text = cw_mgr_arena_text(a, rec->text),
        };
    }
}

void
cw_mgr_call_event_ls(struct cw_manager *m, struct cw_mgr_call *call)
{
    events_fill(m, call);
    if (call->req.event_ls.wait && call->reply.events.n_events == 0)
        cw_list_push_back(&m->waiting, &call->link);
    else
        cw_mgr_done(call);
}

void
cw_mgr_events_new(struct cw_manager *m)
{
    CW_LIST_EACH_SAFE (it, &m->waiting) {
        struct cw_mgr_call *call = cw_list_entry(it, struct cw_mgr_call, link);

        events_fill(m, call);
        if (call->reply.events.n_events > 0)
            cw_mgr_done(call);
    }
}

/* Only times and sessions end here: new events came by cw_mgr_events_new. */
void
cw_mgr_events_tick(struct cw_manager *m)
{
    uint64_t now = cw_now_ns(m->env);

    CW_LIST_EACH_SAFE (it, &m->waiting) {
        struct cw_mgr_call *call = cw_list_entry(it, struct cw_mgr_call, link);
        uint64_t ms = call->req.event_ls.wait_ms;

        if (call->session == NULL || now - call->at_ns >= (ms != 0 ? ms : WAIT_MS) * CW_NS_PER_MS)
            cw_mgr_done(call);
    }
}

void
cw_mgr_events_fail(struct cw_manager *m)
{
    CW_LIST_EACH_SAFE (it, &m->waiting)
        cw_mgr_done(cw_list_entry(it, struct cw_mgr_call, link));
}
