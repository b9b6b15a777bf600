/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_filter.c -- the boundary: what the kernel lets this process do by itself.
 *
 * Enclave side. A seccomp filter made from syscall_local.h: SHIM_NATIVE rows pass, SHIM_GATED
 * rows pass from the shim's own instruction, a few more under conditions on their arguments.
 * Everything else raises SIGSYS in the thread that tried it (shim_trap.c), so that no system call
 * can be forgotten: what the shim does not know, it refuses.
 *
 * Rows without conditions come first and look at nothing but the number: the kernel then answers
 * them from a bitmap (Linux 5.11), without running the filter.
 */
#include "shim.h"

#include "syscall_filter.h"

long shim_filter_install(uint64_t gate)
{
    const uint32_t own = (uint32_t)SHIM_GATE(SYS_getpid, 0);
    const struct sock_filter program[] = {
        THIS_ARCHITECTURE,
#define SHIM_NATIVE(call, why) WHEN(call, ALLOW),
#define SHIM_GATED(call, why)
#define SHIM_EMULATED(call, why)
#define SHIM_REFUSED(call, error, why)
#include "syscall_local.h"
#undef SHIM_NATIVE
#undef SHIM_GATED
        WITHOUT_CLONE3,

#define OWN_ID own
#include "syscall_conditions.h"
#undef OWN_ID

        /* Only the shim's own instruction gets further. */
        LOAD(FIELD(instruction_pointer)),
        JUMP(BPF_JEQ, (uint32_t)gate, 1, 0),
        TRAP,
        LOAD(FIELD(instruction_pointer) + 4u),
        JUMP(BPF_JEQ, (uint32_t)(gate >> 32), 1, 0),
        TRAP,
        LOAD(FIELD(nr)),
#define SHIM_NATIVE(call, why)
#define SHIM_GATED(call, why) WHEN(call, ALLOW),
#include "syscall_local.h"
#undef SHIM_NATIVE
#undef SHIM_GATED
#undef SHIM_EMULATED
#undef SHIM_REFUSED
        /* What is mapped here; there is no other descriptor (shim_boot.c). */
        WHEN(pread64, ALLOW_EQUAL(LOW(0), 0, TRAP)),
        /* To be what it has to be again after a change of identity; nothing weaker. */
        /* clang-format off */
        WHEN(prctl,
             LOAD(LOW(0)),
             JUMP(BPF_JEQ, PR_SET_KEEPCAPS, 6, 0), /* both sides change */
             JUMP(BPF_JEQ, PR_SET_DUMPABLE, 0, 2),
             LOAD(LOW(1)),
             JUMP(BPF_JEQ, 0, 3, 4),
             JUMP(BPF_JEQ, PR_SET_PDEATHSIG, 0, 3),
             LOAD(LOW(1)),
             JUMP(BPF_JEQ, SIGKILL, 0, 1),
             ALLOW),
        /* clang-format on */
        TRAP,
    };
    const struct sock_fprog filter = {
        .len = sizeof program / sizeof program[0],
        .filter = (struct sock_filter *)(uintptr_t)program,
    };
    return SHIM_GATE(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
}
