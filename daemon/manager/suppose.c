/* manager/suppose.c - what would be, if: the manager's own deciders asked about a copy of it.
 *
 * The copy has its own hosts and disks, and one volume with its shards at a time, so that it costs
 * as much as a volume has shards. Nothing in it is ever run: no sessions, no calls, no ops.
 */
#include <string.h>

#include "daemon/manager/internal.h"

static void
table_copy(struct cw_mgr_arena *a, struct mgr_table *t, size_t size)
{
    struct mgr_obj **at = cw_mgr_arena_get(a, t->n + 1, sizeof(struct mgr_obj *));

    for (size_t i = 0; i < t->n; i++) {
        at[i] = cw_mgr_arena_get(a, 1, size);
        memcpy(at[i], t->at[i], size);
    }
    t->at = at;
    t->cap = t->n;
}

void
cw_mgr_if_init(struct mgr_if *f, const struct cw_manager *m)
{
    f->m = m;
    f->arena = cw_mgr_arena_new();
    f->x = *m;
    cw_mgr_lists_init(&f->x);
    table_copy(f->arena, &f->x.t.of[CW_REC_HOST], sizeof(struct mgr_host));
    table_copy(f->arena, &f->x.t.of[CW_REC_DISK], sizeof(struct mgr_disk));
    f->x.t.of[CW_REC_VOLUME] = (struct mgr_table){ 0 };
    f->x.t.of[CW_REC_SHARD] = (struct mgr_table){ 0 };
}

void
cw_mgr_if_fini(struct mgr_if *f)
{
    cw_mgr_arena_free(f->arena);
}

struct mgr_host *
cw_mgr_if_host(struct mgr_if *f, const struct mgr_host *h)
{
    return cw_mgr_find_host(&f->x.t, h->o.rec.host.name);
}

struct mgr_disk *
cw_mgr_if_disk(struct mgr_if *f, const struct mgr_disk *d)
{
    return cw_mgr_find_disk(&f->x.t, &d->o.rec.disk.uuid);
}

struct mgr_volume *
cw_mgr_if_volume(struct mgr_if *f, const struct mgr_volume *v)
{
    struct mgr_table *volumes = &f->x.t.of[CW_REC_VOLUME], *shards = &f->x.t.of[CW_REC_SHARD];
    uint32_t n = cw_mgr_volume_shards(v);
    struct mgr_volume *to = cw_mgr_arena_get(f->arena, 1, sizeof(*to));

    *to = *v;
    volumes->at = cw_mgr_arena_get(f->arena, 1, sizeof(struct mgr_obj *));
    volumes->at[0] = &to->o;
    volumes->n = volumes->cap = 1;
    shards->at = cw_mgr_arena_get(f->arena, n + 1, sizeof(struct mgr_obj *));
    shards->n = 0;
    for (uint32_t i = 0; i < n; i++) { /* ascending by key, as by index */
        const struct mgr_shard *s = cw_mgr_shard_of(f->m, v, i);
        struct mgr_shard *copy;

        if (s == NULL)
            continue;
        copy = cw_mgr_arena_get(f->arena, 1, sizeof(*copy));
        *copy = *s;
        shards->at[shards->n++] = &copy->o;
    }
    shards->cap = shards->n;
    return to;
}

void
cw_mgr_if_host_down(struct mgr_if *f, struct mgr_host *h)
{
    if (h->absent)
        return; /* and has been for a while, which counts */
    h->session = NULL;
    h->absent = true;
    h->ok_ns = cw_now_ns(f->x.env);
}

/* ---- copies made there ---- */

static uint64_t
shard_bytes(const struct mgr_shard *s)
{
    uint64_t blocks = 0;

    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++)
        blocks = cw_max_u64(blocks, s->mapped_blocks[i]);
    return blocks * 4096;
}

static void
disk_fill(struct mgr_if *f, const struct cw_member *mb, uint64_t bytes)
{
    struct mgr_disk *d = cw_mgr_find_copy_disk(&f->x.t, mb);

    if (d == NULL)
        return;
    d->now.used_bytes += bytes;
    d->now.free_bytes -= cw_min_u64(bytes, d->now.free_bytes);
}

bool
cw_mgr_if_place(struct mgr_if *f, struct mgr_volume *v, struct mgr_shard *s, uint32_t member,
                bool keep, uint64_t *ret_bytes, char why[static CW_MGR_WHY_SIZE])
{
    struct cw_shard_rec *r = &s->o.rec.shard;
    struct cw_member fresh;
    uint32_t to = member;

    if (keep || member >= r->n_members) {
        if (r->n_members == CW_MEMBERS_MAX) {
            cw_mgr_text_clip(why, CW_MGR_WHY_SIZE, "it has no room for another copy");
            return false;
        }
        to = r->n_members;
    }
    if (!cw_mgr_repair_target(&f->x, v, r, member, &fresh, why))
        return false;
    *ret_bytes = shard_bytes(s);
    disk_fill(f, &fresh, *ret_bytes);
    fresh.state = CW_MEMBER_INSYNC;
    r->members[to] = fresh;
    r->n_members += to == r->n_members;
    s->bad &= ~(uint32_t)CW_BIT(to);
    s->mapped_blocks[to] = *ret_bytes / 4096;
    s->bad_blocks[to] = 0;
    s->now[to] = (struct mgr_member_now){ 0 };
    s->known[to] = (struct mgr_copy_known){ .held = true };
    return true;
}

/* ---- the word ---- */

static uint32_t
n_insync(const struct cw_manager *m, const struct mgr_shard *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        const struct cw_member *mb = &s->o.rec.shard.members[i];

        n += mb->state == CW_MEMBER_INSYNC && !(s->bad & CW_BIT(i)) &&
             cw_mgr_copy_state(m, mb, UINT32_MAX) == MGR_COPY_OK;
    }
    return n;
}

/* Its owner would find it so: below min-insync it waits, unless it does not even now. */
static void
suspend_look(struct mgr_if *f, struct mgr_volume *v, struct mgr_shard *s, uint32_t need)
{
    const struct mgr_shard *real = cw_mgr_find_shard(&f->m->t, s->o.rec.shard.shard);
    uint32_t n = n_insync(&f->x, s);

    if (n == 0 || n >= need || s->suspended)
        return;
    if (real != NULL && n_insync(f->m, real) < need)
        return; /* it goes on with fewer: degrade */
    s->suspended = true;
    cw_mgr_text_clip(s->why, sizeof(s->why), "fewer copies in sync than min-insync asks for");
}

void
cw_mgr_if_judge(struct mgr_if *f, struct mgr_volume *v, struct mgr_health *ret)
{
    uint32_t need = cw_mgr_volume_min_insync(&f->x, v);

    for (uint32_t i = 0; v->report.have && i < cw_mgr_volume_shards(v); i++) {
        struct mgr_shard *s = cw_mgr_shard_of(&f->x, v, i);

        if (s != NULL)
            suspend_look(f, v, s, need);
    }
    cw_mgr_volume_health(&f->x, v, ret);
}
