#include "tests/unit/metadata/etcd-node.h"

#include <string.h>

#include "common/base/bits.h"

static void
node_on_elected(void *user)
{
    struct node *n = user;

    assert_false(n->leads);
    n->leads = true;
    n->n_elected++;
}

static void
node_on_deposed(void *user, const char *why)
{
    struct node *n = user;

    assert_true(n->leads);
    n->leads = false;
    n->n_deposed++;
    snprintf(n->deposed_why, sizeof(n->deposed_why), "%s", why);
}

static void
node_on_leader(void *user, const char *addr)
{
    struct node *n = user;

    snprintf(n->leader, sizeof(n->leader), "%s", addr != NULL ? addr : "");
}

static void
node_on_reachable(void *user, bool is, const char *why)
{
    struct node *n = user;

    assert_true(!n->told || n->reachable != is);
    n->told = true;
    n->reachable = is;
    if (!is)
        snprintf(n->unreachable_why, sizeof(n->unreachable_why), "%s", why);
}

static const struct cw_etcd_events node_events = {
    .elected = node_on_elected,
    .deposed = node_on_deposed,
    .leader = node_on_leader,
    .reachable = node_on_reachable,
};

int
node_init(struct node *n, struct loop *l, const char *urls, const char *value,
          const struct cw_etcd_opts *opts)
{
    struct cw_etcd_opts o = opts != NULL ? *opts : (struct cw_etcd_opts){ 0 };

    *n = (struct node){ .l = l };
    o.service = l->s;
    o.urls = urls;
    o.value = value;
    o.ev = &node_events;
    o.user = n;
    return cw_etcd_new(&o, &n->e, n->why);
}

void
node_fini(struct node *n)
{
    cw_etcd_free(n->e);
    n->e = NULL;
}

bool
node_leads(void *node)
{
    const struct node *n = node;

    return n->leads;
}

bool
node_reachable(void *node)
{
    const struct node *n = node;

    return n->told && n->reachable;
}

/* ---- transactions ---- */

static void
commit_on_done(struct cw_kv_txn *t, enum cw_kv_result result, uint64_t version)
{
    struct commit *c = cw_container_of(t, struct commit, txn);

    assert_false(c->done);
    c->done = true;
    c->result = result;
    c->version = version;
}

void
commit_begin(struct commit *c, struct node *n, const struct cw_kv_compare *compares,
             size_t n_compares, const struct cw_kv_op *ops, size_t n_ops)
{
    *c = (struct commit){
        .txn = {
            .compares = compares, .n_compares = n_compares, .ops = ops, .n_ops = n_ops,
            .done = commit_on_done,
        },
    };
    cw_kv_commit(cw_etcd_kv(n->e), &c->txn);
    assert_false(c->done);
}

enum cw_kv_result
commit_all(struct node *n, const struct cw_kv_compare *compares, size_t n_compares,
           const struct cw_kv_op *ops, size_t n_ops, uint64_t *ret_version)
{
    struct commit c;

    commit_begin(&c, n, compares, n_compares, ops, n_ops);
    assert_true(loop_until(n->l, loop_is_set, &c.done));
    if (ret_version != NULL)
        *ret_version = c.version;
    return c.result;
}

struct cw_kv_op
op_put(const char *key, const char *value)
{
    return (struct cw_kv_op){ key, (const uint8_t *)value, strlen(value) };
}

enum cw_kv_result
commit_put(struct node *n, const char *key, const char *value)
{
    struct cw_kv_op op = op_put(key, value);

    return commit_all(n, NULL, 0, &op, 1, NULL);
}

/* ---- reads ---- */

static void
dump_on_entry(struct cw_kv_read *r, const struct cw_kv_entry *e)
{
    struct dump *d = cw_container_of(r, struct dump, read);

    assert_false(d->done);
    assert_true(strcmp(d->last, e->key) < 0);
    snprintf(d->last, sizeof(d->last), "%s", e->key);
    if (d->n < CW_LEN(d->versions))
        d->versions[d->n] = e->version;
    d->n++;
    if (d->len < sizeof(d->text) - 200)
        d->len += (size_t)snprintf(d->text + d->len, sizeof(d->text) - d->len, "%s=%.*s;", e->key,
                                   (int)cw_min_u64(e->len, 40), (const char *)e->value);
}

static void
dump_on_done(struct cw_kv_read *r, enum cw_kv_result result)
{
    struct dump *d = cw_container_of(r, struct dump, read);

    assert_false(d->done);
    d->done = true;
    d->result = result;
}

void
dump_begin(struct dump *d, struct node *n, const char *prefix)
{
    *d = (struct dump){
        .read = { .prefix = prefix, .entry = dump_on_entry, .done = dump_on_done },
    };
    cw_kv_read(cw_etcd_kv(n->e), &d->read);
    assert_false(d->done);
}

struct dump
dump_all(struct node *n, const char *prefix)
{
    struct dump d;

    dump_begin(&d, n, prefix);
    assert_true(loop_until(n->l, loop_is_set, &d.done));
    return d;
}
