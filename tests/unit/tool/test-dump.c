/* causeway-store dump: every kind of record, right and wrong; and whatever bytes there are. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/base/prng.h"
#include "daemon/tool/walk.h"
#include "tests/unit/tool/image.h"

#define SHARD_ID (UINT64_C(5) << 16)

/* One copy with a snapshot after block 0..39 were written as seq 1; 8..15 were written once more.
 */
static void
image_start(struct image *im, enum cw_compression comp)
{
    struct storeworld_ticket t;
    struct cw_store_shard *sh;
    struct storeworld w;

    storeworld_init(&w, 7, 512 * CW_MIB, CW_MIB);
    w.compression = comp;
    assert_int_equal(storeworld_format(&w, false), 0);
    assert_int_equal(storeworld_open(&w), 0);
    sh = storeworld_shard(&w, SHARD_ID);
    assert_int_equal(storeworld_write(&w, sh, 0, 40), 0);
    assert_int_equal(cw_store_snap_create(sh, 9, storeworld_ticket(&t)), 0);
    assert_int_equal(storeworld_ticket_wait(&w, &t), 0);
    assert_int_equal(storeworld_write(&w, sh, 8, 8), 0);
    storeworld_wait_durable(&w, sh, 2);
    assert_int_equal(storeworld_close(&w), 0);
    image_make(im, &w);
    storeworld_fini(&w);
}

static int
dump(char **out, size_t *ret_len, const struct image *im, const char *words)
{
    char text[128], *argv[10] = { (char *)(uintptr_t) "causeway-store", (char *)(uintptr_t) "dump",
                                  (char *)(uintptr_t)im->path };
    char *save = NULL;
    int argc = 3, status;
    FILE *f = open_memstream(out, ret_len);

    snprintf(text, sizeof(text), "%s", words);
    for (char *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    status = cw_tool_main(argc, argv, f, f);
    fclose(f);
    return status;
}

static void
dump_says(const struct image *im, const char *words, int want, const char *says)
{
    size_t len;
    char *out;
    int got = dump(&out, &len, im, words);

    if (got != want || memmem(out, len, says, strlen(says)) == NULL)
        print_error("dump %s: %d:\n%s", words, got, out);
    assert_int_equal(got, want);
    assert_non_null(memmem(out, len, says, strlen(says)));
    free(out);
}

static void
every_kind_is_shown(void **state)
{
    static const char *const what[][2] = {
        { "superblock", "slot=3" },
        { "superblock 2", "slot=2" },
        { "checkpoint", "kind=layers" },
        { "segment 0", "seg_no=0" },
        { "batch 0:4096", "type=NOTE" },
        { "record 0:4096:0", "type=NOTE flags=64 (RESUME)" },
        { "superblock", "flags=5 (CLEAN SETTLED)" },
        { "checkpoint", "flags=1 (HEAD)" },
        { "checkpoint", "flags=3 (WRITTEN REPLAY)" },
        { "shard 5/0", "flags                0 (none)" },
        { "shard 5/0", "type=24 (WRITE)" },
        { "table 1 0", "state=0 (none)" },
        { "table 0x10000000001 0", "state=1 (OWN)" },
        { "scrub", "phase                4 (resting)" },
        { "scrub", "flags                0 (none)" },
        { "shard 5/0", "last_seq             2" },
        { "shard 0x50000", "snapshot=9" },
        { "layer 1", "snapshot=9" },
        { "table 1 0", "chunk=0" },
        { "page 5/0 0", "lba=39" },
        { "page 5/0 0 9", "lba=39" },
        { "block 5/0 8", "place                " },
        { "block 5/0 400", "NONE" },
        { "scrub", "phase" },
    };

    for (int comp = CW_COMPRESSION_OFF; comp <= CW_COMPRESSION_INLINE; comp++) {
        struct image im;
        uint64_t before;

        image_start(&im, (enum cw_compression)comp);
        before = image_hash(&im);
        for (size_t i = 0; i < CW_LEN(what); i++) {
            char json[64];

            dump_says(&im, what[i][0], CW_TOOL_OK, what[i][1]);
            snprintf(json, sizeof(json), "%s --json", what[i][0]);
            dump_says(&im, json, CW_TOOL_OK, "\"schema\": 1");
        }
        assert_int_equal(image_hash(&im), before);
        image_remove(&im);
    }
}

static void
what_is_not_there_is_said(void **state)
{
    static const char *const what[][2] = {
        { "superblock 4", "slots are 0 to 3, 4 is none\n" },
        { "checkpoint 77", "it has checkpoints" },
        { "segment 127", "it has segments 0 to 126\n" },
        { "batch 0:8", "is no place where a batch can begin: segments are 0 to 126" },
        { "batch 90:4096", "is no batch" },
        { "batch 90:4096", "see: causeway-store dump PATH segment 90\n" },
        { "record 0:4096:9", "records, from 0 on; 9 is none of them\n" },
        { "shard 6/0", "no copy of shard 6/0; see: causeway-store info PATH\n" },
        { "layer 77", "no layer 77; see: causeway-store dump PATH checkpoint\n" },
        { "table 1 77", "no table 77; see: causeway-store dump PATH layer 1\n" },
        { "page 5/0 0 3", "no snapshot 3; see: causeway-store dump PATH shard 5/0\n" },
        { "page 5/0 65536",
          "65536 is no number of a chunk in shard 5/0: it has 65536, 0 to 65535\n" },
        { "block 5/0 16777216", "it has 16777216, 0 to 16777215\n" },
        { "shard 5/0 --raw", "no bytes of its own" },
    };
    struct image im;

    image_start(&im, CW_COMPRESSION_OFF);
    for (size_t i = 0; i < CW_LEN(what); i++) {
        const char *at = strstr(what[i][1], "PATH");
        char says[400];

        snprintf(says, sizeof(says), "%.*s%s%s", at != NULL ? (int)(at - what[i][1]) : 0,
                 what[i][1], at != NULL ? im.path : what[i][1], at != NULL ? at + 4 : "");
        dump_says(&im, what[i][0], CW_TOOL_FOUND, says);
    }
    dump_says(&im, "what", CW_TOOL_USAGE, "does not know");
    dump_says(&im, "segment", CW_TOOL_USAGE, "segment N");
    dump_says(&im, "segment 0 --raw --json", CW_TOOL_USAGE, "one of the two");
    image_remove(&im);
}

/* Before the store is opened: it need not be there. */
static void
bad_words_are_bad_usage(void **state)
{
    static const char *const words[] = {
        "superblock x",
        "superblock -1",
        "checkpoint x",
        "checkpoint 0x",
        "segment x",
        "segment 1:2",
        "segment 0x0x1",
        "segment 0x+1",
        "batch 1:2:3:4",
        "batch x:1",
        "batch 1:x",
        "batch 1",
        "batch :1:2",
        "batch 1:",
        "batch 1::2",
        "batch :",
        "batch 1:2:",
        "record 1:2",
        "record x:x:x:x:x:x",
        "record 1:2:3:4:5:6:7",
        "record 1:2:0x",
        "shard 5",
        "shard x/0",
        "shard 5/65536",
        "shard 0x",
        "layer x",
        "layer 1/0",
        "table x 0",
        "table 1 x",
        "page 5/0 x",
        "page x 0",
        "page 5/0 0 x",
        "block 5/0 -1",
        "block 5/0 0 0x",
        "block 5 0",
        "scrub 1",
        "batch 99999999999999999999:0",
        "batch 1:99999999999999999999999999999999999999999999",
    };
    struct image im = { .path = "/nowhere/store" };

    for (size_t i = 0; i < CW_LEN(words); i++)
        dump_says(&im, words[i], CW_TOOL_USAGE, "see: causeway-store dump --help");
}

/* Of the head and of the snapshot, packed or not. */
static void
raw_blocks_are_what_was_written(void **state)
{
    static const struct {
        const char *words;
        uint64_t lba, seq;
    } blocks[] = {
        { "block 5/0 3 --raw", 3, 1 },     { "block 5/0 9 --raw", 9, 2 },
        { "block 5/0 9 9 --raw", 9, 1 },   { "block 5/0 39 --raw", 39, 1 },
        { "block 5/0 400 --raw", 400, 0 },
    };

    for (int comp = CW_COMPRESSION_OFF; comp <= CW_COMPRESSION_INLINE; comp++) {
        struct image im;

        image_start(&im, (enum cw_compression)comp);
        for (size_t i = 0; i < CW_LEN(blocks); i++) {
            uint8_t want[CW_BLOCK_SIZE];
            size_t len;
            char *out;

            storeworld_fill(want, SHARD_ID, blocks[i].lba, blocks[i].seq);
            assert_int_equal(dump(&out, &len, &im, blocks[i].words), CW_TOOL_OK);
            assert_int_equal(len, CW_BLOCK_SIZE);
            assert_memory_equal(out, want, CW_BLOCK_SIZE);
            free(out);
        }
        image_remove(&im);
    }
}

/* Where block 9 lies as it was written last. */
static uint64_t
block_at(const struct image *im)
{
    uint8_t want[CW_BLOCK_SIZE], got[CW_BLOCK_SIZE];
    uint64_t at = CW_SEG_BASE;

    storeworld_fill(want, SHARD_ID, 9, 2);
    while (pread(im->fd, got, sizeof(got), (off_t)at) == sizeof(got)) {
        if (memcmp(got, want, sizeof(got)) == 0)
            return at;
        at += 4096;
    }
    fail_msg("block 9 is nowhere");
    return 0;
}

/* The bytes are there for who wants them, and nobody takes them for good. */
static void
a_rotten_block_is_a_failure(void **state)
{
    uint8_t want[CW_BLOCK_SIZE];
    struct image im;
    size_t len;
    char *out;

    image_start(&im, CW_COMPRESSION_OFF);
    image_flip(&im, block_at(&im));
    storeworld_fill(want, SHARD_ID, 9, 2);
    want[0] ^= 0x10;
    assert_int_equal(dump(&out, &len, &im, "block 5/0 9 --raw"), CW_TOOL_FOUND);
    assert_true(len > CW_BLOCK_SIZE);
    assert_memory_equal(out, want, CW_BLOCK_SIZE);
    assert_non_null(strstr(out + CW_BLOCK_SIZE, "block 9 of shard 5/0: it does not match"));
    assert_non_null(strstr(out + CW_BLOCK_SIZE, "(RAW segment "));
    assert_non_null(strstr(out + CW_BLOCK_SIZE, im.path));
    assert_non_null(strstr(out + CW_BLOCK_SIZE, "take it from another copy"));
    free(out);
    dump_says(&im, "block 5/0 9", CW_TOOL_FOUND, "take it from another copy");
    dump_says(&im, "block 5/0 9 --json", CW_TOOL_FOUND, "\"wrong\": \"it does not match");
    dump_says(&im, "block 5/0 9 9", CW_TOOL_OK, "place ");
    dump_says(&im, "block 5/0 10", CW_TOOL_OK, "place ");
    image_remove(&im);
}

/* Both of its checkpoints have blocks 0 to 39. */
static void
image_start_twice(struct image *im)
{
    struct cw_store_shard *sh;
    struct storeworld w;

    storeworld_init(&w, 8, 512 * CW_MIB, CW_MIB);
    sh = storeworld_begin(&w, SHARD_ID);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        assert_int_equal(storeworld_write(&w, sh, 0, 40), 0);
        storeworld_wait_durable(&w, sh, seq);
        assert_int_equal(storeworld_close(&w), 0);
        if (seq == 3)
            break;
        assert_int_equal(storeworld_open(&w), 0);
        sh = storeworld_shard(&w, SHARD_ID);
    }
    image_make(im, &w);
    storeworld_fini(&w);
}

/* The table of the head, and the page of its first chunk. */
static void
head_find(const struct image_look *l, const struct cw_ckpt *k, uint64_t *ret_tab,
          uint64_t *ret_page)
{
    *ret_tab = *ret_page = 0;
    for (uint32_t i = 0; i < k->n_tabs; i++) {
        if (k->layers[k->tabs[i].layer].snap != 0)
            continue;
        *ret_tab = image_off(l, k->tabs[i].dir.loc);
        *ret_page = image_off(l, k->tabs[i].page->e[0].page_loc);
    }
}

/* The page that says where they lie, and the tables that say where the page lies. */
static void
blocks_of_a_rotten_page_or_table_are_a_failure(void **state)
{
    uint64_t page, older_page, tab, older_tab;
    struct cw_ckpt older;
    struct image_look l;
    struct image im;

    image_start_twice(&im);
    image_look(&im, &l);
    head_find(&l, &l.k, &tab, &page);
    assert_true(cw_ckpt_load(l.st, CW_STAND_DISK, 1, NULL, &older));
    head_find(&l, &older, &older_tab, &older_page);
    cw_ckpt_free(&older);
    image_look_end(&l);
    image_flip(&im, page + 4000);
    dump_says(&im, "block 5/0 9 --raw", CW_TOOL_FOUND, "block 9 of shard 5/0: its map page does");
    dump_says(&im, "page 5/0 0 --raw", CW_TOOL_FOUND, "chunk 0 of shard 5/0: its map page does");
    image_flip(&im, page + 4000);
    dump_says(&im, "block 5/0 9", CW_TOOL_OK, "place ");
    assert_true(tab != 0 && older_tab != 0 && tab != older_tab);
    image_flip(&im, tab + 4000);
    dump_says(&im, "block 5/0 9", CW_TOOL_OK, "place "); /* by the older checkpoint */
    image_flip(&im, older_tab + 4000);
    dump_says(&im, "block 5/0 9 --raw", CW_TOOL_FOUND, "5/0: its table is damaged (RAW segment");
    dump_says(&im, "page 5/0 0", CW_TOOL_FOUND, "5/0: its table is damaged (RAW segment");
    image_remove(&im);
}

static void
damage_is_shown_with_what_is_wrong(void **state)
{
    struct image im;

    image_start(&im, CW_COMPRESSION_OFF);
    image_flip(&im, 100);
    dump_says(&im, "superblock 0", CW_TOOL_OK, "wrong=its checksum does not match");
    image_flip(&im, CW_SEG_BASE + 4096 + 17);
    dump_says(&im, "batch 0:4096", CW_TOOL_OK, "its checksum does not match");
    image_flip(&im, CW_SEG_BASE + 24);
    dump_says(&im, "segment 0", CW_TOOL_OK, "wrong=");
    image_remove(&im);
}

/* Counts of what follows, in bytes whose checksum does not match: they are not followed beyond. */
static void
damaged_counts_are_not_followed(void **state)
{
    struct cw_batch_hdr h;
    uint32_t many = UINT32_MAX;
    struct image_look l;
    struct image im;
    uint64_t root;

    image_start(&im, CW_COMPRESSION_OFF);
    image_look(&im, &l);
    root = image_off(&l, l.k.at.loc);
    image_look_end(&l);
    assert_int_equal(
        pwrite(im.fd, &many, sizeof(many), (off_t)(root + offsetof(struct cw_root, n_parts))),
        sizeof(many));
    dump_says(&im, "checkpoint", CW_TOOL_OK, "it is damaged");
    assert_int_equal(pread(im.fd, &h, sizeof(h), CW_SEG_BASE + 4096), sizeof(h));
    h.nrec = UINT16_MAX;
    assert_int_equal(pwrite(im.fd, &h, sizeof(h), CW_SEG_BASE + 4096), sizeof(h));
    dump_says(&im, "batch 0:4096", CW_TOOL_OK, "wrong=its type is none");
    dump_says(&im, "record 0:4096:60000", CW_TOOL_OK, "wrong=a record before it is not right");
    image_remove(&im);
}

/* Wherever bits rot, the program ends by itself and says something. */
static void
no_bytes_make_it_fall(void **state)
{
    static const char *const words[] = { "checkpoint",       "segment 0", "segment 1",
                                         "segment 2",        "shard 5/0", "page 5/0 0",
                                         "block 5/0 9 --raw" };
    struct cw_prng rnd;
    struct image im;

    cw_prng_init(&rnd, 3);
    image_start(&im, CW_COMPRESSION_INLINE);
    for (uint32_t i = 0; i < 60; i++) {
        uint64_t at[4];
        int status;

        for (size_t k = 0; k < CW_LEN(at); k++) {
            at[k] = CW_SEG_BASE + cw_prng_below(&rnd, 3) * 4 * CW_MIB +
                    cw_prng_below(&rnd, cw_prng_below(&rnd, 2) == 0 ? 16384 : 400 * 1024);
            image_flip(&im, at[k]);
        }
        status = image_tool(NULL, "check", im.path, NULL, NULL);
        assert_in_range(status, CW_TOOL_OK, CW_TOOL_FOUND);
        for (size_t k = 0; k < CW_LEN(words); k++) {
            size_t len;
            char *out;

            assert_in_range(dump(&out, &len, &im, words[k]), CW_TOOL_OK, CW_TOOL_FOUND);
            assert_true(len > 0);
            free(out);
        }
        for (size_t k = 0; k < CW_LEN(at); k++)
            image_flip(&im, at[k]);
    }
    image_remove(&im);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_shown),
        cmocka_unit_test(what_is_not_there_is_said),
        cmocka_unit_test(bad_words_are_bad_usage),
        cmocka_unit_test(raw_blocks_are_what_was_written),
        cmocka_unit_test(a_rotten_block_is_a_failure),
        cmocka_unit_test(blocks_of_a_rotten_page_or_table_are_a_failure),
        cmocka_unit_test(damage_is_shown_with_what_is_wrong),
        cmocka_unit_test(damaged_counts_are_not_followed),
        cmocka_unit_test(no_bytes_make_it_fall),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
