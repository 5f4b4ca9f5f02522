/* manager/metaimage.h - the metadata of one cluster as bytes that check themselves: a file of
 * `metadata export`, a backup that a daemon keeps.
 *
 *   "CWMETA\n\1"   u32 records   { u16 key bytes, u32 value bytes, key, value } ..   u64 XXH3-64
 *
 * Little endian; the checksum is over all before it. Records lie in the order of their keys, each
 * key once, and exactly one is /cluster. Versions are the store's that held them, and are not kept.
 * Pure but for malloc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/bits.h"
#include "daemon/manager/kv.h"

#define CW_METAIMAGE_MIN 20u                /* bytes of one without records */
#define CW_METAIMAGE_MAX (4 * CW_GIB)       /* of a file */
#define CW_METAIMAGE_KEPT_MAX (64 * CW_MIB) /* of one that a manager sends */
#define CW_METAIMAGE_PART (256u * 1024u)    /* bytes of it in one message */

/* One that grows; zero-initialise. */
struct cw_metaimage {
    uint8_t *bytes;
    size_t len, cap;
    uint32_t n; /* records */
};

/* In the order of the keys; then end, once. */
void cw_metaimage_add(struct cw_metaimage *im, const char *key, const void *value, size_t len);
void cw_metaimage_end(struct cw_metaimage *im);
void cw_metaimage_fini(struct cw_metaimage *im);

/* Whole, and as it was written. */
bool cw_metaimage_sound(const uint8_t *bytes, size_t len);

/* Of a sound one, or not: a walk never leaves the bytes. */
struct cw_metaimage_walk {
    const uint8_t *bytes;
    size_t len, at;
    uint32_t left;
    bool bad; /* it ended because the rest makes no sense */
    char key[CW_KV_KEY_SIZE];
    const uint8_t *value; /* into bytes */
    size_t value_len;
};

void cw_metaimage_walk(struct cw_metaimage_walk *w, const uint8_t *bytes, size_t len);
/* False: there is no further record, or it is bad. */
bool cw_metaimage_next(struct cw_metaimage_walk *w);
