/* shell/host.h - the control thread of a host: its port, its session with the manager, its data
 * thread.
 *
 *   STARTING -stores serve-> RUNNING -signal, fatal refusal-> STOPPING -stores closed-> exit
 */
#pragma once

#include "common/obs/log.h"
#include "common/service/server.h"
#include "common/service/service.h"
#include "common/service/session.h"
#include "daemon/http/http.h"
#include "daemon/shell/data.h"
#include "daemon/shell/lead.h"
#include "daemon/shell/options.h"
#include "daemon/shell/probe.h"
#include "daemon/shell/watchdog.h"

enum cw_host_state { CW_HOST_STARTING, CW_HOST_RUNNING, CW_HOST_STOPPING };

struct cw_host {
    const struct cw_options *o;
    struct cw_log_sink *log;
    struct cw_service *service;
    struct cw_env *env;
    struct cw_rpc_server *server;
    struct cw_rpc_session *session;
    struct cw_lead *lead; /* NULL: the manager is elsewhere */
    struct cw_lead_opts lead_opts;
    struct cw_data *data;
    enum cw_host_state state;
    bool stop_asked, data_answered, closing;
    int status; /* the program's */

    struct cw_uuid host_key, boot_id, daemon_id, cluster_id;
    uint64_t incarnation, started_ns;
    char advertise[128];

    /* registration and beats */
    struct cw_data_look look;
    struct cw_rpc_call call;
    struct cw_timer beat_timer, open_timer;
    uint32_t beat_ms, n_beats;
    bool registered; /* on this connection */
    bool ever;       /* on any: from then on refusals are not fatal */
    bool look_busy, want_register;
    uint64_t resident_bytes; /* at the last look with copies: /proc costs more than a beat */
    struct cw_uuid disk_uuid[CW_STORES_MAX]; /* of o->stores, as last registered */
    struct cw_probes probes;                 /* that the manager asked for */

    /* HTTP, and the watchdog */
    struct cw_http *http;
    struct cw_list http_looks; /* struct cw_http_look: answered by the look under way */
    struct cw_data_look http_look, watchdog_look;
    bool http_look_busy;
    struct cw_watchdog watchdog;

    struct cw_host_keep *keep; /* host-keep.c; NULL before it runs */
};

/* host-main.c */
int cw_host_main(const struct cw_options *o, struct cw_log_sink *log);
void cw_host_stop(struct cw_host *h, int status);

/* host-register.c */
void cw_host_register_init(struct cw_host *h);
void cw_host_register_fini(struct cw_host *h);
void cw_host_register(struct cw_host *h); /* the session is up */
void cw_host_unregistered(struct cw_host *h);

/* host-asks.c: requests of the manager */
void cw_host_asked(struct cw_host *h, const cw_envelope *m, struct cw_rpc_req *take_req);

/* host-calls.c: requests of caretakers to the manager */
void cw_host_call(struct cw_host *h, struct cw_data_call *c);
void cw_host_report(struct cw_host *h, const struct cw_volume_report *v,
                    const struct cw_shard_report *shards);
void cw_host_verify_progress(struct cw_host *h, uint64_t volume, const struct cw_verify *v);

/* A file of this daemon's own: beside its first store, or in /var/lib/causeway if that is a device.
 */
#define CW_HOST_PATH_SIZE 4096
void cw_host_path(const struct cw_options *o, const char *what,
                  char path[static CW_HOST_PATH_SIZE]);

/* host-keep.c: the backup of the cluster's metadata */
void cw_host_keep_start(struct cw_host *h);
void cw_host_keep_stop(struct cw_host *h); /* before the session is freed */
void cw_host_keep_part(struct cw_host *h, const Causeway__Control__MetadataKeep *m,
                       struct cw_rpc_req *take_req);
void cw_host_keep_read(struct cw_host *h, const Causeway__Control__MetadataRead *m,
                       struct cw_rpc_req *take_req);
/* Of what is kept, for the registration; false: nothing is. */
bool cw_host_keep_kept(const struct cw_host *h, Causeway__Control__MetadataKept *ret);

/* host-key.c: makes or reads the key of this host; 0 or a negative errno with why */
int cw_host_key_read(const struct cw_options *o, struct cw_uuid *ret,
                     char why[static CW_DATA_WHY_SIZE]);

/* host-http.c */
bool cw_host_http_start(struct cw_host *h, char why[static CW_RPC_WHY_SIZE]);
void cw_host_http_health(struct cw_host *h, const char *why_not); /* NULL: it serves */
void cw_host_http_stop(struct cw_host *h);
