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
