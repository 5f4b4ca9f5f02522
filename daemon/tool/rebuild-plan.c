#include "daemon/tool/rebuild.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/assert.h"
#include "common/base/bits.h"
#include "common/base/name.h"
#include "common/base/size.h"
#include "daemon/manager/text.h"

#define HOST "recovered"

__attribute__((format(printf, 2, 3))) static void
say(struct cw_rebuild_texts *to, const char *fmt, ...)
{
    va_list args;

    to->at = realloc(to->at, (to->n + 1) * sizeof(*to->at));
    cw_assert(to->at != NULL);
    va_start(args, fmt);
    vsnprintf(to->at[to->n++], CW_REBUILD_TEXT_SIZE, fmt, args);
    va_end(args);
}

static struct cw_rec *
put(struct cw_rebuild *r, enum cw_rec_kind kind)
{
    struct cw_rec *rec;

    if (r->n_recs == r->cap_recs) {
        r->cap_recs = r->cap_recs == 0 ? 64 : r->cap_recs * 2;
        r->recs = realloc(r->recs, r->cap_recs * sizeof(*r->recs));
        cw_assert(r->recs != NULL);
    }
    rec = &r->recs[r->n_recs++];
    memset(rec, 0, sizeof(*rec));
    rec->kind = kind;
    return rec;
}

/* ---- stores ---- */

static void
stores_check(struct cw_rebuild *r)
{
    for (uint32_t i = 0; i < r->n_stores; i++) {
        const struct cw_rebuild_store *s = &r->stores[i];

        if (cw_uuid_is_nil(&s->id.cluster_id))
            say(&r->refused, "%s: belongs to no cluster; leave it out", s->path);
        else if (!cw_uuid_equal(&s->id.cluster_id, &r->stores[0].id.cluster_id))
            say(&r->refused, "%s: belongs to another cluster than %s; name the stores of one",
                s->path, r->stores[0].path);
        for (uint32_t k = 0; k < i; k++) {
            if (cw_uuid_equal(&s->id.disk_uuid, &r->stores[k].id.disk_uuid))
                say(&r->refused, "%s and %s are the same disk: one is a copy of the other's bytes",
                    r->stores[k].path, s->path);
        }
    }
}

static void
stores_put(struct cw_rebuild *r)
{
    struct cw_rec *host = put(r, CW_REC_HOST);

    strcpy(host->host.name, HOST);
    strcpy(host->host.site, HOST);
    host->host.joined_s = r->now_s;
    for (uint32_t i = 0; i < r->n_stores; i++) {
        struct cw_rec *d = put(r, CW_REC_DISK);

        d->disk.uuid = r->stores[i].id.disk_uuid;
        d->disk.format_id = r->stores[i].id.format_id;
        d->disk.size_bytes = r->stores[i].id.bytes;
        strcpy(d->disk.host, HOST);
        snprintf(d->disk.name, sizeof(d->disk.name), "disk-%u", i);
    }
}

/* ---- shards ---- */

/* The copies of a shard lie together, its highest record first. */
static int
copy_order(const void *a, const void *b)
{
    const struct cw_rebuild_copy *x = a, *y = b;

    if (x->rec.shard != y->rec.shard)
        return x->rec.shard < y->rec.shard ? -1 : 1;
    if (x->rec.gen != y->rec.gen)
        return x->rec.gen > y->rec.gen ? -1 : 1;
    if (x->rec.cfg != y->rec.cfg)
        return x->rec.cfg > y->rec.cfg ? -1 : 1;
    return x->store < y->store ? -1 : x->store > y->store;
}

struct shard {
    const struct cw_rebuild_copy *copies;
    uint32_t n;
    struct cw_shard_rec rec;
};

/* The copy that a member is; NULL: it was not found. */
static const struct cw_rebuild_copy *
member_copy(const struct cw_rebuild *r, const struct shard *s, const struct cw_member *m)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const struct cw_store_identity *id = &r->stores[s->copies[i].store].id;

        if (cw_uuid_equal(&id->disk_uuid, &m->disk_uuid) && id->format_id == m->format_id &&
            s->copies[i].rec.lineage == s->rec.lineage)
            return &s->copies[i];
    }
    return NULL;
}

static bool
same_record(const struct cw_shard_rec *a, const struct cw_shard_rec *b)
{
    uint8_t x[CW_SHARD_REC_BYTES_MAX], y[CW_SHARD_REC_BYTES_MAX];
    size_t n = cw_shard_rec_encode(a, x);

    return cw_shard_rec_encode(b, y) == n && memcmp(x, y, n) == 0;
}

/* One that can be made in sync when none of those is there: it ended where it was, whole. */
static struct cw_member *
member_rescue(const struct cw_rebuild *r, struct shard *s)
{
    const struct cw_rebuild_copy *best = NULL;
    struct cw_member *ret = NULL;

    for (uint32_t i = 0; i < s->rec.n_members; i++) {
        const struct cw_rebuild_copy *c = member_copy(r, s, &s->rec.members[i]);

        if (c == NULL || c->syncing || c->damaged || s->rec.members[i].state == CW_MEMBER_DEAD ||
            s->rec.members[i].state == CW_MEMBER_JOURNAL)
            continue;
        if (best == NULL || c->last_gen > best->last_gen ||
            (c->last_gen == best->last_gen && c->last_seq > best->last_seq)) {
            best = c;
            ret = &s->rec.members[i];
        }
    }
    return ret;
}

#define SHARD_FMT "volume %" PRIu64 " shard %u"
#define SHARD_ARG(s) CW_SHARD_VOLUME((s)->rec.shard), CW_SHARD_INDEX((s)->rec.shard)

static void
missing_say(struct cw_rebuild *r, const struct shard *s, const struct cw_member *m)
{
    char disk[CW_UUID_TEXT_SIZE];

    cw_uuid_format(&m->disk_uuid, disk);
    if (m->state != CW_MEMBER_INSYNC)
        say(&r->notes, SHARD_FMT ": its copy on disk %s (%s) was not found", SHARD_ARG(s), disk,
            cw_member_state_name(m->state));
    else if (r->force)
        say(&r->notes,
            SHARD_FMT ": its in-sync copy on disk %s was not found: writes that only it holds are "
                      "lost",
            SHARD_ARG(s), disk);
    else
        say(&r->refused,
            SHARD_FMT ": its in-sync copy on disk %s was not found, and may hold writes that the "
                      "others lack; name that store too, or --force to go on without it",
            SHARD_ARG(s), disk);
}

static bool
has_insync(const struct cw_shard_rec *rec)
{
    for (uint32_t i = 0; i < rec->n_members; i++) {
        if (rec->members[i].state == CW_MEMBER_INSYNC)
            return true;
    }
    return false;
}

/* What is forced is a configuration of its own, above all that those who were not found saw. */
static void
shard_force(struct cw_rebuild *r, struct shard *s)
{
    struct cw_member *m;

    s->rec.cfg += s->rec.cfg < UINT32_MAX - CW_REBUILD_JUMP ? CW_REBUILD_JUMP : 0;
    if (has_insync(&s->rec))
        return;
    m = member_rescue(r, s);
    if (m == NULL) {
        say(&r->refused,
            SHARD_FMT
            ": no copy that was found is whole: not even --force makes one of it; leave the "
            "volume out: --leave-out %" PRIu64,
            SHARD_ARG(s), CW_SHARD_VOLUME(s->rec.shard));
        return;
    }
    say(&r->notes, SHARD_FMT ": its copy in %s, which was %s, is taken for the shard", SHARD_ARG(s),
        r->stores[member_copy(r, s, m)->store].path, cw_member_state_name(m->state));
    m->state = CW_MEMBER_INSYNC;
    m->since_seq = 0;
}

/* Whose copies hold anything had an owner, whether they were told so or not. */
static void
shard_begins(struct shard *s)
{
    bool begun = false;

    for (uint32_t i = 0; i < s->n; i++)
        begun |= s->copies[i].last_seq > 0;
    for (uint32_t i = 0; i < s->rec.n_members; i++) {
        if (begun && s->rec.members[i].since_seq == CW_SINCE_NEW)
            s->rec.members[i].since_seq = 0;
    }
}

/* Decides the shard's record. */
static void
shard_decide(struct cw_rebuild *r, struct shard *s)
{
    bool forced = false;

    s->rec = s->copies[0].rec;
    shard_begins(s);
    for (uint32_t i = 1; i < s->n; i++) {
        const struct cw_shard_rec *o = &s->copies[i].rec;

        if (o->gen == s->rec.gen && o->cfg == s->rec.cfg && !same_record(o, &s->copies[0].rec))
            say(&r->refused,
                SHARD_FMT
                ": the copies in %s and %s have different records of gen %u cfg %u: one of "
                "the stores is not of this cluster's one life",
                SHARD_ARG(s), r->stores[s->copies[0].store].path,
                r->stores[s->copies[i].store].path, o->gen, o->cfg);
    }
    for (uint32_t i = 0; i < s->rec.n_members; i++) {
        struct cw_member *m = &s->rec.members[i];

        if (m->state == CW_MEMBER_DEAD || member_copy(r, s, m) != NULL)
            continue;
        missing_say(r, s, m);
        if (m->state != CW_MEMBER_INSYNC)
            continue;
        m->state = CW_MEMBER_OUT;
        m->since_seq = 0;
        forced = true;
    }
    if (r->force && (forced || !has_insync(&s->rec)))
        shard_force(r, s);
    else if (!forced && !has_insync(&s->rec))
        say(&r->refused, SHARD_FMT ": its record names no copy that is in sync", SHARD_ARG(s));
}

static void
shard_notes(struct cw_rebuild *r, const struct shard *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const struct cw_rebuild_copy *c = &s->copies[i];
        const struct cw_store_identity *id = &r->stores[c->store].id;
        const struct cw_member *m = cw_shard_rec_find(&s->rec, &id->disk_uuid, id->format_id);

        if (m == NULL)
            say(&r->notes, SHARD_FMT ": the copy in %s is no member of it any more", SHARD_ARG(s),
                r->stores[c->store].path);
        else if (m->state == CW_MEMBER_INSYNC && (c->damaged || c->syncing))
            say(&r->notes, SHARD_FMT ": the in-sync copy in %s is damaged", SHARD_ARG(s),
                r->stores[c->store].path);
    }
}

/* ---- volumes ---- */

static bool
is_left_out(const struct cw_rebuild *r, uint64_t volume)
{
    for (size_t i = 0; i < r->n_leave_out; i++) {
        if (r->leave_out[i] == volume)
            return true;
    }
    return false;
}

static void
volume_name(const struct cw_rebuild *r, uint64_t volume, char to[static CW_NAME_SIZE])
{
    snprintf(to, CW_NAME_SIZE, "recovered-%" PRIu64, volume);
    for (size_t i = 0; i < r->n_names; i++) {
        if (r->names[i].volume == volume)
            snprintf(to, CW_NAME_SIZE, "%s", r->names[i].name);
    }
}

static uint32_t
copies_wanted(const struct cw_shard_rec *rec)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < rec->n_members; i++)
        n += rec->members[i].state != CW_MEMBER_DEAD;
    return n < 1 ? 1 : n > CW_REBUILD_COPIES_MAX ? CW_REBUILD_COPIES_MAX : n;
}

/* Policies are in no store: one that wants what is there, so that nothing is moved by itself. */
static void
policy_put(struct cw_rebuild *r, const struct cw_shard_rec *rec, char name[static CW_NAME_SIZE])
{
    struct cw_policy_rec p;

    cw_mgr_policy_default(&p);
    strcpy(name, p.name);
    if (p.copies == copies_wanted(rec) &&
        strcmp(p.compression, cw_compression_name(rec->compression)) == 0)
        return;
    p.copies = copies_wanted(rec);
    snprintf(p.compression, sizeof(p.compression), "%s", cw_compression_name(rec->compression));
    snprintf(p.name, sizeof(p.name), "recovered-%u-%s", p.copies, p.compression);
    strcpy(name, p.name);
    if (r->policies[p.copies][rec->compression])
        return;
    r->policies[p.copies][rec->compression] = true;
    put(r, CW_REC_POLICY)->policy = p;
}

struct volume {
    uint64_t id, n_blocks;
    uint32_t n_shards, gen;
    char policy[CW_NAME_SIZE];
};

/* A volume that grew beyond a shard has that one full, whatever its copies were shown: the record
 * put last, if another shard follows. */
static void
volume_grown(struct cw_rebuild *r, struct volume *v)
{
    struct cw_shard_rec *rec = &r->recs[r->n_recs - 1].shard;
    char size[CW_SIZE_TEXT_SIZE];

    if (v->n_shards == 0 || rec->n_blocks == CW_SHARD_BLOCKS)
        return;
    say(&r->notes,
        "volume %" PRIu64 " shard %u: its copies were shown %s of it; it has grown since", v->id,
        v->n_shards - 1, cw_size_format(rec->n_blocks * UINT64_C(4096), size));
    v->n_blocks += CW_SHARD_BLOCKS - rec->n_blocks;
    rec->n_blocks = CW_SHARD_BLOCKS;
}

static void
volume_end(struct cw_rebuild *r, const struct volume *v)
{
    char size[CW_SIZE_TEXT_SIZE];
    struct cw_rec *rec;

    if (v->n_shards == 0)
        return;
    if (v->n_blocks % CW_SHARD_BLOCKS == 0)
        say(&r->notes,
            "volume %" PRIu64 ": its last shard is full; if it was larger than %s, name the stores "
            "of the others too",
            v->id, cw_size_format(v->n_blocks * 4096, size));
    rec = put(r, CW_REC_VOLUME);
    rec->volume.id = v->id;
    volume_name(r, v->id, rec->volume.name);
    rec->volume.size_bytes = v->n_blocks * 4096;
    strcpy(rec->volume.policy, v->policy);
    if (v->gen > UINT32_MAX - 2 * CW_REBUILD_JUMP)
        say(&r->refused, "volume %" PRIu64 ": no generations are left", v->id);
    rec->volume.gen = v->gen + CW_REBUILD_JUMP;
    /* as after an owner that died: the next one makes the copies equal before it serves */
    rec->volume.hold = CW_HOLD_OWNED;
    rec->volume.owner_id = cw_uuid_from_random(r->random[0], r->random[1]);
    strcpy(rec->volume.owner_name, "rebuild-metadata");
    rec->volume.owner_since_s = rec->volume.created_s = r->now_s;
}

static void
volume_shard(struct cw_rebuild *r, struct volume *v, struct shard *s)
{
    if (CW_SHARD_INDEX(s->copies[0].rec.shard) != v->n_shards)
        say(&r->refused,
            "volume %" PRIu64
            ": no copy of its shard %u was found; name its stores too, or leave the "
            "volume out: --leave-out %" PRIu64,
            v->id, v->n_shards, v->id);
    volume_grown(r, v);
    v->n_shards = CW_SHARD_INDEX(s->copies[0].rec.shard) + 1u;
    shard_decide(r, s);
    shard_notes(r, s);
    v->n_blocks += s->rec.n_blocks;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t gen = s->copies[i].promised_gen > s->copies[i].rec.gen ? s->copies[i].promised_gen
                                                                        : s->copies[i].rec.gen;

        v->gen = gen > v->gen ? gen : v->gen;
    }
    if (v->n_shards == 1)
        policy_put(r, &s->rec, v->policy);
    put(r, CW_REC_SHARD)->shard = s->rec;
}

static void
volumes_put(struct cw_rebuild *r)
{
    struct volume v = { 0 };

    for (uint32_t i = 0, n; i < r->n_copies; i += n) {
        struct shard s = { .copies = &r->copies[i] };
        uint64_t id = CW_SHARD_VOLUME(r->copies[i].rec.shard);

        for (n = 0; i + n < r->n_copies && r->copies[i + n].rec.shard == r->copies[i].rec.shard;
             n++)
            ;
        s.n = n;
        if (id != v.id) {
            volume_end(r, &v);
            v = (struct volume){ .id = id };
        }
        if (!is_left_out(r, id))
            volume_shard(r, &v, &s);
    }
    volume_end(r, &v);
}

static const struct cw_volume_rec *
volume_find(const struct cw_rebuild *r, uint64_t id)
{
    for (size_t i = 0; i < r->n_recs; i++) {
        if (r->recs[i].kind == CW_REC_VOLUME && r->recs[i].volume.id == id)
            return &r->recs[i].volume;
    }
    return NULL;
}

static int
name_order(const void *a, const void *b)
{
    const struct cw_volume_rec *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static void
names_twice(struct cw_rebuild *r)
{
    const struct cw_volume_rec **all = calloc(r->n_recs + 1, sizeof(*all));
    size_t n = 0;

    cw_assert(all != NULL);
    for (size_t i = 0; i < r->n_recs; i++) {
        if (r->recs[i].kind == CW_REC_VOLUME)
            all[n++] = &r->recs[i].volume;
    }
    if (n > 0)
        qsort(all, n, sizeof(*all), name_order);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(all[i - 1]->name, all[i]->name) == 0)
            say(&r->refused, "--name: %s would be the name of two volumes", all[i]->name);
    }
    free(all);
}

static bool
has_copy(const struct cw_rebuild *r, uint64_t volume)
{
    for (uint32_t i = 0; i < r->n_copies; i++) {
        if (CW_SHARD_VOLUME(r->copies[i].rec.shard) == volume)
            return true;
    }
    return false;
}

/* A number that names nothing was mistyped: another volume was meant. */
static void
left_out_check(struct cw_rebuild *r)
{
    for (size_t i = 0; i < r->n_leave_out; i++) {
        if (!has_copy(r, r->leave_out[i]))
            say(&r->refused, "--leave-out: no volume %" PRIu64 " was found", r->leave_out[i]);
    }
}

static void
names_check(struct cw_rebuild *r)
{
    for (size_t i = 0; i < r->n_names; i++) {
        if (!cw_name_ok(r->names[i].name))
            say(&r->refused, "--name: %s is no name; one is 1 to 63 of [A-Za-z0-9._-]",
                r->names[i].name);
        if (volume_find(r, r->names[i].volume) == NULL)
            say(&r->refused, "--name: no volume %" PRIu64 " was found", r->names[i].volume);
    }
    names_twice(r);
}

/* ---- the cluster ---- */

static void
cluster_put(struct cw_rebuild *r)
{
    struct cw_cluster_rec *c = &put(r, CW_REC_CLUSTER)->cluster;
    char text[CW_UUID_TEXT_SIZE];

    c->cluster_id = r->stores[0].id.cluster_id;
    cw_uuid_format(&c->cluster_id, text);
    if (r->cluster_name != NULL)
        snprintf(c->name, sizeof(c->name), "%s", r->cluster_name);
    else
        snprintf(c->name, sizeof(c->name), "%.8s", text);
    c->next_volume_id = r->highest_volume + CW_REBUILD_JUMP;
    c->next_event = 1;
    c->created_s = r->now_s;
}

bool
cw_rebuild_plan(struct cw_rebuild *r)
{
    cw_assert(r->n_stores > 0);
    stores_check(r);
    if (r->refused.n > 0)
        return false;
    if (r->n_copies > 0)
        qsort(r->copies, r->n_copies, sizeof(*r->copies), copy_order);
    cw_mgr_policy_default(&put(r, CW_REC_POLICY)->policy);
    stores_put(r);
    volumes_put(r);
    left_out_check(r);
    names_check(r);
    cluster_put(r);
    return r->refused.n == 0;
}

void
cw_rebuild_fini(struct cw_rebuild *r)
{
    free(r->recs);
    free(r->refused.at);
    free(r->notes.at);
}
