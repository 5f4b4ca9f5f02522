/* tests/fuzz/drive.h - a store opened on whatever an image holds, read as a whole, used, closed.
 *
 * Bytes from the disk may make any of this fail; they may not make it crash, hang, leak, leave I/O
 * under way behind a failure, or answer with more than was asked for.
 */
#pragma once

#include "tests/fuzz/image.h"

enum drive_flag {
    DRIVE_RAW = 1 << 0,    /* checksums are not repaired */
    DRIVE_WORK = 1 << 1,   /* append, clean, drop after the reads */
    DRIVE_REOPEN = 1 << 2, /* what was closed must open again */
    DRIVE_CHECK = 1 << 3,  /* after the work counts are right: of images that do not lie of them */
};

struct drive_result {
    int open_res;
    uint64_t replayed_records, damaged, shards, read_blocks, bad_blocks, tails;
    bool closed;
};

/* flags: all but DRIVE_RAW. ret may be NULL. */
void drive_run(struct image *im, uint32_t flags, struct drive_result *ret);

/* One input of a fuzzer: a byte of flags, then edits of objects of one kind: u8 object, u8 count of
 * 8-byte words, u16 first word, the words. What is cut short or lies outside is left out. */
void drive_input(struct image *im, enum image_kind kind, const uint8_t *data, size_t size);
