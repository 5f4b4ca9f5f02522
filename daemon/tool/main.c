/* causeway-store: see tool.h. */
#include "daemon/tool/tool.h"

int
main(int argc, char **argv)
{
    return cw_tool_main(argc, argv, stdout, stderr);
}
