/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that reaches for files of its host process by other names, and for files that its
 * policy refuses, by changing what a name means while the host looks at it. The tests look at the
 * files afterwards.
 *
 *   deputy_files names              the host's own descriptors
 *   deputy_files race ROUNDS        through a link that changes between ok and no
 */
#include "host.h"
#include "say.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static long g_attempts;

static void attempt(const char *what, const char *path, long result)
{
    g_attempts++;
    if (result != -1)
        printf("%s %s: reached\n", what, path);
}

/* What it has already, or what most have: of a host that is wrong this may be the machine's own root. */
static mode_t same_mode(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 ? found.st_mode & 07777 : 0755;
}

/* /proc itself, which anybody may open by its name. */
static int is_proc(const char *path)
{
    struct stat proc, found;
    return stat("/proc", &proc) == 0 && stat(path, &found) == 0 && proc.st_dev == found.st_dev &&
           proc.st_ino == found.st_ino;
}

static void each_call(const char *path)
{
    if (is_proc(path))
        return;
    static const int modes[] = {O_RDONLY,           O_WRONLY,           O_RDWR,
                                O_WRONLY | O_TRUNC, O_RDONLY | O_TRUNC, O_PATH};
    char text[64];
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        attempt("open", path, open(path, modes[i]));
    attempt("truncate", path, truncate(path, 0));
    attempt("chmod", path, chmod(path, same_mode(path)));
    attempt("chown", path, chown(path, (uid_t)-1, (gid_t)-1));
    attempt("utimes", path, utimensat(AT_FDCWD, path, NULL, 0));
    attempt("setxattr", path, setxattr(path, "user.mark", "x", 1, 0));
    attempt("removexattr", path, removexattr(path, "user.mark"));
    attempt("link", path, linkat(AT_FDCWD, path, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW));
    attempt("watch", path, inotify_add_watch(inotify_init1(0), path, IN_MODIFY));
    attempt("readlink", path, readlink(path, text, sizeof text));
}

static void names(void)
{
    static const char *const folders[] = {"/proc/%d/fd/%d",       "/proc/%d/task/%d/fd/%d",
                                          "/proc/self/fd/%3$d",   "/proc/thread-self/fd/%3$d",
                                          "/dev/fd/%3$d",         "to-fd/%3$d",
                                          "/proc/1/../%d/fd/%3$d"};
    int host = host_process();
    struct rlimit limit;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    (void)symlink("/proc/self/fd", "to-fd");
    /* The host's own begin where ours end. */
    for (int fd = (int)limit.rlim_max; fd < (int)limit.rlim_max + 8; fd++) {
        char path[128];
        for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
            if (i == 0)
                snprintf(path, sizeof path, folders[i], host, fd);
            else
                snprintf(path, sizeof path, folders[i], host, host, fd);
            each_call(path);
        }
        (void)unlink("to-one");
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        (void)symlink(path, "to-one");
        if (is_proc("to-one"))
            continue;
        attempt("open through a link", path, open("to-one", O_RDWR));
        attempt("truncate through a link", path, truncate("to-one", 0));
        int proc = open("/proc", O_PATH | O_DIRECTORY);
        snprintf(path, sizeof path, "self/fd/%d", fd);
        attempt("open from /proc", path, openat(proc, path, O_WRONLY | O_TRUNC));
        attempt("chmod from /proc", path, fchmodat(proc, path, 0755, 0));
        close(proc);
    }
    printf("names tried: %ld\n", g_attempts);
}

/* What is not refused in so many times the rounds never is. */
#define PATIENCE 200

static atomic_bool g_stop;

/* The link `way` leads to ok and to no in turn. */
static void *swap(void *argument)
{
    (void)argument;
    while (!atomic_load(&g_stop)) {
        (void)symlink("no", "next");
        (void)rename("next", "way");
        (void)symlink("ok", "next");
        (void)rename("next", "way");
    }
    return NULL;
}

static void race(long rounds)
{
    pthread_t thread;
    long refused = 0, raced = 0;
    char text[16];
    (void)symlink("ok", "way");
    (void)pthread_create(&thread, NULL, swap, NULL);
    /* Until the link has changed under it, which takes a processor for the other thread. */
    for (long i = 0; i < rounds || (i < rounds * PATIENCE && refused == 0); i++) {
        int fd = open("way/kept", O_WRONLY | O_TRUNC);
        const bool failed[] = {
            fd < 0,
            truncate("way/kept", 1) != 0,
            chmod("way/kept", 0600) != 0,
            mkdir("way/made", 0700) != 0,
            rmdir("way/made") != 0,
            symlink("x", "way/made") != 0,
            rename("way/made", "way/moved") != 0,
            unlink("way/moved") != 0,
            unlink("way/victim") != 0,
        };
        close(fd);
        for (size_t each = 0; each < sizeof failed / sizeof failed[0]; each++)
            refused += failed[each];
        close(open("ok/victim", O_WRONLY | O_CREAT, 0600));
        fd = open("way/secret", O_RDONLY);
        raced += (long)(sizeof failed / sizeof failed[0]) + 1;
        ssize_t size = fd >= 0 ? read(fd, text, sizeof text) : -1;
        if (size >= 6 && memcmp(text, "SECRET", 6) == 0)
            puts("secret: reached");
        close(fd);
    }
    atomic_store(&g_stop, 1);
    (void)pthread_join(thread, NULL);
    printf("raced: %ld, refused: %ld\n", raced, refused);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 2)
        race(strtol(argv[2], NULL, 10));
    else
        names();
    return 0;
}
