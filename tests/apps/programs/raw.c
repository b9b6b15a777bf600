/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes system calls by the bare instruction, past the C library and whatever was loaded in its
 * place. Arguments: the numbers; the arguments of each call are all the address of some zeros.
 * Prints "NUMBER RESULT" for each, -errno as the kernel has it. A negative number is a call of i386,
 * by int 0x80.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static long bare(long number, long argument)
{
    register long fourth __asm__("r10") = argument;
    register long fifth __asm__("r8") = argument;
    register long sixth __asm__("r9") = argument;
    long result = -number;
    if (number < 0) {
        __asm__ volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0), "d"(0) : "memory");
        return result;
    }
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(argument), "S"(argument), "d"(argument), "r"(fourth),
                       "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    return result;
}

int main(int argc, char **argv)
{
    static char g_zeros[4096];
    static long g_results[2048];
    static char g_output[1 << 16];
    setvbuf(stdout, g_output, _IOFBF, sizeof g_output);
    for (int i = 1; i < argc && i < 2048; i++)
        g_results[i] = bare(atol(argv[i]), (long)(uintptr_t)g_zeros);
    for (int i = 1; i < argc && i < 2048; i++)
        printf("%s %ld\n", argv[i], g_results[i]);
    return 0;
}
