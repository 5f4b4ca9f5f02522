/* http/events.c - events as a list, or as a stream of server-sent events that can be resumed.
 *
 *   ASKING --events--> written --asked again--> ..
 *      \---none in 7.5 s, no manager--> a comment, so that both ends see each other
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/http/internal.h"

#define BATCH 200u
#define UNSENT_MAX (64u * 1024u)
#define AGAIN_MS 100u
#define AWAY_MS 1000u
#define STREAMS_MAX 64u

struct stream {
    struct cw_list link;
    struct cw_http *h;
    struct cw_http_req *req;
    struct cw_rpc_call call;
    struct cw_timer timer;
    uint64_t after; /* the last number that was written */
};

static void stream_ask(struct stream *s);

static void
stream_free(struct stream *s)
{
    cw_timer_cancel(s->h->env, &s->timer);
    cw_rpc_call_cancel(&s->call);
    cw_list_remove(&s->link);
    cw_http_req_end(s->req);
    free(s);
}

static void
stream_on_gone(void *user)
{
    stream_free(user);
}

static void
stream_again(struct stream *s, uint32_t ms)
{
    cw_timer_set(s->h->env, &s->timer, cw_now_ns(s->h->env) + ms * CW_NS_PER_MS);
}

static void
stream_on_timer(struct cw_timer *t)
{
    struct stream *s = cw_container_of(t, struct stream, timer);

    if (cw_http_req_unsent(s->req) > UNSENT_MAX)
        stream_again(s, AGAIN_MS); /* the reader is slower than the cluster */
    else
        stream_ask(s);
}

static void
stream_write(struct stream *s, const char *text)
{
    cw_http_req_write(s->req, text, strlen(text));
}

static void
stream_write_event(struct stream *s, const cw_pb_event *e)
{
    char *data = cw_payload_dump(cw_payload_event(e), JSON_COMPACT), id[40];

    snprintf(id, sizeof(id), "id: %llu\ndata: ", (unsigned long long)e->number);
    stream_write(s, id);
    stream_write(s, data);
    stream_write(s, "\n\n");
    free(data);
    s->after = e->number;
}

static void
stream_on_reply(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct stream *s = cw_container_of(call, struct stream, call);

    if (s->h->closing)
        return;
    if (reply->error != NULL || reply->body_case != HTTP_BODY(EVENT_LS_REPLY)) {
        stream_write(s, ": the manager does not answer\n\n");
        stream_again(s, AWAY_MS);
        return;
    }
    for (size_t i = 0; i < reply->event_ls_reply->n_events; i++)
        stream_write_event(s, reply->event_ls_reply->events[i]);
    if (reply->event_ls_reply->n_events == 0)
        stream_write(s, ": nothing new\n\n");
    stream_again(s, 0);
}

static void
stream_ask(struct stream *s)
{
    cw_envelope e = CAUSEWAY__CONTROL__ENVELOPE__INIT;
    Causeway__Control__EventLs m = CAUSEWAY__CONTROL__EVENT_LS__INIT;

    m.after = s->after;
    m.max = BATCH;
    m.wait = true;
    e.body_case = HTTP_BODY(EVENT_LS);
    e.event_ls = &m;
    s->call = (struct cw_rpc_call){ .done = stream_on_reply, .repeat = true };
    cw_rpc_session_call(s->h->session, &s->call, &e, HTTP_WAIT_MS);
}

static bool
wants_stream(const struct http_ask *a)
{
    const struct cw_http_head *head = cw_http_req_head(a->req);
    const char *accept = cw_http_head_find(head, "Accept");

    if (strcmp(head->method, "HEAD") == 0)
        return false;
    return cw_http_flag(a, "follow", false) ||
           (accept != NULL && strstr(accept, "text/event-stream") != NULL);
}

static size_t
streams_count(const struct cw_http *h)
{
    size_t n = 0;

    CW_LIST_EACH (it, &h->streams)
        n++;
    return n;
}

static void
stream_begin(struct http_ask *take_a, uint64_t after)
{
    struct stream *s = calloc(1, sizeof(*s));

    cw_assert(s != NULL);
    s->h = take_a->h;
    s->req = take_a->req;
    s->timer.fn = stream_on_timer;
    s->after = after;
    cw_list_push_back(&s->h->streams, &s->link);
    cw_http_ask_free(take_a);
    if (!cw_http_req_stream(s->req, "text/event-stream", stream_on_gone, s)) {
        stream_free(s);
        return;
    }
    stream_write(s, "retry: 1000\n\n");
    stream_ask(s);
}

void
cw_http_run_events(struct http_ask *a)
{
    const char *last = cw_http_head_find(cw_http_req_head(a->req), "Last-Event-ID");
    uint64_t after = cw_http_number(a, "after", 0);

    if (!wants_stream(a)) {
        cw_http_ask(a);
        return;
    }
    if (last != NULL && last[0] != '\0') {
        char *end;

        after = strtoull(last, &end, 10);
        if (*end != '\0' || last[0] < '0' || last[0] > '9') {
            cw_http_fail(a, 400, "BAD_REQUEST", "", NULL, "Last-Event-ID is no number");
            return;
        }
    }
    if (streams_count(a->h) >= STREAMS_MAX)
        cw_http_fail(a, 503, "LIMIT", "", "try another daemon",
                     "more than %u streams are open already", STREAMS_MAX);
    else
        stream_begin(a, after);
}

void
cw_http_streams_end(struct cw_http *h)
{
    while (!cw_list_empty(&h->streams))
        stream_free(cw_list_first(&h->streams, struct stream, link));
}
