#include "daemon/http/http.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/http/internal.h"

static void
http_on_request(void *user, struct cw_http_req *take_req)
{
    cw_http_begin(user, take_req);
}

/* What was no request at all gets the same error object. */
static char *
http_refuse(void *user, int status, const char *why)
{
    return cw_payload_dump(cw_payload_error(status == 503 ? "LIMIT" : "BAD_REQUEST", why, "", ""),
                           JSON_COMPACT);
}

static const struct cw_rpc_session_events session_events = { 0 };

static int
http_open(struct cw_http *h, char why[static CW_RPC_WHY_SIZE])
{
    struct cw_rpc_session_opts session = {
        .addrs = h->opts.managers,
        .ev = &session_events,
        .user = h,
    };
    struct cw_http_server_opts server = {
        .listen = h->opts.listen,
        .out_max = h->opts.out_max,
        .error_type = "application/json",
        .on_request = http_on_request,
        .refuse = http_refuse,
        .user = h,
    };
    int err = cw_http_server_new(h->service, &server, &h->server, why);

    return err != 0 ? err : cw_rpc_session_new(h->service, &session, &h->session, why);
}

int
cw_http_new(struct cw_service *s, const struct cw_http_opts *opts, struct cw_http **ret,
            char why[static CW_RPC_WHY_SIZE])
{
    struct cw_http *h = calloc(1, sizeof(*h));
    int err;

    cw_assert(h != NULL);
    h->service = s;
    h->env = cw_service_env(s);
    h->opts = *opts;
    h->started_ns = cw_now_ns(h->env);
    cw_list_init(&h->asks);
    cw_list_init(&h->streams);
    cw_list_init(&h->keys);
    cw_http_set_health(h, "it starts");
    err = http_open(h, why);
    if (err == 0)
        *ret = h;
    else
        cw_http_free(h);
    return err;
}

/* Those that wait for this daemon itself. The others end with the session. */
static void
http_fail_asks(struct cw_http *h)
{
    CW_LIST_EACH_SAFE (it, &h->asks) {
        struct http_ask *a = cw_list_entry(it, struct http_ask, link);

        if (!cw_rpc_call_busy(&a->call))
            cw_http_fail(a, 503, "UNAVAILABLE", a->object, NULL, "%s stops", h->opts.name);
    }
}

void
cw_http_free(struct cw_http *h)
{
    if (h == NULL)
        return;
    h->closing = true;
    cw_http_streams_end(h);
    http_fail_asks(h);
    cw_rpc_session_free(h->session);
    http_fail_asks(h);
    cw_http_server_free(h->server);
    cw_http_keys_fini(h);
    free(h->totals);
    free(h);
}

const char *
cw_http_addr(const struct cw_http *h)
{
    return cw_http_server_addr(h->server);
}

void
cw_http_set_health(struct cw_http *h, const char *why_not)
{
    snprintf(h->why_not, sizeof(h->why_not), "%s", why_not != NULL ? why_not : "");
}

void
cw_http_set_managers(struct cw_http *h, const char *addrs)
{
    cw_rpc_session_set_addrs(h->session, addrs);
}

void
cw_http_run_health(struct http_ask *a)
{
    const struct cw_http *h = a->h;
    bool serves = h->why_not[0] == '\0';

    cw_http_answer(a, serves ? 200 : 503,
                   json_pack("{s:{s:s,s:b,s:s,s:b}}", "daemon", "name", h->opts.name, "serving",
                             serves, "why", h->why_not, "manager_up",
                             cw_rpc_session_up(h->session)));
}
