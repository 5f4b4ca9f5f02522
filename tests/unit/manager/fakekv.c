#include "tests/unit/manager/fakekv.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

static size_t
codec_encode(const struct cw_rec *r, uint8_t *to)
{
    CW_STATIC_ASSERT(sizeof(*r) <= CW_REC_BYTES_MAX);
    memcpy(to, r, sizeof(*r));
    return sizeof(*r);
}

static bool
codec_decode(const uint8_t *from, size_t len, struct cw_rec *ret)
{
    enum cw_rec_kind kind = ret->kind;

    if (len != sizeof(*ret))
        return false;
    memcpy(ret, from, len);
    return ret->kind == kind;
}

const struct cw_rec_codec fakekv_codec = { codec_encode, codec_decode };

static struct fakekv_row **
row_place(struct fakekv *f, const char *key)
{
    struct fakekv_row **at = &f->rows;

    while (*at != NULL && strcmp((*at)->key, key) < 0)
        at = &(*at)->next;
    return at;
}

static struct fakekv_row *
row_find(struct fakekv *f, const char *key)
{
    struct fakekv_row *r = *row_place(f, key);

    return r != NULL && strcmp(r->key, key) == 0 ? r : NULL;
}

static void
row_set(struct fakekv *f, const char *key, const uint8_t *value, size_t len)
{
    struct fakekv_row **at = row_place(f, key), *old = row_find(f, key), *r;

    if (old != NULL) {
        *at = old->next;
        free(old);
    }
    if (value == NULL)
        return;
    r = calloc(1, sizeof(*r) + len);
    cw_assert(r != NULL);
    strcpy(r->key, key);
    r->version = f->version;
    r->len = len;
    memcpy(r->value, value, len);
    r->next = *at;
    *at = r;
}

static enum cw_kv_result
txn_apply(struct fakekv *f, const struct cw_kv_txn *t)
{
    for (size_t i = 0; i < t->n_compares; i++) {
        const struct fakekv_row *r = row_find(f, t->compares[i].key);

        if ((r != NULL ? r->version : 0) != t->compares[i].version)
            return CW_KV_CONFLICT;
    }
    f->version++;
    for (size_t i = 0; i < t->n_ops; i++)
        row_set(f, t->ops[i].key, t->ops[i].value, t->ops[i].len);
    return CW_KV_APPLIED;
}

static void
answer_txn(struct fakekv *f)
{
    struct cw_kv_txn *t = f->txn;
    enum fakekv_fault fault = f->fault;
    enum cw_kv_result res = CW_KV_UNAVAILABLE;

    f->txn = NULL;
    f->commits++;
    if (fault == FAKEKV_LOSE_REPLY || fault == FAKEKV_LOSE_REQUEST)
        f->fault = FAKEKV_OK;
    f->kv.refused = f->ops_max > 0 && t->n_ops > f->ops_max ? "it is too large" : NULL;
    if (f->kv.refused == NULL && (fault == FAKEKV_OK || fault == FAKEKV_LOSE_REPLY))
        res = txn_apply(f, t);
    if (fault == FAKEKV_LOSE_REPLY || fault == FAKEKV_LOSE_REQUEST)
        res = CW_KV_UNKNOWN;
    t->done(t, res, f->version);
}

static void
answer_read(struct fakekv *f)
{
    struct cw_kv_read *r = f->read;

    f->read = NULL;
    for (struct fakekv_row *row = f->rows; f->fault != FAKEKV_DOWN && row != NULL;
         row = row->next) {
        struct cw_kv_entry e = { row->key, row->version, row->value, row->len };

        if (strncmp(row->key, r->prefix, strlen(r->prefix)) == 0)
            r->entry(r, &e);
    }
    r->done(r, f->fault == FAKEKV_DOWN ? CW_KV_UNAVAILABLE : CW_KV_APPLIED);
}

static void
fakekv_fired(struct cw_timer *t)
{
    struct fakekv *f = cw_container_of(t, struct fakekv, timer);

    if (f->txn != NULL)
        answer_txn(f);
    else if (f->read != NULL)
        answer_read(f);
}

static void
fakekv_commit(struct cw_kv *kv, struct cw_kv_txn *t)
{
    struct fakekv *f = cw_container_of(kv, struct fakekv, kv);

    cw_assert(f->txn == NULL && f->read == NULL); /* one at a time, as kv.h says */
    f->txn = t;
    cw_timer_set(&f->env->env, &f->timer, f->env->now_ns + CW_NS_PER_MS);
}

static void
fakekv_read(struct cw_kv *kv, struct cw_kv_read *r)
{
    struct fakekv *f = cw_container_of(kv, struct fakekv, kv);

    cw_assert(f->txn == NULL && f->read == NULL);
    f->read = r;
    cw_timer_set(&f->env->env, &f->timer, f->env->now_ns + CW_NS_PER_MS);
}

void
fakekv_init(struct fakekv *f, struct cw_simenv *env)
{
    static const struct cw_kv_ops ops = { fakekv_read, fakekv_commit };

    *f = (struct fakekv){ .kv = { &ops, "memory" }, .env = env, .timer.fn = fakekv_fired };
}

void
fakekv_fini(struct fakekv *f)
{
    cw_timer_cancel(&f->env->env, &f->timer);
    while (f->rows != NULL)
        row_set(f, f->rows->key, NULL, 0);
}

bool
fakekv_get(const struct fakekv *f, const char *key, struct cw_rec *ret)
{
    const struct fakekv_row *r = row_find((struct fakekv *)f, key);

    if (r == NULL)
        return false;
    memcpy(ret, r->value, sizeof(*ret));
    return true;
}

void
fakekv_del(struct fakekv *f, const struct cw_rec *rec)
{
    char key[CW_KV_KEY_SIZE];

    f->version++;
    row_set(f, cw_rec_key(rec, key), NULL, 0);
}

void
fakekv_put(struct fakekv *f, const struct cw_rec *rec)
{
    char key[CW_KV_KEY_SIZE];

    fakekv_put_at(f, cw_rec_key(rec, key), rec);
}

void
fakekv_put_at(struct fakekv *f, const char *key, const struct cw_rec *rec)
{
    f->version++;
    row_set(f, key, (const uint8_t *)rec, sizeof(*rec));
}
