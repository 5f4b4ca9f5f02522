/* admin/verify.c - volume verify: reads the media of every in-sync copy again. */
#include <string.h>
#include <time.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/jobs.h"
#include "client/admin/out.h"
#include "client/admin/progress.h"
#include "client/admin/text.h"

#define POLL_NS (200 * 1000 * 1000)
#define SILENT_MAX 100 /* questions in a row without an answer: above 20 s */

static int
verify_print(struct cw_cli *cli, const cw_pb_job *j)
{
    const Causeway__Control__VerifyProgress *v = j->verify;
    bool clean = cw_shape_verify_clean(v);
    char size[CW_TEXT_SIZE];

    if (cli->json)
        cw_out_json(cli, cw_payload_verify(j));
    else
        fprintf(cli->out,
                "volume %s: %llu bytes verified (%s, %llu copies): %llu bad blocks found, %llu "
                "repaired, %llu unrepairable%s\n",
                j->object, (unsigned long long)v->done_bytes, cw_text_size(v->done_bytes, size),
                (unsigned long long)v->copies, (unsigned long long)v->found,
                (unsigned long long)v->repaired, (unsigned long long)v->unrepairable,
                clean                     ? ""
                : v->found == v->repaired ? "; run it again to be sure"
                                          : "");
    if (v->differing > 0)
        cw_cli_note(cli, "volume %s: %llu blocks pass their checksum on every copy but differ",
                    j->object, (unsigned long long)v->differing);
    return clean ? CW_EXIT_OK : CW_EXIT_FAILED;
}

static bool
verify_is_over(const cw_pb_job *j)
{
    return strcmp(j->state, "running") != 0 && strcmp(j->state, "waiting") != 0;
}

static int
verify_end(struct cw_cli *cli, const cw_pb_job *j)
{
    const char *why = j->why[0] != '\0' ? j->why : "no reason was given";

    if (strcmp(j->state, "done") == 0 && j->verify != NULL)
        return verify_print(cli, j);
    return cw_cli_fail(cli, (struct cw_fail){ .code = "VERIFY_FAILED", .object = j->object },
                       "volume %s: verify %s: %s", j->object, j->state, why);
}

static void
verify_cancel(struct cw_remote *r, uint64_t id)
{
    Causeway__Control__JobCancel body = CAUSEWAY__CONTROL__JOB_CANCEL__INIT;

    body.id = id;
    cw_envelope_free(
        cw_remote_call(r, CW_ASK(JOB_CANCEL, job_cancel, &body), CW_WANT_EMPTY, CW_REMOTE_LS_MS));
}

static int
verify_lost(struct cw_cli *cli, const char *name, uint64_t id)
{
    return cw_cli_fail(
        cli,
        (struct cw_fail){ .code = "UNAVAILABLE", .object = name, .hint = "see: causeway jobs ls" },
        "volume %s: job %llu cannot be followed any more", name, (unsigned long long)id);
}

/* Watches the job until it is over. The manager may be away for a while; the job goes on. */
static int
verify_follow(struct cw_cli *cli, struct cw_remote *r, const char *name, uint64_t id)
{
    struct cw_progress p;
    int status = CW_ARGS_GO, silent = 0;

    cw_progress_init(&p, cli, "verify", cw_progress_now_ns());
    while (status == CW_ARGS_GO) {
        cw_envelope *reply = cw_jobs_ask(r, id);
        const cw_pb_job *j = reply != NULL ? cw_shape_find_job(reply->job_ls_reply, id) : NULL;

        silent = j != NULL ? 0 : silent + 1;
        if (j != NULL && verify_is_over(j)) {
            cw_progress_fini(&p);
            status = verify_end(cli, j);
        } else if (j != NULL) {
            cw_progress_step(&p, j->done_bytes, j->total_bytes, cw_progress_now_ns());
        } else if (silent == SILENT_MAX || (reply != NULL && silent > 5)) {
            cli->failed = false;
            status = verify_lost(cli, name, id);
        }
        cw_envelope_free(reply);
        if (cw_cli_interrupted() && status == CW_ARGS_GO) {
            verify_cancel(r, id);
            status = cw_cli_fail(cli, (struct cw_fail){ .code = "INTERRUPTED", .object = name },
                                 "volume %s: verify interrupted, job %llu cancelled", name,
                                 (unsigned long long)id);
        }
        if (status == CW_ARGS_GO)
            nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
    }
    cw_progress_fini(&p);
    return status;
}

static int
verify_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__VolumeVerify body = CAUSEWAY__CONTROL__VOLUME_VERIFY__INIT;
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    struct cw_remote *r;
    cw_envelope *reply;

    if (status != CW_ARGS_GO || (r = cw_remote_new(cli, &status)) == NULL)
        return status;
    cw_cli_catch_signals();
    body.name = a.operand[0];
    status = CW_EXIT_FAILED;
    reply = cw_remote_call(r, CW_ASK(VOLUME_VERIFY, volume_verify, &body), CW_WANT(JOB),
                           CW_REMOTE_DO_MS);
    if (reply != NULL)
        status = verify_follow(cli, r, body.name, reply->job->id);
    cw_envelope_free(reply);
    cw_remote_free(r);
    return status;
}

const struct cw_cmd cw_cmds_verify[] = {
    { "volume verify", "NAME", "read every in-sync copy from its media and repair what is bad",
      "Re-hashes every block, compares copies at equal versions and repairs what fails from a\n"
      "copy that passes. Works while the volume is in use. Ctrl-C cancels it.\n\n"
      "Exit status: 0 only if nothing was found, so that a second run after a repair is clean.\n",
      verify_run },
    { 0 },
};
