/* manager/kv.h - the metadata store as the manager sees it: keys, versions, compare-and-set.
 *
 *   read(prefix) --> entries .. --> done         linearizable
 *   txn: every compare holds? --> every op takes effect, or none
 *
 * Values are byte strings; what they mean is records.h. The manager has at most one transaction
 * under way and never reads while one is. LMDB, etcd and the tests' memory implement it. A store
 * that elects its manager adds its own leadership compare to each transaction.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/list.h"

#define CW_KV_KEY_SIZE 160 /* of a key with its final NUL; keys are printable ASCII */

struct cw_kv;

enum cw_kv_result {
    CW_KV_APPLIED,     /* read: the list is complete */
    CW_KV_CONFLICT,    /* a compare did not hold; nothing changed */
    CW_KV_UNKNOWN,     /* it may have taken effect, now or a little later; never of a read */
    CW_KV_UNAVAILABLE, /* it has not taken effect and will not */
};

struct cw_kv_compare {
    const char *key;
    uint64_t version; /* 0: the key must be absent */
};

struct cw_kv_op {
    const char *key;
    const uint8_t *value; /* NULL: delete; deleting an absent key is fine */
    size_t len;
};

/* Embedded in what waits for it. Arrays, keys and values are borrowed until done. */
struct cw_kv_txn {
    const struct cw_kv_compare *compares;
    size_t n_compares;
    const struct cw_kv_op *ops; /* at most one per key */
    size_t n_ops;

    /* Exactly once, never from inside cw_kv_commit. APPLIED: durable, and every key put now has
     * `version`, which is above every version given before. */
    void (*done)(struct cw_kv_txn *, enum cw_kv_result, uint64_t version);

    struct cw_list link; /* the store's while under way */
    uint64_t priv[4];    /* the store's while under way */
};

struct cw_kv_entry {
    const char *key;
    uint64_t version; /* not 0 */
    const uint8_t *value;
    size_t len;
};

struct cw_kv_read {
    const char *prefix; /* "" is everything; borrowed until done */

    /* Borrowed for the call. In key order, each once, before done; not from inside cw_kv_read. */
    void (*entry)(struct cw_kv_read *, const struct cw_kv_entry *);
    void (*done)(struct cw_kv_read *, enum cw_kv_result);

    struct cw_list link; /* the store's while under way */
    uint64_t priv[4];    /* the store's while under way */
};

struct cw_kv_ops {
    void (*read)(struct cw_kv *, struct cw_kv_read *);
    void (*commit)(struct cw_kv *, struct cw_kv_txn *);
};

struct cw_kv {
    const struct cw_kv_ops *ops;
    const char *name; /* "lmdb /var/lib/causeway", for status */
    /* Why the transaction that just ended as UNAVAILABLE was refused and would be again; NULL: it
     * was not. */
    const char *refused;
};

static inline void
cw_kv_read(struct cw_kv *kv, struct cw_kv_read *r)
{
    kv->ops->read(kv, r);
}

static inline void
cw_kv_commit(struct cw_kv *kv, struct cw_kv_txn *t)
{
    kv->ops->commit(kv, t);
}
