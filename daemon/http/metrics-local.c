/* http/metrics-local.c - this daemon: its disks, memory and HTTP. */
#include <string.h>
#include <sys/resource.h>

#include "daemon/http/internal.h"

#define L(...) ((const char *const[]){ __VA_ARGS__, NULL })

typedef Causeway__Control__HostInfo host_info;

/* A number of each disk. */
struct disk_metric {
    const char *name, *type, *help;
    uint64_t (*get)(const cw_pb_disk *d);
    bool is_ns; /* told in seconds */
};

#define DISK_GET(NAME, EXPR) \
    static uint64_t disk_##NAME(const cw_pb_disk *d) \
    { \
        return EXPR; \
    }
DISK_GET(size, d->size_bytes)
DISK_GET(used, d->used_bytes)
DISK_GET(free, d->free_bytes)
DISK_GET(shards, d->shards)
DISK_GET(write_p99, d->write_p99_ns)
DISK_GET(logged, d->logged_bytes)
DISK_GET(cleaned, d->cleaned_bytes)
DISK_GET(packed, d->packed_bytes)
DISK_GET(packed_to, d->packed_to_bytes)
DISK_GET(discarded, d->discarded_bytes)
DISK_GET(cache, d->cache_bytes)
DISK_GET(tables, d->table_bytes)
DISK_GET(start, d->start_ns)
DISK_GET(scrub_running, d->scrub != NULL && d->scrub->running)
DISK_GET(scrub_pass, d->scrub != NULL ? d->scrub->pass : 0)
DISK_GET(scrub_done, d->scrub != NULL ? d->scrub->done_bytes : 0)
DISK_GET(scrub_total, d->scrub != NULL ? d->scrub->total_bytes : 0)
DISK_GET(bad_blocks, d->scrub != NULL ? d->scrub->bad_blocks : 0)

static const struct disk_metric disk_metrics[] = {
    { "causeway_disk_size_bytes", "gauge", "Size of the store.", disk_size, false },
    { "causeway_disk_used_bytes", "gauge", "Bytes in use.", disk_used, false },
    { "causeway_disk_free_bytes", "gauge", "Bytes that may still be used.", disk_free, false },
    { "causeway_disk_copies", "gauge", "Copies of shards on the disk.", disk_shards, false },
    { "causeway_disk_write_latency_p99_seconds", "gauge",
      "99th percentile of durable writes of the last second.", disk_write_p99, true },
    { "causeway_disk_log_written_bytes_total", "counter", "Written to the log.", disk_logged,
      false },
    { "causeway_disk_log_cleaned_bytes_total", "counter", "Of it moved by cleaning.", disk_cleaned,
      false },
    { "causeway_disk_compression_in_bytes_total", "counter", "Data that was compressed.",
      disk_packed, false },
    { "causeway_disk_compression_out_bytes_total", "counter", "What it was compressed into.",
      disk_packed_to, false },
    { "causeway_disk_discarded_bytes_total", "counter", "Given back to the device.", disk_discarded,
      false },
    { "causeway_disk_map_cache_bytes", "gauge", "Memory of the map's cache.", disk_cache, false },
    { "causeway_disk_table_bytes", "gauge", "Memory of tables that grow with the data.",
      disk_tables, false },
    { "causeway_disk_start_seconds", "gauge", "What opening the store took.", disk_start, true },
    { "causeway_disk_scrub_running", "gauge", "Whether a scrub reads the disk.", disk_scrub_running,
      false },
    { "causeway_disk_scrub_pass", "gauge", "Number of the newest pass.", disk_scrub_pass, false },
    { "causeway_disk_scrub_done_bytes", "gauge", "Read by the newest pass.", disk_scrub_done,
      false },
    { "causeway_disk_scrub_total_bytes", "gauge", "What the newest pass has to read.",
      disk_scrub_total, false },
    { "causeway_disk_bad_blocks", "gauge", "Blocks known to be bad and not mended yet.",
      disk_bad_blocks, false },
};

static void
self_disks(FILE *f, const host_info *h)
{
    for (size_t k = 0; k < CW_LEN(disk_metrics); k++) {
        const struct disk_metric *m = &disk_metrics[k];

        cw_http_metric(f, m->name, m->type, m->help);
        for (size_t i = 0; i < h->n_disks; i++) {
            const char *const *labels = L("host", h->name, "disk", h->disks[i]->name);
            uint64_t n = m->get(h->disks[i]);

            if (m->is_ns)
                cw_http_sample(f, m->name, labels, (double)n / CW_NS_PER_S);
            else
                cw_http_sample_u64(f, m->name, labels, n);
        }
    }
}

static void
self_errors(FILE *f, const host_info *h)
{
    static const char name[] = "causeway_disk_errors_total";

    cw_http_metric(f, name, "counter", "Reads or writes that failed, blocks with a bad checksum.");
    for (size_t i = 0; i < h->n_disks; i++) {
        const cw_pb_disk *d = h->disks[i];

        cw_http_sample_u64(f, name, L("host", h->name, "disk", d->name, "kind", "checksum"),
                           d->csum_errors);
        cw_http_sample_u64(f, name, L("host", h->name, "disk", d->name, "kind", "io"),
                           d->io_errors);
    }
}

static void
self_states(FILE *f, const host_info *h)
{
    static const char name[] = "causeway_disk_state";
    static const char *const states[] = { "ok", "full", "stuck", "failed" };

    cw_http_metric(f, name, "gauge", "1 for the state that the disk is in.");
    for (size_t i = 0; i < h->n_disks; i++) {
        const char *now = cw_shape_disk_state(h, h->disks[i]);

        for (size_t k = 0; k < CW_LEN(states); k++)
            cw_http_sample_u64(f, name,
                               L("host", h->name, "disk", h->disks[i]->name, "state", states[k]),
                               strcmp(now, states[k]) == 0);
    }
}

static void
self_memory(FILE *f, const host_info *h)
{
    const Causeway__Control__HostMemory *m = h->memory;
    const char *const *labels = L("host", h->name);

    if (m == NULL)
        return;
    cw_http_metric(f, "causeway_memory_limit_bytes", "gauge", "What --memory gives the daemon.");
    cw_http_sample_u64(f, "causeway_memory_limit_bytes", labels, m->limit_bytes);
    cw_http_metric(f, "causeway_memory_pool_bytes", "gauge", "Of it for buffers.");
    cw_http_sample_u64(f, "causeway_memory_pool_bytes", labels, m->pool_bytes);
    cw_http_metric(f, "causeway_memory_pool_used_bytes", "gauge", "Buffers in use.");
    cw_http_sample_u64(f, "causeway_memory_pool_used_bytes", labels, m->pool_used_bytes);
    cw_http_metric(f, "causeway_memory_metadata_used_bytes", "gauge", "Tables and copies.");
    cw_http_sample_u64(f, "causeway_memory_metadata_used_bytes", labels, m->metadata_used_bytes);
    cw_http_metric(f, "causeway_memory_resident_bytes", "gauge", "Of the process.");
    cw_http_sample_u64(f, "causeway_memory_resident_bytes", labels, m->resident_bytes);
}

void
cw_http_metrics_self(struct http_ask *a, const host_info *self)
{
    self_disks(a->text, self);
    self_errors(a->text, self);
    self_states(a->text, self);
    self_memory(a->text, self);
}

static void
program_http(FILE *f, const char *daemon, const struct cw_http_counts *c)
{
    static const char *const classes[] = { "dropped", "1xx", "2xx", "3xx", "4xx", "5xx" };

    cw_http_metric(f, "causeway_http_requests_total", "counter",
                   "HTTP requests by the class of their answer.");
    for (size_t i = 0; i < CW_LEN(classes); i++) {
        if (i != 1 && i != 3)
            cw_http_sample_u64(f, "causeway_http_requests_total",
                               L("daemon", daemon, "class", classes[i]), c->requests[i]);
    }
    cw_http_metric(f, "causeway_http_connections", "gauge", "Open HTTP connections.");
    cw_http_sample_u64(f, "causeway_http_connections", L("daemon", daemon), c->open);
    cw_http_metric(f, "causeway_http_streams", "gauge", "Open streams of events.");
    cw_http_sample_u64(f, "causeway_http_streams", L("daemon", daemon), c->streams);
    cw_http_metric(f, "causeway_http_connections_refused_total", "counter",
                   "HTTP connections that were one too many.");
    cw_http_sample_u64(f, "causeway_http_connections_refused_total", L("daemon", daemon),
                       c->refused);
}

void
cw_http_metrics_program(struct http_ask *a)
{
    struct cw_http_counts counts = cw_http_server_counts(a->h->server);
    const char *daemon = a->h->opts.name;
    uint64_t up_ns = cw_now_ns(a->h->env) - a->h->started_ns;
    struct rusage use;
    FILE *f = a->text;

    cw_http_metric(f, "causeway_build_info", "gauge", "1, with the version.");
    cw_http_sample_u64(f, "causeway_build_info", L("daemon", daemon, "version", CW_VERSION), 1);
    cw_http_metric(f, "causeway_daemon_uptime_seconds", "gauge", "Since the daemon started.");
    cw_http_sample(f, "causeway_daemon_uptime_seconds", L("daemon", daemon),
                   (double)up_ns / CW_NS_PER_S);
    cw_http_metric(f, "causeway_daemon_serving", "gauge", "Whether /healthz says 200.");
    cw_http_sample_u64(f, "causeway_daemon_serving", L("daemon", daemon), a->h->why_not[0] == '\0');
    if (getrusage(RUSAGE_SELF, &use) == 0) {
        cw_http_metric(f, "causeway_daemon_cpu_seconds_total", "counter",
                       "Processor time of the daemon.");
        cw_http_sample(f, "causeway_daemon_cpu_seconds_total", L("daemon", daemon),
                       (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
    }
    program_http(f, daemon, &counts);
}
