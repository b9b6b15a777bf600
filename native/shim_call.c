/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_call.c -- a row of the table as a call over the channel.
 *
 * Enclave side. Marshals what syscalls.edl describes, waits, and has what came back checked
 * (shim_check.c): a result is an errno, or a number within what was asked for. Nothing else of the
 * answer is believed, and no pointer is in it.
 */
#include "shim.h"

#include "syscall_table.h"

#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct hc_end g_shim_end;
struct run_shared *g_u_shared;

static struct hc_slot g_slots[HC_SLOTS_MAX];
static uint8_t g_modes[ROW_COUNT];
static struct hc_function g_functions[ROW_COUNT];

/* ---- the channel ------------------------------------------------------------------------------ */

static void sleep_on(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    int64_t timeout[2] = {(int64_t)(ns / 1000000000u), (int64_t)(ns % 1000000000u)};
    (void)context;
    (void)SHIM_GATE(SYS_futex, u_word, FUTEX_WAIT, expected, ns == 0 ? NULL : timeout);
}

static void wake(void *context, uint32_t *u_word, uint32_t count)
{
    (void)context;
    (void)SHIM_GATE(SYS_futex, u_word, FUTEX_WAKE, count);
}

static void yield(void *context)
{
    (void)context;
    (void)SHIM_GATE(SYS_sched_yield, 0);
}

/* This process ends with the host (PR_SET_PDEATHSIG). */
static bool peer_lost(void *context)
{
    (void)context;
    return false;
}

static void tell_core(void *context, struct hc_port *port)
{
    uint32_t cpu = 0;
    (void)context;
    if (SHIM_GATE(SYS_getcpu, &cpu, NULL, NULL) == 0)
        hc_untrusted_store_u32(port->u_cpu, cpu + 1u);
}

/*
 * The caller's bounds. How long to spin was measured: 5,000 cycles lose 60 % of a server's
 * throughput; 100,000 are enough for memcached, but not for a flood of pings: a third of its waits
 * ended in a sleep and a wake across cores. The slice is long, as nobody has to look whether the
 * host lives.
 */

/*
 * A leader that polls looks at the lanes every microsecond. One that has not for so long has lost
 * its core, on few processors to the program's own clients, and may not get it back for
 * milliseconds. Those that it keeps waiting are helped by their companions meanwhile.
 */
#define AWAY_US 3u
/* In a call it cannot look. For so long that is taken for the call's own time. */
#define BUSY_US 10u
/*
 * Whoever waits for an event has nothing better to do than to wait for the leader: a client of one
 * connection lets it have the core again after its next request, and a companion would cost more.
 * One of fifty keeps it for hundreds of microseconds. So how long to wait is learnt: longer when the
 * leader was back at once after its companion had been rung, shorter when it stayed away. The most
 * is less than the spinning, at the end of which the leader, if it is there, does the same.
 */
#define LEFT_LEAST_US 10u
#define LEFT_FIRST_US 25u
#define LEFT_MOST_US 60u
#define BACK_SOON_US 25u
#define AWAY_LONG_US 60u

static uint64_t g_left; /* cycles; relaxed: a guess */

/* How long ago the leader last looked, in cycles; what it is at is told by `busy`. */
static int64_t leader_age(bool *busy)
{
    uint64_t beat = hc_untrusted_u64(&g_u_shared->beat);
    *busy = (beat & 1u) != 0;
    return (int64_t)(hc_tsc() - (beat >> 1));
}

static bool leader_away(void)
{
    bool busy;
    int64_t age = leader_age(&busy);
    /* Asleep is another matter: hc_must_switch. */
    if (__atomic_load_n(&g_shim_end.u_peer_board->awake, __ATOMIC_RELAXED) == 0)
        return false;
    return age > (int64_t)((busy ? BUSY_US : AWAY_US) * g_shim_end.bounds.cycles_per_us);
}

/* For hc_wait_slow. */
static enum hc_presence presence(void *context, bool taken)
{
    bool busy;
    int64_t age = leader_age(&busy);
    (void)context;
    /* What the leader is running it alone can end. */
    if (busy)
        return HC_PRESENT;
    uint64_t away = AWAY_US * g_shim_end.bounds.cycles_per_us;
    if (age < (int64_t)(taken ? __atomic_load_n(&g_left, __ATOMIC_RELAXED) : away))
        return taken ? HC_AWAITS : HC_PRESENT;
    struct shim_thread *thread = shim_thread();
    thread->deserted = true;
    thread->left_tsc = taken ? hc_tsc() : 0;
    return HC_DESERTED;
}

/* A caller that found the leader away makes its next call: hot again? */
static bool still_deserted(struct shim_thread *thread)
{
    uint64_t us = g_shim_end.bounds.cycles_per_us;
    uint64_t left = __atomic_load_n(&g_left, __ATOMIC_RELAXED);
    uint64_t since = thread->left_tsc != 0 ? hc_tsc() - thread->left_tsc : 0;
    bool away = leader_away();
    if (since != 0 && !away && since < BACK_SOON_US * us && left < LEFT_MOST_US * us)
        __atomic_store_n(&g_left, left + left / 8u, __ATOMIC_RELAXED);
    else if (since > AWAY_LONG_US * us && away && left > LEFT_LEAST_US * us)
        __atomic_store_n(&g_left, left - left / 8u, __ATOMIC_RELAXED);
    if (!away || since > AWAY_LONG_US * us)
        thread->left_tsc = 0;
    return away;
}

static void set_bounds(struct hc_bounds *bounds, uint64_t us, bool spinning)
{
    bounds->take = 10u * us;
    bounds->avoid = 0; /* leader_away tells */
    g_left = LEFT_FIRST_US * us;
    bounds->spin = 200000u;
    bounds->yield = 20u * us;
    bounds->yield_crowded = us;
    bounds->idle = bounds->steal = 0;
    bounds->burst = UINT32_MAX; /* note_sleeping wakes it */
    bounds->head_start = 1;
    bounds->nap = (uint32_t)us;
    bounds->cycles_per_us = us;
    bounds->slice_ns = 1000000000u;
    bounds->wait_kind = hc_wait_kind_of_cpu();
    bounds->spinning = spinning;
}

bool shim_channel_init(uint8_t *u_base, uint64_t size)
{
    struct hc_geometry geometry;
    struct hc_end *end = &g_shim_end;
    struct hc_header *u_header = (struct hc_header *)(void *)u_base;
    hc_copy_in(&geometry, u_base, sizeof geometry);
    if (hc_geometry_check(&geometry, size) != HC_OK || geometry.host_slots != 0 ||
        geometry.shared_size < sizeof(struct run_shared) || geometry.window_size != RUN_WINDOW)
        return false;
    g_u_shared = (struct run_shared *)(void *)(u_base + geometry.shared_at);
    uint64_t us = hc_untrusted_u64(&g_u_shared->cycles_per_us);
    uint32_t mode = hc_untrusted_u32(&g_u_shared->mode);
    if (hc_untrusted_u64(&g_u_shared->magic) != RUN_MAGIC || us == 0 || us > 100000u ||
        (mode != HC_MODE_HOT && mode != HC_MODE_SWITCH))
        return false;
    g_shim_limit = hc_untrusted_u32(&g_u_shared->limit_soft);
    if (g_shim_limit > RUN_DESCRIPTORS_MAX)
        return false;
    for (uint32_t i = 0; i < ROW_COUNT; i++) {
        g_modes[i] = (uint8_t)mode;
        g_functions[i].name = g_rows[i].name;
    }
    end->u_base = u_base;
    end->geometry = geometry;
    end->side = HC_ENCLAVE;
    end->outgoing = g_functions;
    end->outgoing_count = ROW_COUNT;
    end->modes = g_modes;
    end->u_board = &u_header->board[HC_ENCLAVE];
    end->u_peer_board = &u_header->board[HC_HOST];
    end->slots = g_slots;
    end->os.sleep = sleep_on;
    end->os.wake = wake;
    end->os.yield = yield;
    end->os.peer_lost = peer_lost;
    end->os.tell_core = tell_core;
    end->os.presence = presence;
    set_bounds(&end->bounds, us, hc_untrusted_u32(&g_u_shared->processors) > 1u);
    return true;
}

/* ---- copying what may not be there ------------------------------------------------------------- */

/*
 * A fault between the labels goes on at shim_copy_fault (shim_signal.c asks shim_copy_fixup). REP
 * MOVSB: one instruction, which every processor of the last ten years does a line at a time.
 */
__asm__(".text\n"
        ".globl shim_copy\n.hidden shim_copy\n.type shim_copy, @function\n"
        "shim_copy:\n"
        "    endbr64\n"
        "    mov %rdx, %rcx\n"
        "shim_copy_begin:\n"
        "    rep movsb\n"
        "shim_copy_end:\n"
        "    mov $1, %eax\n"
        "    ret\n"
        "shim_copy_fault:\n"
        "    xor %eax, %eax\n"
        "    ret\n"
        ".size shim_copy, . - shim_copy\n"
        ".globl shim_string_size\n.hidden shim_string_size\n"
        ".type shim_string_size, @function\n"
        "shim_string_size:\n"
        "    endbr64\n"
        "    xor %eax, %eax\n"
        "1:  cmp %rsi, %rax\n"
        "    jae 3f\n"
        "shim_string_begin:\n"
        "    cmpb $0, (%rdi,%rax)\n"
        "shim_string_end:\n"
        "    je 2f\n"
        "    inc %rax\n"
        "    jmp 1b\n"
        "2:  inc %rax\n"
        "    ret\n"
        "3:  xor %eax, %eax\n"
        "    ret\n"
        "shim_string_fault:\n"
        "    mov $-1, %rax\n"
        "    ret\n"
        ".size shim_string_size, . - shim_string_size\n"
        ".globl shim_is_there\n.hidden shim_is_there\n.type shim_is_there, @function\n"
        "shim_is_there:\n"
        "    endbr64\n"
        "shim_there_begin:\n"
        "    movzbl (%rdi), %eax\n"
        "    movzbl -1(%rdi,%rsi), %eax\n"
        "shim_there_end:\n"
        "    mov $1, %eax\n"
        "    ret\n"
        "shim_there_fault:\n"
        "    xor %eax, %eax\n"
        "    ret\n"
        ".size shim_is_there, . - shim_is_there\n");

extern const char shim_copy_begin[] SHIM_HIDDEN, shim_copy_end[] SHIM_HIDDEN,
    shim_copy_fault[] SHIM_HIDDEN, shim_string_begin[] SHIM_HIDDEN, shim_string_end[] SHIM_HIDDEN,
    shim_string_fault[] SHIM_HIDDEN, shim_there_begin[] SHIM_HIDDEN, shim_there_end[] SHIM_HIDDEN,
    shim_there_fault[] SHIM_HIDDEN;

/* Are the first and the last byte of a buffer mapped? */
bool shim_is_there(const void *buffer, size_t size);

uint64_t shim_copy_fixup(uint64_t rip)
{
    if (rip >= SHIM_PTR(shim_copy_begin) && rip < SHIM_PTR(shim_copy_end))
        return SHIM_PTR(shim_copy_fault);
    if (rip >= SHIM_PTR(shim_string_begin) && rip < SHIM_PTR(shim_string_end))
        return SHIM_PTR(shim_string_fault);
    if (rip >= SHIM_PTR(shim_there_begin) && rip < SHIM_PTR(shim_there_end))
        return SHIM_PTR(shim_there_fault);
    return 0;
}

/* ---- one call ------------------------------------------------------------------------------------ */

/* Where the buffers of a call lie, and how large they are. */
struct layout {
    size_t sizes[ROW_PARAMETERS_MAX];
    size_t positions[ROW_PARAMETERS_MAX];
    size_t total;
};

/* What the kernel says of a string that is longer than any message carries. */
static long too_long(enum row_id id, uint32_t parameter)
{
    switch (id) {
    case ROW_memfd_create:
        return -EINVAL;
    case ROW_getxattr:
    case ROW_lgetxattr:
    case ROW_fgetxattr:
    case ROW_setxattr:
    case ROW_lsetxattr:
    case ROW_fsetxattr:
    case ROW_removexattr:
    case ROW_lremovexattr:
    case ROW_fremovexattr:
        return parameter == 1u ? -ERANGE : -ENAMETOOLONG;
    default:
        return -ENAMETOOLONG;
    }
}

static long plan(enum row_id id, const uint64_t *a, struct layout *layout, struct run_ms *ms)
{
    const struct row *row = &g_rows[id];
    uint32_t scalar = 0;
    uint64_t present = 0;
    layout->total = 0;
    for (uint32_t i = 0; i < row->parameter_count; i++) {
        const struct row_parameter *p = &row->parameters[i];
        size_t size = 0;
        if (p->kind <= ROW_DIRFD) {
            uint64_t value = a[i];
            if (p->narrow || p->kind != ROW_SCALAR)
                value = (uint64_t)(int64_t)(int32_t)value;
            ms->words[1u + scalar++] = value;
            continue;
        }
        if (a[i] == 0) {
            layout->sizes[i] = 0;
            continue;
        }
        present |= UINT64_C(1) << i;
        if (p->kind == ROW_STRING) {
            size = shim_string_size((const char *)(uintptr_t)a[i], ROW_STRING_MAX);
            if (size == 0)
                return too_long(id, i);
            if (size == SIZE_MAX)
                return -EFAULT;
            size += ROW_STRING_HEADER;
        } else {
            size = p->size_by >= 0 ? a[p->size_by] : p->size;
        }
        /* Larger ones were cut into pieces before they came here. */
        if (size > RUN_PIECE)
            return -E2BIG;
        /* What cannot be given to the program is not to be taken from where it is: data that was
         * read, a connection that was accepted. */
        if ((p->kind == ROW_OUT || p->kind == ROW_INOUT) && size != 0 && a[i] != SHIM_VECTOR &&
            !shim_is_there((const void *)(uintptr_t)a[i], size))
            return -EFAULT;
        layout->sizes[i] = size;
        layout->total = hc_message_add(layout->total, size);
    }
    /* The first descriptor of a row is the one that may block. */
    if (row->parameter_count != 0 && row->parameters[0].kind == ROW_FD) {
        const struct shim_fd *state = shim_fd((int)a[0]);
        if (state != NULL && state->nonblocking == 2 && !state->shared)
            present |= RUN_NONBLOCKING;
    }
    ms->words[0] = present;
    return layout->total > RUN_WINDOW - 256u ? -E2BIG : 0;
}

/* Copies between the window and the part of thread->vector that is next. */
static bool copy_vector(uint8_t *u_window, size_t size, bool in)
{
    const struct shim_thread *thread = shim_thread();
    size_t skip = thread->vector_skip;
    for (size_t i = 0; i < thread->vector_count && size != 0; i++) {
        struct iovec piece;
        if (!shim_copy(&piece, &thread->vector[i], sizeof piece))
            return false;
        if (skip >= piece.iov_len) {
            skip -= piece.iov_len;
            continue;
        }
        uint8_t *at = (uint8_t *)piece.iov_base + skip;
        size_t now = piece.iov_len - skip < size ? piece.iov_len - skip : size;
        skip = 0;
        if (in ? !shim_copy(u_window, at, now) : !shim_copy(at, u_window, now))
            return false;
        u_window += now;
        size -= now;
    }
    /* The program made it shorter meanwhile. */
    return size == 0;
}

static bool copy_arguments(struct hc_call *call, const struct row *row, const uint64_t *a,
                           struct layout *layout)
{
    for (uint32_t i = 0; i < row->parameter_count; i++) {
        const struct row_parameter *p = &row->parameters[i];
        const void *from = (const void *)(uintptr_t)a[i];
        if (p->kind <= ROW_DIRFD || a[i] == 0)
            continue;
        size_t size = layout->sizes[i];
        size_t position = hc_call_out(call, size);
        uint8_t *u_to = call->u_message + position;
        layout->positions[i] = position;
        if (p->kind == ROW_STRING) {
            uint64_t length = size - ROW_STRING_HEADER;
            hc_copy_out(u_to, &length, sizeof length);
            if (!shim_copy(u_to + ROW_STRING_HEADER, from, length))
                return false;
        } else if (p->kind == ROW_OUT || size == 0) {
            continue;
        } else if (a[i] == SHIM_VECTOR ? !copy_vector(u_to, size, true)
                                       : !shim_copy(u_to, from, size)) {
            return false;
        }
    }
    return true;
}

/* Copies results out; `result` was checked. What it returns is the result, or an errno. */
static long copy_results(const struct hc_call *call, enum row_id id, const uint64_t *a,
                         const struct layout *layout, long result)
{
    const struct row *row = &g_rows[id];
    bool counted = row->returns == ROW_RETURNS_SIZE;
    bool first = true;
    for (uint32_t i = 0; i < row->parameter_count; i++) {
        const struct row_parameter *p = &row->parameters[i];
        if ((p->kind != ROW_OUT && p->kind != ROW_INOUT) || a[i] == 0)
            continue;
        size_t size = layout->sizes[i];
        if (counted && first && p->kind == ROW_OUT && p->size_by >= 0 && size > (size_t)result)
            size = (size_t)result;
        /* The result is about the first buffer; names and control data have sizes of their own. */
        first = false;
        uint8_t *u_from = call->u_message + layout->positions[i];
        if (size == 0)
            continue;
        if (a[i] == SHIM_VECTOR ? !copy_vector(u_from, size, false)
                                : !shim_take(id, (uint8_t *)(uintptr_t)a[i], u_from, size, result))
            return -EFAULT;
    }
    return shim_is_sound(id, a, result) ? result : -EIO;
}

/*
 * The leader sleeps. It is woken when so many calls have come in a row, which is some five requests
 * of a server without a pause. What they took is counted against them, at RUN_CALL_US for each, so
 * that calls at a rate that would not keep the leader awake do not wake it either.
 */
#define ROW_CALLS 16u
/* With so many descriptors ready, at least twice as many calls are going to follow. */
#define READY_MANY 8

/* Relaxed, and shared by all threads: a guess. */
static struct {
    uint64_t since; /* TSC: when the last call was counted */
    uint64_t owed;  /* cycles that the calls so far are worth, less what has passed */
} g_row;

static bool leader_sleeps(void)
{
    return g_shim_end.bounds.spinning && g_modes[0] == HC_MODE_HOT &&
           __atomic_load_n(&g_shim_end.u_peer_board->awake, __ATOMIC_RELAXED) == 0;
}

static void wake_leader(struct hc_port *port)
{
    __atomic_store_n(&g_row.owed, 0u, __ATOMIC_RELAXED);
    hc_ring_responder(port);
}

static void note_sleeping(struct hc_port *port)
{
    const uint64_t worth = (uint64_t)RUN_CALL_US * g_shim_end.bounds.cycles_per_us;
    uint64_t now = hc_tsc();
    uint64_t passed = now - __atomic_exchange_n(&g_row.since, now, __ATOMIC_RELAXED);
    uint64_t owed = __atomic_load_n(&g_row.owed, __ATOMIC_RELAXED);
    owed = (owed > passed ? owed - passed : 0u) + worth;
    __atomic_store_n(&g_row.owed, owed, __ATOMIC_RELAXED);
    if (owed >= ROW_CALLS * worth)
        wake_leader(port);
}

void shim_expect(long ready)
{
    struct hc_port *port = shim_thread()->port;
    if (HC_UNLIKELY(ready >= READY_MANY) && port != NULL && leader_sleeps())
        wake_leader(port);
}

static long call_once(struct shim_thread *thread, enum row_id id, const uint64_t *a)
{
    const struct row *row = &g_rows[id];
    struct hc_call call;
    struct layout layout;
    struct run_ms ms;
    struct hc_port *port = shim_port(thread);
    if (HC_UNLIKELY(port == NULL))
        return -EAGAIN;
    long error = plan(id, a, &layout, &ms);
    if (HC_UNLIKELY(error != 0))
        return error;
    size_t ms_size = run_ms_size(row->scalar_count);
    if (HC_UNLIKELY(thread->deserted)) {
        thread->deserted = still_deserted(thread);
        port->mode = thread->deserted ? HC_MODE_SWITCH : HC_MODE_DEFAULT;
    }
    if (HC_UNLIKELY(leader_sleeps()))
        note_sleeping(port);
    if (HC_UNLIKELY(hc_call_begin(port, &call, (uint32_t)id, ms_size, layout.total) != HC_OK))
        shim_die("hotcalls: the channel to the host process is broken\n");
    if (HC_UNLIKELY(!copy_arguments(&call, row, a, &layout))) {
        /* Begun and not posted: taken back. */
        hc_call_cancel(&call);
        return -EFAULT;
    }
    /* The word that a signal handler names to have this call interrupted. */
    __atomic_store_n(&thread->calling, run_interrupt_of(call.n), __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    /* It came before there was a call to end: what would block is not to. */
    if (HC_UNLIKELY(thread->deferred))
        shim_interrupt(thread);
    uint64_t fallen_before = port->counters.fallen_back;
    enum hc_status status = hc_call_run(&call, &ms, ms_size);
    __atomic_store_n(&thread->calling, 0u, __ATOMIC_RELAXED);
    if (HC_UNLIKELY(port->counters.fallen_back != fallen_before))
        thread->deserted = true;
    if (HC_UNLIKELY(status != HC_OK)) {
        if (status == HC_ERR_MESSAGE)
            return -EINVAL;
        shim_die("hotcalls: the channel to the host process is broken\n");
    }
    long result = shim_checked(id, row, a, (int64_t)ms.words[0]);
    if (result >= 0)
        result = copy_results(&call, id, a, &layout, result);
    hc_call_end(&call);
    return result;
}

/*
 * After a signal the kernel goes on with a call on a socket only if it was to wait for ever. With a
 * time limit (SO_RCVTIMEO, SO_SNDTIMEO) it would wait for all of it again, after each signal.
 */
static bool waits_for_ever(enum row_id id, const uint64_t *a)
{
    int64_t limit[2] = {0, 0};
    uint32_t told;
    int option = SO_RCVTIMEO;
    switch (id) {
    case ROW_write:
    case ROW_pwritev2:
    case ROW_sendto:
    case ROW_sendmsg:
    case ROW_connect:
        option = SO_SNDTIMEO;
        break;
    case ROW_read:
    case ROW_preadv2:
    case ROW_recvfrom:
    case ROW_recvmsg:
    case ROW_accept4:
        break;
    default:
        return true;
    }
    /* What is not a socket has none. */
    return SHIM_ROW(ROW_getsockopt, false, a[0], SOL_SOCKET, SHIM_ARG(option), SHIM_PTR(limit),
                    sizeof limit, SHIM_PTR(&told)) != 0 ||
           (limit[0] | limit[1]) == 0;
}

long shim_row(enum row_id id, const uint64_t *a, bool restart)
{
    struct shim_thread *thread = shim_thread();
    for (;;) {
        shim_enter(thread);
        long result = call_once(thread, id, a);
        bool delivered = shim_leave(thread);
        if (HC_LIKELY(!delivered) || result != -EINTR || !restart || !thread->restart ||
            !waits_for_ever(id, a))
            return result;
    }
}
