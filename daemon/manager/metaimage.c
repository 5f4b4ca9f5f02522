#include "daemon/manager/metaimage.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/codec/hash.h"

#define MAGIC "CWMETA\n\1"
#define MAGIC_SIZE 8
#define HEAD_SIZE (MAGIC_SIZE + sizeof(uint32_t))
#define REC_HEAD_SIZE (sizeof(uint16_t) + sizeof(uint32_t))

CW_STATIC_ASSERT(HEAD_SIZE + sizeof(uint64_t) == CW_METAIMAGE_MIN);

/* ---- out ---- */

static uint8_t *
image_room(struct cw_metaimage *im, size_t len)
{
    uint8_t *at;

    if (im->cap - im->len < len) {
        im->cap = cw_max_u64(im->cap * 2, cw_align_up(im->len + len, 4096));
        im->bytes = realloc(im->bytes, im->cap);
        cw_assert(im->bytes != NULL);
    }
    at = im->bytes + im->len;
    im->len += len;
    return at;
}

static void
image_begin(struct cw_metaimage *im)
{
    if (im->len == 0)
        memcpy(image_room(im, HEAD_SIZE), MAGIC, MAGIC_SIZE);
}

void
cw_metaimage_add(struct cw_metaimage *im, const char *key, const void *value, size_t len)
{
    size_t key_bytes = strlen(key);
    uint16_t key_len = (uint16_t)key_bytes;
    uint32_t value_len = (uint32_t)len;
    uint8_t *to;

    image_begin(im);
    to = image_room(im, REC_HEAD_SIZE + key_bytes + len);
    memcpy(to, &key_len, sizeof(key_len));
    memcpy(to + sizeof(key_len), &value_len, sizeof(value_len));
    memcpy(to + REC_HEAD_SIZE, key, key_bytes);
    if (len > 0)
        memcpy(to + REC_HEAD_SIZE + key_bytes, value, len);
    im->n++;
}

void
cw_metaimage_end(struct cw_metaimage *im)
{
    uint32_t count = im->n;
    uint64_t hash;

    image_begin(im);
    memcpy(im->bytes + MAGIC_SIZE, &count, sizeof(count));
    hash = cw_hash(im->bytes, im->len);
    memcpy(image_room(im, sizeof(hash)), &hash, sizeof(hash));
}

void
cw_metaimage_fini(struct cw_metaimage *im)
{
    free(im->bytes);
    *im = (struct cw_metaimage){ 0 };
}

/* ---- in ---- */

bool
cw_metaimage_sound(const uint8_t *bytes, size_t len)
{
    uint64_t hash;

    if (len < CW_METAIMAGE_MIN || memcmp(bytes, MAGIC, MAGIC_SIZE) != 0)
        return false;
    memcpy(&hash, bytes + len - sizeof(hash), sizeof(hash));
    return cw_hash(bytes, len - sizeof(hash)) == hash;
}

void
cw_metaimage_walk(struct cw_metaimage_walk *w, const uint8_t *bytes, size_t len)
{
    uint32_t count;

    *w = (struct cw_metaimage_walk){ .bytes = bytes, .at = HEAD_SIZE };
    w->bad = len < CW_METAIMAGE_MIN;
    if (w->bad)
        return;
    w->len = len - sizeof(uint64_t);
    memcpy(&count, bytes + MAGIC_SIZE, sizeof(count));
    w->left = count;
}

static bool
walk_record(struct cw_metaimage_walk *w)
{
    uint16_t key_len;
    uint32_t value_len;

    if (w->len - w->at < REC_HEAD_SIZE)
        return false;
    memcpy(&key_len, w->bytes + w->at, sizeof(key_len));
    memcpy(&value_len, w->bytes + w->at + sizeof(key_len), sizeof(value_len));
    w->at += REC_HEAD_SIZE;
    if (key_len >= sizeof(w->key) || key_len > w->len - w->at ||
        value_len > w->len - w->at - key_len)
        return false;
    memcpy(w->key, w->bytes + w->at, key_len);
    w->key[key_len] = '\0';
    w->value = w->bytes + w->at + key_len;
    w->value_len = value_len;
    w->at += key_len + value_len;
    return strlen(w->key) == key_len;
}

bool
cw_metaimage_next(struct cw_metaimage_walk *w)
{
    if (w->bad || w->left == 0) {
        w->bad |= w->at != w->len;
        return false;
    }
    w->left--;
    w->bad = !walk_record(w);
    return !w->bad;
}
