/* http/keys.c - the same key and the same request get the same answer, for an hour at most. */
#include <stdlib.h>
#include <string.h>

#include "common/codec/hash.h"
#include "daemon/http/internal.h"

#define KEYS_MAX 512u
#define KEY_BYTES_MAX (8u * 1024u * 1024u)
#define KEY_NS (3600 * CW_NS_PER_S)

static void
key_free(struct cw_http *h, struct http_key *k)
{
    cw_list_remove(&k->link);
    h->n_keys--;
    h->key_bytes -= k->len;
    free(k->key);
    free(k->line);
    free(k->text);
    free(k);
}

/* The oldest that has its answer, if it is old or there are too many. */
static bool
key_forget_one(struct cw_http *h, bool even_young)
{
    CW_LIST_EACH (it, &h->keys) {
        struct http_key *k = cw_list_entry(it, struct http_key, link);

        if (k->busy)
            continue;
        if (!even_young && cw_now_ns(h->env) - k->at_ns < KEY_NS)
            return false;
        key_free(h, k);
        return true;
    }
    return false;
}

static bool
keys_make_room(struct cw_http *h)
{
    while (key_forget_one(h, false))
        ;
    while (h->n_keys >= KEYS_MAX || h->key_bytes > KEY_BYTES_MAX) {
        if (!key_forget_one(h, true))
            return h->n_keys < KEYS_MAX;
    }
    return true;
}

enum http_key_state
cw_http_key_take(struct cw_http *h, const char *key, const char *line, const char *body, size_t len,
                 struct http_key **ret)
{
    uint64_t hash = cw_hash(body, len);
    struct http_key *k;

    CW_LIST_EACH (it, &h->keys) {
        k = cw_list_entry(it, struct http_key, link);
        if (strcmp(k->key, key) != 0)
            continue;
        *ret = k;
        if (k->body_hash != hash || strcmp(k->line, line) != 0)
            return HTTP_KEY_OTHER;
        return k->busy ? HTTP_KEY_BUSY : HTTP_KEY_SAME;
    }
    if (!keys_make_room(h))
        return HTTP_KEY_FULL;
    k = calloc(1, sizeof(*k));
    cw_assert(k != NULL);
    k->key = strdup(key);
    k->line = strdup(line);
    cw_assert(k->key != NULL && k->line != NULL);
    k->body_hash = hash;
    k->at_ns = cw_now_ns(h->env);
    k->busy = true;
    cw_list_push_back(&h->keys, &k->link);
    h->n_keys++;
    *ret = k;
    return HTTP_KEY_NEW;
}

void
cw_http_key_answered(struct cw_http *h, struct http_key *k, int status, const char *text,
                     size_t len)
{
    if (status >= 500) {
        key_free(h, k);
        return;
    }
    k->busy = false;
    k->status = status;
    k->text = malloc(len + 1);
    cw_assert(k->text != NULL);
    memcpy(k->text, text, len);
    k->text[len] = '\0';
    k->len = len;
    h->key_bytes += len;
    keys_make_room(h);
}

void
cw_http_keys_fini(struct cw_http *h)
{
    while (!cw_list_empty(&h->keys))
        key_free(h, cw_list_first(&h->keys, struct http_key, link));
}
