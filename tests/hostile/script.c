/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.c -- a peer that rewrites one field of the channel, at every step, to every telling value.
 *
 *     script SCENARIO none|some|each|all [ROUNDS SEED]
 *
 * A scenario is an honest run of calls between the two sides of pair.h, or of sides.h. It is run once
 * to count its steps, which are the accesses of the code to the channel (steps.h); then once for each
 * step, field (fields.h) and value, and before that step the field is overwritten. `all`: every place
 * of every field at every step; `each` field of a name at each step, with its places and values in
 * turn; or at `some` of the steps; or `none`. Then ROUNDS times with several random fields, steps and
 * values. Whatever follows: each call ends with an answer or a typed error after a bounded number of
 * waits; no call number of a lane is run twice; nothing outside the region or the private memory of a
 * side is touched (AddressSanitizer, and the pages around the region); what was checked is not read
 * again; the private books of both sides stay sound; and fields that are only hints change no answer.
 * SCENARIOS is the file that has them.
 */
#define CHECK_OWN_MAIN
#include "fields.h"
#include SCENARIOS

/* How much of a window is rewritten. A file of scenarios may say so, and list OTHER_FIELDS. */
#ifndef ATTACKED_BYTES
#define ATTACKED_BYTES 64u
#endif

enum what { WORD, VALUE, DATA, HINT, PART };

struct field {
    const char *name;
    size_t at;
    uint32_t width;
    enum what what;
};

/* What the peer writes in this run, and when. */
struct forgery {
    uint64_t step;
    const struct field *field;
    uint64_t value; /* an index, see value_of; at random: the value */
};

#define FORGERIES_MAX 4u
static struct forgery g_forgeries[FORGERIES_MAX];
static uint32_t g_forgery_count;
static bool g_random;
/* The values that say something: edges, neighbours, and for words each state of numbers near n. */
#define VALUES_NARROW 16u
#define VALUES_WORD 31u

static uint64_t value_of(uint64_t index, enum what what, uint64_t now)
{
    uint64_t n = now >> HC_WORD_SHIFT;
    const uint64_t narrow[VALUES_NARROW] = {0,
                                            1,
                                            now + 1u,
                                            now - 1u,
                                            UINT64_MAX,
                                            INT32_MAX,
                                            HC_PAGE,
                                            HC_PAGE + 1u,
                                            HC_PAGE - 8u,
                                            E_PRIVATE,
                                            E_COUNT,
                                            HC_CELL_DETACHED | now,
                                            HC_CELL_NOTIFY | now,
                                            ~now,
                                            UINT64_C(1) << 63,
                                            PAIR_CELLS};
    const uint64_t numbers[] = {n, n + 1u, n - 1u, n + PAIR_CELLS, n - PAIR_CELLS, n + 2u};
    const uint64_t odd[] = {0,
                            UINT64_MAX,
                            hc_word(n, HC_WORD_POSTED) | HC_WORD_SWITCH,
                            hc_word(n, HC_WORD_POSTED) | HC_WORD_BOUND,
                            hc_word(n, HC_WORD_TAKEN) | HC_WORD_SLEEP,
                            hc_word(n, HC_WORD_DONE) | HC_WORD_SLEEP,
                            UINT64_C(0x5a5a5a5a5a5a5a5a)};
    if (what != WORD)
        return narrow[index];
    return index < 24u ? hc_word(numbers[index / 4u], index % 4u) : odd[index - 24u];
}

static void rewrite(uint64_t step)
{
    for (uint32_t i = 0; i < g_forgery_count; i++) {
        const struct forgery *forgery = &g_forgeries[i];
        const struct field *field = forgery->field;
        uint64_t now = 0, value = forgery->value;
        if (forgery->step != step)
            continue;
        memcpy(&now, g_pair.u_base + field->at, field->width);
        if (!g_random)
            value = value_of(value, field->what, now);
        memcpy(g_pair.u_base + field->at, &value, field->width);
    }
}

/* ---- what is forged -------------------------------------------------------------------------- */

#define FIELDS_MAX 1024u
static struct field g_fields[FIELDS_MAX];
static uint32_t g_field_count;
static uint64_t g_name_count;

static void add(const char *name, size_t at, size_t size, enum what what)
{
    /* Of a long array its ends and its middle, of arguments every word. */
    uint32_t width = size % 8u == 0 ? 8u : 4u;
    size_t count = size / width;
    if (what == PART)
        return;
    bool known = false;
    for (uint32_t i = 0; i < g_field_count; i++)
        known = known || strcmp(g_fields[i].name, name) == 0;
    g_name_count += known ? 0u : 1u;
    for (size_t i = 0; i < count; i++) {
        if (what != DATA && i != 0 && i != count / 2u && i != count - 1u)
            continue;
        CHECK(g_field_count < FIELDS_MAX);
        g_fields[g_field_count++] = (struct field){name, at + i * width, width, what};
    }
}

#define ADD(structure, member, what)                                     \
    add(#structure "." #member, at + offsetof(struct structure, member), \
        sizeof(((struct structure *)NULL)->member), what);

static void list_fields(void)
{
    const struct hc_geometry *g = &g_pair.geometry;
    size_t at;
    for (uint32_t lane = 0; lane < HC_LANES; lane++) {
        for (size_t cell = 0; cell < 3; cell++) {
            at = (size_t)((uint8_t *)&hc_u_lane(g_pair.u_base, g, 0, lane)[cell] - g_pair.u_base);
            CELL_FIELDS(ADD)
        }
        at = (size_t)(hc_u_window(g_pair.u_base, g, 0, lane) - g_pair.u_base);
        add("window", at, ATTACKED_BYTES, DATA);
    }
    size_t control = (size_t)((uint8_t *)hc_u_slot(g_pair.u_base, g, 0) - g_pair.u_base);
    at = control;
    CONTROL_FIELDS(ADD)
    at = control + offsetof(struct hc_slot_control, owner_counters);
    COUNTER_FIELDS(ADD)
    at = control + offsetof(struct hc_slot_control, peer_counters);
    COUNTER_FIELDS(ADD)
    at = control + offsetof(struct hc_slot_control, nested_counters);
    COUNTER_FIELDS(ADD)
    for (int side = 0; side < HC_SIDES; side++) {
        size_t board =
            offsetof(struct hc_header, board) + (size_t)side * sizeof(struct hc_side_board);
        at = board;
        BOARD_FIELDS(ADD)
        at = board + offsetof(struct hc_side_board, report);
        REPORT_FIELDS(ADD)
        at = (size_t)((uint8_t *)hc_u_histogram(g_pair.u_base, g, (enum hc_side)side, E_NOTE) -
                      g_pair.u_base);
        HISTOGRAM_FIELDS(ADD)
    }
    at = offsetof(struct hc_header, geometry);
    GEOMETRY_FIELDS(ADD)
    at = 0;
    HEADER_FIELDS(ADD)
#ifdef OTHER_FIELDS
    at = (size_t)g->shared_at;
    OTHER_FIELDS(ADD)
#endif
}

/* ---- running --------------------------------------------------------------------------------- */

/* Whatever is noted about a call of a lane is noted about one that is out. */
static void check_lane(const struct hc_lane_out *lane)
{
    uint64_t out = 0;
    CHECK(lane->tail - lane->oldest <= PAIR_CELLS);
    CHECK(lane->window.count <= lane->tail - lane->oldest);
    for (uint64_t n = lane->oldest; n != lane->tail; n++)
        out |= UINT64_C(1) << (n & lane->mask);
    CHECK_EQ(lane->returned & ~out, 0);
    CHECK_EQ(lane->abandoned & ~out, 0);
    CHECK_EQ(lane->oneway & ~out, 0);
}

static void check_books(void)
{
    for (int side = 0; side < HC_SIDES; side++) {
        CHECK(g_pair.thread[side].current == NULL && g_pair.owner[side].current == NULL);
        for (uint32_t i = 0; i < PAIR_SLOTS; i++) {
            struct hc_slot *slot = &scenario_end(side)->slots[i];
            CHECK_EQ(slot->port.depth, 0);
            CHECK_EQ(slot->reverse.depth, 0);
            CHECK_EQ(slot->port.arena.used, 0);
            CHECK_EQ(slot->reverse.arena.used, 0);
            CHECK(slot->port.allow == NULL && slot->reverse.allow == NULL);
            for (uint32_t lane = 0; lane < HC_LANES; lane++) {
                CHECK_EQ(slot->in[lane].claim, 0);
                check_lane(&slot->out[lane]);
            }
        }
    }
}

static void run(const struct scenario *scenario, bool sealed)
{
    scenario_start();
    g_pair.other = stepper_other;
    g_in_the_middle = g_before_calling_back = in_the_middle;
    memset(g_last_run, 0, sizeof g_last_run);
    for (int side = 0; side < HC_SIDES; side++) {
        struct hc_bounds *bounds = &scenario_end(side)->bounds;
        bounds->take = 1000;
        bounds->spin = 2000;
        bounds->avoid = 0;
        for (uint32_t i = 0; i < PAIR_SLOTS; i++) {
            struct hc_slot *slot = &scenario_end(side)->slots[i];
            slot->port.timeout = slot->reverse.timeout = g_hint ? 0 : 60000;
        }
    }
    g_expected = HC_OK;
    stepper_start(sealed);
    scenario->body();
    stepper_point();
    stepper_stop();
    check_books();
    scenario_stop();
}

static void forge_one(const struct scenario *scenario, uint64_t step, const struct field *field,
                      uint64_t value)
{
    g_forgeries[0] = (struct forgery){step, field, value};
    g_forgery_count = 1;
    g_hint = field->what == HINT;
    run(scenario, false);
}

static uint64_t values_of(const struct field *field)
{
    return field->what == WORD ? VALUES_WORD : VALUES_NARROW;
}

/*
 * Every place at every step: with every value where a value decides anything, otherwise with some of
 * them in turn, so that each value meets some of the steps.
 */
static uint64_t run_all(const struct scenario *scenario, uint64_t steps)
{
    static const uint64_t strides[] = {[WORD] = 1, [VALUE] = 1, [DATA] = 4, [HINT] = VALUES_NARROW};
    uint64_t runs = 0;
    for (uint64_t at = 0; at < steps; at++)
        for (uint32_t f = 0; f < g_field_count; f++) {
            uint64_t stride = strides[g_fields[f].what];
            for (uint64_t v = (at + f) % stride; v < values_of(&g_fields[f]); v += stride, runs++)
                forge_one(scenario, at, &g_fields[f], v);
        }
    return runs;
}

/* Where fields of this name are; of the places that the calls use, if there are such. */
static uint32_t places_of(const char *name, const uint8_t *used, const struct field **places)
{
    uint32_t count = 0;
    bool any = false;
    for (int pass = 0; pass < 2 && !any; pass++)
        for (uint32_t i = 0; i < g_field_count; i++)
            if (strcmp(g_fields[i].name, name) == 0 && (pass == 1 || used[g_fields[i].at] != 0)) {
                places[count++] = &g_fields[i];
                any = true;
            }
    return count;
}

/*
 * Fields of one name stand for each other: places and values in turn. Of the steps one of `stride`,
 * for each name others, from `first` on.
 */
static uint64_t run_each(const struct scenario *scenario, uint64_t steps, const uint8_t *used,
                         uint64_t stride, uint64_t first)
{
    const struct field *places[FIELDS_MAX];
    uint64_t runs = 0;
    for (uint32_t f = 0; f < g_field_count; f++) {
        uint32_t known = 0;
        while (strcmp(g_fields[known].name, g_fields[f].name) != 0)
            known++;
        if (known != f)
            continue;
        uint32_t count = places_of(g_fields[f].name, used, places);
        for (uint64_t at = first++ % stride; at < steps; at += stride, runs++)
            forge_one(scenario, at, places[runs % count], runs / count % values_of(places[0]));
    }
    return runs;
}

/* `some`: one step of so many. */
#define SOME 24u

static uint64_t run_random(const struct scenario *scenario, uint64_t steps, uint64_t seed,
                           uint64_t rounds)
{
    g_random = true;
    for (uint64_t round = 0; round < rounds; round++) {
        g_forgery_count = 1u + (uint32_t)(check_random(&seed) % FORGERIES_MAX);
        g_hint = false;
        for (uint32_t i = 0; i < g_forgery_count; i++) {
            struct forgery *forgery = &g_forgeries[i];
            forgery->step = check_random(&seed) % steps;
            forgery->field = &g_fields[check_random(&seed) % g_field_count];
            forgery->value = check_random(&seed) >> check_random(&seed) % 64u;
            /* Words that are not far from what can be there. */
            if (forgery->field->what == WORD && check_random(&seed) % 2u == 0)
                forgery->value = hc_word(check_random(&seed) % 8u, check_random(&seed) % 32u);
        }
        run(scenario, false);
    }
    g_random = false;
    return rounds;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    const struct scenario *scenario = NULL;
    for (size_t i = 0; i < sizeof g_scenarios / sizeof g_scenarios[0]; i++) {
        if (strcmp(g_scenarios[i].name, argv[1]) == 0)
            scenario = &g_scenarios[i];
    }
    CHECK(scenario != NULL);
    const char *how = argc > 2 ? argv[2] : "each";
    uint64_t rounds = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    uint64_t seed = check_seed(argc > 4 ? strtoull(argv[4], NULL, 10) : 1);

    /* Honestly first: a run that goes wrong by itself would prove nothing. And sealed: an access
     * that steps.h does not see is a fault then. */
    g_hint = true;
    run(scenario, true);
    run(scenario, false);
    uint64_t steps = g_stepper.steps;
    g_stepper.at_step = rewrite;
    run(scenario, false);
    CHECK_EQ(g_stepper.steps, steps);
    uint8_t *used = malloc(region_size());
    CHECK(used != NULL);
    memcpy(used, g_stepper.touched, region_size());
    scenario_start();
    list_fields();
    scenario_stop();
    uint64_t runs = 0;
    if (strcmp(how, "all") == 0)
        runs = run_all(scenario, steps);
    else if (strcmp(how, "none") != 0)
        runs = run_each(scenario, steps, used, strcmp(how, "some") == 0 ? SOME : 1u, seed);
    free(used);
    runs += run_random(scenario, steps, seed, rounds);
    stepper_print_sites();
    (void)printf("%s: steps=%" PRIu64 " names=%" PRIu64 " places=%u runs=%" PRIu64
                 " errors=%" PRIu64 " lies_believed=%" PRIu64 "\n",
                 scenario->name, steps, g_name_count, g_field_count, runs, g_errors,
                 g_wrong_answers);
    return 0;
}
