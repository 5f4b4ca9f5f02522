#include "daemon/shell/data.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "daemon/shell/data-internal.h"

#define CREDIT_OPS 1024u
#define CREDIT_BYTES_MAX (32 * CW_MIB)
#define CREDIT_BYTES_MIN (2 * CW_MIB)
#define RELEASE_NS (5 * CW_NS_PER_S) /* then volumes are left to their leases */

/* ---- links from outside ---- */

/* What one connection may have under way here: a share of the memory, at least one whole frame. */
uint64_t
cw_data_link_bytes(const struct cw_data *d)
{
    uint64_t share = cw_buf_pool_limit(cw_reactor_pool(d->r)) / 8;

    return cw_min_u64(cw_max_u64(share, CREDIT_BYTES_MIN), CREDIT_BYTES_MAX);
}

/* Those that have not said HELLO count as well. */
static bool
data_has_room(const struct cw_data *d)
{
    struct cw_reactor_stats stats;

    cw_reactor_stats(d->r, &stats);
    return stats.links < d->memory.links_max;
}

static enum cw_hello_status
hello_check(struct cw_data *d, const struct cw_wire_hello *req, struct cw_slot **ret)
{
    struct cw_uuid cluster, disk;

    memcpy(cluster.b, req->cluster_id, sizeof(cluster.b));
    memcpy(disk.b, req->disk_uuid, sizeof(disk.b));
    if (req->kind != CW_HELLO_DATA || !d->ready || d->closing)
        return CW_HELLO_E_NO_DISK;
    if (!cw_uuid_is_nil(&cluster) && !cw_uuid_is_nil(&d->cluster_id) &&
        !cw_uuid_equal(&cluster, &d->cluster_id))
        return CW_HELLO_E_CLUSTER;
    *ret = cw_slot_find(d, &disk);
    if (*ret == NULL)
        return CW_HELLO_E_NO_DISK;
    return CW_HELLO_OK;
}

static enum cw_hello_status
data_on_hello(struct cw_link_server *server, const struct cw_wire_hello *req,
              struct cw_wire_hello *reply, struct cw_link *l)
{
    struct cw_data *d = cw_container_of(server, struct cw_data, server);
    struct cw_slot *s = NULL;
    enum cw_hello_status status = hello_check(d, req, &s);
    const struct cw_store_identity *id;

    if (status != CW_HELLO_OK)
        return status;
    id = cw_store_identity(cw_replica_store(s->replica));
    if (req->format_id != id->format_id)
        return CW_HELLO_E_FORMAT;
    reply->credit_ops = CREDIT_OPS;
    reply->credit_bytes = cw_data_link_bytes(d);
    reply->format_id = id->format_id;
    reply->incarnation = id->incarnation;
    memcpy(reply->cluster_id, d->cluster_id.b, sizeof(reply->cluster_id));
    memcpy(reply->sender_id, id->disk_uuid.b, sizeof(reply->sender_id));
    memcpy(reply->disk_uuid, id->disk_uuid.b, sizeof(reply->disk_uuid));
    cw_replica_on_link(s->replica, l);
    return CW_HELLO_OK;
}

/* The peer of one that is closed tries again, which a refusal might keep it from. */
static void
data_take(struct cw_data *d, int take_fd, const void *bytes, size_t len)
{
    if (d->ready && !d->closing && data_has_room(d)) {
        cw_link_adopt(d->r, &d->server, take_fd, bytes, len);
        return;
    }
    if (d->ready && !d->closing)
        cw_log(d->env, CW_LOG_WARNING,
               "a data connection was closed: there are %u, more do not fit "
               "in --memory",
               d->memory.links_max);
    close(take_fd);
}

static void
data_on_accept(void *user, int take_fd)
{
    struct cw_data *d = user;

    data_take(d, take_fd, NULL, 0);
}

static void
data_listen_unix(struct cw_data *d)
{
    const char *path = d->opts.options->unix_path;
    char addr[256], why[CW_WHY_SIZE];
    struct cw_listener_opts opts = {
        .addr = addr, .unix_mode = 0600, .on_accept = data_on_accept, .user = d
    };

    if (path == NULL || d->why[0] != '\0')
        return;
    snprintf(addr, sizeof(addr), "unix:%s", path);
    if (cw_listener_open(d->r, &opts, &d->listener, why) != 0)
        snprintf(d->why, sizeof(d->why), "%s", why);
}

struct adopt {
    struct cw_hop hop;
    struct cw_data *d;
    int fd;
    size_t len;
    uint8_t bytes[];
};

static void
data_on_adopt(struct cw_hop *h)
{
    struct adopt *a = cw_container_of(h, struct adopt, hop);

    data_take(a->d, a->fd, a->bytes, a->len);
    free(a);
}

void
cw_data_adopt(struct cw_data *d, int take_fd, const void *bytes, size_t len)
{
    struct adopt *a = malloc(sizeof(*a) + len);

    if (a == NULL) {
        close(take_fd);
        return;
    }
    *a = (struct adopt){ .d = d, .fd = take_fd, .len = len };
    memcpy(a->bytes, bytes, len);
    cw_hop_to_data(&d->bridge, &a->hop, data_on_adopt);
}

void
cw_data_dial(struct cw_data *d, struct cw_dial *dial)
{
    dial->connect.hello.credit_ops = CREDIT_OPS;
    dial->connect.hello.credit_bytes = cw_data_link_bytes(d);
    cw_list_push_back(&d->dials, &dial->link);
    cw_dial_start(dial);
}

/* ---- the cluster ---- */

struct join_cluster {
    struct cw_hop hop;
    struct cw_data *d;
    struct cw_uuid cluster_id;
};

static void
data_on_join_cluster(struct cw_hop *h)
{
    struct join_cluster *j = cw_container_of(h, struct join_cluster, hop);

    if (!j->d->closing) {
        j->d->cluster_id = j->cluster_id;
        cw_slots_claim(j->d);
    }
    free(j);
}

void
cw_data_join_cluster(struct cw_data *d, struct cw_uuid cluster_id)
{
    struct join_cluster *j = calloc(1, sizeof(*j));

    cw_assert(j != NULL);
    j->d = d;
    j->cluster_id = cluster_id;
    cw_hop_to_data(&d->bridge, &j->hop, data_on_join_cluster);
}

/* ---- looking and asking ---- */

static void
look_done(struct cw_hop *h)
{
    struct cw_data_look *l = cw_container_of(h, struct cw_data_look, hop);

    l->done(l);
    free(l->disks);
    free(l->copies);
    free(l->bads);
    l->disks = NULL;
    l->copies = NULL;
    l->bads = NULL;
    l->n_disks = 0;
    l->n_copies = l->n_bads = 0;
}

static void
data_on_look(struct cw_hop *h)
{
    struct cw_data_look *l = cw_container_of(h, struct cw_data_look, hop);

    cw_slots_look(l->d, l);
    cw_hop_to_control(&l->d->bridge, h, look_done);
}

void
cw_data_look(struct cw_data *d, struct cw_data_look *l)
{
    l->d = d;
    l->disks = NULL;
    l->copies = NULL;
    l->bads = NULL;
    l->n_disks = 0;
    l->n_copies = l->n_bads = 0;
    cw_hop_to_data(&d->bridge, &l->hop, data_on_look);
}

static void
ask_done(struct cw_hop *h)
{
    struct cw_data_ask *a = cw_container_of(h, struct cw_data_ask, hop);

    a->done(a);
}

void
cw_data_ask_done(struct cw_data_ask *a, int res)
{
    a->res = res;
    cw_hop_to_control(&a->d->bridge, &a->hop, ask_done);
}

static void
data_on_ask(struct cw_hop *h)
{
    struct cw_data_ask *a = cw_container_of(h, struct cw_data_ask, hop);
    struct cw_data *d = a->d;

    if (!d->ready || d->closing) {
        cw_data_ask_done(a, -ESHUTDOWN);
        return;
    }
    switch (a->kind) {
    case CW_DATA_OWNER_SEEN:
        cw_slots_owner_seen(d, a);
        break;
    case CW_DATA_DROP:
        cw_slots_drop(d, a);
        break;
    case CW_DATA_SCRUB:
        cw_slots_scrub(d, a);
        break;
    case CW_DATA_HINT:
    case CW_DATA_CARETAKE:
    case CW_DATA_LET_GO:
    case CW_DATA_VERIFY:
    case CW_DATA_RESIZED:
    case CW_DATA_EVICT:
        cw_cares_ask(d, a);
        break;
    }
}

void
cw_data_ask(struct cw_data *d, struct cw_data_ask *a)
{
    a->d = d;
    cw_list_init(&a->link);
    cw_hop_to_data(&d->bridge, &a->hop, data_on_ask);
}

/* ---- turns ---- */

static void
data_on_turn_end(struct cw_hook *h)
{
    struct cw_data *d = cw_container_of(h, struct cw_data, hook);

    cw_cares_turn_end(d);
    for (uint32_t i = 0; i < d->n_slots; i++) {
        if (d->slots[i].replica != NULL)
            cw_replica_turn_end(d->slots[i].replica);
    }
}

/* ---- the end ---- */

static void
data_on_closed(struct cw_hop *h)
{
    struct cw_data *d = cw_container_of(h, struct cw_data, hop);

    d->opts.ev->on_closed(d->opts.user, d->close_res);
}

void
cw_data_slots_closed(struct cw_data *d)
{
    cw_hop_to_control(&d->bridge, &d->hop, data_on_closed);
}

/* Polls: volumes end one by one, and the wait is bounded. */
static void
data_on_release_timer(struct cw_timer *t)
{
    struct cw_data *d = cw_container_of(t, struct cw_data, release_timer);

    if (!cw_cares_empty(d) && cw_now_ns(d->env) < d->release_until_ns) {
        cw_timer_set(d->env, t, cw_now_ns(d->env) + 20 * CW_NS_PER_MS);
        return;
    }
    cw_slots_close(d);
}

static void
data_on_close(struct cw_hop *h)
{
    struct cw_data *d = cw_container_of(h, struct cw_data, hop);

    d->closing = true;
    cw_listener_close(d->listener);
    d->listener = NULL;
    cw_cares_release_all(d);
    d->release_until_ns = cw_now_ns(d->env) + RELEASE_NS;
    data_on_release_timer(&d->release_timer);
}

void
cw_data_close(struct cw_data *d)
{
    cw_hop_to_data(&d->bridge, &d->hop, data_on_close);
}

static void
data_on_finish(struct cw_hop *h)
{
    struct cw_data *d = cw_container_of(h, struct cw_data, hop);

    cw_links_drop_all(d->r);
    while (!cw_list_empty(&d->dials)) {
        struct cw_dial *dial = cw_list_first(&d->dials, struct cw_dial, link);

        cw_list_remove(&dial->link);
        free(dial);
    }
    cw_cares_fini(d);
    cw_reactor_hook_remove(d->r, &d->hook);
    cw_slots_free(d);
    cw_reactor_stop(d->r);
}

bool
cw_data_hangs(const struct cw_data *d)
{
    return d->hangs;
}

void
cw_data_join(struct cw_data *d)
{
    cw_hop_to_data(&d->bridge, &d->hop, data_on_finish);
    pthread_join(d->thread, NULL);
    free(d);
}

/* ---- the beginning ---- */

static void
data_on_opened(struct cw_hop *h)
{
    struct cw_data *d = cw_container_of(h, struct cw_data, hop);

    d->opts.ev->on_ready(d->opts.user, d->why[0] != '\0' ? d->why : NULL);
}

void
cw_data_opened(struct cw_data *d)
{
    if (d->why[0] == '\0' && !cw_cares_init(d))
        snprintf(d->why, sizeof(d->why), "out of memory");
    data_listen_unix(d);
    d->ready = d->why[0] == '\0';
    cw_hop_to_control(&d->bridge, &d->hop, data_on_opened);
}

static void
data_on_start(struct cw_hop *h)
{
    struct cw_data *d = cw_container_of(h, struct cw_data, hop);

    d->hook = (struct cw_hook){ .fn = data_on_turn_end, .order = CW_HOOK_DECIDER };
    cw_reactor_hook_add(d->r, &d->hook);
    cw_slots_open(d);
}

static void *
data_main(void *arg)
{
    struct cw_data *d = arg;
    struct cw_reactor *r = d->r;
    int res = cw_reactor_run(r);

    if (res != 0) { /* nothing works without the ring; what is on disk is safe */
        cw_log(d->env, CW_LOG_ERROR, "data thread: io_uring failed: %s", strerror(-res));
        _exit(1);
    }
    cw_reactor_free(r);
    return NULL;
}

static int
data_init(struct cw_data *d, const struct cw_data_opts *opts)
{
    struct cw_memory memory =
        cw_memory_divide(opts->options->memory_bytes, opts->options->n_stores);
    struct cw_reactor_opts ro = {
        .log_level = opts->options->log_level,
        .log = opts->log,
        .log_user = opts->log_user,
        .memory_bytes = memory.pool_bytes,
        .sq_entries = 2048,
    };
    int err = cw_reactor_new(&ro, &d->r);

    if (err != 0)
        return err;
    d->opts = *opts;
    d->memory = memory;
    d->bridge = (struct cw_bridge){ .data = d->r, .control = opts->service };
    d->env = cw_reactor_env(d->r);
    d->server.on_hello = data_on_hello;
    d->release_timer.fn = data_on_release_timer;
    d->hang_timer.fn = cw_slots_on_hang_timer;
    cw_list_init(&d->dials);
    cw_list_init(&d->cares);
    return 0;
}

int
cw_data_start(const struct cw_data_opts *opts, struct cw_data **ret_d,
              char why[static CW_DATA_WHY_SIZE])
{
    struct cw_data *d = calloc(1, sizeof(*d));
    int err = d != NULL ? data_init(d, opts) : -ENOMEM;

    if (err == 0) {
        cw_hop_to_data(&d->bridge, &d->hop, data_on_start);
        err = -pthread_create(&d->thread, NULL, data_main, d);
        if (err != 0)
            cw_reactor_free(d->r);
    }
    if (err != 0) {
        snprintf(why, CW_DATA_WHY_SIZE, "io_uring: %s%s", strerror(-err),
                 err == -ENOSYS || err == -EPERM
                     ? "; the kernel or the container forbids it (kernel.io_uring_disabled?)"
                     : "");
        free(d);
        return err;
    }
    *ret_d = d;
    return 0;
}
