/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_anonymize.c - stage 2 of the lock-down: no code or data that changes with a file.
 *
 * Who may call it: the loader, after the last dlopen and before the first secret is used. Which
 * side runs it: the enclave process; other threads may run. What it trusts: the kernel, root's
 * files, and the host until the launch has returned (so: the contents at this moment).
 *
 * Why: a MAP_PRIVATE mapping shares every page that was not written to with the file. Whoever may
 * write the file, the same user with a library in a virtual environment, changes the running code.
 * Pages that were copied on write are not safe either: truncating the file throws them away, and
 * after it grew again they are read from the file (both tried: tests/sandbox/test_anonymize.py).
 * So the mapping itself has to go; touching every page is not enough.
 */
#define _GNU_SOURCE
#include "sandbox_internal.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct mapping {
    uintptr_t start, end;
    int protection;
    bool shared;
    bool file;        /* backed by anything that has an inode */
    const char *path; /* as the kernel prints it; "" when there is none */
};

enum verdict { LEAVE, TRUSTED, REPLACE, REFUSE_SHARED, REFUSE_WRITABLE_CODE };

#define MAPS_SIZE_FIRST ((size_t)256 * 1024)
#define MAPS_SIZE_LAST ((size_t)64 * 1024 * 1024)
/* One pass does it; the next ones are for a thread that loaded something meanwhile. */
#define PASSES 3

/* ---- reading /proc/self/maps ---- */

static int read_maps(char **text, size_t *size, struct sandbox_error *error)
{
    for (*size = MAPS_SIZE_FIRST; *size <= MAPS_SIZE_LAST; *size *= 2) {
        /* Not malloc: it might map or unmap while the list is being made. */
        void *memory =
            mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            return sandbox_fail(error, "mapping", errno, "Free some memory", "list of mappings");
        }
        if (sandbox_read_proc("/proc/self/maps", memory, *size) >= 0) {
            *text = memory;
            return 0;
        }
        int err = errno;
        (void)munmap(memory, *size);
        if (err != E2BIG) {
            return sandbox_fail(error, "proc", err, SANDBOX_ADVICE_PROC, "/proc/self/maps");
        }
    }
    return sandbox_fail(error, "mapping", E2BIG, SANDBOX_ADVICE_BUG, "/proc/self/maps");
}

/* Cuts the next line off *text. False at the end, and *bad when it is not as the kernel writes. */
static bool next_mapping(char **text, struct mapping *mapping, bool *bad)
{
    char *line = *text;
    char *end = strchr(line, '\n');
    if (end == NULL) {
        return false;
    }
    *end = '\0';
    *text = end + 1;
    char bits[5];
    unsigned long start, stop, inode;
    int path = 0;
    if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu %n", &start, &stop, bits, &inode, &path) != 4 ||
        path == 0 || strlen(bits) != 4) {
        *bad = true;
        return false;
    }
    *mapping = (struct mapping){
        .start = start,
        .end = stop,
        .protection = (bits[0] == 'r' ? PROT_READ : 0) | (bits[1] == 'w' ? PROT_WRITE : 0) |
                      (bits[2] == 'x' ? PROT_EXEC : 0),
        .shared = bits[3] == 's',
        .file = inode != 0 || line[path] == '/',
        .path = line + path,
    };
    return true;
}

/* ---- deciding ---- */

static bool only_root_writes(const char *path, bool directory)
{
    struct stat status;
    /* With a POSIX ACL the group bits show the mask: any writer at all makes the test fail. */
    return lstat(path, &status) == 0 && status.st_uid == 0 && (status.st_mode & 022) == 0 &&
           (directory ? S_ISDIR(status.st_mode) : S_ISREG(status.st_mode));
}

/*
 * True when only root can change the file: it and every directory above belong to root and nobody
 * else may write there. Then the name leads to what was mapped, or to root's replacement of it
 * (whose predecessor would be shown as deleted, and is copied). The device and inode of the line
 * are not compared: on overlayfs and btrfs they differ from stat's by design. A FUSE file system
 * can claim any owner, but a user can only mount one on a directory of his own, which the walk
 * meets. A path with characters that the kernel escapes is not found, and so copied.
 */
static bool file_is_roots(const char *path)
{
    char prefix[4096];
    size_t length = strlen(path);
    if (path[0] != '/' || length >= sizeof prefix || !only_root_writes("/", true)) {
        return false;
    }
    for (size_t i = 1; i < length; i++) {
        if (path[i] == '/') {
            memcpy(prefix, path, i);
            prefix[i] = '\0';
            if (!only_root_writes(prefix, true)) {
                return false;
            }
        }
    }
    return only_root_writes(path, false);
}

/* Shared memory that no stranger can have: anonymous memory is shared by fork alone, and
 * memfd_secret's descriptor was closed after mapping it. */
static bool is_private_shared_memory(const char *path)
{
    return strcmp(path, "/dev/zero (deleted)") == 0 || strcmp(path, "/secretmem (deleted)") == 0 ||
           strncmp(path, "[anon_shmem:", 12) == 0;
}

static enum verdict judge(const struct mapping *mapping,
                          const struct sandbox_mapping_options *options, bool trust)
{
    /* Kept for W^X: after the lock no page becomes executable, so none that is may be writable. An
     * executable stack is the usual culprit. */
    if ((mapping->protection & (PROT_WRITE | PROT_EXEC)) == (PROT_WRITE | PROT_EXEC) &&
        !options->insecure_writable_code) {
        return REFUSE_WRITABLE_CODE;
    }
    if (!mapping->file) {
        return LEAVE;
    }
    for (size_t i = 0; i < options->keep_count; i++) {
        if (mapping->start >= options->keep[i].start && mapping->end <= options->keep[i].end) {
            return LEAVE;
        }
    }
    if (mapping->shared && is_private_shared_memory(mapping->path)) {
        return LEAVE;
    }
    /* It would be a second channel, which nothing checks. */
    if (mapping->shared && (mapping->protection & PROT_WRITE) != 0) {
        return REFUSE_SHARED;
    }
    return trust && file_is_roots(mapping->path) ? TRUSTED : REPLACE;
}

/* ---- replacing ---- */

/*
 * While a writable mapping is copied it is read-only, so that no other thread's store is lost
 * between the copy and the exchange. A thread that stores to it faults, and waits here until the
 * exchange is done; its store is then repeated. (A system call of another thread that writes there
 * in these microseconds fails with EFAULT. Stopping the threads by a signal would avoid that, but
 * libraries block all signals in their threads, and then it never ends.)
 *
 * The handler stays when all is exchanged. Between a thread's fault and its handler the kernel may
 * run other threads for as long as it likes, and it looks the handler up after that: a thread that
 * was held up would meet whatever handler came next, and end the process for a store that would
 * succeed by now. A fault of the program's own puts the handler back that was there before, and
 * comes again.
 */
static _Atomic uintptr_t g_window_start, g_window_end;
static pid_t g_replacer;
static struct sigaction g_previous;
static _Thread_local uintptr_t t_fault_address;
static _Thread_local unsigned t_fault_count;
#define FAULTS_BELIEVED 100u

static void wait_for_exchange(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    int saved = errno;
    uintptr_t address = (uintptr_t)info->si_addr;
    /* Relaxed: the fault itself, behind mprotect's flush of this processor's TLB, comes after the
     * stores; and a stale value only costs another round. */
    uintptr_t start = atomic_load_explicit(&g_window_start, memory_order_relaxed);
    uintptr_t end = atomic_load_explicit(&g_window_end, memory_order_relaxed);
    bool hopeless = info->si_code != SEGV_ACCERR || (pid_t)syscall(SYS_gettid) == g_replacer;
    if (!hopeless && address >= start && address < end) {
        (void)syscall(SYS_sched_yield);
    } else {
        /* Either somebody's real fault, or one whose window closed before this line: that one does
         * not come again, as the page is writable by now. */
        t_fault_count = t_fault_address == address ? t_fault_count + 1 : 0;
        t_fault_address = address;
        if (hopeless || t_fault_count > FAULTS_BELIEVED) {
            (void)sigaction(SIGSEGV, &g_previous, NULL);
            if (info->si_code <= 0) {
                /* Sent by somebody, so that there is no instruction which would fault again. */
                (void)syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), SIGSEGV);
            }
        }
    }
    errno = saved;
}

static int handle_faults(struct sandbox_error *error)
{
    struct sigaction now;
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    action.sa_sigaction = wait_for_exchange;
    (void)sigemptyset(&action.sa_mask);
    if (sigaction(SIGSEGV, NULL, &now) != 0) {
        return sandbox_fail(error, "mapping", errno, SANDBOX_ADVICE_BUG, "SIGSEGV handler");
    }
    /* Called a second time: it is ours already, and must not be what it gives way to. */
    if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == wait_for_exchange) {
        return 0;
    }
    g_previous = now;
    if (sigaction(SIGSEGV, &action, NULL) != 0) {
        return sandbox_fail(error, "mapping", errno, SANDBOX_ADVICE_BUG, "SIGSEGV handler");
    }
    return 0;
}

__attribute__((no_sanitize("address", "thread", "undefined"))) static void
copy_words(void *to, const void *from, size_t size)
{
    /* Not memcpy, which sanitizers intercept: this reads over their red zones. Volatile, so that
     * the compiler does not make a memcpy of it. Sizes are whole pages. */
    volatile uint64_t *out = to;
    const volatile uint64_t *in = from;
    for (size_t i = 0; i < size / sizeof *out; i++) {
        out[i] = in[i];
    }
}

static int replace_mapping(const struct mapping *mapping, struct sandbox_error *error)
{
    void *place = (void *)mapping->start;
    size_t size = mapping->end - mapping->start;
    if (mapping->protection == 0) {
        /* A gap between segments. Its content, if any, was never visible. */
        if (mmap(place, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                 -1, 0) == MAP_FAILED) {
            return sandbox_fail(error, "mapping", errno, SANDBOX_ADVICE_BUG, "%s", mapping->path);
        }
        return 0;
    }
    char *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) {
        return sandbox_fail(error, "mapping", errno, "Free some memory", "%zu bytes for %s", size,
                            mapping->path);
    }
    int readable = (mapping->protection & ~PROT_WRITE) | PROT_READ;
    bool writable = (mapping->protection & PROT_WRITE) != 0;
    if (writable) {
        atomic_store_explicit(&g_window_end, mapping->end, memory_order_relaxed);
        atomic_store_explicit(&g_window_start, mapping->start, memory_order_relaxed);
    }
    const char *failed = NULL;
    int err = 0;
    if (readable != mapping->protection && mprotect(place, size, readable) != 0) {
        failed = SANDBOX_ADVICE_BUG;
        err = errno;
    }
    /* Finds pages behind the end of a file that was cut meanwhile; copying them would be SIGBUS.
     * EINVAL before Linux 5.14. */
    if (failed == NULL && madvise(place, size, MADV_POPULATE_READ) != 0 && errno != EINVAL) {
        failed = "Do not change the files of an enclave while it starts";
        err = errno;
    }
    if (failed == NULL) {
        copy_words(copy, place, size);
        /* For processors whose instruction cache does not see stores; nothing on x86. */
        __builtin___clear_cache(copy, copy + size);
        if (mprotect(copy, size, mapping->protection) != 0) {
            failed = "Allow the enclave execmem in the SELinux policy";
            err = errno;
        }
    }
    /* One step under the kernel's lock of the address space: others see the old pages or the new,
     * never a gap. EPERM: the mapping is sealed (mseal, Linux 6.10). */
    if (failed == NULL &&
        mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED) {
        failed = "Link without -z memory-seal what the user can write";
        err = errno;
    }
    if (failed != NULL) {
        (void)munmap(copy, size);
        (void)mprotect(place, size, mapping->protection);
    }
    atomic_store_explicit(&g_window_start, 0, memory_order_relaxed);
    atomic_store_explicit(&g_window_end, 0, memory_order_relaxed);
    return failed == NULL ? 0 : sandbox_fail(error, "mapping", err, failed, "%s", mapping->path);
}

/*
 * Once on a page of our own. With lazy binding the first call of a function writes to the GOT,
 * which, when the mapping being replaced is the loader's own, is read-only at that moment.
 */
static int rehearse(struct sandbox_error *error)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return sandbox_fail(error, "mapping", errno, "Free some memory", "one page");
    }
    (void)syscall(SYS_sched_yield);
    const struct mapping own = {.start = (uintptr_t)page,
                                .end = (uintptr_t)page + size,
                                .protection = PROT_READ | PROT_WRITE,
                                .path = "rehearsal"};
    int result = replace_mapping(&own, error);
    (void)munmap(page, size);
    return result;
}

/* One walk over all mappings. *replaced counts what had to be replaced this time. */
static int walk(const struct sandbox_mapping_options *options, bool trust,
                struct sandbox_mapping_report *report, uint32_t *replaced,
                struct sandbox_error *error)
{
    char *text = NULL;
    size_t text_size = 0;
    if (read_maps(&text, &text_size, error) != 0) {
        return -1;
    }
    int result = 0;
    bool bad = false;
    char *at = text;
    struct mapping mapping;
    *replaced = 0;
    report->trusted = 0;
    while (result == 0 && next_mapping(&at, &mapping, &bad)) {
        switch (judge(&mapping, options, trust)) {
        case LEAVE:
            break;
        case TRUSTED:
            report->trusted++;
            break;
        case REPLACE:
            result = replace_mapping(&mapping, error);
            if (result == 0) {
                (*replaced)++;
                report->replaced++;
                report->replaced_bytes += mapping.protection != 0 ? mapping.end - mapping.start : 0;
            }
            break;
        case REFUSE_SHARED:
            result = sandbox_fail(error, "shared-mapping", 0,
                                  "Unmap what is shared with others before the lock-down: only the "
                                  "channel may be",
                                  "%s", mapping.path);
            break;
        case REFUSE_WRITABLE_CODE:
            result =
                sandbox_fail(error, "writable-code", 0,
                             "Link with -z noexecstack, and do without a just-in-time compiler",
                             "%s", mapping.path[0] != '\0' ? mapping.path : "anonymous memory");
            break;
        }
    }
    if (bad) {
        result = sandbox_fail(error, "mapping", 0, SANDBOX_ADVICE_BUG, "unknown line in maps");
    }
    (void)munmap(text, text_size);
    return result;
}

int sandbox_anonymize_mappings(const struct sandbox_mapping_options *options,
                               struct sandbox_mapping_report *report, struct sandbox_error *error)
{
    struct sandbox_mapping_report ignored;
    if (report == NULL) {
        report = &ignored;
    }
    *report = (struct sandbox_mapping_report){0};
    /* Elsewhere, uid 0 is whoever made the namespace. */
    bool trust = options->trust_root_files && sandbox_in_initial_user_namespace();

    g_replacer = (pid_t)syscall(SYS_gettid);
    int result = handle_faults(error);
    if (result == 0) {
        result = rehearse(error);
    }
    uint32_t replaced = 1;
    for (int pass = 0; result == 0 && replaced != 0 && pass < PASSES; pass++) {
        result = walk(options, trust, report, &replaced, error);
    }
    if (result == 0 && replaced != 0) {
        result = sandbox_fail(error, "mapping", 0, "Stop loading in threads before the lock-down",
                              "file mappings keep appearing");
    }
    return result;
}
