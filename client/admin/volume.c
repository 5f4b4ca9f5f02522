/* admin/volume.c - create, ls, show, resize, set, rm, restore. */
#include <string.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "client/admin/volume.h"
#include "common/base/bits.h"
#include "common/base/name.h"
#include "common/base/size.h"
#include "proto/wire.h"

#define TRASH_DELAY_S (24 * 3600)

int
cw_volume_check_name(struct cw_cli *cli, const struct cw_cmd *cmd, const char *name)
{
    if (cw_name_ok(name))
        return CW_ARGS_GO;
    return cw_cli_usage(
        cli, cmd, "'%s' is no name: 1 to 63 of A-Z a-z 0-9 . _ -, a letter or digit first", name);
}

int
cw_volume_check_size(struct cw_cli *cli, const struct cw_cmd *cmd, uint64_t size_bytes)
{
    if (size_bytes == 0)
        return cw_cli_usage(cli, cmd, "a volume has at least 4096 bytes");
    if (size_bytes % CW_BLOCK_SIZE != 0)
        return cw_cli_usage(cli, cmd, "size %llu is not a multiple of 4096; the next one is %llu",
                            (unsigned long long)size_bytes,
                            (unsigned long long)(size_bytes / CW_BLOCK_SIZE + 1) * CW_BLOCK_SIZE);
    return CW_ARGS_GO;
}

static int
volume_print_json(struct cw_cli *cli, const cw_pb_volume *v)
{
    return cw_out_json(cli, cw_payload_volume(v));
}

/* The answer to what changed one volume. */
static int
volume_print_changed(struct cw_cli *cli, const cw_pb_volume *v, const char *what)
{
    char size[CW_TEXT_SIZE];

    if (cli->json)
        return volume_print_json(cli, v);
    fprintf(cli->out, "volume %s %s: %s, policy %s%s%s\n", v->name, what,
            cw_text_size(v->size_bytes, size), v->policy,
            v->compliant ? "" : ", not compliant: ", v->compliant ? "" : v->compliant_why);
    return CW_EXIT_OK;
}

cw_envelope *
cw_volume_ask(struct cw_cli *cli, const char *name, int *ret_status)
{
    Causeway__Control__VolumeShow body = CAUSEWAY__CONTROL__VOLUME_SHOW__INIT;

    body.name = (char *)name;
    return cw_remote_ask(cli, CW_ASK(VOLUME_SHOW, volume_show, &body), CW_WANT(VOLUME_INFO),
                         CW_REMOTE_LS_MS, ret_status);
}

/* ---- create ---- */

static uint64_t
volume_space(const cw_pb_status *s)
{
    uint64_t size = 0;

    for (size_t i = 0; i < s->n_sites; i++)
        size += s->sites[i]->size_bytes;
    return size;
}

/* Thin volumes may exceed the stores; whoever makes one should know it. */
static void
volume_warn_thin(struct cw_cli *cli, struct cw_remote *r, const cw_pb_volume *v)
{
    Causeway__Control__Status body = CAUSEWAY__CONTROL__STATUS__INIT;
    size_t copies = v->n_shards > 0 ? v->shards[0]->n_members : 1;
    char need[CW_TEXT_SIZE], have[CW_TEXT_SIZE];
    uint64_t all, space;
    cw_envelope *reply;

    if (cli->json)
        return;
    reply =
        cw_remote_call(r, CW_ASK(STATUS, status, &body), CW_WANT(STATUS_REPLY), CW_REMOTE_LS_MS);
    if (reply == NULL)
        return;
    space = volume_space(reply->status_reply);
    if (__builtin_mul_overflow(v->size_bytes, copies, &all) || all > space)
        cw_cli_note(cli, "warning: volume %s may grow to %s with its copies, the stores hold %s",
                    v->name, cw_text_size(all, need), cw_text_size(space, have));
    cw_envelope_free(reply);
}

static int
volume_create(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__VolumeCreate body = CAUSEWAY__CONTROL__VOLUME_CREATE__INIT;
    const char *policy = "";
    bool force = false;
    uint64_t size = UINT64_MAX;
    const struct cw_opt opts[] = {
        { "size", 's', CW_OPT_SIZE, &size, "SIZE", "64M, 2G, 1T; a multiple of 4096 bytes" },
        { "policy", 'p', CW_OPT_TEXT, &policy, "NAME", "default: the policy 'default'" },
        { "force", 0, CW_OPT_FLAG, &force, NULL,
          "also if the cluster cannot satisfy the policy now" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    struct cw_remote *r;
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    if (size == UINT64_MAX)
        return cw_cli_usage(cli, cmd, "--size is missing");
    if ((status = cw_volume_check_name(cli, cmd, a.operand[0])) != CW_ARGS_GO ||
        (status = cw_volume_check_size(cli, cmd, size)) != CW_ARGS_GO)
        return status;
    r = cw_remote_new(cli, &status);
    if (r == NULL)
        return status;
    body.name = a.operand[0];
    body.size_bytes = size;
    body.policy = (char *)policy;
    body.force = force;
    status = CW_EXIT_FAILED;
    reply = cw_remote_call(r, CW_ASK(VOLUME_CREATE, volume_create, &body), CW_WANT(VOLUME_INFO),
                           CW_REMOTE_DO_MS);
    if (reply != NULL) {
        status = volume_print_changed(cli, reply->volume_info, "created");
        volume_warn_thin(cli, r, reply->volume_info);
    }
    cw_envelope_free(reply);
    cw_remote_free(r);
    return status;
}

/* ---- ls ---- */

static int
volume_ls_table(struct cw_cli *cli, const Causeway__Control__VolumeLsReply *ls, bool trash)
{
    const char *columns[] = { "NAME",      "ID",         ">SIZE",
                              ">USED",     "PROTECTION", "STATE",
                              "COMPLIANT", "POLICY",     trash ? "PURGED" : "OWNER.." };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));

    for (size_t i = 0; i < ls->n_volumes; i++) {
        const cw_pb_volume *v = ls->volumes[i];
        char size[CW_TEXT_SIZE], used[CW_TEXT_SIZE], id[CW_TEXT_SIZE], owner[192];

        snprintf(owner, sizeof(owner), "%s%s%s", v->owner, v->owner_host[0] != '\0' ? "@" : "",
                 v->owner_host);
        cw_table_row(
            t, (const char *[]){ v->name, cw_text_u64(v->id, id), cw_text_size(v->size_bytes, size),
                                 v->used_bytes > 0 ? cw_text_size(v->used_bytes, used) : "-",
                                 v->protection, v->state, v->compliant ? "yes" : "no", v->policy,
                                 trash ? v->purge_at : owner });
    }
    return cw_table_print(t);
}

static int
volume_ls(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__VolumeLs body = CAUSEWAY__CONTROL__VOLUME_LS__INIT;
    bool trash = false;
    const struct cw_opt opts[] = {
        { "trash", 0, CW_OPT_FLAG, &trash, NULL, "what `volume restore` can bring back" },
        { 0 },
    };
    struct cw_args a = { .opts = opts };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    body.trash = trash;
    reply = cw_remote_ask(cli, CW_ASK(VOLUME_LS, volume_ls, &body), CW_WANT(VOLUME_LS_REPLY),
                          CW_REMOTE_LS_MS, &status);
    if (reply == NULL)
        return status;
    status = cli->json ? cw_out_json(cli, cw_payload_volumes(reply->volume_ls_reply))
                       : volume_ls_table(cli, reply->volume_ls_reply, trash);
    cw_envelope_free(reply);
    return status;
}

/* ---- show ---- */

static void
volume_print_line(FILE *out, const char *what, const char *text, const char *why)
{
    bool has_why = why != NULL && why[0] != '\0';

    fprintf(out, "%-11s %s%s%s%s\n", what, text, has_why ? " (" : "", has_why ? why : "",
            has_why ? ")" : "");
}

static void
volume_print_head(FILE *out, const cw_pb_volume *v)
{
    char size[CW_TEXT_SIZE], used[CW_TEXT_SIZE], r99[CW_TEXT_SIZE], w99[CW_TEXT_SIZE];

    fprintf(out, "%-11s %s, id %llu, created %s\n", "volume", v->name, (unsigned long long)v->id,
            v->created);
    fprintf(out, "%-11s %s (%llu bytes)", "size", cw_text_size(v->size_bytes, size),
            (unsigned long long)v->size_bytes);
    if (v->used_bytes > 0)
        fprintf(out, ", all copies use %s", cw_text_size(v->used_bytes, used));
    fputc('\n', out);
    volume_print_line(out, "policy", v->policy, NULL);
    volume_print_line(out, "protection", v->protection, v->protection_why);
    volume_print_line(out, "compliant", v->compliant ? "yes" : "no", v->compliant_why);
    volume_print_line(out, "state", v->state, NULL);
    if (v->owner[0] != '\0')
        fprintf(out, "%-11s %s on %s since %s, generation %u\n", "owner", v->owner, v->owner_host,
                v->owner_since, v->gen);
    if (v->purge_at[0] != '\0')
        volume_print_line(out, "purged", v->purge_at, NULL);
    if (v->reads + v->writes > 0)
        fprintf(out, "%-11s %llu reads p99 %s, %llu writes p99 %s\n", "I/O",
                (unsigned long long)v->reads, cw_text_latency(v->read_p99_ns, r99),
                (unsigned long long)v->writes, cw_text_latency(v->write_p99_ns, w99));
}

void
cw_volume_print_shards(struct cw_cli *cli, const cw_pb_volume *v)
{
    static const char *const columns[] = { ">SHARD", "SITE", "HOST", "DISK", "COPY", "UP", "NOTE" };
    struct cw_table *t = cw_table_new(cli, columns, CW_LEN(columns));

    for (size_t s = 0; s < v->n_shards; s++) {
        const cw_pb_shard *shard = v->shards[s];
        char index[CW_TEXT_SIZE];

        cw_text_u64(shard->shard & 0xffff, index);
        for (size_t m = 0; m < shard->n_members; m++) {
            const cw_pb_member *c = shard->members[m];
            char note[160] = "", done[CW_TEXT_SIZE], size[CW_TEXT_SIZE];

            if (c->chunks_total > 0 && c->chunks_left > 0)
                snprintf(note, sizeof(note), "%s brought up to date",
                         cw_text_percent(c->chunks_total - c->chunks_left, c->chunks_total, done));
            else if (c->async && c->state != CAUSEWAY__CONTROL__MEMBER_STATE__LAGGING)
                snprintf(note, sizeof(note), "is to follow");
            else if (c->async && c->lag > 0)
                snprintf(note, sizeof(note), "follows, %s and %s behind",
                         cw_text_latency(c->lag_ns, done), cw_text_size(c->lag_bytes, size));
            else if (c->async)
                snprintf(note, sizeof(note), "follows");
            else if (shard->suspended && m == 0)
                snprintf(note, sizeof(note), "suspended: %s", shard->why);
            cw_table_row(t, (const char *[]){ m == 0 ? index : "", c->site, c->host, c->disk,
                                              cw_shape_member_state(c->state),
                                              c->up ? "up" : "down", note });
        }
    }
    cw_table_print(t);
}

static int
volume_show(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    struct cw_args a = { .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    cw_envelope *reply;

    if (status != CW_ARGS_GO)
        return status;
    reply = cw_volume_ask(cli, a.operand[0], &status);
    if (reply == NULL)
        return status;
    if (cli->json) {
        volume_print_json(cli, reply->volume_info);
    } else {
        volume_print_head(cli->out, reply->volume_info);
        cw_volume_print_shards(cli, reply->volume_info);
    }
    cw_envelope_free(reply);
    return CW_EXIT_OK;
}

/* ---- resize, set, rm, restore ---- */

static int
volume_change(struct cw_cli *cli, const cw_envelope *ask, const char *what)
{
    int status;
    cw_envelope *reply = cw_remote_ask(cli, ask, CW_WANT(VOLUME_INFO), CW_REMOTE_DO_MS, &status);

    if (reply == NULL)
        return status;
    status = volume_print_changed(cli, reply->volume_info, what);
    cw_envelope_free(reply);
    return status;
}

static int
volume_resize(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__VolumeResize body = CAUSEWAY__CONTROL__VOLUME_RESIZE__INIT;
    const char *text = NULL;
    const struct cw_opt opts[] = {
        { "size", 's', CW_OPT_TEXT, &text, "SIZE", "the same as the second operand" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 2 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    uint64_t size;

    if (status != CW_ARGS_GO)
        return status;
    if (text == NULL && a.n == 2)
        text = a.operand[1];
    if (text == NULL)
        return cw_cli_usage(cli, cmd, "SIZE is missing");
    if (cw_size_too_large(text))
        return cw_cli_usage(cli, cmd, "'%s' is too large", text);
    if (!cw_size_parse(text, &size))
        return cw_cli_usage(cli, cmd, "'%s' is not a size such as 64M, 2G or 1T", text);
    if ((status = cw_volume_check_size(cli, cmd, size)) != CW_ARGS_GO)
        return status;
    body.name = a.operand[0];
    body.size_bytes = size;
    return volume_change(cli, CW_ASK(VOLUME_RESIZE, volume_resize, &body), "resized");
}

static int
volume_set(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__VolumeSet body = CAUSEWAY__CONTROL__VOLUME_SET__INIT;
    const char *policy = NULL;
    bool force = false;
    const struct cw_opt opts[] = {
        { "policy", 'p', CW_OPT_TEXT, &policy, "NAME", "the new policy; policy=NAME will do too" },
        { "force", 0, CW_OPT_FLAG, &force, NULL,
          "also if the cluster cannot satisfy the policy now" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 2 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    if (a.n == 2 && strncmp(a.operand[1], "policy=", 7) == 0)
        policy = a.operand[1] + 7;
    else if (a.n == 2)
        return cw_cli_usage(cli, cmd, "'%s': only policy=NAME can be set", a.operand[1]);
    if (policy == NULL)
        return cw_cli_usage(cli, cmd, "--policy is missing");
    body.name = a.operand[0];
    body.policy = (char *)policy;
    body.force = force;
    return volume_change(cli, CW_ASK(VOLUME_SET, volume_set, &body), "changed");
}

static int
volume_rm(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__VolumeRm body = CAUSEWAY__CONTROL__VOLUME_RM__INIT;
    uint64_t delay_s = TRASH_DELAY_S;
    bool now = false;
    const struct cw_opt opts[] = {
        { "delay", 0, CW_OPT_SECONDS, &delay_s, "TIME", "how long it can be restored; 24h" },
        { "now", 0, CW_OPT_FLAG, &now, NULL, "free it at once, also if it is in the trash" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    char text[CW_TEXT_SIZE];

    if (status != CW_ARGS_GO)
        return status;
    body.name = a.operand[0];
    body.delay_s = delay_s;
    body.now = now;
    status = cw_remote_do(cli, CW_ASK(VOLUME_RM, volume_rm, &body));
    if (status != CW_EXIT_OK)
        return status;
    if (cli->json)
        return cw_out_json(cli, cw_payload_volume_removed(body.name, now, delay_s));
    if (now)
        fprintf(cli->out, "volume %s is removed\n", body.name);
    else
        fprintf(cli->out, "volume %s is in the trash for %s; back: causeway volume restore %s\n",
                body.name, cw_text_seconds(delay_s, text), body.name);
    return CW_EXIT_OK;
}

static int
volume_restore(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    Causeway__Control__VolumeRestore body = CAUSEWAY__CONTROL__VOLUME_RESTORE__INIT;
    const char *new_name = "";
    uint64_t id = 0;
    const struct cw_opt opts[] = {
        { "id", 0, CW_OPT_NUMBER, &id, "ID", "which one, if several of that name are there" },
        { "as", 0, CW_OPT_TEXT, &new_name, "NAME", "under another name" },
        { 0 },
    };
    struct cw_args a = { .opts = opts, .n_min = 1, .n_max = 1 };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);

    if (status != CW_ARGS_GO)
        return status;
    if (new_name[0] != '\0' && (status = cw_volume_check_name(cli, cmd, new_name)) != CW_ARGS_GO)
        return status;
    body.name = a.operand[0];
    body.volume_id = id;
    body.new_name = (char *)new_name;
    status = cw_remote_do(cli, CW_ASK(VOLUME_RESTORE, volume_restore, &body));
    if (status != CW_EXIT_OK)
        return status;
    if (new_name[0] == '\0')
        new_name = body.name;
    if (cli->json)
        return cw_out_json(cli, cw_payload_done("restored", new_name));
    fprintf(cli->out, "volume %s is back\n", new_name);
    return CW_EXIT_OK;
}

const struct cw_cmd cw_cmds_volume[] = {
    { "volume create", "NAME --size SIZE [--policy P]", "a new volume, thin and zeroed",
      "Space is taken as it is written; the copies may exceed the stores together.\n\n"
      "  causeway volume create vm1 --size 2G\n"
      "  causeway volume create db --size 1T --policy stretched\n",
      volume_create },
    { "volume ls", "[--trash]", "volumes with protection, state and owner", NULL, volume_ls },
    { "volume show", "NAME", "one volume and where its copies are",
      "protection is explained by `causeway status --help`. COPY says what a copy is: INSYNC,\n"
      "LAGGING, SYNCING (being brought up to date), OUT (left behind), JOURNAL or DEAD.\n",
      volume_show },
    { "volume resize", "NAME SIZE", "grow a volume, also while it is in use",
      "  causeway volume resize vm1 4G\n", volume_resize },
    { "volume set", "NAME --policy P", "give a volume another policy, while it is in use",
      "A live move: copies are added and synchronised before others are removed.\n", volume_set },
    { "volume rm", "NAME [--delay TIME | --now]", "into the trash; gone after 24 hours",
      "The volume must not be in use. Its name is free at once.\n\n"
      "  causeway volume rm vm1            can be restored for a day\n"
      "  causeway volume rm vm1 --now      its space is free at once\n",
      volume_rm },
    { "volume restore", "NAME [--id ID] [--as NAME]", "bring a removed volume back",
      "See `causeway volume ls --trash`.\n", volume_restore },
    { 0 },
};
