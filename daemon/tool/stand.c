#include "daemon/tool/stand.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/reactor/disk.h"
#include "daemon/store/inspect.h"
#include "daemon/tool/foreign.h"

#define AT_ONCE 32u
#define MAP_CACHE_BYTES \
    (4 * CW_GIB) /* as much as any daemon's: a replay holds no more than it did */

void *
cw_tool_alloc(size_t bytes)
{
    void *p = calloc(1, bytes == 0 ? 1 : bytes);

    cw_assert(p != NULL);
    return p;
}

void *
cw_tool_alloc_aligned(size_t bytes)
{
    size_t n = cw_align_up(bytes == 0 ? 1 : bytes, 4096);
    void *p = aligned_alloc(4096, n);

    cw_assert(p != NULL);
    memset(p, 0, n);
    return p;
}

/* ---- reading ---- */

struct reads {
    struct cw_stand *st;
    uint32_t under_way, failed;
};

struct read_op {
    struct cw_disk_io io;
    struct iovec iov;
    struct cw_stand_read *r;
    struct reads *all;
    bool busy;
};

static void
read_on_done(struct cw_disk_io *io, int res)
{
    struct read_op *op = cw_container_of(io, struct read_op, io);

    op->busy = false;
    op->r->res = res;
    op->all->under_way--;
    op->all->failed += res != 0;
}

static void
read_start(struct cw_disk *d, struct read_op *op, struct cw_stand_read *r, struct reads *all)
{
    op->iov = (struct iovec){ .iov_base = r->to, .iov_len = r->len };
    op->io = (struct cw_disk_io){
        .op = CW_DISK_READ,
        .n_iov = 1,
        .iov = &op->iov,
        .off = r->off,
        .len = r->len,
        .done = read_on_done,
    };
    op->r = r;
    op->all = all;
    op->busy = true;
    all->under_way++;
    cw_disk_submit(d, &op->io);
}

static void
stand_turn(struct cw_stand *st)
{
    /* a ring that broke cannot be helped, and nothing is lost: nothing was to be written */
    cw_assert(cw_reactor_turn(st->t->r, CW_NEVER) == 0);
}

uint32_t
cw_stand_read(struct cw_stand *st, enum cw_stand_side side, struct cw_stand_read *r, uint32_t n)
{
    struct cw_disk *d = side == CW_STAND_DISK ? st->disk : cw_overlay_disk(st->overlay);
    struct read_op ops[AT_ONCE] = { 0 };
    struct reads all = { .st = st };
    uint32_t next = 0;

    while (next < n || all.under_way > 0) {
        for (uint32_t i = 0; i < AT_ONCE && next < n; i++) {
            if (!ops[i].busy)
                read_start(d, &ops[i], &r[next++], &all);
        }
        stand_turn(st);
    }
    return all.failed;
}

int
cw_stand_read_one(struct cw_stand *st, enum cw_stand_side side, uint64_t off, void *to,
                  uint64_t len)
{
    struct cw_stand_read r = { .off = off, .len = len, .to = to };

    (void)cw_stand_read(st, side, &r, 1);
    return r.res;
}

/* ---- superblocks ---- */

static void
slots_take(struct cw_stand_slots *s, const struct cw_inspect_places *p)
{
    const struct cw_sb *best = cw_inspect_places_best(p);

    s->best = NULL;
    s->outcome = cw_inspect_places_outcome(p);
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        uint32_t place = cw_inspect_place_of(p, i);

        s->slot[i] = p->sb[place];
        s->res[i] = p->res[place];
        if (!cw_inspect_place(p, place, &s->off[i]))
            s->why[i] = "the disk ends before it";
        else if (s->res[i] != 0)
            s->why[i] = "it cannot be read";
        else
            s->why[i] = cw_inspect_sb(&s->slot[i], p->disk_bytes);
        if (best != NULL && s->res[i] == 0 && memcmp(&s->slot[i], best, sizeof(*best)) == 0)
            s->best = &s->slot[i];
    }
}

static void
slots_read(struct cw_stand *st, enum cw_stand_side side, struct cw_stand_slots *s)
{
    struct cw_inspect_places *p = cw_tool_alloc(sizeof(*p));
    struct cw_sb *mem = cw_tool_alloc_aligned(sizeof(*mem));
    uint64_t off;

    p->disk_bytes = st->disk->bytes;
    for (uint32_t i = 0; i < CW_SB_PLACES; i++) {
        p->res[i] = cw_inspect_place(p, i, &off)
                        ? cw_stand_read_one(st, side, off, mem, sizeof(*mem))
                        : -ENOENT;
        if (p->res[i] == 0)
            p->sb[i] = *mem;
    }
    slots_take(s, p);
    free(mem);
    free(p);
}

/* No slot is a superblock: where does a segment of a store begin all the same? */
static void
traces_look(struct cw_stand *st)
{
    struct cw_seg_hdr *h = cw_tool_alloc_aligned(sizeof(*h));
    uint64_t off;

    for (uint32_t i = 0; i < CW_INSPECT_TRACES && cw_inspect_trace(st->disk->bytes, i, &off); i++) {
        if (cw_stand_read_one(st, CW_STAND_DISK, off, h, sizeof(*h)) != 0 ||
            !cw_inspect_is_trace(h))
            continue;
        st->slots.outcome = CW_STORE_E_LOST;
        st->trace_off = off;
        break;
    }
    free(h);
}

const struct cw_sb *
cw_stand_sb(const struct cw_stand *st, enum cw_stand_side side)
{
    return side == CW_STAND_DISK ? st->slots.best : st->closed.best;
}

#define HINT_SIZE 600
#define HOLDS_SIZE (CW_FOREIGN_SIZE + 32)

/* What others keep where there is no superblock; "" if nothing is known to be there. */
static const char *
stand_holds(const struct cw_stand *st, const char *before, char to[static HOLDS_SIZE])
{
    char what[CW_FOREIGN_SIZE];

    to[0] = '\0';
    if (cw_foreign_find(st->path, what) == 0 && what[0] != '\0')
        snprintf(to, HOLDS_SIZE, "%s%s", before, what);
    return to;
}

static int
refuse_none(struct cw_stand *st)
{
    char holds[HOLDS_SIZE], hint[HINT_SIZE];

    stand_holds(st, ", but ", holds);
    if (st->disk->bytes < CW_STORE_BYTES_MIN)
        return cw_tool_fail(st->t, "NOT_A_STORE", st->path,
                            "if it was one, restore its size; a new one has at least 512M",
                            "%s: too small for a store, %" PRIu64 " bytes%s", st->path,
                            st->disk->bytes, holds);
    if (holds[0] != '\0')
        snprintf(hint, sizeof(hint), "is it the right path? The daemon's --store has it");
    else
        snprintf(hint, sizeof(hint), "to make one: causeway-store format %s", st->path);
    return cw_tool_fail(st->t, "NOT_A_STORE", st->path, hint, "%s: no Causeway store%s", st->path,
                        holds);
}

static int
refuse_lost(struct cw_stand *st)
{
    char holds[HOLDS_SIZE];

    return cw_tool_fail(
        st->t, "SUPERBLOCKS_LOST", st->path,
        "do not format it while its data may be needed: if the disk was made "
        "larger or smaller, give it its former size again, for two superblocks lie "
        "where the store ended; else its copies are only on other disks",
        "%s: a store without superblocks: all four are gone, its segments are there "
        "(one begins at byte %" PRIu64 ")%s",
        st->path, st->trace_off, stand_holds(st, ", and ", holds));
}

static int
refuse_cut(struct cw_stand *st)
{
    return cw_tool_fail(st->t, "STORE_CUT", st->path,
                        "restore its size: nothing but what was cut off is lost",
                        "%s: the disk was cut: the store has %" PRIu64 " bytes, it only %" PRIu64,
                        st->path, st->slots.best->dev_bytes, st->disk->bytes);
}

static int
refuse_unknown(struct cw_stand *st)
{
    const char *hint = "use the causeway-store of the version of Causeway that wrote it";
    const struct cw_sb *sb = st->slots.best;
    int outcome;

    if (sb->version > CW_STORE_VERSION)
        return cw_tool_fail(st->t, "STORE_NEWER", st->path, hint,
                            "%s: a store of format version %u; this program knows %u to %u",
                            st->path, sb->version, CW_STORE_VERSION_MIN, CW_STORE_VERSION);
    if (sb->feature_incompat != 0)
        return cw_tool_fail(st->t, "STORE_NEWER", st->path, hint,
                            "%s: a store with features (0x%x) that this program does not know",
                            st->path, sb->feature_incompat);
    return cw_tool_fail(st->t, "STORE_UNKNOWN", st->path, hint, "%s: its superblock holds, but %s",
                        st->path, cw_inspect_sb_opens(sb, st->disk->bytes, &outcome));
}

/* A size that a damaged slot in front names, and where others may be found; 0: none. */
static uint64_t
former_bytes(const struct cw_stand *st)
{
    for (uint32_t i = 0; i < 2; i++) {
        const struct cw_sb *sb = &st->slots.slot[i];

        if (st->slots.res[i] == 0 && sb->magic == CW_SB_MAGIC && sb->dev_bytes % 4096 == 0 &&
            sb->dev_bytes >= CW_STORE_BYTES_MIN && sb->dev_bytes < st->disk->bytes)
            return sb->dev_bytes;
    }
    return 0;
}

static int
refuse_superblocks(struct cw_stand *st)
{
    uint64_t bytes = former_bytes(st);
    uint32_t bad = 0;
    char size[64] = "", hint[HINT_SIZE], holds[HOLDS_SIZE];

    while (bad < CW_SB_SLOTS - 1 &&
           (st->slots.why[bad] == NULL ||
            (st->slots.res[bad] == 0 && st->slots.slot[bad].magic != CW_SB_MAGIC)))
        bad++;
    if (bytes != 0)
        snprintf(size, sizeof(size), " (a damaged one says: %" PRIu64 " bytes)", bytes);
    snprintf(hint, sizeof(hint),
             "if the disk was made larger, give it its former size again%s, for two more lie where "
             "the store ended; see: causeway-store dump %s superblock",
             size, st->path);
    return cw_tool_fail(st->t, "SUPERBLOCKS_BAD", st->path, hint,
                        "%s: a store, but none of its superblocks holds (slot %u: %s)%s", st->path,
                        bad, st->slots.why[bad] != NULL ? st->slots.why[bad] : "of another size",
                        stand_holds(st, "; it holds ", holds));
}

static int
stand_refuse(struct cw_stand *st)
{
    int outcome = st->slots.outcome;

    switch (outcome) {
    case CW_STORE_E_NOT_FORMATTED:
        return refuse_none(st);
    case CW_STORE_E_LOST:
        return refuse_lost(st);
    case CW_STORE_E_TRUNCATED:
        return refuse_cut(st);
    case CW_STORE_E_VERSION:
        return refuse_unknown(st);
    case CW_STORE_E_SUPERBLOCKS:
        return refuse_superblocks(st);
    default:
        return cw_tool_fail(st->t, "CANNOT_READ", st->path, cw_stand_advice(outcome),
                            "%s: none of its superblocks can be read: %s", st->path,
                            cw_stand_outcome(outcome));
    }
}

/* What may help when a path does not open; NULL: the cause says it already. */
static const char *
open_hint(int err)
{
    switch (err) {
    case -EBUSY:
        return "if its daemon runs, ask that: causeway disk show";
    case -EACCES:
    case -EPERM:
        return "run it as root, or as the user of its daemon";
    case -EINVAL:
        return NULL;
    case -ENOENT:
    case -ENOTDIR:
        return "is it the right path? The daemon's --store has it";
    default:
        return "see the log of the kernel: dmesg";
    }
}

int
cw_stand_open(struct cw_tool *t, const char *path, bool whole, struct cw_stand **ret)
{
    struct cw_disk_opts opts = { .path = path, .read_only = true };
    struct cw_stand *st;
    char why[CW_WHY_SIZE];
    int err;

    if (cw_tool_reactor(t) == NULL)
        return CW_TOOL_FOUND;
    st = cw_tool_alloc(sizeof(*st));
    st->t = t;
    st->path = path;
    err = cw_disk_open(t->r, &opts, &st->disk, why);
    if (err != 0) {
        free(st);
        return cw_tool_fail(t, err == -EBUSY ? "STORE_IN_USE" : "CANNOT_OPEN", path, open_hint(err),
                            "%s", why);
    }
    slots_read(st, CW_STAND_DISK, &st->slots);
    if (st->slots.outcome == CW_STORE_E_NOT_FORMATTED)
        traces_look(st);
    if (whole && st->slots.outcome != 0) {
        err = stand_refuse(st);
        cw_stand_close(st);
        return err;
    }
    *ret = st;
    return 0;
}

/* ---- the store over it ---- */

static void
stand_on_durable(void *user, struct cw_store_shard *sh)
{
}

static void
stand_on_health(void *user)
{
}

static const struct cw_store_events stand_events = {
    .on_durable = stand_on_durable,
    .on_health = stand_on_health,
};

static void
stand_on_closed(void *user, int res)
{
    struct cw_stand *st = user;

    st->done = true;
    st->res = res;
}

/* Closed at once: what an open store does of its own accord would only be in the way. */
static void
stand_on_opened(void *user, int res)
{
    struct cw_stand *st = user;

    st->was_open = res == 0;
    st->done = true;
    st->res = res;
    if (res != 0)
        return;
    st->done = false;
    cw_store_close(st->store, stand_on_closed, st);
}

int
cw_stand_recover(struct cw_stand *st)
{
    st->overlay = cw_overlay_new(cw_reactor_env(st->t->r), st->disk);
    cw_assert(st->overlay != NULL);
    st->store = cw_store_new((struct cw_store_opts){
        .env = cw_reactor_env(st->t->r),
        .disk = cw_overlay_disk(st->overlay),
        .pool = cw_reactor_pool(st->t->r),
        .map_cache_bytes = MAP_CACHE_BYTES,
        .is_device = true, /* nothing is to be written ahead */
        .ev = &stand_events,
        .user = st,
    });
    cw_assert(st->store != NULL);
    cw_store_open(st->store, stand_on_opened, st);
    while (!st->done)
        stand_turn(st);
    if (st->res == 0)
        slots_read(st, CW_STAND_CLOSED, &st->closed);
    return st->res;
}

const char *
cw_stand_outcome(int res)
{
    switch (res) {
    case 0:
        return "fine";
    case CW_STORE_E_NOT_FORMATTED:
        return "no superblock slot is one of a store";
    case CW_STORE_E_LOST:
        return "its superblocks are lost, its segments are there";
    case CW_STORE_E_TRUNCATED:
        return "the disk is smaller than the store on it";
    case CW_STORE_E_VERSION:
        return "a format or a feature that this program does not know";
    case CW_STORE_E_UNREADABLE:
        return "both checkpoints are unreadable";
    case CW_STORE_E_SUPERBLOCKS:
        return "none of its superblocks holds";
    default:
        return res < 0 ? strerror(-res) : "unknown outcome";
    }
}

const char *
cw_stand_advice(int res)
{
    switch (res) {
    case CW_STORE_E_TRUNCATED:
        return "restore its size";
    case CW_STORE_E_VERSION:
        return "use the version of Causeway that wrote it";
    case CW_STORE_E_UNREADABLE:
        return "to give it up, format a new store in its place: the cluster builds its copies anew";
    case CW_STORE_E_SUPERBLOCKS:
    case CW_STORE_E_LOST:
        return "if the disk was made larger, give it its former size again";
    default:
        return res < 0 ? "see the log of the kernel (dmesg), and try again" : NULL;
    }
}

void
cw_stand_close(struct cw_stand *st)
{
    if (st == NULL)
        return;
    cw_store_free(st->store);
    cw_overlay_free(st->overlay);
    cw_disk_close(st->disk);
    free(st);
}
