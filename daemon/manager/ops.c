/* manager/ops.c - one transaction at a time, of one change of the records or of several.
 *
 *   queued --its turn--> build --> commit --APPLIED--> memory shows it, end(OK)
 *                                    |----CONFLICT---> read the store, build again, each alone
 *                                    |----UNKNOWN----> read the store, end(UNAVAILABLE)
 *                                    \----UNAVAILABLE-> end(UNAVAILABLE)
 *
 * Ops that stand one behind the other in the queue and have different scopes share a transaction:
 * while one is under way the changes of many volumes gather, as when a host is lost. What an op
 * that changes nothing had put so far is taken back before the next one builds. One that touches a
 * record of another op of the transaction waits for the next, so that none builds upon what may
 * not come true. Where the store refuses what is shared, each is tried alone.
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
#define SHARED_ITEMS 96u /* no more ops then; well below what etcd takes in one go */

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

    if (i != NULL) {
        t->clash |= i->of != t->n_ops;
        return i;
    }
    o = cw_mgr_find_key(&t->m->t, kind, key);
    i = cw_mgr_arena_get(t->arena, 1, sizeof(*i));
    i->key = cw_mgr_arena_text(t->arena, key);
    i->of = t->n_ops;
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

/* Back to where they were, in their order. */
static void
ops_again(struct cw_manager *m, struct cw_list *ops)
{
    cw_list_splice_back(ops, &m->ops);
    cw_list_splice_back(&m->ops, ops);
}

/* Moves those of ops to be tried again to ret. */
static void
ops_choose_again(struct cw_list *ops, enum cw_kv_result res, bool refused, struct cw_list *ret)
{
    bool shared = ops->next != ops->prev;

    CW_LIST_EACH_SAFE (it, ops) {
        struct mgr_op *op = cw_list_entry(it, struct mgr_op, link);

        if (res == CW_KV_CONFLICT ? ++op->tries < OP_TRIES_MAX
                                  : res == CW_KV_UNAVAILABLE && refused && shared) {
            op->alone |= shared;
            cw_list_remove(it);
            cw_list_push_back(ret, it);
        }
    }
}

static const char *
result_why(enum cw_kv_result res, const char *refused)
{
    if (res == CW_KV_UNKNOWN)
        return "the metadata store did not confirm the change";
    return refused != NULL ? refused : "the metadata store does not answer";
}

static void
ops_end(struct cw_list *ops, enum cw_mgr_code code, const char *why)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(ops)) != NULL) {
        struct mgr_op *op = cw_list_entry(node, struct mgr_op, link);

        op->end(op, code, why);
    }
}

static void
ops_committed(struct cw_kv_txn *kv, enum cw_kv_result res, uint64_t version)
{
    struct cw_manager *m = cw_container_of(kv, struct cw_manager, txn.kv);
    const char *refused = m->opts.kv->refused;
    struct cw_list ops, again;

    if (res == CW_KV_UNKNOWN && cw_mutated(CW_MUTATION_DOUBT_IS_DONE)) {
        res = CW_KV_APPLIED;
        version = 1;
    }
    cw_list_init(&ops);
    cw_list_init(&again);
    cw_list_splice_back(&ops, &m->running);
    ops_choose_again(&ops, res, refused != NULL, &again);
    m->committing = false;
    if (res == CW_KV_APPLIED)
        txn_apply(m, version);
    txn_end(m);
    if (res == CW_KV_CONFLICT || res == CW_KV_UNKNOWN) {
        m->doubt = true;
        cw_log(m->env, CW_LOG_WARNING, "metadata: a transaction %s: reading the store again",
               res == CW_KV_CONFLICT ? "met a change of another manager" : "is in doubt");
        cw_mgr_load(m);
    }
    ops_again(m, &again);
    if (res == CW_KV_APPLIED)
        ops_end(&ops, CW_MGR_OK, "");
    else
        ops_end(&ops, CW_MGR_UNAVAILABLE, result_why(res, refused));
    cw_mgr_kick(m);
}

static void
txn_commit(struct cw_manager *m)
{
    struct mgr_txn *t = &m->txn;
    struct cw_cluster_rec *c = cw_mgr_txn_cluster(t);

    if (t->loud)
        c->epoch++;
    txn_encode(t);
    m->committing = true;
    cw_kv_commit(m->opts.kv, &t->kv);
}

/* ---- what shares a transaction ---- */

/* What ops had built before the one at work. */
struct txn_mark {
    struct mgr_txn_item *items;
    size_t n_items;
    bool has_cluster;
    struct cw_cluster_rec cluster; /* the one record that all of them change */
};

static void
txn_mark(struct mgr_txn *t, struct txn_mark *ret)
{
    struct mgr_txn_item *c = txn_find(t, "/cluster");

    *ret = (struct txn_mark){ .items = t->items, .n_items = t->n_items, .has_cluster = c != NULL };
    if (c != NULL)
        ret->cluster = c->rec.cluster;
}

static void
txn_undo(struct mgr_txn *t, const struct txn_mark *mark)
{
    t->items = mark->items;
    t->n_items = mark->n_items;
    if (mark->has_cluster)
        *cw_mgr_txn_cluster(t) = mark->cluster;
}

static bool
op_shares(const struct cw_manager *m, const struct mgr_op *op)
{
    if (m->txn.n_ops == 0)
        return true;
    if (op->scope == 0 || op->dry_run || op->alone || m->txn.n_items >= SHARED_ITEMS)
        return false;
    CW_LIST_EACH (it, &m->running) {
        const struct mgr_op *x = cw_list_entry(it, struct mgr_op, link);

        if (x->scope == 0 || x->alone || (x->scope == op->scope && op->scope != MGR_SCOPE_EVENTS))
            return false;
    }
    return true;
}

/* Has the op put its part. False: it waits for the next transaction. */
static bool
op_build(struct cw_manager *m, struct mgr_op *op)
{
    struct mgr_txn *t = &m->txn;
    bool dry = op->dry_run;
    struct txn_mark mark;
    enum mgr_build b;

    txn_mark(t, &mark);
    t->dry = dry;
    t->quiet = t->clash = false;
    b = op->build(op, t);
    if (b == MGR_BUILD_COMMIT && t->clash) {
        txn_undo(t, &mark);
        cw_list_push_front(&m->ops, &op->link);
        return false;
    }
    if (b == MGR_BUILD_COMMIT && t->n_items > mark.n_items && !dry) {
        cw_list_push_back(&m->running, &op->link);
        t->loud |= !t->quiet;
        t->n_ops++;
        return true;
    }
    txn_undo(t, &mark);
    if (b != MGR_BUILD_GONE)
        op->end(op, CW_MGR_OK, "");
    return true;
}

/* Until one is under way, or none is left, or the store must be read first. */
void
cw_mgr_ops_run(struct cw_manager *m)
{
    while (!m->committing && !m->doubt && !cw_list_empty(&m->ops)) {
        struct mgr_op *op;

        txn_begin(m);
        while ((op = cw_list_first(&m->ops, struct mgr_op, link)) != NULL && op_shares(m, op)) {
            cw_list_remove(&op->link);
            if (!op_build(m, op))
                break;
        }
        if (m->txn.n_ops > 0)
            txn_commit(m);
        else
            txn_end(m);
    }
}

/* The manager stops: nothing will happen any more. */
void
cw_mgr_ops_fail(struct cw_manager *m)
{
    if (m->committing) {
        m->committing = false;
        txn_end(m);
    }
    ops_end(&m->running, CW_MGR_UNAVAILABLE, "the manager stops; it may have been done");
    ops_end(&m->ops, cw_mgr_not_begun(m), "the manager stops");
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
cw_mgr_call_op_of(struct cw_manager *m, struct cw_mgr_call *call, uint64_t scope,
                  mgr_build_fn *build, mgr_end_fn *ok)
{
    struct call_op_impl *i = calloc(1, sizeof(*i));

    cw_assert(i != NULL);
    i->c.call = call;
    i->c.op.build = call_op_build;
    i->c.op.end = call_op_end;
    i->c.op.dry_run = call->dry_run;
    i->c.op.scope = scope;
    i->build = build;
    i->ok = ok;
    cw_mgr_op_queue(m, &i->c.op);
}

void
cw_mgr_call_op(struct cw_manager *m, struct cw_mgr_call *call, mgr_build_fn *build, mgr_end_fn *ok)
{
    cw_mgr_call_op_of(m, call, 0, build, ok);
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
