/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trts.c -- stand-in for the trusted runtime of the SDK (libsgx_trts, libsgx_tstdc).
 *
 * Linked into an enclave's file. "Inside" is what this file maps: its code, its data, the stacks of
 * its thread contexts and its heap. An ecall runs on the stack of its thread context, an ocall on
 * the host's, with no more between them than a change of the stack pointer: an ordinary call costs
 * far less here than on a processor with SGX.
 */
#include "stand_in.h"

#include "sgx_edger8r.h"
#include "sgx_trts.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

STAND_IN_CALL_ON;

#define STACK_SIZE ((size_t)256 * 1024)
#define HEAP_SIZE ((size_t)16 << 20)

typedef sgx_status_t bridge(void *ms);

/* Of the generated code, whose own types tell the numbers. */
extern const struct {
    size_t nr_ecall;
    struct {
        void *address;
        uint8_t is_private;
        uint8_t is_switchless;
    } table[1024];
} g_ecall_table;
extern const struct {
    size_t nr_ocall;
    uint8_t entry_table[65536];
} g_dyn_entry_table;

struct table {
    size_t nr_ocall;
    bridge *functions[1024];
};

struct frame {
    bridge *function;
    void *ms;
};

/* A thread context; used by the one thread that is inside through it. */
struct context {
    const struct stand_in_call *call;
    void *enclave_stack; /* where the next ecall, or the return of an ocall, goes on */
    void *host_stack;    /* where an ocall runs */
    size_t base;         /* of the area outside: what belongs to outer ecalls */
    size_t allocated;    /* of it, altogether */
    unsigned ocall;
    int error;
};

static _Alignas(4096) uint8_t g_stacks[STAND_IN_TCS_MAX][STACK_SIZE];
static _Alignas(64) uint8_t g_heap[HEAP_SIZE];
static struct context g_contexts[STAND_IN_TCS_MAX];

/* The linker's: where the file lies in memory. */
extern const uint8_t __ehdr_start[] __attribute__((visibility("hidden")));
extern const uint8_t _end[] __attribute__((visibility("hidden")));

int sgx_is_within_enclave(const void *address, size_t size)
{
    uintptr_t start = (uintptr_t)address, low = (uintptr_t)__ehdr_start, high = (uintptr_t)_end;
    return start >= low && start <= high && size <= high - start;
}

int sgx_is_outside_enclave(const void *address, size_t size)
{
    uintptr_t start = (uintptr_t)address, low = (uintptr_t)__ehdr_start, high = (uintptr_t)_end;
    uintptr_t last = start + (size != 0 ? size - 1u : 0);
    return last >= start && (last < low || start >= high);
}

/* ---- crossing -------------------------------------------------------------------------------- */

/* The context whose stack this thread is on. */
static struct context *here(void)
{
    uintptr_t at = (uintptr_t)__builtin_frame_address(0) - (uintptr_t)g_stacks;
    if (at >= sizeof g_stacks)
        __builtin_trap();
    return &g_contexts[at / STACK_SIZE];
}

static int run(void *argument)
{
    const struct frame *frame = argument;
    return (int)frame->function(frame->ms);
}

__attribute__((visibility("default"))) int enclave_entry(const struct stand_in_call *call)
{
    struct context *context = &g_contexts[call->tcs];
    if (call->index < 0 || (size_t)call->index >= g_ecall_table.nr_ecall)
        return SGX_ERROR_INVALID_FUNCTION;
    size_t index = (size_t)call->index;
    if (call->nested
            ? !g_dyn_entry_table.entry_table[context->ocall * g_ecall_table.nr_ecall + index]
            : g_ecall_table.table[index].is_private)
        return SGX_ERROR_ECALL_NOT_ALLOWED;
    struct context before = *context;
    struct frame frame = {(bridge *)(uintptr_t)g_ecall_table.table[index].address, call->ms};
    if (!call->nested) {
        context->enclave_stack = g_stacks[call->tcs] + STACK_SIZE;
        context->allocated = 0;
    }
    context->base = context->allocated;
    context->call = call;
    int status = stand_in_call_on(&frame, run, context->enclave_stack, &context->host_stack);
    int error = context->error;
    *context = before;
    context->error = error;
    return status;
}

sgx_status_t sgx_ocall(const unsigned int index, void *ms)
{
    struct context *context = here();
    const struct table *table = context->call->ocall_table;
    if (table == NULL || index >= table->nr_ocall)
        return SGX_ERROR_INVALID_FUNCTION;
    struct context before = *context;
    struct frame frame = {table->functions[index], ms};
    context->ocall = index;
    /* Below what is in use, on 16 bytes. */
    void *stack = (void *)((uintptr_t)context->host_stack & ~(uintptr_t)15u);
    int status = stand_in_call_on(&frame, run, stack, &context->enclave_stack);
    context->enclave_stack = before.enclave_stack;
    context->ocall = before.ocall;
    return (sgx_status_t)status;
}

void *sgx_ocalloc(size_t size)
{
    struct context *context = here();
    size_t taken = (size + 15u) & ~(size_t)15u;
    if (taken < size || taken > STAND_IN_AREA - context->allocated)
        return NULL;
    context->allocated += taken;
    return context->call->area + context->allocated - taken;
}

/* Everything of this ecall at once, as the SDK's does. */
void sgx_ocfree(void)
{
    struct context *context = here();
    context->allocated = context->base;
}

/* ---- a C library, as much as generated code and the examples need ------------------------------ */

int *__errno(void)
{
    return &here()->error;
}

/* Small ones in a loop: the string instructions take some 30 cycles before they begin. */
void *memcpy(void *to, const void *from, size_t size)
{
    unsigned char *bytes = to;
    const unsigned char *source = from;
    if (size > 128u) {
        __asm__ volatile("rep movsb" : "+D"(bytes), "+S"(source), "+c"(size) : : "memory");
        return to;
    }
    for (; size >= 8u; size -= 8u, bytes += 8, source += 8)
        __builtin_memcpy(bytes, source, 8);
    for (; size != 0; size--)
        *bytes++ = *source++;
    return to;
}

void *memset(void *to, int value, size_t size)
{
    unsigned char *bytes = to;
    uint64_t word = UINT64_C(0x0101010101010101) * (unsigned char)value;
    if (size > 128u) {
        __asm__ volatile("rep stosb" : "+D"(bytes), "+c"(size) : "a"(value) : "memory");
        return to;
    }
    for (; size >= 8u; size -= 8u, bytes += 8)
        __builtin_memcpy(bytes, &word, 8);
    for (; size != 0; size--)
        *bytes++ = (unsigned char)value;
    return to;
}

size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

int strcmp(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

void *memchr(const void *from, int value, size_t size)
{
    const unsigned char *bytes = from;
    for (; size != 0; size--, bytes++)
        if (*bytes == (unsigned char)value)
            return (void *)(uintptr_t)bytes;
    return NULL;
}

size_t wcslen(const wchar_t *text)
{
    size_t length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

int toupper(int c)
{
    return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c;
}

_Noreturn void abort(void)
{
    __builtin_trap();
}

_Noreturn void __stack_chk_fail(void)
{
    __builtin_trap();
}

/* A free block of 2^n bytes; its first word, which is not the caller's, says n while it is used. */
struct block {
    union {
        struct block *next;
        size_t order;
    } u;
    _Alignas(16) uint8_t data[];
};

static struct block *g_free[48];
static size_t g_used;
static bool g_locked;

/* SYNC: acquire and release pair with each other, g_locked; publish the heap. */
static void lock(void)
{
    while (__atomic_test_and_set(&g_locked, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
}

static void unlock(void)
{
    __atomic_clear(&g_locked, __ATOMIC_RELEASE);
}

void *malloc(size_t size)
{
    size_t order = 5;
    if (size > HEAP_SIZE - sizeof(struct block))
        return NULL;
    while (((size_t)1 << order) < size + sizeof(struct block))
        order++;
    lock();
    struct block *block = g_free[order];
    if (block != NULL) {
        g_free[order] = block->u.next;
    } else if (((size_t)1 << order) <= HEAP_SIZE - g_used) {
        block = (struct block *)(void *)&g_heap[g_used];
        g_used += (size_t)1 << order;
    }
    unlock();
    if (block == NULL)
        return NULL;
    block->u.order = order;
    return block->data;
}

void free(void *pointer)
{
    if (pointer == NULL)
        return;
    struct block *block =
        (struct block *)(void *)((uint8_t *)pointer - offsetof(struct block, data));
    size_t order = block->u.order;
    lock();
    block->u.next = g_free[order];
    g_free[order] = block;
    unlock();
}
