/* manager/findings.c - what is wrong, since when, what follows, what helps.
 *
 * Every look names what it finds; a finding that is named for the first time begins, one that is no
 * longer named ends. Both become events.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/size.h"
#include "daemon/manager/internal.h"

#define LOOK_NS (500 * CW_NS_PER_MS)
#define CSUM_SHOWN_NS (600 * CW_NS_PER_S) /* after the last error */
#define MAINTAIN_LONG_S (4 * 3600u)
#define STILL_NS (60 * CW_NS_PER_S)     /* without progress */
#define BAD_SHOWN_NS (60 * CW_NS_PER_S) /* most are mended before */

static struct mgr_finding *
finding_find(struct cw_manager *m, const char *code, const char *object)
{
    CW_LIST_EACH (it, &m->findings) {
        struct mgr_finding *f = cw_list_entry(it, struct mgr_finding, link);

        if (strcmp(f->code, code) == 0 && strcmp(f->object, object) == 0)
            return f;
    }
    return NULL;
}

/* Begins it, or notes that it goes on. The caller fills in effect, next and command. */
static struct mgr_finding *
found(struct cw_manager *m, const char *code, bool error, const char *object, uint64_t since_s,
      const char *cause)
{
    struct mgr_finding *f = finding_find(m, code, object);

    if (f == NULL) {
        f = calloc(1, sizeof(*f));
        cw_assert(f != NULL);
        f->since_s = since_s != 0 ? since_s : cw_mgr_wall_s(m);
        cw_mgr_text_clip(f->code, sizeof(f->code), code);
        cw_mgr_text_clip(f->object, sizeof(f->object), object);
        cw_list_push_back(&m->findings, &f->link);
        cw_mgr_event(m, code, object, "%s", cause);
    }
    f->seen = true;
    f->error = error;
    cw_mgr_text_clip(f->cause, sizeof(f->cause), cause);
    f->effect[0] = f->next[0] = f->command[0] = '\0';
    return f;
}

/* ---- hosts ---- */

static uint32_t
volumes_touched(const struct cw_manager *m, const char *host)
{
    uint32_t n = 0;
    uint64_t last = UINT64_MAX;

    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
            const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[i]);

            if (d == NULL || strcmp(d->o.rec.disk.host, host) != 0 ||
                CW_SHARD_VOLUME(s->o.rec.shard.shard) == last)
                continue;
            last = CW_SHARD_VOLUME(s->o.rec.shard.shard);
            n++;
        }
    }
    return n;
}

static void
look_at_host(struct cw_manager *m, const struct mgr_host *h)
{
    const struct cw_host_rec *r = &h->o.rec.host;
    char object[CW_OBJECT_SIZE], cause[CW_MGR_WHY_SIZE], span[CW_MGR_TIME_SIZE];
    struct mgr_finding *f;
    uint32_t n;

    if (!h->absent || cw_mgr_host_maintained(h))
        return;
    snprintf(object, sizeof(object), "%s/%s", r->site, r->name);
    snprintf(cause, sizeof(cause), "%s for %s", h->session != NULL ? "silent" : "not connected",
             cw_mgr_span_format((cw_now_ns(m->env) - h->ok_ns) / CW_NS_PER_S, span));
    f = found(m, "HOST_ABSENT", false, object, h->since_s, cause);
    n = volumes_touched(m, r->name);
    snprintf(f->effect, sizeof(f->effect), "%u volume%s with a copy there", n, n == 1 ? "" : "s");
    snprintf(f->next, sizeof(f->next), n == 0 ? "none" : "its copies resync when it returns");
    if (n > 0 && !cw_mgr_many_absent(m) && !cw_mgr_repair_paused(m))
        snprintf(f->command, sizeof(f->command), "causeway repair now --host %s", r->name);
    else if (n == 0)
        snprintf(f->command, sizeof(f->command), "causeway host rm %s", r->name);
    else
        snprintf(f->command, sizeof(f->command), "causeway host show %s", r->name);
}

/* Who began it may have forgotten it: meanwhile what is there has fewer copies. */
static void
look_at_maintenance(struct cw_manager *m, const struct mgr_host *h)
{
    const struct cw_host_rec *r = &h->o.rec.host;
    uint64_t now_s = cw_mgr_wall_s(m);
    char object[CW_OBJECT_SIZE], cause[CW_MGR_WHY_SIZE], span[CW_MGR_TIME_SIZE];
    struct mgr_finding *f;
    uint32_t n;

    if (!cw_mgr_host_maintained(h) || now_s < r->maintain_s + MAINTAIN_LONG_S)
        return;
    snprintf(object, sizeof(object), "%s/%s", r->site, r->name);
    snprintf(cause, sizeof(cause), "in maintenance for %s%s",
             cw_mgr_span_format(now_s - r->maintain_s, span), h->absent ? ", and down" : "");
    f = found(m, "MAINTENANCE_LONG", false, object, r->maintain_s, cause);
    n = volumes_touched(m, r->name);
    snprintf(f->effect, sizeof(f->effect), "it takes no new copies; %u volume%s with a copy there",
             n, n == 1 ? "" : "s");
    snprintf(f->next, sizeof(f->next), "none: nothing is rebuilt for a host in maintenance");
    snprintf(f->command, sizeof(f->command), "causeway host return %s", r->name);
}

/* Who paused it may have forgotten it. */
static void
look_at_pause(struct cw_manager *m)
{
    struct mgr_finding *f;

    if (!cw_mgr_repair_paused(m))
        return;
    f = found(m, "REPAIR_PAUSED", false, "repair", cw_mgr_cluster(m)->repair_paused_s,
              "by an operator's word");
    snprintf(f->effect, sizeof(f->effect), "no copy that is missing is made again");
    snprintf(f->next, sizeof(f->next), "none");
    snprintf(f->command, sizeof(f->command), "causeway repair resume");
}

/* The records have one home; without a backup the loss of that is the loss of names and policies.
 */
static void
look_at_backup(struct cw_manager *m)
{
    char cause[CW_MGR_WHY_SIZE];
    struct mgr_finding *f;

    if (!cw_mgr_backup_lacks(m, cause))
        return;
    f = found(m, "METADATA_NOT_SAVED", false, "metadata", 0, cause);
    snprintf(f->effect, sizeof(f->effect),
             "if the manager's directory were lost, its latest changes would be too");
    snprintf(f->next, sizeof(f->next), "it is tried again as hosts come and answer");
    snprintf(f->command, sizeof(f->command), "causeway metadata export FILE");
}

static void
look_at_kept(struct cw_manager *m, const struct mgr_host *h)
{
    const struct cw_host_rec *r = &h->o.rec.host;
    char object[CW_OBJECT_SIZE], cause[CW_MGR_WHY_SIZE], at[CW_MGR_TIME_SIZE];
    struct mgr_finding *f;

    if (!cw_mgr_backup_ahead(m, h))
        return;
    snprintf(object, sizeof(object), "%s/%s", r->site, r->name);
    snprintf(cause, sizeof(cause),
             "it keeps metadata of %s (epoch %llu) with changes that the manager's does not have",
             cw_mgr_time_format(h->kept.saved_s, at), (unsigned long long)h->kept.epoch);
    f = found(m, "METADATA_WENT_BACK", true, object, 0, cause);
    snprintf(
        f->effect, sizeof(f->effect),
        "what was changed since may be unknown here; copies with newer records block attaches");
    snprintf(f->next, sizeof(f->next), "none: it is kept there until it is restored or removed");
    snprintf(f->command, sizeof(f->command), "causeway metadata fetch FILE --from %s",
             r->advertise);
}

/* A job of an operator that does not come on. */
static void
look_at_work(struct cw_manager *m, const struct mgr_work *w)
{
    const struct cw_job_rec *j = &w->o.rec.job;
    bool still = w->moved_ns != 0 && cw_now_ns(m->env) - w->moved_ns >= STILL_NS;
    char cause[CW_MGR_WHY_SIZE];
    struct mgr_finding *f;

    if (j->state != CW_JOB_OPEN || j->kind == CW_JOB_VERIFY || !(still || w->blocked))
        return;
    cw_mgr_text_clip(cause, sizeof(cause), w->why[0] != '\0' ? w->why : "it does not come on");
    f = found(m,
              j->kind == CW_JOB_DRAIN      ? "DRAIN_BLOCKED"
              : j->kind == CW_JOB_MAINTAIN ? "MAINTENANCE_BLOCKED"
                                           : "REPAIR_BLOCKED",
              false, j->object[0] != '\0' ? j->object : "cluster", 0, cause);
    snprintf(f->effect, sizeof(f->effect),
             j->kind == CW_JOB_DRAIN      ? "copies stay on the disk"
             : j->kind == CW_JOB_MAINTAIN ? "the host may not go down yet"
                                          : "copies are missing");
    snprintf(f->next, sizeof(f->next), "it goes on when the cause ends");
    snprintf(f->command, sizeof(f->command), "causeway jobs show %llu", (unsigned long long)j->id);
}

/* Tables grow with the data and cannot be evicted: who gave the memory should know. */
static void
look_at_memory(struct cw_manager *m, const struct mgr_host *h)
{
    const struct cw_host_rec *r = &h->o.rec.host;
    const struct cw_mgr_memory *mem = &h->memory;
    char object[CW_OBJECT_SIZE], cause[CW_MGR_WHY_SIZE];
    char used[CW_SIZE_TEXT_SIZE], room[CW_SIZE_TEXT_SIZE], limit[CW_SIZE_TEXT_SIZE];
    struct mgr_finding *f;

    if (h->absent || h->session == NULL || mem->metadata_used_bytes <= mem->metadata_bytes)
        return;
    snprintf(object, sizeof(object), "%s/%s", r->site, r->name);
    snprintf(cause, sizeof(cause),
             "the tables of what its stores hold take %s of memory; --memory %s leaves %s for them",
             cw_size_format(mem->metadata_used_bytes, used),
             cw_size_format(mem->limit_bytes, limit), cw_size_format(mem->metadata_bytes, room));
    f = found(m, "MEMORY_SHORT", false, object, 0, cause);
    snprintf(f->effect, sizeof(f->effect), "its daemon takes more memory than it was given");
    snprintf(f->next, sizeof(f->next), "none; it serves as before");
    snprintf(f->command, sizeof(f->command), "causewayd --memory %lluM .. on %s",
             (unsigned long long)(cw_div_up(mem->metadata_used_bytes, CW_MIB) * 20), r->name);
}

/* ---- disks ---- */

/* It ends a little below where it began, so that a disk at the mark does not fill the events. */
static void
look_at_space(struct cw_manager *m, const struct mgr_disk *d, const char *object)
{
    uint32_t percent = cw_mgr_disk_percent(d);
    uint32_t from =
        MGR_NEARFULL_PERCENT - (finding_find(m, "DISK_NEARFULL", object) != NULL ? 2 : 0);
    char cause[CW_MGR_WHY_SIZE];
    struct mgr_finding *f;

    snprintf(cause, sizeof(cause), "%u %% of the space for data is used", percent);
    if (d->now.full) {
        f = found(m, "DISK_FULL", true, object, 0, d->why[0] != '\0' ? d->why : cause);
        snprintf(f->effect, sizeof(f->effect), "writes to volumes with a copy there wait");
        snprintf(f->next, sizeof(f->next), "they go on when space is freed");
    } else if (percent >= from) {
        f = found(m, "DISK_NEARFULL", false, object, 0, cause);
        snprintf(f->effect, sizeof(f->effect), "it takes no new copies%s",
                 cw_mgr_disk_crowded(d) ? ", and none is rebuilt there" : "");
        snprintf(f->next, sizeof(f->next), "%sat 95 %% writes to volumes with a copy there wait",
                 cw_mgr_disk_crowded(d) ? "" : "at 90 % no copy is rebuilt there, ");
    } else {
        return;
    }
    snprintf(f->command, sizeof(f->command), "causeway volume ls");
}

static void
look_closer(const struct mgr_disk *d, struct mgr_finding *f)
{
    snprintf(f->command, sizeof(f->command), "causeway disk show %s/%s", d->o.rec.disk.host,
             d->o.rec.disk.name);
}

static void
look_at_disk(struct cw_manager *m, const struct mgr_disk *d)
{
    const struct mgr_host *h = cw_mgr_disk_host(m, d);
    char object[CW_OBJECT_SIZE];
    struct mgr_finding *f;

    cw_mgr_disk_path(m, d, object);
    if (d->o.rec.disk.failed && !d->replaced) {
        f = found(m, "DISK_FAILED", true, object, 0, d->why[0] != '\0' ? d->why : "it failed");
        snprintf(f->effect, sizeof(f->effect), "its copies are not used");
        snprintf(f->next, sizeof(f->next),
                 "new copies are built where there is a place; if it is well again, a start of "
                 "its daemon takes it back");
        look_closer(d, f);
        return;
    }
    if (h == NULL || h->absent || h->session == NULL)
        return; /* says nothing of its disks */
    if (d->missing && !d->replaced) {
        f = found(m, "DISK_MISSING", true, object, 0, "its host is up without it");
        snprintf(f->effect, sizeof(f->effect), "its copies are not used");
        snprintf(f->next, sizeof(f->next), "as for an absent host");
        look_closer(d, f);
    } else if (d->reported && d->now.stuck) {
        f = found(m, "DISK_STUCK", true, object, 0,
                  d->why[0] != '\0' ? d->why : "it does not answer");
        snprintf(f->effect, sizeof(f->effect), "its copies leave the in-sync set");
        snprintf(f->next, sizeof(f->next), "they resync when it answers again");
        look_closer(d, f);
    } else if (d->reported) {
        look_at_space(m, d, object);
    }
}

static uint32_t
copies_on(const struct cw_manager *m, const struct mgr_disk *d)
{
    uint32_t n = 0;

    MGR_EACH(&m->t, CW_REC_SHARD, struct mgr_shard, s)
    {
        for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++)
            n += cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[i]) == d;
    }
    return n;
}

static void
look_at_quarantine(struct cw_manager *m, const struct mgr_disk *d)
{
    const struct cw_disk_rec *r = &d->o.rec.disk;
    char object[CW_OBJECT_SIZE];
    struct mgr_finding *f;
    uint32_t n;

    if (!r->quarantined || d->replaced) /* its name is another's now */
        return;
    cw_mgr_disk_path(m, d, object);
    f = found(m, "DISK_QUARANTINED", false, object, r->quarantined_s, cw_mgr_quarantine_why(r));
    n = copies_on(m, d);
    snprintf(f->effect, sizeof(f->effect), "no new copy is placed there; %u cop%s left on it", n,
             n == 1 ? "y is" : "ies are");
    snprintf(f->next, sizeof(f->next),
             n > 0 ? "each is built again on another disk, if there is a place, and then leaves it"
                   : "none: the disk can be replaced");
    snprintf(f->command, sizeof(f->command), "causeway disk return %s/%s", r->host, r->name);
}

static void
look_at_slowness(struct cw_manager *m, const struct mgr_disk *d)
{
    char object[CW_OBJECT_SIZE], cause[CW_MGR_WHY_SIZE], span[CW_MGR_TIME_SIZE];
    struct mgr_finding *f;

    if (!cw_mgr_disk_slow(m, d))
        return;
    cw_mgr_disk_path(m, d, object);
    snprintf(cause, sizeof(cause),
             "its writes took %llu ms at the 99th percentile, those of the median disk %llu us, "
             "for %s",
             (unsigned long long)(d->now.write_p99_ns / CW_NS_PER_MS),
             (unsigned long long)(m->median_p99_ns / 1000),
             cw_mgr_span_format((cw_now_ns(m->env) - d->slow_ns) / CW_NS_PER_S, span));
    f = found(m, "DISK_SLOW", false, object, 0, cause);
    snprintf(f->effect, sizeof(f->effect), "copies there are set aside while they hold up writes");
    snprintf(f->next, sizeof(f->next), "they are taken back when they keep up");
    snprintf(f->command, sizeof(f->command), "causeway disk drain %s/%s --plan", d->o.rec.disk.host,
             d->o.rec.disk.name);
}

static void
look_at_bad_blocks(struct cw_manager *m, const struct mgr_disk *d)
{
    char object[CW_OBJECT_SIZE], cause[CW_MGR_WHY_SIZE];
    struct mgr_finding *f;

    if (d->bad_at_ns == 0 || d->replaced || cw_now_ns(m->env) - d->bad_at_ns < BAD_SHOWN_NS)
        return;
    cw_mgr_disk_path(m, d, object);
    snprintf(cause, sizeof(cause), "%llu blocks of copies there are bad and not repaired yet",
             (unsigned long long)d->now.scrub.bad_blocks);
    f = found(m, "BLOCKS_BAD", false, object, 0, cause);
    snprintf(f->effect, sizeof(f->effect),
             "they are read from other copies, as far as there are any");
    snprintf(f->next, sizeof(f->next),
             "repaired once another copy in sync has them, or when they are overwritten");
    snprintf(f->command, sizeof(f->command), "causeway scrub ls");
}

static void
look_at_checksums(struct cw_manager *m, const struct mgr_disk *d)
{
    char object[CW_OBJECT_SIZE], cause[CW_MGR_WHY_SIZE];
    struct mgr_finding *f;

    if (d->csum_at_ns == 0 || cw_now_ns(m->env) - d->csum_at_ns >= CSUM_SHOWN_NS)
        return;
    cw_mgr_disk_path(m, d, object);
    snprintf(cause, sizeof(cause), "checksums did not match %llu times",
             (unsigned long long)d->now.csum_errors);
    f = found(m, "CHECKSUM_ERRORS", false, object, 0, cause);
    snprintf(f->effect, sizeof(f->effect), "such blocks are read from another copy");
    snprintf(f->next, sizeof(f->next), "they are repaired from another copy as they are found");
    snprintf(f->command, sizeof(f->command), "causeway scrub ls");
}

/* ---- volumes ---- */

static const char *
word_code(enum mgr_word w)
{
    switch (w) {
    case MGR_REDUCED_WAITING:
    case MGR_REDUCED_REBUILDING:
    case MGR_REDUCED_STUCK:
        return "VOLUME_REDUCED";
    case MGR_AT_RISK:
        return "VOLUME_AT_RISK";
    case MGR_SUSPENDED:
        return "VOLUME_SUSPENDED";
    case MGR_UNAVAILABLE:
        return "VOLUME_UNAVAILABLE";
    case MGR_LOST:
        return "VOLUME_LOST";
    case MGR_FULL:
    case MGR_N_WORDS:
        break;
    }
    return NULL;
}

static void
word_effect(enum mgr_word w, struct mgr_finding *f)
{
    if (w == MGR_SUSPENDED)
        snprintf(f->effect, sizeof(f->effect), "writes wait; no data is lost");
    else if (w == MGR_UNAVAILABLE || w == MGR_LOST)
        snprintf(f->effect, sizeof(f->effect), "it cannot be read or written");
    else if (w == MGR_AT_RISK)
        snprintf(f->effect, sizeof(f->effect), "one more failure makes it unavailable");
    else
        snprintf(f->effect, sizeof(f->effect), "it serves with fewer copies (%s)",
                 cw_mgr_word_name(w));
}

/* Every copy is in sync, but they do not lie as the policy asks. */
static void
look_at_compliance(struct cw_manager *m, const struct mgr_volume *v)
{
    const struct cw_volume_rec *r = &v->o.rec.volume;
    char why[CW_MGR_WHY_SIZE];
    struct cw_place_rule rule;
    struct cw_mgr_error err;
    struct mgr_finding *f;

    if (r->purge_at_s != 0 || !cw_mgr_policy_rule(cw_mgr_volume_policy(m, r), &rule, &err) ||
        cw_mgr_volume_compliant(m, v, &rule, why))
        return;
    f = found(m, "VOLUME_NONCOMPLIANT", false, r->name, 0, why);
    snprintf(f->effect, sizeof(f->effect), "it serves, not as policy %s asks", r->policy);
    snprintf(f->next, sizeof(f->next), "copies move, one after the other, where there is a place");
    snprintf(f->command, sizeof(f->command), "causeway explain %s", r->name);
}

static void
look_at_volume(struct cw_manager *m, struct mgr_volume *v)
{
    const char *name = v->o.rec.volume.name;
    struct mgr_health health;
    struct mgr_finding *f;

    cw_mgr_volume_health(m, v, &health);
    if (v->word != cw_mgr_word_name(health.word)) {
        v->word = cw_mgr_word_name(health.word);
        v->word_since_s = cw_mgr_wall_s(m);
    }
    if (health.word != MGR_FULL) {
        f = found(m, word_code(health.word), health.word >= MGR_AT_RISK, name, v->word_since_s,
                  health.why);
        word_effect(health.word, f);
        cw_mgr_text_clip(f->next, sizeof(f->next), health.next);
        snprintf(f->command, sizeof(f->command), "causeway volume %s %s",
                 health.word == MGR_LOST ? "recover" : "show", name);
    } else {
        look_at_compliance(m, v);
    }
    if (v->lost_blocks > 0 || (v->report.have && v->report.error_blocks > 0)) {
        f = found(m, "BLOCKS_LOST", true, name, 0, "no copy of some block verifies");
        snprintf(f->effect, sizeof(f->effect), "%llu blocks cannot be read; %llu reads failed",
                 (unsigned long long)v->lost_blocks,
                 (unsigned long long)(v->report.have ? v->report.error_blocks : 0));
        snprintf(f->next, sizeof(f->next), "a block is good again when it is overwritten");
    }
}

/* A copy is being filled, and nothing comes. */
static void
look_at_resync(struct cw_manager *m, const struct mgr_volume *v, const struct mgr_shard *s)
{
    for (uint32_t i = 0; i < s->o.rec.shard.n_members; i++) {
        const struct mgr_disk *d = cw_mgr_find_copy_disk(&m->t, &s->o.rec.shard.members[i]);
        char cause[CW_MGR_WHY_SIZE];
        struct mgr_finding *f;

        if (s->o.rec.shard.members[i].state != CW_MEMBER_IN_RESYNC ||
            s->o.rec.shard.members[i].async || d == NULL || s->now[i].moved_ns == 0 ||
            cw_now_ns(m->env) - s->now[i].moved_ns < STILL_NS)
            continue;
        snprintf(cause, sizeof(cause), "the copy on %s/%s got nothing for more than 60 s: %.120s",
                 d->o.rec.disk.host, d->o.rec.disk.name,
                 s->why[0] != '\0'           ? s->why
                 : !cw_mgr_disk_serves(m, d) ? "its disk does not answer"
                 : cw_mgr_disk_crowded(d)    ? "its disk is too full"
                                             : "its source gives none");
        f = found(m, "REPAIR_STUCK", false, v->o.rec.volume.name, 0, cause);
        snprintf(f->effect, sizeof(f->effect), "it serves with fewer copies");
        snprintf(f->next, sizeof(f->next), "its owner asks another source, again and again");
        snprintf(f->command, sizeof(f->command), "causeway repair ls");
    }
}

/* The first of its shards that does not. */
static void
look_at_async(struct cw_manager *m, const struct mgr_volume *v)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);
        char why[CW_MGR_WHY_SIZE];
        struct mgr_finding *f;

        if (s == NULL || !cw_mgr_async_behind(m, v, s, why))
            continue;
        f = found(m, "ASYNC_BEHIND", false, v->o.rec.volume.name, 0, why);
        snprintf(f->effect, sizeof(f->effect),
                 "what would be lost if all other copies were is more than rpo=%us",
                 (unsigned)(cw_mgr_async_rpo_ns(m, v) / CW_NS_PER_S));
        snprintf(f->next, sizeof(f->next), "it catches up as fast as the way to it allows");
        snprintf(f->command, sizeof(f->command), "causeway volume show %s", v->o.rec.volume.name);
        return;
    }
}

static void
look_at_records(struct cw_manager *m, struct mgr_volume *v)
{
    for (uint32_t i = 0; i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);
        struct mgr_finding *f;

        if (s == NULL || !cw_mgr_shard_ahead(m, s))
            continue;
        f = found(m, "METADATA_BEHIND", true, v->o.rec.volume.name, 0,
                  "a copy knows a newer record than the metadata store");
        snprintf(f->effect, sizeof(f->effect), "it cannot be attached");
        snprintf(f->next, sizeof(f->next), "none: the newest metadata must be restored");
        return;
    }
}

/* ---- the look ---- */

static void
findings_sweep(struct cw_manager *m)
{
    CW_LIST_EACH_SAFE (it, &m->findings) {
        struct mgr_finding *f = cw_list_entry(it, struct mgr_finding, link);
        char span[CW_MGR_TIME_SIZE];
        uint64_t now_s = cw_mgr_wall_s(m);

        if (f->seen)
            continue;
        cw_mgr_event(m, f->code, f->object, "ended after %s",
                     cw_mgr_span_format(now_s > f->since_s ? now_s - f->since_s : 0, span));
        cw_list_remove(&f->link);
        free(f);
    }
}

void
cw_mgr_findings_look(struct cw_manager *m)
{
    CW_LIST_EACH (it, &m->findings)
        cw_list_entry(it, struct mgr_finding, link)->seen = false;
    MGR_EACH(&m->t, CW_REC_HOST, struct mgr_host, h)
    {
        look_at_host(m, h);
        look_at_memory(m, h);
        look_at_maintenance(m, h);
        look_at_kept(m, h);
    }
    look_at_pause(m);
    look_at_backup(m);
    cw_mgr_slow_look(m);
    MGR_EACH(&m->t, CW_REC_JOB, struct mgr_work, w)
    look_at_work(m, w);
    MGR_EACH(&m->t, CW_REC_DISK, struct mgr_disk, d)
    {
        look_at_disk(m, d);
        look_at_checksums(m, d);
        look_at_quarantine(m, d);
        look_at_bad_blocks(m, d);
        look_at_slowness(m, d);
    }
    MGR_EACH(&m->t, CW_REC_VOLUME, struct mgr_volume, v)
    {
        if (v->o.rec.volume.purge_at_s != 0)
            continue;
        look_at_volume(m, v);
        look_at_records(m, v);
        look_at_async(m, v);
        for (uint32_t i = 0; cw_mgr_report_fresh(m, v) && i < cw_mgr_volume_shards(v); i++) {
            const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

            if (s != NULL)
                look_at_resync(m, v, s);
        }
    }
    findings_sweep(m);
    m->looked_ns = cw_now_ns(m->env);
}

void
cw_mgr_findings_tick(struct cw_manager *m)
{
    if (cw_now_ns(m->env) - m->looked_ns >= LOOK_NS)
        cw_mgr_findings_look(m);
}

void
cw_mgr_findings_fini(struct cw_manager *m)
{
    struct cw_list *node;

    while ((node = cw_list_pop_front(&m->findings)) != NULL)
        free(cw_list_entry(node, struct mgr_finding, link));
}
