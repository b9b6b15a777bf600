/* SPDX-License-Identifier: Apache-2.0 */
/* peer.c -- see peer.h. */
#include "peer.h"

#include <sanitizer/asan_interface.h>

struct input g_input;
struct hc_end g_end;
struct hc_slot g_slot;
uint8_t *g_u_shared;

static struct hc_thread g_thread;
static uint8_t *g_u_windows[HC_LANES], *g_u_base, *g_arena;
static uint8_t g_modes[64];
static uint64_t g_posted[HC_LANES]; /* the last n that the peer posted */
static uint32_t g_turns;

struct hc_port *peer_port(void)
{
    struct hc_port *port = g_thread.current != NULL ? g_thread.current : &g_slot.port;
    return port->busy ? NULL : port;
}

/* ---- the peer ------------------------------------------------------------------------------------ */

/* What the honest side calls over and what comes in to it, of the slot's lanes. */
static uint32_t lane_out(void)
{
    return g_slot.mine ? HC_LANE_FORWARD : HC_LANE_REVERSE;
}

static uint32_t lane_in(void)
{
    return g_slot.mine ? HC_LANE_REVERSE : HC_LANE_FORWARD;
}

static uint32_t lane_nested(void)
{
    return g_slot.mine ? HC_LANE_REVERSE : HC_LANE_NESTED;
}

static struct hc_cell *cell_of(uint32_t lane, uint32_t index)
{
    return &hc_u_lane(g_u_base, &g_end.geometry, 0, lane)[index % PEER_CELLS];
}

static void post(uint32_t lane)
{
    struct hc_cell *u_cell = cell_of(lane, 0);
    u_cell->id = input_u8(&g_input);
    uint8_t bits = input_u8(&g_input);
    u_cell->id |= (bits & 1u) != 0 ? HC_CELL_DETACHED : 0;
    u_cell->offset = (bits & 2u) != 0 ? input_u32(&g_input) : 0;
    u_cell->size =
        (bits & 4u) != 0 ? input_u32(&g_input) : input_u16(&g_input) % (PEER_WINDOW + 1u);
    input_copy(&g_input, u_cell->payload, HC_INLINE_SIZE);
    uint16_t fill = input_u16(&g_input) % (PEER_WINDOW + 1u);
    input_copy(&g_input, g_u_windows[lane], fill);
    u_cell->word = hc_word(++g_posted[lane], HC_WORD_POSTED);
}

/* One thing that a peer can do. False: its turn is over. */
static bool act(void)
{
    uint8_t what = input_u8(&g_input);
    uint32_t lane = (what >> 4) % HC_LANES;
    struct hc_cell *u_cell = cell_of(lane, what >> 6);
    switch (what & 15u) {
    case 0:
        return false;
    case 1: /* the answer's, or a message's, fixed part */
        input_copy(&g_input, u_cell->payload, HC_INLINE_SIZE);
        return true;
    case 2:
    case 3: { /* bytes of a window */
        uint32_t at = input_u16(&g_input) % PEER_WINDOW;
        uint8_t size = input_u8(&g_input);
        input_copy(&g_input, g_u_windows[lane] + at,
                   size < PEER_WINDOW - at ? size : PEER_WINDOW - at);
        return true;
    }
    case 4: { /* a word of a window */
        uint64_t value = input_u8(&g_input);
        memcpy(g_u_windows[lane] + input_u8(&g_input) % (PEER_WINDOW / 8u) * 8u, &value,
               sizeof value);
        return true;
    }
    case 5:
        u_cell->status = input_u32(&g_input);
        return true;
    case 6:
        u_cell->size = input_u32(&g_input);
        return true;
    case 7:
        u_cell->offset = input_u32(&g_input);
        return true;
    case 8:
        u_cell->id = input_u32(&g_input);
        return true;
    case 9:
        u_cell->word = input_u64(&g_input);
        return true;
    case 10:
        post(lane_nested());
        return true;
    case 11: /* answers what is out, well or badly, and that was that */
        u_cell = cell_of(lane_out(), 0);
        u_cell->word = hc_word(u_cell->word >> HC_WORD_SHIFT, HC_WORD_DONE);
        return false;
    case 12:
        memset(g_u_windows[lane], input_u8(&g_input), PEER_WINDOW);
        return true;
    case 13:
        input_copy(&g_input, g_u_shared, input_u8(&g_input));
        return true;
    default:
        u_cell->payload[(what >> 4) % HC_INLINE_SIZE] = input_u8(&g_input);
        return true;
    }
}

void peer_turn(void)
{
    for (int i = 0; i < 16 && g_input.left != 0; i++)
        if (!act())
            return;
}

static void on_sleep(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    (void)context;
    (void)u_word;
    (void)expected;
    (void)ns;
    g_turns++;
    peer_turn();
}

static void on_wake(void *context, uint32_t *u_word, uint32_t count)
{
    (void)context;
    (void)u_word;
    (void)count;
    g_turns++;
    peer_turn();
}

static void on_yield(void *context)
{
    (void)context;
    g_turns++;
}

/* A peer that has nothing more to say is gone. */
static bool on_lost(void *context)
{
    (void)context;
    return g_input.left == 0 || g_turns > 64u;
}

/* ---- a run --------------------------------------------------------------------------------------- */

static uint8_t *plain_memory(size_t size)
{
    uint8_t *memory = aligned_alloc(64, size);
    PROMISE(memory != NULL);
    return memory;
}

static void set_up(void)
{
    struct hc_geometry *g = &g_end.geometry;
    g->slot_count = 1;
    g->host_slots = 1;
    g->cell_count = PEER_CELLS;
    g->window_size = HC_PAGE;
    g->shared_size = HC_PAGE;
    PROMISE(hc_geometry_plan(g) == HC_OK);
    g_u_base = plain_memory((size_t)g->total_size);
    memset(g_u_base, 0, (size_t)g->total_size);
    g_arena = plain_memory(PEER_ARENA);
    for (int lane = 0; lane < HC_LANES; lane++)
        g_u_windows[lane] = plain_memory(PEER_WINDOW);
    /* Not the whole of what lies there: what is behind it may not be touched. */
    g->shared_size = PEER_SHARED;
    g_u_shared = g_u_base + g->shared_at;
    __asan_poison_memory_region(g_u_shared + PEER_SHARED, HC_PAGE - PEER_SHARED);
    /* Windows are memory of their own here, so nobody has any business in the region's. */
    __asan_poison_memory_region(g_u_base + g->windows_at, HC_LANES * (size_t)HC_PAGE);
    memset(g_modes, HC_MODE_SWITCH, sizeof g_modes);
}

void peer_begin(enum hc_side side, const struct hc_interface *interface, const uint8_t *data,
                size_t size)
{
    bool host = side == HC_HOST;
    if (g_arena == NULL)
        set_up();
    struct hc_header *u_header = (struct hc_header *)(void *)g_u_base;
    memset(hc_u_slot(g_u_base, &g_end.geometry, 0), 0, g_end.geometry.slot_stride);
    memset(g_u_shared, 0, PEER_SHARED);
    memset(u_header->board, 0, sizeof u_header->board);
    memset(g_posted, 0, sizeof g_posted);
    g_thread.current = NULL;
    g_turns = 0;
    g_input = (struct input){data, size};
    g_end.u_base = g_u_base;
    g_end.side = side;
    g_end.incoming = host ? interface->ocalls : interface->ecalls;
    g_end.incoming_count = host ? interface->ocall_count : interface->ecall_count;
    g_end.outgoing = host ? interface->ecalls : interface->ocalls;
    g_end.outgoing_count = host ? interface->ecall_count : interface->ocall_count;
    g_end.modes = g_modes;
    g_end.u_board = &u_header->board[side];
    g_end.u_peer_board = &u_header->board[hc_other(side)];
    g_end.slots = &g_slot;
    g_end.os =
        (struct hc_os){.sleep = on_sleep, .wake = on_wake, .yield = on_yield, .peer_lost = on_lost};
    g_end.bounds = (struct hc_bounds){.cycles_per_us = 1000, .slice_ns = 1000};
    g_end.broken = 0;
    g_end.broken_what = NULL;
    hc_slot_init(&g_slot, &g_end, 0);
    for (int lane = 0; lane < HC_LANES; lane++) {
        memset(g_u_windows[lane], 0, PEER_WINDOW);
        g_slot.in[lane].u_window = g_slot.out[lane].u_window = g_u_windows[lane];
        g_slot.in[lane].window_size = g_slot.out[lane].window.size = PEER_WINDOW;
    }
    struct hc_port *server = g_slot.mine ? &g_slot.reverse : &g_slot.port;
    server->arena.base = g_arena;
    server->arena.size = PEER_ARENA;
    __asan_poison_memory_region(g_arena, PEER_ARENA);
    if (g_slot.mine)
        g_slot.port.thread = &g_thread;
}

void peer_post(void)
{
    post(lane_in());
}

uint64_t peer_serve(void)
{
    uint64_t served = 0;
    struct hc_port *server = g_slot.mine ? &g_slot.reverse : &g_slot.port;
    if (g_slot.mine)
        (void)hc_drain_back(&g_thread, &g_slot, true, false, &served);
    else
        (void)hc_drain(&g_thread, server, &g_slot.in[lane_in()], true, &served);
    PROMISE(server->depth == 0 && server->arena.used == 0);
    return served;
}
