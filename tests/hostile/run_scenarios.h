/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_scenarios.h -- honest system calls of a program under `hotcalls run`, for script.c to disturb.
 *
 * The program's side is the runtime's, as in the shim. Its host process H is all of native/run_*.c
 * that a call goes through: the leader, the companion of slot 0, the steward and the watcher, each
 * run by this one thread until it sleeps. Below H stands the kernel of the fuzzing targets
 * (tests/fuzz/kernel.c), which reads and writes memory as the real one does; the peer has its turn
 * before and after each system call, too. Beyond what script.c and stepper.h watch over:
 *
 *  - a system call reads and writes windows within one lane of slot 0, and elsewhere only memory
 *    that is H's own and large enough (AddressSanitizer);
 *  - descriptors are the program's, and nothing that H opens for a moment stays open;
 *  - H reads no byte of a message twice from one attempt at a call to the next;
 *  - the same n is taken apart for the first time once.
 */
#ifndef HOTCALLS_TESTS_RUN_SCENARIOS_H
#define HOTCALLS_TESTS_RUN_SCENARIOS_H

#define PAIR_HOST_SLOTS 0u
#define PAIR_SHARED sizeof(struct run_shared)
#define ATTACKED_BYTES 192u
#define OTHER_FIELDS RUN_FIELDS

#include "../fuzz/kernel_model.h"

#include "run_serve.h"

#include "scenario.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <sys/epoll.h>

#define TOP 64u
/* What one look at the clock lasts while H acts: a job is parked for ten of them. */
#define H_TICK 20000u
/* So often the leader yields before somebody else has the core. */
#define H_YIELDS 16u

pid_t g_run_program = 4711;
uint32_t g_run_top = TOP;
uint64_t g_run_limit[2] = {TOP, TOP};
struct endpoint g_run_endpoint;
struct input g_input;

static jmp_buf g_h_sleeps;
static uint32_t g_h_yields;
static bool g_h_broken; /* H has ended itself and the program */
static struct {
    bool runs;
    void *(*body)(void *);
    void *argument;
} g_companion;
static bool g_attempted; /* since the message was taken apart */
static uint64_t g_taken_last;

/* ---- what H is told by the world ------------------------------------------------------------- */

void endpoint_sleep(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    (void)context;
    (void)u_word;
    (void)expected;
    (void)ns;
    longjmp(g_h_sleeps, 1);
}

void endpoint_yield(void *context)
{
    (void)context;
    if (++g_h_yields % H_YIELDS == 0)
        longjmp(g_h_sleeps, 1);
}

void endpoint_wake(void *context, uint32_t *u_word, uint32_t count)
{
    (void)context;
    (void)u_word;
    (void)count;
}

int endpoint_thread(const struct endpoint *endpoint, pthread_t *thread, void *(*body)(void *),
                    void *argument)
{
    (void)endpoint;
    (void)thread;
    if (argument == NULL) {
        g_companion.runs = true;
        g_companion.body = body;
        g_companion.argument = argument;
    }
    return 0;
}

void run_broken(const char *what)
{
    (void)what;
    g_h_broken = true;
    longjmp(g_h_sleeps, 1);
}

void run_fail(int status, const char *format, ...)
{
    (void)fprintf(stderr, "run_fail: %d %s\n", status, format);
    exit(1);
}

void run_stats_leader(void)
{
}

static void new_epoch(void)
{
    for (uint32_t lane = 0; lane < HC_LANES; lane++)
        g_stepper.lane_epoch[0][lane] = ++g_stepper.fetch_epoch;
}

/* Of the linker (--wrap): H takes a message apart, and makes an attempt at its call. */
enum hc_status __wrap_run_unpack(struct hc_frame *frame, bool again, struct run_call *call,
                                 int *error);
enum hc_status __real_run_unpack(struct hc_frame *frame, bool again, struct run_call *call,
                                 int *error);
long __wrap_run_execute(struct run_call *call);
long __real_run_execute(struct run_call *call);

enum hc_status __wrap_run_unpack(struct hc_frame *frame, bool again, struct run_call *call,
                                 int *error)
{
    uint32_t slot = frame->port->slot->index;
    if (again) {
        new_epoch();
    } else if (slot == 0) {
        CHECK(g_run_jobs[0].taking.n > g_taken_last);
        g_taken_last = g_run_jobs[0].taking.n;
    }
    g_attempted = false;
    return __real_run_unpack(frame, again, call, error);
}

long __wrap_run_execute(struct run_call *call)
{
    if (g_attempted)
        new_epoch();
    g_attempted = true;
    return __real_run_execute(call);
}

static void run_until_asleep(void *(*body)(void *), void *argument)
{
    if (!g_h_broken && setjmp(g_h_sleeps) == 0)
        (void)body(argument);
}

/* ---- the kernel ------------------------------------------------------------------------------- */

/* The watcher has a core of its own: it looks while a companion is in its call. */
static void watcher_turn(void)
{
    static bool within; /* it makes a system call itself */
    jmp_buf outer;
    if (within)
        return;
    within = true;
    memcpy(outer, g_h_sleeps, sizeof outer);
    run_until_asleep(run_watcher_main, NULL);
    memcpy(g_h_sleeps, outer, sizeof outer);
    within = false;
}

/* Asks for the call that a companion is in to be interrupted. */
static void ask(void)
{
    if (__atomic_load_n(&g_run_jobs[0].state, __ATOMIC_RELAXED) == RUN_JOB_BLOCKED)
        hc_untrusted_store_u32(&g_u_run_shared->interrupt[0], run_interrupt_of(g_taken_last));
}

/* And takes it back when H has been told. */
static void ask_and_take_back(void)
{
    ask();
    watcher_turn();
    hc_untrusted_store_u32(&g_u_run_shared->interrupt[0], 0);
}

static void (*g_meanwhile)(void); /* what the program does during a system call, or NULL */

static void kernel_turn(bool before)
{
    if (before)
        stepper_point();
    stepper_open(before);
    if (before)
        return;
    if (g_meanwhile != NULL)
        g_meanwhile();
    stepper_point();
    watcher_turn();
}

static void kernel_looks(const void *memory, size_t size)
{
    uint64_t at = (uint64_t)((const uint8_t *)memory - g_pair.u_base);
    uint64_t slot, lane, last_slot, last_lane;
    bool word;
    if (at >= region_size())
        return;
    CHECK(size <= region_size() - at);
    CHECK(lane_at(at, &slot, &lane, &word) && !word);
    CHECK(lane_at(at + size - 1u, &last_slot, &last_lane, &word) && !word);
    CHECK(at >= g_pair.geometry.windows_at && slot == last_slot && lane == last_lane);
    CHECK(slot == 0 && lane == HC_LANE_FORWARD);
}

/* What the kernel answers: first these bytes, then that all goes well, and fully. */
static uint8_t g_kernel_answers[65536];

static void kernel_says(const uint8_t *first, size_t size, uint32_t rules)
{
    memset(g_kernel_answers, 200, sizeof g_kernel_answers);
    if (size != 0)
        memcpy(g_kernel_answers, first, size);
    g_input = (struct input){g_kernel_answers, sizeof g_kernel_answers};
    run_state_reset(rules);
}

static struct hc_function g_rows_of[ROW_COUNT];

static void scenario_start(void)
{
    static bool once;
    g_input = (struct input){NULL, 0};
    g_kernel_turn = NULL;
    for (int fd = 0; fd < KERNEL_FDS; fd++) {
        run_fd_mark(fd, RUN_FD_NONE);
        g_kernel_open[fd] = false;
    }
    if (!once)
        run_path_init("/usr/bin/program");
    once = true;
    for (int fd = 0; fd < 6; fd++) {
        run_fd_give(fd);
        g_kernel_open[fd] = true;
    }
    pair_start(NULL, 0, g_rows_of, ROW_COUNT);
    g_run_end = &g_pair.end[HC_HOST];
    g_run_end->bounds.cycles_per_us = 10;
    g_u_run_shared = (struct run_shared *)(void *)(g_pair.u_base + g_pair.geometry.shared_at);
    g_pair.end[HC_ENCLAVE].u_board->active[0] = 1;
    memset(g_run_jobs, 0, sizeof g_run_jobs[0] * PAIR_SLOTS);
    g_companion.runs = g_companion.body != NULL;
    g_h_broken = false;
    g_h_yields = 0;
    g_taken_last = 0;
    g_kernel_turn = kernel_turn;
    g_kernel_looks = kernel_looks;
}

/* ---- what H does when it has the core ---------------------------------------------------------- */

static void leader_turn(void)
{
    run_until_asleep(run_leader_main, NULL);
}

static void companion_turn(void)
{
    run_until_asleep(run_steward_main, NULL);
    if (g_companion.runs)
        run_until_asleep(g_companion.body, g_companion.argument);
}

static void all_of_h(enum hc_side waiting)
{
    uint64_t tick = g_stepper.tick;
    if (waiting != HC_ENCLAVE)
        return;
    g_stepper.tick = H_TICK;
    leader_turn();
    companion_turn();
    g_stepper.tick = tick;
    g_pair.lost = g_h_broken;
}

/* ---- the program ------------------------------------------------------------------------------- */

static int64_t g_first_results[16]; /* of the scenario, when nobody interferes */
static uint32_t g_result_count;
static bool g_known;
static const void *g_sent[ROW_PARAMETERS_MAX]; /* what buffers hold; NULL: zeros */
static const uint8_t g_zeros[256];
static uint8_t g_got[256];

/* The answer, whoever of H's threads made the call: one may be interrupted where another is not. */
static bool is_as_before(int64_t result)
{
    int64_t *first = &g_first_results[g_result_count++];
    CHECK(g_result_count <= sizeof g_first_results / sizeof g_first_results[0]);
    if (!g_known)
        *first = result;
    return result == *first || *first == -EINTR || result == -EAGAIN || result == -EINTR;
}

/* `a`: scalars and, of strings, the text; a buffer is absent if `absent` has its bit. */
static void make(enum row_id id, const uint64_t *a, uint32_t absent, bool hot)
{
    struct hc_port *port = pair_port(HC_ENCLAVE, 0);
    const struct row *row = run_row(id);
    uint64_t words[1u + ROW_SCALARS_MAX] = {0};
    size_t positions[ROW_PARAMETERS_MAX], sizes[ROW_PARAMETERS_MAX], buffers = 0;
    uint32_t scalars = 0;
    if (g_h_broken || port->busy || (port->stuck && !hc_port_recover(port)))
        return;
    for (uint32_t i = 0; i < row->parameter_count; i++) {
        const struct row_parameter *p = &row->parameters[i];
        sizes[i] = p->kind == ROW_STRING ? ROW_STRING_HEADER + strlen((const char *)a[i]) + 1u
                   : p->size_by >= 0     ? a[p->size_by]
                                         : p->size;
        if (p->kind <= ROW_DIRFD)
            words[1u + scalars++] = a[i];
        else if (((absent >> i) & 1u) == 0) {
            words[0] |= UINT64_C(1) << i;
            buffers = hc_message_add(buffers, sizes[i]);
        }
    }
    struct hc_call call;
    size_t ms_size = run_ms_size(row->scalar_count);
    port->timeout = g_hint ? 0 : UINT64_C(1000) * H_TICK;
    enum hc_status status = hc_call_begin(port, &call, id, ms_size, buffers);
    if (status != HC_OK) {
        ended(status, false);
        return;
    }
    call.mode = hot ? HC_MODE_HOT : HC_MODE_SWITCH;
    for (uint32_t i = 0; i < row->parameter_count; i++) {
        uint8_t text[ROW_STRING_HEADER + 64u];
        if (((words[0] >> i) & 1u) == 0 || row->parameters[i].kind <= ROW_DIRFD)
            continue;
        const void *from = g_sent[i] != NULL ? g_sent[i] : g_zeros;
        if (row->parameters[i].kind == ROW_STRING) {
            uint64_t size = sizes[i] - ROW_STRING_HEADER;
            memcpy(text, &size, sizeof size);
            memcpy(text + ROW_STRING_HEADER, (const void *)a[i], size);
            from = text;
        }
        if (row->parameters[i].kind == ROW_OUT)
            positions[i] = hc_call_out(&call, sizes[i]);
        else
            positions[i] = hc_call_inout(&call, from, sizes[i]);
    }
    uint64_t tick = g_stepper.tick;
    status = hc_call_submit(&call, words, ms_size);
    if (status == HC_OK) {
        /* A hot call is there before its caller sleeps. */
        g_stepper.acting = HC_HOST;
        g_stepper.tick = H_TICK;
        if (hot)
            leader_turn();
        g_stepper.tick = tick;
        g_pair.lost = g_h_broken;
        g_stepper.acting = HC_ENCLAVE;
        status = hc_call_wait(&call, words, ms_size);
    }
    if (status == HC_OK) {
        for (uint32_t i = 0; i < row->parameter_count && status == HC_OK; i++)
            if (row->parameters[i].kind > ROW_IN && ((absent >> i) & 1u) == 0)
                status = hc_call_copy_out(&call, positions[i], g_got, sizes[i]);
        if (status == HC_OK)
            hc_call_end(&call);
    }
    ended(status, status == HC_OK && is_as_before((int64_t)words[0]));
}

static void program_begins(const uint8_t *answers, size_t size, uint32_t rules)
{
    kernel_says(answers, size, rules);
    g_stepper.chain = all_of_h;
    g_stepper.acting = HC_ENCLAVE;
    g_result_count = 0;
    g_meanwhile = NULL;
    memset(g_sent, 0, sizeof g_sent);
}

/* Whatever became of the calls: H comes to rest, with nothing that it holds. */
static void program_ends(void)
{
    g_stepper.acting = HC_HOST;
    for (int turn = 0; turn < 4; turn++)
        all_of_h(HC_ENCLAVE);
    if (g_h_broken) /* and both processes have ended */
        g_run_end->slots[0].in[HC_LANE_FORWARD].claim = 0;
    else
        for (int fd = 0; fd < KERNEL_FDS; fd++)
            CHECK(!g_kernel_open[fd] || run_fd_owned(fd));
    if (!g_h_broken)
        run_state_check();
    g_known = true;
    g_kernel_turn = NULL;
}

#define BEGIN(rules, ...)                           \
    static const uint8_t answers[] = {__VA_ARGS__}; \
    program_begins(answers, sizeof answers, rules)
#define CALL(row, absent, hot, ...) \
    make(ROW_##row, (const uint64_t[ROW_PARAMETERS_MAX]){__VA_ARGS__}, absent, hot)

/* What a kernel says to the leader that begins, and looks what a descriptor is; that it would block. */
#define BEGUN 200, 200
#define SOCKET BEGUN, 1, 200
#define AGAIN 2
/* Tried twice; then what those are told who begin: the steward and the companion. */
#define HANDED 200, 200, 200, 200
#define PARKED SOCKET, AGAIN, AGAIN, HANDED

static void streams(void)
{
    BEGIN(0, SOCKET, AGAIN, 200);
    CALL(read, 0, true, 3, 0, 40);
    CALL(write, 0, true, 3, 0, 40);
    CALL(write, 0, false, 4, 0, 24);
    program_ends();
}

/* Parked by the leader, handed on, and continued by the companion. */
static void parked(void)
{
    BEGIN(0, PARKED, 200);
    CALL(write, 0, true, 3, 0, 40);
    CALL(read, 0, true, 3, 0, 40);
    program_ends();
}

/* A part of it went, by two tries: the rest is the companion's. */
static void short_write(void)
{
    BEGIN(0, SOCKET, 200, 5, 0, 200, 7, 0, HANDED, 200);
    CALL(write, 0, true, 3, 0, 40);
    program_ends();
}

static void vectors(void)
{
    BEGIN(RULES_TOTAL, SOCKET, AGAIN, 200);
    CALL(preadv2, 0, true, 3, 0, 40, 8, 0);
    CALL(pwritev2, 0, true, 3, 0, 40, 8, 0);
    program_ends();
}

/* An address, or as many bytes to send. */
static const union {
    struct sockaddr_in inet;
    uint8_t bytes[64];
} g_address = {{.sin_family = AF_INET, .sin_port = 80}};
#define ADDRESS_SIZE sizeof(struct sockaddr_in)

static void addresses(void)
{
    BEGIN(RULES_TOTAL, 200);
    g_sent[4] = g_sent[1] = &g_address;
    CALL(sendto, 0, true, 3, 0, 24, 0, 0, ADDRESS_SIZE);
    CALL(bind, 0, false, 3, 0, ADDRESS_SIZE);
    CALL(connect, 0, true, 3, 0, ADDRESS_SIZE);
    CALL(getpeername, 0, true, 3, 0, 32, 0);
    program_ends();
}

/* A socket that has a name: it is judged, and its address led through a handle. */
static void named_sockets(void)
{
    static const struct {
        uint16_t family;
        char path[62];
    } address = {AF_UNIX, "/tmp/socket"};
    BEGIN(RULES_LEARN, 200);
    g_sent[1] = g_sent[4] = &address;
    CALL(connect, 0, false, 3, 0, 14);
    CALL(sendto, 0, true, 3, 0, 24, 0, 0, 14);
    program_ends();
}

static void control(void)
{
    static union {
        struct cmsghdr head;
        uint8_t bytes[CMSG_SPACE(2 * sizeof(int))];
    } rights;
    const int fds[2] = {3, 4};
    rights.head = (struct cmsghdr){CMSG_LEN(sizeof fds), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&rights.head), fds, sizeof fds);
    BEGIN(RULES_TOTAL, BEGUN, AGAIN, 200);
    g_sent[4] = &g_address;
    g_sent[6] = &rights;
    CALL(sendmsg, 0, true, 3, 0, 0, 24, 0, ADDRESS_SIZE, 0, sizeof rights);
    program_ends();
}

static void received(void)
{
    /* 24 bytes, a name of 16, and a descriptor that comes along. */
    BEGIN(0, BEGUN, AGAIN, 200);
    CALL(recvmsg, 0, true, 3, 0, 0, 24, 0, 32, 0, 32, 0);
    CALL(recvfrom, 0, true, 3, 0, 24, 0);
    CALL(accept4, 0, true, 3, 0, 32, 0, 0);
    program_ends();
}

static void options(void)
{
    BEGIN(0, 200);
    CALL(getsockopt, 0, true, 3, SOL_SOCKET, SO_SNDBUF, 0, 4, 0);
    CALL(setsockopt, 0, true, 3, SOL_SOCKET, SO_SNDBUF, 0, 4);
    program_ends();
}

static void waits(void)
{
    static const struct pollfd set[2] = {{3, POLLIN, 0}, {4, POLLIN, 0}};
    BEGIN(0, 200);
    CALL(epoll_ctl, 0, true, 3, EPOLL_CTL_ADD, 4, EPOLLIN, 7);
    CALL(epoll_pwait, 0, true, 3, 0, 48, 100);
    g_sent[0] = set;
    CALL(ppoll, 2, true, 0, sizeof set, 0);
    program_ends();
}

static void selects(void)
{
    static const uint64_t set[1] = {1u << 3 | 1u << 4};
    BEGIN(0, 200);
    g_sent[2] = g_sent[3] = set;
    CALL(pselect6, 16, true, 6, sizeof set, 0, 0, 0, 0);
    CALL(pselect6, 16, false, 6, sizeof set, 0, 0, 0, 0);
    program_ends();
}

static void files(void)
{
    BEGIN(0, 200);
    CALL(openat, 0, true, (uint64_t)AT_FDCWD, (uint64_t)(uintptr_t)"/tmp/file", O_RDONLY, 0);
    CALL(getdents64, 0, true, 3, 0, 64);
    CALL(newfstatat, 0, false, 3, (uint64_t)(uintptr_t)"name", 0, 0);
    CALL(close, 0, true, 5);
    program_ends();
}

/* The same under rules of paths: names are opened, judged, and opened again. */
static void judged_files(void)
{
    BEGIN(RULES_LEARN, 200);
    CALL(openat, 0, true, (uint64_t)AT_FDCWD, (uint64_t)(uintptr_t)"/tmp/file", O_RDWR, 0);
    CALL(renameat2, 0, true, 3, (uint64_t)(uintptr_t)"name", 4, (uint64_t)(uintptr_t)"other", 0);
    CALL(readlinkat, 0, false, 3, (uint64_t)(uintptr_t)"/proc/4711/exe", 0, 40);
    program_ends();
}

static void tuned(void)
{
    static const struct flock lock = {.l_type = F_WRLCK};
    BEGIN(0, 200);
    g_sent[3] = &lock;
    CALL(fcntl, 0, true, 3, F_SETLKW, 0, 0, sizeof lock);
    CALL(fcntl, 0, true, 3, F_SETOWN_EX, 0, 0, 8);
    CALL(ioctl, 0, true, 3, 0x541bu /* FIONREAD */, 0, 0, 4);
    CALL(pipe2, 0, true, 0, 0);
    program_ends();
}

/* A hook is asked, so the leader tries nothing. */
static void asked(void)
{
    BEGIN(RULES_ASK, 200);
    CALL(read, 0, true, 3, 0, 40);
    CALL(openat, 0, true, (uint64_t)AT_FDCWD, (uint64_t)(uintptr_t)"/tmp/file", O_RDONLY, 0);
    program_ends();
}

/* A signal of the program ends a call that a companion waits in. */
static void interrupted(void)
{
    BEGIN(0, PARKED, 1, 200);
    g_meanwhile = ask;
    CALL(read, 0, true, 3, 0, 40);
    program_ends();
}

/* The same, and the program changes its mind: the call goes on, and H waits in it. */
static void taken_back(void)
{
    BEGIN(0, PARKED, 1, 1, 200);
    g_meanwhile = ask_and_take_back;
    CALL(read, 0, true, 3, 0, 40);
    program_ends();
}

static const struct scenario g_scenarios[] = {
    {"streams", streams},
    {"parked", parked},
    {"short_write", short_write},
    {"vectors", vectors},
    {"addresses", addresses},
    {"named_sockets", named_sockets},
    {"control", control},
    {"received", received},
    {"options", options},
    {"waits", waits},
    {"selects", selects},
    {"files", files},
    {"judged_files", judged_files},
    {"tuned", tuned},
    {"asked", asked},
    {"interrupted", interrupted},
    {"taken_back", taken_back},
};

#endif /* HOTCALLS_TESTS_RUN_SCENARIOS_H */
