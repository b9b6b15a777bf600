/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_table.c -- from a message to a system call.
 *
 * Host side; every thread that serves. Most rows are made as they come: scalars go to the kernel,
 * buffers are used where they lie in the window. The kernel copies them once; that the program
 * may change them meanwhile harms nobody but itself. What this process looks at itself is copied
 * to private memory first, by the functions that look.
 */
#define _GNU_SOURCE
#include "run_ask.h"
#include "run_total.h"

#include "syscall_table.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The two paths of a call, private. */
static __thread char g_strings[2][ROW_STRING_MAX + 1u];

static enum hc_status unpack_string(struct hc_frame *frame, char *to)
{
    uint64_t size;
    size_t position;
    if (hc_frame_next(frame, ROW_STRING_HEADER, &position) != HC_OK)
        return HC_ERR_MESSAGE;
    hc_copy_in(&size, frame->u_message + position, sizeof size);
    /* The header and the characters are one buffer: back to behind the header. */
    if (size == 0 || size > ROW_STRING_MAX ||
        !hc_range_inside(position + ROW_STRING_HEADER, size, frame->size))
        return HC_ERR_MESSAGE;
    hc_speculation_barrier();
    hc_copy_in(to, frame->u_message + position + ROW_STRING_HEADER, size);
    if (memchr(to, '\0', size) != to + size - 1u)
        return HC_ERR_MESSAGE;
    frame->cursor = (uint32_t)hc_message_add(position, ROW_STRING_HEADER + size);
    return HC_OK;
}

static int check_descriptor(const struct row *row, uint32_t i, struct run_call *call)
{
    int64_t fd = (int64_t)(int32_t)call->a[i];
    call->a[i] = (uint64_t)fd;
    if (run_fd_owned(fd) || (row->parameters[i].kind == ROW_DIRFD && fd == AT_FDCWD))
        return 0;
    return EBADF;
}

enum hc_status run_unpack(struct hc_frame *frame, bool again, struct run_call *call, int *error)
{
    const struct row *row = &g_rows[hc_index_nospec(frame->id, ROW_COUNT)];
    const struct run_ms *ms = &call->ms;
    const size_t ms_size = run_ms_size(row->scalar_count);
    uint32_t scalar = 0;
    uint32_t strings = 0;
    enum hc_status status = HC_OK;
    if (again)
        /* What has been done so far was done by these sizes, which the program may have changed. */
        frame->cursor = ms_size > HC_INLINE_SIZE ? (uint32_t)ms_size : 0u;
    else
        status = hc_frame_open(frame, &call->ms, ms_size);
    if (status != HC_OK)
        return status;
    call->id = frame->id;
    call->row = row;
    call->nonblocking = (ms->words[0] & RUN_NONBLOCKING) != 0;
    *error = 0;
    memset(call->sizes, 0, sizeof call->sizes);
    for (uint32_t i = 0; i < row->parameter_count; i++)
        if (row->parameters[i].kind <= ROW_DIRFD)
            call->a[i] = ms->words[1u + scalar++];
    for (uint32_t i = 0; i < row->parameter_count; i++) {
        const struct row_parameter *p = &row->parameters[i];
        size_t position;
        if (p->kind <= ROW_DIRFD) {
            if (p->narrow)
                call->a[i] =
                    p->is_signed ? (uint64_t)(int64_t)(int32_t)call->a[i] : (uint32_t)call->a[i];
            continue;
        }
        call->a[i] = 0;
        if (((ms->words[0] >> i) & 1u) == 0)
            continue;
        if (p->kind == ROW_STRING) {
            status = unpack_string(frame, g_strings[strings]);
            if (status != HC_OK)
                return status;
            call->a[i] = (uint64_t)(uintptr_t)g_strings[strings++ & 1u];
            continue;
        }
        call->sizes[i] = p->size_by >= 0 ? call->a[p->size_by] : p->size;
        status = hc_frame_next(frame, call->sizes[i], &position);
        if (status != HC_OK)
            return status;
        call->a[i] = (uint64_t)(uintptr_t)(frame->u_message + position);
    }
    for (uint32_t i = 0; i < row->parameter_count && *error == 0; i++) {
        uint8_t kind = row->parameters[i].kind;
        if (kind == ROW_FD || kind == ROW_DIRFD)
            *error = check_descriptor(row, i, call);
        /* An absolute path needs no directory, so a bad one does not matter. */
        if (*error != 0 && kind == ROW_DIRFD && i + 1u < row->parameter_count &&
            row->parameters[i + 1u].kind == ROW_STRING && call->a[i + 1u] != 0 &&
            *(const char *)(uintptr_t)call->a[i + 1u] == '/') {
            call->a[i] = (uint64_t)(int64_t)AT_FDCWD;
            *error = 0;
        }
    }
    /* A buffer that was not sent has no size. */
    for (uint32_t i = 0; i < row->parameter_count; i++)
        if (row->parameters[i].kind >= ROW_IN && call->a[i] == 0 && row->parameters[i].size_by >= 0)
            call->a[row->parameters[i].size_by] = 0;
    return HC_OK;
}

/*
 * Checks the flag and makes the call such that a signal of the watcher that comes in between is
 * not lost: run_serve.c's handler moves a thread that is between the labels to the abort.
 */
__asm__(".text\n"
        ".globl run_interruptible_asm\n.hidden run_interruptible_asm\n"
        ".type run_interruptible_asm, @function\n"
        ".globl run_interruptible_begin\n.hidden run_interruptible_begin\n"
        ".globl run_interruptible_end\n.hidden run_interruptible_end\n"
        ".globl run_interruptible_abort\n.hidden run_interruptible_abort\n"
        "run_interruptible_asm:\n"
        "    endbr64\n"
        "    push %rbx\n"
        "    mov %rdi, %rbx\n"
        "    mov %rsi, %rax\n"
        "    mov %rdx, %rcx\n"
        "    mov (%rcx), %rdi\n"
        "    mov 8(%rcx), %rsi\n"
        "    mov 16(%rcx), %rdx\n"
        "    mov 24(%rcx), %r10\n"
        "    mov 32(%rcx), %r8\n"
        "    mov 40(%rcx), %r9\n"
        "run_interruptible_begin:\n"
        "    cmpl $0, (%rbx)\n"
        "    jne run_interruptible_abort\n"
        "    syscall\n"
        "run_interruptible_end:\n"
        "    pop %rbx\n"
        "    ret\n"
        "run_interruptible_abort:\n"
        "    mov $-4, %rax\n" /* -EINTR */
        "    pop %rbx\n"
        "    ret\n"
        ".size run_interruptible_asm, . - run_interruptible_asm\n");

long run_interruptible_asm(const uint32_t *flag, long number, const long *arguments);

long run_interruptible(long number, const long arguments[6])
{
    return run_interruptible_asm(run_interrupt_flag(), number, arguments);
}

long run_plain(long number, const long a[6])
{
    long result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    return result == -1 ? -errno : result;
}

static long as_it_came(const struct run_call *call, long (*make)(long, const long[6]))
{
    long arguments[6] = {0, 0, 0, 0, 0, 0};
    for (uint32_t i = 0; i < call->row->parameter_count && i < 6u; i++)
        arguments[i] = (long)call->a[i];
    return make(call->row->number, arguments);
}

long run_raw(const struct run_call *call)
{
    return as_it_came(call, run_plain);
}

static long run_waiting(const struct run_call *call)
{
    return as_it_came(call, run_interruptible);
}

/* Under a rule of its own; apart, so that a call without one pays nothing for it. */
static __attribute__((noinline)) long ruled(struct run_call *call, uint32_t rule)
{
    long (*perform)(struct run_call *) =
        (rule & RUN_RULE_TOTAL) != 0 ? run_total_perform : run_perform;
    int refused = run_policy_call(call->id);
    if (refused != 0)
        return -refused;
    if ((rule & RUN_RULE_ASK) == 0)
        return perform(call);
    /* The leader does not wait for a hook. */
    return call->trying ? RUN_MUST_BLOCK : run_ask_perform(call, perform);
}

long run_execute(struct run_call *call)
{
    uint32_t rule = run_policy_rule(call->id);
    return HC_LIKELY(rule == 0) ? run_perform(call) : ruled(call, rule);
}

long run_perform(struct run_call *call)
{
    switch ((enum row_id)call->id) {
    case ROW_read:
    case ROW_write:
    case ROW_recvfrom:
    case ROW_preadv2:
    case ROW_pwritev2:
        return run_stream(call);
    case ROW_sendto:
    case ROW_sendmsg:
    case ROW_recvmsg:
    case ROW_accept4:
    case ROW_getsockname:
    case ROW_getpeername:
    case ROW_setsockopt:
    case ROW_getsockopt:
    case ROW_connect:
    case ROW_bind:
        return run_socket(call);
    case ROW_epoll_pwait:
    case ROW_epoll_ctl:
    case ROW_ppoll:
    case ROW_pselect6:
        return run_wait(call);
    case ROW_close:
    case ROW_close_range:
    case ROW_dup:
    case ROW_dup3:
    case ROW_socketpair:
    case ROW_pipe2:
    case ROW_signalfd4:
        return run_fd_hand(call);
    case ROW_getdents64:
        return run_fd_kind((int64_t)call->a[0]) == RUN_FD_LIST && call->a[1] != 0
                   ? run_proc_list(call)
                   : run_raw(call);
    case ROW_fcntl:
        return run_fcntl(call);
    case ROW_ioctl:
        return run_ioctl(call);
    case ROW_openat:
    case ROW_newfstatat:
    case ROW_statx:
    case ROW_inotify_add_watch:
    case ROW_faccessat2:
    case ROW_readlinkat:
    case ROW_statfs:
    case ROW_chdir:
    case ROW_chroot:
    case ROW_mkdirat:
    case ROW_mknodat:
    case ROW_unlinkat:
    case ROW_renameat2:
    case ROW_linkat:
    case ROW_symlinkat:
    case ROW_fchmodat:
    case ROW_fchownat:
    case ROW_utimensat:
    case ROW_truncate:
    case ROW_getxattr:
    case ROW_lgetxattr:
    case ROW_setxattr:
    case ROW_lsetxattr:
    case ROW_removexattr:
    case ROW_lremovexattr:
    case ROW_listxattr:
    case ROW_llistxattr:
        return run_path(call);
    case ROW_setuid:
    case ROW_setgid:
    case ROW_setreuid:
    case ROW_setregid:
    case ROW_setresuid:
    case ROW_setresgid:
    case ROW_setgroups:
    case ROW_capset:
    case ROW_prctl:
    case ROW_setsid:
    case ROW_getpgid:
    case ROW_getsid:
    case ROW_setpgid:
    case ROW_getppid:
    case ROW_kill:
    case ROW_prlimit64:
        return run_identity(call);
    case ROW_sendfile:
    case ROW_splice:
    case ROW_tee:
    case ROW_copy_file_range:
        /* Quick on descriptors that do not block, and there is no other way to know. */
        return call->trying && !call->nonblocking ? RUN_MUST_BLOCK : run_waiting(call);
    case ROW_flock:
        return call->trying && (call->a[1] & 4u) == 0 /* LOCK_NB */ ? RUN_MUST_BLOCK
                                                                    : run_waiting(call);
    case ROW_sync:
    case ROW_fsync:
    case ROW_fdatasync:
    case ROW_syncfs:
        return call->trying ? RUN_MUST_BLOCK : run_raw(call);
    default: {
        long result = run_raw(call);
        if (call->row->returns == ROW_RETURNS_FD && result >= 0)
            run_fd_give(result);
        return result;
    }
    }
}

const struct row *run_row(uint32_t id)
{
    return id < ROW_COUNT ? &g_rows[id] : NULL;
}
