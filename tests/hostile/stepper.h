/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stepper.h -- the steps of a run, and what each of them may do.
 *
 * Counts the accesses that steps.h reports, and lets the peer write before one of them. An access
 * that repeats an earlier one of the same side while nobody has written since is the same step:
 * what a peer could do before it, it could do before the first. Watched over at every step:
 *
 *  - it lies in the region, and a copy lies in one window;
 *  - a side reads what is not a word (arguments, results, lengths, numbers) once, from one change
 *    of a word of the lane to the next;
 *  - a run ends: in so many accesses at most.
 */
#ifndef HOTCALLS_TESTS_STEPPER_H
#define HOTCALLS_TESTS_STEPPER_H

#include "../c/pair.h"

#define STEPPER_ACCESSES_MAX 1000000u
#define STEPPER_TICK 200u
#define STEPPER_SEEN 8192u

static struct {
    enum hc_side acting;
    uint64_t steps;
    uint64_t accesses;
    uint64_t events; /* changes after which a step that repeats another one is a new one */
    uint64_t clock;
    uint64_t tick;                       /* cycles between two looks at the clock */
    void (*at_step)(uint64_t step);      /* the peer's turn */
    void (*chain)(enum hc_side waiting); /* what the other side does meanwhile */
    void (*at_clock)(void);              /* time goes by; NULL: nothing happens meanwhile */
    bool sealed;                         /* nobody may touch the region but in an access */
    bool open;                           /* but now */
    uint64_t fetch_epoch;
    uint64_t lane_epoch[PAIR_SLOTS][HC_LANES];
    struct {
        const struct step_site *site;
        const volatile void *at;
        enum hc_side side;
        uint64_t event;
    } seen[STEPPER_SEEN];
    uint8_t *touched;            /* by byte: was it ever read or written? */
    uint64_t *fetched[HC_SIDES]; /* by byte of the region: when it was read */
    uint64_t *number[HC_SIDES];  /* by word of the region: of a cell's, the call when it was read */
} g_stepper;

static uint64_t region_size(void)
{
    return g_pair.geometry.total_size;
}

static void step_now(void)
{
    if (g_stepper.at_step != NULL)
        g_stepper.at_step(g_stepper.steps);
    g_stepper.steps++;
}

/* The peer may write here, whatever the code does: between two calls, say. */
static void stepper_point(void)
{
    g_stepper.events++;
    step_now();
}

uint64_t step_clock(void)
{
    if (g_stepper.at_clock != NULL)
        g_stepper.at_clock();
    return g_stepper.clock += g_stepper.tick;
}

static bool is_new(const struct step_site *site, const volatile void *at)
{
    size_t hash =
        ((uintptr_t)site / 8u * 31u + (uintptr_t)at * 7u + g_stepper.acting) % STEPPER_SEEN;
    bool same = g_stepper.seen[hash].site == site && g_stepper.seen[hash].at == at &&
                g_stepper.seen[hash].side == g_stepper.acting;
    if (same && g_stepper.seen[hash].event == g_stepper.events)
        return false;
    g_stepper.seen[hash].site = site;
    g_stepper.seen[hash].at = at;
    g_stepper.seen[hash].side = g_stepper.acting;
    g_stepper.seen[hash].event = g_stepper.events;
    return true;
}

/* Which lane a place in the region belongs to; false: to none. `*word`: it is a cell's word. */
static bool lane_at(uint64_t at, uint64_t *slot, uint64_t *lane, bool *word)
{
    const struct hc_geometry *g = &g_pair.geometry;
    *word = false;
    if (at >= g->windows_at && at < g->histograms_at) {
        uint64_t window = (at - g->windows_at) / g->window_size;
        *slot = window / HC_LANES;
        *lane = window % HC_LANES;
        return true;
    }
    if (at < g->slots_at || at >= g->windows_at)
        return false;
    uint64_t inside = (at - g->slots_at) % g->slot_stride;
    if (inside < sizeof(struct hc_slot_control))
        return false;
    inside -= sizeof(struct hc_slot_control);
    *slot = (at - g->slots_at) / g->slot_stride;
    *lane = inside / (PAIR_CELLS * sizeof(struct hc_cell));
    *word = inside % sizeof(struct hc_cell) < sizeof(uint64_t);
    return *lane < HC_LANES;
}

static void check_fetch(const struct step_site *site, uint64_t at, size_t size, uint64_t epoch)
{
    for (uint64_t byte = at; byte < at + size; byte++) {
        uint64_t *fetched = &g_stepper.fetched[g_stepper.acting][byte];
        if (*fetched == epoch) {
            (void)fprintf(stderr,
                          "%s:%" PRIu64 ": %s reads byte %" PRIu64 " of the channel again\n",
                          site->file, site->line, site->function, byte);
            exit(1);
        }
        *fetched = epoch;
    }
}

/* A word of another number is another call: its fields are read for the first time. */
static void note_number(uint64_t at, uint64_t slot, uint64_t lane)
{
    uint64_t word, *seen = &g_stepper.number[g_stepper.acting][at / sizeof word];
    memcpy(&word, g_pair.u_base + at / sizeof word * sizeof word, sizeof word);
    if (word >> HC_WORD_SHIFT == *seen)
        return;
    *seen = word >> HC_WORD_SHIFT;
    g_stepper.lane_epoch[slot][lane] = ++g_stepper.fetch_epoch;
}

void step_begin(const struct step_site *site, const volatile void *at, size_t size,
                enum step_kind kind)
{
    uint64_t offset = (uint64_t)((const volatile uint8_t *)at - g_pair.u_base);
    uint64_t slot = 0, lane = 0, last_slot = 0, last_lane = 0;
    bool word = false, ignored;
    bool inside = g_pair.u_base != NULL && offset < region_size();
    site->reached[inside ? 0 : 1]++;
    if (!inside || size == 0)
        return;
    CHECK(size <= region_size() - offset);
    CHECK(g_stepper.accesses++ < STEPPER_ACCESSES_MAX);
    bool in_lane = lane_at(offset, &slot, &lane, &word);
    if (in_lane) {
        CHECK(lane_at(offset + size - 1u, &last_slot, &last_lane, &ignored));
        CHECK(slot == last_slot && lane == last_lane);
    }
    memset(g_stepper.touched + offset, 1, size);
    if (is_new(site, at))
        step_now();
    if (in_lane && kind == STEP_READ && !word)
        check_fetch(site, offset, size, g_stepper.lane_epoch[slot][lane]);
    if (kind != STEP_READ) {
        g_stepper.events++;
        if (word)
            g_stepper.lane_epoch[slot][lane] = ++g_stepper.fetch_epoch;
    }
    if (g_stepper.sealed)
        CHECK_EQ(mprotect(g_pair.u_base, region_size(), PROT_READ | PROT_WRITE), 0);
    if (in_lane && kind == STEP_READ && word)
        note_number(offset, slot, lane);
}

void step_end(void)
{
    if (g_stepper.sealed && !g_stepper.open)
        CHECK_EQ(mprotect(g_pair.u_base, region_size(), PROT_NONE), 0);
}

/* From here on, and no longer, somebody who makes no such accesses touches the region: the kernel. */
static inline void stepper_open(bool open)
{
    g_stepper.open = open;
    if (g_stepper.sealed)
        CHECK_EQ(mprotect(g_pair.u_base, region_size(), open ? PROT_READ | PROT_WRITE : PROT_NONE),
                 0);
}

/* The other side acts until it is done. */
static inline void stepper_other(enum hc_side waiting)
{
    enum hc_side before = g_stepper.acting;
    g_stepper.acting = hc_other(waiting);
    g_stepper.chain(waiting);
    g_stepper.acting = before;
}

static void stepper_start(bool sealed)
{
    for (int side = 0; side < HC_SIDES; side++)
        if (g_stepper.fetched[side] == NULL) {
            CHECK((g_stepper.fetched[side] = calloc(region_size(), 8)) != NULL);
            CHECK((g_stepper.number[side] = calloc(region_size() / 8u, 8)) != NULL);
        }
    if (g_stepper.touched == NULL)
        CHECK((g_stepper.touched = calloc(region_size(), 1)) != NULL);
    g_stepper.acting = HC_HOST;
    g_stepper.chain = pair_chain;
    g_stepper.steps = g_stepper.accesses = g_stepper.clock = 0;
    g_stepper.tick = STEPPER_TICK;
    g_stepper.events++;
    for (uint32_t slot = 0; slot < PAIR_SLOTS; slot++)
        for (uint32_t lane = 0; lane < HC_LANES; lane++)
            g_stepper.lane_epoch[slot][lane] = ++g_stepper.fetch_epoch;
    g_stepper.sealed = sealed;
    if (sealed)
        step_end();
}

static void stepper_stop(void)
{
    if (g_stepper.sealed)
        CHECK_EQ(mprotect(g_pair.u_base, region_size(), PROT_READ | PROT_WRITE), 0);
    g_stepper.sealed = false;
}

/* Every place in the code, and how often it was reached: in the channel, and elsewhere. */
static void stepper_print_sites(void)
{
    extern const struct step_site __start_hc_steps[], __stop_hc_steps[];
    for (const struct step_site *site = __start_hc_steps; site != __stop_hc_steps; site++)
        (void)printf("site %s:%" PRIu64 " %s %" PRIu64 " %" PRIu64 "\n", site->file, site->line,
                     site->function, site->reached[0], site->reached[1]);
}

#endif /* HOTCALLS_TESTS_STEPPER_H */
