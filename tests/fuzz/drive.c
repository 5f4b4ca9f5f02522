#include "tests/fuzz/drive.h"

#include <errno.h>
#include <string.h>

#include "common/codec/hash.h"
#include "tests/lib/simenv.h"

#define POOL_BYTES (64 * CW_MIB)
#define CHUNK_LAST 512u /* the base has nothing behind it */
#define CHUNKS_MAX 12u  /* looked at per copy */
#define BLOCKS_MAX 12u  /* of which the data is read too */
#define SNAPS_MAX 3u
#define TAILS_MAX 8u
#define CKPTS_MAX 100u /* of an open and its work: not one after the other for ever */
#define MS CW_NS_PER_MS

struct drive {
    struct image *im;
    struct cw_simenv sim;
    struct cw_buf_pool *pool;
    struct cw_store *store;
    bool done;
    int res;
    struct drive_result *ret;
};

struct drive_ticket {
    struct cw_store_ticket t;
    bool done;
};

/* ---- the world ---- */

static void
drive_on_turn(void *user)
{
    struct drive *d = user;

    if (d->store != NULL)
        cw_store_turn_end(d->store);
}

static void
drive_on_event(void *user)
{
}

static void
drive_on_durable(void *user, struct cw_store_shard *sh)
{
}

static const struct cw_store_events drive_events = {
    .on_durable = drive_on_durable,
    .on_health = drive_on_event,
};

static void
drive_on_done(void *user, int res)
{
    struct drive *d = user;

    cw_assert(!d->done);
    d->done = true;
    d->res = res;
}

static bool
drive_wait(struct drive *d, const bool *done, uint64_t ns)
{
    drive_on_turn(d);
    return cw_simenv_run_until(&d->sim, done, ns);
}

/* ---- open, close ---- */

/* However an open ends, it ends, and nothing of it is under way any more. */
static bool
drive_open(struct drive *d)
{
    d->store = cw_store_new((struct cw_store_opts){
        .env = &d->sim.env,
        .disk = image_disk(d->im, &d->sim.env),
        .pool = d->pool,
        .map_cache_bytes = CW_MIB,
        .ev = &drive_events,
        .user = d,
    });
    cw_assert(d->store != NULL);
    d->done = false;
    cw_store_open(d->store, drive_on_done, d);
    cw_assert(drive_wait(d, &d->done, 60 * CW_NS_PER_S));
    if (d->res == 0)
        return true;
    cw_assert(d->im->n_under_way == 0);
    cw_store_free(d->store);
    d->store = NULL;
    return false;
}

static bool
drive_close(struct drive *d)
{
    d->done = false;
    cw_store_close(d->store, drive_on_done, d);
    cw_assert(drive_wait(d, &d->done, 60 * CW_NS_PER_S));
    cw_assert(d->im->n_under_way == 0);
    cw_store_free(d->store);
    d->store = NULL;
    return d->res == 0;
}

/* ---- reads ---- */

struct drive_read {
    struct cw_store_read r;
    bool done;
};

static void
read_on_done(struct cw_store_read *r)
{
    cw_container_of(r, struct drive_read, r)->done = true;
}

static void
read_check(struct drive *d, const struct cw_store_read *r)
{
    if (r->res != 0 || r->buf == NULL)
        return;
    cw_assert(r->nblk >= 1 && r->nblk <= CW_IO_BLOCKS_MAX);
    cw_assert(r->buf->size >= r->nblk * CW_BLOCK_SIZE);
    for (uint32_t i = 0; i < r->nblk; i++) {
        d->ret->read_blocks++;
        d->ret->bad_blocks += cw_bit_get(r->bad, i);
        cw_assert(cw_bit_get(r->bad, i) ||
                  cw_hash_block(r->buf->data + (size_t)i * CW_BLOCK_SIZE) == r->csums[i]);
    }
}

/* What came of it; its data is gone. */
static struct cw_store_read
drive_read(struct drive *d, struct cw_store_read what)
{
    struct drive_read r = { .r = what };

    r.r.done = read_on_done;
    cw_store_read(&r.r);
    cw_assert(drive_wait(d, &r.done, 60 * CW_NS_PER_S));
    read_check(d, &r.r);
    cw_buf_unref(r.r.buf);
    r.r.buf = NULL;
    return r.r;
}

static void
drive_read_chunk(struct drive *d, struct cw_store_shard *sh, uint32_t chunk, uint64_t snap)
{
    struct cw_store_read r = {
        .shard = sh,
        .snap = snap,
        .lba = (uint64_t)chunk * CW_CHUNK_BLOCKS,
        .nblk = CW_CHUNK_BLOCKS,
        .flags = CW_STORE_READ_CSUMS,
    };

    drive_read(d, r);
    r.flags = 0;
    r.nblk = BLOCKS_MAX;
    drive_read(d, r);
    if (chunk == 0)
        return;
    r.lba--; /* over the edge of two */
    r.nblk = 2;
    drive_read(d, r);
}

static void
drive_read_tail(struct drive *d, struct cw_store_shard *sh)
{
    struct cw_store_tail_entry e[TAILS_MAX];
    uint32_t n = cw_store_tail_list(sh, e, TAILS_MAX);

    for (uint32_t i = 0; i < n; i++) {
        struct cw_store_read r;

        if (e[i].nblk > BLOCKS_MAX && e[i].nblk <= CW_IO_BLOCKS_MAX)
            continue; /* sane, and slow */
        d->ret->tails++;
        r = drive_read(d, (struct cw_store_read){
                              .shard = sh, .flags = CW_STORE_READ_TAIL, .tail_seq = e[i].seq });
        cw_assert(r.res != 0 || (r.lba == e[i].lba && r.nblk == e[i].nblk));
    }
}

static void
drive_read_shard(struct drive *d, struct cw_store_shard *sh)
{
    const struct cw_store_shard_info *info = cw_store_shard_info(sh);
    struct cw_store_snap_info snap[SNAPS_MAX];
    struct cw_wire_ver v[CHUNKS_MAX];
    uint32_t next, n, n_snaps = cw_store_snap_list(sh, snap, SNAPS_MAX);

    n_snaps = n_snaps < SNAPS_MAX ? n_snaps : SNAPS_MAX;
    cw_assert(info->n_hist <= CW_HIST_MAX && info->rec.n_members <= CW_MEMBERS_MAX);
    n = cw_store_versions(sh, 0, CHUNK_LAST, v, CHUNKS_MAX, &next);
    for (uint32_t i = 0; i < n; i++) {
        cw_assert(v[i].chunk < CW_SHARD_CHUNKS);
        for (uint32_t k = 0; k < n_snaps; k++)
            drive_read_chunk(d, sh, v[i].chunk, snap[k].snap);
    }
    drive_read_tail(d, sh);
    cw_store_credit(sh);
}

static void
drive_read_all(struct drive *d)
{
    struct cw_store_stats st;

    for (struct cw_store_shard *sh = cw_store_shard_next(d->store, NULL); sh != NULL;
         sh = cw_store_shard_next(d->store, sh)) {
        d->ret->shards++;
        drive_read_shard(d, sh);
    }
    cw_store_stats(d->store, &st);
    cw_assert(st.checkpoints <= CKPTS_MAX);
}

/* ---- work ---- */

static void
ticket_on_done(struct cw_store_ticket *t, int res)
{
    cw_container_of(t, struct drive_ticket, t)->done = true;
}

/* Its memory must outlast the store: one that never comes belongs to it until the end. */
static struct cw_store_ticket *
drive_ticket(struct drive_ticket *t)
{
    *t = (struct drive_ticket){ .t.done = ticket_on_done };
    return &t->t;
}

static void
work_append(struct drive *d, struct cw_store_shard *sh, uint8_t type, uint64_t lba, uint32_t nblk)
{
    static uint8_t data[8 * CW_BLOCK_SIZE] __attribute__((aligned(4096)));
    const struct cw_store_shard_info *info = cw_store_shard_info(sh);
    uint64_t csums[8];
    struct cw_store_rec rec = {
        .type = type,
        .gen = info->last_gen,
        .seq = info->last_seq + 1,
        .lba = lba,
        .nblk = nblk,
        .csums = csums,
        .data = data,
    };

    if (rec.seq == 0)
        return;
    for (uint32_t i = 0; i < 8; i++) {
        data[(size_t)i * CW_BLOCK_SIZE] = (uint8_t)(rec.seq + i);
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    }
    (void)cw_store_append(sh, &rec);
}

static void
work_shard(struct drive *d, struct cw_store_shard *sh, struct drive_ticket t[3])
{
    const struct cw_store_shard_info *info = cw_store_shard_info(sh);
    uint32_t n;

    work_append(d, sh, CW_FT_WRITE, 254, 4);
    work_append(d, sh, CW_FT_TRIM, 0, 600);
    work_append(d, sh, CW_FT_WRITE, 90 * CW_CHUNK_BLOCKS, 8);
    cw_store_turn_end(d->store);
    if (info->promised_gen < UINT32_MAX)
        cw_store_promise(sh, info->promised_gen + 1, drive_ticket(&t[0]));
    cw_store_chunk_void(sh, 2, drive_ticket(&t[1]));
    {
        static const uint8_t data[CW_BLOCK_SIZE] __attribute__((aligned(4096))) = { 1 };
        uint64_t csum = cw_hash_block(data);

        (void)cw_store_block_repair(sh, 5, 1, &csum, data, &n, drive_ticket(&t[2]));
    }
    cw_simenv_run_for(&d->sim, 20 * MS);
    cw_store_set_stable(sh, info->durable_seq);
}

/* A snapshot, a clone of it that is written to, and the end of another one. */
static void
work_layers(struct drive *d, struct cw_store_shard *sh, struct drive_ticket t[3])
{
    struct cw_shard_rec rec = { .shard = 0xc10e, .gen = 1, .lineage = 1, .n_blocks = 4096 };
    struct cw_store_snap_info snap;
    struct cw_store_shard *clone;
    int err;

    (void)cw_store_snap_create(sh, 99, drive_ticket(&t[0]));
    cw_simenv_run_for(&d->sim, 5 * MS);
    clone = cw_store_shard_clone(d->store, &rec, sh, 99, drive_ticket(&t[1]), &err);
    if (clone != NULL)
        work_append(d, clone, CW_FT_WRITE, 100, 8);
    work_append(d, sh, CW_FT_WRITE, 100, 8);
    if (cw_store_snap_list(sh, &snap, 1) > 0)
        (void)cw_store_snap_delete(sh, snap.snap, drive_ticket(&t[2]));
    cw_simenv_run_for(&d->sim, 20 * MS);
}

/* Tickets that never come end with the store, before their memory does. */
static void
drive_work(struct drive *d, uint32_t flags, struct drive_ticket t[8])
{
    struct cw_shard_rec rec = { .shard = 0xfeed, .gen = 1, .lineage = 1, .n_blocks = 4096 };
    struct cw_store_shard *sh = cw_store_shard_next(d->store, NULL), *made, *last;
    int err;

    if (sh != NULL) {
        work_shard(d, sh, t);
        work_layers(d, sh, t + 5);
    }
    made = cw_store_shard_create(d->store, &rec, drive_ticket(&t[3]), &err);
    if (made != NULL)
        work_append(d, made, CW_FT_WRITE, 0, 8);
    cw_simenv_run_for(&d->sim, 20 * MS);
    last = made;
    for (; sh != NULL; sh = cw_store_shard_next(d->store, sh))
        last = sh == made ? last : sh;
    if (last != NULL && last != made)
        cw_store_shard_drop(last, drive_ticket(&t[4]));
    cw_simenv_run_for(&d->sim, 200 * MS);
    drive_read_all(d);
    if (flags & DRIVE_CHECK)
        cw_store_check(d->store);
}

void
drive_run(struct image *im, uint32_t flags, struct drive_result *ret)
{
    struct drive_result own;
    struct drive d = { .im = im, .ret = ret != NULL ? ret : &own };
    struct drive_ticket tickets[8];

    memset(d.ret, 0, sizeof(*d.ret));
    cw_simenv_init(&d.sim, 1);
    d.sim.on_turn = drive_on_turn;
    d.sim.user = &d;
    d.sim.env.log_level = CW_LOG_ERROR;
    d.pool = cw_buf_pool_new(POOL_BYTES);
    cw_assert(d.pool != NULL);
    if (drive_open(&d)) {
        d.ret->replayed_records = cw_store_recovery(d.store)->replayed_records;
        d.ret->damaged = cw_store_recovery(d.store)->damaged_copies;
        drive_read_all(&d);
        if (flags & DRIVE_WORK)
            drive_work(&d, flags, tickets);
        d.ret->closed = drive_close(&d);
        if (d.ret->closed && (flags & DRIVE_REOPEN)) {
            cw_assert(drive_open(&d));
            drive_close(&d);
        }
    } else {
        d.ret->open_res = d.res;
    }
    cw_simenv_fini(&d.sim);
    cw_buf_pool_free(d.pool); /* asserts that all came back */
}

/* ---- inputs ---- */

static void
input_edit(struct image *im, enum image_kind kind, uint8_t object, uint32_t word,
           const uint8_t *from, uint32_t n_words)
{
    const struct image_object *o = &im->object[kind][object % im->n_objects[kind]];
    uint32_t at = word * 8 % o->len, len = n_words * 8;

    image_edit(im, o->off + at, from, len < o->len - at ? len : o->len - at);
}

void
drive_input(struct image *im, enum image_kind kind, const uint8_t *data, size_t size)
{
    uint32_t flags = size > 0 ? data[0] & (DRIVE_RAW | DRIVE_WORK | DRIVE_REOPEN) : 0;

    for (size_t at = 1; at + 4 + 8 <= size;) {
        uint32_t left = (uint32_t)((size - at - 4) / 8), n = data[at + 1] + 1u;

        n = n < left ? n : left;
        input_edit(im, kind, data[at], data[at + 2] | (uint32_t)data[at + 3] << 8, data + at + 4,
                   n);
        at += 4 + (size_t)n * 8;
    }
    if (!(flags & DRIVE_RAW))
        image_repair(im, kind);
    /* what a checkpoint or a page says with a fitting checksum is believed, counts too */
    if ((flags & DRIVE_RAW) || (kind != IMAGE_MAPPAGE && kind != IMAGE_CHECKPOINT))
        flags |= DRIVE_CHECK;
    drive_run(im, flags, NULL);
    image_reset(im);
}
