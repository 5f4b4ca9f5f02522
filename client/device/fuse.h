/* device/fuse.h - the kernel's requests on a FUSE mount that is one file: a volume's bytes.
 *
 *     bytes of a request -> answer now | request of the owner, answered when it is done | nothing
 *
 * The root of the mount is the file, so nothing is looked up. No descriptors, no state: what a
 * request means depends on the request and on struct cw_fuse_disk alone, which is how a back end
 * can go on with what another one took (slots.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/owner/owner.h"

#define CW_FUSE_DATA_MAX (256u * 1024) /* of one READ or WRITE */
/* What the kernel may send in one piece: headers and data. */
#define CW_FUSE_REQUEST_MAX (CW_FUSE_DATA_MAX + 4096u)
#define CW_FUSE_ANSWER_MAX 128u

struct cw_fuse_disk {
    uint64_t size_bytes;
    uint32_t depth; /* requests that the kernel may have under way */
    bool read_only;
    bool failed; /* everything that touches data fails with EIO */
};

enum cw_fuse_kind {
    CW_FUSE_DROP,   /* the kernel awaits no answer */
    CW_FUSE_ANSWER, /* error, or answer[0..answer_len) */
    CW_FUSE_IO,     /* op, off, len, data; then as ANSWER, or the data of a READ */
};

struct cw_fuse_todo {
    enum cw_fuse_kind kind;
    uint64_t unique;
    int error; /* ANSWER: 0 or a negative errno */
    enum cw_io_op op;
    uint64_t off, len;
    const uint8_t *data; /* WRITE: len bytes inside the request */
    uint32_t answer_len; /* what follows the header on success, except of a READ */
    _Alignas(8) uint8_t answer[CW_FUSE_ANSWER_MAX];
};

/* bytes: 8-aligned, len of them arrived. A request that makes no sense is answered with an error;
 * one without a whole header is dropped. */
void cw_fuse_decode(const struct cw_fuse_disk *disk, const void *bytes, size_t len,
                    struct cw_fuse_todo *ret);
