/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lies_steps.h -- the channel is rewritten before each access of the shim to it. A part of lies.c.
 *
 * A call of each form (lies_forms.h) is answered honestly; before one access of the shim's code
 * (steps.h) one field (fields.h) is overwritten. What may follow: an answer, of which the form
 * checks what the program would do with it, an errno, or the end of the program, which the shim
 * brings about when the channel is broken: then a child of this process has ended, and the next
 * goes on. A word that says that the call is being run is waited for as long as the host lives.
 *
 * And the shim reads no byte of an answer twice.
 */
#ifndef HOTCALLS_TESTS_LIES_STEPS_H
#define HOTCALLS_TESTS_LIES_STEPS_H

#include "fields.h"

#include <sys/wait.h>

#define ENDED 77 /* by shim_die */
#define WAITS 78 /* for a host that runs the call, as it seems */
#define SLEEPS_MAX 2000u
#define ACCESSES_MAX 1000000u
#define WINDOW_REWRITTEN 256u
#define PLACES_MAX 2048u

enum what { WORD, VALUE, DATA, HINT, PART };

static struct {
    size_t at;
    uint32_t width;
    enum what what;
} g_places[PLACES_MAX];
static uint32_t g_place_count;

static uint64_t g_accesses, g_rewrite_at, g_rewrite_value, g_sleeps, g_clock;
static uint32_t g_rewrite_place;
static uint64_t *g_fetched; /* by byte of the region: when it was read; see g_answered */

/* How far the children are, and what has become of calls. */
static struct {
    uint64_t form, step, place, rewrites, ended, waits, refused, believed;
} *g_progress;

static void rewrite_now(void)
{
    size_t place = g_places[g_rewrite_place].at;
    /* Of the window the message: calls go through the window in turn. */
    if (place >= g_geometry.windows_at && place < g_geometry.histograms_at &&
        g_message_at <= g_geometry.window_size - WINDOW_REWRITTEN)
        place += g_message_at;
    uint8_t *u_at = g_u_base + place;
    uint64_t now = 0, index = g_rewrite_value, value;
    memcpy(&now, u_at, g_places[g_rewrite_place].width);
    uint64_t n = now >> HC_WORD_SHIFT;
    const uint64_t words[] = {hc_word(n, 0), hc_word(n, 1), hc_word(n, 2),      hc_word(n, 3),
                              now + 1u,      now - 1u,      hc_word(n + 1u, 3), UINT64_MAX};
    value = g_places[g_rewrite_place].what == WORD ? words[index % 8u] : g_values[index % VALUES];
    memcpy(u_at, &value, g_places[g_rewrite_place].width);
    g_rewritten = true;
}

void step_begin(const struct step_site *site, const volatile void *at, size_t size,
                enum step_kind kind)
{
    uint64_t offset = (uint64_t)((const volatile uint8_t *)at - g_u_base);
    if (g_u_base == NULL || g_hosting || offset >= g_geometry.total_size || size == 0)
        return;
    CHECK(size <= g_geometry.total_size - offset);
    CHECK(g_accesses < ACCESSES_MAX);
    if (g_accesses++ == g_rewrite_at)
        rewrite_now();
    if (kind != STEP_READ || offset < g_geometry.windows_at || offset >= g_geometry.histograms_at)
        return;
    for (uint64_t byte = offset; byte < offset + size; byte++) {
        if (g_fetched[byte] == g_answered + 1u) {
            (void)fprintf(stderr, "%s:%" PRIu64 ": %s reads byte %" PRIu64 " of an answer again\n",
                          site->file, site->line, site->function, byte);
            exit(1);
        }
        g_fetched[byte] = g_answered + 1u;
    }
}

void step_end(void)
{
}

uint64_t step_clock(void)
{
    return g_clock += 200u;
}

/* What goes between the program and the channel: two accesses, as a copy of steps.h. */
bool __real_shim_copy(void *to, const void *from, size_t size);
bool __wrap_shim_copy(void *to, const void *from, size_t size);
bool __wrap_shim_copy(void *to, const void *from, size_t size)
{
    static uint64_t reached[2];
    static const struct step_site site = {__FILE__, __func__, __LINE__, reached};
    const size_t half = size > 8u ? size / 16u * 8u : 0;
    size_t at = 0;
    while (at < size) {
        size_t part = at < half ? half : size - at;
        step_begin(&site, (const uint8_t *)from + at, part, STEP_READ);
        step_begin(&site, (uint8_t *)to + at, part, STEP_WRITE);
        if (!__real_shim_copy((uint8_t *)to + at, (const uint8_t *)from + at, part))
            return false;
        at += part;
    }
    return true;
}

_Noreturn void __wrap_shim_die(const char *text);
_Noreturn void __wrap_shim_die(const char *text)
{
    (void)text;
    g_progress->ended++;
    _exit(ENDED);
}

/* The program sleeps, or yields, while the host is at work. */
static void asleep(void)
{
    if (++g_sleeps > SLEEPS_MAX) {
        CHECK(g_rewritten);
        g_progress->waits++;
        _exit(WAITS);
    }
}

static void yields(void *context)
{
    asleep();
    host(context);
}

static void sleeps(void *context, const uint32_t *u_word, uint32_t expected, uint64_t ns)
{
    asleep();
    host_slept(context, u_word, expected, ns);
}

static void add(size_t at, size_t size, enum what what)
{
    uint32_t width = size % 8u == 0 ? 8u : 4u;
    for (size_t i = 0; i < size / width && what != PART; i++) {
        /* Of an array of hints its ends and its middle. */
        if (what == HINT && i != 0 && i != size / width / 2u && i != size / width - 1u)
            continue;
        CHECK(g_place_count < PLACES_MAX);
        g_places[g_place_count].at = at + i * width;
        g_places[g_place_count].width = width;
        g_places[g_place_count++].what = what;
    }
}

#define ADD(structure, member, what) \
    add(at + offsetof(struct structure, member), sizeof(((struct structure *)NULL)->member), what);

static void list_places(void)
{
    size_t at;
    for (uint32_t cell = 0; cell < g_geometry.cell_count; cell++) {
        at = (size_t)((uint8_t *)&hc_u_lane(g_u_base, &g_geometry, 0, HC_LANE_FORWARD)[cell] -
                      g_u_base);
        CELL_FIELDS(ADD)
    }
    add((size_t)(hc_u_window(g_u_base, &g_geometry, 0, HC_LANE_FORWARD) - g_u_base),
        WINDOW_REWRITTEN, DATA);
    at = (size_t)((uint8_t *)hc_u_slot(g_u_base, &g_geometry, 0) - g_u_base);
    CONTROL_FIELDS(ADD)
    at = offsetof(struct hc_header, board);
    BOARD_FIELDS(ADD)
    at = offsetof(struct hc_header, geometry);
    GEOMETRY_FIELDS(ADD)
    at = (size_t)g_geometry.shared_at;
    RUN_FIELDS(ADD)
}

static void call_once_more(size_t form)
{
    g_answer = forge;
    g_field_size = 0;
    memset(g_honest, 0, sizeof g_honest);
    g_forms[form].make();
    g_accesses = g_sleeps = 0;
    try_form(&g_forms[form]);
}

/* In a child: from where the last one ended. */
static void go_on(uint64_t stride)
{
    size_t count = sizeof g_forms / sizeof g_forms[0];
    for (; g_progress->form < count; g_progress->form++, g_progress->step = 0) {
        /* Once to know the steps; nothing is rewritten that late. */
        g_rewrite_at = UINT64_MAX;
        g_rewritten = false;
        call_once_more(g_progress->form);
        for (uint64_t steps = g_accesses; g_progress->step < steps; g_progress->step++) {
            while (g_progress->place < g_place_count) {
                g_rewrite_at = g_progress->step;
                g_rewrite_place = (uint32_t)g_progress->place;
                g_rewrite_value = g_progress->rewrites++;
                /* Before the call: it may be the last one. */
                g_progress->place += stride;
                g_refused = g_believed = 0;
                call_once_more(g_progress->form);
                g_progress->refused += g_refused;
                g_progress->believed += g_believed;
            }
            g_progress->place %= g_place_count;
        }
    }
}

static void steps(uint64_t stride)
{
    int status;
    g_progress = mmap(NULL, HC_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(g_progress != MAP_FAILED);
    g_fetched = calloc((size_t)g_geometry.total_size, sizeof *g_fetched);
    CHECK(g_fetched != NULL);
    g_shim_end.os.yield = yields;
    g_shim_end.os.sleep = sleeps;
    list_places();
    do {
        (void)fflush(NULL);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            go_on(stride);
            _exit(0);
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status));
    } while (WEXITSTATUS(status) == ENDED || WEXITSTATUS(status) == WAITS);
    if (status != 0) {
        (void)fprintf(stderr, "form %s, step %" PRIu64 ", place %" PRIu64 "\n",
                      g_forms[g_progress->form].name, g_progress->step, g_progress->place);
        exit(1);
    }
    g_lies = g_progress->rewrites;
    g_refused = g_progress->refused;
    g_believed = g_progress->believed;
    free(g_fetched);
    (void)printf("places=%u ended=%" PRIu64 " waits=%" PRIu64 " ", g_place_count, g_progress->ended,
                 g_progress->waits);
}

#endif /* HOTCALLS_TESTS_LIES_STEPS_H */
