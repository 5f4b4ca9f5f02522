/* tool/report.h - what a check found: each thing once, with its place and what it means.
 *
 * A fault is damage of something that is referred to, or a wrong count. A note is damage that
 * nobody refers to, mostly the end of a write that a crash cut.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/tool/tool.h"

enum cw_report_kind {
    CW_REPORT_SUPERBLOCK,
    CW_REPORT_CHECKPOINT,
    CW_REPORT_START,
    CW_REPORT_LOG,
    CW_REPORT_MAP_PAGE,
    CW_REPORT_BLOCK,
    CW_REPORT_MARKED_BAD,
    CW_REPORT_OWNER,
    CW_REPORT_SEGMENT_COUNT,
    CW_REPORT_SHORT_RUN,
    CW_REPORT_LAYER_COUNT,
    CW_REPORT_CHUNK_COUNT,
    CW_REPORT_SEGMENT,
    CW_REPORT_TAIL,
    CW_REPORT_KINDS,
};

#define CW_REPORT_NOWHERE UINT32_MAX

struct cw_report_item {
    enum cw_report_kind kind;
    bool note;
    uint32_t seg, off; /* seg CW_REPORT_NOWHERE: in none; off: bytes, of the disk then */
    uint64_t shard;    /* 0: of no copy */
};

struct cw_report;
struct cw_report *cw_report_new(struct cw_tool *t);
void cw_report_free(struct cw_report *r);

/* Says it at once, unless the very same was said before. */
void cw_report_add(struct cw_report *r, struct cw_report_item item, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

uint64_t cw_report_faults(const struct cw_report *r);
uint64_t cw_report_notes(const struct cw_report *r);

/* With --json: two arrays that become the caller's. */
void cw_report_take(struct cw_report *r, json_t **ret_faults, json_t **ret_notes);
