/* admin/status.c - one screen, worst first: is it safe, is it serving, what moves, what next? */
#include <string.h>
#include <time.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/status.h"
#include "client/admin/text.h"
#include "common/base/bits.h"
#include "common/shape/payload.h"

/* Worst last. */
static const char *const words[] = {
    "full",    "reduced-waiting", "reduced-rebuilding", "reduced-stuck",
    "at-risk", "suspended",       "unavailable",        "lost",
};

static const char *
status_word(const char *health)
{
    if (strcmp(health, "ok") == 0)
        return "OK";
    return strcmp(health, "warning") == 0 ? "WARN" : "ERROR";
}

int
cw_status_exit(const char *health)
{
    if (strcmp(health, "ok") == 0)
        return 0;
    return strcmp(health, "warning") == 0 ? 1 : 2;
}

static uint64_t
status_protection(const cw_pb_status *s, const char *word)
{
    for (size_t i = 0; i < s->n_protection; i++) {
        if (strcmp(s->protection[i]->key, word) == 0)
            return s->protection[i]->value;
    }
    return 0;
}

static void
status_print_protection(FILE *out, const cw_pb_status *s)
{
    const char *between = "";

    fputs("protection    ", out);
    for (size_t i = CW_LEN(words); i-- > 0;) {
        uint64_t n = status_protection(s, words[i]);

        if (n == 0)
            continue;
        fprintf(out, "%s%llu %s", between, (unsigned long long)n, words[i]);
        between = " | ";
    }
    fputs(*between == '\0' ? "no volumes\n" : "\n", out);
}

static void
status_print_link(FILE *out, const cw_pb_site *site, const char *to)
{
    bool within = strcmp(to, site->name) == 0;
    char text[CW_TEXT_LINK_SIZE];

    for (size_t i = 0; i < site->n_links; i++) {
        const Causeway__Control__SiteLink *l = site->links[i];

        if (strcmp(l->site, to) == 0)
            fprintf(out, "   %s%s%s%s", within ? "" : "to ", within ? "" : to, within ? "" : ": ",
                    cw_text_link(l->rtt_ns, l->bytes_per_s, text));
    }
}

/* Within the site, and to those above it: each way is told once. */
static void
status_print_links(FILE *out, const cw_pb_status *s, size_t i)
{
    status_print_link(out, s->sites[i], s->sites[i]->name);
    for (size_t k = 0; k < i; k++)
        status_print_link(out, s->sites[i], s->sites[k]->name);
}

static void
status_print_sites(FILE *out, const cw_pb_status *s)
{
    char used[CW_TEXT_SIZE], size[CW_TEXT_SIZE], worst[CW_TEXT_SIZE];

    for (size_t i = 0; i < s->n_sites; i++) {
        const cw_pb_site *site = s->sites[i];
        char away[40] = "";

        if (site->hosts_maintained > 0)
            snprintf(away, sizeof(away), " (%u in maintenance)", site->hosts_maintained);
        fprintf(out, "%-13s %-10s %-11s %u/%u hosts%s  %s of %s used", i == 0 ? "sites" : "",
                site->name, cw_shape_site_kind(site->kind), site->hosts_up, site->hosts, away,
                cw_text_percent(site->used_bytes, site->size_bytes, used),
                cw_text_size(site->size_bytes, size));
        if (site->size_without_worst_bytes > 0)
            fprintf(out, " (%s after its worst host)",
                    cw_text_percent(site->used_bytes, site->size_without_worst_bytes, worst));
        if (site->attributes != NULL && site->attributes->is_volatile)
            fputs("   volatile", out);
        status_print_links(out, s, i);
        fputc('\n', out);
    }
    if (s->n_sites == 0)
        fputs("sites         none: no host has joined yet\n", out);
}

static void
status_print_io(FILE *out, const cw_pb_status *s)
{
    char reads[CW_TEXT_SIZE], writes[CW_TEXT_SIZE], r99[CW_TEXT_SIZE], w99[CW_TEXT_SIZE];
    char repair[CW_TEXT_SIZE];

    fprintf(out, "client I/O    %s r/s p99 %s | %s w/s p99 %s",
            cw_text_count(s->reads_per_s, reads), cw_text_latency(s->read_p99_ns, r99),
            cw_text_count(s->writes_per_s, writes), cw_text_latency(s->write_p99_ns, w99));
    if (s->repair_bytes_per_s > 0)
        fprintf(out, "     repair %s", cw_text_rate((double)s->repair_bytes_per_s, repair));
    fputc('\n', out);
}

static bool
status_has(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static void
status_print_finding(FILE *out, const cw_pb_finding *f, int64_t now_s)
{
    char age[CW_TEXT_SIZE];

    fprintf(out, "%-19s %s", f->code, f->object);
    if (status_has(f->since))
        fprintf(out, " for %s", cw_text_seconds(cw_text_age_seconds(f->since, now_s), age));
    if (status_has(f->cause))
        fprintf(out, ": %s", f->cause);
    if (status_has(f->effect))
        fprintf(out, ". Effect: %s", f->effect);
    if (status_has(f->next))
        fprintf(out, ". Next: %s", f->next);
    if (status_has(f->command))
        fprintf(out, ". Run: %s", f->command);
    fputc('\n', out);
}

static void
status_print_findings(FILE *out, const cw_pb_status *s, int64_t now_s)
{
    static const char *const severities[] = { "error", "warning" };

    if (s->n_findings == 0)
        return;
    fputs("FINDINGS\n", out);
    for (size_t k = 0; k < CW_LEN(severities); k++) {
        for (size_t i = 0; i < s->n_findings; i++) {
            /* Whatever is no error comes with the warnings, so that nothing is left out. */
            bool error = strcmp(s->findings[i]->severity, "error") == 0;

            if (error == (k == 0))
                status_print_finding(out, s->findings[i], now_s);
        }
    }
}

static void
status_print_backups(FILE *out, const cw_pb_status *s)
{
    char age[CW_TEXT_SIZE];

    for (size_t i = 0; i < s->n_backups; i++) {
        const Causeway__Control__MetadataPlace *p = s->backups[i];

        fprintf(out, "%s%s ", i == 0 ? "backups       " : " | ", p->host);
        if (p->current)
            fputs("has the metadata as it is", out);
        else if (p->epoch == 0)
            fputs("has none yet", out);
        else
            fprintf(out, "has it as it was %s ago", cw_text_seconds(p->age_s, age));
    }
    if (s->n_backups > 0)
        fputc('\n', out);
}

void
cw_status_print(FILE *out, const cw_pb_status *s, int64_t now_s)
{
    char up[CW_TEXT_SIZE];

    fprintf(out, "cluster %s   %s   %zu finding%s   %llu/%llu volumes serving   epoch %llu\n",
            s->cluster, status_word(s->health), s->n_findings, s->n_findings == 1 ? "" : "s",
            (unsigned long long)s->volumes_serving, (unsigned long long)s->volumes,
            (unsigned long long)s->epoch);
    status_print_protection(out, s);
    status_print_sites(out, s);
    status_print_io(out, s);
    if (status_has(s->manager))
        fprintf(out, "manager       %s, %s, up %s%s\n", s->manager, s->metadata,
                cw_text_seconds(s->uptime_s, up),
                strncmp(s->metadata, "lmdb", 4) == 0 && s->n_backups == 0
                    ? "; its records have no second copy"
                    : "");
    status_print_backups(out, s);
    status_print_findings(out, s, now_s);
    fflush(out);
}

static int
status_once(struct cw_cli *cli, struct cw_remote *r, bool watch)
{
    Causeway__Control__Status body = CAUSEWAY__CONTROL__STATUS__INIT;
    cw_envelope *reply =
        cw_remote_call(r, CW_ASK(STATUS, status, &body), CW_WANT(STATUS_REPLY), CW_REMOTE_LS_MS);
    int status;

    if (reply == NULL)
        return CW_EXIT_FAILED;
    status = cw_status_exit(reply->status_reply->health);
    if (cli->json && watch)
        cw_out_json_line(cli, cw_payload_status(reply->status_reply));
    else if (cli->json)
        cw_out_json(cli, cw_payload_status(reply->status_reply));
    else
        cw_status_print(cli->out, reply->status_reply, (int64_t)time(NULL));
    cw_envelope_free(reply);
    return status;
}

/* Goes on when the cluster does not answer: that is when somebody watches. */
static int
status_watch(struct cw_cli *cli, struct cw_remote *r)
{
    int status = CW_EXIT_OK;

    cw_cli_catch_signals();
    while (!cw_cli_interrupted()) {
        if (cw_out_is_tty(cli) && !cli->json)
            fputs("\033[H\033[2J", cli->out);
        cli->failed = false;
        status = status_once(cli, r, true);
        nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL); /* a signal ends it early */
    }
    return status;
}

static int
status_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    bool watch = false;
    const struct cw_opt opts[] = {
        { "watch", 'w', CW_OPT_FLAG, &watch, NULL, "again every second, until Ctrl-C" },
        { 0 },
    };
    struct cw_args a = { .opts = opts };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    struct cw_remote *r;

    if (status != CW_ARGS_GO)
        return status;
    r = cw_remote_new(cli, &status);
    if (r == NULL)
        return status;
    status = watch ? status_watch(cli, r) : status_once(cli, r, false);
    cw_remote_free(r);
    return status;
}

const struct cw_cmd cw_cmds_status[] = {
    { "status", "[--watch]", "is it safe, is it serving, what moves, what happens next",
      "One screen, worst first. protection counts volumes:\n"
      "  full                every copy of the policy is in sync\n"
      "  reduced-waiting     a copy is missing; its host is waited for, then a new one is built\n"
      "  reduced-rebuilding  a copy is being brought up to date\n"
      "  reduced-stuck       a copy is missing and cannot be built; a finding says why\n"
      "  at-risk             one copy left\n"
      "  suspended           below min-insync: I/O waits, nothing is lost\n"
      "  unavailable         no in-sync copy can be reached\n"
      "  lost                no in-sync copy exists any more\n"
      "Of a site is told what is used of it, and once measured the round trip within it (rtt) and\n"
      "to the sites above it, and what resyncs between them reached lately (link).\n"
      "A finding names its object, cause, effect, what happens next and the command to run.\n\n"
      "Exit status: 0 no finding; 1 a warning, or the cluster did not answer within 2 s;\n"
      "2 an error.\n",
      status_run },
    { 0 },
};
