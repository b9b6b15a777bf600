/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_identity.c -- who the program is, for the rest of the world: ids, groups, limits, signals
 * to others.
 *
 * Host side. Changes of identity apply to every thread of this process (the C library sees to
 * it) and are made by the program's own process as well (shim_thread.c).
 */
#define _GNU_SOURCE
#include "run.h"

#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define GROUPS_MAX 1024u

static long outcome(int result)
{
    int error = errno;
    /* A change of identity makes a process dumpable as sysctl fs.suid_dumpable says. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return result == 0 ? 0 : -error;
}

/* struct __user_cap_header_struct and __user_cap_data_struct of version 3. */
struct capabilities {
    uint32_t version;
    int32_t thread;
    uint32_t sets[6];
};

/*
 * Capabilities belong to a thread, and the program's threads are not ours: what one of them asks
 * for holds for this whole process. In a program with threads that differ the last word counts.
 */
static long set_capabilities(const struct run_call *call)
{
    struct capabilities wanted;
    if (call->a[0] == 0 || call->a[1] == 0)
        return -EFAULT;
    hc_copy_in(&wanted, (const void *)(uintptr_t)call->a[0], 8);
    hc_copy_in(wanted.sets, (const void *)(uintptr_t)call->a[1], sizeof wanted.sets);
    wanted.thread = 0;
    const long arguments[6] = {(long)(uintptr_t)&wanted, (long)(uintptr_t)wanted.sets, 0, 0, 0, 0};
    return run_everywhere(SYS_capset, arguments);
}

static long control(const struct run_call *call)
{
    const long arguments[6] = {(long)(int)call->a[0], (long)call->a[1], 0, 0, 0, 0};
    if (arguments[0] != PR_SET_KEEPCAPS && arguments[0] != PR_CAPBSET_DROP)
        return -EINVAL;
    return run_everywhere(SYS_prctl, arguments);
}

static long set_groups(const struct run_call *call)
{
    gid_t list[GROUPS_MAX];
    size_t count = (size_t)call->a[0];
    if (count > GROUPS_MAX || call->sizes[1] != (count != 0 ? count * sizeof list[0] : 0))
        return -EINVAL;
    if (count != 0)
        hc_copy_in(list, (const void *)(uintptr_t)call->a[1], count * sizeof list[0]);
    return outcome(setgroups(count, list));
}

/* Only ever fewer: the kernel would not give more to an ordinary user, but we may be root. */
static long limit_descriptors(const struct run_call *call)
{
    uint64_t wanted[2];
    uint64_t old[2] = {g_run_limit[0], g_run_limit[1]};
    if (call->a[2] != 0) {
        hc_copy_in(wanted, (const void *)(uintptr_t)call->a[2], sizeof wanted);
        if (wanted[0] > wanted[1])
            return -EINVAL;
        if (wanted[1] == UINT64_MAX)
            wanted[1] = g_run_limit[1];
        if (wanted[1] > g_run_limit[1])
            return -EPERM;
        if (wanted[0] > wanted[1])
            wanted[0] = wanted[1];
        struct rlimit real;
        (void)pthread_mutex_lock(&g_run_limit_lock);
        int error = getrlimit(RLIMIT_NOFILE, &real) != 0 ? errno : 0;
        real.rlim_cur = wanted[0];
        if (error == 0 && setrlimit(RLIMIT_NOFILE, &real) != 0)
            error = errno;
        if (error == 0) {
            g_run_limit[0] = wanted[0];
            g_run_limit[1] = wanted[1];
        }
        (void)pthread_mutex_unlock(&g_run_limit_lock);
        if (error != 0)
            return -error;
    }
    if (call->a[3] != 0)
        hc_copy_out((void *)(uintptr_t)call->a[3], old, sizeof old);
    return 0;
}

static long limit(const struct run_call *call)
{
    struct rlimit wanted, old;
    if ((uint32_t)call->a[1] == RLIMIT_NOFILE)
        return limit_descriptors(call);
    if ((uint32_t)call->a[1] != RLIMIT_FSIZE)
        return -EINVAL;
    if (getrlimit(RLIMIT_FSIZE, &old) != 0)
        return -errno;
    if (call->a[2] != 0) {
        hc_copy_in(&wanted, (const void *)(uintptr_t)call->a[2], sizeof wanted);
        if (setrlimit(RLIMIT_FSIZE, &wanted) != 0)
            return -errno;
    }
    if (call->a[3] != 0)
        hc_copy_out((void *)(uintptr_t)call->a[3], &old, sizeof old);
    return 0;
}

/* Its own process, by whatever name, is our twin: what is asked of it we answer for. */
static int own(int pid)
{
    return pid == 0 || pid == g_run_program ? 0 : pid;
}

static long send_signal(int pid, int number)
{
    if (pid == g_run_program || pid == 0)
        return kill(g_run_program, number) == 0 ? 0 : -errno;
    /* Neither us, nor everybody, nor a group: ours is in it. */
    if (pid < 0 || pid == getpid() || syscall(SYS_tgkill, getpid(), pid, 0) == 0)
        return -EPERM;
    if (number < 0 || number > SIGRTMAX)
        return -EINVAL;
    /* Whether a process is there may be asked, as daemons do of their pid files; no other is
     * signalled, whatever this user may. */
    if (kill(pid, 0) != 0)
        return -errno;
    return number == 0 ? 0 : -EPERM;
}

long run_identity(struct run_call *call)
{
    const uint64_t *a = call->a;
    switch ((enum row_id)call->id) {
    case ROW_setuid:
        return outcome(setuid((uid_t)a[0]));
    case ROW_setgid:
        return outcome(setgid((gid_t)a[0]));
    case ROW_setreuid:
        return outcome(setreuid((uid_t)a[0], (uid_t)a[1]));
    case ROW_setregid:
        return outcome(setregid((gid_t)a[0], (gid_t)a[1]));
    case ROW_setresuid:
        return outcome(setresuid((uid_t)a[0], (uid_t)a[1], (uid_t)a[2]));
    case ROW_setresgid:
        return outcome(setresgid((gid_t)a[0], (gid_t)a[1], (gid_t)a[2]));
    case ROW_setgroups:
        return set_groups(call);
    case ROW_capset:
        return set_capabilities(call);
    case ROW_prctl:
        return control(call);
    case ROW_setsid:
        /* The group is the terminal's business, and this process must stay in the user's. */
        return getpid();
    case ROW_getpgid: {
        pid_t group = getpgid(own((int)a[0]));
        return group < 0 ? -errno : group;
    }
    case ROW_getsid: {
        pid_t session = getsid(own((int)a[0]));
        return session < 0 ? -errno : session;
    }
    case ROW_setpgid:
        return own((int)a[0]) == 0 ? 0 : -ESRCH;
    case ROW_getppid:
        return getppid();
    case ROW_kill:
        return send_signal((int)a[0], (int)a[1]);
    case ROW_prlimit64:
        return limit(call);
    default:
        return -ENOSYS;
    }
}
