/* causeway-store check: says nothing of what is right, and names whatever is not. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "daemon/tool/walk.h"
#include "tests/lib/oldimage.h"
#include "tests/unit/tool/image.h"

#define SHARD_ID (UINT64_C(5) << 16)
#define CLONE_ID (UINT64_C(6) << 16)
#define SPAN 6000u

static struct cw_prng
seeded(uint64_t seed)
{
    struct cw_prng p;

    cw_prng_init(&p, seed);
    return p;
}

/* ---- stores ---- */

static void
settle(struct storeworld *w, struct cw_store_shard *sh)
{
    storeworld_wait_durable(w, sh, cw_store_shard_info(sh)->last_seq);
    cw_store_set_stable(sh, cw_store_shard_info(sh)->durable_seq - 3);
}

static void
some_writes(struct storeworld *w, struct cw_store_shard *sh, struct cw_prng *rnd, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t nblk = 1 + (uint32_t)cw_prng_below(rnd, 40);
        uint64_t lba = cw_prng_below(rnd, SPAN - nblk);

        if (cw_prng_below(rnd, 12) == 0)
            assert_int_equal(storeworld_clear(w, sh, CW_FT_TRIM, lba, nblk), 0);
        else
            assert_int_equal(storeworld_write(w, sh, lba, nblk), 0);
    }
    settle(w, sh);
}

/* Copies with snapshots, one of them deleted, a clone, packed blocks and plain ones, several
 * segments, and two lives. */
static void
world_start(struct storeworld *w, uint64_t seed, enum cw_compression comp)
{
    struct storeworld_ticket t;
    struct cw_prng rnd = seeded(seed);
    struct cw_store_shard *sh, *clone;
    struct cw_shard_rec rec;
    int err;

    storeworld_init(w, seed, 512 * CW_MIB, CW_MIB);
    w->compression = comp;
    assert_int_equal(storeworld_format(w, false), 0);
    assert_int_equal(storeworld_open(w), 0);
    sh = storeworld_shard(w, SHARD_ID);
    for (uint64_t snap = 1; snap <= 4; snap++) {
        some_writes(w, sh, &rnd, 80);
        assert_int_equal(cw_store_snap_create(sh, snap, storeworld_ticket(&t)), 0);
        assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    }
    rec = storeworld_rec(w, CLONE_ID);
    clone = cw_store_shard_clone(w->store, &rec, sh, 2, storeworld_ticket(&t), &err);
    assert_non_null(clone);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    assert_int_equal(cw_store_snap_delete(sh, 3, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    some_writes(w, clone, &rnd, 60);
    assert_int_equal(storeworld_close(w), 0);
    assert_int_equal(storeworld_open(w), 0);
    some_writes(w, cw_store_shard_find(w->store, SHARD_ID), &rnd, 120);
}

static void
world_closed(struct image *im, uint64_t seed, enum cw_compression comp)
{
    struct storeworld w;

    world_start(&w, seed, comp);
    assert_int_equal(storeworld_close(&w), 0);
    image_make(im, &w);
    storeworld_fini(&w);
}

/* The check's exit status; says what it printed if it is not `want`. */
static void
check_is(const struct image *im, int want, const char *says)
{
    char *out;
    int got = image_tool(&out, "check", im->path, NULL, NULL);

    if (got != want || (says != NULL && strstr(out, says) == NULL))
        print_error("wanted %d and \"%s\", got %d:\n%s", want, says != NULL ? says : "", got, out);
    assert_int_equal(got, want);
    if (says != NULL)
        assert_non_null(strstr(out, says));
    free(out);
}

/* ---- what is right ---- */

static void
a_closed_store_has_no_faults_and_is_not_changed(void **state)
{
    static const enum cw_compression comp[] = { CW_COMPRESSION_OFF, CW_COMPRESSION_INLINE };

    for (size_t i = 0; i < CW_LEN(comp); i++) {
        struct image im;
        uint64_t before;

        world_closed(&im, 11 + i, comp[i]);
        before = image_hash(&im);
        check_is(&im, CW_TOOL_OK, "no faults, 0 notes");
        assert_int_equal(image_tool(NULL, "info", im.path, "--json", NULL), CW_TOOL_OK);
        assert_int_equal(image_hash(&im), before);
        image_remove(&im);
    }
}

/* Wherever the power is cut, and whatever of the last writes is kept: nothing that was acknowledged
 * is damaged, so there is no fault. */
static void
a_store_that_was_cut_has_no_faults(void **state)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct cw_prng rnd = seeded(seed);
        struct storeworld w;
        struct image im;

        world_start(&w, seed, seed % 2 ? CW_COMPRESSION_INLINE : CW_COMPRESSION_OFF);
        for (uint32_t i = 0; i < 30; i++)
            assert_int_equal(storeworld_write(&w, cw_store_shard_find(w.store, SHARD_ID),
                                              cw_prng_below(&rnd, SPAN), 20),
                             0);
        storeworld_run(&w, cw_prng_below(&rnd, CW_NS_PER_MS));
        storeworld_crash(&w, (struct cw_ramdisk_crash){
                                 .seed = seed, .keep = (uint32_t)(seed * 20), .torn = true });
        image_make(&im, &w);
        check_is(&im, CW_TOOL_OK, "no faults");
        image_remove(&im);
        storeworld_fini(&w);
    }
}

/* Overwritten until it was cleaned for long, snapshots taken and given back all the while, closed
 * or cut in the middle of it, several times over. */
static void
hard_life(struct storeworld *w, struct cw_prng *rnd, uint64_t *snap)
{
    struct cw_store_shard *sh = storeworld_shard(w, SHARD_ID);
    struct cw_store_snap_info list[8];
    struct storeworld_ticket t;

    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t nblk = 1 + (uint32_t)cw_prng_below(rnd, 128), n;
        int err;

        (void)storeworld_write(w, sh, cw_prng_below(rnd, 24000 - nblk), nblk); /* or full */
        if (i % 64 != 0)
            continue;
        settle(w, sh);
        n = cw_store_snap_list(sh, list, CW_LEN(list));
        if (n > 3 || (n > 1 && cw_prng_below(rnd, 4) == 0))
            err = cw_store_snap_delete(sh, list[cw_prng_below(rnd, n - 1)].snap,
                                       storeworld_ticket(&t));
        else
            err = cw_store_snap_create(sh, ++*snap, storeworld_ticket(&t));
        assert_int_equal(err, 0);
        assert_int_equal(storeworld_ticket_wait(w, &t), 0);
    }
}

static void
a_store_with_a_hard_life_has_no_faults(void **state)
{
    const char *more = getenv("CAUSEWAY_TEST_SEEDS"); /* 40 take five minutes */
    uint64_t seeds = more != NULL ? strtoull(more, NULL, 10) : 2;

    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct cw_prng rnd = seeded(seed);
        struct storeworld w;
        uint64_t snap = 0;

        storeworld_init(&w, seed, 512 * CW_MIB, 16 * CW_MIB);
        w.compression = (enum cw_compression)(seed % 3);
        assert_int_equal(storeworld_format(&w, false), 0);
        for (uint32_t life = 0; life < 4; life++) {
            struct image im;

            assert_int_equal(storeworld_open(&w), 0);
            hard_life(&w, &rnd, &snap);
            if (cw_prng_below(&rnd, 4) == 0)
                assert_int_equal(storeworld_close(&w), 0);
            else
                storeworld_crash(
                    &w, (struct cw_ramdisk_crash){ .seed = seed * 10 + life,
                                                   .keep = (uint32_t)cw_prng_below(&rnd, 257),
                                                   .torn = true });
            image_make(&im, &w);
            check_is(&im, CW_TOOL_OK, "no faults");
            image_remove(&im);
        }
        storeworld_fini(&w);
    }
}

static void
stores_of_version_1_are_checked(void **state)
{
    static const char *const names[] = { "store-v1-clean.img.zst", "store-v1-cut.img.zst" };

    for (size_t i = 0; i < CW_LEN(names); i++) {
        struct storeworld w;
        struct image im;
        char path[512];

        storeworld_init(&w, 1, 512 * CW_MIB, CW_MIB);
        snprintf(path, sizeof(path), "%s/%s", CW_TEST_DATA, names[i]);
        assert_true(oldimage_unpack(w.disk, 512 * CW_MIB, path));
        image_make(&im, &w);
        /* the copy in the middle of a resync has blocks that were bad at the source, and no more */
        check_is(&im, CW_TOOL_FOUND, "marked-bad");
        {
            char *out;

            (void)image_tool(&out, "check", im.path, NULL, NULL);
            for (char *f = strstr(out, "found "); f != NULL; f = strstr(f + 1, "\nfound "))
                assert_ptr_equal(strstr(f, "found "), strstr(f, "found marked-bad"));
            free(out);
        }
        image_remove(&im);
        storeworld_fini(&w);
    }
}

/* ---- what is not ---- */

/* A byte of everything that the newest checkpoint refers to, one after another. */
static void
a_flipped_byte_is_found_wherever_it_is(void **state)
{
    struct image_look l;
    struct image im;
    struct cw_prng rnd = seeded(5);
    uint64_t root, part, tab, page;

    world_closed(&im, 5, CW_COMPRESSION_INLINE);
    image_look(&im, &l);
    root = image_off(&l, l.k.at.loc);
    part = image_off(&l, l.k.root->parts[0].loc);
    tab = image_off(&l, l.k.tabs[0].dir.loc);
    page = 0;
    for (uint32_t i = 0; i < CW_TAB_CHUNKS && page == 0; i++)
        if (l.k.tabs[0].page->e[i].page_loc != 0)
            page = image_off(&l, l.k.tabs[0].page->e[i].page_loc);
    image_look_end(&l);
    assert_true(page != 0);
    {
        const struct {
            uint64_t at;
            uint32_t len;
            const char *says, *all;
        } what[] = {
            { root, 144, "root of checkpoint", ": 1 fault," },
            { part, 64, "part segments of checkpoint", ": 1 fault," },
            /* both checkpoints have it */
            { tab, 4096, "a start of the daemon would fail", ": 3 faults," },
            { page, 4096, "map page of chunk", ": 1 fault," },
            { 0, 4096, "slot 0", ": 1 fault," },
            { 4096, 4096, "slot 1", ": 1 fault," },
            { 512 * CW_MIB - 8192, 4096, "slot 2", ": 1 fault," },
            { 512 * CW_MIB - 4096, 4096, "slot 3", ": 1 fault," },
        };

        for (size_t i = 0; i < CW_LEN(what); i++) {
            uint64_t at = what[i].at + cw_prng_below(&rnd, what[i].len);

            image_flip(&im, at);
            check_is(&im, CW_TOOL_FOUND, what[i].says);
            check_is(&im, CW_TOOL_FOUND, what[i].all);
            image_flip(&im, at);
        }
    }
    check_is(&im, CW_TOOL_OK, "no faults, 0 notes");
    image_remove(&im);
}

static void
first_data(void *user, const struct cw_walk_page *p)
{
    uint64_t *loc = user;

    for (uint32_t i = 0; *loc == 0 && i < CW_CHUNK_BLOCKS; i++) {
        enum cw_map_kind kind = cw_loc_kind(p->page->e[i].loc);

        if (kind == CW_MAP_RAW || (kind == CW_MAP_COMP && cw_loc_idx(p->page->e[i].loc) == 0))
            *loc = p->page->e[i].loc;
    }
}

/* Where the batch begins that holds what lies at `at`. */
static uint64_t
batch_before(const struct image *im, uint64_t at)
{
    uint32_t magic;

    at -= at % 4096;
    do {
        at -= 4096;
        assert_int_equal(pread(im->fd, &magic, sizeof(magic), (off_t)at), sizeof(magic));
    } while (magic != CW_BATCH_MAGIC);
    return at;
}

/* A block, its segment's header, the header of its batch, the summary. */
static void
a_flipped_byte_in_a_segment_is_found(void **state)
{
    static const enum cw_compression comp[] = { CW_COMPRESSION_OFF, CW_COMPRESSION_INLINE };

    for (size_t i = 0; i < CW_LEN(comp); i++) {
        struct image_look l;
        struct image im;
        uint64_t loc = 0, seg, batch, seg_bytes;

        world_closed(&im, 20 + i, comp[i]);
        image_look(&im, &l);
        cw_walk(&(struct cw_walk){
            .st = l.st, .side = CW_STAND_DISK, .c = &l.k, .page = first_data, .user = &loc });
        seg = cw_inspect_seg_off(&l.sb, cw_loc_seg(loc));
        batch = batch_before(&im, seg + cw_loc_off(loc));
        seg_bytes = l.sb.seg_bytes;
        image_look_end(&l);
        image_flip(&im, seg + cw_loc_off(loc) + 17);
        check_is(&im, CW_TOOL_FOUND, "found block: segment");
        image_flip(&im, seg + cw_loc_off(loc) + 17);
        image_flip(&im, seg + 30);
        check_is(&im, CW_TOOL_FOUND, "its header: its checksum does not match");
        image_flip(&im, seg + 30);
        image_flip(&im, batch + 20);
        check_is(&im, CW_TOOL_FOUND, "found segment: segment");
        image_flip(&im, batch + 20);
        image_flip(&im, seg + seg_bytes - 20);
        check_is(&im, CW_TOOL_FOUND, "found segment: segment");
        image_flip(&im, seg + seg_bytes - 20);
        check_is(&im, CW_TOOL_OK, "no faults, 0 notes");
        image_remove(&im);
    }
}

static uint32_t
part_of(const struct image_look *l, uint32_t kind)
{
    for (uint32_t i = 0; i < l->k.root->n_parts; i++) {
        if (l->k.root->parts[i].kind == kind)
            return i;
    }
    fail();
    return 0;
}

/* Counts that are wrong under checksums that are right. */
static void
a_wrong_count_is_found(void **state)
{
    struct cw_segtab_entry *segs;
    struct cw_layer_bytes *layers;
    struct image_look l;
    struct image im;
    uint32_t no = 0;

    world_closed(&im, 31, CW_COMPRESSION_INLINE);
    image_look(&im, &l);
    segs = (void *)l.k.content[CW_PART_SEGMENTS];
    while (segs[no].cls == CW_SEG_META || segs[no].live == 0)
        no++;
    for (int by = -1; by <= 1; by += 2) {
        segs[no].live += (uint32_t)by;
        image_put_part(&im, &l, part_of(&l, CW_PART_SEGMENTS), segs);
        check_is(&im, CW_TOOL_FOUND, "found segment-count: segment");
        segs[no].live -= (uint32_t)by;
        image_put_part(&im, &l, part_of(&l, CW_PART_SEGMENTS), segs);
    }
    check_is(&im, CW_TOOL_OK, "no faults, 0 notes");
    layers = (void *)l.k.content[CW_PART_LAYERS];
    layers[0].mapped++;
    image_put_part(&im, &l, part_of(&l, CW_PART_LAYERS), layers);
    check_is(&im, CW_TOOL_FOUND, "found layer-count: volume 5 shard 0: layer");
    layers[0].mapped--;
    layers[0].sectors--;
    image_put_part(&im, &l, part_of(&l, CW_PART_LAYERS), layers);
    check_is(&im, CW_TOOL_FOUND, "found layer-count: volume 5 shard 0: layer");
    image_look_end(&l);
    image_remove(&im);
}

/* The first map page of the first table. */
struct first_page {
    struct cw_tab_page tab;
    struct cw_map_page page;
    uint32_t chunk;
};

static void
first_page_get(const struct image *im, const struct image_look *l, struct first_page *p)
{
    p->tab = *l->k.tabs[0].page;
    p->chunk = 0;
    while (p->tab.e[p->chunk].page_loc == 0)
        p->chunk++;
    assert_int_equal(
        pread(im->fd, &p->page, sizeof(p->page), (off_t)image_off(l, p->tab.e[p->chunk].page_loc)),
        sizeof(p->page));
}

/* Under checksums that are right. */
static void
first_page_put(const struct image *im, struct image_look *l, struct first_page *p)
{
    struct cw_tabdir_entry *dir = (void *)l->k.content[CW_PART_TABS];

    assert_int_equal(
        pwrite(im->fd, &p->page, sizeof(p->page), (off_t)image_off(l, p->tab.e[p->chunk].page_loc)),
        sizeof(p->page));
    p->tab.e[p->chunk].page_csum = cw_hash_block(&p->page);
    assert_int_equal(
        pwrite(im->fd, &p->tab, sizeof(p->tab), (off_t)image_off(l, l->k.tabs[0].dir.loc)),
        sizeof(p->tab));
    dir[0].csum = cw_hash_block(&p->tab);
    image_put_part(im, l, part_of(l, CW_PART_TABS), dir);
}

static struct cw_map_entry *
first_own_raw(struct first_page *p)
{
    struct cw_map_entry *e = p->page.e;

    while (cw_loc_kind(e->loc) != CW_MAP_RAW || (e->loc & CW_LOC_SHARED))
        e++;
    return e;
}

/* An entry that says that somebody else owns its place. */
static void
a_place_without_an_owner_is_found(void **state)
{
    struct first_page p;
    struct image_look l;
    struct image im;

    world_closed(&im, 41, CW_COMPRESSION_OFF);
    image_look(&im, &l);
    first_page_get(&im, &l, &p);
    first_own_raw(&p)->loc |= CW_LOC_SHARED;
    first_page_put(&im, &l, &p);
    image_look_end(&l);
    check_is(&im, CW_TOOL_FOUND, "its place is shared and has no owner");
    image_remove(&im);
}

/* One that is longer than a block and goes beyond its segment. */
static void
a_place_that_cannot_be_is_found(void **state)
{
    struct cw_map_entry *e;
    struct first_page p;
    struct image_look l;
    struct image im;

    world_closed(&im, 42, CW_COMPRESSION_OFF);
    image_look(&im, &l);
    first_page_get(&im, &l, &p);
    e = first_own_raw(&p);
    e->loc = cw_loc_make(cw_loc_seg(e->loc), l.sb.seg_bytes / CW_SECTOR - CW_BLOCK_SECTORS, 255,
                         CW_MAP_RAW);
    first_page_put(&im, &l, &p);
    image_look_end(&l);
    check_is(&im, CW_TOOL_FOUND, "the length of its place is none");
    image_remove(&im);
}

/* A root whose parts, one place over and over, would fill any memory. */
static void
a_root_with_too_much_is_refused(void **state)
{
    struct cw_root *root = aligned_alloc(4096, CW_MIB);
    struct image_look l;
    struct image im;
    uint32_t tabs;

    assert_non_null(root);
    world_closed(&im, 45, CW_COMPRESSION_OFF);
    image_look(&im, &l);
    tabs = part_of(&l, CW_PART_TABS);
    memset(root, 0, CW_MIB);
    memcpy(root, l.k.root, l.k.at.len);
    while (root->n_parts < (CW_MIB - sizeof(*root)) / sizeof(root->parts[0])) {
        root->parts[root->n_parts] = root->parts[tabs];
        root->parts[root->n_parts++].bytes = CW_BATCH_PAYLOAD_MAX;
    }
    free(l.k.root);
    l.k.root = root;
    /* over a segment that has been free so far */
    l.sb.ckpt[0].len = l.k.at.len = CW_MIB;
    l.sb.ckpt[0].loc = l.k.at.loc =
        cw_loc_make(l.sb.seg_count - 1, CW_BLOCK_SECTORS, CW_BLOCK_SECTORS, CW_MAP_RAW);
    image_put_part(&im, &l, tabs, l.k.content[CW_PART_TABS]);
    check_is(&im, CW_TOOL_FOUND, "its parts are more than the store has room for");
    image_look_end(&l);
    image_remove(&im);
}

/* A tail that names another batch than the one at its place, and one whose record is not there. */
static void
a_tail_that_is_not_there_is_found(void **state)
{
    struct cw_tail_bytes *tail;
    struct image_look l;
    struct image im;

    world_closed(&im, 44, CW_COMPRESSION_OFF);
    image_look(&im, &l);
    assert_true(l.k.shards[0].h.n_tail > 0);
    tail = (void *)(uintptr_t)l.k.shards[0].tail;
    tail->batch_seq++;
    image_put_part(&im, &l, part_of(&l, CW_PART_SHARDS), l.k.content[CW_PART_SHARDS]);
    check_is(&im, CW_TOOL_FOUND, "found tail: segment");
    tail->batch_seq--;
    tail->rec += 100;
    image_put_part(&im, &l, part_of(&l, CW_PART_SHARDS), l.k.content[CW_PART_SHARDS]);
    check_is(&im, CW_TOOL_FOUND, "found tail: segment");
    tail->rec -= 100;
    image_put_part(&im, &l, part_of(&l, CW_PART_SHARDS), l.k.content[CW_PART_SHARDS]);
    check_is(&im, CW_TOOL_OK, "no faults");
    image_look_end(&l);
    image_remove(&im);
}

/* A run of blocks of one letter each: it packs into a sector. */
static void
write_letters(struct storeworld *w, struct cw_store_shard *sh)
{
    static uint8_t data[CW_RUN_BLOCKS_MAX * CW_BLOCK_SIZE] __attribute__((aligned(4096)));
    uint64_t csums[CW_RUN_BLOCKS_MAX];
    struct cw_store_rec rec = {
        .type = CW_FT_WRITE,
        .gen = 1,
        .seq = cw_store_shard_info(sh)->last_seq + 1,
        .nblk = CW_RUN_BLOCKS_MAX,
        .csums = csums,
        .data = data,
    };

    for (uint32_t i = 0; i < CW_RUN_BLOCKS_MAX; i++) {
        memset(data + (size_t)i * CW_BLOCK_SIZE, 'a' + (int)i, CW_BLOCK_SIZE);
        csums[i] = cw_hash_block(data + (size_t)i * CW_BLOCK_SIZE);
    }
    assert_int_equal(storeworld_append(w, sh, &rec), 0);
    storeworld_wait_durable(w, sh, cw_store_shard_info(sh)->last_seq);
}

/* As an older program packed it: in a sector, of which the last block has all. The counts fit. */
static void
pack_short(const struct image *im, struct image_look *l, struct first_page *p)
{
    struct cw_segtab_entry *segs = (void *)l->k.content[CW_PART_SEGMENTS];
    struct cw_layer_bytes *layers = (void *)l->k.content[CW_PART_LAYERS];

    first_page_get(im, l, p);
    for (uint32_t i = 0; i < CW_RUN_BLOCKS_MAX; i++) {
        uint64_t *loc = &p->page.e[i].loc;

        assert_int_equal(cw_loc_kind(*loc), CW_MAP_COMP);
        assert_int_equal(cw_loc_len512(*loc), CW_RUN_BLOCKS_MAX);
        *loc ^= (uint64_t)(CW_RUN_BLOCKS_MAX ^ 1) << 16;
    }
    first_page_put(im, l, p);
    segs[cw_loc_seg(p->page.e[0].loc)].live = 1;
    image_put_part(im, l, part_of(l, CW_PART_SEGMENTS), segs);
    layers[0].sectors = 1;
    image_put_part(im, l, part_of(l, CW_PART_LAYERS), layers);
}

/* The last block gone too: the counts say that nothing is there. */
static void
pack_short_to_nothing(const struct image *im, struct image_look *l, struct first_page *p)
{
    struct cw_segtab_entry *segs = (void *)l->k.content[CW_PART_SEGMENTS];
    struct cw_layer_bytes *layers = (void *)l->k.content[CW_PART_LAYERS];

    p->page.e[CW_RUN_BLOCKS_MAX - 1] = (struct cw_map_entry){ 0 };
    p->tab.e[p->chunk].nmapped--;
    first_page_put(im, l, p);
    segs[cw_loc_seg(p->page.e[0].loc)].live = 0;
    segs[cw_loc_seg(p->page.e[0].loc)].state = CW_SEG_FREE;
    image_put_part(im, l, part_of(l, CW_PART_SEGMENTS), segs);
    layers[0].mapped--;
    layers[0].sectors = 0;
    image_put_part(im, l, part_of(l, CW_PART_LAYERS), layers);
}

static void
blocks_that_count_for_nothing_are_found(void **state)
{
    struct first_page p;
    struct storeworld w;
    struct image_look l;
    struct image im;

    storeworld_init(&w, 43, 512 * CW_MIB, CW_MIB);
    w.compression = CW_COMPRESSION_INLINE;
    assert_int_equal(storeworld_format(&w, false), 0);
    assert_int_equal(storeworld_open(&w), 0);
    write_letters(&w, storeworld_shard(&w, SHARD_ID));
    assert_int_equal(storeworld_close(&w), 0);
    image_make(&im, &w);
    storeworld_fini(&w);
    check_is(&im, CW_TOOL_OK, "no faults");
    image_look(&im, &l);
    pack_short(&im, &l, &p);
    check_is(&im, CW_TOOL_FOUND, "15 blocks in it count for nothing");
    check_is(&im, CW_TOOL_FOUND, ": 1 fault,");
    pack_short_to_nothing(&im, &l, &p);
    check_is(&im, CW_TOOL_FOUND, "the map has data in it, the table says free");
    image_look_end(&l);
    image_remove(&im);
}

/* The log rots behind the checkpoint, in front of what was durable. */
static void
a_hole_in_the_log_is_found(void **state)
{
    struct cw_batch_hdr h;
    struct storeworld w;
    struct image im;
    uint64_t at = CW_SEG_BASE, last = 0;

    world_start(&w, 51, CW_COMPRESSION_OFF);
    for (uint32_t i = 0; i < 30; i++) {
        struct cw_store_shard *sh = cw_store_shard_find(w.store, SHARD_ID);

        assert_int_equal(storeworld_write(&w, sh, i, 1), 0);
        storeworld_wait_durable(&w, sh, cw_store_shard_info(sh)->last_seq);
    }
    storeworld_run(&w, WORLD_S);
    storeworld_crash(&w, (struct cw_ramdisk_crash){ .keep = 256 });
    image_make(&im, &w);
    storeworld_fini(&w);
    check_is(&im, CW_TOOL_OK, "no faults");
    for (uint64_t i = CW_SEG_BASE; i < 64 * CW_MIB; i += 4096) {
        assert_int_equal(pread(im.fd, &h, sizeof(h), (off_t)i), sizeof(h));
        if (h.magic == CW_BATCH_MAGIC && h.batch_seq > last)
            last = h.batch_seq;
    }
    do { /* in an open segment: no summary tells of it */
        at += 4096;
        assert_int_equal(pread(im.fd, &h, sizeof(h), (off_t)at), sizeof(h));
    } while (h.magic != CW_BATCH_MAGIC || h.batch_seq != last - 10);
    image_flip(&im, at + 50);
    check_is(&im, CW_TOOL_FOUND, "end before what was durable");
    image_remove(&im);
}

/* ---- the command line ---- */

static void
what_is_no_store_is_refused(void **state)
{
    struct storeworld w;
    struct image im;
    char *out;

    storeworld_init(&w, 3, 512 * CW_MIB, CW_MIB);
    image_make(&im, &w);
    assert_int_equal(image_tool(&out, "check", im.path, NULL, NULL), CW_TOOL_FOUND);
    assert_non_null(strstr(out, "no Causeway store"));
    free(out);
    assert_int_equal(image_tool(&out, "check", im.path, "--json", NULL), CW_TOOL_FOUND);
    assert_non_null(strstr(out, "NOT_A_STORE"));
    free(out);
    assert_int_equal(image_tool(NULL, "check", NULL, NULL, NULL), CW_TOOL_USAGE);
    assert_int_equal(image_tool(NULL, "check", im.path, "--what", NULL), CW_TOOL_USAGE);
    assert_int_equal(image_tool(NULL, "format", ":1G", NULL, NULL), CW_TOOL_USAGE);
    assert_int_equal(image_tool(NULL, "nothing", NULL, NULL, NULL), CW_TOOL_USAGE);
    assert_int_equal(image_tool(NULL, "check", "--help", NULL, NULL), CW_TOOL_OK);
    assert_int_equal(image_tool(NULL, "format", im.path, NULL, NULL), CW_TOOL_OK);
    assert_int_equal(image_tool(NULL, "format", im.path, NULL, NULL), CW_TOOL_FOUND);
    assert_int_equal(image_tool(NULL, "format", im.path, "--force", NULL), CW_TOOL_OK);
    assert_int_equal(image_tool(NULL, "check", im.path, NULL, NULL), CW_TOOL_OK);
    for (off_t size = 0; size <= 20480; size += 4096) { /* too small even for superblocks */
        assert_int_equal(ftruncate(im.fd, size), 0);
        assert_int_equal(image_tool(&out, "check", im.path, NULL, NULL), CW_TOOL_FOUND);
        assert_non_null(strstr(out, im.path));
        free(out);
    }
    image_remove(&im);
    storeworld_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_store_has_no_faults_and_is_not_changed),
        cmocka_unit_test(a_store_that_was_cut_has_no_faults),
        cmocka_unit_test(a_store_with_a_hard_life_has_no_faults),
        cmocka_unit_test(stores_of_version_1_are_checked),
        cmocka_unit_test(a_flipped_byte_is_found_wherever_it_is),
        cmocka_unit_test(a_flipped_byte_in_a_segment_is_found),
        cmocka_unit_test(a_wrong_count_is_found),
        cmocka_unit_test(a_place_without_an_owner_is_found),
        cmocka_unit_test(a_place_that_cannot_be_is_found),
        cmocka_unit_test(a_root_with_too_much_is_refused),
        cmocka_unit_test(a_tail_that_is_not_there_is_found),
        cmocka_unit_test(blocks_that_count_for_nothing_are_found),
        cmocka_unit_test(a_hole_in_the_log_is_found),
        cmocka_unit_test(what_is_no_store_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
