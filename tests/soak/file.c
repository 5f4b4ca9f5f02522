/* The file between two lives, as `causeway-store check` reads it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/bits.h"
#include "common/reactor/reactor.h"
#include "daemon/tool/tool.h"
#include "tests/soak/parent.h"

static FILE *check_out; /* of the child that checks */

static int
check_main(struct soak *k)
{
    char word[] = "causeway-store", verb[] = "check", *argv[] = { word, verb, NULL, NULL };
    char path[512];

    snprintf(path, sizeof(path), "%s", k->store_path);
    argv[2] = path;
    return cw_tool_main(3, argv, check_out, check_out);
}

/* The first thing found, or the last line. */
static void
check_take_line(FILE *f, char *to, size_t size)
{
    char line[512];

    rewind(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = 0;
        snprintf(to, size, "the whole file: %.400s", line);
        if (strncmp(line, "found", 5) == 0)
            return;
    }
}

const char *
file_check(struct parent *p)
{
    static char text[512];
    uint64_t began_ns = cw_reactor_clock_ns();
    char path[512];
    int status;
    pid_t pid;

    snprintf(path, sizeof(path), "%s.check", p->k->log_path);
    check_out = fopen(path, "w+e");
    cw_assert(check_out != NULL);
    pid = child_fork(p, check_main);
    waitpid(pid, &status, 0);
    p->report.checks++;
    p->report.check_ns_max = cw_max_u64(p->report.check_ns_max, cw_reactor_clock_ns() - began_ns);
    text[0] = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        snprintf(text, sizeof(text), "the check of the file ended with status %#x", status);
        check_take_line(check_out, text, sizeof(text));
    }
    fclose(check_out);
    check_out = NULL;
    return text[0] == 0 ? NULL : text;
}
