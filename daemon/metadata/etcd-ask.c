/* metadata/etcd-ask.c - one call of the gateway, from the token to what its end means.
 *
 *   post (of what may be made once only: a probe before) --answer--> ANSWERED
 *        --an error that etcd gives before it does anything--> REFUSED
 *        --"invalid auth token"--> authenticate --> post again: it was not done
 *        --no answer, or an error that says nothing--> next endpoint, or DOUBT if once is enough
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/metadata/etcd-internal.h"

#define AUTH_PATH "/v3/auth/authenticate"
#define AUTHS_MAX 2
#define PLAIN_MAX 120

static void ask_post(struct etcd_ask *a);

static void
ask_end(struct etcd_ask *a, struct etcd_end end)
{
    struct cw_etcd *e = a->e;

    free(a->body);
    a->body = NULL;
    a->busy = false;
    end.sent_ns = a->sent_ns;
    if (end.outcome == ETCD_ANSWERED || end.outcome == ETCD_REFUSED)
        cw_etcd_answers(e);
    else
        cw_etcd_silent(e, end.why);
    a->done(a, &end);
}

/* This endpoint did not do what was asked, or did not say so. */
static void
ask_failed(struct etcd_ask *a, bool sent, const char *why)
{
    const char *endpoint = a->e->endpoints[a->endpoint].text;
    char text[ETCD_WHY_SIZE];

    snprintf(text, sizeof(text), "%s: %s", endpoint, why);
    cw_log(a->e->env, CW_LOG_DEBUG, "%s: %s", a->e->name, text);
    cw_etcd_leave(a->e, a->endpoint);
    a->doubt |= sent && a->step == ETCD_CALL;
    if ((!a->doubt || a->repeatable) && ++a->tries <= a->e->n_endpoints) {
        ask_post(a);
        return;
    }
    ask_end(a, (struct etcd_end){ .outcome = a->doubt ? ETCD_DOUBT : ETCD_UNSENT, .why = text });
}

/* ---- tokens ---- */

static bool
token_is_refused(const struct cw_etcd *e, enum cw_etcd_code code, const char *why)
{
    if (e->user_name[0] == '\0')
        return false;
    return code == CW_ETCD_CODE_UNAUTHENTICATED || strstr(why, "invalid auth token") != NULL ||
           strstr(why, "revision of auth store is old") != NULL ||
           strstr(why, "user name is empty") != NULL;
}

static void
ask_on_token(struct etcd_ask *a, const json_t *root)
{
    const char *token = cw_etcd_json_text(root, "token");

    if (token == NULL || strlen(token) >= sizeof(a->e->token)) {
        ask_failed(a, false, "no token came for the user name and password");
        return;
    }
    snprintf(a->e->token, sizeof(a->e->token), "%s", token);
    ask_post(a);
}

/* An etcd without authentication takes everybody. */
static void
ask_on_token_refused(struct etcd_ask *a, enum cw_etcd_code code, const char *why)
{
    if (code == CW_ETCD_CODE_PRECONDITION && strstr(why, "not enabled") != NULL) {
        snprintf(a->e->token, sizeof(a->e->token), "none");
        ask_post(a);
        return;
    }
    cw_log(a->e->env, CW_LOG_ERROR, "%s: user %s: %s", a->e->name, a->e->user_name, why);
    ask_failed(a, false, why);
}

/* ---- answers ---- */

/* Two clusters behind one list of endpoints would be two truths. */
static bool
ask_same_cluster(struct etcd_ask *a, const json_t *root)
{
    struct cw_etcd *e = a->e;
    uint64_t id;

    if (!cw_etcd_json_get(cw_etcd_json_object(root, "header"), "cluster_id", &id) || id == 0)
        return false;
    if (e->cluster_id == 0)
        e->cluster_id = id;
    if (e->cluster_id != id)
        cw_log(e->env, CW_LOG_ERROR,
               "%s: %s belongs to another etcd cluster; if etcd was restored, restart this daemon",
               e->name, e->endpoints[a->endpoint].text);
    e->known[a->endpoint] = e->cluster_id == id;
    return e->known[a->endpoint];
}

static bool
refused_for_good(enum cw_etcd_code code, const char *why)
{
    switch (code) {
    case CW_ETCD_CODE_INVALID:
    case CW_ETCD_CODE_NOT_FOUND:
    case CW_ETCD_CODE_DENIED:
    case CW_ETCD_CODE_PRECONDITION:
    case CW_ETCD_CODE_RANGE:
    case CW_ETCD_CODE_UNAUTHENTICATED:
        return true;
    case CW_ETCD_CODE_EXHAUSTED:
        /* Of a request, for our answers are small. But "database space exceeded" comes also of what
         * was done. */
        return strstr(why, "received message larger than max") != NULL;
    case CW_ETCD_CODE_NONE:
        return false;
    }
    return false;
}

/* One line of ours for an answer that is no JSON: a proxy's, or etcd's before its gateway. */
static void
plain_text(const struct cw_etcd_http_answer *http, char *to, size_t size)
{
    size_t n = (size_t)snprintf(to, size, "HTTP status %d, is it etcd 3.4+ with its JSON gateway? ",
                                http->status);

    for (size_t i = 0; i < http->len && i < PLAIN_MAX && n + 1 < size; i++)
        to[n++] = http->body[i] >= ' ' && http->body[i] <= '~' ? http->body[i] : ' ';
    to[n] = '\0';
}

static void
ask_on_error(struct etcd_ask *a, const json_t *root, const struct cw_etcd_http_answer *http)
{
    const char *why;
    enum cw_etcd_code code = cw_etcd_json_error(root, &why);
    char text[ETCD_WHY_SIZE];

    if (root != NULL)
        snprintf(text, sizeof(text), "%s", why);
    else
        plain_text(http, text, sizeof(text));
    if (token_is_refused(a->e, code, text) && a->step != ETCD_AUTH && a->auths < AUTHS_MAX) {
        a->e->token[0] = '\0';
        ask_post(a);
    } else if (a->step == ETCD_AUTH) {
        ask_on_token_refused(a, code, text);
    } else if (refused_for_good(code, text)) {
        ask_end(a, (struct etcd_end){ .outcome = ETCD_REFUSED, .code = code, .why = text });
    } else {
        ask_failed(a, true, text);
    }
}

static void
ask_on_answer(void *user, const struct cw_etcd_http_answer *http)
{
    struct etcd_ask *a = user;
    json_t *whole, *root;

    if (http->status == 0) {
        ask_failed(a, http->sent, http->why);
        return;
    }
    whole = json_loadb(http->body, http->len, JSON_REJECT_DUPLICATES, NULL);
    root = cw_etcd_json_object(whole, "result"); /* of calls that could stream */
    if (root == NULL)
        root = whole;
    if (http->status != 200 || json_object_get(root, "error") != NULL)
        ask_on_error(a, root, http);
    else if (!ask_same_cluster(a, root))
        ask_failed(a, true, "an answer that is none of this etcd's");
    else if (a->step == ETCD_AUTH)
        ask_on_token(a, root);
    else if (a->step == ETCD_PROBE)
        ask_post(a);
    else
        ask_end(a, (struct etcd_end){ .outcome = ETCD_ANSWERED, .root = root, .why = "" });
    json_decref(whole);
}

/* ---- asking ---- */

static bool
ask_connect(struct etcd_ask *a)
{
    struct cw_etcd *e = a->e;
    struct cw_etcd_http_opts opts = {
        .service = e->opts.service,
        .tls = e->tls,
        .endpoint = &e->endpoints[e->current],
        .answer_max = ETCD_ANSWER_MAX,
        .done = ask_on_answer,
        .user = a,
    };

    if (a->http != NULL && a->endpoint == e->current)
        return true;
    cw_etcd_http_free(a->http);
    a->http = cw_etcd_http_new(&opts);
    a->endpoint = e->current;
    return a->http != NULL;
}

static void
ask_post_text(struct etcd_ask *a, const char *path, const char *body)
{
    struct cw_etcd *e = a->e;
    bool token = a->step != ETCD_AUTH && e->user_name[0] != '\0';
    struct cw_etcd_http_request r = {
        .path = path,
        .token = token ? e->token : NULL,
        .body = body,
        .len = strlen(body),
        .timeout_ms = a->timeout_ms,
    };

    cw_etcd_http_post(a->http, &r);
}

/* Takes body; it may hold the password. */
static void
ask_post_json(struct etcd_ask *a, const char *path, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);

    cw_assert(text != NULL);
    ask_post_text(a, path, text);
    explicit_bzero(text, strlen(text));
    free(text);
    json_decref(body);
}

static void
ask_post(struct etcd_ask *a)
{
    struct cw_etcd *e = a->e;

    cw_assert(ask_connect(a)); /* out of memory */
    if (e->user_name[0] != '\0' && e->token[0] == '\0') {
        a->step = ETCD_AUTH;
        a->auths++;
        ask_post_json(a, AUTH_PATH,
                      cw_etcd_pack("{s:s,s:s}", "name", e->user_name, "password", e->password));
    } else if (!a->repeatable && !e->known[a->endpoint]) {
        a->step = ETCD_PROBE;
        ask_post_json(a, "/v3/kv/range",
                      cw_etcd_pack("{s:o}", "key", cw_etcd_key(e, ETCD_LEADER_KEY)));
    } else {
        a->step = ETCD_CALL;
        a->sent_ns = cw_now_ns(e->env);
        ask_post_text(a, a->path, a->body);
    }
}

void
cw_etcd_ask(struct etcd_ask *a, const char *path, json_t *body, uint32_t timeout_ms,
            bool repeatable)
{
    cw_assert(!a->busy && a->body == NULL);
    a->body = json_dumps(body, JSON_COMPACT);
    cw_assert(a->body != NULL);
    json_decref(body);
    a->path = path;
    a->timeout_ms = timeout_ms;
    a->repeatable = repeatable;
    a->busy = true;
    a->doubt = false;
    a->tries = a->auths = 0;
    ask_post(a);
}

bool
cw_etcd_ask_drop(struct etcd_ask *a)
{
    bool sent =
        a->busy &&
        (a->doubt || (a->step == ETCD_CALL && a->http != NULL && cw_etcd_http_sent(a->http)));

    cw_etcd_http_free(a->http);
    a->http = NULL;
    free(a->body);
    a->body = NULL;
    a->busy = false;
    return sent;
}

void
cw_etcd_ask_init(struct etcd_ask *a, struct cw_etcd *e,
                 void (*done)(struct etcd_ask *, const struct etcd_end *))
{
    *a = (struct etcd_ask){ .e = e, .done = done };
}
