/* metadata/etcd-node.h - one daemon's etcd client in a test, and what it was told. */
#pragma once

#include "tests/unit/service/harness.h"

#include "daemon/metadata/kv-etcd.h"

struct node {
    struct loop *l;
    struct cw_etcd *e;
    char why[CW_ETCD_WHY_SIZE];
    bool leads;
    unsigned n_elected, n_deposed;
    char deposed_why[256];
    char leader[128]; /* empty: nobody */
    bool told, reachable;
    char unreachable_why[256];
};

/* opts may be NULL; urls and value are set here. Returns what cw_etcd_new does. */
int node_init(struct node *n, struct loop *l, const char *urls, const char *value,
              const struct cw_etcd_opts *opts);
void node_fini(struct node *n);

bool node_leads(void *node);
bool node_reachable(void *node);

/* ---- transactions ---- */

#define COMMIT_OPS_MAX 4096

struct commit {
    struct cw_kv_txn txn;
    bool done;
    enum cw_kv_result result;
    uint64_t version;
};

void commit_begin(struct commit *c, struct node *n, const struct cw_kv_compare *compares,
                  size_t n_compares, const struct cw_kv_op *ops, size_t n_ops);

/* Waits for the end. */
enum cw_kv_result commit_all(struct node *n, const struct cw_kv_compare *compares,
                             size_t n_compares, const struct cw_kv_op *ops, size_t n_ops,
                             uint64_t *ret_version);
/* One key, without a compare. */
enum cw_kv_result commit_put(struct node *n, const char *key, const char *value);

struct cw_kv_op op_put(const char *key, const char *value);

/* ---- reads ---- */

/* Everything under a prefix as "key=value;..", versions apart. */
struct dump {
    struct cw_kv_read read;
    bool done;
    enum cw_kv_result result;
    char text[4096];
    size_t len, n;
    uint64_t versions[64];
    char last[CW_KV_KEY_SIZE];
};

void dump_begin(struct dump *d, struct node *n, const char *prefix);
struct dump dump_all(struct node *n, const char *prefix);
