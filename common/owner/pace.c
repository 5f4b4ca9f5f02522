#include "common/owner/pace.h"

#include "common/base/bits.h"

#define RATE_LOW (4 * CW_MIB) /* repair never stops for the sake of requests */
#define RATE_HIGH (1 * CW_GIB)
#define SLACK_NS (1000 * 1000u) /* above twice the normal: what is fast may vary */

static void
rate_lower(struct cw_pace *p, uint64_t moved)
{
    uint64_t from = p->rate == 0 || moved < p->rate ? moved : p->rate;

    p->rate = cw_max_u64(from - from / 4, RATE_LOW);
}

static void
rate_raise(struct cw_pace *p, uint64_t by)
{
    if (p->rate == 0)
        return;
    p->rate += by;
    if (p->rate >= RATE_HIGH)
        p->rate = 0;
}

static void
normal_learn(struct cw_pace *p, uint64_t p99, bool copying)
{
    if (p->normal_ns == 0)
        p->normal_ns = p99;
    else if (!copying || p99 < p->normal_ns)
        p->normal_ns = (p->normal_ns * 7 + p99) / 8;
    else
        p->normal_ns += p->normal_ns / 256;
}

void
cw_pace_second(struct cw_pace *p, const struct cw_pace_second *s)
{
    bool slow = p->normal_ns != 0 && s->p99_ns > 2 * p->normal_ns + SLACK_NS;

    if (s->p99_ns != 0)
        normal_learn(p, s->p99_ns, s->resyncs > 0);
    if (s->resyncs == 0)
        p->rate = 0;
    else if (s->p99_ns == 0)
        rate_raise(p, p->rate);
    else if (slow)
        rate_lower(p, s->moved_bytes);
    else
        rate_raise(p, p->rate / 8 + CW_MIB);
}

uint64_t
cw_pace_rate(const struct cw_pace *p)
{
    if (p->limit == 0 || p->rate == 0)
        return p->limit | p->rate;
    return cw_min_u64(p->limit, p->rate);
}
