/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.h - lock-down of an enclave process: the interface for the loader.
 *
 * Who may call it: the loader (enclave_main.c) and, later, the shim of `hotcalls run`; and, only
 * the part "host side" at the end, the launcher.
 * Which side runs it: the enclave process, on itself (except the host-side part).
 * What it trusts: the kernel, root, /proc as mounted in the initial user namespace, and the host
 * until the launch has returned. It does not trust processes of the same unprivileged user.
 *
 * The order is part of the contract:
 *
 *     main() {
 *         sandbox_harden()               first statement: one thread, no secret, no user code yet
 *         sandbox_secret_reserve()       optional: memory that not even root's /proc/PID/mem reads
 *         ... map the channel, dlopen the enclave or import the module, take secrets ...
 *         sandbox_anonymize_mappings()   no code or data that the user can change through a file
 *         sandbox_lock()                 Landlock, capabilities, seccomp: nothing left but the table
 *         sandbox_verify()               proof, by attempts, that the kernel did what it said
 *         ... serve ...
 *     }
 *
 * Each function returns 0, or -1 with *error filled in; the process must then end: a half-locked
 * enclave serves nobody.
 */
#ifndef HOTCALLS_SANDBOX_H
#define HOTCALLS_SANDBOX_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The inode number of the initial user namespace: fixed since Linux 3.8 (PROC_USER_INIT_INO), part
 * of the user-space interface since 6.18 (USER_NS_INIT_INO). */
#define SANDBOX_INITIAL_USER_NAMESPACE 0xEFFFFFFDul

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What a refused system call returns. It has to be improbable, so that a test (and a user reading
 * a bug report) can tell "the filter refused" from "the kernel refused": ESRMNT ("Srmount error",
 * 69) belongs to System V remote file sharing; Linux defines the number and nothing returns it.
 */
#define SANDBOX_DENIED_ERRNO ESRMNT

/* A failed step. `step` and `advice` are string constants; `detail` says which object. */
struct sandbox_error {
    const char *step;   /* "tracer", "user-namespace", "mapping", "seccomp", ...; never NULL */
    int err;            /* errno of the step, 0 when no system call failed */
    const char *advice; /* one sentence, what to do about it; never NULL */
    char detail[160];   /* path, descriptor or number concerned, printable ASCII; may be empty */
};

/* Writes "step: strerror: detail. advice" and returns buffer. Always terminates it. */
const char *sandbox_error_format(const struct sandbox_error *error, char *buffer, size_t size);

/* ---------------------------------------------------------------- stage 1: harden */

struct sandbox_harden_options {
    const int *keep_fds; /* open descriptors to keep, any order; all others are closed */
    size_t keep_fd_count;
    const char *const *keep_env; /* names of environment variables to keep, any order */
    size_t keep_env_count;
    bool insecure_user_namespace; /* accept a user namespace whose owner may read the enclave */
    bool insecure_debug;          /* stay dumpable, accept a tracer and a fixed layout */
};

/*
 * The first act after exec. Afterwards: not dumpable, no core, no new privileges, not traced, one
 * thread, own session, only keep_fds open (0..2 are /dev/null unless kept), environment wiped,
 * cwd /, umask 077, signals and timers at their defaults, address-space layout randomised.
 */
int sandbox_harden(const struct sandbox_harden_options *options, struct sandbox_error *error);

/* ---------------------------------------------------------------- stage 2: mappings */

struct sandbox_range {
    uintptr_t start, end; /* [start, end), page aligned */
};

struct sandbox_mapping_options {
    const struct sandbox_range *keep; /* shared mappings meant to be there: the channel */
    size_t keep_count;
    bool trust_root_files; /* leave files that only root can change mapped; false: replace all */
    bool insecure_writable_code; /* accept mappings that are writable and executable */
};

struct sandbox_mapping_report {
    uint32_t replaced;       /* mappings that became anonymous copies */
    uint32_t trusted;        /* file mappings left, because only root can change the file */
    uint64_t replaced_bytes; /* copied, thus resident and private from now on */
};

/*
 * Replaces, in place, every file mapping that somebody other than root could change. May be called
 * while other threads run. Call it after the last dlopen. Refuses writable shared file mappings
 * outside `keep`, and mappings that are writable and executable at once. A SIGSEGV handler of its
 * own stays behind; it gives way to the one that was there at the first fault that is not its own.
 */
int sandbox_anonymize_mappings(const struct sandbox_mapping_options *options,
                               struct sandbox_mapping_report *report, struct sandbox_error *error);

/* ---------------------------------------------------------------- stage 2: lock */

/* Groups of rows of sandbox_table.h. A policy is a set of groups and a few descriptors. */
enum sandbox_group {
    SANDBOX_MEMORY = 1u << 0,
    SANDBOX_FUTEX = 1u << 1,
    SANDBOX_TIME = 1u << 2,
    SANDBOX_THREAD = 1u << 3,
    SANDBOX_SIGNAL = 1u << 4,
    SANDBOX_PROCESS = 1u << 5,
    SANDBOX_DESCRIPTOR = 1u << 6,
    SANDBOX_COMPATIBILITY = 1u << 7, /* calls that "do not exist", so that libc falls back */
    SANDBOX_INTERPRETER = 1u << 8,   /* what a language runtime needs on top */
};
/* What every enclave gets. */
#define SANDBOX_CORE                                                                              \
    ((uint32_t)(SANDBOX_MEMORY | SANDBOX_FUTEX | SANDBOX_TIME | SANDBOX_THREAD | SANDBOX_SIGNAL | \
                SANDBOX_PROCESS | SANDBOX_DESCRIPTOR | SANDBOX_COMPATIBILITY))

#define SANDBOX_POLICY_FDS 4u
/* One more for each client of an enclave that serves several processes. */
#define SANDBOX_WRITE_FDS (SANDBOX_POLICY_FDS + 64u)

struct sandbox_policy {
    uint32_t groups;                  /* SANDBOX_CORE | ... */
    int write_fds[SANDBOX_WRITE_FDS]; /* the log (1 and 2, for stdio), wake-up descriptors */
    size_t write_fd_count;
    int read_fds[SANDBOX_POLICY_FDS]; /* a wake-up descriptor if there is one */
    size_t read_fd_count;
    int poll_fds[SANDBOX_POLICY_FDS]; /* only kept open: the pidfd of the host */
    size_t poll_fd_count;
    bool require_landlock;      /* fail when the kernel has none (default: report it) */
    bool require_single_thread; /* fail when loading left threads behind (default: cover them) */
    bool insecure_children;     /* accept processes that loading started, which nothing locks */
    bool insecure_debug;        /* as in sandbox_harden_options */
};

struct sandbox_lock_report {
    int landlock_abi;  /* 0: not available */
    int landlock_err;  /* why not */
    uint32_t threads;  /* in the process when it was locked; > 1: they are covered by TSYNC */
    uint32_t rules;    /* rules of the table that went into the filter */
    bool no_exec_gain; /* PR_SET_MDWE took (Linux 6.3) */
};

/*
 * The last act before serving. Closes all descriptors but those of the policy, drops capabilities,
 * enters a Landlock domain without any right, refuses executable pages (PR_SET_MDWE), and installs
 * the filter of sandbox_table.h on every thread. Irreversible.
 */
int sandbox_lock(const struct sandbox_policy *policy, struct sandbox_lock_report *report,
                 struct sandbox_error *error);

/*
 * Tries forbidden calls, each with arguments that do no harm should it be let through, and reads
 * back the flags of both stages. Needs sandbox_lock() to have returned 0.
 */
int sandbox_verify(const struct sandbox_policy *policy, struct sandbox_error *error);

/* ---------------------------------------------------------------- secret memory */

enum sandbox_secret_kind {
    SANDBOX_SECRET_NONE,  /* nothing reserved */
    SANDBOX_SECRET_MEMFD, /* memfd_secret: not in the kernel's direct map, not even root reads it */
    SANDBOX_SECRET_LOCKED /* ordinary memory, locked against swap, never dumped: root can read it */
};

struct sandbox_secret_status {
    enum sandbox_secret_kind kind;
    int err;         /* why it is not SANDBOX_SECRET_MEMFD; 0 when it is */
    const char *why; /* the same in words, with what to do; "" when it is */
    size_t size;     /* reserved bytes */
};

/*
 * Reserves the memory for secrets, before sandbox_lock(), as the filter has neither memfd_secret
 * nor mmap of a descriptor. Falls back to locked memory and says why. Returns -1 only when there
 * is no memory at all. One reservation per process.
 */
int sandbox_secret_reserve(size_t size, struct sandbox_secret_status *status,
                           struct sandbox_error *error);
struct sandbox_secret_status sandbox_secret_status(void);
/* Zeroed, 64-byte aligned, at any time and from any thread; NULL when the reservation is used up.
 * The kernel cannot wait on a futex in it; system calls that copy from it work. */
void *sandbox_secret_alloc(size_t size);
/* Wipes and gives back. `pointer` comes from sandbox_secret_alloc, or is NULL. */
void sandbox_secret_free(void *pointer);

/* ---------------------------------------------------------------- host side */

/*
 * Copies the loader into a sealed memfd that may be executed but not read, and returns the
 * descriptor (close-on-exec) or -1. A process exec'ed from it with execveat(fd, "", argv, envp,
 * AT_EMPTY_PATH) is not dumpable from its very first instruction (the kernel does that to any
 * program its user may not read), which closes the gap between exec and sandbox_harden() in which
 * the same user could open /proc/PID/mem. It also takes the file out of reach between check and
 * use. Has no such effect for root, who may read everything.
 * EACCES, here or from execveat: sysctl vm.memfd_noexec=2 (Linux 6.3), or a policy of that kind.
 */
int sandbox_image_open(const char *path, struct sandbox_error *error);

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_SANDBOX_H */
