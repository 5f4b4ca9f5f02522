/* Inputs of the store's fuzzers without libFuzzer, for any compiler and for a debugger:
 *
 *   fuzz-replay KIND FILE..     superblock, segment, batch, mappage, checkpoint
 *   fuzz-replay --corpus DIR    all of them, as a test
 *
 * CW_TEST_VERBOSE=1 shows what the store logs.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/drive.h"

#define INPUT_BYTES_MAX 70000u

static void
replay_file(struct image *im, enum image_kind kind, const char *path)
{
    static uint8_t data[INPUT_BYTES_MAX];
    FILE *f = fopen(path, "rb");
    size_t n = f == NULL ? 0 : fread(data, 1, sizeof(data), f);

    if (f == NULL) {
        perror(path);
        exit(2);
    }
    fclose(f);
    drive_input(im, kind, data, n);
}

/* How many files there were. */
static uint32_t
replay_corpus(enum image_kind kind, const char *dir)
{
    struct image *im = image_new(kind);
    const struct dirent *e;
    char path[1024];
    uint32_t n = 0;
    DIR *d;

    snprintf(path, sizeof(path), "%s/%s", dir, image_kind_names[kind]);
    d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s/%s", dir, image_kind_names[kind], e->d_name);
        replay_file(im, kind, path);
        n++;
    }
    if (d != NULL)
        closedir(d);
    image_free(im);
    return n;
}

static int
replay_all(const char *dir)
{
    printf("1..%d\n", IMAGE_KINDS);
    for (int kind = 0; kind < IMAGE_KINDS; kind++) {
        uint32_t n = replay_corpus((enum image_kind)kind, dir);

        printf("%s %d - %u inputs of %s\n", n > 0 ? "ok" : "not ok", kind + 1, n,
               image_kind_names[kind]);
        fflush(stdout);
    }
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--corpus") == 0)
        return replay_all(argv[2]);
    for (int kind = 0; argc > 2 && kind < IMAGE_KINDS; kind++) {
        struct image *im;

        if (strcmp(argv[1], image_kind_names[kind]) != 0)
            continue;
        im = image_new((enum image_kind)kind);
        for (int i = 2; i < argc; i++)
            replay_file(im, (enum image_kind)kind, argv[i]);
        image_free(im);
        return 0;
    }
    fprintf(stderr, "fuzz-replay: KIND FILE.., or --corpus DIR\n");
    return 2;
}
