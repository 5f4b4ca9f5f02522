/* admin/maintain.c - hosts that are to go down for a while, and disks that are to be emptied.
 *
 * Both are jobs of the manager; the command follows it, and the job does not need the command.
 */
#include <string.h>
#include <time.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/jobs.h"
#include "client/admin/out.h"
#include "client/admin/progress.h"
#include "client/admin/text.h"
#include "common/base/bits.h"
#include "common/shape/payload.h"

typedef Causeway__Control__Plan cw_pb_plan;

#define POLL_NS (200 * 1000 * 1000)
#define BLOCKED_MAX 50 /* questions in a row that say it is blocked: 10 s */
#define SILENT_MAX 100

/* ---- plans ---- */

static const char *
plan_time(const cw_pb_plan *p, char text[static CW_TEXT_SIZE])
{
    if (p->move_bytes == 0)
        return "none";
    return p->seconds > 0 ? cw_text_seconds(p->seconds, text) : "not measured";
}

static void
plan_rows(struct cw_cli *cli, const cw_pb_maintain *r)
{
    static const char *const columns[] = { "MODE",  ">COPIES",  ">MOVES",       ">TO-MOVE",
                                           ">TIME", ">REDUCED", ">UNAVAILABLE", "NOTE.." };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));

    for (size_t i = 0; i < r->n_plans; i++) {
        const cw_pb_plan *p = r->plans[i];
        char copies[CW_TEXT_SIZE], moves[CW_TEXT_SIZE], bytes[CW_TEXT_SIZE], time[CW_TEXT_SIZE];
        char reduced[CW_TEXT_SIZE], unavailable[CW_TEXT_SIZE];
        const char *note = p->refused[0] != '\0' ? p->refused : "";

        for (size_t k = 0; k < p->n_volumes && note[0] == '\0'; k++)
            note = p->volumes[k]->blocked;
        cw_table_row(t, (const char *[]){ p->mode, cw_text_u64(p->copies, copies),
                                          cw_text_u64(p->moves, moves),
                                          cw_text_size(p->move_bytes, bytes), plan_time(p, time),
                                          cw_text_u64(p->reduced, reduced),
                                          cw_text_u64(p->unavailable, unavailable), note });
    }
    cw_table_print(t);
}

static int
plans_print(struct cw_cli *cli, const cw_pb_maintain *r, const char *kind)
{
    static const char *const columns[] = { "MODE", "VOLUME", "NOW", "THEN", ">TO-MOVE", "WHY.." };
    struct cw_table *t;

    if (cli->json)
        return cw_out_json(cli, cw_payload_plans(r, kind));
    plan_rows(cli, r);
    t = cw_table_new(cli, columns, CW_LEN(columns));
    for (size_t i = 0; i < r->n_plans; i++) {
        for (size_t k = 0; k < r->plans[i]->n_volumes; k++) {
            const Causeway__Control__PlanVolume *v = r->plans[i]->volumes[k];
            char bytes[CW_TEXT_SIZE];

            cw_table_row(t, (const char *[]){ r->plans[i]->mode, v->name, v->now, v->then,
                                              cw_text_size(v->move_bytes, bytes),
                                              v->blocked[0] != '\0' ? v->blocked : v->why });
        }
    }
    fputc('\n', cli->out);
    return cw_table_print(t);
}

/* ---- following the job ---- */

struct follow {
    struct cw_cli *cli;
    uint64_t id;
    const char *object;
    int blocked, silent;
    bool over, done;
    char why[300];
};

static void
follow_note(struct follow *f, const cw_pb_job *j)
{
    bool waits = strcmp(j->state, "waiting") == 0;

    snprintf(f->why, sizeof(f->why), "%s", j->why);
    f->blocked = waits ? f->blocked + 1 : 0;
    f->over = !waits && strcmp(j->state, "running") != 0;
    f->done = strcmp(j->state, "done") == 0;
}

/* Until it is over, blocked for long, or the user has seen enough. */
static void
follow_job(struct follow *f, struct cw_remote *r)
{
    struct cw_progress p;

    cw_progress_init(&p, f->cli, "moved", cw_progress_now_ns());
    while (!f->over && f->blocked < BLOCKED_MAX && f->silent < SILENT_MAX &&
           !cw_cli_interrupted()) {
        cw_envelope *reply = cw_jobs_ask(r, f->id);
        const cw_pb_job *j = reply != NULL ? cw_shape_find_job(reply->job_ls_reply, f->id) : NULL;

        f->silent = j != NULL ? 0 : f->silent + 1;
        if (j != NULL) {
            follow_note(f, j);
            cw_progress_step(&p, j->done_bytes, j->total_bytes, cw_progress_now_ns());
        }
        cw_envelope_free(reply);
        if (!f->over)
            nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
    }
    cw_progress_fini(&p);
    f->cli->failed = f->cli->failed && f->silent == SILENT_MAX;
}

/* What came of it. */
static int
follow_end(struct follow *f, const char *what)
{
    if (f->over)
        return cw_cli_fail(f->cli, (struct cw_fail){ .code = "CANCELLED", .object = f->object },
                           "%s: job %llu ended early: %s", f->object, (unsigned long long)f->id,
                           f->why);
    return cw_cli_fail(f->cli,
                       (struct cw_fail){ .code = f->blocked > 0 ? "BLOCKED" : "NOT_READY",
                                         .object = f->object,
                                         .hint = "it goes on; see: causeway jobs ls" },
                       "%s %s yet (job %llu): %s", f->object, what, (unsigned long long)f->id,
                       f->why[0] != '\0' ? f->why : "copies are moved");
}

/* True: what was asked for is so. */
static bool
follow_reply(struct cw_cli *cli, struct cw_remote *r, const cw_pb_maintain *m, bool wait,
             const char *what, int *ret_status)
{
    struct follow f = { .cli = cli, .id = m->job, .object = m->object };

    *ret_status = CW_EXIT_OK;
    if (m->ready || m->job == 0 || !wait)
        return m->ready;
    follow_job(&f, r);
    if (!f.done)
        *ret_status = follow_end(&f, what);
    return f.done;
}

/* What both commands do: ask, and show the plans, or follow the job and tell how it stands. */
struct errand {
    const char *kind;   /* of what: "host", "disk" */
    const char *undone; /* of what is not so yet: "may not go down" */
    bool plan, wait;
    int (*print)(struct cw_cli *cli, const cw_pb_maintain *m, const struct errand *e, bool done);
    const char *mode; /* host maintain */
    bool cancel;      /* disk drain */
};

static int
errand_do(struct cw_cli *cli, struct cw_remote *r, const cw_envelope *ask, const struct errand *e)
{
    cw_envelope *reply = cw_remote_call(r, ask, CW_WANT(HOST_MAINTAIN_REPLY), CW_REMOTE_DO_MS);
    int status = CW_EXIT_FAILED;
    bool done;

    if (reply == NULL)
        return status;
    if (e->plan) {
        status = plans_print(cli, reply->host_maintain_reply, e->kind);
    } else {
        done = follow_reply(cli, r, reply->host_maintain_reply, e->wait, e->undone, &status);
        if (status == CW_EXIT_OK)
            status = e->print(cli, reply->host_maintain_reply, e, done);
    }
    cw_envelope_free(reply);
    return status;
}

/* ---- host maintain ---- */

static int
maintain_print(struct cw_cli *cli, const cw_pb_maintain *m, const struct errand *e, bool ready)
{
    if (cli->json)
        return cw_out_json(cli, cw_payload_maintenance(m, e->mode, ready));
    if (ready)
        fprintf(cli->out, "host %s is in maintenance (%s): it may go down\n", m->object, e->mode);
    else
        fprintf(cli->out,
                "host %s may not go down yet: %s\nfollow it with: causeway jobs show %llu\n",
                m->object, m->why, (unsigned long long)m->job);
    return CW_EXIT_OK;
}

static bool
mode_known(const char *mode)
{
    return strcmp(mode, "accessible") == 0 || strcmp(mode, "full") == 0 ||
           strcmp(mode, "none") == 0;
}

static int
host_maintain(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__HostMaintain body = CAUSEWAY__CONTROL__HOST_MAINTAIN__INIT;
    const char *mode = NULL;
    bool plan = false, force = false, no_wait = false;
    const struct cw_opt opts[] = {
        { "mode", 0, CW_OPT_TEXT, &mode, "MODE", "accessible (default), full or none" },
        { "plan", 0, CW_OPT_FLAG, &plan, NULL, "say what that would do, and do nothing" },
        { "force", 0, CW_OPT_FLAG, &force, NULL,
          "with --mode none: also if another host in maintenance\n"
          "and this one take service away together" },
        { "no-wait", 0, CW_OPT_FLAG, &no_wait, NULL, "do not wait until it may go down" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    struct cw_remote *r;

    if (status != CW_ARGS_GO)
        return status;
    if (mode != NULL && !mode_known(mode))
        return cw_cli_usage(cli, cmd, "--mode %s: choose from accessible, full, none", mode);
    if (force && (mode == NULL || strcmp(mode, "none") != 0))
        return cw_cli_usage(cli, cmd, "--force goes with --mode none");
    if ((r = cw_remote_new(cli, &status)) == NULL)
        return status;
    cw_cli_catch_signals();
    body.name = a.operand[0];
    body.mode = (char *)(mode != NULL ? mode : plan ? "" : "accessible");
    body.plan = plan;
    body.force = force;
    status = errand_do(cli, r, CW_ASK(HOST_MAINTAIN, host_maintain, &body),
                       &(struct errand){ .kind = "host",
                                         .undone = "may not go down",
                                         .plan = plan,
                                         .wait = !no_wait,
                                         .print = maintain_print,
                                         .mode = body.mode });
    cw_remote_free(r);
    return status;
}

static int
host_return(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__HostReturn body = CAUSEWAY__CONTROL__HOST_RETURN__INIT;
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    body.name = a.operand[0];
    status = cw_remote_do(cli, CW_ASK(HOST_RETURN, host_return, &body));
    if (status == CW_EXIT_OK && cli->json)
        return cw_out_json(cli, cw_payload_done("returned", body.name));
    if (status == CW_EXIT_OK)
        fprintf(cli->out, "host %s is out of maintenance\n", body.name);
    return status;
}

/* ---- disk drain ---- */

static int
drain_print(struct cw_cli *cli, const cw_pb_maintain *m, const struct errand *e, bool done)
{
    if (cli->json)
        return cw_out_json(cli, cw_payload_drain(m, e->cancel, done));
    if (e->cancel)
        fprintf(cli->out, "disk %s takes copies again\n", m->object);
    else if (done)
        fprintf(cli->out, "disk %s is empty: it can be removed\n", m->object);
    else
        fprintf(cli->out, "disk %s is being emptied: %s\nfollow it with: causeway jobs show %llu\n",
                m->object, m->why, (unsigned long long)m->job);
    return CW_EXIT_OK;
}

static int
disk_drain(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__DiskDrain body = CAUSEWAY__CONTROL__DISK_DRAIN__INIT;
    bool plan = false, cancel = false, no_wait = false;
    const struct cw_opt opts[] = {
        { "plan", 0, CW_OPT_FLAG, &plan, NULL, "say what that would do, and do nothing" },
        { "cancel", 0, CW_OPT_FLAG, &cancel, NULL, "no more: it takes copies again" },
        { "no-wait", 0, CW_OPT_FLAG, &no_wait, NULL, "do not wait until it is empty" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    struct cw_remote *r;

    if (status != CW_ARGS_GO)
        return status;
    if (plan && cancel)
        return cw_cli_usage(cli, cmd, "--plan and --cancel do not go together");
    if ((r = cw_remote_new(cli, &status)) == NULL)
        return status;
    cw_cli_catch_signals();
    body.disk = a.operand[0];
    body.plan = plan;
    body.cancel = cancel;
    status = errand_do(cli, r, CW_ASK(DISK_DRAIN, disk_drain, &body),
                       &(struct errand){ .kind = "disk",
                                         .undone = "is not empty",
                                         .plan = plan,
                                         .wait = !no_wait,
                                         .print = drain_print,
                                         .cancel = cancel });
    cw_remote_free(r);
    return status;
}

const struct cw_cmd cw_cmds_maintain[] = {
    { "host maintain", "NAME [--mode MODE]", "get a host ready to go down for a while",
      "  accessible  every volume keeps serving without it: what cannot spare its copy there gets\n"
      "              one more elsewhere first, and copies that are absent are made again\n"
      "  full        every copy leaves it first\n"
      "  none        it just goes, whatever that takes away\n\n"
      "Waits until the host may go down (it is a job: Ctrl-C leaves it running; exit status 1 if\n"
      "it is blocked). In maintenance it takes no new copies, its absence is no finding, and\n"
      "nothing is rebuilt for it, until host return. Two hosts whose absence together would take\n"
      "service away are not in maintenance together.\n\n"
      "--plan says what it would do: volumes that are reduced or unavailable meanwhile, what has\n"
      "to be copied first and how long that takes at the speed measured last. Without --mode, of\n"
      "every mode.\n",
      host_maintain },
    { "host return", "NAME", "end the maintenance of a host",
      "It takes copies again, and its absence counts from now on.\n", host_return },
    { "disk drain", "HOST/DISK", "move every copy off a disk",
      "Each copy is made again on another disk and is in sync there before it leaves this one. No\n"
      "new copy is placed here meanwhile, and afterwards, until disk return. Waits until it is\n"
      "empty (it is a job: Ctrl-C leaves it running; exit status 1 if it is blocked).\n\n"
      "  causeway disk drain h3/store-1 --plan\n",
      disk_drain },
    { 0 },
};
