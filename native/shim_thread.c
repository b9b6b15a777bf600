/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_thread.c -- threads, their slots, and everything about who this process is.
 *
 * Enclave side. A thread takes a slot at its first call and gives it back when it exits. Process
 * ids, identities and limits are in this file and in no other: one process per enclave is assumed
 * here only.
 */
#include "shim.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* In the static TLS block: a trapped call may come before the thread has touched anything. */
static __thread struct shim_thread g_thread __attribute__((tls_model("initial-exec")));

/* Which thread has a slot: its thread pointer, which is its pthread_t, and its id. Relaxed. */
static struct {
    uint64_t self;
    int tid;
} g_owners[HC_SLOTS_MAX];
static uint64_t g_slots_used[HC_SLOT_WORDS];
static uint32_t g_said_fork;
static uint32_t g_said_exec;
static uint32_t g_dumpable = 1;

struct shim_thread *shim_thread(void)
{
    return &g_thread;
}

static void publish_active(uint32_t slot, bool active)
{
    uint64_t *u_word = &g_shim_end.u_board->active[slot / 64u];
    uint64_t bit = UINT64_C(1) << (slot % 64u);
    /* SYNC: release pairs with refresh in run_serve.c, active; publishes nothing but itself. */
    if (active)
        (void)__atomic_or_fetch(u_word, bit, __ATOMIC_RELEASE);
    else
        (void)__atomic_and_fetch(u_word, ~bit, __ATOMIC_RELEASE);
}

/* The first word of what %fs points to is its address. */
static uint64_t thread_pointer(void)
{
    uint64_t self;
    __asm__("mov %%fs:0, %0" : "=r"(self));
    return self;
}

void shim_wake_thread(uint64_t self, int number)
{
    for (uint32_t i = 0; i < g_shim_end.geometry.slot_count; i++)
        if (__atomic_load_n(&g_owners[i].self, __ATOMIC_RELAXED) == self)
            (void)SHIM_GATE(SYS_tgkill, SHIM_GATE(SYS_getpid, 0),
                            __atomic_load_n(&g_owners[i].tid, __ATOMIC_RELAXED), number);
}

static bool take_slot(struct shim_thread *thread, bool crowded)
{
    /* The last one is for saying that there is none (say_crowded). */
    uint32_t count = g_shim_end.geometry.slot_count - 1u;
    for (uint32_t i = crowded ? count : 0; i < count + (crowded ? 1u : 0u); i++) {
        uint64_t bit = UINT64_C(1) << (i % 64u);
        /* SYNC: acquire pairs with the release in give_slot; publishes the slot's state. */
        if ((__atomic_fetch_or(&g_slots_used[i / 64u], bit, __ATOMIC_ACQUIRE) & bit) != 0)
            continue;
        struct hc_slot *slot = &g_shim_end.slots[i];
        if (slot->end == NULL)
            hc_slot_init(slot, &g_shim_end, i);
        slot->port.busy = false;
        thread->slot = i;
        thread->tid = (int)SHIM_GATE(SYS_gettid, 0);
        __atomic_store_n(&g_owners[i].tid, thread->tid, __ATOMIC_RELAXED);
        __atomic_store_n(&g_owners[i].self, thread_pointer(), __ATOMIC_RELAXED);
        thread->port = &slot->port;
        publish_active(i, true);
        return true;
    }
    return false;
}

static void give_slot(struct shim_thread *thread)
{
    uint32_t slot = thread->slot;
    thread->port = NULL;
    __atomic_store_n(&g_owners[slot].self, 0u, __ATOMIC_RELAXED);
    publish_active(slot, false);
    /* SYNC: release pairs with take_slot, used; publishes the slot's state. */
    (void)__atomic_fetch_and(&g_slots_used[slot / 64u], ~(UINT64_C(1) << (slot % 64u)),
                             __ATOMIC_RELEASE);
}

static void say_crowded(struct shim_thread *thread)
{
    static uint32_t g_said_crowded;
    if (__atomic_load_n(&g_said_crowded, __ATOMIC_RELAXED) != 0 || !take_slot(thread, true))
        return;
    shim_say_once(&g_said_crowded,
                  "hotcalls: more threads make system calls than an enclave has slots for, 249: "
                  "the calls of the others fail (EAGAIN); let the program have fewer\n",
                  NULL);
    give_slot(thread);
}

struct hc_port *shim_port(struct shim_thread *thread)
{
    if (HC_UNLIKELY(thread->port == NULL) && !take_slot(thread, false))
        say_crowded(thread);
    return thread->port;
}

/* The last act of a thread. Nothing of it may be called any more, so signals stay outside. */
long shim_thread_exit(long status)
{
    struct shim_thread *thread = &g_thread;
    uint64_t all = ~UINT64_C(0);
    (void)SHIM_GATE(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
    if (thread->port != NULL)
        give_slot(thread);
    (void)SHIM_GATE(SYS_exit, status);
    return 0;
}

/* What the filter did not let through is not a thread. */
long shim_clone(const uint64_t *a)
{
    (void)a;
    shim_say_once(&g_said_fork,
                  "hotcalls: the program tried to start a process, which an enclave cannot: run it "
                  "in the foreground (memcached without -d, lighttpd -D, openvpn without "
                  "--daemon, redis-server --daemonize no and --save '')\n",
                  NULL);
    return -ENOSYS;
}

/* A shell's exec, a program that starts itself again: what ran is what runs on. */
long shim_exec(void)
{
    shim_say_once(&g_said_exec,
                  "hotcalls: the program tried to become another one (exec), which an enclave "
                  "cannot: give `hotcalls run` that program itself\n",
                  NULL);
    return -ENOSYS;
}

/* ---- identity: both sides change --------------------------------------------------------------- */

long shim_setid(enum row_id row, const uint64_t *a)
{
    static const int numbers[] = {
        [ROW_setuid - ROW_setuid] = SYS_setuid,       [ROW_setgid - ROW_setuid] = SYS_setgid,
        [ROW_setreuid - ROW_setuid] = SYS_setreuid,   [ROW_setregid - ROW_setuid] = SYS_setregid,
        [ROW_setresuid - ROW_setuid] = SYS_setresuid, [ROW_setresgid - ROW_setuid] = SYS_setresgid,
        [ROW_setgroups - ROW_setuid] = SYS_setgroups,
    };
    long result;
    if (row == ROW_setgroups) {
        if (a[0] > 65536u)
            return -EINVAL;
        result = SHIM_ROW(row, false, a[0], a[0] != 0 ? a[1] : 0, a[0] * 4u);
    } else {
        result = shim_row(row, a, false);
    }
    /* The C library has every thread do this; a host that has changed already agrees again. */
    if (result == 0)
        result = SHIM_GATE(numbers[row - ROW_setuid], a[0], a[1], a[2]);
    /* A change of identity takes these away from a process. */
    (void)SHIM_GATE(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    (void)SHIM_GATE(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    return result;
}

/* What the filter lets through natively does not come here. */
long shim_prctl(const uint64_t *a)
{
    switch (a[0]) {
    case PR_SET_DUMPABLE:
        if (a[1] > 1u)
            return -EINVAL;
        /* The process stays closed to others, whatever it would like. */
        __atomic_store_n(&g_dumpable, (uint32_t)a[1], __ATOMIC_RELAXED);
        return 0;
    case PR_GET_DUMPABLE:
        return (long)__atomic_load_n(&g_dumpable, __ATOMIC_RELAXED);
    case PR_SET_KEEPCAPS: {
        long result = SHIM_ROW(ROW_prctl, false, a[0], a[1]);
        return result != 0 ? result : SHIM_GATE(SYS_prctl, a[0], a[1], 0, 0, 0);
    }
    case PR_CAPBSET_DROP:
        /* What is executed with a set of capabilities it bounds, and nothing is. */
        return SHIM_ROW(ROW_prctl, false, a[0], a[1]);
    case PR_SET_NO_NEW_PRIVS:
        return a[1] == 1u ? 0 : -EINVAL;
    case PR_SET_PDEATHSIG:
        if (a[1] > SHIM_SIGNALS)
            return -EINVAL;
        return 0; /* it ends with its host, which ends with its parent's will */
    case PR_GET_SECCOMP:
    case PR_SET_PTRACER:
        return 0;
    default:
        return -EINVAL;
    }
}

long shim_prlimit(uint64_t pid, uint64_t resource, const uint64_t *new_limit, uint64_t *old_limit)
{
    if (pid != 0 && (int)pid != (int)SHIM_GATE(SYS_getpid, 0))
        return -EPERM;
    if (resource != RLIMIT_NOFILE && resource != RLIMIT_FSIZE)
        return SHIM_GATE(SYS_prlimit64, 0, resource, new_limit, old_limit);
    uint64_t wanted[2];
    if (new_limit != NULL && !shim_copy(wanted, new_limit, sizeof wanted))
        return -EFAULT;
    long result = SHIM_ROW(ROW_prlimit64, false, 0, resource, SHIM_PTR(new_limit ? wanted : NULL),
                           SHIM_PTR(old_limit));
    if (result == 0 && new_limit != NULL && resource == RLIMIT_NOFILE)
        __atomic_store_n(&g_shim_limit,
                         wanted[0] < RUN_DESCRIPTORS_MAX ? (uint32_t)wanted[0]
                                                         : RUN_DESCRIPTORS_MAX,
                         __ATOMIC_RELAXED);
    return result;
}

long shim_kill(int pid, int number)
{
    int own = (int)SHIM_GATE(SYS_getpid, 0);
    /* The group holds the host process too; what the program means by it is itself. */
    if (pid == 0 || pid == own)
        return SHIM_GATE(SYS_kill, own, number);
    return SHIM_ROW(ROW_kill, false, SHIM_ARG(pid), SHIM_ARG(number));
}

/* Nobody's parent. */
long shim_wait(long number, const uint64_t *a)
{
    const uint32_t four = WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE;
    const uint32_t id =
        WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE;
    uint32_t options = (uint32_t)(number == SYS_wait4 ? a[2] : a[3]);
    if ((options & ~(number == SYS_wait4 ? four : id)) != 0 ||
        (number == SYS_waitid && (options & (WEXITED | WSTOPPED | WCONTINUED)) == 0))
        return -EINVAL;
    return -ECHILD;
}

/*
 * Groups and sessions. What this process is in the kernel says, and it moves with setsid alone: its
 * terminal is the host's, which stays in the group that the user's shell has made and that the
 * terminal listens to. A shell that makes a group of its own and puts it in front (job control) is
 * told that it did, and that group is another name for the one that both are in.
 */
static uint32_t g_own_group;

static int group_told(int own)
{
    return __atomic_load_n(&g_own_group, __ATOMIC_RELAXED) != 0 ? own
                                                                : (int)SHIM_GATE(SYS_getpgid, 0);
}

/* The group in front, as TIOCGPGRP and TIOCSPGRP have it in `*group`. */
void shim_group_in_front(int *group, bool asked)
{
    int own = (int)SHIM_GATE(SYS_getpid, 0);
    int real = (int)SHIM_GATE(SYS_getpgid, 0);
    if (group_told(own) == real)
        return;
    if (asked && *group == real)
        *group = own;
    else if (!asked && *group == own)
        *group = real;
}

long shim_group(long number, const uint64_t *a)
{
    int own = (int)SHIM_GATE(SYS_getpid, 0);
    bool itself = number == SYS_getpgrp || (int)a[0] == 0 || (int)a[0] == own;
    switch (number) {
    case SYS_getpgrp:
    case SYS_getpgid:
        return itself ? group_told(own) : shim_row(ROW_getpgid, a, false);
    case SYS_getsid:
        return itself ? SHIM_GATE(SYS_getsid, 0) : shim_row(ROW_getsid, a, false);
    default:
        if ((int)a[1] < 0)
            return -EINVAL;
        if (itself && SHIM_GATE(SYS_getsid, 0) == own)
            return -EPERM;
        if (itself) {
            bool new = (int)a[1] == 0 || (int)a[1] == own;
            if (!new && (int)a[1] != (int)SHIM_GATE(SYS_getpgid, 0))
                return -EPERM;
            __atomic_store_n(&g_own_group, new, __ATOMIC_RELAXED);
        }
        return shim_row(ROW_setpgid, a, false);
    }
}

long shim_tgkill(int tgid, int tid, int number)
{
    int own = (int)SHIM_GATE(SYS_getpid, 0);
    if (tgid == -1 || tgid == own)
        return SHIM_GATE(SYS_tgkill, own, tid, number);
    return -EPERM;
}

/* Scheduling of this process and its calling thread; the kernel takes 0 for that. */
long shim_sched(long number, const uint64_t *a)
{
    uint64_t own = (uint64_t)SHIM_GATE(SYS_gettid, 0);
    uint64_t who = number == SYS_setpriority ? a[1] : a[0];
    if (number == SYS_setpriority && a[0] > PRIO_USER)
        return -EINVAL;
    if ((number == SYS_setpriority && a[0] != PRIO_PROCESS) ||
        (who != 0 && who != own && (int)who != (int)SHIM_GATE(SYS_getpid, 0)))
        return -EPERM;
    if (number == SYS_setpriority)
        return SHIM_GATE(number, PRIO_PROCESS, 0, a[2]);
    return SHIM_GATE(number, 0, a[1], a[2]);
}
