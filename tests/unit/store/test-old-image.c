/* Stores that an earlier version of the program left behind are opened, whole, and go on. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/oldimage.h"

static struct oldimage_life life;
static struct oldimage_model model[OLDIMAGE_SHARDS];

static void
world_unpack(struct storeworld *w, const char *name)
{
    char path[4096];

    storeworld_init(w, OLDIMAGE_SEED, OLDIMAGE_BYTES, CW_MIB);
    snprintf(path, sizeof(path), "%s/%s", CW_TEST_DATA, name);
    if (!oldimage_unpack(w->disk, w->bytes, path))
        fail_msg("%s is not an image", path);
}

/* Everything before the last END was waited for; of what follows it each copy has a prefix. */
static void
model_init(struct storeworld *w)
{
    uint32_t ends = 0;

    oldimage_life_init(&life);
    for (uint32_t i = 0; i < life.n; i++) {
        const struct oldimage_step *s = &life.step[i];
        struct cw_store_shard *sh = cw_store_shard_find(w->store, oldimage_shard_id(s->shard));

        ends += s->kind == OLDIMAGE_END;
        if (ends < OLDIMAGE_LIVES || (sh != NULL && s->kind == OLDIMAGE_STREAM &&
                                      s->seq <= cw_store_shard_info(sh)->durable_seq))
            oldimage_apply(&model[s->shard], s);
    }
}

static void
check_all(struct storeworld *w)
{
    struct cw_store_shard *sh = NULL;

    for (uint8_t shard = 0; shard < OLDIMAGE_SHARDS; shard++) {
        if (!model[shard].there)
            continue;
        sh = cw_store_shard_next(w->store, sh);
        oldimage_check(w, sh, shard, &model[shard]);
    }
    assert_null(cw_store_shard_next(w->store, sh));
    cw_store_check(w->store);
}

/* The script's record of that seq. */
static const struct oldimage_step *
step_of(uint8_t shard, uint64_t seq)
{
    for (uint32_t i = 0; i < life.n; i++) {
        if (life.step[i].kind == OLDIMAGE_STREAM && life.step[i].shard == shard &&
            life.step[i].seq == seq)
            return &life.step[i];
    }
    fail();
    return NULL;
}

static void
check_tail_record(struct storeworld *w, struct cw_store_shard *sh, const struct oldimage_step *s)
{
    struct cw_store_read r = { .shard = sh, .flags = CW_STORE_READ_TAIL, .tail_seq = s->seq };

    assert_int_equal(storeworld_read(w, &r), 0);
    assert_int_equal(r.lba, s->lba);
    assert_int_equal(r.nblk, s->nblk);
    for (uint32_t i = 0; s->type == CW_FT_WRITE && i < s->nblk; i++) {
        uint64_t word = oldimage_word(s->shard, s->lba + i, s->seq);

        if (r.zeroes)
            assert_true(word == 0);
        else
            assert_memory_equal(r.buf->data + (size_t)i * CW_BLOCK_SIZE, &word, 8);
    }
    cw_buf_unref(r.buf);
}

/* Every record above stable is there, and as it was written. */
static void
check_tail(struct storeworld *w)
{
    struct cw_store_shard *sh = cw_store_shard_find(w->store, oldimage_shard_id(OLDIMAGE_A));
    const struct cw_store_shard_info *info = cw_store_shard_info(sh);
    struct cw_store_tail_entry e[64];
    uint32_t n = cw_store_tail_list(sh, e, 64);

    assert_true(info->stable < model[OLDIMAGE_A].first_tail);
    assert_int_equal(n, info->durable_seq - info->stable);
    assert_true(n >= 10 && n < 64);
    for (uint32_t i = 0; i < n; i++) {
        const struct oldimage_step *s = step_of(OLDIMAGE_A, info->stable + 1 + i);

        assert_int_equal(e[i].seq, s->seq);
        assert_int_equal(e[i].gen, s->gen);
        assert_int_equal(e[i].type, s->type);
        assert_int_equal(e[i].lba, s->lba);
        assert_int_equal(e[i].nblk, s->nblk);
        check_tail_record(w, sh, s);
    }
}

static void
write_some(struct storeworld *w, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint8_t shard = i % 3 == 2 ? OLDIMAGE_C : (uint8_t)(i % 3);
        struct oldimage_step s = {
            .kind = OLDIMAGE_STREAM,
            .shard = shard,
            .type = i % 7 == 6 ? CW_FT_TRIM : CW_FT_WRITE,
            .gen = model[shard].last_gen,
            .seq = model[shard].last_seq + 1,
            .lba = (uint64_t)i * 131 % (OLDIMAGE_SPAN - 40),
            .nblk = 1 + i % 40,
        };

        oldimage_do(w, &s);
        oldimage_apply(&model[shard], &s);
    }
    for (struct cw_store_shard *sh = NULL; (sh = cw_store_shard_next(w->store, sh)) != NULL;)
        storeworld_wait_durable(w, sh, cw_store_shard_info(sh)->last_seq);
}

static void
reopen(struct storeworld *w, bool clean)
{
    if (clean)
        assert_int_equal(storeworld_close(w), 0);
    else
        storeworld_crash(w, (struct cw_ramdisk_crash){ .seed = 1, .keep = 0 });
    assert_int_equal(storeworld_open(w), 0);
    assert_int_equal(cw_store_recovery(w->store)->clean, clean);
}

static void
image_opens(const char *name, bool clean)
{
    const struct cw_store_identity *id;
    const struct cw_store_recovery *rec;
    struct cw_uuid disk = cw_uuid_from_random(OLDIMAGE_SEED, 1),
                   cluster = cw_uuid_from_random(1, 2);
    struct storeworld w;

    world_unpack(&w, name);
    assert_int_equal(storeworld_open(&w), 0);
    id = cw_store_identity(w.store);
    rec = cw_store_recovery(w.store);
    assert_memory_equal(&id->disk_uuid, &disk, sizeof(disk));
    assert_memory_equal(&id->cluster_id, &cluster, sizeof(cluster));
    assert_int_equal(id->format_id, OLDIMAGE_SEED * 2 + 1);
    assert_int_equal(id->incarnation, OLDIMAGE_LIVES + 1);
    assert_int_equal(rec->clean, clean);
    assert_int_equal(rec->damaged_copies, 0);
    assert_int_equal(rec->bad_blocks, 0);
    model_init(&w);
    check_all(&w);
    check_tail(&w);
    reopen(&w, false); /* what the first open left is enough */
    check_all(&w);
    check_tail(&w);
    for (uint32_t i = 0; i < 4; i++) {
        write_some(&w, 60);
        check_all(&w);
        reopen(&w, i % 2);
        check_all(&w);
    }
    storeworld_fini(&w);
}

/* Stopped cleanly. */
static void
an_image_of_version_1_opens(void **state)
{
    image_opens("store-v1-clean.img.zst", true);
}

/* Cut in the middle of writes, with a dropped copy whose space was not given back yet. */
static void
an_image_of_version_1_that_was_cut_recovers(void **state)
{
    image_opens("store-v1-cut.img.zst", false);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_of_version_1_opens),
        cmocka_unit_test(an_image_of_version_1_that_was_cut_recovers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
