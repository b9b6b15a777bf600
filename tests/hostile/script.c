/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.c -- a peer that rewrites one field of the channel, at every step, to every telling value.
 *
 *     script SCENARIO [STRIDE]
 *
 * A scenario is an honest run of calls between the two sides of pair.h. It is run once to count its
 * steps; then once for each step, field and value (every STRIDE-th of them), and at that step the
 * field is overwritten, as a peer could at that moment. Whatever follows: each call ends with an
 * answer or a typed error after a bounded number of waits; no call number of a lane is run twice;
 * nothing outside the region or the private memory of a side is touched (AddressSanitizer, and the
 * pages around the region); the private books of both sides stay sound; and fields that are only
 * hints change no answer.
 */
#define CHECK_OWN_MAIN
#include "../c/echo.h"

static uint64_t g_step;     /* of this run */
static uint64_t g_forge_at; /* UINT64_MAX: nowhere */
static size_t g_forged;     /* where in the region */
static uint32_t g_value;    /* which: see value_of */
static bool g_wide;
static bool g_hint; /* the field is only a hint */
static uint64_t g_last_run[PAIR_SLOTS][HC_LANES];
static uint64_t g_wrong_answers, g_errors;

/* The values that say something: edges, neighbours, and for words each state of numbers near n. */
#define VALUES_NARROW 9u
#define VALUES_WIDE 31u

static uint64_t value_of(uint32_t index, bool wide, uint64_t now)
{
    uint64_t n = now >> HC_WORD_SHIFT;
    const uint64_t narrow[VALUES_NARROW] = {0,          1,       now + 1u,     now - 1u, UINT32_MAX,
                                            0x80000000, HC_PAGE, HC_PAGE - 8u, E_PRIVATE};
    const uint64_t numbers[] = {n, n + 1u, n - 1u, n + PAIR_CELLS, n - PAIR_CELLS, n + 2u};
    const uint64_t odd[] = {0,
                            UINT64_MAX,
                            hc_word(n, HC_WORD_POSTED) | HC_WORD_SWITCH,
                            hc_word(n, HC_WORD_POSTED) | HC_WORD_BOUND,
                            hc_word(n, HC_WORD_TAKEN) | HC_WORD_SLEEP,
                            hc_word(n, HC_WORD_DONE) | HC_WORD_SLEEP,
                            UINT64_C(0x5a5a5a5a5a5a5a5a)};
    if (!wide)
        return narrow[index];
    return index < 24u ? hc_word(numbers[index / 4u], index % 4u) : odd[index - 24u];
}

/* A place between two steps of the protocol: here the peer may write. */
static void step(void)
{
    uint64_t now = 0;
    if (g_step++ != g_forge_at)
        return;
    memcpy(&now, g_pair.u_base + g_forged, g_wide ? 8 : 4);
    uint64_t value = value_of(g_value, g_wide, now);
    memcpy(g_pair.u_base + g_forged, &value, g_wide ? 8 : 4);
}

static void chain(enum hc_side waiting)
{
    step();
    pair_chain(waiting);
    step();
}

/* Before a bridge returns: was this number of this lane run before? */
static void in_the_middle(void)
{
    step();
    for (int side = 0; side < HC_SIDES; side++) {
        struct hc_port *port = g_pair.thread[side].current;
        if (port == NULL || port->running.u_cell == NULL)
            continue;
        size_t at = (size_t)((uint8_t *)port->running.u_cell - g_pair.u_base);
        uint64_t slot = (at - g_pair.geometry.slots_at) / g_pair.geometry.slot_stride;
        uint64_t lane = (at - g_pair.geometry.slots_at - slot * g_pair.geometry.slot_stride -
                         sizeof(struct hc_slot_control)) /
                        (PAIR_CELLS * sizeof(struct hc_cell));
        CHECK(slot < PAIR_SLOTS && lane < HC_LANES);
        if (port->depth > 1)
            continue;
        CHECK(port->running.n > g_last_run[slot][lane]);
        g_last_run[slot][lane] = port->running.n;
    }
}

/* A call ended: with an answer, which is `right` or not, or with a status that has a name. */
static void ended(enum hc_status status, bool right)
{
    step();
    CHECK_EQ(hc_status_from_peer((uint32_t)status), status);
    if (status != HC_OK) {
        g_errors++;
        CHECK(!g_hint);
    } else if (!right) {
        g_wrong_answers++;
        CHECK(!g_hint);
    }
}

static struct hc_port *host_port(void)
{
    for (uint32_t i = 0; i < PAIR_HOST_SLOTS; i++) {
        struct hc_port *port = pair_port(HC_HOST, i);
        if (!port->busy && (!port->stuck || hc_port_recover(port)))
            return port;
    }
    return NULL;
}

static void plain(enum hc_mode mode)
{
    struct hc_port *port = host_port();
    if (port == NULL)
        return;
    uint64_t token = 100;
    port->mode = mode;
    enum hc_status status = pair_call(port, E_NOTE, &token, sizeof token);
    port->mode = HC_MODE_DEFAULT;
    ended(status, token == 101);
}

static void hot(void)
{
    plain(HC_MODE_HOT);
    plain(HC_MODE_HOT);
}

static void switched(void)
{
    plain(HC_MODE_SWITCH);
    plain(HC_MODE_SWITCH);
}

static void window(void)
{
    struct hc_port *port = host_port();
    uint8_t in[600], out[600];
    struct copy ms = {sizeof in, sizeof out};
    struct hc_call call;
    if (port == NULL)
        return;
    memset(in, 1, sizeof in);
    memset(out, 0, sizeof out);
    enum hc_status status = hc_call_begin(port, &call, E_COPY, sizeof ms,
                                          hc_message_add(hc_message_add(0, sizeof in), sizeof out));
    if (status != HC_OK) {
        ended(status, false);
        return;
    }
    hc_call_in(&call, in, sizeof in);
    step();
    size_t position = hc_call_out(&call, sizeof out);
    status = hc_call_run(&call, &ms, sizeof ms);
    if (status == HC_OK) {
        step();
        CHECK_EQ(hc_call_copy_out(&call, position, out, sizeof out), HC_OK);
        hc_call_end(&call);
    }
    ended(status, memcmp(in, out, sizeof in) == 0);
}

static void nested(void)
{
    struct hc_port *port = host_port();
    uint64_t id = O_CALLS_PRIVATE;
    if (port == NULL)
        return;
    enum hc_status status = pair_call(port, E_OCALL, &id, sizeof id);
    ended(status, g_inner_status == HC_OK);
}

static void deep(void)
{
    struct hc_port *port = host_port();
    uint64_t depth = 5;
    if (port == NULL)
        return;
    enum hc_status status = pair_call(port, E_DOWN, &depth, sizeof depth);
    ended(status, depth == 0);
}

static void several(bool batch)
{
    struct hc_port *port = host_port();
    struct hc_call calls[4];
    bool posted[4] = {false};
    if (port == NULL)
        return;
    if (batch)
        hc_batch_begin(port);
    for (uint64_t i = 0; i < 4; i++) {
        enum hc_status status = submit_note(port, &calls[i], i);
        posted[i] = status == HC_OK;
        if (status != HC_OK)
            ended(status, false);
        step();
    }
    if (batch)
        hc_batch_end(port);
    step();
    const uint64_t order[] = {1, 0, 3, 2};
    for (int k = 0; k < 4; k++) {
        uint64_t i = order[k], answer = 0;
        if (!posted[i])
            continue;
        (void)hc_call_poll(&calls[i]);
        enum hc_status status = pair_collect(&calls[i], &answer, sizeof answer);
        ended(status, answer == i + 1u);
    }
}

static void pipelined(void)
{
    several(false);
    plain(HC_MODE_HOT);
}

static void batched(void)
{
    several(true);
    plain(HC_MODE_HOT);
}

static void oneway(void)
{
    struct hc_port *port = host_port();
    uint64_t errors;
    enum hc_status first;
    if (port == NULL)
        return;
    for (uint64_t i = 0; i < PAIR_CELLS + 2u; i++) {
        enum hc_status status = pair_oneway(port, E_NOTE, &i, sizeof i);
        if (status != HC_OK)
            ended(status, false);
        step();
    }
    enum hc_status status = hc_flush(port, &errors, &first);
    ended(status, errors == 0);
    plain(HC_MODE_HOT);
}

static const struct scenario {
    const char *name;
    void (*body)(void);
} g_scenarios[] = {{"hot", hot},         {"switched", switched}, {"window", window},
                   {"nested", nested},   {"deep", deep},         {"pipelined", pipelined},
                   {"batched", batched}, {"oneway", oneway}};

/* ---- what is forged -------------------------------------------------------------------------- */

struct field {
    size_t at;
    bool word; /* a cell's word: 64 bits, with values of its own */
    bool hint;
};

#define FIELDS_MAX 1024u
static struct field g_fields[FIELDS_MAX];
static uint32_t g_field_count;

static void add(size_t at, bool word, bool hint)
{
    CHECK(g_field_count < FIELDS_MAX);
    g_fields[g_field_count++] = (struct field){at, word, hint};
}

static void add_range(size_t at, size_t size, bool hint)
{
    for (size_t i = 0; i < size; i += 4)
        add(at + i, false, hint);
}

static void list_fields(void)
{
    const struct hc_geometry *g = &g_pair.geometry;
    for (uint32_t lane = 0; lane < HC_LANES; lane++) {
        size_t cells = (size_t)((uint8_t *)hc_u_lane(g_pair.u_base, g, 0, lane) - g_pair.u_base);
        for (size_t cell = 0; cell < 3; cell++) {
            size_t at = cells + cell * sizeof(struct hc_cell);
            add(at, true, false);
            add_range(at + offsetof(struct hc_cell, id), 8, false);
            add_range(at + offsetof(struct hc_cell, payload), 16, false);
            add_range(at + offsetof(struct hc_cell, offset), 8, false);
        }
        size_t messages = (size_t)(hc_u_window(g_pair.u_base, g, 0, lane) - g_pair.u_base);
        add_range(messages, 32, false);
    }
    size_t control = (size_t)((uint8_t *)hc_u_slot(g_pair.u_base, g, 0) - g_pair.u_base);
    add_range(control, 8, true);
    add_range(control + HC_CELL_STRIDE, 8, true);
    add_range(control + offsetof(struct hc_slot_control, owner_counters), 32, true);
    for (int side = 0; side < HC_SIDES; side++) {
        size_t board =
            offsetof(struct hc_header, board) + (size_t)side * sizeof(struct hc_side_board);
        add_range(board, 56, true);
        add_range(board + offsetof(struct hc_side_board, doorbell), 8, true);
        add_range(board + offsetof(struct hc_side_board, active), 16, true);
        add_range(board + offsetof(struct hc_side_board, report), 24, true);
    }
    add_range(0, sizeof(struct hc_geometry), true);
    add_range((size_t)g->histograms_at, 32, true);
}

/* ---- running --------------------------------------------------------------------------------- */

static void check_books(void)
{
    for (int side = 0; side < HC_SIDES; side++) {
        CHECK(g_pair.thread[side].current == NULL && g_pair.owner[side].current == NULL);
        for (uint32_t i = 0; i < PAIR_SLOTS; i++) {
            struct hc_slot *slot = &g_pair.end[side].slots[i];
            CHECK_EQ(slot->port.depth, 0);
            CHECK_EQ(slot->reverse.depth, 0);
            CHECK_EQ(slot->port.arena.used, 0);
            CHECK_EQ(slot->reverse.arena.used, 0);
            CHECK(slot->port.allow == NULL && slot->reverse.allow == NULL);
            for (uint32_t lane = 0; lane < HC_LANES; lane++) {
                CHECK_EQ(slot->in[lane].claim, 0);
                CHECK(slot->out[lane].tail - slot->out[lane].oldest <= PAIR_CELLS);
                CHECK(slot->out[lane].window.count <= PAIR_CELLS);
            }
        }
    }
}

static void run(const struct scenario *scenario)
{
    (void)echo_start();
    g_pair.other = chain;
    g_in_the_middle = in_the_middle;
    memset(g_last_run, 0, sizeof g_last_run);
    g_step = 0;
    for (int side = 0; side < HC_SIDES; side++) {
        struct hc_bounds *bounds = &g_pair.end[side].bounds;
        bounds->take = 1000;
        bounds->spin = 2000;
        bounds->avoid = 0;
        for (uint32_t i = 0; i < PAIR_SLOTS; i++) {
            struct hc_slot *slot = &g_pair.end[side].slots[i];
            slot->port.timeout = slot->reverse.timeout = g_hint ? 0 : 60000;
        }
    }
    step();
    scenario->body();
    step();
    check_books();
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    const struct scenario *scenario = NULL;
    for (size_t i = 0; i < sizeof g_scenarios / sizeof g_scenarios[0]; i++)
        if (strcmp(g_scenarios[i].name, argv[1]) == 0)
            scenario = &g_scenarios[i];
    CHECK(scenario != NULL);
    uint64_t stride = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

    /* Honestly first: a run that goes wrong by itself would prove nothing. */
    g_forge_at = UINT64_MAX;
    g_hint = true;
    run(scenario);
    uint64_t steps = g_step, runs = 0, all = 0;
    list_fields();
    pair_stop();
    for (uint64_t at = 0; at < steps; at++) {
        for (uint32_t f = 0; f < g_field_count; f++) {
            uint32_t count = g_fields[f].word ? VALUES_WIDE : VALUES_NARROW;
            for (uint32_t v = 0; v < count; v++) {
                if (all++ % stride != 0)
                    continue;
                g_forge_at = at;
                g_forged = g_fields[f].at;
                g_wide = g_fields[f].word;
                g_hint = g_fields[f].hint;
                g_value = v;
                run(scenario);
                pair_stop();
                runs++;
            }
        }
    }
    (void)printf("%s: steps=%" PRIu64 " fields=%u runs=%" PRIu64 " errors=%" PRIu64
                 " lies_believed=%" PRIu64 "\n",
                 scenario->name, steps, g_field_count, runs, g_errors, g_wrong_answers);
    return 0;
}
