/* admin/whatif.c - what if these failed now? */
#include <stdlib.h>
#include <string.h>

#include "client/admin/args.h"
#include "client/admin/dispatch.h"
#include "client/admin/out.h"
#include "client/admin/remote.h"
#include "client/admin/text.h"
#include "common/base/bits.h"
#include "common/shape/payload.h"

typedef Causeway__Control__WhatifVolume whatif_volume;

#define FAIL_MAX 64

static int
print_json(struct cw_cli *cli, const cw_pb_whatif *r)
{
    cw_out_json(cli, cw_payload_whatif(r));
    return cw_shape_whatif_health(r);
}

static int
print_table(struct cw_cli *cli, const cw_pb_whatif *r)
{
    static const char *const columns[] = { "VOLUME",   "NOW",      "WOULD-BE", "FOR-GOOD",
                                           "RESTORED", ">TO-COPY", "WHY.." };
    struct cw_table *t;

    fprintf(cli->out, "%zu disk%s would fail; %llu of %zu volumes stay full\n", r->n_disks,
            r->n_disks == 1 ? "" : "s", (unsigned long long)r->unaffected, r->n_volumes);
    t = cw_table_new(cli, columns, CW_LEN(columns));
    for (size_t i = 0; i < r->n_volumes; i++) {
        const whatif_volume *v = r->volumes[i];
        char bytes[CW_TEXT_SIZE];

        if (cw_shape_protection_health(v->word) == 0)
            continue;
        cw_table_row(t, (const char *[]){ v->name, v->now, v->word, v->for_good,
                                          v->restorable ? "yes" : "no",
                                          cw_text_size(v->restore_bytes, bytes),
                                          v->restorable ? v->why : v->restore_why });
    }
    cw_table_print(t);
    return cw_shape_whatif_health(r);
}

static int
whatif_ask(struct cw_cli *cli, char *list)
{
    Causeway__Control__Whatif body = CAUSEWAY__CONTROL__WHATIF__INIT;
    char *fail[FAIL_MAX], *save = NULL;
    cw_envelope *reply;
    int status;

    body.fail = fail;
    for (char *at = strtok_r(list, ",", &save); at != NULL && body.n_fail < FAIL_MAX;
         at = strtok_r(NULL, ",", &save))
        fail[body.n_fail++] = at;
    reply = cw_remote_ask(cli, CW_ASK(WHATIF, whatif, &body), CW_WANT(WHATIF_REPLY),
                          CW_REMOTE_LS_MS, &status);
    if (reply != NULL)
        status = cli->json ? print_json(cli, reply->whatif_reply)
                           : print_table(cli, reply->whatif_reply);
    cw_envelope_free(reply);
    return status;
}

static int
whatif(struct cw_cli *cli, const struct cw_cmd *cmd, int argc, char **argv)
{
    const char *fail = NULL;
    const struct cw_opt opts[] = {
        { "fail", 0, CW_OPT_TEXT, &fail, "DOMAIN[,DOMAIN..]",
          "REGION, SITE, SITE/RACK, HOST or HOST/DISK: together" },
        { 0 },
    };
    struct cw_args a = { .opts = opts };
    int status = cw_args_parse(cli, cmd, &a, argc, argv);
    char *list;

    if (status != CW_ARGS_GO)
        return status;
    if (fail == NULL || fail[strspn(fail, ",")] == '\0')
        return cw_cli_usage(cli, cmd, "--fail is missing");
    list = strdup(fail);
    if (list == NULL)
        abort();
    status = whatif_ask(cli, list);
    free(list);
    return status;
}

const struct cw_cmd cw_cmds_whatif[] = {
    { "whatif", "--fail DOMAIN[,DOMAIN..]",
      "what would be reduced, suspended or lost if these failed",
      "Answered by the code that judges the real cluster, from what is known now; nothing "
      "changes.\n"
      "Hosts fall silent, a disk that is named fails. WOULD-BE is the protection of the volume at\n"
      "once, FOR-GOOD if what failed never comes back, RESTORED whether repair could then make it\n"
      "full on what is left, and TO-COPY what it would copy.\n\n"
      "  causeway whatif --fail dc1\n"
      "  causeway whatif --fail h1,h2/store-0\n\n"
      "Exit status: 0 every volume stays full; 1 some are reduced; 2 some are at risk, suspended,\n"
      "unavailable or lost.\n",
      whatif },
    { 0 },
};
