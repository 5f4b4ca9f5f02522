/* manager/backup.c - copies of the records on two hosts, where the store itself is one of a kind.
 *
 *   records change --> an image of them, at most every few seconds --parts--> two hosts
 *
 * The hosts are as far apart as there are any: other site before other rack before other host. One
 * that does not serve, or fails to keep it, gives its place to another. A backup is behind what is
 * in force, by seconds: whoever restores one finds out what it lacks from the copies
 * (METADATA_BEHIND) and from hosts that keep a newer one (METADATA_WENT_BACK), which nothing here
 * overwrites.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define PART_MS 10000u
#define PAUSE_NS (2 * CW_NS_PER_S) /* between two, and as long again for each MiB */
#define FAILED_NS (15 * CW_NS_PER_S)
#define LACKS_NS (180 * CW_NS_PER_S)
#define CHOSEN_NS \
    (30 * CW_NS_PER_S) /* a host that was chosen has it by then, if nothing is wrong */
#define READERS_MAX 8u
#define IDS_SKIPPED 1000u /* volumes that may have been created since a backup was made */

/* ---- the image ---- */

/* The kind whose next record is the first by key; MGR_N_KINDS: none is left. */
static int
image_next(const struct cw_manager *m, const size_t at[MGR_N_KINDS])
{
    int first = MGR_N_KINDS;

    for (int k = 0; k < MGR_N_KINDS; k++) {
        if (at[k] < m->t.of[k].n &&
            (first == MGR_N_KINDS ||
             strcmp(m->t.of[k].at[at[k]]->key, m->t.of[first].at[at[first]]->key) < 0))
            first = k;
    }
    return first;
}

static void
image_make(const struct cw_manager *m, struct cw_metaimage *ret, struct cw_mgr_kept *ret_of)
{
    size_t at[MGR_N_KINDS] = { 0 };
    int k;

    *ret = (struct cw_metaimage){ 0 };
    while ((k = image_next(m, at)) < MGR_N_KINDS) {
        const struct mgr_obj *o = m->t.of[k].at[at[k]++];
        struct cw_rec rec = o->rec;
        uint8_t bytes[CW_REC_BYTES_MAX];

        if (rec.kind == CW_REC_CLUSTER)
            rec.cluster.saved_s = cw_mgr_wall_s(m);
        cw_metaimage_add(ret, o->key, bytes, m->opts.codec->encode(&rec, bytes));
    }
    cw_metaimage_end(ret);
    *ret_of = (struct cw_mgr_kept){ .epoch = cw_mgr_cluster(m)->epoch,
                                    .next_event = cw_mgr_cluster(m)->next_event,
                                    .restored_s = cw_mgr_cluster(m)->restored_s,
                                    .saved_s = cw_mgr_wall_s(m) };
}

bool
cw_mgr_kept_is_newer(const struct cw_mgr_kept *kept, uint64_t epoch, uint64_t restored_s,
                     uint64_t restored_epoch)
{
    return kept->epoch > epoch || (kept->restored_s != restored_s && kept->epoch > restored_epoch);
}

bool
cw_mgr_backup_ahead(const struct cw_manager *m, const struct mgr_host *h)
{
    const struct cw_cluster_rec *c = cw_mgr_cluster(m);

    return m->opts.backup &&
           cw_mgr_kept_is_newer(&h->kept, c->epoch, c->restored_s, c->restored_epoch);
}

/* ---- where ---- */

static bool
host_may_keep(const struct cw_manager *m, const struct mgr_host *h)
{
    return cw_mgr_host_serves(m, h) && !cw_mgr_host_closed(h) && !cw_mgr_backup_ahead(m, h) &&
           cw_now_ns(m->env) >= h->keep_after_ns;
}

/* 0: the same. */
static int
hosts_apart(const struct mgr_host *a, const struct mgr_host *b)
{
    const struct cw_host_rec *x = &a->o.rec.host, *y = &b->o.rec.host;

    if (strcmp(x->name, y->name) == 0)
        return 0;
    if (strcmp(x->site, y->site) != 0)
        return strcmp(x->region, y->region) != 0 ? 4 : 3;
    return strcmp(x->rack, y->rack) != 0 ? 2 : 1;
}

/* Of those that may keep one, the farthest from other, which may be NULL; NULL: there is none. */
static struct mgr_host *
host_farthest(const struct cw_manager *m, const struct mgr_host *other)
{
    struct mgr_host *best = NULL;
    int best_apart = 0;

    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        int apart = other != NULL ? hosts_apart(h, other) : 1;

        if (apart > best_apart && host_may_keep(m, h)) {
            best = h;
            best_apart = apart;
        }
    }
    return best;
}

static void
place_give(struct mgr_keeper *p, const struct mgr_host *h)
{
    if (h != NULL && strcmp(p->host, h->o.rec.host.name) == 0)
        return;
    *p = (struct mgr_keeper){ 0 };
    if (h != NULL)
        snprintf(p->host, sizeof(p->host), "%s", h->o.rec.host.name);
}

/* While nothing is sent. A host stays where it is unless another is farther from the first. */
static void
places_choose(struct cw_manager *m)
{
    struct mgr_keeper *p = m->backup.place;
    struct mgr_host *h[MGR_PLACES], *far;

    for (unsigned i = 0; i < MGR_PLACES; i++) {
        h[i] = cw_mgr_find_host(&m->t, p[i].host);
        if (h[i] != NULL && !host_may_keep(m, h[i]))
            h[i] = NULL;
    }
    if (h[0] == NULL)
        h[0] = host_farthest(m, h[1]);
    far = h[0] != NULL ? host_farthest(m, h[0]) : NULL;
    if (h[1] == NULL || (far != NULL && hosts_apart(far, h[0]) > hosts_apart(h[1], h[0])))
        h[1] = far;
    /* A place that nobody takes remembers who had it. */
    for (unsigned i = 0; i < MGR_PLACES; i++) {
        if (h[i] != NULL || cw_mgr_find_host(&m->t, p[i].host) == NULL)
            place_give(&p[i], h[i]);
    }
}

/* ---- sending ---- */

static void place_send(struct cw_manager *m, unsigned i);

static bool
backup_sends(const struct mgr_backup *b)
{
    for (unsigned i = 0; i < MGR_PLACES; i++) {
        if (b->place[i].sending)
            return true;
    }
    return false;
}

static void
place_end(struct cw_manager *m, struct mgr_keeper *p)
{
    p->sending = false;
    if (!backup_sends(&m->backup))
        cw_metaimage_fini(&m->backup.image);
}

static void
place_answered(struct cw_manager *m, struct mgr_ask *a, const struct cw_mgr_answer *answer)
{
    struct mgr_backup *b = &m->backup;
    struct mgr_keeper *p = &b->place[a->serial];
    struct mgr_host *h = cw_mgr_find_host(&m->t, p->host);

    p->offset += a->ask.n_data;
    if (answer->code != CW_MGR_OK) {
        if (h != NULL) {
            h->keep_after_ns = cw_now_ns(m->env) + FAILED_NS;
            cw_mgr_text_clip(h->keep_why, sizeof(h->keep_why), answer->message);
        }
        place_end(m, p);
    } else if (p->offset < b->image.len) {
        place_send(m, (unsigned)a->serial);
    } else {
        p->change = b->image_change;
        p->epoch = b->image_of.epoch;
        p->saved_s = b->image_of.saved_s;
        p->saved_ns = b->image_saved_ns;
        if (h != NULL)
            h->kept = b->image_of;
        place_end(m, p);
    }
}

static void
place_send(struct cw_manager *m, unsigned i)
{
    struct mgr_backup *b = &m->backup;
    struct mgr_keeper *p = &b->place[i];
    struct mgr_host *h = cw_mgr_find_host(&m->t, p->host);
    struct mgr_ask *a;

    if (h == NULL || h->session == NULL) {
        place_end(m, p);
        return;
    }
    p->sending = true;
    a = cw_mgr_ask_new(CW_MGR_ASK_KEEP, PART_MS);
    a->serial = i;
    a->done = place_answered;
    a->ask.cluster_id = cw_mgr_cluster(m)->cluster_id;
    a->ask.serial = b->image_serial;
    a->ask.offset = p->offset;
    a->ask.total_bytes = b->image.len;
    a->ask.data = b->image.bytes + p->offset;
    a->ask.n_data = cw_min_u64(b->image.len - p->offset, CW_METAIMAGE_PART);
    cw_mgr_ask_send(h->session, a);
}

static bool
place_wants(const struct cw_manager *m, const struct mgr_keeper *p)
{
    const struct mgr_host *h = cw_mgr_find_host(&m->t, p->host);

    return h != NULL && host_may_keep(m, h) && p->change != m->backup.change;
}

static void
backup_begin(struct cw_manager *m)
{
    struct mgr_backup *b = &m->backup;

    image_make(m, &b->image, &b->image_of);
    b->image_change = b->change;
    b->image_serial = ++m->serial;
    b->image_saved_ns = cw_now_ns(m->env);
    b->not_before_ns = b->image_saved_ns + PAUSE_NS + PAUSE_NS * (b->image.len / CW_MIB);
    if (b->image.len > CW_METAIMAGE_KEPT_MAX) {
        cw_log(m->env, CW_LOG_WARNING, "metadata: %zu bytes are too many for a backup on hosts",
               b->image.len);
        cw_metaimage_fini(&b->image);
        b->not_before_ns = b->image_saved_ns + LACKS_NS;
        return;
    }
    for (unsigned i = 0; i < MGR_PLACES; i++) { /* before the first answer: they share the image */
        b->place[i].sending = place_wants(m, &b->place[i]);
        b->place[i].offset = 0;
    }
    for (unsigned i = 0; i < MGR_PLACES; i++) {
        if (b->place[i].sending)
            place_send(m, i);
    }
}

static bool
place_fresh(const struct cw_manager *m, const struct mgr_keeper *p)
{
    return p->change != 0 &&
           (p->change == m->backup.change || cw_now_ns(m->env) - p->saved_ns < LACKS_NS);
}

static size_t
n_fresh(const struct cw_manager *m)
{
    size_t n = 0;

    for (unsigned i = 0; i < MGR_PLACES; i++)
        n += place_fresh(m, &m->backup.place[i]);
    return n;
}

static size_t
n_wanted(const struct cw_manager *m)
{
    return cw_min_u64(MGR_PLACES, m->t.of[CW_REC_HOST].n);
}

void
cw_mgr_backup_tick(struct cw_manager *m)
{
    struct mgr_backup *b = &m->backup;
    bool wanted = false;

    if (n_fresh(m) >= n_wanted(m))
        b->lacks_ns = 0;
    else if (b->lacks_ns == 0)
        b->lacks_ns = cw_now_ns(m->env);
    if (!m->opts.backup || backup_sends(b))
        return;
    places_choose(m);
    for (unsigned i = 0; i < MGR_PLACES; i++)
        wanted |= place_wants(m, &b->place[i]);
    if (wanted && cw_now_ns(m->env) >= b->not_before_ns)
        backup_begin(m);
}

void
cw_mgr_backup_note(struct cw_manager *m)
{
    m->backup.change++;
}

void
cw_mgr_backup_fini(struct cw_manager *m)
{
    cw_metaimage_fini(&m->backup.image);
}

/* ---- how it stands ---- */

bool
cw_mgr_backup_lacks(const struct cw_manager *m, char why[static CW_MGR_WHY_SIZE])
{
    size_t n = n_fresh(m);
    const char *reason = "";

    if (!m->opts.backup || cw_now_ns(m->env) - m->started_ns < LACKS_NS || n >= n_wanted(m) ||
        m->backup.lacks_ns == 0 || cw_now_ns(m->env) - m->backup.lacks_ns < CHOSEN_NS)
        return false;
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        if (h->keep_after_ns > cw_now_ns(m->env))
            reason = h->keep_why;
    }
    snprintf(why, CW_MGR_WHY_SIZE, "%zu host%s keep%s a copy of the records as they are%s%.120s", n,
             n == 1 ? "" : "s", n == 1 ? "s" : "", reason[0] != '\0' ? ": " : "", reason);
    return true;
}

static void
place_fill(const struct cw_manager *m, const struct mgr_keeper *p, struct cw_mgr_arena *a,
           struct cw_mgr_metadata_place *ret)
{
    const struct mgr_host *h = cw_mgr_find_host(&m->t, p->host);
    uint64_t now_s = cw_mgr_wall_s(m);

    *ret = (struct cw_mgr_metadata_place){
        .host = cw_mgr_arena_text(a, p->host),
        .site = h != NULL ? h->o.rec.host.site : "",
        .why = "",
        .up = cw_mgr_host_serves(m, h),
        .current = p->change != 0 && p->change == m->backup.change,
        .epoch = p->epoch,
        .age_s = p->change != 0 && now_s > p->saved_s ? now_s - p->saved_s : 0,
    };
    if (!ret->current && !ret->up)
        ret->why = "its host does not serve";
    else if (!ret->current && h->keep_after_ns > cw_now_ns(m->env))
        ret->why = cw_mgr_arena_text(a, h->keep_why);
    else if (!ret->current)
        ret->why = "it is about to be sent";
}

const struct cw_mgr_metadata_place *
cw_mgr_backup_places(const struct cw_manager *m, struct cw_mgr_arena *a, size_t *ret_n)
{
    struct cw_mgr_metadata_place *to = cw_mgr_arena_get(a, MGR_PLACES, sizeof(*to));

    *ret_n = 0;
    for (unsigned i = 0; i < MGR_PLACES; i++) {
        if (m->backup.place[i].host[0] != '\0')
            place_fill(m, &m->backup.place[i], a, &to[(*ret_n)++]);
    }
    return to;
}

void
cw_mgr_call_metadata_show(struct cw_manager *m, struct cw_mgr_call *call)
{
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);
    const struct cw_cluster_rec *c = cw_mgr_cluster(m);
    struct cw_mgr_metadata_show *r = &call->reply.metadata_show;
    char at[CW_MGR_TIME_SIZE];
    struct cw_metaimage im;
    struct cw_mgr_kept of;

    image_make(m, &im, &of);
    *r = (struct cw_mgr_metadata_show){
        .cluster = c->name,
        .cluster_id = c->cluster_id,
        .metadata = m->opts.kv->name,
        .manager = m->opts.manager_name != NULL ? m->opts.manager_name : "",
        .epoch = c->epoch,
        .records = im.n,
        .volumes = m->t.of[CW_REC_VOLUME].n,
        .size_bytes = im.len,
        .restored = cw_mgr_arena_text(a, cw_mgr_time_format(c->restored_s, at)),
        .restored_epoch = c->restored_epoch,
        .backed_up = m->opts.backup,
    };
    r->places = cw_mgr_backup_places(m, a, &r->n_places);
    cw_metaimage_fini(&im);
    cw_mgr_done(call);
}

/* ---- reading ---- */

void
cw_mgr_backup_session_down(struct cw_manager *m, struct cw_mgr_session *s)
{
    m->backup.n_reading -= s->reading.len > 0;
    cw_metaimage_fini(&s->reading);
}

static bool
read_begin(struct cw_manager *m, struct cw_mgr_session *s, struct cw_mgr_call *call)
{
    cw_mgr_backup_session_down(m, s);
    if (m->backup.n_reading >= READERS_MAX) {
        cw_mgr_fail(call, CW_MGR_LIMIT, "", "%u others read the metadata now", READERS_MAX);
        return false;
    }
    m->backup.n_reading++;
    image_make(m, &s->reading, &s->reading_of);
    s->reading_serial = ++m->serial;
    return true;
}

void
cw_mgr_call_metadata_read(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_metadata_read *q = &call->req.metadata_read;
    struct cw_mgr_session *s = call->session;

    if (s == NULL)
        cw_mgr_fail(call, CW_MGR_UNAVAILABLE, "", "the connection broke");
    else if (q->offset == 0 && !read_begin(m, s, call))
        ;
    else if (q->offset >= s->reading.len || (q->offset > 0 && q->serial != s->reading_serial))
        cw_mgr_fail(call, CW_MGR_CONFLICT, "", "begin again: it is not what was read before");
    else
        call->reply.metadata_part = (struct cw_mgr_metadata_part){
            .serial = s->reading_serial,
            .total_bytes = s->reading.len,
            .data = s->reading.bytes + q->offset,
            .len = cw_min_u64(s->reading.len - q->offset, CW_METAIMAGE_PART),
            .of = s->reading_of,
        };
    cw_mgr_done(call);
}

/* ---- restored ---- */

/* What was changed after the backup is not known any more; ids of volumes made since lie on disks
 * and are not given again. */
static enum mgr_build
restored_build(struct mgr_op *op, struct mgr_txn *t)
{
    struct cw_cluster_rec *c = cw_mgr_txn_cluster(t);
    char at[CW_MGR_TIME_SIZE];

    if (c->saved_s == 0)
        return MGR_BUILD_NONE;
    c->restored_epoch = c->epoch;
    c->restored_s = cw_mgr_wall_s(t->m);
    c->next_volume_id += IDS_SKIPPED;
    cw_mgr_txn_event(t, "METADATA_RESTORED", "metadata", "as it was at %s, epoch %llu",
                     cw_mgr_time_format(c->saved_s, at), (unsigned long long)c->epoch);
    cw_mgr_txn_cluster(t)->saved_s = 0;
    return MGR_BUILD_COMMIT;
}

static void
restored_end(struct mgr_op *op, enum cw_mgr_code code, const char *why)
{
    struct cw_manager *m = op->m;

    free(op);
    if (code != CW_MGR_OK && !m->stopping)
        cw_mgr_backup_restored(m);
}

void
cw_mgr_backup_restored(struct cw_manager *m)
{
    struct mgr_op *op;

    if (cw_mgr_cluster(m)->saved_s == 0)
        return;
    op = calloc(1, sizeof(*op));
    cw_assert(op != NULL);
    op->build = restored_build;
    op->end = restored_end;
    cw_mgr_op_queue(m, op);
}
