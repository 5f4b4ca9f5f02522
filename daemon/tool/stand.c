#include "daemon/tool/stand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/reactor/disk.h"
#include "daemon/store/inspect.h"

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
slots_read(struct cw_stand *st, enum cw_stand_side side, struct cw_stand_slots *s)
{
    struct cw_sb *mem = cw_tool_alloc_aligned(sizeof(*mem));

    s->best = NULL;
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        s->res[i] =
            cw_stand_read_one(st, side, cw_inspect_sb_off(st->disk->bytes, i), mem, sizeof(*mem));
        s->slot[i] = *mem;
        s->why[i] =
            s->res[i] != 0 ? "it cannot be read" : cw_inspect_sb(&s->slot[i], st->disk->bytes);
        if (s->why[i] == NULL && (s->best == NULL || s->slot[i].sb_seq > s->best->sb_seq))
            s->best = &s->slot[i];
    }
    free(mem);
}

const struct cw_sb *
cw_stand_sb(const struct cw_stand *st, enum cw_stand_side side)
{
    return side == CW_STAND_DISK ? st->slots.best : st->closed.best;
}

/* No slot is right: is it a store at all? */
static int
stand_refuse(struct cw_stand *st)
{
    for (uint32_t i = 0; i < CW_SB_SLOTS; i++) {
        if (st->slots.res[i] != 0 || st->slots.slot[i].magic == CW_SB_MAGIC)
            return cw_tool_fail(
                st->t, "SUPERBLOCKS_BAD", st->path,
                "see: causeway-store dump PATH superblock; to give it up, format a new "
                "store in its place: the cluster builds the copies anew",
                "%s: a store without a superblock that holds (slot %u: %s)", st->path, i,
                st->slots.why[i]);
    }
    return cw_tool_fail(st->t, "NOT_A_STORE", st->path, "to make one: causeway-store format PATH",
                        "%s: no Causeway store", st->path);
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
        return cw_tool_fail(
            t, err == -EBUSY ? "STORE_IN_USE" : "CANNOT_OPEN", path,
            err == -EBUSY ? "if its daemon runs, ask that: causeway disk show" : NULL, "%s", why);
    }
    if (st->disk->bytes < CW_SB_SLOTS * UINT64_C(4096)) {
        cw_stand_close(st);
        return cw_tool_fail(t, "NOT_A_STORE", path, "to make one: causeway-store format PATH:SIZE",
                            "%s: too small even for the superblocks of a store", path);
    }
    slots_read(st, CW_STAND_DISK, &st->slots);
    if (whole && st->slots.best == NULL) {
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
    case CW_STORE_E_TRUNCATED:
        return "the disk is smaller than the store on it";
    case CW_STORE_E_VERSION:
        return "a format or a feature that this program does not know";
    case CW_STORE_E_UNREADABLE:
        return "both checkpoints are unreadable";
    default:
        return res < 0 ? strerror(-res) : "unknown outcome";
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
