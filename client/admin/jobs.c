/* admin/jobs.c - long operations: progress, cause when blocked, cancel. */
#include "client/admin/jobs.h"

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/text.h"
#include "common/base/bits.h"

cw_envelope *
cw_jobs_ask(struct cw_remote *r, uint64_t id)
{
    Causeway__Control__JobLs body = CAUSEWAY__CONTROL__JOB_LS__INIT;

    body.id = id;
    return cw_remote_call(r, CW_ASK(JOB_LS, job_ls, &body), CW_WANT(JOB_LS_REPLY), CW_REMOTE_LS_MS);
}

static int
jobs_ls_table(struct cw_cli *cli, const Causeway__Control__JobLsReply *ls)
{
    static const char *const columns[] = { ">JOB",  "KIND",    "OBJECT", "STATE",
                                           ">DONE", "STARTED", "WHY.." };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));

    for (size_t i = 0; i < ls->n_jobs; i++) {
        const cw_pb_job *j = ls->jobs[i];
        char id[CW_TEXT_SIZE], done[CW_TEXT_SIZE];

        cw_table_row(t, (const char *[]){ cw_text_u64(j->id, id), j->kind, j->object, j->state,
                                          cw_text_percent(j->done_bytes, j->total_bytes, done),
                                          j->started, j->why });
    }
    return cw_table_print(t);
}

static int
jobs_print_one(struct cw_cli *cli, const cw_pb_job *j)
{
    char done[CW_TEXT_SIZE], total[CW_TEXT_SIZE];

    if (cli->json)
        return cw_out_json(cli, cw_payload_job(j));
    fprintf(cli->out, "job        %llu, %s of %s\nstate      %s%s%s\nstarted    %s\n",
            (unsigned long long)j->id, j->kind, j->object, j->state, j->why[0] != '\0' ? ": " : "",
            j->why, j->started);
    if (j->ended[0] != '\0')
        fprintf(cli->out, "ended      %s\n", j->ended);
    fprintf(cli->out, "done       %s of %s\n", cw_text_size(j->done_bytes, done),
            cw_text_size(j->total_bytes, total));
    if (j->eta_s > 0)
        fprintf(cli->out, "left       about %s\n", cw_text_seconds(j->eta_s, done));
    if (j->verify != NULL)
        fprintf(cli->out, "blocks     %llu found, %llu repaired, %llu unrepairable\n",
                (unsigned long long)j->verify->found, (unsigned long long)j->verify->repaired,
                (unsigned long long)j->verify->unrepairable);
    return CW_EXIT_OK;
}

static int
jobs_read(struct cw_cli *cli, uint64_t id)
{
    int status;
    struct cw_remote *r = cw_remote_new(cli, &status);
    const cw_pb_job *j;
    cw_envelope *reply;

    if (r == NULL)
        return status;
    reply = cw_jobs_ask(r, id);
    if (reply == NULL)
        status = CW_EXIT_FAILED;
    else if (id == 0)
        status = cli->json ? cw_out_json(cli, cw_payload_jobs(reply->job_ls_reply))
                           : jobs_ls_table(cli, reply->job_ls_reply);
    else if ((j = cw_shape_find_job(reply->job_ls_reply, id)) != NULL)
        status = jobs_print_one(cli, j);
    else
        status = cw_cli_fail(
            cli, (struct cw_fail){ .code = "NOT_FOUND", .hint = "see: causeway jobs ls" },
            "job %llu: no such job", (unsigned long long)id);
    cw_envelope_free(reply);
    cw_remote_free(r);
    return status;
}

static int
jobs_ls(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { 0 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    return status != CW_ARGS_GO ? status : jobs_read(cli, 0);
}

static int
jobs_take_id(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv, uint64_t *ret_id)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    if (!cw_args_number(a.operand[0], ret_id) || *ret_id == 0)
        return cw_cli_usage(cli, cmd, "'%s' is no number of a job", a.operand[0]);
    return CW_ARGS_GO;
}

static int
jobs_show(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    uint64_t id;
    int status = jobs_take_id(cli, cmd, argc, argv, &id);

    return status != CW_ARGS_GO ? status : jobs_read(cli, id);
}

static int
jobs_cancel(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__JobCancel body = CAUSEWAY__CONTROL__JOB_CANCEL__INIT;
    int status = jobs_take_id(cli, cmd, argc, argv, &body.id);

    if (status != CW_ARGS_GO)
        return status;
    status = cw_remote_do(cli, CW_ASK(JOB_CANCEL, job_cancel, &body));
    if (status == CW_EXIT_OK && cli->json)
        return cw_out_json(cli, cw_payload_cancelled(body.id));
    if (status == CW_EXIT_OK)
        fprintf(cli->out, "job %llu is cancelled\n", (unsigned long long)body.id);
    return status;
}

const struct cw_cmd cw_cmds_jobs[] = {
    { "jobs ls", "", "long operations, running and lately ended",
      "kind is verify, maintain (host maintain), drain (disk drain) or repair (repair now). state "
      "is\n"
      "running, waiting (with why), done, failed or cancelled.\n",
      jobs_ls },
    { "jobs show", "ID", "one of them", NULL, jobs_show },
    { "jobs cancel", "ID", "end one early",
      "What it has done stays done. A host that was got ready for maintenance is returned, a disk\n"
      "that was drained takes copies again.\n",
      jobs_cancel },
    { 0 },
};
