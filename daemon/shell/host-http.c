/* shell/host-http.c - the HTTP of a host: where it listens, what it tells of this daemon. */
#include <stdlib.h>

#include "common/base/bits.h"
#include "daemon/shell/host-parts.h"
#include "daemon/shell/host.h"
#include "daemon/shell/memory.h"

/* ---- what it tells ---- */

static void
looks_answer(struct cw_host *h, const Causeway__Control__HostInfo *self)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&h->http_looks)) != NULL) {
        struct cw_http_look *l = cw_list_entry(node, struct cw_http_look, link);

        l->done(l, self);
    }
}

static void
on_looked(struct cw_data_look *l)
{
    struct cw_host *h = cw_container_of(l, struct cw_host, http_look);
    struct cw_host_disk_out *out = calloc(l->n_disks + 1, sizeof(*out));
    Causeway__Control__DiskState **list = calloc(l->n_disks + 1, sizeof(*list));
    Causeway__Control__HostInfo self = CAUSEWAY__CONTROL__HOST_INFO__INIT;
    Causeway__Control__HostMemory memory;

    cw_assert(out != NULL && list != NULL);
    for (uint32_t i = 0; i < l->n_disks; i++) {
        cw_host_disk_state(&l->disks[i], &h->host_key, &out[i]);
        list[i] = &out[i].disk;
    }
    cw_host_memory(l, cw_memory_resident(), &memory);
    self.name = h->o->host;
    self.state = cw_host_text("up");
    self.memory = &memory;
    self.n_disks = l->n_disks;
    self.disks = list;
    h->http_look_busy = false;
    looks_answer(h, &self);
    free(list);
    free(out);
}

/* Those that come while one is under way are answered with it. */
static void
http_look(void *user, struct cw_http_look *l)
{
    struct cw_host *h = user;

    cw_list_push_back(&h->http_looks, &l->link);
    if (h->state != CW_HOST_RUNNING) {
        looks_answer(h, NULL);
    } else if (!h->http_look_busy) {
        h->http_look_busy = true;
        cw_data_look(h->data, &h->http_look);
    }
}

/* ---- life ---- */

bool
cw_host_http_start(struct cw_host *h, char why[static CW_RPC_WHY_SIZE])
{
    struct cw_http_opts opts = {
        .listen = h->o->http,
        .managers = h->o->join != NULL ? h->o->join : h->advertise,
        .name = h->o->host,
        .out_max = cw_memory_divide(h->o->memory_bytes, h->o->n_stores).control_bytes,
        .look = http_look,
        .user = h,
    };

    cw_list_init(&h->http_looks);
    h->http_look.done = on_looked;
    if (h->o->http == NULL)
        return true;
    if (cw_http_new(h->service, &opts, &h->http, why) != 0)
        return false;
    cw_http_set_health(h->http, "its stores are being opened");
    cw_log(h->env, CW_LOG_NOTICE, "%s: HTTP on %s", h->o->host, cw_http_addr(h->http));
    return true;
}

void
cw_host_http_health(struct cw_host *h, const char *why_not)
{
    if (h->http != NULL)
        cw_http_set_health(h->http, why_not);
}

void
cw_host_http_stop(struct cw_host *h)
{
    cw_http_free(h->http);
    h->http = NULL;
}
