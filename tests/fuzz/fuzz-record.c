/* Records of a batch header, and nothing around them: u16 count, u16 payload in 4 KiB, the records.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/store/store-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
record_touch(const struct rec_view *v, const uint8_t *end, uint32_t payload_bytes)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < v->n_csums; i++)
        sum += v->csums[i];
    for (uint32_t i = 0; i < v->d.clen; i++)
        sum += v->body[i];
    cw_assert(v->next <= end && v->n_payload <= v->n_csums);
    cw_assert(v->n_payload == 0 ||
              v->d.payload_off * 512 + (uint64_t)v->payload_sectors * CW_SECTOR <= payload_bytes);
    __asm__ volatile("" : : "r"(sum));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cw_batch_hdr h = { 0 };
    const uint8_t *at, *end;
    uint8_t *hdr;
    uint32_t used, len = (uint32_t)cw_align_down(size < 4 ? 0 : size - 4, 8);

    if (size < 4)
        return 0;
    h.nrec = (uint16_t)(data[0] | data[1] << 8);
    h.payload_bytes = (data[2] | (uint32_t)data[3] << 8) % 257 * 4096;
    hdr = malloc(sizeof(h) + len); /* exactly as long, so that one byte too far is seen */
    cw_assert(hdr != NULL);
    memcpy(hdr, &h, sizeof(h));
    memcpy(hdr + sizeof(h), data + 4, len);
    if (record_check_all(&h, hdr, (uint32_t)sizeof(h) + len, &used)) {
        struct rec_view v;

        at = hdr + sizeof(h);
        end = at + len;
        for (uint32_t i = 0; i < h.nrec; i++, at = v.next) {
            cw_assert(record_parse(at, end, h.payload_bytes, &v));
            record_touch(&v, end, h.payload_bytes);
        }
        cw_assert(used == (uint32_t)(at - hdr));
    }
    free(hdr);
    return 0;
}
