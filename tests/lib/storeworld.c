#include "tests/lib/storeworld.h"

#include <errno.h>
#include <string.h>

#include "common/base/bits.h"

static void
world_on_turn(void *user)
{
    struct storeworld *w = user;

    if (w->store != NULL)
        cw_store_turn_end(w->store);
}

static void
world_on_durable(void *user, struct cw_store_shard *sh)
{
    ((struct storeworld *)user)->n_durable++;
}

static void
world_on_health(void *user)
{
    ((struct storeworld *)user)->n_health++;
}

static void
world_on_bad(void *user, const struct cw_store_bad *bad)
{
    struct storeworld *w = user;

    w->bad[w->n_bad++ % CW_LEN(w->bad)] = *bad;
}

static const struct cw_store_events world_events = {
    .on_durable = world_on_durable,
    .on_health = world_on_health,
    .on_bad = world_on_bad,
};

static void
world_on_done(void *user, int res)
{
    struct storeworld *w = user;

    w->done = true;
    w->res = res;
}

void
storeworld_init(struct storeworld *w, uint64_t seed, uint64_t bytes, uint64_t map_cache)
{
    memset(w, 0, sizeof(*w));
    w->seed = seed;
    w->bytes = bytes;
    w->map_cache = map_cache;
    cw_simenv_init(&w->sim, seed);
    w->sim.on_turn = world_on_turn;
    w->sim.user = w;
    w->disk = cw_ramdisk_new(
        (struct cw_ramdisk_opts){ .env = &w->sim.env, .bytes = bytes, .seed = seed });
    w->pool = cw_buf_pool_new(64 * CW_MIB);
}

void
storeworld_fini(struct storeworld *w)
{
    cw_store_free(w->store);
    w->store = NULL;
    cw_ramdisk_free(w->disk);
    cw_buf_pool_free(w->pool);
    cw_simenv_fini(&w->sim);
}

void
storeworld_wait(struct storeworld *w, const bool *done)
{
    assert_true(cw_simenv_run_until(&w->sim, done, 60 * WORLD_S));
}

void
storeworld_run(struct storeworld *w, uint64_t ns)
{
    world_on_turn(w);
    cw_simenv_run_for(&w->sim, ns);
}

int
storeworld_format(struct storeworld *w, bool force)
{
    struct cw_store_format_opts opts = {
        .disk_uuid = cw_uuid_from_random(w->seed, 1),
        .format_id = w->seed * 2 + 1,
        .force = force,
    };

    w->done = false;
    cw_store_format(&w->sim.env, cw_ramdisk_disk(w->disk), w->pool, opts, world_on_done, w);
    storeworld_wait(w, &w->done);
    return w->res;
}

void
storeworld_open_begin(struct storeworld *w)
{
    assert_null(w->store);
    w->store = cw_store_new((struct cw_store_opts){
        .env = &w->sim.env,
        .disk = cw_ramdisk_disk(w->disk),
        .pool = w->pool,
        .map_cache_bytes = w->map_cache,
        .is_device = w->is_device,
        .discard = w->discard,
        .scrub_ns = w->scrub_ns,
        .ev = &world_events,
        .user = w,
    });
    assert_non_null(w->store);
    w->done = false;
    cw_store_open(w->store, world_on_done, w);
}

int
storeworld_open(struct storeworld *w)
{
    storeworld_open_begin(w);
    storeworld_wait(w, &w->done);
    if (w->res != 0) {
        cw_store_free(w->store);
        w->store = NULL;
    }
    return w->res;
}

void
storeworld_close_begin(struct storeworld *w)
{
    w->done = false;
    cw_store_close(w->store, world_on_done, w);
}

int
storeworld_close(struct storeworld *w)
{
    storeworld_close_begin(w);
    storeworld_wait(w, &w->done);
    cw_store_free(w->store);
    w->store = NULL;
    return w->res;
}

void
storeworld_crash(struct storeworld *w, struct cw_ramdisk_crash how)
{
    /* first the disk: it still reads the buffers of writes under way */
    cw_ramdisk_crash(w->disk, how);
    cw_store_free(w->store);
    w->store = NULL;
}

/* ---- tickets ---- */

static void
ticket_on_done(struct cw_store_ticket *t, int res)
{
    struct storeworld_ticket *st = cw_container_of(t, struct storeworld_ticket, t);

    assert_false(st->done);
    st->done = true;
    st->res = res;
}

struct cw_store_ticket *
storeworld_ticket(struct storeworld_ticket *t)
{
    memset(t, 0, sizeof(*t));
    t->t.done = ticket_on_done;
    return &t->t;
}

int
storeworld_ticket_wait(struct storeworld *w, struct storeworld_ticket *t)
{
    world_on_turn(w);
    storeworld_wait(w, &t->done);
    return t->res;
}

struct cw_shard_rec
storeworld_rec(const struct storeworld *w, uint64_t id)
{
    struct cw_shard_rec rec = {
        .shard = id,
        .gen = 1,
        .cfg = 1,
        .lineage = 1,
        .n_blocks = (uint32_t)CW_SHARD_BLOCKS,
        .compression = w->compression,
        .n_members = 1,
    };

    rec.members[0] = (struct cw_member){
        .disk_uuid = cw_store_identity(w->store)->disk_uuid,
        .format_id = cw_store_identity(w->store)->format_id,
        .state = CW_MEMBER_INSYNC,
    };
    return rec;
}

struct cw_store_shard *
storeworld_shard(struct storeworld *w, uint64_t id)
{
    struct cw_store_shard *sh = cw_store_shard_find(w->store, id);
    struct cw_shard_rec rec = storeworld_rec(w, id);
    struct storeworld_ticket t;
    int err;

    if (sh != NULL)
        return sh;
    sh = cw_store_shard_create(w->store, &rec, storeworld_ticket(&t), &err);
    assert_non_null(sh);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    return sh;
}

struct cw_store_shard *
storeworld_begin(struct storeworld *w, uint64_t id)
{
    assert_int_equal(storeworld_format(w, false), 0);
    assert_int_equal(storeworld_open(w), 0);
    return storeworld_shard(w, id);
}

/* ---- waiting ---- */

struct durable_wait {
    struct cw_store_shard *sh;
    uint64_t seq;
};

static bool
durable_is_behind(void *arg)
{
    struct durable_wait *d = arg;

    return cw_store_shard_info(d->sh)->durable_seq < d->seq;
}

void
storeworld_wait_durable(struct storeworld *w, struct cw_store_shard *sh, uint64_t seq)
{
    struct durable_wait d = { sh, seq };

    world_on_turn(w);
    assert_true(cw_simenv_run_while(&w->sim, durable_is_behind, &d, 60 * WORLD_S));
}

void
storeworld_settle(struct storeworld *w, struct cw_store_shard *sh)
{
    storeworld_wait_durable(w, sh, cw_store_shard_info(sh)->last_seq);
    cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq);
}

/* ---- content ---- */

void
storeworld_fill(uint8_t *block, uint64_t shard, uint64_t lba, uint64_t seq)
{
    uint64_t x = cw_mix64(shard ^ cw_mix64(lba ^ cw_mix64(seq)));

    if (seq == 0) {
        memset(block, 0, CW_BLOCK_SIZE);
        return;
    }
    for (size_t i = 0; i < CW_BLOCK_SIZE / 4; i += 8, x += UINT64_C(0x9e3779b97f4a7c15))
        memcpy(block + i, &x, 8);
    for (size_t i = CW_BLOCK_SIZE / 4; i < CW_BLOCK_SIZE; i += CW_BLOCK_SIZE / 4)
        memcpy(block + i, block, CW_BLOCK_SIZE / 4);
}

int
storeworld_append(struct storeworld *w, struct cw_store_shard *sh, const struct cw_store_rec *rec)
{
    int err = cw_store_append(sh, rec);

    for (uint32_t i = 0; err == -EAGAIN && i < 100000; i++) {
        world_on_turn(w);
        assert_true(cw_simenv_step(&w->sim));
        err = cw_store_append(sh, rec);
    }
    return err;
}

int
storeworld_write(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba, uint32_t nblk)
{
    struct cw_store_shard_info *info = cw_store_shard_info(sh);
    struct cw_buf *buf = cw_buf_get(w->pool, (size_t)nblk * CW_BLOCK_SIZE);
    uint64_t csums[CW_IO_BLOCKS_MAX];
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .gen = 1,
        .seq = info->last_seq + 1,
        .lba = lba,
        .nblk = nblk,
        .csums = csums,
        .data = buf->data,
        .buf = nblk >= 16 ? buf : NULL,
    };
    int err;

    for (uint32_t i = 0; i < nblk; i++) {
        storeworld_fill(buf->data + (size_t)i * CW_BLOCK_SIZE, info->rec.shard, lba + i, rec.seq);
        csums[i] = cw_hash_block(buf->data + (size_t)i * CW_BLOCK_SIZE);
    }
    err = storeworld_append(w, sh, &rec);
    cw_buf_unref(buf);
    return err;
}

int
storeworld_clear(struct storeworld *w, struct cw_store_shard *sh, uint8_t type, uint64_t lba,
                 uint32_t nblk)
{
    struct cw_store_rec rec = {
        .type = type,
        .gen = 1,
        .seq = cw_store_shard_info(sh)->last_seq + 1,
        .lba = lba,
        .nblk = nblk,
    };

    return storeworld_append(w, sh, &rec);
}

struct read_wait {
    struct cw_store_read r;
    bool done;
};

static void
read_on_done(struct cw_store_read *r)
{
    cw_container_of(r, struct read_wait, r)->done = true;
}

int
storeworld_read(struct storeworld *w, struct cw_store_read *r)
{
    struct read_wait rw = { .r = *r };

    rw.r.done = read_on_done;
    cw_store_read(&rw.r);
    storeworld_wait(w, &rw.done);
    *r = rw.r;
    return r->res;
}

bool
storeworld_block_is(struct storeworld *w, struct cw_store_shard *sh, uint64_t lba, uint64_t seq)
{
    return storeworld_snap_block_is(w, sh, 0, lba, seq);
}

bool
storeworld_snap_block_is(struct storeworld *w, struct cw_store_shard *sh, uint64_t snap,
                         uint64_t lba, uint64_t seq)
{
    struct cw_store_read r = { .shard = sh, .snap = snap, .lba = lba, .nblk = 1 };
    uint8_t want[CW_BLOCK_SIZE];
    bool same;

    assert_int_equal(storeworld_read(w, &r), 0);
    storeworld_fill(want, cw_store_shard_info(sh)->rec.shard, lba, seq);
    if (r.zeroes)
        return cw_block_is_zero(want);
    same = !cw_bit_get(r.bad, 0) && memcmp(r.buf->data, want, CW_BLOCK_SIZE) == 0;
    cw_buf_unref(r.buf);
    return same;
}
