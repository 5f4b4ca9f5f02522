/* codec/frame.h - data-plane frames: bytes to fields and back. Pure; any thread.
 *
 * A receiver first has 64 header bytes: cw_frame_check_hdr tells from them alone how many bytes
 * follow (or that they are nonsense). With the checksum array at hand cw_frame_check_csums tells
 * whether they may be believed; with an opaque payload cw_frame_check_opaque.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/mem/msg.h"
#include "proto/wire.h"

/* A received frame, borrowed for the call that hands it over. */
struct cw_frame {
    const struct cw_wire_hdr *hdr;
    const uint64_t *csums; /* array of n_csums; 8-aligned */
    uint32_t n_csums;
    uint32_t data_len;   /* = hdr->payload_len */
    const uint8_t *data; /* payload; 8-aligned at least */
    struct cw_buf *buf;  /* not NULL: data lies in it at a 4 KiB boundary; whoever wants to keep
                          * the data takes a reference. NULL: copy what is to be kept. */
};

enum cw_frame_error {
    CW_FRAME_E_MAGIC = 1,
    CW_FRAME_E_VERSION,
    CW_FRAME_E_TYPE,   /* unknown type, or flags that the type does not have */
    CW_FRAME_E_LENGTH, /* over a limit, or payload_len does not fit nblk */
    CW_FRAME_E_CSUM,   /* header or opaque payload is not what was sent */
};

static inline uint64_t
cw_hdr_lba(const struct cw_wire_hdr *h)
{
    return h->lba_nblk & ((UINT64_C(1) << 44) - 1);
}

static inline uint32_t
cw_hdr_nblk(const struct cw_wire_hdr *h)
{
    return (uint32_t)(h->lba_nblk >> 44);
}

static inline uint64_t
cw_lba_nblk(uint64_t lba, uint32_t nblk)
{
    return lba | (uint64_t)nblk << 44;
}

/* Entries of the checksum array; only meaningful after cw_frame_check_hdr. */
uint32_t cw_hdr_n_csums(const struct cw_wire_hdr *h);

/* 0, or an enum cw_frame_error. After 0: csums and payload lengths are within the limits. */
int cw_frame_check_hdr(const struct cw_wire_hdr *h);

/* 0 or CW_FRAME_E_CSUM. csums: cw_hdr_n_csums entries. */
int cw_frame_check_csums(const struct cw_wire_hdr *h, const uint64_t *csums);

/* 0 or CW_FRAME_E_CSUM: the opaque payload against the last entry. CW_F_DATA frames and frames
 * without payload always pass. */
int cw_frame_check_opaque(const struct cw_wire_hdr *h, const uint64_t *csums, const void *payload);

/* "bad magic" .. for log lines. */
const char *cw_frame_error_text(int error);

/* "WRITE" .. , "?" if unknown. */
const char *cw_frame_type_name(uint8_t type);

/* Builds a frame: the caller filled type, flags, tag, shard, gen, cfg, seq, lba_nblk, stable of *h;
 * magic, version, payload_len and xxh3 are set here. NULL when the budget does not allow it. */

/* Header only. */
struct cw_msg *cw_frame_plain(struct cw_buf_pool *p, struct cw_wire_hdr h);

/* Opaque payload, copied. With CW_F_CSUMS in flags, csums holds nblk entries; else csums is NULL.
 * len <= CW_FRAME_OPAQUE_MAX. */
struct cw_msg *cw_frame_opaque(struct cw_buf_pool *p, struct cw_wire_hdr h, const uint64_t *csums,
                               const void *payload, uint32_t len);

/* CW_F_CSUMS | CW_F_DATA: nblk blocks at `data` inside take_body (whose reference is taken over on
 * success, and only then); the blocks are not hashed again. */
struct cw_msg *cw_frame_data(struct cw_buf_pool *p, struct cw_wire_hdr h, const uint64_t *csums,
                             struct cw_buf *take_body, const uint8_t *data);
