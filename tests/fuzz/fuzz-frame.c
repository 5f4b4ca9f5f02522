/* Bytes from a peer: header, array, payload. Whatever passes the checks stays inside its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/codec/frame.h"
#include "common/codec/shardrec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cw_shard_rec rec;
    struct cw_wire_hdr h;
    uint64_t *csums;
    uint32_t n;

    if (cw_shard_rec_decode(data, size, &rec)) {
        uint8_t again[CW_SHARD_REC_BYTES_MAX];

        cw_assert(rec.n_members <= CW_MEMBERS_MAX);
        cw_assert(cw_shard_rec_encode(&rec, again) == size);
    }
    if (size < sizeof(h))
        return 0;
    memcpy(&h, data, sizeof(h));
    if (cw_frame_check_hdr(&h) != 0)
        return 0;
    n = cw_hdr_n_csums(&h);
    cw_assert(n <= CW_FRAME_CSUMS_MAX && h.payload_len <= CW_FRAME_OPAQUE_MAX);
    data += sizeof(h);
    size -= sizeof(h);
    if (size < n * sizeof(uint64_t) + h.payload_len)
        return 0;
    csums = malloc(n * sizeof(uint64_t) + 1);
    cw_assert(csums != NULL);
    memcpy(csums, data, n * sizeof(uint64_t));
    if (cw_frame_check_csums(&h, csums) == 0)
        (void)cw_frame_check_opaque(&h, csums, data + n * sizeof(uint64_t));
    free(csums);
    return 0;
}
