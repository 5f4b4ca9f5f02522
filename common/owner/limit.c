#include "common/owner/limit.h"

#include "common/base/bits.h"
#include "common/base/env.h"

#define BUCKET_NS CW_NS_PER_S

void
cw_limit_set(struct cw_limit *l, uint64_t iops, uint64_t bytes_per_s)
{
    if (l->iops == iops && l->bytes_per_s == bytes_per_s)
        return;
    *l = (struct cw_limit){ .iops = iops, .bytes_per_s = bytes_per_s };
}

/* When a bucket lets something through that was paid for until then. */
static uint64_t
free_at(uint64_t rate, uint64_t paid_ns)
{
    return rate == 0 || paid_ns < BUCKET_NS ? 0 : paid_ns - BUCKET_NS;
}

static void
charge(uint64_t rate, uint64_t *paid_ns, uint64_t now_ns, uint64_t units)
{
    cw_assert(units <= UINT64_MAX / CW_NS_PER_S); /* 17 GiB in one request */
    if (rate != 0)
        *paid_ns = cw_max_u64(*paid_ns, now_ns) + units * CW_NS_PER_S / rate;
}

bool
cw_limit_take(struct cw_limit *l, uint64_t now_ns, uint64_t len, uint64_t *ret_ns)
{
    uint64_t at =
        cw_max_u64(free_at(l->iops, l->iops_paid_ns), free_at(l->bytes_per_s, l->bytes_paid_ns));

    if (now_ns < at) {
        *ret_ns = at;
        return false;
    }
    charge(l->iops, &l->iops_paid_ns, now_ns, cw_max_u64(cw_div_up(len, CW_LIMIT_UNIT_BYTES), 1));
    charge(l->bytes_per_s, &l->bytes_paid_ns, now_ns, len);
    return true;
}
