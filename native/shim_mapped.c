/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_mapped.c -- the files that the dynamic loader mapped become copies.
 *
 * Enclave side, from the constructor, with one thread and before the filter. Pages of a private
 * mapping that were not written yet follow the file, so whoever may write to the program or to one of
 * its libraries would change the running code. What the program maps later is copied anyway
 * (shim_memory.c). Files that root alone can change stay mapped, as for other enclaves
 * (sandbox_anonymize.c): root is trusted, and their pages are shared with all who use them.
 */
#include "sandbox.h"
#include "shim.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Some twenty thousand mappings. */
#define MAPS_MAX (UINT64_C(2) << 20)

struct mapped {
    uint64_t start, end;
    int protection;
    bool shared;
    char *path; /* ends with the line */
};

static bool only_root_writes(const char *path, uint32_t kind)
{
    struct stat status;
    return SHIM_GATE(SYS_newfstatat, AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           status.st_uid == 0 && (status.st_mode & 022u) == 0 && (status.st_mode & S_IFMT) == kind;
}

/* It and every directory above belong to root, and nobody else may write there. */
static bool is_roots(char *path)
{
    if (!only_root_writes("/", S_IFDIR))
        return false;
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        bool fine = only_root_writes(path, S_IFDIR);
        *at = '/';
        if (!fine)
            return false;
    }
    return only_root_writes(path, S_IFREG);
}

static uint64_t hexadecimal(char **at)
{
    uint64_t value = 0;
    for (;; (*at)++) {
        char digit = **at;
        if (digit >= '0' && digit <= '9')
            value = value << 4 | (uint64_t)(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            value = value << 4 | (uint64_t)(digit - 'a' + 10);
        else
            return value;
    }
}

/* START-END rwxp OFFSET DEVICE INODE   PATH */
static bool parse(char *line, struct mapped *mapped)
{
    char *at = line;
    mapped->start = hexadecimal(&at);
    if (*at++ != '-')
        return false;
    mapped->end = hexadecimal(&at);
    if (*at++ != ' ' || mapped->end <= mapped->start)
        return false;
    mapped->protection = (at[0] == 'r' ? PROT_READ : 0) | (at[1] == 'w' ? PROT_WRITE : 0) |
                         (at[2] == 'x' ? PROT_EXEC : 0);
    mapped->shared = at[3] == 's';
    while (*at != '\0' && *at != '/' && *at != '[')
        at++;
    mapped->path = at;
    return true;
}

static bool replace(const struct mapped *mapped)
{
    uint64_t size = mapped->end - mapped->start;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    /* Between the segments of a library: nobody reads what is there. */
    if (mapped->protection == PROT_NONE)
        return SHIM_GATE(SYS_mmap, mapped->start, size, mapped->protection,
                         flags | MAP_FIXED | MAP_NORESERVE, -1, 0) == (long)mapped->start;
    long copy = SHIM_GATE(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (copy < 0 && copy > -4096)
        return false;
    /* Code that may only be run. */
    if ((mapped->protection & PROT_READ) == 0 &&
        SHIM_GATE(SYS_mprotect, mapped->start, size, mapped->protection | PROT_READ) != 0)
        return false;
    memcpy((void *)(uintptr_t)copy, (const void *)(uintptr_t)mapped->start, size);
    /* In one step, as this very code may be what is replaced. */
    return SHIM_GATE(SYS_mprotect, copy, size, mapped->protection) == 0 &&
           SHIM_GATE(SYS_mremap, copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, mapped->start) ==
               (long)mapped->start;
}

/* All of it at once: replacing changes what would be read. */
static bool read_maps(int fd, char *text)
{
    uint64_t used = 0;
    while (used < MAPS_MAX - 1u) {
        long got = SHIM_GATE(SYS_pread64, fd, text + used, MAPS_MAX - 1u - used, used);
        if (got < 0)
            return false;
        if (got == 0)
            return true; /* the memory was zero: it ends here */
        used += (uint64_t)got;
    }
    return false;
}

/*
 * In another user namespace files of uid 0 belong to whoever mapped it, who is the very user that
 * is kept out.
 */
static bool is_initial_user_namespace(void)
{
    struct stat status;
    return SHIM_GATE(SYS_newfstatat, AT_FDCWD, "/proc/self/ns/user", &status, 0) == 0 &&
           status.st_ino == SANDBOX_INITIAL_USER_NAMESPACE;
}

bool shim_mapped_copy(int maps)
{
    bool trust = is_initial_user_namespace();
    long place = SHIM_GATE(SYS_mmap, 0, MAPS_MAX, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place < 0 && place > -4096)
        return false;
    char *line = (char *)(uintptr_t)place;
    bool fine = read_maps(maps, line);
    while (fine && *line != '\0') {
        struct mapped mapped;
        char *end = line;
        while (*end != '\n' && *end != '\0')
            end++;
        char *next = *end == '\n' ? end + 1 : end;
        *end = '\0';
        fine = parse(line, &mapped);
        /* Shared is the channel alone. */
        if (fine && !mapped.shared && *mapped.path == '/' && !(trust && is_roots(mapped.path)))
            fine = replace(&mapped);
        line = next;
    }
    (void)SHIM_GATE(SYS_munmap, place, MAPS_MAX);
    return fine;
}
