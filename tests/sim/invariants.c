/* sim/invariants.c - what must hold between any two events, by the numbers of replication.md.
 *
 * The harness keeps a shadow of what each copy promised and holds, so that it survives restarts:
 *
 *   I1   what an owner acknowledges is durable on every copy in sync; with I2:
 *        with ack=replicated: was received by every copy in sync, and is lost only if all of those
 *        crashed that the next owner finds in sync
 *   I2   a copy in sync that serves, and a journal that has begun, holds every acknowledged record
 *   I3   the newest owner waits for every copy in sync and for no less in doubt (I4), and reads no
 *        copy that is not; who is promoted has a tail that reaches back to all copies in sync
 *   I5   promised_gen never falls
 *   I6   durable records have no gaps, and never become fewer, by a restart neither (I16)
 *   I7   copies that hold the same (gen, seq) agree on it and on the record before it; by
 *        induction, on all before it
 *   I9   the same version of a chunk is the same content, on whichever copy and whenever it was
 *        seen
 *   I12  the register: somebody is in sync, gen and cfg never fall
 *   I17  no copy in sync has to refuse a record for want of space
 *   I18  no copy in sync is made anew, but of those that nobody was active with
 *
 *   I11  no request that began after a newer owner was ACTIVE on its shard is done by an older one
 *        (I5 of writes, I10 of reads; client.c asks)
 *
 * I8, I10 and I13, and I11 besides, are judged by the histories (history.c), I14 by the scrub after
 * rot (rot.c) and a play, I15 by media.c; docs/testing.md has them all.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/bits.h"
#include "common/codec/hash.h"
#include "tests/sim/scenario.h"

/* That the workload touches, and what fills disks. */
#define CHUNKS (SIM_BLOCKS / 16 + 1)
#define CHUNKS_ALL (SIM_GUEST_OFF / CW_MIB + SIM_FULL_CHUNKS)
#define CHUNKS_SEVERAL (2 * SIM_GROUPS) /* of several shards: on both sides of each border */

/* A durable record of a copy; id 0: not known. */
struct seen {
    uint64_t id;
    uint32_t gen;
};

struct shadow {
    uint32_t life; /* of the daemon, when sh was found */
    struct cw_store_shard *sh;
    const struct cw_store_shard_info *info;
    uint32_t promised, gen;
    uint64_t seq, join_id;
    uint64_t got, ever; /* highest seq received: since its daemon began, and before */
    bool damaged, syncing;
    struct seen *seen; /* by seq */
    uint64_t cap;
};

#define VERSION_GENS 4u /* that are remembered of one seq */
struct version {
    uint64_t hash[VERSION_GENS];
    uint32_t gen[VERSION_GENS]; /* 0: none yet */
};

/* One shard. */
struct watch {
    struct shadow of[SIM_DAEMONS_MAX];
    uint64_t acked;
    uint64_t told; /* highest seq that an owner acknowledged; of which: */
    uint32_t told_gen, told_epoch;
    uint32_t settled_gen; /* the newest that began on a copy in sync */
    uint32_t lost_epoch;  /* what owners up to it acknowledged does not count any more */
    uint32_t gen, cfg;
    uint32_t active_epoch;  /* of the newest owner that was ACTIVE here */
    uint32_t in_sync, logs; /* bit per daemon, as last looked at; logs: journals that have begun */
    struct cw_shard_view views[SIM_CLIENTS_MAX];
};

struct sim_watch {
    struct watch at[SIM_SHARDS_MAX];
    uint32_t starved;                     /* bit per client: waits for space */
    struct version *versions[CHUNKS_ALL]; /* by seq */
    uint64_t n_versions[CHUNKS_ALL];
    uint32_t next_look; /* at a daemon's chunks */
    struct cw_store_tail_entry tail[CW_TAIL_MAX];
};

static void *
grow(void *at, uint64_t *n, uint64_t want, size_t size)
{
    uint64_t to = cw_max_u64(want + 1, *n * 2 + 1024);

    if (want < *n)
        return at;
    at = realloc(at, to * size);
    cw_assert(at != NULL);
    memset((uint8_t *)at + *n * size, 0, (to - *n) * size);
    *n = to;
    return at;
}

void
sim_watch_init(struct sim *sim)
{
    sim->watch = calloc(1, sizeof(*sim->watch));
    cw_assert(sim->watch != NULL);
}

void
sim_watch_fini(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_DAEMONS_MAX; i++)
        sim_watch_forget(sim, i);
    for (uint32_t i = 0; i < CHUNKS_ALL; i++)
        free(sim->watch->versions[i]);
    free(sim->watch);
}

static void
forget_copy(struct watch *w, uint32_t daemon)
{
    free(w->of[daemon].seen);
    w->of[daemon] = (struct shadow){ 0 };
}

void
sim_watch_forget(struct sim *sim, uint32_t daemon)
{
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++)
        forget_copy(&sim->watch->at[i], daemon);
}

/* ---- copies ---- */

static uint64_t
entry_id(const struct cw_store_tail_entry *e)
{
    uint64_t id = cw_mix64(cw_mix64(e->lba ^ (uint64_t)e->type << 56) ^ e->csum0);

    return cw_mix64(id ^ e->nblk) | 1;
}

static struct seen
seen_at(const struct shadow *w, uint64_t seq)
{
    return seq < w->cap ? w->seen[seq] : (struct seen){ 0 };
}

static void
compare_record(struct sim *sim, const struct watch *of, uint32_t daemon, uint64_t seq)
{
    const struct shadow *mine = &of->of[daemon];

    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        const struct shadow *w = &of->of[i];
        struct seen a = seen_at(mine, seq), b = seen_at(w, seq);
        struct seen a1 = seen_at(mine, seq - 1), b1 = seen_at(w, seq - 1);

        if (i == daemon || b.id == 0 || a.gen != b.gen)
            continue;
        if (a.id != b.id || (a1.id != 0 && b1.id != 0 && (a1.id != b1.id || a1.gen != b1.gen)))
            sim_fail(sim, "invariant: I7: %s and %s hold another record %llu, or another before it",
                     sim->daemons[daemon].proc.name, sim->daemons[i].proc.name,
                     (unsigned long long)seq);
    }
}

/* Records (from, info->durable_seq] are new. Those that all have already are not listed any more.
 */
static void
take_records(struct sim *sim, struct watch *of, uint32_t daemon, uint64_t from)
{
    struct sim_watch *w = sim->watch;
    struct shadow *d = &of->of[daemon];
    uint32_t n = cw_store_tail_list(d->sh, w->tail, CW_TAIL_MAX);
    uint64_t last = 0;

    d->seen = grow(d->seen, &d->cap, d->info->durable_seq, sizeof(d->seen[0]));
    for (uint32_t i = 0; i < n; i++) {
        const struct cw_store_tail_entry *e = &w->tail[i];

        if (e->seq <= from)
            continue;
        if (last != 0 && e->seq != last + 1)
            sim_fail(sim, "invariant: I6: %s: record %llu follows %llu",
                     sim->daemons[daemon].proc.name, (unsigned long long)e->seq,
                     (unsigned long long)last);
        last = e->seq;
        if (d->info->syncing || d->syncing) /* what it drops it does not keep */
            continue;
        d->seen[e->seq] = (struct seen){ .id = entry_id(e), .gen = e->gen };
        compare_record(sim, of, daemon, e->seq);
    }
}

static void
check_promise(struct sim *sim, struct watch *of, uint32_t daemon)
{
    struct shadow *w = &of->of[daemon];

    /* a damaged copy has lost records, its promise may be among them; it serves nothing */
    if (w->info->promised_gen < w->promised && !w->info->damaged)
        sim_fail(sim, "invariant: I5: %s promised gen %u, and now %u",
                 sim->daemons[daemon].proc.name, w->promised, w->info->promised_gen);
    if (w->info->durable_seq > 0) /* else its creation may not be durable */
        w->promised = w->info->promised_gen;
}

static void
check_records(struct sim *sim, struct watch *of, uint32_t daemon)
{
    struct shadow *w = &of->of[daemon];
    const struct cw_store_shard_info *info = w->info;
    bool fell =
        info->durable_gen < w->gen || (info->durable_gen == w->gen && info->durable_seq < w->seq);

    if (fell && !info->damaged && info->join_id == w->join_id)
        sim_fail(sim, "invariant: I6, I16: %s had (%u, %llu) durable, and now (%u, %llu)",
                 sim->daemons[daemon].proc.name, w->gen, (unsigned long long)w->seq,
                 info->durable_gen, (unsigned long long)info->durable_seq);
    if (fell || info->join_id != w->join_id) { /* what it holds below is not in its tail */
        if (w->cap > 0)
            memset(w->seen, 0, w->cap * sizeof(w->seen[0]));
        w->join_id = info->join_id;
    } else if (info->durable_seq > w->seq) {
        take_records(sim, of, daemon, w->seq);
    }
    w->ever = cw_max_u64(w->ever, info->last_seq);
    if (info->last_gen <= of->told_gen) /* not the beginning of one that does without */
        w->got = cw_max_u64(w->got, info->last_seq);
    w->syncing = info->syncing;
    w->gen = info->durable_gen;
    w->seq = info->durable_seq;
}

static bool
shadow_find(struct sim *sim, uint32_t shard, uint32_t daemon)
{
    struct watch *of = &sim->watch->at[shard];
    struct shadow *w = &of->of[daemon];
    const struct sim_daemon *d = &sim->daemons[daemon];

    w->sh = sim_copy_of(sim, d, shard);
    if (w->life != d->proc.life)
        w->got = 0;
    w->life = d->proc.life;
    if (w->sh == NULL) {
        /* media: its creation was lost with the log */
        if (w->promised > 0 && !sim_drops_copies(sim) && !sim_media_excuses(sim, d))
            sim_fail(sim, "invariant: I6: %s has no copy any more", d->proc.name);
        if (w->promised > 0)
            sim_media_lost_copy(sim, shard, d);
        forget_copy(of, daemon); /* managers have copies dropped */
        return false;
    }
    w->info = cw_store_shard_info(w->sh);
    return true;
}

static void
check_daemon(struct sim *sim, uint32_t shard, uint32_t daemon)
{
    struct watch *of = &sim->watch->at[shard];
    struct shadow *w = &of->of[daemon];
    const struct sim_daemon *d = &sim->daemons[daemon];

    if (!d->proc.up || !d->serving || !shadow_find(sim, shard, daemon))
        return;
    check_promise(sim, of, daemon);
    check_records(sim, of, daemon);
    if (w->info->damaged && !w->damaged)
        sim_mark(sim, SIM_MARK_DAMAGED);
    w->damaged = w->info->damaged;
}

/* What the shadow says is of the process that is up. */
static bool
shadow_is_now(const struct sim *sim, const struct watch *of, uint32_t daemon)
{
    const struct sim_daemon *d = &sim->daemons[daemon];
    const struct shadow *w = &of->of[daemon];

    return d->proc.up && d->serving && w->sh != NULL && w->life == d->proc.life;
}

/* ---- owners, the register ---- */

/* An owner waits for space, and goes on. */
static void
check_space(struct sim *sim, uint32_t client)
{
    const struct sim_client *c = &sim->clients[client];
    uint32_t bit = 1u << client;
    const char *why = "";
    bool waits = c->proc.up && c->volume != NULL && cw_volume_suspended(c->volume, &why) &&
                 strstr(why, "space") != NULL;

    if (waits && !(sim->watch->starved & bit))
        sim_mark(sim, SIM_MARK_STARVED);
    if (!waits && (sim->watch->starved & bit) && c->proc.up && c->ready && !c->lost)
        sim_mark(sim, SIM_MARK_FED);
    sim->watch->starved = waits ? sim->watch->starved | bit : sim->watch->starved & ~bit;
}

static const struct cw_shard_view_copy *
view_of(const struct cw_shard_view *v, const struct cw_member *m)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (v->of[i].format_id == m->format_id && cw_uuid_equal(&v->of[i].disk_uuid, &m->disk_uuid))
            return &v->of[i];
    return NULL;
}

static bool
is_begun_log(const struct cw_member *m)
{
    return m->state == CW_MEMBER_JOURNAL && m->since_seq != 0;
}

/* The newest owner waits for every copy that is in sync, whatever it knows by now, and reads no
 * other. */
static void
check_sets(struct sim *sim, uint32_t shard, const struct sim_client *c,
           const struct cw_shard_view *v)
{
    const struct cw_shard_rec *rec = &sim->reg.recs[shard];

    if (v->n == 0 || c->lost || c->gen != sim->reg.gen)
        return;
    for (uint32_t i = 0; i < rec->n_members; i++) {
        const struct cw_member *m = &rec->members[i];
        const struct cw_shard_view_copy *o = view_of(v, m);
        bool in_sync = m->state == CW_MEMBER_INSYNC;

        if ((in_sync || is_begun_log(m)) && (o == NULL || !o->ack))
            sim_fail(sim, "invariant: I3, I4: member %u is %s, and %s does not wait for it", i,
                     cw_member_state_name(m->state), c->proc.name);
        if (!in_sync && o != NULL && o->read)
            sim_fail(sim, "invariant: I3, I4: member %u is %s, and %s reads it", i,
                     cw_member_state_name(m->state), c->proc.name);
    }
}

/* ---- what was acknowledged in memory ---- */

static bool
may_hold_told(const struct sim *sim, uint32_t shard, uint32_t i)
{
    const struct watch *w = &sim->watch->at[shard];

    return (w->in_sync | w->logs) & 1u << i && shadow_is_now(sim, w, i) && !w->of[i].damaged;
}

static bool
holds_told(const struct sim *sim, uint32_t shard, uint32_t i)
{
    return may_hold_told(sim, shard, i) && !sim_media_forgot(sim, shard, i);
}

/* The newest owner, or one that will be followed by none but it. */
static void
check_told(struct sim *sim, uint32_t shard, const struct sim_client *c, uint64_t told,
           uint64_t durable)
{
    struct watch *w = &sim->watch->at[shard];

    if (told == 0 || c->gen < w->settled_gen || c->gen < w->told_gen)
        return;
    if (told > durable)
        sim_mark(sim, SIM_MARK_RECEIVED);
    if (c->gen == w->told_gen && told <= w->told)
        return;
    w->told = told;
    w->told_gen = c->gen;
    w->told_epoch = c->epoch;
    for (uint32_t i = 0; c->gen == sim->reg.gen && i < sim->n_daemons; i++)
        if (holds_told(sim, shard, i) && w->of[i].ever < told)
            sim_fail(sim, "invariant: I1: %llu is acknowledged, and %s received %llu",
                     (unsigned long long)told, sim->daemons[i].proc.name,
                     (unsigned long long)w->of[i].ever);
}

/* The first generation after told_gen in that copy's history: what is from its beginning on does
 * not exist any more. */
static uint64_t
next_begins(const struct watch *w, const struct cw_store_shard_info *info)
{
    for (uint32_t i = 0; i < info->n_hist; i++)
        if (info->hist[i].gen > w->told_gen)
            return info->hist[i].start_seq;
    return UINT64_MAX;
}

static void
check_settled(struct sim *sim, uint32_t shard, uint32_t daemon)
{
    struct watch *w = &sim->watch->at[shard];
    const struct cw_store_shard_info *info = w->of[daemon].info;
    uint64_t kept = 0;

    if (!may_hold_told(sim, shard, daemon) || info->n_hist == 0 ||
        info->hist[info->n_hist - 1].gen <= cw_max_u64(w->settled_gen, w->told_gen))
        return;
    w->settled_gen = info->hist[info->n_hist - 1].gen;
    if (w->told == 0 || next_begins(w, info) > w->told)
        return;
    for (uint32_t i = 0; i < sim->n_daemons; i++)
        if (holds_told(sim, shard, i))
            kept = cw_max_u64(kept, w->of[i].got);
    if (kept >= w->told && holds_told(sim, shard, daemon)) /* else it may have forgotten it */
        sim_fail(sim, "invariant: I2: %llu is acknowledged and received, and gen %u begins at %llu",
                 (unsigned long long)w->told, w->settled_gen,
                 (unsigned long long)next_begins(w, info));
    sim_mark(sim, SIM_MARK_UNFLUSHED);
    sim_history_unflushed(sim, shard, w->told_epoch);
}

bool
sim_watch_is_past(const struct sim *sim, uint32_t shard, uint32_t gen)
{
    return sim->replicated && sim->watch->at[shard].settled_gen > gen;
}

static void
check_client(struct sim *sim, uint32_t shard, uint32_t client)
{
    struct watch *w = &sim->watch->at[shard];
    const struct sim_client *c = &sim->clients[client];
    struct cw_shard_view *was = &w->views[client], now = { 0 };

    if (c->proc.up && c->volume != NULL && shard < c->n_shards)
        cw_volume_view_shard(c->volume, shard, &now);
    check_sets(sim, shard, c, &now);
    if (now.lease_wait && !was->lease_wait)
        sim_mark(sim, SIM_MARK_LEASE_WAIT);
    if (now.doubt && !was->doubt)
        sim_mark(sim, SIM_MARK_DOUBT);
    if (now.n_tails >= 3 && was->n_tails < 3)
        sim_mark(sim, SIM_MARK_TAILS);
    check_told(sim, shard, c, c->epoch > w->lost_epoch ? now.told : 0, now.acked);
    *was = now;
    if (now.n > 0)
        w->active_epoch = (uint32_t)cw_max_u64(w->active_epoch, c->epoch);
    if (c->epoch > w->lost_epoch)
        w->acked = cw_max_u64(w->acked, now.acked);
}

/* Who is promoted may be the only one left to give the others what they lack: so they lack nothing
 * from before its tail (1.10 step 5). */
static void
check_promoted(struct sim *sim, uint32_t shard, uint32_t daemon)
{
    struct watch *w = &sim->watch->at[shard];
    struct cw_store_tail_entry *tail = sim->watch->tail;
    uint64_t last = w->of[daemon].info->durable_seq, first = last + 1;

    if (cw_store_tail_list(w->of[daemon].sh, tail, CW_TAIL_MAX) > 0)
        first = tail[0].seq;
    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        const struct shadow *o = &w->of[i];

        if (i == daemon || !(w->in_sync & 1u << i) || !shadow_is_now(sim, w, i) ||
            o->info->damaged || sim_media_forgot(sim, shard, i) ||
            sim_media_forgot(sim, shard, daemon))
            continue;
        if (o->info->durable_seq < last && o->info->durable_seq + 1 < first)
            sim_fail(sim,
                     "invariant: I3: %s is promoted, its tail begins at %llu, and %s ends at %llu",
                     sim->daemons[daemon].proc.name, (unsigned long long)first,
                     sim->daemons[i].proc.name, (unsigned long long)o->info->durable_seq);
    }
}

static void
note_uneven(struct sim *sim)
{
    uint32_t n_whole = 0;

    for (uint32_t i = 0; i < sim->n_shards; i++)
        n_whole += sim_reg_n_in_sync(sim, i) == sim->reg.recs[i].n_members;
    if (n_whole > 0 && n_whole < sim->n_shards)
        sim_mark(sim, SIM_MARK_UNEVEN);
}

static void
check_register(struct sim *sim, uint32_t shard)
{
    const struct sim_reg *r = &sim->reg;
    const struct cw_shard_rec *rec = &r->recs[shard];
    struct watch *w = &sim->watch->at[shard];
    uint32_t n = 0, was = w->in_sync;

    if (r->gen == w->gen && rec->cfg == w->cfg)
        return;
    for (uint32_t i = 0; i < sim->n_clients; i++)
        sim->touched |= 1u << sim->clients[i].proc.index;
    if (r->gen < w->gen || rec->cfg < w->cfg)
        sim_fail(sim, "invariant: I5: the register went from gen %u cfg %u to gen %u cfg %u",
                 w->gen, w->cfg, r->gen, rec->cfg);
    w->gen = r->gen;
    w->cfg = rec->cfg;
    w->in_sync = w->logs = 0;
    for (uint32_t i = 0; i < rec->n_members; i++) {
        const struct sim_daemon *d = sim_member_daemon(sim, &rec->members[i]);

        n += rec->members[i].state == CW_MEMBER_INSYNC;
        if (rec->members[i].state == CW_MEMBER_INSYNC && d != NULL)
            w->in_sync |= 1u << (d - sim->daemons);
        if (is_begun_log(&rec->members[i]) && d != NULL)
            w->logs |= 1u << (d - sim->daemons);
    }
    if (n == 0)
        sim_fail(sim, "invariant: I12: nobody is in sync");
    note_uneven(sim);
    for (uint32_t i = 0; was != 0 && i < sim->n_daemons; i++)
        if (w->in_sync & ~was & 1u << i && shadow_is_now(sim, w, i))
            check_promoted(sim, shard, i);
}

static void
check_covers(struct sim *sim, uint32_t shard)
{
    const struct watch *w = &sim->watch->at[shard];

    for (uint32_t i = 0; i < sim->n_daemons; i++) {
        const struct sim_daemon *d = &sim->daemons[i];

        if (!((w->in_sync | w->logs) & 1u << i) || !shadow_is_now(sim, w, i))
            continue;
        if (w->of[i].info->durable_seq < w->acked && !w->of[i].info->damaged &&
            !sim_media_forgot(sim, shard, i))
            sim_fail(sim,
                     "invariant: I1, I2: %s is in sync with %llu durable, and %llu is acknowledged",
                     d->proc.name, (unsigned long long)w->of[i].info->durable_seq,
                     (unsigned long long)w->acked);
    }
}

void
sim_watch_creates(struct sim *sim, const struct sim_proc *daemon, const struct cw_wire_hdr *h)
{
    const struct cw_shard_rec *rec;

    if (daemon->index >= sim->n_daemons || CW_SHARD_VOLUME(h->shard) != SIM_VOLUME ||
        sim_control_is_behind(sim))
        return;
    rec = &sim->reg.recs[CW_SHARD_INDEX(h->shard)];
    for (uint32_t i = 0; i < rec->n_members && rec->cfg == h->cfg; i++) {
        const struct cw_member *m = &rec->members[i];
        const struct sim_daemon *d = sim_member_daemon(sim, m);

        if (d != NULL && &d->proc == daemon && m->state == CW_MEMBER_INSYNC &&
            m->since_seq != CW_SINCE_NEW)
            sim_fail(sim, "invariant: I18: %s may make a copy anew that is in sync", daemon->name);
    }
}

/* Before anything is acknowledged, the record says that its copies are not new any more. */
static void
check_nobody_is_new(struct sim *sim, uint32_t shard)
{
    const struct cw_shard_rec *rec = &sim->reg.recs[shard];

    if (sim->watch->at[shard].acked == 0 || sim_control_is_behind(sim))
        return;
    for (uint32_t i = 0; i < rec->n_members; i++)
        if (rec->members[i].state == CW_MEMBER_INSYNC && rec->members[i].since_seq == CW_SINCE_NEW)
            sim_fail(sim, "invariant: I18: member %u is new, and %llu is acknowledged", i,
                     (unsigned long long)sim->watch->at[shard].acked);
}

void
sim_watch_no_space(struct sim *sim, const struct sim_proc *daemon, uint64_t shard)
{
    if (daemon->index < sim->n_daemons && CW_SHARD_VOLUME(shard) == SIM_VOLUME &&
        sim->watch->at[CW_SHARD_INDEX(shard)].in_sync & 1u << daemon->index)
        sim_fail(sim, "invariant: I17: %s is in sync, and has no room for a record", daemon->name);
}

bool
sim_watch_newer_active(const struct sim *sim, uint32_t shard, uint32_t epoch)
{
    return sim->watch->at[shard].active_epoch > epoch;
}

void
sim_watch_active(struct sim *sim, uint32_t epoch)
{
    for (uint32_t i = 0; i < sim->n_shards; i++)
        sim->watch->at[i].active_epoch =
            (uint32_t)cw_max_u64(sim->watch->at[i].active_epoch, epoch);
}

uint64_t
sim_watch_acked(const struct sim *sim, uint32_t shard)
{
    return sim->watch->at[shard].acked;
}

void
sim_watch_recover(struct sim *sim, uint32_t shard, uint32_t daemon)
{
    struct watch *w = &sim->watch->at[shard];

    w->acked = w->of[daemon].seq;
    w->told = 0;
    w->lost_epoch = sim->epoch;
}

uint64_t
sim_watch_durable(const struct sim *sim, uint32_t shard, uint32_t daemon)
{
    return sim->watch->at[shard].of[daemon].seq;
}

bool
sim_watch_damaged(const struct sim *sim, uint32_t shard, uint32_t daemon)
{
    return sim->watch->at[shard].of[daemon].damaged;
}

static void
check_shard(struct sim *sim, uint32_t shard, uint32_t touched)
{
    for (uint32_t i = 0; touched != 0 && i < sim->n_daemons; i++)
        if (touched & 1u << sim->daemons[i].proc.index)
            check_daemon(sim, shard, i);
    for (uint32_t i = 0; touched != 0 && i < sim->n_daemons; i++)
        if (touched & 1u << sim->daemons[i].proc.index && sim->watch->at[shard].of[i].sh != NULL)
            check_settled(sim, shard, i);
    for (uint32_t i = 0; touched != 0 && i < sim->n_clients; i++)
        if (touched & 1u << sim->clients[i].proc.index)
            check_client(sim, shard, i);
    check_covers(sim, shard);
    check_nobody_is_new(sim, shard);
}

void
sim_watch_event(struct sim *sim)
{
    uint32_t touched;

    for (uint32_t i = 0; i < sim->n_shards; i++)
        check_register(sim, i);
    touched = sim->touched;
    sim->touched = 0;
    for (uint32_t i = 0; touched != 0 && i < sim->n_clients; i++)
        if (touched & 1u << sim->clients[i].proc.index)
            check_space(sim, i);
    for (uint32_t i = 0; i < sim->n_shards; i++)
        check_shard(sim, i, touched);
}

/* ---- versions ---- */

/* chunk of the volume; it is remembered at that place. */
static void
see_version(struct sim *sim, uint32_t daemon, uint32_t chunk, uint32_t place)
{
    const struct watch *w = &sim->watch->at[chunk / CW_SHARD_CHUNKS];
    const struct shadow *d = &w->of[daemon];
    struct version **all = &sim->watch->versions[place], *v;
    uint64_t csums[CW_CHUNK_BLOCKS], seq, hash;
    uint32_t gen, k;

    if (!shadow_is_now(sim, w, daemon) ||
        !cw_store_chunk_view(d->sh, chunk % CW_SHARD_CHUNKS, &gen, &seq, csums) ||
        seq == CW_VER_VOID || gen == 0)
        return;
    *all = grow(*all, &sim->watch->n_versions[place], seq, sizeof(**all));
    v = &(*all)[seq];
    hash = cw_hash(csums, sizeof(csums));
    k = gen % VERSION_GENS;
    if (v->gen[k] == gen && v->hash[k] != hash)
        sim_fail(sim, "invariant: I9: chunk %u in version (%u, %llu) is something else on %s",
                 chunk, gen, (unsigned long long)seq, sim->daemons[daemon].proc.name);
    v->hash[k] = hash;
    v->gen[k] = gen;
}

void
sim_watch_versions(struct sim *sim)
{
    uint32_t i = sim->watch->next_look++ % sim->n_daemons;
    uint32_t n = sim->full.on ? CHUNKS_ALL : CHUNKS;

    for (uint32_t chunk = 0; sim->n_shards_goal == 1 && chunk < n; chunk++)
        see_version(sim, i, chunk, chunk);
    for (uint32_t k = 0; sim->n_shards_goal > 1 && k < CHUNKS_SEVERAL; k++)
        see_version(sim, i, sim->borders[k / 2] - 1 + k % 2, k);
}
