#include "daemon/metadata/kv-lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"

#define FORMAT 1u
#define SIZE_DEFAULT (64 * CW_MIB)
#define SIZE_MAX_BYTES (64 * CW_GIB)
#define PATH_SIZE 320

/* What lies before each value. */
struct value_head {
    uint64_t version;
    uint64_t xxh3; /* over version, key, value */
};
CW_STATIC_ASSERT(sizeof(struct value_head) == 16);

struct cw_lmdb {
    struct cw_kv kv;
    struct cw_lmdb_opts opts;
    char dir[PATH_SIZE], name[PATH_SIZE + 8];
    int lock_fd;
    MDB_env *env;
    MDB_dbi kv_dbi, meta_dbi;
    uint64_t size_bytes;
    uint64_t version; /* of the newest committed transaction */
    bool broken;
    struct cw_timer timer; /* armed while work is queued */
    struct cw_list txns, reads;
};

/* ---- values ---- */

static uint64_t
value_hash(uint64_t version, const char *key, const void *value, size_t len)
{
    uint64_t parts[3] = { version, cw_hash(key, strlen(key)), cw_hash(value, len) };

    return cw_hash(parts, sizeof(parts));
}

/* Checks v and takes it apart; *ret_value points into it. */
static bool
value_open(const char *key, const MDB_val *v, uint64_t *ret_version, const uint8_t **ret_value,
           size_t *ret_len)
{
    struct value_head head;
    const uint8_t *bytes = v->mv_data;

    if (v->mv_size < sizeof(head))
        return false;
    memcpy(&head, bytes, sizeof(head));
    if (value_hash(head.version, key, bytes + sizeof(head), v->mv_size - sizeof(head)) != head.xxh3)
        return false;
    *ret_version = head.version;
    *ret_value = bytes + sizeof(head);
    *ret_len = v->mv_size - sizeof(head);
    return head.version != 0;
}

/* ---- transactions ---- */

/* LMDB's codes are negative or errno; these are neither. */
#define E_CONFLICT 0x10000
#define E_DAMAGED 0x10001

static int
txn_compare(struct cw_lmdb *l, MDB_txn *txn, const struct cw_kv_compare *c)
{
    MDB_val key = { strlen(c->key), (void *)c->key }, v;
    int err = mdb_get(txn, l->kv_dbi, &key, &v);
    const uint8_t *value;
    uint64_t version;
    size_t len;

    if (err == MDB_NOTFOUND)
        return c->version == 0 ? 0 : E_CONFLICT;
    if (err != 0)
        return err;
    if (!value_open(c->key, &v, &version, &value, &len))
        return E_DAMAGED;
    return version == c->version ? 0 : E_CONFLICT;
}

static int
txn_apply(struct cw_lmdb *l, MDB_txn *txn, const struct cw_kv_op *op, uint64_t version)
{
    MDB_val key = { strlen(op->key), (void *)op->key };
    struct value_head head = { .version = version };
    MDB_val v = { sizeof(head) + op->len, NULL };
    int err;

    if (op->value == NULL) {
        err = mdb_del(txn, l->kv_dbi, &key, NULL);
        return err == MDB_NOTFOUND ? 0 : err;
    }
    head.xxh3 = value_hash(version, op->key, op->value, op->len);
    err = mdb_put(txn, l->kv_dbi, &key, &v, MDB_RESERVE);
    if (err != 0)
        return err;
    memcpy(v.mv_data, &head, sizeof(head));
    memcpy((uint8_t *)v.mv_data + sizeof(head), op->value, op->len);
    return 0;
}

static int
meta_put(struct cw_lmdb *l, MDB_txn *txn, const char *name, uint64_t number)
{
    MDB_val key = { strlen(name), (void *)name }, v = { sizeof(number), &number };

    return mdb_put(txn, l->meta_dbi, &key, &v, 0);
}

static int
meta_get(struct cw_lmdb *l, MDB_txn *txn, const char *name, uint64_t *ret)
{
    MDB_val key = { strlen(name), (void *)name }, v;
    int err = mdb_get(txn, l->meta_dbi, &key, &v);

    if (err != 0)
        return err;
    if (v.mv_size != sizeof(*ret))
        return MDB_CORRUPTED;
    memcpy(ret, v.mv_data, sizeof(*ret));
    return 0;
}

/* Everything up to the commit; after an error txn is to be aborted. */
static int
txn_fill(struct cw_lmdb *l, MDB_txn *txn, const struct cw_kv_txn *t)
{
    int err = 0;

    for (size_t i = 0; i < t->n_compares && err == 0; i++)
        err = txn_compare(l, txn, &t->compares[i]);
    for (size_t i = 0; i < t->n_ops && err == 0; i++)
        err = txn_apply(l, txn, &t->ops[i], l->version + 1);
    return err == 0 && t->n_ops > 0 ? meta_put(l, txn, "version", l->version + 1) : err;
}

/* Until the commit nothing has taken effect; what an error of the commit itself left is unknown. */
static int
txn_try(struct cw_lmdb *l, const struct cw_kv_txn *t, bool *ret_committing)
{
    MDB_txn *txn;
    int err = mdb_txn_begin(l->env, NULL, 0, &txn);

    *ret_committing = false;
    if (err != 0)
        return err;
    err = txn_fill(l, txn, t);
    if (err != 0) {
        mdb_txn_abort(txn);
        return err;
    }
    *ret_committing = true;
    return mdb_txn_commit(txn);
}

/* The file is as long as the map, so that a page lost by truncation reads as zeroes (and is refused
 * by LMDB) instead of killing the process. */
static int
lmdb_stretch(struct cw_lmdb *l)
{
    struct stat st;
    int fd, err = mdb_env_get_fd(l->env, &fd);

    if (err != 0)
        return err;
    if (fstat(fd, &st) != 0)
        return errno;
    if ((uint64_t)st.st_size < l->size_bytes && ftruncate(fd, (off_t)l->size_bytes) != 0)
        return errno;
    return 0;
}

static int
lmdb_grow(struct cw_lmdb *l)
{
    int err;

    if (l->size_bytes >= SIZE_MAX_BYTES)
        return MDB_MAP_FULL;
    err = mdb_env_set_mapsize(l->env, l->size_bytes * 2);
    if (err != 0)
        return err;
    l->size_bytes *= 2;
    cw_log(l->opts.env, CW_LOG_NOTICE, "%s: map grown to %llu MiB", l->name,
           (unsigned long long)(l->size_bytes / CW_MIB));
    return lmdb_stretch(l);
}

static void
lmdb_break(struct cw_lmdb *l, int err)
{
    char why[CW_LMDB_WHY_SIZE];

    l->broken = true;
    snprintf(why, sizeof(why), "%s: cannot commit: %s", l->name, mdb_strerror(err));
    cw_log(l->opts.env, CW_LOG_ERROR, "%s", why);
    if (l->opts.broken != NULL)
        l->opts.broken(l->opts.user, why);
}

static enum cw_kv_result
txn_result(struct cw_lmdb *l, int err, bool committing)
{
    if (err == E_CONFLICT)
        return CW_KV_CONFLICT;
    if (err == E_DAMAGED)
        cw_log(l->opts.env, CW_LOG_ERROR, "%s: a record fails its checksum", l->name);
    else
        cw_log(l->opts.env, CW_LOG_ERROR, "%s: transaction: %s", l->name, mdb_strerror(err));
    /* A full disk shows when new pages are written, before the meta page names them. */
    if (!committing || err == ENOSPC || err == MDB_MAP_FULL)
        return CW_KV_UNAVAILABLE;
    lmdb_break(l, err);
    return CW_KV_UNKNOWN;
}

static void
lmdb_run_txn(struct cw_lmdb *l, struct cw_kv_txn *t)
{
    bool committing = false;
    int err;

    if (l->broken) {
        t->done(t, CW_KV_UNAVAILABLE, 0);
        return;
    }
    do {
        err = txn_try(l, t, &committing);
    } while (err == MDB_MAP_FULL && lmdb_grow(l) == 0);
    if (err != 0) {
        t->done(t, txn_result(l, err, committing), 0);
        return;
    }
    if (t->n_ops > 0)
        l->version++;
    t->done(t, CW_KV_APPLIED, l->version);
}

/* ---- reading ---- */

static int
read_entry(struct cw_kv_read *r, const MDB_val *k, const MDB_val *v)
{
    char key[CW_KV_KEY_SIZE];
    struct cw_kv_entry e = { .key = key };

    if (k->mv_size >= sizeof(key))
        return E_DAMAGED;
    memcpy(key, k->mv_data, k->mv_size);
    key[k->mv_size] = '\0';
    if (!value_open(key, v, &e.version, &e.value, &e.len))
        return E_DAMAGED;
    r->entry(r, &e);
    return 0;
}

static int
read_all(struct cw_lmdb *l, MDB_txn *txn, struct cw_kv_read *r)
{
    size_t prefix_len = strlen(r->prefix);
    MDB_val k = { prefix_len, (void *)r->prefix }, v;
    MDB_cursor *cursor;
    int err = mdb_cursor_open(txn, l->kv_dbi, &cursor);

    if (err != 0)
        return err;
    err = mdb_cursor_get(cursor, &k, &v, prefix_len > 0 ? MDB_SET_RANGE : MDB_FIRST);
    while (err == 0) {
        if (k.mv_size < prefix_len || memcmp(k.mv_data, r->prefix, prefix_len) != 0)
            break;
        err = read_entry(r, &k, &v);
        if (err == 0)
            err = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return err == MDB_NOTFOUND ? 0 : err;
}

static void
lmdb_run_read(struct cw_lmdb *l, struct cw_kv_read *r)
{
    MDB_txn *txn;
    int err = l->broken ? MDB_PANIC : mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);

    if (err == 0) {
        err = read_all(l, txn, r);
        mdb_txn_abort(txn);
    }
    if (err != 0)
        cw_log(l->opts.env, CW_LOG_ERROR, "%s: damaged, restore it from a backup: %s", l->name,
               err == E_DAMAGED ? "a record fails its checksum" : mdb_strerror(err));
    r->done(r, err == 0 ? CW_KV_APPLIED : CW_KV_UNAVAILABLE);
}

/* ---- the interface ---- */

static void
lmdb_wake(struct cw_lmdb *l)
{
    if (!cw_timer_armed(&l->timer))
        cw_timer_set(l->opts.env, &l->timer, cw_now_ns(l->opts.env));
}

/* One per turn: a flush takes long enough, and done may close the store. */
static void
lmdb_on_timer(struct cw_timer *timer)
{
    struct cw_lmdb *l = cw_container_of(timer, struct cw_lmdb, timer);
    struct cw_list *node = cw_list_pop_front(&l->reads);
    struct cw_list *txn_node = node == NULL ? cw_list_pop_front(&l->txns) : NULL;

    if (!cw_list_empty(&l->reads) || !cw_list_empty(&l->txns))
        lmdb_wake(l);
    if (node != NULL)
        lmdb_run_read(l, cw_list_entry(node, struct cw_kv_read, link));
    else if (txn_node != NULL)
        lmdb_run_txn(l, cw_list_entry(txn_node, struct cw_kv_txn, link));
}

static void
lmdb_read(struct cw_kv *kv, struct cw_kv_read *r)
{
    struct cw_lmdb *l = cw_container_of(kv, struct cw_lmdb, kv);

    cw_list_push_back(&l->reads, &r->link);
    lmdb_wake(l);
}

static void
lmdb_commit(struct cw_kv *kv, struct cw_kv_txn *t)
{
    struct cw_lmdb *l = cw_container_of(kv, struct cw_lmdb, kv);

    cw_list_push_back(&l->txns, &t->link);
    lmdb_wake(l);
}

static const struct cw_kv_ops lmdb_ops = { .read = lmdb_read, .commit = lmdb_commit };

struct cw_kv *
cw_lmdb_kv(struct cw_lmdb *l)
{
    return &l->kv;
}

/* ---- opening ---- */

static int
lmdb_fail(struct cw_lmdb *l, char *why, int err, const char *what)
{
    snprintf(why, CW_LMDB_WHY_SIZE, "metadata directory %s: %s", l->dir, what);
    return err;
}

static int
lmdb_check_dir(struct cw_lmdb *l, char *why)
{
    struct stat st;

    if (l->opts.bootstrap && mkdir(l->dir, 0700) != 0 && errno != EEXIST)
        return lmdb_fail(l, why, -errno, strerror(errno));
    if (stat(l->dir, &st) != 0 && errno == ENOENT)
        return lmdb_fail(l, why, -ENOENT,
                         "does not exist; a new cluster starts with --bootstrap, a lost one comes "
                         "back with: causeway-store metadata import, or rebuild-metadata");
    if (stat(l->dir, &st) != 0)
        return lmdb_fail(l, why, -errno, strerror(errno));
    return S_ISDIR(st.st_mode) ? 0 : lmdb_fail(l, why, -ENOTDIR, "is not a directory");
}

static int
lmdb_lock(struct cw_lmdb *l, char *why)
{
    char path[PATH_SIZE + 16];

    snprintf(path, sizeof(path), "%s/lock", l->dir);
    l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (l->lock_fd < 0)
        return lmdb_fail(l, why, -errno, strerror(errno));
    if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return lmdb_fail(l, why, -EBUSY, "in use by another process; one manager at a time");
    return lmdb_fail(l, why, -errno, strerror(errno));
}

static int
lmdb_check_data(struct cw_lmdb *l, char *why, uint64_t *ret_bytes)
{
    char path[PATH_SIZE + 16];
    struct stat st = { 0 };

    snprintf(path, sizeof(path), "%s/data.mdb", l->dir);
    if (stat(path, &st) != 0 && errno != ENOENT)
        return lmdb_fail(l, why, -errno, strerror(errno));
    *ret_bytes = (uint64_t)st.st_size;
    if (st.st_size > 0 || l->opts.bootstrap)
        return 0;
    return lmdb_fail(l, why, -ENOENT,
                     "is empty; a new cluster starts with --bootstrap, a lost one comes back with "
                     "causeway-store metadata import, or rebuild-metadata");
}

static int
lmdb_open_env(struct cw_lmdb *l)
{
    int err = mdb_env_create(&l->env);

    if (err == 0)
        err = mdb_env_set_maxdbs(l->env, 4);
    if (err == 0)
        err = mdb_env_set_mapsize(l->env, l->size_bytes);
    /* NOLOCK: the flock lets in one process, and one thread of it. */
    if (err == 0)
        err = mdb_env_open(l->env, l->dir, MDB_NOLOCK | MDB_NOTLS, 0600);
    return err == 0 ? lmdb_stretch(l) : err;
}

static int
lmdb_open_dbs(struct cw_lmdb *l, bool *ret_newer)
{
    uint64_t format = FORMAT;
    MDB_txn *txn;
    int err = mdb_txn_begin(l->env, NULL, 0, &txn);

    if (err != 0)
        return err;
    err = mdb_dbi_open(txn, "meta", MDB_CREATE, &l->meta_dbi);
    if (err == 0)
        err = mdb_dbi_open(txn, "kv", MDB_CREATE, &l->kv_dbi);
    if (err == 0)
        err = meta_get(l, txn, "format", &format);
    if (err == MDB_NOTFOUND)
        err = meta_put(l, txn, "format", FORMAT);
    *ret_newer = format > FORMAT;
    if (err == 0)
        err = meta_get(l, txn, "version", &l->version);
    if (err == MDB_NOTFOUND)
        err = 0; /* nothing was ever committed */
    if (err == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return err;
}

/* A cluster id that was told to others must survive a power cut, so its directory entries must. */
static int
lmdb_sync_dirs(struct cw_lmdb *l)
{
    char parent[PATH_SIZE + 8];
    const char *paths[] = { l->dir, parent };

    snprintf(parent, sizeof(parent), "%s/..", l->dir);
    for (size_t i = 0; i < CW_LEN(paths); i++) {
        int fd = open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int err = fd < 0 || fsync(fd) != 0 ? errno : 0;

        if (fd >= 0)
            close(fd);
        if (err != 0)
            return err;
    }
    return 0;
}

static int
lmdb_open_all(struct cw_lmdb *l, char *why)
{
    uint64_t bytes = 0;
    bool newer = false;
    int err = lmdb_check_dir(l, why);

    if (err == 0)
        err = lmdb_lock(l, why);
    if (err == 0)
        err = lmdb_check_data(l, why, &bytes);
    if (err != 0)
        return err;
    l->size_bytes = cw_max_u64(l->opts.size_bytes, cw_align_up(bytes, CW_MIB));
    err = lmdb_open_env(l);
    if (err == 0)
        err = lmdb_open_dbs(l, &newer);
    if (err == 0 && l->opts.bootstrap)
        err = lmdb_sync_dirs(l);
    if (err == MDB_INVALID || err == MDB_CORRUPTED || err == MDB_PAGE_NOTFOUND)
        return lmdb_fail(l, why, -EBADMSG,
                         "data.mdb is damaged; restore it from a backup, or use 'causeway-store "
                         "rebuild-metadata'");
    if (err == MDB_VERSION_MISMATCH || newer)
        return lmdb_fail(l, why, -EBADMSG, "was written by a newer version");
    if (err != 0)
        return lmdb_fail(l, why, err > 0 ? -err : -EIO, mdb_strerror(err));
    return 0;
}

int
cw_lmdb_open(const struct cw_lmdb_opts *opts, struct cw_lmdb **ret,
             char why[static CW_LMDB_WHY_SIZE])
{
    struct cw_lmdb *l = calloc(1, sizeof(*l));
    int err;

    if (l == NULL) {
        snprintf(why, CW_LMDB_WHY_SIZE, "out of memory");
        return -ENOMEM;
    }
    l->opts = *opts;
    l->lock_fd = -1;
    l->timer.fn = lmdb_on_timer;
    cw_list_init(&l->txns);
    cw_list_init(&l->reads);
    snprintf(l->dir, sizeof(l->dir), "%s", opts->dir);
    snprintf(l->name, sizeof(l->name), "lmdb %s", l->dir);
    l->kv = (struct cw_kv){ .ops = &lmdb_ops, .name = l->name };
    if (l->opts.size_bytes == 0)
        l->opts.size_bytes = SIZE_DEFAULT;
    if (strlen(opts->dir) >= sizeof(l->dir) || opts->dir[0] == '\0') {
        snprintf(why, CW_LMDB_WHY_SIZE, "metadata directory: empty or too long a path");
        err = -EINVAL;
    } else {
        err = lmdb_open_all(l, why);
    }
    if (err != 0) {
        cw_lmdb_close(l);
        return err;
    }
    *ret = l;
    return 0;
}

void
cw_lmdb_close(struct cw_lmdb *l)
{
    if (l == NULL)
        return;
    cw_timer_cancel(l->opts.env, &l->timer);
    if (l->env != NULL)
        mdb_env_close(l->env);
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    free(l);
}
