/* codec/compress.h - zstd for what lies still: short runs of blocks, each one frame.
 *
 * A compressor holds zstd's work space, so that nothing is allocated on the way of a write. One
 * thread at a time. The format is RFC 8878; frames are made without checksum and dictionary, for
 * the plain blocks have checksums of their own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cw_compressor;

/* NULL if out of memory. */
struct cw_compressor *cw_compressor_new(void);
void cw_compressor_free(struct cw_compressor *c); /* NULL is fine */

/* Bytes of memory it holds. */
size_t cw_compressor_bytes(const struct cw_compressor *c);

/* Compresses len bytes into at most max; 0: does not fit. */
size_t cw_compress(struct cw_compressor *c, void *to, size_t max, const void *from, size_t len);

/* The frame at the start of from[0..max) (what follows it is ignored) becomes exactly len bytes.
 * False: it is no such frame; `to` is undefined then. Safe on any bytes. */
bool cw_decompress(struct cw_compressor *c, void *to, size_t len, const void *from, size_t max);
