/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall_unsupported.h -- calls that exist and that no row is about, by name.
 *
 * Enclave side: what is said of a call when it is refused as unknown (shim_trap.c). Those of
 * newer kernels than the headers know are said by number.
 */

SHIM_UNSUPPORTED(shmctl)
SHIM_UNSUPPORTED(shmdt)
SHIM_UNSUPPORTED(semget)
SHIM_UNSUPPORTED(semop)
SHIM_UNSUPPORTED(semctl)
SHIM_UNSUPPORTED(semtimedop)
SHIM_UNSUPPORTED(msgget)
SHIM_UNSUPPORTED(msgsnd)
SHIM_UNSUPPORTED(msgrcv)
SHIM_UNSUPPORTED(msgctl)
SHIM_UNSUPPORTED(mq_open)
SHIM_UNSUPPORTED(mq_unlink)
SHIM_UNSUPPORTED(mq_timedsend)
SHIM_UNSUPPORTED(mq_timedreceive)
SHIM_UNSUPPORTED(mq_notify)
SHIM_UNSUPPORTED(mq_getsetattr)
SHIM_UNSUPPORTED(io_destroy)
SHIM_UNSUPPORTED(io_getevents)
SHIM_UNSUPPORTED(io_submit)
SHIM_UNSUPPORTED(io_cancel)
SHIM_UNSUPPORTED(getdents)
SHIM_UNSUPPORTED(uselib)
SHIM_UNSUPPORTED(ustat)
SHIM_UNSUPPORTED(sysfs)
SHIM_UNSUPPORTED(vhangup)
SHIM_UNSUPPORTED(quotactl)
SHIM_UNSUPPORTED(lookup_dcookie)
SHIM_UNSUPPORTED(remap_file_pages)
SHIM_UNSUPPORTED(set_thread_area)
SHIM_UNSUPPORTED(get_thread_area)
SHIM_UNSUPPORTED(ioprio_set)
SHIM_UNSUPPORTED(ioprio_get)
SHIM_UNSUPPORTED(migrate_pages)
SHIM_UNSUPPORTED(move_pages)
SHIM_UNSUPPORTED(vmsplice)
SHIM_UNSUPPORTED(fanotify_init)
SHIM_UNSUPPORTED(fanotify_mark)
SHIM_UNSUPPORTED(sched_setattr)
SHIM_UNSUPPORTED(sched_getattr)
SHIM_UNSUPPORTED(kexec_file_load)
#ifdef SYS_io_pgetevents
SHIM_UNSUPPORTED(io_pgetevents)
#endif
#ifdef SYS_fsconfig
SHIM_UNSUPPORTED(fsconfig)
SHIM_UNSUPPORTED(fsmount)
SHIM_UNSUPPORTED(fspick)
#endif
#ifdef SYS_quotactl_fd
SHIM_UNSUPPORTED(quotactl_fd)
#endif
#ifdef SYS_landlock_create_ruleset
SHIM_UNSUPPORTED(landlock_create_ruleset)
SHIM_UNSUPPORTED(landlock_add_rule)
SHIM_UNSUPPORTED(landlock_restrict_self)
#endif
#ifdef SYS_memfd_secret
SHIM_UNSUPPORTED(memfd_secret)
#endif
#ifdef SYS_process_mrelease
SHIM_UNSUPPORTED(process_mrelease)
#endif
#ifdef SYS_futex_waitv
SHIM_UNSUPPORTED(futex_waitv)
#endif
#ifdef SYS_set_mempolicy_home_node
SHIM_UNSUPPORTED(set_mempolicy_home_node)
#endif
