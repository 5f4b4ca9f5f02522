#include <stdlib.h>
#include <string.h>

#include "client/admin/cli.h"
#include "client/admin/dispatch.h"

/* The value of "--cluster VALUE" or "--cluster=VALUE" at argv[*i], which then moves; NULL: none. */
static const char *
main_cluster(int argc, char **argv, int *i)
{
    if (strncmp(argv[*i], "--cluster=", 10) == 0)
        return argv[*i] + 10;
    return *i + 1 < argc ? argv[++*i] : NULL;
}

int
cw_cli_main(int argc, char **argv, FILE *out, FILE *err)
{
    struct cw_cli cli = { .out = out, .err = err, .cluster = getenv("CAUSEWAY_CLUSTER") };
    int i = 1;

    if (cli.cluster != NULL && cli.cluster[0] == '\0')
        cli.cluster = NULL;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            cli.json = true;
        } else if (strncmp(argv[i], "--cluster", 9) == 0 && (argv[i][9] == '=' || !argv[i][9])) {
            if ((cli.cluster = main_cluster(argc, argv, &i)) == NULL)
                return cw_cli_usage(&cli, NULL, "option --cluster needs an address");
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            cw_dispatch_help(&cli);
            return CW_EXIT_OK;
        } else if (strcmp(argv[i], "--version") == 0) {
            fputs("causeway " CW_VERSION "\n", out);
            return CW_EXIT_OK;
        } else {
            return cw_cli_usage(&cli, NULL, "unknown option %s", argv[i]);
        }
    }
    if (i == argc)
        return cw_cli_usage(&cli, NULL, "which command?");
    if (strcmp(argv[i], "help") == 0) {
        cw_dispatch_help(&cli);
        return CW_EXIT_OK;
    }
    return cw_dispatch(&cli, argc - i, argv + i);
}
