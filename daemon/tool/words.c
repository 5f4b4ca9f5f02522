#include "daemon/tool/words.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/bits.h"
#include "common/codec/shardrec.h"

static const char *
word(const char *const *words, size_t n, uint64_t i)
{
    return i < n && words[i] != NULL ? words[i] : "?";
}

const char *
cw_words_class(uint8_t cls)
{
    static const char *const words[] = { "none", "hot", "cold", "meta", "warm" };

    return word(words, CW_LEN(words), cls);
}

const char *
cw_words_seg_state(uint8_t state)
{
    static const char *const words[] = { "free", "open", "sealed", "soon-free" };

    return word(words, CW_LEN(words), state);
}

const char *
cw_words_kind(enum cw_map_kind k)
{
    static const char *const words[] = { "NONE", "RAW", "COMP", "ZERO", "BAD" };

    return word(words, CW_LEN(words), k);
}

const char *
cw_words_part(uint32_t kind)
{
    static const char *const words[] = { NULL, "segments", "tables", "shards", "layers", "scrub" };

    return word(words, CW_LEN(words), kind);
}

const char *
cw_words_chunk(uint8_t state)
{
    static const char *const words[] = { "none", "OWN" };

    return word(words, CW_LEN(words), state);
}

const char *
cw_words_phase(uint8_t phase)
{
    static const char *const words[] = {
        [CW_SCRUB_SB] = "superblocks", [CW_SCRUB_CKPT] = "checkpoints", [CW_SCRUB_PAGES] = "pages",
        [CW_SCRUB_BLOCKS] = "blocks",  [CW_SCRUB_REST] = "resting",
    };

    return word(words, CW_LEN(words), phase);
}

/* By bit. */
#define FLAG_NAMES 8u
static const char *const flag_names[][FLAG_NAMES] = {
    [CW_WORDS_SB] = { "CLEAN", "DAMAGED", "SETTLED" },
    [CW_WORDS_REC] = { "KEEP", "DROP", "MODES", "ALL_DATA", "CREATE", "GONE", "RESUME", "DAMAGED" },
    [CW_WORDS_SEG] = { "WRITTEN", "REPLAY", "PACKED" },
    [CW_WORDS_COPY] = { "SYNCING", "DAMAGED", "GONE" },
    [CW_WORDS_LAYER] = { "HEAD", "GONE" },
    [CW_WORDS_SCRUB] = { "HURRY" },
};

const char *
cw_words_flags(enum cw_words_flags which, uint64_t flags, char to[static CW_WORDS_FLAGS_SIZE])
{
    size_t n = 0;

    snprintf(to, CW_WORDS_FLAGS_SIZE, "none");
    for (uint32_t i = 0; i < FLAG_NAMES; i++) {
        const char *name = flag_names[which][i];

        if (!(flags & CW_BIT(i)) || name == NULL)
            continue;
        n += (size_t)snprintf(to + n, CW_WORDS_FLAGS_SIZE - n, "%s%s", n > 0 ? " " : "", name);
        flags &= ~CW_BIT(i);
    }
    if (flags != 0)
        snprintf(to + n, CW_WORDS_FLAGS_SIZE - n, "%s0x%" PRIx64, n > 0 ? " " : "", flags);
    return to;
}

const char *
cw_words_shard(uint64_t shard, char to[static CW_WORDS_SHARD_SIZE])
{
    snprintf(to, CW_WORDS_SHARD_SIZE, "volume %" PRIu64 " shard %u", CW_SHARD_VOLUME(shard),
             CW_SHARD_INDEX(shard));
    return to;
}

const char *
cw_words_loc(uint64_t loc, char to[static CW_WORDS_LOC_SIZE])
{
    enum cw_map_kind k = cw_loc_kind(loc);
    int n = snprintf(to, CW_WORDS_LOC_SIZE, "%s", cw_words_kind(k));

    if (k == CW_MAP_RAW || k == CW_MAP_COMP)
        n += snprintf(to + n, CW_WORDS_LOC_SIZE - (size_t)n, " segment %u + %u", cw_loc_seg(loc),
                      cw_loc_off(loc));
    if (k == CW_MAP_COMP)
        n += snprintf(to + n, CW_WORDS_LOC_SIZE - (size_t)n, " %u of %u in %u bytes",
                      cw_loc_idx(loc), cw_loc_n(loc), cw_loc_len512(loc) * CW_SECTOR);
    if (loc & CW_LOC_SHARED)
        snprintf(to + n, CW_WORDS_LOC_SIZE - (size_t)n, " shared");
    return to;
}
