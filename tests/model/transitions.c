/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transitions.c -- writes the arrows of lane.h as Promela, by taking each from every word.
 *
 * The model (channel.pml) has no transition of its own: it includes what this prints, so what is
 * explored is what the C does. For call N every one of the 32 bit patterns is tried, and every
 * pattern of other calls, of which each arrow that is conditional has to keep its hands off; that
 * is checked here, since the model relies on it.
 */
#include <hotcalls/port.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N UINT64_C(3)
#define PATTERNS 32u
#define CELLS 4u

static struct hc_cell g_cells[CELLS];

/* One arrow: what it makes of `word` for call N; `extra` is its other argument. */
typedef int arrow(uint64_t *word, uint64_t extra);

static int withdraw(uint64_t *word, uint64_t extra)
{
    g_cells[0].word = *word;
    int done = hc_withdraw(&g_cells[0], N, extra);
    *word = g_cells[0].word;
    return done;
}

static int hand_over(uint64_t *word, uint64_t extra)
{
    (void)extra;
    g_cells[0].word = *word;
    int done = hc_hand_over(&g_cells[0], N);
    *word = g_cells[0].word;
    return done;
}

static int fall_asleep(uint64_t *word, uint64_t extra)
{
    g_cells[0].word = *word;
    int done = hc_fall_asleep(&g_cells[0], hc_word(N, 0) | extra);
    *word = g_cells[0].word;
    return done;
}

static int rouse(uint64_t *word, uint64_t extra)
{
    (void)extra;
    g_cells[0].word = *word;
    int done = hc_rouse(&g_cells[0], N);
    *word = g_cells[0].word;
    return done;
}

/* 0: nothing there. 1: taken. 2: taken, was switched. 3: the word cannot be there. */
static int take(uint64_t *word, uint64_t extra)
{
    struct hc_lane_in lane;
    struct hc_taking taking;
    memset(&lane, 0, sizeof lane);
    memset(g_cells, 0, sizeof g_cells);
    lane.u_cells = g_cells;
    lane.mask = CELLS - 1u;
    lane.next = lane.origin = N;
    g_cells[0].word = *word;
    enum hc_taken taken = hc_take(&lane, extra != 0, &taking);
    *word = g_cells[0].word;
    if (taken != HC_TOOK)
        return taken == HC_NOTHING ? 0 : 3;
    if (lane.next != N + 1u || taking.n != N || taking.u_cell != &g_cells[0])
        exit(3);
    return taking.switched ? 2 : 1;
}

/* 0: nobody to wake. 1: the poster sleeps. 2: the word was not TAKEN. */
static int finish(uint64_t *word, uint64_t extra)
{
    (void)extra;
    g_cells[0].word = *word;
    enum hc_finished finished = hc_finish(&g_cells[0], N);
    *word = g_cells[0].word;
    return finished == HC_FINISHED ? 0 : finished == HC_FINISHED_WAKE ? 1 : 2;
}

/* No arrow, but a look at the word: is it left to the thread of the slot, which is busy or not? */
static int waited_for(uint64_t *word, uint64_t extra)
{
    static struct hc_slot slot;
    struct hc_lane_in *lane = &slot.in[HC_LANE_REVERSE];
    memset(&slot, 0, sizeof slot);
    memset(g_cells, 0, sizeof g_cells);
    lane->u_cells = g_cells;
    lane->mask = CELLS - 1u;
    lane->next = lane->origin = N;
    slot.port.busy = extra != 0;
    g_cells[0].word = *word;
    return hc_is_waited_for(&slot);
}

static int post(uint64_t *word, uint64_t extra)
{
    g_cells[0].word = *word;
    hc_post(&g_cells[0], N, extra);
    *word = g_cells[0].word;
    return 1;
}

static int post_quick(uint64_t *word, uint64_t extra)
{
    (void)extra;
    g_cells[0].word = *word;
    hc_post_quick(&g_cells[0], N);
    *word = g_cells[0].word;
    return 1;
}

static int post_bound(uint64_t *word, uint64_t extra)
{
    (void)extra;
    g_cells[0].word = *word;
    hc_post_bound(&g_cells[0], N);
    *word = g_cells[0].word;
    return 1;
}

static int finish_bound(uint64_t *word, uint64_t extra)
{
    (void)extra;
    g_cells[0].word = *word;
    hc_finish_bound(&g_cells[0], N);
    *word = g_cells[0].word;
    return 0;
}

/* How the other argument of an arrow picks the row of its table. */
enum extra {
    NONE,     /* there is none */
    FLAG,     /* 0 or 1 */
    BITS,     /* SWITCH and SLEEP */
    EXPECTED, /* the bits that the word has to have, or nothing happens */
};

static const uint64_t g_none[] = {0};
static const uint64_t g_flag[] = {0, 1};
static const uint64_t g_bits[] = {0, HC_WORD_SWITCH, HC_WORD_SLEEP, HC_WORD_SWITCH | HC_WORD_SLEEP};

static const uint64_t *extras_of(enum extra extra, size_t *count)
{
    *count = extra == FLAG ? 2 : extra == BITS ? 4 : 1;
    return extra == FLAG ? g_flag : extra == BITS ? g_bits : g_none;
}

/* An arrow that is conditional does nothing to the words of other calls. */
static void check_others(const char *name, arrow *take_it, uint64_t extra)
{
    for (uint64_t of = 1; of < 6; of++)
        for (uint64_t bits = 0; of != N && bits < PATTERNS; bits++) {
            uint64_t word = hc_word(of, 0) | bits;
            uint64_t before = word;
            int result = take_it(&word, extra);
            if (word == before && (result == 0 || (take_it == take && result == 3)))
                continue;
            fprintf(stderr, "%s touched word %u of call %u\n", name, (unsigned)bits, (unsigned)of);
            exit(5);
        }
}

/*
 * Prints the tables of an arrow and the inline that looks them up: what becomes of the word, and
 * what is returned. `blind` arrows store whatever was there.
 */
static void print_arrow(const char *name, arrow *take_it, enum extra kind, bool blind)
{
    size_t count;
    const uint64_t *extras = extras_of(kind, &count);
    printf("hidden byte to_%s[%u];\nhidden byte is_%s[%u];\n", name, (unsigned)(count * PATTERNS),
           name, (unsigned)(count * PATTERNS));
    printf("inline fill_%s() {\n", name);
    for (size_t e = 0; e < count; e++) {
        for (uint64_t bits = 0; bits < PATTERNS; bits++) {
            uint64_t word = hc_word(N, 0) | bits;
            int result = take_it(&word, kind == EXPECTED ? bits : extras[e]);
            if (word >> HC_WORD_SHIFT != N)
                exit(4);
            printf("    to_%s[%u] = %u; is_%s[%u] = %d;\n", name, (unsigned)(e * PATTERNS + bits),
                   (unsigned)(word & (PATTERNS - 1u)), name, (unsigned)(e * PATTERNS + bits),
                   result);
            for (uint64_t x = 0; kind == EXPECTED && x < PATTERNS; x++) {
                word = hc_word(N, 0) | bits;
                if (x != bits && (take_it(&word, x) != 0 || word != (hc_word(N, 0) | bits)))
                    exit(6);
            }
        }
        if (!blind)
            check_others(name, take_it, extras[e]);
    }
    const char *row = kind == FLAG ? " + 32 * (x)" : kind == BITS ? " + 8 * (x)" : "";
    printf("}\ninline t_%s(w, n, x, r) {\n    d_step {\n        if\n", name);
    printf("        :: ((w) >> 5) == (n)%s ->\n"
           "            r = is_%s[((w) & 31)%s];\n"
           "            w = ((n) << 5) | to_%s[((w) & 31)%s]\n",
           kind == EXPECTED ? " && ((w) & 31) == (x)" : "", name, row, name, row);
    if (blind) {
        /* The same whatever the other call's word was. */
        for (size_t e = 0; e < count; e++) {
            uint64_t word = hc_word(N - 1u, HC_WORD_DONE);
            int result = take_it(&word, extras[e]);
            printf("        :: ((w) >> 5) != (n) && (x) == %u -> w = ((n) << 5) | %u; r = %d\n",
                   (unsigned)extras[e], (unsigned)(word & (PATTERNS - 1u)), result);
        }
    } else {
        printf("        :: else -> r = 0\n");
    }
    printf("        fi\n    }\n}\n\n");
}

int main(void)
{
    static const struct {
        const char *name;
        arrow *take_it;
        enum extra kind;
        bool blind;
    } arrows[] = {
        {"withdraw", withdraw, BITS, false},
        {"hand_over", hand_over, NONE, false},
        {"fall_asleep", fall_asleep, EXPECTED, false},
        {"rouse", rouse, NONE, false},
        {"take", take, FLAG, false},
        {"waited_for", waited_for, FLAG, false},
        {"finish", finish, NONE, true},
        {"post", post, BITS, true},
        {"post_quick", post_quick, NONE, true},
        {"post_bound", post_bound, NONE, true},
        {"finish_bound", finish_bound, NONE, true},
    };
    const size_t count = sizeof arrows / sizeof arrows[0];
    printf("/* Written by transitions.c from lane.h. */\n");
    printf("#define FREE %u\n#define POSTED %u\n#define TAKEN %u\n#define DONE %u\n",
           (unsigned)HC_WORD_FREE, (unsigned)HC_WORD_POSTED, (unsigned)HC_WORD_TAKEN,
           (unsigned)HC_WORD_DONE);
    printf("#define SWITCH %u\n#define SLEEP %u\n#define BOUND %u\n\n", (unsigned)HC_WORD_SWITCH,
           (unsigned)HC_WORD_SLEEP, (unsigned)HC_WORD_BOUND);
    for (size_t i = 0; i < count; i++)
        print_arrow(arrows[i].name, arrows[i].take_it, arrows[i].kind, arrows[i].blind);
    printf("inline fill_transitions() {\n");
    for (size_t i = 0; i < count; i++)
        printf("    fill_%s();\n", arrows[i].name);
    printf("}\n");
    return 0;
}
