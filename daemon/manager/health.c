/* manager/health.c - one word per volume: is it safe, and what is being done? */
#include <stdio.h>
#include <string.h>

#include "daemon/manager/internal.h"

const char *
cw_mgr_word_name(enum mgr_word w)
{
    static const char *const names[] = {
        [MGR_FULL] = "full",
        [MGR_REDUCED_WAITING] = "reduced-waiting",
        [MGR_REDUCED_REBUILDING] = "reduced-rebuilding",
        [MGR_REDUCED_STUCK] = "reduced-stuck",
        [MGR_AT_RISK] = "at-risk",
        [MGR_SUSPENDED] = "suspended",
        [MGR_UNAVAILABLE] = "unavailable",
        [MGR_LOST] = "lost",
    };

    return names[w];
}

struct look {
    const struct cw_manager *m;
    const struct mgr_volume *v;
    const struct cw_policy_rec *policy;
    struct mgr_health *to;
    uint32_t delay_s; /* until an absent copy is replaced */
};

static void
worse(struct look *l, enum mgr_word w, const char *why, const char *next)
{
    if (w <= l->to->word)
        return;
    l->to->word = w;
    cw_mgr_text_clip(l->to->why, sizeof(l->to->why), why);
    cw_mgr_text_clip(l->to->next, sizeof(l->to->next), next);
}

static const char *
member_host(const struct cw_manager *m, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_disk(&m->t, &mb->disk_uuid);

    return d != NULL ? d->o.rec.disk.host : "a host that was removed";
}

/* "dc1-2, aws-1" */
static void
missing_names(struct look *l, const struct mgr_shard *s, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < s->o.rec.shard.n_members && len < size; i++) {
        const struct cw_member *mb = &s->o.rec.shard.members[i];

        if (mb->state == CW_MEMBER_INSYNC && cw_mgr_copy_state(l->m, mb, UINT32_MAX) != MGR_COPY_OK)
            len += (size_t)snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "",
                                    member_host(l->m, mb));
    }
}

static void
look_none_left(struct look *l, const struct mgr_shard *s, bool all_gone)
{
    char names[160], why[CW_MGR_WHY_SIZE];

    missing_names(l, s, names, sizeof(names));
    snprintf(why, sizeof(why),
             all_gone ? "every in-sync copy is gone: %s"
                      : "no in-sync copy is reachable; missing: %s",
             names[0] != '\0' ? names : "the damaged ones");
    worse(l, all_gone ? MGR_LOST : MGR_UNAVAILABLE, why,
          all_gone ? "" : "it serves again when one of them returns");
}

static void
look_waiting(struct look *l, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&l->m->t, mb);
    const struct mgr_host *h = cw_mgr_disk_host(l->m, d);
    uint64_t since = h->absent ? cw_mgr_absent_ns(h) : cw_max_u64(d->missing_ns, h->returned_ns);
    uint64_t for_s = (cw_now_ns(l->m->env) - since) / CW_NS_PER_S;
    uint64_t left = for_s < l->delay_s ? l->delay_s - for_s : 0;
    char why[CW_MGR_WHY_SIZE], next[CW_MGR_WHY_SIZE], t[CW_MGR_TIME_SIZE];

    if (!h->absent && !d->missing) {
        snprintf(why, sizeof(why), "%s/%s is stuck", h->o.rec.host.name, d->o.rec.disk.name);
        worse(l, MGR_REDUCED_WAITING, why, "it is used again when its disk answers");
        return;
    }
    if (cw_mgr_host_maintained(h))
        snprintf(why, sizeof(why), "%s is in maintenance", h->o.rec.host.name);
    else
        snprintf(why, sizeof(why), "%s %s for %s", h->o.rec.host.name,
                 h->absent ? "is absent" : "is up without that store",
                 cw_mgr_span_format(for_s, t));
    if (mb->state == CW_MEMBER_INSYNC && cw_mgr_care_waits(l->m, l->v))
        snprintf(next, sizeof(next),
                 "nothing is done for %s more: the last owner, %s on %s, may be there too; whoever "
                 "attaches the volume goes on at once",
                 cw_mgr_span_format(left, t), l->v->o.rec.volume.owner_name,
                 l->v->o.rec.volume.owner_host);
    else if (cw_mgr_host_maintained(h))
        snprintf(next, sizeof(next), "resync when it is back; nothing is rebuilt before");
    else if (cw_mgr_many_absent(l->m))
        snprintf(next, sizeof(next), "nothing is rebuilt while many hosts are absent at once");
    else
        snprintf(next, sizeof(next),
                 "resync when it returns; a new copy elsewhere in %s if there is a place",
                 cw_mgr_span_format(left, t));
    worse(l, MGR_REDUCED_WAITING, why, next);
}

/* Nothing is brought back to it (docs/store.md, Space): whoever has credit there would soon have
 * none. */
static void
look_crowded(struct look *l, const struct mgr_disk *d)
{
    char why[CW_MGR_WHY_SIZE], next[CW_MGR_WHY_SIZE];

    snprintf(why, sizeof(why), "the copy on %s/%s waits: that disk is %u %% full",
             d->o.rec.disk.host, d->o.rec.disk.name, cw_mgr_disk_percent(d));
    snprintf(next, sizeof(next), "it is synchronised once the disk is less than %u %% full",
             MGR_CROWDED_PERCENT);
    worse(l, MGR_REDUCED_STUCK, why, next);
}

/* True if nothing is made again because somebody said so. */
static bool
look_paused(struct look *l, const struct cw_member *mb)
{
    uint64_t since_s = cw_mgr_cluster(l->m)->repair_paused_s;
    char why[CW_MGR_WHY_SIZE], t[CW_MGR_TIME_SIZE];

    if (since_s == 0)
        return false;
    snprintf(why, sizeof(why), "repair is paused since %s: the copy on %s waits",
             cw_mgr_time_format(since_s, t), member_host(l->m, mb));
    worse(l, MGR_REDUCED_STUCK, why, "causeway repair resume");
    return true;
}

/* It has everything, or soon will: no data moves. */
static void
look_set_aside(struct look *l, const struct mgr_shard *s, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&l->m->t, mb);
    bool flaps = s->now[mb - s->o.rec.shard.members].flapping;
    char why[CW_MGR_WHY_SIZE];

    snprintf(why, sizeof(why), "the copy on %s/%s %s and is not waited for", member_host(l->m, mb),
             d != NULL ? d->o.rec.disk.name : "?",
             flaps ? "has a link that flaps" : "is slower than the others");
    worse(l, MGR_REDUCED_REBUILDING, why,
          flaps ? "it is taken back once its link is steady" : "it is taken back once it keeps up");
}

static void
look_resync(struct look *l, const struct mgr_shard *s, const struct cw_member *mb)
{
    const struct mgr_member_now *now = &s->now[mb - s->o.rec.shard.members];
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&l->m->t, mb);
    bool begun = mb->state == CW_MEMBER_IN_RESYNC && now->chunks_total > 0;
    char why[CW_MGR_WHY_SIZE];

    if (!begun && d != NULL && mb->state != CW_MEMBER_INSYNC && cw_mgr_disk_crowded(d)) {
        look_crowded(l, d);
        return;
    }
    if (mb->state != CW_MEMBER_INSYNC && look_paused(l, mb))
        return;
    if (begun)
        snprintf(why, sizeof(why), "%s is synchronised, %llu of %llu MiB left",
                 member_host(l->m, mb), (unsigned long long)now->chunks_left,
                 (unsigned long long)now->chunks_total);
    else
        snprintf(why, sizeof(why), "%s is about to be synchronised", member_host(l->m, mb));
    worse(l, MGR_REDUCED_REBUILDING, why, "full when that is done");
}

static void
look_replace(struct look *l, const struct mgr_shard *s, const struct cw_member *mb)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    struct cw_member fresh;
    char hint[CW_MGR_WHY_SIZE], why[CW_MGR_WHY_SIZE];

    if (look_paused(l, mb))
        return;
    if (cw_mgr_repair_target(l->m, l->v, r, (uint32_t)(mb - r->members), &fresh, hint)) {
        snprintf(why, sizeof(why), "the copy on %s is replaced by one on %s", member_host(l->m, mb),
                 member_host(l->m, &fresh));
        worse(l, MGR_REDUCED_REBUILDING, why, "full when that is done");
        return;
    }
    snprintf(why, sizeof(why), "the copy on %s is gone and no place is left for another",
             member_host(l->m, mb));
    worse(l, MGR_REDUCED_STUCK, why, hint);
}

/* Sound or not, it is to leave its disk. */
static void
look_quarantined(struct look *l, const struct mgr_shard *s, uint32_t i)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    struct cw_member fresh;
    char hint[CW_MGR_WHY_SIZE], why[CW_MGR_WHY_SIZE];

    if (cw_mgr_member_surplus(l->m, l->v, r, i))
        return; /* another is in its place, or being filled, which is told there */
    if (look_paused(l, &r->members[i]))
        return;
    if (cw_mgr_repair_target(l->m, l->v, r, i, &fresh, hint)) {
        snprintf(why, sizeof(why), "the copy on %s leaves %s for %s",
                 member_host(l->m, &r->members[i]), cw_mgr_leaves_what(l->m, &r->members[i]),
                 member_host(l->m, &fresh));
        worse(l, MGR_REDUCED_REBUILDING, why, "full when that is done");
        return;
    }
    snprintf(why, sizeof(why), "the copy on %s lies on %s, no place is left for another",
             member_host(l->m, &r->members[i]), cw_mgr_leaves_what(l->m, &r->members[i]));
    worse(l, MGR_REDUCED_STUCK, why, hint);
}

static void
look_member(struct look *l, const struct mgr_shard *s, const struct cw_member *mb)
{
    switch (cw_mgr_copy_state(l->m, mb, l->delay_s)) {
    case MGR_COPY_OK:
        if (mb->state == CW_MEMBER_LAGGING)
            look_set_aside(l, s, mb);
        else
            look_resync(l, s, mb);
        break;
    case MGR_COPY_WAITING:
        look_waiting(l, mb);
        break;
    case MGR_COPY_OVERDUE:
    case MGR_COPY_GONE:
        look_replace(l, s, mb);
        break;
    }
}

/* The policy may let it go on before the cause ends. */
static void
look_suspended(struct look *l, const struct mgr_shard *s)
{
    char next[CW_MGR_WHY_SIZE];

    snprintf(next, sizeof(next), "it goes on by itself when the cause ends");
    if (l->policy->degrade_s >= 0 && cw_mgr_volume_min_insync(l->m, l->v) > 1)
        snprintf(next, sizeof(next),
                 "it goes on by itself when the cause ends, or with one in-sync copy after %d s "
                 "(degrade, in its policy)",
                 l->policy->degrade_s);
    worse(l, MGR_SUSPENDED, s->why[0] != '\0' ? s->why : "its owner waits", next);
}

/* ", with a journal of new writes on dc1-2" */
static void
look_journal(struct look *l, const struct mgr_shard *s, char *text, size_t size)
{
    uint32_t i = cw_mgr_journal_of(&s->o.rec.shard);

    text[0] = '\0';
    if (i < CW_MEMBERS_MAX && s->o.rec.shard.members[i].since_seq != 0)
        snprintf(text, size, ", with a journal of new writes on %s",
                 member_host(l->m, &s->o.rec.shard.members[i]));
}

/* Made while there was no place for more, or recovered from one copy. */
static void
look_too_few(struct look *l, const struct mgr_shard *s, uint32_t n)
{
    struct cw_member fresh;
    char why[CW_MGR_WHY_SIZE], hint[CW_MGR_WHY_SIZE] = "";
    bool place = cw_mgr_repair_target(l->m, l->v, &s->o.rec.shard, CW_MEMBERS_MAX, &fresh, hint);

    snprintf(why, sizeof(why), "it has %u copies, policy %s asks for %u", n, l->policy->name,
             l->policy->copies);
    worse(l, place ? MGR_REDUCED_REBUILDING : MGR_REDUCED_STUCK, why,
          place ? "one more is made where there is a place" : hint);
}

static void
look_counts(struct look *l, const struct mgr_shard *s, uint32_t ok)
{
    char why[CW_MGR_WHY_SIZE], journal[120];
    uint32_t n = cw_mgr_count_copies(&s->o.rec.shard);

    if (n < l->policy->copies)
        look_too_few(l, s, n);
    if (ok == 1 && l->policy->copies > 1) {
        look_journal(l, s, journal, sizeof(journal));
        snprintf(why, sizeof(why), "one copy is left%s%s%.250s", journal,
                 l->to->why[0] != '\0' ? ": " : "", l->to->why);
        worse(l, MGR_AT_RISK, why, l->to->next);
    }
    if (s->suspended && cw_mgr_report_fresh(l->m, l->v))
        look_suspended(l, s);
}

/* It is to go elsewhere because an operator wants its disk empty: nothing is wrong with it. */
static bool
leaves_well(const struct cw_manager *m, const struct cw_member *mb)
{
    const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, mb);

    return d != NULL && !d->o.rec.disk.quarantined;
}

static bool
is_good(const struct cw_manager *m, const struct mgr_shard *s, uint32_t i)
{
    const struct cw_member *mb = &s->o.rec.shard.members[i];

    return mb->state == CW_MEMBER_INSYNC && !(s->bad & CW_BIT(i)) &&
           cw_mgr_copy_state(m, mb, UINT32_MAX) == MGR_COPY_OK;
}

/* sound: and none that lies on a disk that nobody trusts. */
static uint32_t
count_good(const struct cw_manager *m, const struct mgr_shard *s, bool sound)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++)
        n += is_good(m, s, i) && (!sound || leaves_well(m, &s->o.rec.shard.members[i]));
    return n;
}

static void
look_shard(struct look *l, const struct mgr_shard *s)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    uint32_t ok = count_good(l->m, s, false), insync = 0, gone = 0;
    bool enough = count_good(l->m, s, true) >= l->policy->copies;

    for (uint32_t i = 0; i < r->n_members; i++) {
        enum mgr_copy copy = cw_mgr_copy_state(l->m, &r->members[i], UINT32_MAX);
        bool in = r->members[i].state == CW_MEMBER_INSYNC;

        if (!cw_mgr_member_counts(&r->members[i]))
            continue; /* it makes nothing full */
        insync += in;
        gone += in && copy == MGR_COPY_GONE;
        if (cw_mgr_member_quarantined(l->m, &r->members[i]) &&
            !(in && copy == MGR_COPY_OK && leaves_well(l->m, &r->members[i])))
            look_quarantined(l, s, i);
        if (!is_good(l->m, s, i) && !enough && !cw_mgr_member_surplus(l->m, l->v, r, i))
            look_member(l, s, &r->members[i]); /* else it is one more, for a move */
    }
    if (ok == 0)
        look_none_left(l, s, gone == insync);
    else
        look_counts(l, s, ok);
}

void
cw_mgr_volume_health(const struct cw_manager *m, const struct mgr_volume *v, struct mgr_health *ret)
{
    struct look l = { m, v, cw_mgr_volume_policy(m, &v->o.rec.volume), ret,
                      cw_mgr_repair_delay_s(m, v) };

    *ret = (struct mgr_health){ .word = MGR_FULL };
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        if (s != NULL)
            look_shard(&l, s);
    }
    if (ret->word != MGR_FULL && cw_mgr_report_fresh(m, v) && v->report.repair_bytes_per_s > 0)
        ret->eta_s = cw_div_up(v->report.chunks_left * CW_MIB, v->report.repair_bytes_per_s);
}

/* ---- volume_info ---- */

static void
fill_members(const struct cw_manager *m, const struct mgr_shard *s, struct cw_mgr_arena *a,
             struct cw_mgr_shard_info *ret)
{
    const struct cw_shard_rec *r = &s->o.rec.shard;
    const struct mgr_volume *v = cw_mgr_find_volume(&m->t, CW_SHARD_VOLUME(r->shard));
    bool owned = v != NULL && v->o.rec.volume.hold == CW_HOLD_OWNED;
    struct cw_mgr_member_info *to = cw_mgr_arena_get(a, r->n_members + 1, sizeof(*to));

    for (uint32_t i = 0; i < r->n_members; i++) {
        struct cw_mgr_location at;

        cw_mgr_location_fill(m, &r->members[i].disk_uuid, r->members[i].format_id, &at);
        to[i] = (struct cw_mgr_member_info){
            .host = cw_mgr_arena_text(a, at.host),
            .site = cw_mgr_arena_text(a, at.domain.site),
            .disk = cw_mgr_arena_text(a, at.name),
            .state = r->members[i].state,
            .up = at.up,
            .chunks_left = s->now[i].chunks_left,
            .chunks_total = s->now[i].chunks_total,
            .bytes_moved = s->now[i].bytes_moved,
            .async = r->members[i].async,
            .lag = owned ? s->now[i].lag : 0, /* who has gone left nothing to be sent */
            .lag_ns = owned ? s->now[i].lag_ns : 0,
            .lag_bytes = owned ? s->now[i].lag_bytes : 0,
            .disk_uuid = r->members[i].disk_uuid,
        };
    }
    ret->members = to;
    ret->n_members = r->n_members;
}

static void
fill_shards(const struct cw_manager *m, const struct mgr_volume *v, struct cw_mgr_arena *a,
            struct cw_mgr_volume_info *ret)
{
    struct cw_mgr_shard_info *to = cw_mgr_arena_get(a, cw_mgr_volume_shards(v), sizeof(*to));

    ret->shards = to;
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        if (s == NULL)
            continue;
        to[ret->n_shards] = (struct cw_mgr_shard_info){
            .shard = s->o.rec.shard.shard,
            .cfg = s->o.rec.shard.cfg,
            .suspended = s->suspended && cw_mgr_report_fresh(m, v),
            .why = cw_mgr_arena_text(a, s->why),
            .compression = cw_compression_name(s->o.rec.shard.compression),
        };
        fill_members(m, s, a, &to[ret->n_shards++]);
    }
}

static const char *
state_name(const struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;

    if (r->purge_at_s != 0)
        return "trash";
    if (r->hold == CW_HOLD_RELEASED)
        return "released";
    if (r->caretaker)
        return "caretaken";
    return v->report.have ? "attached" : "recovering";
}

static uint64_t
volume_used(const struct cw_manager *m, const struct mgr_volume *v)
{
    uint64_t blocks = 0;

    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        for (uint32_t k = 0; s != NULL && k < s->o.rec.shard.n_members; k++) {
            if (s->o.rec.shard.members[k].state != CW_MEMBER_DEAD &&
                s->o.rec.shard.members[k].state != CW_MEMBER_JOURNAL) /* it counts what it lacks */
                blocks += s->mapped_blocks[k];
        }
    }
    return blocks * 4096;
}

static void
fill_use(const struct cw_manager *m, const struct mgr_volume *v, struct cw_mgr_volume_info *ret)
{
    ret->used_bytes = volume_used(m, v);
    ret->reads = v->report.reads;
    ret->writes = v->report.writes;
    ret->read_p99_ns = v->report.read_p99_ns;
    ret->write_p99_ns = v->report.write_p99_ns;
}

void
cw_mgr_volume_fill(const struct cw_manager *m, struct mgr_volume *v, struct cw_mgr_arena *a,
                   struct cw_mgr_volume_info *ret)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;
    char t[CW_MGR_TIME_SIZE], why[CW_MGR_WHY_SIZE] = "";
    char doing[CW_MGR_WHY_SIZE] = "";
    struct mgr_health health;
    struct cw_place_rule rule;
    struct cw_mgr_error err;

    cw_mgr_volume_health(m, v, &health);
    *ret = (struct cw_mgr_volume_info){
        .id = r->id,
        .name = cw_mgr_arena_text(a, r->name),
        .size_bytes = r->size_bytes,
        .policy = cw_mgr_arena_text(a, r->policy),
        .protection = cw_mgr_word_name(health.word),
        .protection_why = cw_mgr_arena_text(a, health.why),
        .eta_s = health.eta_s,
        .compliant = cw_mgr_policy_rule(cw_mgr_volume_policy(m, r), &rule, &err) &&
                     cw_mgr_volume_compliant(m, v, &rule, why),
        .state = state_name(v),
        .owner = cw_mgr_arena_text(a, r->owner_name),
        .owner_host = cw_mgr_arena_text(a, r->owner_host),
        .owner_since = cw_mgr_arena_text(a, cw_mgr_time_format(r->owner_since_s, t)),
        .gen = r->gen,
        .created = cw_mgr_arena_text(a, cw_mgr_time_format(r->created_s, t)),
        .purge_at = cw_mgr_arena_text(a, cw_mgr_time_format(r->purge_at_s, t)),
        .warning = "",
    };
    if (!ret->compliant && r->purge_at_s == 0 &&
        cw_mgr_policy_rule(cw_mgr_volume_policy(m, r), &rule, &err))
        cw_mgr_moves_doing(m, v, &rule, doing, sizeof(doing));
    ret->compliant_why = cw_mgr_arena_printf(a, "%s%s%s", why, doing[0] != '\0' ? "; " : "", doing);
    fill_use(m, v, ret);
    fill_shards(m, v, a, ret);
}
