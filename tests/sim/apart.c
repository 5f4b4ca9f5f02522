/* sim/apart.c - a run in a process of its own, so that a failed assertion ends one seed and not the
 * search.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/sim.h"

struct sim_result
sim_run_apart(struct sim_opts opts)
{
    struct sim_result r = { .failed = true, .why = "ended by an assertion or a signal" };
    int fds[2], status;
    pid_t pid;

    if (pipe(fds) != 0)
        exit(2);
    pid = fork();
    if (pid == 0) {
        r = sim_run(opts);
        _exit(write(fds[1], &r, sizeof(r)) != sizeof(r));
    }
    close(fds[1]);
    if (pid < 0 || read(fds[0], &r, sizeof(r)) != sizeof(r))
        r.failed = true;
    close(fds[0]);
    if (pid > 0)
        waitpid(pid, &status, 0);
    return r;
}
