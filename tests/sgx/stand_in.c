/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stand_in.c -- what generated code needs of the SDK, for tests: see stand_in.h.
 *
 * A thread context is a thread whose stack lies in the region of the enclave. sgx_ecall hands over
 * to it and waits; while it waits in sgx_ocall, the host's thread may come in again through it.
 */
#define _GNU_SOURCE
#include "stand_in.h"

#include "sgx_lfence.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TCS_MAX 8u
#define STACK_SIZE ((size_t)1024 * 1024)
#define BLOCKS_MAX 4096u
#define FRAMES_MAX 16u

typedef sgx_status_t bridge(void *ms);

extern const struct {
    size_t nr_ecall;
    struct {
        void *ecall_addr;
        uint8_t is_priv;
        uint8_t is_switchless;
    } ecall_table[1024];
} g_ecall_table;

extern const struct {
    size_t nr_ocall;
    uint8_t entry_table[65536];
} g_dyn_entry_table;

enum turn { IDLE, ECALL, OCALL, ECALL_DONE, RETURN, END };

struct tcs {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum turn turn;
    bool used;
    bridge *function;
    void *ms;
    sgx_status_t status;
    unsigned ocall;
    bool unfenced;
    void *blocks[64]; /* of sgx_ocalloc */
    unsigned block_count;
};

struct table {
    size_t nr_ocall;
    void *functions[1024];
};

static struct tcs g_tcs[TCS_MAX];
static unsigned g_tcs_count;
static uint8_t *g_region;
static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uintptr_t start;
    size_t size;
} g_blocks[BLOCKS_MAX];
static bool g_fail_next;
static size_t g_ocalloc_size;
static unsigned g_ocalls, g_ecalls;
static __thread struct tcs *g_inside; /* of a thread inside: its context */
static __thread struct tcs
    *g_calling; /* of a thread of the host: the context it is in an ocall of */
void (*g_stand_in_hostile)(unsigned index, void *ms);

static void die(const char *what)
{
    fprintf(stderr, "stand-in: %s\n", what);
    abort();
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *stand_in_malloc(size_t size)
{
    pthread_mutex_lock(&g_mutex);
    bool fail = g_fail_next;
    g_fail_next = false;
    pthread_mutex_unlock(&g_mutex);
    uint8_t *block = fail ? NULL : malloc(size);
    if (block == NULL)
        return NULL;
    memset(block, 0xA5, size);
    pthread_mutex_lock(&g_mutex);
    unsigned i = 0;
    while (i < BLOCKS_MAX && g_blocks[i].start != 0)
        i++;
    if (i == BLOCKS_MAX)
        die("too many blocks");
    g_blocks[i].start = (uintptr_t)block;
    g_blocks[i].size = size;
    pthread_mutex_unlock(&g_mutex);
    return block;
}

void stand_in_free(void *block)
{
    if (block == NULL)
        return;
    pthread_mutex_lock(&g_mutex);
    unsigned i = 0;
    while (i < BLOCKS_MAX && g_blocks[i].start != (uintptr_t)block)
        i++;
    if (i == BLOCKS_MAX)
        die("freed twice, or never allocated");
    g_blocks[i].start = 0;
    pthread_mutex_unlock(&g_mutex);
    free(block);
}

unsigned stand_in_live(void)
{
    unsigned live = 0;
    pthread_mutex_lock(&g_mutex);
    for (unsigned i = 0; i < BLOCKS_MAX; i++)
        live += g_blocks[i].start != 0;
    pthread_mutex_unlock(&g_mutex);
    return live;
}

void stand_in_fail_next(void)
{
    pthread_mutex_lock(&g_mutex);
    g_fail_next = true;
    pthread_mutex_unlock(&g_mutex);
}

static bool touches(uintptr_t a, size_t a_size, uintptr_t b, size_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

int sgx_is_within_enclave(const void *address, size_t size)
{
    uintptr_t start = (uintptr_t)address;
    uintptr_t region = (uintptr_t)g_region;
    int within = 0;
    if (start + size < start)
        return 0;
    if (start >= region && start + size <= region + TCS_MAX * STACK_SIZE)
        return 1;
    pthread_mutex_lock(&g_mutex);
    for (unsigned i = 0; i < BLOCKS_MAX && !within; i++)
        within = g_blocks[i].start != 0 && start >= g_blocks[i].start &&
                 start + size <= g_blocks[i].start + g_blocks[i].size;
    pthread_mutex_unlock(&g_mutex);
    return within;
}

int sgx_is_outside_enclave(const void *address, size_t size)
{
    uintptr_t start = (uintptr_t)address;
    size_t length = size != 0 ? size : 1u;
    int outside =
        start + size >= start && !touches(start, length, (uintptr_t)g_region, TCS_MAX * STACK_SIZE);
    pthread_mutex_lock(&g_mutex);
    for (unsigned i = 0; i < BLOCKS_MAX && outside; i++)
        outside =
            g_blocks[i].start == 0 || !touches(start, length, g_blocks[i].start, g_blocks[i].size);
    pthread_mutex_unlock(&g_mutex);
    if (outside && g_inside != NULL)
        g_inside->unfenced = true;
    return outside;
}

void sgx_lfence(void)
{
    if (g_inside != NULL)
        g_inside->unfenced = false;
}

bool stand_in_unfenced(void)
{
    return g_inside != NULL && g_inside->unfenced;
}

/* Untrusted memory until sgx_ocfree: of its own, so that an overrun is seen. */
void *sgx_ocalloc(size_t size)
{
    struct tcs *tcs = g_inside;
    if (size > ((size_t)1 << 20))
        return NULL;
    if (tcs->block_count == 64u)
        die("sgx_ocfree is missing");
    void *block = aligned_alloc(16, (size + 15u) & ~(size_t)15u);
    memset(block, 0x5A, size);
    tcs->blocks[tcs->block_count++] = block;
    __atomic_store_n(&g_ocalloc_size, size, __ATOMIC_RELAXED);
    return block;
}

void sgx_ocfree(void)
{
    struct tcs *tcs = g_inside;
    if (tcs->block_count != 0)
        free(tcs->blocks[--tcs->block_count]);
}

size_t stand_in_ocalloc_size(void)
{
    return __atomic_load_n(&g_ocalloc_size, __ATOMIC_RELAXED);
}

unsigned stand_in_ocalls(void)
{
    return __atomic_load_n(&g_ocalls, __ATOMIC_RELAXED);
}

unsigned stand_in_ecalls(void)
{
    return __atomic_load_n(&g_ecalls, __ATOMIC_RELAXED);
}

/* ---- crossing -------------------------------------------------------------------------------- */

static void give(struct tcs *tcs, enum turn turn)
{
    tcs->turn = turn;
    pthread_cond_broadcast(&tcs->changed);
}

static void run(struct tcs *tcs)
{
    bridge *function = tcs->function;
    void *ms = tcs->ms;
    unsigned blocks = tcs->block_count;
    pthread_mutex_unlock(&tcs->mutex);
    sgx_status_t status = function(ms);
    pthread_mutex_lock(&tcs->mutex);
    if (tcs->block_count != blocks)
        die("an ecall left memory of sgx_ocalloc");
    tcs->status = status;
    give(tcs, ECALL_DONE);
}

static void *context_main(void *argument)
{
    struct tcs *tcs = argument;
    g_inside = tcs;
    pthread_mutex_lock(&tcs->mutex);
    while (tcs->turn != END) {
        if (tcs->turn == ECALL)
            run(tcs);
        else
            pthread_cond_wait(&tcs->changed, &tcs->mutex);
    }
    pthread_mutex_unlock(&tcs->mutex);
    return NULL;
}

sgx_status_t sgx_ocall(const unsigned int index, void *ms)
{
    struct tcs *tcs = g_inside;
    (void)__atomic_add_fetch(&g_ocalls, 1u, __ATOMIC_RELAXED);
    pthread_mutex_lock(&tcs->mutex);
    tcs->ocall = index;
    tcs->ms = ms;
    give(tcs, OCALL);
    while (tcs->turn != RETURN) {
        if (tcs->turn == ECALL)
            run(tcs);
        else
            pthread_cond_wait(&tcs->changed, &tcs->mutex);
    }
    sgx_status_t status = tcs->status;
    give(tcs, ECALL);
    pthread_mutex_unlock(&tcs->mutex);
    return status;
}

static sgx_status_t enter(struct tcs *tcs, int index, const struct table *table, void *ms)
{
    struct tcs *outer = g_calling;
    pthread_mutex_lock(&tcs->mutex);
    tcs->function = (bridge *)(uintptr_t)g_ecall_table.ecall_table[index].ecall_addr;
    tcs->ms = ms;
    unsigned ocall = tcs->ocall;
    give(tcs, ECALL);
    while (tcs->turn != ECALL_DONE) {
        if (tcs->turn != OCALL) {
            pthread_cond_wait(&tcs->changed, &tcs->mutex);
            continue;
        }
        unsigned number = tcs->ocall;
        void *out = tcs->ms;
        pthread_mutex_unlock(&tcs->mutex);
        g_calling = tcs;
        sgx_status_t status = SGX_ERROR_INVALID_FUNCTION;
        if (number < table->nr_ocall)
            status = ((bridge *)(uintptr_t)table->functions[number])(out);
        g_calling = outer;
        if (g_stand_in_hostile != NULL)
            g_stand_in_hostile(number, out);
        pthread_mutex_lock(&tcs->mutex);
        tcs->status = status;
        give(tcs, RETURN);
        while (tcs->turn == RETURN)
            pthread_cond_wait(&tcs->changed, &tcs->mutex);
    }
    sgx_status_t status = tcs->status;
    tcs->ocall = ocall;
    tcs->turn = outer == tcs ? OCALL : IDLE;
    pthread_mutex_unlock(&tcs->mutex);
    return status;
}

sgx_status_t sgx_ecall(const sgx_enclave_id_t eid, const int index, const void *ocall_table,
                       void *ms)
{
    if (eid != EID || index < 0 || (size_t)index >= g_ecall_table.nr_ecall)
        return SGX_ERROR_INVALID_FUNCTION;
    (void)__atomic_add_fetch(&g_ecalls, 1u, __ATOMIC_RELAXED);
    if (g_calling != NULL) {
        size_t at = (size_t)g_calling->ocall * g_ecall_table.nr_ecall + (size_t)index;
        if (g_dyn_entry_table.entry_table[at] == 0)
            return SGX_ERROR_ECALL_NOT_ALLOWED;
        return enter(g_calling, index, ocall_table, ms);
    }
    if (g_ecall_table.ecall_table[index].is_priv)
        return SGX_ERROR_ECALL_NOT_ALLOWED;
    struct tcs *tcs = NULL;
    pthread_mutex_lock(&g_mutex);
    for (unsigned i = 0; i < g_tcs_count && tcs == NULL; i++)
        if (!g_tcs[i].used)
            tcs = &g_tcs[i];
    if (tcs != NULL)
        tcs->used = true;
    pthread_mutex_unlock(&g_mutex);
    if (tcs == NULL)
        return SGX_ERROR_OUT_OF_TCS;
    sgx_status_t status = enter(tcs, index, ocall_table, ms);
    pthread_mutex_lock(&g_mutex);
    tcs->used = false;
    pthread_mutex_unlock(&g_mutex);
    return status;
}

void stand_in_start(unsigned tcs_count)
{
    g_tcs_count = tcs_count;
    if (g_region == NULL)
        g_region = mmap(NULL, TCS_MAX * STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g_region == MAP_FAILED)
        die("no memory");
    for (unsigned i = 0; i < tcs_count; i++) {
        struct tcs *tcs = &g_tcs[i];
        pthread_attr_t attributes;
        memset(tcs, 0, sizeof *tcs);
        pthread_mutex_init(&tcs->mutex, NULL);
        pthread_cond_init(&tcs->changed, NULL);
        pthread_attr_init(&attributes);
        pthread_attr_setstack(&attributes, g_region + i * STACK_SIZE, STACK_SIZE);
        if (pthread_create(&tcs->thread, &attributes, context_main, tcs) != 0)
            die("no thread");
        pthread_attr_destroy(&attributes);
    }
}

void stand_in_stop(void)
{
    for (unsigned i = 0; i < g_tcs_count; i++) {
        pthread_mutex_lock(&g_tcs[i].mutex);
        give(&g_tcs[i], END);
        pthread_mutex_unlock(&g_tcs[i].mutex);
        pthread_join(g_tcs[i].thread, NULL);
    }
    g_tcs_count = 0;
}
