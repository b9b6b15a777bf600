/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lies.c -- the shim of `hotcalls run` and a host that lies, in one thread.
 *
 *     lies rows | answers [RANDOM ROUNDS] | steps [STRIDE SEED]
 *
 * The shim's own code marshals each call and takes the answer apart; what waits for the answer
 * (yield) is the host. `rows`: every row of the table with every result that says something, over a
 * window of every byte that does. `answers`: calls whose answers have a form (entries of directories,
 * control data, sets, events, names), rewritten field by field, and then at random. `steps`, in a
 * build of its own: the same calls, honestly answered, while the channel is rewritten (lies_steps.h).
 *
 * Whatever was answered: nothing outside of the buffers that the program gave is written, nothing
 * in a buffer that is only read, nothing behind as many bytes as were told; and what is told is an
 * errno, or what a kernel can tell for these arguments.
 */
#define CHECK_OWN_MAIN
#include "shim.h"

#include "check.h"

#include "syscall_table.h"

#include <dirent.h>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define GUARD ((size_t)1 << 16)
#define SIZE 64u /* of a buffer whose size is an argument */
#define MARGIN 64u
#define MARK 0x5cu

static uint8_t *g_u_base;
static struct hc_geometry g_geometry;
static struct hc_lane_in g_lane;
static int64_t g_result;
/* What the host writes into the window, from where the buffers are; NULL: bytes of `fill`. */
static void (*g_answer)(uint8_t *u_message, size_t size);
static uint8_t g_fill;
static uint64_t g_lies, g_refused, g_believed;

/* ---- the host -------------------------------------------------------------------------------- */

static bool g_rewritten; /* the channel was, so that the host may find anything in it */
static bool g_hosting;
static uint64_t g_answered;
static uint32_t g_message_at; /* in the window: the message that was answered last */

static void host_call(const struct hc_taking *taking)
{
    struct hc_cell *u_cell = taking->u_cell;
    const struct row *row = &g_rows[u_cell->id % ROW_COUNT];
    size_t ms_size = run_ms_size(row->scalar_count);
    size_t head = ms_size > HC_INLINE_SIZE ? hc_message_add(0, ms_size) : 0;
    uint8_t *u_message = g_lane.u_window + u_cell->offset;
    uint8_t *u_ms = ms_size > HC_INLINE_SIZE ? u_message : u_cell->payload;
    if (!hc_range_inside(u_cell->offset, u_cell->size, g_lane.window_size) || u_cell->size < head) {
        CHECK(g_rewritten);
        u_cell->status = HC_ERR_MESSAGE;
    } else {
        if (g_answer != NULL)
            g_answer(u_message + head, u_cell->size - head);
        else if (u_cell->size != 0)
            memset(u_message, g_fill, u_cell->size);
        memcpy(u_ms, &g_result, sizeof g_result);
        u_cell->status = HC_OK;
    }
    CHECK(hc_finish(u_cell, taking->n) == HC_FINISHED || g_rewritten);
    g_message_at = u_cell->offset;
    g_answered++;
}

static void host(void *context)
{
    struct hc_taking taking;
    (void)context;
    g_hosting = true;
    if (hc_take(&g_lane, true, &taking) == HC_TOOK)
        host_call(&taking);
    g_hosting = false;
}

static void host_slept(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    (void)u_word;
    (void)expected;
    (void)ns;
    host(context);
}

static void woken(void *context, uint32_t *u_word, uint32_t count)
{
    (void)context;
    (void)u_word;
    (void)count;
}

static void start(void)
{
    /* One, and the one that is kept for the message that there is none left. */
    g_geometry.slot_count = 2;
    g_geometry.cell_count = HC_CELLS_MIN;
    g_geometry.window_size = RUN_WINDOW;
    g_geometry.shared_size = sizeof(struct run_shared);
    CHECK_EQ(hc_geometry_plan(&g_geometry), HC_OK);
    size_t size = (size_t)g_geometry.total_size;
    uint8_t *all = mmap(NULL, size + 2u * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(all != MAP_FAILED);
    g_u_base = all + GUARD;
    CHECK_EQ(mprotect(g_u_base, size, PROT_READ | PROT_WRITE), 0);
    memcpy(g_u_base, &g_geometry, sizeof g_geometry);
    struct run_shared *u_shared = (struct run_shared *)(void *)(g_u_base + g_geometry.shared_at);
    u_shared->magic = RUN_MAGIC;
    u_shared->cycles_per_us = 1000;
    u_shared->mode = HC_MODE_SWITCH;
    u_shared->processors = 2;
    u_shared->limit_soft = 1024;
    CHECK(shim_channel_init(g_u_base, size));
    hc_lane_in_init(&g_lane, g_u_base, &g_geometry, 0, HC_LANE_FORWARD);
    g_shim_end.os.yield = host;
    g_shim_end.os.sleep = host_slept;
    g_shim_end.os.wake = woken;
    g_shim_end.os.tell_core = NULL;
}

/* ---- the program's memory ---------------------------------------------------------------------- */

struct buffer {
    uint8_t before[MARGIN];
    uint8_t bytes[512];
    uint8_t behind[MARGIN];
};

static void mark(struct buffer *buffer)
{
    memset(buffer, MARK, sizeof *buffer);
}

/* Nothing but the first `size` bytes was written. */
static void check_margins(const struct buffer *buffer, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)buffer;
    for (size_t i = 0; i < sizeof *buffer; i++)
        if (i < MARGIN || i >= MARGIN + size)
            CHECK_EQ(bytes[i], MARK);
}

/* Of shim_wrap.c, which is not here: no thread of the shim's own. */
bool shim_start_thread(void (*body)(void))
{
    (void)body;
    return false;
}

static bool is_errno(long result)
{
    return result < 0 && (result >= -133 || result == -524);
}

static void told(long result)
{
    g_lies++;
    if (result < 0)
        g_refused++;
    else
        g_believed++;
}

/* ---- every row, every result ---------------------------------------------------------------- */

static const int64_t g_results[] = {0,
                                    1,
                                    2,
                                    3,
                                    5,
                                    7,
                                    8,
                                    16,
                                    SIZE - 1,
                                    SIZE,
                                    SIZE + 1,
                                    2 * SIZE,
                                    192,
                                    193,
                                    1023,
                                    1024,
                                    4096,
                                    65535,
                                    65536,
                                    65537,
                                    RUN_PIECE,
                                    RUN_PIECE + 1,
                                    INT32_MAX,
                                    INT64_C(0x80000000),
                                    UINT32_MAX,
                                    INT64_C(1) << 32,
                                    (INT64_C(1) << 32) + 3,
                                    INT64_MAX,
                                    INT64_MIN,
                                    -1,
                                    -11,
                                    -133,
                                    -134,
                                    -512,
                                    -513,
                                    -524,
                                    -525,
                                    -4095,
                                    -4096,
                                    -65536,
                                    INT32_MIN,
                                    -(INT64_C(1) << 32)};
static const uint8_t g_fills[] = {0, 1, 0x7f, 0x80, 0xff};

/* What a kernel can tell for the arguments of `try_row`. Written from the manual pages. */
static bool can_be(enum row_id id, const struct row *row, long result)
{
    if (result < 0)
        return is_errno(result);
    if (row->returns == ROW_RETURNS_FD)
        return id == ROW_dup3 ? result == 1 : result < 65536;
    if (row->returns == ROW_RETURNS_SIZE)
        return id == ROW_readahead ? result == 0 : result <= (long)SIZE;
    switch (id) {
    case ROW_epoll_pwait:
        return result <= (long)(SIZE / 12u);
    case ROW_ppoll:
        return result <= (long)(SIZE / 8u);
    case ROW_pselect6:
        return result <= 3 * 64;
    case ROW_lseek:
        return true;
    case ROW_fcntl:
    case ROW_ioctl:
    case ROW_inotify_add_watch:
    case ROW_umask:
    case ROW_prctl:
    case ROW_setsid:
    case ROW_getpgid:
    case ROW_getsid:
    case ROW_getppid:
        return result <= INT32_MAX;
    default:
        return result == 0;
    }
}

static uint64_t scalar_of(enum row_id id, uint32_t i)
{
    switch (id) {
    case ROW_pselect6:
        return 64;
    case ROW_recvfrom:
    case ROW_recvmsg:
        return 0; /* flags: no MSG_TRUNC */
    case ROW_sendfile:
    case ROW_tee:
    case ROW_splice:
    case ROW_copy_file_range:
        return SIZE;
    default:
        return i == 0 ? 3 : 1;
    }
}

static void try_row(enum row_id id)
{
    static struct buffer buffers[ROW_PARAMETERS_MAX];
    const struct row *row = &g_rows[id];
    uint64_t a[ROW_PARAMETERS_MAX] = {0};
    size_t sizes[ROW_PARAMETERS_MAX] = {0};
    bool first = true;
    for (uint32_t i = 0; i < row->parameter_count; i++)
        if (row->parameters[i].kind <= ROW_DIRFD)
            a[i] = row->parameters[i].kind == ROW_SCALAR ? scalar_of(id, i) : 3;
    for (uint32_t i = 0; i < row->parameter_count; i++)
        if (row->parameters[i].size_by >= 0)
            a[row->parameters[i].size_by] = id == ROW_pselect6 ? 8 : SIZE;
    for (uint32_t i = 0; i < row->parameter_count; i++) {
        const struct row_parameter *p = &row->parameters[i];
        mark(&buffers[i]);
        if (p->kind <= ROW_DIRFD)
            continue;
        a[i] = SHIM_PTR(buffers[i].bytes);
        sizes[i] = p->size_by >= 0 ? a[p->size_by] : p->size;
        if (p->kind == ROW_STRING)
            buffers[i].bytes[1] = 0;
        CHECK(sizes[i] <= sizeof buffers[i].bytes);
    }
    long result = shim_row(id, a, false);
    told(result);
    if (!can_be(id, row, result)) {
        (void)fprintf(stderr, "%s: told %ld, passed on as %ld\n", row->name, (long)g_result,
                      result);
        exit(1);
    }
    for (uint32_t i = 0; i < row->parameter_count; i++) {
        const struct row_parameter *p = &row->parameters[i];
        size_t written = p->kind == ROW_OUT || p->kind == ROW_INOUT ? sizes[i] : 0;
        if (p->kind == ROW_STRING)
            buffers[i].bytes[1] = MARK;
        if (first && written != 0 && row->returns == ROW_RETURNS_SIZE && p->size_by >= 0 &&
            result >= 0 && (size_t)result < written)
            written = (size_t)result;
        first = first && p->kind < ROW_OUT;
        check_margins(&buffers[i], written);
    }
}

static void rows(void)
{
    g_answer = NULL;
    for (uint32_t id = 0; id < ROW_COUNT; id++)
        for (size_t r = 0; r < sizeof g_results / sizeof g_results[0]; r++)
            for (size_t f = 0; f < sizeof g_fills; f++) {
                g_result = g_results[r];
                g_fill = g_fills[f];
                try_row((enum row_id)id);
            }
}

#include "lies_forms.h"

static void try_form(const struct form *form)
{
    mark(&g_buffer);
    mark(&g_second);
    long result = form->call();
    CHECK(result >= 0 || is_errno(result));
    told(result);
}

static const uint64_t g_values[] = {0,
                                    1,
                                    2,
                                    7,
                                    15,
                                    16,
                                    17,
                                    19,
                                    20,
                                    23,
                                    24,
                                    25,
                                    32,
                                    48,
                                    49,
                                    64,
                                    65,
                                    72,
                                    73,
                                    80,
                                    127,
                                    128,
                                    129,
                                    255,
                                    256,
                                    4096,
                                    65535,
                                    65536,
                                    INT32_MAX,
                                    INT64_C(0x80000000),
                                    UINT32_MAX,
                                    UINT64_MAX,
                                    UINT64_C(0x4141414141414141),
                                    UINT64_C(1) << 63};
#define VALUES (sizeof g_values / sizeof g_values[0])

static void answers(uint64_t rounds)
{
    uint64_t random = check_seed(1), fields = 0;
    for (size_t f = 0; f < sizeof g_forms / sizeof g_forms[0]; f++) {
        const struct form *form = &g_forms[f];
        g_answer = forge;
        /* Honestly first. */
        memset(g_honest, 0, sizeof g_honest);
        form->make();
        g_field_size = 0;
        try_form(form);
        CHECK(form->right());
        int64_t honest = g_result;
        for (uint32_t wide = 1; wide <= 8; wide *= 2) {
            g_field_size = wide;
            for (g_field = 0; g_field + wide <= g_honest_size; g_field += wide < 4 ? wide : 4) {
                fields++;
                for (size_t v = 0; v < VALUES; v++) {
                    form->make();
                    g_value = g_values[v];
                    try_form(form);
                }
            }
        }
        g_field_size = 0;
        for (size_t r = 0; r < sizeof g_results / sizeof g_results[0]; r++) {
            form->make();
            g_result = g_results[r];
            try_form(form);
        }
        for (uint64_t round = 0; round < rounds; round++) {
            form->make();
            g_result =
                check_random(&random) % 3u != 0
                    ? honest
                    : g_results[check_random(&random) % (sizeof g_results / sizeof g_results[0])];
            for (uint64_t n = check_random(&random) % 4u; n != 0; n--)
                g_honest[check_random(&random) % g_honest_size] = (uint8_t)check_random(&random);
            g_field_size = 1u << check_random(&random) % 4u;
            g_field = check_random(&random) % g_honest_size;
            g_value = check_random(&random) % 2u != 0 ? g_values[check_random(&random) % VALUES]
                                                      : check_random(&random);
            try_form(form);
        }
    }
    (void)printf("forms=%zu fields=%" PRIu64 " ", sizeof g_forms / sizeof g_forms[0], fields);
}

#ifdef LIES_STEPS
#include "lies_steps.h"
#endif

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    start();
    if (strcmp(argv[1], "rows") == 0) {
        rows();
        (void)printf("rows=%u ", (unsigned)ROW_COUNT);
#ifdef LIES_STEPS
    } else if (strcmp(argv[1], "steps") == 0) {
        steps(argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
#endif
    } else {
        answers(argc > 2 ? strtoull(argv[2], NULL, 10) : 1000);
    }
    (void)printf("lies=%" PRIu64 " refused=%" PRIu64 " believed=%" PRIu64 "\n", g_lies, g_refused,
                 g_believed);
    return 0;
}
