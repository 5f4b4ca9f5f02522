/* Makes the images of tests/data with the store as it is now; how: tests/data/README.md. */
#include <stdio.h>

#include "tests/lib/oldimage.h"

/* A stable seq is only as durable as the last checkpoint: told again, as an owner does. */
static void
restart(struct storeworld *w, uint32_t life)
{
    uint64_t stable[OLDIMAGE_SHARDS];
    struct cw_store_stats st;

    cw_store_stats(w->store, &st);
    if (st.bytes_cleaned > 0)
        printf("life %u cleaned %llu bytes\n", life, (unsigned long long)st.bytes_cleaned);
    for (uint8_t i = 0; i < OLDIMAGE_SHARDS; i++)
        stable[i] =
            cw_store_shard_info(cw_store_shard_find(w->store, oldimage_shard_id(i)))->stable;
    if (life % 10 == 5)
        assert_int_equal(storeworld_close(w), 0);
    else
        storeworld_crash(
            w, (struct cw_ramdisk_crash){ .seed = life, .keep = life % 3 * 128, .torn = life % 2 });
    assert_int_equal(storeworld_open(w), 0);
    for (uint8_t i = 0; i < OLDIMAGE_SHARDS; i++)
        cw_store_set_stable(cw_store_shard_find(w->store, oldimage_shard_id(i)), stable[i]);
}

static void
on_claimed(void *user, int res)
{
    assert_int_equal(res, 0);
    *(bool *)user = true;
}

static void
live(struct storeworld *w, const struct oldimage_life *l, bool clean)
{
    bool claimed = false;
    uint32_t life = 0, at;

    storeworld_init(w, OLDIMAGE_SEED, OLDIMAGE_BYTES, CW_MIB);
    assert_int_equal(storeworld_format(w, false), 0);
    assert_int_equal(storeworld_open(w), 0);
    cw_store_claim(w->store, cw_uuid_from_random(1, 2), on_claimed, &claimed);
    storeworld_wait(w, &claimed);
    for (at = 0; life < OLDIMAGE_LIVES; at++) {
        const struct oldimage_step *s = &l->step[at];

        oldimage_do(w, s);
        if (s->kind != OLDIMAGE_END)
            continue;
        for (struct cw_store_shard *sh = NULL; (sh = cw_store_shard_next(w->store, sh)) != NULL;)
            storeworld_wait_durable(w, sh, cw_store_shard_info(sh)->last_seq);
        if (life % 10 == 9)
            storeworld_run(w, WORLD_S); /* background work */
        if (++life < OLDIMAGE_LIVES)
            restart(w, life);
    }
    /* the end: in the middle of some more, or all of it and a clean stop */
    for (; at < l->n; at++) {
        oldimage_do(w, &l->step[at]);
        if (at % 3 == 0)
            cw_store_turn_end(w->store);
    }
    if (clean)
        storeworld_run(w, 30 * WORLD_S);
}

int
main(int argc, char **argv)
{
    static struct oldimage_life l;
    struct cw_store_stats st;
    struct storeworld w;
    bool clean;

    if (argc != 3) {
        fprintf(stderr, "usage: make-old-image clean|cut FILE\n");
        return 2;
    }
    clean = argv[1][1] == 'l';
    oldimage_life_init(&l);
    live(&w, &l, clean);
    cw_store_stats(w.store, &st);
    printf("cleaned %llu bytes, %llu checkpoints, %llu of %llu segments free, %u steps\n",
           (unsigned long long)st.bytes_cleaned, (unsigned long long)st.checkpoints,
           (unsigned long long)st.segments_free, (unsigned long long)st.segments, l.n);
    if (clean)
        assert_int_equal(storeworld_close(&w), 0);
    else
        storeworld_crash(&w, (struct cw_ramdisk_crash){ .seed = 5, .keep = 128, .torn = true });
    if (!oldimage_pack(w.disk, w.bytes, argv[2])) {
        fprintf(stderr, "make-old-image: cannot write %s\n", argv[2]);
        return 1;
    }
    storeworld_fini(&w);
    return 0;
}
