/* metadata/etcd-view.c - who holds the leader key.
 *
 * A watch tells at once; a look (a linearizable read) every LOOK_MS finds what a watch that hangs,
 * was cancelled or fell into a gap did not tell, and begins a new one behind what it read. Whatever
 * is older than what is known is passed over, unless it was asked for afterwards: then etcd itself
 * was set back (restored), and that is how it is now.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/metadata/etcd-internal.h"

#define LOOK_MS 2000u
#define AGAIN_MS 300u
#define LINE_MAX 65536u
#define STREAM_MAX (64 * CW_MIB) /* then it is begun again */

/* Changes only. */
void
cw_etcd_view_tell(struct cw_etcd *e)
{
    struct etcd_view *v = &e->view;
    enum etcd_role role = e->lead.role;
    /* Ours, and we do not lead: it is about to be revoked. */
    bool left = e->lead.lease != 0 && v->lease == e->lead.lease && role != ETCD_LEADING &&
                role != ETCD_RESIGNING;
    const char *now = v->held && !left ? v->value : "";

    if (strcmp(now, v->told) == 0)
        return;
    strcpy(v->told, now);
    if (e->opts.ev->leader != NULL)
        e->opts.ev->leader(e->opts.user, now[0] != '\0' ? v->told : NULL);
}

/* True if another one leads, or nobody does any more. The key is borrowed. */
static bool
view_set(struct cw_etcd *e, uint64_t revision, const struct cw_etcd_kv_json *key)
{
    struct etcd_view *v = &e->view;
    struct etcd_view old = *v;
    size_t len = 0;

    v->revision = revision;
    v->known = true;
    v->held = key != NULL;
    v->create_revision = v->lease = 0;
    memset(v->value, 0, sizeof(v->value));
    if (key != NULL) {
        v->create_revision = key->create_revision;
        v->lease = key->lease;
        if (!cw_etcd_base64(key->value64, v->value, sizeof(v->value) - 1, &len) ||
            memchr(v->value, '\0', len) != NULL)
            v->value[0] = '\0';
    }
    return !old.known || old.held != v->held || old.create_revision != v->create_revision ||
           strcmp(old.value, v->value) != 0;
}

static void
view_changed(struct cw_etcd *e)
{
    cw_etcd_lead_viewed(e);
    cw_etcd_view_tell(e);
}

void
cw_etcd_view_own(struct cw_etcd *e, uint64_t revision, uint64_t lease)
{
    struct etcd_view *v = &e->view;

    v->known = v->held = true;
    v->revision = v->create_revision = revision;
    v->lease = lease;
    memcpy(v->value, e->value, sizeof(v->value));
    cw_etcd_view_tell(e);
}

/* ---- the watch ---- */

static void
watch_stop(struct cw_etcd *e)
{
    struct etcd_view *v = &e->view;

    cw_etcd_http_free(v->watch);
    v->watch = NULL;
    v->line_len = 0;
}

static void
watch_again(struct cw_etcd *e, const char *why)
{
    cw_log(e->env, CW_LOG_DEBUG, "%s: watch: %s", e->name, why);
    watch_stop(e);
    cw_etcd_view_look(e, AGAIN_MS);
}

static bool
watch_on_event(struct cw_etcd *e, const json_t *event)
{
    const char *type = cw_etcd_json_text(event, "type");
    bool gone = type != NULL && strcmp(type, "DELETE") == 0;
    struct cw_etcd_kv_json key;

    if (!cw_etcd_json_kv(cw_etcd_json_object(event, "kv"), &key) || key.mod_revision == 0)
        return false;
    if (key.mod_revision > e->view.revision && view_set(e, key.mod_revision, gone ? NULL : &key))
        view_changed(e);
    return true;
}

/* False: no line of a watch that goes on. */
static bool
watch_on_line(struct cw_etcd *e, const json_t *line)
{
    const json_t *result = cw_etcd_json_object(line, "result"), *event;
    uint64_t id;
    size_t i;

    if (result == NULL || json_is_true(json_object_get(result, "canceled")))
        return false;
    if (!cw_etcd_json_get(cw_etcd_json_object(result, "header"), "cluster_id", &id) ||
        id != e->cluster_id)
        return false;
    json_array_foreach(cw_etcd_json_array(result, "events"), i, event)
    {
        if (!watch_on_event(e, event))
            return false;
    }
    return true;
}

static void
watch_on_chunk(void *user, const char *bytes, size_t len)
{
    struct cw_etcd *e = user;
    struct etcd_view *v = &e->view;
    const char *end = bytes + len;

    while (bytes < end) {
        const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
        size_t n = (size_t)((newline != NULL ? newline : end) - bytes);
        json_t *line;
        bool ok;

        if (n > LINE_MAX - v->line_len) {
            watch_again(e, "a line is too long");
            return;
        }
        memcpy(v->line + v->line_len, bytes, n);
        v->line_len += n;
        bytes += n + 1;
        if (newline == NULL)
            return;
        line = json_loadb(v->line, v->line_len, 0, NULL);
        ok = v->line_len == 0 || watch_on_line(e, line);
        v->line_len = 0;
        json_decref(line);
        if (v->watch == NULL)
            return; /* what it told made us leave that endpoint */
        if (!ok) {
            watch_again(e, "cancelled");
            return;
        }
    }
}

static void
watch_on_done(void *user, const struct cw_etcd_http_answer *a)
{
    struct cw_etcd *e = user;

    watch_again(e, a->status != 0 ? "it ended" : a->why);
}

static void
watch_start(struct cw_etcd *e)
{
    struct etcd_view *v = &e->view;
    struct cw_etcd_http_opts opts = {
        .service = e->opts.service,
        .tls = e->tls,
        .endpoint = &e->endpoints[e->current],
        .answer_max = STREAM_MAX,
        .done = watch_on_done,
        .chunk = watch_on_chunk,
        .user = e,
    };
    json_t *body =
        cw_etcd_pack("{s:{s:o,s:o}}", "create_request", "key", cw_etcd_key(e, ETCD_LEADER_KEY),
                     "start_revision", cw_etcd_json_number(v->revision + 1));
    char *text = json_dumps(body, JSON_COMPACT);
    struct cw_etcd_http_request r = {
        .path = "/v3/watch",
        .token = e->token[0] != '\0' ? e->token : NULL,
        .timeout_ms = ETCD_KV_MS,
    };

    v->watch = cw_etcd_http_new(&opts);
    cw_assert(text != NULL && v->watch != NULL);
    v->watch_endpoint = e->current;
    v->line_len = 0;
    r.body = text;
    r.len = strlen(text);
    cw_etcd_http_post(v->watch, &r);
    free(text);
    json_decref(body);
}

/* ---- the look ---- */

/* NULL in *ret: nobody holds it. False: that is no answer. */
static bool
look_read(const json_t *root, struct cw_etcd_kv_json *mem, struct cw_etcd_kv_json **ret)
{
    const json_t *kvs = json_object_get(root, "kvs");

    *ret = NULL;
    if (kvs == NULL)
        return true;
    if (!json_is_array(kvs) || json_array_size(kvs) != 1 ||
        !cw_etcd_json_kv(json_array_get(kvs, 0), mem) || mem->create_revision == 0)
        return false;
    *ret = mem;
    return true;
}

static void
look_apply(struct cw_etcd *e, const json_t *root)
{
    struct etcd_view *v = &e->view;
    uint64_t revision = cw_etcd_revision(root);
    struct cw_etcd_kv_json mem, *key;

    if (revision == 0 || !look_read(root, &mem, &key)) {
        cw_log(e->env, CW_LOG_WARNING, "%s: the leader key cannot be read", e->name);
        return;
    }
    if (revision < v->look_after)
        cw_log(e->env, CW_LOG_WARNING, "%s: set back from revision %" PRIu64 " to %" PRIu64,
               e->name, v->revision, revision);
    else if (revision < v->revision)
        return;
    if (revision < v->look_after)
        watch_stop(e);
    if (view_set(e, revision, key)) {
        watch_stop(e); /* it should have told that, or was to */
        view_changed(e);
    }
    if (v->watch == NULL)
        watch_start(e);
}

static void
look_on_end(struct etcd_ask *a, const struct etcd_end *end)
{
    struct cw_etcd *e = a->e;
    struct etcd_view *v = &e->view;

    if (end->outcome == ETCD_ANSWERED) {
        cw_etcd_view_look(e, LOOK_MS);
        look_apply(e, end->root);
        return;
    }
    cw_etcd_view_look(e, AGAIN_MS);
    if (end->outcome == ETCD_REFUSED)
        cw_log(e->env, CW_LOG_ERROR, "%s: %s", e->name, end->why);
    if (v->known && v->held && e->lead.role != ETCD_LEADING && !e->reachable) {
        v->known = v->held = false; /* it may be as it was, or not */
        cw_etcd_view_tell(e);
    }
}

static void
look_on_timer(struct cw_timer *t)
{
    struct cw_etcd *e = cw_container_of(t, struct cw_etcd, view.timer);
    struct etcd_view *v = &e->view;

    if (v->look.busy)
        return; /* its end looks again */
    v->look_after = v->revision;
    cw_etcd_ask(&v->look, "/v3/kv/range",
                cw_etcd_pack("{s:o}", "key", cw_etcd_key(e, ETCD_LEADER_KEY)), ETCD_LEAD_MS, true);
}

void
cw_etcd_view_look(struct cw_etcd *e, uint64_t in_ms)
{
    uint64_t at = cw_now_ns(e->env) + in_ms * CW_NS_PER_MS;

    if (!cw_timer_armed(&e->view.timer) || e->view.timer.at_ns > at)
        cw_timer_set(e->env, &e->view.timer, at);
}

void
cw_etcd_view_left(struct cw_etcd *e, size_t endpoint)
{
    if (e->view.watch == NULL || e->view.watch_endpoint != endpoint)
        return;
    watch_stop(e);
    cw_etcd_view_look(e, AGAIN_MS);
}

void
cw_etcd_view_init(struct cw_etcd *e)
{
    struct etcd_view *v = &e->view;

    cw_etcd_ask_init(&v->look, e, look_on_end);
    v->timer.fn = look_on_timer;
    v->line = malloc(LINE_MAX);
    cw_assert(v->line != NULL);
}

void
cw_etcd_view_fini(struct cw_etcd *e)
{
    cw_timer_cancel(e->env, &e->view.timer);
    cw_etcd_ask_drop(&e->view.look);
    watch_stop(e);
    free(e->view.line);
}
