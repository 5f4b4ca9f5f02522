#include "daemon/shell/dial.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"

#define DIAL_MS 3000

static int
dial_res(int res)
{
    switch (res) {
    case CW_HELLO_E_NO_DISK:
        return -ENXIO;
    case CW_HELLO_E_FORMAT:
        return -ESTALE;
    case CW_HELLO_E_BUSY:
        return -EBUSY;
    default:
        return res > 0 ? -EPROTO : res;
    }
}

static void
dial_done(struct cw_link_connect *c, int res, struct cw_link *l, const struct cw_wire_hello *reply)
{
    struct cw_dial *d = cw_container_of(c, struct cw_dial, connect);

    if (res < 0 && res != -ECANCELED && c->addr == d->unix_addr) {
        c->addr = d->addr; /* the same kernel need not be the same file system */
        cw_link_connect(d->r, c);
        return;
    }
    d->done(d, dial_res(res), l, reply);
    free(d);
}

struct cw_dial *
cw_dial_new(struct cw_reactor *r, const struct cw_dial_to *to)
{
    struct cw_dial *d = calloc(1, sizeof(*d));
    struct cw_wire_hello *h;

    cw_assert(d != NULL);
    d->r = r;
    d->disk_uuid = to->disk_uuid;
    d->format_id = to->format_id;
    snprintf(d->addr, sizeof(d->addr), "%s", to->addr);
    if (to->unix_path[0] != '\0')
        snprintf(d->unix_addr, sizeof(d->unix_addr), "unix:%s", to->unix_path);
    h = &d->connect.hello;
    h->kind = CW_HELLO_DATA;
    h->credit_ops = to->credit_ops;
    h->credit_bytes = to->credit_bytes;
    h->format_id = to->format_id;
    h->incarnation = to->incarnation;
    memcpy(h->cluster_id, to->cluster_id.b, sizeof(h->cluster_id));
    memcpy(h->sender_id, to->self_id.b, sizeof(h->sender_id));
    memcpy(h->disk_uuid, to->disk_uuid.b, sizeof(h->disk_uuid));
    d->connect.timeout_ms = DIAL_MS;
    d->connect.done = dial_done;
    cw_list_init(&d->link);
    return d;
}

void
cw_dial_start(struct cw_dial *d)
{
    d->connect.addr = d->unix_addr[0] != '\0' ? d->unix_addr : d->addr;
    cw_link_connect(d->r, &d->connect);
}
