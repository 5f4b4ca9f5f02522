/* tests/unit/manager/world.h - a manager with daemons and clients that do as the test says.
 *
 * Daemons register one store each and beat every second while they are up; they answer what is
 * asked of them by the fields of struct wdaemon.
 */
#pragma once

#include "daemon/manager/manager.h"
#include "tests/unit/manager/fakekv.h"

#define WORLD_DAEMONS 8
#define WORLD_HELD 64

struct world;

struct wdaemon {
    struct world *w;
    char name[16], site[16], addr[40];
    char region[16];                /* "": it names none */
    struct cw_mgr_session *session; /* NULL: down */
    struct cw_uuid host_key, disk_uuid;
    uint64_t format_id, incarnation, up_ms;
    struct cw_timer beat;
    struct cw_mgr_call call; /* register and beats, one at a time */
    bool calling, registered;
    bool paused; /* neither beats nor answers */
    struct cw_mgr_error error;
    struct cw_mgr_disk_state disk_now[2]; /* what the call under way points to */
    struct cw_uuid second_uuid;           /* of a second disk; nil: none */
    bool no_first;                        /* it is up without the first */
    struct cw_mgr_copy_state copies[16];
    size_t n_copies;
    bool full, failed;
    uint32_t percent;                /* used of 4 GiB */
    uint64_t write_p99_ns;           /* 0: as if nobody writes */
    struct cw_mgr_scrub_state scrub; /* in every beat, as the next */
    struct cw_mgr_copy_bad bads[4];
    size_t n_bads;
    struct cw_mgr_copy_use uses[4]; /* in every beat */
    size_t n_uses;
    uint32_t n_scrubs;
    struct cw_mgr_memory memory;
    struct cw_mgr_round_trip trips[4]; /* in its next beat */
    size_t n_trips;
    uint32_t n_probes;                                           /* asked for in all */
    char probes[4][16];                                          /* the hosts asked for last */
    bool is_volatile;                                            /* as it registers */
    uint64_t (*rtt)(const struct wdaemon *from, const char *to); /* NULL: it measures nothing */

    /* KEEP */
    uint8_t *kept;
    size_t kept_len;
    struct cw_mgr_kept says_kept; /* when it registers */
    bool keeps_none;              /* it cannot */
    uint32_t n_kept, n_parts;

    /* OWNER_SEEN */
    bool seen;
    uint64_t silent_ms;
    uint32_t n_seen_asked, n_dropped;

    /* caretaking: CARETAKE is followed by an attach, LET_GO by a release, if willing */
    bool willing;
    uint64_t care_volume;
    uint32_t care_gen, n_caretakes, n_let_go, n_verify;
    struct cw_mgr_call care_call;
    struct cw_mgr_ask *let_go;
};

struct wclient {
    struct world *w;
    char name[32];
    struct cw_mgr_session *session;
    struct cw_uuid id;
    uint32_t n_hints_up, n_hints_down, n_rereads, n_resized, n_verify, n_evict;
    struct cw_uuid evict; /* the disk named last */
    uint64_t verify_job;
    uint32_t n_crowded; /* disks that the last hint of a host called crowded */

    /* READ */
    bool holds_reads;
    struct cw_mgr_ask *reads_held[8];
    uint32_t n_reads_held, reads_short;

    /* LET_GO */
    enum { LETS_GO, KEEPS, IS_MUTE, HOLDS_NOTHING } let_go;
    uint32_t n_let_go;
    struct cw_mgr_ask *letting[2]; /* its release is under way */
    struct cw_mgr_call release;
    uint32_t
        tells_gen; /* it reports on volume 1 every second, as that generation's owner; 0: not */
};

struct world {
    struct cw_simenv env;
    struct fakekv kv;
    struct cw_manager *m;
    bool started;
    bool any_host; /* managers begun from now on are such, as the next */
    bool backup;
    char why_not[CW_MGR_WHY_SIZE];
    uint64_t wall_s;
    struct wdaemon d[WORLD_DAEMONS];
    struct wclient c[4];
    struct wclient op; /* an operator's session */
    struct {
        void *user;
        struct cw_mgr_ask *ask;
    } asks[WORLD_HELD];
    size_t n_asks;
    struct cw_timer ask_timer;
    uint32_t hung_up;

    /* the outcome of world_call, copied out of the reply */
    bool done;
    struct cw_mgr_error error;
    struct cw_mgr_attach_reply attach;
    struct cw_shard_rec shards[8];
    struct cw_mgr_change_reply change;
    char text[16][CW_MGR_WHY_SIZE]; /* what `keep` copied */
    uint64_t job;
    void (*keep)(struct world *, const union cw_mgr_reply *);
};

/* With a fresh store and a bootstrapped cluster. */
void world_init(struct world *w);
void world_fini(struct world *w);

/* The manager alone; sessions are gone afterwards. */
void world_stop_manager(struct world *w);
void world_start_manager(struct world *w, bool bootstrap);

/* Registers daemon i as `name` in `site`; returns its error code. */
enum cw_mgr_code world_up(struct world *w, int i, const char *name, const char *site);
/* Again, as it is. */
enum cw_mgr_code world_register(struct world *w, int i);
void world_down(struct world *w, int i);
/* dc1-1 dc1-2 in dc1, aws-1 in aws. */
void world_three(struct world *w);

void world_client(struct world *w, int i);
void world_client_down(struct world *w, int i);

/* Runs the call to its end and returns its error code; s NULL: the operator's. */
enum cw_mgr_code world_call(struct world *w, struct cw_mgr_session *s, struct cw_mgr_call *call);
void world_run(struct world *w, uint64_t ms);

/* With "" where p has no text: the default. */
struct cw_mgr_policy world_policy(struct cw_mgr_policy p);
enum cw_mgr_code world_put_policy(struct world *w, struct cw_mgr_policy p, bool create, bool force);

enum cw_mgr_code world_create(struct world *w, const char *name, uint64_t size, const char *policy);
enum cw_mgr_code world_attach(struct world *w, int client, const char *name, bool force);
enum cw_mgr_code world_release(struct world *w, int client, uint64_t id, uint32_t gen);
/* Member `member` of shard 0 as last seen in w->shards[0] goes to `state`. */
enum cw_mgr_code world_change(struct world *w, int client, uint32_t gen, uint32_t cfg, int member,
                              enum cw_member_state state);
void world_report(struct world *w, struct cw_mgr_session *s, uint64_t id, uint32_t gen);

/* The protection word, state and owner of a volume; "" if there is no such volume. */
const char *world_word(struct world *w, const char *name);
const char *world_state(struct world *w, const char *name);
/* Is there such a finding? object NULL: any. */
bool world_finding(struct world *w, const char *code, const char *object);
/* Which daemon holds that member of shard 0 in w->shards[0]? */
int world_daemon_of(struct world *w, int member);
