/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_path.c -- names of files: what the program may reach through them, and what not.
 *
 * Host side. Two things would make this process the program's confused deputy: its own files in
 * /proc (/proc/self is this process here), and its own descriptors by their names in /proc. Both
 * are judged by the object that was really opened, never by the string: symbolic links, other
 * mounts of procfs and relative paths all end here. Strings are looked at only to be helpful:
 * /proc/self is turned into the program's own directory first.
 *
 * The policy's rules of paths, when there are any, are asked with the real name of the object.
 */
#define _GNU_SOURCE
#include "run_path.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

int g_run_proc = -1;
static bool g_proc_is_root;
/* /dev/fd is a link to /proc/self/fd, as on every system that we know. */
static bool g_devices;
static dev_t g_proc_device;
static char g_program_path[PATH_MAX];
static struct {
    dev_t device;
    ino_t inode;
} g_forbidden[16];
static uint32_t g_forbidden_count;

void run_path_init(const char *program)
{
    struct stat status;
    struct statfs root;
    int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_run_proc = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, (int)g_run_top) : -1;
    if (g_run_proc < 0 || fstat(g_run_proc, &status) != 0)
        run_fail(125, "/proc: %s; mount procfs there", strerror(errno));
    (void)close(fd);
    g_proc_device = status.st_dev;
    g_proc_is_root = statfs("/", &root) != 0 || root.f_type == PROC_SUPER_MAGIC;
    char devices[sizeof "/proc/self/fd"];
    ssize_t size = readlink("/dev/fd", devices, sizeof devices);
    g_devices = size == (ssize_t)sizeof devices - 1 &&
                memcmp(devices, "/proc/self/fd", sizeof devices - 1u) == 0;
    if (realpath(program, g_program_path) == NULL)
        (void)snprintf(g_program_path, sizeof g_program_path, "%s", program);
}

bool run_path_is_proc(int fd)
{
    struct statfs system;
    return fstatfs(fd, &system) != 0 || system.f_type == PROC_SUPER_MAGIC;
}

bool run_path_proc_is_root(void)
{
    return g_proc_is_root;
}

void run_path_forbid(int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || g_forbidden_count == sizeof g_forbidden / sizeof g_forbidden[0])
        run_fail(125, "too many descriptors of our own");
    g_forbidden[g_forbidden_count].device = status.st_dev;
    g_forbidden[g_forbidden_count++].inode = status.st_ino;
}

void run_path_forbid_own(int fd)
{
    struct stat own, error;
    if (fd >= 0 && fstat(fd, &own) == 0 && (S_ISREG(own.st_mode) || S_ISFIFO(own.st_mode)) &&
        (fstat(STDERR_FILENO, &error) != 0 || own.st_dev != error.st_dev ||
         own.st_ino != error.st_ino))
        run_path_forbid(fd);
}

DIR *run_path_open_tasks(void)
{
    long fd = run_fd_open_own(g_run_proc, "self/task", O_RDONLY | O_DIRECTORY);
    DIR *tasks = fd >= 0 ? fdopendir((int)fd) : NULL;
    if (fd >= 0 && tasks == NULL)
        (void)close((int)fd);
    return tasks;
}

bool run_path_self(const char *link, char text[PATH_MAX])
{
    char path[64];
    (void)snprintf(path, sizeof path, "self/%s", link);
    ssize_t size = readlinkat(g_run_proc, path, text, PATH_MAX - 1u);
    text[size > 0 ? size : 0] = '\0';
    return size > 0;
}

bool run_path_name(int fd, char name[PATH_MAX])
{
    char link[32];
    (void)snprintf(link, sizeof link, "fd/%d", fd);
    return run_path_self(link, name);
}

static bool is_ours(long id)
{
    return id == getpid() || syscall(SYS_tgkill, getpid(), id, 0) == 0;
}

/* In our own directory, because these two are in the same namespaces: what says nothing of us. */
static bool says_nothing(const char *rest)
{
    return strncmp(rest, "/net", 4) == 0 || strcmp(rest, "/mounts") == 0 ||
           strcmp(rest, "/mountinfo") == 0;
}

/* 0, or the errno for an object of procfs with this real name. */
static int judge_proc(const char *name)
{
    char *rest;
    if (strncmp(name, "/proc/", 6) != 0)
        return strcmp(name, "/proc") == 0 ? 0 : EACCES;
    const char *at = name + 6;
    const char *last = strrchr(name, '/') + 1;
    long id = strtol(at, &rest, 10);
    if (rest == at)
        return 0; /* not about a process: the kernel's own permissions hold */
    if (strcmp(last, "mem") == 0 || strstr(name, "/map_files") != NULL)
        return EACCES;
    if (is_ours(id))
        return says_nothing(rest) ? 0 : ENOENT;
    /* A thread under another process' task directory is found by its own number as well. */
    const char *task = strstr(rest, "/task/");
    if (task != NULL && is_ours(strtol(task + 6, NULL, 10)))
        return ENOENT;
    return 0;
}

/* 0, or the errno for what is open as `fd`. */
int run_path_judge(int fd)
{
    struct stat status;
    struct statfs system;
    char name[PATH_MAX];
    if (fstat(fd, &status) != 0 || fstatfs(fd, &system) != 0)
        return errno;
    for (uint32_t i = 0; i < g_forbidden_count; i++)
        if (g_forbidden[i].device == status.st_dev && g_forbidden[i].inode == status.st_ino)
            return EACCES;
    if (system.f_type != PROC_SUPER_MAGIC)
        return 0;
    if (status.st_dev != g_proc_device || !run_path_name(fd, name))
        return EACCES;
    return judge_proc(name);
}

/* ---- /proc/self ------------------------------------------------------------------------------- */

static __thread char g_rewritten[2][PATH_MAX];

/* What follows the program's own directory in a name of it, as "/fd/1" or ""; NULL: another name. */
static const char *in_own_directory(const char *path)
{
    static const char devices[] = "/dev/fd";
    char own[32];
    (void)snprintf(own, sizeof own, "/proc/%d", g_run_program);
    const char *const heads[] = {"/proc/self", "/proc/thread-self", own, g_devices ? devices : own};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        size_t size = strlen(heads[i]);
        if (strncmp(path, heads[i], size) == 0 && (path[size] == '\0' || path[size] == '/'))
            return path + size - (heads[i] == devices ? sizeof "/fd" - 1u : 0u);
    }
    return NULL;
}

/* One of the program's descriptors, or what is found from it on. */
static bool begins_with_descriptor(const char *rest)
{
    char *end;
    if (strncmp(rest, "/fd/", 4) != 0 || rest[4] < '0' || rest[4] > '9')
        return false;
    long fd = strtol(rest + 4, &end, 10);
    return (*end == '\0' || *end == '/') && run_fd_owned(fd);
}

/* /proc/self/x means the program's; but its descriptors are ours, by their numbers. */
const char *run_path_rewrite(const char *path, uint32_t which)
{
    static const char none[] = "/proc/self/fd/-";
    char *to = g_rewritten[which];
    int size;
    const char *rest = path != NULL && path[0] == '/' && (path[1] == 'p' || path[1] == 'd')
                           ? in_own_directory(path)
                           : NULL;
    if (rest == NULL)
        return path;
    /* Where it is and its root are the same for both, and where we are not root the program's could
     * not be followed. */
    if (begins_with_descriptor(rest) || strncmp(rest, "/cwd/", 5) == 0 ||
        strncmp(rest, "/root/", 6) == 0)
        size = snprintf(to, PATH_MAX, "/proc/self%s", rest);
    else if (strncmp(rest, "/fd/", 4) == 0 && rest[4] != '\0')
        /* None of its own: there is no such name, also where we may not look into its directory. */
        return none;
    else
        size = snprintf(to, PATH_MAX, "/proc/%d%s", g_run_program, rest);
    return size < PATH_MAX ? to : none;
}

/* ---- through our own handles ------------------------------------------------------------------- */

long run_path_open(int dirfd, const char *path, int flags, uint32_t mode)
{
    long arguments[6] = {dirfd, (long)(uintptr_t)path, flags, (long)mode, 0, 0};
    /* A bare handle waits for nobody. */
    return (flags & O_PATH) != 0 ? run_plain(SYS_openat, arguments)
                                 : run_interruptible(SYS_openat, arguments);
}

/* Opens the directory that holds the last part of `path`, and says where that part begins. */
long run_path_parent(int dirfd, const char *path, const char **last)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash != NULL && slash[1] == '\0')
        return -EISDIR;
    if (slash == NULL) {
        *last = path;
        return run_fd_open_own(dirfd, ".", O_PATH | O_DIRECTORY);
    }
    *last = slash + 1;
    size_t size = slash == path ? 1u : (size_t)(slash - path);
    memcpy(parent, path, size);
    parent[size] = '\0';
    return run_fd_open_own(dirfd, parent, O_PATH | O_DIRECTORY);
}

/*
 * In a root of its own the program makes /proc, and what we would be led to there: links to what
 * nobody has judged. And the kernel names what lies in it from there, the rest as before.
 */
static pthread_rwlock_t g_root_lock = PTHREAD_RWLOCK_INITIALIZER;
static bool g_root_changed;
static char g_root_name[PATH_MAX]; /* in the first one; "" for itself */

/*
 * What the kernel has named since the root changed, by its name in the first root. Either may be
 * meant, and only the one by which it is found is. False: neither, as for what has been removed.
 */
static bool name_in_first_root(int fd, char name[PATH_MAX])
{
    char whole[PATH_MAX];
    if (name[0] != '/' || g_root_name[0] == '\0' || run_mounts_are_memory(fd, name))
        return true;
    int size = snprintf(whole, sizeof whole, "%s%s", g_root_name, name[1] != '\0' ? name : "");
    if (size < (int)sizeof whole && run_mounts_lead(whole, fd)) {
        memcpy(name, whole, (size_t)size + 1u);
        return true;
    }
    return run_mounts_lead(name, fd);
}

bool run_path_rule_name(int fd, char name[PATH_MAX])
{
    /* The name and the root that it is from belong together. */
    if (pthread_rwlock_rdlock(&g_root_lock) != 0)
        return false;
    bool named = run_path_name(fd, name) && (!g_root_changed || name_in_first_root(fd, name));
    (void)pthread_rwlock_unlock(&g_root_lock);
    return named;
}

/* Asks the policy about what is open as `fd`, or about `last` in it. */
int run_path_ask(uint32_t row, enum run_path_use use, int fd, const char *last)
{
    char name[2u * PATH_MAX];
    int refused = EACCES;
    if (pthread_rwlock_rdlock(&g_root_lock) != 0)
        return refused;
    if (run_path_name(fd, name)) {
        refused = run_policy_judges_names() && !run_mounts_have(fd, name)
                      ? run_policy_path_elsewhere(row, name)
                      : 0;
        if (refused == 0 && g_root_changed && !name_in_first_root(fd, name))
            refused = EACCES;
    }
    (void)pthread_rwlock_unlock(&g_root_lock);
    if (refused != 0)
        return refused;
    if (last != NULL) {
        size_t size = strlen(name);
        (void)snprintf(name + size, sizeof name - size, "%s%s", strcmp(name, "/") == 0 ? "" : "/",
                       last);
    }
    return run_policy_path(row, use, name);
}

/* A connect that waits holds the root as long. */
#define ROOT_WAIT_S 1

bool run_path_hold_root(void)
{
    if (pthread_rwlock_rdlock(&g_root_lock) != 0)
        return false;
    if (!g_root_changed)
        return true;
    (void)pthread_rwlock_unlock(&g_root_lock);
    return false;
}

void run_path_let_go_root(void)
{
    (void)pthread_rwlock_unlock(&g_root_lock);
}

long run_path_change_root(int handle, const char *way)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ROOT_WAIT_S;
    if (pthread_rwlock_timedwrlock(&g_root_lock, &until) != 0)
        return -EBUSY;
    long result = g_root_changed ? -ENOENT
                  : !run_path_name(handle, g_root_name)
                      ? -EACCES
                      : run_plain(SYS_chroot, (const long[6]){(long)way});
    if (!g_root_changed && strcmp(g_root_name, "/") == 0)
        g_root_name[0] = '\0';
    g_root_changed = g_root_changed || result == 0;
    (void)pthread_rwlock_unlock(&g_root_lock);
    return result;
}

/* ---- sockets with names ------------------------------------------------------------------------- */

/*
 * A unix socket's path is resolved here, judged, and replaced by a way through our own handle: to
 * the socket itself, or for bind to the directory that it is to be in. 0 or -errno; the handle goes
 * to run_path_socket_made when the call has been made.
 */
long run_path_socket(uint32_t row, const char *path, bool binding, char *way, size_t room,
                     int *handle)
{
    const char *last = NULL;
    long fd =
        binding ? run_path_parent(AT_FDCWD, path, &last) : run_fd_open_own(AT_FDCWD, path, O_PATH);
    *handle = -1;
    if (fd < 0)
        return fd;
    int refused = run_path_judge((int)fd);
    if (refused == 0)
        refused = run_path_ask(row, RUN_PATH_WRITE, (int)fd, last);
    if (refused == 0 && (size_t)snprintf(way, room, "/proc/self/fd/%d%s%s", (int)fd,
                                         last != NULL ? "/" : "", last != NULL ? last : "") >= room)
        refused = ENAMETOOLONG;
    if (refused == 0 && !run_path_hold_root())
        refused = ENOENT;
    if (refused != 0) {
        (void)close((int)fd);
        return -refused;
    }
    *handle = (int)fd;
    return 0;
}

void run_path_socket_made(int handle)
{
    if (handle < 0)
        return;
    run_path_let_go_root();
    (void)close(handle);
}

/* The program's own file, which this process may not be allowed to read by its name in /proc. */
bool run_path_is_own_exe(const char *path)
{
    char own[64];
    (void)snprintf(own, sizeof own, "/proc/%d/exe", g_run_program);
    return strcmp(path, own) == 0;
}

const char *run_path_program(void)
{
    return g_program_path;
}

const char *run_path_followed(const char *path)
{
    static const char *const ours[] = {"/proc/self/cwd", "/proc/self/root"};
    char own[64];
    /* Most names are none of these, and need no other to be made to be compared with. */
    if (strncmp(path, "/proc/", 6) != 0)
        return path;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        (void)snprintf(own, sizeof own, "/proc/%d%s", g_run_program,
                       ours[i] + sizeof "/proc/self" - 1u);
        if (strcmp(path, own) == 0)
            return ours[i];
    }
    return run_path_is_own_exe(path) ? run_path_program() : path;
}
