/* One decoder of the store: FUZZ_KIND, an enum image_kind.
 *
 * libFuzzer's own mutations know nothing of fields. Most of the time one more edit is appended
 * here: a word, or a few, of some object, changed as fields go wrong: a lane of it a little off, at
 * an end of its range, one bit flipped, or what stands in another place.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/prng.h"
#include "tests/fuzz/drive.h"
#include "tests/lib/bigalloc.h"

#define EDITS_BYTES 1024u /* of small edits; then one makes room for the next */
#define WORDS_MAX 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

static struct image *
the_image(void)
{
    static struct image *im;

    if (im == NULL)
        im = image_new(FUZZ_KIND);
    return im;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    drive_input(the_image(), FUZZ_KIND, data, size);
    cw_assert(bigalloc_count() == 0);
    return 0;
}

/* ---- mutations ---- */

static uint64_t
lane_change(struct cw_prng *rnd, uint64_t word)
{
    static const uint8_t widths[] = { 8, 8, 16, 32, 32, 64 };
    uint32_t width = widths[cw_prng_below(rnd, CW_LEN(widths))];
    uint32_t shift = (uint32_t)cw_prng_below(rnd, 64 / width) * width;
    uint64_t mask = (width == 64 ? UINT64_MAX : CW_BIT(width) - 1), lane = word >> shift & mask;

    switch (cw_prng_below(rnd, 6)) {
    case 0:
        lane ^= CW_BIT(cw_prng_below(rnd, width));
        break;
    case 1:
        lane += 1 + cw_prng_below(rnd, 8);
        break;
    case 2:
        lane -= 1 + cw_prng_below(rnd, 8);
        break;
    case 3:
        lane = cw_prng_below(rnd, 2) * (mask >> cw_prng_below(rnd, 3));
        break;
    case 4:
        lane = CW_BIT(cw_prng_below(rnd, width));
        break;
    default:
        lane = cw_prng_next(rnd);
    }
    return (word & ~(mask << shift)) | (lane & mask) << shift;
}

/* A word of an object that held something, mostly. */
static uint32_t
word_pick(struct cw_prng *rnd, const struct image_object *o)
{
    uint32_t used = o->used / 8, all = o->len / 8;

    return (uint32_t)cw_prng_below(rnd, cw_prng_below(rnd, 16) == 0 ? all : used);
}

static size_t
edit_make(struct cw_prng *rnd, uint8_t to[4 + WORDS_MAX * 8])
{
    const struct image *im = the_image();
    uint32_t n_objects = im->n_objects[FUZZ_KIND], i = (uint32_t)cw_prng_below(rnd, n_objects);
    const struct image_object *o = &im->object[FUZZ_KIND][i], *from = o;
    uint32_t word = word_pick(rnd, o), at = word, n = 1;
    uint64_t w[WORDS_MAX];

    if (cw_prng_below(rnd, 4) == 0) { /* something that stands elsewhere */
        if (cw_prng_below(rnd, 2) == 0)
            from = &im->object[FUZZ_KIND][cw_prng_below(rnd, n_objects)];
        at = word_pick(rnd, from);
        n = 1 + (uint32_t)cw_prng_below(rnd, cw_prng_below(rnd, 2) == 0 ? 2 : WORDS_MAX);
    }
    n = (uint32_t)cw_min_u64(n, cw_min_u64(o->len / 8 - word, from->len / 8 - at));
    memcpy(w, im->base + from->off + (size_t)at * 8, (size_t)n * 8);
    if (at == word || cw_prng_below(rnd, 4) == 0)
        w[0] = lane_change(rnd, w[0]);
    to[0] = (uint8_t)i;
    to[1] = (uint8_t)(n - 1);
    to[2] = (uint8_t)word;
    to[3] = (uint8_t)(word >> 8);
    memcpy(to + 4, w, (size_t)n * 8);
    return 4 + (size_t)n * 8;
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    uint8_t edit[4 + WORDS_MAX * 8];
    struct cw_prng rnd;
    size_t len;

    cw_prng_init(&rnd, seed);
    if (cw_prng_below(&rnd, 8) == 0)
        return LLVMFuzzerMutate(data, size, max);
    len = edit_make(&rnd, edit);
    if (size == 0 || cw_prng_below(&rnd, 8) == 0)
        data[0] = (uint8_t)cw_prng_below(&rnd, 8);
    size = size == 0 ? 1 : size;
    if (size > EDITS_BYTES && size < 2 * EDITS_BYTES && size > 5) { /* the oldest goes */
        size_t first = 4 + (size_t)(data[2] + 1u) * 8;

        first = first < size - 1 ? first : size - 1;
        memmove(data + 1, data + 1 + first, size - 1 - first);
        size -= first;
    }
    if (size + len > max)
        return LLVMFuzzerMutate(data, size, max);
    memcpy(data + size, edit, len);
    return size + len;
}
