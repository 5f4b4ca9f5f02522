/* replica/source.c - our link to a resync source, shared by all shards that pull from that disk.
 *
 *   set --> connect --up--> requests and answers --down--> every request is void, connect again
 *                   \--failed--> wait, connect again
 *
 * It lives as long as some resync names it.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "daemon/replica/internal.h"

#define REDIAL_MIN_NS (100 * CW_NS_PER_MS)
#define REDIAL_MAX_NS (2 * CW_NS_PER_S)

static bool
source_is(const struct cw_source *src, const struct cw_wire_sync_from *at)
{
    return memcmp(src->at.disk_uuid, at->disk_uuid, sizeof(at->disk_uuid)) == 0 &&
           src->at.format_id == at->format_id && strcmp(src->at.addr, at->addr) == 0 &&
           strcmp(src->at.unix_path, at->unix_path) == 0;
}

static struct cw_source *
source_find(struct cw_replica *r, const struct cw_wire_sync_from *at)
{
    struct cw_source *src;

    CW_LIST_EACH (it, &r->sources) {
        src = cw_list_entry(it, struct cw_source, in_replica);
        if (source_is(src, at))
            return src;
    }
    src = calloc(1, sizeof(*src));
    if (src == NULL)
        return NULL;
    src->r = r;
    src->at = *at;
    cw_list_init(&src->syncs);
    cw_list_push_back(&r->sources, &src->in_replica);
    return src;
}

static void
source_free(struct cw_source *src)
{
    if (src->link != NULL)
        cw_link_refuse(src->link);
    cw_list_remove(&src->in_replica);
    free(src); /* a dial under way finds nobody and is refused */
}

void
cw_source_leave(struct cw_sync *s)
{
    struct cw_source *src = s->source;

    if (src == NULL)
        return;
    s->source = NULL;
    cw_list_remove(&s->in_source);
    if (cw_list_empty(&src->syncs))
        source_free(src);
}

void
cw_source_set(struct cw_sync *s, const struct cw_wire_sync_from *at)
{
    struct cw_source *src = source_find(s->r, at);

    if (src == NULL || src == s->source)
        return; /* without memory the old one stays, and is named again */
    if (s->source != NULL) {
        s->r->stats.source_changes++;
        cw_sync_on_source_down(s);
        cw_source_leave(s);
    }
    s->source = src;
    cw_list_push_back(&src->syncs, &s->in_source);
    cw_source_pump(src);
}

void
cw_source_pump(struct cw_source *src)
{
    struct cw_replica *r = src->r;

    if (src->link != NULL || src->dial != 0 || cw_now_ns(r->env) < src->redial_ns || r->closing)
        return;
    src->dial = ++r->next_dial;
    r->opts.world_ops->connect(r->opts.world, src->dial, &src->at);
}

bool
cw_source_send(struct cw_source *src, struct cw_msg *take_msg)
{
    if (src == NULL || src->link == NULL || take_msg == NULL) {
        cw_msg_unref(take_msg);
        return false;
    }
    cw_link_send(src->link, take_msg);
    return true;
}

static void
source_failed(struct cw_source *src)
{
    uint64_t wait = REDIAL_MIN_NS << cw_min_u64(src->n_failed, 8);

    src->n_failed++;
    src->redial_ns = cw_now_ns(src->r->env) + cw_min_u64(wait, REDIAL_MAX_NS);
}

static void
source_tell_syncs(struct cw_source *src, void (*tell)(struct cw_sync *))
{
    CW_LIST_EACH_SAFE (it, &src->syncs)
        tell(cw_list_entry(it, struct cw_sync, in_source));
}

static void
source_on_frame(struct cw_link *l, const struct cw_frame *f)
{
    cw_sync_on_answer(l->user, f);
}

static void
source_on_down(struct cw_link *l, int reason)
{
    struct cw_source *src = l->user;

    src->link = NULL;
    source_failed(src);
    source_tell_syncs(src, cw_sync_on_source_down);
}

static const struct cw_link_events source_events = {
    .on_frame = source_on_frame,
    .on_down = source_on_down,
};

static struct cw_source *
source_of_dial(struct cw_replica *r, uint64_t dial)
{
    CW_LIST_EACH (it, &r->sources) {
        struct cw_source *src = cw_list_entry(it, struct cw_source, in_replica);

        if (src->dial == dial && dial != 0)
            return src;
    }
    return NULL;
}

void
cw_replica_on_link_up(struct cw_replica *r, uint64_t dial, struct cw_link *link)
{
    struct cw_source *src = source_of_dial(r, dial);

    if (src == NULL || r->closing) {
        cw_link_refuse(link);
        return;
    }
    src->dial = 0;
    src->n_failed = 0;
    src->link = link;
    link->ev = &source_events;
    link->user = src;
    source_tell_syncs(src, cw_sync_pump);
}

void
cw_replica_on_connect_failed(struct cw_replica *r, uint64_t dial, int reason)
{
    struct cw_source *src = source_of_dial(r, dial);

    if (src == NULL)
        return;
    src->dial = 0;
    source_failed(src);
    source_tell_syncs(src, cw_sync_on_source_down);
}

void
cw_source_forget_links(struct cw_replica *r)
{
    CW_LIST_EACH (it, &r->sources)
        cw_list_entry(it, struct cw_source, in_replica)->link = NULL;
}
