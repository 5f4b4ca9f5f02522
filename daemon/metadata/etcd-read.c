/* metadata/etcd-read.c - all keys of a prefix, page by page at one revision.
 *
 * The first page says the revision, the others ask for it. If it is compacted meanwhile, all begins
 * again; so nothing is handed on before the last page is there.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/metadata/etcd-internal.h"

#define PAGE_KEYS "500"
#define BYTES_MAX (1 * CW_GIB)
#define BEGUN_MAX 8u

static void read_page(struct cw_etcd *e);

static void
read_forget(struct etcd_read *x)
{
    for (size_t i = 0; i < x->n; i++)
        free(x->at[i].value);
    free(x->at);
    x->at = NULL;
    x->n = x->cap = x->bytes = 0;
    x->revision = 0;
    x->last[0] = '\0';
}

void
cw_etcd_read_fini(struct cw_etcd *e)
{
    read_forget(&e->store.read);
}

void
cw_etcd_read_end(struct cw_etcd *e, enum cw_kv_result res)
{
    struct etcd_read done = e->store.read;

    e->store.read = (struct etcd_read){ 0 };
    for (size_t i = 0; i < done.n && res == CW_KV_APPLIED; i++) {
        struct cw_kv_entry entry = {
            .key = done.at[i].key,
            .version = done.at[i].version,
            .value = done.at[i].value,
            .len = done.at[i].len,
        };

        done.r->entry(done.r, &entry);
    }
    read_forget(&done);
    done.r->done(done.r, res);
}

/* ---- what came ---- */

static struct etcd_page_entry *
read_grow(struct etcd_read *x)
{
    if (x->n == x->cap) {
        x->cap = x->cap == 0 ? 256 : x->cap * 2;
        x->at = realloc(x->at, x->cap * sizeof(*x->at));
        cw_assert(x->at != NULL);
    }
    return &x->at[x->n];
}

static bool
key_is_text(const char *key, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (key[i] < ' ' || key[i] > '~')
            return false;
    }
    return true;
}

/* What lies under our prefix and is no key of the manager's is passed over. */
static bool
read_take_value(struct cw_etcd *e, const struct cw_etcd_kv_json *kv, const char *full)
{
    struct etcd_read *x = &e->store.read;
    const char *key = full + strlen(e->prefix);
    size_t cap = kv->value64 != NULL ? strlen(kv->value64) / 4 * 3 : 0;
    struct etcd_page_entry *at;

    if (strlen(key) >= CW_KV_KEY_SIZE || strncmp(key, ETCD_OWN_KEYS, strlen(ETCD_OWN_KEYS)) == 0)
        return true;
    at = read_grow(x);
    strcpy(at->key, key);
    at->version = kv->mod_revision;
    at->value = malloc(cap + 1);
    cw_assert(at->value != NULL);
    if (!cw_etcd_base64(kv->value64, at->value, cap, &at->len)) {
        free(at->value);
        return false;
    }
    x->n++;
    x->bytes += sizeof(*at) + cap;
    return x->bytes <= BYTES_MAX;
}

static bool
read_take(struct cw_etcd *e, const json_t *o)
{
    struct etcd_read *x = &e->store.read;
    struct cw_etcd_kv_json kv;
    char full[ETCD_KEY_SIZE];
    size_t len;

    if (!cw_etcd_json_kv(o, &kv) || kv.mod_revision == 0 || kv.mod_revision > x->revision ||
        !cw_etcd_base64(kv.key64, full, sizeof(full) - 1, &len) || !key_is_text(full, len))
        return false;
    full[len] = '\0';
    if (strncmp(full, e->prefix, strlen(e->prefix)) != 0 || strcmp(full, x->last) <= 0)
        return false;
    strcpy(x->last, full);
    return read_take_value(e, &kv, full);
}

/* True: *ret_more says whether that was the last page. */
static bool
read_take_page(struct cw_etcd *e, const json_t *root, bool *ret_more)
{
    struct etcd_read *x = &e->store.read;
    const json_t *kvs = json_object_get(root, "kvs"), *o;
    size_t i;

    if (x->revision == 0)
        x->revision = cw_etcd_revision(root);
    *ret_more = json_is_true(json_object_get(root, "more"));
    if (x->revision == 0 || (kvs != NULL && !json_is_array(kvs)) ||
        (*ret_more && json_array_size(kvs) == 0))
        return false;
    json_array_foreach(kvs, i, o)
    {
        if (!read_take(e, o))
            return false;
    }
    return true;
}

void
cw_etcd_read_on_end(struct cw_etcd *e, const struct etcd_end *end)
{
    struct etcd_read *x = &e->store.read;
    bool more = false;

    if (end->outcome == ETCD_REFUSED && end->code == CW_ETCD_CODE_RANGE && x->revision != 0 &&
        ++x->begun < BEGUN_MAX) {
        read_forget(x);
        read_page(e);
        return;
    }
    if (end->outcome != ETCD_ANSWERED) {
        if (end->outcome == ETCD_REFUSED)
            cw_log(e->env, CW_LOG_ERROR, "%s: cannot read: %s", e->name, end->why);
        cw_etcd_read_end(e, CW_KV_UNAVAILABLE);
        return;
    }
    if (!read_take_page(e, end->root, &more)) {
        cw_log(e->env, CW_LOG_ERROR, "%s: a key or an answer that makes no sense, after '%.100s'",
               e->name, x->last);
        cw_etcd_read_end(e, CW_KV_UNAVAILABLE);
    } else if (more) {
        read_page(e);
    } else {
        cw_etcd_read_end(e, CW_KV_APPLIED);
    }
}

/* ---- asking ---- */

/* All keys that begin with it lie below it with its last byte one higher. */
static void
read_page(struct cw_etcd *e)
{
    struct etcd_read *x = &e->store.read;
    char end[ETCD_KEY_SIZE];
    json_t *from;
    int len =
        snprintf(end, sizeof(end), "%s%s", e->prefix, x->r->prefix[0] != '\0' ? x->r->prefix : "/");

    cw_assert(len > 0 && (size_t)len < sizeof(end));
    from = x->last[0] != '\0' ? cw_etcd_json_bytes(x->last, strlen(x->last) + 1)
                              : cw_etcd_json_bytes(end, (size_t)len);
    end[len - 1]++;
    cw_etcd_ask(&e->store.ask, "/v3/kv/range",
                cw_etcd_pack("{s:o,s:o,s:s,s:o}", "key", from, "range_end",
                             cw_etcd_json_bytes(end, (size_t)len), "limit", PAGE_KEYS, "revision",
                             cw_etcd_json_number(x->revision)),
                ETCD_KV_MS, true);
}

void
cw_etcd_read_begin(struct cw_etcd *e, struct cw_kv_read *r)
{
    e->store.read = (struct etcd_read){ .r = r };
    read_page(e);
}
