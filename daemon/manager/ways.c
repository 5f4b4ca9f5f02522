/* manager/ways.c - how far apart sites are: round-trip times and throughput, as measured.
 *
 * The answer to a beat asks its daemon to measure the way to a few others; the next beat tells what
 * came of it. Each pair of sites is asked for once in 10 s, whichever hosts do it, so that the work
 * grows with sites and not with hosts. Throughput is what resyncs between two sites really moved.
 * Memory only: a manager that begins learns it again.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/internal.h"

#define PROBE_NS (10 * CW_NS_PER_S)
#define LOOK_NS (PROBE_NS / 4) /* a daemon is looked at after so long, to twice as long */
#define ASKS_MAX 4u
#define WINDOW_NS (2 * CW_NS_PER_S) /* throughput is of so long at least */
#define IDLE_NS (3 * CW_NS_PER_S)   /* after so long without any it begins anew */
#define RTT_MAX_NS (60 * CW_NS_PER_S)
#define RANK_NS (CW_NS_PER_MS / 2) /* rank 0: below it */

static const struct mgr_way *
way_find(const struct cw_manager *m, const char *a, const char *b)
{
    const char *lo = strcmp(a, b) <= 0 ? a : b, *hi = lo == a ? b : a;

    for (size_t i = 0; i < m->n_ways; i++) {
        if (strcmp(m->ways[i].a, lo) == 0 && strcmp(m->ways[i].b, hi) == 0)
            return &m->ways[i];
    }
    return NULL;
}

/* NULL: there are too many. */
static struct mgr_way *
way_get(struct cw_manager *m, const char *a, const char *b)
{
    struct mgr_way *w = (struct mgr_way *)way_find(m, a, b);

    if (w != NULL || m->n_ways == MGR_WAYS_MAX)
        return w;
    if (m->ways == NULL)
        m->ways = calloc(MGR_WAYS_MAX, sizeof(*m->ways));
    cw_assert(m->ways != NULL);
    w = &m->ways[m->n_ways++];
    cw_mgr_text_clip(w->a, sizeof(w->a), strcmp(a, b) <= 0 ? a : b);
    cw_mgr_text_clip(w->b, sizeof(w->b), strcmp(a, b) <= 0 ? b : a);
    w->rank = CW_PLACE_FAR_UNKNOWN;
    return w;
}

static bool
way_known(const struct mgr_way *w)
{
    return w->rtt_ns != 0 || w->link_bytes_per_s != 0;
}

const struct mgr_way *
cw_mgr_way(const struct cw_manager *m, const char *a, const char *b)
{
    const struct mgr_way *w = way_find(m, a, b);

    return w != NULL && way_known(w) ? w : NULL;
}

/* ---- round trips ---- */

static uint8_t
rank_of(uint64_t ns)
{
    uint8_t rank = 0;

    for (uint64_t edge = RANK_NS; ns >= edge; edge *= 2)
        rank++;
    return rank;
}

/* Doubling makes a rank; one that is held is left only well beyond its edges, so that a time near
 * an edge changes nothing. */
static uint8_t
rank_next(uint8_t rank, uint64_t ns)
{
    uint64_t above = rank < CW_PLACE_FAR_UNKNOWN ? RANK_NS << rank : 0;

    if (rank == CW_PLACE_FAR_UNKNOWN || ns >= above / 4 * 5 || (rank > 0 && ns < above / 2 / 4 * 3))
        return rank_of(ns);
    return rank;
}

/* The least counts at once: more is the wait of a busy daemon, unless it lasts. */
static void
way_took(struct mgr_way *w, uint64_t ns)
{
    if (w->rtt_ns == 0 || ns < w->rtt_ns)
        w->rtt_ns = ns;
    else
        w->rtt_ns += (ns - w->rtt_ns) / 4;
    w->rank = rank_next(w->rank, w->rtt_ns);
}

void
cw_mgr_ways_took(struct cw_manager *m, const struct mgr_host *h,
                 const struct cw_mgr_round_trip *trips, size_t n)
{
    for (size_t i = 0; i < n && i < ASKS_MAX; i++) {
        const struct mgr_host *to = cw_mgr_find_host(&m->t, trips[i].host);
        struct mgr_way *w;

        if (to == NULL || to == h || trips[i].ns == 0 || trips[i].ns > RTT_MAX_NS)
            continue;
        w = way_get(m, h->o.rec.host.site, to->o.rec.host.site);
        if (w != NULL)
            way_took(w, trips[i].ns);
    }
}

static bool
way_due(const struct cw_manager *m, const struct mgr_way *w)
{
    return w->asked_ns == 0 || cw_now_ns(m->env) - w->asked_ns >= PROBE_NS;
}

/* At other times for each, so that not always the same one is the first to find a way due. */
static uint64_t
look_after(const struct mgr_host *h, uint64_t now)
{
    return LOOK_NS + cw_mix64(cw_uuid_hash(&h->o.rec.host.host_key) ^ now) % LOOK_NS;
}

/* One host after the other begins the list, so that each is measured now and then. */
void
cw_mgr_ways_ask(struct cw_manager *m, struct mgr_host *h, struct cw_mgr_arena *a,
                struct cw_mgr_beat_reply *ret)
{
    const struct mgr_table *hosts = &m->t.of[CW_REC_HOST];
    uint64_t now = cw_now_ns(m->env);
    struct cw_mgr_probe *to;

    if (now < h->probe_ns)
        return;
    h->probe_ns = now + look_after(h, now);
    to = cw_mgr_arena_get(a, ASKS_MAX, sizeof(*to));
    ret->probes = to;
    m->ways_turn++;
    for (size_t i = 0; i < hosts->n && ret->n_probes < ASKS_MAX; i++) {
        const struct mgr_host *x =
            (const struct mgr_host *)hosts->at[(i + m->ways_turn) % hosts->n];
        struct mgr_way *w;

        if (x == h || !cw_mgr_host_serves(m, x))
            continue;
        w = way_get(m, h->o.rec.host.site, x->o.rec.host.site);
        if (w == NULL || !way_due(m, w))
            continue;
        w->asked_ns = now;
        to[ret->n_probes++] =
            (struct cw_mgr_probe){ .host = cw_mgr_arena_text(a, x->o.rec.host.name),
                                   .addr = cw_mgr_arena_text(a, x->o.rec.host.advertise) };
    }
}

/* ---- throughput ---- */

static const char *
disk_site(const struct cw_manager *m, const struct cw_uuid *disk)
{
    const struct mgr_host *h = cw_mgr_disk_host(m, cw_mgr_find_disk(&m->t, disk));

    return h != NULL ? h->o.rec.host.site : NULL;
}

/* What was reached counts at once, less than that only when it lasts: links idle. */
static void
way_reached(struct mgr_way *w, uint64_t rate)
{
    if (rate > w->link_bytes_per_s)
        w->link_bytes_per_s = rate;
    else
        w->link_bytes_per_s -= (w->link_bytes_per_s - rate) / 8;
}

void
cw_mgr_ways_moved(struct cw_manager *m, const struct cw_uuid *source, const struct cw_uuid *target,
                  uint64_t bytes, uint64_t since_ns)
{
    const char *from = disk_site(m, source), *to = disk_site(m, target);
    uint64_t now = cw_now_ns(m->env);
    struct mgr_way *w;

    if (from == NULL || to == NULL || bytes == 0 || (w = way_get(m, from, to)) == NULL)
        return;
    if (w->moved_ns == 0 || now - w->moved_ns > IDLE_NS) {
        w->window_ns = since_ns;
        w->window_bytes = 0;
    }
    w->moved_ns = now;
    w->window_bytes += bytes;
    if (now - w->window_ns < WINDOW_NS)
        return;
    way_reached(
        w, (uint64_t)((unsigned __int128)w->window_bytes * CW_NS_PER_S / (now - w->window_ns)));
    w->window_ns = now;
    w->window_bytes = 0;
}

/* ---- for people, and for placement ---- */

/* NULL: it is no way of that site. */
static const char *
way_other_end(const struct mgr_way *w, const char *site)
{
    if (strcmp(w->a, site) == 0)
        return w->b;
    return strcmp(w->b, site) == 0 ? w->a : NULL;
}

const struct cw_mgr_site_link *
cw_mgr_ways_of(const struct cw_manager *m, const char *site, struct cw_mgr_arena *a, size_t *ret_n)
{
    struct cw_mgr_site_link *to = cw_mgr_arena_get(a, m->n_ways + 1, sizeof(*to));

    *ret_n = 0;
    for (size_t i = 0; i < m->n_ways; i++) {
        const struct mgr_way *w = &m->ways[i];
        const char *other = way_other_end(w, site);

        if (other != NULL && way_known(w))
            to[(*ret_n)++] = (struct cw_mgr_site_link){ .site = other,
                                                        .rtt_ns = w->rtt_ns,
                                                        .bytes_per_s = w->link_bytes_per_s };
    }
    return to;
}

/* Which site has the number no; NULL: none. Numbers follow each other in the order of names. */
static const char *
site_numbered(const struct cw_place_disk *disks, size_t n, uint32_t no)
{
    for (size_t i = 0; i < n; i++) {
        if (disks[i].site_no == no)
            return disks[i].site;
    }
    return NULL;
}

void
cw_mgr_ways_place(const struct cw_manager *m, struct cw_mgr_arena *a, struct cw_place_disk *disks,
                  size_t n)
{
    const char *site[MGR_WAY_SITES_MAX + 1] = { 0 };
    uint32_t n_sites = 0;
    uint8_t *rank;

    for (size_t i = 0; i < n; i++)
        n_sites = disks[i].site_no > n_sites ? disks[i].site_no : n_sites;
    if (m->n_ways == 0 || n_sites < 2 || n_sites > MGR_WAY_SITES_MAX)
        return;
    rank = cw_mgr_arena_get(a, (n_sites + 1) * (n_sites + 1), sizeof(*rank));
    for (uint32_t i = 1; i <= n_sites; i++)
        site[i] = site_numbered(disks, n, i);
    for (uint32_t i = 1; i <= n_sites; i++) {
        for (uint32_t k = 1; k <= n_sites; k++) {
            const struct mgr_way *w = i != k ? way_find(m, site[i], site[k]) : NULL;

            rank[i * (n_sites + 1) + k] = i == k ? 0 : w != NULL ? w->rank : CW_PLACE_FAR_UNKNOWN;
        }
    }
    for (size_t i = 0; i < n; i++)
        disks[i].far_of = &rank[disks[i].site_no * (n_sites + 1)];
}

void
cw_mgr_ways_fini(struct cw_manager *m)
{
    free(m->ways);
}
