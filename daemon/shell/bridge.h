/* shell/bridge.h - between the control thread and the data thread.
 *
 * Nothing is shared but what hops: a hop is embedded in a message, belongs to the thread it was
 * sent to, and may be sent back. The data thread never waits for the control thread; the control
 * thread may wait a moment when the data thread's inbox is full.
 */
#pragma once

#include "common/reactor/reactor.h"
#include "common/service/service.h"

struct cw_bridge {
    struct cw_reactor *data;
    struct cw_service *control;
};

struct cw_hop {
    void (*fn)(struct cw_hop *); /* on the other thread */
    struct cw_inbox_item item;
    struct cw_work work;
};

/* From the control thread. */
void cw_hop_to_data(struct cw_bridge *b, struct cw_hop *h, void (*fn)(struct cw_hop *));

/* From the data thread. */
void cw_hop_to_control(struct cw_bridge *b, struct cw_hop *h, void (*fn)(struct cw_hop *));
