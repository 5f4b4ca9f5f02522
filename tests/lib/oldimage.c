#include "tests/lib/oldimage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "common/base/bits.h"

#define FILL_LIFE 20u /* D writes so much that segments are sealed */
#define JOIN_LIFE 70u
#define JOIN_SEQ 5000u
#define BAD_BLOCKS 3u

uint64_t
oldimage_shard_id(uint8_t shard)
{
    return UINT64_C(0x51) << 16 | (shard + 1u);
}

uint64_t
oldimage_word(uint8_t shard, uint64_t lba, uint64_t seq)
{
    if (shard == OLDIMAGE_D)
        return UINT64_C(0x4444444444444444);
    if ((lba + seq) % 13 == 0)
        return 0;
    return (uint64_t)(shard + 1u) << 56 | seq << 28 | lba;
}

/* ---- the life ---- */

struct maker {
    struct oldimage_life *l;
    uint64_t rnd;
    uint64_t seq[OLDIMAGE_SHARDS];
    uint32_t gen[OLDIMAGE_SHARDS];
};

static uint32_t
maker_rnd(struct maker *m, uint32_t below)
{
    m->rnd ^= m->rnd << 13;
    m->rnd ^= m->rnd >> 7;
    m->rnd ^= m->rnd << 17;
    return (uint32_t)(m->rnd >> 33) % below;
}

static struct oldimage_step *
maker_add(struct maker *m, enum oldimage_kind kind, uint8_t shard)
{
    struct oldimage_step *s = &m->l->step[m->l->n++];

    cw_assert(m->l->n <= OLDIMAGE_LOG);
    *s = (struct oldimage_step){ .kind = kind, .shard = shard, .gen = m->gen[shard] };
    return s;
}

static struct oldimage_step *
maker_stream(struct maker *m, uint8_t shard, uint8_t type, uint64_t lba, uint32_t nblk)
{
    struct oldimage_step *s = maker_add(m, OLDIMAGE_STREAM, shard);

    s->type = type;
    s->seq = ++m->seq[shard];
    s->lba = lba;
    s->nblk = nblk;
    return s;
}

static void
maker_some(struct maker *m, uint8_t shard)
{
    uint32_t dice = maker_rnd(m, 24), nblk = 1 + maker_rnd(m, dice == 0 ? 256 : 7);
    uint8_t type = dice == 1 ? CW_FT_ZERO : dice == 2 ? CW_FT_TRIM : CW_FT_WRITE;

    if (type == CW_FT_TRIM)
        nblk *= 100;
    maker_stream(m, shard, type, maker_rnd(m, OLDIMAGE_SPAN - nblk), nblk);
}

static void
maker_gen(struct maker *m, uint8_t shard)
{
    m->gen[shard] += 2;
    maker_add(m, OLDIMAGE_PROMISE, shard);
    maker_stream(m, shard, CW_FT_GEN_START, 0, 0);
    maker_add(m, OLDIMAGE_SET_REC, shard);
}

static void
maker_join(struct maker *m)
{
    struct oldimage_step *s;

    m->gen[OLDIMAGE_C] = 9;
    maker_add(m, OLDIMAGE_PROMISE, OLDIMAGE_C);
    maker_add(m, OLDIMAGE_JOIN, OLDIMAGE_C)->seq = JOIN_SEQ;
    m->seq[OLDIMAGE_C] = JOIN_SEQ - 1;
    for (uint64_t chunk = 0; chunk < OLDIMAGE_CHUNKS; chunk += 3)
        maker_add(m, OLDIMAGE_VOID, OLDIMAGE_C)->lba = chunk * CW_CHUNK_BLOCKS;
    for (uint64_t chunk = 0; chunk < OLDIMAGE_CHUNKS; chunk += 6) {
        s = maker_add(m, OLDIMAGE_CURRENT, OLDIMAGE_C);
        s->lba = chunk * CW_CHUNK_BLOCKS;
        s->nblk = 100;
        s->seq = JOIN_SEQ - 100 + chunk;
    }
}

/* A resync under way: what comes is applied, applied without its version, or dropped. */
static void
maker_resync(struct maker *m)
{
    uint32_t chunk = maker_rnd(m, OLDIMAGE_CHUNKS), nblk = 1 + maker_rnd(m, 20);
    struct oldimage_step *s = maker_stream(
        m, OLDIMAGE_C, CW_FT_WRITE, (uint64_t)chunk * CW_CHUNK_BLOCKS + maker_rnd(m, 200), nblk);

    s->mode = chunk % 3 == 0   ? CW_STORE_APPLY_KEEP
              : chunk % 3 == 1 ? CW_STORE_DROP
                               : CW_STORE_APPLY;
}

static void
maker_life(struct maker *m, uint32_t life)
{
    maker_some(m, OLDIMAGE_A);
    maker_some(m, OLDIMAGE_B);
    if (life < JOIN_LIFE)
        maker_some(m, OLDIMAGE_C);
    else
        maker_resync(m);
    for (uint32_t i = 0; life == FILL_LIFE && i < 12; i++)
        maker_stream(m, OLDIMAGE_D, CW_FT_WRITE, (i % 14) * 256, 256);
    if (life % 30 == 29)
        maker_gen(m, OLDIMAGE_A);
    if (life == JOIN_LIFE)
        maker_join(m);
    /* the last lives of A stay in its tail */
    if (life % 5 == 4 && life < OLDIMAGE_LIVES - 15)
        maker_add(m, OLDIMAGE_STABLE, OLDIMAGE_A)->nblk = 3;
    for (uint8_t shard = OLDIMAGE_B; shard < OLDIMAGE_D; shard++)
        maker_add(m, OLDIMAGE_STABLE, shard);
    if (life < OLDIMAGE_LIVES - 1)
        maker_add(m, OLDIMAGE_END, 0);
}

void
oldimage_life_init(struct oldimage_life *l)
{
    struct maker m = { .l = l, .rnd = OLDIMAGE_SEED };

    l->n = 0;
    for (uint8_t shard = 0; shard < OLDIMAGE_SHARDS; shard++) {
        m.gen[shard] = 1;
        maker_add(&m, OLDIMAGE_CREATE, shard);
        maker_stream(&m, shard, CW_FT_GEN_START, 0, 0);
    }
    for (uint32_t life = 0; life < OLDIMAGE_LIVES; life++)
        maker_life(&m, life);
    maker_add(&m, OLDIMAGE_STABLE, OLDIMAGE_D);
    maker_add(&m, OLDIMAGE_DROP, OLDIMAGE_D);
    maker_add(&m, OLDIMAGE_END, 0);
    for (uint32_t i = 0; i < 8; i++)
        maker_some(&m, i % 2 == 0 ? OLDIMAGE_A : OLDIMAGE_B);
}

/* ---- the model ---- */

static void
model_set(struct oldimage_model *m, uint64_t lba, uint64_t word, bool bad)
{
    bool raw = bad || word != 0;

    m->mapped += raw;
    m->mapped -= m->raw[lba];
    m->raw[lba] = raw;
    m->bad[lba] = bad;
    m->word[lba] = word;
}

static void
model_version(struct oldimage_model *m, uint64_t lba, uint32_t gen, uint64_t seq)
{
    m->ver[lba / CW_CHUNK_BLOCKS].gen = gen;
    m->ver[lba / CW_CHUNK_BLOCKS].seq = seq;
}

static void
model_stream(struct oldimage_model *m, const struct oldimage_step *s)
{
    m->last_gen = s->gen;
    m->last_seq = s->seq;
    if (s->type == CW_FT_GEN_START)
        m->hist[m->n_hist++] = (struct cw_store_hist){ .start_seq = s->seq, .gen = s->gen };
    for (uint64_t lba = s->lba; lba < s->lba + s->nblk && s->mode != CW_STORE_DROP; lba++) {
        model_set(m, lba, s->type == CW_FT_WRITE ? oldimage_word(s->shard, lba, s->seq) : 0, false);
        if (s->mode == CW_STORE_APPLY)
            model_version(m, lba, s->gen, s->seq);
    }
}

static void
model_current(struct oldimage_model *m, const struct oldimage_step *s)
{
    for (uint32_t i = 0; i < s->nblk; i++)
        model_set(m, s->lba + i, oldimage_word(s->shard, s->lba + i, s->seq), false);
    for (uint32_t i = 0; i < BAD_BLOCKS; i++)
        model_set(m, s->lba + s->nblk + i, 0, true);
    model_version(m, s->lba, s->gen, s->seq);
}

void
oldimage_apply(struct oldimage_model *m, const struct oldimage_step *s)
{
    switch (s->kind) {
    case OLDIMAGE_CREATE:
        memset(m, 0, sizeof(*m));
        m->there = true;
        m->promised_gen = m->cfg = 1;
        m->first_tail = 1;
        return;
    case OLDIMAGE_STREAM:
        model_stream(m, s);
        return;
    case OLDIMAGE_PROMISE:
        m->promised_gen = s->gen;
        return;
    case OLDIMAGE_SET_REC:
        m->cfg = s->gen;
        return;
    case OLDIMAGE_JOIN:
        m->last_gen = s->gen;
        m->last_seq = s->seq - 1;
        m->join_id = s->seq * 7;
        m->syncing = true;
        m->n_hist = 0;
        m->first_tail = s->seq;
        return;
    case OLDIMAGE_VOID:
        model_version(m, s->lba, 0, CW_VER_VOID);
        return;
    case OLDIMAGE_CURRENT:
        model_current(m, s);
        return;
    case OLDIMAGE_DROP:
        m->there = false;
        return;
    case OLDIMAGE_STABLE:
        m->first_tail = cw_max_u64(m->first_tail, m->last_seq - s->nblk + 1);
        return;
    case OLDIMAGE_END:
        return;
    }
}

/* ---- on a store ---- */

static void
fill_word(uint8_t *block, uint64_t word)
{
    for (size_t i = 0; i < CW_BLOCK_SIZE; i += 8)
        memcpy(block + i, &word, 8);
}

static void
step_content(const struct oldimage_step *s, uint8_t *data, uint64_t *csums)
{
    for (uint32_t i = 0; i < s->nblk; i++) {
        fill_word(data + (size_t)i * CW_BLOCK_SIZE, oldimage_word(s->shard, s->lba + i, s->seq));
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    }
}

static void
do_stream(struct storeworld *w, struct cw_store_shard *sh, const struct oldimage_step *s)
{
    uint64_t csums[CW_IO_BLOCKS_MAX];
    uint8_t apply[CW_IO_BLOCKS_MAX];
    struct cw_buf *buf = NULL;
    struct cw_store_rec rec = {
        .type = s->type,
        .gen = s->gen,
        .seq = s->seq,
        .lba = s->lba,
        .nblk = s->nblk,
        .apply = s->mode == CW_STORE_APPLY ? NULL : apply,
    };

    memset(apply, s->mode, sizeof(apply));
    if (s->type == CW_FT_WRITE) {
        buf = cw_buf_get(w->pool, (size_t)s->nblk * CW_BLOCK_SIZE);
        step_content(s, buf->data, csums);
        rec.csums = csums;
        rec.data = buf->data;
    }
    assert_int_equal(storeworld_append(w, sh, &rec), 0);
    cw_buf_unref(buf);
}

static void
do_current(struct storeworld *w, struct cw_store_shard *sh, const struct oldimage_step *s)
{
    uint64_t csums[CW_CHUNK_BLOCKS];
    struct cw_buf *buf = cw_buf_get(w->pool, (size_t)s->nblk * CW_BLOCK_SIZE);
    struct cw_store_chunk_set c = {
        .chunk = (uint32_t)(s->lba / CW_CHUNK_BLOCKS),
        .ver_gen = s->gen,
        .ver_seq = s->seq,
        .csums = csums,
        .data = buf->data,
    };
    struct storeworld_ticket t;

    step_content(s, buf->data, csums);
    for (uint32_t i = 0; i < s->nblk + BAD_BLOCKS; i++)
        cw_bit_set(i < s->nblk ? c.set : c.bad, i);
    assert_int_equal(cw_store_chunk_current(sh, &c, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    cw_buf_unref(buf);
}

static void
do_set_rec(struct cw_store_shard *sh, const struct oldimage_step *s, struct cw_store_ticket *t)
{
    struct cw_shard_rec rec = cw_store_shard_info(sh)->rec;

    rec.cfg = rec.gen = s->gen;
    cw_store_set_rec(sh, &rec, t);
}

void
oldimage_do(struct storeworld *w, const struct oldimage_step *s)
{
    uint64_t id = oldimage_shard_id(s->shard);
    struct cw_store_shard *sh = cw_store_shard_find(w->store, id);
    struct storeworld_ticket t;

    switch (s->kind) {
    case OLDIMAGE_CREATE:
        storeworld_shard(w, id);
        return;
    case OLDIMAGE_STREAM:
        do_stream(w, sh, s);
        return;
    case OLDIMAGE_PROMISE:
        cw_store_promise(sh, s->gen, storeworld_ticket(&t));
        break;
    case OLDIMAGE_SET_REC:
        do_set_rec(sh, s, storeworld_ticket(&t));
        break;
    case OLDIMAGE_JOIN:
        cw_store_join(sh, s->gen, s->seq, s->seq * 7, storeworld_ticket(&t));
        break;
    case OLDIMAGE_VOID:
        cw_store_chunk_void(sh, (uint32_t)(s->lba / CW_CHUNK_BLOCKS), storeworld_ticket(&t));
        break;
    case OLDIMAGE_CURRENT:
        do_current(w, sh, s);
        return;
    case OLDIMAGE_DROP:
        storeworld_wait_durable(w, sh, cw_store_shard_info(sh)->last_seq);
        cw_store_shard_drop(sh, storeworld_ticket(&t));
        break;
    case OLDIMAGE_STABLE:
        storeworld_wait_durable(w, sh, cw_store_shard_info(sh)->last_seq);
        cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq - s->nblk);
        return;
    case OLDIMAGE_END:
        return;
    }
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
}

/* ---- checking ---- */

static void
check_state(const struct cw_store_shard_info *info, const struct oldimage_model *m)
{
    assert_int_equal(info->rec.cfg, m->cfg);
    assert_int_equal(info->promised_gen, m->promised_gen);
    assert_int_equal(info->last_gen, m->last_gen);
    assert_int_equal(info->last_seq, m->last_seq);
    assert_int_equal(info->durable_gen, m->last_gen);
    assert_int_equal(info->durable_seq, m->last_seq);
    assert_int_equal(info->syncing, m->syncing);
    assert_int_equal(info->join_id, m->join_id);
    assert_false(info->damaged);
    assert_int_equal(info->mapped_blocks, m->mapped);
    assert_int_equal(info->n_hist, m->n_hist);
    for (uint32_t i = 0; i < m->n_hist; i++) {
        assert_int_equal(info->hist[i].gen, m->hist[i].gen);
        assert_int_equal(info->hist[i].start_seq, m->hist[i].start_seq);
    }
}

static void
check_versions(struct cw_store_shard *sh, const struct oldimage_model *m)
{
    struct cw_wire_ver v[OLDIMAGE_CHUNKS + 1];
    uint32_t next, n, at = 0;

    n = cw_store_versions(sh, 0, (uint32_t)CW_SHARD_CHUNKS, v, OLDIMAGE_CHUNKS + 1, &next);
    for (uint32_t chunk = 0; chunk < OLDIMAGE_CHUNKS; chunk++) {
        if (m->ver[chunk].gen == 0 && m->ver[chunk].seq == 0)
            continue;
        assert_true(at < n);
        assert_int_equal(v[at].chunk, chunk);
        assert_int_equal(v[at].gen, m->ver[chunk].gen);
        assert_int_equal(v[at].seq, m->ver[chunk].seq);
        at++;
    }
    assert_int_equal(at, n);
}

static void
check_blocks(struct storeworld *w, struct cw_store_shard *sh, const struct oldimage_model *m)
{
    uint8_t want[CW_BLOCK_SIZE];

    for (uint32_t lba = 0; lba < OLDIMAGE_SPAN; lba += 256) {
        struct cw_store_read r = { .shard = sh, .lba = lba, .nblk = 256 };

        assert_int_equal(storeworld_read(w, &r), 0);
        for (uint32_t i = 0; i < 256; i++) {
            assert_int_equal(cw_bit_get(r.bad, i), m->bad[lba + i]);
            if (m->bad[lba + i])
                continue;
            fill_word(want, m->word[lba + i]);
            assert_int_equal(r.csums[i], cw_hash_block(want));
            if (r.zeroes)
                assert_true(m->word[lba + i] == 0);
            else
                assert_memory_equal(r.buf->data + (size_t)i * CW_BLOCK_SIZE, want, CW_BLOCK_SIZE);
        }
        cw_buf_unref(r.buf);
    }
}

void
oldimage_check(struct storeworld *w, struct cw_store_shard *sh, uint8_t shard,
               const struct oldimage_model *m)
{
    assert_non_null(sh);
    assert_int_equal(cw_store_shard_info(sh)->rec.shard, oldimage_shard_id(shard));
    check_state(cw_store_shard_info(sh), m);
    check_versions(sh, m);
    check_blocks(w, sh, m);
}

/* ---- packed ---- */

#define PACK_MAGIC UINT64_C(0x31474d4957435743) /* "CWCWIMG1" */
#define PACK_SECTOR 4096u
#define PACK_FULL UINT64_MAX /* in place of a word: the sector follows */

struct pack {
    uint8_t *bytes;
    size_t len, cap;
};

static void
pack_put(struct pack *p, const void *from, size_t len)
{
    if (p->len + len > p->cap) {
        p->cap = (p->len + len) * 2;
        p->bytes = realloc(p->bytes, p->cap);
        cw_assert(p->bytes != NULL);
    }
    memcpy(p->bytes + p->len, from, len);
    p->len += len;
}

static bool
sector_is_word(const uint8_t *sector, uint64_t *ret_word)
{
    memcpy(ret_word, sector, 8);
    return *ret_word != PACK_FULL && memcmp(sector, sector + 8, PACK_SECTOR - 8) == 0;
}

static bool
pack_write(const struct pack *p, const char *path)
{
    size_t bound = ZSTD_compressBound(p->len), len;
    uint8_t *out = malloc(bound);
    FILE *f = fopen(path, "wb");
    bool ok;

    cw_assert(out != NULL);
    len = ZSTD_compress(out, bound, p->bytes, p->len, 22);
    ok = f != NULL && !ZSTD_isError(len) && fwrite(out, 1, len, f) == len;
    if (f != NULL)
        ok = fclose(f) == 0 && ok;
    free(out);
    return ok;
}

bool
oldimage_pack(const struct cw_ramdisk *d, uint64_t bytes, const char *path)
{
    uint8_t sector[PACK_SECTOR];
    struct pack p = { 0 };
    uint64_t magic = PACK_MAGIC;
    bool ok;

    pack_put(&p, &magic, 8);
    for (uint64_t i = 0; i < bytes / PACK_SECTOR; i++) {
        uint64_t word;

        cw_ramdisk_peek(d, i * PACK_SECTOR, sector, sizeof(sector));
        if (!sector_is_word(sector, &word))
            word = PACK_FULL;
        if (word == 0)
            continue;
        pack_put(&p, &i, 8);
        pack_put(&p, &word, 8);
        if (word == PACK_FULL)
            pack_put(&p, sector, sizeof(sector));
    }
    ok = pack_write(&p, path);
    free(p.bytes);
    return ok;
}

static uint8_t *
pack_read(const char *path, size_t *ret_len)
{
    uint8_t *in = malloc(CW_MIB), *out = NULL;
    FILE *f = fopen(path, "rb");
    size_t len = f == NULL ? 0 : fread(in, 1, CW_MIB, f);
    unsigned long long size = ZSTD_getFrameContentSize(in, len);

    if (f != NULL)
        fclose(f);
    if (size < OLDIMAGE_BYTES && (out = malloc(size)) != NULL) {
        *ret_len = ZSTD_decompress(out, size, in, len);
        if (ZSTD_isError(*ret_len)) {
            free(out);
            out = NULL;
        }
    }
    free(in);
    return out;
}

static bool
unpack_sectors(struct cw_ramdisk *d, uint64_t bytes, const uint8_t *at, const uint8_t *end)
{
    uint8_t sector[PACK_SECTOR];
    uint64_t head[2]; /* sector, word */

    while ((size_t)(end - at) >= sizeof(head)) {
        memcpy(head, at, sizeof(head));
        at += sizeof(head);
        if (head[0] >= bytes / PACK_SECTOR)
            return false;
        if (head[1] != PACK_FULL) {
            fill_word(sector, head[1]);
        } else {
            if ((size_t)(end - at) < PACK_SECTOR)
                return false;
            memcpy(sector, at, PACK_SECTOR);
            at += PACK_SECTOR;
        }
        cw_ramdisk_poke(d, head[0] * PACK_SECTOR, sector, PACK_SECTOR);
    }
    return at == end;
}

bool
oldimage_unpack(struct cw_ramdisk *d, uint64_t bytes, const char *path)
{
    size_t len = 0;
    uint8_t *all = pack_read(path, &len);
    uint64_t magic = 0;
    bool ok;

    if (all == NULL)
        return false;
    if (len >= 8)
        memcpy(&magic, all, 8);
    ok = magic == PACK_MAGIC && unpack_sectors(d, bytes, all + 8, all + len);
    free(all);
    return ok;
}
