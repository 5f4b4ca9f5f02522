/* manager/whatif.c - what if these failed now?
 *
 * Domains that fail are named as site, region, site/rack, host, host/disk, or with the site in
 * front. Hosts fall silent, as they do when they die: their copies are waited for. A disk that is
 * named fails. The answer is what health.c says of a copy of what is known (suppose.c), and whether
 * repair.c would find places.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

/* How a name may mean a disk: the first kind that means any is what is meant. */
enum fail_kind {
    FAIL_SITE,
    FAIL_REGION,
    FAIL_RACK,
    FAIL_HOST,
    FAIL_SITE_HOST,
    FAIL_DISK,
    FAIL_PATH,
    FAIL_NONE,
};

static bool
is_pair(const char *text, const char *a, const char *b)
{
    size_t len = strlen(a);

    return b[0] != '\0' && strncmp(text, a, len) == 0 && text[len] == '/' &&
           strcmp(text + len + 1, b) == 0;
}

static bool
means(enum fail_kind kind, const char *name, const struct cw_manager *m, const struct mgr_host *h,
      const struct mgr_disk *d)
{
    const struct cw_host_rec *r = &h->o.rec.host;
    char path[CW_OBJECT_SIZE];

    switch (kind) {
    case FAIL_SITE:
        return strcmp(name, r->site) == 0;
    case FAIL_REGION:
        return name[0] != '\0' && strcmp(name, cw_mgr_site_region(m, r->site)) == 0;
    case FAIL_RACK:
        return is_pair(name, r->site, r->rack);
    case FAIL_HOST:
        return strcmp(name, r->name) == 0;
    case FAIL_SITE_HOST:
        return is_pair(name, r->site, r->name);
    case FAIL_DISK:
        return d != NULL && is_pair(name, r->name, d->o.rec.disk.name);
    case FAIL_PATH:
        if (d != NULL)
            cw_mgr_disk_path(m, d, path);
        return d != NULL && strcmp(name, path) == 0;
    case FAIL_NONE:
        break;
    }
    return false;
}

static bool
means_any(enum fail_kind kind, const char *name, const struct cw_manager *m)
{
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        if (means(kind, name, m, h, NULL))
            return true;
    }
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        const struct mgr_host *h = cw_mgr_disk_host(m, d);

        if (h != NULL && means(kind, name, m, h, d))
            return true;
    }
    return false;
}

static enum fail_kind
kind_of(const struct cw_manager *m, const char *name)
{
    enum fail_kind k = FAIL_SITE;

    while (k < FAIL_NONE && !means_any(k, name, m))
        k++;
    return k;
}

/* for_good: what falls silent never comes back. */
static void
fail_one(struct mgr_if *f, const char *name, bool for_good)
{
    enum fail_kind kind = kind_of(f->m, name);

    MGR_EACH(&f->x.t, CW_REC_HOST, struct mgr_host, h)
    {
        if (kind < FAIL_DISK && means(kind, name, f->m, h, NULL))
            cw_mgr_if_host_down(f, h);
    }
    MGR_EACH(&f->x.t, CW_REC_DISK, struct mgr_disk, d)
    {
        const struct mgr_host *h = cw_mgr_disk_host(&f->x, d);

        if (h != NULL && means(kind, name, f->m, h, d) && (for_good || kind >= FAIL_DISK))
            d->now.failed = d->o.rec.disk.failed = true;
    }
}

static void
fail_all(struct mgr_if *f, const struct cw_mgr_whatif *q, bool for_good)
{
    for (size_t i = 0; i < q->n_fail; i++)
        fail_one(f, q->fail[i], for_good);
}

/* ---- the answer ---- */

/* On what is left: every copy that is gone gets a place. */
static bool
shard_restorable(struct mgr_if *f, struct mgr_volume *v, struct mgr_shard *s, uint64_t *bytes,
                 char why[static CW_MGR_WHY_SIZE])
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t copies = cw_mgr_volume_policy(&f->x, &v->o.rec.volume)->copies, n = 0;
    uint64_t more;

    for (uint32_t i = 0; i < r->n_members; i++) {
        if (!cw_mgr_member_counts(&r->members[i]))
            continue;
        n++;
        if (cw_mgr_copy_state(&f->x, &r->members[i], UINT32_MAX) != MGR_COPY_GONE ||
            cw_mgr_member_surplus(&f->x, v, r, i))
            continue;
        if (!cw_mgr_if_place(f, v, s, i, false, &more, why))
            return false;
        *bytes += more;
    }
    for (; n < copies; n++) {
        if (!cw_mgr_if_place(f, v, s, CW_MEMBERS_MAX, false, &more, why))
            return false;
        *bytes += more;
    }
    return true;
}

static bool
volume_restorable(struct mgr_if *f, struct mgr_volume *v, uint64_t *bytes,
                  char why[static CW_MGR_WHY_SIZE])
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        struct mgr_shard *s = cw_mgr_shard_of(&f->x, v, i);

        if (s != NULL && !shard_restorable(f, v, s, bytes, why))
            return false;
    }
    return true;
}

struct whatif_row {
    struct cw_mgr_whatif_volume v;
    enum mgr_word word, for_good;
};

static void
volume_answer(struct mgr_if *silent, struct mgr_if *gone, const struct mgr_volume *v,
              struct cw_mgr_arena *a, struct whatif_row *to)
{
    struct mgr_volume *there = cw_mgr_if_volume(gone, v);
    char why[CW_MGR_WHY_SIZE] = "";
    struct mgr_health now, then, for_good;

    cw_mgr_volume_health(silent->m, v, &now);
    cw_mgr_if_judge(silent, cw_mgr_if_volume(silent, v), &then);
    cw_mgr_if_judge(gone, there, &for_good);
    to->word = then.word;
    to->for_good = for_good.word;
    to->v = (struct cw_mgr_whatif_volume){
        .name = cw_mgr_arena_text(a, v->o.rec.volume.name),
        .now = cw_mgr_word_name(now.word),
        .word = cw_mgr_word_name(then.word),
        .why = cw_mgr_arena_text(a, then.why),
        .next = cw_mgr_arena_text(a, then.next),
        .for_good = cw_mgr_word_name(for_good.word),
    };
    if (for_good.word >= MGR_UNAVAILABLE)
        cw_mgr_text_clip(why, sizeof(why), for_good.why);
    else
        to->v.restorable = volume_restorable(gone, there, &to->v.restore_bytes, why);
    to->v.restore_why = cw_mgr_arena_text(a, to->v.restorable ? "" : why);
}

/* The worst first, then by name. */
static int
row_order(const void *a, const void *b)
{
    const struct whatif_row *x = a, *y = b;

    if (x->word != y->word)
        return x->word > y->word ? -1 : 1;
    if (x->for_good != y->for_good)
        return x->for_good > y->for_good ? -1 : 1;
    return strcmp(x->v.name, y->v.name);
}

static void
fill_disks(const struct cw_manager *m, const struct cw_mgr_whatif *q, struct cw_mgr_arena *a,
           struct cw_mgr_whatif_reply *ret)
{
    const char **to = cw_mgr_arena_get(a, m->t.of[CW_REC_DISK].n + 1, sizeof(const char *));
    enum fail_kind *kinds = cw_mgr_arena_get(a, q->n_fail + 1, sizeof(*kinds));

    for (size_t i = 0; i < q->n_fail; i++)
        kinds[i] = kind_of(m, q->fail[i]);
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        const struct mgr_host *h = cw_mgr_disk_host(m, d);
        char path[CW_OBJECT_SIZE];
        bool fails = false;

        for (size_t i = 0; h != NULL && i < q->n_fail; i++)
            fails |= means(kinds[i], q->fail[i], m, h, d);
        if (!fails)
            continue;
        cw_mgr_disk_path(m, d, path);
        to[ret->n_disks++] = cw_mgr_arena_text(a, path);
    }
    ret->disks = to;
}

static void
fill_volumes(const struct cw_manager *m, const struct cw_mgr_whatif *q, struct cw_mgr_arena *a,
             struct cw_mgr_whatif_reply *ret)
{
    size_t max = m->t.of[CW_REC_VOLUME].n + 1;
    struct whatif_row *rows = cw_mgr_arena_get(a, max, sizeof(*rows));
    struct cw_mgr_whatif_volume *to = cw_mgr_arena_get(a, max, sizeof(*to));
    struct mgr_if silent, gone;

    cw_mgr_if_init(&silent, m);
    cw_mgr_if_init(&gone, m);
    fail_all(&silent, q, false);
    fail_all(&gone, q, true);
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        if (v->o.rec.volume.purge_at_s == 0)
            volume_answer(&silent, &gone, v, a, &rows[ret->n_volumes++]);
    }
    cw_mgr_if_fini(&silent);
    cw_mgr_if_fini(&gone);
    qsort(rows, ret->n_volumes, sizeof(*rows), row_order);
    for (size_t i = 0; i < ret->n_volumes; i++) {
        to[i] = rows[i].v;
        ret->unaffected += rows[i].word == MGR_FULL;
    }
    ret->volumes = to;
}

void
cw_mgr_call_whatif(struct cw_manager *m, struct cw_mgr_call *call)
{
    const struct cw_mgr_whatif *q = &call->req.whatif;
    struct cw_mgr_arena *a = cw_mgr_reply_arena(call);

    for (size_t i = 0; i < q->n_fail; i++) {
        if (kind_of(m, q->fail[i]) != FAIL_NONE)
            continue;
        cw_mgr_fail(call, CW_MGR_NOT_FOUND, q->fail[i],
                    "%.120s is no region, site, rack, host or disk of this cluster", q->fail[i]);
        cw_mgr_error_hint(&call->error,
                          "name REGION, SITE, SITE/RACK, HOST or HOST/DISK; see: causeway host ls");
    }
    if (q->n_fail == 0)
        cw_mgr_fail(call, CW_MGR_BAD_REQUEST, "", "what is to fail?");
    if (call->error.code == CW_MGR_OK) {
        fill_disks(m, q, a, &call->reply.whatif);
        fill_volumes(m, q, a, &call->reply.whatif);
    }
    cw_mgr_done(call);
}
