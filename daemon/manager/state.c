#include "daemon/manager/state.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

static size_t
obj_size(enum cw_rec_kind kind)
{
    switch (kind) {
    case CW_REC_CLUSTER:
        return sizeof(struct mgr_cluster);
    case CW_REC_POLICY:
        return sizeof(struct mgr_policy);
    case CW_REC_HOST:
        return sizeof(struct mgr_host);
    case CW_REC_DISK:
        return sizeof(struct mgr_disk);
    case CW_REC_VOLUME:
        return sizeof(struct mgr_volume);
    case CW_REC_SHARD:
        return sizeof(struct mgr_shard);
    case CW_REC_DROP:
        return sizeof(struct mgr_drop);
    case CW_REC_EVENT:
        return sizeof(struct mgr_event);
    case CW_REC_JOB:
        return sizeof(struct mgr_work);
    case CW_REC_REMOVED:
        return sizeof(struct mgr_removed);
    }
    cw_unreachable();
}

void
cw_mgr_tables_fini(struct mgr_tables *t)
{
    for (size_t k = 0; k < MGR_N_KINDS; k++) {
        for (size_t i = 0; i < t->of[k].n; i++)
            free(t->of[k].at[i]);
        free(t->of[k].at);
        t->of[k] = (struct mgr_table){ 0 };
    }
}

/* Where key is or belongs. */
static size_t
table_place(const struct mgr_table *t, const char *key, bool *ret_found)
{
    size_t lo = 0, hi = t->n;

    *ret_found = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(t->at[mid]->key, key);

        if (order == 0) {
            *ret_found = true;
            return mid;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct mgr_obj *
cw_mgr_find_key(const struct mgr_tables *t, enum cw_rec_kind kind, const char *key)
{
    bool found;
    size_t i = table_place(&t->of[kind], key, &found);

    return found ? t->of[kind].at[i] : NULL;
}

/* ---- by what the key is made of: deciders look up so much that to write keys would be most of
 * their work. Numbers have a fixed number of hexadecimal digits in a key, and bytes two, so that
 * keys are in the order of these. ---- */

/* Below, at or above 0, as o stands before, at or behind what is looked for. */
typedef int order_fn(const struct mgr_obj *o, const void *what);

static struct mgr_obj *
find_by(const struct mgr_tables *t, enum cw_rec_kind kind, order_fn *order, const void *what)
{
    const struct mgr_table *table = &t->of[kind];
    size_t lo = 0, hi = table->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int o = order(table->at[mid], what);

        if (o == 0)
            return table->at[mid];
        if (o < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static int
number_order(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int
host_order(const struct mgr_obj *o, const void *what)
{
    return strcmp(o->rec.host.name, what);
}

static int
policy_order(const struct mgr_obj *o, const void *what)
{
    return strcmp(o->rec.policy.name, what);
}

static int
disk_order(const struct mgr_obj *o, const void *what)
{
    return memcmp(&o->rec.disk.uuid, what, sizeof(struct cw_uuid));
}

static int
volume_order(const struct mgr_obj *o, const void *what)
{
    return number_order(o->rec.volume.id, *(const uint64_t *)what);
}

static int
shard_order(const struct mgr_obj *o, const void *what)
{
    return number_order(o->rec.shard.shard, *(const uint64_t *)what);
}

struct mgr_host *
cw_mgr_find_host(const struct mgr_tables *t, const char *name)
{
    return (struct mgr_host *)find_by(t, CW_REC_HOST, host_order, name);
}

struct mgr_disk *
cw_mgr_find_disk(const struct mgr_tables *t, const struct cw_uuid *uuid)
{
    return (struct mgr_disk *)find_by(t, CW_REC_DISK, disk_order, uuid);
}

struct mgr_policy *
cw_mgr_find_policy(const struct mgr_tables *t, const char *name)
{
    return (struct mgr_policy *)find_by(t, CW_REC_POLICY, policy_order, name);
}

struct mgr_volume *
cw_mgr_find_volume(const struct mgr_tables *t, uint64_t id)
{
    return (struct mgr_volume *)find_by(t, CW_REC_VOLUME, volume_order, &id);
}

struct mgr_shard *
cw_mgr_find_shard(const struct mgr_tables *t, uint64_t shard)
{
    return (struct mgr_shard *)find_by(t, CW_REC_SHARD, shard_order, &shard);
}

static struct mgr_volume *
find_volume_where(const struct mgr_tables *t, const char *name, bool trashed)
{
    struct mgr_volume *found = NULL;

    MGR_EACH(t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        if (strcmp(v->o.rec.volume.name, name) == 0 && (v->o.rec.volume.purge_at_s != 0) == trashed)
            found = v; /* ids ascend: the last is the newest */
    }
    return found;
}

struct mgr_volume *
cw_mgr_find_volume_named(const struct mgr_tables *t, const char *name)
{
    return find_volume_where(t, name, false);
}

struct mgr_volume *
cw_mgr_find_trashed(const struct mgr_tables *t, const char *name)
{
    return find_volume_where(t, name, true);
}

struct mgr_disk *
cw_mgr_find_copy_disk(const struct mgr_tables *t, const struct cw_member *m)
{
    struct mgr_disk *d = cw_mgr_find_disk(t, &m->disk_uuid);

    return d != NULL && d->o.rec.disk.format_id == m->format_id ? d : NULL;
}

uint32_t
cw_mgr_shard_count(uint64_t size_bytes)
{
    return (uint32_t)cw_div_up(size_bytes, MGR_SHARD_BYTES);
}

uint32_t
cw_mgr_shard_blocks(uint64_t size_bytes, uint32_t index)
{
    uint64_t left = size_bytes - index * MGR_SHARD_BYTES;

    return (uint32_t)(cw_min_u64(left, MGR_SHARD_BYTES) / 4096);
}

static void
table_insert(struct mgr_table *t, size_t at, struct mgr_obj *o)
{
    if (t->n == t->cap) {
        size_t cap = t->cap == 0 ? 16 : t->cap * 2;
        struct mgr_obj **to = realloc(t->at, cap * sizeof(*to));

        cw_assert(to != NULL);
        t->at = to;
        t->cap = cap;
    }
    memmove(t->at + at + 1, t->at + at, (t->n - at) * sizeof(*t->at));
    t->at[at] = o;
    t->n++;
}

struct mgr_obj *
cw_mgr_table_put(struct mgr_tables *t, const char *key, uint64_t version, const struct cw_rec *rec)
{
    struct mgr_table *table = &t->of[rec->kind];
    struct mgr_obj *o;
    bool found;
    size_t at = table_place(table, key, &found);

    if (found) {
        o = table->at[at];
    } else {
        o = calloc(1, obj_size(rec->kind));
        cw_assert(o != NULL);
        cw_mgr_text_set(o->key, sizeof(o->key), key);
        table_insert(table, at, o);
    }
    o->version = version;
    o->rec = *rec;
    return o;
}

void
cw_mgr_table_del(struct mgr_tables *t, enum cw_rec_kind kind, const char *key)
{
    struct mgr_table *table = &t->of[kind];
    bool found;
    size_t at = table_place(table, key, &found);

    if (!found)
        return;
    free(table->at[at]);
    table->n--;
    memmove(table->at + at, table->at + at + 1, (table->n - at) * sizeof(*table->at));
}
