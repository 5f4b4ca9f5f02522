/* tool/words.h - names for what stands in a store. */
#pragma once

#include <stdint.h>

#include "common/base/uuid.h"
#include "daemon/store/format.h"

const char *cw_words_class(uint8_t cls);       /* "hot"; "?" */
const char *cw_words_seg_state(uint8_t state); /* "free"; "?" */
const char *cw_words_kind(enum cw_map_kind k); /* "RAW"; "?" */
const char *cw_words_part(uint32_t kind);      /* "segments"; "?" */
const char *cw_words_chunk(uint8_t state);     /* "OWN"; "?" */
const char *cw_words_phase(uint8_t phase);     /* of a scrub: "pages"; "?" */

/* Which flags: enum cw_sb_flag, cw_rec_flag, cw_seg_flag, cw_shard_flag, cw_layer_flag,
 * cw_scrub_flag. */
enum cw_words_flags {
    CW_WORDS_SB,
    CW_WORDS_REC,
    CW_WORDS_SEG,
    CW_WORDS_COPY,
    CW_WORDS_LAYER,
    CW_WORDS_SCRUB,
};
#define CW_WORDS_FLAGS_SIZE 128
/* "CLEAN SETTLED"; "none"; bits without a name as "0x100" */
const char *cw_words_flags(enum cw_words_flags which, uint64_t flags,
                           char to[static CW_WORDS_FLAGS_SIZE]);

#define CW_WORDS_SHARD_SIZE 64
/* "volume 7 shard 0" */
const char *cw_words_shard(uint64_t shard, char to[static CW_WORDS_SHARD_SIZE]);

#define CW_WORDS_LOC_SIZE 96
/* "RAW segment 3 + 8192" */
const char *cw_words_loc(uint64_t loc, char to[static CW_WORDS_LOC_SIZE]);
