#include <string.h>

#include "daemon/tool/format.h"
#include "daemon/tool/tool.h"

static int
format_one(struct cw_tool *t, const struct cw_tool_cmd *cmd, char *text, bool force)
{
    struct cw_format_opts opts = { .path = text, .force = force };
    char why[CW_FORMAT_WHY_SIZE], size[CW_SIZE_TEXT_SIZE];
    uint64_t bytes;
    size_t len;

    cw_format_split(text, &len, &opts.bytes);
    text[len] = '\0';
    if (!cw_format_asked(&opts, why))
        return cw_tool_usage(t, cmd, "%s", why);
    if (cw_tool_reactor(t) == NULL)
        return CW_TOOL_FOUND;
    if (!cw_format_store(t->r, &opts, &bytes, why))
        return cw_tool_fail(t, "CANNOT_FORMAT", opts.path, NULL, "%s", why);
    if (t->json)
        cw_tool_json(t, json_pack("{s:s,s:I}", "path", opts.path, "bytes", (json_int_t)bytes));
    else
        fprintf(t->out, "%s: an empty store of %s\n", opts.path, cw_size_format(bytes, size));
    return CW_TOOL_OK;
}

static int
format_run(struct cw_tool *t, const struct cw_tool_cmd *cmd, int argc, char **argv)
{
    bool force = false;
    const struct cw_tool_opt opts[] = { { .name = "force", .flag = &force }, { 0 } };
    int n, status = cw_tool_args(t, cmd, opts, argc, argv, &n);

    if (status == CW_TOOL_GO)
        status = cw_tool_one_path(t, cmd, n, argv);
    if (status != CW_TOOL_GO)
        return status;
    if (argv[0][0] == '\0' || argv[0][0] == ':')
        return cw_tool_usage(t, cmd, "which store? It is PATH or PATH:SIZE");
    return format_one(t, cmd, argv[0], force);
}

const struct cw_tool_cmd cw_tool_format_cmd = {
    .word = "format",
    .args = "PATH[:SIZE] [--force] [--json]",
    .brief = "Write an empty store that belongs to no cluster yet.",
    .about =
        "With a size, a file that is not there is made; a block device takes none. A store\n"
        "that is there already, even a damaged one or what is left of one, is only overwritten\n"
        "with --force, and what is in it is lost; so is a file system, a partition table or\n"
        "what else others keep there.\n\n"
        "Examples: causeway-store format /dev/nvme1n1\n"
        "          causeway-store format /srv/store-0:100G\n",
    .run = format_run,
};
