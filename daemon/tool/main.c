/* causeway-store: see tool.h. */
#include "daemon/tool/tool.h"

int
main(int argc, char **argv)
{
    int status = cw_tool_main(argc, argv, stdout, stderr);

    if (fclose(stdout) == 0) /* some file systems tell only now */
        return status;
    perror("causeway-store: the output could not be written");
    return status == CW_TOOL_OK ? CW_TOOL_FOUND : status;
}
