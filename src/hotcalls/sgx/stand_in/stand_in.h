/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stand_in.h -- what the two halves of the stand-in runtime agree on.
 *
 * For urts.c, in the host's program, and trts.c, in the enclave's file. There is no boundary
 * between them: this is for building and running what is written for the SDK where the SDK is not,
 * and protects nothing.
 */
#ifndef STAND_IN_H
#define STAND_IN_H

#include <stddef.h>
#include <stdint.h>

#if !defined(__x86_64__)
#error "the stand-ins for the SGX SDK are for x86-64, as SGX is"
#endif

#define STAND_IN_TCS_MAX 32u
#define STAND_IN_AREA ((size_t)256 * 1024)

/* sgx_sign puts this behind the file of an enclave. */
struct stand_in_signature {
    char magic[8];
    uint64_t tcs_count;
};
#define STAND_IN_MAGIC "HCSTANDI"

/* An ecall, and what its ocalls need. */
struct stand_in_call {
    unsigned tcs;
    int nested; /* made by an ocall of this thread context */
    int index;
    const void *ocall_table;
    void *ms;
    uint8_t *area; /* of the thread context, outside: STAND_IN_AREA bytes for sgx_ocalloc */
};

/* The only thing that an enclave's file exports. Gives an sgx_status_t. */
typedef int stand_in_entry(const struct stand_in_call *call);

/*
 * Runs function(argument) on another stack; before, stores where this one goes on.
 */
int stand_in_call_on(void *argument, int (*function)(void *), void *stack, void **here);

#define STAND_IN_CALL_ON                                                               \
    __asm__(".text\n"                                                                  \
            ".hidden stand_in_call_on\n"                                               \
            ".globl stand_in_call_on\n"                                                \
            ".type stand_in_call_on, @function\n"                                      \
            "stand_in_call_on:\n"                                                      \
            "    push %rbp\n"                                                          \
            "    mov %rsp, %rbp\n"                                                     \
            "    mov %rsp, (%rcx)\n"                                                   \
            "    mov %rdx, %rsp\n"                                                     \
            "    call *%rsi\n"                                                         \
            "    leave\n"                                                              \
            "    ret\n"                                                                \
            ".size stand_in_call_on, .-stand_in_call_on\n")

#endif
