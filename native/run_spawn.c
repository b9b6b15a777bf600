/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_spawn.c -- starts the program with the shim in front of it.
 *
 * Host side. The program is a child of this process' first thread and is killed when that ends.
 * Between exec and the shim's constructor only the dynamic loader runs, under run_filter.c.
 */
#define _GNU_SOURCE
#include "run.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

extern char **environ;

/* The directory of this program is bin, the shim lies in the lib beside it. */
static char *shim_path(void)
{
    char self[4096];
    char *path;
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1u);
    if (size <= 0)
        run_fail(125, "/proc/self/exe: %s", strerror(errno));
    self[size] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(self, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    if (asprintf(&path, "%s/lib/libhotcalls_shim.so", self) < 0)
        run_fail(125, "no memory to start the program");
    if (access(path, R_OK) != 0)
        run_fail(125, "%s: %s; reinstall the package", path, strerror(errno));
    /* What the dynamic loader takes for a separator cannot be in a name that it is to find. */
    if (strpbrk(path, ": ") != NULL)
        run_fail(125,
                 "%s: the dynamic loader cannot preload a file with ':' or a blank in its path",
                 path);
    return path;
}

static char **environment_of(int channel_fd)
{
    const char *before = getenv("LD_PRELOAD");
    char *preload, *channel;
    size_t count = 0, used = 0;
    while (environ[count] != NULL)
        count++;
    char **environment = calloc(count + 3u, sizeof *environment);
    if (environment == NULL ||
        asprintf(&preload, "LD_PRELOAD=%s%s%s", shim_path(), before != NULL ? ":" : "",
                 before != NULL ? before : "") < 0 ||
        asprintf(&channel, RUN_ENVIRONMENT "=%d", channel_fd) < 0)
        run_fail(125, "no memory to start the program");
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], "LD_PRELOAD=", 11) != 0 &&
            strncmp(environ[i], RUN_ENVIRONMENT "=", sizeof RUN_ENVIRONMENT) != 0)
            environment[used++] = environ[i];
    environment[used++] = preload;
    environment[used++] = channel;
    return environment;
}

/*
 * What systemd says to its main process, which is this one, is meant for the program: in the child,
 * before it becomes the program.
 */
static void rename_process(char **environment, pid_t parent)
{
    static const char *const names[] = {"LISTEN_PID=", "WATCHDOG_PID="};
    static char values[2][32];
    for (size_t k = 0; k < 2u; k++) {
        size_t length = strlen(names[k]);
        for (char **entry = environment; *entry != NULL; entry++) {
            if (strncmp(*entry, names[k], length) != 0 ||
                strtol(*entry + length, NULL, 10) != (long)parent)
                continue;
            (void)snprintf(values[k], sizeof values[k], "%s%d", names[k], (int)getpid());
            *entry = values[k];
        }
    }
}

pid_t run_spawn(const struct run_options *options, int channel_fd)
{
    int failed[2];
    int error = 0;
    pid_t parent = getpid();
    char **environment = environment_of(channel_fd);
    if (pipe2(failed, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        struct sigaction action;
        sigset_t none;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(125);
        rename_process(environment, parent);
        memset(&action, 0, sizeof action);
        (void)sigemptyset(&none);
        /* What was ignored stays ignored (nohup); what we ignore or handle does not. */
        action.sa_handler = SIG_DFL;
        (void)sigaction(SIGPIPE, &action, NULL);
        (void)sigaction(SIGXFSZ, &action, NULL);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        if (fcntl(channel_fd, F_SETFD, 0) == 0 && run_filter_install(failed[1]) == 0)
            (void)execve(options->program, options->argv, environment);
        error = errno;
        (void)!write(failed[1], &error, sizeof error);
        _exit(127);
    }
    (void)close(failed[1]);
    if (pid > 0 && read(failed[0], &error, sizeof error) == (ssize_t)sizeof error && error != 0) {
        errno = error;
        pid = -1;
    }
    (void)close(failed[0]);
    return pid;
}
