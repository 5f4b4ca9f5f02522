/* http/metrics.c - Prometheus' text: what this daemon knows of itself, then what the manager knows.
 *
 *   look --> status --> volumes --> hosts --> answer; a manager that does not answer ends it early
 *
 * `scope=local` leaves the manager's part out, `scope=cluster` the daemon's.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/http/internal.h"

#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* ---- the format ---- */

void
cw_http_metric(FILE *f, const char *name, const char *type, const char *help)
{
    fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
sample_label_value(FILE *f, const char *v)
{
    for (; *v != '\0'; v++) {
        if (*v == '\\' || *v == '"')
            fputc('\\', f);
        if (*v == '\n')
            fputs("\\n", f);
        else
            fputc(*v, f);
    }
}

static void
sample_labels(FILE *f, const char *name, const char *const *labels)
{
    fputs(name, f);
    for (size_t i = 0; labels != NULL && labels[i] != NULL; i += 2) {
        fprintf(f, "%s%s=\"", i == 0 ? "{" : ",", labels[i]);
        sample_label_value(f, labels[i + 1] != NULL ? labels[i + 1] : "");
        fputc('"', f);
    }
    fputs(labels != NULL && labels[0] != NULL ? "} " : " ", f);
}

void
cw_http_sample(FILE *f, const char *name, const char *const *labels, double value)
{
    sample_labels(f, name, labels);
    fprintf(f, "%.9g\n", value);
}

void
cw_http_sample_u64(FILE *f, const char *name, const char *const *labels, uint64_t value)
{
    sample_labels(f, name, labels);
    fprintf(f, "%llu\n", (unsigned long long)value);
}

/* ---- the steps ---- */

static void metrics_on_reply(struct cw_rpc_call *call, const cw_envelope *reply);

static void
metrics_end(struct http_ask *a, bool manager_up)
{
    bool asked = strcmp(cw_http_text(a, "scope", "all"), "local") != 0;

    if (asked) {
        cw_http_metric(a->text, "causeway_manager_up", "gauge",
                       "Whether the manager answered; its metrics are missing if not.");
        cw_http_sample_u64(a->text, "causeway_manager_up", NULL, manager_up);
    }
    fflush(a->text);
    cw_http_answer_text(a, 200, TEXT_TYPE, a->text_at, a->text_len);
}

static void
metrics_ask(struct http_ask *a)
{
    Causeway__Control__Status status = CAUSEWAY__CONTROL__STATUS__INIT;
    Causeway__Control__VolumeLs volumes = CAUSEWAY__CONTROL__VOLUME_LS__INIT;
    Causeway__Control__HostLs hosts = CAUSEWAY__CONTROL__HOST_LS__INIT;

    if (a->step == 0)
        cw_http_call(a, HTTP_BODY(STATUS), &status.base, HTTP_READ_MS, metrics_on_reply);
    else if (a->step == 1)
        cw_http_call(a, HTTP_BODY(VOLUME_LS), &volumes.base, HTTP_READ_MS, metrics_on_reply);
    else
        cw_http_call(a, HTTP_BODY(HOST_LS), &hosts.base, HTTP_READ_MS, metrics_on_reply);
}

static void
metrics_on_reply(struct cw_rpc_call *call, const cw_envelope *reply)
{
    struct http_ask *a = cw_container_of(call, struct http_ask, call);

    if (a->step == 0 && reply->body_case == HTTP_BODY(STATUS_REPLY))
        cw_http_metrics_status(a, reply->status_reply);
    else if (a->step == 1 && reply->body_case == HTTP_BODY(VOLUME_LS_REPLY))
        cw_http_metrics_volumes(a, reply->volume_ls_reply);
    else if (a->step == 2 && reply->body_case == HTTP_BODY(HOST_LS_REPLY))
        cw_http_metrics_hosts(a, reply->host_ls_reply);
    else {
        metrics_end(a, false);
        return;
    }
    if (a->step++ == 2)
        metrics_end(a, true);
    else
        metrics_ask(a);
}

static void
metrics_on_look(struct cw_http_look *l, const Causeway__Control__HostInfo *self)
{
    struct http_ask *a = cw_container_of(l, struct http_ask, look);

    if (self != NULL)
        cw_http_metrics_self(a, self);
    cw_http_metrics_program(a);
    if (strcmp(cw_http_text(a, "scope", "all"), "local") == 0)
        metrics_end(a, false);
    else
        metrics_ask(a);
}

void
cw_http_run_metrics(struct http_ask *a)
{
    const char *scope = cw_http_text(a, "scope", "all");
    bool local = strcmp(scope, "local") == 0, cluster = strcmp(scope, "cluster") == 0;

    if (!local && !cluster && strcmp(scope, "all") != 0) {
        cw_http_fail(a, 400, "BAD_REQUEST", "", NULL, "scope is all, local or cluster");
        return;
    }
    a->text = open_memstream(&a->text_at, &a->text_len);
    cw_assert(a->text != NULL);
    a->look.done = metrics_on_look;
    if (cluster)
        metrics_ask(a);
    else if (a->h->opts.look != NULL)
        a->h->opts.look(a->h->opts.user, &a->look);
    else
        metrics_on_look(&a->look, NULL);
}
