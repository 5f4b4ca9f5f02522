#include "tests/unit/replica/rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

static void
rig_turn(void *user)
{
    struct rig *r = user;

    for (size_t i = 0; i < CW_LEN(r->disk); i++)
        if (r->disk[i].replica != NULL)
            cw_replica_turn_end(r->disk[i].replica);
}

static void
rig_done(void *user, int res)
{
    struct rig_disk *d = user;

    d->done = true;
    d->res = res;
}

static void
rig_connect(void *world, uint64_t dial, const struct cw_wire_sync_from *from)
{
    struct rig_disk *d = world;

    assert_true(d->rig->n_dials < CW_LEN(d->rig->dials));
    d->rig->dials[d->rig->n_dials++] = dial;
}

static const struct cw_replica_world_ops rig_world = { .connect = rig_connect };

void
rig_open(struct rig_disk *d)
{
    d->pool = cw_buf_pool_new(64 * CW_MIB);
    d->replica = cw_replica_new((struct cw_replica_opts){
        .env = &d->rig->env.env,
        .disk = cw_ramdisk_disk(d->ram),
        .pool = d->pool,
        .world_ops = &rig_world,
        .world = d,
        .map_cache_bytes = 4 * CW_MIB,
        .sync_bytes = 8 * CW_MIB,
        .hold_bytes = 4 * CW_MIB,
        .reads_bytes = d->rig->reads_bytes,
        .copies_max = d->rig->copies_max,
    });
    assert_non_null(d->replica);
    d->done = false;
    cw_replica_open(d->replica, rig_done, d);
    assert_true(cw_simenv_run_until(&d->rig->env, &d->done, 10 * CW_NS_PER_S));
    assert_int_equal(d->res, 0);
}

static void
rig_format(struct rig_disk *d)
{
    d->pool = cw_buf_pool_new(64 * CW_MIB);
    cw_store_format(
        &d->rig->env.env, cw_ramdisk_disk(d->ram), d->pool,
        (struct cw_store_format_opts){ .disk_uuid = d->uuid, .format_id = d->format_id }, rig_done,
        d);
    assert_true(cw_simenv_run_until(&d->rig->env, &d->done, 10 * CW_NS_PER_S));
    assert_int_equal(d->res, 0);
    cw_buf_pool_free(d->pool);
}

static void
rig_on_pump(struct cw_timer *t)
{
    struct rig *r = cw_container_of(t, struct rig, pump);

    for (uint32_t i = 0; i < r->n_links && !r->hold_pipe; i++) {
        struct rig_link *l = r->links[i], *far = l->far;

        for (uint32_t k = 0; far != NULL && k < l->n && !far->down; k++) {
            struct rig_frame *f = &l->frames[k];
            struct cw_frame frame = { .hdr = &f->hdr, .csums = f->csums, .data = f->data };

            if (f->seen)
                continue;
            f->seen = true;
            frame.n_csums = cw_hdr_n_csums(&f->hdr);
            frame.data_len = f->len;
            far->link.ev->on_frame(&far->link, &frame);
        }
    }
    cw_timer_set(&r->env.env, t, cw_now_ns(&r->env.env) + 50000);
}

void
rig_init(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    cw_simenv_init(&r->env, 42);
    r->env.on_turn = rig_turn;
    r->env.user = r;
    for (uint32_t i = 0; i < CW_LEN(r->disk); i++) {
        struct rig_disk *d = &r->disk[i];

        d->rig = r;
        d->uuid = cw_uuid_from_random(i + 1, i + 1);
        d->format_id = 100 + i;
        d->ram = cw_ramdisk_new(
            (struct cw_ramdisk_opts){ .env = &r->env.env, .bytes = 512 * CW_MIB, .seed = i + 1 });
        assert_non_null(d->ram);
        rig_format(d);
        rig_open(d);
    }
    r->pump.fn = rig_on_pump;
    cw_timer_set(&r->env.env, &r->pump, cw_now_ns(&r->env.env));
}

static void
rig_free_link(struct rig_link *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        free(l->frames[i].data);
    free(l);
}

void
rig_fini(struct rig *r)
{
    for (uint32_t i = 0; i < CW_LEN(r->disk); i++) {
        struct rig_disk *d = &r->disk[i];

        cw_ramdisk_crash(d->ram, (struct cw_ramdisk_crash){ .keep = 256 });
        cw_replica_free(d->replica);
        assert_int_equal(cw_buf_pool_used(d->pool), 0);
        cw_buf_pool_free(d->pool);
        cw_ramdisk_free(d->ram);
    }
    for (uint32_t i = 0; i < r->n_links; i++)
        rig_free_link(r->links[i]);
    cw_simenv_fini(&r->env);
}

void
rig_crash(struct rig_disk *d, uint32_t keep)
{
    cw_ramdisk_crash(d->ram, (struct cw_ramdisk_crash){ .seed = 7, .keep = keep, .torn = true });
    cw_replica_free(d->replica);
    d->replica = NULL;
    cw_buf_pool_free(d->pool);
    rig_open(d);
}

void
rig_close(struct rig_disk *d)
{
    d->done = false;
    cw_replica_close(d->replica, rig_done, d);
    for (uint32_t i = 0; i < d->rig->n_links; i++)
        if (d->rig->links[i]->closed)
            rig_down(d->rig->links[i]);
    assert_true(cw_simenv_run_until(&d->rig->env, &d->done, 10 * CW_NS_PER_S));
    assert_int_equal(d->res, 0);
    cw_replica_free(d->replica);
    d->replica = NULL;
    assert_int_equal(cw_buf_pool_used(d->pool), 0);
    cw_buf_pool_free(d->pool);
}

/* ---- links ---- */

static void
rig_link_send(struct cw_link *link, struct cw_msg *take_msg)
{
    struct rig_link *l = cw_container_of(link, struct rig_link, link);
    struct rig_frame *f = &l->frames[l->n++];
    uint32_t n;

    assert_true(l->n <= RIG_FRAMES);
    memcpy(&f->hdr, take_msg->head, sizeof(f->hdr));
    assert_int_equal(cw_frame_check_hdr(&f->hdr), 0);
    n = cw_hdr_n_csums(&f->hdr);
    memcpy(f->csums, take_msg->head + sizeof(f->hdr), n * 8);
    assert_int_equal(cw_frame_check_csums(&f->hdr, f->csums), 0);
    f->len = f->hdr.payload_len;
    f->data = malloc(f->len + 1);
    if (take_msg->body_len > 0)
        memcpy(f->data, take_msg->body, f->len);
    else
        memcpy(f->data, take_msg->head + sizeof(f->hdr) + n * 8, f->len);
    cw_msg_unref(take_msg);
}

static void
rig_link_close(struct cw_link *link)
{
    cw_container_of(link, struct rig_link, link)->closed = true;
}

static const struct cw_link_ops rig_link_ops = { .send = rig_link_send, .close = rig_link_close };

static struct rig_link *
rig_new_link(struct rig *r)
{
    struct rig_link *l = calloc(1, sizeof(*l));

    assert_non_null(l);
    assert_true(r->n_links < CW_LEN(r->links));
    l->link.ops = &rig_link_ops;
    l->link.peer_id = cw_uuid_from_random(9, r->n_links);
    l->link.features = r->old_peers ? 0 : CW_WIRE_FEATURES;
    l->rig = r;
    r->links[r->n_links++] = l;
    return l;
}

struct rig_link *
rig_link(struct rig_disk *d)
{
    struct rig_link *l = rig_new_link(d->rig);

    cw_replica_on_link(d->replica, &l->link);
    return l;
}

void
rig_down(struct rig_link *l)
{
    if (!l->down)
        l->link.ev->on_down(&l->link, -ECONNRESET);
    l->down = true;
}

void
rig_forget_pipe(struct rig_link *l)
{
    rig_down(l->far); /* the source's end; the target's went with its process */
    l->down = l->far->down = true;
}

struct rig_link *
rig_answer_dial(struct rig_disk *from, struct rig_disk *to)
{
    struct rig *r = from->rig;
    struct rig_link *a = rig_new_link(r), *b = rig_new_link(r);

    for (uint32_t i = 0; i < 100 && r->n_dials == 0; i++)
        rig_run(r, 100);
    assert_true(r->n_dials > 0);
    a->far = b;
    b->far = a;
    cw_replica_on_link(to->replica, &b->link);
    cw_replica_on_link_up(from->replica, r->dials[--r->n_dials], &a->link);
    return a;
}

void
rig_run(struct rig *r, uint64_t ms)
{
    cw_simenv_run_for(&r->env, ms * CW_NS_PER_MS);
}

void
rig_rot(struct rig_disk *d, uint8_t fill)
{
    static uint8_t buf[CW_MIB], want[CW_BLOCK_SIZE];
    uint32_t n = 0;

    memset(want, fill, sizeof(want));
    for (uint64_t off = 0; off < 512 * CW_MIB; off += sizeof(buf)) {
        cw_ramdisk_peek(d->ram, off, buf, sizeof(buf));
        for (uint32_t i = 0; i < sizeof(buf); i += CW_BLOCK_SIZE) {
            if (memcmp(buf + i, want, sizeof(want)) != 0)
                continue;
            cw_ramdisk_flip(d->ram, off + i + 99, 2);
            n++;
        }
    }
    assert_true(n > 0);
}

/* ---- frames ---- */

struct cw_shard_rec
rig_rec(const struct rig *r, uint32_t gen, uint32_t cfg)
{
    struct cw_shard_rec rec = {
        .shard = RIG_SHARD, .gen = gen, .cfg = cfg, .lineage = 5, .n_blocks = 4096, .n_members = 2
    };

    for (uint32_t i = 0; i < 2; i++)
        rec.members[i] = (struct cw_member){ .disk_uuid = r->disk[i].uuid,
                                             .format_id = r->disk[i].format_id,
                                             .state = CW_MEMBER_INSYNC };
    return rec;
}

void
rig_send(struct rig_link *l, struct cw_wire_hdr h, const uint64_t *csums, const void *payload,
         uint32_t len)
{
    uint64_t array[CW_FRAME_CSUMS_MAX] = { 0 };
    struct cw_frame f = { .hdr = &h, .csums = array, .data_len = len, .data = payload };

    h.magic = CW_WIRE_MAGIC;
    h.version = CW_WIRE_VERSION;
    h.payload_len = len;
    if (csums != NULL)
        memcpy(array, csums, cw_hdr_nblk(&h) * 8);
    f.n_csums = cw_hdr_n_csums(&h);
    if (!l->closed)
        l->link.ev->on_frame(&l->link, &f);
}

void
rig_seal(struct rig_link *l, uint32_t gen, bool create)
{
    uint8_t bytes[CW_SHARD_REC_BYTES_MAX];
    struct cw_shard_rec rec = rig_rec(l->rig, 1, gen);
    struct cw_wire_hdr h = { .type = CW_FT_SEAL,
                             .flags = create ? CW_F_CREATE : 0,
                             .shard = RIG_SHARD,
                             .gen = gen,
                             .tag = 1 };

    l->link.peer_id = cw_uuid_from_random(8, gen); /* one owner per generation */
    rig_send(l, h, NULL, bytes, (uint32_t)cw_shard_rec_encode(&rec, bytes));
}

void
rig_open_session(struct rig_link *l, uint32_t gen)
{
    rig_send(l,
             (struct cw_wire_hdr){ .type = CW_FT_OPEN, .shard = RIG_SHARD, .gen = gen, .tag = 2 },
             NULL, NULL, 0);
}

void
rig_write(struct rig_link *l, uint32_t gen, uint64_t seq, uint64_t lba, uint8_t fill)
{
    static uint8_t block[CW_BLOCK_SIZE] __attribute__((aligned(4096)));
    struct cw_wire_hdr h = { .type = CW_FT_WRITE,
                             .flags = CW_F_CSUMS | CW_F_DATA,
                             .shard = RIG_SHARD,
                             .gen = gen,
                             .seq = seq,
                             .lba_nblk = cw_lba_nblk(lba, 1) };
    uint64_t csum;

    memset(block, fill, sizeof(block));
    csum = cw_hash_block(block);
    rig_send(l, h, &csum, block, sizeof(block));
}

void
rig_join(struct rig_link *l, uint32_t gen, uint64_t join_id, uint64_t s0)
{
    struct cw_wire_hdr h = { .type = CW_FT_JOIN, .shard = RIG_SHARD, .gen = gen, .tag = 8 };

    h.seq = s0;
    h.stable = join_id;
    rig_send(l, h, NULL, NULL, 0);
}

void
rig_sync_from(struct rig_link *l, uint32_t gen, const struct rig_disk *source, uint64_t join_id,
              uint64_t since_seq)
{
    struct cw_wire_sync_from at = { .format_id = source->format_id,
                                    .since_seq = since_seq,
                                    .addr = "s:1" };
    struct cw_wire_hdr h = { .type = CW_FT_SYNC_FROM, .shard = RIG_SHARD, .gen = gen };

    h.stable = join_id;
    memcpy(at.disk_uuid, source->uuid.b, 16);
    rig_send(l, h, NULL, &at, sizeof(at));
}

void
rig_read(struct rig_link *l, uint32_t gen, uint64_t lba, uint32_t nblk, uint32_t tag)
{
    struct cw_wire_hdr h = { .type = CW_FT_READ,
                             .shard = RIG_SHARD,
                             .gen = gen,
                             .tag = tag,
                             .lba_nblk = cw_lba_nblk(lba, nblk) };

    rig_send(l, h, NULL, NULL, 0);
}

/* ---- expectations ---- */

struct wanted {
    struct rig_link *link;
    uint8_t type;
    struct rig_frame *found;
};

static bool
not_found(void *arg)
{
    struct wanted *w = arg;

    for (uint32_t i = 0; i < w->link->n && w->found == NULL; i++)
        if (w->link->frames[i].hdr.type == w->type && !w->link->frames[i].seen)
            w->found = &w->link->frames[i];
    return w->found == NULL;
}

struct rig_frame *
rig_expect(struct rig_link *l, uint8_t type)
{
    struct wanted w = { .link = l, .type = type };

    if (!cw_simenv_run_while(&l->rig->env, not_found, &w, 10 * CW_NS_PER_S))
        fail_msg("no %s came", cw_frame_type_name(type));
    w.found->seen = true;
    return w.found;
}

void
rig_expect_acked(struct rig_link *l, uint64_t seq)
{
    const struct cw_wire_ack *a;

    do
        a = (const struct cw_wire_ack *)(void *)rig_expect(l, CW_FT_ACK)->data;
    while (a->durable_seq < seq);
    assert_true(a->shard == RIG_SHARD);
}

uint32_t
rig_nack_code(const struct rig_frame *f)
{
    return ((const struct cw_wire_nack *)(void *)f->data)->code;
}

void
rig_expect_none(struct rig_link *l, uint8_t type)
{
    struct wanted w = { .link = l, .type = type };

    rig_run(l->rig, 200);
    if (!not_found(&w))
        fail_msg("a %s came", cw_frame_type_name(type));
}

struct rig_link *
rig_owner(struct rig_disk *d, uint32_t gen)
{
    struct rig_link *l = rig_link(d);

    rig_seal(l, gen, true);
    rig_expect(l, CW_FT_SEAL_OK);
    rig_open_session(l, gen);
    rig_expect(l, CW_FT_OPEN_OK);
    return l;
}
