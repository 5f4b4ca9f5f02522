#include "tests/unit/metadata/fake-etcd.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

struct link {
    struct fake *f;
    struct bufferevent *bev;
    struct cw_list link;
    char *watch64; /* the key watched */
};

static void
text_of(const char *base64, char *to, size_t size)
{
    /* The digits of a test's keys: OpenSSL's decoder pads with zeroes, which end the text here. */
    size_t len = base64 != NULL ? strlen(base64) : 0;

    assert_true(len / 4 * 3 < size);
    memset(to, 0, size);
    if (len > 0)
        assert_true(EVP_DecodeBlock((unsigned char *)to, (const unsigned char *)base64, (int)len) >=
                    0);
}

static size_t
bytes_of(const char *base64)
{
    size_t len = strlen(base64), n = len / 4 * 3;

    while (len > 0 && base64[--len] == '=')
        n--;
    return n;
}

static const char *
text_to(const char *text, char *to, size_t size)
{
    assert_true(strlen(text) / 3 * 4 + 5 < size);
    EVP_EncodeBlock((unsigned char *)to, (const unsigned char *)text, (int)strlen(text));
    return to;
}

static uint64_t
number_of(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);

    if (json_is_integer(v))
        return (uint64_t)json_integer_value(v);
    return v != NULL ? strtoull(json_string_value(v), NULL, 10) : 0;
}

static json_t *
number_to(uint64_t n)
{
    return json_sprintf("%" PRIu64, n);
}

static const char *
string_of(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));

    return text != NULL ? text : "";
}

/* ---- keys ---- */

static size_t
key_place(const struct fake *f, const char *key)
{
    size_t i = 0;

    while (i < f->n_keys && strcmp(f->keys[i]->key, key) < 0)
        i++;
    return i;
}

static struct fake_key *
key_find(const struct fake *f, const char *key)
{
    size_t i = key_place(f, key);

    return i < f->n_keys && strcmp(f->keys[i]->key, key) == 0 ? f->keys[i] : NULL;
}

static json_t *
key_json(const struct fake_key *k)
{
    char key64[256];
    json_t *o = json_pack("{s:s,s:o,s:o,s:s,s:o}", "key", text_to(k->key, key64, sizeof(key64)),
                          "create_revision", number_to(k->create), "mod_revision",
                          number_to(k->mod), "version", "1", "lease", number_to(k->lease));

    if (k->value64 != NULL)
        json_object_set_new(o, "value", json_string(k->value64));
    return o;
}

static json_t *
header_of(const struct fake *f)
{
    return json_pack("{s:o,s:o}", "cluster_id", number_to(f->cluster_id), "revision",
                     number_to(f->revision));
}

static void
watchers_tell(struct fake *f, const char *key, json_t *event)
{
    char key64[256];
    json_t *line = json_pack("{s:{s:o,s:[o]}}", "result", "header", header_of(f), "events", event);
    char *text = json_dumps(line, JSON_COMPACT);

    text_to(key, key64, sizeof(key64));
    CW_LIST_EACH_SAFE (it, &f->links) {
        struct link *w = cw_list_entry(it, struct link, link);

        if (!f->deaf && w->watch64 != NULL && strcmp(w->watch64, key64) == 0)
            evbuffer_add_printf(bufferevent_get_output(w->bev), "%zx\r\n%s\n\r\n", strlen(text) + 1,
                                text);
    }
    free(text);
    json_decref(line);
}

static void
key_drop(struct fake *f, const char *key)
{
    size_t i = key_place(f, key);
    struct fake_key *k = key_find(f, key);
    char key64[256];

    if (k == NULL)
        return;
    memmove(&f->keys[i], &f->keys[i + 1], (--f->n_keys - i) * sizeof(f->keys[0]));
    free(k->value64);
    free(k);
    watchers_tell(f, key,
                  json_pack("{s:s,s:{s:s,s:o}}", "type", "DELETE", "kv", "key",
                            text_to(key, key64, sizeof(key64)), "mod_revision",
                            number_to(f->revision)));
}

static void
key_put(struct fake *f, const char *key, const char *value64, uint64_t lease)
{
    size_t i = key_place(f, key);
    struct fake_key *k = key_find(f, key);

    if (k == NULL) {
        assert_true(f->n_keys < FAKE_KEYS_MAX);
        k = calloc(1, sizeof(*k));
        snprintf(k->key, sizeof(k->key), "%s", key);
        k->create = f->revision;
        memmove(&f->keys[i + 1], &f->keys[i], (f->n_keys++ - i) * sizeof(f->keys[0]));
        f->keys[i] = k;
    }
    free(k->value64);
    k->value64 = value64[0] != '\0' ? strdup(value64) : NULL;
    k->mod = f->revision;
    k->lease = lease;
    watchers_tell(f, key, json_pack("{s:o}", "kv", key_json(k)));
}

bool
fake_has(const struct fake *f, const char *key)
{
    return key_find(f, key) != NULL;
}

void
fake_put(struct fake *f, const char *key, const char *value)
{
    char value64[256];

    f->revision++;
    if (value == NULL)
        key_drop(f, key);
    else
        key_put(f, key, text_to(value, value64, sizeof(value64)), 0);
}

/* ---- calls ---- */

static json_t *
call_range(struct fake *f, const json_t *req)
{
    char from[256], end[256];
    uint64_t limit = number_of(req, "limit"), n = 0;
    json_t *kvs = json_array(), *root = json_pack("{s:o}", "header", header_of(f));
    bool more = false;

    if (f->page != 0 && limit != 0)
        limit = f->page;
    text_of(string_of(req, "key"), from, sizeof(from));
    text_of(string_of(req, "range_end"), end, sizeof(end));
    if (bytes_of(string_of(req, "key")) > strlen(from) && key_find(f, from) != NULL)
        strcat(from, "\x01"); /* it went on behind that key */
    for (size_t i = key_place(f, from); i < f->n_keys; i++) {
        if (strcmp(f->keys[i]->key, end[0] != '\0' ? end : from) >= (end[0] != '\0' ? 0 : 1))
            break;
        if (limit != 0 && n++ == limit) {
            more = true;
            break;
        }
        json_array_append_new(kvs, key_json(f->keys[i]));
    }
    if (json_array_size(kvs) > 0)
        json_object_set(root, "kvs", kvs);
    if (more)
        json_object_set_new(root, "more", json_true());
    json_decref(kvs);
    return root;
}

static bool
compares_hold(struct fake *f, const json_t *list)
{
    const json_t *c;
    size_t i;

    json_array_foreach(list, i, c)
    {
        bool create = strcmp(string_of(c, "target"), "CREATE") == 0;
        const struct fake_key *k;
        char key[256];

        assert_string_equal(string_of(c, "result"), "EQUAL");
        text_of(string_of(c, "key"), key, sizeof(key));
        k = key_find(f, key);
        if ((k == NULL ? 0
             : create  ? k->create
                       : k->mod) != number_of(c, create ? "create_revision" : "mod_revision"))
            return false;
    }
    return true;
}

static json_t *call_txn(struct fake *f, const json_t *req, bool nested);

static json_t *
call_op(struct fake *f, const json_t *op)
{
    const json_t *o;
    char key[256];

    if ((o = json_object_get(op, "request_range")) != NULL)
        return json_pack("{s:o}", "response_range", call_range(f, o));
    if ((o = json_object_get(op, "request_txn")) != NULL)
        return json_pack("{s:o}", "response_txn", call_txn(f, o, true));
    if ((o = json_object_get(op, "request_put")) != NULL) {
        text_of(string_of(o, "key"), key, sizeof(key));
        key_put(f, key, string_of(o, "value"), number_of(o, "lease"));
        return json_pack("{s:{}}", "response_put");
    }
    o = json_object_get(op, "request_delete_range");
    assert_non_null(o);
    text_of(string_of(o, "key"), key, sizeof(key));
    key_drop(f, key);
    return json_pack("{s:{}}", "response_delete_range");
}

static json_t *
call_txn(struct fake *f, const json_t *req, bool nested)
{
    bool holds = compares_hold(f, json_object_get(req, "compare"));
    const json_t *ops = json_object_get(req, holds ? "success" : "failure"), *op;
    json_t *responses = json_array(), *root;
    size_t i;

    if (!nested && holds && json_object_get(json_array_get(ops, 0), "request_range") == NULL)
        f->revision++;
    json_array_foreach(ops, i, op) json_array_append_new(responses, call_op(f, op));
    root = json_pack("{s:o,s:o}", "header", header_of(f), "responses", responses);
    if (holds)
        json_object_set_new(root, "succeeded", json_true());
    return root;
}

static json_t *
call_revoke(struct fake *f, const json_t *req)
{
    uint64_t lease = number_of(req, "ID");

    f->revision++;
    for (size_t i = 0; i < f->n_keys;) {
        char key[160];

        if (f->keys[i]->lease != lease) {
            i++;
            continue;
        }
        memcpy(key, f->keys[i]->key, sizeof(key));
        key_drop(f, key);
    }
    return json_pack("{s:o}", "header", header_of(f));
}

static json_t *
call_any(struct fake *f, const char *path, const json_t *req)
{
    if (strcmp(path, "/v3/kv/range") == 0) {
        if (number_of(req, "revision") != 0 && number_of(req, "revision") < f->compacted)
            return json_pack("{s:s,s:i}", "error",
                             "etcdserver: mvcc: required revision has been compacted", "code", 11);
        return call_range(f, req);
    }
    if (strcmp(path, "/v3/kv/txn") == 0)
        return call_txn(f, req, false);
    if (strcmp(path, "/v3/lease/grant") == 0)
        return json_pack("{s:o,s:o,s:s}", "header", header_of(f), "ID", number_to(++f->next_lease),
                         "TTL", "3");
    if (strcmp(path, "/v3/lease/keepalive") == 0)
        return json_pack("{s:{s:o,s:o,s:s}}", "result", "header", header_of(f), "ID",
                         number_to(number_of(req, "ID")), "TTL", f->leases_end ? "0" : "3");
    if (strcmp(path, "/v3/lease/revoke") == 0)
        return call_revoke(f, req);
    if (strcmp(path, "/v3/auth/authenticate") == 0) {
        if (strcmp(string_of(req, "password"), f->password) != 0)
            return json_pack("{s:s,s:i}", "error",
                             "etcdserver: authentication failed, invalid user ID or password",
                             "code", 3);
        return json_pack("{s:o,s:s}", "header", header_of(f), "token", f->token);
    }
    return json_pack("{s:s,s:i}", "error", "unknown path", "code", 12);
}

/* ---- HTTP ---- */

static void
link_free(struct link *c)
{
    cw_list_remove(&c->link);
    bufferevent_free(c->bev);
    free(c->watch64);
    free(c);
}

static unsigned
count_up(struct fake *f, const char *path)
{
    for (size_t i = 0; i < CW_LEN(f->counts); i++) {
        if (f->counts[i].path[0] == '\0')
            snprintf(f->counts[i].path, sizeof(f->counts[i].path), "%s", path);
        if (strcmp(f->counts[i].path, path) == 0)
            return f->counts[i].n++;
    }
    fail();
    return 0;
}

unsigned
fake_count(const struct fake *f, const char *path)
{
    for (size_t i = 0; i < CW_LEN(f->counts); i++) {
        if (strcmp(f->counts[i].path, path) == 0)
            return f->counts[i].n;
    }
    return 0;
}

static void
link_say(struct link *c, int status, const char *text, size_t cut)
{
    char head[200];
    int len = snprintf(head, sizeof(head),
                       "HTTP/1.1 %d Word\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       status, strlen(text));

    bufferevent_write(c->bev, head, (size_t)len);
    bufferevent_write(c->bev, text, strlen(text) - cut);
}

static void
link_watch(struct link *c, const json_t *req)
{
    const json_t *create = json_object_get(req, "create_request");
    json_t *line = json_pack("{s:{s:o,s:b}}", "result", "header", header_of(c->f), "created", true);
    char *text = json_dumps(line, JSON_COMPACT);

    c->watch64 = strdup(string_of(create, "key"));
    evbuffer_add_printf(bufferevent_get_output(c->bev),
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n%s\n\r\n",
                        strlen(text) + 1, text);
    free(text);
    json_decref(line);
}

static void
link_close_later(struct link *c)
{
    bufferevent_disable(c->bev, EV_READ);
    shutdown(bufferevent_getfd(c->bev), SHUT_RD);
}

static void
link_written(struct bufferevent *bev, void *arg)
{
    link_free(arg);
}

/* What was written goes out first. */
static void
link_end(struct link *c)
{
    if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) {
        link_free(c);
        return;
    }
    link_close_later(c);
    bufferevent_setcb(c->bev, NULL, link_written, NULL, c);
}

/* False: c is gone. */
static bool
link_serve(struct link *c, const char *path, const char *token, const char *body)
{
    struct fake *f = c->f;
    unsigned n = count_up(f, path);
    enum fake_fault fault = f->fault != NULL ? f->fault(f, path, n) : FAKE_SERVE;
    bool auth = strcmp(path, "/v3/auth/authenticate") == 0;
    json_t *req = json_loads(body, 0, NULL), *answer = NULL;
    char *text;
    int status;

    assert_non_null(req);
    if (fault == FAKE_SAY || fault == FAKE_CLOSE || fault == FAKE_HANG) {
        if (fault == FAKE_SAY)
            link_say(c, f->say_status, f->say, 0);
        if (fault == FAKE_CLOSE)
            link_free(c);
        json_decref(req);
        return fault != FAKE_CLOSE;
    }
    if (!auth && f->token[0] != '\0' && strcmp(f->token, token) != 0)
        answer = json_pack("{s:s,s:i}", "error", "etcdserver: invalid auth token", "code", 16);
    else if (strcmp(path, "/v3/watch") == 0)
        link_watch(c, req);
    else
        answer = call_any(f, path, req);
    json_decref(req);
    if (answer == NULL)
        return true;
    text = json_dumps(answer, JSON_COMPACT);
    status = json_object_get(answer, "error") != NULL ? 400 : 200;
    if (fault != FAKE_LOSE)
        link_say(c, status, text, fault == FAKE_HALF ? strlen(text) / 2 : 0);
    free(text);
    json_decref(answer);
    if (fault == FAKE_SERVE)
        return true;
    link_end(c);
    return false;
}

static void
link_on_read(struct bufferevent *bev, void *arg)
{
    struct link *c = arg;
    struct evbuffer *in = bufferevent_get_input(bev);

    for (;;) {
        struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
        char *head, *at, path[64] = "", token[64] = "", *body;
        size_t len = 0;
        bool go_on;

        if (end.pos < 0)
            return;
        head = strndup((char *)evbuffer_pullup(in, end.pos), (size_t)end.pos);
        sscanf(head, "POST %63s", path);
        if ((at = strstr(head, "Content-Length: ")) != NULL)
            len = strtoull(at + 16, NULL, 10);
        if ((at = strstr(head, "Authorization: ")) != NULL)
            sscanf(at + 15, "%63[^\r]", token);
        assert_non_null(strstr(head, "Host: "));
        free(head);
        if (evbuffer_get_length(in) < (size_t)end.pos + 4 + len)
            return;
        evbuffer_drain(in, (size_t)end.pos + 4);
        body = calloc(1, len + 1);
        evbuffer_remove(in, body, len);
        go_on = link_serve(c, path, token, body);
        free(body);
        if (!go_on)
            return;
    }
}

static void
link_on_event(struct bufferevent *bev, short what, void *arg)
{
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        link_free(arg);
}

static void
fake_on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *a, int len,
               void *arg)
{
    struct fake *f = arg;
    struct event_base *base = cw_service_base(f->l->s);
    struct link *c = calloc(1, sizeof(*c));

    c->f = f;
    if (f->tls != NULL)
        c->bev = bufferevent_openssl_socket_new(base, fd, SSL_new(f->tls),
                                                BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    else
        c->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    cw_list_push_back(&f->links, &c->link);
    bufferevent_setcb(c->bev, link_on_read, NULL, link_on_event, c);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

/* ---- watches ---- */

void
fake_watch_say(struct fake *f, const char *line)
{
    CW_LIST_EACH (it, &f->links) {
        struct link *w = cw_list_entry(it, struct link, link);

        if (w->watch64 != NULL)
            evbuffer_add_printf(bufferevent_get_output(w->bev), "%zx\r\n%s\n\r\n", strlen(line) + 1,
                                line);
    }
}

void
fake_watch_close(struct fake *f)
{
    CW_LIST_EACH_SAFE (it, &f->links) {
        struct link *w = cw_list_entry(it, struct link, link);

        if (w->watch64 != NULL)
            link_free(w);
    }
}

/* ---- life ---- */

void
fake_up(struct fake *f)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(f->port) };
    socklen_t len = sizeof(a);

    f->listener = evconnlistener_new_bind(cw_service_base(f->l->s), fake_on_accept, f,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 16,
                                          (struct sockaddr *)&a, sizeof(a));
    assert_non_null(f->listener);
    getsockname(evconnlistener_get_fd(f->listener), (struct sockaddr *)&a, &len);
    f->port = ntohs(a.sin_port);
    snprintf(f->url, sizeof(f->url), "http%s://127.0.0.1:%u", f->tls != NULL ? "s" : "", f->port);
}

void
fake_down(struct fake *f)
{
    evconnlistener_free(f->listener);
    f->listener = NULL;
    CW_LIST_EACH_SAFE (it, &f->links)
        link_free(cw_list_entry(it, struct link, link));
}

void
fake_reset(struct fake *f)
{
    const struct linger linger = { .l_onoff = 1 };

    CW_LIST_EACH_SAFE (it, &f->links) {
        struct link *c = cw_list_entry(it, struct link, link);

        setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        link_free(c);
    }
}

void
fake_init(struct fake *f, struct loop *l, struct ssl_ctx_st *tls)
{
    *f = (struct fake){ .l = l, .tls = tls, .cluster_id = 7, .revision = 1 };
    cw_list_init(&f->links);
    fake_up(f);
}

void
fake_fini(struct fake *f)
{
    if (f->listener != NULL)
        fake_down(f);
    for (size_t i = 0; i < f->n_keys; i++) {
        free(f->keys[i]->value64);
        free(f->keys[i]);
    }
}
