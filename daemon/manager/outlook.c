/* manager/outlook.c - what a maintenance or a drain would do, before it is done.
 *
 * What is done first is done on a copy of what is known (suppose.c), with the places that the mover
 * would choose; then the host falls silent there, and health.c says what is left.
 */
#include <string.h>

#include "daemon/manager/internal.h"

struct plan {
    struct mgr_if f;
    const struct mgr_host *host; /* that goes; in f.m */
    const struct mgr_disk *disk; /* or only this one */
    enum cw_maintain mode;
    struct cw_mgr_arena *a;
    struct cw_mgr_plan *to;
};

static bool
member_there(const struct plan *p, const struct cw_manager *m, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);

    if (d == NULL || mb->state == CW_MEMBER_DEAD)
        return false;
    if (p->disk != NULL)
        return cw_uuid_equal(&d->o.rec.disk.uuid, &p->disk->o.rec.disk.uuid);
    return strcmp(d->o.rec.disk.host, p->host->o.rec.host.name) == 0;
}

static uint32_t
copies_there(const struct plan *p, const struct mgr_shard *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++)
        n += member_there(p, p->f.m, &s->o.rec.shard.members[i]);
    return n;
}

/* Does this copy get another in its stead before? */
static bool
member_moves(const struct plan *p, const struct mgr_volume *v, const struct mgr_shard *s,
             uint32_t i)
{
    const struct cw_policy_rec *policy = cw_mgr_volume_policy(p->f.m, &v->o.rec.volume);
    bool there;

    if (!cw_mgr_member_counts(&s->o.rec.shard.members[i]))
        return false;
    switch (p->mode) {
    case CW_MAINTAIN_FULL:
        return true;
    case CW_MAINTAIN_ACCESSIBLE:
        return s->o.rec.shard.members[i].state == CW_MEMBER_INSYNC &&
               cw_mgr_insync_without(p->f.m, cw_mgr_find_shard(&p->f.m->t, s->o.rec.shard.shard),
                                     p->host, &there) < cw_mgr_min_insync(policy);
    case CW_MAINTAIN_NONE:
    case CW_MAINTAIN_OFF:
        break;
    }
    return false;
}

static void
plan_shard(struct plan *p, struct mgr_volume *v, struct mgr_shard *s, struct cw_mgr_plan_volume *to)
{
    for (uint32_t i = 0, n = s->o.rec.shard.n_members; i < n; i++) {
        char why[CW_MGR_WHY_SIZE];
        uint64_t bytes = 0;

        if (!member_there(p, &p->f.x, &s->o.rec.shard.members[i]) || !member_moves(p, v, s, i))
            continue;
        if (cw_mgr_if_place(&p->f, v, s, i, p->mode == CW_MAINTAIN_ACCESSIBLE, &bytes, why)) {
            p->to->moves++;
            to->move_bytes += bytes;
        } else {
            to->blocked = cw_mgr_arena_text(p->a, why);
        }
    }
}

/* The volume goes through what is done first; what is left of it is judged. */
static void
plan_volume(struct plan *p, const struct mgr_volume *v, struct cw_mgr_plan_volume *to)
{
    struct mgr_volume *there = cw_mgr_if_volume(&p->f, v);
    struct mgr_host *h = p->disk == NULL ? cw_mgr_if_host(&p->f, p->host) : NULL;
    struct mgr_host was = { 0 };
    struct mgr_health now, then;

    cw_mgr_volume_health(p->f.m, v, &now);
    *to = (struct cw_mgr_plan_volume){ .name = cw_mgr_arena_text(p->a, v->o.rec.volume.name),
                                       .now = cw_mgr_word_name(now.word),
                                       .blocked = "" };
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        struct mgr_shard *s = cw_mgr_shard_of(&p->f.x, there, i);

        if (s != NULL)
            plan_shard(p, there, s, to);
    }
    if (h != NULL) { /* it is there again for the next volume, whose source it may be */
        was = *h;
        cw_mgr_if_host_down(&p->f, h);
    }
    cw_mgr_if_judge(&p->f, there, &then);
    if (h != NULL)
        *h = was;
    to->then = cw_mgr_word_name(then.word);
    to->why = cw_mgr_arena_text(p->a, then.why);
    p->to->move_bytes += to->move_bytes;
    p->to->reduced += then.word > MGR_FULL && then.word < MGR_SUSPENDED;
    p->to->unavailable += then.word >= MGR_SUSPENDED;
}

static bool
volume_there(struct plan *p, const struct mgr_volume *v)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(p->f.m, v, i);

        n += s != NULL ? copies_there(p, s) : 0;
    }
    p->to->copies += n;
    return n > 0;
}

static void
plan_run(struct plan *p)
{
    const struct cw_manager *m = p->f.m;
    struct cw_mgr_plan_volume *to =
        cw_mgr_arena_get(p->a, m->t.of[CW_REC_VOLUME].n + 1, sizeof(*to));

    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        if (v->o.rec.volume.purge_at_s == 0 && volume_there(p, v))
            plan_volume(p, v, &to[p->to->n_volumes++]);
    }
    p->to->volumes = to;
    if (m->moved_per_s > 0)
        p->to->seconds = cw_div_up(p->to->move_bytes, m->moved_per_s);
    cw_mgr_if_fini(&p->f);
}

void
cw_mgr_plan_host(const struct cw_manager *m, const struct mgr_host *h, enum cw_maintain mode,
                 struct cw_mgr_arena *a, struct cw_mgr_plan *ret)
{
    struct plan p = { .host = h, .mode = mode, .a = a, .to = ret };
    char why[CW_MGR_WHY_SIZE] = "";
    struct mgr_host *there;

    cw_mgr_maintain_clash(m, h, mode, why);
    *ret = (struct cw_mgr_plan){ .mode = cw_mgr_maintain_name(mode),
                                 .refused = cw_mgr_arena_text(a, why) };
    cw_mgr_if_init(&p.f, m);
    there = cw_mgr_if_host(&p.f, h);
    p.f.x.n_maintain[there->o.rec.host.maintain]--;
    there->o.rec.host.maintain = /* copies that leave it are seen to here */
        mode == CW_MAINTAIN_ACCESSIBLE ? CW_MAINTAIN_ACCESSIBLE : CW_MAINTAIN_NONE;
    there->o.rec.host.maintain_ready = true;
    p.f.x.n_maintain[there->o.rec.host.maintain]++;
    plan_run(&p);
}

void
cw_mgr_plan_disk(const struct cw_manager *m, const struct mgr_disk *d, struct cw_mgr_arena *a,
                 struct cw_mgr_plan *ret)
{
    struct plan p = { .disk = d, .mode = CW_MAINTAIN_FULL, .a = a, .to = ret };

    *ret = (struct cw_mgr_plan){ .mode = "drain", .refused = "" };
    cw_mgr_if_init(&p.f, m);
    cw_mgr_if_disk(&p.f, d)->o.rec.disk.draining_s = cw_max_u64(cw_mgr_wall_s(m), 1);
    plan_run(&p);
}
