/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_arguments.c -- H takes apart and makes the system calls that a hostile program posts.
 *
 * Input: whether there are rules of paths, then calls: a row, its scalars, its buffers as they
 * ought to be, and then what of that is made wrong. kernel.c stands below and looks.
 *
 * Promised: every address that H reads, writes or hands to the kernel is in the window or H's own
 * copy, as large as it was checked to be; every descriptor is the program's; nothing that H opens
 * for a moment stays open; no option of a socket makes the kernel follow an address in H.
 */
#include "kernel_model.h"

#include "run_serve.h"

#include <sanitizer/asan_interface.h>

#define WINDOW 8192u
#define TOP 64u

pid_t g_run_program = 4711;
uint32_t g_run_top = TOP;
uint64_t g_run_limit[2] = {TOP, TOP};
struct hc_end *g_run_end;
struct run_shared *g_u_run_shared;
struct input g_input;

static struct hc_end g_end;
static struct hc_slot g_slot;
static struct hc_lane_in g_lane;
static struct run_shared g_shared;
static struct hc_cell g_cell;
static uint8_t *g_u_window;

void endpoint_sleep(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    (void)context;
    (void)u_word;
    (void)expected;
    (void)ns;
}

void endpoint_wake(void *context, uint32_t *u_word, uint32_t count)
{
    (void)context;
    (void)u_word;
    (void)count;
}

void run_broken(const char *what)
{
    (void)what;
}

void run_fail(int status, const char *format, ...)
{
    (void)status;
    fprintf(stderr, "run_fail: %s\n", format);
    abort();
}

/* ---- a call ------------------------------------------------------------------------------------ */

/* Often what a program would pass, sometimes anything. */
static uint64_t scalar(const struct row_parameter *p)
{
    uint8_t how = input_u8(&g_input);
    if (p->kind != ROW_SCALAR)
        return how < 200u ? how % 12u : how < 220u ? (uint64_t)AT_FDCWD : input_u32(&g_input);
    return how < 128u ? how : how < 192u ? input_u16(&g_input) : input_u64(&g_input);
}

struct message {
    uint32_t size;
    uint64_t words[1u + ROW_SCALARS_MAX];
};

static uint8_t *room(struct message *message, size_t size)
{
    size_t at = message->size;
    if (size > WINDOW - at)
        return NULL;
    message->size = (uint32_t)hc_message_add(at, size);
    return g_u_window + at;
}

static void put_buffer(struct message *message, const struct row_parameter *p, uint32_t index,
                       const uint64_t *values)
{
    uint8_t *at;
    if (p->kind == ROW_STRING) {
        static const char *const g_starts[] = {
            "", "/proc/self/", "/proc/self/fd/4", "/tmp/", "/proc/4711", "../", "/", "/proc/"};
        uint8_t how = input_u8(&g_input);
        const char *start = g_starts[how & 7u];
        uint64_t rest = input_u8(&g_input), size = strlen(start) + rest + 1u;
        at = room(message, ROW_STRING_HEADER + size);
        if (at == NULL)
            return;
        memcpy(at, &size, sizeof size);
        memcpy(at + ROW_STRING_HEADER, start, strlen(start));
        input_copy(&g_input, at + ROW_STRING_HEADER + strlen(start), rest);
        for (uint64_t i = 0; i + 1u < size && (how & 64u) == 0; i++)
            at[ROW_STRING_HEADER + i] |= at[ROW_STRING_HEADER + i] == 0;
        at[ROW_STRING_HEADER + size - 1u] = 0;
    } else {
        size_t size = p->size_by >= 0 ? values[p->size_by] : p->size;
        at = room(message, size);
        if (at == NULL)
            return;
        if (p->kind != ROW_OUT)
            input_copy(&g_input, at, size < 256u ? size : 256u);
    }
    message->words[0] |= UINT64_C(1) << index;
}

static void compose(const struct row *row)
{
    struct message message = {0, {0}};
    uint64_t values[ROW_PARAMETERS_MAX] = {0};
    uint32_t scalars = 0;
    uint8_t absent = input_u8(&g_input);
    size_t ms_size = run_ms_size(row->scalar_count);
    memset(g_u_window, 0, 256);
    if (ms_size > HC_INLINE_SIZE)
        (void)room(&message, ms_size);
    message.words[0] = (absent & 128u) != 0 ? RUN_NONBLOCKING : 0;
    for (uint32_t i = 0; i < row->parameter_count; i++)
        if (row->parameters[i].kind <= ROW_DIRFD)
            message.words[1u + scalars++] = values[i] = scalar(&row->parameters[i]);
    for (uint32_t i = 0; i < row->parameter_count; i++)
        if (row->parameters[i].kind > ROW_DIRFD && (i >= 7u || ((absent >> i) & 1u) == 0))
            put_buffer(&message, &row->parameters[i], i, values);
    if (ms_size > HC_INLINE_SIZE)
        memcpy(g_u_window, message.words, ms_size);
    else
        memcpy(g_cell.payload, message.words, ms_size);
    g_cell.offset = 0;
    g_cell.size = message.size;
}

/* What of the message is not as the row says. */
static void spoil(void)
{
    for (uint8_t count = input_u8(&g_input) % 4u; count != 0; count--) {
        uint8_t what = input_u8(&g_input);
        if (what < 40u)
            g_cell.payload[what % HC_INLINE_SIZE] = input_u8(&g_input);
        else if (what < 140u)
            g_u_window[input_u16(&g_input) % WINDOW] = input_u8(&g_input);
        else if (what < 160u)
            g_cell.size = input_u32(&g_input);
        else if (what < 180u)
            g_cell.offset = input_u32(&g_input);
        else if (what < 200u)
            g_cell.id = input_u32(&g_input);
        else
            g_cell.size = input_u16(&g_input);
    }
}

static void one_call(uint64_t n)
{
    struct run_job job;
    uint8_t how = input_u8(&g_input);
    memset(&job, 0, sizeof job);
    memset(&g_cell, 0, sizeof g_cell);
    uint32_t row = g_cell.id = input_u8(&g_input) % ROW_COUNT;
    compose(run_row(row));
    spoil();
    /* Another row's message is taken apart as this one's, now and then. */
    row = g_cell.id < ROW_COUNT ? g_cell.id : row;
    /* What lies between the message and the end of the window is another call's. */
    size_t used = g_cell.offset == 0 && g_cell.size < WINDOW ? (g_cell.size + 7u) & ~7u : WINDOW;
    __asan_poison_memory_region(g_u_window + used, WINDOW - used);
    g_shared.interrupt[0] = (how & 1u) != 0 ? run_interrupt_of(n) : 0;
    g_cell.word = hc_word(n, HC_WORD_TAKEN);
    job.taking = (struct hc_taking){.n = n, .u_cell = &g_cell};
    if (!run_job_start(&job, 0, &g_lane, (how & 2u) != 0)) {
        /* Tried; now wait for it, by this thread or, as it were, another. */
        if ((how & 4u) == 0 && !job.must_block && run_job_try(&job))
            goto done;
        g_shared.interrupt[0] = run_interrupt_of(n);
        /* Between the tries the message is another thread's of the program to rewrite. */
        __asan_unpoison_memory_region(g_u_window, WINDOW);
        spoil();
        __asan_poison_memory_region(g_u_window + used, WINDOW - used);
        run_job_continue(&job);
    }
done:
    __asan_unpoison_memory_region(g_u_window, WINDOW);
    PROMISE(g_cell.word == hc_word(n, HC_WORD_DONE));
    run_state_check();
    for (int fd = 0; fd < KERNEL_FDS; fd++)
        if (g_kernel_open[fd] && !run_fd_owned(fd)) {
            fprintf(stderr, "%s leaves descriptor %d open\n", run_row(row)->name, fd);
            abort();
        }
}

/* No number stays held: what the program has is closed when it closes it. */
static void close_all(void)
{
    for (int fd = 0; fd < KERNEL_FDS; fd++) {
        struct run_call call = {.id = ROW_close, .row = run_row(ROW_close), .a = {(uint64_t)fd}};
        (void)run_fd_hand(&call);
        PROMISE(!g_kernel_open[fd]);
    }
}

static void set_up(void)
{
    g_u_window = aligned_alloc(64, WINDOW);
    PROMISE(g_u_window != NULL);
    g_end.slots = &g_slot;
    g_end.geometry.slot_count = 1;
    g_slot.port.slot = &g_slot;
    g_slot.port.end = &g_end;
    g_lane.u_window = g_u_window;
    g_lane.window_size = WINDOW;
    g_run_end = &g_end;
    g_u_run_shared = &g_shared;
    run_path_init("/usr/bin/program");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_input = (struct input){NULL, 0};
    if (g_u_window == NULL)
        set_up();
    for (int fd = 0; fd < KERNEL_FDS; fd++) {
        run_fd_mark(fd, RUN_FD_NONE);
        g_kernel_open[fd] = false;
    }
    for (int fd = 0; fd < 6; fd++) {
        run_fd_give(fd);
        g_kernel_open[fd] = true;
    }
    g_run_limit[0] = g_run_limit[1] = TOP;
    g_input = (struct input){data, size};
    uint8_t rules = input_u8(&g_input);
    run_state_reset((rules & RULES_LEARN) | ((rules >> 1) % 8u == 1u ? RULES_TOTAL : 0u) |
                    ((rules >> 1) % 8u == 2u ? RULES_ASK : 0u));
    for (uint64_t n = 1; n <= 4u && g_input.left != 0; n++)
        one_call(n);
    close_all();
    return 0;
}
