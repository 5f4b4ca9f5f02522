/* admin/events.c - the numbered events of the cluster. */
#include <time.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "common/shape/payload.h"

#define EVENTS_MAX 1000
#define NO_NUMBER UINT64_MAX
#define FOLLOW_MS 10000 /* one question; the manager answers earlier when something happens */

static cw_envelope *
events_ask(struct cw_remote *r, uint64_t after, uint64_t max, bool newest, bool wait)
{
    Causeway__Control__EventLs body = CAUSEWAY__CONTROL__EVENT_LS__INIT;

    body.after = after;
    body.max = (uint32_t)max;
    body.newest = newest;
    body.wait = wait;
    return cw_remote_call(r, CW_ASK(EVENT_LS, event_ls, &body), CW_WANT(EVENT_LS_REPLY),
                          wait ? FOLLOW_MS : CW_REMOTE_LS_MS);
}

static void
events_print(struct cw_cli *cli, const Causeway__Control__EventLsReply *ls, bool lines)
{
    if (cli->json && !lines)
        cw_out_json(cli, cw_payload_events(ls));
    for (size_t i = 0; i < ls->n_events; i++) {
        const cw_pb_event *e = ls->events[i];

        if (cli->json && lines)
            cw_out_json_line(cli, cw_payload_event(e));
        else if (!cli->json)
            fprintf(cli->out, "%6llu  %s  %-18s %s: %s\n", (unsigned long long)e->number, e->at,
                    e->code, e->object, e->text);
    }
    fflush(cli->out);
}

static uint64_t
events_last(const Causeway__Control__EventLsReply *ls, uint64_t after)
{
    return ls->n_events > 0 ? ls->events[ls->n_events - 1]->number : after;
}

/* Goes on for ever; a manager that is away is waited for. */
static int
events_follow(struct cw_cli *cli, struct cw_remote *r, uint64_t after)
{
    cw_remote_quiet(r);
    while (!cw_cli_interrupted()) {
        cw_envelope *reply = events_ask(r, after, EVENTS_MAX, false, true);

        if (reply == NULL || reply->event_ls_reply->n_events == 0)
            nanosleep(&(struct timespec){ .tv_nsec = 300 * 1000 * 1000 }, NULL);
        if (reply == NULL)
            continue;
        cli->failed = false;
        events_print(cli, reply->event_ls_reply, true);
        after = events_last(reply->event_ls_reply, after);
        cw_envelope_free(reply);
    }
    return CW_EXIT_OK;
}

static int
events_run(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    uint64_t after = NO_NUMBER, max = EVENTS_MAX;
    bool follow = false;
    const struct cw_opt opts[] = {
        { "follow", 'f', CW_OPT_FLAG, &follow, NULL, "go on until Ctrl-C" },
        { "after", 0, CW_OPT_NUMBER, &after, "NUMBER", "only events above this number" },
        { "max", 'n', CW_OPT_NUMBER, &max, "N",
          "at most so many: the first after NUMBER, else the newest; 1000" },
        { 0 },
    };
    struct cw_args a = { .opts = opts };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    struct cw_remote *r;
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    if (max == 0 || max > EVENTS_MAX)
        return cw_cli_usage(cli, cmd, "--max is from 1 to %d", EVENTS_MAX);
    if ((r = cw_remote_new(cli, &status)) == NULL)
        return status;
    if (follow)
        cw_cli_catch_signals();
    status = CW_EXIT_FAILED;
    reply = events_ask(r, after == NO_NUMBER ? 0 : after, max, after == NO_NUMBER, false);
    if (reply != NULL) {
        events_print(cli, reply->event_ls_reply, follow);
        after = events_last(reply->event_ls_reply, after == NO_NUMBER ? 0 : after);
        status = follow ? events_follow(cli, r, after) : CW_EXIT_OK;
    }
    cw_envelope_free(reply);
    cw_remote_free(r);
    return status;
}

const struct cw_cmd cw_cmds_events[] = {
    { "events", "[-f] [-n N] [--after NUMBER]", "what happened: numbered events, the newest last",
      "Numbers never repeat, so that a reader can go on after the last one it saw:\n\n"
      "  causeway events -f --after 1204\n\n"
      "With -f, --json prints one object per line.\n",
      events_run },
    { 0 },
};
