/* tests/fuzz/image.h - a real store as bytes in memory, to be spoiled, put right again and opened.
 *
 *   image_new -> { image_edit, image_repair -> the store runs on image_disk -> image_reset } ..
 *
 * Repairing gives every checksum that covers changed bytes the value that these bytes have, from
 * the map pages up to the superblock, so that what decodes them is reached. A real image stays as
 * it is. The base is made once, by the store itself; a run costs what it changes.
 */
#pragma once

#include "common/base/disk.h"
#include "common/base/env.h"
#include "common/base/list.h"
#include "daemon/store/store-internal.h"

enum image_kind {
    IMAGE_SUPERBLOCK, /* the four slots */
    IMAGE_SEGMENT,    /* headers, summaries */
    IMAGE_BATCH,      /* headers with their records, where a walk finds them: one per type */
    IMAGE_MAPPAGE,
    IMAGE_CHECKPOINT, /* roots, their parts, TABPAGEs */
    IMAGE_KINDS,
};
extern const char *const image_kind_names[IMAGE_KINDS];

/* A place that one of the decoders reads. */
struct image_object {
    uint64_t off;
    uint32_t len;
    uint32_t used; /* what is behind it was zeroes in the base */
};

#define IMAGE_OBJECTS_MAX 128u

struct image {
    struct cw_disk disk;
    uint8_t *base, *now;
    uint64_t *dirty; /* bit per 4 KiB that may differ between the two */
    uint32_t *dirty_list, n_dirty;
    struct cw_env *env; /* of the present run */
    struct cw_timer timer;
    struct cw_list under_way;
    uint32_t n_under_way;
    uint32_t seg_bytes, n_segs;
    struct image_object object[IMAGE_KINDS][IMAGE_OBJECTS_MAX];
    uint32_t n_objects[IMAGE_KINDS];
};

/* Never NULL. What the base holds: image-base.c. Segments that were open get a summary, but for
 * those that a fuzzer of batches is to walk: walking reads all of a segment, and is slow. */
struct image *image_new(enum image_kind kind);
void image_free(struct image *im);

/* The disk of one run; every I/O takes a moment. The env of an earlier run is forgotten.
 */
struct cw_disk *image_disk(struct image *im, struct cw_env *env);

/* I/Os under way are forgotten, the bytes are those of the base again. */
void image_reset(struct image *im);

void image_edit(struct image *im, uint64_t off, const void *from, uint64_t len);
/* kind: of all that was edited; what cannot have changed is not looked at. */
void image_repair(struct image *im, enum image_kind kind);

/* ---- inside ---- */

/* Zeroes that take no memory until they are written. */
uint8_t *image_memory(uint64_t bytes);

/* Writes the image of a store of n_segs segments, as a crash leaves it, to im->now (image-base.c).
 */
void image_base_make(struct image *im);
/* Finds all objects (image-objects.c). */
void image_objects_find(struct image *im, enum image_kind kind);
/* Gives a segment the summary that it would have, had it been sealed. */
void image_seal(struct image *im, uint32_t seg);

/* The batches that the bytes of a segment show: those of its summary, if it has one that could be
 * valid, else those that a walk meets. Nothing is trusted. At most max; returns how many. */
struct image_batch {
    uint8_t *hdr; /* of im->now */
    uint64_t off; /* of hdr */
    uint32_t used, hdr_bytes;
    uint8_t cls;
    bool in_summary;
};
uint32_t image_batches(struct image *im, uint32_t seg, struct image_batch *to, uint32_t max);

/* Is there a type of record in it (plain, packed) that is not in *seen? Adds them. */
bool image_batch_is_new(const struct image_batch *b, uint64_t *seen);

uint8_t *image_segment(struct image *im, uint32_t seg);
struct cw_sb *image_slot(struct image *im, uint32_t slot);
/* The root that checkpoint c of a slot names; NULL if it names none. */
struct cw_root *image_root(struct image *im, uint32_t slot, uint32_t c);
uint8_t *image_part(struct image *im, const struct cw_root_part *p);
/* NULL: they do not lie in the image, or are not aligned. */
uint8_t *image_at(struct image *im, uint64_t loc, uint64_t len);
/* The summary's first byte and its footer, if it has a footer that could be read; else NULL. */
uint8_t *image_summary(struct image *im, uint32_t seg, struct cw_sum_footer *ret);
void image_touch(struct image *im, const uint8_t *at, uint64_t len);
