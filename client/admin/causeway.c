/* admin/causeway.c - the program. Kept apart so that tests link everything else. */
#include <signal.h>

#include "client/admin/cli.h"

int
main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a manager that hangs up is an error to name, not an end */
    return cw_cli_main(argc, argv, stdout, stderr);
}
