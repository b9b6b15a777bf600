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
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

int g_run_proc = -1;
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
    int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_run_proc = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, (int)g_run_top) : -1;
    if (g_run_proc < 0 || fstat(g_run_proc, &status) != 0)
        run_fail(125, "/proc: %s; mount procfs there", strerror(errno));
    (void)close(fd);
    g_proc_device = status.st_dev;
    if (realpath(program, g_program_path) == NULL)
        (void)snprintf(g_program_path, sizeof g_program_path, "%s", program);
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
    return fd >= 0 ? fdopendir((int)fd) : NULL;
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

/* /proc/self/x means the program's; but its descriptors are ours, by their numbers. */
const char *run_path_rewrite(const char *path, uint32_t which)
{
    static const char self[] = "/proc/self";
    static const char thread[] = "/proc/thread-self";
    const char *rest;
    if (path == NULL || strncmp(path, "/proc/", 6) != 0)
        return path;
    if (strncmp(path, thread, sizeof thread - 1u) == 0)
        rest = path + sizeof thread - 1u;
    else if (strncmp(path, self, sizeof self - 1u) == 0)
        rest = path + sizeof self - 1u;
    else
        return path;
    if (*rest != '\0' && *rest != '/')
        return path;
    if (strncmp(rest, "/fd/", 4) == 0) {
        char *end;
        long fd = strtol(rest + 4, &end, 10);
        if (*end == '\0' && end != rest + 4 && run_fd_owned(fd))
            return path;
    }
    /* The same for both, and where we are not root the program's could not be followed. */
    if (strncmp(rest, "/cwd/", 5) == 0 || strncmp(rest, "/root/", 6) == 0)
        return path;
    (void)snprintf(g_rewritten[which], PATH_MAX, "/proc/%d%s", g_run_program, rest);
    return g_rewritten[which];
}

/* More than a file is likely to come and go between two system calls. */
#define TRIES 8
/* As the kernel follows. */
#define LINKS_MAX 40
/* Which openat takes notice of, and openat2 does not refuse. */
#define OPEN_FLAGS                                                                         \
    ((unsigned)(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_APPEND | O_NONBLOCK | O_SYNC | \
                O_ASYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME |  \
                O_CLOEXEC))

/* ---- opening ----------------------------------------------------------------------------------- */

static enum run_path_use use_of(int flags)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
    return writes ? RUN_PATH_WRITE : RUN_PATH_READ;
}

long run_path_open(int dirfd, const char *path, int flags, uint32_t mode)
{
    long arguments[6] = {dirfd, (long)(uintptr_t)path, flags, (long)mode, 0, 0};
    /* A bare handle waits for nobody. */
    return (flags & O_PATH) != 0 ? run_plain(SYS_openat, arguments)
                                 : run_interruptible(SYS_openat, arguments);
}

/* Opening a FIFO or a terminal may wait for somebody; the leader does not. */
static bool opens_quickly(int dirfd, const char *path)
{
    struct stat status;
    if (fstatat(dirfd, path, &status, 0) != 0)
        return true;
    return S_ISREG(status.st_mode) || S_ISDIR(status.st_mode);
}

static long give(long fd)
{
    if (fd >= 0 && fd >= (long)g_run_top) {
        (void)close((int)fd);
        return -EMFILE;
    }
    run_fd_give(fd);
    return fd;
}

/* What O_TRUNC would have done, to what has been judged. */
static int cut(int fd, int flags)
{
    struct stat status;
    if ((flags & O_TRUNC) == 0 || fstat(fd, &status) != 0)
        return 0;
    if (!S_ISREG(status.st_mode))
        return S_ISDIR(status.st_mode) ? EISDIR : 0;
    if ((flags & O_ACCMODE) != O_RDONLY)
        return ftruncate(fd, 0) == 0 ? 0 : errno;
    char again[32];
    (void)snprintf(again, sizeof again, "self/fd/%d", fd);
    long writable = run_path_open(g_run_proc, again, O_WRONLY | O_TRUNC | O_CLOEXEC, 0);
    if (writable < 0)
        return (int)-writable;
    (void)close((int)writable);
    return 0;
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

/* Asks the policy about what is open as `fd`, or about `last` in it. */
int run_path_ask(uint32_t row, enum run_path_use use, int fd, const char *last)
{
    char name[2u * PATH_MAX];
    if (!run_path_name(fd, name))
        return EACCES;
    int refused = run_policy_judges_names() && !run_mounts_have(fd, name)
                      ? run_policy_path_elsewhere(row, name)
                      : 0;
    if (refused != 0)
        return refused;
    if (last != NULL) {
        size_t size = strlen(name);
        (void)snprintf(name + size, sizeof name - size, "%s%s", strcmp(name, "/") == 0 ? "" : "/",
                       last);
    }
    return run_policy_path(row, use, name);
}

/*
 * The number that the program is to get, the lowest that is free, is kept from our own handles until
 * it is opened for good: programs close 0 and open again, and count on it.
 */
static int keep_number(void)
{
    int number = fcntl(g_run_proc, F_DUPFD_CLOEXEC, 0);
    /* EINVAL: the limit is 0. */
    return number >= 0 ? number : errno == EINVAL ? -EMFILE : -errno;
}

static long duplicate(int handle, int flags)
{
    int fd = fcntl(handle, (flags & O_CLOEXEC) != 0 ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
    return fd < 0 ? -errno : fd;
}

/* The policy, about opening. */
static int ask(enum run_path_use use, int fd, const char *last)
{
    return run_policy_has_paths() ? run_path_ask(ROW_openat, use, fd, last) : 0;
}

static long open_new(int number, int dirfd, const char *path, int flags, uint32_t mode)
{
    const char *last = path;
    long parent = run_path_parent(dirfd, path, &last);
    int refused = parent < 0 ? (int)-parent : run_path_judge((int)parent);
    if (refused == 0)
        refused = ask(RUN_PATH_WRITE, (int)parent, last);
    (void)close(number);
    /* O_EXCL: what has appeared there meanwhile has not been judged. */
    long fd = refused != 0 ? -refused : run_path_open((int)parent, last, flags | O_EXCL, mode);
    if (parent >= 0)
        (void)close((int)parent);
    return fd < 0 ? fd : give(fd);
}

/*
 * Nothing is opened for good, created or cut before it has been judged, under rules by its real name.
 * What exists is opened as a bare handle first and again through that handle; so is the directory of
 * a file without a name (O_TMPFILE). Opened for good at once, and closed again when it is refused, it
 * would have a number for a moment that another thread of the program may just be using (run_fd.c).
 */
static long open_once(int dirfd, const char *path, int flags, uint32_t mode)
{
    bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
    bool only_new = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    int number = keep_number();
    if (number < 0)
        return number;
    long handle = only_new
                      ? -ENOENT
                      : run_fd_open_own(dirfd, path, O_PATH | (flags & (O_NOFOLLOW | O_DIRECTORY)));
    if (handle == -ENOENT && (flags & O_CREAT) != 0)
        return open_new(number, dirfd, path, flags, mode);
    int refused = handle < 0 ? (int)-handle : run_path_judge((int)handle);
    if (refused == 0)
        refused = ask(nameless ? RUN_PATH_WRITE : use_of(flags), (int)handle, NULL);
    (void)close(number);
    long fd = -refused;
    if (refused == 0) {
        char again[32];
        struct stat status;
        int gone = O_CREAT | O_NOFOLLOW | (nameless ? 0 : O_EXCL);
        (void)snprintf(again, sizeof again, "self/fd/%d", (int)handle);
        if (fstat((int)handle, &status) == 0 && S_ISLNK(status.st_mode))
            fd = (flags & O_PATH) != 0 ? duplicate((int)handle, flags) : -ELOOP;
        else
            fd = run_path_open(g_run_proc, again, flags & ~gone, nameless ? mode : 0);
    }
    if (handle >= 0)
        (void)close((int)handle);
    return fd < 0 ? fd : give(fd);
}

/*
 * Of several that make the same file all but one find it made: they look again, and what is there now
 * is judged. A link that leads nowhere is EEXIST for good, as nobody has judged where it leads.
 */
static long open_ruled(int dirfd, const char *path, int flags, uint32_t mode)
{
    long fd = open_once(dirfd, path, flags, mode);
    for (int tries = 0; fd == -EEXIST && (flags & O_EXCL) == 0 && tries < TRIES; tries++)
        fd = open_once(dirfd, path, flags, mode);
    return fd;
}

static bool is_proc(int fd)
{
    struct statfs system;
    return fstatfs(fd, &system) != 0 || system.f_type == PROC_SUPER_MAGIC;
}

static long give_judged(long fd, int flags)
{
    int refused = run_path_judge((int)fd);
    if (refused == 0)
        refused = cut((int)fd, flags);
    if (refused == 0)
        return give(fd);
    (void)close((int)fd);
    return -refused;
}

/* Not by a link; O_NOFOLLOW would stay with the file, where the program sees it. */
static long open_here(int parent, const char *last, int flags, uint32_t mode)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)flags & OPEN_FLAGS,
                           .mode = mode & 07777u,
                           .resolve = RESOLVE_NO_SYMLINKS};
    const long arguments[6] = {parent, (long)(uintptr_t)last, (long)(uintptr_t)&how, sizeof how};
    return run_interruptible(SYS_openat2, arguments);
}

/* One link further. -ELOOP: `link` is where it leads, from `*parent` on, which the caller closes. */
static long open_in_parent(int dirfd, const char *path, int flags, uint32_t mode, long *parent,
                           char link[PATH_MAX])
{
    const char *last;
    int number = keep_number();
    *parent = number < 0 ? number : run_path_parent(dirfd, path, &last);
    if (number >= 0)
        (void)close(number);
    if (*parent < 0)
        return *parent;
    if (is_proc((int)*parent))
        return open_ruled(dirfd, path, flags, mode);
    long fd = open_here((int)*parent, last, flags & ~O_TRUNC, mode);
    if (fd >= 0)
        return give_judged(fd, flags);
    if (fd != -ELOOP || (flags & O_NOFOLLOW) != 0)
        return fd;
    ssize_t size = readlinkat((int)*parent, last, link, PATH_MAX - 1u);
    if (size < 0)
        return -errno;
    link[size] = '\0';
    return -ELOOP;
}

/*
 * Without rules what may be created is opened by its last name in its directory, and links of that
 * name are followed here: so the kernel decides as ever about what others have put there before
 * (fs.protected_regular), and about a link that leads nowhere yet. What can be found there and is not
 * judged yet is a file that the program may open anyway, or a log of ours.
 */
static long open_creating(int dirfd, const char *path, int flags, uint32_t mode)
{
    char at[PATH_MAX], link[PATH_MAX];
    long base = dirfd, parent = -1, fd = -ELOOP;
    for (int links = 0; links < LINKS_MAX && fd == -ELOOP; links++) {
        link[0] = '\0';
        fd = open_in_parent((int)base, path, flags, mode, &parent, link);
        if (base != dirfd)
            (void)close((int)base);
        base = parent;
        if (link[0] == '\0')
            break;
        memcpy(at, link, strlen(link) + 1u);
        path = at;
    }
    if (parent >= 0)
        (void)close((int)parent);
    return fd;
}

/* ---- sockets with names ------------------------------------------------------------------------- */

/*
 * A unix socket's path is resolved here, judged, and replaced by a way through our own handle: to
 * the socket itself, or for bind to the directory that it is to be in. 0 or -errno; the handle is
 * to be closed when the call has been made.
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
    if (refused != 0) {
        (void)close((int)fd);
        return -refused;
    }
    *handle = (int)fd;
    return 0;
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

/* Where the program is, and its root: the same as ours, which we may follow. */
static bool is_own_directory(const char *path)
{
    char own[64];
    (void)snprintf(own, sizeof own, "/proc/%d/cwd", g_run_program);
    if (strcmp(path, own) == 0)
        return true;
    (void)snprintf(own, sizeof own, "/proc/%d/root", g_run_program);
    return strcmp(path, own) == 0;
}

long run_path_openat(struct run_call *call)
{
    const char *path = run_path_rewrite((const char *)(uintptr_t)call->a[1], 0);
    if (path == NULL)
        return -EFAULT;
    char link[PATH_MAX];
    long list = run_proc_open_list(path, (int)call->a[2]);
    if (list != -ENOENT)
        return list;
    if (call->trying && !opens_quickly((int)call->a[0], path))
        return RUN_MUST_BLOCK;
    if (((int)call->a[2] & O_NOFOLLOW) == 0 && is_own_directory(path) && run_proc_link(path, link))
        path = link;
    if (run_path_is_own_exe(path))
        path = g_program_path;
    const bool creates =
        ((int)call->a[2] & (O_CREAT | O_PATH)) == O_CREAT && !run_policy_has_paths();
    return (creates ? open_creating : open_ruled)((int)call->a[0], path, (int)call->a[2],
                                                  (uint32_t)call->a[3]);
}
