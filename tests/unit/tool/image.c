#include "tests/unit/tool/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/disk.h"

void
image_make(struct image *im, const struct storeworld *w)
{
    const char *tmp = getenv("TMPDIR");
    uint8_t *page = cw_tool_alloc_aligned(4096);

    snprintf(im->dir, sizeof(im->dir), "%s/causeway-tool-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(im->dir));
    snprintf(im->path, sizeof(im->path), "%s/store", im->dir);
    im->fd = open(im->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(im->fd >= 0);
    assert_int_equal(ftruncate(im->fd, (off_t)w->bytes), 0);
    for (uint64_t at = 0; at < w->bytes; at += 4096) {
        cw_ramdisk_peek(w->disk, at, page, 4096);
        if (cw_hash_block(page) != CW_HASH_ZERO_BLOCK)
            assert_int_equal(pwrite(im->fd, page, 4096, (off_t)at), 4096);
    }
    free(page);
}

void
image_remove(struct image *im)
{
    close(im->fd);
    unlink(im->path);
    rmdir(im->dir);
}

uint64_t
image_hash(const struct image *im)
{
    uint8_t *mem = cw_tool_alloc(CW_MIB);
    uint64_t sum = 0;
    ssize_t n;

    for (off_t at = 0; (n = pread(im->fd, mem, CW_MIB, at)) > 0; at += n)
        sum = cw_hash2(&sum, sizeof(sum), mem, (size_t)n);
    free(mem);
    return sum;
}

void
image_flip(const struct image *im, uint64_t at)
{
    uint8_t byte;

    assert_int_equal(pread(im->fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(im->fd, &byte, 1, (off_t)at), 1);
}

int
image_tool(char **out, const char *a, const char *b, const char *c, const char *d)
{
    const char *args[] = { "causeway-store", a, b, c, d };
    char *argv[6] = { 0 }, *given[6], *text = NULL;
    int argc = 0, status;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    assert_non_null(f);
    for (size_t i = 0; i < CW_LEN(args) && args[i] != NULL; i++)
        argv[argc++] = given[i] = strdup(args[i]); /* argv is moved about */
    status = cw_tool_main(argc, argv, f, f);
    for (int i = 0; i < argc; i++)
        free(given[i]);
    fclose(f);
    if (out != NULL)
        *out = text;
    else
        free(text);
    return status;
}

void
image_look(const struct image *im, struct image_look *l)
{
    memset(l, 0, sizeof(*l));
    l->t.out = l->t.err = stderr;
    assert_int_equal(cw_stand_open(&l->t, im->path, true, &l->st), 0);
    l->sb = *l->st->slots.best;
    assert_true(cw_ckpt_load(l->st, CW_STAND_DISK, 0, NULL, &l->k));
    assert_true(l->k.whole);
}

void
image_look_end(struct image_look *l)
{
    cw_ckpt_free(&l->k);
    cw_stand_close(l->st);
    cw_tool_fini(&l->t);
}

uint64_t
image_off(const struct image_look *l, uint64_t loc)
{
    return cw_inspect_seg_off(&l->sb, cw_loc_seg(loc)) + cw_loc_off(loc);
}

static void
put(const struct image *im, uint64_t at, const void *from, size_t len)
{
    assert_int_equal(pwrite(im->fd, from, len, (off_t)at), (ssize_t)len);
}

void
image_put_part(const struct image *im, struct image_look *l, uint32_t part, const void *bytes)
{
    struct cw_root_part *p = &l->k.root->parts[part];

    put(im, image_off(l, p->loc), bytes, p->bytes);
    p->csum = cw_hash(bytes, p->bytes);
    put(im, image_off(l, l->k.at.loc), l->k.root, l->k.at.len);
    l->sb.ckpt[0].csum = cw_hash(l->k.root, l->k.at.len);
    l->sb.csum = cw_hash(&l->sb, offsetof(struct cw_sb, csum));
    put(im, cw_inspect_sb_off(l->sb.dev_bytes, (uint32_t)(l->sb.sb_seq % CW_SB_SLOTS)), &l->sb,
        sizeof(l->sb));
}
