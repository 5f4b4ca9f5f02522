/* admin/policycmd.c - policy create, ls, show, set, rm. */
#include <stdlib.h>
#include <string.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/policy.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "client/admin/volume.h"
#include "common/base/bits.h"
#include "common/base/size.h"

#define ARGS_MAX 64
#define ARG_SIZE 160

enum { POLICY_ARGV_OK, POLICY_ARGV_NO_VALUE, POLICY_ARGV_TOO_MUCH };

/* argv with every "--key value" and "--key=value" of a policy written as "key=value". */
struct policy_argv {
    char *at[ARGS_MAX];
    char text[ARGS_MAX][ARG_SIZE];
    int n;
};

/* POLICY_ARGV_NO_VALUE: the last argument is an option without one. */
static int
policy_argv_init(struct policy_argv *p, int argc, char **argv)
{
    for (int i = 0; i < argc; i++, p->n++) {
        const char *key = strncmp(argv[i], "--", 2) == 0 ? argv[i] + 2 : "";
        size_t len = strcspn(key, "=");
        const char *value = key[len] == '=' ? key + len + 1 : argv[i + 1];

        if (p->n == ARGS_MAX - 1)
            return POLICY_ARGV_TOO_MUCH;
        p->at[p->n] = argv[i];
        if (!cw_policy_is_key(key, len))
            continue;
        if (value == NULL)
            return POLICY_ARGV_NO_VALUE;
        if (snprintf(p->text[p->n], ARG_SIZE, "%.*s=%s", (int)len, key, value) >= ARG_SIZE)
            return POLICY_ARGV_TOO_MUCH;
        p->at[p->n] = p->text[p->n];
        i += key[len] != '=';
    }
    p->at[p->n] = NULL;
    return POLICY_ARGV_OK;
}

static int
policy_take_all(struct cw_cli *cli, const struct cw_cmd *cmd, const struct cw_args *a,
                cw_pb_policy *p)
{
    char why[CW_POLICY_WHY_SIZE];

    for (int i = 1; i < a->n; i++) {
        if (!cw_policy_take(p, a->operand[i], why))
            return cw_cli_usage(cli, cmd, "%s", why);
    }
    if (p->copies != 0 && p->min_insync > p->copies)
        return cw_cli_usage(cli, cmd, "min-insync=%u is more than copies=%u", p->min_insync,
                            p->copies);
    return CW_ARGS_GO;
}

static void
print_limit(FILE *out, const char *key, uint64_t limit)
{
    char text[CW_SIZE_TEXT_SIZE];

    fprintf(out, "%s %s\n", key, limit == 0 ? "none" : cw_size_format(limit, text));
}

static int
policy_print(struct cw_cli *cli, const cw_pb_policy *p)
{
    char delay[CW_TEXT_SIZE], degrade[CW_TEXT_SIZE];

    if (cli->json)
        return cw_out_json(cli, cw_payload_policy(p));
    fprintf(cli->out, "policy        %s, %llu volume%s\n", p->name, (unsigned long long)p->volumes,
            p->volumes == 1 ? "" : "s");
    fprintf(cli->out, "copies        %u\nspread        %s\nsites         %s\n", p->copies,
            p->spread, p->sites);
    fprintf(cli->out, "min-insync    %u%s\n", cw_shape_min_insync(p),
            p->min_insync == 0 ? " (default for its copies)" : "");
    fprintf(cli->out, "degrade       %s\n",
            p->degrade_s < 0 ? "off" : cw_text_seconds((uint64_t)p->degrade_s, degrade));
    fprintf(cli->out, "repair-delay  %s\n", cw_text_seconds(p->repair_delay_s, delay));
    fprintf(cli->out, "quorum-loss   %s\nspace-full    %s\n", p->quorum_loss, p->space_full);
    print_limit(cli->out, "iops-limit   ", p->iops_limit);
    print_limit(cli->out, "bandwidth-limit", p->bandwidth_limit);
    fprintf(cli->out, "ack           %s\nasync         %s\njournal       %s\ncompression   %s\n",
            p->ack, p->async, p->journal, p->compression);
    return CW_EXIT_OK;
}

/* The policies of that name (one or none), or all for "". */
static cw_envelope *
policy_ask(struct cw_remote *r, const char *name)
{
    Causeway__Control__PolicyLs body = CAUSEWAY__CONTROL__POLICY_LS__INIT;

    body.name = (char *)name;
    return cw_remote_call(r, CW_ASK(POLICY_LS, policy_ls, &body), CW_WANT(POLICY_LS_REPLY),
                          CW_REMOTE_LS_MS);
}

static int
policy_not_found(struct cw_cli *cli, const char *name)
{
    return cw_cli_fail(
        cli,
        (struct cw_fail){ .code = "NOT_FOUND", .object = name, .hint = "see: causeway policy ls" },
        "policy %s: no such policy", name);
}

static int
policy_put(struct cw_cli *cli, struct cw_remote *r, cw_pb_policy *p, bool create, bool force)
{
    Causeway__Control__PolicyPut body = CAUSEWAY__CONTROL__POLICY_PUT__INIT;
    cw_envelope *reply;

    body.policy = p;
    body.create = create;
    body.force = force;
    reply =
        cw_remote_call(r, CW_ASK(POLICY_PUT, policy_put, &body), CW_WANT(POLICY), CW_REMOTE_DO_MS);
    if (reply == NULL)
        return CW_EXIT_FAILED;
    policy_print(cli, reply->policy);
    if (reply->policy->warning[0] != '\0')
        cw_cli_note(cli, "warning: policy %s: %s", reply->policy->name, reply->policy->warning);
    cw_envelope_free(reply);
    return CW_EXIT_OK;
}

static int
policy_put_args(struct cw_cli *cli, const struct cw_cmd *cmd, struct cw_args *a, bool create,
                bool force)
{
    struct cw_remote *r;
    cw_pb_policy p;
    int status = cw_volume_check_name(cli, cmd, a->operand[0]);

    if (status != CW_ARGS_GO)
        return status;
    if (!create && a->n < 2)
        return cw_cli_usage(cli, cmd, "KEY=VALUE is missing");
    cw_policy_init(&p, a->operand[0]);
    status = policy_take_all(cli, cmd, a, &p);
    if (status != CW_ARGS_GO || (r = cw_remote_new(cli, &status)) == NULL)
        return status;
    status = policy_put(cli, r, &p, create, force);
    cw_remote_free(r);
    return status;
}

static int
policy_parse(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv, bool create)
{
    struct policy_argv *p = calloc(1, sizeof(*p));
    bool force = false;
    const struct cw_opt opts[] = {
        { "force", 0, CW_OPT_FLAG, &force, NULL, "also if its volumes cannot have it now" },
        { 0 },
    };
    struct cw_args a = { .opts = create ? NULL : opts, .n_min = 1, .n_max = -1 };
    int status;

    if (p == NULL)
        abort();
    status = policy_argv_init(p, argc, argv);
    if (status == POLICY_ARGV_TOO_MUCH)
        status = cw_cli_usage(cli, cmd, "too many or too long arguments");
    else if (status == POLICY_ARGV_NO_VALUE)
        status = cw_cli_usage(cli, cmd, "option %s needs a value", argv[argc - 1]);
    else if ((status = cw_args_parse(cli, cmd, &a, p->n, p->at)) == CW_ARGS_GO)
        status = policy_put_args(cli, cmd, &a, create, force);
    free(p);
    return status;
}

static int
policy_create(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    return policy_parse(cli, cmd, argc, argv, true);
}

static int
policy_set(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    return policy_parse(cli, cmd, argc, argv, false);
}

static int
policy_ls_table(struct cw_cli *cli, const Causeway__Control__PolicyLsReply *ls)
{
    static const char *const columns[] = { "NAME",        ">COPIES",       "SPREAD",  "SITES",
                                           ">MIN-INSYNC", ">REPAIR-DELAY", ">VOLUMES" };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));

    for (size_t i = 0; i < ls->n_policies; i++) {
        const cw_pb_policy *p = ls->policies[i];
        char copies[CW_TEXT_SIZE], min[CW_TEXT_SIZE], delay[CW_TEXT_SIZE], n[CW_TEXT_SIZE];

        cw_table_row(t, (const char *[]){ p->name, cw_text_u64(p->copies, copies), p->spread,
                                          p->sites, cw_text_u64(cw_shape_min_insync(p), min),
                                          cw_text_seconds(p->repair_delay_s, delay),
                                          cw_text_u64(p->volumes, n) });
    }
    return cw_table_print(t);
}

static int
policy_read(struct cw_cli *cli, const char *name)
{
    int status;
    struct cw_remote *r = cw_remote_new(cli, &status);
    const cw_pb_policy *p;
    cw_envelope *reply;

    if (r == NULL)
        return status;
    reply = policy_ask(r, name);
    if (reply == NULL)
        status = CW_EXIT_FAILED;
    else if (name[0] == '\0')
        status = cli->json ? cw_out_json(cli, cw_payload_policies(reply->policy_ls_reply))
                           : policy_ls_table(cli, reply->policy_ls_reply);
    else if ((p = cw_shape_find_policy(reply->policy_ls_reply, name)) != NULL)
        status = policy_print(cli, p);
    else
        status = policy_not_found(cli, name);
    cw_envelope_free(reply);
    cw_remote_free(r);
    return status;
}

static int
policy_ls(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { 0 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    return status != CW_ARGS_GO ? status : policy_read(cli, "");
}

static int
policy_show(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    return status != CW_ARGS_GO ? status : policy_read(cli, a.operand[0]);
}

static int
policy_rm(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__PolicyRm body = CAUSEWAY__CONTROL__POLICY_RM__INIT;
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    body.name = a.operand[0];
    status = cw_remote_do(cli, CW_ASK(POLICY_RM, policy_rm, &body));
    if (status == CW_EXIT_OK && cli->json)
        return cw_out_json(cli, cw_payload_done("removed", body.name));
    if (status == CW_EXIT_OK)
        fprintf(cli->out, "policy %s is removed\n", body.name);
    return status;
}

static void
check_print(FILE *out, const Causeway__Control__PolicyCheckReply *c)
{
    char size[CW_SIZE_TEXT_SIZE];

    fprintf(out, "can be met    %s%s%s\n", c->met ? "yes" : "no: ", c->why,
            c->met ? ", by new volumes, now" : "");
    if (!c->met)
        fprintf(out, "would help    %s\n", c->hint);
    fprintf(out, "space         %u bytes on disks for each byte stored; %s more could be stored\n",
            c->factor, cw_size_format(c->storable_bytes, size));
    fprintf(out, "round trips   %s\n", c->round_trips_text);
    if (c->warning[0] != '\0')
        fprintf(out, "warning       %s\n", c->warning);
    for (size_t i = 0; i < c->n_losses; i++) {
        const Causeway__Control__PolicyLoss *l = c->losses[i];

        fprintf(out, "without %s  %s (the worst %s): %u cop%s left, %s; %s%s; %s could be stored\n",
                l->kind, l->name, l->kind, l->copies_left, l->copies_left == 1 ? "y" : "ies",
                l->then, l->met ? "all can be made again" : "not all can be made again: ", l->why,
                cw_size_format(l->storable_bytes, size));
    }
    fflush(out);
}

static int
policy_check_ask(struct cw_cli *cli, cw_pb_policy *p)
{
    Causeway__Control__PolicyCheck body = CAUSEWAY__CONTROL__POLICY_CHECK__INIT;
    cw_envelope *reply;
    int status;

    body.policy = p;
    reply = cw_remote_ask(cli, CW_ASK(POLICY_CHECK, policy_check, &body),
                          CW_WANT(POLICY_CHECK_REPLY), CW_REMOTE_LS_MS, &status);
    if (reply == NULL)
        return status;
    status = reply->policy_check_reply->met ? CW_EXIT_OK : CW_EXIT_FAILED;
    if (cli->json)
        cw_out_json(cli, cw_payload_policy_check(reply->policy_check_reply));
    else
        check_print(cli->out, reply->policy_check_reply);
    cw_envelope_free(reply);
    return status;
}

static int
policy_check_args(struct cw_cli *cli, const struct cw_cmd *cmd, const struct cw_args *a)
{
    bool named = strchr(a->operand[0], '=') == NULL;
    char why[CW_POLICY_WHY_SIZE];
    cw_pb_policy p;

    cw_policy_init(&p, named ? a->operand[0] : "");
    for (int i = named; i < a->n; i++) {
        if (!cw_policy_take(&p, a->operand[i], why))
            return cw_cli_usage(cli, cmd, "%s", why);
    }
    return policy_check_ask(cli, &p);
}

static int
policy_check(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct policy_argv *p = calloc(1, sizeof(*p));
    struct cw_args a = { .n_min = 1, .n_max = -1 };
    int status;

    if (p == NULL)
        abort();
    status = policy_argv_init(p, argc, argv);
    if (status == POLICY_ARGV_TOO_MUCH)
        status = cw_cli_usage(cli, cmd, "too many or too long arguments");
    else if (status == POLICY_ARGV_NO_VALUE)
        status = cw_cli_usage(cli, cmd, "option %s needs a value", argv[argc - 1]);
    else if ((status = cw_args_parse(cli, cmd, &a, p->n, p->at)) == CW_ARGS_GO)
        status = policy_check_args(cli, cmd, &a);
    free(p);
    return status;
}

#define KEYS_HELP \
    "Keys, as key=value or --key value:\n" \
    "  copies        1 to 5; 3. No acknowledged write is lost while one in-sync copy survives\n" \
    "  spread        host, rack or site; host: no two copies in one such domain\n" \
    "  sites         any; 'each:N SITE,SITE..'; only:SITE; prefer:SITE\n" \
    "  min-insync    below it writes wait; 1 for one or two copies, 2 for more\n" \
    "  degrade       off or a time; 60: after it min-insync falls to 1 while copies miss\n" \
    "  repair-delay  how long an absent host is waited for; 60m\n" \
    "  quorum-loss   wait or error; what a guest sees when the volume cannot serve\n" \
    "  space-full    wait or error; what a guest sees when no space is left\n" \
    "  compression   off, background or inline; background: zstd when cold data is rewritten;\n" \
    "                inline: before it is written, which costs latency. A change reaches the\n" \
    "                volumes at once and concerns what is written or rewritten from then on\n" \
    "  iops-limit    requests in a second, one of more than 32 KiB counts as several; 0: none\n" \
    "  bandwidth-limit  bytes in a second, 64K or more; 0: none. After a pause a second's worth\n" \
    "                goes at once; a change counts at once\n" \
    "  ack           durable: on the media of every copy in sync; replicated: in their memory,\n" \
    "                and on the media at the next flush\n" \
    "  async         none; SITE: one more copy there, which follows in order and is never\n" \
    "                waited for; it is no copy that `copies` counts\n" \
    "  rpo           how far it may be behind before status says so; 60s\n" \
    "  journal       auto or off\n" \
    "Checksums are always on. A policy that the present hosts cannot meet is noted with a " \
    "warning.\n\n"

const struct cw_cmd cw_cmds_policy[] = {
    { "policy create", "NAME [KEY=VALUE]..", "a new policy; what is not given has its default",
      KEYS_HELP "  causeway policy create stretched copies=2 spread=site 'sites=each:1 dc1,aws'\n",
      policy_create },
    { "policy ls", "", "policies and how many volumes use them", NULL, policy_ls },
    { "policy show", "NAME", "one policy, every key", NULL, policy_show },
    { "policy set", "NAME KEY=VALUE.. [--force]",
      "change some keys; its volumes follow while in use",
      "Copies that have to move are added and synchronised before others are removed. What the\n"
      "cluster cannot give to its volumes is refused, with the smallest change that would "
      "do.\n\n" KEYS_HELP "  causeway policy set default repair-delay=10m compression=inline\n",
      policy_set },
    { "policy check", "[NAME] [KEY=VALUE]..", "can it be met, what does it cost, what after a loss",
      "Of the policy NAME as it is, or with some keys changed; or, without NAME, of a new one.\n"
      "It costs space, and the round trip to the farthest copy, which each write waits for.\n"
      "Exit status 1: no new volume could have it now.\n\n"
      "  causeway policy check default\n"
      "  causeway policy check copies=4 'sites=each:2 dc1,aws'\n",
      policy_check },
    { "policy rm", "NAME", "remove a policy that no volume uses", NULL, policy_rm },
    { 0 },
};
