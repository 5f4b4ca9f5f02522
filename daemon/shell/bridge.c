#include "daemon/shell/bridge.h"

#include <time.h>

#include "common/base/bits.h"

static void
bridge_on_data(struct cw_inbox_item *item)
{
    struct cw_hop *h = cw_container_of(item, struct cw_hop, item);

    h->fn(h);
}

static void
bridge_on_control(struct cw_work *work)
{
    struct cw_hop *h = cw_container_of(work, struct cw_hop, work);

    h->fn(h);
}

void
cw_hop_to_data(struct cw_bridge *b, struct cw_hop *h, void (*fn)(struct cw_hop *))
{
    const struct timespec nap = { .tv_nsec = (long)CW_NS_PER_MS };

    h->fn = fn;
    h->item.fn = bridge_on_data;
    while (!cw_reactor_post(b->data, &h->item))
        nanosleep(&nap, NULL);
}

void
cw_hop_to_control(struct cw_bridge *b, struct cw_hop *h, void (*fn)(struct cw_hop *))
{
    h->fn = fn;
    h->work = (struct cw_work){ .fn = bridge_on_control };
    cw_assert(cw_service_post(b->control, &h->work));
}
