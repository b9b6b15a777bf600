/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_kvm.c -- leaving a virtual machine and entering it again, through /dev/kvm: once to the
 * kernel and back (the guest times CPUID, which always exits), once to user space and back (the
 * guest writes to an I/O port, as a hypercall that a user-space monitor serves).
 *
 * For bench_block.c; host side; trusts the kernel and the guest code below. Where the machine is
 * a guest itself, every exit goes through its hypervisor too, and the report says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

enum exit_kind { EXIT_KERNEL, EXIT_USER };

#if defined(__x86_64__)

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define GUEST_SIZE (64u << 10)
#define GUEST_CODE 0x1000u
#define GUEST_BUFFER 0x2000u
#define GUEST_COUNT ((GUEST_SIZE - GUEST_BUFFER) / 4u)
#define GUEST_PORT 0x10u

/*
 * 16-bit real mode: what a virtual processor starts in. `port` writes a byte that counts up;
 * `cpuid` stores at [di] what CPUID took, bp times, and halts. The time stamps are fenced like
 * bench_start()'s; RDTSC itself does not exit.
 */
__asm__(".pushsection .rodata\n"
        ".globl bench_guest_port, bench_guest_cpuid, bench_guest_end\n"
        ".hidden bench_guest_port, bench_guest_cpuid, bench_guest_end\n"
        ".code16\n"
        "bench_guest_port:\n"
        "1:  incb %al\n"
        "    outb %al, $0x10\n"
        "    jmp 1b\n"
        "bench_guest_cpuid:\n"
        "2:  lfence\n"
        "    rdtsc\n"
        "    lfence\n"
        "    movl %eax, %esi\n"
        "    xorl %eax, %eax\n"
        "    cpuid\n"
        "    lfence\n"
        "    rdtsc\n"
        "    lfence\n"
        "    subl %esi, %eax\n"
        "    movl %eax, (%di)\n"
        "    addw $4, %di\n"
        "    decw %bp\n"
        "    jnz 2b\n"
        "    hlt\n"
        "bench_guest_end:\n"
        ".code64\n"
        ".popsection\n");
extern const uint8_t bench_guest_port[], bench_guest_cpuid[], bench_guest_end[];

static struct {
    bool tried;
    int vcpu;
    uint8_t *memory;
    struct kvm_run *run;
    char reason[128];
} g_guest = {.vcpu = -1};

static int failed(const char *what)
{
    snprintf(g_guest.reason, sizeof g_guest.reason, "%s: %s", what, strerror(errno));
    return -1;
}

static int make_guest(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return failed("/dev/kvm");
    int vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
    if (vm < 0)
        return failed("KVM_CREATE_VM");
    g_guest.memory = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (g_guest.memory == MAP_FAILED)
        return failed("mmap");
    struct kvm_userspace_memory_region region = {
        .memory_size = GUEST_SIZE,
        .userspace_addr = (uint64_t)(uintptr_t)g_guest.memory,
    };
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) != 0)
        return failed("KVM_SET_USER_MEMORY_REGION");
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
    if (vcpu < 0)
        return failed("KVM_CREATE_VCPU");
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0UL);
    if (size < (int)sizeof *g_guest.run)
        return failed("KVM_GET_VCPU_MMAP_SIZE");
    g_guest.run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (g_guest.run == MAP_FAILED)
        return failed("mmap of the virtual processor");
    struct kvm_sregs sregs;
    if (ioctl(vcpu, KVM_GET_SREGS, &sregs) != 0)
        return failed("KVM_GET_SREGS");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) != 0)
        return failed("KVM_SET_SREGS");
    memcpy(g_guest.memory + GUEST_CODE, bench_guest_port,
           (size_t)(bench_guest_end - bench_guest_port));
    g_guest.vcpu = vcpu;
    return 0;
}

static int set_registers(uint64_t rip, uint64_t rdi, uint64_t rbp)
{
    struct kvm_regs registers = {.rip = rip, .rdi = rdi, .rbp = rbp, .rflags = 2};
    return ioctl(g_guest.vcpu, KVM_SET_REGS, &registers);
}

static int prepare(struct bench *b, const struct bench_row *row)
{
    if (!g_guest.tried) {
        g_guest.tried = true;
        make_guest();
    }
    if (g_guest.vcpu < 0)
        return bench_skip(b, "%s", g_guest.reason);
    if (row->variant == EXIT_USER && set_registers(GUEST_CODE, 0, 0) != 0)
        return bench_skip(b, "KVM_SET_REGS: %s", strerror(errno));
    return 0;
}

/* The guest's own differences; what it did not store, or did not reach, stays 0 and is wrong. */
static void run_kernel(struct bench *b, uint32_t *samples, size_t count)
{
    const uint64_t code = GUEST_CODE + (uint64_t)(bench_guest_cpuid - bench_guest_port);
    while (count) {
        size_t part = count < GUEST_COUNT ? count : GUEST_COUNT;
        memset(g_guest.memory + GUEST_BUFFER, 0, part * sizeof *samples);
        int status = set_registers(code, GUEST_BUFFER, part);
        if (status == 0)
            status = ioctl(g_guest.vcpu, KVM_RUN, 0UL);
        bench_check(b, status == 0 && g_guest.run->exit_reason == KVM_EXIT_HLT, true);
        memcpy(samples, g_guest.memory + GUEST_BUFFER, part * sizeof *samples);
        for (size_t i = 0; i < part; i++)
            bench_check(b, samples[i] != 0, true);
        samples += part;
        count -= part;
    }
}

static void run_user(struct bench *b, uint32_t *samples, size_t count)
{
    /* The guest's counter goes on from the last block's registers, or from 0. */
    static uint8_t s_expected;
    struct kvm_regs registers;
    if (ioctl(g_guest.vcpu, KVM_GET_REGS, &registers) == 0)
        s_expected = (uint8_t)registers.rax;
    for (size_t i = 0; i < count; i++) {
        uint64_t begin = bench_start();
        int status = ioctl(g_guest.vcpu, KVM_RUN, 0UL);
        uint64_t end = bench_stop();
        const struct kvm_run *run = g_guest.run;
        const uint8_t *data = (const uint8_t *)run + run->io.data_offset;
        samples[i] = bench_saturate(end - begin);
        s_expected++;
        bench_check(b, status == 0 && run->exit_reason == KVM_EXIT_IO, true);
        bench_check(b, run->io.port, GUEST_PORT);
        bench_check(b, *data, s_expected);
    }
}

static void run(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    if (row->variant == EXIT_KERNEL)
        run_kernel(b, samples, count);
    else
        run_user(b, samples, count);
}

#else

static int prepare(struct bench *b, const struct bench_row *row)
{
    (void)row;
    return bench_skip(b, "the guest of this row is x86 code");
}

static void run(struct bench *b, const struct bench_row *row, uint32_t *samples, size_t count)
{
    (void)b;
    (void)row;
    (void)samples;
    (void)count;
}

#endif

static const struct bench_row g_rows[] = {
    {
        .name = "kvm_exit",
        .group = "basic",
        .title = "KVM exit to the kernel and back",
        .note = "CPUID in a guest, timed by the guest.",
        .batch = 1,
        .variant = EXIT_KERNEL,
        .prepare = prepare,
        .run = run,
    },
    {
        .name = "kvm_exit_user",
        .group = "basic",
        .title = "KVM exit to user space and back",
        .note = "KVM_RUN; the guest writes to an I/O port.",
        .batch = 1,
        .variant = EXIT_USER,
        .prepare = prepare,
        .run = run,
    },
};

const struct bench_table g_bench_rows_kvm = {g_rows, sizeof g_rows / sizeof g_rows[0]};
