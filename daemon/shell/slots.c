/* The stores of a daemon: opened together or not at all, recovered side by side, closed cleanly. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/base/size.h"
#include "daemon/shell/data-internal.h"
#include "daemon/tool/foreign.h"

#define HANG_LOOK_NS (200 * CW_NS_PER_MS)
#define GIVE_UP_NS (5 * CW_NS_PER_S) /* on top of what makes a disk call itself stuck */

__attribute__((format(printf, 2, 3))) static void
slot_fail(struct cw_slot *s, const char *fmt, ...)
{
    struct cw_data *d = s->d;
    va_list args;

    if (d->why[0] != '\0') /* the first cause is the one to be told */
        return;
    va_start(args, fmt);
    vsnprintf(d->why, sizeof(d->why), fmt, args);
    va_end(args);
}

/* ---- opening ---- */

/* A host with several stores need not wait for the one that is broken. */
static const char *
slot_way_out(const struct cw_slot *s)
{
    return s->d->n_slots > 1 ? "; the other stores serve if it is started without this one" : "";
}

static void
slot_fail_none(struct cw_slot *s)
{
    char what[CW_FOREIGN_SIZE];

    if (cw_foreign_find(s->path, what) == 0 && what[0] != '\0')
        slot_fail(s, "%s: not a Causeway store but %s; is it the right path?", s->path, what);
    else
        slot_fail(s, "%s: not a Causeway store; write one with: causewayd --format --store %s",
                  s->path, s->path);
}

static void
slot_fail_store(struct cw_slot *s, int res)
{
    switch (res) {
    case CW_STORE_E_NOT_FORMATTED:
        slot_fail_none(s);
        break;
    case CW_STORE_E_TRUNCATED:
        slot_fail(s,
                  "%s: smaller than its superblock says; restore its size, or format it anew "
                  "and let it be rebuilt",
                  s->path);
        break;
    case CW_STORE_E_VERSION:
        slot_fail(s, "%s: written by a newer version of Causeway than this (%s)", s->path,
                  CW_VERSION);
        break;
    case CW_STORE_E_UNREADABLE:
        slot_fail(s,
                  "%s: both checkpoints are unreadable; remove the disk from the cluster and "
                  "format it anew",
                  s->path);
        break;
    case CW_STORE_E_SUPERBLOCKS:
        slot_fail(s,
                  "%s: a store, but none of its superblocks holds; if its disk was made larger, "
                  "give it its former size again; else see: causeway-store dump %s superblock",
                  s->path, s->path);
        break;
    case CW_STORE_E_LOST:
        slot_fail(
            s,
            "%s: a store whose superblocks are lost; if its disk was made larger, give it its "
            "former size again; else see: causeway-store info %s",
            s->path, s->path);
        break;
    default:
        slot_fail(s, "%s: cannot open the store: %s%s", s->path,
                  res < 0 ? strerror(-res) : "unknown outcome", slot_way_out(s));
        break;
    }
}

static void
slot_log_recovery(struct cw_slot *s)
{
    const struct cw_store_recovery *rec = cw_store_recovery(cw_replica_store(s->replica));

    cw_log(s->d->env, CW_LOG_INFO,
           "%s: %s opened%s in %" PRIu64 " ms: %" PRIu64 " batches replayed, %" PRIu64
           " torn, %" PRIu64 " copies damaged, %" PRIu64 " bad blocks",
           s->name, s->path, rec->clean ? " clean" : "", rec->took_ns / CW_NS_PER_MS,
           rec->replayed_batches, rec->dropped_batches, rec->damaged_copies, rec->bad_blocks);
}

static const struct cw_store_identity *
slot_identity(const struct cw_slot *s)
{
    return cw_store_identity(cw_replica_store(s->replica));
}

/* A store keeps the size that it was formatted with. */
static void
slot_log_growth(struct cw_slot *s)
{
    char disk[CW_SIZE_TEXT_SIZE], store[CW_SIZE_TEXT_SIZE];
    uint64_t bytes = slot_identity(s)->bytes;

    if (s->disk->bytes == bytes)
        return;
    cw_log(s->d->env, CW_LOG_NOTICE,
           "%s: %s has grown to %s, the store on it keeps its %s; only a new store in place of it "
           "would use the rest, with its copies built anew from others",
           s->name, s->path, cw_size_format(s->disk->bytes, disk), cw_size_format(bytes, store));
}

static void
slot_log_opened(struct cw_slot *s)
{
    slot_log_recovery(s);
    slot_log_growth(s);
}

static void
slots_answered(struct cw_data *d)
{
    if (--d->n_waiting == 0)
        cw_data_opened(d);
}

static void
slot_on_open(void *user, int res)
{
    struct cw_slot *s = user;

    s->serving = res == 0;
    if (res != 0)
        slot_fail_store(s, res);
    else
        slot_log_opened(s);
    slots_answered(s->d);
}

/* Two stores of two clusters, or the same store twice, are an operator's mistake. */
static void
slots_check_identities(struct cw_data *d)
{
    char mine[CW_UUID_TEXT_SIZE], theirs[CW_UUID_TEXT_SIZE];

    for (uint32_t i = 0; i < d->n_slots && d->why[0] == '\0'; i++) {
        struct cw_slot *s = &d->slots[i];
        const struct cw_store_identity *id = slot_identity(s);

        for (uint32_t k = 0; k < i; k++) {
            if (cw_uuid_equal(&slot_identity(&d->slots[k])->disk_uuid, &id->disk_uuid))
                slot_fail(s, "%s: a copy of the store %s; a store may be opened once only", s->path,
                          d->slots[k].path);
        }
        if (cw_uuid_is_nil(&id->cluster_id))
            continue;
        if (cw_uuid_is_nil(&d->cluster_id))
            d->cluster_id = id->cluster_id;
        else if (!cw_uuid_equal(&d->cluster_id, &id->cluster_id))
            slot_fail(s, "%s: belongs to cluster %s, the stores before it to %s", s->path,
                      cw_uuid_format(&id->cluster_id, theirs),
                      cw_uuid_format(&d->cluster_id, mine));
    }
}

static void
slots_recover(struct cw_data *d)
{
    slots_check_identities(d);
    d->n_waiting = 1;
    for (uint32_t i = 0; i < d->n_slots && d->why[0] == '\0'; i++) {
        d->n_waiting++;
        cw_replica_open(d->slots[i].replica, slot_on_open, &d->slots[i]);
    }
    slots_answered(d);
}

static void
slot_on_identify(void *user, int res)
{
    struct cw_slot *s = user;
    struct cw_data *d = s->d;

    s->identified = res == 0;
    if (res != 0)
        slot_fail_store(s, res);
    if (--d->n_waiting > 0)
        return;
    if (d->why[0] != '\0')
        cw_data_opened(d);
    else
        slots_recover(d);
}

static void slot_connect(void *world, uint64_t number, const struct cw_wire_sync_from *from);

static const struct cw_replica_world_ops replica_world = { .connect = slot_connect };

static bool
slot_prepare(struct cw_slot *s)
{
    struct cw_data *d = s->d;
    enum cw_store_discard discard = d->opts.options->store_discard;
    struct cw_disk_opts disk = { .path = s->path };
    char why[CW_WHY_SIZE];
    int err = cw_disk_open(d->r, &disk, &s->disk, why);

    if (err != 0) { /* only where there is nothing a new store may be the answer */
        slot_fail(s, "%s%s%s", why,
                  err == -ENOENT ? "; is it the right path? a new store "
                                   "is written with: causewayd --format --store PATH[:SIZE]"
                                 : "",
                  slot_way_out(s));
        return false;
    }
    if (s->disk->bytes < CW_STORE_BYTES_MIN) { /* a store cut short, or no store at all */
        slot_fail(s,
                  "%s: too small for a store, %" PRIu64 " bytes; restore its size, or remove it "
                  "and write one with: causewayd --format --store %s:SIZE",
                  s->path, s->disk->bytes, s->path);
        return false;
    }
    s->replica = cw_replica_new((struct cw_replica_opts){
        .env = d->env,
        .disk = s->disk,
        .pool = cw_reactor_pool(d->r),
        .name = s->label,
        .world_ops = &replica_world,
        .world = s,
        .map_cache_bytes = d->memory.map_cache_bytes,
        .is_device = cw_disk_is_device(s->disk),
        .discard = discard == CW_STORE_DISCARD_YES ||
                   (discard == CW_STORE_DISCARD_DEVICES && cw_disk_is_device(s->disk)),
        .sync_bytes = d->memory.sync_bytes,
        .hold_bytes = d->memory.hold_bytes,
        .links_max = d->memory.links_max,
        .reads_bytes = d->memory.reads_bytes,
        .copies_max = d->memory.copies_max,
    });
    if (s->replica == NULL)
        slot_fail(s, "%s: out of memory", s->path);
    return s->replica != NULL;
}

void
cw_slots_open(struct cw_data *d)
{
    const struct cw_options *o = d->opts.options;
    bool ok = true;

    d->n_slots = o->n_stores;
    for (uint32_t i = 0; i < d->n_slots; i++) {
        struct cw_slot *s = &d->slots[i];

        *s = (struct cw_slot){ .d = d, .path = o->stores[i].path };
        snprintf(s->name, sizeof(s->name), "store-%u", i % CW_STORES_MAX);
        snprintf(s->label, sizeof(s->label), "%s: %.256s", s->name, s->path);
        ok = ok && slot_prepare(s);
    }
    if (!ok) {
        cw_data_opened(d);
        return;
    }
    d->n_waiting = d->n_slots;
    for (uint32_t i = 0; i < d->n_slots; i++)
        cw_store_identify(cw_replica_store(d->slots[i].replica), slot_on_identify, &d->slots[i]);
}

/* ---- resync: links that a replica makes ---- */

static void
slot_on_dialled(struct cw_dial *dial, int res, struct cw_link *l, const struct cw_wire_hello *reply)
{
    struct cw_slot *s = dial->user;

    cw_list_remove(&dial->link);
    if (s->replica == NULL || s->closing) {
        if (l != NULL)
            cw_link_close(l);
        return;
    }
    if (res == 0)
        cw_replica_on_link_up(s->replica, dial->number, l);
    else
        cw_replica_on_connect_failed(s->replica, dial->number, res);
}

/* A peer's text need not end; to has room for n + 1. */
static void
wire_text(char *to, const char *from, size_t n)
{
    memcpy(to, from, n);
    to[n] = '\0';
}

static void
slot_connect(void *world, uint64_t number, const struct cw_wire_sync_from *from)
{
    struct cw_slot *s = world;
    struct cw_data *d = s->d;
    const struct cw_store_identity *id = slot_identity(s);
    bool here = memcmp(from->boot_id, d->opts.boot_id.b, sizeof(from->boot_id)) == 0;
    char addr[sizeof(from->addr) + 1], path[sizeof(from->unix_path) + 1];
    struct cw_dial_to to = { .addr = addr, .unix_path = path, .cluster_id = d->cluster_id };
    struct cw_dial *dial;

    wire_text(addr, from->addr, sizeof(from->addr));
    wire_text(path, from->unix_path, here ? sizeof(from->unix_path) : 0);
    memcpy(to.disk_uuid.b, from->disk_uuid, sizeof(to.disk_uuid.b));
    to.format_id = from->format_id;
    to.self_id = id->disk_uuid;
    to.incarnation = id->incarnation;
    dial = cw_dial_new(d->r, &to);
    dial->done = slot_on_dialled;
    dial->user = s;
    dial->number = number;
    cw_data_dial(d, dial);
}

struct cw_slot *
cw_slot_find(struct cw_data *d, const struct cw_uuid *disk_uuid)
{
    for (uint32_t i = 0; i < d->n_slots; i++) {
        struct cw_slot *s = &d->slots[i];

        if (s->serving && !s->closing && cw_uuid_equal(&slot_identity(s)->disk_uuid, disk_uuid))
            return s;
    }
    return NULL;
}

/* ---- claiming ---- */

static void
slot_on_claim(void *user, int res)
{
    struct cw_slot *s = user;
    char text[CW_UUID_TEXT_SIZE];

    s->claiming = false;
    if (res == 0)
        cw_log(s->d->env, CW_LOG_NOTICE, "%s: %s now belongs to cluster %s", s->name, s->path,
               cw_uuid_format(&slot_identity(s)->cluster_id, text));
    else
        cw_log(s->d->env, CW_LOG_ERROR, "%s: %s cannot be claimed: %s", s->name, s->path,
               res < 0 ? strerror(-res) : "refused by the store");
    if (s->d->close_due)
        cw_slots_close(s->d);
}

void
cw_slots_claim(struct cw_data *d)
{
    for (uint32_t i = 0; i < d->n_slots; i++) {
        struct cw_slot *s = &d->slots[i];

        if (!s->serving || s->closing || s->claiming ||
            !cw_uuid_is_nil(&slot_identity(s)->cluster_id))
            continue;
        s->claiming = true;
        cw_store_claim(cw_replica_store(s->replica), d->cluster_id, slot_on_claim, s);
    }
}

/* ---- closing ---- */

static void
slots_on_close(void *user, int res)
{
    struct cw_slot *s = user;
    struct cw_data *d = s->d;

    if (s->closed) /* given up: it is too late */
        return;
    s->closed = true;
    if (res != 0) {
        cw_log(d->env, CW_LOG_ERROR, "%s: %s did not close cleanly: %s", s->name, s->path,
               res < 0 ? strerror(-res) : "refused by the store");
        d->close_res = res;
    }
    if (--d->n_waiting == 0)
        cw_data_slots_closed(d);
}

/* ---- disks that hang while they are closed ---- */

static void
slot_give_up(struct cw_slot *s)
{
    struct cw_data *d = s->d;

    cw_log(d->env, CW_LOG_ERROR,
           "%s: %s does not answer and is given up; nothing that was acknowledged is lost", s->name,
           s->path);
    s->closed = true;
    d->hangs = true;
    d->close_res = -EIO;
    d->n_waiting--;
}

static void
slot_watch(struct cw_slot *s)
{
    struct cw_store_stats st;

    cw_store_stats(cw_replica_store(s->replica), &st);
    if (!st.stuck)
        s->stuck_ns = 0;
    else if (s->stuck_ns == 0)
        s->stuck_ns = cw_now_ns(s->d->env);
    else if (cw_now_ns(s->d->env) - s->stuck_ns >= GIVE_UP_NS)
        slot_give_up(s);
}

/* A disk that is only slow is waited for: it is stuck only when a single I/O takes that long. */
void
cw_slots_on_hang_timer(struct cw_timer *t)
{
    struct cw_data *d = cw_container_of(t, struct cw_data, hang_timer);

    if (d->n_waiting == 0)
        return;
    for (uint32_t i = 0; i < d->n_slots; i++) {
        if (d->slots[i].closing && !d->slots[i].closed)
            slot_watch(&d->slots[i]);
    }
    if (d->n_waiting == 0)
        cw_data_slots_closed(d);
    else
        cw_timer_set(d->env, t, cw_now_ns(d->env) + HANG_LOOK_NS);
}

/* A store is not closed while it is being claimed. */
static bool
slots_claiming(const struct cw_data *d)
{
    for (uint32_t i = 0; i < d->n_slots; i++) {
        if (d->slots[i].claiming)
            return true;
    }
    return false;
}

void
cw_slots_close(struct cw_data *d)
{
    d->close_due = slots_claiming(d);
    if (d->close_due)
        return;
    d->n_waiting = 1;
    for (uint32_t i = 0; i < d->n_slots; i++) {
        struct cw_slot *s = &d->slots[i];

        if (!s->serving)
            continue;
        s->closing = true;
        d->n_waiting++;
        cw_replica_close(s->replica, slots_on_close, s);
    }
    if (--d->n_waiting == 0)
        cw_data_slots_closed(d);
    else
        cw_timer_set(d->env, &d->hang_timer, cw_now_ns(d->env) + HANG_LOOK_NS);
}

void
cw_slots_free(struct cw_data *d)
{
    for (uint32_t i = 0; i < d->n_slots; i++) {
        cw_replica_free(d->slots[i].replica);
        cw_disk_close(d->slots[i].disk);
        d->slots[i].replica = NULL;
        d->slots[i].disk = NULL;
    }
}

/* ---- looking ---- */

static size_t
slot_count_copies(struct cw_slot *s)
{
    struct cw_replica_copy c;
    size_t n = 0;

    for (uint64_t from = 0; cw_replica_copy_next(s->replica, from, &c); from = c.shard + 1)
        n++;
    return n;
}

static void
slot_look(struct cw_slot *s, struct cw_data_disk *ret)
{
    struct cw_replica_stats rs;

    *ret = (struct cw_data_disk){ .id = *slot_identity(s), .path = s->path };
    cw_store_stats(cw_replica_store(s->replica), &ret->stats);
    cw_store_memory(cw_replica_store(s->replica), &ret->memory);
    ret->recovery = *cw_store_recovery(cw_replica_store(s->replica));
    cw_replica_stats(s->replica, &rs);
    ret->stuck = ret->stats.stuck || (rs.health & CW_MEMBER_STUCK);
    ret->n_shards = slot_count_copies(s);
    ret->write_p99_ns = cw_disk_write_p99_ns(s->disk);
    memcpy(ret->name, s->name, sizeof(ret->name));
    snprintf(ret->why, sizeof(ret->why), "%s", ret->stats.why != NULL ? ret->stats.why : "");
    ret->stats.why = NULL;
}

/* What every beat tells, so it is looked for even when the copies are not. */
static void
slot_bads(struct cw_slot *s, uint32_t index, struct cw_data_look *l)
{
    struct cw_replica_copy c;

    for (uint64_t from = 0; cw_replica_bad_next(s->replica, from, &c); from = c.shard + 1) {
        l->disks[index].bad_blocks += c.bad_blocks;
        if (l->n_bads < CW_DATA_BADS_MAX)
            l->bads[l->n_bads++] =
                (struct cw_data_bad){ .disk = index, .shard = c.shard, .blocks = c.bad_blocks };
    }
}

static void
slots_bads(struct cw_data *d, struct cw_data_look *l)
{
    struct cw_replica_copy c;
    bool any = false;

    for (uint32_t i = 0; i < d->n_slots; i++)
        any |= cw_replica_bad_next(d->slots[i].replica, 0, &c);
    if (!any)
        return;
    l->bads = calloc(CW_DATA_BADS_MAX, sizeof(*l->bads));
    cw_assert(l->bads != NULL);
    for (uint32_t i = 0; i < d->n_slots; i++)
        slot_bads(&d->slots[i], i, l);
}

static void
slots_copies(struct cw_data *d, struct cw_data_look *l)
{
    struct cw_replica_copy c;
    size_t n = 0;

    for (uint32_t i = 0; i < l->n_disks; i++)
        n += l->disks[i].n_shards;
    l->copies = calloc(n + 1, sizeof(*l->copies));
    cw_assert(l->copies != NULL);
    for (uint32_t i = 0; i < d->n_slots; i++) {
        for (uint64_t from = 0;
             l->n_copies < n && cw_replica_copy_next(d->slots[i].replica, from, &c);
             from = c.shard + 1)
            l->copies[l->n_copies++] = (struct cw_data_copy){ .disk = i, .c = c };
    }
}

void
cw_slots_look(struct cw_data *d, struct cw_data_look *l)
{
    if (!d->ready || d->closing)
        return;
    l->disks = calloc(d->n_slots, sizeof(*l->disks));
    cw_assert(l->disks != NULL);
    l->n_disks = d->n_slots;
    l->memory = (struct cw_data_memory){
        .limit_bytes = d->memory.total_bytes,
        .pool_bytes = d->memory.pool_bytes,
        .pool_used_bytes = cw_buf_pool_used(cw_reactor_pool(d->r)),
        .metadata_bytes = d->memory.metadata_bytes,
    };
    for (uint32_t i = 0; i < d->n_slots; i++)
        slot_look(&d->slots[i], &l->disks[i]);
    slots_bads(d, l);
    if (l->want_copies)
        slots_copies(d, l);
}

void
cw_slots_scrub(struct cw_data *d, struct cw_data_ask *a)
{
    struct cw_slot *s = cw_slot_find(d, &a->disk_uuid);

    if (s != NULL)
        cw_store_scrub_start(cw_replica_store(s->replica));
    cw_data_ask_done(a, s != NULL ? 0 : -ENOENT);
}

void
cw_slots_owner_seen(struct cw_data *d, struct cw_data_ask *a)
{
    a->silent_ms = UINT64_MAX;
    for (uint32_t i = 0; i < d->n_slots; i++) {
        struct cw_slot *s = &d->slots[i];
        uint64_t silent_ms;
        uint32_t gen;
        bool session;

        if (!s->serving || s->closing ||
            !cw_replica_owner_seen(s->replica, a->volume, &gen, &session, &silent_ms))
            continue;
        if (session && (a->gen == 0 || gen == a->gen)) {
            a->session = true;
            a->silent_ms = cw_min_u64(a->silent_ms, silent_ms);
        }
    }
    cw_data_ask_done(a, 0);
}

/* ---- dropping copies ---- */

/* One per shard and disk. */
struct slot_drop {
    struct cw_replica_drop drop;
    struct cw_data_ask *ask;
};

static void
drop_answered(struct cw_data_ask *a, int res)
{
    if (res != 0 && res != -ENOENT)
        a->res = res;
    if (--a->n_waiting > 0)
        return;
    cw_data_ask_done(a, a->res);
}

static void
slot_on_drop(struct cw_replica_drop *drop, int res)
{
    struct slot_drop *sd = cw_container_of(drop, struct slot_drop, drop);
    struct cw_data_ask *a = sd->ask;

    free(sd);
    drop_answered(a, res);
}

void
cw_slots_drop(struct cw_data *d, struct cw_data_ask *a)
{
    a->n_waiting = 1;
    for (uint32_t i = 0; i < d->n_slots; i++) {
        struct cw_slot *s = &d->slots[i];

        if (!s->serving || s->closing ||
            (!cw_uuid_is_nil(&a->disk_uuid) &&
             !cw_uuid_equal(&a->disk_uuid, &slot_identity(s)->disk_uuid)))
            continue;
        for (size_t k = 0; k < a->n_shards; k++) {
            struct slot_drop *sd = calloc(1, sizeof(*sd));

            cw_assert(sd != NULL);
            *sd = (struct slot_drop){ .ask = a,
                                      .drop = { .shard = a->shards[k], .done = slot_on_drop } };
            a->n_waiting++;
            cw_replica_drop(s->replica, &sd->drop);
        }
    }
    drop_answered(a, 0);
}
