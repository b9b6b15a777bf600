/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tries to reach another process, and to undo its own confinement, by way of the system calls that
 * an enclave of `hotcalls run` makes by itself: those whose arguments decide. Each is made by a bare
 * instruction, past the C library and the shim.
 *
 *   reach own|gate VICTIM     from an instruction of its own, or from the shim's, which may more
 *   reach own|gate VICTIM SECONDS    and then stays, for others to look in
 *
 * Prints "ATTEMPT: RESULT", -errno as the kernel has it.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREAD_FLAGS                                                                    \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

static const uint8_t g_own[] __attribute__((section(".text"))) = {0x0f, 0x05, 0xc3};
static const void *g_gate = g_own;
static char g_output[1 << 16];

/* The first `syscall; ret` of the shim: it has no other. */
static int find_gate(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    if (strstr(info->dlpi_name, "hotcalls_shim") == NULL)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0)
            continue;
        const uint8_t *text = (const uint8_t *)(info->dlpi_addr + part->p_vaddr);
        const uint8_t *found = memmem(text, part->p_memsz, g_own, sizeof g_own);
        if (found != NULL) {
            g_gate = found;
            return 1;
        }
    }
    return 0;
}

static long bare(long number, long a, long b, long c, long d, long e)
{
    register long fourth __asm__("r10") = d;
    register long fifth __asm__("r8") = e;
    register long sixth __asm__("r9") = 0;
    long result;
    __asm__ volatile("call *%[gate]"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth),
                       "r"(sixth), [gate] "b"(g_gate)
                     : "rcx", "r11", "memory");
    return result;
}

static void attempt(const char *what, long number, long a, long b, long c, long d, long e)
{
    printf("%s: %ld\n", what, bare(number, a, b, c, d, e));
}

#define TRY(what, call, a, b, c, d) \
    attempt(what, SYS_##call, (long)(a), (long)(b), (long)(c), (long)(d), 0)

static void reach(int victim)
{
    static uint64_t g_mask[16] = {1};
    static struct sched_param g_parameter;
    static struct rlimit64 g_limit = {1 << 20, 1 << 20};
    static siginfo_t g_information = {.si_signo = SIGCONT, .si_code = SI_QUEUE};
    void *head = NULL;
    size_t size = 0;
    TRY("get_robust_list", get_robust_list, victim, &head, &size, 0);
    TRY("sched_setaffinity", sched_setaffinity, victim, 8, g_mask, 0);
    TRY("sched_setscheduler", sched_setscheduler, victim, SCHED_BATCH, &g_parameter, 0);
    TRY("sched_setparam", sched_setparam, victim, &g_parameter, 0, 0);
    TRY("setpriority of a process", setpriority, PRIO_PROCESS, victim, 5, 0);
    TRY("setpriority of a group", setpriority, PRIO_PGRP, victim, 5, 0);
    TRY("prlimit64", prlimit64, victim, RLIMIT_CORE, &g_limit, 0);
    TRY("prlimit64, descriptors", prlimit64, victim, RLIMIT_NOFILE, NULL, &g_limit);
    TRY("kill", kill, victim, SIGCONT, 0, 0);
    TRY("kill of a group", kill, -victim, SIGCONT, 0, 0);
    TRY("tkill", tkill, victim, SIGCONT, 0, 0);
    TRY("tgkill", tgkill, victim, victim, SIGCONT, 0);
    TRY("rt_sigqueueinfo", rt_sigqueueinfo, victim, SIGCONT, &g_information, 0);
    TRY("rt_tgsigqueueinfo", rt_tgsigqueueinfo, victim, victim, SIGCONT, &g_information);
    /* Of no memory at all, so that it does nothing where it is let through. */
    TRY("madvise, MADV_HWPOISON", madvise, &g_output, 0, MADV_HWPOISON, 0);
    TRY("madvise, MADV_SOFT_OFFLINE", madvise, &g_output, 0, 101, 0);
}

/* Whatever is not exactly a thread: the flags of one with each bit the other way round, and more. */
static void start_processes(void)
{
    long stack = (long)(g_output + sizeof g_output) & ~15L;
    char what[64];
    for (int bit = 0; bit < 64; bit++) {
        unsigned long flags = THREAD_FLAGS ^ (1UL << bit);
        (void)snprintf(what, sizeof what, "clone, bit %d of a thread's flags", bit);
        attempt(what, SYS_clone, (long)flags, stack, 0, 0, 0);
        (void)snprintf(what, sizeof what, "clone, bit %d alone", bit);
        attempt(what, SYS_clone, (long)(1UL << bit), stack, 0, 0, 0);
    }
    TRY("clone of no flags", clone, SIGCHLD, 0, 0, 0);
    TRY("clone of namespaces", clone, CLONE_NEWUSER | CLONE_NEWNS | SIGCHLD, 0, 0, 0);
}

/* Every option that there is, and will be for a while, with what would open or free the process. */
static void undo(void)
{
    static const unsigned long more[] = {PR_SET_PTRACER, 0x53564d41, 0x4d4f4445};
    char what[64];
    for (unsigned long i = 1; i < 128 + sizeof more / sizeof more[0]; i++) {
        unsigned long option = i < 128 ? i : more[i - 128];
        if (option == PR_SET_NAME || option == PR_GET_NAME)
            continue;
        (void)snprintf(what, sizeof what, "prctl %lu", option);
        TRY(what, prctl, option, option == PR_SET_PTRACER ? -1L : 1L, 0, 0);
        /* SIGCONT when the parent ends, instead of SIGKILL. */
        if (option == PR_SET_PDEATHSIG)
            TRY("PR_SET_PDEATHSIG, another signal", prctl, option, SIGCONT, 0, 0);
    }
}

int main(int count, char **words)
{
    if (count < 3 || (strcmp(words[1], "own") != 0 && strcmp(words[1], "gate") != 0))
        return 2;
    if (strcmp(words[1], "gate") == 0 && dl_iterate_phdr(find_gate, NULL) != 1)
        return 3;
    setvbuf(stdout, g_output, _IOFBF, sizeof g_output / 2);
    reach(atoi(words[2]));
    if (getenv("OUTSIDE") == NULL) {
        start_processes();
        undo();
    }
    printf("tried\n");
    (void)fflush(stdout);
    if (count > 3)
        (void)sleep((unsigned)atoi(words[3]));
    return 0;
}
