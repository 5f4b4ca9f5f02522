/* manager/ops.c - one change of the records at a time.
 *
 *   queued --its turn--> build --> commit --APPLIED--> memory shows it, end(OK)
 *                                    |----CONFLICT---> read the store, build again
 *                                    |----UNKNOWN----> read the store, end(UNAVAILABLE)
 *                                    \----UNAVAILABLE-> end(UNAVAILABLE)
 *
 * Every transaction compares the cluster record, which every transaction writes: a manager that
 * was deposed, or that misses a change, can change nothing any more.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mutation.h"
#include "daemon/manager/internal.h"

#define OP_TRIES_MAX 4

static void ops_committed(struct cw_kv_txn *kv, enum cw_kv_result res, uint64_t version);

void
cw_mgr_op_queue(struct cw_manager *m, struct mgr_op *op)
{
    op->m = m;
    cw_list_push_back(&m->ops, &op->link);
    cw_mgr_kick(m);
}

/* ---- building ---- */

static struct mgr_txn_item *
txn_find(struct mgr_txn *t, const char *key)
{
    for (struct mgr_txn_item *i = t->items; i != NULL; i = i->next) {
        if (strcmp(i->key, key) == 0)
            return i;
    }
    return NULL;
}

static struct mgr_txn_item *
txn_item(struct mgr_txn *t, enum cw_rec_kind kind, const char *key)
{
    struct mgr_txn_item *i = txn_find(t, key);
    struct mgr_obj *o;

    if (i != NULL)
        return i;
    o = cw_mgr_find_key(&t->m->t, kind, key);
    i = cw_mgr_arena_get(t->arena, 1, sizeof(*i));
    i->key = cw_mgr_arena_text(t->arena, key);
    i->version = o != NULL ? o->version : 0;
    i->rec.kind = kind;
    i->next = t->items;
    t->items = i;
    t->n_items++;
    return i;
}

void
cw_mgr_txn_put(struct mgr_txn *t, const struct cw_rec *rec)
{
    char key[CW_KV_KEY_SIZE];
    struct mgr_txn_item *i = txn_item(t, rec->kind, cw_rec_key(rec, key));

    i->del = false;
    i->rec = *rec;
}

void
cw_mgr_txn_del(struct mgr_txn *t, const struct mgr_obj *o)
{
    txn_item(t, o->rec.kind, o->key)->del = true;
}

struct cw_cluster_rec *
cw_mgr_txn_cluster(struct mgr_txn *t)
{
    struct mgr_txn_item *i = txn_find(t, "/cluster");
    struct mgr_obj *o;

    if (i != NULL)
        return &i->rec.cluster;
    o = cw_mgr_find_key(&t->m->t, CW_REC_CLUSTER, "/cluster");
    i = txn_item(t, CW_REC_CLUSTER, "/cluster");
    if (o != NULL)
        i->rec = o->rec;
    return &i->rec.cluster;
}

uint64_t
cw_mgr_txn_event(struct mgr_txn *t, const char *code, const char *object, const char *fmt, ...)
{
    struct cw_cluster_rec *c = cw_mgr_txn_cluster(t);
    struct cw_rec r = { .kind = CW_REC_EVENT };
    char old[CW_KV_KEY_SIZE];
    struct mgr_obj *oldest;
    va_list args;

    r.event.number = c->next_event++;
    r.event.at_s = cw_mgr_wall_s(t->m);
    cw_mgr_text_clip(r.event.code, sizeof(r.event.code), code);
    cw_mgr_text_clip(r.event.object, sizeof(r.event.object), object);
    va_start(args, fmt);
    vsnprintf(r.event.text, sizeof(r.event.text), fmt, args);
    va_end(args);
    cw_mgr_txn_put(t, &r);
    if (!t->dry)
        cw_log(t->m->env, CW_LOG_INFO, "%s: %s: %s", object, code, r.event.text);
    if (r.event.number > MGR_EVENTS_KEPT) {
        struct cw_rec like = { .kind = CW_REC_EVENT,
                               .event.number = r.event.number - MGR_EVENTS_KEPT };

        oldest = cw_mgr_find_key(&t->m->t, CW_REC_EVENT, cw_rec_key(&like, old));
        if (oldest != NULL)
            cw_mgr_txn_del(t, oldest);
    }
    return r.event.number;
}

/* ---- committing ---- */

static void
txn_encode(struct mgr_txn *t)
{
    struct cw_kv_compare *cmp = cw_mgr_arena_get(t->arena, t->n_items, sizeof(*cmp));
    struct cw_kv_op *ops = cw_mgr_arena_get(t->arena, t->n_items, sizeof(*ops));
    size_t n = 0;

    for (struct mgr_txn_item *i = t->items; i != NULL; i = i->next, n++) {
        cmp[n] = (struct cw_kv_compare){ .key = i->key, .version = i->version };
        ops[n].key = i->key;
        if (!i->del) {
            uint8_t bytes[CW_REC_BYTES_MAX], *to;

            ops[n].len = t->m->opts.codec->encode(&i->rec, bytes);
            cw_assert(ops[n].len > 0 && ops[n].len <= sizeof(bytes));
            to = cw_mgr_arena_get(t->arena, 1, ops[n].len);
            memcpy(to, bytes, ops[n].len);
            ops[n].value = to;
        }
    }
    t->kv = (struct cw_kv_txn){ .compares = cmp, .n_compares = n, .ops = ops, .n_ops = n };
    t->kv.done = ops_committed;
}

static void
txn_begin(struct cw_manager *m)
{
    m->txn = (struct mgr_txn){ .m = m, .arena = cw_mgr_arena_new() };
}

static void
txn_end(struct cw_manager *m)
{
    cw_mgr_arena_free(m->txn.arena);
    m->txn = (struct mgr_txn){ 0 };
}

static void
txn_apply(struct cw_manager *m, uint64_t version)
{
    bool events = false;

    for (struct mgr_txn_item *i = m->txn.items; i != NULL; i = i->next) {
        if (i->del)
            cw_mgr_apply_del(m, i->rec.kind, i->key);
        else
            cw_mgr_apply_put(m, i->key, version, &i->rec);
        events |= i->rec.kind == CW_REC_EVENT;
    }
    cw_mgr_backup_note(m);
    if (events)
        cw_mgr_events_new(m);
}

static void
ops_committed(struct cw_kv_txn *kv, enum cw_kv_result res, uint64_t version)
{
    struct cw_manager *m = cw_container_of(kv, struct cw_manager, txn.kv);
    struct mgr_op *op = m->running;
    const char *refused = m->opts.kv->refused;
    bool again;

    if (res == CW_KV_UNKNOWN && cw_mutated(CW_MUTATION_DOUBT_IS_DONE)) {
        res = CW_KV_APPLIED;
        version = 1;
    }
    again = res == CW_KV_CONFLICT && ++op->tries < OP_TRIES_MAX;
    m->committing = false;
    m->running = NULL;
    if (res == CW_KV_APPLIED)
        txn_apply(m, version);
    txn_end(m);
    if (res == CW_KV_CONFLICT || res == CW_KV_UNKNOWN) {
        m->doubt = true;
        cw_log(m->env, CW_LOG_WARNING, "metadata: a transaction %s: reading the store again",
               res == CW_KV_CONFLICT ? "met a change of another manager" : "is in doubt");
        cw_mgr_load(m);
    }
    if (again)
        cw_list_push_front(&m->ops, &op->link);
    else if (res == CW_KV_APPLIED)
        op->end(op, CW_MGR_OK, "");
    else
        op->end(op, CW_MGR_UNAVAILABLE,
                res == CW_KV_UNKNOWN ? "the metadata store did not confirm the change"
                : refused != NULL    ? refused
                                     : "the metadata store does not answer");
    cw_mgr_kick(m);
}

static void
op_commit(struct cw_manager *m, struct mgr_op *op)
{
    struct mgr_txn *t = &m->txn;
    struct cw_cluster_rec *c = cw_mgr_txn_cluster(t);

    if (!t->quiet)
        c->epoch++;
    txn_encode(t);
    m->running = op;
    m->committing = true;
    cw_kv_commit(m->opts.kv, &t->kv);
}

/* Until one is under way, or none is left, or the store must be read first. */
void
cw_mgr_ops_run(struct cw_manager *m)
{
    struct cw_list *node;

    while (!m->committing && !m->doubt && (node = cw_list_pop_front(&m->ops)) != NULL) {
        struct mgr_op *op = cw_list_entry(node, struct mgr_op, link);
        enum mgr_build b;

        bool dry = op->dry_run;

        txn_begin(m);
        m->txn.dry = dry;
        b = op->build(op, &m->txn);
        if (b == MGR_BUILD_COMMIT && m->txn.n_items > 0 && !dry) {
            op_commit(m, op);
            return;
        }
        txn_end(m);
        if (b != MGR_BUILD_GONE)
            op->end(op, CW_MGR_OK, "");
    }
}

/* The manager stops: nothing will happen any more. */
void
cw_mgr_ops_fail(struct cw_manager *m)
{
    struct cw_list *node;

    if (m->running != NULL) {
        struct mgr_op *op = m->running;

        m->running = NULL;
        m->committing = false;
        txn_end(m);
        op->end(op, CW_MGR_UNAVAILABLE, "the manager stops; it may have been done");
    }
    while ((node = cw_list_pop_front(&m->ops)) != NULL) {
        struct mgr_op *op = cw_list_entry(node, struct mgr_op, link);

        op->end(op, cw_mgr_not_begun(m), "the manager stops");
    }
}

/* ---- an op for a call ---- */

struct call_op_impl {
    struct mgr_call_op c;
    mgr_build_fn *build;
    mgr_end_fn *ok;
};

static enum mgr_build
call_op_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct call_op_impl *i = cw_container_of(op, struct call_op_impl, c.op);

    return i->build(&i->c, t);
}

static void
call_op_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct call_op_impl *i = cw_container_of(op, struct call_op_impl, c.op);
    struct cw_mgr_call *call = i->c.call;

    if (code != CW_MGR_OK) {
        cw_mgr_fail(call, code, "", "%s", why);
        cw_mgr_error_hint(&call->error, "try again");
        cw_mgr_claim_end(&i->c);
        cw_mgr_done(call);
    } else {
        if (!op->dry_run)
            i->ok(&i->c);
        if (i->c.call != NULL) { /* NULL: ok took it over */
            cw_mgr_claim_end(&i->c);
            cw_mgr_done(call);
        }
    }
    free(i);
}

void
cw_mgr_call_op(struct cw_manager *m, struct cw_mgr_call *call, mgr_build_fn *build, mgr_end_fn *ok)
{
    struct call_op_impl *i = calloc(1, sizeof(*i));

    cw_assert(i != NULL);
    i->c.call = call;
    i->c.op.build = call_op_build;
    i->c.op.end = call_op_end;
    i->c.op.dry_run = call->dry_run;
    i->build = build;
    i->ok = ok;
    cw_mgr_op_queue(m, &i->c.op);
}

enum mgr_build
cw_mgr_op_gone(struct mgr_call_op *c)
{
    free(cw_container_of(c, struct call_op_impl, c));
    return MGR_BUILD_GONE;
}

enum mgr_build
cw_mgr_refused(struct mgr_call_op *c)
{
    struct cw_mgr_call *call = c->call;

    cw_assert(call->error.code != CW_MGR_OK);
    cw_mgr_claim_end(c);
    cw_mgr_done(call);
    return cw_mgr_op_gone(c);
}

enum mgr_build
cw_mgr_refuse(struct mgr_call_op *c, enum cw_mgr_code code, const char *object, const char *fmt,
              ...)
{
    char why[CW_MGR_WHY_SIZE];
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    cw_mgr_fail(c->call, code, object, "%s", why);
    return cw_mgr_refused(c);
}
