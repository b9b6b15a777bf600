/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes.c -- one honest side of a channel that does everything a side can do, in an order that the
 * input chooses, while the words and fields of its cells are rewritten between any two steps.
 *
 * Input: which side is honest, then moves, a byte and its operands each. The other side is honest
 * code as well, which also moves, so that the deep states are reached; what makes it hostile is the
 * moves that write to the region behind everybody's back. Until the first of these the run is a
 * plain one, and everything must come out right.
 *
 * Promised: the honest side runs no n of a lane twice and in order; it returns no n twice; chunks of
 * the window that are out do not overlap; every wait ends; without rewriting, no call is lost and
 * each answer is the one to its question.
 */
#include "fuzz.h"

#include <hotcalls/hotcalls.h>

#include <sanitizer/asan_interface.h>

#define CELLS 4u
#define WINDOW 256u
#define MOVES_MAX 96
#define OUT_MAX 8u

struct side {
    struct hc_end end;
    struct hc_slot slot;
    struct hc_thread thread, owner;
    uint8_t modes[4];
};

/* A call of the side that owns the slot. */
struct call {
    struct hc_call call;
    uint64_t token;
    bool used;
};

static struct side g_sides[HC_SIDES];
static struct hc_geometry g_geometry;
static uint8_t *g_u_base, *g_u_windows[HC_LANES], *g_arenas[HC_SIDES];
static struct input g_input;
static struct call g_calls[OUT_MAX];
static enum hc_side g_honest;
static bool g_rewritten;
static uint32_t g_sleeps, g_asked, g_nested;
static uint64_t g_last_run[HC_SIDES][HC_LANES]; /* the newest n that was run, by who ran it */
static uint64_t g_answered;                     /* bit of each token whose answer was returned */

static void move(void);

/* ---- the interface: a token comes back plus one; the second one calls back first ------------------ */

enum { F_NOTE, F_BACK, F_LARGE, F_COUNT };

static void ran(struct hc_frame *frame)
{
    enum hc_side side = frame->port->end->side;
    const struct hc_slot *slot = frame->port->slot;
    /* Which lane a call came in on, is told by where its cell lies. */
    size_t at =
        (size_t)((uint8_t *)frame->u_cell - (uint8_t *)hc_u_lane(g_u_base, &g_geometry, 0, 0));
    size_t lane = at / (CELLS * sizeof(struct hc_cell));
    uint64_t n = frame->port->running.n;
    (void)slot;
    PROMISE(lane < HC_LANES && n > g_last_run[side][lane]);
    PROMISE(side != g_honest || n == g_last_run[side][lane] + 1u || g_rewritten);
    g_last_run[side][lane] = n;
}

static enum hc_status note(struct hc_frame *frame)
{
    uint64_t token;
    enum hc_status status = hc_frame_open(frame, &token, sizeof token);
    if (status != HC_OK)
        return status;
    ran(frame);
    if (g_input.left != 0 && (g_input.at[0] & 1u) != 0)
        move();
    token++;
    return hc_frame_close(frame, &token, sizeof token);
}

static enum hc_status plain_call(struct hc_port *port, uint32_t id, uint64_t *token)
{
    struct hc_call call;
    enum hc_status status = hc_call_begin(port, &call, id, sizeof *token, 0);
    if (status == HC_OK)
        status = hc_call_run(&call, token, sizeof *token);
    if (status == HC_OK)
        hc_call_end(&call);
    return status;
}

static enum hc_status back(struct hc_frame *frame)
{
    uint64_t token, inner = 5;
    enum hc_status status = hc_frame_open(frame, &token, sizeof token);
    if (status != HC_OK)
        return status;
    ran(frame);
    struct hc_port *port = g_sides[frame->port->end->side].thread.current;
    if (port == NULL)
        port = g_sides[frame->port->end->side].owner.current;
    if (port != NULL && !port->busy && g_nested < 6u) {
        g_nested++;
        status = plain_call(port, (token & 1u) != 0 ? F_BACK : F_NOTE, &inner);
        g_nested--;
        PROMISE(status != HC_OK || inner == 6u || g_rewritten);
    }
    token++;
    return hc_frame_close(frame, &token, sizeof token);
}

struct large {
    uint64_t token;
    uint64_t size;
    uint64_t more[4];
};

static enum hc_status large(struct hc_frame *frame)
{
    struct large ms;
    void *buffer;
    size_t position;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status == HC_OK)
        status = hc_frame_inout(frame, ms.size, &buffer, &position);
    if (status != HC_OK)
        return status;
    ran(frame);
    PROMISE(ms.size == 0 || g_rewritten || touch(buffer, 1) == (uint8_t)ms.token);
    hc_frame_reply(frame, position, buffer, ms.size);
    ms.token++;
    return hc_frame_close(frame, &ms, sizeof ms);
}

static const uint64_t g_allow[1] = {7};
static const struct hc_function g_functions[F_COUNT] = {
    {"note", note, HC_FN_PUBLIC, g_allow},
    {"back", back, HC_FN_PUBLIC, g_allow},
    {"large", large, HC_FN_PUBLIC, g_allow},
};

/* ---- what the operating system does ----------------------------------------------------------------- */

static void serve(enum hc_side side, bool companion);

/* Whoever waits lets everybody else move; in the end the other side is gone. */
static void meanwhile(void *context)
{
    const struct hc_end *end = context;
    g_sleeps++;
    PROMISE(g_sleeps < 100000u);
    if (g_sleeps % 2u == 0 && g_input.left != 0)
        move();
    else
        serve(hc_other(end->side), true);
}

static void on_sleep(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    (void)u_word;
    (void)expected;
    (void)ns;
    meanwhile(context);
}

static void on_wake(void *context, uint32_t *u_word, uint32_t count)
{
    (void)context;
    (void)u_word;
    (void)count;
}

static bool on_lost(void *context)
{
    (void)context;
    g_asked++;
    return g_input.left == 0 && g_asked > 20u;
}

static bool on_interrupted(void *context)
{
    (void)context;
    return g_input.left != 0 && g_input.at[0] == 0xee;
}

/* ---- setting up ---------------------------------------------------------------------------------- */

static void set_up(void)
{
    g_geometry.slot_count = 1;
    g_geometry.host_slots = 1;
    g_geometry.cell_count = CELLS;
    g_geometry.window_size = HC_PAGE;
    PROMISE(hc_geometry_plan(&g_geometry) == HC_OK);
    g_u_base = aligned_alloc(HC_PAGE, (size_t)g_geometry.total_size);
    PROMISE(g_u_base != NULL);
    memset(g_u_base, 0, (size_t)g_geometry.total_size);
    __asan_poison_memory_region(g_u_base + g_geometry.windows_at, HC_LANES * (size_t)HC_PAGE);
    for (int lane = 0; lane < HC_LANES; lane++)
        g_u_windows[lane] = aligned_alloc(64, WINDOW);
    for (int side = 0; side < HC_SIDES; side++)
        g_arenas[side] = aligned_alloc(64, 1024);
}

static void begin_side(enum hc_side which)
{
    struct side *side = &g_sides[which];
    struct hc_header *u_header = (struct hc_header *)(void *)g_u_base;
    struct hc_end *end = &side->end;
    memset(side, 0, sizeof *side);
    memset(side->modes, HC_MODE_HOT, sizeof side->modes);
    end->u_base = g_u_base;
    end->geometry = g_geometry;
    end->side = which;
    end->incoming = end->outgoing = g_functions;
    end->incoming_count = end->outgoing_count = F_COUNT;
    end->modes = side->modes;
    end->u_board = &u_header->board[which];
    end->u_peer_board = &u_header->board[hc_other(which)];
    end->slots = &side->slot;
    end->os = (struct hc_os){.context = end,
                             .sleep = on_sleep,
                             .wake = on_wake,
                             .yield = meanwhile,
                             .peer_lost = on_lost,
                             .interrupted = on_interrupted};
    end->bounds = (struct hc_bounds){.cycles_per_us = 1000,
                                     .slice_ns = 1000,
                                     .spinning = true,
                                     .burst = 2,
                                     .burst_gap = UINT64_MAX};
    hc_slot_init(&side->slot, end, 0);
    for (int lane = 0; lane < HC_LANES; lane++) {
        side->slot.in[lane].u_window = side->slot.out[lane].u_window = g_u_windows[lane];
        side->slot.in[lane].window_size = side->slot.out[lane].window.size = WINDOW;
    }
    struct hc_port *server = side->slot.mine ? &side->slot.reverse : &side->slot.port;
    server->arena = (struct hc_arena){g_arenas[which], 1024, 0};
    if (side->slot.mine)
        side->slot.port.thread = &side->owner;
    end->u_board->awake = end->u_board->responders = 1;
}

static void begin(void)
{
    struct hc_header *u_header = (struct hc_header *)(void *)g_u_base;
    memset(hc_u_slot(g_u_base, &g_geometry, 0), 0, g_geometry.slot_stride);
    memset(u_header->board, 0, sizeof u_header->board);
    for (int lane = 0; lane < HC_LANES; lane++)
        memset(g_u_windows[lane], 0, WINDOW);
    memset(g_calls, 0, sizeof g_calls);
    memset(g_last_run, 0, sizeof g_last_run);
    g_rewritten = false;
    g_sleeps = g_asked = g_nested = 0;
    g_answered = 0;
    begin_side(HC_HOST);
    begin_side(HC_ENCLAVE);
}

/* ---- moves ----------------------------------------------------------------------------------------- */

static struct hc_port *owner(void)
{
    return &g_sides[HC_HOST].slot.port;
}

static void serve(enum hc_side side, bool companion)
{
    struct side *who = &g_sides[side];
    struct hc_port *port = who->slot.mine ? &who->slot.reverse : &who->slot.port;
    uint64_t served = 0;
    /* In the middle of a call of its own it serves what comes back, as whoever waits does. */
    if (!who->slot.mine && port->depth != 0) {
        (void)hc_serve(port);
        return;
    }
    if (who->slot.mine) {
        (void)hc_serve(port->depth != 0 ? port : &who->slot.port);
        return;
    }
    (void)hc_drain(&who->thread, port, &who->slot.in[HC_LANE_FORWARD], companion, &served);
}

/* Of the calls that are out, no two have a byte of the window in common. */
static void look_at_window(const struct hc_lane_out *lane)
{
    PROMISE(lane->tail - lane->oldest <= lane->mask + 1u);
    for (uint64_t n = lane->oldest; n != lane->tail; n++) {
        uint32_t start = lane->offsets[n & lane->mask], size = lane->sizes[n & lane->mask];
        if (((lane->returned >> (n & lane->mask)) & 1u) != 0 || size == 0)
            continue;
        PROMISE(size <= WINDOW && start <= WINDOW - size);
        for (uint64_t m = n + 1u; m != lane->tail; m++) {
            uint32_t other = lane->offsets[m & lane->mask], more = lane->sizes[m & lane->mask];
            if (((lane->returned >> (m & lane->mask)) & 1u) == 0 && more != 0)
                PROMISE(other + more <= start || start + size <= other);
        }
    }
}

static void returned(struct call *call, enum hc_status status, uint64_t answer)
{
    call->used = false;
    if (status != HC_OK) {
        PROMISE(g_rewritten || status == HC_ERR_NOT_ALLOWED || status == HC_ERR_PEER_LOST ||
                status == HC_ERR_INTERRUPTED || status == HC_ERR_TIMEOUT ||
                status == HC_ERR_DEPTH || status == HC_ERR_AGAIN || status == HC_ERR_ONEWAY);
        return;
    }
    PROMISE(g_rewritten || answer == call->token + 1u);
    PROMISE((g_answered >> (call->call.n % 64u) & 1u) == 0 || call->call.n >= 64u);
    g_answered |= UINT64_C(1) << (call->call.n % 64u);
}

/* May the thread that owns the slot act? Not while it is in the middle of a call. */
static bool may_call(void)
{
    return !owner()->busy && g_sides[HC_HOST].slot.reverse.depth == 0 &&
           g_sides[HC_HOST].owner.current == NULL;
}

static void submit(uint8_t how)
{
    struct call *call = &g_calls[how % OUT_MAX];
    uint64_t ms = 100u + how;
    bool oneway = (how & 8u) != 0;
    if (!may_call() || call->used)
        return;
    call->token = ms;
    enum hc_status status = hc_call_begin(owner(), &call->call, F_NOTE, sizeof ms, 0);
    if (status != HC_OK)
        return;
    if ((how & 64u) != 0 && owner()->batch_from == 0) {
        hc_call_cancel(&call->call);
        return;
    }
    status = oneway ? hc_call_oneway(&call->call, &ms, sizeof ms)
                    : hc_call_submit(&call->call, &ms, sizeof ms);
    call->used = status == HC_OK && !oneway;
}

static void submit_large(uint8_t how)
{
    struct call *call = &g_calls[how % OUT_MAX];
    struct large ms = {200u + how, input_u8(&g_input), {0}};
    uint8_t buffer[256];
    if (!may_call() || call->used)
        return;
    call->token = ms.token;
    enum hc_status status =
        hc_call_begin(owner(), &call->call, F_LARGE, sizeof ms, hc_message_add(0, ms.size));
    if (status != HC_OK)
        return;
    memset(buffer, (uint8_t)ms.token, sizeof buffer);
    hc_call_in(&call->call, buffer, ms.size);
    /* Its answer is larger than a token; collect() knows by the id. */
    call->used = hc_call_submit(&call->call, &ms, sizeof ms) == HC_OK;
}

static void collect(uint8_t how, bool waiting)
{
    struct call *call = &g_calls[how % OUT_MAX];
    union {
        uint64_t token;
        struct large large;
    } ms;
    size_t size = call->call.id == F_LARGE ? sizeof ms.large : sizeof ms.token;
    if (!may_call() || !call->used)
        return;
    memset(&ms, 0, sizeof ms);
    if (!waiting && !hc_call_poll(&call->call))
        return;
    enum hc_status status = hc_call_wait(&call->call, &ms, size);
    if (status == HC_OK)
        hc_call_end(&call->call);
    returned(call, status, ms.token);
}

static void run(uint8_t how)
{
    struct call call = {.token = how};
    uint64_t token = how;
    if (!may_call())
        return;
    enum hc_status status =
        hc_call_begin(owner(), &call.call, how % 2u, sizeof token, how > 128u ? how : 0);
    if (status != HC_OK)
        return;
    if (how > 128u)
        (void)hc_call_out(&call.call, how);
    owner()->mode = (how & 4u) != 0 ? HC_MODE_SWITCH : HC_MODE_DEFAULT;
    owner()->timeout = (how & 8u) != 0 ? 1 : 0;
    status = hc_call_run(&call.call, &token, sizeof token);
    owner()->timeout = 0;
    if (status == HC_OK)
        hc_call_end(&call.call);
    returned(&call, status, token);
}

/* Behind everybody's back: a word that is nearly right, or any. */
static void rewrite(uint8_t how)
{
    uint32_t lane = how % HC_LANES;
    struct hc_cell *u_cell = &hc_u_lane(g_u_base, &g_geometry, 0, lane)[(how >> 2) % CELLS];
    uint8_t what = input_u8(&g_input);
    g_rewritten = true;
    switch (what % 8u) {
    case 0:
        u_cell->word = input_u64(&g_input);
        break;
    case 1:
    case 2: /* another n, another state, other bits */
        u_cell->word += (uint64_t)(int64_t)(int8_t)input_u8(&g_input) << HC_WORD_SHIFT;
        u_cell->word ^= what >> 3;
        break;
    case 3:
        u_cell->word = hc_word(input_u8(&g_input) % 12u, what >> 6);
        break;
    case 4:
        u_cell->id = input_u32(&g_input);
        break;
    case 5:
        u_cell->offset = input_u32(&g_input);
        u_cell->size = input_u16(&g_input);
        break;
    case 6:
        u_cell->status = input_u32(&g_input);
        input_copy(&g_input, u_cell->payload, 16);
        break;
    default:
        g_sides[hc_other(g_honest)].end.u_board->awake = what >> 6;
        g_sides[hc_other(g_honest)].end.u_board->state = what >> 4;
        break;
    }
}

static void move(void)
{
    uint8_t what = input_u8(&g_input), how = input_u8(&g_input);
    switch (what % 16u) {
    case 0:
    case 1:
        submit(how);
        break;
    case 2:
        run(how);
        break;
    case 3:
        collect(how, true);
        break;
    case 4:
        collect(how, false);
        break;
    case 5:
        serve(HC_ENCLAVE, (how & 1u) != 0);
        break;
    case 6:
        serve(HC_HOST, true);
        break;
    case 7:
        if (may_call() && owner()->batch_from == 0)
            hc_batch_begin(owner());
        break;
    case 8:
        if (may_call() && owner()->batch_from != 0)
            hc_batch_end(owner());
        break;
    case 9:
        if (may_call()) {
            uint64_t errors;
            enum hc_status first;
            (void)!hc_flush(owner(), &errors, &first);
        }
        break;
    case 10:
        submit_large(how);
        break;
    case 11:
        if (may_call() && owner()->stuck)
            (void)hc_port_recover(owner());
        break;
    case 12:
        g_sides[HC_ENCLAVE].end.u_board->awake = how & 1u;
        break;
    case 13:
        if (may_call())
            hc_drain_orphans(&g_sides[HC_ENCLAVE].thread, &g_sides[HC_ENCLAVE].slot,
                             &(uint64_t){0});
        break;
    default:
        rewrite(how);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (g_u_base == NULL)
        set_up();
    begin();
    g_input = (struct input){data, size};
    g_honest = (input_u8(&g_input) & 1u) != 0 ? HC_ENCLAVE : HC_HOST;
    for (int i = 0; i < MOVES_MAX && g_input.left != 0; i++) {
        move();
        look_at_window(owner()->out);
    }
    return 0;
}
