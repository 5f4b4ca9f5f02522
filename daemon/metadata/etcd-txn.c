/* metadata/etcd-txn.c - one transaction of the manager.
 *
 * Each compares the create_revision of our leader key, and puts MARK_KEY. etcd takes at most LIMIT
 * compares and operations in a list. A larger one is made of
 *
 *   checks   the compares, LIMIT at a time, changing nothing; the first one reads the mark, all
 *            others compare it
 *   the change   compares leader and mark alone; its operations lie in transactions nested twice,
 *                for of a list's limit each level takes its share
 *
 * Whoever changes anything changes the mark, so an unchanged mark says that what was checked still
 * holds: it is one transaction for all others. What is left is etcd's limit on bytes
 * (--max-request-bytes, 1.5 MiB, some 7000 records).
 */
#include <stdio.h>
#include <string.h>

#include "daemon/metadata/etcd-internal.h"

#define LIMIT 128u /* etcd's --max-txn-ops */
#define PLAIN_MAX (LIMIT - 1)
#define CHECK_MAX (LIMIT - 2)
#define NEST (LIMIT / 3)
#define CHANGE_MAX ((NEST - 1) * NEST * NEST)

/* ---- building ---- */

static json_t *
compare_version(const struct cw_etcd *e, const char *key, uint64_t version)
{
    return cw_etcd_pack("{s:o,s:s,s:s,s:o}", "key", cw_etcd_key(e, key), "target", "MOD", "result",
                        "EQUAL", "mod_revision", cw_etcd_json_number(version));
}

static json_t *
compare_leader(const struct cw_etcd *e)
{
    return cw_etcd_pack("{s:o,s:s,s:s,s:o}", "key", cw_etcd_key(e, ETCD_LEADER_KEY), "target",
                        "CREATE", "result", "EQUAL", "create_revision",
                        cw_etcd_json_number(e->lead.create_revision));
}

static json_t *
op_range(const struct cw_etcd *e, const char *key)
{
    return cw_etcd_pack("{s:{s:o}}", "request_range", "key", cw_etcd_key(e, key));
}

static json_t *
op_mark(const struct cw_etcd *e)
{
    return cw_etcd_pack("{s:{s:o,s:s}}", "request_put", "key", cw_etcd_key(e, ETCD_MARK_KEY),
                        "value", "");
}

static json_t *
op_of(const struct cw_etcd *e, const struct cw_kv_op *op)
{
    json_t *key = cw_etcd_key(e, op->key);

    if (op->value == NULL)
        return cw_etcd_pack("{s:{s:o}}", "request_delete_range", "key", key);
    return cw_etcd_pack("{s:{s:o,s:o}}", "request_put", "key", key, "value",
                        cw_etcd_json_bytes(op->value, op->len));
}

/* Takes both lists. That we lead no more is told by what the failure reads. A large one takes etcd
 * its time. */
static void
txn_ask(struct cw_etcd *e, json_t *compares, json_t *ops, bool repeatable)
{
    cw_etcd_ask(&e->store.ask, "/v3/kv/txn",
                cw_etcd_pack("{s:o,s:o,s:[o]}", "compare", compares, "success", ops, "failure",
                             op_range(e, ETCD_LEADER_KEY)),
                ETCD_KV_MS + (uint32_t)e->store.txn.t->n_ops, repeatable);
}

static void
txn_ask_plain(struct cw_etcd *e)
{
    const struct cw_kv_txn *t = e->store.txn.t;
    json_t *compares = json_array(), *ops = json_array();

    json_array_append_new(compares, compare_leader(e));
    for (size_t i = 0; i < t->n_compares; i++)
        json_array_append_new(compares,
                              compare_version(e, t->compares[i].key, t->compares[i].version));
    for (size_t i = 0; i < t->n_ops; i++)
        json_array_append_new(ops, op_of(e, &t->ops[i]));
    if (t->n_ops > 0)
        json_array_append_new(ops, op_mark(e));
    txn_ask(e, compares, ops, false);
}

static void
txn_ask_check(struct cw_etcd *e)
{
    struct etcd_txn *x = &e->store.txn;
    size_t end = cw_min_u64(x->t->n_compares, x->checked + CHECK_MAX);
    json_t *compares = json_array(), *ops = json_array();

    json_array_append_new(compares, compare_leader(e));
    if (x->checked > 0)
        json_array_append_new(compares, compare_version(e, ETCD_MARK_KEY, x->mark));
    for (size_t i = x->checked; i < end; i++)
        json_array_append_new(compares,
                              compare_version(e, x->t->compares[i].key, x->t->compares[i].version));
    json_array_append_new(ops, op_range(e, ETCD_MARK_KEY));
    x->checking = true;
    x->checked = end;
    txn_ask(e, compares, ops, true);
}

/* Transactions of `share` operations each, down to the operations themselves. */
static json_t *
nest_of(const struct cw_etcd *e, const struct cw_kv_op *ops, size_t n, size_t share)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i += share) {
        size_t len = cw_min_u64(share, n - i);

        if (share == 1)
            json_array_append_new(list, op_of(e, &ops[i]));
        else
            json_array_append_new(list, cw_etcd_pack("{s:{s:o}}", "request_txn", "success",
                                                     nest_of(e, &ops[i], len, share / NEST)));
    }
    return list;
}

static void
txn_ask_change(struct cw_etcd *e)
{
    struct etcd_txn *x = &e->store.txn;
    const struct cw_kv_txn *t = x->t;
    json_t *compares = json_array(), *ops = nest_of(e, t->ops, t->n_ops, NEST * NEST);

    json_array_append_new(compares, compare_leader(e));
    json_array_append_new(compares, compare_version(e, ETCD_MARK_KEY, x->mark));
    if (t->n_ops > 0)
        json_array_append_new(ops, op_mark(e));
    x->checking = false;
    txn_ask(e, compares, ops, false);
}

/* ---- answers ---- */

static const json_t *
response_kv(const json_t *root)
{
    const json_t *list = cw_etcd_json_array(root, "responses");
    const json_t *range = cw_etcd_json_object(json_array_get(list, 0), "response_range");

    return json_array_get(cw_etcd_json_array(range, "kvs"), 0);
}

/* It was sent and answered: some compare did not hold. Which one, says the leader key. */
static void
txn_on_failed(struct cw_etcd *e, const json_t *root)
{
    struct cw_etcd_kv_json key;

    if (cw_etcd_json_kv(response_kv(root), &key) &&
        key.create_revision == e->lead.create_revision) {
        cw_etcd_txn_end(e, CW_KV_CONFLICT, 0);
        return;
    }
    cw_etcd_txn_end(e, CW_KV_UNAVAILABLE, 0);
    if (e->lead.role == ETCD_LEADING || e->lead.role == ETCD_RESIGNING)
        cw_etcd_lead_depose(e, "a transaction found the leader key gone or another's");
}

static void
txn_on_checked(struct cw_etcd *e, const json_t *root)
{
    struct etcd_txn *x = &e->store.txn;
    struct cw_etcd_kv_json mark = { 0 };
    const json_t *o = response_kv(root);

    if (o != NULL && (!cw_etcd_json_kv(o, &mark) || mark.mod_revision == 0)) {
        cw_etcd_txn_end(e, CW_KV_UNAVAILABLE, 0);
        return;
    }
    x->mark = mark.mod_revision;
    if (x->checked < x->t->n_compares)
        txn_ask_check(e);
    else
        txn_ask_change(e);
}

static void
txn_on_refused(struct cw_etcd *e, const char *why)
{
    bool large = strstr(why, "too many operations") != NULL || strstr(why, "too large") != NULL ||
                 strstr(why, "larger than max") != NULL;

    snprintf(e->refused, sizeof(e->refused), "etcd refuses a change of %zu records: %.120s%s",
             e->store.txn.t->n_ops, why,
             large ? "; see its --max-txn-ops (128 or more) and --max-request-bytes" : "");
    cw_log(e->env, CW_LOG_ERROR, "%s: %s", e->name, e->refused);
    e->kv.refused = e->refused;
    cw_etcd_txn_end(e, CW_KV_UNAVAILABLE, 0);
}

void
cw_etcd_txn_on_end(struct cw_etcd *e, const struct etcd_end *end)
{
    const struct etcd_txn *x = &e->store.txn;
    bool sure = end->outcome == ETCD_UNSENT || x->checking;

    if (end->outcome == ETCD_REFUSED) {
        txn_on_refused(e, end->why);
        return;
    }
    if (end->outcome != ETCD_ANSWERED) {
        cw_log(e->env, CW_LOG_WARNING, "%s: a transaction %s: %s", e->name,
               sure ? "was not made" : "is in doubt", end->why);
        cw_etcd_txn_end(e, sure ? CW_KV_UNAVAILABLE : CW_KV_UNKNOWN, 0);
        return;
    }
    if (!json_is_true(json_object_get(end->root, "succeeded")))
        txn_on_failed(e, end->root);
    else if (x->checking)
        txn_on_checked(e, end->root);
    else
        cw_etcd_txn_end(e, CW_KV_APPLIED, cw_etcd_revision(end->root));
}

/* ---- the interface ---- */

void
cw_etcd_txn_end(struct cw_etcd *e, enum cw_kv_result res, uint64_t version)
{
    struct cw_kv_txn *t = e->store.txn.t;

    if (res == CW_KV_APPLIED && version == 0)
        res = CW_KV_UNKNOWN; /* no revision came with it */
    e->store.txn = (struct etcd_txn){ 0 };
    if (e->lead.role == ETCD_RESIGNING)
        cw_etcd_lead_step(e);
    t->done(t, res, version);
}

void
cw_etcd_txn_begin(struct cw_etcd *e, struct cw_kv_txn *t)
{
    e->store.txn = (struct etcd_txn){ .t = t };
    e->kv.refused = NULL;
    if (e->lead.role != ETCD_LEADING) {
        cw_etcd_txn_end(e, CW_KV_UNAVAILABLE, 0);
    } else if (t->n_ops > CHANGE_MAX) {
        txn_on_refused(e, "too many operations");
    } else if (t->n_compares <= PLAIN_MAX && t->n_ops <= PLAIN_MAX) {
        txn_ask_plain(e);
    } else {
        txn_ask_check(e);
    }
}
