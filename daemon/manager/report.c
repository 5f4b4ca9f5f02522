/* manager/report.c - what owners say of their volumes, about once a second. */
#include <string.h>

#include "daemon/manager/internal.h"

#define FRESH_NS (5 * CW_NS_PER_S)
#define LOST_SETTLE_NS (60 * CW_NS_PER_S)

static uint64_t
rate(uint64_t now, uint64_t before, uint64_t span_ns)
{
    if (now < before || span_ns == 0)
        return 0;
    return (uint64_t)((unsigned __int128)(now - before) * CW_NS_PER_S / span_ns);
}

/* What was told of it the last time; members may have stood elsewhere in the record then. NULL: it
 * is told of for the first time. */
static const struct mgr_member_now *
told_before(const struct mgr_member_now now[static CW_MEMBERS_MAX],
            const struct cw_mgr_member_report *mr)
{
    for (uint32_t i = 0; i < CW_MEMBERS_MAX; i++) {
        if (cw_uuid_equal(&now[i].disk, &mr->disk_uuid))
            return &now[i];
    }
    return NULL;
}

/* When did its resync come on last? */
static uint64_t
moved_at(const struct cw_manager *m, const struct mgr_member_now *before,
         const struct cw_mgr_member_report *mr)
{
    if (mr->chunks_total == 0)
        return 0;
    if (before != NULL && before->moved_ns != 0 && before->chunks_left == mr->chunks_left &&
        before->bytes_moved == mr->bytes_moved)
        return before->moved_ns;
    return cw_max_u64(cw_now_ns(m->env), 1);
}

/* What a resync moved since the report before; 0 if there was none, of this owner, to compare. */
static uint64_t
moved_since(const struct mgr_volume *v, const struct mgr_member_now *before,
            const struct cw_mgr_member_report *mr)
{
    if (!v->report.have)
        return 0;
    if (before != NULL && before->bytes_moved <= mr->bytes_moved)
        return mr->bytes_moved - before->bytes_moved;
    return mr->bytes_moved;
}

static void
shard_note(struct cw_manager *m, const struct mgr_volume *v, struct mgr_shard *s,
           const struct cw_mgr_shard_report *r, struct mgr_report *sum)
{
    const struct cw_shard_rec *rec = &s->o.rec.shard;
    struct mgr_member_now last[CW_MEMBERS_MAX];

    s->suspended = r->suspended;
    cw_mgr_text_clip(s->why, sizeof(s->why), r->why);
    memcpy(last, s->now, sizeof(last));
    memset(s->now, 0, sizeof(s->now));
    for (size_t i = 0; i < r->n_members; i++) {
        const struct cw_mgr_member_report *mr = &r->members[i];
        const struct mgr_member_now *before = told_before(last, mr);

        for (uint32_t k = 0; k < rec->n_members; k++) {
            if (!cw_uuid_equal(&rec->members[k].disk_uuid, &mr->disk_uuid))
                continue;
            s->now[k] = (struct mgr_member_now){ .chunks_left = mr->chunks_left,
                                                 .chunks_total = mr->chunks_total,
                                                 .bytes_moved = mr->bytes_moved,
                                                 .lag = mr->lag,
                                                 .lag_ns = mr->lag_ns,
                                                 .lag_bytes = mr->lag_bytes,
                                                 .connected = mr->connected,
                                                 .flapping = mr->flapping,
                                                 .disk = mr->disk_uuid,
                                                 .flaps = mr->flaps,
                                                 .moved_ns = moved_at(m, before, mr) };
            /* when those were that are told for the first time is not known */
            if (v->report.have && before != NULL && mr->flaps > before->flaps)
                cw_mgr_flaps_told(m, cw_mgr_find_copy_disk(&m->t, &rec->members[k]),
                                  &v->o.rec.volume.owner_id);
            if (!cw_uuid_is_nil(&mr->source_uuid))
                cw_mgr_ways_moved(m, &mr->source_uuid, &mr->disk_uuid, moved_since(v, before, mr),
                                  v->report.at_ns);
            sum->chunks_left += mr->chunks_left;
            sum->bytes_moved += mr->bytes_moved;
        }
    }
}

static void
report_rates(struct mgr_report *to, const struct mgr_report *old)
{
    uint64_t span = to->at_ns - old->at_ns;

    if (!old->have)
        return;
    if (span < CW_NS_PER_S / 10) { /* too near for a rate: the old one stands */
        to->reads_per_s = old->reads_per_s;
        to->writes_per_s = old->writes_per_s;
        to->repair_bytes_per_s = old->repair_bytes_per_s;
        return;
    }
    to->reads_per_s = rate(to->reads, old->reads, span);
    to->writes_per_s = rate(to->writes, old->writes, span);
    to->repair_bytes_per_s =
        (old->repair_bytes_per_s + rate(to->bytes_moved, old->bytes_moved, span)) / 2;
}

void
cw_manager_report(struct cw_manager *m, struct cw_mgr_session *s,
                  const struct cw_mgr_volume_report *r)
{
    struct mgr_volume *v = cw_mgr_find_volume(&m->t, r->volume_id);
    struct mgr_report to;

    cw_manager_session_alive(m, s);
    if (v == NULL || v->o.rec.volume.hold != CW_HOLD_OWNED || v->o.rec.volume.gen != r->gen ||
        cw_uuid_is_nil(&s->id) || !cw_uuid_equal(&v->o.rec.volume.owner_id, &s->id))
        return; /* of an owner that was fenced */
    to = (struct mgr_report){ .have = true,
                              .at_ns = cw_now_ns(m->env),
                              .reads = r->reads,
                              .writes = r->writes,
                              .read_p99_ns = r->read_p99_ns,
                              .write_p99_ns = r->write_p99_ns,
                              .error_blocks = r->error_blocks,
                              .repaired_blocks = r->repaired_blocks,
                              .lost_blocks = r->lost_blocks };
    for (size_t i = 0; i < r->n_shards; i++) {
        struct mgr_shard *sh = cw_mgr_find_shard(&m->t, r->shards[i].shard);

        if (sh != NULL && CW_SHARD_VOLUME(r->shards[i].shard) == r->volume_id)
            shard_note(m, v, sh, &r->shards[i], &to);
    }
    report_rates(&to, &v->report);
    if (to.repair_bytes_per_s > 0)
        m->moved_per_s = m->moved_per_s == 0 ? to.repair_bytes_per_s
                                             : (m->moved_per_s * 7 + to.repair_bytes_per_s) / 8;
    v->report = to;
    cw_mgr_resize_again(m, s, v, r->size_bytes);
    /* a new owner has to be told first: until then the last word of the one before stands */
    if (r->lost_blocks > 0 || to.at_ns - v->granted_ns >= LOST_SETTLE_NS)
        v->lost_blocks = r->lost_blocks;
}

bool
cw_mgr_report_fresh(const struct cw_manager *m, const struct mgr_volume *v)
{
    return v->report.have && cw_now_ns(m->env) - v->report.at_ns < FRESH_NS;
}

bool
cw_mgr_volume_suspended(const struct cw_manager *m, const struct mgr_volume *v)
{
    for (uint32_t i = 0; cw_mgr_report_fresh(m, v) && i < cw_mgr_volume_shards(v); i++) {
        const struct mgr_shard *s = cw_mgr_shard_of(m, v, i);

        if (s != NULL && s->suspended)
            return true;
    }
    return false;
}
