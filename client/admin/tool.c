#include "client/admin/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- where it is ---- */

static bool
tool_try(char *ret, const char *dir, int dir_len, const char *below)
{
    return snprintf(ret, PATH_MAX, "%.*s/%s", dir_len, dir, below) < PATH_MAX &&
           access(ret, X_OK) == 0;
}

static bool
tool_in(const char *path, const char *name, char ret[static PATH_MAX])
{
    for (; path != NULL && *path != '\0'; path += *path == ':') {
        size_t len = strcspn(path, ":");

        if (len > 0 && tool_try(ret, path, (int)len, name))
            return true;
        path += len;
    }
    return false;
}

bool
cw_tool_ours(const char *name, const char *in_build_tree, char ret[static PATH_MAX])
{
    char self[PATH_MAX], *slash;
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n > 0) {
        self[n] = '\0';
        slash = strrchr(self, '/');
        if (tool_try(ret, self, (int)(slash - self), name) ||
            tool_try(ret, self, (int)(slash - self), in_build_tree))
            return true;
    }
    return tool_in(getenv("PATH"), name, ret);
}

bool
cw_tool_in_path(const char *name, char ret[static PATH_MAX])
{
    return tool_in(getenv("PATH"), name, ret);
}

bool
cw_tool_find(const char *name, char ret[static PATH_MAX])
{
    return tool_in(getenv("PATH"), name, ret) ||
           tool_in("/usr/sbin:/sbin:/usr/bin:/bin", name, ret);
}

/* ---- running ---- */

static pid_t
tool_spawn(const char *const *argv, const int out[2], const int err[2])
{
    posix_spawn_file_actions_t fa;
    pid_t pid;
    int res;

    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, out[1], 1);
    posix_spawn_file_actions_adddup2(&fa, err[1], 2);
    res = posix_spawn(&pid, argv[0], &fa, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    return res == 0 ? pid : -res;
}

/* False: the other end is closed. What does not fit is dropped. */
static bool
text_take(int fd, char text[static CW_TOOL_TEXT], size_t *n)
{
    char bytes[512];
    ssize_t got = read(fd, bytes, sizeof(bytes));

    if (got < 0 && errno == EINTR)
        return true;
    for (ssize_t i = 0; i < got && *n < CW_TOOL_TEXT - 1; i++)
        text[(*n)++] = bytes[i];
    return got > 0;
}

static void
text_end(char *text, size_t n)
{
    text[n] = '\0';
    while (n > 0 && text[n - 1] == '\n')
        text[--n] = '\0';
}

static void
texts_read(int out, int err, struct cw_tool_result *ret)
{
    struct pollfd p[2] = { { .fd = out, .events = POLLIN }, { .fd = err, .events = POLLIN } };
    size_t n_out = 0, n_err = 0;

    while (p[0].fd >= 0 || p[1].fd >= 0) {
        if (poll(p, 2, -1) < 0)
            continue;
        if (p[0].revents != 0 && !text_take(out, ret->out, &n_out))
            p[0].fd = -1;
        if (p[1].revents != 0 && !text_take(err, ret->err, &n_err))
            p[1].fd = -1;
    }
    text_end(ret->out, n_out);
    text_end(ret->err, n_err);
}

void
cw_tool_run(const char *const *argv, struct cw_tool_result *ret)
{
    int out[2], err[2], status = 0;
    pid_t pid;

    *ret = (struct cw_tool_result){ .status = 127 };
    if (pipe2(out, O_CLOEXEC) != 0)
        return;
    if (pipe2(err, O_CLOEXEC) != 0) {
        close(out[0]);
        close(out[1]);
        return;
    }
    pid = tool_spawn(argv, out, err);
    close(out[1]);
    close(err[1]);
    if (pid > 0) {
        texts_read(out[0], err[0], ret);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else {
        snprintf(ret->err, sizeof(ret->err), "cannot start %.500s: %s", argv[0], strerror(-pid));
    }
    close(out[0]);
    close(err[0]);
}
