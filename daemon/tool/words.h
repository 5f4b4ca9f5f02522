/* tool/words.h - names for what stands in a store. */
#pragma once

#include <stdint.h>

#include "common/base/uuid.h"
#include "daemon/store/format.h"

const char *cw_words_class(uint8_t cls);       /* "hot"; "?" */
const char *cw_words_seg_state(uint8_t state); /* "free"; "?" */
const char *cw_words_kind(enum cw_map_kind k); /* "RAW"; "?" */
const char *cw_words_part(uint32_t kind);      /* "segments"; "?" */

#define CW_WORDS_SHARD_SIZE 64
/* "volume 7 shard 0" */
const char *cw_words_shard(uint64_t shard, char to[static CW_WORDS_SHARD_SIZE]);

#define CW_WORDS_LOC_SIZE 96
/* "RAW segment 3 + 8192" */
const char *cw_words_loc(uint64_t loc, char to[static CW_WORDS_LOC_SIZE]);
