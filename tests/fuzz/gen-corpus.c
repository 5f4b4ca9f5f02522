/* Writes the seeds of the store's fuzzers: gen-corpus DIR (tests/fuzz/corpus). They are objects of
 * the base image, each as an edit that changes nothing, so that every field of it has a place in
 * the input; and the records of its batches. To be run again when the format changes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/drive.h"

#define SEED_BYTES_MAX 2048u
#define SEEDS_MAX 16u /* of a kind, spread over its objects */

static void
seed_write(const char *dir, const char *kind, uint32_t n, const uint8_t *data, size_t len)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, kind);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        perror(path);
        exit(1);
    }
    snprintf(path, sizeof(path), "%s/%s/seed-%02u", dir, kind, n);
    f = fopen(path, "wb");
    if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

/* ---- objects ---- */

static size_t
seed_of_object(const struct image *im, enum image_kind kind, uint32_t i, uint32_t n, uint8_t *to)
{
    const struct image_object *o = &im->object[kind][i];
    uint32_t words = (o->used < SEED_BYTES_MAX ? o->used : SEED_BYTES_MAX) / 8;
    size_t len = 1;

    /* every other one also works with the store that it opened */
    to[0] = n % 2 == 0 ? 0 : DRIVE_WORK | DRIVE_REOPEN;
    for (uint32_t at = 0; at < words;) {
        uint32_t k = words - at < 256 ? words - at : 256;

        to[len] = (uint8_t)i;
        to[len + 1] = (uint8_t)(k - 1);
        to[len + 2] = (uint8_t)at;
        to[len + 3] = (uint8_t)(at >> 8);
        memcpy(to + len + 4, im->now + o->off + (size_t)at * 8, (size_t)k * 8);
        len += 4 + (size_t)k * 8;
        at += k;
    }
    return len;
}

static void
seeds_of_kind(const char *dir, enum image_kind kind)
{
    struct image *im = image_new(kind);
    uint32_t n = im->n_objects[kind], seeds = n < SEEDS_MAX ? n : SEEDS_MAX;
    uint8_t seed[SEED_BYTES_MAX + 64];

    for (uint32_t i = 0; i < seeds; i++)
        seed_write(dir, image_kind_names[kind], i, seed,
                   seed_of_object(im, kind, i * n / seeds, i, seed));
    image_free(im);
}

/* ---- records ---- */

static void
seeds_of_records(const char *dir)
{
    static struct image_batch b[1024];
    struct image *im = image_new(IMAGE_BATCH);
    uint8_t seed[SEED_BYTES_MAX + 64];
    uint64_t seen = 0;
    uint32_t n = 0;

    for (uint32_t seg = 0; seg < im->n_segs; seg++) {
        uint32_t n_batches = image_batches(im, seg, b, CW_LEN(b));

        for (uint32_t i = 0; i < n_batches; i++) {
            const struct cw_batch_hdr *h = (const void *)b[i].hdr;
            size_t len = b[i].used - sizeof(*h);

            if (len > SEED_BYTES_MAX || !image_batch_is_new(&b[i], &seen))
                continue;
            seed[0] = (uint8_t)h->nrec;
            seed[1] = (uint8_t)(h->nrec >> 8);
            seed[2] = (uint8_t)(h->payload_bytes / 4096);
            seed[3] = (uint8_t)(h->payload_bytes / 4096 >> 8);
            memcpy(seed + 4, b[i].hdr + sizeof(*h), len);
            seed_write(dir, "record", n++, seed, 4 + len);
        }
    }
    image_free(im);
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "gen-corpus: which directory? (tests/fuzz/corpus)\n");
        return 2;
    }
    for (int kind = 0; kind < IMAGE_KINDS; kind++)
        seeds_of_kind(argv[1], (enum image_kind)kind);
    seeds_of_records(argv[1]);
    return 0;
}
