# SPDX-License-Identifier: Apache-2.0
"""Groups of system calls, named as systemd names them, and which calls a policy decides.

Host side; pure but for the table of calls, which is read once. Members follow what each call does,
reduced to those that an enclave can make at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from hotcalls.apps import syscalls
from hotcalls.apps.policy_values import Bad, unknown

_GROUPS: dict[str, str] = {
    "@basic-io": "close dup dup2 dup3 lseek pread64 preadv preadv2 pwrite64 pwritev pwritev2 read "
    "readv write writev _llseek close_range",
    "@file-system": "access chdir chmod close creat faccessat faccessat2 fallocate fchdir fchmod "
    "fchmodat fcntl fgetxattr flistxattr fremovexattr fsetxattr fstat fstatfs ftruncate futimesat "
    "getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 "
    "inotify_rm_watch lgetxattr link linkat listxattr llistxattr lremovexattr lsetxattr lstat "
    "mkdir mkdirat mknod mknodat mmap munmap newfstatat open openat openat2 readlink readlinkat "
    "removexattr rename renameat renameat2 rmdir setxattr stat statfs statx symlink symlinkat "
    "truncate unlink unlinkat utime utimensat utimes umask",
    "@io-event": "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd "
    "eventfd2 poll ppoll pselect6 select",
    "@ipc": "memfd_create mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink "
    "msgctl msgget msgrcv msgsnd pipe pipe2 semctl semget semop semtimedop shmat shmctl shmdt "
    "shmget",
    "@network-io": "accept accept4 bind connect getpeername getsockname getsockopt listen recv "
    "recvfrom recvmmsg recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socket socketpair",
    "@process": "arch_prctl capget clone clone3 execve execveat fork getrusage kill "
    "pidfd_send_signal prctl rt_sigqueueinfo rt_tgsigqueueinfo setns tgkill times tkill unshare "
    "vfork wait4 waitid waitpid",
    "@signal": "rt_sigaction rt_sigpending rt_sigprocmask rt_sigsuspend rt_sigtimedwait "
    "sigaltstack signalfd signalfd4 pause",
    "@timer": "alarm getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime "
    "timer_settime timerfd_create timerfd_gettime timerfd_settime times",
    "@sync": "fdatasync fsync msync sync sync_file_range syncfs",
    "@chown": "chown fchown fchownat lchown",
    "@setuid": "setgid setgroups setregid setresgid setresuid setreuid setuid",
    "@resources": "ioprio_set sched_setaffinity sched_setattr sched_setparam sched_setscheduler "
    "setpriority setrlimit prlimit64",
    "@default": "brk clock_getres clock_gettime clock_nanosleep exit exit_group futex "
    "get_robust_list getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getrandom "
    "getresgid getresuid getrlimit getsid gettid gettimeofday getuid madvise mprotect mremap "
    "munmap nanosleep restart_syscall rseq rt_sigreturn sched_getaffinity sched_yield "
    "set_robust_list set_tid_address sysinfo time uname",
    "@aio": "io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit",
    "@copy": "copy_file_range sendfile splice tee vmsplice",
}
_GROUPS["@system-service"] = " ".join(
    ["ioctl getpriority sendfile splice copy_file_range tee ioprio_get fadvise64 readahead flock "
     "sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getcpu "
     "capset mincore mlock munlock mlockall munlockall"]
    + [_GROUPS[name] for name in _GROUPS if name not in ("@aio",)]
)  # fmt: skip


def groups() -> dict[str, frozenset[str]]:
    """Return every group and its members."""
    return {name: frozenset(text.split()) for name, text in _GROUPS.items()}


def decided(names: Iterable[str]) -> dict[str, str]:
    """Return the calls of `names` that the host process is asked for, and as which.

    Members of groups that never reach the host are left out: there is nothing to decide.
    """
    calls = {call.name: call for call in syscalls.table()}
    found = {}
    for name in names:
        asked = syscalls.decided_as(calls[name]) if name in calls else None
        if asked is not None:
            found[name] = asked
    return found


def members(name: str, denied: bool) -> set[str]:
    """Return the calls that an entry of ``SystemCallFilter`` names.

    Parameters
    ----------
    name
        Of a call or of a group.
    denied
        Whether the entry refuses: then one that the policy cannot refuse is an error.
    """
    if name.startswith("@"):
        if name not in _GROUPS:
            raise Bad(unknown("group", name, sorted(_GROUPS)))
        return set(groups()[name])
    calls = {call.name: call for call in syscalls.table()}
    if name not in calls:
        message = unknown("system call", name, sorted(calls)).partition("; there are")[0]
        raise Bad(f"{message}; `hotcalls syscalls` lists them, with --groups the groups")
    if denied and calls[name].how != "refused" and syscalls.decided_as(calls[name]) is None:
        raise Bad(
            f"`{name}` does not leave the enclave and cannot be refused; a policy is about what "
            "the host process does"
        )
    return {name}
